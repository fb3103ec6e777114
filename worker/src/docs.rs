//! Holds the documentation against the program: every relative link, command, option, setting, route, metric and record
//! kind that a page names is one that there is, and every one that there is stands on a page.
//!
//! The pages of `docs/reference` are checked by name. `HARMONY_WRITE_REFERENCE=1 cargo test -p harmony --lib docs` writes
//! `cli.md` and `api.md` again, with the words that the program has now; those of the others are written by hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Component, Path, PathBuf},
};

use clap::CommandFactory as _;
use harmony_console::health::PATHS;
use harmony_telemetry::metrics;
use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd};

use crate::{cli::Cli, settings::KEYS};

/// Variables that are no settings: where the file is, what the build is told, what tests look for, what Compose fills in.
const OTHER_VARIABLES: [&str; 14] = [
    "GITHUB_SHA",
    "HARMONY_COMMIT",
    "HARMONY_CONFIG",
    "HARMONY_DRY_RUN",
    "HARMONY_FAULT_KILLS",
    "HARMONY_FAULT_SEED",
    "HARMONY_IMAGE",
    "HARMONY_BENCH_PROGRAM",
    "HARMONY_PEERS_ROUNDS",
    "HARMONY_RECORD_HISTORIES",
    "HARMONY_TEST_SCALE",
    "HARMONY_WRITE_REFERENCE",
    "TEMPORAL_CLI",
    "TEMPORAL_DATABASE_PASSWORD",
];
/// What begins a setting's name.
const SETTINGS: [&str; 10] = [
    "CONFLUENCE_",
    "FLAGD_",
    "GITHUB_",
    "HARMONY_",
    "JIRA_",
    "OTEL_EXPORTER_OTLP_",
    "PAGERDUTY_",
    "SLACK_",
    "STATUSPAGE_",
    "TEMPORAL_",
];
/// What begins a record kind's name, and is no setting's.
const KINDS: [&str; 13] = [
    "APPROVAL_",
    "BLUEPRINT_",
    "CANDIDATE_",
    "CHANGE_",
    "ENVIRONMENT_",
    "INCIDENT_",
    "POST_MORTEM_",
    "RELEASE_",
    "RESPONDER_",
    "RUNBOOK_CELL_",
    "RUNBOOK_DRY_RUN_",
    "RUN_",
    "STEP_",
];
/// What a runbook that deploys a release knows of it: variables, no records.
const RELEASE_VARIABLES: [&str; 7] = [
    "RELEASE_CLUSTER",
    "RELEASE_ENVIRONMENT",
    "RELEASE_ID",
    "RELEASE_REGION",
    "RELEASE_SERVICE",
    "RELEASE_SHA",
    "RELEASE_VERSION",
];
/// Ways in that have no row in the API's description.
const OTHER_ROUTES: [&str; 22] = [
    "/",
    "/events",
    "/explorer",
    "/graphql",
    "/graphql/schema.graphql",
    "/graphql/ws",
    "/mcp",
    "/openapi.json",
    "/sign-in/oidc/callback",
    "/slack/commands",
    "/slack/events",
    "/slack/interactions",
    "/unsubscribe/{org}/{id}",
    "/v2/change/enqueue",
    "/webhooks/alertmanager",
    "/webhooks/argocd",
    "/webhooks/github",
    "/webhooks/gitlab",
    "/webhooks/grafana",
    "/webhooks/jira",
    "/webhooks/pagerduty",
    "/webhooks",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every page, by its path from the root.
fn pages() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    let mut folders = ["clients", "deploy", "docs", "examples"].map(|name| root().join(name)).to_vec();
    let mut found: Vec<PathBuf> = fs::read_dir(root()).unwrap().map(|one| one.unwrap().path()).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // What generates clients, and what is generated, brings pages that are not ours.
            let is_made = ["generated", "node_modules"].iter().any(|name| path.ends_with(name));
            match path.is_dir() {
                true if is_made => {}
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    for path in found.into_iter().filter(|path| path.extension().is_some_and(|one| one == "md")) {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        pages.insert(name, fs::read_to_string(&path).unwrap());
    }
    assert!(pages.len() > 20, "{} pages", pages.len());
    pages
}

/// Whether a page tells of what was, or will be, and so may name what is no more.
fn tells_of_other_times(name: &str) -> bool {
    name == "CHANGELOG.md" || name.starts_with("docs/adr/")
}

/// What is set as code on a page: the lines of blocks, and what stands between backticks.
fn code(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_block = false;
    for event in Parser::new_ext(text, pulldown_cmark::Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => in_block = true,
            Event::End(TagEnd::CodeBlock) => in_block = false,
            Event::Text(text) if in_block => {
                // A line that ends with a backslash goes on.
                found.extend(text.replace("\\\n", " ").lines().map(str::to_owned));
            }
            Event::Code(text) => found.push(text.into_string()),
            _ => {}
        }
    }
    found
}

/// Names of the headings' anchors, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut heading: Option<(HeadingLevel, String)> = None;
    for event in Parser::new_ext(text, pulldown_cmark::Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => heading = Some((level, String::new())),
            Event::Text(text) | Event::Code(text) => {
                if let Some((_, words)) = &mut heading {
                    words.push_str(&text);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let words = heading.take().map(|(_, words)| words).unwrap_or_default().to_lowercase();
                let kept =
                    words.chars().filter(|one| one.is_alphanumeric() || matches!(one, ' ' | '-' | '_'));
                found.insert(kept.collect::<String>().replace(' ', "-"));
            }
            _ => {}
        }
    }
    found
}

/// `docs/a.md` and `../b.md` as `b.md`.
fn resolved(page: &str, link: &str) -> PathBuf {
    let mut path = Path::new(page).parent().unwrap().to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{page}: {link} leads out of the repository"),
            Component::Normal(part) => path.push(part),
            _ => {}
        }
    }
    path
}

#[test]
fn every_relative_link_leads_somewhere() {
    let pages = pages();
    let (mut checked, mut broken) = (0, Vec::new());
    for (name, text) in &pages {
        for event in Parser::new_ext(text, pulldown_cmark::Options::ENABLE_TABLES) {
            let (Event::Start(Tag::Link { dest_url, .. }) | Event::Start(Tag::Image { dest_url, .. })) =
                event
            else {
                continue;
            };
            if dest_url.contains("://") || dest_url.starts_with("mailto:") {
                continue;
            }
            checked += 1;
            let (path, anchor) = dest_url.split_once('#').unwrap_or((&dest_url, ""));
            // The table of contents stands where the book has the root of the repository.
            let place = if name == "docs/SUMMARY.md" { "SUMMARY.md" } else { name };
            let target = if path.is_empty() { PathBuf::from(name) } else { resolved(place, path) };
            if !root().join(&target).exists() {
                broken.push(format!("{name}: there is no {dest_url}"));
            } else if !anchor.is_empty() {
                let known = pages.get(&target.display().to_string()).map(|text| anchors(text));
                if !known.is_some_and(|known| known.contains(anchor)) {
                    broken.push(format!("{name}: {} has no heading #{anchor}", target.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(checked > 100, "{checked} links");
}

#[test]
fn every_page_stands_in_the_table_of_contents_once() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let mut listed = Vec::new();
    for event in Parser::new(&summary) {
        if let Event::Start(Tag::Link { dest_url, .. }) = event {
            listed.push(dest_url.into_string());
        }
    }
    listed.sort();
    let mut expected: Vec<String> = pages().into_keys().filter(|name| name != "docs/SUMMARY.md").collect();
    expected.sort();
    assert_eq!(listed, expected, "docs/SUMMARY.md");
}

/// Walks a command line as far as its words are commands, and looks for its options there. What it says is wrong.
fn wrong_in(line: &str, top: &clap::Command) -> Option<String> {
    let mut command = top;
    let mut may_descend = true;
    for word in line.split_whitespace() {
        // The rest is the shell's, a remark, or left out.
        let is_shell = matches!(word, "|" | ">" | ">>" | "<" | "&&" | "||" | "&" | ";" | "…" | "#");
        if is_shell || word.contains("$(") {
            break;
        }
        let word = word.trim_matches(['[', ']', ')', ',', ';', '`']);
        if let Some(option) = word.strip_prefix("--") {
            let option = option.split(['=', ']']).next().unwrap_or_default();
            let known = [command, top].into_iter().flat_map(clap::Command::get_arguments).any(|one| {
                one.get_long() == Some(option)
                    || one.get_all_aliases().is_some_and(|all| all.contains(&option))
            });
            if !known && !matches!(option, "help" | "version") {
                return Some(format!("`{}` has no --{option}", command.get_name()));
            }
            may_descend &= !command.has_subcommands() || command.get_name() == "harmony";
            continue;
        }
        if !may_descend || !command.has_subcommands() {
            continue;
        }
        let found = |name: &str| {
            command
                .get_subcommands()
                .find(|one| one.get_name() == name || one.get_all_aliases().any(|alias| alias == name))
        };
        if word.contains('|') {
            if let Some(unknown) = word.split('|').find(|name| found(name).is_none()) {
                return Some(format!("`{}` has no command {unknown}", command.get_name()));
            }
            break;
        }
        let is_placeholder = word.is_empty() || word.starts_with(char::is_uppercase) || word.contains('…');
        match found(word) {
            Some(next) => command = next,
            None if is_placeholder => break,
            None => return Some(format!("`{}` has no command {word}", command.get_name())),
        }
    }
    None
}

/// What follows `harmony` in a piece of code, where it is a command line of ours.
fn command_line(code: &str) -> Option<&str> {
    let mut rest = code.trim().trim_start_matches("$ ");
    rest = rest.strip_prefix("docker exec harmony ").unwrap_or(rest);
    rest = rest.strip_prefix("cargo run --quiet -- ").unwrap_or(rest);
    for prefix in ["as_harmony ", "cargo run -- "] {
        if let Some(line) = rest.strip_prefix(prefix) {
            return Some(line);
        }
    }
    // Settings before the command.
    while let Some((first, after)) = rest.split_once(' ') {
        let Some((name, value)) = first.split_once('=') else { break };
        if !name.chars().all(|one| one.is_ascii_uppercase() || one == '_') || value.contains('(') {
            break;
        }
        rest = after.trim_start();
    }
    rest.strip_prefix("harmony ")
}

#[test]
fn every_command_and_option_is_one_that_can_be_typed() {
    let mut top = Cli::command();
    top.build();
    let (mut checked, mut wrong) = (0, Vec::new());
    for (name, text) in pages().iter().filter(|(name, _)| !tells_of_other_times(name)) {
        for code in code(text) {
            if let Some(line) = command_line(&code) {
                checked += 1;
                wrong.extend(wrong_in(line, &top).map(|what| format!("{name}: {code}: {what}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked > 60, "{checked} command lines");
    // The check itself finds what is wrong.
    for line in ["incidents list", "incident declar", "log verify --fiel x", "config init|chekc"] {
        assert!(wrong_in(line, &top).is_some(), "{line}");
    }
}

/// The words of all pages that look like a name in capitals.
fn names_in_capitals() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for (page, text) in pages().into_iter().filter(|(name, _)| !tells_of_other_times(name)) {
        let words = text.split(|one: char| !one.is_ascii_alphanumeric() && one != '_');
        let names = words.filter(|word| {
            word.contains('_')
                && !word.ends_with('_')
                && word.chars().all(|one| one.is_ascii_uppercase() || one.is_ascii_digit() || one == '_')
        });
        found.extend(names.map(|name| (name.to_owned(), page.clone())));
    }
    found
}

#[test]
fn every_setting_that_is_named_is_one_that_there_is() {
    let wrong: Vec<_> = names_in_capitals()
        .into_iter()
        .filter(|(name, _)| SETTINGS.iter().any(|start| name.starts_with(start)))
        .filter(|(name, _)| !KEYS.iter().any(|(key, _)| key == name))
        .filter(|(name, _)| !OTHER_VARIABLES.contains(&name.as_str()) && name != "OTEL_EXPORTER_OTLP_HEADERS")
        .collect();
    assert!(wrong.is_empty(), "no setting: {wrong:#?}");
}

/// Every kind of record, as the log's schema has them.
fn kinds() -> BTreeSet<String> {
    let schema = include_str!("../../protos/proto/harmony/log/v1/log.proto");
    let block = schema.split_once("oneof kind {").unwrap().1.split_once('}').unwrap().0;
    let fields = block.lines().filter_map(|line| line.split_once(" = ")?.0.split_whitespace().nth(1));
    fields.map(str::to_uppercase).collect()
}

#[test]
fn every_kind_of_record_is_documented_and_every_one_named_is_one() {
    let (kinds, page) = (kinds(), reference("records.md"));
    assert!(kinds.len() > 40, "{kinds:?}");
    let missing: Vec<_> = kinds.iter().filter(|kind| !page.contains(&format!("| `{kind}` |"))).collect();
    assert!(missing.is_empty(), "docs/reference/records.md lacks {missing:?}");
    let wrong: Vec<_> = names_in_capitals()
        .into_iter()
        .filter(|(name, _)| KINDS.iter().any(|start| name.starts_with(start)))
        .filter(|(name, _)| !kinds.contains(name) && !RELEASE_VARIABLES.contains(&name.as_str()))
        .collect();
    assert!(wrong.is_empty(), "no kind of record: {wrong:#?}");
}

#[test]
fn every_metric_is_documented_and_every_one_named_is_one() {
    let page = reference("metrics.md");
    let missing: Vec<_> =
        metrics::NAMES.iter().filter(|name| !page.contains(&format!("| `{name}` |"))).collect();
    assert!(missing.is_empty(), "docs/reference/metrics.md lacks {missing:?}");
    let mut wrong = Vec::new();
    for (page, text) in pages().iter().filter(|(name, _)| !tells_of_other_times(name)) {
        for code in code(text) {
            for word in code.split(|one: char| !one.is_ascii_alphanumeric() && one != '_') {
                // Crates, packages of clients and PostgreSQL's table of versions have such names, too.
                let is_other = matches!(word, "harmony_" | "harmony_schema")
                    || ["activities", "blueprints", "client", "console", "eventlog", "graphql"]
                        .iter()
                        .any(|one| word == format!("harmony_{one}"));
                if word.starts_with("harmony_") && !is_other && !metrics::NAMES.contains(&word) {
                    wrong.push(format!("{page}: {word}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "no metric: {wrong:#?}");
}

/// Method and path of every operation of the API.
fn operations() -> Vec<(String, String, String)> {
    let document = harmony_console::description();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let summary = operation["summary"].as_str().unwrap_or_default();
            found.push((method.to_uppercase(), path.clone(), summary.to_owned()));
        }
    }
    assert!(found.len() > 50, "{} operations", found.len());
    found
}

/// Whether what a page writes for a path can be one of `known`: `…` stands for its beginning, `{id}` for any part.
fn is_route(written: &str, known: &BTreeSet<String>) -> bool {
    let parts = |path: &str| path.trim_matches('/').split('/').map(str::to_owned).collect::<Vec<_>>();
    let (is_end, written) = match written.strip_prefix('…') {
        Some(rest) => (true, parts(rest)),
        None => (false, parts(written)),
    };
    let same = |a: &String, b: &String| a == b || b.starts_with('{') || a.starts_with('{');
    known.iter().map(|path| parts(path)).any(|path| {
        let fits = if is_end { path.len() >= written.len() } else { path.len() == written.len() };
        fits && written.iter().rev().zip(path.iter().rev()).all(|(a, b)| same(a, b))
    })
}

#[test]
fn every_route_is_documented_and_every_one_named_is_one() {
    let operations = operations();
    let page = reference("api.md");
    let missing: Vec<_> = operations
        .iter()
        .map(|(method, path, _)| format!("| `{method}` | `{path}` |"))
        .chain(OTHER_ROUTES.iter().filter(|path| **path != "/webhooks").map(|path| format!("`{path}`")))
        .chain(PATHS.iter().map(|path| format!("`{path}`")))
        .filter(|row| !page.contains(row.as_str()))
        .collect();
    assert!(missing.is_empty(), "docs/reference/api.md lacks {missing:#?}");

    let known: BTreeSet<String> = operations
        .into_iter()
        .map(|(_, path, _)| path)
        .chain(OTHER_ROUTES.map(str::to_owned))
        .chain(PATHS.map(str::to_owned))
        .collect();
    let (mut checked, mut wrong) = (0, Vec::new());
    for (page, text) in pages().iter().filter(|(name, _)| !tells_of_other_times(name)) {
        for code in code(text) {
            let code = ["GET ", "POST ", "PUT ", "GET|POST "]
                .iter()
                .find_map(|method| code.strip_prefix(method))
                .unwrap_or(&code);
            let written = code.split([' ', '?', ',', ';']).next().unwrap_or_default();
            let starts = ["/api/", "/webhooks", "/slack/", "/graphql", "/mcp", "/openapi", "/explorer", "…/"];
            // What all of the API's paths begin with is none of them.
            let is_left_out = written.contains('|') || written == "/api/orgs/{org}";
            if is_left_out || !starts.iter().any(|start| written.starts_with(start)) {
                continue;
            }
            checked += 1;
            if !is_route(written.trim_end_matches(['.', ':']), &known) {
                wrong.push(format!("{page}: {written}"));
            }
        }
    }
    assert!(wrong.is_empty(), "no route: {wrong:#?}");
    assert!(checked > 30, "{checked} routes");
}

/// Every source file of the workspace: its path from the root, and its text.
fn sources() -> Vec<(String, String)> {
    let mut folders: Vec<PathBuf> = fs::read_dir(root()).unwrap().map(|one| one.unwrap().path()).collect();
    folders.retain(|folder| folder.join("Cargo.toml").is_file());
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let is_code = path.extension().is_some_and(|extension| extension == "rs" || extension == "py");
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if is_code {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// A promise whose test is gone is no promise.
#[test]
fn every_test_that_security_names_is_there() {
    let sources = sources();
    let lines = sources.iter().flat_map(|(_, text)| text.lines().map(str::trim));
    // A function, or a line of a list of stories that run on every store.
    let tests: BTreeSet<&str> = lines
        .filter_map(|line| {
            let function =
                line.split_once("fn ").and_then(|(_, rest)| rest.split_once('(')).map(|(name, _)| name);
            function.or_else(|| line.strip_suffix(','))
        })
        .collect();
    let page = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let is_name = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let mut named = 0;
    for word in page.split('`').skip(1).step_by(2) {
        let is_there = if word.ends_with(".rs") || word.ends_with(".py") {
            sources.iter().any(|(path, _)| path.ends_with(word))
        } else if is_name(word) && word.matches('_').count() >= 3 {
            tests.contains(word)
        } else {
            continue;
        };
        named += 1;
        assert!(is_there, "docs/security.md names {word}, which there is not");
    }
    assert!(named > 80, "{named}");
}

/// A page of the reference, written again first where that is asked for.
fn reference(name: &str) -> String {
    let path = root().join("docs/reference").join(name);
    if env::var_os("HARMONY_WRITE_REFERENCE").is_some() {
        match name {
            "cli.md" => fs::write(&path, command_page()).unwrap(),
            "api.md" => fs::write(&path, api_page()).unwrap(),
            _ => {}
        }
    }
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every command that is shown, with the words that lead to it.
fn commands() -> Vec<(String, clap::Command)> {
    let mut top = Cli::command();
    top.build();
    let mut found = Vec::new();
    let mut open = vec![(String::from("harmony"), top)];
    while let Some((words, command)) = open.pop() {
        let below = command.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help");
        let mut below: Vec<_> =
            below.map(|one| (format!("{words} {}", one.get_name()), one.clone())).collect();
        below.reverse();
        open.extend(below);
        found.push((words, command));
    }
    found
}

/// Options of a command itself; those of every command stand at the top.
fn options(command: &clap::Command, is_top: bool) -> Vec<&clap::Arg> {
    let shown = command.get_arguments().filter(|one| !one.is_hide_set() && one.get_long().is_some());
    shown
        .filter(|one| is_top || !one.is_global_set())
        .filter(|one| !matches!(one.get_id().as_str(), "help" | "version"))
        .collect()
}

fn command_page() -> String {
    let mut page = String::from(
        "# Commands\n\nWritten from the program's own help (`harmony COMMAND --help`); `harmony man DIR` writes it as man pages. Exit\n\
         codes: 0 done, 1 failed, 2 bad usage or input, 3 refused by policy, 4 not found.\n",
    );
    for (words, command) in commands() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        page.push_str(&format!("\n## {words}\n\n{about}\n"));
        let usage = command.clone().render_usage().to_string();
        let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).trim();
        page.push_str(&format!("\n```\n{usage}\n```\n"));
        let options = options(&command, words == "harmony");
        if options.is_empty() {
            continue;
        }
        page.push_str("\n| option | |\n|---|---|\n");
        for option in options {
            let long = option.get_long().unwrap_or_default();
            let takes_value = option.get_action().takes_values();
            let value = option.get_value_names().and_then(|names| names.first()).filter(|_| takes_value);
            let value = value.map(|name| format!(" {name}")).unwrap_or_default();
            let help = option.get_help().map(ToString::to_string).unwrap_or_default();
            page.push_str(&format!(
                "| `--{long}{value}` | {} |\n",
                help.replace('|', "\\|").replace('\n', " ")
            ));
        }
    }
    page
}

#[test]
fn every_command_and_option_is_documented() {
    let page = reference("cli.md");
    let sections: BTreeMap<&str, &str> =
        page.split("\n## ").skip(1).filter_map(|section| section.split_once('\n')).collect();
    let mut missing = Vec::new();
    for (words, command) in commands() {
        let Some(section) = sections.get(words.as_str()) else {
            missing.push(words);
            continue;
        };
        for option in options(&command, words == "harmony") {
            let long = option.get_long().unwrap_or_default();
            let (alone, with_value) = (format!("`--{long}`"), format!("`--{long} "));
            if !section.contains(&alone) && !section.contains(&with_value) {
                missing.push(format!("{words} --{long}"));
            }
        }
    }
    let hint = "write it again: HARMONY_WRITE_REFERENCE=1 cargo test -p harmony --lib docs";
    assert!(missing.is_empty(), "docs/reference/cli.md lacks {missing:#?}; {hint}");
    let known: BTreeSet<String> = commands().into_iter().map(|(words, _)| words).collect();
    let gone: Vec<_> = sections.keys().filter(|words| !known.contains(**words)).collect();
    assert!(gone.is_empty(), "docs/reference/cli.md has what there is no more: {gone:?}; {hint}");
}

fn api_page() -> String {
    let mut page = String::from(
        "# Routes\n\nWritten from the API's own description: a running console has it at `/openapi.json`, with parameters, bodies and\n\
         answers, and shows it at `/explorer`. [api.md](../api.md) says what holds for all of them.\n\n\
         | method | path | |\n|---|---|---|\n",
    );
    for (method, path, summary) in operations() {
        page.push_str(&format!("| `{method}` | `{path}` | {summary} |\n"));
    }
    page.push_str(
        "\n## Other ways in\n\n| path | |\n|---|---|\n\
         | `/` | the console's pages |\n\
         | `/openapi.json`, `/explorer` | the description of the API |\n\
         | `/graphql`, `/graphql/ws`, `/graphql/schema.graphql` | GraphQL, its subscriptions, its schema |\n\
         | `/mcp` | the Model Context Protocol |\n\
         | `/sign-in/oidc/callback` | where the identity provider sends browsers back to |\n\
         | `/unsubscribe/{org}/{id}` | what a message to a stakeholder links: asks with GET, unsubscribes with POST |\n\
         | `/slack/commands`, `/slack/events`, `/slack/interactions` | Slack |\n\
         | `/webhooks/alertmanager`, `/webhooks/grafana`, `/webhooks/pagerduty` | alerts |\n\
         | `/webhooks/github`, `/webhooks/jira` | what became of the issues of follow-ups |\n\
         | `/webhooks/argocd`, `/webhooks/github`, `/webhooks/gitlab`, `/events`, `/v2/change/enqueue` | what was deployed |\n\
         \n## On the listener of health and metrics\n\n\
         At `HARMONY_METRICS_ADDR`, never at the public address.\n\n| path | |\n|---|---|\n\
         | `/healthz` | the process lives |\n| `/readyz` | what it needs answers, part by part |\n| `/metrics` | [metrics](metrics.md) |\n",
    );
    page
}

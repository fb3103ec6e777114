//! The command line from outside: exit codes, and errors of two lines.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path};

use assert_cmd::Command;
use harmony_eventlog::{Append, Log as _, SqliteLog, Target};
use harmony_incidents::{
    Context, OrgId, RuleSet, judge,
    log::{Authority, Cause, IncidentCreated, Severity, Text},
    record::SaltKey,
};
use serde::Deserialize as _;
use serde_json::Value;

/// `harmony` in an empty directory and an empty environment.
fn harmony(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harmony"));
    command.current_dir(home).env_clear().env("HOME", home);
    command
}

/// Runs a line and gives the exit code and what it says on stderr.
fn run(home: &Path, line: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let output = harmony(home).args(line).envs(environment.iter().copied()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), stderr)
}

#[test]
fn bad_usage_ends_with_2() {
    let home = tempfile::tempdir().unwrap();
    for line in [
        &[][..],
        &["incidents"],
        &["incident", "declare"],
        &["incident", "declare", "Checkout is down"],
        &["incident", "declare", "one", "--title", "two", "--severity", "P1"],
        &["incident", "remediate", "INC-2026-0001"],
        &["incident", "remediate", "INC-2026-0001", "--runbook", "a.md", "--env", "novalue"],
        &["incident", "review", "INC-2026-0001", "--section", "impact"],
        &["incident", "cancel", "INC-2026-0001"],
        &["incident", "link-change", "INC-2026-0001", "--release", "rel-1"],
        &["incident", "link-change", "INC-2026-0001", "--release", "rel-1", "--relation", "guilty"],
        &["deploy", "create", "--service", "svc-a", "--env", "env-a"],
        &["deploy", "create", "--service", "svc-a", "--env", "env-a", "--sha", "1", "--status", "Done"],
        &["deploy", "promote", "--release", "rel-1"],
        &["deploy", "tell", "rel-1", "Draft"],
        &["release", "list", "--since", "yesterday"],
        &["audit", "tail", "--since", "-3h"],
        &["catalog", "apply", "none.toml"],
        &["approval", "approve"],
        &["worker", "--queue", "elsewhere"],
        &["sandbox", "--port", "65534"],
        &["log", "redact", "INC-2026-0001", "3"],
        &["log", "redact", "INC-2026-0001", "three", "--reason", "x"],
    ] {
        let (code, stderr) = run(home.path(), line, &[]);
        assert_eq!(code, 2, "{line:?}: {stderr}");
    }
}

#[test]
fn bad_settings_name_their_key_and_end_with_2() {
    let home = tempfile::tempdir().unwrap();
    for (key, value, line) in [
        ("DATABASE_URL", "postgres://u:secret@h:port/d", &["log", "verify"][..]),
        ("HARMONY_HTTP_ADDR", "nowhere", &["serve"]),
        ("STATUSPAGE_API_KEY", "x", &["incident", "list"]),
        ("HARMONY_API", "not an address", &["incident", "list"]),
        ("HARMONY_LOG", "a=b=c", &["incident", "list"]),
    ] {
        let (code, stderr) = run(home.path(), line, &[(key, value)]);
        assert_eq!(code, 2, "{key}: {stderr}");
        let lines: Vec<&str> = stderr.lines().collect();
        assert!(
            lines.len() == 2 && lines[0].starts_with("error: ") && lines[1].starts_with("hint: "),
            "{stderr}"
        );
        assert!(!stderr.contains("secret"), "{stderr}");
    }
    if cfg!(not(feature = "dynamodb")) {
        let (_, stderr) = run(home.path(), &["log", "verify"], &[("DATABASE_URL", "dynamodb://harmony")]);
        assert!(stderr.contains("built without the feature dynamodb"), "{stderr}");
    }
    fs::write(home.path().join("harmony.toml"), "HARMONY_HTTP = \"x\"").unwrap();
    let (code, stderr) = run(home.path(), &["incident", "list"], &[]);
    assert!(code == 2 && stderr.contains("there is no setting HARMONY_HTTP"), "{stderr}");
}

#[test]
fn nobody_there_is_one_clear_error_and_1() {
    let home = tempfile::tempdir().unwrap();
    for (line, environment, expected) in [
        (&["incident", "list"][..], &[][..], "no API is known"),
        (
            &["incident", "show", "INC-2026-0001"],
            &[("HARMONY_API", "http://127.0.0.1:9")],
            "does not answer at",
        ),
        (&["log", "verify"], &[], "there is no log at"),
        (&["log", "replay"], &[("DATABASE_URL", "sqlite://absent.db")], "there is no log at absent.db"),
    ] {
        let (code, stderr) = run(home.path(), line, environment);
        assert_eq!(code, 1, "{line:?}: {stderr}");
        assert!(stderr.contains(expected) && stderr.lines().count() == 2, "{line:?}: {stderr}");
    }
    fs::write(
        home.path().join("broken.db"),
        "this is no database, whatever its name says, and never was one",
    )
    .unwrap();
    let (code, stderr) = run(home.path(), &["log", "verify"], &[("DATABASE_URL", "sqlite://broken.db")]);
    assert!(code == 1 && stderr.lines().count() == 2, "{stderr}");
}

#[test]
fn config_check_shows_what_is_set_but_no_secret() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join(".harmony/runbooks")).unwrap();
    fs::write(home.path().join(".harmony/directory.toml"), "[[principal]]\nid = \"a\"\n").unwrap();
    let output = harmony(home.path())
        .args(["config", "check", "--json"])
        .envs([("HARMONY_TOKEN", "very-secret"), ("HARMONY_HTTP_ADDR", "127.0.0.1:1"), ("HARMONY_TYPO", "x")])
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("very-secret"));
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["unknown"], serde_json::json!(["HARMONY_TYPO"]));
    let http =
        serde_json::json!({ "key": "HARMONY_HTTP_ADDR", "value": "127.0.0.1:1", "from": "environment" });
    assert!(answer["settings"].as_array().unwrap().contains(&http), "{answer}");

    fs::write(home.path().join(".harmony/directory.toml"), "[[principal]]\nrole = \"a\"\n").unwrap();
    let (code, stderr) = run(home.path(), &["config", "check"], &[]);
    assert!(code == 2 && stderr.contains("unknown field `role`"), "{stderr}");
}

#[test]
fn no_decision_is_made_without_a_terminal_unless_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let api = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    api.set_nonblocking(true).unwrap();
    let address = format!("http://{}", api.local_addr().unwrap());
    for (line, expected) in [
        (&["approval", "approve", "INC-2026-0001"][..], "--yes"),
        (&["approval", "reject", "INC-2026-0001", "--reason", "too risky"], "--yes"),
        (&["approval", "approve", "INC-2026-0001", "--json"], "--yes"),
        (&["approval", "reject", "INC-2026-0001", "--yes"], "--reason"),
        (&["approval", "reject", "INC-2026-0001", "--yes", "--reason", " "], "--reason"),
        (&["incident", "sign-off", "INC-2026-0001"], "--digest"),
    ] {
        let (code, stderr) = run(home.path(), line, &[("HARMONY_API", &address), ("HARMONY_TOKEN", "t")]);
        assert_eq!(code, 2, "{line:?}: {stderr}");
        assert!(stderr.contains("nothing was ") && stderr.contains(expected), "{line:?}: {stderr}");
    }
    assert!(api.accept().is_err(), "nothing is sent");
}

#[test]
fn with_json_an_error_is_a_document_of_one_line() {
    let home = tempfile::tempdir().unwrap();
    for (line, code, detail) in [
        (&["incident", "list", "--json"][..], 1, "no API is known"),
        (&["incident", "show", "checkout", "--json"], 2, "invalid value 'checkout'"),
        (&["--json", "incident", "declare", "--severity", "P1"], 2, "nothing was declared"),
        (&["runbook", "show", "a.md", "--json"], 1, "there are no runbooks"),
    ] {
        let (exit, stderr) = run(home.path(), line, &[]);
        assert_eq!((exit, stderr.lines().count()), (code, 1), "{line:?}: {stderr}");
        let document: Value = serde_json::from_str(&stderr).unwrap();
        assert_eq!(document["exitCode"], code, "{document}");
        assert!(document["detail"].as_str().unwrap().contains(detail), "{document}");
        assert!(!document["hint"].as_str().unwrap().is_empty(), "{document}");
    }
}

#[test]
fn the_shell_gets_completions_man_pages_and_the_build() {
    let home = tempfile::tempdir().unwrap();
    let say = |line: &[&str]| {
        let output = harmony(home.path()).args(line).output().unwrap();
        assert!(output.status.success(), "{line:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for shell in ["bash", "zsh", "fish"] {
        let script = say(&["completions", shell]);
        assert!(script.contains("remediate") && script.contains("link-change"), "{shell}");
    }
    say(&["man", "pages"]);
    let page = fs::read_to_string(home.path().join("pages/harmony-incident-remediate.1")).unwrap();
    assert!(page.contains("runbook"), "{page}");
    let version = say(&["--version"]);
    assert!(version.starts_with("harmony ") && version.contains("features"), "{version}");
    let help = say(&["incident", "--help"]);
    assert!(help.contains("Mitigate:") && help.contains("Global options:"), "{help}");
    assert!(!help.contains('\u{1b}'), "a pipe gets no colours: {help}");
}

#[test]
fn a_configuration_is_begun_once() {
    let home = tempfile::tempdir().unwrap();
    let (code, stderr) = run(home.path(), &["config", "init"], &[]);
    assert_eq!(code, 0, "{stderr}");
    let mode = fs::metadata(home.path().join("harmony.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, stderr) = run(home.path(), &["config", "init"], &[]);
    assert!(code == 2 && stderr.contains("is there already"), "{stderr}");
    // As it is written it is one that counts.
    let (_, stderr) = run(home.path(), &["incident", "list"], &[]);
    assert!(stderr.contains("no API is known"), "{stderr}");
}

#[test]
fn runbooks_are_checked_with_nothing_running() {
    let home = tempfile::tempdir().unwrap();
    let books = home.path().join(".harmony/runbooks");
    fs::create_dir_all(&books).unwrap();
    fs::write(books.join("good.md"), "# Fix it\n\n```sh { name=fix timeout=5m }\ntrue\n```\n").unwrap();
    let say = |line: &[&str]| {
        let output = harmony(home.path()).args(line).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, stdout, stderr) = say(&["runbook", "lint"]);
    assert_eq!((code, stdout.as_str()), (0, "1 runbooks, 0 problems\n"), "{stderr}");
    let (_, stdout, _) = say(&["runbook", "list"]);
    assert_eq!(stdout, "RUNBOOK  CELLS  TITLE\ngood.md  fix    Fix it\n");
    let (_, stdout, _) = say(&["runbook", "show", "good.md"]);
    assert!(stdout.contains("fix  runs at most once, at most 5m\n  │ true\n"), "{stdout}");
    fs::write(home.path().join("bad.md"), "```sh { name=fix interpreter=ruby }\ntrue\n```\n").unwrap();
    let (code, stdout, _) = say(&["runbook", "lint", "bad.md", "good.md"]);
    assert_eq!(code, 1);
    assert!(stdout.starts_with("bad.md: line 1: interpreter is not supported\n"), "{stdout}");
    let (code, _, stderr) = say(&["runbook", "show", "none.md"]);
    assert!(code == 4 && stderr.contains("harmony runbook list"), "{stderr}");
    // A cell that cannot run is named, and its file can be read.
    fs::write(books.join("half.md"), "```sh {name=a}\n:\n```\n```zsh {name=b}\n:\n```\n").unwrap();
    let (_, stdout, _) = say(&["runbook", "list"]);
    assert!(stdout.contains("half.md  a (1 refused)"), "{stdout}");
    let (_, stdout, _) = say(&["config", "check"]);
    assert!(stdout.contains("1 cells; refused: line 4: the cell \"b\" is in \"zsh\""), "{stdout}");
    fs::write(books.join("half.md"), "---\ninputs: 3\n---\n").unwrap();
    let (code, stdout, _) = say(&["config", "check"]);
    let row = stdout.lines().find(|line| line.contains("runbook half.md")).unwrap();
    assert!(code == 2 && row.starts_with("WRONG") && row.contains("inputs: expected a list"), "{stdout}");
}

#[test]
fn runbooks_are_begun_and_tried_on_this_machine() {
    let home = tempfile::tempdir().unwrap();
    let books = home.path().join(".harmony/runbooks");
    fs::create_dir_all(&books).unwrap();
    let say = |line: &[&str]| {
        let output = harmony(home.path()).args(line).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, stdout, stderr) = say(&["runbook", "new", "team/fail-over.md"]);
    assert!(code == 0 && stdout.contains("fail-over.md: edit it"), "{stdout}{stderr}");
    assert!(fs::read_to_string(books.join("team/fail-over.md")).unwrap().contains("# Fail over\n"));
    assert_eq!(say(&["runbook", "lint"]).0, 0);
    for wrong in ["team/fail-over.md", "../out.md", "notes.txt", "/tmp/x.md"] {
        let (code, _, stderr) = say(&["runbook", "new", wrong]);
        assert!(code == 2 && stderr.contains("hint:"), "{wrong}: {code} {stderr}");
    }
    let text = "---\ninputs:\n  - name: WHO\n---\n```sh {name=a dryRun=true}\necho hello $WHO\nexport SAID=$WHO\n```\n\
                ```sh {name=b}\necho again $SAID\nexit 3\n```\n```text {name=c manual=true}\nLook.\n```\n";
    fs::write(books.join("trial.md"), text).unwrap();
    let (code, stdout, stderr) =
        say(&["runbook", "run", "--local", "trial.md", "--set", "WHO=world", "--cell", "a", "--cell", "b"]);
    assert_eq!((code, stdout.as_str()), (1, "hello world\nagain world\n"), "{stderr}");
    assert!(stderr.contains("nothing on record") && stderr.contains("exit 3"), "{stderr}");
    let (code, stdout, _) =
        say(&["runbook", "run", "--local", "trial.md", "--set", "WHO=you", "--dry-run", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &answer["cells"][0]["stdout"]), (0, &serde_json::json!("hello you\n")));
    assert_eq!(answer["cells"][1]["ended"], "skipped");
    for (line, expected) in [
        (&["--local", "trial.md"][..], "input WHO: is required; give text"),
        (&["--local", "trial.md", "--set", "WHO=x"], "there is no terminal to ask on"),
        (&["trial.md"], "--local"),
    ] {
        let (code, _, stderr) = say(&[&["runbook", "run"], line].concat());
        assert!(code == 2 && stderr.contains(expected), "{line:?}: {code} {stderr}");
    }
}

#[test]
fn a_description_with_a_mistake_in_it_writes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let api = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    api.set_nonblocking(true).unwrap();
    let address = format!("http://{}", api.local_addr().unwrap());
    let apply = |name: &str, text: &str| {
        fs::write(home.path().join(name), text).unwrap();
        run(home.path(), &["catalog", "apply", name], &[("HARMONY_API", &address), ("HARMONY_TOKEN", "t")])
    };
    for (name, text, expected) in [
        ("catalog.toml", "[[services]]\nid = \"svc-a\"\nname = \"a\"\ncolour = \"red\"\n", "colour"),
        ("catalog.toml", "[[services]]\nid = \"svc-a\"\nname = \"a\"\nadapters = [\"heroku\"]\n", "heroku"),
        ("catalog-info.yaml", "apiVersion: v1\nkind: Component\nmetadata:\n  name: a\n", "apiVersion"),
    ] {
        let (code, stderr) = apply(name, text);
        assert_eq!(code, 2, "{stderr}");
        let found = problems(&stderr);
        assert!(found.len() == 1 && found[0].contains(name) && found[0].contains(expected), "{stderr}");
    }
    assert!(api.accept().is_err(), "nothing is sent");
}

/// The first words of what stderr says is wrong.
fn problems(stderr: &str) -> Vec<&str> {
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("warning: ")).collect();
    assert!(lines.len().is_multiple_of(2), "one line of what and one of what to do each: {stderr}");
    assert!(lines.chunks(2).all(|pair| pair[1].starts_with("hint: ")), "{stderr}");
    lines.chunks(2).map(|pair| pair[0].strip_prefix("error: ").unwrap()).collect()
}

#[test]
fn everything_that_is_wrong_is_told_at_once_before_anything_connects() {
    let home = tempfile::tempdir().unwrap();
    let file = "FLAGD_PORT = 0\nHARMONY_TEMPORAL_UI = \"ui\"\nHARMONY_TYPO = 1\n";
    fs::write(home.path().join("harmony.toml"), file).unwrap();
    let environment = [
        ("HARMONY_HTTP_ADDR", "nowhere"),
        ("HARMONY_SALT_KEY", "hunter2"),
        ("PAGERDUTY_API_KEY", "hunter2"),
        ("TEMPORAL_TLS_CLIENT_CERT_PATH", "/nowhere/client.pem"),
    ];
    let of_settings = [
        "harmony.toml: there is no setting HARMONY_TYPO",
        "PAGERDUTY_FROM: PAGERDUTY_API_KEY is set, this must be, too (looked for in the environment and in harmony.toml)",
        "PAGERDUTY_SERVICE_ID: PAGERDUTY_API_KEY is set, this must be, too (looked for in the environment and in harmony.toml)",
        "HARMONY_HTTP_ADDR: \"nowhere\" is no address such as 127.0.0.1:8088 (set in the environment)",
        "FLAGD_PORT: it is no port (set in harmony.toml)",
        "FLAGD_HOST: FLAGD_PORT or FLAGD_TLS is set, this must be, too (looked for in the environment and in harmony.toml)",
        "HARMONY_TEMPORAL_UI: \"ui\" is no address such as http://127.0.0.1:8233 (set in harmony.toml)",
        "TEMPORAL_TLS_CLIENT_KEY_PATH: TEMPORAL_TLS_CLIENT_CERT_PATH is set, this must be, too (looked for in the environment and in harmony.toml)",
        "TEMPORAL_TLS_CLIENT_CERT_PATH: /nowhere/client.pem cannot be read: No such file or directory (os error 2) (set in the environment)",
        "HARMONY_SALT_KEY: ",
    ];
    let told = |line: &[&str]| {
        let (code, stderr) = run(home.path(), line, &environment);
        assert_eq!(code, 2, "{line:?}: {stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
        stderr
    };
    for line in [&["worker"][..], &["serve"], &["incident", "list"]] {
        let stderr = told(line);
        let found = problems(&stderr);
        assert_eq!(found.len(), of_settings.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(of_settings) {
            assert!(found.starts_with(expected), "{found}, expected {expected}");
        }
    }
    // The check looks at the files and folders, too.
    let stderr = told(&["config", "check"]);
    let found = problems(&stderr);
    for expected in [
        "HARMONY_DIRECTORY: there is no directory of people at .harmony/directory.toml",
        "HARMONY_RUNBOOKS: there are no runbooks",
    ] {
        assert!(found.iter().any(|one| one.starts_with(expected)), "{found:#?}");
    }
    assert_eq!(found.len(), of_settings.len() + 2, "{found:#?}");
    // As it is with a process whose settings are right.
    fs::remove_file(home.path().join("harmony.toml")).unwrap();
    for (line, expected) in [
        (&["worker"][..], &["HARMONY_DIRECTORY: ", "HARMONY_RUNBOOKS: "][..]),
        (&["worker", "--queue", "harmony-runbooks"], &["HARMONY_RUNBOOKS: ", "HARMONY_TICKET_PUBLIC_KEY: "]),
        (&["serve"], &["HARMONY_DIRECTORY: ", "HARMONY_RUNBOOKS: "]),
        (&["config", "check", "--for", "runbooks"], &["HARMONY_RUNBOOKS: ", "HARMONY_TICKET_PUBLIC_KEY: "]),
    ] {
        let (code, stderr) =
            run(home.path(), line, &[("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/none")]);
        let found = problems(&stderr);
        let as_expected = found.len() == expected.len()
            && found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected));
        assert!(code == 2 && as_expected, "{line:?}: {stderr}");
    }
    let made: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
    assert!(made.is_empty(), "nothing was made: {made:?}");
}

/// The first line of an export.
const HEADER: &str = r#"{"format":"harmony-log/1","org":"default"}"#;

#[test]
fn an_export_is_verified_with_nothing_but_the_file() {
    let home = tempfile::tempdir().unwrap();
    let verify = |text: &str| {
        fs::write(home.path().join("export.jsonl"), text).unwrap();
        let output = harmony(home.path())
            .args(["log", "verify", "--file", "export.jsonl", "--unsigned"])
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let unsigned =
        "only the chain was checked, no signature: whoever wrote the file could have rewritten or cut it\n";
    let (code, stdout, stderr) = verify(&format!("{HEADER}\n"));
    assert!(stderr.starts_with("the file has no checkpoint"), "{stderr}");
    let expected = format!("{unsigned}verified: 0 incidents, 0 records, 0 findings\n");
    assert_eq!((code, stdout), (0, expected));

    let record = r#"{"incident":"INC-2026-0001","seq":1,"hash":"00","canonical":""}"#;
    let (code, stdout, stderr) = verify(&format!("{HEADER}\n{record}\nhalf a l"));
    assert_eq!(code, 1);
    let finding = "INC-2026-0001 record 1: the bytes do not match their hash (line 2)\n";
    assert!(stdout.starts_with(&format!("{unsigned}{finding}")), "{stdout}");
    assert!(stdout.contains("(line 3)"), "{stdout}");
    assert!(stderr.contains("the log is not what was written"), "{stderr}");

    let (code, _, stderr) = verify("half a l");
    assert!(code == 1 && stderr.contains("line 1 is not the header of an export"), "{stderr}");
    let made: Vec<_> = fs::read_dir(home.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(made, ["export.jsonl"]);
}

#[test]
fn a_missing_export_is_named() {
    let home = tempfile::tempdir().unwrap();
    let (code, stderr) = run(home.path(), &["log", "verify", "--file", "nowhere.jsonl", "--unsigned"], &[]);
    assert!(code == 1 && stderr.contains("cannot open nowhere.jsonl"), "{stderr}");
}

/// A log with one incident, made as Harmony would.
fn declared(home: &Path) {
    let org = OrgId::default();
    let context = Context {
        actor: "oncall".to_owned(),
        authority: Authority::OnCallSre,
        cause: Cause::default(),
        occurred_at: jiff::Timestamp::UNIX_EPOCH,
    };
    let title = Some(Text::plain("Checkout is down"));
    let incident = IncidentCreated { title, severity: Severity::P1.into(), ..IncidentCreated::default() };
    let command = harmony_incidents::Command::Declare { incident };
    let rules = RuleSet::default();
    let data = home.join(".harmony");
    fs::create_dir(&data).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let salt = SaltKey::parse(&"5a".repeat(32)).unwrap();
        let log = SqliteLog::open(&data.join("harmony.db"), salt).await.unwrap();
        log.append(Append {
            org: &org,
            target: Target::New { year: 2026 },
            key: "d1",
            command: &command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &|head| judge(head, &command, &context, rules.rules()),
            follow: &|_| vec![],
        })
        .await
        .unwrap();
    });
}

#[test]
fn a_checkpoint_is_signed_once_and_held_against_the_log_and_its_export() {
    let home = tempfile::tempdir().unwrap();
    declared(home.path());
    let say = |line: &[&str]| {
        let output = harmony(home.path()).args(line).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let write = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
    let (code, note, stderr) = say(&["log", "checkpoint"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(note.starts_with("harmony-log/default\n1\n"), "{note}");
    assert_eq!(say(&["log", "checkpoint"]).1, note);
    let mode = fs::metadata(home.path().join(".harmony/checkpoint.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    write("note", &note);
    let (_, export, _) = say(&["log", "export"]);
    assert!(export.lines().last().unwrap().starts_with("{\"checkpoint\":\"harmony-log/default"), "{export}");
    write("export.jsonl", &export);
    let (code, none, _) = say(&["log", "export", "--since", "2999-01-01", "--until", "2999-01-02"]);
    assert_eq!((code, none.lines().count()), (0, 2), "a header and a checkpoint: {none}");
    let (code, _, stderr) = say(&["log", "export", "--incident", "INC-2026-0099"]);
    assert!(code == 4 && stderr.contains("INC-2026-0099 does not exist"), "{stderr}");
    let (code, _, stderr) = say(&["log", "export", "--since", "yesterday"]);
    assert!(code == 2 && stderr.contains("expected 2026-11-29"), "{stderr}");
    let (_, verifier, _) = say(&["log", "checkpoint", "--print-key"]);
    let verifier = verifier.trim();

    // Elsewhere, such as where a backup was restored, there is the setting and no data directory.
    let key = fs::read_to_string(home.path().join(".harmony/checkpoint.key")).unwrap();
    let database = format!("sqlite://{}", home.path().join(".harmony/harmony.db").display());
    let restored = [
        ("DATABASE_URL", database.as_str()),
        ("HARMONY_CHECKPOINT_KEY", key.trim()),
        ("HARMONY_DATA_DIR", "none"),
    ];
    let (code, stderr) = run(home.path(), &["log", "verify", "--checkpoint", "note"], &restored);
    assert_eq!(code, 0, "{stderr}");
    let (code, stderr) =
        run(home.path(), &["log", "verify", "--checkpoint", "note"], &[restored[0], restored[2]]);
    assert!(code == 2 && stderr.contains("set HARMONY_CHECKPOINT_KEY"), "{stderr}");

    let verify = ["log", "verify", "--checkpoint", "note"];
    let file = ["log", "verify", "--file", "export.jsonl", "--verifier-key", verifier];
    let both = [&file[..], &verify[2..]].concat();
    let keyless = ["log", "verify", "--file", "export.jsonl"];
    let unsigned = [&keyless[..], &["--unsigned"]].concat();
    let (code, stdout, stderr) = say(&keyless);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("--verifier-key") && stderr.contains("checkpoint --print-key"), "{stderr}");
    let (code, stdout, _) = say(&unsigned);
    assert!(code == 0 && stdout.starts_with("only the chain was checked, no signature"), "{stdout}");
    let answer = |line: &[&str]| -> serde_json::Value {
        serde_json::from_str(&say(&[line, &["--json"]].concat()).1).unwrap()
    };
    assert_eq!(answer(&unsigned)["signatureChecked"], false);
    assert_eq!(answer(&file)["signatureChecked"], true);
    assert_eq!(say(&[&unsigned[..], &["--checkpoint", "note"]].concat()).0, 2);
    let signature = export.rsplit_once("harmony-log/default ").unwrap().1;
    let changed = signature.replacen(['C', 'D', 'E', 'F', 'G', 'H'], "B", 1);
    for broken in [export.replace("— harmony-log", "— other-log"), export.replace(signature, &changed)] {
        assert_ne!(broken, export);
        write("export.jsonl", &broken);
        assert_eq!(say(&file).0, 1, "a signature that is missing or does not hold");
    }
    write("export.jsonl", export.rsplit_once("{\"checkpoint").unwrap().0);
    let (code, stdout, _) = say(&file);
    assert!(code == 1 && stdout.contains("does not end with a checkpoint"), "{stdout}");
    write("export.jsonl", &export);
    for line in [&verify[..], &file, &both] {
        let (code, stdout, stderr) = say(line);
        assert_eq!(
            (code, stdout.as_str()),
            (0, "verified: 1 incidents, 1 records, 0 findings\n"),
            "{stderr}"
        );
    }

    let lines: Vec<&str> = export.lines().collect();
    write("export.jsonl", &format!("{}\n{}\n", lines[0], lines[2]));
    for line in [&file[..], &both] {
        let (code, stdout, _) = say(line);
        assert_eq!(code, 1);
        assert!(stdout.starts_with("INC-2026-0001 record 1: "), "{stdout}");
    }
    write("note", &note.replace("INC-2026-0001 1", "INC-2026-0001 2"));
    let (code, _, stderr) = say(&verify);
    assert!(code == 1 && stderr.contains("the signature of harmony-log/default does not hold"), "{stderr}");
    assert_eq!(say(&["log", "checkpoint", "--key", "note"]).0, 2);
}

/// The installations of `config init --for`, by the name of their example.
const INSTALLATIONS: [(&str, &[&str]); 5] = [
    ("laptop", &["laptop"]),
    ("server", &["server", "--console-url", "https://harmony.example.com"]),
    (
        "server-postgres",
        &[
            "server",
            "--postgres",
            "postgres://harmony@%2Fvar%2Frun%2Fpostgresql/harmony",
            "--temporal-address",
            "temporal.example.com:7233",
        ],
    ),
    (
        "kubernetes",
        &[
            "kubernetes",
            "--postgres",
            "postgres://harmony:changed@postgres.example.com/harmony",
            "--console-url",
            "https://harmony.example.com",
        ],
    ),
    ("temporal-cloud", &["server", "--temporal-cloud", "harmony.a1b2c"]),
];

/// Every file below a folder, by its path below it.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}

/// Where `config check` finds what was written: in place of the pods' environment and files for Kubernetes, in place of
/// the root for a server.
fn environment(folder: &Path) -> Vec<(String, String)> {
    let at = |name: &str| folder.join(name).display().to_string();
    let set = |name: &str, value: String| (name.to_owned(), value);
    if folder.join("harmony.toml").exists() {
        return vec![set("HARMONY_CONFIG", at("harmony.toml"))];
    }
    if folder.join("etc").exists() {
        return vec![
            set("HARMONY_CONFIG", at("etc/harmony/harmony.toml")),
            set("HARMONY_DATA_DIR", at("var/lib/harmony")),
            set("HARMONY_RUNBOOKS", at("etc/harmony/runbooks")),
        ];
    }
    let data = folder.join("pod");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let values: Value = serde_norway::from_str(&read("values.yaml")).unwrap();
    let place = |below: &str, files: &[(&String, &Value)]| {
        fs::create_dir_all(data.join(below)).unwrap();
        for (name, text) in files {
            fs::write(data.join(below).join(name), text.as_str().unwrap()).unwrap();
        }
    };
    for (key, below) in [
        ("promotionPolicies", "policies"),
        ("environmentPolicies", "policies/environments"),
        ("updateTemplates", "templates/updates"),
    ] {
        place(below, &values[key].as_object().unwrap().iter().collect::<Vec<_>>());
    }
    for (key, file) in
        [("directory", "directory.toml"), ("policy", "policy.toml"), ("accessPolicies", "policies.cedar")]
    {
        fs::write(data.join(file), values["governance"][key].as_str().unwrap()).unwrap();
    }
    let mut set: Vec<_> = vec![
        set("HARMONY_DATA_DIR", data.display().to_string()),
        set("HARMONY_RUNBOOKS", concat!(env!("CARGO_MANIFEST_DIR"), "/../runbooks").to_owned()),
    ];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    set.extend(values["config"].as_object().unwrap().iter().map(|(key, value)| (key.clone(), text(value))));
    for document in serde_norway::Deserializer::from_str(&read("secrets.yaml")) {
        let secret = Value::deserialize(document).unwrap();
        let data = secret["stringData"].as_object().unwrap();
        set.extend(data.iter().map(|(key, value)| (key.clone(), text(value))));
    }
    set
}

#[test]
fn what_config_init_writes_is_whole_closed_and_clean() {
    let home = tempfile::tempdir().unwrap();
    for (name, arguments) in INSTALLATIONS {
        let folder = home.path().join(name);
        let init = || {
            let mut command = harmony(home.path());
            command
                .args(["config", "init"])
                .arg(&folder)
                .args(["--admin", "ada", "--json", "--for"])
                .args(arguments);
            command.output().unwrap()
        };
        let output = init();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let token = told["token"].as_str().unwrap();
        let written = files(&folder);
        assert_eq!(written.len(), told["files"].as_array().unwrap().len(), "{name}");

        // The token is nowhere but where the commands of a laptop look for it, and what is secret is closed to others.
        let holds: Vec<&String> =
            written.iter().filter(|(_, text)| text.contains(token)).map(|(name, _)| name).collect();
        assert_eq!(holds, if name == "laptop" { vec!["data/token"] } else { vec![] }, "{name}");
        for file in ["data/token", "harmony.toml", "var/lib/harmony/directory.toml", "secrets.yaml"] {
            if let Ok(found) = fs::metadata(folder.join(file)) {
                assert_eq!(found.permissions().mode() & 0o077, 0, "{name}: {file}");
            }
        }

        // Everything is right, for every process, and the first person is known by the token.
        let set = environment(&folder);
        let set: Vec<(&str, &str)> = set.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let (code, stderr) = run(home.path(), &["config", "check"], &set);
        assert_eq!((code, stderr.as_str()), (0, ""), "{name}");
        let list =
            harmony(home.path()).args(["user", "list", "--json"]).envs(set.iter().copied()).output().unwrap();
        let people: Value = serde_json::from_slice(&list.stdout).unwrap();
        assert_eq!(people["users"][0]["id"], "ada", "{name}");

        // Once.
        let again = init();
        assert_eq!(again.status.code(), Some(2), "{name}");
        let problem: Value = serde_json::from_slice(&again.stderr).unwrap();
        assert!(problem["detail"].as_str().unwrap().contains("is there already"), "{name}: {problem}");
        let unchanged: BTreeMap<String, String> =
            files(&folder).into_iter().filter(|(name, _)| !name.starts_with("pod/")).collect();
        assert_eq!(unchanged, written, "{name}");
    }
}

/// `examples/` holds what differs from one installation to the next; a hash of a token is that of nobody's.
#[test]
fn examples_are_what_config_init_writes() {
    let home = tempfile::tempdir().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for (name, arguments) in INSTALLATIONS {
        let folder = home.path().join(name);
        let mut command = harmony(home.path());
        command.args(["config", "init"]).arg(&folder).args(["--admin", "ada", "--for"]).args(arguments);
        command.assert().success();
        let masked: BTreeMap<String, String> = files(&folder)
            .into_iter()
            .filter(|(file, _)| {
                ["harmony.toml", "runbooks.toml", "directory.toml", "policy.toml", "values.yaml"]
                    .iter()
                    .any(|end| file.ends_with(end))
            })
            .map(|(file, text)| {
                let masked = |line: &str| {
                    ["token_sha256 = ", "HARMONY_TICKET_PUBLIC_KEY: "]
                        .iter()
                        .find_map(|key| Some(line.split_once(key)?.0.to_owned() + key))
                        .map_or_else(|| line.to_owned(), |head| format!("{head}\"{}\"", "0".repeat(64)))
                };
                let text = text.replace(&folder.display().to_string(), "/home/ada/harmony");
                (file, text.lines().map(|line| masked(line) + "\n").collect())
            })
            .collect();
        let kept = examples.join(name);
        if std::env::var_os("HARMONY_WRITE_REFERENCE").is_some() {
            for (file, text) in &masked {
                fs::create_dir_all(kept.join(file).parent().unwrap()).unwrap();
                fs::write(kept.join(file), text).unwrap();
            }
        }
        assert_eq!(
            files(&kept),
            masked,
            "{name}: write it again: HARMONY_WRITE_REFERENCE=1 cargo test -p harmony --test cli examples"
        );
    }
}

#[test]
fn what_cannot_be_installed_is_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["kubernetes"][..], "no address of one was given"),
        (&["server", "--postgres", "mysql://db"], "does not begin with postgres://"),
        (&["laptop", "--admin", "two\tlines"], "printable characters"),
        (&["laptop", "--console-url", "nowhere"], "HARMONY_CONSOLE_URL"),
        (&["laptop", "--temporal-cloud", "harmony"], "no namespace of Temporal Cloud"),
        (&["desktop"], "invalid value 'desktop'"),
    ] {
        let line = [&["config", "init", "new", "--for"], arguments].concat();
        let (code, stderr) = run(home.path(), &line, &[]);
        assert_eq!(code, 2, "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
        assert!(!home.path().join("new").exists(), "{arguments:?}");
    }
    // A file in the way: nothing of the rest is written.
    let folder = home.path().join("taken");
    fs::create_dir_all(folder.join("data")).unwrap();
    fs::write(folder.join("data/policy.toml"), "# mine\n").unwrap();
    let (code, stderr) = run(home.path(), &["config", "init", "taken", "--for", "laptop"], &[]);
    assert!(code == 2 && stderr.contains("data/policy.toml is there already"), "{stderr}");
    assert_eq!(files(&folder).len(), 1);
}

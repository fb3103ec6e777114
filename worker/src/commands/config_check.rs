//! `harmony config check`: every setting with where it came from, every file, and what is wrong with each.
//!
//! Connects to nothing, but with `--live`. Secrets are shown as set or not set.

use std::{env, process::ExitCode};

use serde_json::{Value, json};

use super::config_live;
use crate::{
    checks::{self, Check, Process},
    config::Config,
    failure::{Exit, Failure, Failures},
    output,
    settings::{KEYS, Kind},
};

/// Names of the environment that are ours and read apart from the settings.
const OTHERS: [&str; 1] = ["HARMONY_CONFIG"];

/// Looks at everything that these processes need, and at what was `wrong` with the settings; tells all of it. Ends with
/// 2 where something is wrong.
pub(crate) async fn run(
    config: &Config,
    wrong: Vec<Failure>,
    processes: &[Process],
    live: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut all: Vec<Check> = wrong.into_iter().map(of_setting).collect();
    // What is wrong by itself needs no second row.
    let known: Vec<Failure> = all.iter().filter_map(|check| check.found.clone().err()).collect();
    let is_new = |check: &Check| check.found.as_ref().err().is_none_or(|failure| !known.contains(failure));
    all.extend(described(config, processes).into_iter().filter(is_new));
    // What is wrong here needs no asking there.
    if live && all.iter().all(|check| check.found.is_ok()) {
        all.extend(config_live::checks(config, processes).await);
    } else if live {
        output::say("nothing was asked yet: correct what is WRONG first");
    }
    let unknown = unknown_names();
    if json {
        output::json(&as_json(config, &all, &unknown));
    } else {
        print(config, &all);
    }
    for name in &unknown {
        output::say(&format!("warning: there is no setting {name}; it has no effect"));
    }
    let mut problems: Vec<Failure> = all.into_iter().filter_map(|check| check.found.err()).collect();
    problems.dedup();
    Failures::tell(&problems);
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Exit::Usage.code()) })
}

/// A row that is called by its setting.
fn of_setting(failure: Failure) -> Check {
    let name = failure.what.split_once(": ").map(|(name, _)| name);
    let key = KEYS.iter().find(|(key, _)| Some(*key) == name);
    Check { what: key.map_or("settings", |(key, _)| key).to_owned(), found: Err(failure) }
}

/// What the settings come to, and what they name.
fn described(config: &Config, processes: &[Process]) -> Vec<Check> {
    let file = config.settings.file.as_ref().map_or("none".to_owned(), |path| path.display().to_string());
    let vendor = |set: bool| if set { "configured" } else { "not configured: its steps are skipped" };
    let mut all = vec![
        Check::new("harmony.toml", Ok::<_, Failure>(file)),
        Check::new("data directory", Ok::<_, Failure>(config.data_dir.display().to_string())),
    ];
    all.extend(checks::of(config, processes));
    all.extend(checks::runbooks(config));
    let mut say = |what: &str, found: String| all.push(Check::new(what, Ok::<_, Failure>(found)));
    if let Ok(url) = config.console_url() {
        say(
            "console address",
            url.map_or_else(|| "none: messages have no links".to_owned(), |url| url.to_string()),
        );
    }
    if let Ok(hooks) = config.webhooks() {
        let senders = [
            ("pagerduty", hooks.pagerduty.len()),
            ("alertmanager", hooks.alertmanager.len()),
            ("grafana", hooks.grafana.len()),
            ("github", hooks.deploys.github.len()),
            ("gitlab", hooks.deploys.gitlab.len()),
            ("jira", hooks.jira.len()),
            ("argocd", hooks.deploys.argocd.len()),
            ("cdevents", hooks.deploys.cdevents.len()),
            ("change events", hooks.deploys.changes.len()),
        ];
        let taken: Vec<&str> =
            senders.iter().filter(|(_, secrets)| *secrets > 0).map(|(name, _)| *name).collect();
        let taken = if taken.is_empty() { "none: nobody may post".to_owned() } else { taken.join(", ") };
        say("webhooks", taken);
    }
    say("temporal", format!("{}, namespace {}", config.temporal_address, config.temporal_namespace));
    say("flags", config.flags.describe());
    say("traces", config.traces.as_ref().map_or("sent nowhere".to_owned(), |traces| traces.describe()));
    say("http", config.http_addr.to_string());
    say("slack", vendor(config.vendors.slack.is_some()).to_owned());
    say("pagerduty", vendor(config.vendors.pagerduty.is_some()).to_owned());
    say("statuspage", vendor(config.vendors.statuspage.is_some()).to_owned());
    say("confluence", vendor(config.vendors.confluence.is_some()).to_owned());
    say("jira", vendor(config.vendors.jira.is_some()).to_owned());
    say("github", vendor(config.vendors.github.is_some()).to_owned());
    say("mail", vendor(config.vendors.mail.is_some()).to_owned());
    say("fan-out", config.fan_out.told());
    all
}

fn print(config: &Config, checks: &[Check]) {
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| match &check.found {
            Ok(found) => vec!["ok".to_owned(), check.what.clone(), found.clone()],
            Err(failure) => vec!["WRONG".to_owned(), check.what.clone(), failure.what.clone()],
        })
        .collect();
    output::table(&["", "WHAT", "FOUND"], &rows);
    let rows: Vec<Vec<String>> = settings(config)
        .into_iter()
        .map(|(key, value, source)| vec![key.to_owned(), value, source.to_owned()])
        .collect();
    if !rows.is_empty() {
        output::data("");
        output::table(&["SETTING", "VALUE", "FROM"], &rows);
    }
}

fn as_json(config: &Config, checks: &[Check], unknown: &[String]) -> Value {
    let checked: Vec<Value> = checks
        .iter()
        .map(|check| match &check.found {
            Ok(found) => json!({ "what": check.what, "ok": true, "found": found }),
            Err(failure) => {
                json!({ "what": check.what, "ok": false, "problem": failure.what, "hint": failure.hint })
            }
        })
        .collect();
    let set: Vec<Value> = settings(config)
        .into_iter()
        .map(|(key, value, source)| json!({ "key": key, "value": value, "from": source }))
        .collect();
    json!({ "ok": checks.iter().all(|check| check.found.is_ok()), "checks": checked, "settings": set, "unknown": unknown })
}

/// What was set, where, and to what where that may be shown.
fn settings(config: &Config) -> Vec<(&'static str, String, &'static str)> {
    KEYS.iter()
        .filter_map(|(key, kind)| {
            let source = config.source(key)?;
            let value = match kind {
                Kind::Open => config.settings.get(key).unwrap_or_default().to_owned(),
                Kind::Secret => "(set)".to_owned(),
            };
            Some((*key, value, source.name()))
        })
        .collect()
}

/// Names that look like ours and are none.
fn unknown_names() -> Vec<String> {
    let known = |name: &str| OTHERS.contains(&name) || KEYS.iter().any(|(key, _)| *key == name);
    let ours = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut unknown: Vec<String> = ours.filter(|name| name.starts_with("HARMONY_") && !known(name)).collect();
    unknown.sort();
    unknown
}

//! `harmony config check`: every setting with where it came from, every file, and what is wrong with each.
//!
//! Connects to nothing, but with `--live`. Secrets are shown as set or not set.

use std::{env, process::ExitCode};

use serde_json::{Value, json};

use super::config_live;
use crate::{
    config::Config,
    failure::{Exit, Failure},
    flags::FlagService,
    output, promotion_policies,
    settings::{KEYS, Kind},
};

/// Names of the environment that are ours and read apart from the settings.
const OTHERS: [&str; 1] = ["HARMONY_CONFIG"];

/// One thing that was looked at.
pub(super) struct Check {
    pub(super) what: &'static str,
    /// What it is, or what is wrong with it.
    pub(super) found: Result<String, Failure>,
}

/// Looks at everything and says so; ends with 2 where something is wrong.
pub(crate) async fn run(config: &Config, live: bool, json: bool) -> anyhow::Result<ExitCode> {
    let mut checks = checks(config);
    // What is wrong by itself needs no asking.
    if live && checks.iter().all(|check| check.found.is_ok()) {
        checks.extend(config_live::checks(config).await);
    }
    let wrong = checks.iter().filter(|check| check.found.is_err()).count();
    let unknown = unknown_names();
    if json {
        output::json(&as_json(config, &checks, &unknown));
    } else {
        print(config, &checks);
        for name in &unknown {
            output::say(&format!("warning: there is no setting {name}; it has no effect"));
        }
    }
    if wrong == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let first = checks.iter().find_map(|check| check.found.as_ref().err());
    let (what, hint) = first.map(|failure| (failure.what.clone(), failure.hint.clone())).unwrap_or_default();
    output::problem(&what, &hint);
    Ok(ExitCode::from(Exit::Usage.code()))
}

fn checks(config: &Config) -> Vec<Check> {
    let file = config.settings.file.as_ref().map_or("none".to_owned(), |path| path.display().to_string());
    let vendor =
        |set: bool| Ok(if set { "configured" } else { "not configured: its steps are skipped" }.to_owned());
    let people = || {
        let governance = config.governance(FlagService::defaults()).map_err(failure)?;
        let rules = harmony_incidents::RulesSource::current(&*governance);
        Ok(format!("{}: {} people", config.directory_path().display(), rules.directory.principals().len()))
    };
    let policy = || {
        let path = config.policy_path();
        Ok(if path.is_file() { path.display().to_string() } else { "the defaults".to_owned() })
    };
    let access = || {
        let path = config.access_path();
        if !path.is_file() {
            return Ok("the defaults".to_owned());
        }
        let governance = config.governance(FlagService::defaults()).map_err(failure)?;
        let rules = harmony_incidents::RulesSource::current(&*governance);
        Ok(format!("{}: {} policies", path.display(), rules.access.count()))
    };
    let issuer = || {
        let Some(oidc) = config.oidc()? else {
            return Ok("not configured: tokens of the directory alone".to_owned());
        };
        Ok(match oidc.browser {
            Some(browser) => format!("{}; browsers come back to {}", oidc.issuer, browser.redirect_uri),
            None => format!("{}: tokens alone, nobody signs in by browser", oidc.issuer),
        })
    };
    let promotion = || {
        let folder = config.promotion_policies_path();
        let hint = "correct the file; docs/promotion.md lists the fields";
        let policies = promotion_policies::read(&folder).map_err(|error| Failure::usage(error, hint))?;
        let names = policies.names();
        let named = if names.is_empty() { "none: nothing is promoted".to_owned() } else { names.join(", ") };
        Ok(format!("{}: {named}", folder.display()))
    };
    let runbooks = || {
        let root = config.runbook_root().map_err(failure)?;
        let found = root.list().map_err(|error| failure(error.into()))?;
        Ok(format!("{}: {} runbooks", config.runbooks_path().display(), found.len()))
    };
    let key = |set: bool, file: &str| {
        Ok(if set { "set".to_owned() } else { config.in_data_dir(file).display().to_string() })
    };
    let given = |name: &str| config.settings.get(name).is_some();
    vec![
        Check { what: "harmony.toml", found: Ok(file) },
        Check { what: "data directory", found: Ok(config.data_dir.display().to_string()) },
        Check { what: "database", found: config.database().map(|address| address.to_string()) },
        Check { what: "directory", found: people() },
        Check { what: "policy", found: policy() },
        Check { what: "access policies", found: access() },
        Check {
            what: "console address",
            found: config.console_url().map(|url| {
                url.map_or_else(|| "none: messages have no links".to_owned(), |url| url.to_string())
            }),
        },
        Check {
            what: "webhooks",
            found: config.webhooks().map(|hooks| {
                let senders = [
                    ("pagerduty", hooks.pagerduty.len()),
                    ("alertmanager", hooks.alertmanager.len()),
                    ("grafana", hooks.grafana.len()),
                ];
                let taken: Vec<&str> =
                    senders.iter().filter(|(_, secrets)| *secrets > 0).map(|(name, _)| *name).collect();
                if taken.is_empty() { "none: nobody may post".to_owned() } else { taken.join(", ") }
            }),
        },
        Check { what: "oidc", found: issuer() },
        Check { what: "promotion policies", found: promotion() },
        Check { what: "runbooks", found: runbooks() },
        Check {
            what: "attestation key",
            found: if given("HARMONY_ATTESTATION_KEY") {
                config.attestation_keys().map(|_| "set".to_owned()).map_err(failure)
            } else {
                key(false, "attestation.key")
            },
        },
        Check {
            what: "salt key",
            found: if given("HARMONY_SALT_KEY") {
                config.salt_key().map(|_| "set".to_owned()).map_err(failure)
            } else {
                key(false, "salt.key")
            },
        },
        Check {
            what: "temporal",
            found: Ok(format!("{}, namespace {}", config.temporal_address, config.temporal_namespace)),
        },
        Check { what: "flags", found: Ok(config.flags.describe()) },
        Check {
            what: "traces",
            found: Ok(config.traces.as_ref().map_or("sent nowhere".to_owned(), |traces| traces.describe())),
        },
        Check { what: "http", found: Ok(config.http_addr.to_string()) },
        Check { what: "slack", found: vendor(config.vendors.slack.is_some()) },
        Check { what: "pagerduty", found: vendor(config.vendors.pagerduty.is_some()) },
        Check { what: "statuspage", found: vendor(config.vendors.statuspage.is_some()) },
        Check { what: "confluence", found: vendor(config.vendors.confluence.is_some()) },
        Check { what: "fan-out", found: Ok(config.fan_out.told()) },
    ]
}

fn print(config: &Config, checks: &[Check]) {
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|check| match &check.found {
            Ok(found) => vec!["ok".to_owned(), check.what.to_owned(), found.clone()],
            Err(failure) => vec!["WRONG".to_owned(), check.what.to_owned(), failure.what.clone()],
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

pub(super) fn failure(error: anyhow::Error) -> Failure {
    match error.downcast::<Failure>() {
        Ok(failure) => failure,
        Err(error) => Failure::usage(format!("{error:#}"), "correct it and look again"),
    }
}

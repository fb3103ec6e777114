//! What a process needs beside its settings: files, folders and keys, looked at before anything is made or connected to.
//!
//! `config check` tells all of it; `worker`, `serve` and `dev` refuse to start while any of it is wrong, and then name
//! everything that is. What is wrong with a setting itself is found by [`Config`].

use std::{fs, path::Path};

use clap::ValueEnum;
use harmony_eventlog::CheckpointKey;
use harmony_incidents::{RulesSource, attestation::AttestationKeys, record::SaltKey, ticket::TicketKey};
use secrecy::ExposeSecret;

use crate::{
    config::Config,
    confinement, deployments, environment_policies,
    failure::{Failure, Failures},
    flags::FlagService,
    jobs, keys, promotion_policies, update_templates,
};

/// A kind of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Process {
    /// Workflows and connectors: `harmony worker --queue harmony-incidents`
    Worker,
    /// Runbook cells: `harmony worker --queue harmony-runbooks`
    Runbooks,
    /// `harmony serve`
    Console,
}

use Process::{Console, Runbooks, Worker};

/// Every kind.
pub(crate) const EVERYTHING: [Process; 3] = [Worker, Runbooks, Console];

/// One thing that was looked at.
pub(crate) struct Check {
    /// Its name.
    pub(crate) what: String,
    /// What it is, or what is wrong with it.
    pub(crate) found: Result<String, Failure>,
}

impl Check {
    /// Under this name.
    pub(crate) fn new(what: &str, found: Result<String, impl Into<Failure>>) -> Self {
        Self { what: what.to_owned(), found: found.map_err(Into::into) }
    }
}

/// Everything that these kinds of processes need.
pub(crate) fn of(config: &Config, processes: &[Process]) -> Vec<Check> {
    let any = |needing: &[Process]| needing.iter().any(|one| processes.contains(one));
    let mut checks = Vec::new();
    let mut look = |needing: &[Process], what: &str, found: &dyn Fn() -> Result<String, Failure>| {
        if any(needing) {
            let found = found().map_err(|failure| config.settings.placed(failure));
            checks.push(Check { what: what.to_owned(), found });
        }
    };
    let doors = [Worker, Console];
    look(&doors, "database", &|| Ok(config.database()?.to_string()));
    look(&doors, "directory", &|| people(config));
    look(&doors, "policy", &|| {
        let path = config.policy_path();
        Ok(if path.is_file() { path.display().to_string() } else { "the defaults".to_owned() })
    });
    look(&doors, "access policies", &|| access(config));
    look(&doors, "promotion policies", &|| promotion(config));
    look(&doors, "environment policies", &|| {
        let folder = config.environment_policies_path();
        let hint = "correct the file; docs/change-windows.md lists the fields";
        let policies = environment_policies::read(&folder).map_err(|error| Failure::usage(error, hint))?;
        Ok(named(&folder, policies.in_force().map(|policy| policy.reference.to_string())))
    });
    look(&[Worker], "review template", &|| {
        let template = config.review_template()?;
        Ok(if template.is_built_in() {
            "the built-in one".to_owned()
        } else {
            "the organisation's own".to_owned()
        })
    });
    look(&[Console], "update templates", &|| {
        let folder = config.update_templates_path();
        let hint = "correct the file; docs/templates.md lists the fields";
        let templates = update_templates::read(&folder).map_err(|error| Failure::usage(error, hint))?;
        Ok(named(&folder, templates.names()))
    });
    look(&EVERYTHING, "runbooks", &|| {
        let root = config.runbook_root()?;
        let found = root.list().map_err(|error| Failure::from(anyhow::Error::from(error)))?;
        Ok(format!("{}: {} runbooks", config.runbooks_path().display(), found.len()))
    });
    let pool = !processes.contains(&Worker);
    look(&[Runbooks], "runbook cells", &|| confinement::told(config, pool));
    look(&[Runbooks], "runbook jobs", &|| jobs::told(config));
    look(&[Runbooks], "runbook secrets", &|| folder(config, "HARMONY_RUNBOOK_SECRETS", "none"));
    look(&[Worker], "deployments", &|| deployments::told(config));
    look(&[Worker], "checkpoints", &|| folder(config, "HARMONY_CHECKPOINT_DIR", "kept in no folder"));
    look(&doors, "attestation key", &|| {
        key(config, "HARMONY_ATTESTATION_KEY", "attestation.key", AttestationKeys::parse)
    });
    look(&doors, "salt key", &|| key(config, "HARMONY_SALT_KEY", "salt.key", SaltKey::parse));
    look(&doors, "checkpoint key", &|| {
        key(config, "HARMONY_CHECKPOINT_KEY", "checkpoint.key", CheckpointKey::parse)
    });
    look(&[Worker], "ticket key", &|| {
        let found = key(config, "HARMONY_TICKET_KEY", "ticket.key", TicketKey::parse)?;
        // What the runbook pool needs, once there is a key.
        Ok(match config.known_ticket_key()? {
            Some(key) => format!("{found}; its public key: {}", key.public()),
            None => found,
        })
    });
    // A worker of both queues leaves it for itself.
    if !processes.contains(&Worker) {
        look(&[Runbooks], "ticket public key", &|| config.ticket_verifier().map(|_| "set".to_owned()));
    }
    look(&[Console], "session key", &|| {
        key(config, "HARMONY_SESSION_KEY", "session.key", |_| Ok::<_, Failure>(()))
    });
    look(&[Console], "oidc", &|| {
        let Some(oidc) = config.oidc()? else {
            return Ok("not configured: tokens of the directory alone".to_owned());
        };
        Ok(match oidc.browser {
            Some(browser) => format!("{}; browsers come back to {}", oidc.issuer, browser.redirect_uri),
            None => format!("{}: tokens alone, nobody signs in by browser", oidc.issuer),
        })
    });
    checks
}

/// Refuses to start while anything that these processes need is wrong.
pub(crate) fn before_start(config: &Config, processes: &[Process]) -> Result<(), Failures> {
    Failures::none(of(config, processes).into_iter().filter_map(|check| check.found.err()).fold(
        Vec::new(),
        // A file that several things stand in is told once.
        |mut told, failure| {
            if !told.contains(&failure) {
                told.push(failure);
            }
            told
        },
    ))
}

fn people(config: &Config) -> Result<String, Failure> {
    let rules = config.governance(FlagService::defaults())?.current();
    Ok(format!("{}: {} people", config.directory_path().display(), rules.directory.principals().len()))
}

fn access(config: &Config) -> Result<String, Failure> {
    let path = config.access_path();
    if !path.is_file() {
        return Ok("the defaults".to_owned());
    }
    let rules = config.governance(FlagService::defaults())?.current();
    Ok(format!("{}: {} policies", path.display(), rules.access.count()))
}

fn promotion(config: &Config) -> Result<String, Failure> {
    let folder = config.promotion_policies_path();
    let hint = "correct the file; docs/promotion.md lists the fields";
    let policies = promotion_policies::read(&folder).map_err(|error| Failure::usage(error, hint))?;
    // What is wrong with a secret itself is told with the settings.
    if let Ok(webhooks) = config.webhooks() {
        for (secrets, setting, policy) in [
            (&webhooks.pagerduty, "PAGERDUTY_WEBHOOK_SECRET", "pagerduty"),
            (&webhooks.alertmanager, "HARMONY_ALERTMANAGER_SECRET", "alerts"),
            (&webhooks.grafana, "HARMONY_GRAFANA_SECRET", "alerts"),
        ] {
            if !secrets.is_empty() && policies.get(policy, None).is_none() {
                return Err(Failure::usage(
                    format!(
                        "{}: {setting} opens a webhook, and there is no policy {policy}",
                        folder.display()
                    ),
                    format!("copy policies/{policy}.toml into the folder, or unset {setting}"),
                ));
            }
        }
    }
    let names = policies.names();
    let named = if names.is_empty() { "none: nothing is promoted".to_owned() } else { names.join(", ") };
    Ok(format!("{}: {named}", folder.display()))
}

/// A folder, and what is in it by name.
fn named(folder: &Path, names: impl IntoIterator<Item = String>) -> String {
    let names: Vec<String> = names.into_iter().collect();
    let named = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    format!("{}: {named}", folder.display())
}

/// What is wrong in each runbook, a row for each that has something. Nothing of it keeps a process from starting: what
/// cannot run is refused when it is proposed.
pub(crate) fn runbooks(config: &Config) -> Vec<Check> {
    let Ok(root) = config.runbook_root() else { return Vec::new() };
    let row = |path: String| {
        let what = format!("runbook {path}");
        let read = root.load(&path).map_err(|error| error.to_string());
        let parsed = read.and_then(|snapshot| {
            harmony_runner::parse(&snapshot.text).map_err(|error| format!("{path}: {error}"))
        });
        let runbook = match parsed {
            Ok(runbook) => runbook,
            Err(problem) => {
                let hint = format!("correct it; harmony runbook lint {path} looks again");
                return Some(Check::new(&what, Err(Failure::usage(problem, hint))));
            }
        };
        if runbook.refused.is_empty() {
            return None;
        }
        let refused: Vec<String> = runbook.refused.iter().map(|one| one.problem.to_string()).collect();
        let found = format!("{} cells; refused: {}", runbook.cells.len(), refused.join("; "));
        Some(Check::new(&what, Ok::<_, Failure>(found)))
    };
    root.list().unwrap_or_default().into_iter().filter_map(row).collect()
}

/// A folder that a setting names, where it does. It may come later: checkpoints make theirs, secrets are mounted.
fn folder(config: &Config, setting: &str, none: &str) -> Result<String, Failure> {
    let Some(path) = config.settings.get(setting) else { return Ok(none.to_owned()) };
    let problem = match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(path.to_owned()),
        Ok(_) => format!("{path} is no folder"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(format!("{path}: not there yet"));
        }
        Err(error) => format!("{path} cannot be used: {error}"),
    };
    Err(Failure::usage(format!("{setting}: {problem}"), format!("name a folder in {setting}, or unset it")))
}

/// A key, from its setting or its file. A file that is not there is made when the key is needed.
fn key<T, E: std::fmt::Display>(
    config: &Config,
    setting: &str,
    file: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<String, Failure> {
    if config.settings.get(setting).is_some() {
        // Looked at with the settings.
        return Ok("set".to_owned());
    }
    let path = config.in_data_dir(file);
    let shown = path.display();
    match keys::read(Path::new(&path))? {
        None => Ok(format!("{shown}: made when it is needed; set {setting} where processes share no folder")),
        Some(found) => match parse(found.expose_secret()) {
            Ok(_) => Ok(shown.to_string()),
            Err(error) => Err(Failure::usage(
                format!("{shown}: {error}"),
                format!("restore the file from a backup, or set {setting}"),
            )),
        },
    }
}

//! `harmony log …`: what is on record, and whether it can be believed.
//!
//! `verify`, `replay` and `export` work on the database itself where `DATABASE_URL` names one or no API answers: an
//! auditor needs nothing but the file and the salt key.

use std::{collections::BTreeMap, process::ExitCode};

use clap::{Args, Subcommand};
use harmony_eventlog::{Entry, Filter, SharedLog};
use harmony_incidents::{
    IncidentId,
    log::IncidentState,
    record::{self, ChainHead},
};
use harmony_protos::{kind_name, texts};
use serde_json::{Value, json};

use crate::{
    api::Api,
    commands::show,
    config::Config,
    failure::{Exit, Failure},
    output::{self, words},
};

/// Rows read at a time.
const PAGE: u32 = 500;

/// What can be done with the log.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Show an incident's records
    Show(ShowArgs),
    /// Check every byte, link, state and text
    Verify,
    /// Fold every incident again and compare each state
    Replay,
    /// Write everything as JSON Lines
    Export,
}

/// Options of `show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Such as INC-2026-0001
    id: String,
}

/// Carries out one command.
pub(crate) async fn run(config: &Config, command: &LogCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        LogCommand::Show(args) => show_records(config, &args.id, json).await?,
        LogCommand::Verify => {
            let report = match api(config).await? {
                Some(api) => api.get(&["log", "verify"], &[]).await?,
                None => json!(verify(config).await?),
            };
            return Ok(tell(&report, "verified", json));
        }
        LogCommand::Replay => {
            let report = match api(config).await? {
                Some(api) => api.get(&["log", "replay"], &[]).await?,
                None => replay(config).await?,
            };
            return Ok(tell(&report, "replayed", json));
        }
        LogCommand::Export => match api(config).await? {
            Some(api) => output::raw(&api.get_text(&["log", "export"]).await?),
            None => export(config).await?,
        },
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks the log in the database itself.
pub(crate) async fn verify(config: &Config) -> anyhow::Result<harmony_eventlog::Report> {
    let log = config.open_existing_log().await?;
    Ok(log.verify(&config.org).await.map_err(|error| unreadable(config, &error))?)
}

/// The API, unless the database was named or no API answers.
async fn api(config: &Config) -> anyhow::Result<Option<Api>> {
    if config.names_database() || config.api_origin()?.is_none() {
        return Ok(None);
    }
    let api = Api::open(config, None)?;
    let answers = match url::Url::parse(&api.origin())?.socket_addrs(|| None) {
        Ok(addresses) => {
            let connecting = tokio::net::TcpStream::connect(addresses.as_slice());
            matches!(tokio::time::timeout(std::time::Duration::from_secs(2), connecting).await, Ok(Ok(_)))
        }
        Err(_) => false,
    };
    if !answers && !config.database_path()?.is_file() {
        return Err(Failure::failed(
            format!(
                "no API answers at {}, and there is no database at {}",
                api.origin(),
                config.database_path()?.display()
            ),
            "start `harmony serve`, or set DATABASE_URL=sqlite://PATH",
        )
        .into());
    }
    Ok(answers.then_some(api))
}

fn tell(report: &Value, done: &str, json: bool) -> ExitCode {
    let findings = show::items(report, "findings");
    let good = report["verified"].as_bool().unwrap_or(findings.is_empty());
    if json {
        output::json(report);
    } else {
        for finding in findings {
            output::data(&format!(
                "{} record {}: {}",
                words(&finding["incident"]),
                words(&finding["seq"]),
                words(&finding["problem"])
            ));
        }
        for text in report["redacted"].as_array().unwrap_or(&Vec::new()) {
            output::data(&format!(
                "{} record {}: {} was redacted, on record",
                words(&text["incident"]),
                words(&text["seq"]),
                words(&text["field"])
            ));
        }
        output::data(&format!(
            "{}: {} incidents, {} records, {} findings",
            if good { done } else { "NOT verified" },
            words(&report["incidents"]),
            words(&report["records"]),
            findings.len()
        ));
    }
    if good {
        return ExitCode::SUCCESS;
    }
    output::problem(
        "the log is not what was written",
        "keep the file as it is; compare it with a backup and with the checkpoints kept elsewhere",
    );
    ExitCode::from(Exit::Failed.code())
}

async fn show_records(config: &Config, id: &str, json: bool) -> anyhow::Result<()> {
    let events = all_events(&Api::open(config, None)?, id).await?;
    if json {
        output::json(&json!({ "events": events }));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = events
        .iter()
        .map(|event| {
            let mut row = ["seq", "occurredAt", "kind", "actor"].map(|name| words(&event[name])).to_vec();
            row.push(shortened(&event["payload"].to_string()));
            row
        })
        .collect();
    output::table(&["SEQ", "WHEN", "KIND", "ACTOR", "DETAIL"], &rows);
    Ok(())
}

async fn all_events(api: &Api, id: &str) -> anyhow::Result<Vec<Value>> {
    let mut all: Vec<Value> = Vec::new();
    let mut after = String::from("0");
    loop {
        let query = [("after", after), ("limit", PAGE.to_string())];
        let page = api.get(&["incidents", id, "events"], &query).await?;
        all.extend_from_slice(show::items(&page, "events"));
        match page["nextCursor"].as_str() {
            Some(next) => after = next.to_owned(),
            None => return Ok(all),
        }
    }
}

/// A line's worth; `--json` has all of it.
fn shortened(text: &str) -> String {
    const WIDTH: usize = 100;
    if text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(WIDTH).collect();
    short.push('…');
    short
}

async fn replay(config: &Config) -> anyhow::Result<Value> {
    let log = config.open_existing_log().await?;
    let (mut incidents, mut records) = (0_u64, 0_u64);
    let mut findings = Vec::new();
    for state in all_incidents(config, &log).await? {
        let id: IncidentId = state.incident.parse().map_err(|_| {
            Failure::failed(
                format!("the log lists {:?}, which is no incident", state.incident),
                "run `harmony log verify`",
            )
        })?;
        incidents += 1;
        let mut head = ChainHead::default();
        for entry in all_records(config, &log, &id).await? {
            records += 1;
            match record::check(&config.org, &id, head, &entry.canonical, &entry.hash) {
                Ok((_, next)) => head = next,
                Err(error) => {
                    let seq = entry.record.seq;
                    findings.push(json!({ "incident": id, "seq": seq, "problem": error.to_string() }));
                    break;
                }
            }
        }
    }
    Ok(
        json!({ "verified": findings.is_empty(), "incidents": incidents, "records": records, "findings": findings }),
    )
}

async fn export(config: &Config) -> anyhow::Result<()> {
    let log = config.open_existing_log().await?;
    output::json(&json!({ "format": "harmony-log/1", "org": config.org }));
    let mut states = all_incidents(config, &log).await?;
    states.sort_by(|one, other| one.incident.cmp(&other.incident));
    for state in states {
        let Ok(id) = state.incident.parse::<IncidentId>() else { continue };
        for mut entry in all_records(config, &log, &id).await? {
            let mut line = json!({
                "incident": id,
                "seq": entry.record.seq,
                "hash": hex::encode(&entry.hash),
                "canonical": base64(&entry.canonical),
            });
            let known = texts_of(&mut entry);
            if !known.is_empty() {
                line["texts"] = json!(known);
            }
            output::json(&line);
        }
    }
    Ok(())
}

fn texts_of(entry: &mut Entry) -> BTreeMap<String, String> {
    let Some(payload) = entry.record.payload.as_mut() else { return BTreeMap::new() };
    tracing::trace!(kind = payload.kind.as_ref().map(kind_name), "exported");
    texts(payload)
        .into_iter()
        .filter(|field| !field.text.text.is_empty())
        .map(|field| (field.name, field.text.text.clone()))
        .collect()
}

async fn all_incidents(config: &Config, log: &SharedLog) -> anyhow::Result<Vec<IncidentState>> {
    let mut filter = Filter { limit: PAGE, ..Filter::default() };
    let mut all: Vec<IncidentState> = Vec::new();
    loop {
        let page = log.list(&config.org, &filter).await.map_err(|error| unreadable(config, &error))?;
        filter.before = page.last().and_then(|state| state.incident.parse().ok());
        let is_last = page.len() < PAGE as usize || filter.before.is_none();
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

async fn all_records(config: &Config, log: &SharedLog, id: &IncidentId) -> anyhow::Result<Vec<Entry>> {
    let mut all: Vec<Entry> = Vec::new();
    loop {
        let after = all.last().map_or(0, |entry| entry.record.seq);
        let page =
            log.records(&config.org, id, after, PAGE).await.map_err(|error| unreadable(config, &error))?;
        let is_last = page.len() < PAGE as usize;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

fn unreadable(config: &Config, error: &harmony_eventlog::LogError) -> Failure {
    let path = config.database_path().map(|path| path.display().to_string()).unwrap_or_default();
    Failure::failed(
        format!("the log at {path} cannot be read: {error}"),
        "keep the file as it is, and compare it with a backup",
    )
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

//! How the commands of the catalog show what they share: releases, their artifacts, open incidents, and what a run said.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    api::Api,
    commands::{incident_args::KeyArgs, show::items},
    config::Config,
    failure::Failure,
    moments,
    output::{self, words},
    people::People,
    terminal::{Span, Tone, span},
};

/// Width of the labels on the left.
const LABELS: usize = 15;
/// How much of a long fingerprint is shown beside a version.
const SHORT_SHA: usize = 12;

/// Options of a list of the catalog.
#[derive(Debug, Args)]
pub(crate) struct CatalogListArgs {
    /// Part of the id or the name
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Show those that are retired, too
    #[arg(long)]
    retired: bool,
    #[command(flatten)]
    page: PageArgs,
}

/// Which part of a list.
#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// At most this many
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u32>,
    /// Go on where an earlier list ended
    #[arg(long)]
    pub(super) cursor: Option<String>,
}

/// Options of a retirement.
#[derive(Debug, Args)]
pub(crate) struct RetireArgs {
    /// Which
    id: String,
    /// Why, for the record
    #[arg(long)]
    reason: Option<String>,
    /// Retire it without being asked first
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    key: KeyArgs,
}

impl CatalogListArgs {
    /// As the API is asked.
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let mut query: Vec<(&str, String)> =
            self.search.iter().map(|text| ("searchQuery", text.clone())).collect();
        if self.retired {
            query.push(("retired", "true".to_owned()));
        }
        query.extend(self.page.query());
        query
    }
}

impl PageArgs {
    /// As the API is asked.
    pub(super) fn query(&self) -> impl Iterator<Item = (&'static str, String)> {
        let limit = self.limit.map(|limit| ("limit", limit.to_string()));
        limit.into_iter().chain(self.cursor.clone().map(|cursor| ("cursor", cursor)))
    }
}

/// Retires a service or an environment, `kind` in the singular. It cannot be taken back, so a terminal is asked first.
pub(super) async fn retire(config: &Config, kind: &str, args: &RetireArgs, json: bool) -> anyhow::Result<()> {
    let question = format!("Retire {kind} {}? Nothing new happens to it, and its id stays taken.", args.id);
    if !args.yes && !json && output::is_interactive() && !output::confirm(&question) {
        return Err(Failure::failed("nothing was retired", "run the command again when it should be").into());
    }
    let collection = format!("{kind}s");
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    let before = api.get(&[&collection, &args.id], &[]).await?;
    let body = json!({ "reason": args.reason.clone().unwrap_or_default() });
    let reply = api.post(&[&collection, &args.id, "retire"], &body).await?.body;
    if json {
        output::json(&reply);
    } else if before["retired"] == true {
        output::data(&format!("{} is retired already; nothing changed", args.id));
    } else {
        output::data(&format!("{} is retired", args.id));
    }
    Ok(())
}

/// Says how to read on, where there is more.
pub(super) fn more(body: &Value) {
    if let Some(cursor) = body["nextCursor"].as_str() {
        output::say(&format!("more: --cursor {cursor}"));
    }
}

/// A line with a label on the left.
pub(super) fn fact(label: &str, value: impl Into<Span>) -> Vec<Span> {
    vec![span(Tone::Faint, format!("{label:<LABELS$}")), value.into()]
}

/// The tone of a release's status.
pub(super) fn tone_of(status: &str) -> Tone {
    match status {
        "Active" => Tone::Good,
        "Promoting" => Tone::Busy,
        "Failed" => Tone::Bad,
        _ => Tone::Faint,
    }
}

/// A release in a cell: how it stands, and which it is.
pub(super) fn release_cell(release: &Value) -> Span {
    if !release.is_object() {
        return span(Tone::Faint, "–");
    }
    let tone = tone_of(&words(&release["status"]));
    span(tone, format!("{} {}", tone.mark(), name_of(release)))
}

/// A release's version, or its fingerprint where it has none.
pub(super) fn name_of(release: &Value) -> String {
    let version = words(&release["version"]);
    if version.is_empty() { short_sha(release) } else { version }
}

/// The beginning of a release's fingerprint.
pub(super) fn short_sha(release: &Value) -> String {
    words(&release["sha"]).chars().take(SHORT_SHA).collect()
}

/// How many open incidents there are of each severity, in the tone of the worst.
pub(super) fn open_incidents(counts: &Value) -> Span {
    let severities =
        [("critical", Tone::Bad), ("high", Tone::Warn), ("medium", Tone::Busy), ("low", Tone::Faint)];
    let counted = |name: &str| counts[name].as_u64().filter(|count| *count > 0);
    let told: Vec<String> = severities
        .iter()
        .filter_map(|(name, _)| counted(name).map(|count| format!("{count} {name}")))
        .collect();
    let worst = severities.iter().find(|(name, _)| counted(name).is_some());
    match worst {
        Some((_, tone)) => span(*tone, told.join(", ")),
        None => span(Tone::Faint, "none"),
    }
}

/// A service as the index has it: with its latest releases and open incidents.
pub(super) async fn service_line(api: &Api, id: &str) -> anyhow::Result<Value> {
    // One that is not there is told from one that the search passes over.
    let service = api.get(&["services", id], &[]).await?;
    let mut query =
        vec![("searchQuery", id.to_owned()), ("retired", "true".to_owned()), ("limit", "200".to_owned())];
    loop {
        let page = api.get(&["services"], &query).await?;
        if let Some(found) = items(&page, "services").iter().find(|one| one["id"] == service["id"]) {
            return Ok(found.clone());
        }
        let Some(cursor) = page["nextCursor"].as_str() else { return Ok(service) };
        query.retain(|(name, _)| *name != "cursor");
        query.push(("cursor", cursor.to_owned()));
    }
}

/// One thing that happened in a run, and what it is known by: said once, however often the run is read.
pub(super) struct RunLine {
    pub(super) key: String,
    pub(super) line: Vec<Span>,
}

/// What the runs of a release said, merged in time.
pub(super) fn run_lines(runs: &[Value], people: &People) -> Vec<RunLine> {
    let mut lines: BTreeMap<(jiff::Timestamp, usize, usize), RunLine> = BTreeMap::new();
    for (place, run) in runs.iter().enumerate() {
        let id = words(&run["id"]);
        let logs = items(run, "logs");
        let mut add = |at: &Value, order: usize, spans: Vec<Span>| {
            let Some(at) = moments::parsed(at) else { return };
            let mut line = vec![
                span(Tone::Faint, format!("{}  ", moments::local(at))),
                span(Tone::Faint, format!("{:<8}", words(&run["kind"]))),
            ];
            line.extend(spans);
            lines.insert((at, place, order), RunLine { key: format!("{id}/{order}"), line });
        };
        let actor = words(&run["actor"]);
        let dry = if run["dryRun"] == true { ", a dry run" } else { "" };
        let started = format!("started by {}{dry}", people.name(&actor));
        add(&run["startedAt"], 0, vec![span(Tone::Strong, started)]);
        for (number, entry) in logs.iter().enumerate() {
            add(&entry["ts"], number + 1, log_line(entry));
        }
        let outcome = words(&run["outcome"]);
        let reason = words(&run["reason"]);
        let mut ended =
            vec![span(tone_of_outcome(&outcome), if outcome.is_empty() { "ended" } else { &outcome })];
        if !reason.is_empty() {
            ended.push(format!(": {reason}").into());
        }
        // The end stands after every line that was logged, those of the same moment, too.
        add(&run["finishedAt"], usize::MAX, ended);
    }
    lines.into_values().collect()
}

fn log_line(entry: &Value) -> Vec<Span> {
    let level = words(&entry["level"]);
    let tone = match level.as_str() {
        "error" => Tone::Bad,
        "warn" => Tone::Warn,
        "debug" => Tone::Faint,
        _ => Tone::Plain,
    };
    let mut line = vec![span(tone, format!("{level:<6}{}", words(&entry["message"])))];
    line.push(span(Tone::Faint, metadata(&entry["meta"])));
    line
}

fn tone_of_outcome(outcome: &str) -> Tone {
    match outcome {
        "succeeded" | "planned" => Tone::Good,
        "failed" | "refused" => Tone::Bad,
        _ => Tone::Warn,
    }
}

/// Values beside something, as `name=value`, two spaces before each.
pub(super) fn metadata(values: &Value) -> String {
    let values = values.as_object().into_iter().flatten();
    values.map(|(name, value)| format!("  {name}={}", words(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &[Span]) -> String {
        line.iter().map(|span| span.text.as_str()).collect()
    }

    #[test]
    fn open_incidents_have_the_tone_of_the_worst() {
        let worst = open_incidents(&json!({ "high": 1, "critical": 2, "low": 0 }));
        assert_eq!((worst.text.as_str(), worst.tone), ("2 critical, 1 high", Tone::Bad));
        let none = open_incidents(&json!({}));
        assert_eq!((none.text.as_str(), none.tone), ("none", Tone::Faint));
    }

    #[test]
    fn a_release_without_a_version_is_named_by_its_fingerprint() {
        let release = json!({ "status": "Failed", "version": "", "sha": "9f3b7de0123456789" });
        assert_eq!(release_cell(&release), span(Tone::Bad, "✗ 9f3b7de01234"));
        let release = json!({ "status": "Active", "version": "2.4.1", "sha": "9f3b7de" });
        assert_eq!(release_cell(&release), span(Tone::Good, "✓ 2.4.1"));
        assert_eq!(release_cell(&Value::Null).text, "–");
    }

    #[test]
    fn what_two_runs_said_is_merged_in_time_and_an_end_comes_last() {
        let line = |ts: &str, message: &str| json!({ "ts": ts, "level": "info", "message": message, "meta": { "steps": 4 } });
        let runs = [
            json!({
                "id": "run-1", "kind": "Deploy", "actor": "deployer", "startedAt": "2026-01-01T00:00:00Z",
                "finishedAt": "2026-01-01T00:00:05Z", "outcome": "failed", "reason": "no such image",
                "logs": [line("2026-01-01T00:00:01Z", "Plan generated"), line("2026-01-01T00:00:05Z", "Giving up")]
            }),
            json!({
                "id": "run-2", "kind": "Promote", "actor": "deployer", "startedAt": "2026-01-01T00:00:03Z",
                "logs": [], "dryRun": true
            }),
        ];
        let lines = run_lines(&runs, &People::default());
        let told: Vec<String> = lines.iter().map(|one| text(&one.line)).collect();
        assert_eq!(
            told,
            [
                "2026-01-01T00:00:00Z  Deploy  started by deployer",
                "2026-01-01T00:00:01Z  Deploy  info  Plan generated  steps=4",
                "2026-01-01T00:00:03Z  Promote started by deployer, a dry run",
                "2026-01-01T00:00:05Z  Deploy  info  Giving up  steps=4",
                "2026-01-01T00:00:05Z  Deploy  failed: no such image",
            ]
        );
        let keys: std::collections::BTreeSet<&str> = lines.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys.len(), lines.len());
    }
}

//! `harmony candidate …`: hand candidates in, look at them, promote one that waits for a person.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    api::Api,
    commands::{incident::given, incident_args::KeyArgs, show},
    config::Config,
    failure::Failure,
    output::{self, words},
};

/// `harmony candidate …`
#[derive(Debug, Subcommand)]
pub(crate) enum CandidateCommand {
    /// Hand in a candidate, or a file of them
    Submit(SubmitArgs),
    /// What was handed in, the last first
    List(ListArgs),
    /// One candidate, and why it is what it is
    Show(ShowArgs),
    /// Make an incident of a candidate that waits for a person
    Promote(PromoteArgs),
    /// Say that nothing becomes of a candidate that waits for a person, nor of what waits with it; its page ends
    Dismiss(DismissArgs),
    /// What the promotion engine was asked about a candidate, and what it said
    Attempts(ShowArgs),
}

/// Options of `submit`.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// JSON, one candidate or one a line; - reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// RECEIVED, PROMOTED, DEFERRED, SUPPRESSED, REFUSED or DISMISSED; repeat for more
    #[arg(long)]
    status: Vec<String>,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Go on where an earlier list ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Options of `show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Candidate
    id: String,
}

/// Options of `promote`.
#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    /// Candidate
    id: String,
    /// Promote it whatever the policy says: sre-oncall or above
    #[arg(long, requires = "justification")]
    emergency_override: bool,
    /// Why the policy must be overridden, in 20 characters or more
    #[arg(long, requires = "emergency_override")]
    justification: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `dismiss`.
#[derive(Debug, Args)]
pub(crate) struct DismissArgs {
    /// Candidate
    id: String,
    /// Why nothing becomes of it
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    key: KeyArgs,
}

/// Carries out one command.
pub(crate) async fn run(config: &Config, command: &CandidateCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        CandidateCommand::Submit(args) => submit(config, args, json).await?,
        CandidateCommand::List(args) => list(config, args, json).await?,
        CandidateCommand::Show(args) => {
            let body = Api::open(config, None)?.get(&["candidates", &args.id], &[]).await?;
            if json { output::json(&body) } else { show_one(&body) }
        }
        CandidateCommand::Promote(args) => promote(config, args, json).await?,
        CandidateCommand::Dismiss(args) => dismiss(config, args, json).await?,
        CandidateCommand::Attempts(args) => {
            let body = Api::open(config, None)?.get(&["candidates", &args.id, "attempts"], &[]).await?;
            if json { output::json(&body) } else { show_attempts(&body) }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Every candidate is read before the first is sent: a file with a mistake in it hands nothing in.
async fn submit(config: &Config, args: &SubmitArgs, json: bool) -> anyhow::Result<()> {
    let candidates = candidates(&read(&args.file)?)?;
    let mut api = Api::open(config, args.key.idempotency_key.clone())?;
    for (index, candidate) in candidates.iter().enumerate() {
        if index > 0 {
            api = api.with_new_key();
        }
        let reply = api.post(&["candidates"], candidate).await?.body;
        if json {
            output::json(&reply);
        } else {
            output::data(&format!("{}  {}", words(&reply["candidateId"]), words(&reply["status"])));
        }
        if let Some(warning) = reply["warning"].as_str() {
            output::say(&format!("warning: {warning}"));
        }
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().read_to_string(&mut text).map(drop)
    } else {
        fs::read_to_string(path).map(|file| text = file)
    };
    read.map_err(|error| {
        Failure::usage(
            format!("{} cannot be read: {error}", path.display()),
            "name a file with a candidate as JSON, or - for standard input",
        )
    })?;
    Ok(text)
}

/// One JSON document, or one a line. Each is checked here already, so that the line is named.
fn candidates(text: &str) -> Result<Vec<Value>, Failure> {
    let hint = "write one JSON object, or one a line; docs/promotion.md lists the fields";
    if let Ok(one) = serde_json::from_str::<Value>(text) {
        return Ok(vec![checked(one, "the candidate", hint)?]);
    }
    let mut candidates = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = format!("line {}", index + 1);
        let value = serde_json::from_str(line)
            .map_err(|error| Failure::usage(format!("{place} is no JSON: {error}"), hint))?;
        candidates.push(checked(value, &place, hint)?);
    }
    if candidates.is_empty() {
        return Err(Failure::usage("there is no candidate in it", hint));
    }
    Ok(candidates)
}

/// What has no name of its own is named by the request; everything else is checked as the API would.
fn checked(candidate: Value, place: &str, hint: &str) -> Result<Value, Failure> {
    let mut named = candidate.clone();
    if named.is_object() && named["candidateId"].is_null() {
        named["candidateId"] = json!("unnamed");
    }
    match harmony_incidents::promotion::Candidate::parse(named) {
        Ok(_) => Ok(candidate),
        Err(error) => Err(Failure::usage(format!("{place}: {error}"), hint)),
    }
}

async fn list(config: &Config, args: &ListArgs, json: bool) -> anyhow::Result<()> {
    let mut query: Vec<(&str, String)> =
        args.status.iter().map(|status| ("status", status.clone())).collect();
    query.extend(args.limit.map(|limit| ("limit", limit.to_string())));
    query.extend(args.cursor.clone().map(|cursor| ("cursor", cursor)));
    let body = Api::open(config, None)?.get(&["candidates"], &query).await?;
    if json {
        output::json(&body);
        return Ok(());
    }
    let rows: Vec<Vec<String>> = show::items(&body, "candidates")
        .iter()
        .map(|one| {
            let names = ["candidateId", "status", "severity", "source", "incidentId", "title"];
            names.map(|name| words(&one[name])).to_vec()
        })
        .collect();
    if rows.is_empty() {
        output::say("no candidates");
        return Ok(());
    }
    output::table(&["CANDIDATE", "STATUS", "SEVERITY", "SOURCE", "INCIDENT", "TITLE"], &rows);
    if let Some(cursor) = body["nextCursor"].as_str() {
        output::say(&format!("more: --cursor {cursor}"));
    }
    Ok(())
}

fn show_one(body: &Value) {
    let text = |name: &str| words(&body[name]);
    output::data(&format!("{}  {}", text("candidateId"), text("title")));
    output::data(&format!("{}  {}  {}", text("status"), text("severity"), text("source")));
    for (label, name) in [
        ("summary", "summary"),
        ("service", "serviceName"),
        ("environment", "environment"),
        ("policy", "policyId"),
        ("received", "receivedAt"),
        ("incident", "incidentId"),
        ("decided by", "decidedBy"),
        ("refused", "refusedBecause"),
    ] {
        let value = text(name);
        if !value.is_empty() {
            output::data(&format!("{label}: {value}"));
        }
    }
    let decision = &body["decision"];
    if decision.is_object() {
        output::data(&format!("{}: {}", words(&decision["outcome"]), words(&decision["because"])));
        for step in show::items(decision, "trace") {
            output::data(&format!(
                "  {:<12} {:<8} {}",
                words(&step["step"]),
                words(&step["verdict"]),
                words(&step["because"])
            ));
        }
    }
}

fn show_attempts(body: &Value) {
    let rows: Vec<Vec<String>> = show::items(body, "attempts")
        .iter()
        .map(|one| {
            let names =
                ["startedAt", "durationMs", "status", "decision", "authorityId", "incidentId", "reason"];
            names.map(|name| words(&one[name])).to_vec()
        })
        .collect();
    if rows.is_empty() {
        output::say("no attempts: they are kept for 90 days");
        return;
    }
    output::table(&["STARTED", "MS", "STATUS", "DECISION", "ASKED BY", "INCIDENT", "REASON"], &rows);
}

async fn promote(config: &Config, args: &PromoteArgs, json: bool) -> anyhow::Result<()> {
    let body = given(json!({
        "emergencyOverride": args.emergency_override.then_some(true),
        "justification": args.justification,
    }));
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    let reply = api.post(&["candidates", &args.id, "promote"], &body).await?.body;
    if json {
        output::json(&reply);
    } else {
        output::data(&format!("{}  {}", words(&reply["incidentId"]), words(&reply["state"])));
    }
    if let Some(warning) = reply["warning"].as_str() {
        output::say(&format!("warning: {warning}"));
    }
    Ok(())
}

async fn dismiss(config: &Config, args: &DismissArgs, json: bool) -> anyhow::Result<()> {
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    let reply = api.post(&["candidates", &args.id, "dismiss"], &json!({ "reason": args.reason })).await?.body;
    if json {
        output::json(&reply);
    } else {
        let mut line = format!("{}  {}", words(&reply["candidateId"]), words(&reply["status"]));
        if reply["answer"] == "unchanged" {
            line.push_str(&format!(", by {} before", words(&reply["dismissedBy"])));
        }
        if reply["withIt"].as_array().is_some_and(|others| !others.is_empty()) {
            line.push_str(&format!("; with it {}", words(&reply["withIt"])));
        }
        output::data(&line);
    }
    if let Some(warning) = reply["warning"].as_str() {
        output::say(&format!("warning: {warning}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"source": "a", "title": "b", "severity": "P3"}"#;

    #[test]
    fn one_document_or_one_a_line() {
        assert_eq!(candidates(GOOD).unwrap().len(), 1);
        assert_eq!(candidates(&format!("{GOOD}\n\n{GOOD}\n")).unwrap().len(), 2);
        for (text, expected) in [
            (String::new(), "there is no candidate in it"),
            (format!("{GOOD}\n{{\n"), "line 2 is no JSON"),
            (format!("{GOOD}\n{{\"title\": \"b\"}}"), "line 2: candidate: missing field `source`"),
            ("[]".to_owned(), "the candidate: candidate: expected one JSON object"),
            (GOOD.replace("P3", ""), "the candidate: severity: must not be empty"),
        ] {
            let failure = candidates(&text).unwrap_err();
            assert!(failure.what.starts_with(expected), "{}", failure.what);
            assert_eq!(failure.exit.code(), 2);
        }
    }
}

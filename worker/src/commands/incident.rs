//! `harmony incident …`: one request to the API each.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::{
    api::{Api, Reply},
    commands::show,
    config::Config,
    failure::Failure,
    output,
};

/// What can be done with incidents.
#[derive(Debug, Subcommand)]
pub(crate) enum IncidentCommand {
    /// Declare an incident; prints its id
    Declare(DeclareArgs),
    /// List incidents, newest first
    List(ListArgs),
    /// Show one incident
    Show(OneArgs),
    /// Add a note
    Note(NoteArgs),
    /// Change the state: OPEN, MITIGATING, RESOLVED, … (or a status: INVESTIGATING, MITIGATED)
    Status(StatusArgs),
    /// Change the severity
    Severity(SeverityArgs),
    /// Give somebody a part: commander, communications, operations
    Assign(ResponderArgs),
    /// Take it from them again
    Release(ResponderArgs),
    /// Propose a runbook; it runs once it is approved
    Remediate(RemediateArgs),
    /// Say that it was seen to work
    Verify(OneArgs),
    /// Stop the remediation: cancels its gate or ends its cell
    Stop(StopArgs),
    /// Close the incident out as resolved
    CloseOut(CloseOutArgs),
    /// Cancel an incident that is none
    Cancel(CancelArgs),
    /// Write a section of the review, or add an action item
    Review(ReviewArgs),
    /// Propose the review for publishing
    PostMortem(PostMortemArgs),
    /// Sign off the published review; closes the incident
    SignOff(SignOffArgs),
    /// Close a resolved incident that needs no review
    Close(OneArgs),
}

/// What every command may be given.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// The same key with the same command happens once [default: one per invocation]
    #[arg(long, value_name = "K")]
    pub(crate) idempotency_key: Option<String>,
}

/// An incident, and nothing else.
#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// Such as INC-2026-0001
    id: String,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `declare`.
#[derive(Debug, Args)]
pub(crate) struct DeclareArgs {
    /// What is wrong, in one line
    #[arg(required_unless_present = "title_flag", conflicts_with = "title_flag")]
    title: Option<String>,
    /// The same
    #[arg(long = "title", id = "title_flag", value_name = "TITLE")]
    title_flag: Option<String>,
    /// P1..P4, SEV1..SEV4, or critical, high, medium, low
    #[arg(long)]
    severity: String,
    /// Service that it was seen at
    #[arg(long)]
    service: Option<String>,
    /// Such as production
    #[arg(long)]
    environment: Option<String>,
    /// More words
    #[arg(long)]
    summary: Option<String>,
    /// Service that suffers from it; repeat for more
    #[arg(long = "impacted-service", value_name = "SERVICE")]
    impacted_services: Vec<String>,
    /// Title on the public status page
    #[arg(long)]
    public_title: Option<String>,
    /// First message on the public status page
    #[arg(long)]
    public_message: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only these; repeat for more
    #[arg(long)]
    status: Vec<String>,
    /// Only these states; repeat for more
    #[arg(long)]
    state: Vec<String>,
    /// Only these; repeat for more
    #[arg(long)]
    severity: Vec<String>,
    /// Part of the title
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Where the last listing ended
    #[arg(long)]
    cursor: Option<String>,
}

/// Options of `note`.
#[derive(Debug, Args)]
pub(crate) struct NoteArgs {
    /// Such as INC-2026-0001
    id: String,
    /// The note
    text: String,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Such as INC-2026-0001
    id: String,
    /// The state or status asked for
    state: String,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    /// Claims EMERGENCY_OVERRIDE, in 20 characters at least
    #[arg(long)]
    justification: Option<String>,
    /// What was done, for RESOLVED
    #[arg(long)]
    summary: Option<String>,
    /// FIXED, FALSE_POSITIVE, DUPLICATE or WONT_FIX
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `severity`.
#[derive(Debug, Args)]
pub(crate) struct SeverityArgs {
    /// Such as INC-2026-0001
    id: String,
    /// P1..P4
    severity: String,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `assign` and `release`.
#[derive(Debug, Args)]
pub(crate) struct ResponderArgs {
    /// Such as INC-2026-0001
    id: String,
    /// commander, communications or operations
    role: String,
    /// Id in the directory
    principal: String,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `remediate`.
#[derive(Debug, Args)]
pub(crate) struct RemediateArgs {
    /// Such as INC-2026-0001
    id: String,
    /// Relative to the runbook root
    #[arg(long, value_name = "PATH")]
    runbook: String,
    /// Cell to run; repeat for more [default: every named cell but those of --verify]
    #[arg(long = "cell", value_name = "NAME")]
    cells: Vec<String>,
    /// Cell that tells whether it worked; repeat for more
    #[arg(long = "verify", value_name = "NAME")]
    verify: Vec<String>,
    /// Variable for the cells, never a secret; repeat for more
    #[arg(long = "env", value_name = "K=V", value_parser = assignment)]
    env: Vec<(String, String)>,
    /// Name of a secret that the runbook pool holds; repeat for more
    #[arg(long = "secret-env", value_name = "NAME")]
    secret_env: Vec<String>,
    /// Time for one cell, such as 10m
    #[arg(long, value_name = "T")]
    timeout: Option<String>,
    /// Directory to run in, relative to the runbook root
    #[arg(long, value_name = "DIR")]
    workdir: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `stop`.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Such as INC-2026-0001
    id: String,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `close-out`.
#[derive(Debug, Args)]
pub(crate) struct CloseOutArgs {
    /// Such as INC-2026-0001
    id: String,
    /// What was done
    #[arg(long)]
    summary: String,
    /// FIXED, FALSE_POSITIVE, DUPLICATE or WONT_FIX [default: FIXED]
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Archive the channel, too, behind a gate of its own
    #[arg(long)]
    archive_channel: bool,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `cancel`.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// Such as INC-2026-0001
    id: String,
    /// Why
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `review`.
#[derive(Debug, Args)]
pub(crate) struct ReviewArgs {
    /// Such as INC-2026-0001
    id: String,
    /// summary, impact, contributing-factors, …
    #[arg(long, requires = "text", conflicts_with = "action", required_unless_present = "action")]
    section: Option<String>,
    /// What it says
    #[arg(long, requires = "section")]
    text: Option<String>,
    /// What has to be done
    #[arg(long, requires = "owner")]
    action: Option<String>,
    /// Who does it
    #[arg(long, requires = "action")]
    owner: Option<String>,
    /// Until when, such as 2026-01-31
    #[arg(long, requires = "action")]
    due: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `post-mortem`.
#[derive(Debug, Args)]
pub(crate) struct PostMortemArgs {
    /// Such as INC-2026-0001
    id: String,
    /// Title of the page
    #[arg(long)]
    title: Option<String>,
    /// Confluence space [default: the configured one]
    #[arg(long, value_name = "KEY")]
    space: Option<String>,
    /// Page above it
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// Label; repeat for more
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `sign-off`.
#[derive(Debug, Args)]
pub(crate) struct SignOffArgs {
    /// Such as INC-2026-0001
    id: String,
    /// Digest of the page that was read [default: of the one that is published]
    #[arg(long)]
    digest: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// One request, as a command makes it.
struct Request<'a> {
    id: &'a str,
    verb: &'a str,
    key: &'a KeyArgs,
    body: Value,
}

/// Carries out one command.
pub(crate) async fn run(config: &Config, command: &IncidentCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        IncidentCommand::Declare(args) => declare(config, args, json).await?,
        IncidentCommand::List(args) => list(config, args, json).await?,
        IncidentCommand::Show(args) => show_one(config, &args.id, json).await?,
        IncidentCommand::SignOff(args) => sign_off(config, args, json).await?,
        other => {
            let request = request(other);
            let api = Api::open(config, request.key.idempotency_key.clone())?;
            let reply = api.post(&["incidents", request.id, request.verb], &request.body).await?;
            answer(&request, &reply, json);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn request(command: &IncidentCommand) -> Request<'_> {
    let of = |id, verb, key, body| Request { id, verb, key, body };
    match command {
        IncidentCommand::Note(args) => of(&args.id, "notes", &args.key, json!({ "note": args.text })),
        IncidentCommand::Status(args) => of(&args.id, "status", &args.key, status_body(args)),
        IncidentCommand::Severity(args) => {
            let body = json!({ "severity": args.severity, "reason": args.reason });
            of(&args.id, "severity", &args.key, given(body))
        }
        IncidentCommand::Assign(args) => of(&args.id, "responders", &args.key, responder_body(args, false)),
        IncidentCommand::Release(args) => of(&args.id, "responders", &args.key, responder_body(args, true)),
        IncidentCommand::Remediate(args) => of(&args.id, "remediate", &args.key, remediate_body(args)),
        IncidentCommand::Verify(args) => of(&args.id, "verify", &args.key, json!({})),
        IncidentCommand::Stop(args) => of(&args.id, "stop", &args.key, given(json!({ "reason": args.reason }))),
        IncidentCommand::CloseOut(args) => {
            let body = json!({
                "resolutionSummary": args.summary,
                "resolutionType": args.kind,
                "archiveChannel": args.archive_channel,
            });
            of(&args.id, "close-out", &args.key, given(body))
        }
        IncidentCommand::Cancel(args) => of(&args.id, "cancel", &args.key, json!({ "reason": args.reason })),
        IncidentCommand::Review(args) => {
            let body = json!({
                "section": args.section,
                "text": args.text,
                "action": args.action,
                "owner": args.owner,
                "due": args.due,
            });
            of(&args.id, "review", &args.key, given(body))
        }
        IncidentCommand::PostMortem(args) => {
            let body = json!({
                "title": args.title,
                "spaceKey": args.space,
                "parentId": args.parent,
                "labels": args.labels,
            });
            of(&args.id, "post-mortem", &args.key, given(body))
        }
        // The four that `run` takes itself have no request of this kind; `close` is the one that is left.
        IncidentCommand::Close(args) | IncidentCommand::Show(args) => of(&args.id, "close", &args.key, json!({})),
        IncidentCommand::Declare(args) => of("", "", &args.key, Value::Null),
        IncidentCommand::SignOff(args) => of(&args.id, "sign-off", &args.key, Value::Null),
        IncidentCommand::List(_) => of("", "", &NO_KEY, Value::Null),
    }
}

const NO_KEY: KeyArgs = KeyArgs { idempotency_key: None };

fn status_body(args: &StatusArgs) -> Value {
    // The machine's words come first: OPEN means the state here. Only what it does not know is the view's.
    let is_view = ["INVESTIGATING", "MITIGATED"].contains(&args.state.to_ascii_uppercase().as_str());
    let mut body = json!({
        "reason": args.reason,
        "justification": args.justification,
        "resolutionSummary": args.summary,
        "resolutionType": args.kind,
    });
    body[if is_view { "status" } else { "state" }] = json!(args.state);
    given(body)
}

fn responder_body(args: &ResponderArgs, release: bool) -> Value {
    json!({ "role": args.role, "principalId": args.principal, "release": release })
}

fn remediate_body(args: &RemediateArgs) -> Value {
    let env: Map<String, Value> = args.env.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    given(json!({
        "runbook": args.runbook,
        "cells": args.cells,
        "verify": args.verify,
        "env": env,
        "secretEnv": args.secret_env,
        "timeout": args.timeout,
        "workdir": args.workdir,
    }))
}

/// Without what was not given.
pub(crate) fn given(mut body: Value) -> Value {
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    body
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a variable is NAME=VALUE".to_owned()),
    }
}

async fn declare(config: &Config, args: &DeclareArgs, json: bool) -> anyhow::Result<()> {
    let body = json!({
        "title": args.title.as_ref().or(args.title_flag.as_ref()),
        "severity": args.severity,
        "serviceName": args.service,
        "environment": args.environment,
        "summary": args.summary,
        "impactedServices": args.impacted_services,
        "publicTitle": args.public_title,
        "publicMessage": args.public_message,
    });
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    let reply = api.post(&["incidents"], &given(body)).await?;
    let id = reply.body["incidentId"].as_str().context("the API answered without an incident id")?;
    if json {
        output::json(&reply.body);
    } else {
        output::data(id);
    }
    warn(&reply.body);
    Ok(())
}

async fn list(config: &Config, args: &ListArgs, json: bool) -> anyhow::Result<()> {
    let mut query: Vec<(&str, String)> = Vec::new();
    for (name, values) in [("status", &args.status), ("state", &args.state), ("severity", &args.severity)] {
        query.extend(values.iter().map(|value| (name, value.clone())));
    }
    let optional = [
        ("searchQuery", args.search.clone()),
        ("limit", args.limit.map(|limit| limit.to_string())),
        ("cursor", args.cursor.clone()),
    ];
    query.extend(optional.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))));
    let body = Api::open(config, None)?.get(&["incidents"], &query).await?;
    if json {
        output::json(&body);
    } else {
        show::incidents(&body);
    }
    Ok(())
}

async fn show_one(config: &Config, id: &str, json: bool) -> anyhow::Result<()> {
    let body = Api::open(config, None)?.get(&["incidents", id], &[]).await?;
    if json {
        output::json(&body);
    } else {
        show::incident(&body);
    }
    Ok(())
}

async fn sign_off(config: &Config, args: &SignOffArgs, json: bool) -> anyhow::Result<()> {
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    let digest = match &args.digest {
        Some(digest) => digest.clone(),
        None => {
            let incident = api.get(&["incidents", &args.id], &[]).await?;
            let review = &incident["review"];
            let digest = review["digest"].as_str().filter(|digest| !digest.is_empty()).ok_or_else(|| {
                Failure {
                    exit: crate::failure::Exit::Refused,
                    what: format!("{} has no published review", args.id),
                    hint: format!("publish one: harmony incident post-mortem {}", args.id),
                }
            })?;
            output::say(&format!("signing off {} (sha256 {digest})", output::words(&review["url"])));
            digest.to_owned()
        }
    };
    let body = json!({ "digest": digest });
    let reply = api.post(&["incidents", &args.id, "sign-off"], &body).await?;
    answer(&Request { id: &args.id, verb: "sign-off", key: &args.key, body }, &reply, json);
    Ok(())
}

fn answer(request: &Request<'_>, reply: &Reply, json: bool) {
    if json {
        output::json(&reply.body);
    } else {
        let mut line = format!("{} {}", request.id, request.verb);
        for name in ["state", "phase", "severity", "workflowId"] {
            if let Some(value) = reply.body[name].as_str() {
                line.push_str(&format!("  {name} {value}"));
            }
        }
        if reply.body["workflowId"].is_string() {
            line.push_str("  started; `harmony incident show` follows it");
        }
        output::data(&line);
    }
    warn(&reply.body);
}

fn warn(body: &Value) {
    match &body["warning"] {
        Value::Null => {}
        warning => output::say(&format!("warning: {}", output::words(warning))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: IncidentCommand,
    }

    fn body(line: &[&str]) -> Value {
        let whole: Vec<&str> = std::iter::once("incident").chain(line.iter().copied()).collect();
        let parsed = Line::try_parse_from(whole).unwrap();
        request(&parsed.command).body
    }

    #[test]
    fn only_what_was_given_is_sent() {
        assert_eq!(body(&["status", "INC-2026-0001", "open"]), json!({ "state": "open" }));
        assert_eq!(
            body(&["status", "INC-2026-0001", "mitigated", "--reason", "x"]),
            json!({ "status": "mitigated", "reason": "x" })
        );
        assert_eq!(
            body(&["remediate", "INC-2026-0001", "--runbook", "a.md", "--verify", "post", "--env", "A=b=c"]),
            json!({ "runbook": "a.md", "cells": [], "verify": ["post"], "env": { "A": "b=c" }, "secretEnv": [] })
        );
        assert_eq!(
            body(&["review", "INC-2026-0001", "--action", "fix", "--owner", "oncall"]),
            json!({ "action": "fix", "owner": "oncall" })
        );
    }

    #[test]
    fn a_review_is_a_section_or_an_action() {
        for line in [
            &["incident", "review", "I"][..],
            &["incident", "review", "I", "--section", "impact"],
            &["incident", "review", "I", "--section", "impact", "--text", "x", "--action", "y", "--owner", "z"],
        ] {
            assert!(Line::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}

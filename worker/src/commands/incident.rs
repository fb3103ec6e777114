//! `harmony incident …`: one request to the API each.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::{Map, Value, json};

use crate::{
    api::{Api, Reply},
    commands::{
        cell_output,
        follow::{Awaited, Follower},
        incident_args::{
            CommandArgs, DeclareArgs, IncidentCommand, ListArgs, RemediateArgs, ResponderArgs, ShowArgs,
            SignOffArgs, StatusArgs,
        },
        incident_changes, incident_view,
        records::{self, Story},
        show, update_templates,
    },
    config::Config,
    failure::{Exit, Failure},
    output,
    people::People,
    terminal::screen,
};

/// How long `declare --wait` waits. Opening takes a worker a moment.
const OPENING: Duration = Duration::from_secs(60);

/// One request, as a command makes it.
struct Request<'a> {
    id: &'a str,
    verb: &'a str,
    key: &'a CommandArgs,
    body: Value,
    /// Whether to follow what it starts until that ends.
    wait: bool,
}

/// Carries out one command.
pub(crate) async fn run(config: &Config, command: &IncidentCommand, json: bool) -> anyhow::Result<ExitCode> {
    match (request(command), command) {
        (_, IncidentCommand::Update(args)) if args.templates => {
            update_templates::list(config, &args.id, json).await?;
        }
        (Some(mut request), _) => {
            let api = Api::for_command(config, request.key)?;
            if let IncidentCommand::Update(args) = command {
                update_templates::fill(&api, args, &mut request.body).await?;
            }
            // What changed can only be told by who knows what was there before.
            let before = if json { Value::Null } else { api.get(&["incidents", request.id], &[]).await? };
            let posted = api.post(&["incidents", request.id, request.verb], &request.body).await;
            let reply = posted.map_err(|error| opening(error, &before, request.id))?;
            let after = if json { Value::Null } else { after(&api, request.id, &reply).await? };
            answer(&request, &before, &after, &reply, json);
            if request.wait {
                return wait_for(&api, &request, &before, &reply.body, json).await;
            }
        }
        (None, IncidentCommand::Declare(args)) => declare(config, args, json).await?,
        (None, IncidentCommand::List(args)) => list(config, args, json).await?,
        (None, IncidentCommand::Show(args)) => show_one(config, args, json).await?,
        (None, IncidentCommand::Changes(args)) => incident_changes::list(config, &args.id, json).await?,
        (None, IncidentCommand::LinkChange(args)) => incident_changes::link(config, args, json).await?,
        (None, IncidentCommand::Review(args)) => review(config, &args.id, json).await?,
        (None, IncidentCommand::SignOff(args)) => sign_off(config, args, json).await?,
        (None, _) => anyhow::bail!("this command is not carried out by this build"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The commands that are one POST below the incident; the others do more, or less.
fn request(command: &IncidentCommand) -> Option<Request<'_>> {
    let of = |id, verb, key, body| Some(Request { id, verb, key, body, wait: false });
    let start = |id, verb, key, body, wait| Some(Request { id, verb, key, body, wait });
    match command {
        IncidentCommand::Note(args) => of(&args.id, "notes", &args.key, json!({ "note": args.text })),
        IncidentCommand::Update(args) => {
            let body = json!({
                "message": args.message,
                "public": args.public,
                "next": args.next,
                "title": args.title,
                "summary": args.summary,
                "template": args.template,
            });
            start(&args.id, "update", &args.key, given(body), args.wait.wait)
        }
        IncidentCommand::Retry(args) => {
            start(&args.id, "retry", &args.key, given(json!({ "step": args.step })), args.wait.wait)
        }
        IncidentCommand::Action(args) => {
            let body = json!({ "action": args.action, "status": args.status, "detail": args.detail });
            of(&args.id, "actions", &args.key, given(body))
        }
        IncidentCommand::Signal(args) => {
            let body = json!({
                "source": args.source,
                "correlationKey": args.correlation_key,
                "traceId": args.trace_id,
                "signalId": args.signal_id,
                "summary": args.summary,
            });
            of(&args.id, "signals", &args.key, given(body))
        }
        IncidentCommand::SloViolation(args) => {
            let body = json!({
                "slo": args.slo, "target": args.target, "observed": args.observed, "detail": args.detail,
            });
            of(&args.id, "slo-violations", &args.key, given(body))
        }
        IncidentCommand::Tag(args) => of(&args.id, "tags", &args.key, json!({ "tag": args.tag })),
        IncidentCommand::Untag(args) => {
            of(&args.id, "tags", &args.key, json!({ "tag": args.tag, "remove": true }))
        }
        IncidentCommand::Ticket(args) => {
            let body = json!({ "system": args.system, "ticket": args.ticket, "url": args.url });
            of(&args.id, "tickets", &args.key, given(body))
        }
        IncidentCommand::Status(args) => of(&args.id, "status", &args.key, status_body(args)),
        IncidentCommand::Severity(args) => {
            let body = json!({ "severity": args.severity, "reason": args.reason });
            of(&args.id, "severity", &args.key, given(body))
        }
        IncidentCommand::Escalate(args) => of(&args.id, "escalate", &args.key, args.body()),
        IncidentCommand::Time(args) => of(&args.id, "times", &args.key, args.body()),
        IncidentCommand::Relate(args) => of(&args.id, "relations", &args.key, args.body()),
        IncidentCommand::Private(args) => of(&args.id, "private", &args.key, args.body()),
        IncidentCommand::Assign(args) => of(&args.id, "responders", &args.key, responder_body(args, false)),
        IncidentCommand::Release(args) => of(&args.id, "responders", &args.key, responder_body(args, true)),
        IncidentCommand::Remediate(RemediateArgs {
            id,
            as_dry_run: Some(attempt),
            reason,
            key,
            wait,
            ..
        }) => {
            let body = json!({ "attempt": attempt, "reason": reason });
            start(id, "propose-dry-run", key, given(body), wait.wait)
        }
        IncidentCommand::Remediate(args) => {
            start(&args.id, "remediate", &args.key, remediate_body(args), args.wait.wait)
        }
        IncidentCommand::Verify(args) => of(&args.id, "verify", &args.key, json!({})),
        IncidentCommand::Stop(args) => {
            start(&args.id, "stop", &args.key, given(json!({ "reason": args.reason })), args.wait.wait)
        }
        IncidentCommand::Resume(args) => start(
            &args.id,
            "resume",
            &args.key,
            given(json!({ "blueprint": args.blueprint })),
            args.wait.wait,
        ),
        IncidentCommand::CloseOut(args) => {
            let body = json!({
                "resolutionSummary": args.summary,
                "resolutionType": args.kind,
                "archiveChannel": args.archive_channel,
                "reason": args.reason,
            });
            start(&args.id, "close-out", &args.key, given(body), args.wait.wait)
        }
        IncidentCommand::Cancel(args) => {
            start(&args.id, "cancel", &args.key, json!({ "reason": args.reason }), args.wait.wait)
        }
        IncidentCommand::Review(args) if args.markdown => None,
        IncidentCommand::Review(args) => {
            let body = json!({
                "section": args.section,
                "text": args.text,
                "action": args.action,
                "owner": args.owner,
                "due": args.due,
                "priority": args.priority,
            });
            of(&args.id, "review", &args.key, given(body))
        }
        IncidentCommand::PostMortem(args) => {
            let body = json!({
                "title": args.title,
                "spaceKey": args.space,
                "parentId": args.parent,
                "labels": args.labels,
                "reason": args.reason,
            });
            start(&args.id, "post-mortem", &args.key, given(body), args.wait.wait)
        }
        IncidentCommand::Close(args) => of(&args.id, "close", &args.key, json!({})),
        IncidentCommand::Declare(_)
        | IncidentCommand::List(_)
        | IncidentCommand::Show(_)
        | IncidentCommand::Changes(_)
        | IncidentCommand::LinkChange(_)
        | IncidentCommand::SignOff(_) => None,
    }
}

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
    let map = |pairs: &[(String, String)]| -> Map<String, Value> {
        pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
    };
    let inputs = Some(map(&args.inputs)).filter(|inputs| !inputs.is_empty());
    given(json!({
        "runbook": args.runbook,
        "cells": args.cells,
        "verify": args.verify,
        "inputs": inputs,
        "env": map(&args.env),
        "secretEnv": args.secret_env,
        "timeout": args.timeout,
        "workdir": args.workdir,
        "reason": args.reason,
        "dryRun": Some(true).filter(|_| args.dry_run),
    }))
}

/// Without what was not given.
pub(crate) fn given(mut body: Value) -> Value {
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    body
}

async fn declare(config: &Config, args: &DeclareArgs, json: bool) -> anyhow::Result<()> {
    let asked = asked(args)?;
    let body = json!({
        "title": asked.title,
        "severity": asked.severity,
        "serviceName": asked.service,
        "environment": args.environment,
        "summary": args.summary,
        "impactedServices": args.impacted_services,
        "publicTitle": args.public_title,
        "publicMessage": args.public_message,
        "publicComponents": args.public_components,
        "costCenter": args.cost_center,
        "impactStartedAt": args.impact_started,
        "recurrenceOf": args.recurrence_of,
        "privateTo": (!args.private_to.is_empty()).then_some(&args.private_to),
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
    if args.wait {
        wait_until_open(&api, id).await?;
    }
    if screen().width.is_some() && !json {
        output::say(&format!("page:   {}/orgs/{}/incidents/{id}", api.origin(), config.org));
        output::say(&format!("follow: harmony incident show {id} --follow"));
    }
    Ok(())
}

/// What a declaration cannot be without.
struct Asked {
    title: Option<String>,
    severity: Option<String>,
    service: Option<String>,
}

/// Title and severity, asked for on a terminal where they were not given.
fn asked(args: &DeclareArgs) -> Result<Asked, Failure> {
    let title = args.title.clone().or_else(|| args.title_flag.clone());
    let service = args.service.clone();
    if let (Some(title), Some(severity)) = (&title, &args.severity) {
        return Ok(Asked { title: Some(title.clone()), severity: Some(severity.clone()), service });
    }
    // What is back is known.
    if args.recurrence_of.is_some() {
        return Ok(Asked { title, severity: args.severity.clone(), service });
    }
    let missing = || {
        Failure::usage(
            "nothing was declared: a title and a severity are needed",
            "for example: harmony incident declare \"Checkout is down\" --severity P1",
        )
    };
    if !output::is_interactive() {
        return Err(missing());
    }
    let title = title.or_else(|| output::ask("What is wrong, in one line:")).ok_or_else(missing)?;
    let severity = match &args.severity {
        Some(severity) => severity.clone(),
        None => {
            output::say("P1 critical: everybody is hit    P2 high: many are hit, or it will get worse");
            output::say("P3 medium: few are hit           P4 low: nobody notices yet");
            output::ask("Severity:").ok_or_else(missing)?
        }
    };
    let service = service.or_else(|| output::ask("Service (empty for none):"));
    if !output::confirm(&format!("Declare a {}: {title}?", severity.to_uppercase())) {
        return Err(Failure::failed("nothing was declared", "run the command again when it is one"));
    }
    Ok(Asked { title: Some(title), severity: Some(severity), service })
}

pub(crate) async fn wait_until_open(api: &Api, id: &str) -> anyhow::Result<()> {
    let ends = Instant::now() + OPENING;
    loop {
        let incident = api.get(&["incidents", id], &[]).await?;
        if incident["state"] != "PENDING" {
            return Ok(());
        }
        if Instant::now() >= ends {
            return Err(Failure::failed(
                format!("{id} is declared, and not open after {} s", OPENING.as_secs()),
                "look whether a worker runs: harmony config check --live",
            )
            .into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn list(config: &Config, args: &ListArgs, json: bool) -> anyhow::Result<()> {
    let mut query: Vec<(&str, String)> = Vec::new();
    let mut states = args.state.clone();
    if args.open {
        states.extend(["PENDING", "OPEN", "MITIGATING", "RESOLVED"].map(str::to_owned));
    }
    for (name, values) in [
        ("status", &args.status),
        ("state", &states),
        ("severity", &args.severity),
        ("serviceName", &args.service),
        ("environment", &args.environment),
        ("projectId", &args.project),
        ("correlationKey", &args.correlation_key),
        ("searchQuery", &args.search),
    ] {
        query.extend(values.iter().map(|value| (name, value.clone())));
    }
    let optional = [
        ("traceId", args.trace.clone()),
        ("sort", args.sort.clone()),
        ("limit", args.limit.map(|limit| limit.to_string())),
        ("cursor", args.cursor.clone()),
    ];
    query.extend(optional.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))));
    let api = Api::open(config, None)?;
    let body = api.get(&["incidents"], &query).await?;
    if json {
        output::json(&body);
        return Ok(());
    }
    // What waits is shown to those who may see it; the list is complete without.
    let (gates, people) = tokio::join!(api.get(&["approvals"], &[]), People::of(&api));
    show::incidents(&body, &gates.unwrap_or_default(), &people);
    Ok(())
}

async fn show_one(config: &Config, args: &ShowArgs, json: bool) -> anyhow::Result<()> {
    let api = Api::open(config, None)?;
    let id = args.id.as_str();
    if let Some(cell) = &args.output {
        return cell_output::print(&api, id, cell).await;
    }
    let body = api.get(&["incidents", id], &[]).await?;
    if json {
        output::json(&body);
        if args.follow {
            let seen = body["seq"].as_u64().unwrap_or_default();
            Follower::after(&api, id, seen, json).await?.until_over().await?;
        }
        return Ok(());
    }
    let (events, people) = tokio::join!(records::all(&api, id), People::of(&api));
    let events = events?;
    incident_view::lines(&body, &events, &people).iter().for_each(|line| output::spans(line));
    if args.follow {
        output::say("following; ctrl-c ends it");
        Follower::going_on(&api, id, Story::new(people), &events).until_over().await?;
    }
    Ok(())
}

/// Follows what was started until it ends.
async fn wait_for(
    api: &Api,
    request: &Request<'_>,
    before: &Value,
    reply: &Value,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let stops = request.verb == "stop";
    let one = |started: &Value| {
        let workflow_id = started["workflowId"].as_str()?.to_owned();
        Some(Awaited { workflow_id, attempt: started["attempt"].as_u64().unwrap_or_default(), stops })
    };
    let awaited: Vec<Awaited> = match reply["resumed"].as_array() {
        Some(resumed) => resumed.iter().filter_map(one).collect(),
        None => one(reply).into_iter().collect(),
    };
    if awaited.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let seen = match before["seq"].as_u64() {
        Some(seen) => seen,
        None => api.get(&["incidents", request.id], &[]).await?["seq"].as_u64().unwrap_or_default(),
    };
    Follower::after(api, request.id, seen, json).await?.until_ended(&awaited).await
}

async fn review(config: &Config, id: &str, json: bool) -> anyhow::Result<()> {
    let page = Api::open(config, None)?.get(&["incidents", id, "review"], &[]).await?;
    if json {
        output::json(&page);
    } else {
        for line in page["markdown"].as_str().unwrap_or_default().lines() {
            output::data(line);
        }
    }
    Ok(())
}

/// The digest says which page was read, so it comes from whoever read it: given, or confirmed on the terminal.
async fn sign_off(config: &Config, args: &SignOffArgs, json: bool) -> anyhow::Result<()> {
    if args.digest.is_none() && !output::is_interactive() {
        return Err(Failure::usage(
            "nothing was signed off: there is no terminal to ask on",
            format!("pass --digest; `harmony incident show {}` names the page and its digest", args.id),
        )
        .into());
    }
    let api = Api::for_command(config, &args.key)?;
    let digest = match &args.digest {
        Some(digest) => digest.clone(),
        None => ask_for_digest(&api, &args.id).await?,
    };
    let body = json!({ "digest": digest });
    let before = if json { Value::Null } else { api.get(&["incidents", &args.id], &[]).await? };
    let reply = api.post(&["incidents", &args.id, "sign-off"], &body).await?;
    let after = if json { Value::Null } else { after(&api, &args.id, &reply).await? };
    let request = Request { id: &args.id, verb: "sign-off", key: &args.key, body, wait: false };
    answer(&request, &before, &after, &reply, json);
    Ok(())
}

async fn ask_for_digest(api: &Api, id: &str) -> anyhow::Result<String> {
    let incident = api.get(&["incidents", id], &[]).await?;
    let review = &incident["review"];
    let digest = review["digest"].as_str().filter(|digest| !digest.is_empty()).ok_or_else(|| Failure {
        exit: Exit::Refused,
        what: format!("{id} has no published review"),
        hint: format!("publish one: harmony incident post-mortem {id}"),
    })?;
    output::say(&format!("page:   {}", output::words(&review["url"])));
    output::say(&format!("digest: {digest}"));
    if !output::confirm("Did you read this page, and do you sign it off?") {
        return Err(
            Failure::failed("nothing was signed off", "read the page, then run the command again").into()
        );
    }
    Ok(digest.to_owned())
}

/// What is refused because the incident is not open yet is a matter of a moment.
fn opening(error: anyhow::Error, before: &Value, id: &str) -> anyhow::Error {
    match error.downcast::<Failure>() {
        Ok(failure) if failure.exit == Exit::Refused && before["state"] == "PENDING" => Failure {
            hint: format!("{id} is still being opened: wait a moment and try again, or declare with --wait"),
            ..failure
        }
        .into(),
        Ok(failure) => failure.into(),
        Err(error) => error,
    }
}

/// What a command changed, such as `severity P1 → P2`; and what was so before.
fn changes(before: &Value, after: &Value) -> Vec<String> {
    let change = |name: &&str| {
        let (was, is) = (before[*name].as_str(), after[*name].as_str()?);
        match was {
            Some(was) if was != is => Some(format!("{name} {was} → {is}")),
            _ => None,
        }
    };
    ["state", "phase", "severity"].iter().filter_map(change).collect()
}

/// Why nothing changed: it was so before.
fn unchanged(verb: &str, before: &Value) -> Option<String> {
    let by = before["review"]["signedOffBy"].as_str().filter(|by| !by.is_empty());
    match verb {
        "severity" => Some(format!("already {}; nothing changed", before["severity"].as_str()?)),
        "sign-off" | "close" => {
            let by = by.map(|by| format!(", signed off by {by}")).unwrap_or_default();
            Some(format!("already {}{by}; nothing changed", before["state"].as_str()?))
        }
        "status" => Some(format!("already {}; nothing changed", before["state"].as_str()?)),
        "verify" => Some(format!("already {}; nothing changed", before["phase"].as_str()?)),
        _ => None,
    }
}

/// The incident as it is after a command that changed it. What only starts something has changed nothing yet.
async fn after(api: &Api, id: &str, reply: &Reply) -> anyhow::Result<Value> {
    if reply.body["workflowId"].is_string() || reply.body["answer"] == "unchanged" {
        return Ok(reply.body.clone());
    }
    api.get(&["incidents", id], &[]).await
}

fn answer(request: &Request<'_>, before: &Value, after: &Value, reply: &Reply, json: bool) {
    if json {
        output::json(&reply.body);
    } else {
        let mut line = format!("{} {}", request.id, request.verb);
        let changes = changes(before, after);
        let same = changes.is_empty() && !reply.body["workflowId"].is_string();
        match unchanged(request.verb, before).filter(|_| same) {
            Some(unchanged) => line.push_str(&format!("  {unchanged}")),
            None => changes.iter().for_each(|change| line.push_str(&format!("  {change}"))),
        }
        if let Some(workflow) = reply.body["workflowId"].as_str() {
            line.push_str(&format!("  workflow {workflow}"));
        }
        if reply.body["workflowId"].is_string() {
            line.push_str(if request.verb == "stop" { "  is told to stop" } else { "  starts" });
            if let Some(roles) = reply.body["gate"]["requiredRoles"].as_array() {
                let roles: Vec<_> = roles.iter().filter_map(Value::as_str).collect();
                line.push_str(&format!(" and waits for approval by {}", roles.join(" or ")));
            }
            if !request.wait {
                line.push_str(&format!("; `harmony incident show {} --follow` follows it", request.id));
            }
        }
        output::data(&line);
        dry_run(request.id, &reply.body);
    }
    warn(&reply.body);
}

/// What a dry run would run, in order, and with what; and how that is proposed afterwards.
fn dry_run(id: &str, reply: &Value) {
    let plan = &reply["dryRun"];
    if plan.is_null() {
        return;
    }
    for (name, value) in plan["inputs"].as_object().into_iter().flatten() {
        output::data(&format!("  input {name}={}", output::words(value)));
    }
    for cell in show::items(plan, "cells") {
        let mark = if cell["runs"] == true { "▶" } else { "○" };
        let left_out = if cell["runs"] == true { "" } else { "  is not run in a dry run" };
        output::data(&format!("  {mark} {}{left_out}", output::words(&cell["cell"])));
    }
    if let Some(attempt) = reply["attempt"].as_u64() {
        output::say(&format!(
            "once it has ended, `harmony incident remediate {id} --as-dry-run {attempt}` proposes exactly this"
        ));
    }
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
        request(&parsed.command).unwrap().body
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
            body(&["remediate", "INC-2026-0001", "--as-dry-run", "3", "--reason", "it looks right"]),
            json!({ "attempt": 3, "reason": "it looks right" })
        );
        assert_eq!(
            body(&["review", "INC-2026-0001", "--action", "fix", "--owner", "oncall"]),
            json!({ "action": "fix", "owner": "oncall" })
        );
    }

    #[test]
    fn a_command_says_what_changed_or_that_nothing_did() {
        let at = |severity: &str, state: &str, phase: &str| json!({ "severity": severity, "state": state, "phase": phase });
        let before = at("P1", "OPEN", "triaging");
        assert_eq!(changes(&before, &at("P2", "OPEN", "triaging")), ["severity P1 → P2"]);
        assert_eq!(
            changes(&before, &at("P1", "MITIGATING", "verified")),
            ["state OPEN → MITIGATING", "phase triaging → verified"]
        );
        assert!(changes(&before, &before).is_empty());
        assert_eq!(unchanged("severity", &before).unwrap(), "already P1; nothing changed");
        let mut closed = at("P1", "CLOSED", "closed");
        closed["review"] = json!({ "signedOffBy": "operator" });
        assert_eq!(
            unchanged("sign-off", &closed).unwrap(),
            "already CLOSED, signed off by operator; nothing changed"
        );
    }

    #[test]
    fn what_is_refused_while_the_incident_opens_says_to_wait() {
        let refused = || {
            let what = "incident.remediate needs an incident that is OPEN".to_owned();
            anyhow::Error::from(Failure { exit: Exit::Refused, what, hint: "look again".to_owned() })
        };
        let hint = |state: &str| {
            let error = opening(refused(), &json!({ "state": state }), "INC-2026-0001");
            error.downcast::<Failure>().unwrap().hint
        };
        assert!(hint("PENDING").contains("--wait"));
        assert_eq!(hint("CLOSED"), "look again");
    }

    #[test]
    fn an_incident_is_named_in_any_case_or_by_its_number() {
        use crate::commands::incident_args::incident_id;

        assert_eq!(incident_id("inc-2026-0042").unwrap(), "INC-2026-0042");
        let year = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year();
        assert_eq!(incident_id("42").unwrap(), format!("INC-{year}-0042"));
        assert_eq!(incident_id("0042").unwrap(), format!("INC-{year}-0042"));
        for text in ["", "INC", "checkout", "-1", "INC-2026-1"] {
            assert!(incident_id(text).unwrap_err().contains("expected INC-2026-0042"), "{text}");
        }
    }

    #[test]
    fn a_review_is_a_section_or_an_action() {
        for line in [
            &["incident", "review", "INC-2026-0001"][..],
            &["incident", "review", "INC-2026-0001", "--section", "impact"],
            &[
                "incident",
                "review",
                "INC-2026-0001",
                "--section",
                "impact",
                "--text",
                "x",
                "--action",
                "y",
                "--owner",
                "z",
            ],
        ] {
            assert!(Line::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}

//! `harmony deploy …`: create and promote releases, tell what became of them, and see what runs where.
//!
//! `create` makes a release and lets it go out, as its environment's policies allow; where somebody else deploys it, they
//! tell how it went, with `tell` from CI, or by a webhook. With `--wait` the command follows the release until it is
//! Active or Failed, and the exit code says which.

use std::{collections::BTreeSet, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::{Args, Subcommand, builder::PossibleValuesParser};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    api::Api,
    commands::{
        catalog_view::{name_of, release_cell, run_lines, service_line, short_sha, tone_of},
        incident::given,
        incident_args::{KeyArgs, incident_id},
        show::items,
    },
    config::Config,
    failure::{Exit, Failure},
    moments,
    output::{self, words},
    people::People,
    terminal::{Span, Tone, screen, span},
};

const CREATE_EXAMPLES: &str = "Examples:
  harmony deploy create --service svc-checkout --env env-prod --sha $GITHUB_SHA --version 2.4.1
  rel=$(harmony deploy create --service svc-checkout --env env-prod --sha 9f3b7de --status Promoting)
  harmony deploy tell $rel Active
  harmony deploy create --service svc-checkout --env env-prod --sha 9f3b7de --dry-run --wait";
const ROLLBACK_EXAMPLES: &str = "Examples:
  harmony deploy rollback --release rel-124 --incident 42 --reason \"checkout fails since 2.4.1\" --wait";
const TELL_EXAMPLES: &str = "Examples:
  harmony deploy tell rel-123 Promoting
  harmony deploy tell rel-123 Failed --reason \"2 of 3 replicas crash\"

What is told twice, or too late to matter, changes nothing.";

/// How often to ask about a release. A person does not notice; the API allows many times as much.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a release may stay a draft before somebody should look why.
const LATE_ROUNDS: u32 = 30;

/// `harmony deploy …`
#[derive(Debug, Subcommand)]
pub(crate) enum DeployCommand {
    /// Create a release of a service for an environment; prints its id
    #[command(disable_version_flag = true, after_help = CREATE_EXAMPLES)]
    Create(CreateArgs),
    /// Let a draft go out once more, whose last run did not take it there
    Start(StartArgs),
    /// Promote a release's artifact to another environment, as a release of its own; prints its id
    Promote(PromoteArgs),
    /// Deploy what was active before a release again, through its gate; prints the new release's id
    #[command(after_help = ROLLBACK_EXAMPLES)]
    Rollback(RollbackArgs),
    /// What each environment of a service has
    Status(StatusArgs),
    /// Tell what became of a release, from CI for example
    #[command(after_help = TELL_EXAMPLES)]
    Tell(TellArgs),
}

/// Options of `create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Service, such as svc-checkout
    #[arg(long, value_name = "ID")]
    service: String,
    /// Environment, such as env-prod
    #[arg(long, value_name = "ID")]
    env: String,
    /// Fingerprint of the artifact: a commit, an image's digest
    #[arg(long)]
    sha: String,
    /// For people: a tag, a date
    #[arg(long)]
    version: Option<String>,
    /// How far it is, where it is told of afterwards [default: Draft]
    #[arg(long, value_parser = status_words(), ignore_case = true)]
    status: Option<String>,
    /// When it came to that status, where it is told of later
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Its id [default: made of the request]
    #[arg(long)]
    id: Option<String>,
    /// Its page
    #[arg(long)]
    url: Option<String>,
    /// The release that it takes the place of, because that one was bad
    #[arg(long, value_name = "RELEASE")]
    rolls_back: Option<String>,
    /// The incident that it is meant to end
    #[arg(long, value_parser = incident_id)]
    incident: Option<String>,
    #[command(flatten)]
    how: HowArgs,
    #[command(flatten)]
    wait: ReleaseWaitArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// For commands that make a release.
#[derive(Debug, Args)]
pub(crate) struct ReleaseWaitArgs {
    /// Follow the release until it is Active or Failed; the exit code tells which
    #[arg(long)]
    wait: bool,
}

/// How a release is to go out.
#[derive(Debug, Args)]
pub(crate) struct HowArgs {
    /// Tell what would be done, and what the environment's policies say; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Why, for those who approve it
    #[arg(long)]
    reason: Option<String>,
}

/// Options of `start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Release that goes out
    #[arg(long, value_name = "ID")]
    release: String,
    #[command(flatten)]
    how: HowArgs,
    #[command(flatten)]
    wait: ReleaseWaitArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `rollback`.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// Release that is taken back
    #[arg(long, value_name = "ID")]
    release: String,
    /// The incident that this is to end: its responders may ask for it
    #[arg(long, value_parser = incident_id)]
    incident: Option<String>,
    /// Why, for those who approve it
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    wait: ReleaseWaitArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `promote`.
#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    /// Release whose artifact goes on
    #[arg(long, value_name = "ID")]
    release: String,
    /// Environment that it goes to
    #[arg(long = "to", value_name = "ENVIRONMENT")]
    environment: String,
    #[command(flatten)]
    how: HowArgs,
    #[command(flatten)]
    wait: ReleaseWaitArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Service, such as svc-checkout
    #[arg(long, value_name = "ID")]
    service: String,
}

/// Options of `tell`.
#[derive(Debug, Args)]
pub(crate) struct TellArgs {
    /// Release, such as rel-123
    release: String,
    /// How far it is now
    #[arg(value_parser = PossibleValuesParser::new(["Promoting", "Active", "Failed"]), ignore_case = true)]
    status: String,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    /// When it happened, where it is told later
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    #[command(flatten)]
    key: KeyArgs,
}

fn status_words() -> PossibleValuesParser {
    PossibleValuesParser::new(["Draft", "Promoting", "Active", "Failed"])
}

/// Carries out one command.
pub(crate) async fn run(config: &Config, command: &DeployCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        DeployCommand::Create(args) => return create(config, args, json).await,
        DeployCommand::Start(args) => return start(config, args, json).await,
        DeployCommand::Promote(args) => return promote(config, args, json).await,
        DeployCommand::Rollback(args) => return rollback(config, args, json).await,
        DeployCommand::Status(args) => status(config, args, json).await?,
        DeployCommand::Tell(args) => tell(config, args, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(config: &Config, args: &CreateArgs, json: bool) -> anyhow::Result<ExitCode> {
    let body = given(json!({
        "id": args.id,
        "serviceId": args.service,
        "envId": args.env,
        "sha": args.sha,
        "version": args.version,
        "status": args.status,
        "at": args.at,
        "url": args.url,
        "rollsBack": args.rolls_back,
        "incident": args.incident,
        "dryRun": args.how.dry_run.then_some(true),
        "reason": args.how.reason,
    }));
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    let release = api.post(&["releases"], &body).await?.body;
    made(&api, &release, &release, &args.wait, json).await
}

async fn promote(config: &Config, args: &PromoteArgs, json: bool) -> anyhow::Result<ExitCode> {
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    let body = given(json!({
        "envId": args.environment,
        "dryRun": args.how.dry_run.then_some(true),
        "reason": args.how.reason,
    }));
    let reply = api.post(&["releases", &args.release, "promote"], &body).await?.body;
    made(&api, &reply["release"], &reply, &args.wait, json).await
}

async fn start(config: &Config, args: &StartArgs, json: bool) -> anyhow::Result<ExitCode> {
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    let body = given(json!({ "dryRun": args.how.dry_run.then_some(true), "reason": args.how.reason }));
    let reply = api.post(&["releases", &args.release, "deploy"], &body).await?.body;
    made(&api, &reply["release"], &reply, &args.wait, json).await
}

async fn rollback(config: &Config, args: &RollbackArgs, json: bool) -> anyhow::Result<ExitCode> {
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    let body = given(json!({ "incidentId": args.incident, "reason": args.reason }));
    let reply = api.post(&["releases", &args.release, "rollback"], &body).await?.body;
    if !json && let Some(warning) = reply["warning"].as_str() {
        output::say(warning);
    }
    made(&api, &reply["release"], &reply, &args.wait, json).await
}

/// Says which release was made or goes on, and follows it where that is asked for.
pub(super) async fn made(
    api: &Api,
    release: &Value,
    reply: &Value,
    wait: &ReleaseWaitArgs,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let id = release["id"].as_str().context("the API answered without a release id")?;
    if json {
        output::json(reply);
    } else {
        output::data(id);
    }
    if wait.wait {
        return until_settled(api, id, json).await;
    }
    let is_settled = release["status"] == "Active" || release["status"] == "Failed";
    if screen().width.is_some() && !json && !is_settled {
        output::say(&format!(
            "follow it: harmony release show {id}; whoever deploys it tells: harmony deploy tell {id} Active"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Follows a release until it is Active or Failed, or its run was refused.
async fn until_settled(api: &Api, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let people = if json { People::default() } else { People::of(api).await };
    let query = [("releaseId", id.to_owned()), ("limit", "200".to_owned())];
    let (mut told, mut last_status, mut quiet_rounds) = (BTreeSet::new(), String::new(), 0_u32);
    loop {
        let release = api.get(&["releases", id], &[]).await?;
        let runs = api.get(&["runs"], &query).await?;
        let runs = items(&runs, "runs");
        for one in run_lines(runs, &people) {
            if told.insert(one.key) && !json {
                output::spans(&one.line);
            }
        }
        let status = words(&release["status"]);
        if status == last_status {
            quiet_rounds += 1;
        } else {
            if !json {
                output::spans(&[
                    words(&release["id"]).into(),
                    "  ".into(),
                    span(tone_of(&status), status.clone()),
                ]);
            }
            (last_status, quiet_rounds) = (status, 0);
        }
        if let Some(ended) = ended(&release, runs) {
            if json {
                output::json(&release);
            }
            return ended.map_err(Into::into);
        }
        if quiet_rounds == LATE_ROUNDS && runs.is_empty() {
            output::say(&format!(
                "nobody has told of it yet; whoever deploys it does: harmony deploy tell {id} Active"
            ));
        }
        if output::has_no_reader() {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How a release ended; `None` while it goes on.
fn ended(release: &Value, runs: &[Value]) -> Option<Result<ExitCode, Failure>> {
    let id = words(&release["id"]);
    let last = runs.iter().max_by_key(|run| words(&run["startedAt"]));
    let reason = [&release["reason"], last.map_or(&Value::Null, |run| &run["reason"])];
    let reason = reason.into_iter().map(words).find(|reason| !reason.is_empty());
    let because = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let hint = format!("see what it said: harmony release show {id}");
    if release["status"] == "Active" {
        return Some(Ok(ExitCode::SUCCESS));
    }
    if release["status"] == "Failed" {
        return Some(Err(Failure::failed(format!("{id} failed{because}"), hint)));
    }
    let run = last.filter(|run| run["finishedAt"].is_string())?;
    match run["outcome"].as_str()? {
        "planned" => Some(Ok(ExitCode::SUCCESS)),
        "refused" => {
            Some(Err(Failure { exit: Exit::Refused, what: format!("{id} was refused{because}"), hint }))
        }
        "cancelled" | "failed" => Some(Err(Failure::failed(format!("{id} was not deployed{because}"), hint))),
        // Its release is settled in a moment.
        _ => None,
    }
}

async fn status(config: &Config, args: &StatusArgs, json: bool) -> anyhow::Result<()> {
    let api = Api::open(config, None)?;
    let service = service_line(&api, &args.service).await?;
    if json {
        let environments: Vec<Value> = items(&service, "environments")
            .iter()
            .map(|one| {
                let release = &service["latestReleases"][words(&one["id"])];
                json!({ "id": one["id"], "name": one["name"], "release": release })
            })
            .collect();
        output::json(&json!({ "serviceId": service["id"], "environments": environments }));
    } else {
        matrix(&service);
    }
    Ok(())
}

/// The environments of a service, each with its latest release.
pub(super) fn matrix(service: &Value) {
    let rows = matrix_rows(service);
    if rows.is_empty() {
        output::say("the service runs in no environment");
        return;
    }
    output::table(&["ENVIRONMENT", "NAME", "LATEST", "SHA", "STATUS", "SINCE", "RELEASE"], &rows);
}

fn matrix_rows(service: &Value) -> Vec<Vec<Span>> {
    let row = |one: &Value| -> Vec<Span> {
        let id = words(&one["id"]);
        let release = &service["latestReleases"][id.as_str()];
        let status = words(&release["status"]);
        let since =
            if release["settledAt"].is_string() { &release["settledAt"] } else { &release["createdAt"] };
        vec![
            span(Tone::Strong, id),
            words(&one["name"]).into(),
            release_cell(release),
            span(Tone::Faint, short_sha(release)),
            span(tone_of(&status), status),
            span(Tone::Faint, moments::ago(since)),
            span(Tone::Faint, words(&release["id"])),
        ]
    };
    items(service, "environments").iter().map(row).collect()
}

async fn tell(config: &Config, args: &TellArgs, json: bool) -> anyhow::Result<()> {
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    // What changed can only be told by who knows what was there before.
    let before = if json { Value::Null } else { api.get(&["releases", &args.release], &[]).await? };
    let body = given(json!({ "status": args.status, "reason": args.reason, "at": args.at }));
    let after = api.post(&["releases", &args.release, "status"], &body).await?.body;
    if json {
        output::json(&after);
    } else {
        output::spans(&change(&before, &after));
    }
    Ok(())
}

/// What somebody's news changed; what lies behind changes nothing.
fn change(before: &Value, after: &Value) -> Vec<Span> {
    let (was, is) = (words(&before["status"]), words(&after["status"]));
    let which = format!("{}  {} {}  ", words(&after["id"]), words(&after["serviceId"]), name_of(after));
    if was == is {
        return vec![which.into(), format!("{is} already; nothing changed").into()];
    }
    vec![which.into(), format!("{was} → ").into(), span(tone_of(&is), is)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &[Span]) -> String {
        line.iter().map(|span| span.text.as_str()).collect()
    }

    #[test]
    fn an_environment_without_a_release_says_so() {
        let service = json!({
            "id": "svc-a",
            "environments": [{ "id": "env-staging", "name": "staging" }, { "id": "env-prod", "name": "prod" }],
            "latestReleases": { "env-staging": {
                "id": "rel-1", "version": "2.4.1", "sha": "9f3b7de", "status": "Failed",
                "createdAt": "2026-01-01T00:00:00Z", "settledAt": "2026-01-01T00:01:00Z"
            } }
        });
        let rows = matrix_rows(&service);
        let cells = |row: &[Span]| row.iter().map(|cell| cell.text.clone()).collect::<Vec<_>>();
        assert_eq!(
            cells(&rows[0]),
            ["env-staging", "staging", "✗ 2.4.1", "9f3b7de", "Failed", "2026-01-01T00:01:00Z", "rel-1"]
        );
        assert_eq!(cells(&rows[1]), ["env-prod", "prod", "–", "", "", "", ""]);
    }

    #[test]
    fn late_news_is_said_to_change_nothing() {
        let release = |status: &str| json!({ "id": "rel-1", "serviceId": "svc-a", "version": "2.4.1", "status": status });
        assert_eq!(
            text(&change(&release("Draft"), &release("Active"))),
            "rel-1  svc-a 2.4.1  Draft → Active"
        );
        assert_eq!(
            text(&change(&release("Active"), &release("Active"))),
            "rel-1  svc-a 2.4.1  Active already; nothing changed"
        );
    }

    #[test]
    fn how_a_release_ends_decides_the_exit_code() {
        let run = |outcome: &str| {
            json!({
                "id": "run-1", "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:01:00Z",
                "outcome": outcome, "reason": "the window is closed"
            })
        };
        for (status, runs, expected) in [
            ("Draft", vec![], None),
            ("Promoting", vec![run("succeeded")], None),
            ("Active", vec![], Some(0)),
            ("Failed", vec![run("failed")], Some(1)),
            ("Draft", vec![run("refused")], Some(3)),
            ("Draft", vec![run("cancelled")], Some(1)),
            ("Draft", vec![run("planned")], Some(0)),
        ] {
            let release = json!({ "id": "rel-1", "status": status });
            let code =
                ended(&release, &runs).map(|ended| ended.map_or_else(|failure| failure.exit.code(), |_| 0));
            assert_eq!(code, expected, "{status} {runs:?}");
        }
        let failure =
            ended(&json!({ "id": "rel-1", "status": "Draft" }), &[run("refused")]).unwrap().unwrap_err();
        assert_eq!(failure.what, "rel-1 was refused: the window is closed");
    }
}

//! `harmony release …`: what was deployed where, and what its runs said.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    api::Api,
    commands::{
        catalog_view::{PageArgs, fact, more, name_of, run_lines, short_sha, tone_of},
        deploy::{ReleaseWaitArgs, made},
        incident_args::KeyArgs,
        show::items,
    },
    config::Config,
    moments,
    output::{self, words},
    people::People,
    terminal::{Span, Tone, span},
};

const LIST_EXAMPLES: &str = "Examples:
  harmony release list --service svc-checkout --env env-prod
  harmony release list --since 24h
  harmony release list --json | jq -r '.releases[].id'";

/// `harmony release …`
#[derive(Debug, Subcommand)]
pub(crate) enum ReleaseCommand {
    /// List releases, the last created first
    #[command(visible_alias = "ls", after_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// Show one release, and what its runs said, merged in time
    Show(ShowArgs),
    /// Start the lost run of a release again, where it was
    Resume(ReleaseResumeArgs),
}

/// Options of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only of these services; repeat for more
    #[arg(long, value_name = "ID")]
    service: Vec<String>,
    /// Only to this environment
    #[arg(long, value_name = "ID")]
    env: Option<String>,
    /// Only what was created or settled since then: 2026-11-29T08:00:00Z, or 24h
    #[arg(long, value_name = "WHEN", value_parser = moments::since)]
    since: Option<jiff::Timestamp>,
    #[command(flatten)]
    page: PageArgs,
}

/// A release.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Such as rel-123
    id: String,
}

/// Options of `resume`.
#[derive(Debug, Args)]
pub(crate) struct ReleaseResumeArgs {
    /// Such as rel-123
    id: String,
    #[command(flatten)]
    wait: ReleaseWaitArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// Carries out one command.
pub(crate) async fn run(config: &Config, command: &ReleaseCommand, json: bool) -> anyhow::Result<ExitCode> {
    if let ReleaseCommand::Resume(args) = command {
        return resume(config, args, json).await;
    }
    let api = Api::open(config, None)?;
    match command {
        ReleaseCommand::List(args) => list(&api, args, json).await?,
        ReleaseCommand::Show(args) => show(&api, &args.id, json).await?,
        ReleaseCommand::Resume(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn resume(config: &Config, args: &ReleaseResumeArgs, json: bool) -> anyhow::Result<ExitCode> {
    let api = Api::open(config, args.key.idempotency_key.clone())?;
    let reply = api.post(&["releases", &args.id, "resume"], &json!({})).await?.body;
    if !json && let Some(warning) = reply["warning"].as_str() {
        output::say(warning);
    }
    made(&api, &reply["release"], &reply, &args.wait, json).await
}

async fn list(api: &Api, args: &ListArgs, json: bool) -> anyhow::Result<()> {
    let mut query: Vec<(&str, String)> = args.service.iter().map(|id| ("serviceId", id.clone())).collect();
    query.extend(args.env.iter().map(|id| ("envId", id.clone())));
    query.extend(args.since.iter().map(|at| ("since", at.to_string())));
    query.extend(args.page.query());
    let body = api.get(&["releases"], &query).await?;
    if json {
        output::json(&body);
        return Ok(());
    }
    if items(&body, "releases").is_empty() {
        output::say("no releases");
        return Ok(());
    }
    table(&body, &People::of(api).await);
    more(&body);
    Ok(())
}

/// Releases, one a line.
pub(super) fn table(body: &Value, people: &People) {
    let row = |release: &Value| -> Vec<Span> {
        let by = words(&release["createdBy"]);
        vec![
            words(&release["id"]).into(),
            words(&release["serviceId"]).into(),
            words(&release["envId"]).into(),
            words(&release["version"]).into(),
            span(Tone::Faint, short_sha(release)),
            status(release),
            span(Tone::Faint, moments::ago(&release["createdAt"])),
            people.name(&by).into(),
        ]
    };
    let rows: Vec<Vec<Span>> = items(body, "releases").iter().map(row).collect();
    output::table(&["RELEASE", "SERVICE", "ENVIRONMENT", "VERSION", "SHA", "STATUS", "CREATED", "BY"], &rows);
}

/// The status, and what became of one that is active no longer.
fn status(release: &Value) -> Span {
    let status = words(&release["status"]);
    match release["standing"].as_str() {
        Some("superseded") => span(Tone::Faint, format!("{status}, superseded")),
        Some("rolledBack") => span(Tone::Warn, format!("{status}, rolled back")),
        _ => span(tone_of(&status), status),
    }
}

async fn show(api: &Api, id: &str, json: bool) -> anyhow::Result<()> {
    let query = [("releaseId", id.to_owned()), ("limit", "200".to_owned())];
    let mut release = api.get(&["releases", id], &[]).await?;
    let runs = api.get(&["runs"], &query).await?;
    if json {
        release["runs"] = json!(items(&runs, "runs"));
        output::json(&release);
        return Ok(());
    }
    let people = People::of(api).await;
    lines(&release, &people).iter().for_each(|line| output::spans(line));
    let said = run_lines(items(&runs, "runs"), &people);
    if !said.is_empty() {
        output::data("");
        said.iter().for_each(|one| output::spans(&one.line));
    }
    Ok(())
}

fn lines(release: &Value, people: &People) -> Vec<Vec<Span>> {
    let text = |name: &str| words(&release[name]);
    let mut lines = vec![vec![
        span(Tone::Strong, text("id")),
        "  ".into(),
        span(Tone::Strong, format!("{} {}", text("serviceId"), name_of(release))),
        "  ".into(),
        status(release),
    ]];
    let created_by = text("createdBy");
    let created = match moments::clock_and_ago(&release["createdAt"]) {
        at if at.is_empty() || created_by.is_empty() => at,
        at => format!("{at} by {}", people.name(&created_by)),
    };
    for (label, value) in [
        ("environment", text("envId")),
        ("sha", text("sha")),
        ("created", created),
        ("settled", moments::clock_and_ago(&release["settledAt"])),
        ("because", text("reason")),
        ("promoted from", text("promotedFrom")),
        ("rolls back", text("rollsBack")),
        ("replaced by", text("replacedBy")),
        ("for incident", text("incident")),
        ("told by", text("source")),
        ("page", text("url")),
    ] {
        if !value.is_empty() {
            lines.push(fact(label, value));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_release_says_what_is_known_of_it_and_no_more() {
        let release = json!({
            "id": "rel-1", "serviceId": "svc-a", "sha": "9f3b7de", "version": "2.4.1", "envId": "env-prod",
            "status": "Active", "standing": "rolledBack", "replacedBy": "rel-2",
            "createdAt": "2026-01-01T00:00:00Z", "createdBy": "deployer"
        });
        let text = |line: &Vec<Span>| line.iter().map(|span| span.text.as_str()).collect::<String>();
        assert_eq!(
            lines(&release, &People::default()).iter().map(text).collect::<Vec<_>>(),
            [
                "rel-1  svc-a 2.4.1  Active, rolled back",
                "environment    env-prod",
                "sha            9f3b7de",
                "created        2026-01-01T00:00:00Z by deployer",
                "replaced by    rel-2",
            ]
        );
    }
}

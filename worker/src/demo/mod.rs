//! `harmony demo`: a P1 walked from declaration to a signed-off review, with nothing set up.
//!
//! Everything runs as in `dev`, with the sandbox in place of every vendor. Commands go through the API as `operator`;
//! every decision is a signed click in the sandbox's Slack by `commander`. At the end the log is verified and the
//! sandbox is asked whether anything happened twice. Whatever is not as it should be ends it with 1.

mod doubles;
mod progress;
mod slack;
mod story;
mod watcher;

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::{
    commands::{self, stopped},
    config::Config,
    failure::Failure,
    output,
    supervisor::{Installation, StandIns},
};
use progress::Progress;

/// The walk takes well under a minute; longer means that something is stuck.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// The last line of `demo --json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    incident_id: String,
    state: String,
    phase: String,
    records: u64,
    verified: bool,
    post_mortem_url: String,
    duration_ms: u64,
}

/// Runs it.
pub(crate) async fn run(config: &Config, keep: bool, json: bool) -> anyhow::Result<()> {
    let progress = Progress::new(json);
    let say = |line: &str| progress.line(line);
    let installation = tokio::select! {
        started = Box::pin(Installation::start(config, StandIns::Everywhere, &say)) => started?,
        () = stopped() => return Err(interrupted()),
    };
    let walked = tokio::select! {
        walked = Box::pin(walk(&installation, &progress)) => Some(walked),
        () = stopped() => None,
        () = tokio::time::sleep(PATIENCE) => Some(Err(Failure::failed(
            format!("the demo was not over after {} s", PATIENCE.as_secs()),
            format!("see {}", installation.config().in_data_dir("logs").display()),
        )
        .into())),
    };
    progress.end();
    if json && let Some(Ok(outcome)) = &walked {
        output::json(outcome);
    }
    if keep && let Some(walked) = &walked {
        if let Err(error) = walked {
            progress.line(&format!("not as it should be: {error:#}"));
        }
        progress.line(&format!("still up: {}  (ctrl-c stops everything)", installation.origin()));
        stopped().await;
    }
    if !keep && matches!(walked, Some(Ok(_))) {
        progress.line(
            "next       harmony demo --keep leaves this one up to look at, harmony dev one of your own",
        );
    }
    installation.stop().await;
    walked.unwrap_or_else(|| Err(interrupted())).map(drop)
}

async fn walk(installation: &Installation, progress: &Progress) -> anyhow::Result<Outcome> {
    let begun = Instant::now();
    progress.line(&format!("console {}", installation.origin()));
    let told = story::tell(installation, progress).await?;
    let report = commands::log::verify(installation.config()).await?;
    if !report.verified {
        let first = report
            .findings
            .first()
            .map(|found| format!("{} {}: {}", found.incident, found.seq, found.problem));
        let what = format!("the log does not verify: {}", first.unwrap_or_default());
        return Err(
            Failure::failed(what, "this must not be: please report it with the data directory").into()
        );
    }
    let once = doubles::check(&installation.sandbox_origins()).await?;
    let outcome = Outcome {
        incident_id: told.incident_id,
        state: told.state,
        phase: told.phase,
        records: told.records,
        verified: report.verified,
        post_mortem_url: told.post_mortem_url,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let seconds = begun.elapsed().as_secs_f32();
    progress.line("");
    progress.line(&format!(
        "{} is {} ({}) after {seconds:.1} s",
        outcome.incident_id, outcome.state, outcome.phase
    ));
    progress.line(&format!(
        "log       verified: {} incidents, {} records, {} of them of this one",
        report.incidents, report.records, outcome.records
    ));
    progress.line(&format!("review    {}", outcome.post_mortem_url));
    progress.line(&format!("effects   each exactly once: {once}"));
    Ok(outcome)
}

fn interrupted() -> anyhow::Error {
    Failure::failed("interrupted", "run it again: it starts with a new incident").into()
}

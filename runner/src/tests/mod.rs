//! The runbook module, against real files and real processes.

mod confinement;
mod crash;
mod execution;
mod inputs;
mod markdown;
mod masking;
mod output;
mod root;
mod samples;

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{CellOutcome, CellRun, Ended, OutcomeLimits, Progress, Runner};

/// One cell named `it` with these commands.
fn runbook(commands: &str) -> String {
    format!("# Test\n\n```bash {{ name=it }}\n{commands}\n```\n")
}

/// A run of the cell `it` in the system's temporary directory.
fn run_of(commands: &str) -> CellRun {
    CellRun {
        snapshot: runbook(commands),
        cell: "it".to_owned(),
        env: BTreeMap::new(),
        carried: BTreeMap::new(),
        secrets: BTreeMap::new(),
        workdir: std::env::temp_dir(),
        timeout: Duration::from_secs(20),
        limits: OutcomeLimits::default(),
        printed: None,
        job: None,
    }
}

async fn outcome_of(run: CellRun) -> CellOutcome {
    outcome_until(run, pending()).await
}

async fn outcome_until(run: CellRun, stop: impl Future<Output = ()>) -> CellOutcome {
    let (progress, _) = watch::channel(Progress::default());
    let runner = Runner::new(Vec::new());
    runner.run_cell(run, progress, stop).await.unwrap()
}

/// The outcome of these commands.
async fn outcome(commands: &str) -> CellOutcome {
    outcome_of(run_of(commands)).await
}

/// Standard output of these commands, which must succeed.
async fn stdout_of(run: CellRun) -> String {
    let outcome = outcome_of(run).await;
    assert_eq!(outcome.ended, Ended::Exited(0), "{outcome:?}");
    outcome.stdout_tail
}

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// Whether the process is there and not merely waiting to be reaped.
fn is_alive(pid: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state != Some('Z')
}

/// Waits until `condition` holds; a process that was killed needs a moment.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 5 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The process ids that a cell wrote into a file, one a line, all `count` of them.
fn pids_in(file: &Path, count: usize) -> Vec<String> {
    let read = || -> Vec<String> {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    eventually("process ids", || read().len() >= count);
    read()
}

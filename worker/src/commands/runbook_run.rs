//! `harmony runbook run --local`: tries a runbook on this machine, as whoever calls it.
//!
//! No incident, no gate, no record, and it says so. Cells run by the same runner, with the same checks of inputs and
//! under the same limits as on the runbook pool; manual steps and checkpoints are asked about on the terminal.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use harmony_runner::{Cell, CellOutcome, CellRun, Ended, Inputs, OutcomeLimits, Progress, Runbook, Runner};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    incident_args::assignment,
    runbook::{read, unusable},
};
use crate::{
    config::Config,
    failure::{Exit, Failure},
    output,
    terminal::{Tone, span},
};

pub(super) const EXAMPLES: &str = "Examples:
  harmony runbook run --local rollback-deployment.md --set SERVICE=checkout --verify postcheck
  harmony runbook run --local rollback-deployment.md --dry-run

Nothing of it is on record. To run it for an incident: harmony incident remediate";

/// Options of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Relative to the runbook root, or a file
    path: String,
    /// On this machine, as you, with your rights: there is no other way yet
    #[arg(long, required = true)]
    local: bool,
    /// Cell to run; repeat for more [default: every named cell but those of --verify]
    #[arg(long = "cell", value_name = "NAME")]
    cells: Vec<String>,
    /// Cell that tells whether it worked; repeat for more
    #[arg(long = "verify", value_name = "NAME")]
    verify: Vec<String>,
    /// Input that the runbook declares; repeat for more
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    inputs: Vec<(String, String)>,
    /// Variable that it does not declare; repeat for more
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = assignment)]
    env: Vec<(String, String)>,
    /// Time for one cell, such as 10m [default: 10m]
    #[arg(long, value_name = "T", value_parser = time)]
    timeout: Option<Duration>,
    /// Run only what a dry run runs
    #[arg(long)]
    dry_run: bool,
    /// Confirm manual steps and checkpoints without asking
    #[arg(short, long)]
    yes: bool,
}

/// What is run, and with what.
struct Trial {
    text: String,
    runbook: Runbook,
    inputs: Inputs,
    env: BTreeMap<String, String>,
    secrets: BTreeMap<String, SecretString>,
    workdir: PathBuf,
    timeout: Duration,
}

/// Runs the cells one by one; the first failure stops.
pub(super) async fn run(config: &Config, args: &RunArgs, json: bool) -> anyhow::Result<ExitCode> {
    debug_assert!(args.local, "clap requires it");
    let trial = prepare(config, args)?;
    let refused = |problem: String| Failure::usage(problem, format!("harmony runbook show {}", args.path));
    let cells =
        trial.runbook.select(&args.cells, &args.verify).map_err(|error| refused(error.to_string()))?;
    let checks = match args.verify.as_slice() {
        [] => Vec::new(),
        names => trial.runbook.select(names, &[]).map_err(|error| refused(error.to_string()))?,
    };
    let cells: Vec<Cell> = cells.into_iter().chain(checks).collect();
    let asks = cells.iter().any(|cell| cell.manual || cell.approve) && !args.dry_run;
    if asks && !args.yes && !output::is_interactive() {
        return Err(Failure::usage(
            "nothing was run: it has manual steps or checkpoints, and there is no terminal to ask on",
            "pass --yes",
        )
        .into());
    }
    output::say("local trial: this machine, your rights, no incident, nothing on record");
    if trial.runbook.job.is_some() {
        output::say("for an incident its cells run as Jobs, in their image; here they run in bash");
    }
    for input in &trial.inputs.values {
        output::say(&format!("input {}={}", input.name, input.value));
    }
    let mut carried = BTreeMap::new();
    let mut done: Vec<Value> = Vec::new();
    let mut success = true;
    for cell in &cells {
        if args.dry_run && !trial.runbook.runs_dry(cell) {
            output::spans_aside(&[
                span(Tone::Faint, "○ "),
                cell.name.clone().into(),
                " is not run in a dry run".into(),
            ]);
            done.push(json!({ "cell": cell.name, "ended": "skipped" }));
            continue;
        }
        if (cell.manual || cell.approve) && !args.dry_run && !confirmed(cell, args.yes) {
            done.push(json!({ "cell": cell.name, "ended": "rejected" }));
            success = false;
            break;
        }
        if cell.manual {
            done.push(json!({ "cell": cell.name, "ended": "confirmed", "success": true }));
            continue;
        }
        let outcome = trial.run(cell, carried.clone(), args.dry_run).await?;
        success = outcome.ended == Ended::Exited(0);
        tell(cell, &outcome, json);
        done.push(as_json(cell, &outcome));
        carried.extend(outcome.exported);
        if !success {
            break;
        }
    }
    if json {
        output::json(&json!({
            "runbook": args.path,
            "local": true,
            "dryRun": args.dry_run,
            "success": success,
            "inputs": trial.inputs.values,
            "cells": done,
        }));
    }
    Ok(if success { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed.code()) })
}

fn prepare(config: &Config, args: &RunArgs) -> anyhow::Result<Trial> {
    let (text, runbook) = read(config, &args.path).map_err(|problem| unusable(&problem))?;
    let given: BTreeMap<String, String> = args.inputs.iter().cloned().collect();
    let inputs = runbook.inputs(&given).map_err(|problem| {
        Failure::usage(problem, format!("harmony runbook show {} lists the inputs", args.path))
    })?;
    let folder = config.settings.get("HARMONY_RUNBOOK_SECRETS").map(PathBuf::from);
    let mut secrets = BTreeMap::new();
    for name in &inputs.secrets {
        let read = folder.as_ref().and_then(|folder| std::fs::read_to_string(folder.join(name)).ok());
        let Some(value) = read else {
            return Err(Failure::usage(
                format!("input {name}: is a secret, and HARMONY_RUNBOOK_SECRETS has no file of that name"),
                "set HARMONY_RUNBOOK_SECRETS to a folder with one file a secret",
            )
            .into());
        };
        secrets.insert(name.clone(), SecretString::from(value.trim_end_matches('\n').to_owned()));
    }
    let workdir = match config.runbook_root().ok().and_then(|root| root.workdir("").ok()) {
        Some(root) => root,
        None => std::env::current_dir()?,
    };
    let timeout = args.timeout.unwrap_or(Duration::from_mins(10));
    let env = args.env.iter().cloned().collect();
    Ok(Trial { text, runbook, inputs, env, secrets, workdir, timeout })
}

impl Trial {
    async fn run(
        &self,
        cell: &Cell,
        carried: BTreeMap<String, String>,
        dry: bool,
    ) -> anyhow::Result<CellOutcome> {
        let mut env = self.env.clone();
        env.extend(self.inputs.env.clone());
        env.extend(self.inputs.values.iter().map(|input| (input.name.clone(), input.value.clone())));
        if dry {
            env.insert("HARMONY_DRY_RUN".to_owned(), "1".to_owned());
        }
        output::spans_aside(&[span(Tone::Busy, "▶ "), span(Tone::Strong, &cell.name)]);
        let run = CellRun {
            snapshot: self.text.clone(),
            cell: cell.name.clone(),
            env,
            carried,
            secrets: self.secrets.clone(),
            workdir: self.workdir.clone(),
            timeout: self.timeout,
            limits: OutcomeLimits::default(),
            printed: None,
            job: None,
        };
        let (sender, _progress) = watch::channel(Progress::default());
        let interrupted = async {
            drop(tokio::signal::ctrl_c().await);
        };
        let outcome = Runner::new(vec!["KUBECONFIG".to_owned()]).run_cell(run, sender, interrupted).await;
        outcome.map_err(|error| {
            Failure::usage(error.to_string(), "harmony runbook lint names what is wrong").into()
        })
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    parsed.filter(|time| !time.is_zero()).ok_or_else(|| "a time is such as 90s or 10m".to_owned())
}

/// Whether somebody says that a manual step is done, or that a cell behind a checkpoint may run.
fn confirmed(cell: &Cell, yes: bool) -> bool {
    output::spans_aside(&[span(Tone::Warn, "? "), span(Tone::Strong, &cell.name)]);
    if cell.manual {
        cell.source.lines().for_each(|line| output::say(&format!("  │ {line}")));
    }
    let question = if cell.manual { "Is it done?" } else { "Run this cell?" };
    yes || output::confirm(question)
}

/// What a cell printed and how it ended; with JSON, stdout is the answer's alone.
fn tell(cell: &Cell, outcome: &CellOutcome, json: bool) {
    let print = if json { output::say } else { output::data };
    outcome.stdout_tail.lines().chain(outcome.stderr_tail.lines()).for_each(print);
    let (mark, tone) =
        if outcome.ended == Ended::Exited(0) { ("✓ ", Tone::Good) } else { ("✗ ", Tone::Bad) };
    let (ended, _) = ended(&outcome.ended);
    let how = format!("  {ended}, {} ms", outcome.duration.as_millis());
    output::spans_aside(&[span(tone, mark), span(Tone::Strong, &cell.name), how.into()]);
}

fn ended(ended: &Ended) -> (String, Option<i32>) {
    match ended {
        Ended::Exited(code) => (format!("exit {code}"), Some(*code)),
        Ended::Signalled(signal) => (format!("ended by signal {signal}"), None),
        Ended::Killed(why) => (format!("killed: {why}"), None),
        Ended::TimedOut => ("timed out".to_owned(), None),
        Ended::Cancelled => ("stopped".to_owned(), None),
        Ended::CouldNotStart(problem) => (format!("could not start: {problem}"), None),
    }
}

fn as_json(cell: &Cell, outcome: &CellOutcome) -> Value {
    let (ended, exit_code) = ended(&outcome.ended);
    json!({
        "cell": cell.name,
        "success": outcome.ended == Ended::Exited(0),
        "ended": ended,
        "exitCode": exit_code,
        "stdout": outcome.stdout_tail,
        "stderr": outcome.stderr_tail,
        "outputBytes": outcome.output_bytes,
        "durationMs": u64::try_from(outcome.duration.as_millis()).unwrap_or(u64::MAX),
    })
}

//! Runbooks: the proposal (on the incidents queue) and the cells (on the runbook queue alone).
//!
//! What is proposed is a snapshot of the file; the digest covers everything that will be done and shown. A cell runs
//! from the snapshot whose hash it was given, or not at all. The worker of the runbook queue holds no database, vendor
//! or attestation secret; secrets that a cell names come from a mount of that pool.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use harmony_blueprints::contracts::{
    self as contracts, CellPlan, CellReply, CellRequest, Proposal, ProposeReply, ProposeRequest, Scope,
    capability,
};
use harmony_capabilities::runbook::{self, Cell, CellRun, Ended, Progress, Runner};
use harmony_incidents::{
    Command,
    log::{GateState, Payload, Text, payload::Kind},
    policy::GateKind,
};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{
    failure,
    services::{RunbookServices, Services},
};

/// How often a running cell is heard of; its heartbeat time-out is several times that.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// What a cell hands on, in all. It goes through the workflow's history.
const EXPORTS_LIMIT_BYTES: usize = 16 * 1024;

impl Services {
    /// What is proposed; once its gate was opened, what was shown there, whatever the file says by now.
    pub(crate) async fn propose(&self, request: &ProposeRequest) -> Result<ProposeReply, ActivityError> {
        if let Some(known) = self.proposed(&request.scope).await? {
            return Ok(ProposeReply::Proposal(known));
        }
        // Nobody is asked to approve what would not be run.
        let off = self.switched_off(&request.scope, capability::RUNBOOK).await?;
        if let Some(reason) = off.and_then(|reply| reply.skipped) {
            return Ok(ProposeReply::SwitchedOff(reason));
        }
        Ok(match self.try_propose(request) {
            Ok(proposal) => ProposeReply::Proposal(proposal),
            Err(problem) => ProposeReply::Invalid(problem),
        })
    }

    /// Why a cell that is about to start may not, where running cells is switched off; on record as its step.
    pub(crate) async fn cell_switched_off(
        &self,
        scope: &Scope,
        command: &Command,
    ) -> Result<Option<String>, ActivityError> {
        let Command::Record { payload: Payload { kind: Some(Kind::RunbookCellStarted(_)) } } = command else {
            return Ok(None);
        };
        let started =
            self.log.answer(&scope.org, &scope.key()).await.map_err(|error| failure::log(&error))?;
        if started.is_some() {
            return Ok(None);
        }
        let step = scope.step.strip_suffix("/started").unwrap_or(&scope.step).to_owned();
        let cell = Scope { step, ..scope.clone() };
        Ok(self.switched_off(&cell, capability::RUNBOOK).await?.and_then(|reply| reply.skipped))
    }

    /// The proposal that this attempt's gate was opened with.
    async fn proposed(&self, scope: &Scope) -> Result<Option<Proposal>, ActivityError> {
        let state = self.state(scope).await?;
        let kind = GateKind::Remediate.name();
        let ours = |gate: &&GateState| {
            gate.workflow_id == scope.workflow_id.as_str()
                && gate.attempt == scope.attempt
                && gate.kind == kind
        };
        let Some(gate) = state.gates.iter().find(ours) else { return Ok(None) };
        let after = gate.requested_seq.saturating_sub(1);
        let records = self
            .log
            .records(&scope.org, &scope.incident, after, 1)
            .await
            .map_err(|error| failure::log(&error))?;
        let kind = records.into_iter().next().and_then(|entry| entry.record.payload?.kind);
        let Some(Kind::ApprovalRequested(requested)) = kind else { return Ok(None) };
        let covers = requested.covers.map(|text| text.text).unwrap_or_default();
        let digest = hex::encode(Sha256::digest(covers.as_bytes()));
        if digest != hex::encode(&gate.digest) {
            return Err(failure::last("Digest", "what was proposed is not in the log any more"));
        }
        let shown: Covers =
            serde_json::from_str(&covers).map_err(|error| failure::last("Digest", error.to_string()))?;
        Ok(Some(Proposal {
            snapshot: shown.runbook.text,
            snapshot_sha256: shown.runbook.sha256,
            cells: shown.cells,
            verification: shown.verification,
            covers,
            digest,
        }))
    }

    fn try_propose(&self, request: &ProposeRequest) -> Result<Proposal, String> {
        let ProposeRequest { scope, runbook: asked, verification } = request;
        let snapshot = self.runbooks.load(&asked.path).map_err(|error| error.to_string())?;
        let parsed = runbook::parse(&snapshot.text).map_err(|error| format!("{}: {error}", snapshot.path))?;
        let in_file = |error: runbook::ParseError| format!("{}: {error}", snapshot.path);
        let cells = parsed.select(&asked.cells, verification).map_err(in_file)?;
        if cells.is_empty() {
            return Err(format!("{}: there is no cell to run", snapshot.path));
        }
        let checks = if verification.is_empty() {
            Vec::new()
        } else {
            parsed.select(verification, &[]).map_err(in_file)?
        };
        self.runbooks.workdir(&asked.workdir).map_err(|error| format!("workdir: {error}"))?;
        let longest = Duration::try_from(asked.timeout).map_err(|_| "timeout: must be above 0".to_owned())?;
        let plan =
            |cells: &[Cell]| -> Vec<CellPlan> { cells.iter().map(|cell| plan(cell, longest)).collect() };
        let (cells, verification) = (plan(&cells), plan(&checks));
        let snapshot_sha256 = hex::encode(Sha256::digest(snapshot.text.as_bytes()));
        let covers = json!({
            "cells": cells,
            "env": asked.env,
            "executor": runbook::EXECUTOR,
            "incidentId": scope.incident,
            "runbook": { "path": snapshot.path, "sha256": snapshot_sha256, "text": snapshot.text },
            "secretEnv": asked.secret_env,
            "timeoutMs": u64::try_from(longest.as_millis()).unwrap_or(u64::MAX),
            "verification": verification,
            "workdir": asked.workdir,
        })
        .to_string();
        Ok(Proposal {
            digest: hex::encode(Sha256::digest(covers.as_bytes())),
            snapshot: snapshot.text,
            snapshot_sha256,
            cells,
            verification,
            covers,
        })
    }
}

/// What a proposal is made of again, of what its digest covers.
#[derive(Deserialize)]
struct Covers {
    cells: Vec<CellPlan>,
    runbook: CoveredRunbook,
    verification: Vec<CellPlan>,
}

#[derive(Deserialize)]
struct CoveredRunbook {
    sha256: String,
    text: String,
}

impl Services {
    /// How a cell ended that an earlier run of this attempt started. What it exported is not on record.
    pub(crate) async fn finished_cell(
        &self,
        scope: &Scope,
        started: &Payload,
    ) -> Result<Option<CellReply>, ActivityError> {
        let Some(Kind::RunbookCellStarted(started)) = &started.kind else { return Ok(None) };
        let entries = self.all_records(scope).await?;
        let finished =
            entries.iter().find_map(|entry| match entry.record.payload.as_ref()?.kind.as_ref()? {
                Kind::RunbookCellFinished(p)
                    if (p.attempt, &p.cell, &p.purpose, p.run)
                        == (started.attempt, &started.cell, &started.purpose, started.run) =>
                {
                    Some(p)
                }
                _ => None,
            });
        let shown = |text: &Option<Text>| text.as_ref().map(Text::shown).unwrap_or_default().to_owned();
        Ok(finished.map(|p| CellReply {
            ended: p.ended.clone(),
            exit_code: (p.ended == "exited").then_some(p.exit_code),
            problem: None,
            stdout: shown(&p.stdout),
            stderr: shown(&p.stderr),
            output_bytes: p.output_bytes,
            duration_ms: p.duration_ms,
            exported: BTreeMap::new(),
        }))
    }
}

fn plan(cell: &Cell, longest: Duration) -> CellPlan {
    let time = cell.timeout.map_or(longest, |own| own.min(longest));
    CellPlan {
        name: cell.name.clone(),
        idempotent: cell.idempotent,
        timeout_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
    }
}

/// The only activity of the runbook queue.
pub struct RunbookActivities {
    services: RunbookServices,
    runner: Runner,
}

impl RunbookActivities {
    /// Cells see only what is on the allow list.
    pub fn new(services: RunbookServices) -> Self {
        let runner = Runner::new(services.allow_env.clone());
        Self { services, runner }
    }

    /// The secrets that a cell names, each a file of that name in the pool's own mount.
    fn secrets(&self, names: &[String]) -> Result<BTreeMap<String, SecretString>, String> {
        names
            .iter()
            .map(|name| {
                let is_name = !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                    && !name.starts_with(|first: char| first.is_ascii_digit());
                if !is_name {
                    return Err(format!("secretEnv: {name:?} is not the name of a variable"));
                }
                let folder = self.services.secrets.as_ref().ok_or_else(|| {
                    format!("secretEnv: {name} is not there: this pool has no secrets mounted")
                })?;
                let text = std::fs::read_to_string(folder.join(name)).map_err(|error| {
                    format!("secretEnv: {name} cannot be read from this pool's mount: {}", error.kind())
                })?;
                Ok((name.clone(), SecretString::from(text.trim_end_matches('\n').to_owned())))
            })
            .collect()
    }

    fn prepare(&self, request: CellRequest) -> Result<CellRun, String> {
        if hex::encode(Sha256::digest(request.snapshot.as_bytes())) != request.snapshot_sha256 {
            return Err("the runbook is not the one that was approved".to_owned());
        }
        Ok(CellRun {
            secrets: self.secrets(&request.secret_env)?,
            workdir: self.services.runbooks.workdir(&request.workdir).map_err(|error| error.to_string())?,
            snapshot: request.snapshot,
            cell: request.cell,
            env: request.env,
            carried: request.carried,
            timeout: Duration::from_millis(request.timeout_ms),
        })
    }
}

#[activities]
impl RunbookActivities {
    /// Runs one cell, with heartbeats, until it ends or is stopped.
    #[activity(definition = contracts::RunbookCell)]
    pub async fn cell(
        self: Arc<Self>,
        ctx: ActivityContext,
        request: CellRequest,
    ) -> Result<CellReply, ActivityError> {
        let run = match self.prepare(request) {
            Ok(run) => run,
            Err(problem) => return Ok(could_not_start(problem)),
        };
        let (sender, progress) = watch::channel(Progress { output_bytes: 0, last_line: String::new() });
        let mut running = std::pin::pin!(self.runner.run_cell(run, sender, ctx.cancelled()));
        let mut tick = tokio::time::interval(HEARTBEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let outcome = loop {
            tokio::select! {
                outcome = &mut running => break outcome,
                _ = tick.tick() => {
                    let (bytes, line) = {
                        let now = progress.borrow();
                        (now.output_bytes, now.last_line.clone())
                    };
                    let beat = json!({ "outputBytes": bytes, "lastLine": line });
                    ctx.record_heartbeat(beat).await.map_err(|error| failure::last("Heartbeat", error.to_string()))?;
                }
            }
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(problem) => return Ok(could_not_start(problem.to_string())),
        };
        let (ended, exit_code, problem) = match outcome.ended {
            Ended::Exited(code) => ("exited", Some(code), None),
            Ended::Signalled(signal) => ("signalled", None, Some(format!("ended by signal {signal}"))),
            Ended::TimedOut => ("timed-out", None, Some("it took too long and was killed".to_owned())),
            Ended::Cancelled => ("cancelled", None, Some("it was stopped".to_owned())),
            Ended::CouldNotStart(problem) => ("could-not-start", None, Some(problem)),
        };
        let mut left = EXPORTS_LIMIT_BYTES;
        let exported = outcome
            .exported
            .into_iter()
            .take_while(|(name, value)| {
                let size = name.len() + value.len();
                let fits = size <= left;
                left = left.saturating_sub(size);
                fits
            })
            .collect();
        Ok(CellReply {
            ended: ended.to_owned(),
            exit_code,
            problem,
            stdout: outcome.stdout_tail,
            stderr: outcome.stderr_tail,
            output_bytes: outcome.output_bytes,
            duration_ms: i64::try_from(outcome.duration.as_millis()).unwrap_or(i64::MAX),
            exported,
        })
    }
}

fn could_not_start(problem: String) -> CellReply {
    CellReply::silent("could-not-start", problem)
}

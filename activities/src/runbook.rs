//! Runbooks: the proposal (on the incidents queue) and the cells (on the runbook queue alone).
//!
//! What is proposed is a snapshot of the file; the digest covers everything that will be done and shown. A cell runs
//! with a ticket, from the snapshot that the ticket names, or not at all. The worker of the runbook queue holds no database, vendor
//! or attestation secret; secrets that a cell names come from a mount of that pool.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use harmony_blueprints::contracts::{
    self as contracts, AppendRequest, AskedProposal, CellOrder, CellPlan, CellReply, CellRequest, CellTries,
    Covered, Proposal, ProposeReply, ProposeRequest, Scope, capability,
};
use harmony_blueprints::messages::RunbookInput;
use harmony_incidents::{
    Command, GateStatus, HasStatus, Refusal, Subject,
    approvals::checkpoint,
    command::GateRequest,
    job_policy::CellJob,
    judge::DRY_RUN,
    log::{GateState, IncidentState, Payload, RunbookCellStarted, Text, payload::Kind},
    policy::GateKind,
    ticket::{OutputTicket, Ticket, cell_run},
};
use harmony_runner::{
    Cell, CellOutcome, CellRun, Ended, Executor, InputValue, JobRun, JobSpec, OutcomeLimits, Progress,
    RunError, Runbook, Runner, Stop,
};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError, ActivityInfo};
use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{
    failure,
    outputs::{Followed, Following},
    services::{RunbookServices, Services},
};

/// How often a running cell is heard of, and hears whether it is to stop.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Why there is nothing to try.
const NOTHING_DRY: &str = "a dry run would run nothing: no chosen cell says dryRun=true, and the front matter does not say dryRun: env";

impl Services {
    /// What is proposed; once its gate was opened, what was shown there, whatever the file says by now.
    pub(crate) async fn propose(
        &self,
        info: &ActivityInfo,
        request: ProposeRequest,
    ) -> Result<ProposeReply, ActivityError> {
        let proposal = match self.proposed(&request.scope).await? {
            Some(known) => known,
            None => match self.proposal(&request).await? {
                ProposeReply::Proposal(proposal) => proposal,
                other => return Ok(other),
            },
        };
        match request.gate {
            Some(gate) => self.ask(info, request.scope, *gate, proposal).await,
            None => Ok(ProposeReply::Proposal(proposal)),
        }
    }

    /// Opens the gate of what is proposed. What its digest covers goes into its record, and no further.
    async fn ask(
        &self,
        info: &ActivityInfo,
        scope: Scope,
        gate: GateRequest,
        proposal: Proposal,
    ) -> Result<ProposeReply, ActivityError> {
        let mut covered = covered(&proposal.covers)?;
        let room_bytes = match covered.room_bytes() {
            Ok(room) => room,
            Err(problem) => return Ok(ProposeReply::Invalid(format!("{}: {problem}", covered.runbook.path))),
        };
        let step = format!("{}/open", gate.step);
        let digest = proposal.digest;
        let request = GateRequest { digest: digest.clone(), covers: proposal.covers, ..gate };
        let request = AppendRequest {
            scope: Scope { step, ..scope },
            command: Command::OpenGate { request: Box::new(request) },
            order: None,
            alone: false,
            earlier: vec![],
        };
        let opened = self.append_step(info, request).await?;
        covered.runbook.text = String::new();
        Ok(ProposeReply::Asked(Box::new(AskedProposal { covered, digest, opened, room_bytes })))
    }

    async fn proposal(&self, request: &ProposeRequest) -> Result<ProposeReply, ActivityError> {
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

    /// What a cell that is about to start may run with: nothing but what its gate covers. The transaction that records
    /// the start checks that the gate was approved.
    pub(crate) async fn warrant(
        &self,
        scope: &Scope,
        command: &Command,
        order: Option<Box<CellOrder>>,
        alone: bool,
    ) -> Result<Result<Option<Warrant>, Refusal>, ActivityError> {
        let Command::Record { payload: Payload { kind: Some(Kind::RunbookCellStarted(started)) } } = command
        else {
            return Ok(Ok(None));
        };
        let refused = |explanation: String| Ok(Err(Refusal::Illegal { explanation }));
        let Some(order) = order else {
            return refused(format!("what {} is to run with is not said", started.cell));
        };
        if (&order.cell, &order.snapshot_sha256) != (&started.cell, &started.snapshot_sha256) {
            return refused(format!("what {} is to run with is another cell's", started.cell));
        }
        if started.purpose == DRY_RUN {
            return self.dry_warrant(scope, started, *order, alone).await;
        }
        let state = self.state(scope).await?;
        let Some(gate) = remediation_gate(&state, scope) else {
            let order = *order;
            return Ok(Ok(Some(Warrant { gate_id: String::new(), idempotent: false, order, source: None })));
        };
        let mut covered = self.covered(scope, gate).await?;
        let plans = if started.purpose == "verification" { &covered.verification } else { &covered.cells };
        let Some(plan) = plans.iter().find(|plan| plan.name == started.cell) else {
            return refused(format!("gate {} does not cover cell {}", gate.gate_id, started.cell));
        };
        if plan.manual {
            return refused(format!("{} is a manual step: a person does it", started.cell));
        }
        let passed = |gate: &GateState| gate.is(GateStatus::Approved);
        let before =
            checkpoint(&state, scope.workflow_id.as_str(), scope.attempt, &started.purpose, &started.cell);
        if plan.approve && !before.is_some_and(passed) {
            return refused(format!("{} needs an approval of its own, and has none", started.cell));
        }
        if let Err(problem) = self.allowed(covered.job.as_ref(), plan.timeout_ms) {
            return refused(problem);
        }
        let (gate_id, idempotent) = (gate.gate_id.clone(), plan.idempotent);
        if covered.order(plan, order.carried.clone()) != *order {
            return refused(format!("what {} is to run with is not what its gate covers", started.cell));
        }
        let mut order = *order;
        let source = alone.then(|| source(std::mem::take(&mut covered.runbook.text), &order.cell));
        if let Some(source) = &source {
            order.snapshot_sha256 = hex::encode(Sha256::digest(source.as_bytes()));
        }
        Ok(Ok(Some(Warrant { gate_id, idempotent, order, source })))
    }

    /// As a warrant, of a cell of a dry run: nothing but what its plan on record has, and says that a dry run runs.
    async fn dry_warrant(
        &self,
        scope: &Scope,
        started: &RunbookCellStarted,
        mut order: CellOrder,
        alone: bool,
    ) -> Result<Result<Option<Warrant>, Refusal>, ActivityError> {
        let refused = |explanation: String| Ok(Err(Refusal::Illegal { explanation }));
        let entries = self.all_records(scope).await?;
        let planned =
            entries.iter().find_map(|entry| match entry.record.payload.as_ref()?.kind.as_ref()? {
                Kind::RunbookDryRunPlanned(plan)
                    if (&plan.blueprint, plan.attempt) == (&started.blueprint, started.attempt) =>
                {
                    Some(plan)
                }
                _ => None,
            });
        let covers = planned.and_then(|plan| Some((plan, plan.covers.as_ref()?.text.clone())));
        let Some((plan, covers)) = covers else {
            return refused(format!("no dry run was planned: {} does not run", started.cell));
        };
        if Sha256::digest(covers.as_bytes()).as_slice() != plan.digest.as_slice() {
            return refused("what the dry run planned is not in the log any more".to_owned());
        }
        let mut covered = covered(&covers)?;
        let mut plans = covered.cells.iter().chain(&covered.verification);
        let Some(plan) = plans.find(|plan| plan.name == started.cell && plan.dry_run) else {
            return refused(format!("a dry run does not run {}", started.cell));
        };
        if let Err(problem) = self.allowed(covered.job.as_ref(), plan.timeout_ms) {
            return refused(problem);
        }
        let idempotent = plan.idempotent;
        if covered.order(plan, order.carried.clone()) != order {
            return refused(format!("what {} is to run with is not what was planned", started.cell));
        }
        let source = alone.then(|| source(std::mem::take(&mut covered.runbook.text), &order.cell));
        if let Some(source) = &source {
            order.snapshot_sha256 = hex::encode(Sha256::digest(source.as_bytes()));
        }
        Ok(Ok(Some(Warrant { gate_id: String::new(), idempotent, order, source })))
    }

    /// Whether the policy in force allows cells to run as this Job, if they do.
    fn allowed(&self, job: Option<&CellJob>, longest_ms: u64) -> Result<(), String> {
        job.map_or(Ok(()), |job| self.rules.current().policy.runbook_jobs.allows(job, longest_ms))
    }

    /// The ticket of a cell whose start is on record.
    pub(crate) fn ticket(
        &self,
        scope: &Scope,
        info: &ActivityInfo,
        warrant: &Warrant,
    ) -> Result<Ticket, ActivityError> {
        let Some(run_id) = info.workflow_run_id.clone() else {
            return Err(failure::last("Ticket", "a cell is started by a workflow alone"));
        };
        // What may run again on its own, or goes on with another worker, does so with the same ticket.
        let is_job = warrant.order.job.is_some();
        let tries = CellTries::of(warrant.order.timeout_ms, warrant.idempotent, is_job);
        let not_after = Timestamp::now() + tries.ticket_time();
        let mut ticket = Ticket {
            org: scope.org.to_string(),
            incident: scope.stream.to_string(),
            gate_id: warrant.gate_id.clone(),
            workflow_id: scope.workflow_id.to_string(),
            run_id,
            step: scope.step.clone(),
            not_after,
            signature: String::new(),
            output: None,
            attempt: is_job.then_some(scope.attempt),
        };
        ticket.signature = self.tickets.sign(&warrant.order.claim(&ticket));
        if scope.stream.incident().is_some() {
            // It may start at the last moment, and then run its time.
            ticket.output =
                Some(self.tickets.pass(&ticket, &warrant.order.cell, scope.attempt, not_after + tries.time));
        }
        Ok(ticket)
    }

    /// The proposal that this attempt's gate was opened with.
    async fn proposed(&self, scope: &Scope) -> Result<Option<Proposal>, ActivityError> {
        let state = self.state(scope).await?;
        let Some(gate) = remediation_gate(&state, scope) else { return Ok(None) };
        let covers = self.covers(scope, gate).await?;
        let shown = covered(&covers)?;
        Ok(Some(Proposal {
            snapshot: shown.runbook.text,
            snapshot_sha256: shown.runbook.sha256,
            cells: shown.cells,
            verification: shown.verification,
            covers,
            digest: hex::encode(&gate.digest),
        }))
    }

    /// A cell of which nobody knows whether it ran is asked about under the digest of its remediation, and the same is
    /// covered: a run does not carry it along.
    pub(crate) async fn fill_in_covers(
        &self,
        scope: &Scope,
        command: &mut Command,
    ) -> Result<(), ActivityError> {
        let Command::OpenGate { request } = command else { return Ok(()) };
        if matches!(request.kind, GateKind::UnknownCell | GateKind::ManualStep) && request.covers.is_empty() {
            let state = self.state(scope).await?;
            if let Some(gate) = remediation_gate(&state, scope) {
                request.covers = self.covers(scope, gate).await?;
            }
        }
        Ok(())
    }

    async fn covered(&self, scope: &Scope, gate: &GateState) -> Result<Covered, ActivityError> {
        covered(&self.covers(scope, gate).await?)
    }

    /// What a gate covers, from its record, as its digest says.
    pub(crate) async fn covers(&self, scope: &Scope, gate: &GateState) -> Result<String, ActivityError> {
        let gone = || failure::last("Digest", "what was proposed is not in the log any more");
        let after = gate.requested_seq.saturating_sub(1);
        let records = self
            .log
            .records(&scope.org, &scope.stream, after, 1)
            .await
            .map_err(|error| failure::log(&error))?;
        let kind = records.into_iter().next().and_then(|entry| entry.record.payload?.kind);
        let Some(Kind::ApprovalRequested(requested)) = kind else { return Err(gone()) };
        let covers = requested.covers.map(|text| text.text).unwrap_or_default();
        if Sha256::digest(covers.as_bytes()).as_slice() != gate.digest.as_slice() {
            return Err(gone());
        }
        Ok(covers)
    }

    fn try_propose(&self, request: &ProposeRequest) -> Result<Proposal, String> {
        let ProposeRequest { scope, runbook: asked, verification, .. } = request;
        let snapshot = self.runbooks.load(&asked.path).map_err(|error| error.to_string())?;
        let snapshot_sha256 = hex::encode(Sha256::digest(snapshot.text.as_bytes()));
        if !asked.sha256.is_empty() && asked.sha256 != snapshot_sha256 {
            return Err(format!(
                "{}: the file changed: its SHA-256 was {} and is {snapshot_sha256}",
                snapshot.path, asked.sha256
            ));
        }
        let parsed =
            harmony_runner::parse(&snapshot.text).map_err(|error| format!("{}: {error}", snapshot.path))?;
        let in_file = |error: harmony_runner::ParseError| format!("{}: {error}", snapshot.path);
        let cells = parsed.select(&asked.cells, verification).map_err(in_file)?;
        if cells.is_empty() {
            return Err(format!("{}: there is no cell to run", snapshot.path));
        }
        let checks = if verification.is_empty() {
            Vec::new()
        } else {
            parsed.select(verification, &[]).map_err(in_file)?
        };
        if request.dry_run && !(asked.env.is_empty() && asked.secret_env.is_empty()) {
            return Err(
                "a dry run takes the inputs that the runbook declares, and no other variables".to_owned()
            );
        }
        let (mut env, secret_env, inputs) =
            with_inputs(&parsed, asked).map_err(|problem| format!("{}: {problem}", snapshot.path))?;
        self.runbooks.workdir(&asked.workdir).map_err(|error| format!("workdir: {error}"))?;
        let longest = Duration::try_from(asked.timeout).map_err(|_| "timeout: must be above 0".to_owned())?;
        let is_incident = matches!(scope.stream.subject(), Subject::Incident(_));
        if request.dry_run {
            if parsed.inputs.is_empty() && !env.is_empty() {
                return Err(format!(
                    "{}: declares no inputs, and a dry run takes no other variables",
                    snapshot.path
                ));
            }
            env.insert("HARMONY_DRY_RUN".to_owned(), "1".to_owned());
            if !cells.iter().chain(&checks).any(|cell| parsed.runs_dry(cell)) {
                return Err(format!("{}: {NOTHING_DRY}", snapshot.path));
            }
        }
        if let Some(gated) =
            cells.iter().chain(&checks).find(|cell| cell.manual || cell.approve).filter(|_| !is_incident)
        {
            return Err(format!(
                "{}: the cell {:?} waits for somebody, which a release does not: take it out, or name the cells to run",
                snapshot.path, gated.name
            ));
        }
        let job = parsed.job.as_ref().map(as_covered);
        let longest =
            parsed.job.as_ref().and_then(|job| job.deadline).map_or(longest, |own| own.min(longest));
        let plan = |cells: &[Cell]| -> Vec<CellPlan> {
            let dry = |cell: &Cell| request.dry_run && parsed.runs_dry(cell);
            cells.iter().map(|cell| CellPlan { dry_run: dry(cell), ..plan(cell, longest) }).collect()
        };
        let (cells, verification) = (plan(&cells), plan(&checks));
        if job.is_some() && !asked.workdir.is_empty() {
            return Err(format!(
                "{}: workdir: a cell that runs as a Job has a folder of its own, and no other",
                snapshot.path
            ));
        }
        let run = cells.iter().chain(&verification).filter(|cell| !cell.manual);
        let longest_cell_ms = run.map(|cell| cell.timeout_ms).max().unwrap_or_default();
        self.allowed(job.as_ref(), longest_cell_ms)
            .map_err(|problem| format!("{}: {problem}", snapshot.path))?;
        let mut covers = json!({
            "cells": cells,
            "env": env,
            "executor": if job.is_some() { harmony_runner::JOB_EXECUTOR } else { harmony_runner::EXECUTOR },
            "incidentId": scope.stream,
            "runbook": { "path": snapshot.path, "sha256": snapshot_sha256, "text": snapshot.text },
            "secretEnv": secret_env,
            "timeoutMs": u64::try_from(longest.as_millis()).unwrap_or(u64::MAX),
            "verification": verification,
            "workdir": asked.workdir,
        });
        if !inputs.is_empty() {
            covers["inputs"] = json!(inputs);
        }
        if let Some(job) = &job {
            covers["job"] = json!(job);
        }
        let covers = covers.to_string();
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
            output_sha256: p
                .output_sha256
                .as_ref()
                .map(|text| text.shown().to_owned())
                .filter(|hash| !hash.is_empty()),
        }))
    }
}

/// The gate that this attempt's remediation waits or waited at.
fn remediation_gate<'a>(state: &'a IncidentState, scope: &Scope) -> Option<&'a GateState> {
    let kind = GateKind::Remediate.name();
    state.gates.iter().find(|gate| {
        gate.workflow_id == scope.workflow_id.as_str() && gate.attempt == scope.attempt && gate.kind == kind
    })
}

/// The commands of a remediation as whoever approves it reads them: each cell by its name, a line of it each.
pub(crate) fn commands(covers: &str) -> Vec<String> {
    let Ok(shown) = covered(covers) else { return Vec::new() };
    let Ok(parsed) = harmony_runner::parse(&shown.runbook.text) else { return Vec::new() };
    let names = shown.cells.iter().chain(&shown.verification).map(|cell| cell.name.as_str());
    let cells = names.filter_map(|name| parsed.cell(name));
    cells
        .flat_map(|cell| {
            let source = cell.source.lines().map(str::to_owned);
            std::iter::once(format!("— {} —", cell.name)).chain(source)
        })
        .collect()
}

fn covered(covers: &str) -> Result<Covered, ActivityError> {
    serde_json::from_str(covers).map_err(|error| failure::last("Digest", error.to_string()))
}

/// What a cell may run with, and who said so.
pub(crate) struct Warrant {
    /// Empty where the policy asks for none.
    gate_id: String,
    idempotent: bool,
    order: CellOrder,
    /// The Markdown that it runs from, where it does not run from the whole runbook.
    pub(crate) source: Option<String>,
}

/// The cell alone, out of a runbook; all of it where the cell cannot stand alone.
fn source(runbook: String, cell: &str) -> String {
    let parsed = harmony_runner::parse(&runbook).ok();
    let alone = parsed.as_ref().and_then(|parsed| parsed.cell(cell)).and_then(Cell::alone);
    alone.unwrap_or(runbook)
}

/// What cells get as variables, the names of secrets, and the inputs as they are shown.
type Given = (BTreeMap<String, String>, Vec<String>, Vec<InputValue>);

/// What a runbook's cells are given. A variable that is given under
/// the name of an input is that input.
fn with_inputs(runbook: &Runbook, asked: &RunbookInput) -> Result<Given, String> {
    let declared = |name: &String| runbook.inputs.iter().any(|input| input.name == *name);
    let (named, mut env): (BTreeMap<_, _>, BTreeMap<_, _>) =
        asked.env.clone().into_iter().partition(|(name, _)| declared(name));
    let mut given = named;
    given.extend(asked.inputs.clone());
    let inputs = runbook.inputs(&given)?;
    env.extend(inputs.env);
    env.extend(inputs.values.iter().map(|input| (input.name.clone(), input.value.clone())));
    let mut secrets = asked.secret_env.clone();
    secrets.extend(inputs.secrets.into_iter().filter(|name| !asked.secret_env.contains(name)));
    Ok((env, secrets, inputs.values))
}

/// How cells run as Jobs, as a digest covers it.
fn as_covered(spec: &JobSpec) -> CellJob {
    CellJob {
        image: spec.image.clone(),
        service_account: spec.service_account.clone(),
        cpu_millis: spec.cpu_millis,
        memory_mib: spec.memory_mib,
        deadline_ms: spec.deadline.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// The same, as the executor takes it.
fn as_spec(job: &CellJob) -> JobSpec {
    JobSpec {
        image: job.image.clone(),
        service_account: job.service_account.clone(),
        cpu_millis: job.cpu_millis,
        memory_mib: job.memory_mib,
        deadline: job.deadline_ms.map(Duration::from_millis),
    }
}

fn plan(cell: &Cell, longest: Duration) -> CellPlan {
    let time = cell.timeout.map_or(longest, |own| own.min(longest));
    let gated = cell.manual || cell.approve;
    CellPlan {
        name: cell.name.clone(),
        idempotent: cell.idempotent,
        timeout_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        manual: cell.manual,
        approve: cell.approve,
        dry_run: false,
        text: if gated { cell.source.clone() } else { String::new() },
    }
}

/// Who used a ticket.
struct Use {
    not_after: Timestamp,
    activity_id: String,
    attempt: u32,
}

/// The only activity of the runbook queue.
pub struct RunbookActivities {
    services: RunbookServices,
    /// By the names that digests have.
    executors: Vec<Arc<dyn Executor>>,
    followed: Arc<Followed>,
    /// The tickets that were used here and have not expired, by signature.
    used: Mutex<BTreeMap<String, Use>>,
}

impl RunbookActivities {
    /// Cells see only what is on the allow list.
    pub fn new(mut services: RunbookServices) -> Self {
        let runner = Runner::new(services.allow_env.clone());
        let runner = match services.confinement.take() {
            Some(confinement) => runner.confined(confinement),
            None => runner,
        };
        let here: Arc<dyn Executor> = Arc::new(runner);
        let executors = std::iter::once(here).chain(services.executors.clone()).collect();
        let followed = Followed::new(services.outputs.clone());
        Self { services, executors, followed, used: Mutex::default() }
    }

    /// What runs the cells that were approved for it.
    fn executor(&self, name: &str) -> Result<Arc<dyn Executor>, String> {
        let found = self.executors.iter().find(|one| one.name() == name).cloned();
        found.ok_or_else(|| {
            let known: Vec<&str> = self.executors.iter().map(|one| one.name()).collect();
            let hint = if name == harmony_runner::JOB_EXECUTOR {
                "give this pool HARMONY_RUNBOOK_NAMESPACE, in a build with Kubernetes"
            } else {
                "propose it again"
            };
            format!("it was approved for {name}, and this worker has {}: {hint}", known.join(" and "))
        })
    }

    /// Whether a cell may run: with a ticket that holds for exactly it, in the run of the workflow that the ticket was
    /// made for, in time, and once. Temporal's own retry of the same activity is the same time.
    fn check_ticket(&self, info: &ActivityInfo, request: &CellRequest, now: Timestamp) -> Result<(), String> {
        let CellRequest { order, ticket, .. } = request;
        let Some(ticket) = ticket else {
            return Err("it has no ticket: only a cell whose gate was approved runs here".to_owned());
        };
        if !self.services.tickets.holds(&order.claim(ticket), &ticket.signature) {
            return Err("its ticket was not made for it by a worker of this installation: is HARMONY_TICKET_PUBLIC_KEY of \
                        this pool the public key of HARMONY_TICKET_KEY of the incidents workers?"
                .to_owned());
        }
        self.executor(&order.executor)?;
        let run = (info.workflow_id.as_deref(), info.workflow_run_id.as_deref());
        if run != (Some(ticket.workflow_id.as_str()), Some(ticket.run_id.as_str())) {
            return Err("its ticket is another run's".to_owned());
        }
        if now > ticket.not_after {
            return Err(format!("its ticket was good until {}: propose it again", ticket.not_after));
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, one| one.not_after >= now);
        let before = used.get(&ticket.signature);
        if before.is_some_and(|one| one.activity_id != info.activity_id || one.attempt >= info.attempt) {
            return Err("its ticket was used already".to_owned());
        }
        let this =
            Use { not_after: ticket.not_after, activity_id: info.activity_id.clone(), attempt: info.attempt };
        used.insert(ticket.signature.clone(), this);
        Ok(())
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

    /// What is run. `may_start` says that it was not running already.
    fn prepare(&self, request: CellRequest, may_start: bool) -> Result<CellRun, String> {
        let CellRequest { snapshot, order, limits, ticket, .. } = request;
        let most = OutcomeLimits::default();
        let limits = limits.map_or(most, |limits| OutcomeLimits {
            tail_bytes: limits.tail_bytes.min(most.tail_bytes),
            exports_bytes: limits.exports_bytes.min(most.exports_bytes),
        });
        if hex::encode(Sha256::digest(snapshot.as_bytes())) != order.snapshot_sha256 {
            return Err("the runbook is not the one that was approved".to_owned());
        }
        let job = match (&order.job, &ticket) {
            (Some(job), Some(ticket)) => Some(JobRun {
                spec: as_spec(job),
                subject: ticket.incident.clone(),
                run: cell_run(ticket.attempt.unwrap_or_default(), &ticket.step),
                scope: format!("{} {}", ticket.org, ticket.workflow_id),
                kept: CellTries::of(order.timeout_ms, false, true).job_kept(),
                may_start,
            }),
            (Some(_), None) | (None, _) => None,
        };
        Ok(CellRun {
            secrets: self.secrets(&order.secret_env)?,
            workdir: self.services.runbooks.workdir(&order.workdir).map_err(|error| error.to_string())?,
            job,
            snapshot,
            cell: order.cell,
            env: order.env,
            carried: order.carried,
            timeout: Duration::from_millis(order.timeout_ms),
            limits,
            printed: None,
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
        // What an earlier try, or an earlier run of the workflow, started may be at work: then nothing here says that it
        // did not run.
        let is_again = request.order.job.is_some() && (ctx.info().attempt > 1 || request.started_before);
        let refused = |problem: String| {
            if is_again { Err(unknown(problem)) } else { Ok(could_not_start(problem)) }
        };
        if let Err(problem) = self.check_ticket(ctx.info(), &request, Timestamp::now()) {
            tracing::warn!(
                cell = %request.order.cell,
                workflow.id = ctx.info().workflow_id.as_deref().unwrap_or_default(),
                problem,
                "a cell was refused"
            );
            return refused(problem);
        }
        let executor = match self.executor(&request.order.executor) {
            Ok(executor) => executor,
            Err(problem) => return refused(problem),
        };
        let ticket = request.ticket.as_ref().and_then(|one| OutputTicket::of(one, &request.order.cell));
        let before: Option<Beat> = ctx.heartbeat_details().deserialize().unwrap_or_default();
        let may_start = !request.started_before && !before.is_some_and(|beat| beat.exists);
        let mut run = match self.prepare(request, may_start) {
            Ok(run) => run,
            Err(problem) => return refused(problem),
        };
        let following = ticket.and_then(|ticket| self.followed.follow(ticket, ctx.info().attempt));
        run.printed = following.as_ref().map(Following::printed);
        let (sender, progress) = watch::channel(Progress::default());
        let stop = async {
            ctx.cancelled().await;
            if self.services.stopping.is_cancelled() { Stop::Leave } else { Stop::End }
        };
        let mut running = std::pin::pin!(executor.run(run, sender, Box::pin(stop)));
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let outcome = loop {
            tokio::select! {
                outcome = &mut running => break outcome,
                _ = tick.tick() => {
                    let beat = Beat::from(&*progress.borrow());
                    ctx.record_heartbeat(beat).await.map_err(|error| failure::last("Heartbeat", error.to_string()))?;
                }
            }
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(RunError::NoSuchCell(problem)) => return refused(problem.to_string()),
            Err(RunError::Unknown(problem)) => return Err(unknown(problem)),
            Err(left @ RunError::Left) => return Err(failure::again("CellLeft", left.to_string(), None)),
        };
        let output_sha256 = match following {
            Some(following) => following.ended().await,
            None => None,
        };
        Ok(reply(outcome, output_sha256))
    }
}

/// What a running cell is heard of by.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Beat {
    output_bytes: u64,
    last_line: String,
    /// Where it runs, another worker finds it.
    exists: bool,
}

impl From<&Progress> for Beat {
    fn from(progress: &Progress) -> Self {
        let Progress { output_bytes, last_line, exists } = progress;
        Self { output_bytes: *output_bytes, last_line: last_line.clone(), exists: *exists }
    }
}

fn reply(outcome: CellOutcome, output_sha256: Option<String>) -> CellReply {
    let (ended, exit_code, problem) = match outcome.ended {
        Ended::Exited(code) => ("exited", Some(code), None),
        Ended::Signalled(signal) => ("signalled", None, Some(format!("ended by signal {signal}"))),
        Ended::Killed(why) => ("signalled", None, Some(why)),
        Ended::TimedOut => ("timed-out", None, Some("it took too long and was killed".to_owned())),
        Ended::Cancelled => ("cancelled", None, Some("it was stopped".to_owned())),
        Ended::CouldNotStart(problem) => ("could-not-start", None, Some(problem)),
    };
    CellReply {
        ended: ended.to_owned(),
        exit_code,
        problem,
        stdout: outcome.stdout_tail,
        stderr: outcome.stderr_tail,
        output_bytes: outcome.output_bytes,
        duration_ms: i64::try_from(outcome.duration.as_millis()).unwrap_or(i64::MAX),
        exported: outcome.exported,
        output_sha256,
    }
}

fn could_not_start(problem: String) -> CellReply {
    CellReply::silent("could-not-start", problem)
}

/// Nobody knows whether a cell ran, or how it ended.
fn unknown(problem: String) -> ActivityError {
    failure::last("CellUnknown", problem)
}

#[cfg(test)]
mod tests {
    use harmony_incidents::ticket::{TicketKey, TicketVerifier};
    use harmony_runner::RunbookRoot;
    use temporalio_sdk::testing::TestActivityInfoOptions;
    use tokio_util::sync::CancellationToken;

    use super::*;

    const WORKFLOW: &str = "incident.remediate-INC-2026-0001";

    fn key() -> TicketKey {
        TicketKey::parse(&"77".repeat(32)).unwrap()
    }

    fn pool() -> RunbookActivities {
        RunbookActivities::new(RunbookServices {
            runbooks: RunbookRoot::new(std::env::temp_dir()).unwrap(),
            tickets: TicketVerifier::parse(&key().public()).unwrap(),
            secrets: None,
            confinement: None,
            allow_env: Vec::new(),
            outputs: None,
            executors: Vec::new(),
            stopping: CancellationToken::new(),
        })
    }

    fn info(workflow: &str, run: &str, activity: &str, attempt: u32) -> ActivityInfo {
        TestActivityInfoOptions::builder()
            .workflow_id(Some(workflow.to_owned()))
            .workflow_run_id(Some(run.to_owned()))
            .activity_id(activity.to_owned())
            .attempt(attempt)
            .build()
    }

    /// A cell whose ticket is good for another minute.
    fn request() -> CellRequest {
        let order = CellOrder {
            snapshot_sha256: "00".to_owned(),
            cell: "rollback".to_owned(),
            env: BTreeMap::from([("TARGET".to_owned(), "staging".to_owned())]),
            carried: BTreeMap::new(),
            secret_env: Vec::new(),
            workdir: String::new(),
            timeout_ms: 1_000,
            executor: harmony_runner::EXECUTOR.to_owned(),
            job: None,
        };
        signed(CellRequest {
            snapshot: String::new(),
            order,
            traceparent: String::new(),
            ticket: None,
            limits: None,
            started_before: false,
        })
    }

    fn signed(mut request: CellRequest) -> CellRequest {
        let mut ticket = Ticket {
            org: "default".to_owned(),
            incident: "INC-2026-0001".to_owned(),
            gate_id: "g".to_owned(),
            workflow_id: WORKFLOW.to_owned(),
            run_id: "run".to_owned(),
            step: "remediation/rollback/1/started".to_owned(),
            not_after: Timestamp::UNIX_EPOCH + Duration::from_secs(60),
            signature: String::new(),
            output: None,
            attempt: None,
        };
        ticket.signature = key().sign(&request.order.claim(&ticket));
        request.ticket = Some(ticket);
        request
    }

    #[test]
    fn cell_runs_only_with_a_ticket_for_exactly_it_in_its_own_run_and_in_time() {
        let pool = pool();
        let ours = info(WORKFLOW, "run", "1", 1);
        let now = Timestamp::UNIX_EPOCH;
        let refused = |info: &ActivityInfo, request: &CellRequest, now: Timestamp, expected: &str| {
            let problem = pool.check_ticket(info, request, now).unwrap_err();
            assert!(problem.contains(expected), "{expected}: {problem}");
        };
        let changes: [fn(&mut CellOrder); 8] = [
            |order| order.env = BTreeMap::from([("TARGET".to_owned(), "production".to_owned())]),
            |order| order.carried = BTreeMap::from([("PATH".to_owned(), "/tmp".to_owned())]),
            |order| order.secret_env = vec!["PROD_KEY".to_owned()],
            |order| order.workdir = "other".to_owned(),
            |order| order.cell = "drop".to_owned(),
            |order| order.timeout_ms = 86_400_000,
            |order| order.snapshot_sha256 = "11".to_owned(),
            |order| order.job = Some(CellJob { image: "tools@sha256:00".to_owned(), ..CellJob::default() }),
        ];
        for change in changes {
            let mut request = request();
            change(&mut request.order);
            refused(&ours, &request, now, "was not made for it");
        }
        refused(&ours, &CellRequest { ticket: None, ..request() }, now, "has no ticket");
        refused(&info("foreign", "run", "1", 1), &request(), now, "another run's");
        refused(&info(WORKFLOW, "another", "1", 1), &request(), now, "another run's");
        refused(&ours, &request(), now + Duration::from_secs(61), "was good until");
        let mut other = request();
        other.order.executor = "sh/0".to_owned();
        refused(&ours, &signed(other), now, "was approved for sh/0");
        assert_eq!(pool.check_ticket(&ours, &request(), now), Ok(()));
    }

    #[test]
    fn inputs_become_variables_and_secrets_and_are_shown_apart() {
        let text = "---\ninputs:\n  - name: SERVICE\n    default: checkout\n  - name: COUNT\n    type: number\n  \
                    - name: TOKEN\n    secret: true\n---\n";
        let runbook = harmony_runner::parse(text).unwrap();
        let asked = |inputs: serde_json::Value, env: serde_json::Value| -> RunbookInput {
            serde_json::from_value(json!({
                "kind": "runbook", "path": "a.md", "inputs": inputs, "env": env, "secretEnv": ["OTHER"],
            }))
            .unwrap()
        };
        // A variable that has the name of an input is checked as one.
        let request = asked(json!({ "COUNT": "3" }), json!({ "SERVICE": "payments", "A": "b" }));
        let (env, secrets, shown) = with_inputs(&runbook, &request).unwrap();
        assert_eq!(json!(env), json!({ "A": "b", "COUNT": "3", "SERVICE": "payments" }));
        assert_eq!(secrets, ["OTHER", "TOKEN"]);
        assert_eq!(
            json!(shown),
            json!([
                { "name": "SERVICE", "type": "string", "value": "payments" },
                { "name": "COUNT", "type": "number", "value": "3" },
            ])
        );
        let problem = with_inputs(&runbook, &asked(json!({}), json!({ "COUNT": "many" }))).unwrap_err();
        assert_eq!(problem, "input COUNT: \"many\" is not a number; give a number");
    }

    #[test]
    fn ticket_is_used_once_and_again_only_by_temporals_own_retry() {
        let pool = pool();
        let now = Timestamp::UNIX_EPOCH;
        let used = |activity: &str, attempt: u32| {
            pool.check_ticket(&info(WORKFLOW, "run", activity, attempt), &request(), now)
        };
        assert_eq!(used("1", 1), Ok(()));
        for (activity, attempt) in [("1", 1), ("2", 1), ("2", 2)] {
            assert_eq!(used(activity, attempt), Err("its ticket was used already".to_owned()));
        }
        assert_eq!(used("1", 2), Ok(()));
        assert!(used("1", 1).is_err());
    }
}

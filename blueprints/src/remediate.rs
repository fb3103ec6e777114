//! `incident.remediate`: a runbook, run only after somebody who may has approved exactly it.
//!
//! What is proposed is a snapshot; the gate is bound to the digest over everything that will be done and shown; what
//! runs is what the gate covers, on record, and nothing of the run's input. Each cell has its own records. A cell of
//! which nobody knows whether it ran is never repeated on its own: a gate asks.

use std::{cell::Cell, collections::BTreeMap};

use harmony_incidents::{
    Command, GateId,
    job_policy::CellJob,
    judge::payload,
    log::{Phase, RunbookCellFinished, RunbookCellStarted, RunbookCellUnknown, State, Text, payload::Kind},
    policy::GateKind,
    ticket::Ticket,
    visible,
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use temporalio_workflow::{
    ActivityCancellationType, ActivityCloseTimeouts, ActivityOptions, RetryPolicy, WorkflowCancellationToken,
    WorkflowContext, common::data_converters::RawValue, workflows::join,
};

use crate::{
    RUNBOOKS_QUEUE,
    contracts::{
        AppendReply, CELL_HEARTBEAT, CellLimits, CellOrder, CellPlan, CellReply, CellRequest, CellTries,
        Covered, Notice, Proposal, ProposeReply, ProposeRequest, RunbookCell, RunbookPropose, StepReply,
        capability, people, person,
    },
    gate::{self, Outcome, Plan, await_decision, await_opened, why},
    messages::{
        ApprovalResult, CellReport, RemediateInput, RemediateResult, RemediationReport, RunbookReport, Status,
    },
    remediate_dry,
    remediate_steps::{self as steps, Passed},
    revision,
    run::{Begun, Flow, Run, begin, explain, fail, input, patiently},
    workflow_state::{Blueprint, blueprint},
};

blueprint!(
    /// The workflow `incident.remediate`.
    Remediate, "incident.remediate", flow
);

async fn flow<W: Blueprint>(ctx: &WorkflowContext<W>, raw: RawValue) -> Flow {
    let (common, input, digest) = input::<W, RemediateInput>(ctx, &raw)?;
    let run = match begin(ctx, common, digest, None, None).await? {
        Begun::Started(run) => run,
        Begun::Refused(run, reason) => {
            return end(&run, Status::Refused, Some(reason), ApprovalResult::default(), vec![]).await;
        }
    };
    if input.dry_run {
        return Box::pin(remediate_dry::flow(&run, &input)).await;
    }
    // Before the gate is opened.
    let wakes = gate::wakes(&run);
    let remedy = Remedy::new(&input);
    let remedy = match propose(&run, &input, &remedy).await? {
        ProposeReply::Proposal(proposal) => Remedy {
            covered: proposal.covered().map_err(fail)?,
            digest: proposal.digest,
            covers: proposal.covers,
            ..remedy
        },
        ProposeReply::Asked(asked) => {
            let cells = asked.covered.cells.len() + asked.covered.verification.len();
            Remedy {
                covered: asked.covered,
                digest: asked.digest,
                opened: Some((asked.opened, wakes)),
                room: Some(Room { bytes: Cell::new(asked.room_bytes), cells: Cell::new(cells) }),
                ..remedy
            }
        }
        ProposeReply::Invalid(problem) => {
            return end(&run, Status::Failed, Some(problem), ApprovalResult::default(), vec![]).await;
        }
        ProposeReply::SwitchedOff(reason) => {
            return end(&run, Status::Cancelled, Some(reason), ApprovalResult::default(), vec![]).await;
        }
    };
    let mut remedy = remedy;
    let outcome = Box::pin(ask(&run, &mut remedy)).await?;
    if !outcome.may_go_on() {
        return not_done(&run, outcome).await;
    }
    start_mitigating(&run).await?;
    let cells = run_cells(&run, &remedy).await?;
    conclude(&run, &remedy, outcome, cells).await
}

/// How a manual step ends that somebody did.
pub(crate) const CONFIRMED: &str = "confirmed";

/// What was asked for, and what is done about it once it is approved.
pub(crate) struct Remedy<'a> {
    /// The runbook's path as it was asked for. For people.
    pub(crate) asked: &'a str,
    /// Why, in the words of whoever asked; empty where they gave none.
    pub(crate) reason: &'a str,
    pub(crate) covered: Covered,
    /// In hex.
    pub(crate) digest: String,
    /// What the digest covers, in runs from before revision 2; else the log has it.
    pub(crate) covers: String,
    /// How its gate was opened with the proposal, and after how many wake-ups.
    opened: Option<(AppendReply, u32)>,
    /// None in runs from before revision 2, and in a release's.
    room: Option<Room>,
}

/// What is left of a run's history for what its cells print and hand on.
struct Room {
    bytes: Cell<u64>,
    /// Cells that have not ended.
    cells: Cell<usize>,
}

impl Room {
    fn limits(&self, carried: &BTreeMap<String, String>) -> CellLimits {
        CellLimits::within(self.bytes.get(), self.cells.get(), carried)
    }

    /// Takes the bytes of something that goes through the history off.
    fn take(&self, what: &impl Serialize) {
        let bytes = serde_json::to_string(what).map_or(0, |text| text.len() as u64);
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }
}

impl<'a> Remedy<'a> {
    /// Of cells whose gate was opened apart, with all that they cover.
    pub(crate) fn of(asked: &'a str, reason: &'a str, proposal: &Proposal, covered: Covered) -> Self {
        let (digest, covers) = (proposal.digest.clone(), proposal.covers.clone());
        Self { asked, reason, covered, digest, covers, opened: None, room: None }
    }

    /// Of what is not proposed yet.
    fn new(input: &'a RemediateInput) -> Self {
        Self {
            asked: &input.remediation.path,
            reason: &input.reason,
            covered: Covered::default(),
            digest: String::new(),
            covers: String::new(),
            opened: None,
            room: None,
        }
    }
}

async fn propose<W: Blueprint>(
    run: &Run<'_, W>,
    input: &RemediateInput,
    remedy: &Remedy<'_>,
) -> Flow<ProposeReply> {
    let verification = input.verification.as_ref().map(|one| one.cells.clone()).unwrap_or_default();
    let gate = run.follows(revision::REFERENCES).then(|| Box::new(gate::request(run, &plan(run, remedy))));
    let request = ProposeRequest {
        scope: run.at("propose"),
        runbook: input.remediation.clone(),
        verification,
        gate,
        dry_run: false,
    };
    patiently(run.ctx, RunbookPropose, &request).await
}

/// Announces it and asks, side by side: the gate does not wait for the channel.
async fn ask<W: Blueprint>(run: &Run<'_, W>, remedy: &mut Remedy<'_>) -> Flow<Outcome> {
    let opened = remedy.opened.take();
    let remedy: &Remedy<'_> = remedy;
    let notice = Notice::plain(
        format!("Remediation proposed by {}: {}", person(&run.scope.actor), remedy.asked),
        vec![format!("Cells: {}", names(&remedy.covered.cells))],
    );
    let over = WorkflowCancellationToken::new();
    let deciding = async {
        let plan = plan(run, remedy);
        let outcome = match opened {
            Some((opened, wakes)) => Box::pin(await_opened(run, plan, opened, wakes)).await,
            None => await_decision(run, plan).await,
        };
        over.cancel();
        outcome
    };
    let (announced, outcome) = join!(run.notice_until("notice", notice, over.clone()), deciding);
    announced?;
    outcome
}

fn plan<W: Blueprint>(run: &Run<'_, W>, remedy: &Remedy<'_>) -> Plan {
    Plan {
        step: GateId::APPROVE.to_owned(),
        kind: GateKind::Remediate,
        levels: vec![],
        severity: None,
        action: format!("Run {}", remedy.asked),
        reason: why(remedy.reason, || format!("{} asked to remediate {}", run.scope.actor, run.scope.stream)),
        digest: remedy.digest.clone(),
        covers: remedy.covers.clone(),
        lines: shown(&remedy.covered),
    }
}

/// What the digest covers, a name or a value a line: what may decide what a cell does comes first.
pub(crate) fn shown(covered: &Covered) -> Vec<String> {
    let facts = covered.job.iter().flat_map(CellJob::facts);
    let mut lines: Vec<String> =
        facts.map(|(name, value)| format!("Job's {name}: {}", visible::summary(&value))).collect();
    if !covered.secret_env.is_empty() {
        let secrets: Vec<String> = covered.secret_env.iter().map(|name| visible::line(name)).collect();
        lines.push(format!("Secrets by name: {}", secrets.join(", ")));
    }
    let value = |what: &str, name: &str, value: &str| {
        format!("{what}: {}={}", visible::line(name), visible::summary(value))
    };
    lines.extend(covered.inputs.iter().map(|input| value("Input", &input.name, &input.value)));
    // An input is a variable, too; it is shown once.
    let is_input = |name: &String| covered.inputs.iter().any(|input| input.name == *name);
    let others = covered.env.iter().filter(|(name, _)| !is_input(name));
    lines.extend(others.map(|(name, text)| value("Environment", name, text)));
    if !covered.workdir.is_empty() {
        lines.push(format!("Working directory: {}", visible::summary(&covered.workdir)));
    }
    lines.push(format!("Cells: {}", names(&covered.cells)));
    if !covered.verification.is_empty() {
        lines.push(format!("Then verify with: {}", names(&covered.verification)));
    }
    lines.push(format!("Runbook SHA-256: {}", covered.runbook.sha256));
    lines
}

fn names(cells: &[CellPlan]) -> String {
    cells.iter().map(|cell| visible::line(&cell.name)).collect::<Vec<_>>().join(" → ")
}

async fn not_done<W: Blueprint>(run: &Run<'_, W>, outcome: Outcome) -> Flow {
    let (status, reason) = outcome.not_done();
    let notice = Notice::plain("The runbook was not run", vec![reason.clone()]);
    run.notice("outcome", notice).await?;
    end(run, status, Some(reason), outcome.result(), vec![]).await
}

async fn start_mitigating<W: Blueprint>(run: &Run<'_, W>) -> Flow<()> {
    let mitigating = Command::ChangeStatus {
        to: State::Mitigating,
        reason: String::new(),
        justification: String::new(),
        resolution: None,
    };
    run.append_later("mitigating", mitigating, true).await?;
    phase(run, "remediating", Phase::Remediating).await
}

async fn phase<W: Blueprint>(run: &Run<'_, W>, step: &str, phase: Phase) -> Flow<()> {
    // The incident may have been resolved meanwhile; its state outranks our phase.
    run.append_later(step, Command::EnterPhase { phase }, false).await
}

/// A cell that was run, or left out.
pub(crate) struct Done {
    pub(crate) report: CellReport,
    pub(crate) reply: CellReply,
    /// Somebody decided to go on without it.
    skipped: bool,
}

impl Done {
    /// Whether what comes after it may run.
    fn passed(&self) -> bool {
        self.report.success || self.skipped
    }
}

impl From<(CellReport, CellReply)> for Done {
    fn from((report, reply): (CellReport, CellReply)) -> Self {
        Self { report, reply, skipped: false }
    }
}

/// Runs the cells, then those of the verification; the first failure stops.
pub(crate) async fn run_cells<W: Blueprint>(run: &Run<'_, W>, remedy: &Remedy<'_>) -> Flow<Vec<Done>> {
    let mut done: Vec<Done> = Vec::new();
    let mut carried = BTreeMap::new();
    for (purpose, cells) in
        [("remediation", &remedy.covered.cells), ("verification", &remedy.covered.verification)]
    {
        if purpose == "verification" && !cells.is_empty() {
            phase(run, "verifying", Phase::Verifying).await?;
        }
        for cell in cells {
            let one = match steps::pass(run, remedy, cell, purpose, &done).await? {
                Passed::Run => run_cell(run, remedy, cell, purpose, &carried).await?,
                Passed::Ended(one) => *one,
            };
            let passed = one.passed();
            carry(run, remedy, &mut carried, cell, &one.reply);
            done.push(one);
            if !passed {
                return Ok(done);
            }
        }
    }
    Ok(done)
}

/// Hands on what a cell exported, and takes what it answered off the room that is left.
pub(crate) fn carry<W: Blueprint>(
    run: &Run<'_, W>,
    remedy: &Remedy<'_>,
    carried: &mut BTreeMap<String, String>,
    cell: &CellPlan,
    reply: &CellReply,
) {
    let Some(room) = &remedy.room else {
        carried.extend(reply.exported.clone());
        return;
    };
    room.take(reply);
    room.cells.set(room.cells.get().saturating_sub(1));
    for (name, value) in &reply.exported {
        // A worker of an older release does not know the limits.
        if name.len() + value.len() > room.limits(carried).exports_bytes {
            run.warn(format!("{}: {name} is not carried on: it is too long for this run", cell.name));
            continue;
        }
        carried.insert(name.clone(), value.clone());
    }
    if room.cells.get() > 0 {
        room.take(carried);
    }
}

/// One cell, again only where a human asked for it.
async fn run_cell<W: Blueprint>(
    run: &Run<'_, W>,
    remedy: &Remedy<'_>,
    cell: &CellPlan,
    purpose: &str,
    carried: &BTreeMap<String, String>,
) -> Flow<Done> {
    let mut number = 1_u32;
    loop {
        if run.is_stopped() {
            return Ok(unfinished(cell, purpose, "cancelled", "the run was stopped before this cell").into());
        }
        let (report, reply) = try_cell(run, remedy, cell, purpose, carried, number).await?;
        if report.ended != "unknown" || run.is_stopped() {
            return Ok((report, reply).into());
        }
        let plan = Plan {
            step: format!("unknown/{purpose}/{}", cell.name),
            kind: GateKind::UnknownCell,
            levels: vec![],
            severity: None,
            action: format!("Run cell {} of {} again", cell.name, remedy.asked),
            reason: "its worker was lost while it ran: nobody knows whether it did its work".to_owned(),
            digest: remedy.digest.clone(),
            // Where it is empty, the log takes it from the gate of the remediation.
            covers: remedy.covers.clone(),
            lines: vec![
                "Run it again, skip it and go on with the next cell, or abort the remediation.".to_owned(),
            ],
        };
        // One gate a cell: a cell that is lost twice is given up.
        if number > 1 {
            return Ok((report, reply).into());
        }
        match await_decision(run, plan).await? {
            Outcome::NotNeeded | Outcome::Approved { .. } => number += 1,
            Outcome::Skipped { reason } => {
                let step = format!("{purpose}/{}/{number}", cell.name);
                run.skip(&step, capability::RUNBOOK, &reason).await?;
                run.warn(format!("{step}: {reason}"));
                let (report, reply) = unfinished(cell, purpose, "skipped", &reason);
                return Ok(Done { report, reply, skipped: true });
            }
            Outcome::Rejected { .. } | Outcome::Cancelled { .. } => return Ok((report, reply).into()),
        }
    }
}

pub(crate) async fn try_cell<W: Blueprint>(
    run: &Run<'_, W>,
    remedy: &Remedy<'_>,
    cell: &CellPlan,
    purpose: &str,
    carried: &BTreeMap<String, String>,
    number: u32,
) -> Flow<(CellReport, CellReply)> {
    let step = format!("{purpose}/{}/{number}", cell.name);
    let started = Kind::RunbookCellStarted(RunbookCellStarted {
        blueprint: run.scope.blueprint.clone(),
        attempt: run.scope.attempt,
        cell: cell.name.clone(),
        purpose: purpose.to_owned(),
        snapshot_sha256: remedy.covered.runbook.sha256.clone(),
        run: number,
    });
    let command = Command::Record { payload: payload(started) };
    let mut order = remedy.covered.order(cell, carried.clone());
    let mut begun =
        run.append_with(&format!("{step}/started"), command, Some(Box::new(order.clone()))).await?;
    if let Err(refusal) = begun.answer {
        return Ok(unfinished(cell, purpose, "could-not-start", &refusal.to_string()));
    }
    if let Some(reason) = begun.switched_off {
        return Ok(skipped(run, cell, purpose, &step, reason));
    }
    run.ctx.state_mut(|workflow| workflow.own_mut().step_began(&step, capability::RUNBOOK));
    // Another run of this attempt has started it: its end is on record, or whether it ran is not ours to know.
    let outcome = match begun.cell {
        Some(recorded) => Ok(recorded),
        None if begun.known_to_other_run && !cell.idempotent && order.job.is_none() => {
            Err("an earlier run of this workflow started it".to_owned())
        }
        None => {
            // What it runs from: the cell alone, or in older runs the whole runbook.
            let snapshot = match begun.source.take() {
                Some(source) => {
                    order.snapshot_sha256 = hex::encode(Sha256::digest(source.as_bytes()));
                    source
                }
                None => remedy.covered.runbook.text.clone(),
            };
            let started_before = begun.known_to_other_run && order.job.is_some();
            let given = Given { snapshot, order, ticket: begun.ticket, started_before };
            execute(run, remedy, cell, given, &step).await
        }
    };
    let (report, reply) = match outcome {
        Ok(reply) => (report(cell, purpose, &reply), reply),
        Err(problem) => unfinished(cell, purpose, "unknown", &problem),
    };
    finish(run, &report, &reply, &step, number).await?;
    Ok((report, reply))
}

/// Puts on record how a cell ended, and shows it.
pub(crate) async fn finish<W: Blueprint>(
    run: &Run<'_, W>,
    report: &CellReport,
    reply: &CellReply,
    step: &str,
    number: u32,
) -> Flow<()> {
    let finished = if report.ended == "unknown" {
        Kind::RunbookCellUnknown(RunbookCellUnknown {
            blueprint: run.scope.blueprint.clone(),
            attempt: run.scope.attempt,
            cell: report.name.clone(),
            purpose: report.purpose.clone(),
            reason: reply.problem.as_deref().and_then(Text::optional),
            run: number,
        })
    } else {
        Kind::RunbookCellFinished(RunbookCellFinished {
            blueprint: run.scope.blueprint.clone(),
            attempt: run.scope.attempt,
            cell: report.name.clone(),
            purpose: report.purpose.clone(),
            ended: report.ended.clone(),
            exit_code: report.exit_code.unwrap_or_default(),
            success: report.success,
            stdout: Text::optional(&reply.stdout),
            stderr: Text::optional(&reply.stderr),
            output_bytes: reply.output_bytes,
            duration_ms: reply.duration_ms,
            run: number,
            output_sha256: reply.output_sha256.as_deref().and_then(Text::optional),
        })
    };
    let finished = Command::Record { payload: payload(finished) };
    run.append_later(&format!("{step}/finished"), finished, true).await?;
    let shown = StepReply::default();
    let failure = reply.problem.clone().unwrap_or_else(|| report.ended.clone());
    run.ctx.state_mut(|workflow| {
        let outcome = if report.success { Ok(&shown) } else { Err(failure.as_str()) };
        workflow.own_mut().step_ended(step, capability::RUNBOOK, outcome);
    });
    Ok(())
}

/// A cell that is left out; the log has it already.
fn skipped<W: Blueprint>(
    run: &Run<'_, W>,
    cell: &CellPlan,
    purpose: &str,
    step: &str,
    reason: String,
) -> (CellReport, CellReply) {
    run.warn(format!("{step}: {reason}"));
    let left_out = unfinished(cell, purpose, "skipped", &reason);
    let shown = StepReply { skipped: Some(reason), ..StepReply::default() };
    run.ctx.state_mut(|workflow| workflow.own_mut().step_ended(step, capability::RUNBOOK, Ok(&shown)));
    left_out
}

/// What a cell runs with.
struct Given {
    snapshot: String,
    order: CellOrder,
    ticket: Option<Ticket>,
    /// By an earlier run of this workflow.
    started_before: bool,
}

/// Runs the cell on the runbook queue. `Err` means that nobody knows whether it ran.
async fn execute<W: Blueprint>(
    run: &Run<'_, W>,
    remedy: &Remedy<'_>,
    cell: &CellPlan,
    Given { snapshot, order, ticket, started_before }: Given,
    step: &str,
) -> Result<CellReply, String> {
    let tries = CellTries::of(cell.timeout_ms, cell.idempotent, order.job.is_some());
    let options = ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::StartToClose(tries.time))
        .task_queue(RUNBOOKS_QUEUE.to_owned())
        .heartbeat_timeout(CELL_HEARTBEAT)
        .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
        .retry_policy(RetryPolicy::builder().maximum_attempts(tries.attempts).build())
        .summary(step.to_owned())
        .build();
    let limits = remedy.room.as_ref().map(|room| room.limits(&order.carried));
    let request = CellRequest {
        limits,
        snapshot,
        order,
        traceparent: run.scope.traceparent(&run.incident.trace_id),
        ticket,
        started_before,
    };
    match run.ctx.execute_activity(RunbookCell, request, options).await {
        // Nobody stopped the run: its worker was shut down while the cell ran.
        Ok(reply) if reply.ended == "cancelled" && !run.is_stopped() => {
            Err("its worker was shut down".to_owned())
        }
        Ok(reply) => Ok(reply),
        // Stopped, and the runner said that the cell is gone.
        Err(error) if error.as_cancelled().is_some() => Ok(CellReply::silent("cancelled", "stopped")),
        Err(error) if error.as_timeout().is_some() => Err("its worker was lost".to_owned()),
        Err(error) => Err(explain(&error)),
    }
}

fn report(cell: &CellPlan, purpose: &str, reply: &CellReply) -> CellReport {
    CellReport {
        name: cell.name.clone(),
        purpose: purpose.to_owned(),
        success: reply.exit_code == Some(0) && reply.ended == "exited",
        ended: reply.ended.clone(),
        exit_code: reply.exit_code,
    }
}

pub(crate) fn unfinished(
    cell: &CellPlan,
    purpose: &str,
    ended: &str,
    problem: &str,
) -> (CellReport, CellReply) {
    let reply = CellReply::silent(ended, problem);
    (report(cell, purpose, &reply), reply)
}

async fn conclude<W: Blueprint>(
    run: &Run<'_, W>,
    remedy: &Remedy<'_>,
    outcome: Outcome,
    cells: Vec<Done>,
) -> Flow {
    let success = all_passed(&cells, &remedy.covered);
    let stopped = run.is_stopped();
    let left_out = cells.iter().any(|one| one.report.ended == "skipped" && !one.skipped);
    let checked = |one: &Done| one.report.purpose == "verification" && !one.skipped;
    let verified = !remedy.covered.verification.is_empty()
        && cells.iter().filter(|one| checked(one)).count() == remedy.covered.verification.len();
    let (headline, status) = match (success, stopped) {
        (false, _) if left_out => ("The runbook was not run to its end", Status::Cancelled),
        (true, _) if !verified => ("The runbook succeeded; not verified yet", Status::Completed),
        (true, _) => ("The runbook succeeded and was verified", Status::Completed),
        (false, true) => ("The runbook was stopped", Status::Cancelled),
        (false, false) => ("The runbook failed", Status::Failed),
    };
    match (success, verified) {
        (true, false) => phase(run, "verifying", Phase::Verifying).await?,
        (true, true) => phase(run, "verified", Phase::Verified).await?,
        (false, _) => phase(run, "triaging", Phase::Triaging).await?,
    }
    let by = match &outcome {
        Outcome::Approved { by } => format!("Approved by {}.", people(by)),
        Outcome::NotNeeded
        | Outcome::Rejected { .. }
        | Outcome::Cancelled { .. }
        | Outcome::Skipped { .. } => String::new(),
    };
    let mut lines: Vec<String> = cells.iter().map(describe).collect();
    lines.push(by);
    lines.retain(|line| !line.is_empty());
    let output =
        cells.last().map(|one| tail(&one.reply.stdout, &one.reply.stderr)).filter(|text| !text.is_empty());
    let notice = Notice {
        channel: None,
        headline: format!("{headline}: {}", remedy.asked),
        lines,
        output,
        pin: false,
        ask: None,
    };
    run.notice("outcome", notice).await?;
    let failed = first_failure(&cells);
    let reports = cells.into_iter().map(|one| one.report).collect();
    let reason = if success { None } else { failed.or_else(|| Some(headline.to_owned())) };
    end(run, status, reason, outcome.result(), reports).await
}

/// Whether everything that is covered was run, or left out because somebody said so.
pub(crate) fn all_passed(cells: &[Done], covered: &Covered) -> bool {
    cells.iter().all(Done::passed) && cells.len() == covered.cells.len() + covered.verification.len()
}

/// The cell at which it stopped, for people.
pub(crate) fn first_failure(cells: &[Done]) -> Option<String> {
    cells.iter().find(|one| !one.passed()).map(describe)
}

pub(crate) fn describe(Done { report, reply, .. }: &Done) -> String {
    let how = match (report.success, report.exit_code) {
        (true, _) if report.ended == CONFIRMED => "confirmed".to_owned(),
        (true, _) => "succeeded".to_owned(),
        (false, Some(code)) => format!("exited with {code}"),
        (false, None) => reply.problem.clone().unwrap_or_else(|| report.ended.clone()),
    };
    format!("{} ({}): {how}", report.name, report.purpose)
}

/// The last lines of a cell, for people: the whole tail is in the log.
fn tail(stdout: &str, stderr: &str) -> String {
    let all = if stdout.trim().is_empty() { stderr } else { stdout };
    let lines: Vec<&str> = all.lines().rev().take(10).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

async fn end<W: Blueprint>(
    run: &Run<'_, W>,
    status: Status,
    reason: Option<String>,
    approval: ApprovalResult,
    cells: Vec<CellReport>,
) -> Flow {
    run.all_told().await?;
    let message = match (&reason, status) {
        (Some(reason), _) => reason.clone(),
        (None, _) => {
            let succeeded = cells.iter().filter(|cell| cell.success).count();
            match cells.len() - succeeded {
                0 => format!("{succeeded} cells succeeded"),
                skipped => format!("{succeeded} cells succeeded, {skipped} skipped"),
            }
        }
    };
    let result = RemediateResult {
        status,
        reason: reason.clone(),
        approval,
        remediation: RemediationReport {
            executed: !cells.is_empty(),
            recorded_in_timeline: !cells.is_empty(),
            runbook: RunbookReport { success: status == Status::Completed, cells, message },
        },
        warnings: run.warnings(),
        dry_run: false,
    };
    run.complete(status, reason.as_deref(), &result).await
}

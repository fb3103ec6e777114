//! One approval. Binds a decision to the digest of what was shown. A decision that is early, late, repeated or from the
//! wrong person changes nothing and is recorded. Never approves by timeout.
//!
//! Nothing waits for others to be told: what was decided is told beside what follows, and joined at the run's end.
//!
//! The cast: handlers enqueue, the *decision inbox* judges in order for the whole run, [`await_decision`] waits for a
//! verdict, the deadline, a stop, or a wake-up from outside, and its *notifications* beside it ask, remind and page. The
//! log decides between "decided" and "timed out"; the workflow obeys. After a crash the log answers with the gate as it
//! was first opened, so id, level and deadline stay.
//!
//! A history that has grown long is left behind here, where a run may wait for days: once everything that came in is
//! judged and nothing is under way, the run goes on as a new one, which finds every step on record and the gate where
//! it was.

use std::{pin::pin, time::Duration};

use futures_util::FutureExt;
use harmony_incidents::{
    Answer, Command, GateId, GateStatus, LinkName,
    command::{GateRequest, GateView, Settled},
    log::Severity,
    policy::{GateKind, LevelRule},
};
use jiff::Timestamp;
use temporalio_workflow::{
    CancellableFuture, TimerOptions, WorkflowCancellationToken, WorkflowContext,
    workflows::{join, select},
};

use crate::{
    contracts::{AppendReply, ApprovalLook, LookReply, LookRequest},
    messages::{ApprovalResult, Status, severity_word},
    notifications::{Announcement, Told, notify, tell},
    revision,
    run::{Flow, Run, attribute, fail, now, patiently},
    workflow_state::{Blueprint, Gate},
};

/// How soon an older release looked again while a decision made in time was under way: its histories replay.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// How long a decision waited for others to be told of it, before that went on beside what follows.
const TELLING_PATIENCE: Duration = Duration::from_secs(10);

/// What a blueprint wants to have approved.
pub(crate) struct Plan {
    pub(crate) step: String,
    pub(crate) kind: GateKind,
    pub(crate) action: String,
    pub(crate) reason: String,
    pub(crate) digest: String,
    pub(crate) covers: String,
    /// What to show beside the action.
    pub(crate) lines: Vec<String>,
    /// Who may decide, where something else than the policy says so.
    pub(crate) levels: Vec<LevelRule>,
    /// Whose clock it has, where that is not the incident's of the run.
    pub(crate) severity: Option<Severity>,
}

/// Why it is asked, in the words of whoever proposed it.
pub(crate) fn why(given: &str, otherwise: impl FnOnce() -> String) -> String {
    if given.trim().is_empty() { otherwise() } else { given.to_owned() }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Policy asks for no gate here.
    NotNeeded,
    /// Go on.
    Approved { by: String },
    /// Go on without what was asked about.
    Skipped { reason: String },
    /// Do not: somebody said so, or nobody said yes.
    Rejected { reason: String },
    /// Stopped, or the incident moved on.
    Cancelled { reason: String },
}

impl Outcome {
    /// Whether the step may be carried out.
    pub(crate) fn may_go_on(&self) -> bool {
        matches!(self, Self::NotNeeded | Self::Approved { .. })
    }

    /// How a blueprint ends that may not go on, and why.
    pub(crate) fn not_done(&self) -> (Status, String) {
        match self {
            Self::Rejected { reason } => (Status::Rejected, reason.clone()),
            Self::Cancelled { reason } => (Status::Cancelled, reason.clone()),
            Self::NotNeeded | Self::Approved { .. } | Self::Skipped { .. } => (Status::Failed, String::new()),
        }
    }

    /// As the blueprint's result tells it.
    pub(crate) fn result(&self) -> ApprovalResult {
        match self {
            Self::NotNeeded => ApprovalResult::default(),
            Self::Approved { .. } => ApprovalResult { was_required: true, was_approved: true, reason: None },
            Self::Rejected { reason } | Self::Cancelled { reason } | Self::Skipped { reason } => {
                ApprovalResult { was_required: true, was_approved: false, reason: Some(reason.clone()) }
            }
        }
    }
}

/// Opens a gate and waits until it is settled.
pub(crate) async fn await_decision<W: Blueprint>(run: &Run<'_, W>, plan: Plan) -> Flow<Outcome> {
    // On the heap: every blueprint waits here, and would carry all of it within its own future.
    Box::pin(decided(run, plan)).await
}

/// The command that opens it.
pub(crate) fn request<W: Blueprint>(run: &Run<'_, W>, plan: &Plan) -> GateRequest {
    GateRequest {
        workflow_id: run.workflow_id().clone(),
        attempt: run.scope.attempt,
        step: plan.step.clone(),
        kind: plan.kind,
        action: plan.action.clone(),
        reason: plan.reason.clone(),
        digest: plan.digest.clone(),
        covers: plan.covers.clone(),
        requester: run.scope.actor.clone(),
        levels: plan.levels.clone(),
        severity: plan.severity,
    }
}

/// How many wake-ups came so far: read before a gate is opened, since one that comes meanwhile may be about it.
pub(crate) fn wakes<W: Blueprint>(run: &Run<'_, W>) -> u32 {
    run.ctx.state(|workflow| workflow.own().wakes)
}

async fn decided<W: Blueprint>(run: &Run<'_, W>, plan: Plan) -> Flow<Outcome> {
    let command = Command::OpenGate { request: Box::new(request(run, &plan)) };
    let wakes = wakes(run);
    let opened = run.append_full(&format!("{}/open", plan.step), command).await?;
    Box::pin(await_opened(run, plan, opened, wakes)).await
}

/// Waits until a gate is settled that was opened with this answer, after so many wake-ups.
pub(crate) async fn await_opened<W: Blueprint>(
    run: &Run<'_, W>,
    plan: Plan,
    opened: AppendReply,
    wakes: u32,
) -> Flow<Outcome> {
    let gate = match opened.answer.map_err(|refusal| fail(refusal.to_string()))? {
        Answer::GateOpened { gate } => gate,
        Answer::NoGate => return Ok(Outcome::NotNeeded),
        Answer::Settled { settled } => return Ok(outcome(settled)),
        other => return Err(fail(format!("the log answered a gate with {other:?}"))),
    };
    // After a reset, or a task that was lost, the log may know more than this run: where the gate is now, or how it was
    // settled.
    let mut told = Told::default();
    let mut settled = None;
    let gate = if opened.repeated || opened.known_to_other_run {
        let request = LookRequest { scope: run.at("look"), gate_id: gate.gate_id.clone() };
        match patiently(run.ctx, ApprovalLook, &request).await? {
            LookReply::Pending(found) => {
                told = Told::of(&plan.step, found.steps);
                found.gate
            }
            // Histories from before `repeated` end here.
            LookReply::Settled(found) if !opened.repeated => return Ok(outcome(found.settled)),
            LookReply::Settled(found) => {
                told = Told::of(&plan.step, found.steps);
                settled = Some(found.settled);
                gate
            }
        }
    } else {
        gate
    };
    run.ctx.state_mut(|workflow| {
        workflow.own_mut().open(Gate {
            history: vec![format!("{} requested by {}", gate.requested_at, gate.requester)],
            view: gate.clone(),
            settled,
            channel: run.link(LinkName::SlackChannel),
            message: told.message(),
        });
    });
    let approval = |status: GateStatus| [attribute("HarmonyApproval").value_set(status.into())];
    let (settled, pages) = match settled_here(run.ctx) {
        Some(settled) => (settled, Ok(told.pages())),
        None => {
            let waiting = format!("waiting for {}: {}", gate.required_roles.join(" or "), gate.action);
            run.ctx.set_current_details(waiting);
            run.ctx.upsert_search_attributes(approval(GateStatus::Pending));
            let waited = wait_or_leave(run, &gate, wakes);
            let (settled, pages) = join!(waited, notify(run, &plan, gate.clone(), told));
            (settled?, pages)
        }
    };
    run.ctx.set_current_details(format!("{}: {}", plan.action, settled.status));
    run.ctx.upsert_search_attributes(approval(settled.status));
    let announcement = Announcement::of(run.ctx, settled.clone(), pages?);
    if run.follows(revision::TOLD_BESIDE) {
        run.beside(async move |run, over| Box::pin(tell(run, &plan, announcement, &over)).await);
    } else {
        Box::pin(tell_in_time(run, &plan, announcement)).await?;
    }
    Ok(outcome(settled))
}

/// As runs of revision 0 do: tells what came of it, and goes on after 10 s.
async fn tell_in_time<W: Blueprint>(run: &Run<'_, W>, plan: &Plan, announcement: Announcement) -> Flow<()> {
    let status = announcement.settled.status;
    let never = WorkflowCancellationToken::new();
    let mut timer = pin!(
        run.ctx.timer(
            TimerOptions::builder(TELLING_PATIENCE)
                .summary("for others to be told".to_owned())
                .cancellation_token(WorkflowCancellationToken::new())
                .build(),
        )
    );
    let mut telling = pin!(tell(run, plan, announcement, &never).fuse());
    let told = select! {
        told = telling => Some(told),
        _ = timer => None,
    };
    match told {
        Some(told) => {
            timer.cancel();
            told
        }
        None => {
            run.warn(format!("{}: who was asked could not be told in time that it is {}", plan.step, status));
            Ok(())
        }
    }
}

fn outcome(settled: Settled) -> Outcome {
    let Settled { status, by, reason, .. } = settled;
    match status {
        GateStatus::Approved => Outcome::Approved { by },
        GateStatus::Timeout => Outcome::Rejected { reason: status.into() },
        GateStatus::Skipped => {
            let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            Outcome::Skipped { reason: format!("skipped by {by}{why}") }
        }
        GateStatus::Rejected => {
            Outcome::Rejected { reason: reason.unwrap_or_else(|| format!("rejected by {by}")) }
        }
        GateStatus::Cancelled | GateStatus::Pending | GateStatus::Escalated | GateStatus::None => {
            Outcome::Cancelled { reason: reason.unwrap_or_else(|| GateStatus::Cancelled.into()) }
        }
    }
}

/// As [`wait`]; where it does not end with the gate, its notifications end, too.
async fn wait_or_leave<W: Blueprint>(run: &Run<'_, W>, gate: &GateView, seen: u32) -> Flow<Settled> {
    let settled = wait(run, gate, seen).await;
    if settled.is_err() {
        run.ctx.state_mut(|workflow| workflow.own_mut().left = true);
    }
    settled
}

/// Waits for a verdict, the deadline, a stop or a wake-up; whatever it is, the log has the last word.
async fn wait<W: Blueprint>(run: &Run<'_, W>, gate: &GateView, mut seen: u32) -> Flow<Settled> {
    let ctx = run.ctx;
    let mut gate = gate.clone();
    let mut looks = 0_u32;
    let mut due = gate.deadline;
    let mut may_leave = true;
    loop {
        if let Some(settled) = settled_here(ctx) {
            return Ok(settled);
        }
        if run.is_stopped() {
            let reason = ctx.cancellation_token().reason().filter(|reason| !reason.is_empty());
            let command = Command::CancelGate {
                gate_id: gate.gate_id.clone(),
                reason: reason.unwrap_or_else(|| "stopped".to_owned()),
            };
            let answer = run.append(&format!("{}/cancel", step_of(&gate)), command).await?;
            return settle(ctx, answer.map_err(|refusal| fail(refusal.to_string()))?);
        }
        if may_leave && ctx.continue_as_new_suggested() {
            if quiet_before(run, due).await {
                return Err(fail("the run goes on as a new one"));
            }
            // Its time was over first: it may leave at the next level.
            may_leave = false;
            continue;
        }
        let expired = {
            let mut timer = pin!(
                ctx.timer(
                    TimerOptions::builder(time_left(now(ctx), due))
                        .summary(format!("level {} of {}", gate.level, gate.action))
                        .cancellation_token(WorkflowCancellationToken::new())
                        .build(),
                )
            );
            let length = ctx.clone();
            let mut change = pin!(ctx.wait_condition(move |workflow: &W| {
                let own = workflow.own();
                own.wakes != seen || own.is_settled() || (may_leave && length.continue_as_new_suggested())
            }));
            let fired = select! {
                _ = change => false,
                _ = timer => true,
            };
            if !fired {
                timer.cancel();
            }
            fired
        };
        let woken = ctx.state(|workflow| workflow.own().wakes) != seen;
        if settled_here(ctx).is_some() || run.is_stopped() || !(expired || woken) {
            continue;
        }
        looks += 1;
        if !expired {
            // Read before the look: what wakes during it is looked at again.
            seen = ctx.state(|workflow| workflow.own().wakes);
            let scope = run.at("look");
            let request = LookRequest { scope, gate_id: gate.gate_id.clone() };
            match patiently(ctx, ApprovalLook, &request).await? {
                LookReply::Pending(found) => {
                    may_leave |= stage(&gate) != stage(&found.gate);
                    moved(ctx, &gate, &found.gate);
                    let at = now(ctx);
                    ctx.state_mut(|workflow| workflow.own_mut().tally(&found.gate.approvals, at));
                    gate = found.gate;
                }
                LookReply::Settled(found) => {
                    return settle(ctx, Answer::Settled { settled: found.settled });
                }
            }
            due = gate.deadline;
            continue;
        }
        let command = Command::ExpireLevel { gate_id: gate.gate_id.clone(), level: gate.level };
        let step = format!("{}/expire/{}/{looks}", step_of(&gate), gate.level);
        let answer = run.append(&step, command).await?.map_err(|refusal| fail(refusal.to_string()))?;
        match answer {
            // From a release that held a timeout back while a decision was under way.
            Answer::NotYet => due = gate.deadline.max(now(ctx) + UNDER_WAY),
            Answer::Escalated { gate: next } => {
                moved(ctx, &gate, &next);
                due = next.deadline;
                may_leave = true;
                gate = next;
            }
            other => return settle(ctx, other),
        }
    }
}

/// Whether all that came in is judged and nothing is under way, before this time.
pub(crate) async fn quiet_before<W: Blueprint>(run: &Run<'_, W>, due: Timestamp) -> bool {
    let ctx = run.ctx;
    ctx.state_mut(|workflow| workflow.own_mut().closing = true);
    let mut timer = pin!(
        ctx.timer(
            TimerOptions::builder(time_left(now(ctx), due))
                .summary("for everything under way to end, before the run goes on as a new one".to_owned())
                .cancellation_token(WorkflowCancellationToken::new())
                .build(),
        )
    );
    let handlers = ctx.clone();
    let mut quiet = pin!(ctx.wait_condition(move |workflow: &W| {
        let own = workflow.own();
        own.is_settled() || (own.is_quiet() && handlers.all_handlers_finished())
    }));
    let quiet = select! {
        quiet = quiet => {
            timer.cancel();
            quiet.is_ok()
        }
        _ = timer => false,
    };
    let leave = quiet && settled_here(ctx).is_none() && !run.is_stopped();
    ctx.state_mut(|workflow| workflow.own_mut().closing = leave);
    leave
}

/// The gate is at another level now, or has other levels: queries tell so, and the notifications ask there.
fn moved<W: Blueprint>(ctx: &WorkflowContext<W>, from: &GateView, to: &GateView) {
    if stage(from) == stage(to) {
        return;
    }
    let how = if from.plan != to.plan {
        format!("planned again for {}", severity_word(to.severity))
    } else if to.escalated_by.is_empty() {
        format!("level {} timed out (due {})", from.level, from.deadline)
    } else {
        format!("level {} passed on by {}", from.level, to.escalated_by)
    };
    let line = format!("{} {how}, level {} until {}", now(ctx), to.level, to.deadline);
    ctx.state_mut(|workflow| {
        if let Some(open) = &mut workflow.own_mut().gate {
            open.note(line);
            open.view = to.clone();
        }
    });
    ctx.set_current_details(format!("waiting for {}: {}", to.required_roles.join(" or "), to.action));
}

/// Which plan a level belongs to, and the level: what is asked once of each.
pub(crate) type Stage = (u32, u32);

/// The stage that a gate is at.
pub(crate) fn stage(gate: &GateView) -> Stage {
    (gate.plan, gate.level)
}

pub(crate) fn time_left(now: Timestamp, deadline: Timestamp) -> Duration {
    Duration::try_from(deadline.duration_since(now)).unwrap_or_default().max(Duration::from_millis(1))
}

/// The gate's step: what stands behind the slash of its id.
fn step_of(gate: &GateView) -> String {
    let id = gate.gate_id.parse::<GateId>().ok();
    id.as_ref().and_then(GateId::parts).map_or("gate", |(_, _, step)| step).to_owned()
}

fn settled_here<W: Blueprint>(ctx: &WorkflowContext<W>) -> Option<Settled> {
    ctx.state(|workflow| workflow.own().gate.as_ref().and_then(|gate| gate.settled.clone()))
}

fn settle<W: Blueprint>(ctx: &WorkflowContext<W>, answer: Answer) -> Flow<Settled> {
    let settled = match answer {
        Answer::Settled { settled } => settled,
        Answer::TimedOut { level } => Settled {
            status: GateStatus::Timeout,
            by: String::new(),
            reason: Some(format!("nobody decided within level {level}")),
            break_glass: false,
        },
        other => return Err(fail(format!("the log settled a gate with {other:?}"))),
    };
    ctx.state_mut(|workflow| {
        if let Some(gate) = &mut workflow.own_mut().gate {
            let by = if settled.by.is_empty() { String::new() } else { format!(" by {}", settled.by) };
            gate.note(format!("{} {}{by}", now(ctx), settled.status));
            gate.settled = Some(settled.clone());
        }
    });
    Ok(settled)
}

//! One approval. Binds a decision to the digest of what was shown. A decision that is early, late, repeated or from the
//! wrong person changes nothing and is recorded. Never approves by timeout.
//!
//! The cast: handlers enqueue, the *doorkeeper* judges in order for the whole run, [`await_decision`] waits for a
//! verdict, the deadline, a stop, or a wake-up from outside, and the *messenger* beside it asks and pages. The log
//! decides between "decided" and "timed out"; the workflow obeys. After a crash the log answers with the gate as it was
//! first opened, so id, level and deadline stay.

use std::{convert::Infallible, error::Error, pin::pin, time::Duration};

use futures_util::FutureExt;
use harmony_incidents::{
    Answer, Command,
    command::{GateRequest, GateView, Settled, Verdict},
    policy::GateKind,
};
use jiff::Timestamp;
use temporalio_workflow::{
    CancellableFuture, TimerOptions, WaitConditionOptions, WorkflowCancellationToken, WorkflowContext,
    WorkflowTermination,
    common::data_converters::RawValue,
    workflows::{join, select},
};

use crate::{
    contracts::{
        ApprovalJudge, ApprovalLook, Ask, ChannelSettle, ExternalRef, JudgeRequest, LookReply, LookRequest,
        Notice, PagingDraft, PagingOpen, PagingResolve, Scope, Settle, capability,
    },
    desk::{Blueprint, Gate},
    messages::{ApprovalResult, Status},
    run::{Flow, Run, attribute, fail, now, patiently},
};

/// How soon to look again while a decision made in time is still under way.
const UNDER_WAY: Duration = Duration::from_secs(1);

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
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Policy asks for no gate here.
    NotNeeded,
    /// Go on.
    Approved { by: String },
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
            Self::NotNeeded | Self::Approved { .. } => (Status::Failed, String::new()),
        }
    }

    /// As the blueprint's result tells it.
    pub(crate) fn result(&self) -> ApprovalResult {
        match self {
            Self::NotNeeded => ApprovalResult::default(),
            Self::Approved { .. } => ApprovalResult { was_required: true, was_approved: true, reason: None },
            Self::Rejected { reason } | Self::Cancelled { reason } => {
                ApprovalResult { was_required: true, was_approved: false, reason: Some(reason.clone()) }
            }
        }
    }
}

/// Runs a flow beside the doorkeeper, and ends when the flow has and everybody was answered.
pub(crate) async fn with_doorkeeper<W: Blueprint>(
    ctx: &WorkflowContext<W>,
    flow: impl Future<Output = Flow>,
) -> Result<serde_json::Value, WorkflowTermination> {
    let mut flow = pin!(
        async {
            let result = flow.await?;
            let handlers = ctx.clone();
            let answered = ctx.wait_condition_with_options(
                move |workflow: &W| workflow.desk().inbox.is_empty() && handlers.all_handlers_finished(),
                detached(),
            );
            answered.await.map_err(|error| fail(error.to_string()))?;
            Ok(result)
        }
        .fuse()
    );
    let mut door = pin!(doorkeeper(ctx).fuse());
    select! {
        ended = door => match ended {
            Err(error) => Err(error),
            Ok(never) => match never {},
        },
        ended = flow => ended,
    }
}

/// The update `decide`: enqueue, then wait for the doorkeeper's verdict.
pub(crate) async fn decide<W: Blueprint>(
    ctx: &WorkflowContext<W>,
    raw: &RawValue,
) -> Result<Verdict, Box<dyn Error + Send + Sync>> {
    let converter = ctx.payload_converter().clone();
    let id = ctx.state_mut(|workflow| workflow.desk_mut().enqueue(&converter, raw, false));
    ctx.wait_condition_with_options(|workflow: &W| workflow.desk().verdicts.contains_key(&id), detached())
        .await?;
    ctx.state(|workflow| workflow.desk().verdicts.get(&id).cloned())
        .ok_or_else(|| "the verdict is not known".into())
}

/// Judges every decision in the order of its arrival, from the run's beginning to its end.
async fn doorkeeper<W: Blueprint>(ctx: &WorkflowContext<W>) -> Result<Infallible, WorkflowTermination> {
    loop {
        ctx.wait_condition_with_options(
            |workflow: &W| {
                let desk = workflow.desk();
                desk.scope.is_some() && !desk.inbox.is_empty()
            },
            detached(),
        )
        .await
        .map_err(|error| fail(error.to_string()))?;
        let next = ctx.state(|workflow| {
            let desk = workflow.desk();
            desk.inbox.front().cloned().zip(desk.scope.clone())
        });
        let Some((arrival, scope)) = next else { continue };
        let request = JudgeRequest {
            scope: Scope { step: "decision".to_owned(), occurred_at: now(ctx), ..scope },
            payload: arrival.payload,
            payload_sha256: arrival.sha256,
            occurrence: arrival.occurrence,
            signal: arrival.signal,
        };
        let verdict: Verdict = patiently(ctx, ApprovalJudge, &request).await?;
        ctx.state_mut(|workflow| {
            let desk = workflow.desk_mut();
            desk.inbox.pop_front();
            if let Some(gate) = &mut desk.gate {
                if verdict.gate_id.as_deref() == Some(gate.view.gate_id.as_str())
                    && let Some(settled) = &verdict.settled
                    && gate.settled.is_none()
                {
                    gate.history
                        .push(format!("{} {} by {}", request.scope.occurred_at, settled.status, settled.by));
                    gate.settled = Some(settled.clone());
                } else if let Some(because) = &verdict.refused_because {
                    gate.history.push(format!("{} refused: {because}", request.scope.occurred_at));
                }
            }
            desk.verdicts.insert(arrival.id, verdict);
        });
    }
}

/// Opens a gate and waits until it is settled.
pub(crate) async fn await_decision<W: Blueprint>(run: &Run<'_, W>, plan: Plan) -> Flow<Outcome> {
    let request = GateRequest {
        workflow_id: run.workflow_id().clone(),
        attempt: run.scope.attempt,
        step: plan.step.clone(),
        kind: plan.kind,
        action: plan.action.clone(),
        reason: plan.reason.clone(),
        digest: plan.digest.clone(),
        covers: plan.covers.clone(),
        requester: run.scope.actor.clone(),
    };
    let opened = run
        .append_full(&format!("{}/open", plan.step), Command::OpenGate { request: Box::new(request) })
        .await?;
    let gate = match opened.answer.map_err(|refusal| fail(refusal.to_string()))? {
        Answer::GateOpened { gate } => gate,
        Answer::NoGate => return Ok(Outcome::NotNeeded),
        Answer::Settled { settled } => return Ok(outcome(settled)),
        other => return Err(fail(format!("the log answered a gate with {other:?}"))),
    };
    // After a reset the log may know more than this run: where the gate is now, or how it was settled.
    let gate = if opened.known_to_other_run {
        let request = LookRequest { scope: run.at("look"), gate_id: gate.gate_id.clone() };
        match patiently(run.ctx, ApprovalLook, &request).await? {
            LookReply::Pending(now_pending) => now_pending,
            LookReply::Settled(settled) => return Ok(outcome(settled)),
        }
    } else {
        gate
    };
    run.ctx.state_mut(|workflow| {
        workflow.desk_mut().gate = Some(Gate {
            history: vec![format!("{} requested by {}", gate.requested_at, gate.requester)],
            view: gate.clone(),
            settled: None,
            channel: run.link("slackChannel"),
            message: None,
        });
    });
    run.ctx.set_current_details(format!("waiting for {}: {}", gate.required_roles.join(" or "), gate.action));
    run.ctx.upsert_search_attributes([attribute("HarmonyApproval").value_set("pending".to_owned())]);
    let asking = WorkflowCancellationToken::new();
    let waiting = async {
        let settled = wait(run, &gate).await;
        asking.cancel();
        settled
    };
    let (settled, pages) = join!(waiting, messenger(run, &plan, gate.clone(), asking.clone()));
    let settled = settled?;
    run.ctx.set_current_details(format!("{}: {}", plan.action, settled.status));
    run.ctx.upsert_search_attributes([attribute("HarmonyApproval").value_set(settled.status.clone())]);
    tell(run, &plan, &settled, pages?).await?;
    Ok(outcome(settled))
}

fn outcome(settled: Settled) -> Outcome {
    let Settled { status, by, reason } = settled;
    match status.as_str() {
        "approved" => Outcome::Approved { by },
        "timeout" => Outcome::Rejected { reason: "timeout".to_owned() },
        "rejected" => Outcome::Rejected { reason: reason.unwrap_or_else(|| format!("rejected by {by}")) },
        _ => Outcome::Cancelled { reason: reason.unwrap_or_else(|| "cancelled".to_owned()) },
    }
}

/// Waits for a verdict, the deadline, a stop or a wake-up; whatever it is, the log has the last word.
async fn wait<W: Blueprint>(run: &Run<'_, W>, gate: &GateView) -> Flow<Settled> {
    let ctx = run.ctx;
    let mut gate = gate.clone();
    let mut looks = 0_u32;
    let mut left = time_left(now(ctx), gate.deadline);
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
        let wakes = ctx.state(|workflow| workflow.desk().wakes);
        let woken = {
            let mut timer = pin!(
                ctx.timer(
                    TimerOptions::builder(left)
                        .summary(format!("level {} of {}", gate.level, gate.action))
                        .cancellation_token(WorkflowCancellationToken::new())
                        .build(),
                )
            );
            let mut change = pin!(ctx.wait_condition(move |workflow: &W| {
                let desk = workflow.desk();
                desk.wakes != wakes || desk.gate.as_ref().is_some_and(|gate| gate.settled.is_some())
            }));
            let fired = select! {
                _ = change => false,
                _ = timer => true,
            };
            if !fired {
                timer.cancel();
            }
            !fired
        };
        if settled_here(ctx).is_some() || run.is_stopped() {
            continue;
        }
        looks += 1;
        if woken {
            let scope = run.at("look");
            let request = LookRequest { scope, gate_id: gate.gate_id.clone() };
            match patiently(ctx, ApprovalLook, &request).await? {
                LookReply::Pending(now_pending) => gate = now_pending,
                LookReply::Settled(settled) => return settle(ctx, Answer::Settled { settled }),
            }
            left = time_left(now(ctx), gate.deadline);
            continue;
        }
        let command = Command::ExpireLevel { gate_id: gate.gate_id.clone(), level: gate.level };
        let step = format!("{}/expire/{}/{looks}", step_of(&gate), gate.level);
        let answer = run.append(&step, command).await?.map_err(|refusal| fail(refusal.to_string()))?;
        match answer {
            Answer::NotYet => left = time_left(now(ctx), gate.deadline).max(UNDER_WAY),
            Answer::Escalated { gate: next } => {
                ctx.state_mut(|workflow| {
                    if let Some(open) = &mut workflow.desk_mut().gate {
                        open.history.push(format!(
                            "{} level {} timed out (due {}), level {} until {}",
                            now(ctx),
                            gate.level,
                            gate.deadline,
                            next.level,
                            next.deadline
                        ));
                        open.view = next.clone();
                    }
                });
                left = time_left(now(ctx), next.deadline);
                gate = next;
            }
            other => return settle(ctx, other),
        }
    }
}

fn time_left(now: Timestamp, deadline: Timestamp) -> Duration {
    Duration::try_from(deadline.duration_since(now)).unwrap_or_default().max(Duration::from_millis(1))
}

/// The gate's step: what stands behind the slash of its id.
fn step_of(gate: &GateView) -> &str {
    gate.gate_id.split_once('#').and_then(|(_, rest)| rest.split_once('/')).map_or("gate", |(_, step)| step)
}

fn settled_here<W: Blueprint>(ctx: &WorkflowContext<W>) -> Option<Settled> {
    ctx.state(|workflow| workflow.desk().gate.as_ref().and_then(|gate| gate.settled.clone()))
}

fn settle<W: Blueprint>(ctx: &WorkflowContext<W>, answer: Answer) -> Flow<Settled> {
    let settled = match answer {
        Answer::Settled { settled } => settled,
        Answer::TimedOut { level } => Settled {
            status: "timeout".to_owned(),
            by: String::new(),
            reason: Some(format!("nobody decided within level {level}")),
        },
        other => return Err(fail(format!("the log settled a gate with {other:?}"))),
    };
    ctx.state_mut(|workflow| {
        if let Some(gate) = &mut workflow.desk_mut().gate {
            gate.history.push(format!("{} {}", now(ctx), settled.status));
            gate.settled = Some(settled.clone());
        }
    });
    Ok(settled)
}

/// Asks in the channel, and pages each level that the policy wants paged. No vendor's absence stops the clock.
async fn messenger<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: GateView,
    until: WorkflowCancellationToken,
) -> Flow<Vec<String>> {
    let ctx = run.ctx;
    let mut pages = Vec::new();
    let mut level = 0;
    let mut current = gate;
    loop {
        if current.level != level {
            level = current.level;
            if level == 1
                || ctx.state(|workflow| {
                    workflow.desk().gate.as_ref().is_some_and(|gate| gate.message.is_none())
                })
            {
                ask(run, plan, &current, until.clone()).await?;
            } else {
                remind(run, plan, &current, until.clone()).await?;
            }
            if current.page && !until.is_cancelled() {
                pages.extend(page(run, plan, &current, until.clone()).await?);
            }
        }
        let known = level;
        ctx.wait_condition_with_options(
            move |workflow: &W| {
                workflow
                    .desk()
                    .gate
                    .as_ref()
                    .is_none_or(|gate| gate.settled.is_some() || gate.view.level != known)
            },
            detached(),
        )
        .await
        .map_err(|error| fail(error.to_string()))?;
        let next = ctx.state(|workflow| {
            workflow.desk().gate.as_ref().filter(|gate| gate.settled.is_none()).map(|gate| gate.view.clone())
        });
        match next {
            Some(view) => current = view,
            None => return Ok(pages),
        }
    }
}

async fn ask<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: &GateView,
    until: WorkflowCancellationToken,
) -> Flow<()> {
    let notice = Notice {
        channel: run.link("slackChannel"),
        headline: plan.action.clone(),
        lines: plan.lines.clone(),
        output: None,
        pin: false,
        ask: Some(Ask::Decide(Box::new(gate.clone()))),
    };
    // A level that asks because the one before could not is a step of its own.
    let step = match gate.level {
        1 => format!("{}/ask", plan.step),
        level => format!("{}/ask-{level}", plan.step),
    };
    let posted =
        run.effect_until(crate::contracts::ChannelPost, &step, capability::SLACK, notice, until).await?;
    if let Ok(reply) = posted {
        run.ctx.state_mut(|workflow| {
            if let Some(open) = &mut workflow.desk_mut().gate {
                open.message = reply.links.get("slackMessageTs").cloned();
            }
        });
    }
    Ok(())
}

async fn remind<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: &GateView,
    until: WorkflowCancellationToken,
) -> Flow<()> {
    let notice = Notice {
        channel: run.link("slackChannel"),
        headline: format!("Escalated to {}: {}", gate.required_roles.join(" or "), plan.action),
        lines: vec![format!("Nobody decided at level {}. Decide until {}.", gate.level - 1, gate.deadline)],
        output: None,
        pin: false,
        ask: None,
    };
    let step = format!("{}/escalate-{}", plan.step, gate.level);
    run.effect_until(crate::contracts::ChannelPost, &step, capability::SLACK, notice, until).await.map(drop)
}

async fn page<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: &GateView,
    until: WorkflowCancellationToken,
) -> Flow<Option<String>> {
    let draft = PagingDraft {
        title: format!("{}: approval needed: {}", run.scope.incident, plan.action),
        details: format!(
            "{}\nWho may decide: {}. Until {}.",
            plan.reason,
            gate.required_roles.join(" or "),
            gate.deadline
        ),
        severity: run.incident.severity.as_str_name().to_owned(),
        page: Some(format!("{}/{}", gate.gate_id, gate.level)),
    };
    let step = format!("{}/page-{}", plan.step, gate.level);
    let paged = run.effect_until(PagingOpen, &step, capability::PAGERDUTY, draft, until).await?;
    Ok(paged.ok().filter(|reply| reply.skipped.is_none()).map(|reply| reply.external_ref))
}

/// Takes the buttons away, says what was decided, and ends the pages.
async fn tell<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    settled: &Settled,
    pages: Vec<String>,
) -> Flow<()> {
    let (channel, message) = run.ctx.state(|workflow| {
        workflow
            .desk()
            .gate
            .as_ref()
            .map(|gate| (gate.channel.clone(), gate.message.clone()))
            .unwrap_or_default()
    });
    if let (Some(channel), Some(ts)) = (channel, message) {
        let outcome = match settled.status.as_str() {
            "approved" => format!("Approved by {}", settled.by),
            "rejected" => format!("Rejected by {}", settled.by),
            "timeout" => "Nobody decided in time: not done".to_owned(),
            _ => "Cancelled: nobody needs to decide this any more".to_owned(),
        };
        let mut lines = plan.lines.clone();
        lines.extend(settled.reason.clone());
        let settle = Settle { channel, ts, headline: format!("{outcome}: {}", plan.action), lines };
        let step = format!("{}/settle", plan.step);
        drop(run.effect(ChannelSettle, &step, capability::SLACK, settle).await?);
    }
    for (index, id) in pages.into_iter().enumerate() {
        let step = format!("{}/unpage-{}", plan.step, index + 1);
        drop(run.effect(PagingResolve, &step, capability::PAGERDUTY, ExternalRef { id }).await?);
    }
    Ok(())
}

/// A wait that goes on while the run is being stopped.
fn detached() -> WaitConditionOptions {
    WaitConditionOptions::builder().cancellation_token(WorkflowCancellationToken::new()).build()
}

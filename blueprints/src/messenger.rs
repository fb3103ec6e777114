//! The messenger beside a gate: asks in the channel, pages, and says what came of it.
//!
//! No vendor's absence stops the clock: asking and paging go on side by side, both end with their level, and where the
//! channel has not taken the question within 10 s, a P1 or P2 is paged all the same. Pages are ended by their own key,
//! so that one is found even where nobody heard how paging it ended.

use std::{pin::pin, time::Duration};

use harmony_incidents::{
    command::{GateView, Settled},
    log::Severity,
    policy::GateKind,
};
use temporalio_workflow::{
    CancellableFuture, TimerOptions, WorkflowCancellationToken, WorkflowContext,
    workflows::{join, select},
};

use crate::{
    contracts::{
        Ask, ChannelPost, ChannelSettle, Notice, PagingDraft, PagingOpen, PagingRef, PagingResolve, Settle,
        capability,
    },
    desk::Blueprint,
    gate::{Plan, detached, stage},
    messages::severity_word,
    run::{Flow, Run, fail},
};

/// How long the channel may take to ask before those who may decide are paged instead.
const CHANNEL_PATIENCE: Duration = Duration::from_secs(10);

/// Asks and pages, level by level, until the gate is settled; tells which levels were paged.
pub(crate) async fn messenger<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: GateView,
) -> Flow<Vec<String>> {
    let mut pages = Vec::new();
    let mut before: Option<GateView> = None;
    let mut current = gate;
    loop {
        let over = WorkflowCancellationToken::new();
        let watching = async {
            let next = next_stage(run.ctx, &current).await;
            over.cancel();
            next
        };
        let (asked, paged, next) = join!(
            put(run, plan, &current, before.as_ref(), over.clone()),
            alarm(run, plan, &current, over.clone()),
            watching
        );
        asked?;
        if paged? {
            pages.push(level_name(&current));
        }
        match next? {
            Some(view) => before = Some(std::mem::replace(&mut current, view)),
            None => return Ok(pages),
        }
    }
}

/// Waits until the gate is at another level or under another plan; `None` once it is settled.
async fn next_stage<W: Blueprint>(ctx: &WorkflowContext<W>, current: &GateView) -> Flow<Option<GateView>> {
    let known = stage(current);
    ctx.wait_condition_with_options(
        move |workflow: &W| {
            let gate = workflow.desk().gate.as_ref();
            gate.is_none_or(|gate| gate.settled.is_some() || stage(&gate.view) != known)
        },
        detached(),
    )
    .await
    .map_err(|error| fail(error.to_string()))?;
    Ok(ctx.state(|workflow| {
        workflow.desk().gate.as_ref().filter(|gate| gate.settled.is_none()).map(|gate| gate.view.clone())
    }))
}

/// Puts the question to those whose level it is.
async fn put<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: &GateView,
    before: Option<&GateView>,
    over: WorkflowCancellationToken,
) -> Flow<()> {
    let message = message_of(run);
    match before {
        Some(before) if message.is_some() && before.plan == gate.plan => remind(run, plan, gate, over).await,
        Some(_) if message.is_some() => ask_again(run, plan, gate, message, over).await,
        _ => ask(run, plan, gate, over).await,
    }
}

fn message_of<W: Blueprint>(run: &Run<'_, W>) -> Option<String> {
    run.ctx.state(|workflow| workflow.desk().gate.as_ref().and_then(|gate| gate.message.clone()))
}

/// Pages the level where the policy wants it, or where the channel is silent. Tells whether there may be a page.
async fn alarm<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: &GateView,
    over: WorkflowCancellationToken,
) -> Flow<bool> {
    if gate.page || (is_pressing(run, plan, gate) && channel_is_silent(run, &over).await) {
        return page(run, plan, gate, over).await;
    }
    Ok(false)
}

/// Only the first level of an urgent gate of a P1 or P2; the levels above have their own rule.
fn is_pressing<W: Blueprint>(run: &Run<'_, W>, plan: &Plan, gate: &GateView) -> bool {
    let urgent = match plan.kind {
        GateKind::Remediate | GateKind::StatusPage | GateKind::UnknownCell => true,
        GateKind::CloseOut | GateKind::ArchiveChannel | GateKind::PublishReview => false,
    };
    urgent && gate.level == 1 && matches!(severity(run, gate), Severity::P1 | Severity::P2)
}

fn severity<W: Blueprint>(run: &Run<'_, W>, gate: &GateView) -> Severity {
    match gate.severity {
        Severity::Unspecified => run.incident.severity,
        known => known,
    }
}

/// Whether the channel has not taken the question in its time, and the level still runs.
async fn channel_is_silent<W: Blueprint>(run: &Run<'_, W>, over: &WorkflowCancellationToken) -> bool {
    let mut timer = pin!(
        run.ctx.timer(
            TimerOptions::builder(CHANNEL_PATIENCE)
                .summary("for the channel to take the question".to_owned())
                .cancellation_token(WorkflowCancellationToken::new())
                .build(),
        )
    );
    let mut asked = pin!(run.ctx.wait_condition_with_options(
        |workflow: &W| {
            let gate = workflow.desk().gate.as_ref();
            gate.is_none_or(|gate| gate.settled.is_some() || gate.message.is_some())
        },
        detached(),
    ));
    let mut ended = pin!(over.cancelled());
    let silent = select! {
        _ = asked => false,
        _ = ended => false,
        _ = timer => true,
    };
    if !silent {
        timer.cancel();
    }
    silent
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
    // A level that asks because the one before could not, or because of another plan, is a step of its own.
    let step = match stage(gate) {
        (0, 1) => format!("{}/ask", plan.step),
        _ => format!("{}/ask-{}", plan.step, stage_name(gate)),
    };
    let posted = run.effect_until(ChannelPost, &step, capability::SLACK, notice, until).await?;
    if let Ok(reply) = posted
        && reply.links.contains_key("slackMessageTs")
    {
        run.ctx.state_mut(|workflow| {
            if let Some(open) = &mut workflow.desk_mut().gate {
                open.message = reply.links.get("slackMessageTs").cloned();
            }
        });
    }
    Ok(())
}

/// Asks those whom the new severity names, and takes the buttons from the message that asked before.
async fn ask_again<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: &GateView,
    message: Option<String>,
    until: WorkflowCancellationToken,
) -> Flow<()> {
    ask(run, plan, gate, until.clone()).await?;
    let (channel, present) = run.ctx.state(|workflow| {
        let open = workflow.desk().gate.as_ref();
        open.map(|open| (open.channel.clone(), open.message.clone())).unwrap_or_default()
    });
    if let (Some(channel), Some(ts)) = (channel, message)
        && present.as_ref() != Some(&ts)
    {
        let word = severity_word(gate.severity);
        let headline = format!("Severity is {word} now, asked again below: {}", plan.action);
        let settle = Settle { channel, ts, headline, lines: plan.lines.clone() };
        let step = format!("{}/asked-again-{}", plan.step, gate.plan);
        drop(run.effect_until(ChannelSettle, &step, capability::SLACK, settle, until).await?);
    }
    Ok(())
}

async fn remind<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: &GateView,
    until: WorkflowCancellationToken,
) -> Flow<()> {
    let why = if gate.escalated_by.is_empty() {
        format!("Nobody decided at level {}.", gate.level - 1)
    } else {
        format!("{} passed it on.", gate.escalated_by)
    };
    let notice = Notice {
        channel: run.link("slackChannel"),
        headline: format!("Escalated to {}: {}", gate.required_roles.join(" or "), plan.action),
        lines: vec![format!("{why} Decide until {}.", gate.deadline)],
        output: None,
        pin: false,
        ask: None,
    };
    let step = format!("{}/escalate-{}", plan.step, stage_name(gate));
    run.effect_until(ChannelPost, &step, capability::SLACK, notice, until).await.map(drop)
}

async fn page<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: &GateView,
    until: WorkflowCancellationToken,
) -> Flow<bool> {
    let draft = PagingDraft {
        link: None,
        title: format!("{}: approval needed: {}", run.scope.incident, plan.action),
        details: format!(
            "{}\nWho may decide: {}. Until {}.",
            plan.reason,
            gate.required_roles.join(" or "),
            gate.deadline
        ),
        severity: severity_word(severity(run, gate)).to_owned(),
        page: Some(level_name(gate)),
    };
    let step = format!("{}/page-{}", plan.step, stage_name(gate));
    let paged = run.effect_until(PagingOpen, &step, capability::PAGERDUTY, draft, until).await?;
    // Where nobody heard how it ended there may be a page.
    Ok(paged.map_or(true, |reply| reply.skipped.is_none()))
}

/// Those above are paged when somebody approves without them. The page stays until they have looked.
async fn page_about_broken_glass<W: Blueprint>(run: &Run<'_, W>, plan: &Plan, settled: &Settled) -> Flow<()> {
    let view = run.ctx.state(|workflow| workflow.desk().gate.as_ref().map(|gate| gate.view.clone()));
    let Some(gate) = view.filter(|_| settled.break_glass) else { return Ok(()) };
    let level = if gate.escalates { gate.level + 1 } else { gate.level };
    let draft = PagingDraft {
        link: None,
        title: format!("{}: EMERGENCY_OVERRIDE by {}: {}", run.scope.incident, settled.by, plan.action),
        details: format!(
            "Approved without level {level}: {}",
            settled.reason.as_deref().unwrap_or("no reason on record here")
        ),
        severity: run.incident.severity.as_str_name().to_owned(),
        page: Some(format!("{}/break-glass", gate.gate_id)),
    };
    let step = format!("{}/page-break-glass", plan.step);
    run.effect(PagingOpen, &step, capability::PAGERDUTY, draft).await.map(drop)
}

/// Takes the buttons away, says what was decided, and ends the pages.
pub(crate) async fn tell<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    settled: &Settled,
    pages: Vec<String>,
) -> Flow<()> {
    let alarmed = page_about_broken_glass(run, plan, settled);
    let (alarmed, settled) = join!(alarmed, settle_message(run, plan, settled));
    alarmed?;
    settled?;
    for (index, level) in pages.into_iter().enumerate() {
        let step = format!("{}/unpage-{}", plan.step, index + 1);
        drop(run.effect(PagingResolve, &step, capability::PAGERDUTY, PagingRef::Page { level }).await?);
    }
    Ok(())
}

async fn settle_message<W: Blueprint>(run: &Run<'_, W>, plan: &Plan, settled: &Settled) -> Flow<()> {
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
            "approved" if settled.break_glass => {
                format!("Approved by {} under EMERGENCY_OVERRIDE (break-glass)", settled.by)
            }
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
    Ok(())
}

/// The page of a level: its key at whoever pages.
fn level_name(gate: &GateView) -> String {
    format!("{}/{}", gate.gate_id, stage_name(gate))
}

/// The name of a stage within a step; a gate that was never planned again has only levels.
fn stage_name(gate: &GateView) -> String {
    match stage(gate) {
        (0, level) => level.to_string(),
        (plan, level) => format!("{plan}-{level}"),
    }
}

//! The notifications of a gate, beside it: asks in the channel, reminds, pages, and says what came of it.
//!
//! No vendor's absence stops the clock: asking and paging go on side by side, both end with their level, and where the
//! channel has not taken the question within 10 s, a P1 or P2 is paged all the same. Pages are ended by their own key,
//! so that one is found even where nobody heard how paging it ended. A gate is asked once: a level after the first is
//! told, half of a level's time reminds, and an approval that needs others changes the message that is there. What an
//! earlier run of the attempt has said stands in the log and is not said again.

use std::{cell::Cell, collections::BTreeMap, pin::pin, time::Duration};

use harmony_incidents::{
    GateStatus, LinkName,
    command::{GateView, Settled},
    log::Severity,
};
use jiff::SignedDuration;
use temporalio_workflow::{
    CancellableFuture, TimerOptions, WorkflowCancellationToken, WorkflowContext,
    workflows::{join, select},
};

use crate::{
    contracts::{
        Ask, ChannelPost, ChannelSettle, Notice, PagingDraft, PagingOpen, PagingRef, PagingResolve, Settle,
        capability, people, person,
    },
    decision_inbox::detached,
    gate::{Plan, Stage, stage},
    messages::severity_word,
    revision,
    run::{Flow, Run, fail, now},
    workflow_state::{Blueprint, Gate},
};

/// How long the channel may take to ask before those who may decide are paged instead.
const CHANNEL_PATIENCE: Duration = Duration::from_secs(10);

/// What an earlier run of this attempt has done for its gate: it is not done again.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The gate's own step, and a slash.
    prefix: String,
    /// Steps that succeeded, and what the vendor calls what they made.
    steps: BTreeMap<String, String>,
}

impl Told {
    /// What is on record of the gate of this step.
    pub(crate) fn of(step: &str, steps: BTreeMap<String, String>) -> Self {
        Self { prefix: format!("{step}/"), steps }
    }

    /// The message that asks.
    pub(crate) fn message(&self) -> Option<String> {
        self.asked().map(|(_, message)| message)
    }

    /// The stage that was asked last, and the message that did.
    fn asked(&self) -> Option<(Stage, String)> {
        let asked = self.steps.iter().filter_map(|(step, message)| {
            let name = step.strip_prefix(&self.prefix)?.strip_prefix("ask")?;
            let stage = if name.is_empty() { (0, 1) } else { stage_of(name.strip_prefix('-')?)? };
            Some((stage, message.clone()))
        });
        asked.max()
    }

    /// The stages that were paged and whose page did not end.
    pub(crate) fn pages(&self) -> Vec<String> {
        let name = |step: &str| step.strip_prefix(&self.prefix)?.strip_prefix("page-").map(str::to_owned);
        let paged = self.steps.keys().filter_map(|step| name(step)).filter(|stage| stage_of(stage).is_some());
        paged.filter(|stage| !self.has(&format!("{}unpage-{stage}", self.prefix))).collect()
    }

    fn has(&self, step: &str) -> bool {
        self.steps.contains_key(step)
    }
}

/// Asks, reminds and pages, level by level, until the gate is settled; tells which stages are still paged.
pub(crate) async fn notify<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: GateView,
    told: Told,
) -> Flow<Vec<String>> {
    let mut pages = told.pages();
    let mut before = told.asked().map(|(stage, _)| stage);
    let shown = Cell::new(gate.approvals.len());
    let mut current = gate;
    loop {
        let stage = stage(&current);
        let over = WorkflowCancellationToken::new();
        let watching = async {
            let next = next_stage(run.ctx, &current).await;
            over.cancel();
            next
        };
        let ended: Vec<String> = pages.extract_if(.., |page| *page != stage_name(stage)).collect();
        let unpaging =
            if run.follows(revision::TOLD_BESIDE) { over.clone() } else { WorkflowCancellationToken::new() };
        let (put, paged, unpaged, tallied, reminded, next) = join!(
            put(run, plan, &current, before, &told, over.clone()),
            alarm(run, plan, &current, &told, over.clone()),
            unpage(run, plan, &current.gate_id, ended, &unpaging),
            tally(run, plan, &current, &shown, over.clone()),
            remind(run, plan, &current, &told, over.clone()),
            watching
        );
        put?;
        // Given up with the level; they end with the next, or with what is told at last.
        pages.extend(unpaged?);
        tallied?;
        reminded?;
        if paged? && !pages.contains(&stage_name(stage)) {
            pages.push(stage_name(stage));
        }
        before = Some(stage);
        match next? {
            Some(view) => current = view,
            None => return Ok(pages),
        }
    }
}

/// Waits until the gate is at another level or under another plan; `None` once it is settled or left.
async fn next_stage<W: Blueprint>(ctx: &WorkflowContext<W>, current: &GateView) -> Flow<Option<GateView>> {
    let known = stage(current);
    ctx.wait_condition_with_options(
        move |workflow: &W| {
            let own = workflow.own();
            let moved = |gate: &Gate| gate.settled.is_some() || stage(&gate.view) != known;
            own.left || own.gate.as_ref().is_none_or(moved)
        },
        detached(),
    )
    .await
    .map_err(|error| fail(error.to_string()))?;
    Ok(view_of(ctx))
}

/// Puts the question to those whose level it is, once.
async fn put<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: &GateView,
    before: Option<Stage>,
    told: &Told,
    over: WorkflowCancellationToken,
) -> Flow<()> {
    let message = message_of(run);
    match before {
        Some(asked) if message.is_some() && asked == stage(gate) => Ok(()),
        Some((asked, _)) if message.is_some() && asked == gate.plan => {
            pass_on(run, plan, gate, told, over).await
        }
        Some(_) if message.is_some() => ask_again(run, plan, gate, message, over).await,
        _ => ask(run, plan, gate, over).await,
    }
}

fn message_of<W: Blueprint>(run: &Run<'_, W>) -> Option<String> {
    run.ctx.state(|workflow| workflow.own().gate.as_ref().and_then(|gate| gate.message.clone()))
}

/// Pages the level where the policy wants it, or where the channel is silent. Tells whether there may be a page.
async fn alarm<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: &GateView,
    told: &Told,
    over: WorkflowCancellationToken,
) -> Flow<bool> {
    if told.has(&page_step(plan, stage(gate))) {
        return Ok(true);
    }
    if gate.page || (is_pressing(run, plan, gate) && channel_is_silent(run, &over).await) {
        return page(run, plan, gate, over).await;
    }
    Ok(false)
}

/// Only the first level of an urgent gate of a P1 or P2; the levels above have their own rule.
fn is_pressing<W: Blueprint>(run: &Run<'_, W>, plan: &Plan, gate: &GateView) -> bool {
    plan.kind.is_urgent() && gate.level == 1 && matches!(severity(run, gate), Severity::P1 | Severity::P2)
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
            let gate = workflow.own().gate.as_ref();
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
        channel: run.link(LinkName::SlackChannel),
        headline: plan.action.clone(),
        lines: plan.lines.clone(),
        output: None,
        pin: false,
        ask: Some(Ask::Decide(Box::new(gate.clone()))),
    };
    // A level that asks because the one before could not, or because of another plan, is a step of its own.
    let step = match stage(gate) {
        (0, 1) => format!("{}/ask", plan.step),
        stage => format!("{}/ask-{}", plan.step, stage_name(stage)),
    };
    let posted = run.effect_until(ChannelPost, &step, capability::SLACK, notice, until).await?;
    if let Ok(reply) = posted
        && reply.links.contains_key(LinkName::SlackMessageTs.name())
    {
        run.ctx.state_mut(|workflow| {
            if let Some(open) = &mut workflow.own_mut().gate {
                open.message = reply.links.get(LinkName::SlackMessageTs.name()).cloned();
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
        let open = workflow.own().gate.as_ref();
        open.map(|open| (open.channel.clone(), open.message.clone())).unwrap_or_default()
    });
    if let (Some(channel), Some(ts)) = (channel, message)
        && present.as_ref() != Some(&ts)
    {
        let word = severity_word(gate.severity);
        let headline = format!("Severity is {word} now, asked again below: {}", plan.action);
        let settle = Settle { channel, ts, headline, lines: plan.lines.clone(), ask: None };
        let step = format!("{}/asked-again-{}", plan.step, gate.plan);
        drop(run.effect_until(ChannelSettle, &step, capability::SLACK, settle, until).await?);
    }
    Ok(())
}

/// Tells those above that it is theirs now.
async fn pass_on<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: &GateView,
    told: &Told,
    until: WorkflowCancellationToken,
) -> Flow<()> {
    let step = format!("{}/escalate-{}", plan.step, stage_name(stage(gate)));
    if told.has(&step) {
        return Ok(());
    }
    let why = if gate.escalated_by.is_empty() {
        format!("Nobody decided at level {}.", gate.level - 1)
    } else {
        format!("{} passed it on.", person(&gate.escalated_by))
    };
    let notice = Notice {
        channel: run.link(LinkName::SlackChannel),
        headline: format!("Escalated to {}: {}", gate.required_roles.join(" or "), plan.action),
        lines: vec![format!("{why} Decide until {}.", gate.deadline)],
        output: None,
        pin: false,
        ask: None,
    };
    run.effect_until(ChannelPost, &step, capability::SLACK, notice, until).await.map(drop)
}

/// Reminds those who may decide, once, at half of the level's time.
async fn remind<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: &GateView,
    told: &Told,
    over: WorkflowCancellationToken,
) -> Flow<()> {
    let step = format!("{}/remind-{}", plan.step, stage_name(stage(gate)));
    if !gate.remind || told.has(&step) {
        return Ok(());
    }
    let half = gate.deadline - SignedDuration::from_millis(gate.timeout_ms / 2);
    let left = Duration::try_from(half.duration_since(now(run.ctx))).unwrap_or_default();
    if ended_within(run.ctx, left, "half of the level's time", &over).await {
        return Ok(());
    }
    let Some(gate) = view_of(run.ctx) else { return Ok(()) };
    let notice = Notice {
        channel: run.link(LinkName::SlackChannel),
        headline: format!("Still to be decided: {}", plan.action),
        lines: Vec::new(),
        output: None,
        pin: false,
        ask: Some(Ask::Remind(Box::new(gate))),
    };
    run.effect_until(ChannelPost, &step, capability::SLACK, notice, over).await.map(drop)
}

/// Keeps the message that asks telling who has approved so far.
async fn tally<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: &GateView,
    shown: &Cell<usize>,
    over: WorkflowCancellationToken,
) -> Flow<()> {
    if gate.quorum < 2 {
        return Ok(());
    }
    let known = stage(gate);
    loop {
        let before = shown.get();
        let changed = run.ctx.wait_condition_with_options(
            move |workflow: &W| {
                let own = workflow.own();
                let changed = |gate: &Gate| {
                    gate.settled.is_some()
                        || stage(&gate.view) != known
                        || (gate.view.approvals.len() != before && gate.message.is_some())
                };
                own.left || own.gate.as_ref().is_none_or(changed)
            },
            detached(),
        );
        changed.await.map_err(|error| fail(error.to_string()))?;
        let Some(view) = view_of(run.ctx).filter(|view| stage(view) == known) else { return Ok(()) };
        shown.set(view.approvals.len());
        let place = run.ctx.state(|workflow| {
            let open = workflow.own().gate.as_ref()?;
            open.channel.clone().zip(open.message.clone())
        });
        let Some((channel, ts)) = place else { return Ok(()) };
        let step = format!("{}/approvals-{}-{}", plan.step, stage_name(known), view.approvals.len());
        let (headline, lines) = (plan.action.clone(), plan.lines.clone());
        let settle = Settle { channel, ts, headline, lines, ask: Some(Ask::Decide(Box::new(view))) };
        drop(run.effect_until(ChannelSettle, &step, capability::SLACK, settle, over.clone()).await?);
    }
}

/// The gate as it is now, while it waits.
fn view_of<W: Blueprint>(ctx: &WorkflowContext<W>) -> Option<GateView> {
    ctx.state(|workflow| {
        let own = workflow.own();
        let waits = own.gate.as_ref().filter(|gate| gate.settled.is_none() && !own.left);
        waits.map(|gate| gate.view.clone())
    })
}

/// Whether the level ended within this time.
async fn ended_within<W: Blueprint>(
    ctx: &WorkflowContext<W>,
    time: Duration,
    what: &str,
    over: &WorkflowCancellationToken,
) -> bool {
    let mut timer = pin!(
        ctx.timer(
            TimerOptions::builder(time.max(Duration::from_millis(1)))
                .summary(what.to_owned())
                .cancellation_token(WorkflowCancellationToken::new())
                .build(),
        )
    );
    let mut ended = pin!(over.cancelled());
    select! {
        _ = ended => {
            timer.cancel();
            true
        }
        _ = timer => false,
    }
}

async fn page<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: &GateView,
    until: WorkflowCancellationToken,
) -> Flow<bool> {
    let draft = PagingDraft {
        link: None,
        title: format!("{}: approval needed: {}", run.scope.stream, plan.action),
        details: format!(
            "{}\nWho may decide: {}. Until {}.",
            plan.reason,
            gate.required_roles.join(" or "),
            gate.deadline
        ),
        severity: severity_word(severity(run, gate)).to_owned(),
        page: Some(format!("{}/{}", gate.gate_id, stage_name(stage(gate)))),
        roles: gate.required_roles.clone(),
    };
    let step = page_step(plan, stage(gate));
    let paged = run.effect_until(PagingOpen, &step, capability::PAGERDUTY, draft, until).await?;
    // Where nobody heard how it ended there may be a page.
    Ok(paged.map_or(true, |reply| reply.skipped.is_none()))
}

/// What is told once a gate is settled, as things stood then: another gate may be open by the time it is told.
pub(crate) struct Announcement {
    pub(crate) settled: Settled,
    gate: Option<Gate>,
    /// The stages whose pages have not ended.
    pages: Vec<String>,
}

impl Announcement {
    /// Of the gate that is settled now.
    pub(crate) fn of<W: Blueprint>(ctx: &WorkflowContext<W>, settled: Settled, pages: Vec<String>) -> Self {
        Self { settled, gate: ctx.state(|workflow| workflow.own().gate.clone()), pages }
    }
}

/// Takes the buttons away, says what was decided, and ends the pages.
pub(crate) async fn tell<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    announcement: Announcement,
    until: &WorkflowCancellationToken,
) -> Flow<()> {
    let Announcement { settled, gate: Some(gate), pages } = announcement else { return Ok(()) };
    let alarmed = page_about_broken_glass(run, plan, &gate, &settled, until);
    let message = settle_message(run, plan, &gate, &settled, until);
    if run.follows(revision::TOLD_BESIDE) {
        // Nobody's page rings on because the channel is away.
        let unpaged = unpage(run, plan, &gate.view.gate_id, pages, until);
        let (alarmed, message, unpaged) = join!(alarmed, message, unpaged);
        return alarmed.and(message).and(unpaged.map(drop));
    }
    let (alarmed, message) = join!(alarmed, message);
    alarmed.and(message)?;
    unpage(run, plan, &gate.view.gate_id, pages, until).await.map(drop)
}

/// Those above are paged when somebody approves without them. The page stays until they have looked.
async fn page_about_broken_glass<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: &Gate,
    settled: &Settled,
    until: &WorkflowCancellationToken,
) -> Flow<()> {
    if !settled.break_glass {
        return Ok(());
    }
    let gate = gate.view.clone();
    let by = people(&settled.by);
    let level = if gate.escalates { gate.level + 1 } else { gate.level };
    let draft = PagingDraft {
        link: None,
        title: format!("{}: EMERGENCY_OVERRIDE by {}: {}", run.scope.stream, by, plan.action),
        details: format!(
            "Approved without level {level}: {}",
            settled.reason.as_deref().unwrap_or("no reason on record here")
        ),
        severity: run.incident.severity.as_str_name().to_owned(),
        page: Some(format!("{}/break-glass", gate.gate_id)),
        roles: if gate.escalates { gate.next_roles } else { gate.required_roles },
    };
    let step = format!("{}/page-break-glass", plan.step);
    run.effect_until(PagingOpen, &step, capability::PAGERDUTY, draft, until.clone()).await.map(drop)
}

/// Ends the pages of these stages; gives back those that were not ended because the token was cancelled.
async fn unpage<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate_id: &str,
    stages: Vec<String>,
    until: &WorkflowCancellationToken,
) -> Flow<Vec<String>> {
    let mut left = Vec::new();
    for stage in stages {
        let step = format!("{}/unpage-{stage}", plan.step);
        let page = PagingRef::Page { level: format!("{gate_id}/{stage}") };
        let ended =
            run.effect_until(PagingResolve, &step, capability::PAGERDUTY, page, until.clone()).await?;
        if ended.is_err() && until.is_cancelled() {
            left.push(stage);
        }
    }
    Ok(left)
}

async fn settle_message<W: Blueprint>(
    run: &Run<'_, W>,
    plan: &Plan,
    gate: &Gate,
    settled: &Settled,
    until: &WorkflowCancellationToken,
) -> Flow<()> {
    let (Some(channel), Some(ts)) = (gate.channel.clone(), gate.message.clone()) else { return Ok(()) };
    let by = people(&settled.by);
    let outcome = match settled.status {
        GateStatus::Approved if settled.break_glass => {
            format!("Approved by {by} under EMERGENCY_OVERRIDE (break-glass)")
        }
        GateStatus::Approved => format!("Approved by {by}"),
        GateStatus::Rejected => format!("Rejected by {by}"),
        GateStatus::Skipped => format!("Skipped by {by}"),
        GateStatus::Timeout => "Nobody decided in time: not done".to_owned(),
        GateStatus::Cancelled | GateStatus::Pending | GateStatus::Escalated | GateStatus::None => {
            "Cancelled: nobody needs to decide this any more".to_owned()
        }
    };
    let mut lines = plan.lines.clone();
    lines.extend(settled.reason.clone());
    let headline = format!("{outcome}: {}", plan.action);
    let settle = Settle { channel, ts, headline, lines, ask: None };
    let step = format!("{}/settle", plan.step);
    run.effect_until(ChannelSettle, &step, capability::SLACK, settle, until.clone()).await.map(drop)
}

fn page_step(plan: &Plan, stage: Stage) -> String {
    format!("{}/page-{}", plan.step, stage_name(stage))
}

/// The name of a stage within a step; a gate that was never planned again has only levels.
fn stage_name(stage: Stage) -> String {
    match stage {
        (0, level) => level.to_string(),
        (plan, level) => format!("{plan}-{level}"),
    }
}

/// The stage of this name.
fn stage_of(name: &str) -> Option<Stage> {
    match name.split_once('-') {
        None => Some((0, name.parse().ok()?)),
        Some((plan, level)) => Some((plan.parse().ok()?, level.parse().ok()?)),
    }
}

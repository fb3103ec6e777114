//! `incident.updates`: the update clock. It starts with the incident and ends with it.
//!
//! What is due when is a pure function of the incident and the policy (`harmony_incidents::clock`). The run waits for the
//! first of it; a wake-up (an update, another severity, a commander, the end) makes it look again. When something is due,
//! the log has the last word: what somebody did in the meantime is not told as missing. What passed while every worker was
//! down is recorded and told once, with the time when it was due.
//!
//! Telling goes on beside the clock, so that no vendor's absence stops it.

use std::{pin::pin, time::Duration};

use harmony_incidents::{
    Answer, Command,
    clock::{Alarm, Due, Objective},
    sentence,
};
use jiff::Timestamp;
use temporalio_workflow::{
    CancellableFuture, TimerOptions, WorkflowCancellationToken, WorkflowContext,
    common::data_converters::RawValue, workflows::select,
};

use crate::{
    contracts::{
        Ask, ClockLook, ClockReply, ClockRequest, Notice, Offer, PagingDraft, PagingOpen, PagingRef,
        PagingResolve, capability,
    },
    gate::{quiet_before, time_left, wakes},
    messages::{Status, UpdatesInput, UpdatesResult},
    run::{Begun, Flow, Run, begin, fail, input, now, patiently},
    workflow_state::{Blueprint, blueprint},
};

/// What names the page that is sent because nobody commands.
const COMMANDER_PAGE: &str = "commander";
/// Who is called when nobody commands.
const ON_CALL: [&str; 2] = ["sre-oncall", "incident-commander"];
/// How soon it looks again where the log did not agree that something is due.
const DISAGREED: Duration = Duration::from_secs(1);

blueprint!(
    /// The workflow `incident.updates`.
    IncidentUpdates, "incident.updates", flow
);

async fn flow<W: Blueprint>(ctx: &WorkflowContext<W>, raw: RawValue) -> Flow {
    let (common, _, given) = input::<W, UpdatesInput>(ctx, &raw)?;
    let run = match begin(ctx, common, given, None, None).await? {
        Begun::Started(run) => run,
        Begun::Refused(run, reason) => return end(&run, Status::Refused, Some(reason), 0).await,
    };
    let mut told = 0;
    let mut unpaged = false;
    let status = loop {
        let seen = wakes(&run);
        let look = look(&run).await?;
        if look.commander_paged && !unpaged && (look.commander.is_some() || look.over) {
            unpaged = true;
            unpage(&run);
        }
        if look.over {
            break Status::Completed;
        }
        if run.is_stopped() {
            break Status::Cancelled;
        }
        match look.next {
            Some(due) if due.at <= now(ctx) => {
                if ring(&run, due).await? {
                    told += 1;
                } else {
                    wait(&run, seen, Some(now(ctx) + DISAGREED)).await?;
                }
            }
            next => wait(&run, seen, next.map(|due| due.at)).await?,
        }
    };
    end(&run, status, None, told).await
}

async fn look<W: Blueprint>(run: &Run<'_, W>) -> Flow<ClockReply> {
    patiently(run.ctx, ClockLook, &ClockRequest { scope: run.at("look") }).await
}

/// Waits for a wake-up, a stop, or this time. A history that has grown long is left behind here.
async fn wait<W: Blueprint>(run: &Run<'_, W>, seen: u32, until: Option<Timestamp>) -> Flow<()> {
    let ctx = run.ctx;
    if ctx.continue_as_new_suggested() && quiet_before(run, until.unwrap_or(Timestamp::MAX)).await {
        ctx.state_mut(|workflow| workflow.own_mut().left = true);
        return Err(fail("the run goes on as a new one"));
    }
    let mut change = pin!(ctx.wait_condition(move |workflow: &W| workflow.own().wakes != seen));
    let Some(until) = until else {
        drop(change.await);
        return Ok(());
    };
    let mut timer = pin!(
        ctx.timer(
            TimerOptions::builder(time_left(now(ctx), until))
                .summary("until something is due".to_owned())
                .cancellation_token(WorkflowCancellationToken::new())
                .build(),
        )
    );
    let fired = select! {
        _ = change => false,
        _ = timer => true,
    };
    if !fired {
        timer.cancel();
    }
    Ok(())
}

/// Puts on record that something is due, and tells of it. Whether it was due.
async fn ring<W: Blueprint>(run: &Run<'_, W>, due: Due) -> Flow<bool> {
    let step = format!("{}/{}", due.alarm.name(), due.at.as_microsecond());
    let answer =
        run.append(&step, Command::Alarm { due }).await?.map_err(|refusal| fail(refusal.to_string()))?;
    if answer != Answer::Recorded {
        return Ok(false);
    }
    // The channel may be there by now, and a commander.
    let look = look(run).await?;
    run.beside(async move |run, over| tell(run, due, &step, look, over).await);
    Ok(true)
}

async fn tell<W: Blueprint>(
    run: &Run<'_, W>,
    due: Due,
    step: &str,
    look: ClockReply,
    over: WorkflowCancellationToken,
) -> Flow<()> {
    let at = sentence::moment(due.at.as_microsecond());
    let late = now(run.ctx).duration_since(due.at).as_secs() > 60;
    let told_late = if late { format!("It was due {at}; nobody could tell earlier.") } else { String::new() };
    let notice = |headline: &str, call: Ask| Notice {
        channel: look.channel.clone(),
        ask: Some(call),
        ..Notice::plain(headline, vec![told_late.clone()])
    };
    let commander = |offer: Option<Offer>| Ask::Call {
        principals: look.commander.iter().cloned().collect(),
        roles: if look.commander.is_none() { on_call() } else { Vec::new() },
        offer,
    };
    let notice = match due.alarm {
        Alarm::Update => notice("Time for an update: how does it go on?", commander(Some(Offer::Update))),
        Alarm::Commander => notice(
            "Nobody commands this incident: who takes command?",
            Ask::Call { principals: Vec::new(), roles: on_call(), offer: Some(Offer::Command) },
        ),
        Alarm::Objective(objective) => {
            let headline = format!("Objective missed: {}", objective.name().replace('-', " "));
            let offer = match objective {
                Objective::FirstUpdate => Some(Offer::Update),
                Objective::Acknowledge => Some(Offer::Command),
                Objective::Mitigate | Objective::Resolve => None,
            };
            notice(&headline, commander(offer))
        }
        // Whoever was reminded knows.
        Alarm::Overdue => return Ok(()),
        Alarm::CommanderPage => return page(run, look, over).await,
    };
    run.notice_until(&format!("tell/{step}"), notice, over).await.map(drop)
}

fn on_call() -> Vec<String> {
    ON_CALL.map(str::to_owned).to_vec()
}

async fn page<W: Blueprint>(run: &Run<'_, W>, look: ClockReply, over: WorkflowCancellationToken) -> Flow<()> {
    if look.drill {
        return run.skip("commander-page", capability::PAGERDUTY, "a drill pages nobody").await;
    }
    let draft = PagingDraft {
        link: None,
        title: format!("Nobody commands {}: {}", run.scope.stream, look.title),
        details: format!("{} needs somebody who takes command.", look.severity),
        severity: look.severity,
        page: Some(COMMANDER_PAGE.to_owned()),
        roles: on_call(),
    };
    run.effect_until(PagingOpen, "commander-page", capability::PAGERDUTY, draft, over).await.map(drop)
}

/// Somebody commands now, or the incident is over: the page ends.
fn unpage<W: Blueprint>(run: &Run<'_, W>) {
    run.beside(async |run, over| {
        let page = PagingRef::Page { level: COMMANDER_PAGE.to_owned() };
        run.effect_until(PagingResolve, "commander-unpage", capability::PAGERDUTY, page, over).await.map(drop)
    });
}

async fn end<W: Blueprint>(run: &Run<'_, W>, status: Status, reason: Option<String>, told: u32) -> Flow {
    run.all_told().await?;
    let result = UpdatesResult { status, reason: reason.clone(), told, warnings: run.warnings() };
    run.complete(status, reason.as_deref(), &result).await
}

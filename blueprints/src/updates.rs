//! `incident.updates`: the update clock. It starts with the incident and ends with it.
//!
//! What is due when is a pure function of the incident and the policy (`harmony_incidents::clock`). The run waits for the
//! first of it; a wake-up (an update, another severity, a commander, the end) makes it look again. When something is due,
//! the log has the last word: what somebody did in the meantime is not told as missing. What passed while every worker was
//! down is recorded and told once, with the time when it was due.
//!
//! Telling goes on beside the clock, so that no vendor's absence stops it.

use std::{cell::RefCell, pin::pin, rc::Rc, time::Duration};

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
        Ask, ChannelSettle, ClockLook, ClockReply, ClockRequest, Notice, Offer, PagingDraft, PagingOpen,
        PagingRef, PagingResolve, Settle, capability, person,
    },
    gate::{quiet_before, time_left, wakes},
    messages::{Status, UpdatesInput, UpdatesResult},
    revision,
    run::{Begun, Flow, Run, begin, fail, input, now, patiently},
    workflow_state::{Blueprint, blueprint},
};

/// What names the page that is sent because nobody commands.
const COMMANDER_PAGE: &str = "commander";
/// Who is called when nobody commands.
const ON_CALL: [&str; 2] = ["sre-oncall", "incident-commander"];
/// How soon it looks again where the log did not agree that something is due.
const DISAGREED: Duration = Duration::from_secs(1);

/// A message that offers something nobody has done yet. A run that is left behind with its long history leaves them as
/// they are.
struct Reminder {
    offer: Offer,
    /// When it was due, in microseconds since 1970.
    due_us: i64,
    channel: String,
    ts: String,
    headline: String,
    /// The step that posted it.
    step: String,
}

type Reminders = Rc<RefCell<Vec<Reminder>>>;

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
    let reminders = Reminders::default();
    let status = loop {
        let seen = wakes(&run);
        let look = look(&run).await?;
        take_buttons(&run, &reminders, &look);
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
                if ring(&run, due, &reminders).await? {
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
async fn ring<W: Blueprint>(run: &Run<'_, W>, due: Due, reminders: &Reminders) -> Flow<bool> {
    let step = format!("{}/{}", due.alarm.name(), due.at.as_microsecond());
    let answer =
        run.append(&step, Command::Alarm { due }).await?.map_err(|refusal| fail(refusal.to_string()))?;
    if answer != Answer::Recorded {
        return Ok(false);
    }
    // The channel may be there by now, and a commander.
    let look = look(run).await?;
    let reminders = Rc::clone(reminders);
    run.beside(async move |run, over| tell(run, due, &step, look, &reminders, over).await);
    Ok(true)
}

async fn tell<W: Blueprint>(
    run: &Run<'_, W>,
    due: Due,
    step: &str,
    look: ClockReply,
    reminders: &Reminders,
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
    let step = format!("tell/{step}");
    let (headline, offer) = (notice.headline.clone(), notice.ask.as_ref().and_then(offered));
    let posted = run.notice_until(&step, notice, over).await?;
    if let (Some(posted), Some(channel), Some(offer)) = (posted, look.channel, offer) {
        let ts = posted.external_ref;
        reminders.borrow_mut().push(Reminder {
            offer,
            due_us: due.at.as_microsecond(),
            channel,
            ts,
            headline,
            step,
        });
    }
    Ok(())
}

fn offered(ask: &Ask) -> Option<Offer> {
    match ask {
        Ask::Call { offer, .. } => *offer,
        _ => None,
    }
}

/// Takes the buttons from the reminders that were followed, and says by what.
fn take_buttons<W: Blueprint>(run: &Run<'_, W>, reminders: &Reminders, look: &ClockReply) {
    if !run.follows(revision::ANSWERED) {
        return;
    }
    for reminder in reminders.take() {
        let Some(said) = answer(&reminder, look) else {
            reminders.borrow_mut().push(reminder);
            continue;
        };
        let Reminder { channel, ts, headline, step, .. } = reminder;
        // Who is called in a headline stands there by name.
        let headline = format!("{headline} {said}");
        let settle = Settle { channel, ts, headline, lines: Vec::new(), ask: None };
        run.beside(async move |run, over| {
            let step = format!("{step}/answered");
            run.effect_until(ChannelSettle, &step, capability::SLACK, settle, over).await.map(drop)
        });
    }
}

/// What answered a reminder. The end of the incident does not: its channel is archived.
fn answer(reminder: &Reminder, look: &ClockReply) -> Option<String> {
    match reminder.offer {
        Offer::Update => (look.last_update_us > reminder.due_us).then(|| "An update was posted.".to_owned()),
        Offer::Command => {
            look.commander.as_deref().map(|commander| format!("{} commands.", person(commander)))
        }
    }
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

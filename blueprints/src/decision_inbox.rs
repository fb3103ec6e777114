//! The decision inbox: judges every decision that reaches a run, in the order of its arrival, from its beginning to its end.
//!
//! So early, late, repeated and malformed ones are answered too, and nothing wedges the workflow. Of a flood of
//! decisions that are refused, the log records some one by one and leaves the rest to be counted here: one record a
//! minute tells how many there were. What is kept in memory does not grow with the flood.

use std::{convert::Infallible, error::Error, pin::pin, time::Duration};

use futures_util::FutureExt;
use harmony_incidents::{Answer, Command, command::Verdict};
use jiff::{SignedDuration, Timestamp};
use temporalio_workflow::{
    CancellableFuture, TimerOptions, WaitConditionOptions, WorkflowCancellationToken, WorkflowContext,
    WorkflowTermination, common::data_converters::RawValue, workflows::select,
};

use crate::{
    background,
    contracts::{AppendRequest, ApprovalJudge, JudgeRequest, LogAppend, Scope},
    run::{Flow, fail, now, patiently},
    workflow_state::{Arrival, Blueprint},
};

/// Refusals are counted by the minute, as the log does.
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// Runs a flow beside the judging of decisions, and ends when the flow has and everybody was answered. A flow that left its
/// history behind goes on as a new run, with the same input.
pub(crate) async fn with_decisions<W: Blueprint>(
    ctx: &WorkflowContext<W>,
    input: RawValue,
    flow: impl Future<Output = Flow>,
) -> Result<serde_json::Value, WorkflowTermination> {
    let mut flow = pin!(
        async {
            let result = flow.await?;
            ctx.state_mut(|workflow| workflow.own_mut().closing = true);
            let handlers = ctx.clone();
            let answered = ctx.wait_condition_with_options(
                move |workflow: &W| workflow.own().is_answered() && handlers.all_handlers_finished(),
                detached(),
            );
            answered.await.map_err(|error| fail(error.to_string()))?;
            Ok(result)
        }
        .fuse()
    );
    let mut door = pin!(judge_arrivals(ctx).fuse());
    let mut beside = pin!(background::carry_out(ctx).fuse());
    let ended = select! {
        ended = door => match ended {
            Err(error) => Err(error),
            Ok(never) => match never {},
        },
        ended = flow => ended,
        // After the flow, so that what it starts is begun in the same turn.
        failed = beside => match failed {
            Err(error) => Err(error),
            Ok(never) => match never {},
        },
    };
    if ended.is_err() && ctx.state(|workflow| workflow.own().left && workflow.own().closing) {
        return Err(W::go_on(ctx, input));
    }
    ended
}

/// The update `decide`: enqueue, then wait for the verdict.
pub(crate) async fn decide<W: Blueprint>(
    ctx: &WorkflowContext<W>,
    raw: &RawValue,
) -> Result<Verdict, Box<dyn Error + Send + Sync>> {
    let converter = ctx.payload_converter().clone();
    let id = ctx.state_mut(|workflow| workflow.own_mut().enqueue(&converter, raw, false));
    ctx.wait_condition_with_options(
        move |workflow: &W| workflow.own().verdicts.contains_key(&id),
        detached(),
    )
    .await?;
    ctx.state_mut(|workflow| workflow.own_mut().verdicts.remove(&id))
        .ok_or_else(|| "the verdict is not known".into())
}

async fn judge_arrivals<W: Blueprint>(ctx: &WorkflowContext<W>) -> Result<Infallible, WorkflowTermination> {
    loop {
        wait_for_work(ctx).await?;
        let next = ctx.state(|workflow| {
            let own = workflow.own();
            own.inbox.front().cloned().zip(own.scope.clone())
        });
        if let Some((arrival, scope)) = next {
            judge(ctx, arrival, scope).await?;
        }
        count_floods(ctx).await?;
    }
}

/// Until a decision has come, or a minute of refusals is to be counted.
async fn wait_for_work<W: Blueprint>(ctx: &WorkflowContext<W>) -> Flow<()> {
    let mut work = pin!(ctx.wait_condition_with_options(
        |workflow: &W| {
            let own = workflow.own();
            own.scope.is_some() && (!own.inbox.is_empty() || (own.closing && !own.floods.is_empty()))
        },
        detached(),
    ));
    let Some(minute) = ctx.state(|workflow| workflow.own().floods.keys().map(|(minute, _)| *minute).min())
    else {
        return work.await.map_err(|error| fail(error.to_string()));
    };
    let left = Duration::try_from((minute + MINUTE).duration_since(now(ctx))).unwrap_or_default();
    let mut timer = pin!(
        ctx.timer(
            TimerOptions::builder(left.max(Duration::from_millis(1)))
                .summary("to count what was refused".to_owned())
                .cancellation_token(WorkflowCancellationToken::new())
                .build(),
        )
    );
    select! {
        done = work => {
            timer.cancel();
            done.map_err(|error| fail(error.to_string()))
        }
        _ = timer => Ok(()),
    }
}

async fn judge<W: Blueprint>(ctx: &WorkflowContext<W>, arrival: Arrival, scope: Scope) -> Flow<()> {
    let request = JudgeRequest {
        scope: Scope { step: "decision".to_owned(), occurred_at: now(ctx), ..scope },
        payload: arrival.payload,
        payload_sha256: arrival.sha256,
        occurrence: arrival.occurrence,
        signal: arrival.signal,
        continued: ctx.state(|workflow| workflow.own().continued),
    };
    let verdict: Verdict = patiently(ctx, ApprovalJudge, &request).await?;
    ctx.state_mut(|workflow| {
        let own = workflow.own_mut();
        own.inbox.pop_front();
        if let Some(minute) = verdict.counted_from {
            *own.floods.entry((minute, verdict.gate_id.clone().unwrap_or_default())).or_default() += 1;
        } else {
            own.take(&verdict, request.scope.occurred_at);
        }
        if !arrival.signal {
            own.verdicts.insert(arrival.id, verdict);
        }
    });
    Ok(())
}

/// Puts on record how many refusals there were beyond those recorded one by one: of every minute that is over, and of
/// all of them where the run is about to end.
async fn count_floods<W: Blueprint>(ctx: &WorkflowContext<W>) -> Flow<()> {
    loop {
        let now = now(ctx);
        let over = ctx.state(|workflow| {
            let own = workflow.own();
            let last = own.closing && own.inbox.is_empty();
            let over = |minute: &Timestamp| last || *minute + MINUTE <= now;
            let found = own.floods.iter().find(|((minute, _), _)| over(minute));
            found.map(|(flood, number)| (flood.clone(), *number)).zip(own.scope.clone())
        });
        let Some((((minute, gate_id), number), scope)) = over else { return Ok(()) };
        // One minute may be counted twice: in a run that left it unfinished, and in the one that goes on.
        let (run, count) = ctx.state(|workflow| (workflow.own().continued, workflow.own().counts));
        let step = format!("refused/{gate_id}/{}/{run}.{count}", minute.as_microsecond());
        let command = Command::CountRefusals { gate_id: gate_id.clone(), minute, not_recorded: number };
        let request = AppendRequest {
            scope: Scope { step, occurred_at: now, ..scope },
            command,
            order: None,
            alone: false,
            earlier: vec![],
        };
        let reply = patiently(ctx, LogAppend, &request).await?;
        // A task that is run again offers the count again, maybe with refusals that came meanwhile: on record is what
        // was offered first, and the rest is counted next.
        let recorded = match reply.answer {
            Ok(Answer::Counted { not_recorded }) => not_recorded,
            other => return Err(fail(format!("the log answered a count with {other:?}"))),
        };
        ctx.state_mut(|workflow| {
            let own = workflow.own_mut();
            own.counts += 1;
            match number.saturating_sub(recorded) {
                0 => own.floods.remove(&(minute, gate_id)),
                rest => own.floods.insert((minute, gate_id), rest),
            };
            if let Some(gate) = &mut own.gate {
                gate.note(format!("{now} {recorded} more were refused in the minute from {minute}"));
            }
        });
    }
}

/// A wait that goes on while the run is being stopped.
pub(crate) fn detached() -> WaitConditionOptions {
    WaitConditionOptions::builder().cancellation_token(WorkflowCancellationToken::new()).build()
}

//! Tasks beside a blueprint's flow: what was decided is told while the flow goes on with it.
//!
//! The flow starts a task with `Run::beside` and waits for all of them before it ends (`Run::all_told`). A task that is
//! still under way 10 s after everything else is given up, and what it could not do is on record. Tasks are polled in the
//! order they were started, so that replays give the same commands.

use std::{convert::Infallible, fmt, future, pin::pin, task::Poll, time::Duration};

use futures_util::future::LocalBoxFuture;
use temporalio_workflow::{
    CancellableFuture, TimerOptions, WorkflowCancellationToken, WorkflowContext, workflows::select,
};

use crate::{
    decision_inbox::detached,
    run::{Flow, fail},
    workflow_state::Blueprint,
};

/// How long the end of a run waits for its tasks.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) type Task = LocalBoxFuture<'static, Flow<()>>;

/// The tasks of a run.
#[derive(Default)]
pub(crate) struct Background {
    /// Started, and not polled yet.
    started: Vec<Task>,
    /// Started, and not ended.
    running: usize,
    /// Cancelled when the run waits no longer.
    over: WorkflowCancellationToken,
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").field("running", &self.running).finish_non_exhaustive()
    }
}

impl Background {
    pub(crate) fn start(&mut self, task: Task) {
        self.running += 1;
        self.started.push(task);
    }

    /// Whether every task has ended.
    pub(crate) fn is_idle(&self) -> bool {
        self.running == 0
    }

    /// Cancelled, with a reason, when the run waits no longer.
    pub(crate) fn over(&self) -> WorkflowCancellationToken {
        self.over.clone()
    }
}

/// Carries tasks out, and ends only where one fails.
pub(crate) async fn carry_out<W: Blueprint>(ctx: &WorkflowContext<W>) -> Flow<Infallible> {
    let mut tasks: Vec<Task> = Vec::new();
    future::poll_fn(move |cx| {
        loop {
            // Changing the state wakes whoever waits for it, and so this: only where there is something to take.
            if ctx.state(|workflow| !workflow.own().background.started.is_empty()) {
                tasks.append(
                    &mut ctx.state_mut(|workflow| std::mem::take(&mut workflow.own_mut().background.started)),
                );
            }
            let before = tasks.len();
            let mut failure = None;
            tasks.retain_mut(|task| match task.as_mut().poll(cx) {
                Poll::Pending => true,
                Poll::Ready(Ok(())) => false,
                Poll::Ready(Err(error)) => {
                    failure = Some(error);
                    false
                }
            });
            if let Some(error) = failure {
                return Poll::Ready(Err(error));
            }
            let ended = before - tasks.len();
            if ended == 0 {
                return Poll::Pending;
            }
            ctx.state_mut(|workflow| workflow.own_mut().background.running -= ended);
        }
    })
    .await
}

/// Waits until every task has ended; what takes more than 10 s is given up.
pub(crate) async fn finished<W: Blueprint>(ctx: &WorkflowContext<W>) -> Flow<()> {
    let idle = |workflow: &W| workflow.own().background.is_idle();
    if ctx.state(idle) {
        return Ok(());
    }
    let in_time = {
        let mut timer = pin!(
            ctx.timer(
                TimerOptions::builder(PATIENCE)
                    .summary("for others to be told".to_owned())
                    .cancellation_token(WorkflowCancellationToken::new())
                    .build(),
            )
        );
        let mut ended = pin!(ctx.wait_condition_with_options(idle, detached()));
        select! {
            ended = ended => {
                timer.cancel();
                ended.map_err(|error| fail(error.to_string()))?;
                true
            }
            _ = timer => false,
        }
    };
    if in_time {
        return Ok(());
    }
    let over = ctx.state(|workflow| workflow.own().background.over());
    over.cancel_with_reason(format!(
        "given up: it could not be told within {} s after everything else was done",
        PATIENCE.as_secs()
    ));
    ctx.wait_condition_with_options(idle, detached()).await.map_err(|error| fail(error.to_string()))
}

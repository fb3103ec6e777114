//! The least that Temporal asks for: a workflow that waits for a signal and then runs one activity.

#![allow(unreachable_pub, reason = "the macros want it")]

use std::sync::Arc;

use std::time::Duration;
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, SyncWorkflowContext, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};

/// See the module.
#[workflow]
#[derive(Default)]
pub struct Bare {
    go: bool,
}

#[workflow_methods]
impl Bare {
    #[run(name = "bare")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        ctx.wait_condition(|state| state.go).await?;
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(10));
        ctx.execute_activity(BareActivities::nothing, (), options).await?;
        Ok(())
    }

    #[signal(name = "go")]
    pub fn go(&mut self, _ctx: &mut SyncWorkflowContext<Self>, _input: String) {
        self.go = true;
    }
}

/// Its activity.
pub struct BareActivities;

#[activities]
impl BareActivities {
    #[activity(name = "nothing")]
    pub async fn nothing(self: Arc<Self>, _ctx: ActivityContext, _input: ()) -> Result<(), ActivityError> {
        Ok(())
    }
}

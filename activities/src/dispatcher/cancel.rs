//! Cancelling a workflow.

use harmony_eventlog::Pending;
use harmony_incidents::follow_up::Cancel;
use temporalio_client::{UntypedWorkflow, WorkflowCancelOptions};

use super::{Carried, Dispatcher, unless_ended};

impl Dispatcher {
    pub(super) async fn cancel(&self, pending: &Pending, cancel: &Cancel) -> Carried {
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(cancel.workflow_id.as_str());
        let options = WorkflowCancelOptions::builder()
            .reason(cancel.reason.as_str())
            .request_id(pending.item.name.clone())
            .build();
        unless_ended(handle.cancel(options).await)
    }
}

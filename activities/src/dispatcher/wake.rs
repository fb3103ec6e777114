//! Waking a workflow whose gate was settled, or moved, by somebody else.

use harmony_blueprints::{WAKE_SIGNAL, WAKE_UPDATE};
use harmony_eventlog::{OutboxItem, Pending};
use harmony_incidents::follow_up::{FollowUp, Wake};
use serde_json::json;
use temporalio_client::{
    Client, UntypedSignal, UntypedUpdate, UntypedWorkflow, WorkflowExecuteUpdateOptions,
    WorkflowSignalOptions, errors::WorkflowUpdateError,
};

use super::{Carried, Dispatcher, UPDATE_PATIENCE, raw, unless_ended};

impl Dispatcher {
    /// First as an update, which is handed over at once; then as a signal, which lasts.
    pub(super) async fn wake(&self, pending: &Pending, wake: &Wake) -> Carried {
        if pending.attempts <= 1 {
            match update(&self.client, &pending.item.name, wake).await {
                Some(Ok(()) | Err(WorkflowUpdateError::NotFound(_))) => return Ok(()),
                Some(Err(error)) => tracing::debug!(error = %error, "the update was not taken: signalling"),
                None => {}
            }
        }
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(wake.workflow_id.as_str());
        let options = WorkflowSignalOptions::builder().request_id(pending.item.name.clone()).build();
        unless_ended(handle.signal(UntypedSignal::new(WAKE_SIGNAL), raw(&json!({})), options).await)
    }
}

/// Sends a wake-up that stands in the outbox on at once. Should it get lost, the outbox has it; where it arrives twice
/// it is one update.
pub async fn send_ahead(client: &Client, item: &OutboxItem) {
    let Ok(FollowUp::Wake(wake)) = item.follow_up() else { return };
    if !matches!(update(client, &item.name, &wake).await, Some(Ok(()))) {
        tracing::debug!(item = item.name, "not taken at once: the outbox carries it");
    }
}

/// A wake-up as an update; nothing where nobody took it in time.
async fn update(client: &Client, name: &str, wake: &Wake) -> Option<Result<(), WorkflowUpdateError>> {
    let handle = client.get_workflow_handle::<UntypedWorkflow>(wake.workflow_id.as_str());
    let options = WorkflowExecuteUpdateOptions::builder().update_id(name.to_owned()).build();
    let update = handle.execute_update(UntypedUpdate::new(WAKE_UPDATE), raw(&json!({})), options);
    let answered = tokio::time::timeout(UPDATE_PATIENCE, update).await.ok();
    answered.map(|answered| answered.map(drop))
}

//! A decision that an older release left here, to be judged by the workflow. Today's doors append theirs.

use anyhow::Context as _;
use harmony_blueprints::APPROVAL_SIGNAL;
use harmony_eventlog::{LogError, Pending};
use harmony_incidents::{
    Command, GateStatus, HasStatus,
    command::{Attested, DecisionInput, DecisionPayload},
    follow_up::Decision,
};
use temporalio_client::{
    UntypedSignal, UntypedWorkflow, WorkflowSignalOptions, errors::WorkflowInteractionError,
};

use super::{Carried, Dispatcher, UPDATE_PATIENCE, Undone, raw};

impl Dispatcher {
    pub(super) async fn decide(&self, pending: &Pending, decision: &Decision) -> Carried {
        if self.log.answer(&pending.org, &format!("decision/{}", pending.item.name)).await?.is_some() {
            return Ok(());
        }
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(decision.workflow_id.as_str());
        let options = WorkflowSignalOptions::builder().request_id(pending.item.name.clone()).build();
        match handle.signal(UntypedSignal::new(APPROVAL_SIGNAL), raw(&decision.decision), options).await {
            // Until the log knows the verdict.
            Ok(()) => Err(Undone::waits(UPDATE_PATIENCE, "sent, not judged yet")),
            Err(WorkflowInteractionError::NotFound(_)) => self.refuse(pending, decision).await,
            Err(error) => Err(anyhow::Error::from(error).into()),
        }
    }

    /// The workflow has ended: what it decides about is settled, and the refusal belongs on record.
    async fn refuse(&self, pending: &Pending, decision: &Decision) -> Carried {
        let payload: DecisionPayload =
            serde_json::from_value(decision.decision.clone()).context("the decision is unreadable")?;
        let stream = pending.stream.as_ref().context("a decision is about a gate of a stream")?;
        let state = self.flow(&pending.org, stream).await?;
        let gate = state.gates.iter().find(|gate| Some(gate.gate_id.as_str()) == payload.gate_id.as_deref());
        if gate.is_some_and(|gate| gate.is(GateStatus::Pending)) {
            return Err(Undone::failed("the workflow of a pending gate is not running: resume the incident"));
        }
        let approver = payload.approver_id.clone();
        let decided_at =
            payload.timestamp.as_deref().and_then(|text| text.parse().ok()).unwrap_or(pending.created_at);
        let input = DecisionInput {
            attempt: gate.map_or(0, |gate| gate.attempt),
            workflow_id: decision.workflow_id.clone(),
            payload: Ok(payload),
            attested: Attested::Yes,
            decided_at,
            counted: false,
        };
        let command = Command::Decide { input: Box::new(input) };
        match self.append(pending, stream, "decision", &approver, &command).await {
            // Judged before: the first verdict stands.
            Ok(_) | Err(LogError::KeyConflict { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

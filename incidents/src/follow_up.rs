//! Follow-ups: what is carried out once a command is on record, such as starting a workflow or telling stakeholders.
//!
//! They are written into the outbox in the command's transaction, and read back by the dispatcher, maybe one of another
//! release. So their serialized form is a contract: a field may be added as an optional one, and none may change.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ids::WorkflowId, kept::Kept, promotion::OrchestrationEvent};

/// One thing to carry out, again after a crash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "payload", rename_all = "lowercase")]
pub enum FollowUp {
    /// Start a workflow.
    Start(Start),
    /// Deliver a decision to a workflow: older releases had decisions judged there.
    Decision(Decision),
    /// Cancel a workflow.
    Cancel(Cancel),
    /// Have a workflow look at its gate.
    Wake(Wake),
    /// Make a checkpoint, or send one to a sink.
    Checkpoint(Checkpoint),
    /// Tell the sinks what happened to a candidate, or one of them.
    Event(Box<Event>),
    /// Tell stakeholders of a change of an incident, or one of them.
    Notice(Notice),
    /// Make a message in the incident's channel say how it is now.
    Kept(KeptMessage),
    /// Show in the incident's channel what a running cell prints. Waits for as long as the cell runs.
    Output(Output),
}

/// Which workflow to start, and with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// Its type, such as `incident.remediate`.
    pub workflow_type: String,
    /// Its id: a blueprint's, or that of a candidate's promotion.
    pub workflow_id: String,
    /// Which attempt of the blueprint, from 1.
    #[serde(default = "first")]
    pub attempt: u32,
    /// Its input, attested.
    pub input: Value,
    /// The span of the request that asked for it, as W3C writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Which resumption of a lost run this is, from 1; 0 where it is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resumed: u32,
}

impl Start {
    /// The first start of this attempt, asked for by nobody's request.
    pub fn new(workflow_type: &str, workflow_id: &str, attempt: u32, input: Value) -> Self {
        Self {
            workflow_type: workflow_type.to_owned(),
            workflow_id: workflow_id.to_owned(),
            attempt,
            input,
            traceparent: None,
            resumed: 0,
        }
    }
}

/// A decision, and the workflow whose gate it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// The signal's payload.
    pub decision: Value,
}

/// Which workflow to cancel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cancel {
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// In somebody's words; may be empty.
    #[serde(default)]
    pub reason: String,
}

/// Which workflow is to look at its gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wake {
    /// The workflow.
    pub workflow_id: WorkflowId,
}

/// What to do about a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Checkpoint {
    /// Send one that was made.
    Send {
        /// The sink's name.
        sink: String,
        /// The signed note.
        note: String,
    },
    /// Make one over what is on record by then.
    Make,
}

/// Something that happened to a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What.
    pub event: OrchestrationEvent,
    /// The sink that is told, and the event's name there; none where every sink gets an item of its own.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub to: Option<EventSink>,
}

/// A sink that is told of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSink {
    /// The sink's name.
    pub sink: String,
    /// What the event is called: the same for every sink.
    pub name: String,
}

/// A change of an incident that stakeholders are told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The change's record.
    pub seq: u64,
    /// The subscription whose recipient is told; none where everybody gets an item of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
}

/// A message that a record changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMessage {
    /// The record.
    pub seq: u64,
    /// Which message.
    pub message: Kept,
}

/// A cell that started or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The record that says so.
    pub seq: u64,
}

fn first() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As releases write them, and as they have to be read for ever.
    #[test]
    fn stored_forms_stay() {
        let event = json!({
            "eventType": "OrchestrationFailed", "candidateId": "c-1", "error": "no policy",
            "failedAt": "2026-03-01T02:00:00Z",
        });
        for (kind, payload) in [
            (
                "start",
                json!({ "workflowType": "incident.remediate", "workflowId": "incident.remediate-INC-2026-0001",
                        "attempt": 2, "input": { "a": [1, null] } }),
            ),
            (
                "start",
                json!({ "workflowType": "candidate.promote", "workflowId": "candidate.promote-c-1", "attempt": 1,
                        "input": {}, "traceparent": "00-1-2-01", "resumed": 3 }),
            ),
            (
                "decision",
                json!({ "workflowId": "incident.remediate-INC-2026-0001", "decision": { "x": "y" } }),
            ),
            ("cancel", json!({ "workflowId": "incident.remediate-INC-2026-0001", "reason": "" })),
            ("wake", json!({ "workflowId": "incident.remediate-acme:INC-2026-0001" })),
            ("checkpoint", Value::Null),
            ("checkpoint", json!({ "sink": "audit", "note": "…" })),
            ("event", json!({ "event": event })),
            ("event", json!({ "event": event, "sink": "audit", "name": "candidate/c-1/…" })),
            ("notice", json!({ "seq": 4 })),
            ("notice", json!({ "seq": 4, "subscription": "sub-1" })),
            ("kept", json!({ "seq": 4, "message": "first" })),
            ("kept", json!({ "seq": 4, "message": "duties" })),
            ("output", json!({ "seq": 4 })),
        ] {
            let stored = json!({ "kind": kind, "payload": payload });
            let read: FollowUp =
                serde_json::from_value(stored.clone()).unwrap_or_else(|error| panic!("{stored}: {error}"));
            assert_eq!(serde_json::to_value(read).unwrap(), stored);
        }
    }

    #[test]
    fn what_is_not_all_there_is_not_read() {
        for (kind, payload) in [
            ("start", json!({ "workflowType": "incident.remediate", "workflowId": "x" })),
            ("wake", json!({})),
            ("wake", json!({ "workflowId": "anything" })),
            ("notice", json!({ "subscription": "sub-1" })),
            ("kept", json!({ "seq": 4, "message": "last" })),
            ("checkpoint", json!({ "sink": "audit" })),
            ("later", json!({})),
        ] {
            let stored = json!({ "kind": kind, "payload": payload });
            assert!(serde_json::from_value::<FollowUp>(stored.clone()).is_err(), "{stored}");
        }
    }
}

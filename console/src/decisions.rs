//! Decisions on gates, whichever door they come through.
//!
//! The attested decision is written into the outbox before anything is sent: that is when it was decided. Who judges
//! it is the log, when the workflow hands it over; the verdict is found under the decision's id. A decision that cannot
//! count any more is answered from the log at once, and sent all the same, so that its refusal is on record.

use std::time::Duration;

use harmony_eventlog::{LogError, OutboxItem, OutboxKind};
use harmony_incidents::{
    Answer, GateId, GateStatus, HasStatus, IncidentId, OrgId, Principal, RunStatus, WorkflowId,
    attestation::{AttestationKeys, DecisionClaim},
    command::{Decision, DecisionPayload, Verdict},
    log::{GateState, IncidentState},
};
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{App, error::RefusedDecision};

/// How long a door waits for the verdict: the update's 5 s, the signal after it, and a worker that takes over.
const PATIENCE: Duration = Duration::from_secs(12);
/// How often it looks.
const PAUSE: Duration = Duration::from_millis(50);

/// A decision that somebody makes.
pub(crate) struct Proposal<'a> {
    pub(crate) org: &'a OrgId,
    pub(crate) gate_id: &'a str,
    /// Digest that the decider saw, in hex.
    pub(crate) digest: Option<String>,
    pub(crate) decision: Decision,
    pub(crate) reason: Option<String>,
    pub(crate) approver: &'a Principal,
    pub(crate) decision_id: Uuid,
    /// `api`, `cli`, `console` or `slack`.
    pub(crate) source: &'static str,
    /// Claims `EMERGENCY_OVERRIDE`, and why.
    pub(crate) break_glass: bool,
    pub(crate) justification: Option<String>,
}

/// Where a gate is.
pub(crate) struct Place {
    pub(crate) incident: IncidentId,
    pub(crate) state: IncidentState,
    workflow_id: WorkflowId,
}

/// What is to be done with a decision.
pub(crate) enum Course {
    /// Write it into the outbox and wait.
    Send(OutboxItem),
    /// It was judged before.
    Known(Answer),
    /// The gate is settled; this says how. The refusal is under way to the record.
    Settled(RefusedDecision),
}

/// The incident that a gate id names; `None` where there is neither such a gate nor a run that could open it.
pub(crate) async fn place(app: &App, org: &OrgId, gate_id: &str) -> Result<Option<Place>, LogError> {
    let Some((incident, workflow_id)) = named(org, gate_id) else { return Ok(None) };
    let Some(state) = app.doors.log.state(org, &incident).await? else { return Ok(None) };
    Ok(Place::new(incident, workflow_id, state, gate_id))
}

/// The incident and the workflow that a gate id names, if they are this organisation's.
pub(crate) fn named(org: &OrgId, gate_id: &str) -> Option<(IncidentId, WorkflowId)> {
    let (workflow_id, ..) = gate_id.parse::<GateId>().ok()?.parts()?;
    let (_, of, incident) = workflow_id.parts()?;
    (of == *org).then_some((incident, workflow_id))
}

impl Place {
    /// Where there is such a gate, or a run that could open it.
    pub(crate) fn new(
        incident: IncidentId,
        workflow_id: WorkflowId,
        state: IncidentState,
        gate_id: &str,
    ) -> Option<Self> {
        let place = Self { incident, state, workflow_id };
        (place.gate(gate_id).is_some() || place.is_running()).then_some(place)
    }

    /// The gate itself.
    pub(crate) fn gate(&self, gate_id: &str) -> Option<&GateState> {
        self.state.gates.iter().find(|gate| gate.gate_id == gate_id)
    }

    fn is_running(&self) -> bool {
        self.state
            .blueprints
            .iter()
            .any(|one| one.workflow_id == self.workflow_id.as_str() && one.is(RunStatus::Running))
    }

    /// What to do with this decision.
    pub(crate) async fn course(&self, app: &App, proposal: &Proposal<'_>) -> Result<Course, LogError> {
        if let Some(answer) = app.doors.log.answer(proposal.org, &verdict_key(proposal.decision_id)).await? {
            return Ok(Course::Known(answer));
        }
        match self.gate(proposal.gate_id) {
            Some(gate) if !gate.is(GateStatus::Pending) => {
                let item = self.item(&app.doors.attestation, proposal);
                app.doors.log.enqueue(proposal.org, &self.incident, &item).await?;
                Ok(Course::Settled(settled(gate, proposal.decision_id)))
            }
            _ => Ok(Course::Send(self.item(&app.doors.attestation, proposal))),
        }
    }

    /// The attested decision as an item of the outbox.
    pub(crate) fn item(&self, keys: &AttestationKeys, proposal: &Proposal<'_>) -> OutboxItem {
        let decision_id = proposal.decision_id.to_string();
        let timestamp = Timestamp::now().to_string();
        let attestation = keys.attest_decision(&DecisionClaim {
            org: proposal.org.as_str(),
            workflow_id: self.workflow_id.as_str(),
            gate_id: proposal.gate_id,
            digest: proposal.digest.as_deref().unwrap_or_default(),
            decision: proposal.decision.name(),
            approver_id: &proposal.approver.id,
            decision_id: &decision_id,
            timestamp: &timestamp,
            reason: proposal.reason.as_deref().unwrap_or_default(),
            source: proposal.source,
            break_glass: proposal.break_glass,
            justification: proposal.justification.as_deref().unwrap_or_default(),
        });
        let payload = DecisionPayload {
            decision: proposal.decision,
            approver_id: proposal.approver.id.clone(),
            // Histories name nobody by more than their id.
            approver_name: None,
            approver_roles: None,
            gate_id: Some(proposal.gate_id.to_owned()),
            digest: proposal.digest.clone(),
            reason: proposal.reason.clone(),
            timestamp: Some(timestamp),
            source: Some(proposal.source.to_owned()),
            decision_id: Some(decision_id.clone()),
            attestation: Some(attestation),
            break_glass: proposal.break_glass,
            justification: proposal.justification.clone(),
        };
        OutboxItem {
            kind: OutboxKind::Decision,
            name: decision_id,
            payload: json!({ "workflowId": self.workflow_id, "decision": payload }),
        }
    }
}

/// Waits for the verdict on a decision; `None` where it is not judged in time.
pub(crate) async fn verdict(app: &App, org: &OrgId, decision_id: Uuid) -> Result<Option<Answer>, LogError> {
    let key = verdict_key(decision_id);
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = app.doors.log.answer(org, &key).await? {
            return Ok(Some(answer));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The verdict that an answer holds, or why the decision does not count.
pub(crate) fn read(
    answer: Answer,
    gate_id: &str,
    decision_id: Uuid,
) -> Result<Verdict, Box<RefusedDecision>> {
    let refused = |because: String, gate_status: GateStatus| {
        Box::new(RefusedDecision {
            because,
            gate_id: gate_id.to_owned(),
            gate_status,
            decision_id: Some(decision_id.to_string()),
        })
    };
    match answer {
        Answer::Judged { verdict } if verdict.accepted => Ok(verdict),
        Answer::Judged { verdict } => {
            Err(refused(verdict.refused_because.unwrap_or_else(|| "refused".to_owned()), verdict.status))
        }
        // The incident was over when the decision came: the gate was cancelled instead.
        Answer::Settled { settled } => {
            let reason = settled.reason.unwrap_or_else(|| "nobody needs to decide this any more".to_owned());
            Err(refused(format!("{}: {reason}", settled.status), settled.status))
        }
        other => {
            tracing::error!(?other, "a decision was answered with something else than a verdict");
            Err(refused("malformed: it was not judged".to_owned(), GateStatus::None))
        }
    }
}

fn verdict_key(decision_id: Uuid) -> String {
    format!("decision/{decision_id}")
}

fn settled(gate: &GateState, decision_id: Uuid) -> RefusedDecision {
    let because = match gate.status() {
        Some(GateStatus::Timeout) => "late: its time is over".to_owned(),
        Some(GateStatus::Cancelled) => "cancelled: nobody needs to decide this any more".to_owned(),
        _ => format!("duplicate: decided already by {} ({})", gate.decided_by, gate.status),
    };
    RefusedDecision {
        because,
        gate_id: gate.gate_id.clone(),
        gate_status: gate.status().unwrap_or(GateStatus::None),
        decision_id: Some(decision_id.to_string()),
    }
}

//! What the sinks are told of a change of a candidate, as an item that is written with the change.

use harmony_eventlog::{CandidateStatus, OutboxItem, StoredCandidate};
use harmony_incidents::{
    IncidentId,
    follow_up::{Event, FollowUp},
    promotion::{Decision, OrchestrationEvent},
};
use jiff::Timestamp;

/// What follows a change to this.
pub(crate) fn following(changed: &StoredCandidate, at: Timestamp) -> Option<OutboxItem> {
    let candidate_id = changed.id().clone();
    let decision = changed.decision.as_ref();
    let decision_id = || decision.map(|decision| decision.decision_id.clone()).unwrap_or_default();
    let reason = || decision.map(|decision| decision.because.clone()).unwrap_or_default();
    let event = match changed.status {
        CandidateStatus::Deferred => OrchestrationEvent::CandidateDeferred {
            candidate_id,
            decision_id: decision_id(),
            reason: reason(),
            deferred_at: at,
        },
        CandidateStatus::Suppressed => OrchestrationEvent::CandidateSuppressed {
            candidate_id,
            decision_id: decision_id(),
            reason: reason(),
            suppressed_at: at,
        },
        CandidateStatus::Dismissed => {
            let said = changed.dismissed.as_ref();
            OrchestrationEvent::CandidateSuppressed {
                candidate_id,
                decision_id: decision_id(),
                reason: said
                    .map(|said| format!("dismissed by {}: {}", said.by, said.reason))
                    .unwrap_or_default(),
                suppressed_at: at,
            }
        }
        CandidateStatus::Refused => OrchestrationEvent::OrchestrationFailed {
            candidate_id,
            error: changed.refused_because.clone(),
            failed_at: at,
        },
        // Of a promotion it is told with the incident.
        CandidateStatus::Promoted | CandidateStatus::Received => return None,
    };
    Some(item(event, &changed.version.to_string()))
}

/// What follows an incident that is made of a candidate.
pub(crate) fn created(
    incident: &IncidentId,
    stored: &StoredCandidate,
    decision: &Decision,
    at: Timestamp,
) -> OutboxItem {
    let event = OrchestrationEvent::IncidentCreated {
        incident_id: incident.to_string(),
        candidate_id: stored.id().clone(),
        decision_id: decision.decision_id.clone(),
        severity: decision.severity.as_str_name().to_owned(),
        service: stored.candidate.service_name.clone(),
        created_at: at,
    };
    item(event, &decision.decision_id)
}

fn item(event: OrchestrationEvent, once: &str) -> OutboxItem {
    let name = format!("candidate/{}/{}/{once}", event.candidate(), event.name());
    OutboxItem::new(name, &FollowUp::Event(Box::new(Event { event, to: None })))
}

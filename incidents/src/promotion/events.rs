//! What others are told of the way from a candidate to an incident. A candidate has no log of its own, so these follow
//! what was decided through the outbox, at least once; nothing depends on whether anybody takes them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::CandidateId;

/// One thing that happened to a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "eventType", rename_all_fields = "camelCase")]
pub enum OrchestrationEvent {
    /// It became an incident.
    IncidentCreated {
        /// The incident.
        incident_id: String,
        /// The candidate.
        candidate_id: CandidateId,
        /// The decision that promoted it.
        decision_id: String,
        /// `P1` to `P4`.
        severity: String,
        /// The service that is hit; empty where none is named.
        service: String,
        /// When.
        created_at: Timestamp,
    },
    /// It waits for a person.
    CandidateDeferred {
        /// The candidate.
        candidate_id: CandidateId,
        /// The decision.
        decision_id: String,
        /// Why, in words.
        reason: String,
        /// When.
        deferred_at: Timestamp,
    },
    /// Nothing becomes of it, or it is one of another's.
    CandidateSuppressed {
        /// The candidate.
        candidate_id: CandidateId,
        /// The decision; empty where a person dismissed what no policy had decided about.
        decision_id: String,
        /// Why, in words.
        reason: String,
        /// When.
        suppressed_at: Timestamp,
    },
    /// Nothing could be decided about it.
    OrchestrationFailed {
        /// The candidate.
        candidate_id: CandidateId,
        /// What is wrong.
        error: String,
        /// When.
        failed_at: Timestamp,
    },
}

impl OrchestrationEvent {
    /// Its name, in lower case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::IncidentCreated { .. } => "incident_created",
            Self::CandidateDeferred { .. } => "candidate_deferred",
            Self::CandidateSuppressed { .. } => "candidate_suppressed",
            Self::OrchestrationFailed { .. } => "orchestration_failed",
        }
    }

    /// The candidate that it is about.
    pub fn candidate(&self) -> &CandidateId {
        match self {
            Self::IncidentCreated { candidate_id, .. }
            | Self::CandidateDeferred { candidate_id, .. }
            | Self::CandidateSuppressed { candidate_id, .. }
            | Self::OrchestrationFailed { candidate_id, .. } => candidate_id,
        }
    }

    /// When it happened.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::IncidentCreated { created_at: at, .. }
            | Self::CandidateDeferred { deferred_at: at, .. }
            | Self::CandidateSuppressed { suppressed_at: at, .. }
            | Self::OrchestrationFailed { failed_at: at, .. } => *at,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_event_has_the_fields_that_others_know_it_by() {
        let (candidate_id, at) = ("am-1".parse::<CandidateId>().unwrap(), Timestamp::UNIX_EPOCH);
        let (decision_id, reason) = ("d1".to_owned(), "stale".to_owned());
        let created = OrchestrationEvent::IncidentCreated {
            incident_id: "INC-2026-0001".to_owned(),
            candidate_id: candidate_id.clone(),
            decision_id: decision_id.clone(),
            severity: "P2".to_owned(),
            service: "checkout".to_owned(),
            created_at: at,
        };
        let deferred = OrchestrationEvent::CandidateDeferred {
            candidate_id: candidate_id.clone(),
            decision_id: decision_id.clone(),
            reason: reason.clone(),
            deferred_at: at,
        };
        let suppressed = OrchestrationEvent::CandidateSuppressed {
            candidate_id: candidate_id.clone(),
            decision_id,
            reason: reason.clone(),
            suppressed_at: at,
        };
        let failed = OrchestrationEvent::OrchestrationFailed { candidate_id, error: reason, failed_at: at };
        let then = "1970-01-01T00:00:00Z";
        for (event, expected) in [
            (
                created,
                json!({
                    "eventType": "IncidentCreated", "incidentId": "INC-2026-0001", "candidateId": "am-1",
                    "decisionId": "d1", "severity": "P2", "service": "checkout", "createdAt": then,
                }),
            ),
            (
                deferred,
                json!({
                    "eventType": "CandidateDeferred", "candidateId": "am-1", "decisionId": "d1",
                    "reason": "stale", "deferredAt": then,
                }),
            ),
            (
                suppressed,
                json!({
                    "eventType": "CandidateSuppressed", "candidateId": "am-1", "decisionId": "d1",
                    "reason": "stale", "suppressedAt": then,
                }),
            ),
            (
                failed,
                json!({
                    "eventType": "OrchestrationFailed", "candidateId": "am-1", "error": "stale",
                    "failedAt": then,
                }),
            ),
        ] {
            assert_eq!(json!(event), expected);
            assert_eq!(serde_json::from_value::<OrchestrationEvent>(expected).unwrap(), event);
            assert_eq!((event.at(), event.candidate().as_str()), (at, "am-1"));
        }
    }
}

//! The attempts log: what the engine was asked and what it said, for people who look later.
//!
//! Nothing is decided by it and nobody waits for it: a line is written after the decision is kept, and one that cannot
//! be written in time is a warning.

use std::time::Duration;

use harmony_eventlog::{AttemptStatus, EventLog, LogError, PromotionAttempt, StoredCandidate};
use harmony_incidents::{
    OrgId,
    promotion::{CandidateId, Decision, Outcome},
    words,
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::Asker;

/// How long a line may take to be written.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

/// A question that was begun.
pub(crate) struct Attempt {
    line: PromotionAttempt,
}

impl Attempt {
    pub(crate) fn begin(asker: Asker<'_>, stored: &StoredCandidate) -> Self {
        let now = Timestamp::now();
        let candidate = &stored.candidate;
        Self {
            line: PromotionAttempt {
                candidate_id: stored.id().clone(),
                attempt_id: Uuid::new_v4().to_string(),
                authority_type: words::authority_name(asker.authority).to_owned(),
                authority_id: asker.actor.to_owned(),
                policy_id: candidate.policy_id.clone().unwrap_or_default(),
                policy_version: candidate.policy_version.unwrap_or_default(),
                decision: None,
                decision_id: String::new(),
                incident_id: None,
                reason: String::new(),
                started_at: now,
                completed_at: now,
                duration_ms: 0,
                status: AttemptStatus::Success,
                error: None,
            },
        }
    }

    /// The engine decided.
    pub(crate) fn decided(mut self, decision: &Decision) -> Self {
        self.line.policy_id.clone_from(&decision.policy_id);
        self.line.policy_version = decision.policy_version;
        self.line.decision = Some(decision.outcome);
        self.line.decision_id.clone_from(&decision.decision_id);
        self.line.incident_id.clone_from(&decision.facts.incident);
        self.line.reason.clone_from(&decision.because);
        self
    }

    /// Nothing was decided.
    pub(crate) fn failed(mut self, error: &str) -> Self {
        self.line.status = AttemptStatus::Error;
        self.line.reason = error.to_owned();
        self.line.error = Some(error.to_owned());
        self
    }

    /// Writes the line, if that goes.
    pub(crate) async fn write(mut self, log: &dyn EventLog, org: &OrgId) {
        let line = &mut self.line;
        line.completed_at = Timestamp::now();
        let took = line.completed_at.duration_since(line.started_at).as_millis();
        line.duration_ms = u64::try_from(took).unwrap_or_default();
        let written = tokio::time::timeout(WRITE_LIMIT, log.log_attempt(org, line)).await;
        let problem = match written {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the store took too long".to_owned(),
        };
        tracing::warn!(
            candidate.id = %line.candidate_id,
            error = %problem,
            "a promotion attempt was not logged; the decision stands"
        );
    }
}

/// The attempts at a candidate, oldest first; none where there is no such candidate. A promotion names the incident
/// that came of it.
pub async fn attempts(
    log: &dyn EventLog,
    org: &OrgId,
    id: &CandidateId,
) -> Result<Option<Vec<PromotionAttempt>>, LogError> {
    let Some(stored) = log.candidate(org, id).await? else { return Ok(None) };
    let mut attempts = log.attempts(org, id).await?;
    let promoted = stored.decision.as_ref().filter(|decision| decision.outcome == Outcome::Promote);
    for attempt in &mut attempts {
        if promoted.is_some_and(|decision| decision.decision_id == attempt.decision_id) {
            attempt.incident_id.clone_from(&stored.incident);
        }
    }
    Ok(Some(attempts))
}

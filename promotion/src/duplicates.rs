//! What is known already of the trouble that a candidate is about.
//!
//! An alert is silent only behind something that is about the same and at least as severe, and that somebody is still
//! at: an incident that has ended, or one of lower severity, silences nothing.

use harmony_eventlog::{CandidateFilter, CandidateStatus, EventLog, Filter, LogError, StoredCandidate};
use harmony_incidents::{
    IncidentId, OrgId,
    log::{IncidentState, Severity, State},
    promotion::{Candidate, Facts, Policies, PromotionPolicy},
    words,
};
use jiff::{SignedDuration, Timestamp};

/// States in which an incident is about its trouble still.
const LIVE: [State; 3] = [State::Pending, State::Open, State::Mitigating];

/// Earlier promotions, and open incidents, of one key that are looked at.
const LOOKED_AT: u32 = 20;

/// What was looked up.
pub(crate) struct Known {
    /// For the engine.
    pub(crate) facts: Facts,
    /// From when on another promotion of the same key stands in the way; none without a policy. What was promoted
    /// earlier was looked at, and does not.
    pub(crate) alone_since: Option<Timestamp>,
}

impl Known {
    pub(crate) async fn of(
        log: &dyn EventLog,
        org: &OrgId,
        stored: &StoredCandidate,
        policies: &Policies,
        now: Timestamp,
    ) -> Result<Self, LogError> {
        let candidate = &stored.candidate;
        let policy = policy(candidate, policies);
        let severity = severity(candidate, policy);
        let mut alone_since = policy.and_then(|policy| now.checked_sub(policy.dedup_window).ok());
        if let Some(key) = candidate.dedup_key() {
            let filter = CandidateFilter {
                statuses: vec![CandidateStatus::Promoted],
                dedup_key: Some(key.to_owned()),
                limit: LOOKED_AT,
                ..CandidateFilter::default()
            };
            for earlier in log.candidates(org, &filter).await? {
                let Some(decided_at) = earlier.decided_at.filter(|_| earlier.id() != stored.id()) else {
                    continue;
                };
                let stands = match &earlier.incident {
                    // It is about to be made.
                    None => alone_since.is_some_and(|since| decided_at >= since),
                    Some(incident) => silences(log.state(org, incident).await?.as_ref(), severity),
                };
                if stands {
                    let facts = Facts { candidate: Some(earlier.id().clone()), incident: earlier.incident };
                    return Ok(Self { facts, alone_since });
                }
                let after = decided_at.checked_add(SignedDuration::from_micros(1)).unwrap_or(decided_at);
                alone_since = alone_since.map(|since| since.max(after));
            }
        }
        let incident = match (&candidate.correlation_key, &candidate.dedup_key) {
            // A key of its own says that it is not the same as what it is correlated with.
            (Some(key), own) if own.as_ref().is_none_or(|own| own == key) => {
                open_incident(log, org, key, severity).await?
            }
            _ => None,
        };
        Ok(Self { facts: Facts { candidate: None, incident }, alone_since })
    }
}

async fn open_incident(
    log: &dyn EventLog,
    org: &OrgId,
    key: &str,
    severity: Severity,
) -> Result<Option<IncidentId>, LogError> {
    let filter = Filter {
        states: LIVE.map(|state| state.as_str_name().to_owned()).to_vec(),
        correlation_keys: vec![key.to_owned()],
        limit: LOOKED_AT,
        ..Filter::default()
    };
    let open = log.list(org, &filter).await?;
    let standing = open.iter().find(|state| silences(Some(state), severity));
    Ok(standing.and_then(|state| state.incident.parse().ok()))
}

/// Whether an incident is reason enough to make no other of a candidate.
fn silences(state: Option<&IncidentState>, severity: Severity) -> bool {
    state.is_some_and(|state| LIVE.contains(&state.state()) && is_as_severe(state.severity(), severity))
}

/// Whether one is at least as severe as the other.
pub(crate) fn is_as_severe(one: Severity, other: Severity) -> bool {
    // P1 is 1.
    i32::from(one) <= i32::from(other)
}

pub(crate) fn policy<'a>(candidate: &Candidate, policies: &'a Policies) -> Option<&'a PromotionPolicy> {
    policies.get(candidate.policy_id.as_deref()?, candidate.policy_version)
}

/// Our severity, as the engine maps it.
pub(crate) fn severity(candidate: &Candidate, policy: Option<&PromotionPolicy>) -> Severity {
    match policy {
        Some(policy) => policy.severity(&candidate.severity),
        None => words::severity(&candidate.severity).unwrap_or(Severity::P3),
    }
}

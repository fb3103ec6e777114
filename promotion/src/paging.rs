//! Which page a candidate that waits for a person belongs to.
//!
//! Candidates of one correlation key are one page: whoever is woken looks at all of them. A candidate that is more
//! severe than what was paged about, or that comes after the page is older than the policy's window, is another page.

use harmony_eventlog::{CandidateFilter, CandidateStatus, EventLog, LogError, StoredCandidate};
use harmony_incidents::{
    OrgId,
    ids::{candidate_page_key, group_page_key},
    promotion::{AUTO_ACTOR, Policies},
};
use jiff::SignedDuration;
use uuid::Uuid;

use crate::duplicates::{is_as_severe, policy, severity};

/// Candidates of one key that are looked at.
const LOOKED_AT: u32 = 200;
/// Without a policy, how long a page stands for what comes.
const WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// Which page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// The one that is there: its id, in the paging vendor's words.
    Joined(String),
    /// The one of this key, which others of the same moment ask for too.
    Key(Uuid),
}

/// Whether somebody else still waits for a person with the page of a candidate that was dismissed.
pub async fn is_waited_with(
    log: &dyn EventLog,
    org: &OrgId,
    dismissed: &StoredCandidate,
) -> Result<bool, LogError> {
    let Some(key) = &dismissed.candidate.correlation_key else { return Ok(false) };
    let filter = CandidateFilter {
        statuses: vec![CandidateStatus::Deferred, CandidateStatus::Refused],
        correlation_key: Some(key.clone()),
        limit: LOOKED_AT,
        ..CandidateFilter::default()
    };
    let others = log.candidates(org, &filter).await?;
    Ok(others.iter().any(|one| one.page_id == dismissed.page_id))
}

/// The page of a candidate.
pub async fn page(
    log: &dyn EventLog,
    org: &OrgId,
    stored: &StoredCandidate,
    policies: &Policies,
) -> Result<Page, LogError> {
    let candidate = &stored.candidate;
    let shared = candidate.correlation_key.as_ref().filter(|_| candidate.pagerduty_incident_id.is_none());
    let Some(key) = shared else { return Ok(Page::Key(candidate_page_key(org, stored.id()))) };
    let own_policy = policy(candidate, policies);
    let own = severity(candidate, own_policy);
    let window = own_policy.map_or(WINDOW, |policy| policy.dedup_window);
    let asked_at = |one: &StoredCandidate| one.decided_at.unwrap_or(one.received_at);
    let filter = CandidateFilter {
        statuses: vec![
            CandidateStatus::Deferred,
            CandidateStatus::Refused,
            CandidateStatus::Promoted,
            CandidateStatus::Dismissed,
        ],
        correlation_key: Some(key.clone()),
        limit: LOOKED_AT,
        ..CandidateFilter::default()
    };
    let mut others = log.candidates(org, &filter).await?;
    others.retain(|one| one.id() != stored.id() && one.candidate.pagerduty_incident_id.is_none());
    let joined = others.iter().find(|one| {
        let theirs = severity(&one.candidate, policy(&one.candidate, policies));
        matches!(one.status, CandidateStatus::Deferred | CandidateStatus::Refused)
            && !one.page_id.is_empty()
            && is_as_severe(theirs, own)
            && asked_at(stored).duration_since(asked_at(one)) <= window
    });
    if let Some(joined) = joined {
        return Ok(Page::Joined(joined.page_id.clone()));
    }
    // What the engine promoted by itself asked for nobody, so that no page was its.
    let by_somebody =
        |one: &StoredCandidate| one.status == CandidateStatus::Promoted && one.decided_by != AUTO_ACTOR;
    let before = |one: &&StoredCandidate| !one.page_id.is_empty() || by_somebody(one);
    let after = others.iter().find(before).map(StoredCandidate::id);
    Ok(Page::Key(group_page_key(org, key, own.as_str_name(), after)))
}

//! Dismissing a candidate that waits for a person: nothing becomes of it, nor of what waits with it, and its page ends.

use harmony_eventlog::{
    CandidateChange, CandidateStatus, Changed, Dismissal, EventLog, LogError, OutboxItem, StoredCandidate,
};
use harmony_incidents::{
    OrgId, Refusal,
    attestation::AttestationKeys,
    promotion::{CandidateId, Policies, workflow_id},
};

use crate::{
    duplicates::{policy, severity},
    events,
    intake::start,
    opening::waiting,
};

/// What was dismissed.
#[derive(Debug, Clone, PartialEq)]
pub struct Dismissed {
    /// The candidate, as it is kept now.
    pub stored: StoredCandidate,
    /// Whether it was so before.
    pub unchanged: bool,
    /// Those that waited with it: about the same, no more severe, and there when it was dismissed.
    pub with_it: Vec<CandidateId>,
}

/// Dismisses a candidate that is DEFERRED or REFUSED, and what waits with it. Asked again, it changes nothing but what a
/// process that died has left. `None` where there is no such candidate.
pub async fn dismiss(
    log: &dyn EventLog,
    keys: &AttestationKeys,
    org: &OrgId,
    id: &CandidateId,
    said: Dismissal,
    policies: &Policies,
) -> Result<Option<Dismissed>, LogError> {
    let (stored, unchanged) = loop {
        let Some(stored) = log.candidate(org, id).await? else { return Ok(None) };
        match stored.status {
            CandidateStatus::Dismissed => break (stored, true),
            CandidateStatus::Deferred | CandidateStatus::Refused => {}
            CandidateStatus::Received | CandidateStatus::Promoted | CandidateStatus::Suppressed => {
                return Err(LogError::Refused(Refusal::Illegal {
                    explanation: format!(
                        "candidate {id} is {}: only one that waits for a person (DEFERRED or REFUSED) is dismissed",
                        stored.status.name()
                    ),
                }));
            }
        }
        if let Some(stored) = change(log, keys, org, &stored, &said).await? {
            break (stored, false);
        }
    };
    let own = severity(&stored.candidate, policy(&stored.candidate, policies));
    let Some(said) = stored.dismissed.clone() else {
        return Err(LogError::Corrupt { place: format!("candidate {id}") });
    };
    let mut with_it = Vec::new();
    let statuses = [CandidateStatus::Deferred, CandidateStatus::Refused];
    for one in waiting(log, org, &stored, own, &statuses, policies).await? {
        // What came after it was dismissed is news.
        if one.received_at <= said.at && change(log, keys, org, &one, &said).await?.is_some() {
            with_it.push(one.id().clone());
        }
    }
    Ok(Some(Dismissed { stored, unchanged, with_it }))
}

/// `None` where somebody changed it first.
async fn change(
    log: &dyn EventLog,
    keys: &AttestationKeys,
    org: &OrgId,
    stored: &StoredCandidate,
    said: &Dismissal,
) -> Result<Option<StoredCandidate>, LogError> {
    let dismissed = StoredCandidate {
        status: CandidateStatus::Dismissed,
        dismissed: Some(said.clone()),
        version: stored.version + 1,
        ..stored.clone()
    };
    let mut follow: Vec<OutboxItem> = events::following(&dismissed, said.at).into_iter().collect();
    let name = format!("{}/dismissed/{}", workflow_id(org, stored.id()), dismissed.version);
    follow.push(start(keys, org, stored.id(), said.at, name));
    let change = CandidateChange { follow: &follow, ..CandidateChange::to(&dismissed) };
    Ok((log.change_candidate(org, change).await? == Changed::Stored).then_some(dismissed))
}

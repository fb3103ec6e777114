//! Taking what a door hands in: a candidate, or the detections of one rule, which grow the candidate that is about them
//! already.

use harmony_blueprints::{messages::GoldenContext, starts};
use harmony_eventlog::{
    CandidateChange, CandidateFilter, CandidateStatus, Changed, EventLog, LogError, OutboxItem,
    StoredCandidate,
};
use harmony_incidents::{
    OrgId,
    attestation::AttestationKeys,
    follow_up::{FollowUp, Start},
    promotion::{AUTO_ACTOR, Candidate, CandidateId, Policies, Reason, WORKFLOW_TYPE, workflow_id},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::duplicates::policy;

/// Candidates of one key that detections are compared with.
const COMPARED: u32 = 50;
/// Most detections of one candidate: a row of `DynamoDB` has 400 KB. What comes then begins the next.
const DETECTIONS: usize = 1000;
/// Without a policy, how long detections of one rule belong together.
const WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// Takes a candidate, for whoever hands it in, with the start of `candidate.promote`. Answers with the candidate as it
/// is kept: the same candidate again is the first one, and nothing more follows. Another document under the same id is
/// a [`LogError::KeyConflict`].
pub async fn take(
    log: &dyn EventLog,
    keys: &AttestationKeys,
    org: &OrgId,
    candidate: Candidate,
    submitted_by: &str,
) -> Result<StoredCandidate, LogError> {
    let now = Timestamp::now();
    let name = workflow_id(org, &candidate.candidate_id);
    let start = start(keys, org, &candidate.candidate_id, now, name);
    log.submit_candidate(org, &StoredCandidate::new(candidate, submitted_by, now), &[start]).await
}

/// Takes what a rule detected. Detections that are known change nothing; others grow the candidate of the same key that
/// waits, or begin one. One that had too few of them for its policy is decided about again.
pub async fn take_detections(
    log: &dyn EventLog,
    keys: &AttestationKeys,
    policies: &Policies,
    org: &OrgId,
    mut candidate: Candidate,
    submitted_by: &str,
) -> Result<(), LogError> {
    let Some(key) = candidate.dedup_key().map(str::to_owned) else {
        return take(log, keys, org, candidate, submitted_by).await.map(drop);
    };
    let policy = policy(&candidate, policies);
    let window = policy.map_or(WINDOW, |policy| policy.dedup_window);
    let wanted = policy.map_or(0, |policy| policy.eligibility.min_signals);
    loop {
        let now = Timestamp::now();
        let filter =
            CandidateFilter { dedup_key: Some(key.clone()), limit: COMPARED, ..CandidateFilter::default() };
        let known = log.candidates(org, &filter).await?;
        candidate.signals.retain(|signal| {
            known.iter().flat_map(|one| &one.candidate.signals).all(|seen| seen.signal_id != signal.signal_id)
        });
        if candidate.signals.is_empty() {
            return Ok(());
        }
        let since = now.checked_sub(window).unwrap_or(Timestamp::MIN);
        let Some(open) = known.iter().find(|one| grows(one, since)) else {
            return match take(log, keys, org, candidate, submitted_by).await {
                // The words of an alert change while it fires; the first ones stay.
                Ok(_) | Err(LogError::KeyConflict { .. }) => Ok(()),
                Err(error) => Err(error),
            };
        };
        let mut grown = open.clone();
        grown.version += 1;
        grown.candidate.signals.extend(candidate.signals.iter().cloned());
        let mut follow = Vec::new();
        if open.status == CandidateStatus::Suppressed && grown.candidate.signals.len() >= wanted {
            grown.status = CandidateStatus::Received;
            grown.decision = None;
            grown.decided_at = None;
            grown.decided_by.clear();
            let name = format!("{}/{}", workflow_id(org, grown.id()), grown.version);
            follow.push(start(keys, org, grown.id(), now, name));
        }
        let change = CandidateChange { follow: &follow, ..CandidateChange::to(&grown) };
        if log.change_candidate(org, change).await? == Changed::Stored {
            return Ok(());
        }
    }
}

/// Whether detections of the same key belong to this candidate: it waits, or it had too few of them a while ago.
fn grows(stored: &StoredCandidate, since: Timestamp) -> bool {
    let lately = stored.received_at >= since;
    let waits = match stored.status {
        CandidateStatus::Deferred => true,
        CandidateStatus::Received | CandidateStatus::Refused => lately,
        CandidateStatus::Suppressed => {
            let reasons = stored.decision.as_ref().map(|decision| decision.reasons.as_slice());
            lately && reasons == Some(&[Reason::Ineligible])
        }
        CandidateStatus::Promoted | CandidateStatus::Dismissed => false,
    };
    waits && stored.candidate.signals.len() < DETECTIONS
}

/// The start of `candidate.promote`.
pub(crate) fn start(
    keys: &AttestationKeys,
    org: &OrgId,
    candidate: &CandidateId,
    now: Timestamp,
    name: String,
) -> OutboxItem {
    let id = workflow_id(org, candidate);
    let golden = GoldenContext { initiator_id: AUTO_ACTOR.to_owned(), ..GoldenContext::default() };
    let input = json!({ "candidateId": candidate, "context": golden });
    let input = starts::attested(keys, org, &id, AUTO_ACTOR, now, input);
    OutboxItem::new(name, &FollowUp::Start(Start::new(WORKFLOW_TYPE, &id, 1, input)))
}

//! From a candidate to an incident, over any store: looking the facts up, asking the engine, keeping its answer, and
//! making the incident.
//!
//! The rules are the engine's (`harmony_incidents::promotion`) and the judge's. Here stands only the order of reads
//! and writes that makes them hold when several ask at once, or when somebody dies in between: an answer is kept by
//! compare-and-set and asked again where that fails, and an incident is made under a key that is a hash of the
//! decision's id. Called by the workflow that promotes and by the doors at which people and webhooks do, so that all
//! of them take a candidate and promote it the same way.

mod attempts;
mod dismissal;
mod duplicates;
mod events;
mod intake;
mod opening;
mod paging;

pub use attempts::attempts;
pub use dismissal::{Dismissed, dismiss};
pub use intake::{take, take_detections};
pub use opening::{note, open};
pub use paging::{Page, is_waited_with, page};

use harmony_eventlog::{
    CandidateChange, CandidateStatus, Changed, EventLog, LogError, OutboxItem, StoredCandidate,
};
use harmony_incidents::{
    OrgId, Refusal,
    log::Authority,
    promotion::{CandidateId, Decision, Facts, Outcome, Policies, Question, evaluate},
};
use jiff::Timestamp;

use attempts::Attempt;
use duplicates::Known;

/// Who asks for a decision, and when.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Principal's id, or [`harmony_incidents::promotion::AUTO_ACTOR`].
    pub actor: &'a str,
    /// What the directory gives them, or an override that was claimed and checked.
    pub authority: Authority,
    /// Of an override.
    pub justification: &'a str,
    /// Workflow time, or the command's time.
    pub now: Timestamp,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Ruling {
    /// The candidate as it is kept, with the decision that counts.
    Decided(Box<StoredCandidate>),
    /// A person asked, and may not or should not: the candidate stays as it was.
    Declined(Box<Decision>),
    /// No policy can decide about it.
    Refused(Refusal),
}

/// Asks the engine about a candidate and keeps its answer. What was promoted stays promoted; what was decided stays
/// decided until a person asks. None where there is no such candidate.
pub async fn decide(
    log: &dyn EventLog,
    org: &OrgId,
    id: &CandidateId,
    asker: Asker<'_>,
    policies: &Policies,
) -> Result<Option<Ruling>, LogError> {
    loop {
        let Some(stored) = log.candidate(org, id).await? else { return Ok(None) };
        let person = asker.authority >= Authority::HumanOperator;
        let is_dismissed = stored.status == CandidateStatus::Dismissed;
        if stored.status == CandidateStatus::Promoted
            || (stored.decision.is_some() && !person && !is_dismissed)
        {
            return Ok(Some(Ruling::Decided(Box::new(stored))));
        }
        if let Some(said) = stored.dismissed.as_ref().filter(|_| is_dismissed && !person) {
            let explanation = format!("dismissed by {}: {}", said.by, said.reason);
            return Ok(Some(Ruling::Refused(Refusal::Illegal { explanation })));
        }
        let attempt = Attempt::begin(asker, &stored);
        let known = match Known::of(log, org, &stored, policies, asker.now).await {
            Ok(known) => known,
            Err(error) => {
                attempt.failed(&error.to_string()).write(log, org).await;
                return Err(error);
            }
        };
        let answer = ask(&stored, &known.facts, asker, policies);
        let attempt = match &answer {
            Ok(decision) => attempt.decided(decision),
            Err(refusal) => attempt.failed(&refusal.to_string()),
        };
        let kept = keep(log, org, &stored, answer, asker, &known).await;
        attempt.write(log, org).await;
        if let Some(ruling) = kept? {
            return Ok(Some(ruling));
        }
        // Somebody was faster: the facts are others now.
    }
}

/// Keeps an answer; none where somebody changed the candidate, or promoted another of its key, first.
async fn keep(
    log: &dyn EventLog,
    org: &OrgId,
    stored: &StoredCandidate,
    answer: Result<Decision, Refusal>,
    asker: Asker<'_>,
    known: &Known,
) -> Result<Option<Ruling>, LogError> {
    let person = asker.authority >= Authority::HumanOperator;
    let (change, refusal) = match answer {
        // A person's question changes nothing about what was decided.
        Err(refusal) if stored.decision.is_some() => return Ok(Some(Ruling::Refused(refusal))),
        Err(refusal) => (refused(stored, &refusal), Some(refusal)),
        // A person who may not leaves a candidate for one who may.
        Ok(decision) if person && decision.outcome != Outcome::Promote => {
            return Ok(Some(Ruling::Declined(Box::new(decision))));
        }
        Ok(decision) => (decided(stored, decision, asker), None),
    };
    let promotes = change.status == CandidateStatus::Promoted;
    let overrides = asker.authority == Authority::EmergencyOverride;
    let alone_since = if promotes && !overrides { known.alone_since } else { None };
    let follow: Vec<OutboxItem> = events::following(&change, asker.now).into_iter().collect();
    let changing = CandidateChange { alone_since, follow: &follow, ..CandidateChange::to(&change) };
    Ok(match log.change_candidate(org, changing).await? {
        Changed::Stored => Some(match refusal {
            Some(refusal) => Ruling::Refused(refusal),
            None => Ruling::Decided(Box::new(change)),
        }),
        Changed::Stale(_) | Changed::Duplicate(_) => None,
    })
}

/// What the engine says now, without keeping it.
fn ask(
    stored: &StoredCandidate,
    facts: &Facts,
    asker: Asker<'_>,
    policies: &Policies,
) -> Result<Decision, Refusal> {
    evaluate(Question {
        candidate: &stored.candidate,
        policies,
        authority: asker.authority,
        justification: asker.justification,
        seen_at: stored.candidate.detected_at.unwrap_or(stored.received_at),
        now: asker.now,
        facts,
    })
}

fn refused(stored: &StoredCandidate, refusal: &Refusal) -> StoredCandidate {
    StoredCandidate {
        status: CandidateStatus::Refused,
        refused_because: refusal.to_string(),
        version: stored.version + 1,
        ..stored.clone()
    }
}

fn decided(stored: &StoredCandidate, decision: Decision, asker: Asker<'_>) -> StoredCandidate {
    StoredCandidate {
        status: match decision.outcome {
            Outcome::Promote => CandidateStatus::Promoted,
            Outcome::Defer => CandidateStatus::Deferred,
            Outcome::Suppress => CandidateStatus::Suppressed,
        },
        // Of a duplicate, the incident that it is one of; a promotion's own is not there yet.
        incident: decision.facts.incident.clone().filter(|_| decision.outcome != Outcome::Promote),
        decision: Some(decision),
        decided_at: Some(asker.now),
        decided_by: asker.actor.to_owned(),
        justification: asker.justification.to_owned(),
        refused_because: String::new(),
        dismissed: None,
        version: stored.version + 1,
        ..stored.clone()
    }
}

/// Changes a candidate whatever else was changed meanwhile.
pub async fn remember(
    log: &dyn EventLog,
    org: &OrgId,
    id: &CandidateId,
    change: impl Fn(&mut StoredCandidate) + Send + Sync,
) -> Result<(), LogError> {
    loop {
        let Some(stored) = log.candidate(org, id).await? else { return Ok(()) };
        let mut next = stored.clone();
        change(&mut next);
        if next == stored {
            return Ok(());
        }
        next.version += 1;
        if log.change_candidate(org, CandidateChange::to(&next)).await? == Changed::Stored {
            return Ok(());
        }
    }
}

//! From a candidate to an incident, over any store: looking the facts up, asking the engine, keeping its answer, and
//! making the incident.
//!
//! The rules are the engine's (`harmony_incidents::promotion`) and the judge's. Here stands only the order of reads
//! and writes that makes them hold when several ask at once, or when somebody dies in between: an answer is kept by
//! compare-and-set and asked again where that fails, and an incident is made under a key that is a hash of the
//! decision's id. Called by the workflow that promotes and by the door at which people do.

use harmony_incidents::{
    Answer, Command, Context, IncidentId, OrgId, Refusal, Rules,
    command::Context as CommandContext,
    judge::{judge, payload},
    log::{Authority, CandidateDecided, Cause, Text, payload::Kind},
    promotion::{
        self, AUTO_JUSTIFICATION, CandidateId, Decision, Facts, Outcome, Policies, Question, WORKFLOW_TYPE,
        evaluate,
    },
    words,
};
use jiff::{Timestamp, tz::TimeZone};

use crate::{
    candidates::{
        CandidateChange, CandidateFilter, CandidateStatus, Changed, PromotionAttempt, StoredCandidate,
    },
    store::{Append, EventLog, Filter, Follow, LogError, Target},
};

/// States in which an incident is about its trouble still.
const OPEN_STATES: [&str; 3] = ["PENDING", "OPEN", "MITIGATING"];

/// Duplicates that are looked at when an incident is made: as many as may have come within the moment that it takes.
const DUPLICATES: u32 = 200;

/// Who asks for a decision, and when.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Principal's id, or [`promotion::AUTO_ACTOR`].
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

/// What is known already of the trouble that a candidate is about.
pub async fn facts(
    log: &dyn EventLog,
    org: &OrgId,
    stored: &StoredCandidate,
    policies: &Policies,
    now: Timestamp,
) -> Result<Facts, LogError> {
    let candidate = &stored.candidate;
    if let (Some(key), Some(since)) = (candidate.dedup_key(), alone_since(stored, policies, now)) {
        let filter = CandidateFilter {
            statuses: vec![CandidateStatus::Promoted],
            dedup_key: Some(key.to_owned()),
            limit: 2,
            ..CandidateFilter::default()
        };
        let promoted = log.candidates(org, &filter).await?;
        let earlier = promoted
            .into_iter()
            .filter(|one| one.id() != stored.id())
            .find(|one| one.decided_at.is_some_and(|decided| decided >= since));
        if let Some(earlier) = earlier {
            return Ok(Facts { candidate: Some(earlier.id().clone()), incident: earlier.incident });
        }
    }
    let Some(key) = &candidate.correlation_key else { return Ok(Facts::default()) };
    let filter = Filter {
        states: OPEN_STATES.map(str::to_owned).to_vec(),
        correlation_keys: vec![key.clone()],
        limit: 1,
        ..Filter::default()
    };
    let open = log.list(org, &filter).await?;
    Ok(Facts { candidate: None, incident: open.first().and_then(|state| state.incident.parse().ok()) })
}

/// From when on another promotion of the same key stands in the way; none without a policy.
fn alone_since(stored: &StoredCandidate, policies: &Policies, now: Timestamp) -> Option<Timestamp> {
    let candidate = &stored.candidate;
    let policy = policies.get(candidate.policy_id.as_deref()?, candidate.policy_version)?;
    now.checked_sub(policy.dedup_window).ok()
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
        if stored.status == CandidateStatus::Promoted || (stored.decision.is_some() && !person) {
            return Ok(Some(Ruling::Decided(Box::new(stored))));
        }
        let answer = ask(log, org, &stored, asker, policies).await?;
        let (outcome, decision_id) = match &answer {
            Ok(decision) => (decision.outcome.name(), decision.decision_id.clone()),
            Err(_) => ("REFUSE", String::new()),
        };
        log.log_attempt(
            org,
            &PromotionAttempt {
                candidate: id.clone(),
                actor: asker.actor.to_owned(),
                authority: words::authority_name(asker.authority),
                outcome,
                decision_id,
                at: asker.now,
            },
        )
        .await?;
        let (change, ruling) = match answer {
            Err(refusal) if stored.decision.is_some() => return Ok(Some(Ruling::Refused(refusal))),
            Err(refusal) => (refused(&stored, &refusal), Some(Ruling::Refused(refusal))),
            // A person who may not leaves a candidate for one who may.
            Ok(decision) if person && decision.outcome != Outcome::Promote => {
                return Ok(Some(Ruling::Declined(Box::new(decision))));
            }
            Ok(decision) => (decided(&stored, decision, asker), None),
        };
        let promotes = change.status == CandidateStatus::Promoted;
        let overrides = asker.authority == Authority::EmergencyOverride;
        let alone_since =
            if promotes && !overrides { alone_since(&stored, policies, asker.now) } else { None };
        match log.change_candidate(org, CandidateChange { candidate: &change, alone_since }).await? {
            Changed::Stored => {
                return Ok(Some(ruling.unwrap_or_else(|| Ruling::Decided(Box::new(change)))));
            }
            // Somebody was faster: the facts are others now.
            Changed::Stale(_) | Changed::Duplicate(_) => {}
        }
    }
}

/// What the engine says now, without keeping it.
pub async fn ask(
    log: &dyn EventLog,
    org: &OrgId,
    stored: &StoredCandidate,
    asker: Asker<'_>,
    policies: &Policies,
) -> Result<Result<Decision, Refusal>, LogError> {
    let facts = facts(log, org, stored, policies, asker.now).await?;
    Ok(evaluate(Question {
        candidate: &stored.candidate,
        policies,
        authority: asker.authority,
        justification: asker.justification,
        seen_at: stored.candidate.detected_at.unwrap_or(stored.received_at),
        now: asker.now,
        facts: &facts,
    }))
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
        version: stored.version + 1,
        ..stored.clone()
    }
}

/// Makes the incident of a candidate that was promoted, and remembers it there. Asked again, it is the same incident.
pub async fn open(
    log: &dyn EventLog,
    org: &OrgId,
    stored: &StoredCandidate,
    rules: Rules<'_>,
    follow: Follow<'_>,
) -> Result<IncidentId, LogError> {
    let promoted = stored
        .decision
        .as_ref()
        .zip(stored.decided_at)
        .filter(|_| stored.status == CandidateStatus::Promoted);
    let Some((decision, decided_at)) = promoted else {
        return Err(LogError::Refused(Refusal::Illegal {
            explanation: format!("candidate {} is {}, not PROMOTED", stored.id(), stored.status.name()),
        }));
    };
    if let Some(incident) = &stored.incident {
        return Ok(incident.clone());
    }
    let by_nobody = decision.authority == Authority::AutoEngine;
    let command = Command::Promote {
        incident: promotion::incident(&stored.candidate, decision),
        decided: on_record(stored, decision),
        justification: if by_nobody { AUTO_JUSTIFICATION.to_owned() } else { stored.justification.clone() },
    };
    let context = context(org, stored, decision, decided_at);
    let appended = log
        .append(Append {
            org,
            target: Target::New { year: decided_at.to_zoned(TimeZone::UTC).year() },
            key: &format!("promotion/{}", promotion::identity(&decision.decision_id)),
            command: &command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &|head| judge(head, &command, &context, rules),
            follow,
        })
        .await?;
    remember(log, org, stored.id(), |kept| kept.incident = Some(appended.incident.clone())).await?;
    // Who was told apart before the incident was there learns of it now; who is told apart from now on sees it.
    if let Some(key) = stored.candidate.dedup_key() {
        let filter = CandidateFilter {
            statuses: vec![CandidateStatus::Suppressed],
            dedup_key: Some(key.to_owned()),
            limit: DUPLICATES,
            ..CandidateFilter::default()
        };
        for duplicate in log.candidates(org, &filter).await? {
            if duplicate.incident.is_none() && duplicate_of(&duplicate) == Some(stored.id()) {
                note(log, org, &duplicate, rules).await?;
            }
        }
    }
    Ok(appended.incident)
}

/// Puts a decision on the record of the incident that it is about: of a duplicate, on the one that it is one of.
pub async fn note(
    log: &dyn EventLog,
    org: &OrgId,
    stored: &StoredCandidate,
    rules: Rules<'_>,
) -> Result<Option<(IncidentId, Answer)>, LogError> {
    let mut incident = stored.incident.clone();
    if let (None, Some(first)) = (&incident, duplicate_of(stored)) {
        // It was being promoted when this one was decided about.
        incident = log.candidate(org, first).await?.and_then(|first| first.incident);
        if incident.is_some() {
            remember(log, org, stored.id(), |kept| kept.incident.clone_from(&incident)).await?;
        }
    }
    let (Some(decision), Some(incident), Some(decided_at)) = (&stored.decision, &incident, stored.decided_at)
    else {
        return Ok(None);
    };
    let command = Command::Record { payload: payload(Kind::CandidateDecided(on_record(stored, decision))) };
    let context = context(org, stored, decision, decided_at);
    let appended = log
        .append(Append {
            org,
            target: Target::Named(incident.clone()),
            key: &format!("candidate/{}/{}", stored.id(), decision.decision_id),
            command: &command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &|head| judge(head, &command, &context, rules),
            follow: &|_| Vec::new(),
        })
        .await?;
    Ok(Some((appended.incident, appended.answer)))
}

/// The candidate that this one is a duplicate of.
fn duplicate_of(stored: &StoredCandidate) -> Option<&CandidateId> {
    stored.decision.as_ref()?.facts.candidate.as_ref()
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
        let change = CandidateChange { candidate: &next, alone_since: None };
        if log.change_candidate(org, change).await? == Changed::Stored {
            return Ok(());
        }
    }
}

fn on_record(stored: &StoredCandidate, decision: &Decision) -> CandidateDecided {
    let trace = serde_json::to_string(&decision.trace).unwrap_or_default();
    CandidateDecided {
        candidate_id: stored.id().to_string(),
        decision_id: decision.decision_id.clone(),
        outcome: decision.outcome.name().to_owned(),
        trace: Text::optional(trace),
        policy_id: match decision.policy_version {
            0 => String::new(),
            version => format!("{} {version}", decision.policy_id),
        },
    }
}

/// Who decided, when and why; the session is the candidate.
fn context(org: &OrgId, stored: &StoredCandidate, decision: &Decision, at: Timestamp) -> Context {
    CommandContext {
        actor: stored.decided_by.clone(),
        authority: decision.authority,
        cause: Cause {
            // What a person does by hand acknowledges the incident.
            workflow_id: if decision.authority == Authority::AutoEngine {
                promotion::workflow_id(org, stored.id())
            } else {
                String::new()
            },
            blueprint: WORKFLOW_TYPE.to_owned(),
            step: "promote".to_owned(),
            request_id: stored.id().to_string(),
            ..Cause::default()
        },
        occurred_at: at,
    }
}

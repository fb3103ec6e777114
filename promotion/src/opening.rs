//! Making the incident of a promoted candidate, and putting on its record what others have to say about it: their
//! decisions, and what they saw.

use harmony_blueprints::starts;
use harmony_eventlog::{
    Append, CandidateChange, CandidateFilter, CandidateStatus, Changed, EventLog, LogError, OutboxItem,
    StoredCandidate, Target,
};
use harmony_incidents::{
    Command, Context, IncidentId, LinkName, OrgId, Refusal, Rules, StreamId,
    attestation::AttestationKeys,
    follow_up::FollowUp,
    judge::{judge, payload},
    log::{
        Authority, CandidateDecided, Cause, IncidentSignalIngested, Link, Severity, SignalType,
        StepSucceeded, Text, payload::Kind,
    },
    promotion::{
        self, AUTO_ACTOR, AUTO_JUSTIFICATION, CandidateId, Decision, Facts, Policies, WORKFLOW_TYPE,
    },
};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use crate::{
    Asker, ask, decided,
    duplicates::{is_as_severe, policy, severity},
    events, remember,
};

/// Candidates that are looked at at once: as many as may have come within the moment that an incident takes.
const PAGE: u32 = 200;
/// Signals of one candidate that go on record; the rest is counted.
const SIGNALS: usize = 100;

/// Makes the incident of a candidate that was promoted, with the start of initiate, and remembers it there. Asked
/// again, it is the same incident. What waited for a person and is no more severe is settled with it.
pub async fn open(
    log: &dyn EventLog,
    keys: &AttestationKeys,
    org: &OrgId,
    stored: &StoredCandidate,
    rules: Rules<'_>,
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
    let waiting =
        waiting(log, org, stored, decision.severity, &[CandidateStatus::Deferred], rules.promotion).await?;
    let mut stored = stored.clone();
    if stored.pagerduty_incident_id().is_empty()
        && let Some(paged) = waiting.iter().find(|one| !one.page_id.is_empty())
    {
        stored.page_id.clone_from(&paged.page_id);
    }
    let incident = match &stored.incident {
        Some(incident) => incident.clone(),
        None => append(log, keys, org, &stored, decision, decided_at, rules).await?,
    };
    record_signals(log, org, &stored, decision, &incident, rules).await?;
    remember(log, org, stored.id(), |kept| {
        kept.incident = Some(incident.clone());
        kept.page_id.clone_from(&stored.page_id);
    })
    .await?;
    // Who was told apart before the incident was there learns of it now; who is told apart from now on sees it.
    if let Some(key) = stored.candidate.dedup_key() {
        let filter = CandidateFilter {
            statuses: vec![CandidateStatus::Suppressed],
            dedup_key: Some(key.to_owned()),
            limit: PAGE,
            ..CandidateFilter::default()
        };
        for duplicate in log.candidates(org, &filter).await? {
            if duplicate.incident.is_none() && duplicate_of(&duplicate) == Some(stored.id()) {
                note(log, org, &duplicate, rules).await?;
            }
        }
    }
    for one in waiting {
        settle(log, org, one, &stored, &incident, decided_at, rules).await?;
    }
    Ok(incident)
}

async fn append(
    log: &dyn EventLog,
    keys: &AttestationKeys,
    org: &OrgId,
    stored: &StoredCandidate,
    decision: &Decision,
    decided_at: Timestamp,
    rules: Rules<'_>,
) -> Result<IncidentId, LogError> {
    let by_nobody = decision.authority == Authority::AutoEngine;
    let created = promotion::incident(&stored.candidate, decision);
    let command = Command::Promote {
        incident: created.clone(),
        decided: on_record(stored, decision),
        justification: if by_nobody { AUTO_JUSTIFICATION.to_owned() } else { stored.justification.clone() },
    };
    let context = context(org, stored, decision, decided_at);
    // The page that asked for the promotion becomes the incident's own.
    let initiate = |made: &StreamId| {
        let Some(made) = &made.incident() else { return vec![] };
        let paged = stored.pagerduty_incident_id();
        let initiate = starts::promoted(keys, org, made, &created, &stored.decided_by, paged, decided_at);
        let clock = starts::clock(keys, org, made, &created, &stored.decided_by, decided_at);
        vec![
            OutboxItem::new(format!("promotion/{}", stored.id()), &FollowUp::Start(initiate)),
            OutboxItem::new(format!("clock/{made}"), &FollowUp::Start(clock)),
            events::created(made, stored, decision, decided_at),
        ]
    };
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
            follow: &initiate,
        })
        .await?;
    appended.incident().ok_or_else(|| LogError::UnknownStream(appended.stream.clone()))
}

/// Candidates about the same that stand so, and are no more severe than that.
pub(crate) async fn waiting(
    log: &dyn EventLog,
    org: &OrgId,
    settled: &StoredCandidate,
    most: Severity,
    statuses: &[CandidateStatus],
    policies: &Policies,
) -> Result<Vec<StoredCandidate>, LogError> {
    let candidate = &settled.candidate;
    let deferred =
        || CandidateFilter { statuses: statuses.to_vec(), limit: PAGE, ..CandidateFilter::default() };
    let mut filters = Vec::new();
    if let Some(key) = &candidate.correlation_key {
        filters.push(CandidateFilter { correlation_key: Some(key.clone()), ..deferred() });
    }
    if let Some(key) = candidate.dedup_key().filter(|key| candidate.correlation_key.as_deref() != Some(key)) {
        filters.push(CandidateFilter { dedup_key: Some(key.to_owned()), ..deferred() });
    }
    let mut waiting = Vec::<StoredCandidate>::new();
    for mut filter in filters {
        loop {
            let page = log.candidates(org, &filter).await?;
            let Some(last) = page.last() else { break };
            filter.after = Some((last.received_at, last.id().clone()));
            let with_it = page.into_iter().filter(|one| {
                let own = severity(&one.candidate, policy(&one.candidate, policies));
                one.id() != settled.id() && is_as_severe(most, own)
            });
            for one in with_it {
                if waiting.iter().all(|known| known.id() != one.id()) {
                    waiting.push(one);
                }
            }
        }
    }
    Ok(waiting)
}

/// Links a candidate that waited for a person to the incident that one of the others became.
async fn settle(
    log: &dyn EventLog,
    org: &OrgId,
    mut one: StoredCandidate,
    promoted: &StoredCandidate,
    incident: &IncidentId,
    at: Timestamp,
    rules: Rules<'_>,
) -> Result<(), LogError> {
    let facts = Facts { incident: Some(incident.clone()), candidate: Some(promoted.id().clone()) };
    let asker = Asker { actor: AUTO_ACTOR, authority: Authority::AutoEngine, justification: "", now: at };
    let settled = loop {
        let decision = match ask(&one, &facts, asker, rules.promotion) {
            Ok(decision) => decision,
            Err(refusal) => {
                tracing::warn!(candidate.id = %one.id(), %refusal, "a candidate is not linked to its incident");
                return Ok(());
            }
        };
        let settled = decided(&one, decision, asker);
        let follow: Vec<OutboxItem> = events::following(&settled, at).into_iter().collect();
        let change = CandidateChange { follow: &follow, ..CandidateChange::to(&settled) };
        match log.change_candidate(org, change).await? {
            Changed::Stored => break settled,
            Changed::Stale(now) if now.status == CandidateStatus::Deferred => one = *now,
            Changed::Stale(_) | Changed::Duplicate(_) => return Ok(()),
        }
    };
    note(log, org, &settled, rules).await?;
    if settled.page_id.is_empty() || settled.page_id == promoted.pagerduty_incident_id() {
        return Ok(());
    }
    // Its page was another one: it ends with the incident.
    let link = Link {
        name: LinkName::PagerdutySeverityPageId.into(),
        value: settled.page_id.clone(),
        ..Link::default()
    };
    let kind = Kind::StepSucceeded(StepSucceeded {
        blueprint: WORKFLOW_TYPE.to_owned(),
        step: "page".to_owned(),
        external_ref: settled.page_id.clone(),
        links: vec![link],
        ..StepSucceeded::default()
    });
    let key = format!("candidate/{}/page", settled.id());
    record(log, org, incident, &key, kind, &context(org, &settled, &decision_of(&settled)?, at), rules).await
}

fn decision_of(stored: &StoredCandidate) -> Result<Decision, LogError> {
    let corrupt = || LogError::Corrupt { place: format!("candidate {}", stored.id()) };
    stored.decision.clone().ok_or_else(corrupt)
}

/// Puts a decision on the record of the incident that it is about, with what was seen: of a duplicate, on the one that
/// it is one of.
pub async fn note(
    log: &dyn EventLog,
    org: &OrgId,
    stored: &StoredCandidate,
    rules: Rules<'_>,
) -> Result<Option<IncidentId>, LogError> {
    let mut incident = stored.incident.clone();
    if let (None, Some(first)) = (&incident, duplicate_of(stored)) {
        // It was being promoted when this one was decided about.
        incident = log.candidate(org, first).await?.and_then(|first| first.incident);
        if incident.is_some() {
            remember(log, org, stored.id(), |kept| kept.incident.clone_from(&incident)).await?;
        }
    }
    let (Some(decision), Some(incident), Some(decided_at)) = (&stored.decision, incident, stored.decided_at)
    else {
        return Ok(None);
    };
    let context = context(org, stored, decision, decided_at);
    let key = format!("candidate/{}/{}", stored.id(), decision.decision_id);
    let kind = Kind::CandidateDecided(on_record(stored, decision));
    record(log, org, &incident, &key, kind, &context, rules).await?;
    record_signals(log, org, stored, decision, &incident, rules).await?;
    Ok(Some(incident))
}

/// What the candidate saw, as the incident's signals, each once.
async fn record_signals(
    log: &dyn EventLog,
    org: &OrgId,
    stored: &StoredCandidate,
    decision: &Decision,
    incident: &IncidentId,
    rules: Rules<'_>,
) -> Result<(), LogError> {
    let candidate = &stored.candidate;
    let context = context(org, stored, decision, stored.decided_at.unwrap_or(stored.received_at));
    let signal = |id: &str, source: &str, summary: Option<&str>, link: Option<&str>| {
        Kind::IncidentSignalIngested(IncidentSignalIngested {
            signal_id: id.to_owned(),
            source: source.to_owned(),
            correlation_key: candidate.correlation_key.clone().unwrap_or_default(),
            trace_id: candidate.trace_id.clone().unwrap_or_default(),
            summary: summary.and_then(Text::optional),
            project_id: candidate.project_id.clone(),
            signal_type: SignalType::Alert.into(),
            service_name: candidate.service_name.clone(),
            environment: candidate.environment.clone(),
            data: link.and_then(|link| Text::optional(json!({ "link": link }).to_string())),
        })
    };
    for seen in candidate.signals.iter().take(SIGNALS) {
        let key = format!("candidate/{}/signal/{}", stored.id(), seen.signal_id);
        let kind = signal(&seen.signal_id, &seen.source, seen.summary.as_deref(), seen.link.as_deref());
        record(log, org, incident, &key, kind, &context, rules).await?;
    }
    let more = candidate.signals.len().saturating_sub(SIGNALS);
    if more > 0 {
        let id = format!("{}-more", stored.id());
        let kind =
            signal(&id, &candidate.source, Some(&format!("{more} more signals of this candidate")), None);
        let key = format!("candidate/{}/signals", stored.id());
        record(log, org, incident, &key, kind, &context, rules).await?;
    }
    Ok(())
}

async fn record(
    log: &dyn EventLog,
    org: &OrgId,
    incident: &IncidentId,
    key: &str,
    kind: Kind,
    context: &Context,
    rules: Rules<'_>,
) -> Result<(), LogError> {
    let command = Command::Record { payload: payload(kind) };
    log.append(Append {
        org,
        target: Target::Named(incident.clone().into()),
        key,
        command: &command,
        context,
        expected_seq: None,
        run_id: None,
        judge: &|head| judge(head, &command, context, rules),
        follow: &|_| Vec::new(),
    })
    .await
    .map(drop)
}

/// The candidate that this one is a duplicate of.
fn duplicate_of(stored: &StoredCandidate) -> Option<&CandidateId> {
    stored.decision.as_ref()?.facts.candidate.as_ref()
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
    Context {
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

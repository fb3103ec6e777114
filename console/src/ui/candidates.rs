//! Candidates: what came in and did not become an incident by itself, how each was decided, and promoting one by hand.

use askama::Template;
use harmony_eventlog::{CandidateStatus, StoredCandidate};
use harmony_incidents::{Right, promotion::Verdict, words as vocabulary};
use jiff::Timestamp;
use url::form_urlencoded;
use uuid::Uuid;

use super::{
    Page,
    form::{Submission, encoded, see},
    html,
    visit::{Frame, Visit},
    words,
};
use crate::{
    candidates::{next_cursor, seen, unknown, wanted},
    error::ApiError,
};

/// Lines of one page.
const LINES: u32 = 50;

struct Line {
    /// In a path.
    address: String,
    id: String,
    title: String,
    source: String,
    severity: String,
    status: &'static str,
    status_class: &'static str,
    because: String,
    /// The incident that it became or belongs to; empty for none.
    incident: String,
    age: String,
    received: String,
}

impl Line {
    fn of(stored: &StoredCandidate, now: Timestamp) -> Self {
        let candidate = &stored.candidate;
        let decision = stored.decision.as_ref().map(|decision| decision.because.clone());
        Self {
            address: encoded(candidate.candidate_id.as_str()),
            id: candidate.candidate_id.to_string(),
            title: candidate.title.clone(),
            source: candidate.source.clone(),
            severity: candidate.severity.clone(),
            status: stored.status.name(),
            status_class: match stored.status {
                CandidateStatus::Received => "new",
                CandidateStatus::Promoted => "good",
                CandidateStatus::Deferred => "warm",
                CandidateStatus::Suppressed | CandidateStatus::Dismissed => "",
                CandidateStatus::Refused => "hot",
            },
            because: decision.unwrap_or_else(|| stored.refused_because.clone()),
            incident: stored.incident.as_ref().map(ToString::to_string).unwrap_or_default(),
            age: words::age(stored.received_at.as_microsecond(), now),
            received: stored.received_at.to_string(),
        }
    }
}

#[derive(Template)]
#[template(path = "candidates.html")]
struct CandidatesPage {
    frame: Frame,
    lines: Vec<Line>,
    /// Each status, and whether it is asked for.
    statuses: Vec<(&'static str, bool)>,
    filtered: bool,
    /// Address of the next page, empty on the last.
    next: String,
}

/// `GET …/candidates`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    let mut filter = wanted(&visit.query, &["done"]).map_err(|error| visit.trouble(error))?;
    // One more than is shown tells whether there is a next page.
    filter.limit = LINES + 1;
    let mut found = visit.app.doors.log.candidates(&visit.caller.org, &filter).await?;
    let more = u32::try_from(found.len()).unwrap_or(u32::MAX) > LINES;
    found.truncate(usize::try_from(LINES).unwrap_or(usize::MAX));
    let next = found.last().filter(|_| more).map(|last| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for status in &filter.statuses {
            query.append_pair("status", status.name());
        }
        format!("?{}", query.append_pair("cursor", &next_cursor(last)).finish())
    });
    let found = seen(&visit.app, &visit.caller, found).await?;
    html(&CandidatesPage {
        frame: visit.frame("candidates"),
        lines: found.iter().map(|stored| Line::of(stored, visit.now)).collect(),
        statuses: CandidateStatus::ALL
            .map(|status| (status.name(), filter.statuses.contains(&status)))
            .to_vec(),
        filtered: !filter.statuses.is_empty(),
        next: next.unwrap_or_default(),
    })
}

#[derive(Template)]
#[template(path = "candidate.html")]
struct CandidatePage {
    frame: Frame,
    line: Line,
    summary: String,
    facts: Vec<(&'static str, String)>,
    decision: Option<DecisionView>,
    /// What was seen: source and words.
    signals: Vec<(String, String, String)>,
    may_promote: bool,
    may_override: bool,
    may_dismiss: bool,
    /// Why it cannot be promoted any more, or by this reader.
    because: &'static str,
    key: Uuid,
}

/// What was decided last, step by step.
struct DecisionView {
    outcome: &'static str,
    because: String,
    steps: Vec<StepView>,
    facts: Vec<(&'static str, String)>,
}

struct StepView {
    step: String,
    verdict: String,
    class: &'static str,
    because: String,
}

/// `GET …/candidates/{id}`
pub(crate) async fn one(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    let text = visit.path("id");
    let not_here = || visit.trouble(unknown(text));
    let id = text.parse().map_err(|_| not_here())?;
    let stored = visit.app.doors.log.candidate(&visit.caller.org, &id).await?;
    let stored = seen(&visit.app, &visit.caller, stored.into_iter().collect()).await?.pop();
    let stored = stored.ok_or_else(not_here)?;
    let is_open = !matches!(stored.status, CandidateStatus::Promoted);
    let may_promote = is_open && visit.may(Right::Respond, None);
    html(&CandidatePage {
        line: Line::of(&stored, visit.now),
        summary: stored.candidate.summary.clone().unwrap_or_default(),
        facts: facts(&stored),
        decision: decision(&stored),
        signals: signals(&stored),
        may_promote,
        may_override: may_promote && visit.may(Right::Override, None),
        may_dismiss: may_promote
            && matches!(stored.status, CandidateStatus::Deferred | CandidateStatus::Refused),
        because: match (is_open, may_promote) {
            (false, _) => "It was promoted.",
            (true, false) => "Promoting it needs incident-responder at least.",
            (true, true) => "",
        },
        key: Uuid::now_v7(),
        frame: visit.frame("candidates"),
    })
}

fn facts(stored: &StoredCandidate) -> Vec<(&'static str, String)> {
    let candidate = &stored.candidate;
    let policy = match (&candidate.policy_id, candidate.policy_version) {
        (Some(id), Some(version)) => format!("{id} {version}"),
        (Some(id), None) => id.clone(),
        (None, _) => "none: only an emergency override promotes it".to_owned(),
    };
    let all = [
        ("Handed in by", stored.submitted_by.clone()),
        ("Received", stored.received_at.to_string()),
        ("Seen", candidate.detected_at.map(|at| at.to_string()).unwrap_or_default()),
        ("Service", candidate.service_name.clone()),
        ("Affected", candidate.impacted_services.join(", ")),
        ("Environment", candidate.environment.clone()),
        ("Project", candidate.project_id.clone()),
        ("Policy", policy),
        ("Confidence", candidate.confidence.map(|sure| format!("{:.0} %", sure * 100.0)).unwrap_or_default()),
        ("Correlation key", candidate.correlation_key.clone().unwrap_or_default()),
        ("Same as", candidate.dedup_key.clone().unwrap_or_default()),
        ("At PagerDuty", stored.pagerduty_incident_id().to_owned()),
        ("Dismissed", said(stored)),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn said(stored: &StoredCandidate) -> String {
    let said = stored.dismissed.as_ref();
    said.map(|said| format!("by {}: {}", said.by, said.reason)).unwrap_or_default()
}

/// Source, words and address of each; no address where none is known.
fn signals(stored: &StoredCandidate) -> Vec<(String, String, String)> {
    let signals = stored.candidate.signals.iter();
    signals
        .map(|signal| {
            let words = signal.summary.clone().unwrap_or_else(|| signal.signal_id.clone());
            (signal.source.clone(), words, signal.link.clone().unwrap_or_default())
        })
        .collect()
}

/// The word that an enumeration is written as.
fn word(value: impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn decision(stored: &StoredCandidate) -> Option<DecisionView> {
    let decision = stored.decision.as_ref()?;
    let steps = decision.trace.iter().map(|step| StepView {
        step: word(step.step),
        verdict: word(step.verdict),
        class: match step.verdict {
            Verdict::Passed => "good",
            Verdict::Stopped => "hot",
            Verdict::Waived => "",
        },
        because: step.because.clone(),
    });
    let facts = [
        ("Decision", decision.decision_id.clone()),
        ("Asked by", stored.decided_by.clone()),
        ("Authority", vocabulary::authority_name(decision.authority).to_owned()),
        ("Justification", stored.justification.clone()),
        ("Decided", stored.decided_at.map(|at| at.to_string()).unwrap_or_default()),
        ("Policy", format!("{} {}", decision.policy_id, decision.policy_version).trim().to_owned()),
        ("Severity", decision.severity.as_str_name().to_owned()),
    ];
    Some(DecisionView {
        outcome: decision.outcome.name(),
        because: decision.because.clone(),
        steps: steps.collect(),
        facts: facts.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
    })
}

/// `POST …/candidates/{id}/promote`: with the authority of whoever sends it.
pub(crate) async fn promote(form: Submission) -> Page {
    let org = &form.caller.org;
    let id = encoded(form.path("id"));
    let back = format!("/orgs/{org}/candidates/{id}");
    let (_, answer) = form.send(&format!("candidates/{id}/promote"), &form.json(), &back).await?;
    let incident = answer["incidentId"].as_str().ok_or(ApiError::Internal)?;
    Ok(see(&format!("/orgs/{org}/incidents/{incident}"), "declared"))
}

/// `POST …/candidates/{id}/dismiss`
pub(crate) async fn dismiss(form: Submission) -> Page {
    let id = encoded(form.path("id"));
    let back = format!("/orgs/{}/candidates/{id}", form.caller.org);
    form.send(&format!("candidates/{id}/dismiss"), &form.json(), &back).await?;
    Ok(see(&back, "recorded"))
}

//! Candidates: hand one in, look at them, promote or dismiss one that was deferred.
//!
//! Every door hands candidates in by [`take`]: one row, and the start of `candidate.promote` in the outbox, in one
//! transaction. A person's promotion is decided here and at once, with the person's own authority: it needs nobody but
//! the store, and initiate follows from the outbox.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use harmony_eventlog::{CandidateFilter, CandidateStatus, Dismissal, LogError, StoredCandidate};
use harmony_incidents::{
    Right, WorkflowId, WorkflowType,
    ids::NAMESPACE,
    log::Authority,
    promotion::{Candidate, CandidateId, Decision, Reason, workflow_id},
    words,
};
use harmony_promotion::{self as promotion, Asker, Dismissed, Ruling};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    App, Doors,
    auth::Caller,
    call::{Call, required},
    cursor,
    error::ApiError,
    json::whole,
    log::hidden,
    members,
    query::Query,
    starts::away,
};

/// Longest reason of a dismissal.
const REASON_CHARS: usize = 2_000;

/// `POST …/candidates`
pub(crate) async fn submit(call: Call) -> Result<Response, ApiError> {
    call.caller.require(Right::Respond, None)?;
    let mut body: Value = call.body()?;
    // Without a name of its own it has the request's: two equal candidates are two, unless the request is the same.
    if body["candidateId"].is_null() {
        body["candidateId"] = json!(named_by(&call));
    }
    if let Some(version) = whole(&body["policyVersion"]) {
        body["policyVersion"] = json!(version);
    }
    let candidate = Candidate::parse(body).map_err(|error| ApiError::Invalid(error.to_string()))?;
    let Doors { log, attestation, .. } = &call.app.doors;
    let taken =
        promotion::take(log.as_ref(), attestation, &call.caller.org, candidate, &call.caller.principal.id)
            .await;
    let kept = taken.map_err(|error| match error {
        LogError::KeyConflict { fields } => ApiError::Conflict(format!(
            "this candidateId was used for another candidate; these fields differ: {}",
            fields.join(", ")
        )),
        other => other.into(),
    })?;
    let mut body = json!({
        "candidateId": kept.id(),
        "status": kept.status.name(),
        "workflowId": workflow_id(&call.caller.org, kept.id()),
    });
    let seen = seen(&call.app, &call.caller, vec![kept]).await?.pop();
    if let Some(incident) = seen.and_then(|kept| kept.incident) {
        body["incidentId"] = json!(incident);
    }
    if let Some(warning) = away(&call.app, "promotion") {
        body["warning"] = json!(warning);
    }
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// The name of a candidate that brings none. A key may hold what no name does: then its name is made of the key.
fn named_by(call: &Call) -> String {
    let key = &call.request.id;
    match key.parse::<CandidateId>() {
        Ok(id) => id.into(),
        Err(_) => {
            let name = format!("{}/candidate/{}", call.caller.org, call.key());
            Uuid::new_v5(&NAMESPACE, name.as_bytes()).to_string()
        }
    }
}

/// `GET …/candidates`
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    call.caller.require(Right::Read, None)?;
    let mut filter = wanted(&call.query, &[])?;
    let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    // One more than asked for tells whether there is a next page.
    filter.limit += 1;
    let mut found = call.app.doors.log.candidates(&call.caller.org, &filter).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(next_cursor);
    let found = seen(&call.app, &call.caller, found).await?;
    let mut body = json!({ "candidates": found.iter().map(view).collect::<Vec<_>>() });
    if let Some(next) = next {
        body["nextCursor"] = json!(next);
    }
    Ok(Json(body).into_response())
}

/// Candidates without those of incidents that somebody may not see.
pub(crate) async fn seen(
    app: &App,
    caller: &Caller,
    mut found: Vec<StoredCandidate>,
) -> Result<Vec<StoredCandidate>, ApiError> {
    if found.iter().any(|one| one.incident.is_some()) {
        let hidden = hidden(app, caller).await?;
        found.retain(|one| one.incident.as_ref().is_none_or(|incident| !hidden.contains_key(&**incident)));
    }
    Ok(found)
}

/// A candidate that the caller may see.
async fn candidate(call: &Call, id: &CandidateId) -> Result<StoredCandidate, ApiError> {
    let found = call.app.doors.log.candidate(&call.caller.org, id).await?;
    let found = seen(&call.app, &call.caller, found.into_iter().collect()).await?.pop();
    found.ok_or_else(|| unknown(id))
}

/// Which candidates a list shall hold; `beside` are names that somebody else reads.
pub(crate) fn wanted(query: &Query, beside: &[&str]) -> Result<CandidateFilter, ApiError> {
    query.only(&[&["status", "limit", "cursor"], beside].concat())?;
    let mut filter = CandidateFilter { limit: query.limit(50, 200)?, ..CandidateFilter::default() };
    for word in query.words("status") {
        let status = CandidateStatus::from_name(&word.to_ascii_uppercase()).ok_or_else(|| {
            let known = CandidateStatus::ALL.map(CandidateStatus::name).join(", ");
            ApiError::Invalid(format!("status {word:?} is not known; use one of {known}"))
        })?;
        filter.statuses.push(status);
    }
    filter.after = query.given("cursor").map(cursor::candidate).transpose()?;
    Ok(filter)
}

/// Where a page ended that has this as its last.
pub(crate) fn next_cursor(last: &StoredCandidate) -> String {
    cursor::of_time(last.received_at.as_microsecond(), last.id())
}

/// `GET …/candidates/{id}`
pub(crate) async fn show(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    call.caller.require(Right::Read, None)?;
    let id = candidate_id(&call)?;
    Ok(Json(view(&candidate(&call, &id).await?)).into_response())
}

/// `GET …/candidates/{id}/attempts`
pub(crate) async fn attempts(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    call.caller.require(Right::Read, None)?;
    let id = candidate_id(&call)?;
    candidate(&call, &id).await?;
    let found = promotion::attempts(call.app.doors.log.as_ref(), &call.caller.org, &id).await?;
    let attempts = found.ok_or_else(|| unknown(&id))?;
    Ok(Json(json!({ "candidateId": id, "attempts": attempts })).into_response())
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PromoteBody {
    #[serde(default)]
    emergency_override: bool,
    #[serde(default)]
    justification: String,
}

/// `POST …/candidates/{id}/promote`
pub(crate) async fn promote(call: Call) -> Result<Response, ApiError> {
    call.caller.require(Right::Respond, None)?;
    let id = candidate_id(&call)?;
    candidate(&call, &id).await?;
    let PromoteBody { emergency_override, justification } = call.body()?;
    let mut context = call.context(None);
    if emergency_override {
        // No role gives it: it is claimed, by sre-oncall or above.
        call.caller.require(Right::Override, None)?;
        required("justification", &justification)?;
        context.authority = Authority::EmergencyOverride;
    }
    let asker = Asker {
        actor: &context.actor,
        authority: context.authority,
        justification: justification.trim(),
        now: context.occurred_at,
    };
    let doors = &call.app.doors;
    let (log, org, rules) = (doors.log.as_ref(), &call.caller.org, call.caller.rules());
    let ruling = promotion::decide(log, org, &id, asker, rules.promotion).await?;
    let stored = match ruling.ok_or_else(|| unknown(&id))? {
        Ruling::Refused(refusal) => return Err(refusal.into()),
        Ruling::Declined(decision) => return Err(declined(&id, &decision)),
        Ruling::Decided(stored) if stored.status != CandidateStatus::Promoted => {
            return Err(ApiError::Conflict(format!("candidate {id} is {}", stored.status.name())));
        }
        Ruling::Decided(stored) => stored,
    };
    let made = promotion::open(log, &doors.attestation, org, &stored, rules).await?;
    let state = log.state(org, &made).await?.unwrap_or_default();
    let mut body = json!({
        "candidateId": id,
        "status": stored.status.name(),
        "decisionId": stored.decision.as_ref().map(|decision| &decision.decision_id),
        "incidentId": made,
        "state": state.state().as_str_name(),
        "workflowId": WorkflowId::new(WorkflowType::Initiate, org, &made),
    });
    if let Some(warning) = away(&call.app, "initiation") {
        body["warning"] = json!(warning);
    }
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DismissBody {
    /// Why nothing becomes of it.
    #[serde(default)]
    #[schema(value_type = members::RequiredReason, inline, required = true)]
    reason: String,
}

/// `POST …/candidates/{id}/dismiss`: nothing becomes of it, nor of what waits with it, and its page ends.
pub(crate) async fn dismiss(call: Call) -> Result<Response, ApiError> {
    call.caller.require(Right::Respond, None)?;
    let id = candidate_id(&call)?;
    candidate(&call, &id).await?;
    let DismissBody { reason } = call.body()?;
    let reason = reason.trim().to_owned();
    if reason.is_empty() {
        return Err(ApiError::Invalid("reason is missing: dismissing a candidate needs one".to_owned()));
    }
    if reason.chars().count() > REASON_CHARS {
        return Err(ApiError::Invalid(format!("reason has more than {REASON_CHARS} characters")));
    }
    let said = Dismissal { by: call.caller.principal.id.clone(), at: Timestamp::now(), reason };
    let Doors { log, attestation, .. } = &call.app.doors;
    let policies = call.caller.rules().promotion;
    let done = promotion::dismiss(log.as_ref(), attestation, &call.caller.org, &id, said, policies).await?;
    let Dismissed { stored, unchanged, with_it } = done.ok_or_else(|| unknown(&id))?;
    let mut body = json!({
        "candidateId": id,
        "status": stored.status.name(),
        "answer": if unchanged { "unchanged" } else { "recorded" },
        "dismissedBy": stored.dismissed.as_ref().map(|said| &said.by),
        "withIt": with_it,
    });
    if let Some(warning) = away(&call.app, "what ends its page") {
        body["warning"] = json!(warning);
    }
    Ok(Json(body).into_response())
}

fn declined(id: &CandidateId, decision: &Decision) -> ApiError {
    let because = format!("candidate {id} is not promoted: {}", decision.because);
    if decision.reasons.contains(&Reason::Authority) {
        ApiError::Forbidden(because)
    } else {
        ApiError::Conflict(because)
    }
}

fn candidate_id(call: &Call) -> Result<CandidateId, ApiError> {
    call.path("id").parse().map_err(|_| unknown(call.path("id")))
}

pub(crate) fn unknown(id: impl std::fmt::Display) -> ApiError {
    ApiError::NotFound(format!("there is no candidate {id}"))
}

/// A candidate as it is shown.
fn view(stored: &StoredCandidate) -> Value {
    let candidate = &stored.candidate;
    let mut view = json!({
        "candidateId": candidate.candidate_id,
        "status": stored.status.name(),
        "title": candidate.title,
        "severity": candidate.severity,
        "source": candidate.source,
        "serviceName": candidate.service_name,
        "environment": candidate.environment,
        "projectId": candidate.project_id,
        "impactedServices": candidate.impacted_services,
        "signals": candidate.signals,
        "receivedAt": stored.received_at,
        "submittedBy": stored.submitted_by,
    });
    for (name, value) in [
        ("summary", json!(candidate.summary)),
        ("policyId", json!(candidate.policy_id)),
        ("policyVersion", json!(candidate.policy_version)),
        ("correlationRuleId", json!(candidate.correlation_rule_id)),
        ("correlationRuleVersion", json!(candidate.correlation_rule_version)),
        ("correlationKey", json!(candidate.correlation_key)),
        ("dedupKey", json!(candidate.dedup_key)),
        ("confidence", json!(candidate.confidence)),
        ("detectedAt", json!(candidate.detected_at)),
        ("traceId", json!(candidate.trace_id)),
        ("pagerdutyIncidentId", json!(candidate.pagerduty_incident_id)),
        ("incidentId", json!(stored.incident)),
        ("decidedAt", json!(stored.decided_at)),
        ("decidedBy", json!(Some(&stored.decided_by).filter(|who| !who.is_empty()))),
        ("refusedBecause", json!(Some(&stored.refused_because).filter(|why| !why.is_empty()))),
        ("decision", json!(stored.decision.as_ref().map(decision))),
        ("dismissed", json!(stored.dismissed)),
    ] {
        if !value.is_null() {
            view[name] = value;
        }
    }
    view
}

fn decision(decision: &Decision) -> Value {
    json!({
        "decisionId": decision.decision_id,
        "outcome": decision.outcome,
        "reasons": decision.reasons,
        "because": decision.because,
        "severity": decision.severity.as_str_name(),
        "policyId": decision.policy_id,
        "policyVersion": decision.policy_version,
        "authority": words::authority_name(decision.authority),
        "trace": decision.trace,
    })
}

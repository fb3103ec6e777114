//! `POST …/resume`: starts the lost runs of an incident, or the lost run of a release, again.
//!
//! What a run was started with stands in the log, in the record of its beginning; nothing else of the lost run is
//! needed. The resumption is recorded and the start is written into the outbox in one transaction.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use harmony_catalog::judge::flow_of;
use harmony_eventlog::{OutboxItem, catalog::StoredRelease};
use harmony_incidents::{
    Command, HasStatus, Head, IncidentId, Refusal, ReleaseId, Right, RunStatus, StreamId, WorkflowId,
    ids::IdError,
    judge,
    log::{BlueprintState, IncidentState, payload::Kind},
};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    call::Call,
    catalog::{self, releases},
    error::ApiError,
    starts::{away, resume_item},
    submit::append_decided,
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResumeBody {
    /// Only this one; every lost one where none is named.
    #[serde(default)]
    blueprint: Option<String>,
}

/// Nothing has to be said: a release has one run.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReleaseResumeBody {}

/// `POST …/resume`. Answers 202.
pub(crate) async fn resume(mut call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Respond).await?;
    let ResumeBody { blueprint } = call.body()?;
    // Repeated under its own key, a request finds what it resumed already under way.
    let own = call.key();
    let key = |lost: &BlueprintState| format!("{own}/{}", lost.blueprint);
    let mut lost: Vec<&BlueprintState> = Vec::new();
    for one in &state.blueprints {
        let named = blueprint.as_ref().is_none_or(|name| *name == one.blueprint);
        let known = call.app.doors.log.answer(&call.caller.org, &key(one)).await?.is_some();
        if named && (one.is(RunStatus::Orphaned) || known) {
            lost.push(one);
        }
    }
    if lost.is_empty() {
        let what = blueprint.as_deref().unwrap_or("no run");
        return Err(ApiError::from(Refusal::Illegal {
            explanation: format!("{what} of {incident} was lost: there is nothing to resume"),
        }));
    }
    let mut resumed = Vec::new();
    for one in lost {
        if one.is(RunStatus::Orphaned) {
            resume_one(&call, &incident, &state, one, &key(one)).await?;
            // The next one stands on the record of this.
            call.expected_seq = None;
        }
        resumed.push(json!({
            "blueprint": one.blueprint,
            "workflowId": one.workflow_id,
            "attempt": one.attempt,
        }));
    }
    let mut body = json!({ "incidentId": incident, "resumed": resumed });
    if let Some(warning) = away(&call.app, "the run") {
        body["warning"] = json!(warning);
    }
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// `POST …/releases/{id}/resume`. Answers 202.
pub(crate) async fn release(call: Call) -> Result<Response, ApiError> {
    let id: ReleaseId = catalog::path_id(&call, "release")?;
    let known = releases::stored(&call, &id).await?;
    may_resume(&call, &known).await?;
    let ReleaseResumeBody {} = call.body()?;
    let kind = releases::kind_of(!known.release.promoted_from.is_empty());
    let workflow_id = WorkflowId::of_release(kind, &call.caller.org, &id);
    let state = flow_of(&catalog::service(&call, &known.service).await?);
    let key = format!("{}/resume", call.key());
    let last = state.blueprints.iter().find(|one| one.workflow_id == workflow_id.as_str());
    // Repeated under its own key, a request finds what it resumed already under way.
    let is_known = call.app.doors.log.answer(&call.caller.org, &key).await?.is_some();
    let Some(lost) = last.filter(|one| one.is(RunStatus::Orphaned) || is_known) else {
        return Err(ApiError::from(Refusal::Illegal {
            explanation: format!("no run of {id} was lost: there is nothing to resume"),
        }));
    };
    if lost.is(RunStatus::Orphaned) {
        let stream = StreamId::from(known.service.clone());
        resume_one(&call, &stream, &state, lost, &key).await?;
    }
    let mut body = json!({
        "release": releases::view(&known)?, "workflowId": workflow_id, "attempt": lost.attempt,
    });
    if let Some(warning) = away(&call.app, "the run") {
        body["warning"] = json!(warning);
    }
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// Whoever may deploy, and for a rollback whoever may propose one for its incident.
async fn may_resume(call: &Call, known: &StoredRelease) -> Result<(), ApiError> {
    let incident = known.release.incident.parse::<IncidentId>().ok();
    if let Some(incident) = incident.filter(|_| !known.release.rolls_back.is_empty())
        && let Some(state) = call.app.doors.log.state(&call.caller.org, &incident).await?
        && call.caller.sees(&state)
    {
        return call.require_on(Right::OperationsExecute, &state).await;
    }
    let service = known.service.clone();
    call.require_about(Right::DeployExecute, async move || Some(service)).await
}

async fn resume_one(
    call: &Call,
    stream: &StreamId,
    state: &IncidentState,
    lost: &BlueprintState,
    key: &str,
) -> Result<(), ApiError> {
    let workflow_id: WorkflowId =
        lost.workflow_id.parse().map_err(|error: IdError| ApiError::Invalid(error.to_string()))?;
    let command = Command::ResumeBlueprint { workflow_id, attempt: lost.attempt };
    let context = call.context(Some(state));
    let items: Vec<OutboxItem> = match started_with(call, stream, lost).await? {
        Some(input) => vec![resume_item(call, lost, input)?],
        // The judge says why it cannot be resumed.
        None => Vec::new(),
    };
    if items.is_empty() && lost.started_seq > 0 {
        return Err(ApiError::from(Refusal::Illegal {
            explanation: format!(
                "what {} was started with was redacted: stop it and start another attempt",
                lost.blueprint
            ),
        }));
    }
    let decide = |head: Head<'_>| Ok((judge(head, &command, &context, call.caller.rules())?, items.clone()));
    append_decided(call, stream, key, &command, &context, &decide).await?;
    Ok(())
}

/// The input of the attempt's first run, from its record.
async fn started_with(
    call: &Call,
    stream: &StreamId,
    lost: &BlueprintState,
) -> Result<Option<Value>, ApiError> {
    if lost.started_seq == 0 {
        return Ok(None);
    }
    let log = &call.app.doors.log;
    let records = log.records(&call.caller.org, stream, lost.started_seq - 1, 1).await?;
    let kind = records.into_iter().next().and_then(|entry| entry.record.payload?.kind);
    let Some(Kind::BlueprintStarted(started)) = kind else { return Ok(None) };
    let input = started.input.filter(|text| !text.redacted).map(|text| text.text);
    Ok(input.and_then(|text| serde_json::from_str(&text).ok()))
}

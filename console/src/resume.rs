//! `POST …/resume`: starts the lost runs of an incident again.
//!
//! What a run was started with stands in the log, in the record of its beginning; nothing else of the lost run is
//! needed. The resumption is recorded and the start is written into the outbox in one transaction.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use harmony_eventlog::OutboxItem;
use harmony_incidents::{
    Command, HasStatus, Head, IncidentId, Refusal, Right, RunStatus, WorkflowId,
    ids::IdError,
    judge,
    log::{BlueprintState, IncidentState, payload::Kind},
};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    call::Call,
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

async fn resume_one(
    call: &Call,
    incident: &IncidentId,
    state: &IncidentState,
    lost: &BlueprintState,
    key: &str,
) -> Result<(), ApiError> {
    let workflow_id: WorkflowId =
        lost.workflow_id.parse().map_err(|error: IdError| ApiError::Invalid(error.to_string()))?;
    let command = Command::ResumeBlueprint { workflow_id, attempt: lost.attempt };
    let context = call.context(Some(state));
    let items: Vec<OutboxItem> = match started_with(call, incident, lost).await? {
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
    append_decided(call, incident, key, &command, &context, &decide).await?;
    Ok(())
}

/// The input of the attempt's first run, from its record.
async fn started_with(
    call: &Call,
    incident: &IncidentId,
    lost: &BlueprintState,
) -> Result<Option<Value>, ApiError> {
    if lost.started_seq == 0 {
        return Ok(None);
    }
    let log = &call.app.doors.log;
    let records = log.records(&call.caller.org, incident, lost.started_seq - 1, 1).await?;
    let kind = records.into_iter().next().and_then(|entry| entry.record.payload?.kind);
    let Some(Kind::BlueprintStarted(started)) = kind else { return Ok(None) };
    let input = started.input.filter(|text| !text.redacted).map(|text| text.text);
    Ok(input.and_then(|text| serde_json::from_str(&text).ok()))
}

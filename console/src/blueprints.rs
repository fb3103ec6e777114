//! Commands that start or stop a blueprint: remediate, stop, close-out, cancel, post-mortem.
//!
//! The input of a blueprint is made with the blueprints' own types, so what leaves here parses there.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::to_bytes,
    response::{IntoResponse, Response},
};
use harmony_blueprints::messages::{
    CloseOutInput, PageTarget, PostMortemInput, RemediateInput, VerificationInput, read,
};
use harmony_incidents::{
    IncidentId, Right, WorkflowType,
    judge::TEXT_LIMIT_BYTES,
    log::{IncidentState, State},
    words,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    AskedRunbook, CatalogInput, CheckedRunbook,
    call::{Call, line, required},
    catalog,
    error::ApiError,
    starts::{Start, start, stop_remediation},
};

/// What a stop without words says.
const STOPPED: &str = "stopped by hand";

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RemediateBody {
    #[serde(alias = "path")]
    runbook: String,
    #[serde(default)]
    cells: Vec<String>,
    #[serde(default)]
    verify: Vec<String>,
    /// Values of the inputs that the runbook declares.
    #[serde(default)]
    inputs: BTreeMap<String, String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    secret_env: Vec<String>,
    /// For one cell: such as `10m`, or a number of seconds.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    timeout: Option<Value>,
    #[serde(default)]
    workdir: String,
    /// Why, for those who decide on it.
    #[serde(default)]
    reason: String,
    /// Run only what changes nothing, without a gate, and answer with what would be run.
    #[serde(default)]
    dry_run: bool,
}

/// `POST …/remediate`
pub(crate) async fn remediate(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Respond).await?;
    call.require_on(Right::OperationsExecute, &state).await?;
    let body: RemediateBody = call.body()?;
    let path = required("runbook", &body.runbook)?;
    // A leading `runbooks/` names the root itself.
    let path = path.strip_prefix("runbooks/").unwrap_or(&path).to_owned();
    let asked = AskedRunbook {
        path: &path,
        cells: &body.cells,
        verify: &body.verify,
        inputs: &body.inputs,
        env: &body.env,
        dry_run: body.dry_run,
    };
    let checked = call.app.doors.runbooks.check(&asked).map_err(ApiError::Invalid)?;
    catalog_knows(&call, &checked.of_catalog).await?;
    if body.dry_run && !body.secret_env.is_empty() {
        return Err(ApiError::Invalid(
            "secretEnv: a dry run takes the secrets that the runbook declares".to_owned(),
        ));
    }
    let mut own = json!({
        "remediation": {
            "kind": "runbook",
            "path": path,
            "cells": body.cells,
            "inputs": body.inputs,
            "env": body.env,
            "secretEnv": body.secret_env,
            "workdir": body.workdir,
        },
        "reason": line("reason", &body.reason)?,
        "dryRun": body.dry_run,
    });
    if let Some(timeout) = body.timeout.filter(|timeout| !timeout.is_null()) {
        own["remediation"]["timeout"] = timeout;
    }
    if !body.verify.is_empty() {
        own["verification"] = json!(VerificationInput { cells: body.verify });
    }
    // Read with the blueprint's own eyes, so that a bad time-out is told here and not by a failed run.
    let input: RemediateInput = read(own)
        .map_err(|error| ApiError::Invalid(error.trim_start_matches("input.remediation.").to_owned()))?;
    let started = start_with(&call, &incident, &state, WorkflowType::Remediate, None, &input).await?;
    if input.dry_run { with_plan(started, &checked).await } else { Ok(started) }
}

/// The answer to a start, with what would be run.
async fn with_plan(started: Response, checked: &CheckedRunbook) -> Result<Response, ApiError> {
    let status = started.status();
    let bytes = to_bytes(started.into_body(), crate::BODY_LIMIT_BYTES).await.unwrap_or_default();
    let mut body: Value =
        serde_json::from_slice(&bytes).map_err(|error| ApiError::Malformed(error.to_string()))?;
    let cell = |(name, verifies, runs): &(String, bool, bool)| json!({ "cell": name, "verifies": verifies, "runs": runs });
    body["dryRun"] = json!({
        "inputs": checked.inputs.iter().cloned().collect::<BTreeMap<_, _>>(),
        "cells": checked.cells.iter().map(cell).collect::<Vec<_>>(),
    });
    Ok((status, Json(body)).into_response())
}

/// Whether the services and releases that inputs name are in the catalog.
async fn catalog_knows(call: &Call, inputs: &[CatalogInput]) -> Result<(), ApiError> {
    for CatalogInput { name, is_service, id } in inputs {
        let found = if *is_service {
            match id.parse() {
                Ok(service) => catalog::service(call, &service).await.map(drop),
                Err(_) => Err(ApiError::NotFound(String::new())),
            }
        } else {
            match id.parse() {
                Ok(release) => catalog::service_of(call, &release).await.map(drop),
                Err(_) => Err(ApiError::NotFound(String::new())),
            }
        };
        let (what, list) = if *is_service {
            ("service", "harmony service list")
        } else {
            ("release", "harmony release list")
        };
        match found {
            Err(ApiError::NotFound(_)) => {
                return Err(ApiError::Invalid(format!(
                    "input {name}: the catalog has no {what} {id}; {list} names those it has"
                )));
            }
            other => other?,
        }
    }
    Ok(())
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReasonBody {
    #[serde(default)]
    reason: String,
}

/// `POST …/stop`
pub(crate) async fn stop(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Respond).await?;
    let ReasonBody { reason } = call.body()?;
    let reason = line("reason", &reason)?;
    let reason = if reason.is_empty() { STOPPED } else { &reason };
    stop_remediation(&call, &incident, &state, reason).await
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CloseOutBody {
    #[serde(default)]
    resolution_summary: String,
    #[serde(default)]
    resolution_type: Option<String>,
    #[serde(default)]
    archive_channel: bool,
    /// Why, for those who decide on it.
    #[serde(default)]
    reason: String,
}

/// `POST …/close-out`
pub(crate) async fn close_out(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Resolve).await?;
    let body: CloseOutBody = call.body()?;
    let resolution_summary = long("resolutionSummary", &body.resolution_summary)?;
    let kind = words::resolution_type(body.resolution_type.as_deref().unwrap_or("FIXED"))
        .map_err(|error| ApiError::Invalid(error.to_string()))?;
    let input = CloseOutInput {
        resolution_summary,
        resolution_type: kind.as_str_name().to_owned(),
        archive_channel: body.archive_channel,
        cancelled: false,
        reason: line("reason", &body.reason)?,
    };
    let target = Some(State::Resolved);
    start_with(&call, &incident, &state, WorkflowType::CloseOut, target, &input).await
}

/// `POST …/cancel`: a close-out that cancels.
pub(crate) async fn cancel(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Resolve).await?;
    let ReasonBody { reason } = call.body()?;
    let input = CloseOutInput {
        resolution_summary: long("reason", &reason)?,
        // Of no meaning for a cancellation; the input wants one of the words.
        resolution_type: "WONT_FIX".to_owned(),
        archive_channel: false,
        cancelled: true,
        reason: String::new(),
    };
    let target = Some(State::Cancelled);
    start_with(&call, &incident, &state, WorkflowType::CloseOut, target, &input).await
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PostMortemBody {
    #[serde(default)]
    title: String,
    #[serde(default)]
    space_key: Option<String>,
    #[serde(default)]
    parent_id: Option<String>,
    #[serde(default)]
    labels: Vec<String>,
    /// Why, for those who decide on it.
    #[serde(default)]
    reason: String,
}

/// `POST …/post-mortem`
pub(crate) async fn post_mortem(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Respond).await?;
    call.require_on(Right::ConfluenceWrite, &state).await?;
    let body: PostMortemBody = call.body()?;
    let space_key = line("spaceKey", body.space_key.as_deref().unwrap_or_default())?;
    let space_key = if space_key.is_empty() { call.app.doors.default_space.clone() } else { space_key };
    let parent_id = body.parent_id.map(|id| line("parentId", &id)).transpose()?.filter(|id| !id.is_empty());
    let labels = body.labels.iter().map(|label| required("labels", label)).collect::<Result<_, _>>()?;
    let input = PostMortemInput {
        title: line("title", &body.title)?,
        confluence: PageTarget { space_key, parent_id, labels },
        reason: line("reason", &body.reason)?,
    };
    start_with(&call, &incident, &state, WorkflowType::PostMortem, None, &input).await
}

/// A text that must be there.
fn long(name: &str, text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(ApiError::Invalid(format!("{name} is empty")));
    }
    if text.len() > TEXT_LIMIT_BYTES {
        return Err(ApiError::Invalid(format!("{name} has more than 64 KiB")));
    }
    Ok(text.to_owned())
}

async fn start_with<T: Serialize + Sync>(
    call: &Call,
    incident: &IncidentId,
    state: &IncidentState,
    kind: WorkflowType,
    target: Option<State>,
    input: &T,
) -> Result<Response, ApiError> {
    start(call, incident, state, Start { kind, target, own: json!(input) }).await
}

//! Commands that start or stop a blueprint: remediate, stop, close-out, cancel, post-mortem.
//!
//! The input of a blueprint is made with the blueprints' own types, so what leaves here parses there.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::to_bytes,
    response::{IntoResponse, Response},
};
use harmony_blueprints::{
    contracts::{CellPlan, Covered},
    messages::{
        CloseOutInput, PageTarget, PostMortemInput, RemediateInput, RemediationKind, RunbookInput,
        VerificationInput, read,
    },
};
use harmony_incidents::{
    IncidentId, Right, StreamId, WorkflowType,
    judge::TEXT_LIMIT_BYTES,
    log::{IncidentState, State, payload::Kind},
    words,
};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::{
    AskedRunbook, CatalogInput, CheckedRunbook,
    call::{Call, line, required},
    catalog,
    error::ApiError,
    json::whole,
    members,
    starts::{Start, start, stop_remediation},
};

/// What a stop without words says.
const STOPPED: &str = "stopped by hand";

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RemediateBody {
    #[serde(alias = "path")]
    #[schema(value_type = members::RequiredLine, inline)]
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
    #[schema(value_type = members::Line, inline)]
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

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ProposeDryRunBody {
    /// Which attempt of the remediation the dry run was, as the answer to its start says.
    #[schema(value_type = members::Attempt, inline)]
    attempt: Value,
    /// Why, for those who decide on it.
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    reason: String,
}

/// `POST …/propose-dry-run`: proposes what a dry run showed, as it stands.
pub(crate) async fn propose_dry_run(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Respond).await?;
    call.require_on(Right::OperationsExecute, &state).await?;
    let ProposeDryRunBody { attempt, reason } = call.body()?;
    let attempt = attempt_of(&attempt)?;
    let reason = match line("reason", &reason)? {
        reason if reason.is_empty() => format!("as dry run {attempt} showed it"),
        reason => reason,
    };
    let planned = planned(&call, &incident, &state, attempt).await?;
    let runbook = &planned.covered.runbook;
    let text = call.app.doors.runbooks.text(&runbook.path).map_err(ApiError::Conflict)?;
    let sha256 = hex::encode(Sha256::digest(text.as_bytes()));
    if sha256 != runbook.sha256 {
        return Err(ApiError::Conflict(format!(
            "{} changed since dry run {attempt}: its SHA-256 was {} and is {sha256}; do another dry run",
            runbook.path, runbook.sha256
        )));
    }
    let input = planned.proposal(reason);
    let asked = AskedRunbook {
        path: &input.remediation.path,
        cells: &input.remediation.cells,
        verify: input.verification.as_ref().map_or(&[], |one| &one.cells),
        inputs: &input.remediation.inputs,
        env: &input.remediation.env,
        dry_run: false,
    };
    // What an input names may have left the catalog since.
    let checked = call.app.doors.runbooks.check(&asked).map_err(ApiError::Invalid)?;
    catalog_knows(&call, &checked.of_catalog).await?;
    start_with(&call, &incident, &state, WorkflowType::Remediate, None, &input).await
}

/// A form has text only.
fn attempt_of(given: &Value) -> Result<u32, ApiError> {
    let number = match given {
        Value::String(text) => text.trim().parse().ok(),
        other => whole(other).and_then(|number| u32::try_from(number).ok()),
    };
    number.filter(|attempt| *attempt > 0).ok_or_else(|| {
        ApiError::Invalid("attempt: which attempt the dry run was, a number from 1".to_owned())
    })
}

/// What a dry run covered.
#[derive(Deserialize)]
struct Planned {
    #[serde(flatten)]
    covered: Covered,
    /// The longest time of a cell.
    #[serde(rename = "timeoutMs")]
    timeout_ms: u64,
}

impl Planned {
    /// The same, to be carried out.
    fn proposal(&self, reason: String) -> RemediateInput {
        let names = |cells: &[CellPlan]| cells.iter().map(|cell| cell.name.clone()).collect::<Vec<_>>();
        let Covered { cells, verification, inputs, runbook, workdir, .. } = &self.covered;
        RemediateInput {
            remediation: RunbookInput {
                kind: RemediationKind::Runbook,
                path: runbook.path.clone(),
                cells: names(cells),
                inputs: inputs.iter().map(|input| (input.name.clone(), input.value.clone())).collect(),
                // A dry run takes declared inputs and declared secrets alone.
                env: BTreeMap::new(),
                secret_env: Vec::new(),
                timeout: SignedDuration::from_millis(i64::try_from(self.timeout_ms).unwrap_or(i64::MAX)),
                workdir: workdir.clone(),
                sha256: runbook.sha256.clone(),
            },
            verification: (!verification.is_empty())
                .then(|| VerificationInput { cells: names(verification) }),
            reason,
            dry_run: false,
        }
    }
}

/// What an attempt planned as a dry run, as it is on record.
async fn planned(
    call: &Call,
    incident: &IncidentId,
    state: &IncidentState,
    attempt: u32,
) -> Result<Planned, ApiError> {
    const PAGE: u32 = 500;
    let blueprint = WorkflowType::Remediate.blueprint();
    let now = state.blueprints.iter().find(|run| run.blueprint == blueprint && run.attempt == attempt);
    let mut after = now.map_or(0, |run| run.started_seq.saturating_sub(1));
    let stream = StreamId::from(incident.clone());
    let found = 'found: loop {
        let entries = call.app.doors.log.records(&call.caller.org, &stream, after, PAGE).await?;
        let Some(last) = entries.last() else {
            return Err(ApiError::NotFound(format!(
                "attempt {attempt} of {incident}'s remediation was not a dry run that planned something"
            )));
        };
        after = last.record.seq;
        for entry in entries {
            if let Some(Kind::RunbookDryRunPlanned(plan)) = entry.record.payload.and_then(|one| one.kind)
                && plan.blueprint == blueprint
                && plan.attempt == attempt
            {
                break 'found plan;
            }
        }
    };
    let covers = found.covers.filter(|text| !text.redacted).map(|text| text.text).unwrap_or_default();
    let is_whole = Sha256::digest(covers.as_bytes()).as_slice() == found.digest.as_slice();
    let planned = serde_json::from_str(&covers).ok().filter(|_| is_whole);
    planned.ok_or_else(|| {
        ApiError::Conflict(format!(
            "what dry run {attempt} showed was taken out of the log: do another dry run"
        ))
    })
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
    #[schema(value_type = members::Line, inline)]
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
    #[schema(value_type = members::RequiredText, inline, required = true)]
    resolution_summary: String,
    #[serde(default)]
    #[schema(value_type = Option<members::Resolution>, inline)]
    resolution_type: Option<String>,
    #[serde(default)]
    archive_channel: bool,
    /// Why, for those who decide on it.
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelBody {
    /// Why it was no incident.
    #[serde(default)]
    #[schema(value_type = members::RequiredText, inline, required = true)]
    reason: String,
}

/// `POST …/cancel`: a close-out that cancels.
pub(crate) async fn cancel(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Resolve).await?;
    let CancelBody { reason } = call.body()?;
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
    #[schema(value_type = members::Line, inline)]
    title: String,
    #[serde(default)]
    #[schema(value_type = Option<members::Line>, inline)]
    space_key: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<members::Line>, inline)]
    parent_id: Option<String>,
    #[serde(default)]
    #[schema(value_type = Vec<members::RequiredLine>, inline)]
    labels: Vec<String>,
    /// Why, for those who decide on it.
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
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

//! Gates: which wait, what each covers, deciding one, and passing one on to its next level.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use harmony_catalog::judge::flow_of;
use harmony_eventlog::{Filter, catalog::running_services};
use harmony_incidents::{
    Command, GateStatus, HasStatus, OrgId, Right, StreamId,
    command::Decision,
    ids::NAMESPACE,
    log::{GateState, IncidentState, payload::Kind},
};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    App,
    auth::Caller,
    call::Call,
    decisions::{self, Proposal},
    error::ApiError,
    incidents::every,
    submit,
    views::{self, parsed},
};

/// Longest reason of a decision.
pub(crate) const REASON_CHARS: usize = 2_000;

/// Every incident with a gate that waits, and the gates of releases, a state for each service.
pub(crate) async fn waiting(app: &App, caller: &Caller) -> Result<Vec<IncidentState>, ApiError> {
    let org = &caller.org;
    let filter = Filter { waiting: true, visible_to: caller.sees_only(), ..Filter::default() };
    let mut found = every(app, org, filter).await?;
    found.extend(waiting_releases(app, org).await?);
    Ok(found)
}

/// The gates of the releases that are on their way.
async fn waiting_releases(app: &App, org: &OrgId) -> Result<Vec<IncidentState>, ApiError> {
    let waits = |flow: &IncidentState| flow.gates.iter().any(|gate| gate.is(GateStatus::Pending));
    let services = running_services(&*app.doors.log, org).await?;
    Ok(services.iter().map(flow_of).filter(waits).collect())
}

/// The gates that wait of releases that are meant to end an incident, each with the state that it is judged by.
pub(crate) async fn releases_for(
    app: &App,
    org: &OrgId,
    incident: &str,
) -> Result<Vec<(IncidentState, GateState)>, ApiError> {
    let mut found = Vec::new();
    for service in running_services(&*app.doors.log, org).await? {
        let is_meant = |gate: &GateState| {
            let release = views::release_of(&gate.workflow_id);
            service
                .releases
                .iter()
                .any(|one| one.incident == incident && release.as_ref() == Some(&one.release_id))
        };
        let flow = flow_of(&service);
        let gates = flow.gates.iter().filter(|gate| gate.is(GateStatus::Pending) && is_meant(gate)).cloned();
        let gates: Vec<GateState> = gates.collect();
        found.extend(gates.into_iter().map(|gate| (flow.clone(), gate)));
    }
    Ok(found)
}

/// Gates that wait, newest first, for who may read gates.
pub(crate) async fn pending(app: &App, caller: &Caller) -> Result<Vec<views::Gate>, ApiError> {
    caller.require(Right::ReadGates, None)?;
    let incidents = waiting(app, caller).await?;
    let mut pending: Vec<(i64, views::Gate)> = incidents
        .iter()
        .flat_map(|state| state.gates.iter().map(move |gate| (state, gate)))
        .filter(|(_, gate)| gate.is(GateStatus::Pending))
        .map(|(state, gate)| (gate.requested_at_us, views::gate(state, gate)))
        .collect();
    pending.sort_by_key(|(requested_at_us, _)| std::cmp::Reverse(*requested_at_us));
    Ok(pending.into_iter().map(|(_, gate)| gate).collect())
}

/// `GET …/approvals`: gates that wait, newest first.
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    let approvals = pending(&call.app, &call.caller).await?;
    Ok(Json(json!({ "approvals": approvals })).into_response())
}

/// `GET …/approvals/{gateId}`: a gate with everything that its digest covers.
pub(crate) async fn show(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    call.caller.require(Right::ReadGates, None)?;
    let gate_id = call.path("gate");
    let place = seen(&call, gate_id).await?;
    let Some((place, gate)) = place.as_ref().and_then(|place| Some((place, place.gate(gate_id)?))) else {
        return Err(no_gate(gate_id));
    };
    let mut body = json!(views::gate(&place.state, gate));
    body["covers"] = covers(&call.app, &call.caller.org, &place.stream, gate).await?;
    Ok(Json(body).into_response())
}

/// Where a gate is, for who sees its incident.
async fn seen(call: &Call, gate_id: &str) -> Result<Option<decisions::Place>, ApiError> {
    let place = decisions::place(&call.app, &call.caller.org, gate_id).await?;
    Ok(place.filter(|place| call.caller.sees(&place.state)))
}

/// What was shown and digested, from the record that opened the gate.
pub(crate) async fn covers(
    app: &App,
    org: &OrgId,
    stream: &StreamId,
    gate: &GateState,
) -> Result<Value, ApiError> {
    let after = gate.requested_seq.saturating_sub(1);
    let records = app.doors.log.records(org, stream, after, 1).await?;
    let kind = records.into_iter().next().and_then(|entry| entry.record.payload?.kind);
    Ok(match kind {
        Some(Kind::ApprovalRequested(requested)) => {
            requested.covers.filter(|text| !text.redacted).map_or(Value::Null, |text| parsed(&text.text))
        }
        _ => Value::Null,
    })
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct DecisionBody {
    /// Instead of `escalate`. `skipped` is for a cell of which nobody knows whether it ran.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^(approved|rejected|skipped)$")]
    decision: Option<Decision>,
    /// Instead of `decision`.
    #[serde(default)]
    escalate: bool,
    #[serde(default)]
    break_glass: bool,
    #[serde(default)]
    #[schema(max_length = 2000)]
    justification: Option<String>,
    /// Of what the gate covers, as it was shown: a decision names what it is about.
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    #[schema(max_length = 2000)]
    reason: Option<String>,
    #[serde(default)]
    #[schema(value_type = String, pattern = "^(api|cli|console)$")]
    source: Source,
}

/// Which of our own clients asks. Shown and recorded; nothing depends on it.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    #[default]
    Api,
    Cli,
    Console,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Cli => "cli",
            Self::Console => "console",
        }
    }
}

/// `POST …/approvals/{gateId}`
pub(crate) async fn decide(call: Call) -> Result<Response, ApiError> {
    let body: DecisionBody = call.body()?;
    for (name, text) in [("reason", &body.reason), ("justification", &body.justification)] {
        if text.as_ref().is_some_and(|text| text.chars().count() > REASON_CHARS) {
            return Err(ApiError::Invalid(format!("{name} has more than {REASON_CHARS} characters")));
        }
    }
    if body.escalate {
        return escalate(&call, body).await;
    }
    let Some(decision) = body.decision else {
        return Err(ApiError::Invalid(
            "decision is missing: approved or rejected (of a cell that may have run also skipped)".to_owned(),
        ));
    };
    if decision == Decision::Rejected && body.reason.as_ref().is_none_or(|text| text.trim().is_empty()) {
        return Err(ApiError::Invalid("reason is missing: a rejection needs one".to_owned()));
    }
    let justification = body.justification.filter(|text| !text.trim().is_empty());
    if body.break_glass && justification.is_none() {
        return Err(ApiError::Invalid("breakGlass needs a justification".to_owned()));
    }
    if justification.is_some() && !body.break_glass {
        return Err(ApiError::Invalid("a justification belongs to breakGlass; give a reason".to_owned()));
    }
    let gate_id = call.path("gate");
    let place = seen(&call, gate_id).await?.ok_or_else(|| no_gate(gate_id))?;
    let decision_id = if call.request.given {
        Uuid::new_v5(&NAMESPACE, format!("{}/{}", call.caller.org, call.key()).as_bytes())
    } else {
        Uuid::now_v7()
    };
    let proposal = Proposal {
        org: &call.caller.org,
        gate_id,
        digest: body.digest.map(|digest| digest.to_ascii_lowercase()),
        decision,
        reason: body.reason.filter(|reason| !reason.trim().is_empty()),
        approver: &call.caller.principal,
        decision_id,
        source: body.source.name(),
        break_glass: body.break_glass,
        justification,
    };
    let context = call.context(Some(&place.state));
    let judged = place.decide(&call.app, call.caller.rules(), &context, &proposal).await?;
    let verdict = judged.map_err(ApiError::Decision)?;
    let mut body = json!({
        "accepted": verdict.accepted,
        "status": verdict.status,
        "gateId": verdict.gate_id.as_deref().unwrap_or(gate_id),
        "decisionId": decision_id,
    });
    if let Some(warning) = decisions::away(&call.app) {
        body["warning"] = json!(warning);
    }
    Ok(Json(body).into_response())
}

/// `{escalate: true}`: the next level has it now.
async fn escalate(call: &Call, body: DecisionBody) -> Result<Response, ApiError> {
    if body.decision.is_some() || body.break_glass || body.justification.is_some() || body.digest.is_some() {
        return Err(ApiError::Invalid("escalate takes a reason and nothing else".to_owned()));
    }
    let gate_id = call.path("gate");
    let place = seen(call, gate_id).await?.ok_or_else(|| no_gate(gate_id))?;
    if place.gate(gate_id).is_none() {
        return Err(no_gate(gate_id));
    }
    call.require_on(Right::Respond, &place.state).await?;
    let command = Command::Escalate { gate_id: gate_id.to_owned(), reason: body.reason.unwrap_or_default() };
    let context = call.context(Some(&place.state));
    submit::append(call, &place.stream, &call.key(), &command, &context, &|_| None).await?;
    let place = seen(call, gate_id).await?.ok_or_else(|| no_gate(gate_id))?;
    let gate = place.gate(gate_id).ok_or_else(|| no_gate(gate_id))?;
    Ok(Json(json!(views::gate(&place.state, gate))).into_response())
}

fn no_gate(gate_id: &str) -> ApiError {
    ApiError::NotFound(format!("there is no gate {gate_id:?} here"))
}

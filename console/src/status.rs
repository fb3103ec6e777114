//! Changes of status, phase and severity by hand.
//!
//! `state` and `newState` take the machine's words, `status` and `newStatus` those of the view, in which OPEN means
//! PENDING. CLOSED is always the command that asks whether a review is due, never a bare transition, and RESOLVED goes
//! through the close-out wherever the policy gates it.

use axum::response::Response;
use harmony_blueprints::messages::{Act, CloseOutInput};
use harmony_incidents::{
    Answer, Command, Context, Head, IncidentId, Right, WorkflowType,
    command::ResolutionInput,
    judge,
    log::{Authority, IncidentState, Phase, ResolutionType, State},
    policy::GateKind,
    words,
};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    call::Call,
    error::ApiError,
    members,
    starts::{Prepared, Start},
    submit::{answer, append, append_decided, nothing, submit, submit_told, told_items},
};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct StatusBody {
    #[serde(default, alias = "newState")]
    #[schema(value_type = Option<members::State>, inline)]
    state: Option<String>,
    #[serde(default, alias = "newStatus")]
    #[schema(value_type = Option<members::Status>, inline)]
    status: Option<String>,
    #[serde(default)]
    #[schema(value_type = members::LongText, inline)]
    reason: String,
    /// Claims `EMERGENCY_OVERRIDE`.
    #[serde(default)]
    #[schema(value_type = members::LongText, inline)]
    justification: String,
    #[serde(default)]
    resolution: Option<ResolutionBody>,
    #[serde(default)]
    #[schema(value_type = Option<members::LongText>, inline)]
    resolution_summary: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<members::Resolution>, inline)]
    resolution_type: Option<String>,
}

/// How it was resolved.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResolutionBody {
    #[schema(value_type = members::LongText, inline)]
    summary: String,
    #[serde(rename = "type")]
    #[schema(value_type = members::Resolution, inline)]
    kind: String,
}

/// What a request asks for.
enum Wish {
    State(State),
    /// MITIGATED: the phase `verified`, from OPEN by way of MITIGATING.
    Verified,
}

/// `POST …/status`
pub(crate) async fn change(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Resolve).await?;
    let body: StatusBody = call.body()?;
    let wish = wish(&body, &state)?;
    let context = if body.justification.trim().is_empty() {
        call.context(Some(&state))
    } else {
        call.require_on(Right::Override, &state).await?;
        call.context_as(Authority::EmergencyOverride)
    };
    match wish {
        Wish::State(State::Closed) => submit(&call, &incident, &Command::Close, &context).await,
        Wish::State(State::Resolved) => resolve(&call, &incident, &state, body, &context).await,
        Wish::State(to) => {
            let resolution = resolution(&call, &body)?;
            let summary = body.reason.clone();
            let command = Command::ChangeStatus {
                to,
                resolution,
                reason: body.reason,
                justification: body.justification,
            };
            // By hand nobody else tells; a close-out does so itself.
            let told = |_: &IncidentState| {
                let cancelled = to == State::Cancelled;
                cancelled.then(|| Act::Ended { cancelled, summary: summary.clone() })
            };
            submit_told(&call, &incident, &state, &command, &context, (&|_| None, &told)).await
        }
        Wish::Verified => mitigated(call, &incident, &state, body, &context).await,
    }
}

/// There is one way to RESOLVED: where the policy gates the close-out, this starts it, whatever authority is claimed
/// here, and answers 202; its gate can be approved under `EMERGENCY_OVERRIDE`. Where nothing is gated it is resolved at
/// once. Which of the two is decided with the command, so that a severity that changes meanwhile opens no way around.
async fn resolve(
    call: &Call,
    incident: &IncidentId,
    state: &IncidentState,
    body: StatusBody,
    context: &Context,
) -> Result<Response, ApiError> {
    let resolution = resolution(call, &body)?;
    let summary = resolution.as_ref().map_or(&body.reason, |one| &one.summary).clone();
    let kind = resolution.as_ref().map_or(ResolutionType::ResolutionUnspecified, |one| one.kind);
    let why = if body.justification.trim().is_empty() { &body.reason } else { &body.justification };
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
    let close_out = CloseOutInput {
        resolution_summary: summary.clone(),
        resolution_type: kind.as_str_name().to_owned(),
        archive_channel: false,
        cancelled: false,
        reason: why,
    };
    let start = Start { kind: WorkflowType::CloseOut, target: Some(State::Resolved), own: json!(close_out) };
    // A run has what the directory gives its starter, not what is claimed for one command.
    let asked = call.context(Some(state));
    let prepared = Prepared::new(call, incident, state, start, &asked);
    let command = Command::ChangeStatus {
        to: State::Resolved,
        resolution,
        reason: body.reason,
        justification: body.justification,
    };
    let told = |_: &IncidentState| Some(Act::Ended { cancelled: false, summary: summary.clone() });
    let rules = call.caller.rules();
    let decide = |head: Head<'_>| {
        let judged = judge(head, &command, context, rules)?;
        let gated = rules.policy.has_gate(GateKind::CloseOut, head.state.severity(), asked.authority);
        if gated && !judged.payloads.is_empty() {
            let (answer, item) = prepared.judge(head)?;
            return Ok((nothing(answer), item.into_iter().collect()));
        }
        let items = told_items(call, incident, state, context, head, &judged, &told);
        Ok((judged, items))
    };
    let appended = append_decided(call, incident, &call.key(), &command, context, &decide).await?;
    if matches!(appended.answer, Answer::Started { .. }) {
        return Ok(prepared.started(&appended.answer));
    }
    answer(call, &appended).await
}

async fn mitigated(
    mut call: Call,
    incident: &IncidentId,
    state: &IncidentState,
    body: StatusBody,
    context: &Context,
) -> Result<Response, ApiError> {
    if state.state() == State::Open {
        let command = Command::ChangeStatus {
            to: State::Mitigating,
            reason: body.reason,
            justification: body.justification,
            resolution: None,
        };
        let key = format!("{}/mitigating", call.key());
        let appended = append(&call, incident, &key, &command, context, &|_| None).await?;
        let last = appended.records.last().map(|entry| entry.record.seq);
        call.expected_seq = call.expected_seq.and(last);
    }
    let command = Command::EnterPhase { phase: Phase::Verified };
    let appended = append(&call, incident, &call.key(), &command, context, &|_| None).await?;
    answer(&call, &appended).await
}

fn wish(body: &StatusBody, present: &IncidentState) -> Result<Wish, ApiError> {
    let invalid = |error: words::UnknownWord| ApiError::Invalid(error.to_string());
    match (&body.state, &body.status) {
        (Some(word), None) => words::state(word).map(Wish::State).map_err(invalid),
        (None, Some(word)) => match word.to_ascii_uppercase().as_str() {
            "OPEN" => Ok(Wish::State(State::Pending)),
            "MITIGATED" => Ok(Wish::Verified),
            // An incident that is being mitigated is INVESTIGATING in the view already.
            "INVESTIGATING" if present.state() == State::Mitigating => Ok(Wish::State(State::Mitigating)),
            _ => words::state_meant(word).map(Wish::State).map_err(invalid),
        },
        (None, None) => Err(ApiError::Invalid(
            "name the `status` (OPEN, INVESTIGATING, MITIGATED, RESOLVED, CANCELLED) or the `state` (OPEN, MITIGATING, …)"
                .to_owned(),
        )),
        (Some(_), Some(_)) => Err(ApiError::Invalid("name `status` or `state`, not both".to_owned())),
    }
}

fn resolution(call: &Call, body: &StatusBody) -> Result<Option<ResolutionInput>, ApiError> {
    let (summary, kind) = match (&body.resolution, &body.resolution_summary, &body.resolution_type) {
        (Some(given), None, None) => (&given.summary, given.kind.as_str()),
        (None, Some(summary), kind) => (summary, kind.as_deref().unwrap_or("FIXED")),
        (None, None, None) => return Ok(None),
        _ => {
            return Err(ApiError::Invalid(
                "a resolution is `resolution {summary, type}`, or `resolutionSummary` and `resolutionType`"
                    .to_owned(),
            ));
        }
    };
    let kind = words::resolution_type(kind).map_err(|error| ApiError::Invalid(error.to_string()))?;
    let resolved_by = call.caller.principal.id.clone();
    Ok(Some(ResolutionInput { summary: summary.clone(), kind, resolved_by }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeverityBody {
    #[serde(alias = "newSeverity")]
    #[schema(value_type = members::Severity, inline)]
    severity: String,
    #[serde(default)]
    #[schema(value_type = members::LongText, inline)]
    reason: String,
}

/// `POST …/severity`
pub(crate) async fn severity(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::ChangeSeverity).await?;
    let body: SeverityBody = call.body()?;
    let to = words::severity(&body.severity).map_err(|error| ApiError::Invalid(error.to_string()))?;
    let reason = body.reason.clone();
    let command = Command::ChangeSeverity { to, reason: body.reason };
    let told = |head: &IncidentState| {
        Some(Act::Severity {
            from: head.severity().as_str_name().to_owned(),
            to: to.as_str_name().to_owned(),
            reason: reason.clone(),
        })
    };
    let context = call.context(Some(&state));
    submit_told(&call, &incident, &state, &command, &context, (&|_| None, &told)).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// `POST …/verify`: somebody saw that it works.
pub(crate) async fn verify(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Resolve).await?;
    let Nothing {} = call.body()?;
    let command = Command::EnterPhase { phase: Phase::Verified };
    submit(&call, &incident, &command, &call.context(Some(&state))).await
}

/// `POST …/close`: where no review is required.
pub(crate) async fn close(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Resolve).await?;
    let Nothing {} = call.body()?;
    submit(&call, &incident, &Command::Close, &call.context(Some(&state))).await
}

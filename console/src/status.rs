//! Changes of status, phase and severity by hand.
//!
//! `state` and `newState` take the machine's words, `status` and `newStatus` those of the view, in which OPEN means
//! PENDING. CLOSED is always the command that asks whether a review is due, never a bare transition.

use axum::response::Response;
use harmony_blueprints::messages::Act;
use harmony_incidents::{
    Command, Context, IncidentId, Right,
    command::ResolutionInput,
    log::{Authority, IncidentState, Phase, State},
    words,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    call::Call,
    error::ApiError,
    submit::{answer, append, submit, submit_told},
};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct StatusBody {
    #[serde(default, alias = "newState")]
    state: Option<String>,
    #[serde(default, alias = "newStatus")]
    status: Option<String>,
    #[serde(default)]
    reason: String,
    /// Claims `EMERGENCY_OVERRIDE`.
    #[serde(default)]
    justification: String,
    #[serde(default)]
    resolution: Option<ResolutionBody>,
    #[serde(default)]
    resolution_summary: Option<String>,
    #[serde(default)]
    resolution_type: Option<String>,
}

/// How it was resolved.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResolutionBody {
    summary: String,
    #[serde(rename = "type")]
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
        call.caller.require(Right::Override, Some(&state))?;
        call.context_as(Authority::EmergencyOverride)
    };
    match wish {
        Wish::State(State::Closed) => submit(&call, &incident, &Command::Close, &context).await,
        Wish::State(to) => {
            let resolution = resolution(&call, &body)?;
            let summary = resolution.as_ref().map_or(&body.reason, |one| &one.summary).clone();
            let command = Command::ChangeStatus {
                to,
                resolution,
                reason: body.reason,
                justification: body.justification,
            };
            // By hand nobody else tells; a close-out does so itself.
            let told = |_: &IncidentState| {
                let cancelled = to == State::Cancelled;
                (cancelled || to == State::Resolved)
                    .then(|| Act::Ended { cancelled, summary: summary.clone() })
            };
            submit_told(&call, &incident, &state, &command, &context, (&|_| None, &told)).await
        }
        Wish::Verified => mitigated(&call, &incident, &state, body, &context).await,
    }
}

async fn mitigated(
    call: &Call,
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
        append(call, incident, &key, &command, context, &|_| None).await?;
    }
    let command = Command::EnterPhase { phase: Phase::Verified };
    let appended = append(call, incident, &call.key(), &command, context, &|_| None).await?;
    answer(call, &appended).await
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
    severity: String,
    #[serde(default)]
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

//! Facts that people and systems add to an incident: notes, actions, signals, tags, violated objectives, tickets.
//!
//! None changes state. Two equal facts are two facts, unless the request is the same one by its Idempotency-Key.

use axum::response::Response;
use harmony_incidents::{
    Command, Right,
    judge::payload,
    log::{
        IncidentLinkedToTicket, IncidentNoteAdded, IncidentPlaybookActionExecuted, IncidentSignalIngested,
        IncidentSloViolationRecorded, IncidentTagAdded, IncidentTagRemoved, Text, payload::Kind,
    },
};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::ToSchema;

use crate::{
    call::{Call, line, required},
    error::ApiError,
    submit::submit,
};

/// Records what `read` makes of the body, for who has the right.
async fn record<T: DeserializeOwned>(
    call: Call,
    right: Right,
    read: impl FnOnce(T, &str) -> Result<Kind, ApiError>,
) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(right).await?;
    let kind = read(call.body()?, &call.request.id)?;
    let command = Command::Record { payload: payload(kind) };
    submit(&call, &incident, &command, &call.context(Some(&state))).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoteBody {
    #[serde(alias = "text")]
    note: String,
}

/// `POST …/notes`
pub(crate) async fn note(call: Call) -> Result<Response, ApiError> {
    record(call, Right::Note, |body: NoteBody, _| {
        Ok(Kind::IncidentNoteAdded(IncidentNoteAdded { note: Some(Text::plain(body.note)) }))
    })
    .await
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ActionBody {
    #[serde(default)]
    action_id: String,
    action: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    detail: String,
}

/// `POST …/actions`
pub(crate) async fn action(call: Call) -> Result<Response, ApiError> {
    record(call, Right::Note, |body: ActionBody, request| {
        Ok(Kind::IncidentPlaybookActionExecuted(IncidentPlaybookActionExecuted {
            action_id: named(line("actionId", &body.action_id)?, request),
            action: required("action", &body.action)?,
            status: required("status", body.status.as_deref().unwrap_or("EXECUTED"))?,
            detail: Text::optional(body.detail),
        }))
    })
    .await
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SignalBody {
    #[serde(default)]
    signal_id: String,
    source: String,
    #[serde(default)]
    correlation_key: String,
    #[serde(default)]
    trace_id: String,
    #[serde(default)]
    summary: String,
}

/// `POST …/signals`
pub(crate) async fn signal(call: Call) -> Result<Response, ApiError> {
    record(call, Right::Respond, |body: SignalBody, request| {
        Ok(Kind::IncidentSignalIngested(IncidentSignalIngested {
            signal_id: named(line("signalId", &body.signal_id)?, request),
            source: required("source", &body.source)?,
            correlation_key: line("correlationKey", &body.correlation_key)?,
            trace_id: line("traceId", &body.trace_id)?,
            summary: Text::optional(body.summary),
        }))
    })
    .await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TagBody {
    tag: String,
    #[serde(default)]
    remove: bool,
}

/// `POST …/tags`
pub(crate) async fn tag(call: Call) -> Result<Response, ApiError> {
    record(call, Right::Respond, |body: TagBody, _| {
        let tag = required("tag", &body.tag)?;
        Ok(if body.remove {
            Kind::IncidentTagRemoved(IncidentTagRemoved { tag })
        } else {
            Kind::IncidentTagAdded(IncidentTagAdded { tag })
        })
    })
    .await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SloViolationBody {
    slo: String,
    #[serde(default)]
    target: String,
    #[serde(default)]
    observed: String,
    #[serde(default)]
    detail: String,
}

/// `POST …/slo-violations`
pub(crate) async fn slo_violation(call: Call) -> Result<Response, ApiError> {
    record(call, Right::Respond, |body: SloViolationBody, _| {
        Ok(Kind::IncidentSloViolationRecorded(IncidentSloViolationRecorded {
            slo: required("slo", &body.slo)?,
            target: line("target", &body.target)?,
            observed: line("observed", &body.observed)?,
            detail: Text::optional(body.detail),
        }))
    })
    .await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TicketBody {
    system: String,
    ticket: String,
    #[serde(default)]
    url: String,
}

/// `POST …/tickets`
pub(crate) async fn ticket(call: Call) -> Result<Response, ApiError> {
    record(call, Right::Respond, |body: TicketBody, _| {
        Ok(Kind::IncidentLinkedToTicket(IncidentLinkedToTicket {
            system: required("system", &body.system)?,
            ticket: required("ticket", &body.ticket)?,
            url: web_address(&body.url)?,
        }))
    })
    .await
}

/// What brings no name of its own is named by the request.
fn named(own: String, request: &str) -> String {
    if own.is_empty() { request.to_owned() } else { own }
}

/// Links are shown to people: nothing but the web.
fn web_address(text: &str) -> Result<String, ApiError> {
    let text = line("url", text)?;
    let is_web = url::Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if text.is_empty() || is_web {
        Ok(text)
    } else {
        Err(ApiError::Invalid("url: an address that starts with https:// or http://".to_owned()))
    }
}

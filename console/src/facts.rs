//! Facts that people and systems add to an incident: notes, actions, signals, tags, violated objectives, tickets.
//!
//! None changes state. Two equal facts are two facts, unless the request is the same one by its Idempotency-Key.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use harmony_incidents::{
    Command, Right,
    judge::payload,
    log::{
        IncidentLinkedToTicket, IncidentNoteAdded, IncidentPlaybookActionExecuted, IncidentSignalIngested,
        IncidentSloViolationRecorded, IncidentTagAdded, IncidentTagRemoved, Text, payload::Kind,
    },
    promotion::is_link,
    timeline,
    words::{self, UnknownWord},
};
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Number, Value, json};
use utoipa::ToSchema;

use crate::{
    call::{Call, RequestId, line, required},
    error::ApiError,
    members,
    submit::{append, submit},
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

/// One fact of the timeline: `payload` has one member, named by the kind of the record.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimelineBody {
    /// Repeated with the same key it is one record, as with an Idempotency-Key.
    #[serde(default)]
    #[schema(value_type = Option<members::Key>, inline)]
    key: Option<String>,
    /// Such as `{"incidentNoteAdded": {"note": "…"}}`, with the fields that the route of that fact takes.
    #[schema(value_type = Object)]
    payload: serde_json::Map<String, Value>,
}

/// `POST …/timeline`: the operation `timeline.record`. Answers with the line that was added, or none where it is so
/// already.
pub(crate) async fn record_line(mut call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Note).await?;
    let TimelineBody { key, payload: given } = call.body()?;
    if let Some(key) = key {
        call.request = RequestId::given(&key)?;
    }
    let mut members = given.into_iter();
    let (Some((kind, body)), None) = (members.next(), members.next()) else {
        return Err(ApiError::Invalid("payload: one member, named by the kind of the record".to_owned()));
    };
    let request = &call.request.id;
    let (right, read): (Right, Result<Kind, ApiError>) = match kind.as_str() {
        "incidentNoteAdded" => (Right::Note, fields(&kind, body).and_then(|body| read_note(body, request))),
        "incidentPlaybookActionExecuted" => {
            (Right::Note, fields(&kind, body).and_then(|body| read_action(body, request)))
        }
        "incidentSignalIngested" => {
            (Right::Respond, fields(&kind, body).and_then(|body| read_signal(body, request)))
        }
        "incidentSloViolationRecorded" => {
            (Right::Respond, fields(&kind, body).and_then(|body| read_slo_violation(body, request)))
        }
        "incidentTagAdded" => (Right::Respond, fields(&kind, body).and_then(|body| read_tag(body, request))),
        "incidentLinkedToTicket" => {
            (Right::Respond, fields(&kind, body).and_then(|body| read_ticket(body, request)))
        }
        _ => {
            return Err(ApiError::Invalid(format!(
                "payload.{kind}: not a fact that people record; use one of incidentNoteAdded, \
                 incidentPlaybookActionExecuted, incidentSignalIngested, incidentSloViolationRecorded, \
                 incidentTagAdded, incidentLinkedToTicket"
            )));
        }
    };
    call.require_on(right, &state).await?;
    let command = Command::Record { payload: payload(read?) };
    let context = call.context(Some(&state));
    let appended = append(&call, &incident, &call.key(), &command, &context, &|_| None).await?;
    let lines: Vec<_> = appended.records.iter().filter_map(|entry| timeline::line(&entry.record)).collect();
    Ok(Json(json!({ "lines": lines })).into_response())
}

fn fields<T: DeserializeOwned>(kind: &str, body: Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(body)
        .map_err(|error| ApiError::Invalid(format!("payload.{kind}.{}: {}", error.path(), error.inner())))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoteBody {
    #[serde(alias = "text")]
    #[schema(value_type = members::RequiredText, inline)]
    note: String,
}

/// `POST …/notes`
pub(crate) async fn note(call: Call) -> Result<Response, ApiError> {
    record(call, Right::Note, read_note).await
}

fn read_note(body: NoteBody, _: &str) -> Result<Kind, ApiError> {
    Ok(Kind::IncidentNoteAdded(IncidentNoteAdded { note: Some(Text::plain(body.note)) }))
}

/// What was done: `action`, or `actionKind` with a `label`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ActionBody {
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    action_id: String,
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    action: String,
    /// `NOTE`, `INVESTIGATION`, `PLAYBOOK_STEP`, `MITIGATION`, `ROLLBACK`, `COMMUNICATION`, `ESCALATION` or `OTHER`.
    #[serde(default)]
    #[schema(value_type = Option<members::ActionKind>, inline)]
    action_kind: Option<String>,
    /// What was done, in one line.
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    label: String,
    #[serde(default)]
    #[schema(value_type = Option<members::RequiredLine>, inline)]
    status: Option<String>,
    /// Text, or JSON, which is kept as its text.
    #[serde(default, alias = "details")]
    #[schema(value_type = members::Anything, inline)]
    detail: Value,
}

/// `POST …/actions`
pub(crate) async fn action(call: Call) -> Result<Response, ApiError> {
    record(call, Right::Note, read_action).await
}

fn read_action(body: ActionBody, request: &str) -> Result<Kind, ApiError> {
    let kind = body.action_kind.as_deref().map(words::action_kind).transpose().map_err(unknown)?;
    let label = line("label", &body.label)?;
    let action = match (kind, line("action", &body.action)?) {
        (Some(kind), action) if action.is_empty() => {
            if label.is_empty() {
                return Err(ApiError::Invalid("label: what was done, in one line".to_owned()));
            }
            kind.as_str_name().to_owned()
        }
        (None, action) if action.is_empty() => {
            return Err(ApiError::Invalid(
                "an action takes `actionKind` and `label`, or `action`".to_owned(),
            ));
        }
        (_, action) => action,
    };
    Ok(Kind::IncidentPlaybookActionExecuted(IncidentPlaybookActionExecuted {
        action_id: named(line("actionId", &body.action_id)?, request),
        action,
        status: required("status", body.status.as_deref().unwrap_or("EXECUTED"))?,
        detail: as_text(&body.detail),
        action_kind: kind.unwrap_or_default().into(),
        label: Text::optional(label),
    }))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SignalBody {
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    signal_id: String,
    #[schema(value_type = members::RequiredLine, inline)]
    source: String,
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    correlation_key: String,
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    trace_id: String,
    #[serde(default)]
    #[schema(value_type = members::LongText, inline)]
    summary: String,
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    project_id: String,
    /// ALERT, METRIC, LOG, TRACE, EVENT, DEPLOYMENT, ANOMALY or CUSTOM.
    #[serde(default)]
    #[schema(value_type = Option<members::SignalType>, inline)]
    signal_type: Option<String>,
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    service_name: String,
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    environment: String,
    /// What the source says of it, as JSON.
    #[serde(default)]
    #[schema(value_type = members::Anything, inline)]
    data: Value,
}

/// `POST …/signals`
pub(crate) async fn signal(call: Call) -> Result<Response, ApiError> {
    record(call, Right::Respond, read_signal).await
}

fn read_signal(body: SignalBody, request: &str) -> Result<Kind, ApiError> {
    let kind = body.signal_type.as_deref().map(words::signal_type).transpose().map_err(unknown)?;
    Ok(Kind::IncidentSignalIngested(IncidentSignalIngested {
        signal_id: named(line("signalId", &body.signal_id)?, request),
        source: required("source", &body.source)?,
        correlation_key: line("correlationKey", &body.correlation_key)?,
        trace_id: line("traceId", &body.trace_id)?,
        summary: Text::optional(body.summary),
        project_id: line("projectId", &body.project_id)?,
        signal_type: kind.unwrap_or_default().into(),
        service_name: line("serviceName", &body.service_name)?,
        environment: line("environment", &body.environment)?,
        data: if body.data.is_null() { None } else { Text::optional(body.data.to_string()) },
    }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TagBody {
    #[schema(value_type = members::RequiredLine, inline)]
    tag: String,
    #[serde(default)]
    remove: bool,
}

/// `POST …/tags`
pub(crate) async fn tag(call: Call) -> Result<Response, ApiError> {
    record(call, Right::Respond, read_tag).await
}

fn read_tag(body: TagBody, _: &str) -> Result<Kind, ApiError> {
    let tag = required("tag", &body.tag)?;
    Ok(if body.remove {
        Kind::IncidentTagRemoved(IncidentTagRemoved { tag })
    } else {
        Kind::IncidentTagAdded(IncidentTagAdded { tag })
    })
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SloViolationBody {
    #[serde(alias = "sloId")]
    #[schema(value_type = members::RequiredLine, inline)]
    slo: String,
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    target: String,
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    observed: String,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    window_start: Option<Timestamp>,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    window_end: Option<Timestamp>,
    /// A share: 1 is all of the budget.
    #[serde(default)]
    #[schema(value_type = Option<f64>, minimum = 0)]
    error_budget_consumed: Option<Number>,
    /// Which threshold was breached: its name or value, or whether one was.
    #[serde(default)]
    #[schema(value_type = members::Threshold, inline)]
    threshold_breached: Value,
    /// Text, or JSON, which is kept as its text.
    #[serde(default, alias = "details")]
    #[schema(value_type = members::Anything, inline)]
    detail: Value,
}

/// `POST …/slo-violations`
pub(crate) async fn slo_violation(call: Call) -> Result<Response, ApiError> {
    record(call, Right::Respond, read_slo_violation).await
}

fn read_slo_violation(body: SloViolationBody, _: &str) -> Result<Kind, ApiError> {
    if let (Some(start), Some(end)) = (body.window_start, body.window_end)
        && start > end
    {
        return Err(ApiError::Invalid("windowEnd: it is before windowStart".to_owned()));
    }
    let consumed = body.error_budget_consumed;
    if consumed.as_ref().and_then(Number::as_f64).is_some_and(|share| share < 0.0) {
        return Err(ApiError::Invalid("errorBudgetConsumed: a share, 0 or more".to_owned()));
    }
    let threshold = match &body.threshold_breached {
        Value::Null => String::new(),
        Value::String(name) => line("thresholdBreached", name)?,
        value @ (Value::Bool(_) | Value::Number(_)) => value.to_string(),
        Value::Array(_) | Value::Object(_) => {
            return Err(ApiError::Invalid("thresholdBreached: a string, a number, true or false".to_owned()));
        }
    };
    Ok(Kind::IncidentSloViolationRecorded(IncidentSloViolationRecorded {
        slo: required("slo", &body.slo)?,
        target: line("target", &body.target)?,
        observed: line("observed", &body.observed)?,
        detail: as_text(&body.detail),
        window_start_us: body.window_start.map_or(0, Timestamp::as_microsecond),
        window_end_us: body.window_end.map_or(0, Timestamp::as_microsecond),
        error_budget_consumed: consumed.map(|share| share.to_string()).unwrap_or_default(),
        threshold_breached: threshold,
    }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TicketBody {
    #[schema(value_type = members::RequiredLine, inline)]
    system: String,
    #[schema(value_type = members::RequiredLine, inline)]
    ticket: String,
    #[serde(default)]
    #[schema(value_type = members::Link, inline)]
    url: String,
}

/// `POST …/tickets`
pub(crate) async fn ticket(call: Call) -> Result<Response, ApiError> {
    record(call, Right::Respond, read_ticket).await
}

fn read_ticket(body: TicketBody, _: &str) -> Result<Kind, ApiError> {
    Ok(Kind::IncidentLinkedToTicket(IncidentLinkedToTicket {
        system: required("system", &body.system)?,
        ticket: required("ticket", &body.ticket)?,
        url: web_address(&body.url)?,
    }))
}

/// Text as it is, any other JSON as its text.
fn as_text(given: &Value) -> Option<Text> {
    match given {
        Value::Null => None,
        Value::String(text) => Text::optional(text.as_str()),
        json => Some(Text::plain(json.to_string())),
    }
}

fn unknown(error: UnknownWord) -> ApiError {
    ApiError::Invalid(error.to_string())
}

/// What brings no name of its own is named by the request.
fn named(own: String, request: &str) -> String {
    if own.is_empty() { request.to_owned() } else { own }
}

/// Links are shown to people: nothing but the web.
fn web_address(text: &str) -> Result<String, ApiError> {
    let text = line("url", text)?;
    let is_web = url::Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if text.is_empty() || is_web || is_link(&text) {
        Ok(text)
    } else {
        Err(ApiError::Invalid("url: an address that starts with https:// or http://".to_owned()))
    }
}

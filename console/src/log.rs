//! The log itself: the records of an incident, verification, export, checkpoints, redaction.
//!
//! An export is sent as it is read, so that a long log needs no memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use axum::{
    Json,
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use harmony_eventlog::{Checkpoint, Export, Filter, LogError, history::state_at, replay::replay};
use harmony_incidents::{
    Command, IncidentId, Right, StreamId,
    ids::IdError,
    log::IncidentState,
    timeline::{self, is_kind},
};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    App, auth::Caller, call::Call, error::ApiError, incidents::every, json::read_whole, leading::day_or_time,
    members, outputs, submit::submit, views,
};

/// Records of one read, where many are looked through.
const PAGE: u32 = 500;

/// `GET …/incidents/{id}/events`
pub(crate) async fn events(call: Call) -> Result<Response, ApiError> {
    call.query.only(&["after", "at", "limit"])?;
    let (incident, state) = call.incident(Right::Read).await?;
    if let Some(seq) = call.query.given("at") {
        return at(&call, &incident, &state, seq).await;
    }
    let after = after(&call)?;
    let limit = call.query.limit(200, 1000)?;
    let entries = call.app.doors.log.records(&call.caller.org, &incident, after, limit).await?;
    let events: Vec<_> = entries.iter().map(views::event).collect();
    let mut body = json!({ "events": events });
    if let Some(last) = entries.last().filter(|_| entries.len() >= usize::try_from(limit).unwrap_or_default())
    {
        body["nextCursor"] = json!(last.record.seq.to_string());
    }
    Ok(Json(body).into_response())
}

/// `GET …/incidents/{id}/timeline`: the operation `timeline.query`.
pub(crate) async fn timeline(call: Call) -> Result<Response, ApiError> {
    call.query.only(&["after", "kinds", "limit"])?;
    let (incident, state) = call.incident(Right::Read).await?;
    let kinds: Vec<String> = call.query.words("kinds").map(str::to_owned).collect();
    if let Some(word) = kinds.iter().find(|word| !is_kind(word)) {
        return Err(ApiError::Invalid(format!(
            "kinds: no record is {word:?}; kinds are such as APPROVAL_DECIDED"
        )));
    }
    let limit = usize::try_from(call.query.limit(200, 1000)?).unwrap_or(usize::MAX);
    let mut query = timeline::Query { incident_id: incident.to_string(), after: after(&call)?, kinds };
    let mut lines = Vec::new();
    while lines.len() < limit {
        let entries = call.app.doors.log.records(&call.caller.org, &incident, query.after, PAGE).await?;
        let Some(last) = entries.last() else { break };
        lines.extend(query.answer(entries.iter().map(|entry| &entry.record)));
        query.after = last.record.seq;
    }
    lines.truncate(limit);
    let mut body = json!({ "lines": lines });
    if let Some(last) = lines.last().filter(|last| lines.len() >= limit && last.seq < state.seq) {
        body["nextCursor"] = json!(last.seq.to_string());
    }
    Ok(Json(body).into_response())
}

fn after(call: &Call) -> Result<u64, ApiError> {
    let Some(text) = call.query.given("after") else { return Ok(0) };
    text.parse()
        .ok()
        .filter(|after| i64::try_from(*after).is_ok())
        .ok_or_else(|| ApiError::Invalid(format!("after {text:?}: the seq of a record")))
}

/// `GET …/events?at=seq`: the incident as it was after that record, and its records up to it.
async fn at(
    call: &Call,
    incident: &IncidentId,
    now: &IncidentState,
    seq: &str,
) -> Result<Response, ApiError> {
    if call.query.given("after").is_some() || call.query.given("limit").is_some() {
        return Err(ApiError::Malformed("at: it stands alone, without after and limit".to_owned()));
    }
    let invalid = || ApiError::Invalid(format!("at {seq:?}: the seq of a record, 1 to {}", now.seq));
    let seq: u64 = seq.parse().ok().filter(|seq| (1..=now.seq).contains(seq)).ok_or_else(invalid)?;
    let then = state_at(call.app.doors.log.as_ref(), &call.caller.org, incident, seq).await?;
    let (state, entries) = then.ok_or_else(|| LogError::Corrupt { place: incident.to_string() })?;
    let events: Vec<_> = entries.iter().map(views::event).collect();
    Ok(Json(json!({ "seq": seq, "incident": views::incident(&state, &call.caller), "events": events }))
        .into_response())
}

/// `GET …/log/replay`: every incident folded again, each state compared with the one on record.
pub(crate) async fn replayed(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    call.caller.require(Right::Read, None)?;
    let _audit = call.app.limits.audit()?;
    let hidden = hidden(&call.app, &call.caller).await?;
    let report = replay(call.app.doors.log.as_ref(), &call.caller.org).await?;
    Ok(Json(report.without(&hidden)).into_response())
}

/// `GET …/log/verify`: every byte, link, state, text and projection.
pub(crate) async fn verify(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    call.caller.require(Right::Read, None)?;
    let _audit = call.app.limits.audit()?;
    let hidden = hidden(&call.app, &call.caller).await?;
    let report = call.app.doors.log.verify(&call.caller.org).await?;
    Ok(Json(report.without(&hidden)).into_response())
}

/// `GET …/log/export`: all of it, or the incidents that are named (`incidentId`), or those that were declared in a time
/// (`since`, `until`).
pub(crate) async fn export(call: Call) -> Result<Response, ApiError> {
    call.query.only(&["incidentId", "since", "until"])?;
    call.caller.require(Right::Read, None)?;
    let since = call.query.given("since").map(|text| day_or_time("since", text, false)).transpose()?;
    let until = call.query.given("until").map(|text| day_or_time("until", text, true)).transpose()?;
    let doors = &call.app.doors;
    let mut export =
        Export::begin(doors.log.clone(), call.caller.org.clone(), doors.checkpoint_key.clone()).await?;
    export = export.without(&hidden(&call.app, &call.caller).await?.into_keys().collect());
    let mut named = BTreeSet::new();
    for text in call.query.words("incidentId") {
        let id: IncidentId =
            text.parse().map_err(|error: IdError| ApiError::Malformed(format!("incidentId: {error}")))?;
        let found = doors.log.state(&call.caller.org, &id).await?;
        found.filter(|state| call.caller.sees(state)).ok_or(LogError::UnknownIncident(id.clone()))?;
        named.insert(StreamId::from(id));
    }
    if !named.is_empty() {
        export = export.only(&named);
    }
    let export = export.declared(since, until).await?;
    let lines = stream::try_unfold(export, async |mut export: Export| {
        let lines = export.next().await.map_err(broken)?;
        Ok::<_, io::Error>(lines.map(|lines| (Bytes::from(lines), export)))
    });
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response())
}

/// `GET …/log/checkpoint`: a signed note over where every incident ends, to be kept elsewhere.
pub(crate) async fn checkpoint(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    call.caller.require(Right::Read, None)?;
    let doors = &call.app.doors;
    let key = doors.checkpoint_key.as_ref();
    let key = key.ok_or_else(|| ApiError::NotFound("there is no key that signs checkpoints".to_owned()))?;
    let checkpoint = Checkpoint::of(doors.log.as_ref(), &call.caller.org).await?;
    let checkpoint = checkpoint.without(&hidden(&call.app, &call.caller).await?);
    Ok(key.sign(&checkpoint).into_response())
}

/// The private incidents that somebody may not see, with how many records they have: what they are told of the whole log
/// leaves these out.
pub(crate) async fn hidden(app: &App, caller: &Caller) -> Result<BTreeMap<StreamId, u64>, ApiError> {
    let Some(principal) = caller.sees_only() else { return Ok(BTreeMap::new()) };
    let filter = Filter { hidden_from: Some(principal), ..Filter::default() };
    let found = every(app, &caller.org, filter).await?;
    Ok(found.iter().filter_map(|state| Some((state.incident.parse().ok()?, state.seq))).collect())
}

/// The answer is under way already: it breaks off, and the reader sees that it is not whole.
fn broken(error: LogError) -> io::Error {
    tracing::error!(%error, "an export broke off");
    io::Error::other(error)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedactBody {
    #[serde(deserialize_with = "read_whole")]
    #[schema(minimum = 1)]
    seq: u64,
    #[serde(default)]
    field: Option<String>,
    #[schema(value_type = members::RequiredText, inline)]
    reason: String,
}

/// `POST …/redact`: a record's text, all of it or one field's, is gone for good; that it was there stays on record.
pub(crate) async fn redact(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Administer).await?;
    let RedactBody { seq, field, reason } = call.body()?;
    let texts = texts(&call, &incident, seq, field.as_deref()).await?;
    let command = Command::Redact { seq, field, reason };
    let answer = submit(&call, &incident, &command, &call.context(Some(&state))).await?;
    outputs::redacted(&call.app, &call.caller.org, &incident, texts).await?;
    Ok(answer)
}

/// What will be taken out: files of output hold copies that the store does not know.
async fn texts(
    call: &Call,
    incident: &IncidentId,
    seq: u64,
    field: Option<&str>,
) -> Result<Vec<String>, ApiError> {
    let entries = call.app.doors.log.records(&call.caller.org, incident, seq.saturating_sub(1), 1).await?;
    let mut payload = entries.into_iter().next().and_then(|entry| entry.record.payload).unwrap_or_default();
    let fields = harmony_protos::texts(&mut payload).into_iter();
    let asked_for = fields.filter(|one| field.is_none_or(|field| one.name == field));
    Ok(asked_for.map(|one| one.text.text.clone()).filter(|text| !text.is_empty()).collect())
}

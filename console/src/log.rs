//! The log itself: the records of an incident, verification, and export.
//!
//! An export is JSON Lines: a header, then every record of every incident in order, as first written and hashed, with
//! the texts that stand beside it. It is sent as it is read, so that a long log needs no memory.

use std::{collections::BTreeMap, io};

use axum::{
    Json,
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::stream;
use harmony_eventlog::{Entry, LogError};
use harmony_incidents::{IncidentId, OrgId, Right};
use harmony_protos::texts;
use serde::Serialize;
use serde_json::json;

use crate::{App, call::Call, error::ApiError, incidents::every, views};

/// What the first line of an export says of the rest.
const FORMAT: &str = "harmony-log/1";
/// Records read at a time.
const PAGE: u32 = 200;

/// `GET …/incidents/{id}/events`
pub(crate) async fn events(call: Call) -> Result<Response, ApiError> {
    call.query.only(&["after", "limit"])?;
    let (incident, _) = call.incident(Right::Read).await?;
    let after: u64 = match call.query.one("after") {
        None => 0,
        Some(text) => text
            .parse()
            .ok()
            .filter(|after| i64::try_from(*after).is_ok())
            .ok_or_else(|| ApiError::Invalid(format!("after {text:?}: the seq of a record")))?,
    };
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

/// `GET …/log/verify` and `GET …/log/replay`: verifying folds every record again and compares.
pub(crate) async fn verify(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    call.caller.require(Right::Read, None)?;
    let report = call.app.doors.log.verify(&call.caller.org).await?;
    Ok(Json(report).into_response())
}

/// `GET …/log/export`
pub(crate) async fn export(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    call.caller.require(Right::Read, None)?;
    let all = every(&call.app, &call.caller.org, Vec::new()).await?;
    // Newest first, and taken from the end: the oldest is exported first.
    let waiting: Vec<IncidentId> = all.iter().filter_map(|state| state.incident.parse().ok()).collect();
    let start = Export { app: call.app.clone(), org: call.caller.org.clone(), waiting, at: None };
    let header = line(&json!({ "format": FORMAT, "org": call.caller.org }));
    let head = stream::iter([Ok::<Bytes, io::Error>(Bytes::from(header))]);
    let records = stream::try_unfold(start, Export::next);
    let body = Body::from_stream(futures_util::StreamExt::chain(head, records));
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], body).into_response())
}

/// How far an export has come.
struct Export {
    app: App,
    org: OrgId,
    /// The next one is the last.
    waiting: Vec<IncidentId>,
    /// Incident in hand, and the last seq that was written.
    at: Option<(IncidentId, u64)>,
}

#[derive(Serialize)]
struct Line<'a> {
    incident: &'a IncidentId,
    seq: u64,
    hash: String,
    canonical: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    texts: BTreeMap<String, String>,
}

impl Export {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        loop {
            let (incident, after) = match self.at.take() {
                Some(at) => at,
                None => match self.waiting.pop() {
                    Some(incident) => (incident, 0),
                    None => return Ok(None),
                },
            };
            let entries =
                self.app.doors.log.records(&self.org, &incident, after, PAGE).await.map_err(broken)?;
            let Some(last) = entries.last() else { continue };
            let seq = last.record.seq;
            let lines: String = entries.iter().map(|entry| record_line(&incident, entry)).collect();
            self.at = Some((incident, seq));
            return Ok(Some((Bytes::from(lines), self)));
        }
    }
}

/// The answer is under way already: it breaks off, and the reader sees that it is not whole.
fn broken(error: LogError) -> io::Error {
    tracing::error!(%error, "an export broke off");
    io::Error::other(error)
}

fn record_line(incident: &IncidentId, entry: &Entry) -> String {
    let mut payload = entry.record.payload.clone().unwrap_or_default();
    let texts = texts(&mut payload)
        .into_iter()
        .filter(|field| !field.text.redacted)
        .map(|field| (field.name, field.text.text.clone()))
        .collect();
    line(&Line {
        incident,
        seq: entry.record.seq,
        hash: hex::encode(&entry.hash),
        canonical: STANDARD.encode(&entry.canonical),
        texts,
    })
}

fn line<T: Serialize>(value: &T) -> String {
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    line
}

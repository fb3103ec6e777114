//! What cells print: handed in by the pools that run them, shown while they run, and kept whole as a file.
//!
//! A pool has no account: it shows the pass of its cell's ticket, which is good for what that cell prints and for nothing
//! else. Live pieces go into the store, where every replica finds them, and are gone minutes after the cell has ended. The
//! whole is a file of [`OutputDoors::folder`], named by its SHA-256, and served only where a record of the incident has
//! that hash: what the bytes are worth is decided by the record, not by who handed them in.
//!
//! ```text
//! POST /runbook-output           pieces      ─▶ live_output ─▶ GET …/{id}/output, …/{id}/output/stream
//! PUT  /runbook-output/whole     at the end  ─▶ folder      ─▶ GET …/{id}/output/{seq}
//! ```

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{post, put},
};
use harmony_eventlog::{LiveOutput, StoredOutput, redaction::holds};
use harmony_incidents::{
    IncidentId, OrgId, Right, StreamId,
    log::{RunbookCellFinished, Text, payload::Kind},
    ticket::{OutputTicket, TicketVerifier},
    visible,
};
use harmony_runner::WHOLE_LIMIT_BYTES;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{App, call::Call, error::ApiError};

/// Largest request with pieces: a pool sends those of many cells at once.
const PIECES_LIMIT_BYTES: usize = 4 * 1024 * 1024;
/// Longest text of one piece: 64 KiB, what stands for bytes that are none, and the line about what was left out.
const PIECE_LIMIT_BYTES: usize = 256 * 1024;
/// Files of one incident: more cells than are ever run in one. Who has a pass cannot fill the disk.
const FILES: usize = 1_000;
/// Pieces of one answer: some 2 MiB at most.
pub(crate) const READ: u32 = 32;
/// The header in which a whole comes with its pass: JSON, in hex.
const PASS: &str = "harmony-output-ticket";

/// Gives the keys that verify tickets as they are now; none where nobody made one yet.
pub type TicketKeys = Arc<dyn Fn() -> Option<TicketVerifier> + Send + Sync>;

/// Where the output of cells comes from and is kept.
pub struct OutputDoors {
    /// Holds a file for each cell that printed something. Every replica of the console needs the same.
    pub folder: PathBuf,
    /// Verifies what pools hand in.
    pub tickets: TicketKeys,
}

/// What pools call.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/runbook-output", post(take).layer(DefaultBodyLimit::max(PIECES_LIMIT_BYTES)))
        .route("/runbook-output/whole", put(take_whole).layer(DefaultBodyLimit::max(WHOLE_LIMIT_BYTES)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pieces {
    pieces: Vec<Piece>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece {
    ticket: OutputTicket,
    attempt: u32,
    from_bytes: u64,
    to_bytes: u64,
    text: String,
}

/// `POST /runbook-output`
async fn take(State(app): State<App>, body: Bytes) -> Result<StatusCode, ApiError> {
    let Pieces { pieces } = serde_json::from_slice(&body)
        .map_err(|error| ApiError::Malformed(format!("the body is no list of pieces: {error}")))?;
    let verifier = verifier(&app)?;
    let mut by_incident: Vec<((OrgId, IncidentId), Vec<LiveOutput>)> = Vec::new();
    for Piece { ticket, attempt, from_bytes, to_bytes, text } in pieces {
        let whose = whose(&verifier, &ticket)?;
        if text.len() > PIECE_LIMIT_BYTES {
            return Err(ApiError::TooLarge);
        }
        let (step, cell) = (ticket.cell_run(), ticket.cell);
        let output = LiveOutput { step, cell, attempt, from_bytes, to_bytes, text, ended: false };
        match by_incident.iter_mut().find(|(incident, _)| *incident == whose) {
            Some((_, list)) => list.push(output),
            None => by_incident.push((whose, vec![output])),
        }
    }
    for ((org, incident), list) in &by_incident {
        app.doors.log.write_output(org, incident, list).await?;
    }
    app.streams.look();
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /runbook-output/whole`
async fn take_whole(State(app): State<App>, request: Request) -> Result<StatusCode, ApiError> {
    let pass = request.headers().get(PASS).and_then(|value| hex::decode(value).ok());
    let ticket: Option<OutputTicket> = pass.and_then(|pass| serde_json::from_slice(&pass).ok());
    let ticket = ticket.ok_or(ApiError::Unauthorized("there is no pass of a cell"))?;
    let (org, incident) = whose(&verifier(&app)?, &ticket)?;
    // Nobody without a pass makes us read so much.
    let body = Bytes::from_request(request, &app).await?;
    let folder = folder_of(&app.doors.outputs.folder, &org, &incident);
    let kept = tokio::task::spawn_blocking(move || keep(&folder, &body)).await;
    match kept.map_err(io::Error::other).flatten() {
        Ok(true) => Ok(StatusCode::CREATED),
        Ok(false) => Err(ApiError::Conflict(format!("{incident} has {FILES} files of output already"))),
        Err(error) => {
            tracing::error!(%error, incident.id = %incident, "a cell's output cannot be kept");
            Err(ApiError::Unavailable("the folder of outputs cannot be written".to_owned()))
        }
    }
}

fn verifier(app: &App) -> Result<TicketVerifier, ApiError> {
    (app.doors.outputs.tickets)().ok_or_else(|| ApiError::NotConfigured {
        detail: "nothing here verifies the tickets of cells".to_owned(),
        hint: "set HARMONY_TICKET_PUBLIC_KEY of the console to the public key of HARMONY_TICKET_KEY",
    })
}

/// Whose output a pass lets in.
fn whose(verifier: &TicketVerifier, ticket: &OutputTicket) -> Result<(OrgId, IncidentId), ApiError> {
    if !verifier.takes(ticket, Timestamp::now()) {
        return Err(ApiError::Unauthorized("the pass is not of a cell that runs now"));
    }
    match (ticket.org.parse(), ticket.incident.parse()) {
        (Ok(org), Ok(incident)) => Ok((org, incident)),
        _ => Err(ApiError::Invalid("the pass is of no incident".to_owned())),
    }
}

/// `GET …/incidents/{id}/output`: what cells that run now have printed, after a number.
pub(crate) async fn show(call: Call) -> Result<Response, ApiError> {
    call.query.only(&["after"])?;
    let (incident, _) = call.incident(Right::Read).await?;
    let after = match call.query.given("after") {
        None => 0,
        Some(text) => after(text)?,
    };
    let found = call.app.doors.log.output(&call.caller.org, &incident, after, READ).await?;
    let next = found.last().map_or(after, |last| last.number);
    let pieces: Vec<Value> = found.iter().map(view).collect();
    Ok(Json(json!({ "pieces": pieces, "next": next })).into_response())
}

/// The number that a reader has seen last.
pub(crate) fn after(text: &str) -> Result<u64, ApiError> {
    let known = text.parse().ok().filter(|after| i64::try_from(*after).is_ok());
    known.ok_or_else(|| ApiError::Invalid(format!("after {text:?}: the number of a piece of output")))
}

/// A piece for people and programs. Nothing in its text moves a cursor or turns a line around.
pub(crate) fn view(stored: &StoredOutput) -> Value {
    let StoredOutput { number, at, output } = stored;
    json!({
        "number": number,
        "at": at.to_string(),
        "step": output.step,
        "cell": output.cell,
        "attempt": output.attempt,
        "fromBytes": output.from_bytes,
        "toBytes": output.to_bytes,
        "text": visible::visible(&output.text),
        "ended": output.ended,
    })
}

/// `GET …/incidents/{id}/output/{seq}`: all that a cell printed, as the record of its end has it.
pub(crate) async fn file(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    let (incident, state) = call.incident(Right::Read).await?;
    let seq = call.path("seq");
    let seq: u64 = seq
        .parse()
        .ok()
        .filter(|seq| *seq > 0)
        .ok_or_else(|| ApiError::Invalid(format!("{seq:?}: the seq of a record of {incident}")))?;
    if seq > state.seq {
        return Err(ApiError::NotFound(format!("{incident} has no record {seq}: its last is {}", state.seq)));
    }
    let org = &call.caller.org;
    let entries = call.app.doors.log.records(org, &incident, seq - 1, 1).await?;
    let kind = entries.into_iter().next().and_then(|entry| entry.record.payload?.kind);
    let Some(Kind::RunbookCellFinished(cell)) = kind else {
        return Err(ApiError::NotFound(format!("record {seq} of {incident} is not the end of a cell")));
    };
    let Some(sha256) = hash(&cell) else {
        return Err(ApiError::NotFound(format!(
            "record {seq} of {incident} has no whole output: the cell printed nothing, it could not be kept, or it was \
             redacted"
        )));
    };
    let path = folder_of(&call.app.doors.outputs.folder, org, &incident).join(sha256);
    let bytes = tokio::task::spawn_blocking(move || fs::read(path)).await.map_err(io::Error::other).flatten();
    let Ok(bytes) = bytes else {
        return Err(ApiError::NotFound(format!(
            "the output of record {seq} of {incident} is not in the folder of outputs any more; the record has its end"
        )));
    };
    if hex::encode(Sha256::digest(&bytes)) != sha256 {
        tracing::error!(incident.id = %incident, seq, "a file of output is not the one that is on record");
        return Err(ApiError::Conflict(format!(
            "the file that is kept for record {seq} of {incident} is not the output that is on record"
        )));
    }
    let name = format!("{incident}-{}-{seq}.txt", file_name(&cell.cell));
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, bytes).into_response())
}

/// The hash of the file that has all that a cell printed; none where there is none, or it was redacted.
pub(crate) fn hash(cell: &RunbookCellFinished) -> Option<&str> {
    let text = cell.output_sha256.as_ref().map(Text::shown)?;
    (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(text)
}

/// A part of a file's name.
fn file_name(cell: &str) -> String {
    cell.trim().chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

fn folder_of(folder: &Path, org: &OrgId, incident: &IncidentId) -> PathBuf {
    folder.join(org.as_str()).join(incident.as_str())
}

/// Keeps bytes under their hash; whether there was room for one more.
fn keep(folder: &Path, bytes: &[u8]) -> io::Result<bool> {
    let path = folder.join(hex::encode(Sha256::digest(bytes)));
    if path.exists() {
        return Ok(true);
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if fs::read_dir(folder)?.count() >= FILES {
        return Ok(false);
    }
    let draft = folder.join(format!(".{}", uuid::Uuid::now_v7()));
    let written =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&draft, &path)
        });
    if written.is_err() {
        drop(fs::remove_file(&draft));
    }
    written.map(|()| true)
}

/// Takes out what was redacted: live output of the incident, and files that hold one of these texts or whose hash is not
/// on record any more.
pub(crate) async fn redacted(
    app: &App,
    org: &OrgId,
    incident: &IncidentId,
    texts: Vec<String>,
) -> Result<(), ApiError> {
    app.doors.log.forget_output(org, incident).await?;
    let folder = folder_of(&app.doors.outputs.folder, org, incident);
    if !folder.exists() {
        return Ok(());
    }
    let on_record = hashes(app, org, incident).await?;
    let swept = tokio::task::spawn_blocking(move || sweep(&folder, &on_record, &texts)).await;
    swept.map_err(io::Error::other).flatten().map_err(|error| {
        tracing::error!(%error, incident.id = %incident, "files of output could not be looked through for what was redacted");
        ApiError::Unavailable("it is redacted, but files of output could not be looked through: redact it again".to_owned())
    })
}

async fn hashes(app: &App, org: &OrgId, stream: &StreamId) -> Result<Vec<String>, ApiError> {
    const PAGE: u32 = 500;
    let (mut hashes, mut after) = (Vec::new(), 0);
    loop {
        let entries = app.doors.log.records(org, stream, after, PAGE).await?;
        let Some(last) = entries.last() else { return Ok(hashes) };
        after = last.record.seq;
        hashes.extend(entries.iter().filter_map(|entry| {
            let Kind::RunbookCellFinished(cell) = entry.record.payload.as_ref()?.kind.as_ref()? else {
                return None;
            };
            hash(cell).map(str::to_owned)
        }));
    }
}

fn sweep(folder: &Path, on_record: &[String], texts: &[String]) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_on_record = on_record.iter().any(|hash| name == hash.as_str());
        let bytes = fs::read(entry.path())?;
        let output = String::from_utf8_lossy(&bytes);
        if !is_on_record || texts.iter().any(|text| holds(&output, text)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

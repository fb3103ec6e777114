//! Handing a command to the log.
//!
//! Every command is judged inside the log's transaction, under the caller's key: a repeated request gets the first
//! answer, another request under the same key is refused. [`submit`] records what the judge makes of it. [`remember`]
//! records nothing itself: it takes a request that somebody else will carry out, and puts what they need into the
//! outbox in the same transaction.

use std::sync::{Mutex, PoisonError};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use harmony_blueprints::messages::Act;
use harmony_catalog as catalog;
use harmony_eventlog::{Append, Appended, LogError, OutboxItem, Target};
use harmony_incidents::{
    Answer, Command, Context, Head, IncidentId, Judged, Refusal, Right, StreamId, Subject, judge,
    log::{Authority, IncidentState, IncidentUpdated, Payload, Text, WriteRefused, payload::Kind},
    timeline, words,
};
use serde_json::{Value, json};

use crate::{call::Call, catalog::append_as, decisions::wake, error::ApiError, starts::act_item};

/// What the door knows about a command beyond the judge's rules: an answer that makes judging needless.
pub(crate) type Known<'a> = &'a (dyn Fn(Head<'_>) -> Option<Answer> + Send + Sync);

/// Records a command on an incident, and tells how the incident stands then.
pub(crate) async fn submit(
    call: &Call,
    incident: &IncidentId,
    command: &Command,
    context: &Context,
) -> Result<Response, ApiError> {
    submit_unless(call, incident, command, context, &|_| None).await
}

/// The same, unless something is known that makes it needless.
pub(crate) async fn submit_unless(
    call: &Call,
    incident: &IncidentId,
    command: &Command,
    context: &Context,
    known: Known<'_>,
) -> Result<Response, ApiError> {
    let appended = append(call, incident, &call.key(), command, context, known).await?;
    answer(call, &appended).await
}

/// What is told outside once a command is on record, made from the head that it was judged against.
pub(crate) type Told<'a> = &'a (dyn Fn(&IncidentState) -> Option<Act> + Send + Sync);

/// What the door decides inside the transaction: what is recorded and answered, and what follows from the outbox.
pub(crate) type Decided = (Judged, Vec<OutboxItem>);

/// Decides with the head that the transaction sees.
pub(crate) type Decide<'a> = &'a (dyn Fn(Head<'_>) -> Result<Decided, Refusal> + Send + Sync);

/// Appends what `decide` makes of the head, where the incident still stands as the caller saw it.
pub(crate) async fn append_decided(
    call: &Call,
    stream: &StreamId,
    key: &str,
    command: &Command,
    context: &Context,
    decide: Decide<'_>,
) -> Result<Appended, ApiError> {
    match taken(call, stream, call.expected_seq, key, command, context, decide).await {
        Ok(appended) => Ok(appended),
        Err(error) => Err(refused(call, stream, error).await),
    }
}

async fn taken(
    call: &Call,
    stream: &StreamId,
    expected_seq: Option<u64>,
    key: &str,
    command: &Command,
    context: &Context,
    decide: Decide<'_>,
) -> Result<Appended, LogError> {
    let items: Mutex<Vec<OutboxItem>> = Mutex::default();
    let appended = call
        .app
        .doors
        .log
        .append(Append {
            org: &call.caller.org,
            target: Target::Named(stream.clone()),
            key,
            command,
            context,
            expected_seq,
            run_id: None,
            judge: &|head| {
                let (judged, follow) = decide(head)?;
                // The store may judge more than once: the last time counts.
                *items.lock().unwrap_or_else(PoisonError::into_inner) = follow;
                Ok(judged)
            },
            follow: &|_| std::mem::take(&mut *items.lock().unwrap_or_else(PoisonError::into_inner)),
        })
        .await?;
    wake(&call.app, &appended);
    Ok(appended)
}

/// How many of the records that came meanwhile are told.
const CHANGES: u32 = 50;

/// Why an append was not taken; where the incident has changed, with what changed since the caller looked.
async fn refused(call: &Call, stream: &StreamId, error: LogError) -> ApiError {
    let LogError::Stale { expected, actual } = error else { return error.into() };
    let log = &call.app.doors.log;
    match log.records(&call.caller.org, stream, expected, CHANGES).await {
        Ok(records) => {
            let changes = records.iter().filter_map(|entry| timeline::line(&entry.record)).collect();
            ApiError::Stale { expected, actual, changes }
        }
        Err(error) => error.into(),
    }
}

/// As [`append`] under the request's own key, with an act that tells of the record; it starts from the outbox.
pub(crate) async fn append_told(
    call: &Call,
    incident: &IncidentId,
    state: &IncidentState,
    command: &Command,
    context: &Context,
    (known, told): (Known<'_>, Told<'_>),
) -> Result<Appended, ApiError> {
    let decide = |head: Head<'_>| {
        let judged = match known(head) {
            Some(answer) => nothing(answer),
            None => judge(head, command, context, call.caller.rules())?,
        };
        let items = told_items(call, incident, state, context, head, &judged, told);
        Ok((judged, items))
    };
    append_decided(call, incident, &call.key(), command, context, &decide).await
}

/// The act that tells of what was judged, where anything is recorded.
pub(crate) fn told_items(
    call: &Call,
    incident: &IncidentId,
    state: &IncidentState,
    context: &Context,
    head: Head<'_>,
    judged: &Judged,
    told: Told<'_>,
) -> Vec<OutboxItem> {
    let act = if judged.payloads.is_empty() { None } else { told(head.state) };
    act.map(|act| act_item(call, incident, state, context, head.state.seq + 1, &act)).into_iter().collect()
}

/// Records a command, tells of it outside, and answers how the incident stands then.
pub(crate) async fn submit_told(
    call: &Call,
    incident: &IncidentId,
    state: &IncidentState,
    command: &Command,
    context: &Context,
    how: (Known<'_>, Told<'_>),
) -> Result<Response, ApiError> {
    let appended = append_told(call, incident, state, command, context, how).await?;
    answer(call, &appended).await
}

/// As [`append`], to an incident other than the one whose state the caller may have named.
pub(crate) async fn append_elsewhere(
    call: &Call,
    incident: &IncidentId,
    key: &str,
    command: &Command,
    context: &Context,
) -> Result<Appended, ApiError> {
    let decide = |head: Head<'_>| Ok((judge(head, command, context, call.caller.rules())?, vec![]));
    Ok(taken(call, incident, None, key, command, context, &decide).await?)
}

/// Puts on record, in the stream of what was to be changed, that whoever asks lacks a right: once an hour for each
/// right and stream, so that nobody fills a log by asking. Where it cannot be, as of something that does not exist, the audit's
/// line on stderr is all there is.
pub(crate) async fn record_refusal(call: &Call, stream: &StreamId, right: Right) {
    const HOUR_S: i64 = 3_600;
    let context = call.context_as(Authority::None);
    let hour = context.occurred_at.as_second().div_euclid(HOUR_S);
    let key = format!("refused/{}/{}/{stream}/{hour}", call.caller.principal.id, right.name());
    let right = right.name();
    let recorded = match stream.subject() {
        Subject::Incident(_) => {
            let command = compared_only(&json!({ "refused": right }));
            let refused = Kind::WriteRefused(WriteRefused { right: right.to_owned() });
            let decide = |_: Head<'_>| Ok((Judged::new(Answer::Recorded, vec![refused.clone()]), vec![]));
            let taken = taken(call, stream, None, &key, &command, &context, &decide).await;
            taken.map(drop).map_err(ApiError::from)
        }
        Subject::Service(_) | Subject::Environment(_) => {
            let command = catalog::Command::RefuseWrite { right: right.to_owned() };
            append_as(call, stream, &key, &command, &context, vec![]).await.map(drop)
        }
    };
    if let Err(error) = recorded {
        tracing::info!(why = error.for_people(), %stream, right, "a refused change is not on record");
    }
}

/// Appends a command under a key; the caller makes the response.
pub(crate) async fn append(
    call: &Call,
    stream: &StreamId,
    key: &str,
    command: &Command,
    context: &Context,
    known: Known<'_>,
) -> Result<Appended, ApiError> {
    let decide = |head: Head<'_>| {
        let judged = match known(head) {
            Some(answer) => nothing(answer),
            None => judge(head, command, context, call.caller.rules())?,
        };
        Ok((judged, vec![]))
    };
    append_decided(call, stream, key, command, context, &decide).await
}

/// `{incidentId, seq, answer, state, phase}`: what became of a command and how the incident stands.
pub(crate) async fn answer(call: &Call, appended: &Appended) -> Result<Response, ApiError> {
    let incident = appended.incident().ok_or(ApiError::Internal)?;
    let state = call
        .app
        .doors
        .log
        .state(&call.caller.org, &incident)
        .await?
        .ok_or_else(|| ApiError::from(LogError::UnknownIncident(incident.clone())))?;
    let recorded = appended.answer == Answer::Recorded;
    Ok(Json(json!({
        "incidentId": incident,
        "seq": appended.records.last().map_or(state.seq, |entry| entry.record.seq),
        "answer": if recorded { "recorded" } else { "unchanged" },
        "state": state.state().as_str_name(),
        "phase": words::phase_name(state.phase()),
    }))
    .into_response())
}

/// What a request that somebody else carries out needs: the answer to remember, and the items for the outbox.
pub(crate) type Carried = (Answer, Vec<OutboxItem>);

/// Takes a request that records nothing itself. `decide` sees the head inside the transaction.
pub(crate) async fn remember(
    call: &Call,
    stream: &StreamId,
    request: &Value,
    context: &Context,
    decide: &(dyn Fn(Head<'_>) -> Result<Carried, Refusal> + Send + Sync),
) -> Result<Answer, ApiError> {
    let decide = |head: Head<'_>| decide(head).map(|(answer, items)| (nothing(answer), items));
    let command = compared_only(request);
    match taken(call, stream, call.expected_seq, &call.key(), &command, context, &decide).await {
        Ok(appended) => Ok(appended.answer),
        Err(LogError::KeyConflict { .. }) => Err(ApiError::Conflict(
            "this Idempotency-Key was used for another request: its body or its address differs".to_owned(),
        )),
        Err(error) => Err(refused(call, stream, error).await),
    }
}

/// A command that only carries a request's content to where the log compares keys. It is never judged, and nothing of
/// it is recorded.
fn compared_only(request: &Value) -> Command {
    let update = IncidentUpdated { message: Some(Text::plain(request.to_string())), ..Default::default() };
    Command::Record { payload: Payload { kind: Some(Kind::IncidentUpdated(update)) } }
}

/// An answer without a record.
pub(crate) fn nothing(answer: Answer) -> Judged {
    Judged { answer, ..Judged::unchanged() }
}

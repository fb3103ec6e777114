//! The audit over all streams: who did what when, the latest first; or, as server-sent events, from now on.

use std::{collections::BTreeSet, ops::ControlFlow, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt as _, stream};
use harmony_catalog::entity::AuditEvent;
use harmony_eventlog::{
    LogError, SharedLog,
    catalog::{AuditFilter, AuditPlace, ReleaseFilter},
};
use harmony_incidents::{
    EnvironmentId, OrgId, ReleaseId, ServiceId, StreamId, log::Record, record::stream_of,
};
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::may_read;
use crate::{
    call::Call, cursor, error::ApiError, leading::day_or_time, limits::OpenStream, query::Query,
    streams::Opened,
};

const EVENT_STREAM: &str = "text/event-stream";
/// How often the log is asked for what is new.
const ROUND: Duration = Duration::from_millis(500);
/// How much later than it occurred a record may be stored and still be followed.
const OVERLAP_US: i64 = 10_000_000;
/// Proxies close what is silent for a minute.
const HEARTBEAT_US: i64 = 15_000_000;
/// Events that are sent at once, with the rest of their read.
const BATCH: usize = 1_000;
/// Records of one read.
const PAGE: u32 = 200;
/// Records that one request looks through: a filter that fits few events ends early, and says where to go on.
const LOOKED_THROUGH: usize = 2_000;

/// Which events to show.
#[derive(Default)]
pub(crate) struct Wanted {
    /// Only of these streams; all where there is none.
    pub(crate) streams: Vec<StreamId>,
    /// Only about this: its id, or the id of its stream's subject.
    pub(crate) subject: Option<String>,
    /// Only by this actor.
    pub(crate) actor: Option<String>,
    /// Only this action, or those below it: `release` is `release.create` and the like, too.
    pub(crate) action: Option<String>,
    /// Only from this time on.
    pub(crate) since: Option<Timestamp>,
    /// Where the page before ended.
    pub(crate) beyond: Option<AuditPlace>,
    /// At most this many.
    pub(crate) limit: usize,
}

/// Query parameters that say which events are wanted.
pub(crate) const FILTERS: [&str; 4] = ["subject", "actor", "action", "since"];

/// What a query asks for.
pub(crate) async fn wanted(call: &Call, query: &Query) -> Result<Wanted, ApiError> {
    let beyond = query.given("cursor").map(cursor::audit).transpose()?;
    let (streams, subject) = match query.one("subject") {
        Some(text) => subject(call, text).await?,
        None => (Vec::new(), None),
    };
    Ok(Wanted {
        streams,
        subject,
        actor: query.one("actor").map(str::to_owned),
        action: query.one("action").map(str::to_owned),
        since: query.given("since").map(|text| day_or_time("since", text, false)).transpose()?,
        beyond,
        limit: usize::try_from(query.limit(50, 200)?).unwrap_or(usize::MAX),
    })
}

/// The streams of a subject, and its id where it shares them with others: what has a stream of its own, or stands in
/// one that is known, is found through an index.
async fn subject(call: &Call, text: &str) -> Result<(Vec<StreamId>, Option<String>), ApiError> {
    if let Ok(stream) = text.parse::<StreamId>() {
        return Ok((vec![stream], None));
    }
    let (log, org) = (&call.app.doors.log, &call.caller.org);
    let own = [
        text.parse::<ServiceId>().ok().map(StreamId::from),
        text.parse::<EnvironmentId>().ok().map(StreamId::from),
    ];
    for stream in own.into_iter().flatten() {
        if log.catalog_state(org, &stream).await?.is_some() {
            return Ok((vec![stream], None));
        }
    }
    if let Ok(id) = text.parse::<ReleaseId>() {
        let filter = ReleaseFilter { ids: vec![id], limit: 1, ..ReleaseFilter::default() };
        if let Some(found) = log.releases(org, &filter).await?.pop() {
            return Ok((vec![found.service.into()], Some(text.to_owned())));
        }
    }
    Ok((Vec::new(), Some(text.to_owned())))
}

/// Where a record stands.
fn place(record: &Record) -> AuditPlace {
    AuditPlace { ts_us: record.occurred_at_us, stream: stream_of(record).to_owned(), seq: record.seq }
}

impl Wanted {
    /// What the store is asked for; `None` where no record is told as the action that is asked for.
    fn filter(&self, visible_to: Option<String>) -> Option<AuditFilter> {
        let kinds = self.action.as_deref().map(harmony_catalog::audit::kinds_of);
        if kinds.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
        Some(AuditFilter {
            streams: self.streams.clone(),
            actor: self.actor.clone(),
            kinds: kinds.unwrap_or_default(),
            since: self.since,
            visible_to,
            beyond: self.beyond.clone(),
            newest_first: false,
            limit: PAGE,
        })
    }

    /// Whether an event that the store found is one that is asked for.
    fn fits(&self, event: &AuditEvent) -> bool {
        let action = self.action.as_deref();
        self.subject.as_ref().is_none_or(|id| event.subject_id == *id)
            && action.is_none_or(|one| harmony_catalog::audit::is_action(&event.action, one))
    }
}

/// `GET …/audit`: a page of it, or with `Accept: text/event-stream` what happens from now on.
pub(crate) async fn list(headers: HeaderMap, call: Call) -> Result<Response, ApiError> {
    call.query.only(&["subject", "actor", "action", "since", "limit", "cursor"])?;
    may_read(&call)?;
    let wanted = wanted(&call, &call.query).await?;
    if accepts_events(&headers) {
        return follow(&headers, call, wanted);
    }
    let (events, next) = events(&call, wanted).await?;
    let mut body = json!({ "events": events });
    if let Some(place) = next {
        body["nextCursor"] = json!(cursor::of_audit(&place));
    }
    Ok(Json(body).into_response())
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|one| one.split(';').next().is_some_and(|kind| kind.trim() == EVENT_STREAM))
}

/// Answers with the events that are wanted, as they are made: first what lies beyond the one that the client had last
/// (`Last-Event-ID`), where it names one.
fn follow(headers: &HeaderMap, call: Call, wanted: Wanted) -> Result<Response, ApiError> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::trim);
    let last = last.filter(|text| !text.is_empty()).map(cursor::audit).transpose()?;
    let own_place = call.app.limits.open_stream(&call.caller.principal.id)?;
    let place = call.app.streams.audit_place()?;
    let follower = Follower {
        log: call.app.doors.log.clone(),
        org: call.caller.org.clone(),
        visible_to: call.caller.sees_only(),
        from_us: last.as_ref().map_or_else(|| Timestamp::now().as_microsecond(), |place| place.ts_us),
        // Without a place to go on from, what was made before this moment is no news.
        is_primed: last.is_some(),
        passed: last,
        sent: BTreeSet::new(),
        wanted,
        heard_us: Timestamp::now().as_microsecond(),
        opened: Opened::new(&call),
        _places: (own_place, place),
    };
    let hello = stream::once(async { Ok(Bytes::from_static(b"retry: 2000\n\n")) });
    let body = hello.chain(stream::try_unfold(follower, Follower::next));
    let kind = [
        (header::CONTENT_TYPE, EVENT_STREAM),
        // Proxies that buffer would hold events back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((kind, Body::from_stream(body)).into_response())
}

/// Somebody who follows the audit.
///
/// Records of all streams have no common number, so it goes by when they occurred and looks back a little: a record that
/// was stored up to [`OVERLAP_US`] after it occurred is still found, and each is sent once.
struct Follower {
    log: SharedLog,
    org: OrgId,
    /// Only of incidents that this principal may see.
    visible_to: Option<String>,
    wanted: Wanted,
    /// Records from this time on, less [`OVERLAP_US`], may not have been sent.
    from_us: i64,
    is_primed: bool,
    /// The event that the client had last, until the first read: nothing up to it is sent again.
    passed: Option<AuditPlace>,
    /// What was sent, or passed over, and may be read again.
    sent: BTreeSet<AuditPlace>,
    /// When something was last sent, be it a sign of life.
    heard_us: i64,
    opened: Opened,
    _places: (OpenStream, OwnedSemaphorePermit),
}

impl Follower {
    /// What to send next; `None` ends the answer, and the client comes back.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, LogError> {
        loop {
            if let ControlFlow::Break(last) = self.opened.check() {
                return Ok(last.map(|bytes| (bytes, self)));
            }
            let is_primed = std::mem::replace(&mut self.is_primed, true);
            let fresh = self.read().await?;
            let now = Timestamp::now().as_microsecond();
            let mut text = String::new();
            for (place, event) in fresh.iter().filter(|_| is_primed) {
                // JSON has no raw line ends, so it is one line of data.
                let data = serde_json::to_string(event).unwrap_or_default();
                text.push_str(&format!("id: {}\nevent: audit\ndata: {data}\n\n", cursor::of_audit(place)));
            }
            if text.is_empty() && now - self.heard_us >= HEARTBEAT_US {
                text.push_str(": still here\n\n");
            }
            if !text.is_empty() {
                self.heard_us = now;
                return Ok(Some((Bytes::from(text), self)));
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    /// Events that were not read before, oldest first, as many as one read gives.
    async fn read(&mut self) -> Result<Vec<(AuditPlace, AuditEvent)>, LogError> {
        let since_us = self.from_us - OVERLAP_US;
        let since = Timestamp::from_microsecond(since_us).unwrap_or_default();
        let Some(mut filter) = self.wanted.filter(self.visible_to.clone()) else { return Ok(Vec::new()) };
        filter.since = Some(filter.since.map_or(since, |one| one.max(since)));
        filter.beyond = None;
        let passed = self.passed.take();
        let mut fresh = Vec::new();
        loop {
            let records = self.log.audit(&self.org, &filter).await?;
            for record in &records {
                let place = place(record);
                filter.beyond = Some(place.clone());
                if !self.sent.insert(place.clone()) {
                    continue;
                }
                self.from_us = self.from_us.max(place.ts_us);
                if passed.as_ref().is_some_and(|passed| place <= *passed) {
                    continue;
                }
                let event = harmony_catalog::audit::event(record).filter(|one| self.wanted.fits(one));
                fresh.extend(event.map(|event| (place, event)));
            }
            if records.len() < usize::try_from(PAGE).unwrap_or_default() || fresh.len() >= BATCH {
                break;
            }
        }
        let oldest = self.from_us - OVERLAP_US;
        self.sent.retain(|place| place.ts_us >= oldest);
        Ok(fresh)
    }
}

/// The events, the latest first, and where to go on.
pub(crate) async fn events(
    call: &Call,
    wanted: Wanted,
) -> Result<(Vec<AuditEvent>, Option<AuditPlace>), ApiError> {
    let Some(mut filter) = wanted.filter(call.caller.sees_only()) else { return Ok((Vec::new(), None)) };
    filter.newest_first = true;
    let mut found = Vec::new();
    let mut looked_through = 0;
    loop {
        let records = call.app.doors.log.audit(&call.caller.org, &filter).await?;
        for record in &records {
            let event = harmony_catalog::audit::event(record);
            if let Some(event) = event.filter(|event| wanted.fits(event)) {
                if found.len() == wanted.limit {
                    return Ok((found, filter.beyond));
                }
                found.push(event);
            }
            filter.beyond = Some(place(record));
        }
        looked_through += records.len();
        if records.len() < usize::try_from(PAGE).unwrap_or_default() {
            return Ok((found, None));
        }
        if looked_through >= LOOKED_THROUGH {
            return Ok((found, filter.beyond));
        }
    }
}

//! `GET …/{id}/stream`: the records of an incident as they are made, as server-sent events. `GET …/{id}/output/stream`:
//! what its cells print, as they print it.
//!
//! An event's id is the record's seq, or the number of the piece of output, so a browser that comes back (`Last-Event-ID`) misses nothing and gets nothing
//! twice. All watchers of an incident share one look at the store and one copy of each event: other processes write
//! too, so the store is asked, all watched incidents in turn, at most every [`POLL`]. A watcher first reads what it
//! missed, then listens; what it hears is numbered, so a gap is noticed and read again.
//!
//! Nothing is kept for a watcher who does not read: the shared ring holds the last [`RING`] batches, none much longer
//! than [`BATCH_BYTES`], and who falls behind it is dropped and may come back. A connection that takes nothing at all is
//! cut by [`crate::server`].

use std::{
    collections::HashMap,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use harmony_eventlog::{Entry, LogError, SharedLog};
use harmony_incidents::{IncidentId, OrgId, Right};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast},
    time::Instant,
};

use crate::{App, call::Call, error::ApiError, limits::OpenStream, outputs, ui::Session, views};

/// Watchers at the same time; each is a connection and a few hundred bytes.
pub(crate) const WATCHERS: usize = 4_096;
/// Those who follow the audit at the same time: each asks the store by itself.
const AUDIT_FOLLOWERS: usize = 256;
/// How often the store is asked where nothing tells of a new record.
const POLL: Duration = Duration::from_millis(400);
/// Shortest pause between two rounds, however much is written.
const POLL_PAUSE: Duration = Duration::from_millis(100);
/// Incidents that are asked about at the same time.
const CONCURRENCY: usize = 8;
/// Batches that wait for the slowest watcher: with [`BATCH_BYTES`] at most some 4 MiB a watched incident.
const RING: usize = 64;
/// Records of one read.
const READ: u32 = 200;
/// A batch ends with the record that makes it this long. A record is a few hundred bytes; the longest has 64 KiB of text.
const BATCH_BYTES: usize = 64 * 1024;
/// Proxies close what is silent for a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A watcher is asked to come back, and with that to show again that it may.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// How often a stream that a session opened looks whether the session still holds.
const SESSION_POLL: Duration = Duration::from_secs(1);
/// The last event of a stream whose session has ended.
const OVER: &[u8] = b"event: over\ndata: {}\n\n";

type Watched = (OrgId, IncidentId, Topic);

/// What is watched of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Topic {
    /// Its records.
    Records,
    /// What its cells print.
    Output,
}

/// Events that were found together, ready to be sent: after which one they come, and the last of them.
#[derive(Clone)]
struct Batch {
    after: u64,
    last: u64,
    bytes: Bytes,
}

/// What an open stream rests on: nothing is sent when its session has ended.
pub(crate) struct Opened {
    app: App,
    session: Option<Session>,
    ends: Instant,
}

impl Opened {
    /// Opened by this request.
    pub(crate) fn new(call: &Call) -> Self {
        let session = call.session.clone();
        Self { app: Arc::clone(&call.app), session, ends: Instant::now() + LIFETIME }
    }

    /// Whether it goes on; else what is still said, if anything.
    pub(crate) fn check(&mut self) -> ControlFlow<Option<Bytes>> {
        let now = Instant::now();
        if now >= self.ends {
            return ControlFlow::Break(None);
        }
        if self.session.as_ref().is_some_and(|session| !self.app.holds(session)) {
            self.ends = now;
            return ControlFlow::Break(Some(Bytes::from_static(OVER)));
        }
        ControlFlow::Continue(())
    }

    /// When to look again at the latest.
    fn patience(&self) -> Duration {
        let left = self.ends.saturating_duration_since(Instant::now());
        if self.session.is_some() { left.min(SESSION_POLL) } else { left }
    }
}

struct Room {
    tell: broadcast::Sender<Batch>,
    /// The last record that was told.
    last: u64,
}

/// Everybody who watches.
pub(crate) struct StreamHub {
    log: SharedLog,
    rooms: Mutex<HashMap<Watched, Room>>,
    /// Something was written here.
    written: Notify,
    places: Arc<Semaphore>,
    audit_places: Arc<Semaphore>,
}

impl StreamHub {
    /// Nobody watches yet.
    pub(crate) fn new(log: SharedLog) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(WATCHERS));
        let audit_places = Arc::new(Semaphore::new(AUDIT_FOLLOWERS));
        Arc::new(Self { log, rooms: Mutex::default(), written: Notify::new(), places, audit_places })
    }

    /// A place among those who follow the audit.
    pub(crate) fn audit_place(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.audit_places)
            .try_acquire_owned()
            .map_err(|_| ApiError::Unavailable(format!("{AUDIT_FOLLOWERS} clients follow the audit already")))
    }

    /// Something was written by this process: look at once.
    pub(crate) fn look(&self) {
        self.written.notify_one();
    }

    /// A place to listen from, for records after the `head` that the listener knows.
    fn listen(self: &Arc<Self>, watched: Watched, head: u64) -> broadcast::Receiver<Batch> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let nobody = rooms.is_empty();
        let room =
            rooms.entry(watched).or_insert_with(|| Room { tell: broadcast::channel(RING).0, last: head });
        let listener = room.tell.subscribe();
        drop(rooms);
        if nobody {
            tokio::spawn(Arc::clone(self).go_round());
        }
        listener
    }

    /// Looks after every watched incident, until nobody watches.
    async fn go_round(self: Arc<Self>) {
        loop {
            let watched: Vec<(Watched, u64)> = {
                let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
                rooms.retain(|_, room| room.tell.receiver_count() > 0);
                if rooms.is_empty() {
                    return;
                }
                rooms.iter().map(|(watched, room)| (watched.clone(), room.last)).collect()
            };
            stream::iter(watched)
                .for_each_concurrent(CONCURRENCY, |(watched, last)| self.visit(watched, last))
                .await;
            tokio::time::sleep(POLL_PAUSE).await;
            // Elapsed or notified: the next round comes either way.
            drop(tokio::time::timeout(POLL - POLL_PAUSE, self.written.notified()).await);
        }
    }

    async fn visit(&self, watched: Watched, last: u64) {
        let (batch, is_all) = match read(&self.log, &watched, last).await {
            Ok(Some(found)) => found,
            Ok(None) => return,
            // The next round asks again; watchers wait and hear heartbeats.
            Err(error) => return tracing::debug!(%error, "a round did not read"),
        };
        if !is_all {
            // The rest is for the next round, which comes at once.
            self.look();
        }
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get_mut(&watched) {
            room.last = batch.last;
            // An error means that the last listener just left.
            drop(room.tell.send(batch));
        }
    }
}

/// What came after this one, as much as one batch holds, and whether that is all that was found.
async fn read(log: &SharedLog, watched: &Watched, after: u64) -> Result<Option<(Batch, bool)>, LogError> {
    let (org, incident, topic) = watched;
    Ok(match topic {
        Topic::Records => {
            let found = log.records(org, incident, after, READ).await?;
            batch(after, &found, |one: &Entry| (one.record.seq, "record", json!(views::event(one))))
        }
        Topic::Output => {
            let found = log.output(org, incident, after, outputs::READ).await?;
            batch(after, &found, |one| (one.number, "output", outputs::view(one)))
        }
    })
}

/// The events of the first of these, as many as one batch holds, and whether that is all of them.
fn batch<T>(
    after: u64,
    found: &[T],
    event: impl Fn(&T) -> (u64, &'static str, Value),
) -> Option<(Batch, bool)> {
    let (mut last, mut text, mut taken) = (after, String::new(), 0);
    for one in found {
        let (id, name, data) = event(one);
        last = id;
        taken += 1;
        // JSON has no raw line ends, so it is one line of data.
        text.push_str(&format!("id: {last}\nevent: {name}\ndata: {data}\n\n"));
        if text.len() >= BATCH_BYTES {
            break;
        }
    }
    (taken > 0).then(|| (Batch { after, last, bytes: Bytes::from(text) }, taken == found.len()))
}

/// `GET …/{id}/stream`
pub(crate) async fn stream(headers: HeaderMap, call: Call) -> Result<Response, ApiError> {
    call.query.only(&["after"])?;
    let (incident, state) = call.incident(Right::Read).await?;
    let known = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::trim);
    let after =
        match known.filter(|text| !text.is_empty()).or_else(|| call.query.given("after")) {
            None => 0,
            Some(text) => text.parse().ok().filter(|after| *after <= state.seq).ok_or_else(|| {
                ApiError::Invalid(format!("after {text:?}: the seq of a record of {incident}"))
            })?,
        };
    let head = state.seq;
    watch(call, incident, Topic::Records, after, head)
}

/// `GET …/{id}/output/stream`
pub(crate) async fn output(headers: HeaderMap, call: Call) -> Result<Response, ApiError> {
    call.query.only(&["after"])?;
    let (incident, _) = call.incident(Right::Read).await?;
    let known = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::trim);
    let after = match known.filter(|text| !text.is_empty()).or_else(|| call.query.given("after")) {
        None => 0,
        Some(text) => outputs::after(text)?,
    };
    watch(call, incident, Topic::Output, after, after)
}

/// Answers with what comes after `after`, and goes on with what comes after the `head`, which is where it stands now.
fn watch(
    call: Call,
    incident: IncidentId,
    topic: Topic,
    after: u64,
    head: u64,
) -> Result<Response, ApiError> {
    let hub = &call.app.streams;
    let own_place = call.app.limits.open_stream(&call.caller.principal.id)?;
    let place = Arc::clone(&hub.places)
        .try_acquire_owned()
        .map_err(|_| ApiError::Unavailable(format!("{WATCHERS} watchers are connected already")))?;
    let opened = Opened::new(&call);
    let watched = (call.caller.org.clone(), incident, topic);
    let heard = hub.listen(watched.clone(), head);
    let watcher = Watcher {
        log: hub.log.clone(),
        watched,
        told: after,
        // Where output ends now is not known.
        behind: after < head || topic == Topic::Output,
        heard,
        said: Instant::now(),
        opened,
        _places: (own_place, place),
    };
    let hello = stream::once(async { Ok(Bytes::from_static(b"retry: 2000\n\n")) });
    let body = hello.chain(stream::try_unfold(watcher, Watcher::next));
    let kind = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // Proxies that buffer would hold events back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((kind, Body::from_stream(body)).into_response())
}

/// One who watches.
struct Watcher {
    log: SharedLog,
    watched: Watched,
    /// The last one that was sent.
    told: u64,
    /// Whether there may be some that were not heard of.
    behind: bool,
    heard: broadcast::Receiver<Batch>,
    /// When something was last sent, be it a sign of life.
    said: Instant,
    opened: Opened,
    _places: (OpenStream, OwnedSemaphorePermit),
}

impl Watcher {
    /// What to send next; `None` ends the answer, and the browser comes back.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, LogError> {
        loop {
            if let ControlFlow::Break(last) = self.opened.check() {
                return Ok(last.map(|bytes| (bytes, self)));
            }
            if self.behind {
                if let Some((batch, _)) = read(&self.log, &self.watched, self.told).await? {
                    return Ok(Some(self.sent(batch)));
                }
                self.behind = false;
            }
            let silent = HEARTBEAT.saturating_sub(self.said.elapsed());
            match tokio::time::timeout(silent.min(self.opened.patience()), self.heard.recv()).await {
                Err(_) if self.said.elapsed() < HEARTBEAT => {}
                Err(_) => {
                    self.said = Instant::now();
                    return Ok(Some((Bytes::from_static(b": still here\n\n"), self)));
                }
                // What came while its session ended is not sent.
                Ok(Ok(batch)) if batch.after == self.told => {
                    return Ok(match self.opened.check() {
                        ControlFlow::Continue(()) => Some(self.sent(batch)),
                        ControlFlow::Break(last) => last.map(|bytes| (bytes, self)),
                    });
                }
                // Sent already, or something between was not heard of.
                Ok(Ok(batch)) => self.behind = batch.last > self.told,
                Ok(Err(broadcast::error::RecvError::Lagged(_))) => {
                    tracing::info!(incident = %self.watched.1, "a watcher was too slow and is dropped");
                    return Ok(None);
                }
                Ok(Err(broadcast::error::RecvError::Closed)) => return Ok(None),
            }
        }
    }

    fn sent(mut self, batch: Batch) -> (Bytes, Self) {
        self.told = batch.last;
        self.said = Instant::now();
        (batch.bytes, self)
    }
}

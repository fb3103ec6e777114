//! The log on SQLite: the default store, for one machine.
//!
//! WAL with `synchronous=FULL`, so that what was acknowledged survives a power cut. Several processes may share the
//! file: writers queue by `BEGIN IMMEDIATE` and the busy time-out. Within one process writers share one connection and
//! its commits (`writer.rs`); readers have their own.

use std::{
    cmp::Ordering,
    fs,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use harmony_incidents::{
    Answer, IncidentId, OrgId, StreamId,
    log::{IncidentState, Record},
    promotion::CandidateId,
    record::SaltKey,
    stakeholders::{DeliveryProblem, Subscription, SubscriptionId},
};
use serde_json::Value;
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    append::{self, Done, Job, Onward, stream_id},
    candidates::{CandidateChange, CandidateFilter, Changed, PromotionAttempt, StoredCandidate},
    catalog::{AuditFilter, CatalogFilter, ReleaseFilter, RunFilter, StoredRelease, StoredRun},
    checkpoint::StreamHead,
    fanout::{Lane, LaneBacklog, SinkName},
    live_output::{LiveOutput, StoredOutput},
    rebuild::{self, Rebuilt},
    sql::{column, reason},
    store::{
        Begin, Candidates, EffectSubject, Entry, Fanout, Filter, KnownEffect, Ledger, Log, LogError, Outbox,
        OutboxId, OutboxItem, Outputs, Pending, Subscriptions,
    },
    stream::StreamState,
    subscriptions::Subscribed,
    verify::{self, Audit as _, Report, Row},
};

mod candidates;
mod catalog;
mod effects;
mod lanes;
mod live_output;
mod outbox;
mod read;
pub(crate) mod schema;
mod subscriptions;
mod write;
mod writer;

use writer::{Turn, Writer};

/// How long a writer waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that only read; SQLite's readers hold nobody up.
const READERS: u32 = 4;

/// Connections that read the whole log, to verify, replay or export it: they take none from other readers.
const AUDITORS: u32 = 3;
/// How long whoever reads the whole log waits for one of them.
const AUDIT_PATIENCE: Duration = Duration::from_secs(60);

/// The log in one SQLite file.
pub struct SqliteLog {
    /// `None` where it was opened for reading alone.
    writer: Option<Writer>,
    readers: SqlitePool,
    auditors: SqlitePool,
    salt: Option<SaltKey>,
    onward: Onward,
}

impl SqliteLog {
    /// Opens the file and brings its schema up to date. Creates it where it does not exist.
    pub async fn open(path: &Path, salt: SaltKey) -> Result<Self, LogError> {
        Self::connect(path, salt, true).await
    }

    /// Opens a file that must exist.
    pub async fn open_existing(path: &Path, salt: SaltKey) -> Result<Self, LogError> {
        Self::connect(path, salt, false).await
    }

    /// Opens a file that must exist, for reading alone. It may be in use, and it may be one that cannot be written.
    /// Without a salt key salts are not compared when it is verified.
    pub async fn audit(path: &Path, salt: Option<SaltKey>) -> Result<Self, LogError> {
        let failed = |error: sqlx::Error| schema::failed(path, &error);
        let reading = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
        // Without a write-ahead log nobody writes, and where none can be made, none need be waited for: SQLite then
        // reads the file alone instead of refusing a directory in which it may make nothing.
        let lone = reading.clone().immutable(true);
        let pool = match pool(READERS).connect_with(reading).await {
            Ok(pool) if version_of(&pool).await.is_ok() => pool,
            _ if !beside(path, "-wal").exists() => pool(READERS).connect_with(lone).await.map_err(failed)?,
            Ok(pool) => pool,
            Err(error) => return Err(failed(error)),
        };
        let found = version_of(&pool).await.map_err(failed)?;
        match found.cmp(&schema::known()) {
            Ordering::Less => Err(LogError::OlderSchema { found, known: schema::known() }),
            Ordering::Greater => Err(LogError::NewerSchema { found, known: schema::known() }),
            Ordering::Equal => Ok(Self {
                writer: None,
                auditors: pool.clone(),
                readers: pool,
                salt,
                onward: Onward::default(),
            }),
        }
    }

    /// What is recorded goes on to these, too.
    #[must_use]
    pub fn fanning_out(mut self, onward: Onward) -> Self {
        self.onward = onward;
        self
    }

    fn writer(&self) -> Result<&Writer, LogError> {
        self.writer.as_ref().ok_or(LogError::ReadOnly)
    }

    async fn turn(&self) -> Result<Turn, LogError> {
        self.writer()?.turn().await
    }

    async fn connect(path: &Path, salt: SaltKey, create: bool) -> Result<Self, LogError> {
        let failed = |error: sqlx::Error| schema::failed(path, &error);
        close_to_others(path, create);
        let options = options(path).create_if_missing(create);
        let writer = Writer::open(options, path).await?;
        let readers = pool(READERS).connect_with(reading(path)).await.map_err(failed)?;
        let auditors = pool(AUDITORS)
            .min_connections(0)
            .acquire_timeout(AUDIT_PATIENCE)
            .connect_lazy_with(reading(path));
        Ok(Self { writer: Some(writer), readers, auditors, salt: Some(salt), onward: Onward::default() })
    }
}

/// Makes an organisation's projections again, in a file that may be in use.
pub(crate) async fn rebuild(path: &Path, org: &OrgId) -> Result<Rebuilt, LogError> {
    let writer = Writer::open(options(path), path).await?;
    let mut turn = writer.turn().await?;
    let rebuilt = rebuild::rebuild(turn.connection(), org).await;
    turn.end(rebuilt).await
}

/// How every connection is opened that may write.
fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // What is deleted is overwritten: a redacted text does not stay in a free page.
        .pragma("secure_delete", "ON")
        // What a savepoint can be taken back to would be a file of its own otherwise, made anew for every commit.
        .pragma("temp_store", "MEMORY")
        .busy_timeout(BUSY_TIMEOUT)
}

/// Rows that SQLite's thread reads before it waits for whoever takes them: a page of verifying.
const ROWS_AHEAD: usize = 500;

/// What a connection that reads may keep of the file, in KiB; taken as pages are read.
const CACHE_KIB: u32 = 16 * 1_024;

/// How connections are opened that only read, once the file is there: pragmas that are for writing cost them a third of
/// their speed.
fn reading(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        // SQLite's own 2 MiB hold less than a search over 10 000 titles reads, which then reads all of them anew.
        .pragma("cache_size", format!("-{CACHE_KIB}"))
        .row_buffer_size(ROWS_AHEAD)
        .busy_timeout(BUSY_TIMEOUT)
}

fn pool(size: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(size).acquire_timeout(BUSY_TIMEOUT * 2).idle_timeout(None)
}

async fn version_of(pool: &SqlitePool) -> Result<i64, sqlx::Error> {
    schema::version(&mut *pool.acquire().await?).await
}

/// Makes the file, where it is to be made, so that only its owner may read it, and closes one that others may read. What
/// SQLite makes beside it gets the same rights. What does not work is left to SQLite, which tells it better, or to the
/// file's owner.
fn close_to_others(path: &Path, create: bool) {
    if create && !path.exists() {
        drop(fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path));
    }
    for path in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        let Ok(found) = fs::metadata(&path) else { continue };
        let mode = found.permissions().mode() & 0o777;
        if mode & 0o077 == 0 {
            continue;
        }
        let (path, closed) =
            (path.display(), fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o700)));
        match closed {
            Ok(()) => tracing::warn!(%path, "others could read this file; it is closed to them now"),
            Err(error) => {
                tracing::warn!(%path, %error, "others can read this file, and it cannot be closed to them")
            }
        }
    }
}

/// A file that SQLite keeps beside its own.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[async_trait]
impl Log for SqliteLog {
    async fn carry_out(&self, job: Job<'_>) -> Result<Done, LogError> {
        let salt = self.salt.as_ref().ok_or(LogError::ReadOnly)?;
        let mut turn = self.turn().await?;
        let done = append::append(turn.connection(), &job, salt, &self.onward).await;
        let done = turn.end(done).await?;
        if job.request.redaction().is_some() {
            write::purge(self.writer()?).await?;
        }
        Ok(done)
    }

    async fn catalog_state(&self, org: &OrgId, stream: &StreamId) -> Result<Option<StreamState>, LogError> {
        let mut tx = self.readers.begin().await.map_err(unavailable)?;
        catalog::state(&mut tx, org, stream).await
    }

    async fn catalog(&self, org: &OrgId, filter: &CatalogFilter) -> Result<Vec<StreamState>, LogError> {
        let mut tx = self.readers.begin().await.map_err(unavailable)?;
        catalog::states(&mut tx, org, filter).await
    }

    async fn releases(&self, org: &OrgId, filter: &ReleaseFilter) -> Result<Vec<StoredRelease>, LogError> {
        let mut tx = self.readers.begin().await.map_err(unavailable)?;
        catalog::releases(&mut tx, org, filter).await
    }

    async fn runs(&self, org: &OrgId, filter: &RunFilter) -> Result<Vec<StoredRun>, LogError> {
        let mut tx = self.readers.begin().await.map_err(unavailable)?;
        catalog::runs(&mut tx, org, filter).await
    }

    async fn audit(&self, org: &OrgId, filter: &AuditFilter) -> Result<Vec<Record>, LogError> {
        let mut tx = self.readers.begin().await.map_err(unavailable)?;
        catalog::audit(&mut tx, org, filter).await
    }

    async fn state(&self, org: &OrgId, incident: &IncidentId) -> Result<Option<IncidentState>, LogError> {
        let mut tx = self.readers.begin().await.map_err(unavailable)?;
        read::state(&mut tx, org, incident).await
    }

    async fn records(
        &self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, LogError> {
        let mut tx = self.readers.begin().await.map_err(unavailable)?;
        read::entries(&mut tx, org, stream, after, limit).await
    }

    async fn streams(&self, org: &OrgId) -> Result<Vec<StreamId>, LogError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        let ids = connection.traces(org).await?;
        let mut streams = ids.iter().map(|id| stream_id(id)).collect::<Result<Vec<_>, _>>()?;
        streams.sort_unstable();
        Ok(streams)
    }

    async fn rows(
        &self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Row>, LogError> {
        let mut tx = self.auditors.begin().await.map_err(unavailable)?;
        let page = tx.page(org, stream, after, limit).await?;
        Ok((page.open)()?.rows)
    }

    async fn chain_head(&self, org: &OrgId, stream: &StreamId) -> Result<Option<StreamHead>, LogError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        read::chain_head(&mut connection, org, stream).await
    }

    async fn list(&self, org: &OrgId, filter: &Filter) -> Result<Vec<IncidentState>, LogError> {
        let mut tx = self.readers.begin().await.map_err(unavailable)?;
        read::list(&mut tx, org, filter).await
    }

    async fn verify(&self, org: &OrgId) -> Result<Report, LogError> {
        let mut tx = self.auditors.begin().await.map_err(unavailable)?;
        verify::log(&mut *tx, org, self.salt.as_ref()).await
    }

    async fn answer(&self, org: &OrgId, key: &str) -> Result<Option<Answer>, LogError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        read::answer(&mut connection, org, key).await
    }

    async fn ping(&self) -> Result<(), LogError> {
        sqlx::query("SELECT 1").execute(&self.readers).await.map(drop).map_err(unavailable)
    }
}

#[async_trait]
impl Outbox for SqliteLog {
    async fn enqueue(
        &self,
        org: &OrgId,
        stream: Option<&StreamId>,
        item: &OutboxItem,
    ) -> Result<(), LogError> {
        let mut turn = self.turn().await?;
        let written = outbox::insert(turn.connection(), org, stream, item, jiff::Timestamp::now()).await;
        turn.end(written).await
    }

    async fn claim(&self, limit: u32, lease: Duration) -> Result<Vec<Pending>, LogError> {
        // A look first: an idle dispatcher takes no write lock.
        if !outbox::is_waiting(&self.readers).await? {
            return Ok(Vec::new());
        }
        let mut turn = self.turn().await?;
        let claimed = outbox::claim(turn.connection(), limit, lease).await;
        turn.end(claimed).await
    }

    async fn done(&self, id: &OutboxId) -> Result<(), LogError> {
        let mut turn = self.turn().await?;
        let written = outbox::done(turn.connection(), id).await;
        turn.end(written).await
    }

    async fn later(&self, id: &OutboxId, delay: Duration, error: &str) -> Result<(), LogError> {
        let mut turn = self.turn().await?;
        let written = outbox::later(turn.connection(), id, delay, error).await;
        turn.end(written).await
    }

    async fn backlog(&self) -> Result<(u64, Duration), LogError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        outbox::backlog(&mut connection).await
    }
}

#[async_trait]
impl Fanout for SqliteLog {
    async fn claim_lanes(&self, sink: &SinkName, limit: u32, lease: Duration) -> Result<Vec<Lane>, LogError> {
        // A look first: an idle loop takes no turn.
        if limit == 0 || !lanes::is_waiting(&self.readers, sink).await? {
            return Ok(Vec::new());
        }
        let mut turn = self.turn().await?;
        let claimed = lanes::claim(turn.connection(), sink, limit, lease).await;
        turn.end(claimed).await
    }

    async fn settle_lane(
        &self,
        lane: &Lane,
        sent: u64,
        failed: Option<(Duration, &str)>,
    ) -> Result<(), LogError> {
        let mut turn = self.turn().await?;
        let written = lanes::settle(turn.connection(), lane, sent, failed).await;
        turn.end(written).await
    }

    async fn lane_backlog(&self, sink: &SinkName) -> Result<LaneBacklog, LogError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        lanes::backlog(&mut connection, sink).await
    }
}

#[async_trait]
impl Ledger for SqliteLog {
    async fn begin_effect(
        &self,
        org: &OrgId,
        subject: &EffectSubject,
        key: &str,
        operation: &str,
        owner: &str,
        lease: Duration,
    ) -> Result<Begin, LogError> {
        let mut turn = self.turn().await?;
        let begin = effects::begin(turn.connection(), org, subject, key, operation, owner, lease).await;
        turn.end(begin).await
    }

    async fn known_effect(&self, org: &OrgId, key: &str) -> Result<Option<KnownEffect>, LogError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        effects::known(&mut connection, org, key).await
    }

    async fn complete_effect(&self, org: &OrgId, key: &str, result: &Value) -> Result<(), LogError> {
        let mut turn = self.turn().await?;
        let written = effects::complete(turn.connection(), org, key, result).await;
        turn.end(written).await
    }

    async fn forget_effect(&self, org: &OrgId, key: &str, owner: &str) -> Result<(), LogError> {
        let mut turn = self.turn().await?;
        let written = effects::forget(turn.connection(), org, key, owner).await;
        turn.end(written).await
    }

    async fn release_effect(&self, org: &OrgId, key: &str, owner: &str) -> Result<(), LogError> {
        let mut turn = self.turn().await?;
        let written = effects::release(turn.connection(), org, key, owner).await;
        turn.end(written).await
    }
}

#[async_trait]
impl Candidates for SqliteLog {
    async fn submit_candidate(
        &self,
        org: &OrgId,
        candidate: &StoredCandidate,
        follow: &[OutboxItem],
    ) -> Result<StoredCandidate, LogError> {
        let mut turn = self.turn().await?;
        let stored = candidates::submit(turn.connection(), org, candidate, follow).await;
        turn.end(stored).await
    }

    async fn candidate(&self, org: &OrgId, id: &CandidateId) -> Result<Option<StoredCandidate>, LogError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        candidates::get(&mut connection, org, id).await
    }

    async fn candidates(
        &self,
        org: &OrgId,
        filter: &CandidateFilter,
    ) -> Result<Vec<StoredCandidate>, LogError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        candidates::list(&mut connection, org, filter).await
    }

    async fn change_candidate(&self, org: &OrgId, change: CandidateChange<'_>) -> Result<Changed, LogError> {
        let mut turn = self.turn().await?;
        let changed = candidates::change(turn.connection(), org, change).await;
        turn.end(changed).await
    }

    async fn log_attempt(&self, org: &OrgId, attempt: &PromotionAttempt) -> Result<(), LogError> {
        let mut turn = self.turn().await?;
        let written = candidates::attempt(turn.connection(), org, attempt).await;
        turn.end(written).await
    }

    async fn attempts(&self, org: &OrgId, id: &CandidateId) -> Result<Vec<PromotionAttempt>, LogError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        candidates::attempts(&mut connection, org, id).await
    }
}

#[async_trait]
impl Subscriptions for SqliteLog {
    async fn subscribe(&self, org: &OrgId, subscription: &Subscription) -> Result<Subscribed, LogError> {
        let mut turn = self.turn().await?;
        let written = subscriptions::add(turn.connection(), org, subscription).await;
        turn.end(written).await
    }

    async fn subscriptions(&self, org: &OrgId) -> Result<Vec<Subscription>, LogError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        subscriptions::all(&mut connection, org).await
    }

    async fn unsubscribe(&self, org: &OrgId, id: &SubscriptionId) -> Result<bool, LogError> {
        let mut turn = self.turn().await?;
        let removed = subscriptions::remove(turn.connection(), org, id).await;
        turn.end(removed).await
    }

    async fn mark_subscription(
        &self,
        org: &OrgId,
        delivered: &Subscription,
        problem: Option<&DeliveryProblem>,
    ) -> Result<(), LogError> {
        let mut turn = self.turn().await?;
        let marked = subscriptions::mark(turn.connection(), org, delivered, problem).await;
        turn.end(marked).await
    }
}

#[async_trait]
impl Outputs for SqliteLog {
    async fn write_output(
        &self,
        org: &OrgId,
        stream: &StreamId,
        pieces: &[LiveOutput],
    ) -> Result<(), LogError> {
        let mut turn = self.turn().await?;
        let written = live_output::write(turn.connection(), org, stream, pieces).await;
        turn.end(written).await
    }

    async fn end_output(
        &self,
        org: &OrgId,
        stream: &StreamId,
        step: &str,
        how: &str,
    ) -> Result<(), LogError> {
        let mut turn = self.turn().await?;
        let written = live_output::end(turn.connection(), org, stream, step, how).await;
        turn.end(written).await
    }

    async fn output(
        &self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredOutput>, LogError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        live_output::read(&mut connection, org, stream, after, limit).await
    }

    async fn last_output(
        &self,
        org: &OrgId,
        stream: &StreamId,
        step: &str,
        limit: u32,
    ) -> Result<Vec<StoredOutput>, LogError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        live_output::last(&mut connection, org, stream, step, limit).await
    }

    async fn forget_output(&self, org: &OrgId, stream: &StreamId) -> Result<(), LogError> {
        let mut turn = self.turn().await?;
        let written = live_output::forget(turn.connection(), org, stream).await;
        turn.end(written).await
    }
}

fn unavailable(error: sqlx::Error) -> LogError {
    if is_unwritable(&error) {
        return LogError::Unwritable { reason: reason(&error) };
    }
    LogError::Unavailable(Box::new(error))
}

/// Whether the file cannot be written as it is: `SQLITE_READONLY`, `SQLITE_IOERR` or `SQLITE_FULL`, the last byte of
/// the extended code.
fn is_unwritable(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.and_then(|code| code.parse::<i32>().ok()).is_some_and(|code| [8, 10, 13].contains(&(code & 0xff)))
}

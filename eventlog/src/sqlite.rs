//! The log on SQLite: the default store, for one machine.
//!
//! WAL with `synchronous=FULL`, so that what was acknowledged survives a power cut. Several processes may share the
//! file: writers queue by `BEGIN IMMEDIATE` and the busy time-out. Within one process writers share one connection;
//! readers have their own.

use std::{
    cmp::Ordering,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use harmony_incidents::{
    Answer, Command, IncidentId, OrgId, log::IncidentState, promotion::CandidateId, record::SaltKey,
};
use serde_json::Value;
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};

use crate::{
    append::{self, incident_id},
    candidates::{CandidateChange, CandidateFilter, Changed, PromotionAttempt, StoredCandidate},
    checkpoint::IncidentHead,
    store::{Append, Appended, Begin, Entry, EventLog, Filter, LogError, OutboxId, OutboxItem, Pending},
    verify::{self, Audit as _, Report, Row},
};

mod candidates;
mod effects;
mod outbox;
mod read;
pub(crate) mod schema;
mod write;

/// How long a writer waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that only read; SQLite's readers hold nobody up.
const READERS: u32 = 4;

/// The log in one SQLite file.
pub struct SqliteLog {
    /// Invariant: one connection, so that writers of this process queue here and not in SQLite's busy loop.
    writer: SqlitePool,
    readers: SqlitePool,
    /// `None` where it was opened for reading alone.
    salt: Option<SaltKey>,
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
    pub async fn audit(path: &Path) -> Result<Self, LogError> {
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
            // Whatever would need the salt key fails first, since nothing can be written.
            Ordering::Equal => Ok(Self { writer: pool.clone(), readers: pool, salt: None }),
        }
    }

    async fn connect(path: &Path, salt: SaltKey, create: bool) -> Result<Self, LogError> {
        let failed = |error: sqlx::Error| schema::failed(path, &error);
        let options = options(path).create_if_missing(create);
        let writer = pool(1).connect_with(options.clone()).await.map_err(failed)?;
        schema::migrate(&mut *writer.acquire().await.map_err(failed)?, path).await?;
        let readers = pool(READERS).connect_with(options).await.map_err(failed)?;
        Ok(Self { writer, readers, salt: Some(salt) })
    }
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
        .busy_timeout(BUSY_TIMEOUT)
}

fn pool(size: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(size).acquire_timeout(BUSY_TIMEOUT * 2).idle_timeout(None)
}

async fn version_of(pool: &SqlitePool) -> Result<i64, sqlx::Error> {
    schema::version(&mut *pool.acquire().await?).await
}

/// A file that SQLite keeps beside its own.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[async_trait]
impl EventLog for SqliteLog {
    async fn append(&self, append: Append<'_>) -> Result<Appended, LogError> {
        let salt = self.salt.as_ref().ok_or(LogError::ReadOnly)?;
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)?;
        let appended = append::append(&mut *tx, &append, salt).await?;
        if appended.repeated {
            drop(tx);
        } else {
            tx.commit().await.map_err(unavailable)?;
        }
        if matches!(append.command, Command::Redact { .. }) {
            write::purge(&self.writer).await?;
        }
        Ok(appended)
    }

    async fn state(&self, org: &OrgId, incident: &IncidentId) -> Result<Option<IncidentState>, LogError> {
        let mut tx = self.readers.begin().await.map_err(unavailable)?;
        read::state(&mut tx, org, incident).await
    }

    async fn records(
        &self,
        org: &OrgId,
        incident: &IncidentId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, LogError> {
        let mut tx = self.readers.begin().await.map_err(unavailable)?;
        read::entries(&mut tx, org, incident, after, limit).await
    }

    async fn incidents(&self, org: &OrgId) -> Result<Vec<IncidentId>, LogError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        let ids = connection.traces(org).await?;
        let mut incidents = ids.iter().map(|id| incident_id(id)).collect::<Result<Vec<_>, _>>()?;
        incidents.sort_by_key(IncidentId::parts);
        Ok(incidents)
    }

    async fn rows(
        &self,
        org: &OrgId,
        incident: &IncidentId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Row>, LogError> {
        let mut tx = self.readers.begin().await.map_err(unavailable)?;
        tx.rows(org, incident, after, limit).await
    }

    async fn chain_head(&self, org: &OrgId, incident: &IncidentId) -> Result<Option<IncidentHead>, LogError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        read::chain_head(&mut connection, org, incident).await
    }

    async fn list(&self, org: &OrgId, filter: &Filter) -> Result<Vec<IncidentState>, LogError> {
        let mut tx = self.readers.begin().await.map_err(unavailable)?;
        read::list(&mut tx, org, filter).await
    }

    async fn verify(&self, org: &OrgId) -> Result<Report, LogError> {
        let mut tx = self.readers.begin().await.map_err(unavailable)?;
        verify::log(&mut *tx, org).await
    }

    async fn enqueue(&self, org: &OrgId, incident: &IncidentId, item: &OutboxItem) -> Result<(), LogError> {
        let mut connection = self.writer.acquire().await.map_err(unavailable)?;
        outbox::insert(&mut connection, org, Some(incident), item, jiff::Timestamp::now()).await
    }

    async fn claim(&self, limit: u32, lease: Duration) -> Result<Vec<Pending>, LogError> {
        outbox::claim(&self.readers, &self.writer, limit, lease).await
    }

    async fn done(&self, id: &OutboxId) -> Result<(), LogError> {
        outbox::done(&self.writer, id).await
    }

    async fn later(&self, id: &OutboxId, delay: Duration, error: &str) -> Result<(), LogError> {
        outbox::later(&self.writer, id, delay, error).await
    }

    async fn backlog(&self) -> Result<(u64, Duration), LogError> {
        outbox::backlog(&self.readers).await
    }

    async fn answer(&self, org: &OrgId, key: &str) -> Result<Option<Answer>, LogError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        read::answer(&mut connection, org, key).await
    }

    async fn begin_effect(
        &self,
        org: &OrgId,
        incident: &IncidentId,
        key: &str,
        operation: &str,
        owner: &str,
        lease: Duration,
    ) -> Result<Begin, LogError> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)?;
        let begin = effects::begin(&mut tx, org, incident, key, operation, owner, lease).await?;
        tx.commit().await.map_err(unavailable)?;
        Ok(begin)
    }

    async fn complete_effect(&self, org: &OrgId, key: &str, result: &Value) -> Result<(), LogError> {
        effects::complete(&self.writer, org, key, result).await
    }

    async fn forget_effect(&self, org: &OrgId, key: &str, owner: &str) -> Result<(), LogError> {
        effects::forget(&self.writer, org, key, owner).await
    }

    async fn release_effect(&self, org: &OrgId, key: &str, owner: &str) -> Result<(), LogError> {
        effects::release(&self.writer, org, key, owner).await
    }

    async fn submit_candidate(
        &self,
        org: &OrgId,
        candidate: &StoredCandidate,
        follow: &[OutboxItem],
    ) -> Result<StoredCandidate, LogError> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)?;
        let stored = candidates::submit(&mut tx, org, candidate, follow).await?;
        tx.commit().await.map_err(unavailable)?;
        Ok(stored)
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
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)?;
        let changed = candidates::change(&mut tx, org, change).await?;
        tx.commit().await.map_err(unavailable)?;
        Ok(changed)
    }

    async fn log_attempt(&self, org: &OrgId, attempt: &PromotionAttempt) -> Result<(), LogError> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)?;
        candidates::attempt(&mut tx, org, attempt).await?;
        tx.commit().await.map_err(unavailable)
    }

    async fn ping(&self) -> Result<(), LogError> {
        sqlx::query("SELECT 1").execute(&self.readers).await.map(drop).map_err(unavailable)
    }
}

/// A column of a row. SQLite holds whatever was put there: a value of another type is damage, not a reason to panic.
fn column<'r, T>(row: &'r SqliteRow, name: &str, place: impl FnOnce() -> String) -> Result<T, LogError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    sqlx::Row::try_get(row, name).map_err(|_| LogError::Corrupt { place: place() })
}

fn unavailable(error: sqlx::Error) -> LogError {
    LogError::Unavailable(Box::new(error))
}

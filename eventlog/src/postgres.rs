//! The log on PostgreSQL: for several machines, and for whoever has a database team.
//!
//! Every append is one transaction, committed with `synchronous_commit=on` whatever the server's default is. The row
//! of the incident is locked while a command is judged, so that appends to one incident queue and appends to many do
//! not; whoever declares holds an advisory lock on the year's numbers until the commit, so that a declaration that
//! fails leaves no gap. Collisions (the same key at once, a deadlock) are tried again here.
//!
//! The schema is made and brought up to date by `harmony db migrate` alone; a database without it, or of another
//! version, is refused when it is opened. TLS is what the URL's `sslmode` says.
//!
//! What was redacted is deleted from every row; when its bytes leave the data files and the server's own log is up to
//! the server (`VACUUM`, recycling), as are its replicas and backups.

use std::time::Duration;

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
    Connection as _, PgConnection, PgPool, PgTransaction, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
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

/// Connections of one process where nothing else is asked for.
pub const DEFAULT_POOL_SIZE: u32 = 8;
/// Connections that read the whole log, to verify, replay or export it, beside the others: made when they are needed,
/// and closed when nobody needs them.
const AUDITORS: u32 = 3;
/// How long whoever reads the whole log waits for one of them.
const AUDIT_PATIENCE: Duration = Duration::from_secs(60);
/// How long whoever asks waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that lay idle for longer is tried before it is used: the server may have gone away.
const TRUSTED_IDLE: Duration = Duration::from_secs(2);
/// Each collision means that somebody else went on, so this many in a row are a fault of ours.
const COLLISIONS: u32 = 50;
/// Reads and writes of an append, durable whatever the server's default is. Between two statements lie microseconds: a
/// process that is silent for seconds hangs, or is cut off, and the server takes back the locks that others wait for,
/// before those give up on a connection ([`ACQUIRE_TIMEOUT`]).
const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on; SET LOCAL idle_in_transaction_session_timeout = '3s'";
/// Several reads of one moment.
const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The log in one PostgreSQL database.
pub struct PostgresLog {
    pool: PgPool,
    auditors: PgPool,
    /// Not where it was opened for reading alone.
    is_writable: bool,
    salt: Option<SaltKey>,
    onward: Onward,
}

impl PostgresLog {
    /// Opens a database that was migrated. `pool_size` is how many connections this process takes at most.
    pub async fn open(options: PgConnectOptions, pool_size: u32, salt: SaltKey) -> Result<Self, LogError> {
        Self::connect(options, pool_size, true, Some(salt)).await
    }

    /// Opens a database for reading alone. Without a salt key salts are not compared when it is verified.
    pub async fn audit(
        options: PgConnectOptions,
        pool_size: u32,
        salt: Option<SaltKey>,
    ) -> Result<Self, LogError> {
        let options = options.options([("default_transaction_read_only", "on")]);
        Self::connect(options, pool_size, false, salt).await
    }

    async fn connect(
        options: PgConnectOptions,
        pool_size: u32,
        is_writable: bool,
        salt: Option<SaltKey>,
    ) -> Result<Self, LogError> {
        let failed = |error: &sqlx::Error| LogError::Open { path: place(&options), reason: reason(error) };
        let pool = PgPoolOptions::new()
            .max_connections(pool_size.max(1))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > TRUSTED_IDLE {
                        sqlx::Connection::ping(connection).await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(options.clone())
            .await
            .map_err(|error| failed(&error))?;
        let mut connection = pool.acquire().await.map_err(|error| failed(&error))?;
        let found = schema::version(&mut connection).await.map_err(|error| failed(&error))?;
        drop(connection);
        schema::check(found)?;
        let auditors = PgPoolOptions::new()
            .max_connections(AUDITORS)
            .acquire_timeout(AUDIT_PATIENCE)
            .idle_timeout(AUDIT_PATIENCE)
            .connect_lazy_with(options);
        Ok(Self { pool, auditors, is_writable, salt, onward: Onward::default() })
    }

    /// What is recorded goes on to these, too.
    #[must_use]
    pub fn fanning_out(mut self, onward: Onward) -> Self {
        self.onward = onward;
        self
    }

    async fn write(&self) -> Result<PgTransaction<'static>, LogError> {
        self.pool.begin_with(WRITE).await.map_err(unavailable)
    }

    /// One for a single statement.
    async fn connection(&self) -> Result<PoolConnection<Postgres>, LogError> {
        self.pool.acquire().await.map_err(unavailable)
    }

    async fn read(&self) -> Result<PgTransaction<'static>, LogError> {
        self.pool.begin_with(READ).await.map_err(unavailable)
    }

    async fn auditing(&self) -> Result<PgTransaction<'static>, LogError> {
        self.auditors.begin_with(READ).await.map_err(unavailable)
    }

    async fn try_once(&self, job: &Job<'_>) -> Result<Done, LogError> {
        let salt = self.salt.as_ref().filter(|_| self.is_writable).ok_or(LogError::ReadOnly)?;
        let mut tx = self.write().await?;
        let done = append::append(&mut *tx, job, salt, &self.onward).await?;
        if !done.repeated {
            tx.commit().await.map_err(unavailable)?;
        }
        Ok(done)
    }
}

/// Makes an organisation's projections again. Nobody appends meanwhile; readers go on.
pub(crate) async fn rebuild(options: &PgConnectOptions, org: &OrgId) -> Result<Rebuilt, LogError> {
    let failed = |error: sqlx::Error| LogError::Open { path: place(options), reason: reason(&error) };
    let mut connection = PgConnection::connect_with(options).await.map_err(failed)?;
    schema::check_own(schema::version(&mut connection).await.map_err(failed)?)?;
    let mut tx = connection.begin_with(WRITE).await.map_err(unavailable)?;
    sqlx::query("LOCK TABLE incidents, catalog IN EXCLUSIVE MODE")
        .execute(&mut *tx)
        .await
        .map_err(unavailable)?;
    let rebuilt = rebuild::rebuild(&mut *tx, org).await?;
    tx.commit().await.map_err(unavailable)?;
    Ok(rebuilt)
}

#[async_trait]
impl Log for PostgresLog {
    async fn carry_out(&self, job: Job<'_>) -> Result<Done, LogError> {
        let mut tries = 0;
        loop {
            match self.try_once(&job).await {
                Err(LogError::Unavailable(cause)) if tries < COLLISIONS && is_collision(&cause) => tries += 1,
                other => return other,
            }
        }
    }

    async fn catalog_state(&self, org: &OrgId, stream: &StreamId) -> Result<Option<StreamState>, LogError> {
        catalog::state(&mut *self.read().await?, org, stream).await
    }

    async fn catalog(&self, org: &OrgId, filter: &CatalogFilter) -> Result<Vec<StreamState>, LogError> {
        catalog::states(&mut *self.read().await?, org, filter).await
    }

    async fn releases(&self, org: &OrgId, filter: &ReleaseFilter) -> Result<Vec<StoredRelease>, LogError> {
        catalog::releases(&mut *self.read().await?, org, filter).await
    }

    async fn runs(&self, org: &OrgId, filter: &RunFilter) -> Result<Vec<StoredRun>, LogError> {
        catalog::runs(&mut *self.read().await?, org, filter).await
    }

    async fn audit(&self, org: &OrgId, filter: &AuditFilter) -> Result<Vec<Record>, LogError> {
        catalog::audit(&mut *self.read().await?, org, filter).await
    }

    async fn state(&self, org: &OrgId, incident: &IncidentId) -> Result<Option<IncidentState>, LogError> {
        read::state(&mut *self.read().await?, org, incident).await
    }

    async fn records(
        &self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, LogError> {
        read::entries(&mut *self.read().await?, org, stream, after, limit).await
    }

    async fn streams(&self, org: &OrgId) -> Result<Vec<StreamId>, LogError> {
        let ids = self.read().await?.traces(org).await?;
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
        let page = self.auditing().await?.page(org, stream, after, limit).await?;
        Ok((page.open)()?.rows)
    }

    async fn chain_head(&self, org: &OrgId, stream: &StreamId) -> Result<Option<StreamHead>, LogError> {
        read::chain_head(&self.pool, org, stream).await
    }

    async fn list(&self, org: &OrgId, filter: &Filter) -> Result<Vec<IncidentState>, LogError> {
        read::list(&mut *self.read().await?, org, filter).await
    }

    async fn verify(&self, org: &OrgId) -> Result<Report, LogError> {
        verify::log(&mut *self.auditing().await?, org, self.salt.as_ref()).await
    }

    async fn answer(&self, org: &OrgId, key: &str) -> Result<Option<Answer>, LogError> {
        read::answer(&self.pool, org, key).await
    }

    async fn ping(&self) -> Result<(), LogError> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map(drop).map_err(unavailable)
    }
}

#[async_trait]
impl Outbox for PostgresLog {
    async fn enqueue(
        &self,
        org: &OrgId,
        stream: Option<&StreamId>,
        item: &OutboxItem,
    ) -> Result<(), LogError> {
        let mut tx = self.write().await?;
        outbox::enqueue(&mut tx, org, stream, item).await?;
        tx.commit().await.map_err(unavailable)
    }

    async fn claim(&self, limit: u32, lease: Duration) -> Result<Vec<Pending>, LogError> {
        let mut connection = self.connection().await?;
        outbox::claim(&mut connection, limit, lease).await
    }

    async fn done(&self, id: &OutboxId) -> Result<(), LogError> {
        let mut connection = self.connection().await?;
        outbox::done(&mut connection, id).await
    }

    async fn later(&self, id: &OutboxId, delay: Duration, error: &str) -> Result<(), LogError> {
        let mut connection = self.connection().await?;
        outbox::later(&mut connection, id, delay, error).await
    }

    async fn backlog(&self) -> Result<(u64, Duration), LogError> {
        let mut connection = self.connection().await?;
        outbox::backlog(&mut connection).await
    }
}

#[async_trait]
impl Fanout for PostgresLog {
    async fn claim_lanes(&self, sink: &SinkName, limit: u32, lease: Duration) -> Result<Vec<Lane>, LogError> {
        let mut connection = self.connection().await?;
        lanes::claim(&mut connection, sink, limit, lease).await
    }

    async fn settle_lane(
        &self,
        lane: &Lane,
        sent: u64,
        failed: Option<(Duration, &str)>,
    ) -> Result<(), LogError> {
        let mut connection = self.connection().await?;
        lanes::settle(&mut connection, lane, sent, failed).await
    }

    async fn lane_backlog(&self, sink: &SinkName) -> Result<LaneBacklog, LogError> {
        let mut connection = self.connection().await?;
        lanes::backlog(&mut connection, sink).await
    }
}

#[async_trait]
impl Ledger for PostgresLog {
    async fn begin_effect(
        &self,
        org: &OrgId,
        subject: &EffectSubject,
        key: &str,
        operation: &str,
        owner: &str,
        lease: Duration,
    ) -> Result<Begin, LogError> {
        let mut tx = self.write().await?;
        let begin = effects::begin(&mut tx, org, subject, key, operation, owner, lease).await?;
        tx.commit().await.map_err(unavailable)?;
        Ok(begin)
    }

    async fn known_effect(&self, org: &OrgId, key: &str) -> Result<Option<KnownEffect>, LogError> {
        let mut connection = self.connection().await?;
        effects::known(&mut connection, org, key).await
    }

    async fn complete_effect(&self, org: &OrgId, key: &str, result: &Value) -> Result<(), LogError> {
        let mut tx = self.write().await?;
        effects::complete(&mut tx, org, key, result).await?;
        tx.commit().await.map_err(unavailable)
    }

    async fn forget_effect(&self, org: &OrgId, key: &str, owner: &str) -> Result<(), LogError> {
        let mut connection = self.connection().await?;
        effects::forget(&mut connection, org, key, owner).await
    }

    async fn release_effect(&self, org: &OrgId, key: &str, owner: &str) -> Result<(), LogError> {
        let mut connection = self.connection().await?;
        effects::release(&mut connection, org, key, owner).await
    }
}

#[async_trait]
impl Candidates for PostgresLog {
    async fn submit_candidate(
        &self,
        org: &OrgId,
        candidate: &StoredCandidate,
        follow: &[OutboxItem],
    ) -> Result<StoredCandidate, LogError> {
        let mut tx = self.write().await?;
        let stored = candidates::submit(&mut tx, org, candidate, follow).await?;
        tx.commit().await.map_err(unavailable)?;
        Ok(stored)
    }

    async fn candidate(&self, org: &OrgId, id: &CandidateId) -> Result<Option<StoredCandidate>, LogError> {
        let mut connection = self.connection().await?;
        candidates::get(&mut connection, org, id).await
    }

    async fn candidates(
        &self,
        org: &OrgId,
        filter: &CandidateFilter,
    ) -> Result<Vec<StoredCandidate>, LogError> {
        let mut connection = self.connection().await?;
        candidates::list(&mut connection, org, filter).await
    }

    async fn change_candidate(&self, org: &OrgId, change: CandidateChange<'_>) -> Result<Changed, LogError> {
        let mut tx = self.write().await?;
        if change.alone_since.is_some() {
            candidates::lock(&mut tx, org, change.candidate).await?;
        }
        let changed = candidates::change(&mut tx, org, change).await?;
        tx.commit().await.map_err(unavailable)?;
        Ok(changed)
    }

    async fn log_attempt(&self, org: &OrgId, attempt: &PromotionAttempt) -> Result<(), LogError> {
        let mut tx = self.write().await?;
        candidates::attempt(&mut tx, org, attempt).await?;
        tx.commit().await.map_err(unavailable)
    }

    async fn attempts(&self, org: &OrgId, id: &CandidateId) -> Result<Vec<PromotionAttempt>, LogError> {
        let mut connection = self.connection().await?;
        candidates::attempts(&mut connection, org, id).await
    }
}

#[async_trait]
impl Subscriptions for PostgresLog {
    async fn subscribe(&self, org: &OrgId, subscription: &Subscription) -> Result<Subscribed, LogError> {
        let mut tx = self.write().await?;
        subscriptions::lock(&mut tx, org).await?;
        let subscribed = subscriptions::add(&mut tx, org, subscription).await?;
        tx.commit().await.map_err(unavailable)?;
        Ok(subscribed)
    }

    async fn subscriptions(&self, org: &OrgId) -> Result<Vec<Subscription>, LogError> {
        let mut connection = self.connection().await?;
        subscriptions::all(&mut connection, org).await
    }

    async fn unsubscribe(&self, org: &OrgId, id: &SubscriptionId) -> Result<bool, LogError> {
        let mut tx = self.write().await?;
        let removed = subscriptions::remove(&mut tx, org, id).await?;
        tx.commit().await.map_err(unavailable)?;
        Ok(removed)
    }

    async fn mark_subscription(
        &self,
        org: &OrgId,
        delivered: &Subscription,
        problem: Option<&DeliveryProblem>,
    ) -> Result<(), LogError> {
        let mut tx = self.write().await?;
        subscriptions::lock(&mut tx, org).await?;
        subscriptions::mark(&mut tx, org, delivered, problem).await?;
        tx.commit().await.map_err(unavailable)
    }
}

#[async_trait]
impl Outputs for PostgresLog {
    async fn write_output(
        &self,
        org: &OrgId,
        stream: &StreamId,
        pieces: &[LiveOutput],
    ) -> Result<(), LogError> {
        let mut tx = self.write().await?;
        live_output::lock(&mut tx, org, stream).await?;
        live_output::write(&mut tx, org, stream, pieces).await?;
        tx.commit().await.map_err(unavailable)
    }

    async fn end_output(
        &self,
        org: &OrgId,
        stream: &StreamId,
        step: &str,
        how: &str,
    ) -> Result<(), LogError> {
        let mut tx = self.write().await?;
        live_output::lock(&mut tx, org, stream).await?;
        live_output::end(&mut tx, org, stream, step, how).await?;
        tx.commit().await.map_err(unavailable)
    }

    async fn output(
        &self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredOutput>, LogError> {
        let mut connection = self.connection().await?;
        live_output::read(&mut connection, org, stream, after, limit).await
    }

    async fn last_output(
        &self,
        org: &OrgId,
        stream: &StreamId,
        step: &str,
        limit: u32,
    ) -> Result<Vec<StoredOutput>, LogError> {
        let mut connection = self.connection().await?;
        live_output::last(&mut connection, org, stream, step, limit).await
    }

    async fn forget_output(&self, org: &OrgId, stream: &StreamId) -> Result<(), LogError> {
        let mut tx = self.write().await?;
        live_output::forget(&mut tx, org, stream).await?;
        tx.commit().await.map_err(unavailable)
    }
}

/// What PostgreSQL will never take is the request's fault (class 22, such as U+0000 in a key); the rest may pass.
fn unavailable(error: sqlx::Error) -> LogError {
    match &error {
        sqlx::Error::Database(database) if database.code().is_some_and(|code| code.starts_with("22")) => {
            let explanation = format!("PostgreSQL does not take it: {}", database.message());
            LogError::Refused(harmony_incidents::Refusal::Invalid { explanation })
        }
        _ => LogError::Unavailable(Box::new(error)),
    }
}

/// Whether somebody else was at the same thing at the same time: the same key or name (23505), a deadlock (40P01), a
/// serialisation failure (40001).
fn is_collision(cause: &crate::store::Cause) -> bool {
    cause
        .downcast_ref::<sqlx::Error>()
        .and_then(sqlx::Error::as_database_error)
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| ["23505", "40P01", "40001"].contains(&code.as_ref()))
}

/// Which database, without its password.
pub(crate) fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    format!("postgres://{}:{}/{database}", options.get_host(), options.get_port())
}

//! The log on Amazon DynamoDB: for whoever wants several machines and no database to look after.
//!
//! An append reads consistently, judges, and writes everything in one `TransactWriteItems`, on condition that the head of
//! the stream, the key, the year's number and the environments that were looked at still are what was read. Where another
//! was faster it is judged again, against the new head. A transaction is durable when it is acknowledged; a request whose
//! answer was lost is sent again under the same token. Within one process writers of one stream, and those who declare,
//! queue instead of colliding.
//!
//! What differs from the SQL stores: a command writes at most 100 items (each record, text, outbox item and sink is one,
//! and so is each environment that it rests on) and 4 MB, and is refused beyond; the names of outbox items are unique per
//! stream; verifying reads one stream at a time as it was at one moment, not all of them. See `tables.rs` for the keys.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use harmony_incidents::{
    Answer, IncidentId, OrgId, StreamId,
    log::{IncidentState, Record},
    promotion::CandidateId,
    record::SaltKey,
    stakeholders::{DeliveryProblem, Subscription, SubscriptionId},
};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::{
    append::{self, Done, Job, Onward, StreamTarget},
    aws,
    candidates::{CandidateChange, CandidateFilter, Changed, PromotionAttempt, StoredCandidate},
    catalog::{AuditFilter, CatalogFilter, ReleaseFilter, RunFilter, StoredRelease, StoredRun},
    checkpoint::StreamHead,
    fanout::{Lane, LaneBacklog, SinkName},
    store::{
        Begin, Candidates, EffectSubject, Entry, Fanout, Filter, KnownEffect, Ledger, Log, LogError, Outbox,
        OutboxId, OutboxItem, Outputs, Pending, Subscriptions,
    },
    stream::StreamState,
    subscriptions::Subscribed,
    verify::{self, Report, Row},
};

mod audit;
mod candidates;
mod catalog;
mod effects;
mod item;
mod outbox;
mod query;
mod read;
mod rebuild;
mod subscriptions;
mod tables;
mod trail;
mod write;

use item::Collisions;
use tables::{SCHEMA, Tables, answer_key, key_hash};

/// Writers of one process that would collide queue in one of these; which one is by hash.
const QUEUES: usize = 64;

/// The log in three tables of one account and region.
pub struct DynamoLog {
    client: Client,
    tables: Tables,
    /// Not where it was opened for reading alone.
    is_writable: bool,
    salt: Option<SaltKey>,
    onward: Onward,
    queues: Arc<[Mutex<()>; QUEUES]>,
}

impl DynamoLog {
    /// Makes the tables of this prefix where they are missing. Tells which layout there was, 0 for none, and which
    /// there is.
    pub async fn migrate(client: &Client, prefix: &str) -> Result<(i64, i64), LogError> {
        Ok((Tables::new(prefix)?.migrate(client).await?, SCHEMA))
    }

    /// Which layout the tables of this prefix have, 0 for none, and which this build wants.
    pub async fn schema(client: &Client, prefix: &str) -> Result<(i64, i64), LogError> {
        Ok((Tables::new(prefix)?.schema(client).await?.unwrap_or_default(), SCHEMA))
    }

    /// Opens the tables of this prefix, which must be there.
    pub async fn open(client: Client, prefix: &str, salt: SaltKey) -> Result<Self, LogError> {
        Self::connect(client, prefix, true, Some(salt)).await
    }

    /// Opens the tables of this prefix for reading alone. Without a salt key salts are not compared when it is verified.
    pub async fn audit(client: Client, prefix: &str, salt: Option<SaltKey>) -> Result<Self, LogError> {
        Self::connect(client, prefix, false, salt).await
    }

    async fn connect(
        client: Client,
        prefix: &str,
        is_writable: bool,
        salt: Option<SaltKey>,
    ) -> Result<Self, LogError> {
        let tables = Tables::new(prefix)?;
        match tables.schema(&client).await? {
            Some(found) if found > SCHEMA => return Err(LogError::NewerSchema { found, known: SCHEMA }),
            Some(SCHEMA) => {}
            older => {
                return Err(LogError::OlderSchema { found: older.unwrap_or_default(), known: SCHEMA });
            }
        }
        let queues = Arc::new(std::array::from_fn(|_| Mutex::new(())));
        Ok(Self { client, tables, is_writable, salt, onward: Onward::default(), queues })
    }

    /// A client of the account, region and endpoint that the environment names.
    pub async fn client() -> Client {
        Client::new(&aws::config().await)
    }

    /// What is recorded goes on to these, too.
    #[must_use]
    pub fn fanning_out(mut self, onward: Onward) -> Self {
        self.onward = onward;
        self
    }

    /// Refuses to change what was opened for reading alone.
    fn writable(&self) -> Result<(), LogError> {
        if self.is_writable { Ok(()) } else { Err(LogError::ReadOnly) }
    }

    fn queue(&self, job: &Job<'_>) -> &Mutex<()> {
        let name = match &job.target {
            StreamTarget::New { year } => format!("{}|{year}", job.org),
            StreamTarget::Named(stream) => match stream.incident().filter(|_| job.request.begins()) {
                // A declaration of a named incident takes a number, too.
                Some(incident) => format!("{}|{}", job.org, incident.parts().0),
                None => format!("{}|{stream}", job.org),
            },
        };
        let sum =
            name.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        &self.queues[sum % QUEUES]
    }

    /// One try: `None` where somebody else was faster.
    async fn try_once(&self, job: &Job<'_>) -> Result<Option<Done>, LogError> {
        let salt = self.salt.as_ref().filter(|_| self.is_writable).ok_or(LogError::ReadOnly)?;
        let mut tx = write::Tx::new(self);
        match append::append(&mut tx, job, salt, &self.onward).await {
            Ok(done) if done.repeated => Ok(Some(done)),
            Ok(done) => Ok(tx.commit().await?.then_some(done)),
            // Key and head were read one after the other: a refusal may be of what the same command has just done.
            Err(
                LogError::Refused(_)
                | LogError::Stale { .. }
                | LogError::UnknownIncident(_)
                | LogError::UnknownStream(_),
            ) if self.knows(job).await? => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn knows(&self, job: &Job<'_>) -> Result<bool, LogError> {
        let key = answer_key(job.org, &key_hash(job.key));
        Ok(self.get(&self.tables.idempotency, key).await?.is_some())
    }
}

#[async_trait]
impl Log for DynamoLog {
    async fn carry_out(&self, job: Job<'_>) -> Result<Done, LogError> {
        let _turn = self.queue(&job).lock().await;
        let mut collisions = Collisions::none();
        loop {
            if let Some(done) = self.try_once(&job).await? {
                return Ok(done);
            }
            collisions.pause().await?;
        }
    }

    async fn catalog_state(&self, org: &OrgId, stream: &StreamId) -> Result<Option<StreamState>, LogError> {
        self.read_state(org, stream).await
    }

    async fn catalog(&self, org: &OrgId, filter: &CatalogFilter) -> Result<Vec<StreamState>, LogError> {
        self.read_catalog(org, filter).await
    }

    async fn releases(&self, org: &OrgId, filter: &ReleaseFilter) -> Result<Vec<StoredRelease>, LogError> {
        self.read_releases(org, filter).await
    }

    async fn runs(&self, org: &OrgId, filter: &RunFilter) -> Result<Vec<StoredRun>, LogError> {
        self.read_runs(org, filter).await
    }

    async fn audit(&self, org: &OrgId, filter: &AuditFilter) -> Result<Vec<Record>, LogError> {
        self.read_audit(org, filter).await
    }

    async fn state(&self, org: &OrgId, incident: &IncidentId) -> Result<Option<IncidentState>, LogError> {
        Ok(self.read_state(org, incident).await?.and_then(StreamState::incident))
    }

    async fn records(
        &self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, LogError> {
        self.read_records(org, stream, after, limit).await
    }

    async fn streams(&self, org: &OrgId) -> Result<Vec<StreamId>, LogError> {
        let traces = self.traced(org).await?;
        let mut streams = traces.iter().map(|id| append::stream_id(id)).collect::<Result<Vec<_>, _>>()?;
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
        self.read_rows(org, stream, after, limit).await
    }

    async fn chain_head(&self, org: &OrgId, stream: &StreamId) -> Result<Option<StreamHead>, LogError> {
        self.read_chain_head(org, stream).await
    }

    async fn list(&self, org: &OrgId, filter: &Filter) -> Result<Vec<IncidentState>, LogError> {
        self.read_list(org, filter).await
    }

    async fn verify(&self, org: &OrgId) -> Result<Report, LogError> {
        verify::log(&mut audit::Snapshots::of(self), org, self.salt.as_ref()).await
    }

    async fn answer(&self, org: &OrgId, key: &str) -> Result<Option<Answer>, LogError> {
        self.read_answer(org, key).await
    }

    async fn ping(&self) -> Result<(), LogError> {
        self.tables.schema(&self.client).await.map(drop)
    }
}

#[async_trait]
impl Outbox for DynamoLog {
    async fn enqueue(
        &self,
        org: &OrgId,
        stream: Option<&StreamId>,
        item: &OutboxItem,
    ) -> Result<(), LogError> {
        self.writable()?;
        self.put_outbox(org, stream, item).await
    }

    async fn claim(&self, limit: u32, lease: Duration) -> Result<Vec<Pending>, LogError> {
        self.writable()?;
        self.claim_items(limit, lease).await
    }

    async fn done(&self, id: &OutboxId) -> Result<(), LogError> {
        self.writable()?;
        self.item_done(id).await
    }

    async fn later(&self, id: &OutboxId, delay: Duration, error: &str) -> Result<(), LogError> {
        self.writable()?;
        self.item_later(id, delay, error).await
    }

    async fn backlog(&self) -> Result<(u64, Duration), LogError> {
        self.waiting().await
    }
}

#[async_trait]
impl Fanout for DynamoLog {
    async fn claim_lanes(&self, sink: &SinkName, limit: u32, lease: Duration) -> Result<Vec<Lane>, LogError> {
        self.writable()?;
        self.claim_waiting_lanes(sink, limit, lease).await
    }

    async fn settle_lane(
        &self,
        lane: &Lane,
        sent: u64,
        failed: Option<(Duration, &str)>,
    ) -> Result<(), LogError> {
        self.writable()?;
        self.lane_settled(lane, sent, failed).await
    }

    async fn lane_backlog(&self, sink: &SinkName) -> Result<LaneBacklog, LogError> {
        self.waiting_lanes(sink).await
    }
}

#[async_trait]
impl Ledger for DynamoLog {
    async fn begin_effect(
        &self,
        org: &OrgId,
        subject: &EffectSubject,
        key: &str,
        operation: &str,
        owner: &str,
        lease: Duration,
    ) -> Result<Begin, LogError> {
        self.writable()?;
        self.begin(org, subject, key, operation, owner, lease).await
    }

    async fn known_effect(&self, org: &OrgId, key: &str) -> Result<Option<KnownEffect>, LogError> {
        self.known(org, key).await
    }

    async fn complete_effect(&self, org: &OrgId, key: &str, result: &Value) -> Result<(), LogError> {
        self.writable()?;
        self.complete(org, key, result).await
    }

    async fn forget_effect(&self, org: &OrgId, key: &str, owner: &str) -> Result<(), LogError> {
        self.writable()?;
        self.forget(org, key, owner).await
    }

    async fn release_effect(&self, org: &OrgId, key: &str, owner: &str) -> Result<(), LogError> {
        self.writable()?;
        self.release(org, key, owner).await
    }
}

#[async_trait]
impl Candidates for DynamoLog {
    async fn submit_candidate(
        &self,
        org: &OrgId,
        candidate: &StoredCandidate,
        follow: &[OutboxItem],
    ) -> Result<StoredCandidate, LogError> {
        self.writable()?;
        self.submit(org, candidate, follow).await
    }

    async fn candidate(&self, org: &OrgId, id: &CandidateId) -> Result<Option<StoredCandidate>, LogError> {
        self.one_candidate(org, id).await
    }

    async fn candidates(
        &self,
        org: &OrgId,
        filter: &CandidateFilter,
    ) -> Result<Vec<StoredCandidate>, LogError> {
        self.list_candidates(org, filter).await
    }

    async fn change_candidate(&self, org: &OrgId, change: CandidateChange<'_>) -> Result<Changed, LogError> {
        self.writable()?;
        self.change_one(org, &change).await
    }

    async fn log_attempt(&self, org: &OrgId, attempt: &PromotionAttempt) -> Result<(), LogError> {
        self.writable()?;
        self.write_attempt(org, attempt).await
    }

    async fn attempts(&self, org: &OrgId, id: &CandidateId) -> Result<Vec<PromotionAttempt>, LogError> {
        self.read_attempts(org, id).await
    }
}

#[async_trait]
impl Subscriptions for DynamoLog {
    async fn subscribe(&self, org: &OrgId, subscription: &Subscription) -> Result<Subscribed, LogError> {
        self.writable()?;
        self.add_subscription(org, subscription).await
    }

    async fn subscriptions(&self, org: &OrgId) -> Result<Vec<Subscription>, LogError> {
        self.all_subscriptions(org).await
    }

    async fn unsubscribe(&self, org: &OrgId, id: &SubscriptionId) -> Result<bool, LogError> {
        self.writable()?;
        self.remove_subscription(org, id).await
    }

    async fn mark_subscription(
        &self,
        org: &OrgId,
        delivered: &Subscription,
        problem: Option<&DeliveryProblem>,
    ) -> Result<(), LogError> {
        self.writable()?;
        self.mark_one(org, delivered, problem).await
    }
}

#[async_trait]
impl Outputs for DynamoLog {}

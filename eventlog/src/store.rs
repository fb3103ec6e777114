//! The trait that every store keeps, and what goes in and out of it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use harmony_incidents::{
    Answer, Command, Context, Head, IncidentId, Judged, OrgId, Refusal, StreamId,
    follow_up::FollowUp,
    log::{IncidentState, Record},
    promotion::CandidateId,
    stakeholders::{DeliveryProblem, Subscription, SubscriptionId},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    append::{self, Done, Job},
    candidates::{CandidateChange, CandidateFilter, Changed, PromotionAttempt, StoredCandidate},
    catalog::{
        self, AuditFilter, CatalogAppend, CatalogAppended, CatalogFilter, ReleaseFilter, RunFilter,
        StoredRelease, StoredRun,
    },
    checkpoint::StreamHead,
    fanout::{Lane, LaneBacklog, SinkName},
    live_output::{LiveOutput, StoredOutput},
    stream::StreamState,
    subscriptions::Subscribed,
    verify::{Report, Row},
};

/// Judges a command against the head; called inside the transaction, maybe more than once.
pub type Judge<'a> = &'a (dyn Fn(Head<'_>) -> Result<Judged, Refusal> + Send + Sync);
/// What to put into the outbox once the command is on record.
pub type Follow<'a> = &'a (dyn Fn(&StreamId) -> Vec<OutboxItem> + Send + Sync);

/// Which stream a command is for: an incident's, or a service's where a run of one of its releases asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A new one of this year: its number is allocated in the transaction, gap-free.
    New {
        /// Year of the command's time, UTC.
        year: i16,
    },
    /// This one. A declaration of an incident is taken only if it is the next number.
    Named(StreamId),
}

/// One command to append.
pub struct Append<'a> {
    /// Organisation.
    pub org: &'a OrgId,
    /// Incident.
    pub target: Target,
    /// Idempotency key; never expires.
    pub key: &'a str,
    /// The command, for telling a repetition from another request under the same key.
    pub command: &'a Command,
    /// Who, why, when.
    pub context: &'a Context,
    /// The last seq the caller saw, where the caller acted on what they saw.
    pub expected_seq: Option<u64>,
    /// Workflow run that asks; kept beside the records, never hashed.
    pub run_id: Option<&'a str>,
    /// Rules.
    pub judge: Judge<'a>,
    /// Outbox.
    pub follow: Follow<'a>,
}

/// One stored record, its texts filled in where they are still there.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Decoded.
    pub record: Record,
    /// As first written.
    pub canonical: Vec<u8>,
    /// SHA-256(0x00 || canonical).
    pub hash: Vec<u8>,
    /// When the row was stored; outside the hash.
    pub stored_at: Timestamp,
}

/// What an append gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Appended {
    /// The stream: an incident's is allocated by now.
    pub stream: StreamId,
    /// The answer; the first one where the command was repeated.
    pub answer: Answer,
    /// The records that the command gave, as stored.
    pub records: Vec<Entry>,
    /// Whether the key was known.
    pub repeated: bool,
    /// Whether the run that asked first is the run that asks now.
    pub same_run: bool,
    /// Where the incident stands after this, or the blueprints and gates of the service, without the texts of earlier
    /// records. `None` where the key was known: it may have moved on.
    pub state: Option<IncidentState>,
    /// What was put into the outbox with it: whoever asked may send it on at once.
    pub follow_ups: Vec<OutboxItem>,
}

impl Appended {
    /// The incident, where the stream is one's.
    pub fn incident(&self) -> Option<IncidentId> {
        self.stream.incident()
    }
}

/// Something to carry out after a command, again after a crash, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxItem {
    /// What is to be done.
    pub kind: OutboxKind,
    /// Unique per organisation and kind; a second item of this name is the first.
    pub name: String,
    /// What it needs.
    pub payload: Value,
}

impl OutboxItem {
    /// This follow-up, under this name.
    pub fn new(name: String, follow_up: &FollowUp) -> Self {
        let kind = OutboxKind::of(follow_up);
        // Maps with keys that are text, numbers and texts: all of it is JSON.
        let payload =
            serde_json::to_value(follow_up).map_or(Value::Null, |mut stored| stored["payload"].take());
        Self { kind, name, payload }
    }

    /// What follows. The error says what of it this release cannot read.
    pub fn follow_up(&self) -> Result<FollowUp, serde_json::Error> {
        serde_json::from_value(serde_json::json!({ "kind": self.kind, "payload": self.payload }))
    }
}

/// What an outbox item asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutboxKind {
    /// Start a workflow.
    Start,
    /// Deliver a decision to a workflow.
    Decision,
    /// Cancel a workflow.
    Cancel,
    /// Tell a workflow to look at its gate.
    Wake,
    /// Make a checkpoint, or send one to a sink.
    Checkpoint,
    /// Tell the sinks what happened to a candidate, or one of them.
    Event,
    /// Tell stakeholders of a change of an incident, or one of them.
    Notice,
    /// Make a message in the incident's channel say how it is now.
    Kept,
    /// Show in the incident's channel what a running cell prints. Waits for as long as the cell runs.
    Output,
}

impl OutboxKind {
    /// The kind of this follow-up.
    pub fn of(follow_up: &FollowUp) -> Self {
        match follow_up {
            FollowUp::Start(_) => Self::Start,
            FollowUp::Decision(_) => Self::Decision,
            FollowUp::Cancel(_) => Self::Cancel,
            FollowUp::Wake(_) => Self::Wake,
            FollowUp::Checkpoint(_) => Self::Checkpoint,
            FollowUp::Event(_) => Self::Event,
            FollowUp::Notice(_) => Self::Notice,
            FollowUp::Kept(_) => Self::Kept,
            FollowUp::Output(_) => Self::Output,
        }
    }

    /// The word in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Decision => "decision",
            Self::Cancel => "cancel",
            Self::Wake => "wake",
            Self::Checkpoint => "checkpoint",
            Self::Event => "event",
            Self::Notice => "notice",
            Self::Kept => "kept",
            Self::Output => "output",
        }
    }

    /// The kind of this word, `None` where no kind has it: a newer Harmony may have written it.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::Start,
            Self::Decision,
            Self::Cancel,
            Self::Wake,
            Self::Checkpoint,
            Self::Event,
            Self::Notice,
            Self::Kept,
            Self::Output,
        ];
        all.into_iter().find(|kind| kind.name() == name)
    }
}

/// Which item of the outbox, in the words of its store. Only the store that gave it can read it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxId(pub String);

impl std::fmt::Display for OutboxId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// An outbox item that was claimed.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// Which.
    pub id: OutboxId,
    /// Organisation.
    pub org: OrgId,
    /// Stream; none where it follows something that has none, such as a candidate.
    pub stream: Option<StreamId>,
    /// The item.
    pub item: OutboxItem,
    /// Which try this is, from 1.
    pub attempts: u32,
    /// When it was written.
    pub created_at: Timestamp,
}

/// Which incidents to list. Empty lists ask nothing; of several words in one, any suffices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Machine words of states.
    pub states: Vec<String>,
    /// Words of the status view.
    pub statuses: Vec<String>,
    /// `P1`..`P4`.
    pub severities: Vec<String>,
    /// Services that are hit.
    pub services: Vec<String>,
    /// Environments.
    pub environments: Vec<String>,
    /// Projects.
    pub projects: Vec<String>,
    /// Correlation keys: the first one's, or a signal's.
    pub correlation_keys: Vec<String>,
    /// Parts of the title; all of them must be there.
    pub search: Vec<String>,
    /// Only those with a gate that waits for a decision.
    pub waiting: bool,
    /// Only those that this principal may see. `None` sees private ones, too.
    pub visible_to: Option<String>,
    /// Only private ones that this principal may not see.
    pub hidden_from: Option<String>,
    /// Only drills, or everything but drills.
    pub drill: Option<bool>,
    /// In which order.
    pub sort: Sort,
    /// At most this many.
    pub limit: u32,
    /// Only incidents behind this one in the listing.
    pub after: Option<Place>,
}

/// In which order incidents are listed. Each is total, so that a page begins where the one before it ended, whatever
/// was declared meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// The highest number first.
    #[default]
    NewestFirst,
    /// The lowest number first.
    OldestFirst,
    /// P1 first; the newest first among equals.
    MostSevereFirst,
}

/// Where an incident stands in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The incident.
    pub incident: IncidentId,
    /// Its severity's word when it was listed; only [`Sort::MostSevereFirst`] looks at it.
    pub severity: String,
}

impl Place {
    /// Where this one stands; none where it is no incident's state.
    pub fn of(state: &IncidentState) -> Option<Self> {
        let incident = state.incident.parse().ok()?;
        Some(Self { incident, severity: state.severity().as_str_name().to_owned() })
    }
}

/// What came of an effect.
#[derive(Debug, Clone, Copy)]
pub struct EffectResult<'a> {
    /// Key of the effect.
    pub key: &'a str,
    /// As it is given to whoever asks again.
    pub result: &'a Value,
}

/// What the ledger knows of an effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Begin {
    /// Nobody tried it: the intent is written now.
    Fresh,
    /// Somebody tried it and nobody knows what became of it: look before acting.
    Again,
    /// It happened; this came of it.
    Done(Value),
    /// Somebody else is at it, or a request of theirs may still be under way.
    Busy(Duration),
}

/// What an effect belongs to. A store keeps it as one word: the stream's id, which is the incident's where it is one's,
/// or `candidate/<id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EffectSubject {
    /// An incident, or the service of a release.
    Stream(StreamId),
    /// A candidate that is no incident yet.
    Candidate(CandidateId),
}

impl From<&StreamId> for EffectSubject {
    fn from(stream: &StreamId) -> Self {
        Self::Stream(stream.clone())
    }
}

impl From<&IncidentId> for EffectSubject {
    fn from(incident: &IncidentId) -> Self {
        Self::Stream(incident.clone().into())
    }
}

impl From<&CandidateId> for EffectSubject {
    fn from(candidate: &CandidateId) -> Self {
        Self::Candidate(candidate.clone())
    }
}

/// How the word of a candidate begins.
const CANDIDATE_SUBJECT: &str = "candidate/";

impl std::fmt::Display for EffectSubject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stream(stream) => stream.fmt(formatter),
            Self::Candidate(candidate) => write!(formatter, "{CANDIDATE_SUBJECT}{candidate}"),
        }
    }
}

/// An effect in the ledger, whatever became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownEffect {
    /// What it belongs to.
    pub subject: EffectSubject,
    /// The step that wrote its intent.
    pub step: String,
}

impl KnownEffect {
    /// From the words of a store.
    pub(crate) fn stored(key: &str, subject: &str, step: &str) -> Result<Self, LogError> {
        let corrupt = || LogError::Corrupt { place: format!("effect {key}") };
        let subject = match subject.strip_prefix(CANDIDATE_SUBJECT) {
            Some(candidate) => EffectSubject::Candidate(candidate.parse().map_err(|_| corrupt())?),
            None => EffectSubject::Stream(subject.parse().map_err(|_| corrupt())?),
        };
        Ok(Self { subject, step: step.to_owned() })
    }
}

/// Why a store does not answer, in the words of its own library.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The command was not taken.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// No such incident in this organisation.
    #[error("incident {0} does not exist")]
    UnknownIncident(IncidentId),
    /// No such service or environment in this organisation.
    #[error("{0} does not exist in the catalog")]
    UnknownStream(StreamId),
    /// The key was used for another request.
    #[error("this idempotency key was used for another request; these fields differ: {}", fields.join(", "))]
    KeyConflict {
        /// Names only.
        fields: Vec<String>,
    },
    /// The caller acted on an older state.
    #[error("the incident has changed: it is at seq {actual}, you saw {expected}; read it again")]
    Stale {
        /// As the caller said.
        expected: u64,
        /// As it is.
        actual: u64,
    },
    /// The database was written by a newer Harmony.
    #[error("the database has schema {found}, this version knows {known}: use a newer Harmony")]
    NewerSchema {
        /// In the database.
        found: i64,
        /// Of this build.
        known: i64,
    },
    /// The database was made by an older Harmony, or is empty.
    #[error("the database has schema {found}, this version needs {known}: run `harmony db migrate`")]
    OlderSchema {
        /// In the database; 0 where it was never migrated.
        found: i64,
        /// Of this build.
        known: i64,
    },
    /// The store cannot be reached or is busy; nothing was written.
    #[error("the store does not answer")]
    Unavailable(#[source] Cause),
    /// The store cannot be written as it is: its disk is full, or gone, or it may only be read. Nothing was written.
    #[error(
        "the store cannot be written ({reason}); nothing was recorded: make room for it, or give it its rights back"
    )]
    Unwritable {
        /// In the store's words.
        reason: String,
    },
    /// The log was opened for reading alone.
    #[error("the log was opened for reading alone")]
    ReadOnly,
    /// What is stored is not what was written.
    #[error("the store holds something unreadable for {place}: run `harmony log verify`")]
    Corrupt {
        /// Where.
        place: String,
    },
    /// The database could not be opened.
    #[error("cannot open the database {path}: {reason}")]
    Open {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
}

impl LogError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Unwritable { .. })
    }
}

/// The records, and what they fold to.
#[async_trait]
pub trait Log: Send + Sync {
    /// Appends what the judge makes of a request, in one transaction.
    async fn carry_out(&self, job: Job<'_>) -> Result<Done, LogError>;

    /// Appends what the judge makes of an incident's command, in one transaction.
    async fn append(&self, append: Append<'_>) -> Result<Appended, LogError> {
        append::incident(self, &append, None).await
    }

    /// As [`Self::append`]; what came of the effect that it records goes into the ledger in the same transaction. Where the
    /// key was known, the ledger is left as it is.
    async fn append_result(
        &self,
        append: Append<'_>,
        effect: EffectResult<'_>,
    ) -> Result<Appended, LogError> {
        append::incident(self, &append, Some(effect)).await
    }

    /// Appends what the judge makes of a command of the catalog, in one transaction.
    async fn append_catalog(&self, append: CatalogAppend<'_>) -> Result<CatalogAppended, LogError> {
        catalog::append(self, &append).await
    }

    /// Where a stream of the catalog stands, its texts filled in.
    async fn catalog_state(&self, org: &OrgId, stream: &StreamId) -> Result<Option<StreamState>, LogError>;

    /// Services or environments, by id.
    async fn catalog(&self, org: &OrgId, filter: &CatalogFilter) -> Result<Vec<StreamState>, LogError>;

    /// Releases, the last created first.
    async fn releases(&self, org: &OrgId, filter: &ReleaseFilter) -> Result<Vec<StoredRelease>, LogError>;

    /// The runs of these releases, by release and by when they began.
    async fn runs(&self, org: &OrgId, filter: &RunFilter) -> Result<Vec<StoredRun>, LogError>;

    /// Records of all streams, by when they occurred, then by stream and seq. They are as they were written: with the
    /// commitments of their texts, and without the texts.
    async fn audit(&self, org: &OrgId, filter: &AuditFilter) -> Result<Vec<Record>, LogError>;

    /// An incident's folded state, its texts filled in.
    async fn state(&self, org: &OrgId, incident: &IncidentId) -> Result<Option<IncidentState>, LogError>;

    /// Records after `after`, oldest first.
    async fn records(
        &self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, LogError>;

    /// Every stream there is a trace of, in order: not only those that the projections know.
    async fn streams(&self, org: &OrgId) -> Result<Vec<StreamId>, LogError>;

    /// Rows after `after` as they are stored, undecoded and with the salts of their texts: for export and audit.
    async fn rows(
        &self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Row>, LogError>;

    /// Where a stream's records end; `None` where it has none.
    async fn chain_head(&self, org: &OrgId, stream: &StreamId) -> Result<Option<StreamHead>, LogError>;

    /// Incidents, newest first.
    async fn list(&self, org: &OrgId, filter: &Filter) -> Result<Vec<IncidentState>, LogError>;

    /// Checks every record of an organisation: bytes, chain, state, texts, projections.
    async fn verify(&self, org: &OrgId) -> Result<Report, LogError>;

    /// The answer that a key was given, if any.
    async fn answer(&self, org: &OrgId, key: &str) -> Result<Option<Answer>, LogError>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), LogError>;
}

/// What follows commands, until it is carried out.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Writes an item that follows no record, before it is carried out. Without a stream it is about a candidate.
    async fn enqueue(
        &self,
        org: &OrgId,
        stream: Option<&StreamId>,
        item: &OutboxItem,
    ) -> Result<(), LogError>;

    /// Claims items that are due, for `lease`.
    async fn claim(&self, limit: u32, lease: Duration) -> Result<Vec<Pending>, LogError>;

    /// It was carried out.
    async fn done(&self, id: &OutboxId) -> Result<(), LogError>;

    /// It was not; try again after `delay`.
    async fn later(&self, id: &OutboxId, delay: Duration, error: &str) -> Result<(), LogError>;

    /// How many items wait, and for how long the oldest has.
    async fn backlog(&self) -> Result<(u64, Duration), LogError>;
}

/// How far each sink was sent the records of each stream.
#[async_trait]
pub trait Fanout: Send + Sync {
    /// Claims incidents with records that wait for a sink, for `lease`. A lane that is claimed is nobody else's until it
    /// is settled or the lease ends.
    async fn claim_lanes(&self, sink: &SinkName, limit: u32, lease: Duration) -> Result<Vec<Lane>, LogError>;

    /// The records of a lane were sent up to this one (`first - 1` for none of them). What is left of it is due at once,
    /// or after a while where one was not taken, with the reason. Does nothing where somebody else got further.
    async fn settle_lane(
        &self,
        lane: &Lane,
        sent: u64,
        failed: Option<(Duration, &str)>,
    ) -> Result<(), LogError>;

    /// How much waits for a sink.
    async fn lane_backlog(&self, sink: &SinkName) -> Result<LaneBacklog, LogError>;
}

/// Effects: what was meant to be done, and what came of it.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Writes the intent of an effect, or tells what is known of it.
    async fn begin_effect(
        &self,
        org: &OrgId,
        subject: &EffectSubject,
        key: &str,
        operation: &str,
        owner: &str,
        lease: Duration,
    ) -> Result<Begin, LogError>;

    /// Whose effect has this key: a vendor sends the key back, and this says what it belongs to.
    async fn known_effect(&self, org: &OrgId, key: &str) -> Result<Option<KnownEffect>, LogError>;

    /// What came of an effect.
    async fn complete_effect(&self, org: &OrgId, key: &str, result: &Value) -> Result<(), LogError>;

    /// The effect surely did not happen: forget the intent.
    async fn forget_effect(&self, org: &OrgId, key: &str, owner: &str) -> Result<(), LogError>;

    /// The attempt of `owner` has ended, and nothing of it is under way any more: the next may look at once.
    async fn release_effect(&self, org: &OrgId, key: &str, owner: &str) -> Result<(), LogError>;
}

/// Candidates for incidents, as they are kept.
#[async_trait]
pub trait Candidates: Send + Sync {
    /// Takes a candidate, and writes what must follow into the outbox in the same transaction. Answers with the
    /// candidate as it is kept: the first one where the same document came under this id before. Another document
    /// under this id is a [`LogError::KeyConflict`].
    async fn submit_candidate(
        &self,
        org: &OrgId,
        candidate: &StoredCandidate,
        follow: &[OutboxItem],
    ) -> Result<StoredCandidate, LogError>;

    /// A candidate as it is kept.
    async fn candidate(&self, org: &OrgId, id: &CandidateId) -> Result<Option<StoredCandidate>, LogError>;

    /// Candidates, the last received first.
    async fn candidates(
        &self,
        org: &OrgId,
        filter: &CandidateFilter,
    ) -> Result<Vec<StoredCandidate>, LogError>;

    /// Changes a candidate if nobody did since it was read, and if no other of its key was promoted meanwhile where
    /// the change asks for that. Either both hold when it is written, or nothing is.
    async fn change_candidate(&self, org: &OrgId, change: CandidateChange<'_>) -> Result<Changed, LogError>;

    /// Writes a line of the attempts log, and drops the lines that were kept long enough. Nothing is decided by them.
    async fn log_attempt(&self, org: &OrgId, attempt: &PromotionAttempt) -> Result<(), LogError>;

    /// The attempts at a candidate, oldest first, for people who look.
    async fn attempts(&self, org: &OrgId, id: &CandidateId) -> Result<Vec<PromotionAttempt>, LogError>;
}

/// Who is told of what.
#[async_trait]
pub trait Subscriptions: Send + Sync {
    /// Keeps a subscription, unless there is one of the same pair or the organisation has as many as it can have.
    async fn subscribe(&self, org: &OrgId, subscription: &Subscription) -> Result<Subscribed, LogError>;

    /// Every subscription of an organisation, by id.
    async fn subscriptions(&self, org: &OrgId) -> Result<Vec<Subscription>, LogError>;

    /// Takes a subscription back; tells whether it was there.
    async fn unsubscribe(&self, org: &OrgId, id: &SubscriptionId) -> Result<bool, LogError>;

    /// Notes how the last delivery to a subscription ended. Does nothing where it was taken back since.
    async fn mark_subscription(
        &self,
        org: &OrgId,
        delivered: &Subscription,
        problem: Option<&DeliveryProblem>,
    ) -> Result<(), LogError>;
}

/// What cells print while they run. A store that does not keep it lets nobody look, and loses nothing that is on record.
#[async_trait]
pub trait Outputs: Send + Sync {
    /// Keeps what cells printed, for whoever looks.
    async fn write_output(
        &self,
        _org: &OrgId,
        _stream: &StreamId,
        _pieces: &[LiveOutput],
    ) -> Result<(), LogError> {
        Ok(())
    }

    /// The cell of this step has ended: says so after what it printed, which goes some minutes later.
    async fn end_output(
        &self,
        _org: &OrgId,
        _stream: &StreamId,
        _step: &str,
        _how: &str,
    ) -> Result<(), LogError> {
        Ok(())
    }

    /// What cells of a stream printed after this number, oldest first.
    async fn output(
        &self,
        _org: &OrgId,
        _stream: &StreamId,
        _after: u64,
        _limit: u32,
    ) -> Result<Vec<StoredOutput>, LogError> {
        Ok(Vec::new())
    }

    /// The last pieces of what a step printed, oldest first; how it ended is one of them.
    async fn last_output(
        &self,
        _org: &OrgId,
        _stream: &StreamId,
        _step: &str,
        _limit: u32,
    ) -> Result<Vec<StoredOutput>, LogError> {
        Ok(Vec::new())
    }

    /// Drops all of it that is kept of a stream.
    async fn forget_output(&self, _org: &OrgId, _stream: &StreamId) -> Result<(), LogError> {
        Ok(())
    }
}

/// A store: the log, and what has to change in one transaction with it.
pub trait EventLog: Log + Outbox + Fanout + Ledger + Candidates + Subscriptions + Outputs {}

impl<T: Log + Outbox + Fanout + Ledger + Candidates + Subscriptions + Outputs> EventLog for T {}

/// A store that is shared.
pub type SharedLog = Arc<dyn EventLog>;

/// What came of an append, in the word that is counted: `recorded`, `repeated`, `refused` or `failed`.
pub fn outcome(appended: &Result<Appended, LogError>) -> &'static str {
    match appended {
        Ok(appended) if appended.repeated => "repeated",
        Ok(_) => "recorded",
        Err(LogError::Refused(_) | LogError::KeyConflict { .. } | LogError::Stale { .. }) => "refused",
        Err(_) => "failed",
    }
}

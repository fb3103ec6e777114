//! Appending, as it is the same for every store.
//!
//! A store reads and writes within a transaction of its own ([`Transaction`]); what an append means is decided here:
//! whether the key is known and the request the same, which incident is meant, what the judge says, what the records
//! are, what a redaction takes with it. The outcome is one [`Plan`] that the store writes whole or not at all.
//!
//! A store may run this again after a collision: nothing here remembers anything.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use harmony_catalog::judge::{Facts, flow_of};
use harmony_incidents::{
    Answer, Context, EnvironmentId, GateStatus, HasStatus, IncidentId, Judged, LinkName, OrgId, Refusal,
    ReleaseId, ServiceId, StreamId,
    follow_up::{FollowUp, KeptMessage, Notice, Output, Wake},
    judge::{Head, INPUT_LIMIT_BYTES, payload},
    kept::{self, Kept},
    log::{EnvironmentState, IncidentState, RecordRedacted, Text, payload::Kind},
    record::{self, Folded as _, SaltKey, SealedRecord},
    stakeholders,
    status::link,
    words,
};
use jiff::Timestamp;
use prost::Message;

use crate::{
    catalog::{CatalogProjection, CatalogRows},
    entry,
    fanout::SinkName,
    redaction::{self, Copies, Erasure},
    store::{Append, Appended, EffectResult, Entry, LogError, OutboxItem, OutboxKind, Target},
    stream::{self, ChainHead, StreamState},
};

/// What is asked of a stream, whichever domain it belongs to.
pub trait Request: Send + Sync {
    /// A hash per field, of everything but what derives from time.
    fn fingerprint(&self) -> BTreeMap<String, String>;

    /// Names of the fields in which it differs from one whose fingerprint is known.
    fn differing(&self, known: &BTreeMap<String, String>) -> Vec<String>;

    /// Whether it may be the first of its stream.
    fn begins(&self) -> bool;

    /// Record, field and reason of a redaction.
    fn redaction(&self) -> Option<(u64, Option<&str>, &str)>;

    /// The release whose owner is to be known.
    fn release(&self) -> Option<&ReleaseId> {
        None
    }

    /// The environments that are to be known.
    fn environments(&self) -> BTreeSet<EnvironmentId> {
        BTreeSet::new()
    }
}

impl Request for harmony_incidents::Command {
    fn fingerprint(&self) -> BTreeMap<String, String> {
        self.fingerprint()
    }

    fn differing(&self, known: &BTreeMap<String, String>) -> Vec<String> {
        self.differing(known)
    }

    fn begins(&self) -> bool {
        self.declares()
    }

    fn redaction(&self) -> Option<(u64, Option<&str>, &str)> {
        match self {
            Self::Redact { seq, field, reason } => Some((*seq, field.as_deref(), reason)),
            _ => None,
        }
    }
}

/// Which stream a job is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamTarget {
    /// A new incident of this year.
    New {
        /// UTC.
        year: i16,
    },
    /// This one.
    Named(StreamId),
}

/// Judges a request against where its stream stands and what other streams say; called inside the transaction, maybe
/// more than once.
pub type JobJudge<'a> = &'a (dyn Fn(&StreamState, &Facts) -> Result<Judged, Refusal> + Send + Sync);

/// An append to a stream of any kind: what [`Append`] and its like of the catalog come down to.
pub struct Job<'a> {
    /// Organisation.
    pub org: &'a OrgId,
    /// Stream.
    pub target: StreamTarget,
    /// Idempotency key.
    pub key: &'a str,
    /// What is asked.
    pub request: &'a dyn Request,
    /// Who, why, when.
    pub context: &'a Context,
    /// The last seq the caller saw, where the caller acted on what they saw.
    pub expected_seq: Option<u64>,
    /// Workflow run that asks.
    pub run_id: Option<&'a str>,
    /// Rules.
    pub judge: JobJudge<'a>,
    /// Outbox.
    pub follow: &'a (dyn Fn(&StreamId) -> Vec<OutboxItem> + Send + Sync),
    /// What came of the effect that is recorded, for the ledger. Not looked at where the key is known.
    pub effect: Option<EffectResult<'a>>,
}

/// What a [`Job`] gave; as [`Appended`].
#[derive(Debug)]
pub struct Done {
    /// The stream, allocated by now.
    pub stream: StreamId,
    /// The answer; the first one where the request was repeated.
    pub answer: Answer,
    /// As stored.
    pub records: Vec<Entry>,
    /// Whether the key was known.
    pub repeated: bool,
    /// Whether the run that asked first is the run that asks now.
    pub same_run: bool,
    /// Where the stream stands after this; `None` where the key was known.
    pub state: Option<StreamState>,
    /// What was put into the outbox with it.
    pub follow_ups: Vec<OutboxItem>,
}

/// Carries an append out by way of a job. A service's stream is judged by the blueprints and gates of its runs.
pub(crate) async fn incident<L: crate::Log + ?Sized>(
    log: &L,
    append: &Append<'_>,
    effect: Option<EffectResult<'_>>,
) -> Result<Appended, LogError> {
    let judge = |state: &StreamState, _: &Facts| match state {
        StreamState::Incident(state) => (append.judge)(Head { state }),
        StreamState::Service(state) => (append.judge)(Head { state: &flow_of(state) }),
        StreamState::Environment(_) => Err(Refusal::Invalid {
            explanation: "this command is for an incident, and the stream is an environment's".to_owned(),
        }),
    };
    let done = log
        .carry_out(Job {
            org: append.org,
            target: match &append.target {
                Target::New { year } => StreamTarget::New { year: *year },
                Target::Named(stream) => StreamTarget::Named(stream.clone()),
            },
            key: append.key,
            request: append.command,
            context: append.context,
            expected_seq: append.expected_seq,
            run_id: append.run_id,
            judge: &judge,
            follow: append.follow,
            effect,
        })
        .await?;
    let state = done.state.and_then(|state| match state {
        StreamState::Incident(state) => Some(*state),
        StreamState::Service(state) => Some(flow_of(&state)),
        StreamState::Environment(_) => None,
    });
    Ok(Appended {
        stream: done.stream,
        answer: done.answer,
        records: done.records,
        repeated: done.repeated,
        same_run: done.same_run,
        state,
        follow_ups: done.follow_ups,
    })
}

/// What an append reads and writes, all in one transaction of the store.
#[async_trait]
pub(crate) trait Transaction: Send {
    /// What is known of the key, and of the stream where one is named.
    async fn find(&mut self, job: &Job<'_>) -> Result<Found, LogError>;

    /// What a request of the catalog is judged by beside its own stream: whose release this is, if anybody's.
    async fn release_owner(
        &mut self,
        org: &OrgId,
        release: &ReleaseId,
    ) -> Result<Option<ServiceId>, LogError>;

    /// And where an environment stands. It is never deleted: what it was when it was read holds.
    async fn environment(
        &mut self,
        org: &OrgId,
        environment: &EnvironmentId,
    ) -> Result<Option<EnvironmentState>, LogError>;

    /// The highest number of a year, 0 where there is none. Whoever asks allocates the next: nobody else may until
    /// the transaction ends.
    async fn last_number(&mut self, org: &OrgId, year: i16) -> Result<u64, LogError>;

    /// Records after `after`, oldest first.
    async fn entries(
        &mut self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, LogError>;

    /// A record's texts, and everything of its stream in which they may have been copied.
    async fn copies(&mut self, org: &OrgId, stream: &StreamId, seq: u64) -> Result<Copies, LogError>;

    /// Writes all of it.
    async fn write(&mut self, job: &Job<'_>, plan: &Plan) -> Result<(), LogError>;
}

/// What a store knows before a command is judged.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The key's row. Where there is one, nothing else is looked at.
    pub(crate) key: Option<KeyRow>,
    /// Where the named stream stands.
    pub(crate) head: Option<ChainHead>,
}

/// What is kept of a key, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRow {
    /// Stream.
    pub(crate) stream: String,
    /// JSON of [`Request::fingerprint`].
    pub(crate) fingerprint: String,
    /// JSON of the answer.
    pub(crate) answer: String,
    /// Records that the command gave; the first is 0 where it gave none.
    pub(crate) first_seq: u64,
    /// The last; 0 where it gave none.
    pub(crate) last_seq: u64,
    /// Run that asked first.
    pub(crate) run_id: Option<String>,
}

/// What lists and readers are told of a stream; made of its records and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Projection {
    Incident(Box<IncidentProjection>),
    Catalog(Box<CatalogProjection>),
}

impl Projection {
    /// What the records up to this head fold to; with these rows of releases and runs where it is a service's.
    pub(crate) fn of(stream: &StreamId, head: &ChainHead, rows: CatalogRows) -> Self {
        match (&head.state, stream.incident()) {
            (StreamState::Incident(state), Some(incident)) => {
                Self::Incident(Box::new(IncidentProjection::of(&incident, state, &head.hash)))
            }
            _ => Self::Catalog(Box::new(CatalogProjection::of(stream, head, rows))),
        }
    }

    /// Hash of the last record and encoded state, as they are kept.
    pub(crate) fn head(&self, stream: &StreamId) -> Option<ChainHead> {
        let (_, hash, state) = self.end();
        head(stream, hash, state)
    }

    /// Seq and hash of the last record, and the encoded state after it.
    pub(crate) fn end(&self) -> (u64, &[u8], &[u8]) {
        match self {
            Self::Incident(one) => (one.seq, &one.head_hash, &one.state),
            Self::Catalog(one) => (one.seq, &one.head_hash, &one.state),
        }
    }
}

/// What lists and readers are told of an incident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IncidentProjection {
    /// Of the id.
    pub(crate) year: i16,
    /// Of the id.
    pub(crate) number: u64,
    /// Last record.
    pub(crate) seq: u64,
    /// Hash of the last record.
    pub(crate) head_hash: Vec<u8>,
    /// Encoded state without texts.
    pub(crate) state: Vec<u8>,
    /// `OPEN`.
    pub(crate) state_word: String,
    /// `triaging`.
    pub(crate) phase_word: String,
    /// `P1`.
    pub(crate) severity: String,
    /// `INVESTIGATING`: the view's word.
    pub(crate) status_word: String,
    /// Service that is hit.
    pub(crate) service: String,
    /// Environment.
    pub(crate) environment: String,
    /// Project.
    pub(crate) project: String,
    /// Each between line feeds, which no key holds: found by its whole self alone. Empty where there is none.
    pub(crate) correlation_keys: String,
    /// Whether a gate waits for a decision.
    pub(crate) waiting: bool,
    /// Who may see it, each between line feeds. Empty where everybody may.
    pub(crate) visible_to: String,
    /// Whether it is practice.
    pub(crate) drill: bool,
}

impl IncidentProjection {
    /// Of this state, whose last record has this hash.
    pub(crate) fn of(incident: &IncidentId, state: &IncidentState, hash: &record::Hash) -> Self {
        let (year, number) = incident.parts();
        let mut bare = state.clone();
        record::strip(&mut bare);
        Self {
            year,
            number,
            seq: bare.seq,
            head_hash: hash.to_vec(),
            state: bare.encode_to_vec(),
            state_word: bare.state().as_str_name().to_owned(),
            phase_word: words::phase_name(bare.phase()).to_owned(),
            severity: bare.severity().as_str_name().to_owned(),
            status_word: words::status(bare.state(), bare.phase()).to_owned(),
            correlation_keys: key_line(&bare.correlation_keys),
            waiting: is_waiting(&bare),
            visible_to: visible_to(&bare),
            drill: bare.drill,
            service: bare.service_name,
            environment: bare.environment,
            project: bare.project_id,
        }
    }
}

/// Whether a gate waits for a decision.
pub(crate) fn is_waiting(state: &IncidentState) -> bool {
    state.gates.iter().any(|gate| gate.is(GateStatus::Pending))
}

/// Who may see it: nobody but organisation admins where it is private and names nobody.
pub(crate) fn visible_to(state: &IncidentState) -> String {
    match (state.private, state.private_to.is_empty()) {
        (false, _) => String::new(),
        (true, true) => "\n".to_owned(),
        (true, false) => key_line(&state.private_to),
    }
}

/// Keys as a projection holds them: each between line feeds.
pub(crate) fn key_line<K: AsRef<str>>(keys: &[K]) -> String {
    let mut line = String::new();
    for key in keys {
        line.push('\n');
        line.push_str(key.as_ref());
    }
    if !line.is_empty() {
        line.push('\n');
    }
    line
}

/// The head that a projection keeps; `None` where it cannot be read.
pub(crate) fn head(stream: &StreamId, hash: &[u8], state: &[u8]) -> Option<ChainHead> {
    Some(ChainHead { state: StreamState::decode(stream, state)?, hash: hash.try_into().ok()? })
}

/// Where records go besides the store.
#[derive(Debug, Clone, Default)]
pub struct Onward {
    /// Who is sent every record.
    pub sinks: Vec<SinkName>,
    /// Whether stakeholders, and the messages in an incident's channel that are kept true, are told of the changes that
    /// matter.
    pub notices: bool,
}

/// Everything that one append writes.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Stream.
    pub(crate) stream: StreamId,
    /// Records, in order.
    pub(crate) sealed: Vec<SealedRecord>,
    /// `None` where there is no record.
    pub(crate) projection: Option<Projection>,
    /// Items that are not there yet under their names.
    pub(crate) outbox: Vec<OutboxItem>,
    /// What a redaction takes out.
    pub(crate) erasure: Option<Erasure>,
    /// Who is sent the records.
    pub(crate) sinks: Vec<SinkName>,
    /// For whoever asks again.
    pub(crate) key: KeyRow,
    /// When the rows are stored, to the microsecond.
    pub(crate) stored_at: Timestamp,
}

/// Appends what the judge makes of a request. The store commits afterwards, or rolls back where this fails.
pub(crate) async fn append<T: Transaction>(
    tx: &mut T,
    job: &Job<'_>,
    salt: &SaltKey,
    onward: &Onward,
) -> Result<Done, LogError> {
    let found = tx.find(job).await?;
    if let Some(key) = found.key {
        return repeated(tx, job, key).await;
    }
    let (stream, head) = match (&job.target, found.head) {
        (StreamTarget::Named(id), Some(head)) => (id.clone(), head),
        (StreamTarget::Named(id), None) if !job.request.begins() => return Err(unknown(id)),
        (StreamTarget::Named(id), None) if id.incident().is_none() => (id.clone(), stream::genesis(id)),
        (StreamTarget::New { .. } | StreamTarget::Named(_), _) => {
            let stream = allocate(tx, job).await?;
            let head = stream::genesis(&stream);
            (stream, head)
        }
    };
    let seq = head.state.seq();
    if let Some(expected) = job.expected_seq
        && expected != seq
    {
        return Err(LogError::Stale { expected, actual: seq });
    }
    let mut facts = Facts::default();
    if let Some(release) = job.request.release() {
        facts.taken = tx.release_owner(job.org, release).await?;
    }
    for environment in job.request.environments() {
        if let Some(state) = tx.environment(job.org, &environment).await? {
            facts.environments.insert(environment, (&state).into());
        }
    }
    let mut judged = (job.judge)(&head.state, &facts)?;
    let mut erasure = None;
    if let Some((seq, field, reason)) = job.request.redaction() {
        let copies = tx.copies(job.org, &stream, seq).await?;
        erasure = redaction::plan(&stream, (seq, field, reason), copies)?;
        match &erasure {
            Some(erasure) => judged.payloads.extend(erasure.copies.iter().map(|(seq, field)| {
                let reason = Some(Text::plain(reason));
                payload(Kind::RecordRedacted(RecordRedacted { seq: *seq, field: field.clone(), reason }))
            })),
            None => judged = Judged::unchanged(),
        }
    }
    let (mut plan, answer, state) = plan(job, stream, &head, judged, erasure, salt);
    plan.sinks.clone_from(&onward.sinks);
    if onward.notices {
        plan.outbox.extend(notices(&plan.stream, &plan.sealed, &state));
        plan.outbox.extend(kept(&plan.stream, &plan.sealed, &state));
        plan.outbox.extend(shown_output(&plan.stream, &plan.sealed, &state));
    }
    readable(&plan.outbox)?;
    tx.write(job, &plan).await?;
    let records = plan.sealed.into_iter().map(|one| entry::unsealed(one, plan.stored_at)).collect();
    Ok(Done {
        stream: plan.stream,
        answer,
        records,
        repeated: false,
        same_run: true,
        state: Some(state),
        follow_ups: plan.outbox,
    })
}

/// A workflow reads no larger input, so that what cannot be started is refused while there is somebody to tell.
fn readable(outbox: &[OutboxItem]) -> Result<(), Refusal> {
    let bytes = |item: &OutboxItem| item.payload.get("input").map_or(0, |input| input.to_string().len());
    let starts = outbox.iter().filter(|item| item.kind == OutboxKind::Start);
    if starts.map(bytes).any(|bytes| bytes > INPUT_LIMIT_BYTES) {
        return Err(Refusal::Invalid {
            explanation: format!(
                "what this starts is given more than {} KiB in all: shorten its texts",
                INPUT_LIMIT_BYTES / 1024
            ),
        });
    }
    Ok(())
}

/// What to write, and where the stream then stands.
fn plan(
    job: &Job<'_>,
    stream: StreamId,
    head: &ChainHead,
    judged: Judged,
    erasure: Option<Erasure>,
    salt: &SaltKey,
) -> (Plan, Answer, StreamState) {
    let identity = judged.identity.as_deref().unwrap_or(job.key);
    let context = judged.context(job.context);
    let (sealed, next) = record::append(job.org, &stream, head, identity, &context, judged.payloads, salt);
    let last_seq = next.state.seq();
    let mut outbox = (job.follow)(&stream);
    outbox.extend(judged.wake.into_iter().map(|workflow_id| {
        let name = format!("{workflow_id}/{last_seq}");
        OutboxItem::new(name, &FollowUp::Wake(Wake { workflow_id }))
    }));
    let (first_seq, last_seq) = if sealed.is_empty() { (0, 0) } else { (head.state.seq() + 1, last_seq) };
    let key = KeyRow {
        stream: stream.to_string(),
        fingerprint: json(&job.request.fingerprint()),
        answer: json(&judged.answer),
        first_seq,
        last_seq,
        run_id: job.run_id.map(str::to_owned),
    };
    let projection = (!sealed.is_empty()).then(|| {
        Projection::of(&stream, &next, CatalogRows::between(head, sealed.iter().map(|one| &one.record)))
    });
    let plan = Plan { stream, sealed, projection, outbox, erasure, sinks: Vec::new(), key, stored_at: now() };
    (plan, judged.answer, next.state)
}

/// One item for each record that stakeholders are told of. Who that is, is asked when it is carried out.
fn notices(stream: &StreamId, sealed: &[SealedRecord], state: &StreamState) -> Vec<OutboxItem> {
    let StreamState::Incident(state) = state else { return Vec::new() };
    let is_told = |one: &&SealedRecord| {
        let kind = one.record.payload.as_ref().and_then(|payload| payload.kind.as_ref());
        !state.drill && kind.and_then(stakeholders::change).is_some()
    };
    let item = |one: &SealedRecord| {
        let seq = one.record.seq;
        let notice = FollowUp::Notice(Notice { seq, subscription: None });
        OutboxItem::new(format!("{stream}/{seq}"), &notice)
    };
    sealed.iter().filter(is_told).map(item).collect()
}

/// One item for each kind of message in the incident's channel that says something else now.
fn kept(stream: &StreamId, sealed: &[SealedRecord], state: &StreamState) -> Vec<OutboxItem> {
    let StreamState::Incident(state) = state else { return Vec::new() };
    let changed = |one: &SealedRecord| {
        let kind = one.record.payload.as_ref().and_then(|payload| payload.kind.as_ref());
        kind.and_then(kept::changed)
    };
    let item = |message: Kept| {
        let seq = sealed.iter().rfind(|one| changed(one) == Some(message))?.record.seq;
        message.is_posted(state).then(|| {
            let name = format!("{stream}/{seq}/{}", message.name());
            OutboxItem::new(name, &FollowUp::Kept(KeptMessage { seq, message }))
        })
    };
    Kept::ALL.into_iter().filter_map(item).collect()
}

/// One item where a cell of a runbook started or ended: what it prints is shown in the incident's channel.
fn shown_output(stream: &StreamId, sealed: &[SealedRecord], state: &StreamState) -> Option<OutboxItem> {
    let StreamState::Incident(state) = state else { return None };
    link(state, LinkName::SlackChannel)?;
    let is_cell = |one: &&SealedRecord| {
        let kind = one.record.payload.as_ref().and_then(|payload| payload.kind.as_ref());
        kind.and_then(kept::run_of_cell).is_some()
    };
    let seq = sealed.iter().rfind(is_cell)?.record.seq;
    Some(OutboxItem::new(format!("{stream}/{seq}/output"), &FollowUp::Output(Output { seq })))
}

/// The first answer again, if the request is the same.
async fn repeated<T: Transaction>(tx: &mut T, job: &Job<'_>, row: KeyRow) -> Result<Done, LogError> {
    let corrupt = || LogError::Corrupt { place: format!("key {}", job.key) };
    let stream = stream_id(&row.stream)?;
    let known: BTreeMap<String, String> = serde_json::from_str(&row.fingerprint).map_err(|_| corrupt())?;
    let mut fields = job.request.differing(&known);
    if let StreamTarget::Named(named) = &job.target
        && *named != stream
    {
        fields.push(if stream.incident().is_some() { "incident" } else { "subject" }.to_owned());
    }
    if !fields.is_empty() {
        return Err(LogError::KeyConflict { fields });
    }
    let records = if row.first_seq > 0 && row.last_seq >= row.first_seq {
        let count = u32::try_from(row.last_seq - row.first_seq + 1).unwrap_or(u32::MAX);
        tx.entries(job.org, &stream, row.first_seq - 1, count).await?
    } else {
        Vec::new()
    };
    let same_run = row.run_id.as_deref() == job.run_id;
    let answer = serde_json::from_str(&row.answer).map_err(|_| corrupt())?;
    let follow_ups = Vec::new();
    Ok(Done { stream, answer, records, repeated: true, same_run, state: None, follow_ups })
}

/// The id of a new incident.
async fn allocate<T: Transaction>(tx: &mut T, job: &Job<'_>) -> Result<StreamId, LogError> {
    let named = match &job.target {
        StreamTarget::New { .. } => None,
        StreamTarget::Named(stream) => stream.incident(),
    };
    let year = match (&job.target, &named) {
        (StreamTarget::New { year }, _) => *year,
        (StreamTarget::Named(_), Some(incident)) => incident.parts().0,
        (StreamTarget::Named(stream), None) => return Err(unknown(stream)),
    };
    let id = IncidentId::new(year, tx.last_number(job.org, year).await? + 1);
    match named {
        Some(named) if named != id => Err(LogError::Refused(Refusal::Invalid {
            explanation: format!("{named} does not exist, and the next number of its year is {id}"),
        })),
        Some(_) | None => Ok(id.into()),
    }
}

fn unknown(stream: &StreamId) -> LogError {
    match stream.incident() {
        Some(incident) => LogError::UnknownIncident(incident),
        None => LogError::UnknownStream(stream.clone()),
    }
}

/// To the microsecond, as it is stored: what is answered now and what is read later are the same.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// A stream's id as it stands in a row.
pub(crate) fn stream_id(text: &str) -> Result<StreamId, LogError> {
    text.parse().map_err(|_| LogError::Corrupt { place: format!("stream {text:?}") })
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

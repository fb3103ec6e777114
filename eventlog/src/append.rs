//! Appending, as it is the same for every store.
//!
//! A store reads and writes within a transaction of its own ([`Transaction`]); what an append means is decided here:
//! whether the key is known and the request the same, which incident is meant, what the judge says, what the records
//! are, what a redaction takes with it. The outcome is one [`Plan`] that the store writes whole or not at all.
//!
//! A store may run this again after a collision: nothing here remembers anything.

use std::collections::BTreeMap;

use async_trait::async_trait;
use harmony_incidents::{
    Answer, Command, GateStatus, HasStatus, IncidentId, Judged, OrgId, Refusal,
    judge::{Head, payload},
    log::{IncidentState, RecordRedacted, Text, payload::Kind},
    record::{self, ChainHead, SaltKey, SealedRecord},
    words,
};
use jiff::Timestamp;
use prost::Message;

use crate::{
    entry,
    fanout::SinkName,
    redaction::{self, Copies, Erasure},
    store::{Append, Appended, Entry, LogError, OutboxItem, OutboxKind, Target},
};

/// What an append reads and writes, all in one transaction of the store.
#[async_trait]
pub(crate) trait Transaction: Send {
    /// What is known of the key, and of the incident where one is named.
    async fn find(&mut self, append: &Append<'_>) -> Result<Found, LogError>;

    /// The highest number of a year, 0 where there is none. Whoever asks allocates the next: nobody else may until
    /// the transaction ends.
    async fn last_number(&mut self, org: &OrgId, year: i16) -> Result<u64, LogError>;

    /// Records after `after`, oldest first.
    async fn entries(
        &mut self,
        org: &OrgId,
        incident: &IncidentId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, LogError>;

    /// A record's texts, and everything of the incident in which they may have been copied.
    async fn copies(&mut self, org: &OrgId, incident: &IncidentId, seq: u64) -> Result<Copies, LogError>;

    /// Writes all of it.
    async fn write(&mut self, append: &Append<'_>, plan: &Plan) -> Result<(), LogError>;
}

/// What a store knows before a command is judged.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The key's row. Where there is one, nothing else is looked at.
    pub(crate) key: Option<KeyRow>,
    /// Where the named incident stands.
    pub(crate) head: Option<ChainHead>,
}

/// What is kept of a key, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRow {
    /// Incident.
    pub(crate) incident: String,
    /// JSON of [`Command::fingerprint`].
    pub(crate) fingerprint: String,
    /// JSON of the [`Answer`].
    pub(crate) answer: String,
    /// Records that the command gave; the first is 0 where it gave none.
    pub(crate) first_seq: u64,
    /// The last; 0 where it gave none.
    pub(crate) last_seq: u64,
    /// Run that asked first.
    pub(crate) run_id: Option<String>,
}

/// What lists and readers are told of an incident; made of its records and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Projection {
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
}

impl Projection {
    /// What the records up to this head fold to.
    pub(crate) fn of(incident: &IncidentId, head: &ChainHead) -> Self {
        let (year, number) = incident.parts();
        let mut bare = head.state.clone();
        record::strip(&mut bare);
        Self {
            year,
            number,
            seq: bare.seq,
            head_hash: head.hash.to_vec(),
            state: bare.encode_to_vec(),
            state_word: bare.state().as_str_name().to_owned(),
            phase_word: words::phase_name(bare.phase()).to_owned(),
            severity: bare.severity().as_str_name().to_owned(),
            status_word: words::status(bare.state(), bare.phase()).to_owned(),
            correlation_keys: key_line(&bare.correlation_keys),
            waiting: is_waiting(&bare),
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
pub(crate) fn head(hash: &[u8], state: &[u8]) -> Option<ChainHead> {
    Some(ChainHead { state: IncidentState::decode(state).ok()?, hash: hash.try_into().ok()? })
}

/// Everything that one append writes.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Incident.
    pub(crate) incident: IncidentId,
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

/// Appends what the judge makes of a command. The store commits afterwards, or rolls back where this fails.
pub(crate) async fn append<T: Transaction>(
    tx: &mut T,
    append: &Append<'_>,
    salt: &SaltKey,
    sinks: &[SinkName],
) -> Result<Appended, LogError> {
    let found = tx.find(append).await?;
    if let Some(key) = found.key {
        return repeated(tx, append, key).await;
    }
    let (incident, head) = match (&append.target, found.head) {
        (Target::Named(id), Some(head)) => (id.clone(), head),
        (Target::Named(id), None) if !append.command.declares() => {
            return Err(LogError::UnknownIncident(id.clone()));
        }
        (Target::New { .. } | Target::Named(_), _) => (allocate(tx, append).await?, ChainHead::default()),
    };
    if let Some(expected) = append.expected_seq
        && expected != head.state.seq
    {
        return Err(LogError::Stale { expected, actual: head.state.seq });
    }
    let mut judged = (append.judge)(Head { state: &head.state })?;
    let erasure = match append.command {
        Command::Redact { seq, field, reason } => {
            let copies = tx.copies(append.org, &incident, *seq).await?;
            let erasure = redaction::plan(&incident, (*seq, field.as_deref(), reason), copies)?;
            match &erasure {
                Some(erasure) => judged.payloads.extend(erasure.copies.iter().map(|(seq, field)| {
                    let reason = Some(Text::plain(reason));
                    payload(Kind::RecordRedacted(RecordRedacted { seq: *seq, field: field.clone(), reason }))
                })),
                None => judged = Judged::unchanged(),
            }
            erasure
        }
        _ => None,
    };
    let (mut plan, answer, state) = plan(append, incident, &head, judged, erasure, salt);
    plan.sinks = sinks.to_vec();
    tx.write(append, &plan).await?;
    let records = plan.sealed.into_iter().map(|one| entry::unsealed(one, plan.stored_at)).collect();
    Ok(Appended {
        incident: plan.incident,
        answer,
        records,
        repeated: false,
        same_run: true,
        state: Some(state),
        follow_ups: plan.outbox,
    })
}

/// What to write, what to answer, and where the incident then stands.
fn plan(
    append: &Append<'_>,
    incident: IncidentId,
    head: &ChainHead,
    judged: Judged,
    erasure: Option<Erasure>,
    salt: &SaltKey,
) -> (Plan, Answer, IncidentState) {
    let identity = judged.identity.as_deref().unwrap_or(append.key);
    let context = judged.context(append.context);
    let (sealed, next) =
        record::append(append.org, &incident, head, identity, &context, judged.payloads, salt);
    let wake = |workflow: String| OutboxItem {
        kind: OutboxKind::Wake,
        name: format!("{workflow}/{}", next.state.seq),
        payload: serde_json::json!({ "workflowId": workflow }),
    };
    let mut outbox = (append.follow)(&incident);
    outbox.extend(judged.wake.into_iter().map(wake));
    let (first_seq, last_seq) = if sealed.is_empty() { (0, 0) } else { (head.state.seq + 1, next.state.seq) };
    let key = KeyRow {
        incident: incident.to_string(),
        fingerprint: json(&append.command.fingerprint()),
        answer: json(&judged.answer),
        first_seq,
        last_seq,
        run_id: append.run_id.map(str::to_owned),
    };
    let projection = (!sealed.is_empty()).then(|| Projection::of(&incident, &next));
    let plan =
        Plan { incident, sealed, projection, outbox, erasure, sinks: Vec::new(), key, stored_at: now() };
    (plan, judged.answer, next.state)
}

/// The first answer again, if the request is the same.
async fn repeated<T: Transaction>(
    tx: &mut T,
    append: &Append<'_>,
    row: KeyRow,
) -> Result<Appended, LogError> {
    let corrupt = || LogError::Corrupt { place: format!("key {}", append.key) };
    let incident = incident_id(&row.incident)?;
    let known: BTreeMap<String, String> = serde_json::from_str(&row.fingerprint).map_err(|_| corrupt())?;
    let mut fields = append.command.differing(&known);
    if let Target::Named(named) = &append.target
        && *named != incident
    {
        fields.push("incident".to_owned());
    }
    if !fields.is_empty() {
        return Err(LogError::KeyConflict { fields });
    }
    let answer: Answer = serde_json::from_str(&row.answer).map_err(|_| corrupt())?;
    let records = if row.first_seq > 0 && row.last_seq >= row.first_seq {
        let count = u32::try_from(row.last_seq - row.first_seq + 1).unwrap_or(u32::MAX);
        tx.entries(append.org, &incident, row.first_seq - 1, count).await?
    } else {
        Vec::new()
    };
    let same_run = row.run_id.as_deref() == append.run_id;
    Ok(Appended { incident, answer, records, repeated: true, same_run, state: None, follow_ups: Vec::new() })
}

async fn allocate<T: Transaction>(tx: &mut T, append: &Append<'_>) -> Result<IncidentId, LogError> {
    let year = match &append.target {
        Target::New { year } => *year,
        Target::Named(id) => id.parts().0,
    };
    let id = IncidentId::new(year, tx.last_number(append.org, year).await? + 1);
    match &append.target {
        Target::Named(named) if *named != id => Err(LogError::Refused(Refusal::Invalid {
            explanation: format!("{named} does not exist, and the next number of its year is {id}"),
        })),
        Target::Named(_) | Target::New { .. } => Ok(id),
    }
}

/// To the microsecond, as it is stored: what is answered now and what is read later are the same.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// An incident's id as it stands in a row.
pub(crate) fn incident_id(text: &str) -> Result<IncidentId, LogError> {
    text.parse().map_err(|_| LogError::Corrupt { place: format!("incident id {text:?}") })
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

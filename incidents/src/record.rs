//! Records and the chain they form: sealing texts, canonical bytes, hashes, and checking them again.
//!
//! The canonical bytes of a record are its protobuf encoding as first written; they are stored as they are and never
//! encoded again. `hash = SHA-256(0x00 || canonical bytes)`, and each record carries the hash of the one before it.
//! Free text enters as a salted commitment. No clock, run id or random number gets in, so the same appends in the same
//! order give the same bytes.

use std::collections::BTreeSet;

use harmony_protos::{
    SCHEMA_VERSION,
    log::{IncidentState, Payload, Record, Text},
    state_texts, texts,
};
use hmac::Mac;
use jiff::Timestamp;
use prost::Message;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    command::{Context, Refusal},
    fold,
    ids::{NAMESPACE, OrgId, StreamId},
};

/// A SHA-256.
pub type Hash = [u8; 32];

/// `prevHash` of the first record.
pub const GENESIS: Hash = [0; 32];

/// The organisation's salt key, from which every text's salt is derived.
#[derive(Clone)]
pub struct SaltKey(Vec<u8>);

impl std::fmt::Debug for SaltKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SaltKey(…)")
    }
}

/// A salt key that is too short to be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a salt key has 32 bytes at least, written as 64 or more hex digits")]
pub struct SaltKeyError;

impl SaltKey {
    /// A key from hex.
    pub fn parse(text: &str) -> Result<Self, SaltKeyError> {
        let key = hex::decode(text.trim()).map_err(|_| SaltKeyError)?;
        if key.len() < 32 { Err(SaltKeyError) } else { Ok(Self(key)) }
    }

    /// The salt of a record's text.
    pub fn salt(&self, event: &[u8], field: &str) -> Hash {
        let mut mac = crate::attestation::keyed(&self.0);
        mac.update(event);
        mac.update(field.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// A text taken out of its record, to be stored beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedText {
    /// The field's name within the payload.
    pub field: String,
    /// SHA-256(salt || text); what the record carries.
    pub commitment: Hash,
    /// Salt.
    pub salt: Hash,
    /// The text itself.
    pub text: String,
}

/// A record ready to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct SealedRecord {
    /// The record, its payload holding commitments only.
    pub record: Record,
    /// Its canonical bytes.
    pub canonical: Vec<u8>,
    /// SHA-256(0x00 || canonical bytes).
    pub hash: Hash,
    /// The texts that were taken out.
    pub texts: Vec<SealedText>,
}

/// What the records of one stream fold to.
pub trait Folded: Clone {
    /// The last record's.
    fn seq(&self) -> u64;

    /// The state after a record. Total: a record is a fact.
    #[must_use]
    fn fold(self, record: &Record) -> Self;

    /// Every free text in it.
    fn texts(&mut self) -> Vec<&mut Text>;

    /// Its deterministic encoding: fields by number, lists that stand for maps sorted.
    fn encoded(&self) -> Vec<u8>;
}

impl Folded for IncidentState {
    fn seq(&self) -> u64 {
        self.seq
    }

    fn fold(self, record: &Record) -> Self {
        fold::fold(self, record)
    }

    fn texts(&mut self) -> Vec<&mut Text> {
        state_texts(self)
    }

    fn encoded(&self) -> Vec<u8> {
        self.encode_to_vec()
    }
}

/// Where a chain ends.
#[derive(Debug, Clone, PartialEq)]
pub struct ChainHead<S = IncidentState> {
    /// Folded state without texts; its seq is the last record's.
    pub state: S,
    /// Hash of the last record, [`GENESIS`] where there is none.
    pub hash: Hash,
}

impl<S> ChainHead<S> {
    /// Before the first record.
    pub fn before(state: S) -> Self {
        Self { state, hash: GENESIS }
    }
}

impl<S: Default> Default for ChainHead<S> {
    fn default() -> Self {
        Self::before(S::default())
    }
}

/// The stream that a record says it stands in, as it is written there.
pub fn stream_of(record: &Record) -> &str {
    if record.subject.is_empty() { &record.incident } else { &record.subject }
}

/// The commitment to a text.
pub fn commitment(salt: &[u8], text: &str) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update(text.as_bytes());
    hasher.finalize().into()
}

/// Whether this is the text that was committed to. A salt of any other length is refused: the commitment has no frame
/// between salt and text, so bytes could move from one to the other.
pub fn is_committed(commitment: &[u8], salt: &[u8], text: &str) -> bool {
    salt.len() == size_of::<Hash>() && commitment == self::commitment(salt, text)
}

/// The hash of canonical bytes.
pub fn hash(canonical: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(canonical);
    hasher.finalize().into()
}

/// SHA-256 over the deterministic encoding of a state: fields by number, lists sorted, texts as commitments.
pub fn state_hash<S: Folded>(state: &S) -> Hash {
    let mut bare = state.clone();
    strip(&mut bare);
    bare_state_hash(&bare)
}

/// The hash of a state without texts.
fn bare_state_hash<S: Folded>(state: &S) -> Hash {
    Sha256::digest(state.encoded()).into()
}

/// Takes every text out of a state, leaving commitments.
pub fn strip<S: Folded>(state: &mut S) {
    for text in state.texts() {
        text.text.clear();
        text.redacted = false;
    }
}

/// The event id of the `index`th record that a key gave: `UUIDv5` of the key.
pub fn event_id(org: &OrgId, key: &str, index: usize) -> Uuid {
    let name = if index == 0 { format!("{org}/{key}") } else { format!("{org}/{key}/{index}") };
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// Appends payloads to a chain: the records to store and the new head. Pure.
pub fn append<S: Folded>(
    org: &OrgId,
    stream: &StreamId,
    head: &ChainHead<S>,
    key: &str,
    context: &Context,
    payloads: Vec<Payload>,
    salt: &SaltKey,
) -> (Vec<SealedRecord>, ChainHead<S>) {
    let mut head = head.clone();
    let (incident, subject) = match stream.incident() {
        Some(incident) => (incident.to_string(), String::new()),
        None => (String::new(), stream.to_string()),
    };
    let mut sealed = Vec::with_capacity(payloads.len());
    for (index, mut payload) in payloads.into_iter().enumerate() {
        let event = event_id(org, key, index);
        let texts = seal(&mut payload, &event, salt);
        let mut record = Record {
            schema_version: SCHEMA_VERSION,
            org: org.to_string(),
            incident: incident.clone(),
            subject: subject.clone(),
            seq: head.state.seq() + 1,
            event_id: event.as_bytes().to_vec(),
            occurred_at_us: context.occurred_at.as_microsecond(),
            actor: context.actor.clone(),
            authority: context.authority.into(),
            cause: Some(context.cause.clone()),
            fold_version: fold::FOLD_VERSION,
            state_hash_after: Vec::new(),
            prev_hash: head.hash.to_vec(),
            payload: Some(payload),
        };
        head.state = head.state.fold(&record);
        record.state_hash_after = state_hash(&head.state).to_vec();
        let canonical = record.encode_to_vec();
        head.hash = hash(&canonical);
        sealed.push(SealedRecord { record, canonical, hash: head.hash, texts });
    }
    (sealed, head)
}

fn seal(payload: &mut Payload, event: &Uuid, salt_key: &SaltKey) -> Vec<SealedText> {
    texts(payload)
        .into_iter()
        .map(|field| {
            let salt = salt_key.salt(event.as_bytes(), &field.name);
            let text = std::mem::take(&mut field.text.text);
            let commitment = commitment(&salt, &text);
            *field.text = Text { commitment: commitment.to_vec(), ..Text::default() };
            SealedText { field: field.name, commitment, salt, text }
        })
        .collect()
}

/// What is wrong with a stored record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The stored hash is not the hash of the stored bytes.
    #[error("the bytes do not match their hash")]
    Hash,
    /// The bytes are not a record.
    #[error("the bytes are not a record")]
    Undecodable,
    /// The bytes decode to a record, and are not how that record is encoded: they hold fields that no version knows, or
    /// numbers that are longer than they need to be.
    #[error("the bytes hold more than the record they encode")]
    NotCanonical,
    /// The record stands in another place than it says.
    #[error("the record says it is {org} {stream} seq {seq}")]
    Misplaced {
        /// As the record says.
        org: String,
        /// As the record says.
        stream: String,
        /// As the record says.
        seq: u64,
    },
    /// It does not follow the record before it.
    #[error("the previous record's hash is not the one it was chained to")]
    Chain,
    /// The text beside it is not the text it committed to.
    #[error("the text of {field} is not the one that was recorded")]
    Text {
        /// The field's name.
        field: String,
    },
    /// The salt beside it is not the one that its record and field have.
    #[error("the salt of {field} is not the one that the salt key gives")]
    Salt {
        /// The field's name.
        field: String,
    },
    /// Folding it gives another state than when it was written.
    #[error("folding it gives another state than when it was written")]
    State,
    /// Written by a newer Harmony.
    #[error("it was written by a newer version (schema {schema}, fold {fold})")]
    Newer {
        /// Its schema version.
        schema: u32,
        /// Its fold version.
        fold: u32,
    },
}

/// Checks one stored record against the head before it and folds it: hash, place, chain, state.
pub fn check<S: Folded>(
    org: &OrgId,
    stream: &StreamId,
    head: ChainHead<S>,
    canonical: &[u8],
    stored_hash: &[u8],
) -> Result<(Record, ChainHead<S>), ChainError> {
    let hash = hash(canonical);
    if stored_hash != hash {
        return Err(ChainError::Hash);
    }
    let record = Record::decode(canonical).map_err(|_| ChainError::Undecodable)?;
    if record.schema_version > SCHEMA_VERSION || record.fold_version > fold::FOLD_VERSION {
        return Err(ChainError::Newer { schema: record.schema_version, fold: record.fold_version });
    }
    if record.encode_to_vec() != canonical {
        return Err(ChainError::NotCanonical);
    }
    let says_both = !record.subject.is_empty() && !record.incident.is_empty();
    let stands_here = record.org == org.as_str()
        && stream_of(&record) == stream.as_str()
        && record.seq == head.state.seq() + 1;
    if says_both || !stands_here {
        let stream = stream_of(&record).to_owned();
        return Err(ChainError::Misplaced { org: record.org, stream, seq: record.seq });
    }
    if record.prev_hash != head.hash {
        return Err(ChainError::Chain);
    }
    let state = head.state.fold(&record);
    // Canonical bytes hold no text, so there is none to take out of what they fold to.
    if record.state_hash_after != bare_state_hash(&state) {
        return Err(ChainError::State);
    }
    Ok((record, ChainHead { state, hash }))
}

/// Which texts of a record a redaction takes out, given those that still stand; none of them where they were taken out
/// before. A field that the record never had is refused.
pub fn redactable(
    record: &Record,
    standing: &BTreeSet<String>,
    field: Option<&str>,
) -> Result<BTreeSet<String>, Refusal> {
    let mut payload = record.payload.clone().unwrap_or_default();
    let known: BTreeSet<String> = texts(&mut payload).into_iter().map(|field| field.name).collect();
    let names = || known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let explanation = match field {
        Some(field) if known.contains(field) => {
            return Ok(standing.iter().filter(|name| *name == field).cloned().collect());
        }
        None if !known.is_empty() => return Ok(standing.intersection(&known).cloned().collect()),
        Some(field) if !known.is_empty() => {
            format!("record {} has no text {field:?}; its texts are {}", record.seq, names())
        }
        _ => format!("record {} has no text that could be taken out", record.seq),
    };
    Err(Refusal::Invalid { explanation })
}

/// The time that a record carries.
pub fn occurred_at(record: &Record) -> Timestamp {
    Timestamp::from_microsecond(record.occurred_at_us).unwrap_or(Timestamp::UNIX_EPOCH)
}

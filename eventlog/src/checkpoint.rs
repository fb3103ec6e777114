//! A checkpoint: a signed note over where every stream of an organisation ends, to be kept elsewhere. A log that was
//! cut, or written anew, does not fit an older checkpoint any more.
//!
//! The note is a [C2SP signed-note]: lines of text, an empty line, signatures. Its first three lines are laid out as those
//! of a [tlog-checkpoint], which it is not: there is no tree, so a witness of such checkpoints cannot follow it.
//!
//! ```text
//! harmony-log/default
//! 2
//! 4nQ8…=
//! INC-2026-0001 14 9f3c…
//! INC-2026-0002 3 77aa…
//!
//! — harmony-log/default Az3g…=
//! ```
//!
//! - Line 1 is the origin, `harmony-log/<org>`; it is the key's name too.
//! - Line 2 is the number of streams, in decimal.
//! - Line 3 is the base64 of SHA-256 over all the head lines, each with its line end, in the order in which they follow.
//! - Then one head line a stream, `<stream> <seq> <hash>`: its last record, and that record's hash in hex. Incidents
//!   come first, by year and number, then environments (`env/<id>`) and services (`svc/<id>`), by id.
//! - The signature is Ed25519 over the text up to and with the line end before the empty line. Its base64 holds the
//!   key's hash (the first 4 bytes of SHA-256 over name, line end, 0x01, public key) and the 64 bytes of the signature.
//!
//! A verifier key is written `<name>+<key's hash in hex>+<base64 of 0x01 and public key>`.
//!
//! [C2SP signed-note]: https://c2sp.org/signed-note
//! [tlog-checkpoint]: https://c2sp.org/tlog-checkpoint

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use harmony_incidents::{OrgId, StreamId, record::Hash};
use sha2::{Digest, Sha256};

use crate::{
    store::{EventLog, LogError},
    verify::Report,
};

/// The algorithm byte of Ed25519 in signed notes.
const ED25519: u8 = 0x01;

/// Where one stream ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamHead {
    /// Stream.
    pub stream: StreamId,
    /// Its last record.
    pub seq: u64,
    /// That record's hash.
    pub hash: Hash,
}

/// What a checkpoint says, whoever signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Organisation.
    pub org: OrgId,
    /// Invariant: in the order of streams, none twice.
    heads: Vec<StreamHead>,
}

impl Checkpoint {
    /// The same without these streams.
    #[must_use]
    pub fn without(mut self, hidden: &std::collections::BTreeMap<StreamId, u64>) -> Self {
        self.heads.retain(|head| !hidden.contains_key(&head.stream));
        self
    }
}

/// What is wrong with a note or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is no note of this form.
    #[error("this is no checkpoint: {0}")]
    Malformed(String),
    /// The key did not sign it.
    #[error("{0} did not sign this checkpoint")]
    Unsigned(String),
    /// The signature is not over this text.
    #[error("the signature of {0} does not hold for this checkpoint")]
    Signature(String),
    /// The key cannot be used.
    #[error("this is no key: {0}")]
    Key(&'static str),
}

/// Signs checkpoints of one organisation.
#[derive(Clone)]
pub struct CheckpointKey(SigningKey);

impl CheckpointKey {
    /// A key from its 32 secret bytes in hex.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let seed = hex::decode(text.trim()).ok().and_then(|seed| <[u8; 32]>::try_from(seed).ok());
        let seed = seed.ok_or(CheckpointError::Key("a signing key is 64 hex digits"))?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// What verifies its signatures for this organisation.
    pub fn verifier(&self, org: &OrgId) -> VerifierKey {
        VerifierKey { name: origin(org), key: self.0.verifying_key() }
    }

    /// The signed note.
    pub fn sign(&self, checkpoint: &Checkpoint) -> String {
        let mut note = checkpoint.text();
        let verifier = self.verifier(&checkpoint.org);
        let mut signature = verifier.hash().to_vec();
        signature.extend_from_slice(&self.0.sign(note.as_bytes()).to_bytes());
        note.push_str(&format!("\n— {} {}\n", verifier.name, STANDARD.encode(signature)));
        note
    }
}

/// Verifies signatures of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
}

impl VerifierKey {
    /// A key as [`Display`](std::fmt::Display) writes it.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let malformed = CheckpointError::Key("a verifier key is NAME+HASH+BASE64");
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed);
        };
        let bytes = STANDARD.decode(key).map_err(|_| malformed.clone())?;
        let Some((&ED25519, key)) = bytes.split_first() else { return Err(malformed) };
        let key = <[u8; 32]>::try_from(key).ok().and_then(|key| VerifyingKey::from_bytes(&key).ok());
        let found = Self { name: name.to_owned(), key: key.ok_or(malformed)? };
        if hex::encode(found.hash()) != hash {
            return Err(CheckpointError::Key("its hash is not that of its name and bytes"));
        }
        Ok(found)
    }

    fn hash(&self) -> [u8; 4] {
        let mut hasher = Sha256::new();
        hasher.update(self.name.as_bytes());
        hasher.update([b'\n', ED25519]);
        hasher.update(self.key.as_bytes());
        let hash: Hash = hasher.finalize().into();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// What a note says, if this key signed it.
    pub fn open(&self, note: &str) -> Result<Checkpoint, CheckpointError> {
        let (text, signatures) = split(note)?;
        let mut found = None;
        for line in signatures.lines() {
            let signature =
                line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or_else(|| {
                    CheckpointError::Malformed("a line below the text is no signature".to_owned())
                })?;
            let (name, bytes) = signature;
            let bytes = STANDARD
                .decode(bytes)
                .map_err(|_| CheckpointError::Malformed("a signature is no base64".to_owned()))?;
            // Others may have signed it too: a signature by a key that was not asked about says nothing.
            if name == self.name && bytes.get(..4) == Some(self.hash().as_slice()) {
                found = Some(bytes);
            }
        }
        let bytes = found.ok_or_else(|| CheckpointError::Unsigned(self.to_string()))?;
        let bad = || CheckpointError::Signature(self.name.clone());
        let signature = Signature::from_slice(&bytes[4..]).map_err(|_| bad())?;
        self.key.verify_strict(text.as_bytes(), &signature).map_err(|_| bad())?;
        Checkpoint::parse(text)
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut key = vec![ED25519];
        key.extend_from_slice(self.key.as_bytes());
        write!(formatter, "{}+{}+{}", self.name, hex::encode(self.hash()), STANDARD.encode(key))
    }
}

impl Checkpoint {
    /// Over these heads.
    pub fn new(org: OrgId, mut heads: Vec<StreamHead>) -> Self {
        heads.sort_by(|one, other| one.stream.cmp(&other.stream));
        heads.dedup_by(|one, other| one.stream == other.stream);
        Self { org, heads }
    }

    /// Where the streams end, in their order.
    pub fn heads(&self) -> &[StreamHead] {
        &self.heads
    }

    /// How many records there are up to the heads.
    pub fn records(&self) -> u64 {
        self.heads.iter().map(|head| head.seq).sum()
    }

    /// What a note says, whoever signed it: it proves nothing.
    pub fn unverified(note: &str) -> Result<Self, CheckpointError> {
        Self::parse(split(note)?.0)
    }

    /// Over what is on record now.
    pub async fn of(log: &dyn EventLog, org: &OrgId) -> Result<Self, LogError> {
        let mut heads = Vec::new();
        for stream in log.streams(org).await? {
            heads.extend(log.chain_head(org, &stream).await?);
        }
        Ok(Self::new(org.clone(), heads))
    }

    /// What is signed.
    fn text(&self) -> String {
        let mut lines = String::new();
        for head in &self.heads {
            lines.push_str(&format!("{} {} {}\n", head.stream, head.seq, hex::encode(head.hash)));
        }
        let hash = STANDARD.encode(Sha256::digest(lines.as_bytes()));
        format!("{}\n{}\n{hash}\n{lines}", origin(&self.org), self.heads.len())
    }

    /// Reads a text back; only what [`text`](Self::text) writes is taken.
    fn parse(text: &str) -> Result<Self, CheckpointError> {
        let malformed = |why: &str| CheckpointError::Malformed(why.to_owned());
        let mut lines = text.lines();
        let org = lines
            .next()
            .and_then(|line| line.strip_prefix("harmony-log/"))
            .and_then(|org| org.parse::<OrgId>().ok())
            .ok_or_else(|| malformed("its first line is not harmony-log/ORG"))?;
        let mut heads = Vec::new();
        for line in lines.skip(2) {
            let mut words = line.split(' ');
            let head = (|| {
                let stream = words.next()?.parse().ok()?;
                let seq = words.next()?.parse().ok()?;
                let hash = hex::decode(words.next()?).ok()?.try_into().ok()?;
                Some(StreamHead { stream, seq, hash })
            })();
            heads.push(head.ok_or_else(|| malformed("a line is not INCIDENT SEQ HASH"))?);
        }
        let found = Self::new(org, heads);
        if found.text() != text {
            return Err(malformed("its lines do not fit each other"));
        }
        Ok(found)
    }

    /// Holds a log against it: the log may have more, but nothing less and nothing else.
    pub async fn check(&self, log: &dyn EventLog, report: &mut Report) -> Result<(), LogError> {
        let mut against = Against::new(self);
        for head in &self.heads {
            let rows = log.rows(&self.org, &head.stream, head.seq.saturating_sub(1), 1).await?;
            match rows.first().filter(|row| row.seq == head.seq) {
                Some(row) => against.row(report, &head.stream, row.seq, &row.hash),
                None => {
                    let last = log.chain_head(&self.org, &head.stream).await?;
                    against.end(report, &head.stream, last.map_or(0, |last| last.seq));
                }
            }
        }
        report.verified = report.findings.is_empty();
        Ok(())
    }
}

/// Holds records against a checkpoint as they are read.
pub(crate) struct Against {
    waiting: BTreeMap<StreamId, StreamHead>,
}

impl Against {
    pub(crate) fn new(checkpoint: &Checkpoint) -> Self {
        let by_stream = |head: &StreamHead| (head.stream.clone(), head.clone());
        Self { waiting: checkpoint.heads.iter().map(by_stream).collect() }
    }

    /// A record of this stream.
    pub(crate) fn row(&mut self, report: &mut Report, stream: &StreamId, seq: u64, hash: &[u8]) {
        if self.waiting.get(stream).is_some_and(|head| head.seq == seq)
            && let Some(head) = self.waiting.remove(stream)
            && head.hash.as_slice() != hash
        {
            report.find(stream, seq, "the record is not the one that the checkpoint was made over");
        }
    }

    /// The stream has no more records than up to here.
    pub(crate) fn end(&mut self, report: &mut Report, stream: &StreamId, last: u64) {
        if let Some(head) = self.waiting.remove(stream) {
            let problem = match last {
                0 => format!(
                    "the {} is missing; the checkpoint has it up to record {}",
                    stream.kind(),
                    head.seq
                ),
                _ => format!("the log ends at record {last}; the checkpoint has it up to {}", head.seq),
            };
            report.find(stream, last + 1, problem);
        }
    }

    /// There are no more streams.
    pub(crate) fn finish(mut self, report: &mut Report) {
        let left: Vec<StreamId> = self.waiting.keys().cloned().collect();
        for stream in left {
            self.end(report, &stream, 0);
        }
    }
}

fn split(note: &str) -> Result<(&str, &str), CheckpointError> {
    let place = note
        .find("\n\n")
        .ok_or_else(|| CheckpointError::Malformed("it has no empty line before a signature".to_owned()))?;
    Ok((&note[..=place], &note[place + 2..]))
}

fn origin(org: &OrgId) -> String {
    format!("harmony-log/{org}")
}

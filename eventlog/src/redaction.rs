//! What a redaction takes out of a store: a record's texts, and every copy that the store made for itself.
//!
//! Copies lie in answers kept with idempotency keys, in results of effects, in the candidates that an incident comes
//! from, in outbox items that were carried out. An item that still has to be carried out is signed and cannot be changed; while one holds the text, the redaction is
//! refused. Fingerprints of commands stay: they are hashes. Backups, exports and what a vendor or Temporal was told
//! are others' to clean.
//!
//! Pure: a store reads the [`Copies`] in the transaction that records the redaction, and writes the [`Erasure`] in it.

use std::collections::BTreeSet;

use harmony_incidents::{IncidentId, Refusal, log::Record, record::redactable};
use prost::Message;
use serde_json::Value;

use crate::store::LogError;

/// Whether a member of this name is free text.
type IsText<'a> = &'a (dyn Fn(&str) -> bool + Send + Sync);

/// What stands where a copy stood.
const REDACTED: &str = "[redacted]";
/// Answers are typed: only these of their members are free text.
const ANSWER_TEXTS: [&str; 4] = ["action", "reason", "refusedBecause", "requestReason"];
/// So are a candidate's.
const CANDIDATE_TEXTS: [&str; 5] = ["because", "justification", "refusedBecause", "summary", "title"];
/// A shorter text is looked for as a whole value only: as a part it would be found in every id.
const PART_BYTES: usize = 8;

/// What is looked at. Documents are JSON, with their keys.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// The record's canonical bytes.
    pub(crate) canonical: Option<Vec<u8>>,
    /// Texts that stand beside it: field and text.
    pub(crate) texts: Vec<(String, String)>,
    /// Payloads of the incident's outbox items that were not yet carried out.
    pub(crate) waiting: Vec<String>,
    /// Answers of the incident, by idempotency key.
    pub(crate) answers: Vec<(String, String)>,
    /// Results of the incident's effects, by effect key.
    pub(crate) results: Vec<(String, String)>,
    /// Candidates that became the incident or are about it, by their ids.
    pub(crate) candidates: Vec<(String, String)>,
}

/// What is written. The payloads and errors of the incident's items that were carried out go too, whatever they hold:
/// nobody reads them, and the name alone keeps an item from being carried out again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Erasure {
    /// Record.
    pub(crate) seq: u64,
    /// Texts to delete, by field.
    pub(crate) fields: Vec<String>,
    /// Answers as they are from now on, by idempotency key.
    pub(crate) answers: Vec<(String, String)>,
    /// Results as they are from now on, by effect key.
    pub(crate) results: Vec<(String, String)>,
    /// Candidates as they are from now on, by their ids.
    pub(crate) candidates: Vec<(String, String)>,
}

/// What goes; `None` where there is nothing (left) to take out.
pub(crate) fn plan(
    incident: &IncidentId,
    seq: u64,
    field: Option<&str>,
    copies: Copies,
) -> Result<Option<Erasure>, LogError> {
    let record = copies
        .canonical
        .and_then(|canonical| Record::decode(canonical.as_slice()).ok())
        .ok_or_else(|| LogError::Corrupt { place: format!("{incident} seq {seq}") })?;
    let names: BTreeSet<String> = copies.texts.iter().map(|(name, _)| name.clone()).collect();
    let gone = redactable(&record, &names, field)?;
    if gone.is_empty() {
        return Ok(None);
    }
    let texts: Vec<&str> = copies
        .texts
        .iter()
        .filter(|(name, text)| gone.contains(name) && !text.trim().is_empty())
        .map(|(_, text)| text.as_str())
        .collect();
    if copies.waiting.iter().any(|payload| scrubbed(payload, &texts, &|_| true).is_some()) {
        return Err(LogError::Refused(Refusal::Illegal {
            explanation:
                "something that was not yet handed to Temporal holds this text: redact it when that is done"
                    .to_owned(),
        }));
    }
    let changed = |documents: Vec<(String, String)>, is_text: IsText<'_>| {
        let new = |(key, old): (String, String)| Some((key, scrubbed(&old, &texts, is_text)?));
        documents.into_iter().filter_map(new).collect()
    };
    Ok(Some(Erasure {
        seq,
        answers: changed(copies.answers, &|name| ANSWER_TEXTS.contains(&name)),
        results: changed(copies.results, &|_| true),
        candidates: changed(copies.candidates, &|name| CANDIDATE_TEXTS.contains(&name)),
        fields: gone.into_iter().collect(),
    }))
}

/// The document without the texts; `None` where it holds none of them.
fn scrubbed(document: &str, texts: &[&str], is_text: IsText<'_>) -> Option<String> {
    let mut value: Value = serde_json::from_str(document).ok()?;
    let found = texts.iter().filter(|text| scrub(&mut value, "", text, is_text)).count();
    (found > 0).then(|| value.to_string())
}

fn scrub(value: &mut Value, name: &str, text: &str, is_text: IsText<'_>) -> bool {
    match value {
        Value::String(held) if is_text(name) => {
            let trimmed = text.trim();
            if held.trim() == trimmed {
                *held = REDACTED.to_owned();
                return true;
            }
            let holds = trimmed.len() >= PART_BYTES && held.contains(trimmed);
            if holds {
                *held = held.replace(trimmed, REDACTED);
            }
            holds
        }
        // All of them, not only up to the first that holds it.
        Value::Array(items) => {
            items.iter_mut().filter_map(|item| scrub(item, name, text, is_text).then_some(())).count() > 0
        }
        Value::Object(members) => {
            let found = members
                .iter_mut()
                .filter_map(|(name, inner)| scrub(inner, name, text, is_text).then_some(()));
            found.count() > 0
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

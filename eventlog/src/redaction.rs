//! What a redaction takes out of a store: a record's texts, and every copy of them that Harmony made.
//!
//! Copies lie in other texts of the incident (a blueprint's input, what a gate covers, a rendered review), which are
//! taken out whole, each with a record of its own; and in answers kept with idempotency keys, results of effects, and
//! the candidates that an incident comes from, in which the text is replaced. Outbox items that were carried out lose
//! their payload. An item that still has to be carried out is signed and cannot be changed; while one holds the text,
//! the redaction is refused. Fingerprints of commands stay: they are hashes. Backups, exports and what a vendor or
//! Temporal was told are others' to clean.
//!
//! A copy need not be the same bytes: it may be quoted in JSON, set in Markdown or wrapped otherwise. What is compared
//! are the words, and of a text of several lines each line too.
//!
//! Pure: a store reads the [`Copies`] in the transaction that records the redaction, and writes the [`Erasure`] in it.

use harmony_incidents::{
    Refusal, StreamId,
    log::{Payload, Record},
    record::redactable,
};
use harmony_protos::texts;
use prost::Message;
use serde_json::Value;

use crate::store::LogError;

/// Whether a member of this name is free text.
type IsText<'a> = &'a (dyn Fn(&str) -> bool + Send + Sync);

/// What stands where a copy stood.
const REDACTED: &str = "[redacted]";
/// Answers are typed: these of their members are ids, words of ours or times, the others are free text.
const ANSWER_NAMES: [&str; 13] = [
    "answer",
    "authority",
    "blueprint",
    "by",
    "decidedBy",
    "deadline",
    "digest",
    "gateId",
    "requestedAt",
    "requiredRoles",
    "severity",
    "status",
    "approvedBy",
];
/// So are a candidate's, of which these are free text.
const CANDIDATE_TEXTS: [&str; 6] = ["because", "justification", "link", "refusedBecause", "summary", "title"];
/// Members of inputs, of what gates cover and of rendered pages that were not written for them: what stands in the log
/// or in a runbook for its own sake is not taken out because an input names it.
const GIVEN: [&str; 18] = [
    "activity",
    "blueprint",
    "cells",
    "code",
    "context",
    "digest",
    "gateId",
    "incidentId",
    "labels",
    "markdown",
    "parentId",
    "path",
    "runbook",
    "secretEnv",
    "spaceKey",
    "title",
    "verify",
    "workflowId",
];
/// A shorter text is looked for as a whole value only: as a part it would be found everywhere.
const PART_CHARS: usize = 8;
/// With digits in it a text is rarely a common word: a code, a number, a password.
const PART_CHARS_WITH_DIGITS: usize = 4;
/// A shorter line of a text is found in texts that copied nothing.
const LINE_CHARS: usize = 16;
/// The field of a record that has the hash of a cell's whole output.
const OUTPUT_HASH: &str = "outputSha256";
/// JSON within a string within JSON is read so deep.
const DEPTH: u8 = 4;

/// A text that stands beside a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) seq: u64,
    pub(crate) field: String,
    pub(crate) text: String,
}

/// What is looked at. Documents are JSON, with their keys.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// The record's canonical bytes.
    pub(crate) canonical: Option<Vec<u8>>,
    /// Every text of the incident.
    pub(crate) texts: Vec<Standing>,
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
    /// Texts to delete, by record and field.
    pub(crate) texts: Vec<(u64, String)>,
    /// Those among them that were not asked for and hold a copy: each gets a record that says so.
    pub(crate) copies: Vec<(u64, String)>,
    /// Answers as they are from now on, by idempotency key.
    pub(crate) answers: Vec<(String, String)>,
    /// Results as they are from now on, by effect key.
    pub(crate) results: Vec<(String, String)>,
    /// Candidates as they are from now on, by their ids.
    pub(crate) candidates: Vec<(String, String)>,
}

/// What goes; `None` where there is nothing (left) to take out.
pub(crate) fn plan(
    stream: &StreamId,
    (seq, field, reason): (u64, Option<&str>, &str),
    mut copies: Copies,
) -> Result<Option<Erasure>, LogError> {
    // Each copy gets a record, and every store must write them in the same order.
    copies.texts.sort_by(|one, other| (one.seq, &one.field).cmp(&(other.seq, &other.field)));
    let record = copies
        .canonical
        .and_then(|canonical| Record::decode(canonical.as_slice()).ok())
        .ok_or_else(|| LogError::Corrupt { place: format!("{stream} seq {seq}") })?;
    let names = copies.texts.iter().filter(|one| one.seq == seq).map(|one| one.field.clone()).collect();
    let gone = redactable(&record, &names, field)?;
    if gone.is_empty() {
        return Ok(None);
    }
    let is_asked_for = |one: &Standing| one.seq == seq && gone.contains(&one.field);
    let secrets: Vec<Secret> =
        copies.texts.iter().filter(|one| is_asked_for(one)).flat_map(|one| Secret::all(&one.text)).collect();
    if secrets.iter().any(|secret| secret.is_in(reason)) {
        let explanation = "the reason repeats the text, and it stays on record: say why in other words";
        return Err(LogError::Refused(Refusal::Invalid { explanation: explanation.to_owned() }));
    }
    if copies.waiting.iter().any(|payload| scrubbed(payload, &secrets, &|_| true).is_some()) {
        return Err(LogError::Refused(Refusal::Illegal {
            explanation:
                "something that was not yet handed to Temporal holds this text: redact it when that is done"
                    .to_owned(),
        }));
    }
    let (asked_for, others): (Vec<_>, Vec<_>) = copies.texts.iter().partition(|one| is_asked_for(one));
    let place = |one: &Standing| (one.seq, one.field.clone());
    let is_copy = |one: &Standing| secrets.iter().any(|secret| secret.is_in(&one.text));
    // The hash of a cell's whole output goes with what is taken out of its end: by it the text could be guessed.
    let has_gone = |seq: u64| {
        let is_output =
            |one: &&Standing| one.seq == seq && ["stdout", "stderr"].contains(&one.field.as_str());
        copies.texts.iter().filter(is_output).any(|one| is_asked_for(one) || is_copy(one))
    };
    let copied: Vec<_> = others
        .into_iter()
        .filter(|one| is_copy(one) || (one.field == OUTPUT_HASH && has_gone(one.seq)))
        .map(place)
        .collect();
    let changed = |documents: Vec<(String, String)>, is_text: IsText<'_>| {
        let new = |(key, old): (String, String)| Some((key, scrubbed(&old, &secrets, is_text)?));
        documents.into_iter().filter_map(new).collect()
    };
    Ok(Some(Erasure {
        texts: asked_for.into_iter().map(place).chain(copied.iter().cloned()).collect(),
        copies: copied,
        answers: changed(copies.answers, &|name| !ANSWER_NAMES.contains(&name)),
        results: changed(copies.results, &|_| true),
        candidates: changed(copies.candidates, &|name| CANDIDATE_TEXTS.contains(&name)),
    }))
}

/// Whether a text holds another, in whatever form: what a redaction of the other takes with it.
pub fn holds(text: &str, other: &str) -> bool {
    Secret::all(other).iter().any(|secret| secret.is_in(text))
}

/// The texts of a record as the API shows it, by field; without those that were taken out.
pub fn texts_of(kind: &str, payload: &Value) -> Vec<(String, String)> {
    let payload = serde_json::json!({ kind.to_ascii_lowercase(): payload });
    let Ok(mut payload) = serde_json::from_value::<Payload>(payload) else { return Vec::new() };
    let standing = texts(&mut payload).into_iter().filter(|field| !field.text.redacted);
    standing.map(|field| (field.name, field.text.text.clone())).collect()
}

/// A text that is looked for.
struct Secret {
    /// Without the space around it.
    whole: String,
    /// Its words, and those of each of its lines: any of them is a copy.
    parts: Vec<Vec<String>>,
}

impl Secret {
    /// The text, and where it is JSON, what people wrote into it.
    fn all(text: &str) -> Vec<Self> {
        let mut all: Vec<Self> = Self::of(text).into_iter().collect();
        if text.trim_start().starts_with(['{', '['])
            && let Ok(value) = serde_json::from_str(text)
        {
            Self::within(&mut all, &value);
        }
        all
    }

    fn within(all: &mut Vec<Self>, value: &Value) {
        match value {
            Value::String(text) => {
                all.extend(Self::all(text).into_iter().filter(|one| !one.parts.is_empty()))
            }
            Value::Array(items) => items.iter().for_each(|item| Self::within(all, item)),
            Value::Object(members) => members
                .iter()
                .filter(|(name, _)| !GIVEN.contains(&name.as_str()))
                .for_each(|(_, member)| Self::within(all, member)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// `None` for a text that says nothing.
    fn of(text: &str) -> Option<Self> {
        let whole = text.trim();
        if whole.is_empty() {
            return None;
        }
        let least =
            if whole.contains(|c: char| c.is_ascii_digit()) { PART_CHARS_WITH_DIGITS } else { PART_CHARS };
        let lines = whole.lines().filter(|_| whole.contains('\n')).map(|line| (line.trim(), LINE_CHARS));
        let parts = std::iter::once((whole, least))
            .chain(lines)
            .filter(|(part, least)| part.chars().count() >= *least)
            .map(|(part, _)| words(part))
            .filter(|words| !words.is_empty())
            .collect();
        Some(Self { whole: whole.to_owned(), parts })
    }

    fn is_in(&self, text: &str) -> bool {
        self.is_within(text, DEPTH)
    }

    fn is_within(&self, text: &str, depth: u8) -> bool {
        if text.trim() == self.whole || self.is_part_of(text) {
            return true;
        }
        let is_json = text.trim_start().starts_with(['{', '[', '"']);
        match serde_json::from_str(text) {
            Ok(value) if is_json && depth > 0 => self.is_in_value(&value, depth - 1),
            _ => false,
        }
    }

    fn is_in_value(&self, value: &Value, depth: u8) -> bool {
        match value {
            Value::String(held) => self.is_within(held, depth),
            Value::Array(items) => items.iter().any(|item| self.is_in_value(item, depth)),
            Value::Object(members) => members
                .iter()
                .any(|(name, member)| self.is_within(name, 0) || self.is_in_value(member, depth)),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    fn is_part_of(&self, text: &str) -> bool {
        let held = words(text);
        self.parts.iter().any(|part| held.windows(part.len()).any(|window| window == part))
    }
}

/// Letters and digits that stand together; a character entity stands for what is no word.
fn words(text: &str) -> Vec<String> {
    let mut plain = text.to_owned();
    for entity in ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;", "&apos;"] {
        plain = plain.replace(entity, " ");
    }
    plain.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The document without the texts; `None` where it holds none of them.
fn scrubbed(document: &str, secrets: &[Secret], is_text: IsText<'_>) -> Option<String> {
    let mut value: Value = serde_json::from_str(document).ok()?;
    let found = secrets.iter().filter(|secret| scrub(&mut value, "", secret, is_text)).count();
    (found > 0).then(|| value.to_string())
}

fn scrub(value: &mut Value, name: &str, secret: &Secret, is_text: IsText<'_>) -> bool {
    match value {
        Value::String(held) if is_text(name) && secret.is_in(held) => {
            let part = held.replace(&secret.whole, REDACTED);
            // Elsewhere in it, it may stand in another form.
            *held = if secret.is_in(&part) { REDACTED.to_owned() } else { part };
            true
        }
        // All of them, not only up to the first that holds it.
        Value::Array(items) => {
            items.iter_mut().filter_map(|item| scrub(item, name, secret, is_text).then_some(())).count() > 0
        }
        Value::Object(members) => {
            let found = members
                .iter_mut()
                .filter_map(|(name, inner)| scrub(inner, name, secret, is_text).then_some(()));
            found.count() > 0
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

//! The timeline: one line a record, for reviews and people. What it says comes from the record alone.

use harmony_protos::{
    kind_name,
    log::{Payload, Record},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{record::occurred_at, sentence};

/// One line of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Place in the incident's log, from 1.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// Such as `APPROVAL_DECIDED`.
    pub kind: &'static str,
    /// Who did it.
    pub actor: String,
    /// A sentence about the record.
    pub text: String,
    /// The record it tells of.
    pub event_id: String,
}

/// What is asked of the timeline: the operation `timeline.query` of its capability.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Query {
    /// Which incident.
    pub incident_id: String,
    /// Only records after this one.
    #[serde(default)]
    pub after: u64,
    /// Only these kinds; all where there is none.
    #[serde(default)]
    pub kinds: Vec<String>,
}

impl Query {
    /// The lines that it asks for, of one incident's records, oldest first.
    pub fn answer<'a>(&self, records: impl IntoIterator<Item = &'a Record>) -> Vec<Line> {
        let wanted = |line: &Line| {
            line.seq > self.after
                && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == line.kind))
        };
        records.into_iter().filter_map(line).filter(wanted).collect()
    }
}

/// What a record says; nothing where its kind is not known.
pub fn line(record: &Record) -> Option<Line> {
    let kind = record.payload.as_ref()?.kind.as_ref()?;
    Some(Line {
        seq: record.seq,
        at: occurred_at(record),
        kind: kind_name(kind),
        actor: record.actor.clone(),
        text: sentence::of(kind),
        event_id: Uuid::from_slice(&record.event_id).map(|id| id.to_string()).unwrap_or_default(),
    })
}

/// Whether a record can be of this kind.
pub fn is_kind(name: &str) -> bool {
    let mut words = name.split('_').map(str::to_ascii_lowercase);
    let mut field = words.next().unwrap_or_default();
    for word in words {
        let mut letters = word.chars();
        field.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        field.push_str(letters.as_str());
    }
    let payload = serde_json::from_value::<Payload>(serde_json::json!({ field: {} })).ok();
    payload.and_then(|payload| payload.kind).is_some_and(|kind| kind_name(&kind) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kinds_of_records_are_kinds() {
        for kind in ["INCIDENT_NOTE_ADDED", "APPROVAL_DECIDED", "POST_MORTEM_RENDERED"] {
            assert!(is_kind(kind), "{kind}");
        }
        for word in ["", "NOTE", "incident_note_added", "INCIDENT_NOTE", "_"] {
            assert!(!is_kind(word), "{word}");
        }
    }
}

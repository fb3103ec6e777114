//! The timeline: one line a record, for reviews and people. What it says comes from the record alone.

use harmony_eventlog::Entry;
use harmony_incidents::{record::occurred_at, sentence};
use harmony_protos::kind_name;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One line of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) kind: &'static str,
    pub(crate) actor: String,
    pub(crate) text: String,
    /// The record it tells of.
    pub(crate) event_id: String,
}

/// What is asked of the timeline: the operation `timeline.query` of its capability.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Query {
    pub(crate) incident_id: String,
    /// Only records after this one.
    #[serde(default)]
    pub(crate) after: u64,
    /// Only these kinds; all where there is none.
    #[serde(default)]
    pub(crate) kinds: Vec<String>,
}

impl Query {
    /// The lines that it asks for, of one incident's records.
    pub(crate) fn answer(&self, entries: &[Entry]) -> Vec<Line> {
        let wanted = |line: &Line| {
            line.seq > self.after
                && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == line.kind))
        };
        lines(entries).into_iter().filter(wanted).collect()
    }
}

/// The lines of these records, oldest first.
pub(crate) fn lines(entries: &[Entry]) -> Vec<Line> {
    entries.iter().filter_map(line).collect()
}

fn line(entry: &Entry) -> Option<Line> {
    let kind = entry.record.payload.as_ref()?.kind.as_ref()?;
    Some(Line {
        seq: entry.record.seq,
        at: occurred_at(&entry.record),
        kind: kind_name(kind),
        actor: entry.record.actor.clone(),
        text: sentence::of(kind),
        event_id: Uuid::from_slice(&entry.record.event_id).map(|id| id.to_string()).unwrap_or_default(),
    })
}

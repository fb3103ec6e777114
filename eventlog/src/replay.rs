//! Folding a log again: does every record lead to the state that was on record after it?
//!
//! This is another question than [`verify`](crate::Log::verify)'s. Verifying asks whether the bytes are those that
//! were written; replaying asks whether this build still makes the same of them, and looks at nothing else: a changed
//! fold shows here first, and here alone when the hashes are whole.

use harmony_incidents::{
    OrgId, StreamId, fold,
    log::Record,
    record::{self, Folded as _},
};
use prost::Message;

use crate::{
    store::{EventLog, LogError},
    stream::StreamState,
    verify::Report,
};

/// Rows read at a time.
const PAGE: u32 = 500;

/// Folds every stream of an organisation from nothing. Of each the first difference is told, since what
/// follows it rests on it.
pub async fn replay(log: &dyn EventLog, org: &OrgId) -> Result<Report, LogError> {
    let mut report = Report::default();
    for stream in log.streams(org).await? {
        *if stream.incident().is_some() { &mut report.incidents } else { &mut report.catalog } += 1;
        let mut state = StreamState::before(&stream);
        'stream: loop {
            let rows = log.rows(org, &stream, state.seq(), PAGE).await?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                report.records += 1;
                let place = (&stream, row.seq);
                match next(&mut report, place, state, &row.canonical) {
                    Some(folded) => state = folded,
                    None => break 'stream,
                }
            }
        }
    }
    report.verified = report.findings.is_empty();
    Ok(report)
}

/// The state after a record; `None` at the first difference.
fn next(
    report: &mut Report,
    (stream, seq): (&StreamId, u64),
    state: StreamState,
    canonical: &[u8],
) -> Option<StreamState> {
    let Ok(record) = Record::decode(canonical) else {
        report.find(stream, seq, "the bytes are not a record");
        return None;
    };
    if record.fold_version > fold::FOLD_VERSION {
        let problem = format!("a newer version folded it (fold {})", record.fold_version);
        report.find(stream, seq, problem);
        return None;
    }
    if record.seq != state.seq() + 1 || seq != record.seq {
        let last = state.seq();
        report.find(stream, last + 1, format!("record {} follows record {last}", record.seq));
        return None;
    }
    let state = state.fold(&record);
    let hash = record::state_hash(&state);
    if record.state_hash_after != hash {
        let problem = format!(
            "folding it gives state {}, on record is {}",
            hex::encode(hash),
            hex::encode(&record.state_hash_after)
        );
        report.find(stream, seq, problem);
        return None;
    }
    Some(state)
}

//! An incident as it was: its records up to one of them or to a time, and the state they fold to.

use harmony_incidents::{IncidentId, OrgId, fold::fold, log::IncidentState};

use jiff::Timestamp;

use crate::store::{Entry, EventLog, LogError};

/// Records read at a time.
const PAGE: u32 = 500;

/// The state that the first `seq` records of an incident fold to, and these records. None where the incident has not
/// that many. Texts are as they may be read now: what was redacted since is gone from the past, too.
pub async fn state_at(
    log: &dyn EventLog,
    org: &OrgId,
    incident: &IncidentId,
    seq: u64,
) -> Result<Option<(IncidentState, Vec<Entry>)>, LogError> {
    let mut state = IncidentState::default();
    let mut entries: Vec<Entry> = Vec::new();
    while state.seq < seq {
        let left = u32::try_from(seq - state.seq).unwrap_or(PAGE).min(PAGE);
        let page = log.records(org, incident, state.seq, left).await?;
        if page.is_empty() {
            return Ok(None);
        }
        for entry in page {
            state = fold(state, &entry.record);
            entries.push(entry);
        }
    }
    Ok((seq > 0).then_some((state, entries)))
}

/// An incident as it was known at a time: what was put on record after it, corrections too, is left out. None where it was not
/// declared yet.
pub async fn known_at(
    log: &dyn EventLog,
    org: &OrgId,
    incident: &IncidentId,
    at: Timestamp,
) -> Result<Option<IncidentState>, LogError> {
    let at_us = at.as_microsecond();
    let mut state = IncidentState::default();
    loop {
        let page = log.records(org, incident, state.seq, PAGE).await?;
        let whole = page.len() == PAGE as usize;
        for entry in page {
            if entry.record.occurred_at_us > at_us {
                return Ok((state.seq > 0).then_some(state));
            }
            state = fold(state, &entry.record);
        }
        if !whole {
            return Ok((state.seq > 0).then_some(state));
        }
    }
}

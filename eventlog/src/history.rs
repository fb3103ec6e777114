//! An incident as it was: its records up to one of them, and the state they fold to.

use harmony_incidents::{IncidentId, OrgId, fold::fold, log::IncidentState};

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

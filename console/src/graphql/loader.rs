//! Runs of releases, read together: whatever lists releases names them here, and the first of them whose runs are asked
//! for has those of all read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use harmony_eventlog::catalog::StoredRun;
use harmony_incidents::ReleaseId;
use tokio::time::Instant;

use crate::{call::Call, catalog::releases, error::ApiError};

/// Most runs of one release.
const RUNS: u32 = 200;
/// How long what was read holds: a socket asks many things, one after the other.
const HOLDS: Duration = Duration::from_secs(1);

/// What was listed and not read yet, and what was read and not taken yet.
#[derive(Default)]
pub(super) struct RunsLoader {
    listed: Mutex<BTreeSet<ReleaseId>>,
    read: tokio::sync::Mutex<BTreeMap<ReleaseId, (Instant, Vec<StoredRun>)>>,
}

impl RunsLoader {
    /// Says that these releases are about to be shown, with their runs or without.
    pub(super) fn lists(&self, ids: impl IntoIterator<Item = ReleaseId>) {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
    }

    /// The runs of a release.
    pub(super) async fn of(&self, call: &Call, id: &ReleaseId) -> Result<Vec<StoredRun>, ApiError> {
        // Whoever asks next waits until this is read, and finds it.
        let mut read = self.read.lock().await;
        if let Some((at, runs)) = read.remove(id)
            && at.elapsed() < HOLDS
        {
            return Ok(runs);
        }
        let mut ids = std::mem::take(&mut *self.listed.lock().unwrap_or_else(PoisonError::into_inner));
        ids.insert(id.clone());
        let ids: Vec<ReleaseId> = ids.into_iter().collect();
        let limit = RUNS.saturating_mul(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        let mut found = releases::runs_by_release(call, &ids, limit).await?;
        let now = Instant::now();
        *read =
            ids.into_iter().map(|id| (id.clone(), (now, found.remove(&id).unwrap_or_default()))).collect();
        Ok(read.remove(id).map(|(_, runs)| runs).unwrap_or_default())
    }
}

//! What is read off a service's state: which release an environment has, what became of the others, and what a rollback
//! deploys.
//!
//! None of it is recorded. A release's status ends with Active or Failed; that a later one took its place follows from
//! when each became active, not from the order in which somebody told of it.

use std::collections::{BTreeMap, BTreeSet};

use harmony_incidents::{
    ServiceId,
    ids::IdError,
    log::{ReleaseState, ReleaseStatus, RunKind, RunState, ServiceState},
};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    entity::{Release, time},
    fold::is_settled,
};

/// What became of a release that was active, or was tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Standing<'a> {
    /// It is what its environment has now.
    Current,
    /// A later release took its place.
    Superseded(&'a ReleaseState),
    /// A later release took its place because it was bad.
    RolledBack(&'a ReleaseState),
}

/// A release with what the log knows about it beside the contract's fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseView {
    /// As the contract has it.
    #[serde(flatten)]
    pub release: Release,
    /// When it was created.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it became Active or Failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
    /// Why it came to its status.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// `current`, `superseded` or `rolledBack`, where it was active or tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<&'static str>,
    /// The release that took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<String>,
}

impl ReleaseView {
    /// A release of the folded state of its service.
    pub fn of(service: &ServiceState, state: &ReleaseState) -> Result<Self, IdError> {
        let id: ServiceId = service.id.parse()?;
        let (standing, by) = match standing(service, state) {
            None => (None, None),
            Some(Standing::Current) => (Some("current"), None),
            Some(Standing::Superseded(by)) => (Some("superseded"), Some(by)),
            Some(Standing::RolledBack(by)) => (Some("rolledBack"), Some(by)),
        };
        Ok(Self {
            release: Release::of(&id, state)?,
            created_at: time(state.created_at_us),
            created_by: state.created_by.clone(),
            settled_at: (state.settled_at_us != 0).then(|| time(state.settled_at_us)),
            reason: state.reason.as_ref().map(|text| text.shown().to_owned()).unwrap_or_default(),
            standing,
            replaced_by: by.map(|one| one.release_id.clone()),
        })
    }
}

/// What people call a release: its version, or else its sha.
pub fn label<'a>(version: &'a str, sha: &'a str) -> &'a str {
    if version.is_empty() { sha } else { version }
}

/// When a release came to be what it is: settled, or else created. Of two at one moment the later record counts.
fn moment(release: &ReleaseState) -> (i64, u64) {
    let at = if release.settled_at_us == 0 { release.created_at_us } else { release.settled_at_us };
    (at, release.created_seq)
}

fn in_environment<'a>(
    state: &'a ServiceState,
    environment: &str,
) -> impl DoubleEndedIterator<Item = &'a ReleaseState> {
    state.releases.iter().filter(move |one| one.environment_id == environment)
}

/// The release that an environment has now.
pub fn active<'a>(state: &'a ServiceState, environment: &str) -> Option<&'a ReleaseState> {
    in_environment(state, environment)
        .filter(|one| one.status() == ReleaseStatus::Active)
        .max_by_key(|one| moment(one))
}

/// The release that tells most about an environment: the one on its way, else the one that was settled last, else the
/// last draft.
pub fn latest<'a>(state: &'a ServiceState, environment: &str) -> Option<&'a ReleaseState> {
    let tells = |release: &ReleaseState| match release.status() {
        ReleaseStatus::Promoting => 2,
        ReleaseStatus::Active | ReleaseStatus::Failed => 1,
        ReleaseStatus::Draft | ReleaseStatus::Unspecified => 0,
    };
    in_environment(state, environment).max_by_key(|one| (tells(one), moment(one)))
}

/// [`latest`] of each environment that has a release, by environment id.
pub fn latest_by_environment(state: &ServiceState) -> BTreeMap<&str, &ReleaseState> {
    let environments: BTreeSet<&str> = state.releases.iter().map(|one| one.environment_id.as_str()).collect();
    environments.into_iter().filter_map(|id| latest(state, id).map(|release| (id, release))).collect()
}

/// What became of a release; nothing yet of one that is not settled, and nothing of one that failed unless it was
/// rolled back.
pub fn standing<'a>(state: &'a ServiceState, release: &ReleaseState) -> Option<Standing<'a>> {
    if !is_settled(release.status()) {
        return None;
    }
    if let Some(by) = rolled_back_by(state, release) {
        return Some(Standing::RolledBack(by));
    }
    if release.status() != ReleaseStatus::Active {
        return None;
    }
    let next = in_environment(state, &release.environment_id)
        .filter(|one| one.status() == ReleaseStatus::Active && moment(one) > moment(release))
        .min_by_key(|one| moment(one));
    Some(next.map_or(Standing::Current, Standing::Superseded))
}

fn rolled_back_by<'a>(state: &'a ServiceState, release: &ReleaseState) -> Option<&'a ReleaseState> {
    in_environment(state, &release.environment_id)
        .filter(|one| one.status() == ReleaseStatus::Active && one.rolls_back == release.release_id)
        .min_by_key(|one| moment(one))
}

/// The release that was active in the environment before this one: what a rollback of it deploys again. One that was
/// itself rolled back is passed over, and so is one of the same artifact.
pub fn active_before<'a>(state: &'a ServiceState, release: &ReleaseState) -> Option<&'a ReleaseState> {
    in_environment(state, &release.environment_id)
        .filter(|one| one.status() == ReleaseStatus::Active && one.release_id != release.release_id)
        // One that is on its way has no time of its own yet: everything active came before it.
        .filter(|one| !is_settled(release.status()) || moment(one) < moment(release))
        .filter(|one| one.sha != release.sha && rolled_back_by(state, one).is_none())
        .max_by_key(|one| moment(one))
}

/// The runs of a release in time: those that deployed it, and those that promoted it on to other environments.
pub fn runs_of<'a>(state: &'a ServiceState, release: &str) -> Vec<&'a RunState> {
    let took_it_on = |run: &RunState| {
        run.kind() == RunKind::Promote
            && state
                .releases
                .iter()
                .any(|one| one.release_id == run.release_id && one.promoted_from == release)
    };
    let mut runs: Vec<&RunState> =
        state.runs.iter().filter(|run| run.release_id == release || took_it_on(run)).collect();
    runs.sort_by_key(|run| (run.started_at_us, run.started_seq));
    runs
}

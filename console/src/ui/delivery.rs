//! How changes go, service by service: how often one fails, and how long it takes to recover.
//!
//! A release counts once it is Active or Failed. It failed where its status says so, where another release rolled it back,
//! and where people linked it to an incident as its cause. Recovering takes, with an incident, as long as it lasted until
//! it was mitigated (or else resolved); without one, until the next release of the environment was active.

use std::collections::{BTreeMap, BTreeSet};

use harmony_catalog::words::PRACTICE_PREFIX;
use harmony_eventlog::{
    StreamState,
    catalog::{CatalogFilter, CatalogKind, ReleaseFilter, StoredRelease},
};
use harmony_incidents::{
    OrgId, ReleaseId,
    log::{IncidentState, Relation, ReleaseState, ReleaseStatus},
    times::Moment,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::insights::Median;
use crate::{App, error::ApiError};

/// How far back releases are counted.
pub(crate) const DAYS: i64 = 90;
/// Releases of one read.
const READ: u32 = 1_000;
/// Services that are told of: those with the most releases.
const SERVICES: usize = 200;

/// How the changes of one service go.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceFigure {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Releases that became Active or Failed.
    pub(crate) releases: usize,
    /// Those of them that failed.
    pub(crate) failed: usize,
    pub(crate) recover: Median,
}

impl ServiceFigure {
    /// The share of its releases that failed, in percent.
    pub(crate) fn failure_percent(&self) -> usize {
        (self.failed * 100 + self.releases / 2) / self.releases.max(1)
    }

    /// For a program.
    pub(crate) fn view(&self) -> Value {
        json!({
            "serviceId": self.id,
            "name": self.name,
            "releases": self.releases,
            "failed": self.failed,
            "changeFailureRate": self.failed as f64 / self.releases.max(1) as f64,
            "medianSecondsToRecover": self.recover.seconds(),
        })
    }
}

/// The figures of every service that released something lately, the most releases first.
pub(crate) async fn count(
    app: &App,
    org: &OrgId,
    incidents: &[IncidentState],
    now: Timestamp,
) -> Result<Vec<ServiceFigure>, ApiError> {
    let since = now.checked_sub(SignedDuration::from_hours(24 * DAYS)).unwrap_or(Timestamp::MIN);
    let mut releases: Vec<StoredRelease> = Vec::new();
    let mut before = None;
    loop {
        let filter = ReleaseFilter { since: Some(since), before, limit: READ, ..ReleaseFilter::default() };
        let page = app.doors.log.releases(org, &filter).await?;
        let is_last = page.len() < usize::try_from(READ).unwrap_or_default();
        before = page.last().and_then(place);
        // Drills are practice.
        releases.extend(page.into_iter().filter(|one| !one.service.as_str().starts_with(PRACTICE_PREFIX)));
        if is_last {
            break;
        }
    }
    let mut figures = sum(&releases, incidents, since);
    figures.truncate(SERVICES);
    let names = CatalogFilter {
        kind: CatalogKind::Service,
        ids: figures.iter().map(|one| one.id.clone()).collect(),
        search: None,
        running: false,
        retired: true,
        after: None,
        limit: u32::try_from(SERVICES).unwrap_or(u32::MAX),
    };
    if !names.ids.is_empty() {
        let found = app.doors.log.catalog(org, &names).await?;
        let found = found.into_iter().filter_map(StreamState::service);
        let names: BTreeMap<String, String> = found.map(|one| (one.id, one.name)).collect();
        for figure in &mut figures {
            figure.name = names.get(&figure.id).unwrap_or(&figure.id).clone();
        }
    }
    Ok(figures)
}

fn place(last: &StoredRelease) -> Option<(Timestamp, ReleaseId)> {
    let at = Timestamp::from_microsecond(last.release.created_at_us).ok()?;
    Some((at, last.release.release_id.parse().ok()?))
}

fn is_settled(release: &ReleaseState) -> bool {
    matches!(release.status(), ReleaseStatus::Active | ReleaseStatus::Failed) && release.settled_at_us != 0
}

fn sum(releases: &[StoredRelease], incidents: &[IncidentState], since: Timestamp) -> Vec<ServiceFigure> {
    // What people said caused an incident, and which.
    let mut caused: BTreeMap<&str, &IncidentState> = BTreeMap::new();
    for incident in incidents {
        let causes = incident.changes.iter().filter(|one| one.relation() == Relation::Caused);
        caused.extend(causes.map(|one| (one.release_id.as_str(), incident)));
    }
    let active = |one: &&StoredRelease| one.release.status() == ReleaseStatus::Active;
    let rolled_back: BTreeSet<&str> =
        releases.iter().filter(active).map(|one| one.release.rolls_back.as_str()).collect();
    // When each environment of a service got something that works.
    let mut worked: BTreeMap<(&str, &str), BTreeSet<i64>> = BTreeMap::new();
    for one in releases.iter().filter(active) {
        let place = (one.service.as_str(), one.release.environment_id.as_str());
        worked.entry(place).or_default().insert(one.release.settled_at_us);
    }
    let mut figures: BTreeMap<&str, ServiceFigure> = BTreeMap::new();
    let counted = releases.iter().filter(|one| is_settled(&one.release));
    for one in counted.filter(|one| one.release.settled_at_us >= since.as_microsecond()) {
        let (service, release) = (one.service.as_str(), &one.release);
        let figure = figures.entry(service).or_default();
        figure.releases += 1;
        let incident = caused.get(release.release_id.as_str());
        let has_failed = release.status() == ReleaseStatus::Failed
            || rolled_back.contains(release.release_id.as_str())
            || incident.is_some();
        if !has_failed {
            continue;
        }
        figure.failed += 1;
        let next = || {
            let place = (service, release.environment_id.as_str());
            let later = (release.settled_at_us + 1)..;
            worked.get(&place).and_then(|times| times.range(later).next().copied()).unwrap_or_default()
        };
        match incident {
            Some(incident) if Moment::Mitigated.at_us(incident) != 0 => {
                figure.recover.add(incident.created_at_us, Moment::Mitigated.at_us(incident));
            }
            Some(incident) => figure.recover.add(incident.created_at_us, Moment::Resolved.at_us(incident)),
            None => figure.recover.add(release.settled_at_us, next()),
        }
    }
    let named = figures.into_iter().map(|(id, figure)| ServiceFigure { id: id.to_owned(), ..figure });
    let mut figures: Vec<ServiceFigure> = named.collect();
    figures.sort_by(|one, other| other.releases.cmp(&one.releases).then_with(|| one.id.cmp(&other.id)));
    figures
}

#[cfg(test)]
mod tests {
    use harmony_incidents::log::ChangeLinked;

    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn release(id: &str, service: &str, status: ReleaseStatus, hour: i64, rolls_back: &str) -> StoredRelease {
        let release = ReleaseState {
            release_id: id.to_owned(),
            environment_id: "env-prod".to_owned(),
            status: status.into(),
            created_at_us: hour * HOUR,
            settled_at_us: if status == ReleaseStatus::Draft { 0 } else { hour * HOUR },
            rolls_back: rolls_back.to_owned(),
            ..ReleaseState::default()
        };
        StoredRelease { service: service.parse().unwrap(), release }
    }

    #[test]
    fn failures_and_recoveries_are_counted_per_service() {
        let caused = ChangeLinked {
            release_id: "rel-4".to_owned(),
            relation: Relation::Caused.into(),
            ..ChangeLinked::default()
        };
        let incident = IncidentState {
            created_at_us: 20 * HOUR,
            mitigated_at_us: 21 * HOUR,
            resolved_at_us: 30 * HOUR,
            changes: vec![caused],
            ..IncidentState::default()
        };
        let releases = [
            release("rel-0", "svc-shop", ReleaseStatus::Active, 1, ""),
            release("rel-1", "svc-shop", ReleaseStatus::Failed, 2, ""),
            release("rel-2", "svc-shop", ReleaseStatus::Active, 5, ""),
            release("rel-3", "svc-shop", ReleaseStatus::Active, 7, "rel-2"),
            release("rel-4", "svc-shop", ReleaseStatus::Active, 19, ""),
            release("rel-5", "svc-shop", ReleaseStatus::Draft, 22, ""),
            release("rel-6", "svc-mail", ReleaseStatus::Active, 3, ""),
        ];
        let figures = sum(&releases, &[incident], Timestamp::UNIX_EPOCH);
        let told: Vec<_> = figures.iter().map(|one| (one.id.as_str(), one.releases, one.failed)).collect();
        assert_eq!(told, [("svc-shop", 5, 3), ("svc-mail", 1, 0)]);
        assert_eq!(figures[0].failure_percent(), 60);
        // Three hours until the next release worked, two until it was rolled back, one until it was mitigated.
        assert_eq!(figures[0].recover.seconds(), Some(7_200));
        assert_eq!(figures[1].recover.seconds(), None);
        assert_eq!(figures[1].view()["changeFailureRate"], 0.0);
        let later = sum(&releases, &[], Timestamp::from_microsecond(4 * HOUR).unwrap());
        assert_eq!(later.iter().map(|one| one.releases).sum::<usize>(), 3, "what is older is not counted");
    }
}

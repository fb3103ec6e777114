//! Which releases may have caused an incident: those of its services, and of what they depend on, in the time before it
//! was declared.
//!
//! A guess with its reason in words, never a verdict: people link a change as caused or related, or dismiss it. Pure and
//! deterministic: the same states give the same suspects in the same order, most likely first. The more recent a
//! release, the likelier; one of a dependency counts as if it lay [`FARTHER`] times as far back.

use std::collections::BTreeMap;

use harmony_incidents::{
    EnvironmentId,
    log::{IncidentState, ReleaseState, ReleaseStatus, RunState, ServiceState},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    entity::{is_production_by_name, time},
    judge::EnvironmentFact,
};

/// How far back the default policy looks.
pub const DEFAULT_WINDOW: SignedDuration = SignedDuration::from_hours(24);
/// How much less likely a dependency's release is.
const FARTHER: i64 = 4;

/// What is known of an incident when its suspects are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its services, by id or by name.
    pub services: Vec<String>,
    /// Its environment, by id or by name; empty where nobody said.
    pub environment: String,
    /// When it was declared.
    pub at: Timestamp,
}

impl From<&IncidentState> for Declared {
    fn from(state: &IncidentState) -> Self {
        let services = std::iter::once(&state.service_name).chain(&state.impacted_services);
        Self {
            services: services.filter(|name| !name.is_empty()).cloned().collect(),
            environment: state.environment.clone(),
            at: time(state.created_at_us),
        }
    }
}

impl Declared {
    /// Whether a service of the catalog is one of the incident's.
    pub fn names(&self, service: &ServiceState) -> bool {
        self.services.iter().any(|name| *name == service.id || name.eq_ignore_ascii_case(&service.name))
    }

    /// Whether an environment of the catalog is the incident's. Production has two usual names.
    fn is_in(&self, id: &str, environment: Option<&EnvironmentFact>) -> bool {
        self.environment == id
            || environment.is_some_and(|one| {
                self.environment.eq_ignore_ascii_case(&one.name)
                    || (is_production_by_name(&self.environment) && is_production_by_name(&one.name))
            })
    }
}

/// A release that may have caused an incident.
#[derive(Debug, Clone, PartialEq)]
pub struct Suspect<'a> {
    /// Its service.
    pub service: &'a ServiceState,
    /// Which.
    pub release: &'a ReleaseState,
    /// When it became active, failed, or began.
    pub at: Timestamp,
    /// Why, in words.
    pub reason: String,
}

/// Suspects of an incident, the likeliest first. `services` are its own and what they depend on; others among them
/// are passed over.
pub fn suspects<'a>(
    declared: &Declared,
    services: &'a [ServiceState],
    environments: &BTreeMap<EnvironmentId, EnvironmentFact>,
    window: SignedDuration,
) -> Vec<Suspect<'a>> {
    let fact = |id: &str| id.parse::<EnvironmentId>().ok().and_then(|id| environments.get(&id));
    // An environment that the catalog does not know says nothing about which releases matter.
    let known = !declared.environment.is_empty()
        && (environments.iter().any(|(id, one)| declared.is_in(id.as_str(), Some(one))));
    let own: Vec<&ServiceState> = services.iter().filter(|one| declared.names(one)).collect();
    let mut ranked = Vec::new();
    for service in services {
        let depended_on_by = own.iter().find(|one| one.depends_on.contains(&service.id));
        let (place, weight) = if declared.names(service) {
            (if known { "same service and environment" } else { "same service" }.to_owned(), 1)
        } else if let Some(dependent) = depended_on_by {
            (format!("a dependency of {}", dependent.name), FARTHER)
        } else {
            continue;
        };
        for release in &service.releases {
            let environment = fact(&release.environment_id);
            if known && !declared.is_in(&release.environment_id, environment) {
                continue;
            }
            let Some((at, what)) = happened(service, release, declared.at) else { continue };
            let before = declared.at.duration_since(at);
            if before > window {
                continue;
            }
            let place = if known {
                place.clone()
            } else {
                let name = environment.map_or(release.environment_id.as_str(), |one| &one.name);
                format!("{place}, in {name}")
            };
            let reason = format!("{place}, {}", what.in_words(before));
            let likely = before.as_micros().saturating_mul(i128::from(weight));
            ranked.push((likely, weight, Suspect { service, release, at, reason }));
        }
    }
    ranked.sort_by(|(a, a_weight, one), (b, b_weight, other)| {
        let place = |one: &Suspect<'a>| (one.service.id.as_str(), one.release.release_id.as_str());
        (a, a_weight, place(one)).cmp(&(b, b_weight, place(other)))
    });
    ranked.into_iter().map(|(_, _, suspect)| suspect).collect()
}

/// What a release did last before an incident was declared.
#[derive(Debug, Clone, Copy)]
enum Happened {
    BecameActive,
    Failed,
    WasUnderWay,
}

impl Happened {
    fn in_words(self, before: SignedDuration) -> String {
        let ago = in_words(before);
        match self {
            Self::BecameActive => format!("Active {ago} before"),
            Self::Failed => format!("failed {ago} before"),
            Self::WasUnderWay => format!("being promoted for {ago}"),
        }
    }
}

/// The last thing that happened to a release before a moment, and when. A draft changes nothing.
fn happened(
    service: &ServiceState,
    release: &ReleaseState,
    before: Timestamp,
) -> Option<(Timestamp, Happened)> {
    let settled = time(release.settled_at_us);
    match release.status() {
        ReleaseStatus::Active if settled <= before => Some((settled, Happened::BecameActive)),
        ReleaseStatus::Failed if settled <= before => Some((settled, Happened::Failed)),
        // It was settled only afterwards.
        ReleaseStatus::Promoting | ReleaseStatus::Active | ReleaseStatus::Failed => {
            Some((began(service, release), Happened::WasUnderWay)).filter(|(at, _)| *at <= before)
        }
        ReleaseStatus::Draft | ReleaseStatus::Unspecified => None,
    }
}

/// When a release began to change something: with its last run, or when somebody told of it.
fn began(service: &ServiceState, release: &ReleaseState) -> Timestamp {
    let ours = |run: &&RunState| run.release_id == release.release_id && !run.dry_run;
    let run = service.runs.iter().rev().find(ours);
    time(run.map_or(release.created_at_us, |run| run.started_at_us))
}

/// A span as people say it: in its largest unit.
fn in_words(span: SignedDuration) -> String {
    let seconds = span.as_secs().max(0);
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

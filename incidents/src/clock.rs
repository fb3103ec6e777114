//! The update clock: what is due while an incident goes on, and what has become of it. Pure; `incident.updates` waits for
//! what this says is next, and the judge looks again in the transaction that records that it has come.
//!
//! - People are to be told again so long after the last update as the policy's `[updates]` says, or as whoever wrote the
//!   update said. When the time has come the channel and the commander are reminded; [`Policy::update_grace`] later the
//!   update is overdue, on record, and the next reminder follows at the next multiple of the cadence.
//! - An incident whose severity stands in `[command]` needs a commander: so long after its declaration the on-call is
//!   reminded, and after as long again paged, once.
//! - `[objectives]` says how soon somebody must acknowledge, tell people for the first time, mitigate and resolve.
//!
//! What passed while nobody could tell is told once, with the time when it was due and the time when it was told.

use harmony_protos::log::{
    BreachState, CommanderMissing, IncidentState, ObjectiveBreached, UpdateOverdue, UpdateReminded,
    payload::Kind,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{machine, policy::Policy};

/// The role of whoever commands an incident.
pub const COMMANDER: &str = "commander";

/// An objective for the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Somebody acknowledges the incident.
    Acknowledge,
    /// People are told something for the first time.
    FirstUpdate,
    /// The harm ends.
    Mitigate,
    /// It is over.
    Resolve,
}

impl Objective {
    /// Every one, in the order in which they are met.
    pub const ALL: [Self; 4] = [Self::Acknowledge, Self::FirstUpdate, Self::Mitigate, Self::Resolve];

    /// The word in records, policies and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acknowledge => "acknowledge",
            Self::FirstUpdate => "first-update",
            Self::Mitigate => "mitigate",
            Self::Resolve => "resolve",
        }
    }

    /// When it was met, if it was.
    pub fn met_at_us(self, state: &IncidentState) -> Option<i64> {
        let at = match self {
            Self::Acknowledge => state.acknowledged_at_us,
            Self::FirstUpdate => return (state.updates > 0).then_some(state.last_update_us),
            Self::Mitigate => state.mitigated_at_us,
            Self::Resolve => state.resolved_at_us,
        };
        (at > 0).then_some(at)
    }
}

/// What comes due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alarm {
    /// People are to be told again: a reminder.
    Update,
    /// They were not, although somebody was reminded.
    Overdue,
    /// Nobody commands: a reminder to the on-call.
    Commander,
    /// Still nobody: a page.
    CommanderPage,
    /// An objective for the response is missed.
    Objective(Objective),
}

impl Alarm {
    /// As steps are named.
    pub fn name(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Overdue => "overdue",
            Self::Commander => "commander",
            Self::CommanderPage => "commander-page",
            Self::Objective(objective) => objective.name(),
        }
    }
}

/// An alarm and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// What.
    pub alarm: Alarm,
    /// When.
    pub at: Timestamp,
}

/// Everything that is due while the incident goes on as it is, the earliest first. Nothing once it is over.
pub fn due(state: &IncidentState, policy: &Policy) -> Vec<Due> {
    if state.seq == 0 || machine::is_over(state.state()) {
        return Vec::new();
    }
    let mut all: Vec<(i64, Alarm)> = Vec::new();
    all.extend(update(state, policy));
    all.extend(commander(state, policy));
    all.extend(
        objectives(state, policy)
            .filter(|one| one.breached_at_us.is_none() && !one.met)
            .map(|one| (one.due_us, Alarm::Objective(one.objective))),
    );
    all.sort_unstable();
    all.into_iter().map(|(at_us, alarm)| Due { alarm, at: timestamp(at_us) }).collect()
}

fn update(state: &IncidentState, policy: &Policy) -> Option<(i64, Alarm)> {
    let due = state.next_update_due_us;
    if due == 0 {
        return None;
    }
    Some(if state.update_reminded_us == due {
        (due.saturating_add(micros(policy.update_grace)), Alarm::Overdue)
    } else {
        (due, Alarm::Update)
    })
}

fn commander(state: &IncidentState, policy: &Policy) -> Option<(i64, Alarm)> {
    let within = micros(policy.commander_within(state.severity())?);
    if state.commander_paged || state.responders.iter().any(|one| one.role == COMMANDER) {
        return None;
    }
    Some(match state.commander_reminded_us {
        0 => (state.created_at_us.saturating_add(within), Alarm::Commander),
        reminded => (reminded.saturating_add(within), Alarm::CommanderPage),
    })
}

/// How an objective of an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub objective: Objective,
    /// How long the policy gives.
    pub target: SignedDuration,
    /// When its time is over.
    pub due_us: i64,
    /// Whether it was met, in time or later.
    pub met: bool,
    /// When its time was over, where that is on record.
    pub breached_at_us: Option<i64>,
}

/// The objectives that the policy sets for an incident of this severity.
pub fn objectives<'a>(state: &'a IncidentState, policy: &'a Policy) -> impl Iterator<Item = Standing> + 'a {
    let targets = policy.objectives.get(state.severity().as_str_name());
    Objective::ALL.into_iter().filter_map(move |objective| {
        let target = *targets?.get(&objective)?;
        let breach = state.breaches.iter().find(|one| one.objective == objective.name());
        Some(Standing {
            objective,
            target,
            due_us: state.created_at_us.saturating_add(micros(target)),
            met: objective.met_at_us(state).is_some(),
            breached_at_us: breach.map(|one: &BreachState| one.due_us),
        })
    })
}

/// When the next update is due after one at this time; 0 where the policy asks for none.
pub fn next_update(policy: &Policy, severity: harmony_protos::log::Severity, at: Timestamp) -> i64 {
    policy.cadence(severity).map_or(0, |cadence| at.as_microsecond().saturating_add(micros(cadence)))
}

/// The record that an alarm has come; none where it is not due any more, or not yet.
pub(crate) fn record(state: &IncidentState, policy: &Policy, wanted: Due, now: Timestamp) -> Option<Kind> {
    if now < wanted.at || !due(state, policy).contains(&wanted) {
        return None;
    }
    let (due_us, actual_us) = (wanted.at.as_microsecond(), now.as_microsecond());
    Some(match wanted.alarm {
        Alarm::Update => {
            let cadence = policy.cadence(state.severity()).map_or(0, micros);
            let missed = if cadence > 0 { (actual_us - due_us) / cadence } else { 0 };
            let missed = u32::try_from(missed).unwrap_or(u32::MAX);
            Kind::UpdateReminded(UpdateReminded { due_us, actual_us, missed })
        }
        Alarm::Overdue => {
            let due_us = state.next_update_due_us;
            let next_update_due_us = policy.cadence(state.severity()).map_or(0, |cadence| {
                let cadence = micros(cadence).max(1);
                due_us.saturating_add(((actual_us - due_us) / cadence + 1).saturating_mul(cadence))
            });
            Kind::UpdateOverdue(UpdateOverdue { due_us, actual_us, next_update_due_us })
        }
        Alarm::Commander => Kind::CommanderMissing(CommanderMissing { due_us, actual_us, paged: false }),
        Alarm::CommanderPage => Kind::CommanderMissing(CommanderMissing { due_us, actual_us, paged: true }),
        Alarm::Objective(objective) => {
            let target = objectives(state, policy).find(|one| one.objective == objective)?.target;
            Kind::ObjectiveBreached(ObjectiveBreached {
                objective: objective.name().to_owned(),
                target_ms: i64::try_from(target.as_millis()).unwrap_or(i64::MAX),
                due_us,
                actual_us,
            })
        }
    })
}

fn micros(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn timestamp(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).unwrap_or(Timestamp::MAX)
}

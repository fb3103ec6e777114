//! The situation in a few lines, for whoever takes command: made from what is on record, so that nothing depends on what
//! somebody remembers to say.

use harmony_protos::log::{IncidentState, Relation};
use jiff::{SignedDuration, Timestamp};

use crate::{
    clock::COMMANDER,
    directory::Directory,
    leading::{FollowUpState, duties, next_update_us},
    machine,
    policy::Policy,
    sentence,
    status::{GateStatus, HasStatus, RunStatus},
    words,
};

/// Most releases that are named.
const CHANGES: usize = 3;

/// What whoever takes command at this moment has to know, a line each, the most pressing first.
pub fn hand_over(
    state: &IncidentState,
    policy: &Policy,
    directory: &Directory,
    now: Timestamp,
) -> Vec<String> {
    let zone = policy.time_zone();
    let clock = |at_us: i64| {
        let at = Timestamp::from_microsecond(at_us).unwrap_or(Timestamp::UNIX_EPOCH);
        at.to_zoned(zone.clone()).strftime("%H:%M %Z").to_string()
    };
    let mut lines = Vec::new();
    let open = SignedDuration::from_micros(now.as_microsecond().saturating_sub(state.created_at_us));
    lines.push(format!(
        "{} {} ({}), declared {} ago by {}",
        state.severity().as_str_name(),
        state.state().as_str_name(),
        words::phase_name(state.phase()),
        sentence::minutes(i64::try_from(open.as_millis()).unwrap_or(i64::MAX)),
        directory.name(&state.declared_by),
    ));
    for gate in state.gates.iter().filter(|gate| gate.is(GateStatus::Pending)) {
        lines.push(format!("Waits for a decision until {}: {}", clock(gate.due_us), gate.action));
    }
    for run in
        state.blueprints.iter().filter(|run| run.is(RunStatus::Running) && run.blueprint == "remediate")
    {
        lines.push(format!("A remediation runs, attempt {}", run.attempt));
    }
    let now_us = now.as_microsecond();
    let next = match next_update_us(state) {
        Some(due) if due < now_us => format!("; the next was due {}", clock(due)),
        Some(due) => format!("; the next is due {}", clock(due)),
        None => String::new(),
    };
    lines.push(match state.last_update_us {
        0 => format!("No update yet{next}"),
        last => format!("Last update {}, {} so far{next}", clock(last), state.updates),
    });
    let told = state.changes.iter().filter(|one| one.relation() != Relation::Dismissed).take(CHANGES);
    for change in told {
        let relation = match change.relation() {
            Relation::Caused => "The cause",
            Relation::Related => "Related",
            Relation::Suspected | Relation::Dismissed | Relation::Unspecified => "Suspected",
        };
        let version = if change.version.is_empty() { &change.sha } else { &change.version };
        lines.push(format!("{relation}: {} {version} in {}", change.service_id, change.environment_id));
    }
    let others: Vec<String> = state
        .responders
        .iter()
        .filter(|one| one.role != COMMANDER)
        .map(|one| format!("{} ({})", directory.name(&one.principal), one.role))
        .collect();
    if !others.is_empty() {
        lines.push(format!("With you: {}", others.join(", ")));
    }
    let left: Vec<&str> = duties(state, policy)
        .filter(|held| held.role == COMMANDER && !held.done)
        .map(|held| held.duty)
        .collect();
    if !left.is_empty() && !machine::is_over(state.state()) {
        lines.push(format!("Not ticked yet by the commander before: {}", left.join("; ")));
    }
    let follow_ups =
        state.action_items.iter().filter(|item| FollowUpState::of(item) == FollowUpState::Open).count();
    if follow_ups > 0 {
        lines.push(format!("Open follow-ups: {follow_ups}"));
    }
    lines
}

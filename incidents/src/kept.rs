//! Messages in an incident's channel that are kept true while the incident goes on: the first one, which is pinned, and those
//! that say what a role is there for. Here is which messages they are, and which records change what they say.

use harmony_protos::log::{BlueprintState, IncidentState, payload::Kind};
use serde::{Deserialize, Serialize};

use crate::{
    WorkflowType,
    status::{HasStatus, LinkName, StepStatus},
};

/// The step of `incident.initiate` that posts the first message.
pub const FIRST: &str = "first-update";
/// The step of `incident.act` that posts what a role is there for.
pub const DUTIES: &str = "duties";

/// A kind of message that is kept true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    /// The channel's first.
    First,
    /// What a role is there for.
    Duties,
}

impl Kept {
    /// Both.
    pub const ALL: [Self; 2] = [Self::First, Self::Duties];

    /// The word in the outbox.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Duties => "duties",
        }
    }

    /// Whether there is one.
    pub fn is_posted(self, state: &IncidentState) -> bool {
        match self {
            Self::First => first(state).is_some(),
            Self::Duties => duties(state).next().is_some(),
        }
    }
}

/// What Slack calls the first message, once it is there.
pub fn first(state: &IncidentState) -> Option<&str> {
    let initiate = state.blueprints.iter().find(|run| run.blueprint == WorkflowType::Initiate.blueprint())?;
    posted(initiate, FIRST)
}

/// The runs that posted what a role is there for, and what Slack calls each message.
pub fn duties(state: &IncidentState) -> impl Iterator<Item = (&BlueprintState, &str)> {
    state.blueprints.iter().filter_map(|run| Some((run, posted(run, DUTIES)?)))
}

fn posted<'a>(run: &'a BlueprintState, step: &str) -> Option<&'a str> {
    let posted = run.steps.iter().find(|one| one.step == step && one.is(StepStatus::Succeeded))?;
    Some(posted.external_ref.as_str()).filter(|ts| !ts.is_empty())
}

/// Which message says something else after a record of this kind. That it is there counts, too: what happened while it was
/// posted may not be in it.
pub fn changed(kind: &Kind) -> Option<Kept> {
    if let Kind::StepSucceeded(step) = kind {
        let is_first = step.step == FIRST && step.blueprint == WorkflowType::Initiate.blueprint();
        let is_shown = step.links.iter().any(|link| link.name == LinkName::PagerdutyIncidentId.name());
        let changed = if step.step == DUTIES { Kept::Duties } else { Kept::First };
        return (is_first || is_shown || changed == Kept::Duties).then_some(changed);
    }
    if matches!(kind, Kind::DutyTicked(_)) {
        return Some(Kept::Duties);
    }
    matches!(
        kind,
        Kind::IncidentUpdated(_)
            | Kind::IncidentStatusChanged(_)
            | Kind::IncidentSeverityChanged(_)
            | Kind::IncidentResolved(_)
            | Kind::ResponderAssigned(_)
            | Kind::ResponderReleased(_)
            | Kind::RecordRedacted(_)
            | Kind::PhaseChanged(_)
            | Kind::ApprovalRequested(_)
            | Kind::ApprovalDecided(_)
            | Kind::ApprovalTimedOut(_)
            | Kind::ApprovalEscalated(_)
            | Kind::ApprovalCancelled(_)
            | Kind::ApprovalReplanned(_)
            | Kind::PostMortemPublished(_)
            | Kind::ChangeLinked(_)
            | Kind::UpdateOverdue(_)
            | Kind::IncidentPrivacyChanged(_)
            | Kind::IncidentEscalated(_)
    )
    .then_some(Kept::First)
}

/// A run of a blueprint that runs cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellRunner<'a> {
    /// The blueprint's own name.
    pub blueprint: &'a str,
    /// Its attempt.
    pub attempt: u32,
}

/// Whose cell a record starts or ends: the message that shows what this run's cells print says something else then.
pub fn run_of_cell(kind: &Kind) -> Option<CellRunner<'_>> {
    let (blueprint, attempt) = if let Kind::RunbookCellStarted(cell) = kind {
        (&cell.blueprint, cell.attempt)
    } else if let Kind::RunbookCellFinished(cell) = kind {
        (&cell.blueprint, cell.attempt)
    } else if let Kind::RunbookCellUnknown(cell) = kind {
        (&cell.blueprint, cell.attempt)
    } else {
        return None;
    };
    Some(CellRunner { blueprint, attempt })
}

#[cfg(test)]
mod tests {
    use harmony_protos::log::{
        DutyTicked, IncidentNoteAdded, IncidentSeverityChanged, Link, RunbookCellFinished,
        RunbookCellStarted, RunbookCellUnknown, StepState, StepSucceeded,
    };

    use super::*;

    fn state(status: &str, ts: &str) -> IncidentState {
        let step = |step: &str, ts: &str| StepState {
            step: step.to_owned(),
            status: status.to_owned(),
            external_ref: ts.to_owned(),
            ..StepState::default()
        };
        let run = |blueprint: &str, steps| BlueprintState {
            blueprint: blueprint.to_owned(),
            steps,
            ..BlueprintState::default()
        };
        IncidentState {
            blueprints: vec![
                run("act-7", vec![step(FIRST, "9.9")]),
                run("act-9", vec![step("announcement", "3.3"), step(DUTIES, "4.4")]),
                run("initiate", vec![step("channel", "C1"), step(FIRST, ts)]),
            ],
            ..IncidentState::default()
        }
    }

    #[test]
    fn messages_are_those_that_their_steps_posted() {
        assert_eq!(first(&state("SUCCEEDED", "1.2")), Some("1.2"));
        assert_eq!(first(&state("SUCCEEDED", "")), None);
        assert_eq!(first(&state("SKIPPED", "1.2")), None);
        assert_eq!(first(&IncidentState::default()), None);
        let state = state("SUCCEEDED", "1.2");
        let found: Vec<_> = duties(&state).map(|(run, ts)| (run.blueprint.as_str(), ts)).collect();
        assert_eq!(found, [("act-9", "4.4")]);
    }

    #[test]
    fn message_changes_with_what_it_shows_and_once_it_is_there() {
        let step = |blueprint: &str, step: &str, link: Option<LinkName>| {
            let named = |name: LinkName| Link { name: name.into(), ..Link::default() };
            Kind::StepSucceeded(StepSucceeded {
                blueprint: blueprint.to_owned(),
                step: step.to_owned(),
                links: link.map(named).into_iter().collect(),
                ..StepSucceeded::default()
            })
        };
        for (kind, expected) in [
            (step("initiate", FIRST, None), Some(Kept::First)),
            (step("initiate", "channel", None), None),
            (step("initiate", "paging", Some(LinkName::PagerdutyIncidentId)), Some(Kept::First)),
            (step("act-7", FIRST, None), None),
            (step("act-9", DUTIES, None), Some(Kept::Duties)),
            (Kind::DutyTicked(DutyTicked::default()), Some(Kept::Duties)),
            (Kind::IncidentSeverityChanged(IncidentSeverityChanged::default()), Some(Kept::First)),
            (Kind::IncidentNoteAdded(IncidentNoteAdded::default()), None),
        ] {
            assert_eq!(changed(&kind), expected, "{kind:?}");
        }
    }

    #[test]
    fn start_and_end_of_a_cell_name_its_run() {
        let blueprint = || "remediate".to_owned();
        let started =
            RunbookCellStarted { blueprint: blueprint(), attempt: 2, ..RunbookCellStarted::default() };
        let finished =
            RunbookCellFinished { blueprint: blueprint(), attempt: 2, ..RunbookCellFinished::default() };
        let unknown =
            RunbookCellUnknown { blueprint: blueprint(), attempt: 2, ..RunbookCellUnknown::default() };
        for kind in [
            Kind::RunbookCellStarted(started),
            Kind::RunbookCellFinished(finished),
            Kind::RunbookCellUnknown(unknown),
        ] {
            assert_eq!(run_of_cell(&kind), Some(CellRunner { blueprint: "remediate", attempt: 2 }));
            assert_eq!(changed(&kind), None);
        }
        assert_eq!(run_of_cell(&Kind::DutyTicked(DutyTicked::default())), None);
    }
}

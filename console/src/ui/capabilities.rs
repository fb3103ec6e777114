//! What Harmony does outside itself, and how that went lately: as the steps of incidents have it on record.

use std::collections::BTreeMap;

use askama::Template;
use harmony_incidents::{HasStatus, Right, StepStatus, log::IncidentState};

use super::{
    Page,
    form::encoded,
    html, insights,
    visit::{Frame, Visit},
};
use crate::views;

/// How the steps of one capability went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CapabilityFigure {
    succeeded: usize,
    failed: usize,
    skipped: usize,
    /// Of the incident declared last that it was used for: when, which, how it went, and why it failed.
    last_us: i64,
    last_incident: String,
    last_status: String,
    last_problem: String,
}

/// Every capability that was used or skipped for an incident declared at `since_us` or later, by its id.
pub(crate) fn count(all: &[IncidentState], since_us: i64) -> BTreeMap<String, CapabilityFigure> {
    let mut figures: BTreeMap<String, CapabilityFigure> = BTreeMap::new();
    for state in all.iter().filter(|state| state.created_at_us >= since_us) {
        for step in state.blueprints.iter().flat_map(|run| &run.steps) {
            let Some(status) = step.status() else { continue };
            if step.capability.is_empty() || status == StepStatus::Running {
                continue;
            }
            let figure = figures.entry(step.capability.clone()).or_default();
            match status {
                StepStatus::Succeeded => figure.succeeded += 1,
                StepStatus::Failed => figure.failed += 1,
                StepStatus::Skipped => figure.skipped += 1,
                StepStatus::Running => {}
            }
            if state.created_at_us >= figure.last_us {
                figure.last_us = state.created_at_us;
                figure.last_incident.clone_from(&state.incident);
                figure.last_status = String::from(status);
                figure.last_problem = views::text(step.error.as_ref());
            }
        }
    }
    figures
}

#[derive(Template)]
#[template(path = "capabilities.html")]
struct CapabilitiesPage {
    frame: Frame,
    rows: Vec<Row>,
    days: i64,
    /// Whether the incidents were counted already.
    counted: bool,
}

struct Row {
    id: &'static str,
    name: &'static str,
    description: &'static str,
    figure: Option<CapabilityFigure>,
    address: String,
}

/// `GET …/capabilities`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    let counted = insights::capabilities(&visit.app, &visit.caller.org).await?;
    let row = |one: &crate::Capability| {
        let figure = counted.as_ref().and_then(|all| all.get(one.id)).cloned();
        let last = figure.as_ref().map(|figure| encoded(&figure.last_incident)).unwrap_or_default();
        Row {
            id: one.id,
            name: one.name,
            description: one.description,
            address: format!("/orgs/{}/incidents/{last}", visit.caller.org),
            figure,
        }
    };
    let rows = visit.app.doors.capabilities.iter().map(row).collect();
    let frame = visit.frame("capabilities");
    html(&CapabilitiesPage { frame, rows, days: insights::CAPABILITY_DAYS, counted: counted.is_some() })
}

#[cfg(test)]
mod tests {
    use harmony_incidents::log::{BlueprintState, StepState, Text};

    use super::*;

    #[test]
    fn steps_are_counted_by_what_they_used_and_the_last_incident_is_told() {
        let step = |capability: &str, status: &str, error: &str| StepState {
            capability: capability.to_owned(),
            status: status.to_owned(),
            error: Text::optional(error),
            ..StepState::default()
        };
        let incident = |number: i64, steps: Vec<StepState>| IncidentState {
            incident: format!("INC-2026-000{number}"),
            created_at_us: number,
            blueprints: vec![BlueprintState { steps, ..BlueprintState::default() }],
            ..IncidentState::default()
        };
        let all = [
            incident(3, vec![step("slack", "FAILED", "channel_not_found"), step("", "SUCCEEDED", "")]),
            incident(2, vec![step("slack", "SUCCEEDED", ""), step("jira", "SKIPPED", "")]),
            incident(1, vec![step("slack", "SUCCEEDED", ""), step("old", "SUCCEEDED", "")]),
            incident(4, vec![step("slack", "RUNNING", "")]),
        ];
        let figures = count(&all, 2);
        assert_eq!(figures.keys().collect::<Vec<_>>(), ["jira", "slack"]);
        let slack = &figures["slack"];
        assert_eq!((slack.succeeded, slack.failed, slack.skipped), (1, 1, 0));
        assert_eq!((slack.last_incident.as_str(), slack.last_status.as_str()), ("INC-2026-0003", "FAILED"));
        assert_eq!(slack.last_problem, "channel_not_found");
        assert_eq!(figures["jira"].skipped, 1);
    }
}

//! The runbooks: what each has, when it last ran for an incident and how that ended, and which of them help.
//!
//! What was run is read off the incidents' gates: a remediation's names its runbook, and its run says how it ended.

use std::collections::BTreeMap;

use askama::Template;
use harmony_incidents::{GateStatus, HasStatus, Right, RunStatus, log::IncidentState, policy::GateKind};
use serde_json::{Value, json};

use super::{
    Page,
    form::encoded,
    html,
    insights::{self, Median},
    visit::{Frame, Visit},
    words,
};

/// What the action of a remediation's gate begins with.
const RUN: &str = "Run ";

/// How a runbook did, over all incidents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RunbookFigure {
    pub(crate) path: String,
    pub(crate) proposed: usize,
    /// Approved, and ended.
    pub(crate) ran: usize,
    pub(crate) succeeded: usize,
    /// From the approval to the first verification of its incident, where that came after this run and before another one.
    pub(crate) verified: Median,
    last_us: i64,
    last_incident: String,
    last_status: String,
}

impl RunbookFigure {
    /// As a program gets it.
    pub(crate) fn view(&self) -> Value {
        json!({
            "runbook": self.path,
            "proposed": self.proposed,
            "ran": self.ran,
            "succeeded": self.succeeded,
            "medianSecondsToVerified": self.verified.seconds(),
            "lastProposedAt": words::recorded(self.last_us),
            "lastIncident": self.last_incident,
            "lastStatus": self.last_status,
        })
    }

    /// In hundredths; `None` where nothing ran.
    pub(crate) fn percent(&self) -> Option<usize> {
        (self.succeeded * 100).checked_div(self.ran)
    }
}

/// Every runbook that was proposed, by its path. A private incident is left out: figures are for everybody.
pub(crate) fn count(all: &[IncidentState]) -> Vec<RunbookFigure> {
    let mut figures: BTreeMap<String, RunbookFigure> = BTreeMap::new();
    for state in all.iter().filter(|state| !state.private) {
        let verified_by = verified_by(state);
        let asked = state.gates.iter().filter(|gate| gate.kind == GateKind::Remediate.name());
        for gate in asked {
            let Some(path) = gate.action.strip_prefix(RUN) else { continue };
            let path = path.strip_prefix("runbooks/").unwrap_or(path);
            let run = state
                .blueprints
                .iter()
                .find(|run| run.workflow_id == gate.workflow_id && run.attempt == gate.attempt)
                .and_then(HasStatus::status);
            let figure = figures.entry(path.to_owned()).or_default();
            figure.path = path.to_owned();
            figure.proposed += 1;
            if gate.is(GateStatus::Approved) && run.is_none_or(|run| !run.is_open()) {
                figure.ran += 1;
                figure.succeeded += usize::from(run == Some(RunStatus::Completed));
            }
            if verified_by == Some(gate.gate_id.as_str()) {
                figure.verified.add(gate.decided_at_us, state.mitigated_at_us);
            }
            if gate.requested_at_us >= figure.last_us {
                figure.last_us = gate.requested_at_us;
                figure.last_incident.clone_from(&state.incident);
                figure.last_status = match run {
                    Some(run) => String::from(run),
                    None => gate.status.clone(),
                };
            }
        }
    }
    figures.into_values().collect()
}

/// The gate of the remediation after which an incident was first verified: the last that was approved before that.
fn verified_by(state: &IncidentState) -> Option<&str> {
    let approved = state.gates.iter().filter(|gate| {
        gate.kind == GateKind::Remediate.name()
            && gate.is(GateStatus::Approved)
            && (1..=state.mitigated_at_us).contains(&gate.decided_at_us)
    });
    approved.max_by_key(|gate| gate.decided_at_us).map(|gate| gate.gate_id.as_str())
}

#[derive(Template)]
#[template(path = "runbooks.html")]
struct RunbooksPage {
    frame: Frame,
    rows: Vec<Row>,
    /// Whether what ran was counted already.
    counted: bool,
}

struct Row {
    path: String,
    title: String,
    cells: usize,
    inputs: usize,
    /// Why it, or cells of it, cannot run.
    problems: Vec<String>,
    last: Option<Last>,
    ran: usize,
    succeeded: usize,
}

struct Last {
    at: String,
    ago: String,
    incident: String,
    address: String,
    status: String,
}

/// `GET …/runbooks`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    let counted = insights::runbooks(&visit.app, &visit.caller.org).await?;
    let figures: BTreeMap<&str, &RunbookFigure> =
        counted.iter().flatten().map(|figure| (figure.path.as_str(), figure)).collect();
    let catalog = &visit.app.doors.runbooks;
    let row = |path: String| {
        let figure = figures.get(path.as_str()).copied();
        let contents = catalog.text(&path).and_then(|text| catalog.contents(&text));
        let (contents, problems) = match contents {
            Ok(contents) => {
                let refused = contents.refused.clone();
                (contents, refused)
            }
            Err(problem) => (crate::Contents::default(), vec![problem]),
        };
        Row {
            title: contents.title,
            cells: contents.cells.len(),
            inputs: contents.inputs.len(),
            problems,
            last: figure.and_then(|figure| last(&visit, figure)),
            ran: figure.map_or(0, |figure| figure.ran),
            succeeded: figure.map_or(0, |figure| figure.succeeded),
            path,
        }
    };
    let rows = catalog.list().into_iter().map(row).collect();
    html(&RunbooksPage { frame: visit.frame("runbooks"), rows, counted: counted.is_some() })
}

fn last(visit: &Visit, figure: &RunbookFigure) -> Option<Last> {
    let at = words::recorded(figure.last_us)?;
    let seconds = visit.now.duration_since(at).as_secs();
    Some(Last {
        at: at.to_string(),
        ago: words::span(seconds),
        incident: figure.last_incident.clone(),
        address: format!("/orgs/{}/incidents/{}", visit.caller.org, encoded(&figure.last_incident)),
        status: figure.last_status.to_lowercase(),
    })
}

#[cfg(test)]
mod tests {
    use harmony_incidents::log::{BlueprintState, GateState};

    use super::*;

    fn gate(attempt: u32, status: &str, at_us: i64) -> GateState {
        GateState {
            kind: "remediate".to_owned(),
            action: "Run runbooks/a.md".to_owned(),
            workflow_id: "w".to_owned(),
            attempt,
            status: status.to_owned(),
            requested_at_us: at_us,
            ..GateState::default()
        }
    }

    fn run(attempt: u32, status: &str) -> BlueprintState {
        BlueprintState {
            workflow_id: "w".to_owned(),
            attempt,
            status: status.to_owned(),
            ..BlueprintState::default()
        }
    }

    #[test]
    fn what_was_approved_and_ended_ran_and_what_completed_succeeded() {
        let state = IncidentState {
            incident: "INC-2026-0001".to_owned(),
            gates: vec![
                gate(1, "approved", 1),
                gate(2, "rejected", 2),
                gate(3, "approved", 4),
                gate(4, "approved", 3),
            ],
            blueprints: vec![run(1, "COMPLETED"), run(2, "REJECTED"), run(3, "FAILED"), run(4, "RUNNING")],
            ..IncidentState::default()
        };
        let figures = count(std::slice::from_ref(&state));
        assert_eq!(figures.len(), 1);
        let figure = &figures[0];
        assert_eq!((figure.path.as_str(), figure.proposed, figure.ran, figure.succeeded), ("a.md", 4, 2, 1));
        assert_eq!((figure.last_us, figure.last_status.as_str(), figure.percent()), (4, "FAILED", Some(50)));
        assert_eq!(count(&[IncidentState { private: true, ..state }]), []);
    }

    #[test]
    fn time_to_verified_runs_from_the_approval_after_which_the_incident_was_first_verified() {
        const SECOND: i64 = 1_000_000;
        let decided = |id: &str, action: &str, status: &str, at_s: i64| GateState {
            gate_id: id.to_owned(),
            action: action.to_owned(),
            decided_at_us: at_s * SECOND,
            ..gate(1, status, 1)
        };
        let incident = |gates: Vec<GateState>, verified_s: i64| IncidentState {
            gates,
            mitigated_at_us: verified_s * SECOND,
            ..IncidentState::default()
        };
        let all = [
            // What was tried before, what was rejected, and what came later helped nobody.
            incident(
                vec![
                    decided("1", "Run a.md", "approved", 100),
                    decided("2", "Run b.md", "approved", 200),
                    decided("3", "Run c.md", "rejected", 250),
                    decided("4", "Run a.md", "approved", 900),
                ],
                260,
            ),
            incident(vec![decided("1", "Run b.md", "approved", 100)], 130),
            incident(vec![decided("1", "Run b.md", "approved", 100)], 190),
            incident(vec![decided("1", "Run b.md", "approved", 100)], 0),
            // An older fold did not keep when it was decided.
            incident(vec![decided("1", "Run b.md", "approved", 0)], 500),
        ];
        let medians: Vec<_> = count(&all).into_iter().map(|one| (one.path, one.verified.seconds())).collect();
        let expected = [("a.md", None), ("b.md", Some(60)), ("c.md", None)];
        assert_eq!(medians, expected.map(|(path, seconds)| (path.to_owned(), seconds)));
        assert_eq!(count(&all)[1].view()["medianSecondsToVerified"], 60);
    }
}

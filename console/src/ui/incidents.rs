//! The list of incidents: how bad, how old, and what waits for whom.

use askama::Template;
use harmony_eventlog::Place;
use harmony_incidents::{
    Right,
    log::{IncidentState, State},
    words as vocabulary,
};
use jiff::Timestamp;
use url::form_urlencoded;

use super::{
    Page, gate_card, html,
    visit::{Frame, Visit},
    words,
};
use crate::{
    incidents::{cursor, wanted},
    views,
};

/// Lines of one page.
const LINES: u32 = 50;

/// What a list says about an incident.
pub(crate) struct Line {
    pub(crate) id: String,
    /// Its last record.
    pub(crate) seq: u64,
    pub(crate) title: String,
    pub(crate) severity: &'static str,
    pub(crate) state: &'static str,
    pub(crate) state_class: &'static str,
    pub(crate) phase: &'static str,
    pub(crate) escalated: bool,
    pub(crate) service: String,
    pub(crate) age: String,
    pub(crate) since: String,
    /// Roles, deadline and time left of the gate that waits.
    pub(crate) waits: Option<(String, String, String)>,
    /// What the gate would do.
    pub(crate) action: String,
    pub(crate) commander: String,
}

impl Line {
    /// The line of an incident.
    pub(crate) fn of(state: &IncidentState, now: Timestamp) -> Self {
        let gate = gate_card::pending(state).into_iter().next();
        let commander = state.responders.iter().find(|one| one.role == "commander");
        Self {
            id: state.incident.clone(),
            seq: state.seq,
            title: views::text(state.title.as_ref()),
            severity: state.severity().as_str_name(),
            state: state.state().as_str_name(),
            state_class: words::state_class(state.state()),
            phase: vocabulary::phase_name(state.phase()),
            escalated: state.escalated,
            service: if state.service_name.is_empty() {
                state.impacted_services.join(", ")
            } else {
                state.service_name.clone()
            },
            age: words::age(state.created_at_us, now),
            since: words::recorded(state.created_at_us).map(|at| at.to_string()).unwrap_or_default(),
            waits: gate.map(|gate| gate_card::waits_for(gate, now)),
            action: gate.map(|gate| gate.action.clone()).unwrap_or_default(),
            commander: commander.map(|one| one.principal.clone()).unwrap_or_default(),
        }
    }
}

#[derive(Template)]
#[template(path = "incidents.html")]
struct IncidentsPage {
    frame: Frame,
    lines: Vec<Line>,
    states: Vec<Choice>,
    severities: Vec<Choice>,
    search: String,
    /// Address of the next page, empty on the last.
    next: String,
    filtered: bool,
}

/// A filter that can be chosen.
struct Choice {
    word: &'static str,
    chosen: bool,
}

/// `GET …/incidents`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    let mut filter = wanted(&visit.query, &["done"]).map_err(|error| visit.trouble(error))?;
    // One more than is shown tells whether there is a next page.
    filter.limit = LINES + 1;
    let mut found = visit.app.doors.log.list(&visit.caller.org, &filter).await?;
    let more = u32::try_from(found.len()).unwrap_or(u32::MAX) > LINES;
    found.truncate(usize::try_from(LINES).unwrap_or(usize::MAX));
    let chosen = |name: &str, word: &str| visit.query.all(name).any(|one| one.eq_ignore_ascii_case(word));
    let choices = |name: &str, words: &[&'static str]| {
        words.iter().map(|word| Choice { word, chosen: chosen(name, word) }).collect::<Vec<_>>()
    };
    let states: Vec<&'static str> = [
        State::Pending,
        State::Open,
        State::Mitigating,
        State::Resolved,
        State::Closed,
        State::Cancelled,
        State::Archived,
    ]
    .iter()
    .map(|state| state.as_str_name())
    .collect();
    let next = found.last().and_then(Place::of).filter(|_| more).map(|last| next_page(&visit, &last));
    let (states, severities) = (choices("state", &states), choices("severity", &["P1", "P2", "P3", "P4"]));
    let search = visit.query.one("searchQuery").unwrap_or_default().to_owned();
    html(&IncidentsPage {
        frame: visit.frame("incidents"),
        lines: found.iter().map(|state| Line::of(state, visit.now)).collect(),
        filtered: !search.is_empty() || states.iter().chain(&severities).any(|one| one.chosen),
        states,
        severities,
        search,
        next: next.unwrap_or_default(),
    })
}

fn next_page(visit: &Visit, last: &Place) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for name in ["state", "severity"] {
        for value in visit.query.all(name) {
            query.append_pair(name, value);
        }
    }
    for value in visit.query.each("searchQuery") {
        query.append_pair("searchQuery", value);
    }
    query.append_pair("cursor", &cursor(last));
    format!("?{}", query.finish())
}

//! The list of incidents: how bad, how old, and what waits for whom.

use askama::Template;
use harmony_eventlog::{Filter, Place};
use harmony_incidents::{
    Right, leading,
    log::{IncidentState, State},
};
use url::form_urlencoded;

use super::{
    Page, gate_card, html,
    visit::{Frame, Visit},
    words,
};
use crate::{
    cursor,
    error::ApiError,
    incidents::{every, wanted},
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
    pub(crate) escalated: bool,
    pub(crate) private: bool,
    pub(crate) drill: bool,
    /// Since when an update is due, in words; empty where none is.
    pub(crate) overdue: String,
    pub(crate) service: String,
    /// The service as a query has it; empty where only what is affected is known.
    pub(crate) service_query: String,
    /// Whether it is not resolved yet.
    pub(crate) is_active: bool,
    pub(crate) age: String,
    pub(crate) since: String,
    /// Roles, deadline and time left of the gate that waits.
    pub(crate) waits: Option<(String, String, String)>,
    /// What the gate would do.
    pub(crate) action: String,
    pub(crate) commander: String,
}

/// Since when an update is due, where one is.
fn overdue(state: &IncidentState, now: jiff::Timestamp) -> String {
    let due = leading::next_update_us(state).and_then(words::recorded).filter(|due| *due < now);
    due.map(|due| words::age(due.as_microsecond(), now)).unwrap_or_default()
}

impl Line {
    /// The line of an incident.
    pub(crate) fn of(visit: &Visit, state: &IncidentState) -> Self {
        let now = visit.now;
        let gate = gate_card::pending(state).into_iter().next();
        Self {
            id: state.incident.clone(),
            seq: state.seq,
            title: views::text(state.title.as_ref()),
            severity: state.severity().as_str_name(),
            state: state.state().as_str_name(),
            state_class: words::state_class(state.state()),
            escalated: state.escalated,
            private: state.private,
            drill: state.drill,
            overdue: overdue(state, now),
            service: if state.service_name.is_empty() {
                state.impacted_services.join(", ")
            } else {
                state.service_name.clone()
            },
            service_query: form_urlencoded::byte_serialize(state.service_name.as_bytes()).collect(),
            is_active: matches!(state.state(), State::Pending | State::Open | State::Mitigating),
            age: words::age(state.created_at_us, now),
            since: words::recorded(state.created_at_us).map(|at| at.to_string()).unwrap_or_default(),
            waits: gate.map(|gate| gate_card::waits_for(gate, now)),
            action: gate.map(|gate| gate.action.clone()).unwrap_or_default(),
            commander: visit.name(views::commander(state)),
        }
    }
}

#[derive(Template)]
#[template(path = "incidents.html")]
struct IncidentsPage {
    frame: Frame,
    lists: Vec<List>,
    views: Vec<View>,
    states: Vec<Choice>,
    severities: Vec<Choice>,
    search: String,
    service: String,
    sort: String,
    /// Address of the next page, empty on the last.
    next: String,
    filtered: bool,
}

/// Incidents below one heading.
struct List {
    label: &'static str,
    lines: Vec<Line>,
    /// How many there are, such as `12`, or `50+` where not all are shown.
    count: String,
    /// What is said where there is none.
    none: &'static str,
}

/// A filter that can be chosen.
struct Choice {
    word: &'static str,
    chosen: bool,
}

/// A question that the list answers.
struct View {
    name: &'static str,
    label: &'static str,
    chosen: bool,
}

const OPEN: [State; 3] = [State::Pending, State::Open, State::Mitigating];
const OVER: [State; 4] = [State::Resolved, State::Closed, State::Cancelled, State::Archived];
const VIEWS: [(&str, &str); 3] =
    [("", "Everything"), ("mine", "Mine"), ("unassigned", "Without a commander")];

/// `GET …/incidents`: those that are open first, unless a filter says what is wanted.
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    let filter = wanted(&visit.query, &["done", "view"]).map_err(|error| visit.trouble(error))?;
    let view = visit.query.one("view").unwrap_or_default();
    let view = VIEWS.iter().find(|(name, _)| *name == view).map_or("", |(name, _)| *name);
    let chosen = |name: &str, word: &str| visit.query.all(name).any(|one| one.eq_ignore_ascii_case(word));
    let choices = |name: &str, words: &[&'static str]| {
        words.iter().map(|word| Choice { word, chosen: chosen(name, word) }).collect::<Vec<_>>()
    };
    let states: Vec<&'static str> = OPEN.iter().chain(&OVER).map(|state| state.as_str_name()).collect();
    let (states, severities) = (choices("state", &states), choices("severity", &["P1", "P2", "P3", "P4"]));
    let given = |name: &str| visit.query.one(name).unwrap_or_default().to_owned();
    let (search, service) = (given("searchQuery"), given("serviceName"));
    let filtered =
        !search.is_empty() || !service.is_empty() || states.iter().chain(&severities).any(|one| one.chosen);
    let names_states = !filter.states.is_empty() || !filter.statuses.is_empty() || filter.after.is_some();
    let (lists, next) = match view {
        "" if names_states => {
            let (list, next) = listed(&visit, &filter, "Incidents", "No incident matches.").await?;
            (vec![list], next.map(|last| next_page(&visit, &[], &last)))
        }
        "" => {
            let of = |states: &[State]| Filter { states: names(states), ..filter.clone() };
            let (mut open, more_open) = listed(&visit, &of(&OPEN), "Open", "No incident is open.").await?;
            let (over, more_over) = listed(&visit, &of(&OVER), "Resolved and closed", "").await?;
            if over.lines.is_empty() {
                open.none = if filtered { "No incident matches." } else { "No incidents yet." };
            }
            let next = more_open
                .map(|last| next_page(&visit, &OPEN, &last))
                .or_else(|| more_over.map(|last| next_page(&visit, &OVER, &last)));
            let lists = if over.lines.is_empty() { vec![open] } else { vec![open, over] };
            (lists, next)
        }
        view => (vec![of_view(&visit, &filter, view).await?], None),
    };
    html(&IncidentsPage {
        frame: visit.frame("incidents"),
        lists,
        views: VIEWS.iter().map(|(name, label)| View { name, label, chosen: *name == view }).collect(),
        filtered,
        states,
        severities,
        search,
        service,
        sort: given("sort"),
        next: next.unwrap_or_default(),
    })
}

fn names(states: &[State]) -> Vec<String> {
    states.iter().map(|state| state.as_str_name().to_owned()).collect()
}

/// A page of what a filter lets through, and where it ended if there is more.
async fn listed(
    visit: &Visit,
    filter: &Filter,
    label: &'static str,
    none: &'static str,
) -> Result<(List, Option<Place>), ApiError> {
    // One more than is shown tells whether there is a next page.
    let filter = Filter { limit: LINES + 1, visible_to: visit.caller.sees_only(), ..filter.clone() };
    let mut found = visit.app.doors.log.list(&visit.caller.org, &filter).await?;
    let more = u32::try_from(found.len()).unwrap_or(u32::MAX) > LINES;
    found.truncate(usize::try_from(LINES).unwrap_or(usize::MAX));
    let count = if more { format!("{}+", found.len()) } else { found.len().to_string() };
    let last = found.last().and_then(Place::of).filter(|_| more);
    let lines = found.iter().map(|state| Line::of(visit, state)).collect();
    Ok((List { label, lines, count, none }, last))
}

/// What is open and the reader's own, or nobody's.
async fn of_view(visit: &Visit, filter: &Filter, view: &str) -> Result<List, ApiError> {
    let visible_to = visit.caller.sees_only();
    let filter = Filter { states: names(&OPEN), visible_to, ..filter.clone() };
    let found = every(&visit.app, &visit.caller.org, filter).await?;
    let reader = &visit.caller.principal.id;
    let is_wanted = |state: &&IncidentState| {
        if view == "mine" {
            state.declared_by == *reader || state.responders.iter().any(|one| one.principal == *reader)
        } else {
            views::commander(state).is_empty()
        }
    };
    let lines: Vec<Line> = found.iter().filter(is_wanted).map(|state| Line::of(visit, state)).collect();
    let (label, none) = match view {
        "mine" => {
            ("Open, and yours", "No open incident is yours: you declared none and have a role in none.")
        }
        _ => ("Open, without a commander", "Every open incident has a commander."),
    };
    Ok(List { label, count: lines.len().to_string(), lines, none })
}

fn next_page(visit: &Visit, states: &[State], last: &Place) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for name in ["state", "severity"] {
        for value in visit.query.all(name) {
            query.append_pair(name, value);
        }
    }
    for state in states {
        query.append_pair("state", state.as_str_name());
    }
    for name in ["searchQuery", "serviceName", "sort"] {
        for value in visit.query.each(name) {
            query.append_pair(name, value);
        }
    }
    query.append_pair("cursor", &cursor::of_incident(last));
    format!("?{}", query.finish())
}

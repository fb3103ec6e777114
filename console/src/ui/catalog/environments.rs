//! Environments: where each is, which policies it names, whether it is open now, and its week.

use askama::Template;
use harmony_catalog::windows::{EnvironmentPolicies, ReleaseAction, ReleaseQuestion};
use harmony_eventlog::{
    StreamState,
    catalog::{CatalogFilter, CatalogKind},
};
use harmony_incidents::{Right, log::EnvironmentState, visible};

use super::week::{self, MARGIN, ROW, WIDTH, Week};
use crate::ui::{
    Page, html,
    visit::{Frame, Visit},
    words,
};

/// Environments of one page.
const LINES: u32 = 50;

#[derive(Template)]
#[template(path = "catalog/environments.html")]
struct EnvironmentsPage {
    frame: Frame,
    cards: Vec<Card>,
    /// Why the policies cannot be read; empty where they can.
    problem: String,
    search: String,
    next: String,
    width: f64,
    margin: f64,
    row: f64,
}

/// One environment.
struct Card {
    id: String,
    name: String,
    production: bool,
    retired: bool,
    place: String,
    labels: String,
    verdicts: Vec<Verdict>,
    policies: Vec<Policy>,
    week: Week,
}

/// Whether it is open for something now.
struct Verdict {
    /// What for; empty where it is the same for everything.
    action: &'static str,
    open: bool,
    outcome: &'static str,
    reason: String,
    /// When it opens next, in UTC and as the reader's clock shows it.
    next_open: String,
    next_at: String,
}

struct Policy {
    reference: String,
    description: String,
    /// Whether a file has it.
    is_known: bool,
}

/// `GET …/environments`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    let known = ["searchQuery", "after", "done"];
    visit.query.only(&known).map_err(|error| visit.trouble(error))?;
    let search = visit.query.one("searchQuery").map(str::to_owned);
    let filter = CatalogFilter {
        kind: CatalogKind::Environment,
        ids: Vec::new(),
        search: search.clone(),
        running: false,
        retired: false,
        after: visit.query.one("after").map(str::to_owned),
        limit: LINES + 1,
    };
    let found = visit.app.doors.log.catalog(&visit.caller.org, &filter).await?;
    let mut states: Vec<EnvironmentState> = found.into_iter().filter_map(StreamState::environment).collect();
    let shown = usize::try_from(LINES).unwrap_or(usize::MAX);
    let more = states.len() > shown;
    states.truncate(shown);
    let next = states.last().filter(|_| more).map(|last| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if let Some(search) = &search {
            query.append_pair("searchQuery", search);
        }
        format!("?{}", query.append_pair("after", &last.id).finish())
    });
    // Policies that cannot be read open nothing, as for whoever releases.
    let (policies, problem) = match visit.app.doors.environment_policies.current() {
        Ok(policies) => (policies, String::new()),
        Err(problem) => (EnvironmentPolicies::default(), problem),
    };
    html(&EnvironmentsPage {
        cards: states.iter().map(|state| card(&visit, &policies, state)).collect(),
        problem: visible::line(&problem),
        frame: visit.frame("services"),
        search: search.unwrap_or_default(),
        next: next.unwrap_or_default(),
        width: WIDTH,
        margin: MARGIN,
        row: ROW,
    })
}

fn card(visit: &Visit, policies: &EnvironmentPolicies, state: &EnvironmentState) -> Card {
    let refs = &state.policy_refs;
    let judge = |action| {
        let verdict = policies.judge(ReleaseQuestion { refs, action, at: visit.now, rollback: None });
        Verdict {
            action: action.name(),
            open: verdict.open,
            outcome: verdict.outcome.name(),
            reason: visible::line(&verdict.reason),
            next_open: verdict.next_open.map(words::moment).unwrap_or_default(),
            next_at: verdict.next_open.map(|at| at.to_string()).unwrap_or_default(),
        }
    };
    let [deploy, promote] = ReleaseAction::ALL.map(judge);
    let same = deploy.open == promote.open && deploy.reason == promote.reason;
    let verdicts = if same { vec![Verdict { action: "", ..deploy }] } else { vec![deploy, promote] };
    let policy = |reference: &String| {
        let known = reference.parse().ok().and_then(|parsed| policies.get(&parsed));
        Policy {
            reference: visible::line(reference),
            description: known.map(|policy| visible::line(&policy.description)).unwrap_or_default(),
            is_known: known.is_some(),
        }
    };
    let place = [&state.region, &state.cluster].into_iter().filter(|text| !text.is_empty());
    let labels = state.labels.iter().map(|one| format!("{}={}", one.name, one.value));
    Card {
        id: state.id.clone(),
        name: visible::line(&state.name),
        production: state.production,
        retired: state.retired,
        place: visible::line(&place.cloned().collect::<Vec<_>>().join(" · ")),
        labels: visible::line(&labels.collect::<Vec<_>>().join(", ")),
        verdicts,
        policies: refs.iter().map(policy).collect(),
        week: week::of(policies, refs, visit.now),
    }
}

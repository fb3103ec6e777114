//! One incident: how it stands, what waits, what runs, what happened, and what its reader may do.
//!
//! `?at=N` shows it as it was after record N, folded again from the log, without any form.

use askama::Template;
use harmony_eventlog::history::state_at;
use harmony_incidents::{
    HasStatus, LinkName, Right, RunStatus,
    log::{BlueprintState, IncidentState, Phase, SignalState, State, TicketState},
    status,
    times::Moment,
    words as vocabulary,
};
use uuid::Uuid;

use super::{
    Page,
    catalog::changes::{self, ChangesPanel},
    form::encoded,
    gate_card::{self, GateCard},
    html,
    incidents::Line,
    leading::Leading,
    markdown::is_web,
    offers::{self, Offers},
    overview::{self, Overview},
    timeline::{self, LastUpdate, Timeline},
    visit::{Frame, Visit},
    words,
};
use crate::{Cell, InputField, approvals::releases_for, error::ApiError, views};

#[derive(Template)]
#[template(path = "incident.html")]
struct IncidentPage {
    frame: Frame,
    head: Line,
    summary: String,
    at: Option<At>,
    /// Whether it is not over and not resolved yet.
    is_active: bool,
    /// Who commands; empty where nobody does.
    commanders: String,
    declared_by: String,
    last_update: Option<LastUpdate>,
    /// Where an update goes to, in words.
    channel: String,
    public_title: String,
    phases: Vec<PhaseMark>,
    facts: Vec<(&'static str, String)>,
    times: Vec<(&'static str, String)>,
    links: Vec<Out>,
    responders: Vec<Responder>,
    tags: Vec<String>,
    tickets: Vec<Out>,
    signals: Vec<Seen>,
    gates: Vec<GateCard>,
    runs: Vec<RunCard>,
    overview: Overview,
    timeline: Timeline,
    changes: ChangesPanel,
    lead: Leading,
    offers: Offers,
    /// The address of this page without a query.
    address: String,
    /// Where its records come from as they are made.
    stream: String,
}

/// A look back.
struct At {
    seq: u64,
    last: u64,
    moment: String,
}

/// One phase on the way.
struct PhaseMark {
    name: &'static str,
    /// `done`, `now` or `ahead`.
    class: &'static str,
}

/// An address elsewhere.
struct Out {
    label: String,
    value: String,
    /// Empty where only a name is known.
    href: String,
}

/// Who has which part.
struct Responder {
    role: String,
    id: String,
    name: String,
}

/// A signal that was attached.
struct Seen {
    source: String,
    summary: String,
    /// Where and when, as far as it says.
    about: String,
}

/// A blueprint's last run.
struct RunCard {
    blueprint: String,
    attempt: u32,
    status: String,
    class: &'static str,
    starter: String,
    attested: bool,
    workflow_id: String,
    workflow_href: String,
    reason: String,
    steps: Vec<StepMark>,
}

struct StepMark {
    name: String,
    status: String,
    class: &'static str,
    capability: String,
    note: String,
}

/// `GET …/incidents/{id}`
pub(crate) async fn page(visit: Visit) -> Page {
    let (id, now) = visit.incident().await?;
    let last = now.seq;
    let number = |name: &str| -> Result<u64, ApiError> {
        let Some(text) = visit.query.one(name) else { return Ok(0) };
        text.parse().map_err(|_| ApiError::Invalid(format!("{name} {text:?}: the seq of a record")))
    };
    let at = number("at").map_err(|error| visit.trouble(error))?;
    let before = number("before").map_err(|error| visit.trouble(error))?;
    let then = if at == 0 || at >= last {
        None
    } else {
        state_at(visit.app.doors.log.as_ref(), &visit.caller.org, &id, at).await?
    };
    let state = then.map_or(now, |(state, _)| state);
    let looks_back = at != 0 && at < last;
    let org = &visit.caller.org;
    let shown = visit.query.one("show").unwrap_or_default();
    let mut timeline = timeline::read(&visit, &id, &state, before, shown).await?;
    let changes = changes::panel(&visit, &state).await?;
    let marks = changes.marks();
    let overview = overview::draw(&visit, &state, &marks).await?;
    timeline.mark(marks, before == 0 && !looks_back);
    let mut gates = Vec::new();
    for gate in gate_card::pending(&state) {
        let card = gate_card::named(&visit, &state, gate).await?;
        gates.push(if looks_back {
            GateCard {
                may_approve: false,
                may_reject: false,
                may_skip: false,
                may_escalate: false,
                may_break_glass: false,
                because: "you are looking at the past".to_owned(),
                // A countdown to a moment that is over by now says nothing of what was then.
                left: String::new(),
                ..card
            }
        } else {
            card
        });
    }
    if !looks_back {
        // A release that is meant to end it waits at a gate of its own.
        for (flow, gate) in releases_for(&visit.app, org, &state.incident).await? {
            gates.push(gate_card::named(&visit, &flow, &gate).await?);
        }
    }
    let offers = offers::offers(&visit, &state);
    if looks_back || !offers.remediate {
        timeline.without_proposals();
    }
    let address = format!("/orgs/{org}/incidents/{id}");
    let last_update = timeline::last_update(&visit, &id, &state).await?;
    html(&IncidentPage {
        is_active: matches!(state.state(), State::Pending | State::Open | State::Mitigating),
        commanders: commanders(&visit, &state),
        declared_by: visit.name(&state.declared_by),
        last_update,
        channel: channel(&state),
        public_title: public_title(&state),
        frame: visit.frame("incidents"),
        head: Line::of(&visit, &state),
        summary: views::text(state.summary.as_ref()),
        at: looks_back.then(|| At {
            seq: state.seq,
            last,
            moment: timeline.rows.first().map(|row| row.moment.clone()).unwrap_or_default(),
        }),
        phases: phases(&state),
        facts: facts(&visit, &state),
        times: times(&state, visit.now),
        links: links(&visit, &state),
        responders: state
            .responders
            .iter()
            .map(|one| Responder {
                role: one.role.clone(),
                id: one.principal.clone(),
                name: visit.name(&one.principal),
            })
            .collect(),
        tags: state.tags.clone(),
        tickets: tickets(&state),
        signals: signals(&state),
        gates,
        runs: runs(&visit, &state),
        overview,
        timeline,
        changes,
        lead: Leading::of(&visit, &state, visit.may(Right::Respond, Some(&state))).await?,
        offers,
        stream: if looks_back {
            String::new()
        } else {
            format!("/api/orgs/{org}/incidents/{id}/stream?after={last}")
        },
        address,
    })
}

fn phases(state: &IncidentState) -> Vec<PhaseMark> {
    const WAY: [Phase; 8] = [
        Phase::Created,
        Phase::Triaging,
        Phase::Remediating,
        Phase::Verifying,
        Phase::Verified,
        Phase::Resolved,
        Phase::PostMortem,
        Phase::Closed,
    ];
    if state.state() == State::Cancelled {
        return Vec::new();
    }
    let here = WAY.iter().position(|phase| *phase == state.phase()).unwrap_or_default();
    WAY.iter()
        .enumerate()
        .map(|(place, phase)| PhaseMark {
            name: vocabulary::phase_name(*phase),
            class: match place.cmp(&here) {
                std::cmp::Ordering::Less => "done",
                std::cmp::Ordering::Equal => "now",
                std::cmp::Ordering::Greater => "ahead",
            },
        })
        .collect()
}

fn commanders(visit: &Visit, state: &IncidentState) -> String {
    let commanders = state.responders.iter().filter(|one| one.role == "commander");
    commanders.map(|one| visit.name(&one.principal)).collect::<Vec<_>>().join(", ")
}

/// Where an update goes to.
fn channel(state: &IncidentState) -> String {
    match status::link(state, LinkName::SlackChannel) {
        Some(_) => format!("the channel {}", channel_name(state)),
        None => "the incident's channel".to_owned(),
    }
}

/// What its channel's name begins with; older records have the whole.
fn channel_name(state: &IncidentState) -> String {
    match status::link(state, LinkName::SlackChannelName) {
        Some(name) => format!("#{}", name.trim_start_matches('#')),
        None => format!("#{}…", state.incident.to_lowercase()),
    }
}

/// What the incident is called where the public reads.
fn public_title(state: &IncidentState) -> String {
    match views::text(state.public_title.as_ref()) {
        title if title.is_empty() && state.impacted_services.is_empty() => {
            "We are investigating an issue with our services".to_owned()
        }
        title if title.is_empty() => {
            format!("We are investigating an issue with {}", state.impacted_services.join(", "))
        }
        title => title,
    }
}

fn facts(visit: &Visit, state: &IncidentState) -> Vec<(&'static str, String)> {
    let resolution = state.resolution.as_ref().map(|one| {
        let by = visit.name(&one.resolved_by);
        format!("{}: {} ({by})", one.r#type().as_str_name(), views::text(one.summary.as_ref()))
    });
    [
        ("Declared by", visit.name(&state.declared_by)),
        ("Service", state.service_name.clone()),
        ("Affected", state.impacted_services.join(", ")),
        ("Environment", state.environment.clone()),
        ("Project", state.project_id.clone()),
        ("Detected by", state.detected_by.clone()),
        ("Public title", views::text(state.public_title.as_ref())),
        ("Components", state.public_components.join(", ")),
        ("Resolution", resolution.unwrap_or_default()),
        (
            "Signed off by",
            state.review.as_ref().map(|review| visit.name(&review.signed_off_by)).unwrap_or_default(),
        ),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

fn tickets(state: &IncidentState) -> Vec<Out> {
    let ticket = |one: &TicketState| Out {
        label: one.system.clone(),
        value: one.ticket.clone(),
        href: Some(&one.url).filter(|url| is_web(url)).cloned().unwrap_or_default(),
    };
    state.tickets.iter().map(ticket).collect()
}

fn signals(state: &IncidentState) -> Vec<Seen> {
    let signal = |one: &SignalState| {
        let at = words::recorded(one.at_us).map(|at| format!("{} UTC", words::moment(at)));
        let about = [one.service_name.clone(), one.environment.clone(), at.unwrap_or_default()];
        Seen {
            source: one.source.clone(),
            summary: views::text(one.summary.as_ref()),
            about: about.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · "),
        }
    };
    state.signals.iter().map(signal).collect()
}

fn times(state: &IncidentState, now: jiff::Timestamp) -> Vec<(&'static str, String)> {
    let since = |at: i64| match at {
        0 => "not recorded".to_owned(),
        at => words::span((at - state.created_at_us) / 1_000_000),
    };
    let created = words::recorded(state.created_at_us).map(words::moment).unwrap_or_default();
    vec![
        ("Declared", format!("{created} UTC, {} ago", words::age(state.created_at_us, now))),
        ("To acknowledge", since(Moment::Acknowledged.at_us(state))),
        ("To mitigate", since(Moment::Mitigated.at_us(state))),
        ("To resolve", since(Moment::Resolved.at_us(state))),
    ]
}

/// Links as the steps recorded them: each is the incident's own place at a vendor.
fn links(visit: &Visit, state: &IncidentState) -> Vec<Out> {
    // No label: shown beside another, or nowhere.
    let label_of = |name: LinkName| match name {
        LinkName::SlackChannel => "Slack",
        LinkName::SlackChannelName
        | LinkName::SlackChannelArchived
        | LinkName::SlackMessageTs
        | LinkName::ConfluencePageUrl
        | LinkName::ConfluenceSpaceKey => "",
        LinkName::PagerdutyIncidentId => "PagerDuty",
        LinkName::PagerdutyPageId => "Page for the approval",
        LinkName::PagerdutySeverityPageId => "Page for the incident",
        LinkName::StatuspageIncidentId => "Status page",
        LinkName::StatuspageStatus => "The public reads",
        LinkName::ConfluencePageId => "Review page",
    };
    let mut out = Vec::new();
    for link in &state.links {
        if !visit.caller.may_see(&link.name, state) {
            continue;
        }
        let name = link.name.parse::<LinkName>().ok();
        let label = name.map(label_of);
        // An address that stands beside its id is that id's link.
        if label == Some("") || link.name.ends_with("Url") {
            continue;
        }
        let beside = format!("{}Url", link.name.trim_end_matches("Id"));
        let address = [link.url.as_str()]
            .into_iter()
            .chain(state.links.iter().filter(|one| one.name == beside).map(|one| one.value.as_str()))
            .find(|address| is_web(address));
        let mut href = address.unwrap_or_default().to_owned();
        let mut value = link.value.clone();
        if name == Some(LinkName::SlackChannel) {
            href = format!("{}{}", visit.app.doors.site.slack_channels, encoded(&link.value));
            value = channel_name(state);
        }
        out.push(Out { label: label.map_or_else(|| link.name.clone(), str::to_owned), value, href });
    }
    out.extend(views::source_of(state).map(|(signal, href)| Out {
        label: "First seen".to_owned(),
        value: signal.source.clone(),
        href,
    }));
    out.extend(state.tickets.iter().filter(|ticket| is_web(&ticket.url)).map(|ticket| Out {
        label: ticket.system.clone(),
        value: ticket.ticket.clone(),
        href: ticket.url.clone(),
    }));
    out
}

fn runs(visit: &Visit, state: &IncidentState) -> Vec<RunCard> {
    const ORDER: [&str; 5] = ["post-mortem", "close-out", "remediate", "initiate", CLOCK];
    let place = |run: &&BlueprintState| ORDER.iter().position(|name| *name == run.blueprint).unwrap_or(0);
    let mut runs: Vec<&BlueprintState> = state.blueprints.iter().collect();
    runs.sort_by_key(place);
    // The clock runs as long as the incident does: no news.
    runs.sort_by_key(|run| !run.is(RunStatus::Running) || run.blueprint == CLOCK);
    runs.into_iter().map(|run| run_card(visit, run)).collect()
}

const CLOCK: &str = "updates";

/// A step as people read it: the clock's steps are named after the moment, too.
fn step_name(blueprint: &str, step: &str) -> String {
    let without = step.rsplit_once('/').filter(|_| blueprint == CLOCK).map_or(step, |(alarm, _)| alarm);
    without.trim_start_matches("tell/").to_owned()
}

fn run_card(visit: &Visit, run: &BlueprintState) -> RunCard {
    let site = visit.app.doors.site.temporal_ui.as_deref();
    let workflow_href = site.map(|base| {
        let namespace = encoded(&visit.app.doors.site.temporal_namespace);
        format!(
            "{}/namespaces/{namespace}/workflows/{}",
            base.trim_end_matches('/'),
            encoded(&run.workflow_id)
        )
    });
    RunCard {
        blueprint: run.blueprint.clone(),
        attempt: run.attempt,
        status: run.status.clone(),
        class: words::run_class(run.status()),
        starter: visit.name(&run.starter),
        attested: run.attested,
        workflow_id: run.workflow_id.clone(),
        workflow_href: workflow_href.unwrap_or_default(),
        reason: views::text(run.reason.as_ref()),
        steps: run
            .steps
            .iter()
            .map(|step| StepMark {
                name: step_name(&run.blueprint, &step.step),
                status: step.status.clone(),
                class: words::step_class(step.status()),
                capability: step.capability.clone(),
                note: match &step.error {
                    Some(error) => error.shown().to_owned(),
                    None => step.external_ref.clone(),
                },
            })
            .collect(),
    }
}

#[derive(Template)]
#[template(path = "remediate.html")]
struct RemediatePage {
    frame: Frame,
    head: Line,
    address: String,
    action: String,
    runbooks: Vec<(String, bool)>,
    chosen: Option<Chosen>,
    key: Uuid,
}

/// The runbook that was chosen.
#[derive(Default)]
struct Chosen {
    path: String,
    problem: String,
    inputs: Vec<InputField>,
    cells: Vec<Choice>,
    /// Why each cell that cannot run cannot.
    refused: Vec<String>,
    /// Whether a dry run would run any cell.
    runs_dry: bool,
    text: String,
}

struct Choice {
    cell: Cell,
    limits: String,
    /// By its name it checks rather than changes.
    checks: bool,
}

/// `GET …/incidents/{id}/remediate`: choose a runbook and its cells.
pub(crate) async fn remediate(visit: Visit) -> Page {
    let (id, state) = visit.incident().await?;
    visit.require(Right::Respond, Some(&state))?;
    visit.require(Right::OperationsExecute, Some(&state))?;
    let wanted = visit.query.one("runbook").unwrap_or_default();
    let runbooks = &visit.app.doors.runbooks;
    let known = runbooks.list();
    let chosen = (!wanted.is_empty()).then(|| choose(&visit, wanted));
    let address = format!("/orgs/{}/incidents/{id}", visit.caller.org);
    html(&RemediatePage {
        frame: visit.frame("incidents"),
        head: Line::of(&visit, &state),
        action: format!("{address}/do/remediate"),
        address,
        runbooks: known.into_iter().map(|path| (path.clone(), path == wanted)).collect(),
        chosen,
        key: Uuid::now_v7(),
    })
}

fn choose(visit: &Visit, path: &str) -> Chosen {
    let runbooks = &visit.app.doors.runbooks;
    let read = runbooks.text(path).and_then(|text| Ok((runbooks.contents(&text)?, text)));
    let path = path.to_owned();
    match read {
        Err(problem) => Chosen { path, problem, ..Chosen::default() },
        Ok((contents, text)) => Chosen {
            path,
            problem: String::new(),
            inputs: contents.inputs,
            cells: contents.cells.into_iter().map(choice).collect(),
            refused: contents.refused,
            runs_dry: contents.runs_dry,
            text,
        },
    }
}

fn choice(cell: Cell) -> Choice {
    let again = if cell.idempotent { "may run again" } else { "runs at most once" };
    let mut limits = match cell.timeout {
        _ if cell.manual => "a person does it and confirms".to_owned(),
        Some(time) => {
            format!("{again}, {} at most", words::span(i64::try_from(time.as_secs()).unwrap_or(i64::MAX)))
        }
        None => again.to_owned(),
    };
    if cell.approve {
        limits.push_str(", after an approval of its own");
    }
    let checks = ["check", "verify", "probe"].iter().any(|word| cell.name.contains(word));
    Choice { limits, checks, cell }
}

//! Figures over all incidents: how many, how bad, and how long it took, by severity and month.
//!
//! Counting looks at every incident, so nobody waits for it: figures are kept for a minute, and while they are older
//! they are shown and counted again beside. A page that comes before there are any says so and asks again.

mod figures;
mod plot;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use askama::Template;
use axum::{
    Json,
    http::header,
    response::{IntoResponse, Response},
};
use harmony_eventlog::{Filter, history};
use harmony_incidents::{OrgId, Right, log::IncidentState};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Value, json};
use tokio::sync::watch;
use url::form_urlencoded::Serializer;

pub(crate) use self::figures::Median;
use self::{
    figures::{FILTERS, Fact, Figure, Figures, SEVERITIES, Wanted},
    plot::{Plot, Subject},
};
use super::{
    Page,
    capabilities::{self, CapabilityFigure},
    delivery::{self, ServiceFigure},
    form::encoded,
    html,
    runbooks::{self, RunbookFigure},
    visit::{Frame, Visit},
    words,
};
use crate::{App, call::Call, error::ApiError, incidents::every, leading::instant, query::Query};

/// How long figures are taken as they are.
const FRESH: Duration = Duration::from_secs(60);
/// How long a page waits for figures that nobody counted yet.
const PATIENCE: Duration = Duration::from_millis(30);
/// Services in the table.
const SERVICES: usize = 25;
/// How far back the steps of a capability are counted.
pub(crate) const CAPABILITY_DAYS: i64 = 30;
/// Periods that are one click away, in days.
const PERIODS: [(&str, i64); 3] = [("30 days", 30), ("90 days", 90), ("12 months", 365)];

/// What was counted.
struct Facts {
    counted_at: Timestamp,
    incidents: Vec<Fact>,
    /// How changes go, service by service.
    services: Vec<ServiceFigure>,
    /// How runbooks did.
    runbooks: Vec<RunbookFigure>,
    /// How the steps of each capability went.
    capabilities: BTreeMap<String, CapabilityFigure>,
}

/// Figures that were counted, by organisation.
#[derive(Default)]
pub(crate) struct Counted(Mutex<HashMap<OrgId, Kept>>);

/// How a count ended: its figures, or `None` where it failed.
type Counting = Option<Arc<Facts>>;

#[derive(Default)]
struct Kept {
    /// When they were counted, and what came out.
    facts: Option<(Instant, Arc<Facts>)>,
    /// Somebody counts; those who wait for it hear how it ended.
    under_way: Option<watch::Receiver<Option<Counting>>>,
}

/// The figures, as fresh as they come without waiting; `None` where there are none within `patience`.
async fn facts(app: &App, org: &OrgId, patience: Duration) -> Result<Option<Arc<Facts>>, ApiError> {
    let mut counting = {
        let mut all = app.counted.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.entry(org.clone()).or_default();
        let is_fresh = kept.facts.as_ref().is_some_and(|(at, _)| at.elapsed() < FRESH);
        // One whose sender is gone counts no more.
        let is_counted = kept.under_way.as_ref().is_some_and(|one| one.has_changed().is_ok());
        if !is_fresh && !is_counted {
            let (tell, counting) = watch::channel(None);
            kept.under_way = Some(counting);
            let (app, org) = (app.clone(), org.clone());
            tokio::spawn(async move { tell.send_replace(Some(count(&app, &org).await)) });
        }
        match (&kept.facts, &kept.under_way) {
            (Some((_, facts)), _) => return Ok(Some(facts.clone())),
            (None, Some(counting)) => counting.clone(),
            (None, None) => return Ok(None),
        }
    };
    match tokio::time::timeout(patience, counting.wait_for(Option::is_some)).await {
        Ok(Ok(counted)) => match counted.clone().flatten() {
            Some(facts) => Ok(Some(facts)),
            None => Err(ApiError::Unavailable("the incidents could not be counted".to_owned())),
        },
        // Whoever counted is gone, and has told nobody.
        Ok(Err(_)) => Err(ApiError::Internal),
        Err(_) => Ok(None),
    }
}

async fn count(app: &App, org: &OrgId) -> Counting {
    let counted = counted(app, org).await.map(Arc::new);
    let mut all = app.counted.0.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = all.entry(org.clone()).or_default();
    kept.under_way = None;
    match counted {
        Ok(facts) => {
            kept.facts = Some((Instant::now(), facts.clone()));
            Some(facts)
        }
        Err(error) => {
            tracing::warn!(?error, "the incidents could not be counted");
            None
        }
    }
}

async fn counted(app: &App, org: &OrgId) -> Result<Facts, ApiError> {
    let all = every(app, org, told_to_all()).await?;
    let now = Timestamp::now();
    let services = delivery::count(app, org, &all, now).await?;
    Ok(Facts { services, ..of(&all, now) })
}

fn of(all: &[IncidentState], counted_at: Timestamp) -> Facts {
    let incidents = all.iter().filter_map(Fact::of).collect();
    let lately = counted_at.checked_sub(SignedDuration::from_hours(24 * CAPABILITY_DAYS)).unwrap_or_default();
    Facts {
        counted_at,
        incidents,
        services: Vec::new(),
        runbooks: runbooks::count(all),
        capabilities: capabilities::count(all, lately.as_microsecond()),
    }
}

/// What figures are made of: drills are practice, and private incidents are not for everybody who reads them.
fn told_to_all() -> Filter {
    Filter { visible_to: Some(String::new()), drill: Some(false), ..Filter::default() }
}

/// The figures as they were known at a time: what was declared, recorded or corrected after it is left out. Folds every
/// incident again, so it takes as long as there are records.
async fn known_at(app: &App, org: &OrgId, at: Timestamp) -> Result<Facts, ApiError> {
    let mut then = Vec::new();
    for state in every(app, org, told_to_all()).await? {
        let Ok(incident) = state.incident.parse() else { continue };
        if state.created_at_us <= at.as_microsecond() {
            then.extend(history::known_at(app.doors.log.as_ref(), org, &incident, at).await?);
        }
    }
    Ok(of(&then, at))
}

/// `GET …/insights` of the API: the figures, as they are or as they were known at a time (`asOf`), of all incidents or of
/// those that are asked for.
pub(crate) async fn api(call: Call) -> Result<Response, ApiError> {
    let [since, until, service, severity] = FILTERS;
    call.query.only(&["asOf", since, until, service, severity])?;
    call.caller.require(Right::Read, None)?;
    let wanted = Wanted::of(&call.query)?;
    let (app, org) = (&call.app, &call.caller.org);
    let body = match call.query.given("asOf") {
        None => view(&*counted_facts(app, org).await?, &wanted),
        Some(text) => view(&known_at(app, org, instant("asOf", text)?).await?, &wanted),
    };
    Ok(Json(body).into_response())
}

/// The figures of all incidents, for a program.
pub(crate) async fn metrics(app: &App, org: &OrgId) -> Result<Value, ApiError> {
    Ok(view(&*counted_facts(app, org).await?, &Wanted::default()))
}

/// What was counted; a program waits until it is.
async fn counted_facts(app: &App, org: &OrgId) -> Result<Arc<Facts>, ApiError> {
    facts(app, org, Duration::MAX).await?.ok_or(ApiError::Internal)
}

fn view(facts: &Facts, wanted: &Wanted) -> Value {
    let mut view = Figures::of(&facts.incidents, wanted).view();
    view["countedAt"] = json!(facts.counted_at);
    view["byRunbook"] = facts.runbooks.iter().map(RunbookFigure::view).collect();
    view["byService"] = facts.services.iter().map(ServiceFigure::view).collect();
    view
}

/// How the steps of each capability went; `None` where that is still being counted.
pub(crate) async fn capabilities(
    app: &App,
    org: &OrgId,
) -> Result<Option<BTreeMap<String, CapabilityFigure>>, ApiError> {
    Ok(facts(app, org, PATIENCE).await?.map(|facts| facts.capabilities.clone()))
}

/// How runbooks did; `None` where that is still being counted.
pub(crate) async fn runbooks(app: &App, org: &OrgId) -> Result<Option<Vec<RunbookFigure>>, ApiError> {
    Ok(facts(app, org, PATIENCE).await?.map(|facts| facts.runbooks.clone()))
}

#[derive(Template)]
#[template(path = "counting.html")]
struct CountingPage {
    frame: Frame,
}

#[derive(Template)]
#[template(path = "insights.html")]
struct InsightsPage {
    frame: Frame,
    counted: String,
    total: usize,
    open: usize,
    /// The periods that are one click away; no days are all of it.
    periods: Vec<Period>,
    since: String,
    until: String,
    /// Services to choose from.
    choices: Vec<String>,
    service: String,
    severity: &'static str,
    /// What a link adds to keep the filters.
    kept: String,
    rows: Vec<TableRow>,
    plots: Vec<Plot>,
    services: Vec<ServiceRow>,
    runbooks: Vec<RunbookFigure>,
    days: i64,
}

struct Period {
    label: &'static str,
    href: String,
    chosen: bool,
}

struct TableRow {
    severity: &'static str,
    count: usize,
    open: usize,
    /// How long it took, by what is named in the table's head.
    times: Vec<(&'static str, Spread)>,
    punctual: String,
    missed: usize,
}

/// A time as half of them, and as nine of ten, have it at most.
struct Spread {
    p50: String,
    /// Empty where nothing was recorded.
    p90: String,
}

impl Spread {
    fn of(time: &Median) -> Self {
        Self { p50: time.shown(), p90: time.p90().map(words::span).unwrap_or_default() }
    }
}

/// How the changes of a service go.
struct ServiceRow {
    name: String,
    address: String,
    releases: usize,
    failed: usize,
    percent: usize,
    recover: String,
}

/// `GET …/insights`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    let wanted = Wanted::of(&visit.query).map_err(|error| visit.trouble(error))?;
    let Some(facts) = facts(&visit.app, &visit.caller.org, PATIENCE).await? else {
        return html(&CountingPage { frame: visit.frame("insights") });
    };
    let figures = Figures::of(&facts.incidents, &wanted);
    let given = |name| visit.query.one(name).unwrap_or_default().to_owned();
    html(&InsightsPage {
        frame: visit.frame("insights"),
        counted: words::age(facts.counted_at.as_microsecond(), visit.now),
        total: figures.total,
        open: figures.open,
        periods: periods(&visit.query, visit.now),
        since: given("since"),
        until: given("until"),
        choices: figures::services(&facts.incidents),
        service: wanted.service.clone().unwrap_or_default(),
        severity: wanted.severity(),
        kept: with(&visit.query, &[]),
        rows: figures
            .rows
            .iter()
            .filter(|one| wanted.severity().is_empty() || one.severity == wanted.severity())
            .map(row)
            .collect(),
        plots: Subject::ALL.into_iter().map(|subject| Plot::of(subject, &figures)).collect(),
        runbooks: facts.runbooks.clone(),
        services: facts
            .services
            .iter()
            .take(SERVICES)
            .map(|one| ServiceRow {
                name: one.name.clone(),
                address: format!("/orgs/{}/services/{}", visit.caller.org, encoded(&one.id)),
                releases: one.releases,
                failed: one.failed,
                percent: one.failure_percent(),
                recover: one.recover.shown(),
            })
            .collect(),
        days: delivery::DAYS,
    })
}

fn row(figure: &Figure) -> TableRow {
    let percent = figure.punctual_percent();
    TableRow {
        severity: figure.severity,
        count: figure.count,
        open: figure.open,
        times: vec![
            ("To detect", Spread::of(&figure.detect)),
            ("To acknowledge", Spread::of(&figure.acknowledge)),
            ("To mitigate", Spread::of(&figure.mitigate)),
            ("To resolve", Spread::of(&figure.resolve)),
            ("To decide", Spread::of(&figure.decide)),
        ],
        punctual: percent.map_or_else(|| "none due".to_owned(), |one| format!("{one} %")),
        missed: figure.breaches,
    }
}

/// Links to the usual periods, the other filters kept.
fn periods(query: &Query, now: Timestamp) -> Vec<Period> {
    let since = query.one("since").unwrap_or_default();
    let has_end = query.one("until").is_some();
    let day = |days: i64| {
        let begins = now.checked_sub(SignedDuration::from_hours(24 * days)).unwrap_or(now);
        begins.to_zoned(TimeZone::UTC).date().to_string()
    };
    let usual = PERIODS.into_iter().map(|(label, days)| (label, day(days)));
    usual
        .chain([("All", String::new())])
        .map(|(label, begins)| Period {
            label,
            href: with(query, &[("since", begins.as_str()), ("until", "")]),
            chosen: since == begins && !has_end,
        })
        .collect()
}

/// The filters of a query as a query, with some put in their place.
fn with(query: &Query, others: &[(&str, &str)]) -> String {
    let mut text = Serializer::new(String::new());
    for name in FILTERS {
        let other = others.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let value = other.or_else(|| query.one(name)).unwrap_or_default();
        if !value.is_empty() {
            text.append_pair(name, value);
        }
    }
    text.finish()
}

/// `GET …/insights.csv`: what one plot shows, with the page's filters.
pub(crate) async fn csv(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    let subject = visit.query.one("figure").unwrap_or("incidents").parse::<Subject>();
    let subject = subject.map_err(|error| visit.trouble(ApiError::Invalid(format!("figure {error}"))))?;
    let wanted = Wanted::of(&visit.query).map_err(|error| visit.trouble(error))?;
    let facts = counted_facts(&visit.app, &visit.caller.org).await?;
    let text = subject.csv(&Figures::of(&facts.incidents, &wanted));
    let name = format!("attachment; filename=\"harmony-{}.csv\"", subject.name());
    let headers =
        [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, text).into_response())
}

//! Figures over all incidents: how many, how bad, and how long it took, by severity and month.
//!
//! Counting looks at every incident, so nobody waits for it: figures are kept for a minute, and while they are older
//! they are shown and counted again beside. A page that comes before there are any says so and asks again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use askama::Template;
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use harmony_eventlog::{Filter, history};
use harmony_incidents::{
    OrgId, Right,
    log::{IncidentState, State},
    times::Moment,
};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    Page,
    delivery::{self, ServiceFigure},
    form::encoded,
    html,
    runbooks::{self, RunbookFigure},
    visit::{Frame, Visit},
    words,
};
use crate::{App, call::Call, error::ApiError, incidents::every, leading::instant};

/// How long figures are taken as they are.
const FRESH: Duration = Duration::from_secs(60);
/// How long a page waits for figures that nobody counted yet.
const PATIENCE: Duration = Duration::from_millis(30);
/// Months that are plotted.
const MONTHS: usize = 12;
/// Services in the table.
const SERVICES: usize = 25;
const SEVERITIES: [&str; 4] = ["P1", "P2", "P3", "P4"];
/// The plot's own units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 180.0;

/// What was counted.
pub(crate) struct Figures {
    counted_at: Timestamp,
    total: usize,
    open: usize,
    /// One a severity.
    rows: Vec<Figure>,
    /// The last months that have something, oldest first; each with its rows by severity.
    months: Vec<(String, Vec<Figure>)>,
    /// How changes go, service by service.
    services: Vec<ServiceFigure>,
    /// How runbooks did.
    runbooks: Vec<RunbookFigure>,
}

/// Counts and times of some incidents.
#[derive(Clone, Default)]
struct Figure {
    severity: &'static str,
    count: usize,
    open: usize,
    detect: Median,
    acknowledge: Median,
    mitigate: Median,
    resolve: Median,
    /// How often people were told how it goes on, and how often they should have been and were not.
    updates: u32,
    updates_overdue: u32,
    /// How many objectives for the response were missed.
    breaches: usize,
}

impl Figure {
    /// How many of the updates that were due came in time, in percent; nothing where none was due.
    fn punctual_percent(&self) -> Option<u32> {
        let due = self.updates + self.updates_overdue;
        (due > 0).then(|| self.updates * 100 / due)
    }
}

/// Seconds, collected and then summed up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Median(Vec<i64>);

impl Median {
    pub(crate) fn add(&mut self, from_us: i64, to_us: i64) {
        if from_us != 0 && to_us != 0 {
            self.0.push((to_us - from_us) / 1_000_000);
        }
    }

    pub(crate) fn seconds(&self) -> Option<i64> {
        let mut all = self.0.clone();
        all.sort_unstable();
        all.get(all.len() / 2).copied()
    }

    pub(crate) fn shown(&self) -> String {
        self.seconds().map_or_else(|| "not recorded".to_owned(), words::span)
    }
}

/// Figures that were counted, by organisation.
#[derive(Default)]
pub(crate) struct Counted(Mutex<HashMap<OrgId, Kept>>);

/// How a count ended: its figures, or `None` where it failed.
type Counting = Option<Arc<Figures>>;

#[derive(Default)]
struct Kept {
    /// When they were counted, and what came out.
    figures: Option<(Instant, Arc<Figures>)>,
    /// Somebody counts; those who wait for it hear how it ended.
    under_way: Option<watch::Receiver<Option<Counting>>>,
}

/// The figures, as fresh as they come without waiting; `None` where there are none within `patience`.
async fn figures(app: &App, org: &OrgId, patience: Duration) -> Result<Option<Arc<Figures>>, ApiError> {
    let mut counting = {
        let mut all = app.counted.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.entry(org.clone()).or_default();
        let is_fresh = kept.figures.as_ref().is_some_and(|(at, _)| at.elapsed() < FRESH);
        // One whose sender is gone counts no more.
        let is_counted = kept.under_way.as_ref().is_some_and(|one| one.has_changed().is_ok());
        if !is_fresh && !is_counted {
            let (tell, counting) = watch::channel(None);
            kept.under_way = Some(counting);
            let (app, org) = (app.clone(), org.clone());
            tokio::spawn(async move { tell.send_replace(Some(count(&app, &org).await)) });
        }
        match (&kept.figures, &kept.under_way) {
            (Some((_, figures)), _) => return Ok(Some(figures.clone())),
            (None, Some(counting)) => counting.clone(),
            (None, None) => return Ok(None),
        }
    };
    match tokio::time::timeout(patience, counting.wait_for(Option::is_some)).await {
        Ok(Ok(counted)) => match counted.clone().flatten() {
            Some(figures) => Ok(Some(figures)),
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
        Ok(figures) => {
            kept.figures = Some((Instant::now(), figures.clone()));
            Some(figures)
        }
        Err(error) => {
            tracing::warn!(?error, "the incidents could not be counted");
            None
        }
    }
}

async fn counted(app: &App, org: &OrgId) -> Result<Figures, ApiError> {
    let all = every(app, org, told_to_all()).await?;
    let now = Timestamp::now();
    let services = delivery::count(app, org, &all, now).await?;
    Ok(Figures { services, ..sum(&all, now) })
}

/// What figures are made of: drills are practice, and private incidents are not for everybody who reads them.
fn told_to_all() -> Filter {
    Filter { visible_to: Some(String::new()), drill: Some(false), ..Filter::default() }
}

/// The figures as they were known at a time: what was declared, recorded or corrected after it is left out. Folds every
/// incident again, so it takes as long as there are records.
async fn known_at(app: &App, org: &OrgId, at: Timestamp) -> Result<Figures, ApiError> {
    let mut then = Vec::new();
    for state in every(app, org, told_to_all()).await? {
        let Ok(incident) = state.incident.parse() else { continue };
        if state.created_at_us <= at.as_microsecond() {
            then.extend(history::known_at(app.doors.log.as_ref(), org, &incident, at).await?);
        }
    }
    Ok(sum(&then, at))
}

/// `GET …/insights` of the API: the figures, as they are or as they were known at a time (`asOf`).
pub(crate) async fn api(call: Call) -> Result<Response, ApiError> {
    call.query.only(&["asOf"])?;
    call.caller.require(Right::Read, None)?;
    let (app, org) = (&call.app, &call.caller.org);
    let body = match call.query.one("asOf") {
        None => metrics(app, org).await?,
        Some(text) => view(&known_at(app, org, instant("asOf", text)?).await?),
    };
    Ok(Json(body).into_response())
}

/// The same figures for a program.
pub(crate) async fn metrics(app: &App, org: &OrgId) -> Result<Value, ApiError> {
    // A program waits until they are counted.
    let figures = figures(app, org, Duration::MAX).await?.ok_or(ApiError::Internal)?;
    Ok(view(&figures))
}

fn view(figures: &Figures) -> Value {
    let rows = |rows: &[Figure]| {
        rows.iter()
            .map(|one| {
                json!({
                    "severity": one.severity,
                    "incidents": one.count,
                    "open": one.open,
                    "medianSecondsToDetect": one.detect.seconds(),
                    "updates": one.updates,
                    "updatesOverdue": one.updates_overdue,
                    "objectivesMissed": one.breaches,
                    "medianSecondsToAcknowledge": one.acknowledge.seconds(),
                    "medianSecondsToMitigate": one.mitigate.seconds(),
                    "medianSecondsToResolve": one.resolve.seconds(),
                })
            })
            .collect::<Vec<_>>()
    };
    let months: Vec<Value> =
        figures.months.iter().map(|(month, of)| json!({ "month": month, "bySeverity": rows(of) })).collect();
    json!({
        "incidents": figures.total,
        "open": figures.open,
        "countedAt": figures.counted_at,
        "bySeverity": rows(&figures.rows),
        "months": months,
        "byRunbook": figures.runbooks.iter().map(RunbookFigure::view).collect::<Vec<_>>(),
        "byService": figures.services.iter().map(ServiceFigure::view).collect::<Vec<_>>(),
    })
}

fn sum(all: &[IncidentState], counted_at: Timestamp) -> Figures {
    let empty = || SEVERITIES.map(|severity| Figure { severity, ..Figure::default() }).to_vec();
    let mut rows = empty();
    let mut months: BTreeMap<String, Vec<Figure>> = BTreeMap::new();
    for state in all {
        let Some(place) = SEVERITIES.iter().position(|word| *word == state.severity().as_str_name()) else {
            continue;
        };
        let created = words::recorded(state.created_at_us).unwrap_or_default();
        let month = created.to_zoned(TimeZone::UTC).strftime("%Y-%m").to_string();
        let of_month = months.entry(month).or_insert_with(empty);
        for figure in [&mut rows[place], &mut of_month[place]] {
            figure.count += 1;
            figure.open += usize::from(is_open(state));
            let moment = |moment: Moment| moment.at_us(state);
            figure.detect.add(moment(Moment::ImpactStarted), moment(Moment::Detected));
            figure.acknowledge.add(state.created_at_us, moment(Moment::Acknowledged));
            figure.mitigate.add(state.created_at_us, moment(Moment::Mitigated));
            figure.resolve.add(state.created_at_us, moment(Moment::Resolved));
            figure.updates += state.updates;
            figure.updates_overdue += state.updates_overdue;
            figure.breaches += state.breaches.len();
        }
    }
    let skip = months.len().saturating_sub(MONTHS);
    Figures {
        counted_at,
        total: all.len(),
        open: all.iter().filter(|state| is_open(state)).count(),
        rows,
        months: months.into_iter().skip(skip).collect(),
        services: Vec::new(),
        runbooks: runbooks::count(all),
    }
}

/// How runbooks did; `None` where that is still being counted.
pub(crate) async fn runbooks(app: &App, org: &OrgId) -> Result<Option<Vec<RunbookFigure>>, ApiError> {
    Ok(figures(app, org, PATIENCE).await?.map(|figures| figures.runbooks.clone()))
}

fn is_open(state: &IncidentState) -> bool {
    matches!(state.state(), State::Pending | State::Open | State::Mitigating)
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
    rows: Vec<TableRow>,
    counts: Plot,
    times: Vec<(&'static str, Plot)>,
    services: Vec<ServiceRow>,
    runbooks: Vec<RunbookFigure>,
    days: i64,
    width: f64,
    height: f64,
}

struct TableRow {
    severity: &'static str,
    count: usize,
    open: usize,
    detect: String,
    acknowledge: String,
    mitigate: String,
    resolve: String,
    punctual: String,
    missed: usize,
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

/// Bars in the plot's own units.
struct Plot {
    bars: Vec<Bar>,
    labels: Vec<Label>,
    most: String,
}

struct Bar {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    severity: &'static str,
    title: String,
}

struct Label {
    x: f64,
    text: String,
}

/// `GET …/insights`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    let Some(figures) = figures(&visit.app, &visit.caller.org, PATIENCE).await? else {
        return html(&CountingPage { frame: visit.frame("insights") });
    };
    let time = |name, of: fn(&Figure) -> &Median| (name, times(&figures, of));
    html(&InsightsPage {
        frame: visit.frame("insights"),
        counted: words::age(figures.counted_at.as_microsecond(), visit.now),
        total: figures.total,
        open: figures.open,
        rows: figures
            .rows
            .iter()
            .map(|one| TableRow {
                severity: one.severity,
                count: one.count,
                open: one.open,
                detect: one.detect.shown(),
                acknowledge: one.acknowledge.shown(),
                mitigate: one.mitigate.shown(),
                resolve: one.resolve.shown(),
                punctual: one
                    .punctual_percent()
                    .map_or_else(|| "none due".to_owned(), |one| format!("{one} %")),
                missed: one.breaches,
            })
            .collect(),
        runbooks: figures.runbooks.clone(),
        counts: counts(&figures),
        times: vec![
            time("Median time to acknowledge", |one| &one.acknowledge),
            time("Median time to mitigate", |one| &one.mitigate),
            time("Median time to resolve", |one| &one.resolve),
        ],
        services: figures
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
        width: WIDTH,
        height: HEIGHT,
    })
}

/// One stacked bar a month.
fn counts(figures: &Figures) -> Plot {
    let sums = figures.months.iter().map(|(_, rows)| rows.iter().map(|one| one.count).sum::<usize>());
    let most = sums.max().unwrap_or_default();
    let slot = WIDTH / figures.months.len().max(1) as f64;
    let width = (slot * 0.6).min(64.0);
    let mut bars = Vec::new();
    for (place, (month, rows)) in figures.months.iter().enumerate() {
        let mut top = HEIGHT;
        for one in rows.iter().filter(|one| one.count > 0) {
            let height = one.count as f64 / most.max(1) as f64 * HEIGHT;
            top -= height;
            bars.push(Bar {
                x: rounded((place as f64 + 0.5) * slot - width / 2.0),
                y: rounded(top),
                width: rounded(width),
                height: rounded(height),
                severity: one.severity,
                title: format!("{month} {}: {}", one.severity, one.count),
            });
        }
    }
    Plot { bars, labels: labels(figures, slot), most: most.to_string() }
}

/// One bar a severity and month.
fn times(figures: &Figures, of: fn(&Figure) -> &Median) -> Plot {
    let all = figures.months.iter().flat_map(|(_, rows)| rows.iter().filter_map(|one| of(one).seconds()));
    let most = all.max().unwrap_or_default();
    let slot = WIDTH / figures.months.len().max(1) as f64;
    let width = (slot * 0.18).min(20.0);
    let mut bars = Vec::new();
    for (place, (month, rows)) in figures.months.iter().enumerate() {
        for (row, one) in rows.iter().enumerate() {
            let Some(seconds) = of(one).seconds() else { continue };
            // A time of next to nothing is still there to be seen.
            let height = (seconds as f64 / most.max(1) as f64 * HEIGHT).max(2.0);
            bars.push(Bar {
                x: rounded((place as f64 + 0.5) * slot + (row as f64 - 2.0) * (width + 1.0)),
                y: rounded(HEIGHT - height),
                width: rounded(width),
                height: rounded(height),
                severity: one.severity,
                title: format!("{month} {}: {}", one.severity, words::span(seconds)),
            });
        }
    }
    Plot { bars, labels: labels(figures, slot), most: words::span(most) }
}

fn labels(figures: &Figures, slot: f64) -> Vec<Label> {
    let label = |(place, (month, _)): (usize, &(String, Vec<Figure>))| Label {
        x: rounded((place as f64 + 0.5) * slot),
        text: month.clone(),
    };
    figures.months.iter().enumerate().map(label).collect()
}

fn rounded(units: f64) -> f64 {
    (units * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(severity: i32, created_s: i64, acknowledged_s: i64) -> IncidentState {
        IncidentState {
            severity,
            created_at_us: created_s * 1_000_000,
            acknowledged_at_us: acknowledged_s * 1_000_000,
            state: State::Open.into(),
            ..IncidentState::default()
        }
    }

    #[test]
    fn what_was_not_recorded_is_not_counted_as_nothing() {
        let day = 86_400;
        let all = [
            incident(1, day, day + 60),
            incident(1, day, day + 600),
            incident(1, 40 * day, 0),
            incident(2, 40 * day, 0),
        ];
        let figures = sum(&all, Timestamp::UNIX_EPOCH);
        assert_eq!((figures.total, figures.open), (4, 4));
        assert_eq!(figures.rows[0].count, 3);
        assert_eq!(figures.rows[0].acknowledge.shown(), "10 min");
        assert_eq!(figures.rows[1].acknowledge.shown(), "not recorded");
        let months: Vec<&str> = figures.months.iter().map(|(month, _)| month.as_str()).collect();
        assert_eq!(months, ["1970-01", "1970-02"]);
        let plot = counts(&figures);
        assert_eq!(plot.bars.len(), 3);
        assert!(plot.bars.iter().all(|bar| bar.y >= 0.0 && bar.y + bar.height <= HEIGHT + 0.1));
    }
}

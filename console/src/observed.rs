//! What the console tells about itself: one span and one count a request, and the gauges of the log.

use std::time::{Duration, Instant};

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
    middleware::Next,
    response::Response,
};
use harmony_eventlog::{EventLog, Filter, LogError};
use harmony_incidents::{GateStatus, HasStatus, OrgId, RuleSet, machine};
use harmony_telemetry::{
    self as telemetry, FutureExt, Parent, Span, SpanKind,
    metrics::{self, Standing},
};
use jiff::Timestamp;

/// Open incidents of an organisation that are looked at for waiting gates.
const LOOKED_AT: u32 = 1_000;

/// A span and a count of every request, by its route's pattern: paths hold ids, and queries may hold anything.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let known = known_method(request.method());
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    let parent =
        request.headers().get("traceparent").and_then(|header| header.to_str().ok()).and_then(Parent::parse);
    // The conventions' words for a method that they do not know.
    let name = match &route {
        Some(route) => format!("{} {route}", known.unwrap_or("HTTP")),
        None => known.unwrap_or("HTTP").to_owned(),
    };
    let mut span = Span::new(name, SpanKind::Server).with("http.request.method", known.unwrap_or("_OTHER"));
    if let Some(route) = &route {
        span = span.with("http.route", route.clone());
    }
    if let Some(parent) = parent {
        span = span.within(parent.trace, Some(parent.span));
    }
    let context = span.start();
    let began = Instant::now();
    let response = next.run(request).with_context(context.clone()).await;
    let status = response.status();
    telemetry::add(&context, "http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        telemetry::failed(&context, "the server failed");
    }
    let route = route.as_deref().unwrap_or("none");
    metrics::answered(known.unwrap_or("OTHER"), route, status.as_u16(), began.elapsed().as_secs_f64());
    response
}

/// The methods that there are. Any other is one label, since whoever connects may make up as many as they like.
fn known_method(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

/// What waits: gates of every organisation that somebody has a role in, and the outbox.
pub(crate) async fn standing(log: &dyn EventLog, rules: &RuleSet) -> Result<Standing, LogError> {
    let mut gates: Vec<(String, i64)> = ["P1", "P2", "P3", "P4"].map(|word| (word.to_owned(), 0)).into();
    let mut nearest: Option<i64> = None;
    for org in organisations(rules) {
        let states = machine::live_words();
        let filter = Filter { states, limit: LOOKED_AT, ..Filter::default() };
        for state in log.list(&org, &filter).await? {
            for gate in state.gates.iter().filter(|gate| gate.is(GateStatus::Pending)) {
                let word = state.severity().as_str_name();
                if let Some((_, count)) = gates.iter_mut().find(|(known, _)| known == word) {
                    *count += 1;
                }
                nearest = Some(nearest.map_or(gate.due_us, |known| known.min(gate.due_us)));
            }
        }
    }
    let (items, oldest) = log.backlog().await?;
    let now = Timestamp::now().as_microsecond();
    let seconds = |due: i64| {
        let left = Duration::from_micros(due.abs_diff(now)).as_secs_f64();
        if due < now { -left } else { left }
    };
    Ok(Standing {
        gates,
        nearest_deadline_seconds: nearest.map(seconds),
        outbox_items: items,
        outbox_oldest_seconds: oldest.as_secs_f64(),
    })
}

fn organisations(rules: &RuleSet) -> Vec<OrgId> {
    let mut orgs: Vec<OrgId> =
        rules.directory.principals().iter().flat_map(|one| one.roles.keys()).cloned().collect();
    orgs.push(OrgId::default());
    orgs.sort();
    orgs.dedup();
    orgs
}

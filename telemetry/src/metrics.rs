//! What Harmony counts. One place names every metric, so that dashboards and rules can be held against it.
//!
//! Counters are this process's own and start at zero with it. Gauges about the log are set when somebody asks.

use std::sync::LazyLock;

use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder, core::Collector,
};

/// Content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

/// Registered under its name. A name that is taken twice is a mistake in this file, which a test finds.
fn registered<T: Collector + Clone + 'static>(metric: Result<T, prometheus::Error>) -> Option<T> {
    let metric = metric.ok()?;
    REGISTRY.register(Box::new(metric.clone())).ok()?;
    Some(metric)
}

macro_rules! metric {
    ($name:ident: $type:ty = $wire:literal, $help:literal $(, $labels:expr)?) => {
        static $name: LazyLock<Option<$type>> =
            LazyLock::new(|| registered(<$type>::with_opts(Opts::new($wire, $help)$(, $labels)?)));
    };
    (vec $name:ident: $type:ty = $wire:literal, $help:literal, $labels:expr) => {
        static $name: LazyLock<Option<$type>> =
            LazyLock::new(|| registered(<$type>::new(Opts::new($wire, $help), &$labels)));
    };
}

metric!(vec APPENDS: IntCounterVec = "harmony_log_appends_total",
    "Commands that this process asked the log to append, by what came of them", ["outcome"]);
metric!(vec STEP_FAILURES: IntCounterVec = "harmony_step_failures_total",
    "Steps that were given up, by capability", ["capability"]);
metric!(EXHAUSTED: IntCounter = "harmony_escalations_exhausted_total",
    "Gates that nobody decided at any level");
metric!(VERIFICATION_FAILURES: IntCounter = "harmony_log_verification_failures_total",
    "Verifications of the log that found something wrong");
metric!(vec GATES: IntGaugeVec = "harmony_gates_waiting",
    "Gates that wait for a decision, by the incident's severity", ["severity"]);
metric!(NEAREST: Gauge = "harmony_gate_nearest_deadline_seconds",
    "Seconds until the first waiting gate's level is over; +Inf where none waits");
metric!(OUTBOX: IntGauge = "harmony_outbox_items", "Items of the outbox that wait");
metric!(OUTBOX_LAG: Gauge = "harmony_outbox_oldest_seconds", "How long the oldest item of the outbox has waited");
metric!(vec READY: IntGaugeVec = "harmony_ready",
    "Whether what this process needs answers, by part", ["part"]);
metric!(vec BUILD: GaugeVec = "harmony_build_info", "1, labelled with the version that runs", ["version"]);
metric!(vec REQUESTS: IntCounterVec = "harmony_http_requests_total",
    "HTTP requests that were answered", ["method", "route", "status"]);

metric!(vec WEBHOOKS_REFUSED: IntCounterVec = "harmony_webhooks_refused_total",
    "Webhooks that were refused, by sender and status", ["source", "status"]);

static DURATIONS: LazyLock<Option<HistogramVec>> = LazyLock::new(|| {
    let options = HistogramOpts::new(
        "harmony_http_request_duration_seconds",
        "How long HTTP requests took to answer, streams left out",
    );
    registered(HistogramVec::new(options, &["method", "route"]))
});

/// A command was put to the log: `recorded`, `repeated`, `refused` or `failed`.
pub fn appended(outcome: &'static str) {
    if let Some(appends) = &*APPENDS {
        appends.with_label_values(&[outcome]).inc();
    }
}

/// A step was given up.
pub fn step_failed(capability: &str) {
    if let Some(failures) = &*STEP_FAILURES {
        failures.with_label_values(&[capability]).inc();
    }
}

/// A process has steps of this capability: a counter that is there from the start shows its first failures as an
/// increase.
pub fn has_steps_of(capability: &str) {
    if let Some(failures) = &*STEP_FAILURES {
        failures.with_label_values(&[capability]);
    }
}

/// A webhook of this sender was refused.
pub fn webhook_refused(source: &str, status: u16) {
    if let Some(refused) = &*WEBHOOKS_REFUSED {
        refused.with_label_values(&[source, &status.to_string()]).inc();
    }
}

/// Nobody decided a gate at any level.
pub fn escalation_exhausted() {
    if let Some(exhausted) = &*EXHAUSTED {
        exhausted.inc();
    }
}

/// A verification of the log found something wrong.
pub fn verification_failed() {
    if let Some(failures) = &*VERIFICATION_FAILURES {
        failures.inc();
    }
}

/// An HTTP request was answered. `route` is its pattern, never its path.
pub fn answered(method: &str, route: &str, status: u16, seconds: f64) {
    if let Some(requests) = &*REQUESTS {
        requests.with_label_values(&[method, route, &status.to_string()]).inc();
    }
    if let Some(durations) = &*DURATIONS {
        durations.with_label_values(&[method, route]).observe(seconds);
    }
}

/// What the log shows at this moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Severity's word and how many gates of such incidents wait.
    pub gates: Vec<(String, i64)>,
    /// Seconds until the first level is over; negative where that is past.
    pub nearest_deadline_seconds: Option<f64>,
    /// Items of the outbox.
    pub outbox_items: u64,
    /// Age of the oldest.
    pub outbox_oldest_seconds: f64,
}

/// Sets the gauges about the log.
pub fn show(standing: &Standing) {
    if let Some(gates) = &*GATES {
        gates.reset();
        for (severity, count) in &standing.gates {
            gates.with_label_values(&[severity]).set(*count);
        }
    }
    if let Some(nearest) = &*NEAREST {
        nearest.set(standing.nearest_deadline_seconds.unwrap_or(f64::INFINITY));
    }
    if let Some(outbox) = &*OUTBOX {
        outbox.set(i64::try_from(standing.outbox_items).unwrap_or(i64::MAX));
    }
    if let Some(lag) = &*OUTBOX_LAG {
        lag.set(standing.outbox_oldest_seconds);
    }
}

/// Sets whether a part that this process needs answers.
pub fn ready(part: &str, answers: bool) {
    if let Some(ready) = &*READY {
        ready.with_label_values(&[part]).set(answers.into());
    }
}

/// Makes every metric known, also those that nothing was counted on yet.
pub fn register(version: &str) {
    let _ = (&*APPENDS, &*STEP_FAILURES, &*GATES, &*REQUESTS, &*DURATIONS, &*READY);
    let _ = (&*WEBHOOKS_REFUSED, &*EXHAUSTED, &*VERIFICATION_FAILURES, &*NEAREST, &*OUTBOX, &*OUTBOX_LAG);
    if let Some(build) = &*BUILD {
        build.with_label_values(&[version]).set(1.0);
    }
}

/// Everything, in Prometheus's text form.
pub fn render() -> String {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&REGISTRY.gather(), &mut text) {
        tracing::error!(%error, "metrics cannot be written");
    }
    String::from_utf8(text).unwrap_or_default()
}

/// The name of every metric there is.
pub const NAMES: [&str; 13] = [
    "harmony_build_info",
    "harmony_escalations_exhausted_total",
    "harmony_gate_nearest_deadline_seconds",
    "harmony_gates_waiting",
    "harmony_http_request_duration_seconds",
    "harmony_http_requests_total",
    "harmony_log_appends_total",
    "harmony_log_verification_failures_total",
    "harmony_outbox_items",
    "harmony_outbox_oldest_seconds",
    "harmony_ready",
    "harmony_step_failures_total",
    "harmony_webhooks_refused_total",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_exported_once_and_no_other() {
        register("1.2.3");
        appended("recorded");
        has_steps_of("golden.connectors.pagerduty");
        step_failed("golden.connectors.statuspage");
        webhook_refused("grafana", 401);
        escalation_exhausted();
        verification_failed();
        answered("GET", "/healthz", 200, 0.002);
        ready("store", true);
        show(&Standing {
            gates: vec![("P1".to_owned(), 2)],
            nearest_deadline_seconds: None,
            outbox_items: 3,
            outbox_oldest_seconds: 0.5,
        });
        let text = render();
        let mut names: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        names.sort_unstable();
        assert_eq!(names, NAMES);
        for line in [
            "harmony_gates_waiting{severity=\"P1\"} 2",
            "harmony_gate_nearest_deadline_seconds inf",
            "harmony_step_failures_total{capability=\"golden.connectors.statuspage\"} 1",
            "harmony_step_failures_total{capability=\"golden.connectors.pagerduty\"} 0",
            "harmony_webhooks_refused_total{source=\"grafana\",status=\"401\"} 1",
            "harmony_build_info{version=\"1.2.3\"} 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in\n{text}");
        }
    }
}

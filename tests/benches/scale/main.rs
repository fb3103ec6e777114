//! What so many incidents a day need: `cargo bench -p harmony-tests --bench scale` prints `docs/scale.md`.
//!
//! Counts come from the stored histories of one incident that goes the whole way; costs from the benchmarks and are
//! written down below with the command that measured them. Everything else is an assumption and is printed as one.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints what it computed")]

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

/// The runs of one incident that goes the whole way.
const RUNS: [&str; 4] = [
    "incident.initiate-p1_is_initiated_with_slack_pagerduty_and_statuspage",
    "incident.remediate-p2_runbook_runs_after_approval_and_is_verified",
    "incident.close-out-close_out_resolves_the_status_page_and_posts",
    "incident.post-mortem-post_mortem_creates_the_page_and_returns_its_address",
];
/// Incidents a day.
const RATES: [f64; 3] = [1_000.0, 100_000.0, 10_000_000.0];

/// Measured: see the commands in `docs/performance.md`.
mod measured {
    /// Records of the demo's incident (`harmony demo --json`: `records`).
    pub(super) const RECORDS: f64 = 54.0;
    /// Bytes that a record takes in the store, its indexes and projections included.
    pub(super) const RECORD_BYTES: f64 = 4_000.0;
    /// A worker on a CPU, for each event of history (`--bench measures -- lifecycles`), of a build without optimisation:
    /// more than a release takes.
    pub(super) const CPU_MS_PER_EVENT: f64 = 4.0;
    /// A workflow that waits, in a worker's cache (`--bench measures -- gates`).
    pub(super) const CACHED_KIB: f64 = 244.0;
}

/// Assumed, and printed with the result: whoever knows better changes them here.
mod assumed {
    /// The busiest minutes against the average of the day.
    pub(super) const PEAK: f64 = 10.0;
    /// How long an incident is open, hours; its gates wait for a part of that.
    pub(super) const OPEN_HOURS: f64 = 4.0;
    /// State transitions a second that one shard of Temporal carries out when its store commits in some 10 ms, with
    /// half of it kept free.
    pub(super) const TRANSITIONS_PER_SHARD: f64 = 30.0;
    /// Temporal's own advice for production: the number of shards cannot be changed later.
    pub(super) const LEAST_SHARDS: f64 = 512.0;
    /// How much of its CPU a worker pod of one core may use at the peak.
    pub(super) const POD_CORES: f64 = 0.7;
    /// Pods that there are always: one may be restarted at any time.
    pub(super) const LEAST_PODS: f64 = 2.0;
    /// Commits a second of one PostgreSQL primary on local flash, with half of it kept free.
    pub(super) const COMMITS_PER_PRIMARY: f64 = 2_000.0;
    /// Requests that people make at the console for each incident, each a commit.
    pub(super) const COMMANDS: f64 = 8.0;
    /// How long records are kept before they are exported and moved away, days.
    pub(super) const KEPT_DAYS: f64 = 365.0;
    /// Temporal's retention of closed runs, days (`temporal setup`).
    pub(super) const RETENTION_DAYS: f64 = 30.0;
    /// New channels a minute that Slack lets one app make in a workspace (`conversations.create`, Tier 2).
    pub(super) const SLACK_CHANNELS_A_MINUTE: f64 = 20.0;
    /// Requests a second that Statuspage takes for one page.
    pub(super) const STATUSPAGE_A_SECOND: f64 = 1.0;
}

/// What one incident takes.
struct Incident {
    events: f64,
    transitions: f64,
    history_kib: f64,
    commits: f64,
    status_page_requests: f64,
}

fn main() {
    // `cargo test --benches` runs it, too.
    let incident = counted();
    head(&incident);
    for rate in RATES {
        row(rate, &incident);
    }
    tail(&incident);
}

fn head(incident: &Incident) {
    let Incident { events, transitions, history_kib, commits, .. } = incident;
    let cpu_ms = events * measured::CPU_MS_PER_EVENT;
    println!(
        "# What so many incidents a day need\n\n\
         Printed by `cargo bench -p harmony-tests --bench scale` (`tests/benches/scale`), which computes it from what one \
         incident\ntakes. That is counted in the stored histories of an incident that goes the whole way (initiate, \
         remediate with three cells,\nclose-out, review), and measured as [performance.md](performance.md) says. A \
         figure here is a size to begin with, not a promise.\n\n\
         One incident takes {events:.0} events of history ({history_kib:.0} KiB as JSON), {transitions:.0} state \
         transitions in Temporal,\n{:.0} records and {commits:.0} commits in the log, and {cpu_ms:.0} ms of a worker's CPU.\n\n\
         | incidents a day | a second, at the peak | transitions a second | history shards | commits a second | log a \
         year | worker pods | open at once |\n|---:|---:|---:|---:|---:|---:|---:|---:|",
        measured::RECORDS,
    );
}

fn row(rate: f64, incident: &Incident) {
    let average = rate / 86_400.0;
    let peak = average * assumed::PEAK;
    let transitions = peak * incident.transitions;
    let shards = power_of_two((transitions / assumed::TRANSITIONS_PER_SHARD).max(assumed::LEAST_SHARDS));
    let commits = peak * incident.commits;
    let year = rate * assumed::KEPT_DAYS * measured::RECORDS * measured::RECORD_BYTES;
    let cpu = peak * incident.events * measured::CPU_MS_PER_EVENT / 1_000.0;
    let pods = (cpu / assumed::POD_CORES).ceil().max(assumed::LEAST_PODS);
    let open = average * assumed::OPEN_HOURS * 3_600.0;
    println!(
        "| {} | {peak:.2} | {} | {} | {} | {} | {} | {} |",
        grouped(rate),
        grouped(transitions),
        grouped(shards),
        grouped(commits),
        bytes(year),
        grouped(pods),
        grouped(open),
    );
}

fn tail(incident: &Incident) {
    let channels_a_day = assumed::SLACK_CHANNELS_A_MINUTE * 1_440.0;
    let public_a_day = assumed::STATUSPAGE_A_SECOND * 86_400.0 / incident.status_page_requests;
    let primaries = RATES.map(|rate| {
        let commits = rate / 86_400.0 * assumed::PEAK * incident.commits;
        (commits / assumed::COMMITS_PER_PRIMARY).ceil()
    });
    let largest = RATES[2];
    let retained = largest * assumed::RETENTION_DAYS * incident.history_kib * 1_024.0;
    println!(
        "\n## What it means\n\n\
         - **The log** on one PostgreSQL primary ({} commits a second, half of them kept free) carries {} and {} incidents \
         a day.\n  {} a day need {} primaries, so installations side by side, each with its organisations: no query \
         reaches across\n  organisations, and incidents of one organisation have consecutive numbers, which one \
         transaction hands out. DynamoDB has\n  no primary, but the same row of numbers.\n\
         - **Temporal** keeps closed runs for {} days: at {} a day {} of histories before compression. Shards can not \
         be changed\n  later: take the number of the row that you may grow into.\n\
         - **Workers** hold nothing: a gate that waits takes {} KiB in the cache of the worker that has it last, and none \
         once it is\n  taken out of it. The autoscaler's limit (`deploy/k8s/base/autoscaling.yaml`) is to be above the \
         pods of your row.\n\
         - **Vendors give way first.** Slack lets an app make {} channels a minute, so some {} incidents a day in one \
         workspace,\n  less at the peak; Statuspage takes {} request a second, so some {} incidents a day on one page. \
         Beyond that switch the\n  capability off for the lower severities (`cap-golden.connectors.statuspage-enabled`). \
         Harmony waits as long as a vendor\n  asks it to and never stops a gate's clock for it.\n",
        grouped(assumed::COMMITS_PER_PRIMARY),
        grouped(RATES[0]),
        if primaries[1] <= 1.0 { grouped(RATES[1]) } else { "fewer than 100,000".to_owned() },
        grouped(largest),
        grouped(primaries[2]),
        assumed::RETENTION_DAYS,
        grouped(largest),
        bytes(retained),
        measured::CACHED_KIB,
        assumed::SLACK_CHANNELS_A_MINUTE,
        grouped(channels_a_day),
        assumed::STATUSPAGE_A_SECOND,
        grouped(public_a_day),
    );
    println!("## Assumed\n");
    for (what, value) in [
        ("the busiest minutes against the day's average", assumed::PEAK),
        ("hours that an incident is open", assumed::OPEN_HOURS),
        ("state transitions a second for one shard, half of it kept free", assumed::TRANSITIONS_PER_SHARD),
        ("shards at least, which is Temporal's advice for production", assumed::LEAST_SHARDS),
        ("cores that a pod of one core uses at the peak", assumed::POD_CORES),
        ("pods at least", assumed::LEAST_PODS),
        (
            "commits a second of one PostgreSQL primary on local flash, half of them kept free",
            assumed::COMMITS_PER_PRIMARY,
        ),
        ("requests that people make at the console for one incident", assumed::COMMANDS),
        ("days that records are kept in the store", assumed::KEPT_DAYS),
        ("days that Temporal keeps closed runs", assumed::RETENTION_DAYS),
        ("new channels a minute, by Slack's Tier 2", assumed::SLACK_CHANNELS_A_MINUTE),
        ("requests a second for one page, by Statuspage's limit", assumed::STATUSPAGE_A_SECOND),
    ] {
        println!("- {what}: {value}");
    }
    println!(
        "\nMeasured: {} records of {} bytes in the store, {} ms of a worker's CPU for each event of history \
         (of a\nbuild without optimisation: a release takes less).",
        measured::RECORDS,
        grouped(measured::RECORD_BYTES),
        measured::CPU_MS_PER_EVENT
    );
}

fn power_of_two(least: f64) -> f64 {
    2_f64.powf(least.log2().ceil())
}

/// A number as people read it: 1,234,567.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(value: f64) -> String {
    let (unit, name) = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB")]
        .into_iter()
        .find(|(unit, _)| value >= *unit)
        .unwrap_or((1.0, "B"));
    format!("{:.1} {name}", value / unit)
}

fn counted() -> Incident {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../blueprints/tests/histories");
    let mut kinds: BTreeMap<u64, f64> = BTreeMap::new();
    let mut bytes = 0;
    let mut public = 0.0;
    for run in RUNS {
        let text = fs::read_to_string(folder.join(format!("{run}.json"))).unwrap();
        bytes += text.len();
        public += text.matches("\"public.").count() as f64;
        let history: Value = serde_json::from_str(&text).unwrap();
        for event in history["events"].as_array().unwrap() {
            *kinds.entry(event["event_type"].as_u64().unwrap()).or_default() += 1.0;
        }
    }
    let of =
        |wanted: &[u64]| wanted.iter().map(|kind| kinds.get(kind).copied().unwrap_or_default()).sum::<f64>();
    // Numbers of Temporal's event types. A transition is one write of a run's state: it is started, a workflow task or
    // an activity begins or ends, a timer fires, a signal or an update comes.
    const STARTED: u64 = 1;
    const TASKS: [u64; 2] = [6, 7];
    const ACTIVITIES: [u64; 2] = [11, 12];
    const TIMER_FIRED: u64 = 18;
    const MESSAGES: [u64; 2] = [26, 41];
    let (markers, activities) = (of(&[25]), of(&[12]));
    Incident {
        events: kinds.values().sum(),
        transitions: of(&[STARTED, TIMER_FIRED]) + of(&TASKS) + of(&ACTIVITIES) + of(&MESSAGES),
        history_kib: bytes as f64 / 1024.0,
        // A local activity appends once; an effect writes its intent, its result and its record; a command appends once
        // and has its outbox item claimed and ended.
        commits: markers + 3.0 * activities + 3.0 * assumed::COMMANDS,
        status_page_requests: public * 2.0,
    }
}

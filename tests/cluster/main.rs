//! A real cluster: a full Temporal server on PostgreSQL, the log on PostgreSQL, three workers and two consoles, worked
//! while its processes are killed and restarted.
//!
//! Runs under `HARMONY_TEST_SCALE=full` alone, since Temporal's server is built by Go first (many minutes on two cores,
//! once, into the cache). Needs Go, and PostgreSQL's `initdb`, `postgres` and `createdb`; without them, and at the usual
//! scale, it says aloud that it was left out.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on has failed")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what was measured, and why a run was left out"
)]

mod api;
mod harmony;
mod servers;

use std::{
    collections::BTreeMap,
    io::Write as _,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use harmony::Cluster;

/// Longest wait for anything; a loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(600);
/// A gate may be late by this much when workers are restarted one after the other.
const LATE: Duration = Duration::from_secs(10);

fn skipped() -> bool {
    let why = if std::env::var("HARMONY_TEST_SCALE").is_ok_and(|scale| scale == "full") {
        servers::missing().map(|tool| format!("{tool} is not here"))
    } else {
        Some("it runs under HARMONY_TEST_SCALE=full alone".to_owned())
    };
    if let Some(why) = &why {
        say(&format!("SKIPPED: the cluster is not tested: {why}"));
    }
    why.is_some()
}

/// Past the test harness, which keeps what a test that passes prints to itself.
fn say(line: &str) {
    let mut stderr = std::io::stderr().lock();
    drop(writeln!(stderr, "{line}").and_then(|()| stderr.flush()));
}

#[tokio::test]
async fn workers_are_killed_in_turn_and_a_rolling_restart_delays_no_gate() {
    if skipped() {
        return;
    }
    let mut cluster = Cluster::start().await;
    let told = killed_in_turn(&mut cluster).await;
    let gates = restarted_one_by_one(&mut cluster, told).await;
    cluster.api.verified().await;
    say(&format!("cluster: {told} incidents under kills, {gates} gates under restarts, the log verifies"));
}

/// P1 incidents are declared through both consoles while one worker after the other is killed.
async fn killed_in_turn(cluster: &mut Cluster) -> usize {
    const INCIDENTS: usize = 60;
    let began = Instant::now();
    let mut ids = Vec::new();
    let mut kills = 0;
    for number in 0..INCIDENTS {
        ids.push(cluster.api.declare(number % 2, &format!("Killed {number}"), "P1").await);
        if number % 6 == 5 {
            cluster.kill_worker(kills % 3);
            kills += 1;
        }
    }
    while cluster.api.ended(&ids).await < INCIDENTS {
        assert!(began.elapsed() < PATIENCE, "{} of {INCIDENTS} ended", cluster.api.ended(&ids).await);
        tokio::time::sleep(Duration::from_secs(3)).await;
        if kills < 15 {
            cluster.kill_worker(kills % 3);
            kills += 1;
        }
    }
    let numbers: Vec<u32> = ids.iter().map(|id| id.rsplit('-').next().unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, (1..=u32::try_from(INCIDENTS).unwrap()).collect::<Vec<_>>(), "no gap, none twice");
    for id in &ids {
        let incident = cluster.api.incident(id).await;
        assert_eq!(incident["blueprints"]["initiate"]["status"], "COMPLETED", "{incident}");
        let result = &incident["blueprints"]["initiate"]["result"];
        assert_eq!(result["warnings"], json!([]), "{id}: {result}");
    }
    once_each(cluster, INCIDENTS).await;
    say(&format!(
        "cluster: {INCIDENTS} incidents initiated in {:.0} s with {kills} workers killed; nothing lost, nothing twice",
        began.elapsed().as_secs_f64()
    ));
    INCIDENTS
}

/// Each effect stands at its vendor exactly once.
async fn once_each(cluster: &Cluster, incidents: usize) {
    let slack = cluster.sandbox("slack").await;
    assert_eq!(slack["channels"].as_array().unwrap().len(), incidents);
    let mut posted: BTreeMap<String, usize> = BTreeMap::new();
    for message in slack["messages"].as_array().unwrap() {
        if let Some(key) = message["metadata"]["event_payload"]["key"].as_str() {
            *posted.entry(key.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(posted.len(), incidents, "one first update each");
    assert!(posted.values().all(|count| *count == 1), "{posted:?}");
    assert_eq!(cluster.sandbox("pagerduty").await["incidents"].as_array().unwrap().len(), incidents);
    assert_eq!(cluster.sandbox("statuspage").await["incidents"].as_array().unwrap().len(), incidents);
}

/// A hundred gates wait while every worker is stopped and started again, round after round. Some are decided meanwhile,
/// the others wait until their time is over.
async fn restarted_one_by_one(cluster: &mut Cluster, before: usize) -> usize {
    const GATES: usize = 100;
    const DECIDED: usize = 9;
    let began = Instant::now();
    let mut ids = Vec::new();
    for number in 0..GATES {
        ids.push(cluster.api.declare(number % 2, &format!("Waiting {number}"), "P3").await);
    }
    // Every public page of a P3 waits for somebody; nobody comes.
    while cluster.api.waiting(&ids).await < GATES {
        assert!(began.elapsed() < PATIENCE, "{} of {GATES} gates are open", cluster.api.waiting(&ids).await);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    say(&format!("cluster: {GATES} gates open after {:.0} s", began.elapsed().as_secs_f64()));
    let mut restarts = 0;
    let mut waited = Vec::new();
    for id in &ids[..DECIDED] {
        let api = cluster.api.clone();
        let ((), took) = tokio::join!(cluster.restart_worker(restarts % 3), api.approve(id));
        waited.push(took);
        restarts += 1;
    }
    while cluster.api.ended(&ids).await < GATES {
        assert!(began.elapsed() < 2 * PATIENCE, "{} of {GATES} ended", cluster.api.ended(&ids).await);
        cluster.restart_worker(restarts % 3).await;
        restarts += 1;
    }
    for id in &ids[..DECIDED] {
        let records = cluster.api.records(id).await;
        let of = |kind: &str| records.iter().filter(|one| one["kind"] == kind).count();
        let counts = (of("APPROVAL_REQUESTED"), of("APPROVAL_DECIDED"), of("APPROVAL_TIMED_OUT"));
        assert_eq!(counts, (1, 1, 0), "{id}: {records:?}");
    }
    waited.sort_unstable();
    assert!(waited[DECIDED - 1] <= LATE, "a decision counted after {:?}", waited[DECIDED - 1]);
    let mut late = Vec::new();
    for id in &ids[DECIDED..] {
        let records = cluster.api.records(id).await;
        let of = |kind: &str| -> Vec<&Value> { records.iter().filter(|one| one["kind"] == kind).collect() };
        assert_eq!(of("APPROVAL_REQUESTED").len(), 1, "{id}");
        let timed_out = of("APPROVAL_TIMED_OUT");
        assert_eq!(timed_out.len(), 1, "{id}: {records:?}");
        let microseconds = |name: &str| -> i64 {
            let value = &timed_out[0]["payload"][name];
            value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap()
        };
        late.push(microseconds("actualUs") - microseconds("dueUs"));
    }
    late.sort_unstable();
    let worst = Duration::from_micros(u64::try_from(*late.last().unwrap()).unwrap());
    assert!(late[0] >= 0, "a gate's time is never cut short");
    assert!(worst <= LATE, "a gate was {worst:?} late");
    let pages = cluster.sandbox("statuspage").await["incidents"].as_array().unwrap().len();
    assert_eq!(pages, before + DECIDED, "one page for each that was approved, none for the others");
    say(&format!(
        "cluster: {GATES} gates, {restarts} workers restarted one after the other, none lost; {DECIDED} decisions \
         counted after {:.1} s at most ({:.1} s in the middle), {} deadlines were {:.1} s late at most ({:.1} s in the \
         middle)",
        waited[DECIDED - 1].as_secs_f64(),
        waited[DECIDED / 2].as_secs_f64(),
        late.len(),
        worst.as_secs_f64(),
        Duration::from_micros(u64::try_from(late[late.len() / 2]).unwrap()).as_secs_f64(),
    ));
    GATES
}

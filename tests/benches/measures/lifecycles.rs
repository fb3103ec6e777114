//! What recording costs: the same incidents through the same blueprints, once with the log on SQLite and once with a
//! log that writes nothing, in turns.
//!
//! A lifecycle here is declared before, initiated, and closed out: two workflows and all that they record. No vendor is
//! configured, so that nothing but Harmony and Temporal is measured; what each vendor's step would do is on record as
//! left out.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::json;
use temporalio_client::Client;

use crate::{
    child::{Log, Polling},
    is_full,
    server::{self, Server},
};

/// Lifecycles at once: more than a worker has when it is not behind.
const AT_ONCE: usize = 16;
const PROMISED: f64 = 0.9;

struct Side {
    client: Client,
    worker: Polling,
    next: usize,
    /// Of each round: elapsed, and on the CPU.
    rounds: Vec<(Duration, Duration)>,
}

pub(crate) async fn with_and_without_recording() {
    let (rounds, each) = if is_full() { (10, 200) } else { (5, 60) };
    let home = tempfile::TempDir::new().unwrap();
    let server = Server::start(&["recorded", "null"]).await;
    // One round to warm up, which is not counted.
    let incidents = ((rounds + 1) * each) as u64;
    let sqlite = Log::Sqlite(home.path().join("harmony.db"));
    let mut sides = Vec::new();
    for (namespace, log) in [("recorded", sqlite), ("null", Log::Null)] {
        let worker = Polling::start(&server, namespace, log, (incidents, "P2"), 1_000).await;
        sides.push(Side { client: server.client(namespace).await, worker, next: 0, rounds: vec![] });
    }
    for _ in 0..=rounds {
        for side in &mut sides {
            let (began, cpu) = (Instant::now(), side.worker.cpu());
            let numbers = side.next + 1..=side.next + each;
            side.next += each;
            stream::iter(numbers)
                .for_each_concurrent(AT_ONCE, async |number| lifecycle(&side.client, number).await)
                .await;
            side.rounds.push((began.elapsed(), side.worker.cpu() - cpu));
        }
    }
    let figure = |side: &Side, of: fn(&(Duration, Duration)) -> Duration| {
        let mut all: Vec<Duration> = side.rounds[1..].iter().map(of).collect();
        crate::median(&mut all).as_secs_f64() / each as f64
    };
    let [recorded, null] = [&sides[0], &sides[1]].map(|side| 1.0 / figure(side, |round| round.0));
    println!(
        "lifecycles: {recorded:.1}/s recorded, {null:.1}/s with nothing recorded, ratio {:.2} (promised: {PROMISED})",
        recorded / null
    );
    let [recorded, null] = [&sides[0], &sides[1]].map(|side| 1_000.0 * figure(side, |round| round.1));
    println!(
        "lifecycles: the worker is {recorded:.1} ms on a CPU for each, {null:.1} ms with nothing recorded, ratio {:.2}",
        null / recorded
    );
}

async fn lifecycle(client: &Client, number: usize) {
    let incident = format!("INC-2026-{number:04}");
    let own = json!({ "title": "Measured", "severity": "P2" });
    let id = format!("incident.initiate-{incident}");
    server::start(client, "incident.initiate", &id, &server::input(&incident, own)).await;
    let ended = server::result(client, &id).await;
    assert_eq!(ended["status"], "COMPLETED", "{ended}");
    let own = json!({ "resolutionSummary": "Measured", "resolutionType": "FIXED" });
    let id = format!("incident.close-out-{incident}");
    server::start(client, "incident.close-out", &id, &server::input(&incident, own)).await;
    let ended = server::result(client, &id).await;
    assert_eq!(ended["status"], "COMPLETED", "{ended}");
}

//! What an event of history costs when a worker that never saw the workflow takes it over.
//!
//! A run waits at its gate while somebody who may not decide says so again and again, until it has about 65, 600 or
//! 6,000 events; then it is decided and ends. A worker in production leaves a history behind long before the last.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use temporalio_client::{Client, UntypedSignal, UntypedWorkflow, WorkflowHistory, WorkflowSignalOptions};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};

use crate::{
    child::{Log, Polling},
    median,
    server::{self, Server, raw},
};

const EVENTS: [usize; 3] = [65, 600, 6_000];
/// Events are counted out to so many a round, so that a short history is not measured by its first instructions.
const ROUND_EVENTS: usize = 12_000;
const ROUNDS: usize = 5;
/// Signals in flight; more would come in one task and so make fewer events.
const SIGNALS: usize = 5;

pub(crate) async fn cost_of_an_event() {
    let server = Server::start(&["replay"]).await;
    let client = server.client("replay").await;
    // A P3's public page waits for a decision at once.
    let _worker = Polling::start(&server, "replay", Log::Null, (EVENTS.len() as u64, "P3"), 1_000).await;
    let mut histories = Vec::new();
    for (number, wanted) in (1..).zip(EVENTS) {
        histories.push(grown(&client, &format!("INC-2026-{number:04}"), wanted).await);
    }
    let mut times: Vec<Vec<Duration>> = vec![vec![]; histories.len()];
    for _ in 0..ROUNDS {
        for (place, (json, events)) in histories.iter().enumerate() {
            let repeats = ROUND_EVENTS.div_ceil(*events);
            let mut spent = Duration::ZERO;
            for _ in 0..repeats {
                spent += replayed(json).await;
            }
            times[place].push(spent / u32::try_from(repeats * events).unwrap());
        }
    }
    let cost: Vec<f64> = times.iter_mut().map(|times| median(times).as_secs_f64()).collect();
    for ((_, events), of_this) in histories.iter().zip(&cost) {
        println!(
            "replay: a history of {events} events, {:.0} events/s, {:.2} of the shortest's cost an event",
            1.0 / of_this,
            of_this / cost[0]
        );
    }
}

/// The history of a run that ended after so many events.
async fn grown(client: &Client, incident: &str, wanted: usize) -> (Vec<u8>, usize) {
    let workflow = format!("incident.initiate-{incident}");
    let own = json!({ "title": "Measured", "severity": "P3" });
    server::start(client, "incident.initiate", &workflow, &server::input(incident, own)).await;
    let handle = client.get_workflow_handle::<UntypedWorkflow>(&workflow);
    let signal = async |decision: Value| {
        let signal = UntypedSignal::new("approval");
        handle.signal(signal, raw(&decision), WorkflowSignalOptions::default()).await.unwrap();
    };
    let mut sent = 0;
    loop {
        let described = handle.describe(Default::default()).await.unwrap();
        let events = described.history_length();
        if events >= wanted {
            break;
        }
        for _ in 0..SIGNALS.min((wanted - events) / 6 + 1) {
            let reason = format!("number {sent}");
            signal(json!({ "decision": "approved", "approverId": "viewer", "reason": reason })).await;
            sent += 1;
        }
    }
    signal(json!({ "decision": "rejected", "approverId": "operator" })).await;
    server::result(client, &workflow).await;
    let history = handle.fetch_history(Default::default()).to_json().await.unwrap();
    let events: Value = serde_json::from_slice(&history).unwrap();
    let events = events["events"].as_array().unwrap().len();
    (history, events)
}

async fn replayed(history: &[u8]) -> Duration {
    let history = WorkflowHistory::from_json(history).unwrap();
    let options =
        WorkflowReplayerOptions::new().register_workflow::<harmony_blueprints::Initiate>().unwrap().build();
    let replayer = WorkflowReplayer::new(options).unwrap();
    let began = Instant::now();
    replayer.replay_workflow(history).await.unwrap();
    began.elapsed()
}

//! From the start of a worker's process to its first poll, against a worker of the SDK that knows one small workflow.

use std::time::Duration;

use crate::{
    child::{Log, Polling},
    median,
    server::Server,
};

const ROUNDS: usize = 7;

pub(crate) async fn to_first_poll() {
    let home = tempfile::TempDir::new().unwrap();
    let namespaces: Vec<String> = (0..2 * ROUNDS).map(|number| format!("start-{number}")).collect();
    // A poller is remembered for minutes: each start has a namespace of its own.
    let names: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    let server = Server::start(&names).await;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let log = Log::Sqlite(home.path().join("harmony.db"));
        ours.push(took(&server, names[2 * round], log).await);
        bare.push(took(&server, names[2 * round + 1], Log::Bare).await);
    }
    let (ours, bare) = (median(&mut ours), median(&mut bare));
    println!(
        "start: {:.0} ms to the first poll, {:.0} ms for a worker with one small workflow, ratio {:.2}",
        ours.as_secs_f64() * 1_000.0,
        bare.as_secs_f64() * 1_000.0,
        ours.as_secs_f64() / bare.as_secs_f64()
    );
}

async fn took(server: &Server, namespace: &str, log: Log) -> Duration {
    Polling::start(server, namespace, log, (0, "P2"), 1_000).await.took
}

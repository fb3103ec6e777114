//! What pending gates take: memory of a worker that has them all in its cache, and the time to settle them all with a
//! cache that holds a tenth of them against one that holds them all.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::json;
use temporalio_client::{Client, UntypedSignal, UntypedWorkflow, WorkflowSignalOptions};

use crate::{
    child::{Log, Polling},
    is_full,
    server::{self, Server, raw},
};

const AT_ONCE: usize = 32;
const PROMISED: f64 = 1.3;

pub(crate) async fn pending() {
    let (few, many) = if is_full() { (1_000, 10_000) } else { (100, 1_000) };
    let server = Server::start(&["few", "small", "large"]).await;
    let (idle, held, _) = opened_and_drained(&server, "few", few, few).await;
    let (_, small, small_drained) = opened_and_drained(&server, "small", many, few).await;
    let (_, large, large_drained) = opened_and_drained(&server, "large", many, many).await;
    let mib = |kib: u64| kib as f64 / 1024.0;
    println!("gates: an idle worker takes {:.0} MiB", mib(idle));
    for (gates, cache, kib) in [(few, few, held), (many, few, small), (many, many, large)] {
        let each = kib.saturating_sub(idle) as f64 / cache as f64;
        println!(
            "gates: {gates} pending, a cache of {cache}: {:.0} MiB, {each:.0} KiB for each in the cache",
            mib(kib)
        );
    }
    let ratio = small_drained.as_secs_f64() / large_drained.as_secs_f64();
    println!(
        "gates: {many} settled in {:.0} s with a cache of {few}, in {:.0} s with one of {many}, ratio {ratio:.2} \
         (promised: {PROMISED})",
        small_drained.as_secs_f64(),
        large_drained.as_secs_f64()
    );
}

/// Memory while idle, memory with so many gates pending, and the time to settle them.
async fn opened_and_drained(
    server: &Server,
    namespace: &str,
    gates: usize,
    cache: usize,
) -> (u64, u64, Duration) {
    let home = tempfile::TempDir::new().unwrap();
    let log = Log::Sqlite(home.path().join("harmony.db"));
    // Every public page of a P3 waits for a decision.
    let worker = Polling::start(server, namespace, log, (gates as u64, "P3"), cache).await;
    let client = server.client(namespace).await;
    let idle = worker.memory_kib();
    stream::iter(1..=gates)
        .for_each_concurrent(AT_ONCE, async |number| {
            let incident = format!("INC-2026-{number:04}");
            let own = json!({ "title": "Measured", "severity": "P3" });
            let id = format!("incident.initiate-{incident}");
            server::start(&client, "incident.initiate", &id, &server::input(&incident, own)).await;
        })
        .await;
    while waiting(&client).await < gates {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let held = worker.memory_kib();
    println!("gates: {gates} pending with a cache of {cache}");
    let began = Instant::now();
    stream::iter(1..=gates)
        .for_each_concurrent(AT_ONCE, async |number| {
            let id = format!("incident.initiate-INC-2026-{number:04}");
            let handle = client.get_workflow_handle::<UntypedWorkflow>(&id);
            let decision = raw(&json!({ "decision": "rejected", "approverId": "operator" }));
            handle
                .signal(UntypedSignal::new("approval"), decision, WorkflowSignalOptions::default())
                .await
                .unwrap();
            let ended = server::result(&client, &id).await;
            assert_eq!(ended["status"], "COMPLETED", "{ended}");
        })
        .await;
    (idle, held, began.elapsed())
}

/// How many runs wait for a decision.
async fn waiting(client: &Client) -> usize {
    let counted = client.count_workflows("HarmonyApproval = 'pending'", Default::default()).await;
    counted.map_or(0, |counted| counted.count())
}

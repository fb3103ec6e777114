//! A worker is told to stop while it holds something: it finishes that within its time, is not ready meanwhile, and
//! nothing is begun a second time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use temporalio_client::UntypedWorkflow;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;

use crate::world::{POLICY, World};

/// How long the vendor's answer and the cell take: less than the 6 s that a worker gives what it holds.
const HELD: Duration = Duration::from_secs(3);
/// The longest that a worker takes to stop (6 s for what it holds, 2 s for the outbox), and a loaded machine's share.
const STOPPED: Duration = Duration::from_secs(20);

/// SIGTERM. Gives what `/readyz` says until the process is gone, and how long it took to go.
async fn drain(world: &World) -> (Vec<Value>, Duration) {
    let address = world.worker_address();
    let pid = world.pid("worker");
    let told = Instant::now();
    world.terminate("worker");
    let mut said = Vec::new();
    while world.is_running(pid) {
        assert!(told.elapsed() < STOPPED, "the worker does not stop");
        if let Ok(answer) = reqwest::get(format!("http://{address}/readyz")).await {
            let status = answer.status().as_u16();
            if let Ok(mut parts) = answer.json::<Value>().await {
                parts["status"] = status.into();
                said.push(parts);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (said, told.elapsed())
}

fn is_not_ready_and_says_why(said: &[Value]) {
    let last = said.last().expect("it answers while it drains");
    assert_eq!((&last["status"], &last["ready"]), (&json!(503), &json!(false)), "{last}");
    assert_eq!(last["parts"]["worker"]["detail"], "it is stopping", "{last}");
    assert_eq!(last["parts"]["store"]["ready"], true, "what it finishes with is still there: {last}");
}

/// How often each activity of a run was begun, by its name.
async fn attempts(world: &World, workflow: &str) -> Vec<(String, i32)> {
    let client = world.client().await;
    let handle = client.get_workflow_handle::<UntypedWorkflow>(workflow);
    let events = handle.fetch_history(Default::default()).into_events().await.unwrap();
    let mut names = std::collections::BTreeMap::new();
    let mut begun = Vec::new();
    for event in events {
        match event.attributes {
            Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => {
                names.insert(event.event_id, scheduled.activity_type.unwrap_or_default().name);
            }
            Some(Attributes::ActivityTaskStartedEventAttributes(started)) => {
                begun.push((names[&started.scheduled_event_id].clone(), started.attempt));
            }
            _ => {}
        }
    }
    begun
}

#[tokio::test]
async fn worker_that_is_told_to_stop_finishes_what_it_holds_and_nothing_is_repeated() {
    let world =
        World::start_with(POLICY, &[("HARMONY_METRICS_ADDR", "127.0.0.1:0"), ("HARMONY_LOG_FORMAT", "json")])
            .await;

    // A vendor's answer is under way.
    let held = json!({ "match": { "path": "conversations.create" }, "times": 1, "fault": "delay", "delayMs": HELD.as_millis() });
    world.fault("slack", held).await;
    let made = world.post("incidents", json!({ "title": "Told to stop", "severity": "P2" })).await;
    let id = made["incidentId"].as_str().unwrap().to_owned();
    let creations = async || {
        let requests = world.requests("slack").await;
        requests.iter().filter(|one| one["path"].as_str().unwrap().contains("conversations.create")).count()
    };
    world.until("Slack to be asked for a channel", async || (creations().await == 1).then_some(())).await;
    let (said, took) = drain(&world).await;
    is_not_ready_and_says_why(&said);
    eprintln!("a worker that held an answer of {HELD:?} stopped after {took:.1?}");
    let result = world.completed(&id, "initiate").await;
    assert_eq!((&result["status"], &result["warnings"]), (&json!("COMPLETED"), &json!([])), "{result}");
    assert_eq!(creations().await, 1, "nobody asked a second time");
    let begun = attempts(&world, &format!("incident.initiate-{id}")).await;
    let opened: Vec<_> = begun.iter().filter(|(name, _)| name == "channel.open").collect();
    assert_eq!(opened, [&("channel.open".to_owned(), 1)], "the worker that was told to stop finished it");

    // A cell runs.
    let trace = world.dir.path().join("trace");
    let cell = format!("echo began >> {0}\nsleep {1}\necho ended >> {0}", trace.display(), HELD.as_secs());
    let runbook = format!("# Slow\n\n```bash {{ name=slow }}\n{cell}\n```\n");
    std::fs::write(world.dir.path().join("runbooks/slow.md"), runbook).unwrap();
    world.post(&format!("incidents/{id}/remediate"), json!({ "runbook": "runbooks/slow.md" })).await;
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "commander").await;
    world.until("the cell to begin", async || trace.exists().then_some(())).await;
    let (said, _) = drain(&world).await;
    is_not_ready_and_says_why(&said);
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), "began\nended\n");
    let kinds = world.kinds(&id).await;
    assert!(!kinds.contains(&"RUNBOOK_CELL_UNKNOWN".to_owned()), "{kinds:?}");
    world.verified().await;
}

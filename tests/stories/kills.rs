//! A process is killed at a bad moment: nothing is lost, nothing happens twice.

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::world::{POLICY, World};

#[tokio::test]
async fn worker_killed_while_a_gate_is_pending_loses_nothing() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Killed at the gate", "P2").await;
    world.remediate(&id).await;
    let before = world.gate(&id).await;
    world.kill("worker");
    // The same gate with the same deadline, from the log and from whoever takes over.
    assert_eq!(world.gate(&id).await, before);
    let asked = world
        .until("the next worker to answer the query", async || {
            let workflow = format!("incident.remediate-{id}");
            let output = world.temporal(&[
                "workflow",
                "query",
                "-w",
                &workflow,
                "--type",
                "approvalState",
                "-o",
                "json",
            ]);
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        })
        .await;
    for expected in [before["gateId"].as_str().unwrap(), before["deadline"].as_str().unwrap(), "pending"] {
        assert!(asked.contains(expected), "{expected} in {asked}");
    }
    world.click(&before, "approve", "commander").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let requested = world.kinds(&id).await.iter().filter(|kind| *kind == "APPROVAL_REQUESTED").count();
    assert_eq!(requested, 1);
    once_each(&world).await;
    world.verified().await;
}

#[tokio::test]
async fn decision_made_while_no_worker_lives_counts() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Decided in the dark", "P2").await;
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    world.kill("worker");
    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let kinds = world.kinds(&id).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "APPROVAL_DECIDED").count(), 1);
    world.verified().await;
}

#[tokio::test]
async fn worker_and_console_killed_while_an_incident_is_initiated() {
    let world = World::start(POLICY).await;
    let made = world.post("incidents", json!({ "title": "Killed at birth", "severity": "P1" })).await;
    let id = made["incidentId"].as_str().unwrap().to_owned();
    world.kill("worker");
    world.kill("serve");
    world
        .until("the console to be back", async || {
            let url = format!("{}/healthz", world.text("/health/serve"));
            reqwest::get(url).await.ok().filter(|answer| answer.status().is_success()).map(drop)
        })
        .await;
    let result = world.completed(&id, "initiate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    assert_eq!(world.state("slack").await["channels"].as_array().unwrap().len(), 1);
    once_each(&world).await;
    world.verified().await;
}

/// A runbook of one cell that leaves a line before and after it sleeps.
fn slow_runbook(world: &World, seconds: u32) -> std::path::PathBuf {
    let trace = world.dir.path().join("trace");
    let text = format!(
        "# Slow\n\n```bash {{ name=slow }}\necho began >> {0}\nsleep {seconds}\necho ended >> {0}\n```\n",
        trace.display()
    );
    std::fs::write(world.dir.path().join("runbooks/slow.md"), text).unwrap();
    trace
}

async fn cell_begins(world: &World, trace: &std::path::Path) {
    world.until("the cell to begin", async || trace.exists().then_some(())).await;
}

#[tokio::test]
async fn cell_whose_worker_was_killed_is_unknown_and_a_gate_asks() {
    let world = World::start(POLICY).await;
    let trace = slow_runbook(&world, 8);
    let (id, _) = world.initiated("Killed in the cell", "P2").await;
    world.post(&format!("incidents/{id}/remediate"), json!({ "runbook": "runbooks/slow.md" })).await;
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "commander").await;
    cell_begins(&world, &trace).await;
    world.kill("worker");
    let asked = world
        .until("the gate that asks about the cell", async || {
            let gate = world.incident(&id).await["gate"].clone();
            gate["gateId"].as_str().is_some_and(|id| id.contains("unknown")).then_some(gate)
        })
        .await;
    assert!(world.kinds(&id).await.contains(&"RUNBOOK_CELL_UNKNOWN".to_owned()));
    // The killed worker's cell went with it, and nothing was repeated on its own.
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), "began\n");
    world.click(&asked, "approve", "commander").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), "began\nbegan\nended\n");
    once_each(&world).await;
    world.verified().await;
}

#[tokio::test]
async fn unknown_cell_is_skipped_on_record_and_the_runbook_goes_on() {
    let world = World::start(POLICY).await;
    let trace = slow_runbook(&world, 8);
    let file = world.dir.path().join("runbooks/slow.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let after = format!("{text}\n```bash {{ name=after }}\necho after >> {}\n```\n", trace.display());
    std::fs::write(&file, after).unwrap();
    let (id, _) = world.initiated("Killed in the first cell", "P2").await;
    world.post(&format!("incidents/{id}/remediate"), json!({ "runbook": "runbooks/slow.md" })).await;
    let gate = world.gate(&id).await;
    // There is nothing to skip yet, whoever asks.
    let (status, refused) =
        world.decide(&gate, json!({ "decision": "skipped", "digest": gate["digest"] })).await;
    assert_eq!(status, 422, "{refused}");
    assert!(refused["refusedBecause"].as_str().unwrap().starts_with("malformed: only a cell"), "{refused}");
    world.click(&gate, "approve", "commander").await;
    cell_begins(&world, &trace).await;
    world.kill("worker");
    let asked = world
        .until("the gate that asks about the cell", async || {
            let gate = world.incident(&id).await["gate"].clone();
            gate["gateId"].as_str().is_some_and(|id| id.contains("unknown")).then_some(gate)
        })
        .await;
    world.click(&asked, "skip", "commander").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let cells = &result["remediation"]["runbook"]["cells"];
    assert_eq!((&cells[0]["ended"], &cells[0]["success"]), (&json!("skipped"), &json!(false)));
    assert_eq!((&cells[1]["name"], &cells[1]["success"]), (&json!("after"), &json!(true)));
    assert!(result["warnings"].to_string().contains("skipped by commander"), "{result}");
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), "began\nafter\n");
    let records = world.records(&id).await;
    let skipped = records.iter().find(|record| record["kind"] == "STEP_SKIPPED").unwrap();
    assert_eq!(skipped["payload"]["step"], "remediation/slow/1");
    let decided = records.iter().rev().find(|record| record["kind"] == "APPROVAL_DECIDED").unwrap();
    assert_eq!((&decided["payload"]["skipped"], &decided["actor"]), (&json!(true), &json!("commander")));
    let messages = world.state("slack").await["messages"].to_string();
    assert!(messages.contains("Skipped by Chris Commander"), "{messages}");
    world.verified().await;
}

#[tokio::test]
async fn stopping_ends_the_cell_that_runs() {
    let world = World::start(POLICY).await;
    let trace = slow_runbook(&world, 300);
    // It hears SIGTERM and goes on all the same: SIGKILL comes after 5 s.
    let file = world.dir.path().join("runbooks/slow.md");
    let told = world.dir.path().join("told");
    let trap = format!("trap 'touch {}; while :; do sleep 1; done' TERM\necho began", told.display());
    let deaf = std::fs::read_to_string(&file).unwrap().replace("echo began", &trap);
    std::fs::write(&file, deaf).unwrap();
    let (id, _) = world.initiated("Stopped in the cell", "P2").await;
    world.post(&format!("incidents/{id}/remediate"), json!({ "runbook": "runbooks/slow.md" })).await;
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "commander").await;
    cell_begins(&world, &trace).await;
    let stopped = SystemTime::now();
    world.post(&format!("incidents/{id}/stop"), json!({})).await;
    let result = world.completed(&id, "remediate").await;
    let took = stopped.elapsed().unwrap();
    assert_eq!(result["status"], "CANCELLED", "{result}");
    assert_eq!(result["remediation"]["runbook"]["cells"][0]["ended"], "cancelled", "{result}");
    let heard = std::fs::metadata(&told).unwrap().modified().unwrap().duration_since(stopped).unwrap();
    // Within a second, but for how busy this machine is.
    assert!(heard < Duration::from_secs(4), "the stop reached the cell after {heard:?}");
    assert!(took >= heard + Duration::from_secs(4), "it was given its 5 s: {took:?}");
    assert!(took < heard + Duration::from_secs(15), "it was killed after them: {took:?}");
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), "began\n");
    let incident = world.incident(&id).await;
    assert_eq!(
        (incident["state"].as_str(), incident["phase"].as_str()),
        (Some("MITIGATING"), Some("triaging"))
    );
    world.verified().await;
}

#[tokio::test]
async fn workflow_reset_to_its_beginning_repeats_nothing() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Reset after the fact", "P2").await;
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "commander").await;
    let first = world.completed(&id, "remediate").await;
    assert_eq!(first["status"], "COMPLETED", "{first}");
    let before = world.kinds(&id).await;
    let workflow = format!("incident.remediate-{id}");
    let reset = world.temporal(&[
        "workflow",
        "reset",
        "-w",
        &workflow,
        "--type",
        "FirstWorkflowTask",
        "--reason",
        "a test",
    ]);
    assert!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    let again = world
        .until("the reset run to end", async || {
            let shown = world.temporal(&["workflow", "result", "-w", &workflow, "-o", "json"]);
            shown.status.success().then(|| String::from_utf8_lossy(&shown.stdout).into_owned())
        })
        .await;
    assert!(again.contains("COMPLETED"), "{again}");
    // Every step found its record; the release that was rolled back to is rolled back to once.
    assert_eq!(world.kinds(&id).await, before);
    let history = std::fs::read_to_string(world.dir.path().join("sample/checkout/history")).unwrap();
    assert_eq!(history.lines().count(), 3, "{history}");
    once_each(&world).await;
    world.verified().await;
}

/// No effect stands at a vendor twice.
async fn once_each(world: &World) {
    let slack = world.state("slack").await;
    let keys: Vec<String> = slack["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|message| message["metadata"]["event_payload"]["key"].as_str().map(str::to_owned))
        .collect();
    let mut unique = keys.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), keys.len(), "a message stands twice: {slack}");
    let incidents = world.state("pagerduty").await["incidents"].as_array().unwrap().len();
    let mut keys: Vec<String> = world
        .requests("pagerduty")
        .await
        .iter()
        .filter_map(|request| request["idempotencyKey"].as_str().map(str::to_owned))
        .collect();
    keys.sort();
    keys.dedup();
    assert_eq!(incidents, keys.len());
    assert!(world.state("statuspage").await["incidents"].as_array().unwrap().len() <= 1);
}

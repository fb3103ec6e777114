//! A run that was lost is found, said so, and started again as the same attempt.

use serde_json::{Value, json};

use crate::world::{POLICY, World, refusal};

#[tokio::test]
async fn terminated_run_is_orphaned_and_resumed_at_the_same_gate() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Somebody terminates it", "P2").await;
    let (code, said) = refusal(&world.harmony(&["incident", "resume", &id]));
    assert!(code == 3 && said.contains("nothing to resume"), "{code}: {said}");
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    let message = world.asked(&gate).await;
    let workflow = format!("incident.remediate-{id}");
    let terminated = world.temporal(&["workflow", "terminate", "-w", &workflow, "--reason", "by mistake"]);
    assert!(terminated.status.success(), "{}", String::from_utf8_lossy(&terminated.stderr));
    let lost = world
        .until("the run to be found lost", async || {
            let shown = world.harmony(&["incident", "show", &id, "--json"]);
            let shown: Value = serde_json::from_slice(&shown.stdout).ok()?;
            let run = shown["blueprints"]["remediate"].clone();
            (run["orphaned"] == true).then_some(run)
        })
        .await;
    assert_eq!((&lost["status"], &lost["attempt"]), (&json!("ORPHANED"), &json!(1)), "{lost}");
    assert!(lost["reason"].as_str().unwrap().contains("terminated"), "{lost}");
    // It is not started anew over the one that waits.
    let body = json!({ "runbook": "runbooks/rollback-deployment.md" });
    let again = world.api(reqwest::Method::POST, &format!("incidents/{id}/remediate"), Some(body)).await;
    assert_eq!(again.0, 409, "{again:?}");
    assert!(again.1.to_string().contains("resume"), "{again:?}");

    let said = world.state("slack").await["messages"].as_array().unwrap().len();
    let resumed = world.harmony(&["incident", "resume", &id, "--idempotency-key", "again"]);
    assert!(resumed.status.success(), "{:?}", refusal(&resumed));
    let state = world
        .until("the new run at its gate", async || {
            let state = world.approval_state(&id).await;
            (state["status"] == "pending" && state["slackMessageTs"] == json!(message)).then_some(state)
        })
        .await;
    for field in ["gateId", "digest", "level", "deadline", "requestedAt", "requester"] {
        assert_eq!(state[field], gate[field], "{field}: {state}");
    }
    let run = world
        .until("the resumption to be on record", async || {
            let run = world.incident(&id).await["blueprints"]["remediate"].clone();
            (run["status"] == "RUNNING").then_some(run)
        })
        .await;
    assert_eq!((&run["attempt"], &run["orphaned"]), (&json!(1), &json!(false)));
    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let kinds = world.kinds(&id).await;
    let count = |kind: &str| kinds.iter().filter(|one| *one == kind).count();
    assert_eq!((count("APPROVAL_REQUESTED"), count("APPROVAL_DECIDED")), (1, 1));
    assert_eq!((count("BLUEPRINT_ORPHANED"), count("BLUEPRINT_RESUMED")), (1, 1));
    // The notice and the question were there already: only the outcome is new.
    assert_eq!(world.state("slack").await["messages"].as_array().unwrap().len(), said + 1);
    let history = std::fs::read_to_string(world.dir.path().join("sample/checkout/history")).unwrap();
    assert_eq!(history.lines().count(), 3, "{history}");
    world.verified().await;
}

#[tokio::test]
async fn second_start_before_the_first_is_on_record_is_refused_and_not_lost() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Two ask for the same", "P2").await;
    // No worker begins anything: both are asked for before either is on record.
    world.freeze_between_writes("worker", &id).await;
    let ask = async |reason: &str| {
        let env = json!({ "SAMPLE_STATE": world.dir.path().join(reason) });
        let body = json!({ "runbook": "runbooks/rollback-deployment.md", "env": env });
        world.api(reqwest::Method::POST, &format!("incidents/{id}/remediate"), Some(body)).await
    };
    let (first, second) = (ask("first").await, ask("second").await);
    assert_eq!((first.0, second.0), (202, 202), "{first:?} {second:?}");
    world.kill("worker");
    world.gate(&id).await;
    let refused = world
        .until("the refusal of one of them on record", async || {
            let records = world.records(&id).await;
            records.into_iter().find(|one| one["payload"]["step"] == "second-start")
        })
        .await;
    assert_eq!(
        (&refused["kind"], &refused["actor"]),
        (&json!("STEP_SKIPPED"), &json!("operator")),
        "{refused}"
    );
    assert!(refused["payload"]["reason"].as_str().unwrap().contains("started already"), "{refused}");
    let kinds = world.kinds(&id).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "APPROVAL_REQUESTED").count(), 1);
    world.post(&format!("incidents/{id}/stop"), json!({})).await;
    world.completed(&id, "remediate").await;
    world.verified().await;
}

#[tokio::test]
async fn start_by_hand_does_not_become_the_resumed_run() {
    let world = World::start(POLICY).await;
    let id = resumed_beside_another_start(&world).await;
    let runs = world.records(&id).await;
    let runs = runs.iter().filter(|one| one["payload"]["blueprint"] == "remediate");
    let begun: Vec<&Value> = runs.filter(|one| one["kind"] == "BLUEPRINT_STARTED").collect();
    assert!(begun.iter().all(|one| one["payload"]["attested"] == true), "{begun:?}");
}

/// A remediation is lost and resumed, and before the dispatcher gets to it somebody starts a run under its id that would
/// act on something else. What runs in the end is what the gate showed.
async fn resumed_beside_another_start(world: &World) -> String {
    let (id, _) = world.initiated("Two runs for one attempt", "P2").await;
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    world.asked(&gate).await;
    let workflow = format!("incident.remediate-{id}");
    let terminated = world.temporal(&["workflow", "terminate", "-w", &workflow, "--reason", "by mistake"]);
    assert!(terminated.status.success(), "{}", String::from_utf8_lossy(&terminated.stderr));
    world
        .until("the run to be found lost", async || {
            let run = world.incident(&id).await["blueprints"]["remediate"].clone();
            (run["status"] == "ORPHANED").then_some(())
        })
        .await;
    world.freeze_between_writes("worker", &id).await;
    let resumed = world.harmony(&["incident", "resume", &id, "--idempotency-key", "again"]);
    assert!(resumed.status.success(), "{:?}", refusal(&resumed));
    let production = world.dir.path().join("production");
    let input = json!({
        "context": { "incident_id": id, "initiator_id": "operator" },
        "remediation": { "kind": "runbook", "path": "runbooks/rollback-deployment.md", "env": { "SAMPLE_STATE": production } },
    });
    let start = ["workflow", "start", "--type", "incident.remediate", "--task-queue", "harmony-incidents"];
    let started = world.temporal(&[&start[..], &["-w", &workflow, "--input", &input.to_string()]].concat());
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    world.thaw("worker");
    world
        .until("the resumption", async || {
            let run = world.incident(&id).await["blueprints"]["remediate"].clone();
            (run["status"] == "RUNNING" && run["attempt"] == 1).then_some(())
        })
        .await;
    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    assert!(!production.exists(), "it ran on what nobody approved");
    let history = std::fs::read_to_string(world.dir.path().join("sample/checkout/history")).unwrap();
    assert_eq!(history.lines().count(), 3, "{history}");
    world.verified().await;
    id
}

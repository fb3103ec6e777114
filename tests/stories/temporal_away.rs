//! Temporal is away: a declaration is taken and a decision counts all the same; both are carried out when it is back.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::world::{POLICY, World, refusal};

/// A task of a workflow that is not completed by then is given to the next worker (4 s), and some.
const TASK_IS_LOST: Duration = Duration::from_millis(4500);
/// A door gives its verdict by then.
const VERDICT: Duration = Duration::from_secs(2);
/// Rounds in which at least one task is lost, on any machine.
const ROUNDS: usize = 20;

#[tokio::test]
async fn declaration_is_taken_and_initiated_when_temporal_is_back() {
    let world = World::start(POLICY).await;
    let (waiting, _) = world.initiated("Before the outage", "P2").await;
    world.remediate(&waiting).await;
    let gate = world.gate(&waiting).await;
    // Stopped, not killed: dev would start a killed one again.
    world.freeze("temporal");
    let declared = world
        .until("a declaration with the warning", async || {
            let output = world.harmony(&["incident", "declare", "During the outage", "--severity", "P2"]);
            assert!(output.status.success(), "{}", refusal(&output).1);
            refusal(&output)
                .1
                .contains("initiation starts when")
                .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        })
        .await;
    let id = declared.split_whitespace().find(|word| word.starts_with("INC-")).unwrap().to_owned();

    // A decision needs neither Temporal nor a worker to count.
    let gate_id = gate["gateId"].as_str().unwrap();
    let decided = world.harmony(&["approval", "reject", gate_id, "--yes", "--reason", "not now"]);
    let (code, said) = refusal(&decided);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("it is carried out when"), "{said}");

    world.thaw("temporal");
    assert_eq!(world.completed(&id, "initiate").await["status"], "COMPLETED");
    assert_eq!(world.completed(&waiting, "remediate").await["status"], "REJECTED");
    world.verified().await;
}

/// Each door gives its verdict at once, and what was approved runs once when Temporal is back.
#[tokio::test]
async fn decisions_get_their_verdict_while_temporal_is_away_and_the_runbook_starts_once() {
    let world = World::start(POLICY).await;
    let mut waiting = Vec::new();
    for title in ["Approved by command", "Approved by click"] {
        let (id, _) = world.initiated(title, "P2").await;
        let body = json!({
            "runbook": "runbooks/rollback-deployment.md",
            "verify": ["postcheck"],
            "env": { "SAMPLE_STATE": world.dir.path().join(&id) },
        });
        world.post(&format!("incidents/{id}/remediate"), body).await;
        let gate = world.gate(&id).await;
        let message = world.asked(&gate).await;
        waiting.push((id, gate, message));
    }
    let [(by_command, gate, _), (by_click, _, message)] = waiting.as_slice() else { panic!() };
    world.freeze("temporal");

    let began = Instant::now();
    let arguments = ["approval", "approve", gate["gateId"].as_str().unwrap(), "--yes"];
    let decided = world.harmony_with(&arguments, &[("HARMONY_TOKEN", world.text("/tokens/commander"))]);
    let took = began.elapsed();
    assert_eq!(refusal(&decided).0, 0, "{}", refusal(&decided).1);
    assert!(took < VERDICT, "harmony approval approve took {took:?}");
    let began = Instant::now();
    world.click_on(message, "approve", "commander").await;
    let took = began.elapsed();
    assert!(took < VERDICT, "the click took {took:?}");
    for id in [by_command, by_click] {
        let kinds = world.kinds(id).await;
        assert!(kinds.contains(&"APPROVAL_DECIDED".to_owned()), "{id}: the verdict is on record");
    }

    world.thaw("temporal");
    for id in [by_command, by_click] {
        let result = world.completed(id, "remediate").await;
        assert_eq!(result["status"], "COMPLETED", "{result}");
        let records = world.records(id).await;
        let mut started: Vec<String> = records
            .iter()
            .filter(|record| record["kind"] == "RUNBOOK_CELL_STARTED")
            .map(|record| record["payload"]["cell"].to_string())
            .collect();
        let all = started.len();
        started.sort();
        started.dedup();
        assert!(all > 0 && all == started.len(), "{id}: every cell starts once");
    }
    world.verified().await;
}

/// The task that opens a gate is lost, the gate stands in the log: who decides then is heard by the task that follows,
/// which finds the verdict when it opens the gate.
#[tokio::test]
async fn decision_made_while_the_task_that_opens_its_gate_is_lost_counts() {
    let world = World::start(POLICY).await;
    for round in 1.. {
        let (id, _) = world.initiated(&format!("Round {round}"), "P2").await;
        world.remediate(&id).await;
        // What opens the gate goes on in the worker: the log alone is needed.
        while world.incident(&id).await["blueprints"]["remediate"].is_null() {}
        world.freeze("temporal");
        let gate = world.gate(&id).await;
        let decision = json!({ "decision": "rejected", "reason": "not now", "digest": gate["digest"] });
        let (status, answer) = world.decide(&gate, decision).await;
        assert_eq!(status, 200, "{answer}");
        tokio::time::sleep(TASK_IS_LOST).await;
        world.thaw("temporal");
        assert_eq!(world.completed(&id, "remediate").await["status"], "REJECTED");
        assert_eq!(world.approval_state(&id).await["status"], "rejected");
        let workflow = format!("incident.remediate-{id}");
        let history = world.temporal(&["workflow", "show", "-w", &workflow, "-o", "json"]).stdout;
        let history = String::from_utf8(history).unwrap();
        let lost = history.find("EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT");
        if lost.is_some_and(|at| at < history.find("EVENT_TYPE_WORKFLOW_TASK_COMPLETED").unwrap()) {
            break;
        }
        assert!(round < ROUNDS, "no task was lost in {round} rounds");
    }
    world.verified().await;
}

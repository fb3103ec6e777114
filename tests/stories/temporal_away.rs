//! Temporal is away: a declaration is taken all the same and carried out when it is back.

use std::time::Duration;

use serde_json::json;

use crate::world::{POLICY, World, refusal};

/// A task of a workflow that is not completed by then is given to the next worker (4 s), and some.
const TASK_IS_LOST: Duration = Duration::from_millis(4500);
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

    // What needs a verdict says that there is none yet.
    let gate_id = gate["gateId"].as_str().unwrap();
    let decided = world.harmony(&["approval", "reject", gate_id, "--yes", "--reason", "not now"]);
    let (code, said) = refusal(&decided);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("recorded, not yet judged"), "{said}");

    world.thaw("temporal");
    assert_eq!(world.completed(&id, "initiate").await["status"], "COMPLETED");
    assert_eq!(world.completed(&waiting, "remediate").await["status"], "REJECTED");
    world.verified().await;
}

/// The task that opens a gate is lost, the gate stands in the log: who decides then is heard by the task that follows,
/// which judges before it knows the gate.
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
        assert_eq!(status, 202, "{answer}");
        tokio::time::sleep(TASK_IS_LOST).await;
        world.thaw("temporal");
        assert_eq!(world.completed(&id, "remediate").await["status"], "REJECTED");
        assert_eq!(world.approval_state(&id).await["status"], "rejected");
        let workflow = format!("incident.remediate-{id}");
        let history = world.temporal(&["workflow", "show", "-w", &workflow, "-o", "json"]).stdout;
        let history = String::from_utf8(history).unwrap();
        let decided = history.find("EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED");
        if decided.is_some_and(|at| at < history.find("EVENT_TYPE_WORKFLOW_TASK_COMPLETED").unwrap()) {
            break;
        }
        assert!(round < ROUNDS, "no task was lost in {round} rounds");
    }
    world.verified().await;
}

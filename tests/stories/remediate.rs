//! A runbook runs only after somebody who may has approved exactly it.

use serde_json::{Value, json};

use crate::world::{POLICY, World};

/// Whether any cell of this incident ran.
async fn ran(world: &World, id: &str) -> bool {
    world.kinds(id).await.iter().any(|kind| kind == "RUNBOOK_CELL_STARTED")
}

#[tokio::test]
async fn p2_runbook_runs_after_approval_and_is_verified() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Bad release of checkout", "P2").await;
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    assert_eq!(gate["requiredRoles"], json!(["incident-commander", "sre-oncall", "incident-approver"]));
    assert!(!ran(&world, &id).await, "nothing runs before the decision");
    // Who asked may not approve, and who may not decide changes nothing.
    world.click(&gate, "approve", "operator").await;
    world.click(&gate, "approve", "viewer").await;
    world
        .until("both refusals on record", async || {
            let kinds = world.kinds(&id).await;
            (kinds.iter().filter(|kind| *kind == "APPROVAL_REFUSED").count() == 2).then_some(())
        })
        .await;
    assert!(!ran(&world, &id).await);
    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    assert_eq!(result["approval"], json!({ "wasRequired": true, "wasApproved": true }));
    let cells = result["remediation"]["runbook"]["cells"].as_array().unwrap();
    let names: Vec<&str> = cells.iter().map(|cell| cell["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["show-history", "rollback", "postcheck"]);
    assert!(cells.iter().all(|cell| cell["success"] == true));

    let incident = world.incident(&id).await;
    assert_eq!(
        (incident["state"].as_str(), incident["phase"].as_str()),
        (Some("MITIGATING"), Some("verified"))
    );
    let records = world.records(&id).await;
    let mut because: Vec<&str> =
        records.iter().filter_map(|record| record["payload"]["refusedBecause"].as_str()).collect();
    // Two clicks in the same moment arrive in either order.
    because.sort_unstable();
    assert_eq!(because, ["four-eyes", "missing-role"]);
    let decided = records.iter().find(|record| record["kind"] == "APPROVAL_DECIDED").unwrap();
    assert_eq!(decided["payload"]["approver"], "commander");
    assert_eq!(decided["payload"]["attested"], true);
    let output = records
        .iter()
        .find(|record| record["kind"] == "RUNBOOK_CELL_FINISHED" && record["payload"]["cell"] == "rollback")
        .unwrap();
    assert!(output["payload"]["stdout"].as_str().unwrap().contains("now revision 3"), "{output}");
    world.verified().await;
}

#[tokio::test]
async fn rejected_runbook_does_not_run() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Bad release of search", "P2").await;
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    world.click(&gate, "reject", "commander").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "REJECTED", "{result}");
    assert_eq!(result["remediation"]["executed"], false);
    assert!(!ran(&world, &id).await);
    let incident = world.incident(&id).await;
    assert_eq!((incident["state"].as_str(), incident["phase"].as_str()), (Some("OPEN"), Some("triaging")));
    // A decision after the end changes nothing, and its decider is told.
    let late = json!({ "decision": "approved", "digest": gate["digest"] });
    let (status, answer) = world.decide(&gate, late).await;
    assert_eq!(status, 409, "{answer}");
    world
        .until("that refusal on record", async || {
            world.kinds(&id).await.contains(&"APPROVAL_REFUSED".to_owned()).then_some(())
        })
        .await;
    world.verified().await;
}

#[tokio::test]
async fn silence_approves_nothing_however_often_it_escalates() {
    let levels = "[urgent]\nP2 = [{ roles = [\"sre-oncall\"], within = \"2s\" }, { roles = [\"incident-manager\"], within = \"2s\", page = true }]\n";
    let world = World::start(&format!("{POLICY}{levels}")).await;
    let (id, _) = world.initiated("Nobody is awake", "P2").await;
    world.remediate(&id).await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "REJECTED", "{result}");
    assert_eq!(result["reason"], "timeout");
    assert_eq!(result["approval"], json!({ "wasRequired": true, "wasApproved": false, "reason": "timeout" }));
    assert!(!ran(&world, &id).await);
    let kinds = world.kinds(&id).await;
    let count = |kind: &str| kinds.iter().filter(|one| *one == kind).count();
    assert_eq!((count("APPROVAL_TIMED_OUT"), count("APPROVAL_ESCALATED")), (2, 1));
    // The second level was paged, and the page ended with it.
    let pages = world.state("pagerduty").await;
    let page = pages["incidents"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["title"].as_str().unwrap().contains("approval needed"))
        .unwrap_or_else(|| panic!("{pages}"));
    assert_eq!(page["status"], "resolved");
    world.verified().await;
}

#[tokio::test]
async fn stopping_a_waiting_runbook_cancels_its_gate() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Wrong idea", "P2").await;
    world.remediate(&id).await;
    world.gate(&id).await;
    world.post(&format!("incidents/{id}/stop"), json!({})).await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "CANCELLED", "{result}");
    assert!(!ran(&world, &id).await);
    assert!(world.kinds(&id).await.contains(&"APPROVAL_CANCELLED".to_owned()));
    world.verified().await;
}

#[tokio::test]
async fn p2_is_paged_at_once_when_the_channel_does_not_take_the_question() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Slack went away", "P2").await;
    let silent =
        json!({ "match": { "path": "chat.postMessage" }, "times": 1000, "fault": "status", "status": 503 });
    world.fault("slack", silent).await;
    world.remediate(&id).await;
    world.gate(&id).await;
    let page = async |world: &World| {
        let incidents = world.state("pagerduty").await["incidents"].clone();
        let found =
            incidents.as_array().unwrap().iter().find(|one| one.to_string().contains("approval needed"));
        found.cloned()
    };
    world.until("the page of the first level", async || page(&world).await).await;
    // Nothing waits for the channel: the decision counts at once, and ends the page.
    let rejected = "{\"decision\":\"rejected\",\"approverId\":\"commander\"}";
    let workflow = format!("incident.remediate-{id}");
    let sent =
        world.temporal(&["workflow", "signal", "-w", &workflow, "--name", "approval", "--input", rejected]);
    assert!(sent.status.success());
    world
        .until("the page to end", async || {
            page(&world).await.filter(|page| page["status"] == "resolved").map(drop)
        })
        .await;
    assert!(!ran(&world, &id).await);
    world.verified().await;
}

/// Events of a run's history, oldest first.
async fn history(world: &World, workflow: &str) -> Vec<Value> {
    let shown = world.temporal_json(&["workflow", "show", "-w", workflow]).await;
    shown["events"].as_array().unwrap().clone()
}

/// Where in a history an activity of this type was first scheduled.
fn scheduled(events: &[Value], activity: &str) -> usize {
    let is_it = |event: &Value| {
        event["activityTaskScheduledEventAttributes"]["activityType"]["name"].as_str() == Some(activity)
    };
    events.iter().position(is_it).unwrap_or_else(|| panic!("no {activity}"))
}

/// The steps that failed, and why.
async fn failed(world: &World, id: &str) -> Vec<(String, String)> {
    let records = world.records(id).await;
    let failed = records.iter().filter(|record| record["kind"] == "STEP_FAILED");
    let text = |record: &Value, name: &str| record["payload"][name].as_str().unwrap_or_default().to_owned();
    failed.map(|record| (text(record, "step"), text(record, "error"))).collect()
}

#[tokio::test]
async fn approved_runbook_starts_at_once_while_the_channel_is_away_and_what_was_not_told_is_on_record() {
    let world = World::start(&POLICY.replace("90s", "5s")).await;
    let (id, _) = world.initiated("Slack went away later", "P2").await;
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    world.asked(&gate).await;
    let away = json!({ "match": { "path": "." }, "times": 100_000, "fault": "status", "status": 503 });
    world.fault("slack", away).await;
    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");

    // The decision, what tells of it and the first cell stand in one turn of the workflow: nothing from outside, no
    // answer and no timer, comes between.
    let events = history(&world, &format!("incident.remediate-{id}")).await;
    let (told, cell) = (scheduled(&events, "channel.settle"), scheduled(&events, "runbook.cell"));
    let between: Vec<&str> = events[told.min(cell)..=told.max(cell)]
        .iter()
        .filter_map(|event| event["eventType"].as_str())
        .filter(|kind| {
            ["_FIRED", "_STARTED", "_COMPLETED", "_FAILED", "_TIMED_OUT"]
                .iter()
                .any(|end| kind.ends_with(end))
                && !kind.contains("WORKFLOW_TASK")
        })
        .collect();
    assert!(between.is_empty(), "the first cell waited for {between:?}");
    let steps: Vec<String> = failed(&world, &id).await.into_iter().map(|(step, _)| step).collect();
    assert!(steps.contains(&"approve/settle".to_owned()), "{steps:?}");
    assert!(result["warnings"].to_string().contains("approve/settle"), "{result}");
    world.verified().await;
}

#[tokio::test]
async fn what_cannot_be_told_does_not_hold_up_the_end_of_a_run() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Slack takes no changes", "P2").await;
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    world.asked(&gate).await;
    let stuck =
        json!({ "match": { "path": "chat.update" }, "times": 100_000, "fault": "status", "status": 503 });
    world.fault("slack", stuck).await;
    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let failed = failed(&world, &id).await;
    let [(step, why)] = failed.as_slice() else { panic!("{failed:?}") };
    assert_eq!(step, "approve/settle");
    assert!(why.contains("within 10 s after everything else"), "{why}");
    assert!(result["warnings"].to_string().contains("within 10 s"), "{result}");
    // It is told after all when somebody asks for it.
    world.unfault("slack").await;
    world.post(&format!("incidents/{id}/retry"), json!({})).await;
    world
        .until("the message to tell who approved", async || {
            let messages = world.state("slack").await["messages"].to_string();
            messages.contains("Approved by Chris Commander").then_some(())
        })
        .await;
    world.verified().await;
}

/// A runbook of many cells, this long in all. Each prints more than its share.
fn long_runbook(cells: usize, bytes: usize) -> String {
    let line = "# what this step is for, and what to look at when it does not work\n";
    let fence = 45;
    let lines = (bytes / cells - fence) / line.len();
    (0..cells)
        .map(|number| format!("```sh {{ name=step-{number} }}\n{}seq 1 4000\n```\n", line.repeat(lines)))
        .collect()
}

#[tokio::test]
async fn history_of_the_largest_run_stays_small() {
    const CELLS: usize = 210;
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Everything has to be done again", "P2").await;
    let runbook = long_runbook(CELLS, 244 * 1024);
    assert!((236 * 1024..256 * 1024).contains(&runbook.len()), "{}", runbook.len());
    std::fs::write(world.dir.path().join("runbooks/long.md"), &runbook).unwrap();
    let env = json!({ "REGION": "eu-central-1", "NOTE": "x".repeat(400) });
    world.post(&format!("incidents/{id}/remediate"), json!({ "runbook": "long.md", "env": env })).await;
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "commander").await;
    for so_far in (0..CELLS).step_by(30) {
        world
            .until(&format!("cell {so_far} to end"), async || {
                let kinds = world.kinds(&id).await;
                (kinds.iter().filter(|kind| *kind == "RUNBOOK_CELL_FINISHED").count() > so_far).then_some(())
            })
            .await;
    }
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let described =
        world.temporal_json(&["workflow", "describe", "-w", &format!("incident.remediate-{id}")]).await;
    let info = &described["workflowExecutionInfo"];
    let bytes: u64 = info["historySizeBytes"].as_str().unwrap_or_else(|| panic!("{info}")).parse().unwrap();
    assert!(bytes < 2_000_000, "{bytes} bytes of history");
    // What was shown is on record, whole, and once.
    let records = world.records(&id).await;
    let covering = records.iter().filter(|one| one.to_string().contains("what this step is for")).count();
    assert_eq!(covering, 1);
    world.verified().await;
}

#[tokio::test]
async fn run_that_is_too_long_for_its_history_is_not_proposed() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Far too much to do", "P2").await;
    std::fs::write(world.dir.path().join("runbooks/endless.md"), long_runbook(600, 150 * 1024)).unwrap();
    world.post(&format!("incidents/{id}/remediate"), json!({ "runbook": "endless.md" })).await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "FAILED", "{result}");
    let why = result["reason"].as_str().unwrap();
    assert!(why.contains("600 cells") && why.contains("run fewer cells at once"), "{why}");
    assert!(!world.kinds(&id).await.contains(&"APPROVAL_REQUESTED".to_owned()));
    world.verified().await;
}

//! A runbook runs only after somebody who may has approved exactly it.

use serde_json::json;

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

#[tokio::test]
async fn approved_runbook_does_not_wait_for_a_channel_that_went_away() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Slack went away later", "P2").await;
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    world.asked(&gate).await;
    let silent = json!({ "match": { "path": "chat." }, "times": 1000, "fault": "status", "status": 503 });
    world.fault("slack", silent).await;
    let decided = std::time::Instant::now();
    world.click(&gate, "approve", "commander").await;
    world.until("the first cell", async || ran(&world, &id).await.then_some(())).await;
    assert!(decided.elapsed() < std::time::Duration::from_secs(60), "it waited {:?}", decided.elapsed());
    world
        .until("the last cell", async || {
            let finished =
                world.kinds(&id).await.iter().filter(|kind| *kind == "RUNBOOK_CELL_FINISHED").count();
            (finished == 3).then_some(())
        })
        .await;
    world.verified().await;
}

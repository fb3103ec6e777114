//! An incident is resolved, and everybody is told.

use reqwest::Method;
use serde_json::json;

use crate::world::{POLICY, World};

#[tokio::test]
async fn close_out_resolves_the_status_page_and_posts() {
    let world = World::start(POLICY).await;
    let declared = json!({
        "title": "Payments time out", "severity": "P2", "publicComponents": ["cmpapi"], "costCenter": "cc-42",
    });
    let made = world.post("incidents", declared).await;
    let id = made["incidentId"].as_str().unwrap().to_owned();
    world.completed(&id, "initiate").await;
    let public = world.state("statuspage").await;
    assert_eq!(public["incidents"][0]["impact"], "major", "{public}");
    assert_eq!(public["components"][0]["status"], "partial_outage", "{public}");
    world
        .post(&format!("incidents/{id}/close-out"), json!({ "resolutionSummary": "Rolled back to 2.4.0" }))
        .await;
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&id, "close-out").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    assert_eq!(world.state("statuspage").await["components"][0]["status"], "operational");
    // Every run of the incident carries who pays.
    let records = world.records(&id).await;
    let started: Vec<_> = records.iter().filter(|one| one["kind"] == "BLUEPRINT_STARTED").collect();
    assert_eq!(started.len(), 3, "initiate, the close-out and the update clock");
    for one in started {
        let input = one["payload"]["input"].as_str().unwrap();
        assert!(input.contains("\"cost_center\":\"cc-42\""), "{input}");
    }
    let shown = world.incident(&id).await;
    assert_eq!(
        (&shown["costCenter"], &shown["links"]["statuspageStatus"]),
        (&json!("cc-42"), &json!("resolved"))
    );
    assert_eq!(
        result["notifications"],
        json!({ "statuspageIncidentResolved": true, "pagerDutyIncidentResolved": true, "slackCloseoutPosted": true, "channelArchived": false })
    );
    assert_eq!(world.incident(&id).await["state"], "RESOLVED");
    assert_eq!(world.state("statuspage").await["incidents"][0]["status"], "resolved");
    assert_eq!(world.state("pagerduty").await["incidents"][0]["status"], "resolved");
    let messages = world.state("slack").await["messages"].to_string();
    assert!(messages.contains("Resolved: Payments time out"), "{messages}");
    world.verified().await;
}

#[tokio::test]
async fn status_resolved_goes_through_the_gate_of_the_close_out() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Payments time out", "P2").await;
    let resolved = ["incident", "status", &id, "resolved", "--summary", "Rolled back to 2.4.0"];
    let said = world.harmony(&resolved);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let told = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(told.contains(&format!("incident.close-out-{id}")), "{told}");
    assert!(told.contains("waits for approval by incident-commander"), "{told}");
    let gate = world.gate(&id).await;
    assert_eq!(gate["gateId"], format!("incident.close-out-{id}#1/approve"));
    assert_ne!(world.incident(&id).await["state"], "RESOLVED");
    // Asked again while it waits, at another door.
    let again = json!({ "status": "RESOLVED", "resolutionSummary": "Rolled back" });
    let (status, problem) = world.api(Method::POST, &format!("incidents/{id}/status"), Some(again)).await;
    assert_eq!(status, 409, "{problem}");
    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&id, "close-out").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let shown = world.incident(&id).await;
    assert_eq!(shown["state"], "RESOLVED");
    assert_eq!(shown["resolution"]["summary"], "Rolled back to 2.4.0");
    assert_eq!(shown["resolution"]["resolvedBy"], "operator");
    world.verified().await;
}

#[tokio::test]
async fn resolving_cancels_the_remediation_that_waits() {
    let world = World::start(POLICY).await;
    // The public page of a P3 waits for a decision of its own.
    let made = world.post("incidents", json!({ "title": "It went away", "severity": "P3" })).await;
    let id = made["incidentId"].as_str().unwrap().to_owned();
    let status = world.gate(&id).await;
    world.click(&status, "approve", "commander").await;
    world.completed(&id, "initiate").await;
    world.remediate(&id).await;
    world.gate(&id).await;
    // A P3 is closed out without a gate.
    world
        .post(
            &format!("incidents/{id}/close-out"),
            json!({ "resolutionSummary": "It went away", "resolutionType": "FALSE_POSITIVE" }),
        )
        .await;
    assert_eq!(world.completed(&id, "close-out").await["status"], "COMPLETED");
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "CANCELLED", "{result}");
    assert!(world.kinds(&id).await.contains(&"APPROVAL_CANCELLED".to_owned()));
    assert!(!world.kinds(&id).await.contains(&"RUNBOOK_CELL_STARTED".to_owned()));
    world.verified().await;
}

#[tokio::test]
async fn resolving_a_p1_ends_the_page_of_the_remediation_that_waits_and_pages_nobody_after() {
    // The remediation's second level comes soon, and pages; it must not come any more.
    let levels = "[urgent]\nP1 = [{ roles = [\"sre-oncall\"], within = \"30s\", page = true }, { roles = [\"incident-manager\"], within = \"10m\", page = true }]\n";
    let world = World::start(&format!("{POLICY}{levels}")).await;
    let (id, _) = world.initiated("It went away by itself", "P1").await;
    world.remediate(&id).await;
    let remediation = world.gate(&id).await;
    let pages = async |world: &World| {
        let all = world.state("pagerduty").await["incidents"].clone();
        let about = all.as_array().unwrap().iter().filter(|one| one.to_string().contains("approval needed"));
        about.map(|one| one["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    world.until("the page", async || (pages(&world).await.len() == 1).then_some(())).await;
    world.post(&format!("incidents/{id}/close-out"), json!({ "resolutionSummary": "It went away" })).await;
    let closing = world
        .until("the gate of the close-out", async || {
            let gate = world.incident(&id).await["gate"].clone();
            gate["gateId"].as_str().is_some_and(|gate| gate.contains("close-out")).then_some(gate)
        })
        .await;
    world.click(&closing, "approve", "commander").await;
    assert_eq!(world.completed(&id, "close-out").await["status"], "COMPLETED");
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "CANCELLED", "{result}");
    let records = world.records(&id).await;
    let cancelled = records.iter().find(|one| one["kind"] == "APPROVAL_CANCELLED").unwrap();
    assert_eq!(cancelled["payload"]["gateId"], remediation["gateId"]);
    assert_eq!(pages(&world).await, ["resolved"]);
    assert!(!records.iter().any(|one| one["kind"] == "APPROVAL_ESCALATED"), "{records:?}");
    world.verified().await;
}

#[tokio::test]
async fn channel_is_archived_after_a_decision_of_its_own() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Mail is late", "P2").await;
    let body = json!({ "resolutionSummary": "The queue is drained", "archiveChannel": true });
    world.post(&format!("incidents/{id}/close-out"), body).await;
    let channel = world.slack().channel(&id);
    channel.question(&format!("Resolve {id}")).await.click("Approve").as_("commander").await;
    let question = channel.question(&format!("Archive the channel of {id}")).await;
    assert_eq!(world.incident(&id).await["state"], "RESOLVED", "resolving does not wait for the archive");
    question.click("Approve").as_("commander").await;
    let result = world.completed(&id, "close-out").await;
    assert_eq!(result["notifications"]["channelArchived"], true, "{result}");
    assert_eq!(world.incident(&id).await["links"]["slackChannelArchived"], "true");
    channel.is_archived().await;
    world.verified().await;
}

#[tokio::test]
async fn channel_stays_when_its_archiving_is_rejected() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Mail is late again", "P2").await;
    let body = json!({ "resolutionSummary": "The queue is drained", "archiveChannel": true });
    world.post(&format!("incidents/{id}/close-out"), body).await;
    let channel = world.slack().channel(&id);
    channel.question(&format!("Resolve {id}")).await.click("Approve").as_("commander").await;
    let question = channel.question(&format!("Archive the channel of {id}")).await;
    question.click("Reject").as_("commander").await;
    let result = world.completed(&id, "close-out").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    assert_eq!(result["notifications"]["channelArchived"], false, "{result}");
    let records = world.records(&id).await;
    let step = records.iter().find(|one| one["payload"]["step"] == "channel-archive").unwrap();
    assert_eq!(step["kind"], "STEP_SKIPPED", "{step}");
    // It still takes messages.
    world.post(&format!("incidents/{id}/notes"), json!({ "note": "still here" })).await;
    let state = world.state("slack").await;
    assert_eq!(state["channels"][0]["is_archived"], false, "{state}");
    world.verified().await;
}

#[tokio::test]
async fn incident_declared_by_mistake_is_cancelled_and_everybody_hears_it() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("A test alarm", "P2").await;
    world.post(&format!("incidents/{id}/cancel"), json!({ "reason": "It was a fire drill" })).await;
    let channel = world.slack().channel(&id);
    channel.question(&format!("Cancel {id}")).await.click("Approve").as_("commander").await;
    let result = world.completed(&id, "close-out").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    assert_eq!(world.incident(&id).await["state"], "CANCELLED");
    assert_eq!(world.state("statuspage").await["incidents"][0]["status"], "resolved");
    assert_eq!(world.state("pagerduty").await["incidents"][0]["status"], "resolved");
    channel.expect("It was a fire drill").await;
    // It is over: nothing more can be run on it.
    let body = json!({ "runbook": "runbooks/rollback-deployment.md" });
    let (status, problem) =
        world.api(reqwest::Method::POST, &format!("incidents/{id}/remediate"), Some(body)).await;
    assert_eq!(status, 409, "{problem}");
    world.verified().await;
}

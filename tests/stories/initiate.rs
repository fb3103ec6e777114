//! An incident is declared: everybody who must know is told, once; who cannot be told is a warning.

use serde_json::json;

use crate::world::{POLICY, World};

#[tokio::test]
async fn p1_is_initiated_with_slack_pagerduty_and_statuspage() {
    let world = World::start(POLICY).await;
    let (id, result) = world.initiated("Checkout answers 500", "P1").await;
    assert!(id.starts_with("INC-") && id.ends_with("-0001"), "{id}");
    assert_eq!(result["status"], "COMPLETED", "{result}");
    assert_eq!(
        result["notifications"],
        json!({ "slackAnnouncementPosted": true, "pagerDutyIncidentCreated": true, "statuspageIncidentCreated": true })
    );
    assert_eq!(result["warnings"], json!([]));

    let slack = world.state("slack").await;
    let channel = &slack["channels"][0];
    assert_eq!(slack["channels"].as_array().unwrap().len(), 1);
    let name = channel["name"].as_str().unwrap();
    assert_eq!(name, format!("{}-checkout-answers-500", id.to_lowercase()));
    assert_eq!(result["correlation"]["slackChannel"], channel["id"]);
    let pagerduty = world.state("pagerduty").await;
    assert_eq!(pagerduty["incidents"].as_array().unwrap().len(), 1);
    let statuspage = world.state("statuspage").await;
    assert_eq!(statuspage["incidents"].as_array().unwrap().len(), 1);
    // The internal title is nobody's business outside.
    assert!(!statuspage.to_string().contains("Checkout answers 500"), "{statuspage}");

    let incident = world.incident(&id).await;
    assert_eq!((incident["state"].as_str(), incident["phase"].as_str()), (Some("OPEN"), Some("triaging")));
    world.verified().await;
}

#[tokio::test]
async fn slack_is_down_and_the_incident_is_initiated_all_the_same() {
    let world = World::start(&POLICY.replace("90s", "4s")).await;
    let down = json!({ "match": {}, "times": 1000, "fault": "status", "status": 503 });
    world.fault("slack", down).await;
    let (id, result) = world.initiated("Search is slow", "P2").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    assert_eq!(result["notifications"]["slackAnnouncementPosted"], false);
    assert_eq!(result["notifications"]["pagerDutyIncidentCreated"], true);
    let warnings = result["warnings"].to_string();
    assert!(warnings.contains("channel: ") && warnings.contains("Slack"), "{warnings}");
    assert_eq!(world.incident(&id).await["state"], "OPEN");
    assert!(world.kinds(&id).await.contains(&"STEP_FAILED".to_owned()));
    world.verified().await;
}

#[tokio::test]
async fn run_tells_temporal_what_it_is_about() {
    let world = World::start(POLICY).await;
    // The public page of a P3 waits for a decision, so the run is open while it is asked.
    let body = json!({ "title": "Search is slow", "severity": "P3", "impactedServices": ["search"] });
    let made = world.post("incidents", body).await;
    let id = made["incidentId"].as_str().unwrap();
    let workflow = format!("incident.initiate-{id}");
    let gate = world.gate(id).await;

    let described = world.temporal_json(&["workflow", "describe", "-w", &workflow]).await;
    let memo = described.to_string();
    assert!(memo.contains("golden.context"), "{described}");
    let lifecycle = world.temporal_json(&["workflow", "query", "-w", &workflow, "--type", "lifecycle"]).await;
    let lifecycle = &lifecycle["queryResult"][0];
    assert_eq!(lifecycle["incidentId"], id, "{lifecycle}");
    assert_eq!((&lifecycle["severity"], &lifecycle["state"]), (&json!("P3"), &json!("OPEN")), "{lifecycle}");
    assert_eq!(lifecycle["phase"], "triaging");
    assert_eq!(lifecycle["approval"]["gateId"], gate["gateId"]);
    assert_eq!(lifecycle["approval"]["status"], "pending");
    let steps = lifecycle["steps"].as_array().unwrap();
    let channel =
        steps.iter().find(|step| step["name"] == "channel").unwrap_or_else(|| panic!("{lifecycle}"));
    assert_eq!(
        (&channel["status"], &channel["capability"]),
        (&json!("SUCCEEDED"), &json!("golden.integrations.slack-interactive"))
    );

    // Both are answered after the end, too.
    world.click(&gate, "approve", "commander").await;
    world.completed(id, "initiate").await;
    let lifecycle = world.temporal_json(&["workflow", "query", "-w", &workflow, "--type", "lifecycle"]).await;
    assert_eq!(lifecycle["queryResult"][0]["approval"]["status"], "approved", "{lifecycle}");
    let context = world.context(&workflow).await;
    assert_eq!(context["incident_id"], id, "{context}");
    assert_eq!(context["initiator_id"], "operator");
    assert_eq!(context["incident_severity"], "P3");
    assert_eq!(context["incident_title"], "Search is slow");
    assert_eq!(context["impacted_services"], json!(["search"]));
    world.verified().await;
}

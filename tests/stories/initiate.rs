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

//! The review is rendered from the log, published once it was approved, and signed off.

use serde_json::json;

use crate::world::{POLICY, World};

#[tokio::test]
async fn post_mortem_creates_the_page_and_returns_its_address() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Login loops", "P2").await;
    world
        .post(&format!("incidents/{id}/close-out"), json!({ "resolutionSummary": "Cookie domain fixed" }))
        .await;
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "commander").await;
    world.completed(&id, "close-out").await;

    // A P2 is not proposed before people wrote what they know.
    let (status, problem) =
        world.api(reqwest::Method::POST, &format!("incidents/{id}/post-mortem"), Some(json!({}))).await;
    assert_eq!(status, 409, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("contributing-factors"), "{problem}");
    for section in ["summary", "impact", "contributing-factors"] {
        let text = format!("What we know: {section} <script>alert(1)</script>");
        world.post(&format!("incidents/{id}/review"), json!({ "section": section, "text": text })).await;
    }
    let action = json!({ "action": "Test the cookie domain", "owner": "oncall", "due": "2027-01-31" });
    world.post(&format!("incidents/{id}/review"), action).await;

    world.post(&format!("incidents/{id}/post-mortem"), json!({ "labels": ["post-mortem"] })).await;
    let gate = world.gate(&id).await;
    assert_eq!(
        world.state("confluence").await["pages"],
        json!([]),
        "nothing is published before the decision"
    );
    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&id, "post-mortem").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    assert_eq!(result["postmortem"]["confluencePageCreated"], true);
    let pages = world.state("confluence").await["pages"].as_array().unwrap().clone();
    assert_eq!(pages.len(), 1);
    assert_eq!(pages[0]["title"], format!("{id}: Login loops"));
    assert_eq!(result["postmortem"]["pageUrl"], pages[0]["url"]);
    let body = pages[0]["body"].to_string();
    assert!(
        body.contains("Test the cookie domain") && body.contains("INCIDENT_CREATED")
            || body.contains("declared as P2"),
        "{body}"
    );
    assert!(!body.contains("<script>"), "what people write is text");

    // Sign-off: with the digest of the page that was read, by somebody who may.
    let incident = world.incident(&id).await;
    assert_eq!(
        (incident["state"].as_str(), incident["phase"].as_str()),
        (Some("RESOLVED"), Some("post-mortem"))
    );
    let stale = json!({ "digest": "00" });
    let (status, _) =
        world.api(reqwest::Method::POST, &format!("incidents/{id}/sign-off"), Some(stale)).await;
    assert_eq!(status, 409);
    world.post(&format!("incidents/{id}/sign-off"), json!({ "digest": incident["review"]["digest"] })).await;
    let incident = world.incident(&id).await;
    assert_eq!((incident["state"].as_str(), incident["phase"].as_str()), (Some("CLOSED"), Some("closed")));
    world.verified().await;
}

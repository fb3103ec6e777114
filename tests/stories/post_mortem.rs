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
    let links = world.incident(&id).await["links"].clone();
    assert_eq!(links["confluencePageUrl"], pages[0]["url"], "{links}");
    assert!(links["confluenceSpaceKey"].as_str().is_some_and(|key| !key.is_empty()), "{links}");
    let body = pages[0]["body"].to_string();
    for text in ["Test the cookie domain", "declared as P2: Login loops"] {
        assert!(body.contains(text), "{text} is missing: {body}");
    }
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

#[tokio::test]
async fn rejected_review_is_not_published_and_can_be_proposed_again() {
    let world = World::start(POLICY).await;
    let made = world.post("incidents", json!({ "title": "Images are missing", "severity": "P3" })).await;
    let id = made["incidentId"].as_str().unwrap().to_owned();
    let public_page = world.gate(&id).await;
    world.click(&public_page, "approve", "commander").await;
    world.completed(&id, "initiate").await;
    world.post(&format!("incidents/{id}/close-out"), json!({ "resolutionSummary": "Cache purged" })).await;
    world.completed(&id, "close-out").await;

    world.post(&format!("incidents/{id}/post-mortem"), json!({})).await;
    let channel = world.slack().channel(&id);
    channel.question("Publish the review").await.click("Reject").as_("commander").await;
    let result = world.completed(&id, "post-mortem").await;
    assert_eq!(result["status"], "REJECTED", "{result}");
    assert_eq!(result["postmortem"], json!({ "confluencePageCreated": false, "pageUrl": null }));
    assert_eq!(world.state("confluence").await["pages"], json!([]));
    channel.expect("The review was not published").await;
    // Nothing was published, so there is nothing to sign.
    let digest = json!({ "digest": "00".repeat(32) });
    let (status, problem) =
        world.api(reqwest::Method::POST, &format!("incidents/{id}/sign-off"), Some(digest)).await;
    assert_eq!(status, 409, "{problem}");

    let text = json!({ "section": "impact", "text": "Images were missing for 40 minutes" });
    world.post(&format!("incidents/{id}/review"), text).await;
    world.post(&format!("incidents/{id}/post-mortem"), json!({})).await;
    channel.question("Publish the review").await.click("Approve").as_("commander").await;
    world
        .until("the page", async || {
            let pages = world.state("confluence").await["pages"].to_string();
            pages.contains("missing for 40 minutes").then_some(())
        })
        .await;
    world.verified().await;
}

#[tokio::test]
async fn review_is_published_in_the_console_where_confluence_is_switched_off() {
    let flags = tempfile::NamedTempFile::new().unwrap();
    let off =
        json!({ "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "off" });
    let name = "cap-golden.connectors.confluence-enabled";
    std::fs::write(flags.path(), json!({ "flags": { name: off } }).to_string()).unwrap();
    let world =
        World::start_with(POLICY, &[("FLAGD_OFFLINE_FLAG_SOURCE_PATH", flags.path().to_str().unwrap())])
            .await;
    let (id, _) = world.initiated("Search is slow", "P2").await;
    world.post(&format!("incidents/{id}/close-out"), json!({ "resolutionSummary": "Index rebuilt" })).await;
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "commander").await;
    world.completed(&id, "close-out").await;
    let nothing = world.harmony(&["incident", "review", &id, "--markdown"]);
    assert_eq!(nothing.status.code(), Some(4), "no review has been rendered: {nothing:?}");
    for section in ["summary", "impact", "contributing-factors"] {
        let text = format!("What we know: {section}");
        world.post(&format!("incidents/{id}/review"), json!({ "section": section, "text": text })).await;
    }
    let action = json!({ "action": "Watch the index", "owner": "oncall" });
    world.post(&format!("incidents/{id}/review"), action).await;

    world.post(&format!("incidents/{id}/post-mortem"), json!({})).await;
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&id, "post-mortem").await;
    assert_eq!((&result["status"], &result["warnings"]), (&json!("COMPLETED"), &json!([])), "{result}");
    assert_eq!(result["postmortem"]["confluencePageCreated"], false, "{result}");
    let incident = world.incident(&id).await;
    let url = incident["review"]["url"].as_str().unwrap();
    assert!(url.ends_with(&format!("/orgs/default/incidents/{id}/review")), "{url}");
    assert_eq!(
        (&result["postmortem"]["pageUrl"], &incident["review"]["published"]),
        (&json!(url), &json!(true))
    );
    assert_eq!(world.state("confluence").await["pages"], json!([]));
    let asked = world.kinds(&id).await.iter().filter(|kind| *kind == "APPROVAL_REQUESTED").count();
    assert_eq!(asked, 2, "the close-out and the review, once each");
    assert!(world.kinds(&id).await.contains(&"STEP_SKIPPED".to_owned()));

    // What is signed off is what is printed.
    let printed = world.harmony(&["incident", "review", &id, "--markdown"]);
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.contains("What we know: impact") && printed.contains("Watch the index"), "{printed}");
    world.post(&format!("incidents/{id}/sign-off"), json!({ "digest": incident["review"]["digest"] })).await;
    assert_eq!(world.incident(&id).await["state"], "CLOSED");
    world.verified().await;
}

//! App Home: what waits for whoever looks, what is open, and a button to declare.

use axum::{body::Body, http::Request};
use harmony_capabilities::slack::signature;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    workspace::{By, Workspace},
    world::{SIGNING_SECRET, World},
};

/// Everything that a person reads there.
fn texts(home: &Value) -> Vec<&str> {
    let blocks = home["blocks"].as_array().unwrap();
    blocks.iter().filter_map(|block| block["text"]["text"].as_str()).collect()
}

#[tokio::test]
async fn who_looks_sees_what_waits_for_them_and_what_is_open() {
    for by in [By::Http, By::Socket] {
        let workspace = Workspace::new(by).await;
        let world = &workspace.world;
        let empty = workspace.home("U0ONCALL").await;
        assert_eq!(
            texts(&empty),
            ["Waits for you", "No decision waits for you.", "Open incidents", "No incident is open."]
        );
        let id = world.opened("P2").await;
        world.linked(&id, "slackChannel", "C0INC").await;
        world.opened("P1").await;
        let gate = world.gated(&id).await;
        let item =
            json!({ "incidentId": id, "action": "Alert <earlier>", "owner": "oncall", "due": "2026-01-31" });
        world.post("oncall", "follow-ups", item).await.ok(201);

        let home = workspace.home("U0ONCALL").await;
        let said = texts(&home);
        assert_eq!((said[0], said[2], said[4]), ("Waits for you", "Your follow-ups", "Open incidents"));
        assert!(said[1].contains(&format!("P2 {id}")) && said[1].contains("asked by"), "{}", said[1]);
        assert!(
            said[3].starts_with("Alert &lt;earlier&gt;\n") && said[3].contains("*was due 2026-01-31*"),
            "{}",
            said[3]
        );
        assert!(said[5].starts_with("*P1 OPEN*"), "the most severe first: {}", said[5]);
        assert!(said[6].contains("*nobody commands*") && said[6].contains("<#C0INC>"), "{}", said[6]);
        let decide = &home["blocks"][1]["accessory"];
        assert_eq!(decide["text"]["text"], "Look and decide");
        let page = decide["url"].as_str().unwrap();
        let gate = gate.replace('#', "%23").replace('/', "%2F");
        assert_eq!(page, format!("https://harmony.example/below/orgs/default/approvals/{gate}"));

        // Whoever may not decide is not asked, and whoever may not declare is not offered it.
        let viewers = workspace.home("U0VIEWER").await;
        assert!(!viewers.to_string().contains("Look and decide"), "{viewers}");
        assert!(!viewers.to_string().contains("home-declare"), "{viewers}");
        let strangers = workspace.home("U0STRANGER").await;
        assert!(texts(&strangers)[0].contains("Nobody in the directory has this Slack account"));
    }
}

#[tokio::test]
async fn incident_is_declared_from_there() {
    let workspace = Workspace::new(By::Http).await;
    workspace.home("U0OPERATOR").await;
    let clicked = json!({
        "userId": "U0OPERATOR", "actionId": "home-declare",
        "values": { "severity": "P2", "title": "Checkout fails" },
    });
    let outcome = workspace.did("click", clicked).await;
    assert!(outcome["form"]["body"].as_str().unwrap().contains("INC-2026-0001 is declared."), "{outcome}");
    let home = workspace.home("U0OPERATOR").await;
    assert!(texts(&home).iter().any(|text| text.contains("INC-2026-0001 Checkout fails")), "{home}");
}

#[tokio::test]
async fn event_that_slack_sends_again_publishes_nothing_again() {
    let workspace = Workspace::new(By::Http).await;
    let first = workspace.home("U0ONCALL").await["hash"].clone();
    let outcome = workspace.did("home", json!({ "userId": "U0VIEWER" })).await;
    workspace.world.opened("P1").await;
    let again = json!({ "userId": "U0ONCALL", "retry": outcome["eventId"] });
    workspace.did("home", again).await;
    // What is published after it is published before this.
    workspace.home("U0OPERATOR").await;
    assert_eq!(workspace.state().await["homes"]["U0ONCALL"]["hash"], first);
}

#[tokio::test]
async fn events_are_slacks_alone_and_others_are_nobodys_business() {
    let world = World::new().await;
    let sent = |body: &Value, secret: &str| {
        let (body, timestamp) = (body.to_string(), Timestamp::now().as_second().to_string());
        let signed = signature::sign(&secret.to_owned().into(), &timestamp, body.as_bytes());
        Request::post("/slack/events")
            .header("content-type", "application/json")
            .header("x-slack-request-timestamp", timestamp)
            .header("x-slack-signature", signed)
            .body(Body::from(body))
            .unwrap()
    };
    let asked = json!({ "type": "url_verification", "challenge": "3eZbrw1a" });
    world.send(sent(&asked, "another")).await.problem(401);
    assert_eq!(world.send(sent(&asked, SIGNING_SECRET)).await.ok(200), json!({ "challenge": "3eZbrw1a" }));
    for other in [
        json!({ "type": "event_callback", "event_id": "Ev1", "event": { "type": "app_mention", "user": "U1" } }),
        json!({ "type": "event_callback", "event_id": "Ev2", "event": { "type": "app_home_opened", "user": "U1", "tab": "messages" } }),
        json!({ "type": "app_rate_limited" }),
    ] {
        let reply = world.send(sent(&other, SIGNING_SECRET)).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, ""), "{other}");
    }
    world.send(sent(&json!({ "event": {} }), SIGNING_SECRET)).await.problem(400);
}

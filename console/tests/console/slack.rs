//! Clicks in Slack.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, body::Body, extract::State, http::Request, routing::post};
use harmony_capabilities::slack::{SlackReplies, signature};
use harmony_incidents::{
    Command, WorkflowType,
    judge::payload,
    log::{PostMortemPublished, payload::Kind},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::Connection;
use url::form_urlencoded;

use crate::world::{DIGEST, Reply, SIGNING_SECRET, World};

/// What people were told, in order.
type Told = Arc<Mutex<Vec<String>>>;

/// A Slack that only takes answers to clicks, and a world that answers there.
async fn world() -> (Arc<World>, Told, String) {
    let told = Told::default();
    let router = Router::new()
        .route(
            "/response",
            post(async |State(told): State<Told>, Json(body): Json<Value>| {
                assert_eq!(body["response_type"], "ephemeral");
                told.lock().unwrap().push(body["text"].as_str().unwrap().to_owned());
            }),
        )
        .with_state(told.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let replies = SlackReplies::new(&format!("{origin}/api"), "xoxb-test".into()).unwrap();
    (Arc::new(World::with_replies(Some(replies)).await), told, format!("{origin}/response"))
}

async fn told_next(told: &Told) -> String {
    for _ in 0..1000 {
        let first = {
            let mut told = told.lock().unwrap();
            (!told.is_empty()).then(|| told.remove(0))
        };
        if let Some(text) = first {
            return text;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("nobody was told anything");
}

fn click(user: &str, trigger: &str, response_url: &str, action: &str, value: &Value) -> Value {
    json!({
        "type": "block_actions",
        "user": { "id": user, "username": "x" },
        "trigger_id": trigger,
        "response_url": response_url,
        "actions": [{ "type": "button", "action_id": action, "action_ts": "1.2", "value": value.to_string() }],
    })
}

/// The form of a rejection, filled in.
fn submission(metadata: &str) -> Value {
    json!({
        "type": "view_submission",
        "user": { "id": "U0COMMANDER" },
        "view": {
            "id": "V1",
            "callback_id": "reject",
            "private_metadata": metadata,
            "state": { "values": { "reason": { "reason": { "type": "plain_text_input", "value": "no" } } } },
        },
    })
}

fn gate_value(gate_id: &str) -> Value {
    let workflow_id = gate_id.split_once('#').unwrap().0;
    json!({ "org": "default", "workflowId": workflow_id, "gateId": gate_id, "digest": DIGEST })
}

fn form(name: &str, value: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
}

async fn deliver(world: &World, body: &str, timestamp: i64, secret: &str) -> Reply {
    let timestamp = timestamp.to_string();
    let signature = signature::sign(&secret.into(), &timestamp, body.as_bytes());
    let request = Request::post("/slack/interactions")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("X-Slack-Request-Timestamp", timestamp)
        .header("X-Slack-Signature", signature);
    world.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

/// Signed as Slack would, `offset` seconds from now.
async fn interact(world: &World, payload: &Value, offset: i64) -> Reply {
    let body = form("payload", &payload.to_string());
    deliver(world, &body, Timestamp::now().as_second() + offset, SIGNING_SECRET).await
}

#[tokio::test]
async fn approving_click_is_a_decision_once() {
    let (world, told, url) = world().await;
    let id = world.opened("P1").await;
    let gate_id = world.gated(&id).await;
    world.outbox().await;
    let payload = click("U0COMMANDER", "t1", &url, "approve", &gate_value(&gate_id));
    let reply = interact(&world, &payload, 0).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, ""));
    // Sent again by Slack itself: a new signature, the same decision.
    assert_eq!(interact(&world, &payload, 1).await.status, 200);
    let [decided] = world.decisions(&id).await.try_into().unwrap();
    assert_eq!((&decided["approver"], &decided["source"]), (&json!("commander"), &json!("slack")));
    assert_eq!((&decided["approved"], &decided["attested"]), (&json!(true), &json!(true)));
    assert_eq!(world.outbox().await.len(), 1, "its run is woken once");
    // Somebody else is told that it is settled.
    let late = click("U0ONCALL", "t2", &url, "reject", &gate_value(&gate_id));
    assert_eq!(interact(&world, &late, 0).await.status, 200);
    let text = told_next(&told).await;
    assert_eq!(text, "This did not count: duplicate: decided already by commander (approved)");
}

#[tokio::test]
async fn whoever_is_refused_is_told_why() {
    let (world, told, url) = world().await;
    let id = world.opened("P1").await;
    let gate_id = world.gated(&id).await;
    world.outbox().await;
    for (user, expected) in [
        ("U0OPERATOR", "This did not count: four-eyes: who asked for it may not approve it"),
        (
            "U0VIEWER",
            "This did not count: missing-role: this level needs incident-commander or sre-oncall or incident-approver",
        ),
    ] {
        let payload = click(user, user, &url, "approve", &gate_value(&gate_id));
        assert_eq!(interact(&world, &payload, 0).await.status, 200);
        assert_eq!(told_next(&told).await, expected);
    }
    let stranger = click("U0STRANGER", "t3", &url, "approve", &gate_value(&gate_id));
    assert_eq!(interact(&world, &stranger, 0).await.status, 200);
    assert!(told_next(&told).await.contains("nobody in the directory has this Slack account"));
    assert!(world.outbox().await.is_empty());
}

#[tokio::test]
async fn click_that_the_store_does_not_take_is_not_taken_for_done() {
    let (world, _, url) = world().await;
    let id = world.opened("P1").await;
    let gate_id = world.gated(&id).await;
    world.outbox().await;
    let metadata = json!({ "org": "default", "workflowId": gate_id.split_once('#').unwrap().0, "gateId": gate_id, "digest": DIGEST });
    let payloads = [
        click("U0COMMANDER", "t1", &url, "approve", &gate_value(&gate_id)),
        submission(&metadata.to_string()),
    ];
    for (judged, payload) in payloads.into_iter().enumerate() {
        let lock = world.locked_store().await;
        let detail = interact(&world, &payload, 0).await.problem(503);
        assert_eq!(detail, "the store has not taken this click (yet)");
        // Slack has told them so. It counts all the same where the store takes it later.
        lock.close().await.unwrap();
        let mut waits = 500;
        while world.decisions(&id).await.len() == judged {
            waits -= 1;
            assert!(waits > 0, "it did not go on");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn only_slacks_own_fresh_requests_are_taken_and_once() {
    let (world, _, url) = world().await;
    let id = world.opened("P1").await;
    let gate_id = world.gated(&id).await;
    world.outbox().await;
    let payload = click("U0COMMANDER", "t1", &url, "approve", &gate_value(&gate_id));
    let body = form("payload", &payload.to_string());
    let now = Timestamp::now().as_second();
    deliver(&world, &body, now, "another secret").await.problem(401);
    deliver(&world, &body, now - 301, SIGNING_SECRET).await.problem(401);
    let unsigned = Request::post("/slack/interactions").body(Body::from(body.clone())).unwrap();
    world.send(unsigned).await.problem(401);
    assert!(world.outbox().await.is_empty());
    assert_eq!(deliver(&world, &body, now, SIGNING_SECRET).await.status, 200);
    let detail = deliver(&world, &body, now, SIGNING_SECRET).await.problem(401);
    assert_eq!(detail, "this request was taken already");
    assert_eq!(world.outbox().await.len(), 1);
}

#[tokio::test]
async fn what_is_malformed_is_refused_and_what_is_not_ours_ignored() {
    let (world, _, url) = world().await;
    let id = world.opened("P1").await;
    let gate_id = world.gated(&id).await;
    world.outbox().await;
    let mut other_workflow = gate_value(&gate_id);
    other_workflow["workflowId"] = json!("incident.remediate-INC-2026-9999");
    let approve = |value: &Value| click("U0COMMANDER", "t", &url, "approve", value).to_string();
    for (body, status) in [
        (form("payload", "{"), 400),
        (form("other", "x"), 400),
        (form("payload", &approve(&json!({ "org": "default" }))), 400),
        (form("payload", &approve(&other_workflow)), 400),
        (form("ssl_check", "1"), 200),
        (form("payload", r#"{"type":"view_submission"}"#), 400),
        (form("payload", r#"{"type":"view_submission","user":{"id":"U1"}}"#), 400),
        (form("payload", &submission(&json!({ "org": "default" }).to_string()).to_string()), 400),
        (form("payload", &submission(&other_workflow.to_string()).to_string()), 400),
        (
            form(
                "payload",
                r#"{"type":"view_submission","user":{"id":"U1"},"view":{"callback_id":"theirs"}}"#,
            ),
            200,
        ),
        (form("payload", r#"{"type":"view_closed"}"#), 200),
        (form("payload", &click("U0COMMANDER", "t", &url, "open-link", &json!({})).to_string()), 200),
    ] {
        let reply = deliver(&world, &body, Timestamp::now().as_second(), SIGNING_SECRET).await;
        assert_eq!(reply.status, status, "{body}: {}", reply.text);
    }
    assert!(world.outbox().await.is_empty());
}

#[tokio::test]
async fn sign_off_by_click_uses_the_persons_own_rights() {
    let (world, told, url) = world().await;
    let id = world.opened("P1").await;
    world.resolved(&id).await;
    let published = Kind::PostMortemPublished(PostMortemPublished {
        attempt: 1,
        digest: hex::decode(DIGEST).unwrap(),
        page_id: "1".to_owned(),
        url: "https://wiki.example.com/1".to_owned(),
    });
    let publish = Command::Record { payload: payload(published) };
    world.append(&id, "published", WorkflowType::PostMortem, publish).await;
    for (user, trigger, digest, expected) in [
        ("U0ONCALL", "t1", DIGEST, "this needs the role incident-commander at least".to_owned()),
        ("U0COMMANDER", "t2", "00", "published again since you read it".to_owned()),
        ("U0COMMANDER", "t3", DIGEST, format!("{id} is CLOSED: you signed its review off.")),
    ] {
        let value = json!({ "org": "default", "incidentId": id, "digest": digest });
        let payload = click(user, trigger, &url, "sign-off", &value);
        assert_eq!(interact(&world, &payload, 0).await.status, 200);
        let text = told_next(&told).await;
        assert!(text.contains(&expected), "{text}");
    }
    let shown = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    assert_eq!((&shown["state"], &shown["review"]["signedOffBy"]), (&json!("CLOSED"), &json!("commander")));
    assert_eq!(shown["review"]["digest"], DIGEST);
}

//! `/incident …` and the shortcuts: the API's own handlers with the person's own rights, over HTTP and by socket.

use axum::{body::Body, http::Request};
use harmony_capabilities::slack::signature;
use jiff::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::{
    workspace::{By, Workspace},
    world::{Reply, SIGNING_SECRET, World},
};

#[tokio::test]
async fn incident_is_run_by_typing() {
    for by in [By::Http, By::Socket] {
        let workspace = Workspace::new(by).await;
        let says = async |user: &str, text: &str| workspace.types(user, text, "").await;
        assert_eq!(says("U0OPERATOR", "declare P2 Checkout <b> fails").await, "INC-2026-0001 is declared.");
        assert_eq!(
            says("U0VIEWER", "status inc-2026-0001").await,
            "INC-2026-0001: P2 is PENDING (created), Checkout &lt;b&gt; fails"
        );
        assert_eq!(
            says("U0VIEWER", "note INC-2026-0001 It falls").await,
            "The note is on record. INC-2026-0001 is PENDING (created)."
        );
        assert_eq!(says("U0ONCALL", "status INC-2026-0001 open").await, "INC-2026-0001 is OPEN (triaging).");
        assert_eq!(
            says("U0ONCALL", "status INC-2026-0001 open").await,
            "It was so already. INC-2026-0001 is OPEN (triaging)."
        );
        assert_eq!(
            says("U0ONCALL", "status INC-2026-0001 resolved Rolled back").await,
            "The close-out of INC-2026-0001 has begun and waits for approval by incident-commander or sre-oncall or incident-manager or incident-approver."
        );
        assert_eq!(
            says("U0OPERATOR", "severity INC-2026-0001 P1").await,
            "Nothing was changed: this needs the role incident-commander at least; operator has incident-responder"
        );
        assert_eq!(
            says("U0MANAGER", "severity INC-2026-0001 P3 Fewer").await,
            "The severity is changed. INC-2026-0001 is OPEN (triaging)."
        );
        assert_eq!(
            says("U0OPERATOR", "assign INC-2026-0001 commander <@U0VIEWER|vera>").await,
            "Assigned. INC-2026-0001 is OPEN (triaging)."
        );
        assert_eq!(
            says("U0ONCALL", "status INC-2026-0001 resolved Rolled back").await,
            "INC-2026-0001 is RESOLVED (resolved)."
        );
        assert_eq!(says("U0ONCALL", "close INC-2026-0001").await, "INC-2026-0001 is CLOSED (closed).");
        let shown = workspace.world.get("viewer", "incidents/INC-2026-0001").await.ok(200);
        assert_eq!((&shown["severity"], &shown["state"]), (&json!("P3"), &json!("CLOSED")));
        assert_eq!(shown["responders"][0]["principalId"], "viewer");
    }
}

#[tokio::test]
async fn incident_is_led_by_typing() {
    let workspace = Workspace::new(By::Http).await;
    let says = async |user: &str, text: &str| workspace.types(user, text, "").await;
    assert_eq!(says("U0VIEWER", "list").await, "No incident is open.");
    says("U0OPERATOR", "declare P2 Checkout fails").await;
    says("U0ONCALL", "status INC-2026-0001 open").await;
    says("U0OPERATOR", "assign INC-2026-0001 commander operator").await;
    assert_eq!(says("U0VIEWER", "list").await, "INC-2026-0001: P2 OPEN, operator commands: Checkout fails");
    assert!(says("U0VIEWER", "status INC-2026-0001").await.contains("Commander: operator"));
    assert!(says("U0OPERATOR", "update --public We know it").await.contains("name the incident"));
    assert_eq!(
        says("U0OPERATOR", "update INC-2026-0001 We are rolling back").await,
        "INC-2026-0001: The update is on its way."
    );
    assert!(
        says("U0OPERATOR", "remediate INC-2026-0001 none.md").await.contains("there is no runbook none.md")
    );
    assert_eq!(
        says("U0OPERATOR", "remediate INC-2026-0001 rollback.md 2.4.1 is bad").await,
        "INC-2026-0001: The remediation is proposed: it runs once it is approved."
    );
    assert!(says("U0OPERATOR", "stop INC-2026-0001").await.contains("nothing is running"));
    assert!(says("U0VIEWER", "close-out INC-2026-0001 done").await.contains("this needs the role"));
    let begun = says("U0ONCALL", "close-out INC-2026-0001 Rolled back").await;
    assert!(
        begun.starts_with("The close-out of INC-2026-0001 has begun and waits for approval by"),
        "{begun}"
    );
    let started = workspace.world.outbox().await;
    let names: Vec<&str> = started.iter().map(|item| item.item.name.as_str()).collect();
    for expected in ["incident.remediate-INC-2026-0001", "incident.close-out-INC-2026-0001"] {
        assert!(names.iter().any(|name| name.starts_with(expected)), "{names:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let workspace = Workspace::new(By::Http).await;
    for (user, text, expected) in [
        ("U0STRANGER", "declare P2 Checkout fails", "nobody in the directory has this Slack account"),
        ("U0VIEWER", "declare P2 Checkout fails", "this needs the role incident-responder at least"),
        ("U0OPERATOR", "declare P9 Checkout fails", "severity"),
        ("U0OPERATOR", "status INC-2026-0009", "INC-2026-0009"),
        ("U0OPERATOR", "note It falls", "name the incident, such as INC-2026-0001"),
        ("U0OPERATOR", "launch", "there is no /incident launch"),
        ("U0OPERATOR", "help", "/incident declare P2"),
        (
            "U0OPERATOR",
            "--org acme declare P2 x",
            "there is no organisation \"acme\" that you have a role in",
        ),
        ("U0COMMANDER", "declare P2 Checkout fails", "roles in more than one organisation"),
        (
            "U0COMMANDER",
            "--org acme declare P2 Checkout fails",
            "this needs the role incident-responder at least",
        ),
    ] {
        let said = workspace.types(user, text, "").await;
        assert!(said.contains(expected), "{text}: {said}");
    }
    let incidents = workspace.world.get("viewer", "incidents").await.ok(200);
    assert_eq!(incidents["incidents"], json!([]));
}

#[tokio::test]
async fn shortcut_asks_in_a_form() {
    let workspace = Workspace::new(By::Http).await;
    workspace.did("shortcut", json!({ "callbackId": "incident-declare", "userId": "U0OPERATOR" })).await;
    let filled = json!({ "severity": "P2", "title": "Checkout fails" });
    let outcome = workspace.did("submit", json!({ "userId": "U0OPERATOR", "values": filled })).await;
    let said: Value = serde_json::from_str(outcome["body"].as_str().unwrap()).unwrap();
    assert_eq!(said["view"]["blocks"][0]["text"]["text"], "INC-2026-0001 is declared.");
    for (name, values, expected) in [
        (
            "incident-note",
            json!({ "incident": "inc-2026-0001", "text": "It falls" }),
            "The note is on record.",
        ),
        ("incident-status", json!({ "incident": "INC-2026-0001" }), "INC-2026-0001: P2 is PENDING"),
        ("incident-severity", json!({ "incident": "INC-2026-0001", "severity": "P1" }), "incident-commander"),
        ("incident-close", json!({ "incident": "INC-2026-0001" }), "Nothing was changed"),
    ] {
        workspace.did("shortcut", json!({ "callbackId": name, "userId": "U0OPERATOR" })).await;
        let outcome = workspace.did("submit", json!({ "userId": "U0OPERATOR", "values": values })).await;
        assert!(outcome["body"].as_str().unwrap().contains(expected), "{name}: {outcome}");
    }
    workspace.did("shortcut", json!({ "callbackId": "incident-close", "userId": "U0OPERATOR" })).await;
    let wrong = json!({ "userId": "U0OPERATOR", "values": { "incident": "the one" } });
    let outcome = workspace.did("submit", wrong).await;
    let said: Value = serde_json::from_str(outcome["body"].as_str().unwrap()).unwrap();
    assert_eq!(said["errors"]["incident"], "An id such as INC-2026-0001.");
}

#[tokio::test]
async fn envelope_that_comes_twice_is_one_request_and_a_new_socket_replaces_the_old() {
    let workspace = Workspace::new(By::Socket).await;
    let id = workspace.world.declared("P3").await;
    let notes = async || {
        let events = workspace.world.get("viewer", &format!("incidents/{id}/events")).await.ok(200);
        let events = events["events"].as_array().unwrap().clone();
        events.iter().filter(|event| event["kind"] == "INCIDENT_NOTE_ADDED").count()
    };
    workspace.types("U0VIEWER", &format!("note {id} one"), "").await;
    workspace.does("sockets", json!({ "repeat": true })).await;
    workspace.types("U0VIEWER", &format!("note {id} two"), "").await;
    assert_eq!(notes().await, 2);
    // Slack asks for fresh connections: they are there before the old ones go.
    workspace.does("sockets", json!({ "disconnect": true })).await;
    workspace.until(json!({}), |answer| answer["connected"] == 4).await;
    workspace.types("U0VIEWER", &format!("note {id} three"), "").await;
    assert_eq!(notes().await, 3);
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

async fn deliver(world: &World, path: &str, body: &str, offset: i64, secret: &str) -> Reply {
    let timestamp = (Timestamp::now().as_second() + offset).to_string();
    let signature = signature::sign(&secret.into(), &timestamp, body.as_bytes());
    let request = Request::post(path)
        .header("X-Slack-Request-Timestamp", timestamp)
        .header("X-Slack-Signature", signature);
    world.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn command_is_slacks_own_and_happens_once_by_its_trigger() {
    let world = World::new().await;
    let typed = |text: &str| {
        form(&[("command", "/incident"), ("text", text), ("user_id", "U0OPERATOR"), ("trigger_id", "1.2.x")])
    };
    let body = typed("declare P3 Checkout fails");
    deliver(&world, "/slack/commands", &body, 0, "another secret").await.problem(401);
    deliver(&world, "/slack/commands", &body, -301, SIGNING_SECRET).await.problem(401);
    // Another signature, the same trigger: the same declaration.
    for offset in [0, 1] {
        let reply = deliver(&world, "/slack/commands", &body, offset, SIGNING_SECRET).await.ok(200);
        assert_eq!(reply["text"], "INC-2026-0001 is declared.");
    }
    deliver(&world, "/slack/commands", &body, 1, SIGNING_SECRET).await.problem(401);
    let other = deliver(&world, "/slack/commands", &typed("declare P3 Login fails"), 2, SIGNING_SECRET).await;
    let text = other.ok(200)["text"].as_str().unwrap().to_owned();
    assert!(
        text.starts_with("Nothing was changed: this Idempotency-Key was used for another request"),
        "{text}"
    );
    deliver(&world, "/slack/commands", "text=help", 0, SIGNING_SECRET).await.problem(400);
    let check = deliver(&world, "/slack/commands", &form(&[("ssl_check", "1")]), 0, SIGNING_SECRET).await;
    assert_eq!((check.status, check.text.as_str()), (200, ""));
    // Slack does not sign this question.
    for path in ["/slack/commands", "/slack/interactions"] {
        let unsigned = async |body: String| {
            let request = Request::post(path).header("Content-Type", "application/x-www-form-urlencoded");
            world.send(request.body(Body::from(body)).unwrap()).await
        };
        let check = unsigned(form(&[("ssl_check", "1"), ("token", "x")])).await;
        assert_eq!((check.status, check.text.as_str()), (200, ""));
        unsigned(form(&[("ssl_check", "0")])).await.problem(401);
        unsigned(typed("declare P1 Checkout fails")).await.problem(401);
    }
    assert_eq!(world.get("viewer", "incidents").await.ok(200)["incidents"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn address_for_events_answers_slacks_question() {
    let world = World::new().await;
    let asked = json!({ "type": "url_verification", "challenge": "3eZbrw1aB", "token": "x" }).to_string();
    let reply = deliver(&world, "/slack/events", &asked, 0, SIGNING_SECRET).await.ok(200);
    assert_eq!(reply["challenge"], "3eZbrw1aB");
    deliver(&world, "/slack/events", &asked, 0, "another secret").await.problem(401);
    let other = deliver(&world, "/slack/events", r#"{"type":"event_callback"}"#, 0, SIGNING_SECRET).await;
    assert_eq!((other.status, other.text.as_str()), (200, ""));
    deliver(&world, "/slack/events", "{", 0, SIGNING_SECRET).await.problem(400);
}

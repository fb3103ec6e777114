//! Forms, commands and sockets: what a person in the workspace can do beside clicking.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::{Vendor, World, answer_of};

type Received = Arc<Mutex<Vec<String>>>;

/// Stands where Harmony listens, and answers a form like this.
async fn harmony(world: &World, answer: Value) -> Received {
    let received = Received::default();
    let take = move |State(received): State<Received>, body: String| {
        received.lock().unwrap().push(body);
        std::future::ready(Json(answer.clone()))
    };
    let router = Router::new()
        .route("/slack/interactions", post(take.clone()))
        .route("/slack/commands", post(take.clone()))
        .route("/slack/events", post(take))
        .with_state(Arc::clone(&received));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    world.sandbox.set_harmony_url(&origin);
    received
}

async fn does(world: &World, what: &str, body: Value) -> (u16, Value) {
    let answer = world.person(what, body).await;
    (answer.status, answer.body)
}

fn form() -> Value {
    let plain = |text: &str| json!({"type": "plain_text", "text": text});
    json!({
        "type": "modal", "callback_id": "why", "title": plain("Why"), "submit": plain("Send"),
        "blocks": [{
            "type": "input", "block_id": "reason", "label": plain("Reason"),
            "element": {"type": "plain_text_input", "action_id": "reason", "max_length": 10},
        }],
    })
}

#[tokio::test]
async fn home_tab_is_what_was_published_for_whoever_looks_and_its_buttons_work() {
    let world = World::start().await;
    let received = harmony(&world, json!({})).await;
    let (status, looked) = does(&world, "home", json!({"userId": "commander"})).await;
    assert_eq!((status, &looked["status"]), (200, &json!(200)), "{looked}");
    let event: Value = serde_json::from_str(received.lock().unwrap().last().unwrap()).unwrap();
    let opened = &event["event"];
    assert_eq!((&event["type"], &event["event_id"]), (&json!("event_callback"), &looked["eventId"]));
    assert_eq!((&opened["type"], &opened["tab"]), (&json!("app_home_opened"), &json!("home")));
    assert_eq!(opened["user"], "U0COMMANDER");
    let again = json!({"userId": "commander", "retry": looked["eventId"]});
    assert_eq!(does(&world, "home", again).await.1["eventId"], looked["eventId"]);

    let button = json!({
        "type": "button", "action_id": "declare", "value": "x",
        "text": {"type": "plain_text", "text": "Declare"},
    });
    let view = json!({
        "type": "home", "blocks": [{"type": "actions", "block_id": "all", "elements": [button]}],
    });
    let published = json!({"user_id": "U0COMMANDER", "view": view});
    let published = world.slack("views.publish", published).await;
    assert_eq!(published["ok"], true, "{published}");
    let stale = json!({"user_id": "U0COMMANDER", "view": view, "hash": "1.2"});
    assert_eq!(world.slack("views.publish", stale).await["error"], "hash_conflict");
    let homes = world.state(Vendor::Slack).await["homes"].clone();
    assert_eq!(homes["U0COMMANDER"]["id"], published["view"]["id"]);
    assert_eq!(homes.as_object().unwrap().len(), 1, "nobody else has one");

    let (status, _) = does(&world, "click", json!({"actionId": "declare", "userId": "commander"})).await;
    assert_eq!(status, 200);
    let body = received.lock().unwrap().last().unwrap().clone();
    let (_, payload) =
        url::form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "payload").unwrap();
    let payload: Value = serde_json::from_str(&payload).unwrap();
    assert_eq!(payload["container"], json!({"type": "view", "view_id": published["view"]["id"]}));
    assert_eq!(payload["actions"][0]["value"], "x");
    assert_eq!(payload["response_url"], Value::Null, "it comes from no channel");
    assert_eq!(does(&world, "click", json!({"actionId": "declare", "userId": "oncall"})).await.0, 404);
}

/// The trigger of what Harmony got last.
fn trigger(received: &Received) -> String {
    let body = received.lock().unwrap().last().unwrap().clone();
    let (_, payload) =
        url::form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "payload").unwrap();
    let payload: Value = serde_json::from_str(&payload).unwrap();
    payload["trigger_id"].as_str().unwrap().to_owned()
}

async fn opened(world: &World, received: &Received) {
    let shortcut = json!({"callbackId": "why", "userId": "commander"});
    assert_eq!(does(world, "shortcut", shortcut).await.0, 200);
    let arguments = json!({"trigger_id": trigger(received), "view": form()});
    assert_eq!(world.slack("views.open", arguments).await["ok"], true);
}

#[tokio::test]
async fn form_is_filled_in_by_its_own_rules() {
    let world = World::start().await;
    let received = harmony(&world, json!({})).await;
    opened(&world, &received).await;
    let submit = |values: Value| json!({"userId": "commander", "values": values});
    for (values, hint) in [
        (json!({}), "the field reason must be filled in"),
        (json!({"reason": "much too long a reason"}), "the field takes 10 characters"),
        (json!({"reason": "x", "other": "y"}), "the form has no field other"),
    ] {
        let (status, body) = does(&world, "submit", submit(values)).await;
        assert_eq!((status, body["error"].as_str().unwrap()), (404, hint));
    }
    let (_, stranger) = does(&world, "submit", json!({"userId": "oncall", "values": {"reason": "x"}})).await;
    assert_eq!(stranger["error"], "no form is open for oncall");
    let (status, outcome) = does(&world, "submit", submit(json!({"reason": "no"}))).await;
    assert_eq!((status, &outcome["delivered"], &outcome["problem"]), (200, &json!(true), &Value::Null));
    let (status, _) = does(&world, "submit", submit(json!({"reason": "no"}))).await;
    assert_eq!(status, 404, "it is closed");
}

#[tokio::test]
async fn form_obeys_what_the_app_says() {
    for (answer, open, problem) in [
        (json!({"response_action": "errors", "errors": {"reason": "no"}}), true, Value::Null),
        (json!({"response_action": "clear"}), false, Value::Null),
        (json!({"response_action": "update", "view": form()}), true, Value::Null),
        (json!({"response_action": "explode"}), true, json!("there is no response_action explode")),
    ] {
        let world = World::start().await;
        let received = harmony(&world, answer.clone()).await;
        opened(&world, &received).await;
        let sent = json!({"userId": "commander", "values": {"reason": "no"}});
        let (_, outcome) = does(&world, "submit", sent).await;
        assert_eq!(outcome["problem"], problem, "{answer}");
        let state = world.state(Vendor::Slack).await;
        assert_eq!(state["views"][0]["open"], open, "{answer}");
    }
    let world = World::start().await;
    let received = harmony(&world, json!({"response_action": "update", "view": {"type": "modal"}})).await;
    opened(&world, &received).await;
    let sent = json!({"userId": "commander", "values": {"reason": "no"}});
    let (_, outcome) = does(&world, "submit", sent).await;
    assert!(outcome["problem"].as_str().unwrap().starts_with("the update is no view"), "{outcome}");
}

#[tokio::test]
async fn answer_to_a_command_is_shown_to_whoever_typed_it() {
    let world = World::start().await;
    let received = harmony(&world, json!({"response_type": "ephemeral", "text": "noted"})).await;
    let channel = world.channel("inc-1").await;
    let typed = json!({"userId": "commander", "text": "status", "channelId": channel});
    assert_eq!(does(&world, "command", typed).await.0, 200);
    let body = received.lock().unwrap()[0].clone();
    for part in ["command=%2Fincident", "text=status", "user_id=U0COMMANDER", "trigger_id=", "response_url="]
    {
        assert!(body.contains(part), "{part} in {body}");
    }
    let state = world.state(Vendor::Slack).await;
    let told = &state["messages"][0];
    assert_eq!((&told["text"], &told["ephemeralFor"]), (&json!("noted"), &json!("U0COMMANDER")));
}

#[tokio::test]
async fn sockets_are_for_the_apps_own_token() {
    let world = World::start().await;
    let open = async |token: &str| {
        let url = format!("{}/api/apps.connections.open", world.origin(Vendor::Slack));
        answer_of(reqwest::Client::new().post(url).bearer_auth(token)).await.body
    };
    assert_eq!(open("xoxb-sandbox").await["error"], "not_allowed_token_type");
    let opened = open("xapp-sandbox").await;
    assert!(opened["url"].as_str().unwrap().starts_with("ws://127.0.0.1:"), "{opened}");
    let (_, connected) = does(&world, "sockets", json!({})).await;
    assert_eq!(connected["connected"], 0);
}

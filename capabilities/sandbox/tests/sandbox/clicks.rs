use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;

use crate::world::{SIGNING_SECRET, Vendor, World, answer_of};

type Received = Arc<Mutex<Vec<(HeaderMap, String)>>>;

/// Stands where Harmony listens; keeps what it is sent and answers 200.
async fn harmony(world: &World) -> Received {
    async fn take(State(received): State<Received>, headers: HeaderMap, body: String) -> &'static str {
        received.lock().unwrap().push((headers, body));
        "noted"
    }
    let received = Received::default();
    let router = Router::new().route("/slack/interactions", post(take)).with_state(Arc::clone(&received));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    world.sandbox.set_harmony_url(&origin);
    received
}

/// A message with a button in an actions block and one beside a section.
async fn message(world: &World) -> (String, String) {
    let channel = world.channel("inc-1").await;
    let button = |id: &str| {
        json!({
            "type": "button", "action_id": id, "value": "gate-1", "style": "primary",
            "text": {"type": "plain_text", "text": "Approve"},
        })
    };
    let blocks = json!([
        {
            "type": "section",
            "text": {"type": "mrkdwn", "text": "Roll back?"},
            "accessory": button("details"),
        },
        {"type": "actions", "block_id": "gate", "elements": [button("approve")]},
    ]);
    let posted = world
        .slack("chat.postMessage", json!({"channel": channel, "text": "Roll back?", "blocks": blocks}))
        .await;
    (channel, posted["ts"].as_str().unwrap().to_owned())
}

fn payload_of(body: &str) -> Value {
    let (_, payload) =
        url::form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "payload").unwrap();
    serde_json::from_str(&payload).unwrap()
}

#[tokio::test]
async fn a_click_arrives_signed_as_slack_signs() {
    let world = World::start().await;
    let received = harmony(&world).await;
    let (channel, ts) = message(&world).await;
    let click = json!({"messageTs": ts, "actionId": "approve", "userId": "commander"});
    let answer = world.click(click).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        (&answer.body["delivered"], &answer.body["status"], &answer.body["body"]),
        (&json!(true), &json!(200), &json!("noted"))
    );
    let (headers, body) = received.lock().unwrap()[0].clone();
    let timestamp = headers["x-slack-request-timestamp"].to_str().unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(SIGNING_SECRET.as_bytes()).unwrap();
    mac.update(b"v0:");
    mac.update(timestamp.as_bytes());
    mac.update(b":");
    mac.update(body.as_bytes());
    let expected = format!("v0={}", hex::encode(mac.finalize().into_bytes()));
    assert_eq!(headers["x-slack-signature"].to_str().unwrap(), expected);
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    let payload = payload_of(&body);
    assert_eq!(payload["type"], "block_actions");
    assert_eq!(payload["user"]["id"], "U0COMMANDER");
    assert_eq!(payload["channel"], json!({"id": channel, "name": "inc-1"}));
    assert_eq!(payload["container"]["message_ts"], json!(ts));
    assert_eq!(payload["message"]["text"], "Roll back?");
    let action = &payload["actions"][0];
    assert_eq!(action["type"], "button");
    assert_eq!((&action["block_id"], &action["value"]), (&json!("gate"), &json!("gate-1")));
    assert!(payload["token"].is_null());
}

#[tokio::test]
async fn accessories_and_strangers_click_too() {
    let world = World::start().await;
    let received = harmony(&world).await;
    let (_, ts) = message(&world).await;
    for user in ["U0STRANGER", "U0000ONCALL"] {
        let click = json!({"messageTs": ts, "actionId": "details", "userId": user});
        assert_eq!(world.click(click).await.body["delivered"], true);
    }
    let received = received.lock().unwrap();
    let payloads: Vec<Value> = received.iter().map(|(_, body)| payload_of(body)).collect();
    assert_eq!(payloads[0]["user"]["id"], "U0STRANGER");
    assert_eq!(payloads[1]["user"]["name"], "oncall");
    assert!(payloads[0]["actions"][0]["block_id"].is_string());
    assert_ne!(payloads[0]["trigger_id"], payloads[1]["trigger_id"]);
}

#[tokio::test]
async fn what_is_not_there_cannot_be_clicked() {
    let world = World::start().await;
    harmony(&world).await;
    let (_, ts) = message(&world).await;
    for (click, status, reason) in [
        (json!({"messageTs": "1.2", "actionId": "approve", "userId": "commander"}), 404, "no message 1.2"),
        (json!({"messageTs": ts, "actionId": "reject", "userId": "commander"}), 404, "no button"),
        (json!({"messageTs": ts, "actionId": "approve", "userId": "nobody"}), 404, "no user nobody"),
        (json!({"messageTs": ts}), 400, "a click is"),
        (json!("?"), 400, "a click is"),
    ] {
        let answer = world.click(click).await;
        assert_eq!(answer.status, status);
        let error = answer.body["error"].as_str().unwrap();
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_click_nobody_takes_is_not_delivered() {
    let world = World::start().await;
    let (_, ts) = message(&world).await;
    let click = json!({"messageTs": ts, "actionId": "approve", "userId": "admin"});
    let unset = world.click(click.clone()).await;
    assert_eq!((unset.status, &unset.body["delivered"]), (200, &json!(false)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for origin in [origin.as_str(), "not an address", "https://127.0.0.1:1"] {
        world.sandbox.set_harmony_url(origin);
        let refused = world.click(click.clone()).await;
        assert_eq!(refused.body["delivered"], false, "{origin}");
        assert_eq!(refused.body["status"], Value::Null);
    }
}

#[tokio::test]
async fn a_response_url_takes_five_answers() {
    let world = World::start().await;
    let received = harmony(&world).await;
    let (_, ts) = message(&world).await;
    let click = json!({"messageTs": ts, "actionId": "approve", "userId": "commander"});
    world.click(click).await;
    let payload = payload_of(&received.lock().unwrap()[0].1.clone());
    let url = payload["response_url"].as_str().unwrap();
    let bodies = [
        json!({"text": "Only you see this"}),
        json!({"text": "All see this", "response_type": "in_channel"}),
        json!({"text": "Decided", "replace_original": true}),
        json!({"text": "four"}),
        json!({"text": "five"}),
    ];
    for body in bodies {
        assert_eq!(answer_of(world.http.post(url).json(&body)).await.status, 200);
    }
    let sixth = answer_of(world.http.post(url).json(&json!({"text": "six"}))).await;
    assert_eq!((sixth.status, &sixth.body["error"]), (404, &json!("used_url")));
    let state = world.state(Vendor::Slack).await;
    let messages = state["messages"].as_array().unwrap();
    assert_eq!(messages[0]["text"], "Decided");
    assert_eq!(messages[0]["blocks"], json!([]));
    assert_eq!(messages[1]["ephemeralFor"], "U0COMMANDER");
    assert_eq!(messages[2]["ephemeralFor"], Value::Null);
}

#[tokio::test]
async fn a_trigger_opens_one_view() {
    let world = World::start().await;
    let received = harmony(&world).await;
    let (_, ts) = message(&world).await;
    let click = json!({"messageTs": ts, "actionId": "approve", "userId": "commander"});
    world.click(click).await;
    let payload = payload_of(&received.lock().unwrap()[0].1.clone());
    let arguments = json!({
        "trigger_id": payload["trigger_id"],
        "view": {
            "type": "modal",
            "callback_id": "reject",
            "title": {"type": "plain_text", "text": "Reject"},
            "blocks": [{"type": "divider"}],
        },
    });
    let opened = world.slack("views.open", arguments.clone()).await;
    assert_eq!(opened["ok"], true, "{opened}");
    let again = world.slack("views.open", arguments).await;
    assert_eq!(again["error"], "exchanged_trigger_id");
}

#[tokio::test]
async fn a_wrong_answer_of_harmonys_is_passed_on() {
    let world = World::start().await;
    let (_, ts) = message(&world).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.sandbox.set_harmony_url(&format!("http://{}", listener.local_addr().unwrap()));
    let router = Router::new().fallback(|| async { (StatusCode::UNAUTHORIZED, "bad signature") });
    tokio::spawn(async move { axum::serve(listener, router).await });
    let click = json!({"messageTs": ts, "actionId": "approve", "userId": "U0000ADMIN"});
    let answer = world.click(click).await.body;
    assert_eq!((&answer["delivered"], &answer["status"]), (&json!(true), &json!(401)));
    let get =
        world.http.request(Method::GET, format!("{}/_sandbox/slack/click", world.origin(Vendor::Slack)));
    assert_eq!(answer_of(get).await.status, 405);
}

#[tokio::test]
async fn page_of_another_site_clicks_nothing() {
    let world = World::start().await;
    let received = harmony(&world).await;
    let (_, ts) = message(&world).await;
    let click = json!({"messageTs": ts, "actionId": "approve", "userId": "U0000ADMIN"}).to_string();
    let origin = world.origin(Vendor::Slack);
    let send = async |headers: &[(&str, &str)]| {
        let mut request = world.http.request(Method::POST, format!("{origin}/_sandbox/slack/click"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer_of(request.body(click.clone())).await.status
    };
    let json = ("content-type", "application/json");
    assert_eq!(send(&[json, ("origin", "https://evil.example")]).await, 403);
    assert_eq!(send(&[json, ("origin", "null")]).await, 403);
    assert_eq!(send(&[("content-type", "text/plain"), ("origin", "https://evil.example")]).await, 403);
    assert_eq!(send(&[("content-type", "text/plain;charset=UTF-8")]).await, 415);
    assert!(received.lock().unwrap().is_empty(), "nothing was delivered");
    assert_eq!(send(&[json, ("origin", &origin)]).await, 200);
    assert_eq!(send(&[]).await, 200, "a program sends no Origin");
}

//! A bounded number of callbacks that must not count, through the real router: none reaches the outbox.

use axum::{body::Body, http::Request};
use harmony_capabilities::slack::signature;
use jiff::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::world::{DIGEST, SIGNING_SECRET, World};

const CALLBACKS: usize = 240;

struct Callback {
    timestamp: String,
    signature: String,
    body: String,
}

fn callback(user: &str, number: usize, value: &Value, age_s: i64, secret: &str) -> Callback {
    let payload = json!({
        "type": "block_actions",
        "user": { "id": user },
        "trigger_id": format!("forged-{number}"),
        "actions": [{ "type": "button", "action_id": "approve", "action_ts": "1.2", "value": value.to_string() }],
    });
    let body =
        form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload.to_string()).finish();
    let timestamp = (Timestamp::now().as_second() - age_s).to_string();
    Callback { signature: signature::sign(&secret.into(), &timestamp, body.as_bytes()), timestamp, body }
}

async fn deliver(world: &World, callback: &Callback) -> u16 {
    let request = Request::post("/slack/interactions")
        .header("X-Slack-Request-Timestamp", &callback.timestamp)
        .header("X-Slack-Signature", &callback.signature);
    world.send(request.body(Body::from(callback.body.clone())).unwrap()).await.status
}

#[tokio::test]
async fn no_forged_callback_gets_through_the_router() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let gate_id = world.gated(&id).await;
    world.outbox().await;
    let workflow_id = gate_id.split_once('#').unwrap().0;
    let value = json!({ "org": "default", "workflowId": workflow_id, "gateId": gate_id, "digest": DIGEST });
    let with = |name: &str, other: &str| {
        let mut value = value.clone();
        value[name] = json!(other);
        value
    };
    let elsewhere = workflow_id.replace("0001", "0002");
    let mut moved = with("gateId", &gate_id.replace("0001", "0002"));
    moved["workflowId"] = json!(elsewhere);
    for number in 0..CALLBACKS {
        let person = "U0COMMANDER";
        let age_s = i64::try_from(number).unwrap();
        let (expected, sent) = match number % 8 {
            0 => (401, callback(person, number, &value, 0, &format!("secret {number}"))),
            1 => (401, callback(person, number, &value, 301 + age_s, SIGNING_SECRET)),
            2 => (401, callback(person, number, &value, -301 - age_s, SIGNING_SECRET)),
            3 => {
                let mut changed = callback(person, number, &value, 0, SIGNING_SECRET);
                let place = number % changed.body.len();
                let other = if changed.body.as_bytes()[place] == b'x' { "y" } else { "x" };
                changed.body.replace_range(place..=place, other);
                (401, changed)
            }
            4 => (400, callback(person, number, &with("gateId", "nonsense"), 0, SIGNING_SECRET)),
            5 => (400, callback(person, number, &with("workflowId", &elsewhere), 0, SIGNING_SECRET)),
            // Genuine, about what is not there: answered, and nothing follows.
            6 => (200, callback(person, number, &moved, 0, SIGNING_SECRET)),
            _ => (200, callback(person, number, &with("org", "acme"), 0, SIGNING_SECRET)),
        };
        let status = deliver(&world, &sent).await;
        assert_eq!(status, expected, "{number}: {}", sent.body);
        if expected == 200 {
            assert_eq!(deliver(&world, &sent).await, 401, "{number}: a replay");
        }
    }
    assert!(world.outbox().await.is_empty());
    // The gate still waits, and a genuine click still counts.
    let genuine = callback("U0COMMANDER", CALLBACKS, &value, 0, SIGNING_SECRET);
    assert_eq!(deliver(&world, &genuine).await, 200);
    let [decided] = world.decisions(&id).await.try_into().unwrap();
    assert_eq!(decided["approver"], "commander");
}

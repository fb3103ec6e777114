//! A person's click: finds the button, builds the `block_actions` payload Slack would send,
//! signs it (`v0`, HMAC-SHA256 over `v0:{timestamp}:{body}`) and posts it to Harmony.
//!
//! `POST /_sandbox/slack/click {messageTs, actionId, userId}` answers
//! `{delivered, status, body}`; `delivered` says that Harmony answered, `status` what. Also
//! here: `POST /_sandbox/slack/channels {name, …}`, a channel that a person made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use axum::{Router, body::Body};
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::clock;
use crate::stand_in;

use super::Slack;
use super::conversations;
use super::memory::{Message, ResponseUrl, SlackMemory};
use super::people::{self, APP_ID, Person, TEAM_DOMAIN, TEAM_ID};

/// Slack gives up after 3 s; this is longer, so that a slow machine is told apart from an
/// answer that never comes. How long it took is in the answer.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Click {
    message_ts: String,
    action_id: String,
    user_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChannelOfPeople {
    name: String,
    #[serde(default)]
    topic: String,
    #[serde(default)]
    purpose: String,
    #[serde(default)]
    is_private: bool,
    #[serde(default)]
    is_archived: bool,
}

pub(super) fn routes(slack: Arc<Slack>) -> Router {
    Router::new()
        .route("/_sandbox/slack/click", post(click))
        .route("/_sandbox/slack/channels", post(add_channel))
        .with_state(slack)
}

async fn click(State(slack): State<Arc<Slack>>, body: String) -> Response {
    let click: Click = match serde_json::from_str(&body) {
        Ok(click) => click,
        Err(error) => {
            let hint = format!("a click is {{messageTs, actionId, userId}}: {error}");
            return refused(StatusCode::BAD_REQUEST, &hint);
        }
    };
    let Some(person) = people::find(&click.user_id) else {
        let hint = format!("there is no user {}", click.user_id);
        return refused(StatusCode::NOT_FOUND, &hint);
    };
    let payload = match prepared(&slack, &click, &person) {
        Ok(payload) => payload,
        Err(hint) => return refused(StatusCode::NOT_FOUND, &hint),
    };
    let Some(harmony) = slack.harmony_url.get() else {
        let hint = "the address of Harmony is not set";
        let answer = json!({"delivered": false, "status": null, "body": hint});
        return stand_in::json(StatusCode::OK, answer);
    };
    stand_in::json(StatusCode::OK, deliver(&slack, &harmony, &payload).await)
}

async fn add_channel(State(slack): State<Arc<Slack>>, body: String) -> Response {
    let wanted: ChannelOfPeople = match serde_json::from_str(&body) {
        Ok(wanted) => wanted,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let mut memory = slack.memory.lock();
    let creator = people::find("operator").map(|person| person.id);
    let creator = creator.unwrap_or_default();
    let made = conversations::found(&mut memory, &wanted.name, &creator, wanted.is_private);
    let made = made.and_then(|channel| memory.channel_mut(&channel.id));
    let Ok(channel) = made else {
        return refused(StatusCode::CONFLICT, "name_taken");
    };
    channel.topic.value = wanted.topic;
    channel.purpose.value = wanted.purpose;
    channel.is_archived = wanted.is_archived;
    let answer = json!({"channel": channel.view()});
    stand_in::json(StatusCode::CREATED, answer)
}

fn refused(status: StatusCode, error: &str) -> Response {
    stand_in::json(status, json!({"error": error}))
}

/// The payload of a click; the error says what is not there.
fn prepared(slack: &Slack, click: &Click, person: &Person) -> Result<Value, String> {
    let mut memory = slack.memory.lock();
    let found = memory.messages.iter().find(|message| message.ts == click.message_ts);
    let message = found.cloned().ok_or_else(|| format!("there is no message {}", click.message_ts))?;
    let (block_id, button) = button(&message, &click.action_id).ok_or_else(|| {
        format!("message {} has no button with the action_id {}", click.message_ts, click.action_id)
    })?;
    let channel_name =
        memory.channel(&message.channel).map(|channel| channel.name.clone()).unwrap_or_default();
    let trigger_id = memory.issue_trigger();
    let response_url = issue_response_url(&mut memory, &slack.origin, &message, person);
    let mut action = json!({
        "type": "button",
        "action_id": button["action_id"],
        "block_id": block_id,
        "text": button["text"],
        "action_ts": memory.next_ts(),
    });
    for name in ["value", "style", "confirm"] {
        if let Some(value) = button.get(name) {
            action[name] = value.clone();
        }
    }
    Ok(json!({
        "type": "block_actions",
        "user": {
            "id": person.id,
            "username": person.name,
            "name": person.name,
            "team_id": TEAM_ID,
        },
        "api_app_id": APP_ID,
        "container": {
            "type": "message",
            "message_ts": message.ts,
            "channel_id": message.channel,
            "is_ephemeral": message.ephemeral_for.is_some(),
        },
        "trigger_id": trigger_id,
        "team": {"id": TEAM_ID, "domain": TEAM_DOMAIN},
        "enterprise": null,
        "is_enterprise_install": false,
        "channel": {"id": message.channel, "name": channel_name},
        "message": message.view(true),
        "state": {"values": {}},
        "response_url": response_url,
        "actions": [action],
    }))
}

/// The button and the id of its block.
fn button(message: &Message, action_id: &str) -> Option<(Value, Value)> {
    let is_it = |element: &&Value| element["type"] == "button" && element["action_id"] == action_id;
    message.blocks.iter().find_map(|block| {
        let elements = block["elements"].as_array().into_iter().flatten();
        let found = elements.chain(block.get("accessory")).find(is_it)?;
        Some((block["block_id"].clone(), found.clone()))
    })
}

fn issue_response_url(memory: &mut SlackMemory, origin: &str, message: &Message, person: &Person) -> String {
    let serial = memory.next_serial();
    let token = format!("{:016x}{serial:08x}", clock::epoch_micros());
    let issued = ResponseUrl {
        message_ts: message.ts.clone(),
        channel: message.channel.clone(),
        user: person.id.clone(),
        uses: 0,
        issued: clock::epoch_seconds(),
    };
    memory.response_urls.insert(token.clone(), issued);
    format!("{origin}/actions/{TEAM_ID}/{serial}/{token}")
}

/// Posts the payload and tells what came of it.
async fn deliver(slack: &Slack, harmony: &str, payload: &Value) -> Value {
    let started = Instant::now();
    let sent = tokio::time::timeout(DELIVERY_TIMEOUT, send(slack, harmony, payload)).await;
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut outcome = match sent {
        Ok(Ok((status, body))) => {
            json!({"delivered": true, "status": status.as_u16(), "body": body})
        }
        Ok(Err(error)) => json!({"delivered": false, "status": null, "body": error}),
        Err(_) => json!({
            "delivered": false,
            "status": null,
            "body": "Harmony did not answer in time",
        }),
    };
    outcome["elapsedMs"] = json!(elapsed_ms);
    outcome
}

async fn send(slack: &Slack, harmony: &str, payload: &Value) -> Result<(StatusCode, String), String> {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("payload", &payload.to_string())
        .finish();
    let timestamp = clock::epoch_seconds().to_string();
    let signature = signature(slack.signing_secret.expose_secret(), &timestamp, &body)?;
    let request = Request::post(format!("{harmony}/slack/interactions"))
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
        .header(header::USER_AGENT, "Slackbot 1.0 (sandbox)")
        .header("X-Slack-Request-Timestamp", timestamp)
        .header("X-Slack-Signature", signature)
        .body(Body::from(body))
        .map_err(|error| format!("the address of Harmony is unusable: {error}"))?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let response = client
        .request(request)
        .await
        .map_err(|error| format!("Harmony at {harmony} did not answer: {error}"))?;
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|error| format!("Harmony's answer broke off: {error}"))?;
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Ok((status, text))
}

fn signature(secret: &str, timestamp: &str, body: &str) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map_err(|error| format!("the signing secret is unusable: {error}"))?;
    mac.update(format!("v0:{timestamp}:{body}").as_bytes());
    Ok(format!("v0={}", hex::encode(mac.finalize().into_bytes())))
}

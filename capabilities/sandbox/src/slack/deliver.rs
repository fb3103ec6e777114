//! Bringing something to Harmony as Slack does: posted to its address and signed (`v0`, HMAC-SHA256 over
//! `v0:{timestamp}:{body}`), or over the app's socket where one is connected. Answers
//! `{delivered, status, body, elapsedMs}`; `delivered` says that Harmony answered, `status` what.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use sha2::Sha256;

use crate::{clock, webhook};

use super::Slack;

/// Slack gives up after 3 s; this is longer, so that a slow machine is told apart from an
/// answer that never comes. How long it took is in the answer.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(15);

/// What is brought.
pub(super) enum Delivery {
    /// A click, a form, a shortcut.
    Interaction(Value),
    /// A typed command.
    Command(Map<String, Value>),
    /// Something that happened, of which the app wants to hear.
    Event(Value),
}

impl Delivery {
    fn path(&self) -> &'static str {
        match self {
            Self::Interaction(_) => "/slack/interactions",
            Self::Command(_) => "/slack/commands",
            Self::Event(_) => "/slack/events",
        }
    }

    fn content_type(&self) -> &'static str {
        match self {
            Self::Interaction(_) | Self::Command(_) => "application/x-www-form-urlencoded",
            Self::Event(_) => "application/json",
        }
    }

    fn body(&self) -> String {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        match self {
            Self::Interaction(payload) => {
                form.append_pair("payload", &payload.to_string());
            }
            Self::Command(fields) => {
                for (name, value) in fields {
                    form.append_pair(name, value.as_str().unwrap_or_default());
                }
            }
            Self::Event(event) => return event.to_string(),
        }
        form.finish()
    }

    /// The type and the payload of its envelope.
    fn envelope(&self) -> (&'static str, Value) {
        match self {
            Self::Interaction(payload) => ("interactive", payload.clone()),
            Self::Command(fields) => ("slash_commands", Value::Object(fields.clone())),
            Self::Event(event) => ("events_api", event.clone()),
        }
    }
}

/// Delivers and tells what came of it.
pub(super) async fn deliver(slack: &Slack, delivery: &Delivery) -> Value {
    let started = Instant::now();
    let (kind, payload) = delivery.envelope();
    let sent = if let Some(acknowledged) = slack.sockets.send(kind, payload) {
        tokio::time::timeout(DELIVERY_TIMEOUT, async {
            let payload =
                acknowledged.await.map_err(|_| "the socket closed before it was acknowledged".to_owned())?;
            let body = if payload.is_null() { String::new() } else { payload.to_string() };
            Ok((StatusCode::OK, body))
        })
        .await
    } else if let Some(harmony) = slack.harmony_url.get() {
        tokio::time::timeout(DELIVERY_TIMEOUT, post(slack, &harmony, delivery)).await
    } else {
        Ok(Err("the address of Harmony is not set".to_owned()))
    };
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut outcome = match sent {
        Ok(Ok((status, body))) => json!({"delivered": true, "status": status.as_u16(), "body": body}),
        Ok(Err(error)) => json!({"delivered": false, "status": null, "body": error}),
        Err(_) => json!({"delivered": false, "status": null, "body": "Harmony did not answer in time"}),
    };
    outcome["elapsedMs"] = json!(elapsed_ms);
    outcome
}

async fn post(slack: &Slack, harmony: &str, delivery: &Delivery) -> Result<(StatusCode, String), String> {
    let body = delivery.body();
    let timestamp = clock::epoch_seconds().to_string();
    let signature = signature(slack.signing_secret.expose_secret(), &timestamp, &body)?;
    let request = Request::post(format!("{harmony}{}", delivery.path()))
        .header(header::CONTENT_TYPE, HeaderValue::from_static(delivery.content_type()))
        .header(header::USER_AGENT, "Slackbot 1.0 (sandbox)")
        .header("X-Slack-Request-Timestamp", timestamp)
        .header("X-Slack-Signature", signature)
        .body(Body::from(body))
        .map_err(|error| format!("the address of Harmony is unusable: {error}"))?;
    webhook::send(harmony, request).await
}

fn signature(secret: &str, timestamp: &str, body: &str) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map_err(|error| format!("the signing secret is unusable: {error}"))?;
    mac.update(format!("v0:{timestamp}:{body}").as_bytes());
    Ok(format!("v0={}", hex::encode(mac.finalize().into_bytes())))
}

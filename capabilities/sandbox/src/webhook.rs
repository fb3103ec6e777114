//! Bringing an event to Harmony as a tracker does: JSON, signed with HMAC-SHA256 over the raw body. Answers
//! `{delivered, status, body}`; `delivered` says that Harmony answered, `status` what.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{HarmonyUrl, stand_in};

/// GitHub gives up after 10 s.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// One event of a tracker.
pub(crate) struct Event {
    /// Where Harmony takes it.
    pub(crate) path: &'static str,
    /// The header that carries the signature.
    pub(crate) signature: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Value,
}

/// `POST /_sandbox/{tracker}/issue`: somebody moves an issue.
#[derive(Deserialize)]
pub(crate) struct Move {
    pub(crate) issue: String,
    pub(crate) state: String,
    #[serde(default = "yes")]
    deliver: bool,
}

fn yes() -> bool {
    true
}

/// Moves an issue as the body says, and delivers the event unless it says not to.
pub(crate) async fn move_issue(
    harmony: &HarmonyUrl,
    secret: &SecretString,
    body: &str,
    moved: impl FnOnce(&Move) -> Result<Event, &'static str>,
) -> Response {
    let order: Result<Move, String> = serde_json::from_str(body).map_err(|error| error.to_string());
    match order.and_then(|order| Ok((moved(&order)?, order.deliver))) {
        Ok((event, true)) => stand_in::json(StatusCode::OK, deliver(harmony, secret, event).await),
        Ok((event, false)) => {
            stand_in::json(StatusCode::OK, json!({"delivered": false, "event": event.body}))
        }
        Err(error) => stand_in::json(StatusCode::BAD_REQUEST, json!({"error": error})),
    }
}

/// Delivers it and tells what came of it.
async fn deliver(harmony: &HarmonyUrl, secret: &SecretString, event: Event) -> Value {
    let Some(harmony) = harmony.get() else {
        return json!({"delivered": false, "status": null, "body": "the address of Harmony is not set"});
    };
    match tokio::time::timeout(DELIVERY_TIMEOUT, post(&harmony, secret, event)).await {
        Ok(Ok((status, body))) => json!({"delivered": true, "status": status.as_u16(), "body": body}),
        Ok(Err(error)) => json!({"delivered": false, "status": null, "body": error}),
        Err(_) => json!({"delivered": false, "status": null, "body": "Harmony did not answer in time"}),
    }
}

async fn post(harmony: &str, secret: &SecretString, event: Event) -> Result<(StatusCode, String), String> {
    let body = event.body.to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
        .map_err(|error| format!("the webhook's secret is unusable: {error}"))?;
    mac.update(body.as_bytes());
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let mut request = Request::post(format!("{harmony}{}", event.path))
        .header(header::CONTENT_TYPE, "application/json")
        .header(event.signature, signature);
    for (name, value) in event.headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Body::from(body))
        .map_err(|error| format!("the address of Harmony is unusable: {error}"))?;
    send(harmony, request).await
}

/// Sends a request to Harmony, and reads all of its answer.
pub(crate) async fn send(harmony: &str, request: Request<Body>) -> Result<(StatusCode, String), String> {
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
    Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}

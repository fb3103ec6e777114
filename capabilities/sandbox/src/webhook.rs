//! Bringing an event to Harmony as a tracker does: JSON, signed with HMAC-SHA256 over the raw body. Answers
//! `{delivered, status, body}`; `delivered` says that Harmony answered, `status` what.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::HarmonyUrl;

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

/// Delivers it and tells what came of it.
pub(crate) async fn deliver(harmony: &HarmonyUrl, secret: &SecretString, event: Event) -> Value {
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

//! Slack's way in: interactions, the command `/incident`, and events, over HTTP or by Socket Mode.
//!
//! Over HTTP each request is verified over its raw bytes and taken once. Slack shows an error after 3 s, so what takes
//! longer goes on by itself and the person is told by the address that came with the request. No click stays
//! unanswered. What Slack sends twice is the same request: its id comes from the interaction. Nothing in a payload is
//! believed but who sent it; what it says is checked like anything else that comes from outside.
//!
//! `interaction` reads clicks, forms and shortcuts, `read` does nothing but read, `command` the typed command, `work` carries a click out, `reason`
//! asks for a reason, `home` shows App Home, `orders` is what can be asked for in words, `socket` the other way in.

mod command;
#[cfg(test)]
mod forgeries;
mod forms;
mod home;
mod interaction;
mod orders;
pub(crate) mod read;
mod reason;
pub(crate) mod socket;
mod tell;
mod work;

use std::time::{Duration, Instant};

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use harmony_capabilities::slack::signature;
use serde_json::Value;
use url::form_urlencoded;

use crate::{App, error::ApiError};

/// Slack gives up after 3 s; some of it is the way here and back.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// The button of App Home that opens the form to declare an incident.
const DECLARE_BUTTON: &str = "home-declare";

/// What a request is answered with: nothing, or a JSON body.
type Said = Option<Value>;

/// `POST /slack/interactions`: clicks, forms, shortcuts.
pub(crate) async fn interactions(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = body?;
    if is_ssl_check(&app, &body) {
        return Ok(StatusCode::OK.into_response());
    }
    let body = verified(&app, &headers, body)?;
    let payload = field(&body, "payload")
        .ok_or_else(|| ApiError::Malformed("the form has no field `payload`".to_owned()))?;
    interaction::take(&app, &payload).await.map(respond)
}

/// `POST /slack/commands`: `/incident …`
pub(crate) async fn commands(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = body?;
    if is_ssl_check(&app, &body) {
        return Ok(StatusCode::OK.into_response());
    }
    let body = verified(&app, &headers, body)?;
    command::take(&app, fields(&body)).await.map(respond)
}

/// `POST /slack/events`: somebody looks at App Home. What Slack sends again, once it was taken, is answered and not done
/// again.
pub(crate) async fn events(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = verified(&app, &headers, body?)?;
    let event: Value = serde_json::from_slice(&body)
        .map_err(|error| ApiError::Malformed(format!("the body is no JSON: {error}")))?;
    home::take(&app, event).map(respond)
}

/// Slack asks whether this address has a certificate that it trusts, and does not sign the question. Nothing follows from
/// the answer.
fn is_ssl_check(app: &App, body: &[u8]) -> bool {
    app.doors.slack_signing_secret.is_some() && field(body, "ssl_check").is_some_and(|value| value == "1")
}

fn respond(said: Said) -> Response {
    match said {
        Some(body) => Json(body).into_response(),
        None => StatusCode::OK.into_response(),
    }
}

/// The body of a request that Slack signed just now and that was not taken before.
fn verified(app: &App, headers: &HeaderMap, body: Bytes) -> Result<Bytes, ApiError> {
    let Some(secret) = &app.doors.slack_signing_secret else {
        return Err(ApiError::NotFound("Slack is not configured here".to_owned()));
    };
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let signature = header("x-slack-signature");
    signature::verify(secret, header("x-slack-request-timestamp"), signature, &body).map_err(|error| {
        tracing::warn!(%error, "a request to Slack's door was not Slack's");
        ApiError::Unauthorized("this is not signed by Slack, or not just now")
    })?;
    if app.seen.is_new(signature, Instant::now()) {
        Ok(body)
    } else {
        Err(ApiError::Unauthorized("this request was taken already"))
    }
}

/// All fields of a form.
fn fields(body: &[u8]) -> Value {
    form_urlencoded::parse(body)
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A field of a form.
fn field(body: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(body).find(|(field, _)| field == name).map(|(_, value)| value.into_owned())
}

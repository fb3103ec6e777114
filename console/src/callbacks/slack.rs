//! Slack's interactive callbacks: clicks on Approve, Reject and Sign off.
//!
//! Verified over the raw bytes, once each. Slack shows an error after 3 s, so the click is answered as soon as its
//! decision lies in the outbox; the verdict is awaited afterwards, and whoever was refused is told why, for their eyes
//! alone. No click stays unanswered. A click that Slack sends twice is the same decision: its id comes from the
//! interaction. What a button says is checked like anything else that comes from outside.

use std::time::{Duration, Instant};

use axum::{
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use futures_util::future::join_all;
use harmony_capabilities::slack::{escape, signature};
use harmony_incidents::{IncidentId, OrgId, command::Decision, ids::NAMESPACE};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::oneshot;
use url::form_urlencoded;
use uuid::Uuid;

use super::slack_click::{Click, Wish, work};
use crate::{App, error::ApiError};

/// Slack gives up after 3 s; some of it is the way here and back.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// What of an interaction matters.
#[derive(Deserialize)]
struct Interaction {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    trigger_id: String,
    #[serde(default)]
    response_url: Option<String>,
    #[serde(default)]
    user: Option<User>,
    #[serde(default)]
    actions: Vec<Action>,
}

#[derive(Deserialize)]
struct User {
    id: String,
}

#[derive(Deserialize)]
struct Action {
    #[serde(default)]
    action_id: String,
    #[serde(default)]
    action_ts: String,
    #[serde(default)]
    value: Option<String>,
}

/// Value of an Approve or Reject button.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GateButton {
    org: OrgId,
    workflow_id: String,
    gate_id: String,
    digest: String,
}

/// Value of a Sign-off button.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignOffButton {
    org: OrgId,
    incident_id: IncidentId,
    digest: String,
}

/// `POST /slack/interactions`
pub(crate) async fn interactions(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = body?;
    verify(&app, &headers, &body)?;
    let Some(payload) = payload(&body)? else { return Ok(StatusCode::OK.into_response()) };
    let clicks = clicks(payload)?;
    let mut written = Vec::new();
    for click in clicks {
        let (tell, told) = oneshot::channel();
        written.push(told);
        tokio::spawn(work(app.clone(), click, tell));
    }
    // What takes longer goes on, and tells the person itself.
    if tokio::time::timeout(PATIENCE, join_all(written)).await.is_err() {
        tracing::warn!("a click was answered before the store had taken it");
    }
    Ok(StatusCode::OK.into_response())
}

fn verify(app: &App, headers: &HeaderMap, body: &[u8]) -> Result<(), ApiError> {
    let Some(secret) = &app.doors.slack_signing_secret else {
        return Err(ApiError::NotFound("Slack is not configured here".to_owned()));
    };
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let signature = header("x-slack-signature");
    let now = Timestamp::now().as_second();
    signature::verify(secret, header("x-slack-request-timestamp"), signature, body, now).map_err(
        |error| {
            tracing::warn!(%error, "a request to Slack's door was not Slack's");
            ApiError::Unauthorized("this is not signed by Slack, or not just now")
        },
    )?;
    if app.seen.is_new(signature, Instant::now()) {
        Ok(())
    } else {
        Err(ApiError::Unauthorized("this request was taken already"))
    }
}

/// The interaction in a form; `None` for Slack's own checks.
fn payload(body: &[u8]) -> Result<Option<Interaction>, ApiError> {
    let field = |name: &str| {
        form_urlencoded::parse(body).find(|(field, _)| field == name).map(|(_, value)| value.into_owned())
    };
    if field("ssl_check").is_some() {
        return Ok(None);
    }
    let text =
        field("payload").ok_or_else(|| ApiError::Malformed("the form has no field `payload`".to_owned()))?;
    serde_json::from_str(&text).map(Some).map_err(|error| ApiError::Malformed(format!("payload: {error}")))
}

/// The clicks on our buttons; others are nobody's business here.
fn clicks(interaction: Interaction) -> Result<Vec<Click>, ApiError> {
    if interaction.kind != "block_actions" {
        return Ok(Vec::new());
    }
    let user = interaction
        .user
        .ok_or_else(|| ApiError::Malformed("payload: an interaction has a `user`".to_owned()))?
        .id;
    let mut clicks = Vec::new();
    for action in &interaction.actions {
        let Some((org, wish)) = wish(action)? else { continue };
        let name =
            format!("slack/{}/{}/{user}/{}", interaction.trigger_id, action.action_ts, action.action_id);
        clicks.push(Click {
            id: Uuid::new_v5(&NAMESPACE, name.as_bytes()),
            user: user.clone(),
            response_url: interaction.response_url.clone(),
            org,
            wish,
        });
    }
    Ok(clicks)
}

fn wish(action: &Action) -> Result<Option<(OrgId, Wish)>, ApiError> {
    let malformed =
        |error: String| ApiError::Malformed(format!("payload: the value of {}: {error}", action.action_id));
    let value = action.value.as_deref().unwrap_or_default();
    let decision = match action.action_id.as_str() {
        "approve" => Decision::Approved,
        "reject" => Decision::Rejected,
        "sign-off" => {
            let SignOffButton { org, incident_id, digest } =
                serde_json::from_str(value).map_err(|error| malformed(error.to_string()))?;
            return Ok(Some((org, Wish::SignOff { incident: incident_id, digest })));
        }
        _ => return Ok(None),
    };
    let GateButton { org, workflow_id, gate_id, digest } =
        serde_json::from_str(value).map_err(|error| malformed(error.to_string()))?;
    if gate_id.split_once('#').is_none_or(|(workflow, _)| workflow != workflow_id) {
        return Err(malformed("the gate is not this workflow's".to_owned()));
    }
    Ok(Some((org, Wish::Decide { decision, gate_id, digest })))
}

/// Tells the person who clicked, and nobody else.
pub(super) async fn tell(app: &App, click: &Click, text: &str) {
    let (Some(replies), Some(response_url)) = (&app.doors.slack_replies, &click.response_url) else {
        tracing::warn!(user = click.user, text, "nobody could be told in Slack");
        return;
    };
    if let Err(error) = replies.respond(response_url, &escape(text)).await {
        tracing::warn!(user = click.user, %error, "a person in Slack could not be told");
    }
}

//! A typed command: `POST /_sandbox/slack/command {text, userId, command?, channelId?}` brings it to Harmony and shows
//! the answer in the channel, to that person alone unless the answer is for all. `command` is `/incident` unless told
//! otherwise.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::stand_in;

use super::Slack;
use super::click::refused;
use super::deliver::{Delivery, deliver};
use super::memory::Message;
use super::people::{self, APP_ID, Person, TEAM_DOMAIN, TEAM_ID};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Typed {
    #[serde(default = "incident")]
    command: String,
    #[serde(default)]
    text: String,
    user_id: String,
    #[serde(default)]
    pub(super) channel_id: String,
}

impl Typed {
    /// `/incident …`, typed by this user, in no channel.
    pub(super) fn incident(text: String, user_id: String) -> Self {
        Self { command: incident(), text, user_id, channel_id: String::new() }
    }
}

fn incident() -> String {
    "/incident".to_owned()
}

pub(super) fn routes(slack: Arc<Slack>) -> Router {
    Router::new().route("/_sandbox/slack/command", post(command)).with_state(slack)
}

async fn command(State(slack): State<Arc<Slack>>, body: String) -> Response {
    let typed: Typed = match serde_json::from_str(&body) {
        Ok(typed) => typed,
        Err(error) => {
            let hint = format!("a command is {{text, userId, command?, channelId?}}: {error}");
            return refused(StatusCode::BAD_REQUEST, &hint);
        }
    };
    let Some(person) = people::find(&typed.user_id) else {
        return refused(StatusCode::NOT_FOUND, &format!("there is no user {}", typed.user_id));
    };
    stand_in::json(StatusCode::OK, carry_out(&slack, typed, &person).await)
}

/// Delivers a command, and shows what it is answered with.
pub(super) async fn carry_out(slack: &Slack, typed: Typed, person: &Person) -> Value {
    let fields = {
        let mut memory = slack.memory.lock();
        let channel_name =
            memory.channel(&typed.channel_id).map(|channel| channel.name.clone()).unwrap_or_default();
        let trigger_id = memory.issue_trigger(&person.id);
        let response_url = memory.issue_response_url(&slack.origin, &typed.channel_id, "", &person.id);
        [
            ("token", "sandbox"),
            ("team_id", TEAM_ID),
            ("team_domain", TEAM_DOMAIN),
            ("channel_id", &typed.channel_id),
            ("channel_name", &channel_name),
            ("user_id", &person.id),
            ("user_name", &person.name),
            ("command", &typed.command),
            ("text", &typed.text),
            ("api_app_id", APP_ID),
            ("is_enterprise_install", "false"),
            ("response_url", &response_url),
            ("trigger_id", &trigger_id),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::String(value.to_owned())))
        .collect::<Map<_, _>>()
    };
    let outcome = deliver(slack, &Delivery::Command(fields)).await;
    let said: Value =
        outcome["body"].as_str().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default();
    if let Some(text) = said["text"].as_str().filter(|_| outcome["status"] == json!(200)) {
        let mut memory = slack.memory.lock();
        let message = Message {
            channel: typed.channel_id,
            ts: memory.next_ts(),
            text: text.to_owned(),
            ephemeral_for: (said["response_type"] != "in_channel").then(|| person.id.clone()),
            ..Message::default()
        };
        memory.messages.push(message);
    }
    outcome
}

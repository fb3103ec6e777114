//! A person's click: finds the button, builds the `block_actions` payload Slack would send,
//! and delivers it to Harmony.
//!
//! `POST /_sandbox/slack/click {messageTs, actionId, userId}` answers
//! `{delivered, status, body}`; `delivered` says that Harmony answered, `status` what. Without
//! `messageTs` the button is one of the Home tab that this person sees. Where the
//! click opens a form, it is filled in and sent at once, with `values` or with anything, and
//! `form` tells what came of it; with `leaveForm` it stays open (`forms.rs`). Also
//! here: `POST /_sandbox/slack/channels {name, …}`, a channel that a person made.

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
use super::conversations;
use super::deliver::{Delivery, deliver};
use super::forms;
use super::memory::SlackMemory;
use super::people::{self, APP_ID, Person, TEAM_DOMAIN, TEAM_ID};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Click {
    /// Empty for a button of the app's Home tab.
    #[serde(default)]
    pub(super) message_ts: String,
    pub(super) action_id: String,
    pub(super) user_id: String,
    /// For the form that the click opens.
    #[serde(default)]
    pub(super) values: Map<String, Value>,
    /// Whether that form stays open.
    #[serde(default)]
    pub(super) leave_form: bool,
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
    match carry_out(&slack, click).await {
        Ok(outcome) => stand_in::json(StatusCode::OK, outcome),
        Err(hint) => refused(StatusCode::NOT_FOUND, &hint),
    }
}

/// Delivers a click, and fills in the form that it opens; the error says what is not there.
pub(super) async fn carry_out(slack: &Arc<Slack>, click: Click) -> Result<Value, String> {
    let person = people::find(&click.user_id).ok_or_else(|| format!("there is no user {}", click.user_id))?;
    let payload = prepared(slack, &click, &person)?;
    let trigger_id = payload["trigger_id"].clone();
    let mut outcome = deliver(slack, &Delivery::Interaction(payload)).await;
    let opened = slack.memory.lock().form_of(&trigger_id).filter(|_| !click.leave_form);
    if let Some(view) = opened {
        let values = if click.values.is_empty() { forms::anything(&view) } else { click.values };
        outcome["form"] = forms::send(slack, &person, view["id"].as_str(), &values).await?;
    }
    Ok(outcome)
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

pub(super) fn refused(status: StatusCode, error: &str) -> Response {
    stand_in::json(status, json!({"error": error}))
}

/// The payload of a click; the error says what is not there.
fn prepared(slack: &Slack, click: &Click, person: &Person) -> Result<Value, String> {
    let mut memory = slack.memory.lock();
    if click.message_ts.is_empty() {
        return of_home(&mut memory, click, person);
    }
    let found = memory.messages.iter().find(|message| message.ts == click.message_ts);
    let message = found.cloned().ok_or_else(|| format!("there is no message {}", click.message_ts))?;
    let found = button(&message.blocks, &click.action_id).ok_or_else(|| {
        format!("message {} has no button with the action_id {}", click.message_ts, click.action_id)
    })?;
    let channel_name =
        memory.channel(&message.channel).map(|channel| channel.name.clone()).unwrap_or_default();
    let trigger_id = memory.issue_trigger(&person.id);
    let response_url = memory.issue_response_url(&slack.origin, &message.channel, &message.ts, &person.id);
    let action = action(&mut memory, found);
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

/// The payload of a click in the Home tab, which comes from no channel and has no `response_url`.
fn of_home(memory: &mut SlackMemory, click: &Click, person: &Person) -> Result<Value, String> {
    let home = memory.homes.get(&person.id).cloned();
    let home = home.ok_or_else(|| format!("{} has not looked at the Home tab", person.name))?;
    let blocks = home["blocks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = button(blocks, &click.action_id)
        .ok_or_else(|| format!("the Home tab has no button with the action_id {}", click.action_id))?;
    Ok(json!({
        "type": "block_actions",
        "user": {"id": person.id, "username": person.name, "name": person.name, "team_id": TEAM_ID},
        "api_app_id": APP_ID,
        "container": {"type": "view", "view_id": home["id"]},
        "trigger_id": memory.issue_trigger(&person.id),
        "team": {"id": TEAM_ID, "domain": TEAM_DOMAIN},
        "enterprise": null,
        "is_enterprise_install": false,
        "view": home,
        "actions": [action(memory, found)],
    }))
}

fn action(memory: &mut SlackMemory, (block_id, button): (Value, Value)) -> Value {
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
    action
}

/// The button and the id of its block.
fn button(blocks: &[Value], action_id: &str) -> Option<(Value, Value)> {
    let is_it = |element: &&Value| element["type"] == "button" && element["action_id"] == action_id;
    blocks.iter().find_map(|block| {
        let elements = block["elements"].as_array().into_iter().flatten();
        let found = elements.chain(block.get("accessory")).find(is_it)?;
        Some((block["block_id"].clone(), found.clone()))
    })
}

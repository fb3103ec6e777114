//! Forms and shortcuts: `POST /_sandbox/slack/submit {userId, values: {block: text}, viewId?}` fills in and sends the
//! form that was opened last for this person, `POST /_sandbox/slack/shortcut {callbackId, userId}` uses a global
//! shortcut, and with `messageTs` one that is used on a message. A field that must be filled in is asked for here, as
//! Slack's own client does. What the app says about the form (`errors`, `update`, `clear`) is carried out, and an update
//! is held to the same description as a view.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::clock;
use crate::stand_in;

use super::Slack;
use super::click::refused;
use super::deliver::{Delivery, deliver};
use super::people::{self, APP_ID, Person, TEAM_DOMAIN, TEAM_ID};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Submit {
    user_id: String,
    #[serde(default)]
    view_id: Option<String>,
    #[serde(default)]
    values: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shortcut {
    callback_id: String,
    user_id: String,
    #[serde(default)]
    message_ts: Option<String>,
}

pub(super) fn routes(slack: Arc<Slack>) -> Router {
    Router::new()
        .route("/_sandbox/slack/shortcut", post(shortcut))
        .route("/_sandbox/slack/submit", post(submit))
        .with_state(slack)
}

async fn submit(State(slack): State<Arc<Slack>>, body: String) -> Response {
    let submit: Submit = match serde_json::from_str(&body) {
        Ok(submit) => submit,
        Err(error) => {
            let hint = format!("a form is sent as {{userId, values: {{block: text}}, viewId?}}: {error}");
            return refused(StatusCode::BAD_REQUEST, &hint);
        }
    };
    let Some(person) = people::find(&submit.user_id) else {
        return refused(StatusCode::NOT_FOUND, &format!("there is no user {}", submit.user_id));
    };
    match send(&slack, &person, submit.view_id.as_deref(), &submit.values).await {
        Ok(outcome) => stand_in::json(StatusCode::OK, outcome),
        Err(hint) => refused(StatusCode::NOT_FOUND, &hint),
    }
}

/// Fills in the form, sends it and obeys the answer; tells what came of it. The error says what is not there.
pub(super) async fn send(
    slack: &Slack,
    person: &Person,
    view_id: Option<&str>,
    values: &Map<String, Value>,
) -> Result<Value, String> {
    let (id, payload) = filled(slack, person, view_id, values)?;
    let mut outcome = deliver(slack, &Delivery::Interaction(payload)).await;
    if outcome["delivered"] == true && outcome["status"] == 200 {
        let said = outcome["body"].as_str().and_then(|body| serde_json::from_str(body).ok());
        if let Some(problem) = obey(slack, &id, &said.unwrap_or_default()) {
            outcome["problem"] = json!(problem);
        }
    }
    Ok(outcome)
}

/// The view's id and the `view_submission` payload.
fn filled(
    slack: &Slack,
    person: &Person,
    view_id: Option<&str>,
    given: &Map<String, Value>,
) -> Result<(String, Value), String> {
    let mut memory = slack.memory.lock();
    let trigger_id = memory.issue_trigger(&person.id);
    let form = memory
        .views
        .iter_mut()
        .rev()
        .filter(|form| form.is_open && form.user == person.id)
        .find(|form| view_id.is_none_or(|id| form.view["id"] == id))
        .ok_or_else(|| format!("no form is open for {}", person.name))?;
    let blocks = form.view["blocks"].as_array().cloned().unwrap_or_default();
    let inputs: Vec<&Value> = blocks.iter().filter(|block| block["type"] == "input").collect();
    if let Some(unknown) =
        given.keys().find(|name| !inputs.iter().any(|block| block["block_id"] == name.as_str()))
    {
        return Err(format!("the form has no field {unknown}"));
    }
    let mut values = Map::new();
    for block in inputs {
        let (name, element) = (block["block_id"].as_str().unwrap_or_default(), &block["element"]);
        let text = given.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if text.is_none() && block["optional"] != true {
            return Err(format!("the field {name} must be filled in"));
        }
        let action = element["action_id"].as_str().unwrap_or_default();
        values.insert(name.to_owned(), json!({ action: input(element, text)? }));
    }
    form.view["state"] = json!({"values": values});
    let view = form.view.clone();
    let payload = json!({
        "type": "view_submission",
        "team": {"id": TEAM_ID, "domain": TEAM_DOMAIN},
        "user": {"id": person.id, "username": person.name, "name": person.name, "team_id": TEAM_ID},
        "api_app_id": APP_ID,
        "trigger_id": trigger_id,
        "view": view,
        "response_urls": [],
        "is_enterprise_install": false,
        "enterprise": null,
    });
    Ok((view["id"].as_str().unwrap_or_default().to_owned(), payload))
}

/// What a field says, as Slack reports it.
fn input(element: &Value, text: Option<&str>) -> Result<Value, String> {
    if element["type"] == "static_select" {
        let options = element["options"].as_array().into_iter().flatten();
        let chosen = text.map(|text| {
            let mut options = options.filter(|option| option["value"] == text);
            options.next().cloned().ok_or_else(|| format!("there is no option {text}"))
        });
        return Ok(json!({"type": element["type"], "selected_option": chosen.transpose()?}));
    }
    let longest = element["max_length"].as_u64().unwrap_or(3_000);
    let length = text.map_or(0, |text| text.chars().count());
    if u64::try_from(length).unwrap_or(u64::MAX) > longest {
        return Err(format!("the field takes {longest} characters"));
    }
    Ok(json!({"type": element["type"], "value": text}))
}

/// Carries out what the app says about the form; tells what is wrong with that.
fn obey(slack: &Slack, id: &str, said: &Value) -> Option<String> {
    let action = said["response_action"].as_str();
    let broken = (action == Some("update"))
        .then(|| {
            slack.spec.check_body(
                "POST",
                "/views.open",
                &json!({"trigger_id": "1.2.3", "view": said["view"]}),
            )
        })
        .into_iter()
        .flatten()
        .next();
    if let Some(violation) = broken {
        return Some(format!("the update is no view: {} at {}", violation.message, violation.pointer));
    }
    let mut memory = slack.memory.lock();
    let form = memory.views.iter_mut().find(|form| form.view["id"] == id)?;
    form.errors = json!(null);
    match action {
        Some("errors") => form.errors = said["errors"].clone(),
        Some("update") => {
            let mut view = said["view"].clone();
            view["id"] = json!(id);
            form.view = view;
            form.is_open = form.view.get("submit").is_some();
        }
        None | Some("clear") => form.is_open = false,
        Some(other) => return Some(format!("there is no response_action {other}")),
    }
    None
}

async fn shortcut(State(slack): State<Arc<Slack>>, body: String) -> Response {
    let wanted: Shortcut = match serde_json::from_str(&body) {
        Ok(wanted) => wanted,
        Err(error) => {
            return refused(
                StatusCode::BAD_REQUEST,
                &format!("a shortcut is {{callbackId, userId}}: {error}"),
            );
        }
    };
    let Some(person) = people::find(&wanted.user_id) else {
        return refused(StatusCode::NOT_FOUND, &format!("there is no user {}", wanted.user_id));
    };
    let (trigger_id, action_ts, message) = {
        let mut memory = slack.memory.lock();
        let found =
            memory.messages.iter().find(|message| Some(&message.ts) == wanted.message_ts.as_ref()).cloned();
        let about = found.map(|message| {
            let name =
                memory.channel(&message.channel).map(|channel| channel.name.clone()).unwrap_or_default();
            let url = memory.issue_response_url(&slack.origin, &message.channel, &message.ts, &person.id);
            json!({
                "type": "message_action",
                "channel": {"id": message.channel, "name": name},
                "message": message.view(true),
                "message_ts": message.ts,
                "response_url": url,
            })
        });
        (memory.issue_trigger(&person.id), memory.next_ts(), about)
    };
    if let (Some(ts), None) = (&wanted.message_ts, &message) {
        return refused(StatusCode::NOT_FOUND, &format!("there is no message {ts}"));
    }
    let mut payload = json!({
        "type": "shortcut",
        "token": "sandbox",
        "action_ts": action_ts,
        "team": {"id": TEAM_ID, "domain": TEAM_DOMAIN},
        "user": {"id": person.id, "username": person.name, "team_id": TEAM_ID},
        "callback_id": wanted.callback_id,
        "trigger_id": trigger_id,
        "enterprise": null,
        "is_enterprise_install": false,
        "received_at": clock::epoch_seconds().to_string(),
    });
    for (name, value) in message.iter().filter_map(Value::as_object).flatten() {
        payload[name] = value.clone();
    }
    stand_in::json(StatusCode::OK, deliver(&slack, &Delivery::Interaction(payload)).await)
}

/// What somebody writes who was given nothing to write, into the fields that must be filled in.
pub(super) fn anything(view: &Value) -> Map<String, Value> {
    let blocks = view["blocks"].as_array().into_iter().flatten();
    blocks
        .filter(|block| block["type"] == "input" && block["optional"] != true)
        .filter_map(|block| {
            let first = block["element"]["options"][0]["value"].as_str();
            Some((
                block["block_id"].as_str()?.to_owned(),
                json!(first.unwrap_or("As clicked in the sandbox")),
            ))
        })
        .collect()
}

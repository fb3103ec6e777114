//! The app's Home tab: `views.publish`, and looking at it.
//!
//! `POST /_sandbox/slack/home {userId}` opens the tab as this person: the app is sent `app_home_opened` and publishes what
//! they see. With `retry` the event is one that Slack sends again: the same id, signed anew.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock;
use crate::stand_in;

use super::answer::{Outcome, Refusal};
use super::click::refused;
use super::deliver::{Delivery, deliver};
use super::memory::SlackMemory;
use super::people::{self, APP_ID, BOT_ID, Person, TEAM_ID};
use super::{Arguments, Slack, text};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Look {
    user_id: String,
    /// The id of an event that was sent before.
    #[serde(default)]
    retry: Option<String>,
}

pub(super) fn routes(slack: Arc<Slack>) -> Router {
    Router::new().route("/_sandbox/slack/home", post(look)).with_state(slack)
}

/// Shows somebody a Home tab in the place of what was there.
pub(super) fn publish(memory: &mut SlackMemory, arguments: &Arguments) -> Outcome {
    let view = arguments.get("view").filter(|view| view.is_object());
    let mut view = view.cloned().ok_or_else(|| Refusal::new("invalid_arguments"))?;
    let person = people::find(text(arguments, "user_id")).ok_or_else(|| Refusal::new("user_not_found"))?;
    let known = memory.homes.get(&person.id).cloned();
    if let Some(hash) = arguments.get("hash")
        && known.as_ref().is_none_or(|known| known["hash"] != *hash)
    {
        return Err(Refusal::new("hash_conflict"));
    }
    let id = match &known {
        Some(known) => known["id"].clone(),
        None => json!(format!("V{:010}", memory.next_serial())),
    };
    view["hash"] = json!(format!("{}.{}", clock::epoch_seconds(), memory.next_serial()));
    view["root_view_id"] = id.clone();
    view["id"] = id;
    view["previous_view_id"] = json!(null);
    view["team_id"] = json!(TEAM_ID);
    view["app_id"] = json!(APP_ID);
    view["bot_id"] = json!(BOT_ID);
    view["state"] = json!({"values": {}});
    memory.homes.insert(person.id, view.clone());
    Ok(json!({"view": view}))
}

async fn look(State(slack): State<Arc<Slack>>, body: String) -> Response {
    let look: Look = match serde_json::from_str(&body) {
        Ok(look) => look,
        Err(error) => {
            return refused(StatusCode::BAD_REQUEST, &format!("a look is {{userId, retry?}}: {error}"));
        }
    };
    let Some(person) = people::find(&look.user_id) else {
        return refused(StatusCode::NOT_FOUND, &format!("there is no user {}", look.user_id));
    };
    stand_in::json(StatusCode::OK, open(&slack, &person, look.retry).await)
}

/// As [`open`], and waits until the app has published what they see, or a while.
pub(super) async fn open_and_wait(slack: &Slack, person: &Person) -> Value {
    let hash = |slack: &Slack| slack.memory.lock().homes.get(&person.id).map(|home| home["hash"].clone());
    let before = hash(slack);
    let outcome = open(slack, person, None).await;
    for _ in 0..60 {
        if outcome["status"] != json!(200) || hash(slack) != before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    outcome
}

/// Tells the app that somebody looks, and what came of it, with the event's id.
pub(super) async fn open(slack: &Slack, person: &Person, retry: Option<String>) -> Value {
    let event = {
        let mut memory = slack.memory.lock();
        let id = retry.unwrap_or_else(|| format!("Ev{:010}", memory.next_serial()));
        let mut opened = json!({
            "type": "app_home_opened",
            "user": person.id,
            "channel": format!("D{}", person.id),
            "tab": "home",
            "event_ts": memory.next_ts(),
        });
        if let Some(view) = memory.homes.get(&person.id) {
            opened["view"] = view.clone();
        }
        json!({
            "type": "event_callback",
            "token": "sandbox",
            "team_id": TEAM_ID,
            "api_app_id": APP_ID,
            "event": opened,
            "event_id": id,
            "event_time": clock::epoch_seconds(),
            "authorizations": [],
            "is_ext_shared_channel": false,
        })
    };
    let id = event["event_id"].clone();
    let mut outcome = deliver(slack, &Delivery::Event(event)).await;
    outcome["eventId"] = id;
    outcome
}

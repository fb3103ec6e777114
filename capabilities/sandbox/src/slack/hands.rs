//! What people do on the page: press a button, type a command, fill in a form. Each is the same request that tests send,
//! and leads back to the page.
//!
//! `POST /_sandbox/slack/press`, `…/type`, `…/fill` and `…/look` (at the Home tab) take forms of this page alone: another site's must not press our
//! buttons.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::Slack;
use super::click::{self, Click, refused};
use super::command::{self, Typed};
use super::forms;
use super::home;
use super::people::{self, Person};

pub(super) fn routes(slack: Arc<Slack>) -> Router {
    Router::new()
        .route("/_sandbox/slack/press", post(press))
        .route("/_sandbox/slack/type", post(type_command))
        .route("/_sandbox/slack/fill", post(fill))
        .route("/_sandbox/slack/look", post(look))
        .with_state(slack)
}

/// A form of the page, and who sent it.
struct Sent {
    person: Person,
    fields: Vec<(String, String)>,
}

impl<S: Send + Sync> FromRequest<S> for Sent {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let headers = request.headers();
        let text =
            |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if text(header::ORIGIN) != format!("http://{}", text(header::HOST)) {
            return Err(refused(StatusCode::FORBIDDEN, "this form was not sent from this page"));
        }
        let body = String::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        let fields: Vec<(String, String)> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let user = fields.iter().find(|(name, _)| name == "userId").map_or("", |(_, value)| value);
        match people::find(user) {
            Some(person) => Ok(Self { person, fields }),
            None => Err(refused(StatusCode::NOT_FOUND, &format!("there is no user {user}"))),
        }
    }
}

impl Sent {
    fn field(&self, name: &str) -> String {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// Back to the page, with what Harmony made of it.
    fn back(&self, outcome: &Value, told: &str) -> Response {
        let said = if outcome["status"] == 200 { "taken" } else { "refused" };
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("as", &self.person.id)
            .append_pair("said", said)
            .append_pair("told", told)
            .append_pair("tab", &self.field("tab"))
            .finish();
        Redirect::to(&format!("/?{query}")).into_response()
    }
}

async fn press(State(slack): State<Arc<Slack>>, sent: Sent) -> Response {
    let click = Click {
        message_ts: sent.field("messageTs"),
        action_id: sent.field("actionId"),
        user_id: sent.person.id.clone(),
        values: Map::new(),
        // A person fills it in.
        leave_form: true,
    };
    match click::carry_out(&slack, click).await {
        Ok(outcome) => sent.back(&outcome, ""),
        Err(hint) => refused(StatusCode::NOT_FOUND, &hint),
    }
}

async fn look(State(slack): State<Arc<Slack>>, sent: Sent) -> Response {
    let outcome = home::open_and_wait(&slack, &sent.person).await;
    sent.back(&outcome, "")
}

async fn type_command(State(slack): State<Arc<Slack>>, sent: Sent) -> Response {
    let text = sent.field("text");
    let text = text.trim().strip_prefix("/incident").unwrap_or(&text).to_owned();
    let mut typed = Typed::incident(text, sent.person.id.clone());
    typed.channel_id = sent.field("channelId");
    let outcome = command::carry_out(&slack, typed, &sent.person).await;
    sent.back(&outcome, "")
}

async fn fill(State(slack): State<Arc<Slack>>, sent: Sent) -> Response {
    let id = sent.field("viewId");
    if sent.fields.iter().any(|(name, _)| name == "close") {
        slack.memory.lock().close_view(&id);
        return sent.back(&serde_json::json!({ "status": 200 }), "");
    }
    let values: Map<String, Value> = sent
        .fields
        .iter()
        .filter(|(name, value)| !["userId", "viewId"].contains(&name.as_str()) && !value.is_empty())
        // A browser sends a line's end as two characters.
        .map(|(name, value)| (name.clone(), Value::String(value.replace("\r\n", "\n"))))
        .collect();
    match forms::send(&slack, &sent.person, Some(&id), &values).await {
        Ok(outcome) => {
            let told = slack.memory.lock().note_of(&id);
            sent.back(&outcome, &told)
        }
        Err(hint) => refused(StatusCode::NOT_FOUND, &hint),
    }
}

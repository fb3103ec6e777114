//! Slack: the Web API's methods under `/api`, the addresses handed out as `response_url`, and
//! what people do: click a message's buttons (`click.rs`), fill in forms (`forms.rs`), type
//! commands (`command.rs`), look at the app's Home tab (`home.rs`). It reaches the app by its address, or by Socket Mode (`sockets.rs`).
//!
//! Arguments come as JSON, as a form or in the query, for every method, as at Slack. Errors
//! are HTTP 200 with `{ok: false, error}`. Any bearer token that is not empty is valid and is
//! the bot `harmony`'s.

mod answer;
mod chat;
mod click;
mod command;
mod conversations;
mod deliver;
mod forms;
mod hands;
mod home;
mod memory;
mod page;
mod people;
mod response_url;
mod sockets;
mod surfaces;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::Response;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use crate::HarmonyUrl;
use crate::call::{Call, CallBody};
use crate::limits::Rate;
use crate::overview::escaped;
use crate::spec::Spec;
use crate::stand_in::{self, Kept, Memory, StandIn};

use answer::{Outcome, Refusal};
use memory::SlackMemory;
pub(crate) use sockets::Sockets;

/// The arguments of one method call.
type Arguments = Map<String, Value>;

/// The Slack stand-in.
pub(crate) struct Slack {
    origin: String,
    harmony_url: HarmonyUrl,
    signing_secret: SecretString,
    memory: Memory<SlackMemory>,
    sockets: Sockets,
    spec: Spec,
}

impl Slack {
    pub(crate) fn new(
        origin: &str,
        harmony_url: HarmonyUrl,
        signing_secret: SecretString,
        sockets: Sockets,
    ) -> Self {
        Self {
            origin: origin.to_owned(),
            harmony_url,
            signing_secret,
            memory: Memory::default(),
            sockets,
            spec: Spec::new(include_str!("../../specs/slack.json")),
        }
    }

    fn call_method(&self, call: &Call, method: &str) -> Outcome {
        let verb = verb_of(method).ok_or_else(|| Refusal::new("unknown_method"))?;
        let template = format!("/{method}");
        let mut arguments = self.arguments(call, verb, &template)?;
        authorise(call, &arguments)?;
        normalise(&mut arguments);
        self.check(verb, &template, method, &arguments)?;
        let mut memory = self.memory.lock();
        match method {
            "auth.test" => Ok(people::auth_test(&self.origin)),
            "chat.postEphemeral" => chat::post_ephemeral(&mut memory, &arguments),
            "chat.postMessage" => chat::post_message(&mut memory, &arguments),
            "chat.update" => chat::update(&mut memory, &arguments),
            "conversations.archive" => conversations::archive(&mut memory, &arguments),
            "conversations.create" => conversations::create(&mut memory, &arguments),
            "conversations.history" => conversations::history(&memory, &arguments),
            "conversations.info" => conversations::info(&memory, &arguments),
            "conversations.invite" => conversations::invite(&mut memory, &arguments),
            "conversations.join" => conversations::join(&mut memory, &arguments),
            "conversations.list" => conversations::list(&memory, &arguments),
            "conversations.replies" => conversations::replies(&memory, &arguments),
            "conversations.setPurpose" => conversations::set_purpose(&mut memory, &arguments),
            "conversations.setTopic" => conversations::set_topic(&mut memory, &arguments),
            "pins.add" => surfaces::add_pin(&mut memory, &arguments),
            "users.info" => people::info(&arguments),
            "users.lookupByEmail" => people::lookup_by_email(&arguments),
            "views.open" => surfaces::open_view(&mut memory, &arguments),
            "views.publish" => home::publish(&mut memory, &arguments),
            _ => Err(Refusal::new("unknown_method")),
        }
    }

    /// Query, form and JSON laid over each other.
    fn arguments(&self, call: &Call, verb: &str, template: &str) -> Result<Arguments, Refusal> {
        let mut texts: Arguments =
            call.query.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
        let json = match &call.body {
            CallBody::Json(Value::Object(fields)) => fields.clone(),
            CallBody::Json(_) => return Err(Refusal::new("json_not_object")),
            CallBody::Text(_) => return Err(Refusal::new("invalid_json")),
            CallBody::Form(fields) => {
                texts.extend(fields.clone());
                Arguments::new()
            }
            CallBody::Empty => Arguments::new(),
        };
        let mut arguments = self.spec.coerce_form(verb, template, texts);
        arguments.extend(json);
        Ok(arguments)
    }

    fn check(&self, verb: &str, template: &str, method: &str, arguments: &Arguments) -> Result<(), Refusal> {
        let violations = if verb == "GET" {
            let query: Vec<(String, String)> =
                arguments.iter().map(|(name, value)| (name.clone(), text_of(value))).collect();
            self.spec.check_query(verb, template, &query)
        } else {
            let mut body = arguments.clone();
            if method == "chat.update" {
                // Empty means "take it away" here, and nothing anywhere else.
                for name in ["attachments", "blocks", "metadata"] {
                    let is_empty = |value: &Value| *value == json!([]) || *value == json!({});
                    if body.get(name).is_some_and(is_empty) {
                        body.remove(name);
                    }
                }
            }
            let body = Value::Object(body);
            self.spec.check_body(verb, template, &body)
        };
        answer::refusal_of(method, arguments, &violations).map_or(Ok(()), Err)
    }
}

impl StandIn for Slack {
    const NAME: &'static str = "Slack";

    fn answer(&self, call: &Call) -> Response {
        match call.parts().as_slice() {
            ["api", "apps.connections.open"] => answer::response(self.sockets.open(call)),
            ["api", method] => answer::response(self.call_method(call, method)),
            ["actions", _, _, token] if call.method == "POST" => {
                response_url::answer(&mut self.memory.lock(), token, call)
            }
            _ => stand_in::json(StatusCode::NOT_FOUND, json!({"ok": false, "error": "unknown_method"})),
        }
    }

    fn page(&self, call: &Call) -> Option<Response> {
        (call.path == "/").then(|| page::page(&self.memory.lock(), call))
    }

    fn memory(&self) -> &dyn Kept {
        &self.memory
    }

    fn idempotency_key(&self, call: &Call) -> Option<String> {
        let metadata = match &call.body {
            CallBody::Json(body) => body.get("metadata")?.clone(),
            CallBody::Form(fields) => serde_json::from_str(fields.get("metadata")?.as_str()?).ok()?,
            CallBody::Empty | CallBody::Text(_) => return None,
        };
        let payload = &metadata["event_payload"];
        ["key", "idempotency_key", "idempotencyKey"]
            .iter()
            .find_map(|name| payload[*name].as_str())
            .map(str::to_owned)
    }

    /// Slack counts each method by itself, and messages by channel.
    fn limited_as(&self, call: &Call) -> String {
        let channel = match &call.body {
            CallBody::Json(body) => body["channel"].as_str(),
            CallBody::Form(fields) => fields.get("channel").and_then(Value::as_str),
            CallBody::Empty | CallBody::Text(_) => None,
        };
        match channel {
            Some(channel) if call.path.ends_with("/chat.postMessage") => format!("{} {channel}", call.path),
            _ => call.path.clone(),
        }
    }

    /// By the tiers of Slack's documentation. Messages are one a second for a channel, with short bursts; how short it
    /// does not say, ten here.
    fn rate(&self, call: &Call) -> Option<Rate> {
        let method = call.path.strip_prefix("/api/")?;
        Some(match method {
            "chat.postMessage" => Rate { calls: 10, within: Duration::from_secs(10) },
            "conversations.create"
            | "conversations.list"
            | "conversations.archive"
            | "conversations.setTopic"
            | "conversations.setPurpose"
            | "pins.add" => Rate::per_minute(20),
            "chat.postEphemeral" | "views.open" | "views.publish" => Rate::per_minute(100),
            _ => Rate::per_minute(50),
        })
    }

    fn state(&self) -> Value {
        self.memory.lock().to_json()
    }

    fn failure(&self, status: StatusCode) -> Response {
        let error = match status.as_u16() {
            401 => "invalid_auth",
            403 => "access_denied",
            429 => "ratelimited",
            503 => "service_unavailable",
            _ => "internal_error",
        };
        stand_in::json(status, json!({"ok": false, "error": error}))
    }

    fn rate_limited(&self, retry_after_seconds: u64) -> Response {
        let refusal = self.failure(StatusCode::TOO_MANY_REQUESTS);
        stand_in::with_retry_after(refusal, retry_after_seconds)
    }

    fn inspection(self: Arc<Self>) -> Router {
        click::routes(self.clone())
            .merge(command::routes(self.clone()))
            .merge(hands::routes(self.clone()))
            .merge(forms::routes(self.clone()))
            .merge(home::routes(self.clone()))
            .merge(sockets::routes(self))
    }
}

/// Under which verb `specs/slack.json` describes a method; Slack takes both for either.
fn verb_of(method: &str) -> Option<&'static str> {
    match method {
        "conversations.history"
        | "conversations.info"
        | "conversations.list"
        | "conversations.replies"
        | "users.info"
        | "users.lookupByEmail" => Some("GET"),
        "auth.test"
        | "chat.postEphemeral"
        | "chat.postMessage"
        | "chat.update"
        | "conversations.archive"
        | "conversations.create"
        | "conversations.invite"
        | "conversations.join"
        | "conversations.setPurpose"
        | "conversations.setTopic"
        | "pins.add"
        | "views.open"
        | "views.publish" => Some("POST"),
        _ => None,
    }
}

fn authorise(call: &Call, arguments: &Arguments) -> Result<(), Refusal> {
    let argument = arguments.get("token").and_then(Value::as_str);
    match call.header(header::AUTHORIZATION.as_str()) {
        None if argument.is_some_and(|token| !token.is_empty()) => Ok(()),
        None => Err(Refusal::new("not_authed")),
        Some(value) => match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => {
                Ok(())
            }
            _ => Err(Refusal::new("invalid_auth")),
        },
    }
}

/// What clients send that Slack reads the same as its absence or as one text.
fn normalise(arguments: &mut Arguments) {
    arguments.remove("token");
    arguments.retain(|_, value| !value.is_null());
    if arguments.get("text").is_some_and(|text| text == "") {
        arguments.remove("text");
    }
    for name in ["users", "types"] {
        if let Some(Value::Array(items)) = arguments.get(name) {
            let joined: Vec<String> = items.iter().map(text_of).collect();
            arguments.insert(name.to_owned(), Value::String(joined.join(",")));
        }
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A text argument that has been checked; empty where it was not given.
fn text<'a>(arguments: &'a Arguments, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A switch, off where it was not given.
fn flag(arguments: &Arguments, name: &str) -> bool {
    arguments
        .get(name)
        .is_some_and(|value| value == &Value::Bool(true) || matches!(value.as_str(), Some("true" | "1")))
}

/// How long a page of a listing may be.
fn limit(arguments: &Arguments) -> usize {
    let given = arguments.get("limit").map(text_of);
    given.and_then(|text| text.parse().ok()).unwrap_or(100_usize).clamp(1, 999)
}

fn html_field(name: &str, value: &str) -> String {
    if value.is_empty() {
        return String::new();
    }
    format!("<div><small>{}</small> {}</div>", escaped(name), escaped(value))
}

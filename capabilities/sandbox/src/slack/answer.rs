//! Slack's answers: `{ok: true, …}` or `{ok: false, error}`, both with status 200, and which
//! error stands for which broken rule of an argument.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::spec::Violation;
use crate::stand_in;

use super::Arguments;

/// What a method gives back: the fields beside `ok`.
pub(super) type Outcome = Result<Value, Refusal>;

/// A refusal by name, with what else Slack says about it.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    error: &'static str,
    messages: Vec<String>,
    errors: Vec<Value>,
}

impl Refusal {
    pub(super) fn new(error: &'static str) -> Self {
        Self { error, messages: Vec::new(), errors: Vec::new() }
    }

    pub(super) fn with_errors(error: &'static str, errors: Vec<Value>) -> Self {
        Self { errors, ..Self::new(error) }
    }
}

/// The HTTP answer.
pub(super) fn response(outcome: Outcome) -> Response {
    let body = match outcome {
        Ok(mut body) => {
            body["ok"] = Value::Bool(true);
            body
        }
        Err(refusal) => refusal_body(&refusal),
    };
    stand_in::json(StatusCode::OK, body)
}

fn refusal_body(refusal: &Refusal) -> Value {
    let mut body = json!({"ok": false, "error": refusal.error});
    if !refusal.errors.is_empty() {
        body["errors"] = json!(refusal.errors);
    }
    if !refusal.messages.is_empty() {
        let marked = |message: &String| format!("[ERROR] {message}");
        let messages: Vec<String> = refusal.messages.iter().map(marked).collect();
        body["response_metadata"] = json!({"messages": messages});
        if refusal.error == "invalid_blocks" {
            body["errors"] = json!(refusal.messages);
        }
    }
    body
}

/// Slack's name for the first broken rule.
pub(super) fn refusal_of(method: &str, arguments: &Arguments, violations: &[Violation]) -> Option<Refusal> {
    let first = violations.first()?;
    let message =
        |violation: &Violation| format!("{} [json-pointer:{}]", violation.message, violation.pointer);
    Some(Refusal {
        error: error_name(method, arguments, first),
        messages: violations.iter().map(message).collect(),
        errors: Vec::new(),
    })
}

fn error_name(method: &str, arguments: &Arguments, violation: &Violation) -> &'static str {
    let missing = violation.keyword == "required";
    let is_message = method.starts_with("chat.");
    match violation.field() {
        "name" if missing => "invalid_name_required",
        "name" => name_error(arguments),
        "channel" if !missing => "channel_not_found",
        "topic" | "purpose" if violation.keyword == "maxLength" => "too_long",
        "text" if violation.keyword == "maxLength" => "msg_too_long",
        "" | "text" if is_message => "no_text",
        "blocks" if violation.pointer == "/blocks" && violation.keyword == "type" => "invalid_blocks_format",
        "blocks" => "invalid_blocks",
        "metadata" => "invalid_metadata_format",
        "attachments" if violation.keyword == "maxItems" => "too_many_attachments",
        "timestamp" if !missing => "bad_timestamp",
        "ts" if !missing => "message_not_found",
        "latest" => "invalid_ts_latest",
        "oldest" => "invalid_ts_oldest",
        "types" => "invalid_types",
        "limit" if method == "conversations.list" => "invalid_limit",
        "users" if missing => "no_user",
        "users" | "user" | "user_id" if !missing => "user_not_found",
        "trigger_id" => "invalid_trigger_id",
        _ => "invalid_arguments",
    }
}

fn name_error(arguments: &Arguments) -> &'static str {
    let name = super::text(arguments, "name");
    if name.is_empty() {
        return "invalid_name_required";
    }
    if name.chars().count() > 80 {
        return "invalid_name_maxlength";
    }
    if name.chars().all(|character| "-_.".contains(character)) {
        return "invalid_name_punctuation";
    }
    "invalid_name_specials"
}

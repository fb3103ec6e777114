//! Jira's answers and its `{errorMessages, errors}`.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::stand_in;

pub(super) type Outcome = Result<(StatusCode, Value), Refusal>;

/// A refusal.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    /// The field that it is about; empty where it is about the whole.
    field: &'static str,
}

impl Refusal {
    pub(super) fn with_status(status: StatusCode) -> Self {
        let message = match status.as_u16() {
            401 => "Client must be authenticated to access this resource.",
            403 => "You do not have permission to do this.",
            404 => "Not found.",
            429 => "Rate limit exceeded.",
            _ => "Something went wrong.",
        };
        Self { status, message: message.to_owned(), field: "" }
    }

    pub(super) fn not_found() -> Self {
        Self::with_status(StatusCode::NOT_FOUND)
    }

    pub(super) fn no_issue() -> Self {
        let message = "Issue does not exist or you do not have permission to see it.";
        Self { message: message.to_owned(), ..Self::not_found() }
    }

    pub(super) fn whole(message: &str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.to_owned(), field: "" }
    }

    pub(super) fn field(field: &'static str, message: &str) -> Self {
        Self { field, ..Self::whole(message) }
    }
}

pub(super) fn response(outcome: Outcome) -> Response {
    match outcome {
        Ok((status, body)) => stand_in::json(status, body),
        Err(Refusal { status, message, field: "" }) => {
            stand_in::json(status, json!({"errorMessages": [message], "errors": {}}))
        }
        Err(Refusal { status, message, field }) => {
            stand_in::json(status, json!({"errorMessages": [], "errors": {field: message}}))
        }
    }
}

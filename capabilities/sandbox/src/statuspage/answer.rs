//! Statuspage's answers and its `{"error": text or list}`.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::spec::Violation;
use crate::stand_in;

/// A status and a body.
pub(super) type Outcome = Result<(StatusCode, Value), Refusal>;

/// A refusal.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: Value,
}

impl Refusal {
    pub(super) fn not_found() -> Self {
        Self::with_status(StatusCode::NOT_FOUND)
    }

    /// The object the body is about is not there.
    pub(super) fn missing(name: &str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error: json!(format!("{name} is missing")) }
    }

    /// What is wrong with a body, if anything is.
    pub(super) fn of(violations: &[Violation]) -> Option<Self> {
        let errors: Vec<String> = violations.iter().map(sentence).collect();
        (!errors.is_empty()).then(|| Self { status: StatusCode::UNPROCESSABLE_ENTITY, error: json!(errors) })
    }

    /// What is wrong with a query, if anything is.
    pub(super) fn of_query(violations: &[Violation]) -> Option<Self> {
        Self::of(violations).map(|refusal| Self { status: StatusCode::BAD_REQUEST, ..refusal })
    }

    pub(super) fn with_status(status: StatusCode) -> Self {
        let error = match status.as_u16() {
            401 => "Could not authenticate",
            403 => "You are not authorized to access this resource.",
            404 => "not found",
            420 | 429 => "rate limit exceeded",
            _ => "something went wrong",
        };
        Self { status, error: json!(error) }
    }
}

pub(super) fn response(outcome: Outcome) -> Response {
    match outcome {
        Ok((status, body)) => stand_in::json(status, body),
        Err(refusal) => stand_in::json(refusal.status, json!({"error": refusal.error})),
    }
}

/// "Name can't be blank" for a missing or empty name; else what the rule says.
fn sentence(violation: &Violation) -> String {
    let field = violation.last_field();
    let mut letters = field.chars();
    let name: String =
        letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default();
    match violation.keyword.as_str() {
        "required" | "minLength" => format!("{name} can't be blank"),
        "maxLength" => format!("{name} is too long"),
        "enum" => format!("{name} is invalid"),
        _ => format!("{name}: {}", violation.message),
    }
}

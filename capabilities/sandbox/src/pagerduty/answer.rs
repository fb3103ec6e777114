//! PagerDuty's answers and its `{"error": {message, code, errors[]}}`.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::spec::Violation;
use crate::stand_in;

/// A status and a body.
pub(super) type Outcome = Result<(StatusCode, Value), Refusal>;

/// A refusal with PagerDuty's own code.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: u16,
    message: &'static str,
    errors: Vec<String>,
}

impl Refusal {
    /// Something in the request is wrong.
    pub(super) fn invalid(error: &str) -> Self {
        Self { errors: vec![error.to_owned()], ..Self::with_status(StatusCode::BAD_REQUEST) }
    }

    /// The request is well-formed and clashes with what is there.
    pub(super) fn clash(error: &str) -> Self {
        Self { code: 2002, message: "Arguments Caused Error", ..Self::invalid(error) }
    }

    pub(super) fn not_found() -> Self {
        Self::with_status(StatusCode::NOT_FOUND)
    }

    /// What is wrong with a body or a query, if anything is.
    pub(super) fn of(violations: &[Violation]) -> Option<Self> {
        if violations.is_empty() {
            return None;
        }
        Some(Self {
            errors: violations.iter().map(sentence).collect(),
            ..Self::with_status(StatusCode::BAD_REQUEST)
        })
    }

    pub(super) fn with_status(status: StatusCode) -> Self {
        let (code, message) = match status.as_u16() {
            400 => (2001, "Invalid Input Provided"),
            401 => (2006, "Authentication failed"),
            402 => (2014, "Missing Account Ability"),
            403 => (2010, "Access Denied"),
            404 => (2100, "Not Found"),
            429 => (2020, "Rate Limit Exceeded"),
            _ => (2000, "Internal Error"),
        };
        Self { status, code, message, errors: Vec::new() }
    }
}

pub(super) fn response(outcome: Outcome) -> Response {
    match outcome {
        Ok((status, body)) => stand_in::json(status, body),
        Err(refusal) => {
            let mut error = json!({"message": refusal.message, "code": refusal.code});
            if !refusal.errors.is_empty() {
                error["errors"] = json!(refusal.errors);
            }
            stand_in::json(refusal.status, json!({"error": error}))
        }
    }
}

/// "Title cannot be blank" for a missing or empty title; else what the rule says.
fn sentence(violation: &Violation) -> String {
    let field = violation.last_field().replace('_', " ");
    let mut letters = field.chars();
    let name: String =
        letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default();
    match violation.keyword.as_str() {
        "required" | "minLength" => format!("{name} cannot be blank"),
        _ => format!("{name}: {}", violation.message),
    }
}

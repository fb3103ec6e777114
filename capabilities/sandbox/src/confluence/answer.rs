//! Confluence's answers and its `{"errors": [{status, code, title, detail}]}`, and the pages
//! of its listings.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::call::Call;
use crate::spec::Violation;
use crate::stand_in;

/// A body; every success here is a 200.
pub(super) type Outcome = Result<Value, Refusal>;

/// A refusal.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    title: String,
}

impl Refusal {
    pub(super) fn not_found() -> Self {
        Self::with_status(StatusCode::NOT_FOUND)
    }

    /// Something in the request is wrong.
    pub(super) fn invalid(title: &str) -> Self {
        Self { title: title.to_owned(), ..Self::with_status(StatusCode::BAD_REQUEST) }
    }

    /// A page of the space has this title.
    pub(super) fn duplicate_title() -> Self {
        Self {
            code: "BAD_REQUEST",
            ..Self::invalid(
                "A page with this title already exists: A page already exists with the same \
                 TITLE in this space",
            )
        }
    }

    /// Somebody else was faster.
    pub(super) fn conflict(title: &str) -> Self {
        Self { title: title.to_owned(), ..Self::with_status(StatusCode::CONFLICT) }
    }

    /// What is wrong with a body or a query, if anything is.
    pub(super) fn of(violations: &[Violation]) -> Option<Self> {
        let first = violations.first()?;
        let title = format!("Invalid request: {} ({})", first.message, first.pointer);
        Some(Self::invalid(&title))
    }

    pub(super) fn with_status(status: StatusCode) -> Self {
        let (code, title) = match status.as_u16() {
            400 => ("INVALID_REQUEST_PARAMETER", "Invalid request"),
            401 => ("UNAUTHORIZED", "Unauthorized"),
            403 => ("FORBIDDEN", "Forbidden"),
            404 => ("NOT_FOUND", "Not Found"),
            409 => ("CONFLICT", "Conflict"),
            413 => ("PAYLOAD_TOO_LARGE", "Payload too large"),
            429 => ("RATE_LIMITED", "Rate limit exceeded"),
            _ => ("INTERNAL_SERVER_ERROR", "Internal server error"),
        };
        Self { status, code, title: title.to_owned() }
    }
}

pub(super) fn response(outcome: Outcome) -> Response {
    match outcome {
        Ok(body) => stand_in::json(StatusCode::OK, body),
        Err(refusal) if refusal.status == StatusCode::UNAUTHORIZED => refusal.status.into_response(),
        Err(refusal) => {
            let error = json!({
                "status": refusal.status.as_u16(),
                "code": refusal.code,
                "title": refusal.title,
                "detail": null,
            });
            stand_in::json(refusal.status, json!({"errors": [error]}))
        }
    }
}

/// One page of a listing with the link to the next; cursors are opaque to clients.
pub(super) fn listed(items: Vec<Value>, base: &str, call: &Call) -> Outcome {
    let start: usize = match call.query_value("cursor") {
        None => 0,
        Some(cursor) => cursor
            .strip_prefix("after-")
            .and_then(|position| position.parse().ok())
            .ok_or_else(|| Refusal::invalid("The cursor is invalid"))?,
    };
    let limit: usize = call.query_value("limit").and_then(|text| text.parse().ok()).unwrap_or(25);
    let end = start.saturating_add(limit);
    let mut links = json!({"base": base});
    if end < items.len() {
        let rest = call.query.iter().filter(|(name, _)| name != "cursor");
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(rest)
            .append_pair("cursor", &format!("after-{end}"))
            .finish();
        links["next"] = json!(format!("{}?{query}", call.path));
    }
    let results: Vec<Value> = items.into_iter().skip(start).take(limit).collect();
    Ok(json!({"results": results, "_links": links}))
}

//! What can go wrong with a request, as RFC 9457 problem documents. The one place that knows HTTP status codes of
//! errors.
//!
//! A problem says what (`detail`) and what to do about it (`hint`). What is our own trouble is logged with its whole
//! chain and told to nobody outside.

use std::error::Error;

use axum::{
    extract::rejection::BytesRejection,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use harmony_eventlog::LogError;
use harmony_incidents::{GateStatus, Refusal, approvals::RefusalReason, timeline::Line};
use serde_json::{Map, Value, json};

use crate::call::tag_of_seq;

/// What the type of every problem begins with.
const PROBLEM: &str = "urn:harmony:problem:";

/// Why a request was not carried out.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// Not what this protocol looks like: no JSON, a bad header, a bad query.
    Malformed(String),
    /// No token, or one that nobody has.
    Unauthorized(&'static str),
    /// A right or an authority is missing.
    Forbidden(String),
    /// Not there, or not for this caller.
    NotFound(String),
    /// A door that is shut because nobody gave it a secret.
    NotConfigured {
        /// What is not there.
        detail: String,
        /// The setting that opens it, in a sentence.
        hint: &'static str,
    },
    /// A webhook that is not signed with a secret that is known here.
    Unsigned {
        /// What is wrong.
        detail: &'static str,
        /// Which setting holds the secret, in a sentence.
        hint: &'static str,
    },
    /// There, but not for this method.
    MethodNotAllowed,
    /// Not in this state.
    Conflict(String),
    /// The incident has changed since the caller saw it.
    Stale {
        /// The last record that the caller had seen.
        expected: u64,
        /// The last one there is.
        actual: u64,
        /// What came since, oldest first.
        changes: Vec<Line>,
    },
    /// The body is too long.
    TooLarge,
    /// Well-formed, and still wrong.
    Invalid(String),
    /// A decision that was judged and does not count.
    Decision(Box<RefusedDecision>),
    /// Too many requests.
    TooMany {
        /// Seconds until the next one is taken.
        retry_after: u64,
    },
    /// One principal holds as many streams open as one may.
    TooManyStreams,
    /// The store does not answer.
    Unavailable(String),
    /// Our own trouble; logged already.
    Internal,
}

/// A decision that does not count, and why.
#[derive(Debug)]
pub(crate) struct RefusedDecision {
    /// A stable word, a colon, a sentence.
    pub(crate) because: String,
    pub(crate) gate_id: String,
    /// The gate's own status.
    pub(crate) gate_status: GateStatus,
    /// Where the decision is on record.
    pub(crate) decision_id: Option<String>,
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unsigned { .. } => StatusCode::UNAUTHORIZED,
            Self::NotFound(_) | Self::NotConfigured { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Stale { .. } => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Decision(refused) => refused.status(),
            Self::TooMany { .. } | Self::TooManyStreams => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the failure is this side's: the same request may work later.
    pub(crate) fn is_ours(&self) -> bool {
        self.status().is_server_error()
    }

    /// The problem's type, its title, and what to do about it.
    fn kind(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Malformed(_) => {
                ("malformed", "The request cannot be read", "send what the API describes, as JSON")
            }
            Self::Unauthorized(_) => (
                "unauthorized",
                "Authentication needed",
                "send `Authorization: Bearer <token>` with a token of the directory",
            ),
            Self::Forbidden(_) => (
                "forbidden",
                "Not allowed",
                "ask somebody who has the role, or an org-admin to give it to you",
            ),
            Self::NotFound(_) => {
                ("not-found", "Not found", "check the address, the organisation and your roles in it")
            }
            Self::NotConfigured { hint, .. } => ("not-configured", "Not configured here", hint),
            Self::Unsigned { hint, .. } => ("unauthorized", "Who sends is not known", hint),
            Self::MethodNotAllowed => {
                ("method-not-allowed", "Method not allowed", "commands are POST, everything else is GET")
            }
            Self::Conflict(_) => {
                ("conflict", "Not in this state", "read it again and decide anew; nothing was changed")
            }
            Self::Stale { .. } => (
                "stale",
                "The incident changed since you loaded it",
                "look at what changed, and send it again with the `ETag` of now as `If-Match` if it still holds",
            ),
            Self::TooLarge => {
                ("too-large", "The body is too long", "a body has at most 256 KiB, of a webhook 8 MiB")
            }
            Self::Invalid(_) => ("invalid", "The input is not valid", "correct the field that is named"),
            Self::Decision(_) => (
                "decision-refused",
                "The decision does not count",
                "look at the gate again: it says who may decide what until when",
            ),
            Self::TooMany { .. } => {
                ("too-many", "Too many requests", "wait as long as `Retry-After` says, and ask less often")
            }
            Self::TooManyStreams => (
                "too-many",
                "Too many open streams",
                "close streams that nobody watches, or read `events` instead",
            ),
            Self::Unavailable(_) => (
                "unavailable",
                "The store does not answer",
                "try again with the same Idempotency-Key: it happens once",
            ),
            Self::Internal => {
                ("internal", "Something is broken here", "look into the log of `harmony serve`")
            }
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Malformed(detail)
            | Self::Forbidden(detail)
            | Self::NotFound(detail)
            | Self::NotConfigured { detail, .. }
            | Self::Conflict(detail)
            | Self::Unavailable(detail)
            | Self::Invalid(detail) => detail.clone(),
            Self::Stale { expected, actual, changes } => stale_detail(*expected, *actual, changes),
            Self::Unauthorized(detail) | Self::Unsigned { detail, .. } => (*detail).to_owned(),
            Self::MethodNotAllowed => "this address does not take this method".to_owned(),
            Self::TooLarge => "the body has more than 256 KiB".to_owned(),
            Self::TooMany { retry_after } => {
                format!("this principal asked too often; the next request is taken in {retry_after} s")
            }
            Self::TooManyStreams => "this principal holds as many streams open as one may".to_owned(),
            Self::Decision(refused) => refused.because.clone(),
            Self::Internal => "the request could not be carried out".to_owned(),
        }
    }

    /// Status, title, detail and hint, for a page.
    pub(crate) fn for_page(&self) -> (StatusCode, String, String, String) {
        let (_, title, hint) = self.kind();
        (self.status(), title.to_owned(), self.detail(), hint.to_owned())
    }

    /// The problem's type, what went wrong, and what to do, for whoever gets no problem document.
    pub(crate) fn told(&self) -> (String, String, &'static str) {
        let (kind, _, hint) = self.kind();
        (format!("{PROBLEM}{kind}"), self.detail(), hint)
    }

    /// What went wrong, for a person who gets no problem document.
    pub(crate) fn for_people(&self) -> String {
        self.detail()
    }
}

impl RefusedDecision {
    fn status(&self) -> StatusCode {
        let status = RefusalReason::of(&self.because).http_status();
        StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN)
    }

    fn members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("accepted".to_owned(), json!(false));
        members.insert("refusedBecause".to_owned(), json!(self.because));
        members.insert("gateId".to_owned(), json!(self.gate_id));
        members.insert("gateStatus".to_owned(), json!(self.gate_status));
        if let Some(decision_id) = &self.decision_id {
            members.insert("decisionId".to_owned(), json!(decision_id));
        }
        members
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let (kind, title, hint) = self.kind();
        let mut problem = json!({
            "type": format!("{PROBLEM}{kind}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail(),
            "hint": hint,
        });
        if let (Self::Decision(refused), Some(problem)) = (&self, problem.as_object_mut()) {
            problem.extend(refused.members());
        }
        if let Self::Stale { actual, changes, .. } = &self {
            problem["actualSeq"] = json!(actual);
            problem["changes"] = json!(changes);
        }
        let mut response = (status, problem.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Self::TooMany { retry_after } = self {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
        }
        if let Self::Stale { actual, .. } = self
            && let Ok(tag) = HeaderValue::from_str(&tag_of_seq(actual))
        {
            headers.insert(header::ETAG, tag);
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.into_response().status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            _ => Self::Malformed("the body broke off".to_owned()),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Illegal { explanation } => Self::Conflict(explanation),
            Refusal::Authority { explanation } => Self::Forbidden(explanation),
            Refusal::Invalid { explanation } => Self::Invalid(explanation),
        }
    }
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Refused(refusal) => refusal.into(),
            LogError::UnknownIncident(_) | LogError::UnknownStream(_) => Self::NotFound(error.to_string()),
            LogError::KeyConflict { fields } => Self::key_conflict(&fields),
            LogError::Stale { expected, actual } => Self::Stale { expected, actual, changes: Vec::new() },
            LogError::Unwritable { .. } => {
                tracing::error!(error = chain(&error), "the store cannot be written");
                Self::Unavailable("the store cannot be written; nothing was recorded".to_owned())
            }
            LogError::Unavailable(_)
            | LogError::NewerSchema { .. }
            | LogError::OlderSchema { .. }
            | LogError::ReadOnly
            | LogError::Open { .. } => {
                tracing::error!(error = chain(&error), "the store does not answer");
                Self::Unavailable("the store does not answer; nothing is known to be recorded".to_owned())
            }
            LogError::Corrupt { .. } => {
                tracing::error!(error = chain(&error), "the store is not readable");
                Self::Internal
            }
        }
    }
}

impl ApiError {
    /// Names the fields as the caller wrote them: the last part of the command's.
    fn key_conflict(fields: &[String]) -> Self {
        let mut names: Vec<&str> =
            fields.iter().map(|name| name.rsplit('.').next().unwrap_or(name.as_str())).collect();
        names.sort_unstable();
        names.dedup();
        Self::Conflict(format!(
            "this Idempotency-Key was used for another request; these fields differ: {}",
            names.join(", ")
        ))
    }
}

/// What changed, in one sentence.
fn stale_detail(expected: u64, actual: u64, changes: &[Line]) -> String {
    let since = match changes {
        [] => String::new(),
        changes => {
            let told = changes.iter().map(|line| format!("{} {} by {}", line.seq, line.text, line.actor));
            format!(": {}", told.collect::<Vec<_>>().join("; "))
        }
    };
    format!("you acted on record {expected}, the last one is {actual}; nothing was changed{since}")
}

/// An error and everything that caused it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

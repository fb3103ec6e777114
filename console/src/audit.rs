//! Every request has an id, and every write a line in the audit log.
//!
//! The log of an incident says what changed; this says who asked for what, also where it was refused, at the target
//! `harmony::audit`: `{ts, actor, action, subjectType, subjectId, metadata}`. No body, no token, no text of anybody.

use std::sync::{Arc, OnceLock};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method},
    middleware::Next,
    response::Response,
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::App;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that is taken over from a caller.
const ID_CHARS: usize = 128;

/// Where a request's handler leaves who asked.
#[derive(Clone, Default)]
pub(crate) struct Audit(Arc<OnceLock<String>>);

impl Audit {
    /// Names who asks; the first time counts.
    pub(crate) fn names(&self, principal: &str) {
        drop(self.0.set(principal.to_owned()));
    }
}

/// Gives every request an id, the caller's own where it is one, and answers with it.
pub(crate) async fn identified(mut request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| (1..=ID_CHARS).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic));
    let id = match given {
        Some(id) => id.clone(),
        // A UUID is nothing that a header cannot hold.
        None => {
            HeaderValue::from_str(&Uuid::now_v7().to_string()).unwrap_or(HeaderValue::from_static("none"))
        }
    };
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Audits what writes; and tells watchers of what was written here, without waiting for the next look.
pub(crate) async fn audited(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let audit = Audit::default();
    request.extensions_mut().insert(audit.clone());
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let (org, subject_type, subject_id, action) = subject(&path);
    tracing::info!(
        target: "harmony::audit",
        ts = %Timestamp::now(),
        actor = audit.0.get().map_or("unknown", String::as_str),
        action,
        "subjectType" = subject_type,
        "subjectId" = subject_id,
        metadata.org = org,
        metadata.status = response.status().as_u16(),
        metadata.request = id,
        "write"
    );
    if response.status().is_success() {
        app.streams.look();
    }
    response
}

/// Organisation, kind of thing, its id, and what is done to it, from an address of the API.
fn subject(path: &str) -> (&str, &'static str, &str, &str) {
    let below = path.strip_prefix("/api/orgs/").unwrap_or(path);
    let (org, rest) = below.split_once('/').unwrap_or((below, ""));
    let (collection, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let kind = match collection {
        "incidents" => "incident",
        "approvals" => return (org, "approval", rest, "decide"),
        "candidates" => "candidate",
        "environments" => "environment",
        "releases" => "release",
        "services" => "service",
        "subscriptions" => "subscription",
        _ => "organisation",
    };
    match rest.split_once('/') {
        Some((id, action)) => (org, kind, id, action),
        None => (org, kind, rest, "create"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_tells_what_is_done_to_what() {
        for (path, expected) in [
            ("/api/orgs/acme/incidents", ("acme", "incident", "", "create")),
            ("/api/orgs/acme/incidents/INC-2026-0001/notes", ("acme", "incident", "INC-2026-0001", "notes")),
            ("/api/orgs/acme/approvals/w%231%2Fapprove", ("acme", "approval", "w%231%2Fapprove", "decide")),
            ("/api/orgs/acme/candidates/c1/promote", ("acme", "candidate", "c1", "promote")),
            ("/api/orgs/acme/subscriptions/sub-1/remove", ("acme", "subscription", "sub-1", "remove")),
            ("/", ("", "organisation", "", "create")),
        ] {
            assert_eq!(subject(path), expected, "{path}");
        }
    }
}

//! One authenticated request to the API: who asks, about what, under which idempotency key, with which body.
//!
//! Extracting it authenticates first and reads the body after. Rights are checked by the handler before it looks into
//! the body, so that nobody learns from error messages what they may not do.

use std::{collections::HashMap, str::FromStr};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
};
use harmony_eventlog::LogError;
use harmony_incidents::{
    Context, IncidentId, Principal, Right, StreamId,
    ids::IdError,
    log::{Authority, Cause, IncidentState},
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{
    App, audit::Audit, auth::Caller, error::ApiError, json, query::Query, submit::record_refusal, ui::Session,
};

/// Longest idempotency key.
const KEY_CHARS: usize = 255;

/// An authenticated request.
pub(crate) struct Call {
    pub(crate) app: App,
    pub(crate) caller: Caller,
    pub(crate) query: Query,
    pub(crate) request: RequestId,
    /// `If-Match`: the last record that the caller had seen of the incident.
    pub(crate) expected_seq: Option<u64>,
    /// The session that it was made with, where there was one.
    pub(crate) session: Option<Session>,
    path: HashMap<String, String>,
    if_none_match: Option<String>,
    body: Bytes,
}

/// What tells this request from others: the caller's own key, or an id that was made for it.
pub(crate) struct RequestId {
    pub(crate) id: String,
    /// Whether the caller named it, and so may repeat it.
    pub(crate) given: bool,
}

impl FromRequest<App> for Call {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let Path(path) = Path::<HashMap<String, String>>::from_request_parts(&mut parts, app)
            .await
            .map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
        let org = path.get("org").map(String::as_str).unwrap_or_default();
        let (caller, session) = caller(app, &mut parts, org).await?;
        app.limits.count(&caller.principal.id)?;
        let request_id = RequestId::of(&parts.headers)?;
        if let Some(audit) = parts.extensions.get::<Audit>() {
            audit.names(&caller.principal.id);
        }
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let if_none_match = parts.headers.get(header::IF_NONE_MATCH);
        let if_none_match = if_none_match.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let expected_seq = parts.headers.get(header::IF_MATCH).map(seq_of_tag).transpose()?.flatten();
        let body = Bytes::from_request(Request::from_parts(parts, body), app).await?;
        Ok(Self {
            app: app.clone(),
            caller,
            query,
            request: request_id,
            expected_seq,
            session,
            path,
            if_none_match,
            body,
        })
    }
}

/// Somebody whom another part of this process has authenticated. Nothing outside can put one into a request.
#[derive(Clone)]
pub(crate) struct SignedIn {
    pub(crate) principal: Principal,
}

/// A form's sender, else whose token it is, else, to read alone, who is signed in at the pages: a browser that follows
/// a stream sends no token.
async fn caller(app: &App, parts: &mut Parts, org: &str) -> Result<(Caller, Option<Session>), ApiError> {
    if let Some(SignedIn { principal }) = parts.extensions.remove::<SignedIn>() {
        return Ok((Caller::signed_in(app, principal, org)?, None));
    }
    if parts.method == Method::GET && !parts.headers.contains_key(header::AUTHORIZATION) {
        let rules = app.doors.rules.current();
        let session = app.sessions.read(&parts.headers, &rules.directory, Timestamp::now().as_second());
        if let Some(session) = session {
            return Ok((Caller::signed_in(app, session.principal.clone(), org)?, Some(session)));
        }
    }
    Ok((Caller::authenticate(app, &parts.headers, org).await?, None))
}

impl RequestId {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(header) = headers.get("idempotency-key") else {
            return Ok(Self { id: Uuid::now_v7().to_string(), given: false });
        };
        Self::given(header.to_str().unwrap_or_default())
    }

    /// A request that its caller named.
    pub(crate) fn given(key: &str) -> Result<Self, ApiError> {
        let key = key.trim();
        if (1..=KEY_CHARS).contains(&key.len()) && key.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            Ok(Self { id: key.to_owned(), given: true })
        } else {
            Err(ApiError::Malformed("an Idempotency-Key has 1 to 255 printable ASCII characters".to_owned()))
        }
    }
}

impl Call {
    /// A request that came through another door than the API and was verified there. `request` is the same whenever
    /// it is sent again.
    pub(crate) fn by_door(
        app: App,
        caller: Caller,
        request: String,
        path: &[(&str, &str)],
        body: &serde_json::Value,
    ) -> Self {
        let path = path.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let request = RequestId { id: request, given: true };
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let query = Query::parse("");
        Self {
            app,
            caller,
            query,
            request,
            expected_seq: None,
            session: None,
            path,
            if_none_match: None,
            body,
        }
    }

    /// The key under which the log remembers this request: one caller cannot take another's.
    pub(crate) fn key(&self) -> String {
        request_key(&self.caller.principal.id, &self.request.id)
    }

    /// Whether the caller has what this tag names.
    pub(crate) fn knows(&self, tag: &str) -> bool {
        let known = self.if_none_match.iter().flat_map(|list| list.split(',')).map(str::trim);
        known.into_iter().any(|one| one == "*" || one.trim_start_matches("W/") == tag)
    }

    /// A part of the path, decoded.
    pub(crate) fn path(&self, name: &str) -> &str {
        self.path.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The incident of the path with its state, for who has this right on it.
    pub(crate) async fn incident(&self, right: Right) -> Result<(IncidentId, IncidentState), ApiError> {
        let text = self.path("id");
        let id: IncidentId = text.parse().map_err(|error: IdError| ApiError::Malformed(error.to_string()))?;
        let state = self.named(&id, right).await?;
        Ok((id, state))
    }

    /// The state of an incident that the caller sees, for who has this right on it.
    pub(crate) async fn named(&self, id: &IncidentId, right: Right) -> Result<IncidentState, ApiError> {
        let found =
            self.app.doors.log.state(&self.caller.org, id).await?.filter(|state| self.caller.sees(state));
        let state = found.ok_or_else(|| LogError::UnknownIncident(id.clone()))?;
        self.require_on(right, &state).await?;
        Ok(state)
    }

    /// Refuses who has not this right on this incident; that a change was refused is on record there.
    pub(crate) async fn require_on(&self, right: Right, state: &IncidentState) -> Result<(), ApiError> {
        let refused = self.caller.require(right, Some(state));
        if refused.is_err()
            && !right.reads()
            && let Ok(incident) = state.incident.parse::<IncidentId>()
        {
            record_refusal(self, &incident, right).await;
        }
        refused
    }

    /// Refuses who has not this right in the organisation; that a change to what `about` names was refused is on record
    /// there.
    pub(crate) async fn require_about<T: Into<StreamId>>(
        &self,
        right: Right,
        about: impl AsyncFnOnce() -> Option<T>,
    ) -> Result<(), ApiError> {
        let refused = self.caller.require(right, None);
        if refused.is_err()
            && let Some(about) = about().await
        {
            record_refusal(self, &about.into(), right).await;
        }
        refused
    }

    /// An id in the body, whatever else is wrong with that.
    pub(crate) fn id_in_body<T: FromStr>(&self, field: &str) -> Option<T> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        body.get(field)?.as_str()?.parse().ok()
    }

    /// The body; none at all is an empty object. The error names the field.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let raw: &[u8] = if self.body.trim_ascii().is_empty() { b"{}" } else { &self.body };
        let value = json::read(raw).map_err(|error| {
            let what = if error.is_data() { "the body" } else { "the body is no JSON" };
            ApiError::Malformed(format!("{what}: {error}"))
        })?;
        if !value.is_object() {
            return Err(ApiError::Malformed("the body is not a JSON object".to_owned()));
        }
        serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let place = if path == "." { String::new() } else { format!("{path}: ") };
            ApiError::Invalid(format!("{place}{}", error.inner()))
        })
    }

    /// Who asks, with what the directory gives them here.
    pub(crate) fn context(&self, incident: Option<&IncidentState>) -> Context {
        self.context_as(self.caller.authority(incident))
    }

    /// The same with an authority that was claimed and checked.
    pub(crate) fn context_as(&self, authority: Authority) -> Context {
        Context {
            actor: self.caller.principal.id.clone(),
            authority,
            cause: Cause { request_id: self.request.id.clone(), ..Cause::default() },
            occurred_at: Timestamp::now(),
        }
    }
}

/// The `ETag` of an incident: what is shown of it changes with a record, and with nothing else.
pub(crate) fn tag_of_seq(seq: u64) -> String {
    format!("\"{seq}\"")
}

/// The seq that an `If-Match` names; none where any will do. A proxy that compresses makes a tag weak, which changes
/// nothing here.
fn seq_of_tag(header: &HeaderValue) -> Result<Option<u64>, ApiError> {
    let tag = header.to_str().unwrap_or_default().trim();
    if tag == "*" {
        return Ok(None);
    }
    let bare = tag.strip_prefix("W/").unwrap_or(tag);
    let bare = bare.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(bare);
    let is_number = (1..=18).contains(&bare.len()) && bare.bytes().all(|byte| byte.is_ascii_digit());
    bare.parse().ok().filter(|_| is_number).map(Some).ok_or_else(|| {
        ApiError::Malformed("If-Match: one ETag of the incident, such as \"12\", or *".to_owned())
    })
}

/// A principal's id ends at the first slash, so one within it is escaped; any other id stands as it is.
fn request_key(principal: &str, request: &str) -> String {
    let principal = principal.replace('%', "%25").replace('/', "%2F");
    format!("api/{principal}/{request}")
}

/// A word or line that is kept outside of texts: short, without control characters.
pub(crate) fn line(name: &str, value: &str) -> Result<String, ApiError> {
    let value = value.trim();
    if value.chars().count() > 255 || value.chars().any(char::is_control) {
        return Err(ApiError::Invalid(format!(
            "{name}: one line of at most 255 characters, without control characters"
        )));
    }
    Ok(value.to_owned())
}

/// A [`line()`] that must not be empty.
pub(crate) fn required(name: &str, value: &str) -> Result<String, ApiError> {
    let value = line(name, value)?;
    if value.is_empty() { Err(ApiError::Invalid(format!("{name} is empty"))) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_names_a_seq() {
        let read = |text: &str| seq_of_tag(&HeaderValue::from_str(text).unwrap()).ok();
        assert_eq!(read(&tag_of_seq(12)), Some(Some(12)));
        for (text, seq) in [("\"3\"", Some(3)), ("W/\"3\"", Some(3)), ("3", Some(3)), ("*", None)] {
            assert_eq!(read(text), Some(seq), "{text}");
        }
        for text in ["", "\"\"", "\"3\", \"4\"", "-1", "\"0.1.0-3\"", "\"3", "99999999999999999999"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn one_principals_key_is_never_anothers() {
        assert_eq!(request_key("ops", "k"), "api/ops/k", "keys in the log stay good");
        let keys = [
            request_key("ops", "alice/k"),
            request_key("ops/alice", "k"),
            request_key("ops%2Falice", "k"),
            request_key("ops%252Falice", "k"),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key), "{keys:?}");
        }
    }
}

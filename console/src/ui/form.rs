//! Forms: checked to come from our own pages, then handed to the API as a request by whoever is signed in.

use std::collections::HashMap;

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use harmony_incidents::GateId;
use serde_json::{Map, Value, json};
use tower::ServiceExt;
use url::form_urlencoded;
use uuid::Uuid;

use super::{
    Page, Pages, Problem, Trouble,
    changed::ChangedPage,
    session::{Session, is_same_origin},
    sign_in,
    visit::{self, Frame},
};
use crate::{auth::Caller, call::SignedIn, error::ApiError};

/// Fields that are yes or no.
const YES_OR_NO: [&str; 12] = [
    "archiveChannel",
    "breakGlass",
    "clear",
    "done",
    "drill",
    "dryRun",
    "emergencyOverride",
    "escalate",
    "private",
    "public",
    "release",
    "remove",
];
/// Fields that hold several words: repeated, or separated by commas or lines.
const LISTS: [&str; 8] = [
    "cells",
    "impactedServices",
    "labels",
    "principals",
    "privateTo",
    "publicComponents",
    "secretEnv",
    "verify",
];
/// Fields whose lines are `NAME=value`.
const PAIRS: [&str; 1] = ["env"];
/// What the name of a field begins with that holds a runbook's input.
const INPUT: &str = "input.";
/// Fields that are about the form itself.
pub(super) const OWN: [&str; 7] = ["csrf", "go", "key", "previewed", "record", "seq", "to"];

/// A form that was sent from one of our pages by somebody who is signed in.
pub(crate) struct Submission {
    pub(crate) site: Pages,
    pub(crate) caller: Caller,
    pub(crate) frame: Frame,
    session: Session,
    /// Where it was sent to.
    pub(super) address: String,
    path: HashMap<String, String>,
    pub(super) fields: Vec<(String, String)>,
}

impl FromRequest<Pages> for Submission {
    type Rejection = Trouble;

    async fn from_request(request: Request, site: &Pages) -> Result<Self, Trouble> {
        let (mut parts, body) = request.into_parts();
        let session = visit::session(site, &parts.headers, "/")?;
        let address = visit::whole(&parts).to_owned();
        let Path(path) = Path::<HashMap<String, String>>::from_request_parts(&mut parts, site)
            .await
            .map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
        let org = path.get("org").map(String::as_str).unwrap_or_default();
        let caller = Caller::signed_in(&site.app, session.principal.clone(), org)?;
        let frame = visit::frame(&caller, &session.csrf, "", None);
        let framed = |error| Trouble::Api(error, Some(Box::new(frame.clone())));
        if !is_same_origin(&parts.headers) {
            return Err(framed(sign_in::forged()));
        }
        let body = Bytes::from_request(Request::from_parts(parts, body), site)
            .await
            .map_err(|rejection| framed(rejection.into()))?;
        let fields: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
        let given = fields.iter().find(|(name, _)| name == "csrf").map(|(_, value)| value.as_str());
        if !session.has_csrf(given.unwrap_or_default()) {
            return Err(framed(sign_in::forged()));
        }
        Ok(Self { site: site.clone(), caller, frame, session, address, path, fields })
    }
}

impl Submission {
    /// A part of the path, decoded.
    pub(crate) fn path(&self, name: &str) -> &str {
        self.path.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The first value of a field.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.trim()).unwrap_or_default()
    }

    /// What the form says, as the API takes it. An empty field is one that was not filled in.
    pub(crate) fn json(&self) -> Value {
        let mut object = Map::new();
        for (name, value) in &self.fields {
            let (name, value) = (name.as_str(), value.replace("\r\n", "\n"));
            if OWN.contains(&name) || value.trim().is_empty() {
                continue;
            }
            if YES_OR_NO.contains(&name) {
                object.insert(name.to_owned(), json!(matches!(value.as_str(), "true" | "on")));
            } else if LISTS.contains(&name) {
                let words = value.split([',', '\n']).map(str::trim).filter(|word| !word.is_empty());
                let list = object.entry(name).or_insert_with(|| json!([]));
                if let Value::Array(list) = list {
                    list.extend(words.map(Value::from));
                }
            } else if let Some(input) = name.strip_prefix(INPUT) {
                let inputs = object.entry("inputs").or_insert_with(|| json!({}));
                inputs[input] = json!(value.trim_end_matches('\n'));
            } else if PAIRS.contains(&name) {
                let lines = value.lines().filter(|line| !line.trim().is_empty());
                let pairs = lines.map(|line| line.split_once('=').unwrap_or((line, "")));
                let map: Map<_, _> =
                    pairs.map(|(name, value)| (name.trim().to_owned(), Value::from(value))).collect();
                object.insert(name.to_owned(), Value::Object(map));
            } else {
                object.insert(name.to_owned(), Value::from(value));
            }
        }
        Value::Object(object)
    }

    /// Sends a body to an address of the API below the organisation; what went wrong leads back to `back`.
    pub(crate) async fn send(
        &self,
        path: &str,
        body: &Value,
        back: &str,
    ) -> Result<(StatusCode, Value), Trouble> {
        // A form that is sent twice happens once.
        let key = match self.field("key") {
            "" => Uuid::now_v7().to_string(),
            key => key.to_owned(),
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("/api/orgs/{}/{path}", self.caller.org))
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", key);
        // The last record that the page showed, where what the form does depends on it.
        if !self.field("seq").is_empty() {
            request = request.header(header::IF_MATCH, self.field("seq"));
        }
        let request = request
            .extension(SignedIn { principal: self.session.principal.clone() })
            .body(Body::from(body.to_string()))
            .map_err(|error| ApiError::Malformed(error.to_string()))?;
        let Ok(answer) = self.site.api.clone().oneshot(request).await;
        let status = answer.status();
        let bytes = to_bytes(answer.into_body(), crate::BODY_LIMIT_BYTES).await.unwrap_or_default();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status.is_success() {
            return Ok((status, body));
        }
        if status == StatusCode::PRECONDITION_FAILED {
            return Err(Trouble::Changed(Box::new(ChangedPage::of(self, &body, back))));
        }
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let problem = Problem {
            status,
            title: match text("title") {
                title if title.is_empty() => status.canonical_reason().unwrap_or("Refused").to_owned(),
                title => title,
            },
            detail: text("detail"),
            hint: text("hint"),
            back: back.to_owned(),
        };
        Err(Trouble::Problem(Box::new(problem), Box::new(self.frame.clone())))
    }
}

/// `POST …/incidents/{id}/do/{action}`: the API's command of this name.
pub(crate) async fn act(form: Submission) -> Page {
    let incident = encoded(form.path("id"));
    let action = form.path("action");
    if !action.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
        return Err(ApiError::NotFound("there is no such command".to_owned()).into());
    }
    let record = form.field("record").parse::<u64>().ok();
    let back = match (form.field("to"), record) {
        ("review", _) => format!("/orgs/{}/incidents/{incident}/review", form.caller.org),
        ("record", Some(seq)) => format!("/orgs/{}/incidents/{incident}/records/{seq}", form.caller.org),
        _ => format!("/orgs/{}/incidents/{incident}", form.caller.org),
    };
    let mut asked = form.json();
    // A form's own `seq` is what its page had seen.
    if let (Some(seq), Some(fields)) = (record, asked.as_object_mut()) {
        fields.insert("seq".to_owned(), json!(seq));
    }
    // A browser's field for a time has no zone; the label says that it is UTC.
    if action == "times"
        && let Some(at) = asked["at"].as_str().filter(|at| at.parse::<jiff::civil::DateTime>().is_ok())
    {
        asked["at"] = json!(format!("{at}Z"));
    }
    let (status, body) = form.send(&format!("incidents/{incident}/{action}"), &asked, &back).await?;
    let done = match (status, action) {
        (StatusCode::ACCEPTED, "stop") => "stopping",
        (StatusCode::ACCEPTED, _) => "started",
        _ if body["answer"] == "unchanged" => "unchanged",
        _ => "recorded",
    };
    Ok(see(&back, done))
}

/// `POST …/approvals/{gateId}`: a decision, or passing it on.
pub(crate) async fn decide(form: Submission) -> Page {
    let gate = form.path("gate");
    let back = match GateId::workflow_of(gate).and_then(|workflow| workflow.parts()) {
        Some((_, _, incident)) => format!("/orgs/{}/incidents/{incident}", form.caller.org),
        None => format!("/orgs/{}/approvals", form.caller.org),
    };
    let mut body = form.json();
    if body["escalate"] != true {
        body["source"] = json!("console");
    }
    let (_, answer) = form.send(&format!("approvals/{}", encoded(gate)), &body, &back).await?;
    let done = match (answer["accepted"] == true, answer["warning"].is_string()) {
        (true, true) => "decided-away",
        (true, false) => "decided",
        (false, _) => "escalated",
    };
    Ok(see(&back, done))
}

/// Goes on to a page that says what was done.
pub(crate) fn see(back: &str, done: &str) -> Response {
    Redirect::to(&format!("{back}?done={done}")).into_response()
}

/// A part of a path, percent-encoded.
pub(crate) fn encoded(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_of_a_path_is_one_segment() {
        assert_eq!(
            encoded("incident.remediate-INC-2026-0001#1/approve"),
            "incident.remediate-INC-2026-0001%231%2Fapprove"
        );
        assert_eq!(encoded("../ä"), "..%2F%C3%A4");
    }
}

//! PagerDuty, REST API v2: the incident that pages people, and its notes.
//!
//! Limits: 960 calls a minute and key. A refusal is a 429, with `ratelimit-reset` (seconds), with
//! `Retry-After`, or with neither. Calls that act carry `From`, the address of a user.
//!
//! How a repeated call is recognised. An incident carries our key as `incident_key`; PagerDuty
//! refuses a second one with a 400 only while the first is open, so [`PagerDuty::ensure_incident`]
//! looks before it creates, and again when it was refused. A note carries its key as its last
//! line, `[harmony:<key>]`. Resolving comes out the same however often.
//!
//! Vague at PagerDuty: notes are described as 200 and created as 201 (any 2xx counts here); a
//! refusal to touch a resolved incident has no code of its own (so the incident is read).

#[cfg(test)]
mod tests;

use std::time::Duration;

use reqwest::RequestBuilder;
use reqwest::header::ACCEPT;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::address::AddressError;
use crate::error::{Attempt, CallError, Fate};
use crate::transport::{self, Answer, Operation, Transport};

const VENDOR: &str = "PagerDuty";
const VERSION: &str = "application/vnd.pagerduty+json;version=2";
/// PagerDuty's name for seconds until the limit is lifted.
const RATELIMIT_RESET: &str = "ratelimit-reset";

const CREATE: Operation = Operation::acts("incidents.create");
const LIST: Operation = Operation::reads("incidents.list");
const GET: Operation = Operation::reads("incidents.get");
const SERVICE: Operation = Operation::reads("services.get");
const UPDATE: Operation = Operation::acts("incidents.update");
const ADD_NOTE: Operation = Operation::acts("notes.create");
const LIST_NOTES: Operation = Operation::reads("notes.list");
const ON_CALLS: Operation = Operation::reads("oncalls.list");

/// An account, as one key and one user see it.
#[derive(Clone, Debug)]
pub struct PagerDuty {
    transport: Transport,
    from: String,
}

/// The incident that is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentDraft {
    /// Becomes the `incident_key`.
    pub key: Uuid,
    /// One line.
    pub title: String,
    /// The service whose people are paged.
    pub service_id: String,
    /// High wakes people, low waits for the morning, as the service is set up.
    pub high_urgency: bool,
    /// More lines; may be empty.
    pub details: String,
    /// Instead of the service's own.
    pub escalation_policy_id: Option<String>,
}

/// An incident that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// `Q…`
    pub id: String,
    /// Where people look at it; empty where PagerDuty does not say.
    pub html_url: String,
    /// How far it is.
    pub status: IncidentStatus,
}

/// How far an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentStatus {
    /// People are being paged.
    Triggered,
    /// Somebody has it.
    Acknowledged,
    /// Over; it never opens again.
    Resolved,
}

impl IncidentStatus {
    /// PagerDuty's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Triggered => "triggered",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }
}

/// Somebody who is on call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnCall {
    /// Level of the escalation policy, from 1.
    pub level: u32,
    /// PagerDuty's id of the user.
    pub user_id: String,
    /// As people call them.
    pub name: String,
}

#[derive(Debug, Deserialize)]
struct OnCalls {
    oncalls: Vec<Duty>,
}

#[derive(Debug, Deserialize)]
struct Duty {
    escalation_level: u32,
    user: Person,
}

#[derive(Debug, Deserialize)]
struct Person {
    id: String,
    #[serde(default)]
    summary: Option<String>,
}

#[derive(Debug, Deserialize)]
struct One {
    incident: Found,
}

#[derive(Debug, Deserialize)]
struct Many {
    incidents: Vec<Found>,
}

#[derive(Debug, Deserialize)]
struct Found {
    id: String,
    #[serde(default)]
    html_url: Option<String>,
    status: IncidentStatus,
    #[serde(default)]
    incident_key: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Notes {
    notes: Vec<Note>,
}

#[derive(Debug, Deserialize)]
struct Note {
    #[serde(default)]
    content: String,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    error: Reason,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Reason {
    Full {
        #[serde(default)]
        message: String,
        #[serde(default)]
        errors: Vec<String>,
    },
    Short(String),
}

impl PagerDuty {
    /// Acts with this key, in the name of the user with the address `from`.
    pub fn new(base_url: &str, api_key: SecretString, from: String) -> Result<Self, AddressError> {
        let transport = Transport::new(VENDOR, base_url, api_key)?;
        Ok(Self { transport, from })
    }

    /// The same with another time limit for a request than [`crate::address::REQUEST_TIMEOUT`].
    pub fn with_limit(self, limit: Duration) -> Result<Self, AddressError> {
        Ok(Self { transport: self.transport.with_limit(limit)?, ..self })
    }

    /// Opens the incident, or finds the one opened before, resolved or not.
    pub async fn ensure_incident(&self, draft: &IncidentDraft) -> Result<Incident, CallError> {
        if let Some(found) = self.find_incident(&draft.key).await? {
            return Ok(found);
        }
        let request = self.acting(self.to(reqwest::Method::POST, &["incidents"]));
        match self.call(CREATE, request.json(&creation(draft))).await {
            Ok(answer) => Ok(self.transport.json::<One>(CREATE, &answer)?.incident.into()),
            // Somebody with the same key was faster, or the draft is wrong: the list tells.
            Err(error) if error.status() == Some(400) => self.find_incident(&draft.key).await?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// The incident with this key: an open one, else the latest.
    pub async fn find_incident(&self, key: &Uuid) -> Result<Option<Incident>, CallError> {
        let key = key.to_string();
        let query = [("incident_key", key.as_str()), ("date_range", "all")];
        let request = self.to(reqwest::Method::GET, &["incidents"]).query(&query);
        let answer = self.call(LIST, request).await?;
        let many: Many = self.transport.json(LIST, &answer)?;
        let mut ours: Vec<Found> =
            many.incidents.into_iter().filter(|found| found.incident_key.as_deref() == Some(&key)).collect();
        ours.sort_by_key(|found| found.status == IncidentStatus::Resolved);
        Ok(ours.into_iter().next().map(Incident::from))
    }

    /// Whether the service is there and may be seen.
    pub async fn find_service(&self, id: &str) -> Result<(), CallError> {
        let request = self.to(reqwest::Method::GET, &["services", id]);
        self.call(SERVICE, request).await.map(drop)
    }

    /// Reads an incident.
    pub async fn get(&self, id: &str) -> Result<Incident, CallError> {
        let request = self.to(reqwest::Method::GET, &["incidents", id]);
        let answer = self.call(GET, request).await?;
        Ok(self.transport.json::<One>(GET, &answer)?.incident.into())
    }

    /// Resolves an incident. One that is resolved stays so.
    pub async fn resolve(&self, id: &str) -> Result<Incident, CallError> {
        self.set_status(id, IncidentStatus::Resolved).await
    }

    /// Adds a note. On [`Attempt::Again`] a note with this key is looked for first.
    pub async fn add_note(
        &self,
        attempt: Attempt,
        key: &Uuid,
        id: &str,
        text: &str,
    ) -> Result<(), CallError> {
        if attempt == Attempt::Again && self.count_notes(key, id).await? > 0 {
            return Ok(());
        }
        let content = format!("{}\n{}", text.trim_end(), signature(key));
        let request = self
            .acting(self.to(reqwest::Method::POST, &["incidents", id, "notes"]))
            .json(&json!({ "note": { "content": content } }));
        self.call(ADD_NOTE, request).await?;
        Ok(())
    }

    /// Changes the urgency of an open incident: raised to high it pages as high does. Set twice it is the same; one
    /// that is resolved stays as it is.
    pub async fn set_urgency(&self, id: &str, high: bool) -> Result<Incident, CallError> {
        let urgency = if high { "high" } else { "low" };
        let body = json!({ "incident": { "type": "incident_reference", "urgency": urgency } });
        let request = self.acting(self.to(reqwest::Method::PUT, &["incidents", id])).json(&body);
        match self.call(UPDATE, request).await {
            Ok(answer) => Ok(self.transport.json::<One>(UPDATE, &answer)?.incident.into()),
            Err(error) if error.status() == Some(400) => {
                let present = self.get(id).await?;
                if present.status == IncidentStatus::Resolved { Ok(present) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    /// Who is on call now under this escalation policy, the first level first.
    pub async fn on_call(&self, escalation_policy_id: &str) -> Result<Vec<OnCall>, CallError> {
        let query = [("escalation_policy_ids[]", escalation_policy_id), ("earliest", "true")];
        let request = self.to(reqwest::Method::GET, &["oncalls"]).query(&query);
        let answer = self.call(ON_CALLS, request).await?;
        let found: OnCalls = self.transport.json(ON_CALLS, &answer)?;
        let mut people: Vec<OnCall> = found.oncalls.into_iter().map(OnCall::from).collect();
        people.sort_by_key(|one| one.level);
        Ok(people)
    }

    /// How many notes of the incident carry this key: more than one means that a request was still under way when we
    /// looked.
    pub async fn count_notes(&self, key: &Uuid, id: &str) -> Result<usize, CallError> {
        let request = self.to(reqwest::Method::GET, &["incidents", id, "notes"]);
        let answer = self.call(LIST_NOTES, request).await?;
        let notes: Notes = self.transport.json(LIST_NOTES, &answer)?;
        let signature = signature(key);
        let carries = |note: &&Note| {
            let last = note.content.trim_end().lines().next_back();
            last.is_some_and(|line| line.trim() == signature)
        };
        Ok(notes.notes.iter().filter(carries).count())
    }

    async fn set_status(&self, id: &str, status: IncidentStatus) -> Result<Incident, CallError> {
        let body = json!({
            "incident": { "type": "incident_reference", "status": status.as_str() },
        });
        let request = self.acting(self.to(reqwest::Method::PUT, &["incidents", id])).json(&body);
        match self.call(UPDATE, request).await {
            Ok(answer) => Ok(self.transport.json::<One>(UPDATE, &answer)?.incident.into()),
            Err(error) if error.status() == Some(400) => {
                let present = self.get(id).await?;
                if present.status == status || present.status == IncidentStatus::Resolved {
                    Ok(present)
                } else {
                    Err(error)
                }
            }
            Err(error) => Err(error),
        }
    }

    fn to(&self, method: reqwest::Method, path: &[&str]) -> RequestBuilder {
        let credentials = format!("Token token={}", self.transport.secret());
        self.transport
            .http
            .request(method, self.transport.address.resource(path))
            .header(ACCEPT, VERSION)
            .header(reqwest::header::AUTHORIZATION, transport::sensitive(&credentials))
    }

    fn acting(&self, request: RequestBuilder) -> RequestBuilder {
        request.header("From", &self.from)
    }

    async fn call(&self, operation: Operation, request: RequestBuilder) -> Result<Answer, CallError> {
        let answer = self.transport.send(operation, request).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let message =
            serde_json::from_slice::<Refusal>(&answer.body).ok().map(|refusal| words(refusal.error));
        let error = self.transport.refusal(operation, &answer, message);
        match error.fate() {
            Fate::Limited { retry_after: None } => {
                let reset = answer.headers.get(RATELIMIT_RESET);
                let retry_after = reset.and_then(|value| value.to_str().ok()).and_then(transport::seconds);
                let fate = Fate::Limited { retry_after };
                Err(self.transport.error(operation, fate, Some(answer.status), error.message()))
            }
            _ => Err(error),
        }
    }
}

impl From<Duty> for OnCall {
    fn from(duty: Duty) -> Self {
        let Person { id, summary } = duty.user;
        Self { level: duty.escalation_level, name: summary.unwrap_or_else(|| id.clone()), user_id: id }
    }
}

impl From<Found> for Incident {
    fn from(found: Found) -> Self {
        Self { id: found.id, html_url: found.html_url.unwrap_or_default(), status: found.status }
    }
}

fn creation(draft: &IncidentDraft) -> Value {
    let mut incident = json!({
        "type": "incident",
        "title": draft.title,
        "service": { "id": draft.service_id, "type": "service_reference" },
        "urgency": if draft.high_urgency { "high" } else { "low" },
        "incident_key": draft.key.to_string(),
    });
    if !draft.details.is_empty() {
        incident["body"] = json!({ "type": "incident_body", "details": draft.details });
    }
    if let Some(policy) = &draft.escalation_policy_id {
        incident["escalation_policy"] = json!({ "id": policy, "type": "escalation_policy_reference" });
    }
    json!({ "incident": incident })
}

fn signature(key: &Uuid) -> String {
    format!("[harmony:{key}]")
}

fn words(reason: Reason) -> String {
    match reason {
        Reason::Short(message) => message,
        Reason::Full { message, errors } if errors.is_empty() => message,
        Reason::Full { message, errors } => format!("{message}: {}", errors.join("; ")),
    }
}

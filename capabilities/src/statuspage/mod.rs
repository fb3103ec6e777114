//! Statuspage (Atlassian), REST API v1: what the public is told.
//!
//! Limits: one call a second and token, over a rolling minute. A refusal is a 420 or a 429, with
//! or without `Retry-After`. A call here makes one request, or two when it looks first.
//!
//! How a repeated call is recognised. Statuspage has nothing for it. An incident carries our key
//! in its metadata (`harmony.idempotency_key`), which the list returns but cannot search, so the
//! hundred latest incidents are read and compared here. An update has no room for a key: on
//! [`Attempt::Again`] it counts as made when the newest update of the incident has the same status
//! and the same body. So if somebody else wrote one in between, ours appears twice; and two equal
//! updates in a row, the first of which got lost, become one.
//!
//! Vague at Statuspage: errors are a `message` or an `error`, the latter a text or a list; any
//! field of an answer may be null; whether pages are counted from 0 or 1 is not said, so only the
//! first is asked for.

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use reqwest::RequestBuilder;
use reqwest::header::AUTHORIZATION;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::address::AddressError;
use crate::error::{Attempt, CallError};
use crate::transport::{self, Operation, Transport};

const VENDOR: &str = "Statuspage";

const CREATE: Operation = Operation::acts("incidents.create");
const LIST: Operation = Operation::reads("incidents.list");
const GET: Operation = Operation::reads("incidents.get");
const UPDATE: Operation = Operation::acts("incidents.update");
const SET_IMPACT: Operation = Operation::acts("incidents.update");

/// One page.
#[derive(Clone, Debug)]
pub struct Statuspage {
    transport: Transport,
    page_id: String,
}

/// The incident that the public is to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentDraft {
    /// The title: up to 255 characters.
    pub name: String,
    /// The first update: up to 25,000 characters.
    pub body: String,
    /// How far the work on it is.
    pub status: IncidentStatus,
    /// Instead of what Statuspage works out from the components.
    pub impact: Option<Impact>,
    /// The components it touches, and how each is meanwhile.
    pub components: Vec<(String, ComponentStatus)>,
}

/// One more update to an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// How far the work on it is.
    pub status: IncidentStatus,
    /// What is said: up to 25,000 characters.
    pub body: String,
    /// Components that are in another state from now on.
    pub components: Vec<(String, ComponentStatus)>,
}

/// An incident that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// Statuspage's id.
    pub id: String,
    /// Where the public looks at it; empty where Statuspage does not say.
    pub shortlink: String,
}

/// How far the work on an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentStatus {
    /// Nobody knows yet what it is.
    Investigating,
    /// The cause is known.
    Identified,
    /// A remedy is in place.
    Monitoring,
    /// Over.
    Resolved,
}

/// How bad it is for the public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Impact {
    /// Not at all.
    None,
    /// Some notice.
    Minor,
    /// Many notice.
    Major,
    /// It does not work.
    Critical,
}

/// How a component is, as the public sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ComponentStatus {
    /// It works.
    Operational,
    /// It is being worked on.
    UnderMaintenance,
    /// It is slow.
    DegradedPerformance,
    /// Parts of it do not work.
    PartialOutage,
    /// It does not work.
    MajorOutage,
}

#[derive(Debug, Deserialize)]
struct Found {
    id: String,
    #[serde(default)]
    shortlink: Option<String>,
    #[serde(default)]
    metadata: Option<Value>,
    #[serde(default)]
    incident_updates: Option<Vec<Past>>,
}

#[derive(Debug, Deserialize)]
struct Past {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    created_at: Option<String>,
}

impl IncidentStatus {
    /// Statuspage's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Investigating => "investigating",
            Self::Identified => "identified",
            Self::Monitoring => "monitoring",
            Self::Resolved => "resolved",
        }
    }
}

impl Statuspage {
    /// Acts on this page with this key. The base URL includes the path, as
    /// `https://api.statuspage.io/v1`.
    pub fn new(
        base_url: &str,
        api_key: SecretString,
        page_id: impl Into<String>,
    ) -> Result<Self, AddressError> {
        Ok(Self { transport: Transport::new(VENDOR, base_url, api_key)?, page_id: page_id.into() })
    }

    /// The same with another time limit for a request than [`crate::address::REQUEST_TIMEOUT`].
    pub fn with_limit(self, limit: Duration) -> Result<Self, AddressError> {
        Ok(Self { transport: self.transport.with_limit(limit)?, ..self })
    }

    /// Opens an incident. On [`Attempt::Again`] one with this key is looked for first.
    pub async fn create_incident(
        &self,
        attempt: Attempt,
        key: &Uuid,
        draft: &IncidentDraft,
    ) -> Result<Incident, CallError> {
        if attempt == Attempt::Again
            && let Some(found) = self.find_incident(key).await?
        {
            return Ok(found);
        }
        let request = self.to(reqwest::Method::POST, &[]).json(&creation(key, draft));
        let created: Found = self.call(CREATE, request).await?;
        Ok(created.into())
    }

    /// Adds an update. On [`Attempt::Again`] it counts as made when the newest update has this
    /// status and this body. Statuspage has no room for the key; it is part of the signature so
    /// that it is the same everywhere.
    pub async fn update_incident(
        &self,
        attempt: Attempt,
        _key: &Uuid,
        id: &str,
        update: &Update,
    ) -> Result<Incident, CallError> {
        if attempt == Attempt::Again
            && let Some(found) = self.find_update(id, update).await?
        {
            return Ok(found);
        }
        let mut body = json!({ "incident": { "status": update.status, "body": update.body } });
        set_components(&mut body["incident"], &update.components);
        let request = self.to(reqwest::Method::PATCH, &[id]).json(&body);
        let updated: Found = self.call(UPDATE, request).await?;
        Ok(updated.into())
    }

    /// The incident, if its newest update has this status and this body.
    pub async fn find_update(&self, id: &str, update: &Update) -> Result<Option<Incident>, CallError> {
        let present = self.get(id).await?;
        let is_there = present.newest().is_some_and(|past| past.says(update));
        Ok(is_there.then(|| present.into()))
    }

    /// How many updates of the incident have this status and this body, one after another at its end: more than one
    /// means that a request was still under way when we looked.
    pub async fn count_updates(&self, id: &str, update: &Update) -> Result<usize, CallError> {
        let mut updates = self.get(id).await?.incident_updates.unwrap_or_default();
        updates.sort_by_key(|past| std::cmp::Reverse(past.created()));
        Ok(updates.iter().take_while(|past| past.says(update)).count())
    }

    /// Says how bad it is, instead of what Statuspage works out from the components, and how these are. Set twice it is
    /// the same.
    pub async fn set_impact(
        &self,
        id: &str,
        impact: Impact,
        components: &[(String, ComponentStatus)],
    ) -> Result<Incident, CallError> {
        let mut body = json!({ "incident": { "impact_override": impact, "deliver_notifications": false } });
        set_components(&mut body["incident"], components);
        let request = self.to(reqwest::Method::PATCH, &[id]).json(&body);
        let updated: Found = self.call(SET_IMPACT, request).await?;
        Ok(updated.into())
    }

    /// The incident with this key, among the hundred latest.
    pub async fn find_incident(&self, key: &Uuid) -> Result<Option<Incident>, CallError> {
        let ours = self.incidents_with(key).await?;
        Ok(ours.into_iter().next().map(Incident::from))
    }

    /// How many of the hundred latest incidents carry this key: more than one means that a
    /// request was still under way when we looked.
    pub async fn count_incidents(&self, key: &Uuid) -> Result<usize, CallError> {
        Ok(self.incidents_with(key).await?.len())
    }

    async fn incidents_with(&self, key: &Uuid) -> Result<Vec<Found>, CallError> {
        let request = self.to(reqwest::Method::GET, &[]).query(&[("limit", "100")]);
        let mut incidents: Vec<Found> = self.call(LIST, request).await?;
        incidents.retain(|incident| incident.carries(key));
        Ok(incidents)
    }

    async fn get(&self, id: &str) -> Result<Found, CallError> {
        self.call(GET, self.to(reqwest::Method::GET, &[id])).await
    }

    fn to(&self, method: reqwest::Method, below: &[&str]) -> RequestBuilder {
        let mut path = vec!["pages", &self.page_id, "incidents"];
        path.extend(below);
        let credentials = format!("OAuth {}", self.transport.secret());
        self.transport
            .http
            .request(method, self.transport.address.resource(&path))
            .header(AUTHORIZATION, transport::sensitive(&credentials))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        request: RequestBuilder,
    ) -> Result<T, CallError> {
        self.transport.call(operation, request, words).await
    }
}

impl Found {
    fn carries(&self, key: &Uuid) -> bool {
        self.metadata
            .as_ref()
            .and_then(|metadata| metadata["harmony"]["idempotency_key"].as_str())
            .and_then(|text| text.parse().ok())
            .is_some_and(|found: Uuid| found == *key)
    }

    /// The newest update by its time; the first one where times are missing, as Statuspage lists
    /// the newest first.
    fn newest(&self) -> Option<&Past> {
        let updates = self.incident_updates.as_deref()?;
        let mut newest = updates.first()?;
        for past in updates {
            if past.created().is_some_and(|time| Some(time) > newest.created()) {
                newest = past;
            }
        }
        Some(newest)
    }
}

impl Past {
    fn created(&self) -> Option<Timestamp> {
        self.created_at.as_deref()?.parse().ok()
    }

    fn says(&self, update: &Update) -> bool {
        self.status.as_deref() == Some(update.status.as_str())
            && self.body.as_deref().map(plain) == Some(plain(&update.body))
    }
}

impl From<Found> for Incident {
    fn from(found: Found) -> Self {
        Self { id: found.id, shortlink: found.shortlink.unwrap_or_default() }
    }
}

fn creation(key: &Uuid, draft: &IncidentDraft) -> Value {
    let mut incident = json!({
        "name": draft.name,
        "status": draft.status,
        "body": draft.body,
        "metadata": { "harmony": { "idempotency_key": key.to_string() } },
    });
    if let Some(impact) = draft.impact {
        incident["impact_override"] = json!(impact);
    }
    if !draft.components.is_empty() {
        let ids: Vec<&str> = draft.components.iter().map(|(id, _)| id.as_str()).collect();
        incident["component_ids"] = json!(ids);
    }
    set_components(&mut incident, &draft.components);
    json!({ "incident": incident })
}

fn set_components(incident: &mut Value, components: &[(String, ComponentStatus)]) {
    for (id, status) in components {
        incident["components"][id.as_str()] = json!(status);
    }
}

/// A text without what a web form may change in it.
fn plain(text: &str) -> String {
    text.replace("\r\n", "\n").trim().to_owned()
}

fn words(body: &Value) -> Option<String> {
    let said = body.get("message").or_else(|| body.get("error"))?;
    match said {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => {
            let texts: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            Some(texts.join("; "))
        }
        _ => None,
    }
}

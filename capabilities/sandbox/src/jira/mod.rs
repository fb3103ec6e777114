//! Jira Cloud: REST v3 as far as one issue needs it, and the webhooks about it.
//!
//! Any Basic credentials are valid and any project key exists. The search runs behind, as Jira's does: an issue is in it
//! only after [`INDEX_LAG`]. `POST /_sandbox/jira/issue {issue, state}`, with the state `open`, `done` or `deleted`, moves
//! an issue as a person would and brings the signed event to Harmony; `"deliver": false` keeps it.

mod answer;
mod events;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::call::Call;
use crate::limits::Rate;
use crate::overview::escaped;
use crate::spec::Spec;
use crate::stand_in::{self, Kept, Memory, StandIn};
use crate::webhook::{self, Move};
use crate::{HarmonyUrl, clock};

use answer::{Outcome, Refusal};

/// How long the search takes to know a new issue.
const INDEX_LAG: Duration = Duration::from_millis(300);
/// Jira's limit for a summary.
const SUMMARY_CHARS: usize = 255;

/// The Jira stand-in.
pub(crate) struct Jira {
    origin: String,
    harmony_url: HarmonyUrl,
    webhook_secret: SecretString,
    memory: Memory<JiraMemory>,
    spec: Spec,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct JiraMemory {
    issues: Vec<Issue>,
    deliveries: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Issue {
    id: String,
    key: String,
    /// As they were sent, but for the description.
    fields: Value,
    /// Its document, one line a paragraph.
    description: String,
    status: Status,
    created: Timestamp,
    updated: Timestamp,
    status_changed: Timestamp,
    /// Not known of an issue of an earlier run: it is old enough.
    #[serde(skip)]
    made: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
enum Status {
    ToDo,
    Done,
}

impl Jira {
    pub(crate) fn new(origin: &str, harmony_url: HarmonyUrl, webhook_secret: SecretString) -> Self {
        Self {
            origin: origin.to_owned(),
            harmony_url,
            webhook_secret,
            memory: Memory::default(),
            spec: Spec::new(include_str!("../../specs/jira.json")),
        }
    }

    fn outcome(&self, call: &Call) -> Outcome {
        authorise(call)?;
        let parts = call.parts();
        let ["rest", "api", "3", rest @ ..] = parts.as_slice() else { return Err(Refusal::not_found()) };
        match (call.method.as_str(), rest) {
            ("POST", ["issue"]) => self.create(call),
            ("GET", ["issue", id]) => {
                let memory = self.memory.lock();
                let found = memory.issues.iter().find(|issue| issue.is(id));
                found.map(|issue| (StatusCode::OK, issue.bean(&self.origin))).ok_or_else(Refusal::no_issue)
            }
            ("GET", ["project", key]) => {
                Ok((StatusCode::OK, json!({"key": key, "id": "10000", "name": key})))
            }
            ("GET", ["search", "jql"]) => self.search(call),
            _ => Err(Refusal::not_found()),
        }
    }

    fn create(&self, call: &Call) -> Outcome {
        let body = call.json().ok_or_else(|| Refusal::whole("The body must be JSON"))?;
        if let Some(violation) = self.spec.check_body("POST", "/rest/api/3/issue", body).first() {
            return Err(Refusal::whole(&format!("{} ({})", violation.message, violation.pointer)));
        }
        let fields = &body["fields"];
        let project = fields["project"]["key"].as_str().filter(|key| !key.is_empty());
        let project =
            project.ok_or_else(|| Refusal::field("project", "Specify a valid project ID or key"))?;
        if fields["issuetype"]["name"].as_str().is_none_or(str::is_empty) {
            return Err(Refusal::field("issuetype", "Specify an issue type"));
        }
        let summary = fields["summary"].as_str().unwrap_or_default();
        if summary.trim().is_empty() {
            return Err(Refusal::field("summary", "You must specify a summary of the issue."));
        }
        if summary.chars().count() > SUMMARY_CHARS || summary.contains(['\n', '\r']) {
            return Err(Refusal::field("summary", "Summary must be one line of at most 255 characters."));
        }
        let description = lines_of(&fields["description"])?;
        let labels = fields["labels"].as_array().into_iter().flatten().filter_map(Value::as_str);
        if labels.clone().any(|label| label.is_empty() || label.contains(char::is_whitespace)) {
            return Err(Refusal::field("labels", "The label can't contain spaces."));
        }
        let mut memory = self.memory.lock();
        let number = memory.issues.len() + 1;
        let now = Timestamp::now();
        let issue = Issue {
            // No other process of this stand-in gives the same.
            id: (clock::epoch_micros() + i64::try_from(number).unwrap_or_default()).to_string(),
            key: format!("{project}-{number}"),
            fields: fields.clone(),
            description,
            status: Status::ToDo,
            created: now,
            updated: now,
            status_changed: now,
            made: Some(Instant::now()),
        };
        let answer = json!({"id": issue.id, "key": issue.key, "self": format!("{}/rest/api/3/issue/{}", self.origin, issue.id)});
        memory.issues.push(issue);
        Ok((StatusCode::CREATED, answer))
    }

    /// Knows one question: which issues have a label, the oldest first.
    fn search(&self, call: &Call) -> Outcome {
        if let Some(violation) = self.spec.check_query("GET", "/rest/api/3/search/jql", &call.query).first() {
            return Err(Refusal::whole(&violation.message));
        }
        let jql = call.query_value("jql").unwrap_or_default();
        let label = jql
            .strip_prefix("labels = \"")
            .and_then(|rest| rest.strip_suffix("\" ORDER BY created ASC"))
            .filter(|label| !label.contains('"'))
            .ok_or_else(|| {
                Refusal::whole("Error in the JQL Query: this stand-in knows labels = \"…\" alone")
            })?;
        let memory = self.memory.lock();
        let known =
            memory.issues.iter().filter(|issue| issue.made.is_none_or(|made| made.elapsed() >= INDEX_LAG));
        let found: Vec<Value> =
            known.filter(|issue| issue.has_label(label)).map(|issue| issue.bean(&self.origin)).collect();
        Ok((StatusCode::OK, json!({"isLast": true, "issues": found})))
    }

    /// Moves an issue, and gives the event that tells of it.
    fn moved(&self, order: &Move) -> Result<webhook::Event, &'static str> {
        let mut memory = self.memory.lock();
        memory.deliveries += 1;
        let delivery = memory.deliveries;
        let place =
            memory.issues.iter().position(|issue| issue.is(&order.issue)).ok_or("there is no such issue")?;
        let now = Timestamp::now();
        let issue = &mut memory.issues[place];
        issue.updated = now;
        let status = match order.state.as_str() {
            "open" => Status::ToDo,
            "done" => Status::Done,
            "deleted" => {
                let issue = memory.issues.remove(place);
                return Ok(events::deleted(&issue, &self.origin, delivery));
            }
            _ => return Err("state is open, done or deleted"),
        };
        if status != issue.status {
            issue.status_changed = now;
        }
        let before = std::mem::replace(&mut issue.status, status);
        Ok(events::updated(issue, before, &self.origin, delivery))
    }
}

impl Issue {
    fn is(&self, name: &str) -> bool {
        self.id == name || self.key.eq_ignore_ascii_case(name)
    }

    fn labels(&self) -> impl Iterator<Item = &str> {
        self.fields["labels"].as_array().into_iter().flatten().filter_map(Value::as_str)
    }

    fn has_label(&self, label: &str) -> bool {
        self.labels().any(|one| one == label)
    }

    /// As the API and the events show it.
    fn bean(&self, origin: &str) -> Value {
        let mut fields = self.fields.clone();
        fields["status"] = self.status.json();
        fields["created"] = json!(time(self.created));
        fields["updated"] = json!(time(self.updated));
        fields["statuscategorychangedate"] = json!(time(self.status_changed));
        json!({"id": self.id, "key": self.key, "self": format!("{origin}/rest/api/3/issue/{}", self.id), "fields": fields})
    }
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::ToDo => "To Do",
            Self::Done => "Done",
        }
    }

    fn json(self) -> Value {
        let (id, key) = match self {
            Self::ToDo => (2, "new"),
            Self::Done => (3, "done"),
        };
        json!({"name": self.name(), "statusCategory": {"id": id, "key": key, "name": self.name()}})
    }
}

/// As Jira writes it: milliseconds, and an offset without a colon.
fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string()
}

/// One line a paragraph of a document; `None` is no document.
fn lines_of(document: &Value) -> Result<String, Refusal> {
    if document.is_null() {
        return Ok(String::new());
    }
    let refused = || {
        Refusal::field(
            "description",
            "Operation value must be an Atlassian Document (see the Atlassian Document Format)",
        )
    };
    if document["type"] != "doc" || document["version"] != 1 {
        return Err(refused());
    }
    let mut lines = Vec::new();
    for paragraph in document["content"].as_array().ok_or_else(refused)? {
        let texts = paragraph["content"].as_array().into_iter().flatten();
        let texts: Option<String> =
            texts.map(|one| one["text"].as_str().filter(|text| !text.is_empty())).collect();
        lines.push(texts.ok_or_else(refused)?);
    }
    Ok(lines.join("\n"))
}

impl StandIn for Jira {
    const NAME: &'static str = "Jira";

    fn answer(&self, call: &Call) -> Response {
        answer::response(self.outcome(call))
    }

    fn memory(&self) -> &dyn Kept {
        &self.memory
    }

    fn idempotency_key(&self, call: &Call) -> Option<String> {
        let labels = call.json()?["fields"]["labels"].as_array()?.iter().filter_map(Value::as_str);
        labels.filter_map(|label| label.strip_prefix("harmony-")).next().map(str::to_owned)
    }

    fn state(&self) -> Value {
        let issue = |issue: &Issue| {
            json!({
                "id": issue.id,
                "key": issue.key,
                "project": issue.fields["project"]["key"],
                "issueType": issue.fields["issuetype"]["name"],
                "summary": issue.fields["summary"],
                "description": issue.description,
                "labels": issue.labels().collect::<Vec<_>>(),
                "status": issue.status.name(),
                "updated": time(issue.updated),
                "url": format!("{}/browse/{}", self.origin, issue.key),
            })
        };
        json!({"issues": self.memory.lock().issues.iter().map(issue).collect::<Vec<_>>()})
    }

    fn page(&self, call: &Call) -> Option<Response> {
        let parts = call.parts();
        let ["browse", key] = parts.as_slice() else { return None };
        let memory = self.memory.lock();
        let Some(issue) = memory.issues.iter().find(|issue| issue.is(key)) else {
            return Some(answer::response(Err(Refusal::no_issue())));
        };
        let title = format!("{} {}", issue.key, issue.fields["summary"].as_str().unwrap_or_default());
        let inside = format!(
            "<p><span class=\"tag\">{}</span></p><pre>{}</pre>",
            issue.status.name(),
            escaped(&issue.description)
        );
        Some(crate::overview::document(&title, &inside))
    }

    fn overview(&self) -> String {
        let memory = self.memory.lock();
        if memory.issues.is_empty() {
            return "<p class=\"muted\">No issues yet.</p>".to_owned();
        }
        let line = |issue: &Issue| {
            format!(
                "<article><a href=\"/browse/{}\">{}</a> {} <small>{}</small></article>",
                escaped(&issue.key),
                escaped(&issue.key),
                escaped(issue.fields["summary"].as_str().unwrap_or_default()),
                issue.status.name()
            )
        };
        memory.issues.iter().map(line).collect()
    }

    fn failure(&self, status: StatusCode) -> Response {
        answer::response(Err(Refusal::with_status(status)))
    }

    /// Counted in points that depend on what is asked; there is no number to keep.
    fn rate(&self, _call: &Call) -> Option<Rate> {
        None
    }

    fn rate_limited(&self, retry_after_seconds: u64) -> Response {
        stand_in::with_retry_after(self.failure(StatusCode::TOO_MANY_REQUESTS), retry_after_seconds)
    }

    fn inspection(self: Arc<Self>) -> Router {
        Router::new().route("/_sandbox/jira/issue", post(move_issue)).with_state(self)
    }
}

async fn move_issue(State(jira): State<Arc<Jira>>, body: String) -> Response {
    let moved = |order: &Move| jira.moved(order);
    webhook::move_issue(&jira.harmony_url, &jira.webhook_secret, &body, moved).await
}

fn authorise(call: &Call) -> Result<(), Refusal> {
    let value = call.header(header::AUTHORIZATION.as_str());
    let (scheme, credentials) = value.and_then(|value| value.split_once(' ')).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("basic") && !credentials.trim().is_empty() {
        return Ok(());
    }
    Err(Refusal::with_status(StatusCode::UNAUTHORIZED))
}

//! GitHub: REST as far as the issues of a repository need it, and the webhooks about them.
//!
//! Any Bearer token is valid and any repository exists. `POST /_sandbox/github/issue {issue, state}`, with the state
//! `open`, `closed`, `not_planned` or `deleted`, moves an issue as a person would and brings the signed event to Harmony;
//! `"deliver": false` keeps it.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::call::Call;
use crate::limits::Rate;
use crate::overview::{self, escaped};
use crate::spec::Spec;
use crate::stand_in::{self, Kept, Memory, StandIn};
use crate::webhook::{self, Move};
use crate::{HarmonyUrl, clock};

/// GitHub's limit for a title.
const TITLE_CHARS: usize = 256;

/// The GitHub stand-in.
pub(crate) struct GitHub {
    origin: String,
    harmony_url: HarmonyUrl,
    webhook_secret: SecretString,
    memory: Memory<GitHubMemory>,
    spec: Spec,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct GitHubMemory {
    /// As the API shows them.
    issues: Vec<Value>,
    deliveries: u64,
}

type Outcome = Result<(StatusCode, Value), (StatusCode, Value)>;

impl GitHub {
    pub(crate) fn new(origin: &str, harmony_url: HarmonyUrl, webhook_secret: SecretString) -> Self {
        Self {
            origin: origin.to_owned(),
            harmony_url,
            webhook_secret,
            memory: Memory::default(),
            spec: Spec::new(include_str!("../../specs/github.json")),
        }
    }

    fn outcome(&self, call: &Call) -> Outcome {
        let value = call.header(header::AUTHORIZATION.as_str());
        let (scheme, token) = value.and_then(|value| value.split_once(' ')).unwrap_or_default();
        if !["bearer", "token"].contains(&scheme.to_ascii_lowercase().as_str()) || token.trim().is_empty() {
            return Err(refusal(StatusCode::UNAUTHORIZED, "Requires authentication"));
        }
        let parts = call.parts();
        let ["repos", owner, name, rest @ ..] = parts.as_slice() else { return Err(not_found()) };
        let repository = format!("{owner}/{name}");
        match (call.method.as_str(), rest) {
            ("GET", []) => {
                Ok((StatusCode::OK, json!({"id": 1, "full_name": repository, "has_issues": true})))
            }
            ("POST", ["issues"]) => self.create(call, &repository),
            ("GET", ["issues"]) => self.list(call, &repository),
            ("GET", ["issues", number]) => {
                let memory = self.memory.lock();
                let number: Option<u64> = number.parse().ok();
                let is_it = |issue: &&Value| number.is_some() && issue["number"].as_u64() == number;
                let found = memory.issues.iter().find(|issue| self.is_of(issue, &repository) && is_it(issue));
                found.map(|issue| (StatusCode::OK, issue.clone())).ok_or_else(not_found)
            }
            _ => Err(not_found()),
        }
    }

    fn create(&self, call: &Call, repository: &str) -> Outcome {
        let bad = || refusal(StatusCode::BAD_REQUEST, "Problems parsing JSON");
        let body = call.json().ok_or_else(bad)?;
        if let Some(wrong) = self.spec.check_body("POST", "/repos/{owner}/{repo}/issues", body).first() {
            return Err(invalid(wrong.field(), &wrong.message));
        }
        let title = body["title"].as_str().unwrap_or_default();
        if title.trim().is_empty() {
            return Err(invalid("title", "missing_field"));
        }
        if title.chars().count() > TITLE_CHARS {
            return Err(invalid("title", "is too long (maximum is 256 characters)"));
        }
        let mut memory = self.memory.lock();
        let number = memory.issues.iter().filter(|issue| self.is_of(issue, repository)).count() + 1;
        let issue = self.issue(repository, number, body);
        memory.issues.push(issue.clone());
        Ok((StatusCode::CREATED, issue))
    }

    fn issue(&self, repository: &str, number: usize, body: &Value) -> Value {
        let api = format!("{}/repos/{repository}", self.origin);
        let url = format!("{api}/issues/{number}");
        let labels: Vec<Value> = body["labels"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|label| label.as_str().or_else(|| label["name"].as_str()))
            .map(|name| json!({"id": 1, "name": name, "color": "ededed", "default": false}))
            .collect();
        let now = clock::now_seconds();
        json!({
            // No other process of this stand-in gives the same.
            "id": clock::epoch_micros() + i64::try_from(number).unwrap_or_default(),
            "node_id": format!("I_{number}"),
            "number": number,
            "url": url,
            "repository_url": api,
            "labels_url": format!("{url}/labels{{/name}}"),
            "comments_url": format!("{url}/comments"),
            "events_url": format!("{url}/events"),
            "html_url": format!("{}/{repository}/issues/{number}", self.origin),
            "title": body["title"],
            "body": body["body"],
            "labels": labels,
            "state": "open",
            "state_reason": null,
            "user": null,
            "assignee": null,
            "assignees": [],
            "milestone": null,
            "locked": false,
            "comments": 0,
            "closed_at": null,
            "created_at": now,
            "updated_at": now,
        })
    }

    fn list(&self, call: &Call, repository: &str) -> Outcome {
        let template = "/repos/{owner}/{repo}/issues";
        if let Some(wrong) = self.spec.check_query("GET", template, &call.query).first() {
            return Err(invalid(wrong.field(), &wrong.message));
        }
        let number = |name: &str, usual: usize| {
            call.query_value(name).and_then(|text| text.parse().ok()).unwrap_or(usual)
        };
        let (page, size) = (number("page", 1).max(1), number("per_page", 30).min(100));
        let labels = call.query_values("labels");
        let since = call.query_value("since").unwrap_or_default();
        let state = call.query_value("state").unwrap_or("open");
        let memory = self.memory.lock();
        let mut found: Vec<Value> = memory
            .issues
            .iter()
            .filter(|issue| {
                let has = |label: &str| {
                    issue["labels"].as_array().into_iter().flatten().any(|one| one["name"] == label)
                };
                self.is_of(issue, repository)
                    && (state == "all" || issue["state"] == state)
                    && labels.iter().all(|label| has(label))
                    && issue["updated_at"].as_str().is_some_and(|at| at >= since)
            })
            .cloned()
            .collect();
        // They stand as they were made.
        if call.query_value("direction") != Some("asc") {
            found.reverse();
        }
        let listed: Vec<Value> = found.into_iter().skip((page - 1) * size).take(size).collect();
        Ok((StatusCode::OK, json!(listed)))
    }

    fn is_of(&self, issue: &Value, repository: &str) -> bool {
        issue["repository_url"] == format!("{}/repos/{repository}", self.origin)
    }

    /// `acme/shop#7`.
    fn name(&self, issue: &Value) -> String {
        let repository = issue["repository_url"].as_str().unwrap_or_default();
        let repository = repository.strip_prefix(&format!("{}/repos/", self.origin)).unwrap_or_default();
        format!("{repository}#{}", issue["number"])
    }

    /// Moves an issue, and gives the event that tells of it.
    fn moved(&self, order: &Move) -> Result<webhook::Event, &'static str> {
        let mut memory = self.memory.lock();
        memory.deliveries += 1;
        let delivery = format!("{}-{}", clock::epoch_micros(), memory.deliveries);
        let place = memory.issues.iter().position(|issue| self.name(issue) == order.issue);
        let place = place.ok_or("there is no such issue: name it as acme/shop#7")?;
        let now = clock::now_seconds();
        let (action, state, reason) = match order.state.as_str() {
            "open" => ("reopened", "open", json!("reopened")),
            "closed" => ("closed", "closed", json!("completed")),
            "not_planned" => ("closed", "closed", json!("not_planned")),
            "deleted" => ("deleted", "", Value::Null),
            _ => return Err("state is open, closed, not_planned or deleted"),
        };
        let issue = if action == "deleted" {
            memory.issues.remove(place)
        } else {
            let issue = &mut memory.issues[place];
            issue["state"] = json!(state);
            issue["state_reason"] = reason;
            issue["closed_at"] = if state == "closed" { json!(now) } else { Value::Null };
            issue["updated_at"] = json!(now);
            issue.clone()
        };
        let full_name = self.name(&issue);
        let full_name = full_name.split('#').next().unwrap_or_default();
        let body = json!({
            "action": action,
            "issue": issue,
            "repository": {"id": 1, "full_name": full_name},
            "sender": {"login": "somebody"},
        });
        Ok(webhook::Event {
            path: "/webhooks/github",
            signature: "X-Hub-Signature-256",
            headers: vec![("X-GitHub-Event", "issues".to_owned()), ("X-GitHub-Delivery", delivery)],
            body,
        })
    }
}

fn refusal(status: StatusCode, message: &str) -> (StatusCode, Value) {
    (status, json!({"message": message, "documentation_url": "https://docs.github.com/rest"}))
}

fn not_found() -> (StatusCode, Value) {
    refusal(StatusCode::NOT_FOUND, "Not Found")
}

fn invalid(field: &str, message: &str) -> (StatusCode, Value) {
    let (status, mut body) = refusal(StatusCode::UNPROCESSABLE_ENTITY, "Validation Failed");
    body["errors"] = json!([{"resource": "Issue", "field": field, "code": "invalid", "message": message}]);
    (status, body)
}

impl StandIn for GitHub {
    const NAME: &'static str = "GitHub";

    fn answer(&self, call: &Call) -> Response {
        let (Ok((status, body)) | Err((status, body))) = self.outcome(call);
        stand_in::json(status, body)
    }

    fn memory(&self) -> &dyn Kept {
        &self.memory
    }

    fn idempotency_key(&self, call: &Call) -> Option<String> {
        let body = call.json()?["body"].as_str()?;
        let marked = |line: &str| Some(line.strip_prefix("<!-- harmony-")?.strip_suffix(" -->")?.to_owned());
        body.lines().find_map(marked)
    }

    fn state(&self) -> Value {
        json!({"issues": self.memory.lock().issues})
    }

    fn page(&self, call: &Call) -> Option<Response> {
        let parts = call.parts();
        let [owner, name, "issues", number] = parts.as_slice() else { return None };
        let wanted = format!("{owner}/{name}#{number}");
        let memory = self.memory.lock();
        let issue = memory.issues.iter().find(|issue| self.name(issue) == wanted)?;
        let text = |name: &str| escaped(issue[name].as_str().unwrap_or_default());
        let inside =
            format!("<p><span class=\"tag\">{}</span></p><pre>{}</pre>", text("state"), text("body"));
        Some(overview::document(
            &format!("{wanted} {}", issue["title"].as_str().unwrap_or_default()),
            &inside,
        ))
    }

    fn overview(&self) -> String {
        let memory = self.memory.lock();
        if memory.issues.is_empty() {
            return "<p class=\"muted\">No issues yet.</p>".to_owned();
        }
        let line = |issue: &Value| {
            let text = |name: &str| escaped(issue[name].as_str().unwrap_or_default());
            format!(
                "<article><a href=\"{}\">{}</a> {} <small>{}</small></article>",
                text("html_url"),
                escaped(&self.name(issue)),
                text("title"),
                text("state")
            )
        };
        memory.issues.iter().map(line).collect()
    }

    fn failure(&self, status: StatusCode) -> Response {
        let (status, body) = refusal(status, status.canonical_reason().unwrap_or_default());
        stand_in::json(status, body)
    }

    /// 80 requests a minute that make something, of which each counts for five of the 900 points a minute.
    fn rate(&self, call: &Call) -> Option<Rate> {
        (call.method == axum::http::Method::POST).then(|| Rate::per_minute(80))
    }

    fn limited_as(&self, call: &Call) -> String {
        if call.method == axum::http::Method::POST { "content".to_owned() } else { String::new() }
    }

    fn rate_limited(&self, retry_after_seconds: u64) -> Response {
        let (status, body) = refusal(StatusCode::FORBIDDEN, "You have exceeded a secondary rate limit.");
        stand_in::with_retry_after(stand_in::json(status, body), retry_after_seconds)
    }

    fn inspection(self: Arc<Self>) -> Router {
        Router::new().route("/_sandbox/github/issue", post(move_issue)).with_state(self)
    }
}

async fn move_issue(State(github): State<Arc<GitHub>>, body: String) -> Response {
    let moved = |order: &Move| github.moved(order);
    webhook::move_issue(&github.harmony_url, &github.webhook_secret, &body, moved).await
}

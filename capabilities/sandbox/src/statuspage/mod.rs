//! Statuspage v1 under `/v1`.
//!
//! Any key of the form `OAuth …` is valid, any page exists, and so does any component: it is
//! made when it is first named. There is no recognition of repeated requests, as at the
//! vendor: the same create twice is two incidents.

mod answer;
mod components;
mod incidents;
mod post_mortem;

use axum::http::{StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use crate::call::Call;
use crate::limits::Rate;
use crate::overview::escaped;
use crate::spec::Spec;
use crate::stand_in::{self, Kept, Memory, StandIn};

use answer::{Outcome, Refusal};
use incidents::StatuspageMemory;

/// The Statuspage stand-in.
pub(crate) struct Statuspage {
    origin: String,
    memory: Memory<StatuspageMemory>,
    spec: Spec,
}

impl Statuspage {
    pub(crate) fn new(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            memory: Memory::default(),
            spec: Spec::new(include_str!("../../specs/statuspage.json")),
        }
    }

    fn outcome(&self, call: &Call) -> Outcome {
        authorise(call)?;
        let parts = call.parts();
        let ["v1", "pages", page, rest @ ..] = parts.as_slice() else {
            return Err(Refusal::not_found());
        };
        let mut memory = self.memory.lock();
        let memory = &mut *memory;
        match (call.method.as_str(), rest) {
            ("GET", []) => Ok((StatusCode::OK, json!({"id": page, "name": page}))),
            ("POST", ["incidents"]) => {
                let draft = self.written(call, "incidents", "incident")?;
                incidents::create(memory, &self.origin, page, draft)
            }
            ("GET", ["incidents"]) => {
                self.check_query(call, "incidents")?;
                incidents::list(memory, page, call, false)
            }
            ("GET", ["incidents", "unresolved"]) => {
                self.check_query(call, "incidents/unresolved")?;
                incidents::list(memory, page, call, true)
            }
            ("GET", ["incidents", id]) => incidents::get(memory, page, id),
            ("PATCH" | "PUT", ["incidents", id]) => {
                let change = self.written(call, "incidents/{incident_id}", "incident")?;
                incidents::update(memory, page, id, change)
            }
            ("GET", ["incidents", id, "postmortem"]) => post_mortem::get(memory, page, id),
            ("PUT", ["incidents", id, "postmortem"]) => {
                let template = "incidents/{incident_id}/postmortem";
                let draft = self.written(call, template, "postmortem")?;
                post_mortem::put(memory, page, id, draft)
            }
            ("PUT", ["incidents", id, "postmortem", "publish"]) => {
                let template = "incidents/{incident_id}/postmortem/publish";
                let options = self.written(call, template, "postmortem")?;
                post_mortem::publish(memory, page, id, options)
            }
            ("GET", ["components"]) => {
                self.check_query(call, "components")?;
                Ok(components::list(memory, page, call))
            }
            ("GET", ["components", id]) => components::get(memory, page, id),
            ("PATCH" | "PUT", ["components", id]) => {
                let change = self.written(call, "components/{component_id}", "component")?;
                components::update(memory, page, id, change)
            }
            _ => Err(Refusal::not_found()),
        }
    }

    /// The inside of the checked body of a request that writes.
    fn written<'c>(&self, call: &'c Call, template: &str, name: &str) -> Result<&'c Value, Refusal> {
        let inside = call
            .json()
            .and_then(|body| body.get(name))
            .filter(|inside| inside.is_object())
            .ok_or_else(|| Refusal::missing(name))?;
        // PUT and PATCH are the same operation, described once.
        let verbs = [call.method.as_str(), "PATCH"];
        let template = format!("/pages/{{page_id}}/{template}");
        let body = call.json().unwrap_or(&Value::Null);
        let violations = verbs
            .iter()
            .map(|verb| self.spec.check_body(verb, &template, body))
            .find(|violations| !violations.is_empty())
            .unwrap_or_default();
        Refusal::of(&violations).map_or(Ok(inside), Err)
    }

    fn check_query(&self, call: &Call, template: &str) -> Result<(), Refusal> {
        let template = format!("/pages/{{page_id}}/{template}");
        let violations = self.spec.check_query("GET", &template, &call.query);
        Refusal::of_query(&violations).map_or(Ok(()), Err)
    }
}

impl StandIn for Statuspage {
    const NAME: &'static str = "Statuspage";

    fn answer(&self, call: &Call) -> Response {
        answer::response(self.outcome(call))
    }

    fn memory(&self) -> &dyn Kept {
        &self.memory
    }

    fn idempotency_key(&self, call: &Call) -> Option<String> {
        let metadata = &call.json()?["incident"]["metadata"]["harmony"];
        metadata["idempotency_key"].as_str().map(str::to_owned)
    }

    fn state(&self) -> Value {
        let memory = self.memory.lock();
        json!({
            "incidents": memory.incidents,
            "components": memory.components,
            "postmortems": memory.post_mortems,
        })
    }

    fn overview(&self) -> String {
        let memory = self.memory.lock();
        if memory.incidents.is_empty() {
            return "<p class=\"muted\">No incidents reported.</p>".to_owned();
        }
        let text = |value: &Value| escaped(value.as_str().unwrap_or_default());
        let update = |update: &Value| {
            format!(
                "<pre><b>{}</b> {}</pre><small>{}</small>",
                text(&update["status"]),
                text(&update["body"]),
                text(&update["created_at"])
            )
        };
        let incident = |incident: &Value| {
            let updates = incident["incident_updates"].as_array().into_iter().flatten();
            format!(
                "<article><span class=\"tag\">{}</span><span class=\"tag\">{}</span><b>{}</b>{}</article>",
                text(&incident["status"]),
                text(&incident["impact"]),
                text(&incident["name"]),
                updates.map(update).collect::<String>()
            )
        };
        memory.incidents.iter().rev().map(incident).collect()
    }

    fn failure(&self, status: StatusCode) -> Response {
        answer::response(Err(Refusal::with_status(status)))
    }

    /// 420, which is what this vendor answers.
    /// One a second for a token, counted over a minute.
    fn rate(&self, _call: &Call) -> Option<Rate> {
        Some(Rate::per_minute(60))
    }

    fn rate_limited(&self, retry_after_seconds: u64) -> Response {
        let status = StatusCode::from_u16(420).unwrap_or(StatusCode::TOO_MANY_REQUESTS);
        stand_in::with_retry_after(self.failure(status), retry_after_seconds)
    }
}

fn authorise(call: &Call) -> Result<(), Refusal> {
    call.header(header::AUTHORIZATION.as_str())
        .and_then(|value| value.strip_prefix("OAuth "))
        .filter(|key| !key.trim().is_empty())
        .map(|_| ())
        .ok_or_else(|| Refusal::with_status(StatusCode::UNAUTHORIZED))
}

//! PagerDuty: REST v2 at the origin, Events v2 under `/v2`.
//!
//! Any key of the form `Token token=…` is valid, any service exists. Requests that write need
//! `From`. A second open incident with the same `incident_key` on a service is refused; an
//! event with the `dedup_key` of an open incident joins it.

mod answer;
mod directory;
mod events;
mod incidents;

use axum::http::{StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use crate::call::Call;
use crate::limits::Rate;
use crate::overview::escaped;
use crate::spec::Spec;
use crate::stand_in::{self, Kept, Memory, StandIn};

use answer::{Outcome, Refusal};
use incidents::PagerDutyMemory;

const MEDIA_TYPE: &str = "application/vnd.pagerduty+json";

/// The PagerDuty stand-in.
pub(crate) struct PagerDuty {
    origin: String,
    memory: Memory<PagerDutyMemory>,
    rest: Spec,
    events: Spec,
}

impl PagerDuty {
    pub(crate) fn new(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            memory: Memory::default(),
            rest: Spec::new(include_str!("../../specs/pagerduty.json")),
            events: Spec::new(include_str!("../../specs/pagerduty-events-v2.json")),
        }
    }

    fn rest_answer(&self, call: &Call) -> Outcome {
        authorise(call)?;
        let mut memory = self.memory.lock();
        let parts = call.parts();
        let method = call.method.as_str();
        let origin = self.origin.as_str();
        match (method, parts.as_slice()) {
            ("POST", ["incidents"]) => {
                let (body, from) = self.written(call, "/incidents")?;
                incidents::create(&mut memory, origin, &body["incident"], from)
            }
            ("GET", ["incidents"]) => {
                self.check_query(call, "/incidents")?;
                incidents::list(&memory, call)
            }
            ("PUT", ["incidents"]) => {
                let (body, from) = self.written(call, "/incidents")?;
                incidents::update_many(&mut memory, &body["incidents"], from)
            }
            ("GET", ["incidents", id]) => incidents::get(&memory, id),
            ("PUT", ["incidents", id]) => {
                let (body, from) = self.written(call, "/incidents/{id}")?;
                incidents::update(&mut memory, id, &body["incident"], from)
            }
            ("POST", ["incidents", id, "notes"]) => {
                let (body, from) = self.written(call, "/incidents/{id}/notes")?;
                incidents::add_note(&mut memory, id, &body["note"], from)
            }
            ("GET", ["incidents", id, "notes"]) => incidents::notes(&memory, id),
            ("POST", ["incidents", id, "status_updates"]) => {
                let (body, from) = self.written(call, "/incidents/{id}/status_updates")?;
                incidents::add_status_update(&mut memory, id, body, from)
            }
            ("GET", ["services", id]) => directory::service(origin, id),
            ("GET", ["oncalls"]) => {
                self.check_query(call, "/oncalls")?;
                Ok(directory::on_calls(origin, call))
            }
            ("GET", ["escalation_policies"]) => Ok(directory::escalation_policies(origin)),
            ("GET", ["users", "me"]) => Ok(directory::me(origin)),
            _ => Err(Refusal::not_found()),
        }
    }

    /// The checked body of a request that writes, and who sent it.
    fn written<'c>(&self, call: &'c Call, template: &str) -> Result<(&'c Value, &'c str), Refusal> {
        let from = call
            .header("from")
            .filter(|from| from.contains('@'))
            .ok_or_else(|| Refusal::invalid("From header must hold a user's e-mail address"))?;
        let body = call.json().ok_or_else(|| Refusal::invalid("The body must be JSON"))?;
        let violations = self.rest.check_body(call.method.as_str(), template, body);
        Refusal::of(&violations).map_or(Ok((body, from)), Err)
    }

    fn check_query(&self, call: &Call, template: &str) -> Result<(), Refusal> {
        let violations = self.rest.check_query("GET", template, &call.query);
        Refusal::of(&violations).map_or(Ok(()), Err)
    }
}

impl StandIn for PagerDuty {
    const NAME: &'static str = "PagerDuty";

    fn answer(&self, call: &Call) -> Response {
        match (call.method.as_str(), call.parts().as_slice()) {
            ("POST", ["v2", "enqueue"]) => {
                events::enqueue(&mut self.memory.lock(), &self.events, &self.origin, call)
            }
            _ => answer::response(self.rest_answer(call)),
        }
    }

    fn memory(&self) -> &dyn Kept {
        &self.memory
    }

    fn idempotency_key(&self, call: &Call) -> Option<String> {
        let body = call.json()?;
        body["incident"]["incident_key"].as_str().or_else(|| body["dedup_key"].as_str()).map(str::to_owned)
    }

    fn state(&self) -> Value {
        let memory = self.memory.lock();
        json!({
            "incidents": memory.incidents,
            "notes": memory.notes,
            "statusUpdates": memory.status_updates,
        })
    }

    fn overview(&self) -> String {
        let memory = self.memory.lock();
        if memory.incidents.is_empty() {
            return "<p class=\"muted\">No incidents yet.</p>".to_owned();
        }
        let text = |value: &Value| escaped(value.as_str().unwrap_or_default());
        let incident = |incident: &Value| {
            let notes: String = memory
                .notes_of(incident["id"].as_str().unwrap_or_default())
                .map(|note| format!("<pre>{}</pre>", text(&note["content"])))
                .collect();
            format!(
                "<article><span class=\"tag\">{}</span><span class=\"tag\">{}</span>\
                 <b>#{} {}</b><div><small>{} on {}</small></div>{notes}</article>",
                text(&incident["status"]),
                text(&incident["urgency"]),
                incident["incident_number"],
                text(&incident["title"]),
                text(&incident["incident_key"]),
                text(&incident["service"]["id"]),
            )
        };
        memory.incidents.iter().rev().map(incident).collect()
    }

    fn failure(&self, status: StatusCode) -> Response {
        answer::response(Err(Refusal::with_status(status)))
    }

    /// Events and the REST API count apart.
    fn limited_as(&self, call: &Call) -> String {
        if is_event(call) { "events" } else { "rest" }.to_owned()
    }

    fn rate(&self, call: &Call) -> Option<Rate> {
        Some(Rate::per_minute(if is_event(call) { 120 } else { 960 }))
    }

    fn rate_limited(&self, retry_after_seconds: u64) -> Response {
        let refusal = self.failure(StatusCode::TOO_MANY_REQUESTS);
        let mut response = stand_in::with_retry_after(refusal, retry_after_seconds);
        response.headers_mut().insert("ratelimit-reset", retry_after_seconds.into());
        response
    }
}

fn is_event(call: &Call) -> bool {
    call.path == "/v2/enqueue"
}

fn authorise(call: &Call) -> Result<(), Refusal> {
    let token = call
        .header(header::AUTHORIZATION.as_str())
        .and_then(|value| value.strip_prefix("Token token="))
        .filter(|token| !token.is_empty() && !token.contains(char::is_whitespace));
    if token.is_none() {
        return Err(Refusal::with_status(StatusCode::UNAUTHORIZED));
    }
    let accept = call.header(header::ACCEPT.as_str()).unwrap_or_default();
    if !accept.contains(MEDIA_TYPE) || !accept.replace(' ', "").contains("version=2") {
        return Err(Refusal::invalid("Accept header must be application/vnd.pagerduty+json;version=2"));
    }
    Ok(())
}

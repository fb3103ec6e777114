//! Confluence Cloud: REST v2 under `/wiki/api/v2`, the v1 operation that writes labels, and
//! the pages themselves at the addresses in `_links.webui`.
//!
//! Any Basic or Bearer credentials are valid and any space key exists, with an id that
//! follows from the key. Titles are unique within a space; versions rise by one.

mod answer;
mod labels;
mod memory;
mod pages;
mod properties;
mod spaces;
mod web;

use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use crate::call::Call;
use crate::limits::Rate;
use crate::spec::Spec;
use crate::stand_in::{self, Kept, Memory, StandIn};

use answer::{Outcome, Refusal};
use memory::ConfluenceMemory;

/// The largest body Confluence takes.
const LARGEST_BODY_BYTES: usize = 5 * 1024 * 1024;

/// The key of the page property that says whose page it is.
const OWNER_PROPERTY: &str = "harmony-owner";

/// The Confluence stand-in.
pub(crate) struct Confluence {
    /// `_links.base`.
    base: String,
    memory: Memory<ConfluenceMemory>,
    spec: Spec,
}

impl Confluence {
    pub(crate) fn new(origin: &str) -> Self {
        Self {
            base: format!("{origin}/wiki"),
            memory: Memory::default(),
            spec: Spec::new(include_str!("../../specs/confluence.json")),
        }
    }

    fn outcome(&self, call: &Call) -> Outcome {
        authorise(call)?;
        if call.body_bytes > LARGEST_BODY_BYTES {
            return Err(Refusal::with_status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        let parts = call.parts();
        let base = self.base.as_str();
        if let ["wiki", "rest", "api", "content", id, "label"] = parts.as_slice()
            && call.method == Method::POST
        {
            let body = self.written(call, "/content/{id}/label")?;
            return labels::add(&mut self.memory.lock(), id, body);
        }
        let ["wiki", "api", "v2", rest @ ..] = parts.as_slice() else {
            return Err(Refusal::not_found());
        };
        let mut memory = self.memory.lock();
        let memory = &mut *memory;
        match (call.method.as_str(), rest) {
            ("GET", ["spaces"]) => {
                self.check_query(call, "/spaces")?;
                Ok(spaces::list(memory, base, call))
            }
            ("GET", ["spaces", id]) => spaces::get(memory, base, id),
            ("POST", ["pages"]) => pages::create(memory, base, self.written(call, "/pages")?),
            ("GET", ["pages"]) => {
                self.check_query(call, "/pages")?;
                pages::list(memory, base, call)
            }
            ("GET", ["pages", id]) => {
                self.check_query(call, "/pages/{id}")?;
                pages::get(memory, base, id, call)
            }
            ("PUT", ["pages", id]) => pages::update(memory, base, id, self.written(call, "/pages/{id}")?),
            ("GET", ["pages", id, "labels"]) => {
                self.check_query(call, "/pages/{id}/labels")?;
                labels::list(memory, base, id, call)
            }
            ("GET", ["pages", id, "properties"]) => {
                self.check_query(call, "/pages/{page-id}/properties")?;
                properties::list(memory, base, id, call)
            }
            ("POST", ["pages", id, "properties"]) => {
                let draft = self.written(call, "/pages/{page-id}/properties")?;
                properties::create(memory, id, draft)
            }
            ("GET", ["pages", id, "properties", property]) => properties::get(memory, id, property),
            ("PUT", ["pages", id, "properties", property]) => {
                let template = "/pages/{page-id}/properties/{property-id}";
                let change = self.written(call, template)?;
                properties::update(memory, id, property, change)
            }
            _ => Err(Refusal::not_found()),
        }
    }

    fn written<'c>(&self, call: &'c Call, template: &str) -> Result<&'c Value, Refusal> {
        let body = call.json().ok_or_else(|| Refusal::invalid("The body must be JSON"))?;
        let violations = self.spec.check_body(call.method.as_str(), template, body);
        Refusal::of(&violations).map_or(Ok(body), Err)
    }

    fn check_query(&self, call: &Call, template: &str) -> Result<(), Refusal> {
        let violations = self.spec.check_query("GET", template, &call.query);
        Refusal::of(&violations).map_or(Ok(()), Err)
    }
}

impl StandIn for Confluence {
    const NAME: &'static str = "Confluence";

    fn answer(&self, call: &Call) -> Response {
        answer::response(self.outcome(call))
    }

    fn page(&self, call: &Call) -> Option<Response> {
        match call.parts().as_slice() {
            ["wiki", "spaces", _, "pages", id, ..] => Some(web::page(&self.memory.lock(), id)),
            _ => None,
        }
    }

    fn memory(&self) -> &dyn Kept {
        &self.memory
    }

    fn idempotency_key(&self, call: &Call) -> Option<String> {
        let body = call.json()?;
        if body["key"] != OWNER_PROPERTY {
            return None;
        }
        let value = &body["value"];
        value["key"].as_str().or_else(|| value.as_str()).map(str::to_owned)
    }

    fn state(&self) -> Value {
        json!({"pages": self.memory.lock().to_json(&self.base)})
    }

    fn overview(&self) -> String {
        web::overview(&self.memory.lock())
    }

    fn failure(&self, status: StatusCode) -> Response {
        answer::response(Err(Refusal::with_status(status)))
    }

    /// Counted in points that depend on what is asked; there is no number to keep.
    fn rate(&self, _call: &Call) -> Option<Rate> {
        None
    }

    fn rate_limited(&self, retry_after_seconds: u64) -> Response {
        let refusal = self.failure(StatusCode::TOO_MANY_REQUESTS);
        stand_in::with_retry_after(refusal, retry_after_seconds)
    }
}

fn authorise(call: &Call) -> Result<(), Refusal> {
    let value = call.header(header::AUTHORIZATION.as_str());
    let (scheme, credentials) = value.and_then(|value| value.split_once(' ')).unwrap_or_default();
    let is_known = scheme.eq_ignore_ascii_case("basic") || scheme.eq_ignore_ascii_case("bearer");
    if is_known && !credentials.trim().is_empty() {
        return Ok(());
    }
    Err(Refusal::with_status(StatusCode::UNAUTHORIZED))
}

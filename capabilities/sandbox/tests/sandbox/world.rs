//! A running sandbox and clients that speak each vendor's headers. Every vendor answer is
//! held against the closed schema of its operation, so an invented field fails the test.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use harmony_sandbox::{Sandbox, SandboxOptions};
use jsonschema::Validator;
use reqwest::{Client, Method, RequestBuilder};
use secrecy::SecretString;
use serde_json::{Value, json};

pub(crate) const SIGNING_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";

pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) http: Client,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Vendor {
    Slack,
    PagerDuty,
    Statuspage,
    Confluence,
    Jira,
    GitHub,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with_memory(None).await
    }

    /// One that goes on from what is kept in a folder.
    pub(crate) async fn with_memory(memory: Option<PathBuf>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options =
            SandboxOptions { memory, ..SandboxOptions::on_free_ports(SecretString::from(SIGNING_SECRET)) };
        Self {
            sandbox: Sandbox::start(options).await.unwrap(),
            http: Client::builder().no_proxy().build().unwrap(),
        }
    }

    pub(crate) fn origin(&self, vendor: Vendor) -> String {
        let origins = self.sandbox.origins();
        match vendor {
            Vendor::Slack => origins.slack,
            Vendor::PagerDuty => origins.pagerduty,
            Vendor::Statuspage => origins.statuspage,
            Vendor::Confluence => origins.confluence,
            Vendor::Jira => origins.jira,
            Vendor::GitHub => origins.github,
        }
    }

    /// A request with the vendor's headers; `path` follows the base address.
    pub(crate) fn request(&self, vendor: Vendor, method: Method, path: &str) -> RequestBuilder {
        let bases = self.sandbox.base_urls();
        match vendor {
            Vendor::Slack => {
                self.http.request(method, format!("{}{path}", bases.slack)).bearer_auth("xoxb-1")
            }
            Vendor::PagerDuty => self
                .http
                .request(method, format!("{}{path}", bases.pagerduty))
                .header("Authorization", "Token token=key")
                .header("Accept", "application/vnd.pagerduty+json;version=2")
                .header("From", "harmony@example.com"),
            Vendor::Statuspage => self
                .http
                .request(method, format!("{}{path}", bases.statuspage))
                .header("Authorization", "OAuth key"),
            Vendor::Confluence => self
                .http
                .request(method, format!("{}{path}", bases.confluence))
                .basic_auth("harmony@example.com", Some("token")),
            Vendor::Jira => self
                .http
                .request(method, format!("{}{path}", bases.jira))
                .basic_auth("harmony@example.com", Some("token")),
            Vendor::GitHub => {
                self.http.request(method, format!("{}{path}", bases.github)).bearer_auth("token")
            }
        }
    }

    /// Sends, and checks the answer against the operation's schema.
    pub(crate) async fn call(
        &self,
        vendor: Vendor,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let mut request = self.request(vendor, method.clone(), path);
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = answer_of(request).await;
        check(vendor, &method, path, &answer);
        answer
    }

    pub(crate) async fn get(&self, vendor: Vendor, path: &str) -> Answer {
        self.call(vendor, Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, vendor: Vendor, path: &str, body: Value) -> Answer {
        self.call(vendor, Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, vendor: Vendor, path: &str, body: Value) -> Answer {
        self.call(vendor, Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, vendor: Vendor, path: &str, body: Value) -> Answer {
        self.call(vendor, Method::PATCH, path, Some(body)).await
    }

    /// A Slack method, by POST with JSON.
    pub(crate) async fn slack(&self, method: &str, arguments: Value) -> Value {
        let path = format!("/{method}");
        self.post(Vendor::Slack, &path, arguments).await.body
    }

    /// A channel of the bot's.
    pub(crate) async fn channel(&self, name: &str) -> String {
        let answer = self.slack("conversations.create", json!({"name": name})).await;
        answer["channel"]["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn state(&self, vendor: Vendor) -> Value {
        self.inspect(vendor, "state").await
    }

    pub(crate) async fn requests(&self, vendor: Vendor) -> Vec<Value> {
        let requests = self.inspect(vendor, "requests").await;
        requests.as_array().unwrap().clone()
    }

    pub(crate) async fn inspect(&self, vendor: Vendor, route: &str) -> Value {
        let url = format!("{}/_sandbox/{route}", self.origin(vendor));
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Orders a fault and gives back the status of the order.
    pub(crate) async fn order(&self, vendor: Vendor, fault: Value) -> Answer {
        let url = format!("{}/_sandbox/faults", self.origin(vendor));
        answer_of(self.http.post(url).json(&fault)).await
    }

    pub(crate) async fn click(&self, click: Value) -> Answer {
        self.person("click", click).await
    }

    /// What somebody in the workspace does.
    pub(crate) async fn person(&self, does: &str, body: Value) -> Answer {
        let url = format!("{}/_sandbox/slack/{does}", self.origin(Vendor::Slack));
        answer_of(self.http.post(url).json(&body)).await
    }
}

pub(crate) async fn answer_of(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer { status, body }
}

/// Panics where an answer is not what the operation's description allows.
pub(crate) fn check(vendor: Vendor, method: &Method, path: &str, answer: &Answer) {
    let (name, path) = match vendor {
        Vendor::Slack => ("slack", path),
        Vendor::PagerDuty => match path.strip_prefix("/v2/") {
            Some(rest) => ("pagerduty-events-v2", &path[path.len() - rest.len() - 1..]),
            None => ("pagerduty", path),
        },
        Vendor::Statuspage => ("statuspage", path),
        Vendor::Confluence => ("confluence", path),
        Vendor::Jira => ("jira", path),
        Vendor::GitHub => ("github", path),
    };
    let path = path.split('?').next().unwrap();
    let spec = &SPECS[name];
    let verbs = [method.as_str().to_lowercase(), "get".to_owned(), "post".to_owned()];
    let Some(template) = template(spec, path) else {
        assert!(answer.status == 404 || answer.body["error"] == "unknown_method");
        return;
    };
    let operations = &spec["paths"][&template];
    // Slack takes every method by POST, whatever the description says.
    let tried = if name == "slack" { 3 } else { 1 };
    let operation = verbs[..tried]
        .iter()
        .map(|verb| &operations[verb])
        .find(|operation| !operation.is_null())
        .unwrap_or_else(|| panic!("{method} {template} is not described"));
    if let Some(error) = answer.body["error"].as_str().filter(|_| name == "slack") {
        let known = [&operation["x-known-errors"], &spec["info"]["x-common-errors"]];
        let known = known.iter().filter_map(|list| list.as_array()).flatten();
        assert!(known.into_iter().any(|known| known == error), "{template}: {error}");
    }
    let responses = &operation["responses"];
    let mut response = &responses[answer.status.to_string()];
    if response.is_null() {
        response = &responses["5XX"];
    }
    assert!(
        !response.is_null(),
        "{name}: {method} {template} does not answer {} {}",
        answer.status,
        answer.body
    );
    if let Some(reference) = response["$ref"].as_str() {
        response = spec.pointer(reference.trim_start_matches('#')).unwrap();
    }
    let schema = &response["content"]["application/json"]["schema"];
    if schema.is_null() {
        return;
    }
    let validator = validator(spec, schema);
    let errors: Vec<String> = validator
        .iter_errors(&answer.body)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{name}: {method} {template} {}: {errors:#?}\n{}", answer.status, answer.body);
}

fn template(spec: &Value, path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').collect();
    let fits = |template: &&String| {
        let pattern: Vec<&str> = template.split('/').collect();
        pattern.len() == parts.len()
            && pattern.iter().zip(&parts).all(|(want, have)| want.starts_with('{') || want == have)
    };
    let templates = spec["paths"].as_object().unwrap().keys();
    let variables = |template: &&String| template.matches('{').count();
    templates.filter(fits).min_by_key(variables).cloned()
}

fn validator(spec: &Value, schema: &Value) -> Arc<Validator> {
    static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let key = format!("{}{schema}", spec["info"]["title"]);
    let mut validators = VALIDATORS.lock().unwrap_or_else(|error| error.into_inner());
    let build = || {
        let mut schema = schema.clone();
        schema["components"] = spec["components"].clone();
        let options = jsonschema::draft202012::options().should_validate_formats(true);
        Arc::new(options.build(&schema).unwrap())
    };
    Arc::clone(validators.entry(key).or_insert_with(build))
}

static SPECS: LazyLock<HashMap<&str, Value>> = LazyLock::new(|| {
    let read = |text: &str| serde_json::from_str(text).unwrap();
    HashMap::from([
        ("slack", read(include_str!("../../specs/slack.json"))),
        ("pagerduty", read(include_str!("../../specs/pagerduty.json"))),
        ("pagerduty-events-v2", read(include_str!("../../specs/pagerduty-events-v2.json"))),
        ("statuspage", read(include_str!("../../specs/statuspage.json"))),
        ("confluence", read(include_str!("../../specs/confluence.json"))),
        ("jira", read(include_str!("../../specs/jira.json"))),
        ("github", read(include_str!("../../specs/github.json"))),
    ])
});

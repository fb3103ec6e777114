//! The HTTP client of the client commands.
//!
//! One Idempotency-Key per invocation, sent with every try of its own, so that a try whose answer was lost does nothing
//! a second time. An error document becomes one line of what and one of what to do.

use std::time::Duration;

use anyhow::Context;
use reqwest::{Method, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use crate::{
    commands::incident_args::CommandArgs,
    config::Config,
    failure::{Exit, Failure, innermost},
};

/// How often a request is sent when nobody answers.
const TRIES: u32 = 3;
/// The API answers within 3 s; verifying a long log takes longer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The API of one organisation, as one principal.
pub(crate) struct Api {
    http: reqwest::Client,
    origin: Url,
    token: Option<SecretString>,
    org: String,
    key: String,
    /// The last record that this command is given after.
    if_match: Option<u64>,
}

/// What the API answered.
#[derive(Debug)]
pub(crate) struct Reply {
    /// JSON, or null where there is none.
    pub(crate) body: Value,
}

impl Api {
    /// The API that the configuration or the data directory names.
    pub(crate) fn open(config: &Config, idempotency_key: Option<String>) -> anyhow::Result<Self> {
        let origin = config.api_origin()?.ok_or_else(|| {
            Failure::failed(
                format!(
                    "no API is known: HARMONY_API is not set and {} does not exist",
                    config.in_data_dir("api").display()
                ),
                "start `harmony dev` or `harmony serve`, or set HARMONY_API",
            )
        })?;
        Self::at(origin, config.token()?, config.org.to_string(), idempotency_key)
    }

    /// The same for a command on an incident.
    pub(crate) fn for_command(config: &Config, args: &CommandArgs) -> anyhow::Result<Self> {
        let api = Self::open(config, args.once.idempotency_key.clone())?;
        Ok(Self { if_match: args.if_match, ..api })
    }

    /// The API at this address.
    pub(crate) fn at(
        origin: Url,
        token: Option<SecretString>,
        org: String,
        idempotency_key: Option<String>,
    ) -> anyhow::Result<Self> {
        let http = harmony_capabilities::address::builder(origin.as_str())
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .context("no HTTP client")?;
        let key = idempotency_key.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        Ok(Self { http, origin, token, org, key, if_match: None })
    }

    /// Reads. Segments are below `/api/orgs/{org}` and encoded here.
    pub(crate) async fn get(&self, segments: &[&str], query: &[(&str, String)]) -> anyhow::Result<Value> {
        let mut url = self.url(segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(self.send(Method::GET, url, segments, None).await?.body)
    }

    /// Reads something that is no JSON document, such as an export.
    pub(crate) async fn get_text(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> anyhow::Result<String> {
        let mut url = self.url(segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let answer = self.answer(&Method::GET, &url, None).await?;
        let status = answer.status();
        let text = answer.text().await.context("the API's answer broke off")?;
        if status.is_success() { Ok(text) } else { Err(problem(status, &parsed(&text), segments).into()) }
    }

    /// Reads a file as it is.
    pub(crate) async fn get_bytes(&self, segments: &[&str]) -> anyhow::Result<Vec<u8>> {
        let answer = self.answer(&Method::GET, &self.url(segments), None).await?;
        let status = answer.status();
        let bytes = answer.bytes().await.context("the API's answer broke off")?;
        if status.is_success() {
            return Ok(bytes.into());
        }
        Err(problem(status, &parsed(&String::from_utf8_lossy(&bytes)), segments).into())
    }

    /// Commands.
    pub(crate) async fn post(&self, segments: &[&str], body: &Value) -> anyhow::Result<Reply> {
        self.send(Method::POST, self.url(segments), segments, Some(body)).await
    }

    /// The API's origin, without a slash at its end.
    pub(crate) fn origin(&self) -> String {
        self.origin.as_str().trim_end_matches('/').to_owned()
    }

    /// Another key, for a program that sends more than one command.
    pub(crate) fn with_new_key(&self) -> Self {
        Self {
            http: self.http.clone(),
            origin: self.origin.clone(),
            token: self.token.clone(),
            org: self.org.clone(),
            key: uuid::Uuid::now_v7().to_string(),
            if_match: None,
        }
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.origin.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "orgs", &self.org]).extend(segments);
        }
        url
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        segments: &[&str],
        body: Option<&Value>,
    ) -> anyhow::Result<Reply> {
        let answer = self.answer(&method, &url, body).await?;
        let status = answer.status();
        let text = answer.text().await.context("the API's answer broke off")?;
        let body = parsed(&text);
        if status.is_success() { Ok(Reply { body }) } else { Err(problem(status, &body, segments).into()) }
    }

    async fn answer(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
    ) -> anyhow::Result<reqwest::Response> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut request = self.http.request(method.clone(), url.clone());
            if let Some(token) = &self.token {
                request = request.bearer_auth(token.expose_secret());
            }
            if let Some(body) = body {
                request = request.header("Idempotency-Key", &self.key).json(body);
                if let Some(seq) = self.if_match {
                    request = request.header(header::IF_MATCH, format!("\"{seq}\""));
                }
            }
            match request.send().await {
                Ok(answer) => return Ok(answer),
                Err(error) if tries < TRIES => {
                    tracing::debug!(%error, tries, "the API did not answer");
                    tokio::time::sleep(Duration::from_millis(300 * u64::from(tries))).await;
                }
                Err(error) => {
                    let failure = Failure::failed(
                        format!("the API does not answer at {}: {}", self.origin(), innermost(&error)),
                        "start `harmony dev` or `harmony serve`, or correct HARMONY_API",
                    );
                    return Err(failure.into());
                }
            }
        }
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text)
        .unwrap_or_else(|_| if text.is_empty() { Value::Null } else { Value::from(text) })
}

/// RFC 9457 to a failure, of a request for what these segments name.
fn problem(status: StatusCode, body: &Value, segments: &[&str]) -> Failure {
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let what = match (text("title"), text("detail")) {
        (_, Some(detail)) => detail.to_owned(),
        (Some(title), None) => title.to_owned(),
        (None, None) => format!("the API answered {status}"),
    };
    // The API's hints are for who writes a program; here a person typed a command.
    let hint = match (status.as_u16(), text("hint")) {
        (400 | 401 | 403 | 404 | 409 | 412 | 422, _) | (_, None) => {
            hint_for(status.as_u16(), segments).to_owned()
        }
        (_, Some(hint)) => hint.to_owned(),
    };
    Failure { exit: Exit::of_status(status.as_u16()), what, hint }
}

fn hint_for(status: u16, segments: &[&str]) -> &'static str {
    match (status, segments) {
        (404, ["services", ..]) => "check the id; `harmony service list` shows the services",
        (404, ["environments", ..]) => "check the id; `harmony environment list` shows the environments",
        (404, ["releases" | "runs", ..]) => "check the id; `harmony release list` shows the releases",
        (404, ["incidents", _, "changes"]) => {
            "check the ids; `harmony incident list` and `harmony release list` show what there is"
        }
        (409, ["services" | "environments" | "releases", ..]) => {
            "look at it again: `harmony service show`, `environment show` or `release show`"
        }
        _ => hint_for_any(status),
    }
}

fn hint_for_any(status: u16) -> &'static str {
    match status {
        400 | 422 => "correct what is named; --help shows what this command takes",
        401 => "set HARMONY_TOKEN to a token that the directory knows, or --data-dir to where one lies",
        403 => "ask somebody whose role allows it; the roles stand in directory.toml",
        404 => "check the id; `harmony incident list` shows the incidents",
        409 => "look at it again: `harmony incident show ID`",
        412 => {
            "look at it again: `harmony incident show ID`; then repeat the command, with the new --if-match or without"
        }
        429 => "wait a moment and try again",
        503 => "something that Harmony needs is away; try again, `harmony config check` shows the addresses",
        _ => "look at the server's log",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn error_documents_become_two_lines_and_an_exit_code() {
        for (status, body, code, what) in [
            (
                409,
                json!({"title": "Illegal", "detail": "CLOSED cannot become OPEN"}),
                3,
                "CLOSED cannot become OPEN",
            ),
            (404, json!({"title": "No such incident", "hint": "check the address"}), 4, "No such incident"),
            (422, json!({"detail": "title: missing"}), 2, "title: missing"),
            (502, json!("<html>"), 1, "the API answered 502 Bad Gateway"),
        ] {
            let failure = problem(StatusCode::from_u16(status).unwrap(), &body, &["incidents"]);
            assert_eq!((failure.exit.code(), failure.what.as_str()), (code, what));
            assert!(!failure.hint.is_empty() && failure.hint != "check the address", "{}", failure.hint);
        }
    }

    #[test]
    fn a_hint_names_the_list_of_what_was_asked_for() {
        for (segments, expected) in [
            (&["services", "svc-a"][..], "harmony service list"),
            (&["releases", "rel-1", "promote"], "harmony release list"),
            (&["incidents", "INC-2026-0001", "changes"], "harmony release list"),
            (&["incidents", "INC-2026-0001"], "harmony incident list"),
        ] {
            let failure = problem(StatusCode::NOT_FOUND, &json!({ "detail": "there is none" }), segments);
            assert!(failure.hint.contains(expected), "{}", failure.hint);
        }
    }

    #[test]
    fn ids_stay_one_segment() {
        crate::install_crypto();
        let origin = Url::parse("http://127.0.0.1:8088").unwrap();
        let api = Api::at(origin, None, "default".to_owned(), None).unwrap();
        let url = api.url(&["approvals", "incident.remediate-INC-2026-0001#1/approve"]);
        assert_eq!(url.path(), "/api/orgs/default/approvals/incident.remediate-INC-2026-0001%231%2Fapprove");
    }
}

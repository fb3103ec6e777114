//! GitHub, REST API (2022-11-28): the issue that a follow-up becomes.
//!
//! Limits: a refusal is a 403 or a 429, with `Retry-After`, or with `x-ratelimit-remaining: 0` and the time in
//! `x-ratelimit-reset` at which calls are taken again. A 403 with neither is a right that the token lacks.
//!
//! How a repeated call is recognised. GitHub has nothing for it. The text of an issue ends in a line that people do not
//! see, `<!-- harmony-<key> -->`, and the issue has the label `harmony`. Looked for is that line, among the issues of the
//! repository with that label since the follow-up was written. The label is what counts: anybody may write such a line
//! into an issue of a public repository, but only who may triage sets labels. The list shows what was made before it was
//! asked for.
//!
//! Vague at GitHub: whoever may not set labels gets the issue without them, and no error. Such an issue is told apart
//! ([`Issue::findable`]), since it would not be found again.

#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{ACCEPT, AUTHORIZATION, DATE};
use reqwest::{Method, RequestBuilder};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::address::AddressError;
use crate::error::{CallError, Fate};
use crate::tracker::{Issue, IssueDraft, LABEL, mark};
use crate::transport::{self, Answer, Operation, Transport};

const VENDOR: &str = "GitHub";
const VERSION: &str = "2022-11-28";
/// The longest page that GitHub gives.
const PAGE: usize = 100;
/// A thousand follow-ups since the one that is looked for.
const PAGES: usize = 10;

const CREATE: Operation = Operation::acts("issues.create");
const LIST: Operation = Operation::reads("issues.list-for-repo");
const REPOSITORY: Operation = Operation::reads("repos.get");

/// The issues of one repository.
#[derive(Clone, Debug)]
pub struct GitHub {
    transport: Transport,
    repository: Repository,
}

/// A repository: `owner/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    owner: String,
    name: String,
}

/// Not what GitHub calls a repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no repository: expected owner/name, such as acme/shop")]
pub struct UnknownRepository(String);

#[derive(Debug, Deserialize)]
struct Found {
    id: u64,
    number: u64,
    html_url: String,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    labels: Vec<Label>,
    /// The list has pull requests, too.
    #[serde(default)]
    pull_request: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Label {
    Name(String),
    Whole { name: Option<String> },
}

#[derive(Debug, Deserialize)]
struct About {
    full_name: String,
    has_issues: bool,
}

impl FromStr for Repository {
    type Err = UnknownRepository;
    fn from_str(text: &str) -> Result<Self, UnknownRepository> {
        let is_name = |name: &str| {
            let allowed = |one: char| one.is_ascii_alphanumeric() || matches!(one, '-' | '_' | '.');
            !name.is_empty() && name != "." && name != ".." && name.chars().all(allowed)
        };
        match text.split_once('/') {
            Some((owner, name)) if is_name(owner) && is_name(name) => {
                Ok(Self { owner: owner.to_owned(), name: name.to_owned() })
            }
            _ => Err(UnknownRepository(text.chars().take(100).collect())),
        }
    }
}

impl std::fmt::Display for Repository {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.owner, self.name)
    }
}

impl GitHub {
    /// Makes issues in this repository. The base URL is the API's: `https://api.github.com`, or
    /// `https://HOST/api/v3` of a GitHub Enterprise Server.
    pub fn new(base_url: &str, token: SecretString, repository: Repository) -> Result<Self, AddressError> {
        Ok(Self { transport: Transport::new(VENDOR, base_url, token)?, repository })
    }

    /// The same with another time limit for a request than [`crate::address::REQUEST_TIMEOUT`].
    pub fn with_limit(self, limit: Duration) -> Result<Self, AddressError> {
        Ok(Self { transport: self.transport.with_limit(limit)?, ..self })
    }

    /// Makes an issue with this key. Called twice it makes two: look with [`Self::find_issue`] where it may be there.
    pub async fn create_issue(&self, key: &Uuid, draft: &IssueDraft) -> Result<Issue, CallError> {
        let body = json!({ "title": draft.title(), "body": text(key, draft), "labels": [LABEL] });
        let created: Found = self.call(CREATE, self.to(Method::POST, &["issues"]).json(&body)).await?;
        Ok(self.issue(&created))
    }

    /// The issue with this key, if it was written to since then.
    pub async fn find_issue(&self, key: &Uuid, since: Timestamp) -> Result<Option<Issue>, CallError> {
        Ok(self.list(key, since).await?.first().map(|found| self.issue(found)))
    }

    /// How many issues with this key were written to since then.
    pub async fn count_issues(&self, key: &Uuid, since: Timestamp) -> Result<usize, CallError> {
        Ok(self.list(key, since).await?.len())
    }

    /// The name of the repository, where the token reaches it and it has issues.
    pub async fn find_repository(&self) -> Result<String, CallError> {
        let about: About = self.call(REPOSITORY, self.to(Method::GET, &[])).await?;
        if about.has_issues {
            return Ok(about.full_name);
        }
        let message = "issues are switched off in this repository";
        Err(self.transport.error(REPOSITORY, Fate::Rejected, None, message))
    }

    /// The oldest first.
    async fn list(&self, key: &Uuid, since: Timestamp) -> Result<Vec<Found>, CallError> {
        let mut ours = Vec::new();
        let since = since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let size = PAGE.to_string();
        for page in 1..=PAGES {
            let page = page.to_string();
            let request = self.to(Method::GET, &["issues"]).query(&[
                ("state", "all"),
                ("labels", LABEL),
                ("since", since.as_str()),
                ("sort", "created"),
                ("direction", "asc"),
                ("per_page", size.as_str()),
                ("page", page.as_str()),
            ]);
            let listed: Vec<Found> = self.call(LIST, request).await?;
            let is_last = listed.len() < PAGE;
            ours.extend(
                listed.into_iter().filter(|found| found.pull_request.is_none() && found.carries(key)),
            );
            if is_last {
                return Ok(ours);
            }
        }
        if ours.is_empty() {
            // Not to be taken for an answer: it may stand on a later page.
            let message = format!("there are more than {} issues to look through", PAGE * PAGES);
            return Err(self.transport.error(LIST, Fate::Unavailable, None, &message));
        }
        Ok(ours)
    }

    fn issue(&self, found: &Found) -> Issue {
        Issue {
            id: found.id.to_string(),
            name: format!("{}#{}", self.repository, found.number),
            url: found.html_url.clone(),
            findable: found.is_labelled(),
        }
    }

    fn to(&self, method: Method, below: &[&str]) -> RequestBuilder {
        let mut path = vec!["repos", &self.repository.owner, &self.repository.name];
        path.extend(below);
        let credentials = format!("Bearer {}", self.transport.secret());
        self.transport
            .http
            .request(method, self.transport.address.resource(&path))
            .header(ACCEPT, "application/vnd.github+json")
            .header("x-github-api-version", VERSION)
            .header(AUTHORIZATION, transport::sensitive(&credentials))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        request: RequestBuilder,
    ) -> Result<T, CallError> {
        let answer = self.transport.send(operation, request).await?;
        if answer.status.is_success() {
            return self.transport.json(operation, &answer);
        }
        let message = serde_json::from_slice(&answer.body).ok().and_then(|body| words(&body));
        if let Some(retry_after) = limited(&answer) {
            let message = message.unwrap_or_else(|| "too many requests".to_owned());
            let fate = Fate::Limited { retry_after };
            return Err(self.transport.error(operation, fate, Some(answer.status), &message));
        }
        Err(self.transport.refusal(operation, &answer, message))
    }
}

impl Found {
    fn carries(&self, key: &Uuid) -> bool {
        let line = marker(key);
        self.is_labelled() && self.body.as_deref().is_some_and(|body| body.lines().any(|one| one == line))
    }

    fn is_labelled(&self) -> bool {
        self.labels.iter().any(|label| match label {
            Label::Name(name) => name == LABEL,
            Label::Whole { name } => name.as_deref() == Some(LABEL),
        })
    }
}

/// A line that people do not see.
fn marker(key: &Uuid) -> String {
    format!("<!-- {} -->", mark(key))
}

/// Indented by four, lines are shown as they are: no mention, no reference, no markup, and none of them is our marker.
fn text(key: &Uuid, draft: &IssueDraft) -> String {
    let mut text: String = draft.text().iter().map(|line| format!("    {line}\n")).collect();
    if !draft.link.is_empty() {
        text.push_str(&format!("\n<{}>\n", draft.link));
    }
    text.push_str(&format!("\n{}\n", marker(key)));
    text
}

/// Whether this is a limit, and how long it lasts where GitHub says so. Its time is taken relative to the answer's own
/// date, since there is no clock here.
fn limited(answer: &Answer) -> Option<Option<Duration>> {
    if !matches!(answer.status.as_u16(), 403 | 429) {
        return None;
    }
    let header = |name: &str| answer.headers.get(name)?.to_str().ok();
    if let Some(wait) = transport::retry_after(&answer.headers) {
        return Some(Some(wait));
    }
    if header("x-ratelimit-remaining").is_some_and(|left| left.trim() == "0") {
        let until = header("x-ratelimit-reset")
            .and_then(|text| text.trim().parse().ok())
            .and_then(|seconds| Timestamp::from_second(seconds).ok());
        let sent = header(DATE.as_str()).and_then(|text| DateTimeParser::new().parse_timestamp(text).ok());
        let wait = until.zip(sent).map(|(until, sent)| until.duration_since(sent));
        return Some(wait.map(|wait| Duration::try_from(wait).unwrap_or(Duration::ZERO)));
    }
    (answer.status.as_u16() == 429).then_some(None)
}

/// The message, and what is wrong with which field.
fn words(body: &Value) -> Option<String> {
    let message = body["message"].as_str()?;
    let details = body["errors"].as_array().into_iter().flatten().map(|error| match error.as_str() {
        Some(text) => text.to_owned(),
        None => {
            let word = |name: &str| error[name].as_str().unwrap_or_default();
            format!("{} {} {}", word("field"), word("code"), word("message")).trim().to_owned()
        }
    });
    let parts: Vec<String> = std::iter::once(message.to_owned()).chain(details).collect();
    Some(parts.join("; "))
}

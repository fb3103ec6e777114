//! Jira Cloud, REST API v3: the issue that a follow-up becomes.
//!
//! Limits: a refusal is a 429 with `Retry-After`, counted over all calls.
//!
//! How a repeated call is recognised. Jira has nothing for it. An issue carries our key as the label `harmony-<key>`, set
//! by the call that makes it, and is looked for by that label. (An issue property would hide the key from people, but is
//! searched only where an app has declared it, which a user's token cannot.) The search runs behind what was written,
//! usually by a second or two: an issue that it does not show may be there. So whoever looks after a call whose answer got
//! lost waits first, looks twice, and looks for a twin after making it again. What stays is an index that is later than
//! all of that.
//!
//! Vague at Jira: which fields a project's create screen takes. Only those that every project has are sent, and the
//! labels; without the field Labels on that screen Jira refuses the issue with a 400 that says so.

#[cfg(test)]
mod tests;

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::address::AddressError;
use crate::error::CallError;
use crate::tracker::{Issue, IssueDraft, LABEL, mark};
use crate::transport::{Operation, Transport};

const VENDOR: &str = "Jira";

const CREATE: Operation = Operation::acts("issue.create");
const SEARCH: Operation = Operation::reads("search.jql");
const PROJECT: Operation = Operation::reads("project.get");

/// A project of a site, as one user sees it.
#[derive(Clone, Debug)]
pub struct Jira {
    transport: Transport,
    email: String,
    project_key: String,
    issue_type: String,
}

#[derive(Debug, Deserialize)]
struct Found {
    id: String,
    key: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    #[serde(default)]
    issues: Vec<Found>,
}

#[derive(Debug, Deserialize)]
struct Project {
    key: String,
}

impl Jira {
    /// Makes issues of this type in this project. The base URL is the site's: `https://SITE.atlassian.net`.
    pub fn new(
        base_url: &str,
        email: impl Into<String>,
        api_token: SecretString,
        project_key: impl Into<String>,
        issue_type: impl Into<String>,
    ) -> Result<Self, AddressError> {
        Ok(Self {
            transport: Transport::new(VENDOR, base_url, api_token)?,
            email: email.into(),
            project_key: project_key.into(),
            issue_type: issue_type.into(),
        })
    }

    /// The same with another time limit for a request than [`crate::address::REQUEST_TIMEOUT`].
    pub fn with_limit(self, limit: Duration) -> Result<Self, AddressError> {
        Ok(Self { transport: self.transport.with_limit(limit)?, ..self })
    }

    /// Makes an issue with this key. Called twice it makes two: look with [`Self::find_issue`] where it may be there.
    pub async fn create_issue(&self, key: &Uuid, draft: &IssueDraft) -> Result<Issue, CallError> {
        let body = json!({ "fields": {
            "project": { "key": self.project_key },
            "issuetype": { "name": self.issue_type },
            "summary": draft.title(),
            "description": document(draft),
            "labels": [LABEL, mark(key)],
        } });
        let created: Found = self.call(CREATE, self.to(Method::POST, &["issue"]).json(&body)).await?;
        Ok(self.issue(created))
    }

    /// The issue with this key, where the search shows it.
    pub async fn find_issue(&self, key: &Uuid) -> Result<Option<Issue>, CallError> {
        Ok(self.search(key).await?.into_iter().next().map(|found| self.issue(found)))
    }

    /// How many issues with this key the search shows.
    pub async fn count_issues(&self, key: &Uuid) -> Result<usize, CallError> {
        Ok(self.search(key).await?.len())
    }

    /// The key of the project, where the user sees it.
    pub async fn find_project(&self) -> Result<String, CallError> {
        let project: Project =
            self.call(PROJECT, self.to(Method::GET, &["project", &self.project_key])).await?;
        Ok(project.key)
    }

    /// By what it is called: two are made in the order of their ids.
    async fn search(&self, key: &Uuid) -> Result<Vec<Found>, CallError> {
        let jql = format!("labels = \"{}\" ORDER BY created ASC", mark(key));
        let request = self.to(Method::GET, &["search", "jql"]).query(&[
            ("jql", jql.as_str()),
            ("fields", "labels"),
            ("maxResults", "50"),
        ]);
        let page: Page = self.call(SEARCH, request).await?;
        Ok(page.issues)
    }

    fn issue(&self, found: Found) -> Issue {
        let url = self.transport.address.resource(&["browse", &found.key]).to_string();
        Issue { id: found.id, name: found.key, url, findable: true }
    }

    fn to(&self, method: Method, below: &[&str]) -> RequestBuilder {
        let mut path = vec!["rest", "api", "3"];
        path.extend(below);
        let url = self.transport.address.resource(&path);
        self.transport.http.request(method, url).basic_auth(&self.email, Some(self.transport.secret()))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        request: RequestBuilder,
    ) -> Result<T, CallError> {
        self.transport.call(operation, request, words).await
    }
}

/// The text in Atlassian's document format, which has no markup in its texts.
fn document(draft: &IssueDraft) -> Value {
    let text = |text: &str| json!({ "type": "text", "text": text });
    let paragraph = |inside: Value| json!({ "type": "paragraph", "content": [inside] });
    let lines = draft.text();
    // An empty text is none that Jira takes.
    let mut content: Vec<Value> =
        lines.iter().filter(|line| !line.is_empty()).map(|line| paragraph(text(line))).collect();
    if !draft.link.is_empty() {
        let mut link = text(&draft.link);
        link["marks"] = json!([{ "type": "link", "attrs": { "href": draft.link } }]);
        content.push(paragraph(link));
    }
    json!({ "type": "doc", "version": 1, "content": content })
}

/// What Jira says about the whole, then about each field.
fn words(body: &Value) -> Option<String> {
    let all = body["errorMessages"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let fields = body["errors"].as_object().into_iter().flatten();
    let fields = fields.map(|(field, said)| format!("{field}: {}", said.as_str().unwrap_or_default()));
    let parts: Vec<String> = all.map(str::to_owned).chain(fields).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

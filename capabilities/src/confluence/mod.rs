//! Confluence Cloud, REST API v2 (labels: v1, since v2 cannot write them): the review page.
//!
//! Limits: a body of at most 5 MB (413). A refusal is a 429, which may carry `Retry-After`.
//!
//! How a repeated call is recognised. A title exists once in a space, archived pages included, so
//! a second creation is refused (400, by some accounts 409). The page found then is ours when its
//! property `harmony-owner` holds our key. As the property can only be written after the page, the
//! key also stands in the page itself, as the name of an invisible anchor after the last line,
//! together with a digest of the text: a page without the property but with the anchor is ours (we
//! crashed in between), and one whose anchor has another digest is ours with an older text and
//! gets the new one. Every other page of that title belongs to somebody, and the call is refused.
//!
//! Vague at Confluence: the form of its errors; whether it keeps a body as it was sent (it does
//! not always, hence the anchor rather than a comparison).

mod storage;

/// The address of a page without the words of its title, which Confluence puts behind the id and does not need: the
/// address goes on record, where nobody could take the title out again.
fn without_title<'a>(path: &'a str, id: &str) -> &'a str {
    let place = format!("/pages/{id}/");
    path.find(&place).map_or(path, |start| &path[..start + place.len() - 1])
}

#[cfg(test)]
mod tests;

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;
use uuid::Uuid;

pub use storage::markdown_to_storage;

use crate::address::{Address, AddressError};
use crate::error::{CallError, Fate};
use crate::transport::{Operation, Transport};

const VENDOR: &str = "Confluence";
/// Says whose page it is.
const OWNER: &str = "harmony-owner";
const V2: &str = "/api/v2";
const V1: &str = "/rest/api";

const CREATE: Operation = Operation::acts("pages.create");
const LIST: Operation = Operation::reads("pages.list");
const GET: Operation = Operation::reads("pages.get");
const UPDATE: Operation = Operation::acts("pages.update");
const SPACES: Operation = Operation::reads("spaces.list");
const GET_PROPERTY: Operation = Operation::reads("properties.list");
const SET_PROPERTY: Operation = Operation::acts("properties.create");
const ADD_LABELS: Operation = Operation::acts("labels.add");

/// A site, as one user sees it.
#[derive(Clone, Debug)]
pub struct Confluence {
    transport: Transport,
    /// The same site's v1.
    v1: Address,
    email: String,
}

/// The page that is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageDraft {
    /// The key of the space, as in its address.
    pub space_key: String,
    /// The page it stands below; without one, at the top of the space.
    pub parent_id: Option<String>,
    /// The same for every attempt, and of no other page in the space.
    pub title: String,
    /// The text in Confluence's storage format: see [`markdown_to_storage`].
    pub storage: String,
    /// Labels. What Confluence does not allow in one becomes `-`.
    pub labels: Vec<String>,
}

/// A page that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Confluence's id: a number.
    pub id: String,
    /// Where people read it.
    pub url: String,
    /// Counts from 1.
    pub version: u64,
}

#[derive(Debug, Deserialize)]
struct List<T> {
    results: Vec<T>,
}

#[derive(Debug, Deserialize)]
struct Identified {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Found {
    id: String,
    #[serde(default)]
    version: Option<Version>,
    #[serde(default)]
    body: Option<Body>,
    #[serde(default, rename = "_links")]
    links: Option<Links>,
}

#[derive(Debug, Deserialize)]
struct Version {
    number: u64,
}

#[derive(Debug, Deserialize)]
struct Body {
    #[serde(default)]
    storage: Option<Storage>,
}

#[derive(Debug, Deserialize)]
struct Storage {
    value: String,
}

#[derive(Debug, Deserialize)]
struct Links {
    #[serde(default)]
    base: Option<String>,
    #[serde(default)]
    webui: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Property {
    #[serde(default)]
    value: Value,
}

/// Whose page it is.
enum Owner {
    /// Ours; whether the property that says so is there, and whether the text is the draft's.
    Us {
        marked: bool,
        current: bool,
    },
    SomebodyElse,
}

impl Confluence {
    /// Acts as the user with this address and token. The base URL is that of API v2, as
    /// `https://example.atlassian.net/wiki/api/v2`; without `/api/v2` or `/wiki/api/v2` at its
    /// end these are added.
    pub fn new(
        base_url: &str,
        email: impl Into<String>,
        api_token: SecretString,
    ) -> Result<Self, AddressError> {
        let (v2, v1) = both_versions(base_url)?;
        Ok(Self {
            transport: Transport::new(VENDOR, &v2, api_token)?,
            v1: Address::parse(&v1)?,
            email: email.into(),
        })
    }

    /// The same with another time limit for a request than [`crate::address::REQUEST_TIMEOUT`].
    pub fn with_limit(self, limit: Duration) -> Result<Self, AddressError> {
        Ok(Self { transport: self.transport.with_limit(limit)?, ..self })
    }

    /// Makes the page with this text, or finds the one made before, and labels it.
    pub async fn ensure_page(&self, key: &Uuid, draft: &PageDraft) -> Result<Page, CallError> {
        let space_id = self.space_id(&draft.space_key).await?;
        let anchor = Anchor::new(key, &draft.storage);
        let page = match self.create(&space_id, &anchor, draft).await {
            Ok(created) => {
                self.own(&created.id, key).await?;
                created
            }
            Err(error) if is_conflict(&error) => {
                let found = self.page_titled(&space_id, &draft.title).await?;
                self.adopt(found.ok_or(error)?, key, &anchor, draft).await?
            }
            Err(error) => return Err(error),
        };
        self.label(&page.id, &draft.labels).await?;
        Ok(self.page(page))
    }

    /// Whether the space is there and may be seen.
    pub async fn find_space(&self, key: &str) -> Result<(), CallError> {
        self.space_id(key).await.map(drop)
    }

    async fn space_id(&self, key: &str) -> Result<String, CallError> {
        let request = self.to(Method::GET, &["spaces"]).query(&[("keys", key)]);
        let spaces: List<Identified> = self.call(SPACES, request).await?;
        let space = spaces.results.into_iter().next();
        space.map(|space| space.id).ok_or_else(|| {
            let message = format!("there is no space {key} that we can see");
            self.transport.error(SPACES, Fate::Rejected, None, &message)
        })
    }

    async fn create(&self, space_id: &str, anchor: &Anchor, draft: &PageDraft) -> Result<Found, CallError> {
        let mut body = json!({
            "spaceId": space_id,
            "status": "current",
            "title": draft.title,
            "body": { "representation": "storage", "value": anchor.below(&draft.storage) },
        });
        if let Some(parent_id) = &draft.parent_id {
            body["parentId"] = json!(parent_id);
        }
        let request = self.to(Method::POST, &["pages"]).json(&body);
        self.call(CREATE, request).await
    }

    /// The page of this title, with its text; Confluence refuses a title that an archived page
    /// has, so these are looked at too.
    async fn page_titled(&self, space_id: &str, title: &str) -> Result<Option<Found>, CallError> {
        let query = [("space-id", space_id), ("title", title), ("status", "current"), ("status", "archived")];
        let request = self.to(Method::GET, &["pages"]).query(&query);
        let pages: List<Identified> = self.call(LIST, request).await?;
        let Some(page) = pages.results.into_iter().next() else {
            return Ok(None);
        };
        let request = self.to(Method::GET, &["pages", &page.id]).query(&[("body-format", "storage")]);
        self.call(GET, request).await.map(Some)
    }

    async fn adopt(
        &self,
        found: Found,
        key: &Uuid,
        anchor: &Anchor,
        draft: &PageDraft,
    ) -> Result<Found, CallError> {
        match self.owner(&found, key, anchor).await? {
            Owner::SomebodyElse => Err(self.transport.error(
                CREATE,
                Fate::Rejected,
                None,
                "a page of this title is there already, and it is not ours",
            )),
            Owner::Us { marked, current } => {
                if !marked {
                    self.own(&found.id, key).await?;
                }
                if current {
                    return Ok(found);
                }
                self.rewrite(found, anchor, draft).await
            }
        }
    }

    async fn owner(&self, page: &Found, key: &Uuid, anchor: &Anchor) -> Result<Owner, CallError> {
        let text = page
            .body
            .as_ref()
            .and_then(|body| body.storage.as_ref())
            .map_or("", |storage| storage.value.as_str());
        let current = text.contains(&anchor.name());
        match self.owning_key(&page.id).await? {
            Some(owner) if owner == *key => Ok(Owner::Us { marked: true, current }),
            None if text.contains(&anchor.prefix()) => Ok(Owner::Us { marked: false, current }),
            _ => Ok(Owner::SomebodyElse),
        }
    }

    /// The key in the page's property. A property that cannot be read belongs to nobody we know.
    async fn owning_key(&self, page_id: &str) -> Result<Option<Uuid>, CallError> {
        let request = self.to(Method::GET, &["pages", page_id, "properties"]).query(&[("key", OWNER)]);
        let properties: List<Property> = self.call(GET_PROPERTY, request).await?;
        Ok(properties.results.first().map(|property| {
            let key = property.value["key"].as_str();
            key.and_then(|text| text.parse().ok()).unwrap_or(Uuid::nil())
        }))
    }

    /// Writes the property that says whose page it is. One that was written meanwhile, by an
    /// attempt whose answer got lost, is fine when it says the same.
    async fn own(&self, page_id: &str, key: &Uuid) -> Result<(), CallError> {
        let body = json!({ "key": OWNER, "value": { "key": key.to_string() } });
        let request = self.to(Method::POST, &["pages", page_id, "properties"]).json(&body);
        match self.call::<Value>(SET_PROPERTY, request).await {
            Err(error) if is_conflict(&error) => match self.owning_key(page_id).await? {
                Some(owner) if owner == *key => Ok(()),
                _ => Err(error),
            },
            outcome => outcome.map(|_| ()),
        }
    }

    async fn rewrite(&self, found: Found, anchor: &Anchor, draft: &PageDraft) -> Result<Found, CallError> {
        let present = found.version.as_ref().map_or(1, |version| version.number);
        let body = json!({
            "id": found.id,
            "status": "current",
            "title": draft.title,
            "body": { "representation": "storage", "value": anchor.below(&draft.storage) },
            "version": { "number": present + 1 },
        });
        let request = self.to(Method::PUT, &["pages", &found.id]).json(&body);
        self.call(UPDATE, request).await.map_err(|error: CallError| {
            if error.status() != Some(409) {
                return error;
            }
            // Somebody edited it between our look and our text; the next look sees that.
            CallError::new(VENDOR, UPDATE.name, Fate::Unavailable, error.status(), error.message())
        })
    }

    /// Adds labels. A label that is there stays.
    async fn label(&self, page_id: &str, labels: &[String]) -> Result<(), CallError> {
        let labels: Vec<Value> = labels
            .iter()
            .map(|label| label_name(label))
            .filter(|name| !name.is_empty())
            .map(|name| json!({ "prefix": "global", "name": name }))
            .collect();
        if labels.is_empty() {
            return Ok(());
        }
        let url = self.v1.resource(&["content", page_id, "label"]);
        let request = self.authorized(Method::POST, url).json(&labels);
        let _: Value = self.call(ADD_LABELS, request).await?;
        Ok(())
    }

    fn page(&self, found: Found) -> Page {
        let base = self.transport.address.url().as_str().trim_end_matches('/');
        let site = base.strip_suffix(V2).unwrap_or(base);
        let links = found.links.unwrap_or(Links { base: None, webui: None });
        let path = links.webui.unwrap_or_else(|| format!("/pages/viewpage.action?pageId={}", found.id));
        let path = without_title(&path, &found.id);
        Page {
            url: format!("{}{path}", links.base.as_deref().unwrap_or(site)),
            id: found.id,
            version: found.version.map_or(1, |version| version.number),
        }
    }

    fn to(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.authorized(method, self.transport.address.resource(path))
    }

    fn authorized(&self, method: Method, url: Url) -> RequestBuilder {
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

/// The invisible mark in a page: whose it is, and of which text.
struct Anchor {
    key: Uuid,
    digest: String,
}

impl Anchor {
    fn new(key: &Uuid, storage: &str) -> Self {
        Self { key: *key, digest: hex::encode(Sha256::digest(storage.as_bytes())) }
    }

    fn prefix(&self) -> String {
        format!("harmony-{}-", self.key)
    }

    fn name(&self) -> String {
        format!("{}{}", self.prefix(), self.digest)
    }

    fn below(&self, storage: &str) -> String {
        format!(
            "{storage}<p><ac:structured-macro ac:name=\"anchor\"><ac:parameter ac:name=\"\">{}\
             </ac:parameter></ac:structured-macro></p>",
            self.name()
        )
    }
}

/// The addresses of API v2 and v1.
fn both_versions(base_url: &str) -> Result<(String, String), AddressError> {
    let given = Address::parse(base_url)?;
    let text = given.url().as_str().trim_end_matches('/');
    let site = match text.strip_suffix(V2) {
        Some(site) => site.to_owned(),
        None if given.url().path() == "/" => format!("{text}/wiki"),
        None => text.to_owned(),
    };
    Ok((format!("{site}{V2}"), format!("{site}{V1}")))
}

/// A title, a property that is there already, or another version than we thought.
fn is_conflict(error: &CallError) -> bool {
    matches!(error.status(), Some(400 | 409))
}

fn label_name(label: &str) -> String {
    let allowed = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == '.';
    let name: String = label.trim().chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    name.to_lowercase()
}

fn words(body: &Value) -> Option<String> {
    let Some(errors) = body["errors"].as_array() else {
        return body["message"].as_str().map(str::to_owned);
    };
    let texts: Vec<String> = errors
        .iter()
        .filter_map(|error| {
            let title = error["title"].as_str()?;
            Some(match error["detail"].as_str() {
                Some(detail) => format!("{title} ({detail})"),
                None => title.to_owned(),
            })
        })
        .collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

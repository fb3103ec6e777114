//! What others tell about deployments, read from their own forms into ours: [`ChangeReport`].
//!
//! Pure: whoever receives a delivery has checked its signature or its secret before anything is read here, and hands in
//! the headers that count and the raw body. What is not of the vendor's form is refused with what is wrong; an event
//! that says nothing about deployments is ignored, with the reason.
//!
//! Deliveries come late, twice and in any order. Each report carries the vendor's own time and, where the vendor has
//! one, its own running number; [`ChangeReport::is_newer_than`] orders the reports of one deployment by them, so that
//! the same deliveries end in the same state however they arrive.

pub mod argocd;
pub mod cdevents;
pub mod github;
pub mod gitlab;
pub mod pagerduty;
mod place;
mod purl;
#[cfg(test)]
mod tests;

use std::fmt;

use harmony_incidents::{log::ReleaseStatus, visible::is_invisible};
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};

use crate::words::Source;
pub use place::{KnownCatalog, Placed, place};

/// Longest line that is kept of what a vendor says.
const LINE_CHARS: usize = 255;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReportKind {
    /// A release goes to an environment.
    Deploy,
    /// A release goes to an environment because the one there is taken back.
    RollBack,
    /// The service is taken out of an environment.
    Remove,
    /// A version was published; it is in no environment by that.
    Publish,
    /// An environment appeared.
    EnvironmentCreated,
    /// An environment changed.
    EnvironmentModified,
    /// An environment went away.
    EnvironmentDeleted,
    /// Something changed that is no deployment, such as a flag.
    Change,
}

/// By what a service of the catalog is found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceHint {
    /// Such as `github.com/blackroad/demo`; empty where the vendor names none.
    pub repo: String,
    /// As whoever deploys calls it; empty where they name a repository alone.
    pub name: String,
}

/// One thing that a delivery says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeReport {
    /// Whose form it was.
    pub source: Source,
    /// The vendor's id of the delivery; the same again is the same delivery.
    pub delivery_id: String,
    /// The vendor's name of what it is about: every report of one deployment has the same.
    pub subject: String,
    /// What happened.
    pub kind: ReportKind,
    /// How far it is. A removal that is done is `Active`.
    pub status: ReleaseStatus,
    /// The vendor's own time.
    pub at: Timestamp,
    /// The vendor's own running number of the status, which grows; 0 where it has none.
    pub sequence: u64,
    /// Which service.
    pub service: ServiceHint,
    /// The environment's name, or its id where it has one; empty where it is about none.
    pub environment: String,
    /// Which commit or artifact, in hexadecimal digits; empty where the vendor does not say.
    pub sha: String,
    /// Its version; empty where the vendor does not say.
    pub version: String,
    /// Where people look at it; empty, or an http or https address.
    pub url: String,
    /// What the vendor says about it, in a line.
    pub summary: String,
}

impl ChangeReport {
    /// Whether this report of a subject was made after the other one. Of two that say different things one was.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.order() > other.order()
    }

    /// The vendor's time and number; for what happened at once, by how far it is, and then in any one order.
    fn order(&self) -> impl Ord + '_ {
        let Self { at, sequence, status, kind, delivery_id, environment, sha, version, .. } = self;
        (at, sequence, status, kind, delivery_id, environment, sha, version)
    }
}

/// What came of reading a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// What it says, in the vendor's order; one at least.
    Reports(Vec<ChangeReport>),
    /// It is genuine and says nothing about deployments.
    Ignored {
        /// Why, in a sentence.
        why: String,
    },
}

impl Reading {
    fn one(report: ChangeReport) -> Self {
        Self::Reports(vec![report])
    }

    fn ignored(why: impl Into<String>) -> Self {
        Self::Ignored { why: why.into() }
    }
}

/// A delivery that is not of its vendor's form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DeliveryError {
    /// The place, such as `deployment.sha`, or the header's name; empty where the whole is no JSON.
    pub place: String,
    /// What is wrong there.
    pub problem: String,
}

impl fmt::Display for DeliveryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(formatter, "{}: ", self.place)?;
        }
        formatter.write_str(&self.problem)
    }
}

impl DeliveryError {
    fn new(place: &str, problem: impl Into<String>) -> Self {
        Self { place: place.to_owned(), problem: problem.into() }
    }
}

/// Reads the whole of a body.
fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, DeliveryError> {
    let mut document = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut document).map_err(|error| {
        let place = error.path().to_string();
        let place = if place == "." { "" } else { place.as_str() };
        DeliveryError::new(place, error.inner().to_string())
    })?;
    document.end().map_err(|error| DeliveryError::new("", error.to_string()))?;
    Ok(read)
}

/// An id of a delivery as it stands in a header.
fn delivery_id(header: &str, value: &str) -> Result<String, DeliveryError> {
    let value = value.trim();
    if value.is_empty() || value.len() > 200 || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(DeliveryError::new(header, "expected 1 to 200 printable characters without spaces"));
    }
    Ok(value.to_owned())
}

/// A name that something has to have.
fn named(place: &str, value: &str) -> Result<String, DeliveryError> {
    let value = line(value);
    if value.is_empty() {
        return Err(DeliveryError::new(place, "is empty"));
    }
    Ok(value)
}

/// A fingerprint of a commit or an artifact: 7 to 64 hexadecimal digits, in lower case.
fn sha(place: &str, value: &str) -> Result<String, DeliveryError> {
    let lower = value.trim().to_ascii_lowercase();
    if is_sha(&lower) {
        return Ok(lower);
    }
    Err(DeliveryError::new(place, format!("{:?} is not 7 to 64 hexadecimal digits", line(value))))
}

fn is_sha(value: &str) -> bool {
    (7..=64).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The version that a tag or a branch names: `v1.2.3` and `2024.10.01` do, `main` and a commit do not.
fn version(reference: &str) -> String {
    let name = reference.strip_prefix("refs/tags/").unwrap_or(reference);
    let number = name.strip_prefix(['v', 'V']).unwrap_or(name);
    let begins = number.starts_with(|first: char| first.is_ascii_digit());
    if begins && !(is_sha(name) && name.len() >= 40) { line(name) } else { String::new() }
}

/// One line of what a vendor wrote, without characters that break, hide or reorder it.
fn line(text: &str) -> String {
    let shown = text.chars().map(|one| if one == '\n' || one == '\r' || one == '\t' { ' ' } else { one });
    let line: String = shown.filter(|one| !is_invisible(*one)).take(LINE_CHARS).collect();
    line.trim().to_owned()
}

/// An address that people may follow; empty where it is none.
fn link(text: &str) -> String {
    let text = line(text);
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    if is_web && !text.contains(char::is_whitespace) { text } else { String::new() }
}

/// A repository as the catalog names it: host and path, whatever the form of its address.
///
/// `https://github.com/blackroad/demo.git` and `git@github.com:blackroad/demo.git` are both
/// `github.com/blackroad/demo`.
pub fn repo(address: &str) -> String {
    let address = line(address);
    let after_scheme = address.split_once("://").map(|(_, rest)| rest);
    let rest = after_scheme.unwrap_or(&address);
    let rest = match rest.split_once('@') {
        // A name or a password stands before the host, never after the first slash.
        Some((user, rest)) if !user.contains('/') => rest,
        _ => rest,
    };
    // The short form of ssh has a colon where a path begins.
    let rest = match rest.split_once(':') {
        Some((host, path)) if after_scheme.is_none() && !host.contains('/') => format!("{host}/{path}"),
        _ => rest.to_owned(),
    };
    let rest = rest.trim_end_matches('/');
    let rest = rest.strip_suffix(".git").unwrap_or(rest);
    match rest.split_once('/') {
        Some((host, path)) => format!("{}/{path}", host.to_ascii_lowercase()),
        None => rest.to_owned(),
    }
}

/// A string of a vendor that may be null.
fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::<String>::deserialize(deserializer).map(Option::unwrap_or_default)
}

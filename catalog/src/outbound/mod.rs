//! What Harmony tells others about releases: CDEvents in CloudEvents.
//!
//! A release that became active is `service.deployed` where it is the first of its service in that environment, and
//! `service.upgraded` after that; one that takes another back is `service.rolledback`. CDEvents have no word for a
//! service whose deployment failed: it is the run that ends, `pipelinerun.finished` with the outcome `failure`.

use jiff::Timestamp;
use serde_json::{Value, json};

/// The version of CDEvents whose events these are.
const CDEVENTS: &str = "0.5.0";

/// What became of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseEventKind {
    /// It is active, as the first of its service there.
    Deployed,
    /// It is active in the place of another.
    Upgraded,
    /// It is active because another was taken back.
    RolledBack,
    /// It did not become active.
    Failed,
}

impl ReleaseEventKind {
    fn event_type(self) -> &'static str {
        match self {
            Self::Deployed => "dev.cdevents.service.deployed.0.3.0",
            Self::Upgraded => "dev.cdevents.service.upgraded.0.3.0",
            Self::RolledBack => "dev.cdevents.service.rolledback.0.3.0",
            Self::Failed => "dev.cdevents.pipelinerun.finished.0.3.0",
        }
    }
}

/// A release of which others are told.
#[derive(Debug, Clone, Copy)]
pub struct ReleaseEvent<'a> {
    /// Unique for the source: the same record always has the same.
    pub id: &'a str,
    /// A reference to what tells, such as `/orgs/default/services/svc-demo`.
    pub source: &'a str,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: ReleaseEventKind,
    /// The release's id.
    pub release: &'a str,
    /// The run that brought it there; none where somebody else did.
    pub run: Option<&'a str>,
    /// The service's id.
    pub service: &'a str,
    /// Where its source is; empty where the catalog does not say.
    pub repo: &'a str,
    /// The environment's id.
    pub environment: &'a str,
    /// Fingerprint of the artifact.
    pub sha: &'a str,
    /// For people; may be empty.
    pub version: &'a str,
    /// Why it failed; empty where it did not.
    pub reason: &'a str,
}

impl ReleaseEvent<'_> {
    /// The CloudEvent, in its structured form.
    pub fn cloud_event(&self) -> Value {
        let event_type = self.kind.event_type();
        let (subject, content) = match self.kind {
            ReleaseEventKind::Failed => {
                let run = self.run.unwrap_or(self.release);
                let mut content = json!({ "pipelineName": "release", "outcome": "failure" });
                if !self.reason.is_empty() {
                    content["errors"] = json!(self.reason);
                }
                (run, content)
            }
            ReleaseEventKind::Deployed | ReleaseEventKind::Upgraded | ReleaseEventKind::RolledBack => {
                let environment = json!({ "id": self.environment });
                (self.service, json!({ "environment": environment, "artifactId": self.artifact() }))
            }
        };
        let custom = [
            ("releaseId", self.release),
            ("runId", self.run.unwrap_or_default()),
            ("serviceId", self.service),
            ("envId", self.environment),
            ("sha", self.sha),
            ("version", self.version),
            ("repo", self.repo),
        ];
        let custom = custom.into_iter().filter(|(_, value)| !value.is_empty());
        let custom: serde_json::Map<String, Value> =
            custom.map(|(name, value)| (name.to_owned(), json!(value))).collect();
        json!({
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": event_type,
            "time": self.at,
            "subject": subject,
            "datacontenttype": "application/json",
            "data": {
                "context": {
                    "specversion": CDEVENTS,
                    "id": self.id,
                    "source": self.source,
                    "type": event_type,
                    "timestamp": self.at,
                },
                "subject": { "id": subject, "source": self.source, "content": content },
                "customData": custom,
                "customDataContentType": "application/json",
            },
        })
    }

    /// The artifact as a package URL: of its repository where that is at GitHub, else of no registry in particular.
    fn artifact(&self) -> String {
        if let Some(name) = self.repo.strip_prefix("github.com/") {
            return format!("pkg:github/{}@{}", escaped(name, true), escaped(self.sha, false));
        }
        format!("pkg:generic/{}@{}", escaped(self.service, false), escaped(self.sha, false))
    }
}

/// With everything as `%XX` that has a meaning in a package URL.
fn escaped(text: &str, with_slashes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let stays = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if stays || (with_slashes && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

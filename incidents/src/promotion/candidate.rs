//! A candidate as it is handed in: strict JSON, every limit with the name of the field that breaks it.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::judge::{LIST_LIMIT, LIST_LIMIT_BYTES, TEXT_LIMIT_BYTES, TITLE_LIMIT_CHARS};

/// Longest id: it becomes part of a workflow id.
const ID_LIMIT_CHARS: usize = 128;
/// Longest word or line kept outside of texts.
const LINE_LIMIT_CHARS: usize = TITLE_LIMIT_CHARS;

/// Longest address of a signal: what browsers and proxies take without doubt.
const LINK_LIMIT_BYTES: usize = 2_048;

/// A candidate's own name: 1 to 128 of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`. Whoever hands the same candidate in again
/// says the same id. No colon: a workflow id separates the organisation by one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CandidateId(String);

impl CandidateId {
    /// The id as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CandidateId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for CandidateId {
    type Err = CandidateError;
    fn from_str(text: &str) -> Result<Self, CandidateError> {
        let fits = (1..=ID_LIMIT_CHARS).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        fits.then(|| Self(text.to_owned()))
            .ok_or_else(|| CandidateError::new("candidateId", "1 to 128 of A-Z, a-z, 0-9, `.`, `_` and `-`"))
    }
}

impl TryFrom<String> for CandidateId {
    type Error = CandidateError;
    fn try_from(text: String) -> Result<Self, CandidateError> {
        text.parse()
    }
}

impl From<CandidateId> for String {
    fn from(id: CandidateId) -> Self {
        id.0
    }
}

/// Something that may be an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Candidate {
    /// Its own name.
    pub candidate_id: CandidateId,
    /// Which policy decides; without one nothing but an emergency override promotes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_id: Option<String>,
    /// Which version of it; the highest where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_version: Option<u32>,
    /// What found it: `pagerduty`, `alertmanager`, …
    pub source: String,
    /// One line; becomes the incident's title.
    pub title: String,
    /// More text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The source's own word; the policy maps it.
    pub severity: String,
    /// Service that is hit.
    #[serde(default)]
    pub service_name: String,
    /// Environment, such as `production`.
    #[serde(default)]
    pub environment: String,
    /// Project.
    #[serde(default)]
    pub project_id: String,
    /// Public names of what is affected.
    #[serde(default)]
    pub impacted_services: Vec<String>,
    /// Which rule of the source's put its signals together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_rule_id: Option<String>,
    /// Which version of that rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_rule_version: Option<String>,
    /// What it has in common with other signals of the same trouble.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_key: Option<String>,
    /// What makes two candidates the same one; the correlation key where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
    /// How sure the source is, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// When the trouble was seen; when the candidate was received where the source does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected_at: Option<Timestamp>,
    /// W3C trace id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The incident at PagerDuty that it came from: it is linked instead of opening another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pagerduty_incident_id: Option<String>,
    /// What was seen.
    #[serde(default)]
    pub signals: Vec<CandidateSignal>,
}

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CandidateSignal {
    /// Its own name.
    pub signal_id: String,
    /// What saw it.
    pub source: String,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Where its source shows it: a web address of at most 2,048 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// What is wrong with a candidate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct CandidateError {
    /// Which field, as it is written in JSON.
    pub field: String,
    /// What would do.
    pub problem: String,
}

impl CandidateError {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl Candidate {
    /// Reads a candidate. The error names the field.
    pub fn parse(value: Value) -> Result<Self, CandidateError> {
        if !value.is_object() {
            return Err(CandidateError::new("candidate", "expected one JSON object"));
        }
        let candidate: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { "candidate".to_owned() } else { path };
            let problem = error.inner().to_string();
            let own = format!("{field}: ");
            CandidateError::new(field, problem.strip_prefix(&own).unwrap_or(&problem))
        })?;
        candidate.check()?;
        Ok(candidate)
    }

    /// Checks everything that the form of JSON does not.
    pub fn check(&self) -> Result<(), CandidateError> {
        required("source", &self.source)?;
        required("title", &self.title)?;
        required("severity", &self.severity)?;
        for (field, value) in [
            ("serviceName", &self.service_name),
            ("environment", &self.environment),
            ("projectId", &self.project_id),
        ] {
            line(field, value)?;
        }
        for (field, value) in [
            ("policyId", &self.policy_id),
            ("correlationRuleId", &self.correlation_rule_id),
            ("correlationRuleVersion", &self.correlation_rule_version),
            ("correlationKey", &self.correlation_key),
            ("dedupKey", &self.dedup_key),
            ("traceId", &self.trace_id),
            ("pagerdutyIncidentId", &self.pagerduty_incident_id),
        ] {
            if let Some(value) = value {
                required(field, value)?;
            }
        }
        if self.policy_version.is_some() && self.policy_id.is_none() {
            return Err(CandidateError::new("policyVersion", "a version needs a policyId"));
        }
        if self.correlation_rule_version.is_some() && self.correlation_rule_id.is_none() {
            return Err(CandidateError::new("correlationRuleVersion", "a version needs a correlationRuleId"));
        }
        if self.confidence.is_some_and(|confidence| !(0.0..=1.0).contains(&confidence)) {
            return Err(CandidateError::new("confidence", "a number from 0 to 1"));
        }
        text("summary", self.summary.as_deref())?;
        for (field, count) in
            [("impactedServices", self.impacted_services.len()), ("signals", self.signals.len())]
        {
            if count > LIST_LIMIT {
                return Err(CandidateError::new(field, format!("at most {LIST_LIMIT}")));
            }
        }
        if self.impacted_services.iter().map(String::len).sum::<usize>() > LIST_LIMIT_BYTES {
            let most = format!("at most {} KiB in all", LIST_LIMIT_BYTES / 1024);
            return Err(CandidateError::new("impactedServices", most));
        }
        for (index, service) in self.impacted_services.iter().enumerate() {
            required(&format!("impactedServices[{index}]"), service)?;
        }
        for (index, signal) in self.signals.iter().enumerate() {
            required(&format!("signals[{index}].signalId"), &signal.signal_id)?;
            required(&format!("signals[{index}].source"), &signal.source)?;
            text(&format!("signals[{index}].summary"), signal.summary.as_deref())?;
            if let Some(link) = signal.link.as_deref().filter(|link| !is_link(link)) {
                let field = format!("signals[{index}].link");
                let problem = format!(
                    "an address that starts with https:// or http://, of at most {LINK_LIMIT_BYTES} bytes; \
                     {:?} is none",
                    link.chars().take(60).collect::<String>()
                );
                return Err(CandidateError::new(field, problem));
            }
        }
        Ok(())
    }

    /// What makes two candidates the same one.
    pub fn dedup_key(&self) -> Option<&str> {
        self.dedup_key.as_deref().or(self.correlation_key.as_deref())
    }
}

/// Whether this is an address that people may be led to.
pub fn is_link(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    text.len() <= LINK_LIMIT_BYTES
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && host.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['))
}

fn line(field: &str, value: &str) -> Result<(), CandidateError> {
    if value.chars().count() > LINE_LIMIT_CHARS || value.chars().any(char::is_control) {
        return Err(CandidateError::new(
            field,
            format!("one line of at most {LINE_LIMIT_CHARS} characters, without control characters"),
        ));
    }
    Ok(())
}

fn required(field: &str, value: &str) -> Result<(), CandidateError> {
    if value.trim().is_empty() {
        return Err(CandidateError::new(field, "must not be empty"));
    }
    line(field, value)
}

fn text(field: &str, value: Option<&str>) -> Result<(), CandidateError> {
    match value {
        Some(value) if value.len() > TEXT_LIMIT_BYTES => Err(CandidateError::new(field, "at most 64 KiB")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn smallest() -> Value {
        json!({ "candidateId": "evt-1", "source": "alertmanager", "title": "Checkout is slow", "severity": "warning" })
    }

    #[test]
    fn smallest_candidate_is_read() {
        let candidate = Candidate::parse(smallest()).unwrap();
        assert_eq!(candidate.dedup_key(), None);
        assert_eq!(Candidate::parse(json!(candidate)).unwrap(), candidate);
    }

    #[test]
    fn what_is_wrong_names_its_field() {
        let long = "x".repeat(300);
        for (member, value, expected) in [
            ("candidateId", json!(""), "candidateId: 1 to 128 of"),
            ("candidateId", json!("a:b"), "candidateId: 1 to 128 of"),
            ("candidateId", json!(7), "candidateId: invalid type: integer `7`, expected a string"),
            ("title", json!(" "), "title: must not be empty"),
            ("title", json!("a\nb"), "title: one line of at most 255"),
            ("title", json!(long), "title: one line of at most 255"),
            ("source", json!(null), "source: invalid type: null"),
            ("severity", json!(""), "severity: must not be empty"),
            ("policyId", json!(""), "policyId: must not be empty"),
            ("policyVersion", json!(1), "policyVersion: a version needs a policyId"),
            ("policyVersion", json!(-1), "policyVersion: invalid value"),
            ("confidence", json!(1.5), "confidence: a number from 0 to 1"),
            ("confidence", json!("high"), "confidence: invalid type"),
            ("detectedAt", json!("yesterday"), "detectedAt: "),
            ("impactedServices", json!(["a", ""]), "impactedServices[1]: must not be empty"),
            (
                "signals",
                json!([{ "signalId": "s", "source": "p", "extra": 1 }]),
                "signals[0].extra: unknown field",
            ),
            ("signals", json!([{ "signalId": "s" }]), "signals[0]: missing field `source`"),
            ("surprise", json!(1), "surprise: unknown field `surprise`"),
        ] {
            let mut candidate = smallest();
            candidate[member] = value;
            let error = Candidate::parse(candidate).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{member}: {error}");
        }
        assert_eq!(
            Candidate::parse(json!([])).unwrap_err().to_string(),
            "candidate: expected one JSON object"
        );
        let missing = Candidate::parse(json!({})).unwrap_err().to_string();
        assert_eq!(missing, "candidate: missing field `candidateId`");
    }
}

//! Policies of promotion: versioned files, strict, and the set of them that is in force.

use std::collections::BTreeMap;

use harmony_protos::log::{Authority, Severity};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::words;

/// Longest staleness and longest window: a year. Longer is a typing mistake.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 366);

/// One version of one policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PromotionPolicy {
    /// Its name; candidates carry it.
    pub id: String,
    /// From 1, growing. The highest counts where a candidate names none.
    pub version: u32,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// What a candidate must have.
    #[serde(default)]
    pub eligibility: Eligibility,
    /// What waits for a person.
    #[serde(default)]
    pub deferral: Deferral,
    /// How the source's words become ours.
    #[serde(default)]
    pub severity: SeverityRule,
    /// Least authority that may open an incident of a severity, where it is not the usual one.
    #[serde(default)]
    pub severity_overrides: BTreeMap<String, String>,
    /// A candidate that was seen longer ago than this is stale.
    #[serde(default = "hour")]
    pub staleness: SignedDuration,
    /// How long after a promotion another candidate of the same key is a duplicate.
    #[serde(default = "hour")]
    pub dedup_window: SignedDuration,
}

/// What a candidate must have; what is empty asks nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Eligibility {
    /// Its source is one of these.
    pub sources: Vec<String>,
    /// Its environment is one of these.
    pub environments: Vec<String>,
    /// Its service is one of these.
    pub services: Vec<String>,
    /// Its severity, mapped, is one of these.
    pub severities: Vec<String>,
    /// It has so many signals at least.
    pub min_signals: usize,
    /// Its source is so sure at least; one that does not say is not.
    pub min_confidence: f64,
}

/// What waits for a person, eligible as it is: any of these suffices.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Deferral {
    /// Its environment is one of these.
    pub environments: Vec<String>,
    /// Its service is one of these.
    pub services: Vec<String>,
    /// Its severity, mapped, is one of these.
    pub severities: Vec<String>,
    /// Its source is less sure than this; one that does not say is.
    pub below_confidence: f64,
}

/// How the source's words become ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SeverityRule {
    /// The source's word, in lower case, to `P1`..`P4`.
    pub map: BTreeMap<String, String>,
    /// For words that neither `map` nor Harmony knows.
    pub default: String,
}

impl Default for SeverityRule {
    fn default() -> Self {
        Self { map: BTreeMap::new(), default: "P3".to_owned() }
    }
}

fn hour() -> SignedDuration {
    SignedDuration::from_hours(1)
}

/// What is wrong with a policy, or with several together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromotionPolicyError {
    /// Not TOML or JSON, or not this form.
    #[error("{0}")]
    Syntax(String),
    /// A field that could not be acted on.
    #[error("{field}: {problem}")]
    Field {
        /// Which.
        field: String,
        /// What would do.
        problem: String,
    },
    /// Nobody could tell which of two counts.
    #[error("policy {id} has version {version} twice")]
    Twice {
        /// Which policy.
        id: String,
        /// Which version.
        version: u32,
    },
}

impl PromotionPolicy {
    /// Reads a TOML file.
    pub fn from_toml(text: &str) -> Result<Self, PromotionPolicyError> {
        let document = toml::Deserializer::parse(text)
            .map_err(|error| PromotionPolicyError::Syntax(error.message().to_owned()))?;
        let policy: Self = serde_path_to_error::deserialize(document)
            .map_err(|error| syntax(&error.path().to_string(), error.inner().message()))?;
        policy.checked()
    }

    /// Reads a JSON file.
    pub fn from_json(text: &str) -> Result<Self, PromotionPolicyError> {
        let mut document = serde_json::Deserializer::from_str(text);
        let policy: Self = serde_path_to_error::deserialize(&mut document)
            .map_err(|error| syntax(&error.path().to_string(), &error.inner().to_string()))?;
        document.end().map_err(|error| PromotionPolicyError::Syntax(error.to_string()))?;
        policy.checked()
    }

    fn checked(self) -> Result<Self, PromotionPolicyError> {
        let field = |field: &str, problem: &str| {
            Err(PromotionPolicyError::Field { field: field.to_owned(), problem: problem.to_owned() })
        };
        if self.id.trim().is_empty() || self.id.len() > 255 || self.id.chars().any(char::is_control) {
            return field("id", "1 to 255 printable characters");
        }
        if self.version == 0 {
            return field("version", "a number from 1");
        }
        for (name, time) in [("staleness", self.staleness), ("dedupWindow", self.dedup_window)] {
            if time <= SignedDuration::ZERO || time > LONGEST {
                return field(name, "a time above 0 and below a year, such as \"30m\"");
            }
        }
        for (name, share) in [
            ("eligibility.minConfidence", self.eligibility.min_confidence),
            ("deferral.belowConfidence", self.deferral.below_confidence),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return field(name, "a number from 0 to 1");
            }
        }
        for (word, ours) in &self.severity.map {
            if *word != word.to_lowercase() {
                return field(&format!("severity.map.{word}"), "the source's words stand here in lower case");
            }
            severity(&format!("severity.map.{word}"), ours)?;
        }
        severity("severity.default", &self.severity.default)?;
        for (name, list) in
            [("eligibility", &self.eligibility.severities), ("deferral", &self.deferral.severities)]
        {
            for (index, one) in list.iter().enumerate() {
                severity(&format!("{name}.severities[{index}]"), one)?;
            }
        }
        for (one, least) in &self.severity_overrides {
            let name = format!("severityOverrides.{one}");
            severity(&name, one)?;
            if override_authority(least).is_none() {
                return field(&name, "AUTO_ENGINE, HUMAN_OPERATOR or ON_CALL_SRE");
            }
        }
        Ok(self)
    }

    /// Our severity for a source's word.
    pub fn severity(&self, word: &str) -> Severity {
        self.mapped(word).or_else(|| words::severity(&self.severity.default).ok()).unwrap_or(Severity::P3)
    }

    /// Our severity for a source's word, where the policy or Harmony knows the word.
    pub fn mapped(&self, word: &str) -> Option<Severity> {
        let word = word.trim().to_lowercase();
        let ours = self.severity.map.get(&word).or_else(|| self.severity.map.get(&joined(&word)));
        ours.and_then(|ours| words::severity(ours).ok()).or_else(|| known_severity(&word))
    }

    /// Least authority that may open an incident of this severity.
    pub fn least_authority(&self, severity: Severity) -> Authority {
        self.severity_overrides
            .iter()
            .find(|(one, _)| words::severity(one) == Ok(severity))
            .and_then(|(_, least)| override_authority(least))
            .unwrap_or_else(|| usual_authority(severity))
    }
}

/// The severity that a source's word means without a policy: `SEV-1` and `Sev 1` are P1; a fifth level is below ours.
pub fn known_severity(word: &str) -> Option<Severity> {
    let word = joined(&word.trim().to_lowercase());
    match word.as_str() {
        "p5" | "sev5" => Some(Severity::P4),
        word => words::severity(word).ok(),
    }
}

/// The word without what sources put between its letters and its number.
fn joined(word: &str) -> String {
    word.chars().filter(|one| !matches!(one, ' ' | '-' | '_')).collect()
}

/// Section 8 of the contract: `AUTO_ENGINE` opens up to SEV3, `HUMAN_OPERATOR` SEV2, `ON_CALL_SRE` SEV1.
pub(super) fn usual_authority(severity: Severity) -> Authority {
    match severity {
        Severity::Unspecified | Severity::P1 => Authority::OnCallSre,
        Severity::P2 => Authority::HumanOperator,
        Severity::P3 | Severity::P4 => Authority::AutoEngine,
    }
}

fn override_authority(word: &str) -> Option<Authority> {
    match word {
        "AUTO_ENGINE" => Some(Authority::AutoEngine),
        "HUMAN_OPERATOR" => Some(Authority::HumanOperator),
        "ON_CALL_SRE" => Some(Authority::OnCallSre),
        _ => None,
    }
}

fn severity(field: &str, word: &str) -> Result<Severity, PromotionPolicyError> {
    words::severity(word)
        .map_err(|error| PromotionPolicyError::Field { field: field.to_owned(), problem: error.to_string() })
}

fn syntax(path: &str, problem: &str) -> PromotionPolicyError {
    let place = if path == "." { String::new() } else { format!("{path}: ") };
    PromotionPolicyError::Syntax(format!("{place}{problem}"))
}

/// Every policy in force, by id and version.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policies {
    by_id: BTreeMap<String, BTreeMap<u32, PromotionPolicy>>,
}

impl Policies {
    /// These policies together.
    pub fn new(policies: impl IntoIterator<Item = PromotionPolicy>) -> Result<Self, PromotionPolicyError> {
        let mut by_id = BTreeMap::<String, BTreeMap<u32, PromotionPolicy>>::new();
        for policy in policies {
            let (id, version) = (policy.id.clone(), policy.version);
            if by_id.entry(id.clone()).or_default().insert(version, policy).is_some() {
                return Err(PromotionPolicyError::Twice { id, version });
            }
        }
        Ok(Self { by_id })
    }

    /// A policy of this id: this version of it, or the highest.
    pub fn get(&self, id: &str, version: Option<u32>) -> Option<&PromotionPolicy> {
        let versions = self.by_id.get(id)?;
        match version {
            Some(version) => versions.get(&version),
            None => versions.last_key_value().map(|(_, policy)| policy),
        }
    }

    /// `id version`, in order.
    pub fn names(&self) -> Vec<String> {
        self.by_id
            .iter()
            .flat_map(|(id, versions)| versions.keys().map(move |version| format!("{id} {version}")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_and_json_say_the_same() {
        let toml =
            "id = \"a\"\nversion = 2\nstaleness = \"30m\"\n[severityOverrides]\nP1 = \"AUTO_ENGINE\"\n";
        let json =
            r#"{"id": "a", "version": 2, "staleness": "30m", "severityOverrides": {"P1": "AUTO_ENGINE"}}"#;
        let policy = PromotionPolicy::from_toml(toml).unwrap();
        assert_eq!(policy, PromotionPolicy::from_json(json).unwrap());
        assert_eq!(policy.least_authority(Severity::P1), Authority::AutoEngine);
        assert_eq!(policy.least_authority(Severity::P2), Authority::HumanOperator);
        assert_eq!(policy.dedup_window, SignedDuration::from_hours(1));
    }

    #[test]
    fn words_of_sources_are_known_however_they_are_spelt() {
        let policy = PromotionPolicy::from_toml(
            "id = \"a\"\nversion = 1\n[severity]\ndefault = \"P3\"\n[severity.map]\nhigh = \"P2\"\nsev0 = \"P1\"\n",
        )
        .unwrap();
        for (word, expected) in [
            ("SEV-1", Some(Severity::P1)),
            ("Sev 1", Some(Severity::P1)),
            ("sev_2", Some(Severity::P2)),
            ("P-4", Some(Severity::P4)),
            ("P5", Some(Severity::P4)),
            ("SEV-0", Some(Severity::P1)),
            (" High ", Some(Severity::P2)),
            ("Major outage", None),
            ("", None),
        ] {
            assert_eq!(policy.mapped(word), expected, "{word}");
            assert_eq!(policy.severity(word), expected.unwrap_or(Severity::P3), "{word}");
        }
        assert_eq!(known_severity("sev0"), None);
    }

    #[test]
    fn what_is_wrong_names_its_field() {
        for (line, expected) in [
            ("surprise = 1", "surprise: unknown field `surprise`"),
            ("[eligibility]\nminSignal = 1", "eligibility.minSignal: unknown field `minSignal`"),
            ("staleness = \"soon\"", "staleness: "),
            ("staleness = \"0s\"", "staleness: a time above 0"),
            ("dedupWindow = \"800d\"", "dedupWindow: "),
            ("[eligibility]\nminConfidence = 2.0", "eligibility.minConfidence: a number from 0 to 1"),
            ("[severity.map]\nCritical = \"P1\"", "severity.map.Critical: the source's words"),
            ("[severity.map]\ncritical = \"P9\"", "severity.map.critical: severity \"P9\""),
            ("[severity]\ndefault = \"\"", "severity.default: severity"),
            ("[deferral]\nseverities = [\"P1\", \"x\"]", "deferral.severities[1]: severity \"x\""),
            ("[severityOverrides]\nP7 = \"AUTO_ENGINE\"", "severityOverrides.P7: severity"),
            ("[severityOverrides]\nP1 = \"EMERGENCY_OVERRIDE\"", "severityOverrides.P1: AUTO_ENGINE, "),
            ("version = 3", "duplicate key"),
        ] {
            let error = PromotionPolicy::from_toml(&format!("id = \"a\"\nversion = 1\n{line}\n"))
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(expected), "{line}: {error}");
        }
        for (text, expected) in [
            ("{\"id\": \"a\"}", "missing field `version`"),
            ("{\"id\": \"\", \"version\": 1}", "id: 1 to 255"),
            ("{\"id\": \"a\", \"version\": 0}", "version: a number from 1"),
            ("{\"id\": \"a\", \"version\": 1} x", "trailing characters"),
        ] {
            let error = PromotionPolicy::from_json(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn highest_version_counts_unless_one_is_named() {
        let version = |version: u32| {
            PromotionPolicy::from_json(&format!("{{\"id\": \"a\", \"version\": {version}}}")).unwrap()
        };
        let policies = Policies::new([version(2), version(10), version(9)]).unwrap();
        assert_eq!(policies.get("a", None).unwrap().version, 10);
        assert_eq!(policies.get("a", Some(9)).unwrap().version, 9);
        assert!(policies.get("a", Some(1)).is_none() && policies.get("b", None).is_none());
        assert_eq!(policies.names(), ["a 2", "a 9", "a 10"]);
        let twice = Policies::new([version(2), version(2)]).unwrap_err();
        assert_eq!(twice.to_string(), "policy a has version 2 twice");
    }
}

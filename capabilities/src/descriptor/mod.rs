//! What each capability promises: its descriptor.
//!
//! A descriptor is for whoever drives a capability without reading its code: people (`harmony capability show`), the
//! MCP server, a planner. It says what goes in and comes out as JSON Schema, which settings it needs (by name, never by
//! value), what it may touch, and how it fails and is retried.
//!
//! Input is `{operation, arguments}`: the operation is the name of the activity, the arguments are what the activity is
//! called with. Output is what the activity answers. The schemas are strict (no unknown field), and every call that the
//! activities make is held against them by a test there, every example by a test here.
//!
//! The types in this folder exist for their schemas alone: what is sent is made by the connectors.
//!
//! The adapters that deploy releases have descriptors, too ([`adapters`]). They are called for a service that lists
//! them, not for an incident, so they are not among the capabilities.

#![expect(dead_code, reason = "nothing reads the fields of a type that exists for its schema")]

mod confluence;
mod deployments;
mod pagerduty;
mod runbook;
mod slack;
mod statuspage;
mod timeline;
mod tracker;

use std::collections::BTreeMap;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;
use serde_json::Value;

use crate::deployments::AdapterName;

/// First and longest wait between two tries of an operation. Temporal retries no sooner than after 1 s.
pub const BACKOFF_MS: (u64, u64) = (1_000, 15_000);
/// For how long an operation is tried unless the policy's `step_patience` says otherwise.
pub const PATIENCE_MS: u64 = 120_000;

/// Everything there is to know of a capability from outside.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is called and who looks after it.
    pub metadata: Metadata,
    /// What goes in and out, and what it needs.
    pub schemas: Schemas,
    /// What it may touch.
    pub security: Security,
    /// How it behaves when it is called.
    pub operations: Operations,
    /// Examples that fit the schemas.
    pub ai_hints: AiHints,
}

/// What a capability is called.
#[derive(Debug, Clone, Serialize)]
pub struct Metadata {
    /// Never changes.
    pub id: &'static str,
    /// Of the descriptor, `major.minor.patch`: a schema that takes less is a new major.
    pub version: &'static str,
    /// For people.
    pub name: &'static str,
    /// One or two sentences.
    pub description: &'static str,
    /// `connectors`, `deployments`, `integrations`, `operations` or `transformers`.
    pub domain: &'static str,
    /// Words to find it by.
    pub tags: &'static [&'static str],
    /// Who answers for it.
    pub maintainer: &'static str,
}

/// JSON Schemas, draft 2020-12.
#[derive(Debug, Clone, Serialize)]
pub struct Schemas {
    /// `{operation, arguments}`.
    pub input: Value,
    /// What the operation answers.
    pub output: Value,
    /// Settings that may be shown.
    pub config: Value,
    /// Settings that are secret.
    pub secrets: Value,
}

/// What a capability may touch.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Security {
    /// Scopes that the credentials need at the vendor.
    pub required_scopes: &'static [&'static str],
    /// `PUBLIC`, `INTERNAL` or `CONFIDENTIAL`: the most that goes through it.
    pub data_classification: &'static str,
    /// Hosts that it talks to, unless a `*_BASE_URL` says otherwise.
    pub allow_outbound: &'static [&'static str],
}

/// How a capability behaves when it is called.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Operations {
    /// Whether a repeated call with the same key leaves one effect.
    pub is_idempotent: bool,
    /// How often it is tried.
    pub retry_policy: RetryPolicy,
    /// The types of its failures, and what each means for a retry.
    pub error_map: BTreeMap<&'static str, ErrorClass>,
    /// `LOW`, `MEDIUM` or `HIGH`: what one call costs in the vendor's limits, or in people's sleep.
    pub cost_factor: &'static str,
}

/// How often an operation is tried.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryPolicy {
    /// Before the second try.
    pub initial_interval_ms: u64,
    /// Between two tries at most.
    pub maximum_interval_ms: u64,
    /// Each wait is this much longer than the one before.
    pub backoff_coefficient: f64,
    /// All tries together; then the step has failed.
    pub patience_ms: u64,
    /// How many at most; 0 for as many as fit.
    pub maximum_attempts: u32,
}

/// What a failure means for a retry.
#[derive(Debug, Clone, Serialize)]
pub struct ErrorClass {
    /// Whether the same call is tried again.
    pub retryable: bool,
    /// When it is this one.
    pub when: &'static str,
}

/// Examples, for people and for models.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AiHints {
    /// Fits the input's schema.
    pub example_input: Value,
    /// Fits the output's schema.
    pub example_output: Value,
}

/// Every capability, by id.
#[must_use]
pub fn all() -> Vec<Descriptor> {
    vec![
        confluence::descriptor(),
        tracker::github(),
        tracker::jira(),
        pagerduty::descriptor(),
        statuspage::descriptor(),
        slack::descriptor(),
        runbook::descriptor(),
        timeline::descriptor(),
    ]
}

/// Every adapter that deploys releases, by name.
#[must_use]
pub fn adapters() -> Vec<Descriptor> {
    AdapterName::ALL.into_iter().map(deployments::descriptor).collect()
}

/// The capability or adapter with this id.
#[must_use]
pub fn find(id: &str) -> Option<Descriptor> {
    all().into_iter().chain(adapters()).find(|one| one.metadata.id == id)
}

impl Descriptor {
    /// Names of the settings it cannot work without: those that its schemas require.
    #[must_use]
    pub fn required_settings(&self) -> Vec<String> {
        self.settings(|schema| {
            let names = schema["required"].as_array();
            names.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        })
    }

    /// Names of all its settings.
    #[must_use]
    pub fn all_settings(&self) -> Vec<String> {
        self.settings(|schema| {
            let names = schema["properties"].as_object();
            names.into_iter().flat_map(|names| names.keys().cloned()).collect()
        })
    }

    fn settings(&self, names: impl Fn(&Value) -> Vec<String>) -> Vec<String> {
        let mut all = names(&self.schemas.config);
        all.extend(names(&self.schemas.secrets));
        all.sort();
        all
    }
}

/// A capability without settings or secrets has this for their schema.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// What came of a step with an outward effect.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct StepOutput {
    /// Whether it was left out, and why: switched off, not configured, nothing to do.
    skipped: Option<String>,
    /// What the vendor calls what was made.
    external_ref: String,
    /// Named references, such as `slackChannel`.
    links: BTreeMap<String, String>,
    /// For people to open; may be empty.
    url: String,
    /// What did not work and was not needed.
    warnings: Vec<String>,
    /// What people call the issue that was made, such as `OPS-7`.
    ticket: Option<String>,
}

fn schema<T: JsonSchema>() -> Value {
    // Each schema stands alone: whoever reads one follows no reference.
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

fn schemas<I: JsonSchema, O: JsonSchema, C: JsonSchema, S: JsonSchema>() -> Schemas {
    Schemas { input: schema::<I>(), output: schema::<O>(), config: schema::<C>(), secrets: schema::<S>() }
}

fn retry_policy(maximum_attempts: u32) -> RetryPolicy {
    RetryPolicy {
        initial_interval_ms: BACKOFF_MS.0,
        maximum_interval_ms: BACKOFF_MS.1,
        backoff_coefficient: 2.0,
        patience_ms: PATIENCE_MS,
        maximum_attempts,
    }
}

/// How the connectors of the vendors fail.
fn vendor_errors() -> BTreeMap<&'static str, ErrorClass> {
    errors([
        (
            "EffectBusy",
            true,
            "another worker is at this effect, or a lost request of one may still be under way",
        ),
        ("VendorLimited", true, "420 or 429; after the vendor's Retry-After where it gives one"),
        ("VendorRefused", false, "a 4xx that a retry cannot mend, with the vendor's own message"),
        ("VendorUnauthorized", false, "401 or 403: the credentials, or a scope that they lack"),
        ("VendorUnavailable", true, "it surely did not happen: no connection, or a failed read"),
        (
            "VendorUnknown",
            true,
            "it may have happened: 5xx or no answer; looked for before it is tried again",
        ),
    ])
}

fn errors<const N: usize>(
    rows: [(&'static str, bool, &'static str); N],
) -> BTreeMap<&'static str, ErrorClass> {
    rows.into_iter().map(|(kind, retryable, when)| (kind, ErrorClass { retryable, when })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [&str; 8] = [
        "golden.connectors.confluence",
        "golden.connectors.github",
        "golden.connectors.jira",
        "golden.connectors.pagerduty",
        "golden.connectors.statuspage",
        "golden.integrations.slack-interactive",
        "golden.operations.runme-runner",
        "golden.transformers.incident-timeline",
    ];

    #[test]
    fn there_are_eight_capabilities() {
        assert_eq!(all().iter().map(|one| one.metadata.id).collect::<Vec<_>>(), IDS);
        assert!(find("golden.connectors.nothing").is_none());
    }

    #[test]
    fn every_adapter_has_a_descriptor() {
        let ids: Vec<String> =
            AdapterName::ALL.iter().map(|name| format!("golden.deployments.{name}")).collect();
        assert_eq!(adapters().iter().map(|one| one.metadata.id).collect::<Vec<_>>(), ids);
        let k8s = find("golden.deployments.k8s").unwrap();
        assert_eq!(k8s.all_settings(), ["HARMONY_KUBECONFIG", "HARMONY_KUBERNETES_CLUSTER"]);
    }

    #[test]
    fn examples_fit_the_schemas_and_schemas_are_strict() {
        for one in all().into_iter().chain(adapters()) {
            let id = one.metadata.id;
            let fits = |schema: &Value, value: &Value| {
                let validator = jsonschema::draft202012::new(schema).unwrap();
                validator
                    .validate(value)
                    .map_err(|error| format!("{id}: {error} at {}", error.instance_path()))
            };
            fits(&one.schemas.input, &one.ai_hints.example_input).unwrap();
            fits(&one.schemas.output, &one.ai_hints.example_output).unwrap();
            let mut foreign = one.ai_hints.example_input.clone();
            foreign["arguments"]["nobodyKnowsThis"] = serde_json::json!(1);
            assert!(fits(&one.schemas.input, &foreign).is_err(), "{id} takes unknown arguments");
            assert!(fits(&one.schemas.config, &serde_json::json!({ "OTHER": "x" })).is_err(), "{id}");
        }
    }

    #[test]
    fn a_descriptor_names_settings_and_holds_no_value_of_one() {
        let slack = find("golden.integrations.slack-interactive").unwrap();
        assert_eq!(slack.required_settings(), ["SLACK_BOT_TOKEN"]);
        assert!(slack.all_settings().contains(&"SLACK_SIGNING_SECRET".to_owned()));
        assert!(find("golden.transformers.incident-timeline").unwrap().all_settings().is_empty());
    }
}

//! The timeline's descriptor. What carries it out is beside the log, in `activities`.

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::{AiHints, Descriptor, Metadata, Operations, Security, errors, retry_policy, schemas};

#[derive(JsonSchema)]
#[schemars(tag = "operation", content = "arguments", deny_unknown_fields)]
enum Input {
    /// Puts one fact on the incident's record.
    #[schemars(rename = "timeline.record")]
    Record(RecordArguments),
    /// Reads the timeline, oldest first.
    #[schemars(rename = "timeline.query")]
    Query(QueryArguments),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct RecordArguments {
    /// `INC-…`
    incident_id: String,
    /// Repeated with the same key it is one record.
    key: String,
    /// One field, named by the kind of the record, such as `incidentNoteAdded`, with the kind's own fields.
    payload: Map<String, Value>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct QueryArguments {
    /// `INC-…`
    incident_id: String,
    /// Only records after this one.
    #[schemars(default)]
    after: u64,
    /// Only these kinds, such as `APPROVAL_DECIDED`; all where there is none.
    #[schemars(default)]
    kinds: Vec<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Output {
    /// What was recorded, or what was asked for.
    lines: Vec<Line>,
}

/// One line of a timeline.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    /// Place in the incident's log, from 1.
    seq: u64,
    /// RFC 3339.
    at: String,
    kind: String,
    actor: String,
    /// A sentence about the record.
    text: String,
    /// The record it tells of.
    event_id: String,
}

pub(super) fn descriptor() -> Descriptor {
    Descriptor {
        metadata: Metadata {
            id: "golden.transformers.incident-timeline",
            version: "1.0.0",
            name: "Incident timeline",
            description: "Puts facts on an incident's record, and tells the record as a timeline, one line an event.",
            domain: "transformers",
            tags: &["audit", "incident", "log", "timeline"],
            maintainer: "Harmony",
        },
        schemas: schemas::<Input, Output, super::Nothing, super::Nothing>(),
        security: Security { required_scopes: &[], data_classification: "CONFIDENTIAL", allow_outbound: &[] },
        operations: Operations {
            is_idempotent: true,
            retry_policy: retry_policy(0),
            error_map: errors([
                ("LogRefused", false, "the rules do not allow it, or the key was used for another request"),
                ("LogUnavailable", true, "the store does not answer"),
            ]),
            cost_factor: "LOW",
        },
        ai_hints: AiHints {
            example_input: json!({
                "operation": "timeline.query",
                "arguments": { "incidentId": "INC-2026-0001", "after": 0, "kinds": ["INCIDENT_STATUS_CHANGED"] },
            }),
            example_output: json!({
                "lines": [{
                    "seq": 3,
                    "at": "2026-01-01T00:00:00Z",
                    "kind": "INCIDENT_STATUS_CHANGED",
                    "actor": "operator",
                    "text": "PENDING → OPEN",
                    "eventId": "0191b6d2-5f5e-5c3b-8a51-1c8d8f1d7c11",
                }],
            }),
        },
    }
}

//! PagerDuty's descriptor.

use schemars::JsonSchema;
use serde_json::json;

use super::{
    AiHints, Descriptor, Metadata, Operations, Security, StepOutput, retry_policy, schemas, vendor_errors,
};

#[derive(JsonSchema)]
#[schemars(tag = "operation", content = "arguments", deny_unknown_fields)]
enum Input {
    /// Makes sure that the paging incident exists: the incident's own, or a page of its own.
    #[schemars(rename = "paging.open")]
    Open(OpenArguments),
    /// Changes the urgency of a paging incident.
    #[schemars(rename = "paging.urgency")]
    Urgency(UrgencyArguments),
    /// Adds a note to a paging incident.
    #[schemars(rename = "paging.note")]
    Note(NoteArguments),
    /// Resolves a paging incident.
    #[schemars(rename = "paging.resolve")]
    Resolve(Which),
    /// Pages who is on call about a candidate that only a person may promote.
    #[schemars(rename = "candidate.page")]
    Candidate(CandidateArguments),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct OpenArguments {
    /// One line.
    title: String,
    /// More lines; may be empty.
    details: String,
    /// `P1` to `P4`; P1 and P2 are urgent.
    severity: String,
    /// Nothing for the incident itself; else what is paged about, such as the level of a gate.
    page: Option<String>,
    /// PagerDuty's id of the incident that this one came from: it is linked, and no other is opened.
    link: Option<String>,
    /// Whom a page is for: the policy may name another service or escalation policy for them.
    roles: Option<Vec<String>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct UrgencyArguments {
    /// PagerDuty's id.
    id: String,
    /// `P1` to `P4`; P1 and P2 are urgent.
    severity: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct NoteArguments {
    /// PagerDuty's id.
    id: String,
    text: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct CandidateArguments {
    /// Organisation.
    org: String,
    /// As its source names it.
    candidate_id: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
enum Which {
    /// The one with this id.
    Incident(IncidentRef),
    /// The page of a gate's level, if there is one.
    Page(PageRef),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct IncidentRef {
    /// PagerDuty's id.
    id: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct PageRef {
    /// As it was paged.
    level: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
struct Config {
    /// Instead of `https://api.pagerduty.com`.
    pagerduty_base_url: Option<String>,
    /// Address of the user in whose name incidents are made.
    pagerduty_from: String,
    /// Service whose people are paged, where the policy names no other for a role.
    pagerduty_service_id: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
struct Secrets {
    /// REST key.
    pagerduty_api_key: String,
    /// What PagerDuty signs its webhooks with.
    pagerduty_webhook_secret: Option<String>,
}

pub(super) fn descriptor() -> Descriptor {
    Descriptor {
        metadata: Metadata {
            id: "golden.connectors.pagerduty",
            version: "1.0.0",
            name: "PagerDuty",
            description: "Pages people: the incident's own paging incident, and a page for each level of an urgent gate.",
            domain: "connectors",
            tags: &["escalation", "incident", "on-call", "paging"],
            maintainer: "Harmony",
        },
        schemas: schemas::<Input, StepOutput, Config, Secrets>(),
        security: Security {
            required_scopes: &["incidents.read", "incidents.write", "oncalls.read"],
            data_classification: "CONFIDENTIAL",
            allow_outbound: &["api.pagerduty.com", "events.pagerduty.com"],
        },
        operations: Operations {
            is_idempotent: true,
            retry_policy: retry_policy(0),
            error_map: vendor_errors(),
            cost_factor: "HIGH",
        },
        ai_hints: AiHints {
            example_input: json!({
                "operation": "paging.open",
                "arguments": {
                    "title": "INC-2026-0001: Checkout answers 500",
                    "details": "Severity P1. Declared in Harmony.",
                    "severity": "P1",
                    "page": null,
                },
            }),
            example_output: json!({
                "skipped": null,
                "externalRef": "Q1ABCDEF",
                "links": { "pagerdutyIncidentId": "Q1ABCDEF" },
                "url": "https://example.pagerduty.com/incidents/Q1ABCDEF",
                "warnings": [],
            }),
        },
    }
}

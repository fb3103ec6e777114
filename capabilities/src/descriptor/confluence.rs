//! Confluence's descriptor.

use schemars::JsonSchema;
use serde_json::json;

use super::{
    AiHints, Descriptor, Metadata, Operations, Security, StepOutput, retry_policy, schemas, vendor_errors,
};

#[derive(JsonSchema)]
#[schemars(tag = "operation", content = "arguments", deny_unknown_fields)]
enum Input {
    /// Publishes the review that was rendered, approved and put on record under this digest.
    #[schemars(rename = "review.publish")]
    Publish(PublishArguments),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct PublishArguments {
    /// SHA-256 of the page with its space and parent, in hex.
    digest: String,
    title: String,
    target: Target,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Target {
    space_key: String,
    /// The page it stands below.
    parent_id: Option<String>,
    labels: Vec<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
struct Config {
    /// `https://SITE.atlassian.net/wiki/api/v2`.
    confluence_base_url: String,
    /// Address of the user whose token it is.
    confluence_email: String,
    /// Space of the reviews that name none.
    confluence_space_key: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
struct Secrets {
    /// Token of that user.
    confluence_api_token: String,
}

pub(super) fn descriptor() -> Descriptor {
    Descriptor {
        metadata: Metadata {
            id: "golden.connectors.confluence",
            version: "1.0.0",
            name: "Confluence",
            description: "Publishes the review of an incident as one page, exactly as it was approved.",
            domain: "connectors",
            tags: &["documentation", "incident", "post-mortem", "review"],
            maintainer: "Harmony",
        },
        schemas: schemas::<Input, StepOutput, Config, Secrets>(),
        security: Security {
            required_scopes: &["read:page:confluence", "read:space:confluence", "write:page:confluence"],
            data_classification: "INTERNAL",
            allow_outbound: &["*.atlassian.net"],
        },
        operations: Operations {
            is_idempotent: true,
            retry_policy: retry_policy(0),
            error_map: vendor_errors(),
            cost_factor: "LOW",
        },
        ai_hints: AiHints {
            example_input: json!({
                "operation": "review.publish",
                "arguments": {
                    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    "title": "INC-2026-0001: Checkout answers 500",
                    "target": { "spaceKey": "OPS", "labels": ["post-mortem"] },
                },
            }),
            example_output: json!({
                "skipped": null,
                "externalRef": "1000001",
                "links": { "confluencePageId": "1000001", "confluencePageUrl": "https://example.atlassian.net/wiki/x/1" },
                "url": "https://example.atlassian.net/wiki/x/1",
                "warnings": [],
            }),
        },
    }
}

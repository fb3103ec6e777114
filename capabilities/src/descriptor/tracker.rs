//! The descriptors of the issue trackers, which do the same at two vendors.

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::{
    AiHints, Descriptor, Metadata, Operations, Security, StepOutput, retry_policy, schemas, vendor_errors,
};

#[derive(JsonSchema)]
#[schemars(tag = "operation", content = "arguments", deny_unknown_fields)]
enum Input {
    /// Makes the issue of a follow-up, once, and puts it on record as the follow-up's ticket.
    #[schemars(rename = "issue.open")]
    Open(OpenArguments),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct OpenArguments {
    /// Which tracker.
    tracker: Tracker,
    /// The record that added the follow-up.
    follow_up: u64,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Tracker {
    Github,
    Jira,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
struct JiraConfig {
    /// `https://SITE.atlassian.net`.
    jira_base_url: String,
    /// Address of the user whose token it is.
    jira_email: String,
    /// Project that follow-ups go to.
    jira_project_key: String,
    /// Type of their issues; `Task` where it is left out.
    jira_issue_type: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
struct JiraSecrets {
    /// Token of that user.
    jira_api_token: String,
    /// Of the webhook that tells what becomes of the issues; used by the console alone.
    jira_webhook_secret: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
struct GitHubConfig {
    /// `https://api.github.com` where it is left out; `https://HOST/api/v3` of a GitHub Enterprise Server.
    github_base_url: Option<String>,
    /// Repository that follow-ups go to: `owner/name`.
    github_repository: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
struct GitHubSecrets {
    /// Fine-grained token, or an installation's.
    github_token: String,
    /// Of the webhook that tells what becomes of the issues; used by the console alone.
    harmony_github_secret: Option<String>,
}

pub(super) fn jira() -> Descriptor {
    Descriptor {
        metadata: Metadata {
            id: "golden.connectors.jira",
            version: "1.0.0",
            name: "Jira",
            description: "Makes an issue of a follow-up in Jira Cloud, once.",
            domain: "connectors",
            tags: &["follow-up", "incident", "issue", "tracker"],
            maintainer: "Harmony",
        },
        schemas: schemas::<Input, StepOutput, JiraConfig, JiraSecrets>(),
        security: Security {
            required_scopes: &["read:jira-work", "write:jira-work"],
            data_classification: "INTERNAL",
            allow_outbound: &["*.atlassian.net"],
        },
        operations: operations(),
        ai_hints: hints("jira", "OPS-7", "10042", "https://example.atlassian.net/browse/OPS-7"),
    }
}

pub(super) fn github() -> Descriptor {
    Descriptor {
        metadata: Metadata {
            id: "golden.connectors.github",
            version: "1.0.0",
            name: "GitHub Issues",
            description: "Makes an issue of a follow-up in a repository at GitHub, once.",
            domain: "connectors",
            tags: &["follow-up", "incident", "issue", "tracker"],
            maintainer: "Harmony",
        },
        schemas: schemas::<Input, StepOutput, GitHubConfig, GitHubSecrets>(),
        security: Security {
            required_scopes: &["issues:write", "metadata:read"],
            data_classification: "INTERNAL",
            allow_outbound: &["api.github.com"],
        },
        operations: operations(),
        ai_hints: hints("github", "acme/shop#7", "3000000007", "https://github.com/acme/shop/issues/7"),
    }
}

fn operations() -> Operations {
    Operations {
        is_idempotent: true,
        retry_policy: retry_policy(0),
        error_map: vendor_errors(),
        cost_factor: "LOW",
    }
}

fn hints(tracker: &str, ticket: &str, id: &str, url: &str) -> AiHints {
    let output: Value = json!({
        "skipped": null, "externalRef": id, "links": {}, "url": url, "warnings": [], "ticket": ticket,
    });
    AiHints {
        example_input: json!({
            "operation": "issue.open",
            "arguments": { "tracker": tracker, "followUp": 17 },
        }),
        example_output: output,
    }
}

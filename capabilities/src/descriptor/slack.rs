//! Slack's descriptor.

use schemars::JsonSchema;
use serde_json::json;

use super::{
    AiHints, Descriptor, Metadata, Operations, Security, StepOutput, retry_policy, schemas, vendor_errors,
};

#[derive(JsonSchema)]
#[schemars(tag = "operation", content = "arguments", deny_unknown_fields)]
enum Input {
    /// Makes sure that the incident's channel exists, with its topic and its people.
    #[schemars(rename = "channel.open")]
    Open(OpenArguments),
    /// Posts a notice, with buttons where it asks for something.
    #[schemars(rename = "channel.post")]
    Post(Box<PostArguments>),
    /// Replaces a notice that asked by what came of it.
    #[schemars(rename = "channel.settle")]
    Settle(SettleArguments),
    /// Sets the topic of the channel.
    #[schemars(rename = "channel.topic")]
    Topic(TopicArguments),
    /// Invites people to the channel.
    #[schemars(rename = "channel.invite")]
    Invite(InviteArguments),
    /// Archives the channel.
    #[schemars(rename = "channel.archive")]
    Archive(ArchiveArguments),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct OpenArguments {
    /// Words of it become the channel's name.
    title: String,
    /// `P1` to `P4`.
    severity: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct PostArguments {
    /// `C…`; nothing is posted where there is none.
    channel: Option<String>,
    /// One line.
    headline: String,
    /// More lines, plain text.
    lines: Vec<String>,
    /// Output to show as it is.
    output: Option<String>,
    /// Whether to pin it.
    pin: bool,
    /// Buttons.
    ask: Option<Box<Ask>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
enum Ask {
    /// Approve or reject the gate that is shown.
    Decide(Gate),
    /// Name again who may decide; half of the level's time is over. No buttons.
    Remind(Gate),
    /// Name people, and whoever has one of these roles, so that they hear of it.
    Call(Called),
    /// Sign off the published review.
    SignOff(Review),
    /// Tick what a role is there for, a button each.
    Duties(Duties),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Called {
    /// Ids of the directory.
    principals: Vec<String>,
    /// Roles of the directory.
    roles: Vec<String>,
    /// What they are reminded of, with a button for it.
    offer: Option<Offer>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
enum Offer {
    /// To post an update.
    Update,
    /// To take command.
    Command,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Duties {
    role: String,
    /// What is left of it, as the policy words it.
    duties: Vec<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Review {
    /// SHA-256 of the page, in hex.
    digest: String,
}

/// A gate as the log holds it.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
struct Gate {
    gate_id: String,
    /// SHA-256 over exactly what will be done and shown, in hex.
    digest: String,
    action: String,
    request_reason: String,
    required_roles: Vec<String>,
    /// From 1.
    level: u32,
    /// RFC 3339.
    deadline: String,
    requester: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct SettleArguments {
    channel: String,
    /// Slack's timestamp, which is the message's id in its channel.
    ts: String,
    headline: String,
    lines: Vec<String>,
    /// Buttons that stay, where it is not settled yet.
    ask: Option<Box<Ask>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct TopicArguments {
    channel: String,
    title: String,
    severity: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct InviteArguments {
    channel: String,
    /// Ids of the directory, not of Slack.
    principals: Vec<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct ArchiveArguments {
    channel: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
struct Config {
    /// Instead of `https://slack.com/api`, with the path.
    slack_base_url: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
struct Secrets {
    /// `xoxb-…`
    slack_bot_token: String,
    /// What Slack signs its callbacks with; without it there are no buttons.
    slack_signing_secret: Option<String>,
    /// `xapp-…`, for Socket Mode.
    slack_app_token: Option<String>,
}

pub(super) fn descriptor() -> Descriptor {
    Descriptor {
        metadata: Metadata {
            id: "golden.integrations.slack-interactive",
            version: "1.0.0",
            name: "Slack",
            description: "The incident's channel: what is said in it, and the buttons that decide approval gates.",
            domain: "integrations",
            tags: &["approval", "channel", "chat", "incident"],
            maintainer: "Harmony",
        },
        schemas: schemas::<Input, StepOutput, Config, Secrets>(),
        security: Security {
            required_scopes: &[
                "channels:history",
                "channels:manage",
                "channels:read",
                "chat:write",
                "groups:history",
                "groups:read",
                "groups:write",
                "pins:write",
            ],
            data_classification: "CONFIDENTIAL",
            allow_outbound: &["slack.com"],
        },
        operations: Operations {
            is_idempotent: true,
            retry_policy: retry_policy(0),
            error_map: vendor_errors(),
            cost_factor: "LOW",
        },
        ai_hints: AiHints {
            example_input: json!({
                "operation": "channel.post",
                "arguments": {
                    "channel": "C0000001",
                    "headline": "Checkout answers 500",
                    "lines": ["P1 INC-2026-0001 declared by operator"],
                    "output": null,
                    "pin": true,
                    "ask": null,
                },
            }),
            example_output: json!({
                "skipped": null,
                "externalRef": "1767225600.000100",
                "links": { "slackMessageTs": "1767225600.000100" },
                "url": "",
                "warnings": [],
            }),
        },
    }
}

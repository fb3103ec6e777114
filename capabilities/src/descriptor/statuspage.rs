//! Statuspage's descriptor.

use schemars::JsonSchema;
use serde_json::json;

use super::{
    AiHints, Descriptor, Metadata, Operations, Security, StepOutput, retry_policy, schemas, vendor_errors,
};

#[derive(JsonSchema)]
#[schemars(tag = "operation", content = "arguments", deny_unknown_fields)]
enum Input {
    /// Opens the public incident.
    #[schemars(rename = "public.open")]
    Open(OpenArguments),
    /// Adds an update to it.
    #[schemars(rename = "public.update")]
    Update(UpdateArguments),
    /// Says how bad it is.
    #[schemars(rename = "public.impact")]
    Impact(ImpactArguments),
    /// Resolves it.
    #[schemars(rename = "public.resolve")]
    Resolve(ResolveArguments),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct OpenArguments {
    /// Never the internal title.
    #[schemars(length(max = 255))]
    title: String,
    #[schemars(length(max = 25_000))]
    message: String,
    /// Ids of components.
    components: Vec<String>,
    /// `P1` to `P4`: how bad it is, and how the components are.
    #[schemars(default)]
    severity: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct UpdateArguments {
    /// Statuspage's id.
    id: String,
    /// How far the work on it is.
    status: Progress,
    #[schemars(length(max = 25_000))]
    message: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
enum Progress {
    Investigating,
    Identified,
    Monitoring,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct ImpactArguments {
    /// Statuspage's id.
    id: String,
    /// `P1` to `P4`: critical, major, minor, none.
    severity: String,
    /// Ids of components that it touches.
    #[schemars(default)]
    components: Vec<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct ResolveArguments {
    /// Statuspage's id.
    id: String,
    /// The last update.
    #[schemars(length(max = 25_000))]
    message: String,
    /// Ids of components that work again.
    #[schemars(default)]
    components: Vec<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
struct Config {
    /// Instead of `https://api.statuspage.io/v1`, with the path.
    statuspage_base_url: Option<String>,
    /// The page.
    statuspage_page_id: String,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
struct Secrets {
    /// Key of a user who may manage incidents.
    statuspage_api_key: String,
}

pub(super) fn descriptor() -> Descriptor {
    Descriptor {
        metadata: Metadata {
            id: "golden.connectors.statuspage",
            version: "1.0.0",
            name: "Statuspage",
            description: "Tells the public: one incident on the status page, its updates and its end.",
            domain: "connectors",
            tags: &["communication", "incident", "public", "status"],
            maintainer: "Harmony",
        },
        schemas: schemas::<Input, StepOutput, Config, Secrets>(),
        security: Security {
            required_scopes: &["incidents"],
            data_classification: "PUBLIC",
            allow_outbound: &["api.statuspage.io"],
        },
        operations: Operations {
            is_idempotent: true,
            retry_policy: retry_policy(0),
            error_map: vendor_errors(),
            cost_factor: "MEDIUM",
        },
        ai_hints: AiHints {
            example_input: json!({
                "operation": "public.open",
                "arguments": {
                    "title": "We are investigating an issue with checkout",
                    "message": "We are investigating an issue with checkout.",
                    "components": [],
                },
            }),
            example_output: json!({
                "skipped": null,
                "externalRef": "p31zjtct2jer",
                "links": { "statuspageIncidentId": "p31zjtct2jer" },
                "url": "https://stspg.io/p31zjtct2jer",
                "warnings": [],
            }),
        },
    }
}

//! The runbook runner's descriptor.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::json;

use super::{AiHints, Descriptor, Metadata, Operations, Security, errors, retry_policy, schemas};

#[derive(JsonSchema)]
#[schemars(tag = "operation", content = "arguments", deny_unknown_fields)]
enum Input {
    /// Runs one named cell of the snapshot that was approved.
    #[schemars(rename = "runbook.cell")]
    Cell(CellArguments),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct CellArguments {
    /// Markdown that holds the cell, at most 256 KiB: the cell alone, or the runbook.
    snapshot: String,
    /// Its SHA-256 in hex, checked before anything runs.
    snapshot_sha256: String,
    /// Name of the cell.
    cell: String,
    /// Shown and digested, never secret.
    env: BTreeMap<String, String>,
    /// Exported by earlier cells of the run.
    carried: BTreeMap<String, String>,
    /// Names of secrets that the pool resolves from its own mount.
    secret_env: Vec<String>,
    /// Relative to the runbook root.
    workdir: String,
    /// The most it may take.
    timeout_ms: u64,
    /// What runs it, with its version.
    #[serde(default)]
    executor: String,
    /// Who approved that it runs, signed. Nothing runs without one.
    #[serde(default)]
    ticket: Option<Ticket>,
    /// The span that it belongs to, as W3C `traceparent`; empty where there is none.
    #[serde(default)]
    traceparent: String,
    /// The most that the answer may hold; 16 KiB of each where it is left out.
    #[serde(default)]
    limits: Option<Limits>,
    /// The Job that it runs as, where it does not run on the pool.
    #[serde(default)]
    job: Option<Job>,
    /// An earlier run of the workflow started its Job, which is looked for and not made.
    #[serde(default)]
    started_before: bool,
}

/// How cells run as Kubernetes Jobs.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Job {
    /// With its digest.
    image: String,
    /// Whose rights the cell has; without one it has no token.
    #[serde(default)]
    service_account: Option<String>,
    /// Thousandths of a processor.
    cpu_millis: u64,
    memory_mib: u64,
    /// The longest that one cell may take, where the runbook says so.
    #[serde(default)]
    deadline_ms: Option<u64>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Limits {
    /// Of both streams together.
    tail_bytes: u64,
    /// Of what it exports, names and values together.
    exports_bytes: u64,
}

/// Signed by a worker that found the gate approved, over this and everything that the cell runs with.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Ticket {
    org: String,
    incident: String,
    /// Empty where the policy asks for no gate.
    gate_id: String,
    workflow_id: String,
    run_id: String,
    step: String,
    /// The cell does not start after this.
    not_after: String,
    /// Ed25519, in hex.
    signature: String,
    /// Lets the pool hand in what the cell prints.
    #[serde(default)]
    output: Option<OutputPass>,
    /// Of the blueprint, where the cell runs as a Job, whose name it is part of.
    #[serde(default)]
    attempt: Option<u32>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct OutputPass {
    /// Which attempt of its blueprint the cell is of.
    #[serde(default)]
    attempt: u32,
    /// Nothing is taken after this.
    until: String,
    /// Ed25519, in hex.
    signature: String,
}

/// How a cell ended.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Output {
    ended: Ended,
    /// Where it exited.
    exit_code: Option<i32>,
    /// Why, where it did not exit by itself.
    problem: Option<String>,
    /// The end of it, masked; both streams together at most 16 KiB.
    stdout: String,
    /// The end of it, masked.
    stderr: String,
    /// All it wrote.
    output_bytes: u64,
    duration_ms: i64,
    /// What it exported for the cells after it.
    exported: BTreeMap<String, String>,
    /// Of the file with all of its output, where it is kept; in hex.
    #[serde(default)]
    output_sha256: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Ended {
    Exited,
    Signalled,
    TimedOut,
    Cancelled,
    CouldNotStart,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
struct Config {
    /// Where runbooks are proposed from and cells work [default: `<data-dir>/runbooks`].
    harmony_runbooks: Option<String>,
    /// Folder with one file a secret, mounted into the runbook pool alone.
    harmony_runbook_secrets: Option<String>,
    /// Kubernetes namespace in which cells run as Jobs, where their runbooks say so.
    harmony_runbook_namespace: Option<String>,
    /// Which of the clusters that the pool knows [default: the only one].
    harmony_runbook_cluster: Option<String>,
    /// What verifies tickets, in hex [default: `<data-dir>/ticket.pub`].
    harmony_ticket_public_key: Option<String>,
}

pub(super) fn descriptor() -> Descriptor {
    Descriptor {
        metadata: Metadata {
            id: "golden.operations.runme-runner",
            version: "1.0.0",
            name: "Runbook runner",
            description: "Runs named cells of a Markdown runbook, one by one, exactly as they were approved.",
            domain: "operations",
            tags: &["automation", "remediation", "runbook", "runme", "verification"],
            maintainer: "Harmony",
        },
        schemas: schemas::<Input, Output, Config, super::Nothing>(),
        security: Security {
            required_scopes: &[],
            data_classification: "CONFIDENTIAL",
            // What a cell reaches is for the pool's network policy to say.
            allow_outbound: &[],
        },
        operations: Operations {
            // Only a cell that says `idempotent=true` is run again when nobody knows whether it ran.
            is_idempotent: false,
            retry_policy: retry_policy(1),
            error_map: errors([(
                "CellUnknown",
                false,
                "the worker was lost while it ran: a gate asks a person",
            )]),
            cost_factor: "HIGH",
        },
        ai_hints: AiHints {
            example_input: json!({
                "operation": "runbook.cell",
                "arguments": {
                    "snapshot": "```bash { name=hello }\necho hello\n```\n",
                    "snapshotSha256": "d39fb4fc44acc6a5af49b2ba09e1eb8cf4c07c1e9b2ed8c0b71b7e5c23d1d4f5",
                    "cell": "hello",
                    "env": {},
                    "carried": {},
                    "secretEnv": [],
                    "workdir": "",
                    "timeoutMs": 600_000,
                },
            }),
            example_output: json!({
                "ended": "exited",
                "exitCode": 0,
                "problem": null,
                "stdout": "hello\n",
                "stderr": "",
                "outputBytes": 6,
                "durationMs": 12,
                "exported": {},
            }),
        },
    }
}

//! The descriptors of the adapters that bring releases to a platform.

use schemars::JsonSchema;
use serde_json::json;

use super::{
    AiHints, Descriptor, ErrorClass, Metadata, Nothing, Operations, Security, errors, retry_policy, schemas,
    vendor_errors,
};
use crate::deployments::{AdapterName, Applied, Deployment, Plan, Progress, Target};

#[derive(JsonSchema)]
#[schemars(tag = "operation", content = "arguments", deny_unknown_fields)]
enum Input {
    /// Says what would be done and changes nothing.
    #[schemars(rename = "deployment.plan")]
    Plan(Release),
    /// Does what the plan says.
    #[schemars(rename = "deployment.apply")]
    Apply(Planned),
    /// Looks once how far it is.
    #[schemars(rename = "deployment.status")]
    Status(Release),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Release {
    target: Target,
    deployment: Deployment,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Planned {
    target: Target,
    deployment: Deployment,
    /// What was approved.
    plan: Plan,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Output {
    Plan(Plan),
    Applied(Applied),
    Status(Progress),
}

#[derive(JsonSchema)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
struct Kubernetes {
    /// What the catalog calls the cluster that this process runs in.
    harmony_kubernetes_cluster: Option<String>,
    /// A kubeconfig whose contexts are called like the catalog's clusters.
    harmony_kubeconfig: Option<String>,
}

/// What differs from one adapter to the next.
struct Kind {
    id: &'static str,
    name: &'static str,
    description: &'static str,
    tags: &'static [&'static str],
}

pub(super) fn descriptor(adapter: AdapterName) -> Descriptor {
    let Kind { id, name, description, tags } = kind(adapter);
    let is_kubernetes = adapter == AdapterName::K8s;
    Descriptor {
        metadata: Metadata {
            id,
            version: "1.0.0",
            name,
            description,
            domain: "deployments",
            tags,
            maintainer: "Harmony",
        },
        schemas: if is_kubernetes {
            schemas::<Input, Output, Kubernetes, Nothing>()
        } else {
            schemas::<Input, Output, Nothing, Nothing>()
        },
        security: Security {
            required_scopes: if is_kubernetes {
                &["deployments: get, patch", "events: list", "pods: list", "replicasets: list"]
            } else {
                &[]
            },
            data_classification: "INTERNAL",
            // API servers are where the kubeconfig says.
            allow_outbound: &[],
        },
        operations: Operations {
            is_idempotent: true,
            retry_policy: retry_policy(0),
            error_map: error_map(adapter),
            cost_factor: "HIGH",
        },
        ai_hints: hints(adapter),
    }
}

fn kind(adapter: AdapterName) -> Kind {
    let absent = "A name that a service may list; this version of Harmony does not deploy there and says so.";
    let (id, name, description, tags): (_, _, _, &[&str]) = match adapter {
        AdapterName::Aws => {
            ("golden.deployments.aws", "Amazon Web Services", absent, &["deployment", "release"])
        }
        AdapterName::External => (
            "golden.deployments.external",
            "External pipeline",
            "A pipeline outside Harmony deploys and tells how it went; Harmony changes nothing.",
            &["ci", "deployment", "release"],
        ),
        AdapterName::Fly => ("golden.deployments.fly", "Fly.io", absent, &["deployment", "release"]),
        AdapterName::Gcp => ("golden.deployments.gcp", "Google Cloud", absent, &["deployment", "release"]),
        AdapterName::K8s => (
            "golden.deployments.k8s",
            "Kubernetes",
            "Sets the image of a Deployment by server-side apply and follows its rollout.",
            &["deployment", "kubernetes", "release", "rollout"],
        ),
        AdapterName::Render => ("golden.deployments.render", "Render", absent, &["deployment", "release"]),
        AdapterName::Runbook => (
            "golden.deployments.runbook",
            "Runbook",
            "Plans a deployment by a reviewed runbook, whose cells the runbook runner carries out.",
            &["deployment", "release", "runbook"],
        ),
    };
    Kind { id, name, description, tags }
}

fn error_map(adapter: AdapterName) -> std::collections::BTreeMap<&'static str, ErrorClass> {
    let refused =
        ("TargetRefused", false, "the target lacks what the adapter needs, or is not as it must be");
    match adapter {
        AdapterName::External => errors([]),
        AdapterName::Runbook => errors([
            ("CarriedOutElsewhere", false, "it was asked to apply: its cells are run one by one"),
            refused,
        ]),
        AdapterName::K8s => {
            let mut map = vendor_errors();
            // Server-side apply needs no ledger: the object itself says whether it was done.
            map.remove("EffectBusy");
            map.extend(errors([
                ("FieldConflict", false, "another field manager owns the image; says which"),
                ("NotConfigured", false, "no cluster is configured, or its credentials are of no use"),
                ("PlanStale", false, "the Deployment is no longer as the plan found it: plan again"),
                refused,
            ]));
            map
        }
        AdapterName::Aws | AdapterName::Fly | AdapterName::Gcp | AdapterName::Render => {
            errors([("NotConfigured", false, "always: this version does not deploy there")])
        }
    }
}

fn hints(adapter: AdapterName) -> AiHints {
    let mut target = json!({
        "service": "checkout",
        "environment": "prod-eu",
        "region": "eu-central-1",
        "cluster": "prod",
    });
    let output = match adapter {
        AdapterName::K8s => {
            target["namespace"] = "shop".into();
            target["image"] = "registry.example.com/checkout:{version}".into();
            json!({ "state": "running", "detail": "1 of 3 replicas are updated" })
        }
        AdapterName::Runbook => {
            target["runbook"] = "deploy/checkout.md".into();
            json!({
                "adapter": "runbook",
                "steps": ["runs the cells of the runbook deploy/checkout.md"],
                "document": { "runbook": "deploy/checkout.md", "env": {} },
            })
        }
        _ => json!({
            "adapter": adapter.as_str(),
            "steps": ["a pipeline outside Harmony deploys checkout 1.2.3 to prod-eu"],
            "document": {},
        }),
    };
    let operation = if adapter == AdapterName::K8s { "deployment.status" } else { "deployment.plan" };
    let deployment = json!({ "releaseId": "rel-2", "sha": "4f2c1d0", "version": "1.2.3" });
    AiHints {
        example_input: json!({ "operation": operation, "arguments": { "target": target, "deployment": deployment } }),
        example_output: output,
    }
}

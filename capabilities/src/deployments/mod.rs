//! How a release gets to where it runs: one adapter a platform, all behind one trait.
//!
//! An adapter answers three questions about a release and a target. [`Adapter::plan`] says what would be done and
//! changes nothing; what a person approves is that plan, by its [`Plan::digest`]. [`Adapter::apply`] does exactly what
//! the plan says, or refuses when the target is no longer as the plan found it; a second call finds the release there
//! and adopts it, so an answer that got lost does no harm. [`Adapter::status`] looks once whether the release runs.
//! Waiting, repeating and recording are the caller's.
//!
//! [`Adapters`] knows every name that a service may list. `k8s` deploys by itself; `external` is deployed by somebody
//! else's pipeline, which tells us; `runbook` plans, and its cells are carried out like those of every runbook, one by
//! one behind a gate. The other names are valid and answer that they are not configured.

mod absent;
mod error;
mod external;
#[cfg(feature = "kubernetes")]
pub mod k8s;
mod runbook;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub use error::{DeploymentError, FieldConflict};

use absent::Absent;
use external::External;
use runbook::Runbook;

/// The names that a service may list as its adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AdapterName {
    /// Amazon Web Services.
    Aws,
    /// A pipeline outside Harmony.
    External,
    /// Fly.io.
    Fly,
    /// Google Cloud.
    Gcp,
    /// A Deployment in a Kubernetes cluster.
    K8s,
    /// Render.
    Render,
    /// A reviewed runbook.
    Runbook,
}

impl AdapterName {
    /// All of them, by name.
    pub const ALL: [Self; 7] =
        [Self::Aws, Self::External, Self::Fly, Self::Gcp, Self::K8s, Self::Render, Self::Runbook];

    /// As it is written in the catalog.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::External => "external",
            Self::Fly => "fly",
            Self::Gcp => "gcp",
            Self::K8s => "k8s",
            Self::Render => "render",
            Self::Runbook => "runbook",
        }
    }
}

impl fmt::Display for AdapterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that no adapter has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no adapter {0:?}: expected one of aws, external, fly, gcp, k8s, render, runbook")]
pub struct UnknownAdapter(pub String);

impl FromStr for AdapterName {
    type Err = UnknownAdapter;

    fn from_str(text: &str) -> Result<Self, UnknownAdapter> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| UnknownAdapter(text.to_owned()))
    }
}

/// Where a release goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// The service's id in the catalog.
    pub service: String,
    /// The environment's id in the catalog.
    pub environment: String,
    /// Of the environment; may be empty where the adapter has no regions.
    #[serde(default)]
    pub region: String,
    /// Of the environment. `k8s` looks its connection up by this name.
    #[serde(default)]
    pub cluster: String,
    /// `k8s`: the namespace that the workload is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `k8s`: the Deployment. Without one it is called like the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// `k8s`: the container whose image is set. Without one the Deployment has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// `k8s`: the image with `{version}` or `{sha}` in the place of what a release brings. Without one, the tag of the
    /// present image is replaced by the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// `k8s`: field managers that the image may be taken over from, by name. From anybody else it is never taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub take_over_from: Vec<String>,
    /// `runbook`: the runbook, relative to the folder of runbooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
}

impl Target {
    /// The same with what a service's target in the catalog says, by the names that people write there: `container`,
    /// `deployment`, `image`, `namespace`, `runbook`, and `takeOverFrom` with commas between several. A name that
    /// nobody knows is refused: it would be a setting that does nothing.
    pub fn with_settings(
        mut self,
        adapter: AdapterName,
        settings: &BTreeMap<String, String>,
    ) -> Result<Self, DeploymentError> {
        for (name, value) in settings {
            let field = match name.as_str() {
                "container" => &mut self.container,
                "deployment" => &mut self.workload,
                "image" => &mut self.image,
                "namespace" => &mut self.namespace,
                "runbook" => &mut self.runbook,
                "takeOverFrom" => {
                    let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
                    self.take_over_from = names.map(str::to_owned).collect();
                    continue;
                }
                _ => {
                    let known = "container, deployment, image, namespace, runbook, takeOverFrom";
                    let reason = format!("there is no setting {name:?} of a target; there are {known}");
                    return Err(DeploymentError::target(adapter, reason));
                }
            };
            *field = Some(value.clone());
        }
        Ok(self)
    }
}

/// What goes there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deployment {
    /// The release's id in the catalog: by it a deployment that happened is recognised.
    pub release_id: String,
    /// The commit.
    pub sha: String,
    /// As people call it; may be empty.
    #[serde(default)]
    pub version: String,
}

/// What would be done: text for people, and a document for the adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// Whose plan it is.
    pub adapter: AdapterName,
    /// One line a step, control characters made visible.
    pub steps: Vec<String>,
    /// What [`Adapter::apply`] will hold itself to. Holds no secret.
    pub document: Value,
}

impl Plan {
    fn new(adapter: AdapterName, steps: Vec<String>, document: Value) -> Self {
        let visible = |step: String| {
            let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
            step.chars().map(shown).collect()
        };
        Self { adapter, steps: steps.into_iter().map(visible).collect(), document }
    }

    /// SHA-256 in hex over adapter, steps and document, whatever order the document's members are in.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut text = String::new();
        let whole = serde_json::json!({
            "adapter": self.adapter.as_str(),
            "document": self.document,
            "steps": self.steps,
        });
        canonical(&whole, &mut text);
        hex::encode(Sha256::digest(text))
    }
}

/// JSON without spaces, the members of every object by name: a store may return them in another order.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.iter().collect();
            let mut separator = '{';
            for (name, member) in &members {
                text.push(separator);
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                canonical(member, text);
                separator = ',';
            }
            text.push_str(if members.is_empty() { "{}" } else { "}" });
        }
        Value::Array(items) => {
            let mut separator = '[';
            for item in items {
                text.push(separator);
                canonical(item, text);
                separator = ',';
            }
            text.push_str(if items.is_empty() { "[]" } else { "]" });
        }
        simple => text.push_str(&simple.to_string()),
    }
}

/// A release that is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Applied {
    /// The release was there already: an earlier call did it, and its answer got lost.
    pub adopted: bool,
    /// What the platform calls it, such as `prod-eu/shop/checkout#7`.
    pub reference: String,
    /// For people.
    pub detail: String,
}

/// How far a release is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "camelCase", deny_unknown_fields)]
pub enum Progress {
    /// On its way: look again later.
    Running {
        /// What is there and what is missing, in the platform's words.
        detail: String,
    },
    /// It runs, and nothing of the release before it does.
    Active {
        /// What runs.
        detail: String,
    },
    /// It will not run without somebody's help.
    Failed {
        /// Why, in the platform's words.
        reason: String,
    },
}

/// Who carries a plan out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CarriedOutBy {
    /// [`Adapter::apply`], and [`Adapter::status`] tells how it went.
    Adapter,
    /// Somebody outside, who tells us how it went.
    Outside,
    /// Whoever runs runbooks, cell by cell.
    Runbook,
}

/// Brings releases to one platform.
#[async_trait]
pub trait Adapter: fmt::Debug + Send + Sync {
    /// As the catalog calls it.
    fn name(&self) -> AdapterName;

    /// Who carries its plans out.
    fn carried_out_by(&self) -> CarriedOutBy {
        CarriedOutBy::Adapter
    }

    /// Says what would be done, as far as the platform would let it; changes nothing.
    async fn plan(&self, target: &Target, deployment: &Deployment) -> Result<Plan, DeploymentError>;

    /// Does what the plan says. May be repeated: a release that is there already is adopted.
    async fn apply(
        &self,
        target: &Target,
        deployment: &Deployment,
        plan: &Plan,
    ) -> Result<Applied, DeploymentError>;

    /// Looks once how far an applied release is.
    async fn status(&self, target: &Target, deployment: &Deployment) -> Result<Progress, DeploymentError>;
}

/// Every adapter, by name.
#[derive(Clone, Debug)]
pub struct Adapters {
    /// Invariant: has every name.
    by_name: BTreeMap<AdapterName, Arc<dyn Adapter>>,
}

impl Default for Adapters {
    fn default() -> Self {
        let adapter = |name| -> Arc<dyn Adapter> {
            match name {
                AdapterName::External => Arc::new(External),
                AdapterName::Runbook => Arc::new(Runbook),
                AdapterName::Aws
                | AdapterName::Fly
                | AdapterName::Gcp
                | AdapterName::K8s
                | AdapterName::Render => Arc::new(Absent::new(name)),
            }
        };
        Self { by_name: AdapterName::ALL.into_iter().map(|name| (name, adapter(name))).collect() }
    }
}

impl Adapters {
    /// The same with this one under its name.
    #[must_use]
    pub fn with(mut self, adapter: Arc<dyn Adapter>) -> Self {
        self.by_name.insert(adapter.name(), adapter);
        self
    }

    /// The adapter of this name. One that is not configured is there, too, and says so when it is asked.
    pub fn get(&self, name: AdapterName) -> Result<&Arc<dyn Adapter>, DeploymentError> {
        self.by_name.get(&name).ok_or_else(|| DeploymentError::not_configured(name))
    }
}

//! As much of Kubernetes' objects as is read here. Pods and templates also hold the values of environment variables:
//! those are never kept.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{FIELD_MANAGER, RELEASE};
use crate::error::CallError;
use crate::transport::Operation;

pub(super) const POD_TEMPLATE_HASH: &str = "pod-template-hash";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";

/// Reads an object out of an answer that was JSON.
pub(super) fn read<T: DeserializeOwned>(operation: Operation, whole: &Value) -> Result<T, CallError> {
    // What stands in the wrong place is not repeated: it may be anything.
    T::deserialize(whole).map_err(|_| {
        let message = "the answer is not what was agreed";
        CallError::new(super::api::VENDOR, operation.name, operation.effect.when_lost(), None, message)
    })
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    pub(super) generation: i64,
    pub(super) creation_timestamp: Option<Timestamp>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) owner_references: Vec<Owner>,
    pub(super) managed_fields: Vec<Managed>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Owner {
    pub(super) uid: String,
}

/// What one manager owns.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Managed {
    pub(super) manager: String,
    pub(super) operation: String,
    pub(super) time: Option<Timestamp>,
    pub(super) fields_v1: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Workload {
    pub(super) metadata: Metadata,
    pub(super) spec: WorkloadSpec,
    pub(super) status: WorkloadStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WorkloadSpec {
    pub(super) replicas: Option<i64>,
    pub(super) paused: bool,
    pub(super) progress_deadline_seconds: Option<i64>,
    pub(super) selector: Selector,
    pub(super) strategy: Strategy,
    pub(super) template: Template,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Strategy {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) rolling_update: Option<RollingUpdate>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RollingUpdate {
    /// A number, or a percentage.
    pub(super) max_unavailable: Value,
    pub(super) max_surge: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Template {
    pub(super) spec: TemplateSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TemplateSpec {
    pub(super) containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WorkloadStatus {
    pub(super) observed_generation: i64,
    pub(super) replicas: i64,
    pub(super) updated_replicas: i64,
    pub(super) available_replicas: i64,
    pub(super) conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) last_transition_time: Option<Timestamp>,
    pub(super) last_update_time: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ReplicaSet {
    pub(super) metadata: Metadata,
    pub(super) status: ReplicaSetStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ReplicaSetStatus {
    pub(super) conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) metadata: Metadata,
    pub(super) status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodStatus {
    pub(super) phase: String,
    pub(super) conditions: Vec<Condition>,
    pub(super) container_statuses: Vec<ContainerStatus>,
    pub(super) init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    pub(super) state: ContainerState,
    pub(super) last_state: ContainerState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerState {
    pub(super) waiting: Option<Waiting>,
    pub(super) terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Waiting {
    pub(super) reason: String,
    pub(super) message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Terminated {
    pub(super) exit_code: i64,
    pub(super) reason: String,
    pub(super) message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    pub(super) reason: String,
    pub(super) message: String,
}

/// Which labels an object has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Selector {
    pub(super) match_labels: BTreeMap<String, String>,
    pub(super) match_expressions: Vec<Expression>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Expression {
    pub(super) key: String,
    pub(super) operator: String,
    pub(super) values: Vec<String>,
}

impl fmt::Display for Selector {
    /// As a list takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let equal = self.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
        let other = self.match_expressions.iter().map(|Expression { key, operator, values }| {
            let values = values.join(",");
            match operator.as_str() {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "DoesNotExist" => format!("!{key}"),
                _ => key.clone(),
            }
        });
        f.write_str(&equal.chain(other).collect::<Vec<_>>().join(","))
    }
}

impl Workload {
    /// The release that the annotation names.
    pub(super) fn release(&self) -> Option<&str> {
        self.metadata.annotations.get(RELEASE).map(String::as_str)
    }

    pub(super) fn image(&self, container: &str) -> Option<&str> {
        let containers = &self.spec.template.spec.containers;
        containers.iter().find(|one| one.name == container).map(|one| one.image.as_str())
    }

    /// The release was applied to it, and nobody changed the image since.
    pub(super) fn runs(&self, release: &str, container: &str) -> bool {
        self.release() == Some(release) && self.owners(container).any(is_ours)
    }

    /// Who else owns the image.
    pub(super) fn others(&self, container: &str) -> Vec<&str> {
        self.owners(container).filter(|one| !is_ours(one)).map(|one| one.manager.as_str()).collect()
    }

    /// When the image was last applied by us, in the API server's time.
    pub(super) fn applied_at(&self) -> Option<Timestamp> {
        self.metadata.managed_fields.iter().find(|one| is_ours(one)).and_then(|one| one.time)
    }

    fn owners(&self, container: &str) -> impl Iterator<Item = &Managed> {
        let item = format!("k:{}", serde_json::json!({ "name": container }));
        self.metadata.managed_fields.iter().filter(move |one| {
            let path = ["f:spec", "f:template", "f:spec", "f:containers", &item, "f:image"];
            path.iter().try_fold(&one.fields_v1, |fields, name| fields.get(name)).is_some()
        })
    }

    pub(super) fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|one| one.kind == kind)
    }

    pub(super) fn revision(&self) -> Option<&str> {
        self.metadata.annotations.get(REVISION).map(String::as_str)
    }

    /// The set of the rollout that is under way.
    pub(super) fn newest(&self, sets: Vec<ReplicaSet>) -> Option<ReplicaSet> {
        sets.into_iter().find(|set| {
            set.metadata.is_owned_by(&self.metadata)
                && set.metadata.annotations.get(REVISION).map(String::as_str) == self.revision()
        })
    }
}

fn is_ours(managed: &Managed) -> bool {
    managed.manager == FIELD_MANAGER && managed.operation == "Apply"
}

impl Metadata {
    fn is_owned_by(&self, owner: &Self) -> bool {
        self.owner_references.iter().any(|one| one.uid == owner.uid)
    }
}

impl ReplicaSet {
    /// Why it cannot make the pods that it should, if it cannot.
    pub(super) fn failure(&self) -> Option<&Condition> {
        self.status.conditions.iter().find(|one| one.kind == "ReplicaFailure" && one.status == "True")
    }
}

impl Pod {
    pub(super) fn belongs_to(&self, set: &ReplicaSet) -> bool {
        self.metadata.is_owned_by(&set.metadata)
    }

    pub(super) fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|one| one.kind == kind)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|one| one.status == "True")
    }

    /// Since when it is not ready.
    pub(super) fn unready_since(&self) -> Option<Timestamp> {
        let condition = self.condition("Ready").and_then(|one| one.last_transition_time);
        condition.or(self.metadata.creation_timestamp)
    }
}

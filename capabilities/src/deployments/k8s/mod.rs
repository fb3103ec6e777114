//! Kubernetes, API group `apps/v1`: the image of one container of a Deployment.
//!
//! The image is set by server-side apply under the field manager `harmony`, together with the annotation
//! [`RELEASE`], which names the release. Nothing else of the Deployment is touched, and nothing is created: a workload
//! that is not there is refused. Who else manages the image keeps it, unless the target names them in `takeOverFrom`,
//! the plan says so, and nobody changed the object in between.
//!
//! How a repeated call is recognised: a Deployment that carries the release's annotation, and whose image is still
//! ours by `managedFields`, was deployed already. A plan that was made for another image or another object of that name
//! is refused as stale. Dry run is the API server's own: the plan's difference is what its admission would store.
//!
//! How a rollout is judged ([`rollout`]): as Kubernetes' own controller does, by `observedGeneration`, the counts of
//! replicas and the conditions. The controller retries what a registry, a quota or an admission policy denies until
//! the Deployment's `progressDeadlineSeconds` are over; here such trouble is a failure once it has lasted for
//! [`Settings::patience`], with the API server's or the kubelet's own words.
//!
//! Vague in Kubernetes: a condition of an earlier rollout stays until something progresses, so a condition older than
//! our apply is not believed. Limits: the API server's own fairness, answered by 429 with `Retry-After`.
//!
//! Calls go through kube-rs for its credentials and TLS. Answers are read here, since its client reads them whole
//! however long they are, and logs the ones that it cannot read. Rights it needs: `get` and `patch` on Deployments,
//! `list` on `ReplicaSet`s, Pods and Events of the namespace.

pub mod access;
mod api;
mod change;
mod objects;
mod rollout;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use kube::core::Request;
use kube::core::params::{GetParams, ListParams, Patch, PatchParams, ValidationDirective};
use serde_json::Value;

use super::{
    Adapter, AdapterName, Applied, Deployment, DeploymentError, FieldConflict, Plan, Progress, Target,
};
use crate::transport::Operation;
use access::Access;
use change::Change;
use objects::{Event, List, POD_TEMPLATE_HASH, Pod, ReplicaSet, Workload};
use rollout::{Look, Standing};

pub use access::AccessError;

/// The annotation that names the release a Deployment runs.
pub const RELEASE: &str = "harmony.dev/release";
/// The field manager that the image and the annotation are applied under.
pub const FIELD_MANAGER: &str = "harmony";

const NAME: AdapterName = AdapterName::K8s;

const GET: Operation = Operation::reads("deployments.get");
const PLAN: Operation = Operation::reads("deployments.apply (dry run)");
const APPLY: Operation = Operation::acts("deployments.apply");
const LIST_REPLICA_SETS: Operation = Operation::reads("replicasets.list");
const LIST_PODS: Operation = Operation::reads("pods.list");
const LIST_EVENTS: Operation = Operation::reads("events.list");

/// So many pods of a rollout, and events of a pod, are looked at: one is enough to say why it does not go on.
const LOOKED_AT: u32 = 50;
/// How long trouble that Kubernetes retries may last, unless a setting says otherwise: longer than the 30 s that pods
/// have to end, which hold their share of a quota until then.
const PATIENCE: Duration = Duration::from_secs(120);

/// How the clusters are reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the catalog calls the cluster that this process runs in, as a pod with a service account's token.
    pub in_cluster: Option<String>,
    /// A kubeconfig whose contexts are called like the catalog's clusters.
    pub kubeconfig: Option<PathBuf>,
    /// How long trouble that Kubernetes retries by itself may last before it is a failure.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { in_cluster: None, kubeconfig: None, patience: PATIENCE }
    }
}

/// See the module.
#[derive(Debug)]
pub struct K8s {
    access: Access,
    patience: Duration,
}

impl K8s {
    /// Reads the kubeconfig, if one is set, and connects to nothing.
    pub fn new(settings: Settings) -> Result<Self, AccessError> {
        let Settings { in_cluster, kubeconfig, patience } = settings;
        Ok(Self { access: Access::new(in_cluster, kubeconfig)?, patience })
    }

    /// The clusters that targets may name.
    #[must_use]
    pub fn clusters(&self) -> Vec<&str> {
        self.access.clusters()
    }

    async fn workload(&self, place: &Place) -> Result<(Value, Workload), DeploymentError> {
        let request = place.deployments().get(&place.workload, &GetParams::default());
        let whole: Value = self.access.call(&place.cluster, GET, request).await?;
        let workload = objects::read(GET, &whole)?;
        Ok((whole, workload))
    }

    /// Server-side apply, as a dry run or for good. `force` takes fields away from those who own them.
    async fn send(
        &self,
        place: &Place,
        operation: Operation,
        body: &Value,
        force: bool,
    ) -> Result<Value, DeploymentError> {
        let parameters = PatchParams {
            dry_run: operation.name == PLAN.name,
            force,
            field_manager: Some(FIELD_MANAGER.to_owned()),
            field_validation: Some(ValidationDirective::Strict),
        };
        let request = place.deployments().patch(&place.workload, &parameters, &Patch::Apply(body));
        self.access.call(&place.cluster, operation, request).await
    }

    /// What the API server would store, and whom the fields would be taken from.
    async fn rehearse(
        &self,
        place: &Place,
        change: &Change,
        version: Option<&str>,
        may_take_from: &[String],
    ) -> Result<(Value, Vec<FieldConflict>), DeploymentError> {
        let body = change.patch(version);
        let refused = match self.send(place, PLAN, &body, false).await {
            Ok(stored) => return Ok((stored, Vec::new())),
            Err(DeploymentError::Conflict(fields)) => fields,
            Err(error) => return Err(error),
        };
        if refused.iter().any(|field| !may_take_from.contains(&field.owner)) {
            return Err(DeploymentError::Conflict(refused));
        }
        Ok((self.send(place, PLAN, &body, true).await?, refused))
    }

    /// What is known about why a rollout does not go on.
    async fn look(&self, place: &Place, workload: &Workload) -> Result<Look, DeploymentError> {
        let selector = workload.spec.selector.to_string();
        let request = place.replica_sets().list(&ListParams::default().labels(&selector));
        let sets: List<ReplicaSet> = self.access.call(&place.cluster, LIST_REPLICA_SETS, request).await?;
        let Some(newest) = workload.newest(sets.items) else { return Ok(Look::default()) };
        let hash = newest.metadata.labels.get(POD_TEMPLATE_HASH).map_or("", String::as_str);
        let labels = format!("{selector},{POD_TEMPLATE_HASH}={hash}");
        let of_set = ListParams::default().labels(&labels).limit(LOOKED_AT);
        let pods: List<Pod> = self.access.call(&place.cluster, LIST_PODS, place.pods().list(&of_set)).await?;
        let pods: Vec<Pod> = pods.items.into_iter().filter(|pod| pod.belongs_to(&newest)).collect();
        let mut look = Look { failure: newest.failure().cloned(), pods, events: Vec::new() };
        // Only the kubelet's events say why a container that runs is not ready.
        if let Some(pod) = look.unexplained() {
            let fields = format!("involvedObject.uid={},type=Warning", pod.metadata.uid);
            let about = ListParams::default().fields(&fields).limit(LOOKED_AT);
            let events: List<Event> =
                self.access.call(&place.cluster, LIST_EVENTS, place.events().list(&about)).await?;
            look.events = events.items;
        }
        Ok(look)
    }
}

#[async_trait]
impl Adapter for K8s {
    fn name(&self) -> AdapterName {
        NAME
    }

    async fn plan(&self, target: &Target, deployment: &Deployment) -> Result<Plan, DeploymentError> {
        let place = Place::of(target)?;
        let (before, workload) = self.workload(&place).await?;
        let mut change = Change::new(&place, target, deployment, &workload)?;
        let (after, taken) = self.rehearse(&place, &change, None, &target.take_over_from).await?;
        change.take_from(&taken);
        let mut steps = change.steps(&workload);
        steps.extend(change::others(&before, &after, &change.container));
        let document = serde_json::to_value(&change)
            .map_err(|error| DeploymentError::target(NAME, format!("the plan cannot be written: {error}")))?;
        Ok(Plan::new(NAME, steps, document))
    }

    async fn apply(
        &self,
        target: &Target,
        deployment: &Deployment,
        plan: &Plan,
    ) -> Result<Applied, DeploymentError> {
        let place = Place::of(target)?;
        let change = Change::of(plan, &place, deployment)?;
        let (_, workload) = self.workload(&place).await?;
        if workload.runs(&change.release, &change.container) {
            return Ok(change.applied(&workload, true));
        }
        change.check(&workload)?;
        let stored = if change.take_over_from.is_empty() {
            self.send(&place, APPLY, &change.patch(None), false).await?
        } else {
            // Taken only from those that the plan names, and only if nobody changed the object since they were asked.
            let version = Some(workload.metadata.resource_version.as_str());
            self.rehearse(&place, &change, version, &change.take_over_from).await?;
            self.send(&place, APPLY, &change.patch(version), true).await?
        };
        Ok(change.applied(&objects::read(APPLY, &stored)?, false))
    }

    async fn status(&self, target: &Target, deployment: &Deployment) -> Result<Progress, DeploymentError> {
        let place = Place::of(target)?;
        let workload = match self.workload(&place).await {
            Ok((_, workload)) => workload,
            Err(DeploymentError::Call(error)) if error.status() == Some(404) => {
                return Ok(Progress::Failed { reason: error.message().to_owned() });
            }
            Err(error) => return Err(error),
        };
        let container = change::container(target, &workload)?;
        match rollout::standing(&workload, &deployment.release_id, &container) {
            Standing::Settled(progress) => Ok(progress),
            Standing::Open(open) => {
                let look = self.look(&place, &workload).await?;
                Ok(open.judge(&look, Timestamp::now(), self.patience))
            }
        }
    }
}

/// A Deployment's address. Its parts are names as Kubernetes takes them, so that none of them can be a path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    cluster: String,
    namespace: String,
    workload: String,
}

impl Place {
    fn of(target: &Target) -> Result<Self, DeploymentError> {
        let wrong = |reason: String| DeploymentError::target(NAME, reason);
        let namespace = target.namespace.clone().ok_or_else(|| {
            wrong(format!("{} has no namespace for {}: name one", target.service, target.environment))
        })?;
        let workload = target.workload.clone().unwrap_or_else(|| target.service.clone());
        for (what, name, longest, may_have_dots) in
            [("namespace", &namespace, 63, false), ("workload", &workload, 253, true)]
        {
            if !is_name(name, longest, may_have_dots) {
                return Err(wrong(format!("{name:?} is no name of a {what} in Kubernetes")));
            }
        }
        if target.cluster.is_empty() {
            return Err(wrong(format!("{} has no cluster: name one", target.environment)));
        }
        Ok(Self { cluster: target.cluster.clone(), namespace, workload })
    }

    fn deployments(&self) -> Request {
        Request::new(format!("/apis/apps/v1/namespaces/{}/deployments", self.namespace))
    }

    fn replica_sets(&self) -> Request {
        Request::new(format!("/apis/apps/v1/namespaces/{}/replicasets", self.namespace))
    }

    fn pods(&self) -> Request {
        Request::new(format!("/api/v1/namespaces/{}/pods", self.namespace))
    }

    fn events(&self) -> Request {
        Request::new(format!("/api/v1/namespaces/{}/events", self.namespace))
    }
}

/// A DNS label, or labels with dots between them.
fn is_name(text: &str, longest: usize, may_have_dots: bool) -> bool {
    let is_label = |label: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty() && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= longest && if may_have_dots { text.split('.').all(is_label) } else { is_label(text) }
}

//! A namespace with a Deployment in it, somebody who administers it, and the adapter.

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use harmony_capabilities::{
    deployments::{
        Adapter as _, Applied, Deployment, DeploymentError, Plan, Progress, Target,
        k8s::{K8s, Settings},
    },
    error::Fate,
};
use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::control_plane::{self, ControlPlane, NODE};

/// As the catalog calls it.
pub(crate) const CLUSTER: &str = "prod";
/// The user that the shipped role is bound to, in every namespace of a test.
pub(crate) const HARMONY: &str = "harmony";
/// A user who may look at Deployments and nothing else.
pub(crate) const READER: &str = "reader";
/// The user that the shipped role for runbook cells is bound to.
pub(crate) const CELLS: &str = "cells";
/// The field manager that makes the Deployments.
pub(crate) const PLATFORM: &str = "platform-team";
/// The role that is shipped.
const ROLE: &str = "../deploy/k8s/components/deployments/role.yaml";
/// Until something has happened that surely will, on a busy machine.
const PATIENT: Duration = Duration::from_secs(90);

async fn control_plane() -> Option<&'static ControlPlane> {
    static PLANE: OnceCell<Option<ControlPlane>> = OnceCell::const_new();
    let start = async || match ControlPlane::start(&[HARMONY, READER, CELLS]).await {
        Ok(plane) => Some(plane),
        Err(why) => {
            control_plane::left_out("deployments to Kubernetes", &why);
            None
        }
    };
    PLANE.get_or_init(start).await.as_ref()
}

pub(crate) struct World {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) namespace: String,
    admin: Client,
}

impl World {
    /// `None` where there is no control plane, which was said.
    pub(crate) async fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        drop(rustls::crypto::ring::default_provider().install_default());
        let plane = control_plane().await?;
        let admin = plane.admin().await.unwrap();
        let namespace = format!("shop-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let world = Self { plane, namespace, admin };
        world.prepare().await;
        Some(world)
    }

    /// A namespace, a node, and rights: those of the shipped role for Harmony.
    async fn prepare(&self) {
        let namespace = json!({ "metadata": { "name": self.namespace } });
        self.apply("/api/v1/namespaces", &self.namespace, "v1", "Namespace", namespace).await;
        let resources = json!({ "cpu": "64", "memory": "64Gi", "pods": "1000" });
        let node = json!({ "metadata": { "name": NODE } });
        self.apply("/api/v1/nodes", NODE, "v1", "Node", node).await;
        let status = json!({ "status": { "allocatable": resources, "capacity": resources } });
        let path = format!("/api/v1/nodes/{NODE}/status");
        self.patch(&path, "kubelet", &self.whole("v1", "Node", NODE, status)).await;
        for document in std::fs::read_to_string(ROLE).unwrap().split("\n---\n") {
            let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/harmony-deployments";
            self.apply_text(path, "kubectl", document).await.unwrap();
        }
        self.bind(HARMONY, "ClusterRole", "harmony-deployments").await;
        let rules = json!({
            "metadata": { "name": "reader" },
            "rules": [{ "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"] }],
        });
        let api = "rbac.authorization.k8s.io/v1";
        let path = format!("/apis/{api}/namespaces/{}/roles", self.namespace);
        self.apply(&path, "reader", api, "Role", rules).await;
        self.bind(READER, "Role", "reader").await;
    }

    pub(crate) async fn bind(&self, user: &str, kind: &str, role: &str) {
        let api = "rbac.authorization.k8s.io/v1";
        let binding = json!({
            "metadata": { "name": user },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
        });
        let path = format!("/apis/{api}/namespaces/{}/rolebindings", self.namespace);
        self.apply(&path, user, api, "RoleBinding", binding).await;
    }

    /// The Deployment `checkout` of this image, made as somebody with `kubectl create` makes it, with more in its spec.
    pub(crate) async fn workload(&self, image: &str, more: Value) {
        let mut spec = json!({
            "replicas": 2,
            "selector": { "matchLabels": { "app": "checkout" } },
            "template": {
                "metadata": { "labels": { "app": "checkout" } },
                "spec": { "nodeName": NODE, "containers": [{ "name": "app", "image": image }] },
            },
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            spec[name] = value.clone();
        }
        let path = format!("{}?fieldManager={PLATFORM}", self.workloads());
        let body = json!({ "metadata": { "name": "checkout" }, "spec": spec });
        self.ask(Method::POST, &path, self.whole("apps/v1", "Deployment", "checkout", body)).await.unwrap();
    }

    pub(crate) fn workloads(&self) -> String {
        format!("/apis/apps/v1/namespaces/{}/deployments", self.namespace)
    }

    /// The Deployment as it is.
    pub(crate) async fn now(&self) -> Value {
        self.ask(Method::GET, &format!("{}/checkout", self.workloads()), Value::Null).await.unwrap()
    }

    pub(crate) async fn replica_sets(&self) -> Vec<Value> {
        let path = format!("/apis/apps/v1/namespaces/{}/replicasets", self.namespace);
        let list = self.ask(Method::GET, &path, Value::Null).await.unwrap();
        list["items"].as_array().unwrap().clone()
    }

    pub(crate) async fn pods(&self) -> Vec<Value> {
        let path = format!("/api/v1/namespaces/{}/pods", self.namespace);
        let list = self.ask(Method::GET, &path, Value::Null).await.unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Sets the image as another field manager, by force.
    pub(crate) async fn take(&self, manager: &str, image: &str) {
        let spec = json!({ "template": { "spec": { "containers": [{ "name": "app", "image": image }] } } });
        let body = self.whole("apps/v1", "Deployment", "checkout", json!({ "spec": spec }));
        self.patch(&format!("{}/checkout", self.workloads()), manager, &body).await;
    }

    pub(crate) fn whole(&self, api: &str, kind: &str, name: &str, body: Value) -> Value {
        let mut whole = json!({ "apiVersion": api, "kind": kind, "metadata": { "name": name } });
        for (name, value) in body.as_object().into_iter().flatten() {
            whole[name] = value.clone();
        }
        whole
    }

    pub(crate) async fn apply(&self, path: &str, name: &str, api: &str, kind: &str, body: Value) {
        self.patch(&format!("{path}/{name}"), PLATFORM, &self.whole(api, kind, name, body)).await;
    }

    pub(crate) async fn patch(&self, path: &str, manager: &str, body: &Value) {
        self.apply_text(path, manager, &body.to_string()).await.unwrap();
    }

    pub(crate) async fn apply_text(&self, path: &str, manager: &str, text: &str) -> kube::Result<Value> {
        let request = Request::patch(format!("{path}?fieldManager={manager}&force=true"))
            .header("content-type", "application/apply-patch+yaml")
            .body(text.as_bytes().to_vec())
            .unwrap();
        self.admin.request(request).await
    }

    /// What the administrator asks of the API server.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Value) -> kube::Result<Value> {
        ask_as(&self.admin, method, path, body).await
    }

    /// The adapter with Harmony's token.
    pub(crate) fn harmony(&self) -> Site<'_> {
        self.site(&self.plane.kubeconfig(CLUSTER, HARMONY))
    }

    pub(crate) fn site(&self, kubeconfig: &Path) -> Site<'_> {
        self.site_with(Settings { kubeconfig: Some(kubeconfig.to_owned()), ..Settings::default() })
    }

    pub(crate) fn site_with(&self, settings: Settings) -> Site<'_> {
        let target = Target {
            service: "checkout".to_owned(),
            environment: "prod-eu".to_owned(),
            region: "eu-central-1".to_owned(),
            cluster: CLUSTER.to_owned(),
            namespace: Some(self.namespace.clone()),
            take_over_from: vec![PLATFORM.to_owned()],
            ..Target::default()
        };
        Site { world: self, adapter: K8s::new(settings).unwrap(), target }
    }
}

/// The adapter, and where it deploys to.
pub(crate) struct Site<'a> {
    world: &'a World,
    pub(crate) adapter: K8s,
    pub(crate) target: Target,
}

impl Site<'_> {
    pub(crate) async fn plan(&self, release: &Deployment) -> Result<Plan, DeploymentError> {
        self.adapter.plan(&self.target, release).await
    }

    /// Again while it surely did not happen, as an activity does: a controller writes to a new object all the time, and
    /// what is taken over is taken only as it was looked at.
    pub(crate) async fn apply(&self, release: &Deployment, plan: &Plan) -> Result<Applied, DeploymentError> {
        loop {
            match self.adapter.apply(&self.target, release, plan).await {
                Err(error) if error.fate() == Fate::Unavailable => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                settled => return settled,
            }
        }
    }

    pub(crate) async fn status(&self, release: &Deployment) -> Progress {
        self.adapter.status(&self.target, release).await.unwrap()
    }

    /// Plans and applies.
    pub(crate) async fn deploy(&self, release: &Deployment) -> Applied {
        let plan = self.plan(release).await.unwrap();
        self.apply(release, &plan).await.unwrap()
    }

    /// Asks again until it is no longer on its way.
    pub(crate) async fn settled(&self, release: &Deployment) -> Progress {
        let began = Instant::now();
        loop {
            match self.status(release).await {
                Progress::Running { detail } if began.elapsed() > PATIENT => {
                    panic!("{}: still {detail}", self.world.namespace)
                }
                Progress::Running { .. } => tokio::time::sleep(Duration::from_millis(200)).await,
                settled => return settled,
            }
        }
    }

    pub(crate) async fn active(&self, release: &Deployment) -> String {
        match self.settled(release).await {
            Progress::Active { detail } => detail,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn failed(&self, release: &Deployment) -> String {
        match self.settled(release).await {
            Progress::Failed { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    /// Asks again until it is on its way with these words.
    pub(crate) async fn running_with(&self, release: &Deployment, words: &str) -> String {
        let began = Instant::now();
        loop {
            match self.status(release).await {
                Progress::Running { detail } if detail.contains(words) => return detail,
                other if began.elapsed() > PATIENT => panic!("never {words:?}: {other:?}"),
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

/// What somebody asks of the API server.
pub(crate) async fn ask_as(client: &Client, method: Method, path: &str, body: Value) -> kube::Result<Value> {
    let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(bytes)
        .unwrap();
    let text = client.request_text(request).await?;
    Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

pub(crate) fn release(id: &str, version: &str) -> Deployment {
    Deployment { release_id: id.to_owned(), sha: "4f2c1d0".to_owned(), version: version.to_owned() }
}

pub(crate) fn image(workload: &Value) -> &str {
    workload["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap()
}

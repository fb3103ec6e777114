//! A release goes out to a real Kubernetes while its worker is killed at every point, and while an answer is lost: each
//! time one apply, one record of each status, and the next worker adopts what it finds. The same with runbook cells that run
//! as Jobs stands in `cells.rs`.
//!
//! `cargo test -p harmony-tests --features kubernetes --test kubernetes`. The control plane is the one of
//! `capabilities/tests/support`, built once into the cache; where it cannot be, the test says aloud that it was left out.
//! Between the worker and the API server stands a server that holds a request or breaks off an answer.

#![allow(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod cells;
#[path = "../../capabilities/tests/support/control_plane/mod.rs"]
mod control_plane;
#[path = "../stories/world.rs"]
#[allow(dead_code, reason = "the stories need more of it")]
mod world;

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::State,
    http::{Method, Request, Response},
};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::Notify;

use control_plane::{ADMIN, ControlPlane, NODE, left_out};
use world::{POLICY, World};

/// As the catalog calls the cluster.
const CLUSTER: &str = "prod";
const WORKLOADS: &str = "/apis/apps/v1/namespaces/shop/deployments";

const CATALOG: &str = r#"
[[environments]]
id = "env-k8s"
name = "staging"
region = "local"
cluster = "prod"

[[services]]
id = "svc-shop"
name = "shop"
repo = "github.com/example/shop"
adapters = ["k8s"]
[[services.targets]]
environment = "env-k8s"
adapter = "k8s"
[services.targets.settings]
namespace = "shop"
deployment = "checkout"
takeOverFrom = "platform-team"
"#;

/// Where the worker is stopped, or what it does not hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The apply has left the worker and has not arrived.
    BeforeApply,
    /// The apply was carried out, and its answer is still on the way.
    AfterApply,
    /// The apply was carried out and answered, and nothing of how it ended is on record: the first look is held.
    BeforeRecord,
    /// The apply was carried out, and the connection breaks; nobody is killed.
    AnswerLost,
}

#[derive(Clone)]
struct Between {
    client: Client,
    /// Somebody waits for an answer that never comes.
    hold: Hold<Fault>,
    /// Applies that the API server carried out.
    applies: Arc<AtomicU32>,
    /// The next look is held.
    looks: Arc<AtomicBool>,
}

/// Stops what comes at one moment for as long as somebody waits for its answer.
#[derive(Clone)]
struct Hold<T> {
    next: Arc<Mutex<Option<T>>>,
    held: Arc<Notify>,
}

impl<T> Default for Hold<T> {
    fn default() -> Self {
        Self { next: Arc::default(), held: Arc::default() }
    }
}

impl<T: PartialEq> Hold<T> {
    /// Takes the moment, where it is this one.
    fn is_now(&self, moment: T) -> bool {
        let mut next = self.next.lock().unwrap();
        let is_it = *next == Some(moment);
        if is_it {
            *next = None;
        }
        is_it
    }

    async fn held(&self) -> Response<Body> {
        self.held.notify_one();
        std::future::pending().await
    }
}

async fn pass(State(between): State<Between>, request: Request<Body>) -> Response<Body> {
    let is_dry = request.uri().query().unwrap_or_default().contains("dryRun");
    let is_apply = request.method() == Method::PATCH && !is_dry;
    if is_apply && between.hold.is_now(Fault::BeforeApply) {
        return between.hold.held().await;
    }
    let carries_release = |applied: &[u8]| String::from_utf8_lossy(applied).contains("harmony.dev/release");
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    for name in ["host", "authorization"] {
        parts.headers.remove(name);
    }
    let is_look = parts.method == Method::GET;
    let request = Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let answer = between.client.send(request).await.unwrap();
    let status = answer.status();
    let body = to_bytes(Body::new(answer.into_body()), usize::MAX).await.unwrap();
    if is_apply && status.is_success() && carries_release(&body) {
        between.applies.fetch_add(1, Ordering::SeqCst);
        if between.hold.is_now(Fault::AfterApply) {
            return between.hold.held().await;
        }
        if between.hold.is_now(Fault::AnswerLost) {
            let gone = async { Err::<Bytes, _>(io::Error::other("gone")) };
            return Response::new(Body::from_stream(futures_util::stream::once(gone)));
        }
        // From here on a look is one at what was applied.
        if between.hold.is_now(Fault::BeforeRecord) {
            between.looks.store(true, Ordering::SeqCst);
        }
    } else if is_look && between.looks.swap(false, Ordering::SeqCst) {
        return between.hold.held().await;
    }
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap()
}

/// The API server, as whoever may everything.
struct Cluster(Client);

impl Cluster {
    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let kind = if method == Method::PATCH { "application/apply-patch+yaml" } else { "application/json" };
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let text = self.0.request_text(request.body(body).unwrap()).await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// A node, and a namespace.
    async fn with_namespace(&self, name: &str) {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        self.ask(Method::POST, "/api/v1/namespaces", namespace).await;
        let resources = json!({ "cpu": "64", "memory": "64Gi", "pods": "1000" });
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE },
            "status": { "allocatable": resources, "capacity": resources } });
        self.ask(Method::POST, "/api/v1/nodes", node.clone()).await;
        let status = format!("/api/v1/nodes/{NODE}/status?fieldManager=kubelet&force=true");
        self.ask(Method::PATCH, &status, node).await;
    }

    /// The Deployment `checkout` as the platform's people make it.
    async fn prepared(&self) {
        self.with_namespace("shop").await;
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "checkout" },
            "spec": {
                "replicas": 2,
                "selector": { "matchLabels": { "app": "checkout" } },
                "template": {
                    "metadata": { "labels": { "app": "checkout" } },
                    "spec": { "nodeName": NODE, "containers": [{ "name": "app", "image": "registry/checkout:1.0.0" }] },
                },
            },
        });
        self.ask(Method::POST, &format!("{WORKLOADS}?fieldManager=platform-team"), deployment).await;
    }

    async fn deployment(&self) -> Value {
        self.ask(Method::GET, &format!("{WORKLOADS}/checkout"), Value::Null).await
    }
}

#[tokio::test]
async fn a_deployment_whose_worker_is_killed_at_any_point_happens_once_and_is_adopted() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let plane = match ControlPlane::start(&[]).await {
        Ok(plane) => plane,
        Err(why) => return left_out("a killed deployment to Kubernetes", &why),
    };
    let cluster = Cluster(plane.admin().await.unwrap());
    cluster.prepared().await;
    let between = Between {
        client: plane.admin().await.unwrap(),
        hold: Hold::default(),
        applies: Arc::default(),
        looks: Arc::default(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(pass).with_state(between.clone());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let kubeconfig = plane.kubeconfig_to(CLUSTER, &url, "", ADMIN);
    let kubeconfig = kubeconfig.display().to_string();
    let world = World::start_with(POLICY, &[("HARMONY_KUBECONFIG", kubeconfig.as_str())]).await;
    let file = world.dir.path().join("shop.toml");
    std::fs::write(&file, CATALOG).unwrap();
    let applied = world.harmony(&["catalog", "apply", file.to_str().unwrap()]);
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));

    let faults = [Fault::BeforeApply, Fault::AfterApply, Fault::BeforeRecord, Fault::AnswerLost];
    for (number, fault) in (1_u32..).zip(faults) {
        *between.hold.next.lock().unwrap() = Some(fault);
        let version = format!("1.{number}.0");
        let body = json!({ "serviceId": "svc-shop", "envId": "env-k8s", "sha": format!("4f2c1d{number}"), "version": version });
        let release = world.post("releases", body).await["id"].as_str().unwrap().to_owned();
        if fault != Fault::AnswerLost {
            let held =
                tokio::time::timeout(std::time::Duration::from_secs(180), between.hold.held.notified());
            held.await.unwrap_or_else(|_| panic!("{fault:?}: nobody applied"));
            world.kill("worker");
        }
        let runs = world
            .until(&format!("the run of {fault:?} to end"), async || {
                let runs = world.get(&format!("runs?releaseId={release}")).await["runs"].clone();
                runs[0]["finishedAt"].is_string().then_some(runs)
            })
            .await;
        // One run, which says how it went.
        assert_eq!(runs.as_array().unwrap().len(), 1, "{fault:?}: {runs}");
        assert_eq!(runs[0]["outcome"], "succeeded", "{fault:?}: {runs}");
        let said = runs[0]["logs"].as_array().unwrap();
        let said: Vec<&str> = said.iter().map(|line| line["message"].as_str().unwrap()).collect();
        let adopted = said.iter().any(|line| line.starts_with("It is there already"));
        match fault {
            Fault::BeforeApply => assert!(!adopted, "nothing was there: {said:?}"),
            Fault::AfterApply | Fault::AnswerLost => assert!(adopted, "{fault:?}: {said:?}"),
            // Whether the worker had told Temporal before it was killed, nobody knows.
            Fault::BeforeRecord => {}
        }
        // One deployment.
        assert_eq!(between.applies.load(Ordering::SeqCst), number, "{fault:?}");
        let now = cluster.deployment().await;
        assert_eq!(now["metadata"]["annotations"]["harmony.dev/release"], release.as_str(), "{fault:?}");
        assert_eq!(now["metadata"]["generation"], 1 + number, "{fault:?}: {now}");
        let image = &now["spec"]["template"]["spec"]["containers"][0]["image"];
        assert_eq!(image, &format!("registry/checkout:{version}"), "{fault:?}");
        let sets = cluster.ask(Method::GET, "/apis/apps/v1/namespaces/shop/replicasets", Value::Null).await;
        assert_eq!(sets["items"].as_array().unwrap().len(), number as usize + 1, "{fault:?}");
        // One record of each status.
        let events = world.get(&format!("audit?subject={release}&limit=200")).await["events"].clone();
        let count =
            |action: &str| events.as_array().unwrap().iter().filter(|one| one["action"] == action).count();
        let counts = (
            count("deploy.create"),
            count("release.start"),
            count("release.activate"),
            count("release.fail"),
        );
        assert_eq!(counts, (1, 1, 1, 0), "{fault:?}: {events}");
    }
    world.verified().await;
    server.abort();
}

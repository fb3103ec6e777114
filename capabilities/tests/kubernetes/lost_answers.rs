//! A worker that never hears what became of its apply. Between it and the API server stands a server that passes the
//! apply on and breaks off the answer.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{Method, Request, Response},
};
use futures_util::stream;
use harmony_capabilities::error::Fate;
use http_body_util::BodyExt as _;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;

use crate::world::{CLUSTER, HARMONY, World, release};

#[derive(Clone)]
struct Between {
    client: Client,
    /// Passes nothing on, or breaks off the answer.
    before: Arc<AtomicBool>,
    after: Arc<AtomicBool>,
    applies: Arc<AtomicU32>,
}

async fn pass(State(between): State<Between>, request: Request<Body>) -> Response<Body> {
    let is_apply =
        request.method() == Method::PATCH && !request.uri().query().unwrap_or_default().contains("dryRun");
    let broken = || {
        Response::new(Body::from_stream(stream::once(async { Err::<Bytes, _>(io::Error::other("gone")) })))
    };
    if is_apply && between.before.swap(false, Ordering::Relaxed) {
        return broken();
    }
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    parts.headers.remove("host");
    let request = Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let answer = between.client.send(request).await.unwrap();
    // What was refused, since a controller wrote in between, is tried again by whoever hears of that.
    if is_apply && answer.status().is_success() {
        between.applies.fetch_add(1, Ordering::Relaxed);
        if between.after.swap(false, Ordering::Relaxed) {
            return broken();
        }
    }
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap()
}

async fn lose(before: bool) {
    let Some(world) = World::new().await else { return };
    world.workload("checkout:1.0.0", json!({})).await;
    let own = Kubeconfig::read_from(world.plane.kubeconfig("own", HARMONY)).unwrap();
    let config = Config::from_custom_kubeconfig(own, &KubeConfigOptions::default()).await.unwrap();
    let between = Between {
        client: Client::try_from(config).unwrap(),
        before: Arc::new(AtomicBool::new(before)),
        after: Arc::new(AtomicBool::new(!before)),
        applies: Arc::default(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(pass).with_state(between.clone());
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    let kubeconfig = world.plane.kubeconfig_to(CLUSTER, &url, "", HARMONY);
    let site = world.site(&kubeconfig);
    let first = release("rel-1", "1.1.0");
    let plan = site.plan(&first).await.unwrap();
    let error = site.apply(&first, &plan).await.unwrap_err();
    assert_eq!(error.fate(), Fate::Unknown, "{error}");
    assert!(
        error.to_string().starts_with("Kubernetes may or may not have carried out deployments.apply: "),
        "{error}"
    );

    // The next worker does the same, and one apply is what came of it.
    let next = world.site(&kubeconfig);
    let applied = next.apply(&first, &plan).await.unwrap();
    assert_eq!(applied.adopted, !before);
    next.active(&first).await;
    assert_eq!(between.applies.load(Ordering::Relaxed), 1);
    assert_eq!(world.now().await["metadata"]["generation"], 2);
    assert_eq!(world.replica_sets().await.len(), 2);
    server.abort();
}

#[tokio::test]
async fn apply_whose_answer_is_lost_is_adopted_by_the_next() {
    lose(false).await;
}

#[tokio::test]
async fn apply_that_never_arrived_is_made_by_the_next() {
    lose(true).await;
}

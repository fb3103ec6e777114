//! How often a list asks the store: as often for 500 services as for 20, and for 40 releases with their runs as for one.
//!
//! A program of its own: statements are counted as sqlx tells of them, for the whole process.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

#[path = "../console/world.rs"]
#[allow(dead_code, reason = "the other tests need more of it")]
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::json;
use tracing::{Event, Metadata, Subscriber, span};

use world::World;

static STATEMENTS: AtomicUsize = AtomicUsize::new(0);

/// Counts the statements that sqlx tells of.
struct Counter;

impl Subscriber for Counter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn event(&self, _: &Event<'_>) {
        STATEMENTS.fetch_add(1, Ordering::SeqCst);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

async fn write(world: &World, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let body = json!({
            "id": format!("svc-{number:03}"), "name": format!("Service {number}"),
            "adapters": { "deployments": ["external"] }, "environments": [{ "id": "env-prod", "name": "prod" }],
            "dependsOn": if number == 0 { json!([]) } else { json!(["svc-000"]) },
        });
        world.post("deployer", "services", body).await.ok(201);
        let body = json!({
            "id": format!("rel-{number:03}"), "serviceId": format!("svc-{number:03}"), "envId": "env-prod",
            "sha": format!("{number:08x}"), "status": "Active",
        });
        world.post("deployer", "releases", body).await.ok(201);
        if number % 5 == 0 {
            let body =
                json!({ "title": "It fails", "severity": "P2", "serviceName": format!("svc-{number:03}") });
            world.post("operator", "incidents", body).await.ok(201);
        }
    }
}

/// Statements of one request: the least of three, after a first that may prepare something. What the console looks after
/// by itself at the same moment adds to the others.
async fn asked(world: &World, path: &str) -> usize {
    let request = || {
        let request = Request::get(path).header(header::AUTHORIZATION, "Bearer token-viewer");
        request.header(header::HOST, "localhost").body(Body::empty()).unwrap()
    };
    assert_eq!(world.send(request()).await.status, 200, "{path}");
    let mut least = usize::MAX;
    for _ in 0..3 {
        let before = STATEMENTS.load(Ordering::SeqCst);
        let reply = world.send(request()).await;
        assert!(reply.status == 200 && !reply.text.contains("\"errors\""), "{path}: {}", reply.text);
        least = least.min(STATEMENTS.load(Ordering::SeqCst) - before);
    }
    least
}

#[tokio::test]
async fn the_index_of_500_services_asks_the_store_as_often_as_that_of_20() {
    tracing::subscriber::set_global_default(Counter).unwrap();
    let world = World::new().await;
    let environment =
        json!({ "id": "env-prod", "name": "prod", "region": "eu", "cluster": "one", "policyRefs": [] });
    world.post("deployer", "environments", environment).await.ok(201);
    let query = "{ services(first: 200) { edges { node { id dependsOn latestReleases { id version status } openIncidents { critical high medium low } } } } }";
    let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let of_one = "{ releases(serviceId: \"svc-000\", limit: 40) { id runs { id kind actor } } }";
    let of_one: String = url::form_urlencoded::byte_serialize(of_one.as_bytes()).collect();
    let paths = [
        format!("/graphql?query={query}"),
        format!("/graphql?query={of_one}"),
        "/api/orgs/default/services?limit=200".to_owned(),
        "/api/orgs/default/releases?limit=200".to_owned(),
    ];
    write(&world, 0..20).await;
    let mut few = Vec::new();
    for path in &paths {
        few.push(asked(&world, path).await);
    }
    write(&world, 20..500).await;
    for number in 0..40 {
        let body = json!({
            "id": format!("rel-000-{number}"), "serviceId": "svc-000", "envId": "env-prod",
            "sha": format!("{number:08x}"), "status": "Active",
        });
        world.post("deployer", "releases", body).await.ok(201);
    }
    for (path, few) in paths.iter().zip(few) {
        let many = asked(&world, path).await;
        assert!(few > 0, "statements are counted");
        assert!(many <= few && many <= 12, "{path}: {few} statements for few, {many} for many");
    }
}

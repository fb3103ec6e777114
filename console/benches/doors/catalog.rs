//! The catalog with much in it: its pages, GraphQL's index, and what changed before an incident.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::json;

use crate::{
    pages::{TURNS, in_parallel, signed_in, told},
    scaled,
    world::World,
};

const SERVICES: usize = 10_000;
/// Of each service.
const RELEASES: usize = 10;
/// Incidents that are open, each of another service.
const INCIDENTS: usize = 200;
const ENVIRONMENTS: usize = 20;
/// Services that others depend on.
const SHARED: usize = 10;

pub(crate) async fn ask() {
    let (services, incidents) = (scaled(SERVICES).max(2 * SHARED), scaled(INCIDENTS));
    let world = Arc::new(World::new().await);
    for number in 0..ENVIRONMENTS {
        let refs = json!(["policy:change-window:weekday", "policy:freeze:year-end"]);
        let body = json!({
            "id": format!("env-{number}"), "name": format!("prod-{number}"), "region": "eu", "cluster": "one",
            "policyRefs": refs,
        });
        world.post("deployer", "environments", body).await.ok(201);
    }
    let began = Instant::now();
    // Everything else depends on one of the first.
    for number in 0..SHARED {
        write(&world, number, json!([])).await;
    }
    in_parallel(services - SHARED, &world, |world, number| async move {
        let shared = format!("svc-{:05}", number % SHARED);
        write(&world, number + SHARED, json!([shared])).await;
    })
    .await;
    let apart = (services / incidents).max(1);
    in_parallel(incidents, &world, move |world, number| async move {
        let service = format!("svc-{:05}", number * apart);
        let body = json!({
            "title": "Checkout fails", "severity": "P2", "serviceName": service, "environment": "production",
        });
        world.post("operator", "incidents", body).await.ok(201);
    })
    .await;
    println!(
        "{services} services, {} releases, {incidents} incidents written in {} s",
        services * RELEASES,
        began.elapsed().as_secs()
    );
    let cookie = signed_in(&world, "oncall").await;
    let listed = world.get("viewer", "incidents?limit=1").await.ok(200);
    let incident = listed["incidents"][0]["incidentId"].as_str().unwrap().to_owned();
    let middle = format!("{:05}", services / 2);
    println!("promised: each page in less than 50 ms");
    for path in [
        "services".to_owned(),
        format!("services?searchQuery=svc-{middle}"),
        "services?searchQuery=nothing+like+it".to_owned(),
        format!("services?after=svc-{middle}"),
        format!("services/svc-{middle}"),
        format!("releases/rel-{middle}-5"),
        "environments".to_owned(),
        "audit".to_owned(),
        format!("audit?subject=svc-{middle}"),
        format!("audit?subject=rel-{middle}-5"),
        "audit?actor=deployer&action=release.fail".to_owned(),
        // Nothing was promoted, and each of the releases is of the kind that would say so: the worst that can be asked.
        "audit?actor=deployer&action=release.promote".to_owned(),
        format!("incidents/{incident}"),
        "insights".to_owned(),
    ] {
        let page = Request::get(format!("/orgs/default/{path}"))
            .header(header::HOST, "localhost")
            .header(header::COOKIE, &cookie);
        let (parts, ()) = page.body(()).unwrap().into_parts();
        measured(&world, &path, || Request::from_parts(parts.clone(), Body::empty())).await;
    }
    let api = |path: String| {
        Request::get(path)
            .header(header::AUTHORIZATION, "Bearer token-viewer")
            .body(())
            .unwrap()
            .into_parts()
            .0
    };
    println!("promised: services(first: 50) in less than 50 ms, changes in less than 20 ms");
    let query = "{ services(first: 50) { edges { node { id name environments { id name } latestReleases { id version status } openIncidents { critical high medium low } } } pageInfo { hasNextPage endCursor } } }";
    let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let parts = api(format!("/graphql?query={query}"));
    measured(&world, "services(first: 50)", || Request::from_parts(parts.clone(), Body::empty())).await;
    let parts = api(format!("/api/orgs/default/incidents/{incident}/changes"));
    measured(&world, "changes", || Request::from_parts(parts.clone(), Body::empty())).await;
}

/// Writes a service with its releases.
async fn write(world: &World, number: usize, depends_on: serde_json::Value) {
    let environments: Vec<_> = (0..3)
        .map(|one| (number + one) % ENVIRONMENTS)
        .map(|one| json!({ "id": format!("env-{one}"), "name": format!("prod-{one}") }))
        .collect();
    let first = environments[0]["id"].clone();
    let body = json!({
        "id": format!("svc-{number:05}"), "name": format!("Service {number}"),
        "adapters": { "deployments": ["external"] }, "environments": environments, "dependsOn": depends_on,
    });
    world.post("deployer", "services", body).await.ok(201);
    for release in 0..RELEASES {
        let body = json!({
            "id": format!("rel-{number:05}-{release}"), "serviceId": format!("svc-{number:05}"), "envId": first,
            "sha": format!("{number:08x}{release:08x}"), "version": format!("1.{release}"),
            "status": if release % 7 == 3 { "Failed" } else { "Active" },
        });
        world.post("deployer", "releases", body).await.ok(201);
    }
}

async fn measured(world: &World, name: &str, request: impl Fn() -> Request<Body>) {
    let mut took = Vec::with_capacity(TURNS);
    let mut bytes = 0;
    for _ in 0..TURNS {
        let began = Instant::now();
        let reply = world.send(request()).await;
        took.push(began.elapsed().as_secs_f64() * 1_000.0);
        assert_eq!(reply.status, 200, "{name}: {}", reply.text);
        bytes = reply.text.len();
    }
    told(name, took, bytes);
}

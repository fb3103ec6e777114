//! Pages with much behind them.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{scaled, world::World};

const INCIDENTS: usize = 10_000;
/// Records of the longest incident.
const RECORDS: usize = 2_000;
/// Gates that wait, of incidents of their own.
const GATES: usize = 200;
/// Alerts that were handed in.
const CANDIDATES: usize = 500;
/// How often each page is asked for; its first time is told apart.
pub(crate) const TURNS: usize = 21;

pub(crate) async fn render() {
    let (incidents, records) = (scaled(INCIDENTS), scaled(RECORDS));
    let (gates, candidates) = (scaled(GATES), scaled(CANDIDATES));
    let world = Arc::new(World::new().await);
    in_parallel(incidents - gates, &world, async |world, _| drop(world.declared("P3").await)).await;
    in_parallel(gates, &world, async |world, _| {
        let id = world.opened("P1").await;
        world.gated(&id).await;
    })
    .await;
    in_parallel(candidates, &world, async |world, number| {
        let body = json!({
            "candidateId": format!("c-{number}"), "policyId": "alerts", "source": "alertmanager",
            "title": "Checkout fails", "severity": "critical",
        });
        world.post("oncall", "candidates", body).await.ok(201);
    })
    .await;
    let long = world.opened("P2").await;
    in_parallel(records, &world, |world, number| {
        let path = format!("incidents/{long}/notes");
        async move {
            let note = json!({ "note": format!("looked at host {number}: nothing unusual there") });
            world.post("oncall", &path, note).await.ok(200);
        }
    })
    .await;
    println!(
        "{incidents} incidents, {gates} gates that wait, {candidates} candidates, {records} records in {long} (promised: each page in less than 50 ms)"
    );
    let cookie = signed_in(&world, "oncall").await;
    for path in [
        "incidents".to_owned(),
        "incidents?state=PENDING&severity=P3".to_owned(),
        "incidents?searchQuery=Checkout".to_owned(),
        "incidents?searchQuery=nothing+like+it".to_owned(),
        "incidents?sort=severity".to_owned(),
        "incidents/new".to_owned(),
        format!("incidents/{long}"),
        format!("incidents/{long}?show=state"),
        format!("incidents/{long}?show=approvals"),
        format!("incidents/{long}?at={}", records / 2),
        format!("incidents/{long}?before={}", records / 2),
        format!("incidents/{long}/records/{}", records / 2),
        format!("incidents/{long}/remediate?runbook=rollback.md"),
        format!("incidents/{long}/review"),
        "approvals".to_owned(),
        "candidates".to_owned(),
        "insights".to_owned(),
        "log".to_owned(),
    ] {
        let mut took = Vec::with_capacity(TURNS);
        let mut bytes = 0;
        for _ in 0..TURNS {
            let began = Instant::now();
            let request = Request::get(format!("/orgs/default/{path}"))
                .header(header::HOST, "localhost")
                .header(header::COOKIE, &cookie);
            let reply = world.send(request.body(Body::empty()).unwrap()).await;
            took.push(began.elapsed().as_secs_f64() * 1_000.0);
            assert_eq!(reply.status, 200, "{path}");
            bytes = reply.text.len();
        }
        told(&path, took, bytes);
    }
}

/// Says how long something took each time.
pub(crate) fn told(name: &str, mut took: Vec<f64>, bytes: usize) {
    let first = took.remove(0);
    took.sort_by(f64::total_cmp);
    let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
    println!("{name}: first {first:.1} ms, median {median:.1} ms, worst {worst:.1} ms, {} KiB", bytes / 1024);
}

/// The cookie of somebody who signed in.
pub(crate) async fn signed_in(world: &World, who: &str) -> String {
    let request = Request::post("/sign-in")
        .header(header::HOST, "localhost")
        .header(header::ORIGIN, "http://localhost")
        .body(Body::from(format!("token=token-{who}")));
    let reply = world.send(request.unwrap()).await;
    reply.header("set-cookie").split(';').next().unwrap().to_owned()
}

/// Does something so often, thirty-two at a time: writers share commits.
pub(crate) async fn in_parallel<F, W>(count: usize, world: &Arc<World>, work: W)
where
    F: Future<Output = ()> + Send + 'static,
    W: Fn(Arc<World>, usize) -> F,
{
    let mut under_way = JoinSet::new();
    for number in 0..count {
        if under_way.len() >= 32 {
            under_way.join_next().await.unwrap().unwrap();
        }
        under_way.spawn(work(world.clone(), number));
    }
    while let Some(done) = under_way.join_next().await {
        done.unwrap();
    }
}

//! The ledger of outward effects: one does it, the others wait, look, or take what came of it.

use std::time::Duration;

use harmony_eventlog::{Begin, EventLog, SqliteLog};
use harmony_incidents::OrgId;
use serde_json::json;

use crate::world::{World, id};

const LEASE: Duration = Duration::from_secs(60);

async fn begin(log: &SqliteLog, org: &str, owner: &str, lease: Duration) -> Begin {
    let org: OrgId = org.parse().unwrap();
    log.begin_effect(&org, &id(1), "channel", "slack.ensure_channel", owner, lease).await.unwrap()
}

#[tokio::test]
async fn effect_is_fresh_once_then_busy_then_again_then_done() {
    let world = World::told().await;
    let log = &world.log;
    assert_eq!(begin(log, "default", "worker-1", LEASE).await, Begin::Fresh);
    let Begin::Busy(wait) = begin(log, "default", "worker-2", LEASE).await else { panic!("not busy") };
    assert!(wait <= LEASE && wait > LEASE / 2);
    // Who holds it may look again; a lease that has ended is anybody's.
    assert_eq!(begin(log, "default", "worker-1", Duration::ZERO).await, Begin::Again);
    assert_eq!(begin(log, "default", "worker-2", LEASE).await, Begin::Again);
    assert!(matches!(begin(log, "default", "worker-1", LEASE).await, Begin::Busy(_)));

    let result = json!({ "channel": "C1" });
    log.complete_effect(&OrgId::default(), "channel", &result).await.unwrap();
    for owner in ["worker-1", "worker-2"] {
        assert_eq!(begin(log, "default", owner, LEASE).await, Begin::Done(result.clone()));
    }
    // What happened is never forgotten.
    log.forget_effect(&OrgId::default(), "channel", "worker-2").await.unwrap();
    assert_eq!(begin(log, "default", "worker-2", LEASE).await, Begin::Done(result));
}

#[tokio::test]
async fn effect_that_surely_did_not_happen_is_forgotten_by_its_holder_alone() {
    let world = World::told().await;
    let log = &world.log;
    assert_eq!(begin(log, "default", "worker-1", LEASE).await, Begin::Fresh);
    log.forget_effect(&OrgId::default(), "channel", "worker-2").await.unwrap();
    assert_eq!(begin(log, "default", "worker-1", LEASE).await, Begin::Again);
    log.forget_effect(&"acme".parse().unwrap(), "channel", "worker-1").await.unwrap();
    assert_eq!(begin(log, "default", "worker-1", LEASE).await, Begin::Again);
    log.forget_effect(&OrgId::default(), "channel", "worker-1").await.unwrap();
    assert_eq!(begin(log, "default", "worker-2", LEASE).await, Begin::Fresh);
}

#[tokio::test]
async fn organisations_have_effects_of_their_own() {
    let world = World::told().await;
    assert_eq!(begin(&world.log, "default", "worker-1", LEASE).await, Begin::Fresh);
    assert_eq!(begin(&world.log, "acme", "worker-2", LEASE).await, Begin::Fresh);
    world.log.complete_effect(&"acme".parse().unwrap(), "channel", &json!(1)).await.unwrap();
    assert_eq!(begin(&world.log, "default", "worker-1", LEASE).await, Begin::Again);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_workers_that_begin_at_once_one_may() {
    let world = World::told().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let log = world.other().await;
        tasks.spawn(async move { begin(&log, "default", &format!("worker-{number}"), LEASE).await });
    }
    let all = tasks.join_all().await;
    assert_eq!(all.iter().filter(|begin| **begin == Begin::Fresh).count(), 1);
    assert_eq!(all.iter().filter(|begin| matches!(begin, Begin::Busy(_))).count(), 7);
}

#[tokio::test]
async fn effect_survives_the_process() {
    let world = World::told().await;
    assert_eq!(begin(&world.log, "default", "worker-1", Duration::ZERO).await, Begin::Fresh);
    assert_eq!(begin(&world.other().await, "default", "worker-2", LEASE).await, Begin::Again);
}

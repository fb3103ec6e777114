//! The ledger of outward effects: one does it, the others wait, look, or take what came of it.

use std::time::Duration;

use harmony_eventlog::{Begin, EffectSubject, SharedLog};
use harmony_incidents::{OrgId, promotion::CandidateId};
use serde_json::json;

use crate::stores::{Backend, stories};
use crate::world::{World, id};

stories! {
    effect_is_fresh_once_then_busy_then_again_then_done,
    effect_that_surely_did_not_happen_is_forgotten_by_its_holder_alone,
    organisations_have_effects_of_their_own,
    of_many_workers_that_begin_at_once_one_may,
    effect_survives_the_process,
    effect_key_names_its_incident_or_candidate,
}

const LEASE: Duration = Duration::from_secs(60);

async fn begin(log: &SharedLog, org: &str, owner: &str, lease: Duration) -> Begin {
    let org: OrgId = org.parse().unwrap();
    log.begin_effect(&org, &(&id(1)).into(), "channel", "slack.ensure_channel", owner, lease).await.unwrap()
}

async fn effect_is_fresh_once_then_busy_then_again_then_done(on: Backend) {
    let world = World::told(on).await;
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

async fn effect_that_surely_did_not_happen_is_forgotten_by_its_holder_alone(on: Backend) {
    let world = World::told(on).await;
    let log = &world.log;
    assert_eq!(begin(log, "default", "worker-1", LEASE).await, Begin::Fresh);
    log.forget_effect(&OrgId::default(), "channel", "worker-2").await.unwrap();
    assert_eq!(begin(log, "default", "worker-1", LEASE).await, Begin::Again);
    log.forget_effect(&"acme".parse().unwrap(), "channel", "worker-1").await.unwrap();
    assert_eq!(begin(log, "default", "worker-1", LEASE).await, Begin::Again);
    log.forget_effect(&OrgId::default(), "channel", "worker-1").await.unwrap();
    assert_eq!(begin(log, "default", "worker-2", LEASE).await, Begin::Fresh);
}

async fn organisations_have_effects_of_their_own(on: Backend) {
    let world = World::told(on).await;
    assert_eq!(begin(&world.log, "default", "worker-1", LEASE).await, Begin::Fresh);
    assert_eq!(begin(&world.log, "acme", "worker-2", LEASE).await, Begin::Fresh);
    world.log.complete_effect(&"acme".parse().unwrap(), "channel", &json!(1)).await.unwrap();
    assert_eq!(begin(&world.log, "default", "worker-1", LEASE).await, Begin::Again);
}

async fn of_many_workers_that_begin_at_once_one_may(on: Backend) {
    let world = World::told(on).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let log = world.other().await;
        tasks.spawn(async move { begin(&log, "default", &format!("worker-{number}"), LEASE).await });
    }
    let all = tasks.join_all().await;
    assert_eq!(all.iter().filter(|begin| **begin == Begin::Fresh).count(), 1);
    assert_eq!(all.iter().filter(|begin| matches!(begin, Begin::Busy(_))).count(), 7);
}

async fn effect_survives_the_process(on: Backend) {
    let world = World::told(on).await;
    assert_eq!(begin(&world.log, "default", "worker-1", Duration::ZERO).await, Begin::Fresh);
    assert_eq!(begin(&world.other().await, "default", "worker-2", LEASE).await, Begin::Again);
}

async fn effect_key_names_its_incident_or_candidate(on: Backend) {
    let world = World::told(on).await;
    let log = &world.log;
    let org = OrgId::default();
    assert_eq!(log.known_effect(&org, "channel").await.unwrap(), None);
    begin(log, "default", "worker-1", LEASE).await;
    let candidate = EffectSubject::Candidate("alertmanager-ab-1".parse::<CandidateId>().unwrap());
    log.begin_effect(&org, &candidate, "page", "page", "worker-1", LEASE).await.unwrap();
    // An intent is enough: a vendor may answer before we have written down that it did.
    let incident = log.known_effect(&org, "channel").await.unwrap().unwrap();
    assert_eq!((incident.subject, incident.step.as_str()), ((&id(1)).into(), "slack.ensure_channel"));
    log.complete_effect(&org, "page", &json!({ "externalRef": "P1" })).await.unwrap();
    let page = log.known_effect(&org, "page").await.unwrap().unwrap();
    assert_eq!((page.subject, page.step.as_str()), (candidate, "page"));
    assert_eq!(log.known_effect(&"acme".parse().unwrap(), "page").await.unwrap(), None);
}

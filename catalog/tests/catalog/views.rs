//! What is read off a service's state.

use harmony_catalog::{
    Command,
    views::{ReleaseView, Standing, active, active_before, latest, latest_by_environment, runs_of, standing},
};
use harmony_incidents::log::{ReleaseState, ServiceState};
use jiff::SignedDuration;
use serde_json::json;

use crate::world::{World, told};

fn find<'a>(state: &'a ServiceState, id: &str) -> &'a ReleaseState {
    state.releases.iter().find(|one| one.release_id == id).unwrap()
}

fn rolls_back(world: &mut World, id: &str, sha: &str, bad: &str) {
    world.pass(SignedDuration::from_mins(1));
    let Command::CreateRelease { mut release } = told("github", id, "env-prod", sha, "Active") else {
        unreachable!()
    };
    release.rolls_back = Some(bad.parse().unwrap());
    world.demo_asks(&Command::CreateRelease { release }).unwrap();
}

#[test]
fn a_rollback_deploys_what_was_active_before_and_what_it_replaced_is_rolled_back() {
    let mut world = World::demo();
    world.activate("rel-1", "env-prod", "aaa");
    world.activate("rel-2", "env-prod", "bbb");
    {
        let state = world.demo_state();
        assert_eq!(active_before(state, find(state, "rel-2")), Some(find(state, "rel-1")));
        assert_eq!(active_before(state, find(state, "rel-1")), None);
        assert_eq!(standing(state, find(state, "rel-1")), Some(Standing::Superseded(find(state, "rel-2"))));
    }
    rolls_back(&mut world, "rel-3", "aaa", "rel-2");
    world.activate("rel-4", "env-prod", "ccc");
    let state = world.demo_state();
    assert_eq!(standing(state, find(state, "rel-2")), Some(Standing::RolledBack(find(state, "rel-3"))));
    assert_eq!(standing(state, find(state, "rel-4")), Some(Standing::Current));
    assert_eq!(active(state, "env-prod"), Some(find(state, "rel-4")));
    // Not rel-2, which was bad.
    assert_eq!(active_before(state, find(state, "rel-4")), Some(find(state, "rel-3")));
    assert_eq!(active_before(state, find(state, "rel-3")), None);

    let view = serde_json::to_value(ReleaseView::of(state, find(state, "rel-2")).unwrap()).unwrap();
    assert_eq!(
        view,
        json!({
            "id": "rel-2", "serviceId": "svc-demo", "sha": "bbb", "version": "1.0", "envId": "env-prod",
            "status": "Active", "source": "github", "createdAt": "2026-01-01T12:02:00Z",
            "createdBy": "alice@blackroad.io", "settledAt": "2026-01-01T12:02:00Z", "standing": "rolledBack",
            "replacedBy": "rel-3"
        })
    );
}

#[test]
fn the_latest_release_is_the_one_on_its_way_then_the_last_that_was_settled() {
    let mut world = World::demo();
    assert_eq!(latest(world.demo_state(), "env-prod"), None);
    world.activate("rel-1", "env-prod", "aaa");
    world.activate("rel-2", "env-prod", "bbb");
    world.demo_asks(&told("github", "rel-3", "env-prod", "ccc", "Draft")).unwrap();
    let latest_id = |world: &World| latest(world.demo_state(), "env-prod").unwrap().release_id.clone();
    assert_eq!(latest_id(&world), "rel-2");
    // Told of late: it was active before rel-1 was.
    let Command::CreateRelease { mut release } = told("github", "rel-0", "env-prod", "000", "Active") else {
        unreachable!()
    };
    release.at = Some("2025-12-31T00:00:00Z".parse().unwrap());
    world.demo_asks(&Command::CreateRelease { release }).unwrap();
    assert_eq!(latest_id(&world), "rel-2");
    assert_eq!(active(world.demo_state(), "env-prod").unwrap().release_id, "rel-2");
    // By a clock that is ahead: nothing is active tomorrow.
    let Command::CreateRelease { mut release } = told("github", "rel-x", "env-staging", "xxx", "Active")
    else {
        unreachable!()
    };
    release.at = Some("2099-01-01T00:00:00Z".parse().unwrap());
    world.demo_asks(&Command::CreateRelease { release }).unwrap();
    assert_eq!(find(world.demo_state(), "rel-x").settled_at_us, world.now().as_microsecond());
    world.demo_asks(&told("github", "rel-4", "env-prod", "ddd", "Promoting")).unwrap();
    assert_eq!(latest_id(&world), "rel-4");
    // A rollback of what is on its way, or has failed, deploys what is active.
    let state = world.demo_state();
    assert_eq!(active_before(state, find(state, "rel-4")).unwrap().release_id, "rel-2");
    world.pass(SignedDuration::from_mins(1));
    world.demo_asks(&told("github", "rel-4", "env-prod", "ddd", "Failed")).unwrap();
    let state = world.demo_state();
    assert_eq!(active_before(state, find(state, "rel-4")).unwrap().release_id, "rel-2");
    assert_eq!(standing(state, find(state, "rel-4")), None);
    let by_environment = latest_by_environment(state);
    assert_eq!(by_environment.keys().copied().collect::<Vec<_>>(), ["env-prod", "env-staging"]);
}

#[test]
fn the_runs_that_deployed_a_release_and_promoted_it_stand_in_time() {
    let mut world = World::demo();
    let run = |world: &mut World, run: &str, kind: &str, release: &str, env: &str| {
        world.pass(SignedDuration::from_mins(1));
        world
            .demo_asks_for(json!({
                "type": "startRun", "runId": run, "kind": kind, "release": release, "env": env,
                "workflowId": format!("release.deploy-{release}"), "adapter": "k8s", "attempt": 1
            }))
            .unwrap();
    };
    world.demo_asks(&told("api", "rel-1", "env-staging", "aaa", "Draft")).unwrap();
    run(&mut world, "run-1", "Deploy", "rel-1", "env-staging");
    let judged = json!({ "type": "judgePolicies", "runId": "run-1", "outcome": "proceed", "verdicts": [] });
    world.demo_asks_for(judged).unwrap();
    for (to, last) in [("Promoting", false), ("Active", true)] {
        world
            .demo_asks_for(json!({ "type": "changeRelease", "release": "rel-1", "to": to, "runId": "run-1" }))
            .unwrap();
        if last {
            world
                .demo_asks_for(json!({ "type": "finishRun", "runId": "run-1", "outcome": "succeeded" }))
                .unwrap();
        }
    }
    let Command::CreateRelease { mut release } = told("api", "rel-2", "env-prod", "aaa", "Draft") else {
        unreachable!()
    };
    release.promoted_from = Some("rel-1".parse().unwrap());
    world.demo_asks(&Command::CreateRelease { release }).unwrap();
    run(&mut world, "run-2", "Promote", "rel-2", "env-prod");
    let ids = |release: &str| -> Vec<String> {
        runs_of(world.demo_state(), release).iter().map(|run| run.run_id.clone()).collect()
    };
    assert_eq!(ids("rel-1"), ["run-1", "run-2"]);
    assert_eq!(ids("rel-2"), ["run-2"]);
}

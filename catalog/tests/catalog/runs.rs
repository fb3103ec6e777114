//! Runs are judged strictly: one at a time, one stage after the other, until they end.

use harmony_catalog::{
    Command, fold,
    windows::{EnvironmentPolicies, ReleaseAction, ReleaseQuestion},
};
use harmony_incidents::{
    self as incidents, Answer, HasStatus,
    command::GateRequest,
    log::{ReleaseStatus, payload::Kind},
    policy::GateKind,
    status::GateStatus,
};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::world::{World, demo_service, told};

fn started(run: &str, release: &str) -> Value {
    json!({
        "type": "startRun", "runId": run, "kind": "Deploy", "release": release, "env": "env-prod",
        "workflowId": format!("release.deploy-{release}"), "adapter": "k8s", "attempt": 1
    })
}

pub(crate) fn judged(run: &str, outcome: &str) -> Value {
    json!({ "type": "judgePolicies", "runId": run, "outcome": outcome, "verdicts": [] })
}

fn changed(release: &str, to: &str, run: &str) -> Value {
    json!({ "type": "changeRelease", "release": release, "to": to, "runId": run })
}

fn finished(run: &str, outcome: &str) -> Value {
    json!({ "type": "finishRun", "runId": run, "outcome": outcome })
}

#[track_caller]
fn says(result: Result<Answer, incidents::Refusal>, expected: &str) {
    assert_eq!(result.unwrap_err().to_string(), expected);
}

fn drafted() -> World {
    let mut world = World::demo();
    world.demo_asks(&told("api", "rel-1", "env-prod", "aaa", "Draft")).unwrap();
    world
}

#[test]
fn a_run_takes_its_release_from_draft_to_its_end() {
    let mut world = drafted();
    world.demo_asks_for(started("run-1", "rel-1")).unwrap();
    assert_eq!(world.demo_asks_for(started("run-1", "rel-1")), Ok(Answer::Unchanged));
    world
        .demo_asks_for(json!({
            "type": "judgePolicies", "runId": "run-1", "outcome": "wait",
            "verdicts": [{ "ref": "policy:change-window:weekday", "mode": "wait", "reason": "outside the window" }]
        }))
        .unwrap();
    let verdict = EnvironmentPolicies::default().judge(ReleaseQuestion {
        refs: &[],
        action: ReleaseAction::Deploy,
        at: world.now(),
        rollback: None,
    });
    world.demo_asks(&Command::policies_judged("run-1".parse().unwrap(), &verdict)).unwrap();
    says(
        world.demo_asks_for(changed("rel-1", "Active", "run-1")),
        "release rel-1 is Draft and cannot become Active; next is Promoting",
    );
    world.demo_asks_for(changed("rel-1", "Promoting", "run-1")).unwrap();
    assert_eq!(world.demo_asks_for(changed("rel-1", "Promoting", "run-1")), Ok(Answer::Unchanged));
    says(
        world.demo_asks_for(changed("rel-1", "Draft", "run-1")),
        "release rel-1 is Promoting and cannot become Draft; next is Active or Failed",
    );
    world.demo_asks_for(changed("rel-1", "Active", "run-1")).unwrap();
    let end = "release rel-1 is Active: that is its end. To deploy the artifact again, create a new release";
    says(world.demo_asks_for(changed("rel-1", "Promoting", "run-1")), end);
    says(world.demo_asks_for(changed("rel-1", "Failed", "run-1")), end);
    world.pass(SignedDuration::from_mins(1));
    world.demo_asks_for(finished("run-1", "succeeded")).unwrap();
    assert_eq!(world.demo_asks_for(finished("run-1", "succeeded")), Ok(Answer::Unchanged));
    says(world.demo_asks_for(finished("run-1", "failed")), "run run-1 has ended (succeeded)");
    says(world.demo_asks_for(started("run-2", "rel-1")), end);
    let run = &world.demo_state().runs[0];
    assert_eq!((run.outcome.as_str(), run.policies.as_str(), run.attempt), ("succeeded", "proceed", 1));
    assert_eq!(run.finished_at_us, world.now().as_microsecond());
    assert_eq!(world.demo_state().releases[0].run_id, "run-1");
}

#[test]
fn a_run_is_of_a_release_that_is_there_by_an_adapter_that_its_service_names() {
    let mut world = drafted();
    let with = |field: &str, value: Value| {
        let mut document = started("run-1", "rel-1");
        document[field] = value;
        document
    };
    says(
        world.demo_asks_for(with("release", json!("rel-9"))),
        "release rel-9 is not one of svc-demo's, or none of its last",
    );
    says(
        world.demo_asks_for(with("env", json!("env-staging"))),
        "release rel-1 is in env-prod; to deploy it to env-staging create a release there",
    );
    says(
        world.demo_asks_for(with("adapter", json!("fly"))),
        "svc-demo is not deployed by fly; its adapters.deployments are aws, k8s",
    );
    says(
        world.demo_asks_for(with("adapter", json!("heroku"))),
        "adapter \"heroku\" is not known; the registry has aws, fly, gcp, k8s, render, external and runbook",
    );
    says(
        world.demo_asks_for(with("attempt", json!(0))),
        "a run deploys or promotes, and its attempts count from 1",
    );
    assert_eq!(world.demo_asks_for(with("adapter", json!("external"))), Ok(Answer::Recorded));
    says(world.demo_asks_for(with("attempt", json!(2))), "run run-1 exists, and is one of rel-1");
}

#[test]
fn one_run_at_a_time_moves_a_release_and_an_environment() {
    let mut world = drafted();
    world.demo_asks(&told("api", "rel-2", "env-prod", "bbb", "Draft")).unwrap();
    world.demo_asks_for(started("run-1", "rel-1")).unwrap();
    says(world.demo_asks_for(started("run-2", "rel-1")), "run run-1 of rel-1 goes on");
    // Both may wait for their gates; only one of them begins.
    world.demo_asks_for(started("run-2", "rel-2")).unwrap();
    world.demo_asks_for(judged("run-1", "proceed")).unwrap();
    world.demo_asks_for(changed("rel-1", "Promoting", "run-1")).unwrap();
    let busy = "release rel-1 is being promoted in env-prod; wait until it is Active or Failed";
    world.demo_asks_for(judged("run-2", "proceed")).unwrap();
    says(world.demo_asks_for(changed("rel-2", "Promoting", "run-2")), busy);
    says(world.demo_asks_for(changed("rel-1", "Active", "run-2")), "run run-2 is one of rel-2");
    world.demo_asks_for(finished("run-2", "refused")).unwrap();
    says(world.demo_asks_for(started("run-3", "rel-2")), busy);
    says(
        world.demo_asks_for(json!({ "type": "retireService", "reason": "" })),
        "run run-1 of rel-1 goes on: stop it first",
    );
    // A lost run leaves its release where it was; another one takes it on.
    world.demo_asks_for(finished("run-1", "cancelled")).unwrap();
    world.demo_asks_for(started("run-4", "rel-1")).unwrap();
    world.demo_asks_for(changed("rel-1", "Failed", "run-4")).unwrap();
    assert_eq!(world.status("rel-1"), ReleaseStatus::Failed);
    says(world.demo_asks_for(changed("rel-2", "Promoting", "run-2")), "run run-2 has ended (refused)");
    says(
        world.demo_asks_for(changed("rel-2", "Promoting", "run-9")),
        "run run-9 is not one of svc-demo's, or none of its last",
    );
}

#[test]
fn nothing_goes_out_that_its_policies_and_its_gates_do_not_let_out() {
    let mut world = drafted();
    world.demo_asks_for(started("run-1", "rel-1")).unwrap();
    let promoting = changed("rel-1", "Promoting", "run-1");
    let no = "the environment's policies do not let rel-1 out";
    says(world.demo_asks_for(promoting.clone()), &format!("{no} (were not asked)"));
    for outcome in ["wait", "refuse"] {
        world.demo_asks_for(judged("run-1", outcome)).unwrap();
        says(world.demo_asks_for(promoting.clone()), &format!("{no} ({outcome})"));
    }
    world.demo_asks_for(judged("run-1", "gate")).unwrap();
    says(world.demo_asks_for(promoting.clone()), "nobody was asked to approve that rel-1 goes out");
    let gate = open_gate(&mut world);
    let waits = format!("gate {gate} is pending: rel-1 does not go out");
    says(world.demo_asks_for(promoting.clone()), &waits);
    // Nor where the policies ask nobody and the run itself does.
    world.demo_asks_for(judged("run-1", "proceed")).unwrap();
    says(world.demo_asks_for(promoting), &waits);
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut world = drafted();
    let mut dry = started("run-1", "rel-1");
    dry["dryRun"] = json!(true);
    world.demo_asks_for(dry).unwrap();
    says(
        world.demo_asks_for(changed("rel-1", "Promoting", "run-1")),
        "run run-1 is a dry run: it changes nothing",
    );
    says(
        world.demo_asks_for(finished("run-1", "succeeded")),
        "a dry run ends as planned: it changes nothing",
    );
    // A real one goes beside it.
    world.demo_asks_for(started("run-2", "rel-1")).unwrap();
    says(world.demo_asks_for(finished("run-2", "planned")), "only a dry run ends as planned");
    world.demo_asks_for(finished("run-1", "planned")).unwrap();
}

#[test]
fn a_runs_log_has_bounds_and_an_end() {
    let mut world = drafted();
    world.demo_asks_for(started("run-1", "rel-1")).unwrap();
    let line = |message: &str, meta: Value| {
        json!({
            "type": "logRun", "runId": "run-1",
            "entry": { "ts": "2026-01-01T12:00:00Z", "level": "info", "message": message, "meta": meta }
        })
    };
    says(
        world.demo_asks_for(line(&"x".repeat(16 * 1024 + 1), json!({}))),
        "a line of a run's log has at most 16 KiB",
    );
    let many: serde_json::Map<String, Value> =
        (0..51).map(|number| (number.to_string(), json!(number))).collect();
    says(world.demo_asks_for(line("x", many.into())), "at most 50 values beside a line");
    for _ in 0..1_000 {
        assert_eq!(world.demo_asks_for(line("again", json!({ "step": 1 }))), Ok(Answer::Recorded));
    }
    assert_eq!(world.demo_asks_for(line("one too many", json!({}))), Ok(Answer::Unchanged));
    assert_eq!(world.demo_state().runs[0].logs, 1_000);
    world.demo_asks_for(finished("run-1", "failed")).unwrap();
    says(world.demo_asks_for(line("late", json!({}))), "run run-1 has ended (failed)");
}

/// Opens the gate of the first run of rel-1; gives its id.
fn open_gate(world: &mut World) -> String {
    let request = GateRequest {
        workflow_id: "release.deploy-rel-1".parse().unwrap(),
        attempt: 1,
        step: "approval".to_owned(),
        kind: GateKind::Remediate,
        action: "deploy rel-1 to prod".to_owned(),
        reason: "the policy asks".to_owned(),
        digest: "ab".repeat(32),
        covers: "{}".to_owned(),
        requester: "alice@blackroad.io".to_owned(),
        levels: vec![],
        severity: None,
    };
    let opened = world.demo_flow_asks(&incidents::Command::OpenGate { request: Box::new(request) }).unwrap();
    let Answer::GateOpened { gate } = opened else { panic!("{opened:?}") };
    assert_eq!(gate.timeout_ms, 30 * 60 * 1_000);
    gate.gate_id
}

#[test]
fn a_runs_gate_stands_in_its_services_stream_and_is_judged_as_an_incidents() {
    let mut world = drafted();
    let gate_id = open_gate(&mut world);
    let flow = world.demo_state().flow.clone().unwrap();
    assert_eq!((flow.org.as_str(), flow.incident.as_str()), ("default", "svc/svc-demo"));
    assert_eq!(flow.gates[0].requested_seq, 3);
    assert!(flow.gates[0].is(GateStatus::Pending));

    world.demo_flow_asks(&incidents::Command::CancelGate { gate_id, reason: "stopped".to_owned() }).unwrap();
    assert!(world.demo_state().flow.as_ref().unwrap().gates[0].is(GateStatus::Cancelled));
    // The service goes on beside it.
    assert_eq!(world.write_service(demo_service()), Ok(Answer::Unchanged));
    assert_eq!(world.demo_state().seq, 4);

    // What an incident alone is asked is refused here.
    let refused = world.demo_flow_asks(&incidents::Command::Close).unwrap_err();
    assert_eq!(refused.to_string(), "this is a command for an incident, and this is a service");
}

#[test]
fn old_releases_leave_the_state_with_their_runs_and_what_is_active_stays() {
    let mut world = World::demo();
    world.activate("rel-before", "env-prod", "aaa");
    world.activate("rel-active", "env-prod", "bbb");
    for number in 0..40 {
        let (release, run) = (format!("rel-{number}"), format!("run-{number}"));
        world.demo_asks(&told("api", &release, "env-prod", "ccc", "Draft")).unwrap();
        world.demo_asks_for(started(&run, &release)).unwrap();
        world.demo_asks_for(judged(&run, "proceed")).unwrap();
        world.demo_asks_for(changed(&release, "Promoting", &run)).unwrap();
        world.pass(SignedDuration::from_mins(1));
        world.demo_asks_for(changed(&release, "Failed", &run)).unwrap();
        world.demo_asks_for(finished(&run, "failed")).unwrap();
    }
    let state = world.demo_state();
    assert_eq!(state.settled_releases, 42);
    assert_eq!(state.releases.len(), fold::SETTLED_KEPT + 2);
    assert_eq!(state.runs.len(), fold::SETTLED_KEPT);
    assert_eq!(harmony_catalog::views::active(state, "env-prod").unwrap().release_id, "rel-active");
    assert!(state.releases.iter().any(|one| one.release_id == "rel-before"));

    // Its id stays taken; news about it changes nothing.
    says(
        world.demo_asks(&told("api", "rel-0", "env-prod", "ccc", "Draft")),
        "release rel-0 exists and was settled long ago",
    );
    let late = told("github", "rel-0", "env-prod", "ccc", "Active");
    assert_eq!(world.demo_asks(&late), Ok(Answer::Unchanged));
    let late = json!({ "type": "changeRelease", "release": "rel-0", "to": "Active" });
    assert_eq!(world.demo_asks_for(late), Ok(Answer::Unchanged));
}

#[test]
fn drafts_and_ended_runs_do_not_pile_up() {
    let mut world = World::demo();
    for number in 0..150 {
        world.demo_asks(&told("github", &format!("rel-{number}"), "env-prod", "aaa", "Draft")).unwrap();
    }
    assert_eq!(world.demo_state().releases.len(), fold::DRAFTS_KEPT);
    for number in 0..30 {
        let run = format!("run-{number}");
        world.demo_asks_for(started(&run, "rel-149")).unwrap();
        world.demo_asks_for(finished(&run, "refused")).unwrap();
    }
    assert_eq!(world.demo_state().runs.len(), fold::RUNS_KEPT);
    assert_eq!(world.demo_state().runs.last().unwrap().run_id, "run-29");
}

#[test]
fn a_record_names_the_rows_that_it_changes() {
    let mut world = drafted();
    world.demo_asks_for(started("run-1", "rel-1")).unwrap();
    world.demo_asks_for(judged("run-1", "proceed")).unwrap();
    world.demo_asks_for(changed("rel-1", "Promoting", "run-1")).unwrap();
    let touched: Vec<String> = world.records["svc/svc-demo"]
        .iter()
        .map(|record| {
            let touched = fold::touched(record);
            touched.releases.into_iter().chain(touched.runs).collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert_eq!(touched, ["", "rel-1", "run-1", "run-1", "rel-1"]);
    let kinds = world.records["svc/svc-demo"].iter().filter(|record| {
        matches!(record.payload.as_ref().and_then(|one| one.kind.as_ref()), Some(Kind::RunStarted(_)))
    });
    assert_eq!(kinds.count(), 1);
}

#[test]
fn what_a_record_is_about_is_in_the_state_after_it() {
    let mut world = World::demo();
    for number in 0..40 {
        world.activate(&format!("rel-{number}"), "env-prod", "aaa");
    }
    // Told of late: it was settled before all of those that are left.
    let Command::CreateRelease { mut release } = told("github", "rel-old", "env-prod", "bbb", "Failed")
    else {
        unreachable!()
    };
    release.at = Some("2025-01-01T00:00:00Z".parse().unwrap());
    world.demo_asks(&Command::CreateRelease { release }).unwrap();
    assert_eq!(world.status("rel-old"), ReleaseStatus::Failed);
    world.activate("rel-new", "env-prod", "ccc");
    let state = world.demo_state();
    assert!(state.releases.iter().all(|one| one.release_id != "rel-old"));
    assert_eq!(state.releases.len(), fold::SETTLED_KEPT);

    // And a run that ends after twenty that began later have.
    let mut world = drafted();
    let dry = |number: usize| {
        let mut dry = started(&format!("run-{number}"), "rel-1");
        dry["dryRun"] = json!(true);
        dry
    };
    for number in 0..30 {
        world.demo_asks_for(dry(number)).unwrap();
    }
    for number in (0..30).rev() {
        world.demo_asks_for(finished(&format!("run-{number}"), "planned")).unwrap();
        let ended = world.demo_state().runs.iter().find(|run| run.run_id == format!("run-{number}"));
        assert_eq!(ended.unwrap().outcome, "planned");
    }
    assert_eq!(world.demo_state().runs.len(), fold::RUNS_KEPT);
}

//! Every invariant of services, environments and releases, tried.

use harmony_catalog::Command;
use harmony_incidents::{
    Answer, Refusal,
    log::{Authority, ReleaseStatus},
};
use serde_json::{Value, json};

use crate::world::{World, command, demo_service, told};

fn with(mut document: Value, field: &str, value: Value) -> Value {
    document[field] = value;
    document
}

/// It is refused with these words, and nothing is recorded.
fn refused(world: &mut World, document: Value, expected: &str) {
    let before = world.demo_state().clone();
    let refusal = world.demo_asks_for(document).unwrap_err();
    assert_eq!(refusal.to_string(), expected);
    assert_eq!(*world.demo_state(), before);
}

#[track_caller]
fn says(result: Result<Answer, Refusal>, expected: &str) {
    assert_eq!(result.unwrap_err().to_string(), expected);
}

fn changed(release: &str, to: &str) -> Value {
    json!({ "type": "changeRelease", "release": release, "to": to })
}

#[test]
fn a_service_names_adapters_of_the_registry_and_environments_that_exist() {
    let mut world = World::demo();
    says(
        world.write_service(with(demo_service(), "adapters", json!({ "deployments": ["aws", "heroku"] }))),
        "adapter \"heroku\" is not known; the registry has aws, fly, gcp, k8s, render, external and runbook",
    );
    says(
        world.write_service(with(demo_service(), "environments", json!([{ "id": "env-qa", "name": "qa" }]))),
        "environment env-qa does not exist (there are env-prod, env-staging); write it first",
    );
    says(
        world.write_service(with(demo_service(), "dependsOn", json!(["svc-demo"]))),
        "svc-demo cannot depend on itself",
    );
    says(
        world.write_service(with(demo_service(), "dependsOn", json!(["svc-a", "svc-a"]))),
        "dependency svc-a is named twice",
    );
    let twice = json!([{ "id": "env-prod" }, { "id": "env-prod" }]);
    says(
        world.write_service(with(demo_service(), "environments", twice)),
        "environment env-prod is named twice",
    );
    says(world.write_service(with(demo_service(), "name", json!(" "))), "the service's name is missing");
    says(
        world.write_service(with(demo_service(), "name", json!("a\nb"))),
        "the service's name is one line without control characters",
    );
    let many: Vec<String> = (0..101).map(|number| format!("svc-{number}")).collect();
    says(world.write_service(with(demo_service(), "dependsOn", json!(many))), "at most 100 dependencies");
}

#[test]
fn a_target_is_for_an_environment_and_by_an_adapter_that_the_service_names() {
    let mut world = World::demo();
    let target = |env: &str, adapter: &str| {
        with(
            demo_service(),
            "targets",
            json!([{ "envId": env, "adapter": adapter, "settings": { "namespace": "shop" } }]),
        )
    };
    assert_eq!(world.write_service(target("env-prod", "k8s")), Ok(Answer::Recorded));
    says(
        world.write_service(target("env-prod", "fly")),
        "the target for env-prod uses fly, which adapters.deployments does not name",
    );
    says(
        world.write_service(target("env-qa", "k8s")),
        "there is a target for env-qa, which environments does not name",
    );
}

#[test]
fn the_name_beside_an_environments_id_is_the_environments_own() {
    let mut world = World::demo();
    world
        .write_service(with(demo_service(), "environments", json!([{ "id": "env-prod", "name": "live" }])))
        .unwrap();
    assert_eq!(world.demo_state().environments[0].name, "prod");
}

#[test]
fn writing_the_same_again_changes_nothing() {
    let mut world = World::demo();
    assert_eq!(world.write_service(demo_service()), Ok(Answer::Unchanged));
    let staging = json!({ "id": "env-staging", "name": "staging" });
    assert_eq!(world.write_environment(staging), Ok(Answer::Unchanged));
    // As it was read, defaults and their marks with it.
    let state = &world.environments[&"env-staging".parse().unwrap()];
    let read = serde_json::to_value(harmony_catalog::entity::Environment::try_from(state).unwrap()).unwrap();
    assert_eq!(read["regionDefaulted"], true);
    assert_eq!(world.write_environment(read), Ok(Answer::Unchanged));
}

#[test]
fn an_id_never_changes() {
    let mut world = World::demo();
    let other = with(demo_service(), "id", json!("svc-other"));
    let refusal = world.demo_asks_for(json!({ "type": "writeService", "service": other })).unwrap_err();
    assert_eq!(refusal.to_string(), "this is service svc-demo, and its id never changes");
    let other = json!({ "type": "writeEnvironment", "environment": { "id": "env-qa", "name": "qa" } });
    says(
        world.ask_environment("env-prod", &command(other)),
        "this is environment env-prod, and its id never changes",
    );
}

#[test]
fn production_says_where_it_is_and_elsewhere_the_adapters_defaults_fill_in() {
    let mut world = World::empty();
    says(
        world.write_environment(json!({ "id": "env-a", "name": "Production" })),
        "environment env-a is production: say its region and cluster (or production = false)",
    );
    says(
        world.write_environment(json!({ "id": "env-a", "name": "live", "production": true, "region": "eu" })),
        "environment env-a is production: say its cluster (or production = false)",
    );
    // A default is not what somebody said.
    let marked =
        json!({ "id": "env-a", "name": "prod", "region": "eu", "cluster": "c", "regionDefaulted": true });
    says(
        world.write_environment(marked),
        "environment env-a is production: say its region (or production = false)",
    );
    world.write_environment(json!({ "id": "env-a", "name": "prod", "production": false })).unwrap();

    let by = |adapter: &str| {
        command(json!({
            "type": "writeEnvironment", "environment": { "id": "env-b", "name": "staging" }, "adapter": adapter
        }))
    };
    world.ask_environment("env-b", &by("aws")).unwrap();
    let state = world.environments[&"env-b".parse().unwrap()].clone();
    assert_eq!((state.region.as_str(), state.region_defaulted), ("us-east-1", true));
    assert_eq!((state.cluster.as_str(), state.cluster_defaulted), ("default", true));
    // They stay until somebody names another adapter.
    assert_eq!(world.write_environment(json!({ "id": "env-b", "name": "staging" })), Ok(Answer::Unchanged));
    world.ask_environment("env-b", &by("k8s")).unwrap();
    assert_eq!(world.environments[&"env-b".parse().unwrap()].cluster, "kubernetes");
    says(
        world.ask_environment("env-b", &by("heroku")),
        "adapter \"heroku\" is not known; the registry has aws, fly, gcp, k8s, render, external and runbook",
    );
    // And it cannot become production without saying so.
    says(
        world.write_environment(json!({ "id": "env-b", "name": "staging", "production": true })),
        "environment env-b is production: say its region and cluster (or production = false)",
    );
}

#[test]
fn a_release_is_of_a_service_and_in_an_environment_that_exist() {
    let mut world = World::demo();
    let draft = told("api", "rel-1", "env-qa", "9f3b7de", "Draft");
    says(
        world.demo_asks(&draft),
        "environment env-qa does not exist (there are env-prod, env-staging); write it first",
    );
    let draft = told("api", "rel-1", "env-prod", "9f3b7de", "Draft");
    says(world.ask("svc-none", &draft), "this service does not exist; write it first");
    for sha in ["", "a b", "a\tb"] {
        assert!(world.demo_asks(&told("api", "rel-1", "env-prod", sha, "Draft")).is_err(), "{sha:?}");
    }
    let Command::CreateRelease { mut release } = draft else { unreachable!() };
    release.url = "javascript:alert(1)".to_owned();
    says(world.demo_asks(&Command::CreateRelease { release }), "the url begins with https:// or http://");
}

#[test]
fn a_release_belongs_to_one_service_and_keeps_its_sha_and_its_environment() {
    let mut world = World::demo();
    world.write_service(with(demo_service(), "id", json!("svc-other"))).unwrap();
    for source in ["api", "github"] {
        let id = format!("rel-{source}");
        world.demo_asks(&told(source, &id, "env-prod", "9f3b7de", "Draft")).unwrap();
        says(
            world.ask("svc-other", &told(source, &id, "env-prod", "9f3b7de", "Draft")),
            &format!("release {id} is one of service svc-demo"),
        );
        says(
            world.demo_asks(&told(source, &id, "env-prod", "0000000", "Draft")),
            &format!(
                "release {id} is 9f3b7de, and its sha never changes; another artifact is another release"
            ),
        );
        says(
            world.demo_asks(&told(source, &id, "env-staging", "9f3b7de", "Draft")),
            &format!("release {id} is in env-prod; in another environment it is another release"),
        );
        let again = world.demo_asks(&told(source, &id, "env-prod", "9f3b7de", "Draft"));
        assert_eq!(again, Ok(Answer::Unchanged));
    }
    says(
        world.demo_asks(&told("api", "rel-api", "env-prod", "9f3b7de", "Active")),
        "release rel-api exists and is Draft; its status is changed by its runs",
    );
}

#[test]
fn what_is_promoted_is_active_elsewhere_and_keeps_its_sha() {
    let mut world = World::demo();
    world.activate("rel-1", "env-staging", "aaa");
    world.demo_asks(&told("api", "rel-2", "env-staging", "bbb", "Draft")).unwrap();
    let promoted = |id: &str, env: &str, sha: &str, from: &str| {
        let Command::CreateRelease { mut release } = told("api", id, env, sha, "Draft") else {
            unreachable!()
        };
        release.promoted_from = Some(from.parse().unwrap());
        Command::CreateRelease { release }
    };
    says(
        world.demo_asks(&promoted("rel-3", "env-prod", "bbb", "rel-1")),
        "rel-1 is aaa, and what is promoted keeps its sha",
    );
    says(
        world.demo_asks(&promoted("rel-3", "env-staging", "aaa", "rel-1")),
        "rel-1 is in env-staging already",
    );
    says(
        world.demo_asks(&promoted("rel-3", "env-prod", "bbb", "rel-2")),
        "rel-2 is Draft; only what is Active in one environment is promoted",
    );
    says(
        world.demo_asks(&promoted("rel-3", "env-prod", "aaa", "rel-9")),
        "release rel-9 is not one of svc-demo's, or none of its last",
    );
    assert_eq!(world.demo_asks(&promoted("rel-3", "env-prod", "aaa", "rel-1")), Ok(Answer::Recorded));

    let Command::CreateRelease { mut release } = told("api", "rel-4", "env-prod", "aaa", "Draft") else {
        unreachable!()
    };
    release.rolls_back = Some("rel-1".parse().unwrap());
    says(world.demo_asks(&Command::CreateRelease { release }), "rel-1 is in env-staging, not in env-prod");
}

#[test]
fn one_release_at_a_time_is_promoting_in_an_environment() {
    let mut world = World::demo();
    world.demo_asks(&told("api", "rel-1", "env-prod", "aaa", "Promoting")).unwrap();
    says(
        world.demo_asks(&told("api", "rel-2", "env-prod", "bbb", "Promoting")),
        "release rel-1 is being promoted in env-prod; wait until it is Active or Failed",
    );
    world.demo_asks(&told("api", "rel-2", "env-staging", "bbb", "Promoting")).unwrap();

    // What an outside door tells of waits for its turn.
    world.demo_asks(&told("github", "rel-3", "env-prod", "ccc", "Promoting")).unwrap();
    world.demo_asks(&told("github", "rel-4", "env-prod", "ddd", "Draft")).unwrap();
    assert_eq!(world.demo_asks_for(changed("rel-4", "Promoting")), Ok(Answer::Recorded));
    assert_eq!(world.demo_asks_for(changed("rel-4", "Promoting")), Ok(Answer::Unchanged));
    assert_eq!(world.status("rel-3"), ReleaseStatus::Draft);
    assert_eq!(world.status("rel-4"), ReleaseStatus::Draft);
    world.demo_asks_for(changed("rel-1", "Failed")).unwrap();
    assert_eq!(world.status("rel-3"), ReleaseStatus::Promoting);
    assert_eq!(world.status("rel-4"), ReleaseStatus::Draft);
    world.demo_asks_for(changed("rel-3", "Active")).unwrap();
    assert_eq!(world.status("rel-4"), ReleaseStatus::Promoting);
    assert!(world.demo_state().releases.iter().all(|one| !one.waiting));
}

#[test]
fn what_an_outside_door_tells_late_changes_nothing() {
    let mut world = World::demo();
    world.demo_asks(&told("github", "rel-1", "env-prod", "aaa", "Draft")).unwrap();
    world.demo_asks_for(changed("rel-1", "Active")).unwrap();
    for late in ["Draft", "Promoting", "Active", "Failed"] {
        assert_eq!(world.demo_asks_for(changed("rel-1", late)), Ok(Answer::Unchanged), "{late}");
        let again = world.demo_asks(&told("github", "rel-1", "env-prod", "aaa", late));
        assert_eq!(again, Ok(Answer::Unchanged), "{late}");
    }
    // It passed through the stage that nobody told of.
    let stages: Vec<(i32, i32)> = world.records["svc/svc-demo"]
        .iter()
        .filter_map(|record| match record.payload.as_ref()?.kind.as_ref()? {
            harmony_incidents::log::payload::Kind::ReleaseStatusChanged(p) => Some((p.from, p.to)),
            _ => None,
        })
        .collect();
    assert_eq!(stages, [(1, 2), (2, 3)]);
}

#[test]
fn nothing_new_happens_to_what_is_retired() {
    let mut world = World::demo();
    world.activate("rel-0", "env-staging", "aaa");
    world.demo_asks(&told("api", "rel-1", "env-prod", "aaa", "Draft")).unwrap();
    let retire = command(json!({ "type": "retireEnvironment", "reason": "moved" }));
    assert_eq!(world.ask_environment("env-prod", &retire), Ok(Answer::Recorded));
    assert_eq!(world.ask_environment("env-prod", &retire), Ok(Answer::Unchanged));
    says(
        world.write_environment(json!({ "id": "env-prod", "name": "prod", "region": "a", "cluster": "b" })),
        "environment env-prod is retired: nothing new happens in it",
    );
    let sentence = "environment env-prod is retired: nothing new happens in it";
    says(world.demo_asks(&told("github", "rel-2", "env-prod", "aaa", "Active")), sentence);
    says(world.demo_asks_for(changed("rel-1", "Promoting")), sentence);
    says(world.demo_asks_for(started("rel-1", "run-1")), sentence);
    // A service that runs there already may be written; another may not begin to.
    assert_eq!(world.write_service(with(demo_service(), "owner", json!("team-a"))), Ok(Answer::Recorded));
    says(world.write_service(with(demo_service(), "id", json!("svc-other"))), sentence);

    world.demo_asks_for(json!({ "type": "retireService", "reason": "replaced" })).unwrap();
    assert_eq!(
        world.demo_asks_for(json!({ "type": "retireService", "reason": "replaced" })),
        Ok(Answer::Unchanged)
    );
    let sentence = "service svc-demo is retired: nothing new happens to it";
    says(world.write_service(demo_service()), sentence);
    says(world.demo_asks(&told("github", "rel-3", "env-staging", "aaa", "Active")), sentence);
    says(world.demo_asks_for(started("rel-0", "run-1")), sentence);
    // What it had stays.
    assert_eq!(world.status("rel-0"), ReleaseStatus::Active);
}

fn started(release: &str, run: &str) -> Value {
    json!({
        "type": "startRun", "runId": run, "kind": "Deploy", "release": release, "env": "env-prod",
        "workflowId": format!("release.deploy-{release}"), "adapter": "k8s", "attempt": 1
    })
}

#[test]
fn a_change_is_linked_by_people_and_suspected_by_the_machine() {
    let mut world = World::demo();
    world.activate("rel-1", "env-prod", "aaa");
    let link = |relation: &str| {
        json!({
            "type": "linkChange", "release": "rel-1", "incident": "INC-2026-0001", "relation": relation,
            "reason": "same service and environment, Active 6 minutes before"
        })
    };
    world.context.authority = Authority::AutoEngine;
    assert_eq!(world.demo_asks_for(link("suspected")), Ok(Answer::Recorded));
    assert_eq!(world.demo_asks_for(link("suspected")), Ok(Answer::Unchanged));
    refused(
        &mut world,
        link("caused"),
        "linking a change to an incident needs at least HUMAN_OPERATOR; alice@blackroad.io has AUTO_ENGINE",
    );
    world.context.authority = Authority::HumanOperator;
    assert_eq!(world.demo_asks_for(link("dismissed")), Ok(Answer::Recorded));
    // A suspicion takes no person's word back; another person's does.
    assert_eq!(world.demo_asks_for(link("suspected")), Ok(Answer::Unchanged));
    assert_eq!(world.demo_asks_for(link("caused")), Ok(Answer::Recorded));
    let changes = &world.demo_state().changes;
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].relation(), harmony_incidents::log::Relation::Caused);
    let linked = world.records["svc/svc-demo"].last().unwrap().payload.clone().unwrap().kind.unwrap();
    let harmony_incidents::log::payload::Kind::ChangeLinked(linked) = linked else { panic!("{linked:?}") };
    assert_eq!((linked.service_id.as_str(), linked.sha.as_str()), ("svc-demo", "aaa"));
    assert_eq!(linked.active_at_us, world.now().as_microsecond());
}

#[test]
fn nothing_is_written_without_authority() {
    let mut world = World::demo();
    world.context.authority = Authority::None;
    let sentence = "writing to the catalog needs at least AUTO_ENGINE; alice@blackroad.io has none";
    says(world.write_service(with(demo_service(), "owner", json!("me"))), sentence);
    says(world.demo_asks(&told("api", "rel-1", "env-prod", "aaa", "Draft")), sentence);
    says(
        world.ask_environment("env-prod", &command(json!({ "type": "retireEnvironment", "reason": "" }))),
        sentence,
    );
}

#[test]
fn a_redaction_names_a_record_and_says_why() {
    let mut world = World::demo();
    let redact = |seq: u64, reason: &str| json!({ "type": "redact", "seq": seq, "reason": reason });
    refused(&mut world, redact(2, "a password"), "there is no record 2; this service has 1 to 1");
    refused(&mut world, redact(1, " "), "a redaction needs a reason");
    assert_eq!(world.demo_asks_for(redact(1, "a password")), Ok(Answer::Recorded));
}

#[test]
fn a_command_for_another_kind_of_stream_is_refused() {
    let mut world = World::demo();
    refused(
        &mut world,
        json!({ "type": "retireEnvironment", "reason": "" }),
        "this is a command for an environment, and this is a service",
    );
    says(
        world.ask_environment("env-prod", &command(changed("rel-1", "Active"))),
        "this is a command for a service, and this is an environment",
    );
}

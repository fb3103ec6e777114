//! Whatever is asked in whatever order, the invariants hold.

use std::collections::BTreeMap;

use harmony_catalog::{Command, fold};
use harmony_incidents::log::{EnvironmentState, ReleaseStatus, ServiceState};
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{World, command};

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(words)
}

const SERVICES: &[&str] = &["svc-a", "svc-b"];
const ENVIRONMENTS: &[&str] = &["env-a", "env-b", "env-none"];
const RELEASES: &[&str] = &["rel-1", "rel-2", "rel-3", "rel-4"];
const RUNS: &[&str] = &["run-1", "run-2", "run-3", "run-4"];
const SHAS: &[&str] = &["aaa", "bbb"];
const STATUSES: &[&str] = &["Draft", "Promoting", "Active", "Failed"];

/// A run and a release: more often than not those that belong together.
fn run_of() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop_oneof![
        4 => (0..RELEASES.len()).prop_map(|place| (RUNS[place], RELEASES[place])),
        1 => (one_of(RUNS), one_of(RELEASES)),
    ]
}

/// Where something happens: more often than not in one place, where things meet.
fn place() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop_oneof![4 => Just(("svc-a", "env-a")), 1 => (one_of(SERVICES), one_of(ENVIRONMENTS))]
}

/// A command and the stream that it is asked of.
fn asked() -> impl Strategy<Value = (String, Value)> {
    let service = (one_of(SERVICES), prop::collection::vec(one_of(ENVIRONMENTS), 0..3), one_of(SERVICES))
        .prop_map(|(id, environments, other)| {
            let environments: Vec<Value> = environments.iter().map(|id| json!({ "id": id })).collect();
            let service = json!({
                "id": id, "name": id, "adapters": { "deployments": ["k8s"] }, "environments": environments,
                "dependsOn": [other]
            });
            (format!("svc/{id}"), json!({ "type": "writeService", "service": service }))
        });
    let environment = (one_of(&ENVIRONMENTS[..2]), one_of(&["staging", "prod"]), one_of(&["", "eu"]))
        .prop_map(|(id, name, region)| {
            let environment = json!({ "id": id, "name": name, "region": region, "cluster": region });
            (format!("env/{id}"), json!({ "type": "writeEnvironment", "environment": environment }))
        });
    let create = (
        place(),
        one_of(RELEASES),
        one_of(SHAS),
        prop_oneof![Just("Draft"), one_of(STATUSES)],
        one_of(&["api", "github"]),
        prop::option::weighted(0.2, one_of(RELEASES)),
    )
        .prop_map(|((service, env), id, sha, status, source, from)| {
            let mut release = json!({ "id": id, "env": env, "sha": sha, "status": status, "source": source });
            if let Some(from) = from {
                release["promotedFrom"] = json!(from);
            }
            (format!("svc/{service}"), json!({ "type": "createRelease", "release": release }))
        });
    let change = (place(), run_of(), one_of(STATUSES), any::<bool>()).prop_map(
        |((service, _), (run, release), to, ours)| {
            let mut change = json!({ "type": "changeRelease", "release": release, "to": to });
            if ours {
                change["runId"] = json!(run);
            }
            (format!("svc/{service}"), change)
        },
    );
    let start = (place(), run_of(), prop::bool::weighted(0.2)).prop_map(
        |((service, env), (run, release), dry_run)| {
            let start = json!({
                "type": "startRun", "runId": run, "kind": "Deploy", "release": release, "env": env,
                "workflowId": format!("release.deploy-{release}"), "adapter": "k8s", "dryRun": dry_run, "attempt": 1
            });
            (format!("svc/{service}"), start)
        },
    );
    let judge = (place(), one_of(RUNS), one_of(&["proceed", "proceed", "gate", "refuse"])).prop_map(
        |((service, _), run, outcome)| {
            let judge = json!({ "type": "judgePolicies", "runId": run, "outcome": outcome, "verdicts": [] });
            (format!("svc/{service}"), judge)
        },
    );
    let finish = (place(), one_of(RUNS), one_of(&["succeeded", "failed", "planned"])).prop_map(
        |((service, _), run, outcome)| {
            (format!("svc/{service}"), json!({ "type": "finishRun", "runId": run, "outcome": outcome }))
        },
    );
    let retire = prop_oneof![
        one_of(SERVICES).prop_map(|id| (format!("svc/{id}"), json!({ "type": "retireService" }))),
        one_of(&ENVIRONMENTS[..2])
            .prop_map(|id| (format!("env/{id}"), json!({ "type": "retireEnvironment" }))),
    ];
    prop_oneof![
        4 => service, 4 => environment, 24 => create, 24 => change, 16 => start, 16 => judge, 4 => finish, 1 => retire
    ]
}

fn rank(status: ReleaseStatus) -> u8 {
    match status {
        ReleaseStatus::Unspecified => 0,
        ReleaseStatus::Draft => 1,
        ReleaseStatus::Promoting => 2,
        ReleaseStatus::Active | ReleaseStatus::Failed => 3,
    }
}

/// What was seen of a release: whose it is, its sha, its environment and its status.
type Seen = BTreeMap<String, (String, String, String, ReleaseStatus)>;

fn holds(world: &World, seen: &mut Seen) {
    for (service, state) in &world.services {
        for environment in &state.environments {
            let id = environment.id.parse().unwrap();
            assert!(world.environments.contains_key(&id), "{service} is in {id}, which does not exist");
        }
        assert!(!state.depends_on.contains(&state.id), "{service} depends on itself");
        let mut promoting: BTreeMap<&str, usize> = BTreeMap::new();
        for release in &state.releases {
            let environment = release.environment_id.parse().unwrap();
            assert!(world.environments.contains_key(&environment), "{} dangles", release.release_id);
            if release.status() == ReleaseStatus::Promoting {
                *promoting.entry(&release.environment_id).or_default() += 1;
            }
            let now =
                (service.to_string(), release.sha.clone(), release.environment_id.clone(), release.status());
            if let Some(before) = seen.insert(release.release_id.clone(), now.clone()) {
                assert_eq!((&before.0, &before.1, &before.2), (&now.0, &now.1, &now.2));
                let forward = rank(before.3) < rank(now.3) || before.3 == now.3;
                assert!(forward, "{} went from {:?} to {:?}", release.release_id, before.3, now.3);
            }
        }
        assert!(promoting.values().all(|count| *count == 1), "{service} promotes two: {promoting:?}");
        for run in &state.runs {
            assert!(
                state.releases.iter().any(|one| one.release_id == run.release_id),
                "{} dangles",
                run.run_id
            );
        }
    }
    for (id, state) in &world.environments {
        let said = !state.region.is_empty() && !state.region_defaulted;
        assert!(!state.production || (said && !state.cluster_defaulted), "{id} is production nowhere");
        assert!(!state.region.is_empty() && !state.cluster.is_empty(), "{id} is nowhere");
    }
}

fn records_are_stages(world: &World) {
    use harmony_incidents::log::payload::Kind;
    for record in world.records.values().flatten() {
        if let Some(Kind::ReleaseStatusChanged(p)) = record.payload.as_ref().and_then(|one| one.kind.as_ref())
        {
            let stage = rank(p.to()) == rank(p.from()) + 1;
            let waits = p.from() == ReleaseStatus::Draft && p.to() == ReleaseStatus::Draft;
            assert!(stage || waits, "{:?} → {:?}", p.from(), p.to());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_commands_breaks_an_invariant(
        commands in prop::collection::vec(asked(), 1..120),
    ) {
        let mut world = World::empty();
        for id in &ENVIRONMENTS[..2] {
            world.write_environment(json!({ "id": id, "name": "staging" })).unwrap();
        }
        for id in SERVICES {
            let adapters = json!({ "deployments": ["k8s"] });
            world.write_service(json!({ "id": id, "name": id, "adapters": adapters })).unwrap();
        }
        let mut seen = Seen::new();
        let mut recorded = 4;
        for (stream, document) in commands {
            world.pass(SignedDuration::from_secs(1));
            let asked: Command = command(document);
            let result = match stream.split_once('/').unwrap() {
                ("svc", id) => world.ask(id, &asked),
                (_, id) => world.ask_environment(id, &asked),
            };
            let now: usize = world.records.values().map(Vec::len).sum();
            // A refusal leaves nothing behind.
            prop_assert!(result.is_ok() || now == recorded);
            recorded = now;
            holds(&world, &mut seen);
        }
        records_are_stages(&world);

        // The same records fold to the same state.
        for (id, state) in &world.services {
            let folded = world.records[&format!("svc/{id}")].iter().fold(ServiceState::default(), fold::service);
            prop_assert_eq!(&folded, state);
        }
        for (id, state) in &world.environments {
            let records = &world.records[&format!("env/{id}")];
            let folded = records.iter().fold(EnvironmentState::default(), fold::environment);
            prop_assert_eq!(&folded, state);
        }
    }
}

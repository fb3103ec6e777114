//! Which releases are suspected of an incident, and why.

use std::collections::BTreeMap;

use harmony_catalog::{
    EnvironmentFact,
    suspects::{DEFAULT_WINDOW, Declared, suspects},
};
use harmony_incidents::{
    EnvironmentId,
    log::{IncidentState, ServiceState},
};
use jiff::SignedDuration;
use serde_json::json;

use crate::world::{World, demo_service, told};

fn with_name(id: &str, name: &str, depends_on: &[&str]) -> serde_json::Value {
    let mut service = demo_service();
    service["id"] = json!(id);
    service["name"] = json!(name);
    service["dependsOn"] = json!(depends_on);
    service
}

/// A shop: checkout depends on payments, which depends on the database.
fn shop() -> World {
    let mut world = World::demo();
    world.write_service(with_name("svc-checkout", "checkout", &["svc-payments"])).unwrap();
    world.write_service(with_name("svc-payments", "payments", &["svc-database"])).unwrap();
    world.write_service(with_name("svc-database", "database", &[])).unwrap();
    world
}

fn found(world: &World, declared: &Declared) -> Vec<(String, String)> {
    let services: Vec<ServiceState> = world.services.values().cloned().collect();
    let environments: BTreeMap<EnvironmentId, EnvironmentFact> =
        world.environments.iter().map(|(id, state)| (id.clone(), EnvironmentFact::from(state))).collect();
    let in_order = suspects(declared, &services, &environments, DEFAULT_WINDOW);
    // Whatever order the services come in.
    let backwards: Vec<ServiceState> = services.iter().rev().cloned().collect();
    let again = suspects(declared, &backwards, &environments, DEFAULT_WINDOW);
    assert_eq!(again, in_order);
    in_order.into_iter().map(|one| (one.release.release_id.clone(), one.reason)).collect()
}

fn declared(world: &World, service: &str, environment: &str) -> Declared {
    Declared { services: vec![service.to_owned()], environment: environment.to_owned(), at: world.now() }
}

#[track_caller]
fn check(found: Vec<(String, String)>, expected: &[(&str, &str)]) {
    let expected: Vec<(String, String)> =
        expected.iter().map(|(id, reason)| ((*id).to_owned(), (*reason).to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_releases_of_the_day_before_are_suspected_with_their_reason_the_likeliest_first() {
    let mut world = shop();
    world.ask("svc-checkout", &told("github", "rel-old", "env-prod", "000", "Active")).unwrap();
    world.pass(SignedDuration::from_hours(25));
    world.ask("svc-database", &told("github", "rel-database", "env-prod", "ddd", "Active")).unwrap();
    world.ask("svc-demo", &told("github", "rel-demo", "env-prod", "eee", "Active")).unwrap();
    world.ask("svc-payments", &told("github", "rel-payments", "env-prod", "bbb", "Active")).unwrap();
    world.pass(SignedDuration::from_mins(3));
    world.ask("svc-checkout", &told("github", "rel-active", "env-prod", "aaa", "Active")).unwrap();
    world.ask("svc-checkout", &told("github", "rel-staging", "env-staging", "aaa", "Active")).unwrap();
    world.ask("svc-checkout", &told("github", "rel-draft", "env-prod", "fff", "Draft")).unwrap();
    world.pass(SignedDuration::from_mins(3));
    world.ask("svc-checkout", &told("github", "rel-failed", "env-prod", "ccc", "Failed")).unwrap();
    world.pass(SignedDuration::from_mins(2));
    world.ask("svc-checkout", &told("github", "rel-now", "env-prod", "ggg", "Promoting")).unwrap();
    world.pass(SignedDuration::from_mins(1));
    check(
        found(&world, &declared(&world, "checkout", "prod")),
        &[
            ("rel-now", "same service and environment, being promoted for 1 minute"),
            ("rel-failed", "same service and environment, failed 3 minutes before"),
            ("rel-active", "same service and environment, Active 6 minutes before"),
            ("rel-payments", "a dependency of checkout, Active 9 minutes before"),
        ],
    );
}

#[test]
fn services_and_environments_are_known_by_id_or_by_name() {
    let mut world = shop();
    world.ask("svc-checkout", &told("github", "rel-1", "env-prod", "aaa", "Active")).unwrap();
    world.pass(SignedDuration::from_hours(2));
    let expected = [("rel-1", "same service and environment, Active 2 hours before")];
    for service in ["svc-checkout", "checkout", "Checkout"] {
        for environment in ["env-prod", "prod", "Production"] {
            check(found(&world, &declared(&world, service, environment)), &expected);
        }
    }
    check(found(&world, &declared(&world, "checkout", "staging")), &[]);
    check(found(&world, &declared(&world, "something", "prod")), &[]);
    // Where nobody said, or the catalog does not know it, every environment counts.
    let expected = [("rel-1", "same service, in prod, Active 2 hours before")];
    check(found(&world, &declared(&world, "checkout", "")), &expected);
    check(found(&world, &declared(&world, "checkout", "eu-west")), &expected);
}

#[test]
fn what_was_settled_after_the_declaration_was_under_way_or_had_not_begun() {
    let mut world = shop();
    world.ask("svc-checkout", &told("github", "rel-1", "env-prod", "aaa", "Promoting")).unwrap();
    world.pass(SignedDuration::from_mins(4));
    let declared = declared(&world, "checkout", "prod");
    world.pass(SignedDuration::from_mins(1));
    world.ask("svc-checkout", &told("github", "rel-1", "env-prod", "aaa", "Active")).unwrap();
    world.ask("svc-checkout", &told("github", "rel-2", "env-prod", "bbb", "Active")).unwrap();
    check(
        found(&world, &declared),
        &[("rel-1", "same service and environment, being promoted for 4 minutes")],
    );
}

#[test]
fn an_incident_names_its_services() {
    let incident = IncidentState {
        service_name: "checkout".to_owned(),
        impacted_services: vec!["payments".to_owned()],
        environment: "prod".to_owned(),
        created_at_us: 1_767_268_800_000_000,
        ..IncidentState::default()
    };
    assert_eq!(
        Declared::from(&incident),
        Declared {
            services: vec!["checkout".to_owned(), "payments".to_owned()],
            environment: "prod".to_owned(),
            at: "2026-01-01T12:00:00Z".parse().unwrap(),
        }
    );
}

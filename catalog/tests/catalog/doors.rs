//! What outside doors tell late, twice and in any order ends in one state.

use std::collections::BTreeMap;

use harmony_catalog::{Command, NewRelease, views};
use jiff::{SignedDuration, Timestamp};
use proptest::{prelude::*, sample::Index};

use crate::world::{World, parsed};

/// One delivery: a release has come to a status, at a minute of the day.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Delivery {
    release: usize,
    status: &'static str,
    minute: i64,
}

/// How a release went, of which any part may be told.
#[derive(Debug, Clone)]
struct Story {
    told: [bool; 2],
    end: Option<&'static str>,
}

fn story() -> impl Strategy<Value = Story> {
    (any::<[bool; 2]>(), prop_oneof![Just("Active"), Just("Failed")])
        .prop_map(|(told, end)| Story { told, end: Some(end) })
}

/// Two environments, each with releases that come to an end and perhaps one that is still on its way.
fn stories() -> impl Strategy<Value = Vec<Story>> {
    (prop::collection::vec(story(), 2..8), any::<[bool; 2]>()).prop_map(|(mut stories, open)| {
        for (environment, open) in open.into_iter().enumerate() {
            // A release's place in the list says which environment it is in.
            if open && stories.len() % 2 != environment {
                stories.push(Story { told: [true; 2], end: Some("Failed") });
            }
            if open {
                stories.push(Story { told: [true; 2], end: None });
            }
        }
        stories
    })
}

fn deliveries(stories: &[Story]) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for (release, story) in stories.iter().enumerate() {
        let minute = i64::try_from(release).unwrap() * 10;
        let stages = ["Draft", "Promoting"].into_iter().zip(story.told).filter(|(_, told)| *told);
        let stages = stages.map(|(status, _)| status).chain(story.end);
        deliveries.extend(stages.zip(0..).map(|(status, later)| Delivery {
            release,
            status,
            minute: minute + later,
        }));
    }
    deliveries
}

fn environment(release: usize) -> &'static str {
    ["env-prod", "env-staging"][release % 2]
}

/// The statuses, and what is active where, after these deliveries.
fn end(deliveries: &[Delivery]) -> (BTreeMap<String, i32>, [Option<String>; 2]) {
    let mut world = World::demo();
    let noon: Timestamp = world.now();
    for delivery in deliveries {
        // Each arrives when it arrives.
        world.pass(SignedDuration::from_secs(7));
        let id = format!("rel-{}", delivery.release);
        let release = NewRelease {
            id: parsed(&id),
            env: parsed(environment(delivery.release)),
            sha: format!("sha-{}", delivery.release),
            version: String::new(),
            promoted_from: None,
            rolls_back: None,
            source: parsed("github"),
            url: String::new(),
            incident: None,
            status: harmony_catalog::words::release_status(delivery.status).unwrap(),
            at: Some(noon - SignedDuration::from_hours(12) + SignedDuration::from_mins(delivery.minute)),
        };
        world.demo_asks(&Command::CreateRelease { release: Box::new(release) }).unwrap();
        for environment in ["env-prod", "env-staging"] {
            let promoting =
                world.demo_state().releases.iter().filter(|one| {
                    one.environment_id == environment && one.status().as_str_name() == "PROMOTING"
                });
            assert!(promoting.count() <= 1, "two are promoting in {environment}");
        }
    }
    let state = world.demo_state();
    let statuses = state.releases.iter().map(|one| (one.release_id.clone(), one.status)).collect();
    let active = ["env-prod", "env-staging"]
        .map(|environment| views::active(state, environment).map(|one| one.release_id.clone()));
    (statuses, active)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shuffled_and_repeated_deliveries_end_in_one_state(
        stories in stories(),
        order in prop::collection::vec(any::<Index>(), 80),
    ) {
        let in_order = deliveries(&stories);
        let mut left: Vec<Delivery> = in_order.iter().chain(&in_order).cloned().collect();
        let mut shuffled = Vec::new();
        let mut order = order.iter().cycle();
        while !left.is_empty() {
            let place = order.next().unwrap().index(left.len());
            shuffled.push(left.swap_remove(place));
        }
        prop_assert_eq!(end(&shuffled), end(&in_order));
    }
}

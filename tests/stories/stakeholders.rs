//! Stakeholders: somebody who follows a severity hears of each change that matters once, whoever is killed in between.

use serde_json::{Value, json};

use crate::world::{POLICY, World};

/// Ends of the subjects of what this address got, in the order in which it came, and the ids of the messages.
async fn got(world: &World, address: &str) -> (Vec<String>, Vec<String>) {
    let messages = world.state("mail").await["messages"].clone();
    let to_them = messages.as_array().unwrap().iter().filter(|one| one["to"][0] == address);
    let pair = |one: &Value| {
        let text = |name: &str| one[name].as_str().unwrap().to_owned();
        (text("subject").rsplit(": ").next().unwrap().to_owned(), text("messageId"))
    };
    to_them.map(pair).unzip()
}

/// What came, with what came twice under one id counted once.
async fn heard(world: &World, address: &str) -> Vec<String> {
    let (subjects, ids) = got(world, address).await;
    let is_first = |place: usize| !ids[..place].contains(&ids[place]);
    subjects
        .iter()
        .enumerate()
        .filter(|(place, _)| is_first(*place))
        .map(|(_, subject)| subject.clone())
        .collect()
}

#[tokio::test]
async fn whoever_follows_a_severity_hears_of_each_change_once_though_the_worker_is_killed() {
    let world = World::start(&format!("{POLICY}close_out_gate = []\n")).await;
    let made = world.harmony(&["subscription", "add", "--severity", "P2", "--email", "jo@example.com"]);
    assert!(made.status.success(), "{made:?}");
    world.post("subscriptions", json!({ "subject": "severity:P3", "email": "al@example.com" })).await;
    let made = world.post("incidents", json!({ "title": "Checkout is slow", "severity": "P2" })).await;
    let id = made["incidentId"].as_str().unwrap().to_owned();
    world.kill("worker");
    world
        .until("the declaration to be told", async || {
            (heard(&world, "jo@example.com").await == ["declared"]).then_some(())
        })
        .await;
    world.completed(&id, "initiate").await;
    let told = world.harmony(&["incident", "update", &id, "--message", "We roll it back."]);
    assert!(told.status.success(), "{told:?}");
    world.kill("worker");
    let noted = world.harmony(&["incident", "note", &id, "for the team alone"]);
    assert!(noted.status.success(), "{noted:?}");
    let resolve = json!({ "state": "RESOLVED", "resolutionSummary": "Rolled back" });
    world.post(&format!("incidents/{id}/status"), resolve).await;
    world
        .until("the end to be told", async || {
            // What a killed worker had begun to tell is told again after a while; what came after it may be heard before.
            let mut heard = heard(&world, "jo@example.com").await;
            heard.sort_unstable();
            (heard == ["declared", "resolved", "update"]).then_some(())
        })
        .await;
    assert!(heard(&world, "al@example.com").await.is_empty());
    let listed = world.harmony(&["subscription", "list", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert!(
        listed["subscriptions"].as_array().unwrap().iter().all(|one| one["problem"].is_null()),
        "{listed}"
    );
    world.verified().await;
}

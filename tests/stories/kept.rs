//! What stands in an incident's channel: the first message says how the incident is, and a question shows what it asks about,
//! whoever is killed and however slow Slack is.

use serde_json::{Value, json};

use crate::world::{POLICY, World};

/// The pinned message of the only incident, once it says this.
async fn pinned(world: &World, what: &str, fits: impl Fn(&str) -> bool) -> Value {
    world
        .until(&format!("the pinned message to say {what}"), async || {
            let messages = world.state("slack").await["messages"].clone();
            let pinned: Vec<&Value> =
                messages.as_array().unwrap().iter().filter(|one| one["pinned"] == true).collect();
            assert!(pinned.len() <= 1, "{pinned:?}");
            pinned.first().filter(|one| fits(&one["blocks"].to_string())).map(|one| (*one).clone())
        })
        .await
}

#[tokio::test]
async fn first_message_is_kept_true_though_its_worker_is_killed_while_slack_is_slow() {
    let world =
        World::start_with(&format!("{POLICY}close_out_gate = []\n"), &[("HARMONY_REQUEST_TIMEOUT", "4s")])
            .await;
    let (id, _) = world.initiated("Checkout is down", "P2").await;
    let first = pinned(&world, "that nobody commands", |text| text.contains("Nobody commands")).await;
    let said = first["blocks"].to_string();
    for shown in ["*P2 OPEN* (triaging)", "No update yet; the next is due", "Declared by Olivia Operator"] {
        assert!(said.contains(shown), "{shown}: {said}");
    }
    world
        .until("what happened while it was posted to be looked at", async || {
            let messages = world.state("slack").await["messages"].clone();
            let mut pinned = messages.as_array().unwrap().iter().filter(|one| one["pinned"] == true);
            pinned.any(|one| one["edited"].is_object()).then_some(())
        })
        .await;

    // An edit that is under way when its worker dies reaches Slack late, with what was true by then.
    let slow =
        json!({ "match": { "path": "chat.update" }, "times": 1, "fault": "delay-work", "delayMs": 2_500 });
    world.fault("slack", slow).await;
    let raised = json!({ "severity": "P1", "reason": "All regions" });
    world.post(&format!("incidents/{id}/severity"), raised).await;
    world
        .until("the edit to be under way", async || {
            let requests = world.requests("slack").await;
            let edits = requests.iter().filter(|one| one["path"].as_str().unwrap().ends_with("chat.update"));
            edits.into_iter().any(|one| one["body"].to_string().contains("*P1 OPEN*")).then_some(())
        })
        .await;
    world.kill("worker");
    let taken = json!({ "role": "commander", "principalId": "commander" });
    world.post(&format!("incidents/{id}/responders"), taken).await;
    let told = world.harmony(&["incident", "update", &id, "--message", "We roll it back.", "--next", "45m"]);
    assert!(told.status.success(), "{told:?}");
    let shown = pinned(&world, "who commands", |text| text.contains("Commander: Chris Commander")).await;
    let said = shown["blocks"].to_string();
    assert!(said.contains("*P1 OPEN*") && said.contains("Last update <!date^"), "{said}");
    assert_eq!(shown["ts"], first["ts"], "it is the same message");

    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    let gate_id = gate["gateId"].as_str().unwrap();
    pinned(&world, "what waits", |text| text.contains("Waits for a decision until")).await;
    let rejected = json!({ "decision": "rejected", "digest": gate["digest"], "reason": "not now" });
    let (status, answer) = world.decide_as("commander", &gate, rejected).await;
    assert_eq!(status, 200, "{answer}");
    pinned(&world, "that nothing waits", |text| !text.contains("Waits for a decision")).await;

    let resolve = json!({ "state": "RESOLVED", "resolutionSummary": "Rolled back" });
    world.post(&format!("incidents/{id}/status"), resolve).await;
    let over = pinned(&world, "that it is resolved", |text| text.contains("*P1 RESOLVED*")).await;
    let said = over["blocks"].to_string();
    assert!(!said.contains("lead-command") && !said.contains("lead-close-out"), "{said}");
    assert!(said.contains("Resolved by"), "{said}");
    assert!(!said.contains(gate_id), "{said}");
    world.verified().await;
}

#[tokio::test]
async fn commands_that_do_not_fit_stand_once_and_in_order_in_the_thread_of_their_question() {
    let world = World::start_with(POLICY, &[("HARMONY_REQUEST_TIMEOUT", "4s")]).await;
    let line = |number: usize| format!("echo {number} {}\n", "x".repeat(700));
    let commands: String = (0..60).map(line).collect();
    let text = format!("# Long\n\n```sh {{ name=long }}\n{commands}```\n");
    std::fs::write(world.dir.path().join("runbooks/long.md"), text).unwrap();
    let (id, _) = world.initiated("Checkout is down", "P2").await;
    // The answers to what is posted first are lost, and then the worker.
    let lost = json!({ "match": { "path": "chat.postMessage" }, "times": 2, "fault": "drop-after" });
    world.fault("slack", lost).await;
    world.post(&format!("incidents/{id}/remediate"), json!({ "runbook": "runbooks/long.md" })).await;
    world
        .until("the question to be posted", async || {
            let messages = world.state("slack").await["messages"].clone();
            let mut all = messages.as_array().unwrap().iter();
            all.any(|one| one["blocks"].to_string().contains("messages below, in the thread")).then_some(())
        })
        .await;
    world.kill("worker");
    let thread = world
        .until("the thread to be complete", async || {
            let messages = world.state("slack").await["messages"].clone();
            let replies: Vec<Value> = messages
                .as_array()
                .unwrap()
                .iter()
                .filter(|one| one["thread_ts"].is_string())
                .cloned()
                .collect();
            (replies.len() == 4).then_some(replies)
        })
        .await;
    let titles: Vec<&str> = thread.iter().map(|one| one["text"].as_str().unwrap()).collect();
    let expected: Vec<String> = (1..5).map(|place| format!("Commands, {place} of 4")).collect();
    assert_eq!(titles, expected, "each once, in order");
    let shown: String = thread.iter().map(|one| one["blocks"].to_string()).collect();
    for number in 0..60 {
        assert_eq!(shown.matches(&format!("echo {number} x")).count(), 1, "line {number}");
    }
    let gate = world.gate(&id).await;
    let ts = world.asked(&gate).await;
    assert!(thread.iter().all(|one| one["thread_ts"] == ts.as_str()), "below the question: {thread:?}");
    let rejected = json!({ "decision": "rejected", "digest": gate["digest"], "reason": "too long" });
    let (status, answer) = world.decide_as("commander", &gate, rejected).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(world.completed(&id, "remediate").await["status"], "REJECTED");
    world.verified().await;
}

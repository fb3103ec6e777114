//! What a running cell prints, in the incident's channel: one message for the run, whoever is killed and whatever Slack loses.

use serde_json::{Value, json};

use crate::world::{POLICY, World};

/// Two cells that check, around one that prints until somebody lets it end.
fn runbook(world: &World) -> std::path::PathBuf {
    let go = world.dir.path().join("go");
    let text = format!(
        "# Roll\n\n```sh {{ name=roll idempotent=true }}\n\
         printf '\\033[31mrolling\\033[0m ```<!channel>\\n'\n\
         until [ -e '{}' ]; do sleep 0.2; done\necho rolled\n```\n\n\
         ```sh {{ name=postcheck idempotent=true }}\necho 'all is well'\n```\n",
        go.display()
    );
    std::fs::write(world.dir.path().join("runbooks/roll.md"), text).unwrap();
    go
}

/// The messages about cells.
async fn live(world: &World) -> Vec<Value> {
    let messages = world.state("slack").await["messages"].clone();
    let is_live = |one: &&Value| one["text"].as_str().is_some_and(|text| text.starts_with("Cell "));
    messages.as_array().unwrap().iter().filter(is_live).cloned().collect()
}

/// The only message about cells, once it says this.
async fn live_once(world: &World, what: &str) -> Value {
    world
        .until(&format!("a message that says {what:?}"), async || {
            let found = live(world).await;
            assert!(found.len() <= 1, "{found:?}");
            found.into_iter().find(|one| one["blocks"].to_string().contains(what))
        })
        .await
}

#[tokio::test]
async fn one_message_shows_what_a_cell_prints_though_slack_loses_an_answer_and_its_worker_is_killed() {
    let world = World::start_with(POLICY, &[("HARMONY_REQUEST_TIMEOUT", "4s")]).await;
    let go = runbook(&world);
    let (id, _) = world.initiated("Checkout is down", "P2").await;
    let body = json!({ "runbook": "roll.md", "verify": ["postcheck"] });
    world.post(&format!("incidents/{id}/remediate"), body).await;
    let gate = world.gate(&id).await;
    let question = world.asked(&gate).await;
    world
        .until("the proposal to be told", async || {
            let messages = world.state("slack").await["messages"].to_string();
            messages.contains("Remediation proposed by").then_some(())
        })
        .await;
    // The message arrives, and its answer does not.
    let lost = json!({ "match": { "path": "chat.postMessage" }, "times": 1, "fault": "drop-after" });
    world.fault("slack", lost).await;
    world.click_on(&question, "approve", "commander").await;
    let posted = live_once(&world, "Cell roll is running").await;
    world.kill("worker");

    // The next worker goes on with that message, and the cell, which is idempotent, begins anew.
    let shown = live_once(&world, "rolling").await;
    assert_eq!((&shown["ts"], &shown["thread_ts"]), (&posted["ts"], &json!(question)));
    let said = shown["blocks"][1]["text"]["text"].as_str().unwrap();
    assert_eq!(said, "```\nrolling '''&lt;!channel&gt;\n```");
    std::fs::write(go, "").unwrap();
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let over = live_once(&world, "Cell postcheck: succeeded").await;
    assert_eq!(over["ts"], posted["ts"]);
    assert!(over["blocks"].to_string().contains("all is well"), "{over}");
    world.verified().await;
}

#[tokio::test]
async fn nothing_is_shown_while_slack_is_switched_off() {
    let file = [("FLAGD_OFFLINE_FLAG_SOURCE_PATH", "{dir}/flags.json")];
    let world = World::start_with(POLICY, &file).await;
    // Longer than a cell that ends too soon to be shown.
    let text = "# Wait\n\n```sh { name=wait }\necho waiting\nsleep 5\n```\n";
    std::fs::write(world.dir.path().join("runbooks/wait.md"), text).unwrap();
    let (id, _) = world.initiated("Checkout is down", "P2").await;
    world.post(&format!("incidents/{id}/remediate"), json!({ "runbook": "wait.md" })).await;
    let gate = world.gate(&id).await;
    world.asked(&gate).await;
    let off =
        json!({ "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "off" });
    let flags = json!({ "flags": { "cap-golden.integrations.slack-interactive-enabled": off } });
    std::fs::write(world.dir.path().join("flags.json"), flags.to_string()).unwrap();
    world
        .until("an incident without Slack", async || {
            let (_, result) = world.initiated("Slack is off", "P2").await;
            (result["notifications"]["slackAnnouncementPosted"] == false).then_some(())
        })
        .await;
    let approved = json!({ "decision": "approved", "digest": gate["digest"] });
    let (status, answer) = world.decide_as("commander", &gate, approved).await;
    assert_eq!(status, 200, "{answer}");
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    assert_eq!(live(&world).await, Vec::<Value>::new());
    world.verified().await;
}

//! Leading an incident: the update clock and the missing commander, the call for help, a drill beside the real thing.

use serde_json::{Value, json};

use crate::world::{POLICY, World};

/// An update every few seconds, and a commander soon, but not before there is a channel to ask in.
const SOON: &str = r#"
update_grace = "3s"
[updates]
P1 = "8s"
P2 = "none"
[command]
P1 = "12s"
P2 = "none"
"#;

fn payloads<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|one| one["kind"] == kind).map(|one| &one["payload"]).collect()
}

async fn said(world: &World, id: &str, what: &str) -> usize {
    let channel = world.incident(id).await["links"]["slackChannel"].clone();
    let messages = world.state("slack").await["messages"].clone();
    let here = messages.as_array().unwrap().iter().filter(|one| one["channel"] == channel);
    here.filter(|one| one["text"].as_str().unwrap_or_default().contains(what)).count()
}

async fn pages(world: &World, title: &str) -> Vec<Value> {
    let pages = world.state("pagerduty").await["incidents"].clone();
    let ours =
        pages.as_array().unwrap().iter().filter(|page| page["title"].as_str().unwrap().contains(title));
    ours.cloned().collect()
}

#[tokio::test]
async fn nobody_is_left_without_updates_or_a_commander() {
    let world = World::start(&format!("{POLICY}{SOON}")).await;
    let (id, _) = world.initiated("Checkout is down", "P1").await;
    let clock = format!("incident.updates-{id}");
    world
        .until("the on-call to be paged, and an update to be overdue", async || {
            let kinds = world.kinds(&id).await;
            let paged = pages(&world, &format!("Nobody commands {id}")).await;
            (paged.len() == 1 && kinds.iter().any(|kind| kind == "UPDATE_OVERDUE")).then_some(())
        })
        .await;
    // Each reminder has a button for what it reminds of.
    let channel = world.slack().channel(&id);
    channel.question("Nobody commands this incident").await.click("Take command").as_("commander").await;
    // Whoever takes over reads how it stands, and ticks what they are there for where they read it.
    channel.expect("Chris Commander is commander").await.says("P1 OPEN (triaging), declared");
    let duties = channel.question("What the commander is there for").await;
    duties.click("Done: Say in the channel that you command").as_("commander").await;
    channel.expect("✓ ~Say in the channel that you command~").await;
    world
        .until("the duty to be ticked on record", async || {
            let records = world.records(&id).await;
            let ticked = payloads(&records, "DUTY_TICKED");
            let is_it =
                |one: &&Value| one["duty"] == "Say in the channel that you command" && one["done"] == true;
            (ticked.iter().filter(|one| is_it(one)).count() == 1).then_some(())
        })
        .await;
    world
        .until("the page to end once somebody commands", async || {
            let paged = pages(&world, &format!("Nobody commands {id}")).await;
            (paged[0]["status"] == "resolved").then_some(())
        })
        .await;
    channel.question("Time for an update").await.click("Post update").as_("commander").await;
    channel.expect("Update by Chris Commander").await;
    let told = world.harmony(&["incident", "update", &id, "--message", "We roll it back.", "--next", "45m"]);
    assert!(told.status.success(), "{told:?}");
    let incident = world.incident(&id).await;
    let due: jiff::Timestamp = incident["updates"]["nextDue"].as_str().unwrap().parse().unwrap();
    let minutes = due.duration_since(jiff::Timestamp::now()).as_mins();
    assert!((43..=45).contains(&minutes), "{}", incident["updates"]);
    assert_eq!(incident["updates"]["count"], 2);
    // What was done is not offered any more.
    for (reminder, done) in [
        ("Nobody commands this incident", "Chris Commander commands."),
        ("Time for an update", "An update was posted."),
    ] {
        channel.expect(done).await.says(reminder).offers_nothing();
    }
    let records = world.records(&id).await;
    let missing = payloads(&records, "COMMANDER_MISSING");
    // What is false is left out of a payload.
    assert_eq!(missing.iter().map(|one| one["paged"] == true).collect::<Vec<_>>(), [false, true]);
    let reminders = payloads(&records, "UPDATE_REMINDED").len();
    assert!(reminders >= 1 && payloads(&records, "UPDATE_OVERDUE").len() <= reminders, "{records:?}");
    world
        .until("the channel to hear of each once", async || {
            let missing = said(&world, &id, "Nobody commands this incident").await;
            let updates = said(&world, &id, "Time for an update").await;
            ((missing, updates) == (1, reminders)).then_some(())
        })
        .await;
    let described = world.temporal_json(&["workflow", "describe", "-w", &clock]).await;
    assert_eq!(
        described["workflowExecutionInfo"]["status"], "WORKFLOW_EXECUTION_STATUS_RUNNING",
        "{described}"
    );
    let cancelled = json!({ "state": "CANCELLED", "reason": "declared by mistake" });
    world.post(&format!("incidents/{id}/status"), cancelled).await;
    let result = world.completed(&id, "updates").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    world.verified().await;
}

#[tokio::test]
async fn times_that_passed_while_every_worker_was_down_are_told_once() {
    let world = World::start(&format!("{POLICY}{SOON}")).await;
    let (id, _) = world.initiated("Search is slow", "P1").await;
    world
        .post(
            &format!("incidents/{id}/responders"),
            json!({ "role": "commander", "principalId": "commander" }),
        )
        .await;
    let first = world
        .until("the clock to know when the next update is due", async || {
            let incident = world.incident(&id).await;
            let running = incident["blueprints"]["updates"]["status"] == "RUNNING";
            incident["updates"]["nextDue"].as_str().filter(|_| running).map(str::to_owned)
        })
        .await;
    world.freeze_between_writes("worker", &id).await;
    let due: jiff::Timestamp = first.parse().unwrap();
    let second = due.checked_add(jiff::SignedDuration::from_secs(10)).unwrap();
    world.until("two times to pass", async || (jiff::Timestamp::now() > second).then_some(())).await;
    world.kill("worker");
    let records = world
        .until("the reminder, and that it is overdue", async || {
            let records = world.records(&id).await;
            (!payloads(&records, "UPDATE_OVERDUE").is_empty()).then_some(records)
        })
        .await;
    let of_first: Vec<&Value> = payloads(&records, "UPDATE_REMINDED")
        .into_iter()
        .filter(|one| one["dueUs"].as_str().unwrap() == due.as_microsecond().to_string())
        .collect();
    assert_eq!(of_first.len(), 1, "{records:?}");
    assert!(of_first[0]["missed"].as_u64().unwrap() >= 1, "{}", of_first[0]);
    let actual: i64 = of_first[0]["actualUs"].as_str().unwrap().parse().unwrap();
    assert!(actual >= second.as_microsecond(), "{}", of_first[0]);
    world.verified().await;
}

#[tokio::test]
async fn owner_of_an_overdue_follow_up_is_reminded_once_a_week_whatever_restarts() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Search is slow", "P2").await;
    for (action, due) in [("Alert earlier", "2026-01-31"), ("Alert later", "2999-12-31")] {
        let item = json!({ "incidentId": id, "action": action, "owner": "oncall", "due": due });
        world.post("follow-ups", item).await;
    }
    // Workers look when they start, and every hour.
    for _ in 0..2 {
        world.kill("worker");
        world
            .until("the owner to be reminded", async || {
                let records = world.records(&id).await;
                (payloads(&records, "FOLLOW_UP_REMINDED").len() == 1).then_some(())
            })
            .await;
        world
            .until("the channel to hear of it once", async || {
                let heard = said(&world, &id, "was due 2026-01-31: Alert earlier").await;
                (heard == 1).then_some(())
            })
            .await;
    }
    world.verified().await;
}

#[tokio::test]
async fn scripted_drill_brings_a_release_to_find_and_leaves_no_figure_behind() {
    let world = World::start(POLICY).await;
    let home = tempfile::tempdir().unwrap();
    let scenario = home.path().join("database.toml");
    let text = "title = \"Checkout is slow\"\nseverity = \"P2\"\nservice = \"checkout\"\n\
                [release]\nversion = \"2.4.1\"\nbefore = \"2.4.0\"\n\
                [[step]]\nsignal = \"p99 is 4 s\"\n[[step]]\nnote = \"Customers call\"\n";
    std::fs::write(&scenario, text).unwrap();
    let drill = world.harmony(&["drill", "start", "--scenario", scenario.to_str().unwrap()]);
    assert!(drill.status.success(), "{drill:?}");
    let id = String::from_utf8(drill.stdout).unwrap().trim().to_owned();
    let incident = world.incident(&id).await;
    assert_eq!((&incident["drill"], &incident["serviceName"]), (&json!(true), &json!("drill-checkout")));
    assert_eq!(incident["signals"].as_array().unwrap().len(), 1, "{incident}");
    let changes = world.get(&format!("incidents/{id}/changes")).await;
    let suspected = changes["suspected"][0].clone();
    assert_eq!(suspected["version"], "2.4.1", "{changes}");
    let rollback = world.harmony(&[
        "deploy",
        "rollback",
        "--release",
        suspected["id"].as_str().unwrap(),
        "--incident",
        &id,
        "--reason",
        "practice",
    ]);
    assert!(rollback.status.success(), "{rollback:?}");
    let insights = world.get("insights").await;
    assert_eq!(insights["incidents"], 0, "{insights}");
    assert_eq!(insights["byService"], json!([]), "{insights}");
    world.verified().await;
}

#[tokio::test]
async fn drill_and_real_incident_side_by_side_are_not_taken_for_each_other() {
    let world = World::start(&format!("{POLICY}{SOON}")).await;
    let drill = world.harmony(&["drill", "start", "Payments are refused", "--severity", "P2"]);
    let drill = String::from_utf8(drill.stdout).unwrap().trim().to_owned();
    let (real, result) = world.initiated("Payments are refused", "P2").await;
    assert_eq!(result["notifications"]["pagerDutyIncidentCreated"], true, "{result}");
    let practice = world.completed(&drill, "initiate").await;
    assert_eq!(practice["notifications"]["pagerDutyIncidentCreated"], false, "{practice}");
    assert_eq!(practice["notifications"]["statuspageIncidentCreated"], false, "{practice}");
    for id in [&drill, &real] {
        let called = world.harmony(&["incident", "escalate", id, "--reason", "We need the database people"]);
        assert!(called.status.success(), "{called:?}");
    }
    world
        .until("whoever is called to be paged about the real one", async || {
            let called = pages(&world, &format!("Help is needed with {real}")).await;
            let practised = said(&world, &drill, "for help").await;
            (called.len() == 1 && practised == 1).then_some(())
        })
        .await;
    assert_eq!(pages(&world, &drill).await, Vec::<Value>::new());
    let messages = world.state("slack").await["messages"].clone();
    let channel = |incident: &Value| incident["links"]["slackChannel"].clone();
    let (of_drill, of_real) = (channel(&world.incident(&drill).await), channel(&world.incident(&real).await));
    for message in messages.as_array().unwrap() {
        let text = message["text"].as_str().unwrap_or_default();
        if message["channel"] == of_drill {
            assert!(text.starts_with("DRILL: "), "{text}");
        } else if message["channel"] == of_real {
            assert!(!text.contains("DRILL"), "{text}");
        }
    }
    let public = world.state("statuspage").await["incidents"].clone();
    assert_eq!(public.as_array().unwrap().len(), 1, "{public}");
    let listed = world.harmony(&["drill", "list", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["incidents"].as_array().unwrap().len(), 1, "{listed}");
    assert!(world.incident(&real).await["escalated"] == true);
    world.verified().await;
}

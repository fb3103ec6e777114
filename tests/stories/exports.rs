//! Follow-ups that become issues in a tracker, and what the tracker tells of them.

use serde_json::{Value, json};

use crate::world::{POLICY, World};

/// Somebody moves an issue at the stand-in, which tells Harmony.
async fn moved(world: &World, tracker: &str, issue: &str, state: &str) -> Value {
    let origin = world.text(&format!("/sandbox/{tracker}"));
    let url = format!("{origin}/_sandbox/{tracker}/issue");
    let order = json!({ "issue": issue, "state": state });
    let answer = reqwest::Client::new().post(url).json(&order).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{order}");
    let told: Value = answer.json().await.unwrap();
    assert_eq!((&told["delivered"], &told["status"]), (&json!(true), &json!(200)), "{told}");
    told
}

#[tokio::test]
async fn follow_up_is_exported_once_and_goes_the_way_of_its_issue() {
    let world = World::start(POLICY).await;
    let (incident, _) = world.initiated("Checkout of customer ACME is down", "P2").await;
    for (tracker, ticket, closed, ended) in
        [("jira", "OPS-1", "done", "done"), ("github", "acme/shop#1", "not_planned", "dropped")]
    {
        let body = json!({
            "incidentId": incident, "action": "Alert on queue length", "owner": "oncall",
            "due": "2999-12-31", "priority": "high",
        });
        let id = world.post("follow-ups", body).await["id"].as_str().unwrap().to_owned();
        let export = || world.harmony(&["follow-up", "export", &id, "--to", tracker, "--wait", "--json"]);
        let exported = export();
        assert!(exported.status.success(), "{exported:?}");
        let last = String::from_utf8(exported.stdout).unwrap();
        let shown: Value = serde_json::from_str(last.trim().lines().last().unwrap()).unwrap();
        assert_eq!((&shown["system"], &shown["ticket"]), (&json!(tracker), &json!(ticket)), "{shown}");
        assert!(export().status.success(), "asked again, it answers with the ticket");
        let state = world.state(tracker).await;
        let [issue] = &state["issues"].as_array().unwrap()[..] else { panic!("one issue: {state}") };
        let text = issue.to_string();
        for part in
            ["Alert on queue length", &id, "Due: 2999-12-31", "Priority: high", "/orgs/default/incidents/"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("ACME"), "the incident's title stays here: {text}");

        moved(&world, tracker, ticket, closed).await;
        let now = world.get(&format!("follow-ups/{id}")).await;
        assert_eq!((&now["state"], &now["ticketState"]), (&json!(ended), &json!(ended)), "{now}");
        // GitHub says when in whole seconds; of two changes in one of them the close counts.
        let second = jiff::Timestamp::now().as_second();
        world
            .until("the next second", async || (jiff::Timestamp::now().as_second() > second).then_some(()))
            .await;
        moved(&world, tracker, ticket, "open").await;
        assert_eq!(world.get(&format!("follow-ups/{id}")).await["state"], "open");
    }
    let secrets = std::fs::read_dir(world.dir.path().join("webhook-secrets")).unwrap();
    for secret in secrets {
        let secret = std::fs::read_to_string(secret.unwrap().path()).unwrap();
        let events = world.get(&format!("incidents/{incident}/events")).await.to_string();
        assert!(!events.contains(secret.trim()));
    }
    let blueprints = world.incident(&incident).await["blueprints"].clone();
    let act = blueprints.as_object().unwrap().keys().find(|name| name.starts_with("act-")).unwrap();
    world.keep_history(&format!("incident.act-{incident}-{}", act.trim_start_matches("act-"))).await;
    world.verified().await;
}

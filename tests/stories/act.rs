//! Small outward acts: what is commanded between the blueprints is told outside, once; what failed is tried again.

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{POLICY, World, refusal};

/// Waits for the only act of this kind, and gives its result.
async fn acted(world: &World, id: &str, kind: &str) -> Value {
    world
        .until(&format!("an act of the kind {kind} to end"), async || {
            let incident = world.incident(id).await;
            let blueprints = incident["blueprints"].as_object().unwrap().clone();
            blueprints.into_iter().find_map(|(name, run)| {
                let fits = name.starts_with("act-") && run["result"]["kind"] == kind;
                fits.then(|| run["result"].clone())
            })
        })
        .await
}

/// The status of an act's step.
fn step<'a>(result: &'a Value, name: &str) -> &'a str {
    let steps = result["steps"].as_array().unwrap();
    let found = steps.iter().find(|step| step["name"] == name);
    found.map_or("", |step| step["status"].as_str().unwrap_or_default())
}

async fn messages_with(world: &World, text: &str) -> usize {
    let slack = world.state("slack").await;
    slack["messages"].as_array().unwrap().iter().filter(|one| one.to_string().contains(text)).count()
}

#[tokio::test]
async fn update_severity_and_assignment_are_told_outside_once() {
    // Where nothing gates the close-out, RESOLVED by hand is at once.
    let world = World::start(&format!("{POLICY}close_out_gate = []\n")).await;
    let made = world.post("incidents", json!({ "title": "Search is slow", "severity": "P3" })).await;
    let id = made["incidentId"].as_str().unwrap().to_owned();
    let page = world.gate(&id).await;
    world.click(&page, "approve", "commander").await;
    world.completed(&id, "initiate").await;

    let said =
        world.harmony(&["incident", "update", &id, "--message", "We see <!channel> timeouts", "--public"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let told = acted(&world, &id, "update").await;
    assert_eq!(told["status"], "COMPLETED", "{told}");
    assert_eq!((step(&told, "channel-update"), step(&told, "public-update")), ("SUCCEEDED", "SUCCEEDED"));
    // Nobody is mentioned by what somebody wrote.
    assert_eq!(messages_with(&world, "<!channel>").await, 0);
    assert_eq!(messages_with(&world, "&lt;!channel&gt; timeouts").await, 1);
    let public = world.state("statuspage").await["incidents"][0]["incident_updates"].clone();
    assert_eq!(public.as_array().unwrap().len(), 2, "{public}");
    assert_eq!(public[0]["body"], "We see <!channel> timeouts");

    world
        .post(&format!("incidents/{id}/severity"), json!({ "severity": "P1", "reason": "it spreads" }))
        .await;
    let told = acted(&world, &id, "severity").await;
    for name in
        ["topic", "severity-notice", "paging-urgency", "paging-note", "public-impact", "severity-page"]
    {
        assert_eq!(step(&told, name), "SUCCEEDED", "{name} in {told}");
    }
    let slack = world.state("slack").await;
    assert!(slack["channels"][0]["topic"].to_string().contains(&format!("{id} P1")), "{slack}");
    let pagerduty = world.state("pagerduty").await;
    let incidents = pagerduty["incidents"].as_array().unwrap();
    assert_eq!(incidents.len(), 2, "the incident's own and the page: {pagerduty}");
    assert!(incidents.iter().all(|one| one["urgency"] == "high"), "{pagerduty}");
    assert_eq!(pagerduty["notes"].as_array().unwrap().len(), 1);
    assert_eq!(world.state("statuspage").await["incidents"][0]["impact"], "critical");

    let assign = json!({ "role": "commander", "principalId": "commander" });
    world.post(&format!("incidents/{id}/responders"), assign.clone()).await;
    let told = acted(&world, &id, "assignment").await;
    assert_eq!((step(&told, "invite"), step(&told, "announcement")), ("SUCCEEDED", "SUCCEEDED"), "{told}");
    // Asked for again it is so already: nothing is recorded, nothing is told.
    world.post(&format!("incidents/{id}/responders"), assign).await;
    assert_eq!(messages_with(&world, "Chris Commander is commander").await, 1);

    let resolve = json!({ "state": "RESOLVED", "resolutionSummary": "Index rebuilt" });
    world.post(&format!("incidents/{id}/status"), resolve).await;
    let told = acted(&world, &id, "ended").await;
    for name in ["public-resolve", "paging-resolve", "resolution", "severity-unpage"] {
        assert_eq!(step(&told, name), "SUCCEEDED", "{name} in {told}");
    }
    let pagerduty = world.state("pagerduty").await;
    let incidents = pagerduty["incidents"].as_array().unwrap();
    assert!(incidents.iter().all(|one| one["status"] == "resolved"), "{pagerduty}");
    assert_eq!(world.state("statuspage").await["incidents"][0]["status"], "resolved");
    assert_eq!(messages_with(&world, "Index rebuilt").await, 1);
    world.verified().await;
}

#[tokio::test]
async fn failed_step_is_tried_again_under_its_own_key() {
    let world = World::start(&POLICY.replace("90s", "4s")).await;
    // The answer is lost after the work, and then PagerDuty is away: nobody knows that the page went out.
    let lost =
        json!({ "match": { "method": "POST", "path": "/incidents" }, "times": 1, "fault": "drop-after" });
    world.fault("pagerduty", lost).await;
    let down = json!({ "match": { "path": "/incidents" }, "times": 5, "fault": "status", "status": 503 });
    world.fault("pagerduty", down).await;
    let (id, result) = world.initiated("Nobody was paged", "P2").await;
    assert_eq!(result["notifications"]["pagerDutyIncidentCreated"], false, "{result}");
    let nothing = world.harmony(&["incident", "retry", &id, "topic"]);
    let (code, words) = refusal(&nothing);
    assert!(code == 3 || code == 1, "{code} {words}");
    assert!(words.contains("no failed step"), "{words}");

    // Asked for until PagerDuty is back, it succeeds once.
    loop {
        let asked = world.post(&format!("incidents/{id}/retry"), json!({ "step": "initiate/paging" })).await;
        let act = asked["workflowId"].as_str().unwrap().replace(&format!("incident.act-{id}"), "act");
        let result = world.completed(&id, &act).await;
        if result["status"] == "COMPLETED" {
            break;
        }
        assert_eq!(result["status"], "FAILED", "{result}");
    }
    let steps = world.incident(&id).await["blueprints"]["initiate"]["steps"].clone();
    let paging = steps.as_array().unwrap().iter().find(|step| step["name"] == "paging").unwrap();
    assert_eq!(paging["status"], "SUCCEEDED", "{steps}");
    let pagerduty = world.state("pagerduty").await;
    assert_eq!(pagerduty["incidents"].as_array().unwrap().len(), 1, "adopted, not made twice: {pagerduty}");
    let (status, answer) = world.api(Method::POST, &format!("incidents/{id}/retry"), Some(json!({}))).await;
    assert_eq!(status, 409, "{answer}");
    let kinds = world.kinds(&id).await;
    assert!(kinds.contains(&"STEP_FAILED".to_owned()), "{kinds:?}");
    world.verified().await;
}

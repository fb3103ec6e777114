use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Vendor::PagerDuty, World, answer_of};

fn incident(key: &str) -> Value {
    json!({"incident": {
        "type": "incident",
        "title": "Checkout is down",
        "service": {"id": "PSERVICE", "type": "service_reference"},
        "incident_key": key,
        "body": {"type": "incident_body", "details": "details"},
    }})
}

fn change(status: &str) -> Value {
    json!({"incident": {"type": "incident_reference", "status": status}})
}

#[tokio::test]
async fn an_incident_is_opened_acknowledged_noted_and_resolved() {
    let world = World::start().await;
    let created = world.post(PagerDuty, "/incidents", incident("k-1")).await;
    assert_eq!(created.status, 201);
    let id = created.body["incident"]["id"].as_str().unwrap().to_owned();
    let path = format!("/incidents/{id}");
    let acknowledged = world.put(PagerDuty, &path, change("acknowledged")).await;
    assert_eq!(acknowledged.body["incident"]["status"], "acknowledged");
    let notes = format!("{path}/notes");
    let note = json!({"note": {"content": "Looking at it"}});
    assert_eq!(world.post(PagerDuty, &notes, note).await.status, 200);
    let listed = world.get(PagerDuty, &notes).await;
    assert_eq!(listed.body["notes"][0]["content"], "Looking at it");
    let resolved = world.put(PagerDuty, &path, change("resolved")).await;
    assert_eq!(resolved.body["incident"]["status"], "resolved");
    let again = world.put(PagerDuty, &path, change("resolved")).await;
    assert_eq!(again.body["error"]["errors"], json!(["Incident Already Resolved"]));
    assert_eq!(world.get(PagerDuty, &path).await.status, 200);
    let state = world.state(PagerDuty).await;
    assert_eq!(state["notes"][0]["incident"], json!(id));
}

#[tokio::test]
async fn an_open_incident_keeps_its_key_to_itself() {
    let world = World::start().await;
    let first = world.post(PagerDuty, "/incidents", incident("k-1")).await;
    let second = world.post(PagerDuty, "/incidents", incident("k-1")).await;
    assert_eq!(second.status, 400);
    assert_eq!(second.body["error"]["code"], 2002);
    let mut elsewhere = incident("k-1");
    elsewhere["incident"]["service"]["id"] = json!("POTHER");
    assert_eq!(world.post(PagerDuty, "/incidents", elsewhere).await.status, 201);
    let path = "/incidents?incident_key=k-1&statuses[]=triggered&statuses[]=acknowledged\
                &service_ids[]=PSERVICE";
    let found = world.get(PagerDuty, path).await;
    let id = first.body["incident"]["id"].as_str().unwrap();
    assert_eq!(found.body["incidents"].as_array().unwrap().len(), 1);
    assert_eq!(found.body["incidents"][0]["id"], id);
    world.put(PagerDuty, &format!("/incidents/{id}"), change("resolved")).await;
    assert_eq!(world.post(PagerDuty, "/incidents", incident("k-1")).await.status, 201);
}

#[tokio::test]
async fn bad_requests_are_refused_with_code_and_reason() {
    let world = World::start().await;
    let mut blank = incident("k-1");
    blank["incident"]["title"] = json!("");
    let answer = world.post(PagerDuty, "/incidents", blank).await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.body["error"],
        json!({"message": "Invalid Input Provided", "code": 2001, "errors": ["Title cannot be blank"]})
    );
    assert_eq!(world.get(PagerDuty, "/incidents/QNONE").await.body["error"]["code"], 2100);
    assert_eq!(world.get(PagerDuty, "/incidents?statuses[]=lost").await.status, 400);
    let url = format!("{}/incidents", world.sandbox.base_urls().pagerduty);
    let unknown = answer_of(world.http.get(&url).header("Authorization", "Bearer x")).await;
    assert_eq!((unknown.status, &unknown.body["error"]["code"]), (401, &json!(2006)));
    let request = world.http.request(Method::GET, &url).header("Authorization", "Token token=x");
    assert_eq!(answer_of(request).await.status, 400, "without Accept");
    let request = world
        .http
        .post(&url)
        .header("Authorization", "Token token=x")
        .header("Accept", "application/vnd.pagerduty+json;version=2")
        .json(&incident("k-9"));
    assert_eq!(answer_of(request).await.status, 400, "without From");
}

#[tokio::test]
async fn events_join_the_open_incident_with_their_key() {
    let world = World::start().await;
    let event = |action: &str| {
        json!({
            "routing_key": "0123456789abcdef0123456789abcdef",
            "event_action": action,
            "dedup_key": "k-1",
            "payload": {"summary": "Disk full", "source": "db-1", "severity": "critical"},
        })
    };
    for action in ["trigger", "trigger", "acknowledge", "resolve", "resolve"] {
        let answer = world.post(PagerDuty, "/v2/enqueue", event(action)).await;
        assert_eq!((answer.status, &answer.body["dedup_key"]), (202, &json!("k-1")));
    }
    let state = world.state(PagerDuty).await;
    assert_eq!(state["incidents"].as_array().unwrap().len(), 1);
    assert_eq!(state["incidents"][0]["status"], "resolved");
    world.post(PagerDuty, "/v2/enqueue", event("trigger")).await;
    let state = world.state(PagerDuty).await;
    assert_eq!(state["incidents"][1]["status"], "triggered");
    let bare = json!({"routing_key": "short", "event_action": "trigger"});
    let refused = world.post(PagerDuty, "/v2/enqueue", bare).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body["errors"].to_string().contains("'payload' is missing"), "{refused:?}");
}

#[tokio::test]
async fn the_directory_tells_services_and_who_is_on_call() {
    let world = World::start().await;
    let service = world.get(PagerDuty, "/services/PSERVICE").await;
    assert_eq!(service.body["service"]["id"], "PSERVICE");
    let path = "/oncalls?escalation_policy_ids[]=PANY&include[]=users";
    let on_calls = world.get(PagerDuty, path).await;
    assert_eq!(on_calls.body["oncalls"][0]["user"]["email"], "oncall@example.com");
    assert_eq!(world.get(PagerDuty, "/oncalls").await.status, 200);
    assert_eq!(world.get(PagerDuty, "/escalation_policies").await.status, 200);
    assert_eq!(world.get(PagerDuty, "/users/me").await.status, 200);
}

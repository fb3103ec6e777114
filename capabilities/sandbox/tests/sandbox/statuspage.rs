use serde_json::{Value, json};

use crate::world::{Vendor::Statuspage, World, answer_of};

const INCIDENTS: &str = "/pages/page1/incidents";

fn draft() -> Value {
    json!({"incident": {
        "name": "Checkout is slow",
        "status": "investigating",
        "body": "We are looking into it.",
        "components": {"checkout": "partial_outage"},
        "metadata": {"harmony": {"idempotency_key": "k-1"}},
    }})
}

#[tokio::test]
async fn an_incident_gathers_updates_until_it_is_resolved() {
    let world = World::start().await;
    let created = world.post(Statuspage, INCIDENTS, draft()).await;
    assert_eq!((created.status, &created.body["impact"]), (201, &json!("major")));
    let id = created.body["id"].as_str().unwrap();
    let path = format!("{INCIDENTS}/{id}");
    let change = json!({"incident": {"status": "identified", "body": "Found it."}});
    let changed = world.patch(Statuspage, &path, change).await.body;
    assert_eq!(changed["incident_updates"][0]["body"], "Found it.");
    assert_eq!(changed["incident_updates"].as_array().unwrap().len(), 2);
    assert_eq!(changed["metadata"]["harmony"]["idempotency_key"], "k-1");
    let renamed = json!({"incident": {"name": "Checkout was slow"}});
    let renamed = world.patch(Statuspage, &path, renamed).await.body;
    assert_eq!(renamed["incident_updates"].as_array().unwrap().len(), 2);
    let unresolved = format!("{INCIDENTS}/unresolved");
    assert_eq!(world.get(Statuspage, &unresolved).await.body[0]["id"], id);
    let end = json!({"incident": {
        "status": "resolved", "body": "Fixed.", "components": {"checkout": "operational"},
    }});
    let resolved = world.patch(Statuspage, &path, end).await.body;
    assert!(resolved["resolved_at"].is_string());
    assert_eq!(world.get(Statuspage, &unresolved).await.body, json!([]));
    let listed = world.get(Statuspage, &format!("{INCIDENTS}?limit=100&q=slow")).await.body;
    assert_eq!(listed[0]["status"], "resolved");
    assert_eq!(world.get(Statuspage, &path).await.body["name"], "Checkout was slow");
    assert_eq!(world.state(Statuspage).await["incidents"][0]["id"], id);
}

#[tokio::test]
async fn the_same_create_twice_is_two_incidents() {
    let world = World::start().await;
    world.post(Statuspage, INCIDENTS, draft()).await;
    world.post(Statuspage, INCIDENTS, draft()).await;
    let listed = world.get(Statuspage, INCIDENTS).await.body;
    assert_eq!(listed.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn components_and_post_mortems_are_kept() {
    let world = World::start().await;
    let id = world.post(Statuspage, INCIDENTS, draft()).await.body["id"].clone();
    let listed = world.get(Statuspage, "/pages/page1/components").await.body;
    assert_eq!(listed[0]["status"], "partial_outage");
    let change = json!({"component": {"status": "operational"}});
    let path = "/pages/page1/components/checkout";
    let changed = world.patch(Statuspage, path, change).await.body;
    assert_eq!(changed["status"], "operational");
    assert_eq!(world.get(Statuspage, "/pages/page1/components/none").await.status, 404);
    let path = format!("{INCIDENTS}/{}/postmortem", id.as_str().unwrap());
    assert_eq!(world.get(Statuspage, &path).await.status, 404);
    let draft = json!({"postmortem": {"body_draft": "What happened"}});
    world.put(Statuspage, &path, draft).await;
    let options = json!({"postmortem": {"notify_subscribers": false}});
    let published = world.put(Statuspage, &format!("{path}/publish"), options).await;
    assert_eq!(published.body["body"], "What happened");
    assert!(world.get(Statuspage, &path).await.body["published_at"].is_string());
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let world = World::start().await;
    for (body, status, error) in [
        (json!({}), 400, json!("incident is missing")),
        (json!({"incident": {}}), 422, json!(["Name can't be blank"])),
        (json!({"incident": {"name": "x".repeat(256)}}), 422, json!(["Name is too long"])),
        (json!({"incident": {"name": "x", "status": "lost"}}), 422, json!(["Status is invalid"])),
        (json!({"incident": {"name": "x", "body": "x".repeat(25_001)}}), 422, json!(["Body is too long"])),
    ] {
        let answer = world.post(Statuspage, INCIDENTS, body).await;
        assert_eq!((answer.status, &answer.body["error"]), (status, &error));
    }
    let flat = json!({"incident": {"name": "x", "metadata": {"key": "not an object"}}});
    assert_eq!(world.post(Statuspage, INCIDENTS, flat).await.status, 422);
    let change = json!({"incident": {"status": "resolved"}});
    let missing = world.patch(Statuspage, &format!("{INCIDENTS}/none"), change).await;
    assert_eq!(missing.status, 404);
    let url = format!("{}{INCIDENTS}", world.sandbox.base_urls().statuspage);
    let unknown = answer_of(world.http.get(url).bearer_auth("key")).await;
    assert_eq!((unknown.status, &unknown.body["error"]), (401, &json!("Could not authenticate")));
    assert_eq!(world.state(Statuspage).await["incidents"], json!([]));
}

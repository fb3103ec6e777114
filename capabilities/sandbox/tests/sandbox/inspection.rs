use harmony_sandbox::{Sandbox, SandboxOptions};
use reqwest::Method;
use serde_json::json;

use crate::world::{Vendor, World, answer_of};

const VENDORS: [Vendor; 6] =
    [Vendor::Slack, Vendor::PagerDuty, Vendor::Statuspage, Vendor::Confluence, Vendor::Jira, Vendor::GitHub];

#[tokio::test]
async fn everything_is_empty_at_first() {
    let world = World::start().await;
    let slack = world.state(Vendor::Slack).await;
    assert_eq!((&slack["channels"], &slack["messages"]), (&json!([]), &json!([])));
    let pagerduty = world.state(Vendor::PagerDuty).await;
    assert_eq!((&pagerduty["incidents"], &pagerduty["notes"]), (&json!([]), &json!([])));
    assert_eq!(world.state(Vendor::Statuspage).await["incidents"], json!([]));
    assert_eq!(world.state(Vendor::Confluence).await, json!({"pages": []}));
    for tracker in [Vendor::Jira, Vendor::GitHub] {
        assert_eq!(world.state(tracker).await, json!({"issues": []}));
    }
    for vendor in VENDORS {
        assert!(world.requests(vendor).await.is_empty());
    }
}

#[tokio::test]
async fn requests_are_kept_in_order_with_their_keys_and_without_credentials() {
    let world = World::start().await;
    let channel = world.channel("inc-1").await;
    let metadata = json!({"event_type": "harmony", "event_payload": {"key": "k-1"}});
    let message = json!({"channel": channel, "text": "x", "metadata": metadata, "token": "xoxb-2"});
    world.slack("chat.postMessage", message).await;
    let form = [("token", "xoxb-3"), ("channel", "x"), ("text", "y")];
    answer_of(world.request(Vendor::Slack, Method::POST, "/chat.postMessage").form(&form)).await;
    world.get(Vendor::Slack, "/conversations.list?token=xoxb-4&limit=5").await;
    let requests = world.requests(Vendor::Slack).await;
    let paths: Vec<&str> = requests.iter().map(|request| request["path"].as_str().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "/api/conversations.create",
            "/api/chat.postMessage",
            "/api/chat.postMessage",
            "/api/conversations.list"
        ]
    );
    assert_eq!(requests[1]["idempotencyKey"], "k-1");
    assert_eq!(requests[1]["body"]["text"], "x");
    assert_eq!(requests[3]["query"], "limit=5");
    assert!(!serde_json::to_string(&requests).unwrap().contains("xoxb"));
    let draft = json!({"incident": {
        "name": "x", "metadata": {"harmony": {"idempotency_key": "k-2"}},
    }});
    world.post(Vendor::Statuspage, "/pages/p/incidents", draft).await;
    let request = &world.requests(Vendor::Statuspage).await[0];
    assert_eq!(request["method"], "POST");
    assert_eq!(request["path"], "/v1/pages/p/incidents");
    assert_eq!(request["idempotencyKey"], "k-2");
    let event = json!({"routing_key": "r", "event_action": "resolve", "dedup_key": "k-3"});
    world.post(Vendor::PagerDuty, "/v2/enqueue", event).await;
    assert_eq!(world.requests(Vendor::PagerDuty).await[0]["idempotencyKey"], "k-3");
}

#[tokio::test]
async fn the_pages_for_people_escape_what_they_show() {
    let world = World::start().await;
    let evil = "<script>alert(1)</script>";
    let channel = world.channel("inc-1").await;
    // Between Slack's own brackets it is a mark of Slack's, escaped it is text.
    for text in [evil, "&lt;script&gt;alert(1)&lt;/script&gt;"] {
        world.slack("chat.postMessage", json!({"channel": channel, "text": text})).await;
    }
    let incident = json!({"incident": {
        "type": "incident", "title": evil, "service": {"id": "P1", "type": "service_reference"},
    }});
    world.post(Vendor::PagerDuty, "/incidents", incident).await;
    let draft = json!({"incident": {"name": evil, "body": evil}});
    world.post(Vendor::Statuspage, "/pages/p/incidents", draft).await;
    let page = json!({"spaceId": "1", "title": evil});
    world.post(Vendor::Confluence, "/pages", page).await;
    let issue = json!({"fields": {
        "project": {"key": "OPS"}, "issuetype": {"name": "Task"}, "summary": evil,
    }});
    world.post(Vendor::Jira, "/rest/api/3/issue", issue).await;
    world.post(Vendor::GitHub, "/repos/acme/shop/issues", json!({"title": evil})).await;
    for vendor in VENDORS {
        let response = world.http.get(world.origin(vendor)).send().await.unwrap();
        assert!(
            response.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'")
        );
        let html = response.text().await.unwrap();
        assert!(html.contains("&lt;script&gt;alert(1)"), "{vendor:?}: {html}");
        assert!(!html.contains("<script"), "{vendor:?}");
    }
}

#[tokio::test]
async fn a_dropped_sandbox_lets_go_of_its_ports() {
    let world = World::start().await;
    world.get(Vendor::Slack, "/conversations.list").await;
    let origin = world.origin(Vendor::Slack);
    let World { sandbox, http } = world;
    drop(sandbox);
    while http.get(&origin).send().await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let world = World::start().await;
    let origin = world.origin(Vendor::Confluence);
    let port: u16 = origin.rsplit(':').next().unwrap().parse().unwrap();
    let mut options = SandboxOptions::on_free_ports("secret".to_owned().into());
    options.statuspage_port = port;
    let error = Sandbox::start(options).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
}

#[tokio::test]
async fn unknown_routes_are_answered_not_dropped() {
    let world = World::start().await;
    for vendor in VENDORS {
        let origin = world.origin(vendor);
        for path in ["/_sandbox/none", "/nowhere/at/all", "/wiki/spaces/X/pages/1/T", "/%ff/%"] {
            let answer = answer_of(world.http.get(format!("{origin}{path}"))).await;
            assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        }
        let request = world.request(vendor, Method::POST, "/pages").body("{not json");
        assert!(answer_of(request).await.status < 500);
    }
}

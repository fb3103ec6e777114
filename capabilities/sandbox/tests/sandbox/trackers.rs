//! Jira and GitHub: issues, and the signed events about them.

use std::time::Duration;

use axum::{Router, extract::State, http::HeaderMap, routing::post};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::mpsc;

use crate::world::{Answer, SIGNING_SECRET, Vendor, World, answer_of};

const LABEL: &str = "harmony-00000000-0000-0000-0000-000000000007";

/// A Harmony that keeps what it is told.
async fn harmony(world: &World) -> mpsc::UnboundedReceiver<(String, HeaderMap, String)> {
    let (told, received) = mpsc::unbounded_channel();
    type Told = mpsc::UnboundedSender<(String, HeaderMap, String)>;
    let take = |path: &'static str| {
        post(async move |State(told): State<Told>, headers: HeaderMap, body: String| {
            told.send((path.to_owned(), headers, body)).unwrap();
        })
    };
    let router = Router::new()
        .route("/webhooks/jira", take("jira"))
        .route("/webhooks/github", take("github"))
        .with_state(told);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.sandbox.set_harmony_url(&format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(axum::serve(listener, router).into_future());
    received
}

async fn moved(world: &World, vendor: Vendor, path: &str, issue: &str, state: &str) -> Answer {
    let url = format!("{}/_sandbox/{path}/issue", world.origin(vendor));
    answer_of(world.http.post(url).json(&json!({ "issue": issue, "state": state }))).await
}

fn is_signed(signature: &str, body: &str) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(SIGNING_SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    signature == format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

fn jira_issue(summary: &str) -> Value {
    let text = json!({ "type": "paragraph", "content": [{ "type": "text", "text": "Owner: Olivia" }] });
    json!({ "fields": {
        "project": { "key": "OPS" }, "issuetype": { "name": "Task" }, "summary": summary,
        "labels": ["harmony", LABEL],
        "description": { "type": "doc", "version": 1, "content": [text] },
    } })
}

#[tokio::test]
async fn jira_issue_is_made_found_late_and_moved() {
    let world = World::start().await;
    let mut told = harmony(&world).await;
    let created = world.post(Vendor::Jira, "/rest/api/3/issue", jira_issue("Add an alert")).await;
    assert_eq!((created.status, &created.body["key"]), (201, &json!("OPS-1")), "{created:?}");
    let search =
        format!("/rest/api/3/search/jql?jql=labels%20=%20%22{LABEL}%22%20ORDER%20BY%20created%20ASC");
    assert_eq!(world.get(Vendor::Jira, &search).await.body["issues"], json!([]), "the search is behind");
    tokio::time::sleep(Duration::from_millis(400)).await;
    let found = world.get(Vendor::Jira, &search).await.body;
    assert_eq!(found["issues"][0]["id"], created.body["id"]);
    assert_eq!(found["issues"][0]["fields"]["status"]["statusCategory"]["key"], "new");
    let shown = world.get(Vendor::Jira, "/rest/api/3/issue/OPS-1").await;
    assert_eq!((shown.status, &shown.body["key"]), (200, &json!("OPS-1")));

    let answer = moved(&world, Vendor::Jira, "jira", "OPS-1", "done").await;
    assert_eq!(
        (&answer.body["delivered"], &answer.body["status"]),
        (&json!(true), &json!(200)),
        "{answer:?}"
    );
    let (path, headers, body) = told.recv().await.unwrap();
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert!(path == "jira" && is_signed(&header("x-hub-signature"), &body), "{headers:?}");
    assert!(!header("x-atlassian-webhook-identifier").is_empty());
    let event: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(event["webhookEvent"], "jira:issue_updated");
    assert_eq!(event["issue"]["fields"]["status"]["statusCategory"]["key"], "done");
    assert_eq!(event["changelog"]["items"][0]["toString"], "Done");

    moved(&world, Vendor::Jira, "jira", "OPS-1", "deleted").await;
    let event: Value = serde_json::from_str(&told.recv().await.unwrap().2).unwrap();
    assert_eq!(event["webhookEvent"], "jira:issue_deleted");
    assert_eq!(world.get(Vendor::Jira, "/rest/api/3/issue/OPS-1").await.status, 404);
    assert_eq!(world.state(Vendor::Jira).await["issues"], json!([]));
    assert_eq!(moved(&world, Vendor::Jira, "jira", "OPS-1", "done").await.status, 400);
    let sent = &world.requests(Vendor::Jira).await[0];
    assert_eq!(sent["idempotencyKey"], "00000000-0000-0000-0000-000000000007");
}

#[tokio::test]
async fn jira_refuses_what_jira_refuses() {
    let world = World::start().await;
    let wrong = |pointer: &str, value: Value| {
        let mut issue = jira_issue("Add an alert");
        *issue.pointer_mut(pointer).unwrap() = value;
        issue
    };
    for (issue, field) in [
        (wrong("/fields/summary", json!(" ")), "summary"),
        (wrong("/fields/summary", json!("two\nlines")), "summary"),
        (wrong("/fields/summary", json!("x".repeat(256))), "summary"),
        (wrong("/fields/labels", json!(["two words"])), "labels"),
        (wrong("/fields/description", json!("text")), "description"),
        (wrong("/fields/description/content/0/content/0/text", json!("")), "description"),
        (wrong("/fields/project", json!({})), "project"),
        (wrong("/fields/issuetype", json!({})), "issuetype"),
    ] {
        let refused = world.post(Vendor::Jira, "/rest/api/3/issue", issue).await;
        assert_eq!(refused.status, 400);
        assert!(refused.body["errors"][field].is_string(), "{field}: {refused:?}");
    }
    assert_eq!(world.get(Vendor::Jira, "/rest/api/3/search/jql?jql=project=OPS").await.status, 400);
    let url = format!("{}/rest/api/3/issue/OPS-1", world.origin(Vendor::Jira));
    assert_eq!(answer_of(world.http.get(url)).await.status, 401);
}

#[tokio::test]
async fn github_issue_is_made_listed_and_moved() {
    let world = World::start().await;
    let mut told = harmony(&world).await;
    let issues = "/repos/acme/shop/issues";
    let draft =
        json!({ "title": "Add an alert", "body": format!("<!-- {LABEL} -->"), "labels": ["harmony"] });
    let created = world.post(Vendor::GitHub, issues, draft).await;
    assert_eq!((created.status, &created.body["number"]), (201, &json!(1)), "{created:?}");
    let plain = world.post(Vendor::GitHub, issues, json!({ "title": "Another" })).await;
    let other = world.post(Vendor::GitHub, "/repos/acme/other/issues", json!({ "title": "There" })).await;
    assert_eq!((&plain.body["number"], &other.body["number"]), (&json!(2), &json!(1)));
    let listed = async |query: &str| {
        let answer = world.get(Vendor::GitHub, &format!("{issues}?{query}")).await;
        answer.body.as_array().unwrap().len()
    };
    assert_eq!(listed("").await, 2);
    assert_eq!(listed("labels=harmony&state=all&sort=created&direction=asc&per_page=100&page=1").await, 1);
    assert_eq!(listed("since=2999-01-01T00:00:00Z").await, 0);
    assert_eq!(listed("per_page=1&page=2").await, 1);

    moved(&world, Vendor::GitHub, "github", "acme/shop#1", "not_planned").await;
    let (path, headers, body) = told.recv().await.unwrap();
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert!(path == "github" && is_signed(&header("x-hub-signature-256"), &body), "{headers:?}");
    assert_eq!(
        (header("x-github-event").as_str(), header("x-github-delivery").is_empty()),
        ("issues", false)
    );
    let event: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&event["action"], &event["issue"]["state_reason"]),
        (&json!("closed"), &json!("not_planned"))
    );
    assert_eq!(listed("labels=harmony").await, 0, "only open ones where nothing else is asked for");
    moved(&world, Vendor::GitHub, "github", "acme/shop#1", "open").await;
    let event: Value = serde_json::from_str(&told.recv().await.unwrap().2).unwrap();
    assert_eq!(event["action"], "reopened");
    let shown = world.get(Vendor::GitHub, &format!("{issues}/1")).await;
    assert_eq!((&shown.body["state"], &shown.body["closed_at"]), (&json!("open"), &Value::Null));
    assert_eq!(moved(&world, Vendor::GitHub, "github", "acme/shop#9", "open").await.status, 400);
    let sent = &world.requests(Vendor::GitHub).await[0];
    assert_eq!(sent["idempotencyKey"], "00000000-0000-0000-0000-000000000007");
}

#[tokio::test]
async fn github_refuses_what_github_refuses() {
    let world = World::start().await;
    let issues = "/repos/acme/shop/issues";
    for body in [
        json!({}),
        json!({ "title": " " }),
        json!({ "title": "x".repeat(257) }),
        json!({ "title": "x", "labels": 1 }),
    ] {
        let refused = world.post(Vendor::GitHub, issues, body).await;
        assert_eq!((refused.status, &refused.body["message"]), (422, &json!("Validation Failed")));
    }
    assert_eq!(world.get(Vendor::GitHub, "/repos/acme/shop/issues/1").await.status, 404);
    let url = format!("{}{issues}", world.origin(Vendor::GitHub));
    assert_eq!(answer_of(world.http.get(url)).await.status, 401);
    assert_eq!(world.get(Vendor::GitHub, "/repos/acme/shop").await.body["has_issues"], true);
}

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use super::*;
use crate::error::Fate;
use crate::testing::{Reply, Script, contract::Contract};

const KEY: Uuid = Uuid::from_u128(7);
const MARK: &str = "harmony-00000000-0000-0000-0000-000000000007";

fn connector(script: &Script) -> Jira {
    Jira::new(&script.origin, "bot@example.com", "jira-secret".into(), "OPS", "Task").unwrap()
}

fn draft() -> IssueDraft {
    IssueDraft {
        action: "Alert on *queue* length".to_owned(),
        lines: vec!["Owner: Olivia".to_owned(), String::new()],
        link: "https://harmony.example/orgs/default/incidents/INC-2026-0001".to_owned(),
    }
}

fn created() -> Reply {
    Reply::json(
        201,
        json!({ "id": "10042", "key": "OPS-7", "self": "https://e.atlassian.net/x", "more": {} }),
    )
}

async fn check(reply: Reply, fate: Fate, message: &str) {
    let script = Script::start([reply]).await;
    let error = connector(&script).create_issue(&KEY, &draft()).await.unwrap_err();
    assert_eq!((error.fate(), error.message()), (fate, message), "{error}");
    script.finish("jira");
}

#[tokio::test]
async fn issue_is_made_with_its_key_as_a_label() {
    let script = Script::start([created()]).await;
    let issue = connector(&script).create_issue(&KEY, &draft()).await.unwrap();
    assert_eq!((issue.id.as_str(), issue.name.as_str()), ("10042", "OPS-7"));
    assert_eq!(issue.url, format!("{}/browse/OPS-7", script.origin));
    let received = script.finish("jira");
    assert_eq!(received[0].line(), "POST /rest/api/3/issue");
    assert!(received[0].header("authorization").starts_with("Basic "));
    let fields = &received[0].body["fields"];
    assert_eq!(fields["summary"], "Alert on *queue* length");
    assert_eq!(fields["labels"], json!(["harmony", MARK]));
    assert_eq!((&fields["project"]["key"], &fields["issuetype"]["name"]), (&json!("OPS"), &json!("Task")));
    let paragraphs = fields["description"]["content"].as_array().unwrap();
    assert_eq!(paragraphs.len(), 2, "an empty line is none");
    assert_eq!(paragraphs[0]["content"][0]["text"], "Owner: Olivia");
    let href = &paragraphs[1]["content"][0]["marks"][0]["attrs"]["href"];
    assert_eq!(href, &json!(draft().link));
}

#[tokio::test]
async fn issue_is_found_by_its_label() {
    let listed = Reply::json(
        200,
        json!({ "isLast": true, "issues": [{ "id": "10042", "key": "OPS-7", "fields": {} }] }),
    );
    let script = Script::start([listed, Reply::json(200, json!({ "isLast": true }))]).await;
    let jira = connector(&script);
    assert_eq!(jira.find_issue(&KEY).await.unwrap().unwrap().name, "OPS-7");
    assert_eq!(jira.count_issues(&KEY).await.unwrap(), 0);
    let received = script.finish("jira");
    let jql = received[0].query.iter().find(|(name, _)| name == "jql").unwrap();
    assert_eq!(jql.1, format!("labels = \"{MARK}\" ORDER BY created ASC"));
}

#[tokio::test]
async fn every_described_refusal_is_told_by_its_status() {
    for status in Contract::load("jira").refusals() {
        let fate = match status {
            401 | 403 => Fate::Unauthorized,
            429 => Fate::Limited { retry_after: None },
            500.. => Fate::Unknown,
            _ => Fate::Rejected,
        };
        let words = StatusCode::from_u16(status).unwrap().canonical_reason().unwrap_or("no reason given");
        check(Reply::status(status), fate, words).await;
    }
}

#[tokio::test]
async fn every_refusal_has_its_fate() {
    let errors = json!({
        "errorMessages": ["Not for jira-secret."],
        "errors": { "labels": "Field 'labels' cannot be set." },
    });
    let words = "Not for [secret].; labels: Field 'labels' cannot be set.";
    check(Reply::json(400, errors.clone()), Fate::Rejected, words).await;
    check(Reply::json(401, errors), Fate::Unauthorized, words).await;
    let wait = Reply::status(429).with("retry-after", "9");
    let limited = Fate::Limited { retry_after: Some(Duration::from_secs(9)) };
    check(wait, limited, "Too Many Requests").await;
    check(Reply::status(503), Fate::Unknown, "Service Unavailable").await;
    let words = "the answer is not what was agreed (line 1, column 2)";
    check(Reply::json(201, json!({})), Fate::Unknown, words).await;
    let redirect = Reply::status(302).with("location", "http://127.0.0.1:1/");
    check(redirect, Fate::Rejected, "the answer is a redirect, which is not followed").await;
}

#[tokio::test]
async fn hang_up_leaves_open_what_happened() {
    let script = Script::start([Reply::HangUp, Reply::HangUp]).await;
    let jira = connector(&script);
    assert_eq!(jira.create_issue(&KEY, &draft()).await.unwrap_err().fate(), Fate::Unknown);
    assert_eq!(jira.find_issue(&KEY).await.unwrap_err().fate(), Fate::Unavailable);
}

#[tokio::test]
async fn project_that_nobody_sees_is_refused() {
    let script =
        Script::start([Reply::json(200, json!({ "key": "OPS", "id": "1" })), Reply::status(404)]).await;
    let jira = connector(&script);
    assert_eq!(jira.find_project().await.unwrap(), "OPS");
    assert_eq!(jira.find_project().await.unwrap_err().fate(), Fate::Rejected);
    script.finish("jira");
}

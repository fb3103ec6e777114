use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use super::*;
use crate::testing::{Reply, Script, contract::Contract};

const KEY: Uuid = Uuid::from_u128(7);
const MARKER: &str = "<!-- harmony-00000000-0000-0000-0000-000000000007 -->";

fn connector(script: &Script) -> GitHub {
    GitHub::new(&script.origin, "gh-secret".into(), "acme/shop".parse().unwrap()).unwrap()
}

fn since() -> Timestamp {
    "2026-03-01T02:00:00.5Z".parse().unwrap()
}

fn draft() -> IssueDraft {
    IssueDraft {
        action: "Alert on queue length".to_owned(),
        lines: vec!["Owner: @olivia".to_owned(), MARKER.to_owned()],
        link: "https://harmony.example/orgs/default/incidents/INC-2026-0001".to_owned(),
    }
}

fn issue(number: u64, body: &str, label: &str) -> Value {
    json!({
        "id": 3_000_000_000_u64 + number,
        "number": number,
        "html_url": format!("https://github.com/acme/shop/issues/{number}"),
        "body": body,
        "labels": [{ "id": 1, "name": label }],
        "something_new": {},
    })
}

async fn check(reply: Reply, fate: Fate, message: &str) {
    let script = Script::start([reply]).await;
    let error = connector(&script).create_issue(&KEY, &draft()).await.unwrap_err();
    assert_eq!((error.fate(), error.message()), (fate, message), "{error}");
    script.finish("github");
}

#[tokio::test]
async fn issue_is_made_with_its_key_in_a_hidden_line() {
    let script = Script::start([Reply::json(201, issue(7, "", LABEL))]).await;
    let made = connector(&script).create_issue(&KEY, &draft()).await.unwrap();
    let expected = Issue {
        id: "3000000007".to_owned(),
        name: "acme/shop#7".to_owned(),
        url: "https://github.com/acme/shop/issues/7".to_owned(),
        findable: true,
    };
    assert_eq!(made, expected);
    let received = script.finish("github");
    assert_eq!(received[0].line(), "POST /repos/acme/shop/issues");
    assert_eq!(received[0].header("authorization"), "Bearer gh-secret");
    assert_eq!(received[0].header("x-github-api-version"), VERSION);
    assert_eq!(received[0].body["labels"], json!(["harmony"]));
    let body = received[0].body["body"].as_str().unwrap();
    let expected = format!("    Owner: @olivia\n    {MARKER}\n\n<{}>\n\n{MARKER}\n", draft().link);
    assert_eq!(body, expected, "what stands in the text mentions nobody and is no marker");
}

#[tokio::test]
async fn issue_whose_label_was_dropped_is_told_apart() {
    let mut unlabelled = issue(7, "", LABEL);
    unlabelled["labels"] = json!([]);
    let script = Script::start([Reply::json(201, unlabelled)]).await;
    assert!(!connector(&script).create_issue(&KEY, &draft()).await.unwrap().findable);
}

#[tokio::test]
async fn issue_is_found_by_its_line_and_its_label() {
    let ours = format!("text\n\n{MARKER}\n");
    let mut pull_request = issue(9, &ours, LABEL);
    pull_request["pull_request"] = json!({});
    let listed = json!([
        issue(5, &format!("    {MARKER}"), LABEL),
        issue(6, &ours, "bug"),
        pull_request,
        issue(7, &ours.replace('\n', "\r\n"), LABEL),
    ]);
    let script = Script::start([Reply::json(200, listed)]).await;
    assert_eq!(connector(&script).find_issue(&KEY, since()).await.unwrap().unwrap().name, "acme/shop#7");
    let received = script.finish("github");
    let value = |name: &str| received[0].query.iter().find(|(key, _)| key == name).unwrap().1.clone();
    assert_eq!((value("state").as_str(), value("labels").as_str()), ("all", "harmony"));
    assert_eq!(value("since"), "2026-03-01T02:00:00Z");
}

#[tokio::test]
async fn list_is_read_to_its_end_and_an_endless_one_is_no_answer() {
    let page =
        |first: u64| Reply::json(200, (first..first + 100).map(|number| issue(number, "", LABEL)).collect());
    let last = Reply::json(200, json!([issue(101, MARKER, LABEL)]));
    let script = Script::start([page(1), last]).await;
    assert_eq!(connector(&script).count_issues(&KEY, since()).await.unwrap(), 1);
    assert_eq!(script.lines("github").len(), 2);
    let script = Script::start((0..10).map(|number| page(number * 100))).await;
    let error = connector(&script).find_issue(&KEY, since()).await.unwrap_err();
    assert_eq!((error.fate(), script.lines("github").len()), (Fate::Unavailable, 10));
}

#[tokio::test]
async fn every_described_refusal_is_told_by_its_status() {
    for status in Contract::load("github").refusals() {
        let fate = match status {
            401 | 403 => Fate::Unauthorized,
            500.. => Fate::Unknown,
            _ => Fate::Rejected,
        };
        let words = StatusCode::from_u16(status).unwrap().canonical_reason().unwrap_or("no reason given");
        check(Reply::status(status), fate, words).await;
    }
}

#[tokio::test]
async fn every_refusal_has_its_fate() {
    let limited = |s: Option<u64>| Fate::Limited { retry_after: s.map(Duration::from_secs) };
    let message = |text: &str| json!({ "message": text, "documentation_url": "https://docs.github.com" });
    let error = json!({ "resource": "Issue", "field": "title", "code": "missing_field" });
    let mut invalid = message("Validation Failed");
    invalid["errors"] = json!([error, "not for gh-secret"]);
    let words = "Validation Failed; title missing_field; not for [secret]";
    check(Reply::json(422, invalid), Fate::Rejected, words).await;
    check(Reply::json(401, message("Bad credentials")), Fate::Unauthorized, "Bad credentials").await;
    let lacks = "Resource not accessible by personal access token";
    check(Reply::json(403, message(lacks)), Fate::Unauthorized, lacks).await;
    check(Reply::json(410, message("Issues are disabled")), Fate::Rejected, "Issues are disabled").await;
    let slow = Reply::json(403, message("secondary rate limit")).with("retry-after", "60");
    check(slow, limited(Some(60)), "secondary rate limit").await;
    let used_up = |status| {
        Reply::json(status, message("rate limit exceeded"))
            .with("x-ratelimit-remaining", "0")
            .with("x-ratelimit-reset", "1792567710")
    };
    let dated = used_up(429).with("date", "Wed, 21 Oct 2026 07:28:00 GMT");
    check(dated, limited(Some(30)), "rate limit exceeded").await;
    check(used_up(403), limited(None), "rate limit exceeded").await;
    check(Reply::status(429), limited(None), "too many requests").await;
    check(Reply::status(502), Fate::Unknown, "Bad Gateway").await;
    let words = "the answer is not what was agreed (line 1, column 2)";
    check(Reply::json(201, json!({})), Fate::Unknown, words).await;
    let moved = Reply::json(301, message("Moved Permanently")).with("location", "http://127.0.0.1:1/");
    check(moved, Fate::Rejected, "Moved Permanently").await;
}

#[tokio::test]
async fn repository_needs_its_issues() {
    let about =
        |has_issues: bool| Reply::json(200, json!({ "full_name": "acme/shop", "has_issues": has_issues }));
    let script = Script::start([about(true), about(false)]).await;
    let github = connector(&script);
    assert_eq!(github.find_repository().await.unwrap(), "acme/shop");
    assert!(github.find_repository().await.unwrap_err().message().contains("switched off"));
    script.finish("github");
}

#[test]
fn repository_has_an_owner_and_a_name() {
    assert_eq!("acme/shop.js".parse::<Repository>().unwrap().to_string(), "acme/shop.js");
    for text in
        ["", "acme", "acme/", "/shop", "acme/shop/x", "acme/..", "a b/c", "https://github.com/acme/shop"]
    {
        assert!(text.parse::<Repository>().is_err(), "{text}");
    }
}

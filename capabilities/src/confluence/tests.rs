use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use super::*;
use crate::testing::{Reply, Script, contract::Contract};

const KEY: Uuid = Uuid::from_u128(7);
const TAKEN: &str = "A page with this title already exists";

fn connector(script: &Script) -> Confluence {
    let base_url = format!("{}/wiki/api/v2", script.origin);
    Confluence::new(&base_url, "bot@example.com", "cf-secret".into()).unwrap()
}

fn draft() -> PageDraft {
    PageDraft {
        space_key: "OPS".to_owned(),
        parent_id: Some("1000".to_owned()),
        title: "Review INC-2026-0001".to_owned(),
        storage: "<p>What happened</p>".to_owned(),
        labels: vec!["Post Mortem".to_owned()],
    }
}

fn spaces() -> Reply {
    Reply::json(200, json!({ "results": [{ "id": "2001", "key": "OPS" }] }))
}

fn page(storage: &str) -> Reply {
    let body = json!({
        "id": "1001",
        "version": { "number": 3 },
        "body": { "storage": { "representation": "storage", "value": storage } },
        "_links": { "base": "https://e.atlassian.net/wiki", "webui": "/spaces/OPS/pages/1001/INC-2026-0001%3A+Checkout" },
        "something_new": {},
    });
    Reply::json(200, body)
}

fn refusal(status: u16, title: &str) -> Reply {
    let error = json!({ "status": status, "code": "BAD_REQUEST", "title": title, "detail": null });
    Reply::json(status, json!({ "errors": [error] }))
}

fn listed() -> Reply {
    Reply::json(200, json!({ "results": [{ "id": "1001" }], "_links": {} }))
}

fn owned_by(keys: &[Uuid]) -> Reply {
    let properties: Vec<Value> =
        keys.iter().map(|key| json!({ "id": "3001", "key": OWNER, "value": { "key": key } })).collect();
    Reply::json(200, json!({ "results": properties }))
}

fn done() -> Reply {
    Reply::json(200, json!({}))
}

fn text_with_anchor(storage: &str) -> String {
    Anchor::new(&KEY, storage).below(storage)
}

async fn ensured(replies: Vec<Reply>) -> (Result<Page, CallError>, Vec<String>) {
    let script = Script::start(replies).await;
    let outcome = connector(&script).ensure_page(&KEY, &draft()).await;
    (outcome, script.lines("confluence"))
}

async fn check(reply: Reply, fate: Fate, words: &str) {
    let (outcome, _) = ensured(vec![spaces(), reply]).await;
    let error = outcome.unwrap_err();
    assert_eq!((error.fate(), error.message()), (fate, words));
}

#[tokio::test]
async fn new_page_is_owned_and_labelled() {
    let script = Script::start([spaces(), page(""), done(), done()]).await;
    let created = connector(&script).ensure_page(&KEY, &draft()).await.unwrap();
    assert_eq!(created.url, "https://e.atlassian.net/wiki/spaces/OPS/pages/1001");
    let received = script.finish("confluence");
    assert_eq!(received[1].line(), "POST /wiki/api/v2/pages");
    assert!(received[1].header("authorization").starts_with("Basic "));
    let text = received[1].body["body"]["value"].as_str().unwrap();
    assert!(text.starts_with("<p>What happened</p><p><ac:structured-macro"));
    assert_eq!(received[2].body["value"], json!({ "key": KEY }));
    assert_eq!(received[3].line(), "POST /wiki/rest/api/content/1001/label");
    assert_eq!(received[3].body[0]["name"], "post-mortem");
}

#[tokio::test]
async fn page_with_our_property_is_adopted() {
    let text = text_with_anchor(&draft().storage);
    for status in [400, 409] {
        let (adopted, lines) =
            ensured(vec![spaces(), refusal(status, TAKEN), listed(), page(&text), owned_by(&[KEY]), done()])
                .await;
        assert_eq!((adopted.unwrap().version, lines.len()), (3, 6));
    }
}

#[tokio::test]
async fn page_made_before_a_crash_is_adopted_by_its_anchor() {
    let text = text_with_anchor(&draft().storage);
    let (adopted, lines) =
        ensured(vec![spaces(), refusal(400, TAKEN), listed(), page(&text), owned_by(&[]), done(), done()])
            .await;
    adopted.unwrap();
    assert_eq!(lines[5], "POST /wiki/api/v2/pages/1001/properties");
}

#[tokio::test]
async fn older_text_of_ours_is_replaced() {
    let script = Script::start([
        spaces(),
        refusal(400, TAKEN),
        listed(),
        page(&text_with_anchor("<p>older</p>")),
        owned_by(&[KEY]),
        page(""),
        done(),
    ])
    .await;
    connector(&script).ensure_page(&KEY, &draft()).await.unwrap();
    let received = script.finish("confluence");
    assert_eq!(received[5].line(), "PUT /wiki/api/v2/pages/1001");
    assert_eq!(received[5].body["version"]["number"], 4);
}

#[tokio::test]
async fn page_of_somebody_else_is_left_alone() {
    let ours = text_with_anchor(&draft().storage);
    let cases = [("<p>theirs</p>", owned_by(&[])), (ours.as_str(), owned_by(&[Uuid::from_u128(8)]))];
    for (text, owner) in cases {
        let replies = vec![spaces(), refusal(400, TAKEN), listed(), page(text), owner];
        let (outcome, _) = ensured(replies).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.fate(), Fate::Rejected);
        assert!(error.message().ends_with("it is not ours"), "{error}");
    }
}

#[tokio::test]
async fn bad_request_without_such_a_page_stays_refused() {
    let none = Reply::json(200, json!({ "results": [] }));
    let (outcome, _) = ensured(vec![spaces(), refusal(400, "Invalid body"), none]).await;
    assert_eq!(outcome.unwrap_err().to_string(), "Confluence refused pages.create: 400 Invalid body");
}

#[tokio::test]
async fn unknown_space_is_named() {
    let none = Reply::json(200, json!({ "results": [] }));
    let (outcome, _) = ensured(vec![none]).await;
    let error = outcome.unwrap_err();
    assert_eq!(error.message(), "there is no space OPS that we can see");
}

#[tokio::test]
async fn every_described_refusal_is_told_by_its_status() {
    // A 400 or 409 may mean that the page is there, which is looked up: tests of their own.
    let refusals = Contract::load("confluence").refusals().into_iter();
    for status in refusals.filter(|status| ![400, 409].contains(status)) {
        let fate = match status {
            401 | 403 => Fate::Unauthorized,
            420 | 429 => Fate::Limited { retry_after: None },
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
    check(Reply::status(401), Fate::Unauthorized, "Unauthorized").await;
    let v1 = Reply::json(403, json!({ "message": "not for cf-secret" }));
    check(v1, Fate::Unauthorized, "not for [secret]").await;
    check(Reply::status(413), Fate::Rejected, "Payload Too Large").await;
    check(Reply::status(429), limited(None), "Too Many Requests").await;
    let wait = Reply::status(429).with("retry-after", "9");
    check(wait, limited(Some(9)), "Too Many Requests").await;
    check(Reply::status(500), Fate::Unknown, "Internal Server Error").await;
    let redirect = Reply::status(302).with("location", "http://127.0.0.1:1/");
    let words = "the answer is a redirect, which is not followed";
    check(redirect, Fate::Rejected, words).await;
}

#[test]
fn both_versions_are_found_from_any_usual_address() {
    for given in
        ["https://e.atlassian.net", "https://e.atlassian.net/wiki", "https://e.atlassian.net/wiki/api/v2/"]
    {
        let (v2, v1) = both_versions(given).unwrap();
        assert_eq!(v2, "https://e.atlassian.net/wiki/api/v2");
        assert_eq!(v1, "https://e.atlassian.net/wiki/rest/api");
    }
}

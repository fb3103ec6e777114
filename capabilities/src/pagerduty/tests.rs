use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use super::*;
use crate::testing::{Reply, Script, contract::Contract};

const KEY: Uuid = Uuid::from_u128(7);

fn connector(script: &Script) -> PagerDuty {
    let from = "oncall@example.com".to_owned();
    PagerDuty::new(&script.origin, "pd-secret".into(), from).unwrap()
}

fn draft() -> IncidentDraft {
    IncidentDraft {
        key: KEY,
        title: "Logins fail".to_owned(),
        service_id: "PSVC1".to_owned(),
        high_urgency: true,
        details: "since 09:00".to_owned(),
        escalation_policy_id: Some("PESC1".to_owned()),
    }
}

fn incident(status: &str) -> Value {
    json!({
        "id": "Q1",
        "html_url": "https://example.pagerduty.com/incidents/Q1",
        "status": status,
        "incident_key": KEY,
        "something_new": null,
    })
}

fn none() -> Reply {
    Reply::json(200, json!({ "incidents": [], "more": false }))
}

fn one(status: &str) -> Value {
    json!({ "incident": incident(status) })
}

fn refusal(message: &str) -> Value {
    json!({ "error": { "message": message, "code": 2001, "errors": ["because"] } })
}

async fn check(reply: Reply, fate: Fate, message: &str) {
    let script = Script::start([none(), reply]).await;
    let error = connector(&script).ensure_incident(&draft()).await.unwrap_err();
    assert_eq!((error.fate(), error.message()), (fate, message));
    script.finish("pagerduty");
}

#[tokio::test]
async fn incident_is_created_with_key_and_sender() {
    let script = Script::start([none(), Reply::json(201, one("triggered"))]).await;
    let created = connector(&script).ensure_incident(&draft()).await.unwrap();
    assert_eq!(created.id, "Q1");
    assert_eq!(created.status, IncidentStatus::Triggered);
    let received = script.finish("pagerduty");
    assert_eq!(received[1].line(), "POST /incidents");
    assert_eq!(received[1].header("from"), "oncall@example.com");
    assert_eq!(received[1].header("authorization"), "Token token=pd-secret");
    let sent = &received[1].body["incident"];
    assert_eq!(sent["incident_key"], json!(KEY));
    assert_eq!(sent["escalation_policy"]["id"], "PESC1");
}

#[tokio::test]
async fn incident_that_is_there_is_adopted_without_another_page() {
    let mut foreign = incident("triggered");
    foreign["incident_key"] = json!("other");
    foreign["id"] = json!("Q0");
    let list = json!({ "incidents": [foreign, incident("resolved")] });
    let script = Script::start([Reply::json(200, list)]).await;
    let found = connector(&script).ensure_incident(&draft()).await.unwrap();
    assert_eq!((found.id.as_str(), found.status), ("Q1", IncidentStatus::Resolved));
    assert_eq!(script.lines("pagerduty"), ["GET /incidents"]);
}

#[tokio::test]
async fn duplicate_key_is_adopted() {
    let replies = [
        none(),
        Reply::json(400, refusal("Incident Already Exists")),
        Reply::json(200, json!({ "incidents": [incident("acknowledged")] })),
    ];
    let script = Script::start(replies).await;
    let found = connector(&script).ensure_incident(&draft()).await.unwrap();
    assert_eq!(found.status, IncidentStatus::Acknowledged);
    script.finish("pagerduty");
}

#[tokio::test]
async fn other_bad_request_stays_refused() {
    let bad = Reply::json(400, refusal("Invalid Input Provided"));
    let script = Script::start([none(), bad, none()]).await;
    let error = connector(&script).ensure_incident(&draft()).await.unwrap_err();
    assert_eq!(error.to_string(), "PagerDuty refused incidents.create: 400 Invalid Input Provided: because");
    script.finish("pagerduty");
}

#[tokio::test]
async fn every_described_refusal_is_told_by_its_status() {
    // A 400 may mean that the incident is there, which is looked up: tests of their own.
    for status in Contract::load("pagerduty").refusals().into_iter().filter(|status| *status != 400) {
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
    check(Reply::status(403), Fate::Unauthorized, "Forbidden").await;
    check(Reply::status(402), Fate::Rejected, "Payment Required").await;
    let too_many = "Too Many Requests";
    check(Reply::status(429), limited(None), too_many).await;
    let reset = Reply::status(429).with("ratelimit-reset", "21");
    check(reset, limited(Some(21)), too_many).await;
    let after = Reply::status(429).with("retry-after", "5").with("ratelimit-reset", "21");
    check(after, limited(Some(5)), too_many).await;
    check(Reply::status(502), Fate::Unknown, "Bad Gateway").await;
    let redirect = Reply::status(301).with("location", "http://127.0.0.1:1/");
    let message = "the answer is a redirect, which is not followed";
    check(redirect, Fate::Rejected, message).await;
    let short = Reply::json(404, json!({ "error": "Not Found" }));
    check(short, Fate::Rejected, "Not Found").await;
}

#[tokio::test]
async fn resolving_what_is_resolved_succeeds() {
    let replies = [Reply::json(400, refusal("Incident Already Resolved")), Reply::json(200, one("resolved"))];
    let script = Script::start(replies).await;
    let resolved = connector(&script).resolve("Q1").await.unwrap();
    assert_eq!(resolved.status, IncidentStatus::Resolved);
    assert_eq!(script.lines("pagerduty"), ["PUT /incidents/Q1", "GET /incidents/Q1"]);
}

#[tokio::test]
async fn note_is_found_by_its_last_line() {
    let note = |content: String| json!({ "id": "N", "content": content, "user": {} });
    let quoted = note(format!("[harmony:{KEY}] is the key\nof something else"));
    let ours = note(format!("restarted\n[harmony:{KEY}]\n"));
    let notes = |list: Vec<Value>| Reply::json(200, json!({ "notes": list }));

    let script = Script::start([notes(vec![quoted.clone(), ours])]).await;
    let again = Attempt::Again;
    connector(&script).add_note(again, &KEY, "Q1", "restarted").await.unwrap();
    assert_eq!(script.lines("pagerduty"), ["GET /incidents/Q1/notes"]);

    let created = Reply::json(201, json!({ "note": note(String::new()) }));
    let script = Script::start([notes(vec![quoted]), created]).await;
    connector(&script).add_note(again, &KEY, "Q1", "restarted\n").await.unwrap();
    let received = script.finish("pagerduty");
    assert_eq!(received[1].body["note"]["content"], json!(format!("restarted\n[harmony:{KEY}]")));
}

#[tokio::test]
async fn urgency_is_set_and_what_is_resolved_stays() {
    let script = Script::start([
        Reply::json(200, one("triggered")),
        Reply::json(400, refusal("Incident Already Resolved")),
        Reply::json(200, one("resolved")),
    ])
    .await;
    let pagerduty = connector(&script);
    assert_eq!(pagerduty.set_urgency("Q1", true).await.unwrap().status, IncidentStatus::Triggered);
    assert_eq!(pagerduty.set_urgency("Q1", false).await.unwrap().status, IncidentStatus::Resolved);
    let received = script.finish("pagerduty");
    assert_eq!(received[0].body["incident"]["urgency"], "high");
    assert_eq!(received[1].body["incident"]["urgency"], "low");
}

#[tokio::test]
async fn who_is_on_call_comes_first_level_first() {
    let duty = |level: u32, id: &str| {
        json!({
            "escalation_policy": { "id": "PESC1", "type": "escalation_policy_reference" },
            "escalation_level": level,
            "user": { "id": id, "type": "user_reference", "summary": id },
            "schedule": null, "start": null, "end": null,
        })
    };
    let answer = json!({ "oncalls": [duty(2, "PMANAGER"), duty(1, "PONCALL")], "more": false });
    let script = Script::start([Reply::json(200, answer)]).await;
    let people = connector(&script).on_call("PESC1").await.unwrap();
    let names: Vec<(u32, &str)> = people.iter().map(|one| (one.level, one.name.as_str())).collect();
    assert_eq!(names, [(1, "PONCALL"), (2, "PMANAGER")]);
    assert_eq!(script.lines("pagerduty"), ["GET /oncalls"]);
}

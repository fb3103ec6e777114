use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use super::*;
use crate::error::Fate;
use crate::testing::{Reply, Script, contract::Contract};

const KEY: Uuid = Uuid::from_u128(7);

fn connector(script: &Script) -> Statuspage {
    let base_url = format!("{}/v1", script.origin);
    Statuspage::new(&base_url, "sp-secret".into(), "page1").unwrap()
}

fn draft() -> IncidentDraft {
    IncidentDraft {
        name: "Logins fail".to_owned(),
        body: "We are looking into it.".to_owned(),
        status: IncidentStatus::Investigating,
        impact: Some(Impact::Major),
        components: vec![("comp1".to_owned(), ComponentStatus::MajorOutage)],
    }
}

fn incident(key: Option<Uuid>) -> Value {
    json!({
        "id": "inc1",
        "shortlink": "https://stspg.io/x",
        "metadata": key.map(|key| json!({ "harmony": { "idempotency_key": key } })),
        "something_new": { "unknown": [1] },
    })
}

fn expected() -> Incident {
    Incident { id: "inc1".to_owned(), shortlink: "https://stspg.io/x".to_owned() }
}

/// The fate and message of a creation that is answered so.
async fn check(reply: Reply, fate: Fate, message: &str) {
    let script = Script::start([reply]).await;
    let statuspage = connector(&script);
    let error = statuspage.create_incident(Attempt::First, &KEY, &draft()).await.unwrap_err();
    assert_eq!((error.fate(), error.message()), (fate, message));
    script.finish("statuspage");
}

#[tokio::test]
async fn creation_carries_key_and_credentials() {
    let script = Script::start([Reply::json(201, incident(Some(KEY)))]).await;
    let statuspage = connector(&script);
    let created = statuspage.create_incident(Attempt::First, &KEY, &draft()).await.unwrap();
    assert_eq!(created, expected());
    let received = script.finish("statuspage");
    assert_eq!(received[0].line(), "POST /v1/pages/page1/incidents");
    assert_eq!(received[0].header("authorization"), "OAuth sp-secret");
    let sent = &received[0].body["incident"];
    assert_eq!(sent["metadata"], json!({ "harmony": { "idempotency_key": KEY } }));
    assert_eq!(sent["impact_override"], "major");
}

#[tokio::test]
async fn every_described_refusal_is_told_by_its_status() {
    for status in Contract::load("statuspage").refusals() {
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
    let limited = |s| Fate::Limited { retry_after: Some(Duration::from_secs(s)) };
    let text = json!({ "error": "name too long" });
    check(Reply::json(422, text), Fate::Rejected, "name too long").await;
    let list = json!({ "error": ["a", "b"] });
    check(Reply::json(400, list), Fate::Rejected, "a; b").await;
    let message = json!({ "message": "no page for sp-secret" });
    check(Reply::json(404, message), Fate::Rejected, "no page for [secret]").await;
    check(Reply::status(401), Fate::Unauthorized, "Unauthorized").await;
    check(Reply::status(403), Fate::Unauthorized, "Forbidden").await;
    let wait = Reply::json(420, json!({ "message": "slow" })).with("retry-after", "12");
    check(wait, limited(12), "slow").await;
    let wait = Reply::status(429).with("retry-after", "3");
    check(wait, limited(3), "Too Many Requests").await;
    let unsaid = Fate::Limited { retry_after: None };
    check(Reply::status(429), unsaid, "Too Many Requests").await;
    check(Reply::status(500), Fate::Unknown, "Internal Server Error").await;
    check(Reply::status(503), Fate::Unknown, "Service Unavailable").await;
    check(Reply::status(408), Fate::Unavailable, "Request Timeout").await;
}

#[tokio::test]
async fn limit_holds_every_call_back() {
    let script = Script::start([Reply::status(420).with("retry-after", "60")]).await;
    let statuspage = connector(&script);
    statuspage.create_incident(Attempt::First, &KEY, &draft()).await.unwrap_err();
    let held = statuspage.find_incident(&KEY).await.unwrap_err();
    let Fate::Limited { retry_after: Some(left) } = held.fate() else { panic!("{held}") };
    assert!(left > Duration::from_secs(30) && held.status().is_none(), "{held}");
    assert_eq!(script.lines("statuspage"), ["POST /v1/pages/page1/incidents"]);
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let elsewhere = Script::start([]).await;
    let reply = Reply::status(307).with("location", &elsewhere.origin);
    let message = "the answer is a redirect, which is not followed";
    check(reply, Fate::Rejected, message).await;
    assert!(elsewhere.finish("statuspage").is_empty());
}

#[tokio::test]
async fn lost_or_unreadable_answer_leaves_an_effect_unknown() {
    let outcome = |reply| async {
        let script = Script::start([reply]).await;
        let statuspage = connector(&script);
        let first = Attempt::First;
        let error = statuspage.create_incident(first, &KEY, &draft()).await;
        error.unwrap_err().fate()
    };
    assert_eq!(outcome(Reply::HangUp).await, Fate::Unknown);
    assert_eq!(outcome(Reply::text(201, "ok")).await, Fate::Unknown);
    assert_eq!(outcome(Reply::text(201, &" ".repeat(2_097_153))).await, Fate::Unknown);
}

#[tokio::test]
async fn lost_read_may_be_repeated_and_nobody_there_is_unavailable() {
    let script = Script::start([Reply::HangUp]).await;
    let error = connector(&script).find_incident(&KEY).await.unwrap_err();
    assert_eq!(error.fate(), Fate::Unavailable);
    script.finish("statuspage");

    let nobody = Statuspage::new("http://127.0.0.1:1/v1", "s".into(), "p").unwrap();
    let error = nobody.create_incident(Attempt::First, &KEY, &draft()).await.unwrap_err();
    assert_eq!(error.fate(), Fate::Unavailable);
}

#[tokio::test]
async fn again_adopts_the_incident_with_the_key() {
    let other = incident(Some(Uuid::from_u128(8)));
    let list = json!([incident(None), other, incident(Some(KEY))]);
    let script = Script::start([Reply::json(200, list)]).await;
    let found = connector(&script).create_incident(Attempt::Again, &KEY, &draft()).await.unwrap();
    assert_eq!(found, expected());
    assert_eq!(script.lines("statuspage"), ["GET /v1/pages/page1/incidents"]);
}

#[tokio::test]
async fn again_creates_what_is_not_there() {
    let replies = [Reply::json(200, json!([incident(None)])), Reply::json(201, incident(Some(KEY)))];
    let script = Script::start(replies).await;
    connector(&script).create_incident(Attempt::Again, &KEY, &draft()).await.unwrap();
    assert_eq!(script.finish("statuspage").len(), 2);
}

#[tokio::test]
async fn update_counts_as_made_when_it_is_the_newest() {
    let update = Update {
        status: IncidentStatus::Resolved,
        body: "It is over.\nThank you.".to_owned(),
        components: Vec::new(),
    };
    let with = |newest: &str| {
        let mut incident = incident(Some(KEY));
        incident["incident_updates"] = json!([
            { "id": "u1", "status": "investigating", "body": "…", "created_at": "2026-01-06T09:00:00.000Z" },
            { "id": "u2", "status": "resolved", "body": newest, "created_at": "2026-01-06T10:30:00.000+01:00" },
        ]);
        Reply::json(200, incident)
    };
    let made = Script::start([with("It is over.\r\nThank you. ")]).await;
    let statuspage = connector(&made);
    let again = Attempt::Again;
    statuspage.update_incident(again, &KEY, "inc1", &update).await.unwrap();
    assert_eq!(made.lines("statuspage"), ["GET /v1/pages/page1/incidents/inc1"]);

    let missing = Script::start([with("Something else."), Reply::json(200, incident(None))]).await;
    let statuspage = connector(&missing);
    statuspage.update_incident(again, &KEY, "inc1", &update).await.unwrap();
    let lines = missing.lines("statuspage");
    assert_eq!(lines[1], "PATCH /v1/pages/page1/incidents/inc1");
}

#[tokio::test]
async fn impact_and_components_are_set_without_mail() {
    let script = Script::start([Reply::json(200, incident(None)), Reply::json(200, incident(None))]).await;
    let statuspage = connector(&script);
    let outage = [("comp1".to_owned(), ComponentStatus::PartialOutage)];
    statuspage.set_impact("inc1", Impact::Critical, &outage).await.unwrap();
    let works = vec![("comp1".to_owned(), ComponentStatus::Operational)];
    let update = Update { status: IncidentStatus::Resolved, body: "Over.".to_owned(), components: works };
    statuspage.update_incident(Attempt::First, &KEY, "inc1", &update).await.unwrap();
    let received = script.finish("statuspage");
    let incident = &received[0].body["incident"];
    assert_eq!(incident["impact_override"], "critical");
    assert_eq!(incident["deliver_notifications"], false);
    assert_eq!(incident["components"], json!({ "comp1": "partial_outage" }));
    assert_eq!(received[1].body["incident"]["components"], json!({ "comp1": "operational" }));
}

#[tokio::test]
async fn equal_updates_at_the_end_are_counted() {
    let update =
        Update { status: IncidentStatus::Monitoring, body: "Better.".to_owned(), components: Vec::new() };
    let past = |status: &str, body: &str, second: u32| json!({ "status": status, "body": body, "created_at": format!("2026-01-01T00:00:0{second}.000Z") });
    let mut answer = incident(None);
    answer["incident_updates"] = json!([
        past("investigating", "Bad.", 1),
        past("monitoring", "Better.", 3),
        past("monitoring", "Better.", 2),
    ]);
    let script = Script::start([Reply::json(200, answer)]).await;
    assert_eq!(connector(&script).count_updates("inc1", &update).await.unwrap(), 2);
    script.finish("statuspage");
}

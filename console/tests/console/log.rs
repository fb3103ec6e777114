//! Records, verification, export, redaction.

use base64::{Engine, engine::general_purpose::STANDARD};
use harmony_eventlog::{CheckpointKey, Export, export, export::Expected};
use harmony_incidents::{
    IncidentId, OrgId,
    record::{ChainHead, check},
};
use serde_json::{Value, json};

use crate::world::{World, encoded};

#[tokio::test]
async fn events_are_paged_and_say_everything() {
    let world = World::new().await;
    let id = world.opened("P2").await;
    let note = json!({ "note": "disk full" });
    world.post_with_key("viewer", &format!("incidents/{id}/notes"), "n1", note.clone()).await.ok(200);
    let path = format!("incidents/{id}/events");
    let all = world.get("viewer", &path).await.ok(200)["events"].clone();
    let kinds: Vec<&str> = all.as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["INCIDENT_CREATED", "INCIDENT_STATUS_CHANGED", "INCIDENT_NOTE_ADDED"]);
    let last = &all[2];
    assert_eq!(last["payload"], note);
    assert_eq!((&last["actor"], &last["authority"]), (&json!("viewer"), &json!("none")));
    assert_eq!(last["cause"], json!({ "requestId": "n1" }));
    assert_eq!(last["prevHash"], all[1]["hash"]);
    for name in ["hash", "stateHashAfter"] {
        assert_eq!(last[name].as_str().unwrap().len(), 64);
    }
    for name in ["occurredAt", "storedAt"] {
        assert!(last[name].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!(last["eventId"].as_str().unwrap().len(), 36);

    let page = world.get("viewer", &format!("{path}?after=1&limit=1")).await.ok(200);
    assert_eq!(page["events"], json!([all[1]]));
    assert_eq!(page["nextCursor"], "2");
    world.get("viewer", &format!("{path}?after=x")).await.problem(422);
    world.get("viewer", &format!("{path}?at=0")).await.problem(422);
}

#[tokio::test]
async fn log_verifies_and_replays() {
    let world = World::new().await;
    world.opened("P2").await;
    world.declared("P3").await;
    for path in ["log/verify", "log/replay"] {
        let report = world.get("viewer", path).await.ok(200);
        assert_eq!(
            report,
            json!({ "verified": true, "incidents": 2, "records": 3, "findings": [], "redacted": [] })
        );
    }
}

/// Requests that were sent and are not read on: what they hold, they keep.
#[tokio::test]
async fn whoever_verifies_takes_the_console_from_nobody() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let gate = format!("approvals/{}", encoded(&world.gated(&id).await));
    for path in ["log/verify", "log/replay"] {
        let mut held: Vec<_> = (0..2).map(|_| Box::pin(world.get("viewer", path))).collect();
        for one in &mut held {
            assert!(futures_util::poll!(one.as_mut()).is_pending());
        }
        for path in ["log/verify", "log/replay"].repeat(14) {
            let refused = world.get("viewer", path).await;
            refused.problem(429);
            assert_eq!(refused.header("retry-after"), "10");
        }
        assert_eq!(world.probe("/readyz").await.status, 200);
        world.get("viewer", &format!("incidents/{id}")).await.ok(200);
        world.post("oncall", &gate, json!({ "escalate": true, "reason": "nobody answers" })).await.ok(200);
        for one in held {
            assert_eq!(one.await.ok(200)["verified"], true);
        }
        assert_eq!(world.get("viewer", path).await.ok(200)["verified"], true);
    }
}

#[tokio::test]
async fn exported_lines_verify_without_the_store() {
    let world = World::new().await;
    let (first, second) = (world.opened("P2").await, world.opened("P1").await);
    for index in 0..210 {
        let note = json!({ "note": format!("note {index}") });
        world.post("viewer", &format!("incidents/{second}/notes"), note).await.ok(200);
    }
    let exported = world.get("viewer", "log/export").await;
    assert_eq!((exported.status, exported.content_type.as_str()), (200, "application/jsonl"));
    let mut lines = exported.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(lines.next().unwrap(), json!({ "format": "harmony-log/1", "org": "default" }));
    let lines: Vec<Value> = lines.collect();
    assert_eq!(lines.len(), 2 + 2 + 210 + 1);
    assert_eq!(lines[0]["texts"]["title"]["text"], "Checkout fails");
    assert_eq!(lines[213]["texts"]["note"]["text"], "note 209");
    assert_eq!(lines[213]["texts"]["note"]["salt"].as_str().unwrap().len(), 64);
    let verified = export::verify(exported.text.as_bytes(), Expected::default()).unwrap();
    assert!(verified.has_checkpoint && verified.report.verified);
    assert_eq!((verified.report.incidents, verified.report.records), (2, 214));
    for (id, count) in [(&first, 2), (&second, 212)] {
        let incident: IncidentId = id.parse().unwrap();
        let mut head = <ChainHead>::default();
        for line in lines.iter().filter(|line| line["incident"] == id.as_str()) {
            let canonical = STANDARD.decode(line["canonical"].as_str().unwrap()).unwrap();
            let hash = hex::decode(line["hash"].as_str().unwrap()).unwrap();
            (_, head) = check(&OrgId::default(), &incident, head, &canonical, &hash).unwrap();
            assert_eq!(line["seq"], head.state.seq);
        }
        assert_eq!(head.state.seq, count);
    }
}

#[tokio::test]
async fn incidents_are_exported_whole_one_by_one_and_by_when_they_were_declared() {
    let world = World::new().await;
    let (first, second) = (world.opened("P2").await, world.opened("P1").await);
    let key = CheckpointKey::parse(&"33".repeat(32)).unwrap();
    let exported = async |query: String| {
        let reply = world.get("viewer", &format!("log/export?{query}")).await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.text);
        let expected = Expected { verifier: Some(key.verifier(&OrgId::default())), ..Expected::default() };
        let verified = export::verify(reply.text.as_bytes(), expected).unwrap();
        assert!(verified.has_checkpoint && verified.report.verified, "{query}");
        let of = |id: &String| reply.text.matches(&format!("\"incident\":\"{id}\"")).count();
        [of(&first), of(&second)]
    };
    let now = jiff::Timestamp::now();
    for (query, found) in [
        (format!("incidentId={first}"), [2, 0]),
        (format!("incidentId={first}&incidentId={second}"), [2, 2]),
        (format!("incidentId={first},{second}"), [2, 2]),
        ("since=2026-01-01".to_owned(), [2, 2]),
        (format!("until={now}"), [2, 2]),
        (format!("since={now}"), [0, 0]),
        (format!("incidentId={first}&until=2026-01-01"), [0, 0]),
    ] {
        assert_eq!(exported(query.clone()).await, found, "{query}");
    }
    for (query, status) in [
        ("incidentId=INC-2026-0099", 404),
        ("incidentId=99", 400),
        ("since=yesterday", 422),
        ("until=2026-02-30", 422),
        ("incident=INC-2026-0001", 400),
    ] {
        world.get("viewer", &format!("log/export?{query}")).await.problem(status);
    }
}

#[tokio::test]
async fn exports_are_the_same_bytes_over_the_api_and_from_the_store() {
    let world = World::new().await;
    world.opened("P2").await;
    world.declared("P3").await;
    let key = CheckpointKey::parse(&"33".repeat(32)).unwrap();
    let mut export = Export::begin(world.log.clone(), OrgId::default(), Some(key.clone())).await.unwrap();
    let mut direct = String::new();
    while let Some(lines) = export.next().await.unwrap() {
        direct.push_str(&lines);
    }
    assert_eq!(world.get("viewer", "log/export").await.text, direct);
    let note = world.get("viewer", "log/checkpoint").await;
    assert_eq!(note.status, 200);
    let checkpoint = key.verifier(&OrgId::default()).open(&note.text).unwrap();
    let ends: Vec<u64> = checkpoint.heads().iter().map(|head| head.seq).collect();
    assert_eq!(ends, [2, 1]);
}

#[tokio::test]
async fn only_an_administrator_redacts() {
    let world = World::new().await;
    let id = world.opened("P2").await;
    let path = format!("incidents/{id}/redact");
    let body = json!({ "seq": 1, "field": "title", "reason": "a customer's name" });
    let refused = ["viewer", "operator", "oncall", "commander", "manager", "approver"];
    for who in refused {
        world.post(who, &path, body.clone()).await.problem(403);
    }
    let title = |incident: &Value| incident["title"].clone();
    let shown = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    assert_eq!(title(&shown), "Checkout fails");

    // The start of initiate was not carried out yet, and its input has the title.
    world.post("admin", &path, body.clone()).await.problem(409);
    world.outbox().await;
    let redacted = world.post("admin", &path, body.clone()).await.ok(200);
    // Behind what was refused, which is on record, too.
    assert_eq!((&redacted["answer"], &redacted["seq"]), (&json!("recorded"), &json!(3 + refused.len())));
    let again = world.post("admin", &path, body).await.ok(200);
    assert_eq!(again["answer"], "unchanged");

    let shown = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    assert_eq!(title(&shown), "[redacted]");
    let report = world.get("viewer", "log/verify").await.ok(200);
    assert_eq!(report["verified"], true);
    assert_eq!(report["redacted"], json!([{ "incident": id, "seq": 1, "field": "title" }]));
    assert!(!world.get("viewer", "log/export").await.text.contains("Checkout fails"));
}

#[tokio::test]
async fn a_redaction_names_a_record_a_text_and_a_reason() {
    let world = World::new().await;
    let id = world.opened("P2").await;
    world.outbox().await;
    let path = format!("incidents/{id}/redact");
    for body in [
        json!({}),
        json!({ "seq": 1 }),
        json!({ "seq": 1, "reason": "" }),
        json!({ "seq": 9, "reason": "x" }),
        json!({ "seq": -1, "reason": "x" }),
        json!({ "seq": 1, "field": "note", "reason": "x" }),
        json!({ "seq": 1, "reason": "x", "more": 1 }),
    ] {
        world.post("admin", &path, body).await.problem(422);
    }
    world
        .post("admin", "incidents/INC-2026-9999/redact", json!({ "seq": 1, "reason": "x" }))
        .await
        .problem(404);
}

//! Records, verification, export.

use base64::{Engine, engine::general_purpose::STANDARD};
use harmony_incidents::{
    IncidentId, OrgId,
    record::{ChainHead, check},
};
use serde_json::{Value, json};

use crate::world::World;

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
    world.get("viewer", &format!("{path}?at=1")).await.problem(400);
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

#[tokio::test]
async fn exported_lines_verify_without_the_store() {
    let world = World::new().await;
    let (first, second) = (world.opened("P2").await, world.opened("P1").await);
    for index in 0..210 {
        let note = json!({ "note": format!("note {index}") });
        world.post("viewer", &format!("incidents/{second}/notes"), note).await.ok(200);
    }
    let export = world.get("viewer", "log/export").await;
    assert_eq!((export.status, export.content_type.as_str()), (200, "application/jsonl"));
    let mut lines = export.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(lines.next().unwrap(), json!({ "format": "harmony-log/1", "org": "default" }));
    let lines: Vec<Value> = lines.collect();
    assert_eq!(lines.len(), 2 + 2 + 210);
    assert_eq!(lines[0]["texts"], json!({ "title": "Checkout fails" }));
    assert_eq!(lines[213]["texts"], json!({ "note": "note 209" }));
    for (id, count) in [(&first, 2), (&second, 212)] {
        let incident: IncidentId = id.parse().unwrap();
        let mut head = ChainHead::default();
        for line in lines.iter().filter(|line| line["incident"] == id.as_str()) {
            let canonical = STANDARD.decode(line["canonical"].as_str().unwrap()).unwrap();
            let hash = hex::decode(line["hash"].as_str().unwrap()).unwrap();
            (_, head) = check(&OrgId::default(), &incident, head, &canonical, &hash).unwrap();
            assert_eq!(line["seq"], head.state.seq);
        }
        assert_eq!(head.state.seq, count);
    }
}

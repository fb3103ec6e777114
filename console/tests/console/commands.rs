//! Commands on an incident: what they answer, and what they refuse.

use axum::{body::Body, http::Request};
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn command_tells_how_the_incident_stands() {
    let world = World::new().await;
    let id = world.declared("P3").await;
    let path = format!("incidents/{id}/status");
    let done = world.post("oncall", &path, json!({ "newState": "OPEN" })).await.ok(200);
    assert_eq!(
        done,
        json!({ "incidentId": id, "seq": 2, "answer": "recorded", "state": "OPEN", "phase": "triaging" })
    );
    let again = world.post("oncall", &path, json!({ "status": "INVESTIGATING" })).await.ok(200);
    assert_eq!(again["answer"], "unchanged");
    assert_eq!(again["seq"], 2);
    let mitigated = world.post("oncall", &path, json!({ "status": "mitigated" })).await.ok(200);
    assert_eq!((&mitigated["state"], &mitigated["phase"]), (&json!("MITIGATING"), &json!("verified")));
    let resolution =
        json!({ "state": "RESOLVED", "resolution": { "summary": "Rolled back", "type": "FIXED" } });
    world.post("oncall", &path, resolution).await.ok(200);
    let shown = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    assert_eq!(shown["status"], "RESOLVED");
    assert_eq!(shown["resolution"]["resolvedBy"], "oncall");
    // A P3 needs no review.
    assert_eq!(
        world.post("oncall", &format!("incidents/{id}/close"), json!({})).await.ok(200)["state"],
        "CLOSED"
    );
}

#[tokio::test]
async fn resolving_goes_through_the_gate_of_the_close_out() {
    let world = World::new().await;
    let id = world.opened("P2").await;
    let path = format!("incidents/{id}/status");
    world.outbox().await;
    let refused =
        world.post("operator", &path, json!({ "state": "RESOLVED", "resolutionSummary": "x" })).await;
    assert!(refused.problem(403).contains("sre-oncall"));
    let unsaid = world.post("oncall", &path, json!({ "status": "RESOLVED" })).await;
    assert!(unsaid.problem(422).contains("resolving needs a resolution"));
    assert!(world.outbox().await.is_empty());
    let resolve = json!({
        "status": "RESOLVED", "resolution": { "summary": "Rolled back", "type": "FIXED" }, "reason": "Quiet for\nan hour",
    });
    let taken = world.post_with_key("oncall", &path, "resolve-1", resolve.clone()).await.ok(202);
    assert_eq!(
        taken,
        json!({
            "incidentId": id, "workflowId": format!("incident.close-out-{id}"), "attempt": 1,
            "gate": {
                "gateId": format!("incident.close-out-{id}#1/approve"), "kind": "close-out",
                "requiredRoles": ["incident-commander", "sre-oncall", "incident-manager", "incident-approver"],
            },
        })
    );
    assert_eq!(world.post_with_key("oncall", &path, "resolve-1", resolve).await.ok(202), taken);
    let items = world.outbox().await;
    assert_eq!(items.len(), 1);
    let input = &items[0].item.payload["input"];
    for (name, expected) in [
        ("resolutionSummary", json!("Rolled back")),
        ("resolutionType", json!("FIXED")),
        ("cancelled", json!(false)),
        ("reason", json!("Quiet for an hour")),
    ] {
        assert_eq!(input[name], expected);
    }
    assert_eq!(world.get("viewer", &format!("incidents/{id}")).await.ok(200)["state"], "OPEN");
    // An override is no way around: its gate can be approved under one.
    let justification = "Nobody who could approve this is awake";
    let over = json!({
        "state": "RESOLVED", "resolutionSummary": "x", "justification": justification,
    });
    let answer = world.post("oncall", &path, over).await.ok(202);
    assert_eq!(answer["workflowId"], format!("incident.close-out-{id}"));
    assert_eq!(world.outbox().await[0].item.payload["input"]["reason"], justification);
}

#[tokio::test]
async fn who_acted_on_what_they_saw_is_told_what_changed() {
    let world = World::new().await;
    let id = world.opened("P3").await;
    let tag = world.get("viewer", &format!("incidents/{id}")).await.header("etag").to_owned();
    assert_eq!(tag, "\"2\"");
    let post = async |verb: &str, key: &str, seen: &str, body: Value| {
        let request = Request::post(format!("/api/orgs/default/incidents/{id}/{verb}"))
            .header("authorization", "Bearer token-manager")
            .header("idempotency-key", key)
            .header("if-match", seen);
        world.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let severity = json!({ "severity": "P4", "reason": "one region" });
    post("severity", "a", &tag, severity.clone()).await.ok(200);
    post("severity", "a", &tag, severity).await.ok(200);
    world.post("oncall", &format!("incidents/{id}/notes"), json!({ "note": "It falls" })).await.ok(200);
    world.outbox().await;
    for (key, verb, body) in [
        ("b", "notes", json!({ "note": "x" })),
        ("c", "status", json!({ "status": "MITIGATED" })),
        ("d", "status", json!({ "state": "RESOLVED", "resolutionSummary": "x" })),
        ("e", "close-out", json!({ "resolutionSummary": "x" })),
        ("f", "severity", json!({ "severity": "P3" })),
        ("g", "responders", json!({ "role": "commander", "principalId": "oncall" })),
        ("h", "update", json!({ "message": "x" })),
    ] {
        let refused = post(verb, key, &tag, body).await;
        let detail = refused.problem(412);
        assert!(detail.contains("you acted on record 2, the last one is 4"), "{detail}");
        let problem = refused.json();
        assert_eq!(problem["type"], "urn:harmony:problem:stale");
        assert_eq!(refused.header("etag"), "\"4\"");
        let changes = problem["changes"].as_array().unwrap();
        assert_eq!(changes.len(), 2);
        assert_eq!(changes[0]["kind"], "INCIDENT_SEVERITY_CHANGED");
        assert_eq!((&changes[0]["actor"], &changes[1]["actor"]), (&json!("manager"), &json!("oncall")));
        assert_eq!(changes[1]["seq"], 4);
    }
    assert!(world.outbox().await.is_empty());
    // A command of two records is one to whoever sends it.
    let mitigated = post("status", "i", "\"4\"", json!({ "status": "MITIGATED" })).await.ok(200);
    assert_eq!((&mitigated["seq"], &mitigated["phase"]), (&json!(6), &json!("verified")));
    post("notes", "j", "*", json!({ "note": "x" })).await.ok(200);
    assert!(post("notes", "k", "\"x\"", json!({ "note": "x" })).await.problem(400).contains("If-Match"));
}

#[tokio::test]
async fn what_is_not_legal_or_not_valid_is_refused() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    for (who, verb, body, status, expected) in [
        (
            "oncall",
            "status",
            json!({ "state": "PENDING" }),
            409,
            "legal next states: CANCELLED, MITIGATING, RESOLVED",
        ),
        ("oncall", "status", json!({ "status": "OPEN" }), 409, "OPEN cannot become PENDING"),
        ("oncall", "status", json!({ "state": "RESOLVED" }), 422, "resolving needs a resolution"),
        ("oncall", "status", json!({ "state": "CANCELLED" }), 422, "cancelling needs a reason"),
        ("oncall", "status", json!({ "state": "GONE" }), 422, "state \"GONE\" is not known"),
        ("oncall", "status", json!({}), 422, "name the `status`"),
        (
            "oncall",
            "status",
            json!({ "state": "MITIGATING", "justification": "short" }),
            422,
            "20 characters",
        ),
        ("oncall", "verify", json!({}), 409, "phase verified does not fit"),
        ("oncall", "close", json!({}), 409, "OPEN cannot become CLOSED"),
        ("oncall", "status", json!({ "state": "CLOSED" }), 409, "OPEN cannot become CLOSED"),
        ("commander", "sign-off", json!({ "digest": "00" }), 409, "no published review"),
        ("manager", "severity", json!({ "severity": "P7" }), 422, "severity \"P7\""),
        ("viewer", "notes", json!({ "note": " " }), 422, "the note is empty"),
        ("viewer", "notes", json!({}), 422, "missing field `note`"),
        ("operator", "responders", json!({ "role": "king", "principalId": "oncall" }), 422, "role \"king\""),
        ("operator", "responders", json!({ "role": "commander", "principalId": "nobody" }), 422, "nobody"),
        ("operator", "review", json!({ "section": "poetry", "text": "x" }), 422, "section \"poetry\""),
        (
            "operator",
            "review",
            json!({ "action": "x", "owner": "oncall", "due": "soon" }),
            422,
            "due \"soon\"",
        ),
        ("operator", "review", json!({ "action": "x" }), 422, "owner is empty"),
        (
            "operator",
            "tickets",
            json!({ "system": "jira", "ticket": "A-1", "url": "javascript:x" }),
            422,
            "url",
        ),
    ] {
        let reply = world.post(who, &format!("incidents/{id}/{verb}"), body.clone()).await;
        let detail = reply.problem(status);
        assert!(detail.contains(expected), "{verb} {body}: {detail}");
    }
    assert_eq!(world.get("viewer", &format!("incidents/{id}")).await.ok(200)["seq"], 2);
}

#[tokio::test]
async fn facts_are_recorded_once_a_key() {
    let world = World::new().await;
    let id = world.opened("P3").await;
    for (verb, body) in [
        ("notes", json!({ "note": "disk full" })),
        ("actions", json!({ "action": "restarted", "actionId": "a1" })),
        ("signals", json!({ "source": "prometheus", "summary": "5xx", "correlationKey": "c1" })),
        ("tags", json!({ "tag": "database" })),
        ("slo-violations", json!({ "slo": "availability", "target": "99.9", "observed": "98.2" })),
        ("tickets", json!({ "system": "jira", "ticket": "A-1", "url": "https://jira.example.com/A-1" })),
        ("responders", json!({ "role": "commander", "principalId": "commander" })),
        ("review", json!({ "section": "impact", "text": "Many" })),
        ("review", json!({ "action": "Alert earlier", "owner": "oncall", "due": "2026-12-01" })),
    ] {
        let path = format!("incidents/{id}/{verb}");
        let key = format!("{verb}{body}");
        let key = &key[..key.len().min(60)];
        let first = world.post_with_key("admin", &path, key, body.clone()).await.ok(200);
        assert_eq!(first["answer"], "recorded", "{verb}");
        let again = world.post_with_key("admin", &path, key, body).await.ok(200);
        assert_eq!((&again["seq"], &again["answer"]), (&first["seq"], &first["answer"]), "{verb}");
        world.post_with_key("admin", &path, key, json!({ "note": "other", "tag": "other" })).await;
    }
    let shown = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    assert_eq!(shown["seq"], 11);
    assert_eq!(shown["notes"], 1);
    let action = &shown["actions"][1];
    let members = ["actionId", "action", "status"].map(|name| action[name].as_str().unwrap());
    assert_eq!(members, ["a1", "restarted", "EXECUTED"]);
    assert_eq!(shown["signals"][0]["source"], "prometheus");
    assert_eq!(shown["tags"], json!(["database"]));
    assert_eq!(shown["responders"], json!([{ "role": "commander", "principalId": "commander" }]));
    assert_eq!(shown["sections"][0]["text"], "Many");
    assert_eq!(shown["actionItems"][0]["due"], "2026-12-01");
    assert_eq!(shown["tickets"][0]["ticket"], "A-1");
    assert_ne!(shown["acknowledgedAt"], Value::Null);
    // Equal facts without a key are two facts; assigning who is assigned is none.
    let notes = format!("incidents/{id}/notes");
    for expected in [12, 13] {
        let added = world.post("viewer", &notes, json!({ "note": "again" })).await.ok(200);
        assert_eq!(added["seq"], expected);
    }
    let responders = format!("incidents/{id}/responders");
    for (release, expected) in [(false, "unchanged"), (true, "recorded"), (true, "unchanged")] {
        let body = json!({ "role": "commander", "principalId": "commander", "release": release });
        assert_eq!(world.post("operator", &responders, body).await.ok(200)["answer"], expected);
    }
}

#[tokio::test]
async fn key_of_one_incident_is_not_taken_for_another() {
    let world = World::new().await;
    let (one, other) = (world.opened("P3").await, world.opened("P3").await);
    let note = json!({ "note": "x" });
    world.post_with_key("viewer", &format!("incidents/{one}/notes"), "k", note.clone()).await.ok(200);
    let detail =
        world.post_with_key("viewer", &format!("incidents/{other}/notes"), "k", note).await.problem(409);
    assert!(detail.ends_with("these fields differ: incident"), "{detail}");
}

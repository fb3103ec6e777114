//! The requests of the Incident & Timeline Service's description, as they stand there, and what they leave behind.

use serde_json::{Value, json};

use crate::world::World;

fn sent(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn requests_of_the_timeline_service_are_taken_to_the_letter() {
    let world = World::new().await;
    let create = sent(
        r#"{
            "projectId": "proj_123",
            "title": "API Gateway 500 errors spike",
            "serviceName": "api-gateway",
            "severity": "SEV1",
            "environment": "production",
            "detectedBy": "grafana",
            "initialCorrelationKey": "api-gw-500-spike"
        }"#,
    );
    let made = world.post("oncall", "incidents", create).await.ok(201);
    let id = made["incidentId"].as_str().unwrap();
    let shown = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    assert_eq!((&shown["status"], &shown["correlationKeys"]), (&json!("OPEN"), &json!(["api-gw-500-spike"])));
    assert_eq!(
        (&shown["orgId"], &shown["signals"], &shown["actions"]),
        (&json!("default"), &json!([]), &json!([]))
    );

    let status = sent(r#"{ "newStatus": "INVESTIGATING", "reason": "Team is looking into the root cause" }"#);
    world.post("oncall", &format!("incidents/{id}/status"), status).await.ok(200);
    let action = sent(
        r#"{
            "actionKind": "NOTE",
            "label": "Investigating database connection pool",
            "details": "Checking if connection pool is exhausted"
        }"#,
    );
    world.post("viewer", &format!("incidents/{id}/actions"), action).await.ok(200);
    let path = "incidents?status=OPEN&status=INVESTIGATING&severity=SEV1&limit=20";
    let listed = world.get("viewer", path).await.ok(200);
    assert_eq!(listed["incidents"][0]["incidentId"], id, "{listed}");

    let shown = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    let actions = shown["actions"].as_array().unwrap();
    let members = |at: usize| {
        ["actionKind", "label", "details", "actorType", "actorRef"].map(|name| actions[at][name].clone())
    };
    let change = [
        json!("STATUS_CHANGE"),
        Value::Null,
        json!("Team is looking into the root cause"),
        json!("USER"),
        json!("oncall"),
    ];
    assert_eq!((members(0), &actions[0]["action"]), (change, &json!("PENDING → OPEN")));
    let note = [
        json!("NOTE"),
        json!("Investigating database connection pool"),
        json!("Checking if connection pool is exhausted"),
        json!("USER"),
        json!("viewer"),
    ];
    assert_eq!(members(1), note);
    assert!(actions.iter().all(|one| one["ts"].is_string()), "{actions:?}");
    let events = world.get("viewer", &format!("incidents/{id}/events")).await.ok(200);
    let last = events["events"].as_array().unwrap().last().unwrap();
    assert_eq!(last["description"], "NOTE: Investigating database connection pool EXECUTED");
}

#[tokio::test]
async fn signals_actions_and_violations_have_every_field_of_the_model() {
    let world = World::new().await;
    let declared = json!({
        "title": "Checkout is slow", "severity": "critical", "primarySignalId": "sig-7",
        "runbookPath": "runbooks/rollback-deployment.md", "publicComponents": ["cmpapi"], "costCenter": "cc-42",
    });
    let made = world.post("operator", "incidents", declared).await.ok(201);
    let id = made["incidentId"].as_str().unwrap();
    let signal = json!({
        "signalId": "sig-7", "projectId": "proj_123", "signalType": "METRIC", "serviceName": "checkout",
        "environment": "production", "correlationKey": "checkout-slow",
        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "source": "prometheus", "summary": "p99 above 2 s",
        "data": { "p99Ms": 2310, "labels": ["eu"] },
    });
    let violation = json!({
        "sloId": "checkout-latency", "windowStart": "2026-01-01T00:00:00Z", "windowEnd": "2026-01-31T00:00:00Z",
        "errorBudgetConsumed": 0.42, "thresholdBreached": true, "details": { "burnRate": 14.4 },
    });
    world.post("operator", &format!("incidents/{id}/signals"), signal.clone()).await.ok(200);
    world.post("operator", &format!("incidents/{id}/slo-violations"), violation.clone()).await.ok(200);

    let shown = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    assert_eq!(shown["primarySignalId"], "sig-7");
    assert_eq!((&shown["publicComponents"], &shown["costCenter"]), (&json!(["cmpapi"]), &json!("cc-42")));
    assert_eq!(shown["runbookPath"], "runbooks/rollback-deployment.md");
    assert_eq!(shown["traceId"].as_str().unwrap().len(), 32);
    for (name, value) in signal.as_object().unwrap() {
        assert_eq!(&shown["signals"][0][name], value, "{name}");
    }
    let found = &shown["sloViolations"][0];
    for name in ["sloId", "windowStart", "windowEnd", "errorBudgetConsumed", "thresholdBreached"] {
        assert_eq!(found[name], violation[name], "{name}");
    }
    assert_eq!(found["details"], r#"{"burnRate":14.4}"#);
    for list in ["signals", "sloViolations"] {
        assert!(shown[list][0]["ts"].is_string(), "{list}");
    }

    for (verb, body, expected) in [
        ("signals", json!({ "source": "x", "signalType": "RUMOUR" }), "signal type \"RUMOUR\" is not known"),
        ("actions", json!({ "actionKind": "WISH", "label": "x" }), "action kind \"WISH\" is not known"),
        ("actions", json!({ "actionKind": "STATUS_CHANGE", "label": "x" }), "is not known"),
        ("actions", json!({ "actionKind": "NOTE" }), "label: "),
        ("actions", json!({ "label": "x" }), "`actionKind`"),
        ("slo-violations", json!({ "sloId": "a", "errorBudgetConsumed": -1 }), "errorBudgetConsumed"),
        ("slo-violations", json!({ "sloId": "a", "thresholdBreached": [] }), "thresholdBreached"),
        (
            "slo-violations",
            json!({ "sloId": "a", "windowStart": "2026-01-02T00:00:00Z", "windowEnd": "2026-01-01T00:00:00Z" }),
            "windowEnd",
        ),
    ] {
        let detail =
            world.post("operator", &format!("incidents/{id}/{verb}"), body.clone()).await.problem(422);
        assert!(detail.contains(expected), "{verb} {body}: {detail}");
    }
}

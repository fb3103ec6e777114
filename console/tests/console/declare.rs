//! Declaring, listing and showing.

use axum::{
    body::Body,
    http::{Method, Request},
};
use harmony_blueprints::messages::input_digest;
use harmony_incidents::{IncidentId, OrgId, attestation::StartClaim};
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn declaration_starts_initiate_in_the_same_transaction() {
    let world = World::new().await;
    let body = json!({
        "title": "Checkout fails", "severity": "critical", "impactedServices": ["Checkout"],
        "publicTitle": "Payments", "serviceName": "checkout",
    });
    let made = world.post_with_key("operator", "incidents", "k1", body).await.ok(201);
    let id = made["incidentId"].as_str().unwrap();
    assert_eq!(made["state"], "PENDING");
    assert_eq!(made["workflowId"], format!("incident.initiate-{id}"));
    assert_eq!(made.get("warning"), None);

    let outbox = world.outbox().await;
    let started: Vec<&Value> = outbox.iter().map(|one| &one.item.payload["workflowType"]).collect();
    assert_eq!(started, ["incident.initiate", "incident.updates"], "and its update clock");
    assert_attested(&world, &outbox[1].item.payload["workflowId"], &outbox[1].item.payload["input"]);
    let item = &outbox[0].item;
    assert_eq!(item.kind.name(), "start");
    assert_eq!(item.name, format!("incident.initiate-{id}#1/k1"));
    assert_eq!(item.payload["workflowType"], "incident.initiate");
    assert_eq!(item.payload["attempt"], 1);
    let input = &item.payload["input"];
    assert_eq!(input["title"], "Checkout fails");
    assert_eq!(input["severity"], "P1");
    assert_eq!(input["context"]["initiator_id"], "operator");
    assert_eq!(input["context"]["incident_id"], id);
    assert_eq!(input["context"]["impacted_services"], json!(["Checkout"]));
    assert_attested(&world, &made["workflowId"], input);

    let shown = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    for (name, expected) in [
        ("title", json!("Checkout fails")),
        ("severity", json!("P1")),
        ("state", json!("PENDING")),
        ("phase", json!("created")),
        ("status", json!("OPEN")),
        ("serviceName", json!("checkout")),
        ("declaredBy", json!("operator")),
        ("seq", json!(1)),
        ("signals", json!([])),
        ("blueprints", json!({})),
        ("links", json!({})),
        ("gate", Value::Null),
        ("acknowledgedAt", Value::Null),
    ] {
        assert_eq!(shown[name], expected, "{name}");
    }
}

/// The start's attestation holds for exactly this input.
pub(crate) fn assert_attested(world: &World, workflow_id: &Value, input: &Value) {
    let start = &input["start"];
    let claim = StartClaim {
        org: "default",
        workflow_id: workflow_id.as_str().unwrap(),
        principal_id: start["principalId"].as_str().unwrap(),
        requested_at: start["requestedAt"].as_str().unwrap(),
        input_digest: &input_digest(input.clone()),
    };
    assert!(world.keys.start_holds(&claim, start["attestation"].as_str().unwrap()));
}

#[tokio::test]
async fn same_key_is_the_same_incident_and_another_body_a_conflict() {
    let world = World::new().await;
    let body = json!({ "title": "Checkout fails", "severity": "P2" });
    let first = world.post_with_key("operator", "incidents", "k1", body.clone()).await;
    world.post("oncall", "incidents/INC-2020-0001/notes", json!({ "note": "x" })).await.problem(404);
    let id = first.ok(201)["incidentId"].as_str().unwrap().to_owned();
    world.post("oncall", &format!("incidents/{id}/status"), json!({ "state": "OPEN" })).await.ok(200);
    let again = world.post_with_key("operator", "incidents", "k1", body).await;
    assert_eq!(first.ok(201), again.ok(201));
    assert_eq!(world.outbox().await.len(), 2, "initiate and the update clock");

    let other = json!({ "title": "Something else", "severity": "P3" });
    let detail = world.post_with_key("operator", "incidents", "k1", other.clone()).await.problem(409);
    assert!(detail.contains("severity, title") && !detail.contains("Checkout"), "{detail}");
    // Somebody else's key of the same name is another key.
    let theirs = world.post_with_key("oncall", "incidents", "k1", other).await.ok(201);
    assert_ne!(theirs["incidentId"], id.as_str());
}

#[tokio::test]
async fn declaration_is_taken_while_temporal_is_away() {
    let world = World::new().await;
    world.temporal_is(false);
    let made = world.post("operator", "incidents", json!({ "title": "x", "severity": "P1" })).await.ok(201);
    assert_eq!(made["warning"], "recorded; initiation starts when 127.0.0.1:7233 answers");
    assert_eq!(world.outbox().await.len(), 2, "initiate and the update clock");
}

#[tokio::test]
async fn bad_declarations_are_told_apart_and_leave_nothing() {
    let world = World::new().await;
    let long = "x".repeat(300 * 1024);
    let large = json!({ "title": "x", "severity": "P1", "summary": long }).to_string();
    for (body, status, expected) in [
        ("{", 400, "no JSON"),
        ("[]", 400, "not a JSON object"),
        ("", 422, "missing field `title`"),
        (r#"{"title": "x", "severity": "P9"}"#, 422, "severity \"P9\" is not known"),
        (r#"{"title": " ", "severity": "P1"}"#, 422, "an incident needs a title"),
        (r#"{"title": "x", "severity": "P1", "titel": "y"}"#, 422, "unknown field `titel`"),
        (r#"{"title": 7, "severity": "P1"}"#, 422, "title: invalid type"),
        (r#"{"title": "a\u0007b", "severity": "P1"}"#, 422, "control characters"),
        (r#"{"title": "x", "severity": "P1", "environment": "a\nb"}"#, 422, "environment"),
        (
            r#"{"title": "x", "severity": "P4", "severity": "P1"}"#,
            400,
            "the body: `severity` stands there twice",
        ),
        (&large, 413, "256 KiB"),
    ] {
        let reply = world.call("operator", Method::POST, "incidents", None, body.to_owned()).await;
        let detail = reply.problem(status);
        assert!(detail.contains(expected), "{detail}");
    }
    let bad_key = "k".repeat(256);
    world.post_with_key("operator", "incidents", &bad_key, json!({})).await.problem(400);
    assert_eq!(world.get("viewer", "incidents").await.ok(200)["incidents"], json!([]));
    assert!(world.outbox().await.is_empty());
    world.call("operator", Method::DELETE, "incidents", None, String::new()).await.problem(405);
}

#[tokio::test]
async fn list_is_filtered_and_paged() {
    let world = World::new().await;
    let (first, second) = (world.declared("P1").await, world.opened("P2").await);
    let third = world.opened("P1").await;
    let status = format!("incidents/{third}/status");
    world.post("oncall", &status, json!({ "status": "MITIGATED" })).await.ok(200);
    let signal = json!({ "source": "prometheus", "traceId": "4bf92f3577b34da6a3ce929d0e0e4736" });
    world.post("operator", &format!("incidents/{second}/signals"), signal).await.ok(200);
    let own = world.get("viewer", &format!("incidents/{third}")).await.ok(200)["traceId"].clone();
    let by_own = format!("?traceId={}&limit=1", own.as_str().unwrap());
    for (query, expected) in [
        ("", vec![&third, &second, &first]),
        ("?traceId=4BF92F3577B34DA6A3CE929D0E0E4736", vec![&second]),
        ("?traceId=4bf92f3577b34da6a3ce929d0e0e4736&state=MITIGATING", vec![]),
        (&by_own, vec![&third]),
        ("?severity=sev1", vec![&third, &first]),
        ("?status=OPEN", vec![&first]),
        ("?state=OPEN", vec![&second]),
        ("?status=INVESTIGATING", vec![&second]),
        ("?status=mitigated", vec![&third]),
        ("?status=MITIGATED&status=OPEN", vec![&third, &first]),
        ("?status=CANCELLED", vec![]),
        ("?searchQuery=checkout", vec![&third, &second, &first]),
        ("?searchQuery=nothing", vec![]),
        ("?environment=production", vec![]),
        ("?sort=createdAt", vec![&first, &second, &third]),
        ("?sort=severity", vec![&third, &first, &second]),
    ] {
        let listed = world.get("viewer", &format!("incidents{query}")).await.ok(200);
        let found: Vec<&str> = listed["incidents"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["incidentId"].as_str().unwrap())
            .collect();
        assert_eq!(found, expected, "{query}");
    }
    let page = world.get("viewer", "incidents?limit=2").await.ok(200);
    let cursor = page["nextCursor"].as_str().unwrap();
    let rest = world.get("viewer", &format!("incidents?limit=2&cursor={cursor}")).await.ok(200);
    assert_eq!(rest["incidents"][0]["incidentId"], first.as_str());
    assert_eq!(rest.get("nextCursor"), None);
    for (query, status) in [
        ("?limit=0", 422),
        ("?limit=201", 422),
        ("?stat=OPEN", 400),
        ("?status=x", 422),
        ("?cursor=x", 422),
        ("?sort=x", 422),
    ] {
        world.get("viewer", &format!("incidents{query}")).await.problem(status);
    }
    world.get("viewer", "incidents/nonsense").await.problem(400);
}

#[tokio::test]
async fn callers_trace_becomes_the_incidents_and_a_repetition_may_come_in_another() {
    let world = World::new().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let declare = async |traceparent: &str| {
        let request = Request::post("/api/orgs/default/incidents")
            .header("authorization", "Bearer token-operator")
            .header("idempotency-key", "the-same")
            .header("traceparent", traceparent)
            .body(Body::from(json!({ "title": "Checkout is down", "severity": "P2" }).to_string()));
        world.send(request.unwrap()).await.ok(201)["incidentId"].clone()
    };
    let first = declare(&format!("00-{trace}-00f067aa0ba902b7-01")).await;
    let again = declare("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").await;
    assert_eq!(first, again);
    let id: IncidentId = first.as_str().unwrap().parse().unwrap();
    let state = world.log.state(&OrgId::default(), &id).await.unwrap().unwrap();
    assert_eq!(state.trace_id, trace);
    let other: IncidentId = world.declared("P3").await.parse().unwrap();
    let state = world.log.state(&OrgId::default(), &other).await.unwrap().unwrap();
    assert_eq!(state.trace_id.len(), 32, "without a caller's trace there is one all the same");
}

/// A workflow reads an input of a bounded size. A declaration beyond it is refused: were it taken, initiate would fail,
/// and nobody would be paged.
#[tokio::test]
async fn declaration_too_large_to_be_started_is_refused_whole() {
    let world = World::new().await;
    let many: Vec<String> = (0..101).map(|number| format!("service-{number}")).collect();
    let long: Vec<String> = (0..50).map(|number| format!("{number:0>200}")).collect();
    let with = |field: &str, value: Value| {
        let mut body = json!({ "title": "Checkout fails", "severity": "P1" });
        body[field] = value;
        body
    };
    for body in [
        with("impactedServices", json!(many)),
        with("impactedServices", json!(long)),
        with("publicComponents", json!(many)),
    ] {
        let detail = world.post("operator", "incidents", body).await.problem(422);
        assert!(detail.ends_with("has at most 100 names, and 8 KiB in all"), "{detail}");
    }
    // As long as a text may be, and with what else a start carries too long for it.
    let quotes = "\"".repeat(40_000);
    let detail = world.post("operator", "incidents", with("publicMessage", json!(quotes))).await.problem(422);
    assert!(detail.contains("more than 64 KiB in all"), "{detail}");
    assert_eq!(world.get("viewer", "incidents").await.ok(200)["incidents"], json!([]));
    let id = world.opened("P1").await;
    let update = json!({ "message": "x".repeat(65_536) });
    let detail = world.post("oncall", &format!("incidents/{id}/update"), update).await.problem(422);
    assert!(detail.contains("more than 64 KiB in all"), "{detail}");
    let update = json!({ "message": "x".repeat(60_000) });
    world.post("oncall", &format!("incidents/{id}/update"), update).await.ok(200);
    let whole = with("impactedServices", json!(many[..100]));
    world.post("operator", "incidents", whole).await.ok(201);
}

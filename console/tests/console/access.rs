//! Who gets in, and who may do what.

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn nobody_gets_in_without_a_known_token() {
    let world = World::new().await;
    for authorization in
        [None, Some("Bearer wrong"), Some("Bearer "), Some("Basic dG9rZW4="), Some("token-viewer")]
    {
        let mut request = Request::get("/api/orgs/default/incidents");
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        world.send(request.body(Body::empty()).unwrap()).await.problem(401);
    }
    world.get("viewer", "incidents").await.ok(200);
}

#[tokio::test]
async fn organisation_without_a_role_does_not_exist() {
    let world = World::new().await;
    for (who, path, status) in [
        ("viewer", "/api/orgs/acme/incidents", 404),
        ("commander", "/api/orgs/acme/incidents", 200),
        ("viewer", "/api/orgs/ACME!/incidents", 404),
        ("viewer", "/api/orgs/default/nothing", 404),
        ("viewer", "/nothing", 404),
    ] {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer token-{who}"));
        let reply = world.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text);
    }
    // What one organisation declared is not there for the other.
    let id = world.declared("P3").await;
    let request = Request::get(format!("/api/orgs/acme/incidents/{id}"))
        .header(header::AUTHORIZATION, "Bearer token-commander");
    world.send(request.body(Body::empty()).unwrap()).await.problem(404);
}

#[tokio::test]
async fn each_role_may_do_what_the_table_says() {
    let world = World::new().await;
    let everybody = ["approver", "viewer", "operator", "oncall", "commander", "manager", "admin"];
    // The least who may; a body that is refused for its content shows that the right was there.
    for (least, method, path) in [
        ("viewer", Method::GET, "incidents"),
        ("viewer", Method::GET, "candidates"),
        ("operator", Method::POST, "candidates"),
        ("operator", Method::POST, "candidates/x/promote"),
        ("operator", Method::POST, "candidates/x/dismiss"),
        ("viewer", Method::GET, "log/verify"),
        ("viewer", Method::GET, "log/export"),
        ("approver", Method::GET, "approvals"),
        ("operator", Method::POST, "incidents"),
        ("viewer", Method::POST, "incidents/ID/notes"),
        ("viewer", Method::POST, "incidents/ID/actions"),
        ("operator", Method::POST, "incidents/ID/signals"),
        ("operator", Method::POST, "incidents/ID/tags"),
        ("operator", Method::POST, "incidents/ID/tickets"),
        ("operator", Method::POST, "incidents/ID/slo-violations"),
        ("operator", Method::POST, "incidents/ID/responders"),
        ("operator", Method::POST, "incidents/ID/review"),
        ("operator", Method::POST, "incidents/ID/remediate"),
        ("commander", Method::POST, "incidents/ID/post-mortem"),
        ("operator", Method::POST, "incidents/ID/stop"),
        ("oncall", Method::POST, "incidents/ID/status"),
        ("oncall", Method::POST, "incidents/ID/verify"),
        ("oncall", Method::POST, "incidents/ID/close-out"),
        ("oncall", Method::POST, "incidents/ID/cancel"),
        ("oncall", Method::POST, "incidents/ID/close"),
        ("commander", Method::POST, "incidents/ID/sign-off"),
        ("commander", Method::POST, "incidents/ID/severity"),
    ] {
        let id = world.declared("P2").await;
        let path = path.replace("ID", &id);
        let first = everybody.iter().position(|who| *who == least).unwrap();
        for (index, who) in everybody.into_iter().enumerate() {
            let nonsense = json!({ "nonsense": true }).to_string();
            let reply = world.call(who, method.clone(), &path, None, nonsense).await;
            assert_eq!(reply.status != 403, index >= first, "{who} {method} {path}: {}", reply.text);
        }
    }
}

#[tokio::test]
async fn assigned_commander_may_sign_off_this_incident_alone() {
    let world = World::new().await;
    let (one, other) = (world.declared("P2").await, world.declared("P2").await);
    let body = json!({ "role": "commander", "principalId": "operator" });
    let digest = json!({ "digest": "00" });
    // Whoever takes command themselves has no right by it, until somebody with a gate role assigns them.
    world.post("operator", &format!("incidents/{one}/responders"), body.clone()).await.ok(200);
    world.post("operator", &format!("incidents/{one}/sign-off"), digest.clone()).await.problem(403);
    world.post("admin", &format!("incidents/{one}/responders"), body).await.ok(200);
    world.post("operator", &format!("incidents/{one}/sign-off"), digest.clone()).await.problem(409);
    world.post("operator", &format!("incidents/{other}/sign-off"), digest).await.problem(403);
}

#[tokio::test]
async fn health_needs_no_token_tells_the_parts_and_is_not_for_the_public() {
    let world = World::new().await;
    let get = async |path: &str| world.send(Request::get(path).body(Body::empty()).unwrap()).await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        get(path).await.problem(404);
    }
    assert!(get("/").await.text.contains("<title>Harmony</title>"));
    let healthy = world.probe("/healthz").await;
    assert_eq!((healthy.status, healthy.text.as_str()), (200, "ok"));
    world.probe("/readyz").await.ok(200);
    world.temporal_is(false);
    let parts = world.probe("/readyz").await.ok(503)["parts"].clone();
    assert_eq!((&parts["store"]["ready"], &parts["directory"]["ready"]), (&json!(true), &json!(true)));
    assert_eq!(parts["temporal"]["detail"], "127.0.0.1:7233 does not answer");
    assert_eq!(world.probe("/healthz").await.status, 200);
    let metrics = world.probe("/metrics").await;
    assert_eq!((metrics.status, metrics.content_type.as_str()), (200, "text/plain; version=0.0.4"));
    for line in [
        "harmony_http_requests_total{method=\"GET\",route=\"/\",status=\"200\"}",
        "harmony_gates_waiting{severity=\"P1\"} 0",
        "harmony_gate_nearest_deadline_seconds inf",
        "harmony_ready{part=\"temporal\"} 0",
    ] {
        assert!(metrics.text.contains(line), "{line} in\n{}", metrics.text);
    }
}

#[tokio::test]
async fn methods_that_nobody_knows_are_one_label() {
    let world = World::new().await;
    for number in 0..20 {
        let method = Method::from_bytes(format!("INVENTED{number}").as_bytes()).unwrap();
        world
            .send(Request::builder().method(method).uri("/nothing").body(Body::empty()).unwrap())
            .await
            .problem(404);
    }
    let text = world.probe("/metrics").await.text;
    assert!(
        text.contains("harmony_http_requests_total{method=\"OTHER\",route=\"none\",status=\"404\"} 20"),
        "{text}"
    );
    assert!(!text.contains("INVENTED"));
}

//! The API's description, held against the router, both ways.

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use serde_json::Value;

use crate::world::World;

async fn document(world: &World) -> Value {
    world.send(Request::get("/openapi.json").body(Body::empty()).unwrap()).await.ok(200)
}

/// `(method, path)` of every route below an organisation, as the router's source has them.
fn routes() -> Vec<(String, String)> {
    let source = include_str!("../../src/lib.rs");
    let mut routes = Vec::new();
    let organisation = source.split("fn organisation()").nth(1).unwrap();
    for route in organisation.split(".route(\"").skip(1) {
        let (path, handlers) = route.split_once('"').unwrap();
        let handlers = handlers.split("\n        .").next().unwrap();
        let path = path.replace("{*gate}", "{gateId}");
        for method in ["get", "post"] {
            if handlers.contains(&format!("{method}(")) {
                routes.push((method.to_owned(), format!("/api/orgs/{{org}}{path}")));
            }
        }
    }
    assert!(routes.len() > 25, "{routes:?}");
    routes
}

#[tokio::test]
async fn every_route_is_described_and_every_description_is_a_route() {
    let world = World::new().await;
    let document = document(&world).await;
    let mut described: Vec<(String, String)> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.push((method.clone(), path.clone()));
        }
    }
    for route in routes() {
        assert!(described.contains(&route), "{route:?} is not described");
    }
    for (method, path) in &described {
        let concrete = path
            .replace("{org}", "default")
            .replace("{id}", "INC-2026-0001")
            .replace("{gateId}", "x")
            .replace("{candidateId}", "x");
        let request = Request::builder()
            .method(Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap())
            .uri(&concrete)
            .header(header::AUTHORIZATION, "Bearer token-viewer");
        let reply = world.send(request.body(Body::empty()).unwrap()).await;
        assert_ne!(reply.status, 405, "{method} {path}");
        assert!(!reply.text.contains("there is nothing at this address"), "{method} {path}");
    }
}

#[tokio::test]
async fn every_reference_leads_to_a_schema() {
    let world = World::new().await;
    let document = document(&world).await;
    assert_eq!(document["openapi"], "3.1.0");
    let text = document.to_string();
    let references: Vec<&str> =
        text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(references.len() > 50);
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    let ids: Vec<String> = text
        .split("\"operationId\":\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len(), "operation ids are unique");
}

#[tokio::test]
async fn unchanged_incident_is_not_sent_again_and_every_answer_has_an_id() {
    let world = World::new().await;
    let id = world.declared("P2").await;
    let get = async |tag: Option<&str>| {
        let mut request = Request::get(format!("/api/orgs/default/incidents/{id}"))
            .header(header::AUTHORIZATION, "Bearer token-viewer")
            .header("x-request-id", "mine-1");
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        world.send(request.body(Body::empty()).unwrap()).await
    };
    let first = get(None).await;
    assert_eq!((first.status, first.header("x-request-id")), (200, "mine-1"));
    let tag = first.header("etag").to_owned();
    assert_eq!(get(Some(&tag)).await.status, 304);
    assert_eq!(get(Some(&format!("\"x\", W/{tag}"))).await.status, 304);
    assert_eq!(get(Some("\"other\"")).await.status, 200);
    world.post("viewer", &format!("incidents/{id}/notes"), serde_json::json!({ "note": "x" })).await.ok(200);
    assert_eq!(get(Some(&tag)).await.status, 200, "a record makes it another");
    let made = world.send(Request::get("/").body(Body::empty()).unwrap()).await;
    assert!(made.header("x-request-id").len() > 20);
}

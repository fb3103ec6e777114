//! The API's description, held against the router, both ways.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use serde_json::{Value, json};

use crate::world::{World, encoded};

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
async fn every_tag_is_described_and_used() {
    let world = World::new().await;
    let document = document(&world).await;
    let mut described = Vec::new();
    for tag in document["tags"].as_array().unwrap() {
        assert!(!tag["description"].as_str().unwrap().is_empty(), "{tag}");
        described.push(tag["name"].clone());
    }
    let mut used = Vec::new();
    for operation in
        document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values())
    {
        for tag in operation["tags"].as_array().unwrap() {
            assert!(described.contains(tag), "{tag} is not described");
            used.push(tag.clone());
        }
    }
    for tag in &described {
        assert!(used.contains(tag), "{tag} is not used");
    }
}

/// Every schema of the document, wherever it stands.
fn schemas<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            found.push(value);
            members.values().for_each(|member| schemas(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| schemas(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn description_is_as_narrow_as_what_is_taken_and_given() {
    let world = World::new().await;
    let document = document(&world).await;
    let mut all = Vec::new();
    schemas(&document, &mut all);
    for schema in all.iter().filter(|one| one["type"] == "array") {
        assert!(schema["items"].is_object(), "an array of what? {schema}");
    }
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let parameters: Vec<&Value> =
        operations.flat_map(|operation| operation["parameters"].as_array().into_iter().flatten()).collect();
    let is_repeatable = |one: &&&Value| one["description"].as_str().unwrap().contains("epeatable");
    assert!(parameters.iter().filter(is_repeatable).count() > 10);
    for one in parameters {
        assert_eq!(is_repeatable(&&one), one["schema"]["type"] == "array", "{one}");
    }
    let mut lists = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let parameters = item["get"]["parameters"].as_array().into_iter().flatten();
        let Some(limit) = parameters.clone().find(|one| one["name"] == "limit") else { continue };
        let most = limit["schema"]["maximum"].as_u64().unwrap_or_else(|| panic!("{path}: {limit}"));
        let path = path.replace("/api/orgs/{org}/", "").replace("{id}", "INC-2026-0001");
        if path.contains('/') {
            continue;
        }
        lists += 1;
        let wanted: String = parameters
            .filter(|one| one["required"] == true && one["in"] == "query")
            .fold(String::new(), |all, one| all + &format!("&{}=rel-1", one["name"].as_str().unwrap()));
        let ask = async |number: u64| world.get("admin", &format!("{path}?limit={number}{wanted}")).await;
        ask(most).await.ok(200);
        for number in [0, most + 1] {
            assert_eq!(ask(number).await.status, 422, "{path}?limit={number}");
        }
    }
    assert!(lists >= 6, "{lists}");
    let incident = document["paths"]["/api/orgs/{org}/incidents/{id}"]["get"]["parameters"].clone();
    let id = incident.as_array().unwrap().iter().find(|one| one["name"] == "id").unwrap();
    let described = jsonschema::validator_for(&id["schema"]).unwrap();
    for (id, fits) in [
        ("INC-2026-0001", true),
        ("INC-2026-0010", true),
        ("INC-2026-12345", true),
        ("INC-2026-0000", false),
        ("INC-2026-00001", false),
        ("INC-2026-1", false),
    ] {
        assert_eq!(described.is_valid(&id.into()), fits, "{id}");
        let status = world.get("viewer", &format!("incidents/{id}")).await.status;
        assert_eq!(status == 404, fits, "{id}: {status}");
    }
}

/// What a schema says of members, its parts and references included.
fn members<'a>(document: &'a Value, schema: &'a Value, found: &mut BTreeMap<&'a str, &'a Value>) {
    if let Some(reference) = schema["$ref"].as_str() {
        members(document, document.pointer(reference.trim_start_matches('#')).unwrap(), found);
    }
    let parts = ["allOf", "anyOf", "oneOf"]
        .into_iter()
        .flat_map(|name| schema[name].as_array().into_iter().flatten());
    for part in parts {
        members(document, part, found);
    }
    found.extend(
        schema["properties"].as_object().into_iter().flatten().map(|(name, one)| (name.as_str(), one)),
    );
}

/// Members of an answer that its schema does not name. An object of which nothing is said may have any.
fn undescribed(document: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let schema =
        schema["$ref"].as_str().map_or(schema, |one| document.pointer(one.trim_start_matches('#')).unwrap());
    let mut known = BTreeMap::new();
    members(document, schema, &mut known);
    for item in value.as_array().into_iter().flatten() {
        undescribed(document, &schema["items"], item, &format!("{place}[]"), found);
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let place = format!("{place}.{name}");
        match known.get(name.as_str()) {
            Some(schema) => undescribed(document, schema, member, &place, found),
            None if schema["additionalProperties"].is_object() => {
                undescribed(document, &schema["additionalProperties"], member, &place, found);
            }
            None if known.is_empty() => {}
            None => found.push(place),
        }
    }
}

#[tokio::test]
async fn every_member_of_an_answer_is_described() {
    let world = World::new().await;
    let document = document(&world).await;
    let environment = json!({ "id": "env-dev", "name": "dev", "labels": { "tier": "2" } });
    world.post("deployer", "environments", environment).await.ok(201);
    let service = json!({
        "id": "svc-shop", "name": "Shop", "adapters": { "deployments": ["external"] }, "labels": { "tier": "2" },
        "environments": [{ "id": "env-dev", "name": "dev" }], "targets": [{ "envId": "env-dev", "adapter": "external" }],
    });
    world.post("deployer", "services", service).await.ok(201);
    let release = json!({ "id": "rel-1", "serviceId": "svc-shop", "envId": "env-dev", "sha": "9f3b7de", "version": "2" });
    world.post("deployer", "releases", release).await.ok(201);
    for status in ["Promoting", "Failed"] {
        let told = json!({ "status": status, "reason": "its probe failed" });
        world.post("deployer", "releases/rel-1/status", told).await.ok(200);
    }
    let id = world.opened("P1").await;
    let gate = world.gated(&id).await;
    let change = json!({ "releaseId": "rel-1", "relation": "caused", "reason": "errors began with it" });
    world.post("oncall", &format!("incidents/{id}/changes"), change).await.ok(200);
    let follow_up = json!({ "incidentId": id, "action": "Add an alert", "owner": "oncall" });
    let follow_up = world.post("oncall", "follow-ups", follow_up).await.ok(201);
    world.post("oncall", "subscriptions", json!({ "subject": "all" })).await.ok(201);
    let candidate = json!({ "candidateId": "c-1", "source": "s", "title": "t", "severity": "critical" });
    world.post("operator", "candidates", candidate).await.ok(201);

    let (mut found, mut asked) = (Vec::new(), 0);
    for (path, item) in document["paths"].as_object().unwrap() {
        let schema = &item["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        // There is no review, and nothing runs.
        if schema.is_null() || path.ends_with("/review") || path.ends_with("/runs/{id}") {
            continue;
        }
        let id = match path.split('/').nth(4).unwrap() {
            "candidates" => "c-1",
            "environments" => "env-dev",
            "follow-ups" => follow_up["id"].as_str().unwrap(),
            "releases" => "rel-1",
            "services" => "svc-shop",
            _ => &id,
        };
        let path =
            path.replace("/api/orgs/{org}/", "").replace("{id}", id).replace("{gateId}", &encoded(&gate));
        let query = if path == "runs" { "?releaseId=rel-1" } else { "" };
        let reply = world.get("admin", &format!("{path}{query}")).await;
        let answer = reply.ok(200);
        undescribed(&document, schema, &answer, &path, &mut found);
        asked += 1;
    }
    assert!(asked > 25, "{asked}");
    assert!(found.is_empty(), "{found:#?}");
    let changes = world.get("viewer", &format!("incidents/{id}/changes")).await;
    assert_eq!(changes.text.matches("\"reason\"").count(), 1, "{}", changes.text);
    assert_eq!(changes.ok(200)["linked"][0]["reason"], "errors began with it");
}

#[tokio::test]
async fn candidates_are_described_with_every_field() {
    let world = World::new().await;
    let document = document(&world).await;
    let body = json!({
        "candidateId": "c-1", "policyId": "p", "policyVersion": 2, "source": "s", "title": "t", "summary": "more",
        "severity": "critical", "serviceName": "checkout", "environment": "production", "projectId": "shop",
        "impactedServices": ["Checkout"], "correlationRuleId": "r", "correlationRuleVersion": "3",
        "correlationKey": "k", "dedupKey": "d", "confidence": 0.5, "detectedAt": "2026-11-30T05:00:00Z",
        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "pagerdutyIncidentId": "Q1",
        "signals": [{ "signalId": "1", "source": "s", "summary": "x", "link": "https://example.com/1" }],
    });
    let known = |schema: &str| document["components"]["schemas"][schema].clone();
    let names = |value: &Value| -> std::collections::BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(names(&body), names(&known("CandidateBody")["properties"]), "all that may be said");
    world.post("operator", "candidates", body.clone()).await.ok(201);
    let shown = world.get("viewer", "candidates/c-1").await.ok(200);
    let schema = known("Candidate");
    assert!(names(&shown).is_subset(&names(&schema["properties"])), "{shown}");
    assert!(names(&body).is_subset(&names(&shown)), "{shown}");
    jsonschema::validator_for(&schema).unwrap().validate(&shown).unwrap();
    jsonschema::validator_for(&known("CandidateBody")).unwrap().validate(&body).unwrap();
    for name in known("CandidateBody")["required"].as_array().unwrap() {
        let mut without = body.clone();
        without.as_object_mut().unwrap().remove(name.as_str().unwrap());
        assert!(
            world.post("operator", "candidates", without).await.problem(422).contains(name.as_str().unwrap())
        );
    }
    for link in ["javascript:alert(1)", "https:", "https://", "http://a b", "ftp://x", "//x"] {
        let mut wrong = body.clone();
        wrong["signals"][0]["link"] = link.into();
        let problem = world.post("operator", "candidates", wrong).await.problem(422);
        assert!(
            problem.contains("signals[0].link: an address that starts with https:// or http://"),
            "{problem}"
        );
    }
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
    world.post("viewer", &format!("incidents/{id}/notes"), json!({ "note": "x" })).await.ok(200);
    assert_eq!(get(Some(&tag)).await.status, 200, "a record makes it another");
    let made = world.send(Request::get("/").body(Body::empty()).unwrap()).await;
    assert!(made.header("x-request-id").len() > 20);
}

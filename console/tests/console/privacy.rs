//! Private incidents: somebody who is not named is answered at every door as if there were none.
//!
//! Two ways to find a leak that nobody thought of. Whatever names the incident must be answered exactly as one that does
//! not exist; the routes come from the API's own description, so that a new one is asked, too. And everything that lists,
//! counts or searches must answer after the incident was made as it did before.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use futures_util::StreamExt as _;
use harmony_console::{Capacity, Timeouts};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{
    catalog::{connect, heard, say},
    mcp,
    pages::Visitor,
    workspace::{By, Workspace},
    world::World,
};

/// An incident that was never declared.
const ABSENT: &str = "INC-2020-0001";
/// Words that stand in the private incident alone.
const SECRETS: [&str; 5] = ["public bucket", "zanzibar", "Rotate them", "quarantine", "INC-2026-0002"];

/// The incident that everybody sees, and the one that only some do.
struct Incidents {
    public: String,
    private: String,
    gate: String,
}

async fn public(world: &World) -> String {
    let service = json!({ "id": "vault", "name": "vault", "adapters": { "deployments": ["external"] } });
    world.post("deployer", "services", service).await.ok(201);
    let id = world.opened("P2").await;
    world
        .post("oncall", &format!("incidents/{id}/notes"), json!({ "note": "as everybody knows" }))
        .await
        .ok(200);
    id
}

/// Declares the private one, and puts something of every kind into it.
async fn private(world: &World, public: String) -> Incidents {
    let body = json!({
        "title": "Keys are in a public bucket", "severity": "P1", "serviceName": "vault",
        "impactedServices": ["vault"], "privateTo": ["oncall"],
    });
    let made = world.post("operator", "incidents", body).await.ok(201);
    let private = made["incidentId"].as_str().unwrap().to_owned();
    assert_eq!(private, "INC-2026-0002");
    let at = |path: &str| format!("incidents/{private}/{path}");
    world.post("oncall", &at("status"), json!({ "state": "OPEN" })).await.ok(200);
    world.post("oncall", &at("notes"), json!({ "note": "the bucket is called zanzibar" })).await.ok(200);
    world.post("oncall", &at("tags"), json!({ "tag": "quarantine" })).await.ok(200);
    world.post("oncall", &at("update"), json!({ "message": "zanzibar is closed" })).await.ok(200);
    world
        .post("operator", &at("relations"), json!({ "relation": "caused-by", "incidentId": public }))
        .await
        .ok(200);
    let responder = json!({ "role": "commander", "principalId": "oncall" });
    world.post("operator", &at("responders"), responder).await.ok(200);
    let item =
        json!({ "incidentId": private, "action": "Rotate them", "owner": "oncall", "due": "2026-01-31" });
    world.post("oncall", "follow-ups", item).await.ok(201);
    let gate = world.gated(&private).await;
    Incidents { public, private, gate }
}

/// A text without what is another in every answer: times, keys, tokens, hashes, and what an incident is called.
fn steady(text: &str) -> String {
    let mut steady = String::new();
    let mut word = String::new();
    let flush = |word: &mut String, steady: &mut String| {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        let is_random = word.len() >= 16 && digits >= 3;
        steady.push_str(if is_random { "#" } else { word });
        word.clear();
    };
    // How long ago something was moves on while the test runs.
    let without_times: String = text
        .split("<time")
        .enumerate()
        .map(
            |(place, part)| {
                if place == 0 { part } else { part.split_once("</time>").map_or(part, |(_, rest)| rest) }
            },
        )
        .collect();
    // Figures say how old they are.
    let without_times = match without_times.split_once("counted ") {
        Some((before, after)) => {
            format!("{before}{}", after.split_once(" ago").map_or(after, |(_, rest)| rest))
        }
        None => without_times,
    };
    for one in without_times.chars() {
        if one.is_ascii_alphanumeric() || "-_.:+=".contains(one) {
            word.push(one);
        } else {
            flush(&mut word, &mut steady);
            steady.push(one);
        }
    }
    flush(&mut word, &mut steady);
    steady
}

fn unnamed(text: &str, id: &str) -> String {
    steady(&text.replace(id, "ID").replace(&id.to_lowercase(), "ID"))
}

/// `(method, path)` of every operation of the API.
async fn operations(world: &World) -> Vec<(String, String)> {
    let document = world.send(Request::get("/openapi.json").body(Body::empty()).unwrap()).await.ok(200);
    let paths = document["paths"].as_object().unwrap();
    let methods = |item: &Value| item.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    paths
        .iter()
        .flat_map(|(path, item)| methods(item).into_iter().map(move |method| (method, path.clone())))
        .filter(|(_, path)| path.starts_with("/api/"))
        .collect()
}

async fn asked(world: &World, who: &str, method: &str, path: &str) -> (u16, String) {
    let request = Request::builder()
        .method(Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap())
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer token-{who}"))
        .header(header::CONTENT_TYPE, "application/json");
    let body = if method == "get" { Body::empty() } else { Body::from("{}") };
    let reply = world.send(request.body(body).unwrap()).await;
    (reply.status, reply.text)
}

#[tokio::test]
async fn every_route_that_names_a_private_incident_answers_as_if_there_were_none() {
    let world = World::new().await;
    let public = public(&world).await;
    let incidents = private(&world, public).await;
    let mut tried = 0;
    for (method, path) in operations(&world).await {
        let names = |id: &str| {
            let gate = incidents.gate.replace(&incidents.private, id);
            let gate = crate::world::encoded(&gate);
            path.replace("{org}", "default")
                .replace("/incidents/{id}", &format!("/incidents/{id}"))
                .replace("/follow-ups/{id}", &format!("/follow-ups/{id}-9"))
                .replace("{seq}", "2")
                .replace("{gateId}", &gate)
        };
        if names("one") == names("another") {
            continue;
        }
        tried += 1;
        // A commander has every right on incidents that they see.
        for who in ["viewer", "commander", "manager"] {
            let (status, text) = asked(&world, who, &method, &names(&incidents.private)).await;
            let (expected, none) = asked(&world, who, &method, &names(ABSENT)).await;
            assert_eq!(status, expected, "{who} {method} {path}: {text}");
            assert_eq!(unnamed(&text, &incidents.private), unnamed(&none, ABSENT), "{who} {method} {path}");
        }
        let (status, text) =
            asked(&world, "oncall", "get", &format!("/api/orgs/default/incidents/{}", incidents.private))
                .await;
        assert_eq!(status, 200, "who is named sees it: {text}");
    }
    assert!(tried > 40, "only {tried} operations name an incident");
}

/// Everything that a person may open or ask without naming an incident.
async fn everything(world: &World, who: &str) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    for (method, path) in operations(world).await {
        let path = path.replace("{org}", "default");
        // Streams do not end; they are listened to below.
        if method == "get" && !path.contains('{') && !path.ends_with("/stream") {
            seen.insert(path.clone(), asked(world, who, "get", &path).await.1);
        }
    }
    for query in [
        "incidents?searchQuery=bucket",
        "incidents?searchQuery=zanzibar",
        "incidents?serviceName=vault",
        "incidents?severity=P1",
        "incidents?sort=-severity&limit=1",
        "incidents?tag=quarantine",
        "approvals?status=pending",
        "follow-ups?overdue=true",
        "follow-ups?state=open",
        "audit?actor=oncall",
        "audit?subject=INC-2026-0002",
        "insights?serviceName=vault",
        "services?searchQuery=vault",
        "services/vault",
        "log/export?incidentId=INC-2026-0002",
    ] {
        let path = format!("/api/orgs/default/{query}");
        seen.insert(path.clone(), asked(world, who, "get", &path).await.1);
    }
    for query in [
        "{ services(first: 10) { edges { node { id openIncidents { critical high medium low } } } pageInfo { hasNextPage } } }",
        "{ service(id: \"vault\") { id openIncidents { critical high medium low } } }",
        "{ incidents(serviceId: \"vault\") { id severity status } }",
        "{ auditTail(serviceId: \"vault\") { actor action subjectId metadata } }",
        "{ followUps { id action } }",
        "{ approvals { id incidentId action requestReason } }",
        "{ incident(id: \"INC-2026-0002\") { id severity } }",
        "{ changes(incidentId: \"INC-2026-0002\") { suspected { release { id } } } }",
    ] {
        let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let path = format!("/graphql?query={query}");
        seen.insert(path.clone(), asked(world, who, "get", &path).await.1);
    }
    for (tool, arguments) in [("list_incidents", json!({})), ("get_metrics", json!({}))] {
        seen.insert(format!("MCP {tool}"), mcp::call(world, who, tool, arguments).await.to_string());
    }
    let visitor = Visitor::new(world, who).await;
    for page in [
        "",
        "approvals",
        "audit",
        "candidates",
        "environments",
        "follow-ups",
        "incidents",
        "incidents?searchQuery=bucket",
        "insights",
        "log",
        "runbooks",
        "services",
        "services/vault",
    ] {
        seen.insert(format!("page {page}"), visitor.open(&format!("/orgs/default/{page}")).await.text);
    }
    seen
}

#[tokio::test]
async fn every_list_count_search_and_page_is_as_it_was_before_there_was_a_private_incident() {
    let world = World::new().await;
    let public = public(&world).await;
    let before = everything(&world, "viewer").await;
    let incidents = private(&world, public).await;
    let after = everything(&world, "viewer").await;
    assert!(before.len() > 50, "{}", before.len());
    for (what, text) in &after {
        for secret in SECRETS {
            // A question that names it is repeated in the answer to it.
            let is_own = what.contains(secret)
                || what.contains("INC-2026-0002")
                || what.contains(secret.split(' ').next().unwrap());
            assert!(is_own || !text.contains(secret), "{what} tells {secret}: {text}");
        }
        assert_eq!(steady(text), steady(&before[what]), "{what}");
    }
    let named = everything(&world, "oncall").await;
    assert!(named["/api/orgs/default/incidents"].contains(&incidents.private));
    assert!(
        named["page incidents"].contains("public bucket")
            && named["MCP list_incidents"].contains("public bucket")
    );
    let page = Visitor::new(&world, "viewer").await;
    for (path, absent) in [
        (format!("incidents/{}", incidents.private), format!("incidents/{ABSENT}")),
        (format!("incidents/{}/review", incidents.private), format!("incidents/{ABSENT}/review")),
        (format!("incidents/{}/records/2", incidents.private), format!("incidents/{ABSENT}/records/2")),
        (format!("incidents/{}/remediate", incidents.private), format!("incidents/{ABSENT}/remediate")),
        (
            format!("incidents/new?recurrenceOf={}", incidents.private),
            format!("incidents/new?recurrenceOf={ABSENT}"),
        ),
    ] {
        let (found, none) = (
            page.open(&format!("/orgs/default/{path}")).await,
            page.open(&format!("/orgs/default/{absent}")).await,
        );
        assert_eq!(found.status, none.status, "{path}");
        assert_eq!(unnamed(&found.text, &incidents.private), unnamed(&none.text, ABSENT), "{path}");
    }
}

#[tokio::test]
async fn tools_of_an_assistant_answer_as_if_there_were_none() {
    let world = World::new().await;
    let public = public(&world).await;
    let incidents = private(&world, public).await;
    for (tool, more) in [
        ("get_incident", json!({})),
        ("get_timeline", json!({})),
        ("query_timeline", json!({})),
        ("get_changes", json!({})),
        ("add_note", json!({ "note": "here" })),
        ("record_timeline", json!({ "text": "here" })),
        ("propose_remediation", json!({ "path": "rollback.md", "reason": "here" })),
    ] {
        let of = |id: &str| {
            let mut arguments = more.clone();
            arguments["incidentId"] = json!(id);
            arguments
        };
        let found = mcp::call(&world, "commander", tool, of(&incidents.private)).await.to_string();
        let none = mcp::call(&world, "commander", tool, of(ABSENT)).await.to_string();
        assert_eq!(unnamed(&found, &incidents.private), unnamed(&none, ABSENT), "{tool}");
    }
}

#[tokio::test]
async fn what_is_typed_in_slack_is_answered_as_if_there_were_none() {
    let workspace = Workspace::new(By::Http).await;
    let public = public(&workspace.world).await;
    let listed = workspace.types("U0VIEWER", "list", "").await;
    let incidents = private(&workspace.world, public).await;
    assert_eq!(workspace.types("U0VIEWER", "list", "").await, listed);
    assert!(workspace.types("U0ONCALL", "list", "").await.contains("public bucket"));
    for order in [
        "status ID",
        "note ID here",
        "update ID here",
        "severity ID P3 here",
        "escalate ID here",
        "time ID mitigated 10:42",
        "relate ID related INC-2026-0001",
        "relate INC-2026-0001 related ID",
        "assign ID commander operator",
        "remediate ID rollback.md here",
        "stop ID here",
        "verify ID",
        "close-out ID here",
        "cancel ID here",
        "close ID",
    ] {
        let said = workspace.types("U0MANAGER", &order.replace("ID", &incidents.private), "").await;
        let none = workspace.types("U0MANAGER", &order.replace("ID", ABSENT), "").await;
        assert_eq!(unnamed(&said, &incidents.private), unnamed(&none, ABSENT), "{order}");
    }
}

#[tokio::test]
async fn app_home_is_as_it_was_before_there_was_a_private_incident() {
    let workspace = Workspace::new(By::Http).await;
    let public = public(&workspace.world).await;
    let seen = async |user: &str| workspace.home(user).await["blocks"].to_string();
    let users = ["U0VIEWER", "U0MANAGER", "U0COMMANDER"];
    let mut before = Vec::new();
    for user in users {
        before.push(seen(user).await);
    }
    private(&workspace.world, public).await;
    for (user, before) in users.into_iter().zip(before) {
        assert_eq!(seen(user).await, before, "{user}");
    }
    let named = seen("U0ONCALL").await;
    for shown in ["public bucket", "Rotate them", "INC-2026-0002"] {
        assert!(named.contains(shown), "{shown}: {named}");
    }
}

#[tokio::test]
async fn who_listens_to_the_audit_hears_nothing_of_it() {
    let world = World::new().await;
    let public = public(&world).await;
    let request = Request::get("/api/orgs/default/audit")
        .header(header::AUTHORIZATION, "Bearer token-viewer")
        .header(header::ACCEPT, "text/event-stream");
    let response = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut stream = response.into_body().into_data_stream();
    let listening = async {
        let mut heard = String::new();
        while !heard.contains(&public) {
            let more = tokio::time::timeout(std::time::Duration::from_secs(30), stream.next());
            heard.push_str(std::str::from_utf8(&more.await.expect("an event").unwrap().unwrap()).unwrap());
            assert!(heard.len() < 100_000, "{heard}");
        }
        heard
    };
    let happening = async {
        // The stream tells what happens once somebody listens.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let incidents = private(&world, public.clone()).await;
        let last = json!({ "note": "the end of it" });
        world.post("oncall", &format!("incidents/{}/notes", incidents.public), last).await.ok(200);
        incidents
    };
    let (heard, incidents) = tokio::join!(listening, happening);
    assert!(!heard.contains(&incidents.private), "{heard}");
}

/// A service with two releases, the second of which is suspected by whoever declares something of it.
async fn released(world: &World) {
    let body =
        json!({ "id": "env-prod", "name": "prod", "region": "eu", "cluster": "one", "policyRefs": [] });
    world.post("deployer", "environments", body).await.ok(201);
    let body = json!({
        "id": "shop", "name": "shop", "adapters": { "deployments": ["external"] },
        "environments": [{ "id": "env-prod", "name": "prod" }],
    });
    world.post("deployer", "services", body).await.ok(201);
    for (id, sha) in [("rel-1", "aaaaaaa1"), ("rel-2", "aaaaaaa2")] {
        let body = json!({
            "id": id, "serviceId": "shop", "envId": "env-prod", "sha": sha, "status": "Active",
        });
        world.post("deployer", "releases", body).await.ok(201);
    }
}

#[tokio::test]
async fn nothing_is_deployed_in_the_name_of_a_private_incident() {
    let world = World::new().await;
    released(&world).await;
    let public = public(&world).await;
    let incidents = private(&world, public).await;
    let back = |id: &str| json!({ "incidentId": id, "reason": "it fails" });
    // To whom it is not shown, as to whom it is.
    let refused = world.post("oncall", "releases/rel-2/rollback", back(&incidents.private)).await;
    assert_eq!(refused.status, 409, "{}", refused.text);
    assert!(refused.text.contains("is private"), "{}", refused.text);
    for who in ["manager", "deployer", "viewer"] {
        for (path, body) in [
            ("releases/rel-2/rollback", (back(&incidents.private), back(ABSENT))),
            ("releases", {
                let of = |id: &str| {
                    json!({
                        "id": "rel-3", "serviceId": "shop", "envId": "env-prod", "sha": "aaaaaaa3", "incident": id,
                    })
                };
                (of(&incidents.private), of(ABSENT))
            }),
        ] {
            let (found, none) = (world.post(who, path, body.0).await, world.post(who, path, body.1).await);
            assert_eq!(found.status, none.status, "{who} {path}: {}", found.text);
            assert_eq!(unnamed(&found.text, &incidents.private), unnamed(&none.text, ABSENT), "{who} {path}");
        }
    }
    let page = Visitor::new(&world, "oncall").await;
    let page = page.open(&format!("/orgs/default/incidents/{}", incidents.private)).await.text;
    assert!(!page.contains("do/rollback"), "{page}");
    world.post("oncall", "releases/rel-2/rollback", back(&incidents.public)).await.ok(202);
}

#[tokio::test]
async fn who_follows_a_service_hears_nothing_of_it() {
    let world = World::new().await;
    released(&world).await;
    let public = public(&world).await;
    let address = world.listen(Capacity::default(), Timeouts::default()).await;
    let mut socket = connect(address).await;
    let hello = json!({ "authorization": "Bearer token-viewer" });
    say(&mut socket, json!({ "type": "connection_init", "payload": hello })).await;
    assert_eq!(heard(&mut socket).await["type"], "connection_ack");
    let query = "subscription { auditEvents(serviceId: \"shop\") { action subjectId metadata } }";
    say(&mut socket, json!({ "id": "1", "type": "subscribe", "payload": { "query": query } })).await;
    // What is said once the subscription has begun is heard: that it has is known by hearing something.
    let begun = async {
        for number in 0.. {
            let body = json!({
                "serviceId": "shop", "envId": "env-prod", "sha": format!("bbbbbbb{number}"), "status": "Active",
            });
            world.post("deployer", "releases", body).await.ok(201);
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        _ = heard(&mut socket) => {}
        () = begun => unreachable!("it is told for ever"),
    }
    let incidents = private(&world, public).await;
    let caused = |why: &str| json!({ "releaseId": "rel-2", "relation": "caused", "reason": why });
    for id in [&incidents.private, &incidents.public] {
        world.post("oncall", &format!("incidents/{id}/changes"), caused("by the graph")).await.ok(200);
    }
    let mut told = String::new();
    while !told.contains(&incidents.public) {
        told.push_str(&heard(&mut socket).await.to_string());
    }
    assert!(told.contains("change.link"), "{told}");
    assert!(!told.contains(&incidents.private), "{told}");
}

#[tokio::test]
async fn candidate_of_a_private_incident_is_there_for_who_sees_the_incident_alone() {
    let world = World::new().await;
    let alert = json!({
        "candidateId": "am-1", "policyId": "alerts", "source": "alertmanager", "title": "Keys are public",
        "severity": "P3", "environment": "production", "correlationKey": "am-1",
    });
    world.post("operator", "candidates", alert.clone()).await.ok(201);
    let made = world.post("oncall", "candidates/am-1/promote", json!({})).await.ok(201);
    let incident = made["incidentId"].as_str().unwrap().to_owned();
    world.post("oncall", &format!("incidents/{incident}/private"), json!({})).await.ok(200);
    assert_eq!(world.get("oncall", "candidates/am-1").await.ok(200)["incidentId"], json!(incident));
    for (method, path) in [
        ("get", "candidates/ID"),
        ("get", "candidates/ID/attempts"),
        ("post", "candidates/ID/promote"),
        ("post", "candidates/ID/dismiss"),
    ] {
        let of = |id: &str| format!("/api/orgs/default/{}", path.replace("ID", id));
        let (status, text) = asked(&world, "commander", method, &of("am-1")).await;
        let (expected, none) = asked(&world, "commander", method, &of("am-0")).await;
        assert_eq!((status, unnamed(&text, "am-1")), (expected, unnamed(&none, "am-0")), "{method} {path}");
    }
    assert_eq!(world.get("commander", "candidates").await.ok(200)["candidates"], json!([]));
    let again = world.post("commander", "candidates", alert).await.ok(201);
    assert_eq!(again["incidentId"], Value::Null, "{again}");
}

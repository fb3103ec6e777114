//! The catalog at the door: REST and GraphQL, who may what, and what changed before an incident.

use axum::{
    body::Body,
    http::{Request, header},
};
use futures_util::{SinkExt as _, StreamExt as _};
use harmony_console::{Capacity, Timeouts};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

use crate::world::{Reply, World};

/// The shapes of RFC 0001, word for word.
fn environment() -> Value {
    json!({
        "id": "env-prod", "name": "prod", "region": "us-east-1", "cluster": "prod-cluster",
        "policyRefs": ["policy:change-window:weekday"],
    })
}

fn staging() -> Value {
    json!({ "id": "env-staging", "name": "staging", "region": "us-east-1", "cluster": "staging", "policyRefs": [] })
}

fn service() -> Value {
    json!({
        "id": "svc-demo", "name": "Demo Service", "repo": "github.com/blackroad/demo",
        "adapters": { "deployments": ["aws", "fly"] },
        "environments": [{ "id": "env-staging", "name": "staging" }, { "id": "env-prod", "name": "prod" }],
    })
}

fn release() -> Value {
    json!({
        "id": "rel-123", "serviceId": "svc-demo", "sha": "9f3b7de", "version": "2024.10.01",
        "envId": "env-staging", "status": "Active",
    })
}

async fn filled() -> World {
    let world = World::new().await;
    world.post("deployer", "environments", staging()).await.ok(201);
    world.post("deployer", "environments", environment()).await.ok(201);
    world.post("deployer", "services", service()).await.ok(201);
    world
}

async fn ask(world: &World, who: &str, query: &str, variables: Value) -> Reply {
    let body = json!({ "query": query, "variables": variables }).to_string();
    let request = Request::post("/graphql")
        .header(header::AUTHORIZATION, format!("Bearer token-{who}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body));
    world.send(request.unwrap()).await
}

#[tokio::test]
async fn shapes_of_the_rfc_are_accepted_and_come_back_the_same() {
    let world = filled().await;
    assert_eq!(world.get("viewer", "services/svc-demo").await.ok(200), service());
    assert_eq!(world.get("viewer", "environments/env-prod").await.ok(200), environment());
    assert_eq!(world.post("deployer", "releases", release()).await.ok(201), release());
    assert_eq!(world.get("viewer", "releases/rel-123").await.ok(200), release());
    // Written again as it is: no new record.
    world.post("deployer", "services", service()).await.ok(200);
    let index = world.get("viewer", "services").await.ok(200);
    assert_eq!(index["services"][0]["latestReleases"]["env-staging"]["id"], "rel-123");
    assert_eq!(index["services"][0]["auditTail"]["stream"], "svc/svc-demo");
}

#[tokio::test]
async fn who_may_not_write_changes_nothing_and_what_is_wrong_is_named() {
    let world = filled().await;
    let detail = world.post("viewer", "services", service()).await.problem(403);
    assert!(detail.contains("viewer"), "{detail}");
    world.post("viewer", "releases", release()).await.problem(403);
    let mut unknown = service();
    unknown["adapters"] = json!({ "deployments": ["heroku"] });
    let detail = world.post("deployer", "services", unknown).await.problem(422);
    assert!(detail.contains("heroku") && detail.contains("external"), "{detail}");
    let mut dangling = service();
    dangling["environments"] = json!([{ "id": "env-moon", "name": "moon" }]);
    let detail = world.post("deployer", "services", dangling).await.problem(422);
    assert!(detail.contains("env-moon"), "{detail}");
    let mut bare = environment();
    bare["id"] = json!("env-bare");
    bare["region"] = json!("");
    world.post("deployer", "environments", bare).await.problem(422);
    let mut misspelled = service();
    misspelled["enviroments"] = json!([]);
    let detail = world.post("deployer", "services", misspelled).await.problem(422);
    assert!(detail.contains("enviroments"), "{detail}");
    world.get("viewer", "services/svc-moon").await.problem(404);
    world.post("deployer", "releases/rel-9/status", json!({ "status": "Active" })).await.problem(404);
}

#[tokio::test]
async fn refused_change_is_on_record_where_it_was_asked_for() {
    let world = filled().await;
    world.post("deployer", "releases", release()).await.ok(201);
    let id = world.opened("P2").await;
    let refused = async |stream: &str| {
        let audit = world.get("viewer", &format!("audit?subject={stream}&action=write.refuse")).await.ok(200);
        let events = audit["events"].as_array().unwrap().clone();
        let told = events.iter().map(|one| {
            assert_eq!(one["stream"], stream);
            format!("{} {}", one["actor"].as_str().unwrap(), one["metadata"]["right"].as_str().unwrap())
        });
        told.collect::<Vec<_>>()
    };
    // Asked for twice within the hour: on record once.
    for _ in 0..2 {
        world.post("viewer", "services", service()).await.problem(403);
        world.post("viewer", "services/svc-demo/retire", json!({})).await.problem(403);
        world.post("viewer", "environments/env-prod/retire", json!({})).await.problem(403);
        world.post("viewer", "releases/rel-123/promote", json!({ "envId": "env-prod" })).await.problem(403);
        world
            .post("viewer", &format!("incidents/{id}/severity"), json!({ "severity": "P1" }))
            .await
            .problem(403);
    }
    let deploy = "mutation { deployCreate(serviceId: \"svc-demo\", envId: \"env-prod\", sha: \"a\", version: \"2\") { release { id } } }";
    ask(&world, "oncall", deploy, Value::Null).await.ok(200);
    assert_eq!(
        refused("svc/svc-demo").await,
        ["oncall deploy:execute", "viewer deploy:execute", "viewer catalog:write"]
    );
    assert_eq!(refused("env/env-prod").await, ["viewer catalog:write"]);
    assert_eq!(refused(&id).await, ["viewer change-severity"]);
    // What does not exist has no record, and a look that is refused is no change.
    let mut unknown = service();
    unknown["id"] = json!("svc-moon");
    world.post("viewer", "services", unknown).await.problem(403);
    world.get("viewer", "services/svc-moon").await.problem(404);
    assert!(world.get("viewer", "log/verify").await.ok(200)["verified"].as_bool().unwrap());
}

#[tokio::test]
async fn releases_go_forward_and_are_promoted_as_new_ones() {
    let world = filled().await;
    let mut draft = release();
    draft["status"] = json!("Draft");
    world.post("deployer", "releases", draft).await.ok(201);
    let tell = |status: &str| world.post("deployer", "releases/rel-123/status", json!({ "status": status }));
    tell("Promoting").await.ok(200);
    assert_eq!(tell("Active").await.ok(200)["status"], "Active");
    // Late: it changes nothing.
    assert_eq!(tell("Promoting").await.ok(200)["status"], "Active");
    let promoted =
        world.post("deployer", "releases/rel-123/promote", json!({ "envId": "env-prod" })).await.ok(201);
    assert_eq!(promoted["release"]["promotedFrom"], "rel-123");
    assert_eq!(promoted["release"]["sha"], "9f3b7de");
    assert_eq!(promoted["audit"]["subjectType"], "Release");
    let listed = world.get("viewer", "releases?serviceId=svc-demo&envId=env-prod").await.ok(200);
    assert_eq!(listed["releases"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_changed_is_suspected_linked_and_audited() {
    let world = filled().await;
    let mut live = release();
    live["envId"] = json!("env-prod");
    world.post("deployer", "releases", live).await.ok(201);
    let body = json!({ "title": "Checkout fails", "severity": "P1", "serviceName": "svc-demo", "environment": "prod" });
    let declared = world.post("operator", "incidents", body).await.ok(201);
    let id = declared["incidentId"].as_str().unwrap();
    let changes = world.get("viewer", &format!("incidents/{id}/changes")).await.ok(200);
    assert_eq!(changes["suspected"][0]["id"], "rel-123");
    let reason = changes["suspected"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("same service and environment, Active "), "{reason}");

    let link = json!({ "releaseId": "rel-123", "relation": "caused", "reason": "errors began with it" });
    world.post("viewer", &format!("incidents/{id}/changes"), link.clone()).await.problem(403);
    let linked = world
        .post_with_key("oncall", &format!("incidents/{id}/changes"), "link-1", link.clone())
        .await
        .ok(200);
    assert_eq!(linked["changes"]["linked"][0]["relation"], "caused");
    assert_eq!(linked["changes"]["suspected"], json!([]));
    world.post_with_key("oncall", &format!("incidents/{id}/changes"), "link-1", link).await.ok(200);

    for stream in ["svc/svc-demo", id] {
        let audit = world.get("viewer", &format!("audit?subject={stream}&action=change")).await.ok(200);
        assert_eq!(audit["events"].as_array().unwrap().len(), 1, "{audit}");
    }
    // Page by page, each event once, the latest first.
    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let page = world.get("viewer", &format!("audit?limit=2{next}")).await.ok(200);
        seen.extend(
            page["events"].as_array().unwrap().iter().map(|one| (one["stream"].clone(), one["seq"].clone())),
        );
        match page["nextCursor"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => break,
        }
    }
    let whole = world.get("viewer", "audit?limit=200").await.ok(200);
    assert_eq!(seen.len(), whole["events"].as_array().unwrap().len());
    assert!(world.get("viewer", "log/verify").await.ok(200)["verified"].as_bool().unwrap());
}

#[tokio::test]
async fn graphql_answers_what_rest_does_with_the_same_rights() {
    let world = filled().await;
    world.post("deployer", "releases", release()).await.ok(201);
    let query = "{ service(id: \"svc-demo\") { id name repo adapters { deployments } environments { id name } latestReleases { id status runs { id } } openIncidents { critical } } releases(serviceId: \"svc-demo\", envId: \"env-staging\") { id sha version envId status serviceId } incidents(serviceId: \"svc-demo\") { id } auditTail(serviceId: \"svc-demo\") { action subjectId metadata } services(first: 50) { edges { node { id } cursor } pageInfo { hasNextPage } } }";
    let told = ask(&world, "viewer", query, Value::Null).await.ok(200);
    assert_eq!(told["errors"], Value::Null, "{told}");
    let data = &told["data"];
    assert_eq!(data["service"]["environments"], service()["environments"]);
    assert_eq!(data["releases"][0]["id"], "rel-123");
    assert_eq!(data["services"]["edges"][0]["node"]["id"], "svc-demo");
    assert_eq!(data["auditTail"][0]["subjectId"], "rel-123");

    let deploy = "mutation($sha: String!) { deployCreate(serviceId: \"svc-demo\", envId: \"env-prod\", sha: $sha, version: \"2\") { release { id sha status } audit { action actor } } }";
    let refused = ask(&world, "viewer", deploy, json!({ "sha": "abc" })).await.ok(200);
    assert_eq!(refused["errors"][0]["extensions"]["code"], "urn:harmony:problem:forbidden", "{refused}");
    assert_eq!(world.get("viewer", "releases?envId=env-prod").await.ok(200)["releases"], json!([]));
    let made = ask(&world, "deployer", deploy, json!({ "sha": "abc" })).await.ok(200);
    let made = &made["data"]["deployCreate"];
    assert_eq!((&made["release"]["sha"], &made["release"]["status"]), (&json!("abc"), &json!("Draft")));
    assert_eq!(made["audit"]["actor"], "deployer");
    let promote = "mutation { deployPromote(releaseId: \"rel-123\", toEnvId: \"env-prod\") { release { promotedFrom } } }";
    let promoted = ask(&world, "deployer", promote, Value::Null).await.ok(200);
    assert_eq!(promoted["data"]["deployPromote"]["release"]["promotedFrom"], "rel-123");
}

#[tokio::test]
async fn graphql_lists_follow_ups_across_incidents() {
    let world = filled().await;
    for (severity, due) in [("P2", "2020-01-31"), ("P3", "")] {
        let id = world.opened(severity).await;
        let body = json!({ "incidentId": id, "action": "Add an alert", "owner": "oncall", "due": due });
        world.post("oncall", "follow-ups", body).await.ok(201);
    }
    let list = async |arguments: &str| {
        let query = format!("{{ followUps{arguments} {{ id incidentId action state owner due overdue }} }}");
        ask(&world, "viewer", &query, Value::Null).await.ok(200)
    };
    let all = list("").await;
    let all = all["data"]["followUps"].as_array().unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!((&all[0]["due"], &all[0]["overdue"]), (&json!("2020-01-31"), &json!(true)));
    assert_eq!((&all[1]["due"], &all[1]["overdue"]), (&Value::Null, &json!(false)));
    assert_eq!(list("(overdue: true)").await["data"]["followUps"].as_array().unwrap().len(), 1);
    assert_eq!(list("(state: \"done\")").await["data"]["followUps"], json!([]));
    assert_eq!(list("(owner: \"nobody\")").await["data"]["followUps"], json!([]));
    let refused = list("(state: \"finished\")").await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "urn:harmony:problem:invalid", "{refused}");
}

#[tokio::test]
async fn graphql_lists_the_gates_that_wait() {
    let world = filled().await;
    let mut gates = Vec::new();
    for severity in ["P1", "P2"] {
        let id = world.opened(severity).await;
        gates.push((id.clone(), world.gated(&id).await));
    }
    let list = async |arguments: &str| {
        let query = format!(
            "{{ approvals{arguments} {{ id incidentId serviceId blueprint action requestReason requester requiredRoles level requestedAt deadline digest quorum approvals }} }}"
        );
        ask(&world, "viewer", &query, Value::Null).await.ok(200)
    };
    let all = list("").await;
    let rest = world.get("viewer", "approvals").await.ok(200);
    let all = all["data"]["approvals"].as_array().unwrap();
    assert_eq!(all.len(), 2);
    for (one, same) in all.iter().zip(rest["approvals"].as_array().unwrap()) {
        assert_eq!(one["id"], same["gateId"]);
        assert!(gates.contains(&(
            one["incidentId"].as_str().unwrap().to_owned(),
            one["id"].as_str().unwrap().to_owned()
        )));
        for (name, value) in one.as_object().unwrap().iter().filter(|(name, _)| *name != "id") {
            // REST leaves out what there is none of.
            let is_empty = value.is_null() || value == &json!([]);
            let expected = if is_empty && same[name].is_null() { value } else { &same[name] };
            assert_eq!(value, expected, "{name}");
        }
    }
    assert_eq!(list("(limit: 1)").await["data"]["approvals"][0], all[0]);
    let refused = list("(limit: 0)").await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "urn:harmony:problem:invalid", "{refused}");
}

#[tokio::test]
async fn graphql_over_http_keeps_its_limits_and_statuses() {
    let world = filled().await;
    let nobody = Request::post("/graphql").header(header::CONTENT_TYPE, "application/json");
    let reply = world.send(nobody.body(Body::from("{\"query\":\"{ __typename }\"}")).unwrap()).await;
    assert_eq!(reply.ok(401)["errors"][0]["extensions"]["code"], "urn:harmony:problem:unauthorized");
    // The last that is answered, and the first that is refused.
    let deep = |levels: usize| {
        let types = levels - 5;
        format!(
            "{{ __schema {{ types {{ fields {{ type {{ {} name {} }} }} }} }} }}",
            "ofType { ".repeat(types),
            "} ".repeat(types)
        )
    };
    assert_eq!(ask(&world, "viewer", &deep(12), Value::Null).await.ok(200).get("errors"), None);
    let told = ask(&world, "viewer", &deep(13), Value::Null).await.ok(200);
    assert!(told["errors"][0]["message"].as_str().unwrap().contains("too deep"), "{told}");
    // A service counts one, and so does each of its fields: a hundred services of nine fields are a thousand.
    let complex = |more: usize| {
        let named = |fields: usize| (0..fields).map(|n| format!("b{n}: name ")).collect::<String>();
        let service = |n: usize| {
            let fields = named(if n == 0 { 9 + more } else { 9 });
            format!("a{n}: service(id: \"svc-demo\") {{ {fields} }} ")
        };
        format!("{{ {} }}", (0..100).map(service).collect::<String>())
    };
    assert_eq!(ask(&world, "viewer", &complex(0), Value::Null).await.ok(200).get("errors"), None);
    let told = ask(&world, "viewer", &complex(1), Value::Null).await.ok(200);
    assert!(told["errors"][0]["message"].as_str().unwrap().contains("complex"), "{told}");
    // A list counts as long as it may be.
    let list = "{ services(first: 200) { edges { node { id name } } } }";
    assert_eq!(ask(&world, "viewer", list, Value::Null).await.ok(200).get("errors"), None);
    let lists: String = (0..60)
        .map(|n| format!("a{n}: services(first: 200) {{ edges {{ node {{ id name }} }} }} "))
        .collect();
    let told = ask(&world, "viewer", &format!("{{ {lists} }}"), Value::Null).await.ok(200);
    assert!(told["errors"][0]["message"].as_str().unwrap().contains("complex"), "{told}");
    let sized = |bytes: usize| {
        let body = json!({ "query": "{ __typename } # " }).to_string();
        let query = format!("{{ __typename }} # {}", "x".repeat(bytes - body.len()));
        json!({ "query": query }).to_string()
    };
    let send = |body: String| {
        let request = Request::post("/graphql")
            .header(header::AUTHORIZATION, "Bearer token-viewer")
            .header(header::CONTENT_TYPE, "application/json");
        world.send(request.body(Body::from(body)).unwrap())
    };
    let largest = sized(64 * 1024);
    assert_eq!(largest.len(), 64 * 1024);
    send(largest).await.ok(200);
    assert_eq!(send(sized(64 * 1024 + 1)).await.status, 413);
    // By GET queries are answered and mutations are not.
    let get = |query: &str| {
        let query: String = url_encoded(query);
        let request = Request::get(format!("/graphql?query={query}"));
        request.header(header::AUTHORIZATION, "Bearer token-deployer").body(Body::empty()).unwrap()
    };
    assert_eq!(world.send(get("{ __typename }")).await.ok(200)["data"]["__typename"], "Query");
    world
        .send(get("mutation { deployPromote(releaseId: \"a\", toEnvId: \"b\") { release { id } } }"))
        .await
        .ok(405);
    // A document that is wrong: 200 for those of old, 400 and no data for the others.
    let wrong = |accept: &str| {
        Request::post("/graphql")
            .header(header::AUTHORIZATION, "Bearer token-viewer")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, accept)
            .body(Body::from("{\"query\":\"{ nothing }\"}"))
            .unwrap()
    };
    world.send(wrong("application/json")).await.ok(200);
    let reply = world.send(wrong("application/graphql-response+json")).await;
    assert_eq!(reply.content_type, "application/graphql-response+json; charset=utf-8");
    assert_eq!(reply.ok(400).get("data"), None);
    let sdl = world.send(Request::get("/graphql/schema.graphql").body(Body::empty()).unwrap()).await;
    for name in ["deployCreate(", "deployPromote(", "auditTail(", "auditEvents(", "type DeployMutationResult"]
    {
        assert!(sdl.text.contains(name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriber_hears_of_a_promotion_and_nobody_subscribes_without_a_token() {
    let world = filled().await;
    world.post("deployer", "releases", release()).await.ok(201);
    let address = world.listen(Capacity::default(), Timeouts::default()).await;
    let mut socket = connect(address).await;
    say(&mut socket, json!({ "type": "connection_init", "payload": { "authorization": "Bearer nobody" } }))
        .await;
    match socket.next().await {
        Some(Ok(Message::Text(text))) => assert!(text.contains("connection_error"), "{text}"),
        other => assert!(matches!(other, None | Some(Ok(Message::Close(_)) | Err(_))), "{other:?}"),
    }

    let mut socket = connect(address).await;
    say(
        &mut socket,
        json!({ "type": "connection_init", "payload": { "authorization": "Bearer token-viewer" } }),
    )
    .await;
    assert_eq!(heard(&mut socket).await["type"], "connection_ack");
    let query = "subscription { auditEvents(serviceId: \"svc-demo\") { action subjectType actor } }";
    say(&mut socket, json!({ "id": "1", "type": "subscribe", "payload": { "query": query } })).await;
    // The subscription begins when the server has looked at the service, so that this is said until it is heard.
    let told = async {
        for n in 0.. {
            let body = json!({ "serviceId": "svc-demo", "envId": "env-prod", "sha": format!("abc{n}"), "status": "Active" });
            world.post("deployer", "releases", body).await.ok(201);
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    };
    let event = tokio::select! {
        event = heard(&mut socket) => event,
        () = told => unreachable!("it is told for ever"),
    };
    assert_eq!((&event["type"], &event["id"]), (&json!("next"), &json!("1")));
    let event = &event["payload"]["data"]["auditEvents"];
    assert_eq!((&event["subjectType"], &event["actor"]), (&json!("Release"), &json!("deployer")));
}

pub(crate) type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

pub(crate) async fn connect(address: std::net::SocketAddr) -> Socket {
    let mut request = format!("ws://{address}/graphql/ws").into_client_request().unwrap();
    let protocol = axum::http::HeaderValue::from_static("graphql-transport-ws");
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

pub(crate) async fn say(socket: &mut Socket, message: Value) {
    socket.send(Message::Text(message.to_string().into())).await.unwrap();
}

pub(crate) async fn heard(socket: &mut Socket) -> Value {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn url_encoded(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}

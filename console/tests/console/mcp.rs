//! What an assistant may do, and what it may not.

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use serde_json::{Value, json};

use crate::world::{Reply, World};

async fn ask(world: &World, who: &str, method: &str, params: Value) -> Value {
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let request = Request::post("/mcp")
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer token-{who}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header("MCP-Protocol-Version", "2025-06-18")
        .body(Body::from(message.to_string()))
        .unwrap();
    let reply = world.send(request).await;
    assert_eq!(reply.status, 200, "{method}: {}", reply.text);
    let text =
        reply.text.lines().find_map(|line| line.strip_prefix("data: ").filter(|data| data.starts_with('{')));
    serde_json::from_str(text.unwrap_or(&reply.text)).unwrap_or_else(|_| panic!("{}", reply.text))
}

pub(crate) async fn call(world: &World, who: &str, tool: &str, arguments: Value) -> Value {
    ask(world, who, "tools/call", json!({ "name": tool, "arguments": arguments })).await["result"].clone()
}

#[tokio::test]
async fn no_tool_decides_anything() {
    let world = World::new().await;
    let answer = ask(&world, "admin", "tools/list", json!({})).await;
    let mut names: Vec<&str> = answer["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "add_note",
            "declare_incident",
            "get_changes",
            "get_incident",
            "get_metrics",
            "get_timeline",
            "list_incidents",
            "list_runbooks",
            "propose_remediation",
            "query_timeline",
            "record_timeline",
        ]
    );
    for tool in ["approve", "decide", "sign_off", "resolve", "../approvals"] {
        let answer = ask(&world, "admin", "tools/call", json!({ "name": tool, "arguments": {} })).await;
        assert!(answer["error"]["message"].as_str().unwrap().contains("there is no tool"), "{answer}");
    }
    // Nor does an id lead a tool to another address.
    let id = world.opened("P1").await;
    let gate = world.gated(&id).await;
    let hostile = json!({ "id": format!("../approvals/{gate}#"), "note": "x" });
    assert_eq!(call(&world, "admin", "add_note", hostile).await["isError"], true);
    let incident = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    assert_eq!(incident["gate"]["status"], "pending");
}

#[tokio::test]
async fn assistant_may_what_its_person_may() {
    let world = World::new().await;
    let nobody = Request::post("/mcp").header(header::HOST, "localhost").body(Body::from("{}")).unwrap();
    world.send(nobody).await.problem(401);
    let draft = json!({ "title": "Checkout fails", "severity": "P2" });
    let refused = call(&world, "viewer", "declare_incident", draft.clone()).await;
    assert_eq!((&refused["isError"], &refused["structuredContent"]["status"]), (&json!(true), &json!(403)));
    let declared = call(&world, "operator", "declare_incident", draft).await;
    let id = declared["structuredContent"]["incidentId"].as_str().unwrap().to_owned();
    assert_eq!(
        call(&world, "viewer", "add_note", json!({ "id": id, "note": "seen" })).await["isError"],
        false
    );
    let read = call(&world, "viewer", "get_incident", json!({ "id": id })).await;
    assert_eq!(read["structuredContent"]["notes"], 1);
    let listed = call(&world, "viewer", "list_incidents", json!({ "severity": "P2", "limit": 5 })).await;
    assert_eq!(listed["structuredContent"]["incidents"][0]["incidentId"], id.as_str());
    let timeline = call(&world, "viewer", "get_timeline", json!({ "id": id, "after": 1 })).await;
    assert_eq!(timeline["structuredContent"]["events"][0]["kind"], "INCIDENT_NOTE_ADDED");
    let runbooks = call(&world, "viewer", "list_runbooks", json!({})).await;
    assert_eq!(runbooks["structuredContent"]["runbooks"][0]["cells"], json!(["rollback", "postcheck"]));
    let metrics = call(&world, "viewer", "get_metrics", json!({})).await;
    assert_eq!(metrics["structuredContent"]["incidents"], 1);
    for tool in ["list_runbooks", "get_metrics", "list_incidents"] {
        assert_eq!(call(&world, "approver", tool, json!({})).await["isError"], true, "{tool}");
        assert_eq!(call(&world, "viewer", tool, json!({ "org": "acme" })).await["isError"], true, "{tool}");
    }
    world.post("oncall", &format!("incidents/{id}/status"), json!({ "state": "OPEN" })).await.ok(200);
    let plan = json!({ "id": id, "runbook": "rollback.md", "verify": ["postcheck"] });
    assert_eq!(call(&world, "viewer", "propose_remediation", plan.clone()).await["isError"], true);
    let proposed = call(&world, "operator", "propose_remediation", plan).await;
    assert_eq!(proposed["structuredContent"]["workflowId"], format!("incident.remediate-{id}"));
}

#[tokio::test]
async fn tool_takes_what_its_schema_says_and_nothing_else() {
    let world = World::new().await;
    let id = world.opened("P2").await;
    let tools = ask(&world, "operator", "tools/list", json!({})).await["result"]["tools"].clone();
    for (tool, arguments, named) in [
        ("get_incident", json!({}), "id"),
        ("get_incident", json!({ "id": "" }), "id"),
        ("get_incident", json!({ "id": null }), "id"),
        ("get_incident", json!({ "id": id, "at": 1 }), "at"),
        ("get_timeline", json!({ "id": id, "limit": "many" }), "limit"),
        ("list_incidents", json!({ "sort": "createdAt" }), "sort"),
        ("declare_incident", json!({ "title": "Checkout fails" }), "severity"),
        (
            "declare_incident",
            json!({ "title": "x", "severity": "P2", "impactedServices": [1] }),
            "impactedServices",
        ),
        ("add_note", json!({ "id": id }), "note"),
        ("propose_remediation", json!({ "id": id }), "runbook"),
        ("propose_remediation", json!({ "id": id, "runbook": "rollback.md", "env": { "A": "b" } }), "env"),
        (
            "propose_remediation",
            json!({ "id": id, "runbook": "rollback.md", "secretEnv": ["A"] }),
            "secretEnv",
        ),
        ("propose_remediation", json!({ "id": id, "runbook": "rollback.md", "workdir": "/" }), "workdir"),
        ("list_runbooks", json!({ "path": "x" }), "path"),
    ] {
        let schema =
            tools.as_array().unwrap().iter().find(|one| one["name"] == tool).unwrap()["inputSchema"].clone();
        assert!(!jsonschema::is_valid(&schema, &arguments), "{tool} {arguments}: the schema says so, too");
        let refused = call(&world, "operator", tool, arguments.clone()).await;
        assert_eq!(refused["isError"], true, "{tool} {arguments}: {refused}");
        let problem = &refused["structuredContent"];
        assert_eq!(problem["status"], 422, "{refused}");
        assert!(problem["detail"].as_str().unwrap().contains(named), "{tool} {arguments}: {problem}");
    }
    let answer = call(&world, "operator", "get_incident", json!({ "id": "INC-2026-0404" })).await;
    assert_eq!((&answer["isError"], &answer["structuredContent"]["status"]), (&json!(true), &json!(404)));
    let attempts =
        world.get("viewer", &format!("incidents/{id}")).await.ok(200)["blueprints"]["remediate"].clone();
    assert!(attempts["workflowId"].is_null() || attempts.is_null(), "nothing was proposed: {attempts}");
}

/// A request as a client of the protocol sends it, but for what is changed; `None` takes a header away.
async fn sent(world: &World, method: Method, changed: &[(&str, Option<&str>)], body: &str) -> Reply {
    let mut headers = vec![
        ("host", "localhost"),
        ("authorization", "Bearer token-viewer"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-06-18"),
    ];
    for (name, value) in changed {
        headers.retain(|(known, _)| known != name);
        headers.extend(value.map(|value| (*name, value)));
    }
    let request =
        headers.iter().fold(Request::builder().method(method).uri("/mcp"), |request, (name, value)| {
            request.header(*name, *value)
        });
    world.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn client_and_server_agree_on_a_version_and_on_what_there_is() {
    let world = World::new().await;
    // The last is of no version that there is.
    for asked in ["2025-03-26", "2025-06-18", "2025-11-25", "1999-01-01"] {
        let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": asked, "capabilities": {}, "clientInfo": { "name": "test", "version": "1" },
        }});
        // Before they have agreed a client names none in its headers.
        let changed = [("mcp-protocol-version", None)];
        let answer = sent(&world, Method::POST, &changed, &hello.to_string()).await.ok(200);
        let result = &answer["result"];
        let agreed = result["protocolVersion"].as_str().unwrap();
        assert_eq!(agreed == asked, asked != "1999-01-01", "{answer}");
        assert_eq!(result["serverInfo"]["name"], "harmony");
        let offered: Vec<&String> = result["capabilities"].as_object().unwrap().keys().collect();
        assert_eq!(offered, ["tools"], "nothing is promised that is not there");
    }
    assert_eq!(ask(&world, "viewer", "ping", json!({})).await["result"], json!({}));
    let tools = ask(&world, "viewer", "tools/list", json!({})).await;
    assert!(tools["result"]["nextCursor"].is_null(), "all of them are on one page");
    for tool in tools["result"]["tools"].as_array().unwrap() {
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
        jsonschema::meta::validate(&tool["inputSchema"]).unwrap();
    }
}

#[tokio::test]
async fn what_is_not_the_protocol_is_refused() {
    let world = World::new().await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(sent(&world, Method::POST, &[], ping).await.status, 200);
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    let taken = sent(&world, Method::POST, &[], notification).await;
    assert_eq!((taken.status, taken.text.as_str()), (202, ""));
    let batch = format!("[{ping},{ping}]");
    let large =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":"{}"}}}}"#, "x".repeat(300_000));
    for (what, method, changed, body, status) in [
        ("no token", Method::POST, ("authorization", None), ping, 401),
        ("another's token", Method::POST, ("authorization", Some("Bearer nobodys")), ping, 401),
        ("a page of another site", Method::POST, ("origin", Some("https://evil.example")), ping, 403),
        ("a name that was made to point here", Method::POST, ("host", Some("evil.example")), ping, 403),
        (
            "a version that there is not",
            Method::POST,
            ("mcp-protocol-version", Some("1999-01-01")),
            ping,
            400,
        ),
        ("a form", Method::POST, ("content-type", Some("text/plain")), ping, 415),
        ("who takes no answer", Method::POST, ("accept", Some("text/html")), ping, 406),
        ("a session that there is not", Method::DELETE, ("mcp-session-id", Some("x")), "", 405),
        ("a stream of the server", Method::GET, ("accept", Some("text/event-stream")), "", 405),
        ("another method", Method::PUT, ("accept", Some("*/*")), ping, 405),
        ("several at once", Method::POST, ("x-none", None), &batch, 400),
        ("no JSON", Method::POST, ("x-none", None), "{", 400),
        ("no message", Method::POST, ("x-none", None), "{}", 400),
        ("more than there is room for", Method::POST, ("x-none", None), &large, 413),
    ] {
        let reply = sent(&world, method, &[changed], body).await;
        assert_eq!(reply.status, status, "{what}: {}", reply.text);
    }
    let unknown = r#"{"jsonrpc":"2.0","id":1,"method":"tools/none"}"#;
    assert_eq!(sent(&world, Method::POST, &[], unknown).await.json()["error"]["code"], -32601);
}

#[tokio::test]
async fn timeline_is_recorded_and_queried_at_both_doors() {
    let world = World::new().await;
    let id = world.opened("P3").await;
    let note = json!({ "id": id, "key": "k1", "payload": { "incidentNoteAdded": { "note": "disk full" } } });
    let line = call(&world, "viewer", "record_timeline", note.clone()).await["structuredContent"]["lines"][0]
        .clone();
    assert_eq!((&line["text"], &line["kind"]), (&json!("note: disk full"), &json!("INCIDENT_NOTE_ADDED")));
    assert_eq!(call(&world, "viewer", "record_timeline", note).await["structuredContent"]["lines"][0], line);
    let path = format!("incidents/{id}/timeline");
    let tag = json!({ "payload": { "incidentTagAdded": { "tag": "database" } } });
    world.post("viewer", &path, tag.clone()).await.problem(403);
    world.post("operator", &path, tag).await.ok(200);

    let asked = json!({ "id": id, "after": 1, "kinds": ["INCIDENT_TAG_ADDED", "INCIDENT_NOTE_ADDED"] });
    let found = call(&world, "viewer", "query_timeline", asked).await["structuredContent"]["lines"].clone();
    let texts: Vec<_> = found.as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["note: disk full", "tag database added"]);
    let last = found[1]["seq"].as_u64().unwrap();
    let page = world.get("viewer", &format!("{path}?kinds=INCIDENT_NOTE_ADDED&limit=1")).await.ok(200);
    assert_eq!((&page["lines"], &page["nextCursor"]), (&json!([line]), &json!(line["seq"].to_string())));
    let after = world.get("viewer", &format!("{path}?after={last}")).await.ok(200);
    assert_eq!((&after["lines"], &after["nextCursor"]), (&json!([]), &Value::Null));

    for (query, expected) in
        [("kinds=RUMOUR", "no record is \"RUMOUR\""), ("after=-1", "the seq of a record")]
    {
        let detail = world.get("viewer", &format!("{path}?{query}")).await.problem(422);
        assert!(detail.contains(expected), "{detail}");
    }
    for (payload, expected) in [
        (json!({}), "one member"),
        (json!({ "stepSucceeded": {} }), "not a fact that people record"),
        (json!({ "incidentNoteAdded": { "text": "x", "more": 1 } }), "payload.incidentNoteAdded"),
    ] {
        let detail = world.post("operator", &path, json!({ "payload": payload })).await.problem(422);
        assert!(detail.contains(expected), "{detail}");
    }
}

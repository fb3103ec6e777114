//! What an assistant may do, and what it may not.

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::{Value, json};

use crate::world::World;

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

async fn call(world: &World, who: &str, tool: &str, arguments: Value) -> Value {
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
            "get_incident",
            "get_metrics",
            "get_timeline",
            "list_incidents",
            "list_runbooks",
            "propose_remediation",
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

//! What cells print: taken from pools that show the pass of a cell, shown while it runs, kept whole, and served only as the
//! record has it.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use futures_util::StreamExt;
use harmony_incidents::{
    Command, IncidentId, OrgId, StreamId, WorkflowType,
    judge::payload,
    log::{RunbookCellFinished, Text, payload::Kind},
    ticket::{OutputTicket, Ticket},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use crate::{
    pages::Visitor,
    world::{Reply, World, ticket_key},
};

/// The pass of a cell of this incident.
fn pass(id: &str, cell: &str) -> OutputTicket {
    let mut ticket = Ticket {
        org: "default".to_owned(),
        incident: id.to_owned(),
        gate_id: "g".to_owned(),
        workflow_id: format!("incident.remediate-{id}"),
        run_id: "run".to_owned(),
        step: format!("remediation/{cell}/1/started"),
        not_after: Timestamp::now(),
        signature: String::new(),
        output: None,
        attempt: None,
    };
    ticket.output = Some(ticket_key().pass(&ticket, cell, 1, Timestamp::now() + Duration::from_secs(600)));
    OutputTicket::of(&ticket, cell).unwrap()
}

async fn print(world: &World, pass: &OutputTicket, from: usize, text: &str) -> Reply {
    let piece = json!({ "ticket": pass, "attempt": 1, "fromBytes": from, "toBytes": from + text.len(), "text": text });
    let body = json!({ "pieces": [piece] }).to_string();
    world.send(Request::post("/runbook-output").body(Body::from(body)).unwrap()).await
}

async fn hand_in(world: &World, pass: &OutputTicket, bytes: &[u8]) -> Reply {
    let pass = hex::encode(serde_json::to_vec(pass).unwrap());
    let request = Request::put("/runbook-output/whole").header("harmony-output-ticket", pass);
    world.send(request.body(Body::from(bytes.to_vec())).unwrap()).await
}

/// The record of a cell's end; gives its seq.
async fn finished(world: &World, id: &str, output: &[u8], stdout: &str) -> u64 {
    let cell = RunbookCellFinished {
        blueprint: "remediate".to_owned(),
        attempt: 1,
        cell: "roll back/all".to_owned(),
        purpose: "remediation".to_owned(),
        ended: "exited".to_owned(),
        success: true,
        stdout: Text::optional(stdout),
        output_bytes: output.len() as u64,
        run: 1,
        output_sha256: Text::optional(hex::encode(Sha256::digest(output))),
        ..RunbookCellFinished::default()
    };
    let command = Command::Record { payload: payload(Kind::RunbookCellFinished(cell)) };
    let key = format!("finished-{}", hex::encode(Sha256::digest(output)));
    world.append(id, &key, WorkflowType::Remediate, command).await;
    world.get("viewer", &format!("incidents/{id}")).await.ok(200)["seq"].as_u64().unwrap()
}

fn texts(answer: &Value) -> Vec<&str> {
    answer["pieces"].as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pool_hands_in_what_its_own_cell_prints_and_nothing_else() {
    let world = World::new().await;
    let id = world.opened("P2").await;
    let good = pass(&id, "look");
    assert_eq!(print(&world, &good, 0, "one\n").await.status, 204);
    for change in [
        |pass: &mut OutputTicket| pass.incident = "INC-2026-0999".to_owned(),
        |pass: &mut OutputTicket| pass.cell = "drop".to_owned(),
        |pass: &mut OutputTicket| pass.until = Timestamp::now() + Duration::from_secs(3_600),
        |pass: &mut OutputTicket| pass.signature.clear(),
    ] {
        let mut forged = good.clone();
        change(&mut forged);
        print(&world, &forged, 4, "forged\n").await.problem(401);
        hand_in(&world, &forged, b"forged\n").await.problem(401);
    }
    world.send(Request::put("/runbook-output/whole").body(Body::from("x")).unwrap()).await.problem(401);
    world.send(Request::post("/runbook-output").body(Body::from("x")).unwrap()).await.problem(400);
    print(&world, &good, 4, &"x".repeat(300 * 1024)).await.problem(413);
    let answer = world.get("viewer", &format!("incidents/{id}/output")).await.ok(200);
    assert_eq!(texts(&answer), ["one\n"]);
}

#[tokio::test]
async fn output_is_shown_while_its_cell_runs_and_nothing_of_it_moves_a_cursor() {
    let world = World::new().await;
    let id = world.opened("P2").await;
    let path = format!("incidents/{id}/output");
    let before = world.get("viewer", &format!("incidents/{id}/events")).await.ok(200);
    let none = world.get("viewer", &path).await.ok(200);
    assert_eq!((&none["pieces"], &none["next"]), (&json!([]), &json!(0)));
    let pass = pass(&id, "look");
    print(&world, &pass, 0, "one\n").await;
    print(&world, &pass, 4, "\u{1b}[31mred\u{202e}\n").await;
    let first = world.get("viewer", &path).await.ok(200);
    assert_eq!(texts(&first), ["one\n", "<U+001B>[31mred<U+202E>\n"]);
    let piece = &first["pieces"][1];
    assert_eq!(
        (&piece["cell"], &piece["step"], &piece["fromBytes"], &piece["ended"]),
        (&json!("look"), &json!("1/remediation/look/1"), &json!(4), &json!(false))
    );
    print(&world, &pass, 16, "three\n").await;
    let next = format!("{path}?after={}", first["next"]);
    assert_eq!(texts(&world.get("viewer", &next).await.ok(200)), ["three\n"]);
    world.get("viewer", &format!("{path}?after=x")).await.problem(422);
    world.get("approver", &path).await.problem(403);
    // None of it is a record.
    assert_eq!(world.get("viewer", &format!("incidents/{id}/events")).await.ok(200), before);
    assert_eq!(world.get("viewer", "log/verify").await.ok(200)["verified"], true);
}

/// Reads events until there are so many; their ids and texts.
async fn hear(world: &World, id: &str, last: Option<u64>, count: usize) -> Vec<(u64, String)> {
    let mut request = Request::get(format!("/api/orgs/default/incidents/{id}/output/stream"))
        .header(header::AUTHORIZATION, "Bearer token-viewer");
    if let Some(last) = last {
        request = request.header("Last-Event-ID", last.to_string());
    }
    let response = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let (mut text, mut heard) = (String::new(), Vec::new());
    while heard.len() < count {
        let more = tokio::time::timeout(Duration::from_secs(30), body.next()).await.expect("an event");
        text.push_str(std::str::from_utf8(&more.unwrap().unwrap()).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(number), Some(data)) = (line("id: "), line("data: ")) {
                assert_eq!(line("event: "), Some("output"));
                let data: Value = serde_json::from_str(data).unwrap();
                heard.push((number.parse().unwrap(), data["text"].as_str().unwrap().to_owned()));
            }
            text = rest.to_owned();
        }
    }
    heard
}

#[tokio::test]
async fn watcher_hears_what_was_printed_and_what_is_and_comes_back_without_a_gap() {
    let world = World::new().await;
    let id = world.opened("P2").await;
    let pass = pass(&id, "look");
    print(&world, &pass, 0, "one\n").await;
    let printing = async {
        for from in 1..=20 {
            print(&world, &pass, from * 4, "more\n").await;
        }
    };
    let watching = async {
        let first = hear(&world, &id, None, 3).await;
        let rest = hear(&world, &id, Some(first.last().unwrap().0), 21 - first.len()).await;
        [first, rest].concat()
    };
    let ((), heard) = tokio::join!(printing, watching);
    assert_eq!(heard.len(), 21);
    assert_eq!(heard[0].1, "one\n");
    assert!(heard.windows(2).all(|pair| pair[0].0 < pair[1].0), "{heard:?}");
    let (org, stream): (OrgId, StreamId) = (OrgId::default(), id.parse::<IncidentId>().unwrap().into());
    world.log.end_output(&org, &stream, "1/remediation/look/1", "its worker was lost").await.unwrap();
    let end = hear(&world, &id, Some(heard[20].0), 1).await;
    assert_eq!(end[0].1, "its worker was lost");
}

#[tokio::test]
async fn whole_output_is_a_file_that_is_served_only_as_it_is_on_record() {
    let world = World::new().await;
    let id = world.opened("P2").await;
    let output = b"<script>\x1b[31m\xff\x00 rolled back\n";
    assert_eq!(hand_in(&world, &pass(&id, "look"), output).await.status, 201);
    assert_eq!(hand_in(&world, &pass(&id, "look"), b"something that no record has\n").await.status, 201);
    let seq = finished(&world, &id, output, "rolled back\n").await;
    let path = format!("incidents/{id}/output/{seq}");
    let request = Request::get(format!("/api/orgs/default/{path}"))
        .header(header::AUTHORIZATION, "Bearer token-viewer")
        .body(Body::empty())
        .unwrap();
    let answer = world.router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(header("x-content-type-options"), "nosniff");
    let name = format!("attachment; filename=\"{id}-roll_back_all-{seq}.txt\"");
    assert_eq!(header("content-disposition"), name);
    let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    assert_eq!(&bytes[..], output);

    world.get("approver", &path).await.problem(403);
    world.get("viewer", &format!("incidents/{id}/output/1")).await.problem(404);
    world.get("viewer", &format!("incidents/{id}/output/999")).await.problem(404);
    for none in ["0", "-1", "x"] {
        world.get("viewer", &format!("incidents/{id}/output/{none}")).await.problem(422);
    }
    let page = Visitor::new(&world, "viewer").await.page(&format!("/orgs/default/incidents/{id}")).await;
    assert!(page.contains(&format!("href=\"/api/orgs/default/{path}\" download")), "{page}");

    // Somebody who can write there changes it, or takes it away.
    let hash = hex::encode(Sha256::digest(output));
    let file = world.outputs().join("default").join(&id).join(hash);
    std::fs::write(&file, "something else").unwrap();
    let problem = world.get("viewer", &path).await.problem(409);
    assert!(problem.contains("not the output that is on record"), "{problem}");
    std::fs::remove_file(&file).unwrap();
    world.get("viewer", &path).await.problem(404);
}

#[tokio::test]
async fn what_is_redacted_is_in_no_file_and_no_live_output_any_more() {
    let world = World::new().await;
    let id = world.opened("P2").await;
    let outputs: [&[u8]; 3] =
        [b"the card is 4711-4711\nrolled back\n", b"4711-4711 again, but not at the end\n", b"all is well\n"];
    let mut seqs = Vec::new();
    for (output, stdout) in
        outputs.iter().zip(["the card is 4711-4711\nrolled back\n", "end\n", "all is well\n"])
    {
        assert_eq!(hand_in(&world, &pass(&id, "look"), output).await.status, 201);
        seqs.push(finished(&world, &id, output, stdout).await);
    }
    let note = json!({ "note": "4711-4711" });
    world.post("operator", &format!("incidents/{id}/notes"), note).await.ok(200);
    let seq = world.get("viewer", &format!("incidents/{id}")).await.ok(200)["seq"].clone();
    print(&world, &pass(&id, "look"), 0, "4711-4711\n").await;
    let body = json!({ "seq": seq, "field": "note", "reason": "a customer's card" });
    world.post("admin", &format!("incidents/{id}/redact"), body).await.ok(200);
    assert_eq!(texts(&world.get("viewer", &format!("incidents/{id}/output")).await.ok(200)), [] as [&str; 0]);
    let statuses: Vec<u16> = {
        let mut statuses = Vec::new();
        for seq in &seqs {
            statuses.push(world.get("viewer", &format!("incidents/{id}/output/{seq}")).await.status);
        }
        statuses
    };
    assert_eq!(statuses, [404, 404, 200]);
    let files = std::fs::read_dir(world.outputs().join("default").join(&id)).unwrap().count();
    assert_eq!(files, 1);
    // The hash went with the end of the output that held the text.
    let events = world.get("viewer", &format!("incidents/{id}/events")).await.ok(200);
    let hash = |seq: u64| {
        let events = events["events"].as_array().unwrap();
        events.iter().find(|one| one["seq"] == seq).unwrap()["payload"]["outputSha256"].clone()
    };
    assert!(hash(seqs[0]).is_null() && hash(seqs[2]).is_string(), "{events}");
    assert_eq!(world.get("viewer", "log/verify").await.ok(200)["verified"], true);
}

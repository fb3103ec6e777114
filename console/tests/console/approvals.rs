//! Deciding through the API.

use serde_json::{Value, json};

use crate::world::{DIGEST, World, encoded};

#[tokio::test]
async fn gates_are_listed_and_shown_with_what_they_cover() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let gate_id = world.gated(&id).await;
    let listed = world.get("approver", "approvals").await.ok(200);
    assert_eq!(listed["approvals"][0]["gateId"], gate_id.as_str());
    let shown = world.get("viewer", &format!("approvals/{}", encoded(&gate_id))).await.ok(200);
    for (name, expected) in [
        ("incidentId", json!(id)),
        ("workflowId", json!(format!("incident.remediate-{id}"))),
        ("digest", json!(DIGEST)),
        ("action", json!("Run rollback.md")),
        ("requestReason", json!("remediation")),
        ("requiredRoles", json!(["incident-commander", "sre-oncall", "incident-approver"])),
        ("level", json!(1)),
        ("requester", json!("operator")),
        ("status", json!("pending")),
        ("covers", json!({ "path": "rollback.md" })),
    ] {
        assert_eq!(shown[name], expected, "{name}");
    }
    let incident = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    assert_eq!(incident["gate"]["gateId"], gate_id.as_str());
    assert_eq!(incident["blueprints"]["remediate"]["status"], "RUNNING");
    for unknown in [
        "nonsense",
        "incident.remediate-INC-2020-0001%231%2Fapprove",
        "incident.remediate-acme:INC-2026-0001%231%2Fx",
    ] {
        world.get("viewer", &format!("approvals/{unknown}")).await.problem(404);
        let body = json!({ "decision": "approved", "digest": DIGEST });
        world.post("oncall", &format!("approvals/{unknown}"), body).await.problem(404);
    }
}

#[tokio::test]
async fn decision_is_answered_with_its_verdict_and_wakes_the_run() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let gate_id = world.gated(&id).await;
    world.outbox().await;
    let path = format!("approvals/{}", encoded(&gate_id));
    let body = json!({ "decision": "approved", "digest": DIGEST, "reason": "go", "source": "cli" });
    let answer = world.post_with_key("commander", &path, "d1", body.clone()).await.ok(200);
    assert_eq!((&answer["accepted"], &answer["status"]), (&json!(true), &json!("approved")), "{answer}");
    assert_eq!(answer["gateId"], gate_id.as_str());
    let [decided] = world.decisions(&id).await.try_into().unwrap();
    for (name, expected) in [
        ("approver", json!("commander")),
        ("source", json!("cli")),
        ("attested", json!(true)),
        ("decisionId", answer["decisionId"].clone()),
    ] {
        assert_eq!(decided[name], expected, "{name}: {decided}");
    }
    let outbox = world.outbox().await;
    let [woken] = outbox.as_slice() else { panic!("one wake-up, not {outbox:?}") };
    assert_eq!(woken.item.kind.name(), "wake");
    assert_eq!(woken.item.payload["workflowId"], format!("incident.remediate-{id}"));

    // Repeated: the first verdict. Another decision under the key: a conflict. Another key: too late.
    assert_eq!(world.post_with_key("commander", &path, "d1", body.clone()).await.ok(200), answer);
    let rejected = json!({ "decision": "rejected", "digest": DIGEST, "reason": "no" });
    world.post_with_key("commander", &path, "d1", rejected.clone()).await.problem(409);
    let late = world.post("oncall", &path, rejected).await;
    assert_eq!(late.problem(409), "duplicate: decided already by commander (approved)");
    assert_eq!(late.json()["accepted"], false);
    // It is on record all the same, and changes nothing.
    let [_, refused] = world.decisions(&id).await.try_into().unwrap();
    assert_eq!((&refused["refusedBecause"], &refused["attested"]), (&json!("duplicate"), &json!(true)));
    assert!(world.outbox().await.is_empty());
}

#[tokio::test]
async fn decision_counts_while_temporal_is_away_and_the_answer_says_so() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let gate_id = world.gated(&id).await;
    world.temporal_is(false);
    let body = json!({ "decision": "approved", "digest": DIGEST });
    let answer = world.post("oncall", &format!("approvals/{}", encoded(&gate_id)), body).await.ok(200);
    assert_eq!((&answer["accepted"], &answer["status"]), (&json!(true), &json!("approved")));
    let warning = answer["warning"].as_str().unwrap();
    assert!(warning.contains("carried out when 127.0.0.1:7233 answers"), "{warning}");
}

#[tokio::test]
async fn flood_of_refused_decisions_is_recorded_twenty_times() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let gate_id = world.gated(&id).await;
    let path = format!("approvals/{}", encoded(&gate_id));
    for _ in 0..25 {
        let body = json!({ "decision": "approved", "digest": DIGEST });
        world.post("viewer", &path, body).await.problem(403);
    }
    assert_eq!(world.decisions(&id).await.len(), 20);
    let body = json!({ "decision": "approved", "digest": DIGEST });
    world.post("oncall", &path, body).await.ok(200);
    assert_eq!(world.decisions(&id).await.len(), 21);
}

#[tokio::test]
async fn refusals_are_judged_on_record_and_told_apart() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let gate_id = world.gated(&id).await;
    let path = format!("approvals/{}", encoded(&gate_id));
    let other = format!("approvals/{}", encoded(&gate_id.replace("#1/", "#2/")));
    let refused = [
        ("viewer", &path, json!({ "decision": "approved", "digest": DIGEST }), 403, "missing-role"),
        ("operator", &path, json!({ "decision": "approved", "digest": DIGEST }), 403, "four-eyes"),
        ("oncall", &path, json!({ "decision": "approved", "digest": "00" }), 409, "stale"),
        ("oncall", &path, json!({ "decision": "approved" }), 422, "malformed"),
        ("oncall", &other, json!({ "decision": "approved", "digest": DIGEST }), 409, "stale"),
    ];
    let count = refused.len();
    for (who, path, body, status, because) in refused {
        let reply = world.post(who, path, body).await;
        reply.problem(status);
        let problem = reply.json();
        assert_eq!(problem["accepted"], false);
        assert!(problem["refusedBecause"].as_str().unwrap().starts_with(because), "{problem}");
        assert!(problem["decisionId"].is_string(), "{problem}");
    }
    let events = world.get("viewer", &format!("incidents/{id}/events")).await.ok(200);
    let on_record = events["events"].as_array().unwrap().iter();
    assert_eq!(on_record.filter(|event| event["kind"] == "APPROVAL_REFUSED").count(), count);
    for body in [
        json!({}),
        json!({ "decision": "maybe" }),
        json!({ "decision": "approved", "force": true }),
        json!({ "decision": "rejected", "digest": DIGEST }),
        json!({ "decision": "rejected", "digest": DIGEST, "reason": " " }),
    ] {
        world.post("oncall", &path, body).await.problem(422);
    }
}

#[tokio::test]
async fn gate_is_passed_on_by_who_may_respond_until_its_last_level() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let gate_id = world.gated(&id).await;
    let path = format!("approvals/{}", encoded(&gate_id));
    let body = json!({ "escalate": true, "reason": "nobody answers" });
    world.post("viewer", &path, body.clone()).await.problem(403);
    for wrong in [
        json!({ "escalate": true, "decision": "approved" }),
        json!({ "escalate": true, "justification": "because it is so" }),
        json!({ "escalate": false }),
    ] {
        world.post("oncall", &path, wrong).await.problem(422);
    }
    world.outbox().await;
    let first = world.post_with_key("oncall", &path, "e1", body.clone()).await.ok(200);
    assert_eq!((&first["level"], &first["escalated"]), (&json!(2), &json!(true)));
    assert_eq!(first["requiredRoles"], json!(["incident-manager", "incident-approver"]));
    assert_eq!(world.post_with_key("oncall", &path, "e1", body.clone()).await.ok(200)["level"], 2);
    let outbox = world.outbox().await;
    assert_eq!(outbox.len(), 1, "its workflow is woken once: {outbox:?}");
    assert_eq!(world.post("oncall", &path, body.clone()).await.ok(200)["level"], 3);
    let refused = world.post("oncall", &path, body).await;
    assert!(refused.problem(409).starts_with("level 3 is the last"));
    world.post("oncall", "approvals/nonsense", json!({ "escalate": true })).await.problem(404);
}

#[tokio::test]
async fn glass_is_broken_with_a_justification_that_stands_on_record() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let gate_id = world.gated(&id).await;
    let path = format!("approvals/{}", encoded(&gate_id));
    let why = "both approvers are on the same plane";
    let body = |glass: Value, why: Value| json!({ "decision": "approved", "digest": DIGEST, "breakGlass": glass, "justification": why });
    for wrong in [body(json!(true), Value::Null), body(json!(false), json!(why))] {
        world.post("operator", &path, wrong).await.problem(422);
    }
    let answer = world.post("commander", &path, body(json!(true), json!(why))).await.ok(200);
    assert_eq!(answer["accepted"], true);
    let [decided] = world.decisions(&id).await.try_into().unwrap();
    assert_eq!((&decided["breakGlass"], &decided["justification"]), (&json!(true), &json!(why)));
}

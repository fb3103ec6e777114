//! Deciding through the API.

use std::sync::Arc;

use harmony_incidents::attestation::{AttestationKeys, DecisionClaim};
use serde_json::{Value, json};

use crate::world::{DIGEST, World, encoded};

/// The attestation holds for exactly this decision.
pub(crate) fn assert_attested(keys: &AttestationKeys, payload: &Value) {
    let decision = &payload["decision"];
    let text = |name: &str| decision[name].as_str().unwrap_or_default();
    let claim = DecisionClaim {
        org: "default",
        workflow_id: payload["workflowId"].as_str().unwrap(),
        gate_id: text("gateId"),
        digest: text("digest"),
        decision: text("decision"),
        approver_id: text("approverId"),
        decision_id: text("decisionId"),
        timestamp: text("timestamp"),
        reason: text("reason"),
        source: text("source"),
        break_glass: decision["breakGlass"] == true,
        justification: text("justification"),
    };
    assert!(keys.decision_holds(&claim, text("attestation")), "{payload}");
}

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
        ("requiredRoles", json!(["incident-commander", "sre-oncall"])),
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
async fn decision_is_attested_written_first_and_answered_with_its_verdict() {
    let world = Arc::new(World::new().await);
    let id = world.opened("P1").await;
    let gate_id = world.gated(&id).await;
    world.outbox().await;
    let path = format!("approvals/{}", encoded(&gate_id));
    let body = json!({ "decision": "approved", "digest": DIGEST, "reason": "go", "source": "cli" });
    let judge = {
        let world = world.clone();
        tokio::spawn(async move { world.judge_next().await })
    };
    let answer = world.post_with_key("commander", &path, "d1", body.clone()).await.ok(200);
    let pending = judge.await.unwrap();
    assert_eq!(
        answer,
        json!({ "accepted": true, "status": "approved", "gateId": gate_id, "decisionId": pending.item.name })
    );
    let decision = &pending.item.payload["decision"];
    assert_eq!(decision["decisionId"], pending.item.name.as_str());
    assert_eq!((&decision["approverId"], &decision["source"]), (&json!("commander"), &json!("cli")));
    assert_attested(&world.keys, &pending.item.payload);

    // Repeated: the first verdict. Another decision under the key: a conflict. Another key: too late.
    assert_eq!(world.post_with_key("commander", &path, "d1", body.clone()).await.ok(200), answer);
    let rejected = json!({ "decision": "rejected", "digest": DIGEST });
    world.post_with_key("commander", &path, "d1", rejected.clone()).await.problem(409);
    let late = world.post("oncall", &path, rejected).await;
    assert_eq!(late.problem(409), "duplicate: decided already by commander (approved)");
    assert_eq!(late.json()["accepted"], false);
    // It cannot count any more, and goes on its way to the record all the same.
    let outbox = world.outbox().await;
    let [refused] = outbox.as_slice() else { panic!("one decision, not {outbox:?}") };
    assert_eq!(refused.item.payload["decision"]["approverId"], "oncall");
    assert_attested(&world.keys, &refused.item.payload);
}

#[tokio::test]
async fn refusals_are_judged_on_record_and_told_apart() {
    let world = Arc::new(World::new().await);
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
        let judge = {
            let world = world.clone();
            tokio::spawn(async move { world.judge_next().await })
        };
        let reply = world.post(who, path, body).await;
        judge.await.unwrap();
        reply.problem(status);
        let problem = reply.json();
        assert_eq!(problem["accepted"], false);
        assert!(problem["refusedBecause"].as_str().unwrap().starts_with(because), "{problem}");
        assert!(problem["decisionId"].is_string(), "{problem}");
    }
    let events = world.get("viewer", &format!("incidents/{id}/events")).await.ok(200);
    let on_record = events["events"].as_array().unwrap().iter();
    assert_eq!(on_record.filter(|event| event["kind"] == "APPROVAL_REFUSED").count(), count);
    for body in [json!({}), json!({ "decision": "maybe" }), json!({ "decision": "approved", "force": true })]
    {
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
    assert_eq!(first["requiredRoles"], json!(["incident-manager"]));
    assert_eq!(world.post_with_key("oncall", &path, "e1", body.clone()).await.ok(200)["level"], 2);
    let outbox = world.outbox().await;
    assert_eq!(outbox.len(), 1, "its workflow is woken once: {outbox:?}");
    assert_eq!(world.post("oncall", &path, body.clone()).await.ok(200)["level"], 3);
    let refused = world.post("oncall", &path, body).await;
    assert!(refused.problem(409).starts_with("level 3 is the last"));
    world.post("oncall", "approvals/nonsense", json!({ "escalate": true })).await.problem(404);
}

#[tokio::test]
async fn glass_is_broken_with_a_justification_that_the_attestation_covers() {
    let world = Arc::new(World::new().await);
    let id = world.opened("P1").await;
    let gate_id = world.gated(&id).await;
    let path = format!("approvals/{}", encoded(&gate_id));
    let why = "both approvers are on the same plane";
    let body = |glass: Value, why: Value| json!({ "decision": "approved", "digest": DIGEST, "breakGlass": glass, "justification": why });
    for wrong in [body(json!(true), Value::Null), body(json!(false), json!(why))] {
        world.post("operator", &path, wrong).await.problem(422);
    }
    world.outbox().await;
    let judge = {
        let world = world.clone();
        tokio::spawn(async move { world.judge_next().await })
    };
    let answer = world.post("commander", &path, body(json!(true), json!(why))).await.ok(200);
    assert_eq!(answer["accepted"], true);
    let pending = judge.await.unwrap();
    assert_attested(&world.keys, &pending.item.payload);
    let decision = &pending.item.payload["decision"];
    assert_eq!((&decision["breakGlass"], &decision["justification"]), (&json!(true), &json!(why)));
}

/// Takes the whole 12 s that a door waits.
#[tokio::test]
async fn decision_that_nobody_judges_is_recorded_all_the_same() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let gate_id = world.gated(&id).await;
    world.outbox().await;
    let body = json!({ "decision": "approved", "digest": DIGEST });
    let answer = world.post("oncall", &format!("approvals/{}", encoded(&gate_id)), body).await.ok(202);
    assert_eq!((&answer["recorded"], &answer["judged"]), (&json!(true), &json!(false)));
    let outbox = world.outbox().await;
    assert_eq!(answer["decisionId"], outbox[0].item.name.as_str());
    assert_attested(&world.keys, &outbox[0].item.payload);
}

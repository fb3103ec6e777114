//! The public Temporal command line alone drives it, within the policy, and is marked as by hand.

use serde_json::json;

use crate::world::{POLICY, World};

#[tokio::test]
async fn temporal_command_line_starts_asks_and_decides() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Driven by hand", "P2").await;
    let workflow = format!("incident.remediate-{id}");
    let input = json!({
        "context": { "incident_id": id, "initiator_id": "operator" },
        "remediation": { "kind": "runbook", "path": "runbooks/rollback-deployment.md", "cells": ["show-history"], "env": { "SAMPLE_STATE": world.dir.path().join("sample") } },
    })
    .to_string();
    let started = world.temporal(&[
        "workflow",
        "start",
        "--type",
        "incident.remediate",
        "--task-queue",
        "harmony-incidents",
        "-w",
        &workflow,
        "--input",
        &input,
    ]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    world.gate(&id).await;

    // None of these is a decision; none of them wedges the workflow.
    for oops in [
        "\"oops\"",
        "7",
        "{\"decision\":\"approved\"}",
        "[\"approved\",\"admin\"]",
        "{\"decision\":\"maybe\",\"approverId\":\"admin\"}",
    ] {
        signal(&world, &workflow, oops);
    }
    signal(&world, &workflow, "{\"decision\":\"approved\",\"approverId\":\"nobody\"}");
    signal(&world, &workflow, "{\"decision\":\"approved\",\"approverId\":\"admin\"}");
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");

    let records = world.records(&id).await;
    let started = records
        .iter()
        .find(|record| record["kind"] == "BLUEPRINT_STARTED" && record["payload"]["blueprint"] == "remediate")
        .unwrap();
    assert!(started["payload"]["attested"].as_bool() != Some(true), "{started}");
    let decided = records.iter().find(|record| record["kind"] == "APPROVAL_DECIDED").unwrap();
    assert!(decided["payload"]["attested"].as_bool() != Some(true), "{decided}");
    let because: Vec<&str> =
        records.iter().filter_map(|record| record["payload"]["refusedBecause"].as_str()).collect();
    assert_eq!(
        because,
        ["malformed", "malformed", "malformed", "malformed", "malformed", "unknown-approver"]
    );

    // Queries answer after the end, too.
    let state =
        world.temporal(&["workflow", "query", "-w", &workflow, "--type", "approvalState", "-o", "json"]);
    let state = String::from_utf8_lossy(&state.stdout).into_owned();
    assert!(state.contains("approved") && state.contains("admin"), "{state}");
    let state = world.approval_state(&id).await;
    let mut told: Vec<&str> = state.as_object().unwrap().keys().map(String::as_str).collect();
    told.sort_unstable();
    let promised = [
        "action",
        "approvals",
        "deadline",
        "decision",
        "digest",
        "gateId",
        "history",
        "level",
        "quorum",
        "requestReason",
        "requestedAt",
        "requester",
        "requiredRoles",
        "slackChannel",
        "slackMessageTs",
        "status",
        "timeout",
        "workflowId",
    ];
    assert_eq!(told, promised, "nothing of how a gate is kept: {state}");
    world.verified().await;
}

#[tokio::test]
async fn bad_starts_end_at_once_and_name_the_field() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Started badly", "P2").await;
    let workflow = format!("incident.remediate-{id}");
    let runbook = json!({ "kind": "runbook", "path": "runbooks/rollback-deployment.md" });
    for (input, expected) in [
        (json!("oops"), "expected one JSON object"),
        (json!({ "context": { "initiator_id": "operator" } }), "remediation"),
        (
            json!({ "context": { "initiator_id": "operator" }, "remediation": { "kind": "runbook", "path": 7 } }),
            "input.remediation.path",
        ),
        (
            json!({ "context": { "initiator_id": "mallory" }, "remediation": runbook }),
            "input.context.initiator_id",
        ),
        (
            json!({ "context": { "initiator_id": "operator", "incident_id": "INC-2020-0001" }, "remediation": runbook }),
            "input.context.incident_id",
        ),
    ] {
        let started = world.temporal(&[
            "workflow",
            "execute",
            "--type",
            "incident.remediate",
            "--task-queue",
            "harmony-incidents",
            "-w",
            &workflow,
            "--input",
            &input.to_string(),
        ]);
        let said =
            String::from_utf8_lossy(&started.stdout).into_owned() + &String::from_utf8_lossy(&started.stderr);
        assert!(!started.status.success() && said.contains(expected), "{expected}: {said}");
    }
    assert!(!world.kinds(&id).await.contains(&"APPROVAL_REQUESTED".to_owned()));
    world.verified().await;
}

#[tokio::test]
async fn policy_that_refuses_what_is_sent_by_hand_holds() {
    // The default, for where it counts.
    let world = World::start("step_patience = \"20s\"\n").await;
    let (id, _) = world.initiated("By hand, refused", "P2").await;
    let workflow = format!("incident.remediate-{id}");
    let input = json!({
        "context": { "incident_id": id, "initiator_id": "admin" },
        "remediation": { "kind": "runbook", "path": "runbooks/rollback-deployment.md" },
    })
    .to_string();
    let queue = "harmony-incidents";
    let start = ["workflow", "execute", "--type", "incident.remediate", "--task-queue", queue];
    let started = world.temporal(&[&start[..], &["-w", &workflow, "--input", &input]].concat());
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result, json!(null), "it never began");
    let refused = world.incident(&id).await["blueprints"]["remediate"].clone();
    assert_eq!(refused["status"], "REFUSED", "{refused}");
    assert!(refused["reason"].as_str().unwrap().contains("straight at Temporal"), "{refused}");
    assert!(!world.kinds(&id).await.contains(&"APPROVAL_REQUESTED".to_owned()));
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    signal(&world, &workflow, "{\"decision\":\"approved\",\"approverId\":\"admin\"}");
    world
        .until("the refusal", async || {
            world.kinds(&id).await.contains(&"APPROVAL_REFUSED".to_owned()).then_some(())
        })
        .await;
    assert_eq!(world.gate(&id).await["gateId"], gate["gateId"]);
    world.verified().await;
}

fn signal(world: &World, workflow: &str, input: &str) {
    let sent =
        world.temporal(&["workflow", "signal", "-w", workflow, "--name", "approval", "--input", input]);
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
}

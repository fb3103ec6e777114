//! Two people decide in the same instant: one decision counts, the other decider is told so.

use serde_json::json;

use crate::world::{POLICY, World};

/// Rounds of one run; the full run has a hundred.
fn rounds() -> usize {
    if std::env::var("HARMONY_TEST_SCALE").is_ok_and(|scale| scale == "full") { 100 } else { 6 }
}

#[tokio::test]
async fn of_two_decisions_in_the_same_instant_exactly_one_counts() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Two at once", "P2").await;
    for round in 1..=rounds() {
        let body = json!({
            "runbook": "runbooks/rollback-deployment.md",
            "cells": ["show-history"],
            "env": { "SAMPLE_STATE": world.dir.path().join("sample") },
        });
        world.post(&format!("incidents/{id}/remediate"), body).await;
        let gate = world
            .until("this round's gate", async || {
                let gate = world.incident(&id).await["gate"].clone();
                let ours = format!("#{round}/");
                gate["gateId"].as_str().is_some_and(|gate| gate.contains(&ours)).then_some(gate)
            })
            .await;
        world.asked(&gate).await;
        // One says yes, the other no, side by side.
        tokio::join!(world.click(&gate, "approve", "commander"), world.click(&gate, "reject", "oncall"));
        let outcome = world
            .until("this round to end", async || {
                let found = world.incident(&id).await["blueprints"]["remediate"].clone();
                (found["attempt"] == round && found["status"] != "RUNNING").then_some(found)
            })
            .await;
        let records = world
            .until("the verdict on both", async || {
                let records = world.records(&id).await;
                let about = |kind: &str| {
                    records
                        .iter()
                        .filter(|one| one["kind"] == kind && one["payload"]["gateId"] == gate["gateId"])
                        .cloned()
                        .collect::<Vec<_>>()
                };
                let (decided, refused) = (about("APPROVAL_DECIDED"), about("APPROVAL_REFUSED"));
                (decided.len() + refused.len() >= 2).then_some((decided, refused))
            })
            .await;
        let (decided, refused) = records;
        assert_eq!((decided.len(), refused.len()), (1, 1), "{decided:?} {refused:?}");
        assert_eq!(refused[0]["payload"]["refusedBecause"], "duplicate", "{refused:?}");
        let approved = decided[0]["payload"]["approved"] == true;
        assert_eq!(outcome["status"] == "COMPLETED", approved, "{outcome}");
        assert_eq!(decided[0]["actor"], decided[0]["payload"]["approver"]);
    }
    world.verified().await;
}

//! Rejecting in Slack: the form, its way back, and what is said where it does not count.

use serde_json::{Value, json};

use crate::{
    approvals::assert_attested,
    workspace::{By, Workspace},
    world::DIGEST,
};

struct Waiting {
    workspace: Workspace,
    gate_id: String,
    ts: String,
}

/// A remediation that waits, asked for in a channel.
async fn waiting(by: By) -> Waiting {
    let workspace = Workspace::new(by).await;
    let id = workspace.world.opened("P1").await;
    let gate_id = workspace.world.gated(&id).await;
    workspace.world.outbox().await;
    let channel = workspace.channel("inc-2026-0001").await;
    let workflow_id = gate_id.split_once('#').unwrap().0;
    let value = json!({ "org": "default", "workflowId": workflow_id, "gateId": gate_id, "digest": DIGEST });
    let ts = workspace.message(&channel, &["approve", "reject"], &value).await;
    Waiting { workspace, gate_id, ts }
}

impl Waiting {
    async fn rejects(&self, user: &str) {
        let click = json!({ "messageTs": self.ts, "actionId": "reject", "userId": user, "leaveForm": true });
        self.workspace.did("click", click).await;
    }

    /// The form that is open for this person, once it is.
    async fn form(&self, user: &str) -> Value {
        for _ in 0..1_000 {
            let state = self.workspace.state().await;
            let views = state["views"].as_array().unwrap();
            if let Some(view) = views.iter().find(|view| view["user"] == user && view["open"] == true) {
                return view.clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("no form is open for {user}");
    }

    async fn submits(&self, user: &str, reason: &str) -> Value {
        let world = self.workspace.world.clone();
        let judging = tokio::spawn(async move { world.judge_next().await });
        let sent = json!({ "userId": user, "values": { "reason": reason } });
        let outcome = self.workspace.did("submit", sent).await;
        let pending = judging.await.unwrap();
        assert_attested(&self.workspace.world.keys, &pending.item.payload);
        assert_eq!(pending.item.payload["decision"]["reason"], reason);
        outcome
    }
}

#[tokio::test]
async fn rejecting_asks_for_a_reason_which_goes_on_record() {
    for by in [By::Http, By::Socket] {
        let waiting = waiting(by).await;
        waiting.rejects("U0COMMANDER").await;
        let form = waiting.form("U0COMMANDER").await;
        assert!(form["blocks"][0]["text"]["text"].as_str().unwrap().contains("Run rollback.md"), "{form}");
        assert!(waiting.workspace.world.outbox().await.is_empty(), "nothing is decided yet");
        let outcome = waiting.submits("U0COMMANDER", "Not during the sale").await;
        assert_eq!(outcome["body"], "", "the form closes");
        let shown = waiting.workspace.world.get("viewer", "approvals").await.ok(200);
        assert_eq!(shown["approvals"], json!([]));
    }
}

#[tokio::test]
async fn form_says_why_a_rejection_does_not_count() {
    let waiting = waiting(By::Http).await;
    waiting.rejects("U0COMMANDER").await;
    waiting.rejects("U0ONCALL").await;
    waiting.form("U0ONCALL").await;
    waiting.form("U0COMMANDER").await;
    waiting.submits("U0COMMANDER", "Not now").await;
    // The other form was open meanwhile.
    let sent = json!({ "userId": "U0ONCALL", "values": { "reason": "Too late" } });
    let outcome = waiting.workspace.did("submit", sent).await;
    let said: Value = serde_json::from_str(outcome["body"].as_str().unwrap()).unwrap();
    assert_eq!(said["response_action"], "update");
    let text = said["view"]["blocks"][0]["text"]["text"].as_str().unwrap();
    assert_eq!(text, "This did not count: duplicate: decided already by commander (rejected)");
    // Its refusal is on its way to the record.
    let late = waiting.workspace.world.outbox().await;
    assert_eq!(late.len(), 1);
    assert_eq!(late[0].item.payload["decision"]["gateId"], waiting.gate_id);
}

#[tokio::test]
async fn who_may_not_reject_gets_no_form_and_is_told_why() {
    let waiting = waiting(By::Http).await;
    for (user, expected) in [
        ("U0STRANGER", "nobody in the directory has this Slack account"),
        ("U0VIEWER", "missing-role: this level needs"),
    ] {
        let world = waiting.workspace.world.clone();
        let judging = (user == "U0VIEWER").then(|| tokio::spawn(async move { world.judge_next().await }));
        waiting.rejects(user).await;
        if let Some(judging) = judging {
            // It is refused on record.
            assert_eq!(judging.await.unwrap().item.payload["decision"]["approverId"], "viewer");
        }
        let told = waiting.workspace.told(user).await;
        assert!(told.contains(expected), "{told}");
    }
    assert_eq!(waiting.workspace.state().await["views"], json!([]));
}

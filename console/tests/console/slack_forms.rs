//! Rejecting in Slack: the form, its way back, and what is said where it does not count.

use serde_json::{Value, json};

use crate::{
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

    async fn decisions(&self) -> Vec<Value> {
        let (incident, _) = self.gate_id.split_once('#').unwrap();
        self.workspace.world.decisions(incident.strip_prefix("incident.remediate-").unwrap()).await
    }

    async fn submits(&self, user: &str, reason: &str) -> Value {
        let sent = json!({ "userId": user, "values": { "reason": reason } });
        let outcome = self.workspace.did("submit", sent).await;
        let decided = self.decisions().await;
        assert_eq!(decided.last().unwrap()["reason"], reason);
        outcome
    }
}

#[tokio::test]
async fn rejecting_asks_for_a_reason_which_goes_on_record() {
    for by in [By::Http, By::Socket] {
        let waiting = waiting(by).await;
        waiting.rejects("U0COMMANDER").await;
        let form = waiting.workspace.form("U0COMMANDER").await;
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
    waiting.workspace.form("U0ONCALL").await;
    waiting.workspace.form("U0COMMANDER").await;
    waiting.submits("U0COMMANDER", "Not now").await;
    // The other form was open meanwhile.
    let sent = json!({ "userId": "U0ONCALL", "values": { "reason": "Too late" } });
    let outcome = waiting.workspace.did("submit", sent).await;
    let said: Value = serde_json::from_str(outcome["body"].as_str().unwrap()).unwrap();
    assert_eq!(said["response_action"], "update");
    let text = said["view"]["blocks"][0]["text"]["text"].as_str().unwrap();
    assert_eq!(text, "This did not count: duplicate: decided already by commander (rejected)");
    let late = waiting.decisions().await;
    assert_eq!((late.len(), &late[1]["refusedBecause"]), (2, &json!("duplicate")));
    assert_eq!(late[1]["gateId"], waiting.gate_id);
}

#[tokio::test]
async fn who_may_not_reject_gets_no_form_and_is_told_why() {
    let waiting = waiting(By::Http).await;
    for (user, expected) in [
        ("U0STRANGER", "nobody in the directory has this Slack account"),
        ("U0VIEWER", "missing-role: this level needs"),
    ] {
        waiting.rejects(user).await;
        let told = waiting.workspace.told(user).await;
        assert!(told.contains(expected), "{told}");
    }
    let refused = waiting.decisions().await;
    assert_eq!((refused.len(), &refused[0]["approver"]), (1, &json!("viewer")));
    assert_eq!(waiting.workspace.state().await["views"], json!([]));
}

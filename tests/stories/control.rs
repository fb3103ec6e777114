//! People in control of a gate that waits: another severity, another level, broken glass.

use serde_json::{Value, json};

use crate::world::{POLICY, World, refusal};

fn of_kind<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["kind"] == kind).collect()
}

/// The page at PagerDuty whose title contains this.
async fn page(world: &World, title: &str) -> Value {
    let pages = world.state("pagerduty").await;
    let found =
        pages["incidents"].as_array().unwrap().iter().find(|one| one["title"].to_string().contains(title));
    found.unwrap_or_else(|| panic!("no page {title:?} in {pages}")).clone()
}

#[tokio::test]
async fn raising_the_severity_gives_the_open_gate_its_levels_at_once() {
    let levels = "[urgent]\nP2 = [{ roles = [\"sre-oncall\"], within = \"20m\" }]\nP1 = [{ roles = [\"incident-manager\"], within = \"15s\", page = true }]\n";
    let world = World::start(&format!("{POLICY}{levels}")).await;
    let (id, _) = world.initiated("Worse than it looked", "P2").await;
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    assert_eq!(gate["requiredRoles"], json!(["sre-oncall"]));
    world.asked(&gate).await;
    world.post(&format!("incidents/{id}/severity"), json!({ "severity": "P1" })).await;
    assert_eq!(world.gate(&id).await["requiredRoles"], json!(["incident-manager"]));
    // The workflow waits for the new deadline, not for the old one, and silence still approves nothing.
    let result = world.completed(&id, "remediate").await;
    assert_eq!((&result["status"], &result["reason"]), (&json!("REJECTED"), &json!("timeout")), "{result}");
    let records = world.records(&id).await;
    let replanned = of_kind(&records, "APPROVAL_REPLANNED");
    assert_eq!(replanned.len(), 1);
    assert_eq!(replanned[0]["payload"]["severity"], "P1");
    let changed = of_kind(&records, "INCIDENT_SEVERITY_CHANGED")[0];
    assert_eq!(replanned[0]["seq"].as_u64(), changed["seq"].as_u64().map(|seq| seq + 1));
    assert_eq!(page(&world, "approval needed").await["status"], "resolved");
    let messages = world.state("slack").await["messages"].to_string();
    assert!(messages.contains("Severity is P1 now, asked again below"), "{messages}");
    world.verified().await;
}

#[tokio::test]
async fn gate_is_passed_on_by_hand_until_its_last_level() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("The commander is asleep", "P2").await;
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    let escalate = |reason: &str| world.harmony(&["approval", "escalate", &id, "--reason", reason]);
    for (level, role) in [(2, "incident-manager"), (3, "org-admin")] {
        let done = escalate("nobody answers");
        assert!(done.status.success(), "{:?}", refusal(&done));
        let shown = world.gate(&id).await;
        assert_eq!(
            (&shown["level"], &shown["requiredRoles"]),
            (&json!(level), &json!([role, "incident-approver"]))
        );
        assert_eq!(shown["escalated"], true);
    }
    let (code, said) = refusal(&escalate("once more"));
    assert!(code != 0 && said.contains("level 3 is the last"), "{code}: {said}");

    let workflow = format!("incident.remediate-{id}");
    world
        .until("the workflow at level 3", async || {
            let asked = ["workflow", "query", "-w", &workflow, "--type", "approvalState", "-o", "json"];
            let state = String::from_utf8_lossy(&world.temporal(&asked).stdout).into_owned();
            (state.contains("escalated") && state.contains("passed on by operator")).then_some(())
        })
        .await;
    world.click(&gate, "approve", "commander").await;
    world.click(&gate, "approve", "admin").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let records = world.records(&id).await;
    let escalated = of_kind(&records, "APPROVAL_ESCALATED");
    assert_eq!(escalated.len(), 2);
    for record in escalated {
        assert_eq!(
            (&record["payload"]["by"], &record["payload"]["reason"]),
            (&json!("operator"), &json!("nobody answers"))
        );
    }
    assert!(of_kind(&records, "APPROVAL_TIMED_OUT").is_empty());
    assert_eq!(of_kind(&records, "APPROVAL_DECIDED")[0]["payload"]["approver"], "admin");
    world.verified().await;
}

#[tokio::test]
async fn requester_breaks_the_glass_and_everybody_hears_of_it() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Nobody else is there", "P2").await;
    world.remediate(&id).await;
    world.gate(&id).await;
    let (code, said) = refusal(&world.harmony(&["approval", "approve", &id, "--yes"]));
    assert!(code == 3 && said.contains("who asked for it"), "{code}: {said}");
    let glass = |why: &str| {
        world.harmony(&["approval", "approve", &id, "--yes", "--break-glass", "--justification", why])
    };
    let (code, said) = refusal(&glass("too short"));
    assert!(code == 3 && said.contains("20 characters"), "{code}: {said}");
    let why = "both approvers are on the same plane";
    let done = glass(why);
    assert!(done.status.success(), "{:?}", refusal(&done));
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let records = world.records(&id).await;
    let decided = &of_kind(&records, "APPROVAL_DECIDED")[0]["payload"];
    assert_eq!(decided["approver"], "operator");
    assert_eq!(decided["breakGlass"], true);
    assert_eq!(decided["authority"], "EMERGENCY_OVERRIDE");
    assert_eq!(decided["justification"], why);
    assert_eq!(decided["attested"], true);
    page(&world, "EMERGENCY_OVERRIDE by Olivia Operator").await;
    let messages = world.state("slack").await["messages"].to_string();
    assert!(
        messages.contains("under EMERGENCY_OVERRIDE (break-glass)") && messages.contains(why),
        "{messages}"
    );
    world.verified().await;
}

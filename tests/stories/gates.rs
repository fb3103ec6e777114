//! What a gate holds against: floods, a changed file, a reset, a history that grows too long; and several who must
//! agree.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use temporalio_client::{UntypedSignal, UntypedWorkflow, WorkflowSignalOptions};
use temporalio_common::{data_converters::RawValue, protos::temporal::api::common::v1::Payload};

use crate::world::{POLICY, World, temporal_cli};

fn of_kind<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["kind"] == kind).collect()
}

/// Signals past our doors, many of them.
async fn signal(world: &World, id: &str, texts: impl IntoIterator<Item = String>) {
    let client = world.client().await;
    let handle = client.get_workflow_handle::<UntypedWorkflow>(format!("incident.remediate-{id}"));
    for text in texts {
        let mut payload = Payload { data: text.into_bytes(), ..Payload::default() };
        payload.metadata.insert("encoding".to_owned(), b"json/plain".to_vec());
        let raw = RawValue { payloads: vec![payload] };
        handle.signal(UntypedSignal::new("approval"), raw, WorkflowSignalOptions::default()).await.unwrap();
    }
}

#[tokio::test]
async fn two_of_the_role_must_approve_and_the_message_counts_them() {
    let world = World::start(&format!("{POLICY}[quorum]\nremediate = 2\n")).await;
    let (id, _) = world.initiated("It takes two", "P2").await;
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    assert_eq!((&gate["quorum"], &gate["approvals"]), (&json!(2), &Value::Null));
    world.click(&gate, "approve", "operator").await;
    world.click(&gate, "approve", "commander").await;
    let shown = world
        .until("the first approval", async || {
            let gate = world.gate(&id).await;
            (gate["approvals"] == json!(["commander"])).then_some(gate)
        })
        .await;
    assert_eq!(shown["status"], "pending");
    world
        .until("the message to count it", async || {
            let messages = world.state("slack").await["messages"].to_string();
            messages.contains("Approved: 1 of 2 Chris Commander").then_some(())
        })
        .await;
    let state = world.approval_state(&id).await;
    assert_eq!((&state["status"], &state["quorum"]), (&json!("pending"), &json!(2)), "{state}");
    assert_eq!(state["approvals"], json!(["commander"]), "{state}");
    assert!(!world.kinds(&id).await.contains(&"RUNBOOK_CELL_STARTED".to_owned()));
    // Who has approved counts once.
    world.click(&gate, "approve", "commander").await;
    world.click(&gate, "approve", "oncall").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let records = world.records(&id).await;
    let decided: Vec<&Value> =
        of_kind(&records, "APPROVAL_DECIDED").iter().map(|one| &one["payload"]["approver"]).collect();
    assert_eq!(decided, [&json!("commander"), &json!("oncall")]);
    let mut refused: Vec<&str> =
        records.iter().filter_map(|one| one["payload"]["refusedBecause"].as_str()).collect();
    refused.sort_unstable();
    assert_eq!(refused, ["duplicate", "four-eyes"]);
    let messages = world.state("slack").await["messages"].to_string();
    assert!(messages.contains("Approved by Chris Commander, Oskar Oncall"), "{messages}");
    world.verified().await;
}

#[tokio::test]
async fn flood_of_refused_decisions_is_one_record_and_the_gate_goes_on() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Somebody hammers at it", "P2").await;
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    let long = format!("\"{}\"", "x".repeat(1024 * 1024));
    signal(&world, &id, [long, "7".to_owned(), "{\"decision\":\"approved\"}".to_owned()]).await;
    let flood = (0..60).map(|number| {
        json!({ "decision": "approved", "approverId": format!("nobody-{number}") }).to_string()
    });
    signal(&world, &id, flood).await;
    signal(&world, &id, ["{\"decision\":\"approved\",\"approverId\":\"commander\"}".to_owned()]).await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let records = world.records(&id).await;
    let refused = of_kind(&records, "APPROVAL_REFUSED");
    let (counts, singly): (Vec<&Value>, Vec<&Value>) =
        refused.iter().partition(|one| one["payload"]["refusedBecause"] == "flood");
    let counted: u64 = counts.iter().map(|one| one["payload"]["count"].as_u64().unwrap()).sum();
    assert_eq!(singly.len() as u64 + counted, 63, "{refused:?}");
    // On a slow machine it may take more than a minute, and each minute has its own.
    assert!(
        !counts.is_empty() && singly.len() <= 20 * (counts.len() + 1),
        "{} and {}",
        singly.len(),
        counts.len()
    );
    let malformed = singly.iter().filter(|one| one["payload"]["refusedBecause"] == "malformed").count();
    assert_eq!(malformed, 3);
    assert_eq!(of_kind(&records, "APPROVAL_DECIDED").len(), 1);
    assert!(records.iter().all(|one| one.to_string().len() < 64 * 1024), "nothing of the megabyte is kept");
    assert_eq!(gate["status"], "pending");
    world.verified().await;
}

/// A runbook of one cell that leaves this line.
fn runbook(world: &World, line: &str) -> std::path::PathBuf {
    let trace = world.dir.path().join("ran");
    let text = format!("# One\n\n```bash {{ name=one }}\necho {line} >> {}\n```\n", trace.display());
    std::fs::write(world.dir.path().join("runbooks/one.md"), text).unwrap();
    trace
}

#[tokio::test]
async fn what_was_shown_is_what_runs_also_after_the_file_changed_and_the_workflow_was_reset() {
    let world = World::start(POLICY).await;
    let trace = runbook(&world, "shown");
    let (id, _) = world.initiated("The file changes", "P2").await;
    world.post(&format!("incidents/{id}/remediate"), json!({ "runbook": "runbooks/one.md" })).await;
    let gate = world.gate(&id).await;
    let message = world.asked(&gate).await;
    world
        .until("the step that asked", async || {
            let steps = world.records(&id).await;
            steps.iter().any(|one| one["payload"]["step"] == "approve/ask").then_some(())
        })
        .await;
    runbook(&world, "changed");
    let before = world.state("slack").await["messages"].as_array().unwrap().len();
    let workflow = format!("incident.remediate-{id}");
    let reset = ["workflow", "reset", "-w", &workflow, "--type", "FirstWorkflowTask", "--reason", "a test"];
    let reset = world.temporal(&reset);
    assert!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    // The run after it stands at the same gate: nothing is approved by that, and nothing is said again.
    let state = world
        .until("the run after the reset at its gate", async || {
            let state = world.approval_state(&id).await;
            (state["status"] == "pending" && state["slackMessageTs"] == json!(message)).then_some(state)
        })
        .await;
    for field in ["gateId", "digest", "level", "deadline", "requestedAt"] {
        assert_eq!(state[field], gate[field], "{field}: {state}");
    }
    assert!(!trace.exists(), "nothing ran");
    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), "shown\n", "what runs is what was digested");
    let kinds = world.kinds(&id).await;
    let count = |kind: &str| kinds.iter().filter(|one| *one == kind).count();
    assert_eq!((count("APPROVAL_REQUESTED"), count("APPROVAL_DECIDED")), (1, 1));
    let after = world.state("slack").await["messages"].as_array().unwrap().len();
    assert_eq!(after, before + 1, "only the outcome is new");
    world.verified().await;
}

#[tokio::test]
async fn long_history_is_left_behind_and_the_gate_stays_as_it_was() {
    // A server that suggests to go on as a new run after some hundred events, not after thousands.
    let folder = tempfile::TempDir::new().unwrap();
    let wrapper = folder.path().join("temporal");
    let limit = "--dynamic-config-value limit.historyCount.suggestContinueAsNew=150";
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = server ]; then exec {0} \"$@\" {limit}; fi\nexec {0} \"$@\"\n",
        temporal_cli().display()
    );
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let cli = [("HARMONY_TEMPORAL_CLI", wrapper.to_str().unwrap())];
    let world = World::start_with(POLICY, &cli).await;
    let (id, _) = world.initiated("It takes days to decide", "P2").await;
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    let message = world.asked(&gate).await;
    let workflow = format!("incident.remediate-{id}");
    let runs = || {
        let query = format!("WorkflowId = '{workflow}' AND ExecutionStatus = 'ContinuedAsNew'");
        let listed = world.temporal(&["workflow", "list", "--query", &query, "-o", "json"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
        listed.as_array().map_or(0, Vec::len)
    };
    // Who may not decide, and says so again and again, makes the history grow.
    let (mut sent, mut looks) = (0_u64, 0_u32);
    world
        .until("the run to go on as a new one", async || {
            // A run goes on as a new one once all that came in is judged: the flood pauses now and then.
            if looks % 40 == 0 {
                let texts = (sent..sent + 60).map(|number| {
                    json!({ "decision": "approved", "approverId": "viewer", "reason": number.to_string() })
                        .to_string()
                });
                signal(&world, &id, texts).await;
                sent += 60;
            }
            looks += 1;
            (runs() > 0).then_some(())
        })
        .await;
    let state = world
        .until("the new run at its gate", async || {
            let state = world.approval_state(&id).await;
            (state["status"] == "pending").then_some(state)
        })
        .await;
    for field in ["gateId", "digest", "level", "deadline", "requestedAt"] {
        assert_eq!(state[field], gate[field], "{field}: {state}");
    }
    assert_eq!(state["slackMessageTs"], json!(message), "it is asked once: {state}");
    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let records = world.records(&id).await;
    assert_eq!(of_kind(&records, "APPROVAL_REQUESTED").len(), 1);
    assert_eq!(of_kind(&records, "APPROVAL_DECIDED").len(), 1);
    // Nothing that was sent is lost: each is on record, by itself or in a count.
    let refused: u64 = of_kind(&records, "APPROVAL_REFUSED")
        .iter()
        .map(|one| one["payload"]["count"].as_u64().filter(|count| *count > 0).unwrap_or(1))
        .sum();
    assert_eq!(refused, sent);
    let asked = world.state("slack").await["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["text"].as_str().unwrap_or_default().contains("Run rollback-deployment.md"))
        .count();
    assert_eq!(asked, 1);
    world.verified().await;
}

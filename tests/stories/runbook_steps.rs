//! Runbooks with inputs, steps that a person does, checkpoints, and dry runs.

use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use temporalio_client::UntypedWorkflow;

use crate::world::{POLICY, World};

/// An input, a manual step, a checkpoint, three cells.
pub(crate) const WALK: &str = "---
inputs:
  - name: SERVICE
    default: checkout
  - name: COUNT
    type: number
    min: 1
---
# Walk

```sh { name=look idempotent=true dryRun=true }
echo \"$SERVICE has $COUNT\"
```

```text { name=call manual=true }
Call the bank, and ask for a window.
```

```sh { name=scale approve=true }
echo \"scaling $SERVICE to $COUNT\"
```

```sh { name=postcheck idempotent=true dryRun=true }
echo \"$SERVICE is well${HARMONY_DRY_RUN:+ (dry)}\"
```
";

async fn world_with_walk() -> (World, String) {
    let world = World::start(POLICY).await;
    std::fs::write(world.dir.path().join("runbooks/walk.md"), WALK).unwrap();
    let (id, _) = world.initiated("Checkout is slow", "P2").await;
    (world, id)
}

fn body(more: &Value) -> Value {
    let mut body = json!({ "runbook": "walk.md", "verify": ["postcheck"], "inputs": { "COUNT": "3" } });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Waits for the gate of this step.
pub(crate) async fn gate_at(world: &World, id: &str, step: &str) -> Value {
    world
        .until(&format!("the gate at {step}"), async || {
            let gate = world.incident(id).await["gate"].clone();
            gate["gateId"].as_str()?.ends_with(step).then_some(gate)
        })
        .await
}

fn outputs(records: &[Value]) -> Vec<(&str, &str, &str)> {
    records
        .iter()
        .filter(|record| record["kind"] == "RUNBOOK_CELL_FINISHED")
        .map(|record| {
            let text = |name: &str| record["payload"][name].as_str().unwrap_or_default();
            (text("cell"), text("ended"), text("stdout"))
        })
        .collect()
}

#[tokio::test]
async fn runbook_is_walked_with_an_input_a_manual_step_and_a_checkpoint() {
    let (world, id) = world_with_walk().await;
    let path = format!("incidents/{id}/remediate");
    let (status, refused) =
        world.api(reqwest::Method::POST, &path, Some(body(&json!({ "inputs": {} })))).await;
    assert_eq!(
        (status, refused["detail"].as_str()),
        (422, Some("input COUNT: is required; give a number of at least 1"))
    );
    world.post(&path, body(&json!({}))).await;
    let gate = gate_at(&world, &id, "/approve").await;
    world.click(&gate, "approve", "commander").await;

    let step = gate_at(&world, &id, "/manual/remediation/call").await;
    let digest = step["digest"].clone();
    let silent = json!({ "decision": "approved", "digest": digest });
    let (status, answer) = world.decide(&step, silent).await;
    assert_eq!(status, 422, "{answer}");
    assert!(answer.to_string().contains("confirmed with a note"), "{answer}");
    let done = json!({ "decision": "approved", "digest": digest, "reason": "They gave us ten minutes" });
    let (status, answer) = world.decide(&step, done).await;
    assert_eq!(status, 200, "whoever asked may do it themselves: {answer}");

    let checkpoint = gate_at(&world, &id, "/checkpoint/remediation/scale").await;
    let own = json!({ "decision": "approved", "digest": checkpoint["digest"] });
    let (status, answer) = world.decide(&checkpoint, own).await;
    assert_eq!(status, 403, "four eyes: {answer}");
    let shown = world
        .get(&format!(
            "approvals/{}",
            checkpoint["gateId"].as_str().unwrap().replace('#', "%23").replace('/', "%2F")
        ))
        .await;
    let covers: Value = match &shown["covers"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        other => other.clone(),
    };
    assert_eq!(covers["cell"], "scale");
    assert_eq!(covers["outputSoFar"][0]["stdout"], "checkout has 3\n", "{covers}");
    assert_eq!(covers["outputSoFar"][1]["ended"], "confirmed");
    assert_eq!(covers["env"]["SERVICE"], "checkout");
    world.click(&checkpoint, "approve", "commander").await;

    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let records = world.records(&id).await;
    assert_eq!(
        outputs(&records),
        [
            ("look", "exited", "checkout has 3\n"),
            ("call", "confirmed", ""),
            ("scale", "exited", "scaling checkout to 3\n"),
            ("postcheck", "exited", "checkout is well\n"),
        ]
    );
    let note = records.iter().find(|record| record["payload"]["reason"] == "They gave us ten minutes");
    assert_eq!(note.unwrap()["kind"], "APPROVAL_DECIDED");
    world.verified().await;
}

#[tokio::test]
async fn checkpoint_that_is_rejected_ends_the_remediation_before_its_cell() {
    let (world, id) = world_with_walk().await;
    world.post(&format!("incidents/{id}/remediate"), body(&json!({ "cells": ["look", "scale"] }))).await;
    let gate = gate_at(&world, &id, "/approve").await;
    world.click(&gate, "approve", "commander").await;
    let checkpoint = gate_at(&world, &id, "/checkpoint/remediation/scale").await;
    world.click(&checkpoint, "reject", "commander").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "FAILED", "{result}");
    let records = world.records(&id).await;
    let started: Vec<&str> = records
        .iter()
        .filter(|record| record["kind"] == "RUNBOOK_CELL_STARTED")
        .filter_map(|record| record["payload"]["cell"].as_str())
        .collect();
    assert_eq!(started, ["look"]);
    assert_eq!(outputs(&records)[1].1, "not-approved");
    assert_eq!(world.incident(&id).await["phase"], "triaging");
    world.verified().await;
}

#[tokio::test]
async fn dry_run_needs_no_gate_and_runs_only_what_changes_nothing() {
    let (world, id) = world_with_walk().await;
    let path = format!("incidents/{id}/remediate");
    let variable = body(&json!({ "dryRun": true, "env": { "LD_PRELOAD": "x" } }));
    let (status, answer) = world.api(reqwest::Method::POST, &path, Some(variable)).await;
    assert_eq!(status, 422, "{answer}");
    let answer = world.post(&path, body(&json!({ "dryRun": true }))).await;
    let runs: Vec<bool> = answer["dryRun"]["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| cell["runs"].as_bool().unwrap())
        .collect();
    assert_eq!(runs, [true, false, false, true], "{answer}");
    let result = world.completed(&id, "remediate").await;
    assert_eq!(
        (result["status"].as_str(), result["dryRun"].as_bool()),
        (Some("COMPLETED"), Some(true)),
        "{result}"
    );
    let records = world.records(&id).await;
    assert_eq!(
        outputs(&records),
        [("look", "exited", "checkout has 3\n"), ("postcheck", "exited", "checkout is well (dry)\n")]
    );
    let planned = records.iter().find(|record| record["kind"] == "RUNBOOK_DRY_RUN_PLANNED").unwrap();
    assert_eq!(planned["payload"]["leftOut"], json!(["call", "scale"]));
    assert!(
        !records
            .iter()
            .any(|record| record["kind"] == "APPROVAL_REQUESTED" && record["payload"]["kind"] == "remediate")
    );
    let incident = world.incident(&id).await;
    assert_eq!((incident["state"].as_str(), incident["phase"].as_str()), (Some("OPEN"), Some("triaging")));
    // It stands in nobody's way.
    world.post(&path, body(&json!({}))).await;
    gate_at(&world, &id, "/approve").await;
    world.verified().await;
}

#[tokio::test]
async fn dry_run_is_proposed_as_it_stands_unless_its_runbook_changed() {
    let (world, id) = world_with_walk().await;
    let (path, propose) = (format!("incidents/{id}/remediate"), format!("incidents/{id}/propose-dry-run"));
    let cells = json!({ "cells": ["look"], "timeout": "5m", "inputs": { "COUNT": "7" } });
    let dry = json!({ "dryRun": true });
    let mut dry_body = body(&dry);
    dry_body.as_object_mut().unwrap().extend(cells.as_object().unwrap().clone());
    let answer = world.post(&path, dry_body).await;
    let attempt = answer["attempt"].as_u64().unwrap();
    assert_eq!(world.completed(&id, "remediate").await["dryRun"], true);

    // Another file is another proposal.
    let file = world.dir.path().join("runbooks/walk.md");
    std::fs::write(&file, WALK.replace("has $COUNT", "had $COUNT")).unwrap();
    let wish = json!({ "attempt": attempt });
    let (status, refused) = world.api(reqwest::Method::POST, &propose, Some(wish.clone())).await;
    assert_eq!(status, 409, "{refused}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.starts_with(&format!("walk.md changed since dry run {attempt}: its SHA-256 was ")),
        "{detail}"
    );
    std::fs::write(&file, WALK).unwrap();
    for (wish, expected) in [(json!({ "attempt": 99 }), 404), (json!({ "attempt": "first" }), 422)] {
        let (status, refused) = world.api(reqwest::Method::POST, &propose, Some(wish)).await;
        assert_eq!(status, expected, "{refused}");
    }

    let proposed = world.harmony(&["incident", "remediate", &id, "--as-dry-run", &attempt.to_string()]);
    assert!(proposed.status.success(), "{}", String::from_utf8_lossy(&proposed.stderr));
    let gate = gate_at(&world, &id, "/approve").await;
    let records = world.records(&id).await;
    let covers = |kind: &str| -> Value {
        let of = |record: &&Value| {
            record["kind"] == kind
                && record["payload"]["covers"].as_str().is_some_and(|it| it.contains("walk.md"))
        };
        let record = records.iter().find(of).unwrap();
        serde_json::from_str(record["payload"]["covers"].as_str().unwrap()).unwrap()
    };
    let (mut planned, asked) = (covers("RUNBOOK_DRY_RUN_PLANNED"), covers("APPROVAL_REQUESTED"));
    // What makes it a dry run, and nothing else, is not proposed.
    planned["env"].as_object_mut().unwrap().remove("HARMONY_DRY_RUN");
    for cell in planned["cells"].as_array_mut().unwrap() {
        cell.as_object_mut().unwrap().remove("dryRun");
    }
    for cell in planned["verification"].as_array_mut().unwrap() {
        cell.as_object_mut().unwrap().remove("dryRun");
    }
    assert_eq!(planned, asked);
    assert_eq!((&asked["env"]["COUNT"], &asked["timeoutMs"]), (&json!("7"), &json!(300_000)));
    let asked = records.iter().rev().find(|record| record["kind"] == "APPROVAL_REQUESTED").unwrap();
    assert_eq!(asked["payload"]["reason"], format!("as dry run {attempt} showed it"));

    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!((&result["status"], result["dryRun"].as_bool()), (&json!("COMPLETED"), None), "{result}");
    let records = world.records(&id).await;
    assert_eq!(outputs(&records).last().unwrap(), &("postcheck", "exited", "checkout is well\n"));
    world.verified().await;
}

const PRINTS: &str = "# Prints

```sh { name=fill }
echo \"first $TOKEN line\"
printf '\\033[31mred\\033[0m\\n' >&2
until [ -e \"$GO\" ]; do sleep 0.1; done
for i in $(seq 1 5000); do echo \"line $i of many\"; done
echo last
```
";

/// What a cell of this incident prints and has printed, as the console tells it.
async fn printed(world: &World, id: &str) -> String {
    let page = world.get(&format!("incidents/{id}/output")).await;
    page["pieces"].as_array().unwrap().iter().filter_map(|piece| piece["text"].as_str()).collect()
}

#[tokio::test]
async fn what_a_cell_prints_is_seen_while_it_runs_and_all_of_it_is_a_file_afterwards() {
    let world = World::start_with(POLICY, &[("HARMONY_RUNBOOK_SECRETS", "{dir}/runbook-secrets")]).await;
    std::fs::write(world.dir.path().join("runbooks/prints.md"), PRINTS).unwrap();
    std::fs::create_dir_all(world.dir.path().join("runbook-secrets")).unwrap();
    std::fs::write(world.dir.path().join("runbook-secrets/TOKEN"), "swordfish-swordfish\n").unwrap();
    let go = world.dir.path().join("go");
    let (id, _) = world.initiated("Checkout is slow", "P2").await;
    let body = json!({ "runbook": "prints.md", "env": { "GO": go }, "secretEnv": ["TOKEN"] });
    world.post(&format!("incidents/{id}/remediate"), body).await;
    let gate = gate_at(&world, &id, "/approve").await;
    world.click(&gate, "approve", "commander").await;

    // The cell ends only when the file is there, and that is made once its first line was seen.
    let seen = world
        .until("the first line of the cell", async || {
            let text = printed(&world, &id).await;
            text.contains("red").then_some(text)
        })
        .await;
    assert!(seen.contains("first *** line\n"), "{seen}");
    assert!(seen.contains("<U+001B>[31mred<U+001B>[0m\n"), "{seen}");
    let kinds = world.kinds(&id).await;
    assert!(!kinds.contains(&"RUNBOOK_CELL_FINISHED".to_owned()), "{kinds:?}");
    std::fs::write(&go, "").unwrap();

    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let records = world.records(&id).await;
    let finished = records.iter().find(|record| record["kind"] == "RUNBOOK_CELL_FINISHED").unwrap();
    let stdout = finished["payload"]["stdout"].as_str().unwrap();
    assert!(stdout.ends_with("line 5000 of many\nlast\n") && !stdout.contains("first"), "{stdout}");

    let output = world.harmony(&["incident", "show", &id, "--output", "fill"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let whole = String::from_utf8(output.stdout).unwrap();
    let many: String = (1..=5000).map(|line| format!("line {line} of many\n")).collect();
    assert!(whole.contains("first *** line\n") && whole.contains("\u{1b}[31mred\u{1b}[0m\n"));
    assert!(whole.ends_with(&format!("{many}last\n")));
    let hash = finished["payload"]["outputSha256"].as_str().unwrap();
    assert_eq!(hash, hex::encode(Sha256::digest(whole.as_bytes())));
    let file = world.dir.path().join("outputs/default").join(&id).join(hash);
    assert_eq!(std::fs::read(file).unwrap(), whole.as_bytes());

    // The workflow saw the tail alone, and nobody saw the secret.
    let client = world.client().await;
    let handle = client.get_workflow_handle::<UntypedWorkflow>(&format!("incident.remediate-{id}"));
    let history = handle.fetch_history(Default::default()).to_json().await.unwrap();
    let payloads = payloads(&serde_json::from_slice(&history).unwrap());
    assert!(payloads.contains("line 5000 of many"), "the tail is there");
    assert!(!payloads.contains("first *** line"), "the history holds what was printed first");
    assert!(!payloads.contains("swordfish"));
    assert!(!printed(&world, &id).await.contains("swordfish"));
    world.verified().await;
}

/// Every payload of a history, decoded.
fn payloads(history: &Value) -> String {
    let mut text = String::new();
    match history {
        Value::String(string) => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(string).unwrap_or_default();
            text.push_str(string);
            text.push_str(&String::from_utf8_lossy(&decoded));
        }
        Value::Array(items) => text.extend(items.iter().map(payloads)),
        Value::Object(fields) => text.extend(fields.values().map(payloads)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    text
}

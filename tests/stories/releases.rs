//! A release goes out by a run of its own: as its environment's policies let it, through the gate of exactly what is
//! planned, once, whoever is killed meanwhile; and back again for the incident that it caused.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::world::{POLICY, World};

/// A service whose releases a runbook deploys.
const LEDGER: &str = r#"
[[environments]]
id = "env-eu"
name = "production"
region = "eu-central-1"
cluster = "eu-1"
policyRefs = [POLICIES]

[[services]]
id = "svc-ledger"
name = "ledger"
repo = "github.com/example/ledger"
adapters = ["runbook"]
[[services.targets]]
environment = "env-eu"
adapter = "runbook"
[services.targets.settings]
runbook = "deploy-ledger.md"
"#;

/// In force for as long as anybody runs these tests.
const FREEZE: &str = r#"
kind = "freeze"
name = "always"
version = 1
mode = "MODE"
zone = "UTC"
[[dates]]
from = 2026-01-01T00:00
to = 2099-01-01T00:00
"#;

/// Prints what a command says, which must succeed.
fn printed(world: &World, arguments: &[&str]) -> String {
    let output = world.harmony(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Describes the service, and its runbook of three cells that leave a line each; gives where.
fn described(world: &World, policies: &str) -> PathBuf {
    let trace = world.dir.path().join("deployed");
    let cell = |name: &str, command: &str| {
        format!(
            "```bash {{ name={name} }}\necho {name} $RELEASE_VERSION >> {}\n{command}\n```\n\n",
            trace.display()
        )
    };
    let runbook = format!(
        "# Deploy the ledger\n\n{}{}{}",
        cell("drain", "sleep 1"),
        cell("switch", "sleep 2"),
        cell("warm-up", "true")
    );
    fs::write(world.dir.path().join("runbooks/deploy-ledger.md"), runbook).unwrap();
    let file = world.dir.path().join("ledger.toml");
    fs::write(&file, LEDGER.replace("POLICIES", policies)).unwrap();
    printed(world, &["catalog", "apply", file.to_str().unwrap()]);
    trace
}

fn freeze(world: &World, mode: &str) {
    let folder = world.dir.path().join("policies/environments");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("always.toml"), FREEZE.replace("MODE", mode)).unwrap();
}

async fn created(world: &World, version: &str) -> String {
    let body = json!({ "serviceId": "svc-ledger", "envId": "env-eu", "sha": format!("sha-{version}"), "version": version });
    world.post("releases", body).await["id"].as_str().unwrap().to_owned()
}

/// The gate of a release, once it waits.
async fn gate_of(world: &World, release: &str) -> Value {
    world
        .until("the gate of the release", async || {
            let waiting = world.get("approvals").await;
            let gates = waiting["approvals"].as_array().unwrap().clone();
            gates.into_iter().find(|gate| gate["workflowId"].as_str().unwrap().ends_with(release))
        })
        .await
}

/// Somebody else than who asked approves what they were shown.
async fn approved(world: &World, gate: &Value) {
    decided(world, gate, json!({ "decision": "approved", "digest": gate["digest"] })).await;
}

async fn decided(world: &World, gate: &Value, decision: Value) {
    let (status, verdict) = world.decide_as("commander", gate, decision).await;
    assert!((200..300).contains(&status), "{status}: {verdict}");
}

/// The last run of a release, once it has ended.
async fn run_of(world: &World, release: &str) -> Value {
    world
        .until("the run to end", async || {
            let runs = world.get(&format!("runs?releaseId={release}")).await;
            let last = runs["runs"].as_array().unwrap().last()?.clone();
            last["finishedAt"].is_string().then_some(last)
        })
        .await
}

async fn status_of(world: &World, release: &str) -> String {
    world.get(&format!("releases/{release}")).await["status"].as_str().unwrap().to_owned()
}

fn lines(trace: &PathBuf) -> Vec<String> {
    fs::read_to_string(trace).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_release_of_three_cells_goes_out_through_its_gate_and_back_for_its_incident() {
    let world = World::start(POLICY).await;
    let trace = described(&world, "");
    let good = created(&world, "1.0.0").await;
    let gate = gate_of(&world, &good).await;
    // The approval is bound to exactly that plan.
    let id = gate["gateId"].as_str().unwrap().replace('#', "%23").replace('/', "%2F");
    let shown = world.get(&format!("approvals/{id}")).await;
    let covers = &shown["covers"];
    assert_eq!(covers["deployment"]["release"]["id"], good.as_str(), "{covers}");
    assert_eq!(covers["cells"].as_array().unwrap().len(), 3, "{covers}");
    assert_eq!(covers["env"]["RELEASE_VERSION"], "1.0.0", "{covers}");
    let other = json!({ "decision": "approved", "digest": "ab".repeat(32) });
    let (status, refused) = world.decide(&gate, other).await;
    assert_eq!(status, 409, "another digest is another plan: {refused}");
    let own = json!({ "decision": "approved", "digest": gate["digest"] });
    let (status, refused) = world.decide(&gate, own).await;
    assert_eq!(status, 403, "whoever asked does not approve: {refused}");
    assert_eq!(status_of(&world, &good).await, "Draft");
    approved(&world, &gate).await;
    let run = run_of(&world, &good).await;
    assert_eq!(run["outcome"], "succeeded", "{run}");
    assert_eq!(status_of(&world, &good).await, "Active");
    assert_eq!(lines(&trace), ["drain 1.0.0", "switch 1.0.0", "warm-up 1.0.0"]);

    let bad = created(&world, "1.1.0").await;
    approved(&world, &gate_of(&world, &bad).await).await;
    assert_eq!(run_of(&world, &bad).await["outcome"], "succeeded");

    // Its service has an incident, its responders see which release it was, and roll it back while nothing goes out.
    freeze(&world, "refuse");
    described(&world, "\"policy:freeze:always\"");
    let declared = world
        .post(
            "incidents",
            json!({ "title": "Entries are lost", "severity": "P1", "serviceName": "ledger", "environment": "production" }),
        )
        .await;
    let incident = declared["incidentId"].as_str().unwrap().to_owned();
    world.completed(&incident, "initiate").await;
    // The first message in the channel names the release and why.
    let messages = world.state("slack").await["messages"].to_string();
    let named = format!("What changed: ledger 1.1.0 ({bad}): same service and environment, Active");
    assert!(messages.contains(&named), "{named} in {messages}");
    let changes = world.get(&format!("incidents/{incident}/changes")).await;
    assert_eq!(changes["suspected"][0]["id"], bad.as_str(), "{changes}");
    assert_eq!(changes["suspected"][0]["before"], good.as_str(), "{changes}");
    let refused = created(&world, "1.2.0").await;
    let run = run_of(&world, &refused).await;
    assert_eq!(run["outcome"], "refused", "{run}");
    assert!(run["reason"].as_str().unwrap().contains("policy:freeze:always"), "{run}");

    printed(&world, &["incident", "assign", &incident, "operations", "operator"]);
    // The first message offers it; a click proposes it, and the gate decides.
    let first = world.state("slack").await["messages"].as_array().unwrap().clone();
    let first = first.into_iter().find(|one| one["blocks"].to_string().contains("\"roll-back\"")).unwrap();
    assert!(first["blocks"].to_string().contains("#changes|Show changes>"), "{first}");
    world.click_on(first["ts"].as_str().unwrap(), "roll-back", "operator").await;
    let proposed = world
        .until("the rollback that was clicked", async || {
            let releases = world.get("releases?serviceId=svc-ledger").await["releases"].clone();
            releases.as_array().unwrap().iter().find(|one| one["rollsBack"] == bad.as_str()).cloned()
        })
        .await;
    let back = proposed["id"].as_str().unwrap().to_owned();
    let gate = gate_of(&world, &back).await;
    assert!(gate["requestReason"].as_str().unwrap().contains("same service and environment"), "{gate}");
    assert_eq!((&gate["releaseId"], &gate["incidentId"]), (&json!(back), &Value::Null), "{gate}");
    // A second one is refused while the first waits.
    let again = json!({ "incidentId": incident, "reason": "once more" });
    let (status, refused) =
        world.api(reqwest::Method::POST, &format!("releases/{bad}/rollback"), Some(again)).await;
    assert!(status == 409 && refused.to_string().contains(&back), "{status}: {refused}");
    assert_eq!(gate["action"], "Roll back to ledger 1.0.0 in production", "{gate}");
    // It has the incident's clock, and is asked in its channel.
    world.click(&gate, "approve", "commander").await;
    let run = run_of(&world, &back).await;
    assert_eq!(run["outcome"], "succeeded", "{run}");
    assert_eq!(lines(&trace)[6..], ["drain 1.0.0", "switch 1.0.0", "warm-up 1.0.0"]);
    let done = world
        .until("the rollback among the incident's actions", async || {
            let incident = world.incident(&incident).await;
            let actions = incident["actions"].as_array().unwrap().clone();
            actions.into_iter().find(|one| one["label"] == "Roll back to ledger 1.0.0 in production")
        })
        .await;
    assert_eq!(done["status"], "EXECUTED", "{done}");
    let rolled_back = world.get("releases?serviceId=svc-ledger").await;
    let rolled_back = rolled_back["releases"].as_array().unwrap();
    let bad = rolled_back.iter().find(|one| one["id"] == bad.as_str()).unwrap();
    assert_eq!((&bad["standing"], &bad["replacedBy"]), (&json!("rolledBack"), &json!(back)), "{bad}");

    // People say what it was, the review names it, and an export verifies with the service's stream in it.
    let linked =
        json!({ "releaseId": bad["id"], "relation": "caused", "reason": "Entries are lost since 1.1.0" });
    world.post(&format!("incidents/{incident}/changes"), linked).await;
    let bad = bad["id"].as_str().unwrap().to_owned();
    let resolution = json!({ "resolutionSummary": "Rolled back to 1.0.0" });
    world.post(&format!("incidents/{incident}/close-out"), resolution).await;
    world.click(&world.gate(&incident).await, "approve", "commander").await;
    world.completed(&incident, "close-out").await;
    for section in ["summary", "impact", "contributing-factors"] {
        let body = json!({ "section": section, "text": "Entries were lost" });
        world.post(&format!("incidents/{incident}/review"), body).await;
    }
    let action =
        json!({ "action": "Test the ledger with a full disk", "owner": "oncall", "due": "2027-01-31" });
    world.post(&format!("incidents/{incident}/review"), action).await;
    world.post(&format!("incidents/{incident}/post-mortem"), json!({})).await;
    world.click(&world.gate(&incident).await, "approve", "commander").await;
    world.completed(&incident, "post-mortem").await;
    let review = printed(&world, &["incident", "review", &incident, "--markdown"]);
    let cause = format!("| {bad} (1.1.0) | svc-ledger | env-eu | Active | the cause |");
    assert!(review.contains(&cause), "{cause} in {review}");
    let export = world.dir.path().join("export.jsonl");
    let exported = printed(&world, &["log", "export"]);
    fs::write(&export, format!("{exported}\n")).unwrap();
    assert!(exported.contains("svc/svc-ledger"), "the service's stream is part of it");
    let file = export.to_str().unwrap();
    printed(&world, &["log", "verify", "--file", file, "--unsigned"]);
    let forged = exported.replacen("\"svc/svc-ledger\"", "\"svc/svc-other\"", 1);
    fs::write(&export, format!("{forged}\n")).unwrap();
    assert!(!world.harmony(&["log", "verify", "--file", file, "--unsigned"]).status.success());
    world.verified().await;
}

#[tokio::test]
async fn a_worker_killed_in_the_middle_of_a_deployment_loses_nothing_and_repeats_nothing() {
    let world = World::start(POLICY).await;
    let trace = described(&world, "");
    let release = created(&world, "2.0.0").await;
    let gate = gate_of(&world, &release).await;
    world.kill("worker");
    approved(&world, &gate).await;
    world.until("the first cell", async || (!lines(&trace).is_empty()).then_some(())).await;
    world.until("the second cell", async || (lines(&trace).len() == 2).then_some(())).await;
    world.kill("worker");
    // Nobody knows whether it did its work: a gate asks what to do, as for every cell.
    let asked = world
        .until("the gate that asks about the cell", async || {
            let waiting = world.get("approvals").await;
            let gates = waiting["approvals"].as_array().unwrap().clone();
            gates.into_iter().find(|gate| gate["gateId"].as_str().unwrap().contains("unknown"))
        })
        .await;
    let skip = json!({ "decision": "skipped", "digest": asked["digest"], "reason": "it did: the new version answers" });
    decided(&world, &asked, skip).await;
    let run = run_of(&world, &release).await;
    assert_eq!(run["outcome"], "succeeded", "{run}");
    assert_eq!(status_of(&world, &release).await, "Active");
    assert_eq!(lines(&trace), ["drain 2.0.0", "switch 2.0.0", "warm-up 2.0.0"]);
    let runs = world.get(&format!("runs?releaseId={release}")).await;
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "{runs}");
    world.verified().await;
}

#[tokio::test]
async fn a_dry_run_tells_what_would_be_done_and_a_wait_ends_when_the_policies_open() {
    let world = World::start(POLICY).await;
    freeze(&world, "wait");
    let trace = described(&world, "\"policy:freeze:always\"");
    let dry = printed(
        &world,
        &[
            "deploy",
            "create",
            "--service",
            "svc-ledger",
            "--env",
            "env-eu",
            "--sha",
            "abc",
            "--dry-run",
            "--json",
        ],
    );
    let dry: Value = serde_json::from_str(&dry).unwrap();
    let release = dry["id"].as_str().unwrap();
    let run = run_of(&world, release).await;
    assert_eq!((&run["outcome"], &run["dryRun"]), (&json!("planned"), &json!(true)), "{run}");
    let said = run["logs"].as_array().unwrap().iter().map(|line| line["message"].as_str().unwrap());
    let said: Vec<&str> = said.collect();
    assert!(said.iter().any(|line| line.starts_with("Policies: wait: policy:freeze:always")), "{said:?}");
    assert!(said.iter().any(|line| line.contains("deploy-ledger.md")), "{said:?}");
    assert_eq!(status_of(&world, release).await, "Draft");
    assert!(!trace.exists(), "a dry run runs nothing");

    // The draft goes out by a run that waits for the freeze to end, and asks again once somebody wakes it.
    let started = world.post(&format!("releases/{release}/deploy"), json!({})).await;
    let workflow = started["workflowId"].as_str().unwrap();
    world
        .until("the run to wait", async || {
            let runs = world.get(&format!("runs?releaseId={release}")).await;
            let last = runs["runs"].as_array().unwrap().last()?.clone();
            (last["dryRun"] != true && last["policies"] == "wait").then_some(())
        })
        .await;
    let over = FREEZE.replace("MODE", "wait").replace("2099", "2027");
    let folder = world.dir.path().join("policies/environments");
    fs::write(folder.join("always.toml"), over.replace("2026", "2025").replace("2027", "2026")).unwrap();
    assert!(world.temporal(&["workflow", "signal", "-w", workflow, "--name", "wake"]).status.success());
    gate_of(&world, release).await;
    assert!(world.temporal(&["workflow", "cancel", "-w", workflow]).status.success());
    let run = run_of(&world, release).await;
    assert_eq!(run["outcome"], "cancelled", "{run}");
    world
        .until("the workflow to close", async || {
            let described = world.temporal(&["workflow", "describe", "-w", workflow, "-o", "json"]);
            let described: Value = serde_json::from_slice(&described.stdout).ok()?;
            let status = described["workflowExecutionInfo"]["status"].as_str()?.to_owned();
            (!status.ends_with("RUNNING")).then_some(())
        })
        .await;
    assert!(!trace.exists(), "nothing was run");
    world.verified().await;
}

#[tokio::test]
async fn what_others_deploy_is_active_once_they_tell() {
    let world = World::start(POLICY).await;
    let file = world.dir.path().join("outside.toml");
    let outside = LEDGER.replace("POLICIES", "").replace("adapter = \"runbook\"", "adapter = \"external\"");
    let outside = outside.replace("adapters = [\"runbook\"]", "").replace("[services.targets.settings]", "");
    fs::write(&file, outside.replace("runbook = \"deploy-ledger.md\"", "")).unwrap();
    printed(&world, &["catalog", "apply", file.to_str().unwrap()]);
    let release = created(&world, "3.0.0").await;
    world
        .until("the release to be on its way", async || {
            (status_of(&world, &release).await == "Promoting").then_some(())
        })
        .await;
    printed(&world, &["deploy", "tell", &release, "Failed", "--reason", "2 of 3 replicas crash"]);
    let run = run_of(&world, &release).await;
    assert_eq!(run["outcome"], "failed", "{run}");
    assert!(run["reason"].as_str().unwrap().contains("2 of 3 replicas crash"), "{run}");
    world.verified().await;
}

#[tokio::test]
async fn a_lost_run_of_a_release_goes_on_at_the_same_gate() {
    let world = World::start(POLICY).await;
    let trace = described(&world, "");
    let release = created(&world, "4.0.0").await;
    let gate = gate_of(&world, &release).await;
    let (status, refused) =
        world.api(reqwest::Method::POST, &format!("releases/{release}/resume"), Some(json!({}))).await;
    assert_eq!(status, 409, "it is not lost: {refused}");
    let workflow = gate["workflowId"].as_str().unwrap();
    let terminated = world.temporal(&["workflow", "terminate", "-w", workflow, "--reason", "by mistake"]);
    assert!(terminated.status.success(), "{}", String::from_utf8_lossy(&terminated.stderr));
    let resumed = world
        .until("the run to be found lost and resumed", async || {
            let answer =
                world.harmony(&["release", "resume", &release, "--idempotency-key", "again", "--json"]);
            answer.status.success().then(|| serde_json::from_slice::<Value>(&answer.stdout).unwrap())
        })
        .await;
    assert_eq!((&resumed["workflowId"], &resumed["attempt"]), (&json!(workflow), &json!(1)), "{resumed}");
    let same = gate_of(&world, &release).await;
    for field in ["gateId", "digest", "deadline", "releaseId", "serviceId"] {
        assert_eq!(same[field], gate[field], "{field}: {same}");
    }
    approved(&world, &gate).await;
    let run = run_of(&world, &release).await;
    assert_eq!(run["outcome"], "succeeded", "{run}");
    assert_eq!(status_of(&world, &release).await, "Active");
    assert_eq!(lines(&trace), ["drain 4.0.0", "switch 4.0.0", "warm-up 4.0.0"]);
    let runs = world.get(&format!("runs?releaseId={release}")).await;
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "{runs}");
    world.verified().await;
}

//! Whoever may schedule activities in the namespace gets nowhere with it: a worker of their own, with a workflow type of
//! their own, under ids of their own and under ids like ours, asks Harmony's queues for everything that they do.
#![allow(unreachable_pub, reason = "the macros want it")]

use std::{path::Path, time::Duration};

use harmony_blueprints::contracts::CellOrder;
use harmony_incidents::{
    attestation::{AttestationKeys, DecisionClaim},
    ticket::{Ticket, TicketKey},
};
use harmony_runner::EXECUTOR;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use temporalio_client::{Client, UntypedWorkflow, WorkflowExecuteUpdateOptions, WorkflowStartOptions};
use temporalio_client::{UntypedUpdate, WorkflowIdReusePolicy};
use temporalio_common::{
    ActivityDefinition, RetryPolicy, data_converters::RawValue, protos::temporal::api::common::v1::Payload,
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, Runtime, Worker, WorkerOptions, WorkflowContext, WorkflowResult, runtime::RuntimeOptions,
};

use crate::world::{POLICY, World};

const QUEUE: &str = "foreign";

/// One activity of Harmony's, scheduled by somebody else.
#[workflow]
#[derive(Default)]
pub(crate) struct Foreign;

#[workflow_methods]
impl Foreign {
    #[run(name = "foreign")]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>, order: Value) -> WorkflowResult<Value> {
        let text = |name: &str| order[name].as_str().unwrap_or_default().to_owned();
        let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(20))
            .task_queue(text("queue"))
            .retry_policy(RetryPolicy::builder().maximum_attempts(1).build())
            .build();
        let called = ctx.execute_activity(Any(text("activity")), order["input"].clone(), options).await;
        Ok(match called {
            Ok(reply) => json!({ "reply": reply }),
            Err(error) => json!({ "refused": format!("{:?}", error.failure()) }),
        })
    }
}

#[derive(Clone)]
struct Any(String);

impl ActivityDefinition for Any {
    type Input = Value;
    type Output = Value;
    fn name(&self) -> &str {
        &self.0
    }
}

/// Runs the foreign workflow under this id, and gives what its activity answered.
async fn ask(client: &Client, workflow_id: &str, queue: &str, activity: &str, input: &Value) -> Value {
    let order = json!({ "queue": queue, "activity": activity, "input": input });
    let options = WorkflowStartOptions::new(QUEUE, workflow_id)
        .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
        .build();
    let handle = client.start_workflow(UntypedWorkflow::new("foreign"), raw(&order), options).await.unwrap();
    let result = handle.get_result(Default::default()).await.unwrap();
    serde_json::from_slice(&result.payloads[0].data).unwrap()
}

fn raw(value: &Value) -> RawValue {
    let mut payload = Payload { data: value.to_string().into_bytes(), ..Payload::default() };
    payload.metadata.insert("encoding".to_owned(), b"json/plain".to_vec());
    RawValue { payloads: vec![payload] }
}

/// Where a step of this run stands, as anybody can read it in its history.
fn scope(id: &str, run_id: &str, step: &str) -> Value {
    json!({
        "org": "default", "incident": id, "workflowId": format!("incident.remediate-{id}"), "runId": run_id,
        "blueprint": "remediate", "attempt": 1, "step": step, "actor": "admin", "authority": "ON_CALL_SRE",
        "occurredAt": "2026-01-01T00:00:00Z",
    })
}

#[tokio::test]
async fn foreign_workflow_runs_no_command_writes_no_record_and_posts_nothing() {
    let world = World::start("step_patience = \"20s\"\n").await;
    let (id, _) = world.initiated("Somebody else is in the namespace", "P2").await;
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    world.asked(&gate).await;
    let client = world.client().await;
    let runtime = Runtime::from_current_tokio(RuntimeOptions::builder().build().unwrap()).unwrap();
    let options = WorkerOptions::new(QUEUE).register_workflow::<Foreign>().unwrap().build();
    let mut worker = Worker::new(&runtime, client.clone(), options).unwrap();
    let stop = worker.shutdown_handle();
    let attacked = async {
        attack(&world, &client, &id, &gate).await;
        stop();
    };
    let (ended, ()) = tokio::join!(worker.run(), attacked);
    ended.unwrap();
    world.verified().await;
}

async fn attack(world: &World, client: &Client, id: &str, gate: &Value) {
    let before = (world.kinds(id).await, world.requests("slack").await.len());
    let genuine = client.get_workflow_handle::<UntypedWorkflow>(format!("incident.remediate-{id}"));
    let run_id = genuine.describe(Default::default()).await.unwrap().run_id().to_owned();
    let ids = ["foreign-1".to_owned(), format!("incident.close-out-{id}")];
    let decision = json!({ "type": "decide", "input": {
        "workflowId": format!("incident.remediate-{id}"), "attempt": 1, "attested": "yes", "decidedAt": gate["requestedAt"],
        "payload": { "Ok": { "decision": "approved", "approverId": "commander", "gateId": gate["gateId"], "digest": gate["digest"] } },
    } });
    let note =
        json!({ "type": "record", "payload": { "incidentNoteAdded": { "note": "by admin, it says" } } });
    for workflow_id in &ids {
        for command in [&decision, &note] {
            let input = json!({ "scope": scope(id, &run_id, "foreign"), "command": command });
            let answer = ask(client, workflow_id, "harmony-incidents", "log.append", &input).await;
            refused(&answer, "log.append");
        }
        for (activity, input) in [
            (
                "approval.judge",
                json!({
                    "scope": scope(id, &run_id, "decision"), "payload": { "Ok": { "decision": "approved", "approverId": "commander" } },
                    "payloadSha256": "00", "occurrence": 1, "signal": false,
                }),
            ),
            ("approval.look", json!({ "scope": scope(id, &run_id, "look"), "gateId": gate["gateId"] })),
            (
                "blueprint.begin",
                json!({
                    "workflowId": format!("incident.remediate-{id}"), "workflowType": "incident.remediate", "runId": "foreign",
                    "initiatorId": "admin", "incidentId": id, "start": null, "inputDigest": "", "target": null, "declare": null,
                    "occurredAt": "2026-01-01T00:00:00Z",
                }),
            ),
            ("candidate.open", json!({ "org": "default", "candidateId": "foreign" })),
        ] {
            refused(&ask(client, workflow_id, "harmony-incidents", activity, &input).await, activity);
        }
    }
    // The scope of a run of ours, word for word as its history has it.
    let post = json!({ "scope": scope(id, &run_id, "foreign"), "args": {
        "channel": null, "headline": "Harmony says so", "lines": [], "output": null, "pin": false, "ask": null,
    } });
    for workflow_id in &ids {
        let answer = ask(client, workflow_id, "harmony-incidents", "channel.post", &post).await;
        let said = answer["refused"].as_str().unwrap_or_else(|| panic!("channel.post answered {answer}"));
        assert!(said.contains("a run that Harmony's log knows"), "{said}");
    }
    let touched = world.dir.path().join("touched");
    for workflow_id in &ids {
        let mut cell = cell(&touched);
        let mut refusals = vec![("without a ticket", cell.clone(), "has no ticket")];
        cell["ticket"] = ticket(&TicketKey::parse(&"77".repeat(32)).unwrap(), &cell, id, gate, &run_id);
        refusals.push(("with one of their own", cell.clone(), "was not made for it"));
        // Nobody gets this one: it takes the key that only the worker has.
        let ours = std::fs::read_to_string(world.dir.path().join("ticket.key")).unwrap();
        cell["ticket"] = ticket(&TicketKey::parse(&ours).unwrap(), &cell, id, gate, &run_id);
        refusals.push(("with that of a run of ours", cell, "another run's"));
        for (how, cell, expected) in refusals {
            let answer = ask(client, workflow_id, "harmony-runbooks", "runbook.cell", &cell).await;
            let reply = &answer["reply"];
            assert_eq!(reply["ended"], "could-not-start", "{how}: {answer}");
            assert!(reply["problem"].as_str().unwrap().contains(expected), "{how}: {answer}");
        }
    }
    assert!(!touched.exists(), "no command ran");
    assert_eq!(world.kinds(id).await, before.0, "nothing was written");
    assert_eq!(world.requests("slack").await.len(), before.1, "nothing was posted");
    assert_eq!(world.gate(id).await["gateId"], gate["gateId"], "the gate waits");
}

/// A cell that leaves a file behind.
fn cell(touched: &Path) -> Value {
    let snapshot = format!("```sh {{ name=touch }}\ntouch {}\n```\n", touched.display());
    json!({
        "snapshotSha256": hex::encode(Sha256::digest(snapshot.as_bytes())), "snapshot": snapshot, "cell": "touch", "env": {},
        "carried": {}, "secretEnv": [], "workdir": "", "timeoutMs": 10_000, "executor": EXECUTOR,
    })
}

/// A ticket of the run that waits, signed with this key.
fn ticket(key: &TicketKey, cell: &Value, id: &str, gate: &Value, run_id: &str) -> Value {
    let order: CellOrder = serde_json::from_value(cell.clone()).unwrap();
    let mut ticket = Ticket {
        org: "default".to_owned(),
        incident: id.to_owned(),
        gate_id: gate["gateId"].as_str().unwrap().to_owned(),
        workflow_id: format!("incident.remediate-{id}"),
        run_id: run_id.to_owned(),
        step: "remediation/touch/1/started".to_owned(),
        not_after: Timestamp::now() + Duration::from_secs(600),
        signature: String::new(),
        output: None,
        attempt: None,
    };
    ticket.signature = key.sign(&order.claim(&ticket));
    serde_json::to_value(ticket).unwrap()
}

fn refused(answer: &Value, activity: &str) {
    let said = answer["refused"].as_str().unwrap_or_else(|| panic!("{activity} answered {answer}"));
    assert!(said.contains("local activity"), "{activity}: {said}");
}

#[tokio::test]
async fn judged_decision_that_is_sent_again_ends_no_run_and_decides_nothing() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("An old decision comes back", "P2").await;
    world.remediate(&id).await;
    let first = world.gate(&id).await;
    let workflow = format!("incident.remediate-{id}");
    let decision = attested(&world, &workflow, &first);
    let client = world.client().await;
    let verdict = decide(&client, &workflow, "genuine", &decision).await;
    assert_eq!(verdict["accepted"], true, "{verdict}");
    assert_eq!(world.completed(&id, "remediate").await["status"], "REJECTED");
    world.remediate(&id).await;
    let second = world
        .until("the second gate", async || {
            let gate = world.incident(&id).await["gate"].clone();
            (gate.is_object() && gate["gateId"] != first["gateId"]).then_some(gate)
        })
        .await;
    let with = |name: &str, value: Value| {
        let mut changed = decision.clone();
        changed[name] = value;
        changed
    };
    let capitals = decision["attestation"].as_str().unwrap().to_uppercase();
    for (name, again) in [
        ("word for word", decision.clone()),
        ("another name", with("approverName", json!("Somebody"))),
        ("roles", with("approverRoles", json!(["org-admin"]))),
        ("capitals", with("attestation", json!(capitals))),
    ] {
        let verdict = decide(&client, &workflow, name, &again).await;
        let about_the_first = verdict["gateId"] == first["gateId"];
        assert!(verdict["accepted"] == false || about_the_first, "{name}: {verdict}");
    }
    let (gate, run) = {
        let incident = world.incident(&id).await;
        (incident["gate"].clone(), incident["blueprints"]["remediate"].clone())
    };
    assert_eq!((&gate["gateId"], &gate["status"]), (&second["gateId"], &second["status"]), "{gate}");
    assert_eq!((&run["status"], &run["attempt"]), (&json!("RUNNING"), &json!(2)), "{run}");
    // It goes on as if nothing had been.
    world.click(&second, "approve", "commander").await;
    assert_eq!(world.completed(&id, "remediate").await["status"], "COMPLETED");
    world.verified().await;
}

/// A rejection by the commander as one of our doors would attest it.
fn attested(world: &World, workflow: &str, gate: &Value) -> Value {
    let key = std::fs::read_to_string(world.dir.path().join("attestation.key")).unwrap();
    let keys = AttestationKeys::parse(&key).unwrap();
    let text = |name: &str| gate[name].as_str().unwrap().to_owned();
    let timestamp = jiff::Timestamp::now().to_string();
    let attestation = keys.attest_decision(&DecisionClaim {
        org: "default",
        workflow_id: workflow,
        gate_id: &text("gateId"),
        digest: &text("digest"),
        decision: "rejected",
        approver_id: "commander",
        decision_id: "d-1",
        timestamp: &timestamp,
        reason: "not now",
        source: "api",
        break_glass: false,
        justification: "",
    });
    json!({
        "decision": "rejected", "approverId": "commander", "gateId": gate["gateId"], "digest": gate["digest"],
        "decisionId": "d-1", "timestamp": timestamp, "reason": "not now", "source": "api", "attestation": attestation,
    })
}

async fn decide(client: &Client, workflow: &str, update_id: &str, decision: &Value) -> Value {
    let handle = client.get_workflow_handle::<UntypedWorkflow>(workflow);
    let options = WorkflowExecuteUpdateOptions::builder().update_id(update_id.to_owned()).build();
    let verdict = handle.execute_update(UntypedUpdate::new("decide"), raw(decision), options).await.unwrap();
    serde_json::from_slice(&verdict.payloads[0].data).unwrap()
}

#[tokio::test]
async fn foreign_workflow_under_an_id_of_ours_is_told_of_and_the_start_waits_for_its_end() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("Somebody sits on its id", "P2").await;
    let workflow = format!("incident.remediate-{id}");
    let start =
        ["workflow", "start", "--type", "foreign", "--task-queue", "nobody-polls-this", "-w", &workflow];
    let started = world.temporal(&start);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    world.remediate(&id).await;
    let told = world
        .until("it to be on record", async || {
            let records = world.records(&id).await;
            records.into_iter().find(|one| one["kind"] == "STEP_SKIPPED" && one["payload"]["step"] == "start")
        })
        .await;
    assert!(told.to_string().contains("temporal workflow terminate"), "{told}");
    assert!(world.incident(&id).await["gate"].is_null());
    let ended = world.temporal(&["workflow", "terminate", "-w", &workflow, "--reason", "it is not ours"]);
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    world.gate(&id).await;
    world.verified().await;
}

//! Starting and stopping blueprints: what lies in the outbox, and what is refused before anything is started.

use harmony_incidents::{
    Command, IncidentId, OrgId, WorkflowId, WorkflowType,
    judge::payload,
    log::{BlueprintCompleted, RunbookDryRunPlanned, Text, payload::Kind},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{declare::assert_attested, pages::Visitor, world::World};

#[tokio::test]
async fn remediation_is_started_with_an_attested_input() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    world.outbox().await;
    let path = format!("incidents/{id}/remediate");
    let body = json!({
        "runbook": "runbooks/rollback.md", "cells": ["rollback"], "verify": ["postcheck"],
        "env": { "A": "b" }, "secretEnv": ["TOKEN"], "timeout": "5m",
    });
    let answer = world.post_with_key("operator", &path, "r1", body.clone()).await.ok(202);
    let workflow_id = format!("incident.remediate-{id}");
    assert_eq!(answer, json!({ "incidentId": id, "workflowId": workflow_id, "attempt": 1 }));
    // The same request again is the same start, another body is a conflict.
    assert_eq!(world.post_with_key("operator", &path, "r1", body).await.ok(202), answer);
    world.post_with_key("operator", &path, "r1", json!({ "runbook": "rollback.md" })).await.problem(409);

    let outbox = world.outbox().await;
    assert_eq!(outbox.len(), 1);
    assert_eq!(outbox[0].item.name, format!("{workflow_id}#1/r1"));
    let input = &outbox[0].item.payload["input"];
    assert_eq!(
        input["remediation"],
        json!({
            "kind": "runbook", "path": "rollback.md", "cells": ["rollback"], "env": { "A": "b" },
            "secretEnv": ["TOKEN"], "timeout": "5m", "workdir": "",
        })
    );
    assert_eq!(input["verification"], json!({ "cells": ["postcheck"] }));
    assert_eq!(input["context"]["incident_title"], "Checkout fails");
    assert_eq!(input["start"]["principalId"], "operator");
    assert_attested(&world, &json!(workflow_id), input);
}

#[tokio::test]
async fn dry_run_is_started_without_a_gate_and_answers_with_what_it_would_run() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    world.outbox().await;
    let path = format!("incidents/{id}/remediate");
    let body = json!({ "runbook": "rollback.md", "dryRun": true });
    let answer = world.post("operator", &path, body).await.ok(202);
    let cells = json!([
        { "cell": "rollback", "verifies": false, "runs": false },
        { "cell": "postcheck", "verifies": true, "runs": true },
    ]);
    assert_eq!(answer["dryRun"], json!({ "inputs": {}, "cells": cells }));
    let outbox = world.outbox().await;
    assert_eq!(outbox[0].item.payload["input"]["dryRun"], true);
    let secret = json!({ "runbook": "rollback.md", "dryRun": true, "secretEnv": ["A"] });
    let detail = world.post("operator", &path, secret).await.problem(422);
    assert!(detail.contains("a dry run takes the secrets that the runbook declares"), "{detail}");
}

/// A dry run that planned this and has ended; gives the number of its record.
async fn dry_run(world: &World, id: &str, covers: &Value) -> u64 {
    let incident: IncidentId = id.parse().unwrap();
    let kind = WorkflowType::Remediate;
    let start = Command::StartBlueprint {
        workflow_id: WorkflowId::new(kind, &OrgId::default(), &incident),
        starter: "operator".to_owned(),
        attested: true,
        target: None,
        refuse: None,
        input_text: String::new(),
    };
    world.append(id, "start", kind, start).await;
    let covers = covers.to_string();
    let plan = RunbookDryRunPlanned {
        blueprint: "remediate".to_owned(),
        attempt: 1,
        digest: Sha256::digest(covers.as_bytes()).to_vec(),
        covers: Text::optional(&covers),
        cells: vec!["rollback".to_owned(), "postcheck".to_owned()],
        left_out: vec!["rollback".to_owned()],
    };
    let planned = Command::Record { payload: payload(Kind::RunbookDryRunPlanned(plan)) };
    let appended = world.append(id, "plan", kind, planned).await;
    let ended = Kind::BlueprintCompleted(BlueprintCompleted {
        blueprint: "remediate".to_owned(),
        attempt: 1,
        status: "COMPLETED".to_owned(),
        ..BlueprintCompleted::default()
    });
    world.append(id, "end", kind, Command::Record { payload: payload(ended) }).await;
    appended.records[0].record.seq
}

/// What a dry run of `rollback.md` covers.
fn covered(text: &str) -> Value {
    let cell = |name: &str| json!({ "name": name, "idempotent": false, "timeoutMs": 60_000 });
    json!({
        "cells": [cell("rollback")],
        "env": { "HARMONY_DRY_RUN": "1", "SERVICE": "checkout" },
        "executor": "sh/1",
        "inputs": [],
        "runbook": { "path": "rollback.md", "sha256": hex::encode(Sha256::digest(text)), "text": text },
        "secretEnv": ["TOKEN"],
        "timeoutMs": 300_000,
        "verification": [cell("postcheck")],
        "workdir": "",
    })
}

#[tokio::test]
async fn dry_run_is_proposed_from_its_record_as_it_stands() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    let text = "# Roll back\n";
    let seq = dry_run(&world, &id, &covered(text)).await;
    world.outbox().await;
    let incident = format!("/orgs/default/incidents/{id}");
    let operator = Visitor::new(&world, "operator").await;
    let button = format!("action=\"{incident}/do/propose-dry-run\"");
    for page in [incident.clone(), format!("{incident}/records/{seq}")] {
        assert!(operator.page(&page).await.contains(&button), "{page}");
        let viewer = Visitor::new(&world, "viewer").await;
        assert!(!viewer.page(&page).await.contains(&button), "{page}");
    }
    for page in
        [format!("{incident}/records/1"), format!("{incident}/review"), format!("{incident}?at={seq}")]
    {
        assert!(!operator.page(&page).await.contains(&button), "{page}");
    }

    let path = format!("incidents/{id}/propose-dry-run");
    world.post("viewer", &path, json!({ "attempt": 1 })).await.problem(403);
    world.post("operator", &path, json!({ "attempt": 0 })).await.problem(422);
    world.post("operator", &path, json!({ "attempt": 2 })).await.problem(404);
    let reply = operator.form(&format!("{incident}/do/propose-dry-run"), "attempt=1").await;
    assert_eq!(reply.status, 303, "{}", reply.text);
    let outbox = world.outbox().await;
    let input = &outbox[0].item.payload["input"];
    assert_eq!(
        input["remediation"],
        json!({
            "kind": "runbook", "path": "rollback.md", "cells": ["rollback"], "env": {}, "secretEnv": [],
            "timeout": "5m", "workdir": "", "sha256": hex::encode(Sha256::digest(text)),
        })
    );
    assert_eq!(input["verification"], json!({ "cells": ["postcheck"] }));
    assert_eq!((&input["reason"], &input["dryRun"]), (&json!("as dry run 1 showed it"), &Value::Null));
}

#[tokio::test]
async fn dry_run_of_another_file_is_not_proposed() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    dry_run(&world, &id, &covered("# Roll back, but not quite\n")).await;
    world.outbox().await;
    let path = format!("incidents/{id}/propose-dry-run");
    let detail = world.post("operator", &path, json!({ "attempt": 1 })).await.problem(409);
    assert!(detail.starts_with("rollback.md changed since dry run 1: its SHA-256 was "), "{detail}");
    assert!(world.outbox().await.is_empty());
}

#[tokio::test]
async fn bad_runbooks_and_times_start_nothing() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    world.outbox().await;
    for (body, expected) in [
        (json!({ "runbook": "nothing.md" }), "there is no runbook nothing.md"),
        (json!({ "runbook": "rollback.md", "cells": ["nothing"] }), "has no cell nothing"),
        (json!({ "runbook": "rollback.md", "verify": ["nothing"] }), "has no cell nothing"),
        (json!({ "runbook": "rollback.md", "timeout": "soon" }), "timeout: a time such as"),
        (json!({ "runbook": "" }), "runbook is empty"),
        (json!({ "runbook": "rollback.md", "inputs": { "SERVCE": "x" } }), "input SERVCE: not declared"),
        (
            json!({ "runbook": "rollback.md", "inputs": { "SERVICE": "nobody" } }),
            "input SERVICE: the catalog has no service nobody; harmony service list",
        ),
        (
            json!({ "runbook": "rollback.md", "inputs": { "RELEASE": "rel-0" } }),
            "input RELEASE: the catalog has no release rel-0; harmony release list",
        ),
        (json!({ "path": "rollback.md", "shell": "sh" }), "unknown field `shell`"),
    ] {
        let detail = world.post("operator", &format!("incidents/{id}/remediate"), body).await.problem(422);
        assert!(detail.contains(expected), "{detail}");
    }
    assert!(world.outbox().await.is_empty());
}

#[tokio::test]
async fn running_blueprint_is_not_started_again_until_it_ended() {
    let world = World::new().await;
    let id = world.opened("P1").await;
    world.gated(&id).await;
    world.outbox().await;
    let path = format!("incidents/{id}/remediate");
    let body = json!({ "runbook": "rollback.md" });
    let detail = world.post("operator", &path, body.clone()).await.problem(409);
    assert_eq!(detail, "remediate is running already, attempt 1");

    let stop = format!("incidents/{id}/stop");
    world.post("operator", &stop, json!({ "reason": "wrong runbook" })).await.ok(202);
    world.post("oncall", &stop, json!({})).await.ok(202);
    let outbox = world.outbox().await;
    assert_eq!(outbox.len(), 1);
    assert_eq!(outbox[0].item.kind.name(), "cancel");
    assert_eq!(outbox[0].item.name, format!("incident.remediate-{id}#1/stop"));
    assert_eq!(outbox[0].item.payload["reason"], "wrong runbook");

    let completed = Kind::BlueprintCompleted(BlueprintCompleted {
        blueprint: "remediate".to_owned(),
        attempt: 1,
        status: "CANCELLED".to_owned(),
        ..BlueprintCompleted::default()
    });
    let command = Command::Record { payload: payload(completed) };
    world.append(&id, "end", WorkflowType::Remediate, command).await;
    assert_eq!(world.post("operator", &stop, json!({})).await.problem(409), "nothing is running");
    let shown = world.get("viewer", &format!("incidents/{id}")).await.ok(200);
    assert_eq!(shown["blueprints"]["remediate"]["status"], "CANCELLED");
    assert_eq!(world.post("operator", &path, body).await.ok(202)["attempt"], 2);
}

#[tokio::test]
async fn starts_that_are_not_legal_are_refused_before() {
    let world = World::new().await;
    let id = world.declared("P1").await;
    world.outbox().await;
    for (who, verb, body, status, expected) in [
        ("operator", "remediate", json!({ "runbook": "rollback.md" }), 409, "OPEN or MITIGATING"),
        (
            "commander",
            "post-mortem",
            json!({}),
            409,
            "cannot be proposed without section summary, section impact",
        ),
        ("oncall", "close-out", json!({ "resolutionSummary": "x" }), 409, "PENDING cannot become RESOLVED"),
        ("oncall", "close-out", json!({}), 422, "resolutionSummary is empty"),
        ("oncall", "close-out", json!({ "resolutionSummary": "x", "resolutionType": "LUCK" }), 422, "LUCK"),
        ("oncall", "cancel", json!({}), 422, "reason is empty"),
    ] {
        let detail = world.post(who, &format!("incidents/{id}/{verb}"), body).await.problem(status);
        assert!(detail.contains(expected), "{verb}: {detail}");
    }
    assert!(world.outbox().await.is_empty());
}

#[tokio::test]
async fn close_out_cancel_and_post_mortem_carry_their_own_fields() {
    let world = World::new().await;
    let (closed, cancelled, reviewed) =
        (world.opened("P1").await, world.opened("P1").await, world.opened("P3").await);
    let resolved = json!({ "state": "RESOLVED", "resolutionSummary": "Rolled back" });
    world.post("oncall", &format!("incidents/{reviewed}/status"), resolved).await.ok(200);
    world.outbox().await;
    let close_out = json!({ "resolutionSummary": "Rolled back", "archiveChannel": true });
    world.post("oncall", &format!("incidents/{closed}/close-out"), close_out).await.ok(202);
    world
        .post("oncall", &format!("incidents/{cancelled}/cancel"), json!({ "reason": "A drill" }))
        .await
        .ok(202);
    world.temporal_is(false);
    let review = json!({ "title": "Checkout", "labels": ["review"] });
    let answer = world.post("commander", &format!("incidents/{reviewed}/post-mortem"), review).await.ok(202);
    assert_eq!(answer["warning"], "recorded; the run starts when 127.0.0.1:7233 answers");

    let inputs: Vec<_> =
        world.outbox().await.into_iter().map(|one| one.item.payload["input"].clone()).collect();
    for (name, expected) in [
        ("resolutionSummary", json!("Rolled back")),
        ("resolutionType", json!("FIXED")),
        ("archiveChannel", json!(true)),
        ("cancelled", json!(false)),
    ] {
        assert_eq!(inputs[0][name], expected);
    }
    assert_eq!(inputs[1]["resolutionSummary"], "A drill");
    assert_eq!(inputs[1]["cancelled"], true);
    assert_eq!(inputs[2]["title"], "Checkout");
    assert_eq!(inputs[2]["confluence"], json!({ "spaceKey": "OPS", "labels": ["review"] }));
}

//! What was approved is carried out and does not work: people hear of it, and the incident goes back to triage.

use serde_json::{Value, json};

use crate::world::{POLICY, World};

const RUNBOOK: &str = r#"# Free the disk

```sh { name=look }
echo "93 % in use"
```

```sh { name=free }
echo "cannot remove: read-only file system" >&2
exit 3
```

```sh { name=restart }
echo restarted >>"$RESTARTS"
```

```sh { name=check }
echo "still 93 % in use"
exit 1
```
"#;

/// Proposes these cells of the runbook and has them approved; gives the result of the run.
async fn run(world: &World, id: &str, cells: &[&str], verify: &[&str]) -> Value {
    std::fs::write(world.dir.path().join("runbooks/free-disk.md"), RUNBOOK).unwrap();
    let restarts = world.dir.path().join("restarts");
    let body = json!({ "runbook": "free-disk.md", "cells": cells, "verify": verify, "env": { "RESTARTS": restarts } });
    world.post(&format!("incidents/{id}/remediate"), body).await;
    let question = world.slack().channel(id).question("Run free-disk.md").await;
    question.says(&format!("— {} —", cells[0])).click("Approve").as_("commander").await;
    world.completed(id, "remediate").await
}

/// State, phase.
async fn stands(world: &World, id: &str) -> (String, String) {
    let incident = world.incident(id).await;
    let text = |name: &str| incident[name].as_str().unwrap().to_owned();
    (text("state"), text("phase"))
}

#[tokio::test]
async fn cell_that_fails_ends_the_runbook_and_everybody_hears_why() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("The disk is full", "P2").await;
    let result = run(&world, &id, &["look", "free", "restart"], &[]).await;

    assert_eq!(result["status"], "FAILED", "{result}");
    assert_eq!(result["reason"], "free (remediation): exited with 3");
    let cells = &result["remediation"]["runbook"]["cells"];
    assert_eq!(cells.as_array().unwrap().len(), 2, "the cell after the failure is not run: {cells}");
    assert_eq!((&cells[1]["success"], &cells[1]["exitCode"]), (&json!(false), &json!(3)), "{cells}");
    assert!(!world.dir.path().join("restarts").exists());
    assert_eq!(stands(&world, &id).await, ("MITIGATING".to_owned(), "triaging".to_owned()));

    let told = world.slack().channel(&id).expect("The runbook failed: free-disk.md").await;
    told.says("free (remediation): exited with 3").says("cannot remove: read-only file system");
    let records = world.records(&id).await;
    let finished = records.iter().rfind(|one| one["kind"] == "RUNBOOK_CELL_FINISHED").unwrap();
    assert_eq!(finished["payload"]["exitCode"], 3, "{finished}");
    assert!(finished["payload"]["stderr"].as_str().unwrap().contains("read-only"), "{finished}");
    world.verified().await;
}

#[tokio::test]
async fn verification_that_fails_leaves_the_incident_unverified() {
    let world = World::start(POLICY).await;
    let (id, _) = world.initiated("The disk is full again", "P2").await;
    let result = run(&world, &id, &["look", "restart"], &["check"]).await;

    assert_eq!(result["status"], "FAILED", "{result}");
    assert_eq!(result["reason"], "check (verification): exited with 1");
    // The remediation itself was carried out, once.
    assert_eq!(std::fs::read_to_string(world.dir.path().join("restarts")).unwrap(), "restarted\n");
    assert_eq!(stands(&world, &id).await, ("MITIGATING".to_owned(), "triaging".to_owned()));
    world.slack().channel(&id).expect("The runbook failed").await.says("still 93 % in use");
    // Another attempt is possible, and asks again.
    let again = run(&world, &id, &["restart"], &[]).await;
    assert_eq!(again["status"], "COMPLETED", "{again}");
    assert_eq!(stands(&world, &id).await, ("MITIGATING".to_owned(), "verifying".to_owned()));
    world.verified().await;
}

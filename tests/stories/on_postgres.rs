//! The same incident with its log on PostgreSQL: migrated first, killed in between, rebuilt and verified at the end.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::{
    server_process::{Cluster, left_out},
    world::{HARMONY, POLICY, World, refusal},
};

fn said(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn incident_lives_on_postgresql_through_kills() {
    let cluster = match Cluster::start(false) {
        Ok(cluster) => cluster,
        Err(why) => {
            left_out("the story on PostgreSQL", &why);
            return;
        }
    };
    let url = cluster.url("postgres");
    let home = tempfile::TempDir::new().unwrap();
    let db = |arguments: &[&str]| {
        let mut command = Command::new(HARMONY);
        command.args(arguments).arg("--json").arg("--data-dir").arg(home.path()).env("DATABASE_URL", &url);
        command.output().unwrap()
    };

    // A database that nobody migrated is refused, and says what to run.
    let (code, why) = refusal(&db(&["log", "verify"]));
    assert_eq!(code, 1, "{why}");
    assert!(why.contains("harmony db migrate"), "{why}");
    let (code, why) = refusal(&db(&["db", "migrate", "--check"]));
    assert!(code == 1 && why.contains("harmony db migrate"), "{code}: {why}");
    let migrated = said(&db(&["db", "migrate"]));
    assert!(migrated["migrated"] == true && migrated["store"] == "PostgreSQL", "{migrated}");
    assert_eq!(said(&db(&["db", "migrate"]))["migrated"], false, "once is enough");
    said(&db(&["db", "migrate", "--check"]));

    let world = World::start_with(POLICY, &[("DATABASE_URL", &url)]).await;
    let (id, _) = world.initiated("Orders are lost", "P2").await;
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    world.kill("worker");
    world.kill("serve");
    world
        .until("the console to be back", async || {
            let health = format!("{}/healthz", world.text("/health/serve"));
            reqwest::get(health).await.ok().filter(|answer| answer.status().is_success()).map(drop)
        })
        .await;
    assert_eq!(world.gate(&id).await, gate, "the gate is as it was");
    world.click(&gate, "approve", "commander").await;
    assert_eq!(world.completed(&id, "remediate").await["status"], "COMPLETED");
    let wish = json!({ "resolutionSummary": "Rolled back to 2.4.0" });
    world.post(&format!("incidents/{id}/close-out"), wish).await;
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "commander").await;
    assert_eq!(world.completed(&id, "close-out").await["status"], "COMPLETED");
    let records = world.records(&id).await;
    let cells = records.iter().filter(|record| record["kind"] == "RUNBOOK_CELL_STARTED");
    let mut cells: Vec<&str> = cells.map(|record| record["payload"]["cell"].as_str().unwrap()).collect();
    let started = cells.len();
    cells.sort_unstable();
    cells.dedup();
    assert!(started > 0 && cells.len() == started, "each cell ran once: {records:?}");
    world.verified().await;

    // The run that keeps its updates ends a moment after the close-out.
    let before = world
        .until("every run to end", async || {
            let now = world.incident(&id).await;
            let runs = now["blueprints"].as_object().unwrap();
            runs.values().all(|run| run["status"] != "RUNNING").then_some(now)
        })
        .await;
    // The salts of texts were made by the world's own key.
    let rebuild = world.harmony_with(&["db", "rebuild-projections", "--json"], &[("DATABASE_URL", &url)]);
    assert_eq!(said(&rebuild)["mended"], 0, "nothing was wrong");
    assert_eq!(world.incident(&id).await, before);
    let export = world.harmony_with(&["log", "export"], &[("DATABASE_URL", &url)]);
    let file = home.path().join("log.jsonl");
    std::fs::write(&file, &export.stdout).unwrap();
    let key = world.harmony(&["log", "checkpoint", "--print-key"]).stdout;
    let key = String::from_utf8(key).unwrap();
    let arguments =
        ["log", "verify", "--json", "--verifier-key", key.trim(), "--file", file.to_str().unwrap()];
    let verified = said(&world.harmony(&arguments));
    assert_eq!(
        (&verified["verified"], &verified["signatureChecked"]),
        (&json!(true), &json!(true)),
        "{verified}"
    );
}

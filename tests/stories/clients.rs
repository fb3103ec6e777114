//! Programs that use the API by a generated client: what others' generators make of its descriptions, in Python and in
//! TypeScript, does what the examples beside them say.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{server_process::left_out, world::World};

#[tokio::test]
async fn generated_clients_have_every_operation_and_their_examples_run() {
    let world = World::start("").await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/clients");
    let mut command = Command::new(script);
    command.args(["--at", world.text("/api")]).arg(concat!(env!("CARGO_TARGET_TMPDIR"), "/clients"));
    command.env("HARMONY_TOKEN", world.text("/token")).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    if let Some(why) = errors.lines().find_map(|line| line.strip_prefix("SKIPPED: ")) {
        left_out("the generated clients, which need npm, Python 3 with venv, and both registries", why);
        return;
    }
    assert!(output.status.success(), "{said}\n{errors}");

    let declared: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("declared ")).collect();
    assert_eq!(declared.len(), 2, "{said}");
    let listed = world.get("incidents").await;
    assert_eq!(listed["incidents"].as_array().unwrap().len(), 2, "a key is one incident: {listed}");
    for id in declared {
        let incident = world.incident(id).await;
        assert_eq!(incident["title"], "Checkout answers 500");
        assert_eq!(incident["state"], "OPEN");
        assert_eq!(incident["notes"], 1);
        assert_eq!(incident["gate"]["status"], "pending");
        assert!(said.contains(&format!("{id} is OPEN")), "{said}");
    }
    world.verified().await;
}

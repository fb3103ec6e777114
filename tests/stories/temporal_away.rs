//! Temporal is away: a declaration is taken all the same and carried out when it is back.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::world::{POLICY, World, refusal};

#[tokio::test]
async fn declaration_is_taken_and_initiated_when_temporal_is_back() {
    let world = World::start(POLICY).await;
    let (waiting, _) = world.initiated("Before the outage", "P2").await;
    world.remediate(&waiting).await;
    let gate = world.gate(&waiting).await;
    // Stopped, not killed: dev would start a killed one again.
    let temporal = Pid::from_raw(world.pid("temporal"));
    kill(temporal, Signal::SIGSTOP).unwrap();
    let declared = world
        .until("a declaration with the warning", async || {
            let output = world.harmony(&["incident", "declare", "During the outage", "--severity", "P2"]);
            assert!(output.status.success(), "{}", refusal(&output).1);
            refusal(&output)
                .1
                .contains("initiation starts when")
                .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        })
        .await;
    let id = declared.split_whitespace().find(|word| word.starts_with("INC-")).unwrap().to_owned();

    // What needs a verdict says that there is none yet.
    let gate_id = gate["gateId"].as_str().unwrap();
    let decided = world.harmony(&["approval", "reject", gate_id, "--yes", "--reason", "not now"]);
    let (code, said) = refusal(&decided);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("recorded, not yet judged"), "{said}");

    kill(temporal, Signal::SIGCONT).unwrap();
    assert_eq!(world.completed(&id, "initiate").await["status"], "COMPLETED");
    assert_eq!(world.completed(&waiting, "remediate").await["status"], "REJECTED");
    world.verified().await;
}

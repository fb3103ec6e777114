//! Two builds side by side: a run goes on with the build that it began on, and the deployment's current build takes the
//! new ones.

use std::process::{Child, Command, Stdio};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::world::{HARMONY, POLICY, World};

/// A worker of another build, beside the one that the world started and with its settings.
struct Beside(Child);

impl Beside {
    fn start(world: &World, build: &str) -> Self {
        let environment = std::fs::read(format!("/proc/{}/environ", world.pid("worker"))).unwrap();
        let environment = environment.split(|byte| *byte == 0).filter_map(|pair| {
            let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        let log = std::fs::File::create(world.dir.path().join("logs/beside.log")).unwrap();
        let child = Command::new(HARMONY)
            .arg("worker")
            .env_clear()
            .envs(environment)
            .env("HARMONY_BUILD_ID", build)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGKILL);
        drop(self.0.wait());
    }
}

/// Makes a build the current one, as soon as Temporal knows its workers.
async fn make_current(world: &World, build: &str) {
    let command = ["worker", "deployment", "set-current-version", "--deployment-name", "harmony"];
    let arguments = [&command[..], &["--build-id", build, "--yes"]].concat();
    world
        .until(&format!("build {build} to be current"), async || {
            world.temporal(&arguments).status.success().then_some(())
        })
        .await;
}

/// The build that a run is of.
fn build_of(world: &World, workflow: &str) -> String {
    let shown = world.temporal(&["workflow", "describe", "-w", workflow, "-o", "json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let versioning = &shown["workflowExecutionInfo"]["versioningInfo"];
    versioning["deploymentVersion"]["buildId"].as_str().unwrap_or_else(|| panic!("{shown}")).to_owned()
}

#[tokio::test]
async fn run_goes_on_with_the_build_it_began_on_and_new_ones_take_the_current_build() {
    let world =
        World::start_with(POLICY, &[("HARMONY_DEPLOYMENT", "harmony"), ("HARMONY_BUILD_ID", "one")]).await;
    make_current(&world, "one").await;
    let (old, _) = world.initiated("Began on the old build", "P2").await;
    world.remediate(&old).await;
    let gate = world.gate(&old).await;

    let beside = Beside::start(&world, "two");
    make_current(&world, "two").await;
    let (new, result) = world.initiated("Began on the new build", "P2").await;
    assert_eq!((&result["status"], &result["warnings"]), (&json!("COMPLETED"), &json!([])), "{result}");
    assert_eq!(build_of(&world, &format!("incident.initiate-{new}")), "two");

    // What waits since before the change goes on where it was, cells too.
    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&old, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    assert_eq!(build_of(&world, &format!("incident.remediate-{old}")), "one");
    world.verified().await;
    drop(beside);
}

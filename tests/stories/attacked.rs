//! An installation is attacked from outside, by a program that shares nothing with it: other language, other SDK.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    server_process::left_out,
    world::{HARMONY, World, cache, carry_out},
};

/// The SDK that the attack speaks to Temporal with.
const SDK: &str = "1.35.0";

/// Attempts that it makes at the very least; a section that is left out is noticed.
const ATTEMPTS: usize = 2_000;

#[tokio::test]
async fn nothing_that_is_tried_from_outside_gets_through() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => {
            left_out("the attack, which needs Python 3 with venv and the package temporalio", &why);
            return;
        }
    };
    // Nothing that is sent by hand counts, as in an installation that nobody changed.
    let world = World::start("").await;
    let line = world.dir.path().join("attack.json");
    std::fs::write(&line, world.line().to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("attack/attack.py");
    let attack = tokio::task::spawn_blocking(move || {
        Command::new(python).arg(script).arg(line).arg(HARMONY).stdin(Stdio::null()).output().unwrap()
    });
    let attack = attack.await.unwrap();
    let said = String::from_utf8_lossy(&attack.stdout);
    let errors = String::from_utf8_lossy(&attack.stderr);
    assert!(attack.status.success(), "{said}\n{errors}");
    println!("{said}");
    let last = said.lines().last().unwrap_or_default();
    let attempts: usize = last.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or_default();
    assert!(attempts >= ATTEMPTS && last.ends_with(" 0 got through"), "{said}\n{errors}");
    world.verified().await;
}

/// Python with the SDK, made once in the cache.
fn python() -> Result<PathBuf, String> {
    let home = cache(&format!("attack-{SDK}"))?;
    let python = home.join("bin").join("python");
    let packages = "import temporalio.worker, temporalio.api.workflowservice";
    let has_sdk = || carry_out(Command::new(&python).args(["-c", packages]));
    if has_sdk().is_err() {
        carry_out(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
        let pip = home.join("bin").join("pip");
        carry_out(Command::new(pip).args(["install", "--quiet", &format!("temporalio=={SDK}")]))?;
        has_sdk()?;
    }
    Ok(python)
}

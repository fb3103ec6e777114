//! The GraphQL gateway held to clients of others: the audit of npm's graphql-http, and a subscription by npm's graphql-ws.
//!
//! Their versions stand in `tests/graphql/package-lock.json`; they are installed into the cache once. Where there is no
//! Node the tests say so aloud and are skipped; on CI that is a failure.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use harmony_console::{Capacity, Timeouts};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    sync::OnceCell,
    time::{Instant, timeout},
};

use crate::world::World;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/graphql");
/// Longest wait for npm and for a client; a loaded machine is slow.
const PATIENCE: Duration = Duration::from_secs(180);

/// Says aloud that the tests are left out; on CI that is a failure.
#[expect(clippy::print_stderr, reason = "whoever runs the tests must see what was not tested")]
fn left_out() {
    assert!(std::env::var_os("CI").is_none(), "there is no node and npm here");
    eprintln!("SKIPPED: there is no node and npm here (apt-get install nodejs npm)");
}

/// Where the scripts are, with what they import beside them; `None` where this machine has no Node.
async fn scripts() -> Option<&'static Path> {
    static INSTALLED: OnceCell<Option<PathBuf>> = OnceCell::const_new();
    let installed = INSTALLED.get_or_init(async || {
        let found = Command::new("npm").arg("--version").output().await;
        let node = Command::new("node").arg("--version").output().await;
        if found.is_err() || node.is_err() {
            left_out();
            return None;
        }
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
            .unwrap_or_else(std::env::temp_dir);
        // A folder for each set of versions, made whole or not at all.
        let lock = fs::read(format!("{SCRIPTS}/package-lock.json")).unwrap();
        let name: String = <sha2::Sha256 as sha2::Digest>::digest(lock)
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let folder = cache.join("harmony").join(format!("graphql-clients-{name}"));
        fs::create_dir_all(folder.parent().unwrap()).unwrap();
        if !folder.is_dir() {
            let fresh = tempfile::tempdir_in(folder.parent().unwrap()).unwrap();
            for file in ["package.json", "package-lock.json"] {
                fs::copy(format!("{SCRIPTS}/{file}"), fresh.path().join(file)).unwrap();
            }
            let install = Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"])
                .current_dir(fresh.path())
                .kill_on_drop(true)
                .output();
            let output = timeout(PATIENCE, install).await.expect("npm answers").unwrap();
            assert!(output.status.success(), "npm ci: {}", String::from_utf8_lossy(&output.stderr));
            // Somebody else may have been faster; theirs is as good.
            drop(fs::rename(fresh.keep(), &folder));
        }
        for file in ["audit.mjs", "subscribe.mjs"] {
            // Modules are looked for beside the script that imports them.
            fs::copy(format!("{SCRIPTS}/{file}"), folder.join(file)).unwrap();
        }
        Some(folder)
    });
    installed.await.as_deref()
}

async fn served() -> (World, String) {
    let world = World::new().await;
    let environment =
        json!({ "id": "env-prod", "name": "prod", "region": "eu", "cluster": "one", "policyRefs": [] });
    world.post("deployer", "environments", environment).await.ok(201);
    let service = json!({
        "id": "svc-shop", "name": "Shop", "adapters": { "deployments": ["external"] },
        "environments": [{ "id": "env-prod", "name": "prod" }],
    });
    world.post("deployer", "services", service).await.ok(201);
    let address = world.listen(Capacity::default(), Timeouts::default()).await;
    (world, format!("http://{address}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_of_graphql_http_is_fulfilled() {
    let Some(folder) = scripts().await else { return };
    let (_world, address) = served().await;
    let audit = Command::new("node")
        .args(["audit.mjs", &address, "token-viewer"])
        .current_dir(folder)
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, audit).await.expect("the audit ends").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let sum: Value = serde_json::from_str(said.lines().last().unwrap_or_default())
        .unwrap_or_else(|_| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
    println!("{sum}");
    assert!(sum["audits"].as_u64() >= Some(60), "{said}");
    assert_eq!(sum["fulfilled"], sum["audits"], "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_of_graphql_ws_sees_a_promotion_within_a_second() {
    let Some(folder) = scripts().await else { return };
    let (world, address) = served().await;
    let follow = |token: &str| {
        Command::new("node")
            .args(["subscribe.mjs", &address, token, "svc-shop"])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    };
    let refused =
        timeout(PATIENCE, follow("nobody").wait_with_output()).await.expect("it is refused").unwrap();
    assert!(!refused.status.success() && refused.stdout.is_empty(), "nobody follows without a token");

    let mut client = follow("token-viewer");
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut next = async || timeout(PATIENCE, lines.next_line()).await.expect("a line").unwrap().unwrap();
    assert_eq!(next().await, "listening");
    // The subscription itself is not acknowledged: what it says of the first release tells that it has begun.
    let mut number = 0;
    let telling = async |number: usize| {
        let body = json!({ "serviceId": "svc-shop", "envId": "env-prod", "sha": format!("a{number}"), "id": format!("rel-{number}") });
        world.post("deployer", "releases", body).await.ok(201);
    };
    let begun = loop {
        telling(number).await;
        number += 1;
        tokio::select! {
            line = next() => break line,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    };
    assert!(begun.contains("deploy.create"), "{begun}");
    let promoting = format!("releases/rel-{}/status", number - 1);
    world.post("deployer", &promoting, json!({ "status": "Promoting" })).await.ok(200);
    let told = Instant::now();
    let event: Value = loop {
        let event: Value = serde_json::from_str(&next().await).unwrap();
        if event["data"]["auditEvents"]["action"] == "release.start" {
            break event;
        }
    };
    let took = told.elapsed();
    println!("told after {took:?}");
    assert!(took < Duration::from_secs(1), "told after {took:?}");
    let event = &event["data"]["auditEvents"];
    assert_eq!((&event["actor"], &event["subjectType"]), (&json!("deployer"), &json!("Release")));
}

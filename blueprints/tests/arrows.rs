//! A blueprint never reaches I/O: its dependency tree holds neither the engine nor a transport, nor any of our crates
//! that do I/O.

#![expect(clippy::disallowed_types, reason = "a test asks cargo; the workflows themselves do not")]

use std::process::Command;

#[test]
fn blueprints_depend_on_nothing_that_does_io() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "harmony-blueprints",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains("harmony-incidents"), "the tree is not what it was thought to be:\n{tree}");
    let banned = [
        "temporalio-sdk ",
        "temporalio-sdk-core ",
        "temporalio-client ",
        "reqwest ",
        "hyper ",
        "rustls ",
        "sqlx ",
        "sqlx-core ",
        "axum ",
        "harmony-eventlog ",
        "harmony-capabilities ",
        "harmony-runner ",
        "harmony-activities ",
        "harmony-console ",
    ];
    let found: Vec<&str> =
        tree.lines().filter(|line| banned.iter().any(|name| line.starts_with(name))).collect();
    assert!(found.is_empty(), "{found:?}");
}

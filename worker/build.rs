//! What `harmony --version` says of the build: the commit, given as `HARMONY_COMMIT` or asked of git.

use std::{path::Path, process::Command};

fn main() {
    println!("cargo:rerun-if-env-changed=HARMONY_COMMIT");
    let given = std::env::var("HARMONY_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo:rustc-env=HARMONY_COMMIT={}", commit.unwrap_or_default());
    // Changes with every commit and checkout. Without a repository there is nothing to look at.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

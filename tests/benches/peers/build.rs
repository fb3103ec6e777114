//! The programs of the sides: Harmony's, which Cargo built, and the peers', which are built here from their sources beside
//! this file. A peer whose tools are not here is left out; one that does not build ends the benchmark.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{program::OTHER_PROGRAM, world::carry_out};

/// What is built goes here.
const BUILT: &str = env!("CARGO_TARGET_TMPDIR");

/// Which build of Harmony is measured, in words.
pub(crate) fn described() -> String {
    match std::env::var_os(OTHER_PROGRAM) {
        Some(path) => format!("{} ({OTHER_PROGRAM})", path.display()),
        None => format!("as Cargo built it for this benchmark ({})", profile()),
    }
}

fn profile() -> &'static str {
    if cfg!(debug_assertions) { "without optimisation" } else { "optimised" }
}

/// The worker in Go, or why there is none.
pub(crate) fn go() -> Result<Command, String> {
    let version = said("go", ["version"])?;
    let program = Path::new(BUILT).join("peers/go-worker");
    let mut build = Command::new("go");
    build.args(["build", "-trimpath", "-o"]).arg(&program).arg(".").current_dir(source("go"));
    built(&mut build);
    eprintln!("Go: {version}");
    Ok(Command::new(program))
}

/// The worker in TypeScript, or why there is none.
pub(crate) fn typescript() -> Result<Command, String> {
    let version = said("node", ["--version"])?;
    said("npm", ["--version"])?;
    let folder = Path::new(BUILT).join("peers/typescript");
    let lock = fs::read(source("typescript").join("package-lock.json")).unwrap();
    let installed = folder.join("node_modules/.package-lock.json").exists();
    let is_current = installed && fs::read(folder.join("package-lock.json")).is_ok_and(|known| known == lock);
    copy(&source("typescript"), &folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    if !is_current {
        built(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder));
    }
    built(Command::new("npm").args(["run", "build"]).current_dir(&folder));
    eprintln!("TypeScript: Node {version}");
    let mut command = Command::new("node");
    command.arg(folder.join("lib/worker.js"));
    Ok(command)
}

fn built(command: &mut Command) {
    carry_out(command).unwrap_or_else(|problem| panic!("a peer does not build: {problem}"));
}

fn said<const N: usize>(program: &str, arguments: [&str; N]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|_| format!("there is no `{program}` on the PATH"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn source(peer: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(peer)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        // Of somebody who works on it where it lies.
        if [OsStr::new("node_modules"), OsStr::new("lib")].contains(&entry.file_name().as_os_str()) {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

//! Starts bash for one cell.
//!
//! The commands reach bash in a file of a private directory (0700), never as an
//! argument that `ps` shows. The environment is built from nothing: the allow
//! list, the plan's `env`, what earlier cells exported, the secrets; the later
//! wins. The wrapper script tells what happens inside.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, PipeWriter};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;

use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;

use super::confine::{self, Confinement};
use super::executor::CellRun;
use super::group::{Group, MARK};
use super::markdown::Cell;

/// What the cell runs inside of.
const WRAPPER: &str = concat!(include_str!("wrapper.sh"), include_str!("epilogue.sh"));

/// Used where the worker itself has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A cell under way. Fields are dropped in this order: the processes are killed,
/// then the pipe closes, then the directory goes.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) group: Group,
    pub(super) child: Child,
    /// What the cell was given, without the mark.
    pub(super) given: BTreeMap<OsString, OsString>,
    /// Its closing tells the wrapper's watcher that the runner is gone.
    _lifeline: PipeWriter,
    pub(super) dir: TempDir,
}

/// Starts the cell. The error says why it could not, without any value.
pub(super) fn launch(
    allow_env: &[String],
    confinement: Option<&Confinement>,
    run: &CellRun,
    cell: &Cell,
) -> Result<Launched, String> {
    let mut given = environment(allow_env, run)?;
    let temp = match confinement {
        None => None,
        Some(_) => Some(confine::shared_temp().map_err(|error| format!("no temporary folder: {error}"))?),
    };
    if let Some(temp) = &temp {
        given.insert(OsString::from("TMPDIR"), temp.clone().into_os_string());
    }
    let dir = private_dir(cell).map_err(|error| format!("no private directory: {error}"))?;
    let (reader, lifeline) = io::pipe().map_err(|error| format!("no pipe: {error}"))?;
    let bash = find_bash().ok_or("bash is not installed")?;
    let mut command = Command::new(&bash);
    command
        .args(["--noprofile", "--norc"])
        .arg(dir.path().join("run.sh"))
        .env_clear()
        .envs(&given)
        .env(MARK, dir.path())
        .current_dir(&run.workdir)
        .stdin(Stdio::from(reader))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let child = match (confinement, &temp) {
        (Some(confinement), Some(temp)) => {
            start_confined(&mut command, confinement, &[&run.workdir, dir.path(), temp])?
        }
        _ => command.spawn(),
    }
    .map_err(|error| {
        let (bash, workdir) = (bash.display(), run.workdir.display());
        format!("{bash} did not start in {workdir}: {error}")
    })?;
    let leader = child.id().and_then(|id| i32::try_from(id).ok());
    let leader = leader.ok_or("the process has no id")?;
    Ok(Launched { group: Group::new(leader, dir.path()), child, given, _lifeline: lifeline, dir })
}

/// Starts it from a thread of its own, which the kernel confines with all that it starts, and which then ends.
fn start_confined(
    command: &mut Command,
    confinement: &Confinement,
    writable: &[&Path],
) -> Result<io::Result<Child>, String> {
    let runtime = Handle::current();
    let start = || {
        confinement.restrict(writable).map_err(|problem| format!("it cannot be confined: {problem}"))?;
        let _inside = runtime.enter();
        Ok(command.spawn())
    };
    let ended = thread::scope(|scope| scope.spawn(start).join());
    ended.unwrap_or_else(|_| Err("the thread that starts it ended early".to_owned()))
}

fn environment(allow_env: &[String], run: &CellRun) -> Result<BTreeMap<OsString, OsString>, String> {
    let mut given = BTreeMap::new();
    given.insert(OsString::from("PATH"), OsString::from(DEFAULT_PATH));
    for name in allow_env {
        if let Some(value) = std::env::var_os(name) {
            given.insert(OsString::from(name), value);
        }
    }
    let secrets = run.secrets.iter();
    let secrets = secrets.map(|(name, secret)| (name.as_str(), secret.expose_secret()));
    let plain = run.env.iter().chain(&run.carried);
    let plain = plain.map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in plain.chain(secrets) {
        if !is_variable_name(name) {
            return Err(format!("{name:?} is not the name of a variable"));
        }
        if value.contains('\0') {
            return Err(format!("the value of {name} contains a NUL"));
        }
        given.insert(OsString::from(name), OsString::from(value));
    }
    Ok(given)
}

/// What bash takes for a name; other names it would not show to the cell.
pub(super) fn is_variable_name(name: &str) -> bool {
    let starts_with_digit = name.starts_with(|c: char| c.is_ascii_digit());
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && !starts_with_digit && name.chars().all(plain)
}

fn private_dir(cell: &Cell) -> io::Result<TempDir> {
    let dir = tempfile::Builder::new()
        .prefix(confine::PRIVATE)
        .rand_bytes(12)
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()?;
    fs::write(dir.path().join("run.sh"), WRAPPER)?;
    fs::write(dir.path().join("cell.sh"), &cell.source)?;
    Ok(dir)
}

/// The worker's bash: a PATH in the plan is for the cell, not for us.
fn find_bash() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let standard = DEFAULT_PATH.as_bytes();
    let folders = path.as_bytes().split(|byte| *byte == b':');
    let folders = folders.chain(standard.split(|byte| *byte == b':'));
    folders
        .map(|folder| PathBuf::from(OsStr::from_bytes(folder)).join("bash"))
        .find(|bash| bash.is_absolute() && bash.is_file())
}

//! Ends what must not outlive a supervisor that was killed.
//!
//! `harmony reaper` reads lines from stdin: `+PID` names a process group, `-PID` forgets it. When stdin closes, which it
//! does however the supervisor ended, the groups that are still named are ended: SIGTERM, then SIGKILL. Should the reaper
//! have been killed, too, the next supervisor finds Temporal by its pid file.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, Write},
    path::Path,
    process::{ChildStdin, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::Context;
use nix::sys::signal::Signal;
use secrecy::ExposeSecret;

use super::children;
use crate::keys;

/// How long the groups may take to end when they are asked.
const PATIENCE: Duration = Duration::from_secs(6);
const PAUSE: Duration = Duration::from_millis(100);

/// The reaper of this supervisor.
pub(super) struct Reaper {
    names: Names,
    process: std::process::Child,
}

/// Where groups are named.
#[derive(Clone)]
pub(super) struct Names(Arc<Mutex<Option<ChildStdin>>>);

impl Reaper {
    /// Starts it, in a group of its own.
    pub(super) fn start() -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt;
        let own = std::env::current_exe().context("this program cannot find itself")?;
        let mut process = std::process::Command::new(own)
            .arg("reaper")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("the reaper does not start")?;
        let stdin = process.stdin.take();
        Ok(Self { names: Names(Arc::new(Mutex::new(stdin))), process })
    }

    /// Where its children are named.
    pub(super) fn names(&self) -> Names {
        self.names.clone()
    }

    /// Everything has ended: the reaper may, too.
    pub(super) async fn stop(mut self) {
        self.names.close();
        // It ends at once, there being nothing to end.
        drop(tokio::task::spawn_blocking(move || self.process.wait()).await);
    }
}

impl Names {
    /// This group ends with the supervisor.
    pub(super) fn name(&self, pid: u32) {
        self.write(&format!("+{pid}\n"));
    }

    /// This group has ended.
    pub(super) fn forget(&self, pid: u32) {
        self.write(&format!("-{pid}\n"));
    }

    fn write(&self, line: &str) {
        let mut stdin = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stdin) = stdin.as_mut()
            && let Err(error) = stdin.write_all(line.as_bytes())
        {
            tracing::warn!(%error, "the reaper is gone");
        }
    }

    fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// `harmony reaper`.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut named = BTreeSet::new();
    for line in std::io::stdin().lock().lines() {
        // A line that cannot be read ends it like the end of them.
        let Ok(line) = line else { break };
        match line.split_at_checked(1).map(|(sign, pid)| (sign, pid.parse::<u32>())) {
            Some(("+", Ok(pid))) => {
                named.insert(pid);
            }
            Some(("-", Ok(pid))) => {
                named.remove(&pid);
            }
            _ => {}
        }
    }
    for pid in &named {
        children::end(*pid, Signal::SIGTERM);
    }
    let mut waited = Duration::ZERO;
    while waited < PATIENCE && named.iter().any(|pid| is_alive(*pid)) {
        thread::sleep(PAUSE);
        waited += PAUSE;
    }
    for pid in named.iter().filter(|pid| is_alive(**pid)) {
        children::end(*pid, Signal::SIGKILL);
    }
    Ok(())
}

/// Ends a Temporal server that a killed supervisor left on this database.
pub(super) async fn end_left_over(pid_file: &Path, database: &Path) {
    let known = keys::read(pid_file).ok().flatten();
    let pid = known.and_then(|text| text.expose_secret().parse::<u32>().ok());
    if let Some(pid) = pid.filter(|pid| is_server(*pid, database)) {
        tracing::warn!(pid, "ending the Temporal server that was left over");
        children::end(pid, Signal::SIGTERM);
        let mut waited = Duration::ZERO;
        while is_server(pid, database) && waited < PATIENCE {
            tokio::time::sleep(PAUSE).await;
            waited += PAUSE;
        }
        if is_server(pid, database) {
            children::end(pid, Signal::SIGKILL);
        }
    }
    drop(fs::remove_file(pid_file));
}

/// Whether this process is a Temporal server on this database; a number may have been given to somebody else since.
fn is_server(pid: u32, database: &Path) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
    words.contains(&b"start-dev".as_slice()) && words.contains(&database.as_os_str().as_encoded_bytes())
}

fn is_alive(pid: u32) -> bool {
    let process = i32::try_from(pid).ok().filter(|pid| *pid > 1).map(nix::unistd::Pid::from_raw);
    process.is_some_and(|process| nix::sys::signal::killpg(process, None).is_ok())
}

//! One child: started, watched, started again, stopped.
//!
//! Each child leads a process group of its own, so that ctrl-c on the terminal reaches the supervisor alone, which then
//! stops them in order. Its output goes to a log file. The write end of its stdin is held here for as long as it runs.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::{process::Command, sync::watch, task::JoinHandle, time::Instant};

use super::reaper::{Names, Reaper};
use crate::keys;

/// Wait before a child is started again; one that ends at once waits longer, within the two seconds promised.
const RESTART_FIRST: Duration = Duration::from_millis(100);
const RESTART_LAST: Duration = Duration::from_millis(1_500);
/// A child that ran this long did start.
const SETTLED: Duration = Duration::from_secs(5);
/// How much of a log file an error quotes.
const TAIL_BYTES: u64 = 2_000;

/// How to start a child.
pub(super) struct Plan {
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Arc<Vec<(String, String)>>,
    pub(super) inherit_environment: bool,
    pub(super) log: PathBuf,
    pub(super) pid_file: Option<PathBuf>,
}

/// A child that is kept running.
pub(super) struct Child {
    name: &'static str,
    log: PathBuf,
    /// 0 between two runs.
    pid: Arc<AtomicU32>,
    /// How often it ended by itself.
    ends: Arc<AtomicU32>,
    stop: watch::Sender<Option<Duration>>,
    watcher: Option<JoinHandle<()>>,
}

impl Child {
    /// Starts it and goes on watching it. The error is that it cannot be started at all.
    pub(super) fn start(plan: Plan, reaper: &Reaper) -> anyhow::Result<Self> {
        let (stop, told) = watch::channel(None);
        let pid = Arc::new(AtomicU32::new(0));
        let ends = Arc::new(AtomicU32::new(0));
        let running =
            Running { plan, reaper: reaper.names(), pid: Arc::clone(&pid), ends: Arc::clone(&ends) };
        let (name, log) = (running.plan.name, running.plan.log.clone());
        let first = running.spawn()?;
        let watcher = tokio::spawn(running.watch(first, told));
        Ok(Self { name, log, pid, ends, stop, watcher: Some(watcher) })
    }

    /// Its process, 0 while it is between two runs.
    pub(super) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// How often it ended by itself.
    pub(super) fn ends(&self) -> u32 {
        self.ends.load(Ordering::Relaxed)
    }

    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Where its output goes.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its output, in one line.
    pub(super) fn last_words(&self) -> String {
        let read = || {
            let mut file = fs::File::open(&self.log).ok()?;
            let length = file.metadata().ok()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(2).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// Whether it ended since somebody else listens on its port, as its last words have it.
    pub(super) fn found_its_port_taken(&self) -> bool {
        self.ends() > 0 && self.last_words().to_ascii_lowercase().contains("address already in use")
    }

    /// SIGTERM, and SIGKILL to its group when it takes longer than this.
    pub(super) async fn stop(mut self, patience: Duration) {
        self.stop.send_replace(Some(patience));
        if let Some(watcher) = self.watcher.take() {
            // The watcher only ever ends by itself.
            drop(watcher.await);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
            end(self.pid(), Signal::SIGKILL);
        }
    }
}

/// One run of a child.
struct Process {
    child: tokio::process::Child,
    /// Taken out of `child`, which would close it as soon as somebody waits for the child's end.
    _stdin: Option<tokio::process::ChildStdin>,
}

struct Running {
    plan: Plan,
    reaper: Names,
    pid: Arc<AtomicU32>,
    ends: Arc<AtomicU32>,
}

impl Running {
    async fn watch(self, first: Process, mut told: watch::Receiver<Option<Duration>>) {
        let mut process = first;
        let mut pause = RESTART_FIRST;
        loop {
            let begun = Instant::now();
            let ended = tokio::select! {
                ended = process.child.wait() => ended,
                patience = asked(&mut told) => return self.end_process(process, patience).await,
            };
            self.ended();
            tracing::warn!(child = self.plan.name, ?ended, "a child ended; starting it again");
            pause = if begun.elapsed() > SETTLED { RESTART_FIRST } else { (pause * 2).min(RESTART_LAST) };
            process = loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = asked(&mut told) => return,
                }
                match self.spawn() {
                    Ok(process) => break process,
                    Err(error) => {
                        tracing::error!(child = self.plan.name, error = format!("{error:#}"), "not started")
                    }
                }
                pause = RESTART_LAST;
            };
        }
    }

    async fn end_process(&self, mut running: Process, patience: Duration) {
        let pid = self.pid.load(Ordering::Relaxed);
        if let Some(process) = process(pid) {
            // Gone already is as good.
            let _ = kill(process, Signal::SIGTERM);
        }
        if tokio::time::timeout(patience, running.child.wait()).await.is_err() {
            end(pid, Signal::SIGKILL);
            drop(running.child.wait().await);
        }
        self.ended();
        if let Some(path) = &self.plan.pid_file {
            drop(fs::remove_file(path));
        }
    }

    fn ended(&self) {
        let pid = self.pid.swap(0, Ordering::Relaxed);
        self.ends.fetch_add(1, Ordering::Relaxed);
        self.reaper.forget(pid);
    }

    fn spawn(&self) -> anyhow::Result<Process> {
        let plan = &self.plan;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&plan.log)
            .with_context(|| format!("cannot write {}", plan.log.display()))?;
        let errors = log.try_clone().context("the log cannot be shared")?;
        let mut command = Command::new(&plan.program);
        if !plan.inherit_environment {
            command.env_clear();
        }
        let mut child = command
            .args(&plan.arguments)
            .envs(plan.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} does not start", plan.program.display()))?;
        let pid = child.id().unwrap_or(0);
        self.pid.store(pid, Ordering::Relaxed);
        self.reaper.name(pid);
        if let Some(path) = &plan.pid_file {
            keys::write_private(path, &pid.to_string())?;
        }
        let stdin = child.stdin.take();
        Ok(Process { child, _stdin: stdin })
    }
}

async fn asked(told: &mut watch::Receiver<Option<Duration>>) -> Duration {
    // The borrow must not be held over the wait below.
    let asked = told.wait_for(Option::is_some).await.map(|patience| *patience).ok();
    match asked {
        Some(patience) => patience.unwrap_or_default(),
        // Nobody is left who could ask: the handle was dropped, and kills the child itself.
        None => std::future::pending().await,
    }
}

fn process(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().filter(|pid| *pid > 1).map(Pid::from_raw)
}

/// A signal to the whole group that this process leads.
pub(super) fn end(pid: u32, signal: Signal) {
    if let Some(group) = process(pid) {
        // Gone already is as good.
        let _ = killpg(group, signal);
    }
}

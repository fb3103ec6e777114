//! What a process that runs has used, from Linux.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Longest wait for a worker to stop by itself.
const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// A process that is killed when this is dropped.
pub(crate) struct Process(Child);

/// Time on a CPU.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub(crate) own: Duration,
    /// Of the children that have ended: the cells.
    pub(crate) children: Duration,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?} does not start: {error}")))
    }

    /// One whose standard output is read.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    pub(crate) fn cpu(&self) -> Cpu {
        cpu(self.0.id())
    }

    /// Its memory in KiB; what it shares counts in part.
    pub(crate) fn memory_kib(&self) -> f64 {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0.id())).unwrap();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(&mut self) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGTERM).unwrap();
        let began = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < STOPS_WITHIN, "a worker does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Panics if it has ended.
    pub(crate) fn must_run(&mut self, name: &str) {
        if let Some(status) = self.0.try_wait().unwrap() {
            panic!("the worker in {name} ended: {status}");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// How long a process has been on a CPU, in steps of 10 ms.
pub(crate) fn cpu(pid: u32) -> Cpu {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name, which is in brackets: user and system time are the 14th and 15th field, the children's come next.
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .skip(11)
        .take(4)
        .map(|field| field.parse().unwrap())
        .collect();
    // Linux counts them a hundred a second.
    let time = |ticks: u64| Duration::from_millis(ticks * 10);
    Cpu { own: time(fields[0] + fields[1]), children: time(fields[2] + fields[3]) }
}

impl std::ops::Sub for Cpu {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { own: self.own - other.own, children: self.children - other.children }
    }
}

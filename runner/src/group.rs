//! The processes of one cell, and how they are ended.
//!
//! Bash leads a process group of its own, so one signal reaches what the cell
//! started. Some commands leave the group: `timeout 60 kubectl …` makes one for
//! itself, so does a job after `set -m`, and a daemon makes a session. On Linux
//! they are found in `/proc` by the variable that marks them. Two reaches:
//!
//! - the *session*: the group and what merely left the group. Whatever a cell
//!   leaves of that when it ends is killed.
//! - *everything*: those in other sessions too. A cell that is stopped or out of
//!   time leaves nothing; one that ended by itself may leave the daemon that it
//!   was meant to start.
//!
//! Beyond reach is what runs as another user, what another service started on
//! the cell's behalf, and what removed the variable from its environment.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getsid};

/// The variable that marks every process of a cell; its value is the private
/// directory of the run.
pub(super) const MARK: &str = "HARMONY_CELL_RUN";

/// A process may fork while the table is read, so it is read again.
const PASSES: usize = 5;

/// How far a signal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The group, and marked processes of the runner's own session.
    Session,
    /// Every marked process.
    Everything,
}

/// The processes of one cell. Kills everything when dropped, unless the cell is
/// known to have ended.
#[derive(Debug)]
pub(super) struct Group {
    leader: Pid,
    mark: Vec<u8>,
    ended: bool,
}

impl Group {
    /// `leader` leads the group; `dir` is the value of the mark.
    pub(super) fn new(leader: i32, dir: &Path) -> Self {
        let mut mark = format!("{MARK}=").into_bytes();
        mark.extend_from_slice(dir.as_os_str().as_encoded_bytes());
        Self { leader: Pid::from_raw(leader), mark, ended: false }
    }

    /// Asks everything to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::SIGTERM, Reach::Everything);
    }

    /// Ends what is there, and what is started meanwhile. A process that is gone
    /// already is no error: that is what was wanted.
    pub(super) fn kill(&self, reach: Reach) {
        for _ in 0..PASSES {
            if self.signal(Signal::SIGKILL, reach) == 0 {
                return;
            }
        }
    }

    /// Nothing is left to be killed when this is dropped.
    pub(super) fn ended(&mut self) {
        self.ended = true;
    }

    /// How many processes outside the group the signal was sent to.
    fn signal(&self, signal: Signal, reach: Reach) -> usize {
        let strays = self.strays(reach);
        for stray in &strays {
            let _ = kill(*stray, signal);
        }
        // The wrapper's watcher keeps the number ours until this kills it.
        let _ = killpg(self.leader, signal);
        strays.len()
    }

    fn strays(&self, reach: Reach) -> Vec<Pid> {
        let own_session = getsid(None).ok();
        let reached = |pid: &Pid| {
            let in_group = nix::unistd::getpgid(Some(*pid)) == Ok(self.leader);
            let in_session = own_session.is_some() && getsid(Some(*pid)).ok() == own_session;
            !in_group && (in_session || reach == Reach::Everything)
        };
        processes().filter(reached).filter(|pid| self.is_marked(*pid)).collect()
    }

    fn is_marked(&self, pid: Pid) -> bool {
        let environment = PathBuf::from(format!("/proc/{pid}/environ"));
        let environment = std::fs::read(environment).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == self.mark)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            self.kill(Reach::Everything);
        }
    }
}

/// Every process of the machine; none where there is no `/proc`.
fn processes() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| number(&entry.file_name()).map(Pid::from_raw))
}

fn number(name: &OsStr) -> Option<i32> {
    name.to_str()?.parse().ok()
}

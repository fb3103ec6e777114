//! A worker that is killed takes its cell with it.
//!
//! The test starts this very test binary again as the worker, lets it run a
//! cell, and kills it with SIGKILL.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{eventually, is_alive, outcome_of, pids_in, run_of};

/// Set for the process that plays the worker; a file for process ids.
const PLAY_WORKER: &str = "HARMONY_TEST_PLAY_WORKER";

/// Does nothing unless the test below has started it.
#[tokio::test]
async fn plays_the_worker() {
    let Some(pids) = std::env::var_os(PLAY_WORKER).map(PathBuf::from) else {
        return;
    };
    let commands = format!(
        "trap '' TERM HUP\n\
         (trap '' TERM HUP; sleep 60 & echo $! >>{0}; wait) & echo $! >>{0}\n\
         timeout 60 sleep 61 & echo $! >>{0}\n\
         setsid sleep 62 & echo $! >>{0}\n\
         sleep 0.2; echo \"$HARMONY_CELL_RUN\" >{0}.dir; echo $$ >>{0}\n\
         while :; do sleep 0.1; done",
        pids.display()
    );
    let mut run = run_of(&commands);
    run.timeout = Duration::from_secs(60);
    outcome_of(run).await;
}

#[test]
fn killed_worker_leaves_no_cell_running() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let module = module_path!().split_once("::").unwrap().1;
    let mut worker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("{module}::plays_the_worker")])
        .env(PLAY_WORKER, &pids)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let cell = pids_in(&pids, 5);
    for pid in &cell {
        assert!(is_alive(pid), "{pid} of {cell:?}");
    }
    let worker_pid = Pid::from_raw(i32::try_from(worker.id()).unwrap());
    kill(worker_pid, Signal::SIGKILL).unwrap();
    worker.wait().unwrap();
    for pid in &cell {
        eventually("processes of the cell ended", || !is_alive(pid));
    }
    let private = std::fs::read_to_string(dir.path().join("pids.dir")).unwrap();
    eventually("private directory removed", || !PathBuf::from(private.trim()).exists());
}

//! Kills processes of Harmony and of Temporal, each kind at moments of its own, for as long as it is told to.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    dice::Dice,
    world::{HARMONY, World},
};

/// How often to look which processes there are.
const LOOK: Duration = Duration::from_millis(100);

/// Within so many seconds `harmony dev` starts on a small machine that has nothing else to do.
const IDLE_START_S: u64 = 6;
/// A machine that is slower than this is not tested by waiting longer.
const SLOWEST: u32 = 8;
/// How long each lives before it is killed, in milliseconds. A server of Temporal needs seconds to be of any use again;
/// a worker dies often enough in the middle of something.
const LIVES: [(&str, (u64, u64)); 4] = [
    ("runbooks", (1_000, 12_000)),
    ("serve", (1_500, 14_000)),
    ("temporal", (6_000, 24_000)),
    ("worker", (500, 9_000)),
];

/// See the module.
pub(crate) struct Killer<'a> {
    world: &'a World,
    runbooks: RunbookWorker,
    /// Until when each process that was seen may live.
    fates: BTreeMap<&'static str, (i32, Instant)>,
    dice: Dice,
    /// How much longer everything takes here than on a machine that is idle.
    slowness: u32,
    /// How many were killed, by kind.
    pub(crate) killed: BTreeMap<&'static str, usize>,
}

impl<'a> Killer<'a> {
    /// `took` is how long the installation took to start, which says how long a process takes to be of use again.
    pub(crate) fn new(world: &'a World, dice: Dice, took: Duration) -> Self {
        let runbooks = RunbookWorker::start(world);
        let slowness = u32::try_from(took.as_secs() / IDLE_START_S).unwrap().clamp(1, SLOWEST);
        println!("slow     {slowness} times: started in {:.0} s", took.as_secs_f64());
        Self { world, runbooks, fates: BTreeMap::new(), dice, slowness, killed: BTreeMap::new() }
    }

    /// Kills until there were so many; `left` says how many are to come.
    pub(crate) async fn kill(&mut self, left: &AtomicUsize) {
        while left.load(Ordering::SeqCst) > 0 {
            let known = self.known();
            for (part, life) in LIVES {
                let pid = if part == "runbooks" { self.runbooks.pid() } else { pid(&known, part) };
                // Between two lives, or seen dead already.
                let Some(pid) = pid else { continue };
                let now = Instant::now();
                match self.fates.get(part) {
                    Some((known, end)) if *known == pid => {
                        if now < *end || left.load(Ordering::SeqCst) == 0 {
                            continue;
                        }
                        if kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok() {
                            *self.killed.entry(part).or_default() += 1;
                            left.fetch_sub(1, Ordering::SeqCst);
                        }
                        // The number is not to be used again before another process has it.
                        self.fates.insert(part, (pid, now + Duration::from_secs(3_600)));
                    }
                    _ => {
                        let end = now + self.dice.time(life) * self.slowness;
                        self.fates.insert(part, (pid, end));
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        self.runbooks.pid();
    }

    /// The processes as `harmony dev` knows them now.
    fn known(&self) -> Value {
        let text = std::fs::read(self.world.dir.path().join("dev.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

fn pid(known: &Value, part: &str) -> Option<i32> {
    let pid = known["pids"][part].as_i64().and_then(|pid| i32::try_from(pid).ok());
    pid.filter(|pid| *pid > 1)
}

/// A second worker for runbook cells alone, as in production; the supervisor's own polls both queues. It is started
/// again by whoever asks for its number.
struct RunbookWorker {
    environment: Vec<(&'static str, String)>,
    log: PathBuf,
    child: Child,
}

impl RunbookWorker {
    fn start(world: &World) -> Self {
        let text = |name: &str| world.line()[name].as_str().unwrap().to_owned();
        let environment = vec![
            (
                "HARMONY_TICKET_PUBLIC_KEY",
                std::fs::read_to_string(world.dir.path().join("ticket.pub")).unwrap(),
            ),
            ("HARMONY_RUNBOOKS", world.dir.path().join("runbooks").display().to_string()),
            ("TEMPORAL_ADDRESS", text("temporal")),
            ("TEMPORAL_NAMESPACE", text("namespace")),
        ];
        let log = world.dir.path().join("logs/runbooks.log");
        let child = spawn(&environment, &log);
        Self { environment, log, child }
    }

    fn pid(&mut self) -> Option<i32> {
        if self.child.try_wait().unwrap().is_some() {
            self.child = spawn(&self.environment, &self.log);
        }
        i32::try_from(self.child.id()).ok()
    }
}

fn spawn(environment: &[(&'static str, String)], log: &PathBuf) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    Command::new(HARMONY)
        .args(["worker", "--queue", "harmony-runbooks", "--exit-with-stdin"])
        .envs(environment.iter().cloned())
        // Held here: it ends with whoever runs this, however that ends.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Drop for RunbookWorker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

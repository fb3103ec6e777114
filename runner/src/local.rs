//! Runs one cell on this machine and tells how it ended.
//!
//! - A cell runs in bash under `set -e -o pipefail`, as runme runs it, whether
//!   its fence says `sh`, `bash` or `shell`. Standard input is empty.
//! - Time up, or `stop`: SIGTERM to all its processes, SIGKILL after 5 s.
//! - Ended, however: what is left in its process group is killed, so a child in
//!   the background neither outlives it nor holds up the answer.
//! - The runner dropped or killed: the cell dies too (`wrapper.sh`).
//! - Output of any length takes bounded memory; secrets are masked before
//!   anything leaves this module.
//!
//! Whether a cell may run at all, the total time of a run and what to do after a
//! crash are for the caller to decide.

use std::fmt::Write as _;
use std::future::ready;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::pin::{Pin, pin};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::EXECUTOR;
use super::confine::Confinement;
use super::executor::{CellOutcome, CellRun, Ended, Executor, Progress, RunError, Stop};
use super::exports::{self, Exports};
use super::group::Reach;
use super::launch::{self, Launched};
use super::markdown::{ParseError, parse};
use super::mask::Masker;
use super::output::Output;
use super::tail::cut_to_fit;

/// Time to end in order after SIGTERM (DESIGN 6).
const GRACE: Duration = Duration::from_secs(5);

/// How long output is still read once every process is killed; a daemon that
/// left the session may hold the pipes for ever.
const DRAIN: Duration = Duration::from_millis(500);

/// A process that hangs in the kernel cannot be reaped; we do not wait for it.
const REAP: Duration = Duration::from_secs(5);

/// How often progress is looked at.
const PROGRESS: Duration = Duration::from_millis(250);

/// What a cell always gets from the worker's own environment, if it is set.
const ALWAYS_ALLOWED: [&str; 6] = ["HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ"];

/// The built-in executor, see [`super::EXECUTOR`].
#[derive(Debug, Clone)]
pub struct Runner {
    allow_env: Vec<String>,
    confinement: Option<Arc<Confinement>>,
}

impl Runner {
    /// Cells see these variables of the worker besides `PATH`, `HOME`, `LANG`,
    /// `LC_ALL`, `TZ` and `TMPDIR`, and no other.
    pub fn new(allow_env: Vec<String>) -> Self {
        let always = ALWAYS_ALLOWED.iter().map(|name| (*name).to_owned());
        Self { allow_env: always.chain(allow_env).collect(), confinement: None }
    }

    /// The same, with cells that the kernel confines. A cell that it cannot confine does not start.
    pub fn confined(self, confinement: Confinement) -> Self {
        Self { confinement: Some(Arc::new(confinement)), ..self }
    }

    /// Runs one cell to its end. An error means that the snapshot has no such
    /// cell; everything that happens to the cell is an outcome.
    ///
    /// Dropping the future kills the cell.
    pub async fn run_cell(
        &self,
        run: CellRun,
        progress: watch::Sender<Progress>,
        stop: impl Future<Output = ()>,
    ) -> Result<CellOutcome, ParseError> {
        let cell = parse(&run.snapshot)?.named(&run.cell)?.clone();
        let allowed = cell.timeout.map_or(run.timeout, |own| own.min(run.timeout));
        let mut stop = pin!(stop);
        let is_stopped = tokio::select! {
            biased;
            () = &mut stop => true,
            () = ready(()) => false,
        };
        if is_stopped {
            return Ok(CellOutcome::without_a_start(Ended::Cancelled));
        }
        if allowed.is_zero() {
            return Ok(CellOutcome::without_a_start(Ended::TimedOut));
        }
        match launch::launch(&self.allow_env, self.confinement.as_deref(), &run, &cell) {
            Ok(launched) => Ok(attend(launched, &run, allowed, &progress, stop).await),
            Err(reason) => {
                let ended = Ended::CouldNotStart(reason);
                Ok(CellOutcome::without_a_start(ended))
            }
        }
    }
}

#[async_trait]
impl Executor for Runner {
    fn name(&self) -> &'static str {
        EXECUTOR
    }

    /// A cell does not outlive its worker, so it ends either way.
    async fn run(
        &self,
        run: CellRun,
        progress: watch::Sender<Progress>,
        stop: BoxFuture<'_, Stop>,
    ) -> Result<CellOutcome, RunError> {
        Ok(self.run_cell(run, progress, stop.map(drop)).await?)
    }
}

async fn attend(
    mut launched: Launched,
    run: &CellRun,
    allowed: Duration,
    progress: &watch::Sender<Progress>,
    stop: Pin<&mut impl Future<Output = ()>>,
) -> CellOutcome {
    let started = Instant::now();
    let (secrets, limits) = (&run.secrets, run.limits);
    let masker = Masker::new(secrets);
    let mut output = Output::new(&mut launched.child, &masker, run.printed.as_ref());

    let ended = until_ended(&mut launched, &mut output, allowed, progress, stop).await;
    let reach = match ended {
        Ended::TimedOut | Ended::Cancelled => Reach::Everything,
        _ => Reach::Session,
    };
    launched.group.kill(reach);
    launched.group.ended();
    // An error is a time-out here: the pipes are still held by somebody.
    let _ = timeout(DRAIN, output.read_to_end()).await;
    output.end();
    report(&output, progress);

    let exports = match ended {
        Ended::Exited(0) => {
            exports::read(launched.dir.path(), &launched.given, secrets, &masker, limits.exports_bytes)
        }
        _ => Exports::default(),
    };
    let (stdout_tail, stderr_tail) = tails(&output, launched.dir.path(), &exports.notes, limits.tail_bytes);
    CellOutcome {
        ended,
        stdout_tail,
        stderr_tail,
        output_bytes: output.total_bytes(),
        duration: started.elapsed(),
        exported: exports.variables,
    }
}

/// Reads output until the cell has ended by itself or has been ended.
async fn until_ended(
    launched: &mut Launched,
    output: &mut Output<'_>,
    allowed: Duration,
    progress: &watch::Sender<Progress>,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Ended {
    let deadline = deadline(allowed);
    let mut ticks = interval(PROGRESS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let why = loop {
        tokio::select! {
            status = launched.child.wait() => return ended_by_itself(status),
            () = &mut stop => break Ended::Cancelled,
            () = sleep_until(deadline) => break Ended::TimedOut,
            _ = ticks.tick() => report(output, progress),
            () = output.read_some() => {}
        }
    };
    // It may have ended in the same instant; then that is what happened.
    if let Ok(Some(status)) = launched.child.try_wait() {
        return ended_by_itself(Ok(status));
    }
    launched.group.terminate();
    let all_gone = async {
        // A trap may still be at work in a child when the shell has ended, and
        // then it still holds the pipes.
        let _ = tokio::join!(launched.child.wait(), output.read_to_end());
    };
    if timeout(GRACE, all_gone).await.is_err() {
        launched.group.kill(Reach::Everything);
        let _ = timeout(REAP, launched.child.wait()).await;
    }
    why
}

fn ended_by_itself(status: std::io::Result<ExitStatus>) -> Ended {
    let Ok(status) = status else {
        // The status was taken by somebody else: the cell ran, its end is lost.
        return Ended::Signalled(0);
    };
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, signal) => Ended::Signalled(signal.unwrap_or(0)),
    }
}

/// A year is no limit; what is further away might not fit into an `Instant`.
fn deadline(allowed: Duration) -> Instant {
    let now = Instant::now();
    let far = Duration::from_secs(365 * 24 * 3600);
    now + allowed.min(far)
}

fn report(output: &Output<'_>, progress: &watch::Sender<Progress>) {
    progress.send_if_modified(|last| {
        if last.output_bytes == output.total_bytes() {
            return false;
        }
        *last = Progress { output_bytes: output.total_bytes(), last_line: output.last_line(), exists: true };
        true
    });
}

/// Both tails, cut to size; bash's messages name `cell.sh` without the private
/// directory, which is another one each time.
fn tails(output: &Output<'_>, dir: &Path, notes: &[String], limit_bytes: usize) -> (String, String) {
    let prefix = format!("{}/", dir.display());
    let (mut stdout, mut stderr) = output.texts();
    stdout = stdout.replace(&prefix, "");
    stderr = stderr.replace(&prefix, "");
    if !notes.is_empty() && !stderr.is_empty() && !stderr.ends_with('\n') {
        stderr.push('\n');
    }
    for note in notes {
        let _ = writeln!(stderr, "[harmony] {note}");
    }
    let (stdout_bytes, stderr_bytes) = output.stream_bytes();
    cut_to_fit((stdout, stdout_bytes), (stderr, stderr_bytes), limit_bytes)
}

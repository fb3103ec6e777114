//! What runs cells: the trait, and what goes into a run and comes out of it.
//!
//! Two implement it: [`super::Runner`] runs a cell as processes of this machine, and `Jobs` (feature `kubernetes`) as a
//! Job of a cluster. Which one runs a cell is part of what its gate covers, by [`Executor::name`].
//!
//! An outcome is what is known of a cell that has ended; [`RunError::Unknown`] says that nobody knows, and
//! [`RunError::Left`] that it goes on without this worker, for another one to take over. Whether a cell may run at all,
//! the total time of a run and what to do after a crash are for the caller to decide.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use tokio::sync::watch;

use super::job::JobRun;
use super::markdown::ParseError;
use super::printed::Printed;

/// Runs cells, each to its end.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Its name and the version of its behaviour, as digests and tickets have it.
    fn name(&self) -> &'static str;

    /// Runs one cell to its end; everything that happens to the cell is an outcome. When `stop` completes, the cell is
    /// ended or left alone, as it says.
    async fn run(
        &self,
        run: CellRun,
        progress: watch::Sender<Progress>,
        stop: BoxFuture<'_, Stop>,
    ) -> Result<CellOutcome, RunError>;
}

/// Why a cell is not waited for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Somebody stopped the run: the cell is ended.
    End,
    /// This worker ends. A cell that can go on without it does.
    Leave,
}

/// Why a cell has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The snapshot has no such cell: nothing ran.
    #[error(transparent)]
    NoSuchCell(#[from] ParseError),
    /// Nobody knows whether it ran, or how it ended.
    #[error("{0}")]
    Unknown(String),
    /// It goes on, and another worker that runs it finds it there.
    #[error("this worker ends, and the cell goes on without it")]
    Left,
}

/// One cell to run.
#[derive(Debug, Clone)]
pub struct CellRun {
    /// Markdown that holds the cell: what was digested, or the cell alone.
    pub snapshot: String,
    /// The name of the cell in it.
    pub cell: String,
    /// Shown and digested, never secret.
    pub env: BTreeMap<String, String>,
    /// Exported by earlier cells of the same run; wins over `env`.
    pub carried: BTreeMap<String, String>,
    /// The resolved `secretEnv`; wins over both.
    pub secrets: BTreeMap<String, SecretString>,
    /// From [`super::RunbookRoot::workdir`]; a Job has none.
    pub workdir: PathBuf,
    /// The most this cell may take; its own `timeout` can shorten it.
    pub timeout: Duration,
    /// The most that is kept of it.
    pub limits: OutcomeLimits,
    /// Takes what it prints while it runs, where somebody follows.
    pub printed: Option<Printed>,
    /// The Job that it runs as, where it does not run here.
    pub job: Option<JobRun>,
}

/// The most that is kept of what a cell prints and hands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutcomeLimits {
    /// Of both streams together, in bytes.
    pub tail_bytes: usize,
    /// Of the variables that it exports, names and values together, in bytes.
    pub exports_bytes: usize,
}

impl Default for OutcomeLimits {
    fn default() -> Self {
        Self { tail_bytes: super::TAIL_LIMIT_BYTES, exports_bytes: super::EXPORTS_LIMIT_BYTES }
    }
}

/// How a cell ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    Exited(i32),
    /// Its shell was killed by this signal, not by us.
    Signalled(i32),
    /// What runs it killed it, for this reason: its memory was used up, or its node was needed for something else.
    Killed(String),
    /// Its time was up. With no time at all it is not started.
    TimedOut,
    /// `stop` completed. If it had before, the cell is not started.
    Cancelled,
    /// Nothing of it ran.
    CouldNotStart(String),
}

/// What is known of a cell that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellOutcome {
    /// How it ended.
    pub ended: Ended,
    /// The end of its standard output, masked. Both tails together have at most
    /// [`super::TAIL_LIMIT_BYTES`].
    pub stdout_tail: String,
    /// The end of its standard error, masked; then, in lines that begin with
    /// `[harmony]`, which variables could not be carried on.
    pub stderr_tail: String,
    /// All it wrote, both streams.
    pub output_bytes: u64,
    /// From start to end, the ending included; zero if it was not started.
    pub duration: Duration,
    /// What it exported or changed, if it ended with 0: at most 16 KiB, nothing
    /// that contains a secret.
    pub exported: BTreeMap<String, String>,
}

/// How far a cell is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// All it wrote so far, both streams.
    pub output_bytes: u64,
    /// The last line it wrote, masked, at most 200 characters.
    pub last_line: String,
    /// Whether it surely exists where it runs, so that another worker finds it there.
    pub exists: bool,
}

impl CellOutcome {
    pub(super) fn without_a_start(ended: Ended) -> Self {
        Self {
            ended,
            stdout_tail: String::new(),
            stderr_tail: String::new(),
            output_bytes: 0,
            duration: Duration::ZERO,
            exported: BTreeMap::new(),
        }
    }
}

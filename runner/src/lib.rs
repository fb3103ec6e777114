//! Runbooks: Markdown whose named shell cells are run one by one, on approval.
//!
//! ```text
//! RunbookRoot::load ─▶ Snapshot ─▶ parse ─▶ Runbook::select    when proposed
//!                          │                                   (digested, shown)
//!                          ▼
//!                  CellRun ─▶ Executor::run ─▶ CellOutcome     when approved
//! ```
//!
//! What runs is the snapshot, never the file. [`Executor::run`] runs one cell
//! and no more; the variables that it hands on, the total time and the record
//! are kept by the caller, so that each cell can be recorded before and after.
//!
//! The runner confines by care, and by force where it is told to and the kernel
//! can (`confine.rs`): else a cell runs as the worker's user and may do what that
//! user may. It sees no more of the worker's environment
//! than the allow list, starts under the runbook root, ends with everything it
//! started (`group.rs` says what is beyond reach), and what it prints is masked.
//!
//! A runbook whose front matter says `executor: kubernetes` has its cells run as
//! Jobs instead (`job.rs`, and `jobs` with the feature `kubernetes`). The name of
//! the executor ([`EXECUTOR`], [`JOB_EXECUTOR`]) is part of the digest, so an
//! approval for one is none for the other.

mod attributes;
#[cfg_attr(not(target_os = "linux"), path = "confine_nowhere.rs")]
mod confine;
mod executor;
mod exports;
mod front_matter;
mod group;
mod inputs;
mod job;
#[cfg(feature = "kubernetes")]
mod jobs;
mod launch;
mod local;
mod markdown;
mod mask;
mod output;
mod printed;
mod root;
mod tail;
#[cfg(test)]
mod tests;

pub use confine::{Confinement, Support};
pub use executor::{CellOutcome, CellRun, Ended, Executor, OutcomeLimits, Progress, RunError, Stop};
pub use inputs::{Input, InputKind, InputValue, Inputs};
pub use job::{JOB_EXECUTOR, JobRun, JobSpec};
#[cfg(feature = "kubernetes")]
pub use jobs::{JobSettings, Jobs, JobsError};
pub use local::Runner;
pub use markdown::{Cell, DryRun, ParseError, RefusedCell, Runbook, parse};
pub use printed::{Piece, Printed, WHOLE_LIMIT_BYTES, Whole};
pub use root::{LoadError, RootError, RunbookRoot, Snapshot};

/// The built-in executor and the version of its behaviour.
pub const EXECUTOR: &str = "harmony-bash/1";

/// The largest runbook: it stands on record as a whole, and each of its cells in an activity's input.
pub const SNAPSHOT_LIMIT_BYTES: usize = 256 * 1024;

/// The most that is kept of a cell's output, both streams together (DESIGN 7).
pub const TAIL_LIMIT_BYTES: usize = 16 * 1024;

/// The most that a cell hands on, names and values together.
pub const EXPORTS_LIMIT_BYTES: usize = 16 * 1024;

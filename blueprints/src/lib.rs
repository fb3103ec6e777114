//! The blueprints: four workflows that take an incident from declaration to a published review, `incident.updates` that
//! keeps the time of its updates, `incident.act` for the small outward acts between them, and one that makes incidents of candidates.
//!
//! Deterministic: no clock, randomness, environment or hash-map order. The crate knows activities only by name and
//! type (`contracts`); what they do is bound elsewhere. Each blueprint's flow reads like its procedure, one line a step;
//! racing and waiting happen in `gate`, judging what comes in in `decision_inbox`, talking to the log in `run`.

#![deny(clippy::iter_over_hash_type)]

pub mod contracts;
pub mod messages;
pub mod revision;
pub mod starts;

mod background;
mod decision_inbox;
mod gate;
mod notifications;
mod run;
mod workflow_state;

mod act;
mod close_out;
mod ending;
mod initiate;
mod post_mortem;
mod promote;
mod release;
mod remediate;
mod remediate_dry;
mod remediate_steps;
mod updates;

pub use act::IncidentAct;
pub use close_out::CloseOut;
pub use initiate::Initiate;
pub use post_mortem::PostMortem;
pub use promote::Promote;
pub use release::{Deploy, PromoteRelease};
pub use remediate::Remediate;
pub use updates::IncidentUpdates;

/// Task queue of workflows and connector activities.
pub const INCIDENTS_QUEUE: &str = "harmony-incidents";
/// Task queue of runbook cells alone.
pub const RUNBOOKS_QUEUE: &str = "harmony-runbooks";
/// Signal that carries a decision.
pub const APPROVAL_SIGNAL: &str = "approval";
/// Update that carries a decision and answers it.
pub const DECIDE_UPDATE: &str = "decide";
/// Signal that makes a workflow look in the log how its gate stands.
pub const WAKE_SIGNAL: &str = "wake";
/// Update that does the same, and is handed over at once.
pub const WAKE_UPDATE: &str = "wake";
/// Memo that tells which run of its attempt a workflow is; absent for the first.
pub const RUN_MEMO: &str = "harmony.run";
/// A run that was lost may have been continued as a new one less often than that: a resumed one counts on from there.
pub const RUNS_A_RESUMPTION: u64 = 1_000;

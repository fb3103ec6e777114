//! Revisions of the blueprints: which sequence of commands a run follows.
//!
//! The first reply that stands in a run's history, that of `blueprint.begin`, says which revision the worker had. The run
//! follows it to its end, so that a history replays after an update and a running incident goes on. A change of the
//! sequence takes the next number here, and keeps the sequence of the revisions before it. Costs no event, unlike a
//! patch marker. `candidate.promote` has no revisions.

/// The newest revision: what a run that begins now follows.
pub const LATEST: u32 = ANSWERED;

/// What was decided is told beside what follows from it, and pages end without delaying a decision.
pub(crate) const TOLD_BESIDE: u32 = 1;

/// What a remediation covers stands on record alone: proposing it opens its gate, and a cell is given its own source.
pub(crate) const REFERENCES: u32 = 2;

/// Manual steps and checkpoints: cells with a gate of their own.
pub(crate) const STEPS: u32 = 3;

/// What nobody waits for is appended with what comes next, in one turn.
pub(crate) const TOGETHER: u32 = 4;

/// A reminder that was followed loses its button.
pub(crate) const ANSWERED: u32 = 5;

//! The rules as whoever asks meets them: commands go in, answers and records come out, nothing is reached past `judge`.
//!
//! One binary, one module a subject. [`world::World`] is a log without a store: it judges, seals and folds.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

mod access;
mod approvals;
mod chain;
mod control;
mod escalation;
mod flood;
mod forgeries;
mod judging;
mod leading;
mod matrix;
mod promotion;
mod properties;
mod quorum;
mod runs;
mod world;

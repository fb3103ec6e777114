//! The catalog: services, environments, their releases, and the runs that deploy and promote them.
//!
//! Pure, as `harmony-incidents` is, whose records, gates and rights it uses: no I/O, no clock, no randomness. The log
//! folds the streams of the catalog with `fold::service(state, record)` and `fold::environment(state, record)`, and
//! keeps a row of each release and run that `fold::touched(record)` names.

#![deny(clippy::iter_over_hash_type, clippy::wildcard_enum_match_arm)]

pub mod adapters;
pub mod audit;
pub mod command;
pub mod descriptions;
pub mod entity;
pub mod fold;
pub mod inbound;
pub mod judge;
pub mod outbound;
pub mod suspects;
pub mod views;
pub mod windows;
pub mod words;

pub use adapters::Adapter;
pub use command::{Command, NewRelease};
pub use judge::{EnvironmentFact, Facts, judge_environment, judge_service};

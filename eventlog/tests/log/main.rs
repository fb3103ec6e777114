//! The log on real files: what it promises to whoever appends, reads, dispatches or audits.
//!
//! One binary, one module a promise. Each test has a directory of its own.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

mod appending;
mod checkpoint;
mod effects;
mod export;
mod killed;
mod listing;
mod opening;
mod outbox;
mod redacting;
mod redaction;
mod tampering;
mod world;

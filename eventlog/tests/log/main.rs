//! The log on real files: what it promises to whoever appends, reads, dispatches or audits.
//!
//! One binary, one module a promise. The stories are told on every store, unchanged ([`stores`]); what is of one store
//! alone, such as the file that SQLite keeps, stands in a module named after it. Each test has a store of its own.

#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it, and aloud what it had to skip"
)]

mod appending;
mod candidates;
mod catalog;
mod checkpoint;
#[cfg(feature = "dynamodb")]
mod dynamo;
mod effects;
mod export;
mod group_commit;
mod interleavings;
mod killed;
mod lanes;
mod listing;
mod live_output;
mod older;
mod opening;
mod outbox;
mod rebuilding;
mod redacting;
mod redaction;
mod replaying;
mod server;
#[path = "../support/postgres.rs"]
mod server_process;
mod stores;
mod subscriptions;
mod tampered_file;
mod tampering;
mod tenancy;
mod world;

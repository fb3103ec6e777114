//! Stories end to end: real processes of Harmony, a real Temporal server, stand-ins of the vendors over real HTTP.
//!
//! One test binary, one module a story. Every story has a world of its own: data directory, ports, processes. Nothing
//! sleeps for a guess; everything waits for what it expects, and says what it saw instead when it does not come.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

mod act;
mod alertmanager;
mod attacked;
mod bad_input;
#[path = "../browser/mod.rs"]
mod browser;
mod by_hand;
mod catalog;
mod clients;
mod close_out;
mod control;
mod demo;
mod descriptors;
mod drain;
mod exports;
mod failures;
mod fan_out;
mod flags;
mod gates;
mod initiate;
mod kept;
mod kills;
mod leading;
mod levels;
mod live_output;
mod lost_runs;
mod many;
mod namespace;
mod on_postgres;
mod post_mortem;
mod promote;
mod races;
mod redaction;
mod releases;
mod remediate;
mod rotation;
mod runbook_steps;
mod secrets;
#[path = "../../eventlog/tests/support/postgres.rs"]
mod server_process;
mod slack;
mod stakeholders;
mod telemetry;
mod temporal_away;
mod tutorial;
mod versions;

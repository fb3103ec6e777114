//! Stories end to end: real processes of Harmony, a real Temporal server, stand-ins of the vendors over real HTTP.
//!
//! One test binary, one module a story. Every story has a world of its own: data directory, ports, processes. Nothing
//! sleeps for a guess; everything waits for what it expects, and says what it saw instead when it does not come.
#![allow(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

mod act;
mod bad_input;
mod by_hand;
mod close_out;
mod control;
mod demo;
mod flags;
mod initiate;
mod kills;
mod post_mortem;
mod promote;
mod races;
mod remediate;
mod secrets;
mod telemetry;
mod temporal_away;

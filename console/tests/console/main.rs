//! The console as its clients see it: its router over a real log, without a network.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod access;
mod approvals;
mod commands;
mod declare;
mod log;
mod slack;
mod starts;
mod world;

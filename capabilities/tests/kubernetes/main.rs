//! The adapter `k8s`, and runbook cells as Jobs, against a real API server and its controllers, with the rights of the
//! roles that are shipped and no more. Each test has a namespace of its own; all share one control plane. Where none can be built the tests say so
//! and are left out; on CI they fail.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

mod access;
mod cells;
mod conflicts;
mod counted;
mod failures;
mod lost_answers;
mod releases;
mod samples;
mod world;

#[path = "../support/control_plane/mod.rs"]
mod control_plane;

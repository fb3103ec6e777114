//! The sandbox as its clients see it: over HTTP, every answer checked against `specs/`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod clicks;
mod confluence;
mod faults;
mod forms;
mod inspection;
mod limits;
mod mail;
mod memory;
mod pagerduty;
mod slack;
mod slack_morphism;
mod statuspage;
mod trackers;
mod world;

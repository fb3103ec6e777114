//! The fan-out over real HTTP: a receiver that checks every signature itself, is down, slow, or refuses.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

mod cdevents;
mod receiver;
mod webhooks;
mod world;

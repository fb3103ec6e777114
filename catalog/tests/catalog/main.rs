//! The catalog's rules, tried: every invariant at the judge, every sequence of commands, every order of deliveries.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

mod audit;
mod doors;
mod properties;
mod rules;
mod runs;
mod suspects;
mod views;
mod world;

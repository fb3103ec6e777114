//! The catalog's rules, tried: every invariant at the judge, every sequence of commands, every order of deliveries.

mod audit;
mod doors;
mod properties;
mod rules;
mod runs;
mod suspects;
mod views;
mod world;

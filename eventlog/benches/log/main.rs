//! How close the log comes to what its stores give at best: `cargo bench -p harmony-eventlog`.
//!
//! Each line compares the log with a raw loop that writes (or reads) the same rows with the same durability, in turns
//! of one run, so that a busy machine is busy for both; what is printed is the ratio of the medians.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints what it measured")]

mod postgres;
#[path = "../../tests/support/postgres.rs"]
mod server_process;
mod sqlite;
mod story;
mod verify;

use std::time::Duration;

fn main() {
    // What `cargo bench` and `cargo test --benches` add.
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_asked = |name: &str| only.is_empty() || only.iter().any(|one| name.contains(one.as_str()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if is_asked("sqlite") {
        runtime.block_on(sqlite::one_record_per_commit());
        runtime.block_on(sqlite::writers_in_parallel());
    }
    if is_asked("postgres") {
        runtime.block_on(postgres::against_pgbench());
    }
    if is_asked("verify") {
        runtime.block_on(verify::against_reading_and_hashing());
    }
}

/// Prints one line: operations per second of both, and the ratio that is promised.
fn tell(what: &str, operations: u64, ours: &mut [Duration], raw: &mut [Duration], promised: f64) {
    ours.sort_unstable();
    raw.sort_unstable();
    let rate = |times: &[Duration]| operations as f64 / times[times.len() / 2].as_secs_f64();
    let (ours, raw) = (rate(ours), rate(raw));
    println!("{what}: {ours:.0}/s, raw {raw:.0}/s, ratio {:.2} (promised: {promised})", ours / raw);
}

//! How fast Harmony is and how big: `cargo bench -p harmony-tests --bench measures [-- NAME]`.
//!
//! What is compared runs in turns of one run on one server, so that a busy machine is busy for both; what is promised is
//! a ratio. The other figures are those of this machine. Names: `replay`, `lifecycles`, `callbacks`, `gates`, `start`,
//! `following`.
//!
//! Workers are processes of their own (this program again, with a job in its environment), so that their memory and
//! their time on the CPU are theirs alone. `HARMONY_TEST_SCALE=full` takes the large numbers.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints what it measured")]

mod bare;
mod callbacks;
mod child;
mod following;
mod gates;
mod lifecycles;
mod null_log;
#[allow(dead_code, reason = "the benchmark beside peers uses the rest")]
mod program;
mod replay;
#[allow(dead_code, reason = "the benchmark beside peers uses the rest")]
mod server;
mod start;
#[path = "../../stories/world.rs"]
#[allow(dead_code, reason = "the stories use the rest")]
mod world;

use std::time::Duration;

fn main() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Ok(job) = std::env::var(child::JOB) {
        runtime.block_on(child::run(&serde_json::from_str(&job).unwrap()));
        return;
    }
    // What `cargo bench` and `cargo test --benches` add.
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_asked = |name: &str| only.is_empty() || only.iter().any(|one| name.contains(one.as_str()));
    if is_asked("replay") {
        runtime.block_on(replay::cost_of_an_event());
    }
    if is_asked("lifecycles") {
        runtime.block_on(lifecycles::with_and_without_recording());
    }
    if is_asked("callbacks") {
        runtime.block_on(callbacks::against_a_bare_signal());
    }
    if is_asked("gates") {
        runtime.block_on(gates::pending());
    }
    if is_asked("start") {
        runtime.block_on(start::to_first_poll());
    }
    if is_asked("following") {
        runtime.block_on(following::cells_that_print());
    }
}

/// Whether the large numbers are asked for.
fn is_full() -> bool {
    std::env::var("HARMONY_TEST_SCALE").is_ok_and(|scale| scale == "full")
}

/// The value that so many of a hundred do not exceed; sorts.
fn percentile(values: &mut [Duration], of_hundred: usize) -> Duration {
    values.sort_unstable();
    values[(values.len() * of_hundred / 100).min(values.len() - 1)]
}

fn median(values: &mut [Duration]) -> Duration {
    percentile(values, 50)
}

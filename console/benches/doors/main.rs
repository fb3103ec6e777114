//! What the console costs whom: `cargo bench -p harmony-console`, or one of them by its name, `-- watchers`.
//!
//! `watchers`: how much longer a write takes while a thousand people watch, and what memory they take. With and without
//! them in turns of one run, so that a busy machine is busy for both. The server, the writers and those who watch are
//! processes of their own, as they are in life; all of them share this machine.
//!
//! `pages`: milliseconds of each page at the server, with 10,000 incidents and 2,000 records in one of them.
//!
//! `catalog`: milliseconds of the catalog's pages, of GraphQL's index and of an incident's changes, with 10,000 services
//! and 100,000 releases.
//!
//! A smaller run: `HARMONY_BENCH_SCALE=0.1`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints what it measured")]

mod catalog;
mod pages;
mod watchers;
#[path = "../../tests/console/world.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod world;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The parts of other processes.
    match arguments.first().map(String::as_str) {
        Some("serve") => return runtime.block_on(watchers::serve()),
        Some("watch") => return runtime.block_on(watchers::watch(&arguments[1..])),
        _ => {}
    }
    if cfg!(debug_assertions) {
        println!("this is not optimised: figures of `cargo bench` are the ones that count");
    }
    // What `cargo bench` and `cargo test --benches` add begins with a dash.
    let only: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_asked = |name: &str| only.is_empty() || only.iter().any(|one| name.contains(one.as_str()));
    if is_asked("watchers") {
        runtime.block_on(watchers::beside_writers());
    }
    if is_asked("pages") {
        runtime.block_on(pages::render());
    }
    if is_asked("catalog") {
        runtime.block_on(catalog::ask());
    }
}

/// So many, or a part of it where a smaller run is asked for.
fn scaled(whole: usize) -> usize {
    let scale = std::env::var("HARMONY_BENCH_SCALE").map_or(1.0, |text| text.parse::<f64>().unwrap());
    ((whole as f64 * scale) as usize).max(1)
}

//! Harmony beside workers in Go and in TypeScript that somebody who knows Temporal would write by hand for the same
//! lifecycle: `cargo bench -p harmony-tests --bench peers [-- NAME]`.
//!
//! The peers (`go/`, `typescript/`) make the same calls to the same stand-ins and run the same cells; they keep no log, have
//! no gates of Harmony's kind, and do not look whether a lost call had its effect. All sides take turns on one Temporal
//! server (A B C, C B A, …), so that a busy machine is busy for all of them; ratios are those of one round, and their
//! median is printed. Workers are processes of their own.
//!
//! A *default* server is `temporal server start-dev` as it comes, which looks for tasks 20 times a second, so that every
//! step waits for up to 50 ms; a *fast* one does not wait, and shows what the workers take.
//!
//! Names: `histories`, `latency`, `gates`, `replay`, `lifecycles`, or one load of these as in `lifecycles-fast-8` (1, 8, 32
//! or 64 at once, on a `fast` or a `default` server). `HARMONY_PEERS_ROUNDS` says how many rounds count (5),
//! `HARMONY_BENCH_PROGRAM` names another build of Harmony. Go and Node are used where they are there; with `CI` set they
//! have to be.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that prints what it measured"
)]

mod build;
mod gates;
mod histories;
mod latency;
mod lifecycles;
mod process;
#[path = "../measures/program.rs"]
mod program;
mod replay;
#[path = "../measures/server.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod server;
mod sides;
mod table;
#[path = "../../stories/world.rs"]
#[allow(dead_code, reason = "the stories use the rest")]
mod world;

use std::{path::PathBuf, process::Command, time::Duration};

use sides::{Kind, Program, Side};
use temporalio_client::UntypedWorkflow;

const ROUNDS: usize = 5;
/// Longest wait for a worker; a loaded machine is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
/// Has a dev server read its tasks at once, as the one of `harmony dev` does.
const FAST: [&str; 3] = [
    "history.transferProcessorMaxPollRPS=1000",
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
];

fn main() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_asked = |name: &str| only.is_empty() || only.iter().any(|one| name.contains(one.as_str()));
    let programs = programs();
    let servers: [(&str, &[&str]); 2] = [("fast", &FAST), ("default", &[])];
    println!(
        "Harmony: {}; {} cores, {} rounds, median of each side, then the median of the rounds' ratios (least-most).",
        build::described(),
        std::thread::available_parallelism().unwrap(),
        rounds()
    );
    runtime.block_on(async {
        if is_asked("histories") {
            histories::compare(&programs, &FAST).await;
        }
        if is_asked("latency") {
            latency::compare(&programs, servers[0]).await;
        }
        if is_asked("gates") {
            gates::compare(&programs, &FAST).await;
        }
        if is_asked("replay") {
            replay::compare(&programs, &FAST).await;
        }
        for server in servers {
            lifecycles::compare(&programs, server, is_asked).await;
        }
    });
}

/// The sides that can be measured here; says which are left out.
fn programs() -> Vec<Program> {
    let harmony =
        Program { kind: Kind::Harmony, path: program::program(), arguments: vec![PathBuf::from("worker")] };
    let mut programs = vec![harmony];
    for (kind, built) in [(Kind::Go, build::go()), (Kind::TypeScript, build::typescript())] {
        match built {
            Ok(command) => programs.push(program(kind, &command)),
            Err(problem) => {
                assert!(std::env::var_os("CI").is_none(), "{}: {problem}", kind.name());
                println!("**Left out: {}** ({problem}).\n", kind.name());
            }
        }
    }
    programs
}

fn program(kind: Kind, command: &Command) -> Program {
    Program {
        kind,
        path: command.get_program().into(),
        arguments: command.get_args().map(PathBuf::from).collect(),
    }
}

fn rounds() -> usize {
    match std::env::var("HARMONY_PEERS_ROUNDS") {
        Ok(text) => match text.parse() {
            Ok(rounds @ 1..) => rounds,
            _ => panic!("HARMONY_PEERS_ROUNDS: {text:?} is no number of rounds"),
        },
        Err(_) => ROUNDS,
    }
}

/// The rounds, with the first that only warms up, and the order of the sides in each.
pub(crate) fn turns(sides: usize) -> impl Iterator<Item = (usize, Vec<usize>)> {
    (0..=rounds()).map(move |round| {
        let order = 0..sides;
        (round, if round.is_multiple_of(2) { order.collect() } else { order.rev().collect() })
    })
}

/// Waits until none of a workflow's activities is under way.
pub(crate) async fn settled(side: &Side, workflow: &str) {
    let handle = side.client.get_workflow_handle::<UntypedWorkflow>(workflow);
    loop {
        let described = handle.describe(Default::default()).await.unwrap();
        if described.raw_description.pending_activities.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

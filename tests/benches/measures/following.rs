//! What following running cells costs: fifty cells of fifty incidents that print a line a second, against fifty that
//! print nothing, in turns. Counted is the time on a CPU of the worker, which hands their output on, and of the console,
//! which takes it; the cells' own processes are not.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::{
    child::cpu_of,
    is_full, median,
    program::program,
    world::{POLICY, World},
};

const CELLS: usize = 50;
const AT_ONCE: usize = 5;
/// Of a core, for the worker.
const PROMISED: f64 = 5.0;
/// What the runbooks print, a line a second until they may end.
const RUNBOOKS: [(&str, &str); 2] =
    [("prints.md", "echo \"$n: pods of checkout that are ready: 7 of 12\""), ("silent.md", ":")];

/// The share of a core that the worker and the console took.
#[derive(Clone, Copy)]
struct Shares {
    worker: Duration,
    console: Duration,
}

pub(crate) async fn cells_that_print() {
    let (rounds, window) = if is_full() { (5, 40) } else { (3, 20) };
    let window = Duration::from_secs(window);
    let world = World::start_program(&program(), POLICY, &[]).await;
    for (name, what) in RUNBOOKS {
        let end = end(&world, name);
        let text = format!(
            "# Watch\n\n```sh {{ name=watch timeout=600s }}\nn=0\nuntil [ -e '{}' ]; do n=$((n + 1)); {what}; sleep 1; done\n```\n",
            end.display()
        );
        std::fs::write(world.dir.path().join("runbooks").join(name), text).unwrap();
    }
    let incidents: Vec<String> = stream::iter(0..CELLS)
        .map(async |number| world.initiated(&format!("Watched {number}"), "P2").await.0)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut shares = RUNBOOKS.map(|_| Vec::new());
    let mut idle = Vec::new();
    for _ in 0..rounds {
        idle.push(taken(&world, window).await);
        for (of, (name, _)) in shares.iter_mut().zip(RUNBOOKS) {
            of.push(watched(&world, &incidents, name, window).await);
        }
    }
    let [printing, silent] = shares;
    let percent = |shares: &[Shares], of: fn(&Shares) -> Duration| {
        let mut all: Vec<Duration> = shares.iter().map(of).collect();
        median(&mut all).as_secs_f64() / window.as_secs_f64() * 100.0
    };
    for (who, of, promised) in [
        ("worker", (|one| one.worker) as fn(&Shares) -> Duration, format!(" (promised: {PROMISED})")),
        ("console", |one| one.console, String::new()),
    ] {
        let (loud, quiet, idle) = (percent(&printing, of), percent(&silent, of), percent(&idle, of));
        println!(
            "following: {CELLS} cells that print a line a second take {loud:.1} % of a core of the {who}, silent ones \
             {quiet:.1} %, no cells {idle:.1} %: what is printed takes {:.1} %{promised}",
            loud - quiet
        );
    }
}

/// Where this file is, the cells of a runbook end.
fn end(world: &World, runbook: &str) -> PathBuf {
    world.dir.path().join(format!("{runbook}.end"))
}

/// Runs it in all incidents, and looks for so long while all of them run.
async fn watched(world: &World, incidents: &[String], runbook: &str, window: Duration) -> Shares {
    stream::iter(incidents)
        .for_each_concurrent(AT_ONCE, async |id| {
            world.post(&format!("incidents/{id}/remediate"), json!({ "runbook": runbook })).await;
            let gate = world.gate(id).await;
            let approved = json!({ "decision": "approved", "digest": gate["digest"] });
            let (status, answer) = world.decide_as("commander", &gate, approved).await;
            assert_eq!(status, 200, "{answer}");
            world
                .until(&format!("the cell of {id}"), async || is_running(world, id).await.then_some(()))
                .await;
        })
        .await;
    let shares = taken(world, window).await;
    for id in incidents {
        assert!(is_running(world, id).await, "{id}: its cell ended too soon");
    }
    end_all(world, incidents, &end(world, runbook)).await;
    shares
}

/// What worker and console take for so long.
async fn taken(world: &World, window: Duration) -> Shares {
    let pids = ["worker", "serve"].map(|part| world.pid(part));
    let before = pids.map(cpu_of);
    tokio::time::sleep(window).await;
    let [worker, console] = std::array::from_fn(|part| cpu_of(pids[part]) - before[part]);
    Shares { worker, console }
}

/// Whether the last record about its cells is of one that began.
async fn is_running(world: &World, id: &str) -> bool {
    let kinds = world.kinds(id).await;
    kinds
        .iter()
        .rfind(|kind| kind.starts_with("RUNBOOK_CELL_"))
        .is_some_and(|kind| kind == "RUNBOOK_CELL_STARTED")
}

async fn end_all(world: &World, incidents: &[String], file: &Path) {
    std::fs::write(file, "").unwrap();
    stream::iter(incidents)
        .for_each_concurrent(AT_ONCE, async |id| {
            let result: Value = world.completed(id, "remediate").await;
            assert_eq!(result["status"], "COMPLETED", "{result}");
        })
        .await;
    std::fs::remove_file(file).unwrap();
}

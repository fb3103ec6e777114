//! A thousand remediations that wait for somebody: what opening them takes, and what a worker holds for each.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::{
    process::cpu,
    sides::{Arena, Kind, Phase, Program, Side},
    table::{self, Row},
    turns,
};

const GATES: usize = 1_000;
const AT_ONCE: usize = 32;
/// Less than this in a second is an idle worker's.
const IDLE: Duration = Duration::from_millis(60);

pub(crate) async fn compare(programs: &[Program], settings: &[&str]) {
    let mut idle = Row::new("memory of an idle worker, MiB", 0, "");
    let mut held = Row::new(format!("memory with {GATES} gates, MiB"), 0, "");
    let mut each = Row::new("memory of a gate that waits, KiB", 0, "≤ 1.2");
    let mut opening = Row::new("worker CPU to open a gate, ms", 1, "");
    let mut temporal = Row::new("Temporal's CPU to open a gate, ms", 1, "");
    for (round, order) in turns(programs.len()) {
        // Gates of the round before would wait on; nothing needs to be warm.
        if round == 0 {
            continue;
        }
        let mut arena = Arena::start(programs, settings).await;
        for place in order {
            let server = arena.server.pid();
            let side = &mut arena.sides[place];
            let kind = side.kind;
            // One lifecycle, so that code that a gate needs is there, and a channel.
            let number = side.declared(1).await.start;
            let (_, made) = side.lifecycle(number).await;
            let channel = made["channel"].as_str().or(made["correlation"]["slackChannel"].as_str());
            let numbers = side.opened(GATES, channel.unwrap()).await;
            let side: &Side = side;
            at_rest(side).await;
            let (memory, own, theirs) = (side.memory_kib(), side.cpu(), cpu(server));
            stream::iter(numbers)
                .for_each_concurrent(AT_ONCE, async |number| {
                    let workflow = side
                        .start_phase(Phase::Remediate(3), number, &json!({ "channel": channel.unwrap() }))
                        .await;
                    side.asked(&workflow).await;
                })
                .await;
            at_rest(side).await;
            let milliseconds = |time: Duration| time.as_secs_f64() * 1e3 / GATES as f64;
            let now = side.memory_kib();
            eprintln!("gates: round {round}, {}: {:.0} MiB", kind.name(), now / 1024.0);
            idle.add(kind, memory / 1024.0);
            held.add(kind, now / 1024.0);
            each.add(kind, (now - memory) / GATES as f64);
            opening.add(kind, milliseconds((side.cpu() - own).own));
            temporal.add(kind, milliseconds((cpu(server) - theirs).own));
        }
    }
    let kinds: Vec<Kind> = programs.iter().map(|program| program.kind).collect();
    table::print("with gates that wait", &kinds, &[idle, held, each, opening, temporal]);
}

/// Waits until everything that was asked for is done: until the worker does next to nothing.
async fn at_rest(side: &Side) {
    loop {
        let before = side.cpu().own;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if side.cpu().own - before < IDLE {
            return;
        }
    }
}

//! Incidents from their declaration to their resolution, so many at once: how many a second, and what worker and server
//! take for each.

use std::time::Instant;

use futures_util::{StreamExt, stream};

use crate::{
    process::{Cpu, cpu},
    sides::{Arena, Kind, Program, Side},
    table::{self, Row},
    turns,
};

/// How many at once, how many a round, and what is aimed at.
const LOADS: [(usize, usize, &str); 4] =
    [(1, 4, "≥ 0.8"), (8, 16, "≥ 1.0"), (32, 32, "≥ 1.0"), (64, 64, "≥ 1.0")];

/// What a round of one side took.
struct Round {
    seconds: f64,
    worker: Cpu,
    server: Cpu,
}

pub(crate) async fn compare(
    programs: &[Program],
    (name, settings): (&str, &[&str]),
    is_asked: impl Fn(&str) -> bool,
) {
    let is_asked = |at_once: usize| is_asked(&format!("lifecycles-{name}-{at_once}"));
    let loads: Vec<_> = LOADS.into_iter().filter(|(at_once, ..)| is_asked(*at_once)).collect();
    if loads.is_empty() {
        return;
    }
    let mut arena = Arena::start(programs, settings).await;
    let kinds: Vec<Kind> = programs.iter().map(|program| program.kind).collect();
    table::head(&format!("on a {name} server"), &kinds);
    for (place, (at_once, each, aim)) in loads.into_iter().enumerate() {
        let mut rates = Row::new(format!("lifecycles/s, {at_once} at once"), 2, aim);
        let mut worker = Row::new("- worker CPU for each, ms", 1, "≤ 1.8");
        let mut cells = Row::new("- CPU of its cells for each, ms", 1, "");
        let mut temporal = Row::new("- Temporal's CPU for each, ms", 1, "≤ 1.05");
        // The first round warms up, once for all loads.
        for (round, order) in turns(programs.len()).skip(usize::from(place > 0)) {
            for place in order {
                let kind = arena.sides[place].kind;
                let Round { seconds, worker: own, server } = run(&mut arena, place, at_once, each).await;
                eprintln!("{name}: {at_once} at once, round {round}, {}: {seconds:.1} s", kind.name());
                if round > 0 {
                    let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1e3 / each as f64;
                    rates.add(kind, each as f64 / seconds);
                    worker.add(kind, milliseconds(own.own));
                    cells.add(kind, milliseconds(own.children));
                    temporal.add(kind, milliseconds(server.own));
                }
            }
        }
        table::body(&kinds, &[rates, worker, cells, temporal]);
    }
}

async fn run(arena: &mut Arena, place: usize, at_once: usize, each: usize) -> Round {
    let side = &mut arena.sides[place];
    let numbers = side.declared(each).await;
    let side: &Side = side;
    let (worker, server, began) = (side.cpu(), cpu(arena.server.pid()), Instant::now());
    stream::iter(numbers)
        .for_each_concurrent(at_once, async |number| {
            side.lifecycle(number).await;
        })
        .await;
    Round {
        seconds: began.elapsed().as_secs_f64(),
        worker: side.cpu() - worker,
        server: cpu(arena.server.pid()) - server,
    }
}

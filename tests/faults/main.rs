//! A fault run: incidents in flight, from their declaration to their review, while processes of Harmony and of Temporal
//! are killed at random, vendors fail and deadlines pass. Afterwards the oracle must find nothing lost, nothing twice,
//! nothing forbidden, and a log that verifies.
//!
//! Each round has an installation of its own and prints its seed; `HARMONY_FAULT_SEED` gives the first one,
//! `HARMONY_FAULT_KILLS` says how many kills in all, and `HARMONY_TEST_SCALE=full` makes it a thousand. What is rolled is
//! the same for a seed; when a process dies within its work is not, since clocks are real here.
#![allow(clippy::unwrap_used, reason = "a run that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the figures of the run")]

mod dice;
mod hands;
mod killer;
mod oracle;
mod people;
mod vendors;
#[path = "../stories/world.rs"]
#[allow(dead_code, reason = "the stories use the rest")]
mod world;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use futures_util::{StreamExt, stream::FuturesUnordered};

use dice::Dice;
use hands::Hands;
use killer::Killer;
use people::{LEVEL_S, People, Told};
use world::World;

/// What comes with no other seed.
const SEED: u64 = 20_260_301;
/// Kills before everything is looked at, in a long run; a new installation comes after.
const ROUND: usize = 200;
/// Kills of a run that is to be short.
const SHORT: usize = 20;
/// Incidents at once, in a short run and in others.
const IN_FLIGHT: (usize, usize) = (4, 10);
/// Incidents that faults are ordered for: more than a round has.
const FAULTS_FOR: usize = 120;

/// The runbook of this run: each cell leaves a trace of how often it began and ended.
const RUNBOOK: &str = r#"# Leave traces

```bash { name=look idempotent=true timeout=30s }
echo "look began" >>"$TRACE"
echo "look ended" >>"$TRACE"
```

```bash { name=act timeout=30s }
echo "act began" >>"$TRACE"
sleep 1
echo "act ended" >>"$TRACE"
```

```bash { name=check idempotent=true timeout=30s }
echo "check began" >>"$TRACE"
grep -q "act ended" "$TRACE"
echo "check ended" >>"$TRACE"
```
"#;

/// Short levels; the doors by hand stay shut.
fn policy() -> String {
    let level =
        |roles: &str, page: bool| format!("{{ roles = [{roles}], within = \"{LEVEL_S}s\", page = {page} }}");
    let first = "\"incident-commander\", \"sre-oncall\"";
    let ladder = format!(
        "[{}, {}, {}]",
        level(first, false),
        level("\"incident-manager\"", true),
        level("\"org-admin\"", true)
    );
    let routine = format!(
        "[{}, {}]",
        level(&format!("{first}, \"incident-manager\""), false),
        level("\"incident-manager\", \"org-admin\"", false)
    );
    let table = |name: &str, levels: &str| {
        let rows = ["P1", "P2", "P3", "P4"].map(|severity| format!("{severity} = {levels}\n"));
        format!("[{name}]\n{}", rows.concat())
    };
    format!(
        "step_patience = \"60s\"\n{}{}{}",
        table("urgent", &ladder),
        table("close_out", &routine),
        table("review", &routine)
    )
}

fn main() -> ExitCode {
    // `cargo test NAME` runs every test binary: this one has no names.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if !wanted.is_empty() && !wanted.iter().any(|word| "faults".contains(word.as_str())) {
        return ExitCode::SUCCESS;
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<usize>().unwrap());
    let full = std::env::var("HARMONY_TEST_SCALE").is_ok_and(|scale| scale == "full");
    let kills = number("HARMONY_FAULT_KILLS").unwrap_or(if full { 1_000 } else { SHORT });
    let seed = number("HARMONY_FAULT_SEED").map_or(SEED, |seed| seed as u64);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(rounds(kills, seed))
}

async fn rounds(kills: usize, first: u64) -> ExitCode {
    let began = Instant::now();
    let mut wrong = 0;
    let (mut left, mut seed, mut incidents, mut records) = (kills, first, 0, 0);
    while left > 0 {
        let round = left.min(ROUND);
        let (told, findings) = round_of(round, seed).await;
        incidents += told;
        records += findings.records;
        for one in findings.all() {
            println!("WRONG    seed {seed}: {one}");
            wrong += 1;
        }
        left -= round;
        seed += 1;
    }
    println!(
        "{kills} kills, {incidents} incidents, {records} records in {:.0} s: {} wrong",
        began.elapsed().as_secs_f64(),
        wrong
    );
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn round_of(kills: usize, seed: u64) -> (usize, oracle::Findings) {
    println!("seed     {seed}: {kills} kills");
    let began = Instant::now();
    let world = World::start_with(&policy(), &[("HARMONY_REQUEST_TIMEOUT", "2s")]).await;
    let took = began.elapsed();
    std::fs::write(world.dir.path().join("runbooks/trace.md"), RUNBOOK).unwrap();
    let traces = world.dir.path().join("traces");
    std::fs::create_dir(&traces).unwrap();
    let hands = Hands::new(&world);
    let faults = vendors::order_faults(&world, &mut Dice::new(seed, 1), FAULTS_FOR).await;
    let mut killer = Killer::new(&world, Dice::new(seed, 2), took);
    let left = AtomicUsize::new(kills);
    let in_flight = if kills <= SHORT { IN_FLIGHT.0 } else { IN_FLIGHT.1 };

    let lives = async {
        let mut told: Vec<Told> = Vec::new();
        let mut under_way = FuturesUnordered::new();
        let mut number = 0;
        loop {
            while under_way.len() < in_flight && (left.load(Ordering::SeqCst) > 0 || number == 0) {
                number += 1;
                let dice = Dice::new(seed, 1_000 + number as u64);
                under_way.push(Box::pin(People::lead(&hands, &traces, number, dice)));
            }
            match under_way.next().await {
                Some(one) => told.push(one),
                None => return told,
            }
        }
    };
    let deaths = killer.kill(&left);
    let (told, ()) = tokio::join!(lives, deaths);
    println!("killed   {}", counts(&killer.killed));
    let findings = oracle::judge(&world, &hands, &told, &traces).await;
    let ends = told.iter().fold(BTreeMap::new(), |mut ends, one| {
        *ends.entry(one.end).or_default() += 1;
        ends
    });
    println!("ends     {}", counts(&ends));
    println!("states   {}", counts(&findings.states));
    println!("records  {}", counts(&findings.kinds));
    println!(
        "round    {} incidents, {faults} faults ordered, {} clicks, {} workflows, {} records in {:.0} s; lost {}, \
         twice {} (and {} warned of), forbidden {}, unverified {}",
        told.len(),
        told.iter().map(|one| one.clicks.len()).sum::<usize>(),
        findings.workflows,
        findings.records,
        began.elapsed().as_secs_f64(),
        findings.lost.len(),
        findings.twice.len(),
        findings.warned_twins,
        findings.forbidden.len(),
        findings.unverified.len(),
    );
    (told.len(), findings)
}

fn counts<K: std::fmt::Display>(counts: &BTreeMap<K, usize>) -> String {
    counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

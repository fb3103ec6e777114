//! The matrix of faults: every operation with an effect against every way to lose track of it.
//!
//! Each cell has stand-ins and a log of its own. A child process carries one step out as a worker would, and is killed
//! (SIGKILL) before the call, after the call, or before the record; or the answer is lost, or comes after the time-out,
//! or the work itself is late. Then the step is tried again, in a new process where one was killed. What must be there
//! afterwards: one effect at the vendor, one record in the log. Where the vendor has no key of its own and the work
//! itself was late, two effects are possible, and then the warning must be on record. Every call and every answer is held
//! against the descriptor of its capability on the way.
//!
//! Prints the table, every cell of it, and ends with 1 where one is not as it must be.

#![allow(clippy::unwrap_used, reason = "a cell that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the table is what this prints")]

mod child;
mod operations;

use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt,
    process::{ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use harmony_sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};
use tokio::{process::Command, sync::Semaphore, task::JoinSet};

use child::{Die, JOB, Job};
use operations::{Operation, Scene};

/// How long a request may take in the children.
const LIMIT: Duration = Duration::from_secs(2);
/// Longer than a request may take: the answer is too late, the work is not.
const LATE_ANSWER: Duration = Duration::from_secs(4);
/// Later than the repetition, earlier than the look for a twin.
const LATE_WORK: Duration = Duration::from_secs(6);
/// Cells side by side: they wait more than they work.
const AT_ONCE: usize = 10;
/// No cell takes longer, on a machine that is busy with others.
const PATIENCE: Duration = Duration::from_secs(120);

/// A way to lose track of an effect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    KilledBeforeCall,
    KilledAfterCall,
    KilledBeforeRecord,
    AnswerLost,
    AnswerLate,
    WorkLate,
}

const FAULTS: [(Fault, &str); 6] = [
    (Fault::KilledBeforeCall, "killed before call"),
    (Fault::KilledAfterCall, "killed after call"),
    (Fault::KilledBeforeRecord, "killed before record"),
    (Fault::AnswerLost, "answer lost"),
    (Fault::AnswerLate, "answer late"),
    (Fault::WorkLate, "work late"),
];

fn main() -> ExitCode {
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Ok(job) = std::env::var(JOB) {
        return runtime.block_on(child::run(&serde_json::from_str(&job).unwrap()));
    }
    // `cargo test NAME` runs every test binary: this one has no names.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if !wanted.is_empty() && !wanted.iter().any(|word| "matrix".contains(word.as_str())) {
        return ExitCode::SUCCESS;
    }
    runtime.block_on(matrix())
}

async fn matrix() -> ExitCode {
    let started = Instant::now();
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut cells = JoinSet::new();
    for (row, operation) in operations::all().into_iter().enumerate() {
        for (column, (fault, _)) in FAULTS.into_iter().enumerate() {
            let slots = Arc::clone(&slots);
            cells.spawn(async move {
                let _slot = slots.acquire_owned().await.unwrap();
                let outcome = tokio::time::timeout(PATIENCE, cell(operation, fault)).await;
                (row, column, outcome.unwrap_or_else(|_| Err(format!("no end within {PATIENCE:?}"))))
            });
        }
    }
    let mut table: BTreeMap<(usize, usize), Result<String, String>> = BTreeMap::new();
    while let Some(ended) = cells.join_next().await {
        match ended {
            Ok((row, column, outcome)) => drop(table.insert((row, column), outcome)),
            Err(panic) => println!("a cell gave up: {panic}"),
        }
    }
    print(&table);
    let expected = operations::all().len() * FAULTS.len();
    let good = table.values().filter(|outcome| outcome.is_ok()).count();
    println!("{good} of {expected} cells as they must be, in {:.0?}", started.elapsed());
    if good == expected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(table: &BTreeMap<(usize, usize), Result<String, String>>) {
    let heads: Vec<&str> = FAULTS.iter().map(|(_, name)| *name).collect();
    println!("{:16} {}", "", heads.map_pad());
    for (row, operation) in operations::all().into_iter().enumerate() {
        let cells: Vec<&str> = (0..FAULTS.len())
            .map(|column| match table.get(&(row, column)) {
                Some(Ok(text)) => text.as_str(),
                Some(Err(_)) => "WRONG",
                None => "GAVE UP",
            })
            .collect();
        println!("{:16} {}", operation.name, cells.map_pad());
    }
    for ((row, column), outcome) in table {
        if let Err(problem) = outcome {
            println!("{} / {}: {problem}", operations::all()[*row].name, FAULTS[*column].1);
        }
    }
}

trait Padded {
    fn map_pad(&self) -> String;
}

impl Padded for Vec<&str> {
    fn map_pad(&self) -> String {
        self.iter().map(|text| format!("{text:21}")).collect()
    }
}

/// One cell: `Ok` says what was found where that is as it must be.
async fn cell(operation: Operation, fault: Fault) -> Result<String, String> {
    let sandbox = Sandbox::start(SandboxOptions::on_free_ports("signing".to_owned().into())).await.unwrap();
    let scene = Scene::new(&sandbox).await;
    let args = operation.prepare(&scene).await;
    held_against_descriptor(operation, &args, None)?;
    let order = async |fault: Value| {
        let (method, path) = operation.call;
        let mut order = json!({ "match": { "method": method, "path": path }, "times": 1 });
        order.as_object_mut().unwrap().extend(fault.as_object().unwrap().clone());
        scene.order(operation.vendor, &order).await;
    };
    let began = Instant::now();
    match fault {
        Fault::KilledBeforeCall => killed(&scene, operation, &args, Some(Die::BeforeCall)).await?,
        Fault::KilledBeforeRecord => {
            let rules_asked = operation.rules_asked;
            killed(&scene, operation, &args, Some(Die::BeforeRecord { rules_asked })).await?;
        }
        Fault::KilledAfterCall => {
            order(json!({ "fault": "delay", "delayMs": 20_000 })).await;
            killed(&scene, operation, &args, None).await?;
        }
        Fault::AnswerLost => order(json!({ "fault": "drop-after" })).await,
        Fault::AnswerLate => {
            order(json!({ "fault": "delay", "delayMs": LATE_ANSWER.as_millis() as u64 })).await
        }
        Fault::WorkLate => {
            order(json!({ "fault": "delay-work", "delayMs": LATE_WORK.as_millis() as u64 })).await
        }
    }
    let again = !matches!(fault, Fault::AnswerLost | Fault::AnswerLate | Fault::WorkLate);
    let output = spawn(&scene, operation, &args, None, if again { 100 } else { 1 }).wait_with_output().await;
    let output = output.unwrap();
    if !output.status.success() {
        return Err(format!("the step failed: {}", String::from_utf8_lossy(&output.stdout)));
    }
    let reply: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    held_against_descriptor(operation, &args, Some(&reply))?;
    if fault == Fault::WorkLate {
        // What comes late has come by then.
        tokio::time::sleep((LATE_WORK + LIMIT).saturating_sub(began.elapsed())).await;
    }
    judged(&scene, operation, fault).await
}

async fn judged(scene: &Scene, operation: Operation, fault: Fault) -> Result<String, String> {
    let effects = (operation.effects)(&scene.state(operation.vendor).await);
    let (records, warnings) = scene.records().await;
    if records != 1 {
        return Err(format!("{records} records"));
    }
    if operation.activity == "issue.open" {
        let tickets = scene.tickets().await;
        if tickets.len() != 1 {
            return Err(format!("tickets on record: {tickets:?}"));
        }
    }
    let warned = warnings.iter().any(|warning| warning.contains("effect duplicated"));
    match effects {
        1 if !warned => Ok("1 effect, 1 record".to_owned()),
        2 if warned && fault == Fault::WorkLate && !operation.keyed => Ok("twin, warned".to_owned()),
        other => Err(format!("{other} effects, warnings {warnings:?}")),
    }
}

/// A child that is killed: by itself where `die` says so, else once the vendor has done the work.
async fn killed(scene: &Scene, operation: Operation, args: &Value, die: Option<Die>) -> Result<(), String> {
    let by_us = die.is_none();
    let mut child = spawn(scene, operation, args, die, 1);
    if by_us {
        while (operation.effects)(&scene.state(operation.vendor).await) == 0 {
            if let Some(status) = child.try_wait().unwrap() {
                return Err(format!("ended before it was killed: {status}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        child.start_kill().unwrap();
    }
    let status = child.wait().await.unwrap();
    if status.signal() == Some(9) { Ok(()) } else { Err(format!("not killed, but {status}")) }
}

fn spawn(
    scene: &Scene,
    operation: Operation,
    args: &Value,
    die: Option<Die>,
    first_try: u32,
) -> tokio::process::Child {
    let job = Job {
        dir: scene.dir.path().to_owned(),
        base_urls: scene.base_urls.clone(),
        activity: operation.activity.to_owned(),
        effect: json!({ "scope": scene.scope(), "args": args }),
        die,
        first_try,
        limit_ms: LIMIT.as_millis() as u64,
        before_sweep_ms: (LATE_WORK - LIMIT).as_millis() as u64 + 500,
    };
    Command::new(std::env::current_exe().unwrap())
        .env(JOB, serde_json::to_string(&job).unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn held_against_descriptor(operation: Operation, args: &Value, reply: Option<&Value>) -> Result<(), String> {
    let descriptor = harmony_capabilities::descriptor::find(operation.capability).unwrap();
    let (schema, value) = match reply {
        Some(reply) => (&descriptor.schemas.output, reply.clone()),
        None => {
            let call = json!({ "operation": operation.activity, "arguments": args });
            (&descriptor.schemas.input, call)
        }
    };
    let validator = jsonschema::draft202012::new(schema).map_err(|error| error.to_string())?;
    validator.validate(&value).map_err(|error| format!("not as described: {error}\n{value:#}"))
}

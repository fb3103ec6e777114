//! Cells with a gate of their own: manual steps, which end with it, and checkpoints, which it lets run.
//!
//! A manual step is bound to the digest of its remediation, since its text is covered there; whoever confirms it says
//! what was done. A checkpoint is bound to its cell and to everything that was printed before it, so that what was
//! approved after a look is what that look saw. Neither is asked for where the run was stopped, and neither is approved by
//! silence: what nobody passes ends the remediation as a cell that failed does.

use harmony_incidents::{approvals::checkpoint_step, policy::GateKind, visible};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    contracts::{CellPlan, CellReply, capability},
    gate::{Outcome, Plan, await_decision},
    messages::CellReport,
    remediate::{CONFIRMED, Done, Remedy, finish, unfinished},
    revision,
    run::{Flow, Run},
    workflow_state::Blueprint,
};

/// Of each stream of a cell that has run, at a checkpoint: its end, in characters.
const SHOWN_CHARS: usize = 1_000;
/// The same in the question in the channel, whose history carries it twice.
const TOLD_CHARS: usize = 300;
/// The cells that ran last are shown with what they printed; those before them with its hash.
const SHOWN_CELLS: usize = 4;

/// How a cell's own gate ended.
pub(crate) enum Passed {
    /// The cell may run, or has no gate.
    Run,
    /// Nothing of it runs: it was done by hand, or is not to be.
    Ended(Box<Done>),
}

/// Waits at the cell's own gate, where it has one.
pub(crate) async fn pass<W: Blueprint>(
    run: &Run<'_, W>,
    remedy: &Remedy<'_>,
    cell: &CellPlan,
    purpose: &str,
    before: &[Done],
) -> Flow<Passed> {
    // A run from before has no such cells: what its pool is asked to run without a gate is refused there.
    if !cell.has_gate() || !run.follows(revision::STEPS) || run.is_stopped() {
        return Ok(Passed::Run);
    }
    let plan =
        if cell.manual { manual(remedy, cell, purpose) } else { before_cell(remedy, cell, purpose, before) };
    let step = format!("{purpose}/{}/1", cell.name);
    run.ctx.state_mut(|workflow| workflow.own_mut().step_began(&step, capability::RUNBOOK));
    let (report, reply) = match await_decision(run, plan).await? {
        Outcome::NotNeeded | Outcome::Approved { .. } if !cell.manual => return Ok(Passed::Run),
        Outcome::NotNeeded | Outcome::Approved { .. } => confirmed(cell, purpose),
        Outcome::Rejected { reason } | Outcome::Cancelled { reason } | Outcome::Skipped { reason } => {
            unfinished(cell, purpose, if cell.manual { "not-confirmed" } else { "not-approved" }, &reason)
        }
    };
    finish(run, &report, &reply, &step, 1).await?;
    Ok(Passed::Ended(Box::new((report, reply).into())))
}

fn confirmed(cell: &CellPlan, purpose: &str) -> (CellReport, CellReply) {
    let (report, reply) = unfinished(cell, purpose, CONFIRMED, "");
    (CellReport { success: true, ..report }, CellReply { problem: None, ..reply })
}

fn manual(remedy: &Remedy<'_>, cell: &CellPlan, purpose: &str) -> Plan {
    Plan {
        step: format!("manual/{purpose}/{}", cell.name),
        kind: GateKind::ManualStep,
        levels: vec![],
        severity: None,
        action: format!("Do {} of {}, and say what was done", cell.name, remedy.asked),
        reason: format!("{} has a step that a person does", remedy.asked),
        digest: remedy.digest.clone(),
        // The log takes it from the gate of the remediation.
        covers: remedy.covers.clone(),
        lines: text(cell),
    }
}

fn before_cell(remedy: &Remedy<'_>, cell: &CellPlan, purpose: &str, before: &[Done]) -> Plan {
    let covers = covers(remedy, cell, purpose, before);
    let mut lines = text(cell);
    lines.extend(before.iter().skip(before.len().saturating_sub(SHOWN_CELLS)).flat_map(told));
    Plan {
        step: checkpoint_step(purpose, &cell.name),
        kind: GateKind::Checkpoint,
        levels: vec![],
        severity: None,
        action: format!("Go on with {} of {}", cell.name, remedy.asked),
        reason: format!("{} asks again before this cell", remedy.asked),
        digest: hex::encode(Sha256::digest(covers.as_bytes())),
        covers,
        lines,
    }
}

/// What a checkpoint is bound to.
fn covers(remedy: &Remedy<'_>, cell: &CellPlan, purpose: &str, before: &[Done]) -> String {
    let from = before.len().saturating_sub(SHOWN_CELLS);
    let so_far: Vec<Value> =
        before.iter().enumerate().map(|(place, done)| printed(done, place >= from)).collect();
    json!({
        "cell": cell.name,
        "cellText": cell.text,
        "env": remedy.covered.env,
        "outputSoFar": so_far,
        "purpose": purpose,
        "remediationDigest": remedy.digest,
        "runbookPath": remedy.covered.runbook.path,
        "runbookSha256": remedy.covered.runbook.sha256,
        "secretEnv": remedy.covered.secret_env,
    })
    .to_string()
}

fn printed(Done { report, reply, .. }: &Done, shown: bool) -> Value {
    let mut hash = Sha256::new();
    for stream in [&reply.stdout, &reply.stderr] {
        hash.update((stream.len() as u64).to_be_bytes());
        hash.update(stream.as_bytes());
    }
    let mut one = json!({
        "cell": report.name,
        "ended": report.ended,
        "exitCode": report.exit_code,
        "outputSha256": hex::encode(hash.finalize()),
    });
    if shown {
        one["stdout"] = json!(end(&reply.stdout));
        one["stderr"] = json!(end(&reply.stderr));
    }
    one
}

fn end(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(SHOWN_CHARS);
    text.chars().skip(skip).collect()
}

/// How a cell ended, and the last of what it printed, a line each: what a question in the channel shows of it.
fn told(Done { report, reply, .. }: &Done) -> Vec<String> {
    let mut lines = vec![format!("So far, {} {}", visible::line(&report.name), report.ended)];
    for stream in [&reply.stdout, &reply.stderr] {
        let cut = stream.chars().count().saturating_sub(TOLD_CHARS);
        let mark = if cut > 0 { "…" } else { "" };
        let end: String = stream.chars().skip(cut).collect();
        let printed = end.lines().filter(|line| !line.trim().is_empty()).map(visible::line);
        lines.extend(printed.enumerate().map(|(place, line)| {
            let mark = if place == 0 { mark } else { "" };
            format!("| {mark}{line}")
        }));
    }
    lines
}

/// What the cell says, a line each.
fn text(cell: &CellPlan) -> Vec<String> {
    cell.text.lines().filter(|line| !line.trim().is_empty()).map(visible::line).collect()
}

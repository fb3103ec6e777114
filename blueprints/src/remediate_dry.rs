//! A dry run: what a runbook would do, without doing it.
//!
//! It has no gate, so it runs only what the runbook itself says changes nothing, with the inputs that the runbook declares
//! and no other variable. What would be run, in which order and with what, is on record before any of it; the pool's
//! tickets are made from that record. Neither state nor phase of the incident changes.

use std::collections::BTreeMap;

use harmony_incidents::{
    judge::DRY_RUN,
    log::{RunbookDryRunPlanned, Text, payload::Kind},
};

use crate::{
    contracts::{CellPlan, Notice, ProposeReply, ProposeRequest, RunbookPropose},
    messages::{
        ApprovalResult, CellReport, RemediateInput, RemediateResult, RemediationReport, RunbookReport, Status,
    },
    remediate::{Done, Remedy, carry, describe, shown, try_cell, unfinished},
    run::{Flow, Run, fail, patiently},
    workflow_state::Blueprint,
};

/// The whole of it.
pub(crate) async fn flow<W: Blueprint>(run: &Run<'_, W>, input: &RemediateInput) -> Flow {
    let verification = input.verification.as_ref().map(|one| one.cells.clone()).unwrap_or_default();
    let request = ProposeRequest {
        scope: run.at("propose"),
        runbook: input.remediation.clone(),
        verification,
        gate: None,
        dry_run: true,
    };
    let proposal = match patiently(run.ctx, RunbookPropose, &request).await? {
        ProposeReply::Proposal(proposal) => proposal,
        ProposeReply::Invalid(problem) => return end(run, Status::Failed, Some(problem), vec![]).await,
        ProposeReply::SwitchedOff(reason) => return end(run, Status::Cancelled, Some(reason), vec![]).await,
        ProposeReply::Asked(_) => return Err(fail("a dry run was answered with a gate")),
    };
    let covered = proposal.covered().map_err(fail)?;
    let planned: Vec<CellPlan> = covered.cells.iter().chain(&covered.verification).cloned().collect();
    let named = |cells: Vec<&CellPlan>| cells.into_iter().map(|cell| cell.name.clone()).collect::<Vec<_>>();
    let left_out = named(planned.iter().filter(|cell| !cell.dry_run).collect());
    let plan = RunbookDryRunPlanned {
        blueprint: run.scope.blueprint.clone(),
        attempt: run.scope.attempt,
        digest: hex::decode(&proposal.digest).unwrap_or_default(),
        covers: Text::optional(&proposal.covers),
        cells: named(planned.iter().collect()),
        left_out: left_out.clone(),
    };
    run.record("plan", Kind::RunbookDryRunPlanned(plan)).await?;
    let remedy = Remedy::of(&input.remediation.path, &input.reason, &proposal, covered);
    let done = run_cells(run, &remedy, &planned).await?;
    let success = done.iter().all(|one| one.report.success);
    let mut lines = shown(&remedy.covered);
    lines.extend(done.iter().map(describe));
    if !left_out.is_empty() {
        lines.push(format!("Not run in a dry run: {}", left_out.join(", ")));
    }
    let headline = if success { "Dry run" } else { "The dry run failed" };
    run.notice("outcome", Notice::plain(format!("{headline}: {}", remedy.asked), lines)).await?;
    let (status, reason) = match (success, run.is_stopped()) {
        (true, _) => (Status::Completed, None),
        (false, true) => (Status::Cancelled, done.last().map(describe)),
        (false, false) => (Status::Failed, done.last().map(describe)),
    };
    end(run, status, reason, done.into_iter().map(|one| one.report).collect()).await
}

/// The cells that a dry run runs, in order; the first failure stops, and nobody is asked about one that is unknown.
async fn run_cells<W: Blueprint>(
    run: &Run<'_, W>,
    remedy: &Remedy<'_>,
    planned: &[CellPlan],
) -> Flow<Vec<Done>> {
    let mut done: Vec<Done> = Vec::new();
    let mut carried = BTreeMap::new();
    for cell in planned.iter().filter(|cell| cell.dry_run) {
        let one: Done = if run.is_stopped() {
            unfinished(cell, DRY_RUN, "cancelled", "the run was stopped before this cell").into()
        } else {
            try_cell(run, remedy, cell, DRY_RUN, &carried, 1).await?.into()
        };
        carry(run, remedy, &mut carried, cell, &one.reply);
        let success = one.report.success;
        done.push(one);
        if !success {
            break;
        }
    }
    Ok(done)
}

async fn end<W: Blueprint>(
    run: &Run<'_, W>,
    status: Status,
    reason: Option<String>,
    cells: Vec<CellReport>,
) -> Flow {
    run.all_told().await?;
    let message = reason.clone().unwrap_or_else(|| format!("{} cells ran dry", cells.len()));
    let result = RemediateResult {
        status,
        reason: reason.clone(),
        approval: ApprovalResult::default(),
        remediation: RemediationReport {
            executed: false,
            recorded_in_timeline: !cells.is_empty(),
            runbook: RunbookReport { success: status == Status::Completed, cells, message },
        },
        warnings: run.warnings(),
        dry_run: true,
    };
    run.complete(status, reason.as_deref(), &result).await
}

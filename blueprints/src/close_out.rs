//! `incident.close-out`: resolves (or cancels) an incident, then tells everybody.
//!
//! The state changes first, on record; what tells others follows in parallel, and the absence of any of them is a
//! warning. The channel is archived only where asked, behind a gate of its own.

use harmony_incidents::{
    Command, GateId, LinkName, Refusal, command::ResolutionInput, log::State, policy::GateKind, visible,
    words,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use temporalio_workflow::{WorkflowContext, common::data_converters::RawValue};

use crate::{
    contracts::{ChannelArchive, ChannelRef, Notice, capability},
    ending::{self, Ended},
    gate::{Outcome, Plan, await_decision, why},
    messages::{ApprovalResult, CloseOutInput, CloseOutNotifications, CloseOutResult, Status},
    run::{Begun, Flow, Run, begin, fail, input},
    workflow_state::{Blueprint, blueprint},
};

blueprint!(
    /// The workflow `incident.close-out`.
    CloseOut, "incident.close-out", flow
);

async fn flow<W: Blueprint>(ctx: &WorkflowContext<W>, raw: RawValue) -> Flow {
    let (common, input, digest) = input::<W, CloseOutInput>(ctx, &raw)?;
    let change = change(&input, &common.context.initiator_id)?;
    let target = if input.cancelled { State::Cancelled } else { State::Resolved };
    let run = match begin(ctx, common, digest, Some(target), None).await? {
        Begun::Started(run) => run,
        Begun::Refused(run, reason) => {
            return end(&run, Status::Refused, Some(reason), ApprovalResult::default(), Told::default())
                .await;
        }
    };
    let outcome = await_decision(&run, plan(&run, &input)).await?;
    if !outcome.may_go_on() {
        return not_done(&run, outcome).await;
    }
    if let Err(refusal) = run.append("resolve", change).await? {
        return refused(&run, outcome, refusal).await;
    }
    let ended = Box::pin(ending::tell(&run, input.cancelled, &input.resolution_summary)).await?;
    let mut told = Told { ended, archived: false };
    told.archived = archive(&run, &input).await?;
    end(&run, Status::Completed, None, outcome.result(), told).await
}

#[derive(Default)]
struct Told {
    ended: Ended,
    archived: bool,
}

fn change(input: &CloseOutInput, by: &str) -> Flow<Command> {
    let summary = input.resolution_summary.trim();
    if summary.is_empty() {
        return Err(fail("input.resolutionSummary: say what was done, or why it is cancelled"));
    }
    if input.cancelled {
        return Ok(Command::ChangeStatus {
            to: State::Cancelled,
            reason: summary.to_owned(),
            justification: String::new(),
            resolution: None,
        });
    }
    let kind = words::resolution_type(&input.resolution_type)
        .map_err(|error| fail(format!("input.resolutionType: {error}")))?;
    Ok(Command::ChangeStatus {
        to: State::Resolved,
        reason: String::new(),
        justification: String::new(),
        resolution: Some(ResolutionInput { summary: summary.to_owned(), kind, resolved_by: by.to_owned() }),
    })
}

fn plan<W: Blueprint>(run: &Run<'_, W>, input: &CloseOutInput) -> Plan {
    let verb = if input.cancelled { "Cancel" } else { "Resolve" };
    let covers = json!({
        "cancelled": input.cancelled,
        "incidentId": run.scope.stream,
        "resolutionSummary": input.resolution_summary,
        "resolutionType": input.resolution_type,
    })
    .to_string();
    Plan {
        step: GateId::APPROVE.to_owned(),
        kind: GateKind::CloseOut,
        levels: vec![],
        severity: None,
        action: format!("{verb} {}", run.scope.stream),
        reason: why(&input.reason, || format!("{} asked to close it out", run.scope.actor)),
        digest: hex::encode(Sha256::digest(covers.as_bytes())),
        covers,
        lines: vec![
            format!("Resolution: {}", visible::line(&input.resolution_type)),
            format!("Summary: {}", visible::summary(&input.resolution_summary)),
        ],
    }
}

async fn not_done<W: Blueprint>(run: &Run<'_, W>, outcome: Outcome) -> Flow {
    let (status, reason) = outcome.not_done();
    let notice = Notice::plain("The close-out was not done", vec![reason.clone()]);
    run.notice("outcome", notice).await?;
    end(run, status, Some(reason), outcome.result(), Told::default()).await
}

/// Between the question and the answer the incident moved on, so that this is not legal any more.
async fn refused<W: Blueprint>(run: &Run<'_, W>, outcome: Outcome, refusal: Refusal) -> Flow {
    end(run, Status::Failed, Some(refusal.to_string()), outcome.result(), Told::default()).await
}

async fn archive<W: Blueprint>(run: &Run<'_, W>, input: &CloseOutInput) -> Flow<bool> {
    let (true, Some(channel)) = (input.archive_channel, run.link(LinkName::SlackChannel)) else {
        return Ok(false);
    };
    let covers = json!({ "archive": channel, "incidentId": run.scope.stream }).to_string();
    let plan = Plan {
        step: "archive".to_owned(),
        kind: GateKind::ArchiveChannel,
        levels: vec![],
        severity: None,
        action: format!("Archive the channel of {}", run.scope.stream),
        reason: why(&input.reason, || format!("{} asked for it with the close-out", run.scope.actor)),
        digest: hex::encode(Sha256::digest(covers.as_bytes())),
        covers,
        lines: vec![],
    };
    if !await_decision(run, plan).await?.may_go_on() {
        run.skip("channel-archive", capability::SLACK, "it was not approved").await?;
        return Ok(false);
    }
    Ok(ending::worked(
        &run.effect(ChannelArchive, "channel-archive", capability::SLACK, ChannelRef { channel }).await?,
    ))
}

async fn end<W: Blueprint>(
    run: &Run<'_, W>,
    status: Status,
    reason: Option<String>,
    approval: ApprovalResult,
    told: Told,
) -> Flow {
    run.all_told().await?;
    let result = CloseOutResult {
        status,
        reason: reason.clone(),
        approval,
        notifications: CloseOutNotifications {
            statuspage_incident_resolved: told.ended.public,
            pager_duty_incident_resolved: told.ended.paging,
            slack_closeout_posted: told.ended.posted,
            channel_archived: told.archived,
        },
        warnings: run.warnings(),
    };
    run.complete(status, reason.as_deref(), &result).await
}

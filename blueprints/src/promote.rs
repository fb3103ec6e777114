//! `candidate.promote`: from a candidate to an incident, or to the reason why not.
//!
//! Glue only. What decides is the promotion engine, in one call whose answer is kept with the candidate; what a
//! promotion makes is one call to the log, under a key that is a hash of the decision. So a run that is killed, started
//! again or reset decides the same and makes the same incident. Nobody is waited for: a deferred candidate stays until
//! a person promotes it. Not telling somebody is a warning, never a failure.

use std::time::Duration;

use temporalio_workflow::{
    ActivityCloseTimeouts, ActivityOptions, RetryPolicy, WorkflowContext, WorkflowResult,
    common::data_converters::RawValue,
};

use crate::{
    contracts::{
        CandidateEvaluate, CandidateOpen, CandidatePage, CandidateRef, EFFECT_HEARTBEAT, EFFECT_TIMEOUT,
        EvaluateReply, EvaluateRequest, Evaluated,
    },
    messages::{PromoteInput, PromoteResult, input_digest, read},
    run::{Flow, explain, fail, now, patiently},
    workflow_state::decode,
};

/// The workflow `candidate.promote`.
#[temporalio_workflow::workflow]
#[derive(Default)]
pub struct Promote;

#[temporalio_workflow::workflow_methods]
impl Promote {
    /// See the module.
    #[run(name = "candidate.promote")]
    pub async fn run(ctx: &mut WorkflowContext<Self>, input: RawValue) -> WorkflowResult<serde_json::Value> {
        let ctx: &WorkflowContext<Self> = ctx;
        let result = flow(ctx, input).await?;
        serde_json::to_value(result).map_err(|error| fail(error.to_string()))
    }
}

async fn flow(ctx: &WorkflowContext<Promote>, raw: RawValue) -> Flow<PromoteResult> {
    let request = request(ctx, &raw)?;
    let reply: EvaluateReply = patiently(ctx, CandidateEvaluate, &request).await?;
    match reply.evaluated {
        Evaluated::Refused { reason, page } => {
            let mut result = PromoteResult::refused(&reply.candidate, reason);
            if page {
                let patience = Duration::from_millis(reply.patience_ms);
                result.warnings.extend(self::page(ctx, &reply.candidate, patience).await?);
            }
            Ok(result)
        }
        Evaluated::Promoted(decided) => {
            let incident = patiently(ctx, CandidateOpen, &reply.candidate).await?;
            Ok(PromoteResult::decided(&reply.candidate, *decided, Some(incident.to_string())))
        }
        Evaluated::Deferred { decided, page } => {
            let mut result = PromoteResult::decided(&reply.candidate, *decided, None);
            if page {
                let patience = Duration::from_millis(reply.patience_ms);
                result.warnings.extend(self::page(ctx, &reply.candidate, patience).await?);
            }
            Ok(result)
        }
        Evaluated::Suppressed { decided, incident } => {
            let incident = incident.map(|incident| incident.to_string());
            Ok(PromoteResult::decided(&reply.candidate, *decided, incident))
        }
    }
}

/// What is asked, from the input as it came.
fn request(ctx: &WorkflowContext<Promote>, raw: &RawValue) -> Flow<EvaluateRequest> {
    let value = decode(ctx.payload_converter(), raw).map_err(|problem| fail(format!("input: {problem}")))?;
    let input: PromoteInput = read(value.clone()).map_err(fail)?;
    Ok(EvaluateRequest {
        workflow_id: ctx.workflow_id().to_owned(),
        candidate_id: input.candidate_id,
        initiator_id: input.context.initiator_id,
        start: input.start,
        input_digest: input_digest(value),
        occurred_at: now(ctx),
    })
}

/// Pages who is on call, with where to promote it; why they were not, if they were not.
async fn page(
    ctx: &WorkflowContext<Promote>,
    candidate: &CandidateRef,
    patience: Duration,
) -> Flow<Vec<String>> {
    let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: patience,
        start_to_close: EFFECT_TIMEOUT.min(patience),
    };
    let options = ActivityOptions::with_close_timeouts(timeouts)
        .heartbeat_timeout(EFFECT_HEARTBEAT)
        .retry_policy(
            RetryPolicy::builder()
                .initial_interval(Duration::from_secs(1))
                .maximum_interval(Duration::from_secs(15))
                .build(),
        )
        .summary("page".to_owned())
        .build();
    Ok(match ctx.execute_activity(CandidatePage, candidate.clone(), options).await {
        Ok(reply) => {
            let skipped = reply.skipped.map(|reason| format!("nobody was paged: {reason}"));
            skipped.into_iter().chain(reply.warnings).collect()
        }
        Err(error) => vec![format!("nobody was paged: {}", explain(&error))],
    })
}

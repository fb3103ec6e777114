//! `incident.post-mortem`: the review, rendered from the log, published after somebody approved exactly that page.
//!
//! The same log gives the same page. What people know beyond the log is on the log too, as review sections and action
//! items. It ends when the page is published; sign-off is a command of its own. Without Confluence the review is published
//! in the console.

use harmony_incidents::{Command, GateId, log::Phase, policy::GateKind};
use temporalio_workflow::{WorkflowContext, common::data_converters::RawValue};

use crate::{
    contracts::{
        Ask, Notice, PublishDraft, RenderReply, RenderRequest, ReviewPublish, ReviewRender, StepReply,
        capability,
    },
    gate::{Outcome, Plan, await_decision, why},
    messages::{ApprovalResult, PostMortemInput, PostMortemReport, PostMortemResult, Status},
    run::{Begun, Flow, Run, begin, fail, input, patiently},
    workflow_state::{Blueprint, blueprint},
};

blueprint!(
    /// The workflow `incident.post-mortem`.
    PostMortem, "incident.post-mortem", flow
);

async fn flow<W: Blueprint>(ctx: &WorkflowContext<W>, raw: RawValue) -> Flow {
    let (common, input, digest) = input::<W, PostMortemInput>(ctx, &raw)?;
    let run = match begin(ctx, common, digest, None, None).await? {
        Begun::Started(run) => run,
        Begun::Refused(run, reason) => {
            return end(&run, Status::Refused, Some(reason), ApprovalResult::default(), None).await;
        }
    };
    if !run.missing_for_review.is_empty() {
        let reason =
            format!("the review cannot be proposed yet; missing: {}", run.missing_for_review.join(", "));
        return end(&run, Status::Refused, Some(reason), ApprovalResult::default(), None).await;
    }
    run.append("post-mortem", Command::EnterPhase { phase: Phase::PostMortem })
        .await?
        .map_err(|refusal| fail(refusal.to_string()))?;
    let page = render(&run, &input).await?;
    let outcome = await_decision(&run, plan(&run, &input, &page)).await?;
    if !outcome.may_go_on() {
        return not_done(&run, outcome).await;
    }
    let published = publish(&run, &page).await?;
    link(&run, &page, published.as_ref()).await?;
    conclude(&run, outcome, published).await
}

async fn render<W: Blueprint>(run: &Run<'_, W>, input: &PostMortemInput) -> Flow<RenderReply> {
    let request = RenderRequest {
        scope: run.at("render"),
        title: input.title.clone(),
        target: input.confluence.clone(),
    };
    patiently(run.ctx, ReviewRender, &request).await
}

fn plan<W: Blueprint>(run: &Run<'_, W>, input: &PostMortemInput, page: &RenderReply) -> Plan {
    Plan {
        step: GateId::APPROVE.to_owned(),
        kind: GateKind::PublishReview,
        levels: vec![],
        severity: None,
        action: format!("Publish the review of {}", run.scope.stream),
        reason: why(&input.reason, || format!("{} asked to publish it", run.scope.actor)),
        digest: page.digest.clone(),
        covers: page.covers.clone(),
        lines: vec![
            match page.target.space_key.as_str() {
                "" => "Published in the console: Confluence is not configured".to_owned(),
                space => format!("Space {space}"),
            },
            format!("Rendered from the log up to record {}", page.upto_seq),
        ],
    }
}

async fn publish<W: Blueprint>(run: &Run<'_, W>, page: &RenderReply) -> Flow<Option<StepReply>> {
    let draft =
        PublishDraft { digest: page.digest.clone(), title: page.title.clone(), target: page.target.clone() };
    let published = run.effect(ReviewPublish, "publish", capability::CONFLUENCE, draft).await?;
    Ok(published.ok())
}

async fn link<W: Blueprint>(run: &Run<'_, W>, page: &RenderReply, published: Option<&StepReply>) -> Flow<()> {
    let (headline, lines, ask) = match published {
        Some(reply) => {
            let mut lines = vec![reply.url.clone()];
            if let Some(reason) = &reply.skipped {
                lines.push(format!("It is published in the console: {reason}."));
            }
            lines.push("Read it and sign it off.".to_owned());
            let ask = Ask::SignOff { digest: page.digest.clone() };
            (format!("The review is published: {}", page.title), lines, Some(ask))
        }
        None => ("The review could not be published".to_owned(), run.warnings(), None),
    };
    let notice = Notice { channel: None, headline, lines, output: None, pin: false, ask };
    run.notice("link", notice).await.map(drop)
}

async fn not_done<W: Blueprint>(run: &Run<'_, W>, outcome: Outcome) -> Flow {
    let (status, reason) = outcome.not_done();
    let notice = Notice::plain("The review was not published", vec![reason.clone()]);
    run.notice("outcome", notice).await?;
    end(run, status, Some(reason), outcome.result(), None).await
}

async fn conclude<W: Blueprint>(run: &Run<'_, W>, outcome: Outcome, published: Option<StepReply>) -> Flow {
    match published {
        Some(reply) => end(run, Status::Completed, None, outcome.result(), Some(reply)).await,
        None => {
            let reason = run.warnings().pop().unwrap_or_else(|| "the page was not created".to_owned());
            end(run, Status::Failed, Some(reason), outcome.result(), None).await
        }
    }
}

async fn end<W: Blueprint>(
    run: &Run<'_, W>,
    status: Status,
    reason: Option<String>,
    approval: ApprovalResult,
    published: Option<StepReply>,
) -> Flow {
    run.all_told().await?;
    let result = PostMortemResult {
        status,
        reason: reason.clone(),
        approval,
        postmortem: PostMortemReport {
            confluence_page_created: published.as_ref().is_some_and(|reply| reply.skipped.is_none()),
            page_url: published.map(|reply| reply.url),
        },
        warnings: run.warnings(),
    };
    run.complete(status, reason.as_deref(), &result).await
}

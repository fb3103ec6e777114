//! Telling everybody that an incident is over: the status page, the paging incident and the channel, side by side. The
//! absence of any of them is a warning.

use harmony_incidents::LinkName;
use temporalio_workflow::workflows::join;

use crate::{
    contracts::{Notice, PagingRef, PagingResolve, PublicResolution, PublicResolve, StepReply, capability},
    revision,
    run::{Flow, Run},
    workflow_state::Blueprint,
};

/// Who was told.
#[derive(Default)]
pub(crate) struct Ended {
    pub(crate) public: bool,
    pub(crate) paging: bool,
    pub(crate) posted: bool,
}

/// Tells everybody.
pub(crate) async fn tell<W: Blueprint>(run: &Run<'_, W>, cancelled: bool, summary: &str) -> Flow<Ended> {
    let telling = (public(run, cancelled), paging(run), post(run, cancelled, summary));
    if run.follows(revision::TOLD_BESIDE) {
        let (public, paging, posted, unpaged) = join!(telling.0, telling.1, telling.2, unpage(run));
        unpaged?;
        return Ok(Ended { public: public?, paging: paging?, posted: posted? });
    }
    let (public, paging, posted) = join!(telling.0, telling.1, telling.2);
    let ended = Ended { public: public?, paging: paging?, posted: posted? };
    unpage(run).await?;
    Ok(ended)
}

/// Nobody is paged any more about an incident that is over.
async fn unpage<W: Blueprint>(run: &Run<'_, W>) -> Flow<()> {
    if let Some(id) = run.link(LinkName::PagerdutySeverityPageId) {
        let page = PagingRef::Incident { id };
        drop(run.effect(PagingResolve, "severity-unpage", capability::PAGERDUTY, page).await?);
    }
    Ok(())
}

/// Whether a step did something.
pub(crate) fn worked(outcome: &Result<StepReply, String>) -> bool {
    outcome.as_ref().is_ok_and(|reply| reply.skipped.is_none())
}

async fn public<W: Blueprint>(run: &Run<'_, W>, cancelled: bool) -> Flow<bool> {
    let Some(id) = run.link(LinkName::StatuspageIncidentId) else {
        run.skip("public-resolve", capability::STATUSPAGE, "there is no public incident").await?;
        return Ok(false);
    };
    let message =
        if cancelled { "This turned out not to be an incident." } else { "This incident is resolved." };
    let resolution = PublicResolution {
        id,
        message: message.to_owned(),
        components: run.incident.public_components.clone(),
    };
    Ok(worked(&run.effect(PublicResolve, "public-resolve", capability::STATUSPAGE, resolution).await?))
}

async fn paging<W: Blueprint>(run: &Run<'_, W>) -> Flow<bool> {
    let Some(id) = run.link(LinkName::PagerdutyIncidentId) else {
        run.skip("paging-resolve", capability::PAGERDUTY, "there is no PagerDuty incident").await?;
        return Ok(false);
    };
    let incident = PagingRef::Incident { id };
    Ok(worked(&run.effect(PagingResolve, "paging-resolve", capability::PAGERDUTY, incident).await?))
}

async fn post<W: Blueprint>(run: &Run<'_, W>, cancelled: bool, summary: &str) -> Flow<bool> {
    let verb = if cancelled { "Cancelled" } else { "Resolved" };
    let notice = Notice::plain(format!("{verb}: {}", run.incident.title), vec![summary.to_owned()]);
    Ok(run.notice("resolution", notice).await?.is_some())
}

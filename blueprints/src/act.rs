//! `incident.act`: small outward acts that follow a command between the blueprints.
//!
//! What happened is on record when this starts: somebody wrote an update, changed the severity, gave somebody a part,
//! resolved or cancelled by hand, exported a follow-up, or asked for a failed step to be tried again. Here it is told outside. Each act is a
//! workflow of its own, named after the record that it follows, so that one that hangs at a vendor holds up no other;
//! each telling is a step on record, and what cannot be told is a warning.
//!
//! A retry repeats a failed step word for word and under the step's own key: what did happen is found, never made twice.

use harmony_incidents::{
    LinkName,
    ids::WorkflowId,
    kept,
    log::Severity,
    log::{Authority, Phase, State},
    words,
};
use temporalio_workflow::{
    WorkflowCancellationToken, WorkflowContext,
    common::{ActivityDefinition, data_converters::RawValue},
    workflows::join,
};

use crate::{
    contracts::{
        Ask, ChannelInvite, ChannelTopic, Effect, FailedStep, Invitation, IssueDraft, IssueOpen, Notice,
        PagingDraft, PagingNote, PagingOpen, PagingRemark, PagingUrgency, PublicImpact, PublicRemark,
        PublicStatus, PublicUpdate, RecallReply, RecallRequest, Scope, SeverityOf, StepRecall, StepReply,
        TopicDraft, Tracker, capability, duties_headline, issue_step, person,
    },
    ending,
    messages::{Act, ActInput, ActResult, Status, StepRef, severity_word},
    run::{Begun, Flow, Run, begin, fail, input, patiently},
    workflow_state::{Blueprint, blueprint},
};

const NO_CHANNEL: &str = "the incident has no channel";
const NO_PUBLIC: &str = "there is no public incident";
const NO_PAGING: &str = "there is no PagerDuty incident";

blueprint!(
    /// The workflow `incident.act`.
    IncidentAct, "incident.act", flow
);

async fn flow<W: Blueprint>(ctx: &WorkflowContext<W>, raw: RawValue) -> Flow {
    let (common, input, digest) = input::<W, ActInput>(ctx, &raw)?;
    let kind = input.act.name();
    check(&input.act)?;
    let run = match begin(ctx, common, digest, None, None).await? {
        Begun::Started(run) => run,
        Begun::Refused(run, reason) => return end(&run, kind, Status::Refused, Some(reason)).await,
    };
    let failed = match &input.act {
        Act::Update { message, public } => update(&run, message, *public).await?,
        Act::Severity { from, to, reason } => Box::pin(severity(&run, from, to, reason)).await?,
        Act::Assignment { role, principal, released, situation, duties } => {
            assignment(&run, role, principal, *released, situation).await?;
            checklist(&run, role, duties).await?;
            None
        }
        Act::Escalation { level, roles, reason } => Box::pin(escalation(&run, *level, roles, reason)).await?,
        Act::Ended { cancelled, summary } => {
            Box::pin(ending::tell(&run, *cancelled, summary)).await?;
            None
        }
        Act::FollowUpReminder { follow_up, action, owner, due, channel } => {
            let owners = if owner.is_empty() { Vec::new() } else { vec![owner.clone()] };
            let notice = Notice {
                channel: channel.clone(),
                ask: Some(Ask::Call { principals: owners, roles: Vec::new(), offer: None }),
                ..Notice::plain(
                    format!("Follow-up {follow_up} was due {due}: {action}"),
                    vec![format!("Done? `harmony follow-up done {follow_up}`")],
                )
            };
            run.notice("follow-up-reminder", notice).await?;
            None
        }
        Act::Export { follow_up, tracker } => export(&run, *follow_up, *tracker).await?,
        Act::Retry { steps } => retry(&run, steps).await?,
    };
    let status = if failed.is_some() { Status::Failed } else { Status::Completed };
    end(&run, kind, status, failed).await
}

/// What cannot be meant ends the run with the name of the field.
fn check(act: &Act) -> Flow<()> {
    let severity = |name: &str, word: &str| {
        words::severity(word).map(drop).map_err(|error| fail(format!("input.act.{name}: {error}")))
    };
    match act {
        Act::Update { message, .. } if message.trim().is_empty() => {
            Err(fail("input.act.message: an update says something"))
        }
        Act::Severity { from, to, .. } => severity("from", from).and_then(|()| severity("to", to)),
        Act::Retry { steps } if steps.is_empty() => Err(fail("input.act.steps: name the steps to try again")),
        Act::Escalation { level, roles, .. } if *level > 0 && roles.is_empty() => {
            Err(fail("input.act.roles: name who is called"))
        }
        Act::Update { .. }
        | Act::Assignment { .. }
        | Act::Escalation { .. }
        | Act::FollowUpReminder { .. }
        | Act::Ended { .. }
        | Act::Export { .. }
        | Act::Retry { .. } => Ok(()),
    }
}

/// The channel hears every update, the public those that are meant for it.
async fn update<W: Blueprint>(run: &Run<'_, W>, message: &str, public: bool) -> Flow<Option<String>> {
    let headline = format!("Update by {}", person(&run.scope.actor));
    let lines = message.lines().map(str::to_owned).collect();
    let channel = run.notice("channel-update", Notice::plain(headline, lines));
    let (channel, public) = join!(channel, public_update(run, message, public));
    channel?;
    public?;
    Ok(None)
}

async fn public_update<W: Blueprint>(run: &Run<'_, W>, message: &str, wanted: bool) -> Flow<()> {
    if !wanted {
        return Ok(());
    }
    let Some(id) = run.link(LinkName::StatuspageIncidentId) else {
        return run.skip("public-update", capability::STATUSPAGE, NO_PUBLIC).await;
    };
    let remark = PublicRemark { id, status: public_status(run), message: message.to_owned() };
    run.effect(PublicUpdate, "public-update", capability::STATUSPAGE, remark).await.map(drop)
}

/// What the public is told of how far the work is.
fn public_status<W: Blueprint>(run: &Run<'_, W>) -> PublicStatus {
    match (run.incident.state, run.incident.phase) {
        (_, Phase::Verifying | Phase::Verified) => PublicStatus::Monitoring,
        (State::Mitigating, _) => PublicStatus::Identified,
        _ => PublicStatus::Investigating,
    }
}

async fn severity<W: Blueprint>(
    run: &Run<'_, W>,
    from: &str,
    to: &str,
    reason: &str,
) -> Flow<Option<String>> {
    let notice = Notice::plain(format!("Severity {from} → {to}"), vec![reason.to_owned()]);
    let (topic, notice, paging, public, page) = join!(
        topic(run, to),
        run.notice("severity-notice", notice),
        paging_severity(run, from, to, reason),
        public_severity(run, to),
        page(run, from, to, reason),
    );
    for outcome in [topic, paging, public, page, notice.map(drop)] {
        outcome?;
    }
    Ok(None)
}

async fn topic<W: Blueprint>(run: &Run<'_, W>, to: &str) -> Flow<()> {
    let Some(channel) = run.link(LinkName::SlackChannel) else {
        return run.skip("topic", capability::SLACK, NO_CHANNEL).await;
    };
    let draft = TopicDraft { channel, title: run.incident.title.clone(), severity: to.to_owned() };
    run.effect(ChannelTopic, "topic", capability::SLACK, draft).await.map(drop)
}

async fn paging_severity<W: Blueprint>(run: &Run<'_, W>, from: &str, to: &str, reason: &str) -> Flow<()> {
    let Some(id) = run.link(LinkName::PagerdutyIncidentId) else {
        return run.skip("paging-urgency", capability::PAGERDUTY, NO_PAGING).await;
    };
    let change = SeverityOf { id: id.clone(), severity: to.to_owned(), components: Vec::new() };
    let text =
        format!("Severity {from} → {to}, by {}. {reason}", person(&run.scope.actor)).trim_end().to_owned();
    let (urgency, note) = join!(
        run.effect(PagingUrgency, "paging-urgency", capability::PAGERDUTY, change),
        run.effect(PagingNote, "paging-note", capability::PAGERDUTY, PagingRemark { id, text }),
    );
    urgency?.ok();
    note?.ok();
    Ok(())
}

async fn public_severity<W: Blueprint>(run: &Run<'_, W>, to: &str) -> Flow<()> {
    let Some(id) = run.link(LinkName::StatuspageIncidentId) else {
        return run.skip("public-impact", capability::STATUSPAGE, NO_PUBLIC).await;
    };
    let components = run.incident.public_components.clone();
    let change = SeverityOf { id, severity: to.to_owned(), components };
    run.effect(PublicImpact, "public-impact", capability::STATUSPAGE, change).await.map(drop)
}

/// Raised to P1 or P2, somebody is woken: the incident's own page may be acknowledged or asleep by now.
async fn page<W: Blueprint>(run: &Run<'_, W>, from: &str, to: &str, reason: &str) -> Flow<()> {
    let raised = matches!(
        (words::severity(from), words::severity(to)),
        // P1 is the least: what is smaller is worse.
        (Ok(from), Ok(to @ (Severity::P1 | Severity::P2))) if to < from
    );
    if !raised {
        return Ok(());
    }
    let draft = PagingDraft {
        link: None,
        title: format!("{} is {to} now: {}", run.scope.stream, run.incident.title),
        details: format!("Raised from {from} by {}. {reason}", person(&run.scope.actor))
            .trim_end()
            .to_owned(),
        severity: to.to_owned(),
        page: Some(format!("severity/{}", run.scope.blueprint)),
        roles: Vec::new(),
    };
    run.effect(PagingOpen, "severity-page", capability::PAGERDUTY, draft).await.map(drop)
}

async fn assignment<W: Blueprint>(
    run: &Run<'_, W>,
    role: &str,
    principal: &str,
    released: bool,
    situation: &[String],
) -> Flow<()> {
    if !released {
        match run.link(LinkName::SlackChannel) {
            Some(channel) => {
                let invitation = Invitation { channel, principals: vec![principal.to_owned()] };
                run.effect(ChannelInvite, "invite", capability::SLACK, invitation).await?.ok();
            }
            None => run.skip("invite", capability::SLACK, NO_CHANNEL).await?,
        }
    }
    let principal = person(principal);
    let headline = match released {
        false => format!("{principal} is {role}"),
        true => format!("{principal} is no longer {role}"),
    };
    let mut lines = vec![format!("by {}", person(&run.scope.actor))];
    lines.extend_from_slice(situation);
    run.notice("announcement", Notice::plain(headline, lines)).await.map(drop)
}

/// What the role is there for, with a button for each duty that is done.
async fn checklist<W: Blueprint>(run: &Run<'_, W>, role: &str, duties: &[String]) -> Flow<()> {
    if duties.is_empty() {
        return Ok(());
    }
    let ask = Ask::Duties { role: role.to_owned(), duties: duties.to_vec() };
    let notice = Notice { ask: Some(ask), ..Notice::plain(duties_headline(role), duties.to_vec()) };
    run.notice(kept::DUTIES, notice).await.map(drop)
}

/// The channel hears of it, and whoever is called is paged.
async fn escalation<W: Blueprint>(
    run: &Run<'_, W>,
    level: u32,
    roles: &[String],
    reason: &str,
) -> Flow<Option<String>> {
    let actor = person(&run.scope.actor);
    if level == 0 {
        let headline = format!("{actor}: no more help is needed");
        run.notice("escalation-notice", Notice::plain(headline, vec![reason.to_owned()])).await?;
        return Ok(None);
    }
    let call = Ask::Call { principals: Vec::new(), roles: roles.to_vec(), offer: None };
    let headline = format!("{actor} calls {} for help", roles.join(" or "));
    let notice = Notice { ask: Some(call), ..Notice::plain(headline, vec![reason.to_owned()]) };
    let draft = PagingDraft {
        link: None,
        title: format!("Help is needed with {}: {}", run.scope.stream, run.incident.title),
        details: format!("Called by {actor}. {reason}").trim_end().to_owned(),
        severity: severity_word(run.incident.severity).to_owned(),
        page: Some(format!("severity/{}", run.scope.blueprint)),
        roles: roles.to_vec(),
    };
    let (notice, page) = join!(
        run.notice("escalation-notice", notice),
        run.effect(PagingOpen, "escalation-page", capability::PAGERDUTY, draft),
    );
    notice?;
    page?.ok();
    Ok(None)
}

/// The issue of a follow-up. That none is made is what the act failed at, also where the reason is a setting or a flag.
async fn export<W: Blueprint>(run: &Run<'_, W>, follow_up: u64, tracker: Tracker) -> Flow<Option<String>> {
    let draft = IssueDraft { tracker, follow_up };
    let made = run.effect(IssueOpen, &issue_step(follow_up), tracker.capability(), draft).await?;
    Ok(made.map_or_else(Some, |reply| reply.skipped))
}

/// An activity that a record names.
#[derive(Clone)]
struct Recalled(String);

impl ActivityDefinition for Recalled {
    type Input = Effect<serde_json::Value>;
    type Output = StepReply;
    fn name(&self) -> &str {
        &self.0
    }
}

/// One after another: a later step may need what an earlier one makes. Answers what failed again.
async fn retry<W: Blueprint>(run: &Run<'_, W>, steps: &[StepRef]) -> Flow<Option<String>> {
    let mut failed = Vec::new();
    for one in steps {
        let name = format!("{}/{}", one.blueprint, one.step);
        let request = RecallRequest {
            scope: run.at("recall"),
            blueprint: one.blueprint.clone(),
            attempt: one.attempt,
            step: one.step.clone(),
        };
        match patiently(run.ctx, StepRecall, &request).await? {
            RecallReply::Nothing(reason) => {
                run.warn(format!("{name}: {reason}"));
                failed.push(name);
            }
            RecallReply::Failed(step) => {
                if let Err(error) = again(run, one, &name, *step).await? {
                    failed.push(format!("{name}: {error}"));
                }
            }
        }
    }
    Ok((!failed.is_empty()).then(|| failed.join("; ")))
}

async fn again<W: Blueprint>(
    run: &Run<'_, W>,
    one: &StepRef,
    name: &str,
    step: FailedStep,
) -> Flow<Result<StepReply, String>> {
    let FailedStep { workflow_id, activity, capability, args } = step;
    let scope = in_its_name(run, one, workflow_id);
    let failed_key = format!("{name}#{}/failed", one.attempt);
    let until = WorkflowCancellationToken::new();
    run.effect_as(Recalled(activity), scope, (name, &failed_key), &capability, args, until).await
}

/// The failed step's own scope, with who asked for the retry.
fn in_its_name<W: Blueprint>(run: &Run<'_, W>, one: &StepRef, workflow_id: WorkflowId) -> Scope {
    let authority: Authority = run.scope.authority;
    Scope {
        workflow_id,
        blueprint: one.blueprint.clone(),
        attempt: one.attempt,
        authority,
        ..run.at(&one.step)
    }
}

async fn end<W: Blueprint>(run: &Run<'_, W>, kind: &str, status: Status, reason: Option<String>) -> Flow {
    let steps = run.ctx.state(|workflow| workflow.own().steps());
    let result =
        ActResult { status, reason: reason.clone(), kind: kind.to_owned(), steps, warnings: run.warnings() };
    run.complete(status, reason.as_deref(), &result).await
}

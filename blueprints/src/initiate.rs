//! `incident.initiate`: from "something is wrong" to everybody who must know being told.
//!
//! The incident is on record first; what tells others comes after, in parallel, and the absence of any of them is a
//! warning in the result, never a reason not to initiate.

use harmony_incidents::{
    Command, LinkName, kept,
    log::{IncidentCreated, State, Text},
    policy::GateKind,
    visible, words,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use temporalio_workflow::{WorkflowContext, common::data_converters::RawValue, workflows::join};

use crate::{
    contracts::{
        ChannelDraft, ChannelOpen, Notice, PagingDraft, PagingOpen, PublicDraft, PublicOpen, StepReply,
        capability,
    },
    gate::{Plan, await_decision},
    messages::{Correlation, InitiateInput, InitiateNotifications, InitiateResult, Status},
    run::{Begun, Flow, Run, begin, fail, input},
    workflow_state::{Blueprint, blueprint},
};

blueprint!(
    /// The workflow `incident.initiate`.
    Initiate, "incident.initiate", flow
);

async fn flow<W: Blueprint>(ctx: &WorkflowContext<W>, raw: RawValue) -> Flow {
    let (common, input, digest) = input::<W, InitiateInput>(ctx, &raw)?;
    let declare = declaration(&input, &common.context)?;
    let paged = common.context.pagerduty_incident_id.clone();
    let mut run = match begin(ctx, common, digest, None, Some(declare)).await? {
        Begun::Started(run) => run,
        Begun::Refused(run, reason) => {
            return end(&run, Status::Refused, Some(&reason), Told::default()).await;
        }
    };
    let open = Command::ChangeStatus {
        to: State::Open,
        reason: String::new(),
        justification: String::new(),
        resolution: None,
    };
    run.append("open", open).await?.map_err(|refusal| fail(refusal.to_string()))?;
    let (channel, paging) = join!(channel(&run), paging(&run, &paged));
    let (channel, paging) = (channel?, paging?);
    for reply in [&channel, &paging].into_iter().flatten() {
        run.keep_links(reply);
    }
    let (first, public) = join!(first_update(&run), public(&run, &input));
    let (first, public) = (first?, public?);
    end(&run, Status::Completed, None, Told { channel, paging, first, public }).await
}

#[derive(Default)]
struct Told {
    channel: Option<StepReply>,
    paging: Option<StepReply>,
    first: Option<StepReply>,
    public: Option<StepReply>,
}

/// What to declare where nobody has: a run started by hand may bring its own incident.
fn declaration(input: &InitiateInput, context: &crate::messages::GoldenContext) -> Flow<IncidentCreated> {
    let severity =
        words::severity(&input.severity).map_err(|error| fail(format!("input.severity: {error}")))?;
    if input.title.trim().is_empty() {
        return Err(fail("input.title: an incident needs a title"));
    }
    Ok(IncidentCreated {
        title: Some(Text::plain(input.title.trim())),
        severity: severity.into(),
        impacted_services: input.impacted_services.clone(),
        public_components: input.public_components.clone(),
        public_title: input.public_title.as_deref().and_then(Text::optional),
        public_message: input.public_message.as_deref().and_then(Text::optional),
        trace_id: context.trace_id.clone(),
        cost_center: context.cost_center.clone(),
        ..IncidentCreated::default()
    })
}

async fn channel<W: Blueprint>(run: &Run<'_, W>) -> Flow<Option<StepReply>> {
    let draft = ChannelDraft {
        title: run.incident.title.clone(),
        severity: run.incident.severity.as_str_name().to_owned(),
    };
    made(run.effect(ChannelOpen, "channel", capability::SLACK, draft).await?)
}

/// The incident that pages people: the one that this came from, or a new one.
async fn paging<W: Blueprint>(run: &Run<'_, W>, paged: &str) -> Flow<Option<StepReply>> {
    let draft = PagingDraft {
        title: format!("{}: {}", run.scope.stream, run.incident.title),
        details: format!("Severity {}. Declared in Harmony.", run.incident.severity.as_str_name()),
        severity: run.incident.severity.as_str_name().to_owned(),
        page: None,
        roles: Vec::new(),
        link: Some(paged.to_owned()).filter(|paged| !paged.is_empty()),
    };
    made(run.effect(PagingOpen, "paging", capability::PAGERDUTY, draft).await?)
}

/// What the message says is looked up when it is posted, and whenever it changes after that.
async fn first_update<W: Blueprint>(run: &Run<'_, W>) -> Flow<Option<StepReply>> {
    let notice = Notice { pin: true, ..Notice::plain(run.incident.title.clone(), Vec::new()) };
    run.notice(kept::FIRST, notice).await
}

/// The public page, alone behind its gate where the policy asks. Never the internal title.
async fn public<W: Blueprint>(run: &Run<'_, W>, input: &InitiateInput) -> Flow<Option<StepReply>> {
    let services = if run.incident.impacted_services.is_empty() {
        "our services".to_owned()
    } else {
        run.incident.impacted_services.join(", ")
    };
    let or = |text: &str, default: String| if text.is_empty() { default } else { text.to_owned() };
    let default = format!("We are investigating an issue with {services}");
    let draft = PublicDraft {
        title: or(&run.incident.public_title, default.clone()),
        message: or(&run.incident.public_message, format!("{default}.")),
        // A run that was started by hand for a declared incident may name its own.
        components: if run.incident.public_components.is_empty() {
            input.public_components.clone()
        } else {
            run.incident.public_components.clone()
        },
        severity: run.incident.severity.as_str_name().to_owned(),
    };
    let covers = json!({
        "components": draft.components, "incidentId": run.scope.stream, "message": draft.message,
        "severity": draft.severity, "title": draft.title,
    })
    .to_string();
    let plan = Plan {
        step: "status-page".to_owned(),
        kind: GateKind::StatusPage,
        levels: vec![],
        severity: None,
        action: format!("Publish {} on the status page", run.scope.stream),
        reason: format!("{} was declared", run.scope.stream),
        digest: hex::encode(Sha256::digest(covers.as_bytes())),
        covers,
        lines: vec![
            format!("Title: {}", visible::summary(&draft.title)),
            format!("Message: {}", visible::summary(&draft.message)),
            format!("Components: {}", visible::line(&draft.components.join(", "))),
        ],
    };
    let outcome = await_decision(run, plan).await?;
    if !outcome.may_go_on() {
        run.skip("public-page", capability::STATUSPAGE, "it was not approved").await?;
        return Ok(None);
    }
    made(run.effect(PublicOpen, "public-page", capability::STATUSPAGE, draft).await?)
}

fn made(outcome: Result<StepReply, String>) -> Flow<Option<StepReply>> {
    Ok(outcome.ok().filter(|reply| reply.skipped.is_none()))
}

async fn end<W: Blueprint>(run: &Run<'_, W>, status: Status, reason: Option<&str>, told: Told) -> Flow {
    run.all_told().await?;
    let link = |reply: &Option<StepReply>, name: LinkName| {
        reply.as_ref().and_then(|reply| reply.links.get(name.name()).cloned())
    };
    let result = InitiateResult {
        status,
        reason: reason.map(str::to_owned),
        incident_id: run.scope.stream.to_string(),
        notifications: InitiateNotifications {
            slack_announcement_posted: told.first.is_some(),
            pager_duty_incident_created: told.paging.is_some(),
            statuspage_incident_created: told.public.is_some(),
        },
        correlation: Correlation {
            slack_channel: link(&told.channel, LinkName::SlackChannel),
            slack_message_ts: link(&told.first, LinkName::SlackMessageTs),
            pagerduty_incident_id: link(&told.paging, LinkName::PagerdutyIncidentId),
            statuspage_incident_id: link(&told.public, LinkName::StatuspageIncidentId),
        },
        warnings: run.warnings(),
    };
    run.complete(status, reason, &result).await
}

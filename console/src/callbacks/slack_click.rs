//! Carrying out one click, after it was verified and read.
//!
//! Runs on its own: says when what it asks for is safely written, then waits for the outcome and tells the person who
//! clicked where it is not what they wanted.

use harmony_eventlog::{Append, LogError, Target};
use harmony_incidents::{
    Command, Context, IncidentId, OrgId, Principal, Right, RuleSet,
    command::Decision,
    judge,
    log::{Cause, State},
};
use jiff::Timestamp;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::slack::tell;
use crate::{
    App,
    decisions::{self, Course, Proposal},
    error::ApiError,
    review::as_sign_off,
};

/// A click on one of our buttons.
pub(super) struct Click {
    /// The same for every time that Slack sends it.
    pub(super) id: Uuid,
    pub(super) user: String,
    pub(super) response_url: Option<String>,
    pub(super) org: OrgId,
    pub(super) wish: Wish,
}

/// What a button asks for.
pub(super) enum Wish {
    Decide { decision: Decision, gate_id: String, digest: String },
    SignOff { incident: IncidentId, digest: String },
}

/// Carries a click out. `written` is told (or dropped) when nothing can be lost any more.
pub(super) async fn work(app: App, click: Click, written: oneshot::Sender<()>) {
    let rules = app.doors.rules.current();
    let Some(principal) = rules.directory.by_slack_user(&click.user) else {
        drop(written);
        tell(&app, &click, "Nothing was changed: nobody in the directory has this Slack account.").await;
        return;
    };
    let outcome = match &click.wish {
        Wish::Decide { decision, gate_id, digest } => {
            let proposal = Proposal {
                org: &click.org,
                gate_id,
                digest: Some(digest.to_ascii_lowercase()),
                decision: *decision,
                reason: None,
                approver: principal,
                decision_id: click.id,
                source: "slack",
                break_glass: false,
                justification: None,
            };
            decide(&app, &proposal, written).await
        }
        Wish::SignOff { incident, digest } => {
            let outcome = sign_off(&app, &rules, &click, principal, incident, digest).await;
            drop(written);
            outcome.map(Some)
        }
    };
    match outcome {
        Ok(None) => {}
        Ok(Some(text)) => tell(&app, &click, &text).await,
        Err(error) => tell(&app, &click, &format!("This did not count: {}", error.for_people())).await,
    }
}

/// Writes the decision and waits for its verdict. Somebody whose decision counts sees it in the message itself.
async fn decide(
    app: &App,
    proposal: &Proposal<'_>,
    written: oneshot::Sender<()>,
) -> Result<Option<String>, ApiError> {
    let place = decisions::place(app, proposal.org, proposal.gate_id)
        .await?
        .ok_or_else(|| ApiError::NotFound("there is no such gate any more".to_owned()))?;
    let answer = match place.course(app, proposal).await? {
        Course::Settled(refused) => return Err(ApiError::Decision(Box::new(refused))),
        Course::Known(answer) => answer,
        Course::Send(item) => {
            app.doors.log.enqueue(proposal.org, &place.incident, &item).await?;
            drop(written);
            match decisions::verdict(app, proposal.org, proposal.decision_id).await? {
                Some(answer) => answer,
                None => {
                    let text = "Your decision is recorded and not judged yet: it counts as of now.";
                    return Ok(Some(text.to_owned()));
                }
            }
        }
    };
    decisions::read(answer, proposal.gate_id, proposal.decision_id).map(|_| None).map_err(ApiError::Decision)
}

/// Signs a review off with the person's own rights, and says what came of it.
async fn sign_off(
    app: &App,
    rules: &RuleSet,
    click: &Click,
    principal: &Principal,
    incident: &IncidentId,
    digest: &str,
) -> Result<String, ApiError> {
    let state = app
        .doors
        .log
        .state(&click.org, incident)
        .await?
        .ok_or_else(|| LogError::UnknownIncident(incident.clone()))?;
    if !principal.may(Right::SignOff, &click.org, Some(&state)) {
        let least = Right::SignOff.least_role().name();
        return Err(ApiError::Forbidden(format!("signing off needs the role {least} at least")));
    }
    let context = as_sign_off(Context {
        actor: principal.id.clone(),
        authority: principal.authority(&click.org, Some(&state)),
        cause: Cause { request_id: click.id.to_string(), ..Cause::default() },
        occurred_at: Timestamp::now(),
    });
    let command = Command::SignOff { digest: digest.to_ascii_lowercase() };
    app.doors
        .log
        .append(Append {
            org: &click.org,
            target: Target::Named(incident.clone()),
            key: &format!("slack/{}", click.id),
            command: &command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &|head| judge(head, &command, &context, rules.rules()),
            follow: &|_| vec![],
        })
        .await?;
    Ok(format!("{incident} is {}: you signed its review off.", State::Closed.as_str_name()))
}

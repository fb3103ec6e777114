//! Carrying out one click, or one form that was sent, after it was verified and read.
//!
//! Says when what it asks for is safely written, and returns what the person is to be told where it is not what they
//! wanted.

use harmony_eventlog::{Append, LogError, Target};
use harmony_incidents::{
    Command, Context, GateStatus, HasStatus, IncidentId, OrgId, Principal, Right, RuleSet,
    authority::{GateAsk, GateRight},
    command::Decision,
    judge,
    log::{Cause, State},
};
use jiff::Timestamp;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{reject, tell::Person};
use crate::{
    App,
    decisions::{self, Place, Proposal},
    error::ApiError,
};

/// A click on one of our buttons.
pub(super) struct Click {
    /// The same for every time that Slack sends it.
    pub(super) id: Uuid,
    pub(super) person: Person,
    /// Opens a form, for 3 s.
    pub(super) trigger_id: String,
    pub(super) org: OrgId,
    pub(super) wish: Wish,
}

/// What a button asks for.
pub(super) enum Wish {
    /// A rejection without a reason is asked for one.
    Decide {
        decision: Decision,
        gate_id: String,
        digest: String,
        reason: Option<String>,
    },
    SignOff {
        incident: IncidentId,
        digest: String,
    },
}

/// Tells, once, that nothing can be lost any more. Dropped before, it tells that the store did not take it.
pub(super) struct Safe(Option<oneshot::Sender<()>>);

impl Safe {
    /// With what hears of it.
    pub(super) fn new() -> (Self, oneshot::Receiver<()>) {
        let (tell, told) = oneshot::channel();
        (Self(Some(tell)), told)
    }

    fn tell(&mut self) {
        if let Some(tell) = self.0.take() {
            // Nobody may wait any more.
            let _ = tell.send(());
        }
    }
}

/// Carries a click out, and says when it is safe.
pub(super) async fn work(app: &App, click: &Click, mut safe: Safe) -> Option<String> {
    let rules = app.doors.rules.current();
    let Some(principal) = rules.directory.by_slack_user(&click.person.user) else {
        safe.tell();
        return Some("Nothing was changed: nobody in the directory has this Slack account.".to_owned());
    };
    let outcome = match &click.wish {
        Wish::Decide { decision, gate_id, digest, reason } => {
            let proposal = Proposal {
                org: &click.org,
                gate_id,
                digest: Some(digest.to_ascii_lowercase()),
                decision: *decision,
                reason: reason.clone(),
                approver: principal,
                decision_id: click.id,
                source: "slack",
                break_glass: false,
                justification: None,
            };
            decide(app, &rules, click, &proposal).await
        }
        Wish::SignOff { incident, digest } => {
            sign_off(app, &rules, click, principal, incident, digest).await.map(Some)
        }
    };
    // What was refused is lost by nobody; what could not be stored is.
    if !matches!(&outcome, Err(error) if error.is_ours()) {
        safe.tell();
    }
    outcome.unwrap_or_else(|error| Some(format!("This did not count: {}", error.for_people())))
}

/// Decides. Somebody whose decision counts sees it in the message itself.
async fn decide(
    app: &App,
    rules: &RuleSet,
    click: &Click,
    proposal: &Proposal<'_>,
) -> Result<Option<String>, ApiError> {
    let place = decisions::place(app, proposal.org, proposal.gate_id)
        .await?
        .ok_or_else(|| ApiError::NotFound("there is no such gate any more".to_owned()))?;
    if let Some(replies) =
        app.doors.slack_replies.as_ref().filter(|_| asks_for_a_reason(rules, proposal, &place))
    {
        let digest = proposal.digest.as_deref().unwrap_or_default();
        return Ok(reject::ask(replies, click, &place, proposal.gate_id, digest).await.err());
    }
    let context = Context {
        actor: proposal.approver.id.clone(),
        authority: rules.access.authority(proposal.approver, proposal.org, Some(&place.state)),
        cause: Cause { request_id: click.id.to_string(), ..Cause::default() },
        occurred_at: Timestamp::now(),
    };
    place.decide(app, rules.rules(), &context, proposal).await?.map_err(ApiError::Decision)?;
    // The message cannot change while Temporal is away.
    Ok(decisions::away(app).map(|away| format!("Your decision is on record: {away}.")))
}

/// A rejection that can count is asked for its reason first; one that cannot is refused as it is, on record.
fn asks_for_a_reason(rules: &RuleSet, proposal: &Proposal<'_>, place: &Place) -> bool {
    let Some(gate) = place.gate(proposal.gate_id).filter(|gate| gate.is(GateStatus::Pending)) else {
        return false;
    };
    let may = rules.access.may_decide(
        proposal.approver,
        GateRight::Reject,
        proposal.org,
        &place.state,
        GateAsk::of(gate),
    );
    proposal.decision == Decision::Rejected && proposal.reason.is_none() && may.is_ok()
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
    if !rules.access.may(principal, Right::SignOff, &click.org, Some(&state)) {
        return Err(ApiError::Forbidden(rules.access.needs(Right::SignOff)));
    }
    let context = Context {
        actor: principal.id.clone(),
        authority: rules.access.authority(principal, &click.org, Some(&state)),
        cause: Cause { request_id: click.id.to_string(), ..Cause::default() },
        occurred_at: Timestamp::now(),
    };
    let command = Command::SignOff { digest: digest.to_ascii_lowercase() };
    app.doors
        .log
        .append(Append {
            org: &click.org,
            target: Target::Named(incident.clone().into()),
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

//! Carrying out one click, or one form that was sent, after it was verified and read.
//!
//! Says when what it asks for is safely written, and returns what the person is to be told where it is not what they
//! wanted.

use std::sync::Arc;

use harmony_eventlog::{Append, LogError, Target};
use harmony_incidents::{
    Command, Context, GateStatus, HasStatus, IncidentId, OrgId, Principal, ReleaseId, Right, RuleSet,
    approvals::view,
    authority::{GateAsk, GateRight},
    command::Decision,
    judge,
    log::{Cause, State},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    forms::{self, About, Form},
    orders::answered,
    reason::{self, Question},
    tell::Person,
};
use crate::{
    App,
    auth::{Caller, sees},
    call::Call,
    catalog::{changes, releases},
    decisions::{self, Place, Proposal},
    error::ApiError,
    leading, responders,
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
    /// A rejection without a reason, and a manual step without a note, are asked for it.
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
    /// Says that a duty of a role is done.
    Duty {
        incident: IncidentId,
        role: String,
        duty: String,
    },
    /// Takes command.
    Command {
        incident: IncidentId,
    },
    /// Opens a form about the incident; about none, where one is declared.
    Fill {
        incident: Option<IncidentId>,
        form: &'static Form,
    },
    /// Proposes what was active before a release, for the incident that it is suspected of.
    RollBack {
        incident: IncidentId,
        release: ReleaseId,
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
        Wish::Duty { incident, role, duty } => {
            tick(app, &rules, click, principal, incident, role, duty).await.map(Some)
        }
        Wish::Command { incident } => take_command(app, &rules, click, principal, incident).await.map(Some),
        Wish::Fill { incident, form } => {
            let about = About { org: click.org.clone(), incident_id: incident.clone() };
            let opened = forms::open(app, &click.person.user, &click.trigger_id, form, Some(&about)).await;
            Ok(opened.err().map(|problem| format!("Nothing was changed: {problem}")))
        }
        Wish::RollBack { incident, release } => {
            roll_back(app, &rules, click, principal, incident, release).await.map(Some)
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
        .filter(|place| sees(proposal.approver, proposal.org, &place.state))
        .ok_or_else(|| ApiError::NotFound("there is no such gate any more".to_owned()))?;
    if let (Some(replies), Some(question)) = (&app.doors.slack_replies, asked_for(rules, proposal, &place)) {
        let digest = proposal.digest.as_deref().unwrap_or_default();
        return Ok(reason::ask(replies, click, question, &place, proposal.gate_id, digest).await.err());
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

/// What a decision that can count is asked for first; one that cannot is refused as it is, on record.
fn asked_for(rules: &RuleSet, proposal: &Proposal<'_>, place: &Place) -> Option<&'static Question> {
    let gate = place.gate(proposal.gate_id).filter(|gate| gate.is(GateStatus::Pending))?;
    let question =
        reason::question(proposal.decision, view(gate).needs_note).filter(|_| proposal.reason.is_none())?;
    let right = if proposal.decision == Decision::Rejected { GateRight::Reject } else { GateRight::Approve };
    let may =
        rules.access.may_decide(proposal.approver, right, proposal.org, &place.state, GateAsk::of(gate));
    may.is_ok().then_some(question)
}

fn caller(rules: &Arc<RuleSet>, click: &Click, principal: &Principal) -> Result<Caller, ApiError> {
    Caller::of(principal.clone(), click.org.clone(), rules.clone())
        .ok_or_else(|| ApiError::Forbidden(format!("you have no role in {}", click.org)))
}

/// Ticks a duty by the API's own handler, with the person's own rights.
async fn tick(
    app: &App,
    rules: &Arc<RuleSet>,
    click: &Click,
    principal: &Principal,
    incident: &IncidentId,
    role: &str,
    duty: &str,
) -> Result<String, ApiError> {
    let caller = caller(rules, click, principal)?;
    let body = json!({ "role": role, "duty": duty });
    let path = [("id", incident.as_str())];
    let call = Call::by_door(app.clone(), caller, format!("slack/{}", click.id), &path, &body);
    let answer = answered(Ok(leading::duty(call).await?)).await?;
    Ok(match answer["answer"].as_str() {
        Some("unchanged") => format!("“{duty}” was ticked already."),
        _ => format!("“{duty}” is ticked."),
    })
}

/// Gives the clicker the command by the API's own handler, with their own rights.
async fn take_command(
    app: &App,
    rules: &Arc<RuleSet>,
    click: &Click,
    principal: &Principal,
    incident: &IncidentId,
) -> Result<String, ApiError> {
    let caller = caller(rules, click, principal)?;
    let body = json!({ "role": "commander", "principalId": principal.id });
    let path = [("id", incident.as_str())];
    let call = Call::by_door(app.clone(), caller, format!("slack/{}", click.id), &path, &body);
    let answer = answered(Ok(responders::change(call).await?)).await?;
    Ok(match answer["answer"].as_str() {
        Some("unchanged") => format!("You command {incident} already."),
        _ => format!("You command {incident}."),
    })
}

/// Proposes a rollback by the API's own handler, with the person's own rights; its gate decides.
async fn roll_back(
    app: &App,
    rules: &Arc<RuleSet>,
    click: &Click,
    principal: &Principal,
    incident: &IncidentId,
    release: &ReleaseId,
) -> Result<String, ApiError> {
    let caller = caller(rules, click, principal)?;
    let call = |path: &[(&str, &str)], body: Value| {
        Call::by_door(app.clone(), caller.clone(), format!("slack/{}", click.id), path, &body)
    };
    let changes = changes::list(call(&[("id", incident.as_str())], Value::Null)).await?;
    let changes = answered(Ok(changes)).await?;
    let known =
        ["suspected", "linked"].into_iter().flat_map(|list| changes[list].as_array().into_iter().flatten());
    let why = known
        .filter(|one| one["id"] == release.as_str())
        .find_map(|one| one["reason"].as_str().filter(|reason| !reason.is_empty()).map(str::to_owned));
    let reason = match why {
        Some(why) => format!("{release} is suspected: {why}"),
        None => format!("{release} is suspected"),
    };
    let body = json!({ "incidentId": incident, "reason": reason });
    let answer = releases::rollback(call(&[("id", release.as_str())], body)).await?;
    let answer = answered(Ok(answer)).await?;
    let made = answer["release"]["id"].as_str().unwrap_or_default();
    let warning = answer["warning"].as_str().map(|text| format!(" ({text})")).unwrap_or_default();
    Ok(format!(
        "The rollback of {release} is proposed as {made}: it goes out once its gate is approved.{warning}"
    ))
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
        .filter(|state| sees(principal, &click.org, state))
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

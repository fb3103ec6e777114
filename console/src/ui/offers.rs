//! What a reader may do with an incident now: the forms of its page.
//!
//! Only what their rights and its state allow is offered. The log judges again whatever is sent.

use harmony_incidents::{
    HasStatus, Right, RunStatus, StepStatus, approvals,
    log::{IncidentState, Phase, State},
};
use uuid::Uuid;

use super::visit::Visit;
use crate::{
    people::members,
    update_templates::{Draft, drafts},
};

/// The forms that are offered. Each that is not is not on the page.
pub(crate) struct Offers {
    /// Where commands go to, with a slash at the end.
    pub(crate) address: String,
    /// Makes a form that is sent twice one command; one page, one use of each.
    pub(crate) key: Uuid,
    pub(crate) note: bool,
    pub(crate) update: bool,
    pub(crate) remediate: bool,
    pub(crate) stop: bool,
    pub(crate) verify: bool,
    pub(crate) severity: bool,
    pub(crate) assign: bool,
    /// Whether this reader may make themselves commander, and who they are.
    pub(crate) take_command: bool,
    pub(crate) reader: String,
    /// Whether they may call for help, or say that it is no longer needed.
    pub(crate) escalate: bool,
    /// Whether they may say when it was, and what it has to do with others.
    pub(crate) correct: bool,
    /// Whether they may say who sees it.
    pub(crate) hide: bool,
    /// Whether they may declare that it is back.
    pub(crate) declare_again: bool,
    pub(crate) close_out: bool,
    pub(crate) cancel: bool,
    pub(crate) review: bool,
    pub(crate) close: bool,
    pub(crate) archive: bool,
    /// Everybody who may be given a part: id and name.
    pub(crate) people: Vec<(String, String)>,
    /// Severities that it could have instead.
    pub(crate) severities: Vec<&'static str>,
    /// Blueprints whose run was lost.
    pub(crate) lost: Vec<String>,
    /// Steps that failed and may be tried again.
    pub(crate) failed: Vec<String>,
    /// Texts that an update may begin as.
    pub(crate) drafts: Vec<Draft>,
    /// Why there are none, where there should be some.
    pub(crate) no_drafts: String,
}

impl Offers {
    /// Whether anything is offered.
    pub(crate) fn any(&self) -> bool {
        self.note || self.review || self.assign || self.archive
    }
}

/// What is offered to this reader.
pub(crate) fn offers(visit: &Visit, state: &IncidentState) -> Offers {
    let may = |right| visit.may(right, Some(state));
    let held = state.state();
    let active = matches!(held, State::Open | State::Mitigating);
    let runs = |blueprint: &str| {
        state.blueprints.iter().any(|one| one.blueprint == blueprint && one.is(RunStatus::Running))
    };
    let (respond, resolve) = (may(Right::Respond), may(Right::Resolve));
    let policy = visit.caller.rules().policy;
    let org = &visit.caller.org;
    let update = respond && may(Right::SlackWrite) && active;
    let drafts = if update {
        drafts(visit.app.doors.update_templates.as_ref(), state, visit.caller.rules())
    } else {
        Ok(Vec::new())
    };
    let (drafts, no_drafts) = match drafts {
        Ok(drafts) => (drafts, String::new()),
        Err(problem) => (Vec::new(), problem),
    };
    Offers {
        address: format!("/orgs/{org}/incidents/{}/do/", state.incident),
        key: Uuid::now_v7(),
        note: may(Right::Note),
        update,
        drafts,
        no_drafts,
        remediate: respond && may(Right::OperationsExecute) && active && !runs("remediate"),
        stop: respond && runs("remediate"),
        verify: resolve
            && held == State::Mitigating
            && state.phase() != Phase::Verified
            && !runs("remediate"),
        severity: may(Right::ChangeSeverity) && (active || held == State::Pending),
        assign: respond && (active || matches!(held, State::Pending | State::Resolved)),
        take_command: respond
            && (active || held == State::Pending)
            && people(visit).iter().any(|(id, _)| *id == visit.caller.principal.id),
        reader: visit.caller.principal.id.clone(),
        escalate: respond && (active || held == State::Pending),
        correct: respond,
        hide: resolve,
        declare_again: respond && matches!(held, State::Resolved | State::Closed | State::Archived),
        close_out: resolve && active && !runs("close-out"),
        cancel: resolve && matches!(held, State::Pending | State::Open) && !runs("close-out"),
        review: matches!(held, State::Resolved | State::Closed | State::Archived),
        close: resolve && held == State::Resolved && !policy.needs_review(state.severity()),
        archive: resolve && matches!(held, State::Resolved | State::Closed | State::Cancelled),
        people: people(visit),
        severities: ["P1", "P2", "P3", "P4"]
            .into_iter()
            .filter(|word| *word != state.severity().as_str_name())
            .collect(),
        lost: lost(state, respond),
        failed: failed(state, respond && (active || held == State::Resolved)),
    }
}

fn people(visit: &Visit) -> Vec<(String, String)> {
    members(&visit.caller).map(|(one, _)| (one.id.clone(), one.display_name().to_owned())).collect()
}

fn lost(state: &IncidentState, may: bool) -> Vec<String> {
    let orphaned = state.blueprints.iter().filter(|one| may && one.is(RunStatus::Orphaned));
    orphaned.map(|one| one.blueprint.clone()).collect()
}

fn failed(state: &IncidentState, may: bool) -> Vec<String> {
    state
        .blueprints
        .iter()
        .filter(|one| may && !one.is(RunStatus::Running))
        .flat_map(|one| one.steps.iter().filter(|step| step.is(StepStatus::Failed)))
        .map(|step| step.step.clone())
        .collect()
}

/// What a review still needs before it may be proposed, in words.
pub(crate) fn missing(visit: &Visit, state: &IncidentState) -> Vec<String> {
    approvals::missing_for_review(state, visit.caller.rules())
}

//! A gate on a page: what would be done, until when, who may decide, and the buttons for those who may.

use harmony_incidents::{
    GateStatus, HasStatus, Principal, Right, Role, StreamId, approvals,
    log::{GateState, IncidentState, Severity},
    policy::GateKind,
    visible,
};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::{
    cover::{self, Cover},
    form::encoded,
    visit::Visit,
    words,
};
use crate::{approvals::covers, views};

/// People who are named before the rest are others.
const NAMED: usize = 5;

/// A gate that waits.
pub(crate) struct GateCard {
    /// Where its forms go to.
    pub(crate) address: String,
    /// What a link on its page leads to.
    pub(crate) anchor: String,
    pub(crate) incident: String,
    pub(crate) incident_address: String,
    /// What its buttons are called.
    pub(crate) approve_label: &'static str,
    pub(crate) reject_label: &'static str,
    /// Whether this reader may go on without what it asks about.
    pub(crate) may_skip: bool,
    /// Whether an approval says what was done.
    pub(crate) needs_note: bool,
    pub(crate) title: String,
    pub(crate) severity: &'static str,
    pub(crate) blueprint: String,
    pub(crate) action: String,
    pub(crate) reason: String,
    pub(crate) requester: String,
    pub(crate) roles: String,
    /// Who may approve, by name; where they are many, the first few of them.
    pub(crate) deciders: String,
    pub(crate) level: u32,
    pub(crate) levels: usize,
    pub(crate) deadline: String,
    pub(crate) left: String,
    pub(crate) digest: String,
    pub(crate) refusals: u32,
    /// Whether this reader may approve, and reject.
    pub(crate) may_approve: bool,
    pub(crate) may_reject: bool,
    /// Why they may not approve.
    pub(crate) because: String,
    pub(crate) may_escalate: bool,
    pub(crate) may_break_glass: bool,
    /// Makes a decision that is sent twice one decision.
    pub(crate) key: Uuid,
    pub(crate) cover: Option<Cover>,
}

/// A gate without what it covers.
pub(crate) fn card(visit: &Visit, state: &IncidentState, gate: &GateState) -> GateCard {
    let org = &visit.caller.org;
    let offered = approvals::offered(state, gate, &visit.caller.principal, visit.caller.rules());
    let view = approvals::view(gate);
    let (approve_label, reject_label) = match GateKind::named(&gate.kind) {
        Some(GateKind::UnknownCell) => ("Run it again", "Abort the remediation"),
        Some(GateKind::ManualStep) => ("It is done", "It cannot be done"),
        Some(GateKind::Checkpoint) => ("Run this cell", "Stop here"),
        _ => ("Approve", "Reject"),
    };
    GateCard {
        incident_address: match state.incident.strip_prefix("svc/") {
            Some(service) => format!("/orgs/{org}/services/{}", encoded(service)),
            None => format!("/orgs/{org}/incidents/{}", encoded(&state.incident)),
        },
        approve_label,
        reject_label,
        may_skip: offered.skip,
        needs_note: view.needs_note,
        address: format!("/orgs/{org}/approvals/{}", encoded(&gate.gate_id)),
        anchor: gate.gate_id.replace(|one: char| !one.is_ascii_alphanumeric(), "-"),
        incident: state.incident.clone(),
        title: visible::line(&views::text(state.title.as_ref())),
        severity: match (gate.severity(), state.incident.starts_with("svc/")) {
            // A release has none; that of the incident that it names stands there.
            (Severity::Unspecified, true) => "",
            (Severity::Unspecified, false) => state.severity().as_str_name(),
            (of_the_gate, _) => of_the_gate.as_str_name(),
        },
        blueprint: gate.blueprint.clone(),
        action: visible::line(&view.action),
        reason: visible::visible(&view.request_reason),
        requester: visit.name(&view.requester),
        roles: view.required_roles.join(" or "),
        deciders: String::new(),
        level: view.level,
        levels: gate.levels.len(),
        deadline: view.deadline.to_string(),
        left: words::left(view.deadline, visit.now),
        digest: view.digest,
        refusals: gate.refusals,
        may_approve: offered.not_approve.is_none(),
        may_reject: offered.reject,
        because: offered.not_approve.unwrap_or_default(),
        may_escalate: view.escalates && visit.may(Right::Respond, Some(state)),
        may_break_glass: offered.break_glass,
        key: Uuid::now_v7(),
        cover: None,
    }
}

/// A gate with everything that its digest covers.
pub(crate) async fn whole(
    visit: &Visit,
    state: &IncidentState,
    gate: &GateState,
) -> Result<GateCard, crate::error::ApiError> {
    let covered = match state.incident.parse::<StreamId>() {
        Ok(stream) => covers(&visit.app, &visit.caller.org, &stream, gate).await?,
        Err(_) => Value::Null,
    };
    Ok(GateCard { cover: Some(cover::read(&visit.app, &covered)), ..card(visit, state, gate) })
}

/// The same with the names of those who may approve, for a page that has few gates: each name is a question to the
/// policies.
pub(crate) async fn named(
    visit: &Visit,
    state: &IncidentState,
    gate: &GateState,
) -> Result<GateCard, crate::error::ApiError> {
    Ok(GateCard { deciders: deciders(visit, state, gate), ..whole(visit, state, gate).await? })
}

/// Who may approve a gate as it stands.
fn deciders(visit: &Visit, state: &IncidentState, gate: &GateState) -> String {
    let rules = visit.caller.rules();
    let wanted = approvals::view(gate).required_roles;
    let mut able = rules.directory.principals().iter().filter(|one| {
        let has_role = |role: Role| wanted.iter().any(|name| *name == role.name());
        one.roles(&visit.caller.org, Some(state)).into_iter().any(has_role)
            && approvals::offered(state, gate, one, rules).not_approve.is_none()
    });
    let mut names: Vec<&str> = able.by_ref().take(NAMED).map(Principal::display_name).collect();
    if able.next().is_some() {
        names.push("others");
    }
    match names.split_last() {
        None => "nobody in the directory".to_owned(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
    }
}

/// Gates of an incident that wait, the latest first.
pub(crate) fn pending(state: &IncidentState) -> Vec<&GateState> {
    let mut gates: Vec<_> = state.gates.iter().filter(|gate| gate.is(GateStatus::Pending)).collect();
    gates.sort_by_key(|gate| std::cmp::Reverse((gate.requested_at_us, gate.requested_seq)));
    gates
}

/// What waits for whom, in a few words.
pub(crate) fn waits_for(gate: &GateState, now: Timestamp) -> (String, String, String) {
    let view = approvals::view(gate);
    (view.required_roles.join(" or "), view.deadline.to_string(), words::left(view.deadline, now))
}

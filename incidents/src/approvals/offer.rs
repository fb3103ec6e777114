//! What a page offers somebody at a gate: the same question as a decision asks, before anybody decides.

use harmony_protos::log::{GateState, IncidentState, Severity};

use crate::{
    authority::{Denied, GateAsk, GateRight},
    directory::Principal,
    judge::Rules,
    status::{GateStatus, HasStatus},
};

use super::{is_skippable, org_of};

/// What a page offers somebody at a gate as it stands. Judged again when they decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Why they may not approve, in words; none where they may.
    pub not_approve: Option<String>,
    /// Whether they may reject.
    pub reject: bool,
    /// Whether they may skip what it asks about.
    pub skip: bool,
    /// Whether they may break the glass.
    pub break_glass: bool,
}

/// What this principal may do at a gate.
pub fn offered(state: &IncidentState, gate: &GateState, principal: &Principal, rules: Rules<'_>) -> Offered {
    if !gate.is(GateStatus::Pending) {
        let why = format!("it is {} already", gate.status);
        return Offered { not_approve: Some(why), reject: false, skip: false, break_glass: false };
    }
    let (org, ask) = (org_of(state), GateAsk::of(gate));
    let may = |right| rules.access.may_decide(principal, right, &org, state, ask);
    let not_approve = may(GateRight::Approve).err().map(|denied| match denied {
        Denied::Forbidden { explanation, .. } => explanation.to_string(),
        Denied::NotPermitted => format!("this level needs {}", ask.roles.join(" or ")),
    });
    Offered {
        skip: not_approve.is_none() && is_skippable(gate),
        not_approve,
        reject: may(GateRight::Reject).is_ok(),
        break_glass: rules.policy.break_glass
            && matches!(state.severity(), Severity::P1 | Severity::P2)
            && may(GateRight::BreakGlass).is_ok(),
    }
}

/// Whether a pending gate waits for this person: they may approve or reject it. Asks no more than it must, for lists.
pub fn waits_for(state: &IncidentState, gate: &GateState, principal: &Principal, rules: Rules<'_>) -> bool {
    let (org, ask) = (org_of(state), GateAsk::of(gate));
    let may = |right| rules.access.may_decide(principal, right, &org, state, ask).is_ok();
    gate.is(GateStatus::Pending) && (may(GateRight::Approve) || may(GateRight::Reject))
}

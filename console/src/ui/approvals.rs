//! What waits for a decision: for this reader first, then for others.

use askama::Template;
use harmony_incidents::{
    Right, approvals,
    log::{GateState, IncidentState},
};

use super::{
    Page,
    gate_card::{self, GateCard},
    html,
    visit::{Frame, Visit},
};
use crate::{auth::Caller, decisions, error::ApiError};

#[derive(Template)]
#[template(path = "approvals.html")]
struct ApprovalsPage {
    frame: Frame,
    mine: Vec<GateCard>,
    others: Vec<GateCard>,
    /// All that wait, those of other pages too.
    all_mine: usize,
    all_others: usize,
    /// Address of the next page, empty on the last.
    next: String,
}

/// Gates of one page.
const GATES: usize = 20;

/// `GET …/approvals`
pub(crate) async fn page(mut visit: Visit) -> Page {
    visit.require(Right::ReadGates, None)?;
    let from = match visit.query.one("from") {
        None => 0,
        Some(text) => text
            .parse::<usize>()
            .map_err(|_| visit.trouble(ApiError::Invalid(format!("from {text:?}: how many to skip"))))?,
    };
    let incidents = std::mem::replace(&mut visit.waits, Ok(Vec::new()))?;
    let mut found: Vec<_> = incidents
        .iter()
        .flat_map(|state| gate_card::pending(state).into_iter().map(move |gate| (state, gate)))
        .collect();
    // What ends first comes first.
    found.sort_by_key(|(_, gate)| gate.due_us);
    let is_mine = |(state, gate): &(&IncidentState, &GateState)| {
        approvals::waits_for(state, gate, &visit.caller.principal, visit.caller.rules())
    };
    let (for_reader, for_others): (Vec<_>, Vec<_>) = found.into_iter().partition(is_mine);
    let (all_mine, all_others) = (for_reader.len(), for_others.len());
    let (mut mine, mut others) = (Vec::new(), Vec::new());
    for (place, (state, gate)) in for_reader.into_iter().chain(for_others).enumerate().skip(from).take(GATES)
    {
        if place < all_mine {
            mine.push(gate_card::whole(&visit, state, gate).await?);
        } else {
            others.push(gate_card::card(&visit, state, gate));
        }
    }
    let next = from.saturating_add(GATES);
    let next = if next < all_mine + all_others { format!("?from={next}") } else { String::new() };
    html(&ApprovalsPage { frame: visit.frame("approvals"), mine, others, all_mine, all_others, next })
}

#[derive(Template)]
#[template(path = "approval.html")]
struct ApprovalPage {
    frame: Frame,
    gate: GateCard,
    status: String,
    decided_by: String,
}

/// How many of the gates that wait do so for somebody: what the navigation says.
pub(crate) fn waiting_for(waiting: &[IncidentState], caller: &Caller) -> usize {
    let gates =
        waiting.iter().flat_map(|state| gate_card::pending(state).into_iter().map(move |gate| (state, gate)));
    gates.filter(|(state, gate)| approvals::waits_for(state, gate, &caller.principal, caller.rules())).count()
}

/// `GET …/approvals/{gateId}`: a gate by itself, also one that was decided.
pub(crate) async fn one(visit: Visit) -> Page {
    visit.require(Right::ReadGates, None)?;
    let id = visit.path("gate");
    let place = decisions::place(&visit.app, &visit.caller.org, id).await?;
    let place = place.filter(|place| visit.caller.sees(&place.state));
    let Some((state, gate)) = place.as_ref().and_then(|place| Some((&place.state, place.gate(id)?))) else {
        return Err(visit.trouble(ApiError::NotFound(format!("there is no gate {id:?} here"))));
    };
    let card = gate_card::named(&visit, state, gate).await?;
    html(&ApprovalPage {
        frame: visit.frame("approvals"),
        gate: card,
        status: gate.status.clone(),
        decided_by: visit.name(&gate.decided_by),
    })
}

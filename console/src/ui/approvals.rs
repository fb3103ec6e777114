//! What waits for a decision: for this reader first, then for others.

use askama::Template;
use harmony_incidents::{Right, log::State};

use super::{
    Page,
    gate_card::{self, GateCard},
    html,
    visit::{Frame, Visit},
};
use crate::{decisions, error::ApiError, incidents::every};

#[derive(Template)]
#[template(path = "approvals.html")]
struct ApprovalsPage {
    frame: Frame,
    mine: Vec<GateCard>,
    others: Vec<GateCard>,
}

/// `GET …/approvals`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::ReadGates, None)?;
    let live =
        [State::Pending, State::Open, State::Mitigating, State::Resolved, State::Closed, State::Cancelled];
    let live = live.into_iter().map(|state| state.as_str_name().to_owned()).collect();
    let incidents = every(&visit.app, &visit.caller.org, live).await?;
    let mut found: Vec<_> = incidents
        .iter()
        .flat_map(|state| gate_card::pending(state).into_iter().map(move |gate| (state, gate)))
        .collect();
    // What ends first comes first.
    found.sort_by_key(|(_, gate)| gate.due_us);
    let (mut mine, mut others) = (Vec::new(), Vec::new());
    for (state, gate) in found {
        let card = gate_card::card(&visit, state, gate);
        if card.may_approve || card.may_reject {
            mine.push(gate_card::whole(&visit, state, gate).await?);
        } else {
            others.push(card);
        }
    }
    html(&ApprovalsPage { frame: visit.frame("approvals"), mine, others })
}

#[derive(Template)]
#[template(path = "approval.html")]
struct ApprovalPage {
    frame: Frame,
    gate: GateCard,
    status: String,
    decided_by: String,
}

/// `GET …/approvals/{gateId}`: a gate by itself, also one that was decided.
pub(crate) async fn one(visit: Visit) -> Page {
    visit.require(Right::ReadGates, None)?;
    let id = visit.path("gate");
    let place = decisions::place(&visit.app, &visit.caller.org, id).await?;
    let Some((state, gate)) = place.as_ref().and_then(|place| Some((&place.state, place.gate(id)?))) else {
        return Err(visit.trouble(ApiError::NotFound(format!("there is no gate {id:?} here"))));
    };
    let card = gate_card::whole(&visit, state, gate).await?;
    html(&ApprovalPage {
        frame: visit.frame("approvals"),
        gate: card,
        status: gate.status.clone(),
        decided_by: gate.decided_by.clone(),
    })
}

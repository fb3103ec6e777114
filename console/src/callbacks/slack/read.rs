//! What a body of Slack's asks for, read and not carried out: what the fuzz targets feed.

use harmony_incidents::{IncidentId, OrgId};

use super::{
    command, field, fields, forms,
    interaction::{self, gate},
    orders::{Line, Order},
    work::Wish,
};
use crate::decisions;

/// The incidents that an interaction is about, in our words: of its clicks, and of the form it brings.
pub(crate) fn interaction(body: &[u8]) -> Vec<IncidentId> {
    let Some(payload) = field(body, "payload") else { return vec![] };
    let Ok(interaction) = interaction::parse(&payload) else { return vec![] };
    let mut found = Vec::new();
    for click in interaction::clicks(&interaction).unwrap_or_default() {
        match click.wish {
            Wish::Decide { gate_id, .. } => found.extend(of_gate(&click.org, &gate_id)),
            Wish::SignOff { incident, .. }
            | Wish::RollBack { incident, .. }
            | Wish::Command { incident }
            | Wish::Duty { incident, .. } => {
                found.push(incident);
            }
            Wish::Fill { incident, .. } => found.extend(incident),
        }
    }
    if let Some(view) = &interaction.view {
        if let Ok((org, gate_id, _)) = gate(&view.private_metadata) {
            found.extend(of_gate(&org, &gate_id));
        }
        if let Ok(Some(line)) = forms::order(view) {
            found.extend(line.incident);
        }
    }
    found
}

fn of_gate(org: &OrgId, gate_id: &str) -> Option<IncidentId> {
    decisions::named(org, gate_id).and_then(|named| named.incident())
}

/// Whether a typed command is an order, beyond asking for help.
pub(crate) fn command(body: &[u8]) -> bool {
    let is_order = |line: Line| line.order != Order::Help;
    command::line(fields(body)).is_ok_and(|(_, line)| line.is_ok_and(is_order))
}

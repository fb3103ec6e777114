//! What changed before an incident, on its page: releases that are suspected and that people linked, and their marks on
//! the timeline.

use harmony_incidents::{
    Right,
    log::{IncidentState, State},
    visible,
};
use jiff::Timestamp;
use uuid::Uuid;

use super::ReleaseLine;
use crate::{
    catalog::changes::{Change, of},
    error::ApiError,
    ui::{timeline::ReleaseMark, visit::Visit, words},
};

/// What changed, as the panel shows it.
pub(crate) struct ChangesPanel {
    pub(crate) cards: Vec<ChangeCard>,
    pub(crate) may_link: bool,
    /// Whether this reader may propose to roll one of them back: never in the name of a private incident, which
    /// everybody who reads the service's records would learn of.
    pub(crate) may_roll_back: bool,
    /// Makes a form that is sent twice one command.
    pub(crate) key: Uuid,
    /// Where what people say goes to.
    pub(crate) address: String,
}

/// A release beside the incident.
pub(crate) struct ChangeCard {
    pub(crate) release: ReleaseLine,
    pub(crate) service: String,
    pub(crate) relation: &'static str,
    pub(crate) class: &'static str,
    pub(crate) reason: String,
    /// When it changed, and how long before the incident or after it.
    pub(crate) at: String,
    pub(crate) when: String,
    /// What was active before it: its page and what it is called there.
    pub(crate) before: String,
    pub(crate) before_address: String,
    changed_at: Option<Timestamp>,
}

impl ChangesPanel {
    /// The likeliest that nobody dismissed, for the band.
    pub(crate) fn first(&self) -> Option<&ChangeCard> {
        let said = self.cards.iter().find(|card| card.relation == "caused");
        said.or_else(|| self.cards.iter().find(|card| card.relation == "suspected"))
    }

    /// Marks for the timeline, the latest first: of everything that was not dismissed.
    pub(crate) fn marks(&self) -> Vec<ReleaseMark> {
        let shown = self.cards.iter().filter(|card| card.relation != "dismissed");
        let mark = |card: &ChangeCard| {
            let at = card.changed_at?;
            Some(ReleaseMark {
                instant: at,
                at: at.to_string(),
                clock: words::clock(at),
                moment: words::moment(at),
                address: card.release.address.clone(),
                label: card.release.label.clone(),
                service: card.service.clone(),
                environment: card.release.environment.clone(),
                status: card.release.status,
                relation: card.relation,
            })
        };
        let mut marks: Vec<ReleaseMark> = shown.filter_map(mark).collect();
        marks.sort_by_key(|mark| std::cmp::Reverse(mark.instant));
        marks
    }
}

/// What changed before an incident, for whoever looks at it.
pub(crate) async fn panel(visit: &Visit, state: &IncidentState) -> Result<ChangesPanel, ApiError> {
    let changes = of(&visit.call(), state).await?;
    let cards = changes.linked.iter().chain(&changes.suspected).map(|change| card(visit, state, change));
    let mut cards: Vec<ChangeCard> = cards.collect();
    // What was dismissed stays to be seen, behind everything else.
    cards.sort_by_key(|card| match card.relation {
        "caused" => 0,
        "suspected" => 1,
        "related" => 2,
        _ => 3,
    });
    Ok(ChangesPanel {
        cards,
        may_link: visit.may(Right::Respond, Some(state)),
        may_roll_back: visit.may(Right::OperationsExecute, Some(state))
            && !state.private
            && matches!(state.state(), State::Open | State::Mitigating),
        key: Uuid::now_v7(),
        address: format!("/orgs/{}/incidents/{}/do/changes", visit.caller.org, state.incident),
    })
}

fn card(visit: &Visit, state: &IncidentState, change: &Change) -> ChangeCard {
    let org = &visit.caller.org;
    let release = ReleaseLine::of(visit, &change.release, &change.environment_name);
    let distance = |at: Timestamp| (state.created_at_us - at.as_microsecond()) / 1_000_000;
    let when = match change.changed_at.map(distance) {
        None => String::new(),
        Some(seconds) if seconds < 0 => format!("{} after it was declared", words::span(-seconds)),
        Some(seconds) => format!("{} before", words::span(seconds)),
    };
    ChangeCard {
        service: visible::line(&change.service_name),
        relation: change.relation,
        class: match change.relation {
            "caused" => "hot",
            "suspected" => "warm",
            "related" => "new",
            _ => "calm",
        },
        reason: visible::visible(&change.reason),
        at: change.changed_at.map(|at| at.to_string()).unwrap_or_default(),
        when,
        before: change.before.clone().unwrap_or_default(),
        before_address: change
            .before
            .as_ref()
            .map(|id| format!("/orgs/{org}/releases/{}", crate::ui::form::encoded(id)))
            .unwrap_or_default(),
        changed_at: change.changed_at,
        release,
    }
}

//! What an incident's page shows beside gates and records to whoever leads it: when people are told again, objectives,
//! moments, duties, other incidents, follow-ups.

use harmony_blueprints::contracts::Tracker;
use harmony_incidents::{
    clock,
    leading::{self, Relation},
    log::IncidentState,
    machine,
    times::{self, Moment},
};
use jiff::Timestamp;

use super::{visit::Visit, words};
use crate::{
    error::ApiError,
    follow_ups::FollowUp,
    leading::{LATEST, SimilarIncident, like},
    views,
};

/// See the module.
pub(crate) struct Leading {
    /// When the next update is due; nothing where none is.
    pub(crate) next_update: Option<Due>,
    pub(crate) objectives: Vec<ObjectiveLine>,
    pub(crate) moments: Vec<MomentLine>,
    pub(crate) contradictions: Vec<String>,
    pub(crate) duties: Vec<DutyLine>,
    pub(crate) relations: Vec<RelationLine>,
    pub(crate) follow_ups: Vec<FollowUpLine>,
    /// Who sees it beside organisation admins, where it is private.
    pub(crate) private_to: Vec<String>,
    pub(crate) is_private: bool,
    /// Whether help was called and is still needed.
    pub(crate) is_escalated: bool,
    /// Who is called next; empty where nobody stands above.
    pub(crate) next_level: String,
    pub(crate) call_url: String,
    /// Incidents like it.
    pub(crate) alike: Vec<SimilarIncident>,
    /// Roles that somebody can be given.
    pub(crate) roles: Vec<String>,
}

/// A moment that comes, or has passed.
pub(crate) struct Due {
    pub(crate) at: String,
    pub(crate) left: String,
    pub(crate) is_over: bool,
}

impl Due {
    fn of(us: i64, now: Timestamp) -> Option<Self> {
        let at = words::recorded(us)?;
        let is_over = at < now;
        let seconds = at.duration_since(now).as_secs().abs();
        Some(Self { at: at.to_string(), left: words::span(seconds), is_over })
    }
}

pub(crate) struct ObjectiveLine {
    pub(crate) name: String,
    pub(crate) told: String,
    pub(crate) class: &'static str,
}

pub(crate) struct MomentLine {
    pub(crate) name: &'static str,
    pub(crate) at: String,
    /// Who said so; empty where the records say it.
    pub(crate) by: String,
}

pub(crate) struct DutyLine {
    pub(crate) role: String,
    pub(crate) duty: String,
    pub(crate) who: String,
    pub(crate) done: bool,
}

pub(crate) struct RelationLine {
    pub(crate) words: &'static str,
    pub(crate) name: String,
    pub(crate) incident: String,
    pub(crate) address: String,
    pub(crate) reason: String,
}

pub(crate) struct FollowUpLine {
    pub(crate) id: String,
    pub(crate) incident: String,
    pub(crate) address: String,
    pub(crate) action: String,
    pub(crate) owner: String,
    pub(crate) due: String,
    pub(crate) priority: String,
    pub(crate) state: &'static str,
    pub(crate) overdue: bool,
    /// Where it is tracked: its name there, the address where that is one, and what the tracker said.
    pub(crate) ticket: String,
    pub(crate) ticket_url: String,
    /// Where it is on its way to.
    pub(crate) exporting_to: String,
    /// Trackers that the reader may export it to: the word, and what people call it.
    pub(crate) trackers: Vec<(&'static str, &'static str)>,
    /// Whether the reader may say what became of it.
    pub(crate) may_change: bool,
}

impl FollowUpLine {
    pub(crate) fn of(visit: &Visit, one: FollowUp, may_respond: bool) -> Self {
        let may_export = may_respond && one.may_leave && one.state == "open" && one.ticket.is_empty();
        let fits = |tracker: &&Tracker| {
            may_export && (one.exporting_to.is_empty() || one.exporting_to == tracker.name())
        };
        let trackers = &visit.app.doors.trackers;
        Self {
            trackers: trackers.iter().filter(fits).map(|one| (one.name(), one.title())).collect(),
            ticket: one.ticket,
            ticket_url: one.url,
            exporting_to: one.exporting_to,
            address: format!("/orgs/{}/incidents/{}", visit.caller.org, one.incident_id),
            may_change: may_respond || one.owner == visit.caller.principal.id,
            owner: visit.name(&one.owner),
            id: one.id,
            incident: one.incident_id,
            action: one.action,
            due: one.due,
            priority: one.priority,
            state: one.state,
            overdue: one.overdue,
        }
    }
}

impl Leading {
    /// Whether people should have been told by now.
    pub(crate) fn is_update_due(&self) -> bool {
        self.next_update.as_ref().is_some_and(|due| due.is_over)
    }

    /// Of an incident, for this reader.
    pub(crate) async fn of(
        visit: &Visit,
        state: &IncidentState,
        may_respond: bool,
    ) -> Result<Self, ApiError> {
        let policy = visit.caller.rules().policy;
        let alike = like(&visit.app, &visit.caller, state, LATEST).await?;
        let live = !machine::is_over(state.state());
        Ok(Self {
            alike,
            next_update: leading::next_update_us(state).and_then(|us| Due::of(us, visit.now)),
            objectives: clock::objectives(state, policy)
                .map(|one| objective(&one, live, visit.now))
                .collect(),
            moments: Moment::ALL.into_iter().filter_map(|one| moment(visit, state, one)).collect(),
            contradictions: times::contradictions(state),
            duties: leading::duties(state, policy)
                .map(|one| DutyLine {
                    role: one.role.to_owned(),
                    duty: one.duty.to_owned(),
                    who: visit.name(one.principal),
                    done: one.done,
                })
                .collect(),
            relations: state.relations.iter().map(|one| relation(visit, one)).collect(),
            follow_ups: FollowUp::of_incident(state, policy)
                .into_iter()
                .map(|one| FollowUpLine::of(visit, one, may_respond))
                .collect(),
            private_to: state.private_to.iter().map(|id| visit.name(id)).collect(),
            is_private: state.private,
            is_escalated: state.escalation_level > 0,
            next_level: leading::next_level(state, policy)
                .filter(|_| live)
                .map(|(_, roles)| roles.join(" or "))
                .unwrap_or_default(),
            call_url: policy.call_of(&state.incident).unwrap_or_default(),
            roles: policy.duties.keys().cloned().collect(),
        })
    }
}

fn objective(one: &clock::Standing, live: bool, now: Timestamp) -> ObjectiveLine {
    let within = words::span(one.target.as_secs());
    let left = Due::of(one.due_us, now);
    let (told, class) = match (one.met, one.breached_at_us.is_some(), left) {
        (true, false, _) => (format!("met, within {within}"), "good"),
        (true, true, _) => (format!("met late; {within} was the aim"), "warm"),
        (false, true, _) => (format!("missed: within {within}"), "hot"),
        (false, false, Some(left)) if live && !left.is_over => {
            (format!("{} left of {within}", left.left), "new")
        }
        (false, false, _) => (format!("within {within}"), ""),
    };
    ObjectiveLine { name: one.objective.name().replace('-', " "), told, class }
}

fn moment(visit: &Visit, state: &IncidentState, one: Moment) -> Option<MomentLine> {
    let said = state.times.iter().find(|said| said.moment == one.name());
    let at = words::recorded(one.at_us(state))?;
    Some(MomentLine {
        name: one.words(),
        at: words::moment(at),
        by: said.map(|said| visit.name(&said.by)).unwrap_or_default(),
    })
}

fn relation(visit: &Visit, one: &harmony_incidents::log::RelationState) -> RelationLine {
    RelationLine {
        words: one.relation.parse::<Relation>().map_or("related to", Relation::words),
        name: one.relation.clone(),
        incident: one.incident.clone(),
        address: format!("/orgs/{}/incidents/{}", visit.caller.org, one.incident),
        reason: views::text(one.reason.as_ref()),
    }
}

//! What the update clock asks the log: what is due next, and who is to be told. And the start of the
//! clock of an incident that a run of initiate declares.

use harmony_blueprints::{
    contracts::{ClockReply, ClockRequest, Scope},
    starts,
};
use harmony_eventlog::OutboxItem;
use harmony_incidents::{
    Command, LinkName,
    clock::{COMMANDER, due},
    follow_up::FollowUp,
    machine, status,
};
use temporalio_sdk::activities::ActivityError;

use crate::services::Services;

impl Services {
    pub(crate) async fn clock(&self, request: &ClockRequest) -> Result<ClockReply, ActivityError> {
        let state = self.state(&request.scope).await?;
        let rules = self.rules.current();
        let commander = state.responders.iter().find(|one| one.role == COMMANDER);
        Ok(ClockReply {
            next: due(&state, &rules.policy).into_iter().next(),
            over: machine::is_over(state.state()),
            channel: status::link(&state, LinkName::SlackChannel).map(str::to_owned),
            title: state.title.as_ref().map(|title| title.shown().to_owned()).unwrap_or_default(),
            severity: state.severity().as_str_name().to_owned(),
            commander: commander.map(|one| one.principal.clone()),
            commander_paged: state.commander_paged,
            last_update_us: state.last_update_us,
            drill: state.drill,
        })
    }

    /// The start of the update clock, where this declares an incident.
    pub(crate) fn clock_of(&self, scope: &Scope, command: &Command) -> Option<OutboxItem> {
        let Command::Declare { incident: created } = command else { return None };
        let incident = scope.stream.incident()?;
        let keys = &self.attestation;
        let start = starts::clock(keys, &scope.org, &incident, created, &scope.actor, scope.occurred_at);
        Some(OutboxItem::new(format!("clock/{incident}"), &FollowUp::Start(start)))
    }
}

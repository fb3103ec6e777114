//! Who may decide at which level, as the policies of the authority say.

use harmony_protos::log::{GateState, IncidentState, Level};

use super::{index, org_of};
use crate::{
    authority::{GateAsk, GateRight},
    directory::Principal,
    ids::OrgId,
    judge::Rules,
};

/// Everybody who may come in question for one gate.
pub(super) struct Bench<'a> {
    state: &'a IncidentState,
    org: OrgId,
    ask: GateAsk<'a>,
    quorum: u32,
    rules: Rules<'a>,
}

impl<'a> Bench<'a> {
    /// Of a gate that is about to be opened.
    pub(super) fn new(state: &'a IncidentState, ask: GateAsk<'a>, quorum: u32, rules: Rules<'a>) -> Self {
        Self { state, org: org_of(state), ask, quorum, rules }
    }

    /// Of a gate that is open.
    pub(super) fn of(gate: &'a GateState, state: &'a IncidentState, rules: Rules<'a>) -> Self {
        Self::new(state, GateAsk::of(gate), gate.quorum, rules)
    }

    /// The first level that people other than the requester can fill, as an index. A gate that nobody can fill still
    /// waits at its last level and is rejected there, on record.
    pub(super) fn first(&self, levels: &[Level]) -> usize {
        levels.iter().position(|level| self.fill(level)).unwrap_or(levels.len().saturating_sub(1))
    }

    /// The level after the present one that people other than the requester can fill, as an index.
    pub(super) fn next(&self, gate: &GateState) -> Option<usize> {
        (index(gate.level) + 1..gate.levels.len()).find(|next| self.fill(&gate.levels[*next]))
    }

    /// Whether enough people may approve at a level: one, or as many as the quorum asks for.
    fn fill(&self, level: &Level) -> bool {
        let enough = usize::try_from(self.quorum.max(1)).unwrap_or(usize::MAX);
        let able = self.rules.directory.principals().iter().filter(|one| self.may_approve(one, level));
        able.take(enough).count() >= enough
    }

    fn may_approve(&self, principal: &Principal, level: &Level) -> bool {
        let ask = GateAsk { roles: &level.roles, ..self.ask };
        let access = self.rules.access;
        access.may_decide(principal, GateRight::Approve, &self.org, self.state, ask).is_ok()
    }

    /// Of those who approved before, who may still decide at this level.
    pub(super) fn keep(&self, gate: &GateState, level: &Level) -> Vec<String> {
        let may = |id: &&String| {
            self.rules.directory.get(id).is_some_and(|principal| self.may_approve(principal, level))
        };
        gate.approvals.iter().filter(may).cloned().collect()
    }
}

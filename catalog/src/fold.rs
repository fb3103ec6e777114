//! The folds of the catalog's streams: what a record makes of a service's state, or an environment's.
//!
//! Total and forgiving, as an incident's: a record is a fact, and judging happened before it was written. The version
//! is that of [`harmony_incidents::fold`], which folds the blueprints and gates of a service's runs here, too.
//!
//! A service lives for years, and every append reads its state. So a state keeps what is under way and, of each
//! environment, the last releases that are settled, with their runs; what is older stands in the records alone.

use std::collections::BTreeSet;

use harmony_incidents::{
    GateId, StreamId, fold as incident_fold,
    ids::Subject,
    log::{
        ChangeState, EnvironmentState, IncidentState, Phase, Record, ReleaseState, ReleaseStatus, RunState,
        ServiceState, Severity, State, payload::Kind,
    },
};

/// How many settled releases of an environment stay in the state.
pub const SETTLED_KEPT: usize = 30;
/// However many have failed since: what is active now, and what was before it, stay.
const ACTIVE_KEPT: usize = 2;
/// How many drafts of an environment stay, for doors that tell of the beginning and never of the end.
pub const DRAFTS_KEPT: usize = 100;
/// How many runs of a release that have ended stay.
pub const RUNS_KEPT: usize = 20;

/// The releases and the runs of which a record changes what a projection shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Ids of releases.
    pub releases: BTreeSet<String>,
    /// Ids of runs.
    pub runs: BTreeSet<String>,
}

/// What a record changes, for the rows of a store.
pub fn touched(record: &Record) -> Touched {
    let release = |id: &str| Touched { releases: BTreeSet::from([id.to_owned()]), ..Touched::default() };
    let run = |id: &str| Touched { runs: BTreeSet::from([id.to_owned()]), ..Touched::default() };
    let Some(kind) = record.payload.as_ref().and_then(|payload| payload.kind.as_ref()) else {
        return Touched::default();
    };
    match kind {
        Kind::ReleaseCreated(p) => release(&p.release_id),
        Kind::ReleaseStatusChanged(p) => release(&p.release_id),
        Kind::ChangeLinked(p) => release(&p.release_id),
        Kind::RunStarted(p) => run(&p.run_id),
        Kind::RunLogged(p) => run(&p.run_id),
        Kind::RunPoliciesJudged(p) => run(&p.run_id),
        Kind::RunFinished(p) => run(&p.run_id),
        // Which texts a redaction takes out of which rows, the store finds by the record that it names.
        Kind::RecordRedacted(_)
        | Kind::ServiceWritten(_)
        | Kind::ServiceRetired(_)
        | Kind::EnvironmentWritten(_)
        | Kind::EnvironmentRetired(_)
        | Kind::IncidentCreated(_)
        | Kind::IncidentUpdated(_)
        | Kind::IncidentStatusChanged(_)
        | Kind::IncidentSeverityChanged(_)
        | Kind::IncidentTagAdded(_)
        | Kind::IncidentTagRemoved(_)
        | Kind::IncidentSignalIngested(_)
        | Kind::IncidentNoteAdded(_)
        | Kind::IncidentPlaybookActionExecuted(_)
        | Kind::IncidentSloViolationRecorded(_)
        | Kind::IncidentLinkedToTicket(_)
        | Kind::IncidentResolved(_)
        | Kind::ResponderAssigned(_)
        | Kind::ResponderReleased(_)
        | Kind::ReviewSectionWritten(_)
        | Kind::ActionItemAdded(_)
        | Kind::UpdateReminded(_)
        | Kind::UpdateOverdue(_)
        | Kind::CommanderMissing(_)
        | Kind::ObjectiveBreached(_)
        | Kind::IncidentTimeSet(_)
        | Kind::IncidentRelated(_)
        | Kind::IncidentPrivacyChanged(_)
        | Kind::IncidentEscalated(_)
        | Kind::FollowUpChanged(_)
        | Kind::FollowUpReminded(_)
        | Kind::DutyTicked(_)
        | Kind::WriteRefused(_)
        | Kind::BlueprintStarted(_)
        | Kind::BlueprintCompleted(_)
        | Kind::PhaseChanged(_)
        | Kind::StepSucceeded(_)
        | Kind::StepFailed(_)
        | Kind::StepSkipped(_)
        | Kind::BlueprintOrphaned(_)
        | Kind::BlueprintResumed(_)
        | Kind::ApprovalRequested(_)
        | Kind::ApprovalDecided(_)
        | Kind::ApprovalRefused(_)
        | Kind::ApprovalTimedOut(_)
        | Kind::ApprovalEscalated(_)
        | Kind::ApprovalCancelled(_)
        | Kind::ApprovalReplanned(_)
        | Kind::RunbookCellStarted(_)
        | Kind::RunbookCellFinished(_)
        | Kind::RunbookCellUnknown(_)
        | Kind::RunbookDryRunPlanned(_)
        | Kind::PostMortemRendered(_)
        | Kind::PostMortemPublished(_)
        | Kind::CandidateDecided(_) => Touched::default(),
    }
}

/// Whether a release has come to its end: it is active, or it failed.
pub fn is_settled(status: ReleaseStatus) -> bool {
    match status {
        ReleaseStatus::Active | ReleaseStatus::Failed => true,
        ReleaseStatus::Unspecified | ReleaseStatus::Draft | ReleaseStatus::Promoting => false,
    }
}

/// The state of a service after a record.
pub fn service(mut state: ServiceState, record: &Record) -> ServiceState {
    state.seq = record.seq;
    if let Some(kind) = record.payload.as_ref().and_then(|payload| payload.kind.as_ref()) {
        apply(&mut state, record, kind);
    }
    state
}

/// The state of an environment after a record.
pub fn environment(mut state: EnvironmentState, record: &Record) -> EnvironmentState {
    state.seq = record.seq;
    let at = record.occurred_at_us;
    match record.payload.as_ref().and_then(|payload| payload.kind.as_ref()) {
        Some(Kind::EnvironmentWritten(p)) => {
            if state.created_at_us == 0 {
                state.org.clone_from(&record.org);
                state.id = id_of(record);
                state.created_at_us = at;
            }
            state.updated_at_us = at;
            state.name.clone_from(&p.name);
            state.region.clone_from(&p.region);
            state.cluster.clone_from(&p.cluster);
            state.policy_refs.clone_from(&p.policy_refs);
            state.production = p.production;
            state.region_defaulted = p.region_defaulted;
            state.cluster_defaulted = p.cluster_defaulted;
            state.labels.clone_from(&p.labels);
        }
        Some(Kind::EnvironmentRetired(_)) => {
            state.updated_at_us = at;
            state.retired = true;
        }
        _ => {}
    }
    state
}

/// The service or environment whose stream a record stands in.
fn id_of(record: &Record) -> String {
    match record.subject.parse::<StreamId>().map(|stream| stream.subject()) {
        Ok(Subject::Service(id)) => id.to_string(),
        Ok(Subject::Environment(id)) => id.to_string(),
        Ok(Subject::Incident(_)) | Err(_) => record.subject.clone(),
    }
}

/// The blueprints, steps and gates of a service's runs, before there were any: an incident that is open for ever. Its
/// gates have the clock of a P3: nobody is paged about a deployment.
pub(crate) fn flow_before(org: &str, stream: String) -> IncidentState {
    let mut flow = IncidentState { org: org.to_owned(), incident: stream, ..IncidentState::default() };
    flow.set_state(State::Open);
    flow.set_phase(Phase::Triaging);
    flow.set_severity(Severity::P3);
    flow
}

#[allow(clippy::too_many_lines, reason = "one arm a kind: splitting it would hide which kinds are missing")]
fn apply(state: &mut ServiceState, record: &Record, kind: &Kind) {
    let at = record.occurred_at_us;
    match kind {
        Kind::ServiceWritten(p) => {
            if state.created_at_us == 0 {
                state.org.clone_from(&record.org);
                state.id = id_of(record);
                state.created_at_us = at;
            }
            state.updated_at_us = at;
            state.name.clone_from(&p.name);
            state.repo.clone_from(&p.repo);
            state.deployments.clone_from(&p.deployments);
            state.environments.clone_from(&p.environments);
            state.depends_on.clone_from(&p.depends_on);
            state.owner.clone_from(&p.owner);
            state.targets.clone_from(&p.targets);
            state.labels.clone_from(&p.labels);
        }
        Kind::ServiceRetired(_) => {
            state.updated_at_us = at;
            state.retired = true;
        }
        Kind::ReleaseCreated(p) => {
            state.releases.retain(|one| one.release_id != p.release_id);
            let mut release = ReleaseState {
                release_id: p.release_id.clone(),
                environment_id: p.environment_id.clone(),
                sha: p.sha.clone(),
                version: p.version.clone(),
                status: p.status,
                promoted_from: p.promoted_from.clone(),
                rolls_back: p.rolls_back.clone(),
                source: p.source.clone(),
                url: p.url.clone(),
                incident: p.incident.clone(),
                created_at_us: at,
                created_by: record.actor.clone(),
                created_seq: record.seq,
                ..ReleaseState::default()
            };
            let settled = is_settled(p.status());
            if settled {
                release.settled_at_us = told_at(p.at_us, at);
            }
            state.releases.push(release);
            if settled {
                state.settled_releases += 1;
            }
            forget(state, &p.environment_id, &p.release_id);
        }
        Kind::ReleaseStatusChanged(p) => {
            let Some(release) = state.releases.iter_mut().find(|one| one.release_id == p.release_id) else {
                return;
            };
            // Told to be promoting while another one is: it stays a draft until that one is settled.
            release.waiting = p.from() == ReleaseStatus::Draft && p.to() == ReleaseStatus::Draft;
            release.status = p.to;
            release.reason.clone_from(&p.reason);
            if !p.run_id.is_empty() {
                release.run_id.clone_from(&p.run_id);
            }
            if let Some(url) = &p.url {
                release.url.clone_from(url);
            }
            if is_settled(p.to()) {
                release.settled_at_us = told_at(p.at_us, at);
                let environment = release.environment_id.clone();
                state.settled_releases += 1;
                forget(state, &environment, &p.release_id);
            }
        }
        Kind::RunStarted(p) => {
            state.runs.retain(|one| one.run_id != p.run_id);
            state.runs.push(RunState {
                run_id: p.run_id.clone(),
                kind: p.kind,
                release_id: p.release_id.clone(),
                environment_id: p.environment_id.clone(),
                workflow_id: p.workflow_id.clone(),
                adapter: p.adapter.clone(),
                dry_run: p.dry_run,
                actor: record.actor.clone(),
                started_at_us: at,
                started_seq: record.seq,
                attempt: p.attempt,
                ..RunState::default()
            });
        }
        Kind::RunLogged(p) => {
            if let Some(run) = run(state, &p.run_id) {
                run.logs += 1;
            }
        }
        Kind::RunPoliciesJudged(p) => {
            if let Some(run) = run(state, &p.run_id) {
                run.policies.clone_from(&p.outcome);
            }
        }
        Kind::RunFinished(p) => {
            if let Some(run) = run(state, &p.run_id) {
                run.outcome.clone_from(&p.outcome);
                run.reason.clone_from(&p.reason);
                run.finished_at_us = at;
                let release = run.release_id.clone();
                forget_runs(state, &release, &p.run_id);
            }
        }
        Kind::ChangeLinked(p) => {
            let place = |one: &ChangeState| (one.release_id.clone(), one.incident.clone());
            let change = ChangeState {
                release_id: p.release_id.clone(),
                incident: p.incident.clone(),
                relation: p.relation,
                reason: p.reason.clone(),
                by: record.actor.clone(),
                at_us: at,
            };
            state.changes.retain(|one| place(one) != place(&change));
            state.changes.push(change);
            state.changes.sort_by_key(place);
        }
        Kind::BlueprintStarted(_)
        | Kind::BlueprintCompleted(_)
        | Kind::BlueprintOrphaned(_)
        | Kind::BlueprintResumed(_)
        | Kind::StepSucceeded(_)
        | Kind::StepFailed(_)
        | Kind::StepSkipped(_)
        | Kind::ApprovalRequested(_)
        | Kind::ApprovalDecided(_)
        | Kind::ApprovalRefused(_)
        | Kind::ApprovalTimedOut(_)
        | Kind::ApprovalEscalated(_)
        | Kind::ApprovalCancelled(_)
        | Kind::ApprovalReplanned(_)
        | Kind::RunbookCellStarted(_)
        | Kind::RunbookCellFinished(_)
        | Kind::RunbookCellUnknown(_)
        | Kind::RunbookDryRunPlanned(_) => {
            let flow = state.flow.take();
            let flow = flow.unwrap_or_else(|| flow_before(&record.org, record.subject.clone()));
            state.flow = Some(incident_fold::fold(flow, record));
        }
        Kind::RecordRedacted(_)
        // Of other streams.
        | Kind::EnvironmentWritten(_)
        | Kind::EnvironmentRetired(_)
        | Kind::IncidentCreated(_)
        | Kind::IncidentUpdated(_)
        | Kind::IncidentStatusChanged(_)
        | Kind::IncidentSeverityChanged(_)
        | Kind::IncidentTagAdded(_)
        | Kind::IncidentTagRemoved(_)
        | Kind::IncidentSignalIngested(_)
        | Kind::IncidentNoteAdded(_)
        | Kind::IncidentPlaybookActionExecuted(_)
        | Kind::IncidentSloViolationRecorded(_)
        | Kind::IncidentLinkedToTicket(_)
        | Kind::IncidentResolved(_)
        | Kind::ResponderAssigned(_)
        | Kind::ResponderReleased(_)
        | Kind::ReviewSectionWritten(_)
        | Kind::ActionItemAdded(_)
        | Kind::UpdateReminded(_)
        | Kind::UpdateOverdue(_)
        | Kind::CommanderMissing(_)
        | Kind::ObjectiveBreached(_)
        | Kind::IncidentTimeSet(_)
        | Kind::IncidentRelated(_)
        | Kind::IncidentPrivacyChanged(_)
        | Kind::IncidentEscalated(_)
        | Kind::FollowUpChanged(_)
        | Kind::FollowUpReminded(_)
        | Kind::DutyTicked(_)
        | Kind::WriteRefused(_)
        | Kind::PhaseChanged(_)
        | Kind::PostMortemRendered(_)
        | Kind::PostMortemPublished(_)
        | Kind::CandidateDecided(_) => {}
    }
}

/// When something happened: as it was told, or when it was recorded.
fn told_at(told_us: i64, recorded_us: i64) -> i64 {
    if told_us == 0 { recorded_us } else { told_us }
}

fn run<'a>(state: &'a mut ServiceState, id: &str) -> Option<&'a mut RunState> {
    state.runs.iter_mut().find(|run| run.run_id == id)
}

/// Lets go of the releases of an environment that are neither under way nor among its last. The one that the record is
/// about stays this once, however long ago it was settled: its row is made from the state after the record.
fn forget(state: &mut ServiceState, environment: &str, present: &str) {
    let here = |one: &&ReleaseState| one.environment_id == environment;
    let mut settled: Vec<&ReleaseState> =
        state.releases.iter().filter(here).filter(|one| is_settled(one.status())).collect();
    settled.sort_by_key(|one| std::cmp::Reverse((one.settled_at_us, one.created_seq)));
    let active: BTreeSet<&str> = settled
        .iter()
        .filter(|one| one.status() == ReleaseStatus::Active)
        .take(ACTIVE_KEPT)
        .map(|one| one.release_id.as_str())
        .collect();
    let old = settled.iter().skip(SETTLED_KEPT).filter(|one| !active.contains(one.release_id.as_str()));
    let runs_on = |one: &ReleaseState| {
        state.runs.iter().any(|run| run.release_id == one.release_id && run.finished_at_us == 0)
    };
    let drafts = state.releases.iter().rev().filter(here).filter(|one| one.status() == ReleaseStatus::Draft);
    let stale = drafts.skip(DRAFTS_KEPT).filter(|one| !runs_on(one));
    let gone: BTreeSet<String> = old
        .copied()
        .chain(stale)
        .map(|one| one.release_id.clone())
        .filter(|release| release != present)
        .collect();
    if gone.is_empty() {
        return;
    }
    state.releases.retain(|one| !gone.contains(&one.release_id));
    state.runs.retain(|one| !gone.contains(&one.release_id));
    state.changes.retain(|one| !gone.contains(&one.release_id));
    if let Some(flow) = state.flow.as_mut() {
        let workflows: BTreeSet<String> =
            gone.iter().flat_map(|release| workflows_of(&state.org, release)).collect();
        flow.blueprints.retain(|one| !workflows.contains(&one.workflow_id));
        flow.gates.retain(|one| !workflows.contains(&one.workflow_id));
        let is_gone =
            |gate: &str| GateId::workflow_of(gate).is_some_and(|id| workflows.contains(id.as_str()));
        flow.refusal_tallies.retain(|one| !is_gone(&one.gate_id));
    }
}

/// Lets go of the runs of a release that ended and are not among its last; the one that the record is about stays.
fn forget_runs(state: &mut ServiceState, release: &str, present: &str) {
    let ended =
        |one: &&RunState| one.release_id == release && one.finished_at_us != 0 && one.run_id != present;
    let old: BTreeSet<String> =
        state.runs.iter().rev().filter(ended).skip(RUNS_KEPT - 1).map(|one| one.run_id.clone()).collect();
    state.runs.retain(|one| !old.contains(&one.run_id));
}

/// The workflows that deploy and promote a release.
fn workflows_of(org: &str, release: &str) -> [String; 2] {
    ["release.deploy", "release.promote"].map(|kind| {
        if org == "default" { format!("{kind}-{release}") } else { format!("{kind}-{org}:{release}") }
    })
}

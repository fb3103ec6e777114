//! Runs of a release: one at a time, each with a log that ends, and their blueprints and gates, which the incident's own
//! judge knows.

use harmony_incidents::{
    EnvironmentId, Judged, RunId,
    judge::invalid,
    log::{
        IncidentState, PolicyVerdict, RunFinished, RunKind, RunPoliciesJudged, RunStarted, RunState,
        ServiceState, Text, payload::Kind,
    },
};

use super::{
    ADDRESS_LIMIT_CHARS, Facts, LINE_LIMIT_BYTES, LINES_LIMIT, LIST_LIMIT, NAME_LIMIT_CHARS, adapter, few,
    illegal, line, not_retired, open_environment, pairs, recorded,
    release::{find, one_at_a_time, promoting, settled},
    required,
};
use crate::{
    adapters::Adapter,
    command::Refusal,
    entity::LogEntry,
    fold::{flow_before, is_settled},
    words::{PolicyOutcome, RunOutcome},
};

fn find_run<'a>(state: &'a ServiceState, id: &RunId) -> Result<&'a RunState, Refusal> {
    state
        .runs
        .iter()
        .find(|run| run.run_id == id.as_str())
        .ok_or_else(|| invalid(&format!("run {id} is not one of {}'s, or none of its last", state.id)))
}

pub(super) fn going_on<'a>(state: &'a ServiceState, id: &RunId) -> Result<&'a RunState, Refusal> {
    let run = find_run(state, id)?;
    if run.finished_at_us != 0 {
        return Err(illegal(format!("run {id} has ended ({})", run.outcome)));
    }
    Ok(run)
}

pub(super) fn start_run(
    state: &ServiceState,
    started: RunStarted,
    environment: &EnvironmentId,
    facts: &Facts,
) -> Result<Judged, Refusal> {
    if let Some(known) = state.runs.iter().find(|run| run.run_id == started.run_id) {
        let same = known.release_id == started.release_id
            && (known.kind, known.dry_run, known.attempt) == (started.kind, started.dry_run, started.attempt)
            && known.workflow_id == started.workflow_id;
        return if same {
            Ok(Judged::unchanged())
        } else {
            Err(illegal(format!("run {} exists, and is one of {}", known.run_id, known.release_id)))
        };
    }
    not_retired(state)?;
    open_environment(facts, environment)?;
    required("the workflow", &started.workflow_id, ADDRESS_LIMIT_CHARS)?;
    if started.attempt == 0 || started.kind() == RunKind::Unspecified {
        return Err(invalid("a run deploys or promotes, and its attempts count from 1"));
    }
    let adapter = adapter(&started.adapter)?;
    // Whoever deploys a service elsewhere and tells of it needs no entry.
    if adapter != Adapter::External && !state.deployments.contains(&started.adapter) {
        let named =
            if state.deployments.is_empty() { "none".to_owned() } else { state.deployments.join(", ") };
        return Err(invalid(&format!(
            "{} is not deployed by {adapter}; its adapters.deployments are {named}",
            state.id
        )));
    }
    let release = find(state, &started.release_id).ok_or_else(|| {
        invalid(&format!("release {} is not one of {}'s, or none of its last", started.release_id, state.id))
    })?;
    if release.environment_id != started.environment_id {
        return Err(invalid(&format!(
            "release {} is in {}; to deploy it to {} create a release there",
            release.release_id, release.environment_id, started.environment_id
        )));
    }
    if !started.dry_run {
        if is_settled(release.status()) {
            return Err(settled(release));
        }
        let busy =
            |run: &&RunState| run.release_id == release.release_id && run.finished_at_us == 0 && !run.dry_run;
        if let Some(other) = state.runs.iter().find(busy) {
            return Err(illegal(format!("run {} of {} goes on", other.run_id, other.release_id)));
        }
        if let Some(other) = promoting(state, &release.environment_id)
            && other.release_id != release.release_id
        {
            return Err(one_at_a_time(other));
        }
    }
    Ok(recorded(Kind::RunStarted(started)))
}

pub(super) fn log_run(state: &ServiceState, id: &RunId, entry: &LogEntry) -> Result<Judged, Refusal> {
    let run = going_on(state, id)?;
    if entry.message.len() > LINE_LIMIT_BYTES {
        return Err(invalid("a line of a run's log has at most 16 KiB"));
    }
    let logged = entry.logged(id);
    pairs("values beside a line", &logged.meta)?;
    if run.logs >= LINES_LIMIT {
        return Ok(Judged::unchanged());
    }
    Ok(recorded(Kind::RunLogged(logged)))
}

pub(super) fn judge_policies(
    state: &ServiceState,
    id: &RunId,
    outcome: PolicyOutcome,
    verdicts: &[PolicyVerdict],
    excepted: bool,
) -> Result<Judged, Refusal> {
    going_on(state, id)?;
    few("policies", verdicts, LIST_LIMIT)?;
    for verdict in verdicts {
        required("a policy's name", &verdict.r#ref, NAME_LIMIT_CHARS)?;
        line("a policy's rule", &verdict.by, ADDRESS_LIMIT_CHARS)?;
    }
    Ok(recorded(Kind::RunPoliciesJudged(RunPoliciesJudged {
        run_id: id.to_string(),
        outcome: outcome.into(),
        verdicts: verdicts.to_vec(),
        excepted,
    })))
}

pub(super) fn finish_run(
    state: &ServiceState,
    id: &RunId,
    outcome: RunOutcome,
    reason: &str,
) -> Result<Judged, Refusal> {
    let run = find_run(state, id)?;
    if run.finished_at_us != 0 {
        return if run.outcome == outcome.name() {
            Ok(Judged::unchanged())
        } else {
            Err(illegal(format!("run {id} has ended ({})", run.outcome)))
        };
    }
    if run.dry_run && outcome == RunOutcome::Succeeded {
        return Err(invalid("a dry run ends as planned: it changes nothing"));
    }
    if !run.dry_run && outcome == RunOutcome::Planned {
        return Err(invalid("only a dry run ends as planned"));
    }
    Ok(recorded(Kind::RunFinished(RunFinished {
        run_id: id.to_string(),
        outcome: outcome.into(),
        reason: Text::optional(reason),
    })))
}

/// The blueprints and gates of a service's runs, as the incident's judge is to see them.
pub fn flow_of(state: &ServiceState) -> IncidentState {
    let mut flow = state.flow.clone().unwrap_or_else(|| flow_before(&state.org, format!("svc/{}", state.id)));
    flow.seq = state.seq;
    flow
}

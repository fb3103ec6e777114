//! Finds runs that were lost: the log says that they go on, and Temporal has none that does.
//!
//! A workflow may be terminated, its namespace rebuilt, its history made unreadable by other code. Its attempt is then
//! marked orphaned, on record, within a minute, and `incident resume` starts it again. A run is taken for lost only
//! when two looks in a row find it so: one that ends writes its end before it closes, and one that is being started is
//! there a moment later.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use harmony_catalog::judge::flow_of;
use harmony_eventlog::{Append, Filter, LogError, Place, SharedLog, Target, catalog::running_services};
use harmony_incidents::{
    Answer, Command, HasStatus, IncidentId, OrgId, RulesSource, RunStatus, ServiceId, StreamId, WorkflowId,
    command::Context,
    judge::judge,
    log::{Authority, BlueprintState, Cause, State},
};
use jiff::Timestamp;
use temporalio_client::{Client, UntypedWorkflow, WorkflowExecutionStatus, errors::WorkflowInteractionError};
use tokio_util::sync::CancellationToken;

/// Between two looks; two of them and what they take stay below a minute.
const INTERVAL: Duration = Duration::from_secs(15);
/// Tries of one workflow task after which its code does not go on: a killed worker costs one or two.
const FAILED_TASKS: i32 = 6;
/// Incidents of one read.
const PAGE: u32 = 200;
/// States in which a blueprint may run.
const LIVE: [State; 5] = [State::Pending, State::Open, State::Mitigating, State::Resolved, State::Cancelled];
/// Who marks.
const ACTOR: &str = "harmony-reconciler";

/// See the module.
pub struct Reconciler {
    log: SharedLog,
    client: Client,
    rules: Arc<dyn RulesSource>,
}

/// One attempt that the log says is running.
type Attempt = (OrgId, StreamId, String, u32, u32);

impl Reconciler {
    /// A reconciler on this log and this client.
    pub fn new(log: SharedLog, client: Client, rules: Arc<dyn RulesSource>) -> Self {
        Self { log, client, rules }
    }

    /// Looks until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut suspected = BTreeMap::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            match self.look(&suspected).await {
                Ok(found) => suspected = found,
                Err(error) => tracing::warn!(error = %error, "runs cannot be looked for"),
            }
        }
    }

    /// One look; gives what seems lost, and marks what seemed so before.
    async fn look(
        &self,
        suspected: &BTreeMap<Attempt, String>,
    ) -> Result<BTreeMap<Attempt, String>, LogError> {
        let mut found = BTreeMap::new();
        for org in organisations(self.rules.as_ref()) {
            for (stream, blueprint) in self.running(&org).await? {
                let Some(problem) = self.problem(&blueprint.workflow_id).await else { continue };
                let attempt = (
                    org.clone(),
                    stream.clone(),
                    blueprint.workflow_id.clone(),
                    blueprint.attempt,
                    blueprint.resumed,
                );
                if suspected.contains_key(&attempt) {
                    self.mark(&org, &stream, &blueprint, &problem).await?;
                } else {
                    found.insert(attempt, problem);
                }
            }
        }
        Ok(found)
    }

    async fn running(&self, org: &OrgId) -> Result<Vec<(StreamId, BlueprintState)>, LogError> {
        let mut all = self.running_releases(org).await?;
        let mut after = None;
        loop {
            let filter = Filter {
                states: LIVE.into_iter().map(|state| state.as_str_name().to_owned()).collect(),
                limit: PAGE,
                after,
                ..Filter::default()
            };
            let page = self.log.list(org, &filter).await?;
            let full = page.len() == usize::try_from(PAGE).unwrap_or(usize::MAX);
            after = page.last().and_then(Place::of);
            for state in page {
                let Ok(incident) = state.incident.parse::<IncidentId>() else { continue };
                let open = |one: &BlueprintState| one.status().is_some_and(RunStatus::is_open);
                let stream = StreamId::from(incident);
                all.extend(state.blueprints.into_iter().filter(open).map(|one| (stream.clone(), one)));
            }
            if !full || after.is_none() {
                return Ok(all);
            }
        }
    }

    /// The runs of releases, by the services in whose streams they stand.
    async fn running_releases(&self, org: &OrgId) -> Result<Vec<(StreamId, BlueprintState)>, LogError> {
        let mut all = Vec::new();
        for service in running_services(&*self.log, org).await? {
            let Ok(id) = service.id.parse::<ServiceId>() else { continue };
            let open = |one: &BlueprintState| one.status().is_some_and(RunStatus::is_open);
            let stream = StreamId::from(id);
            let flow = flow_of(&service);
            all.extend(flow.blueprints.into_iter().filter(open).map(|one| (stream.clone(), one)));
        }
        Ok(all)
    }

    /// Why a workflow does not go on; `None` where it does, or where Temporal does not tell.
    async fn problem(&self, workflow_id: &str) -> Option<String> {
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
        match handle.describe(Default::default()).await {
            Ok(described) => {
                let tries = described.raw().pending_workflow_task.as_ref().map_or(0, |task| task.attempt);
                lost(described.status(), tries)
            }
            Err(WorkflowInteractionError::NotFound(status)) if !status.to_string().contains("amespace") => {
                Some("Temporal does not know its workflow any more".to_owned())
            }
            Err(error) => {
                tracing::debug!(error = %error, workflow_id, "a workflow cannot be looked at");
                None
            }
        }
    }

    async fn mark(
        &self,
        org: &OrgId,
        stream: &StreamId,
        lost: &BlueprintState,
        problem: &str,
    ) -> Result<(), LogError> {
        let Ok(workflow_id) = lost.workflow_id.parse::<WorkflowId>() else { return Ok(()) };
        let command =
            Command::MarkOrphaned { workflow_id, attempt: lost.attempt, reason: problem.to_owned() };
        let context = Context {
            actor: ACTOR.to_owned(),
            authority: Authority::AutoEngine,
            cause: Cause {
                workflow_id: lost.workflow_id.clone(),
                blueprint: lost.blueprint.clone(),
                attempt: lost.attempt,
                step: "orphaned".to_owned(),
                request_id: String::new(),
            },
            occurred_at: Timestamp::now(),
        };
        let rules = self.rules.current();
        let appended = self
            .log
            .append(Append {
                org,
                target: Target::Named(stream.clone()),
                // Two workers that find it in the same moment mark it once.
                key: &format!("{}#{}/orphaned/{}", lost.workflow_id, lost.attempt, lost.resumed),
                command: &command,
                context: &context,
                expected_seq: None,
                run_id: None,
                judge: &|head| judge(head, &command, &context, rules.rules()),
                follow: &|_| Vec::new(),
            })
            .await;
        match appended {
            // It ended in the meantime.
            Ok(appended) if appended.answer != Answer::Recorded => Ok(()),
            Ok(_) => {
                let resume = if stream.incident().is_some() { "incident resume" } else { "release resume" };
                tracing::error!(
                    stream.id = %stream,
                    blueprint = %lost.blueprint,
                    problem,
                    "a run was lost: `harmony {resume}` starts it again"
                );
                Ok(())
            }
            // Another worker found it, and saw something else.
            Err(LogError::KeyConflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Every organisation that somebody has a role in.
pub(crate) fn organisations(rules: &dyn RulesSource) -> Vec<OrgId> {
    let rules = rules.current();
    let named = rules.directory.principals().iter().flat_map(|one| one.roles.keys().cloned());
    let mut all: Vec<OrgId> = named.chain([OrgId::default()]).collect();
    all.sort();
    all.dedup();
    all
}

/// Whether a workflow in this state is lost, where the log says that it runs.
fn lost(status: WorkflowExecutionStatus, task_tries: i32) -> Option<String> {
    match status {
        WorkflowExecutionStatus::Running if task_tries >= FAILED_TASKS => {
            Some(format!("its workflow task failed {task_tries} times"))
        }
        WorkflowExecutionStatus::Completed => Some("its workflow has completed".to_owned()),
        WorkflowExecutionStatus::Failed => Some("its workflow has failed".to_owned()),
        WorkflowExecutionStatus::Canceled => Some("its workflow was cancelled".to_owned()),
        WorkflowExecutionStatus::Terminated => Some("its workflow was terminated".to_owned()),
        WorkflowExecutionStatus::TimedOut => Some("its workflow has timed out".to_owned()),
        // It goes on, or Temporal does not tell.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_not_lost_and_what_ended_without_a_record_is() {
        use WorkflowExecutionStatus as Status;
        for (status, tries, expected) in [
            (Status::Running, 0, None),
            (Status::Running, 2, None),
            (Status::Running, 6, Some("its workflow task failed 6 times")),
            (Status::ContinuedAsNew, 0, None),
            (Status::Completed, 0, Some("its workflow has completed")),
            (Status::Failed, 0, Some("its workflow has failed")),
            (Status::Canceled, 0, Some("its workflow was cancelled")),
            (Status::Terminated, 0, Some("its workflow was terminated")),
            (Status::TimedOut, 0, Some("its workflow has timed out")),
        ] {
            assert_eq!(lost(status, tries).as_deref(), expected, "{status:?} {tries}");
        }
    }
}

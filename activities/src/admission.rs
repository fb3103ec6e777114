//! Which activities run when they are scheduled on a task queue. Anybody with access to the namespace can schedule an
//! activity from a workflow of their own; the SDK runs a local activity only for a workflow that this very worker runs.
//!
//! - What reads or writes the log in a run's name runs as a local activity or not at all: what is not on the list of
//!   scheduled activities is refused.
//! - An outward effect is carried out only for a run that the log knows: `blueprint.begin`, a local activity, put it on
//!   record under the id that Temporal gave the run, and nobody chooses that id. Only `incident.act` acts in the name of
//!   another run of its incident, to try a failed step again.
//! - A cell brings a ticket, which its pool checks.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use harmony_blueprints::contracts::{
    ApplyOrder, CandidatePage, ChannelArchive, ChannelDraft, ChannelInvite, ChannelOpen, ChannelPost,
    ChannelRef, ChannelSettle, ChannelTopic, Effect, Invitation, IssueDraft, IssueOpen, Notice, PagingDraft,
    PagingNote, PagingOpen, PagingRef, PagingRemark, PagingResolve, PagingUrgency, PublicDraft, PublicImpact,
    PublicOpen, PublicRemark, PublicResolution, PublicResolve, PublicUpdate, PublishDraft, ReleaseApply,
    ReleaseFollow, ReleaseOrder, ReleasePlan, ReviewPublish, RunbookCell, Scope, Settle, SeverityOf,
    TopicDraft,
};
use harmony_eventlog::{SharedLog, catalog::ReleaseFilter};
use harmony_incidents::{Answer, StreamId, Subject, WorkflowId, WorkflowType};
use temporalio_client::{Client, UntypedWorkflow};
use temporalio_common::ActivityDefinition;
use temporalio_sdk::{
    activities::{ActivityError, ActivityInfo},
    interceptors::{ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next},
};

use crate::failure;

/// Runs that are remembered; far more than a worker has in its cache.
const REMEMBERED: usize = 4_000;

/// See the module.
pub struct Admission {
    /// None on the runbook queue, which has no effects and no log.
    runs: Option<Runs>,
}

impl Admission {
    /// For the runbook queue.
    pub fn of_cells() -> Self {
        Self { runs: None }
    }

    /// For the incidents queue.
    pub fn new(log: SharedLog, client: Client) -> Self {
        Self { runs: Some(Runs { log, client, known: Mutex::default() }) }
    }

    async fn check(&self, input: &ExecuteActivityInput) -> Result<(), ActivityError> {
        let info = input.activity_info();
        admit(&info.activity_type, info.is_local)?;
        let by_itself = [CandidatePage.name(), RunbookCell.name()].contains(&info.activity_type.as_str());
        match &self.runs {
            Some(runs) if !info.is_local && !by_itself => runs.check(info, scope(input)).await,
            Some(_) | None => Ok(()),
        }
    }
}

impl ActivityInboundInterceptor for Admission {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        Box::pin(async move {
            if let Err(refused) = self.check(&input).await {
                let info = input.activity_info();
                tracing::warn!(
                    activity = %info.activity_type,
                    workflow.id = info.workflow_id.as_deref().unwrap_or_default(),
                    workflow.type = info.workflow_type.as_deref().unwrap_or_default(),
                    error = ?refused,
                    "an activity was not admitted"
                );
                return Err(refused);
            }
            next.run(input).await
        })
    }
}

/// Runs that began, as the log has them.
struct Runs {
    log: SharedLog,
    client: Client,
    /// By the id of the run that runs now: its workflow, and its attempt.
    known: Mutex<BTreeMap<String, (WorkflowId, u32)>>,
}

impl Runs {
    async fn check(&self, info: &ActivityInfo, scope: Option<&Scope>) -> Result<(), ActivityError> {
        let refused = |why: &str| failure::last("NotAdmitted", format!("{}: {why}", info.activity_type));
        let scope = scope.ok_or_else(|| refused("it does not say which step it is"))?;
        let unknown = || refused("it is not scheduled by a run that Harmony's log knows");
        let (workflow_id, attempt) = self.begun(info).await?.ok_or_else(unknown)?;
        if is_its_own(scope, &workflow_id, attempt) && self.is_its_stream(scope).await? {
            Ok(())
        } else {
            Err(refused("it names a step of another run"))
        }
    }

    /// Whether a release's run writes to its own service's records.
    async fn is_its_stream(&self, scope: &Scope) -> Result<bool, ActivityError> {
        let Some((_, org, release)) = scope.workflow_id.release() else { return Ok(true) };
        let filter = ReleaseFilter { ids: vec![release], limit: 1, ..ReleaseFilter::default() };
        let found = self.log.releases(&org, &filter).await.map_err(|error| failure::log(&error))?;
        Ok(found.into_iter().any(|one| StreamId::from(one.service) == scope.stream))
    }

    /// The run that schedules this, where it began and was not refused.
    async fn begun(&self, info: &ActivityInfo) -> Result<Option<(WorkflowId, u32)>, ActivityError> {
        let (Some(workflow), Some(run_id)) = (&info.workflow_id, &info.workflow_run_id) else {
            return Ok(None);
        };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(run_id).cloned();
        if let Some(known) = known.filter(|(known, _)| known.as_str() == workflow) {
            return Ok(Some(known));
        }
        let Ok(workflow_id) = workflow.parse::<WorkflowId>() else { return Ok(None) };
        let mut attempt = self.attempt(&workflow_id, run_id).await?;
        if attempt.is_none() {
            // A run that was continued, or reset, began as the first of its chain.
            let first = self.first_run(workflow, run_id).await?;
            if !first.is_empty() && first != *run_id {
                attempt = self.attempt(&workflow_id, &first).await?;
            }
        }
        let Some(attempt) = attempt else { return Ok(None) };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(run_id.clone(), (workflow_id.clone(), attempt));
        Ok(Some((workflow_id, attempt)))
    }

    async fn attempt(&self, workflow_id: &WorkflowId, run_id: &str) -> Result<Option<u32>, ActivityError> {
        let Some((_, org)) = workflow_id.kind_and_org() else { return Ok(None) };
        let answer = self.log.answer(&org, &start_key(workflow_id, run_id)).await;
        Ok(match answer.map_err(|error| failure::log(&error))? {
            Some(Answer::Started { attempt, .. }) => Some(attempt),
            _ => None,
        })
    }

    /// The first run of this run's chain, as the server tells it; empty where this is not the run that runs now.
    async fn first_run(&self, workflow_id: &str, run_id: &str) -> Result<String, ActivityError> {
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
        let described = handle
            .describe(Default::default())
            .await
            .map_err(|error| failure::again("Temporal", error.to_string(), None))?;
        let info = described.raw().workflow_execution_info.as_ref();
        let first = info.filter(|_| described.run_id() == run_id).map(|info| info.first_run_id.clone());
        Ok(first.unwrap_or_default())
    }
}

/// What `blueprint.begin` puts the beginning of a run on record under.
pub(crate) fn start_key(workflow_id: &WorkflowId, run_id: &str) -> String {
    format!("{workflow_id}/run/{run_id}")
}

/// Whether a run may do this step: its own, or, where it tries again what failed, another run's of its incident.
fn is_its_own(scope: &Scope, workflow_id: &WorkflowId, attempt: u32) -> bool {
    let own = scope.workflow_id == *workflow_id && scope.attempt == attempt;
    match workflow_id.parts() {
        Some((kind, org, incident)) => {
            scope.org == org && scope.stream == *incident && (own || kind == WorkflowType::Act)
        }
        // The stream is its service's, which `blueprint.begin` looked up.
        None => {
            let of_a_service = matches!(scope.stream.subject(), Subject::Service(_));
            own && of_a_service && workflow_id.release().is_some_and(|(_, org, _)| scope.org == org)
        }
    }
}

/// Which step an effect is. Every input of an effect is on this list, or it is not admitted.
fn scope(input: &ExecuteActivityInput) -> Option<&Scope> {
    macro_rules! scope_of {
        ($($args:ty),+ $(,)?) => {
            None$(.or_else(|| input.args_ref::<Effect<$args>>().map(|effect| &effect.scope)))+
        };
    }
    scope_of!(
        ApplyOrder,
        ChannelDraft,
        ChannelRef,
        Invitation,
        IssueDraft,
        Notice,
        PagingDraft,
        PagingRef,
        PagingRemark,
        PublicDraft,
        PublicRemark,
        PublicResolution,
        PublishDraft,
        ReleaseOrder,
        Settle,
        SeverityOf,
        TopicDraft,
    )
}

fn admit(activity: &str, is_local: bool) -> Result<(), ActivityError> {
    if is_local || is_scheduled(activity) {
        return Ok(());
    }
    Err(failure::last(
        "NotScheduled",
        format!(
            "{activity} runs as a local activity of Harmony's own workflows alone; use the console, the API or `harmony`"
        ),
    ))
}

fn is_scheduled(activity: &str) -> bool {
    let scheduled: [&dyn Named; 21] = [
        &CandidatePage,
        &ChannelArchive,
        &ChannelInvite,
        &ChannelOpen,
        &ChannelPost,
        &ChannelSettle,
        &ChannelTopic,
        &IssueOpen,
        &PagingNote,
        &PagingOpen,
        &PagingResolve,
        &PagingUrgency,
        &PublicImpact,
        &PublicOpen,
        &PublicResolve,
        &PublicUpdate,
        &ReleaseApply,
        &ReleaseFollow,
        &ReleasePlan,
        &ReviewPublish,
        &RunbookCell,
    ];
    scheduled.iter().any(|one| one.wire_name() == activity)
}

/// An activity's wire name, whatever its input and output.
trait Named {
    fn wire_name(&self) -> &str;
}

impl<D: ActivityDefinition> Named for D {
    fn wire_name(&self) -> &str {
        self.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_or_writes_the_log_runs_as_a_local_activity_alone() {
        for local in [
            "approval.judge",
            "approval.look",
            "blueprint.begin",
            "candidate.evaluate",
            "candidate.open",
            "log.append",
            "release.append",
            "release.judge",
            "release.look",
            "release.start",
            "review.render",
            "runbook.propose",
            "step.recall",
            "an.activity.of.tomorrow",
        ] {
            assert!(admit(local, true).is_ok(), "{local}");
            let refused = admit(local, false).unwrap_err();
            assert!(format!("{refused:?}").contains("local activity"), "{local}: {refused:?}");
        }
        for scheduled in ["channel.post", "review.publish", "runbook.cell"] {
            assert!(admit(scheduled, false).is_ok(), "{scheduled}");
        }
    }

    #[test]
    fn run_does_its_own_steps_and_a_retry_those_of_its_incident() {
        let scope = |workflow: &str, attempt: u32| Scope {
            org: "default".parse().unwrap(),
            stream: "INC-2026-0001".parse().unwrap(),
            workflow_id: workflow.parse().unwrap(),
            run_id: "run".to_owned(),
            blueprint: "remediate".to_owned(),
            attempt,
            step: "notice".to_owned(),
            actor: "operator".to_owned(),
            authority: harmony_incidents::log::Authority::HumanOperator,
            occurred_at: jiff::Timestamp::UNIX_EPOCH,
        };
        let remediate = "incident.remediate-INC-2026-0001";
        for (scope, by, attempt, expected) in [
            (scope(remediate, 1), remediate, 1, true),
            (scope(remediate, 2), remediate, 1, false),
            (scope(remediate, 1), "incident.close-out-INC-2026-0001", 1, false),
            (scope(remediate, 1), "incident.act-INC-2026-0001-7", 1, true),
            (scope(remediate, 1), "incident.act-INC-2026-0002-7", 1, false),
            (scope(remediate, 1), "incident.remediate-acme:INC-2026-0001", 1, false),
        ] {
            assert_eq!(is_its_own(&scope, &by.parse().unwrap(), attempt), expected, "{by} {attempt}");
        }
    }
}

//! Starting a workflow: a blueprint's run, or the promotion of a candidate.

use harmony_blueprints::{INCIDENTS_QUEUE, RUN_MEMO, RUNS_A_RESUMPTION};
use harmony_catalog::judge::flow_of;
use harmony_eventlog::{CandidateStatus, LogError, Pending, StreamState};
use harmony_incidents::{
    Command, GateStatus, HasStatus, OrgId, RunStatus, StreamId, Subject, WorkflowId,
    follow_up::Start,
    judge::payload,
    log::{IncidentState, StepSkipped, Text, payload::Kind},
    promotion::WORKFLOW_TYPE,
};
use harmony_telemetry::{self as telemetry, FutureExt, Parent, Span, SpanKind};
use temporalio_client::{
    UntypedWorkflow, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions,
    errors::{WorkflowInteractionError, WorkflowStartError},
};
use temporalio_common::{
    MemoValues,
    search_attributes::{SearchAttributeKey, SearchAttributes},
};

use super::{Carried, Dispatcher, TASK_TIMEOUT, Undone, raw};
use crate::trace::start_span;

/// Memo of a run: the request that started it.
const REQUEST: &str = "harmony.request";

impl Dispatcher {
    pub(super) async fn start(&self, pending: &Pending, start: &Start) -> Carried {
        match &pending.stream {
            Some(stream) => self.start_blueprint(pending, start, stream).await,
            None => self.start_promotion(pending, start).await,
        }
    }

    async fn start_blueprint(&self, pending: &Pending, start: &Start, stream: &StreamId) -> Carried {
        let Start { attempt, resumed, .. } = *start;
        let blueprint = start.workflow_id.parse::<WorkflowId>().map_err(anyhow::Error::from)?.blueprint();
        let state = self.flow(&pending.org, stream).await?;
        let last = state.blueprints.iter().find(|one| one.blueprint == blueprint);
        let begun = last.map_or(0, |one| one.attempt);
        let awaited = last.is_some_and(|one| {
            one.is(RunStatus::Resuming) && one.attempt == attempt && one.resumed == resumed
        });
        if (resumed == 0 && begun >= attempt) || (resumed > 0 && !awaited) {
            return self.refuse_second(pending, start, stream, &blueprint, begun).await;
        }
        let mut memo = MemoValues::new();
        memo.insert("golden.context", start.input["context"].clone());
        memo.insert(REQUEST, pending.item.name.clone());
        if resumed > 0 {
            memo.insert(RUN_MEMO, u64::from(resumed) * RUNS_A_RESUMPTION);
        }
        let keyword = SearchAttributeKey::<String>::keyword;
        let attributes = SearchAttributes::new([
            keyword("HarmonyOrg").value_set(pending.org.to_string()),
            keyword("HarmonyIncidentId").value_set(stream.to_string()),
            keyword("HarmonySeverity").value_set(state.severity().as_str_name().to_owned()),
            keyword("HarmonyBlueprint").value_set(blueprint.clone()),
            keyword("HarmonyApproval").value_set(GateStatus::None.into()),
        ]);
        // What is there when a lost run is resumed is no run that goes on: its tasks fail.
        let instead = if resumed > 0 {
            WorkflowIdConflictPolicy::TerminateExisting
        } else {
            WorkflowIdConflictPolicy::Fail
        };
        let summary = format!("{stream} {blueprint}");
        if self.start_workflow(start, memo, attributes, summary, instead).await? {
            return Ok(());
        }
        self.refuse_second(pending, start, stream, &blueprint, begun).await
    }

    /// The blueprints of an incident, or of a service's releases.
    pub(super) async fn flow(&self, org: &OrgId, stream: &StreamId) -> Result<IncidentState, LogError> {
        Ok(match stream.subject() {
            Subject::Incident(incident) => self.log.state(org, &incident).await?.unwrap_or_default(),
            Subject::Service(_) | Subject::Environment(_) => {
                let found = self.log.catalog_state(org, stream).await?;
                found.and_then(StreamState::service).map(|service| flow_of(&service)).unwrap_or_default()
            }
        })
    }

    /// A candidate is decided about once, unless a person asks: a start that is repeated later does nothing.
    async fn start_promotion(&self, pending: &Pending, start: &Start) -> Carried {
        let candidate = start.input["candidateId"].as_str().unwrap_or_default();
        let id = candidate.parse().map_err(anyhow::Error::from)?;
        let stored = self.log.candidate(&pending.org, &id).await?;
        // What was dismissed is looked at once more, so that its page ends.
        let dismissed = match stored.map(|stored| stored.status) {
            Some(CandidateStatus::Received) => false,
            Some(CandidateStatus::Dismissed) => true,
            Some(
                CandidateStatus::Promoted
                | CandidateStatus::Deferred
                | CandidateStatus::Suppressed
                | CandidateStatus::Refused,
            )
            | None => return Ok(()),
        };
        let keyword = SearchAttributeKey::<String>::keyword;
        let attributes = SearchAttributes::new([
            keyword("HarmonyOrg").value_set(pending.org.to_string()),
            keyword("HarmonyBlueprint").value_set(WORKFLOW_TYPE.to_owned()),
        ]);
        let (memo, summary) = (MemoValues::new(), format!("candidate {candidate}"));
        let started =
            self.start_workflow(start, memo, attributes, summary, WorkflowIdConflictPolicy::Fail).await?;
        if !started && dismissed {
            // A run that is about to page may not know of it.
            return Err(Undone::failed("the run that decides about it has not ended yet"));
        }
        Ok(())
    }

    /// Whether it was started now; not where a workflow of this id is there already.
    async fn start_workflow(
        &self,
        start: &Start,
        memo: MemoValues,
        attributes: SearchAttributes,
        summary: String,
        instead: WorkflowIdConflictPolicy,
    ) -> anyhow::Result<bool> {
        let options = WorkflowStartOptions::new(INCIDENTS_QUEUE, start.workflow_id.as_str())
            .id_conflict_policy(instead)
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            .task_timeout(TASK_TIMEOUT)
            .memo(memo)
            .search_attributes(attributes)
            .static_summary(summary)
            .build();
        let workflow = UntypedWorkflow::new(start.workflow_type.as_str());
        let span = starting(start);
        let started =
            self.client.start_workflow(workflow, raw(&start.input), options).with_context(span.clone()).await;
        if matches!(&started, Err(error) if !matches!(error, WorkflowStartError::AlreadyStarted { .. })) {
            telemetry::failed(&span, "the workflow was not started");
        }
        drop(span);
        match started {
            Ok(_) => Ok(true),
            Err(WorkflowStartError::AlreadyStarted { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The run that is there was started by this item, in an earlier try; or by another, and this start is refused, on
    /// record. A workflow that no door started and that never began a run is in the way until somebody ends it: that is on
    /// record, too, and the start waits.
    async fn refuse_second(
        &self,
        pending: &Pending,
        start: &Start,
        stream: &StreamId,
        blueprint: &str,
        begun: u32,
    ) -> Carried {
        let workflow_id = start.workflow_id.as_str();
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
        let there = match handle.describe(Default::default()).await {
            Ok(described) => described.memo().get::<String>(REQUEST).ok().flatten(),
            Err(WorkflowInteractionError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(anyhow::Error::from(error).into()),
        };
        if there.as_ref() == Some(&pending.item.name) {
            return Ok(());
        }
        let in_the_way = there.is_none() && begun < start.attempt;
        let (key, step, reason) = if in_the_way {
            let reason = format!(
                "waits: a workflow that Harmony did not start runs under {workflow_id}; end it with \
                 `temporal workflow terminate -w {workflow_id}`"
            );
            ("in-the-way", "start", reason)
        } else {
            (
                "refused",
                "second-start",
                format!("refused: {blueprint} was started already, by another request"),
            )
        };
        let skipped = Kind::StepSkipped(StepSkipped {
            blueprint: blueprint.to_owned(),
            attempt: begun,
            step: step.to_owned(),
            reason: Text::optional(&reason),
            ..StepSkipped::default()
        });
        let command = Command::Record { payload: payload(skipped) };
        let initiator = start.input["context"]["initiator_id"].as_str().unwrap_or_default();
        self.append(pending, stream, key, initiator, &command).await?;
        if in_the_way { Err(Undone::failed(reason)) } else { Ok(()) }
    }
}

/// The span of starting a workflow, in the incident's trace: below the request that asked for it where that is in this
/// trace, too, and linked to it otherwise.
fn starting(start: &Start) -> telemetry::Context {
    let trace = start.input["context"]["trace_id"].as_str().and_then(telemetry::trace_id);
    let Some(trace) = trace.filter(|_| telemetry::is_on()) else { return telemetry::Context::new() };
    let asked = start.traceparent.as_deref().and_then(Parent::parse);
    let (above, beside) = match asked {
        Some(asked) if asked.trace == trace => (Some(asked.span), None),
        asked => (None, asked),
    };
    Span::new(format!("start {}", start.workflow_type), SpanKind::Client)
        .within(trace, above)
        .after(beside)
        .known_as(start_span(&start.workflow_id, u64::from(start.attempt)))
        .with("temporal.workflow.id", start.workflow_id.clone())
        .with("temporal.workflow.type", start.workflow_type.clone())
        .start()
}

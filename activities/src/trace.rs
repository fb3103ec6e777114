//! Traces: each activity as a span of its incident's trace, and what has ended as the span that it was.
//!
//! Which trace an activity belongs to is looked up in the log by its workflow id, once a run; a cell brings it along,
//! since its pool has no log. A workflow's span and a gate's wait are sent by whoever puts their end on record, under
//! ids that the activities below them derived long before.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use harmony_blueprints::contracts::{BlueprintBegin, CellRequest, Scope};
use harmony_eventlog::{Appended, SharedLog};
use harmony_incidents::{
    Answer, Command, GateStatus, HasStatus, RunStatus, WorkflowId,
    log::{GateState, IncidentState, payload::Kind},
};
use harmony_telemetry::{self as telemetry, FutureExt, Parent, Span, SpanId, SpanKind, metrics};
use jiff::Timestamp;
use temporalio_common::ActivityDefinition;
use temporalio_sdk::{
    activities::ActivityInfo,
    interceptors::{ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next},
};
use tracing::Instrument;

use crate::services::Services;

/// Runs that are remembered; far more than a worker has in its cache.
const REMEMBERED: usize = 4_000;

/// The span of a run.
pub(crate) fn run_span(workflow_id: &str, attempt: u32) -> SpanId {
    telemetry::derived(&format!("{workflow_id}#{attempt}"))
}

/// The span of starting a run.
pub(crate) fn start_span(workflow_id: &str, attempt: u64) -> SpanId {
    telemetry::derived(&format!("{workflow_id}#{attempt}/start"))
}

/// Puts every activity into its incident's trace, and its ids into the log lines below it.
pub struct Traced {
    log: Option<SharedLog>,
    runs: Mutex<BTreeMap<String, Run>>,
}

#[derive(Clone)]
struct Run {
    incident: String,
    parent: Parent,
}

impl Traced {
    /// With a log for the incidents queue, without one for the runbook queue.
    pub fn new(log: Option<SharedLog>) -> Self {
        Self { log, runs: Mutex::default() }
    }

    async fn run(&self, info: &ActivityInfo) -> Option<Run> {
        let run_id = info.workflow_run_id.as_ref()?;
        let known = self.runs.lock().unwrap_or_else(PoisonError::into_inner).get(run_id).cloned();
        if known.is_some() {
            return known;
        }
        let workflow_id: WorkflowId = info.workflow_id.as_ref()?.parse().ok()?;
        let (kind, org, incident) = workflow_id.parts()?;
        // The log's absence is the activity's to report.
        let state = self.log.as_ref()?.state(&org, &incident).await.ok()??;
        let begins = info.activity_type == BlueprintBegin.name();
        let attempt = attempt(&state, kind.blueprint(), begins);
        let parent = Parent {
            trace: telemetry::trace_id(&state.trace_id)?,
            span: run_span(workflow_id.as_str(), attempt),
        };
        let run = Run { incident: incident.to_string(), parent };
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.len() >= REMEMBERED {
            runs.clear();
        }
        runs.insert(run_id.clone(), run.clone());
        Some(run)
    }
}

/// The attempt of a run that is under way, or that begins now. A lost run that is resumed keeps its attempt.
fn attempt(state: &IncidentState, blueprint: &str, begins: bool) -> u32 {
    let last = state.blueprints.iter().find(|one| one.blueprint == blueprint);
    match last {
        Some(last) if begins && !last.status().is_some_and(RunStatus::is_open) => last.attempt + 1,
        Some(last) => last.attempt,
        None => 1,
    }
}

impl ActivityInboundInterceptor for Traced {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        Box::pin(async move {
            let info = input.activity_info();
            let brought = input.args_ref::<CellRequest>().and_then(|cell| Parent::parse(&cell.traceparent));
            let run = match brought {
                Some(parent) => Some(Run { incident: String::new(), parent }),
                None => self.run(info).await,
            };
            let workflow = info.workflow_id.clone().unwrap_or_default();
            let (name, attempt) = (info.activity_type.clone(), i64::from(info.attempt));
            let incident = run.as_ref().map(|run| run.incident.clone()).unwrap_or_default();
            let trace = run.as_ref().map(|run| run.parent.trace.to_string()).unwrap_or_default();
            let line = tracing::info_span!(
                "activity", activity = %name, workflow.id = %workflow, incident.id = %incident, trace.id = %trace
            );
            let began = Instant::now();
            let running = async move {
                let outcome = next.run(input).await;
                let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::debug!(elapsed_ms, failed = outcome.is_err(), "the activity ended");
                outcome
            };
            let Some(run) = run.filter(|_| telemetry::is_on()) else {
                return running.instrument(line).await;
            };
            let context = Span::new(name.clone(), SpanKind::Internal)
                .within(run.parent.trace, Some(run.parent.span))
                .with("temporal.activity.type", name)
                .with("temporal.workflow.id", workflow)
                .with("temporal.activity.attempt", attempt)
                .start();
            let outcome = running.instrument(line).with_context(context.clone()).await;
            if outcome.is_err() {
                telemetry::failed(&context, "the activity failed");
            }
            outcome
        })
    }
}

impl Services {
    /// Counts what came of a command, and sends the span of what it ended. Only for what was not on record before.
    pub(crate) async fn tell(&self, scope: &Scope, command: &Command, appended: &Appended) {
        if let Answer::TimedOut { .. } = appended.answer {
            metrics::escalation_exhausted();
        }
        if let Command::Record { payload } = command
            && let Some(Kind::StepFailed(failed)) = &payload.kind
        {
            metrics::step_failed(&failed.capability);
        }
        if telemetry::is_on()
            && let Err(error) = self.tell_of_end(scope, command, &appended.answer).await
        {
            tracing::debug!(%error, "a span was not sent");
        }
    }

    async fn tell_of_end(
        &self,
        scope: &Scope,
        command: &Command,
        answer: &Answer,
    ) -> Result<(), harmony_eventlog::LogError> {
        match (command, answer) {
            (Command::Record { payload }, _) => {
                if let Some(Kind::BlueprintCompleted(completed)) = &payload.kind {
                    return self.tell_of_run(scope, &completed.status).await;
                }
            }
            (Command::Decide { .. }, Answer::Judged { verdict }) if verdict.accepted => {
                if let Some(gate) = &verdict.gate_id {
                    return self.tell_of_gate(scope, gate).await;
                }
            }
            (Command::ExpireLevel { gate_id, .. }, Answer::TimedOut { .. } | Answer::Settled { .. })
            | (Command::CancelGate { gate_id, .. }, Answer::Settled { .. }) => {
                return self.tell_of_gate(scope, gate_id).await;
            }
            _ => {}
        }
        Ok(())
    }

    async fn tell_of_run(&self, scope: &Scope, status: &str) -> Result<(), harmony_eventlog::LogError> {
        let state = self.state_of(&scope.org, &scope.stream).await?;
        let Some(trace) = telemetry::trace_id(&state.trace_id) else { return Ok(()) };
        let mut after = 0;
        let (began, attested) = loop {
            let some = self.log.records(&scope.org, &scope.stream, after, 200).await?;
            let Some(last) = some.last() else { return Ok(()) };
            after = last.record.seq;
            let started =
                some.iter().find_map(|entry| match entry.record.payload.as_ref()?.kind.as_ref()? {
                    Kind::BlueprintStarted(p)
                        if (p.attempt, &p.blueprint) == (scope.attempt, &scope.blueprint) =>
                    {
                        Some((harmony_incidents::record::occurred_at(&entry.record), p.attested))
                    }
                    _ => None,
                });
            if let Some(started) = started {
                break started;
            }
        };
        let workflow_id = scope.workflow_id.as_str();
        let starter = attested.then(|| start_span(workflow_id, u64::from(scope.attempt)));
        Span::new(format!("incident.{}", scope.blueprint), SpanKind::Server)
            .within(trace, starter)
            .known_as(run_span(workflow_id, scope.attempt))
            .began(began.into())
            .with("temporal.workflow.id", workflow_id.to_owned())
            .with("harmony.incident.id", scope.stream.to_string())
            .with("harmony.attempt", i64::from(scope.attempt))
            .with("harmony.status", status.to_owned())
            .record(scope.occurred_at.into());
        Ok(())
    }

    /// The wait of a gate, from when it was asked to when it was settled.
    async fn tell_of_gate(&self, scope: &Scope, gate_id: &str) -> Result<(), harmony_eventlog::LogError> {
        let state = self.state_of(&scope.org, &scope.stream).await?;
        let Some(gate) = state.gates.iter().find(|gate| gate.gate_id == gate_id) else { return Ok(()) };
        if gate.is(GateStatus::Pending) {
            return Ok(());
        }
        tell_wait(&state, gate, scope.occurred_at);
        Ok(())
    }
}

/// The wait of a gate as a span of its incident's trace.
pub(crate) fn tell_wait(state: &IncidentState, gate: &GateState, ended: Timestamp) {
    let Some(trace) = telemetry::trace_id(&state.trace_id).filter(|_| telemetry::is_on()) else { return };
    let began = Duration::from_micros(u64::try_from(gate.requested_at_us).unwrap_or_default());
    Span::new(format!("gate {}", gate.kind), SpanKind::Internal)
        .within(trace, Some(run_span(&gate.workflow_id, gate.attempt)))
        .known_as(telemetry::derived(&gate.gate_id))
        .began(SystemTime::UNIX_EPOCH + began)
        .with("harmony.gate.id", gate.gate_id.clone())
        .with("harmony.gate.status", gate.status.clone())
        .with("harmony.gate.level", i64::from(gate.level))
        .record(ended.into());
}

#[cfg(test)]
mod tests {
    use harmony_incidents::log::BlueprintState;

    use super::*;

    #[test]
    fn spans_of_a_resumed_run_hang_below_the_attempt_that_it_keeps() {
        let of = |status: RunStatus| {
            let last = BlueprintState {
                blueprint: "remediate".to_owned(),
                attempt: 2,
                status: status.into(),
                ..BlueprintState::default()
            };
            IncidentState { blueprints: vec![last], ..IncidentState::default() }
        };
        for status in [RunStatus::Running, RunStatus::Resuming] {
            assert_eq!(attempt(&of(status), "remediate", true), 2, "{status}");
        }
        for status in [RunStatus::Completed, RunStatus::Failed, RunStatus::Orphaned] {
            assert_eq!(attempt(&of(status), "remediate", true), 3, "{status}");
            assert_eq!(attempt(&of(status), "remediate", false), 2, "{status}");
        }
        assert_eq!(attempt(&of(RunStatus::Running), "initiate", true), 1);
    }
}

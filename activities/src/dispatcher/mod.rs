//! Carries the outbox out: starts, stops, wake-ups, checkpoints and messages to stakeholders that follow a command.
//!
//! Each item is claimed for a while, carried out under an id of its own (workflow id, update id, request id), and marked
//! done; a crash in between repeats it harmlessly. While Temporal is away items wait.

pub(crate) mod checkpoint;
pub(crate) mod event;
mod kept;
pub(crate) mod notice;
mod output;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use harmony_blueprints::{
    APPROVAL_SIGNAL, INCIDENTS_QUEUE, RUN_MEMO, RUNS_A_RESUMPTION, WAKE_SIGNAL, WAKE_UPDATE,
};
use harmony_catalog::judge::flow_of;
use harmony_eventlog::{
    Append, CandidateStatus, LogError, OutboxItem, OutboxKind, Pending, SharedLog, StreamState, Target,
};
use harmony_incidents::{
    Command, GateStatus, HasStatus, OrgId, RulesSource, RunStatus, StreamId, Subject, WorkflowId,
    command::{Attested, Context, DecisionInput, DecisionPayload},
    judge::{judge, payload},
    log::{Authority, Cause, IncidentState, StepSkipped, Text, payload::Kind},
    promotion::WORKFLOW_TYPE,
};
use harmony_telemetry::{self as telemetry, FutureExt, Parent, Span, SpanKind};
use serde_json::{Value, json};
use temporalio_client::{
    Client, UntypedSignal, UntypedUpdate, UntypedWorkflow, WorkflowCancelOptions,
    WorkflowExecuteUpdateOptions, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowSignalOptions,
    WorkflowStartOptions,
    errors::{WorkflowInteractionError, WorkflowStartError, WorkflowUpdateError},
};
use temporalio_common::{
    MemoValues,
    data_converters::RawValue,
    protos::temporal::api::common::v1::Payload,
    search_attributes::{SearchAttributeKey, SearchAttributes},
};
use tokio_util::sync::CancellationToken;

use crate::{services::Services, trace::start_span};
use checkpoint::Checkpoints;
use event::CandidateEvents;
use kept::Edited;
use notice::{NoticeOutcome, Notices};
use output::EditPace;

/// How often an idle dispatcher looks.
const IDLE: Duration = Duration::from_millis(150);
/// How long a claimed item is ours.
const LEASE: Duration = Duration::from_secs(20);
/// How long the update may take before the wake-up goes in as a signal, which lasts.
const UPDATE_PATIENCE: Duration = Duration::from_secs(5);
/// A workflow task whose worker died is given to the next after this long.
const TASK_TIMEOUT: Duration = Duration::from_secs(4);
/// Longest wait between two tries of one item.
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);
/// Memo of a run: the request that started it.
const REQUEST: &str = "harmony.request";
/// Items carried out side by side: a slow one must not hold the others up.
const BATCH: u32 = 16;

/// Where an item cannot be marked.
const UNWRITABLE: &str = "the outbox cannot be written; the item will be repeated";

/// Items that may be carried out side by side; those of a queue one after the other. What one recipient is told of one
/// incident is a queue: whoever hears that it is resolved has heard what came before. So are the changes of what an incident's
/// channel shows, and apart from them what its cells print.
fn queues(claimed: Vec<Pending>) -> Vec<Vec<Pending>> {
    let mut queues = Vec::new();
    let mut told = BTreeMap::<_, Vec<Pending>>::new();
    for item in claimed {
        match item.item.kind {
            kind @ (OutboxKind::Notice | OutboxKind::Kept | OutboxKind::Output) => {
                let to = item.item.payload["subscription"].as_str().map(str::to_owned);
                told.entry((kind.name(), item.org.clone(), item.stream.clone(), to)).or_default().push(item);
            }
            _ => queues.push(vec![item]),
        }
    }
    for mut queue in told.into_values() {
        queue.sort_by_key(|one| one.item.payload["seq"].as_u64());
        queues.push(queue);
    }
    queues
}

/// See the module.
#[derive(Clone)]
pub struct Dispatcher {
    log: SharedLog,
    client: Client,
    rules: Arc<dyn RulesSource>,
    checkpoints: Option<Arc<Checkpoints>>,
    events: Arc<CandidateEvents>,
    notices: Arc<Notices>,
    services: Arc<Services>,
    edit_pace: Arc<EditPace>,
}

/// What became of an item.
enum Carried {
    Done,
    /// Until the log knows the verdict.
    Sent,
    /// Not yet: again after a while, with the reason.
    Later(Duration, String),
}

impl From<Edited> for Carried {
    fn from(edited: Edited) -> Self {
        match edited {
            Edited::Done => Self::Done,
            Edited::Later { wait, why } => Self::Later(wait, why),
        }
    }
}

impl Dispatcher {
    /// A dispatcher on this log and this client. Checkpoints are made where there is somewhere to keep them.
    pub fn new(
        log: SharedLog,
        client: Client,
        rules: Arc<dyn RulesSource>,
        checkpoints: Option<Arc<Checkpoints>>,
        events: CandidateEvents,
        notices: Notices,
        services: Arc<Services>,
    ) -> Self {
        Self {
            log,
            client,
            rules,
            checkpoints,
            events: Arc::new(events),
            notices: Arc::new(notices),
            services,
            edit_pace: Arc::default(),
        }
    }

    /// Carries items out until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            let claimed = match self.log.claim(BATCH, LEASE).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::warn!(error = %error, "the outbox cannot be read");
                    Vec::new()
                }
            };
            let idle = claimed.is_empty();
            for queue in queues(claimed) {
                let dispatcher = self.clone();
                tasks.spawn(async move { dispatcher.handle_all(queue).await });
            }
            while tasks.try_join_next().is_some() {}
            let wait = if idle { IDLE } else { Duration::ZERO };
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        // What is under way ends or is repeated by the next dispatcher.
        let drained = async { while tasks.join_next().await.is_some() {} };
        drop(tokio::time::timeout(Duration::from_secs(2), drained).await);
    }

    /// One after the other; what follows one that has to wait waits as long.
    async fn handle_all(&self, queue: Vec<Pending>) {
        let (began, mut held) = (Instant::now(), None);
        for pending in queue {
            // What is not begun while it is ours is begun once it is so again.
            if began.elapsed() > LEASE / 2 {
                held = held.or(Some(IDLE));
            }
            match held {
                None => held = self.handle(&pending).await,
                Some(wait) => self.later(&pending, wait, "what came before it is not told yet").await,
            }
        }
    }

    /// Carries one out; how long it waits where it has to be tried again.
    async fn handle(&self, pending: &Pending) -> Option<Duration> {
        let outcome = match pending.item.kind {
            OutboxKind::Start => self.start(pending).await,
            OutboxKind::Decision => self.decide(pending).await,
            OutboxKind::Cancel => self.cancel(pending).await,
            OutboxKind::Wake => self.wake(pending).await,
            OutboxKind::Checkpoint => self.checkpoint(pending).await,
            OutboxKind::Event => self.events.carry(pending).await.map(|()| Carried::Done),
            OutboxKind::Notice => self.notices.carry(pending).await.map(|outcome| match outcome {
                NoticeOutcome::Done => Carried::Done,
                NoticeOutcome::Later { wait, why } => Carried::Later(wait, why),
            }),
            OutboxKind::Kept => self.services.keep(pending).await.map(Carried::from),
            OutboxKind::Output => {
                self.services.show_output(pending, &self.edit_pace).await.map(Carried::from)
            }
        };
        let (wait, why) = match outcome {
            Ok(Carried::Done) => {
                if let Err(error) = self.log.done(&pending.id).await {
                    tracing::warn!(error = %error, "{UNWRITABLE}");
                }
                return None;
            }
            Ok(Carried::Sent) => (UPDATE_PATIENCE, "sent, not judged yet".to_owned()),
            Ok(Carried::Later(wait, why)) => (wait, why),
            Err(error) => {
                tracing::warn!(
                    incident.id = pending.stream.as_ref().map_or("", StreamId::as_str),
                    kind = pending.item.kind.name(),
                    attempts = pending.attempts,
                    error = %format!("{error:#}"),
                    "an outbox item waits"
                );
                (backoff(pending.attempts), error.to_string())
            }
        };
        self.later(pending, wait, &why).await;
        Some(wait)
    }

    async fn later(&self, pending: &Pending, wait: Duration, why: &str) {
        if let Err(error) = self.log.later(&pending.id, wait, why).await {
            tracing::warn!(error = %error, "{UNWRITABLE}");
        }
    }

    async fn start(&self, pending: &Pending) -> anyhow::Result<Carried> {
        let Some(stream) = &pending.stream else { return self.start_promotion(pending).await };
        let given = &pending.item.payload;
        let attempt = given["attempt"].as_u64().unwrap_or(1);
        let blueprint = text(given, "workflowId")?.parse::<WorkflowId>()?.blueprint();
        let state = self.flow(&pending.org, stream).await?;
        let last = state.blueprints.iter().find(|one| one.blueprint == blueprint);
        let begun = last.map_or(0, |one| u64::from(one.attempt));
        let resumed = given["resumed"].as_u64().unwrap_or_default();
        let awaited = last.is_some_and(|one| {
            one.is(RunStatus::Resuming)
                && u64::from(one.attempt) == attempt
                && u64::from(one.resumed) == resumed
        });
        if (resumed == 0 && begun >= attempt) || (resumed > 0 && !awaited) {
            return self.refuse_second(pending, stream, &blueprint, begun).await;
        }
        let context = &given["input"]["context"];
        let mut memo = MemoValues::new();
        memo.insert("golden.context", context.clone());
        memo.insert(REQUEST, pending.item.name.clone());
        if resumed > 0 {
            memo.insert(RUN_MEMO, resumed * RUNS_A_RESUMPTION);
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
        if self.start_workflow(given, memo, attributes, summary, instead).await? {
            return Ok(Carried::Done);
        }
        self.refuse_second(pending, stream, &blueprint, begun).await
    }

    /// The blueprints of an incident, or of a service's releases.
    async fn flow(&self, org: &OrgId, stream: &StreamId) -> anyhow::Result<IncidentState> {
        Ok(match stream.subject() {
            Subject::Incident(incident) => self.log.state(org, &incident).await?.unwrap_or_default(),
            Subject::Service(_) | Subject::Environment(_) => {
                let found = self.log.catalog_state(org, stream).await?;
                found.and_then(StreamState::service).map(|service| flow_of(&service)).unwrap_or_default()
            }
        })
    }

    /// A candidate is decided about once, unless a person asks: a start that is repeated later does nothing.
    async fn start_promotion(&self, pending: &Pending) -> anyhow::Result<Carried> {
        let payload = &pending.item.payload;
        let candidate = text(&payload["input"], "candidateId")?;
        let stored = self.log.candidate(&pending.org, &candidate.parse()?).await?;
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
            | None => return Ok(Carried::Done),
        };
        let keyword = SearchAttributeKey::<String>::keyword;
        let attributes = SearchAttributes::new([
            keyword("HarmonyOrg").value_set(pending.org.to_string()),
            keyword("HarmonyBlueprint").value_set(WORKFLOW_TYPE.to_owned()),
        ]);
        let (memo, summary) = (MemoValues::new(), format!("candidate {candidate}"));
        let started =
            self.start_workflow(payload, memo, attributes, summary, WorkflowIdConflictPolicy::Fail).await?;
        // A run that is about to page may not know of it.
        anyhow::ensure!(started || !dismissed, "the run that decides about it has not ended yet");
        Ok(Carried::Done)
    }

    /// Whether it was started now; not where a workflow of this id is there already.
    async fn start_workflow(
        &self,
        payload: &Value,
        memo: MemoValues,
        attributes: SearchAttributes,
        summary: String,
        instead: WorkflowIdConflictPolicy,
    ) -> anyhow::Result<bool> {
        let options = WorkflowStartOptions::new(INCIDENTS_QUEUE, text(payload, "workflowId")?)
            .id_conflict_policy(instead)
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            .task_timeout(TASK_TIMEOUT)
            .memo(memo)
            .search_attributes(attributes)
            .static_summary(summary)
            .build();
        let workflow = UntypedWorkflow::new(text(payload, "workflowType")?);
        let span = starting(payload);
        let started = self
            .client
            .start_workflow(workflow, raw(&payload["input"]), options)
            .with_context(span.clone())
            .await;
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
        stream: &StreamId,
        blueprint: &str,
        attempt: u64,
    ) -> anyhow::Result<Carried> {
        let workflow_id = text(&pending.item.payload, "workflowId")?;
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
        let there = match handle.describe(Default::default()).await {
            Ok(described) => described.memo().get::<String>(REQUEST).ok().flatten(),
            Err(WorkflowInteractionError::NotFound(_)) => return Ok(Carried::Done),
            Err(error) => return Err(error.into()),
        };
        if there.as_ref() == Some(&pending.item.name) {
            return Ok(Carried::Done);
        }
        let wanted = pending.item.payload["attempt"].as_u64().unwrap_or(1);
        let in_the_way = there.is_none() && attempt < wanted;
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
        let initiator = pending.item.payload["input"]["context"]["initiator_id"].as_str().unwrap_or_default();
        let skipped = Kind::StepSkipped(StepSkipped {
            blueprint: blueprint.to_owned(),
            attempt: u32::try_from(attempt).unwrap_or_default(),
            step: step.to_owned(),
            reason: Text::optional(&reason),
            ..StepSkipped::default()
        });
        let command = Command::Record { payload: payload(skipped) };
        let context = Context {
            actor: initiator.to_owned(),
            authority: Authority::None,
            cause: Cause { request_id: pending.item.name.clone(), ..Cause::default() },
            occurred_at: pending.created_at,
        };
        let rules = self.rules.current();
        self.log
            .append(Append {
                org: &pending.org,
                target: Target::Named(stream.clone()),
                key: &format!("{key}/{}", pending.item.name),
                command: &command,
                context: &context,
                expected_seq: None,
                run_id: None,
                judge: &|head| judge(head, &command, &context, rules.rules()),
                follow: &|_| Vec::new(),
            })
            .await?;
        anyhow::ensure!(!in_the_way, "{reason}");
        Ok(Carried::Done)
    }

    /// A decision that an older release left here to be judged by the workflow. Today's doors append theirs.
    async fn decide(&self, pending: &Pending) -> anyhow::Result<Carried> {
        if self.log.answer(&pending.org, &format!("decision/{}", pending.item.name)).await?.is_some() {
            return Ok(Carried::Done);
        }
        let workflow_id = text(&pending.item.payload, "workflowId")?;
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(workflow_id);
        let options = WorkflowSignalOptions::builder().request_id(pending.item.name.clone()).build();
        let decision = raw(&pending.item.payload["decision"]);
        match handle.signal(UntypedSignal::new(APPROVAL_SIGNAL), decision, options).await {
            Ok(()) => Ok(Carried::Sent),
            Err(WorkflowInteractionError::NotFound(_)) => self.refuse(pending, workflow_id).await,
            Err(error) => Err(error.into()),
        }
    }

    /// The workflow has ended: what it decides about is settled, and the refusal belongs on record.
    async fn refuse(&self, pending: &Pending, workflow_id: &str) -> anyhow::Result<Carried> {
        let payload: DecisionPayload = serde_json::from_value(pending.item.payload["decision"].clone())?;
        let stream = pending.stream.as_ref().context("a decision is about a gate of a stream")?;
        let state = self.flow(&pending.org, stream).await?;
        let gate = state.gates.iter().find(|gate| Some(gate.gate_id.as_str()) == payload.gate_id.as_deref());
        anyhow::ensure!(
            gate.is_none_or(|gate| !gate.is(GateStatus::Pending)),
            "the workflow of a pending gate is not running: resume the incident"
        );
        let workflow_id: WorkflowId = workflow_id.parse()?;
        let approver = payload.approver_id.clone();
        let decided_at =
            payload.timestamp.as_deref().and_then(|text| text.parse().ok()).unwrap_or(pending.created_at);
        let input = DecisionInput {
            attempt: gate.map_or(0, |gate| gate.attempt),
            workflow_id,
            payload: Ok(payload),
            attested: Attested::Yes,
            decided_at,
            counted: false,
        };
        let command = Command::Decide { input: Box::new(input) };
        let context = Context {
            actor: approver,
            authority: Authority::None,
            cause: Cause { request_id: pending.item.name.clone(), ..Cause::default() },
            occurred_at: pending.created_at,
        };
        let rules = self.rules.current();
        let appended = self
            .log
            .append(Append {
                org: &pending.org,
                target: Target::Named(stream.clone()),
                key: &format!("decision/{}", pending.item.name),
                command: &command,
                context: &context,
                expected_seq: None,
                run_id: None,
                judge: &|head| judge(head, &command, &context, rules.rules()),
                follow: &|_| Vec::new(),
            })
            .await;
        match appended {
            // Judged before: the first verdict stands.
            Ok(_) | Err(LogError::KeyConflict { .. }) => Ok(Carried::Done),
            Err(error) => Err(error.into()),
        }
    }

    async fn cancel(&self, pending: &Pending) -> anyhow::Result<Carried> {
        let payload = &pending.item.payload;
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(text(payload, "workflowId")?);
        let options = WorkflowCancelOptions::builder()
            .reason(payload["reason"].as_str().unwrap_or_default())
            .request_id(pending.item.name.clone())
            .build();
        finished(handle.cancel(options).await)
    }

    async fn checkpoint(&self, pending: &Pending) -> anyhow::Result<Carried> {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.carry(pending).await?;
        }
        Ok(Carried::Done)
    }

    /// First as an update, which is handed over at once; then as a signal, which lasts.
    async fn wake(&self, pending: &Pending) -> anyhow::Result<Carried> {
        if pending.attempts <= 1 {
            match update(&self.client, &pending.item).await? {
                Some(Ok(()) | Err(WorkflowUpdateError::NotFound(_))) => return Ok(Carried::Done),
                Some(Err(error)) => tracing::debug!(error = %error, "the update was not taken: signalling"),
                None => {}
            }
        }
        let handle =
            self.client.get_workflow_handle::<UntypedWorkflow>(text(&pending.item.payload, "workflowId")?);
        let options = WorkflowSignalOptions::builder().request_id(pending.item.name.clone()).build();
        finished(handle.signal(UntypedSignal::new(WAKE_SIGNAL), raw(&json!({})), options).await)
    }
}

/// Sends a wake-up that stands in the outbox on at once. Should it get lost, the outbox has it; where it arrives twice
/// it is one update.
pub async fn send_ahead(client: &Client, item: &OutboxItem) {
    if let Ok(None | Some(Err(_))) | Err(_) = update(client, item).await {
        tracing::debug!(item = item.name, "not taken at once: the outbox carries it");
    }
}

/// A wake-up as an update; nothing where nobody took it in time.
async fn update(
    client: &Client,
    item: &OutboxItem,
) -> anyhow::Result<Option<Result<(), WorkflowUpdateError>>> {
    let handle = client.get_workflow_handle::<UntypedWorkflow>(text(&item.payload, "workflowId")?);
    let options = WorkflowExecuteUpdateOptions::builder().update_id(item.name.clone()).build();
    let update = handle.execute_update(UntypedUpdate::new(WAKE_UPDATE), raw(&json!({})), options);
    let answered = tokio::time::timeout(UPDATE_PATIENCE, update).await.ok();
    Ok(answered.map(|answered| answered.map(drop)))
}

/// A workflow that has ended needs no telling.
fn finished(outcome: Result<(), WorkflowInteractionError>) -> anyhow::Result<Carried> {
    match outcome {
        Ok(()) | Err(WorkflowInteractionError::NotFound(_)) => Ok(Carried::Done),
        Err(error) => Err(error.into()),
    }
}

/// The span of starting a workflow, in the incident's trace: below the request that asked for it where that is in this
/// trace, too, and linked to it otherwise.
fn starting(payload: &Value) -> telemetry::Context {
    let word = |name: &str| payload[name].as_str().unwrap_or_default();
    let (workflow_type, workflow_id) = (word("workflowType"), word("workflowId"));
    let attempt = payload["attempt"].as_u64().unwrap_or(1);
    let trace = payload["input"]["context"]["trace_id"].as_str().and_then(telemetry::trace_id);
    let Some(trace) = trace.filter(|_| telemetry::is_on()) else { return telemetry::Context::new() };
    let asked = payload["traceparent"].as_str().and_then(Parent::parse);
    let (above, beside) = match asked {
        Some(asked) if asked.trace == trace => (Some(asked.span), None),
        asked => (None, asked),
    };
    Span::new(format!("start {workflow_type}"), SpanKind::Client)
        .within(trace, above)
        .after(beside)
        .known_as(start_span(workflow_id, attempt))
        .with("temporal.workflow.id", workflow_id.to_owned())
        .with("temporal.workflow.type", workflow_type.to_owned())
        .start()
}

fn text<'a>(payload: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    payload[name].as_str().ok_or_else(|| anyhow::anyhow!("the outbox item has no {name}"))
}

/// One JSON argument, as the command line would send it.
fn raw(value: &Value) -> RawValue {
    let mut payload = Payload { data: value.to_string().into_bytes(), ..Payload::default() };
    payload.metadata.insert("encoding".to_owned(), b"json/plain".to_vec());
    RawValue { payloads: vec![payload] }
}

pub(crate) fn backoff(attempts: u32) -> Duration {
    (Duration::from_millis(250) * 2_u32.saturating_pow(attempts.min(10))).min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pending(kind: OutboxKind, stream: &str, seq: u64, to: Option<&str>) -> Pending {
        Pending {
            id: harmony_eventlog::OutboxId(format!("{stream}/{seq}")),
            org: OrgId::default(),
            stream: Some(stream.parse().unwrap()),
            item: OutboxItem {
                kind,
                name: seq.to_string(),
                payload: json!({ "seq": seq, "subscription": to }),
            },
            attempts: 1,
            created_at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_one_recipient_is_told_of_one_incident_is_told_in_its_order_and_nothing_else_waits() {
        const ONE: &str = "INC-2026-0001";
        let queues = queues(vec![
            pending(OutboxKind::Notice, ONE, 9, Some("jo")),
            pending(OutboxKind::Start, ONE, 1, None),
            pending(OutboxKind::Notice, ONE, 4, Some("jo")),
            pending(OutboxKind::Notice, ONE, 4, Some("al")),
            pending(OutboxKind::Notice, "INC-2026-0002", 3, Some("jo")),
            pending(OutboxKind::Start, ONE, 2, None),
        ]);
        let mut seqs: Vec<Vec<u64>> = queues
            .iter()
            .map(|queue| queue.iter().map(|one| one.item.payload["seq"].as_u64().unwrap()).collect())
            .collect();
        seqs.sort();
        assert_eq!(seqs, [vec![1], vec![2], vec![3], vec![4], vec![4, 9]]);
    }
}

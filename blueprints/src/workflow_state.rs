//! What every blueprint's workflow holds in memory: decisions that came in, the gate, and what queries answer.
//!
//! Handlers only enqueue here; `decision_inbox` judges in order for the whole run, so that early, late and
//! malformed ones are answered too and nothing wedges the workflow.

use std::collections::{BTreeMap, VecDeque};

use harmony_incidents::{
    GateStatus, StepStatus,
    command::{GateView, Settled, Verdict},
    judge::INPUT_LIMIT_BYTES,
    log::{Phase, Severity, State},
    words,
};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use temporalio_workflow::{
    ContinueAsNewOptions, WorkflowContext, WorkflowTermination,
    common::{
        MemoValues,
        data_converters::{
            GenericPayloadConverter, PayloadConverter, RawValue, SerializationContext,
            SerializationContextData, WorkflowSerializationContext,
        },
    },
};

use crate::{
    RUN_MEMO,
    background::Background,
    contracts::{Scope, StepReply},
    messages::{ApprovalState, Lifecycle, StepView, severity_word},
};

/// Lines of a gate's history that a query shows: the first, and the latest.
const HISTORY_LINES: usize = 100;
/// Memo of every run; it is not inherited where another is set.
const GOLDEN_CONTEXT: &str = "golden.context";

/// A decision that came in and was not judged yet.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) id: u64,
    pub(crate) payload: Result<serde_json::Value, String>,
    pub(crate) sha256: String,
    pub(crate) occurrence: u32,
    pub(crate) signal: bool,
}

/// The gate of this run that is, or was last, open.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) view: GateView,
    pub(crate) settled: Option<Settled>,
    pub(crate) channel: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) history: Vec<String>,
}

impl Gate {
    /// Adds a line to what a query shows.
    pub(crate) fn note(&mut self, line: String) {
        if self.history.len() >= HISTORY_LINES {
            self.history.remove(1);
        }
        self.history.push(line);
    }

    /// What a verdict means for it.
    pub(crate) fn take(&mut self, verdict: &Verdict, at: Timestamp) {
        let ours = verdict.gate_id.as_deref() == Some(self.view.gate_id.as_str());
        if let Some(settled) = verdict.settled.as_ref().filter(|_| ours && self.settled.is_none()) {
            self.note(format!("{at} {} by {}", settled.status, settled.by));
            self.settled = Some(settled.clone());
        } else if let Some(because) = &verdict.refused_because {
            self.note(format!("{at} refused: {because}"));
        } else if ours && verdict.accepted {
            let last = verdict.approvals.last().map(String::as_str).unwrap_or_default();
            let given = verdict.approvals.len();
            self.note(format!("{at} approved by {last}: {given} of {}", self.view.quorum));
            self.view.approvals.clone_from(&verdict.approvals);
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct WorkflowState {
    pub(crate) inbox: VecDeque<Arrival>,
    pub(crate) verdicts: BTreeMap<u64, Verdict>,
    pub(crate) gate: Option<Gate>,
    /// What was decided about a gate that is in the log and not here yet, by gate.
    early: BTreeMap<String, (Timestamp, Verdict)>,
    pub(crate) scope: Option<Scope>,
    /// Counts wake-ups, so that a waiting gate sees that one came.
    pub(crate) wakes: u32,
    /// Refusals that are on record only as a count, and not counted there yet: by minute and gate.
    pub(crate) floods: BTreeMap<(Timestamp, String), u32>,
    /// How many such counts this run has put on record.
    pub(crate) counts: u32,
    /// The run is about to end: what is to be counted is counted now.
    pub(crate) closing: bool,
    /// The flow has left its gate as it is, to go on as a new run.
    pub(crate) left: bool,
    /// Which run of its attempt this is: continued as a new one, or resumed. Stands in the keys of decisions.
    pub(crate) continued: u32,
    /// What goes on beside the flow.
    pub(crate) background: Background,
    steps: Vec<StepView>,
    state: State,
    phase: Phase,
    severity: Severity,
    arrivals: u64,
    occurrences: BTreeMap<String, u32>,
}

/// What a workflow is so that the shared code can work on it.
pub(crate) trait Blueprint: Sized + 'static {
    fn own(&self) -> &WorkflowState;
    fn own_mut(&mut self) -> &mut WorkflowState;
    /// Ends this run so that it goes on as a new one.
    fn go_on(ctx: &WorkflowContext<Self>, input: RawValue) -> WorkflowTermination;
}

impl WorkflowState {
    /// Takes a decision in, whatever it is.
    pub(crate) fn enqueue(&mut self, converter: &PayloadConverter, raw: &RawValue, signal: bool) -> u64 {
        self.arrivals += 1;
        let mut hasher = Sha256::new();
        for payload in &raw.payloads {
            hasher.update(&payload.data);
        }
        let sha256 = hex::encode(hasher.finalize());
        let occurrence = self.occurrences.entry(sha256.clone()).or_default();
        *occurrence += 1;
        self.inbox.push_back(Arrival {
            id: self.arrivals,
            payload: decode(converter, raw),
            sha256,
            occurrence: *occurrence,
            signal,
        });
        self.arrivals
    }

    /// Puts a gate here, with what was decided about it before.
    pub(crate) fn open(&mut self, mut gate: Gate) {
        if let Some((at, verdict)) = self.early.remove(&gate.view.gate_id) {
            gate.take(&verdict, at);
        }
        self.gate = Some(gate);
    }

    /// Takes a verdict: for the gate that is here, or for one that is being opened. A task that is run again judges
    /// beside the opening what came since, and the log knows the gate from the task that was lost.
    pub(crate) fn take(&mut self, verdict: &Verdict, at: Timestamp) {
        let ours = |gate: &Gate| verdict.gate_id.as_deref() == Some(gate.view.gate_id.as_str());
        let counts = verdict.accepted || verdict.settled.is_some();
        if let Some(gate_id) =
            verdict.gate_id.as_ref().filter(|_| counts && !self.gate.as_ref().is_some_and(ours))
        {
            self.early.insert(gate_id.clone(), (at, verdict.clone()));
        }
        if let Some(gate) = &mut self.gate {
            gate.take(verdict, at);
        }
    }

    /// Takes over from the log who has approved so far.
    pub(crate) fn tally(&mut self, approvals: &[String], at: Timestamp) {
        let Some(gate) = self.gate.as_mut().filter(|gate| gate.view.approvals != approvals) else { return };
        if let Some(last) = approvals.last().filter(|_| approvals.len() > gate.view.approvals.len()) {
            gate.note(format!("{at} approved by {last}: {} of {}", approvals.len(), gate.view.quorum));
        }
        gate.view.approvals = approvals.to_vec();
    }

    /// Whether the gate that was last open is settled.
    pub(crate) fn is_settled(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| gate.settled.is_some())
    }

    /// Whether everything that came in is judged and on record.
    pub(crate) fn is_answered(&self) -> bool {
        self.inbox.is_empty() && self.floods.is_empty()
    }

    /// Whether, besides, no step is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_answered()
            && self.background.is_idle()
            && !self.steps.iter().any(|step| step.status == StepStatus::Running)
    }

    /// Remembers where the incident stands, for queries.
    pub(crate) fn see(&mut self, state: State, phase: Phase, severity: Severity) {
        (self.state, self.phase, self.severity) = (state, phase, severity);
    }

    pub(crate) fn step_began(&mut self, name: &str, capability: &str) {
        self.set_step(StepView {
            name: name.to_owned(),
            capability: capability.to_owned(),
            status: StepStatus::Running,
            external_ref: None,
            error: None,
        });
    }

    pub(crate) fn step_ended(&mut self, name: &str, capability: &str, outcome: Result<&StepReply, &str>) {
        let (status, external_ref, error) = match outcome {
            Ok(reply) => match &reply.skipped {
                Some(reason) => (StepStatus::Skipped, None, Some(reason.clone())),
                None => {
                    let reference = Some(reply.external_ref.clone()).filter(|text| !text.is_empty());
                    (StepStatus::Succeeded, reference, None)
                }
            },
            Err(error) => (StepStatus::Failed, None, Some(error.to_owned())),
        };
        self.set_step(StepView {
            name: name.to_owned(),
            capability: capability.to_owned(),
            status,
            external_ref,
            error,
        });
    }

    /// What became of this run's steps, in the order they began.
    pub(crate) fn steps(&self) -> Vec<StepView> {
        self.steps.clone()
    }

    /// Nobody waits for this step any more. What is under way records itself.
    pub(crate) fn step_given_up(&mut self, name: &str) {
        if let Some(step) = self.steps.iter_mut().find(|step| step.name == name) {
            step.status = StepStatus::Skipped;
            step.error = Some("not needed any more".to_owned());
        }
    }

    fn set_step(&mut self, step: StepView) {
        match self.steps.iter_mut().find(|one| one.name == step.name) {
            Some(known) => *known = step,
            None => self.steps.push(step),
        }
    }

    /// Answer to the query `approvalState`.
    pub(crate) fn approval_state(&self, workflow_id: &str) -> ApprovalState {
        let Some(gate) = &self.gate else {
            return ApprovalState {
                status: GateStatus::None,
                workflow_id: workflow_id.to_owned(),
                gate: None,
                timeout: None,
                slack_channel: None,
                slack_message_ts: None,
                decision: None,
                history: Vec::new(),
            };
        };
        let status = match &gate.settled {
            Some(settled) => settled.status,
            None if gate.view.level > 1 => GateStatus::Escalated,
            None => GateStatus::Pending,
        };
        ApprovalState {
            status,
            workflow_id: workflow_id.to_owned(),
            timeout: Some(format!("{:#}", SignedDuration::from_millis(gate.view.timeout_ms))),
            gate: Some((&gate.view).into()),
            slack_channel: gate.channel.clone(),
            slack_message_ts: gate.message.clone(),
            decision: gate.settled.clone(),
            history: gate.history.clone(),
        }
    }

    /// Answer to the query `lifecycle`.
    pub(crate) fn lifecycle(&self, workflow_id: &str) -> Lifecycle {
        Lifecycle {
            incident_id: self.scope.as_ref().map(|scope| scope.stream.to_string()).unwrap_or_default(),
            severity: severity_word(self.severity).to_owned(),
            phase: words::phase_name(self.phase).to_owned(),
            state: self.state.as_str_name().to_owned(),
            steps: self.steps.clone(),
            approval: self.approval_state(workflow_id),
        }
    }
}

/// The one JSON value of a payload, or why there is none. Never fails a workflow task.
pub(crate) fn decode(converter: &PayloadConverter, raw: &RawValue) -> Result<serde_json::Value, String> {
    let [payload] = raw.payloads.as_slice() else {
        return Err(format!("one argument expected, not {}", raw.payloads.len()));
    };
    if payload.data.len() > INPUT_LIMIT_BYTES {
        return Err(format!("more than {} KiB", INPUT_LIMIT_BYTES / 1024));
    }
    let data = SerializationContextData::Workflow(WorkflowSerializationContext::new());
    converter
        .from_payload(&SerializationContext::new(&data, converter), payload.clone())
        .map_err(|_| "not JSON".to_owned())
}

/// Which run of its attempt this is, counted by continuations.
pub(crate) fn continued<W>(ctx: &WorkflowContext<W>) -> u32 {
    // A memo that somebody else wrote is none.
    ctx.memo().get::<u32>(RUN_MEMO).ok().flatten().unwrap_or_default()
}

/// What a continued run is given beside its input.
pub(crate) fn continuation<W>(ctx: &WorkflowContext<W>) -> ContinueAsNewOptions {
    let mut memo = MemoValues::new();
    if let Ok(Some(context)) = ctx.memo().get::<serde_json::Value>(GOLDEN_CONTEXT) {
        memo.insert(GOLDEN_CONTEXT, context);
    }
    memo.insert(RUN_MEMO, continued(ctx).saturating_add(1));
    ContinueAsNewOptions::builder().memo(memo).build()
}

/// Declares a blueprint's workflow: its state and its handlers, the same for all.
macro_rules! blueprint {
    ($(#[$doc:meta])* $workflow:ident, $name:literal, $flow:path) => {
        $(#[$doc])*
        #[temporalio_workflow::workflow]
        #[derive(Default)]
        pub struct $workflow {
            own: crate::workflow_state::WorkflowState,
        }

        impl crate::workflow_state::Blueprint for $workflow {
            fn own(&self) -> &crate::workflow_state::WorkflowState {
                &self.own
            }
            fn own_mut(&mut self) -> &mut crate::workflow_state::WorkflowState {
                &mut self.own
            }
            fn go_on(
                ctx: &temporalio_workflow::WorkflowContext<Self>,
                input: temporalio_workflow::common::data_converters::RawValue,
            ) -> temporalio_workflow::WorkflowTermination {
                match ctx.continue_as_new(input, crate::workflow_state::continuation(ctx)) {
                    Err(termination) => termination,
                    Ok(never) => match never {},
                }
            }
        }

        #[temporalio_workflow::workflow_methods]
        impl $workflow {
            /// See the module.
            #[run(name = $name)]
            pub async fn run(
                ctx: &mut temporalio_workflow::WorkflowContext<Self>,
                input: temporalio_workflow::common::data_converters::RawValue,
            ) -> temporalio_workflow::WorkflowResult<serde_json::Value> {
                let ctx: &temporalio_workflow::WorkflowContext<Self> = ctx;
                let again = input.clone();
                crate::decision_inbox::with_decisions(ctx, again, $flow(ctx, input)).await
            }

            /// A decision. Refused ones change nothing.
            #[signal(name = "approval")]
            pub fn approval(
                &mut self,
                ctx: &mut temporalio_workflow::SyncWorkflowContext<Self>,
                raw: temporalio_workflow::common::data_converters::RawValue,
            ) {
                self.own.enqueue(ctx.payload_converter(), &raw, true);
            }

            /// A decision, answered.
            #[update(name = "decide")]
            pub async fn decide(
                ctx: &mut temporalio_workflow::WorkflowContext<Self>,
                raw: temporalio_workflow::common::data_converters::RawValue,
            ) -> Result<harmony_incidents::command::Verdict, Box<dyn std::error::Error + Send + Sync>> {
                crate::decision_inbox::decide(ctx, &raw).await
            }

            /// The gate was settled from outside: look.
            #[signal(name = "wake")]
            pub fn wake(
                &mut self,
                _ctx: &mut temporalio_workflow::SyncWorkflowContext<Self>,
                _raw: temporalio_workflow::common::data_converters::RawValue,
            ) {
                self.own.wakes += 1;
            }

            /// The same: Temporal hands an update over at once.
            #[update(name = "wake")]
            pub fn wake_at_once(
                &mut self,
                _ctx: &mut temporalio_workflow::SyncWorkflowContext<Self>,
                _raw: temporalio_workflow::common::data_converters::RawValue,
            ) {
                self.own.wakes += 1;
            }

            /// The gate.
            #[query(name = "approvalState")]
            pub fn approval_state(
                &self,
                ctx: &temporalio_workflow::WorkflowContextView,
            ) -> crate::messages::ApprovalState {
                self.own.approval_state(ctx.workflow_id())
            }

            /// The incident and this run's steps.
            #[query(name = "lifecycle")]
            pub fn lifecycle(
                &self,
                ctx: &temporalio_workflow::WorkflowContextView,
            ) -> crate::messages::Lifecycle {
                self.own.lifecycle(ctx.workflow_id())
            }
        }
    };
}
pub(crate) use blueprint;

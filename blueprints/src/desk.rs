//! What every blueprint's workflow holds in memory: decisions that came in, the gate, and what queries answer.
//!
//! Handlers only enqueue here; the doorkeeper (`gate`) judges in order for the whole run, so that early, late and
//! malformed ones are answered too and nothing wedges the workflow.

use std::collections::{BTreeMap, VecDeque};

use harmony_incidents::{
    command::{GateView, Settled, Verdict},
    log::{Phase, Severity, State},
    words,
};
use jiff::SignedDuration;
use sha2::{Digest, Sha256};
use temporalio_workflow::common::data_converters::{
    GenericPayloadConverter, PayloadConverter, RawValue, SerializationContext, SerializationContextData,
    WorkflowSerializationContext,
};

use crate::{
    contracts::{Scope, StepReply},
    messages::{ApprovalState, Lifecycle, StepView, severity_word},
};

/// Largest decision payload that is read: a reason and ids fit in far less.
const PAYLOAD_LIMIT_BYTES: usize = 64 * 1024;

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

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub(crate) inbox: VecDeque<Arrival>,
    pub(crate) verdicts: BTreeMap<u64, Verdict>,
    pub(crate) gate: Option<Gate>,
    pub(crate) scope: Option<Scope>,
    /// Counts wake-ups, so that a waiting gate sees that one came.
    pub(crate) wakes: u32,
    steps: Vec<StepView>,
    state: State,
    phase: Phase,
    severity: Severity,
    arrivals: u64,
    occurrences: BTreeMap<String, u32>,
}

/// What a workflow is so that the shared code can work on it.
pub(crate) trait Blueprint: Sized + 'static {
    fn desk(&self) -> &Desk;
    fn desk_mut(&mut self) -> &mut Desk;
}

impl Desk {
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

    /// Remembers where the incident stands, for queries.
    pub(crate) fn see(&mut self, state: State, phase: Phase, severity: Severity) {
        (self.state, self.phase, self.severity) = (state, phase, severity);
    }

    pub(crate) fn step_began(&mut self, name: &str, capability: &str) {
        self.set_step(StepView {
            name: name.to_owned(),
            capability: capability.to_owned(),
            status: "RUNNING".to_owned(),
            external_ref: None,
            error: None,
        });
    }

    pub(crate) fn step_ended(&mut self, name: &str, capability: &str, outcome: Result<&StepReply, &str>) {
        let (status, external_ref, error) = match outcome {
            Ok(reply) => match &reply.skipped {
                Some(reason) => ("SKIPPED", None, Some(reason.clone())),
                None => {
                    let reference = Some(reply.external_ref.clone()).filter(|text| !text.is_empty());
                    ("SUCCEEDED", reference, None)
                }
            },
            Err(error) => ("FAILED", None, Some(error.to_owned())),
        };
        self.set_step(StepView {
            name: name.to_owned(),
            capability: capability.to_owned(),
            status: status.to_owned(),
            external_ref,
            error,
        });
    }

    /// What became of this run's steps, in the order they began.
    pub(crate) fn steps(&self) -> Vec<StepView> {
        self.steps.clone()
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
                status: "none".to_owned(),
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
            Some(settled) => settled.status.as_str(),
            None if gate.view.level > 1 => "escalated",
            None => "pending",
        };
        ApprovalState {
            status: status.to_owned(),
            workflow_id: workflow_id.to_owned(),
            timeout: Some(format!("{:#}", SignedDuration::from_millis(gate.view.timeout_ms))),
            gate: Some(gate.view.clone()),
            slack_channel: gate.channel.clone(),
            slack_message_ts: gate.message.clone(),
            decision: gate.settled.clone(),
            history: gate.history.clone(),
        }
    }

    /// Answer to the query `lifecycle`.
    pub(crate) fn lifecycle(&self, workflow_id: &str) -> Lifecycle {
        Lifecycle {
            incident_id: self.scope.as_ref().map(|scope| scope.incident.to_string()).unwrap_or_default(),
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
    if payload.data.len() > PAYLOAD_LIMIT_BYTES {
        return Err(format!("more than {} KiB", PAYLOAD_LIMIT_BYTES / 1024));
    }
    let data = SerializationContextData::Workflow(WorkflowSerializationContext::new());
    converter
        .from_payload(&SerializationContext::new(&data, converter), payload.clone())
        .map_err(|_| "not JSON".to_owned())
}

/// Declares a blueprint's workflow: its state and its handlers, the same for all.
macro_rules! blueprint {
    ($(#[$doc:meta])* $workflow:ident, $name:literal, $flow:path) => {
        $(#[$doc])*
        #[temporalio_workflow::workflow]
        #[derive(Default)]
        pub struct $workflow {
            desk: crate::desk::Desk,
        }

        impl crate::desk::Blueprint for $workflow {
            fn desk(&self) -> &crate::desk::Desk {
                &self.desk
            }
            fn desk_mut(&mut self) -> &mut crate::desk::Desk {
                &mut self.desk
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
                crate::gate::with_doorkeeper(ctx, $flow(ctx, input)).await
            }

            /// A decision. Refused ones change nothing.
            #[signal(name = "approval")]
            pub fn approval(
                &mut self,
                ctx: &mut temporalio_workflow::SyncWorkflowContext<Self>,
                raw: temporalio_workflow::common::data_converters::RawValue,
            ) {
                self.desk.enqueue(ctx.payload_converter(), &raw, true);
            }

            /// A decision, answered.
            #[update(name = "decide")]
            pub async fn decide(
                ctx: &mut temporalio_workflow::WorkflowContext<Self>,
                raw: temporalio_workflow::common::data_converters::RawValue,
            ) -> Result<harmony_incidents::command::Verdict, Box<dyn std::error::Error + Send + Sync>> {
                crate::gate::decide(ctx, &raw).await
            }

            /// The gate was settled from outside: look.
            #[signal(name = "wake")]
            pub fn wake(
                &mut self,
                _ctx: &mut temporalio_workflow::SyncWorkflowContext<Self>,
                _raw: temporalio_workflow::common::data_converters::RawValue,
            ) {
                self.desk.wakes += 1;
            }

            /// The gate.
            #[query(name = "approvalState")]
            pub fn approval_state(
                &self,
                ctx: &temporalio_workflow::WorkflowContextView,
            ) -> crate::messages::ApprovalState {
                self.desk.approval_state(ctx.workflow_id())
            }

            /// The incident and this run's steps.
            #[query(name = "lifecycle")]
            pub fn lifecycle(
                &self,
                ctx: &temporalio_workflow::WorkflowContextView,
            ) -> crate::messages::Lifecycle {
                self.desk.lifecycle(ctx.workflow_id())
            }
        }
    };
}
pub(crate) use blueprint;

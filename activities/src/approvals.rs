//! Judging decisions that were sent past our doors: parsing what came, checking its attestation, dating it, and asking
//! the log for the verdict. What a door decided is in the log already: here a run looks how its gate stands.

use std::collections::BTreeMap;

use harmony_blueprints::contracts::{JudgeRequest, LookReply, LookRequest, PendingGate, Scope, SettledGate};
use harmony_eventlog::LogError;
use harmony_incidents::{
    Command, GateId, GateStatus, HasStatus, StepStatus,
    approvals::{settled_as, view},
    command::{Attested, DecisionInput, DecisionPayload, Settled, Verdict},
    log::{GateState, IncidentState, payload::Kind},
    record::occurred_at,
};
use jiff::{SignedDuration, Timestamp};
use temporalio_client::UntypedWorkflow;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::{failure, journal::verdict_of, services::Services, trace};

/// How far ahead of this machine's clock a door's may be.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);
/// Records that are read at once for the one that settled a gate.
const RECORDS: u32 = 100;

/// The record that settled a gate.
struct Settlement {
    reason: Option<String>,
    at: Timestamp,
    /// Empty where a door decided, or where the incident moved on.
    workflow_id: String,
}

impl Services {
    pub(crate) async fn judge_decision(
        &self,
        ctx: &ActivityContext,
        request: JudgeRequest,
    ) -> Result<Verdict, ActivityError> {
        let JudgeRequest { scope, payload, payload_sha256, occurrence, signal, continued } = request;
        let payload = payload.and_then(parse);
        let attested = payload.as_ref().map_or(Attested::No, |payload| {
            self.attestation.judge(scope.org.as_str(), scope.workflow_id.as_str(), payload)
        });
        let decided_at = self.decided_at(ctx, &scope, payload.as_ref().ok(), attested, signal).await?;
        let decision_id = payload.as_ref().ok().and_then(|payload| payload.decision_id.clone());
        let gate_id = payload.as_ref().ok().and_then(|payload| payload.gate_id.clone());
        // What a door decided is one decision however often it is delivered.
        let key = match decision_id.filter(|_| attested == Attested::Yes) {
            Some(id) => format!("decision/{id}"),
            None => {
                let run = format!("{}#{}", scope.workflow_id, scope.attempt);
                // A run that was continued counts these bytes anew.
                let before = if continued == 0 { String::new() } else { format!("{continued}/") };
                format!("{run}/decision/{payload_sha256}/{before}{occurrence}")
            }
        };
        let input = DecisionInput {
            workflow_id: scope.workflow_id.clone(),
            attempt: scope.attempt,
            payload,
            attested,
            decided_at,
            counted: true,
        };
        let command = Command::Decide { input: Box::new(input) };
        match self.append(&scope, &key, &command, Some(&scope.run_id)).await {
            Ok(appended) => Ok(verdict_of(appended.answer, gate_id)),
            Err(LogError::KeyConflict { fields }) => self.judged_before(&scope, &key, &fields, gate_id).await,
            Err(error) => Err(failure::log(&error)),
        }
    }

    /// A decision whose id was judged before: delivered to another attempt it gets its first verdict again, and another
    /// decision under its id is refused. Neither is worth a failure, which would end the run.
    async fn judged_before(
        &self,
        scope: &Scope,
        key: &str,
        differing: &[String],
        gate_id: Option<String>,
    ) -> Result<Verdict, ActivityError> {
        let is_delivery = |field: &String| field == "input.workflowId" || field == "input.attempt";
        if differing.iter().all(is_delivery) {
            let first = self.log.answer(&scope.org, key).await.map_err(|error| failure::log(&error))?;
            if let Some(answer) = first {
                return Ok(verdict_of(answer, gate_id));
            }
        }
        Ok(Verdict {
            accepted: false,
            status: GateStatus::None,
            refused_because: Some(format!(
                "duplicate: this decisionId was used for another decision, which differs in {}",
                differing.join(", ")
            )),
            gate_id,
            settled: None,
            approvals: Vec::new(),
            counted_from: None,
        })
    }

    /// When it was decided: the attested time; else when it reached Temporal, which only matters once the deadline
    /// has passed on this side.
    async fn decided_at(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        payload: Option<&DecisionPayload>,
        attested: Attested,
        signal: bool,
    ) -> Result<Timestamp, ActivityError> {
        let now = scope.occurred_at;
        if attested == Attested::Yes {
            let claimed =
                payload.and_then(|payload| payload.timestamp.as_deref()).and_then(|text| text.parse().ok());
            return Ok(claimed.filter(|claimed: &Timestamp| *claimed <= now + CLOCK_SKEW).unwrap_or(now));
        }
        let state = self.state(scope).await?;
        let late = state.gates.iter().any(|gate| {
            gate.workflow_id == scope.workflow_id.as_str()
                && gate.is(GateStatus::Pending)
                && now.as_microsecond() > gate.due_us
        });
        if !(late && signal) {
            return Ok(now);
        }
        let arrived = last_signal(ctx).await?;
        Ok(arrived.map_or(now, |arrived| arrived.min(now)))
    }

    pub(crate) async fn look(&self, request: &LookRequest) -> Result<LookReply, ActivityError> {
        let state = self.state(&request.scope).await?;
        let gate = state.gates.iter().find(|gate| gate.gate_id == request.gate_id);
        let steps = gate.map(|gate| steps_of(&state, gate)).unwrap_or_default();
        let settled = match gate {
            Some(gate) if gate.is(GateStatus::Pending) => {
                return Ok(LookReply::Pending(Box::new(PendingGate { gate: view(gate), steps })));
            }
            Some(gate) => {
                let found = self.settlement(&request.scope, gate).await?;
                if let Some(found) = found.as_ref().filter(|found| found.workflow_id != gate.workflow_id) {
                    trace::tell_wait(&state, gate, found.at);
                }
                Settled { reason: found.and_then(|found| found.reason), ..settled_as(gate) }
            }
            None => Settled {
                status: GateStatus::Cancelled,
                by: String::new(),
                reason: Some("the gate is not known".to_owned()),
                break_glass: false,
            },
        };
        Ok(LookReply::Settled(Box::new(SettledGate { settled, steps })))
    }

    /// How a gate was settled, with the reason that the folded state leaves out.
    pub(crate) async fn with_reason(
        &self,
        scope: &Scope,
        gate_id: &str,
        settled: Settled,
    ) -> Result<Settled, ActivityError> {
        if settled.reason.is_some() {
            return Ok(settled);
        }
        let state = self.state(scope).await?;
        let Some(gate) = state.gates.iter().find(|gate| gate.gate_id == gate_id) else { return Ok(settled) };
        let found = self.settlement(scope, gate).await?;
        Ok(Settled { reason: found.and_then(|found| found.reason), ..settled })
    }

    /// The record that settled a gate, if one did.
    async fn settlement(&self, scope: &Scope, gate: &GateState) -> Result<Option<Settlement>, ActivityError> {
        let mut after = gate.requested_seq;
        loop {
            let records = self
                .log
                .records(&scope.org, &scope.stream, after, RECORDS)
                .await
                .map_err(|error| failure::log(&error))?;
            let Some(last) = records.last() else { return Ok(None) };
            after = last.record.seq;
            let settles = |kind: &Kind| match kind {
                Kind::ApprovalDecided(decided) => {
                    decided.gate_id == gate.gate_id
                        && (!decided.approved || decided.approvals >= decided.quorum)
                }
                Kind::ApprovalCancelled(cancelled) => cancelled.gate_id == gate.gate_id,
                Kind::ApprovalTimedOut(over) => over.gate_id == gate.gate_id && gate.is(GateStatus::Timeout),
                _ => false,
            };
            let found = records.iter().rev().find_map(|entry| {
                let kind = entry.record.payload.as_ref()?.kind.as_ref()?;
                settles(kind).then_some((entry, kind))
            });
            let Some((entry, kind)) = found else { continue };
            let reason = match kind {
                Kind::ApprovalDecided(decided) => {
                    let given = decided.reason.as_ref().or(decided.justification.as_ref());
                    given.map(|text| text.shown().to_owned())
                }
                Kind::ApprovalCancelled(cancelled) => {
                    cancelled.reason.as_ref().map(|text| text.shown().to_owned())
                }
                _ => Some(format!("nobody decided within level {}", gate.level)),
            };
            let cause = entry.record.cause.clone().unwrap_or_default();
            let at = occurred_at(&entry.record);
            return Ok(Some(Settlement { reason, at, workflow_id: cause.workflow_id }));
        }
    }
}

/// The steps that succeeded beside a gate.
fn steps_of(state: &IncidentState, gate: &GateState) -> BTreeMap<String, String> {
    let id = gate.gate_id.parse::<GateId>().ok();
    let prefix =
        id.as_ref().and_then(GateId::parts).map(|(_, _, step)| format!("{step}/")).unwrap_or_default();
    let run = state
        .blueprints
        .iter()
        .find(|one| one.workflow_id == gate.workflow_id && one.attempt == gate.attempt);
    let steps = run.map(|run| run.steps.as_slice()).unwrap_or_default();
    steps
        .iter()
        .filter(|one| one.is(StepStatus::Succeeded) && one.step.starts_with(&prefix))
        .map(|one| (one.step.clone(), one.external_ref.clone()))
        .collect()
}

/// A decision is an object: an array would be taken for one by position.
fn parse(value: serde_json::Value) -> Result<DecisionPayload, String> {
    if !value.is_object() {
        return Err("expected one JSON object".to_owned());
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// When the last decision signal reached Temporal. Every unjudged one arrived no later, so none gains time by it.
async fn last_signal(ctx: &ActivityContext) -> Result<Option<Timestamp>, ActivityError> {
    let Some(handle) = ctx.workflow_handle::<UntypedWorkflow>() else { return Ok(None) };
    let events = handle
        .fetch_history(Default::default())
        .into_events()
        .await
        .map_err(|error| failure::again("History", error.to_string(), None))?;
    Ok(events
        .iter()
        .rev()
        .find(|event| {
            matches!(&event.attributes, Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal))
                if signal.signal_name == harmony_blueprints::APPROVAL_SIGNAL)
        })
        .and_then(|event| event.event_time.as_ref())
        .and_then(|time| Timestamp::new(time.seconds, time.nanos).ok()))
}

//! Starting a blueprint: one attested outbox item, written in the transaction that takes the request.
//!
//! The workflow asks the log again whether it may; asking here first tells the caller at once. What the start's
//! attestation covers is the whole input, so that nobody between here and the workflow can change it.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use harmony_blueprints::{
    messages::{Act, GoldenContext},
    starts::{self, attested},
};
use harmony_eventlog::OutboxItem;
use harmony_incidents::{
    Answer, Command, Context, GateId, HasStatus, Head, IncidentId, Judged, Refusal, Rules, RunStatus,
    WorkflowId, WorkflowType, approvals,
    follow_up::{self, Cancel, FollowUp},
    ids::IdError,
    judge,
    log::{Authority, BlueprintState, IncidentCreated, IncidentState, State},
    policy::GateKind,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    App,
    call::Call,
    error::ApiError,
    submit::{self, remember},
};

/// A blueprint that somebody wants to start.
pub(crate) struct Start {
    pub(crate) kind: WorkflowType,
    /// Where it wants to take the incident, for a close-out.
    pub(crate) target: Option<State>,
    /// Its own fields of the input.
    pub(crate) own: Value,
}

/// Judges a start against the present state and writes it into the outbox. Answers 202.
pub(crate) async fn start(
    call: &Call,
    incident: &IncidentId,
    state: &IncidentState,
    start: Start,
) -> Result<Response, ApiError> {
    call.caller.require_listed()?;
    let context = call.context(Some(state));
    let request = json!({ "start": start.kind.name(), "input": start.own });
    let prepared = Prepared::new(call, incident, state, start, &context);
    let answer = remember(call, incident, &request, &context, &|head| {
        prepared.judge(head).map(|(answer, item)| (answer, item.into_iter().collect()))
    })
    .await?;
    Ok(prepared.started(&answer))
}

/// A start with its attested input, ready to be judged inside a transaction.
pub(crate) struct Prepared<'a> {
    call: &'a Call,
    state: &'a IncidentState,
    context: &'a Context,
    kind: WorkflowType,
    target: Option<State>,
    workflow_id: WorkflowId,
    input: Value,
}

impl<'a> Prepared<'a> {
    pub(crate) fn new(
        call: &'a Call,
        incident: &IncidentId,
        state: &'a IncidentState,
        start: Start,
        context: &'a Context,
    ) -> Self {
        let org = &call.caller.org;
        let workflow_id = WorkflowId::new(start.kind, org, incident);
        let principal = &call.caller.principal.id;
        let input = attested(
            &call.app.doors.attestation,
            org,
            workflow_id.as_str(),
            principal,
            context.occurred_at,
            with_context(start.own, &starts::context_of(state, principal)),
        );
        Self { call, state, context, kind: start.kind, target: start.target, workflow_id, input }
    }

    /// Whether it is legal now, and the item that starts it.
    pub(crate) fn judge(&self, head: Head<'_>) -> Result<(Answer, Option<OutboxItem>), Refusal> {
        let rules = self.call.caller.rules();
        let answer = may_start(head, &self.workflow_id, self.kind, self.target, self.context, rules)?;
        let item = match answer {
            Answer::Started { attempt, .. } => {
                Some(item(&self.workflow_id, self.kind, attempt, &self.call.request.id, self.input.clone()))
            }
            _ => None,
        };
        Ok((answer, item))
    }

    /// 202: the workflow, and the gate that a close-out will wait at where the policy asks for one.
    pub(crate) fn started(&self, answer: &Answer) -> Response {
        let attempt = if let Answer::Started { attempt, .. } = answer { *attempt } else { 0 };
        let mut body = json!({
            "incidentId": self.state.incident, "workflowId": self.workflow_id, "attempt": attempt,
        });
        if let Some(gate) = self.gate(attempt) {
            body["gate"] = gate;
        }
        if let Some(warning) = away(&self.call.app, "the run") {
            body["warning"] = json!(warning);
        }
        (StatusCode::ACCEPTED, Json(body)).into_response()
    }

    fn gate(&self, attempt: u32) -> Option<Value> {
        if self.kind != WorkflowType::CloseOut {
            return None;
        }
        let kind = GateKind::CloseOut;
        let Context { actor, authority, .. } = self.context;
        let rules = self.call.caller.rules();
        let roles = approvals::first_deciders(self.state, kind, actor, *authority, rules)?;
        let gate_id = GateId::new(&self.workflow_id, attempt, GateId::APPROVE);
        Some(json!({ "gateId": gate_id, "kind": kind.name(), "requiredRoles": roles }))
    }
}

/// The item that starts initiate with a declaration.
pub(crate) fn initiate_item(call: &Call, incident: &IncidentId, input: Value, at: Timestamp) -> OutboxItem {
    let workflow_id = WorkflowId::new(WorkflowType::Initiate, &call.caller.org, incident);
    let input = attested(
        &call.app.doors.attestation,
        &call.caller.org,
        workflow_id.as_str(),
        &call.caller.principal.id,
        at,
        input,
    );
    item(&workflow_id, WorkflowType::Initiate, 1, &call.request.id, input)
}

/// The item that starts the update clock with a declaration.
pub(crate) fn clock_item(
    call: &Call,
    incident: &IncidentId,
    created: &IncidentCreated,
    at: Timestamp,
) -> OutboxItem {
    let (org, principal) = (&call.caller.org, &call.caller.principal.id);
    let start = starts::clock(&call.app.doors.attestation, org, incident, created, principal, at);
    OutboxItem::new(format!("clock/{incident}"), &FollowUp::Start(start))
}

/// The item that starts the act which follows the record `seq`.
pub(crate) fn act_item(
    call: &Call,
    incident: &IncidentId,
    state: &IncidentState,
    context: &Context,
    seq: u64,
    act: &Act,
) -> OutboxItem {
    let who = (call.caller.principal.id.as_str(), context.occurred_at);
    let keys = &call.app.doors.attestation;
    let (workflow_id, input) = starts::act(keys, &call.caller.org, (incident, state), seq, who, act);
    item(&workflow_id, WorkflowType::Act, 1, &call.request.id, input)
}

/// A warning where Temporal does not answer: it is recorded, and `what` starts later.
pub(crate) fn away(app: &App, what: &str) -> Option<String> {
    let address = app.doors.temporal.reachable().err()?;
    Some(format!("recorded; {what} starts when {address} answers"))
}

/// Whether the start is legal now, and which attempt it would be.
fn may_start(
    head: Head<'_>,
    workflow_id: &WorkflowId,
    kind: WorkflowType,
    target: Option<State>,
    context: &Context,
    rules: Rules<'_>,
) -> Result<Answer, Refusal> {
    let illegal = |explanation: String| Err(Refusal::Illegal { explanation });
    let blueprint = kind.blueprint();
    let last = head.state.blueprints.iter().find(|one| one.blueprint == blueprint);
    match last.and_then(|one| Some((one.status()?, one.attempt))) {
        Some((status, attempt)) if status.is_open() => {
            return illegal(format!("{blueprint} is running already, attempt {attempt}"));
        }
        Some((RunStatus::Orphaned, attempt)) => {
            return illegal(format!(
                "attempt {attempt} of {blueprint} was lost and waits to be resumed: harmony incident resume {}",
                head.state.incident
            ));
        }
        _ => {}
    }
    if kind == WorkflowType::PostMortem {
        let missing = approvals::missing_for_review(head.state, rules);
        if !missing.is_empty() {
            return illegal(format!("the review cannot be proposed without {}", missing.join(", ")));
        }
    }
    let command = Command::StartBlueprint {
        workflow_id: workflow_id.clone(),
        starter: context.actor.clone(),
        attested: true,
        target,
        refuse: None,
        input_text: String::new(),
    };
    let ask = |authority: Authority| {
        let context = Context { authority, ..context.clone() };
        judge(head, &command, &context, rules).map(|Judged { answer, .. }| answer)
    };
    match ask(context.authority)? {
        Answer::Refused { reason, .. } => {
            // Were it legal for somebody else, the authority is what is missing.
            let legal = matches!(ask(Authority::OnCallSre)?, Answer::Started { .. });
            Err(if legal {
                Refusal::Authority { explanation: reason }
            } else {
                Refusal::Illegal { explanation: reason }
            })
        }
        answer => Ok(answer),
    }
}

/// The item that starts a lost run of an attempt again, with what it was started with. It goes on as whoever started
/// it; who resumes it is on record.
pub(crate) fn resume_item(call: &Call, lost: &BlueprintState, input: Value) -> Result<OutboxItem, ApiError> {
    let workflow_id: WorkflowId =
        lost.workflow_id.parse().map_err(|error: IdError| ApiError::Invalid(error.to_string()))?;
    let kind = workflow_id
        .kind_and_org()
        .map(|(kind, _)| kind)
        .ok_or_else(|| ApiError::Invalid(format!("{workflow_id} is no blueprint's workflow")))?;
    let keys = &call.app.doors.attestation;
    let input =
        attested(keys, &call.caller.org, workflow_id.as_str(), &lost.starter, Timestamp::now(), input);
    let resumed = lost.resumed + 1;
    let start = follow_up::Start { resumed, ..run_start(&workflow_id, kind, lost.attempt, input) };
    Ok(start_item(start, &format!("resume-{resumed}")))
}

pub(crate) fn item(
    workflow_id: &WorkflowId,
    kind: WorkflowType,
    attempt: u32,
    request: &str,
    input: Value,
) -> OutboxItem {
    start_item(run_start(workflow_id, kind, attempt, input), request)
}

/// The start of a workflow, below the request that asks for it.
fn run_start(workflow_id: &WorkflowId, kind: WorkflowType, attempt: u32, input: Value) -> follow_up::Start {
    let traceparent = harmony_telemetry::current().map(|asked| asked.to_string());
    follow_up::Start {
        traceparent,
        ..follow_up::Start::new(kind.name(), workflow_id.as_str(), attempt, input)
    }
}

fn start_item(start: follow_up::Start, request: &str) -> OutboxItem {
    let name = format!("{}#{}/{request}", start.workflow_id, start.attempt);
    OutboxItem::new(name, &FollowUp::Start(start))
}

fn with_context(mut own: Value, golden: &GoldenContext) -> Value {
    own["context"] = json!(golden);
    own
}

/// Ends the running remediation. Answers 202.
pub(crate) async fn stop_remediation(
    call: &Call,
    incident: &IncidentId,
    state: &IncidentState,
    reason: &str,
) -> Result<Response, ApiError> {
    let kind = WorkflowType::Remediate;
    let workflow_id = WorkflowId::new(kind, &call.caller.org, incident);
    let context = call.context(Some(state));
    let request = json!({ "stop": kind.name(), "reason": reason });
    submit::remember(call, incident, &request, &context, &|head| {
        let running = head
            .state
            .blueprints
            .iter()
            .find(|one| one.blueprint == kind.blueprint() && one.is(RunStatus::Running))
            .ok_or_else(|| Refusal::Illegal { explanation: "nothing is running".to_owned() })?;
        let cancel = Cancel { workflow_id: workflow_id.clone(), reason: reason.to_owned() };
        let name = format!("{workflow_id}#{}/stop", running.attempt);
        Ok((Answer::Unchanged, vec![OutboxItem::new(name, &FollowUp::Cancel(cancel))]))
    })
    .await?;
    let mut body = json!({ "incidentId": incident, "workflowId": workflow_id });
    if let Err(address) = call.app.doors.temporal.reachable() {
        body["warning"] = json!(format!("recorded; it stops when {address} answers"));
    }
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

//! Runs of a blueprint: whether one may start, which attempt it is, when it is lost, and how it is started again.
//!
//! An attempt has one run at a time. A run that is gone without an end (terminated, its namespace rebuilt, its code
//! changed beneath it) leaves its attempt ORPHANED; resuming starts a new run of the same attempt, which finds every
//! step of it on record. A start that is no resumption is another attempt: gates of the one before are cancelled.

use harmony_protos::log::{
    ApprovalCancelled, Authority, BlueprintCompleted, BlueprintOrphaned, BlueprintResumed, BlueprintStarted,
    BlueprintState, GateState, IncidentState, State, Text, payload::Kind,
};

use crate::{
    command::{Answer, Context, Refusal, workflow_type},
    ids::{WorkflowId, WorkflowType},
    judge::{Judged, invalid, transition},
    promotion::AUTO_ACTOR,
    status::{GateStatus, HasStatus, RunStatus},
    words,
};

/// Who starts what.
pub(crate) struct Run<'a> {
    pub(crate) workflow_id: &'a WorkflowId,
    pub(crate) starter: &'a str,
    pub(crate) attested: bool,
    pub(crate) input_text: &'a str,
}

/// The last attempt of the blueprint that this workflow is of.
fn last<'a>(state: &'a IncidentState, workflow_id: &WorkflowId) -> Option<&'a BlueprintState> {
    let blueprint = workflow_id.blueprint();
    state.blueprints.iter().find(|one| one.blueprint == blueprint)
}

/// A run has begun: is it legal, and which attempt is it.
pub(crate) fn start(
    state: &IncidentState,
    run: &Run<'_>,
    target: Option<State>,
    refuse: Option<&str>,
    context: &Context,
) -> Judged {
    let workflow_id = run.workflow_id;
    let Some(kind) = workflow_type(workflow_id) else {
        return Judged::new(
            Answer::Refused { attempt: 0, reason: format!("{workflow_id} is no blueprint's workflow") },
            vec![],
        );
    };
    let blueprint = workflow_id.blueprint();
    let last = last(state, workflow_id);
    if let Some(open) = last.filter(|one| !run.attested && is_open(one)) {
        // A start that nobody vouches for brings an input of its own: it is neither the resumption of this attempt, nor
        // may its refusal stand in the attempt's place.
        let takes_over = open.is(RunStatus::Resuming).then_some(
            "a run that was lost is being started again, and a start straight at Temporal does not take its place",
        );
        if let Some(reason) = refuse.or(takes_over) {
            return refused_beside(state, workflow_id, open, reason);
        }
    }
    let lost = last.filter(|one| one.is(RunStatus::Resuming));
    let (attempt, resumed) = match lost {
        Some(lost) => (lost.attempt, lost.resumed),
        None => (last.map_or(1, |one| one.attempt + 1), 0),
    };
    let started = Kind::BlueprintStarted(BlueprintStarted {
        blueprint: blueprint.clone(),
        attempt,
        starter: run.starter.to_owned(),
        attested: run.attested,
        workflow_id: workflow_id.to_string(),
        // It is on record with the attempt's first run.
        input: Text::optional(run.input_text).filter(|_| resumed == 0),
        resumed,
    });
    let legal = match refuse {
        Some(reason) => Err(invalid(reason)),
        // It was legal when the attempt began; what the attempt did since then may have moved the incident.
        None if lost.is_some() => Ok(()),
        None => legal_start(state, kind, target, context),
    };
    let judged = match legal {
        Ok(()) => {
            let mut kinds = vec![started];
            if lost.is_none() {
                kinds.extend(abandoned(state, last));
            }
            let answer =
                Answer::Started { attempt, severity: state.severity(), authority: context.authority };
            Judged::new(answer, kinds)
        }
        Err(refusal) => {
            let reason = refusal.to_string();
            let completed = Kind::BlueprintCompleted(BlueprintCompleted {
                blueprint,
                attempt,
                status: RunStatus::Refused.into(),
                reason: Some(Text::plain(&reason)),
                result: None,
            });
            Judged::new(Answer::Refused { attempt, reason }, vec![started, completed])
        }
    };
    let run = if resumed == 0 { String::new() } else { format!("/{resumed}") };
    Judged { identity: Some(format!("{workflow_id}#{attempt}/start{run}")), ..judged }
}

/// Whether an attempt has no end on record.
fn is_open(attempt: &BlueprintState) -> bool {
    [RunStatus::Running, RunStatus::Orphaned, RunStatus::Resuming].into_iter().any(|one| attempt.is(one))
}

/// A start is refused, on record, and the attempt that is open stays as it is: the record names the attempt that this
/// would have been, which has no beginning.
fn refused_beside(
    state: &IncidentState,
    workflow_id: &WorkflowId,
    open: &BlueprintState,
    reason: &str,
) -> Judged {
    let attempt = open.attempt + 1;
    let completed = Kind::BlueprintCompleted(BlueprintCompleted {
        blueprint: open.blueprint.clone(),
        attempt,
        status: RunStatus::Refused.into(),
        reason: Some(Text::plain(reason)),
        result: None,
    });
    let answer = Answer::Refused { attempt, reason: reason.to_owned() };
    let identity = Some(format!("{workflow_id}#{attempt}/refused/{}", state.seq));
    Judged { identity, ..Judged::new(answer, vec![completed]) }
}

/// Gates of an attempt that never ended: nobody would carry out what is decided there.
fn abandoned(state: &IncidentState, before: Option<&BlueprintState>) -> Vec<Kind> {
    let Some(before) = before else { return Vec::new() };
    let waits = |gate: &&GateState| {
        gate.is(GateStatus::Pending)
            && gate.workflow_id == before.workflow_id
            && gate.attempt == before.attempt
    };
    let cancelled = |gate: &GateState| {
        Kind::ApprovalCancelled(ApprovalCancelled {
            gate_id: gate.gate_id.clone(),
            reason: Some(Text::plain("another attempt was started")),
        })
    };
    state.gates.iter().filter(waits).map(cancelled).collect()
}

/// The run of this attempt was not found. What ended meanwhile, or is another attempt by now, stays as it is.
pub(crate) fn orphaned(
    state: &IncidentState,
    workflow_id: &WorkflowId,
    attempt: u32,
    reason: &str,
) -> Judged {
    let open = |one: &&BlueprintState| one.status().is_some_and(RunStatus::is_open);
    let Some(lost) = last(state, workflow_id).filter(|one| one.attempt == attempt).filter(open) else {
        return Judged::unchanged();
    };
    let record = BlueprintOrphaned {
        blueprint: lost.blueprint.clone(),
        attempt,
        workflow_id: workflow_id.to_string(),
        reason: Text::optional(reason),
    };
    Judged::new(Answer::Recorded, vec![Kind::BlueprintOrphaned(record)])
}

/// Somebody starts a lost run again.
pub(crate) fn resume(
    state: &IncidentState,
    workflow_id: &WorkflowId,
    attempt: u32,
    context: &Context,
) -> Result<Judged, Refusal> {
    if context.authority < Authority::HumanOperator {
        return Err(Refusal::Authority {
            explanation: format!(
                "resuming needs HUMAN_OPERATOR at least, not {}",
                words::authority_name(context.authority)
            ),
        });
    }
    let illegal = |explanation: String| Err(Refusal::Illegal { explanation });
    match last(state, workflow_id).filter(|one| one.attempt == attempt) {
        Some(lost) if lost.is(RunStatus::Orphaned) && lost.started_seq > 0 => {
            let record = BlueprintResumed {
                blueprint: lost.blueprint.clone(),
                attempt,
                workflow_id: workflow_id.to_string(),
                resumed: lost.resumed + 1,
            };
            Ok(Judged::new(Answer::Recorded, vec![Kind::BlueprintResumed(record)]))
        }
        Some(lost) if lost.is(RunStatus::Orphaned) => illegal(format!(
            "what {} was started with is not on record: start another attempt",
            lost.blueprint
        )),
        Some(other) => illegal(format!("{} was not lost: it is {}", other.blueprint, other.status)),
        None => illegal(format!("there is no attempt {attempt} of {workflow_id}")),
    }
}

/// Whether a blueprint's transitions are legal from the present state with the starter's authority.
fn legal_start(
    state: &IncidentState,
    kind: WorkflowType,
    target: Option<State>,
    context: &Context,
) -> Result<(), Refusal> {
    let now = state.state();
    let illegal = |expected: &str| Refusal::Illegal {
        explanation: format!(
            "{} needs an incident that is {expected}; it is {}",
            kind.name(),
            now.as_str_name()
        ),
    };
    let promoted = !state.decision_id.is_empty();
    match kind {
        WorkflowType::Initiate => match now {
            State::Pending => transition(state, State::Open, context, promoted).map(drop),
            State::Open => Ok(()),
            State::Unspecified
            | State::Mitigating
            | State::Resolved
            | State::Closed
            | State::Cancelled
            | State::Archived => Err(illegal("PENDING or OPEN")),
        },
        WorkflowType::Remediate => match now {
            State::Open => transition(state, State::Mitigating, context, promoted).map(drop),
            State::Mitigating => at_least_operator(kind, context),
            State::Unspecified
            | State::Pending
            | State::Resolved
            | State::Closed
            | State::Cancelled
            | State::Archived => Err(illegal("OPEN or MITIGATING")),
        },
        // It keeps time as long as the incident goes on, and ends at once where it does not.
        WorkflowType::Updates => Ok(()),
        // Harmony's own reminders are told in nobody's name; only our own door attests such a start.
        WorkflowType::Act if context.actor == AUTO_ACTOR => Ok(()),
        // What it tells of is on record already; it changes no state. Whether a release may go out, its environment's
        // policies say.
        WorkflowType::Act | WorkflowType::Deploy | WorkflowType::Promote => at_least_operator(kind, context),
        WorkflowType::CloseOut => {
            transition(state, target.unwrap_or(State::Resolved), context, false).map(drop)
        }
        WorkflowType::PostMortem => match now {
            State::Resolved => at_least_operator(kind, context),
            State::Unspecified
            | State::Pending
            | State::Open
            | State::Mitigating
            | State::Closed
            | State::Cancelled
            | State::Archived => Err(illegal("RESOLVED")),
        },
    }
}

fn at_least_operator(kind: WorkflowType, context: &Context) -> Result<(), Refusal> {
    if context.authority >= Authority::HumanOperator {
        return Ok(());
    }
    Err(Refusal::Authority {
        explanation: format!(
            "{} needs HUMAN_OPERATOR at least, not {}",
            kind.name(),
            words::authority_name(context.authority)
        ),
    })
}

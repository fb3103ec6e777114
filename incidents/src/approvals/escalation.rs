//! What comes when a level's time is over, when somebody passes a gate on, and when the severity changes.
//!
//! Of a quorum, the approvals of those stay who may still decide at the new level; the others have to be given again by
//! somebody who may.

use harmony_protos::log::{
    ApprovalEscalated, ApprovalReplanned, ApprovalTimedOut, Authority, GateState, IncidentState, Severity,
    Text, payload::Kind,
};

use super::{cancelled, counted, gate_level, index, levels::Bench, number, settled_as, time, view};
use crate::{
    command::{Answer, Context, Refusal},
    ids::WorkflowId,
    judge::{Judged, Rules, TEXT_LIMIT_BYTES},
    policy::GateKind,
    status::{GateStatus, HasStatus},
    words,
};

/// The level's time is over: the next level, the end, or what was settled before.
pub(crate) fn expire(
    state: &IncidentState,
    gate_id: &str,
    level: u32,
    context: &Context,
    rules: Rules<'_>,
) -> Judged {
    let Some(gate) = state.gates.iter().find(|gate| gate.gate_id == gate_id) else {
        return Judged::new(Answer::Settled { settled: cancelled("the gate is not known") }, vec![]);
    };
    if !gate.is(GateStatus::Pending) {
        return Judged::new(Answer::Settled { settled: settled_as(gate) }, vec![]);
    }
    let actual = context.occurred_at.as_microsecond();
    // Whoever comes too soon, or for a level that has passed, is told where the gate is.
    if gate.level != level || actual < gate.due_us {
        return Judged::new(Answer::Escalated { gate: view(gate) }, vec![]);
    }
    let timed_out = Kind::ApprovalTimedOut(ApprovalTimedOut {
        gate_id: gate_id.to_owned(),
        level,
        due_us: gate.due_us,
        actual_us: actual,
    });
    let bench = Bench::of(gate, state, rules);
    let Some(next) = bench.next(gate) else {
        return Judged::new(Answer::TimedOut { level }, vec![timed_out]);
    };
    let escalated = to_level(gate, &bench, next, actual);
    let gate = GateState {
        level: escalated.to_level,
        due_us: escalated.due_us,
        escalated_by: String::new(),
        approvals: escalated.approvals_kept.clone(),
        ..gate.clone()
    };
    Judged::new(Answer::Escalated { gate: view(&gate) }, vec![timed_out, Kind::ApprovalEscalated(escalated)])
}

/// The gate goes to this level now.
fn to_level(gate: &GateState, bench: &Bench<'_>, next: usize, now_us: i64) -> ApprovalEscalated {
    ApprovalEscalated {
        gate_id: gate.gate_id.clone(),
        from_level: gate.level,
        to_level: number(next),
        due_us: now_us + gate.levels[next].timeout_ms * 1_000,
        skipped_levels: (index(gate.level) + 1..next).map(number).collect(),
        by: String::new(),
        reason: None,
        approvals_kept: bench.keep(gate, &gate.levels[next]),
    }
}

/// Somebody passes a pending gate on: the next level has it now.
pub(crate) fn escalate(
    state: &IncidentState,
    gate_id: &str,
    reason: &str,
    context: &Context,
    rules: Rules<'_>,
) -> Result<Judged, Refusal> {
    if context.authority < Authority::HumanOperator {
        return Err(Refusal::Authority {
            explanation: format!(
                "passing a gate on needs HUMAN_OPERATOR at least, not {}",
                words::authority_name(context.authority)
            ),
        });
    }
    if reason.len() > TEXT_LIMIT_BYTES {
        return Err(Refusal::Invalid { explanation: "its reason has more than 64 KiB".to_owned() });
    }
    let illegal = |explanation: String| Err(Refusal::Illegal { explanation });
    let Some(gate) = state.gates.iter().find(|gate| gate.gate_id == gate_id) else {
        return illegal(format!("gate {gate_id} is not known"));
    };
    if !gate.is(GateStatus::Pending) {
        return illegal(format!("the gate does not wait any more: it is {}", gate.status));
    }
    let bench = Bench::of(gate, state, rules);
    let Some(next) = bench.next(gate) else {
        return illegal(format!(
            "level {} is the last that somebody can decide at: {} may decide until {}",
            gate.level,
            gate_level(gate).map(|level| level.roles.join(" or ")).unwrap_or_default(),
            time(gate.due_us)
        ));
    };
    let escalated = ApprovalEscalated {
        by: context.actor.clone(),
        reason: Text::optional(reason),
        ..to_level(gate, &bench, next, context.occurred_at.as_microsecond())
    };
    let wake = gate.workflow_id.parse().into_iter().collect();
    Ok(Judged { wake, ..Judged::new(Answer::Recorded, vec![Kind::ApprovalEscalated(escalated)]) })
}

/// What a change of severity makes of the gates that wait: other levels, from now on. Also the workflows to wake.
pub(crate) fn replan(
    state: &IncidentState,
    severity: Severity,
    context: &Context,
    rules: Rules<'_>,
) -> (Vec<Kind>, Vec<WorkflowId>) {
    let mut kinds = Vec::new();
    let mut wake = Vec::new();
    for gate in state.gates.iter().filter(|gate| gate.is(GateStatus::Pending)) {
        let Some(kind) = GateKind::named(&gate.kind) else { continue };
        let levels = rules.policy.levels(kind, severity, rules.auto_escalate_p1);
        let bench = Bench::of(gate, state, rules);
        let first = bench.first(&levels);
        let Some(level) = levels.get(first) else { continue };
        kinds.push(Kind::ApprovalReplanned(ApprovalReplanned {
            gate_id: gate.gate_id.clone(),
            level: number(first),
            due_us: context.occurred_at.as_microsecond() + level.timeout_ms * 1_000,
            severity: severity.into(),
            skipped_levels: (0..first).map(number).collect(),
            approvals_kept: bench.keep(gate, level),
            auto_escalate_p1: counted(severity, rules),
            levels,
        }));
        wake.extend(gate.workflow_id.parse::<WorkflowId>());
    }
    (kinds, wake)
}

//! The rules of a gate: who may decide, until when, what a decision is bound to, and what silence leads to.
//!
//! A decision that is early, late, repeated, forged, about something else or from the wrong person changes nothing and
//! is recorded. Nothing is ever approved by a timeout. Whether a level was decided or timed out is settled here, inside
//! the log's transaction; the workflow obeys.
//!
//! Here a gate is opened, cancelled and shown. `decision` judges who decides, `levels` knows who may, `escalation` what
//! comes when time passes or people in control step in, `review` what a review needs before it is proposed.

mod decision;
mod escalation;
mod levels;
mod offer;
mod refusal;
mod review;

use harmony_protos::log::{
    ApprovalCancelled, ApprovalRequested, Authority, GateState, IncidentState, Level, Severity, Text,
    payload::Kind,
};
use jiff::Timestamp;

use crate::{
    authority::GateAsk,
    command::{Answer, Context, GateRequest, GateView, Refusal, Settled},
    fold,
    ids::{GateId, OrgId},
    judge::{Judged, Rules},
    machine,
    policy::{GateKind, LevelRule},
    status::{GateStatus, HasStatus},
};

pub use decision::REFUSALS_A_MINUTE;
pub(crate) use decision::{count, decide};
pub(crate) use escalation::{escalate, expire, replan};
pub use offer::{Offered, offered, waits_for};
pub use refusal::RefusalReason;
pub use review::{REQUIRED_SECTIONS, REVIEW_SECTIONS, missing_for_review};

use levels::Bench;

/// Opens a gate, unless the policy asks for none.
pub(crate) fn open(
    state: &IncidentState,
    request: &GateRequest,
    context: &Context,
    rules: Rules<'_>,
) -> Result<Judged, Refusal> {
    let gate_id = GateId::new(&request.workflow_id, request.attempt, &request.step);
    let digest = digest_bytes(&request.digest)?;
    if let Some(known) = state.gates.iter().find(|gate| gate.gate_id == gate_id.as_str()) {
        return opened_before(known, &digest, &request.action);
    }
    let severity = request.severity.unwrap_or_else(|| state.severity());
    if request.levels.is_empty() && !rules.policy.has_gate(request.kind, severity, context.authority) {
        return Ok(Judged::new(Answer::NoGate, vec![]));
    }
    if machine::is_over(state.state()) && request.kind.is_urgent() {
        let settled = cancelled(&format!("the incident is {}", state.state().as_str_name()));
        return Ok(Judged::new(Answer::Settled { settled }, vec![]));
    }
    let levels = if request.levels.is_empty() {
        rules.policy.levels(request.kind, severity, rules.auto_escalate_p1)
    } else {
        request.levels.iter().map(LevelRule::recorded).collect()
    };
    let Ladder { levels, first, four_eyes, quorum } =
        ladder(state, request.kind, &request.requester, levels, rules);
    let skipped_levels: Vec<u32> = (0..first).map(number).collect();
    let at = context.occurred_at.as_microsecond();
    let due = at + levels.get(first).map_or(0, |level| level.timeout_ms * 1_000);
    let record = ApprovalRequested {
        gate_id: gate_id.to_string(),
        workflow_id: request.workflow_id.to_string(),
        blueprint: context.cause.blueprint.clone(),
        attempt: request.attempt,
        action: request.action.clone(),
        reason: Text::optional(&request.reason),
        digest,
        level: number(first),
        requested_at_us: at,
        due_us: due,
        requester: request.requester.clone(),
        covers: Text::optional(&request.covers),
        four_eyes,
        severity: severity.into(),
        escalates: levels.len() > 1,
        skipped_levels,
        levels,
        kind: request.kind.name().to_owned(),
        quorum,
        remind: rules.policy.remind,
        auto_escalate_p1: counted(severity, rules),
    };
    let gate = view(&fold::requested(&record, state.seq + 1));
    Ok(Judged::new(Answer::GateOpened { gate }, vec![Kind::ApprovalRequested(record)]))
}

/// The levels of a gate as it is opened now.
struct Ladder {
    levels: Vec<Level>,
    /// Where it begins: a level that nobody can fill is left out.
    first: usize,
    four_eyes: bool,
    quorum: u32,
}

fn ladder(
    state: &IncidentState,
    kind: GateKind,
    requester: &str,
    levels: Vec<Level>,
    rules: Rules<'_>,
) -> Ladder {
    // Four eyes guards what is done to production, where asker and approver must differ.
    let four_eyes = rules.policy.four_eyes
        && matches!(kind, GateKind::Remediate | GateKind::UnknownCell | GateKind::Checkpoint);
    let quorum = rules.policy.quorum(kind);
    let ask = GateAsk { kind: kind.name(), requester, four_eyes, roles: &[] };
    let first = Bench::new(state, ask, quorum, rules).first(&levels);
    Ladder { levels, first, four_eyes, quorum }
}

/// Who decides first at a gate that `requester` is about to open; `None` where the policy asks for no gate.
pub fn first_deciders(
    state: &IncidentState,
    kind: GateKind,
    requester: &str,
    authority: Authority,
    rules: Rules<'_>,
) -> Option<Vec<String>> {
    if !rules.policy.has_gate(kind, state.severity(), authority) {
        return None;
    }
    let levels = rules.policy.levels(kind, state.severity(), rules.auto_escalate_p1);
    let Ladder { levels, first, .. } = ladder(state, kind, requester, levels, rules);
    Some(roles(&levels, first))
}

/// A gate is opened once: asking again tells how it stands and never takes back how it ended.
fn opened_before(gate: &GateState, digest: &[u8], action: &str) -> Result<Judged, Refusal> {
    if gate.digest != digest || gate.action != action {
        return Err(Refusal::Illegal {
            explanation: format!("gate {} was opened for something else", gate.gate_id),
        });
    }
    let answer = if gate.is(GateStatus::Pending) {
        Answer::GateOpened { gate: view(gate) }
    } else {
        Answer::Settled { settled: settled_as(gate) }
    };
    Ok(Judged::new(answer, vec![]))
}

/// A decision is bound to 32 bytes: a gate without them would accept a decision on anything.
fn digest_bytes(text: &str) -> Result<Vec<u8>, Refusal> {
    hex::decode(text).ok().filter(|bytes| bytes.len() == 32).ok_or_else(|| Refusal::Invalid {
        explanation: "a gate's digest is a SHA-256, written as 64 hex digits".to_owned(),
    })
}

/// Nobody needs to decide any more.
pub(crate) fn cancel(state: &IncidentState, gate_id: &str, reason: &str) -> Judged {
    let Some(gate) = state.gates.iter().find(|gate| gate.gate_id == gate_id) else {
        return Judged::new(Answer::Settled { settled: cancelled("the gate is not known") }, vec![]);
    };
    if !gate.is(GateStatus::Pending) {
        return Judged::new(Answer::Settled { settled: settled_as(gate) }, vec![]);
    }
    let record = Kind::ApprovalCancelled(ApprovalCancelled {
        gate_id: gate_id.to_owned(),
        reason: Text::optional(reason),
    });
    Judged::new(Answer::Settled { settled: cancelled(reason) }, vec![record])
}

fn cancelled(reason: &str) -> Settled {
    Settled {
        status: GateStatus::Cancelled,
        by: String::new(),
        reason: Some(reason.to_owned()),
        break_glass: false,
    }
}

/// How a gate ended, from the folded state.
pub fn settled_as(gate: &GateState) -> Settled {
    let together = gate.is(GateStatus::Approved) && !gate.break_glass && !gate.approvals.is_empty();
    Settled {
        // A word of another build is no approval.
        status: gate.status().unwrap_or(GateStatus::Cancelled),
        by: if together { gate.approvals.join(", ") } else { gate.decided_by.clone() },
        reason: None,
        break_glass: gate.break_glass,
    }
}

/// Who may decide at a level, counted from 0; nobody where there is none.
fn roles(levels: &[Level], level: usize) -> Vec<String> {
    levels.get(level).map(|level| level.roles.clone()).unwrap_or_default()
}

/// A gate of the folded state, as workflows and people see it.
pub fn view(gate: &GateState) -> GateView {
    let level = gate_level(gate);
    GateView {
        gate_id: gate.gate_id.clone(),
        digest: hex::encode(&gate.digest),
        action: gate.action.clone(),
        request_reason: gate.reason.as_ref().map(|text| text.shown().to_owned()).unwrap_or_default(),
        required_roles: roles(&gate.levels, index(gate.level)),
        level: gate.level,
        page: level.is_some_and(|level| level.page),
        requested_at: time(gate.requested_at_us),
        deadline: time(gate.due_us),
        timeout_ms: level.map_or(0, |level| level.timeout_ms),
        requester: gate.requester.clone(),
        escalates: index(gate.level) + 1 < gate.levels.len(),
        next_roles: roles(&gate.levels, index(gate.level) + 1),
        plan: gate.plans,
        severity: gate.severity(),
        escalated_by: gate.escalated_by.clone(),
        quorum: gate.quorum,
        approvals: gate.approvals.clone(),
        remind: gate.remind,
        skippable: is_skippable(gate),
        needs_note: needs_note(gate),
    }
}

/// The gate before one cell of a run, where it was opened.
pub fn checkpoint<'a>(
    state: &'a IncidentState,
    workflow_id: &str,
    attempt: u32,
    purpose: &str,
    cell: &str,
) -> Option<&'a GateState> {
    let end = format!("#{attempt}/{}", checkpoint_step(purpose, cell));
    state.gates.iter().find(|gate| {
        gate.workflow_id == workflow_id
            && gate.attempt == attempt
            && gate.kind == GateKind::Checkpoint.name()
            && gate.gate_id.ends_with(&end)
    })
}

/// The step of a run at which the gate before a cell is opened.
pub fn checkpoint_step(purpose: &str, cell: &str) -> String {
    format!("checkpoint/{purpose}/{cell}")
}

/// Whether one may go on without what the gate asks about.
pub(crate) fn is_skippable(gate: &GateState) -> bool {
    gate.kind == GateKind::UnknownCell.name()
}

/// Whether an approval says what was done: a manual step is confirmed, not allowed.
pub(crate) fn needs_note(gate: &GateState) -> bool {
    gate.kind == GateKind::ManualStep.name()
}

/// The flag's value, where it decided how many levels there are.
fn counted(severity: Severity, rules: Rules<'_>) -> Option<bool> {
    (severity == Severity::P1).then_some(rules.auto_escalate_p1)
}

fn gate_level(gate: &GateState) -> Option<&Level> {
    gate.levels.get(index(gate.level))
}

/// Levels count from 1.
fn number(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

fn index(level: u32) -> usize {
    usize::try_from(level).unwrap_or(usize::MAX).saturating_sub(1)
}

fn time(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(crate) fn org_of(state: &IncidentState) -> OrgId {
    state.org.parse().unwrap_or_default()
}

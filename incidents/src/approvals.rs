//! The rules of a gate: who may decide, until when, what a decision is bound to, and what silence leads to.
//!
//! A decision that is early, late, repeated, forged, about something else or from the wrong person changes nothing and
//! is recorded. Nothing is ever approved by a timeout. Whether a level was decided or timed out is settled here, inside
//! the log's transaction; the workflow obeys.

use harmony_protos::log::{
    ApprovalCancelled, ApprovalDecided, ApprovalEscalated, ApprovalRefused, ApprovalReplanned,
    ApprovalRequested, ApprovalTimedOut, Authority, GateState, IncidentState, Level, Severity, Text,
    payload::Kind,
};
use jiff::Timestamp;

use crate::{
    authority::{Denied, GateAsk, GateRight},
    command::{
        Answer, Attested, Context, Decision, DecisionInput, DecisionPayload, GateRequest, GateView, Refusal,
        Settled, Verdict,
    },
    directory::{Principal, Role},
    ids::{GateId, OrgId},
    judge::{Head, JUSTIFICATION_CHARS, Judged, Rules, TEXT_LIMIT_BYTES},
    machine,
    policy::{GateKind, Manual},
    words,
};

/// The sections of a review that people write.
pub const REVIEW_SECTIONS: [&str; 8] = [
    "summary",
    "impact",
    "detection",
    "response",
    "contributing-factors",
    "went-well",
    "went-badly",
    "lessons",
];

/// What a P1 or P2 review cannot be proposed without, besides one action item.
pub const REQUIRED_SECTIONS: [&str; 3] = ["summary", "impact", "contributing-factors"];

const APPROVER_CHARS: usize = 128;
const DECISION_ID_CHARS: usize = 64;
const SOURCE_CHARS: usize = 16;
/// A parser's message may quote all of what it did not understand.
const EXPLANATION_CHARS: usize = 1_000;

/// What is missing before a review may be proposed for publishing.
pub fn missing_for_review(state: &IncidentState, rules: Rules<'_>) -> Vec<String> {
    if !rules.policy.needs_review(state.severity()) {
        return Vec::new();
    }
    let mut missing: Vec<String> = REQUIRED_SECTIONS
        .into_iter()
        .filter(|section| !state.sections.iter().any(|one| one.section == *section))
        .map(|section| format!("section {section}"))
        .collect();
    if state.action_items.is_empty() {
        missing.push("one action item".to_owned());
    }
    missing
}

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
    if !rules.policy.has_gate(request.kind, state.severity(), context.authority) {
        return Ok(Judged::new(Answer::NoGate, vec![]));
    }
    if machine::is_over(state.state())
        && matches!(request.kind, GateKind::Remediate | GateKind::StatusPage | GateKind::UnknownCell)
    {
        let settled = Settled {
            status: "cancelled".to_owned(),
            by: String::new(),
            reason: Some(format!("the incident is {}", state.state().as_str_name())),
            break_glass: false,
        };
        return Ok(Judged::new(Answer::Settled { settled }, vec![]));
    }
    let levels = rules.policy.levels(request.kind, state.severity(), rules.auto_escalate_p1);
    // Four eyes guards what is done to production, where asker and approver must differ.
    let four_eyes =
        rules.policy.four_eyes && matches!(request.kind, GateKind::Remediate | GateKind::UnknownCell);
    let ask = GateAsk { kind: request.kind.name(), requester: &request.requester, four_eyes, roles: &[] };
    let first = first_level(&levels, state, ask, rules);
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
        severity: state.severity,
        escalates: levels.len() > 1,
        skipped_levels,
        levels,
        kind: request.kind.name().to_owned(),
        auto_escalate_p1: counted(state.severity(), rules),
    };
    let gate = GateView {
        gate_id: record.gate_id.clone(),
        digest: hex::encode(&record.digest),
        action: request.action.clone(),
        request_reason: request.reason.clone(),
        required_roles: record.levels.get(first).map(|level| level.roles.clone()).unwrap_or_default(),
        level: record.level,
        page: record.levels.get(first).is_some_and(|level| level.page),
        requested_at: time(at),
        deadline: time(due),
        timeout_ms: record.levels.get(first).map_or(0, |level| level.timeout_ms),
        requester: request.requester.clone(),
        escalates: first + 1 < record.levels.len(),
        plan: 0,
        severity: Severity::Unspecified,
        escalated_by: String::new(),
    };
    Ok(Judged::new(Answer::GateOpened { gate }, vec![Kind::ApprovalRequested(record)]))
}

/// A gate is opened once: asking again tells how it stands and never takes back how it ended.
fn opened_before(gate: &GateState, digest: &[u8], action: &str) -> Result<Judged, Refusal> {
    if gate.digest != digest || gate.action != action {
        return Err(Refusal::Illegal {
            explanation: format!("gate {} was opened for something else", gate.gate_id),
        });
    }
    let answer = if gate.status == "pending" {
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

/// Judges a decision. The verdict is on record whatever it is.
pub(crate) fn decide(state: &IncidentState, input: &DecisionInput, rules: Rules<'_>) -> Judged {
    let payload = match &input.payload {
        Ok(payload) => payload,
        Err(problem) => {
            let refused = Refused::new("malformed", problem.clone());
            return refused.judged(pending(state, input), "", input, None);
        }
    };
    match accept(state, input, rules) {
        Err(refused) => {
            refused.judged(named(state, input), &payload.approver_id, input, payload.decision_id.as_deref())
        }
        Ok((gate, acted_as)) => {
            if machine::is_over(state.state()) && gate.blueprint == "remediate" {
                let reason = format!("the incident is {}", state.state().as_str_name());
                return cancel(state, &gate.gate_id, &reason);
            }
            let approved = payload.decision == Decision::Approved;
            let status = payload.decision.name();
            let authority = if payload.break_glass { Authority::EmergencyOverride } else { Authority::None };
            let settled = Settled {
                status: status.to_owned(),
                by: payload.approver_id.clone(),
                reason: payload.reason.clone().or_else(|| payload.justification.clone()),
                break_glass: payload.break_glass,
            };
            let verdict = Verdict {
                accepted: true,
                status: status.to_owned(),
                refused_because: None,
                gate_id: Some(gate.gate_id.clone()),
                settled: Some(settled),
            };
            let record = Kind::ApprovalDecided(ApprovalDecided {
                gate_id: gate.gate_id.clone(),
                level: gate.level,
                approved,
                approver: payload.approver_id.clone(),
                attested: input.attested == Attested::Yes,
                source: source(input),
                reason: payload.reason.as_deref().and_then(Text::optional),
                decision_id: cut(payload.decision_id.as_deref().unwrap_or_default(), DECISION_ID_CHARS),
                decided_at_us: input.decided_at.as_microsecond(),
                digest: gate.digest.clone(),
                acted_as,
                break_glass: payload.break_glass,
                justification: payload.justification.as_deref().and_then(Text::optional),
                authority: authority.into(),
            });
            let actor = Some(payload.approver_id.clone());
            Judged { actor, ..Judged::new(Answer::Judged { verdict }, vec![record]) }
        }
    }
}

/// Where a decision says that it came from.
fn source(input: &DecisionInput) -> String {
    let claimed = input.payload.as_ref().ok().and_then(|payload| payload.source.as_deref());
    cut(claimed.unwrap_or("signal"), SOURCE_CHARS)
}

/// What a payload claims goes on record shortened: these fields are short where a door wrote them.
fn cut(claimed: &str, limit_chars: usize) -> String {
    claimed.chars().take(limit_chars).collect()
}

/// Why a decision was refused: a stable word and a sentence.
struct Refused {
    because: String,
    explanation: String,
}

impl Refused {
    fn new(because: impl Into<String>, explanation: impl Into<String>) -> Self {
        Self { because: because.into(), explanation: cut(&explanation.into(), EXPLANATION_CHARS) }
    }

    fn judged(
        self,
        gate: Option<&GateState>,
        approver: &str,
        input: &DecisionInput,
        decision_id: Option<&str>,
    ) -> Judged {
        let verdict = Verdict {
            accepted: false,
            status: gate.map_or("none", |gate| gate.status.as_str()).to_owned(),
            refused_because: Some(format!("{}: {}", self.because, self.explanation)),
            gate_id: gate.map(|gate| gate.gate_id.clone()),
            settled: None,
        };
        let record = Kind::ApprovalRefused(ApprovalRefused {
            gate_id: gate.map(|gate| gate.gate_id.clone()).unwrap_or_default(),
            approver: Text::optional(cut(approver, APPROVER_CHARS)),
            refused_because: self.because,
            decision_id: cut(decision_id.unwrap_or_default(), DECISION_ID_CHARS),
            source: source(input),
            attested: input.attested == Attested::Yes,
            explanation: Text::optional(self.explanation),
        });
        Judged::new(Answer::Judged { verdict }, vec![record])
    }
}

/// The gates of the workflow and attempt that got this decision.
fn own<'a>(state: &'a IncidentState, input: &'a DecisionInput) -> impl Iterator<Item = &'a GateState> {
    state
        .gates
        .iter()
        .filter(|gate| gate.workflow_id == input.workflow_id.as_str() && gate.attempt == input.attempt)
}

fn pending<'a>(state: &'a IncidentState, input: &'a DecisionInput) -> Option<&'a GateState> {
    own(state, input).find(|gate| gate.status == "pending")
}

fn named<'a>(state: &'a IncidentState, input: &'a DecisionInput) -> Option<&'a GateState> {
    match input.payload.as_ref().ok().and_then(|payload| payload.gate_id.as_deref()) {
        Some(id) => own(state, input).find(|gate| gate.gate_id == id),
        None => pending(state, input),
    }
}

/// Every rule a decision has to pass, in the order in which a decider can do something about it.
fn accept<'a>(
    state: &'a IncidentState,
    input: &'a DecisionInput,
    rules: Rules<'_>,
) -> Result<(&'a GateState, String), Refused> {
    let payload = input.payload.as_ref().map_err(|problem| Refused::new("malformed", problem.clone()))?;
    if payload.reason.as_ref().is_some_and(|reason| reason.len() > TEXT_LIMIT_BYTES) {
        return Err(Refused::new("malformed", "its reason has more than 64 KiB"));
    }
    match input.attested {
        Attested::Yes => {
            if payload.gate_id.is_none() || payload.digest.is_none() {
                return Err(Refused::new("malformed", "an attested decision names its gate and digest"));
            }
        }
        Attested::Forged => {
            return Err(Refused::new("attestation", "its attestation does not hold for this decision"));
        }
        Attested::No => {
            if rules.policy.manual_signals == Manual::Refuse {
                return Err(Refused::new(
                    "manual",
                    "decisions sent straight to Temporal are not accepted here: use the console, Slack or harmony approval",
                ));
            }
        }
    }
    check_break_glass(state, input, payload, rules)?;
    let Some(principal) = rules.directory.get(&payload.approver_id) else {
        return Err(Refused::new("unknown-approver", "nobody of this id is in the directory"));
    };
    let gate = match (&payload.gate_id, pending(state, input)) {
        (None, Some(gate)) => gate,
        (None, None) => {
            let last = own(state, input).max_by_key(|gate| gate.requested_seq);
            return Err(last.map_or_else(|| Refused::new("early", "no gate is pending"), settled_before));
        }
        (Some(id), pending) => match own(state, input).find(|gate| gate.gate_id == *id) {
            Some(gate) if gate.status == "pending" => gate,
            Some(gate) => return Err(settled_before(gate)),
            None if pending.is_some() => return Err(Refused::new("stale", "another gate is pending now")),
            None => return Err(Refused::new("stale", "this gate is not pending")),
        },
    };
    if payload.digest.as_ref().is_some_and(|digest| *digest != hex::encode(&gate.digest)) {
        return Err(Refused::new("stale", "the digest is not that of what is asked now"));
    }
    let acted_as = may_decide(state, gate, principal, payload, rules)?;
    if input.decided_at.as_microsecond() > gate.due_us {
        return Err(Refused::new("late", "it was decided after the deadline"));
    }
    Ok((gate, acted_as))
}

/// Whether the policies let this person make this decision at the gate's level, and the role that they make it with.
fn may_decide(
    state: &IncidentState,
    gate: &GateState,
    principal: &Principal,
    payload: &DecisionPayload,
    rules: Rules<'_>,
) -> Result<String, Refused> {
    let decision = match (payload.decision, payload.break_glass) {
        (Decision::Approved, true) => GateRight::BreakGlass,
        (Decision::Approved, false) => GateRight::Approve,
        (Decision::Rejected, _) => GateRight::Reject,
    };
    let (org, ask) = (org_of(state), GateAsk::of(gate));
    rules.access.may_decide(principal, decision, &org, state, ask).map_err(|denied| match denied {
        Denied::Forbidden { because, explanation } => Refused::new(because, explanation),
        Denied::NotPermitted if payload.break_glass => {
            Refused::new("missing-role", format!("breaking the glass needs {}", Role::OnCall.name()))
        }
        Denied::NotPermitted => {
            Refused::new("missing-role", format!("this level needs {}", ask.roles.join(" or ")))
        }
    })?;
    let role = rules.access.acts_as(principal, decision, &org, state, ask);
    Ok(role.map(|role| role.name().to_owned()).unwrap_or_default())
}

/// What a page offers somebody at a gate as it stands. Judged again when they decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Why they may not approve, in words; none where they may.
    pub not_approve: Option<String>,
    /// Whether they may reject.
    pub reject: bool,
    /// Whether they may break the glass.
    pub break_glass: bool,
}

/// What this principal may do at a gate.
pub fn offered(state: &IncidentState, gate: &GateState, principal: &Principal, rules: Rules<'_>) -> Offered {
    if gate.status != "pending" {
        let why = format!("it is {} already", gate.status);
        return Offered { not_approve: Some(why), reject: false, break_glass: false };
    }
    let (org, ask) = (org_of(state), GateAsk::of(gate));
    let may = |right| rules.access.may_decide(principal, right, &org, state, ask);
    let not_approve = may(GateRight::Approve).err().map(|denied| match denied {
        Denied::Forbidden { explanation, .. } => explanation.to_string(),
        Denied::NotPermitted => format!("this level needs {}", ask.roles.join(" or ")),
    });
    Offered {
        not_approve,
        reject: may(GateRight::Reject).is_ok(),
        break_glass: may(GateRight::BreakGlass).is_ok()
            && rules.policy.break_glass
            && matches!(state.severity(), Severity::P1 | Severity::P2),
    }
}

/// Breaking the glass lifts four eyes and the level's roles, and nothing else: who may, when, and with what words.
fn check_break_glass(
    state: &IncidentState,
    input: &DecisionInput,
    payload: &DecisionPayload,
    rules: Rules<'_>,
) -> Result<(), Refused> {
    let justification = payload.justification.as_deref().unwrap_or_default();
    if justification.len() > TEXT_LIMIT_BYTES {
        return Err(Refused::new("malformed", "its justification has more than 64 KiB"));
    }
    if !payload.break_glass {
        return if justification.is_empty() {
            Ok(())
        } else {
            Err(Refused::new("malformed", "only breaking the glass takes a justification; give a reason"))
        };
    }
    let refused = |explanation: &str| Err(Refused::new("break-glass", explanation));
    if input.attested == Attested::No {
        return refused("the glass is broken only through the console's API and harmony approval");
    }
    if payload.decision != Decision::Approved {
        return refused("only an approval breaks the glass; a rejection needs no emergency");
    }
    if !rules.policy.break_glass {
        return refused("the policy forbids it");
    }
    if !matches!(state.severity(), Severity::P1 | Severity::P2) {
        return refused("only a P1 or P2 allows it");
    }
    if justification.trim().chars().count() < JUSTIFICATION_CHARS {
        return refused("it needs a justification of at least 20 characters");
    }
    Ok(())
}

/// Why a gate that is no longer pending takes no decision.
fn settled_before(gate: &GateState) -> Refused {
    match gate.status.as_str() {
        "timeout" => Refused::new("late", "its time is over"),
        "cancelled" => Refused::new("cancelled", "nobody needs to decide this any more"),
        _ => Refused::new("duplicate", "it was decided already"),
    }
}

/// The first level that somebody but the requester can fill. A gate that nobody can fill still waits at its last level
/// and is rejected there, on record.
fn first_level(levels: &[Level], state: &IncidentState, ask: GateAsk<'_>, rules: Rules<'_>) -> usize {
    levels
        .iter()
        .position(|level| can_fill(level, state, ask, rules))
        .unwrap_or(levels.len().saturating_sub(1))
}

/// The next level that somebody but the requester can fill, as an index.
fn next_level(gate: &GateState, state: &IncidentState, rules: Rules<'_>) -> Option<usize> {
    (index(gate.level) + 1..gate.levels.len())
        .find(|next| can_fill(&gate.levels[*next], state, GateAsk::of(gate), rules))
}

/// Whether anybody may approve at this level.
fn can_fill(level: &Level, state: &IncidentState, ask: GateAsk<'_>, rules: Rules<'_>) -> bool {
    let (org, ask) = (org_of(state), GateAsk { roles: &level.roles, ..ask });
    let may = |principal| rules.access.may_decide(principal, GateRight::Approve, &org, state, ask).is_ok();
    rules.directory.principals().iter().any(may)
}

/// The level's time is over: the next level, the end, or what was settled before.
pub(crate) fn expire(
    head: Head<'_>,
    gate_id: &str,
    level: u32,
    context: &Context,
    rules: Rules<'_>,
) -> Judged {
    let state = head.state;
    let Some(gate) = state.gates.iter().find(|gate| gate.gate_id == gate_id) else {
        return Judged::new(
            Answer::Settled { settled: settled("cancelled", "the gate is not known") },
            vec![],
        );
    };
    if gate.status != "pending" {
        return Judged::new(Answer::Settled { settled: settled_as(gate) }, vec![]);
    }
    if gate.level != level {
        return Judged::new(Answer::Escalated { gate: view(gate) }, vec![]);
    }
    let actual = context.occurred_at.as_microsecond();
    let in_time = head.under_way.iter().any(|(id, decided)| id == gate_id && *decided <= gate.due_us);
    if actual < gate.due_us || in_time {
        return Judged::new(Answer::NotYet, vec![]);
    }
    let timed_out = Kind::ApprovalTimedOut(ApprovalTimedOut {
        gate_id: gate_id.to_owned(),
        level,
        due_us: gate.due_us,
        actual_us: actual,
    });
    let Some(next) = next_level(gate, state, rules) else {
        return Judged::new(Answer::TimedOut { level }, vec![timed_out]);
    };
    let escalated = to_level(gate, next, actual);
    let gate = GateState {
        level: escalated.to_level,
        due_us: escalated.due_us,
        escalated_by: String::new(),
        ..gate.clone()
    };
    Judged::new(Answer::Escalated { gate: view(&gate) }, vec![timed_out, Kind::ApprovalEscalated(escalated)])
}

/// The gate goes to this level now.
fn to_level(gate: &GateState, next: usize, now_us: i64) -> ApprovalEscalated {
    ApprovalEscalated {
        gate_id: gate.gate_id.clone(),
        from_level: gate.level,
        to_level: number(next),
        due_us: now_us + gate.levels[next].timeout_ms * 1_000,
        skipped_levels: (index(gate.level) + 1..next).map(number).collect(),
        by: String::new(),
        reason: None,
    }
}

/// Somebody passes a pending gate on: the next level has it now.
pub(crate) fn escalate(
    head: Head<'_>,
    gate_id: &str,
    reason: &str,
    context: &Context,
    rules: Rules<'_>,
) -> Result<Judged, Refusal> {
    let state = head.state;
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
    if gate.status != "pending" {
        return illegal(format!("the gate does not wait any more: it is {}", gate.status));
    }
    if head.under_way.iter().any(|(id, decided)| id == gate_id && *decided <= gate.due_us) {
        return illegal("a decision on this gate is being judged".to_owned());
    }
    let Some(next) = next_level(gate, state, rules) else {
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
        ..to_level(gate, next, context.occurred_at.as_microsecond())
    };
    let wake = vec![gate.workflow_id.clone()];
    Ok(Judged { wake, ..Judged::new(Answer::Recorded, vec![Kind::ApprovalEscalated(escalated)]) })
}

/// What a change of severity makes of the gates that wait: other levels, from now on. Also the workflows to wake.
pub(crate) fn replan(
    state: &IncidentState,
    severity: Severity,
    context: &Context,
    rules: Rules<'_>,
) -> (Vec<Kind>, Vec<String>) {
    let mut kinds = Vec::new();
    let mut wake = Vec::new();
    for gate in state.gates.iter().filter(|gate| gate.status == "pending") {
        let Some(kind) = GateKind::named(&gate.kind) else { continue };
        let levels = rules.policy.levels(kind, severity, rules.auto_escalate_p1);
        let first = first_level(&levels, state, GateAsk::of(gate), rules);
        let Some(level) = levels.get(first) else { continue };
        kinds.push(Kind::ApprovalReplanned(ApprovalReplanned {
            gate_id: gate.gate_id.clone(),
            level: number(first),
            due_us: context.occurred_at.as_microsecond() + level.timeout_ms * 1_000,
            severity: severity.into(),
            skipped_levels: (0..first).map(number).collect(),
            levels,
            auto_escalate_p1: counted(severity, rules),
        }));
        wake.push(gate.workflow_id.clone());
    }
    (kinds, wake)
}

/// The flag's value, where it decided how many levels there are.
fn counted(severity: Severity, rules: Rules<'_>) -> Option<bool> {
    (severity == Severity::P1).then_some(rules.auto_escalate_p1)
}

/// Nobody needs to decide any more.
pub(crate) fn cancel(state: &IncidentState, gate_id: &str, reason: &str) -> Judged {
    let Some(gate) = state.gates.iter().find(|gate| gate.gate_id == gate_id) else {
        return Judged::new(
            Answer::Settled { settled: settled("cancelled", "the gate is not known") },
            vec![],
        );
    };
    if gate.status != "pending" {
        return Judged::new(Answer::Settled { settled: settled_as(gate) }, vec![]);
    }
    let record = Kind::ApprovalCancelled(ApprovalCancelled {
        gate_id: gate_id.to_owned(),
        reason: Text::optional(reason),
    });
    Judged::new(Answer::Settled { settled: settled("cancelled", reason) }, vec![record])
}

fn settled(status: &str, reason: &str) -> Settled {
    Settled {
        status: status.to_owned(),
        by: String::new(),
        reason: Some(reason.to_owned()),
        break_glass: false,
    }
}

/// How a gate ended, from the folded state.
fn settled_as(gate: &GateState) -> Settled {
    Settled {
        status: gate.status.clone(),
        by: gate.decided_by.clone(),
        reason: None,
        break_glass: gate.break_glass,
    }
}

/// A gate of the folded state, as workflows and people see it.
pub fn view(gate: &GateState) -> GateView {
    let level = gate_level(gate);
    GateView {
        gate_id: gate.gate_id.clone(),
        digest: hex::encode(&gate.digest),
        action: gate.action.clone(),
        request_reason: gate.reason.as_ref().map(|text| text.shown().to_owned()).unwrap_or_default(),
        required_roles: level.map(|level| level.roles.clone()).unwrap_or_default(),
        level: gate.level,
        page: level.is_some_and(|level| level.page),
        requested_at: time(gate.requested_at_us),
        deadline: time(gate.due_us),
        timeout_ms: level.map_or(0, |level| level.timeout_ms),
        requester: gate.requester.clone(),
        escalates: index(gate.level) + 1 < gate.levels.len(),
        plan: gate.plans,
        severity: gate.severity(),
        escalated_by: gate.escalated_by.clone(),
    }
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

fn org_of(state: &IncidentState) -> OrgId {
    state.org.parse().unwrap_or_default()
}

//! Judging a decision: every rule that it has to pass, and the record of the verdict.

use harmony_protos::log::{
    ApprovalDecided, ApprovalRefused, Authority, GateState, IncidentState, RefusalTally, Severity, Text,
    payload::Kind,
};
use jiff::Timestamp;

use super::{
    cancel, is_skippable, needs_note, org_of,
    refusal::{GateRefusal, RefusalReason},
    time,
};
use crate::{
    authority::{GateAsk, GateRight},
    command::{
        Answer, Attested, Context, Decision, DecisionInput, DecisionPayload, Refusal, Settled, Verdict,
    },
    directory::Principal,
    ids::WorkflowId,
    judge::{JUSTIFICATION_CHARS, Judged, Rules, TEXT_LIMIT_BYTES},
    machine,
    policy::Manual,
    status::{GateStatus, HasStatus},
};

/// How many refusals of one gate are recorded one by one within a minute. What comes above is on record as one count.
pub const REFUSALS_A_MINUTE: u32 = 20;
const MINUTE_US: i64 = 60_000_000;
const APPROVER_CHARS: usize = 128;
const DECISION_ID_CHARS: usize = 64;
const SOURCE_CHARS: usize = 16;
/// A parser's message may quote all of what it did not understand.
const EXPLANATION_CHARS: usize = 1_000;

/// Judges a decision. The verdict is on record whatever it is; of too many refusals, their number is. A run that waits
/// for it is woken, unless the run itself handed it in.
pub(crate) fn decide(
    state: &IncidentState,
    input: &DecisionInput,
    context: &Context,
    rules: Rules<'_>,
) -> Judged {
    let at_us = context.occurred_at.as_microsecond();
    let payload = match &input.payload {
        Ok(payload) => payload,
        Err(problem) => {
            let refused = GateRefusal::Unreadable(problem.clone());
            return refused.judged(state, pending(state, input), "", input, at_us);
        }
    };
    match accept(state, input, rules) {
        Err(refused) => refused.judged(state, named(state, input), &payload.approver_id, input, at_us),
        Ok((gate, acted_as)) => {
            let mut judged = if machine::is_over(state.state()) && gate.blueprint == "remediate" {
                let reason = format!("the incident is {}", state.state().as_str_name());
                cancel(state, &gate.gate_id, &reason)
            } else {
                accepted(gate, acted_as, payload, input)
            };
            if gate.workflow_id != context.cause.workflow_id {
                judged.wake.extend(gate.workflow_id.parse::<WorkflowId>());
            }
            judged
        }
    }
}

/// The decision counts: it settles the gate, or is one of the approvals that the gate needs.
fn accepted(gate: &GateState, acted_as: String, payload: &DecisionPayload, input: &DecisionInput) -> Judged {
    let approved = payload.decision == Decision::Approved;
    let authority = if payload.break_glass { Authority::EmergencyOverride } else { Authority::None };
    // One rejection rejects, who skips repeats nothing, and broken glass waits for nobody.
    let (quorum, approvals) = if gate.quorum > 1 && approved && !payload.break_glass {
        (gate.quorum, [gate.approvals.as_slice(), std::slice::from_ref(&payload.approver_id)].concat())
    } else {
        (0, Vec::new())
    };
    let given = u32::try_from(approvals.len()).unwrap_or(u32::MAX);
    let settled = (given >= quorum).then(|| Settled {
        status: payload.decision.into(),
        by: if approvals.is_empty() { payload.approver_id.clone() } else { approvals.join(", ") },
        reason: payload.reason.clone().or_else(|| payload.justification.clone()),
        break_glass: payload.break_glass,
    });
    let verdict = Verdict {
        accepted: true,
        status: settled.as_ref().map_or(GateStatus::Pending, |settled| settled.status),
        refused_because: None,
        gate_id: Some(gate.gate_id.clone()),
        settled,
        approvals,
        counted_from: None,
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
        approvals: given,
        quorum,
        skipped: payload.decision == Decision::Skipped,
    });
    let actor = Some(payload.approver_id.clone());
    Judged { actor, ..Judged::new(Answer::Judged { verdict }, vec![record]) }
}

/// Decisions were refused that were too many to record one by one: this is their record.
pub(crate) fn count(gate_id: &str, minute: Timestamp, not_recorded: u32) -> Result<Judged, Refusal> {
    if not_recorded == 0 {
        return Err(Refusal::Invalid { explanation: "there is nothing to count".to_owned() });
    }
    let explanation = format!(
        "{not_recorded} more decisions were refused in the minute from {minute}: too many to record each"
    );
    let record = Kind::ApprovalRefused(ApprovalRefused {
        gate_id: gate_id.to_owned(),
        refused_because: RefusalReason::Flood.name().to_owned(),
        explanation: Text::optional(explanation),
        count: not_recorded,
        ..ApprovalRefused::default()
    });
    Ok(Judged::new(Answer::Counted { not_recorded }, vec![record]))
}

/// Where the minute began that a refusal at this time falls into, and whether it is one too many.
fn tally(state: &IncidentState, gate_id: &str, at_us: i64) -> (i64, bool) {
    let running = |one: &&RefusalTally| {
        one.gate_id == gate_id && (one.minute_us..one.minute_us + MINUTE_US).contains(&at_us)
    };
    match state.refusal_tallies.iter().find(running) {
        Some(one) => (one.minute_us, one.recorded >= REFUSALS_A_MINUTE),
        None => (at_us, false),
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

impl GateRefusal {
    /// The verdict, and its record unless it is only counted.
    fn judged(
        &self,
        state: &IncidentState,
        gate: Option<&GateState>,
        approver: &str,
        input: &DecisionInput,
        at_us: i64,
    ) -> Judged {
        let because = self.reason().name().to_owned();
        let explanation = cut(&self.explanation(), EXPLANATION_CHARS);
        let gate_id = gate.map(|gate| gate.gate_id.clone());
        let (minute_us, too_many) = tally(state, gate_id.as_deref().unwrap_or_default(), at_us);
        let only_counted = too_many && input.counted;
        let verdict = Verdict {
            accepted: false,
            status: gate.and_then(HasStatus::status).unwrap_or(GateStatus::None),
            refused_because: Some(format!("{because}: {explanation}")),
            gate_id: gate_id.clone(),
            settled: None,
            approvals: Vec::new(),
            counted_from: only_counted.then(|| time(minute_us)),
        };
        if only_counted {
            return Judged::new(Answer::Judged { verdict }, vec![]);
        }
        let decision_id = input.payload.as_ref().ok().and_then(|payload| payload.decision_id.as_deref());
        let record = Kind::ApprovalRefused(ApprovalRefused {
            gate_id: gate_id.unwrap_or_default(),
            approver: Text::optional(cut(approver, APPROVER_CHARS)),
            refused_because: because,
            decision_id: cut(decision_id.unwrap_or_default(), DECISION_ID_CHARS),
            source: source(input),
            attested: input.attested == Attested::Yes,
            explanation: Text::optional(explanation),
            minute_us,
            count: 0,
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
    own(state, input).find(|gate| gate.is(GateStatus::Pending))
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
) -> Result<(&'a GateState, String), GateRefusal> {
    let payload = input.payload.as_ref().map_err(|problem| GateRefusal::Unreadable(problem.clone()))?;
    if payload.reason.as_ref().is_some_and(|reason| reason.len() > TEXT_LIMIT_BYTES) {
        return Err(GateRefusal::ReasonTooLong);
    }
    match input.attested {
        Attested::Yes => {
            if payload.gate_id.is_none() || payload.digest.is_none() {
                return Err(GateRefusal::NamesNoGate);
            }
        }
        Attested::Forged => {
            return Err(GateRefusal::Forged);
        }
        Attested::No => {
            if rules.policy.manual_signals == Manual::Refuse {
                return Err(GateRefusal::SentByHand);
            }
        }
    }
    check_break_glass(state, input, payload, rules)?;
    let Some(principal) = rules.directory.get(&payload.approver_id) else {
        return Err(GateRefusal::UnknownApprover);
    };
    let gate = match (&payload.gate_id, pending(state, input)) {
        (None, Some(gate)) => gate,
        (None, None) => {
            let last = own(state, input).max_by_key(|gate| gate.requested_seq);
            return Err(last.map_or(GateRefusal::NoGatePending, GateRefusal::settled));
        }
        (Some(id), pending) => match own(state, input).find(|gate| gate.gate_id == *id) {
            Some(gate) if gate.is(GateStatus::Pending) => gate,
            Some(gate) => return Err(GateRefusal::settled(gate)),
            None if pending.is_some() => return Err(GateRefusal::AnotherGatePending),
            None => return Err(GateRefusal::GateNotPending),
        },
    };
    if payload.digest.as_ref().is_some_and(|digest| *digest != hex::encode(&gate.digest)) {
        return Err(GateRefusal::AnotherDigest);
    }
    if payload.decision == Decision::Skipped && !is_skippable(gate) {
        return Err(GateRefusal::NothingToSkip);
    }
    let note = payload.reason.as_deref().or(payload.justification.as_deref()).unwrap_or_default();
    if payload.decision == Decision::Approved && needs_note(gate) && note.trim().is_empty() {
        return Err(GateRefusal::NoteMissing);
    }
    let acted_as = may_decide(state, gate, principal, payload, rules)?;
    if input.decided_at.as_microsecond() > gate.due_us {
        return Err(GateRefusal::AfterDeadline);
    }
    let again = gate.approvals.contains(&payload.approver_id);
    if again && payload.decision == Decision::Approved && !payload.break_glass {
        return Err(GateRefusal::ApprovedAlready);
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
) -> Result<String, GateRefusal> {
    let decision = match (payload.decision, payload.break_glass) {
        (Decision::Approved, true) => GateRight::BreakGlass,
        // Whoever skips lets what was asked for go on.
        (Decision::Approved, false) | (Decision::Skipped, _) => GateRight::Approve,
        (Decision::Rejected, _) => GateRight::Reject,
    };
    let (org, ask) = (org_of(state), GateAsk::of(gate));
    rules
        .access
        .may_decide(principal, decision, &org, state, ask)
        .map_err(|denied| GateRefusal::denied(denied, payload.break_glass, ask.roles))?;
    let role = rules.access.acts_as(principal, decision, &org, state, ask);
    Ok(role.map(|role| role.name().to_owned()).unwrap_or_default())
}

/// Breaking the glass lifts four eyes and the level's roles, and nothing else: who may, when, and with what words.
fn check_break_glass(
    state: &IncidentState,
    input: &DecisionInput,
    payload: &DecisionPayload,
    rules: Rules<'_>,
) -> Result<(), GateRefusal> {
    let justification = payload.justification.as_deref().unwrap_or_default();
    if justification.len() > TEXT_LIMIT_BYTES {
        return Err(GateRefusal::JustificationTooLong);
    }
    if !payload.break_glass {
        return if justification.is_empty() { Ok(()) } else { Err(GateRefusal::JustificationWithoutGlass) };
    }
    if input.attested == Attested::No {
        return Err(GateRefusal::GlassByHand);
    }
    if payload.decision != Decision::Approved {
        return Err(GateRefusal::GlassToReject);
    }
    if !rules.policy.break_glass {
        return Err(GateRefusal::GlassForbidden);
    }
    if !matches!(state.severity(), Severity::P1 | Severity::P2) {
        return Err(GateRefusal::GlassWithoutUrgency);
    }
    if justification.trim().chars().count() < JUSTIFICATION_CHARS {
        return Err(GateRefusal::GlassWithoutJustification);
    }
    Ok(())
}

//! The judge: what a command makes of an incident, or why not. The one place where the rules of section 4 hold,
//! whoever asks. Pure; called inside the store's transaction.

use std::sync::Arc;

use harmony_protos::log::{
    ApprovalCancelled, BlueprintState, CandidateDecided, GateState, IncidentCreated, IncidentResolved,
    IncidentSeverityChanged, IncidentState, IncidentStatusChanged, Payload, Phase, PhaseChanged,
    RecordRedacted, Relation, ResolutionType, ResponderAssigned, RunbookCellStarted, RunbookDryRunPlanned,
    Severity, State, StepFailed, Text, payload::Kind,
};

use crate::{
    approvals,
    authority::Access,
    clock,
    command::{Answer, Command, Context, Refusal, ResolutionInput},
    directory::{Directory, Role},
    fold::SIGN_OFF,
    ids::{IncidentId, WorkflowId, WorkflowType},
    leading,
    machine::{self, Needs, TransitionError},
    policy::{GateKind, Policy},
    promotion::{Outcome, Policies},
    runs,
    status::{GateStatus, HasStatus, StepStatus},
    words,
};

/// Longest title, as Statuspage takes no longer name.
pub const TITLE_LIMIT_CHARS: usize = 255;
/// Longest free text of a command.
pub const TEXT_LIMIT_BYTES: usize = 64 * 1024;
/// Largest input that a workflow reads, as JSON: what a start carries, or a decision that is sent by hand.
pub const INPUT_LIMIT_BYTES: usize = 64 * 1024;
/// Most services, and most components of the status page, of one incident.
pub const LIST_LIMIT: usize = 100;
/// Longest such list in all: it travels with every workflow of its incident.
pub const LIST_LIMIT_BYTES: usize = 8 * 1024;
/// Shortest justification of an `EMERGENCY_OVERRIDE`.
pub const JUSTIFICATION_CHARS: usize = 20;

/// Who there is and what may be done.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Who there is.
    pub directory: &'a Directory,
    /// What each may do.
    pub access: &'a Access,
    /// What has a gate, and whose.
    pub policy: &'a Policy,
    /// Flag `incident.auto-escalate-p1`.
    pub auto_escalate_p1: bool,
    /// Which candidates become incidents.
    pub promotion: &'a Policies,
}

/// Rules that are in force now. Files may change while Harmony runs: ask again for each command.
pub trait RulesSource: Send + Sync {
    /// The rules in force.
    fn current(&self) -> Arc<RuleSet>;
}

/// Rules with their owner.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    /// Who there is.
    pub directory: Directory,
    /// What each may do.
    pub access: std::sync::Arc<Access>,
    /// What has a gate, and whose.
    pub policy: Policy,
    /// Flag `incident.auto-escalate-p1`.
    pub auto_escalate_p1: bool,
    /// Which candidates become incidents.
    pub promotion: Arc<Policies>,
}

impl RuleSet {
    /// For judging.
    pub fn rules(&self) -> Rules<'_> {
        Rules {
            directory: &self.directory,
            access: &self.access,
            policy: &self.policy,
            auto_escalate_p1: self.auto_escalate_p1,
            promotion: &self.promotion,
        }
    }
}

/// What a command is judged against.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Folded state, without texts.
    pub state: &'a IncidentState,
}

/// What follows a command once it is on record.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Records to append, in order.
    pub payloads: Vec<Payload>,
    /// The answer to store with the key.
    pub answer: Answer,
    /// Where the event ids come from when not from the command's key (a key may hold a run id).
    pub identity: Option<String>,
    /// Workflows whose gate was settled from outside and that should look.
    pub wake: Vec<WorkflowId>,
    /// Who did it where that is not whoever handed the command in: a decision is its decider's.
    pub actor: Option<String>,
    /// The cause's step, where the command itself is what the step says.
    pub step: Option<&'static str>,
}

impl Judged {
    /// It is so already: nothing to record.
    pub fn unchanged() -> Self {
        Self::new(Answer::Unchanged, vec![])
    }

    /// These records, and this answer.
    pub fn new(answer: Answer, kinds: Vec<Kind>) -> Self {
        Self {
            payloads: kinds.into_iter().map(payload).collect(),
            answer,
            identity: None,
            wake: Vec::new(),
            actor: None,
            step: None,
        }
    }

    /// The context of its records: as handed in, but for what the command itself says of it.
    pub fn context(&self, handed_in: &Context) -> Context {
        let mut context = handed_in.clone();
        if let Some(actor) = &self.actor {
            context.actor.clone_from(actor);
        }
        if let Some(step) = self.step {
            step.clone_into(&mut context.cause.step);
        }
        context
    }
}

/// A payload of this kind.
pub fn payload(kind: Kind) -> Payload {
    Payload { kind: Some(kind) }
}

/// Judges a command.
pub fn judge(
    head: Head<'_>,
    command: &Command,
    context: &Context,
    rules: Rules<'_>,
) -> Result<Judged, Refusal> {
    let state = head.state;
    if !of_an_incident(state) && !command.is_of_a_run() {
        return Err(invalid("this is a command for an incident, and this is a service"));
    }
    let exists = state.seq > 0;
    if exists == command.declares() {
        return Err(invalid(if exists {
            "this incident exists already"
        } else {
            "this incident does not exist"
        }));
    }
    match command {
        Command::Declare { incident } => {
            declare(state, incident, context)?;
            let created = Kind::IncidentCreated(timed(incident, context, rules));
            bounded(Judged::new(Answer::Recorded, vec![created]))
        }
        Command::Promote { incident, decided, justification } => {
            promote(state, &timed(incident, context, rules), decided, justification, context)
        }
        Command::ChangeStatus { to, reason, justification, resolution } => {
            change_status(state, *to, reason, justification, resolution.as_ref(), context)
        }
        Command::EnterPhase { phase } => enter_phase(state, *phase),
        Command::ChangeSeverity { to, reason } => {
            if *to == Severity::Unspecified {
                return Err(invalid("a severity is P1, P2, P3 or P4"));
            }
            if state.severity() == *to {
                return Ok(Judged::new(Answer::Unchanged, vec![]));
            }
            if machine::is_over(state.state()) {
                return Err(Refusal::Illegal {
                    explanation: format!(
                        "the severity of an incident that is {} does not change",
                        state.state().as_str_name()
                    ),
                });
            }
            let kind = Kind::IncidentSeverityChanged(IncidentSeverityChanged {
                from: state.severity,
                to: (*to).into(),
                reason: Text::optional(reason),
                replans_updates: true,
                next_update_due_us: leading::replanned_update(state, *to, rules),
            });
            let (replanned, wake) = approvals::replan(state, *to, context, rules);
            let wake = wake.into_iter().chain(leading::wake(state)).collect();
            let kinds = std::iter::once(kind).chain(replanned).collect();
            bounded(Judged { wake, ..Judged::new(Answer::Recorded, kinds) })
        }
        Command::StartBlueprint { workflow_id, starter, attested, target, refuse, input_text } => {
            let run = runs::Run { workflow_id, starter, attested: *attested, input_text };
            Ok(runs::start(state, &run, *target, refuse.as_deref(), context))
        }
        Command::MarkOrphaned { workflow_id, attempt, reason } => {
            Ok(runs::orphaned(state, workflow_id, *attempt, reason))
        }
        Command::ResumeBlueprint { workflow_id, attempt } => {
            runs::resume(state, workflow_id, *attempt, context)
        }
        Command::Record { payload } => record(state, payload, context, rules),
        Command::OpenGate { request } => approvals::open(state, request, context, rules),
        Command::Decide { input } => Ok(approvals::decide(state, input, context, rules)),
        Command::CountRefusals { gate_id, minute, not_recorded } => {
            approvals::count(gate_id, *minute, *not_recorded)
        }
        Command::ExpireLevel { gate_id, level } => {
            Ok(approvals::expire(state, gate_id, *level, context, rules))
        }
        Command::Escalate { gate_id, reason } => approvals::escalate(state, gate_id, reason, context, rules),
        Command::CancelGate { gate_id, reason } => Ok(approvals::cancel(state, gate_id, reason)),
        Command::Alarm { due } => Ok(match clock::record(state, rules.policy, *due, context.occurred_at) {
            Some(kind) => Judged::new(Answer::Recorded, vec![kind]),
            None => Judged::unchanged(),
        }),
        Command::SignOff { digest } => sign_off(state, digest, context),
        Command::Close => {
            // The nearest obstacle first: what is not RESOLVED has nothing to sign off yet.
            if transition(state, State::Closed, context, false)?.is_none() {
                return Ok(Judged::unchanged());
            }
            if rules.policy.needs_review(state.severity()) {
                return Err(Refusal::Illegal {
                    explanation: format!(
                        "a {} needs a signed-off review before it closes: publish it and sign it off",
                        state.severity().as_str_name()
                    ),
                });
            }
            close(state, context)
        }
        Command::Redact { seq, field, reason } => {
            redaction("incident", state.seq, *seq, field.as_deref(), reason)
        }
    }
}

/// With what the policy says about the first update.
fn timed(incident: &IncidentCreated, context: &Context, rules: Rules<'_>) -> IncidentCreated {
    let next_update_due_us = clock::next_update(rules.policy, incident.severity(), context.occurred_at);
    IncidentCreated { next_update_due_us, ..incident.clone() }
}

fn declare(state: &IncidentState, incident: &IncidentCreated, context: &Context) -> Result<(), Refusal> {
    check_title(incident.title.as_ref())?;
    if let Some(public) = incident.public_title.as_ref() {
        check_line("a public title", &public.text)?;
    }
    for (what, list) in
        [("impactedServices", &incident.impacted_services), ("publicComponents", &incident.public_components)]
    {
        if list.len() > LIST_LIMIT || list.iter().map(String::len).sum::<usize>() > LIST_LIMIT_BYTES {
            return Err(invalid(&format!(
                "{what} has at most {LIST_LIMIT} names, and {} KiB in all",
                LIST_LIMIT_BYTES / 1024
            )));
        }
    }
    if incident.severity() == Severity::Unspecified {
        return Err(invalid("an incident needs a severity: P1, P2, P3 or P4"));
    }
    transition(state, State::Pending, context, false).map(drop)
}

/// From a decision to an OPEN incident. `AUTO_ENGINE` may open it, since a promotion decided.
fn promote(
    state: &IncidentState,
    incident: &IncidentCreated,
    decided: &CandidateDecided,
    justification: &str,
    context: &Context,
) -> Result<Judged, Refusal> {
    if decided.outcome != Outcome::Promote.name()
        || decided.decision_id.is_empty()
        || decided.decision_id != incident.decision_id
    {
        return Err(invalid("only a decision to promote makes an incident, and the incident names it"));
    }
    declare(state, incident, context)?;
    let created = Kind::IncidentCreated(incident.clone());
    let pending = IncidentState {
        state: State::Pending.into(),
        decision_id: incident.decision_id.clone(),
        ..IncidentState::default()
    };
    let opened = change_status(&pending, State::Open, "", justification, None, context)?;
    let mut judged = Judged::new(Answer::Recorded, vec![created, Kind::CandidateDecided(decided.clone())]);
    judged.payloads.extend(opened.payloads);
    bounded(judged)
}

fn check_title(title: Option<&Text>) -> Result<(), Refusal> {
    let title = title.map(|text| text.text.as_str()).unwrap_or_default();
    if title.trim().is_empty() {
        return Err(invalid("an incident needs a title"));
    }
    check_line("a title", title)
}

/// Checked as it will be stored, its edges too.
fn check_line(what: &str, line: &str) -> Result<(), Refusal> {
    if line.chars().count() > TITLE_LIMIT_CHARS {
        return Err(invalid(&format!("{what} has at most {TITLE_LIMIT_CHARS} characters")));
    }
    if line.chars().any(char::is_control) {
        return Err(invalid(&format!("{what} is one line without control characters")));
    }
    Ok(())
}

/// Everything that a person writes has an end.
pub fn bounded(mut judged: Judged) -> Result<Judged, Refusal> {
    for payload in &mut judged.payloads {
        check_texts(payload)?;
    }
    Ok(judged)
}

fn check_texts(payload: &mut Payload) -> Result<(), Refusal> {
    match harmony_protos::texts(payload).iter().find(|field| field.text.text.len() > TEXT_LIMIT_BYTES) {
        Some(long) => Err(invalid(&format!("{} has more than 64 KiB", long.name))),
        None => Ok(()),
    }
}

pub(crate) fn transition(
    state: &IncidentState,
    to: State,
    context: &Context,
    by_promotion: bool,
) -> Result<Option<Needs>, Refusal> {
    machine::transition(state.state(), to, context.authority, by_promotion)
        .map(|rule| rule.map(|rule| rule.needs))
        .map_err(|error| {
            let explanation = error.to_string();
            match error {
                TransitionError::Illegal { .. } => Refusal::Illegal { explanation },
                TransitionError::Authority { .. } => Refusal::Authority { explanation },
            }
        })
}

fn change_status(
    state: &IncidentState,
    to: State,
    reason: &str,
    justification: &str,
    resolution: Option<&ResolutionInput>,
    context: &Context,
) -> Result<Judged, Refusal> {
    let Some(needs) = transition(state, to, context, !state.decision_id.is_empty())? else {
        return Ok(Judged::new(Answer::Unchanged, vec![]));
    };
    if context.authority == harmony_protos::log::Authority::EmergencyOverride
        && justification.trim().chars().count() < JUSTIFICATION_CHARS
    {
        return Err(invalid("an emergency override needs a justification of at least 20 characters"));
    }
    let mut kinds = vec![Kind::IncidentStatusChanged(IncidentStatusChanged {
        from: state.state,
        to: to.into(),
        reason: Text::optional(reason),
        justification: Text::optional(justification),
    })];
    match needs {
        Needs::Nothing => {}
        Needs::Reason if reason.trim().is_empty() => {
            return Err(invalid("cancelling needs a reason"));
        }
        Needs::Reason => {}
        Needs::Resolution => {
            let resolution = resolution
                .filter(|one| !one.summary.trim().is_empty() && !one.resolved_by.is_empty())
                .filter(|one| one.kind != ResolutionType::ResolutionUnspecified)
                .ok_or_else(|| {
                    invalid(
                        "resolving needs a resolution: summary, type (FIXED, FALSE_POSITIVE, DUPLICATE or WONT_FIX) \
                         and by whom",
                    )
                })?;
            kinds.push(Kind::IncidentResolved(IncidentResolved {
                summary: Some(Text::plain(&resolution.summary)),
                r#type: resolution.kind.into(),
                resolved_by: resolution.resolved_by.clone(),
            }));
        }
    }
    let mut wake = Vec::new();
    // Closing and archiving leave alone what was opened after the end: the gate on archiving the channel, say.
    if matches!(to, State::Resolved | State::Cancelled) {
        let reason = format!("the incident is {}", to.as_str_name());
        for gate in state.gates.iter().filter(|gate| gate.is(GateStatus::Pending)) {
            // The review's gate belongs to what comes after.
            if gate.blueprint == WorkflowType::PostMortem.blueprint()
                || gate.workflow_id == context.cause.workflow_id
            {
                continue;
            }
            kinds.push(Kind::ApprovalCancelled(ApprovalCancelled {
                gate_id: gate.gate_id.clone(),
                reason: Some(Text::plain(&reason)),
            }));
            wake.extend(gate.workflow_id.parse::<WorkflowId>());
        }
        wake.extend(leading::wake(state));
    }
    bounded(Judged { wake, ..Judged::new(Answer::Recorded, kinds) })
}

fn enter_phase(state: &IncidentState, phase: Phase) -> Result<Judged, Refusal> {
    if state.phase() == phase {
        return Ok(Judged::new(Answer::Unchanged, vec![]));
    }
    if !machine::phase_fits(state.state(), phase) {
        return Err(Refusal::Illegal {
            explanation: format!(
                "phase {} does not fit an incident that is {}",
                words::phase_name(phase),
                state.state().as_str_name()
            ),
        });
    }
    let kind =
        Kind::PhaseChanged(PhaseChanged { from: state.phase, to: phase.into(), escalated: state.escalated });
    Ok(Judged::new(Answer::Recorded, vec![kind]))
}

fn record(
    state: &IncidentState,
    payload: &Payload,
    context: &Context,
    rules: Rules<'_>,
) -> Result<Judged, Refusal> {
    let Some(kind) = payload.kind.as_ref() else {
        return Err(invalid("there is nothing to record"));
    };
    // Pages and results are bounded where they are made; everything a person writes is bounded here.
    if !matches!(kind, Kind::PostMortemRendered(_) | Kind::BlueprintCompleted(_)) {
        check_texts(&mut payload.clone())?;
    }
    let required = |what: &str, text: &str| {
        if text.trim().is_empty() { Err(invalid(&format!("{what} is empty"))) } else { Ok(()) }
    };
    let shown = |text: &Option<Text>| text.as_ref().map(|text| text.text.clone()).unwrap_or_default();
    match kind {
        Kind::IncidentNoteAdded(p) => required("the note", &shown(&p.note))?,
        Kind::IncidentUpdated(p) => {
            if p.title.is_some() {
                check_title(p.title.as_ref())?;
            }
            return leading::update(state, p, context, rules);
        }
        Kind::IncidentTimeSet(p) => return leading::time(state, p, context),
        Kind::IncidentRelated(p) => return leading::relation(state, p),
        Kind::IncidentPrivacyChanged(p) => return leading::privacy(state, p, context, rules),
        Kind::IncidentEscalated(p) => return leading::escalation(state, p, rules),
        Kind::FollowUpChanged(p) => return leading::follow_up(state, p, context),
        Kind::FollowUpReminded(p) => return Ok(leading::follow_up_reminded(state, p)),
        Kind::DutyTicked(p) => return leading::duty(state, p, rules),
        // Tried twice at once, one try may fail after the other succeeded: the step has succeeded.
        Kind::StepFailed(p) if has_succeeded(state, p) => return Ok(Judged::new(Answer::Unchanged, vec![])),
        Kind::IncidentTagAdded(p) => {
            required("the tag", &p.tag)?;
            if state.tags.contains(&p.tag) {
                return Ok(Judged::new(Answer::Unchanged, vec![]));
            }
        }
        Kind::IncidentTagRemoved(p) => {
            if !state.tags.contains(&p.tag) {
                return Ok(Judged::new(Answer::Unchanged, vec![]));
            }
        }
        Kind::ReviewSectionWritten(p) => {
            if !crate::approvals::REVIEW_SECTIONS.contains(&p.section.as_str()) {
                return Err(invalid(&format!(
                    "section {:?} is not known; use one of {}",
                    p.section,
                    approvals::REVIEW_SECTIONS.join(", ")
                )));
            }
            required("the section's text", &shown(&p.text))?;
        }
        Kind::ChangeLinked(p) => {
            required("the release", &p.release_id)?;
            required("the service", &p.service_id)?;
            if p.relation() == Relation::Unspecified {
                return Err(invalid("a change is suspected, caused, related or dismissed"));
            }
        }
        Kind::ActionItemAdded(p) => {
            required("the action", &shown(&p.action))?;
            required("the action's owner", &p.owner)?;
            leading::check_priority(&p.priority)?;
        }
        Kind::RunbookCellStarted(p) => cell_may_start(state, p, context, rules)?,
        Kind::RunbookDryRunPlanned(p) => dry_run_may_begin(state, p, context)?,
        Kind::ResponderAssigned(p) => {
            required("the role", &p.role)?;
            required("the principal", &p.principal)?;
            let assigned = ResponderAssigned { empowered: empowers(state, p, context, rules), ..p.clone() };
            // Whoever was paged because nobody commands is told that somebody does.
            let wake = if assigned.role == clock::COMMANDER { leading::wake(state) } else { Vec::new() };
            let judged = Judged::new(Answer::Recorded, vec![Kind::ResponderAssigned(assigned)]);
            return Ok(Judged { wake, ..judged });
        }
        Kind::IncidentCreated(_)
        | Kind::IncidentStatusChanged(_)
        | Kind::IncidentSeverityChanged(_)
        | Kind::IncidentResolved(_)
        | Kind::PhaseChanged(_)
        | Kind::BlueprintStarted(_)
        | Kind::BlueprintOrphaned(_)
        | Kind::BlueprintResumed(_)
        | Kind::ApprovalRequested(_)
        | Kind::ApprovalDecided(_)
        | Kind::ApprovalRefused(_)
        | Kind::ApprovalTimedOut(_)
        | Kind::ApprovalEscalated(_)
        | Kind::ApprovalCancelled(_)
        | Kind::ApprovalReplanned(_)
        | Kind::UpdateReminded(_)
        | Kind::UpdateOverdue(_)
        | Kind::CommanderMissing(_)
        | Kind::ObjectiveBreached(_)
        | Kind::RecordRedacted(_)
        | Kind::WriteRefused(_)
        | Kind::ServiceWritten(_)
        | Kind::ServiceRetired(_)
        | Kind::EnvironmentWritten(_)
        | Kind::EnvironmentRetired(_)
        | Kind::ReleaseCreated(_)
        | Kind::ReleaseStatusChanged(_)
        | Kind::RunStarted(_)
        | Kind::RunLogged(_)
        | Kind::RunPoliciesJudged(_)
        | Kind::RunFinished(_) => {
            return Err(invalid("this kind of record follows only from its own command"));
        }
        Kind::IncidentSignalIngested(_)
        | Kind::IncidentPlaybookActionExecuted(_)
        | Kind::IncidentSloViolationRecorded(_)
        | Kind::IncidentLinkedToTicket(_)
        | Kind::ResponderReleased(_)
        | Kind::BlueprintCompleted(_)
        | Kind::StepSucceeded(_)
        | Kind::StepFailed(_)
        | Kind::StepSkipped(_)
        | Kind::RunbookCellFinished(_)
        | Kind::RunbookCellUnknown(_)
        | Kind::PostMortemRendered(_)
        | Kind::PostMortemPublished(_)
        | Kind::CandidateDecided(_) => {}
    }
    Ok(Judged::new(Answer::Recorded, vec![kind.clone()]))
}

/// Whether the state is an incident's: else it holds the blueprints and gates of a service's runs.
fn of_an_incident(state: &IncidentState) -> bool {
    state.incident.is_empty() || state.incident.parse::<IncidentId>().is_ok()
}

/// Whether an assignment gives a commander's rights: somebody else made it, who holds a gate role in the directory. Else
/// any responder could give themselves, or whoever they like, the right to approve.
fn empowers(
    state: &IncidentState,
    assigned: &ResponderAssigned,
    context: &Context,
    rules: Rules<'_>,
) -> bool {
    let by = rules.directory.get(&context.actor).filter(|by| by.id != assigned.principal);
    by.is_some_and(|by| {
        by.roles(&approvals::org_of(state), None)
            .iter()
            .any(|role| matches!(role, Role::OnCall | Role::Commander | Role::Manager | Role::Admin))
    })
}

/// A dry run is planned by a run of this incident that has asked for no gate.
fn dry_run_may_begin(
    state: &IncidentState,
    plan: &RunbookDryRunPlanned,
    context: &Context,
) -> Result<(), Refusal> {
    let workflow_id = &context.cause.workflow_id;
    let ours = |run: &&BlueprintState| {
        (&run.blueprint, run.attempt, &run.workflow_id) == (&plan.blueprint, plan.attempt, workflow_id)
    };
    let gated = |gate: &GateState| gate.workflow_id == *workflow_id && gate.attempt == plan.attempt;
    if state.blueprints.iter().find(ours).is_none() || state.gates.iter().any(gated) {
        let explanation = "a dry run is a run of its own, without a gate".to_owned();
        return Err(Refusal::Illegal { explanation });
    }
    if plan.digest.len() != 32 {
        return Err(Refusal::Invalid { explanation: "a dry run's digest is a SHA-256".to_owned() });
    }
    Ok(())
}

/// A cell starts only while its incident goes on, and once the gate of its own attempt was approved; again, only once
/// the gate that asked about this very cell was. No gate is needed where the policy has none.
fn cell_may_start(
    state: &IncidentState,
    cell: &RunbookCellStarted,
    context: &Context,
    rules: Rules<'_>,
) -> Result<(), Refusal> {
    let illegal = |explanation: String| Err(Refusal::Illegal { explanation });
    if machine::is_over(state.state()) {
        return illegal(format!(
            "the incident is {}: {} does not run",
            state.state().as_str_name(),
            cell.cell
        ));
    }
    if cell.purpose == DRY_RUN {
        let planned = |run: &&BlueprintState| {
            (&run.blueprint, run.attempt, &run.workflow_id)
                == (&cell.blueprint, cell.attempt, &context.cause.workflow_id)
                && !run.dry_run.is_empty()
        };
        return match state.blueprints.iter().find(planned) {
            Some(_) => Ok(()),
            None => illegal(format!("no dry run was planned: {} does not run", cell.cell)),
        };
    }
    let asked = |kind: GateKind, step: Option<&str>| {
        let ours = |gate: &&GateState| {
            gate.workflow_id == context.cause.workflow_id
                && gate.attempt == cell.attempt
                && gate.kind == kind.name()
                && step.is_none_or(|step| gate.gate_id.ends_with(&format!("#{}/{step}", cell.attempt)))
        };
        let mut gates = state.gates.iter().filter(ours);
        let refusing = |gate: &&GateState| !gate.is(GateStatus::Approved);
        match gates.clone().find(refusing).or_else(|| gates.next()) {
            Some(gate) if gate.is(GateStatus::Approved) => Ok(()),
            Some(gate) => {
                illegal(format!("gate {} is {}: {} does not run", gate.gate_id, gate.status, cell.cell))
            }
            None if rules.policy.has_gate(kind, state.severity(), context.authority) => {
                illegal(format!("nobody was asked to approve that {} runs", cell.cell))
            }
            None => Ok(()),
        }
    };
    asked(GateKind::Remediate, None)?;
    if cell.run > 1 {
        asked(GateKind::UnknownCell, Some(&format!("unknown/{}/{}", cell.purpose, cell.cell)))?;
    }
    // Whether it needs a checkpoint only what the gate covers says; where there is one, it must have been passed.
    match approvals::checkpoint(state, &context.cause.workflow_id, cell.attempt, &cell.purpose, &cell.cell) {
        Some(gate) if !gate.is(GateStatus::Approved) => {
            illegal(format!("checkpoint {} is {}: {} does not run", gate.gate_id, gate.status, cell.cell))
        }
        _ => Ok(()),
    }
}

/// The purpose of cells that are run to see what they would do.
pub const DRY_RUN: &str = "dry-run";

fn has_succeeded(state: &IncidentState, failed: &StepFailed) -> bool {
    state
        .blueprints
        .iter()
        .filter(|run| (&run.blueprint, run.attempt) == (&failed.blueprint, failed.attempt))
        .flat_map(|run| &run.steps)
        .any(|step| step.step == failed.step && step.is(StepStatus::Succeeded))
}

fn sign_off(state: &IncidentState, digest: &str, context: &Context) -> Result<Judged, Refusal> {
    let Some(review) = state.review.as_ref().filter(|review| review.published) else {
        return Err(Refusal::Illegal {
            explanation: "there is no published review to sign off: publish it first".to_owned(),
        });
    };
    if hex::encode(&review.digest) != digest {
        return Err(Refusal::Illegal {
            explanation:
                "the review was published again since you read it: read the present page and sign off that"
                    .to_owned(),
        });
    }
    Ok(Judged { step: Some(SIGN_OFF), ..close(state, context)? })
}

/// A redaction in the stream of a `subject` (an incident, say) whose last record is `last`. Legal in every state. Which
/// texts the record has, and whether they still stand, only the store can tell: it asks
/// [`record::redactable`](crate::record::redactable) in the same transaction.
pub fn redaction(
    subject: &str,
    last: u64,
    seq: u64,
    field: Option<&str>,
    reason: &str,
) -> Result<Judged, Refusal> {
    if reason.trim().is_empty() {
        return Err(invalid("a redaction needs a reason"));
    }
    if seq == 0 || seq > last {
        return Err(invalid(&format!("there is no record {seq}; this {subject} has 1 to {last}")));
    }
    if field.is_some_and(|field| field.trim().is_empty()) {
        return Err(invalid("the field has no name; leave it out for every text of the record"));
    }
    let kind = Kind::RecordRedacted(RecordRedacted {
        seq,
        field: field.unwrap_or_default().to_owned(),
        reason: Some(Text::plain(reason)),
    });
    bounded(Judged::new(Answer::Recorded, vec![kind]))
}

fn close(state: &IncidentState, context: &Context) -> Result<Judged, Refusal> {
    change_status(state, State::Closed, "", "", None, context)
}

/// Something is missing or malformed.
pub fn invalid(explanation: &str) -> Refusal {
    Refusal::Invalid { explanation: explanation.to_owned() }
}

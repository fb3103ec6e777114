//! The fold: what a record makes of an incident's state.
//!
//! Total and forgiving: a record is a fact, so folding never fails. Judging happened before it was written. The version
//! stands in every record; a fold that changes gets a new number and the old one stays callable.
//!
//! | fold | what it adds |
//! |---|---|
//! | 1 | everything else |
//! | 2 | all of a signal, an action and a violated objective; changes of status and severity as actions; the time of a gate's decision |

use harmony_protos::log::{
    ActionItem, ActionKind, ActionState, ActorType, ApprovalDecided, ApprovalRequested, Authority,
    BlueprintState, BreachState, CandidateState, ChangeLinked, FollowUpChanged, GateState, IncidentState,
    Link, Phase, Record, RefusalTally, RelationState, Resolution, Responder, Review, ReviewSection,
    SignalState, SloViolationState, State, StepState, Text, TicketState, TimeState, payload::Kind,
};

use crate::{
    ids::WorkflowType,
    leading::{FollowUpState, TicketWord, duty_key},
    machine,
    status::{GateStatus, HasStatus, RunStatus, StepStatus},
};

/// Version of the fold that this build writes.
pub const FOLD_VERSION: u32 = 2;

/// What the source of a signal begins with that tells what happened at PagerDuty to a linked incident; what happened
/// follows.
pub const PAGERDUTY_SIGNAL: &str = "pagerduty/";

/// The cause's step by which the record of a sign-off is told from that of a plain close. The judge writes it.
pub(crate) const SIGN_OFF: &str = "sign-off";

/// The state after a record.
pub fn fold(mut state: IncidentState, record: &Record) -> IncidentState {
    state.seq = record.seq;
    if let Some(kind) = record.payload.as_ref().and_then(|payload| payload.kind.as_ref()) {
        apply(&mut state, record, kind);
    }
    // The first human command after the declaration acknowledges it.
    let by_hand = record.cause.as_ref().is_none_or(|cause| cause.workflow_id.is_empty());
    if record.seq > 1 && by_hand && record.authority >= Authority::HumanOperator as i32 {
        acknowledge(&mut state, record.occurred_at_us);
    }
    state
}

#[allow(clippy::too_many_lines, reason = "one arm a kind: splitting it would hide which kinds are missing")]
fn apply(state: &mut IncidentState, record: &Record, kind: &Kind) {
    let at = record.occurred_at_us;
    let whole = record.fold_version >= 2;
    match kind {
        Kind::IncidentCreated(p) => {
            state.org.clone_from(&record.org);
            state.incident.clone_from(&record.incident);
            state.severity = p.severity;
            state.title.clone_from(&p.title);
            state.summary.clone_from(&p.summary);
            state.public_title.clone_from(&p.public_title);
            state.public_message.clone_from(&p.public_message);
            state.service_name.clone_from(&p.service_name);
            state.environment.clone_from(&p.environment);
            state.project_id.clone_from(&p.project_id);
            state.detected_by.clone_from(&p.detected_by);
            state.trace_id.clone_from(&p.trace_id);
            state.cost_center.clone_from(&p.cost_center);
            state.impacted_services = sorted(p.impacted_services.clone());
            add(&mut state.correlation_keys, &p.initial_correlation_key);
            state.decision_id.clone_from(&p.decision_id);
            state.primary_signal_id.clone_from(&p.primary_signal_id);
            state.runbook_path.clone_from(&p.runbook_path);
            state.public_components = sorted(p.public_components.clone());
            state.created_at_us = at;
            state.drill = p.drill;
            state.private = p.private;
            state.private_to = sorted(p.private_to.clone());
            state.impact_started_at_us = p.impact_started_us;
            state.detected_at_us = p.detected_us;
            state.next_update_due_us = p.next_update_due_us;
            state.declared_by.clone_from(&record.actor);
            state.set_state(State::Pending);
            state.set_phase(Phase::Created);
        }
        Kind::IncidentUpdated(p) => {
            if p.title.is_some() {
                state.title.clone_from(&p.title);
            }
            if p.summary.is_some() {
                state.summary.clone_from(&p.summary);
            }
            if p.number > 0 {
                state.updates = p.number;
                state.last_update_us = at;
                state.next_update_due_us = p.next_update_due_us;
            }
        }
        Kind::IncidentStatusChanged(p) => {
            if whole {
                let change = format!("{} → {}", p.from().as_str_name(), p.to().as_str_name());
                state.actions.push(changed(record, ActionKind::StatusChange, change, p.reason.as_ref()));
            }
            state.set_state(p.to());
            if let Some(phase) = machine::phase_on_entering(p.to()) {
                state.set_phase(phase);
            }
            match p.to() {
                State::Resolved => state.resolved_at_us = at,
                State::Closed => {
                    state.closed_at_us = at;
                    let signed = record.cause.as_ref().is_some_and(|cause| cause.step == SIGN_OFF);
                    if let Some(review) = state.review.as_mut().filter(|_| signed) {
                        review.signed_off_by.clone_from(&record.actor);
                    }
                }
                State::Cancelled => state.escalated = false,
                State::Unspecified | State::Pending | State::Open | State::Mitigating | State::Archived => {}
            }
        }
        Kind::IncidentSeverityChanged(p) => {
            if whole {
                let change = format!("{} → {}", p.from().as_str_name(), p.to().as_str_name());
                state.actions.push(changed(record, ActionKind::SeverityChange, change, p.reason.as_ref()));
            }
            state.severity = p.to;
            if p.replans_updates {
                state.next_update_due_us = p.next_update_due_us;
            }
        }
        Kind::IncidentTagAdded(p) => add(&mut state.tags, &p.tag),
        Kind::IncidentTagRemoved(p) => state.tags.retain(|tag| *tag != p.tag),
        Kind::IncidentSignalIngested(p) => {
            if p.source.strip_prefix(PAGERDUTY_SIGNAL) == Some("incident.acknowledged") {
                // It may be known here after somebody has done something here.
                let known = state.acknowledged_at_us;
                state.acknowledged_at_us = if known == 0 { at } else { known.min(at) };
            }
            add(&mut state.correlation_keys, &p.correlation_key);
            let signal = SignalState {
                signal_id: p.signal_id.clone(),
                source: p.source.clone(),
                correlation_key: p.correlation_key.clone(),
                summary: p.summary.clone(),
                ..SignalState::default()
            };
            state.signals.push(if whole {
                SignalState {
                    trace_id: p.trace_id.clone(),
                    project_id: p.project_id.clone(),
                    signal_type: p.signal_type,
                    service_name: p.service_name.clone(),
                    environment: p.environment.clone(),
                    data: p.data.clone(),
                    at_us: at,
                    ..signal
                }
            } else {
                signal
            });
        }
        Kind::IncidentNoteAdded(_) => state.notes += 1,
        Kind::IncidentPlaybookActionExecuted(p) => {
            let action = ActionState {
                action_id: p.action_id.clone(),
                action: p.action.clone(),
                status: p.status.clone(),
                ..ActionState::default()
            };
            state.actions.push(if whole {
                ActionState {
                    action_kind: p.action_kind,
                    label: p.label.clone(),
                    detail: p.detail.clone(),
                    ..acted(record, action)
                }
            } else {
                action
            });
        }
        Kind::IncidentSloViolationRecorded(p) => {
            let violation = SloViolationState {
                slo: p.slo.clone(),
                target: p.target.clone(),
                observed: p.observed.clone(),
                ..SloViolationState::default()
            };
            state.slo_violations.push(if whole {
                SloViolationState {
                    detail: p.detail.clone(),
                    window_start_us: p.window_start_us,
                    window_end_us: p.window_end_us,
                    error_budget_consumed: p.error_budget_consumed.clone(),
                    threshold_breached: p.threshold_breached.clone(),
                    at_us: at,
                    ..violation
                }
            } else {
                violation
            });
        }
        Kind::IncidentLinkedToTicket(p) => state.tickets.push(TicketState {
            system: p.system.clone(),
            ticket: p.ticket.clone(),
            url: p.url.clone(),
        }),
        Kind::IncidentResolved(p) => {
            state.resolution = Some(Resolution {
                summary: p.summary.clone(),
                r#type: p.r#type,
                resolved_by: p.resolved_by.clone(),
            });
        }
        Kind::ResponderAssigned(p) => {
            acknowledge(state, at);
            state.responders.retain(|one| one.role != p.role);
            state.responders.push(Responder {
                role: p.role.clone(),
                principal: p.principal.clone(),
                empowered: p.empowered,
            });
            state.responders.sort_by(|a, b| a.role.cmp(&b.role));
        }
        Kind::ResponderReleased(p) => {
            state.responders.retain(|one| one.role != p.role || one.principal != p.principal);
        }
        Kind::ReviewSectionWritten(p) => {
            state.sections.retain(|one| one.section != p.section);
            state.sections.push(ReviewSection {
                section: p.section.clone(),
                text: p.text.clone(),
                author: record.actor.clone(),
                seq: record.seq,
            });
            state.sections.sort_by(|a, b| a.section.cmp(&b.section));
        }
        Kind::ActionItemAdded(p) => state.action_items.push(ActionItem {
            action: p.action.clone(),
            owner: p.owner.clone(),
            due: p.due.clone(),
            priority: p.priority.clone(),
            seq: record.seq,
            ..ActionItem::default()
        }),
        Kind::BlueprintStarted(p) if p.resumed > 0 => {
            if let Some(blueprint) = running(state, &p.blueprint, p.attempt) {
                blueprint.set_status(RunStatus::Running);
            }
        }
        Kind::BlueprintOrphaned(p) => {
            if let Some(blueprint) = running(state, &p.blueprint, p.attempt) {
                blueprint.set_status(RunStatus::Orphaned);
                blueprint.reason.clone_from(&p.reason);
            }
        }
        Kind::BlueprintResumed(p) => {
            if let Some(blueprint) = running(state, &p.blueprint, p.attempt) {
                blueprint.set_status(RunStatus::Resuming);
                blueprint.resumed = p.resumed;
                blueprint.reason = None;
            }
        }
        Kind::BlueprintStarted(p) => {
            state.blueprints.retain(|one| one.blueprint != p.blueprint);
            state.blueprints.push(BlueprintState {
                blueprint: p.blueprint.clone(),
                attempt: p.attempt,
                status: RunStatus::Running.into(),
                started_seq: if p.input.is_some() { record.seq } else { 0 },
                workflow_id: p.workflow_id.clone(),
                starter: p.starter.clone(),
                attested: p.attested,
                ..BlueprintState::default()
            });
            state.blueprints.sort_by(|a, b| a.blueprint.cmp(&b.blueprint));
        }
        Kind::BlueprintCompleted(p) => {
            if let Some(blueprint) = running(state, &p.blueprint, p.attempt) {
                blueprint.status.clone_from(&p.status);
                blueprint.reason.clone_from(&p.reason);
                blueprint.result.clone_from(&p.result);
            }
        }
        Kind::PhaseChanged(p) => {
            if p.to != 0 {
                state.phase = p.to;
            }
            state.escalated = p.escalated;
            if p.to() == Phase::Verified && state.mitigated_at_us == 0 {
                state.mitigated_at_us = at;
            }
        }
        Kind::StepSucceeded(p) => {
            for link in &p.links {
                set_link(state, link);
            }
            set_step(
                state,
                &p.blueprint,
                p.attempt,
                StepState {
                    step: p.step.clone(),
                    capability: p.capability.clone(),
                    status: StepStatus::Succeeded.into(),
                    external_ref: p.external_ref.clone(),
                    error: None,
                },
            );
        }
        Kind::StepFailed(p) => set_step(
            state,
            &p.blueprint,
            p.attempt,
            StepState {
                step: p.step.clone(),
                capability: p.capability.clone(),
                status: StepStatus::Failed.into(),
                external_ref: String::new(),
                error: p.error.clone(),
            },
        ),
        Kind::StepSkipped(p) => set_step(
            state,
            &p.blueprint,
            p.attempt,
            StepState {
                step: p.step.clone(),
                capability: p.capability.clone(),
                status: StepStatus::Skipped.into(),
                external_ref: String::new(),
                error: p.reason.clone(),
            },
        ),
        Kind::ApprovalRequested(p) => {
            state.gates.retain(|gate| gate.gate_id != p.gate_id);
            state.gates.push(requested(p, record.seq));
            state.gates.sort_by(|a, b| a.gate_id.cmp(&b.gate_id));
        }
        Kind::ApprovalDecided(p) if p.approved && p.approvals < p.quorum => {
            if let Some(gate) = gate(state, &p.gate_id) {
                gate.approvals.push(p.approver.clone());
            }
            acknowledge(state, at);
        }
        Kind::ApprovalDecided(p) => {
            if let Some(gate) = gate(state, &p.gate_id) {
                if p.quorum > 0 {
                    gate.approvals.push(p.approver.clone());
                }
                gate.set_status(decided(p));
                gate.decided_by.clone_from(&p.approver);
                if whole {
                    gate.decided_at_us = p.decided_at_us;
                }
                gate.break_glass = p.break_glass;
            }
            acknowledge(state, at);
            state.escalated = state.escalation_level > 0;
        }
        Kind::ApprovalRefused(p) => {
            if let Some(gate) = gate(state, &p.gate_id) {
                gate.refusals += p.count.max(1);
            }
            count_refusal(state, &p.gate_id, p.minute_us);
        }
        Kind::ApprovalTimedOut(p) => {
            if let Some(gate) = gate(state, &p.gate_id) {
                gate.set_status(GateStatus::Timeout);
            }
            state.escalated = state.escalation_level > 0;
        }
        Kind::ApprovalEscalated(p) => {
            if let Some(gate) = gate(state, &p.gate_id) {
                gate.set_status(GateStatus::Pending);
                gate.level = p.to_level;
                gate.due_us = p.due_us;
                gate.was_escalated = true;
                gate.escalated_by.clone_from(&p.by);
                gate.approvals.clone_from(&p.approvals_kept);
            }
            state.escalated = true;
        }
        Kind::ApprovalReplanned(p) => {
            if let Some(gate) = gate(state, &p.gate_id) {
                gate.levels.clone_from(&p.levels);
                gate.level = p.level;
                gate.due_us = p.due_us;
                gate.escalates = p.levels.len() > 1;
                gate.was_escalated = false;
                gate.escalated_by.clear();
                gate.severity = p.severity;
                gate.plans += 1;
                gate.approvals.clone_from(&p.approvals_kept);
            }
            state.escalated = state.escalation_level > 0
                || state.gates.iter().any(|gate| gate.is(GateStatus::Pending) && gate.was_escalated);
        }
        Kind::ApprovalCancelled(p) => {
            if let Some(gate) = gate(state, &p.gate_id) {
                gate.set_status(GateStatus::Cancelled);
            }
            state.escalated = state.escalation_level > 0;
        }
        Kind::PostMortemRendered(p) => {
            let review = state.review.get_or_insert_with(Review::default);
            if !review.published {
                review.digest.clone_from(&p.digest);
            }
        }
        Kind::PostMortemPublished(p) => {
            let signed_off_by = state.review.take().map(|review| review.signed_off_by).unwrap_or_default();
            state.review = Some(Review {
                digest: p.digest.clone(),
                page_id: p.page_id.clone(),
                url: p.url.clone(),
                published: true,
                signed_off_by,
            });
        }
        Kind::CandidateDecided(p) => state.candidates.push(CandidateState {
            candidate_id: p.candidate_id.clone(),
            decision_id: p.decision_id.clone(),
            outcome: p.outcome.clone(),
        }),
        Kind::ChangeLinked(p) => {
            let place = |one: &ChangeLinked| (one.service_id.clone(), one.release_id.clone());
            state.changes.retain(|one| place(one) != place(p));
            state.changes.push(p.clone());
            state.changes.sort_by_key(place);
        }
        Kind::UpdateReminded(p) => state.update_reminded_us = p.due_us,
        Kind::UpdateOverdue(p) => {
            state.updates_overdue += 1;
            state.next_update_due_us = p.next_update_due_us;
        }
        Kind::CommanderMissing(p) => {
            state.commander_paged = p.paged;
            if !p.paged {
                state.commander_reminded_us = p.actual_us;
            }
        }
        Kind::ObjectiveBreached(p) => {
            state.breaches.push(BreachState { objective: p.objective.clone(), due_us: p.due_us });
        }
        Kind::IncidentTimeSet(p) => {
            state.times.retain(|one| one.moment != p.moment);
            state.times.push(TimeState {
                moment: p.moment.clone(),
                at_us: p.at_us,
                by: record.actor.clone(),
                said_at_us: at,
                reason: p.reason.clone(),
            });
            state.times.sort_by(|a, b| a.moment.cmp(&b.moment));
        }
        Kind::IncidentRelated(p) => {
            state.relations.retain(|one| (&one.incident, &one.relation) != (&p.incident, &p.relation));
            if !p.removed {
                state.relations.push(RelationState {
                    relation: p.relation.clone(),
                    incident: p.incident.clone(),
                    reason: p.reason.clone(),
                    by: record.actor.clone(),
                });
            }
            state.relations.sort_by(|a, b| (&a.incident, &a.relation).cmp(&(&b.incident, &b.relation)));
        }
        Kind::IncidentPrivacyChanged(p) => {
            state.private = p.private;
            state.private_to = sorted(p.principals.clone());
        }
        Kind::IncidentEscalated(p) => {
            state.escalated = p.escalated;
            state.escalation_level = p.level;
        }
        Kind::FollowUpChanged(p) => follow_up_changed(state, p, at),
        Kind::DutyTicked(p) => {
            let key = duty_key(&p.role, &p.duty);
            state.duties_done.retain(|one| *one != key);
            if p.done {
                state.duties_done.push(key);
                state.duties_done.sort();
            }
        }
        Kind::RunbookDryRunPlanned(p) => {
            if let Some(run) = running(state, &p.blueprint, p.attempt) {
                run.dry_run.clone_from(&p.digest);
            }
        }
        Kind::RecordRedacted(_)
        | Kind::WriteRefused(_)
        | Kind::FollowUpReminded(_)
        | Kind::RunbookCellStarted(_)
        | Kind::RunbookCellFinished(_)
        | Kind::RunbookCellUnknown(_)
        // Of the catalog's streams.
        | Kind::ServiceWritten(_)
        | Kind::ServiceRetired(_)
        | Kind::EnvironmentWritten(_)
        | Kind::EnvironmentRetired(_)
        | Kind::ReleaseCreated(_)
        | Kind::ReleaseStatusChanged(_)
        | Kind::RunStarted(_)
        | Kind::RunLogged(_)
        | Kind::RunPoliciesJudged(_)
        | Kind::RunFinished(_) => {}
    }
}

fn follow_up_changed(state: &mut IncidentState, p: &FollowUpChanged, at: i64) {
    let Some(item) = state.action_items.iter_mut().find(|item| item.seq == p.follow_up) else { return };
    let set = |field: &mut String, given: &String| {
        if !given.is_empty() {
            field.clone_from(given);
        }
    };
    if !p.state.is_empty() {
        item.settled_at_us = if p.state == FollowUpState::Open.name() { 0 } else { at };
    }
    set(&mut item.state, &p.state);
    set(&mut item.owner, &p.owner);
    set(&mut item.due, &p.due);
    set(&mut item.priority, &p.priority);
    if !p.ticket.is_empty() {
        // What a vendor said of another ticket says nothing about this one.
        if !item.ticket.is_empty() && item.ticket != p.ticket {
            item.ticket_state.clear();
            item.ticket_updated_us = 0;
            item.ticket_deleted = false;
        }
        item.system.clone_from(&p.system);
        item.ticket.clone_from(&p.ticket);
        item.ticket_id.clone_from(&p.ticket_id);
    }
    set(&mut item.url, &p.url);
    set(&mut item.export_to, &p.export_to);
    if p.ticket_state == TicketWord::Deleted.name() {
        item.ticket_deleted = true;
    } else if !p.ticket_state.is_empty() {
        item.ticket_state.clone_from(&p.ticket_state);
        item.ticket_updated_us = p.ticket_updated_us;
    }
    if p.comment.is_some() {
        item.comments += 1;
        item.comment.clone_from(&p.comment);
    }
}

/// A change of status or severity, as an action.
fn changed(record: &Record, kind: ActionKind, change: String, reason: Option<&Text>) -> ActionState {
    let mut action = ActionState {
        action: change,
        status: "EXECUTED".to_owned(),
        detail: reason.cloned(),
        ..ActionState::default()
    };
    action.set_action_kind(kind);
    acted(record, action)
}

/// Who acted, and when.
fn acted(record: &Record, mut action: ActionState) -> ActionState {
    let by_workflow = record.cause.as_ref().is_some_and(|cause| !cause.workflow_id.is_empty());
    let system = by_workflow || record.authority == Authority::AutoEngine as i32;
    action.set_actor_type(if system { ActorType::System } else { ActorType::User });
    action.actor_ref.clone_from(&record.actor);
    action.at_us = record.occurred_at_us;
    action
}

/// What a decision said.
pub(crate) fn decided(decision: &ApprovalDecided) -> GateStatus {
    match (decision.approved, decision.skipped) {
        (true, _) => GateStatus::Approved,
        (false, true) => GateStatus::Skipped,
        (false, false) => GateStatus::Rejected,
    }
}

/// The gate that this record opens.
pub(crate) fn requested(p: &ApprovalRequested, seq: u64) -> GateState {
    GateState {
        gate_id: p.gate_id.clone(),
        status: GateStatus::Pending.into(),
        level: p.level,
        levels: p.levels.clone(),
        digest: p.digest.clone(),
        requested_at_us: p.requested_at_us,
        due_us: p.due_us,
        requester: p.requester.clone(),
        four_eyes: p.four_eyes,
        workflow_id: p.workflow_id.clone(),
        blueprint: p.blueprint.clone(),
        attempt: p.attempt,
        action: p.action.clone(),
        requested_seq: seq,
        escalates: p.escalates,
        reason: p.reason.clone(),
        kind: p.kind.clone(),
        quorum: p.quorum,
        remind: p.remind,
        ..GateState::default()
    }
}

fn add(list: &mut Vec<String>, word: &str) {
    if !word.is_empty()
        && let Err(place) = list.binary_search_by(|one| one.as_str().cmp(word))
    {
        list.insert(place, word.to_owned());
    }
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort_unstable();
    list.dedup();
    list
}

/// Time to acknowledge counts from the first sign that a person took it.
fn acknowledge(state: &mut IncidentState, at: i64) {
    if state.acknowledged_at_us == 0 {
        state.acknowledged_at_us = at;
    }
}

fn running<'a>(
    state: &'a mut IncidentState,
    blueprint: &str,
    attempt: u32,
) -> Option<&'a mut BlueprintState> {
    state.blueprints.iter_mut().find(|one| one.blueprint == blueprint && one.attempt == attempt)
}

fn gate<'a>(state: &'a mut IncidentState, gate_id: &str) -> Option<&'a mut GateState> {
    state.gates.iter_mut().find(|gate| gate.gate_id == gate_id)
}

/// A refusal that was recorded by itself counts towards its minute.
fn count_refusal(state: &mut IncidentState, gate_id: &str, minute_us: i64) {
    if minute_us == 0 {
        return;
    }
    match state.refusal_tallies.iter_mut().find(|one| one.gate_id == gate_id) {
        Some(known) if known.minute_us == minute_us => known.recorded += 1,
        Some(known) => (known.minute_us, known.recorded) = (minute_us, 1),
        None => {
            state.refusal_tallies.push(RefusalTally { gate_id: gate_id.to_owned(), minute_us, recorded: 1 });
            state.refusal_tallies.sort_by(|a, b| a.gate_id.cmp(&b.gate_id));
        }
    }
}

fn set_link(state: &mut IncidentState, link: &Link) {
    state.links.retain(|one| one.name != link.name);
    state.links.push(link.clone());
    state.links.sort_by(|a, b| a.name.cmp(&b.name));
}

fn set_step(state: &mut IncidentState, blueprint: &str, attempt: u32, step: StepState) {
    if let Some(blueprint) = running(state, blueprint, attempt) {
        // The update clock tells of each alarm as often as it comes: the state keeps the last time alone.
        if blueprint.blueprint == WorkflowType::Updates.blueprint()
            && let Some((alarm, _)) = step.step.rsplit_once('/')
        {
            blueprint.steps.retain(|one| one.step.rsplit_once('/').is_none_or(|(before, _)| before != alarm));
        }
        match blueprint.steps.iter_mut().find(|one| one.step == step.step) {
            Some(known) => *known = step,
            None => blueprint.steps.push(step),
        }
    }
}

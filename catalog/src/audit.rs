//! The audit trail: what each record of any stream says that somebody did.
//!
//! A projection, never a second store. What an event carries beside who, when and to what is typed: ids, words of a
//! vocabulary, numbers and digests. Nothing that a person or a vendor wrote freely gets in, so nothing secret does, and
//! a redaction has nothing to take out here.

use harmony_incidents::{
    GateStatus, StreamId,
    ids::Subject,
    log::{Authority, Record, ReleaseStatus, payload::Kind},
    record::stream_of,
    words,
};
use harmony_protos::{every_kind, kind_name};
use serde_json::{Map, Value, json};

use crate::entity::{AuditEvent, time};

/// What a record says; `None` for one that says nothing, or stands in no stream.
pub fn event(record: &Record) -> Option<AuditEvent> {
    let kind = record.payload.as_ref()?.kind.as_ref()?;
    let stream: StreamId = stream_of(record).parse().ok()?;
    let (field, stream_type, stream_subject) = match stream.subject() {
        Subject::Incident(id) => ("incidentId", "Incident", id.to_string()),
        Subject::Service(id) => ("serviceId", "Service", id.to_string()),
        Subject::Environment(id) => ("envId", "Environment", id.to_string()),
    };
    let Done { action, subject, metadata: Value::Object(mut metadata) } = done(kind) else {
        return None;
    };
    let (subject_type, subject_id) = match subject {
        None => (stream_type, stream_subject),
        Some((subject_type, id)) => {
            metadata.insert(field.to_owned(), stream_subject.into());
            (subject_type, id)
        }
    };
    if record.authority() == Authority::EmergencyOverride {
        metadata.insert("authority".to_owned(), words::authority_name(record.authority()).into());
    }
    Some(AuditEvent {
        ts: time(record.occurred_at_us),
        actor: record.actor.clone(),
        action: action.to_owned(),
        subject_type: subject_type.to_owned(),
        subject_id,
        metadata: without_empty(metadata),
        stream: Some(stream),
        seq: Some(record.seq),
    })
}

/// The actions that records of a kind are told as.
fn actions(kind: &Kind) -> Vec<&'static str> {
    if matches!(kind, Kind::ReleaseCreated(_)) {
        vec![created(""), created("another")]
    } else if matches!(kind, Kind::ReleaseStatusChanged(_)) {
        (0..).map_while(|number| ReleaseStatus::try_from(number).ok()).map(became).collect()
    } else {
        vec![done(kind).action]
    }
}

/// Whether an action is the one that is asked for, or one below it: `release.fail` is `release`, too.
pub fn is_action(action: &str, asked: &str) -> bool {
    action.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The kinds of records, by their names on the wire, whose events have an action, or one below it. No kind has an action
/// that does not exist.
pub fn kinds_of(asked: &str) -> Vec<&'static str> {
    let is_told = |kind: &Kind| actions(kind).into_iter().any(|action| is_action(action, asked));
    every_kind().iter().filter(|kind| is_told(kind)).map(kind_name).collect()
}

fn created(promoted_from: &str) -> &'static str {
    if promoted_from.is_empty() { "deploy.create" } else { "release.promote" }
}

fn became(status: ReleaseStatus) -> &'static str {
    match status {
        ReleaseStatus::Promoting => "release.start",
        ReleaseStatus::Active => "release.activate",
        ReleaseStatus::Failed => "release.fail",
        ReleaseStatus::Draft | ReleaseStatus::Unspecified => "release.wait",
    }
}

/// What was done, to what where that is not the stream's own subject, and what else is known of it.
struct Done {
    action: &'static str,
    subject: Option<(&'static str, String)>,
    metadata: Value,
}

/// To the stream's own subject.
fn here(action: &'static str, metadata: Value) -> Done {
    Done { action, subject: None, metadata }
}

/// To something that stands in the stream.
fn of(action: &'static str, kind: &'static str, id: &str, metadata: Value) -> Done {
    Done { action, subject: Some((kind, id.to_owned())), metadata }
}

/// A field that a record leaves out is left out here.
fn without_empty(metadata: Map<String, Value>) -> Map<String, Value> {
    metadata.into_iter().filter(|(_, value)| !matches!(value, Value::Null) && *value != "").collect()
}

#[allow(clippy::too_many_lines, reason = "one arm a kind: splitting it would hide which kinds are missing")]
fn done(kind: &Kind) -> Done {
    match kind {
        Kind::IncidentCreated(p) => here(
            "incident.declare",
            json!({ "severity": p.severity().as_str_name(), "decisionId": p.decision_id }),
        ),
        Kind::IncidentUpdated(p) => here("incident.update", json!({ "public": p.public })),
        Kind::IncidentStatusChanged(p) => {
            here("incident.status", json!({ "from": p.from().as_str_name(), "to": p.to().as_str_name() }))
        }
        Kind::IncidentSeverityChanged(p) => {
            here("incident.severity", json!({ "from": p.from().as_str_name(), "to": p.to().as_str_name() }))
        }
        Kind::IncidentTagAdded(_) => here("incident.tag", json!({})),
        Kind::IncidentTagRemoved(_) => here("incident.untag", json!({})),
        Kind::IncidentSignalIngested(p) => {
            here("incident.signal", json!({ "signalType": words::signal_type_name(p.signal_type()) }))
        }
        Kind::IncidentNoteAdded(_) => here("incident.note", json!({})),
        Kind::IncidentPlaybookActionExecuted(p) => {
            here("incident.action", json!({ "kind": words::action_kind_name(p.action_kind()) }))
        }
        Kind::IncidentSloViolationRecorded(_) => here("incident.slo-violation", json!({})),
        Kind::IncidentLinkedToTicket(_) => here("incident.ticket", json!({})),
        Kind::IncidentResolved(p) => {
            here("incident.resolve", json!({ "type": p.r#type().as_str_name(), "resolvedBy": p.resolved_by }))
        }
        Kind::ResponderAssigned(p) => here(
            "responder.assign",
            json!({ "role": p.role, "principal": p.principal, "empowered": p.empowered }),
        ),
        Kind::ResponderReleased(p) => {
            here("responder.release", json!({ "role": p.role, "principal": p.principal }))
        }
        Kind::ReviewSectionWritten(p) => here("review.write", json!({ "section": p.section })),
        Kind::ActionItemAdded(_) => here("review.action-item", json!({})),
        Kind::UpdateReminded(p) => here("update.remind", json!({ "missed": p.missed })),
        Kind::UpdateOverdue(_) => here("update.overdue", json!({})),
        Kind::CommanderMissing(p) => here("commander.missing", json!({ "paged": p.paged })),
        Kind::ObjectiveBreached(p) => {
            here("objective.breach", json!({ "objective": p.objective, "targetMs": p.target_ms }))
        }
        Kind::IncidentTimeSet(p) => here("incident.time", json!({ "moment": p.moment })),
        Kind::IncidentRelated(p) => here(
            "incident.relate",
            json!({ "relation": p.relation, "incident": p.incident, "removed": p.removed }),
        ),
        Kind::IncidentPrivacyChanged(p) => here("incident.private", json!({ "private": p.private })),
        Kind::IncidentEscalated(p) => {
            here("incident.escalate", json!({ "escalated": p.escalated, "level": p.level }))
        }
        Kind::FollowUpChanged(p) => here(
            "follow-up.change",
            json!({ "followUp": p.follow_up, "state": p.state, "owner": p.owner, "system": p.system }),
        ),
        Kind::FollowUpReminded(p) => {
            here("follow-up.remind", json!({ "followUp": p.follow_up, "week": p.week }))
        }
        Kind::DutyTicked(p) => here("duty.tick", json!({ "role": p.role, "done": p.done })),
        Kind::PostMortemRendered(p) => {
            here("review.render", json!({ "attempt": p.attempt, "uptoSeq": p.upto_seq }))
        }
        Kind::PostMortemPublished(p) => {
            here("review.publish", json!({ "attempt": p.attempt, "pageId": p.page_id }))
        }
        Kind::RecordRedacted(p) => here("record.redact", json!({ "seq": p.seq, "field": p.field })),
        Kind::PhaseChanged(p) => here(
            "incident.phase",
            json!({
                "from": words::phase_name(p.from()), "to": words::phase_name(p.to()), "escalated": p.escalated
            }),
        ),
        Kind::BlueprintStarted(p) => here(
            "blueprint.start",
            json!({
                "blueprint": p.blueprint, "attempt": p.attempt, "workflowId": p.workflow_id,
                "attested": p.attested
            }),
        ),
        Kind::BlueprintCompleted(p) => here(
            "blueprint.complete",
            json!({ "blueprint": p.blueprint, "attempt": p.attempt, "status": p.status }),
        ),
        Kind::BlueprintOrphaned(p) => here(
            "blueprint.orphan",
            json!({ "blueprint": p.blueprint, "attempt": p.attempt, "workflowId": p.workflow_id }),
        ),
        Kind::BlueprintResumed(p) => here(
            "blueprint.resume",
            json!({ "blueprint": p.blueprint, "attempt": p.attempt, "workflowId": p.workflow_id }),
        ),
        Kind::StepSucceeded(p) => here("step.succeed", step(&p.blueprint, p.attempt, &p.step, &p.capability)),
        Kind::StepFailed(p) => here("step.fail", step(&p.blueprint, p.attempt, &p.step, &p.capability)),
        Kind::StepSkipped(p) => here("step.skip", step(&p.blueprint, p.attempt, &p.step, &p.capability)),
        Kind::ApprovalRequested(p) => of(
            "approval.request",
            "Approval",
            &p.gate_id,
            json!({ "kind": p.kind, "level": p.level, "requester": p.requester }),
        ),
        Kind::ApprovalDecided(p) => of(
            "approval.decide",
            "Approval",
            &p.gate_id,
            json!({
                "decision": GateStatus::decided(p.approved).name(), "level": p.level,
                "actedAs": p.acted_as, "attested": p.attested, "breakGlass": p.break_glass,
                "decisionId": p.decision_id
            }),
        ),
        Kind::ApprovalRefused(p) => of(
            "approval.refuse",
            "Approval",
            &p.gate_id,
            json!({
                "refusedBecause": p.refused_because, "attested": p.attested, "decisionId": p.decision_id,
                "count": p.count.max(1)
            }),
        ),
        Kind::ApprovalTimedOut(p) => {
            of("approval.time-out", "Approval", &p.gate_id, json!({ "level": p.level }))
        }
        Kind::ApprovalEscalated(p) => of(
            "approval.escalate",
            "Approval",
            &p.gate_id,
            json!({ "fromLevel": p.from_level, "toLevel": p.to_level, "by": p.by }),
        ),
        Kind::ApprovalCancelled(p) => of("approval.cancel", "Approval", &p.gate_id, json!({})),
        Kind::ApprovalReplanned(p) => of(
            "approval.replan",
            "Approval",
            &p.gate_id,
            json!({ "level": p.level, "severity": p.severity().as_str_name() }),
        ),
        Kind::RunbookCellStarted(p) => here("cell.start", cell(&p.blueprint, p.attempt, &p.cell, p.run)),
        Kind::RunbookCellFinished(p) => {
            let mut metadata = cell(&p.blueprint, p.attempt, &p.cell, p.run);
            metadata["success"] = p.success.into();
            metadata["exitCode"] = p.exit_code.into();
            here("cell.finish", metadata)
        }
        Kind::RunbookDryRunPlanned(p) => here(
            "runbook.dry-run",
            json!({ "blueprint": p.blueprint, "attempt": p.attempt, "cells": p.cells, "leftOut": p.left_out }),
        ),
        Kind::RunbookCellUnknown(p) => here("cell.unknown", cell(&p.blueprint, p.attempt, &p.cell, p.run)),
        Kind::CandidateDecided(p) => of(
            "candidate.decide",
            "Candidate",
            &p.candidate_id,
            json!({ "outcome": p.outcome, "decisionId": p.decision_id, "policyId": p.policy_id }),
        ),
        Kind::ServiceWritten(p) => here(
            "service.write",
            json!({
                "deployments": p.deployments,
                "environments": p.environments.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(),
                "dependsOn": p.depends_on
            }),
        ),
        Kind::ServiceRetired(_) => here("service.retire", json!({})),
        Kind::EnvironmentWritten(p) => {
            here("environment.write", json!({ "production": p.production, "policyRefs": p.policy_refs }))
        }
        Kind::EnvironmentRetired(_) => here("environment.retire", json!({})),
        Kind::ReleaseCreated(p) => of(
            created(&p.promoted_from),
            "Release",
            &p.release_id,
            json!({
                "envId": p.environment_id, "sha": p.sha, "status": words::release_status(p.status()),
                "promotedFrom": p.promoted_from, "rollsBack": p.rolls_back, "source": p.source,
                "incidentId": p.incident
            }),
        ),
        Kind::ReleaseStatusChanged(p) => of(
            became(p.to()),
            "Release",
            &p.release_id,
            json!({
                "from": words::release_status(p.from()), "to": words::release_status(p.to()), "runId": p.run_id
            }),
        ),
        Kind::RunStarted(p) => of(
            "run.start",
            "WorkflowRun",
            &p.run_id,
            json!({
                "kind": words::run_kind(p.kind()), "releaseId": p.release_id, "envId": p.environment_id,
                "adapter": p.adapter, "dryRun": p.dry_run, "attempt": p.attempt
            }),
        ),
        Kind::RunLogged(p) => {
            of("run.log", "WorkflowRun", &p.run_id, json!({ "level": words::log_level(p.level()) }))
        }
        Kind::RunPoliciesJudged(p) => of(
            "run.policies",
            "WorkflowRun",
            &p.run_id,
            json!({
                "outcome": p.outcome, "excepted": p.excepted,
                "policies": p.verdicts.iter().map(|one| one.r#ref.as_str()).collect::<Vec<_>>()
            }),
        ),
        Kind::RunFinished(p) => of("run.finish", "WorkflowRun", &p.run_id, json!({ "outcome": p.outcome })),
        Kind::WriteRefused(p) => here("write.refuse", json!({ "right": p.right })),
        Kind::ChangeLinked(p) => of(
            "change.link",
            "Release",
            &p.release_id,
            json!({
                "serviceId": p.service_id, "incidentId": p.incident, "relation": words::relation(p.relation())
            }),
        ),
    }
}

fn step(blueprint: &str, attempt: u32, step: &str, capability: &str) -> Value {
    json!({ "blueprint": blueprint, "attempt": attempt, "step": step, "capability": capability })
}

fn cell(blueprint: &str, attempt: u32, cell: &str, run: u32) -> Value {
    json!({ "blueprint": blueprint, "attempt": attempt, "cell": cell, "run": run })
}

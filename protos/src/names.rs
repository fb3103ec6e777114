//! The wire names of record kinds, written out so that renaming a type never renames history.

use crate::log::payload::Kind;

/// The kind's name as the log, the API and exports spell it.
pub fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::IncidentCreated(_) => "INCIDENT_CREATED",
        Kind::IncidentUpdated(_) => "INCIDENT_UPDATED",
        Kind::IncidentStatusChanged(_) => "INCIDENT_STATUS_CHANGED",
        Kind::IncidentSeverityChanged(_) => "INCIDENT_SEVERITY_CHANGED",
        Kind::IncidentTagAdded(_) => "INCIDENT_TAG_ADDED",
        Kind::IncidentTagRemoved(_) => "INCIDENT_TAG_REMOVED",
        Kind::IncidentSignalIngested(_) => "INCIDENT_SIGNAL_INGESTED",
        Kind::IncidentNoteAdded(_) => "INCIDENT_NOTE_ADDED",
        Kind::IncidentPlaybookActionExecuted(_) => "INCIDENT_PLAYBOOK_ACTION_EXECUTED",
        Kind::IncidentSloViolationRecorded(_) => "INCIDENT_SLO_VIOLATION_RECORDED",
        Kind::IncidentLinkedToTicket(_) => "INCIDENT_LINKED_TO_TICKET",
        Kind::IncidentResolved(_) => "INCIDENT_RESOLVED",
        Kind::ResponderAssigned(_) => "RESPONDER_ASSIGNED",
        Kind::ResponderReleased(_) => "RESPONDER_RELEASED",
        Kind::ReviewSectionWritten(_) => "REVIEW_SECTION_WRITTEN",
        Kind::ActionItemAdded(_) => "ACTION_ITEM_ADDED",
        Kind::RecordRedacted(_) => "RECORD_REDACTED",
        Kind::BlueprintStarted(_) => "BLUEPRINT_STARTED",
        Kind::BlueprintCompleted(_) => "BLUEPRINT_COMPLETED",
        Kind::BlueprintOrphaned(_) => "BLUEPRINT_ORPHANED",
        Kind::BlueprintResumed(_) => "BLUEPRINT_RESUMED",
        Kind::PhaseChanged(_) => "PHASE_CHANGED",
        Kind::StepSucceeded(_) => "STEP_SUCCEEDED",
        Kind::StepFailed(_) => "STEP_FAILED",
        Kind::StepSkipped(_) => "STEP_SKIPPED",
        Kind::ApprovalRequested(_) => "APPROVAL_REQUESTED",
        Kind::ApprovalDecided(_) => "APPROVAL_DECIDED",
        Kind::ApprovalRefused(_) => "APPROVAL_REFUSED",
        Kind::ApprovalTimedOut(_) => "APPROVAL_TIMED_OUT",
        Kind::ApprovalEscalated(_) => "APPROVAL_ESCALATED",
        Kind::ApprovalCancelled(_) => "APPROVAL_CANCELLED",
        Kind::ApprovalReplanned(_) => "APPROVAL_REPLANNED",
        Kind::RunbookCellStarted(_) => "RUNBOOK_CELL_STARTED",
        Kind::RunbookCellFinished(_) => "RUNBOOK_CELL_FINISHED",
        Kind::RunbookCellUnknown(_) => "RUNBOOK_CELL_UNKNOWN",
        Kind::PostMortemRendered(_) => "POST_MORTEM_RENDERED",
        Kind::PostMortemPublished(_) => "POST_MORTEM_PUBLISHED",
        Kind::CandidateDecided(_) => "CANDIDATE_DECIDED",
    }
}

//! The wire names of record kinds, written out so that renaming a type never renames history.

use crate::log::{self, payload::Kind};

macro_rules! kinds {
    ($($kind:ident => $name:literal,)+) => {
        /// The kind's name as the log, the API and exports spell it.
        pub fn kind_name(kind: &Kind) -> &'static str {
            match kind {
                $(Kind::$kind(_) => $name,)+
            }
        }

        /// One empty payload of every kind.
        pub fn every_kind() -> Vec<Kind> {
            vec![$(Kind::$kind(log::$kind::default()),)+]
        }
    };
}

kinds! {
    IncidentCreated => "INCIDENT_CREATED",
    IncidentUpdated => "INCIDENT_UPDATED",
    IncidentStatusChanged => "INCIDENT_STATUS_CHANGED",
    IncidentSeverityChanged => "INCIDENT_SEVERITY_CHANGED",
    IncidentTagAdded => "INCIDENT_TAG_ADDED",
    IncidentTagRemoved => "INCIDENT_TAG_REMOVED",
    IncidentSignalIngested => "INCIDENT_SIGNAL_INGESTED",
    IncidentNoteAdded => "INCIDENT_NOTE_ADDED",
    IncidentPlaybookActionExecuted => "INCIDENT_PLAYBOOK_ACTION_EXECUTED",
    IncidentSloViolationRecorded => "INCIDENT_SLO_VIOLATION_RECORDED",
    IncidentLinkedToTicket => "INCIDENT_LINKED_TO_TICKET",
    IncidentResolved => "INCIDENT_RESOLVED",
    ResponderAssigned => "RESPONDER_ASSIGNED",
    ResponderReleased => "RESPONDER_RELEASED",
    ReviewSectionWritten => "REVIEW_SECTION_WRITTEN",
    ActionItemAdded => "ACTION_ITEM_ADDED",
    RecordRedacted => "RECORD_REDACTED",
    BlueprintStarted => "BLUEPRINT_STARTED",
    BlueprintCompleted => "BLUEPRINT_COMPLETED",
    BlueprintOrphaned => "BLUEPRINT_ORPHANED",
    BlueprintResumed => "BLUEPRINT_RESUMED",
    PhaseChanged => "PHASE_CHANGED",
    StepSucceeded => "STEP_SUCCEEDED",
    StepFailed => "STEP_FAILED",
    StepSkipped => "STEP_SKIPPED",
    ApprovalRequested => "APPROVAL_REQUESTED",
    ApprovalDecided => "APPROVAL_DECIDED",
    ApprovalRefused => "APPROVAL_REFUSED",
    ApprovalTimedOut => "APPROVAL_TIMED_OUT",
    ApprovalEscalated => "APPROVAL_ESCALATED",
    ApprovalCancelled => "APPROVAL_CANCELLED",
    ApprovalReplanned => "APPROVAL_REPLANNED",
    RunbookCellStarted => "RUNBOOK_CELL_STARTED",
    RunbookCellFinished => "RUNBOOK_CELL_FINISHED",
    RunbookCellUnknown => "RUNBOOK_CELL_UNKNOWN",
    RunbookDryRunPlanned => "RUNBOOK_DRY_RUN_PLANNED",
    PostMortemRendered => "POST_MORTEM_RENDERED",
    PostMortemPublished => "POST_MORTEM_PUBLISHED",
    CandidateDecided => "CANDIDATE_DECIDED",
    ServiceWritten => "SERVICE_WRITTEN",
    ServiceRetired => "SERVICE_RETIRED",
    EnvironmentWritten => "ENVIRONMENT_WRITTEN",
    EnvironmentRetired => "ENVIRONMENT_RETIRED",
    ReleaseCreated => "RELEASE_CREATED",
    ReleaseStatusChanged => "RELEASE_STATUS_CHANGED",
    RunStarted => "RUN_STARTED",
    RunLogged => "RUN_LOGGED",
    RunPoliciesJudged => "RUN_POLICIES_JUDGED",
    RunFinished => "RUN_FINISHED",
    ChangeLinked => "CHANGE_LINKED",
    UpdateReminded => "UPDATE_REMINDED",
    UpdateOverdue => "UPDATE_OVERDUE",
    CommanderMissing => "COMMANDER_MISSING",
    ObjectiveBreached => "OBJECTIVE_BREACHED",
    IncidentTimeSet => "INCIDENT_TIME_SET",
    IncidentRelated => "INCIDENT_RELATED",
    IncidentPrivacyChanged => "INCIDENT_PRIVACY_CHANGED",
    IncidentEscalated => "INCIDENT_ESCALATED",
    FollowUpChanged => "FOLLOW_UP_CHANGED",
    DutyTicked => "DUTY_TICKED",
    WriteRefused => "WRITE_REFUSED",
    FollowUpReminded => "FOLLOW_UP_REMINDED",
}

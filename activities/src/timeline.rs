//! The timeline: one line a record, for reviews and people. What it says comes from the record alone.

use harmony_eventlog::Entry;
use harmony_incidents::{
    log::{Text, payload::Kind},
    record::occurred_at,
    words,
};
use harmony_protos::kind_name;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One line of a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) kind: &'static str,
    pub(crate) actor: String,
    pub(crate) text: String,
    /// The record it tells of.
    pub(crate) event_id: String,
}

/// What is asked of the timeline: the operation `timeline.query` of its capability.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Query {
    pub(crate) incident_id: String,
    /// Only records after this one.
    #[serde(default)]
    pub(crate) after: u64,
    /// Only these kinds; all where there is none.
    #[serde(default)]
    pub(crate) kinds: Vec<String>,
}

impl Query {
    /// The lines that it asks for, of one incident's records.
    pub(crate) fn answer(&self, entries: &[Entry]) -> Vec<Line> {
        let wanted = |line: &Line| {
            line.seq > self.after
                && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == line.kind))
        };
        lines(entries).into_iter().filter(wanted).collect()
    }
}

/// The lines of these records, oldest first.
pub(crate) fn lines(entries: &[Entry]) -> Vec<Line> {
    entries.iter().filter_map(line).collect()
}

fn line(entry: &Entry) -> Option<Line> {
    let kind = entry.record.payload.as_ref()?.kind.as_ref()?;
    Some(Line {
        seq: entry.record.seq,
        at: occurred_at(&entry.record),
        kind: kind_name(kind),
        actor: entry.record.actor.clone(),
        text: describe(kind),
        event_id: Uuid::from_slice(&entry.record.event_id).map(|id| id.to_string()).unwrap_or_default(),
    })
}

fn shown(text: &Option<Text>) -> &str {
    text.as_ref().map_or("", Text::shown)
}

/// A sentence about a record.
fn describe(kind: &Kind) -> String {
    match kind {
        Kind::IncidentCreated(p) => {
            format!("declared as {}: {}", p.severity().as_str_name(), shown(&p.title))
        }
        Kind::IncidentUpdated(p) => format!("updated: {}", shown(&p.message)),
        Kind::IncidentStatusChanged(p) => {
            format!("{} → {} {}", p.from().as_str_name(), p.to().as_str_name(), shown(&p.reason))
        }
        Kind::IncidentSeverityChanged(p) => {
            format!("severity {} → {} {}", p.from().as_str_name(), p.to().as_str_name(), shown(&p.reason))
        }
        Kind::IncidentTagAdded(p) => format!("tag {} added", p.tag),
        Kind::IncidentTagRemoved(p) => format!("tag {} removed", p.tag),
        Kind::IncidentSignalIngested(p) => format!("signal from {}: {}", p.source, shown(&p.summary)),
        Kind::IncidentNoteAdded(p) => format!("note: {}", shown(&p.note)),
        Kind::IncidentPlaybookActionExecuted(p) => format!("{} {}", p.action, p.status),
        Kind::IncidentSloViolationRecorded(p) => {
            format!("SLO {} violated: {} (target {})", p.slo, p.observed, p.target)
        }
        Kind::IncidentLinkedToTicket(p) => format!("linked to {} {}", p.system, p.ticket),
        Kind::IncidentResolved(p) => {
            format!("resolved ({}): {}", p.r#type().as_str_name(), shown(&p.summary))
        }
        Kind::ResponderAssigned(p) => format!("{} is {}", p.principal, p.role),
        Kind::ResponderReleased(p) => format!("{} is no longer {}", p.principal, p.role),
        Kind::ReviewSectionWritten(p) => format!("review section {} written", p.section),
        Kind::ActionItemAdded(p) => format!("action for {}: {}", p.owner, shown(&p.action)),
        Kind::RecordRedacted(p) => format!("text of record {} taken out: {}", p.seq, shown(&p.reason)),
        Kind::BlueprintStarted(p) => {
            format!("{} started, attempt {}, by {}", p.blueprint, p.attempt, p.starter)
        }
        Kind::BlueprintCompleted(p) => format!("{} {} {}", p.blueprint, p.status, shown(&p.reason)),
        Kind::PhaseChanged(p) => {
            format!("phase {} → {}", words::phase_name(p.from()), words::phase_name(p.to()))
        }
        Kind::StepSucceeded(p) => format!("{}: {} {}", p.blueprint, p.step, p.external_ref),
        Kind::StepFailed(p) => format!("{}: {} failed: {}", p.blueprint, p.step, shown(&p.error)),
        Kind::StepSkipped(p) => format!("{}: {} skipped: {}", p.blueprint, p.step, shown(&p.reason)),
        Kind::ApprovalRequested(p) => format!("approval asked by {}: {}", p.requester, p.action),
        Kind::ApprovalDecided(p) => {
            let verb = if p.approved { "approved" } else { "rejected" };
            let by_hand = if p.attested { "" } else { ", by hand" };
            let glass = if p.break_glass {
                format!(", breaking the glass (EMERGENCY_OVERRIDE): {}", shown(&p.justification))
            } else {
                String::new()
            };
            format!("{verb} by {} as {}{by_hand}{glass} {}", p.approver, p.acted_as, shown(&p.reason))
        }
        Kind::ApprovalRefused(p) => {
            format!(
                "decision of {} refused ({}): {}",
                shown(&p.approver),
                p.refused_because,
                shown(&p.explanation)
            )
        }
        Kind::ApprovalTimedOut(p) => format!("nobody decided at level {}", p.level),
        Kind::ApprovalEscalated(p) => {
            let by = if p.by.is_empty() { String::new() } else { format!(" by {}", p.by) };
            let why = shown(&p.reason);
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            format!("escalated from level {} to {}{by}{why}", p.from_level, p.to_level)
        }
        Kind::ApprovalReplanned(p) => {
            format!("approval planned again for {}: level {}", p.severity().as_str_name(), p.level)
        }
        Kind::ApprovalCancelled(p) => format!("approval cancelled: {}", shown(&p.reason)),
        Kind::RunbookCellStarted(p) => format!("cell {} started ({})", p.cell, p.purpose),
        Kind::RunbookCellFinished(p) => {
            let how =
                if p.success { "succeeded".to_owned() } else { format!("{} ({})", p.ended, p.exit_code) };
            format!("cell {} {how}", p.cell)
        }
        Kind::RunbookCellUnknown(p) => {
            format!("cell {}: nobody knows whether it ran: {}", p.cell, shown(&p.reason))
        }
        Kind::PostMortemRendered(p) => format!("review rendered up to record {}", p.upto_seq),
        Kind::PostMortemPublished(p) => format!("review published: {}", p.url),
        Kind::CandidateDecided(p) => format!("candidate {} {}", p.candidate_id, p.outcome),
    }
    .trim_end()
    .to_owned()
}

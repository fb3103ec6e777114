//! The timeline of an incident: one row a record, newest first, a page at a time.

use harmony_eventlog::{Entry, LogError};
use harmony_incidents::{
    IncidentId, OrgId,
    log::{RunbookCellFinished, Text, payload::Kind},
    record, sentence,
};
use harmony_protos::kind_name;
use uuid::Uuid;

use super::words;
use crate::App;

/// Rows of one page.
const ROWS: usize = 50;
/// Records of one read.
const READ: u32 = 200;

/// One record as people read it.
pub(crate) struct Row {
    pub(crate) seq: u64,
    pub(crate) at: String,
    pub(crate) clock: String,
    pub(crate) moment: String,
    pub(crate) kind: &'static str,
    pub(crate) class: &'static str,
    /// What stands out: `failed`, `override`, or nothing.
    pub(crate) mark: &'static str,
    pub(crate) actor: String,
    pub(crate) text: String,
    pub(crate) event_id: String,
    pub(crate) output: Option<Output>,
}

/// What a cell printed.
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Where there was more than is kept.
    pub(crate) cut: String,
}

/// A page of the timeline.
pub(crate) struct Timeline {
    pub(crate) rows: Vec<Row>,
    /// The next older page begins before this record.
    pub(crate) older: Option<u64>,
    pub(crate) groups: Vec<Group>,
    /// The group that is shown, empty for all.
    pub(crate) shown: String,
}

/// A filter that can be chosen.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) chosen: bool,
}

const GROUPS: [(&str, &str); 7] = [
    ("", "All"),
    ("state", "State"),
    ("steps", "Steps"),
    ("approvals", "Approvals"),
    ("runbook", "Runbook"),
    ("people", "People"),
    ("review", "Review"),
];

/// The group that a kind belongs to; also its colour.
fn group(kind: &Kind) -> &'static str {
    match kind {
        Kind::IncidentCreated(_)
        | Kind::IncidentStatusChanged(_)
        | Kind::IncidentSeverityChanged(_)
        | Kind::IncidentResolved(_)
        | Kind::PhaseChanged(_) => "state",
        Kind::BlueprintStarted(_)
        | Kind::BlueprintCompleted(_)
        | Kind::StepSucceeded(_)
        | Kind::StepFailed(_)
        | Kind::StepSkipped(_) => "steps",
        Kind::ApprovalRequested(_)
        | Kind::ApprovalDecided(_)
        | Kind::ApprovalRefused(_)
        | Kind::ApprovalTimedOut(_)
        | Kind::ApprovalEscalated(_)
        | Kind::ApprovalCancelled(_)
        | Kind::ApprovalReplanned(_) => "approvals",
        Kind::RunbookCellStarted(_) | Kind::RunbookCellFinished(_) | Kind::RunbookCellUnknown(_) => "runbook",
        Kind::ReviewSectionWritten(_)
        | Kind::ActionItemAdded(_)
        | Kind::PostMortemRendered(_)
        | Kind::PostMortemPublished(_) => "review",
        // What people and other systems said.
        _ => "people",
    }
}

/// The rows before a record (0: the newest) of a group (empty: all).
pub(crate) async fn read(
    app: &App,
    org: &OrgId,
    incident: &IncidentId,
    head: u64,
    before: u64,
    shown: &str,
) -> Result<Timeline, LogError> {
    let shown = GROUPS.iter().find(|(name, _)| *name == shown).map_or("", |(name, _)| *name);
    let mut end = if before == 0 { head } else { head.min(before.saturating_sub(1)) };
    let mut rows = Vec::new();
    // Without a filter one read is a page; with one, reads go back until the page is full.
    let step = if shown.is_empty() { ROWS as u64 } else { u64::from(READ) };
    while end > 0 && rows.len() < ROWS {
        let begin = end.saturating_sub(step);
        let limit = u32::try_from(end - begin).unwrap_or(READ);
        let entries = app.doors.log.records(org, incident, begin, limit).await?;
        for entry in entries.iter().rev() {
            end = entry.record.seq.saturating_sub(1);
            rows.extend(row(entry, shown));
            if rows.len() == ROWS {
                break;
            }
        }
        if entries.is_empty() {
            break;
        }
    }
    let groups = GROUPS.iter().map(|(name, label)| Group { name, label, chosen: *name == shown }).collect();
    let older = (end > 0 && rows.len() == ROWS).then(|| end + 1);
    Ok(Timeline { rows, older, groups, shown: shown.to_owned() })
}

fn row(entry: &Entry, shown: &str) -> Option<Row> {
    let record = &entry.record;
    let kind = record.payload.as_ref()?.kind.as_ref()?;
    let class = group(kind);
    if !shown.is_empty() && shown != class {
        return None;
    }
    let at = record::occurred_at(record);
    Some(Row {
        seq: record.seq,
        at: at.to_string(),
        clock: words::clock(at),
        moment: words::moment(at),
        kind: kind_name(kind),
        class,
        mark: mark(kind),
        actor: record.actor.clone(),
        text: sentence::of(kind),
        event_id: Uuid::from_slice(&record.event_id).unwrap_or_default().to_string(),
        output: match kind {
            Kind::RunbookCellFinished(finished) => output(finished),
            _ => None,
        },
    })
}

fn mark(kind: &Kind) -> &'static str {
    match kind {
        Kind::RunbookCellFinished(finished) if !finished.success => "failed",
        Kind::RunbookCellUnknown(_) | Kind::StepFailed(_) => "failed",
        Kind::BlueprintCompleted(completed) if words::run_class(completed.status.parse().ok()) == "hot" => {
            "failed"
        }
        Kind::ApprovalDecided(decided) if decided.break_glass => "override",
        _ => "",
    }
}

fn output(finished: &RunbookCellFinished) -> Option<Output> {
    let text = |text: &Option<Text>| text.as_ref().map(|text| text.shown().to_owned()).unwrap_or_default();
    let (stdout, stderr) = (text(&finished.stdout), text(&finished.stderr));
    if stdout.is_empty() && stderr.is_empty() {
        return None;
    }
    let kept = (stdout.len() + stderr.len()) as u64;
    let cut = if finished.output_bytes > kept {
        format!("the last {kept} of {} bytes", finished.output_bytes)
    } else {
        String::new()
    };
    Some(Output { stdout, stderr, cut })
}

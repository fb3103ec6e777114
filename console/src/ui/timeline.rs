//! The timeline of an incident, newest first, a page at a time: what people did and what came of it, with Harmony's own
//! steps folded under what they followed; or, by a filter, every record by itself.

use harmony_eventlog::Entry;
use harmony_incidents::{
    IncidentId,
    log::{IncidentState, RunbookCellFinished, Text, payload::Kind},
    record,
    story::{self, Known, Mark, Weight},
    visible,
};
use harmony_protos::kind_name;
use jiff::Timestamp;
use uuid::Uuid;

use super::{visit::Visit, words};
use crate::{error::ApiError, outputs};

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
    pub(crate) icon: &'static str,
    /// What stands out: `failed`, `override`, or nothing.
    pub(crate) mark: &'static str,
    /// Who did it, and their id.
    pub(crate) who: String,
    pub(crate) actor: String,
    /// What they did: the rest of the sentence.
    pub(crate) text: String,
    pub(crate) event_id: String,
    pub(crate) output: Option<Output>,
    /// The attempt whose dry run it planned, where the reader may propose that.
    pub(crate) dry_run: Option<u32>,
    /// What Harmony did about it, oldest first.
    pub(crate) folded: Vec<Row>,
    /// Releases that came after it, and before the row above it.
    pub(crate) releases: Vec<ReleaseMark>,
    instant: Timestamp,
}

/// A release that stands between the records.
pub(crate) struct ReleaseMark {
    pub(crate) instant: Timestamp,
    pub(crate) at: String,
    pub(crate) clock: String,
    pub(crate) moment: String,
    pub(crate) address: String,
    pub(crate) label: String,
    pub(crate) service: String,
    pub(crate) environment: String,
    pub(crate) status: &'static str,
    pub(crate) relation: &'static str,
}

/// What a cell printed.
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Where there was more than is kept.
    pub(crate) cut: String,
    /// Whether all of it is a file.
    pub(crate) is_kept: bool,
}

/// A page of the timeline.
pub(crate) struct Timeline {
    pub(crate) rows: Vec<Row>,
    /// The next older page begins before this record.
    pub(crate) older: Option<u64>,
    pub(crate) groups: Vec<Group>,
    /// The group that is shown, empty for the story.
    pub(crate) shown: String,
    /// Releases that came before everything that is shown, where nothing older is left.
    pub(crate) releases_before: Vec<ReleaseMark>,
}

impl Timeline {
    /// Takes back that dry runs can be proposed.
    pub(crate) fn without_proposals(&mut self) {
        self.rows.iter_mut().for_each(|row| row.dry_run = None);
    }

    /// Puts releases, the latest first, where they belong among the rows. Of a page before another, or a look back, those
    /// that came after its first row stand elsewhere.
    pub(crate) fn mark(&mut self, releases: Vec<ReleaseMark>, is_latest: bool) {
        if !matches!(self.shown.as_str(), "" | ALL) {
            return;
        }
        let first = self.rows.first().map(|row| row.instant);
        for release in releases {
            if !is_latest && first.is_none_or(|first| release.instant > first) {
                continue;
            }
            match self.rows.iter_mut().find(|row| row.instant <= release.instant) {
                Some(row) => row.releases.push(release),
                None if self.older.is_none() => self.releases_before.push(release),
                None => {}
            }
        }
    }
}

/// A filter that can be chosen.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) chosen: bool,
}

const ALL: &str = "all";
const GROUPS: [(&str, &str); 8] = [
    ("", "What matters"),
    ("state", "State"),
    ("approvals", "Approvals"),
    ("runbook", "Runbook"),
    ("people", "People"),
    ("review", "Review"),
    ("steps", "Steps"),
    (ALL, "Every record"),
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
        Kind::RunbookCellStarted(_)
        | Kind::RunbookCellFinished(_)
        | Kind::RunbookCellUnknown(_)
        | Kind::RunbookDryRunPlanned(_) => "runbook",
        Kind::ReviewSectionWritten(_)
        | Kind::ActionItemAdded(_)
        | Kind::PostMortemRendered(_)
        | Kind::PostMortemPublished(_) => "review",
        // What people and other systems said.
        _ => "people",
    }
}

/// The rows before a record (0: the newest) of a group (empty: the story).
pub(crate) async fn read(
    visit: &Visit,
    incident: &IncidentId,
    state: &IncidentState,
    before: u64,
    shown: &str,
) -> Result<Timeline, ApiError> {
    let shown = GROUPS.iter().find(|(name, _)| *name == shown).map_or("", |(name, _)| *name);
    let known = Known { directory: visit.caller.rules().directory, gates: &state.gates };
    let mut end = if before == 0 { state.seq } else { state.seq.min(before.saturating_sub(1)) };
    let mut rows: Vec<Row> = Vec::new();
    // What was passed on the way back and belongs to something older.
    let mut folded: Vec<Row> = Vec::new();
    // Where every record is shown one read is a page; otherwise reads go back until the page is full.
    let step = if shown == ALL { ROWS as u64 } else { u64::from(READ) };
    while end > 0 && rows.len() < ROWS {
        let begin = end.saturating_sub(step);
        let limit = u32::try_from(end - begin).unwrap_or(READ);
        let entries = visit.app.doors.log.records(&visit.caller.org, incident, begin, limit).await?;
        for entry in entries.iter().rev() {
            end = entry.record.seq.saturating_sub(1);
            let Some((mut row, weight)) = row(entry, &known) else { continue };
            match shown {
                "" if weight == Weight::Detail => folded.push(row),
                "" => {
                    folded.reverse();
                    row.folded = std::mem::take(&mut folded);
                    rows.push(row);
                }
                ALL => rows.push(row),
                group if group == row.class => rows.push(row),
                _ => {}
            }
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
    Ok(Timeline { rows, older, groups, shown: shown.to_owned(), releases_before: Vec::new() })
}

fn row(entry: &Entry, known: &Known<'_>) -> Option<(Row, Weight)> {
    let record = &entry.record;
    let kind = record.payload.as_ref()?.kind.as_ref()?;
    let at = record::occurred_at(record);
    let told = story::tell(kind, &record.actor, known);
    let mark = story::mark(kind);
    let row = Row {
        seq: record.seq,
        at: at.to_string(),
        clock: words::clock(at),
        moment: words::moment(at),
        kind: kind_name(kind),
        class: group(kind),
        icon: icon(kind, mark),
        mark: match mark {
            Mark::None => "",
            Mark::Failed => "failed",
            Mark::Override => "override",
        },
        who: told.who,
        actor: record.actor.clone(),
        text: visible::visible(&told.did),
        event_id: Uuid::from_slice(&record.event_id).unwrap_or_default().to_string(),
        output: match kind {
            Kind::RunbookCellFinished(finished) => output(finished),
            _ => None,
        },
        dry_run: dry_run(kind),
        folded: Vec::new(),
        releases: Vec::new(),
        instant: at,
    };
    Some((row, told.weight))
}

/// The attempt whose dry run a record planned.
pub(crate) fn dry_run(kind: &Kind) -> Option<u32> {
    match kind {
        Kind::RunbookDryRunPlanned(plan) => Some(plan.attempt),
        _ => None,
    }
}

/// A sign for what it is about; the sentence says the same.
fn icon(kind: &Kind, mark: Mark) -> &'static str {
    match kind {
        _ if mark == Mark::Failed => "✗",
        Kind::IncidentCreated(_) => "⚑",
        Kind::IncidentUpdated(_) => "✉",
        Kind::IncidentNoteAdded(_) => "✎",
        Kind::IncidentStatusChanged(_) | Kind::IncidentSeverityChanged(_) | Kind::PhaseChanged(_) => "→",
        Kind::ResponderAssigned(_) | Kind::ResponderReleased(_) => "★",
        Kind::ApprovalRequested(_) => "?",
        Kind::ApprovalDecided(decided) if !decided.approved => "✗",
        Kind::ApprovalDecided(_) | Kind::IncidentResolved(_) | Kind::RunbookCellFinished(_) => "✓",
        Kind::ApprovalEscalated(_) | Kind::ApprovalTimedOut(_) => "↑",
        Kind::BlueprintStarted(_) | Kind::BlueprintResumed(_) | Kind::RunbookCellStarted(_) => "▶",
        Kind::ReviewSectionWritten(_) | Kind::PostMortemRendered(_) | Kind::PostMortemPublished(_) => "¶",
        Kind::ActionItemAdded(_) => "☐",
        Kind::FollowUpChanged(_) | Kind::DutyTicked(_) => "☑",
        Kind::UpdateReminded(_)
        | Kind::UpdateOverdue(_)
        | Kind::CommanderMissing(_)
        | Kind::ObjectiveBreached(_) => "!",
        Kind::IncidentTimeSet(_) => "◷",
        Kind::IncidentRelated(_) => "⇄",
        Kind::IncidentPrivacyChanged(_) => "◐",
        Kind::IncidentEscalated(_) => "↑",
        Kind::FollowUpReminded(_) => "☐",
        Kind::WriteRefused(_) => "⊘",
        Kind::BlueprintCompleted(_) => "■",
        _ => "·",
    }
}

/// The last thing that was told to others.
pub(crate) struct LastUpdate {
    pub(crate) text: String,
    pub(crate) who: String,
    pub(crate) at: String,
    pub(crate) age: String,
    pub(crate) public: bool,
}

/// How far back an update is looked for. Whoever has not told anybody anything for so long should.
const LOOK_BACK: u64 = 600;

/// The last update; `None` where there is none, or none lately.
pub(crate) async fn last_update(
    visit: &Visit,
    incident: &IncidentId,
    state: &IncidentState,
) -> Result<Option<LastUpdate>, ApiError> {
    let mut end = state.seq;
    let stop = state.seq.saturating_sub(LOOK_BACK);
    while end > stop {
        let begin = end.saturating_sub(u64::from(READ));
        let limit = u32::try_from(end - begin).unwrap_or(READ);
        let entries = visit.app.doors.log.records(&visit.caller.org, incident, begin, limit).await?;
        for entry in entries.iter().rev() {
            let Some(Kind::IncidentUpdated(updated)) =
                entry.record.payload.as_ref().and_then(|payload| payload.kind.as_ref())
            else {
                continue;
            };
            let Some(message) = updated.message.as_ref().filter(|message| !message.shown().is_empty()) else {
                continue;
            };
            let at = record::occurred_at(&entry.record);
            return Ok(Some(LastUpdate {
                text: message.shown().to_owned(),
                who: visit.name(&entry.record.actor),
                at: at.to_string(),
                age: words::age(at.as_microsecond(), visit.now),
                public: updated.public,
            }));
        }
        end = begin;
    }
    Ok(None)
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
    Some(Output { stdout, stderr, cut, is_kept: outputs::hash(finished).is_some() })
}

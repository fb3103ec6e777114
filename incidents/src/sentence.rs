//! A sentence about a record: what the timeline of a review and the console's pages say. It comes from the record alone.

use harmony_protos::log::{FollowUpChanged, Text, payload::Kind};
use jiff::{SignedDuration, Timestamp};

use crate::{fold, words};

/// A sentence about a record.
pub fn of(kind: &Kind) -> String {
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
        Kind::IncidentPlaybookActionExecuted(p) if p.label.is_some() => {
            format!("{}: {} {}", p.action, shown(&p.label), p.status)
        }
        Kind::IncidentPlaybookActionExecuted(p) => format!("{} {}", p.action, p.status),
        Kind::IncidentSloViolationRecorded(p) => {
            let mut sentence = format!("SLO {} violated", p.slo);
            if !p.observed.is_empty() || !p.target.is_empty() {
                sentence.push_str(&format!(": {} (target {})", p.observed, p.target));
            }
            if !p.error_budget_consumed.is_empty() {
                sentence.push_str(&format!(", {} of the error budget consumed", p.error_budget_consumed));
            }
            sentence
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
        Kind::BlueprintOrphaned(p) => format!("the run of {} was lost: {}", p.blueprint, shown(&p.reason)),
        Kind::BlueprintResumed(p) => format!("{} is resumed, attempt {}", p.blueprint, p.attempt),
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
            let verb = fold::decided(p);
            let by_hand = if p.attested { "" } else { ", by hand" };
            let glass = if p.break_glass {
                format!(", breaking the glass (EMERGENCY_OVERRIDE): {}", shown(&p.justification))
            } else {
                String::new()
            };
            let of = if p.quorum > 0 { format!(" ({} of {})", p.approvals, p.quorum) } else { String::new() };
            format!("{verb} by {} as {}{of}{by_hand}{glass} {}", p.approver, p.acted_as, shown(&p.reason))
        }
        Kind::ApprovalRefused(p) if p.count > 0 => shown(&p.explanation).to_owned(),
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
            let how = if p.success && p.ended == "confirmed" {
                "confirmed".to_owned()
            } else if p.success {
                "succeeded".to_owned()
            } else {
                format!("{} ({})", p.ended, p.exit_code)
            };
            format!("cell {} {how}", p.cell)
        }
        Kind::RunbookCellUnknown(p) => {
            format!("cell {}: nobody knows whether it ran: {}", p.cell, shown(&p.reason))
        }
        Kind::RunbookDryRunPlanned(p) => {
            format!("dry run of {} cells planned, {} of them left out", p.cells.len(), p.left_out.len())
        }
        Kind::PostMortemRendered(p) => format!("review rendered up to record {}", p.upto_seq),
        Kind::PostMortemPublished(p) => format!("review published: {}", p.url),
        Kind::CandidateDecided(p) => format!("candidate {} {}", p.candidate_id, p.outcome),
        Kind::ServiceWritten(p) => format!("service {} described", p.name),
        Kind::ServiceRetired(p) => format!("service retired: {}", shown(&p.reason)),
        Kind::EnvironmentWritten(p) => format!("environment {} described", p.name),
        Kind::EnvironmentRetired(p) => format!("environment retired: {}", shown(&p.reason)),
        Kind::ReleaseCreated(p) => {
            format!("release {} of {} for {}", p.release_id, p.sha, p.environment_id)
        }
        Kind::ReleaseStatusChanged(p) if p.from == p.to => {
            format!("release {} {}", p.release_id, shown(&p.reason))
        }
        Kind::ReleaseStatusChanged(p) => {
            let change = format!("{} → {}", words::release_status(p.from()), words::release_status(p.to()));
            format!("release {}: {change} {}", p.release_id, shown(&p.reason))
        }
        Kind::RunStarted(p) => {
            format!("{} of {} to {} started", words::run_kind(p.kind()), p.release_id, p.environment_id)
        }
        Kind::RunLogged(p) => format!("run {}: {}", p.run_id, shown(&p.message)),
        Kind::RunPoliciesJudged(p) => format!("policies of run {}: {}", p.run_id, p.outcome),
        Kind::RunFinished(p) => format!("run {} {} {}", p.run_id, p.outcome, shown(&p.reason)),
        Kind::UpdateReminded(p) if p.missed > 0 => {
            format!("an update was due {}, and {} more since", moment(p.due_us), p.missed)
        }
        Kind::UpdateReminded(p) => format!("an update was due {}", moment(p.due_us)),
        Kind::UpdateOverdue(p) => format!("the update that was due {} is overdue", moment(p.due_us)),
        Kind::CommanderMissing(p) if p.paged => "still nobody commands: the on-call was paged".to_owned(),
        Kind::CommanderMissing(_) => "nobody commands: the on-call was reminded".to_owned(),
        Kind::ObjectiveBreached(p) => {
            format!("objective {} of {} missed", p.objective, minutes(p.target_ms))
        }
        Kind::IncidentTimeSet(p) if p.before_us > 0 => format!(
            "{} corrected from {} to {}: {}",
            p.moment,
            moment(p.before_us),
            moment(p.at_us),
            shown(&p.reason)
        ),
        Kind::IncidentTimeSet(p) => format!("{} {} {}", p.moment, moment(p.at_us), shown(&p.reason)),
        Kind::IncidentRelated(p) if p.removed => {
            format!("no longer {} {}: {}", p.relation, p.incident, shown(&p.reason))
        }
        Kind::IncidentRelated(p) => format!("{} {} {}", p.relation, p.incident, shown(&p.reason)),
        Kind::IncidentPrivacyChanged(p) if p.private => {
            format!("private, visible to {}", p.principals.join(", "))
        }
        Kind::IncidentPrivacyChanged(_) => "no longer private".to_owned(),
        Kind::IncidentEscalated(p) if p.escalated => {
            format!("escalated to level {} ({}): {}", p.level, p.roles.join(" or "), shown(&p.reason))
        }
        Kind::IncidentEscalated(p) => format!("no longer escalated: {}", shown(&p.reason)),
        Kind::FollowUpChanged(p) => format!("follow-up {} {}", p.follow_up, follow_up(p)),
        Kind::DutyTicked(p) => {
            format!("duty of {} {}: {}", p.role, if p.done { "done" } else { "not done" }, p.duty)
        }
        Kind::FollowUpReminded(p) => {
            format!("follow-up {} was due {}: its owner was reminded", p.follow_up, p.due)
        }
        Kind::WriteRefused(p) => format!("a change was refused: it needs the right {}", p.right),
        Kind::ChangeLinked(p) => {
            let relation = words::relation(p.relation());
            format!("release {} of {} is {relation}: {}", p.release_id, p.service_id, shown(&p.reason))
        }
    }
    .trim_end()
    .to_owned()
}

/// What became of a follow-up, each part that was given.
pub(crate) fn follow_up(p: &FollowUpChanged) -> String {
    let parts = [
        p.state.clone(),
        named("owner", &p.owner),
        named("due", &p.due),
        named("priority", &p.priority),
        named(&p.system, &p.ticket),
        named("export to", &p.export_to),
        named("ticket", &p.ticket_state),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let comment = shown(&p.comment);
    match (parts.is_empty(), comment.is_empty()) {
        (true, _) => format!("commented: {comment}"),
        (false, true) => parts.join(", "),
        (false, false) => format!("{}: {comment}", parts.join(", ")),
    }
}

fn named(name: &str, value: &str) -> String {
    if value.is_empty() { String::new() } else { format!("{name} {value}") }
}

/// A moment to the second, in UTC.
pub fn moment(us: i64) -> String {
    Timestamp::from_microsecond(us)
        .map_or_else(|_| "at no time".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// A time in its largest units.
pub(crate) fn minutes(milliseconds: i64) -> String {
    let time = SignedDuration::from_millis(milliseconds);
    format!("{:#}", SignedDuration::from_secs(time.as_secs()))
}

fn shown(text: &Option<Text>) -> &str {
    text.as_ref().map_or("", Text::shown)
}

//! What happened, as a person would tell it: who, and what they did. The console's timeline and the command line read
//! this; reviews and the API keep [`crate::sentence`], which comes from the record alone.
//!
//! Ids become names, and a decision says what was decided, so both are asked for through [`Names`]. Whatever a workflow
//! does by itself is Harmony's doing, whoever started it. [`Weight`] says how much of it somebody wants to read who
//! comes to the incident anew.

use harmony_protos::log::{GateState, Relation, Text, payload::Kind};

use crate::{
    directory::Directory,
    leading, sentence,
    status::{GateStatus, RunStatus},
    visible, words,
};

/// Who acts where no person does.
pub const HARMONY: &str = "Harmony";

/// What a record names by id, in words.
pub trait Names {
    /// The name of a person of the directory; the id where none is known.
    fn person(&self, id: &str) -> String;

    /// What a gate asks for, such as `Run rollback-deployment.md`; empty where it is not known.
    fn gate(&self, id: &str) -> String;
}

/// Names of the people of a directory, and what gates say that they ask for.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Who there is.
    pub directory: &'a Directory,
    /// The gates of the stream.
    pub gates: &'a [GateState],
}

impl Names for Known<'_> {
    fn person(&self, id: &str) -> String {
        self.directory.name(id).to_owned()
    }

    fn gate(&self, id: &str) -> String {
        let gate = self.gates.iter().find(|gate| gate.gate_id == id);
        gate.map(|gate| visible::line(&gate.action)).unwrap_or_default()
    }
}

/// How much a record matters to somebody who reads the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// How Harmony carried something out.
    Detail,
    /// Something that Harmony did or found out, and that people act on.
    Milestone,
    /// What a person did.
    Person,
}

/// What stands out in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Nothing.
    None,
    /// Something did not work.
    Failed,
    /// Somebody broke the glass.
    Override,
}

/// What stands out in a record of this kind.
pub fn mark(kind: &Kind) -> Mark {
    let is_override = matches!(kind, Kind::ApprovalDecided(decided) if decided.break_glass)
        || matches!(kind, Kind::IncidentStatusChanged(changed) if changed.justification.is_some());
    let is_failed =
        matches!(kind, Kind::RunbookCellUnknown(_) | Kind::StepFailed(_) | Kind::BlueprintOrphaned(_))
            || matches!(kind, Kind::RunbookCellFinished(finished) if !finished.success)
            || matches!(kind, Kind::BlueprintCompleted(completed) if has_failed(&completed.status));
    if is_override {
        return Mark::Override;
    }
    if is_failed { Mark::Failed } else { Mark::None }
}

fn has_failed(status: &str) -> bool {
    matches!(status.parse(), Ok(RunStatus::Failed | RunStatus::Refused | RunStatus::Orphaned))
}

/// One record, told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Who did it.
    pub who: String,
    /// What they did: a sentence without its subject.
    pub did: String,
    /// How much it matters.
    pub weight: Weight,
}

/// Tells a record of this actor.
pub fn tell(kind: &Kind, actor: &str, names: &dyn Names) -> Told {
    let person = |did: String| Told { who: names.person(actor), did, weight: Weight::Person };
    let by = |id: &str, did: String| Told { who: names.person(id), did, weight: Weight::Person };
    let harmony = |weight: Weight, did: String| Told { who: HARMONY.to_owned(), did, weight };
    match kind {
        Kind::IncidentCreated(p) => {
            person(format!("declared a {}: {}", p.severity().as_str_name(), shown(p.title.as_ref())))
        }
        Kind::IncidentUpdated(p) => {
            let mut parts = Vec::new();
            if let Some(title) = given(p.title.as_ref()) {
                parts.push(format!("changed the title to “{title}”"));
            }
            if given(p.summary.as_ref()).is_some() {
                parts.push("rewrote the summary".to_owned());
            }
            if let Some(message) = given(p.message.as_ref()) {
                let to = if p.public { "told the channel and the public" } else { "told the channel" };
                parts.push(format!("{to}: {message}"));
            }
            person(parts.join(" and "))
        }
        Kind::IncidentStatusChanged(p) => {
            let moved = format!("moved it from {} to {}", p.from().as_str_name(), p.to().as_str_name());
            person(because(moved, p.reason.as_ref()))
        }
        Kind::IncidentSeverityChanged(p) => {
            let changed =
                format!("changed the severity from {} to {}", p.from().as_str_name(), p.to().as_str_name());
            person(because(changed, p.reason.as_ref()))
        }
        Kind::IncidentTagAdded(p) => person(format!("tagged it {}", p.tag)),
        Kind::IncidentTagRemoved(p) => person(format!("removed the tag {}", p.tag)),
        Kind::IncidentSignalIngested(p) => {
            person(because(format!("added a signal from {}", p.source), p.summary.as_ref()))
        }
        Kind::IncidentNoteAdded(p) => person(format!("noted: {}", shown(p.note.as_ref()))),
        Kind::IncidentPlaybookActionExecuted(p) if p.action == "retry" => {
            person(format!("asked to try again: {}", shown(p.detail.as_ref())))
        }
        Kind::IncidentPlaybookActionExecuted(p) => {
            let label = given(p.label.as_ref()).map(|label| format!(": {label}")).unwrap_or_default();
            let status = if p.status.is_empty() { String::new() } else { format!(" ({})", p.status) };
            person(format!("did {}{label}{status}", p.action))
        }
        Kind::IncidentSloViolationRecorded(p) => {
            let seen = if p.observed.is_empty() { String::new() } else { format!(": {}", p.observed) };
            let target = if p.target.is_empty() { String::new() } else { format!(", target {}", p.target) };
            person(format!("recorded that the objective {} was missed{seen}{target}", p.slo))
        }
        Kind::IncidentLinkedToTicket(p) => person(format!("linked {} {}", p.system, p.ticket)),
        Kind::IncidentResolved(p) => {
            let resolved = format!("resolved it as {}", p.r#type().as_str_name());
            by(
                if p.resolved_by.is_empty() { actor } else { &p.resolved_by },
                because(resolved, p.summary.as_ref()),
            )
        }
        Kind::ResponderAssigned(p) if p.principal == actor => person(match p.role.as_str() {
            "commander" => "took command".to_owned(),
            role => format!("took over {role}"),
        }),
        Kind::ResponderAssigned(p) => person(format!("made {} {}", names.person(&p.principal), p.role)),
        Kind::ResponderReleased(p) if p.principal == actor => person(format!("stepped down as {}", p.role)),
        Kind::ResponderReleased(p) => {
            person(format!("released {} as {}", names.person(&p.principal), p.role))
        }
        Kind::ReviewSectionWritten(p) => {
            person(format!("wrote the {} section of the review", p.section.replace('-', " ")))
        }
        Kind::ActionItemAdded(p) => {
            let action = shown(p.action.as_ref());
            person(format!("added a follow-up for {}: {action}", names.person(&p.owner)))
        }
        Kind::RecordRedacted(p) => {
            person(because(format!("took the text of record {} out of the log", p.seq), p.reason.as_ref()))
        }
        Kind::BlueprintOrphaned(p) => harmony(
            Weight::Milestone,
            because(format!("lost the run of {}", task(&p.blueprint)), p.reason.as_ref()),
        ),
        Kind::BlueprintResumed(p) => {
            harmony(Weight::Milestone, format!("resumed {}, attempt {}", task(&p.blueprint), p.attempt))
        }
        Kind::BlueprintStarted(p) => {
            let again = if p.attempt > 1 { format!(", attempt {}", p.attempt) } else { String::new() };
            match is_own(&p.blueprint) {
                true => harmony(Weight::Detail, format!("started {}", task(&p.blueprint))),
                false => by(&p.starter, format!("started {}{again}", task(&p.blueprint))),
            }
        }
        Kind::BlueprintCompleted(p) => {
            let good = p.status.parse() == Ok(RunStatus::Completed);
            let did = format!("{} {}", ended(p.status.parse().ok()), task(&p.blueprint));
            let weight = if good && is_own(&p.blueprint) { Weight::Detail } else { Weight::Milestone };
            harmony(weight, because(did, p.reason.as_ref()))
        }
        Kind::PhaseChanged(p) => harmony(
            Weight::Detail,
            format!("moved the phase from {} to {}", words::phase_name(p.from()), words::phase_name(p.to())),
        ),
        Kind::StepSucceeded(p) => harmony(
            Weight::Detail,
            step_done(&p.step)
                .map_or_else(|| format!("did {} of {}", p.step, task(&p.blueprint)), str::to_owned),
        ),
        Kind::StepFailed(p) => harmony(
            Weight::Milestone,
            because(format!("could not do {} of {}", p.step, task(&p.blueprint)), p.error.as_ref()),
        ),
        Kind::StepSkipped(p) => harmony(
            Weight::Detail,
            because(format!("{}: skipped {}", p.blueprint, p.step), p.reason.as_ref()),
        ),
        Kind::ApprovalRequested(p) => {
            let roles =
                p.levels.get(p.level.saturating_sub(1) as usize).map(|level| level.roles.join(" or "));
            let roles =
                roles.filter(|roles| !roles.is_empty()).unwrap_or_else(|| "anybody who may".to_owned());
            harmony(Weight::Milestone, format!("asked {roles} to decide: {}", p.action))
        }
        Kind::ApprovalDecided(p) => {
            let verb = GateStatus::decided(p.approved);
            let what = match names.gate(&p.gate_id) {
                action if action.is_empty() => format!("{verb} it"),
                action => format!("{verb}: {action}"),
            };
            let of = if p.quorum > 1 { format!(" ({} of {})", p.approvals, p.quorum) } else { String::new() };
            let by_hand = if p.attested { "" } else { ", sent straight to Temporal" };
            let glass = if p.break_glass {
                format!(", breaking the glass: {}", shown(p.justification.as_ref()))
            } else {
                String::new()
            };
            let why = given(p.reason.as_ref()).map(|reason| format!(" – {reason}")).unwrap_or_default();
            by(&p.approver, format!("{what}{of}{by_hand}{glass}{why}"))
        }
        Kind::ApprovalRefused(p) if p.count > 0 => {
            harmony(Weight::Detail, shown(p.explanation.as_ref()).to_owned())
        }
        Kind::ApprovalRefused(p) => {
            let approver = names.person(shown(p.approver.as_ref()));
            harmony(
                Weight::Milestone,
                because(format!("refused the decision of {approver}"), p.explanation.as_ref()),
            )
        }
        Kind::ApprovalTimedOut(p) => {
            harmony(Weight::Milestone, format!("waited in vain for a decision at level {}", p.level))
        }
        Kind::ApprovalEscalated(p) => {
            let did = format!("escalated the decision from level {} to {}", p.from_level, p.to_level);
            let did = because(did, p.reason.as_ref());
            if p.by.is_empty() { harmony(Weight::Milestone, did) } else { by(&p.by, did) }
        }
        Kind::ApprovalReplanned(p) => harmony(
            Weight::Detail,
            format!("planned the approval again for {}: level {}", p.severity().as_str_name(), p.level),
        ),
        Kind::ApprovalCancelled(p) => {
            let what = names.gate(&p.gate_id);
            let what =
                if what.is_empty() { "the approval".to_owned() } else { format!("the approval of {what}") };
            harmony(Weight::Milestone, because(format!("cancelled {what}"), p.reason.as_ref()))
        }
        Kind::RunbookCellStarted(p) => harmony(Weight::Detail, format!("started the cell {}", p.cell)),
        Kind::RunbookCellFinished(p) if p.ended == "confirmed" => {
            harmony(Weight::Detail, format!("took the step {} as done", p.cell))
        }
        Kind::RunbookCellFinished(p) if p.success && p.purpose == "dry-run" => {
            harmony(Weight::Milestone, format!("ran the cell {} dry: it succeeded", p.cell))
        }
        Kind::RunbookDryRunPlanned(p) => harmony(
            Weight::Milestone,
            match p.left_out.as_slice() {
                [] => format!("began a dry run of {}", p.cells.join(", ")),
                left_out => {
                    format!("began a dry run of {}, without {}", p.cells.join(", "), left_out.join(", "))
                }
            },
        ),
        Kind::RunbookCellFinished(p) if p.success => {
            harmony(Weight::Milestone, format!("ran the cell {}: it succeeded", p.cell))
        }
        Kind::RunbookCellFinished(p) => harmony(
            Weight::Milestone,
            match p.ended.as_str() {
                "exited" => format!("ran the cell {}: it failed with exit code {}", p.cell, p.exit_code),
                ended => format!("ran the cell {}: {}", p.cell, ended.replace('-', " ")),
            },
        ),
        Kind::RunbookCellUnknown(p) => harmony(
            Weight::Milestone,
            because(format!("does not know whether the cell {} ran", p.cell), p.reason.as_ref()),
        ),
        Kind::PostMortemRendered(p) => {
            harmony(Weight::Detail, format!("rendered the review up to record {}", p.upto_seq))
        }
        Kind::PostMortemPublished(p) => {
            harmony(Weight::Milestone, format!("published the review: {}", p.url))
        }
        Kind::CandidateDecided(p) => {
            harmony(Weight::Detail, format!("decided on the candidate {}: {}", p.candidate_id, p.outcome))
        }
        Kind::UpdateReminded(p) => harmony(
            Weight::Milestone,
            format!("reminded that an update was due {}", sentence::moment(p.due_us)),
        ),
        Kind::UpdateOverdue(p) => {
            let due = sentence::moment(p.due_us);
            harmony(Weight::Milestone, format!("noticed that the update due {due} is overdue"))
        }
        Kind::CommanderMissing(p) => {
            let did = if p.paged {
                "paged the on-call: still nobody commands"
            } else {
                "reminded the on-call that nobody commands"
            };
            harmony(Weight::Milestone, did.to_owned())
        }
        Kind::ObjectiveBreached(p) => {
            let (objective, target) = (p.objective.replace('-', " "), sentence::minutes(p.target_ms));
            let did = format!("noticed that the objective to {objective} within {target} was missed");
            harmony(Weight::Milestone, did)
        }
        Kind::IncidentTimeSet(p) => {
            let name = p.moment.replace('-', " ");
            let at = sentence::moment(p.at_us);
            let said = if p.before_us > 0 {
                format!("corrected when it was {name}: {at}, not {}", sentence::moment(p.before_us))
            } else {
                format!("said when it was {name}: {at}")
            };
            person(because(said, p.reason.as_ref()))
        }
        Kind::IncidentRelated(p) => {
            let relation =
                p.relation.parse::<leading::Relation>().map_or("related to", leading::Relation::words);
            let what = if p.removed {
                format!("took back that it is {relation} {}", p.incident)
            } else {
                format!("marked it as {relation} {}", p.incident)
            };
            person(because(what, p.reason.as_ref()))
        }
        Kind::IncidentPrivacyChanged(p) if p.private => {
            let named: Vec<String> = p.principals.iter().map(|id| names.person(id)).collect();
            person(because(format!("made it private to {}", named.join(", ")), p.reason.as_ref()))
        }
        Kind::IncidentPrivacyChanged(p) => {
            person(because("made it visible to everybody".to_owned(), p.reason.as_ref()))
        }
        Kind::IncidentEscalated(p) if p.escalated => {
            person(because(format!("called {} for help", p.roles.join(" or ")), p.reason.as_ref()))
        }
        Kind::IncidentEscalated(p) => {
            person(because("said that no more help is needed".to_owned(), p.reason.as_ref()))
        }
        Kind::FollowUpChanged(p) if !p.ticket_state.is_empty() => Told {
            who: p.system.clone(),
            did: format!("told of the follow-up {}: {}", p.follow_up, sentence::follow_up(p)),
            weight: if p.state.is_empty() { Weight::Detail } else { Weight::Milestone },
        },
        Kind::FollowUpChanged(p) if !p.ticket_id.is_empty() => harmony(
            Weight::Milestone,
            format!("exported the follow-up {}: {}", p.follow_up, sentence::follow_up(p)),
        ),
        Kind::FollowUpChanged(p) => {
            person(format!("changed the follow-up {}: {}", p.follow_up, sentence::follow_up(p)))
        }
        Kind::DutyTicked(p) if p.done => person(format!("did as {}: {}", p.role, p.duty)),
        Kind::DutyTicked(p) => person(format!("took back as {}: {}", p.role, p.duty)),
        Kind::FollowUpReminded(p) => harmony(
            Weight::Milestone,
            format!("reminded whoever owns the follow-up {} that it was due {}", p.follow_up, p.due),
        ),
        Kind::WriteRefused(p) => Told {
            weight: Weight::Detail,
            ..person(format!("asked for a change and was refused: it needs the right {}", p.right))
        },
        Kind::ChangeLinked(p) if p.relation() == Relation::Suspected => {
            let what = format!("suspects release {} of {}", p.release_id, p.service_id);
            harmony(Weight::Milestone, because(what, p.reason.as_ref()))
        }
        Kind::ChangeLinked(p) => {
            let relation = words::relation(p.relation());
            let what = format!("linked release {} of {} as {relation}", p.release_id, p.service_id);
            person(because(what, p.reason.as_ref()))
        }
        // Of the catalog: an incident has none of them.
        Kind::ServiceWritten(_)
        | Kind::ServiceRetired(_)
        | Kind::EnvironmentWritten(_)
        | Kind::EnvironmentRetired(_)
        | Kind::ReleaseCreated(_)
        | Kind::ReleaseStatusChanged(_)
        | Kind::RunStarted(_)
        | Kind::RunLogged(_)
        | Kind::RunPoliciesJudged(_)
        | Kind::RunFinished(_) => person(sentence::of(kind)),
    }
}

/// A blueprint as the object of a sentence.
fn task(blueprint: &str) -> String {
    match blueprint {
        "initiate" => "the opening".to_owned(),
        "remediate" => "the remediation".to_owned(),
        "close-out" => "the close-out".to_owned(),
        "post-mortem" => "publishing the review".to_owned(),
        "updates" => "keeping the time of updates".to_owned(),
        act if act.starts_with("act") => "telling everybody".to_owned(),
        other => other.to_owned(),
    }
}

/// Whether Harmony starts a blueprint of its own accord, after something that a person did.
fn is_own(blueprint: &str) -> bool {
    blueprint == "initiate" || blueprint == "updates" || blueprint.starts_with("act")
}

fn ended(status: Option<RunStatus>) -> &'static str {
    match status {
        Some(RunStatus::Completed) => "finished",
        Some(RunStatus::Rejected | RunStatus::Refused) => "did not go on with",
        Some(RunStatus::Cancelled) => "stopped",
        Some(RunStatus::Failed) => "failed at",
        Some(RunStatus::Running | RunStatus::Resuming) => "goes on with",
        Some(RunStatus::Orphaned) => "lost",
        None => "ended",
    }
}

/// A sentence, and why; nothing is added where there is no reason.
fn because(sentence: String, reason: Option<&Text>) -> String {
    match given(reason) {
        Some(reason) => format!("{sentence}: {reason}"),
        None => sentence,
    }
}

fn given(text: Option<&Text>) -> Option<&str> {
    Some(shown(text).trim()).filter(|text| !text.is_empty())
}

fn shown(text: Option<&Text>) -> &str {
    text.map_or("", Text::shown)
}

/// What a step did that succeeded; `None` for one that has no words of its own. A gate's steps have the gate's name before
/// them, and the level after them.
fn step_done(step: &str) -> Option<&'static str> {
    let own = step.rsplit('/').next().unwrap_or(step);
    Some(match own.trim_end_matches(|end: char| end.is_ascii_digit() || end == '-') {
        "archive" => "archived the channel",
        "ask" => "asked in the channel",
        "channel" => "made the channel",
        "escalate" => "told the channel of the next level",
        "first-update" => "said in the channel what it is about",
        "notice" => "told the channel of it",
        "outcome" => "told the channel how it ended",
        "page" => "paged who may decide",
        "paging" => "paged whoever is on call",
        "paging-note" => "noted it at the page",
        "paging-resolve" | "unpage" => "ended the page",
        "paging-urgency" => "changed how urgent the page is",
        "public-page" => "told the public status page",
        "public-resolve" => "told the public status page that it is over",
        "publish" => "published the review",
        "remind" => "reminded who may decide",
        "resolution" => "told the channel how it was resolved",
        "settle" => "marked the question as decided",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use harmony_protos::log::{
        ApprovalDecided, ApprovalEscalated, BlueprintCompleted, BlueprintStarted, IncidentNoteAdded,
        ResponderAssigned, RunbookCellFinished, StepSucceeded,
    };

    use super::*;

    struct Sample;

    impl Names for Sample {
        fn person(&self, id: &str) -> String {
            if id == "commander" { "Chris Commander".to_owned() } else { id.to_owned() }
        }

        fn gate(&self, id: &str) -> String {
            if id == "g" { "Run rollback-deployment.md".to_owned() } else { String::new() }
        }
    }

    fn check(kind: Kind, who: &str, did: &str, weight: Weight) {
        let told = tell(&kind, "commander", &Sample);
        assert_eq!((told.who.as_str(), told.did.as_str(), told.weight), (who, did, weight));
    }

    #[test]
    fn people_have_names_and_decisions_say_what_was_decided() {
        let decided = |approved, gate: &str| {
            Kind::ApprovalDecided(ApprovalDecided {
                gate_id: gate.to_owned(),
                approved,
                approver: "commander".to_owned(),
                attested: true,
                reason: Some(Text::plain("history looks right")),
                ..ApprovalDecided::default()
            })
        };
        check(
            decided(true, "g"),
            "Chris Commander",
            "approved: Run rollback-deployment.md – history looks right",
            Weight::Person,
        );
        check(decided(false, "?"), "Chris Commander", "rejected it – history looks right", Weight::Person);
        let assigned = |principal: &str| {
            Kind::ResponderAssigned(ResponderAssigned {
                role: "commander".to_owned(),
                principal: principal.to_owned(),
                empowered: false,
            })
        };
        check(assigned("commander"), "Chris Commander", "took command", Weight::Person);
        check(assigned("oncall"), "Chris Commander", "made oncall commander", Weight::Person);
        let note = IncidentNoteAdded { note: Some(Text::plain("looks like the cache")) };
        check(
            Kind::IncidentNoteAdded(note),
            "Chris Commander",
            "noted: looks like the cache",
            Weight::Person,
        );
    }

    #[test]
    fn what_a_workflow_does_is_harmonys_and_what_somebody_started_is_theirs() {
        let started = |blueprint: &str, attempt| {
            Kind::BlueprintStarted(BlueprintStarted {
                blueprint: blueprint.to_owned(),
                attempt,
                starter: "commander".to_owned(),
                ..BlueprintStarted::default()
            })
        };
        check(
            started("remediate", 2),
            "Chris Commander",
            "started the remediation, attempt 2",
            Weight::Person,
        );
        check(started("initiate", 1), HARMONY, "started the opening", Weight::Detail);
        let completed = |blueprint: &str, status: &str| {
            Kind::BlueprintCompleted(BlueprintCompleted {
                blueprint: blueprint.to_owned(),
                status: status.to_owned(),
                ..BlueprintCompleted::default()
            })
        };
        check(completed("initiate", "COMPLETED"), HARMONY, "finished the opening", Weight::Detail);
        check(completed("initiate", "FAILED"), HARMONY, "failed at the opening", Weight::Milestone);
        check(completed("remediate", "COMPLETED"), HARMONY, "finished the remediation", Weight::Milestone);
        let step = StepSucceeded {
            blueprint: "initiate".to_owned(),
            step: "channel".to_owned(),
            external_ref: "C01".to_owned(),
            ..StepSucceeded::default()
        };
        check(Kind::StepSucceeded(step), HARMONY, "made the channel", Weight::Detail);
        let cell = RunbookCellFinished {
            cell: "rollback".to_owned(),
            ended: "exited".to_owned(),
            exit_code: 2,
            ..RunbookCellFinished::default()
        };
        check(
            Kind::RunbookCellFinished(cell),
            HARMONY,
            "ran the cell rollback: it failed with exit code 2",
            Weight::Milestone,
        );
        let escalated = |by: &str| {
            let by = by.to_owned();
            Kind::ApprovalEscalated(ApprovalEscalated {
                from_level: 1,
                to_level: 2,
                by,
                ..Default::default()
            })
        };
        check(escalated(""), HARMONY, "escalated the decision from level 1 to 2", Weight::Milestone);
        check(
            escalated("commander"),
            "Chris Commander",
            "escalated the decision from level 1 to 2",
            Weight::Person,
        );
    }
}

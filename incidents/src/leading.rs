//! What people record while they lead an incident: when its moments were, what it has to do with other incidents, who may
//! see it, the call for help, follow-ups, and the duties of their roles. Each is judged here against the folded state.

use std::str::FromStr;

use harmony_protos::log::{
    ActionItem, DutyTicked, FollowUpChanged, FollowUpReminded, IncidentEscalated, IncidentPrivacyChanged,
    IncidentRelated, IncidentState, IncidentTimeSet, IncidentUpdated, Severity, Text, payload::Kind,
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::{
    clock,
    command::{Answer, Context, Refusal},
    ids::{IncidentId, WorkflowId, WorkflowType},
    judge::{Judged, Rules, invalid},
    machine,
    policy::{GateKind, Policy},
    status::{HasStatus, RunStatus},
    times::Moment,
};

/// Longest list of people who may see a private incident.
const NAMED_LIMIT: usize = 100;

/// How two incidents have to do with each other, seen from one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    /// It is the same as the other, which goes on.
    DuplicateOf,
    /// The other is the same as this one.
    DuplicatedBy,
    /// The other one caused it.
    CausedBy,
    /// It caused the other one.
    CauseOf,
    /// What the other one was about is back.
    RecurrenceOf,
    /// What it was about came back as the other one.
    RecurredAs,
    /// They have to do with each other.
    Related,
}

/// No relation of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no relation; use duplicate-of, caused-by, recurrence-of or related")]
pub struct UnknownRelation(String);

impl Relation {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::DuplicateOf,
        Self::DuplicatedBy,
        Self::CausedBy,
        Self::CauseOf,
        Self::RecurrenceOf,
        Self::RecurredAs,
        Self::Related,
    ];

    /// The word in records and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::DuplicateOf => "duplicate-of",
            Self::DuplicatedBy => "duplicated-by",
            Self::CausedBy => "caused-by",
            Self::CauseOf => "cause-of",
            Self::RecurrenceOf => "recurrence-of",
            Self::RecurredAs => "recurred-as",
            Self::Related => "related",
        }
    }

    /// As a sentence has it, before the other incident's id.
    pub fn words(self) -> &'static str {
        match self {
            Self::DuplicateOf => "a duplicate of",
            Self::DuplicatedBy => "duplicated by",
            Self::CausedBy => "caused by",
            Self::CauseOf => "the cause of",
            Self::RecurrenceOf => "a recurrence of",
            Self::RecurredAs => "back as",
            Self::Related => "related to",
        }
    }

    /// The same, seen from the other one.
    #[must_use]
    pub fn reverse(self) -> Self {
        match self {
            Self::DuplicateOf => Self::DuplicatedBy,
            Self::DuplicatedBy => Self::DuplicateOf,
            Self::CausedBy => Self::CauseOf,
            Self::CauseOf => Self::CausedBy,
            Self::RecurrenceOf => Self::RecurredAs,
            Self::RecurredAs => Self::RecurrenceOf,
            Self::Related => Self::Related,
        }
    }
}

impl FromStr for Relation {
    type Err = UnknownRelation;
    fn from_str(text: &str) -> Result<Self, UnknownRelation> {
        let found = Self::ALL.into_iter().find(|one| one.name() == text);
        found.ok_or_else(|| UnknownRelation(text.chars().take(40).collect()))
    }
}

/// State of a follow-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FollowUpState {
    /// To be done.
    Open,
    /// Done.
    Done,
    /// Not to be done, for a reason.
    Dropped,
}

/// No state of a follow-up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no state of a follow-up; use open, done or dropped")]
pub struct UnknownFollowUpState(String);

impl FollowUpState {
    /// The word in records and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Done => "done",
            Self::Dropped => "dropped",
        }
    }

    /// Of an action item: one that nobody has touched is open.
    pub fn of(item: &ActionItem) -> Self {
        item.state.parse().unwrap_or(Self::Open)
    }
}

impl FromStr for FollowUpState {
    type Err = UnknownFollowUpState;
    fn from_str(text: &str) -> Result<Self, UnknownFollowUpState> {
        let found = [Self::Open, Self::Done, Self::Dropped].into_iter().find(|one| one.name() == text);
        found.ok_or_else(|| UnknownFollowUpState(text.chars().take(40).collect()))
    }
}

/// How urgent a follow-up is, the most urgent first.
pub const PRIORITIES: [&str; 3] = ["high", "medium", "low"];

/// A follow-up's priority, or what would do.
pub fn check_priority(text: &str) -> Result<(), Refusal> {
    if text.is_empty() || PRIORITIES.contains(&text) {
        return Ok(());
    }
    Err(invalid(&format!("priority {text:?} is not known; use one of {}", PRIORITIES.join(", "))))
}

/// An update gets its number, and says when the next is due. What tells nobody anything is none.
pub(crate) fn update(
    state: &IncidentState,
    given: &IncidentUpdated,
    context: &Context,
    rules: Rules<'_>,
) -> Result<Judged, Refusal> {
    if given.message.is_none() {
        return Ok(recorded(Kind::IncidentUpdated(IncidentUpdated {
            number: 0,
            next_update_due_us: 0,
            ..given.clone()
        })));
    }
    let now = context.occurred_at.as_microsecond();
    if given.next_update_due_us != 0 && given.next_update_due_us <= now {
        return Err(invalid("the next update is due in the future: give a time such as 45m"));
    }
    let next_update_due_us = if machine::is_over(state.state()) {
        0
    } else if given.next_update_due_us != 0 {
        given.next_update_due_us
    } else {
        clock::next_update(rules.policy, state.severity(), context.occurred_at)
    };
    let updated = IncidentUpdated { number: state.updates + 1, next_update_due_us, ..given.clone() };
    Ok(Judged { wake: wake(state), ..recorded(Kind::IncidentUpdated(updated)) })
}

/// The run of the update clock, where there is one that should look.
pub(crate) fn wake(state: &IncidentState) -> Vec<WorkflowId> {
    let runs = state.blueprints.iter().filter(|run| run.blueprint == WorkflowType::Updates.blueprint());
    runs.filter(|run| run.is(RunStatus::Running)).flat_map(|run| run.workflow_id.parse()).collect()
}

/// When the next update is due once the severity has changed: the cadence counts from the last one.
pub(crate) fn replanned_update(state: &IncidentState, to: Severity, rules: Rules<'_>) -> i64 {
    let last = if state.last_update_us > 0 { state.last_update_us } else { state.created_at_us };
    jiff::Timestamp::from_microsecond(last).map_or(0, |last| clock::next_update(rules.policy, to, last))
}

pub(crate) fn time(
    state: &IncidentState,
    given: &IncidentTimeSet,
    context: &Context,
) -> Result<Judged, Refusal> {
    let moment: Moment =
        given.moment.parse().map_err(|error: crate::times::UnknownMoment| invalid(&error.to_string()))?;
    if given.at_us <= 0 || given.at_us > context.occurred_at.as_microsecond() {
        return Err(invalid(&format!("{} is in the past: give a time until now", moment.words())));
    }
    if moment == Moment::Resolved && !machine::is_over(state.state()) {
        return Err(Refusal::Illegal {
            explanation: "the incident is not resolved: resolve it first, then correct when it was"
                .to_owned(),
        });
    }
    let before_us = moment.at_us(state);
    if before_us == given.at_us {
        return Ok(Judged::unchanged());
    }
    if before_us > 0 && given.reason.is_none() {
        return Err(invalid(&format!("{} is known already: correcting it needs a reason", moment.words())));
    }
    Ok(recorded(Kind::IncidentTimeSet(IncidentTimeSet {
        moment: moment.name().to_owned(),
        before_us,
        ..given.clone()
    })))
}

pub(crate) fn relation(state: &IncidentState, given: &IncidentRelated) -> Result<Judged, Refusal> {
    let relation: Relation =
        given.relation.parse().map_err(|error: UnknownRelation| invalid(&error.to_string()))?;
    let other: IncidentId =
        given.incident.parse().map_err(|error: crate::ids::IdError| invalid(&error.to_string()))?;
    if other.as_str() == state.incident {
        return Err(invalid("an incident is not related to itself: name another one"));
    }
    let known =
        state.relations.iter().any(|one| one.incident == other.as_str() && one.relation == relation.name());
    if known != given.removed {
        return Ok(Judged::unchanged());
    }
    Ok(recorded(Kind::IncidentRelated(given.clone())))
}

pub(crate) fn privacy(
    state: &IncidentState,
    given: &IncidentPrivacyChanged,
    context: &Context,
    rules: Rules<'_>,
) -> Result<Judged, Refusal> {
    let mut principals = if given.private { given.principals.clone() } else { Vec::new() };
    // Whoever makes it private does not shut themselves out.
    if given.private {
        principals.push(context.actor.clone());
    }
    principals.sort();
    principals.dedup();
    if principals.len() > NAMED_LIMIT {
        return Err(invalid(&format!("a private incident names at most {NAMED_LIMIT} people")));
    }
    if let Some(nobody) = principals.iter().find(|id| rules.directory.get(id).is_none()) {
        return Err(invalid(&format!("{nobody:?}: nobody of this id is in the directory")));
    }
    if state.private == given.private && state.private_to == principals {
        return Ok(Judged::unchanged());
    }
    Ok(recorded(Kind::IncidentPrivacyChanged(IncidentPrivacyChanged { principals, ..given.clone() })))
}

/// The next level is called, or the mark is taken away again.
pub(crate) fn escalation(
    state: &IncidentState,
    given: &IncidentEscalated,
    rules: Rules<'_>,
) -> Result<Judged, Refusal> {
    if !given.escalated {
        if state.escalation_level == 0 {
            return Ok(Judged::unchanged());
        }
        return Ok(recorded(Kind::IncidentEscalated(IncidentEscalated {
            level: 0,
            roles: Vec::new(),
            ..given.clone()
        })));
    }
    if machine::is_over(state.state()) {
        let explanation = format!("an incident that is {} is not escalated", state.state().as_str_name());
        return Err(Refusal::Illegal { explanation });
    }
    let Some((level, roles)) = next_level(state, rules.policy) else {
        let explanation = match state.escalation_level {
            0 => "the policy has no level above the first: nobody else can be called".to_owned(),
            level => format!("it is at level {level} already, and nobody stands above it"),
        };
        return Err(Refusal::Illegal { explanation });
    };
    Ok(recorded(Kind::IncidentEscalated(IncidentEscalated { level, roles, ..given.clone() })))
}

/// The level that is called next, and its roles: whoever has the incident is the first, and the ladder is that of the most
/// urgent gates.
pub fn next_level(state: &IncidentState, policy: &Policy) -> Option<(u32, Vec<String>)> {
    let ladder = policy.levels(GateKind::Remediate, Severity::P1, true);
    let level = state.escalation_level.max(1) + 1;
    ladder.get(level as usize - 1).map(|next| (level, next.roles.clone()))
}

pub(crate) fn follow_up(
    state: &IncidentState,
    given: &FollowUpChanged,
    context: &Context,
) -> Result<Judged, Refusal> {
    let Some(item) = state.action_items.iter().find(|item| item.seq == given.follow_up) else {
        return Err(invalid(&format!("there is no follow-up {} of this incident", given.follow_up)));
    };
    if !given.export_to.is_empty() {
        return export(state, item, given);
    }
    if !given.ticket_state.is_empty() {
        return ticket_moved(item, given, context);
    }
    check_priority(&given.priority)?;
    let now = FollowUpState::of(item);
    let next = match given.state.as_str() {
        "" => now,
        text => text.parse().map_err(|error: UnknownFollowUpState| invalid(&error.to_string()))?,
    };
    let needs_reason = next != now && (next == FollowUpState::Dropped || next == FollowUpState::Open);
    if needs_reason && given.comment.as_ref().is_none_or(|text| text.text.trim().is_empty()) {
        let verb = if next == FollowUpState::Dropped { "dropping" } else { "opening" };
        let again = if next == FollowUpState::Open { " again" } else { "" };
        return Err(invalid(&format!("{verb} a follow-up{again} needs a reason")));
    }
    let same = |given: &str, known: &str| given.is_empty() || given == known;
    if next == now
        && given.comment.is_none()
        && same(&given.owner, &item.owner)
        && same(&given.due, &item.due)
        && same(&given.priority, &item.priority)
        && same(&given.ticket, &item.ticket)
        && same(&given.ticket_id, &item.ticket_id)
        && same(&given.url, &item.url)
    {
        return Ok(Judged::unchanged());
    }
    let state = if next == now { String::new() } else { next.name().to_owned() };
    Ok(recorded(Kind::FollowUpChanged(FollowUpChanged { state, ..given.clone() })))
}

/// Whose day is over and when that is told again: the week after that day, from 1; nothing while nobody is to be reminded.
pub fn overdue_week(item: &ActionItem, zone: &TimeZone, now: Timestamp) -> Option<u32> {
    const WEEK_S: i64 = 7 * 24 * 3_600;
    if FollowUpState::of(item) != FollowUpState::Open {
        return None;
    }
    let due: Date = item.due.parse().ok()?;
    let over = due.tomorrow().ok()?.to_zoned(zone.clone()).ok()?.timestamp();
    let late = now.as_second() - over.as_second();
    (late >= 0).then(|| u32::try_from(late / WEEK_S + 1).unwrap_or(u32::MAX))
}

/// The owner is reminded where the follow-up is still open and still due on that day.
pub(crate) fn follow_up_reminded(state: &IncidentState, given: &FollowUpReminded) -> Judged {
    let is_it = |item: &&ActionItem| item.seq == given.follow_up && item.due == given.due;
    match state.action_items.iter().find(is_it) {
        Some(item) if FollowUpState::of(item) == FollowUpState::Open => {
            recorded(Kind::FollowUpReminded(given.clone()))
        }
        _ => Judged::unchanged(),
    }
}

/// Somebody asks for a ticket. Where there is one in that system already, this is the answer.
fn export(state: &IncidentState, item: &ActionItem, given: &FollowUpChanged) -> Result<Judged, Refusal> {
    let alone = FollowUpChanged {
        follow_up: given.follow_up,
        export_to: given.export_to.clone(),
        ..FollowUpChanged::default()
    };
    if *given != alone {
        return Err(invalid("an export changes nothing else: change the follow-up first, then export it"));
    }
    let illegal = |explanation: String| Err(Refusal::Illegal { explanation });
    if item.ticket_deleted {
        return illegal(format!(
            "its ticket {} was deleted in {}: link another one with --system and --ticket",
            item.ticket, item.system
        ));
    }
    if !item.ticket.is_empty() && item.system == given.export_to {
        return Ok(Judged::unchanged());
    }
    if !item.ticket.is_empty() {
        return illegal(format!(
            "it is tracked in {} as {} already: a follow-up is tracked in one place",
            item.system, item.ticket
        ));
    }
    if !item.export_to.is_empty() && item.export_to != given.export_to {
        return illegal(format!("it was exported to {} already: ask for that again", item.export_to));
    }
    if let Some(explanation) = kept_from_trackers(state) {
        return illegal(explanation.to_owned());
    }
    let now = FollowUpState::of(item);
    if now != FollowUpState::Open {
        return illegal(format!("it is {}: open it again before it is exported", now.name()));
    }
    Ok(recorded(Kind::FollowUpChanged(given.clone())))
}

/// Why no follow-up of this incident may become a ticket outside; none where they may.
pub fn kept_from_trackers(state: &IncidentState) -> Option<&'static str> {
    if state.private {
        return Some(
            "the incident is private: nothing of it leaves Harmony. Make a ticket by hand and link it with --system and --ticket",
        );
    }
    state.drill.then_some("the incident is a drill: its follow-ups are practice and make no tickets")
}

/// What a tracker says of a ticket. The order settles two that a vendor tells for the same moment: the later counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TicketWord {
    /// To be done.
    Open,
    /// Closed without having been done.
    Dropped,
    /// Done.
    Done,
    /// Gone, whatever else is told of it.
    Deleted,
}

impl TicketWord {
    const ALL: [Self; 4] = [Self::Open, Self::Dropped, Self::Done, Self::Deleted];

    /// The word on record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => FollowUpState::Open.name(),
            Self::Dropped => FollowUpState::Dropped.name(),
            Self::Done => FollowUpState::Done.name(),
            Self::Deleted => "deleted",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == text)
    }
}

/// What is known of a ticket: the last word on it, when it came to that, and whether it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TicketNews {
    word: Option<TicketWord>,
    updated_us: i64,
    deleted: bool,
}

impl TicketNews {
    fn of(item: &ActionItem) -> Self {
        Self {
            word: TicketWord::parse(&item.ticket_state),
            updated_us: item.ticket_updated_us,
            deleted: item.ticket_deleted,
        }
    }

    /// With one more word, in whatever order they come: the latest by the tracker's own clock counts.
    fn with(self, word: TicketWord, updated_us: i64) -> Self {
        match word {
            TicketWord::Deleted => Self { deleted: true, ..self },
            word if (updated_us, Some(word)) > (self.updated_us, self.word) => {
                Self { word: Some(word), updated_us, ..self }
            }
            TicketWord::Open | TicketWord::Dropped | TicketWord::Done => self,
        }
    }

    /// What the follow-up is then. What was deleted before it was done is not going to be done.
    fn follow_up(self) -> FollowUpState {
        match (self.word, self.deleted) {
            (Some(TicketWord::Done), _) => FollowUpState::Done,
            (Some(TicketWord::Dropped | TicketWord::Deleted), _) | (_, true) => FollowUpState::Dropped,
            (Some(TicketWord::Open) | None, false) => FollowUpState::Open,
        }
    }
}

/// A tracker tells how a ticket of ours is. The follow-up moves where the ticket did, and nothing else of it changes.
fn ticket_moved(item: &ActionItem, given: &FollowUpChanged, context: &Context) -> Result<Judged, Refusal> {
    let Some(word) = TicketWord::parse(&given.ticket_state) else {
        return Err(invalid(&format!("{:?} is no state of a ticket", given.ticket_state)));
    };
    let alone = FollowUpChanged {
        follow_up: given.follow_up,
        system: given.system.clone(),
        ticket_id: given.ticket_id.clone(),
        ticket_state: given.ticket_state.clone(),
        ticket_updated_us: given.ticket_updated_us,
        comment: given.comment.clone(),
        ..FollowUpChanged::default()
    };
    if *given != alone || given.ticket_id.is_empty() || given.ticket_updated_us <= 0 {
        return Err(invalid("a tracker tells the state of its ticket, when it came to it, and nothing else"));
    }
    if context.actor != given.system {
        return Err(invalid("only the tracker itself tells the state of a ticket"));
    }
    // It may tell of the ticket before whoever made it does.
    let ours = if item.ticket.is_empty() {
        item.export_to == given.system
    } else {
        item.system == given.system && item.ticket_id == given.ticket_id
    };
    let before = TicketNews::of(item);
    let after = before.with(word, given.ticket_updated_us);
    if !ours || after == before {
        return Ok(Judged::unchanged());
    }
    let (next, now) = (after.follow_up(), FollowUpState::of(item));
    let moves = next != before.follow_up() && next != now;
    Ok(recorded(Kind::FollowUpChanged(FollowUpChanged {
        state: if moves { next.name().to_owned() } else { String::new() },
        comment: given.comment.clone().filter(|_| moves && next != FollowUpState::Done),
        ..given.clone()
    })))
}

pub(crate) fn duty(state: &IncidentState, given: &DutyTicked, rules: Rules<'_>) -> Result<Judged, Refusal> {
    let known = rules.policy.duties.get(&given.role).is_some_and(|duties| duties.contains(&given.duty));
    if !known {
        return Err(invalid(&format!(
            "the role {:?} has no duty {:?} in the policy",
            given.role, given.duty
        )));
    }
    if state.duties_done.contains(&duty_key(&given.role, &given.duty)) == given.done {
        return Ok(Judged::unchanged());
    }
    Ok(recorded(Kind::DutyTicked(given.clone())))
}

/// How a duty that was done stands in the state.
pub fn duty_key(role: &str, duty: &str) -> String {
    format!("{role}/{duty}")
}

/// Whether somebody sees this incident at all: everybody does, unless it is private.
pub fn is_visible(state: &IncidentState, principal: &str, is_admin: bool) -> bool {
    !state.private || is_admin || state.private_to.iter().any(|one| one == principal)
}

/// A duty of a role that somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldDuty<'a> {
    /// The role.
    pub role: &'a str,
    /// Who has it.
    pub principal: &'a str,
    /// As the policy words it.
    pub duty: &'a str,
    /// Whether it was ticked as done.
    pub done: bool,
}

/// The duties of the roles that somebody has, in the order of the roles' names.
pub fn duties<'a>(state: &'a IncidentState, policy: &'a Policy) -> impl Iterator<Item = HeldDuty<'a>> {
    policy.duties.iter().flat_map(move |(role, duties)| {
        let holder = state.responders.iter().find(|one| one.role == *role);
        holder.into_iter().flat_map(move |holder| {
            duties.iter().map(move |duty| HeldDuty {
                role,
                principal: &holder.principal,
                duty,
                done: state.duties_done.contains(&duty_key(role, duty)),
            })
        })
    })
}

/// What is left to be done by a role, whoever has it, as the policy words it.
pub fn duties_left(state: &IncidentState, policy: &Policy, role: &str) -> Vec<String> {
    let left = |duty: &&String| !state.duties_done.contains(&duty_key(role, duty));
    policy.duties.get(role).into_iter().flatten().filter(left).cloned().collect()
}

/// When people are to be told again, while the incident goes on; microseconds since the epoch.
pub fn next_update_us(state: &IncidentState) -> Option<i64> {
    let due = state.next_update_due_us;
    (due > 0 && !machine::is_over(state.state())).then_some(due)
}

fn recorded(kind: Kind) -> Judged {
    Judged::new(Answer::Recorded, vec![kind])
}

/// The text that a record of this needs, where there is one.
pub fn reason(text: &str) -> Option<Text> {
    Text::optional(text.trim())
}

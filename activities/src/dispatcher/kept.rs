//! Messages in an incident's channel that are kept true: the first one, which is pinned and made from what is on record, and
//! what a role is there for, where what is done is ticked.
//!
//! A change puts an item into the outbox in its own transaction. Carrying it out edits the message to what is on record by
//! then, so that of several changes the last is enough, and an item that is carried out again changes nothing.
//!
//! Two workers do not edit at a time: an older text that comes late would stand. Whoever edits holds an entry in the ledger
//! for as long as a request may be under way; of a worker that was killed, or of a request whose end nobody heard, the entry
//! runs out by itself.

use std::time::Duration;

use anyhow::Context as _;
use harmony_blueprints::{
    contracts::{capability::SLACK, duties_headline},
    messages::Act,
};
use harmony_capabilities::{
    error::{CallError, Fate},
    slack::{
        Message, MessageRef, Slack,
        blocks::{self, Block, Style},
        escape,
    },
};
use harmony_catalog::{
    suspects::{DEFAULT_WINDOW, Declared, Suspect, suspects},
    views::{self, Standing},
};
use harmony_eventlog::{Begin, LogError, Pending, catalog::surroundings};
use harmony_incidents::{
    GateStatus, HasStatus, IncidentId, LinkName, OrgId, StreamId,
    clock::COMMANDER,
    follow_up::KeptMessage,
    ids::{EffectScope, effect_key},
    kept::{self, Kept},
    leading::{duty_key, next_update_us},
    log::{BlueprintState, GateState, IncidentState, Relation, State, Text, payload::Kind},
    machine,
    policy::Policy,
    status::link,
    visible, words,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;

use crate::{
    channel::{below, checklist, marked, section},
    flags::capability_flag,
    people,
    services::Services,
};

use super::{Carried, Undone, backoff};

/// Suspects that the message names; the others are at the incident.
const SUSPECTS: usize = 3;
/// Gates that the message names; the others are at the incident.
const GATES: usize = 3;
/// Records that are looked through for a later change, which shows this one, too.
const AHEAD: u32 = 100;
/// Messages about the duties of roles that are edited, the last ones.
const DUTIES: usize = 5;

/// Why an item waits.
pub(crate) const TAKEN: &str = "another worker edits the message";

/// Whose it is to edit a kind of message.
pub(crate) struct Turn<'a> {
    pub(crate) org: &'a OrgId,
    pub(crate) stream: &'a StreamId,
    resource: String,
    pub(crate) key: String,
    pub(crate) owner: String,
}

impl<'a> Turn<'a> {
    /// Of the messages of this name in an incident's channel, for one try of an item.
    pub(crate) fn new(pending: &'a Pending, stream: &'a StreamId, message: &str) -> Self {
        let resource = format!("kept/{message}");
        Self {
            org: &pending.org,
            stream,
            key: effect_key(&pending.org, stream, &EffectScope::Incident { resource: &resource }).to_string(),
            resource,
            owner: format!("{}/{}", pending.id, pending.attempts),
        }
    }
}

/// Releases that may have caused an incident.
#[derive(Debug, Default)]
struct Suspected {
    /// The likeliest first, each with the reason, in one line.
    lines: Vec<String>,
    /// The likeliest of them that can be rolled back.
    rollback: Option<RollbackOffer>,
}

/// A suspected release that a button proposes to roll back.
#[derive(Debug)]
struct RollbackOffer {
    release_id: String,
    /// What would run again, such as `checkout 2.4.0`.
    before: String,
}

/// Whose message it is, and where people reach the console.
struct Place<'a> {
    org: &'a OrgId,
    incident: &'a IncidentId,
    console: Option<&'a Url>,
}

impl Services {
    /// Makes a message say how the incident is now.
    pub(super) async fn keep(&self, pending: &Pending, changed: &KeptMessage) -> Carried {
        let stream = pending.stream.as_ref().context("a message is one of an incident")?;
        let incident = stream.incident().context("a message is one of an incident")?;
        let KeptMessage { seq, message } = *changed;
        let Some(slack) = &self.slack else { return Ok(()) };
        if !self.flags.value(&capability_flag(SLACK), true).await.on
            || self.changes_later(&pending.org, stream, seq, message).await?
        {
            return Ok(());
        }
        let turn = Turn::new(pending, stream, message.name());
        if let Some(left) = self.taken_for(&turn, self.timing.under_way).await? {
            return Err(Undone::waits(left, TAKEN));
        }
        let edited = match message {
            Kept::First => self.edit_first(slack, &pending.org, &incident).await,
            Kept::Duties => self.edit_duties(slack, &turn, &incident).await,
        };
        let is_unheard = matches!(&edited, Ok(Err(error)) if error.fate() == Fate::Unknown);
        if !is_unheard {
            self.log.forget_effect(turn.org, &turn.key, &turn.owner).await?;
        }
        match edited? {
            Ok(()) => Ok(()),
            Err(error) => Err(after(&error, self.timing.under_way, pending.attempts)),
        }
    }

    /// Takes the turn, or keeps it, for so long; how long it is another's.
    pub(crate) async fn taken_for(
        &self,
        turn: &Turn<'_>,
        lease: Duration,
    ) -> Result<Option<Duration>, LogError> {
        let Turn { org, stream, resource, key, owner } = turn;
        let subject = (*stream).into();
        let begun = self.log.begin_effect(org, &subject, key, resource, owner, lease).await?;
        Ok(match begun {
            Begin::Busy(left) => Some(left),
            Begin::Fresh | Begin::Again | Begin::Done(_) => None,
        })
    }

    /// Whether a later record changes the message: its own item shows this change, too.
    async fn changes_later(
        &self,
        org: &OrgId,
        stream: &StreamId,
        seq: u64,
        message: Kept,
    ) -> Result<bool, LogError> {
        let later = self.log.records(org, stream, seq, AHEAD).await?;
        Ok(later.iter().any(|entry| {
            let kind = entry.record.payload.as_ref().and_then(|payload| payload.kind.as_ref());
            kind.and_then(kept::changed) == Some(message)
        }))
    }

    async fn edit_first(
        &self,
        slack: &Slack,
        org: &OrgId,
        incident: &IncidentId,
    ) -> anyhow::Result<Result<(), CallError>> {
        let Some(state) = self.log.state(org, incident).await? else { return Ok(Ok(())) };
        let (Some(channel), Some(ts)) = (open_channel(&state), kept::first(&state)) else {
            return Ok(Ok(()));
        };
        let message = self.first_message(org, incident, &state).await?;
        let place = MessageRef { channel: channel.to_owned(), ts: ts.to_owned() };
        Ok(slack.update_message(&place, &message).await)
    }

    /// Ticks what is done in each message that says what a role is there for.
    async fn edit_duties(
        &self,
        slack: &Slack,
        turn: &Turn<'_>,
        incident: &IncidentId,
    ) -> anyhow::Result<Result<(), CallError>> {
        let org = turn.org;
        let Some(state) = self.log.state(org, incident).await? else { return Ok(Ok(())) };
        let Some(channel) = open_channel(&state) else { return Ok(Ok(())) };
        let mut posted: Vec<(&BlueprintState, &str)> = kept::duties(&state).collect();
        posted.sort_by_key(|(run, _)| run.started_seq);
        for (run, ts) in posted.into_iter().rev().take(DUTIES) {
            let Some((role, duties)) = self.duties_of(org, incident, run).await? else { continue };
            let done = |duty: &String| state.duties_done.contains(&duty_key(&role, duty));
            // What nobody has ticked stands as it was posted.
            if !duties.iter().any(done) {
                continue;
            }
            let place = MessageRef { channel: channel.to_owned(), ts: ts.to_owned() };
            let message = duties_message(org, incident, &state, &role, &duties);
            // Each of them may take its time.
            anyhow::ensure!(self.taken_for(turn, self.timing.under_way).await?.is_none(), TAKEN);
            if let Err(error) = slack.update_message(&place, &message).await {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// The role that a run told of, and its duties, from the record of its start.
    async fn duties_of(
        &self,
        org: &OrgId,
        incident: &IncidentId,
        run: &BlueprintState,
    ) -> Result<Option<(String, Vec<String>)>, LogError> {
        let stream = StreamId::from(incident.clone());
        let records = self.log.records(org, &stream, run.started_seq.saturating_sub(1), 1).await?;
        let kind = records.into_iter().next().and_then(|entry| entry.record.payload?.kind);
        let Some(Kind::BlueprintStarted(started)) = kind else { return Ok(None) };
        let input = started.input.filter(|text| !text.redacted).map(|text| text.text).unwrap_or_default();
        let input: Value = serde_json::from_str(&input).unwrap_or_default();
        let act: Option<Act> = serde_json::from_value(input["act"].clone()).ok();
        Ok(match act {
            Some(Act::Assignment { role, duties, .. }) => Some((role, duties)),
            _ => None,
        })
    }

    /// What the first message says of an incident that is like this.
    pub(crate) async fn first_message(
        &self,
        org: &OrgId,
        incident: &IncidentId,
        state: &IncidentState,
    ) -> Result<Message, LogError> {
        let over = machine::is_over(state.state());
        let suspected = if over { Suspected::default() } else { self.suspected(org, state).await? };
        let rules = self.rules.current();
        let name = |id: &str| people::name(&rules.directory, id);
        let place = Place { org, incident, console: self.console.as_ref() };
        Ok(message(&place, state, &suspected, &rules.policy, &name, Timestamp::now()))
    }

    /// The releases that may have caused an incident, and which of them its button rolls back: the likeliest that is still
    /// what its environment has, where something else was active before it. Nothing is rolled back in the name of a private
    /// incident: everybody reads what is deployed.
    async fn suspected(&self, org: &OrgId, state: &IncidentState) -> Result<Suspected, LogError> {
        let around = surroundings(&*self.log, org, state).await?;
        let mut found =
            suspects(&Declared::from(state), &around.services, &around.environments, DEFAULT_WINDOW);
        let is_dismissed = |one: &Suspect<'_>| {
            let mut said = state.changes.iter();
            said.any(|it| it.release_id == one.release.release_id && it.relation() == Relation::Dismissed)
        };
        found.retain(|one| !is_dismissed(one));
        found.truncate(SUSPECTS);
        let line = |one: &Suspect<'_>| {
            let label = views::label(&one.release.version, &one.release.sha);
            let (service, id) = (&one.service.name, &one.release.release_id);
            visible::line(&format!("{service} {label} ({id}): {}", one.reason))
        };
        let offer = |one: &Suspect<'_>| {
            let before = views::active_before(one.service, one.release)?;
            let is_current = views::standing(one.service, one.release) == Some(Standing::Current);
            is_current.then(|| RollbackOffer {
                release_id: one.release.release_id.clone(),
                before: visible::line(&format!(
                    "{} {}",
                    one.service.name,
                    views::label(&before.version, &before.sha)
                )),
            })
        };
        let rollback = if state.private { None } else { found.iter().find_map(offer) };
        Ok(Suspected { lines: found.iter().map(line).collect(), rollback })
    }
}

/// What follows a message that was not edited. What Slack refuses stays as it is: somebody deleted it, or the channel is
/// archived.
pub(super) fn after(error: &CallError, lease: Duration, attempts: u32) -> Undone {
    let wait = match error.fate() {
        Fate::Rejected => {
            return Undone::GivenUp(format!("a message in the channel is not kept up to date: {error}"));
        }
        Fate::Limited { retry_after } => retry_after.unwrap_or_else(|| backoff(attempts)),
        Fate::Unknown => lease,
        Fate::Unauthorized | Fate::Unavailable => backoff(attempts),
    };
    Undone::waits(wait, error.to_string())
}

/// The incident's channel, while things can be said in it.
pub(crate) fn open_channel(state: &IncidentState) -> Option<&str> {
    let is_archived = link(state, LinkName::SlackChannelArchived).is_some();
    link(state, LinkName::SlackChannel).filter(|_| !is_archived)
}

/// What a role is there for, with what is done ticked and a button for each duty that is left.
fn duties_message(
    org: &OrgId,
    incident: &IncidentId,
    state: &IncidentState,
    role: &str,
    duties: &[String],
) -> Message {
    let is_done = |duty: &String| state.duties_done.contains(&duty_key(role, duty));
    let headline = escape(&visible::line(&marked(state.drill, &duties_headline(role))));
    let line = |duty: &String| {
        let text = escape(&visible::line(duty));
        if is_done(duty) { format!("✓ ~{text}~") } else { text }
    };
    let lines: Vec<String> = duties.iter().map(line).collect();
    let left: Vec<&String> = duties.iter().filter(|duty| !is_done(duty)).collect();
    let mut shown = vec![section(&format!("*{headline}*")), section(&lines.join("\n"))];
    if !left.is_empty() && !machine::is_over(state.state()) {
        shown.push(checklist(org, incident.as_str(), role, left));
    }
    Message { text: headline, blocks: shown }
}

fn message(
    place: &Place<'_>,
    state: &IncidentState,
    suspected: &Suspected,
    policy: &Policy,
    name: &dyn Fn(&str) -> String,
    now: Timestamp,
) -> Message {
    let title = state.title.as_ref().map(Text::shown).unwrap_or_default();
    let headline = escape(&visible::line(&marked(state.drill, title)));
    let over = machine::is_over(state.state());
    let mut shown = vec![
        section(&format!("*{headline}*")),
        section(&standing(place, state, policy, name, now).join("\n")),
        section(&about(state, suspected, name).join("\n")),
    ];
    if !over {
        shown.extend(changes(place, suspected));
    }
    shown.extend(lead(place, state));
    Message { text: headline, blocks: shown }
}

/// How it stands, in Slack's mark-up.
fn standing(
    place: &Place<'_>,
    state: &IncidentState,
    policy: &Policy,
    name: &dyn Fn(&str) -> String,
    now: Timestamp,
) -> Vec<String> {
    let person = |id: &str| escape(&visible::line(&name(id)));
    let mut lines = vec![format!(
        "*{} {}* ({}) · {}",
        state.severity().as_str_name(),
        state.state().as_str_name(),
        words::phase_name(state.phase()),
        place.incident,
    )];
    if let Some(resolution) = &state.resolution {
        lines.push(format!("Resolved by {}", person(&resolution.resolved_by)));
    }
    if !machine::is_over(state.state()) {
        if state.escalated {
            lines.push("Help was called for.".to_owned());
        }
        lines.extend(leading(state, policy, &person, now));
    }
    let waiting: Vec<&GateState> = state.gates.iter().filter(|gate| gate.is(GateStatus::Pending)).collect();
    lines.extend(waiting.iter().take(GATES).map(|gate| waits(place, gate, policy)));
    if waiting.len() > GATES {
        lines.push(format!("and {} more decisions", waiting.len() - GATES));
    }
    lines
}

/// Who commands, and how it stands with updates.
fn leading(
    state: &IncidentState,
    policy: &Policy,
    person: &dyn Fn(&str) -> String,
    now: Timestamp,
) -> [String; 2] {
    let commanders: Vec<String> = state
        .responders
        .iter()
        .filter(|one| one.role == COMMANDER)
        .map(|one| person(&one.principal))
        .collect();
    let commander = match commanders.is_empty() {
        true => "*Nobody commands: take command.*".to_owned(),
        false => format!("Commander: {}", commanders.join(", ")),
    };
    let next = match next_update_us(state) {
        Some(due) if due < now.as_microsecond() => format!("; *the next was due {}*", moment(due, policy)),
        Some(due) => format!("; the next is due {}", moment(due, policy)),
        None => String::new(),
    };
    let update = match state.last_update_us {
        0 => format!("No update yet{next}"),
        last => format!("Last update {}{next}", moment(last, policy)),
    };
    [commander, update]
}

/// What waits for a decision, and where it is decided.
fn waits(place: &Place<'_>, gate: &GateState, policy: &Policy) -> String {
    let action: String = visible::line(&gate.action).chars().take(200).collect();
    let action = escape(&action);
    let asked = match place.console {
        Some(console) => {
            let page = below(console, &["orgs", place.org.as_str(), "approvals", &gate.gate_id]);
            format!("<{page}|{action}>")
        }
        None => action,
    };
    format!("Waits for a decision until {}: {asked}", moment(gate.due_us, policy))
}

/// What was known when it began.
fn about(state: &IncidentState, suspected: &Suspected, name: &dyn Fn(&str) -> String) -> Vec<String> {
    let plain = |text: &str| escape(&visible::line(text));
    let mut lines = vec![format!("Declared by {}", plain(&name(&state.declared_by)))];
    if !state.impacted_services.is_empty() {
        lines.push(format!("Affected: {}", plain(&state.impacted_services.join(", "))));
    }
    lines.extend(suspected.lines.iter().map(|line| format!("What changed: {}", escape(line))));
    let paging = state.links.iter().find(|link| link.name == LinkName::PagerdutyIncidentId.name());
    if let Some(paging) = paging.filter(|link| !link.url.is_empty()) {
        lines.push(format!("PagerDuty: {}", escape(&paging.url)));
    }
    if let Some(review) = state.review.as_ref().filter(|review| !review.url.is_empty()) {
        lines.push(format!("Review: {}", escape(&review.url)));
    }
    lines
}

/// Where what changed is looked at, and a button for the release that can be rolled back: it proposes that, and the
/// gate decides.
fn changes(place: &Place<'_>, suspected: &Suspected) -> Vec<Block> {
    if suspected.lines.is_empty() {
        return Vec::new();
    }
    let mut shown = Vec::new();
    match page(place, &[]) {
        Some(mut page) => {
            page.set_fragment(Some("changes"));
            shown.push(section(&format!("<{page}|Show changes>")));
        }
        None => shown.push(section(&format!("Show changes: `harmony incident changes {}`", place.incident))),
    }
    if let Some(RollbackOffer { release_id, before }) = &suspected.rollback {
        let value = json!({ "org": place.org, "incidentId": place.incident, "releaseId": release_id });
        let label = format!("Roll back to {before}");
        let button = blocks::button("roll-back", &label, Some(Style::Danger), &value);
        shown.push(blocks::actions("changes", vec![button]));
    }
    shown
}

/// What whoever leads an incident does most, while it goes on; then its review. Each is done with the rights of whoever
/// clicks.
fn lead(place: &Place<'_>, state: &IncidentState) -> Option<Block> {
    let value = json!({ "org": place.org, "incidentId": place.incident });
    let button =
        |action: &str, label: &str, style: Option<Style>| blocks::button(action, label, style, &value);
    let mut buttons = Vec::new();
    if !machine::is_over(state.state()) {
        let commanded = state.responders.iter().any(|one| one.role == COMMANDER);
        buttons.extend([
            button("lead-command", "Take command", (!commanded).then_some(Style::Primary)),
            button("lead-update", "Send an update", None),
            button("lead-remediate", "Run a runbook", None),
            button("lead-severity", "Change severity", None),
            button("lead-close-out", "Close out", None),
        ]);
    } else if state.state() == State::Resolved
        && let Some(page) = page(place, &["review"])
    {
        buttons.push(blocks::link_button("review", "Write the review", page));
    }
    if let Some(page) = page(place, &[]) {
        buttons.push(blocks::link_button("open", "Open in Harmony", page));
    }
    (!buttons.is_empty()).then(|| blocks::actions("lead", buttons))
}

/// A page below the incident's.
fn page(place: &Place<'_>, further: &[&str]) -> Option<Url> {
    let own = ["orgs", place.org.as_str(), "incidents", place.incident.as_str()];
    place.console.map(|console| below(console, &[&own, further].concat()))
}

/// A time, as each reader's Slack shows it; where that cannot be, in the organisation's zone.
fn moment(at_us: i64, policy: &Policy) -> String {
    let at = Timestamp::from_microsecond(at_us).unwrap_or(Timestamp::UNIX_EPOCH);
    let otherwise = at.to_zoned(policy.time_zone()).strftime("%Y-%m-%d %H:%M %Z").to_string();
    format!("<!date^{}^{{date_short_pretty}} {{time}}|{otherwise}>", at.as_second())
}

#[cfg(test)]
mod tests {
    use harmony_incidents::log::{Link, Resolution, Responder, Severity};
    use serde_json::Value;

    use super::*;

    const AT_US: i64 = 1_769_940_000_000_000;

    fn state() -> IncidentState {
        let gate = GateState {
            gate_id: "incident.remediate-INC-2026-0001#1/approve".to_owned(),
            status: GateStatus::Pending.into(),
            action: "Run a.md <now>".to_owned(),
            due_us: AT_US,
            ..GateState::default()
        };
        let mut state = IncidentState {
            incident: "INC-2026-0001".to_owned(),
            title: Some(Text::plain("Checkout <fails>")),
            declared_by: "operator".to_owned(),
            next_update_due_us: AT_US,
            gates: vec![gate],
            links: vec![Link {
                name: LinkName::PagerdutyIncidentId.into(),
                value: "P1".to_owned(),
                url: "https://pd.example/P1".to_owned(),
            }],
            ..IncidentState::default()
        };
        state.set_severity(Severity::P1);
        state.set_state(State::Open);
        state
    }

    /// As Slack is sent it.
    fn shown(state: &IncidentState, suspected: &Suspected, console: Option<&Url>, now_us: i64) -> Vec<Value> {
        let (org, incident) = (OrgId::default(), "INC-2026-0001".parse().unwrap());
        let place = Place { org: &org, incident: &incident, console };
        let name = |id: &str| format!("Mx {id}");
        let now = Timestamp::from_microsecond(now_us).unwrap();
        let message = message(&place, state, suspected, &Policy::default(), &name, now);
        assert_eq!(message.text, "Checkout &lt;fails&gt;");
        message.blocks.iter().map(|block| json!(block)).collect()
    }

    fn text(block: &Value) -> &str {
        block["text"]["text"].as_str().unwrap()
    }

    fn buttons(blocks: &[Value]) -> Vec<&str> {
        let elements = blocks.last().unwrap()["elements"].as_array().unwrap();
        elements.iter().map(|one| one["action_id"].as_str().unwrap()).collect()
    }

    #[test]
    fn it_says_how_the_incident_stands_who_commands_and_what_waits() {
        let console: Url = "https://harmony.example.com/below/".parse().unwrap();
        let mut state = state();
        let blocks = shown(&state, &Suspected::default(), Some(&console), AT_US - 1);
        let due = "<!date^1769940000^{date_short_pretty} {time}|2026-02-01 10:00 UTC>";
        let gate = "https://harmony.example.com/below/orgs/default/approvals/incident.remediate-INC-2026-0001%231%2Fapprove";
        assert_eq!(
            text(&blocks[1]),
            format!(
                "*P1 OPEN* (none) · INC-2026-0001\n*Nobody commands: take command.*\n\
                 No update yet; the next is due {due}\n\
                 Waits for a decision until {due}: <{gate}|Run a.md &lt;now&gt;>"
            )
        );
        assert_eq!(text(&blocks[2]), "Declared by Mx operator\nPagerDuty: https://pd.example/P1");
        let all =
            ["lead-command", "lead-update", "lead-remediate", "lead-severity", "lead-close-out", "open"];
        assert_eq!(buttons(&blocks), all);
        assert_eq!(blocks[3]["elements"][0]["style"], "primary");

        state.responders.push(Responder {
            role: COMMANDER.to_owned(),
            principal: "oncall".to_owned(),
            ..Responder::default()
        });
        state.last_update_us = AT_US - 60_000_000;
        state.gates.clear();
        let blocks = shown(&state, &Suspected::default(), Some(&console), AT_US + 1);
        let last = "<!date^1769939940^{date_short_pretty} {time}|2026-02-01 09:59 UTC>";
        assert_eq!(
            text(&blocks[1]),
            format!(
                "*P1 OPEN* (none) · INC-2026-0001\nCommander: Mx oncall\n\
                 Last update {last}; *the next was due {due}*"
            )
        );
        assert_eq!(blocks[3]["elements"][0]["style"], Value::Null, "command is taken");
    }

    #[test]
    fn what_no_longer_applies_is_gone_once_it_is_over() {
        let console: Url = "https://harmony.example.com".parse().unwrap();
        let mut state = state();
        state.gates.clear();
        state.resolution = Some(Resolution { resolved_by: "oncall".to_owned(), ..Resolution::default() });
        for (over, expected) in [
            (State::Resolved, vec!["review", "open"]),
            (State::Closed, vec!["open"]),
            (State::Cancelled, vec!["open"]),
        ] {
            state.set_state(over);
            let blocks = shown(&state, &Suspected::default(), Some(&console), AT_US);
            let first = format!("*P1 {}* (none) · INC-2026-0001", over.as_str_name());
            assert_eq!(text(&blocks[1]), format!("{first}\nResolved by Mx oncall"));
            assert_eq!(buttons(&blocks), expected);
        }
        assert_eq!(shown(&state, &Suspected::default(), None, AT_US).len(), 3, "no button without a console");
    }

    #[test]
    fn what_changed_is_linked_and_a_release_that_can_be_is_rolled_back_by_a_button() {
        let console: Url = "https://harmony.example.com/below/".parse().unwrap();
        let offer = RollbackOffer {
            release_id: "rel-2".to_owned(),
            before: "checkout ".to_owned() + &"9".repeat(90),
        };
        let lines = vec!["checkout 2.4.1 (rel-2): Active 6 minutes before".to_owned()];
        let suspected = Suspected { lines: lines.clone(), rollback: Some(offer) };
        let blocks = shown(&state(), &suspected, Some(&console), AT_US);
        assert!(text(&blocks[2]).contains("What changed: checkout 2.4.1 (rel-2): Active 6 minutes before"));
        let link =
            "<https://harmony.example.com/below/orgs/default/incidents/INC-2026-0001#changes|Show changes>";
        assert_eq!(text(&blocks[3]), link);
        let button = &blocks[4]["elements"][0];
        assert_eq!(button["action_id"], "roll-back");
        let value: Value = serde_json::from_str(button["value"].as_str().unwrap()).unwrap();
        assert_eq!(value, json!({ "org": "default", "incidentId": "INC-2026-0001", "releaseId": "rel-2" }));
        let label = text(button);
        assert!(label.starts_with("Roll back to checkout 999") && label.chars().count() <= 75, "{label}");
        let blocks = shown(&state(), &Suspected { lines, rollback: None }, None, AT_US);
        assert_eq!(text(&blocks[3]), "Show changes: `harmony incident changes INC-2026-0001`");
        assert_eq!(blocks.len(), 5, "no button where nothing can be rolled back");
    }
}

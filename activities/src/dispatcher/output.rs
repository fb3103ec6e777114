//! What a running cell prints, in the incident's channel: one message for each run of a runbook, below the question that its
//! gate asked or below the pinned message, edited while a cell runs and once more when it has ended.
//!
//! The start and the end of a cell put an item into the outbox in their own transaction. The item of a start is carried out
//! again every [`PACE`] until the cell's end is on record, whose own item then takes over; so neither the workflow nor its
//! history knows of it, and a cell never waits. A cell that ends within [`PACE`] shows nothing: the outcome of the run is
//! posted anyway.
//!
//! | killed | what the next worker finds |
//! |---|---|
//! | before the message was posted | an intent in the ledger, or none: it looks for the message first, and posts it |
//! | after it, before its place is written down | the intent: it finds the message by its key and goes on with it |
//! | while it edits | the turn, which runs out once the request must have ended: no older text comes late |
//!
//! Two edits of one incident's message are at least [`PACE`] apart, and all edits of a process [`EditPace::APART`]: what
//! people decide by has to reach Slack, too.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use harmony_blueprints::contracts::capability::SLACK;
use harmony_capabilities::{
    error::{Attempt, CallError, Fate},
    slack::{Message, MessageRef, Slack, escape},
};
use harmony_eventlog::{Begin, Pending, StoredOutput};
use harmony_incidents::{
    GateId, HasStatus, IncidentId, OrgId,
    follow_up::Output,
    ids::{EffectScope, effect_key},
    kept::{self, CellRunner},
    log::{IncidentState, Text, payload::Kind},
    status::{RunStatus, StepStatus},
    ticket::cell_run,
    visible,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;
use uuid::Uuid;

use crate::{
    channel::{below, marked, section},
    flags::capability_flag,
    services::Services,
};

use super::{
    Carried, Undone,
    kept::{TAKEN, Turn, after, open_channel},
};

/// Between two edits of a message.
const PACE: Duration = Duration::from_secs(3);
/// The step in the ledger. No step of a blueprint has this name.
const STEP: &str = "live-output";
/// The messages whose turn it is, in the ledger.
const TURN: &str = "output";
/// Of what a cell printed, in characters of Slack's mark-up. A section takes 3,000.
const OUTPUT_CHARS: usize = 2_500;
/// Lines of it: what a phone shows.
const OUTPUT_LINES: usize = 30;
/// Pieces that are read: two a second come at most.
const PIECES: u32 = 40;
/// Messages of which a process remembers what they say.
const SHOWN: usize = 1_000;
/// Records that are looked through for a later start or end.
const AHEAD: u32 = 100;

/// Why an item waits while all is well.
const RUNS: &str = "its cell runs";
const PLACE: &str = "other messages are edited first";

/// Keeps the edits of a process apart.
#[derive(Debug, Default)]
pub(crate) struct EditPace(Mutex<Edits>);

/// The edits of a process.
#[derive(Debug, Default)]
struct Edits {
    /// When the last one was made.
    last: Option<Instant>,
    /// The first place that nobody waits for.
    next: Option<Instant>,
    /// What the messages of cells that run say, by their keys.
    shown: HashMap<Uuid, String>,
}

impl EditPace {
    /// Slack takes some 50 edits a minute of an app.
    const APART: Duration = Duration::from_millis(1_500);

    /// Takes the next edit, or says how long to wait for it. No two are told to wait for the same one.
    fn take(&self, now: Instant) -> Option<Duration> {
        let mut edits = self.edits();
        let free = edits.last.map_or(now, |last| last + Self::APART);
        if free <= now {
            edits.last = Some(now);
            return None;
        }
        // Whoever comes a little early keeps the place.
        if free - now < Self::APART / 4 {
            return Some(free - now);
        }
        let place = edits.next.map_or(free, |next| next.max(free));
        edits.next = Some(place + Self::APART);
        Some(place - now)
    }

    /// Whether the message says this already. What this process does not know is no.
    fn is_shown(&self, message: Uuid, says: &str) -> bool {
        self.edits().shown.get(&message).is_some_and(|shown| shown == says)
    }

    /// The message says this now; where its cell has ended, that is the last time.
    fn shows(&self, message: Uuid, says: String, has_ended: bool) {
        let mut edits = self.edits();
        if has_ended {
            edits.shown.remove(&message);
        } else {
            // Some may be of cells whose end another process told.
            if edits.shown.len() >= SHOWN {
                edits.shown.clear();
            }
            edits.shown.insert(message, says);
        }
    }

    fn edits(&self) -> MutexGuard<'_, Edits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the message is, as the ledger keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct Posted {
    channel: String,
    ts: String,
    /// SHA-256 of what it says, in hex; empty while it is edited.
    says: String,
}

/// A cell of which a record tells.
struct CellShown<'a> {
    name: &'a str,
    /// Names this run of it in the store of live output.
    run: String,
    /// How it ended, in words; `None` while it runs.
    ended: Option<String>,
    /// What the record has of its output.
    recorded: String,
}

impl<'a> CellShown<'a> {
    fn of(kind: &'a Kind) -> Option<Self> {
        let text = |text: &Option<Text>| text.as_ref().map(Text::shown).unwrap_or_default().to_owned();
        let run = |attempt, purpose: &str, cell: &str, number: u32| {
            cell_run(attempt, &format!("{purpose}/{cell}/{}", number.max(1)))
        };
        Some(match kind {
            Kind::RunbookCellStarted(cell) => Self {
                name: &cell.cell,
                run: run(cell.attempt, &cell.purpose, &cell.cell, cell.run),
                ended: None,
                recorded: String::new(),
            },
            Kind::RunbookCellFinished(cell) => Self {
                name: &cell.cell,
                run: run(cell.attempt, &cell.purpose, &cell.cell, cell.run),
                ended: Some(match cell.ended.as_str() {
                    "exited" if cell.success => "succeeded".to_owned(),
                    "exited" => format!("exited with {}", cell.exit_code),
                    ended => ended.replace('-', " "),
                }),
                recorded: text(&cell.stdout) + &text(&cell.stderr),
            },
            Kind::RunbookCellUnknown(cell) => Self {
                name: &cell.cell,
                run: run(cell.attempt, &cell.purpose, &cell.cell, cell.run),
                ended: Some(format!("nobody knows how it ended: {}", text(&cell.reason))),
                recorded: String::new(),
            },
            _ => return None,
        })
    }
}

/// The message and where it belongs.
struct LiveMessage {
    channel: String,
    /// The messages below which it may stand, the best one first.
    above: Vec<MessageRef>,
    key: Uuid,
    message: Message,
}

impl LiveMessage {
    fn says(&self) -> String {
        let said = serde_json::to_vec(&self.message.blocks).unwrap_or_default();
        hex::encode(Sha256::digest(said))
    }

    async fn post(&self, slack: &Slack) -> Result<MessageRef, CallError> {
        match self.above.first() {
            Some(above) => slack.send_reply(&self.key, above, &self.message).await,
            None => slack.send_message(Attempt::First, &self.key, &self.channel, &self.message).await,
        }
    }

    /// Wherever an earlier try may have posted it.
    async fn find(&self, slack: &Slack) -> Result<Option<MessageRef>, CallError> {
        for above in &self.above {
            if let Some(found) = slack.find_reply(above, &self.key).await? {
                return Ok(Some(found));
            }
        }
        slack.find_message(&self.channel, &self.key).await
    }
}

impl Services {
    /// Shows in the incident's channel what the cell of a record prints, or how it ended.
    pub(super) async fn show_output(&self, pending: &Pending, output: &Output, pace: &EditPace) -> Carried {
        let stream = pending.stream.as_ref().context("output is of a cell of an incident")?;
        let incident = stream.incident().context("output is of a cell of an incident")?;
        let Some(slack) = &self.slack else { return Ok(()) };
        if !self.flags.value(&capability_flag(SLACK), true).await.on {
            return Ok(());
        }
        let org = &pending.org;
        let records = self.log.records(org, stream, output.seq.saturating_sub(1), AHEAD).await?;
        let mut kinds = records.iter().filter_map(|entry| entry.record.payload.as_ref()?.kind.as_ref());
        let Some(kind) = kinds.next() else { return Ok(()) };
        let (Some(runner), Some(mut cell)) = (kept::run_of_cell(kind), CellShown::of(kind)) else {
            return Ok(());
        };
        // A later record has an item of its own.
        if kinds.any(|later| kept::run_of_cell(later) == Some(runner)) {
            return Ok(());
        }
        let Some(state) = self.log.state(org, &incident).await? else { return Ok(()) };
        let Some(channel) = open_channel(&state) else { return Ok(()) };
        if cell.ended.is_none() && !is_open(&state, runner) {
            cell.ended = Some("its run has ended".to_owned());
        }
        let scope = EffectScope::Step { blueprint: runner.blueprint, attempt: runner.attempt, step: STEP };
        let key = effect_key(org, stream, &scope);
        if self.log.known_effect(org, &key.to_string()).await?.is_none() {
            let ran = Timestamp::now().duration_since(pending.created_at);
            let left = PACE.saturating_sub(ran.try_into().unwrap_or_default());
            match cell.ended {
                Some(_) => return Ok(()),
                None if !left.is_zero() => return Err(Undone::waits(left, RUNS)),
                None => {}
            }
        }
        let place = Place { org, incident: &incident, console: self.console.as_ref() };
        let printed = self.log.last_output(org, stream, &cell.run, PIECES).await?;
        let live = LiveMessage {
            above: above(&state, runner, channel),
            channel: channel.to_owned(),
            key,
            message: message(&place, state.drill, &cell, &printed),
        };
        let (key, says, has_ended) = (live.key, live.says(), cell.ended.is_some());
        let is_kept = || if has_ended { Ok(()) } else { Err(Undone::waits(PACE, RUNS)) };
        if pace.is_shown(key, &says) {
            return is_kept();
        }
        if let Some(left) = pace.take(Instant::now()) {
            return Err(Undone::waits(left, PLACE));
        }
        let turn = Turn::new(pending, stream, TURN);
        if let Some(left) = self.taken_for(&turn, self.timing.under_way).await? {
            return Err(Undone::waits(left, TAKEN));
        }
        let shown = self.show(slack, &turn, &live, &says).await;
        // Until the next edit may be made, or the one that nobody heard of must have ended.
        let lease = match &shown {
            Ok(Ok(None)) => Some(PACE),
            Ok(Ok(Some(_))) => Some(Duration::ZERO),
            Ok(Err(error)) if error.fate() == Fate::Unknown => None,
            Ok(Err(_)) | Err(_) => Some(Duration::ZERO),
        };
        if let Some(lease) = lease {
            self.taken_for(&turn, lease).await?;
        }
        match shown? {
            Ok(Some(wait)) => Err(Undone::waits(wait, TAKEN)),
            Ok(None) => {
                pace.shows(key, says, has_ended);
                is_kept()
            }
            Err(error) => Err(after(&error, self.timing.under_way, pending.attempts)),
        }
    }

    /// Posts the message, or makes it say this; how long that has to wait, where it has to.
    async fn show(
        &self,
        slack: &Slack,
        turn: &Turn<'_>,
        live: &LiveMessage,
        says: &str,
    ) -> anyhow::Result<Result<Option<Duration>, CallError>> {
        let key = live.key.to_string();
        let subject = turn.stream.into();
        let begun =
            self.log.begin_effect(turn.org, &subject, &key, STEP, &turn.owner, Duration::ZERO).await?;
        let is_fresh = matches!(begun, Begin::Fresh);
        let known: Option<Posted> = match begun {
            Begin::Done(known) => {
                Some(serde_json::from_value(known).context("the ledger's entry of a message")?)
            }
            Begin::Busy(left) => return Ok(Ok(Some(left))),
            Begin::Fresh | Begin::Again => None,
        };
        if known.as_ref().is_some_and(|posted| posted.says == says) {
            return Ok(Ok(None));
        }
        let mut posted = match known {
            Some(posted) => posted,
            None => match self.post_once(slack, turn, live, is_fresh).await? {
                Ok(posted) => posted,
                Err(error) => {
                    // What surely did not happen needs no looking for.
                    if is_fresh && error.fate() != Fate::Unknown {
                        self.log.forget_effect(turn.org, &key, &turn.owner).await?;
                    }
                    return Ok(Err(error));
                }
            },
        };
        if posted.says != says {
            // Of an edit whose worker is killed nobody knows what it left there.
            posted.says.clear();
            self.log.complete_effect(turn.org, &key, &serde_json::to_value(&posted)?).await?;
            let place = MessageRef { channel: posted.channel.clone(), ts: posted.ts.clone() };
            if let Err(error) = slack.update_message(&place, &live.message).await {
                return Ok(Err(error));
            }
            posted.says = says.to_owned();
        }
        self.log.complete_effect(turn.org, &key, &serde_json::to_value(&posted)?).await?;
        Ok(Ok(None))
    }

    /// Posts the message, unless an earlier try did. Whoever has the turn knows that no request of such a try is under way.
    async fn post_once(
        &self,
        slack: &Slack,
        turn: &Turn<'_>,
        live: &LiveMessage,
        is_fresh: bool,
    ) -> anyhow::Result<Result<Posted, CallError>> {
        if !is_fresh {
            for wait in [Duration::ZERO, self.timing.between_looks] {
                tokio::time::sleep(wait).await;
                match live.find(slack).await {
                    Ok(Some(found)) => {
                        let MessageRef { channel, ts } = found;
                        return Ok(Ok(Posted { channel, ts, says: String::new() }));
                    }
                    Ok(None) => {}
                    Err(error) => return Ok(Err(error)),
                }
            }
            // A process that was stopped for long while it looked may have lost the turn.
            anyhow::ensure!(self.taken_for(turn, self.timing.under_way).await?.is_none(), TAKEN);
        }
        let posted = live.post(slack).await;
        Ok(posted.map(|MessageRef { channel, ts }| Posted { channel, ts, says: live.says() }))
    }
}

/// Whether the attempt that runs the cell goes on.
fn is_open(state: &IncidentState, runner: CellRunner<'_>) -> bool {
    state.blueprints.iter().any(|run| {
        run.blueprint == runner.blueprint
            && run.attempt == runner.attempt
            && run.status().is_some_and(RunStatus::is_open)
    })
}

/// Below what it may stand: the question that the run's gate asked, or the pinned message.
fn above(state: &IncidentState, runner: CellRunner<'_>, channel: &str) -> Vec<MessageRef> {
    let runs = state.blueprints.iter();
    let steps = runs
        .filter(|run| run.blueprint == runner.blueprint && run.attempt == runner.attempt)
        .flat_map(|run| &run.steps);
    let asked = format!("{}/ask", GateId::APPROVE);
    let is_question =
        |step: &str| step.strip_prefix(&asked).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    let question = steps
        .filter(|step| is_question(&step.step) && step.is(StepStatus::Succeeded))
        .map(|step| step.external_ref.as_str())
        .rfind(|ts| !ts.is_empty());
    let place = |ts: &str| MessageRef { channel: channel.to_owned(), ts: ts.to_owned() };
    question.into_iter().chain(kept::first(state)).map(place).collect()
}

/// Whose output it is, and where people reach the console.
struct Place<'a> {
    org: &'a OrgId,
    incident: &'a IncidentId,
    console: Option<&'a Url>,
}

fn message(place: &Place<'_>, drill: bool, cell: &CellShown<'_>, printed: &[StoredOutput]) -> Message {
    let name = visible::line(cell.name);
    let said = match &cell.ended {
        None => format!("Cell {name} is running"),
        Some(how) => format!("Cell {name}: {}", visible::line(how)),
    };
    let headline = escape(&marked(drill, &said));
    let mut blocks = vec![section(&format!("*{headline}*"))];
    let live = spliced(printed);
    let text = if live.is_empty() { plain(&cell.recorded) } else { live };
    let shown = last_lines(&text);
    if !shown.is_empty() {
        blocks.push(section(&format!("```\n{shown}\n```")));
    }
    blocks.push(section(&whole(place, cell.name)));
    Message { text: headline, blocks }
}

/// Where all of it is.
fn whole(place: &Place<'_>, cell: &str) -> String {
    match place.console {
        Some(console) => {
            let page = below(console, &["orgs", place.org.as_str(), "incidents", place.incident.as_str()]);
            format!("<{page}|All of it>")
        }
        None => {
            let cell = escape(&visible::line(cell)).replace('`', "'");
            format!("All of it: `harmony incident show {} --output {cell}`", place.incident)
        }
    }
}

/// What the last try of a cell printed, as far as it is there.
fn spliced(printed: &[StoredOutput]) -> String {
    let outputs = printed.iter().map(|one| &one.output).filter(|one| !one.ended);
    let attempt = outputs.clone().map(|one| one.attempt).max().unwrap_or_default();
    let (mut text, mut to) = (String::new(), None);
    for one in outputs.filter(|one| one.attempt == attempt) {
        if let Some(left_out) = to.map(|to| one.from_bytes.saturating_sub(to)).filter(|bytes| *bytes > 0) {
            text.push_str(&format!("\n[{left_out} bytes are not shown]\n"));
        }
        text.push_str(&one.text);
        to = Some(one.to_bytes);
    }
    plain(&text)
}

/// The text without what colours it and moves the cursor; of a line that was written over, what it says at last.
fn plain(text: &str) -> String {
    let text = without_escapes(text).replace("\r\n", "\n");
    let lines =
        text.split('\n').map(|line| line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default());
    visible::visible(&lines.collect::<Vec<_>>().join("\n")).trim_end().to_owned()
}

/// Leaves terminals' escape sequences out (ECMA-48): CSI up to its final byte, strings such as OSC up to their end, others with
/// the character behind them.
fn without_escapes(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let introducer = match character {
            '\u{1b}' => characters.next(),
            '\u{9b}' => Some('['),
            '\u{9d}' => Some(']'),
            other => {
                shown.push(other);
                continue;
            }
        };
        match introducer {
            Some('[') => {
                let rest = characters.clone();
                // A sequence that is broken off ends with its line.
                let length = rest.take_while(|one| matches!(one, ' '..='?')).count();
                let is_final = characters.clone().nth(length).is_some_and(|one| matches!(one, '@'..='~'));
                let skipped = length + usize::from(is_final);
                if skipped > 0 {
                    characters.nth(skipped - 1);
                }
            }
            Some(']' | 'P' | 'X' | '^' | '_') => {
                let rest = characters.as_str();
                let line = rest.find('\n').unwrap_or(rest.len());
                let ends = [("\u{7}", 1), ("\u{1b}\\", 2), ("\u{9c}", 2)];
                let end = ends.iter().filter_map(|(end, bytes)| Some(rest[..line].find(end)? + bytes)).min();
                characters = rest[end.unwrap_or(line)..].chars();
            }
            // Two characters, or three where the second announces a third.
            Some(' '..='/') => drop(characters.next()),
            Some('\n') => shown.push('\n'),
            Some(_) | None => {}
        }
    }
    shown
}

/// The last lines that there is room for, in Slack's mark-up for a block of code. A fence inside it would end ours.
fn last_lines(text: &str) -> String {
    let (mut lines, mut chars): (Vec<String>, usize) = (Vec::new(), 0);
    for line in text.rsplit('\n').take(OUTPUT_LINES) {
        let safe = escape(line).replace("```", "'''");
        let length = safe.chars().count() + 1;
        if chars + length > OUTPUT_CHARS {
            if lines.is_empty() {
                lines.push(end_of(line));
            }
            break;
        }
        chars += length;
        lines.push(safe);
    }
    lines.reverse();
    lines.join("\n").trim_end().to_owned()
}

/// The end of a line that is too long by itself.
fn end_of(line: &str) -> String {
    let mut room = OUTPUT_CHARS - 2;
    let fits = |character: &char| {
        let length = escape(character.encode_utf8(&mut [0; 4])).chars().count();
        let is_room = length <= room;
        room = room.saturating_sub(length);
        is_room
    };
    let kept: Vec<char> = line.chars().rev().take_while(fits).collect();
    let kept: String = kept.into_iter().rev().collect();
    format!("…{}", escape(&kept).replace("```", "'''"))
}

#[cfg(test)]
mod tests {
    use harmony_eventlog::LiveOutput;
    use harmony_incidents::log::{
        BlueprintState, RunbookCellFinished, RunbookCellStarted, RunbookCellUnknown, StepState,
    };

    use super::*;

    fn piece(attempt: u32, from_bytes: u64, text: &str, ended: bool) -> StoredOutput {
        let to_bytes = from_bytes + text.len() as u64;
        let (step, cell, text) = ("1/remediation/roll/1".to_owned(), "roll".to_owned(), text.to_owned());
        let output = LiveOutput { step, cell, attempt, from_bytes, to_bytes, text, ended };
        StoredOutput { number: 1, at: Timestamp::UNIX_EPOCH, output }
    }

    fn started() -> Kind {
        Kind::RunbookCellStarted(RunbookCellStarted {
            blueprint: "remediate".to_owned(),
            attempt: 2,
            cell: "roll".to_owned(),
            purpose: "remediation".to_owned(),
            run: 1,
            ..RunbookCellStarted::default()
        })
    }

    fn texts(kind: &Kind, printed: &[StoredOutput], console: Option<&str>) -> Vec<String> {
        let console: Option<Url> = console.map(|url| url.parse().unwrap());
        let (org, incident) = (OrgId::default(), "INC-2026-0001".parse().unwrap());
        let place = Place { org: &org, incident: &incident, console: console.as_ref() };
        let shown = message(&place, false, &CellShown::of(kind).unwrap(), printed);
        let blocks = serde_json::to_value(&shown.blocks).unwrap();
        let text = |block: &serde_json::Value| block["text"]["text"].as_str().unwrap().to_owned();
        blocks.as_array().unwrap().iter().map(text).collect()
    }

    #[test]
    fn it_says_which_cell_runs_and_the_end_of_what_it_printed() {
        let printed = [piece(1, 0, "lost with its worker\n", false), piece(2, 0, "one\ntwo\n", false)];
        assert_eq!(
            texts(&started(), &printed, Some("https://harmony.example.com/below/")),
            [
                "*Cell roll is running*",
                "```\none\ntwo\n```",
                "<https://harmony.example.com/below/orgs/default/incidents/INC-2026-0001|All of it>"
            ]
        );
        let whole = "All of it: `harmony incident show INC-2026-0001 --output roll`";
        assert_eq!(texts(&started(), &[], None), ["*Cell roll is running*", whole]);
        assert_eq!(CellShown::of(&started()).unwrap().run, "2/remediation/roll/1");
    }

    #[test]
    fn it_says_how_the_cell_ended_and_what_the_record_has_where_nothing_else_is_left() {
        let finished = |ended: &str, success: bool| {
            Kind::RunbookCellFinished(RunbookCellFinished {
                cell: "roll".to_owned(),
                ended: ended.to_owned(),
                success,
                exit_code: if success { 0 } else { 3 },
                stdout: Text::optional("done\n"),
                ..RunbookCellFinished::default()
            })
        };
        let ended = [piece(1, 0, "live\n", false), piece(1, 5, "exited with 0", true)];
        assert_eq!(
            texts(&finished("exited", true), &ended, None)[..2],
            ["*Cell roll: succeeded*", "```\nlive\n```"]
        );
        assert_eq!(
            texts(&finished("exited", false), &[], None)[..2],
            ["*Cell roll: exited with 3*", "```\ndone\n```"]
        );
        assert_eq!(texts(&finished("timed-out", false), &[], None)[0], "*Cell roll: timed out*");
        let unknown = Kind::RunbookCellUnknown(RunbookCellUnknown {
            cell: "roll".to_owned(),
            reason: Text::optional("its worker was lost"),
            ..RunbookCellUnknown::default()
        });
        assert_eq!(
            texts(&unknown, &[], None)[0],
            "*Cell roll: nobody knows how it ended: its worker was lost*"
        );
    }

    #[test]
    fn nothing_that_is_printed_is_mark_up_or_moves_a_cursor() {
        for (printed, expected) in [
            ("\u{1b}[1;31mred\u{1b}[0m text", "red text"),
            ("\u{9b}2Kgone \u{1b}(Bset \u{1b}=keys", "gone set keys"),
            ("\u{1b}]0;title\u{7}one \u{1b}]8;;https://x\u{1b}\\link", "one link"),
            ("\u{1b}]never ended\nnext", "\nnext"),
            ("cut \u{1b}[31", "cut"),
            ("cut \u{1b}", "cut"),
            ("broken \u{1b}[31\nnext", "broken \nnext"),
            ("10%\r50%\r100%\r\nnext\r", "100%\nnext"),
            ("bell \u{7} and \u{202e}turn", "bell <U+0007> and <U+202E>turn"),
            ("  kept\tas it is  ", "  kept\tas it is"),
        ] {
            assert_eq!(plain(printed), expected, "{printed:?}");
        }
        for (text, expected) in
            [("<!channel> & `x`", "&lt;!channel&gt; &amp; `x`"), ("a ```` b", "a '''` b"), ("\n\n", "")]
        {
            assert_eq!(last_lines(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_is_bounded_and_its_end_is_kept() {
        let lines: Vec<String> = (0..200).map(|number| format!("line {number}")).collect();
        let shown = last_lines(&lines.join("\n"));
        assert_eq!((shown.lines().count(), shown.lines().last()), (OUTPUT_LINES, Some("line 199")));
        for line in [
            "<".repeat(9_000),
            "`".repeat(9_000),
            "é".repeat(9_000),
            format!("{}\n{}", "&".repeat(9_000), "z".repeat(2_400)),
        ] {
            let shown = last_lines(&line);
            assert!(shown.chars().count() <= OUTPUT_CHARS, "{}", shown.chars().count());
            assert!(!shown.contains("```"));
        }
        assert!(last_lines(&format!("{}end", "<".repeat(9_000))).ends_with("&lt;end"));
        let gap = [piece(1, 0, "one", false), piece(1, 1_003, "two", false)];
        assert_eq!(spliced(&gap), "one\n[1000 bytes are not shown]\ntwo");
    }

    #[test]
    fn it_stands_below_the_question_of_its_run_or_the_pinned_message() {
        let step = |name: &str, ts: &str| StepState {
            step: name.to_owned(),
            status: StepStatus::Succeeded.into(),
            external_ref: ts.to_owned(),
            ..StepState::default()
        };
        let run = |blueprint: &str, attempt, status: RunStatus, steps| BlueprintState {
            blueprint: blueprint.to_owned(),
            attempt,
            status: status.into(),
            steps,
            ..BlueprintState::default()
        };
        let asked = vec![
            step("notice", "1.0"),
            step("approve/ask", "2.0"),
            step("approve/asked-again-2", "2.5"),
            step("approve/ask-2", "3.0"),
        ];
        let state = IncidentState {
            blueprints: vec![
                run("initiate", 1, RunStatus::Completed, vec![step(kept::FIRST, "0.1")]),
                run("remediate", 2, RunStatus::Running, asked),
            ],
            ..IncidentState::default()
        };
        let places = |attempt| -> Vec<String> {
            let runner = CellRunner { blueprint: "remediate", attempt };
            above(&state, runner, "C1").into_iter().map(|one| one.ts).collect()
        };
        assert_eq!(places(2), ["3.0", "0.1"]);
        assert_eq!(places(1), ["0.1"]);
        assert!(is_open(&state, CellRunner { blueprint: "remediate", attempt: 2 }));
        assert!(!is_open(&state, CellRunner { blueprint: "remediate", attempt: 1 }));
        assert!(!is_open(&state, CellRunner { blueprint: "initiate", attempt: 1 }));
    }

    #[test]
    fn edits_of_a_process_keep_their_distance() {
        let (pace, now) = (EditPace::default(), Instant::now());
        assert_eq!(pace.take(now), None);
        assert_eq!(pace.take(now), Some(EditPace::APART));
        let half = EditPace::APART / 2;
        assert_eq!(pace.take(now + half), Some(half + EditPace::APART), "each waits for a place of its own");
        let early = EditPace::APART / 5;
        assert_eq!(pace.take(now + EditPace::APART - early), Some(early), "who comes early keeps theirs");
        assert_eq!(pace.take(now + EditPace::APART), None);
        assert_eq!(pace.take(now + EditPace::APART * 2), None);
        // Places that were given away and never taken are nobody's later.
        assert_eq!(pace.take(now + EditPace::APART * 10), None);
        assert_eq!(pace.take(now + EditPace::APART * 10), Some(EditPace::APART));
    }

    #[test]
    fn what_a_message_says_is_remembered_until_its_cell_ends() {
        let (pace, key) = (EditPace::default(), Uuid::nil());
        assert!(!pace.is_shown(key, "one"));
        pace.shows(key, "one".to_owned(), false);
        assert!(pace.is_shown(key, "one") && !pace.is_shown(key, "two"));
        pace.shows(key, "two".to_owned(), true);
        assert!(!pace.is_shown(key, "two"), "the next cell of the run begins anew");
    }
}

//! Records as the API sends them, told as people read them: one line each, with names.

use std::collections::BTreeMap;

use harmony_incidents::{
    log::{Payload, Text, payload::Kind},
    story::{self, Mark, Names, Weight},
};
use serde_json::{Value, json};

use crate::{
    commands::show::items,
    moments,
    people::People,
    terminal::{Span, Tone, span},
};

/// Lines of a cell's output below its end: what somebody needs to see what went wrong.
const TAIL_LINES: usize = 5;

/// What earlier records said, and who everybody is.
pub(crate) struct Story {
    people: People,
    /// What each gate asks for.
    gates: BTreeMap<String, String>,
}

impl Story {
    /// Nothing was told yet.
    pub(crate) fn new(people: People) -> Self {
        Self { people, gates: BTreeMap::new() }
    }

    /// Remembers what later records refer to.
    pub(crate) fn learn(&mut self, event: &Value) {
        let payload = &event["payload"];
        if event["kind"] == "APPROVAL_REQUESTED"
            && let (Some(gate), Some(action)) = (payload["gateId"].as_str(), payload["action"].as_str())
        {
            self.gates.insert(gate.to_owned(), action.to_owned());
        }
    }

    /// A record in one line, and below it what a cell printed last.
    pub(crate) fn lines(&self, event: &Value) -> Vec<Vec<Span>> {
        let clock = moments::parsed(&event["occurredAt"]).map(moments::local).unwrap_or_default();
        let Some(kind) = kind(event) else {
            // Of a newer server: it says itself what happened.
            let text = event["description"].as_str().unwrap_or_default();
            return vec![vec![span(Tone::Faint, format!("{clock}  ")), text.into()]];
        };
        let actor = event["actor"].as_str().unwrap_or_default();
        let told = story::tell(&kind, actor, self);
        let tone = match (story::mark(&kind), told.weight) {
            (Mark::Failed, _) => Tone::Bad,
            (Mark::Override, _) => Tone::Warn,
            (Mark::None, Weight::Detail) => Tone::Faint,
            (Mark::None, Weight::Milestone | Weight::Person) => Tone::Plain,
        };
        let who = if told.weight == Weight::Person { Tone::Strong } else { Tone::Faint };
        let line = vec![
            span(Tone::Faint, format!("{clock}  ")),
            span(who, format!("{} ", told.who)),
            span(tone, told.did),
        ];
        let mut lines = vec![line];
        if let Kind::RunbookCellFinished(cell) = &kind {
            lines.extend(tail(
                [cell.stdout.as_ref(), cell.stderr.as_ref()].into_iter().flatten().map(Text::shown),
            ));
        }
        lines
    }
}

impl Names for Story {
    fn person(&self, id: &str) -> String {
        self.people.name(id).to_owned()
    }

    fn gate(&self, id: &str) -> String {
        self.gates.get(id).cloned().unwrap_or_default()
    }
}

/// The record's payload, from its JSON.
fn kind(event: &Value) -> Option<Kind> {
    let name = camel_case(event["kind"].as_str()?);
    let payload: Payload = serde_json::from_value(json!({ name: event["payload"] })).ok()?;
    payload.kind
}

/// `STEP_FAILED` as `stepFailed`.
fn camel_case(kind: &str) -> String {
    let mut name = String::new();
    for (place, part) in kind.split('_').enumerate() {
        let part = part.to_ascii_lowercase();
        match part.split_at_checked(1).filter(|_| place > 0) {
            Some((first, rest)) => name.extend([first.to_ascii_uppercase().as_str(), rest]),
            None => name.push_str(&part),
        }
    }
    name
}

/// The last lines of what a cell printed, each with a bar.
pub(crate) fn tail<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<Vec<Span>> {
    let lines: Vec<&str> = texts.flat_map(str::lines).filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines[from..].iter().map(|line| vec![span(Tone::Faint, "      │ "), (*line).into()]).collect()
}

/// A runbook's cell, as far as it came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CellState {
    pub(crate) name: String,
    /// `RUNNING`, `SUCCEEDED` or `FAILED`.
    pub(crate) status: &'static str,
    /// How it ended, such as `exit 1`; empty while it runs.
    pub(crate) ended: String,
    /// Of its output, the end.
    pub(crate) output: Vec<String>,
    /// When it started.
    pub(crate) started_at: Value,
    pub(crate) duration_ms: Option<i64>,
}

/// The cells of the last attempt at a remediation, in the order in which they ran.
pub(crate) fn cells(events: &[Value], attempt: u64) -> Vec<CellState> {
    let mut cells: Vec<CellState> = Vec::new();
    for event in events {
        let payload = &event["payload"];
        let name = payload["cell"].as_str().unwrap_or_default();
        if payload["attempt"].as_u64() != Some(attempt) || name.is_empty() {
            continue;
        }
        let (status, ended) = match event["kind"].as_str() {
            Some("RUNBOOK_CELL_STARTED") => ("RUNNING", String::new()),
            Some("RUNBOOK_CELL_FINISHED") => {
                let code = payload["exitCode"].as_i64().unwrap_or_default();
                let ended = match payload["ended"].as_str() {
                    Some("exited") | None => format!("exit {code}"),
                    Some(other) => other.replace('-', " "),
                };
                (if payload["success"] == true { "SUCCEEDED" } else { "FAILED" }, ended)
            }
            Some("RUNBOOK_CELL_UNKNOWN") => ("FAILED", "nobody knows whether it ran".to_owned()),
            _ => continue,
        };
        let output = ["stdout", "stderr"]
            .into_iter()
            .filter_map(|stream| payload[stream].as_str())
            .flat_map(str::lines)
            .map(str::to_owned)
            .collect();
        let place = cells.iter().position(|one| one.name == name).unwrap_or_else(|| {
            cells.push(CellState {
                name: name.to_owned(),
                status,
                ended: String::new(),
                output: Vec::new(),
                started_at: event["occurredAt"].clone(),
                duration_ms: None,
            });
            cells.len() - 1
        });
        let cell = &mut cells[place];
        (cell.status, cell.ended, cell.output) = (status, ended, output);
        cell.duration_ms = whole_number(&payload["durationMs"]);
    }
    cells
}

/// A number of the log's JSON, which writes 64 bits as a string.
fn whole_number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// When something first happened, by its kind and blueprint: where a run stands in the order of things.
pub(crate) fn started_at<'a>(events: &'a [Value], blueprint: &str, attempt: u64) -> Option<&'a Value> {
    let is_it = |event: &&Value| {
        event["kind"] == "BLUEPRINT_STARTED"
            && event["payload"]["blueprint"] == blueprint
            && event["payload"]["attempt"].as_u64() == Some(attempt)
    };
    events.iter().find(is_it)
}

/// Every record of an incident.
pub(crate) async fn all(api: &crate::api::Api, id: &str) -> anyhow::Result<Vec<Value>> {
    /// Records read at a time.
    const PAGE: u32 = 500;
    let mut all: Vec<Value> = Vec::new();
    let mut after = String::from("0");
    loop {
        let query = [("after", after), ("limit", PAGE.to_string())];
        let page = api.get(&["incidents", id, "events"], &query).await?;
        all.extend_from_slice(items(&page, "events"));
        match page["nextCursor"].as_str() {
            Some(next) => after = next.to_owned(),
            None => return Ok(all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, payload: Value) -> Value {
        json!({ "kind": kind, "actor": "operator", "occurredAt": "2026-11-29T00:12:53Z", "payload": payload })
    }

    fn text(line: &[Span]) -> String {
        line.iter().map(|span| span.text.as_str()).collect()
    }

    #[test]
    fn a_record_is_one_line_with_names_and_what_was_decided() {
        let mut story = Story::new(People::default());
        let asked = event("APPROVAL_REQUESTED", json!({ "gateId": "g", "action": "Run a.md", "levels": [] }));
        story.learn(&asked);
        let decided = event(
            "APPROVAL_DECIDED",
            json!({ "gateId": "g", "approved": true, "attested": true, "approver": "commander" }),
        );
        assert_eq!(text(&story.lines(&decided)[0]), "2026-11-29T00:12:53Z  commander approved: Run a.md");
        let unknown = event("SOMETHING_NEW", json!({}));
        assert_eq!(story.lines(&unknown).len(), 1);
    }

    #[test]
    fn cells_stand_in_the_order_in_which_they_ran_with_how_they_ended() {
        let of =
            |attempt: u64, cell: &str| json!({ "blueprint": "remediate", "attempt": attempt, "cell": cell });
        let finished = |cell: &str, more: Value| {
            let mut payload = of(2, cell);
            payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            event("RUNBOOK_CELL_FINISHED", payload)
        };
        let events = [
            event("RUNBOOK_CELL_STARTED", of(1, "earlier")),
            event("RUNBOOK_CELL_STARTED", of(2, "one")),
            finished(
                "one",
                json!({ "success": true, "ended": "exited", "stdout": "a\nb", "durationMs": "1200" }),
            ),
            event("RUNBOOK_CELL_STARTED", of(2, "two")),
            finished("two", json!({ "ended": "exited", "exitCode": 3, "stderr": "no" })),
            event("RUNBOOK_CELL_STARTED", of(2, "three")),
        ];
        let cells = cells(&events, 2);
        let told: Vec<_> =
            cells.iter().map(|one| (one.name.as_str(), one.status, one.ended.as_str())).collect();
        assert_eq!(
            told,
            [("one", "SUCCEEDED", "exit 0"), ("two", "FAILED", "exit 3"), ("three", "RUNNING", "")]
        );
        assert_eq!((cells[0].duration_ms, cells[1].output.as_slice()), (Some(1_200), &["no".to_owned()][..]));
        let lines: Vec<String> = (0..9).map(|line| line.to_string()).collect();
        assert_eq!(tail(lines.iter().map(String::as_str)).len(), TAIL_LINES);
    }
}

//! What cells print: `incident show --output CELL` gives all of it once the cell has ended; [`LiveOutput`] shows it while
//! somebody follows.

use std::collections::{BTreeMap, BTreeSet};

use harmony_incidents::ticket::cell_run;
use serde_json::Value;

use crate::{
    api::Api,
    commands::{records, show::items},
    failure::{Exit, Failure},
    output::{self, words},
    terminal::{Span, Tone, span},
};

/// A line that never ends is shown in parts of this length.
const LINE_BYTES: usize = 4 * 1024;

/// Prints the file with all that a cell printed when it ran last, or the end of it where no file is kept.
pub(crate) async fn print(api: &Api, id: &str, cell: &str) -> anyhow::Result<()> {
    let events = records::all(api, id).await?;
    let is_it =
        |event: &&Value| event["kind"] == "RUNBOOK_CELL_FINISHED" && event["payload"]["cell"] == *cell;
    let Some(finished) = events.iter().rev().find(is_it) else {
        let known: BTreeSet<&str> =
            events.iter().filter_map(|event| event["payload"]["cell"].as_str()).collect();
        let known: Vec<&str> = known.into_iter().collect();
        let hint = if known.is_empty() {
            "no cell of a runbook has run in it".to_owned()
        } else {
            format!("cells that have run or run now: {}", known.join(", "))
        };
        return Err(Failure {
            exit: Exit::NotFound,
            what: format!("no cell {cell:?} has ended in {id}"),
            hint,
        }
        .into());
    };
    let (payload, seq) = (&finished["payload"], words(&finished["seq"]));
    if payload["outputSha256"].is_string() {
        output::bytes(&api.get_bytes(&["incidents", id, "output", &seq]).await?);
        return Ok(());
    }
    output::say("no file has all of it; this is the end, as it is on record");
    for stream in ["stdout", "stderr"] {
        output::bytes(payload[stream].as_str().unwrap_or_default().as_bytes());
    }
    Ok(())
}

/// Shows what cells print while an incident is followed.
#[derive(Default)]
pub(crate) struct LiveOutput {
    /// Runs of cells that were started and have not ended, as far as records say.
    running: BTreeSet<String>,
    /// Runs of cells of which something was shown meanwhile.
    shown: BTreeSet<String>,
    /// The last piece that was shown.
    seen: u64,
    /// Of each step and try: how far it was shown, and a line that has not ended.
    lines: BTreeMap<(String, u64), (u64, String)>,
}

impl LiveOutput {
    /// Takes note of a cell's start or end. Gives whether what it printed was shown already.
    pub(crate) fn learn(&mut self, event: &Value) -> bool {
        let cause = &event["cause"];
        let attempt = cause["attempt"].as_u64().and_then(|attempt| u32::try_from(attempt).ok());
        let (Some(attempt), Some(step)) = (attempt, cause["step"].as_str()) else { return false };
        let run = cell_run(attempt, step);
        match event["kind"].as_str() {
            Some("RUNBOOK_CELL_STARTED") => {
                self.running.insert(run);
                false
            }
            Some("RUNBOOK_CELL_FINISHED" | "RUNBOOK_CELL_UNKNOWN") => {
                self.running.remove(&run);
                self.shown.remove(&run)
            }
            _ => false,
        }
    }

    /// Whether there may be something to show.
    pub(crate) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Shows what was printed since this was asked last. A server that knows nothing of it says nothing.
    pub(crate) async fn show_new(&mut self, api: &Api, id: &str) {
        loop {
            let after = [("after", self.seen.to_string())];
            let Ok(page) = api.get(&["incidents", id, "output"], &after).await else { return };
            let pieces = items(&page, "pieces");
            if pieces.is_empty() {
                return;
            }
            for piece in pieces {
                self.lines(piece).iter().for_each(|line| output::spans(line));
            }
        }
    }

    /// A piece in lines, each with a bar.
    fn lines(&mut self, piece: &Value) -> Vec<Vec<Span>> {
        self.seen = piece["number"].as_u64().unwrap_or(self.seen);
        let (run, text) = (words(&piece["step"]), piece["text"].as_str().unwrap_or_default());
        if !self.running.contains(&run) {
            return Vec::new();
        }
        let attempt = piece["attempt"].as_u64().unwrap_or(1);
        let key = (run.clone(), attempt);
        let mut told: Vec<String> = Vec::new();
        if !self.lines.contains_key(&key) && attempt > 1 {
            told.push(format!("[the worker was lost; attempt {attempt}]"));
        }
        let (to, rest) = self.lines.entry(key).or_default();
        if piece["ended"] == true {
            told.extend((!rest.is_empty()).then(|| std::mem::take(rest)));
        } else {
            let from = piece["fromBytes"].as_u64().unwrap_or_default();
            if from > *to {
                told.extend((!rest.is_empty()).then(|| std::mem::take(rest)));
                told.push(format!("[{} bytes are not shown]", from - *to));
            }
            *to = piece["toBytes"].as_u64().unwrap_or(from);
            rest.push_str(text);
            while let Some((line, after)) = rest.split_once('\n') {
                told.push(line.to_owned());
                *rest = after.to_owned();
            }
            if rest.len() > LINE_BYTES {
                told.push(std::mem::take(rest));
            }
            self.shown.insert(run);
        }
        told.into_iter().map(|line| vec![span(Tone::Faint, "      │ "), line.into()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: &str) -> Value {
        let cause = json!({ "attempt": 2, "step": "remediation/look/1/started" });
        json!({ "kind": kind, "cause": cause, "payload": { "cell": "look" } })
    }

    fn piece(number: u64, attempt: u64, from: u64, text: &str) -> Value {
        json!({
            "number": number, "attempt": attempt, "step": "2/remediation/look/1", "cell": "look", "fromBytes": from,
            "toBytes": from + text.len() as u64, "text": text, "ended": false,
        })
    }

    fn shown(live: &mut LiveOutput, piece: &Value) -> Vec<String> {
        let plain = |line: Vec<Span>| line.iter().map(|span| span.text.as_str()).collect::<String>();
        live.lines(piece).into_iter().map(plain).collect()
    }

    #[test]
    fn lines_are_shown_whole_and_once_and_gaps_are_told() {
        let mut live = LiveOutput::default();
        assert!(shown(&mut live, &piece(1, 1, 0, "before its start is known\n")).is_empty());
        assert!(!live.learn(&event("RUNBOOK_CELL_STARTED")) && live.is_running());
        let mut earlier = piece(1, 1, 0, "of the attempt before\n");
        earlier["step"] = json!("1/remediation/look/1");
        assert!(shown(&mut live, &earlier).is_empty());
        assert_eq!(shown(&mut live, &piece(2, 1, 0, "one\ntw")), ["      │ one"]);
        assert_eq!(shown(&mut live, &piece(3, 1, 6, "o\n")), ["      │ two"]);
        assert_eq!(
            shown(&mut live, &piece(4, 1, 100, "later\n")),
            ["      │ [92 bytes are not shown]", "      │ later"]
        );
        assert_eq!(
            shown(&mut live, &piece(5, 2, 0, "again\n")),
            ["      │ [the worker was lost; attempt 2]", "      │ again"]
        );
        assert!(shown(&mut live, &piece(6, 2, 6, "no end")).is_empty());
        let end = json!({
            "number": 7, "attempt": 2, "step": "2/remediation/look/1", "cell": "look", "text": "exited with 0", "ended": true,
        });
        assert_eq!(shown(&mut live, &end), ["      │ no end"]);
        assert!(live.learn(&event("RUNBOOK_CELL_FINISHED")), "its end need not be shown again");
        assert!(!live.is_running() && !live.learn(&event("RUNBOOK_CELL_FINISHED")));
    }
}

//! Follows one incident through the API, as anybody could: shows its records as they appear, and lets the story wait
//! for what it needs.

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::Value;

use super::progress::Progress;
use crate::{api::Api, commands::show::items, output::words};

/// How often to look.
const PAUSE: Duration = Duration::from_millis(200);

/// One incident, followed.
pub(super) struct Watcher<'a> {
    api: &'a Api,
    progress: &'a Progress,
    id: String,
    /// The last record that was shown.
    seen: u64,
}

impl<'a> Watcher<'a> {
    /// Follows this incident from its first record.
    pub(super) fn new(api: &'a Api, progress: &'a Progress, id: &str) -> Self {
        Self { api, progress, id: id.to_owned(), seen: 0 }
    }

    /// Waits until `wanted` finds what it wants in the incident.
    pub(super) async fn until<T>(
        &mut self,
        wanted: impl Fn(&Value) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        loop {
            let incident = self.look().await?;
            if let Some(found) = wanted(&incident)? {
                return Ok(found);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Looks once, and shows what is new.
    pub(super) async fn look(&mut self) -> anyhow::Result<Value> {
        let after = [("after", self.seen.to_string())];
        let events = self.api.get(&["incidents", &self.id, "events"], &after).await?;
        for event in items(&events, "events") {
            self.seen = event["seq"].as_u64().context("the API showed a record without its seq")?;
            self.progress.line(&record(event));
        }
        let incident = self.api.get(&["incidents", &self.id], &[]).await?;
        self.show(&incident);
        Ok(incident)
    }

    fn show(&self, incident: &Value) {
        let Some(blueprints) = incident["blueprints"].as_object() else { return };
        for (name, blueprint) in blueprints {
            let steps = items(blueprint, "steps");
            let done: Vec<String> = steps.iter().map(step_word).collect();
            let status = words(&blueprint["status"]);
            if status != "RUNNING" {
                self.progress.done(name, &format!("{status}  {}", done.join(" ")));
                continue;
            }
            let gate = &incident["gate"];
            if gate["blueprint"] == name.as_str() {
                let what = format!("waits for {}: {}", words(&gate["requiredRoles"]), words(&gate["action"]));
                self.progress.doing(name, &what, &time_left(&gate["deadline"]));
            } else {
                self.progress.doing(name, &format!("works  {}", done.join(" ")), "");
            }
        }
    }
}

fn step_word(step: &Value) -> String {
    let mark = match step["status"].as_str() {
        Some("SUCCEEDED") => "✓",
        Some("FAILED") => "✗",
        Some("SKIPPED") => "–",
        _ => "…",
    };
    format!("{}{mark}", words(&step["name"]))
}

fn time_left(deadline: &Value) -> String {
    let Some(deadline) = deadline.as_str().and_then(|text| text.parse::<Timestamp>().ok()) else {
        return String::new();
    };
    let left = deadline.duration_since(Timestamp::now()).as_secs().max(0);
    let (hours, minutes, seconds) = (left / 3600, left / 60 % 60, left % 60);
    if hours > 0 {
        format!("  ({hours}h {minutes:02}m left)")
    } else {
        format!("  ({minutes}:{seconds:02} left)")
    }
}

/// A record in one line.
fn record(event: &Value) -> String {
    let payload = &event["payload"];
    let interesting = [
        "blueprint",
        "step",
        "cell",
        "from",
        "to",
        "action",
        "status",
        "section",
        "approver",
        "refusedBecause",
        "url",
    ];
    let detail: Vec<String> = interesting
        .into_iter()
        .filter_map(|name| match &payload[name] {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Object(text) => text.get("text").and_then(Value::as_str).map(str::to_owned),
            _ => None,
        })
        .collect();
    let seq = event["seq"].as_u64().unwrap_or_default();
    format!("  #{seq:<3} {:<24} {:<10} {}", words(&event["kind"]), words(&event["actor"]), detail.join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_one_line() {
        let event = json!({
            "seq": 7, "kind": "STEP_SUCCEEDED", "actor": "operator",
            "payload": { "blueprint": "initiate", "step": "channel", "detail": { "text": "x" } },
        });
        assert_eq!(record(&event), "  #7   STEP_SUCCEEDED           operator   initiate channel");
    }
}

//! Follows an incident live: `incident show --follow`, and `--wait` of every command that starts something.
//!
//! Asks the API for the records after the last one that was shown, so nothing is missed and nothing told twice, whatever
//! is restarted meanwhile. With `--json` a record is one line of JSON.

use std::{process::ExitCode, time::Duration};

use serde_json::Value;

use crate::{
    api::Api,
    commands::{cell_output::LiveOutput, records::Story, show::items},
    failure::{Exit, Failure},
    output::{self, words},
    people::People,
};

/// How often to ask. A person does not notice; the API allows many times as much.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a run may take to begin before somebody should look why.
const LATE_ROUNDS: u32 = 30;

/// A run that somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Awaited {
    pub(crate) workflow_id: String,
    /// An earlier attempt is not it.
    pub(crate) attempt: u64,
    /// Whether it was told to stop, so that being stopped is what is wanted.
    pub(crate) stops: bool,
}

/// One incident, followed.
pub(crate) struct Follower<'a> {
    api: &'a Api,
    id: &'a str,
    story: Story,
    live: LiveOutput,
    /// The last record that was shown.
    seen: u64,
    json: bool,
}

impl<'a> Follower<'a> {
    /// Follows from after this record on.
    pub(crate) async fn after(api: &'a Api, id: &'a str, seen: u64, json: bool) -> anyhow::Result<Self> {
        let people = if json { People::default() } else { People::of(api).await };
        Ok(Self { api, id, story: Story::new(people), live: LiveOutput::default(), seen, json })
    }

    /// Follows from after these records, which were shown.
    pub(crate) fn going_on(api: &'a Api, id: &'a str, mut story: Story, shown: &[Value]) -> Self {
        let mut live = LiveOutput::default();
        for event in shown {
            story.learn(event);
            live.learn(event);
        }
        let seen = shown.last().and_then(|event| event["seq"].as_u64()).unwrap_or_default();
        Self { api, id, story, live, seen, json: false }
    }

    /// Shows records until the incident is over.
    pub(crate) async fn until_over(mut self) -> anyhow::Result<()> {
        let mut is_first = true;
        loop {
            if self.show_new().await? || is_first {
                is_first = false;
                let incident = self.incident().await?;
                let is_over =
                    ["CLOSED", "CANCELLED", "ARCHIVED"].iter().any(|state| incident["state"] == *state);
                if is_over && !runs(&incident).any(is_open) {
                    return Ok(());
                }
            }
            if output::has_no_reader() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Shows records until these runs have ended, and says by the exit code how.
    pub(crate) async fn until_ended(mut self, awaited: &[Awaited]) -> anyhow::Result<ExitCode> {
        let (mut rounds, mut told_gate) = (0_u32, String::new());
        let ended = loop {
            if self.show_new().await? || rounds == 0 {
                let incident = self.incident().await?;
                self.tell_gate(&incident, &mut told_gate);
                let ended: Vec<_> =
                    awaited.iter().filter_map(|one| Some((one, ended(&incident, one)?))).collect();
                if ended.len() == awaited.len() {
                    break ended;
                }
                if rounds > 0 {
                    rounds = 1;
                }
            }
            rounds += 1;
            if rounds == LATE_ROUNDS {
                output::say(
                    "nothing new for a while; whether a worker runs tells: harmony config check --live",
                );
            }
            tokio::time::sleep(PAUSE).await;
        };
        if self.json {
            ended.iter().for_each(|(_, run)| output::json(run));
        }
        let failed = ended.iter().find_map(|(awaited, run)| outcome(run, awaited.stops).err());
        failed.map_or(Ok(ExitCode::SUCCESS), |failure| Err(failure.into()))
    }

    /// Shows what is new; whether there was anything.
    async fn show_new(&mut self) -> anyhow::Result<bool> {
        let after = [("after", self.seen.to_string())];
        let page = self.api.get(&["incidents", self.id, "events"], &after).await?;
        let events = items(&page, "events");
        // What a cell printed comes before its end.
        if self.live.is_running() && !self.json {
            self.live.show_new(self.api, self.id).await;
        }
        for event in events {
            self.seen = event["seq"].as_u64().unwrap_or(self.seen);
            self.story.learn(event);
            let is_shown = self.live.learn(event);
            if self.json {
                output::json(event);
            } else {
                let lines = self.story.lines(event);
                let lines = if is_shown { &lines[..1] } else { &lines };
                lines.iter().for_each(|line| output::spans(line));
            }
        }
        Ok(!events.is_empty())
    }

    async fn incident(&self) -> anyhow::Result<Value> {
        self.api.get(&["incidents", self.id], &[]).await
    }

    /// Says once what a gate waits for, and how it is decided.
    fn tell_gate(&self, incident: &Value, told: &mut String) {
        let gate = &incident["gate"];
        let Some(id) = gate["gateId"].as_str().filter(|id| *id != told.as_str()) else { return };
        id.clone_into(told);
        output::say(&format!(
            "waits for {}: harmony approval approve {}",
            words(&gate["requiredRoles"]).replace(", ", " or "),
            self.id
        ));
    }
}

fn runs(incident: &Value) -> impl Iterator<Item = &Value> {
    incident["blueprints"].as_object().into_iter().flat_map(|runs| runs.values())
}

fn is_open(run: &Value) -> bool {
    ["RUNNING", "RESUMING", "ORPHANED"].iter().any(|status| run["status"] == *status)
}

/// The run that is awaited, once it has ended.
fn ended(incident: &Value, awaited: &Awaited) -> Option<Value> {
    let is_it = |run: &&Value| {
        run["workflowId"] == awaited.workflow_id.as_str()
            && run["attempt"].as_u64().unwrap_or_default() >= awaited.attempt
    };
    runs(incident).find(is_it).filter(|run| !is_open(run)).cloned()
}

/// Whether the run did what was asked, or stopped where that was asked.
fn outcome(run: &Value, stops: bool) -> Result<(), Failure> {
    let (what, reason) = (words(&run["workflowId"]), words(&run["reason"]));
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let status = words(&run["status"]);
    let failure = |exit, hint: &str| Failure {
        exit,
        what: format!("{what} ended {status}{because}"),
        hint: hint.to_owned(),
    };
    match status.as_str() {
        "COMPLETED" => Ok(()),
        "CANCELLED" if stops => Ok(()),
        "REJECTED" | "REFUSED" => {
            Err(failure(Exit::Refused, "propose it again when what stood against it is gone"))
        }
        "CANCELLED" => Err(failure(Exit::Failed, "it was stopped; start it again when it is wanted")),
        _ => Err(failure(Exit::Failed, "see what it did: harmony incident show")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_has_ended_when_the_attempt_that_was_started_has() {
        let incident = |attempt: u32, status: &str| json!({ "blueprints": { "remediate": { "workflowId": "w", "attempt": attempt, "status": status } } });
        let awaited = Awaited { workflow_id: "w".to_owned(), attempt: 2, stops: false };
        assert_eq!(ended(&incident(1, "COMPLETED"), &awaited), None);
        assert_eq!(ended(&incident(2, "RUNNING"), &awaited), None);
        assert_eq!(ended(&incident(2, "ORPHANED"), &awaited), None);
        let code = |status: &str| {
            outcome(&ended(&incident(2, status), &awaited).unwrap(), false)
                .map_err(|failure| failure.exit.code())
        };
        assert_eq!(code("COMPLETED"), Ok(()));
        assert_eq!(code("REJECTED"), Err(3));
        assert_eq!(code("FAILED"), Err(1));
        assert_eq!(code("CANCELLED"), Err(1));
        assert_eq!(outcome(&json!({ "status": "CANCELLED" }), true).err(), None);
    }
}

//! What people do with one incident, from the declaration to the end: they ask, wait, decide by clicks in Slack, or
//! stay silent. What they were told is kept, to be held against the log at the end.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    dice::Dice,
    hands::{Clicked, Hands},
};

/// Longest way of one blueprint to its end while everything dies around it.
const PATIENCE: Duration = Duration::from_secs(420);
const LOOK: Duration = Duration::from_millis(300);
/// How long people think before they click, in milliseconds; a level has `LEVEL_S`.
const THINKING_MS: (u64, u64) = (0, 7_000);
/// Time of a level in the policy of this run.
pub(crate) const LEVEL_S: u64 = 10;

/// What people were told about one incident, and so believe.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) incident: String,
    pub(crate) title: String,
    /// Notes that were acknowledged.
    pub(crate) notes: Vec<String>,
    /// Gates of the clicks that were acknowledged, each as often as it was.
    pub(crate) clicks: Vec<String>,
    /// How it ended: what was done last.
    pub(crate) end: &'static str,
}

/// One incident's people.
pub(crate) struct People<'a> {
    hands: &'a Hands,
    dice: Dice,
    told: Told,
    /// Gates and levels about which they have made up their mind.
    decided: BTreeSet<(String, u64)>,
    traces: &'a Path,
}

impl<'a> People<'a> {
    /// Leads the incident of this number through its life.
    pub(crate) async fn lead(hands: &'a Hands, traces: &'a Path, number: usize, dice: Dice) -> Told {
        let told = Told { title: format!("Number {number} is slow"), ..Told::default() };
        let mut people = Self { hands, dice, told, decided: BTreeSet::new(), traces };
        people.declare(number).await;
        people.remediate().await;
        people.told.end = if people.close_out().await { people.review().await } else { "left open" };
        people.told
    }

    async fn declare(&mut self, number: usize) {
        let severity = *self.dice.one(&["P1", "P2", "P2", "P3", "P4"]);
        let body = json!({ "title": self.told.title, "severity": severity });
        let (status, answer) = self.hands.send("incidents", &format!("declare-{number}"), &body).await;
        assert_eq!(status, 201, "{answer}");
        answer["incidentId"].as_str().unwrap().clone_into(&mut self.told.incident);
        self.ended("initiate", 1).await;
        for note in 0..self.dice.roll(3) {
            let text = format!("Note {note} of number {number}");
            self.command("notes", &text, &json!({ "note": text })).await;
            self.told.notes.push(text);
        }
    }

    async fn remediate(&mut self) {
        let body = json!({
            "runbook": "trace.md",
            "verify": ["check"],
            "env": { "TRACE": self.traces.join(&self.told.incident) },
        });
        self.command("remediate", "remediate", &body).await;
        self.ended("remediate", 1).await;
    }

    /// Whether it is resolved in the end.
    async fn close_out(&mut self) -> bool {
        let body = json!({ "resolutionSummary": "Restarted", "archiveChannel": self.dice.roll(4) == 0 });
        self.command("close-out", "close-out", &body).await;
        let result = self.ended("close-out", 1).await;
        result["status"] == "COMPLETED"
    }

    /// What was done last.
    async fn review(&mut self) -> &'static str {
        for section in ["summary", "impact", "contributing-factors"] {
            let body = json!({ "section": section, "text": format!("What we know of the {section}") });
            self.command("review", section, &body).await;
        }
        let action = json!({ "action": "Watch it", "owner": "oncall", "due": "2027-01-31" });
        self.command("review", "action", &action).await;
        self.command("post-mortem", "post-mortem", &json!({})).await;
        let result = self.ended("post-mortem", 1).await;
        if result["status"] != "COMPLETED" {
            return "review not published";
        }
        let review = self.hands.incident(&self.told.incident).await["review"]["digest"].clone();
        self.command("sign-off", "sign-off", &json!({ "digest": review })).await;
        "signed off"
    }

    /// A command that must be taken.
    async fn command(&self, path: &str, key: &str, body: &Value) {
        let id = &self.told.incident;
        let (status, answer) =
            self.hands.send(&format!("incidents/{id}/{path}"), &format!("{id}/{key}"), body).await;
        assert!((200..300).contains(&status), "POST {path} of {id}: {status} {answer}");
    }

    /// Waits for a blueprint to end and decides about what it asks meanwhile. Gives its result.
    async fn ended(&mut self, blueprint: &str, attempt: u64) -> Value {
        let began = Instant::now();
        loop {
            let incident = self.hands.incident(&self.told.incident).await;
            let run = &incident["blueprints"][blueprint];
            if run["attempt"] == attempt && run["status"].as_str().is_some_and(|status| status != "RUNNING") {
                return run["result"].clone();
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{blueprint} of {} does not end: {incident:#}",
                self.told.incident
            );
            if incident["gate"].is_object() {
                self.decide(&incident["gate"]).await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Makes up their mind about a gate's level, once, and clicks until the click has arrived.
    async fn decide(&mut self, gate: &Value) {
        let id = gate["gateId"].as_str().unwrap();
        let level = gate["level"].as_u64().unwrap();
        if !self.decided.insert((id.to_owned(), level)) {
            return;
        }
        tokio::time::sleep(self.dice.time(THINKING_MS)).await;
        // Who asked, and who may only read: neither may ever open a gate.
        if self.dice.roll(5) == 0 {
            let stranger = *self.dice.one(&["operator", "viewer"]);
            self.click(id, "approve", stranger).await;
        }
        let who = match level {
            1 => *self.dice.one(&["commander", "commander", "manager"]),
            2 => "manager",
            _ => "admin",
        };
        match self.dice.roll(10) {
            0..6 => self.click(id, "approve", who).await,
            6..8 => self.click(id, "reject", who).await,
            // Nobody says anything, and the level passes.
            _ => {}
        }
    }

    async fn click(&mut self, gate: &str, action: &str, user: &str) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(LEVEL_S) {
            match self.hands.click(gate, action, user).await {
                Clicked::Taken => {
                    self.told.clicks.push(gate.to_owned());
                    return;
                }
                // The message comes with the vendor's next breath, or never.
                Clicked::Lost | Clicked::NoMessage => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

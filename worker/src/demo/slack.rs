//! A person in the sandbox's Slack: finds a button and clicks it.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// How often to look for a message.
const PAUSE: Duration = Duration::from_millis(200);
/// A message comes within seconds of its gate.
const PATIENCE: Duration = Duration::from_secs(30);

/// The sandbox's Slack.
pub(super) struct Slack {
    http: reqwest::Client,
    origin: String,
}

impl Slack {
    /// At this address.
    pub(super) fn new(origin: &str) -> anyhow::Result<Self> {
        let http = harmony_capabilities::address::builder(origin)
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .build()?;
        Ok(Self { http, origin: origin.to_owned() })
    }

    /// Waits for a message with this button whose buttons name `about`, and clicks it as this user.
    pub(super) async fn click(&self, action: &str, about: &str, user: &str) -> anyhow::Result<()> {
        let end = tokio::time::Instant::now() + PATIENCE;
        let ts = loop {
            let state = self.state().await?;
            let messages = state["messages"].as_array().map_or(&[][..], Vec::as_slice);
            let found = messages.iter().rev().find(|message| has_button(&message["blocks"], action, about));
            if let Some(ts) = found.and_then(|message| message["ts"].as_str()) {
                break ts.to_owned();
            }
            if tokio::time::Instant::now() > end {
                bail!("no message in Slack has the button {action:?} for {about}");
            }
            tokio::time::sleep(PAUSE).await;
        };
        let click = json!({ "messageTs": ts, "actionId": action, "userId": user });
        let answer =
            self.http.post(format!("{}/_sandbox/slack/click", self.origin)).json(&click).send().await;
        let answer: Value = answer.context("the sandbox does not answer")?.json().await.context("no JSON")?;
        let status = answer["status"].as_u64().unwrap_or_default();
        if answer["delivered"] != true || !(200..300).contains(&status) {
            bail!("the click on {action:?} was answered with {answer}");
        }
        Ok(())
    }

    async fn state(&self) -> anyhow::Result<Value> {
        let answer = self.http.get(format!("{}/_sandbox/state", self.origin)).send().await;
        answer.context("the sandbox does not answer")?.json().await.context("the sandbox's state is no JSON")
    }
}

/// Whether there is a button of this action whose value names what it is about.
fn has_button(blocks: &Value, action: &str, about: &str) -> bool {
    match blocks {
        Value::Object(fields) => {
            let is_button = fields.get("type").is_some_and(|kind| kind == "button");
            let names = |value: &Value| value.as_str().is_some_and(|value| value.contains(about));
            if is_button && fields.get("action_id").is_some_and(|id| id == action) {
                return fields.get("value").is_some_and(names);
            }
            fields.values().any(|inner| has_button(inner, action, about))
        }
        Value::Array(items) => items.iter().any(|inner| has_button(inner, action, about)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_button_is_found_by_its_action_and_what_it_is_about() {
        let blocks = json!([{ "type": "actions", "elements": [
            { "type": "button", "action_id": "approve", "value": "{\"gateId\":\"w#1/approve\"}" },
        ]}]);
        assert!(has_button(&blocks, "approve", "w#1/approve"));
        assert!(!has_button(&blocks, "approve", "w#2/approve"));
        assert!(!has_button(&blocks, "reject", "w#1/approve"));
    }
}

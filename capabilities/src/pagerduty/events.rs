//! PagerDuty, Events API v2: alerts, for services that are paged by an integration instead of the REST API.
//!
//! Limits: 512 KB an event, about 120 events a minute and key. How a repeated event is recognised: by its `dedup_key`
//! while the alert is open; once it is resolved, the same key opens a new one. So a resolved key is not to be triggered
//! again, and acknowledging or resolving one that is not there changes nothing.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::VENDOR;
use crate::address::AddressError;
use crate::error::{CallError, Fate};
use crate::transport::{Operation, Transport};

const ENQUEUE: Operation = Operation::acts("events.enqueue");
/// PagerDuty's limit for a key.
const KEY_CHARS: usize = 255;
/// PagerDuty's limit for a summary.
const SUMMARY_CHARS: usize = 1024;

/// An integration of a service.
#[derive(Clone, Debug)]
pub struct Events {
    /// Its secret is the routing key.
    transport: Transport,
}

/// An alert that is to be open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// One line.
    pub summary: String,
    /// What it was seen at.
    pub source: String,
    /// How bad it is.
    pub severity: AlertSeverity,
}

/// PagerDuty's words for how bad an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertSeverity {
    /// Worst.
    Critical,
    /// Bad.
    Error,
    /// Not yet.
    Warning,
    /// For the record.
    Info,
}

#[derive(Debug, Deserialize)]
struct Accepted {
    dedup_key: String,
}

#[derive(Debug, Deserialize)]
struct Refused {
    #[serde(default)]
    message: String,
    #[serde(default)]
    errors: Vec<String>,
}

impl Events {
    /// Sends to this integration. The base URL includes the path, as `https://events.pagerduty.com/v2`.
    pub fn new(base_url: &str, routing_key: SecretString) -> Result<Self, AddressError> {
        Ok(Self { transport: Transport::new(VENDOR, base_url, routing_key)? })
    }

    /// Opens the alert with this key, or adds to the one that is open.
    pub async fn trigger(&self, dedup_key: &str, alert: &Alert) -> Result<(), CallError> {
        let summary: String = alert.summary.chars().take(SUMMARY_CHARS).collect();
        let payload = json!({ "summary": summary, "source": alert.source, "severity": alert.severity });
        self.enqueue("trigger", dedup_key, Some(payload)).await
    }

    /// Acknowledges the alert with this key.
    pub async fn acknowledge(&self, dedup_key: &str) -> Result<(), CallError> {
        self.enqueue("acknowledge", dedup_key, None).await
    }

    /// Resolves the alert with this key.
    pub async fn resolve(&self, dedup_key: &str) -> Result<(), CallError> {
        self.enqueue("resolve", dedup_key, None).await
    }

    async fn enqueue(&self, action: &str, dedup_key: &str, payload: Option<Value>) -> Result<(), CallError> {
        if dedup_key.is_empty() || dedup_key.chars().count() > KEY_CHARS {
            let message = format!("a key has 1 to {KEY_CHARS} characters");
            return Err(self.transport.error(ENQUEUE, Fate::Rejected, None, &message));
        }
        let mut event = json!({
            "routing_key": self.transport.secret(),
            "event_action": action,
            "dedup_key": dedup_key,
        });
        if let Some(payload) = payload {
            event["payload"] = payload;
        }
        let url = self.transport.address.resource(&["enqueue"]);
        let answer = self.transport.send(ENQUEUE, self.transport.http.post(url).json(&event)).await?;
        if !answer.status.is_success() {
            let said = serde_json::from_slice::<Refused>(&answer.body).ok();
            let message = said.map(|Refused { message, errors }| match errors.is_empty() {
                true => message,
                false => format!("{message}: {}", errors.join("; ")),
            });
            return Err(self.transport.refusal(ENQUEUE, &answer, message));
        }
        let accepted: Accepted = self.transport.json(ENQUEUE, &answer)?;
        if accepted.dedup_key == dedup_key {
            return Ok(());
        }
        let message = "the answer is about another key";
        Err(self.transport.error(ENQUEUE, Fate::Unknown, Some(answer.status), message))
    }
}

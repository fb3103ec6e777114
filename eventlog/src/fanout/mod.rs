//! Fan-out: every record of the log, as a CloudEvent, to those who asked for it; a release that comes to its end is told
//! of as a CDEvent, too.
//!
//! An append writes, in its own transaction, how far the log of its incident goes for each sink that is configured (a
//! **lane**: one sink, one incident). Nothing of the record itself is written there: a lane holds two numbers, and the
//! record is read from the log when it is sent, so a text that was redacted meanwhile is not sent any more.
//!
//! Lanes are claimed sink by sink, so a sink that is down or slow delays neither another sink nor what follows a
//! command. Within a lane records go out in order, each at least once: what was sent is marked afterwards, and a
//! receiver tells a repetition by the event's id. No failure gives a record up; the lane waits, longer each time.

mod carrier;
mod cdevent;
mod event;
#[cfg(feature = "eventbridge")]
mod event_bridge;
mod webhook;

use std::{fmt, str::FromStr, time::Duration};

use async_trait::async_trait;
use harmony_incidents::{OrgId, StreamId};
use jiff::Timestamp;

pub use carrier::FanOut;
pub use event::CloudEvent;
#[cfg(feature = "eventbridge")]
pub use event_bridge::{BusName, EventBridge};
pub use webhook::{Webhook, WebhookSecret};

/// A sink's name, as the settings give it. What a lane is kept under: a sink of another name begins anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SinkName(String);

/// What is no name of a sink.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a sink: 1 to 40 of a-z, 0-9 and -")]
pub struct SinkNameError(String);

impl SinkName {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SinkName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for SinkName {
    type Err = SinkNameError;
    fn from_str(text: &str) -> Result<Self, SinkNameError> {
        let fits = (1..=40).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        fits.then(|| Self(text.to_owned())).ok_or_else(|| SinkNameError(text.chars().take(80).collect()))
    }
}

/// Records of one stream that wait for one sink, claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// For whom.
    pub sink: SinkName,
    /// Organisation.
    pub org: OrgId,
    /// Stream.
    pub stream: StreamId,
    /// The first record that was not sent yet.
    pub first: u64,
    /// The last there was when it was claimed; not before `first`.
    pub last: u64,
    /// Which try of `first` this is, from 1.
    pub attempts: u32,
    /// Since when `first` waits, or something before it.
    pub since: Timestamp,
}

/// How much waits for a sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneBacklog {
    /// Streams with records that were not sent.
    pub lanes: u64,
    /// Those records.
    pub records: u64,
    /// For how long the oldest lane has waited.
    pub oldest: Duration,
}

/// Why an event was not taken. Nothing is given up for it.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct NotTaken {
    /// For the log and the operator; holds neither the event nor a secret.
    pub why: String,
    /// How long the receiver asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl NotTaken {
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Self { why: why.into(), retry_after: None }
    }
}

/// Somebody who is sent every record.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Under which its lanes are kept.
    fn name(&self) -> &SinkName;

    /// Sends events that are in order, at most [`at_once`](Self::at_once), and tells of each whether it was taken. Those
    /// after the first that was not are sent again, after it.
    async fn send(&self, events: &[CloudEvent]) -> Vec<Result<(), NotTaken>>;

    /// How many events it is sent at once.
    fn at_once(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sinks_can_stand_in_keys() {
        for good in ["audit", "siem-2", "a"] {
            assert_eq!(good.parse::<SinkName>().unwrap().as_str(), good);
        }
        for bad in ["", "Audit", "a b", "a/b", "a|b", "ä", &"a".repeat(41)] {
            assert!(bad.parse::<SinkName>().is_err(), "{bad:?}");
        }
    }
}

//! The activity of the update clock, and what it answers.

use harmony_incidents::clock::Due;
use serde::{Deserialize, Serialize};
use temporalio_workflow::common::ActivityDefinition;

use super::Scope;

activity!(
    /// Reads what is due next of an incident, and who is to be told.
    ClockLook = "clock.look": ClockRequest => ClockReply);

/// `clock.look`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClockRequest {
    /// For which organisation, stream and run, and for whom.
    pub scope: Scope,
}

/// Answer to `clock.look`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClockReply {
    /// What is due first; nothing where the policy asks for nothing more.
    pub next: Option<Due>,
    /// Whether the incident is over.
    pub over: bool,
    /// Slack's id of the incident's channel, once there is one.
    pub channel: Option<String>,
    /// The incident's title, as reminders show it.
    pub title: String,
    /// How severe it is, such as `P1`.
    pub severity: String,
    /// The principal who commands; `None` while nobody does.
    pub commander: Option<String>,
    /// Whether somebody was paged because nobody commands.
    pub commander_paged: bool,
    /// When the last update was posted, in microseconds since 1970; 0 where none was.
    #[serde(default)]
    pub last_update_us: i64,
    /// Whether it is practice.
    #[serde(default)]
    pub drill: bool,
}

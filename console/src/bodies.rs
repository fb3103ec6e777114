//! What others post to us, read as the doors read it once it is known whose it is, and carried out by nobody.
//!
//! For the fuzz targets in `fuzz/`, which need no console around the reading.

use harmony_incidents::{
    IncidentId,
    promotion::{Candidate, Policies},
};
use jiff::Timestamp;

use crate::callbacks::{alerts, issues, pagerduty, slack::read};

/// The incidents that an interaction of Slack's names: clicks on our buttons, forms that came back.
#[must_use]
pub fn slack_interaction(body: &[u8]) -> Vec<IncidentId> {
    read::interaction(body)
}

/// Whether `/incident …` asks for anything.
#[must_use]
pub fn slack_command(body: &[u8]) -> bool {
    read::command(body)
}

/// The candidate that a webhook of PagerDuty brings.
#[must_use]
pub fn pagerduty(body: &[u8]) -> Option<Candidate> {
    pagerduty::candidate(pagerduty::read(body).ok()?, &Policies::default()).ok()
}

/// The trackers' ids of the issues that a webhook tells of, read as Jira's and as GitHub's.
#[must_use]
pub fn issues(body: &[u8]) -> Vec<String> {
    [issues::read_jira(body), issues::read_github(body)].into_iter().filter_map(issues::id_of).collect()
}

/// The candidates that a notification of Alertmanager or Grafana brings.
#[must_use]
pub fn alerts(body: &[u8]) -> Vec<Candidate> {
    let Ok(reading) = alerts::read("alertmanager", body, Timestamp::UNIX_EPOCH) else { return Vec::new() };
    reading.detected.into_iter().filter_map(|one| one.candidate.ok()).collect()
}

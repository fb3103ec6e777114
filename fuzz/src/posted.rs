//! What others post to the console, once it is known whose it is.

use harmony_console::bodies;

use crate::inputs::{Input, is_taken};

/// Every reader by its name, which is also the name of its corpus. Alphabetical.
pub const INPUTS: [(&str, Input); 5] = [
    ("alerts", alerts),
    ("issues", issues),
    ("pagerduty", pagerduty),
    ("slack_command", slack_command),
    ("slack_interaction", slack_interaction),
];

/// A notification of Alertmanager or Grafana.
fn alerts(bytes: &[u8]) {
    for candidate in bodies::alerts(bytes) {
        is_taken(&candidate);
    }
}

/// A webhook of a tracker, as either.
fn issues(bytes: &[u8]) {
    for id in bodies::issues(bytes) {
        assert!(!id.is_empty() && id.bytes().all(|one| one.is_ascii_digit()), "{id:?} is no tracker's id");
    }
}

/// A webhook of PagerDuty.
fn pagerduty(bytes: &[u8]) {
    if let Some(candidate) = bodies::pagerduty(bytes) {
        is_taken(&candidate);
    }
}

/// A typed command, as Slack sends it.
fn slack_command(bytes: &[u8]) {
    let _ = bodies::slack_command(bytes);
}

/// An interaction, as Slack sends it; the payload alone too, since the form's encoding hides it from the fuzzer.
fn slack_interaction(bytes: &[u8]) {
    let mut form = b"payload=".to_vec();
    form.extend(bytes.iter().flat_map(|byte| format!("%{byte:02x}").into_bytes()));
    for body in [bytes, &form] {
        for incident in bodies::slack_interaction(body) {
            assert_eq!(incident.to_string().parse(), Ok(incident), "an id that is not read again");
        }
    }
}

//! The events that Jira's webhooks tell of an issue.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Issue, Status};
use crate::webhook::Event;

/// Somebody changed it.
pub(super) fn updated(issue: &Issue, before: Status, origin: &str, delivery: u64) -> Event {
    let mut body = about("jira:issue_updated", issue, origin);
    body["issue_event_type_name"] = json!("issue_generic");
    let item = json!({
        "field": "status", "fieldtype": "jira", "fieldId": "status",
        "fromString": before.name(), "toString": issue.status.name(),
    });
    let items = if before == issue.status { Vec::new() } else { vec![item] };
    body["changelog"] = json!({"id": delivery.to_string(), "items": items});
    event(body, issue, delivery)
}

/// It is gone; the event has what it was.
pub(super) fn deleted(issue: &Issue, origin: &str, delivery: u64) -> Event {
    event(about("jira:issue_deleted", issue, origin), issue, delivery)
}

fn about(name: &str, issue: &Issue, origin: &str) -> Value {
    json!({
        "timestamp": Timestamp::now().as_millisecond(),
        "webhookEvent": name,
        "user": {"accountId": "account-somebody", "displayName": "Somebody"},
        "issue": issue.bean(origin),
    })
}

fn event(body: Value, issue: &Issue, delivery: u64) -> Event {
    Event {
        path: "/webhooks/jira",
        signature: "X-Hub-Signature",
        headers: vec![("X-Atlassian-Webhook-Identifier", format!("{}-{delivery}", issue.id))],
        body,
    }
}

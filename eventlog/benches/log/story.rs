//! Appends as the measurements make them: a note of a few words, with an outbox item, to an incident of its own.

use harmony_eventlog::{Append, OutboxItem, OutboxKind, SharedLog, Target};
use harmony_incidents::{
    Command, Context, IncidentId, OrgId, RuleSet, judge,
    judge::payload,
    log::{Authority, Cause, IncidentCreated, IncidentNoteAdded, Severity, Text, payload::Kind},
    record::SaltKey,
};
use jiff::Timestamp;
use serde_json::json;

/// What the notes say.
const NOTE: &str = "error rate of checkout is back at 0.2%, watching it for ten more minutes";

pub(crate) fn salt() -> SaltKey {
    SaltKey::parse(&"5a".repeat(32)).unwrap()
}

async fn say(log: &SharedLog, target: Target, key: &str, command: Command) -> IncidentId {
    let org = OrgId::default();
    let rules = RuleSet::default();
    let context = Context {
        actor: "oncall".to_owned(),
        authority: Authority::OnCallSre,
        cause: Cause::default(),
        occurred_at: Timestamp::now(),
    };
    let item = |_: &IncidentId| {
        let payload = json!({ "workflow": "incident.initiate", "key": key });
        vec![OutboxItem { kind: OutboxKind::Wake, name: key.to_owned(), payload }]
    };
    let append = Append {
        org: &org,
        target,
        key,
        command: &command,
        context: &context,
        expected_seq: None,
        run_id: None,
        judge: &|head| judge(head, &command, &context, rules.rules()),
        follow: &item,
    };
    log.append(append).await.unwrap().incident
}

/// Declares one incident.
pub(crate) async fn declare(log: &SharedLog, key: &str) -> IncidentId {
    let incident = IncidentCreated {
        title: Some(Text::plain("Checkout is down")),
        severity: Severity::P2.into(),
        service_name: "checkout".to_owned(),
        ..IncidentCreated::default()
    };
    say(log, Target::New { year: 2026 }, key, Command::Declare { incident }).await
}

/// Declares some incidents.
pub(crate) async fn declared(log: &SharedLog, count: usize) -> Vec<IncidentId> {
    let mut incidents = Vec::with_capacity(count);
    for number in 0..count {
        incidents.push(declare(log, &format!("declare-{number}")).await);
    }
    incidents
}

/// Writes one note.
pub(crate) async fn note(log: &SharedLog, incident: &IncidentId, key: &str) {
    let note = IncidentNoteAdded { note: Some(Text::plain(NOTE)) };
    let command = Command::Record { payload: payload(Kind::IncidentNoteAdded(note)) };
    say(log, Target::Named(incident.clone()), key, command).await;
}

//! Appends as the measurements make them: a note of a few words, with an outbox item, to an incident of its own.

use std::sync::LazyLock;

use harmony_eventlog::{Append, OutboxItem, OutboxKind, SharedLog, Target};
use harmony_incidents::{
    Command, Context, IncidentId, OrgId, RuleSet, StreamId, judge,
    judge::payload,
    log::{Authority, Cause, IncidentCreated, IncidentNoteAdded, Severity, Text, payload::Kind},
    record::SaltKey,
};
use jiff::Timestamp;
use serde_json::json;
use tokio::task::JoinSet;

/// Read once, as a process does that serves them.
static RULES: LazyLock<RuleSet> = LazyLock::new(RuleSet::default);

/// What the notes say.
const NOTE: &str = "error rate of checkout is back at 0.2%, watching it for ten more minutes";

pub(crate) fn salt() -> SaltKey {
    SaltKey::parse(&"5a".repeat(32)).unwrap()
}

async fn say(log: &SharedLog, target: Target, key: &str, command: Command) -> IncidentId {
    let org = OrgId::default();
    let context = Context {
        actor: "oncall".to_owned(),
        authority: Authority::OnCallSre,
        cause: Cause::default(),
        occurred_at: Timestamp::now(),
    };
    let item = |_: &StreamId| {
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
        judge: &|head| judge(head, &command, &context, RULES.rules()),
        follow: &item,
    };
    log.append(append).await.unwrap().incident().unwrap()
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

/// Writes so many notes to each incident, with a writer of its own.
pub(crate) async fn notes_in_parallel(log: &SharedLog, incidents: &[IncidentId], turn: usize, each: usize) {
    let mut writers = JoinSet::new();
    for (writer, incident) in incidents.iter().cloned().enumerate() {
        let log = log.clone();
        writers.spawn(async move {
            for number in 0..each {
                note(&log, &incident, &format!("{turn}-{writer}-{number}")).await;
            }
        });
    }
    writers.join_all().await;
}

/// Writes one note.
pub(crate) async fn note(log: &SharedLog, incident: &IncidentId, key: &str) {
    let note = IncidentNoteAdded { note: Some(Text::plain(NOTE)) };
    let command = Command::Record { payload: payload(Kind::IncidentNoteAdded(note)) };
    say(log, Target::Named(incident.clone().into()), key, command).await;
}

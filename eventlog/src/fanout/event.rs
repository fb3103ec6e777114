//! A record as a CloudEvent 1.0, in the structured JSON form.
//!
//! `id` is the record's event id, so that a repetition is known; `source` the organisation's log; `type`
//! `io.harmony.incident.<kind>.v1`, or `io.harmony.catalog.<kind>.v1` of a service's or an environment's stream;
//! `subject` the incident or the stream; `time` when it occurred. Beside them stand two extension
//! attributes: `sequence`, the record's seq in 20 digits (it sorts as text), and `recordhash`, its hash, by which it is
//! found in an export or held against a checkpoint. `data` is the record in the words of the API; a text that was
//! taken out is `null`.

use harmony_catalog::outbound::ReleaseEvent;
use harmony_incidents::{
    OrgId, ids::NAMESPACE, log::Authority, promotion::OrchestrationEvent, record, words,
};
use harmony_protos::kind_name;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{checkpoint::Checkpoint, store::Entry};

/// What every type begins with.
const TYPE_PREFIX: &str = "io.harmony";

/// One event, ready to be sent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CloudEvent {
    specversion: &'static str,
    /// Unique with the source; the same for every repetition.
    pub id: String,
    source: String,
    /// `io.harmony.…`
    #[serde(rename = "type")]
    pub kind: String,
    /// The incident; absent where it is about the whole log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recordhash: Option<String>,
    /// Set where a sink's limit left no room for the payload: it is in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    payloadomitted: Option<bool>,
    data: Value,
}

impl CloudEvent {
    /// A record, with the texts that are still there.
    pub fn of_record(entry: &Entry) -> Self {
        let record = &entry.record;
        let kind = record.payload.as_ref().and_then(|payload| payload.kind.as_ref());
        let kind = kind.map_or("UNKNOWN", kind_name);
        let id = Uuid::from_slice(&record.event_id).unwrap_or_default().to_string();
        let time = record::occurred_at(record).to_string();
        let of_incident = record.subject.is_empty();
        let stream = record::stream_of(record);
        let data = json!({
            "org": record.org,
            (if of_incident { "incidentId" } else { "subject" }): stream,
            "seq": record.seq,
            "eventId": id,
            "kind": kind,
            "occurredAt": time,
            "actor": record.actor,
            "authority": words::authority_name(Authority::try_from(record.authority).unwrap_or_default()),
            "cause": record.cause,
            "payload": inner(json!(record.payload)),
            "hash": hex::encode(&entry.hash),
            "prevHash": hex::encode(&record.prev_hash),
            "stateHashAfter": hex::encode(&record.state_hash_after),
        });
        Self {
            specversion: "1.0",
            id,
            source: source(&record.org),
            kind: format!(
                "{TYPE_PREFIX}.{}.{}.v1",
                if of_incident { "incident" } else { "catalog" },
                kind.to_ascii_lowercase()
            ),
            subject: Some(stream.to_owned()),
            time: Some(time),
            datacontenttype: "application/json",
            sequence: Some(format!("{:020}", record.seq)),
            recordhash: Some(hex::encode(&entry.hash)),
            payloadomitted: None,
            data,
        }
    }

    /// The id of another event that one record makes, by what kind of event it is; the same in every repetition.
    pub(super) fn id_beside(entry: &Entry, what: &str) -> String {
        let own = Uuid::from_slice(&entry.record.event_id).unwrap_or_default();
        Uuid::new_v5(&own, what.as_bytes()).to_string()
    }

    /// What became of a release by a record: a CDEvent.
    pub(super) fn of_release(entry: &Entry, event: &ReleaseEvent<'_>) -> Self {
        let mut whole = event.cloud_event();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            specversion: "1.0",
            id: event.id.to_owned(),
            source: event.source.to_owned(),
            kind: text(&whole["type"]),
            subject: Some(text(&whole["subject"])),
            time: Some(event.at.to_string()),
            datacontenttype: "application/json",
            sequence: Some(format!("{:020}", entry.record.seq)),
            recordhash: Some(hex::encode(&entry.hash)),
            payloadomitted: None,
            data: whole["data"].take(),
        }
    }

    /// A signed checkpoint. The same note is the same event.
    pub fn of_checkpoint(checkpoint: &Checkpoint, note: &str) -> Self {
        Self {
            specversion: "1.0",
            id: Uuid::new_v5(&NAMESPACE, note.as_bytes()).to_string(),
            source: source(checkpoint.org.as_str()),
            kind: format!("{TYPE_PREFIX}.log.checkpoint.v1"),
            subject: None,
            time: None,
            datacontenttype: "application/json",
            sequence: None,
            recordhash: None,
            payloadomitted: None,
            data: json!({
                "org": checkpoint.org,
                "incidents": checkpoint.heads().len(),
                "records": checkpoint.records(),
                "note": note,
            }),
        }
    }

    /// What happened to a candidate. `name` is the same for every repetition.
    pub fn of_candidate(org: &OrgId, name: &str, event: &OrchestrationEvent) -> Self {
        Self {
            specversion: "1.0",
            id: Uuid::new_v5(&NAMESPACE, format!("{org}/{name}").as_bytes()).to_string(),
            source: format!("/harmony/orgs/{org}/candidates"),
            kind: format!("{TYPE_PREFIX}.orchestration.{}.v1", event.name()),
            subject: Some(event.candidate().to_string()),
            time: Some(event.at().to_string()),
            datacontenttype: "application/json",
            sequence: None,
            recordhash: None,
            payloadomitted: None,
            data: json!(event),
        }
    }

    /// The same without its payload, which holds the texts, for a sink whose limit it exceeds.
    #[cfg(feature = "eventbridge")]
    pub(super) fn without_payload(&self) -> Self {
        let mut bare = self.clone();
        bare.payloadomitted = Some(true);
        bare.data["payload"] = Value::Null;
        bare
    }

    /// The structured JSON form.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn source(org: &str) -> String {
    format!("/harmony/orgs/{org}/log")
}

/// A payload's JSON names its kind around it; the event says the kind beside it.
fn inner(payload: Value) -> Value {
    match payload {
        Value::Object(object) => object.into_iter().next().map(|(_, value)| value).unwrap_or_default(),
        other => other,
    }
}

//! Incidents and the updates on them.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::call::Call;
use crate::clock;

use super::answer::{Outcome, Refusal};
use super::components;

/// What is on the pages. Everything is kept as the API shows it.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct StatuspageMemory {
    pub(super) incidents: Vec<Value>,
    pub(super) components: Vec<Value>,
    /// By incident.
    pub(super) post_mortems: BTreeMap<String, Value>,
    serial: u64,
}

impl StatuspageMemory {
    /// Twelve letters, as the vendor's ids.
    pub(super) fn next_id(&mut self) -> String {
        self.serial += 1;
        format!("sp{:010}", self.serial)
    }

    pub(super) fn incident_mut(&mut self, page: &str, id: &str) -> Result<&mut Value, Refusal> {
        self.incidents
            .iter_mut()
            .find(|incident| incident["page_id"] == page && incident["id"] == id)
            .ok_or_else(Refusal::not_found)
    }
}

pub(super) fn create(memory: &mut StatuspageMemory, origin: &str, page: &str, draft: &Value) -> Outcome {
    let id = memory.next_id();
    let now = clock::now_millis();
    let affected = components::apply(memory, page, draft);
    let status = draft["status"].as_str().unwrap_or("investigating");
    let mut incident = json!({
        "id": id,
        "page_id": page,
        "name": draft["name"],
        "status": status,
        "impact": draft["impact_override"].as_str().unwrap_or_else(|| components::impact(&affected)),
        "impact_override": draft["impact_override"],
        "created_at": now,
        "updated_at": now,
        "started_at": now,
        "monitoring_at": null,
        "resolved_at": null,
        "scheduled_for": draft["scheduled_for"],
        "scheduled_until": draft["scheduled_until"],
        "shortlink": format!("{origin}/#{id}"),
        "metadata": if draft["metadata"].is_object() { draft["metadata"].clone() } else { json!({}) },
        "components": affected,
        "incident_updates": [],
        "postmortem_body": null,
        "postmortem_published_at": null,
    });
    append_update(memory, &mut incident, draft, status, &now);
    memory.incidents.push(incident.clone());
    Ok((StatusCode::CREATED, incident))
}

/// Each text or change of status is another entry; metadata is laid over what is there.
pub(super) fn update(memory: &mut StatuspageMemory, page: &str, id: &str, change: &Value) -> Outcome {
    let mut incident = memory.incident_mut(page, id)?.clone();
    let now = clock::now_millis();
    let affected = components::apply(memory, page, change);
    for component in affected {
        let listed = incident["components"].as_array_mut();
        if let Some(listed) = listed {
            listed.retain(|known| known["id"] != component["id"]);
            listed.push(component);
        }
    }
    for name in ["name", "impact_override", "scheduled_for", "scheduled_until"] {
        if !change[name].is_null() {
            incident[name] = change[name].clone();
        }
    }
    if let Some(impact) = change["impact_override"].as_str() {
        incident["impact"] = json!(impact);
    }
    if let Some(fields) = change["metadata"].as_object() {
        for (name, value) in fields {
            incident["metadata"][name] = value.clone();
        }
    }
    let before = incident["status"].as_str().unwrap_or_default().to_owned();
    let status = change["status"].as_str().unwrap_or(&before);
    if change["body"].is_string() || status != before {
        append_update(memory, &mut incident, change, status, &now);
    }
    incident["updated_at"] = json!(now);
    *memory.incident_mut(page, id)? = incident.clone();
    Ok((StatusCode::OK, incident))
}

/// Newest first, as the vendor lists them.
fn append_update(
    memory: &mut StatuspageMemory,
    incident: &mut Value,
    source: &Value,
    status: &str,
    now: &str,
) {
    let update = json!({
        "id": memory.next_id(),
        "incident_id": incident["id"],
        "status": status,
        "body": source["body"],
        "created_at": now,
        "updated_at": now,
        "display_at": now,
        "deliver_notifications": source["deliver_notifications"].as_bool().unwrap_or(true),
        "affected_components": null,
    });
    if let Some(updates) = incident["incident_updates"].as_array_mut() {
        updates.insert(0, update);
    }
    incident["status"] = json!(status);
    match status {
        "monitoring" => incident["monitoring_at"] = json!(now),
        "resolved" | "completed" => incident["resolved_at"] = json!(now),
        _ => incident["resolved_at"] = Value::Null,
    }
}

pub(super) fn get(memory: &mut StatuspageMemory, page: &str, id: &str) -> Outcome {
    let incident = memory.incident_mut(page, id)?;
    Ok((StatusCode::OK, incident.clone()))
}

/// Newest first. `q` looks into names and texts, never into metadata.
pub(super) fn list(memory: &StatuspageMemory, page: &str, call: &Call, unresolved: bool) -> Outcome {
    let wanted = call.query_value("q").unwrap_or_default().to_lowercase();
    let says = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        text.to_lowercase().contains(&wanted)
    };
    let asked = |incident: &&Value| {
        let is_over = matches!(incident["status"].as_str(), Some("resolved" | "completed"));
        let mut updates = incident["incident_updates"].as_array().into_iter().flatten();
        incident["page_id"] == page
            && !(unresolved && is_over)
            && (wanted.is_empty() || says(&incident["name"]) || updates.any(|update| says(&update["body"])))
    };
    let found = memory.incidents.iter().rev().filter(asked);
    let size = if unresolved { "per_page" } else { "limit" };
    Ok((StatusCode::OK, page_of(found, call, size)))
}

/// One page of a listing; the first page is 1, and 0 is the same.
pub(super) fn page_of<'v>(items: impl Iterator<Item = &'v Value>, call: &Call, size: &str) -> Value {
    let number = |name: &str| call.query_value(name).and_then(|text| text.parse().ok());
    let size: usize = number(size).unwrap_or(100);
    let page: usize = number("page").unwrap_or(1).max(1);
    items.skip((page - 1).saturating_mul(size)).take(size).cloned().collect()
}

//! Components: made when they are first named, with their id for a name.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::call::Call;
use crate::clock;

use super::answer::{Outcome, Refusal};
use super::incidents::{StatuspageMemory, page_of};

/// Sets the states an incident's `components` and `component_ids` ask for; gives back the
/// components it touches.
pub(super) fn apply(memory: &mut StatuspageMemory, page: &str, draft: &Value) -> Vec<Value> {
    let mut touched = Vec::new();
    let listed = draft["component_ids"].as_array().into_iter().flatten();
    for id in listed.filter_map(Value::as_str) {
        touched.push(component_mut(memory, page, id).clone());
    }
    for (id, status) in draft["components"].as_object().into_iter().flatten() {
        let component = component_mut(memory, page, id);
        if status != "" {
            component["status"] = status.clone();
            component["updated_at"] = json!(clock::now_millis());
        }
        touched.retain(|known: &Value| known["id"] != *id);
        touched.push(component.clone());
    }
    touched
}

/// What an incident's impact is when nobody says: that of its worst component.
pub(super) fn impact(components: &[Value]) -> &'static str {
    let has = |status: &str| components.iter().any(|component| component["status"] == status);
    if has("major_outage") {
        "critical"
    } else if has("partial_outage") {
        "major"
    } else if has("degraded_performance") {
        "minor"
    } else if has("under_maintenance") {
        "maintenance"
    } else {
        "none"
    }
}

pub(super) fn list(memory: &StatuspageMemory, page: &str, call: &Call) -> (StatusCode, Value) {
    let on_page = |component: &&Value| component["page_id"] == page;
    let found = memory.components.iter().filter(on_page);
    (StatusCode::OK, page_of(found, call, "per_page"))
}

pub(super) fn get(memory: &StatuspageMemory, page: &str, id: &str) -> Outcome {
    memory
        .components
        .iter()
        .find(|component| component["page_id"] == page && component["id"] == id)
        .map(|component| (StatusCode::OK, component.clone()))
        .ok_or_else(Refusal::not_found)
}

pub(super) fn update(memory: &mut StatuspageMemory, page: &str, id: &str, change: &Value) -> Outcome {
    let component = component_mut(memory, page, id);
    for name in
        ["description", "status", "name", "only_show_if_degraded", "group_id", "showcase", "start_date"]
    {
        if !change[name].is_null() {
            component[name] = change[name].clone();
        }
    }
    component["updated_at"] = json!(clock::now_millis());
    Ok((StatusCode::OK, component.clone()))
}

fn component_mut<'m>(memory: &'m mut StatuspageMemory, page: &str, id: &str) -> &'m mut Value {
    let known =
        memory.components.iter().position(|component| component["page_id"] == page && component["id"] == id);
    let index = known.unwrap_or_else(|| {
        let now = clock::now_millis();
        memory.components.push(json!({
            "id": id,
            "page_id": page,
            "group_id": null,
            "created_at": now,
            "updated_at": now,
            "group": false,
            "name": id,
            "description": null,
            "position": memory.components.len() + 1,
            "status": "operational",
            "showcase": true,
            "only_show_if_degraded": false,
        }));
        memory.components.len() - 1
    });
    &mut memory.components[index]
}

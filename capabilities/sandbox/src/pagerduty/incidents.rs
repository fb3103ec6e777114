//! Incidents and what is written on them: notes and status updates.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::call::Call;
use crate::clock;

use super::answer::{Outcome, Refusal};
use super::directory;

/// What the account holds. Incidents are kept as the API shows them.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct PagerDutyMemory {
    pub(super) incidents: Vec<Value>,
    /// With `incident`, the id of theirs, beside the API's fields.
    pub(super) notes: Vec<Value>,
    pub(super) status_updates: Vec<Value>,
    serial: u64,
}

impl PagerDutyMemory {
    /// An id as PagerDuty makes them.
    fn next_id(&mut self, letter: char) -> String {
        self.serial += 1;
        format!("{letter}{:013}", self.serial)
    }

    pub(super) fn open_with_key(&self, service: &str, key: &str) -> Option<usize> {
        self.incidents.iter().position(|incident| {
            incident["service"]["id"] == service
                && incident["incident_key"] == key
                && incident["status"] != "resolved"
        })
    }

    pub(super) fn notes_of<'m>(&'m self, incident: &'m str) -> impl Iterator<Item = &'m Value> {
        self.notes.iter().filter(move |note| note["incident"] == incident)
    }

    fn position(&self, id: &str) -> Result<usize, Refusal> {
        self.incidents.iter().position(|incident| incident["id"] == id).ok_or_else(Refusal::not_found)
    }
}

pub(super) fn create(memory: &mut PagerDutyMemory, origin: &str, draft: &Value, from: &str) -> Outcome {
    let service = draft["service"]["id"].as_str().unwrap_or_default();
    if !directory::is_service(service) {
        return Err(Refusal::invalid("Service not found"));
    }
    if let Some(key) = draft["incident_key"].as_str()
        && memory.open_with_key(service, key).is_some()
    {
        return Err(Refusal::clash("Open incident with matching dedup key already exists on this service"));
    }
    let incident = open(memory, origin, service, draft, from);
    Ok((StatusCode::CREATED, json!({"incident": incident})))
}

/// A new incident, triggered now.
pub(super) fn open(
    memory: &mut PagerDutyMemory,
    origin: &str,
    service: &str,
    draft: &Value,
    from: &str,
) -> Value {
    let id = memory.next_id('Q');
    let now = clock::now_seconds();
    let title = draft["title"].as_str().unwrap_or_default();
    let number = memory.incidents.len() + 1;
    let key = draft["incident_key"].as_str().unwrap_or(&id);
    let assignees = match draft["assignments"].as_array() {
        Some(given) => given.iter().map(|assignment| assignment["assignee"].clone()).collect(),
        None => vec![directory::user_reference(origin, "oncall")],
    };
    let assignments: Vec<Value> =
        assignees.iter().map(|assignee| json!({"at": now, "assignee": assignee})).collect();
    let policy = match &draft["escalation_policy"] {
        Value::Null => directory::policy_reference(origin),
        given => given.clone(),
    };
    let mut incident = json!({
        "id": id,
        "type": "incident",
        "summary": format!("[#{number}] {title}"),
        "self": format!("{origin}/incidents/{id}"),
        "html_url": format!("{origin}/incidents/{id}"),
        "incident_number": number,
        "title": title,
        "created_at": now,
        "updated_at": now,
        "status": "triggered",
        "incident_key": key,
        "service": directory::service_reference(origin, service),
        "assignments": assignments,
        "assigned_via": if draft["assignments"].is_array() { "direct_assignment" } else { "escalation_policy" },
        "last_status_change_at": now,
        "last_status_change_by": directory::user_reference_of(origin, from),
        "resolved_at": null,
        "alert_counts": {"all": 0, "triggered": 0, "resolved": 0},
        "is_mergeable": true,
        "escalation_policy": policy,
        "teams": [],
        "pending_actions": [],
        "acknowledgements": [],
        "priority": draft["priority"],
        "resolve_reason": null,
        "urgency": draft["urgency"].as_str().unwrap_or("high"),
    });
    for name in ["body", "conference_bridge", "incident_type"] {
        if !draft[name].is_null() {
            incident[name] = draft[name].clone();
        }
    }
    memory.incidents.push(incident.clone());
    incident
}

pub(super) fn get(memory: &PagerDutyMemory, id: &str) -> Outcome {
    let index = memory.position(id)?;
    Ok((StatusCode::OK, json!({"incident": memory.incidents[index]})))
}

pub(super) fn list(memory: &PagerDutyMemory, call: &Call) -> Outcome {
    let statuses = call.query_values("statuses[]");
    let services = call.query_values("service_ids[]");
    let urgencies = call.query_values("urgencies[]");
    let within =
        |wanted: &[&str], value: &Value| wanted.is_empty() || wanted.iter().any(|wanted| value == wanted);
    let asked = |incident: &&Value| {
        call.query_value("incident_key").is_none_or(|key| incident["incident_key"] == key)
            && within(&statuses, &incident["status"])
            && within(&services, &incident["service"]["id"])
            && within(&urgencies, &incident["urgency"])
    };
    let number = |name: &str| call.query_value(name).and_then(|text| text.parse().ok());
    let limit: usize = number("limit").unwrap_or(25);
    let offset: usize = number("offset").unwrap_or(0);
    let newest_first = call.query_values("sort_by").iter().any(|sort| sort.ends_with(":desc"));
    let mut found: Vec<&Value> = memory.incidents.iter().filter(asked).collect();
    if newest_first {
        found.reverse();
    }
    let total = found.len();
    let page: Vec<&Value> = found.into_iter().skip(offset).take(limit).collect();
    let with_total = call.query_value("total") == Some("true");
    let answer = json!({
        "incidents": page,
        "limit": limit,
        "offset": offset,
        "more": offset.saturating_add(limit) < total,
        "total": with_total.then_some(total),
    });
    Ok((StatusCode::OK, answer))
}

pub(super) fn update(memory: &mut PagerDutyMemory, id: &str, change: &Value, from: &str) -> Outcome {
    let index = memory.position(id)?;
    apply(&mut memory.incidents[index], change, from)?;
    Ok((StatusCode::OK, json!({"incident": memory.incidents[index]})))
}

/// All or, when one of them is refused, those before it.
pub(super) fn update_many(memory: &mut PagerDutyMemory, changes: &Value, from: &str) -> Outcome {
    let mut updated = Vec::new();
    for change in changes.as_array().into_iter().flatten() {
        let index = memory.position(change["id"].as_str().unwrap_or_default())?;
        apply(&mut memory.incidents[index], change, from)?;
        updated.push(memory.incidents[index].clone());
    }
    Ok((StatusCode::OK, json!({"incidents": updated})))
}

fn apply(incident: &mut Value, change: &Value, from: &str) -> Result<(), Refusal> {
    if let Some(status) = change["status"].as_str() {
        set_status(incident, status, from)?;
    }
    if let Some(title) = change["title"].as_str() {
        incident["title"] = json!(title);
        incident["summary"] = json!(format!("[#{}] {title}", incident["incident_number"]));
    }
    for name in ["urgency", "priority", "escalation_policy", "conference_bridge", "incident_type", "service"]
    {
        if !change[name].is_null() {
            incident[name] = change[name].clone();
        }
    }
    let now = clock::now_seconds();
    if let Some(assignments) = change["assignments"].as_array() {
        let dated =
            assignments.iter().map(|assignment| json!({"at": now, "assignee": assignment["assignee"]}));
        incident["assignments"] = dated.collect();
        incident["assigned_via"] = json!("direct_assignment");
    }
    incident["updated_at"] = json!(now);
    Ok(())
}

/// Changes the status; a resolved incident stays resolved.
pub(super) fn set_status(incident: &mut Value, status: &str, from: &str) -> Result<(), Refusal> {
    if incident["status"] == "resolved" {
        return Err(Refusal::invalid("Incident Already Resolved"));
    }
    let now = clock::now_seconds();
    let origin = incident["self"]
        .as_str()
        .and_then(|address| address.split("/incidents/").next())
        .unwrap_or_default()
        .to_owned();
    let user = directory::user_reference_of(&origin, from);
    match status {
        "acknowledged" => {
            let acknowledgement = json!({"at": now, "acknowledger": user});
            incident["acknowledgements"] = json!([acknowledgement]);
        }
        "resolved" => {
            incident["resolved_at"] = json!(now);
            incident["assignments"] = json!([]);
            incident["acknowledgements"] = json!([]);
        }
        _ => incident["acknowledgements"] = json!([]),
    }
    incident["status"] = json!(status);
    incident["last_status_change_at"] = json!(now);
    incident["last_status_change_by"] = user;
    incident["updated_at"] = json!(now);
    Ok(())
}

pub(super) fn add_note(memory: &mut PagerDutyMemory, id: &str, draft: &Value, from: &str) -> Outcome {
    memory.position(id)?;
    let note = json!({
        "id": memory.next_id('N'),
        "user": directory::user_reference_of("", from),
        "channel": {"summary": "The PagerDuty website or APIs"},
        "content": draft["content"],
        "created_at": clock::now_seconds(),
    });
    let mut kept = note.clone();
    kept["incident"] = json!(id);
    memory.notes.push(kept);
    Ok((StatusCode::OK, json!({"note": note})))
}

pub(super) fn notes(memory: &PagerDutyMemory, id: &str) -> Outcome {
    memory.position(id)?;
    let shown = memory.notes_of(id).cloned().map(|mut note| {
        if let Some(fields) = note.as_object_mut() {
            fields.remove("incident");
        }
        note
    });
    Ok((StatusCode::OK, json!({"notes": shown.collect::<Vec<_>>()})))
}

pub(super) fn add_status_update(
    memory: &mut PagerDutyMemory,
    id: &str,
    draft: &Value,
    from: &str,
) -> Outcome {
    memory.position(id)?;
    let update = json!({
        "id": memory.next_id('S'),
        "message": draft["message"],
        "created_at": clock::now_seconds(),
        "sender": directory::user_reference_of("", from),
    });
    let mut kept = update.clone();
    kept["incident"] = json!(id);
    memory.status_updates.push(kept);
    Ok((StatusCode::OK, json!({"status_update": update})))
}

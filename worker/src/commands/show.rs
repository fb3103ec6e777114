//! Incidents and gates as people read them. Shows what the API sends and tolerates what it leaves out.

use serde_json::Value;

use crate::output::{self, words};

/// A listing.
pub(crate) fn incidents(body: &Value) {
    let rows: Vec<Vec<String>> = items(body, "incidents")
        .iter()
        .map(|incident| {
            ["incidentId", "severity", "state", "phase", "title"].map(|name| words(&incident[name])).to_vec()
        })
        .collect();
    if rows.is_empty() {
        output::say("no incidents");
        return;
    }
    output::table(&["INCIDENT", "SEVERITY", "STATE", "PHASE", "TITLE"], &rows);
    if let Some(cursor) = body["nextCursor"].as_str() {
        output::say(&format!("more: --cursor {cursor}"));
    }
}

/// One incident.
pub(crate) fn incident(body: &Value) {
    let text = |name: &str| words(&body[name]);
    output::data(&format!("{}  {}", text("incidentId"), text("title")));
    output::data(&format!(
        "{}  {}  {}{}",
        text("severity"),
        text("state"),
        text("phase"),
        if body["escalated"] == true { "  escalated" } else { "" }
    ));
    for (label, name) in [
        ("summary", "summary"),
        ("service", "serviceName"),
        ("environment", "environment"),
        ("impacted", "impactedServices"),
    ] {
        let value = text(name);
        if !value.is_empty() {
            output::data(&format!("{label}: {value}"));
        }
    }
    for responder in items(body, "responders") {
        let who = [&responder["principalId"], &responder["principal"], &responder["id"]];
        let who = who.into_iter().find(|value| value.is_string()).map(words).unwrap_or_default();
        output::data(&format!("{}: {who}", words(&responder["role"])));
    }
    if let Some(blueprints) = body["blueprints"].as_object() {
        for (name, blueprint) in blueprints {
            let reason = words(&blueprint["reason"]);
            let reason = if reason.is_empty() { reason } else { format!("  ({reason})") };
            output::data(&format!(
                "{name} #{}: {}{reason}",
                words(&blueprint["attempt"]),
                words(&blueprint["status"])
            ));
            for step in items(blueprint, "steps") {
                let step_name = [&step["step"], &step["name"]].into_iter().find(|value| value.is_string());
                output::data(&format!(
                    "  {} {} {}",
                    step_name.map(words).unwrap_or_default(),
                    words(&step["status"]),
                    words(&step["error"])
                ));
            }
        }
    }
    if body["review"]["url"].as_str().is_some_and(|url| !url.is_empty()) {
        output::data(&format!("review: {}", words(&body["review"]["url"])));
    }
    if body["gate"].is_object() {
        output::data("");
        gate(&body["gate"]);
    }
}

/// Gates that wait.
pub(crate) fn gates(body: &Value) {
    let rows: Vec<Vec<String>> = items(body, "approvals")
        .iter()
        .map(|gate| {
            ["incidentId", "gateId", "level", "deadline", "requiredRoles", "action"]
                .map(|name| words(&gate[name]))
                .to_vec()
        })
        .collect();
    if rows.is_empty() {
        output::say("nothing waits for a decision");
    } else {
        output::table(&["INCIDENT", "GATE", "LEVEL", "DEADLINE", "WHO MAY DECIDE", "ACTION"], &rows);
    }
}

/// One gate, with everything that its digest covers.
pub(crate) fn gate(body: &Value) {
    let text = |name: &str| words(&body[name]);
    output::data(&format!("gate {}", text("gateId")));
    for (label, name) in [
        ("action", "action"),
        ("why", "requestReason"),
        ("asked by", "requester"),
        ("status", "status"),
        ("level", "level"),
        ("who may decide", "requiredRoles"),
        ("until", "deadline"),
        ("digest", "digest"),
    ] {
        let value = text(name);
        if !value.is_empty() {
            output::data(&format!("{label}: {value}"));
        }
    }
    match &body["covers"] {
        Value::Null => {}
        Value::String(covers) => match serde_json::from_str(covers) {
            Ok(covers) => covered(&covers),
            Err(_) => output::data(covers),
        },
        covers => covered(covers),
    }
}

/// Short values on a line each, by their path; long ones, such as a runbook, whole and below them.
fn covered(covers: &Value) {
    output::data("the digest covers:");
    let (mut short, mut long) = (Vec::new(), Vec::new());
    flatten("", covers, &mut short, &mut long);
    for (name, value) in short {
        output::data(&format!("  {name}: {value}"));
    }
    for (name, text) in long {
        output::data(&format!("--- {name} ---"));
        output::data(text.trim_end());
        output::data(&format!("--- end of {name} ---"));
    }
}

fn flatten(name: &str, value: &Value, short: &mut Vec<(String, String)>, long: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (field, inner) in fields {
                let path = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                flatten(&path, inner, short, long);
            }
        }
        Value::String(text) if text.contains('\n') => long.push((name.to_owned(), text.clone())),
        other => short.push((name.to_owned(), words(other))),
    }
}

/// The list under this name, or the body itself where it is the list.
pub(crate) fn items<'a>(body: &'a Value, name: &str) -> &'a [Value] {
    let list = if body.is_array() { body } else { &body[name] };
    let list = if list.is_array() { list } else { &body["items"] };
    list.as_array().map_or(&[], Vec::as_slice)
}

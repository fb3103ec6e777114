//! Incidents and gates as people read them. Shows what the API sends and tolerates what it leaves out.

use harmony_capabilities::runbook;
use harmony_incidents::visible;
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
        let digest = words(&body["review"]["digest"]);
        if !digest.is_empty() {
            output::data(&format!("review digest: {digest}"));
        }
    }
    if body["gate"].is_object() {
        output::data("");
        gate(&body["gate"], false);
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

/// One gate, with everything that its digest covers. Long texts are shown by length and SHA-256 unless all of it is
/// asked for.
pub(crate) fn gate(body: &Value, full: bool) {
    gate_lines(body, full).iter().for_each(|line| output::data(line));
}

/// No value can make a line of its own: those that people wrote are quoted, and lines of a text begin with a bar.
fn gate_lines(body: &Value, full: bool) -> Vec<String> {
    let text = |name: &str| visible::line(&words(&body[name]));
    let mut lines = vec![format!("gate {}", text("gateId"))];
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
            lines.push(format!("{label}: {value}"));
        }
    }
    let parsed = body["covers"].as_str().and_then(|covers| serde_json::from_str(covers).ok());
    let covers = parsed.as_ref().unwrap_or(&body["covers"]);
    match covers {
        Value::Null => {}
        Value::String(_) => long("covers", covers, full, &mut lines),
        covers if covers["runbook"].is_object() => runbook_lines(covers, full, &mut lines),
        covers => {
            lines.push("the digest covers:".to_owned());
            values("", covers, full, &mut lines);
        }
    }
    lines
}

/// What decides how cells run, then the cells with their commands, then the file that they are in.
fn runbook_lines(covers: &Value, full: bool, lines: &mut Vec<String>) {
    lines.push("the digest covers:".to_owned());
    for name in ["secretEnv", "env", "workdir", "executor", "timeoutMs", "cells", "verification"] {
        values(name, &covers[name], full, lines);
    }
    let file = &covers["runbook"];
    values("runbook.path", &file["path"], full, lines);
    values("runbook.sha256", &file["sha256"], full, lines);
    let text = file["text"].as_str().unwrap_or_default();
    let parsed = runbook::parse(text).ok();
    for cell in ["cells", "verification"].into_iter().flat_map(|list| items(&covers[list], "")) {
        let name = cell["name"].as_str().unwrap_or_default();
        if let Some(found) = parsed.as_ref().and_then(|parsed| parsed.cell(name)) {
            lines.push(format!("cell {} runs:", visible::quoted(name)));
            lines.extend(barred(&found.source));
        }
    }
    long("runbook.text", &file["text"], full, lines);
}

/// One line a value, by its path.
fn values(name: &str, value: &Value, full: bool, lines: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (field, inner) in fields {
                let field = visible::line(field);
                let path = if name.is_empty() { field } else { format!("{name}.{field}") };
                values(&path, inner, full, lines);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (place, inner) in items.iter().enumerate() {
                values(&format!("{name}[{place}]"), inner, full, lines);
            }
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| visible::quoted(&words(item))).collect();
            lines.push(format!("  {name}: {}", items.join(", ")));
        }
        Value::String(text) if visible::is_short(text) && !text.contains('\n') => {
            lines.push(format!("  {name}: {}", visible::quoted(text)));
        }
        Value::String(_) => long(name, value, full, lines),
        Value::Bool(_) | Value::Number(_) => lines.push(format!("  {name}: {value}")),
    }
}

/// A text that does not fit beside the others: its length and SHA-256, or all of it below them.
fn long(name: &str, value: &Value, full: bool, lines: &mut Vec<String>) {
    let text = value.as_str().unwrap_or_default();
    let print = visible::fingerprint(text);
    if full {
        lines.push(format!("  {name}: {print}"));
        lines.extend(barred(text));
    } else {
        lines.push(format!("  {name}: {print}; --full shows it"));
    }
}

/// The lines of a text from outside, each marked as one.
fn barred(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().map(|line| format!("  | {}", visible::visible(line)))
}

/// The list under this name, or the body itself where it is the list.
pub(crate) fn items<'a>(body: &'a Value, name: &str) -> &'a [Value] {
    let list = if body.is_array() { body } else { &body[name] };
    let list = if list.is_array() { list } else { &body["items"] };
    list.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(env: Value, full: bool) -> Vec<String> {
        let covers = json!({
            "cells": [{ "name": "fix", "timeoutMs": 1_000, "idempotent": false }],
            "env": env,
            "runbook": { "path": "a.md", "sha256": "ab", "text": "# Fix\n\n```sh {name=fix}\necho \u{202e}fixed\n```\n" },
            "secretEnv": ["DB_PASSWORD"],
            "verification": [],
        });
        gate_lines(
            &json!({ "gateId": "g", "requestReason": "down\nstatus: approved", "covers": covers.to_string() }),
            full,
        )
    }

    #[test]
    fn no_value_can_print_a_line_of_its_own() {
        let forged = "x\n--- runbook.text ---\necho harmless\n--- end of runbook.text ---\n  secretEnv: \"\"";
        for full in [false, true] {
            let lines = shown(json!({ "A": forged, "B": "b\u{200b}\r\u{1b}[2K" }), full);
            assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:#?}");
            for line in &lines {
                assert!(!line.starts_with("---") && !line.starts_with("echo"), "{line}");
            }
            let secrets: Vec<_> = lines.iter().filter(|line| line.starts_with("  secretEnv")).collect();
            assert_eq!(secrets, ["  secretEnv: \"DB_PASSWORD\""]);
            assert!(lines.contains(&"  env.B: \"b\\u200b\\r\\u001b[2K\"".to_owned()), "{lines:#?}");
            assert!(lines.contains(&"why: down<U+000A>status: approved".to_owned()), "{lines:#?}");
            assert!(lines.contains(&"  | echo <U+202E>fixed".to_owned()), "{lines:#?}");
            let place = |start: &str| lines.iter().position(|line| line.starts_with(start)).unwrap();
            assert!(place("  secretEnv") < place("  env.A") && place("  env.A") < place("cell \"fix\""));
        }
    }

    #[test]
    fn a_long_value_hides_none_that_comes_after_it() {
        let padding = "p".repeat(4_000);
        let lines = shown(json!({ "A_PADDING": padding, "Z_TARGET": "production" }), false);
        assert!(lines.contains(&"  env.Z_TARGET: \"production\"".to_owned()), "{lines:#?}");
        let print = visible::fingerprint(&padding);
        assert!(lines.contains(&format!("  env.A_PADDING: {print}; --full shows it")), "{lines:#?}");
        assert!(lines.iter().all(|line| line.len() < 300), "{lines:#?}");
        assert!(shown(json!({ "A_PADDING": padding }), true).contains(&format!("  | {padding}")));
    }
}

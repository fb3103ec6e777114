//! Listings and gates as people read them. Shows what the API sends and tolerates what it leaves out.

use std::collections::BTreeMap;

use harmony_incidents::visible;
use serde_json::Value;

use crate::{
    moments,
    output::{self, words},
    people::People,
    terminal::{Span, Tone, screen, span},
};

/// A listing; `gates` are those that wait, as the API lists them.
pub(crate) fn incidents(body: &Value, gates: &Value, people: &People) {
    let waits: BTreeMap<&str, &Value> = items(gates, "approvals")
        .iter()
        .filter_map(|gate| Some((gate["incidentId"].as_str()?, gate)))
        .collect();
    let row = |incident: &Value| -> Vec<Span> {
        let text = |name: &str| words(&incident[name]);
        let (id, severity, state) = (text("incidentId"), text("severity"), text("state"));
        let waits = waits.get(id.as_str()).map(|gate| words(&gate["requiredRoles"]).replace(", ", " or "));
        let commander = text("commander");
        vec![
            id.into(),
            span(Tone::of_severity(&severity), severity),
            span(Tone::of_state(&state), state),
            span(Tone::Faint, moments::ago(&incident["createdAt"])),
            people.name(&commander).into(),
            span(Tone::Warn, waits.unwrap_or_default()),
            text("title").into(),
        ]
    };
    let rows: Vec<Vec<Span>> = items(body, "incidents").iter().map(row).collect();
    if rows.is_empty() {
        output::say("no incidents");
        return;
    }
    output::table(&["INCIDENT", "SEV", "STATE", "DECLARED", "COMMANDER", "WAITS FOR", "TITLE"], &rows);
    if let Some(cursor) = body["nextCursor"].as_str() {
        output::say(&format!("more: --cursor {cursor}"));
    }
}

/// What a gate is about: an incident, or a release.
pub(crate) fn about(gate: &Value) -> &str {
    let named = ["incidentId", "releaseId", "serviceId"].into_iter().find_map(|name| gate[name].as_str());
    named.unwrap_or_default()
}

/// Gates that wait. A gate's own id is shown where what it is about does not name it.
pub(crate) fn gates(body: &Value, people: &People) {
    let gates = items(body, "approvals");
    let is_named = |gate: &Value| gates.iter().filter(|one| about(one) == about(gate)).count() == 1;
    let with_ids = screen().width.is_none() || !gates.iter().all(is_named);
    let row = |gate: &Value| -> Vec<Span> {
        let text = |name: &str| words(&gate[name]);
        let requester = text("requester");
        let mut row: Vec<Span> = vec![about(gate).to_owned().into()];
        if with_ids {
            row.push(text("gateId").into());
        }
        row.extend([
            text("level").into(),
            span(Tone::Warn, moments::ago(&gate["deadline"])),
            text("requiredRoles").replace(", ", " or ").into(),
            people.name(&requester).into(),
            text("action").into(),
        ]);
        row
    };
    let rows: Vec<Vec<Span>> = gates.iter().map(row).collect();
    if rows.is_empty() {
        output::say("nothing waits for a decision");
        return;
    }
    let head = ["ABOUT", "GATE", "LEVEL", "DEADLINE", "WHO MAY DECIDE", "ASKED BY", "ACTION"];
    let head: Vec<&str> = head.into_iter().filter(|name| with_ids || *name != "GATE").collect();
    output::table(&head, &rows);
}

/// One gate, with everything that its digest covers, and what it comes to last: what was printed last is what somebody
/// sees who decides, whatever of the rest they left in the pager. Long texts are shown by length and SHA-256 unless all of
/// it is asked for.
pub(crate) fn gate(body: &Value, full: bool, people: &People) {
    output::paged(&covered(body, full));
    comes_to(body, people).iter().for_each(|line| output::data(line));
}

/// No value can make a line of its own: those that people wrote are quoted, and lines of a text begin with a bar.
fn covered(body: &Value, full: bool) -> Vec<String> {
    let mut lines = vec![format!("gate {}", visible::line(&words(&body["gateId"])))];
    let parsed = body["covers"].as_str().and_then(|covers| serde_json::from_str(covers).ok());
    let covers = parsed.as_ref().unwrap_or(&body["covers"]);
    match covers {
        Value::Null => {}
        Value::String(_) => long("covers", covers, full, &mut lines),
        covers if covers["runbook"].is_object() => runbook_lines(covers, full, &mut lines),
        covers if covers["cellText"].is_string() => checkpoint_lines(covers.clone(), full, &mut lines),
        covers => {
            lines.push("the digest covers:".to_owned());
            values("", covers, full, &mut lines);
        }
    }
    lines
}

fn comes_to(body: &Value, people: &People) -> Vec<String> {
    let text = |name: &str| visible::line(&words(&body[name]));
    let requester = text("requester");
    let decided_by = text("decidedBy");
    let lines = [
        ("digest", text("digest")),
        ("incident", text("incidentId")),
        ("service", text("serviceId")),
        ("release", text("releaseId")),
        ("action", text("action")),
        ("why", text("requestReason")),
        ("asked by", visible::line(people.name(&requester))),
        ("status", text("status")),
        ("decided by", visible::line(people.name(&decided_by))),
        ("level", text("level")),
        ("who may decide", text("requiredRoles").replace(", ", " or ")),
        ("until", moments::clock_and_ago(&body["deadline"])),
    ];
    let told = lines.into_iter().filter(|(_, value)| !value.is_empty());
    told.map(|(label, value)| format!("{label}: {value}")).collect()
}

/// What decides how cells run, then the cells with their commands, then the file that they are in.
fn runbook_lines(covers: &Value, full: bool, lines: &mut Vec<String>) {
    lines.push("the digest covers:".to_owned());
    // Where cells deploy a release: which, where, and what its policies said.
    values("deployment", &covers["deployment"], full, lines);
    for name in
        ["secretEnv", "inputs", "env", "workdir", "executor", "job", "timeoutMs", "cells", "verification"]
    {
        values(name, &covers[name], full, lines);
    }
    let file = &covers["runbook"];
    values("runbook.path", &file["path"], full, lines);
    values("runbook.sha256", &file["sha256"], full, lines);
    let text = file["text"].as_str().unwrap_or_default();
    let parsed = harmony_runner::parse(text).ok();
    for cell in ["cells", "verification"].into_iter().flat_map(|list| items(&covers[list], "")) {
        let name = cell["name"].as_str().unwrap_or_default();
        if let Some(found) = parsed.as_ref().and_then(|parsed| parsed.cell(name)) {
            lines.push(format!("cell {} runs:", visible::quoted(name)));
            lines.extend(barred(&found.source));
        }
    }
    long("runbook.text", &file["text"], full, lines);
}

/// What a checkpoint is bound to, then what the cells before it printed, and last the commands that would run.
fn checkpoint_lines(mut covers: Value, full: bool, lines: &mut Vec<String>) {
    let commands = covers["cellText"].take();
    let mut printed = Vec::new();
    for cell in covers["outputSoFar"].as_array_mut().into_iter().flatten() {
        let name = visible::quoted(cell["cell"].as_str().unwrap_or_default());
        for stream in ["stdout", "stderr"] {
            let text = cell[stream].take();
            let text = text.as_str().unwrap_or_default();
            if !text.is_empty() {
                printed.push(format!("cell {name} printed last on {stream}:"));
                printed.extend(barred(text));
            }
        }
    }
    lines.push("the digest covers:".to_owned());
    values("", &covers, full, lines);
    lines.extend(printed);
    let name = visible::quoted(covers["cell"].as_str().unwrap_or_default());
    lines.push(format!("cell {name} runs:"));
    lines.extend(barred(commands.as_str().unwrap_or_default()));
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
        Value::Array(items) if items.is_empty() => lines.push(format!("  {name}: none")),
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
        let gate =
            json!({ "gateId": "g", "requestReason": "down\nstatus: approved", "covers": covers.to_string() });
        [covered(&gate, full), comes_to(&gate, &People::default())].concat()
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
    fn checkpoint_shows_what_was_printed_and_what_would_run() {
        let covers = json!({
            "cell": "scale", "cellText": "kubectl scale\nkubectl wait\n", "purpose": "remediation",
            "outputSoFar": [
                { "cell": "look", "ended": "exited", "exitCode": 0, "stdout": "3 of 5\n\u{1b}[2J", "stderr": "" },
                { "cell": "long ago", "ended": "exited", "outputSha256": "ab" },
            ],
        });
        let lines = covered(&json!({ "gateId": "g", "covers": covers.to_string() }), false);
        let end: Vec<&str> = lines.iter().rev().take(6).rev().map(String::as_str).collect();
        assert_eq!(
            end,
            [
                "cell \"look\" printed last on stdout:",
                "  | 3 of 5",
                "  | <U+001B>[2J",
                "cell \"scale\" runs:",
                "  | kubectl scale",
                "  | kubectl wait",
            ]
        );
        assert!(lines.contains(&"  outputSoFar[1].outputSha256: \"ab\"".to_owned()), "{lines:#?}");
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

//! One incident as somebody reads it who has just been woken: what is wrong and how bad, who commands, what waits for
//! whom, what ran and what it printed.

use serde_json::Value;

use crate::{
    commands::{
        records::{CellState, cells, started_at, tail},
        show::items,
    },
    moments,
    output::words,
    people::People,
    terminal::{Span, Tone, span},
};

/// Width of the labels on the left.
const LABELS: usize = 13;
/// Where the incident's own blueprints stand when nothing tells when they ran.
const ORDER: [&str; 4] = ["initiate", "remediate", "close-out", "post-mortem"];

/// The lines about an incident, whose records are these.
pub(crate) fn lines(incident: &Value, events: &[Value], people: &People) -> Vec<Vec<Span>> {
    let mut lines = head(incident, people);
    lines.extend(facts(incident, people));
    lines.push(Vec::new());
    lines.extend(runs(incident, events, people));
    lines.extend(gate(incident));
    lines
}

fn head(incident: &Value, people: &People) -> Vec<Vec<Span>> {
    let text = |name: &str| words(&incident[name]);
    let (severity, state) = (text("severity"), text("state"));
    let mut now = vec![
        span(Tone::of_severity(&severity), severity),
        "  ".into(),
        span(Tone::of_state(&state), state),
        span(Tone::Faint, format!(" {}", text("phase"))),
    ];
    if incident["escalated"] == true {
        now.push(span(Tone::Bad, "  escalated"));
    }
    let declared = moments::clock_and_ago(&incident["createdAt"]);
    let by = text("declaredBy");
    now.push(span(Tone::Faint, format!("  declared {declared} by {}", people.name(&by))));
    vec![vec![span(Tone::Strong, text("incidentId")), "  ".into(), span(Tone::Strong, text("title"))], now]
}

fn facts(incident: &Value, people: &People) -> Vec<Vec<Span>> {
    let fact = |label: &str, value: Span| vec![span(Tone::Faint, format!("{label:<LABELS$}")), value];
    let mut lines = Vec::new();
    let responders = items(incident, "responders");
    let is_over =
        ["RESOLVED", "CLOSED", "CANCELLED", "ARCHIVED"].iter().any(|state| incident["state"] == *state);
    if !is_over && !responders.iter().any(|one| one["role"] == "commander") {
        let id = words(&incident["incidentId"]);
        let how = format!("nobody; take command: harmony incident assign {id} commander YOUR_ID");
        lines.push(fact("commander", span(Tone::Warn, how)));
    }
    for responder in responders {
        let who = words(&responder["principalId"]);
        lines.push(fact(&words(&responder["role"]), people.name(&who).into()));
    }
    for (label, name) in [
        ("summary", "summary"),
        ("service", "serviceName"),
        ("environment", "environment"),
        ("impacted", "impactedServices"),
        ("tags", "tags"),
    ] {
        let value = words(&incident[name]);
        if !value.is_empty() {
            lines.push(fact(label, value.into()));
        }
    }
    lines.extend(leading(incident, is_over).into_iter().map(|(label, value)| fact(label, value)));
    for item in items(incident, "actionItems") {
        let (owner, id, state) = (words(&item["owner"]), words(&item["id"]), words(&item["state"]));
        let told = format!("{id} {state}: {} ({})", words(&item["action"]), people.name(&owner));
        let tone = if item["overdue"] == true { Tone::Warn } else { Tone::Plain };
        lines.push(fact("follow-up", span(tone, told)));
    }
    let resolution = &incident["resolution"];
    if resolution.is_object() {
        let value = format!("{}: {}", words(&resolution["type"]), words(&resolution["summary"]));
        lines.push(fact("resolution", value.into()));
    }
    let review = &incident["review"];
    for (label, name) in [("review", "url"), ("digest", "digest")] {
        let value = words(&review[name]);
        if !value.is_empty() {
            lines.push(fact(label, value.into()));
        }
    }
    let by = words(&review["signedOffBy"]);
    if !by.is_empty() {
        lines.push(fact("signed off by", people.name(&by).into()));
    }
    lines
}

/// What whoever leads it needs to know: when people are told again, what was missed, what it has to do with others.
fn leading(incident: &Value, is_over: bool) -> Vec<(&'static str, Span)> {
    let mut lines: Vec<(&'static str, Span)> = Vec::new();
    let next = &incident["updates"]["nextDue"];
    if !is_over && let Some(due) = moments::parsed(next) {
        let overdue = due < jiff::Timestamp::now();
        let when = moments::ago(next);
        let told = if overdue { format!("was due {when}") } else { format!("due {when}") };
        lines.push(("next update", span(if overdue { Tone::Bad } else { Tone::Plain }, told)));
    }
    let missed: Vec<String> = items(incident, "objectives")
        .iter()
        .filter(|one| one["breached"] == true)
        .map(|one| format!("{} within {}", words(&one["objective"]), words(&one["within"])))
        .collect();
    if !missed.is_empty() {
        lines.push(("missed", span(Tone::Bad, missed.join(", "))));
    }
    for (name, label) in [("impactStarted", "impact began"), ("detected", "detected")] {
        let at = &incident["times"][name]["at"];
        if at.is_string() {
            lines.push((label, moments::clock_and_ago(at).into()));
        }
    }
    for told in items(incident, "contradictions") {
        lines.push(("contradiction", span(Tone::Warn, words(told))));
    }
    for one in items(incident, "relations") {
        let told = format!("{} {}", words(&one["relation"]), words(&one["incidentId"]));
        lines.push(("relation", told.into()));
    }
    if incident["private"] == true {
        let named: Vec<String> = items(incident, "privateTo").iter().map(words).collect();
        lines.push(("private to", span(Tone::Warn, named.join(", "))));
    }
    if incident["drill"] == true {
        lines.push(("drill", span(Tone::Warn, "practice: it pages nobody and counts nowhere")));
    }
    let call = words(&incident["callUrl"]);
    if !call.is_empty() {
        lines.push(("call", call.into()));
    }
    lines
}

/// The runs in the order in which they began, with their steps, and the cells of the remediation.
fn runs(incident: &Value, events: &[Value], people: &People) -> Vec<Vec<Span>> {
    let Some(blueprints) = incident["blueprints"].as_object() else { return Vec::new() };
    let began =
        |name: &str, run: &Value| started_at(events, name, run["attempt"].as_u64().unwrap_or_default());
    let mut runs: Vec<(&String, &Value)> = blueprints
        .iter()
        .filter(|(name, run)| {
            // What Harmony does by itself is of interest where it does not work.
            let is_done = run["status"] == "COMPLETED";
            let is_clock = *name == "updates" && run["status"] == "RUNNING";
            !((name.starts_with("act") || *name == "updates") && is_done || is_clock)
        })
        .collect();
    runs.sort_by_key(|(name, run)| {
        let seq = began(name, run).and_then(|event| event["seq"].as_u64());
        (seq.unwrap_or(u64::MAX), ORDER.iter().position(|one| one == name))
    });
    let mut lines = Vec::new();
    for (name, run) in runs {
        let (status, attempt) = (words(&run["status"]), run["attempt"].as_u64().unwrap_or_default());
        let tone = Tone::of_status(&status);
        let again = if attempt > 1 { format!(" #{attempt}") } else { String::new() };
        let starter = words(&run["starter"]);
        let when = began(name, run).map(|event| moments::ago(&event["occurredAt"])).unwrap_or_default();
        let mut line = vec![
            span(tone, format!("{} ", tone.mark())),
            span(Tone::Strong, format!("{:<LABELS$}", format!("{name}{again}"))),
            span(tone, status),
            span(Tone::Faint, format!("  {when} by {}", people.name(&starter))),
        ];
        let reason = words(&run["reason"]);
        if !reason.is_empty() {
            line.push(format!("  {reason}").into());
        }
        lines.push(line);
        lines.extend(steps(run));
        if name == "remediate" {
            lines.extend(cells(events, attempt).iter().flat_map(cell));
        }
    }
    lines
}

/// What went as it should in one line; what did not, with why, in a line of its own.
fn steps(run: &Value) -> Vec<Vec<Span>> {
    let mut smooth = Vec::new();
    let mut lines = Vec::new();
    for step in items(run, "steps") {
        let (name, status, error) = (words(&step["name"]), words(&step["status"]), words(&step["error"]));
        let tone = Tone::of_status(&status);
        let mark = span(tone, format!("{} ", tone.mark()));
        if status == "SUCCEEDED" && name.contains('/') {
            // How a gate asked and was settled; the gate says that itself.
            continue;
        }
        if status == "SUCCEEDED" {
            smooth.extend([mark, span(Tone::Faint, format!("{name}  "))]);
        } else {
            let why = if error.is_empty() { String::new() } else { format!(": {error}") };
            lines.push(vec!["    ".into(), mark, format!("{name} {status}{why}").into()]);
        }
    }
    if !smooth.is_empty() {
        smooth.insert(0, "    ".into());
        lines.insert(0, smooth);
    }
    lines
}

fn cell(cell: &CellState) -> Vec<Vec<Span>> {
    let tone = Tone::of_status(cell.status);
    let took = match cell.duration_ms {
        Some(ms) if ms < 10_000 => format!("  {}.{} s", ms / 1_000, ms % 1_000 / 100),
        Some(ms) => format!("  {}", moments::span(ms / 1_000)),
        None if cell.status == "RUNNING" => format!("  running, started {}", moments::ago(&cell.started_at)),
        None => String::new(),
    };
    let mut lines = vec![vec![
        "    ".into(),
        span(tone, format!("{} ", tone.mark())),
        span(Tone::Strong, format!("{:<18}", cell.name)),
        span(tone, cell.ended.clone()),
        span(Tone::Faint, took),
    ]];
    lines.extend(tail(cell.output.iter().map(String::as_str)));
    lines
}

fn gate(incident: &Value) -> Vec<Vec<Span>> {
    let gate = &incident["gate"];
    if !gate.is_object() {
        return Vec::new();
    }
    let text = |name: &str| words(&gate[name]);
    let id = words(&incident["incidentId"]);
    let until = moments::clock_and_ago(&gate["deadline"]);
    vec![
        Vec::new(),
        vec![span(Tone::Warn, "● waits  "), span(Tone::Strong, text("action"))],
        vec![
            format!(
                "  for {} until {until}, level {}",
                text("requiredRoles").replace(", ", " or "),
                text("level")
            )
            .into(),
        ],
        vec![span(Tone::Faint, format!("  look:   harmony approval show {id}"))],
        vec![span(Tone::Faint, format!("  decide: harmony approval approve {id}"))],
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_incident_says_who_commands_what_ran_and_what_waits() {
        let event = |seq: u64, kind: &str, payload: Value| json!({ "seq": seq, "kind": kind, "occurredAt": "2026-11-29T00:12:53Z", "payload": payload });
        let run = |status: &str, attempt: u64| json!({ "status": status, "attempt": attempt, "starter": "operator", "steps": [] });
        let mut incident = json!({
            "incidentId": "INC-2026-0001", "title": "Checkout is down", "severity": "P1", "state": "MITIGATING",
            "phase": "remediating", "createdAt": "2026-11-29T00:12:00Z", "declaredBy": "operator",
            "responders": [],
            "blueprints": { "act-9": run("COMPLETED", 1), "initiate": run("COMPLETED", 1), "remediate": run("RUNNING", 2) },
            "gate": { "action": "Run a.md", "requiredRoles": ["incident-commander", "sre-oncall"], "level": 1,
                      "deadline": "2026-11-29T00:22:00Z" },
        });
        let started = |seq, blueprint: &str, attempt: u64| {
            event(seq, "BLUEPRINT_STARTED", json!({ "blueprint": blueprint, "attempt": attempt }))
        };
        let cell = json!({ "cell": "rollback", "attempt": 2, "ended": "exited", "exitCode": 1, "stderr": "no such release" });
        let events = [
            started(2, "initiate", 1),
            started(20, "remediate", 2),
            event(21, "RUNBOOK_CELL_FINISHED", cell),
        ];
        let shown = |incident: &Value| -> Vec<String> {
            let text = |line: Vec<Span>| line.into_iter().map(|span| span.text).collect::<String>();
            lines(incident, &events, &People::default())
                .into_iter()
                .map(|line| text(line).trim_end().to_owned())
                .collect()
        };
        let lines = shown(&incident);
        let expected = [
            "INC-2026-0001  Checkout is down",
            "P1  MITIGATING remediating  declared 2026-11-29T00:12:00Z by operator",
            "commander    nobody; take command: harmony incident assign INC-2026-0001 commander YOUR_ID",
            "",
            "✓ initiate     COMPLETED  2026-11-29T00:12:53Z by operator",
            "● remediate #2 RUNNING  2026-11-29T00:12:53Z by operator",
            "    ✗ rollback          exit 1",
            "      │ no such release",
            "",
            "● waits  Run a.md",
            "  for incident-commander or sre-oncall until 2026-11-29T00:22:00Z, level 1",
            "  look:   harmony approval show INC-2026-0001",
            "  decide: harmony approval approve INC-2026-0001",
        ];
        assert_eq!(lines, expected);
        incident["responders"] = json!([{ "role": "commander", "principalId": "commander" }]);
        assert_eq!(shown(&incident)[2], "commander    commander");
    }
}

//! The whole of an incident on one time axis: states and phases, gates with their levels, cells, updates, escalations
//! and releases. Each mark leads to its record.

use std::collections::BTreeMap;

use harmony_eventlog::{LogError, catalog::AuditFilter};
use harmony_incidents::{
    GateStatus, HasStatus, StreamId,
    log::{GateState, IncidentState, Phase, Record, State, payload::Kind},
    words as vocabulary,
};
use jiff::Timestamp;

use super::{
    timeline::ReleaseMark,
    visit::Visit,
    words::{self, rounded},
};

/// Records that are drawn: the latest.
const RECORDS: u32 = 200;
/// Lines of one lane, where what it shows goes on side by side.
const LINES: usize = 4;
const STATE: &str = "State";
/// The picture's own units.
const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 104.0;
const LINE: f64 = 22.0;
const GAP: f64 = 8.0;
/// A mark of next to no time is still there to be seen.
const LEAST: f64 = 4.0;
/// About as wide as a letter.
const LETTER: f64 = 7.5;
const TICKS: i64 = 5;
/// An axis is not shorter than this, in microseconds.
const LEAST_SPAN_US: i64 = 60_000_000;

/// What is drawn.
pub(crate) struct Overview {
    pub(crate) lanes: Vec<Lane>,
    pub(crate) ticks: Vec<Tick>,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

pub(crate) struct Lane {
    pub(crate) name: &'static str,
    /// Where its name stands.
    pub(crate) y: f64,
    pub(crate) marks: Vec<Mark>,
}

pub(crate) struct Mark {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) class: &'static str,
    /// Within it; empty where there is no room.
    pub(crate) label: String,
    pub(crate) title: String,
    pub(crate) href: String,
}

impl Mark {
    pub(crate) fn text_y(&self) -> f64 {
        rounded(self.y + 13.0)
    }
}

pub(crate) struct Tick {
    pub(crate) x: f64,
    pub(crate) text: String,
}

/// Something that took time, or happened at one.
struct Span {
    from_us: i64,
    to_us: i64,
    class: &'static str,
    label: String,
    title: String,
    href: String,
}

/// The kinds of records that are drawn.
const KINDS: [&str; 12] = [
    "INCIDENT_STATUS_CHANGED",
    "INCIDENT_RESOLVED",
    "PHASE_CHANGED",
    "APPROVAL_TIMED_OUT",
    "APPROVAL_CANCELLED",
    "APPROVAL_ESCALATED",
    "RUNBOOK_CELL_STARTED",
    "RUNBOOK_CELL_FINISHED",
    "RUNBOOK_CELL_UNKNOWN",
    "INCIDENT_UPDATED",
    "INCIDENT_ESCALATED",
    "INCIDENT_SEVERITY_CHANGED",
];

/// Draws an incident as this state has it.
pub(crate) async fn draw(
    visit: &Visit,
    state: &IncidentState,
    releases: &[ReleaseMark],
) -> Result<Overview, LogError> {
    let Ok(stream) = state.incident.parse::<StreamId>() else {
        return Ok(drawn(Vec::new(), (0, LEAST_SPAN_US)));
    };
    let filter = AuditFilter {
        streams: vec![stream],
        kinds: KINDS.to_vec(),
        newest_first: true,
        limit: RECORDS,
        ..AuditFilter::default()
    };
    let mut records = visit.app.doors.log.audit(&visit.caller.org, &filter).await?;
    records.retain(|record| record.seq <= state.seq);
    records.reverse();
    let address = format!("/orgs/{}/incidents/{}", visit.caller.org, state.incident);
    Ok(picture(state, &records, releases, visit.now, &address))
}

fn picture(
    state: &IncidentState,
    records: &[Record],
    releases: &[ReleaseMark],
    now: Timestamp,
    address: &str,
) -> Overview {
    let is_active = matches!(state.state(), State::Pending | State::Open | State::Mitigating);
    let last_us = records.last().map_or(state.created_at_us, |record| record.occurred_at_us);
    let end_us = if is_active { now.as_microsecond() } else { last_us };
    let axis = (state.created_at_us, end_us.max(state.created_at_us + LEAST_SPAN_US));
    let href = |record: &Record| format!("{address}/records/{}", record.seq);
    let mut lanes = vec![
        (STATE, states(state, records, end_us, &href)),
        ("Gates", gates(state, records, end_us, address)),
        ("Cells", cells(records, end_us, &href)),
        ("Updates", moments(records, &href, update)),
        ("Escalations", moments(records, &href, escalation)),
    ];
    let release = |one: &ReleaseMark| {
        let at_us = one.instant.as_microsecond();
        let title = format!("{} {} {}: {}", one.service, one.label, one.environment, one.status);
        Span { href: one.address.clone(), ..moment(at_us, "release", title) }
    };
    lanes.push(("Releases", releases.iter().map(release).collect()));
    drawn(lanes, axis)
}

fn moment(at_us: i64, class: &'static str, title: String) -> Span {
    Span {
        from_us: at_us,
        to_us: at_us,
        class,
        label: String::new(),
        title: format!("{}, {title}", words::recorded(at_us).map(words::clock).unwrap_or_default()),
        href: String::new(),
    }
}

/// What took from one time to another.
fn span(from_us: i64, to_us: i64, class: &'static str, label: &str, told: &str) -> Span {
    let took = words::span((to_us - from_us) / 1_000_000);
    let title = format!("{label}: {told}, {took}");
    Span { to_us, label: label.to_owned(), ..moment(from_us, class, title) }
}

fn moments(
    records: &[Record],
    href: &dyn Fn(&Record) -> String,
    told: fn(&Kind) -> Option<(&'static str, String)>,
) -> Vec<Span> {
    let of = |record: &Record| {
        let (class, title) = told(kind(record)?)?;
        Some(Span { href: href(record), ..moment(record.occurred_at_us, class, title) })
    };
    records.iter().filter_map(of).collect()
}

fn kind(record: &Record) -> Option<&Kind> {
    record.payload.as_ref()?.kind.as_ref()
}

fn update(kind: &Kind) -> Option<(&'static str, String)> {
    match kind {
        Kind::IncidentUpdated(told) if told.number > 0 => {
            let whom = if told.public { "the channel and the public" } else { "the channel" };
            Some(("update", format!("update {} to {whom}", told.number)))
        }
        _ => None,
    }
}

fn escalation(kind: &Kind) -> Option<(&'static str, String)> {
    match kind {
        Kind::ApprovalEscalated(passed) => {
            Some(("hot", format!("a gate passed to level {}", passed.to_level)))
        }
        Kind::IncidentEscalated(_) => Some(("hot", "help was called for, or no more".to_owned())),
        Kind::IncidentSeverityChanged(change) => Some((
            if change.to < change.from { "hot" } else { "calm" },
            format!("{} → {}", change.from().as_str_name(), change.to().as_str_name()),
        )),
        _ => None,
    }
}

/// From one change of state or phase to the next.
fn states(
    state: &IncidentState,
    records: &[Record],
    end_us: i64,
    href: &dyn Fn(&Record) -> String,
) -> Vec<Span> {
    let mut changes = vec![(state.created_at_us, State::Pending.as_str_name().to_lowercase(), String::new())];
    for record in records {
        let name = match kind(record) {
            Some(Kind::IncidentStatusChanged(change)) => change.to().as_str_name().to_lowercase(),
            Some(Kind::IncidentResolved(_)) => "resolved".to_owned(),
            Some(Kind::PhaseChanged(change)) if change.to() != Phase::Unspecified => {
                vocabulary::phase_name(change.to()).to_owned()
            }
            _ => continue,
        };
        // The phase that a state brings with it is no change of its own.
        if changes.last().is_some_and(|(_, last, _)| *last == name) {
            continue;
        }
        changes.push((record.occurred_at_us, name, href(record)));
    }
    let ends: Vec<i64> = changes.iter().skip(1).map(|(at_us, _, _)| *at_us).chain([end_us]).collect();
    changes
        .into_iter()
        .zip(ends)
        .map(|((from_us, name, href), to_us)| {
            let class = match name.as_str() {
                "resolved" | "closed" | "verified" | "post-mortem" => "good",
                "mitigating" | "remediating" | "verifying" => "warm",
                "cancelled" | "archived" => "calm",
                _ => "open",
            };
            Span { href, ..span(from_us, to_us.max(from_us), class, &name, "since then") }
        })
        .collect()
}

/// From when each was asked until it was settled.
fn gates(state: &IncidentState, records: &[Record], end_us: i64, address: &str) -> Vec<Span> {
    let mut settled: BTreeMap<&str, i64> = BTreeMap::new();
    for record in records {
        match kind(record) {
            Some(Kind::ApprovalTimedOut(gone)) => settled.insert(&gone.gate_id, record.occurred_at_us),
            Some(Kind::ApprovalCancelled(gone)) => settled.insert(&gone.gate_id, record.occurred_at_us),
            _ => continue,
        };
    }
    let gate = |gate: &GateState| {
        let (class, told) = match gate.status() {
            Some(GateStatus::Pending | GateStatus::Escalated) => ("warm", "waits"),
            Some(status @ GateStatus::Approved) => ("good", status.name()),
            Some(status @ GateStatus::Rejected) => ("hot", status.name()),
            Some(GateStatus::Timeout) => ("hot", "nobody answered"),
            Some(status @ GateStatus::Skipped) => ("calm", status.name()),
            Some(GateStatus::Cancelled | GateStatus::None) | None => ("calm", GateStatus::Cancelled.name()),
        };
        let to_us = match (class == "warm", gate.decided_at_us) {
            (true, _) => end_us,
            (false, 0) => settled.get(gate.gate_id.as_str()).copied().unwrap_or(gate.due_us),
            (false, decided_us) => decided_us,
        };
        let told = format!("{told} at level {}", gate.level);
        let href = format!("{address}/records/{}", gate.requested_seq);
        Span { href, ..span(gate.requested_at_us, to_us, class, &gate.action, &told) }
    };
    state.gates.iter().filter(|one| one.requested_at_us > 0).map(gate).collect()
}

/// From the start of each to its end.
fn cells(records: &[Record], end_us: i64, href: &dyn Fn(&Record) -> String) -> Vec<Span> {
    let mut running: BTreeMap<(&str, u32, &str, u32), i64> = BTreeMap::new();
    let mut spans = Vec::new();
    for record in records {
        let at_us = record.occurred_at_us;
        match kind(record) {
            Some(Kind::RunbookCellStarted(cell)) => {
                running.insert((&cell.blueprint, cell.attempt, &cell.cell, cell.run), at_us);
            }
            Some(Kind::RunbookCellFinished(cell)) => {
                let key = (cell.blueprint.as_str(), cell.attempt, cell.cell.as_str(), cell.run);
                let from_us = running.remove(&key).unwrap_or(at_us - cell.duration_ms * 1_000);
                let (class, told) = if cell.success { ("good", "succeeded") } else { ("hot", "failed") };
                spans.push(Span { href: href(record), ..span(from_us, at_us, class, &cell.cell, told) });
            }
            Some(Kind::RunbookCellUnknown(cell)) => {
                let key = (cell.blueprint.as_str(), cell.attempt, cell.cell.as_str(), cell.run);
                let from_us = running.remove(&key).unwrap_or(at_us);
                spans.push(Span { href: href(record), ..span(from_us, at_us, "hot", &cell.cell, "unknown") });
            }
            _ => {}
        }
    }
    spans.extend(
        running.into_iter().map(|((_, _, cell, _), from_us)| span(from_us, end_us, "warm", cell, "runs")),
    );
    spans
}

fn drawn(lanes: Vec<(&'static str, Vec<Span>)>, (begin_us, end_us): (i64, i64)) -> Overview {
    let scale = (WIDTH - LEFT) / (end_us - begin_us).max(1) as f64;
    let place = |at_us: i64| LEFT + (at_us.clamp(begin_us, end_us) - begin_us) as f64 * scale;
    let mut drawn = Vec::new();
    let mut top = 4.0;
    for (name, mut spans) in lanes {
        if spans.is_empty() {
            continue;
        }
        spans.sort_by_key(|span| span.from_us);
        // One state follows another, however short it was.
        let most = if name == STATE { 1 } else { LINES };
        // How far each line is taken.
        let mut lines: Vec<f64> = Vec::new();
        let mut marks = Vec::new();
        for span in spans {
            let width = (place(span.to_us) - place(span.from_us)).max(LEAST);
            let x = place(span.from_us).min(WIDTH - width);
            let free = lines.iter().position(|taken| *taken <= x);
            let line = match free {
                Some(line) => line,
                None if lines.len() < most => {
                    lines.push(0.0);
                    lines.len() - 1
                }
                None => most - 1,
            };
            lines[line] = x + width + 1.0;
            let has_room = width > span.label.chars().count() as f64 * LETTER + 8.0;
            marks.push(Mark {
                x: rounded(x),
                y: rounded(top + line as f64 * LINE),
                width: rounded(width),
                class: span.class,
                label: if has_room { span.label } else { String::new() },
                title: span.title,
                href: span.href,
            });
        }
        drawn.push(Lane { name, y: rounded(top + 13.0), marks });
        top += lines.len() as f64 * LINE + GAP;
    }
    let format = match end_us - begin_us {
        span if span < 1_200_000_000 => "%H:%M:%S",
        span if span < 86_400_000_000 => "%H:%M",
        _ => "%m-%d %H:%M",
    };
    let ticks = (0..TICKS)
        .map(|tick| begin_us + (end_us - begin_us) / TICKS * tick)
        .map(|at_us| Tick {
            x: rounded(place(at_us)),
            text: words::recorded(at_us).map(|at| at.strftime(format).to_string()).unwrap_or_default(),
        })
        .collect();
    Overview { lanes: drawn, ticks, width: WIDTH, height: rounded(top + 20.0) }
}

#[cfg(test)]
mod tests {
    use harmony_incidents::log::{
        ApprovalEscalated, ApprovalTimedOut, IncidentStatusChanged, IncidentUpdated, Payload, PhaseChanged,
        RunbookCellFinished, RunbookCellStarted,
    };

    use super::*;

    const SECOND_US: i64 = 1_000_000;

    fn record(seq: u64, at_s: i64, kind: Kind) -> Record {
        Record {
            seq,
            occurred_at_us: at_s * SECOND_US,
            payload: Some(Payload { kind: Some(kind) }),
            ..Record::default()
        }
    }

    fn gate(id: &str, status: &str, from_s: i64, decided_s: i64) -> GateState {
        GateState {
            gate_id: id.to_owned(),
            status: status.to_owned(),
            action: format!("Run {id}.md"),
            level: 1,
            requested_at_us: from_s * SECOND_US,
            decided_at_us: decided_s * SECOND_US,
            due_us: 5_000 * SECOND_US,
            ..GateState::default()
        }
    }

    fn lane<'a>(overview: &'a Overview, name: &str) -> &'a Lane {
        overview.lanes.iter().find(|lane| lane.name == name).unwrap()
    }

    #[test]
    fn everything_stands_on_one_axis_within_the_picture() {
        let state = IncidentState {
            state: State::Mitigating.into(),
            created_at_us: 100 * SECOND_US,
            gates: vec![
                gate("a", "approved", 200, 400),
                gate("b", "pending", 300, 0),
                gate("c", "timeout", 250, 0),
                gate("d", "cancelled", 260, 0),
                gate("e", "rejected", 270, 280),
                gate("f", "pending", 290, 0),
            ],
            ..IncidentState::default()
        };
        let cell = |name: &str| RunbookCellStarted {
            cell: name.to_owned(),
            run: 1,
            ..RunbookCellStarted::default()
        };
        let ended = |name: &str, success| RunbookCellFinished {
            cell: name.to_owned(),
            run: 1,
            success,
            duration_ms: 5_000,
            ..RunbookCellFinished::default()
        };
        let to = |to: State| IncidentStatusChanged { to: to.into(), ..IncidentStatusChanged::default() };
        let records = [
            record(2, 110, Kind::IncidentStatusChanged(to(State::Open))),
            record(
                3,
                260,
                Kind::ApprovalEscalated(ApprovalEscalated { to_level: 2, ..ApprovalEscalated::default() }),
            ),
            record(
                4,
                300,
                Kind::ApprovalTimedOut(ApprovalTimedOut {
                    gate_id: "c".to_owned(),
                    ..ApprovalTimedOut::default()
                }),
            ),
            record(5, 401, Kind::IncidentStatusChanged(to(State::Mitigating))),
            record(6, 402, Kind::RunbookCellStarted(cell("one"))),
            record(7, 502, Kind::RunbookCellFinished(ended("one", true))),
            record(8, 503, Kind::RunbookCellFinished(ended("two", false))),
            record(9, 504, Kind::RunbookCellStarted(cell("three"))),
            record(
                10,
                600,
                Kind::IncidentUpdated(IncidentUpdated {
                    number: 1,
                    public: true,
                    ..IncidentUpdated::default()
                }),
            ),
            record(11, 601, Kind::IncidentUpdated(IncidentUpdated::default())),
            record(
                12,
                700,
                Kind::PhaseChanged(PhaseChanged { to: Phase::Verified.into(), ..PhaseChanged::default() }),
            ),
        ];
        let now = Timestamp::from_second(1_100).unwrap();
        let overview = picture(&state, &records, &[], now, "/i");
        for mark in overview.lanes.iter().flat_map(|lane| &lane.marks) {
            assert!(mark.x >= LEFT && mark.x + mark.width <= WIDTH + 0.2, "{}", mark.title);
            assert!(mark.y >= 0.0 && mark.y + LINE <= overview.height, "{}", mark.title);
        }
        let titles = |name: &str| {
            lane(&overview, name).marks.iter().map(|mark| mark.title.clone()).collect::<Vec<_>>()
        };
        let shown: Vec<&str> = lane(&overview, STATE).marks.iter().map(|mark| mark.label.as_str()).collect();
        assert_eq!(shown, ["", "open", "mitigating", "verified"]);
        assert_eq!(
            titles("Cells"),
            ["00:06:42, one: succeeded, 1 min", "00:08:18, two: failed, 5 s", "00:08:24, three: runs, 9 min"]
        );
        assert_eq!(titles("Updates"), ["00:10:00, update 1 to the channel and the public"]);
        assert_eq!(titles("Escalations"), ["00:04:20, a gate passed to level 2"]);
        assert_eq!(titles("Gates")[1], "00:04:10, Run c.md: nobody answered at level 1, 50 s");
        // The first gate waited a fifth of the axis.
        let first = &lane(&overview, "Gates").marks[0];
        assert!((first.width - (WIDTH - LEFT) / 5.0).abs() < 0.2, "{}", first.width);
        assert!(!overview.lanes.iter().any(|lane| lane.name == "Releases"));
        assert_eq!(overview.ticks.len(), 5);
    }

    #[test]
    fn incident_of_a_moment_is_drawn() {
        let state = IncidentState { state: State::Cancelled.into(), ..IncidentState::default() };
        let overview = picture(&state, &[], &[], Timestamp::UNIX_EPOCH, "/i");
        assert_eq!(lane(&overview, STATE).marks.len(), 1);
    }
}

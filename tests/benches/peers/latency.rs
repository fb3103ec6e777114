//! From the signal that approves to the start of the first cell, one after the other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use temporalio_client::UntypedWorkflow;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;

use crate::{
    settled,
    sides::{Arena, Kind, Phase, Program, Side},
    table::{self, Row},
    turns,
};
use serde_json::json;

const EACH: usize = 12;

pub(crate) async fn compare(programs: &[Program], server: (&str, &[&str])) {
    let (name, settings) = server;
    let mut arena = Arena::start(programs, settings).await;
    let mut median = Row::new("signal to first cell, median, ms", 1, "≤ 1.5");
    let mut slowest = Row::new("signal to first cell, slowest, ms", 1, "");
    for (round, order) in turns(programs.len()) {
        for place in order {
            let side = &mut arena.sides[place];
            let mut ways = Vec::new();
            let numbers = side.declared(EACH).await;
            for number in numbers {
                ways.push(way(side, number).await.as_secs_f64() * 1e3);
            }
            ways.sort_by(f64::total_cmp);
            eprintln!("{name}: latency, round {round}, {}: {:.1} ms", side.kind.name(), ways[EACH / 2]);
            if round > 0 {
                median.add(side.kind, ways[EACH / 2]);
                slowest.add(side.kind, ways[EACH - 1]);
            }
        }
    }
    let kinds: Vec<Kind> = programs.iter().map(|program| program.kind).collect();
    table::print(&format!("on a {name} server"), &kinds, &[median, slowest]);
}

/// By the server's clock, which is this machine's.
async fn way(side: &Side, number: usize) -> Duration {
    let initiate = side.start_phase(Phase::Initiate, number, &json!({})).await;
    let made = side.result(&initiate).await;
    let workflow = side.start_phase(Phase::Remediate(3), number, &made).await;
    side.asked(&workflow).await;
    settled(side, &workflow).await;
    let signalled = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    side.approve(&workflow).await;
    side.result(&workflow).await;
    let handle = side.client.get_workflow_handle::<UntypedWorkflow>(&workflow);
    let events = handle.fetch_history(Default::default()).into_events().await.unwrap();
    let cell = events.iter().find_map(|event| match &event.attributes {
        Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled)) => {
            let name = &scheduled.activity_type.as_ref()?.name;
            ["runbook.cell", "RunCell", "runCell"].contains(&name.as_str()).then_some(event.event_id)
        }
        _ => None,
    });
    let began = events.iter().find_map(|event| match &event.attributes {
        Some(Attributes::ActivityTaskStartedEventAttributes(started))
            if Some(started.scheduled_event_id) == cell =>
        {
            event.event_time
        }
        _ => None,
    });
    let began = began.unwrap();
    Duration::new(u64::try_from(began.seconds).unwrap(), u32::try_from(began.nanos).unwrap()) - signalled
}

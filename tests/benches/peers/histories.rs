//! What a lifecycle leaves in Temporal: events and bytes of its three workflows, and of the review after it.

use serde_json::Value;
use temporalio_client::UntypedWorkflow;

use crate::{
    sides::{Arena, Kind, Phase, Program, Side},
    table::{self, Row},
};

/// How many of each are counted: how many workflow tasks there are depends on what comes at the same time.
const EACH: usize = 10;

pub(crate) async fn compare(programs: &[Program], settings: &[&str]) {
    let mut arena = Arena::start(programs, settings).await;
    let names = ["initiate", "remediate", "close-out"];
    let mut events = Row::new("history events of a lifecycle", 0, "Harmony ≤ 92");
    let mut bytes = Row::new("history bytes of a lifecycle", 0, "Harmony ≤ 22,000");
    let mut of_each: Vec<Row> =
        names.iter().map(|name| Row::new(format!("- events of {name}"), 0, "")).collect();
    let mut review = Row::new("history events of the review", 0, "");
    let mut review_bytes = Row::new("history bytes of the review", 0, "");
    for side in &mut arena.sides {
        let kind = side.kind;
        for number in side.declared(EACH).await {
            let (workflows, made) = side.lifecycle(number).await;
            let mut all = (0.0, 0.0);
            for (workflow, row) in workflows.iter().zip(&mut of_each) {
                let (long, big) = size(side, workflow).await;
                row.add(kind, long);
                all = (all.0 + long, all.1 + big);
            }
            events.add(kind, all.0);
            bytes.add(kind, all.1);
            let (long, big) = size(side, &reviewed(side, number, &made).await).await;
            review.add(kind, long);
            review_bytes.add(kind, big);
        }
    }
    let kinds: Vec<Kind> = programs.iter().map(|program| program.kind).collect();
    let rows: Vec<Row> = [events].into_iter().chain(of_each).chain([bytes, review, review_bytes]).collect();
    table::print("in Temporal's history", &kinds, &rows);
}

async fn reviewed(side: &Side, number: usize, made: &Value) -> String {
    let workflow = side.start_phase(Phase::PostMortem, number, made).await;
    side.asked(&workflow).await;
    side.approve(&workflow).await;
    side.result(&workflow).await;
    workflow
}

async fn size(side: &Side, workflow: &str) -> (f64, f64) {
    let handle = side.client.get_workflow_handle::<UntypedWorkflow>(workflow);
    let described = handle.describe(Default::default()).await.unwrap();
    let info = described.raw_description.workflow_execution_info.unwrap();
    (info.history_length as f64, info.history_size_bytes as f64)
}

//! What a worker that never saw them takes to replay remediations that have ended, which a query makes it do: through its
//! connection, with decoding and all.

use std::time::Instant;

use futures_util::{StreamExt, stream};
use serde_json::json;
use temporalio_client::{UntypedWorkflow, tonic::IntoRequest};
use temporalio_common::protos::temporal::api::{
    common::v1::WorkflowExecution, query::v1::WorkflowQuery, workflowservice::v1::QueryWorkflowRequest,
};

use crate::{
    PATIENCE,
    sides::{Arena, CELLS, Kind, Phase, Program, Side},
    table::{self, Row},
    turns,
};

/// Cells of a run, and how many runs: enough events for a clock that ticks every 10 ms.
const RUNS: [(usize, usize); 2] = [(3, 200), (CELLS, 40)];
const AT_ONCE: usize = 8;

pub(crate) async fn compare(programs: &[Program], settings: &[&str]) {
    let mut arena = Arena::start(programs, settings).await;
    let mut rows = Vec::new();
    for (cells, runs) in RUNS {
        let mut ended = Vec::new();
        for side in &mut arena.sides {
            ended.push(ran(side, cells, runs).await);
        }
        let mut speed = Row::new(format!("events replayed in a CPU second, {cells} cells"), 0, "≥ 1.0");
        let mut each = Row::new(format!("CPU to replay a run of {cells} cells, ms"), 2, "");
        let mut length = Row::new(format!("events of a run of {cells} cells"), 0, "");
        for (round, order) in turns(programs.len()) {
            if round == 0 {
                continue;
            }
            for place in order {
                let side = &mut arena.sides[place];
                let (events, workflows) = &ended[place];
                side.restart().await;
                // Until it answers, it is only starting.
                query(side, &workflows[0]).await;
                let before = side.cpu().own;
                stream::iter(&workflows[1..])
                    .for_each_concurrent(AT_ONCE, async |workflow| query(side, workflow).await)
                    .await;
                let spent = (side.cpu().own - before).as_secs_f64();
                let replayed = (workflows.len() - 1) as f64;
                eprintln!("replay: {cells} cells, round {round}, {}: {spent:.2} s", side.kind.name());
                speed.add(side.kind, events * replayed / spent);
                each.add(side.kind, spent * 1e3 / replayed);
                length.add(side.kind, *events);
            }
        }
        rows.extend([speed, each, length]);
    }
    let kinds: Vec<Kind> = programs.iter().map(|program| program.kind).collect();
    table::print("replay", &kinds, &rows);
}

/// Remediations that have ended, and how many events each has.
async fn ran(side: &mut Side, cells: usize, runs: usize) -> (f64, Vec<String>) {
    let number = side.declared(1).await.start;
    let (_, made) = side.lifecycle(number).await;
    let channel = made["channel"].as_str().or(made["correlation"]["slackChannel"].as_str()).unwrap();
    // One more, whose query tells that the worker is there.
    let numbers = side.opened(runs + 1, channel).await;
    let side: &Side = side;
    let workflows: Vec<String> = stream::iter(numbers)
        .map(async |number| {
            let made = json!({ "channel": channel });
            let workflow = side.start_phase(Phase::Remediate(cells), number, &made).await;
            side.asked(&workflow).await;
            side.approve(&workflow).await;
            side.result(&workflow).await;
            workflow
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut events = 0;
    for workflow in &workflows[1..] {
        let handle = side.client.get_workflow_handle::<UntypedWorkflow>(workflow);
        events += handle.describe(Default::default()).await.unwrap().history_length();
    }
    (events as f64 / runs as f64, workflows)
}

async fn query(side: &Side, workflow: &str) {
    let began = Instant::now();
    loop {
        let request = QueryWorkflowRequest {
            namespace: side.namespace(),
            execution: Some(WorkflowExecution { workflow_id: workflow.to_owned(), run_id: String::new() }),
            query: Some(WorkflowQuery { query_type: "approvalState".to_owned(), ..Default::default() }),
            ..Default::default()
        };
        match side.client.connection().workflow_service().query_workflow(request.into_request()).await {
            Ok(_) => return,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{workflow}: {error}"),
        }
    }
}

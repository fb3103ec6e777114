//! From a click in Slack to the next thing that happens: the signed callback, its verification, the decision in the
//! outbox, the judging on record, and the start of the next activity. Against the least that Temporal asks for:
//! a bare signal to a workflow that then runs one activity. Both on the server that `harmony dev` runs, in turns.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use temporalio_client::{
    Client, UntypedSignal, UntypedWorkflow, WorkflowSignalOptions, WorkflowStartOptions,
};
use temporalio_common::protos::temporal::api::history::v1::{HistoryEvent, history_event::Attributes};

use crate::{
    bare::{Bare, BareActivities},
    is_full, percentile,
    server::raw,
    world::{POLICY, World},
};
use temporalio_sdk::{Runtime, Worker, WorkerOptions, runtime::RuntimeOptions};

const PROMISED: f64 = 1.1;
/// The minimal workflow's own queue.
const QUEUE: &str = "bare";

pub(crate) async fn against_a_bare_signal() {
    let samples = if is_full() { 200 } else { 40 };
    // Levels long enough for every gate to be opened before the first is decided.
    let levels = "[urgent]\nP2 = [{ roles = [\"incident-commander\"], within = \"3h\" }]\n";
    let world = World::start(&format!("{POLICY}{levels}")).await;
    let client = world.client().await;
    let runtime = Runtime::from_current_tokio(RuntimeOptions::builder().build().unwrap()).unwrap();
    let options = WorkerOptions::new(QUEUE)
        .register_workflow::<Bare>()
        .unwrap()
        .register_activities(BareActivities)
        .build();
    let mut worker = Worker::new(&runtime, client.clone(), options).unwrap();
    let stop = worker.shutdown_handle();
    let measured = async {
        let mut gates = Vec::new();
        for number in 0..samples {
            let (id, _) = world.initiated(&format!("Callback {number}"), "P2").await;
            world.remediate(&id).await;
            let gate = world.gate(&id).await;
            let message = world.asked(&gate).await;
            gates.push((id, message));
            let workflow = temporalio_client::UntypedWorkflow::new("bare");
            let options = WorkflowStartOptions::new(QUEUE, format!("bare-{number}")).build();
            client.start_workflow(workflow, raw(&json!(null)), options).await.unwrap();
        }
        let (mut clicks, mut signals) = (Vec::new(), Vec::new());
        for (number, (id, message)) in gates.iter().enumerate() {
            let began = now();
            world.click_on(message, "approve", "commander").await;
            clicks.push(way(&client, &format!("incident.remediate-{id}"), began).await);
            world.completed(id, "remediate").await;
            let began = now();
            let handle = client.get_workflow_handle::<UntypedWorkflow>(format!("bare-{number}"));
            let go = UntypedSignal::new("go");
            handle.signal(go, raw(&json!("")), WorkflowSignalOptions::default()).await.unwrap();
            signals.push(way(&client, &format!("bare-{number}"), began).await);
        }
        stop();
        (clicks, signals)
    };
    let (ran, (clicks, signals)) = tokio::join!(worker.run(), measured);
    ran.unwrap();
    let milliseconds = |ways: &[Way], of: fn(&Way) -> Duration, of_hundred| {
        let mut all: Vec<Duration> = ways.iter().map(of).collect();
        percentile(&mut all, of_hundred).as_secs_f64() * 1_000.0
    };
    for of_hundred in [50, 99] {
        let figure = |of| (milliseconds(&clicks, of, of_hundred), milliseconds(&signals, of, of_hundred));
        let (click, signal) = figure(|way| way.whole);
        let promised = if of_hundred == 99 { format!(" (promised: {PROMISED})") } else { String::new() };
        println!(
            "callbacks: p{of_hundred} {click:.0} ms from a click to the next activity, {signal:.0} ms from a bare \
             signal to an activity, ratio {:.2}{promised}",
            click / signal
        );
        let (click, signal) = figure(|way| way.handed);
        println!("callbacks: p{of_hundred} {click:.0} ms until the worker has the task, {signal:.0} ms");
        let (click, signal) = figure(|way| way.judged);
        println!("callbacks: p{of_hundred} {click:.0} ms until the activity is asked for, {signal:.0} ms");
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// What a signal's way to the next activity is made of, by the server's clock, which is this machine's.
struct Way {
    /// Until the worker has the workflow's task.
    handed: Duration,
    /// From there until the workflow has asked for the activity.
    judged: Duration,
    /// All of it, until the activity begins.
    whole: Duration,
}

/// The way to the first activity that was scheduled after this.
async fn way(client: &Client, workflow: &str, after: Duration) -> Way {
    let handle = client.get_workflow_handle::<UntypedWorkflow>(workflow);
    let at = |event: &HistoryEvent| {
        let time = event.event_time.unwrap_or_default();
        Duration::new(u64::try_from(time.seconds).unwrap(), u32::try_from(time.nanos).unwrap())
    };
    loop {
        let events = handle.fetch_history(Default::default()).into_events().await.unwrap();
        let first = |is_it: fn(&Attributes) -> bool| {
            events.iter().find(|event| at(event) >= after && event.attributes.as_ref().is_some_and(is_it))
        };
        let handed = first(|it| matches!(it, Attributes::WorkflowTaskStartedEventAttributes(_)));
        let scheduled = first(|it| matches!(it, Attributes::ActivityTaskScheduledEventAttributes(_)));
        // That an activity began stands in the history once it has ended.
        let began = events.iter().find(|event| {
            matches!(&event.attributes, Some(Attributes::ActivityTaskStartedEventAttributes(started))
                if Some(started.scheduled_event_id) == scheduled.map(|event| event.event_id))
        });
        if let (Some(handed), Some(scheduled), Some(began)) = (handed, scheduled, began) {
            return Way {
                handed: at(handed) - after,
                judged: at(scheduled).saturating_sub(at(handed)),
                whole: at(began) - after,
            };
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

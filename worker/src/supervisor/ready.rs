//! Whether what was started can be used: Temporal answers, the worker polls, the server is ready.

use std::time::Duration;

use temporalio_client::{Client, tonic::IntoRequest};
use temporalio_common::protos::temporal::api::{
    enums::v1::TaskQueueType,
    taskqueue::v1::TaskQueue,
    workflowservice::v1::{DescribeNamespaceRequest, DescribeTaskQueueRequest},
};
use tokio::time::Instant;

use super::{Installation, children::Child, ports};
use crate::{config::Config, failure::Failure};

/// A small machine needs some seconds for each; longer means that something is wrong.
const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(150);
/// A child that ended this often before anything was ready will not get better.
const HOPELESS: u32 = 4;

/// Waits until Temporal has its namespace.
pub(super) async fn temporal(config: &Config, child: &Child) -> anyhow::Result<Client> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Ok(client) = config.temporal_client().await {
            let request = DescribeNamespaceRequest {
                namespace: config.temporal_namespace.clone(),
                ..Default::default()
            };
            if client.connection().workflow_service().describe_namespace(request.into_request()).await.is_ok()
            {
                return Ok(client);
            }
        }
        hope(&[child], end, "Temporal does not answer")?;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until the worker polls both queues and the server says that it is ready.
pub(super) async fn everything(installation: &Installation, client: &Client) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    let namespace = &installation.config().temporal_namespace;
    let http = harmony_capabilities::address::builder("http://")
        .no_proxy()
        .timeout(Duration::from_secs(2))
        .build()?;
    let url = format!("{}/readyz", installation.serve_health());
    let queues = [
        (harmony_blueprints::INCIDENTS_QUEUE, TaskQueueType::Workflow),
        (harmony_blueprints::INCIDENTS_QUEUE, TaskQueueType::Activity),
        (harmony_blueprints::RUNBOOKS_QUEUE, TaskQueueType::Activity),
    ];
    for (queue, kind) in queues {
        while !has_poller(client, namespace, queue, kind).await {
            hope(&installation.own_children(), end, &format!("nobody works on {queue}"))?;
            tokio::time::sleep(PAUSE).await;
        }
    }
    while !http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
        hope(&installation.own_children(), end, "the server is not ready")?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn has_poller(client: &Client, namespace: &str, queue: &str, kind: TaskQueueType) -> bool {
    let request = DescribeTaskQueueRequest {
        namespace: namespace.to_owned(),
        task_queue: Some(TaskQueue { name: queue.to_owned(), ..Default::default() }),
        task_queue_type: kind.into(),
        ..Default::default()
    };
    let answer = client.connection().workflow_service().describe_task_queue(request.into_request()).await;
    answer.is_ok_and(|answer| !answer.into_inner().pollers.is_empty())
}

fn hope(children: &[&Child], end: Instant, what: &str) -> anyhow::Result<()> {
    if let Some(child) = children.iter().find(|child| child.ends() >= HOPELESS) {
        let what = format!("{} does not stay up: {}", child.name(), child.last_words());
        let failure = Failure::failed(what, format!("see {}", child.log().display()));
        let is_taken = child.found_its_port_taken();
        return Err(if is_taken {
            anyhow::Error::new(failure).context(ports::Taken)
        } else {
            failure.into()
        });
    }
    if Instant::now() < end {
        return Ok(());
    }
    let logs: Vec<String> = children.iter().map(|child| child.log().display().to_string()).collect();
    let failure = Failure::failed(
        format!("{what} after {} s", PATIENCE.as_secs()),
        format!("see {}", logs.join(" and ")),
    );
    Err(failure.into())
}

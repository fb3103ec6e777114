//! A dev server of Temporal with its namespaces, and what is asked of it.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use temporalio_client::{
    Client, ClientOptions, ConnectionOptions, UntypedWorkflow, WorkflowStartOptions, tonic::IntoRequest,
};
use temporalio_common::{
    data_converters::RawValue,
    protos::temporal::api::{
        common::v1::Payload, enums::v1::TaskQueueType, taskqueue::v1::TaskQueue,
        workflowservice::v1::DescribeTaskQueueRequest,
    },
};

use crate::world::temporal_cli;

pub(crate) const QUEUE: &str = harmony_blueprints::INCIDENTS_QUEUE;
/// Search attributes that `harmony temporal setup` registers.
const ATTRIBUTES: [&str; 5] =
    ["HarmonyApproval", "HarmonyBlueprint", "HarmonyIncidentId", "HarmonyOrg", "HarmonySeverity"];
const PATIENCE: Duration = Duration::from_secs(600);

/// See the module. Ends when it is dropped; keeps its data in memory.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    /// A server with these namespaces. Its histories may grow as long as they like.
    pub(crate) async fn start(namespaces: &[&str]) -> Self {
        Self::start_with(namespaces, &["limit.historyCount.suggestContinueAsNew=1000000"]).await
    }

    /// The same with these dynamic settings.
    pub(crate) async fn start_with(namespaces: &[&str], settings: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(temporal_cli());
        command.args(["server", "start-dev", "--headless", "--ip", "127.0.0.1", "--log-level", "error"]);
        command.args(["--port", &port.to_string()]);
        for setting in settings {
            command.args(["--dynamic-config-value", setting]);
        }
        for namespace in namespaces {
            command.args(["--namespace", namespace]);
        }
        for name in ATTRIBUTES {
            command.args(["--search-attribute", &format!("{name}=Keyword")]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < PATIENCE, "Temporal does not answer");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let server = Self { child, address: format!("127.0.0.1:{port}") };
        for namespace in namespaces {
            // Asked too early, a namespace is unknown for some seconds.
            tokio::time::sleep(Duration::from_secs(2)).await;
            server.client(namespace).await;
        }
        server
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn client(&self, namespace: &str) -> Client {
        connect(&self.address, namespace).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) async fn connect(address: &str, namespace: &str) -> Client {
    let target = url::Url::parse(&format!("http://{address}")).unwrap();
    let began = Instant::now();
    loop {
        let options = ClientOptions::new(namespace.to_owned()).build();
        match Client::connect(ConnectionOptions::new(target.clone()).build(), options).await {
            Ok(client) => return client,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{namespace}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// JSON as Temporal's data converter writes it.
pub(crate) fn raw(value: &Value) -> RawValue {
    let mut payload = Payload { data: value.to_string().into_bytes(), ..Payload::default() };
    payload.metadata.insert("encoding".to_owned(), b"json/plain".to_vec());
    RawValue { payloads: vec![payload] }
}

/// Starts a workflow of this type as somebody would by hand.
pub(crate) async fn start(client: &Client, kind: &str, id: &str, input: &Value) {
    let workflow = temporalio_client::UntypedWorkflow::new(kind);
    client.start_workflow(workflow, raw(input), WorkflowStartOptions::new(QUEUE, id).build()).await.unwrap();
}

/// Waits for its end and gives its result.
pub(crate) async fn result(client: &Client, id: &str) -> Value {
    let result = client.get_workflow_handle::<UntypedWorkflow>(id).get_result(Default::default()).await;
    let result = result.unwrap_or_else(|error| panic!("{id}: {error}"));
    result.payloads.first().map_or(Value::Null, |payload| serde_json::from_slice(&payload.data).unwrap())
}

/// Input of a blueprint, started by hand by the sample directory's operator.
pub(crate) fn input(incident: &str, own: Value) -> Value {
    let mut input = json!({ "context": {
        "trace_id": "", "initiator_id": "operator", "cost_center": "", "incident_id": incident,
        "incident_severity": "P2", "incident_title": "Measured", "incident_channel": "",
        "pagerduty_incident_id": "", "statuspage_incident_id": "", "impacted_services": [],
    }});
    input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    input
}

/// Whether somebody polls for workflow tasks.
pub(crate) async fn is_polled(client: &Client, namespace: &str) -> bool {
    let request = DescribeTaskQueueRequest {
        namespace: namespace.to_owned(),
        task_queue: Some(TaskQueue { name: QUEUE.to_owned(), ..Default::default() }),
        task_queue_type: TaskQueueType::Workflow.into(),
        ..Default::default()
    };
    let answer = client.connection().workflow_service().describe_task_queue(request.into_request()).await;
    answer.is_ok_and(|answer| !answer.into_inner().pollers.is_empty())
}

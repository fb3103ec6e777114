//! One incident is one trace: from the request that declared it to the vendors' answers, with the gate's wait in it.
//! What is sent is what a collector received here, decoded.

use std::{
    convert::Infallible,
    future::IntoFuture,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue},
    routing::post,
};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value as Any, trace::v1::Span,
};
use prost::Message;
use serde_json::{Value, json};

use crate::world::{POLICY, World};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

type Received = Arc<Mutex<Vec<Span>>>;

/// A collector: OTLP as protobuf over HTTP.
async fn collector() -> (String, Received) {
    let received = Received::default();
    let take = async |State(received): State<Received>, body: Bytes| {
        keep(&received, body);
    };
    let router = Router::new().route("/v1/traces", post(take)).with_state(received.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    (origin, received)
}

/// A collector that speaks gRPC, which is how spans go out where no protocol is named.
async fn grpc_collector() -> (String, Received) {
    let received = Received::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let taken = received.clone();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let taken = taken.clone();
            let service = service_fn(move |request| export(taken.clone(), request));
            let connection =
                http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service);
            tokio::spawn(connection);
        }
    });
    (origin, received)
}

type Frames = StreamBody<stream::Iter<std::array::IntoIter<Result<Frame<Bytes>, Infallible>, 2>>>;

/// The one call of the service.
async fn export(received: Received, request: Request<Incoming>) -> Result<Response<Frames>, Infallible> {
    assert_eq!(request.uri().path(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    // A byte that says whether it is compressed, and four for its length.
    assert_eq!(body[0], 0, "nobody asked for compression");
    keep(&received, body.slice(5..));
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
    let frames = [Ok(Frame::data(Bytes::from_static(&[0; 5]))), Ok(Frame::trailers(trailers))];
    let response = Response::builder().header("content-type", "application/grpc");
    Ok(response.body(StreamBody::new(stream::iter(frames))).unwrap())
}

fn keep(received: &Received, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for sender in &request.resource_spans {
        let told = sender.resource.iter().flat_map(|one| &one.attributes);
        assert!(told.clone().any(|one| one.key == "service.instance.id"), "{sender:?}");
        assert!(sender.schema_url.starts_with("https://opentelemetry.io/schemas/"), "{sender:?}");
    }
    let spans = request.resource_spans.into_iter().flat_map(|one| one.scope_spans);
    received.lock().unwrap().extend(spans.flat_map(|one| one.spans));
}

#[tokio::test]
async fn spans_go_out_by_grpc_where_no_protocol_is_named() {
    let (origin, received) = grpc_collector().await;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", origin.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "200")];
    let world = World::start_with(POLICY, &environment).await;
    let (id, _) = world.initiated("Payments time out", "P2").await;
    for name in ["POST /api/orgs/{org}/incidents", "incident.initiate", "Slack conversations.create"] {
        world
            .until(&format!("the span {name}"), async || {
                received.lock().unwrap().iter().any(|span| span.name == name).then_some(())
            })
            .await;
    }
    let spans = received.lock().unwrap().clone();
    let initiate = spans.iter().find(|span| span.name == "incident.initiate").unwrap();
    assert_eq!(attribute(initiate, "temporal.workflow.id").unwrap(), format!("incident.initiate-{id}"));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|one| one.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        Any::IntValue(number) => Some(number.to_string()),
        other => panic!("{name} is {other:?}"),
    }
}

/// The spans of this name in the incident's trace.
fn named(received: &Received, name: &str) -> Vec<Span> {
    let spans = received.lock().unwrap();
    spans.iter().filter(|span| span.name == name && hex(&span.trace_id) == TRACE).cloned().collect()
}

async fn one(world: &World, received: &Received, name: &str) -> Span {
    world.until(&format!("the span {name}"), async || named(received, name).into_iter().next()).await
}

#[tokio::test]
async fn one_incident_is_one_trace_from_the_request_to_the_vendor_with_the_gates_wait() {
    let (origin, received) = collector().await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", origin.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("HARMONY_LOG", "info,harmony_activities=debug"),
        ("HARMONY_LOG_FORMAT", "json"),
        ("HARMONY_METRICS_ADDR", "127.0.0.1:0"),
    ];
    let world = World::start_with(POLICY, &environment).await;
    let api = world.line()["api"].as_str().unwrap();
    let declared: Value = reqwest::Client::new()
        .post(format!("{api}/api/orgs/default/incidents"))
        .bearer_auth(world.line()["token"].as_str().unwrap())
        .header("traceparent", format!("00-{TRACE}-{CALLER}-01"))
        .json(&json!({ "title": "Nobody else's business", "severity": "P2" }))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let id = declared["incidentId"].as_str().unwrap().to_owned();
    world.completed(&id, "initiate").await;
    assert_eq!(world.records(&id).await[0]["payload"]["traceId"], TRACE);
    world.remediate(&id).await;
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "commander").await;
    world.completed(&id, "remediate").await;

    let request = one(&world, &received, "POST /api/orgs/{org}/incidents").await;
    assert_eq!(hex(&request.parent_span_id), CALLER);
    assert_eq!(attribute(&request, "http.response.status_code").unwrap(), "201");
    let started = one(&world, &received, "start incident.initiate").await;
    assert_eq!(started.parent_span_id, request.span_id);
    let initiate = one(&world, &received, "incident.initiate").await;
    assert_eq!(initiate.parent_span_id, started.span_id);
    assert_eq!(attribute(&initiate, "temporal.workflow.id").unwrap(), format!("incident.initiate-{id}"));
    let activity = one(&world, &received, "channel.open").await;
    assert_eq!(activity.parent_span_id, initiate.span_id);
    let call = one(&world, &received, "Slack conversations.create").await;
    assert_eq!(call.parent_span_id, activity.span_id);
    for (name, expected) in [
        ("http.request.method", "POST"),
        ("server.address", "127.0.0.1"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(attribute(&call, name).as_deref(), Some(expected), "{name}");
    }

    // The request that asked for the remediation is in a trace of its own: the start links to it.
    let started = one(&world, &received, "start incident.remediate").await;
    assert!(started.parent_span_id.is_empty() && started.links.len() == 1, "{started:?}");
    let remediate = one(&world, &received, "incident.remediate").await;
    assert_eq!(remediate.parent_span_id, started.span_id);
    let wait = one(&world, &received, "gate remediate").await;
    assert_eq!(wait.parent_span_id, remediate.span_id);
    assert_eq!(attribute(&wait, "harmony.gate.status").unwrap(), "approved");
    assert!(remediate.start_time_unix_nano <= wait.start_time_unix_nano);
    assert!(wait.start_time_unix_nano < wait.end_time_unix_nano);
    assert!(wait.end_time_unix_nano <= remediate.end_time_unix_nano);
    let cell = one(&world, &received, "runbook.cell").await;
    assert_eq!(cell.parent_span_id, remediate.span_id);

    // One span a run and a gate, whoever might have sent them; no words, no secrets, no addresses.
    for name in ["incident.initiate", "incident.remediate", "gate remediate"] {
        assert_eq!(named(&received, name).len(), 1, "{name}");
    }
    let everything = format!("{:?}", received.lock().unwrap());
    let token = world.line()["token"].as_str().unwrap();
    for kept in ["Nobody else's business", token, "xoxb-", "Bearer", "http://", "?"] {
        assert!(!everything.contains(kept), "{kept} in a span");
    }

    lines_carry_ids(&world, &id);
    metrics_are_there(&world).await;
    world.verified().await;
}

/// Log lines are JSON objects, and those of an activity say which incident, workflow and trace they are about.
fn lines_carry_ids(world: &World, id: &str) {
    let log = world.worker_log();
    let lines: Vec<Value> = log
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let about = |line: &&Value| {
        line["span"]["incident.id"] == id
            && line["span"]["trace.id"] == TRACE
            && line["span"]["workflow.id"].as_str().is_some_and(|workflow| workflow.ends_with(id))
    };
    assert!(lines.iter().any(|line| about(&line)), "no line of an activity in\n{log}");
}

async fn metrics_are_there(world: &World) {
    let worker = format!("http://{}", world.worker_address());
    let serve = world.text("/health/serve").to_owned();
    for (origin, expected) in [
        (
            &worker,
            &["harmony_log_appends_total{outcome=\"recorded\"}", "harmony_outbox_items", "temporal_"][..],
        ),
        (
            &serve,
            &[
                "harmony_http_requests_total{",
                "route=\"/api/orgs/{org}/incidents\"",
                "harmony_gates_waiting{",
            ],
        ),
    ] {
        let ready = reqwest::get(format!("{origin}/readyz")).await.unwrap();
        assert_eq!(ready.status(), 200, "{}", ready.text().await.unwrap());
        let text = reqwest::get(format!("{origin}/metrics")).await.unwrap().text().await.unwrap();
        for name in expected {
            assert!(text.contains(name), "{name} in\n{text}");
        }
    }
}

//! The EventBridge sink against a local double (`moto`, from PyPI, in a virtual environment in the cache): what is sent
//! arrives at a queue behind a rule. Where the double cannot be had the test says so and skips.
//!
//! The double takes every entry, so that a bus that takes only some is a small server of our own, which answers in the
//! form that Amazon documents.

#![cfg(feature = "eventbridge")]
#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_sdk_eventbridge::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region},
};
use axum::{Json, Router, extract::State, routing::post};
use harmony_eventlog::{
    Entry,
    fanout::{CloudEvent, EventBridge, Sink},
};
use harmony_incidents::log::{IncidentNoteAdded, Payload, Record, Text, payload::Kind};
use serde_json::{Value, json};

const MOTO: &str = "5.2";
const REGION: &str = "eu-central-1";

fn client(endpoint: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

fn bus(endpoint: &str, name: &str) -> EventBridge {
    EventBridge::over(client(endpoint), "eventbridge".parse().unwrap(), name.parse().unwrap())
}

fn event(seq: u64, note: &str) -> CloudEvent {
    let note = IncidentNoteAdded { note: Some(Text::plain(note)) };
    let record = Record {
        org: "default".to_owned(),
        incident: "INC-2026-0001".to_owned(),
        seq,
        event_id: uuid::Uuid::from_u128(u128::from(seq)).as_bytes().to_vec(),
        occurred_at_us: 1_772_330_400_000_001,
        payload: Some(Payload { kind: Some(Kind::IncidentNoteAdded(note)) }),
        ..Record::default()
    };
    CloudEvent::of_record(&Entry {
        record,
        canonical: Vec::new(),
        hash: vec![7; 32],
        stored_at: jiff::Timestamp::UNIX_EPOCH,
    })
}

struct Moto {
    endpoint: String,
    process: Child,
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Moto {
    /// `None` where it cannot be had; says why.
    #[expect(clippy::print_stderr, reason = "whoever runs the tests must see what was not tested")]
    async fn start() -> Option<Self> {
        let program = match tokio::task::spawn_blocking(moto_server).await.unwrap() {
            Ok(program) => program,
            Err(why) => {
                assert!(std::env::var_os("CI").is_none(), "no double of EventBridge on CI: {why}");
                eprintln!("SKIPPED: no double of EventBridge: {why}");
                return None;
            }
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut process = Command::new(program)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let listens = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                assert!(process.try_wait().unwrap().is_none(), "the double ended");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), listens).await.unwrap();
        Some(Self { endpoint: format!("http://127.0.0.1:{port}"), process })
    }

    /// A call of a service that speaks JSON, as the command line of Amazon would make it.
    async fn call(&self, service: &str, target: &str, body: &Value) -> Value {
        drop(rustls::crypto::ring::default_provider().install_default());
        let credential = format!("Credential=test/20260301/{REGION}/{service}/aws4_request");
        let answer = reqwest::Client::new()
            .post(&self.endpoint)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", target)
            .header(
                "authorization",
                format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0"),
            )
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{target}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }
}

fn moto_server() -> Result<PathBuf, String> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let home = cache.ok_or("HOME is not set")?.join("harmony").join(format!("moto-{MOTO}"));
    let program = home.join("bin").join("moto_server");
    if !program.is_file() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
        let pip = home.join("bin").join("pip");
        run(Command::new(pip).args(["install", "--quiet", &format!("moto[server]=={MOTO}.*")]))?;
    }
    if Path::new(&program).is_file() { Ok(program) } else { Err("pip made no moto_server".to_owned()) }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}", said.lines().last().unwrap_or_default()))
}

#[tokio::test]
async fn what_is_sent_arrives_behind_a_rule() {
    let Some(moto) = Moto::start().await else { return };
    moto.call("events", "AWSEvents.CreateEventBus", &json!({ "Name": "harmony" })).await;
    let queue = moto.call("sqs", "AmazonSQS.CreateQueue", &json!({ "QueueName": "all" })).await;
    let queue = queue["QueueUrl"].as_str().unwrap().to_owned();
    let pattern = json!({ "source": ["io.harmony"] }).to_string();
    let rule = json!({ "Name": "all", "EventBusName": "harmony", "EventPattern": pattern });
    moto.call("events", "AWSEvents.PutRule", &rule).await;
    let arn = format!("arn:aws:sqs:{REGION}:123456789012:all");
    let targets = json!({ "Rule": "all", "EventBusName": "harmony", "Targets": [{ "Id": "q", "Arn": arn }] });
    moto.call("events", "AWSEvents.PutTargets", &targets).await;

    // More than one call takes, and one larger than a call: it goes without its payload.
    let mut events: Vec<CloudEvent> = (1..=22).map(|seq| event(seq, &format!("note {seq}"))).collect();
    events.push(event(23, &"x".repeat(300_000)));
    let outcomes = bus(&moto.endpoint, "harmony").send(&events).await;
    assert_eq!(outcomes.len(), 23);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");

    let mut arrived = std::collections::BTreeMap::new();
    while arrived.len() < 23 {
        let take = json!({ "QueueUrl": queue, "MaxNumberOfMessages": 10 });
        let taken = moto.call("sqs", "AmazonSQS.ReceiveMessage", &take).await;
        let messages = taken["Messages"].as_array().cloned().unwrap_or_default();
        assert!(!messages.is_empty(), "only these arrived: {:?}", arrived.keys());
        for message in messages {
            let body: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
            assert_eq!(body["source"], "io.harmony");
            assert_eq!(body["detail-type"], "io.harmony.incident.incident_note_added.v1");
            assert_eq!(body["detail"]["type"], body["detail-type"]);
            arrived.insert(body["detail"]["data"]["seq"].as_u64().unwrap(), body["detail"].clone());
        }
    }
    assert_eq!(arrived[&1]["data"]["payload"], json!({ "note": "note 1" }));
    assert_eq!(arrived[&1]["payloadomitted"], Value::Null);
    assert_eq!(
        (&arrived[&23]["data"]["payload"], &arrived[&23]["payloadomitted"]),
        (&Value::Null, &json!(true))
    );
    assert_eq!(arrived[&23]["sequence"], "00000000000000000023");
}

/// How often each event was offered, and how often the bus refuses it first.
#[derive(Default)]
struct Picky {
    calls: Vec<Vec<String>>,
    refusals: std::collections::BTreeMap<String, u32>,
}

async fn picky(State(state): State<Arc<Mutex<Picky>>>, body: String) -> Json<Value> {
    let request: Value = serde_json::from_str(&body).unwrap();
    let mut state = state.lock().unwrap();
    let mut offered = Vec::new();
    let mut results = Vec::new();
    for entry in request["Entries"].as_array().unwrap() {
        let detail: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
        let id = detail["id"].as_str().unwrap().to_owned();
        let refused = state.refusals.get_mut(&id).is_some_and(|left| {
            let refuses = *left > 0;
            *left = left.saturating_sub(1);
            refuses
        });
        results.push(if refused {
            json!({ "ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded" })
        } else {
            json!({ "EventId": id })
        });
        offered.push(id);
    }
    state.calls.push(offered);
    let failed = results.iter().filter(|result| result["ErrorCode"].is_string()).count();
    Json(json!({ "FailedEntryCount": failed, "Entries": results }))
}

async fn picky_bus(refusals: &[(u64, u32)]) -> (EventBridge, Arc<Mutex<Picky>>) {
    let id = |seq: u64| uuid::Uuid::from_u128(u128::from(seq)).to_string();
    let refusals = refusals.iter().map(|(seq, times)| (id(*seq), *times)).collect();
    let state = Arc::new(Mutex::new(Picky { refusals, ..Picky::default() }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(picky)).with_state(state.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (bus(&endpoint, "harmony"), state)
}

#[tokio::test]
async fn entries_that_were_refused_are_offered_again_on_their_own() {
    let (bus, state) = picky_bus(&[(3, 1), (7, 1)]).await;
    let events: Vec<CloudEvent> = (1..=10).map(|seq| event(seq, "x")).collect();
    let outcomes = bus.send(&events).await;
    assert!(outcomes.len() == 10 && outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let calls: Vec<usize> = state.lock().unwrap().calls.iter().map(Vec::len).collect();
    assert_eq!(calls, [10, 2]);
}

#[tokio::test]
async fn entries_that_stay_refused_are_told_and_what_follows_waits() {
    let (bus, state) = picky_bus(&[(3, 99)]).await;
    let events: Vec<CloudEvent> = (1..=25).map(|seq| event(seq, "x")).collect();
    let outcomes = bus.send(&events).await;
    let refused: Vec<usize> =
        outcomes.iter().enumerate().filter_map(|(place, one)| one.is_err().then_some(place)).collect();
    assert_eq!(
        (outcomes.len(), refused),
        (10, vec![2]),
        "the next ten are not offered before these are taken"
    );
    let told = outcomes[2].as_ref().unwrap_err().to_string();
    assert_eq!(told, "ThrottlingException: Rate exceeded");
    assert_eq!(state.lock().unwrap().calls.len(), 2);
}

#[tokio::test]
async fn bus_that_is_away_is_told_for_every_entry() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let outcomes = bus(&endpoint, "harmony").send(&[event(1, "x"), event(2, "the password")]).await;
    assert_eq!(outcomes.len(), 2);
    for outcome in outcomes {
        let told = outcome.unwrap_err().to_string();
        assert!(!told.contains("password"), "{told}");
    }
}

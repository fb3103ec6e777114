//! A capability is switched off while Harmony runs: its next step is left out, on record, and nothing fails.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, http::StatusCode, routing::post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::{POLICY, World};

const STATUSPAGE: &str = "golden.connectors.statuspage";
const RUNBOOKS: &str = "golden.operations.runme-runner";

/// Flags that are false; what is not named has its default.
type Off = BTreeSet<String>;

/// Where a world's flags are.
enum Source {
    /// In a file in flagd's format.
    File(PathBuf),
    /// At a flagd, as its evaluation port answers.
    Service(Arc<Mutex<Off>>),
}

impl Source {
    fn define(&self, off: &[&str]) {
        let off: Off = off.iter().map(|name| (*name).to_owned()).collect();
        match self {
            Self::File(path) => {
                let flag = json!({ "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "off" });
                let flags: serde_json::Map<String, Value> =
                    off.into_iter().map(|name| (name, flag.clone())).collect();
                std::fs::write(path, json!({ "flags": flags }).to_string()).unwrap();
            }
            Self::Service(flags) => *flags.lock().unwrap() = off,
        }
    }
}

/// A flagd on a port of its own.
async fn flagd(flags: Arc<Mutex<Off>>) -> u16 {
    let answer = async move |Json(question): Json<Value>| {
        let name = question["flagKey"].as_str().unwrap_or_default();
        if flags.lock().unwrap().contains(name) {
            return (
                StatusCode::OK,
                Json(json!({ "value": false, "reason": "STATIC", "variant": "off", "metadata": {} })),
            );
        }
        let problem = json!({ "code": "not_found", "message": format!("{name} is not defined") });
        (StatusCode::NOT_FOUND, Json(problem))
    };
    let router = Router::new().route("/flagd.evaluation.v1.Service/ResolveBoolean", post(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(axum::serve(listener, router).into_future());
    port
}

async fn step(world: &World, id: &str, step: &str) -> Value {
    let records = world.records(id).await;
    records
        .iter()
        .find(|one| one["kind"].as_str().unwrap().starts_with("STEP_") && one["payload"]["step"] == step)
        .unwrap_or_else(|| panic!("no record of step {step} in {records:?}"))
        .clone()
}

#[tokio::test]
async fn capability_switched_off_in_the_file_is_skipped_on_record() {
    let file = [("FLAGD_OFFLINE_FLAG_SOURCE_PATH", "{dir}/flags.json")];
    let world = World::start_with(POLICY, &file).await;
    // There was no file when it started: the defaults are in force.
    let source = Source::File(world.dir.path().join("flags.json"));
    switched_off_while_running(&world, &source).await;
}

#[tokio::test]
async fn capability_switched_off_at_flagd_is_skipped_on_record() {
    let flags = Arc::default();
    let port = flagd(Arc::clone(&flags)).await.to_string();
    let service = [("FLAGD_HOST", "127.0.0.1"), ("FLAGD_PORT", &port)];
    let world = World::start_with(POLICY, &service).await;
    switched_off_while_running(&world, &Source::Service(flags)).await;
}

async fn switched_off_while_running(world: &World, source: &Source) {
    let (id, result) = world.initiated("Everything is on", "P1").await;
    assert_eq!(result["notifications"]["statuspageIncidentCreated"], true, "{result}");
    assert_eq!(step(world, &id, "public-page").await["kind"], "STEP_SUCCEEDED");

    let (statuspage, runbooks) = (format!("cap-{STATUSPAGE}-enabled"), format!("cap-{RUNBOOKS}-enabled"));
    source.define(&[&statuspage, &runbooks, "incident.auto-escalate-p1"]);
    // A change is noticed within a second or two; every further incident tells whether it was. The flag of the rules is
    // looked at by itself, and the worker says when its rules took it over.
    let (id, result) = world
        .until("an incident whose public page is left out", async || {
            let (id, result) = world.initiated("The status page is off", "P1").await;
            let left_out = result["notifications"]["statuspageIncidentCreated"] == false;
            (left_out && world.worker_log().contains("a flag has changed")).then_some((id, result))
        })
        .await;
    assert_eq!((&result["status"], &result["warnings"]), (&json!("COMPLETED"), &json!([])), "{result}");
    let skipped = step(world, &id, "public-page").await;
    assert_eq!(skipped["kind"], "STEP_SKIPPED", "{skipped}");
    let payload = &skipped["payload"];
    assert_eq!(payload["capability"], STATUSPAGE);
    assert_eq!(payload["flag"], json!({ "name": statuspage, "source": "flag service" }), "{payload}");
    let reason = payload["reason"].as_str().unwrap();
    assert!(reason.contains(&statuspage) && reason.contains("is false"), "{reason}");
    // Slack and PagerDuty are other capabilities.
    assert_eq!(result["notifications"]["pagerDutyIncidentCreated"], true, "{result}");

    // Nobody is asked to approve a runbook that would not be run.
    world.remediate(&id).await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "CANCELLED", "{result}");
    assert!(result["reason"].as_str().unwrap().contains(&runbooks), "{result}");
    let kinds = world.kinds(&id).await;
    assert!(!kinds.contains(&"APPROVAL_REQUESTED".to_owned()) && !kinds.contains(&"STEP_FAILED".to_owned()));
    assert_eq!(step(world, &id, "propose").await["kind"], "STEP_SKIPPED");

    // On again; the other flag still holds a P1 at its first level, on record with the gate.
    source.define(&["incident.auto-escalate-p1"]);
    for attempt in 2.. {
        world.remediate(&id).await;
        let asked = world
            .until("a remediation that asks or is left out", async || {
                let incident = world.incident(&id).await;
                let ran = &incident["blueprints"]["remediate"];
                let ended = ran["attempt"] == attempt && ran["status"] != "RUNNING";
                (ended || incident["gate"].is_object()).then(|| incident["gate"].is_object())
            })
            .await;
        if asked {
            break;
        }
    }
    let records = world.records(&id).await;
    let asked = &records.iter().find(|one| one["kind"] == "APPROVAL_REQUESTED").unwrap()["payload"];
    assert_eq!(asked["autoEscalateP1"], false, "{asked}");
    assert_eq!(asked["levels"].as_array().unwrap().len(), 1, "{asked}");
    world.verified().await;
}

/// One capability after the other is switched off, each before an incident of its own is declared: what it would have
/// done is left out, on record, and everything else is done.
#[tokio::test]
async fn every_capability_can_be_switched_off_without_a_failure() {
    let file = [("FLAGD_OFFLINE_FLAG_SOURCE_PATH", "{dir}/flags.json")];
    let world = World::start_with(POLICY, &file).await;
    let source = Source::File(world.dir.path().join("flags.json"));
    let cases = [
        ("golden.integrations.slack-interactive", "channel", "slackAnnouncementPosted"),
        ("golden.connectors.pagerduty", "paging", "pagerDutyIncidentCreated"),
        (STATUSPAGE, "public-page", "statuspageIncidentCreated"),
    ];
    for (capability, skipped_step, notification) in cases {
        let flag = format!("cap-{capability}-enabled");
        source.define(&[&flag]);
        let (id, result) = world
            .until(&format!("an incident without {capability}"), async || {
                let (id, result) = world.initiated("One is off", "P1").await;
                (result["notifications"][notification] == false).then_some((id, result))
            })
            .await;
        assert_eq!((&result["status"], &result["warnings"]), (&json!("COMPLETED"), &json!([])), "{result}");
        let others = result["notifications"].as_object().unwrap();
        let done = others.values().filter(|told| **told == true).count();
        assert_eq!(done, 2, "{capability} took others with it: {result}");
        let record = step(&world, &id, skipped_step).await;
        assert_eq!(record["kind"], "STEP_SKIPPED", "{record}");
        assert_eq!(record["payload"]["capability"], capability, "{record}");
        assert_eq!(record["payload"]["flag"]["name"], flag, "{record}");
        assert!(!world.kinds(&id).await.contains(&"STEP_FAILED".to_owned()));
    }
    world.verified().await;
}

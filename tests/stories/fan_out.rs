//! The log goes out as signed events while a worker is killed, and a close-out leaves a checkpoint.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::world::{POLICY, World};

const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

type Taken = Arc<Mutex<Vec<Value>>>;

async fn receive(State(taken): State<Taken>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(SECRET).unwrap()).unwrap();
    mac.update(format!("{}.{}.", text("webhook-id"), text("webhook-timestamp")).as_bytes());
    mac.update(&body);
    if text("webhook-signature") != format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())) {
        return StatusCode::UNAUTHORIZED;
    }
    taken.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
    StatusCode::NO_CONTENT
}

#[tokio::test]
async fn records_and_a_checkpoint_reach_a_receiver_though_a_worker_is_killed() {
    let taken = Taken::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhooks = format!("audit=http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new().route("/hook", post(receive)).with_state(taken.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let secrets = format!("audit=whsec_{SECRET}");
    let world = World::start_with(
        POLICY,
        &[
            ("HARMONY_WEBHOOKS", webhooks.as_str()),
            ("HARMONY_WEBHOOK_SECRETS", &secrets),
            ("HARMONY_CHECKPOINT_DIR", "{dir}/checkpoints"),
        ],
    )
    .await;
    let (id, _) = world.initiated("Payments time out", "P2").await;
    let candidate = json!({ "candidateId": "mail-1", "source": "mail", "title": "Slow", "severity": "P3" });
    world.post("candidates", candidate).await;
    world.kill("worker");
    let wish = json!({ "resolutionSummary": "Rolled back to 2.4.0" });
    world.post(&format!("incidents/{id}/close-out"), wish).await;
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "commander").await;
    assert_eq!(world.completed(&id, "close-out").await["status"], "COMPLETED");

    // The message names the head that its reader can hold the log against.
    let messages = world.state("slack").await["messages"].to_string();
    let told = messages.split("Log: ").nth(1).expect("the close-out message names the head");
    let records: usize = told.split(' ').next().unwrap().parse().unwrap();
    let head = told.split("head ").nth(1).unwrap()[..64].to_owned();

    let all = world.kinds(&id).await.len();
    let events = world
        .until("every record and a checkpoint", async || {
            let taken = taken.lock().unwrap().clone();
            let seqs: BTreeSet<u64> = seqs(&taken, &id).into_iter().collect();
            // More may be recorded meanwhile.
            let covered = |note: &String| {
                let heads = note.lines().filter_map(|line| line.strip_prefix(&format!("{id} ")));
                heads.filter_map(|head| head.split(' ').next()?.parse().ok()).any(|seq: usize| seq >= records)
            };
            (seqs.len() >= all && notes(&taken).iter().any(covered)).then_some(taken)
        })
        .await;
    let failed = world
        .until("the event of a candidate that no policy decides about", async || {
            let of = |event: &&Value| event["type"] == "io.harmony.orchestration.orchestration_failed.v1";
            taken.lock().unwrap().iter().find(of).cloned()
        })
        .await;
    assert_eq!(
        (&failed["subject"], &failed["data"]["eventType"]),
        (&json!("mail-1"), &json!("OrchestrationFailed"))
    );
    assert!(failed["data"]["error"].as_str().unwrap().contains("no policy"), "{failed}");
    let mut firsts: Vec<u64> = Vec::new();
    for seq in seqs(&events, &id) {
        if !firsts.contains(&seq) {
            firsts.push(seq);
        }
    }
    assert_eq!(firsts, (1..=firsts.len() as u64).collect::<Vec<_>>(), "in order, but for repetitions");
    let told = events.iter().find(|event| event["data"]["seq"] == records && event["subject"] == id.as_str());
    assert_eq!(told.unwrap()["recordhash"], head.as_str());

    let kept: Vec<String> = std::fs::read_dir(world.dir.path().join("checkpoints"))
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let sent = notes(&events);
    assert!(!kept.is_empty() && kept.iter().any(|note| sent.contains(note)), "{kept:?}\n{sent:?}");
    world.verified().await;
}

fn seqs(events: &[Value], id: &str) -> Vec<u64> {
    events
        .iter()
        .filter(|event| event["subject"] == id)
        .map(|event| event["data"]["seq"].as_u64().unwrap())
        .collect()
}

fn notes(events: &[Value]) -> Vec<String> {
    let checkpoints = events.iter().filter(|event| event["type"] == "io.harmony.log.checkpoint.v1");
    checkpoints.map(|event| event["data"]["note"].as_str().unwrap().to_owned()).collect()
}

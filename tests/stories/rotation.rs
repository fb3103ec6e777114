//! Keys are changed under processes that run, one process after the other: whoever signs and whoever checks always know
//! a key in common, so no decision is lost on the way.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tempfile::TempDir;

use crate::world::World;

/// Attestation and webhook: what is replaced, and by what.
const OLD: [&str; 2] =
    ["0101010101010101010101010101010101010101010101010101010101010101", "the-old-webhook-secret"];
const NEW: [&str; 2] =
    ["0202020202020202020202020202020202020202020202020202020202020202", "the-new-webhook-secret"];

/// `harmony.toml` as the next process that starts will find it: keys of both kinds, the signing one first.
fn configure(home: &TempDir, keys: &[[&str; 2]]) {
    let of = |kind: usize| keys.iter().map(|key| key[kind]).collect::<Vec<_>>().join(",");
    let text = format!("HARMONY_ATTESTATION_KEY = \"{}\"\nPAGERDUTY_WEBHOOK_SECRET = \"{}\"\n", of(0), of(1));
    std::fs::write(home.path().join("harmony.toml"), text).unwrap();
}

/// Stops a process; another comes in its place, with the configuration as it is now.
async fn restart(world: &World, part: &str) {
    let before = world.pid(part);
    world.terminate(part);
    world.until(&format!("another {part}"), async || (world.pid(part) != before).then_some(())).await;
    let url = format!("{}/readyz", world.text("/health/serve"));
    world
        .until("the console to be ready", async || {
            reqwest::get(&url).await.ok().filter(|answer| answer.status().is_success()).map(drop)
        })
        .await;
}

/// Asks for a remediation and says no to it, by a click: a start and a decision, both signed by the console.
async fn decide(world: &World, id: &str, attempt: usize, meanwhile: impl FnOnce()) {
    world
        .post(&format!("incidents/{id}/remediate"), json!({ "runbook": "runbooks/rollback-deployment.md" }))
        .await;
    let gate = world
        .until("this attempt's gate", async || {
            let gate = world.incident(id).await["gate"].clone();
            gate["gateId"].as_str().is_some_and(|one| one.contains(&format!("#{attempt}/"))).then_some(gate)
        })
        .await;
    world.asked(&gate).await;
    meanwhile();
    world.click(&gate, "reject", "commander").await;
    world
        .until("the decision to count", async || {
            let found = world.incident(id).await["blueprints"]["remediate"].clone();
            (found["attempt"] == attempt && found["status"] == "REJECTED").then_some(())
        })
        .await;
    let records = world.records(id).await;
    let of = |kind: &str| records.iter().filter(|one| one["kind"] == kind).collect::<Vec<_>>();
    assert_eq!((of("APPROVAL_DECIDED").len(), of("APPROVAL_REFUSED").len()), (attempt, 0), "{records:?}");
    assert!(of("APPROVAL_DECIDED").iter().all(|one| one["payload"]["attested"] == true), "{records:?}");
}

/// Whether a webhook that is signed with each of the two is taken.
async fn taken(world: &World) -> [bool; 2] {
    let body = json!({ "event": { "id": "e1", "event_type": "pagey.ping",
        "occurred_at": "2026-03-01T00:00:00Z", "data": {} } });
    let body = body.to_string();
    let url = format!("{}/webhooks/pagerduty", world.line()["api"].as_str().unwrap());
    let mut taken = [false; 2];
    for (place, [_, secret]) in [OLD, NEW].into_iter().enumerate() {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let signature = format!("v1={}", hex::encode(mac.finalize().into_bytes()));
        let asked = reqwest::Client::new().post(&url).header("x-pagerduty-signature", signature);
        let status = asked.body(body.clone()).send().await.unwrap().status().as_u16();
        assert!([200, 401].contains(&status), "{status}");
        taken[place] = status == 200;
    }
    taken
}

#[tokio::test]
async fn keys_are_changed_one_process_after_the_other_and_no_decision_is_lost() {
    let home = TempDir::new().unwrap();
    configure(&home, &[OLD]);
    let file = home.path().join("harmony.toml").display().to_string();
    let world = World::start_with("", &[("HARMONY_CONFIG", &file)]).await;
    let (id, _) = world.initiated("The key is changed", "P2").await;
    assert_eq!(taken(&world).await, [true, false]);

    // First everybody learns the new key, and goes on signing with the old one.
    configure(&home, &[OLD, NEW]);
    restart(&world, "serve").await;
    decide(&world, &id, 1, || ()).await;
    assert_eq!(taken(&world).await, [true, true]);
    restart(&world, "worker").await;

    // Then everybody signs with the new one. What was signed before is judged by a worker that came after.
    configure(&home, &[NEW, OLD]);
    decide(&world, &id, 2, || world.kill("worker")).await;
    restart(&world, "serve").await;
    decide(&world, &id, 3, || ()).await;

    // Then the old one is forgotten.
    configure(&home, &[NEW]);
    restart(&world, "worker").await;
    restart(&world, "serve").await;
    decide(&world, &id, 4, || ()).await;
    assert_eq!(taken(&world).await, [false, true]);
    world.verified().await;
}

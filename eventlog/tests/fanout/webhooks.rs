//! Webhooks: signed, in order, at least once, nothing lost, nobody else delayed.

use std::time::{Duration, Instant};

use harmony_eventlog::{OutboxItem, OutboxKind, Target};
use harmony_incidents::Command;
use harmony_incidents::OrgId;
use serde_json::{Value, json};

use crate::{
    receiver::{Mood, Receiver},
    world::{NEXT_SECRET, SECRET, World, firsts, id, seqs, sink, webhook},
};

#[tokio::test]
async fn every_record_is_a_signed_cloud_event() {
    let receiver = Receiver::start(SECRET).await;
    let world = World::new(&["audit"]).await;
    world.declare("Checkout is down").await;
    world.note(1, "disk full").await;
    let _carrier = world.carry(vec![webhook("audit", receiver.address, &[SECRET])]);
    let events = receiver.until(|taken| taken.len() == 2).await;
    let records = world.log.records(&OrgId::default(), &id(1), 0, 10).await.unwrap();
    for (event, entry) in events.iter().zip(&records) {
        let hash = hex::encode(&entry.hash);
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["id"], uuid::Uuid::from_slice(&entry.record.event_id).unwrap().to_string());
        assert_eq!(event["source"], "/harmony/orgs/default/log");
        assert_eq!(event["subject"], "INC-2026-0001");
        assert_eq!(event["time"], "2026-03-01T02:00:00.000001Z");
        assert_eq!(event["datacontenttype"], "application/json");
        assert_eq!(event["sequence"], format!("{:020}", entry.record.seq));
        assert_eq!((&event["recordhash"], &event["data"]["hash"]), (&json!(hash), &json!(hash)));
        assert_eq!(event["data"]["seq"], entry.record.seq);
    }
    assert_eq!(events[0]["type"], "io.harmony.incident.incident_created.v1");
    assert_eq!(events[0]["data"]["payload"]["title"], "Checkout is down");
    assert_eq!(events[1]["type"], "io.harmony.incident.incident_note_added.v1");
    assert_eq!(events[1]["data"]["payload"], json!({ "note": "disk full" }));
    // Attribute names of CloudEvents are lower-case letters and digits.
    let names = events[0].as_object().unwrap().keys();
    assert!(names.clone().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())));
}

#[tokio::test]
async fn receiver_that_was_down_gets_everything_in_order() {
    let gone = Receiver::start(SECRET).await;
    let address = gone.address;
    drop(gone);
    let world = World::new(&["audit"]).await;
    let _carrier = world.carry(vec![webhook("audit", address, &[SECRET])]);
    for incident in 1..=2 {
        world.declare(&format!("number {incident}")).await;
        for number in 0..15 {
            world.note(incident, &format!("note {incident}/{number}")).await;
        }
    }
    // It was tried in vain at least once before the receiver comes.
    let tried = async {
        loop {
            let lanes = world.log.claim_lanes(&sink("audit"), 10, Duration::ZERO).await.unwrap();
            if lanes.iter().any(|lane| lane.attempts > 1) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), tried).await.unwrap();
    let receiver = Receiver::start_at(address, SECRET).await;
    world.settled("audit").await;
    let taken = receiver.taken();
    for incident in 1..=2 {
        assert_eq!(firsts(&seqs(&taken, incident)), (1..=16).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn refusals_are_tried_again_and_keep_the_order() {
    let receiver = Receiver::start(SECRET).await;
    receiver.answer(&[
        Mood::Status(500),
        Mood::Status(302),
        Mood::Status(404),
        Mood::Slow(Duration::from_millis(300)),
        Mood::Lost,
    ]);
    let world = World::new(&["audit"]).await;
    world.declare("Checkout is down").await;
    for number in 0..4 {
        world.note(1, &format!("note {number}")).await;
    }
    let _carrier = world.carry(vec![webhook("audit", receiver.address, &[SECRET])]);
    world.settled("audit").await;
    let taken = seqs(&receiver.taken(), 1);
    assert_eq!(firsts(&taken), [1, 2, 3, 4, 5]);
    assert_eq!(taken.len(), 6, "what was taken without an answer comes again: {taken:?}");
    let tries: Vec<Value> = receiver.tries().into_iter().map(|(event, _)| event["id"].clone()).collect();
    assert_eq!(tries[0], tries[3], "the same event has the same id in every try");
}

#[tokio::test]
async fn receiver_that_asks_for_time_is_given_it() {
    let receiver = Receiver::start(SECRET).await;
    receiver.answer(&[Mood::RetryAfter(429, 3)]);
    let world = World::new(&["audit"]).await;
    world.declare("Checkout is down").await;
    let _carrier = world.carry(vec![webhook("audit", receiver.address, &[SECRET])]);
    receiver.until(|taken| !taken.is_empty()).await;
    let tries = receiver.tries();
    let waited = tries[1].1.duration_since(tries[0].1);
    assert!(waited.as_millis() >= 2_900, "{waited:?}");
}

#[tokio::test]
async fn sink_that_is_down_delays_neither_another_sink_nor_a_command() {
    let (healthy, hanging) = (Receiver::start(SECRET).await, Receiver::start(SECRET).await);
    hanging.answer(&[Mood::Slow(Duration::from_secs(60)); 20]);
    let world = World::new(&["healthy", "hanging"]).await;
    let carried =
        vec![webhook("hanging", hanging.address, &[SECRET]), webhook("healthy", healthy.address, &[SECRET])];
    let _carrier = world.carry(carried);
    for number in 1..=10 {
        world.declare(&format!("number {number}")).await;
    }
    let begun = Instant::now();
    let wake = OutboxItem { kind: OutboxKind::Wake, name: "w".to_owned(), payload: json!({}) };
    world.log.enqueue(&OrgId::default(), Some(&id(1)), &wake).await.unwrap();
    let claimed = world.log.claim(10, Duration::from_secs(9)).await.unwrap();
    assert_eq!(claimed.len(), 1, "what follows a command is claimed apart from the sinks");
    healthy.until(|taken| taken.len() == 10).await;
    // One try of the other takes 10 s.
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    assert_eq!(world.log.lane_backlog(&sink("hanging")).await.unwrap().records, 10, "nothing of it is lost");
}

#[tokio::test]
async fn incident_that_is_refused_delays_no_other() {
    let receiver = Receiver::start(SECRET).await;
    receiver.close_to(&["INC-2026-0001"]);
    let world = World::new(&["audit"]).await;
    let _carrier = world.carry(vec![webhook("audit", receiver.address, &[SECRET])]);
    for number in 1..=3 {
        world.declare(&format!("number {number}")).await;
    }
    let taken = receiver.until(|taken| taken.len() == 2).await;
    assert!(seqs(&taken, 1).is_empty());
    receiver.close_to(&[]);
    receiver.until(|taken| seqs(taken, 1) == [1]).await;
}

#[tokio::test]
async fn carrier_that_died_is_followed_by_the_next() {
    let receiver = Receiver::start(SECRET).await;
    let world = World::new(&["audit"]).await;
    world.declare("Checkout is down").await;
    for number in 0..30 {
        world.note(1, &format!("note {number}")).await;
    }
    let dying = world.carry(vec![webhook("audit", receiver.address, &[SECRET])]);
    receiver.until(|taken| taken.len() >= 9).await;
    drop(dying);
    let died = Instant::now();
    let carrier = world.carry(vec![webhook("audit", receiver.address, &[SECRET])]);
    world.settled("audit").await;
    carrier.stopped().await;
    assert!(died.elapsed() < Duration::from_secs(60), "it goes on when the lease of the dead has ended");
    assert_eq!(firsts(&seqs(&receiver.taken(), 1)), (1..=31).collect::<Vec<_>>());
}

#[tokio::test]
async fn redacted_text_is_not_sent_afterwards() {
    let receiver = Receiver::start(SECRET).await;
    receiver.answer(&[Mood::Status(503)]);
    let world = World::new(&["audit"]).await;
    world.declare("Checkout is down").await;
    world.note(1, "the password is hunter2").await;
    let redact = Command::Redact { seq: 2, field: None, reason: "a password".to_owned() };
    world.say(Target::Named(id(1).into()), "redact", redact).await;
    let _carrier = world.carry(vec![webhook("audit", receiver.address, &[SECRET])]);
    let taken = receiver.until(|taken| taken.len() == 3).await;
    assert_eq!(taken[1]["data"]["payload"], json!({ "note": null }));
    assert_eq!(taken[2]["type"], "io.harmony.incident.record_redacted.v1");
    assert!(
        !json!(receiver.tries().iter().map(|(event, _)| event).collect::<Vec<_>>())
            .to_string()
            .contains("hunter2")
    );
}

#[tokio::test]
async fn secret_is_replaced_without_a_gap() {
    let receiver = Receiver::start(SECRET).await;
    let world = World::new(&["audit"]).await;
    world.declare("Checkout is down").await;
    let carrier = world.carry(vec![webhook("audit", receiver.address, &[SECRET, NEXT_SECRET])]);
    receiver.until(|taken| taken.len() == 1).await;
    receiver.expect_secret(NEXT_SECRET);
    world.note(1, "after").await;
    receiver.until(|taken| taken.len() == 2).await;
    world.settled("audit").await;
    carrier.stopped().await;
    // With the old one alone nothing is taken any more.
    let _carrier = world.carry(vec![webhook("audit", receiver.address, &[SECRET])]);
    world.note(1, "too old").await;
    let refused = async {
        while world.log.claim_lanes(&sink("audit"), 1, Duration::ZERO).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refused).await.unwrap();
    assert_eq!(receiver.taken().len(), 2);
}

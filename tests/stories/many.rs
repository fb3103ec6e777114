//! Many incidents at once while every tenth request to a vendor goes wrong: each incident ends where it must, no effect
//! happens twice, and what is missing is on record.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::world::World;

const POLICY: &str = "manual_signals = \"accept\"\nmanual_starts = \"accept\"\nstep_patience = \"120s\"\n";
/// What orders the faults: the same every time.
const SEED: u64 = 20_260_301;
/// Requests that an incident needs at each vendor, roughly; faults are spread over so many.
const REQUESTS: [(&str, usize); 3] = [("slack", 12), ("pagerduty", 4), ("statuspage", 4)];

/// So many times the vendors' own pace: the run would take an hour at theirs.
const LIMIT_SPEED: u32 = 30;
/// More than Slack takes for one channel at once.
const UPDATES: usize = 14;

/// Incidents at once: more than anybody has, and few enough for a small machine.
const IN_FLIGHT: usize = 12;

fn incidents() -> usize {
    if std::env::var("HARMONY_TEST_SCALE").is_ok_and(|scale| scale == "full") { 200 } else { 12 }
}

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Every tenth request goes wrong, each in a way of its own. Requests may take 2 s here.
async fn order_faults(world: &World, dice: &mut Dice) -> usize {
    let kinds = [
        json!({ "fault": "status", "status": 500 }),
        json!({ "fault": "status", "status": 503 }),
        json!({ "fault": "drop-before" }),
        json!({ "fault": "drop-after" }),
        json!({ "fault": "delay", "delayMs": 3_000 }),
        json!({ "fault": "delay-work", "delayMs": 3_000 }),
        json!({ "fault": "rate-limit", "retryAfterS": 3 }),
    ];
    let mut ordered = 0;
    for (vendor, each) in REQUESTS {
        for place in 0..incidents() * each {
            if dice.roll(10) != 0 {
                continue;
            }
            let kind = usize::try_from(dice.roll(kinds.len() as u64)).unwrap();
            let mut fault = json!({ "match": {}, "times": 1, "after": place });
            fault.as_object_mut().unwrap().extend(kinds[kind].as_object().unwrap().clone());
            world.fault(vendor, fault).await;
            ordered += 1;
        }
    }
    ordered
}

/// Results of all runs of an incident but its update clock, which runs as long as it does.
fn runs(incident: &Value) -> Vec<Value> {
    let all = incident["blueprints"].as_object().unwrap().iter();
    all.filter(|(name, _)| *name != "updates").map(|(_, run)| run.clone()).collect()
}

/// The steps with their status, over all runs: those of the last attempts.
fn steps(incident: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    runs(incident)
        .iter()
        .flat_map(|run| run["steps"].as_array().unwrap().clone())
        .map(|step| (text(&step["name"]), text(&step["status"])))
        .collect()
}

async fn all_ended(world: &World, id: &str, acts: usize) -> Value {
    world
        .until(&format!("{acts} acts of {id} to end"), async || {
            let incident = world.incident(id).await;
            let ended = runs(&incident).iter().filter(|run| run["status"] != "RUNNING").count();
            (ended == acts + 1).then_some(incident)
        })
        .await
}

/// A policy under which RESOLVED is at once.
fn ungated() -> String {
    format!("{POLICY}close_out_gate = []\n")
}

/// Declares incidents, tells of them and resolves them. Gives their ids.
async fn one_wave(world: &World, first: usize, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in first..first + count {
        let body = json!({ "title": format!("Number {number} is slow"), "severity": "P2" });
        ids.push(world.post("incidents", body).await["incidentId"].as_str().unwrap().to_owned());
    }
    for id in &ids {
        assert_eq!(world.completed(id, "initiate").await["status"], "COMPLETED");
        let update = json!({ "message": "We are at it", "public": true });
        world.post(&format!("incidents/{id}/update"), update).await;
    }
    for id in &ids {
        all_ended(world, id, 1).await;
        let resolve = json!({ "state": "RESOLVED", "resolutionSummary": "Restarted" });
        world.post(&format!("incidents/{id}/status"), resolve).await;
    }
    for id in &ids {
        all_ended(world, id, 2).await;
    }
    ids
}

/// How often each value stands in the list.
fn counted(values: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts
}

/// The vendors' own limits, and an incident that asks more of Slack than they let through at once.
#[tokio::test]
async fn channel_is_told_everything_at_slacks_own_pace() {
    let world = World::start(&ungated()).await;
    world.limit(1).await;
    let (id, _) = world.initiated("Search is slow", "P2").await;
    for number in 1..=UPDATES {
        let update = json!({ "message": format!("Update {number}") });
        world.post(&format!("incidents/{id}/update"), update).await;
    }
    let texts = world
        .until("every update to be in the channel", async || {
            let slack = world.state("slack").await;
            let messages = slack["messages"].as_array().unwrap();
            let updates = messages.iter().map(|one| one["text"].to_string());
            let updates: Vec<String> = updates.filter(|text| text.contains("Update ")).collect();
            (updates.len() >= UPDATES).then_some(updates)
        })
        .await;
    assert_eq!(texts.len(), UPDATES, "each once: {texts:?}");
    let limits = world.limits("slack").await;
    assert!(limits["limited"].as_u64().unwrap() > 0, "the limit was met: {limits}");
    assert_eq!(limits["tooEarly"], 0, "{limits}");
    world.verified().await;
}

#[tokio::test]
async fn many_incidents_with_every_tenth_request_going_wrong() {
    let world = World::start_with(&ungated(), &[("HARMONY_REQUEST_TIMEOUT", "2s")]).await;
    world.limit(LIMIT_SPEED).await;
    let mut dice = Dice(SEED);
    let faults = order_faults(&world, &mut dice).await;
    let mut ids = Vec::new();
    while ids.len() < incidents() {
        let wave = IN_FLIGHT.min(incidents() - ids.len());
        ids.extend(one_wave(&world, ids.len(), wave).await);
    }
    let mut missing = 0;
    let mut warned = 0;
    let mut succeeded: BTreeMap<String, usize> = BTreeMap::new();
    for id in &ids {
        let incident = all_ended(&world, id, 2).await;
        assert_eq!(incident["state"], "RESOLVED", "{incident}");
        warned += incident["blueprints"].to_string().matches("effect duplicated").count();
        for (step, status) in steps(&incident) {
            match status.as_str() {
                "SUCCEEDED" => *succeeded.entry(step).or_default() += 1,
                // On record with its reason, which is what a missing effect must be.
                "FAILED" | "SKIPPED" => missing += 1,
                other => panic!("{step} of {id} is {other}"),
            }
        }
    }
    let twins = check_vendors(&world, &succeeded).await;
    assert_eq!(twins, warned, "twins at the vendors and warnings on record");
    for (vendor, _) in REQUESTS {
        let limits = world.limits(vendor).await;
        assert_eq!(limits["tooEarly"], 0, "{vendor} was hammered: {limits}");
    }
    world.verified().await;
    eprintln!(
        "{} incidents, {faults} faults ordered: all RESOLVED, {missing} steps missing and on record, {twins} twins and \
         as many warnings",
        incidents()
    );
}

/// What the vendors hold is what the records say. Gives the number of twins.
async fn check_vendors(world: &World, succeeded: &BTreeMap<String, usize>) -> usize {
    let done = |step: &str| succeeded.get(step).copied().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let slack = world.state("slack").await;
    let channels = slack["channels"].as_array().unwrap();
    let purposes = counted(channels.iter().map(|one| text(&one["purpose"])));
    // A step that was given up may have made its channel all the same.
    assert!(purposes.len() >= done("channel"), "{} channels, {} steps", purposes.len(), done("channel"));
    assert!(purposes.values().all(|count| *count == 1), "a channel stands twice: {purposes:?}");
    let messages = slack["messages"].as_array().unwrap();
    let keys = counted(messages.iter().map(|one| text(&one["metadata"]["event_payload"]["key"])));
    let posts = done("first-update") + done("channel-update") + done("resolution");
    assert!(keys.len() >= posts, "{} messages, {posts} steps", keys.len());

    let pagerduty = world.state("pagerduty").await;
    let pages =
        counted(pagerduty["incidents"].as_array().unwrap().iter().map(|one| text(&one["incident_key"])));
    assert!(pages.len() >= done("paging"), "{} pages, {} steps", pages.len(), done("paging"));
    assert!(pages.values().all(|count| *count == 1), "a page stands twice");
    let resolved =
        pagerduty["incidents"].as_array().unwrap().iter().filter(|one| one["status"] == "resolved");
    assert!(resolved.count() >= done("paging-resolve"));

    let statuspage = world.state("statuspage").await;
    let public = statuspage["incidents"].as_array().unwrap();
    let public_keys = counted(public.iter().map(|one| text(&one["metadata"]["harmony"]["idempotency_key"])));
    assert!(public_keys.len() >= done("public-page"));
    let said = |word: &str| {
        let of = |one: &Value| {
            let updates = one["incident_updates"].as_array().unwrap();
            updates.iter().filter(|update| update["body"] == word).count()
        };
        public.iter().map(of).collect::<Vec<_>>()
    };
    let (updates, ends) = (said("We are at it"), said("This incident is resolved."));
    assert!(updates.iter().filter(|count| **count > 0).count() >= done("public-update"));
    assert!(ends.iter().filter(|count| **count > 0).count() >= done("public-resolve"));
    let more =
        |counts: &mut dyn Iterator<Item = usize>| counts.map(|count| count.saturating_sub(1)).sum::<usize>();
    more(&mut keys.values().copied())
        + more(&mut public_keys.values().copied())
        + more(&mut updates.into_iter())
        + more(&mut ends.into_iter())
}

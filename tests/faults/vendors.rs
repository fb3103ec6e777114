//! What the vendors hold, and the faults that they are told to have.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{dice::Dice, world::World};

/// One of so many requests goes wrong.
const EVERY: u64 = 12;
/// Requests that an incident makes at each vendor, roughly; faults are spread over so many.
const REQUESTS: [(&str, usize); 4] = [("slack", 25), ("pagerduty", 10), ("statuspage", 6), ("confluence", 6)];

/// Orders faults for so many incidents, each of a way of its own. Requests may take 2 s in this run.
pub(crate) async fn order_faults(world: &World, dice: &mut Dice, incidents: usize) -> usize {
    let kinds = [
        json!({ "fault": "status", "status": 500 }),
        json!({ "fault": "status", "status": 503 }),
        json!({ "fault": "drop-before" }),
        json!({ "fault": "drop-after" }),
        json!({ "fault": "delay", "delayMs": 3_000 }),
        json!({ "fault": "delay-work", "delayMs": 3_000 }),
        json!({ "fault": "rate-limit", "retryAfterS": 2 }),
    ];
    let mut ordered = 0;
    for (vendor, each) in REQUESTS {
        for place in 0..incidents * each {
            if dice.roll(EVERY) != 0 {
                continue;
            }
            let mut fault = json!({ "match": {}, "times": 1, "after": place });
            fault.as_object_mut().unwrap().extend(dice.one(&kinds).as_object().unwrap().clone());
            world.fault(vendor, fault).await;
            ordered += 1;
        }
    }
    ordered
}

/// Everything that stands at the vendors.
pub(crate) struct Vendors {
    slack: Value,
    pagerduty: Value,
    statuspage: Value,
    confluence: Value,
}

impl Vendors {
    pub(crate) async fn look(world: &World) -> Self {
        Self {
            slack: world.state("slack").await,
            pagerduty: world.state("pagerduty").await,
            statuspage: world.state("statuspage").await,
            confluence: world.state("confluence").await,
        }
    }

    /// What stands there twice although its vendor has a key that forbids it, in words.
    pub(crate) fn forbidden_twins(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (what, counts) in [
            ("channel", counted(&self.slack["channels"], |one| &one["purpose"])),
            ("page", counted(&self.pagerduty["incidents"], |one| &one["incident_key"])),
            ("review", counted(&self.confluence["pages"], |one| &one["title"])),
        ] {
            let twins = counts.into_iter().filter(|(_, count)| *count > 1);
            found.extend(twins.map(|(key, count)| format!("{what} {key} stands {count} times")));
        }
        found
    }

    /// How many stand there beyond the first of their key, where the vendor has no key of its own.
    pub(crate) fn twins(&self) -> usize {
        let messages = counted(&self.slack["messages"], |one| &one["metadata"]["event_payload"]["key"]);
        let public =
            counted(&self.statuspage["incidents"], |one| &one["metadata"]["harmony"]["idempotency_key"]);
        let more = |counts: &BTreeMap<String, usize>| counts.values().map(|count| count - 1).sum::<usize>();
        let updates = self.statuspage["incidents"].as_array().unwrap().iter().map(|one| {
            let bodies = counted(&one["incident_updates"], |update| &update["body"]);
            more(&bodies)
        });
        more(&messages) + more(&public) + updates.sum::<usize>()
    }

    /// The ids under which vendors know what stands with them.
    pub(crate) fn ids(&self) -> BTreeSet<String> {
        let of = |list: &Value, name: &str| -> Vec<String> {
            let all = list.as_array().unwrap().iter();
            all.filter_map(|one| one[name].as_str().map(str::to_owned)).collect()
        };
        let mut ids = BTreeSet::new();
        ids.extend(of(&self.slack["channels"], "id"));
        ids.extend(of(&self.slack["messages"], "ts"));
        ids.extend(of(&self.pagerduty["incidents"], "id"));
        ids.extend(of(&self.statuspage["incidents"], "id"));
        ids.extend(of(&self.confluence["pages"], "id"));
        ids
    }

    /// How many there are of each kind.
    pub(crate) fn count(&self) -> String {
        let of = |list: &Value| list.as_array().unwrap().len();
        format!(
            "{} channels, {} messages, {} pages, {} public incidents, {} reviews",
            of(&self.slack["channels"]),
            of(&self.slack["messages"]),
            of(&self.pagerduty["incidents"]),
            of(&self.statuspage["incidents"]),
            of(&self.confluence["pages"]),
        )
    }
}

/// How often each key stands in the list; what has none is not ours.
fn counted<'a>(list: &'a Value, key: impl Fn(&'a Value) -> &'a Value) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for key in list.as_array().unwrap().iter().filter_map(|one| key(one).as_str()) {
        *counts.entry(key.to_owned()).or_default() += 1;
    }
    counts
}

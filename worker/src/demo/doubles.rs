//! Asks the sandbox whether anything happened twice: each effect carries a key, and no key may be there more than once.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use harmony_sandbox::Origins;
use serde_json::Value;

use crate::failure::Failure;

/// Counts what there is; fails where something is there twice.
pub(super) async fn check(origins: &Origins) -> anyhow::Result<String> {
    let http = harmony_capabilities::address::builder(&origins.slack)
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build()?;
    let state = async |origin: &str| -> anyhow::Result<Value> {
        let answer = http.get(format!("{origin}/_sandbox/state")).send().await;
        answer.context("the sandbox does not answer")?.json().await.context("the sandbox's state is no JSON")
    };
    let (slack, pagerduty) = (state(&origins.slack).await?, state(&origins.pagerduty).await?);
    let (statuspage, confluence) = (state(&origins.statuspage).await?, state(&origins.confluence).await?);
    let counted = [
        ("channels", keys(&slack["channels"], |one| text(&one["name"]))),
        ("messages", keys(&slack["messages"], |one| text(&one["metadata"]["event_payload"]["key"]))),
        ("PagerDuty incidents", keys(&pagerduty["incidents"], |one| text(&one["incident_key"]))),
        (
            "status page incidents",
            keys(&statuspage["incidents"], |one| text(&one["metadata"]["harmony"]["idempotency_key"])),
        ),
        ("review pages", keys(&confluence["pages"], |one| text(&one["title"]))),
    ];
    for (what, keys) in &counted {
        if let Some((key, count)) = twice(keys) {
            let what = format!("{count} {what} carry the key {key:?}: an effect happened twice");
            return Err(
                Failure::failed(what, "this must not be: please report it with the data directory").into()
            );
        }
        if keys.is_empty() {
            let what = format!("there are no {what} in the sandbox");
            return Err(Failure::failed(what, "see the worker's log in the data directory").into());
        }
    }
    Ok(counted.iter().map(|(what, keys)| format!("{what} {}", keys.len())).collect::<Vec<_>>().join(", "))
}

/// The key of each item; an item without one has an empty key.
fn keys(items: &Value, key: impl Fn(&Value) -> String) -> Vec<String> {
    items.as_array().map_or(&[][..], Vec::as_slice).iter().map(key).collect()
}

/// A key that is there more than once. What carries no key, such as an ephemeral answer, is not counted.
fn twice(keys: &[String]) -> Option<(&str, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for key in keys.iter().filter(|key| !key.is_empty()) {
        *counts.entry(key).or_default() += 1;
    }
    counts.into_iter().find(|(_, count)| *count > 1)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_repeated_key_is_a_double() {
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        assert_eq!(twice(&keys(&["a", "b", "", ""])), None);
        assert_eq!(twice(&keys(&["a", "b", "a"])), Some(("a", 2)));
    }
}

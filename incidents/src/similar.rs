//! Which incidents are like one another: by service, tags, correlation keys and the words of title and summary. Deterministic,
//! and no model: what two have in common is shown with its weight, so that people can judge it themselves.
//!
//! A word weighs the more the fewer incidents have it (the logarithm of how rare it is among those that are compared), so that
//! "checkout" says more than "error". Nothing is learned or kept.

use std::collections::{BTreeMap, BTreeSet};

use harmony_protos::log::{IncidentState, Text};

/// Shortest word that counts.
const SHORTEST: usize = 3;
/// What the same service weighs, compared with a word that a tenth of the incidents have.
const SERVICE: f64 = 4.0;
const TAG: f64 = 2.0;
const KEY: f64 = 6.0;
/// What is less alike than this is not shown: one common word that is not rare.
const LEAST: f64 = 2.0;
/// Words that say nothing about what went wrong.
const COMMON: [&str; 24] = [
    "and", "are", "but", "can", "does", "for", "from", "has", "have", "incident", "into", "not", "our",
    "some", "that", "the", "then", "there", "this", "was", "were", "when", "with", "you",
];

/// An incident that is like another.
#[derive(Debug, Clone, PartialEq)]
pub struct Similar<'a> {
    /// The other one.
    pub state: &'a IncidentState,
    /// How much they are alike: the sum of the weights.
    pub score: f64,
    /// What they have in common, the heaviest first: `service checkout`, `word timeout`.
    pub shared: Vec<(String, f64)>,
}

/// The others that are most like this one, the most alike first, at most so many.
pub fn similar<'a>(this: &IncidentState, others: &'a [IncidentState], most: usize) -> Vec<Similar<'a>> {
    let others: Vec<&IncidentState> = others.iter().filter(|one| one.incident != this.incident).collect();
    let total = others.len() as f64;
    let mut with: BTreeMap<String, usize> = BTreeMap::new();
    let features: Vec<BTreeSet<String>> = others.iter().map(|one| features_of(one)).collect();
    for feature in features.iter().flatten() {
        *with.entry(feature.clone()).or_default() += 1;
    }
    let ours = features_of(this);
    let weight = |feature: &str| {
        let count = with.get(feature).copied().unwrap_or_default().max(1);
        let rare = (1.0 + total / count as f64).ln();
        match feature.split_once(' ').map(|(kind, _)| kind) {
            Some("service") => SERVICE,
            Some("tag") => TAG,
            Some("key") => KEY,
            _ => rare,
        }
    };
    let mut found: Vec<Similar<'a>> = others
        .into_iter()
        .zip(&features)
        .map(|(state, theirs)| {
            let mut shared: Vec<(String, f64)> =
                ours.intersection(theirs).map(|feature| (feature.clone(), weight(feature))).collect();
            shared.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            Similar { state, score: shared.iter().map(|(_, weight)| weight).sum(), shared }
        })
        .filter(|one| one.score >= LEAST)
        .collect();
    // Of equals the later one, whose ways are fresher.
    found.sort_by(|a, b| {
        b.score.total_cmp(&a.score).then_with(|| b.state.created_at_us.cmp(&a.state.created_at_us))
    });
    found.truncate(most);
    found
}

fn features_of(state: &IncidentState) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let named = |kind: &str, name: &str| format!("{kind} {}", name.trim().to_lowercase());
    let services = std::iter::once(&state.service_name).chain(&state.impacted_services);
    found.extend(services.filter(|name| !name.trim().is_empty()).map(|name| named("service", name)));
    found.extend(state.tags.iter().map(|tag| named("tag", tag)));
    found.extend(state.correlation_keys.iter().map(|key| named("key", key)));
    for text in [&state.title, &state.summary].into_iter().flatten() {
        found.extend(words(text).map(|word| named("word", &word)));
    }
    found
}

/// The words of a text, in small letters; what was taken out says nothing.
fn words(text: &Text) -> impl Iterator<Item = String> {
    let text = if text.redacted { String::new() } else { text.text.to_lowercase() };
    let words: Vec<String> = text
        .split(|one: char| !one.is_alphanumeric())
        .filter(|word| word.chars().count() >= SHORTEST && !COMMON.contains(word))
        .filter(|word| !word.chars().all(|one| one.is_ascii_digit()))
        .map(str::to_owned)
        .collect();
    words.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(number: u64, title: &str, service: &str) -> IncidentState {
        IncidentState {
            incident: format!("INC-2026-{number:04}"),
            title: Some(Text::plain(title)),
            service_name: service.to_owned(),
            created_at_us: i64::try_from(number).unwrap(),
            ..IncidentState::default()
        }
    }

    #[test]
    fn rare_words_and_the_same_service_make_incidents_alike() {
        let others = [
            incident(1, "Checkout is down", "checkout"),
            incident(2, "Disk full on db-3", "database"),
            incident(3, "Connection pool of checkout is exhausted", "checkout"),
            incident(4, "Search is slow", "search"),
            incident(5, "Mail is slow", "mail"),
        ];
        let this = incident(9, "Connection pool exhausted again", "checkout");
        let found = similar(&this, &others, 3);
        let ids: Vec<&str> = found.iter().map(|one| one.state.incident.as_str()).collect();
        assert_eq!(ids, ["INC-2026-0003", "INC-2026-0001"], "{found:?}");
        let shared: Vec<&str> = found[0].shared.iter().map(|(what, _)| what.as_str()).collect();
        assert_eq!(shared, ["service checkout", "word connection", "word exhausted", "word pool"]);
        assert_eq!(similar(&this, &others, 3), found, "the same every time");
    }

    #[test]
    fn what_says_nothing_or_was_taken_out_is_nothing_in_common() {
        let mut gone = incident(1, "", "");
        gone.title = Some(Text { redacted: true, text: "secret words".to_owned(), ..Text::default() });
        let others = [incident(2, "The 404 and 500 of this", ""), gone];
        assert_eq!(similar(&incident(9, "the 404 and this secret", ""), &others, 3), []);
    }
}

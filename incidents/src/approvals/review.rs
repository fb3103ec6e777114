//! What a review needs before it may be proposed for publishing.

use harmony_protos::log::IncidentState;

use crate::judge::Rules;

/// The sections of a review that people write.
pub const REVIEW_SECTIONS: [&str; 8] = [
    "summary",
    "impact",
    "detection",
    "response",
    "contributing-factors",
    "went-well",
    "went-badly",
    "lessons",
];

/// What a P1 or P2 review cannot be proposed without, besides one action item.
pub const REQUIRED_SECTIONS: [&str; 3] = ["summary", "impact", "contributing-factors"];

/// What is missing before a review may be proposed for publishing.
pub fn missing_for_review(state: &IncidentState, rules: Rules<'_>) -> Vec<String> {
    if !rules.policy.needs_review(state.severity()) {
        return Vec::new();
    }
    let mut missing: Vec<String> = REQUIRED_SECTIONS
        .into_iter()
        .filter(|section| !state.sections.iter().any(|one| one.section == *section))
        .map(|section| format!("section {section}"))
        .collect();
    if state.action_items.is_empty() {
        missing.push("one action item".to_owned());
    }
    missing
}

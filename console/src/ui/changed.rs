//! What a person sees whose form came too late: what changed since its page was loaded, and what they had filled in,
//! ready to be sent all the same.

use askama::Template;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    form::{OWN, Submission},
    visit::Frame,
    words,
};

/// Fields that people write in.
const WRITTEN: [&str; 5] = ["env", "message", "reason", "resolutionSummary", "text"];

#[derive(Template)]
#[template(path = "changed.html")]
pub(crate) struct ChangedPage {
    frame: Frame,
    /// Where the form goes to.
    address: String,
    back: String,
    detail: String,
    changes: Vec<Change>,
    /// The last record there is now.
    seq: String,
    key: String,
    to: String,
    written: Vec<Field>,
    chosen: Vec<Field>,
}

/// A record that came meanwhile.
struct Change {
    seq: String,
    moment: String,
    text: String,
    actor: String,
}

struct Field {
    name: String,
    label: String,
    value: String,
}

impl ChangedPage {
    /// From the form and the problem document that it was answered with.
    pub(super) fn of(form: &Submission, problem: &Value, back: &str) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let change = |one: &Value| Change {
            seq: one["seq"].to_string(),
            moment: one["at"]
                .as_str()
                .and_then(|at| at.parse::<Timestamp>().ok())
                .map_or_else(String::new, words::moment),
            text: text(&one["text"]),
            actor: text(&one["actor"]),
        };
        let fields = form.fields.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
        let fields = fields.map(|(name, value)| Field {
            name: name.clone(),
            label: label(name),
            value: value.clone(),
        });
        let (written, chosen) = fields.partition(|field| WRITTEN.contains(&field.name.as_str()));
        Self {
            frame: form.frame.clone(),
            address: form.address.clone(),
            back: back.to_owned(),
            detail: text(&problem["title"]),
            changes: problem["changes"].as_array().into_iter().flatten().map(change).collect(),
            seq: problem["actualSeq"].to_string(),
            key: form.field("key").to_owned(),
            to: form.field("to").to_owned(),
            written,
            chosen,
        }
    }
}

/// `resolutionSummary` as `Resolution summary`.
fn label(name: &str) -> String {
    let mut label = String::new();
    for letter in name.chars() {
        if label.is_empty() {
            label.extend(letter.to_uppercase());
        } else if letter.is_uppercase() {
            label.push(' ');
            label.extend(letter.to_lowercase());
        } else {
            label.push(letter);
        }
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_fields_become_words() {
        assert_eq!(label("resolutionSummary"), "Resolution summary");
        assert_eq!(label("env"), "Env");
    }
}

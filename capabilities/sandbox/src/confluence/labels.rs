//! Labels of a page: read by v2, written by v1.

use serde_json::{Value, json};

use crate::call::Call;

use super::answer::{Outcome, Refusal, listed};
use super::memory::{ConfluenceMemory, Label};

/// One label or a list. Those the page has stay as they are; names become lower case.
pub(super) fn add(memory: &mut ConfluenceMemory, page: &str, body: &Value) -> Outcome {
    memory.page(page)?;
    let wanted: Vec<&Value> = match body.as_array() {
        Some(list) => list.iter().collect(),
        None => vec![body],
    };
    let mut labels = Vec::new();
    for draft in wanted {
        let name = draft["name"].as_str().unwrap_or_default().to_lowercase();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(Refusal::invalid("A label is a name without spaces"));
        }
        let prefix = draft["prefix"].as_str().unwrap_or("global").to_owned();
        let known = memory.labels.get(&name).cloned();
        let id = known.unwrap_or_else(|| memory.next_id());
        memory.labels.insert(name.clone(), id.clone());
        labels.push(Label { id, prefix, name });
    }
    let page = memory.page_mut(page)?;
    for label in labels {
        if !page.labels.contains(&label) {
            page.labels.push(label);
        }
    }
    let shown: Vec<Value> = page
        .labels
        .iter()
        .map(|label| {
            let mut shown = view(label);
            shown["label"] = json!(label.name);
            shown
        })
        .collect();
    Ok(json!({"results": shown, "start": 0, "limit": 200, "size": shown.len(), "_links": {}}))
}

pub(super) fn list(memory: &ConfluenceMemory, base: &str, page: &str, call: &Call) -> Outcome {
    let prefix = call.query_value("prefix");
    let labels = memory.page(page)?.labels.iter();
    let found = labels.filter(|label| prefix.is_none_or(|prefix| label.prefix == prefix)).map(view).collect();
    listed(found, base, call)
}

pub(super) fn view(label: &Label) -> Value {
    json!({"id": label.id, "name": label.name, "prefix": label.prefix})
}

//! Properties of a page: one value a key, with versions of their own.

use serde_json::{Value, json};

use crate::call::Call;
use crate::clock;

use super::answer::{Outcome, Refusal, listed};
use super::memory::ConfluenceMemory;

pub(super) fn create(memory: &mut ConfluenceMemory, page: &str, draft: &Value) -> Outcome {
    let id = memory.next_id();
    let page = memory.page_mut(page)?;
    if page.properties.iter().any(|known| known["key"] == draft["key"]) {
        return Err(Refusal::conflict("A property with this key already exists"));
    }
    let property = json!({
        "id": id,
        "key": draft["key"],
        "value": draft["value"],
        "version": version(1, ""),
    });
    page.properties.push(property.clone());
    Ok(property)
}

pub(super) fn list(memory: &ConfluenceMemory, base: &str, page: &str, call: &Call) -> Outcome {
    let key = call.query_value("key");
    let properties = memory.page(page)?.properties.iter();
    let found = properties.filter(|property| key.is_none_or(|key| property["key"] == key)).cloned().collect();
    listed(found, base, call)
}

pub(super) fn get(memory: &ConfluenceMemory, page: &str, id: &str) -> Outcome {
    let mut properties = memory.page(page)?.properties.iter();
    properties.find(|property| property["id"] == id).cloned().ok_or_else(Refusal::not_found)
}

/// The version must be the next one.
pub(super) fn update(memory: &mut ConfluenceMemory, page: &str, id: &str, change: &Value) -> Outcome {
    let mut properties = memory.page_mut(page)?.properties.iter_mut();
    let property = properties.find(|property| property["id"] == id).ok_or_else(Refusal::not_found)?;
    if property["key"] != change["key"] {
        return Err(Refusal::invalid("The key of a property cannot be changed"));
    }
    let next = change["version"]["number"].as_u64().unwrap_or_default();
    let known = property["version"]["number"].as_u64().unwrap_or_default();
    if next != known + 1 {
        return Err(Refusal::conflict("Version must be incremented when updating a property"));
    }
    let message = change["version"]["message"].as_str().unwrap_or_default();
    property["value"] = change["value"].clone();
    property["version"] = version(next, message);
    Ok(property.clone())
}

fn version(number: u64, message: &str) -> Value {
    json!({
        "number": number,
        "message": message,
        "minorEdit": false,
        "createdAt": clock::now_millis(),
    })
}

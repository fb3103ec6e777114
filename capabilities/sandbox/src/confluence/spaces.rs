//! Spaces: whatever key is asked for exists.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::call::Call;

use super::answer::{Outcome, Refusal};
use super::memory::ConfluenceMemory;

/// The spaces with the keys asked for; without keys, those that were asked for before.
pub(super) fn list(memory: &mut ConfluenceMemory, base: &str, call: &Call) -> Value {
    for key in call.query_values("keys") {
        if is_key(key) {
            memory.spaces.insert(id_of(key), key.to_owned());
        }
    }
    let keys = call.query_values("keys");
    let ids = call.query_values("ids");
    let asked = |(id, key): &(&String, &String)| {
        (keys.is_empty() || keys.contains(&key.as_str())) && (ids.is_empty() || ids.contains(&id.as_str()))
    };
    let found: Vec<Value> = memory.spaces.iter().filter(asked).map(|(id, key)| view(id, key, None)).collect();
    json!({"results": found, "_links": {"base": base}})
}

pub(super) fn get(memory: &ConfluenceMemory, base: &str, id: &str) -> Outcome {
    let key = memory.spaces.get(id).ok_or_else(Refusal::not_found)?;
    Ok(view(id, key, Some(base)))
}

fn view(id: &str, key: &str, base: Option<&str>) -> Value {
    let mut links = json!({"webui": format!("/spaces/{key}")});
    if let Some(base) = base {
        links["base"] = json!(base);
    }
    json!({
        "id": id,
        "key": key,
        "name": key,
        "type": "global",
        "status": "current",
        "homepageId": null,
        "_links": links,
    })
}

fn is_key(text: &str) -> bool {
    text.len() <= 255
        && text.chars().all(|character| character.is_ascii_alphanumeric() || "~_-.".contains(character))
}

/// A number that follows from the key, so that it survives a restart.
fn id_of(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    let number = digest.iter().take(4).fold(0_u64, |number, byte| number * 256 + u64::from(*byte));
    (number + 1).to_string()
}

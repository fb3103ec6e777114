//! The public post-mortem of an incident: a draft, then its publication.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::clock;

use super::answer::{Outcome, Refusal};
use super::incidents::StatuspageMemory;

pub(super) fn get(memory: &mut StatuspageMemory, page: &str, id: &str) -> Outcome {
    memory.incident_mut(page, id)?;
    let found = memory.post_mortems.get(id);
    let found = found.ok_or_else(Refusal::not_found)?;
    Ok((StatusCode::OK, found.clone()))
}

pub(super) fn put(memory: &mut StatuspageMemory, page: &str, id: &str, draft: &Value) -> Outcome {
    memory.incident_mut(page, id)?;
    let now = clock::now_millis();
    let post_mortem = memory.post_mortems.entry(id.to_owned()).or_insert_with(|| {
        json!({
            "preview_key": id,
            "body": null,
            "body_updated_at": null,
            "published_at": null,
            "notify_subscribers": false,
            "notify_twitter": false,
            "custom_tweet": null,
            "created_at": now,
        })
    });
    post_mortem["body_draft"] = draft["body_draft"].clone();
    post_mortem["body_draft_updated_at"] = json!(now);
    post_mortem["updated_at"] = json!(now);
    Ok((StatusCode::OK, post_mortem.clone()))
}

pub(super) fn publish(memory: &mut StatuspageMemory, page: &str, id: &str, options: &Value) -> Outcome {
    memory.incident_mut(page, id)?;
    let now = clock::now_millis();
    let post_mortem = memory.post_mortems.get_mut(id).ok_or_else(Refusal::not_found)?;
    post_mortem["body"] = post_mortem["body_draft"].clone();
    post_mortem["body_updated_at"] = json!(now);
    post_mortem["published_at"] = json!(now);
    post_mortem["updated_at"] = json!(now);
    for name in ["notify_subscribers", "notify_twitter", "custom_tweet"] {
        if !options[name].is_null() {
            post_mortem[name] = options[name].clone();
        }
    }
    let published = post_mortem.clone();
    let incident = memory.incident_mut(page, id)?;
    incident["postmortem_body"] = published["body"].clone();
    incident["postmortem_body_last_updated_at"] = json!(now);
    incident["postmortem_published_at"] = json!(now);
    Ok((StatusCode::OK, published))
}

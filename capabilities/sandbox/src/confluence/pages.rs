//! Pages: created, found by title, read and written with rising versions.

use serde_json::{Value, json};

use crate::call::Call;
use crate::clock;

use super::answer::{Outcome, Refusal, listed};
use super::memory::{ConfluenceMemory, Page};

const AUTHOR: &str = "account-harmony";

pub(super) fn create(memory: &mut ConfluenceMemory, base: &str, draft: &Value) -> Outcome {
    let space_id = text(draft, "spaceId");
    let title = text(draft, "title");
    let status = draft["status"].as_str().unwrap_or("current");
    if status == "current" && title_is_taken(memory, space_id, title, "") {
        return Err(Refusal::duplicate_title());
    }
    let parent_id = draft["parentId"].as_str().map(str::to_owned);
    if let Some(parent) = &parent_id {
        memory.page(parent)?;
    }
    let (representation, body) = body_of(&draft["body"])?;
    let now = clock::now_millis();
    let page = Page {
        id: memory.next_id(),
        status: status.to_owned(),
        title: title.to_owned(),
        space_id: space_id.to_owned(),
        parent_id,
        representation,
        body,
        version: version(1, "", &now),
        created_at: now,
        labels: Vec::new(),
        properties: Vec::new(),
    };
    memory.pages.push(page.clone());
    Ok(view(memory, base, &page, true))
}

/// Those with a status asked for, by default current and archived ones.
pub(super) fn list(memory: &ConfluenceMemory, base: &str, call: &Call) -> Outcome {
    let ids = call.query_values("id");
    let spaces = call.query_values("space-id");
    let statuses = match call.query_values("status") {
        given if given.is_empty() => vec!["current", "archived"],
        given => given,
    };
    let title = call.query_value("title");
    let asked = |page: &&Page| {
        (ids.is_empty() || ids.contains(&page.id.as_str()))
            && (spaces.is_empty() || spaces.contains(&page.space_id.as_str()))
            && statuses.contains(&page.status.as_str())
            && title.is_none_or(|title| page.title == title)
    };
    let with_body = call.query_value("body-format").is_some();
    let bulk = |page: &Page| {
        let mut bulk = view(memory, base, page, with_body);
        if let Some(links) = bulk["_links"].as_object_mut() {
            links.remove("base");
        }
        bulk
    };
    let found = memory.pages.iter().filter(asked).map(bulk).collect();
    listed(found, base, call)
}

pub(super) fn get(memory: &ConfluenceMemory, base: &str, id: &str, call: &Call) -> Outcome {
    let page = memory.page(id)?;
    let mut shown = view(memory, base, page, false);
    if let Some(format) = call.query_value("body-format") {
        shown["body"] = match format {
            "storage" | "atlas_doc_format" => body_view(page),
            rendered => json!({rendered: {"representation": rendered, "value": page.body}}),
        };
    }
    let wants = |name: &str| call.query_value(name) == Some("true");
    if wants("include-labels") {
        let labels = page.labels.iter().map(super::labels::view);
        shown["labels"] = json!({"results": labels.collect::<Vec<_>>(), "meta": {"hasMore": false}});
    }
    if wants("include-properties") {
        shown["properties"] = json!({"results": page.properties, "meta": {"hasMore": false}});
    }
    Ok(shown)
}

/// The version must be the next one; a draft that stays a draft keeps version 1.
pub(super) fn update(memory: &mut ConfluenceMemory, base: &str, id: &str, change: &Value) -> Outcome {
    let page = memory.page(id)?.clone();
    if text(change, "id") != id {
        return Err(Refusal::invalid("The id in the body is not the page's"));
    }
    let title = text(change, "title");
    let status = text(change, "status");
    let next = change["version"]["number"].as_u64().unwrap_or_default();
    let known = page.version["number"].as_u64().unwrap_or_default();
    let expected = if page.status == "draft" { 1 } else { known + 1 };
    if next != expected {
        return Err(Refusal::conflict("Version must be incremented when updating a page"));
    }
    if status == "current" && title_is_taken(memory, &page.space_id, title, id) {
        return Err(Refusal::duplicate_title());
    }
    if let Some(space) = change["spaceId"].as_str()
        && space != page.space_id
    {
        return Err(Refusal::invalid("A page cannot be moved to another space"));
    }
    if let Some(parent) = change["parentId"].as_str() {
        memory.page(parent)?;
    }
    let (representation, body) = body_of(&change["body"])?;
    let now = clock::now_millis();
    let stored = memory.page_mut(id)?;
    stored.title = title.to_owned();
    stored.status = status.to_owned();
    stored.representation = representation;
    stored.body = body;
    stored.version = version(next, text(&change["version"], "message"), &now);
    if let Some(parent) = change["parentId"].as_str() {
        stored.parent_id = Some(parent.to_owned());
    }
    let page = stored.clone();
    Ok(view(memory, base, &page, true))
}

/// Archived pages count too; letter case does not.
fn title_is_taken(memory: &ConfluenceMemory, space: &str, title: &str, except: &str) -> bool {
    memory.pages.iter().any(|page| {
        page.id != except
            && page.space_id == space
            && matches!(page.status.as_str(), "current" | "archived")
            && page.title.to_lowercase() == title.to_lowercase()
    })
}

/// `{representation, value}` or the same one level down, under its representation.
fn body_of(body: &Value) -> Result<(String, String), Refusal> {
    if body.is_null() {
        return Ok(("storage".to_owned(), String::new()));
    }
    let nested = ["storage", "atlas_doc_format", "wiki"].iter().find_map(|name| body.get(*name));
    let body = nested.unwrap_or(body);
    match (body["representation"].as_str(), body["value"].as_str()) {
        (Some(representation), Some(value)) => Ok((representation.to_owned(), value.to_owned())),
        _ => Err(Refusal::invalid("The body needs representation and value")),
    }
}

fn view(memory: &ConfluenceMemory, base: &str, page: &Page, with_body: bool) -> Value {
    let mut view = json!({
        "id": page.id,
        "status": page.status,
        "title": page.title,
        "spaceId": page.space_id,
        "parentId": page.parent_id,
        "parentType": page.parent_id.as_ref().map(|_| "page"),
        "position": 0,
        "authorId": AUTHOR,
        "ownerId": AUTHOR,
        "lastOwnerId": null,
        "createdAt": page.created_at,
        "version": page.version,
        "_links": {
            "webui": memory.web_path(page),
            "editui": format!("/pages/resumedraft.action?draftId={}", page.id),
            "tinyui": format!("/x/{}", page.id),
            "base": base,
        },
    });
    view["body"] = if with_body { body_view(page) } else { json!({}) };
    view
}

/// Wiki markup is converted by the vendor; here it is shown as it came.
fn body_view(page: &Page) -> Value {
    let name = match page.representation.as_str() {
        "atlas_doc_format" => "atlas_doc_format",
        _ => "storage",
    };
    json!({name: {"representation": name, "value": page.body}})
}

fn version(number: u64, message: &str, now: &str) -> Value {
    json!({
        "number": number,
        "message": message,
        "minorEdit": false,
        "authorId": AUTHOR,
        "createdAt": now,
    })
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

//! What the site holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::Refusal;

/// The site.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct ConfluenceMemory {
    pub(super) pages: Vec<Page>,
    /// Keys of the spaces that were asked for, by id.
    pub(super) spaces: BTreeMap<String, String>,
    /// Ids of labels, by name.
    pub(super) labels: BTreeMap<String, String>,
    serial: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Page {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) title: String,
    pub(super) space_id: String,
    pub(super) parent_id: Option<String>,
    pub(super) representation: String,
    pub(super) body: String,
    pub(super) created_at: String,
    pub(super) version: Value,
    pub(super) labels: Vec<Label>,
    /// As the API shows them.
    pub(super) properties: Vec<Value>,
}

#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub(super) struct Label {
    pub(super) id: String,
    pub(super) prefix: String,
    pub(super) name: String,
}

impl ConfluenceMemory {
    pub(super) fn next_id(&mut self) -> String {
        self.serial += 1;
        (1_000_000 + self.serial).to_string()
    }

    pub(super) fn page(&self, id: &str) -> Result<&Page, Refusal> {
        self.pages.iter().find(|page| page.id == id).ok_or_else(Refusal::not_found)
    }

    pub(super) fn page_mut(&mut self, id: &str) -> Result<&mut Page, Refusal> {
        self.pages.iter_mut().find(|page| page.id == id).ok_or_else(Refusal::not_found)
    }

    /// The key of a space, or its id where nobody has named the key.
    pub(super) fn space_key<'m>(&'m self, id: &'m str) -> &'m str {
        self.spaces.get(id).map_or(id, String::as_str)
    }

    pub(super) fn web_path(&self, page: &Page) -> String {
        format!("/spaces/{}/pages/{}", self.space_key(&page.space_id), page.id)
    }

    pub(super) fn to_json(&self, base: &str) -> Value {
        let page = |page: &Page| {
            json!({
                "id": page.id,
                "status": page.status,
                "title": page.title,
                "spaceId": page.space_id,
                "spaceKey": self.space_key(&page.space_id),
                "parentId": page.parent_id,
                "body": page.body,
                "representation": page.representation,
                "version": page.version["number"],
                "labels": page.labels.iter().map(|label| &label.name).collect::<Vec<_>>(),
                "properties": page.properties,
                "url": format!("{base}{}", self.web_path(page)),
            })
        };
        self.pages.iter().map(page).collect()
    }
}

//! The pages as a person sees them. The stored body is shown as the HTML it nearly is; the
//! content security policy of [`overview::document`] lets it neither run nor load anything.

use std::fmt::Write;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::overview::{self, escaped};

use super::memory::{ConfluenceMemory, Page};

pub(super) fn page(memory: &ConfluenceMemory, id: &str) -> Response {
    let Ok(page) = memory.page(id) else {
        return (StatusCode::NOT_FOUND, "there is no such page").into_response();
    };
    overview::document(&page.title, &inside(memory, page))
}

fn inside(memory: &ConfluenceMemory, page: &Page) -> String {
    let labels: String = page
        .labels
        .iter()
        .map(|label| format!("<span class=\"tag\">{}</span>", escaped(&label.name)))
        .collect();
    let body = match page.representation.as_str() {
        "storage" => page.body.clone(),
        _ => format!("<pre>{}</pre>", escaped(&page.body)),
    };
    format!(
        "<p class=\"muted\">Space {}, version {}</p>{labels}<div>{body}</div>",
        escaped(memory.space_key(&page.space_id)),
        page.version["number"]
    )
}

pub(super) fn overview(memory: &ConfluenceMemory) -> String {
    let mut html = String::new();
    if memory.pages.is_empty() {
        html.push_str("<p class=\"muted\">No pages yet.</p>");
    }
    for page in &memory.pages {
        let _ = write!(
            html,
            "<article><a href=\"/wiki{}\">{}</a> <small>{}, version {}</small></article>",
            escaped(&memory.web_path(page)),
            escaped(&page.title),
            escaped(memory.space_key(&page.space_id)),
            page.version["number"]
        );
    }
    html
}

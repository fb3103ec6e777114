//! The API explorer: the OpenAPI document as a page of our own, without any outside asset.

use askama::Template;
use axum::{extract::State, http::HeaderMap};
use serde_json::Value;

use super::{
    Page, Pages, assets, html,
    visit::{self, Frame},
};
use crate::auth::Caller;

#[derive(Template)]
#[template(path = "explorer.html")]
struct ExplorerPage {
    frame: Option<Frame>,
    assets: &'static str,
    version: String,
    groups: Vec<(String, Vec<Operation>)>,
}

/// One operation of the API.
struct Operation {
    id: String,
    method: String,
    path: String,
    summary: String,
    parameters: Vec<(String, String, bool)>,
    /// The body's schema, as JSON.
    body: String,
    answers: Vec<(String, String)>,
}

/// `GET /explorer`: needs no sign-in; what it describes does.
pub(crate) async fn page(State(site): State<Pages>, headers: HeaderMap) -> Page {
    let document = crate::openapi::document();
    let frame = visit::session(&site, &headers, "/explorer").ok().and_then(|session| {
        let orgs = session.principal.roles.keys().next()?.to_string();
        let caller = Caller::signed_in(&site.app, session.principal, &orgs).ok()?;
        Some(visit::frame(&caller, &session.csrf, "explorer", None))
    });
    html(&ExplorerPage {
        frame,
        assets: assets::version(),
        version: text(&document["info"]["version"]),
        groups: groups(document),
    })
}

fn groups(document: &Value) -> Vec<(String, Vec<Operation>)> {
    let mut groups: Vec<(String, Vec<Operation>)> = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let tag = text(&operation["tags"][0]);
            let one = described(document, method, path, operation);
            match groups.iter_mut().find(|(name, _)| *name == tag) {
                Some((_, operations)) => operations.push(one),
                None => groups.push((tag, vec![one])),
            }
        }
    }
    groups
}

fn described(document: &Value, method: &str, path: &str, operation: &Value) -> Operation {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    let answers = operation["responses"].as_object().into_iter().flatten();
    Operation {
        id: text(&operation["operationId"]),
        method: method.to_ascii_uppercase(),
        path: path.to_owned(),
        summary: text(&operation["summary"]),
        parameters: parameters
            .map(|one| (text(&one["name"]), text(&one["description"]), one["required"] == true))
            .collect(),
        body: if body.is_null() {
            String::new()
        } else {
            serde_json::to_string_pretty(resolved(document, body)).unwrap_or_default()
        },
        answers: answers.map(|(status, one)| (status.clone(), text(&one["description"]))).collect(),
    }
}

/// What a reference stands for.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let reference = schema["$ref"].as_str().and_then(|text| text.strip_prefix('#'));
    reference.and_then(|pointer| document.pointer(pointer)).unwrap_or(schema)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

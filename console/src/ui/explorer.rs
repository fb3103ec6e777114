//! The API explorer: the OpenAPI document as a page of our own, without any outside asset.

use askama::Template;
use axum::{extract::State, http::HeaderMap};
use serde_json::Value;

use super::{
    Page, Pages, assets, html,
    session::host,
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
    /// How to ask for it at a shell.
    curl: String,
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
        groups: groups(document, &origin(&site, &headers)),
    })
}

/// Where the API is, as far as this is known: as the settings say, or as this page was asked for.
fn origin(site: &Pages, headers: &HeaderMap) -> String {
    match &site.app.doors.site.console {
        Some(console) => console.as_str().trim_end_matches('/').to_owned(),
        None => format!("http://{}", host(headers)),
    }
}

fn groups(document: &Value, origin: &str) -> Vec<(String, Vec<Operation>)> {
    let mut groups: Vec<(String, Vec<Operation>)> = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let tag = text(&operation["tags"][0]);
            let one = described(document, (method, path), operation, origin);
            match groups.iter_mut().find(|(name, _)| *name == tag) {
                Some((_, operations)) => operations.push(one),
                None => groups.push((tag, vec![one])),
            }
        }
    }
    groups
}

fn described(document: &Value, (method, path): (&str, &str), operation: &Value, origin: &str) -> Operation {
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
        curl: curl(method, &format!("{origin}{path}"), operation),
        answers: answers.map(|(status, one)| (status.clone(), text(&one["description"]))).collect(),
    }
}

/// A request as a shell takes it: what stands in braces, and the body, are for the reader to fill in.
fn curl(method: &str, address: &str, operation: &Value) -> String {
    let mut line = "curl -H \"Authorization: Bearer $HARMONY_TOKEN\"".to_owned();
    if method != "get" {
        line.push_str(&format!(" -X {}", method.to_ascii_uppercase()));
    }
    if !operation["requestBody"].is_null() {
        line.push_str(" -H \"Content-Type: application/json\" --data @body.json");
    }
    // An address holds no quotation mark, and a host that does is nobody's.
    line.push_str(&format!(" '{}'", address.replace('\'', "")));
    line
}

/// What a reference stands for.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let reference = schema["$ref"].as_str().and_then(|text| text.strip_prefix('#'));
    reference.and_then(|pointer| document.pointer(pointer)).unwrap_or(schema)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

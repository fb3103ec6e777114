//! What a gate covers, as people read it: exactly what was digested, nothing summed up.

use serde_json::Value;

use super::{markdown, words};
use crate::{App, Cell};

/// Everything that a digest covers.
#[derive(Default)]
pub(crate) struct Cover {
    pub(crate) runbook: Option<RunbookCover>,
    pub(crate) page: Option<PageCover>,
    /// What is neither: names and values as they are.
    pub(crate) facts: Vec<(String, String)>,
    /// The texts were taken out of the log.
    pub(crate) gone: bool,
}

/// A runbook that would run.
pub(crate) struct RunbookCover {
    pub(crate) path: String,
    pub(crate) sha256: String,
    /// In the order in which they would run.
    pub(crate) cells: Vec<CellCover>,
    pub(crate) facts: Vec<(String, String)>,
    /// The whole file.
    pub(crate) text: String,
}

/// A cell that would run.
pub(crate) struct CellCover {
    pub(crate) name: String,
    pub(crate) purpose: &'static str,
    pub(crate) limits: String,
    /// Its commands.
    pub(crate) source: String,
}

/// A page that would be published.
pub(crate) struct PageCover {
    pub(crate) title: String,
    pub(crate) facts: Vec<(String, String)>,
    /// Rendered; safe.
    pub(crate) html: String,
}

/// Reads what the record of a gate covers.
pub(crate) fn read(app: &App, covers: &Value) -> Cover {
    let Some(object) = covers.as_object() else { return Cover { gone: true, ..Cover::default() } };
    if covers["runbook"].is_object() {
        return Cover { runbook: Some(runbook(app, covers)), ..Cover::default() };
    }
    if covers["markdown"].is_string() {
        return Cover { page: Some(page(covers)), ..Cover::default() };
    }
    let facts = object.iter().map(|(name, value)| (spaced(name), shown(value))).collect();
    Cover { facts, ..Cover::default() }
}

fn runbook(app: &App, covers: &Value) -> RunbookCover {
    let text = shown(&covers["runbook"]["text"]);
    let known = app.doors.runbooks.cells(&text).unwrap_or_default();
    let mut cells = Vec::new();
    for (list, purpose) in [("cells", "remediation"), ("verification", "verification")] {
        for cell in covers[list].as_array().into_iter().flatten() {
            cells.push(cell_cover(cell, purpose, &known));
        }
    }
    let mut facts = vec![];
    if let Some(environment) = covers["env"].as_object() {
        facts.extend(environment.iter().map(|(name, value)| (format!("env {name}"), shown(value))));
    }
    for (name, label) in
        [("secretEnv", "secrets, by name"), ("workdir", "working directory"), ("executor", "executor")]
    {
        let value = shown(&covers[name]);
        if !value.is_empty() {
            facts.push((label.to_owned(), value));
        }
    }
    RunbookCover {
        path: shown(&covers["runbook"]["path"]),
        sha256: shown(&covers["runbook"]["sha256"]),
        cells,
        facts,
        text,
    }
}

fn cell_cover(cell: &Value, purpose: &'static str, known: &[Cell]) -> CellCover {
    let name = shown(&cell["name"]);
    let seconds = cell["timeoutMs"].as_i64().unwrap_or_default() / 1_000;
    let again = if cell["idempotent"] == true { "may run again" } else { "runs at most once" };
    let found = known.iter().find(|one| one.name == name);
    CellCover {
        purpose,
        limits: format!("{} at most, {again}", words::span(seconds)),
        source: found.map(|one| one.source.clone()).unwrap_or_default(),
        name,
    }
}

fn page(covers: &Value) -> PageCover {
    let facts = [("spaceKey", "space"), ("parentId", "parent page"), ("labels", "labels")];
    PageCover {
        title: shown(&covers["title"]),
        facts: facts
            .into_iter()
            .map(|(name, label)| (label.to_owned(), shown(&covers[name])))
            .filter(|(_, value)| !value.is_empty())
            .collect(),
        html: markdown::rendered(covers["markdown"].as_str().unwrap_or_default()),
    }
}

/// A value in words.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let one = |(name, value): (&String, &Value)| format!("{name}: {}", shown(value));
            fields.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// `resolutionType` as `resolution type`.
fn spaced(name: &str) -> String {
    let mut out = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            out.push(' ');
        }
        out.push(character.to_ascii_lowercase());
    }
    out
}

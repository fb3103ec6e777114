//! What a gate covers, as people read it: exactly what was digested, nothing summed up.

use harmony_incidents::{job_policy::CellJob, visible};
use serde::Deserialize as _;
use serde_json::Value;

use super::{markdown, words};
use crate::{App, Cell};

/// Everything that a digest covers.
#[derive(Default)]
pub(crate) struct Cover {
    /// How a release would be deployed; by a runbook where that stands there, too.
    pub(crate) deployment: Option<DeploymentCover>,
    pub(crate) runbook: Option<RunbookCover>,
    pub(crate) page: Option<PageCover>,
    /// What is neither.
    pub(crate) facts: Vec<Fact>,
    /// The texts were taken out of the log.
    pub(crate) gone: bool,
}

/// A name and its value, which cannot pass for another line.
pub(crate) struct Fact {
    pub(crate) name: String,
    /// Quoted where it is text; by length and SHA-256 where it is long.
    pub(crate) value: String,
    /// All of it, where it is long.
    pub(crate) whole: String,
}

impl Fact {
    fn text(name: &str, text: &str) -> Self {
        let whole = if visible::is_short(text) { String::new() } else { visible::visible(text) };
        Self { name: visible::line(name), value: visible::summary(text), whole }
    }

    fn of(name: &str, value: &Value) -> Self {
        match value {
            Value::String(text) => Self::text(name, text),
            Value::Array(items) if !items.iter().any(Value::is_object) => {
                let items: Vec<String> = items.iter().map(|item| visible::quoted(&shown(item))).collect();
                Self { name: visible::line(name), value: items.join(", "), whole: String::new() }
            }
            other => {
                Self { name: visible::line(name), value: visible::line(&shown(other)), whole: String::new() }
            }
        }
    }
}

/// A runbook that would run.
pub(crate) struct RunbookCover {
    pub(crate) path: String,
    pub(crate) sha256: String,
    /// In the order in which they would run.
    pub(crate) cells: Vec<CellCover>,
    /// What decides how they run.
    pub(crate) facts: Vec<Fact>,
    /// The whole file.
    pub(crate) text: String,
}

/// How a release would be deployed.
pub(crate) struct DeploymentCover {
    /// What the adapter would do, in order.
    pub(crate) steps: Vec<String>,
    pub(crate) facts: Vec<Fact>,
    /// What it would be given, as JSON; empty where there is nothing.
    pub(crate) document: String,
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
    pub(crate) facts: Vec<Fact>,
    /// Rendered; safe.
    pub(crate) html: String,
}

/// Reads what the record of a gate covers.
pub(crate) fn read(app: &App, covers: &Value) -> Cover {
    let Some(object) = covers.as_object() else { return Cover { gone: true, ..Cover::default() } };
    if covers["runbook"].is_object() {
        let deployment = covers["deployment"].is_object().then(|| deployment(&covers["deployment"]));
        return Cover { deployment, runbook: Some(runbook(app, covers)), ..Cover::default() };
    }
    if covers["plan"].is_object() && covers["release"].is_object() {
        return Cover { deployment: Some(deployment(covers)), ..Cover::default() };
    }
    if covers["markdown"].is_string() {
        return Cover { page: Some(page(covers)), ..Cover::default() };
    }
    let facts = object.iter().map(|(name, value)| Fact::of(&spaced(name), value)).collect();
    Cover { facts, ..Cover::default() }
}

fn runbook(app: &App, covers: &Value) -> RunbookCover {
    let text = shown(&covers["runbook"]["text"]);
    let known = app.doors.runbooks.contents(&text).unwrap_or_default().cells;
    let mut cells = Vec::new();
    for (list, purpose) in [("cells", "remediation"), ("verification", "verification")] {
        for cell in covers[list].as_array().into_iter().flatten() {
            cells.push(cell_cover(cell, purpose, &known));
        }
    }
    let job = CellJob::deserialize(&covers["job"]).ok();
    let job = job.iter().flat_map(CellJob::facts);
    let mut facts: Vec<Fact> =
        job.map(|(name, value)| Fact::text(&format!("Job's {name}"), &value)).collect();
    if covers["secretEnv"].as_array().is_some_and(|names| !names.is_empty()) {
        facts.push(Fact::of("secrets, by name", &covers["secretEnv"]));
    }
    let inputs: Vec<&Value> = covers["inputs"].as_array().into_iter().flatten().collect();
    for input in &inputs {
        facts.push(Fact::of(&format!("input {}", visible::line(&shown(&input["name"]))), &input["value"]));
    }
    // An input is a variable, too; it is shown once.
    let is_input = |name: &String| inputs.iter().any(|input| input["name"] == *name);
    let environment = covers["env"].as_object();
    for (name, value) in environment.into_iter().flatten().filter(|(name, _)| !is_input(name)) {
        facts.push(Fact::of(&format!("env {name}"), value));
    }
    for (name, label) in [("workdir", "working directory"), ("executor", "executor")] {
        if !shown(&covers[name]).is_empty() {
            facts.push(Fact::of(label, &covers[name]));
        }
    }
    RunbookCover {
        path: visible::line(&shown(&covers["runbook"]["path"])),
        sha256: shown(&covers["runbook"]["sha256"]),
        cells,
        facts,
        text: visible::visible(&text),
    }
}

fn deployment(covers: &Value) -> DeploymentCover {
    let (release, environment) = (&covers["release"], &covers["environment"]);
    let (plan, policies) = (&covers["plan"], &covers["policies"]);
    let named = |place: &Value| match (shown(&place["name"]), shown(&place["id"])) {
        (name, id) if name.is_empty() || name == id => id,
        (name, id) => format!("{name} ({id})"),
    };
    let mut verdict = shown(&policies["outcome"]);
    if !shown(&policies["reason"]).is_empty() {
        verdict = format!("{verdict}: {}", shown(&policies["reason"]));
    }
    if policies["excepted"] == true {
        verdict.push_str(" (the exception for a rollback)");
    }
    let facts = [
        ("release", shown(&release["id"])),
        ("version", shown(&release["version"])),
        ("artifact", shown(&release["sha"])),
        ("in the place of", shown(&release["rollsBack"])),
        ("service", shown(&covers["serviceId"])),
        ("environment", named(environment)),
        ("region", shown(&environment["region"])),
        ("cluster", shown(&environment["cluster"])),
        ("for incident", shown(&covers["incidentId"])),
        ("policies", verdict),
        ("decided by", shown(&policies["by"])),
        ("adapter", shown(&covers["adapter"])),
    ];
    let facts = facts.iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| Fact::text(name, text));
    let document = &plan["document"];
    let is_empty = document.is_null() || document.as_object().is_some_and(serde_json::Map::is_empty);
    let whole = serde_json::to_string_pretty(document).unwrap_or_default();
    DeploymentCover {
        steps: plan["steps"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|step| visible::line(&shown(step)))
            .collect(),
        facts: facts.collect(),
        document: if is_empty { String::new() } else { visible::visible(&whole) },
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
        source: found.map(|one| visible::visible(&one.source)).unwrap_or_default(),
        name: visible::line(&name),
    }
}

fn page(covers: &Value) -> PageCover {
    let facts = [("spaceKey", "space"), ("parentId", "parent page"), ("labels", "labels")];
    let given = |(name, _): &(&str, &str)| !shown(&covers[*name]).is_empty();
    PageCover {
        title: visible::line(&shown(&covers["title"])),
        facts: facts.into_iter().filter(given).map(|(name, label)| Fact::of(label, &covers[name])).collect(),
        html: markdown::rendered(&visible::visible(covers["markdown"].as_str().unwrap_or_default())),
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

//! The front matter of a runbook: YAML between `---` lines at its beginning.
//!
//! ```yaml
//! dryRun: env
//! inputs:
//!   - name: SERVICE
//!     type: service
//!     default: checkout
//!     description: The deployment to roll back
//! ```
//!
//! `executor: kubernetes`, and what belongs to it, stands in `job.rs`.
//!
//! What runme keeps there (`runme`, `tag`, `skipPrompts`) is left alone; `shell`
//! and `cwd` would change how every cell runs, which this executor cannot do, so
//! they refuse every cell.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::inputs::{Input, InputKind, is_reserved};
use super::job::{self, JobSpec};
use super::launch::is_variable_name;
use super::markdown::{DryRun, ParseError};

/// More than fits on a form that somebody fills in at night.
const INPUTS_LIMIT: usize = 50;

/// Keys that mean something, here or to runme.
const KNOWN: [&str; 16] = [
    "category",
    "cwd",
    "deadline",
    "description",
    "dryRun",
    "executor",
    "image",
    "inputs",
    "resources",
    "runme",
    "serviceAccount",
    "shell",
    "skipPrompts",
    "tag",
    "terminalRows",
    "title",
];

/// What a front matter says.
#[derive(Debug, Default)]
pub(super) struct FrontMatter {
    pub(super) inputs: Vec<Input>,
    pub(super) dry_run: DryRun,
    pub(super) job: Option<JobSpec>,
    /// Why no cell can run.
    pub(super) no_cell: Option<ParseError>,
    /// What is accepted and looks like a mistake, with its line.
    pub(super) warnings: Vec<(usize, String)>,
}

/// An input as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    values: Vec<Value>,
    #[serde(default)]
    min: Option<f64>,
    #[serde(default)]
    max: Option<f64>,
    #[serde(default)]
    pattern: Option<String>,
    #[serde(default)]
    default: Value,
    #[serde(default)]
    required: Option<bool>,
    #[serde(default)]
    secret: bool,
}

/// What the text begins with between `---` and `---` or `...`, and where the rest of it begins.
pub(super) fn of(text: &str) -> Result<(FrontMatter, usize), ParseError> {
    let mut lines = Vec::new();
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        lines.push((end, line.trim_end()));
        end += line.len();
    }
    let Some(first) = lines.iter().position(|(_, line)| !line.is_empty()) else {
        return Ok((FrontMatter::default(), 0));
    };
    let closed_by = |marks: &[&str]| (first + 1..lines.len()).find(|place| marks.contains(&lines[*place].1));
    let line = first + 2;
    match lines[first].1 {
        "+++" if closed_by(&["+++"]).is_some() => {
            let problem = "it is TOML; write YAML between lines of ---".to_owned();
            Err(ParseError::FrontMatter { line, problem })
        }
        "---" => {
            let Some(last) = closed_by(&["---", "..."]) else { return Ok((FrontMatter::default(), 0)) };
            let start = |place: usize| lines.get(place).map_or(text.len(), |(start, _)| *start);
            let fields = read(&text[start(first + 1)..start(last)], line)?;
            Ok((fields, start(last + 1)))
        }
        _ => Ok((FrontMatter::default(), 0)),
    }
}

/// Reads it; `line` is its first.
fn read(text: &str, line: usize) -> Result<FrontMatter, ParseError> {
    let invalid = |problem: String| ParseError::FrontMatter { line, problem };
    let fields = match serde_saphyr::from_str(text) {
        Ok(Value::Object(fields)) => fields,
        Ok(Value::Null) => return Ok(FrontMatter::default()),
        Ok(_) => {
            let expected =
                "expected lines such as `title: Rollback`; a rule at the beginning is drawn as ***";
            return Err(invalid(expected.to_owned()));
        }
        Err(error) => return Err(invalid(first_line(&error.to_string()))),
    };
    let ours = ["dryRun", "executor", "inputs"].into_iter().chain(job::KEYS);
    let ours: Vec<&str> = ours.collect();
    let unknown = fields.keys().filter(|key| ours.iter().any(|known| looks_like(key, known)));
    let warnings = unknown
        .map(|key| (line, format!("the front matter's {key} is not known and does nothing")))
        .collect();
    Ok(FrontMatter {
        inputs: inputs(&fields).map_err(invalid)?,
        dry_run: dry_run(&fields).map_err(invalid)?,
        job: job::read(&fields).map_err(invalid)?,
        no_cell: no_cell(&fields, line),
        warnings,
    })
}

/// Whether a key that means nothing was meant to be this one.
fn looks_like(key: &str, known: &str) -> bool {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    !KNOWN.contains(&key) && plain(key).trim_end_matches('s') == plain(known).trim_end_matches('s')
}

fn inputs(fields: &Map<String, Value>) -> Result<Vec<Input>, String> {
    let declared = match fields.get("inputs") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(declared)) => declared,
        Some(_) => return Err("inputs: expected a list, each with a name".to_owned()),
    };
    if declared.len() > INPUTS_LIMIT {
        return Err(format!("inputs: {} are more than {INPUTS_LIMIT}", declared.len()));
    }
    let mut inputs: Vec<Input> = Vec::new();
    for (place, one) in declared.iter().enumerate() {
        let at = |problem: String| format!("inputs[{place}]: {problem}");
        let one: Declared = serde_json::from_value(one.clone()).map_err(|error| at(error.to_string()))?;
        let name = one.name.clone();
        let at = |problem: String| format!("inputs[{place}] {name}: {problem}");
        let input = input(one).map_err(at)?;
        if inputs.iter().any(|known| known.name == input.name) {
            return Err(at("is declared twice".to_owned()));
        }
        inputs.push(input);
    }
    Ok(inputs)
}

fn input(declared: Declared) -> Result<Input, String> {
    let Declared { name, description, kind, values, min, max, pattern, default, required, secret } = declared;
    if !is_variable_name(&name) {
        return Err("the name is a variable's: letters, digits and _, not beginning with a digit".to_owned());
    }
    if is_reserved(&name) {
        return Err("the name is the shell's or Harmony's own; choose another".to_owned());
    }
    let values: Option<Vec<String>> = values.iter().map(scalar).collect();
    let values = values.ok_or("values: each is a string, number or boolean")?;
    let default = match &default {
        Value::Null => None,
        other => Some(scalar(other).ok_or("default: expected a string, number or boolean")?),
    };
    let kind = match kind.as_deref().unwrap_or(if values.is_empty() { "string" } else { "enum" }) {
        "string" => InputKind::String,
        "number" => InputKind::Number { min, max },
        "enum" if values.is_empty() => return Err("an enum needs values: [one, two]".to_owned()),
        "enum" => InputKind::Enum { values: values.clone() },
        "service" => InputKind::Service,
        "release" => InputKind::Release,
        other => return Err(format!("type {other:?} is not string, number, enum, service or release")),
    };
    if !values.is_empty() && !matches!(kind, InputKind::Enum { .. }) {
        return Err("values belong to an enum".to_owned());
    }
    if (min.is_some() || max.is_some()) && !matches!(kind, InputKind::Number { .. }) {
        return Err("min and max belong to a number".to_owned());
    }
    if secret && (default.is_some() || pattern.is_some() || kind != InputKind::String) {
        return Err("a secret has a name alone: the runbook pool has its value".to_owned());
    }
    let required = required.unwrap_or(default.is_none());
    let input = Input { name, description, kind, pattern, default, required, secret };
    if let Some(pattern) = &input.pattern {
        Input::expression(pattern).map_err(|error| format!("pattern: {error}"))?;
    }
    if let Some(default) = &input.default {
        input.check(default).map_err(|problem| format!("default: {problem}"))?;
    }
    Ok(input)
}

fn dry_run(fields: &Map<String, Value>) -> Result<DryRun, String> {
    match fields.get("dryRun") {
        None | Some(Value::Null) => Ok(DryRun::Marked),
        Some(Value::String(how)) if how == "env" => Ok(DryRun::Env),
        Some(Value::String(how)) if how == "marked" => Ok(DryRun::Marked),
        Some(_) => Err("dryRun: expected env (every cell obeys HARMONY_DRY_RUN) or marked".to_owned()),
    }
}

/// A shell or a directory for all cells.
fn no_cell(fields: &Map<String, Value>, line: usize) -> Option<ParseError> {
    let text = |key: &str| fields.get(key).and_then(scalar).filter(|value| !value.is_empty());
    let refused = |attribute: String| ParseError::UnsupportedAttribute { attribute, line };
    // Its blocks hold what was printed beside what was typed.
    if fields.get("runme").is_some_and(|runme| !runme["session"]["id"].is_null()) {
        return Some(refused("runme.session: the record of a session".to_owned()));
    }
    if let Some(cwd) = text("cwd") {
        return Some(refused(format!("cwd: {cwd}")));
    }
    let shell = text("shell")?;
    let program = shell.rsplit('/').next().unwrap_or(&shell);
    (!matches!(program, "sh" | "bash")).then(|| refused(format!("shell: {shell}")))
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

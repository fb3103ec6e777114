//! Inputs: what a runbook asks for before it is proposed.
//!
//! A value is checked when it is proposed and becomes a variable of every cell;
//! it is shown and digested with the rest. A secret is an input by name alone:
//! its value is the runbook pool's, and nobody gives it.

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde::Serialize;

use super::markdown::Runbook;

/// Longest value; it is shown beside the cells.
const VALUE_LIMIT_BYTES: usize = 4 * 1024;

/// Longest pattern that is compiled.
const PATTERN_LIMIT_BYTES: usize = 1024;

/// Variables by which whoever chose their value would choose what runs.
const RESERVED: [&str; 14] = [
    "BASH",
    "BASH_ENV",
    "BASHOPTS",
    "CDPATH",
    "ENV",
    "GLOBIGNORE",
    "HOME",
    "IFS",
    "PATH",
    "PROMPT_COMMAND",
    "PS4",
    "SHELL",
    "SHELLOPTS",
    "TMPDIR",
];

/// One input, as the front matter declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// The variable that cells find it in.
    pub name: String,
    /// What it is for, in the author's words; may be empty.
    pub description: String,
    /// What values it takes.
    pub kind: InputKind,
    /// A regular expression that the whole value matches.
    pub pattern: Option<String>,
    /// Taken where nobody gives one.
    pub default: Option<String>,
    /// Whether there must be a value.
    pub required: bool,
    /// By name alone, from the mount of the runbook pool.
    pub secret: bool,
}

// A bound that is not a number is refused when it is read.
impl Eq for Input {}

/// What values an input takes.
#[derive(Debug, Clone, PartialEq)]
pub enum InputKind {
    /// Any text on one line.
    String,
    /// A decimal number.
    Number {
        /// The least.
        min: Option<f64>,
        /// The greatest.
        max: Option<f64>,
    },
    /// One of these.
    Enum {
        /// In the order in which a form offers them.
        values: Vec<String>,
    },
    /// The id of a service.
    Service,
    /// The id of a release.
    Release,
}

impl InputKind {
    /// As the front matter writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number { .. } => "number",
            Self::Enum { .. } => "enum",
            Self::Service => "service",
            Self::Release => "release",
        }
    }
}

/// An input with the value that cells get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InputValue {
    /// Name of the variable.
    pub name: String,
    /// `string`, `number`, `enum`, `service` or `release`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What was given for it, or its default.
    pub value: String,
}

/// What a runbook runs with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Those that have a value, in the order of their declaration.
    pub values: Vec<InputValue>,
    /// Names of the secrets that are declared.
    pub secrets: Vec<String>,
    /// What was given and is no input: plain variables, where the runbook declares no inputs at all.
    pub env: BTreeMap<String, String>,
}

/// Whether an input must not be called so.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
        || name.starts_with("LD_")
        || name.starts_with("HARMONY_")
        || name.starts_with("BASH_")
}

impl Input {
    /// Whether this is a value for it. The error says what would be.
    pub fn check(&self, value: &str) -> Result<(), String> {
        if value.chars().any(char::is_control) {
            return Err("expected text on one line".to_owned());
        }
        if value.len() > VALUE_LIMIT_BYTES {
            return Err(format!("longer than {VALUE_LIMIT_BYTES} bytes"));
        }
        match &self.kind {
            InputKind::String => {}
            InputKind::Number { min, max } => check_number(value, *min, *max)?,
            InputKind::Enum { values } if values.iter().any(|one| one == value) => {}
            InputKind::Enum { values } => {
                return Err(format!("{value:?} is not one of {}", values.join(", ")));
            }
            InputKind::Service | InputKind::Release if is_id(value) => {}
            InputKind::Service => return Err(format!("{value:?} is not the id of a service")),
            InputKind::Release => return Err(format!("{value:?} is not the id of a release")),
        }
        if let Some(pattern) = &self.pattern {
            let expression = Self::expression(pattern)?;
            if !expression.is_match(value) {
                return Err(format!("{value:?} does not match {pattern}"));
            }
        }
        Ok(())
    }

    /// What it takes, for people: `one of fast, slow`.
    pub fn takes(&self) -> String {
        let mut takes = match &self.kind {
            _ if self.secret => "a secret of the runbook pool, by name".to_owned(),
            InputKind::String => "text".to_owned(),
            InputKind::Number { min: Some(min), max: Some(max) } => format!("a number from {min} to {max}"),
            InputKind::Number { min: Some(min), max: None } => format!("a number of at least {min}"),
            InputKind::Number { min: None, max: Some(max) } => format!("a number of at most {max}"),
            InputKind::Number { min: None, max: None } => "a number".to_owned(),
            InputKind::Enum { values } => format!("one of {}", values.join(", ")),
            InputKind::Service => "the id of a service".to_owned(),
            InputKind::Release => "the id of a release".to_owned(),
        };
        if let Some(pattern) = &self.pattern {
            takes.push_str(&format!(", matching {pattern}"));
        }
        takes
    }

    /// The pattern, over the whole value.
    pub(super) fn expression(pattern: &str) -> Result<Regex, String> {
        if pattern.len() > PATTERN_LIMIT_BYTES {
            return Err(format!("longer than {PATTERN_LIMIT_BYTES} bytes"));
        }
        Regex::new(&format!("^(?:{pattern})$")).map_err(|error| error.to_string())
    }
}

impl Runbook {
    /// The inputs with the values that were given and the defaults of those that were not. The error names every input
    /// that is wrong and says what would do.
    pub fn inputs(&self, given: &BTreeMap<String, String>) -> Result<Inputs, String> {
        if self.inputs.is_empty() {
            return Ok(Inputs { env: given.clone(), ..Inputs::default() });
        }
        let mut problems = Vec::new();
        let mut inputs = Inputs::default();
        for input in &self.inputs {
            let name = &input.name;
            let value = given.get(name);
            if input.secret {
                if value.is_some() {
                    problems.push(format!("input {name}: a secret is the runbook pool's own; leave it out"));
                }
                inputs.secrets.push(name.clone());
                continue;
            }
            match value.or(input.default.as_ref()) {
                None if input.required => {
                    problems.push(format!("input {name}: is required; give {}", input.takes()));
                }
                None => {}
                Some(value) => match input.check(value) {
                    Ok(()) => inputs.values.push(InputValue {
                        name: name.clone(),
                        kind: input.kind.name(),
                        value: value.clone(),
                    }),
                    Err(problem) => problems.push(format!("input {name}: {problem}; give {}", input.takes())),
                },
            }
        }
        let known = |name: &String| self.inputs.iter().any(|input| input.name == *name);
        let names: Vec<&str> = self.inputs.iter().map(|input| input.name.as_str()).collect();
        for name in given.keys().filter(|name| !known(name)) {
            problems.push(format!("input {name}: not declared; the runbook has {}", names.join(", ")));
        }
        if problems.is_empty() { Ok(inputs) } else { Err(problems.join("; ")) }
    }
}

/// A decimal number as shells and tools read it: no exponent, no infinity.
fn check_number(value: &str, min: Option<f64>, max: Option<f64>) -> Result<(), String> {
    let plain = value.chars().all(|c| c.is_ascii_digit() || c == '-' || c == '.');
    let number: f64 = match value.parse() {
        Ok(number) if plain && !value.ends_with('.') && !value.starts_with('.') => number,
        _ => return Err(format!("{value:?} is not a number")),
    };
    if min.is_some_and(|min| number < min) || max.is_some_and(|max| number > max) {
        return Err(format!("{value} is out of range"));
    }
    Ok(())
}

/// What the ids of services and releases are made of.
fn is_id(value: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@".contains(c);
    (1..=200).contains(&value.len()) && value.chars().all(plain) && !value.starts_with('-')
}

//! Reads a runbook: Markdown whose fenced shell blocks carry a name.
//!
//! A cell is a fenced block in `sh`, `bash` or `shell` with a `name`. What has
//! no name is prose to us, and so is a named block in another language (a
//! sample of YAML, say). All cells run in bash, see [`super::EXECUTOR`].
//!
//! Attributes: `name`; `idempotent=true` (may run again after a crash, default
//! false); `timeout=5m`; `excludeFromRunAll=true` (runs only when it is asked
//! for by name). What runme would obey and this executor cannot, `cwd`,
//! `interpreter` and `background=true`, is refused rather than ignored, and so
//! is a fence that is never closed, as it would swallow the prose behind it.
//!
//! Every error about the text names the line.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::attributes;

/// Longest name of a cell, in characters; it is shown on one line everywhere.
const NAME_LIMIT_CHARS: usize = 100;

/// One named shell block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Unique in its runbook.
    pub name: String,
    /// As the fence says it, in lower case: `sh`, `bash` or `shell`.
    pub language: String,
    /// The commands, line ends normalised to `\n`.
    pub source: String,
    /// May be run again when nobody knows whether it ran.
    pub idempotent: bool,
    /// Shortens, never lengthens, the time that the run allows.
    pub timeout: Option<Duration>,
    /// Left out where all cells are meant; runs when it is named.
    pub exclude_from_run_all: bool,
}

/// The cells of a runbook in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runbook {
    /// The first heading of level 1.
    pub title: Option<String>,
    /// Named shell cells only.
    pub cells: Vec<Cell>,
}

/// Why a runbook, or a choice of its cells, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The braces after the language cannot be read.
    #[error("line {line}: malformed attributes: {problem}")]
    MalformedAttributes { line: usize, problem: String },
    /// An attribute has a value it cannot have.
    #[error("line {line}: {attribute}={value} is not valid: {expected}")]
    InvalidValue { line: usize, attribute: &'static str, value: String, expected: &'static str },
    /// Two cells have one name.
    #[error("line {line}: the cell name {name:?} is already used in line {first_line}")]
    DuplicateName { name: String, line: usize, first_line: usize },
    /// A named cell in a shell other than bash, or in none.
    #[error("line {line}: the cell {name:?} is in {language:?}; use sh, bash or shell")]
    UnsupportedShell { name: String, language: String, line: usize },
    /// A named cell, or the front matter, asks for what this executor cannot do.
    #[error("line {line}: {attribute} is not supported")]
    UnsupportedAttribute { attribute: String, line: usize },
    /// The fence of a named cell has no end.
    #[error("line {line}: the fence of the cell {name:?} is never closed")]
    Unclosed { name: String, line: usize },
    /// A cell was asked for that is not there.
    #[error("no cell {name:?}; the runbook has {}", listed(known))]
    NoSuchCell { name: String, known: Vec<String> },
}

/// Reads the named shell cells of a runbook.
pub fn parse(markdown: &str) -> Result<Runbook, ParseError> {
    let text = markdown.strip_prefix('\u{feff}').unwrap_or(markdown);
    let mut reader = Reader::new(text);
    let options = Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        reader.take(event, range)?;
    }
    Ok(Runbook { title: reader.title, cells: reader.cells })
}

impl Cell {
    /// The cell alone, as Markdown that [`parse`] reads as exactly this cell. `None`
    /// where there is no such text, as when the cell holds what Markdown replaces.
    pub fn alone(&self) -> Option<String> {
        let mut attributes = BTreeMap::from([("name", serde_json::Value::from(self.name.as_str()))]);
        for (name, is_set) in
            [("idempotent", self.idempotent), ("excludeFromRunAll", self.exclude_from_run_all)]
        {
            if is_set {
                attributes.insert(name, "true".into());
            }
        }
        if let Some(timeout) = self.timeout {
            attributes.insert("timeout", format!("{}ms", timeout.as_millis()).into());
        }
        let attributes = serde_json::to_string(&attributes).ok()?;
        // Longer than what the cell itself begins a line with; backticks may not stand behind a fence of their own.
        let longest = self.source.lines().map(|line| {
            let line = line.trim_start();
            line.len() - line.trim_start_matches('~').len()
        });
        let fence = "~".repeat(longest.max().unwrap_or_default().max(2) + 1);
        let text = format!("{fence}{} {attributes}\n{}{fence}\n", self.language, self.source);
        let read = parse(&text).ok()?;
        (read.cells.as_slice() == std::slice::from_ref(self)).then_some(text)
    }
}

impl Runbook {
    /// The cell of this name.
    pub fn cell(&self, name: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.name == name)
    }

    /// The cells to run, in order: those of `cells`, or where that is empty
    /// every cell in file order but those of `verify` and those excluded from
    /// a run of all. The names in `verify` must exist too. The answer is empty
    /// where nothing is left.
    pub fn select(&self, cells: &[String], verify: &[String]) -> Result<Vec<Cell>, ParseError> {
        for name in verify {
            self.named(name)?;
        }
        if cells.is_empty() {
            let wanted = |cell: &&Cell| !cell.exclude_from_run_all && !verify.contains(&cell.name);
            return Ok(self.cells.iter().filter(wanted).cloned().collect());
        }
        cells.iter().map(|name| self.named(name).cloned()).collect()
    }

    pub(super) fn named(&self, name: &str) -> Result<&Cell, ParseError> {
        self.cell(name).ok_or_else(|| ParseError::NoSuchCell {
            name: name.to_owned(),
            known: self.cells.iter().map(|cell| cell.name.clone()).collect(),
        })
    }
}

/// What the reader is inside of.
enum Inside {
    Prose,
    Title(String),
    FrontMatter,
    Cell(Box<Cell>),
}

struct Reader<'a> {
    text: &'a str,
    title: Option<String>,
    cells: Vec<Cell>,
    /// Where each name was first seen.
    lines: BTreeMap<String, usize>,
    inside: Inside,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, title: None, cells: Vec::new(), lines: BTreeMap::new(), inside: Inside::Prose }
    }

    fn take(&mut self, event: Event<'_>, range: Range<usize>) -> Result<(), ParseError> {
        match event {
            Event::Start(Tag::Heading { level, .. }) if level == HeadingLevel::H1 && self.title.is_none() => {
                self.inside = Inside::Title(String::new());
            }
            Event::Start(Tag::MetadataBlock(_)) => self.inside = Inside::FrontMatter,
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_))) => {
                if let Some(cell) = self.open_cell(range)? {
                    self.inside = Inside::Cell(Box::new(cell));
                }
            }
            Event::Text(text) | Event::Code(text) => match &mut self.inside {
                Inside::Prose => {}
                Inside::Title(title) => title.push_str(&text),
                Inside::FrontMatter => check_front_matter(&text, line_at(self.text, range.start))?,
                Inside::Cell(cell) => cell.source.push_str(&text),
            },
            Event::End(TagEnd::Heading(_) | TagEnd::MetadataBlock(_) | TagEnd::CodeBlock) => {
                match std::mem::replace(&mut self.inside, Inside::Prose) {
                    Inside::Prose | Inside::FrontMatter => {}
                    Inside::Title(title) => self.title = Some(title.trim().to_owned()),
                    Inside::Cell(mut cell) => {
                        cell.source = cell.source.replace("\r\n", "\n");
                        self.cells.push(*cell);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The info string is read from the text itself: the parser has already
    /// taken the backslashes out of its own copy, which breaks JSON.
    fn open_cell(&mut self, range: Range<usize>) -> Result<Option<Cell>, ParseError> {
        let line = line_at(self.text, range.start);
        let block = &self.text[range];
        let fence_line = block.lines().next().unwrap_or("").trim_start();
        let info = attributes::read(fence_line.trim_start_matches(['`', '~']));
        let runs_here = matches!(info.language.as_str(), "sh" | "bash" | "shell");
        let must_be_understood = runs_here || is_foreign_shell(&info.language);
        let attributes = match info.attributes {
            Ok(attributes) => attributes,
            Err(_) if !must_be_understood => return Ok(None),
            Err(problem) => return Err(ParseError::MalformedAttributes { line, problem }),
        };
        let Some(name) = attributes.get("name") else {
            return Ok(None);
        };
        if !must_be_understood {
            return Ok(None);
        }
        let name = checked_name(name, line)?;
        if !runs_here {
            let language = info.language;
            return Err(ParseError::UnsupportedShell { name, language, line });
        }
        if !is_closed(block, fence_line) {
            return Err(ParseError::Unclosed { name, line });
        }
        if let Some(&first_line) = self.lines.get(&name) {
            return Err(ParseError::DuplicateName { name, line, first_line });
        }
        self.lines.insert(name.clone(), line);
        cell(name, info.language, &attributes, line).map(Some)
    }
}

fn cell(
    name: String,
    language: String,
    attributes: &BTreeMap<String, String>,
    line: usize,
) -> Result<Cell, ParseError> {
    for attribute in ["cwd", "interpreter"] {
        if attributes.contains_key(attribute) {
            let attribute = attribute.to_owned();
            return Err(ParseError::UnsupportedAttribute { attribute, line });
        }
    }
    if boolean(attributes, "background", line)? {
        let attribute = "background".to_owned();
        return Err(ParseError::UnsupportedAttribute { attribute, line });
    }
    let timeout = match attributes.get("timeout") {
        None => None,
        Some(value) => Some(attributes::duration(value).ok_or_else(|| {
            let expected = "a time such as 500ms, 90s, 5m or 1h";
            invalid(line, "timeout", value, expected)
        })?),
    };
    Ok(Cell {
        name,
        language,
        source: String::new(),
        idempotent: boolean(attributes, "idempotent", line)?,
        timeout,
        exclude_from_run_all: boolean(attributes, "excludeFromRunAll", line)?,
    })
}

fn boolean(
    attributes: &BTreeMap<String, String>,
    attribute: &'static str,
    line: usize,
) -> Result<bool, ParseError> {
    let Some(value) = attributes.get(attribute) else {
        return Ok(false);
    };
    attributes::boolean(value).ok_or_else(|| invalid(line, attribute, value, "true or false"))
}

fn invalid(line: usize, attribute: &'static str, value: &str, expected: &'static str) -> ParseError {
    ParseError::InvalidValue { line, attribute, value: value.to_owned(), expected }
}

fn checked_name(name: &str, line: usize) -> Result<String, ParseError> {
    let length = name.chars().count();
    let plain = !name.chars().any(char::is_control) && name.trim() == name;
    if plain && (1..=NAME_LIMIT_CHARS).contains(&length) {
        return Ok(name.to_owned());
    }
    let expected = "1 to 100 characters on one line, no blanks around them";
    Err(invalid(line, "name", name, expected))
}

/// Shells whose commands bash would misread. Without a language nobody knows
/// what the commands are.
fn is_foreign_shell(language: &str) -> bool {
    let shells = ["", "cmd", "csh", "fish", "ksh", "powershell", "pwsh", "tcsh", "zsh"];
    shells.contains(&language)
}

/// Front matter may choose a shell or a directory for all cells.
fn check_front_matter(text: &str, first_line: usize) -> Result<(), ParseError> {
    for (index, row) in text.lines().enumerate() {
        let Some((key, value)) = row.split_once(':') else {
            continue;
        };
        let value = value.trim().trim_matches(['"', '\'']);
        let shell = value.rsplit('/').next().unwrap_or(value);
        if key == "cwd" || (key == "shell" && !matches!(shell, "" | "sh" | "bash")) {
            return Err(ParseError::UnsupportedAttribute {
                attribute: format!("{key}: {value}"),
                line: first_line + index,
            });
        }
    }
    Ok(())
}

/// Whether the block's last line is a fence at least as long as the first.
fn is_closed(block: &str, fence_line: &str) -> bool {
    let mark = fence_line.chars().next().unwrap_or('`');
    let length = fence_line.chars().take_while(|c| *c == mark).count();
    let mut lines = block.trim_end().lines();
    let last = lines.next_back().unwrap_or("");
    let bare = last.trim_start_matches([' ', '\t', '>']).trim_end();
    lines.next().is_some() && bare.len() >= length && bare.chars().all(|c| c == mark)
}

fn line_at(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

fn listed(known: &[String]) -> String {
    if known.is_empty() {
        return "no named shell cells".to_owned();
    }
    known.join(", ")
}

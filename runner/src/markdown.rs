//! Reads a runbook: Markdown whose fenced shell blocks carry a name.
//!
//! A cell is a fenced block in `sh`, `bash` or `shell` with a `name`. What has
//! no name is prose to us, and so is a named block in another language (a
//! sample of YAML, say) unless it is a manual step, whose text people read. All
//! cells run in bash, see [`super::EXECUTOR`]. A prompt (`$ `) before a command
//! is left out, as runme does.
//!
//! Attributes: `name`; `idempotent=true` (may run again after a crash, default
//! false); `timeout=5m`; `excludeFromRunAll=true` (runs only when it is asked
//! for by name); `dryRun=true` (a dry run may run it); `manual=true` (a person
//! does it and confirms); `approve=true` (a gate of its own before it). What
//! runme would obey and this executor cannot, `cwd`, `interpreter` and
//! `background=true`, is refused rather than ignored, and so is a fence that is
//! never closed, as it would swallow the prose behind it.
//!
//! A cell that is refused does not take the others with it: it is kept beside
//! them with its line and reason, and whoever asks for it, or for all cells, is
//! told. A front matter that cannot be read refuses the file, since it may say
//! how every cell is to run; it stands at the beginning, and nowhere else.
//!
//! Every error about the text names the line.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Parser, Tag, TagEnd};

use super::attributes::{self, Malformed};
use super::front_matter::{self, FrontMatter};
use super::inputs::Input;
use super::job::JobSpec;

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
    /// Says of itself that it changes nothing in a dry run.
    pub dry_run: bool,
    /// A person does what it says and confirms it; nothing of it is run.
    pub manual: bool,
    /// Needs an approval of its own before it runs.
    pub approve: bool,
}

/// The cells of a runbook in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runbook {
    /// The first heading of level 1.
    pub title: Option<String>,
    /// What it asks for before it runs, as its front matter declares it.
    pub inputs: Vec<Input>,
    /// Which cells a dry run runs.
    pub dry_run: DryRun,
    /// How its cells run as Kubernetes Jobs, where its front matter says so.
    pub job: Option<JobSpec>,
    /// Named shell cells and manual steps only.
    pub cells: Vec<Cell>,
    /// Cells that cannot run, in file order.
    pub refused: Vec<RefusedCell>,
    /// What is accepted and looks like a mistake, with its line.
    pub warnings: Vec<(usize, String)>,
}

/// Which cells a dry run runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DryRun {
    /// Those that are marked `dryRun=true`.
    #[default]
    Marked,
    /// All, with `HARMONY_DRY_RUN=1` in their environment: `dryRun: env` in the front matter.
    Env,
}

/// A cell that cannot run, and why. The cells beside it can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedCell {
    /// Empty where its attributes cannot be read.
    pub name: String,
    /// Where its fence opens.
    pub line: usize,
    /// Why.
    pub problem: ParseError,
    /// Whether it would be left out where all cells are meant.
    pub exclude_from_run_all: bool,
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
    /// The front matter cannot be read, or declares what cannot be.
    #[error("line {line}: the front matter is not valid: {problem}")]
    FrontMatter { line: usize, problem: String },
    /// Two attributes of one cell exclude each other.
    #[error("line {line}: the cell {name:?} cannot have both {one} and {other}")]
    Conflict { name: String, one: &'static str, other: &'static str, line: usize },
    /// A cell was asked for that is not there.
    #[error("no cell {name:?}; the runbook has {}", listed(known))]
    NoSuchCell { name: String, known: Vec<String> },
    /// All cells were asked for, and one of them cannot run.
    #[error("{problem}; name the cells to run, or correct it")]
    NotAll { problem: Box<ParseError> },
}

/// Reads the named shell cells of a runbook.
pub fn parse(markdown: &str) -> Result<Runbook, ParseError> {
    let text = markdown.strip_prefix('\u{feff}').unwrap_or(markdown);
    let (front_matter, body) = front_matter::of(text)?;
    let mut reader = Reader::new(text, front_matter);
    for (event, range) in Parser::new(&text[body..]).into_offset_iter() {
        reader.take(event, range.start + body..range.end + body);
    }
    Ok(reader.runbook())
}

impl Cell {
    /// The cell alone, as Markdown that [`parse`] reads as exactly this cell. `None`
    /// where there is no such text, as when the cell holds what Markdown replaces.
    pub fn alone(&self) -> Option<String> {
        let mut attributes = BTreeMap::from([("name", serde_json::Value::from(self.name.as_str()))]);
        for (name, is_set) in [
            ("idempotent", self.idempotent),
            ("excludeFromRunAll", self.exclude_from_run_all),
            ("dryRun", self.dry_run),
            ("manual", self.manual),
            ("approve", self.approve),
        ] {
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
    /// The cell of this name; blanks around it make no difference.
    pub fn cell(&self, name: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.name.trim() == name.trim())
    }

    /// Whether a dry run may run this cell.
    pub fn runs_dry(&self, cell: &Cell) -> bool {
        !cell.manual && (cell.dry_run || self.dry_run == DryRun::Env)
    }

    /// The cells to run, in order: those of `cells`, or where that is empty
    /// every cell in file order but those of `verify` and those excluded from
    /// a run of all. The names in `verify` must exist too. The answer is empty
    /// where nothing is left. A cell that is refused refuses a choice that
    /// names it, and a choice of all.
    pub fn select(&self, cells: &[String], verify: &[String]) -> Result<Vec<Cell>, ParseError> {
        for name in verify {
            self.named(name)?;
        }
        if cells.is_empty() {
            if let Some(refused) = self.refused.iter().find(|one| !one.exclude_from_run_all) {
                return Err(ParseError::NotAll { problem: Box::new(refused.problem.clone()) });
            }
            let checks: Vec<&str> = verify.iter().map(|name| name.trim()).collect();
            let wanted = |cell: &&Cell| !cell.exclude_from_run_all && !checks.contains(&cell.name.trim());
            return Ok(self.cells.iter().filter(wanted).cloned().collect());
        }
        cells.iter().map(|name| self.named(name).cloned()).collect()
    }

    pub(super) fn named(&self, name: &str) -> Result<&Cell, ParseError> {
        let refused =
            || self.refused.iter().find(|one| !one.name.is_empty() && one.name.trim() == name.trim());
        self.cell(name).ok_or_else(|| match refused() {
            Some(one) => one.problem.clone(),
            None => ParseError::NoSuchCell {
                name: name.to_owned(),
                known: self.cells.iter().map(|cell| cell.name.clone()).collect(),
            },
        })
    }
}

/// What the reader is inside of.
enum Inside {
    Prose,
    Title(String),
    Cell(Box<Open>),
}

/// A cell whose fence was not closed yet.
struct Open {
    cell: Cell,
    /// Where its fence opens.
    line: usize,
    /// What opened it: which mark, and how many.
    mark: char,
    length: usize,
    /// Where what was read of it ends.
    end: usize,
}

struct Reader<'a> {
    text: &'a str,
    title: Option<String>,
    front_matter: FrontMatter,
    cells: Vec<Cell>,
    refused: Vec<RefusedCell>,
    warnings: Vec<(usize, String)>,
    /// Where each name was first seen, without the blanks around it.
    lines: BTreeMap<String, usize>,
    inside: Inside,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, mut front_matter: FrontMatter) -> Self {
        Self {
            text,
            title: None,
            warnings: std::mem::take(&mut front_matter.warnings),
            front_matter,
            cells: Vec::new(),
            refused: Vec::new(),
            lines: BTreeMap::new(),
            inside: Inside::Prose,
        }
    }

    fn runbook(self) -> Runbook {
        let Self { title, front_matter, cells, refused, warnings, .. } = self;
        Runbook {
            title,
            inputs: front_matter.inputs,
            dry_run: front_matter.dry_run,
            job: front_matter.job,
            cells,
            refused,
            warnings,
        }
    }

    fn take(&mut self, event: Event<'_>, range: Range<usize>) {
        match event {
            Event::Start(Tag::Heading { level, .. }) if level == HeadingLevel::H1 && self.title.is_none() => {
                self.inside = Inside::Title(String::new());
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_))) => self.open_fence(range),
            Event::Text(text) | Event::Code(text) => match &mut self.inside {
                Inside::Prose => {}
                Inside::Title(title) => title.push_str(&text),
                Inside::Cell(open) => {
                    open.cell.source.push_str(&text);
                    open.end = range.end;
                }
            },
            Event::End(TagEnd::Heading(_) | TagEnd::CodeBlock) => {
                match std::mem::replace(&mut self.inside, Inside::Prose) {
                    Inside::Prose => {}
                    Inside::Title(title) => self.title = Some(title.trim().to_owned()),
                    Inside::Cell(open) => self.close_fence(*open, range.end),
                }
            }
            _ => {}
        }
    }

    /// Behind the last line that was read there is a fence; one that is never closed ends where the text, or what is
    /// around it, does.
    fn close_fence(&mut self, open: Open, end: usize) {
        let Open { mut cell, line, mark, length, end: read } = open;
        cell.source = cell.source.replace("\r\n", "\n");
        let is_fence = |text: &str| text.chars().filter(|character| *character == mark).count() >= length;
        let closes = |line: &str| line.trim().len() >= length && line.trim().chars().all(|one| one == mark);
        // A fence before a tab ends nothing for the parser, and everything for whoever reads the file elsewhere.
        let swallows = cell.source.lines().any(|line| !line.starts_with("    ") && closes(line));
        if swallows || !is_fence(self.text.get(read..end).unwrap_or_default()) {
            let problem = ParseError::Unclosed { name: cell.name.clone(), line };
            return self.refuse(cell.name, line, cell.exclude_from_run_all, problem);
        }
        if !cell.manual {
            cell.source = without_prompts(&cell.source);
        }
        self.cells.push(cell);
    }

    /// The info string is read from the text itself: the parser has already
    /// taken the backslashes out of its own copy, which breaks JSON.
    fn open_fence(&mut self, range: Range<usize>) {
        let line = line_at(self.text, range.start);
        let first = self.text[range.clone()].split_inclusive('\n').next().unwrap_or_default();
        let end = range.start + first.len();
        let fence_line = first.trim_start();
        let mark = fence_line.chars().next().unwrap_or('`');
        let length = fence_line.chars().take_while(|one| *one == mark).count();
        let info = attributes::read(&fence_line[length..]);
        let runs_here = matches!(info.language.as_str(), "sh" | "bash" | "shell");
        let must_be_understood = runs_here || is_foreign_shell(&info.language);
        let attributes = match info.attributes {
            Ok(attributes) => attributes,
            // What might be a manual step is no prose.
            Err(_) if !must_be_understood && !fence_line.contains("manual") => return,
            Err(Malformed { problem, name }) => {
                return self.refuse(name, line, false, ParseError::MalformedAttributes { line, problem });
            }
        };
        // What people do has no language that we would have to know.
        let is_manual =
            attributes.get("manual").is_some_and(|value| attributes::boolean(value) != Some(false));
        let Some(name) = attributes.get("name") else {
            if is_manual {
                self.warnings
                    .push((line, "a manual step without a name is prose; give it name=…".to_owned()));
            }
            return;
        };
        if !must_be_understood && !is_manual {
            return;
        }
        let excluded = attributes.get("excludeFromRunAll").and_then(|value| attributes::boolean(value));
        let excluded = excluded.unwrap_or_default();
        match self.cell(name, &info.language, runs_here || is_manual, &attributes, line) {
            Ok(cell) => {
                for unknown in attributes.keys().filter(|one| !attributes::is_known(one)) {
                    self.warnings
                        .push((line, format!("the attribute {unknown} is not known and does nothing")));
                }
                self.inside = Inside::Cell(Box::new(Open { cell, line, mark, length, end }));
            }
            Err(problem) => self.refuse(name.clone(), line, excluded, problem),
        }
    }

    fn refuse(&mut self, name: String, line: usize, exclude_from_run_all: bool, problem: ParseError) {
        self.refused.push(RefusedCell { name, line, problem, exclude_from_run_all });
    }

    fn cell(
        &mut self,
        name: &str,
        language: &str,
        runs_here: bool,
        attributes: &BTreeMap<String, String>,
        line: usize,
    ) -> Result<Cell, ParseError> {
        let name = checked_name(name, line)?;
        if let Some(&first_line) = self.lines.get(name.trim()) {
            return Err(ParseError::DuplicateName { name, line, first_line });
        }
        self.lines.insert(name.trim().to_owned(), line);
        if !runs_here {
            let language = language.to_owned();
            return Err(ParseError::UnsupportedShell { name, language, line });
        }
        let cell = cell(name, language.to_owned(), attributes, line)?;
        match &self.front_matter.no_cell {
            Some(problem) if !cell.manual => Err(problem.clone()),
            _ => Ok(cell),
        }
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
    let cell = Cell {
        name,
        language,
        source: String::new(),
        idempotent: boolean(attributes, "idempotent", line)?,
        timeout,
        exclude_from_run_all: boolean(attributes, "excludeFromRunAll", line)?,
        dry_run: boolean(attributes, "dryRun", line)?,
        manual: boolean(attributes, "manual", line)?,
        approve: boolean(attributes, "approve", line)?,
    };
    // Its gate has the clock of the policy, nothing of it is run, and it is a gate already.
    let excluded = [
        ("timeout", cell.timeout.is_some()),
        ("idempotent", cell.idempotent),
        ("dryRun", cell.dry_run),
        ("approve", cell.approve),
    ];
    if let Some((other, _)) = excluded.into_iter().find(|(_, is_set)| cell.manual && *is_set) {
        return Err(ParseError::Conflict { name: cell.name, one: "manual", other, line });
    }
    Ok(cell)
}

/// Without the prompt that documentation puts before a command.
fn without_prompts(source: &str) -> String {
    let line = |line: &str| line.strip_prefix("$ ").unwrap_or(line).to_owned();
    source.split_inclusive('\n').map(line).collect()
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
    let plain = !name.chars().any(char::is_control) && !name.trim().is_empty();
    if plain && length <= NAME_LIMIT_CHARS {
        return Ok(name.to_owned());
    }
    let expected = "1 to 100 characters on one line";
    Err(invalid(line, "name", name, expected))
}

/// Shells whose commands bash would misread. Without a language nobody knows
/// what the commands are.
fn is_foreign_shell(language: &str) -> bool {
    const SHELLS: [&str; 15] = [
        "",
        "bat",
        "cmd",
        "console",
        "csh",
        "dash",
        "fish",
        "ksh",
        "powershell",
        "pwsh",
        "sh-raw",
        "shell-session",
        "shellscript",
        "tcsh",
        "zsh",
    ];
    SHELLS.contains(&language)
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

//! What stdout is: a terminal of some width, with colours or without, or a pipe.
//!
//! Decided once, from `--color`, `NO_COLOR` and TERM, before anything is printed. A pipe gets no colours, no cut columns
//! and exact times in UTC; a terminal gets what a person reads at a glance.

use std::{io::IsTerminal, sync::OnceLock};

use clap::ColorChoice;
use console::Term;

static SCREEN: OnceLock<Screen> = OnceLock::new();

/// How output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Screen {
    /// Whether stdout is coloured.
    pub(crate) colors: bool,
    /// Whether stderr is coloured.
    pub(crate) error_colors: bool,
    /// Columns of the terminal; `None` for a pipe.
    pub(crate) width: Option<usize>,
    /// Whether errors are JSON, too.
    pub(crate) json: bool,
}

/// What a text means; how that looks is said here alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// Stands out: a title, a heading.
    Strong,
    /// Beside the point: an id, a time.
    Faint,
    /// Wrong, or as bad as it gets.
    Bad,
    /// Needs somebody.
    Warn,
    /// As it should be.
    Good,
    /// Goes on.
    Busy,
}

/// A text and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

/// A text that means this.
pub(crate) fn span(tone: Tone, text: impl Into<String>) -> Span {
    Span { text: text.into(), tone }
}

impl From<String> for Span {
    fn from(text: String) -> Self {
        Self { text, tone: Tone::Plain }
    }
}

impl From<&str> for Span {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Tone {
    /// The tone of a severity.
    pub(crate) fn of_severity(severity: &str) -> Self {
        match severity {
            "P1" => Self::Bad,
            "P2" => Self::Warn,
            "P3" => Self::Busy,
            _ => Self::Faint,
        }
    }

    /// The tone of an incident's state.
    pub(crate) fn of_state(state: &str) -> Self {
        match state {
            "OPEN" => Self::Bad,
            "PENDING" | "MITIGATING" => Self::Warn,
            "RESOLVED" => Self::Good,
            _ => Self::Faint,
        }
    }

    /// The tone of a run's or a step's status.
    pub(crate) fn of_status(status: &str) -> Self {
        match status {
            "COMPLETED" | "SUCCEEDED" => Self::Good,
            "RUNNING" | "RESUMING" => Self::Busy,
            "FAILED" | "REFUSED" | "ORPHANED" => Self::Bad,
            _ => Self::Faint,
        }
    }

    /// The mark before something of this tone, for those who see no colours.
    pub(crate) fn mark(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Bad => "✗",
            Self::Busy | Self::Warn => "●",
            Self::Plain | Self::Strong | Self::Faint => "–",
        }
    }

    /// Parameters of the escape sequence that begins it.
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Bad => "1;31",
            Self::Warn => "33",
            Self::Good => "32",
            Self::Busy => "36",
        }
    }
}

/// A text as it is sent to the terminal. It must have no control characters of its own.
pub(crate) fn painted(tone: Tone, text: &str, colors: bool) -> String {
    if colors && tone != Tone::Plain && !text.trim().is_empty() {
        format!("\u{1b}[{}m{text}\u{1b}[0m", tone.code())
    } else {
        text.to_owned()
    }
}

/// Looks at stdout and stderr; what is printed afterwards keeps to it.
pub(crate) fn set_up(choice: ColorChoice, json: bool) {
    let wanted = |is_terminal: bool| is_colored(choice, is_terminal, |name| std::env::var(name).ok());
    let (stdout, stderr) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
    let width = stdout.then(|| Term::stdout().size_checked().map_or(80, |(_, columns)| usize::from(columns)));
    let screen = Screen { colors: wanted(stdout), error_colors: wanted(stderr), width, json };
    // Said once a process; a second time changes nothing.
    SCREEN.get_or_init(|| screen);
}

/// How output is written; a pipe until somebody has looked.
pub(crate) fn screen() -> Screen {
    SCREEN.get().copied().unwrap_or(Screen { colors: false, error_colors: false, width: None, json: false })
}

fn is_colored(choice: ColorChoice, is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            // https://no-color.org: any value but none.
            let refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
            is_terminal && !refused && variable("TERM").as_deref() != Some("dumb")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_nobody_forbade_them() {
        let none = |_: &str| None;
        let no_color = |name: &str| (name == "NO_COLOR").then(|| "1".to_owned());
        let dumb = |name: &str| (name == "TERM").then(|| "dumb".to_owned());
        assert!(is_colored(ColorChoice::Auto, true, none));
        assert!(!is_colored(ColorChoice::Auto, false, none));
        assert!(!is_colored(ColorChoice::Auto, true, no_color));
        assert!(!is_colored(ColorChoice::Auto, true, dumb));
        assert!(is_colored(ColorChoice::Always, false, no_color));
        assert!(!is_colored(ColorChoice::Never, true, none));
    }

    #[test]
    fn a_text_is_painted_only_where_there_are_colours() {
        assert_eq!(painted(Tone::Bad, "P1", true), "\u{1b}[1;31mP1\u{1b}[0m");
        assert_eq!(painted(Tone::Bad, "P1", false), "P1");
        assert_eq!(painted(Tone::Plain, "x", true), "x");
    }
}

//! What people and programs see: data on stdout, everything else on stderr.
//!
//! Nothing else in this crate prints. A reader who closed the pipe ends the output, not the process. Text for people
//! loses its control characters here, so that a note from outside cannot move the cursor or recolour a terminal.

use std::io::{self, IsTerminal, Write};

use harmony_eventlog::export::escaped;
use serde::Serialize;
use serde_json::Value;

/// One line of data for people or scripts.
pub(crate) fn data(line: &str) {
    write_line(&mut io::stdout().lock(), &plain(line));
}

/// One line of JSON.
pub(crate) fn json(value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        write_line(&mut io::stdout().lock(), &escaped(&line));
    }
}

/// JSON as it came, such as an export.
pub(crate) fn raw(text: &str) {
    write_line(&mut io::stdout().lock(), &escaped(text.trim_end_matches('\n')));
}

/// One line beside the data: progress, a warning.
pub(crate) fn say(line: &str) {
    write_line(&mut io::stderr().lock(), &plain(line));
}

/// An error: what, then what to do.
pub(crate) fn problem(what: &str, hint: &str) {
    let mut stderr = io::stderr().lock();
    write_line(&mut stderr, &format!("error: {}", one_line(what)));
    write_line(&mut stderr, &format!("hint: {}", one_line(hint)));
}

/// Asks on the terminal; anything but yes is no.
pub(crate) fn confirm(question: &str) -> bool {
    let mut stderr = io::stderr().lock();
    if write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush()).is_err() {
        return false;
    }
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok()
        && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Asks on the terminal for one line of text; nothing where none is given.
pub(crate) fn ask(question: &str) -> Option<String> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} ").and_then(|()| stderr.flush()).ok()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).ok()?;
    Some(answer.trim().to_owned()).filter(|answer| !answer.is_empty())
}

/// Whether somebody can be asked.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// A table: columns as wide as their widest cell, but for the last.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|cell| cell.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}", one_line(cell)));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    data(&line(head.to_vec()));
    for row in rows {
        data(&line(row.iter().map(String::as_str).collect()));
    }
}

/// A JSON value as people read it: strings bare, lists joined, nothing for null.
pub(crate) fn words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

fn write_line(out: &mut impl Write, line: &str) {
    // A closed pipe is the reader's wish; there is nobody left to tell.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// Without control characters other than line ends and tabs.
pub(crate) fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control() || matches!(character, '\n' | '\t')).collect()
}

fn one_line(text: &str) -> String {
    plain(text)
        .split(['\n', '\r'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mred\u{7}\nb\tc"), "a[31mred\nb\tc");
        assert_eq!(one_line("first\r\n  second\n"), "first second");
    }
}

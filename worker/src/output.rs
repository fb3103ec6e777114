//! What people and programs see: data on stdout, everything else on stderr.
//!
//! Nothing else in this crate prints. A reader who closed the pipe ends the output, not the process. Text for people
//! shows its control, bidirectional and zero-width characters by their code point, so that a note from outside can
//! neither steer a terminal nor pass for something else.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use console::{Term, measure_text_width, truncate_str};
use harmony_eventlog::export::escaped;
use harmony_incidents::visible;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    answer::{Answer, answer},
    failure::Exit,
    terminal::{Span, Tone, painted, screen},
};

/// A column that is cut to fit the terminal keeps this much.
const LEAST_COLUMN: usize = 10;
/// Set once a YAML document was written.
static HAS_ANSWERED: AtomicBool = AtomicBool::new(false);
/// Set once an answer could not be written as it was asked for.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);
/// Set once the reader of stdout or stderr has gone.
static NO_READER: AtomicBool = AtomicBool::new(false);
/// Between two columns.
const GAP: usize = 2;

/// One line of data for people or scripts.
pub(crate) fn data(line: &str) {
    write_line(&mut io::stdout().lock(), &plain(line));
}

/// One line of data, in the colours of what it means where there are any.
pub(crate) fn spans(line: &[Span]) {
    let colors = screen().colors;
    let painted: String = line.iter().map(|span| painted(span.tone, &plain(&span.text), colors)).collect();
    write_line(&mut io::stdout().lock(), painted.trim_end());
}

/// A value for another program: one line of JSON unless YAML or a filter was asked for.
pub(crate) fn json(value: &impl Serialize) {
    let (lines, failed) = answer().written(value);
    let mut stdout = io::stdout().lock();
    for text in &lines {
        match answer() {
            Answer::Json => write_line(&mut stdout, &escaped(text)),
            Answer::Yaml => {
                if HAS_ANSWERED.swap(true, Ordering::Relaxed) {
                    write_line(&mut stdout, "---");
                }
                write_line(&mut stdout, &for_reader(text));
            }
            Answer::Query(_) => write_line(&mut stdout, &for_reader(text)),
        }
    }
    drop(stdout);
    if let Some(why) = failed {
        HAS_FAILED.store(true, Ordering::Relaxed);
        problem(Exit::Failed, &format!("the answer cannot be written: {why}"), "--json shows all of it");
    }
}

/// Lines of JSON as they came, such as an export: as they are unless something else was asked for.
pub(crate) fn json_lines(text: &str) {
    match answer() {
        Answer::Json => raw(text),
        Answer::Yaml | Answer::Query(_) => {
            text.lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .for_each(|value| json(&value));
        }
    }
}

/// Text of our own format as it came, such as a signed checkpoint.
pub(crate) fn raw(text: &str) {
    write_line(&mut io::stdout().lock(), &escaped(text.trim_end_matches('\n')));
}

/// As it is for another program, and without anything that moves a cursor on a terminal.
fn for_reader(text: &str) -> Cow<'_, str> {
    if screen().width.is_none() { Cow::Borrowed(text) } else { Cow::Owned(plain(text)) }
}

/// Lines of data. What a terminal cannot show at once, where somebody can turn pages, goes through their pager first:
/// PAGER, or `less`. Its own screen ends with the last page, so that what is printed next stands below it.
pub(crate) fn paged(lines: &[String]) {
    let pages = screen().width.filter(|_| is_interactive()).is_some_and(|width| {
        // A terminal that does not say how high it is has no pages.
        let rows = Term::stdout().size_checked().map_or(usize::MAX, |(rows, _)| usize::from(rows));
        let taken = |line: &String| measure_text_width(line).div_ceil(width.max(1)).max(1);
        lines.iter().map(taken).sum::<usize>() >= rows
    });
    if !(pages && through_pager(lines)) {
        lines.iter().for_each(|line| data(line));
    }
}

/// Whether a pager showed it.
fn through_pager(lines: &[String]) -> bool {
    let named = std::env::var("PAGER").ok().filter(|named| !named.trim().is_empty());
    let mut command = Command::new("sh");
    command.args(["-c", named.as_deref().unwrap_or("less")]).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        // It leaves on the screen what it showed, and ends with the interrupt that ends this command.
        command.env("LESS", r"-RXK -Pswhat it covers?pB, %pB\%.\: space goes on, q ends$");
    }
    let Ok(mut pager) = command.spawn() else { return false };
    if let Some(mut pages) = pager.stdin.take() {
        for line in lines {
            // Whoever leaves the pager early has seen enough.
            if writeln!(pages, "{}", plain(line)).is_err() {
                break;
            }
        }
    }
    // 127: there is no such program.
    pager.wait().is_ok_and(|status| status.code() != Some(127))
}

/// Several lines of our own, as they are.
pub(crate) fn raw_lines(text: &str) {
    write_line(&mut io::stdout().lock(), text.trim_end_matches('\n'));
}

/// What a program printed: as it is for another program, and without anything that moves a cursor on a terminal.
pub(crate) fn bytes(bytes: &[u8]) {
    if screen().width.is_none() {
        let mut stdout = io::stdout().lock();
        if stdout.write_all(bytes).and_then(|()| stdout.flush()).is_err() {
            NO_READER.store(true, Ordering::Relaxed);
        }
        return;
    }
    let text = String::from_utf8_lossy(bytes);
    text.lines().for_each(data);
}

/// One line beside the data: progress, a warning.
pub(crate) fn say(line: &str) {
    write_line(&mut io::stderr().lock(), &plain(line));
}

/// One line beside the data, in the colours of what it means where there are any.
pub(crate) fn spans_aside(line: &[Span]) {
    let colors = screen().error_colors;
    let painted: String = line.iter().map(|span| painted(span.tone, &plain(&span.text), colors)).collect();
    write_line(&mut io::stderr().lock(), painted.trim_end());
}

/// An error: what, then what to do. With `--json` it is a problem document in one line.
pub(crate) fn problem(exit: Exit, what: &str, hint: &str) {
    let mut stderr = io::stderr().lock();
    if screen().json {
        let document = json!({
            "title": exit.title(),
            "detail": one_line(what),
            "hint": one_line(hint),
            "exitCode": exit.code(),
        });
        return write_line(&mut stderr, &escaped(&document.to_string()));
    }
    let colors = screen().error_colors;
    write_line(&mut stderr, &format!("{} {}", painted(Tone::Bad, "error:", colors), one_line(what)));
    write_line(&mut stderr, &format!("{} {}", painted(Tone::Busy, "hint:", colors), one_line(hint)));
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

/// A table: columns as wide as their widest cell, and cut where the terminal is narrower than all of them.
pub(crate) fn table<Cell: Clone + Into<Span>>(head: &[&str], rows: &[Vec<Cell>]) {
    let clean = |cell: &Cell| {
        let cell: Span = cell.clone().into();
        Span { text: one_line(&cell.text), ..cell }
    };
    let head: Vec<Span> =
        head.iter().map(|text| Span { text: (*text).to_owned(), tone: Tone::Faint }).collect();
    let rows: Vec<Vec<Span>> = rows.iter().map(|row| row.iter().map(clean).collect()).collect();
    for line in laid_out(&head, &rows, screen().width) {
        spans(&line);
    }
}

/// Head and rows, padded to their columns' widths, and cut to this width.
fn laid_out(head: &[Span], rows: &[Vec<Span>], width: Option<usize>) -> Vec<Vec<Span>> {
    let all = || std::iter::once(head).chain(rows.iter().map(Vec::as_slice));
    let wide = |column: usize| {
        all().filter_map(|row| row.get(column)).map(|cell| measure_text_width(&cell.text)).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..head.len()).map(wide).collect();
    if let Some(width) = width {
        fit(&mut widths, width);
    }
    let padded = |row: &[Span]| {
        let last = row.len().saturating_sub(1);
        let cell = |(place, (cell, width)): (usize, (&Span, &usize))| {
            let text = truncate_str(&cell.text, *width, "…");
            let fill = width.saturating_sub(measure_text_width(&text));
            let gap = if place == last { String::new() } else { " ".repeat(fill + GAP) };
            [Span { text: text.into_owned(), tone: cell.tone }, gap.into()]
        };
        row.iter().zip(&widths).enumerate().flat_map(cell).collect()
    };
    all().map(padded).collect()
}

/// Takes from the widest columns, the last first, what the terminal has not; the others stay as they are.
fn fit(widths: &mut [usize], width: usize) {
    loop {
        let whole = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let Some(excess) = whole.checked_sub(width).filter(|excess| *excess > 0) else { return };
        let widest = widths.iter_mut().filter(|width| **width > LEAST_COLUMN).max_by_key(|width| **width);
        let Some(widest) = widest else { return };
        *widest -= excess.min(*widest - LEAST_COLUMN).min((*widest / 4).max(1));
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

/// Whether an answer could not be written as it was asked for.
pub(crate) fn has_failed() -> bool {
    HAS_FAILED.load(Ordering::Relaxed)
}

/// Whether the reader of stdout has gone: what goes on for their sake alone may end.
pub(crate) fn has_no_reader() -> bool {
    NO_READER.load(Ordering::Relaxed)
}

fn write_line(out: &mut impl Write, line: &str) {
    // A closed pipe is the reader's wish; there is nobody left to tell.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        NO_READER.store(true, Ordering::Relaxed);
    }
}

/// With every character that cannot be seen, or that changes what is seen, by its code point; line ends and tabs stay.
pub(crate) fn plain(text: &str) -> String {
    visible::visible(&text.replace("\r\n", "\n"))
}

fn one_line(text: &str) -> String {
    let parts = text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty());
    plain(&parts.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mred\u{7}\r\nb\tc"), "a<U+001B>[31mred<U+0007>\nb\tc");
        assert_eq!(plain("pay\u{202e}stnem\u{200b}"), "pay<U+202E>stnem<U+200B>");
        assert_eq!(one_line("first\r\n  second\n"), "first second");
    }

    fn lines(rows: &[[&str; 3]], width: Option<usize>) -> Vec<String> {
        let row = |row: &[&str; 3]| row.iter().map(|cell| Span::from(*cell)).collect::<Vec<_>>();
        let rows: Vec<_> = rows.iter().map(row).collect();
        let text = |line: Vec<Span>| line.into_iter().map(|span| span.text).collect::<String>();
        laid_out(&row(&["ID", "SEV", "TITLE"]), &rows, width).into_iter().map(text).collect()
    }

    #[test]
    fn a_table_fits_the_terminal_and_a_pipe_gets_all_of_it() {
        let rows = [["INC-1", "P1", "Checkout is down for everybody"], ["INC-22", "P2", "結帳"]];
        assert_eq!(
            lines(&rows, None),
            ["ID      SEV  TITLE", "INC-1   P1   Checkout is down for everybody", "INC-22  P2   結帳"]
        );
        assert_eq!(
            lines(&rows, Some(26)),
            ["ID      SEV  TITLE", "INC-1   P1   Checkout is …", "INC-22  P2   結帳"]
        );
        // What is too narrow for every column's least is left to the terminal.
        assert!(lines(&rows, Some(5))[1].ends_with("Checkout …"));
    }
}

//! How a command answers another program: JSON, YAML, or what a jq filter makes of it.
//!
//! Decided once, before a command does anything, so that a filter with a mistake in it changes nothing. The filter is
//! the language of jq as jaq reads it; it reads no files and opens no connections.

use std::{fmt::Display, io, sync::OnceLock};

use clap::ValueEnum;
use jaq_core::{
    Bind, Compiler, Ctx, RunPtr, Vars, compile,
    data::JustLut,
    load::{self, Arena, File, Loader},
    native::{Fun, bome, run, v},
    unwrap_valr,
};
use jaq_fmts::write::tabular::Row;
use jaq_json::Val;
use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;

static ANSWER: OnceLock<Answer> = OnceLock::new();

/// What `--format` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // Comments of documentation here would make every command's --help a long one.
    Table,
    Json,
    Yaml,
}

/// How every value is written.
#[derive(Debug)]
pub(crate) enum Answer {
    Json,
    Yaml,
    Query(Query),
}

impl Answer {
    /// What was asked for on the command line.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the filter.
    pub(crate) fn of(format: Option<Format>, filter: Option<&str>) -> Result<Self, Failure> {
        Ok(match (filter, format) {
            (Some(filter), _) => Self::Query(Query::parse(filter)?),
            (None, Some(Format::Yaml)) => Self::Yaml,
            (None, _) => Self::Json,
        })
    }

    /// What is printed of a value: a line each, or a YAML document.
    ///
    /// # Errors
    ///
    /// Says why the filter ended, beside what it gave until then.
    pub(crate) fn written(&self, value: &impl Serialize) -> (Vec<String>, Option<String>) {
        let written = match self {
            Self::Json => serde_json::to_string(value).map_err(|error| error.to_string()),
            Self::Yaml => serde_norway::to_string(value).map_err(|error| error.to_string()),
            Self::Query(query) => match serde_json::to_value(value) {
                Ok(value) => return query.results(&value),
                Err(error) => Err(error.to_string()),
            },
        };
        match written {
            Ok(text) => (vec![text.trim_end_matches('\n').to_owned()], None),
            Err(why) => (Vec::new(), Some(why)),
        }
    }
}

/// Sets how values are written from here on; a second time changes nothing.
pub(crate) fn set_up(answer: Answer) {
    ANSWER.get_or_init(|| answer);
}

/// How values are written: as JSON unless something else was asked for.
pub(crate) fn answer() -> &'static Answer {
    ANSWER.get().unwrap_or(&Answer::Json)
}

/// A jq filter.
pub(crate) struct Query(jaq_core::Filter<JustLut<Val>>);

impl std::fmt::Debug for Query {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Query")
    }
}

impl Query {
    fn parse(filter: &str) -> Result<Self, Failure> {
        let wrong = |why: String| {
            Failure::usage(
                format!("--jq {filter}: {why}"),
                "write a jq filter, such as '.incidents[].title'; quote it for the shell",
            )
        };
        let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs()).chain(rows());
        let arena = Arena::default();
        let modules = Loader::new(definitions)
            .load(&arena, File { path: (), code: filter })
            .map_err(|errors| wrong(unread(&errors)))?;
        let compiled = Compiler::default().with_funs(functions).compile(modules);
        compiled.map(Self).map_err(|errors| wrong(undefined(&errors)))
    }

    /// What it makes of a value, texts as they are and everything else as JSON; and why it ended, where it failed.
    fn results(&self, value: &Value) -> (Vec<String>, Option<String>) {
        let input: Val = match serde_json::from_value(value.clone()) {
            Ok(input) => input,
            Err(error) => return (Vec::new(), Some(error.to_string())),
        };
        let context = Ctx::<JustLut<Val>>::new(&self.0.lut, Vars::new([]));
        let mut lines = Vec::new();
        for result in self.0.id.run((context, input)).map(unwrap_valr) {
            match result {
                Ok(Val::TStr(text)) => lines.push(String::from_utf8_lossy(&text).into_owned()),
                Ok(other) => lines.push(other.to_string()),
                Err(error) => return (lines, Some(shortened(&error.to_string()))),
            }
        }
        (lines, None)
    }
}

type Rows = (&'static str, Box<[Bind]>, RunPtr<JustLut<Val>>);

/// `@csv` and `@tsv`: the functions of jq that jaq has for all of its formats or none.
fn rows() -> impl Iterator<Item = Fun<JustLut<Val>>> {
    let csv: Rows =
        ("@csv", v(0), |(_, value)| bome(row(&value).and_then(|row| written(|out| row.write_csv(out)))));
    let tsv: Rows =
        ("@tsv", v(0), |(_, value)| bome(row(&value).and_then(|row| written(|out| row.write_tsv(out)))));
    [csv, tsv].into_iter().map(run::<JustLut<Val>>)
}

fn row(value: &Val) -> Result<Row, jaq_core::Error<Val>> {
    Row::try_from(value).map_err(|error| jaq_core::Error::str(error.to_string()))
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Result<Val, jaq_core::Error<Val>> {
    let mut line = Vec::new();
    write(&mut line).map_err(jaq_core::Error::str)?;
    Ok(Val::utf8_str(line))
}

/// jaq shows the whole value that something could not be done with.
fn shortened(why: &str) -> String {
    const SHOWN: usize = 200;
    let mut characters = why.chars();
    let mut shown: String = characters.by_ref().take(SHOWN).collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// What of a filter cannot be read.
fn unread<P>(errors: &load::Errors<&str, P>) -> String {
    let wrong = errors.iter().map(|(_, error)| match error {
        load::Error::Lex(found) => found.first().map(|(expected, at)| expects(expected.as_str(), at)),
        load::Error::Parse(found) => found.first().map(|(expected, at)| expects(expected.as_str(), at)),
        load::Error::Io(found) => found.first().map(|(path, _)| format!("{path} is not read: no file is")),
    });
    wrong.flatten().next().unwrap_or_else(|| "it cannot be read".to_owned())
}

fn expects(expected: impl Display, at: &str) -> String {
    if at.is_empty() {
        format!("expected {expected} at its end")
    } else {
        format!("expected {expected} at {at}")
    }
}

/// What of a filter is not known.
fn undefined(errors: &compile::Errors<&str, ()>) -> String {
    let first = errors.iter().flat_map(|(_, found)| found).next();
    match first {
        Some((name, what)) => format!("there is no {} {name}", what.as_str()),
        None => "something in it is not known".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(filter: &str, value: &Value) -> (Vec<String>, Option<String>) {
        Answer::of(None, Some(filter)).unwrap().written(value)
    }

    #[test]
    fn a_filter_gives_texts_bare_and_the_rest_as_json() {
        let list = json!({ "incidents": [
            { "incidentId": "INC-2026-0001", "severity": "P1", "seq": 4, "tags": ["a"] },
            { "incidentId": "INC-2026-0002", "severity": "P2", "seq": 12_345_678_901_u64, "tags": [] },
        ] });
        let lines = |filter: &str| {
            let (lines, failed) = asked(filter, &list);
            assert_eq!(failed, None, "{filter}");
            lines
        };
        assert_eq!(lines(".incidents[].incidentId"), ["INC-2026-0001", "INC-2026-0002"]);
        assert_eq!(lines(".incidents[] | select(.severity | test(\"^p1$\"; \"i\")) | .seq"), ["4"]);
        assert_eq!(lines(".incidents | map(.seq) | add"), ["12345678905"]);
        assert_eq!(
            lines(".incidents[0] | {id: .incidentId, tags}"),
            [r#"{"id":"INC-2026-0001","tags":["a"]}"#]
        );
        assert_eq!(lines(".incidents[] | [.incidentId, .severity] | @tsv")[1], "INC-2026-0002\tP2");
        assert_eq!(lines("\"2026-11-29T10:00:00Z\" | fromdate"), ["1795946400"]);
        assert_eq!(lines(".none"), ["null"]);
        assert_eq!(lines("empty"), [""; 0]);
    }

    #[test]
    fn a_filter_that_is_wrong_says_where() {
        for (filter, why) in [
            (".incidents[", "at its end"),
            (". | $", "expected"),
            (".a | nonsense", "nonsense"),
            ("include \"x\"; .", ""),
        ] {
            let failure = Answer::of(None, Some(filter)).unwrap_err();
            assert!(failure.what.starts_with(&format!("--jq {filter}: ")), "{}", failure.what);
            assert!(failure.what.contains(why), "{}", failure.what);
            assert_eq!(failure.exit.code(), 2);
        }
    }

    #[test]
    fn a_filter_that_fails_keeps_what_it_gave() {
        let (lines, failed) = asked(".[] | ascii_downcase", &json!(["A", 1, "B"]));
        assert_eq!(lines, ["a"]);
        assert!(failed.unwrap().contains('1'));
    }

    #[test]
    fn yaml_reads_back_as_what_it_was() {
        let value =
            json!({ "id": "INC-2026-0001", "title": "yes: \"no\"\nnull", "tags": [], "at": null, "n": 1.5 });
        let (lines, failed) = Answer::of(Some(Format::Yaml), None).unwrap().written(&value);
        assert_eq!(failed, None);
        assert_eq!(serde_norway::from_str::<Value>(&lines.concat()).unwrap(), value);
    }
}

//! `harmony runbook list|show|lint`: what a runbook is to Harmony, before somebody proposes it at three in the morning.
//!
//! Works on files alone: the runbook root of the settings, or a path as it is, so that a pipeline can hold a pull
//! request against the same reader that will run it.

use std::{fs, path::Path, process::ExitCode};

use clap::{Args, Subcommand};
use harmony_capabilities::runbook::{self, Cell, Runbook};
use serde_json::{Value, json};

use crate::{
    config::Config,
    failure::{Exit, Failure},
    moments, output,
    terminal::{Span, Tone, span},
};

/// What can be done with runbooks.
#[derive(Debug, Subcommand)]
pub(crate) enum RunbookCommand {
    /// List the runbooks and their cells
    #[command(visible_alias = "ls")]
    List,
    /// Show a runbook's cells, in the order in which they would run
    Show(ShowArgs),
    /// Check runbooks: exit code 1 names what would be refused
    #[command(after_help = LINT_EXAMPLES)]
    Lint(LintArgs),
}

const LINT_EXAMPLES: &str = "Examples:
  harmony runbook lint
  harmony runbook lint runbooks/*.md";

/// A runbook.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Relative to the runbook root
    path: String,
}

/// Options of `lint`.
#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// Files, or paths below the runbook root [default: every runbook]
    paths: Vec<String>,
}

/// Carries out one command.
pub(crate) fn run(config: &Config, command: &RunbookCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        RunbookCommand::List => list(config, json)?,
        RunbookCommand::Show(args) => show(config, &args.path, json)?,
        RunbookCommand::Lint(args) => return lint(config, &args.paths, json),
    }
    Ok(ExitCode::SUCCESS)
}

fn list(config: &Config, json: bool) -> anyhow::Result<()> {
    let paths = config.runbook_root()?.list()?;
    let read: Vec<(String, Result<Runbook, String>)> = paths
        .into_iter()
        .map(|path| (path.clone(), read(config, &path).map(|(_, runbook)| runbook)))
        .collect();
    if json {
        let one = |(path, runbook): &(String, Result<Runbook, String>)| match runbook {
            Ok(runbook) => json!({
                "path": path,
                "title": runbook.title,
                "cells": runbook.cells.iter().map(|cell| &cell.name).collect::<Vec<_>>(),
            }),
            Err(problem) => json!({ "path": path, "problem": problem }),
        };
        output::json(&json!({ "runbooks": read.iter().map(one).collect::<Vec<_>>() }));
        return Ok(());
    }
    let row = |(path, runbook): &(String, Result<Runbook, String>)| -> Vec<Span> {
        match runbook {
            Ok(runbook) => {
                let cells: Vec<&str> = runbook.cells.iter().map(|cell| cell.name.as_str()).collect();
                vec![
                    span(Tone::Strong, path),
                    cells.join(", ").into(),
                    runbook.title.clone().unwrap_or_default().into(),
                ]
            }
            Err(problem) => vec![span(Tone::Strong, path), span(Tone::Bad, problem), "".into()],
        }
    };
    let rows: Vec<Vec<Span>> = read.iter().map(row).collect();
    if rows.is_empty() {
        output::say("no runbooks");
        return Ok(());
    }
    output::table(&["RUNBOOK", "CELLS", "TITLE"], &rows);
    Ok(())
}

fn show(config: &Config, path: &str, json: bool) -> anyhow::Result<()> {
    let (_, runbook) = read(config, path).map_err(|problem| unusable(&problem))?;
    if json {
        let cells: Vec<Value> = runbook.cells.iter().map(cell_json).collect();
        output::json(&json!({ "path": path, "title": runbook.title, "cells": cells }));
        return Ok(());
    }
    output::spans(&[span(Tone::Strong, path), "  ".into(), runbook.title.unwrap_or_default().into()]);
    for cell in &runbook.cells {
        output::data("");
        output::spans(&[span(Tone::Strong, &cell.name), span(Tone::Faint, format!("  {}", limits(cell)))]);
        for line in cell.source.lines() {
            output::spans(&[span(Tone::Faint, "  │ "), line.into()]);
        }
    }
    Ok(())
}

fn cell_json(cell: &Cell) -> Value {
    json!({
        "name": cell.name,
        "source": cell.source,
        "idempotent": cell.idempotent,
        "timeoutMs": cell.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        "onlyByName": cell.exclude_from_run_all,
    })
}

/// How a cell runs, in words.
fn limits(cell: &Cell) -> String {
    let mut limits = vec![if cell.idempotent { "may run again" } else { "runs at most once" }.to_owned()];
    if let Some(timeout) = cell.timeout {
        limits
            .push(format!("at most {}", moments::span(i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX))));
    }
    if cell.exclude_from_run_all {
        limits.push("only by name".to_owned());
    }
    limits.join(", ")
}

fn lint(config: &Config, paths: &[String], json: bool) -> anyhow::Result<ExitCode> {
    let paths = if paths.is_empty() { config.runbook_root()?.list()? } else { paths.to_vec() };
    let mut found = Vec::new();
    for path in &paths {
        match read(config, path) {
            Ok((text, runbook)) => {
                found.extend(complaints(&text, &runbook).into_iter().map(|one| (path, one)))
            }
            Err(problem) => found.push((path, problem)),
        }
    }
    if json {
        let problems: Vec<Value> =
            found.iter().map(|(path, problem)| json!({ "path": path, "problem": problem })).collect();
        output::json(&json!({ "checked": paths.len(), "problems": problems }));
    } else {
        for (path, problem) in &found {
            output::spans(&[span(Tone::Strong, *path), ": ".into(), span(Tone::Bad, problem)]);
        }
        output::data(&format!("{} runbooks, {} problems", paths.len(), found.len()));
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed.code()) })
}

/// What is wrong with a runbook that can be read.
fn complaints(text: &str, runbook: &Runbook) -> Vec<String> {
    let mut complaints = Vec::new();
    if runbook.cells.is_empty() {
        complaints.push("no cell has a name, so nothing of it can run: write ```sh { name=fix }".to_owned());
    }
    for cell in &runbook.cells {
        if cell.source.trim().is_empty() {
            complaints.push(format!("the cell {:?} is empty", cell.name));
        }
    }
    if text.contains('\u{feff}') {
        complaints.push("it begins with a byte order mark; save it without".to_owned());
    }
    complaints
}

/// A runbook's text and cells: a file as named, else one below the root.
fn read(config: &Config, path: &str) -> Result<(String, Runbook), String> {
    let below = config
        .runbook_root()
        .map_err(|error| error.to_string())
        .and_then(|root| root.load(path).map(|snapshot| snapshot.text).map_err(|error| error.to_string()));
    let text = match below {
        Ok(text) => text,
        Err(problem) if Path::new(path).is_file() => {
            fs::read_to_string(path).map_err(|error| format!("{error} ({problem})"))?
        }
        Err(problem) => return Err(problem),
    };
    let runbook = runbook::parse(&text).map_err(|error| error.to_string())?;
    Ok((text, runbook))
}

fn unusable(problem: &str) -> Failure {
    let exit = if problem.contains("not found") { Exit::NotFound } else { Exit::Failed };
    Failure { exit, what: problem.to_owned(), hint: "harmony runbook list names what there is".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runbook_that_would_do_nothing_is_a_problem() {
        let check = |text: &str| complaints(text, &runbook::parse(text).unwrap()).len();
        assert_eq!(check("# Fix\n\n```sh { name=fix }\ntrue\n```\n"), 0);
        assert_eq!(check("# Fix\n\n```sh\ntrue\n```\n"), 1);
        assert_eq!(check("# Fix\n\n```sh { name=fix }\n```\n"), 1);
    }
}

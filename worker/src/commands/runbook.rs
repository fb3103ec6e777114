//! `harmony runbook list|show|lint|new|run`: what a runbook is to Harmony, before somebody proposes it at three in the
//! morning.
//!
//! Works on files alone: the runbook root of the settings, or a path as it is, so that a pipeline can hold a pull
//! request against the same reader that will run it. `run --local` is in [`super::runbook_run`].

use std::{fs, path::Path, process::ExitCode};

use clap::{Args, Subcommand};
use harmony_runner::{Cell, DryRun, Input, JobSpec, Runbook};
use serde_json::{Value, json};

use super::runbook_run::{self, RunArgs};
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
    /// Write a new runbook to begin with; never over a file that is there
    New(NewArgs),
    /// Try a runbook on this machine, without an incident and without a record
    #[command(after_help = runbook_run::EXAMPLES)]
    Run(RunArgs),
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

/// Options of `new`.
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// Relative to the runbook root, such as failover.md
    path: String,
    /// First heading [default: the file's name]
    #[arg(long)]
    title: Option<String>,
}

/// Options of `lint`.
#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// Files, or paths below the runbook root [default: every runbook]
    paths: Vec<String>,
}

/// Carries out one command.
pub(crate) async fn run(config: &Config, command: &RunbookCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        RunbookCommand::List => list(config, json)?,
        RunbookCommand::Show(args) => show(config, &args.path, json)?,
        RunbookCommand::Lint(args) => return lint(config, &args.paths, json),
        RunbookCommand::New(args) => new(config, args, json)?,
        RunbookCommand::Run(args) => return runbook_run::run(config, args, json).await,
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
                "inputs": runbook.inputs.iter().map(|input| &input.name).collect::<Vec<_>>(),
                "refused": refused_json(runbook),
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
                let cells = match runbook.refused.len() {
                    0 => cells.join(", ").into(),
                    refused => span(Tone::Warn, format!("{} ({refused} refused)", cells.join(", "))),
                };
                vec![span(Tone::Strong, path), cells, runbook.title.clone().unwrap_or_default().into()]
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
        let cells: Vec<Value> = runbook.cells.iter().map(|cell| cell_json(&runbook, cell)).collect();
        let inputs: Vec<Value> = runbook.inputs.iter().map(input_json).collect();
        output::json(&json!({
            "path": path,
            "title": runbook.title,
            "inputs": inputs,
            "cells": cells,
            "job": runbook.job.as_ref().map(job_json),
            "refused": refused_json(&runbook),
        }));
        return Ok(());
    }
    output::spans(&[span(Tone::Strong, path), "  ".into(), runbook.title.clone().unwrap_or_default().into()]);
    if let Some(job) = &runbook.job {
        output::spans(&[span(Tone::Faint, "as Jobs "), span(Tone::Strong, &job.image)]);
    }
    for input in &runbook.inputs {
        output::spans(&[
            span(Tone::Faint, "input "),
            span(Tone::Strong, &input.name),
            span(Tone::Faint, format!("  {}", about(input))),
        ]);
    }
    for cell in &runbook.cells {
        output::data("");
        output::spans(&[
            span(Tone::Strong, &cell.name),
            span(Tone::Faint, format!("  {}", limits(&runbook, cell))),
        ]);
        for line in cell.source.lines() {
            output::spans(&[span(Tone::Faint, "  │ "), line.into()]);
        }
    }
    if !runbook.refused.is_empty() {
        output::data("");
    }
    for one in &runbook.refused {
        output::spans(&[span(Tone::Bad, "refused  "), one.problem.to_string().into()]);
    }
    Ok(())
}

fn job_json(job: &JobSpec) -> Value {
    json!({
        "image": job.image,
        "serviceAccount": job.service_account,
        "cpuMillis": job.cpu_millis,
        "memoryMib": job.memory_mib,
        "deadlineMs": job.deadline.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    })
}

fn cell_json(runbook: &Runbook, cell: &Cell) -> Value {
    json!({
        "name": cell.name,
        "source": cell.source,
        "idempotent": cell.idempotent,
        "timeoutMs": cell.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        "onlyByName": cell.exclude_from_run_all,
        "manual": cell.manual,
        "approve": cell.approve,
        "dryRun": runbook.runs_dry(cell),
    })
}

fn input_json(input: &Input) -> Value {
    json!({
        "name": input.name,
        "type": input.kind.name(),
        "description": input.description,
        "default": input.default,
        "required": input.required,
        "secret": input.secret,
        "takes": input.takes(),
    })
}

fn refused_json(runbook: &Runbook) -> Vec<Value> {
    let one = |one: &harmony_runner::RefusedCell| json!({ "name": one.name, "line": one.line, "problem": one.problem.to_string() });
    runbook.refused.iter().map(one).collect()
}

/// What an input takes, in words.
fn about(input: &Input) -> String {
    let mut about = vec![input.takes()];
    match &input.default {
        Some(default) => about.push(format!("default {default}")),
        None if !input.required => about.push("optional".to_owned()),
        None => {}
    }
    let about = about.join(", ");
    if input.description.is_empty() { about } else { format!("{about}: {}", input.description) }
}

/// How a cell runs, in words.
fn limits(runbook: &Runbook, cell: &Cell) -> String {
    if cell.manual {
        return "a person does it and confirms".to_owned();
    }
    let mut limits = vec![if cell.idempotent { "may run again" } else { "runs at most once" }.to_owned()];
    if let Some(timeout) = cell.timeout {
        limits
            .push(format!("at most {}", moments::span(i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX))));
    }
    if cell.approve {
        limits.push("after an approval of its own".to_owned());
    }
    if cell.exclude_from_run_all {
        limits.push("only by name".to_owned());
    }
    if runbook.runs_dry(cell) {
        limits.push("dry runs, too".to_owned());
    }
    limits.join(", ")
}

/// Writes a file with one cell of each sort that most runbooks have.
fn new(config: &Config, args: &NewArgs, json: bool) -> anyhow::Result<()> {
    let root = config.runbook_root()?;
    let path = root.new_file(&args.path).map_err(|error| {
        Failure::usage(error.to_string(), "name a Markdown file below the runbook root, such as failover.md")
    })?;
    let stem =
        path.file_stem().map(|stem| stem.to_string_lossy().replace(['-', '_'], " ")).unwrap_or_default();
    let title = args.title.clone().unwrap_or_else(|| {
        let mut letters = stem.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
    });
    let text = include_str!("runbook_new.md").replacen("TITLE", &title, 1);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let written = fs::OpenOptions::new().write(true).create_new(true).open(&path);
    written.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes())).map_err(|error| {
        Failure::failed(
            format!("{} was not written: {error}", path.display()),
            "name a file that is not there",
        )
    })?;
    if json {
        output::json(&json!({ "path": path }));
    } else {
        output::data(&format!("{}: edit it, then harmony runbook lint {}", path.display(), args.path));
    }
    Ok(())
}

fn lint(config: &Config, paths: &[String], json: bool) -> anyhow::Result<ExitCode> {
    let paths = if paths.is_empty() { config.runbook_root()?.list()? } else { paths.to_vec() };
    let (mut found, mut warnings) = (Vec::new(), Vec::new());
    for path in &paths {
        match read(config, path) {
            Ok((text, runbook)) => {
                found.extend(complaints(&text, &runbook).into_iter().map(|one| (path, one)));
                let warning = |(line, warning): &(usize, String)| (path, format!("line {line}: {warning}"));
                warnings.extend(runbook.warnings.iter().map(warning));
            }
            Err(problem) => found.push((path, problem)),
        }
    }
    if json {
        let listed = |list: &[(&String, String)]| -> Vec<Value> {
            list.iter().map(|(path, problem)| json!({ "path": path, "problem": problem })).collect()
        };
        output::json(
            &json!({ "checked": paths.len(), "problems": listed(&found), "warnings": listed(&warnings) }),
        );
    } else {
        for (path, problem) in &found {
            output::spans(&[span(Tone::Strong, *path), ": ".into(), span(Tone::Bad, problem)]);
        }
        for (path, warning) in &warnings {
            output::spans(&[
                span(Tone::Strong, *path),
                ": ".into(),
                span(Tone::Warn, format!("warning: {warning}")),
            ]);
        }
        output::data(&format!("{} runbooks, {} problems", paths.len(), found.len()));
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed.code()) })
}

/// What is wrong with a runbook that can be read.
pub(crate) fn complaints(text: &str, runbook: &Runbook) -> Vec<String> {
    let mut complaints: Vec<String> = runbook.refused.iter().map(|one| one.problem.to_string()).collect();
    if runbook.cells.is_empty() && complaints.is_empty() {
        complaints.push("no cell has a name, so nothing of it can run: write ```sh { name=fix }".to_owned());
    }
    for cell in &runbook.cells {
        if cell.source.trim().is_empty() {
            complaints.push(format!("the cell {:?} is empty", cell.name));
        }
        let obeys = cell.source.contains("HARMONY_DRY_RUN");
        if runbook.dry_run == DryRun::Env && !cell.manual && !cell.dry_run && !obeys {
            complaints.push(format!(
                "the front matter says dryRun: env, and the cell {:?} does not look at HARMONY_DRY_RUN: mark it \
                 dryRun=true if it changes nothing",
                cell.name
            ));
        }
    }
    if text.contains('\u{feff}') {
        complaints.push("it begins with a byte order mark; save it without".to_owned());
    }
    complaints
}

/// A runbook's text and cells: a file as named, else one below the root.
pub(super) fn read(config: &Config, path: &str) -> Result<(String, Runbook), String> {
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
    let runbook = harmony_runner::parse(&text).map_err(|error| error.to_string())?;
    Ok((text, runbook))
}

pub(super) fn unusable(problem: &str) -> Failure {
    let exit = if problem.contains("not found") { Exit::NotFound } else { Exit::Failed };
    Failure { exit, what: problem.to_owned(), hint: "harmony runbook list names what there is".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runbook_that_would_do_nothing_is_a_problem() {
        let check = |text: &str| complaints(text, &harmony_runner::parse(text).unwrap()).len();
        assert_eq!(check("# Fix\n\n```sh { name=fix }\ntrue\n```\n"), 0);
        assert_eq!(check("# Fix\n\n```sh\ntrue\n```\n"), 1);
        assert_eq!(check("# Fix\n\n```sh { name=fix }\n```\n"), 1);
    }
}

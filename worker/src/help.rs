//! What `--help`, `--version`, `completions` and `man` say beyond each command's own words: commands in groups, exit
//! codes, and what this build is.

use std::{fs, path::Path};

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::{cli::Cli, output};

/// Name, the commit where it is known, and what was built in.
pub(crate) const VERSION: &str = version();

/// The commands by what somebody is about to do. A test holds this against the command line.
const GROUPS: &[Group] = &[
    ("Try it", &["demo", "dev"]),
    ("Incidents", &["incident", "approval", "candidate", "follow-up", "subscription", "drill", "runbook"]),
    ("Catalog", &["service", "environment", "release", "deploy", "catalog"]),
    ("Record", &["log", "audit", "capability"]),
    ("Operate", &["worker", "serve", "config", "user", "db", "temporal", "sandbox"]),
    ("Shell", &["completions", "man", "help"]),
];

const INCIDENT_GROUPS: &[Group] = &[
    ("Look", &["list", "show", "changes"]),
    (
        "Lead",
        &["declare", "assign", "release", "update", "severity", "escalate", "status", "private", "cancel"],
    ),
    ("Mitigate", &["remediate", "verify", "stop", "retry", "resume"]),
    (
        "Record",
        &[
            "note",
            "action",
            "signal",
            "slo-violation",
            "tag",
            "untag",
            "ticket",
            "link-change",
            "time",
            "relate",
        ],
    ),
    ("Finish", &["close-out", "review", "post-mortem", "sign-off", "close", "help"]),
];

/// A heading, and the commands below it.
type Group = (&'static str, &'static [&'static str]);

const fn version() -> &'static str {
    match (env!("HARMONY_COMMIT").is_empty(), cfg!(feature = "dynamodb"), cfg!(feature = "eventbridge")) {
        (true, false, false) => concat!(env!("CARGO_PKG_VERSION"), " (no features)"),
        (true, true, false) => concat!(env!("CARGO_PKG_VERSION"), " (features: dynamodb)"),
        (true, false, true) => concat!(env!("CARGO_PKG_VERSION"), " (features: eventbridge)"),
        (true, true, true) => concat!(env!("CARGO_PKG_VERSION"), " (features: dynamodb, eventbridge)"),
        (false, false, false) => {
            concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("HARMONY_COMMIT"), ", no features)")
        }
        (false, true, false) => {
            concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("HARMONY_COMMIT"), ", features: dynamodb)")
        }
        (false, false, true) => {
            concat!(
                env!("CARGO_PKG_VERSION"),
                " (commit ",
                env!("HARMONY_COMMIT"),
                ", features: eventbridge)"
            )
        }
        (false, true, true) => {
            concat!(
                env!("CARGO_PKG_VERSION"),
                " (commit ",
                env!("HARMONY_COMMIT"),
                ", features: dynamodb, eventbridge)"
            )
        }
    }
}

/// The whole command line, its commands in groups.
pub(crate) fn command() -> Command {
    grouped(Cli::command(), GROUPS).mut_subcommand("incident", |incident| grouped(incident, INCIDENT_GROUPS))
}

/// The same command, whose help lists its commands below headings.
fn grouped(command: Command, groups: &[Group]) -> Command {
    let styles = command.get_styles().clone();
    let (heading, literal) = (styles.get_header(), styles.get_literal());
    let names = groups.iter().flat_map(|(_, names)| names.iter());
    let width = names.map(|name| name.len()).max().unwrap_or_default();
    let mut listed = String::new();
    for (title, names) in groups {
        listed.push_str(&format!("{heading}{title}:{heading:#}\n"));
        for name in *names {
            let about = match command.find_subcommand(name).and_then(Command::get_about) {
                Some(about) => about.to_string(),
                None => "Print this message, or the help of a command".to_owned(),
            };
            listed.push_str(&format!("  {literal}{name:<width$}{literal:#}  {about}\n"));
        }
        listed.push('\n');
    }
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{listed}{heading}Global options:{heading:#}\n{{options}}{{after-help}}"
    ))
}

/// Prints the completions of a shell.
pub(crate) fn completions(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "harmony", &mut script);
    output::raw_lines(&String::from_utf8_lossy(&script));
}

/// Writes a man page for every command.
pub(crate) fn man(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir)
        .with_context(|| format!("cannot write to {}", dir.display()))?;
    output::say(&format!(
        "read them with: man -M {} harmony, or man {}/harmony.1",
        dir.display(),
        dir.display()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_stands_in_one_group() {
        let of = |command: &Command| -> Vec<String> {
            let visible = command.get_subcommands().filter(|one| !one.is_hide_set());
            visible.map(|one| one.get_name().to_owned()).filter(|name| name != "help").collect()
        };
        let cli = Cli::command();
        let incident = cli.find_subcommand("incident").unwrap();
        for (command, groups) in [(&cli, GROUPS), (incident, INCIDENT_GROUPS)] {
            let mut grouped: Vec<&str> = groups.iter().flat_map(|(_, names)| names.iter().copied()).collect();
            grouped.retain(|name| *name != "help");
            let (mut known, mut listed) = (of(command), grouped.clone());
            known.sort();
            listed.sort_unstable();
            assert_eq!(listed, known);
        }
    }

    #[test]
    fn help_says_the_exit_codes_and_the_version_what_was_built() {
        let help = command().render_help().to_string();
        for expected in
            ["Incidents:", "  approval", "Global options:", "--color", "Exit codes:", "3  refused by policy"]
        {
            assert!(help.contains(expected), "{help}");
        }
        assert!(VERSION.starts_with(env!("CARGO_PKG_VERSION")) && VERSION.contains("features"));
    }
}

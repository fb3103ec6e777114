//! What `--help`, `--version`, `completions` and `man` say beyond each command's own words: commands in groups, exit
//! codes, and what this build is.

use std::{fs, path::Path, sync::LazyLock};

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::{cli::Cli, output};

/// Name, the commit where it is known, and what was built in.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let features = [
        ("dynamodb", cfg!(feature = "dynamodb")),
        ("eventbridge", cfg!(feature = "eventbridge")),
        ("kubernetes", cfg!(feature = "kubernetes")),
    ];
    version_of(env!("HARMONY_COMMIT"), &features)
});

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

fn version_of(commit: &str, features: &[(&str, bool)]) -> String {
    let built: Vec<&str> = features.iter().filter(|(_, is_in)| *is_in).map(|(name, _)| *name).collect();
    let features =
        if built.is_empty() { "no features".to_owned() } else { format!("features: {}", built.join(", ")) };
    let commit = if commit.is_empty() { String::new() } else { format!("commit {commit}, ") };
    format!("{} ({commit}{features})", env!("CARGO_PKG_VERSION"))
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
    fn version_names_the_commit_and_what_was_built_in() {
        let number = env!("CARGO_PKG_VERSION");
        for (commit, features, expected) in [
            ("", [("dynamodb", false), ("kubernetes", false)], "(no features)"),
            ("1a2b", [("dynamodb", false), ("kubernetes", false)], "(commit 1a2b, no features)"),
            (
                "1a2b",
                [("dynamodb", true), ("kubernetes", true)],
                "(commit 1a2b, features: dynamodb, kubernetes)",
            ),
        ] {
            assert_eq!(version_of(commit, &features), format!("{number} {expected}"));
        }
    }

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

//! What can be typed: `harmony --help` in types.

#![expect(clippy::doc_markdown, reason = "these comments are what --help says, where a backtick would show")]

use std::path::PathBuf;

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::{
    answer::Format,
    checks::{EVERYTHING, Process},
    commands::{
        approval::ApprovalCommand,
        audit::AuditCommand,
        candidate::CandidateCommand,
        capability::CapabilityCommand,
        catalog::CatalogCommand,
        config_init::{INIT_EXAMPLES, InitArgs},
        db::DbCommand,
        deploy::DeployCommand,
        drill::DrillCommand,
        environment::EnvironmentCommand,
        follow_up::FollowUpCommand,
        incident_args::IncidentCommand,
        log::LogCommand,
        release::ReleaseCommand,
        runbook::RunbookCommand,
        service::ServiceCommand,
        subscription::SubscriptionCommand,
        user::UserCommand,
    },
    config::{Flags, Queues},
    help,
};

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed
  2  bad usage or input
  3  refused by policy
  4  not found

Try it:
  harmony demo                     a P1 from declaration to a signed-off review, in seconds
  harmony dev                      the same installation, left running for you
  harmony incident declare         asks for what it needs";

/// Incident response on Temporal: from declaration to a signed-off review, with people in control.
#[derive(Debug, Parser)]
#[command(
    name = "harmony",
    version = help::VERSION.as_str(),
    about,
    max_term_width = 110,
    propagate_version = true,
    after_help = EXIT_CODES
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the options of every command stand in the help.
const GLOBAL: &str = "Global options";

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Shared {
    /// Where the database, the keys and the token are [env: HARMONY_DATA_DIR] [default: .harmony]
    #[arg(long, global = true, value_name = "DIR", help_heading = GLOBAL)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Organisation [env: HARMONY_ORG] [default: default]
    #[arg(long, global = true, value_name = "ORG", help_heading = GLOBAL)]
    pub(crate) org: Option<String>,
    /// Answer in JSON, errors too: -o json
    #[arg(long, global = true, help_heading = GLOBAL, conflicts_with = "format")]
    pub(crate) json: bool,
    /// How to answer
    #[arg(long, short = 'o', global = true, value_name = "FORMAT", help_heading = GLOBAL)]
    pub(crate) format: Option<Format>,
    /// Print what this jq filter makes of the JSON; texts come without quotes
    #[arg(long, global = true, value_name = "FILTER", help_heading = GLOBAL, conflicts_with = "format")]
    pub(crate) jq: Option<String>,
    /// When to colour the output; NO_COLOR in the environment counts for auto
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = GLOBAL)]
    pub(crate) color: ColorChoice,
}

/// Everything that Harmony does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Walk a P1 from declaration to a signed-off review, with everything it needs
    Demo(DemoArgs),
    /// Run everything on this machine, for you to try
    Dev(ListenArgs),
    /// Work on the task queues
    Worker(WorkerArgs),
    /// Serve the API and the console
    Serve(ServeArgs),
    /// Declare, lead and close incidents
    #[command(subcommand)]
    Incident(IncidentCommand),
    /// What is left to be done after incidents
    #[command(subcommand)]
    FollowUp(FollowUpCommand),
    /// Tell people and channels what becomes of incidents
    #[command(subcommand)]
    Subscription(SubscriptionCommand),
    /// Practise: incidents that page nobody and count nowhere
    #[command(subcommand)]
    Drill(DrillCommand),
    /// Approve or reject what waits for a decision
    #[command(subcommand)]
    Approval(ApprovalCommand),
    /// Hand in, look at and promote what may become an incident
    #[command(subcommand)]
    Candidate(CandidateCommand),
    /// Look at runbooks, and check them
    #[command(subcommand)]
    Runbook(RunbookCommand),
    /// Look at services: which release each environment has, and what is wrong
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Look at environments
    #[command(subcommand)]
    Environment(EnvironmentCommand),
    /// Look at releases, and at what their runs said
    #[command(subcommand)]
    Release(ReleaseCommand),
    /// Create and promote releases, and tell what became of them
    #[command(subcommand)]
    Deploy(DeployCommand),
    /// Write services and environments from files
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Add people and machines to the directory file, and make their tokens
    #[command(subcommand)]
    User(UserCommand),
    /// Look at the event log, verify and export it
    #[command(subcommand)]
    Log(LogCommand),
    /// Follow who did what
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Bring the database of the log up to date
    #[command(subcommand)]
    Db(DbCommand),
    /// Show what Harmony can do outside itself
    #[command(subcommand)]
    Capability(CapabilityCommand),
    /// Check the configuration, or begin one
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Set up Temporal
    #[command(subcommand)]
    Temporal(TemporalCommand),
    /// Run stand-ins for Slack, PagerDuty, Statuspage, Confluence, Jira, GitHub and a mail server
    Sandbox(SandboxArgs),
    /// Print the completions of a shell: bash, elvish, fish, powershell, zsh
    #[command(
        after_help = "Examples:\n  harmony completions bash > ~/.local/share/bash-completion/completions/harmony\n  harmony completions zsh > ~/.zfunc/_harmony"
    )]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write a man page for every command into a directory
    Man {
        /// Directory, made where it is not there
        dir: PathBuf,
    },
    /// Ends the process groups named on stdin when stdin closes
    #[command(hide = true)]
    Reaper,
}

/// `harmony config …`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Look at every setting and file, and say what is wrong
    Check(CheckArgs),
    /// Write a harmony.toml that names every setting, or with --for all files of an installation
    #[command(after_help = INIT_EXAMPLES)]
    Init(InitArgs),
}

/// Options of `config check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Then ask the database, Temporal and every vendor, by harmless reads alone
    #[arg(long)]
    pub(crate) live: bool,
    /// Only what this process needs; repeat for several [default: all]
    #[arg(long = "for", value_name = "PROCESS")]
    processes: Vec<Process>,
}

impl CheckArgs {
    /// The processes that were named; all where none was.
    pub(crate) fn processes(&self) -> &[Process] {
        if self.processes.is_empty() { &EVERYTHING } else { &self.processes }
    }
}

/// `harmony temporal …`
#[derive(Debug, Subcommand)]
pub(crate) enum TemporalCommand {
    /// Make the namespace (30 days of retention) and the search attributes
    Setup,
}

/// Options of `dev`.
#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Where to listen; port 0 takes a free one [env: HARMONY_HTTP_ADDR] [default: 127.0.0.1:8088]
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<String>,
}

/// Options of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    /// Stay up afterwards
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) health: HealthArgs,
    #[command(flatten)]
    pub(crate) parent: ParentArgs,
}

/// Options of `worker`.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// Task queue to work on; repeat for both [default: both]
    #[arg(long = "queue", value_name = "QUEUE")]
    pub(crate) queues: Vec<Queue>,
    #[command(flatten)]
    pub(crate) health: HealthArgs,
    #[command(flatten)]
    pub(crate) parent: ParentArgs,
}

/// Where probes and scrapes are answered.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Where to serve /healthz, /readyz and /metrics; port 0 takes a free one [env: HARMONY_METRICS_ADDR] [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<String>,
}

/// For processes that somebody else started.
#[derive(Debug, Args)]
pub(crate) struct ParentArgs {
    /// Stop when stdin closes
    #[arg(long, hide = true)]
    pub(crate) exit_with_stdin: bool,
}

/// A task queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Queue {
    /// Workflows and connector activities
    #[value(name = "harmony-incidents")]
    Incidents,
    /// Runbook cells alone
    #[value(name = "harmony-runbooks")]
    Runbooks,
}

/// Options of `sandbox`.
#[derive(Debug, Args)]
pub(crate) struct SandboxArgs {
    /// Port of Slack; PagerDuty, Statuspage, Confluence, Jira, GitHub, mail and its SMTP have the next seven [default: free ones]
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) port: u16,
    /// Where clicks and webhooks are delivered: Harmony's origin
    #[arg(long, value_name = "URL")]
    pub(crate) harmony: Option<String>,
    /// What interactions are signed with [env: SLACK_SIGNING_SECRET], and webhooks whose own secret is not set
    #[arg(long, value_name = "S")]
    pub(crate) signing_secret: Option<String>,
    #[command(flatten)]
    pub(crate) parent: ParentArgs,
}

impl Shared {
    /// Whether another program reads the answer.
    pub(crate) fn is_structured(&self) -> bool {
        self.errors_in_json() || self.format == Some(Format::Yaml) || self.jq.is_some()
    }

    /// Whether it reads the errors, too.
    pub(crate) fn errors_in_json(&self) -> bool {
        self.json || self.format == Some(Format::Json)
    }
}

impl Cli {
    /// The settings among the flags.
    pub(crate) fn flags(&self) -> Flags {
        let http = match &self.command {
            Command::Demo(args) => args.listen.http.clone(),
            Command::Dev(args) => args.http.clone(),
            Command::Serve(args) => args.listen.http.clone(),
            _ => None,
        };
        let metrics = match &self.command {
            Command::Serve(args) => args.health.metrics.clone(),
            Command::Worker(args) => args.health.metrics.clone(),
            _ => None,
        };
        Flags { data_dir: self.shared.data_dir.clone(), org: self.shared.org.clone(), http, metrics }
    }

    /// Whether the command goes on until it is stopped, and so logs what it does.
    pub(crate) fn is_service(&self) -> bool {
        matches!(self.command, Command::Worker(_) | Command::Serve(_) | Command::Sandbox(_))
    }

    /// What the process is called in traces, where it makes any.
    pub(crate) fn service_name(&self) -> Option<&'static str> {
        match &self.command {
            Command::Worker(_) => Some("harmony-worker"),
            Command::Serve(_) => Some("harmony-console"),
            _ => None,
        }
    }

    /// Whether to stop when stdin closes.
    pub(crate) fn exits_with_stdin(&self) -> bool {
        match &self.command {
            Command::Worker(args) => args.parent.exit_with_stdin,
            Command::Serve(args) => args.parent.exit_with_stdin,
            Command::Sandbox(args) => args.parent.exit_with_stdin,
            _ => false,
        }
    }
}

impl WorkerArgs {
    /// The queues that were named; both where none was.
    pub(crate) fn queues(&self) -> Queues {
        let named = |queue| self.queues.is_empty() || self.queues.contains(&queue);
        Queues { incidents: named(Queue::Incidents), runbooks: named(Queue::Runbooks) }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// clap does not see it: the command's own would be read in the place of the other.
    #[test]
    fn no_command_has_an_option_of_the_name_of_a_global_one() {
        fn collisions(command: &clap::Command, global: &[String], found: &mut Vec<String>) {
            for inner in command.get_subcommands() {
                let own = inner.get_arguments().filter(|argument| !argument.is_global_set());
                let taken = own.filter(|argument| {
                    let names = [Some(argument.get_id().as_str()), argument.get_long()];
                    names.into_iter().flatten().any(|name| global.iter().any(|known| known == name))
                        || argument.get_short().is_some_and(|short| global.contains(&short.to_string()))
                });
                found.extend(taken.map(|argument| format!("{} {}", inner.get_name(), argument.get_id())));
                collisions(inner, global, found);
            }
        }
        let command = Cli::command();
        let global = command.get_arguments().filter(|argument| argument.is_global_set());
        let names = |argument: &clap::Arg| {
            let short = argument.get_short().map(|short| short.to_string());
            [Some(argument.get_id().to_string()), short].into_iter().flatten().collect::<Vec<_>>()
        };
        let global: Vec<String> = global.flat_map(names).collect();
        assert!(global.contains(&"o".to_owned()) && global.contains(&"json".to_owned()), "{global:?}");
        let mut found = Vec::new();
        collisions(&command, &global, &mut found);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_worker_without_queues_serves_both() {
        for (line, expected) in [
            (&["harmony", "worker"][..], (true, true)),
            (&["harmony", "worker", "--queue", "harmony-runbooks"], (false, true)),
            (&["harmony", "worker", "--queue", "harmony-incidents"], (true, false)),
        ] {
            let Command::Worker(args) = Cli::try_parse_from(line).unwrap().command else { panic!() };
            assert_eq!((args.queues().incidents, args.queues().runbooks), expected);
        }
    }
}

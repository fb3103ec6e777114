//! `harmony`: the worker, the server, the command line, and a whole installation for trying it out.
//!
//! [`main`] installs the TLS provider, reads the command line, starts logging to stderr and hands over to one command.
//! Data goes to stdout, everything else to stderr; an error is one line of what and one of what to do. Exit codes:
//! 0 done, 1 failed, 2 bad usage or input, 3 refused by policy, 4 not found.

mod answer;
mod api;
mod checks;
mod cli;
mod commands;
mod config;
mod confinement;
mod console_outputs;
mod demo;
mod deployments;
#[cfg(test)]
mod docs;
mod environment_policies;
mod failure;
mod fanout;
mod flags;
mod folder;
mod governance;
mod health;
mod help;
mod jobs;
mod keys;
#[cfg(test)]
mod manifests;
mod moments;
mod output;
mod people;
mod promotion_policies;
mod run_worker;
mod runbook_catalog;
mod sample;
mod settings;
mod supervisor;
mod telemetry;
mod temporal;
mod temporal_cli;
mod terminal;
mod update_templates;
mod vendor_settings;

use std::{io::Read, process::ExitCode, thread, time::Duration};

use anyhow::Context;
use clap::{ColorChoice, FromArgMatches};

use answer::Answer;
use cli::{Cli, Command, ConfigCommand, TemporalCommand};
use commands::user::UserCommand;
use config::Config;
use failure::{Exit, Failures};

/// How long a process whose parent is gone may take to stop.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(8);

/// The whole program: what the binary `harmony` is.
#[must_use]
pub fn main() -> ExitCode {
    withhold_memory();
    install_crypto();
    let cli = match parsed() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    terminal::set_up(cli.shared.color, cli.shared.errors_in_json());
    match run(&cli) {
        Ok(code) if code == ExitCode::SUCCESS && output::has_failed() => ExitCode::from(Exit::Failed.code()),
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}

/// The command line. What cannot be read is said as clap says it, or as a problem document where JSON was asked for.
fn parsed() -> Result<Cli, ExitCode> {
    let matches = help::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    matches.map_err(|error| {
        if error.use_stderr() && wants_json(std::env::args()) {
            terminal::set_up(ColorChoice::Never, true);
            let text = error.render().to_string();
            let what = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            output::problem(Exit::Usage, &what, "--help shows what this command takes");
        } else {
            // Help and version go to stdout; a reader who closed it wanted no more.
            drop(error.print());
        }
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code()))
    })
}

/// Whether a command line that cannot be read asks for JSON.
fn wants_json(arguments: impl Iterator<Item = String>) -> bool {
    let mut before = String::new();
    for argument in arguments {
        let named = matches!(before.as_str(), "-o" | "--format") && argument == "json";
        if named || matches!(argument.as_str(), "--json" | "--format=json" | "-ojson" | "-o=json") {
            return true;
        }
        before = argument;
    }
    false
}

/// Closes this process's memory and environment to others of the same account, such as a runbook's cells, and keeps both
/// out of core dumps. Only Linux offers it; elsewhere an account of its own for the runbook pool has to do.
fn withhold_memory() {
    // It fails for no reason that the kernel documents.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// One TLS provider for the whole process: reqwest and the SDK would otherwise disagree about it.
pub(crate) fn install_crypto() {
    // Refused only where one is installed already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    answer::set_up(Answer::of(cli.shared.format, cli.shared.jq.as_deref())?);
    // What needs no settings.
    match &cli.command {
        Command::Reaper => return supervisor::reaper::run().map(|()| ExitCode::SUCCESS),
        Command::Completions { shell } => {
            help::completions(*shell);
            return Ok(ExitCode::SUCCESS);
        }
        Command::Config(ConfigCommand::Init(args)) => {
            return commands::config_init::run(args, cli.shared.is_structured()).map(|()| ExitCode::SUCCESS);
        }
        Command::Man { dir } => return help::man(dir).map(|()| ExitCode::SUCCESS),
        _ => {}
    }
    let (config, wrong) = Config::load(&cli.flags());
    let checking = match &cli.command {
        Command::Config(ConfigCommand::Check(args)) => Some(args),
        _ => None,
    };
    if checking.is_none() {
        Failures::none(wrong.clone())?;
    }
    let logging = telemetry::start_logging(&config, if cli.is_service() { "info" } else { "error" });
    // A check tells that itself.
    logging.or_else(|failure| if checking.is_some() { Ok(()) } else { Err(failure) })?;
    if cli.exits_with_stdin() {
        exit_with_stdin();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime does not start")?;
    let exporting = {
        let _inside = runtime.enter();
        match cli.service_name() {
            Some(service) => telemetry::start(&config, service)?,
            None => None,
        }
    };
    let code = runtime.block_on(async {
        match checking {
            Some(args) => {
                let json = cli.shared.is_structured();
                commands::config_check::run(&config, wrong, args.processes(), args.live, json).await
            }
            None => Box::pin(dispatch(cli, &config)).await,
        }
    })?;
    // The last spans are sent while there is a runtime to send them.
    drop(exporting);
    // A blocking task, such as a lookup of a name, must not hold the process.
    runtime.shutdown_timeout(Duration::from_millis(500));
    Ok(code)
}

async fn dispatch(cli: &Cli, config: &Config) -> anyhow::Result<ExitCode> {
    let json = cli.shared.is_structured();
    match &cli.command {
        Command::Demo(args) => Box::pin(demo::run(config, args.keep, json)).await?,
        Command::Dev(_) => Box::pin(supervisor::dev(config, json)).await?,
        Command::Worker(args) => Box::pin(run_worker::run(config, args.queues())).await?,
        Command::Serve(_) => Box::pin(commands::serve::run(config, json)).await?,
        Command::Incident(command) => return commands::incident::run(config, command, json).await,
        Command::FollowUp(command) => return commands::follow_up::run(config, command, json).await,
        Command::Subscription(command) => return commands::subscription::run(config, command, json).await,
        Command::Drill(command) => return commands::drill::run(config, command, json).await,
        Command::Approval(command) => return commands::approval::run(config, command, json).await,
        Command::Candidate(command) => return commands::candidate::run(config, command, json).await,
        Command::Runbook(command) => return commands::runbook::run(config, command, json).await,
        Command::User(UserCommand::Link { id }) => {
            return commands::sign_in_link::run(config, id.as_deref(), json).await;
        }
        Command::User(command) => return commands::user::run(config, command, json),
        Command::Service(command) => return commands::service::run(config, command, json).await,
        Command::Environment(command) => return commands::environment::run(config, command, json).await,
        Command::Release(command) => return commands::release::run(config, command, json).await,
        Command::Deploy(command) => return commands::deploy::run(config, command, json).await,
        Command::Catalog(command) => return commands::catalog::run(config, command, json).await,
        Command::Audit(command) => return commands::audit::run(config, command, json).await,
        Command::Log(command) => return commands::log::run(config, command, json).await,
        Command::Db(command) => return commands::db::run(config, command, json).await,
        Command::Capability(command) => return commands::capability::run(config, command, json),
        Command::Temporal(TemporalCommand::Setup) => commands::temporal_setup::run(config, json).await?,
        Command::Sandbox(args) => commands::sandbox::run(config, args, json).await?,
        // Taken before.
        Command::Config(_) | Command::Completions { .. } | Command::Man { .. } | Command::Reaper => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops this process when whoever started it is gone, however they went: the other end of stdin closes.
fn exit_with_stdin() {
    thread::spawn(|| {
        let mut ignored = [0_u8; 64];
        let mut stdin = std::io::stdin().lock();
        while matches!(stdin.read(&mut ignored), Ok(read) if read > 0) {}
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM);
        thread::sleep(ORPHAN_PATIENCE);
        std::process::exit(1);
    });
}

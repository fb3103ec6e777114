//! `harmony db …`: the log's database, its schema and its projections. May be repeated.
//!
//! A SQLite file brings itself up to date when Harmony opens it; a PostgreSQL database does not, since several
//! versions of Harmony may be at work on it while a new one is rolled out.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use harmony_eventlog::open;
use serde_json::json;

use crate::{
    config::{Config, unreadable},
    failure::{Exit, Failure},
    keys, output,
};

/// What can be done with the database.
#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Make the schema, or bring an older one up to date
    Migrate(MigrateArgs),
    /// Make what lists and pages show again, from the records; a log that does not verify is left alone
    RebuildProjections,
}

/// Options of `migrate`.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Change nothing; exit with 1 when there is something to migrate
    #[arg(long)]
    check: bool,
}

/// Carries out one command.
pub(crate) async fn run(config: &Config, command: &DbCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        DbCommand::Migrate(args) => migrate(config, args, json).await,
        DbCommand::RebuildProjections => rebuild(config, json).await,
    }
}

async fn migrate(config: &Config, args: &MigrateArgs, json: bool) -> anyhow::Result<ExitCode> {
    let address = config.database()?;
    let parent = address.path().and_then(|path| path.parent());
    if let Some(parent) = parent.filter(|parent| !args.check && !parent.as_os_str().is_empty()) {
        keys::private_dir(parent)?;
    }
    let schema = if args.check { open::schema(&address).await } else { open::migrate(&address).await };
    let schema = schema.map_err(|error| unreadable(&error))?;
    if schema.found > schema.known {
        let error = harmony_eventlog::LogError::NewerSchema { found: schema.found, known: schema.known };
        return Err(unreadable(&error).into());
    }
    let is_pending = schema.found < schema.known;
    let (store, found, known) = (address.store(), schema.found, schema.known);
    if json {
        let migrated = is_pending && !args.check;
        output::json(&json!({
            "database": address.to_string(), "store": store, "from": found, "to": known,
            "pending": is_pending && args.check, "migrated": migrated,
        }));
    } else if !is_pending {
        output::data(&format!("{address}: {store} schema {known}, nothing to migrate"));
    } else if args.check {
        output::data(&format!("{address}: {store} schema {found}, this version needs {known}"));
    } else {
        output::data(&format!("{address}: {store} schema {found} → {known}"));
    }
    if is_pending && args.check {
        output::problem(
            Exit::Failed,
            "the database is not up to date",
            "run `harmony db migrate` with the same DATABASE_URL",
        );
        return Ok(ExitCode::from(Exit::Failed.code()));
    }
    Ok(ExitCode::SUCCESS)
}

async fn rebuild(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let address = config.database()?;
    if let Some(path) = address.path().filter(|path| !path.is_file()) {
        return Err(Failure::failed(
            format!("there is no log at {}", path.display()),
            "set DATABASE_URL to where it is, or --data-dir to where Harmony runs",
        )
        .into());
    }
    let rebuilt = open::rebuild(&address, &config.org).await.map_err(|error| unreadable(&error))?;
    if json {
        output::json(&json!({
            "streams": rebuilt.streams, "records": rebuilt.records, "mended": rebuilt.mended,
        }));
    } else {
        output::data(&format!(
            "{}: {} streams, {} records folded, {} projections mended",
            config.org, rebuilt.streams, rebuilt.records, rebuilt.mended
        ));
    }
    Ok(ExitCode::SUCCESS)
}

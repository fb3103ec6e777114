//! `harmony config init`: a `harmony.toml` that names every setting, or all files of an installation.
//!
//! With `--for` it writes what an installation of that kind needs to start: settings, a directory with one person in it, a
//! policy, access policies, promotion policies, change windows, runbooks, templates, and what starts its processes. On a
//! terminal it asks for what no flag says. Nothing is written over, and nothing is written unless all of it can be.

mod installation;
mod kubernetes;
mod settings_file;

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;

use self::installation::{Installation, Site, Temporal};
use crate::{failure::Failure, output, settings::FILE};

/// Below the help of the command.
pub(crate) const INIT_EXAMPLES: &str = "Examples:
  harmony config init                               asks on a terminal; else harmony.toml with every setting
  harmony config init --for laptop ~/harmony --admin ada
  harmony config init --for server / --postgres postgres://harmony@%2Fvar%2Frun%2Fpostgresql/harmony
  harmony config init --for kubernetes site --postgres postgres://harmony:…@db/harmony --console-url https://harmony.example.com
  harmony config init --for server site --temporal-cloud harmony.a1b2c";

/// Where an installation starts when nobody says it.
const FOLDER: &str = "harmony";
/// Who may do everything in it.
const ADMIN: &str = "admin";

/// Options of `config init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// File to write, which must not be there yet; with --for the folder of the installation [default: harmony.toml, harmony]
    path: Option<PathBuf>,
    /// Write all files of an installation of this kind
    #[arg(long = "for", value_name = "KIND")]
    kind: Option<InstallationKind>,
    /// Id of the first person, who gets every right of an administrator and a commander, and a token [default: admin]
    #[arg(long, value_name = "ID", requires = "kind")]
    admin: Option<String>,
    /// Keep the log in this PostgreSQL instead of SQLite; Kubernetes needs it
    #[arg(long, value_name = "URL", requires = "kind")]
    postgres: Option<String>,
    /// Where people reach the console; links in messages begin with it
    #[arg(long, value_name = "URL", requires = "kind")]
    console_url: Option<String>,
    /// Where Temporal is, if it is not to be started on the same machine
    #[arg(long, value_name = "HOST:PORT", requires = "kind")]
    temporal_address: Option<String>,
    /// Namespace at Temporal [default: harmony]
    #[arg(long, value_name = "NAMESPACE", requires = "kind")]
    temporal_namespace: Option<String>,
    /// Use this namespace of Temporal Cloud
    #[arg(
        long,
        value_name = "NAMESPACE.ACCOUNT",
        requires = "kind",
        conflicts_with_all = ["temporal_address", "temporal_namespace"]
    )]
    temporal_cloud: Option<String>,
}

/// What an installation runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InstallationKind {
    /// One account on one machine, started by hand
    Laptop,
    /// One machine with systemd; the folder is its root, so that / installs it in place
    Server,
    /// Values for the chart, and a manifest of secrets
    Kubernetes,
}

/// Writes what is asked for.
pub(crate) fn run(args: &InitArgs, json: bool) -> anyhow::Result<()> {
    let asks = args.path.is_none() && args.kind.is_none() && !json && output::is_interactive();
    let kind = if asks { ask_kind()? } else { args.kind };
    let Some(kind) = kind else {
        let path = args.path.clone().unwrap_or_else(|| FILE.into());
        return write_settings_file(&path, json);
    };
    let site = if asks { ask_site(kind) } else { site(args) };
    let folder = args.path.clone().unwrap_or_else(|| FOLDER.into());
    let folder = std::path::absolute(&folder).with_context(|| format!("cannot find {}", folder.display()))?;
    let installation = Installation::new(kind, &site, &folder)?;
    write_all(&folder, &installation)?;
    tell(&folder, &installation, &site, json);
    Ok(())
}

fn site(args: &InitArgs) -> Site {
    let own = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    Site {
        admin: own(&args.admin).unwrap_or_else(|| ADMIN.to_owned()),
        postgres: own(&args.postgres),
        console_url: own(&args.console_url),
        temporal: match own(&args.temporal_cloud) {
            Some(namespace) => Temporal::Cloud { namespace },
            None => Temporal::Server {
                address: own(&args.temporal_address),
                namespace: own(&args.temporal_namespace),
            },
        },
    }
}

fn ask_kind() -> anyhow::Result<Option<InstallationKind>> {
    let names: Vec<String> = InstallationKind::value_variants()
        .iter()
        .filter_map(|kind| Some(kind.to_possible_value()?.get_name().to_owned()))
        .collect();
    let question = format!("For what: {} (empty: only a {FILE} that names every setting)?", names.join(", "));
    let Some(answer) = output::ask(&question) else { return Ok(None) };
    InstallationKind::from_str(&answer, true).map(Some).map_err(|_| {
        Failure::usage(
            format!("{answer:?} is no kind of installation"),
            format!("one of {}", names.join(", ")),
        )
        .into()
    })
}

fn ask_site(kind: InstallationKind) -> Site {
    let admin =
        output::ask(&format!("Id of the first person [{ADMIN}]:")).unwrap_or_else(|| ADMIN.to_owned());
    let postgres = match kind {
        InstallationKind::Laptop => None,
        InstallationKind::Server => output::ask("Address of PostgreSQL, postgres://… (empty: SQLite):"),
        InstallationKind::Kubernetes => output::ask("Address of PostgreSQL, postgres://…:"),
    };
    let console_url = output::ask("Where people will reach the console, https://… (empty: not yet known):");
    let temporal = match output::ask(
        "Temporal: HOST:PORT, or NAMESPACE.ACCOUNT of Temporal Cloud (empty: where the installation expects it):",
    ) {
        Some(cloud) if !cloud.contains(':') => Temporal::Cloud { namespace: cloud },
        address => Temporal::Server { address, namespace: None },
    };
    Site { admin, postgres, console_url, temporal }
}

fn write_settings_file(path: &Path, json: bool) -> anyhow::Result<()> {
    refuse_what_is_there([path])?;
    // Secrets may be written into it.
    write_new(path, &settings_file::text(), 0o600)?;
    if json {
        output::json(&json!({ "files": [path] }));
    } else {
        output::data(&path.display().to_string());
        output::say("every setting is in it, none is set; `harmony config check` says what is missing");
    }
    Ok(())
}

fn write_all(folder: &Path, installation: &Installation) -> anyhow::Result<()> {
    let paths: Vec<PathBuf> = installation.files.iter().map(|file| folder.join(&file.path)).collect();
    refuse_what_is_there(paths.iter().map(PathBuf::as_path))?;
    for (file, path) in installation.files.iter().zip(&paths) {
        let parent = path.parent().unwrap_or(folder);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(if file.is_open() { 0o755 } else { 0o700 })
            .create(parent)
            .with_context(|| format!("cannot make the folder {}", parent.display()))?;
        write_new(path, &file.text, file.mode)?;
    }
    Ok(())
}

fn refuse_what_is_there<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Result<(), Failure> {
    let there: Vec<String> =
        paths.into_iter().filter(|path| path.exists()).map(|path| path.display().to_string()).collect();
    match &there[..] {
        [] => Ok(()),
        [first, rest @ ..] => {
            let others = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
            Err(Failure::usage(
                format!("{first} is there already{others}; nothing was written"),
                "name another place, or look at it with `harmony config check`",
            ))
        }
    }
}

fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn tell(folder: &Path, installation: &Installation, site: &Site, json: bool) {
    if json {
        let files: Vec<PathBuf> = installation.files.iter().map(|file| folder.join(&file.path)).collect();
        output::json(&json!({
            "folder": folder, "files": files, "admin": site.admin, "token": installation.token,
            "next": installation.next,
        }));
        return;
    }
    output::data(&installation.token);
    output::say(&format!("the token of {}: it is shown this once", site.admin));
    output::say(&format!("{} files are in {}; next:", installation.files.len(), folder.display()));
    for line in &installation.next {
        output::say(&format!("  {line}"));
    }
}

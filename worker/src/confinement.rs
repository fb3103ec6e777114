//! What runbook cells are kept from by the kernel: Harmony's data and credentials, and the ports of Harmony, its database and
//! Temporal.
//!
//! On by default where a process runs cells and nothing else; where it is a worker of the incidents queue, too (`dev`, `demo`),
//! only where the setting says so, since the sample runbooks are tried there by people who do not expect it.

use std::{collections::BTreeSet, path::PathBuf};

use harmony_runner::{Confinement, Support};

use crate::{config::Config, failure::Failure};

/// The setting.
const SETTING: &str = "HARMONY_RUNBOOK_LANDLOCK";

/// What cells are held to. `pool` says that the process runs nothing but cells.
pub(crate) fn of(config: &Config, pool: bool) -> Result<Option<Confinement>, Failure> {
    let support = Support::of_this_kernel();
    if !wanted(config, pool, support)? {
        return Ok(None);
    }
    let ports = if support.connections { ports(config) } else { BTreeSet::new() };
    Ok(Some(Confinement::new(unreadable(config), ports)))
}

/// The same in words.
pub(crate) fn told(config: &Config, pool: bool) -> Result<String, Failure> {
    let support = Support::of_this_kernel();
    if !wanted(config, pool, support)? {
        let why = if support.files { "switched off" } else { "this kernel has no Landlock" };
        return Ok(format!("not confined: {why}; they may do what this account may"));
    }
    let ports: Vec<String> = ports(config).iter().map(u16::to_string).collect();
    let connections = if support.connections {
        format!("no connection to ports {}", ports.join(", "))
    } else {
        "any connection, since this kernel is older than Linux 6.7".to_owned()
    };
    Ok(format!(
        "confined by Landlock: they write to their workdir and TMPDIR, do not read {}, and open {connections}",
        config.data_dir.display()
    ))
}

fn wanted(config: &Config, pool: bool, support: Support) -> Result<bool, Failure> {
    match config.settings.get(SETTING) {
        None => Ok(pool && support.files),
        Some("off") => Ok(false),
        Some("on") if support.files => Ok(true),
        Some("on") => Err(Failure::usage(
            format!("{SETTING}: this kernel has no Landlock"),
            "leave the setting out, or run cells on a kernel with Landlock (Linux 5.13 or later)",
        )),
        Some(other) => {
            Err(Failure::usage(format!("{SETTING}: {other:?} is neither on nor off"), "set it to on or off"))
        }
    }
}

/// The data directory with its keys and tokens, the secrets of other cells, and the file with the settings.
fn unreadable(config: &Config) -> Vec<PathBuf> {
    let secrets = config.settings.get("HARMONY_RUNBOOK_SECRETS").map(PathBuf::from);
    [Some(config.data_dir.clone()), Some(config.outputs_path()), secrets, config.settings.file.clone()]
        .into_iter()
        .flatten()
        .collect()
}

/// Of Temporal, the database, and what Harmony itself listens on.
fn ports(config: &Config) -> BTreeSet<u16> {
    let temporal = config.temporal_address.rsplit(':').next().and_then(|port| port.parse().ok());
    let database = config.settings.get("DATABASE_URL").and_then(|text| url::Url::parse(text).ok());
    let database = database.and_then(|url| match url.scheme() {
        "postgres" | "postgresql" => Some(url.port().unwrap_or(5432)),
        _ => url.port(),
    });
    // Whoever reaches the console by a port of the web shares it with everything else that cells may want.
    let console = config.api_origin().ok().flatten().and_then(|origin| origin.port_or_known_default());
    let console = console.filter(|port| ![80, 443].contains(port));
    let own = [Some(config.http_addr.port()), config.metrics_addr.map(|address| address.port()), console];
    own.into_iter().flatten().chain(temporal).chain(database).filter(|port| *port != 0).collect()
}

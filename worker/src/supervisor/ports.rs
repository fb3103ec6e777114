//! Ports that stay: a child that is started again is found where it was.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

use anyhow::{Context, bail};
use secrecy::ExposeSecret;

use crate::{config::Config, failure::Failure, keys};

/// Where the server is to listen: as named; by default the default, or where that is taken a free port,
/// the same each time.
pub(super) fn http(config: &Config, say: &(dyn Fn(&str) + Sync)) -> anyhow::Result<SocketAddr> {
    let wanted = config.http_addr;
    match TcpListener::bind(wanted) {
        Ok(_) if wanted.port() == 0 => Ok(SocketAddr::new(wanted.ip(), free()?)),
        Ok(listener) => listener.local_addr().context("a listener has no address"),
        Err(_) if !config.names_http_addr() => {
            let port = remembered(&config.in_data_dir("http.port"))?;
            say(&format!("{wanted} is taken; listening on port {port} instead"));
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        }
        Err(error) => Err(Failure::failed(
            format!("cannot listen on {wanted}: {error}"),
            "stop what listens there, or take another address with --http (port 0 takes a free one)",
        )
        .into()),
    }
}

/// The port that this file names, if it is still free, else a new one, which it names from now on.
pub(super) fn remembered(path: &Path) -> anyhow::Result<u16> {
    let known = keys::read(path)?.and_then(|text| text.expose_secret().parse::<u16>().ok());
    if let Some(port) = known
        && is_free(port)
    {
        return Ok(port);
    }
    let port = free()?;
    keys::write_private(path, &port.to_string())?;
    Ok(port)
}

/// Somebody took a port between its choice and its use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("somebody took a port between its choice and its use")]
pub(super) struct Taken;

/// Has every port chosen anew.
pub(super) fn forget_all(config: &Config) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(&config.data_dir).context("the ports cannot be forgotten")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "port") {
            std::fs::remove_file(&path).with_context(|| format!("cannot forget {}", path.display()))?;
        }
    }
    Ok(())
}

/// Ports below those that systems give to outgoing connections (Linux: from 32768; IANA: from 49152), one of which could
/// take a port between its choice and its use.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// So many taken ones in a row mean that something else is wrong.
const TRIES: usize = 100;

fn free() -> anyhow::Result<u16> {
    for _ in 0..TRIES {
        let mut random = [0; 2];
        getrandom::fill(&mut random).context("the system gives no random numbers")?;
        let port = PORTS.start + u16::from_ne_bytes(random) % (PORTS.end - PORTS.start);
        if is_free(port) {
            return Ok(port);
        }
    }
    bail!("there is no free port from {} to {}", PORTS.start, PORTS.end)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_kept_while_it_is_free() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("temporal.port");
        let first = remembered(&path).unwrap();
        assert_eq!(remembered(&path).unwrap(), first);
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        assert_ne!(remembered(&path).unwrap(), first);
        drop(taken);
    }
}

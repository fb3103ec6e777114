//! The Temporal CLI, whose development server `dev` and `demo` run: found, or installed into the cache.
//!
//! Looked for in `HARMONY_TEMPORAL_CLI`, PATH and the cache. Installed by Go where Go is there, else by the SDK's own
//! download. A lock on a file keeps two processes from installing at the same time; the finished binary is moved into
//! place, so that nobody runs half of one.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, anyhow};
use temporalio_sdk_core::ephemeral_server::{EphemeralExe, EphemeralExeVersion, TemporalDevServerConfig};
use tokio::process::Command;

use crate::{config::Config, failure::Failure, keys};

/// The release that Harmony is tested with.
const VERSION: &str = "1.5.1";
const PACKAGE: &str = "github.com/temporalio/cli/cmd/temporal@v1.5.1";
/// Compiling it takes some minutes on a small machine, downloading it less.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// How often to say that it still goes on.
const PATIENCE: Duration = Duration::from_secs(20);

/// Finds the CLI, or installs it, telling `say` about it.
pub(crate) async fn find_or_install(config: &Config, say: &(dyn Fn(&str) + Sync)) -> anyhow::Result<PathBuf> {
    if let Some(named) = config.temporal_cli() {
        return if is_program(&named) {
            Ok(named)
        } else {
            let what = format!("HARMONY_TEMPORAL_CLI: there is no program at {}", named.display());
            Err(Failure::usage(what, "set it to the temporal binary, or unset it").into())
        };
    }
    if let Some(found) = in_path("temporal") {
        return Ok(found);
    }
    let cache = cache_dir()?;
    let cached = cache.join(format!("temporal-{VERSION}"));
    if is_program(&cached) {
        return Ok(cached);
    }
    keys::private_dir(&cache)?;
    let lock = locked(&cache.join("install.lock"), say).await?;
    // Somebody else may have installed it while we waited.
    if !is_program(&cached) {
        install(&cache, &cached, say).await?;
    }
    drop(lock);
    Ok(cached)
}

async fn install(cache: &Path, cached: &Path, say: &(dyn Fn(&str) + Sync)) -> anyhow::Result<()> {
    let by_go = match in_path("go") {
        Some(go) => {
            say(&format!(
                "installing the Temporal CLI {VERSION} with Go into {} (some minutes, once)",
                cache.display()
            ));
            install_with_go(&go, cache, cached, say).await
        }
        None => Err(anyhow!("there is no Go here")),
    };
    let Err(go_error) = by_go else {
        say("installed the Temporal CLI");
        return Ok(());
    };
    say(&format!("downloading the Temporal CLI {VERSION} into {}", cache.display()));
    let downloaded = tokio::time::timeout(INSTALL_TIMEOUT, download(cache, cached)).await;
    let downloaded = downloaded.unwrap_or_else(|_| Err(anyhow!("it took longer than half an hour")));
    downloaded.map_err(|error| {
        tracing::debug!(error = format!("{error:#}"), go_error = format!("{go_error:#}"), "no Temporal CLI");
        let what = format!("the Temporal CLI cannot be installed: {go_error:#}; the download: {error:#}");
        Failure::failed(what, "install `temporal` yourself and set HARMONY_TEMPORAL_CLI to it").into()
    })
}

async fn install_with_go(
    go: &Path,
    cache: &Path,
    cached: &Path,
    say: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<()> {
    let temporary = cache.join(format!("install-{}", std::process::id()));
    keys::private_dir(&temporary)?;
    let child = Command::new(go)
        .args(["install", PACKAGE])
        .env("GOBIN", &temporary)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("Go does not start")?;
    let mut output = Box::pin(child.wait_with_output());
    let begun = tokio::time::Instant::now();
    let ended = loop {
        tokio::select! {
            ended = &mut output => break ended.context("Go broke off")?,
            () = tokio::time::sleep(PATIENCE) => {
                if begun.elapsed() > INSTALL_TIMEOUT {
                    return Err(anyhow!("Go took longer than half an hour"));
                }
                say(&format!("still compiling the Temporal CLI ({} s)", begun.elapsed().as_secs()));
            }
        }
    };
    let result = if ended.status.success() {
        fs::rename(temporary.join("temporal"), cached).context("the binary cannot be moved into the cache")
    } else {
        let stderr = String::from_utf8_lossy(&ended.stderr);
        Err(anyhow!("go install: {}", stderr.lines().last().unwrap_or("no reason given")))
    };
    drop(fs::remove_dir_all(&temporary));
    result
}

/// The SDK downloads when it starts a server of its own; that server is stopped at once, the binary stays.
async fn download(cache: &Path, cached: &Path) -> anyhow::Result<()> {
    let temporary = cache.join(format!("download-{}", std::process::id()));
    keys::private_dir(&temporary)?;
    let executable = EphemeralExe::CachedDownload {
        version: EphemeralExeVersion::Fixed(format!("v{VERSION}")),
        dest_dir: Some(temporary.display().to_string()),
        ttl: None,
    };
    let server = TemporalDevServerConfig::builder().exe(executable).build();
    let started = server.start_server_with_output(Stdio::null(), Stdio::null()).await;
    let found = temporary.join(format!("temporal-v{VERSION}"));
    match started {
        Ok(mut server) => drop(server.shutdown().await),
        // The server is of no matter here, only the binary.
        Err(_) if is_program(&found) => {}
        Err(error) => {
            drop(fs::remove_dir_all(&temporary));
            return Err(error.into());
        }
    }
    let moved = fs::rename(&found, cached).context("the binary cannot be moved into the cache");
    drop(fs::remove_dir_all(&temporary));
    moved
}

async fn locked(path: &Path, say: &(dyn Fn(&str) + Sync)) -> anyhow::Result<File> {
    let open = || File::create(path).with_context(|| format!("cannot open {}", path.display()));
    let file = open()?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    say("somebody else installs the Temporal CLI: waiting for them");
    tokio::task::spawn_blocking(move || file.lock().map(|()| file))
        .await
        .context("waiting broke off")?
        .with_context(|| format!("cannot lock {}", path.display()))
}

fn cache_dir() -> anyhow::Result<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let base = base.ok_or_else(|| {
        Failure::failed(
            "there is no cache: neither XDG_CACHE_HOME nor HOME is set",
            "set HARMONY_TEMPORAL_CLI",
        )
    })?;
    Ok(base.join("harmony/bin"))
}

/// The first program of this name in PATH.
fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

//! Secrets that Harmony makes for itself: generated once, 64 hex digits, readable by their owner alone.
//!
//! Several processes may start at the same time on one data directory: the file is written under another name and
//! linked into place, so that all of them read the same, complete key.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use anyhow::Context;
use secrecy::SecretString;

/// Makes a directory, and its parents, that only its owner may enter.
pub(crate) fn private_dir(path: &Path) -> anyhow::Result<()> {
    let existed = path.is_dir();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))?;
    if !existed {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("cannot close the directory {} to others", path.display()))?;
    }
    Ok(())
}

/// Makes the data directory, and closes to others what of it they could read: the directory itself, its databases, keys
/// and tokens.
pub(crate) fn close_data_dir(path: &Path) -> anyhow::Result<()> {
    private_dir(path)?;
    close_to_others(path);
    for directory in [path.to_owned(), path.join("tokens")] {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_secret = directory.ends_with("tokens")
                || matches!(name.as_ref(), "token" | "tokens" | "slack-signing-secret")
                || name.ends_with(".key")
                || [".db", ".db-wal", ".db-shm"].iter().any(|end| name.ends_with(end));
            if is_secret {
                close_to_others(&entry.path());
            }
        }
    }
    Ok(())
}

/// A file that is somebody else's, or on a disk that is only read, stays as it is.
fn close_to_others(path: &Path) {
    let Ok(found) = fs::metadata(path) else { return };
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return;
    }
    let path_shown = path.display();
    match fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700)) {
        Ok(()) => tracing::warn!(path = %path_shown, "others could read this; it is closed to them now"),
        Err(error) => {
            tracing::warn!(path = %path_shown, %error, "others can read this, and it cannot be closed to them");
        }
    }
}

/// Writes a file that only its owner may read, all of it or nothing.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let temporary = beside(path)?;
    write_new(&temporary, text)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Reads a key, or makes it. Another process that makes it at the same time wins or loses; both read the same.
pub(crate) fn read_or_make(
    path: &Path,
    make: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<SecretString> {
    if let Some(known) = read(path)? {
        return Ok(known);
    }
    if let Some(parent) = path.parent() {
        private_dir(parent)?;
    }
    let temporary = beside(path)?;
    write_new(&temporary, &make()?).with_context(|| format!("cannot write {}", path.display()))?;
    let linked = fs::hard_link(&temporary, path);
    drop(fs::remove_file(&temporary));
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot write {}", path.display()))
        }
        _ => {
            read(path)?.with_context(|| format!("{} is empty: delete it, a new one is made", path.display()))
        }
    }
}

/// Reads a secret file; none where there is no file, or where it is empty.
pub(crate) fn read(path: &Path) -> anyhow::Result<Option<SecretString>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()).map(SecretString::from)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// 32 random bytes in hex.
pub(crate) fn random_hex() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    Ok(hex::encode(bytes))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn beside(path: &Path) -> anyhow::Result<std::path::PathBuf> {
    let mut suffix = [0_u8; 8];
    getrandom::fill(&mut suffix)
        .map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(path.with_file_name(format!(".{name}.{}", hex::encode(suffix))))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_closed_to_others() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data/attestation.key");
        let first = read_or_make(&path, random_hex).unwrap();
        let again = read_or_make(&path, || panic!("it exists")).unwrap();
        assert_eq!(first.expose_secret(), again.expose_secret());
        assert_eq!(first.expose_secret().len(), 64);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn an_open_data_directory_is_closed_with_what_is_secret_in_it() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        fs::create_dir_all(data.join("tokens")).unwrap();
        let secret = [
            "harmony.db",
            "harmony.db-wal",
            "temporal.db",
            "temporal.db-shm",
            "salt.key",
            "token",
            "tokens/admin",
        ];
        for name in secret.iter().chain(&["policy.toml"]) {
            fs::write(data.join(name), "").unwrap();
            fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
        fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
        close_data_dir(&data).unwrap();
        let mode = |name: &str| fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("tokens"), mode("policy.toml")), (0o700, 0o700, 0o644));
        assert_eq!(secret.map(mode), [0o600; 7]);
    }
}

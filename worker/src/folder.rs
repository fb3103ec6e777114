//! Folders of small files that people write: policies and templates. Read as a whole, and again whenever one changes.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::governance::{Fingerprint, fingerprint};

/// What tells one version of a folder from another.
pub(crate) type Seen = Vec<(PathBuf, Fingerprint)>;

/// The files with one of these extensions as they are now, by name.
pub(crate) fn look(folder: &Path, extensions: &[&str]) -> Seen {
    let files = files(folder, extensions).unwrap_or_default();
    files.into_iter().map(|path| (path.clone(), fingerprint(&path))).collect()
}

/// Reads every file: one that does not parse keeps the others from being taken. A folder that is not there is empty.
pub(crate) fn read<T>(
    folder: &Path,
    extensions: &[&str],
    parse: impl Fn(&Path, &str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let unreadable = |path: &Path, error: io::Error| format!("{} cannot be read: {error}", path.display());
    let files = files(folder, extensions).map_err(|error| unreadable(folder, error))?;
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
        parse(&path, &text)
    };
    files.into_iter().map(read).collect()
}

fn files(folder: &Path, extensions: &[&str]) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extensions.iter().any(|one| extension == *one)) {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// A folder of TOML files, as it is now. What does not parse leaves in force what was in force before, as with every file
/// of rules.
pub(crate) struct WatchedFolder<T> {
    folder: PathBuf,
    read: fn(&Path) -> Result<T, String>,
    last: Mutex<Option<(Seen, Result<T, String>)>>,
}

impl<T: Clone> WatchedFolder<T> {
    /// Of this folder, which need not be there.
    pub(crate) fn new(folder: PathBuf, read: fn(&Path) -> Result<T, String>) -> Self {
        Self { folder, read, last: Mutex::new(None) }
    }

    /// What the files say; they are read again where one has changed. An error only where they never said anything that
    /// could be read.
    pub(crate) fn read_again(&self) -> Result<T, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = look(&self.folder, &["toml"]);
        if let Some((seen, read)) = last.as_ref()
            && *seen == now
        {
            return read.clone();
        }
        let read = match ((self.read)(&self.folder), last.take()) {
            (Err(error), Some((_, Ok(before)))) => {
                tracing::error!(%error, folder = %self.folder.display(), "what the folder said before stays in force");
                Ok(before)
            }
            (read, _) => read,
        };
        *last = Some((now, read.clone()));
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(folder: &Path) -> Result<Vec<u32>, String> {
        read(folder, &["toml"], |path, text| {
            text.trim().parse().map_err(|_| format!("{}: {text:?} is not a number", path.display()))
        })
    }

    #[test]
    fn mistake_leaves_what_was_in_force_and_a_first_one_is_told() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("numbers");
        let folder = WatchedFolder::new(path.clone(), numbers);
        assert_eq!(folder.read_again(), Ok(Vec::new()), "no folder, no file");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("b.toml"), "2").unwrap();
        fs::write(path.join("a.toml"), "1").unwrap();
        fs::write(path.join("notes.txt"), "nothing").unwrap();
        assert_eq!(folder.read_again(), Ok(vec![1, 2]));
        fs::write(path.join("b.toml"), "seven").unwrap();
        assert_eq!(folder.read_again(), Ok(vec![1, 2]));

        let fresh = WatchedFolder::new(path.clone(), numbers);
        let problem = fresh.read_again().unwrap_err();
        assert!(problem.ends_with("b.toml: \"seven\" is not a number"), "{problem}");
        fs::write(path.join("b.toml"), "77").unwrap();
        assert_eq!(fresh.read_again(), Ok(vec![1, 77]));
    }
}

//! The directory that holds the runbooks, and nothing outside of it.
//!
//! A path is relative to the root; a leading `runbooks/` names the root itself,
//! so that `runbooks/rollback-deployment.md` is the same file whether the root
//! is called so or not. `..` and absolute paths are refused before the disk is
//! asked, and what a symbolic link makes of the path must still lie under the
//! root (links within it are fine: a Kubernetes `ConfigMap` is mounted as such).
//!
//! [`RunbookRoot::load`] takes the snapshot: its text is what is digested, shown
//! and run. The file may change afterwards; the snapshot does not.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use super::SNAPSHOT_LIMIT_BYTES;

/// What the root is called in paths, wherever it is on disk.
const ROOT_NAME: &str = "runbooks";

/// Deepest folder that [`RunbookRoot::list`] looks into.
const DEPTH_LIMIT: usize = 8;

/// A runbook as it was when it was proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Normalised, relative to the root.
    pub path: String,
    /// The file's bytes, which are UTF-8.
    pub text: String,
}

/// Why there is no runbook root.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// It is a file, say.
    #[error("the runbook root {} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// It, or a folder in it, cannot be read.
    #[error("the runbook root {} cannot be read", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
}

/// Why a runbook or a working directory is refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nothing of the wanted kind is there.
    #[error("{path}: not found under the runbook root")]
    NotFound { path: String },
    /// Absolute, with `..`, or a link that leads out.
    #[error("{path}: outside the runbook root")]
    OutsideRoot { path: String },
    /// A new runbook that would not be found again.
    #[error("{path}: not the path of a Markdown file")]
    NotMarkdown { path: String },
    /// A new runbook would replace this one.
    #[error("{path}: is there already")]
    Exists { path: String },
    /// Larger than a snapshot may be.
    #[error("{path}: larger than {limit_bytes} bytes")]
    TooLarge { path: String, limit_bytes: usize },
    /// Not text.
    #[error("{path}: not UTF-8")]
    NotUtf8 { path: String },
    /// The disk refused.
    #[error("{path}: cannot be read")]
    Unreadable { path: String, source: io::Error },
}

/// The configured directory of runbooks.
#[derive(Debug, Clone)]
pub struct RunbookRoot {
    /// Invariant: canonical, and a directory when it was opened.
    root: PathBuf,
}

impl RunbookRoot {
    /// Opens the root, which must be a directory.
    pub fn new(root: impl Into<PathBuf>) -> Result<Self, RootError> {
        let path = root.into();
        let root = match path.canonicalize() {
            Ok(root) => root,
            Err(source) => return Err(RootError::Unreadable { path, source }),
        };
        if !root.is_dir() {
            return Err(RootError::NotADirectory(path));
        }
        Ok(Self { root })
    }

    /// Takes a snapshot of a runbook.
    pub fn load(&self, path: &str) -> Result<Snapshot, LoadError> {
        let (relative, found) = self.resolve(path)?;
        if !found.is_file() {
            return Err(LoadError::NotFound { path: path.to_owned() });
        }
        let bytes = read_bounded(&found).map_err(|source| unreadable(path, source))?;
        if bytes.len() > SNAPSHOT_LIMIT_BYTES {
            return Err(LoadError::TooLarge { path: path.to_owned(), limit_bytes: SNAPSHOT_LIMIT_BYTES });
        }
        let text = String::from_utf8(bytes).map_err(|_| LoadError::NotUtf8 { path: path.to_owned() })?;
        Ok(Snapshot { path: relative, text })
    }

    /// Every Markdown file under the root, sorted; hidden ones, and what links
    /// lead out to, are left out.
    pub fn list(&self) -> Result<Vec<String>, RootError> {
        let mut found = Vec::new();
        self.list_into("", 0, &mut found)?;
        found.sort();
        Ok(found)
    }

    /// Where a new runbook of this path would be: below the root, Markdown, and nothing is there yet.
    pub fn new_file(&self, path: &str) -> Result<PathBuf, LoadError> {
        let outside = || LoadError::OutsideRoot { path: path.to_owned() };
        let parts: Option<Vec<&str>> = Path::new(path)
            .components()
            .filter(|component| *component != Component::CurDir)
            .map(|component| match component {
                Component::Normal(part) => part.to_str().filter(|part| !part.starts_with('.')),
                _ => None,
            })
            .collect();
        let mut parts = parts.ok_or_else(outside)?;
        if parts.len() > 1 && parts.first() == Some(&ROOT_NAME) {
            parts.remove(0);
        }
        match parts.last() {
            Some(name) if is_markdown(name) && parts.len() <= DEPTH_LIMIT => {}
            _ => return Err(LoadError::NotMarkdown { path: path.to_owned() }),
        }
        let file = self.root.join(parts.join("/"));
        // A folder on the way may be a link that leads out.
        let nearest = file.ancestors().skip(1).find_map(|folder| folder.canonicalize().ok());
        if !nearest.is_some_and(|folder| folder.starts_with(&self.root)) {
            return Err(outside());
        }
        if file.exists() {
            return Err(LoadError::Exists { path: path.to_owned() });
        }
        Ok(file)
    }

    /// A directory under the root to run cells in; empty and `.` mean the root.
    pub fn workdir(&self, workdir: &str) -> Result<PathBuf, LoadError> {
        let (_, found) = self.resolve(workdir)?;
        if !found.is_dir() {
            return Err(LoadError::NotFound { path: workdir.to_owned() });
        }
        Ok(found)
    }

    /// The normalised path and what it is on disk, links followed.
    fn resolve(&self, path: &str) -> Result<(String, PathBuf), LoadError> {
        let outside = || LoadError::OutsideRoot { path: path.to_owned() };
        let mut parts = Vec::new();
        for component in Path::new(path).components() {
            match component {
                Component::CurDir => {}
                Component::Normal(part) => parts.push(part.to_str().ok_or_else(outside)?),
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(outside());
                }
            }
        }
        if parts.first() == Some(&ROOT_NAME) {
            parts.remove(0);
        }
        let relative = parts.join("/");
        let found = match self.root.join(&relative).canonicalize() {
            Ok(found) => found,
            Err(error) if is_absence(&error) => {
                return Err(LoadError::NotFound { path: path.to_owned() });
            }
            Err(error) => return Err(unreadable(path, error)),
        };
        if !found.starts_with(&self.root) {
            return Err(outside());
        }
        Ok((named_from_root(relative), found))
    }

    fn list_into(&self, folder: &str, depth: usize, found: &mut Vec<String>) -> Result<(), RootError> {
        let path = self.root.join(folder);
        let failed = |source| RootError::Unreadable { path: path.clone(), source };
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let file_name = entry.file_name();
            let Some(name) = file_name.to_str().filter(|name| !name.starts_with('.')) else {
                continue;
            };
            let relative = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            let is_folder = entry.file_type().map_err(failed)?.is_dir();
            if is_folder && depth < DEPTH_LIMIT {
                self.list_into(&relative, depth + 1, found)?;
            } else if is_markdown(name) && self.is_file_within(&relative) {
                found.push(named_from_root(relative));
            }
        }
        Ok(())
    }

    fn is_file_within(&self, relative: &str) -> bool {
        let target = self.root.join(relative).canonicalize();
        target.is_ok_and(|target| target.starts_with(&self.root) && target.is_file())
    }
}

/// A folder under the root that has the root's name keeps it twice, so that
/// the normalised path leads back to the same file.
fn named_from_root(relative: String) -> String {
    match relative.split('/').next() {
        Some(ROOT_NAME) => format!("{ROOT_NAME}/{relative}"),
        _ => relative,
    }
}

/// One byte more than allowed is enough to know that it is too large.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit_bytes = SNAPSHOT_LIMIT_BYTES as u64 + 1;
    File::open(path)?.take(limit_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_markdown(name: &str) -> bool {
    let extension = Path::new(name).extension();
    extension.is_some_and(|found| found == "md" || found == "markdown")
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput
    )
}

fn unreadable(path: &str, source: io::Error) -> LoadError {
    LoadError::Unreadable { path: path.to_owned(), source }
}

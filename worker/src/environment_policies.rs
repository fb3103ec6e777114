//! The folder of the policies that environments name: change windows, freezes and approvals, one TOML file a policy and
//! version.
//!
//! Read as a whole and again whenever a file changes. What does not parse leaves the policies that were in force before
//! in force, as with every file of rules; where there were none yet, nothing is released until it is corrected.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use harmony_catalog::windows::{EnvironmentPolicies, EnvironmentPolicy, EnvironmentPolicySource};

use crate::governance::{Fingerprint, fingerprint};

/// What tells one version of the folder from another.
type Seen = Vec<(PathBuf, Fingerprint)>;

/// The policies of a folder, as they are now.
pub(crate) struct PolicyFolder {
    folder: PathBuf,
    last: Mutex<Option<(Seen, Result<EnvironmentPolicies, String>)>>,
}

impl PolicyFolder {
    /// Of this folder; it need not be there.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, last: Mutex::new(None) }
    }
}

impl EnvironmentPolicySource for PolicyFolder {
    fn current(&self) -> Result<EnvironmentPolicies, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = look(&self.folder);
        if let Some((seen, read)) = last.as_ref()
            && *seen == now
        {
            return read.clone();
        }
        let read = match (read(&self.folder), last.take()) {
            (Err(error), Some((_, Ok(before)))) => {
                tracing::error!(%error, "the policies of environments stay as they were");
                Ok(before)
            }
            (read, _) => read,
        };
        *last = Some((now, read.clone()));
        read
    }
}

fn look(folder: &Path) -> Seen {
    let files = files(folder).unwrap_or_default();
    files.into_iter().map(|path| (path.clone(), fingerprint(&path))).collect()
}

/// Reads every policy. The error names the file, the line and the key.
pub(crate) fn read(folder: &Path) -> Result<EnvironmentPolicies, String> {
    let unreadable = |path: &Path, error: io::Error| format!("{} cannot be read: {error}", path.display());
    let mut policies = Vec::new();
    for path in files(folder).map_err(|error| unreadable(folder, error))? {
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
        let policy = EnvironmentPolicy::parse(&path.display().to_string(), &text);
        policies.push(policy.map_err(|error| error.to_string())?);
    }
    EnvironmentPolicies::new(policies).map_err(|error| format!("{}: {error}", folder.display()))
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistake_leaves_what_was_in_force_and_a_first_one_is_told() {
        let home = tempfile::tempdir().unwrap();
        let folder = PolicyFolder::new(home.path().join("environments"));
        let names = |folder: &PolicyFolder| {
            let policies = folder.current().unwrap();
            policies.in_force().map(|policy| policy.reference.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&folder), Vec::<String>::new());
        fs::create_dir(home.path().join("environments")).unwrap();
        let file = home.path().join("environments/weekday.toml");
        let weekday = include_str!("../../policies/environments/weekday.toml");
        fs::write(&file, weekday).unwrap();
        assert_eq!(names(&folder), ["policy:change-window:weekday"]);
        fs::write(&file, "kind = 7\n").unwrap();
        assert_eq!(names(&folder), ["policy:change-window:weekday"]);

        let fresh = PolicyFolder::new(home.path().join("environments"));
        let problem = fresh.current().unwrap_err();
        assert!(problem.contains("weekday.toml:1"), "{problem}");
        fs::write(&file, weekday).unwrap();
        assert_eq!(names(&fresh), ["policy:change-window:weekday"]);
    }
}

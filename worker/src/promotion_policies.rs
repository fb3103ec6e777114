//! The folder of promotion policies: one file a policy and version, TOML or JSON.
//!
//! Read as a whole: one file that does not parse keeps the others from being taken, so that nobody promotes by half of
//! what was meant. A folder that is not there holds no policy.

use std::{fs, io, path::Path, path::PathBuf};

use harmony_incidents::promotion::{Policies, PromotionPolicy};

use crate::governance::{Fingerprint, fingerprint};

/// What tells one version of the folder from another.
pub(crate) type Seen = Vec<(PathBuf, Fingerprint)>;

/// The policy files of the folder as they are now, by name.
pub(crate) fn look(folder: &Path) -> Seen {
    let files = policy_files(folder).unwrap_or_default();
    files.into_iter().map(|path| (path.clone(), fingerprint(&path))).collect()
}

/// Reads every policy. The error names the file and the field.
pub(crate) fn read(folder: &Path) -> Result<Policies, String> {
    let unreadable = |path: &Path, error: io::Error| format!("{} cannot be read: {error}", path.display());
    let files = policy_files(folder).map_err(|error| unreadable(folder, error))?;
    let mut policies = Vec::with_capacity(files.len());
    for path in files {
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        let policy =
            if is_json { PromotionPolicy::from_json(&text) } else { PromotionPolicy::from_toml(&text) };
        policies.push(policy.map_err(|error| format!("{}: {error}", path.display()))?);
    }
    Policies::new(policies).map_err(|error| format!("{}: {error}", folder.display()))
}

fn policy_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml" || extension == "json") {
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
    fn folder_is_read_whole_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("policies");
        assert!(read(&folder).unwrap().names().is_empty(), "no folder, no policy");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.toml"), "id = \"a\"\nversion = 1\n").unwrap();
        fs::write(folder.join("b.json"), r#"{"id": "b", "version": 7}"#).unwrap();
        fs::write(folder.join("notes.txt"), "not a policy").unwrap();
        assert_eq!(read(&folder).unwrap().names(), ["a 1", "b 7"]);
        let before = look(&folder);
        fs::write(folder.join("c.toml"), "id = \"c\"\nversion = 1\nstalenes = \"1h\"\n").unwrap();
        assert_ne!(look(&folder), before);
        let error = read(&folder).unwrap_err();
        assert!(error.contains("c.toml: stalenes: unknown field `stalenes`"), "{error}");
        fs::write(folder.join("c.toml"), "id = \"a\"\nversion = 1\n").unwrap();
        assert!(read(&folder).unwrap_err().ends_with("policy a has version 1 twice"));
    }
}

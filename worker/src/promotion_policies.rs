//! The folder of promotion policies: one file a policy and version, TOML or JSON.
//!
//! Read as a whole: one file that does not parse keeps the others from being taken, so that nobody promotes by half of
//! what was meant. A folder that is not there holds no policy.

use std::path::Path;

use harmony_incidents::promotion::{Policies, PromotionPolicy};

use crate::folder::{self, Seen};

const EXTENSIONS: [&str; 2] = ["json", "toml"];

/// The policy files of the folder as they are now, by name.
pub(crate) fn look(folder: &Path) -> Seen {
    folder::look(folder, &EXTENSIONS)
}

/// Reads every policy. The error names the file and the field.
pub(crate) fn read(folder: &Path) -> Result<Policies, String> {
    let policies = folder::read(folder, &EXTENSIONS, |path, text| {
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        let policy =
            if is_json { PromotionPolicy::from_json(text) } else { PromotionPolicy::from_toml(text) };
        policy.map_err(|error| format!("{}: {error}", path.display()))
    })?;
    Policies::new(policies).map_err(|error| format!("{}: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

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

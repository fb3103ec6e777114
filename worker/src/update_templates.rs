//! The folder of the templates for updates: one TOML file each, named as the template is.

use std::path::{Path, PathBuf};

use harmony_console::{UpdateTemplate, UpdateTemplateSource, UpdateTemplates};

use crate::folder::{self, WatchedFolder};

/// The templates of this folder, as they are whenever they are asked for.
pub(crate) fn watch(folder: PathBuf) -> WatchedFolder<UpdateTemplates> {
    WatchedFolder::new(folder, read)
}

impl UpdateTemplateSource for WatchedFolder<UpdateTemplates> {
    fn current(&self) -> Result<UpdateTemplates, String> {
        self.read_again()
    }
}

/// Reads every template. The error names the file and the field.
pub(crate) fn read(folder: &Path) -> Result<UpdateTemplates, String> {
    let templates = folder::read(folder, &["toml"], |path, text| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        UpdateTemplate::parse(&name, text).map_err(|error| format!("{}: {error}", path.display()))
    })?;
    Ok(UpdateTemplates::new(templates))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn samples_are_read_and_a_mistake_is_told_with_its_file() {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates/updates");
        let names = read(&samples).unwrap().names();
        assert_eq!(names, ["investigating@1", "monitoring@1", "public-investigating@1", "public-resolved@1"]);
        let home = tempfile::tempdir().unwrap();
        fs::write(
            home.path().join("hello.toml"),
            "version = 1\ntitle = \"Hello\"\nmessage = \"{{ titel }}\"\n",
        )
        .unwrap();
        let problem = read(home.path()).unwrap_err();
        assert!(
            problem.contains("hello.toml: message: there is no variable \"titel\"; use commander,"),
            "{problem}"
        );
    }
}

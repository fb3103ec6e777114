//! The folder of the policies that environments name: change windows, freezes and approvals, one TOML file a policy and
//! version. Where none was ever read, nothing is released until the mistake is corrected.

use std::path::{Path, PathBuf};

use harmony_catalog::windows::{EnvironmentPolicies, EnvironmentPolicy, EnvironmentPolicySource};

use crate::folder::{self, WatchedFolder};

/// The policies of this folder, as they are whenever they are asked for.
pub(crate) fn watch(folder: PathBuf) -> WatchedFolder<EnvironmentPolicies> {
    WatchedFolder::new(folder, read)
}

impl EnvironmentPolicySource for WatchedFolder<EnvironmentPolicies> {
    fn current(&self) -> Result<EnvironmentPolicies, String> {
        self.read_again()
    }
}

/// Reads every policy. The error names the file, the line and the key.
pub(crate) fn read(folder: &Path) -> Result<EnvironmentPolicies, String> {
    let policies = folder::read(folder, &["toml"], |path, text| {
        EnvironmentPolicy::parse(&path.display().to_string(), text).map_err(|error| error.to_string())
    })?;
    EnvironmentPolicies::new(policies).map_err(|error| format!("{}: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_file_and_line() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("weekday.toml");
        fs::write(&file, include_str!("../../policies/environments/weekday.toml")).unwrap();
        let policies = read(home.path()).unwrap();
        let names: Vec<String> = policies.in_force().map(|policy| policy.reference.to_string()).collect();
        assert_eq!(names, ["policy:change-window:weekday"]);
        fs::write(&file, "kind = 7\n").unwrap();
        let problem = read(home.path()).unwrap_err();
        assert!(problem.contains("weekday.toml:1"), "{problem}");
    }
}

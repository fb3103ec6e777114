//! The demo, as a newcomer runs it, twice in one data directory.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::world::HARMONY;

#[test]
fn second_demo_in_the_same_directory_makes_the_second_incident() {
    let dir = TempDir::new().unwrap();
    for number in ["-0001", "-0002"] {
        let output =
            Command::new(HARMONY).args(["demo", "--json", "--data-dir"]).arg(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let printed = String::from_utf8(output.stdout).unwrap();
        let last: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
        assert!(last["incidentId"].as_str().unwrap().ends_with(number), "{last}");
        assert_eq!(
            (last["state"].as_str(), last["phase"].as_str(), last["verified"].as_bool()),
            (Some("CLOSED"), Some("closed"), Some(true)),
            "{last}"
        );
        assert!(last["postMortemUrl"].as_str().unwrap().starts_with("http://"), "{last}");
        assert!(last["records"].as_u64().unwrap() > 40 && last["durationMs"].is_u64(), "{last}");
        // No secret of the data directory is ever shown.
        for secret in ["token", "attestation.key", "salt.key"] {
            let secret = std::fs::read_to_string(dir.path().join(secret)).unwrap();
            assert!(!said.contains(secret.trim()) && !printed.contains(secret.trim()));
        }
    }
}

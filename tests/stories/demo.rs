//! The demo, as a newcomer runs it: twice in one data directory, and on a machine where ports are taken.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

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

#[test]
fn port_that_is_taken_just_before_its_use_is_chosen_anew() {
    for (file, log) in [("temporal.port", "logs/temporal.log"), ("serve-health.port", "logs/serve.log")] {
        demo_with_a_port_taken(file, log);
    }
}

/// The port that this file names is taken before its process listens there, which says so in its log.
fn demo_with_a_port_taken(file: &str, log: &str) {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join(file);
    let taking = thread::spawn({
        let file = file.clone();
        move || take(&file)
    });
    let output =
        Command::new(HARMONY).args(["demo", "--json", "--data-dir"]).arg(dir.path()).output().unwrap();
    let taken = taking.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = std::fs::read_to_string(dir.path().join(log)).unwrap().to_lowercase();
    assert!(log.contains("address already in use"), "it was faster than this test: {log}");
    let port: u16 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    assert_ne!(port, taken.local_addr().unwrap().port());
}

/// Listens on the port that this file names, as soon as it names one: a process takes longer to start.
fn take(file: &Path) -> TcpListener {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let named = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u16>().ok());
        if let Some(port) = named {
            return TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        }
        assert!(Instant::now() < end, "no port is ever chosen");
        thread::sleep(Duration::from_millis(1));
    }
}

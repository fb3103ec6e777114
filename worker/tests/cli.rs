//! The command line from outside: exit codes, and errors of two lines.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::{fs, path::Path};

use assert_cmd::Command;
use serde_json::Value;

/// `harmony` in an empty directory and an empty environment.
fn harmony(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harmony"));
    command.current_dir(home).env_clear().env("HOME", home);
    command
}

/// Runs a line and gives the exit code and what it says on stderr.
fn run(home: &Path, line: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let output = harmony(home).args(line).envs(environment.iter().copied()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), stderr)
}

#[test]
fn bad_usage_ends_with_2() {
    let home = tempfile::tempdir().unwrap();
    for line in [
        &[][..],
        &["incidents"],
        &["incident", "declare"],
        &["incident", "declare", "Checkout is down"],
        &["incident", "declare", "one", "--title", "two", "--severity", "P1"],
        &["incident", "remediate", "INC-2026-0001"],
        &["incident", "remediate", "INC-2026-0001", "--runbook", "a.md", "--env", "novalue"],
        &["incident", "review", "INC-2026-0001", "--section", "impact"],
        &["incident", "cancel", "INC-2026-0001"],
        &["approval", "approve"],
        &["worker", "--queue", "elsewhere"],
        &["sandbox", "--port", "65534"],
    ] {
        let (code, stderr) = run(home.path(), line, &[]);
        assert_eq!(code, 2, "{line:?}: {stderr}");
    }
}

#[test]
fn bad_settings_name_their_key_and_end_with_2() {
    let home = tempfile::tempdir().unwrap();
    for (key, value, line) in [
        ("DATABASE_URL", "postgres://u:secret@h/d", &["log", "verify"][..]),
        ("HARMONY_HTTP_ADDR", "nowhere", &["config", "check"]),
        ("PAGERDUTY_API_KEY", "x", &["incident", "list"]),
        ("HARMONY_API", "not an address", &["incident", "list"]),
        ("HARMONY_LOG", "a=b=c", &["incident", "list"]),
    ] {
        let (code, stderr) = run(home.path(), line, &[(key, value)]);
        assert_eq!(code, 2, "{key}: {stderr}");
        let lines: Vec<&str> = stderr.lines().collect();
        assert!(
            lines.len() == 2 && lines[0].starts_with("error: ") && lines[1].starts_with("hint: "),
            "{stderr}"
        );
        assert!(!stderr.contains("secret"), "{stderr}");
    }
    let (_, stderr) = run(home.path(), &["log", "verify"], &[("DATABASE_URL", "postgres://h/d")]);
    assert!(stderr.contains("this build has no PostgreSQL store yet; use sqlite://"), "{stderr}");
    fs::write(home.path().join("harmony.toml"), "HARMONY_HTTP = \"x\"").unwrap();
    let (code, stderr) = run(home.path(), &["incident", "list"], &[]);
    assert!(code == 2 && stderr.contains("there is no setting HARMONY_HTTP"), "{stderr}");
}

#[test]
fn nobody_there_is_one_clear_error_and_1() {
    let home = tempfile::tempdir().unwrap();
    for (line, environment, expected) in [
        (&["incident", "list"][..], &[][..], "no API is known"),
        (
            &["incident", "show", "INC-2026-0001"],
            &[("HARMONY_API", "http://127.0.0.1:9")],
            "does not answer at",
        ),
        (&["log", "verify"], &[], "there is no log at"),
        (&["log", "replay"], &[("DATABASE_URL", "sqlite://absent.db")], "there is no log at absent.db"),
    ] {
        let (code, stderr) = run(home.path(), line, environment);
        assert_eq!(code, 1, "{line:?}: {stderr}");
        assert!(stderr.contains(expected) && stderr.lines().count() == 2, "{line:?}: {stderr}");
    }
    fs::write(
        home.path().join("broken.db"),
        "this is no database, whatever its name says, and never was one",
    )
    .unwrap();
    let (code, stderr) = run(home.path(), &["log", "verify"], &[("DATABASE_URL", "sqlite://broken.db")]);
    assert!(code == 1 && stderr.lines().count() == 2, "{stderr}");
}

#[test]
fn config_check_shows_what_is_set_but_no_secret() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join(".harmony/runbooks")).unwrap();
    fs::write(home.path().join(".harmony/directory.toml"), "[[principal]]\nid = \"a\"\n").unwrap();
    let output = harmony(home.path())
        .args(["config", "check", "--json"])
        .envs([("HARMONY_TOKEN", "very-secret"), ("HARMONY_HTTP_ADDR", "127.0.0.1:1"), ("HARMONY_TYPO", "x")])
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("very-secret"));
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["unknown"], serde_json::json!(["HARMONY_TYPO"]));
    let http =
        serde_json::json!({ "key": "HARMONY_HTTP_ADDR", "value": "127.0.0.1:1", "from": "environment" });
    assert!(answer["settings"].as_array().unwrap().contains(&http), "{answer}");

    fs::write(home.path().join(".harmony/directory.toml"), "[[principal]]\nrole = \"a\"\n").unwrap();
    let (code, stderr) = run(home.path(), &["config", "check"], &[]);
    assert!(code == 2 && stderr.contains("unknown field `role`"), "{stderr}");
}

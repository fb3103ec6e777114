//! After a whole incident, everything that was written is searched: no token and no key stands anywhere, and logs and
//! histories name nobody by more than their id.

use std::{fs, path::Path, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::world::{HARMONY, POLICY, World};

/// What the runbook is given and prints.
const RUNBOOK_SECRET: &str = "canary-7d1f0c55a8";
const RUNBOOK: &str = "# Look\n\n```sh { name=look }\necho \"the password is $CANARY_PASSWORD\"\n```\n";

/// Texts to search, each with its name.
struct Written {
    what: String,
    text: String,
}

/// Tells whether a process keeps what it was started with from others of its account: started by the account that asks.
const PEEK: &str = r#"
    "$PROGRAM" $ARGUMENTS >"$DIR/said" 2>&1 &
    PID=$!
    # What it was started as is readable to all; by then it has started.
    until [ -s "$DIR/said" ]; do kill -0 $PID || exit 9; done
    if cat /proc/$PID/environ >"$DIR/seen" 2>"$DIR/why"; then echo open; else
        # Refused, and nothing else that keeps a file from being read.
        grep -q "Permission denied" "$DIR/why" && echo closed
    fi
    head -c 1 /proc/$PID/mem >/dev/null 2>"$DIR/why"
    grep -c "Permission denied" "$DIR/why"
    kill $PID
    wait $PID
"#;

#[test]
fn process_keeps_its_environment_from_others_of_its_account() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let dir = tempfile::TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // Root may read everything: the question makes sense for somebody else alone, who may read this file.
    let program = dir.path().join("harmony");
    fs::copy(HARMONY, &program).unwrap();
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let answers = |program: &Path, arguments: &str| {
        let mut command = Command::new(if is_root { "runuser" } else { "sh" });
        if is_root {
            command.args(["-u", "nobody", "--", "sh"]);
        }
        command.args(["-c", PEEK]).current_dir(dir.path()).env("PROGRAM", program);
        command.env("ARGUMENTS", arguments).env("DIR", dir.path()).env("CANARY_TOKEN", RUNBOOK_SECRET);
        let output = command.output().unwrap();
        fs::remove_file(dir.path().join("said")).unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    // Any other program's environment is open, which shows that the look would have found it.
    let sleeper = dir.path().join("sleeper");
    fs::write(&sleeper, "#!/bin/sh\necho up\nexec sleep 60\n").unwrap();
    fs::set_permissions(&sleeper, fs::Permissions::from_mode(0o755)).unwrap();
    let other = answers(&sleeper, "");
    assert!(other.starts_with("open"), "{other}");
    assert!(fs::read_to_string(dir.path().join("seen")).unwrap().contains(RUNBOOK_SECRET));
    assert_eq!(answers(&program, "sandbox"), "closed\n1\n");
    assert_eq!(fs::read_to_string(dir.path().join("seen")).unwrap(), "");
}

#[tokio::test]
async fn nothing_that_is_written_names_people_or_holds_secrets() {
    let world =
        World::start_with(POLICY, &[("HARMONY_LOG", "debug"), ("HARMONY_RUNBOOK_SECRETS", "{dir}/mounted")])
            .await;
    let dir = world.dir.path();
    fs::create_dir(dir.join("mounted")).unwrap();
    fs::write(dir.join("mounted/CANARY_PASSWORD"), RUNBOOK_SECRET).unwrap();
    fs::write(dir.join("runbooks/look.md"), RUNBOOK).unwrap();

    let (id, _) = world.initiated("Checkout is slow", "P1").await;
    let body = json!({ "runbook": "look.md", "secretEnv": ["CANARY_PASSWORD"] });
    world.post(&format!("incidents/{id}/remediate"), body).await;
    let gate = world.gate(&id).await;
    world.click(&gate, "approve", "operator").await;
    world.click(&gate, "approve", "commander").await;
    let result = world.completed(&id, "remediate").await;
    assert_eq!(result["status"], "COMPLETED", "{result}");
    let close = json!({ "resolutionSummary": "It is fast again" });
    world.post(&format!("incidents/{id}/close-out"), close).await;
    let gate = world.gate(&id).await;
    world.click(&gate, "reject", "commander").await;
    world.completed(&id, "close-out").await;

    let secrets = secrets(dir);
    let people = people(dir);
    let databases = [dir.join("harmony.db"), dir.join("harmony.db-wal"), dir.join("temporal.db")];
    let files: Vec<Written> = databases.iter().filter_map(|path| file(path)).collect();
    let logs = logs(dir);
    let histories = histories(&world, &id);
    // What is looked for can be found at all.
    assert!(logs.iter().any(|log| log.text.contains(&id)), "the logs speak of the incident");
    assert!(histories.iter().any(|one| one.text.contains("commander")), "the runs know who decided");
    assert!(files.iter().any(|one| one.text.contains("It is fast again")));

    let printed = ["incident", "approval", "log"].map(|command| {
        let listed =
            if command == "log" { vec!["log", "show", &id] } else { vec![command, "list", "--json"] };
        let output = world.harmony(&listed);
        let text =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        Written { what: format!("harmony {command}"), text }
    });
    for written in files.iter().chain(&logs).chain(&histories).chain(&printed) {
        for (name, secret) in &secrets {
            assert!(!written.text.contains(secret.as_str()), "{name} stands in {}", written.what);
        }
    }
    for written in logs.iter().chain(&histories) {
        for person in &people {
            let found = written.text.find(person.as_str());
            let around = found.map(|at| written.text[..at].lines().last().unwrap_or_default().to_owned());
            assert!(found.is_none(), "{person} stands in {}: {around:?}", written.what);
        }
    }
}

/// The secrets of this installation by name.
fn secrets(dir: &Path) -> Vec<(String, String)> {
    let mut secrets = vec![("the runbook's secret".to_owned(), RUNBOOK_SECRET.to_owned())];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_file() && (name == "token" || name.ends_with(".key") || name.contains("secret")) {
            secrets.push((name, fs::read_to_string(&path).unwrap().trim().to_owned()));
        }
    }
    let folders = ["tokens", "webhook-secrets"].map(|folder| fs::read_dir(dir.join(folder)).unwrap());
    for entry in folders.into_iter().flatten() {
        let path = entry.unwrap().path();
        secrets.push((path.display().to_string(), fs::read_to_string(&path).unwrap().trim().to_owned()));
    }
    let names: Vec<&str> = secrets.iter().map(|(name, _)| name.as_str()).collect();
    for expected in ["token", "attestation.key", "salt.key"] {
        assert!(names.contains(&expected), "{names:?}");
    }
    secrets
}

/// Names and addresses of everybody in the directory.
fn people(dir: &Path) -> Vec<String> {
    let directory = fs::read_to_string(dir.join("directory.toml")).unwrap();
    let people: Vec<String> = directory
        .lines()
        .filter_map(|line| line.strip_prefix("name = ").or_else(|| line.strip_prefix("email = ")))
        .map(|value| value.trim_matches('"').to_owned())
        .collect();
    assert_eq!(people.len(), 14, "{people:?}");
    people
}

fn file(path: &Path) -> Option<Written> {
    let bytes = fs::read(path).ok()?;
    Some(Written { what: path.display().to_string(), text: String::from_utf8_lossy(&bytes).into_owned() })
}

fn logs(dir: &Path) -> Vec<Written> {
    let children = fs::read_dir(dir.join("logs")).unwrap().map(|entry| entry.unwrap().path());
    let logs: Vec<Written> = children.chain([dir.join("dev.log")]).filter_map(|path| file(&path)).collect();
    assert!(logs.len() >= 3, "worker, serve and dev log");
    logs
}

/// Every history of the incident, as the public command line exports it, with its payloads readable.
fn histories(world: &World, id: &str) -> Vec<Written> {
    ["initiate", "remediate", "close-out"]
        .map(|blueprint| {
            let workflow = format!("incident.{blueprint}-{id}");
            let shown = world.temporal(&["workflow", "show", "--output", "json", "--workflow-id", &workflow]);
            let exported: Value = serde_json::from_slice(&shown.stdout)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&shown.stderr)));
            let mut text = exported.to_string();
            payloads(&exported, &mut text);
            Written { what: workflow, text }
        })
        .into()
}

fn payloads(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let encoded = fields.get("data").and_then(Value::as_str);
            if let Some(bytes) = encoded.and_then(|data| STANDARD.decode(data).ok()) {
                text.push('\n');
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
            fields.values().for_each(|inner| payloads(inner, text));
        }
        Value::Array(items) => items.iter().for_each(|inner| payloads(inner, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

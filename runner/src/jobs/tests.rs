//! The Job of a cell, run here as a kubelet would run it, and what Kubernetes' words mean.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::manifest::{manifest, name, order};
use super::standing::{Job, Pod, Standing, standing};
use crate::exports::{Exports, of_message};
use crate::mask::Masker;
use crate::{CellRun, Ended, JobRun, JobSpec, OutcomeLimits};

const IMAGE: &str =
    "registry.example.com/tools:1.4@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn job() -> JobRun {
    JobRun {
        spec: JobSpec {
            image: IMAGE.to_owned(),
            service_account: None,
            cpu_millis: 500,
            memory_mib: 256,
            deadline: None,
        },
        subject: "INC-2026-0042".to_owned(),
        run: "2/remediation/Roll back!/1".to_owned(),
        scope: "default incident.remediate-INC-2026-0042".to_owned(),
        kept: Duration::from_secs(3_600),
        may_start: true,
    }
}

fn run_of(env: &[(&str, &str)]) -> CellRun {
    CellRun {
        snapshot: String::new(),
        cell: "it".to_owned(),
        env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        carried: BTreeMap::new(),
        secrets: BTreeMap::new(),
        workdir: std::env::temp_dir(),
        timeout: Duration::from_secs(60),
        limits: OutcomeLimits::default(),
        printed: None,
        job: None,
    }
}

fn made(run: &CellRun, source: &str) -> Value {
    manifest(run, &job(), source, Duration::from_millis(1_500), "harmony-runbook-secrets").unwrap()
}

/// What Kubernetes makes of a text in which `$(NAME)` stands for a variable and `$$` for `$`.
fn expanded(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inside| inside.split_once(')')) {
            match variables.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out + rest
}

/// How the container of a Job ends here: exit code, what it prints, and its last message.
fn contained(run: &CellRun, source: &str) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let message = folder.path().join("message");
    let job = made(run, source);
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let mut variables = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]);
    for variable in container["env"].as_array().unwrap() {
        let value = expanded(variable["value"].as_str().unwrap(), &variables);
        variables.insert(variable["name"].as_str().unwrap().to_owned(), value);
    }
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|text| expanded(text.as_str().unwrap(), &variables)).collect()
    };
    let (command, mut arguments) = (texts(&container["command"]), texts(&container["args"]));
    assert_eq!(arguments, ["harmony", "/dev/termination-log", "/harmony"]);
    arguments[1] = message.display().to_string();
    arguments[2] = folder.path().display().to_string();
    let output = Command::new(&command[0])
        .args(&command[1..])
        .args(arguments)
        .env_clear()
        .envs(&variables)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    let folder = format!("{}/", folder.path().display());
    (
        output.status.code().unwrap(),
        printed.replace(&folder, ""),
        // Kubernetes keeps text alone.
        String::from_utf8_lossy(&std::fs::read(message).unwrap_or_default()).into_owned(),
    )
}

fn carried(message: &str, secrets: &[(&str, &str)]) -> Exports {
    let secrets =
        secrets.iter().map(|(name, value)| ((*name).to_owned(), SecretString::from(*value))).collect();
    of_message(Some(message), &BTreeMap::new(), &secrets, &Masker::new(&secrets), 16 * 1024)
}

#[test]
fn container_runs_the_cell_as_it_was_approved_and_hands_on_what_it_exports() {
    let source = "echo \"$GREETING ${1:-} $(echo inner) $$\" | sed 's/[0-9]*$/PID/'\n\
                  export A=1 B=$'two\\nlines \\\\n & end' EMPTY= GREETING=changed name='x y'\nunset SAME; false | true\n";
    let run = run_of(&[("GREETING", "a $(GREETING) $HOME 'q'"), ("SAME", "1")]);
    let (code, printed, message) = contained(&run, &source.replace("; false | true", ""));
    assert_eq!((code, printed.as_str()), (0, "a $(GREETING) $HOME 'q'  inner PID\n"));
    let exports = carried(&message, &[]);
    let expected =
        [("A", "1"), ("B", "two\nlines \\n & end"), ("EMPTY", ""), ("GREETING", "changed"), ("name", "x y")];
    let expected: BTreeMap<String, String> =
        expected.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(exports, Exports { variables: expected, notes: Vec::new() });

    assert_eq!(contained(&run, source).0, 1, "pipefail");
    assert_eq!(contained(&run, "exit 7").0, 7);
    let (code, printed, _) = contained(&run, "echo one\nif then\n");
    assert_eq!(code, 2);
    assert!(printed.starts_with("one\ncell.sh: line 2: syntax error"), "{printed}");
}

#[test]
fn what_has_no_room_or_holds_a_secret_is_named_and_not_handed_on() {
    let (code, _, message) = contained(
        &run_of(&[]),
        "export LONG=$(printf 'x%.0s' {1..4000}) SHORT=1 WIDE=ü LEAK=a-long-secret BAD=$'\\xff' TOKEN=other\n",
    );
    assert_eq!(code, 0);
    assert!(message.len() < 4_096, "{}", message.len());
    let exports = carried(&message, &[("TOKEN", "a-long-secret")]);
    assert_eq!(json!(exports.variables), json!({ "SHORT": "1", "WIDE": "ü" }));
    let mut notes = exports.notes;
    notes.sort();
    assert_eq!(
        notes,
        [
            "BAD is not carried on: it is not UTF-8",
            "LEAK is not carried on: it contains a secret",
            "LONG is not carried on: there is more than 3.7 KiB in all, which is what the message of a container has room for",
        ]
    );
    for cut in ["", "harmony-exports/1\nA=1\n", "A=1\n."] {
        let exports = carried(cut, &[]);
        assert!(exports.variables.is_empty() && exports.notes.len() == 1, "{cut:?}");
    }
}

#[test]
fn job_has_one_pod_no_token_and_no_value_of_a_secret() {
    let mut run = run_of(&[]);
    run.secrets = BTreeMap::from([("TOKEN".to_owned(), SecretString::from("a-long-secret"))]);
    let whole = made(&run, "true\n");
    let spec = &whole["spec"];
    assert_eq!((&spec["backoffLimit"], &spec["activeDeadlineSeconds"]), (&json!(0), &json!(2)));
    assert_eq!(spec["ttlSecondsAfterFinished"], 3_600);
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["containers"][0]["image"], IMAGE);
    assert!(!whole.to_string().contains("a-long-secret"), "{whole}");
    let token = json!({ "name": "TOKEN", "valueFrom": { "secretKeyRef": { "name": "harmony-runbook-secrets", "key": "TOKEN" } } });
    assert!(pod["containers"][0]["env"].as_array().unwrap().contains(&token), "{pod}");
    let mut with_account = job();
    with_account.spec.service_account = Some("reader".to_owned());
    let whole = manifest(&run, &with_account, "true\n", Duration::from_secs(1), "s").unwrap();
    let pod = &whole["spec"]["template"]["spec"];
    assert_eq!(
        (&pod["serviceAccountName"], &pod["automountServiceAccountToken"]),
        (&json!("reader"), &json!(true))
    );
    for (run, source, expected) in [
        (run_of(&[("A-B", "1")]), String::new(), "\"A-B\" is not the name"),
        (run_of(&[("A", "a\0b")]), String::new(), "contains a NUL"),
        (run_of(&[]), "x".repeat(130 * 1024), "at most 127 KiB"),
    ] {
        let problem = manifest(&run, &job(), &source, Duration::from_secs(1), "s").unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn name_is_the_same_for_the_same_cell_and_another_for_every_other() {
    let one = name(&job());
    assert!(one.starts_with("cell-inc-2026-0042-2-remediation-roll-back-1-"), "{one}");
    assert!(one.len() <= 57, "{one}");
    assert_eq!(one, name(&job()));
    for other in [
        JobRun { run: "3/remediation/Roll back!/1".to_owned(), ..job() },
        JobRun { run: "2/remediation/Roll back?/1".to_owned(), ..job() },
        JobRun { run: "2/remediation/Roll back!/2".to_owned(), ..job() },
        JobRun { subject: "INC-2026-0043".to_owned(), ..job() },
        JobRun { scope: "acme incident.remediate-INC-2026-0042".to_owned(), ..job() },
        JobRun {
            subject: "svc/checkout-with-a-very-long-name-that-does-not-fit-into-any-label".to_owned(),
            ..job()
        },
    ] {
        let name = name(&other);
        assert_ne!(name, one);
        assert!(name.len() <= 57 && !name.contains("--"), "{name}");
    }
    // What it runs is no part of the name, so that a Job that does something else is found and refused.
    let time = Duration::from_secs(60);
    let first = order(&run_of(&[]), &job(), "true\n", time);
    assert_ne!(first, order(&run_of(&[("A", "1")]), &job(), "true\n", time));
    assert_ne!(first, order(&run_of(&[]), &job(), "false\n", time));
    assert_eq!(first, order(&run_of(&[]), &JobRun { kept: time, may_start: false, ..job() }, "true\n", time));
}

#[test]
fn what_kubernetes_says_is_told_as_what_happened() {
    let job = |kind: &str, reason: &str| -> Job {
        let condition = json!({ "type": kind, "status": "True", "reason": reason, "message": "m" });
        serde_json::from_value(json!({ "status": { "conditions": [condition] } })).unwrap()
    };
    let pod = |status: Value| -> Pod { serde_json::from_value(json!({ "status": status })).unwrap() };
    let container =
        |state: Value| pod(json!({ "phase": "Pending", "containerStatuses": [{ "state": state }] }));
    let exited = |code: i32, reason: &str| {
        container(json!({ "terminated": { "exitCode": code, "reason": reason, "message": "no bash" } }))
    };
    let failed = || job("Failed", "BackoffLimitExceeded");
    let killed = |words: &str| Standing::Ended(Ended::Killed(words.to_owned()));
    let none = Job::default;
    for (job, pod, expected) in [
        (none(), None, Standing::NoPod),
        (none(), Some(pod(json!({ "phase": "Pending" }))), Standing::Waits(String::new())),
        (
            none(),
            Some(pod(
                json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes" }] }),
            )),
            Standing::Waits("Unschedulable: 0/3 nodes".to_owned()),
        ),
        (
            none(),
            Some(container(json!({ "waiting": { "reason": "ContainerCreating" } }))),
            Standing::Waits("ContainerCreating".to_owned()),
        ),
        (
            none(),
            Some(container(
                json!({ "waiting": { "reason": "ErrImagePull", "message": "manifest unknown" } }),
            )),
            Standing::Refused("ErrImagePull: manifest unknown".to_owned()),
        ),
        (
            none(),
            Some(container(
                json!({ "waiting": { "reason": "CreateContainerConfigError", "message": "no secret" } }),
            )),
            Standing::Refused("CreateContainerConfigError: no secret".to_owned()),
        ),
        (
            none(),
            Some(container(json!({ "waiting": { "reason": "InvalidImageName", "message": "bad" } }))),
            Standing::Hopeless("InvalidImageName: bad".to_owned()),
        ),
        (none(), Some(container(json!({ "running": {} }))), Standing::Runs),
        (none(), Some(exited(0, "Completed")), Standing::Ending),
        (job("Complete", ""), None, Standing::Ended(Ended::Exited(0))),
        (job("SuccessCriteriaMet", ""), Some(exited(0, "Completed")), Standing::Ending),
        (failed(), Some(exited(3, "Error")), Standing::Ended(Ended::Exited(3))),
        (failed(), Some(exited(137, "OOMKilled")), killed("out of memory: it may use 256 MiB (OOMKilled)")),
        (
            failed(),
            Some(exited(128, "StartError")),
            Standing::Ended(Ended::CouldNotStart("StartError: no bash".to_owned())),
        ),
        (
            failed(),
            Some(pod(json!({ "phase": "Failed", "reason": "Evicted", "message": "low on memory" }))),
            killed("evicted from its node: low on memory"),
        ),
        (
            failed(),
            Some(pod(json!({
                "phase": "Failed",
                "conditions": [{ "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "p" }],
                "containerStatuses": [{ "state": { "terminated": { "exitCode": 143, "reason": "Error" } } }],
            }))),
            killed("its pod was taken off its node: PreemptionByScheduler: p"),
        ),
        (failed(), None, killed("BackoffLimitExceeded: m")),
        (job("Failed", "DeadlineExceeded"), Some(exited(143, "Error")), Standing::Ended(Ended::TimedOut)),
    ] {
        assert_eq!(standing(&job, pod.as_ref(), 256), expected, "{job:?} {pod:?}");
    }
}

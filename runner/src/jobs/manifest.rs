//! The Job of one cell, as it is sent to Kubernetes.
//!
//! Its name follows from what the cell is (incident, attempt, purpose, cell, and which time it runs), so whoever makes it
//! a second time finds the first. The annotation [`ORDER`] is a hash over everything that the cell runs with: a Job of our
//! name that has another one is not ours.
//!
//! One pod, never a second one: no retries, and no replacement. It meets the pod security standard `restricted`, has no
//! token unless the runbook names a service account, and writes to two empty folders alone. Secrets are references, which
//! the kubelet resolves; no value of one stands in a Job.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::job::JobRun;
use super::super::launch::is_variable_name;
use super::super::{CellRun, JOB_EXECUTOR};

/// Names the Job in the labels of its pod.
pub(super) const JOB: &str = "harmony.dev/job";
/// The annotation with the hash of what the cell runs with.
pub(super) const ORDER: &str = "harmony.dev/order";
/// What selects our Jobs and their pods, as a query has it.
pub(super) const SELECTOR: &str = "app.kubernetes.io/managed-by%3Dharmony,app.kubernetes.io/component%3Dcell";
/// The one container.
pub(super) const CONTAINER: &str = "cell";

/// What runs in the container, as the argument of bash.
const SCRIPT: &str = concat!(include_str!("cell.sh"), include_str!("../epilogue.sh"));
/// The file that the container's last message is read from: Kubernetes' own default.
const MESSAGE_FILE: &str = "/dev/termination-log";
/// Where the cell's commands are put.
const CELL_FOLDER: &str = "/harmony";
/// Time to end in order after SIGTERM, as on the pool.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// The longest variable that Linux hands to a program is 128 KiB, its name included.
const VARIABLE_BYTES: usize = 128 * 1024 - 256;
/// All of them: what etcd takes for one object, 1.5 MiB, less what each may grow by when it is escaped.
const ALL_BYTES: usize = 400 * 1024;

/// The name: what people recognise it by, and a hash that tells it from all others.
pub(super) fn name(job: &JobRun) -> String {
    let mut hash = Sha256::new();
    for part in [&job.scope, &job.subject, &job.run] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hash = &hex::encode(hash.finalize())[..12];
    // The name of a pod is that of its Job and 6 characters more; 63 are the most.
    let words: String = words(&format!("{}-{}", job.subject, job.run)).chars().take(44).collect();
    format!("{}-{hash}", words.trim_end_matches('-'))
}

/// Lower-case letters, digits and single hyphens, beginning with a letter.
fn words(text: &str) -> String {
    let mut out = String::from("cell");
    for character in text.chars() {
        match character.to_ascii_lowercase() {
            plain @ ('a'..='z' | '0'..='9') => {
                if out == "cell" {
                    out.push('-');
                }
                out.push(plain);
            }
            _ if !out.ends_with('-') => out.push('-'),
            _ => {}
        }
    }
    out
}

/// Hash over what the cell runs with, the same in every release that runs it so.
pub(super) fn order(run: &CellRun, job: &JobRun, source: &str, allowed: Duration) -> String {
    let spec = &job.spec;
    let secrets: Vec<&String> = run.secrets.keys().collect();
    let all = json!({
        "carried": run.carried,
        "cpuMillis": spec.cpu_millis,
        "env": run.env,
        "executor": JOB_EXECUTOR,
        "image": spec.image,
        "memoryMib": spec.memory_mib,
        "run": job.run,
        "scope": job.scope,
        "secrets": secrets,
        "serviceAccount": spec.service_account,
        "source": source,
        "subject": job.subject,
        "timeoutMs": u64::try_from(allowed.as_millis()).unwrap_or(u64::MAX),
    });
    hex::encode(Sha256::digest(all.to_string().as_bytes()))
}

/// The Job, or why there can be none, without any value.
pub(super) fn manifest(
    run: &CellRun,
    job: &JobRun,
    source: &str,
    allowed: Duration,
    secret: &str,
) -> Result<Value, String> {
    let env = environment(run, source, secret)?;
    let spec = &job.spec;
    let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let name = name(job);
    let labels = json!({
        "app.kubernetes.io/name": "harmony-cell",
        "app.kubernetes.io/component": "cell",
        "app.kubernetes.io/managed-by": "harmony",
        "harmony.dev/subject": label(&job.subject),
        JOB: name,
    });
    let resources = json!({
        "cpu": format!("{}m", spec.cpu_millis),
        "memory": format!("{}Mi", spec.memory_mib),
        "ephemeral-storage": "512Mi",
    });
    let mut pod = json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": spec.service_account.is_some(),
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": GRACE.as_secs(),
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65_532,
            "runAsGroup": 65_532,
            "fsGroup": 65_532,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [{
            "name": CONTAINER,
            "image": spec.image,
            "command": ["bash", "--noprofile", "--norc", "-c", unexpanded(SCRIPT)],
            "args": ["harmony", MESSAGE_FILE, CELL_FOLDER],
            "workingDir": "/tmp",
            "env": env,
            "resources": { "requests": resources, "limits": resources },
            "terminationMessagePath": MESSAGE_FILE,
            "terminationMessagePolicy": "File",
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            },
            "volumeMounts": [
                { "name": "cell", "mountPath": CELL_FOLDER },
                { "name": "tmp", "mountPath": "/tmp" },
            ],
        }],
        "volumes": [
            { "name": "cell", "emptyDir": { "sizeLimit": "1Mi" } },
            { "name": "tmp", "emptyDir": { "sizeLimit": "256Mi" } },
        ],
    });
    if let Some(account) = &spec.service_account {
        pod["serviceAccountName"] = json!(account);
    }
    Ok(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": { ORDER: order(run, job, source, allowed), "harmony.dev/run": job.run },
        },
        "spec": {
            "activeDeadlineSeconds": seconds(allowed).max(1),
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": seconds(job.kept),
            "template": { "metadata": { "labels": labels }, "spec": pod },
        },
    }))
}

/// What the cell sees beside what its image has, as a container's `env`; the later of equal names wins.
fn environment(run: &CellRun, source: &str, secret: &str) -> Result<Vec<Value>, String> {
    let plain = |value: &str| json!({ "value": unexpanded(value) });
    let mut given: BTreeMap<&str, Value> =
        BTreeMap::from([("HOME", plain("/tmp")), ("TMPDIR", plain("/tmp"))]);
    let mut bytes = 0;
    for (name, value) in
        run.env.iter().chain(&run.carried).map(|(name, value)| (name.as_str(), value.as_str()))
    {
        check(name, value)?;
        bytes += name.len() + value.len();
        given.insert(name, plain(value));
    }
    for name in run.secrets.keys() {
        check(name, "")?;
        given.insert(name, json!({ "valueFrom": { "secretKeyRef": { "name": secret, "key": name } } }));
    }
    check("HARMONY_CELL", source)?;
    given.insert("HARMONY_CELL", plain(source));
    if bytes + source.len() > ALL_BYTES {
        return Err(format!(
            "as a Job, a cell and its variables have at most {} KiB together",
            ALL_BYTES / 1024
        ));
    }
    let named = |(name, mut value): (&str, Value)| {
        value["name"] = json!(name);
        value
    };
    Ok(given.into_iter().map(named).collect())
}

fn check(name: &str, value: &str) -> Result<(), String> {
    if !is_variable_name(name) {
        return Err(format!("{name:?} is not the name of a variable"));
    }
    if value.contains('\0') {
        return Err(format!("the value of {name} contains a NUL"));
    }
    if name.len() + value.len() > VARIABLE_BYTES {
        return Err(format!(
            "as a Job, a cell's commands and each of its variables have at most 127 KiB: {name} has more"
        ));
    }
    Ok(())
}

/// Kubernetes puts the values of variables in the place of `$(NAME)` and makes `$` of `$$`; so every `$` is doubled.
fn unexpanded(text: &str) -> String {
    text.replace('$', "$$")
}

/// What a label may be.
fn label(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|one| if one.is_ascii_alphanumeric() || "-_.".contains(one) { one } else { '-' })
        .take(63)
        .collect();
    plain.trim_matches(|one: char| !one.is_ascii_alphanumeric()).to_owned()
}

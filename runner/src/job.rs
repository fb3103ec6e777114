//! A cell as a Kubernetes Job: what a runbook's front matter says of it, and what a worker hands to the executor.
//!
//! ```yaml
//! executor: kubernetes
//! image: registry.example.com/runbooks/tools:1.4@sha256:0f3c…
//! serviceAccount: runbook-reader
//! resources:
//!   cpu: 500m
//!   memory: 256Mi
//! deadline: 10m
//! ```
//!
//! An image is named by its digest: what a tag means may change between the proposal and the run. Whether it may run at
//! all is the policy's to say, which knows the images, service accounts and sizes that it allows.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::attributes;

/// The executor that runs cells as Jobs, and the version of its behaviour.
pub const JOB_EXECUTOR: &str = "harmony-kubernetes/1";

/// What a cell gets where its runbook does not say: enough for a shell, `kubectl` and `jq`.
const CPU_MILLIS: u64 = 500;
const MEMORY_MIB: u64 = 256;

/// A longer one would be shown to approvers by its hash alone.
const IMAGE_BYTES: usize = 200;

/// Keys of the front matter that belong to a Job.
pub(super) const KEYS: [&str; 4] = ["deadline", "image", "resources", "serviceAccount"];

/// How the cells of a runbook run as Jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSpec {
    /// With its digest.
    pub image: String,
    /// Whose rights the cells have; without one they have no token.
    pub service_account: Option<String>,
    /// Thousandths of a processor, asked for and not exceeded.
    pub cpu_millis: u64,
    /// Asked for and not exceeded; a cell that takes more is killed.
    pub memory_mib: u64,
    /// The longest that one cell may take, from the moment Kubernetes has its Job: waiting for a node and pulling the
    /// image included. Shortens a cell's time, never lengthens it.
    pub deadline: Option<Duration>,
}

/// The Job that one cell runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRun {
    /// How all of its runbook run.
    pub spec: JobSpec,
    /// What it belongs to, such as `INC-2026-0042`, for its name and its labels.
    pub subject: String,
    /// Which of its subject's cells it is: attempt, purpose, cell and which time it runs, such as
    /// `2/remediation/rollback/1`.
    pub run: String,
    /// Tells it from cells of the same words that belong elsewhere: the organisation and the workflow.
    pub scope: String,
    /// How long Kubernetes keeps it once it has ended. Longer than a worker may still start it: then a Job that is not
    /// there never was.
    pub kept: Duration,
    /// Whether it may be made. Else it is looked for, and nobody knows how it ended where it is gone.
    pub may_start: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resources {
    #[serde(default)]
    cpu: Value,
    #[serde(default)]
    memory: Value,
}

/// Reads it from a front matter; `None` where cells run as processes of the pool.
pub(super) fn read(fields: &Map<String, Value>) -> Result<Option<JobSpec>, String> {
    match fields.get("executor") {
        None | Some(Value::Null) => {}
        Some(Value::String(name)) if name == "local" => {}
        Some(Value::String(name)) if name == "kubernetes" => return spec(fields).map(Some),
        Some(_) => {
            return Err("executor: expected local (on the runbook pool) or kubernetes (as Jobs)".to_owned());
        }
    }
    match KEYS.into_iter().find(|key| fields.contains_key(*key)) {
        Some(key) => Err(format!("{key} belongs to executor: kubernetes")),
        None => Ok(None),
    }
}

fn spec(fields: &Map<String, Value>) -> Result<JobSpec, String> {
    let text = |key: &str| match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("{key}: expected a text")),
    };
    let image = text("image")?.ok_or("executor: kubernetes needs an image, by its digest")?;
    if !is_pinned(image) {
        return Err(format!(
            "image: {image:?} is not an image by its digest, such as registry.example.com/tools:1.4@sha256:… with 64 hex \
             digits: a tag may mean another image tomorrow"
        ));
    }
    let service_account = text("serviceAccount")?;
    if let Some(name) = service_account.filter(|name| !is_dns_name(name)) {
        return Err(format!("serviceAccount: {name:?} is not a name: a-z, 0-9, - and ., at most 63"));
    }
    let deadline = match text("deadline")? {
        None => None,
        Some(text) => {
            Some(attributes::duration(text).filter(|time| *time >= Duration::from_secs(1)).ok_or_else(
                || format!("deadline: {text:?} is not a time of at least 1s, such as 90s, 10m or 1h"),
            )?)
        }
    };
    let resources = match fields.get("resources") {
        None | Some(Value::Null) => Resources { cpu: Value::Null, memory: Value::Null },
        Some(value) => {
            serde_json::from_value(value.clone()).map_err(|error| format!("resources: {error}"))?
        }
    };
    Ok(JobSpec {
        image: image.to_owned(),
        service_account: service_account.map(str::to_owned),
        cpu_millis: quantity(&resources.cpu, CPU_MILLIS, cpu_millis)
            .ok_or("resources.cpu: expected processors such as 500m, 0.5 or 2")?,
        memory_mib: quantity(&resources.memory, MEMORY_MIB, memory_mib)
            .ok_or("resources.memory: expected a size such as 256Mi or 2Gi")?,
        deadline,
    })
}

/// Whether it names exactly one image: a repository, perhaps a tag, and a digest.
fn is_pinned(image: &str) -> bool {
    let Some((name, digest)) = image.split_once("@sha256:") else { return false };
    let is_digest = digest.len() == 64
        && digest.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    is_digest
        && begins
        && image.len() <= IMAGE_BYTES
        && name.bytes().all(plain)
        && !name.contains("..")
        && !name.contains("//")
}

fn is_dns_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    name.len() <= 63 && name.bytes().all(plain) && edge(name.bytes().next()) && edge(name.bytes().last())
}

fn quantity(value: &Value, default: u64, read: fn(&str) -> Option<u64>) -> Option<u64> {
    match value {
        Value::Null => Some(default),
        Value::String(text) => read(text),
        Value::Number(number) => read(&number.to_string()),
        _ => None,
    }
    .filter(|amount| *amount > 0)
}

/// `500m`, `0.5` or `2`, in thousandths of a processor.
fn cpu_millis(text: &str) -> Option<u64> {
    if let Some(millis) = text.strip_suffix('m') {
        return millis.parse().ok();
    }
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    let part: u64 = format!("{part:0<3}").parse().ok().filter(|_| digits)?;
    whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(part)
}

/// `256Mi` or `2Gi`.
fn memory_mib(text: &str) -> Option<u64> {
    let (number, factor) = match (text.strip_suffix("Mi"), text.strip_suffix("Gi")) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1_024),
        (None, None) => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    const IMAGE: &str = "registry.example.com:5000/tools:1.4@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn read(front_matter: &str) -> Result<Option<JobSpec>, String> {
        let text = format!("---\n{front_matter}\n---\n# T\n");
        parse(&text).map(|runbook| runbook.job).map_err(|error| error.to_string())
    }

    #[test]
    fn front_matter_says_how_cells_run_as_jobs() {
        assert_eq!(read("title: x"), Ok(None));
        assert_eq!(read("executor: local"), Ok(None));
        let least = read(&format!("executor: kubernetes\nimage: {IMAGE}")).unwrap().unwrap();
        let expected = JobSpec {
            image: IMAGE.to_owned(),
            service_account: None,
            cpu_millis: 500,
            memory_mib: 256,
            deadline: None,
        };
        assert_eq!(least, expected);
        let most = read(&format!(
            "executor: kubernetes\nimage: {IMAGE}\nserviceAccount: reader\nresources: {{ cpu: 1.5, memory: 2Gi }}\n\
             deadline: 10m"
        ));
        let expected = JobSpec {
            service_account: Some("reader".to_owned()),
            cpu_millis: 1_500,
            memory_mib: 2_048,
            deadline: Some(Duration::from_mins(10)),
            ..expected
        };
        assert_eq!(most, Ok(Some(expected)));
    }

    #[test]
    fn what_is_not_exactly_one_image_account_size_or_time_is_refused_in_plain_words() {
        let with = |more: &str| format!("executor: kubernetes\nimage: {IMAGE}\n{more}");
        for (front_matter, expected) in [
            ("executor: docker".to_owned(), "expected local (on the runbook pool) or kubernetes (as Jobs)"),
            (format!("image: {IMAGE}"), "image belongs to executor: kubernetes"),
            ("deadline: 10m\nexecutor: local".to_owned(), "deadline belongs to executor: kubernetes"),
            ("executor: kubernetes".to_owned(), "needs an image, by its digest"),
            ("executor: kubernetes\nimage: tools:latest".to_owned(), "a tag may mean another image tomorrow"),
            ("executor: kubernetes\nimage: tools@sha256:12".to_owned(), "with 64 hex digits"),
            (format!("executor: kubernetes\nimage: ../{IMAGE}"), "is not an image by its digest"),
            (with("serviceAccount: Root!"), "is not a name"),
            (with("resources: { cpu: fast }"), "resources.cpu: expected processors"),
            (with("resources: { cpu: 0 }"), "resources.cpu: expected processors"),
            (with("resources: { memory: 12 }"), "resources.memory: expected a size"),
            (with("resources: { gpu: 1 }"), "resources: unknown field `gpu`"),
            (with("deadline: 5"), "deadline: expected a text"),
            (with("deadline: 10 minutes"), "is not a time of at least 1s"),
            (with("deadline: 10ms"), "is not a time of at least 1s"),
        ] {
            let problem = read(&front_matter).unwrap_err();
            assert!(problem.contains(expected), "{front_matter}: {problem}");
        }
    }
}

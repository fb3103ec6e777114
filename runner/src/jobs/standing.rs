//! What Kubernetes says of a Job and its pod, and what that means for the cell.
//!
//! A Job that is `Complete` or `Failed` has ended, whoever asks and whenever; how, its pod says: exit code, memory that was
//! used up, eviction. Before that, the pod says what it waits for. An image that is refused is retried by the kubelet
//! until the Job's deadline; here it is given up earlier, with the kubelet's words.
//!
//! Read here are the few fields that are acted on; all of them may be missing.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::super::Ended;

/// A Job, as far as it matters.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Job {
    pub(super) metadata: Meta,
    status: JobStatus,
}

/// Its pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Pod {
    pub(super) metadata: Meta,
    status: PodStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Meta {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) labels: std::collections::BTreeMap<String, String>,
    pub(super) annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct JobStatus {
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
    reason: String,
    message: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodStatus {
    phase: String,
    reason: String,
    message: String,
    conditions: Vec<Condition>,
    container_statuses: Vec<Container>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Container {
    state: ContainerState,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    waiting: Option<Waiting>,
    running: Option<serde::de::IgnoredAny>,
    terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
    message: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Terminated {
    exit_code: i32,
    reason: String,
    message: String,
    started_at: Option<String>,
    finished_at: Option<String>,
}

/// How far a cell is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has no pod.
    NoPod,
    /// Its pod waits for a node, an image or a start: why, where that is said.
    Waits(String),
    /// What it waits for is refused, which Kubernetes tries again.
    Refused(String),
    /// What it waits for is refused for good.
    Hopeless(String),
    /// Its commands run.
    Runs,
    /// Its commands have ended, and its Job is not told yet.
    Ending,
    /// It has ended.
    Ended(Ended),
}

impl Job {
    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|one| one.r#type == kind && one.status == "True")
    }

    /// Whether it has ended, however.
    pub(super) fn is_over(&self) -> bool {
        self.condition("Complete").or_else(|| self.condition("Failed")).is_some()
    }
}

impl Pod {
    fn container(&self) -> Option<&ContainerState> {
        self.status.container_statuses.first().map(|one| &one.state)
    }

    fn terminated(&self) -> Option<&Terminated> {
        self.container()?.terminated.as_ref()
    }

    /// Whether its commands ran at all, as far as is known.
    pub(super) fn has_started(&self) -> bool {
        self.container().is_some_and(|state| {
            state.running.is_some() || state.terminated.as_ref().is_some_and(|one| !did_not_start(one))
        })
    }

    /// Whether nothing of it runs any more.
    pub(super) fn is_over(&self) -> bool {
        self.terminated().is_some() || ["Failed", "Succeeded"].contains(&self.status.phase.as_str())
    }

    /// The container's last message, where its commands left one.
    pub(super) fn message(&self) -> Option<&str> {
        self.terminated().map(|one| one.message.as_str()).filter(|text| !text.is_empty())
    }

    /// How long its commands took, by the kubelet's clock.
    pub(super) fn duration(&self) -> Option<Duration> {
        let terminated = self.terminated()?;
        let at = |text: &Option<String>| text.as_ref()?.parse::<Timestamp>().ok();
        let took = at(&terminated.finished_at)?.duration_since(at(&terminated.started_at)?);
        Duration::try_from(took).ok()
    }

    /// How it waits.
    fn waits(&self) -> Standing {
        if let Some(Waiting { reason, message }) = self.container().and_then(|state| state.waiting.as_ref()) {
            let words = joined(reason, message);
            return match reason.as_str() {
                "InvalidImageName" | "ErrImageNeverPull" => Standing::Hopeless(words),
                "ContainerCreating" | "PodInitializing" | "" => Standing::Waits(words),
                _ => Standing::Refused(words),
            };
        }
        let scheduled = self.status.conditions.iter().find(|one| one.r#type == "PodScheduled");
        match scheduled.filter(|one| one.status == "False") {
            Some(condition) => Standing::Waits(joined(&condition.reason, &condition.message)),
            None => Standing::Waits(String::new()),
        }
    }

    /// How it failed, by what its node says.
    fn failure(&self, memory_mib: u64) -> Option<Ended> {
        if self.status.reason == "Evicted" {
            return Some(Ended::Killed(format!("evicted from its node: {}", self.status.message)));
        }
        if let Some(terminated) = self.terminated() {
            let Terminated { exit_code, reason, message, .. } = terminated;
            if reason == "OOMKilled" {
                return Some(Ended::Killed(format!(
                    "out of memory: it may use {memory_mib} MiB (OOMKilled)"
                )));
            }
            if did_not_start(terminated) {
                return Some(Ended::CouldNotStart(joined(reason, message)));
            }
            let taken = self.status.conditions.iter().find(|one| one.r#type == "DisruptionTarget");
            if let Some(condition) = taken.filter(|one| one.status == "True" && *exit_code != 0) {
                let words = joined(&condition.reason, &condition.message);
                return Some(Ended::Killed(format!("its pod was taken off its node: {words}")));
            }
            return Some(Ended::Exited(*exit_code));
        }
        let has_words = !self.status.reason.is_empty() || !self.status.message.is_empty();
        has_words.then(|| Ended::Killed(joined(&self.status.reason, &self.status.message)))
    }
}

/// Whether the runtime could not start the container: there is no bash in it, say.
fn did_not_start(terminated: &Terminated) -> bool {
    ["ContainerCannotRun", "ContainerCreateError", "CreateContainerError", "RunContainerError", "StartError"]
        .contains(&terminated.reason.as_str())
}

/// How far the cell of this Job and this pod is.
pub(super) fn standing(job: &Job, pod: Option<&Pod>, memory_mib: u64) -> Standing {
    if job.condition("Complete").is_some() {
        return Standing::Ended(Ended::Exited(0));
    }
    if let Some(failed) = job.condition("Failed") {
        return Standing::Ended(match failed.reason.as_str() {
            "DeadlineExceeded" => Ended::TimedOut,
            reason => pod
                .and_then(|pod| pod.failure(memory_mib))
                // A pod that exited with 0 fails no Job by itself.
                .filter(|ended| *ended != Ended::Exited(0))
                .unwrap_or_else(|| Ended::Killed(joined(reason, &failed.message))),
        });
    }
    let Some(pod) = pod else { return Standing::NoPod };
    if pod.is_over() {
        return Standing::Ending;
    }
    if pod.has_started() { Standing::Runs } else { pod.waits() }
}

/// What the pod alone says, where its Job is not told for long.
pub(super) fn by_pod(pod: &Pod, memory_mib: u64) -> Option<Ended> {
    pod.is_over().then(|| pod.failure(memory_mib)).flatten()
}

fn joined(reason: &str, message: &str) -> String {
    match (reason, message) {
        (reason, "") => reason.to_owned(),
        ("", message) => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

//! Whether a rollout goes on, is done, or has failed: pure, from what the API server says.
//!
//! [`standing`] judges by the Deployment alone. What it leaves open is judged by [`Open::judge`] with the newest
//! `ReplicaSet`, its pods and their events, which say why something does not go on.

use std::time::Duration;

use jiff::Timestamp;

use super::objects::{Condition, ContainerStatus, Event, Pod, Workload};
use crate::deployments::Progress;

/// What no waiting mends: the image's name, or that it may not be pulled.
const FINAL_REASONS: [&str; 3] = ["ErrImageNeverPull", "ImageInspectError", "InvalidImageName"];
/// What a container waits for before it has been tried.
const ORDINARY_REASONS: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// What the Deployment alone says.
pub(super) enum Standing {
    Settled(Progress),
    Open(Open),
}

/// A rollout that is not done.
pub(super) struct Open {
    /// What is there and what is missing.
    counts: String,
    /// Kubernetes has given up waiting, in its own words.
    deadline: Option<String>,
}

/// What there is to see of the pods of a rollout.
#[derive(Default)]
pub(super) struct Look {
    /// Why the newest `ReplicaSet` cannot make its pods.
    pub(super) failure: Option<Condition>,
    pub(super) pods: Vec<Pod>,
    /// About the pod that [`Look::unexplained`] found.
    pub(super) events: Vec<Event>,
}

/// Something that a rollout waits for.
struct Trouble {
    words: String,
    since: Option<Timestamp>,
    is_final: bool,
}

/// How the rollout of a release stands, as far as the Deployment says it.
pub(super) fn standing(workload: &Workload, release: &str, container: &str) -> Standing {
    let failed = |reason| Standing::Settled(Progress::Failed { reason });
    let running = |detail: &str| Standing::Settled(Progress::Running { detail: detail.to_owned() });
    let image = workload.image(container).unwrap_or_default();
    match workload.release() {
        Some(found) if found == release => {}
        Some(other) => return failed(format!("the Deployment carries release {other} by now")),
        None => return failed(format!("the Deployment carries no release; {release} was taken off it")),
    }
    if !workload.runs(release, container) {
        let others = workload.others(container);
        let by = if others.is_empty() { "somebody".to_owned() } else { others.join(", ") };
        return failed(format!("the image of {container} was changed to {image} by {by}"));
    }
    if workload.status.observed_generation < workload.metadata.generation {
        return running("the Deployment's controller has not seen the change yet");
    }
    if workload.spec.paused {
        return running("the Deployment is paused: nothing is rolled out until somebody resumes it");
    }
    let wanted = workload.spec.replicas.unwrap_or(1);
    let (all, updated, available) =
        (workload.status.replicas, workload.status.updated_replicas, workload.status.available_replicas);
    let counts = if updated < wanted {
        format!("{updated} of {wanted} replicas are updated")
    } else if all > updated {
        format!("replicas of the release before that are still there: {}", all - updated)
    } else if available < updated {
        format!("{available} of {updated} updated replicas are available")
    } else {
        let revision = workload.revision().unwrap_or("?");
        let detail = format!("{available} of {wanted} replicas run {image} (revision {revision})");
        return Standing::Settled(Progress::Active { detail });
    };
    Standing::Open(Open { counts, deadline: deadline(workload) })
}

/// A deadline that an earlier rollout passed stays as a condition until this one progresses.
fn deadline(workload: &Workload) -> Option<String> {
    let condition = workload.condition("Progressing")?;
    let is_of_before = condition
        .last_update_time
        .zip(workload.applied_at())
        .is_some_and(|(updated, applied)| updated < applied);
    (condition.reason == "ProgressDeadlineExceeded" && !is_of_before).then(|| words(condition))
}

impl Open {
    /// Failed where Kubernetes has given up, where no waiting helps, or where trouble has lasted for longer than
    /// `patience`.
    pub(super) fn judge(self, look: &Look, now: Timestamp, patience: Duration) -> Progress {
        let Self { counts, deadline } = self;
        let trouble = look.trouble();
        if let Some(deadline) = deadline {
            let reason = std::iter::once(deadline).chain(trouble.map(|one| one.words));
            return Progress::Failed { reason: reason.collect::<Vec<_>>().join("; ") };
        }
        let Some(Trouble { words, since, is_final }) = trouble else {
            return Progress::Running { detail: counts };
        };
        let lasted = since.and_then(|since| Duration::try_from(now.duration_since(since)).ok());
        if is_final || lasted.is_some_and(|lasted| lasted >= patience) {
            return Progress::Failed { reason: format!("{words} ({counts})") };
        }
        Progress::Running { detail: format!("{counts}; {words}") }
    }
}

impl Look {
    /// A pod that is not ready, though nothing in it says why.
    pub(super) fn unexplained(&self) -> Option<&Pod> {
        if self.failure.is_some() || self.pods.iter().any(|pod| pod_trouble(pod).is_some()) {
            return None;
        }
        self.pods.iter().find(|pod| !pod.is_ready())
    }

    /// The worst of it: what is final, else what has lasted longest.
    fn trouble(&self) -> Option<Trouble> {
        let failure = self.failure.as_ref().map(|condition| Trouble {
            words: words(condition),
            since: condition.last_transition_time,
            is_final: false,
        });
        let known = failure.into_iter().chain(self.pods.iter().filter_map(pod_trouble));
        known.min_by_key(|one| (!one.is_final, one.since.unwrap_or(Timestamp::MAX))).or_else(|| self.told())
    }

    /// What the kubelet's events say. A probe that fails is ordinary while a container starts, so this is told and
    /// decides nothing.
    fn told(&self) -> Option<Trouble> {
        let pod = self.unexplained()?;
        let Event { reason, message } = self.events.last()?;
        let words = format!("pod {}: {reason}: {message}", pod.metadata.name);
        Some(Trouble { words, since: None, is_final: false })
    }
}

fn pod_trouble(pod: &Pod) -> Option<Trouble> {
    let of_container = pod
        .status
        .init_container_statuses
        .iter()
        .chain(&pod.status.container_statuses)
        .find_map(|status| waits(status).map(|(words, is_final)| (status, words, is_final)));
    let name = &pod.metadata.name;
    if let Some((status, words, is_final)) = of_container {
        let words = format!("pod {name}, container {}: {words}", status.name);
        return Some(Trouble { words, since: pod.unready_since(), is_final });
    }
    let unscheduled = pod.condition("PodScheduled").filter(|one| one.status == "False")?;
    let words = format!("pod {name}: {}", words(unscheduled));
    Some(Trouble { words, since: unscheduled.last_transition_time, is_final: false })
}

/// Why a container does not run, and whether waiting can mend that.
fn waits(status: &ContainerStatus) -> Option<(String, bool)> {
    let ended = status.state.terminated.as_ref().or(status.last_state.terminated.as_ref());
    let ended = ended.map(|one| {
        let what = if one.message.is_empty() { &one.reason } else { &one.message };
        format!("exit code {}{}{what}", one.exit_code, if what.is_empty() { "" } else { ", " })
    });
    let Some(waiting) = &status.state.waiting else {
        // A container of a Deployment is not meant to end; an init container that ended well has done its work.
        let terminated = status.state.terminated.as_ref().filter(|one| one.exit_code != 0)?;
        return Some((format!("{}: {}", terminated.reason, ended?), false));
    };
    if waiting.reason.is_empty() || ORDINARY_REASONS.contains(&waiting.reason.as_str()) {
        return None;
    }
    let mut words = waiting.reason.clone();
    for more in [Some(waiting.message.clone()), ended].into_iter().flatten().filter(|more| !more.is_empty()) {
        words.push_str(": ");
        words.push_str(&more);
    }
    Some((words, FINAL_REASONS.contains(&waiting.reason.as_str())))
}

fn words(condition: &Condition) -> String {
    format!("{}: {}", condition.reason, condition.message)
}

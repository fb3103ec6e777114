//! GitLab's webhooks for deployments, pipelines and releases.
//!
//! They carry a secret (`X-Gitlab-Token`), which the receiver has compared. `Idempotency-Key` stays the same when GitLab
//! repeats a delivery, `X-Gitlab-Event-UUID` is what older versions send.
//!
//! A deployment and the job of a pipeline that makes it are one subject, whichever is heard of; a pipeline tells of
//! every job of its that has an environment. A job that stops an environment removes the service from it.

use harmony_incidents::log::ReleaseStatus;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};

use super::{
    ChangeReport, DeliveryError, Reading, ReportKind, ServiceHint, delivery_id, json, line, link, named,
    repo, sha, text, version,
};
use crate::words::Source;

/// A time as GitLab writes it: `2021-04-28 21:50:00 +0200`, `2021-02-09 10:04:19 UTC` or RFC 3339.
struct Time(Timestamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let with_offset = text.trim().strip_suffix(" UTC").map(|time| format!("{time} +0000"));
        let with_offset = with_offset.as_deref().unwrap_or(text.trim());
        text.parse()
            .or_else(|_| Timestamp::strptime("%Y-%m-%d %H:%M:%S %z", with_offset))
            .map(Self)
            .map_err(|_| de::Error::custom(format_args!("{:?} is no time of GitLab's", line(&text))))
    }
}

#[derive(Deserialize)]
struct Kind {
    object_kind: String,
}

#[derive(Deserialize)]
struct Project {
    web_url: String,
}

#[derive(Deserialize)]
struct DeploymentEvent {
    status: String,
    status_changed_at: Time,
    #[serde(default)]
    deployment_id: Option<u64>,
    #[serde(default)]
    deployable_id: Option<u64>,
    #[serde(default, deserialize_with = "text")]
    deployable_url: String,
    environment: String,
    project: Project,
    #[serde(default, rename = "ref", deserialize_with = "text")]
    reference: String,
    short_sha: String,
    #[serde(default, deserialize_with = "text")]
    commit_url: String,
    #[serde(default, deserialize_with = "text")]
    commit_title: String,
}

#[derive(Deserialize)]
struct PipelineEvent {
    object_attributes: Pipeline,
    project: Project,
    #[serde(default)]
    builds: Vec<Build>,
}

#[derive(Deserialize)]
struct Pipeline {
    #[serde(default, rename = "ref", deserialize_with = "text")]
    reference: String,
    sha: String,
}

#[derive(Deserialize)]
struct Build {
    id: u64,
    #[serde(default, deserialize_with = "text")]
    name: String,
    status: String,
    created_at: Time,
    #[serde(default)]
    started_at: Option<Time>,
    #[serde(default)]
    finished_at: Option<Time>,
    #[serde(default)]
    environment: Option<Environment>,
}

#[derive(Deserialize)]
struct Environment {
    name: String,
    #[serde(default, deserialize_with = "text")]
    action: String,
}

#[derive(Deserialize)]
struct ReleaseEvent {
    id: u64,
    tag: String,
    #[serde(default, deserialize_with = "text")]
    name: String,
    action: String,
    released_at: Time,
    #[serde(default, deserialize_with = "text")]
    url: String,
    project: Project,
    commit: Commit,
}

#[derive(Deserialize)]
struct Commit {
    id: String,
}

/// Reads one delivery, whose id is its `Idempotency-Key` or `X-Gitlab-Event-UUID`.
pub fn read(delivery: &str, body: &[u8]) -> Result<Reading, DeliveryError> {
    let delivery = delivery_id("Idempotency-Key", delivery)?;
    let Kind { object_kind } = json(body)?;
    match object_kind.as_str() {
        "deployment" => deployment(&delivery, &json(body)?),
        "pipeline" => pipeline(&delivery, &json(body)?),
        "release" => release(&delivery, &json(body)?),
        other => Ok(Reading::ignored(format!("the event {:?} says nothing about deployments", line(other)))),
    }
}

fn status(word: &str) -> Option<ReleaseStatus> {
    match word {
        "created" | "blocked" | "pending" | "waiting_for_resource" | "preparing" => {
            Some(ReleaseStatus::Draft)
        }
        "running" | "canceling" => Some(ReleaseStatus::Promoting),
        "success" => Some(ReleaseStatus::Active),
        "failed" | "canceled" => Some(ReleaseStatus::Failed),
        _ => None,
    }
}

fn deployment(delivery: &str, event: &DeploymentEvent) -> Result<Reading, DeliveryError> {
    let Some(status) = status(&event.status) else {
        return Ok(Reading::ignored(format!(
            "a deployment that is {:?} deploys nothing",
            line(&event.status)
        )));
    };
    let repo = repo(&event.project.web_url);
    let subject = match (event.deployable_id, event.deployment_id) {
        (Some(job), _) => job_subject(&repo, job),
        (None, Some(id)) => format!("{repo}/-/deployments/{id}"),
        (None, None) => return Err(DeliveryError::new("deployment_id", "missing")),
    };
    // The address of the commit ends with all of its digits.
    let commit = event.commit_url.rsplit('/').next().unwrap_or_default();
    let commit = sha("commit_url", commit).or_else(|_| sha("short_sha", &event.short_sha))?;
    Ok(Reading::one(ChangeReport {
        source: Source::Gitlab,
        delivery_id: delivery.to_owned(),
        subject,
        kind: ReportKind::Deploy,
        status,
        at: event.status_changed_at.0,
        sequence: 0,
        service: ServiceHint { repo, name: String::new() },
        environment: named("environment", &event.environment)?,
        sha: commit,
        version: version(&event.reference),
        url: link(&event.deployable_url),
        summary: line(&event.commit_title),
    }))
}

fn job_subject(repo: &str, job: u64) -> String {
    format!("{repo}/-/jobs/{job}")
}

fn pipeline(delivery: &str, event: &PipelineEvent) -> Result<Reading, DeliveryError> {
    let repo = repo(&event.project.web_url);
    let mut reports = Vec::new();
    for (index, build) in event.builds.iter().enumerate() {
        let Some(environment) = &build.environment else { continue };
        let kind = match environment.action.as_str() {
            "start" | "" => ReportKind::Deploy,
            "stop" => ReportKind::Remove,
            // `prepare`, `verify` and `access` look at an environment.
            _ => continue,
        };
        // A job that may be started one day (`created`, `manual`, `scheduled`) deploys nothing yet.
        let Some(status) = status(&build.status).filter(|_| build.status != "created") else { continue };
        if kind == ReportKind::Remove && status != ReleaseStatus::Active {
            continue;
        }
        let at = build.finished_at.as_ref().or(build.started_at.as_ref()).unwrap_or(&build.created_at);
        reports.push(ChangeReport {
            source: Source::Gitlab,
            delivery_id: format!("{delivery}/{}", build.id),
            subject: job_subject(&repo, build.id),
            kind,
            status,
            at: at.0,
            sequence: 0,
            service: ServiceHint { repo: repo.clone(), name: String::new() },
            environment: named(&format!("builds[{index}].environment.name"), &environment.name)?,
            sha: sha("object_attributes.sha", &event.object_attributes.sha)?,
            version: version(&event.object_attributes.reference),
            url: link(&format!("{}/-/jobs/{}", event.project.web_url, build.id)),
            summary: line(&build.name),
        });
    }
    if reports.is_empty() {
        return Ok(Reading::ignored("no job of the pipeline deploys to an environment"));
    }
    Ok(Reading::Reports(reports))
}

fn release(delivery: &str, event: &ReleaseEvent) -> Result<Reading, DeliveryError> {
    if !matches!(event.action.as_str(), "create" | "update") {
        return Ok(Reading::ignored(format!(
            "a release with the action {:?} publishes nothing",
            line(&event.action)
        )));
    }
    let repo = repo(&event.project.web_url);
    Ok(Reading::one(ChangeReport {
        source: Source::Gitlab,
        delivery_id: delivery.to_owned(),
        subject: format!("{repo}/-/releases/{}", event.id),
        kind: ReportKind::Publish,
        status: ReleaseStatus::Draft,
        at: event.released_at.0,
        sequence: 0,
        service: ServiceHint { repo, name: String::new() },
        environment: String::new(),
        sha: sha("commit.id", &event.commit.id)?,
        version: named("tag", &event.tag)?,
        url: link(&event.url),
        summary: line(&event.name),
    }))
}

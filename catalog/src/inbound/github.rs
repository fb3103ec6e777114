//! GitHub's webhooks `deployment`, `deployment_status`, `release` and `workflow_run`.
//!
//! Signed over the raw body (`X-Hub-Signature-256`), which the receiver has verified; `X-GitHub-Delivery` is the same
//! when somebody sends a delivery again. Content type `application/json`.
//!
//! A deployment is GitHub's own, with its statuses; what is superseded there (`inactive`) says nothing new. A run of a
//! workflow is a deployment only where [`DeployWorkflows`] names the environment that it deploys to. A release
//! publishes a version and deploys nothing. Where a repository holds several services, the deployment's `payload` may
//! name one: `{"service": "checkout", "version": "1.2.3"}`.

use std::{collections::BTreeMap, str::FromStr};

use harmony_incidents::log::ReleaseStatus;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{
    ChangeReport, DeliveryError, Reading, ReportKind, ServiceHint, delivery_id, is_sha, json, line, link,
    named, repo, sha, text, version,
};
use crate::words::Source;

/// The headers that count.
#[derive(Debug, Clone, Copy)]
pub struct GitHubHeaders<'a> {
    /// `X-GitHub-Event`.
    pub event: &'a str,
    /// `X-GitHub-Delivery`.
    pub delivery: &'a str,
}

/// Which workflows deploy, and to which environment: by the name of their file (`deploy.yml`) or their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeployWorkflows(pub BTreeMap<String, String>);

/// Text that names no workflow and environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no WORKFLOW=ENVIRONMENT, such as deploy.yml=prod; several are separated by commas")]
pub struct DeployWorkflowsError(String);

impl FromStr for DeployWorkflows {
    type Err = DeployWorkflowsError;

    /// Reads `deploy.yml=prod, Release to staging=staging`.
    fn from_str(text: &str) -> Result<Self, DeployWorkflowsError> {
        let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        let read = |pair: &str| {
            let (workflow, environment) = pair.split_once('=').unwrap_or_default();
            let (workflow, environment) = (workflow.trim(), environment.trim());
            if workflow.is_empty() || environment.is_empty() {
                return Err(DeployWorkflowsError(line(pair)));
            }
            Ok((workflow.to_owned(), environment.to_owned()))
        };
        pairs.map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl DeployWorkflows {
    fn environment(&self, run: &WorkflowRun) -> Option<&String> {
        let file = run.path.split('@').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        self.0.get(file).or_else(|| self.0.get(&run.name))
    }
}

#[derive(Deserialize)]
struct Repository {
    html_url: String,
}

#[derive(Deserialize)]
struct DeploymentEvent {
    deployment: Deployment,
    repository: Repository,
}

#[derive(Deserialize)]
struct StatusEvent {
    deployment: Deployment,
    deployment_status: DeploymentStatus,
    repository: Repository,
}

#[derive(Deserialize)]
struct Deployment {
    id: u64,
    sha: String,
    #[serde(rename = "ref")]
    reference: String,
    #[serde(default, deserialize_with = "text")]
    task: String,
    #[serde(default)]
    payload: Value,
    environment: String,
    #[serde(default, deserialize_with = "text")]
    description: String,
    created_at: Timestamp,
}

#[derive(Deserialize)]
struct DeploymentStatus {
    id: u64,
    state: String,
    #[serde(default, deserialize_with = "text")]
    description: String,
    /// The deployment's own where the status names none.
    #[serde(default, deserialize_with = "text")]
    environment: String,
    created_at: Timestamp,
    #[serde(default, deserialize_with = "text")]
    log_url: String,
    #[serde(default, deserialize_with = "text")]
    target_url: String,
}

#[derive(Deserialize)]
struct ReleaseEvent {
    action: String,
    release: Release,
    repository: Repository,
}

#[derive(Deserialize)]
struct Release {
    id: u64,
    tag_name: String,
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "text")]
    target_commitish: String,
    #[serde(default)]
    published_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "text")]
    html_url: String,
}

#[derive(Deserialize)]
struct WorkflowRunEvent {
    workflow_run: WorkflowRun,
    repository: Repository,
}

#[derive(Deserialize)]
struct WorkflowRun {
    id: u64,
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "text")]
    path: String,
    head_sha: String,
    #[serde(default, deserialize_with = "text")]
    head_branch: String,
    status: String,
    #[serde(default, deserialize_with = "text")]
    conclusion: String,
    updated_at: Timestamp,
    #[serde(default)]
    run_attempt: u64,
    #[serde(default, deserialize_with = "text")]
    html_url: String,
}

/// Reads one delivery.
pub fn read(
    headers: GitHubHeaders<'_>,
    workflows: &DeployWorkflows,
    body: &[u8],
) -> Result<Reading, DeliveryError> {
    let delivery = delivery_id("X-GitHub-Delivery", headers.delivery)?;
    match headers.event {
        "deployment" => {
            let DeploymentEvent { deployment, repository } = json(body)?;
            deployment_report(&delivery, &deployment, &repository, None)
        }
        "deployment_status" => {
            let StatusEvent { deployment, deployment_status, repository } = json(body)?;
            deployment_report(&delivery, &deployment, &repository, Some(&deployment_status))
        }
        "release" => release(&delivery, &json(body)?),
        "workflow_run" => workflow_run(&delivery, &json(body)?, workflows),
        "" => Err(DeliveryError::new("X-GitHub-Event", "missing")),
        other => Ok(Reading::ignored(format!("the event {:?} says nothing about deployments", line(other)))),
    }
}

/// A deployment, as it is created or as a status says that it is.
fn deployment_report(
    delivery: &str,
    deployment: &Deployment,
    repository: &Repository,
    status: Option<&DeploymentStatus>,
) -> Result<Reading, DeliveryError> {
    let release_status = match status.map_or("queued", |status| status.state.as_str()) {
        "queued" | "pending" | "waiting" => ReleaseStatus::Draft,
        "in_progress" => ReleaseStatus::Promoting,
        "success" => ReleaseStatus::Active,
        "failure" | "error" => ReleaseStatus::Failed,
        "inactive" => return Ok(Reading::ignored("a later deployment took the place of this one")),
        other => {
            return Ok(Reading::ignored(format!("GitHub's deployment state {:?} is not known", line(other))));
        }
    };
    let payload = payload(&deployment.payload);
    let of_payload = |key: &str| payload.get(key).and_then(Value::as_str).map(line).unwrap_or_default();
    let mut version_name = of_payload("version");
    if version_name.is_empty() {
        version_name = version(&deployment.reference);
    }
    let environment = status.map(|status| status.environment.as_str()).filter(|name| !name.trim().is_empty());
    let urls = status.map(|status| [link(&status.log_url), link(&status.target_url)]).unwrap_or_default();
    let description = status.map_or(deployment.description.as_str(), |status| status.description.as_str());
    let repo = repo(&repository.html_url);
    Ok(Reading::one(ChangeReport {
        source: Source::Github,
        delivery_id: delivery.to_owned(),
        subject: format!("{repo}/deployments/{}", deployment.id),
        kind: if deployment.task == "rollback" { ReportKind::RollBack } else { ReportKind::Deploy },
        status: release_status,
        at: status.map_or(deployment.created_at, |status| status.created_at),
        sequence: status.map_or(0, |status| status.id),
        service: ServiceHint { repo, name: of_payload("service") },
        environment: named("deployment.environment", environment.unwrap_or(&deployment.environment))?,
        sha: sha("deployment.sha", &deployment.sha)?,
        version: version_name,
        url: urls.into_iter().find(|url| !url.is_empty()).unwrap_or_default(),
        summary: line(description),
    }))
}

/// What whoever made the deployment put beside it: an object, or one as text.
fn payload(payload: &Value) -> Value {
    payload.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| payload.clone())
}

fn release(delivery: &str, event: &ReleaseEvent) -> Result<Reading, DeliveryError> {
    let ReleaseEvent { action, release, repository } = event;
    if !matches!(action.as_str(), "published" | "released" | "prereleased") {
        return Ok(Reading::ignored(format!("a release that is {:?} publishes nothing", line(action))));
    }
    let at = release.published_at.ok_or_else(|| DeliveryError::new("release.published_at", "missing"))?;
    let repo = repo(&repository.html_url);
    let commit = release.target_commitish.to_ascii_lowercase();
    let name = line(&release.name);
    let tag = named("release.tag_name", &release.tag_name)?;
    Ok(Reading::one(ChangeReport {
        source: Source::Github,
        delivery_id: delivery.to_owned(),
        subject: format!("{repo}/releases/{}", release.id),
        kind: ReportKind::Publish,
        status: ReleaseStatus::Draft,
        at,
        sequence: 0,
        service: ServiceHint { repo, name: String::new() },
        environment: String::new(),
        // It is the name of a branch as often as a commit.
        sha: if is_sha(&commit) && commit.len() >= 40 { commit } else { String::new() },
        summary: if name.is_empty() { tag.clone() } else { name },
        version: tag,
        url: link(&release.html_url),
    }))
}

fn workflow_run(
    delivery: &str,
    event: &WorkflowRunEvent,
    workflows: &DeployWorkflows,
) -> Result<Reading, DeliveryError> {
    let WorkflowRunEvent { workflow_run: run, repository } = event;
    let Some(environment) = workflows.environment(run) else {
        let name = if run.name.is_empty() { &run.path } else { &run.name };
        return Ok(Reading::ignored(format!(
            "the workflow {:?} is not named as one that deploys",
            line(name)
        )));
    };
    let status = match (run.status.as_str(), run.conclusion.as_str()) {
        ("completed", "success") => ReleaseStatus::Active,
        ("completed", "failure" | "timed_out" | "startup_failure" | "cancelled") => ReleaseStatus::Failed,
        ("completed", other) => {
            return Ok(Reading::ignored(format!("a run that ends as {:?} deploys nothing", line(other))));
        }
        ("requested" | "queued" | "waiting" | "pending", _) => ReleaseStatus::Draft,
        ("in_progress", _) => ReleaseStatus::Promoting,
        (other, _) => {
            return Ok(Reading::ignored(format!("GitHub's run status {:?} is not known", line(other))));
        }
    };
    let repo = repo(&repository.html_url);
    Ok(Reading::one(ChangeReport {
        source: Source::Github,
        delivery_id: delivery.to_owned(),
        subject: format!("{repo}/actions/runs/{}/attempts/{}", run.id, run.run_attempt.max(1)),
        kind: ReportKind::Deploy,
        status,
        at: run.updated_at,
        sequence: 0,
        service: ServiceHint { repo, name: String::new() },
        environment: environment.clone(),
        sha: sha("workflow_run.head_sha", &run.head_sha)?,
        version: version(&run.head_branch),
        url: link(&run.html_url),
        summary: line(&run.name),
    }))
}

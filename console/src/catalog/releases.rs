//! Releases and their runs: creating one, telling what became of it, promoting its artifact on, and what they say.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use harmony_catalog::{
    Command, NewRelease,
    entity::{AuditEvent, LogEntry, Release, WorkflowRun},
    views::ReleaseView,
    words::{self, Source},
};
use harmony_eventlog::{
    Entry,
    catalog::{ReleaseFilter, RunFilter, StoredRelease, StoredRun},
};
use harmony_incidents::{
    EnvironmentId, IncidentId, ReleaseId, Right, RunId, ServiceId, StreamId,
    ids::NAMESPACE,
    log::{ReleaseStatus, payload::Kind},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{append, audit_of, cursor, cursor_parts, may_read, named, path_id, service_of};
use crate::{call::Call, error::ApiError};

/// A release as whoever deploys it, or tells of it, writes it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReleaseBody {
    /// Its id; made of the request where it is left out.
    #[serde(default)]
    pub(crate) id: Option<String>,
    /// Of which service.
    pub(crate) service_id: String,
    /// To which environment.
    pub(crate) env_id: String,
    /// Fingerprint of the artifact.
    pub(crate) sha: String,
    /// For people.
    #[serde(default)]
    pub(crate) version: String,
    /// `Draft` where it is left out; further on where whoever deploys tells of it afterwards.
    #[serde(default)]
    pub(crate) status: Option<String>,
    /// When it came to that status, where that is told later.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) at: Option<Timestamp>,
    /// Its page.
    #[serde(default)]
    pub(crate) url: String,
    /// The release of this environment that it takes the place of, because that one was bad.
    #[serde(default)]
    pub(crate) rolls_back: Option<String>,
    /// The incident that it is meant to end.
    #[serde(default)]
    pub(crate) incident: Option<String>,
}

/// What became of a release.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReleaseStatusBody {
    /// `Promoting`, `Active` or `Failed`.
    pub(crate) status: String,
    /// Why.
    #[serde(default)]
    pub(crate) reason: String,
    /// When, where that is told later.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) at: Option<Timestamp>,
}

/// Where to promote a release.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReleasePromoteBody {
    /// To which environment.
    pub(crate) env_id: String,
}

/// `GET …/releases`
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    call.query.only(&["serviceId", "envId", "since", "limit", "cursor"])?;
    may_read(&call)?;
    let limit = call.query.limit(50, 200)?;
    let before = match call.query.one("cursor") {
        None => None,
        Some(text) => {
            let [at, id] = cursor_parts(text)?;
            let at = Timestamp::from_microsecond(named("cursor", &at)?);
            let at = at.map_err(|_| ApiError::Invalid("cursor: it is no answer's".to_owned()))?;
            Some((at, named("cursor", &id)?))
        }
    };
    let filter = ReleaseFilter {
        services: call.query.all("serviceId").map(|id| named("serviceId", id)).collect::<Result<_, _>>()?,
        environment: call.query.one("envId").map(|id| named("envId", id)).transpose()?,
        since: call.query.one("since").map(|text| named("since", text)).transpose()?,
        before,
        limit: limit + 1,
        ..ReleaseFilter::default()
    };
    let mut found = call.app.doors.log.releases(&call.caller.org, &filter).await?;
    let more = found.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = found
        .last()
        .filter(|_| more)
        .map(|last| cursor(&[&last.release.created_at_us.to_string(), &last.release.release_id]));
    let mut body = json!({ "releases": views(&call, &found).await? });
    if let Some(next) = next {
        body["nextCursor"] = json!(next);
    }
    Ok(Json(body).into_response())
}

/// Releases with what became of them; their services are read once each.
pub(crate) async fn views(call: &Call, found: &[StoredRelease]) -> Result<Vec<ReleaseView>, ApiError> {
    let mut services = std::collections::BTreeMap::new();
    for one in found {
        if !services.contains_key(&one.service) {
            services.insert(one.service.clone(), super::service(call, &one.service).await?);
        }
    }
    let view = |one: &StoredRelease| {
        let service = services.get(&one.service).ok_or(ApiError::Internal)?;
        ReleaseView::of(service, &one.release).map_err(|error| unreadable(&error))
    };
    found.iter().map(view).collect()
}

/// A release as it is kept.
pub(crate) async fn stored(call: &Call, id: &ReleaseId) -> Result<StoredRelease, ApiError> {
    let filter = ReleaseFilter { ids: vec![id.clone()], limit: 1, ..ReleaseFilter::default() };
    let found = call.app.doors.log.releases(&call.caller.org, &filter).await?.pop();
    found.ok_or_else(|| ApiError::NotFound(format!("there is no release {id}")))
}

/// A release as the contract has it.
pub(crate) fn view(stored: &StoredRelease) -> Result<Release, ApiError> {
    Release::of(&stored.service, &stored.release).map_err(|error| unreadable(&error))
}

fn unreadable(error: &harmony_incidents::ids::IdError) -> ApiError {
    tracing::error!(%error, "a release cannot be read");
    ApiError::Internal
}

/// `GET …/releases/{id}`
pub(crate) async fn show(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    may_read(&call)?;
    let id: ReleaseId = path_id(&call, "release")?;
    Ok(Json(view(&stored(&call, &id).await?)?).into_response())
}

/// `POST …/releases`: a release that is deployed, or that was.
pub(crate) async fn create(call: Call) -> Result<Response, ApiError> {
    call.caller.require(Right::DeployExecute, None)?;
    let body: ReleaseBody = call.body()?;
    let (release, _) = deploy(&call, body).await?;
    Ok((StatusCode::CREATED, Json(release)).into_response())
}

/// Records a release, and what the audit says of that.
pub(crate) async fn deploy(
    call: &Call,
    body: ReleaseBody,
) -> Result<(Release, Option<AuditEvent>), ApiError> {
    let service: ServiceId = named("serviceId", &body.service_id)?;
    let status = body.status.as_deref().map_or(Ok(ReleaseStatus::Draft), status_of)?;
    let release = NewRelease {
        id: match &body.id {
            Some(id) => named("id", id)?,
            None => made_id(call)?,
        },
        env: named("envId", &body.env_id)?,
        sha: body.sha,
        version: body.version,
        promoted_from: None,
        rolls_back: body.rolls_back.as_deref().map(|id| named("rollsBack", id)).transpose()?,
        source: Source::Api,
        url: body.url,
        incident: body.incident.as_deref().map(|id| named::<IncidentId>("incident", id)).transpose()?,
        status,
        at: body.at,
    };
    record(call, service, release).await
}

async fn record(
    call: &Call,
    service: ServiceId,
    release: NewRelease,
) -> Result<(Release, Option<AuditEvent>), ApiError> {
    let id = release.id.clone();
    let command = Command::CreateRelease { release: Box::new(release) };
    let appended = append(call, &service.into(), &command, "").await?;
    let audit = audit_of(&appended);
    Ok((view(&stored(call, &id).await?)?, audit))
}

/// The id of a release whose sender gave none: the same for a repetition of the request.
fn made_id(call: &Call) -> Result<ReleaseId, ApiError> {
    let id = Uuid::new_v5(&NAMESPACE, format!("{}/release/{}", call.caller.org, call.key()).as_bytes());
    named("id", &format!("rel-{}", &id.simple().to_string()[..12]))
}

fn status_of(word: &str) -> Result<ReleaseStatus, ApiError> {
    words::release_status(word).map_err(|error| ApiError::Invalid(error.to_string()))
}

/// `POST …/releases/{id}/status`: what became of it, by whoever deploys.
pub(crate) async fn change(call: Call) -> Result<Response, ApiError> {
    call.caller.require(Right::DeployExecute, None)?;
    let id: ReleaseId = path_id(&call, "release")?;
    let ReleaseStatusBody { status, reason, at } = call.body()?;
    let to = status_of(&status)?;
    let (service, _) = service_of(&call, &id).await?;
    let command = Command::ChangeRelease { release: id.clone(), to, reason, at, run_id: None };
    append(&call, &service.into(), &command, "").await?;
    Ok(Json(view(&stored(&call, &id).await?)?).into_response())
}

/// `POST …/releases/{id}/promote`: its artifact goes on to another environment, as a release of its own.
pub(crate) async fn promote(call: Call) -> Result<Response, ApiError> {
    call.caller.require(Right::DeployExecute, None)?;
    let id: ReleaseId = path_id(&call, "release")?;
    let ReleasePromoteBody { env_id } = call.body()?;
    let (release, audit) = promote_to(&call, &id, &named("envId", &env_id)?).await?;
    Ok((StatusCode::CREATED, Json(json!({ "release": release, "audit": audit }))).into_response())
}

/// Records the promotion of a release to an environment.
pub(crate) async fn promote_to(
    call: &Call,
    id: &ReleaseId,
    environment: &EnvironmentId,
) -> Result<(Release, Option<AuditEvent>), ApiError> {
    let from = stored(call, id).await?;
    if from.release.environment_id == environment.as_str() {
        return Err(ApiError::Invalid(format!("envId: release {id} is in {environment} already")));
    }
    let release = NewRelease {
        id: made_id(call)?,
        env: environment.clone(),
        sha: from.release.sha.clone(),
        version: from.release.version.clone(),
        promoted_from: Some(id.clone()),
        rolls_back: None,
        source: Source::Api,
        url: String::new(),
        incident: None,
        status: ReleaseStatus::Draft,
        at: None,
    };
    record(call, from.service, release).await
}

/// `GET …/runs?releaseId=…`: what deployed and promoted these releases, in time.
pub(crate) async fn runs(call: Call) -> Result<Response, ApiError> {
    call.query.only(&["releaseId", "limit"])?;
    may_read(&call)?;
    let releases = call.query.all("releaseId").map(|id| named("releaseId", id));
    let filter = RunFilter {
        releases: releases.collect::<Result<Vec<ReleaseId>, _>>()?,
        limit: call.query.limit(50, 200)?,
        ..RunFilter::default()
    };
    if filter.releases.is_empty() {
        return Err(ApiError::Malformed("releaseId: say whose runs, at least one".to_owned()));
    }
    let found = call.app.doors.log.runs(&call.caller.org, &filter).await?;
    let mut runs = Vec::with_capacity(found.len());
    for one in &found {
        runs.push(run_view(&call, one).await?);
    }
    Ok(Json(json!({ "runs": runs })).into_response())
}

/// `GET …/runs/{id}`
pub(crate) async fn run(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    may_read(&call)?;
    let id: RunId = path_id(&call, "run")?;
    let filter = RunFilter { ids: vec![id.clone()], limit: 1, ..RunFilter::default() };
    let found = call.app.doors.log.runs(&call.caller.org, &filter).await?.pop();
    let found = found.ok_or_else(|| ApiError::NotFound(format!("there is no run {id}")))?;
    Ok(Json(run_view(&call, &found).await?).into_response())
}

/// A run with what it said.
pub(crate) async fn run_view(call: &Call, stored: &StoredRun) -> Result<WorkflowRun, ApiError> {
    /// Records of one read.
    const PAGE: u32 = 500;
    let stream: StreamId = stored.service.clone().into();
    let mut said: Vec<Entry> = Vec::new();
    let mut after = stored.run.started_seq;
    while u32::try_from(said.len()).unwrap_or(u32::MAX) < stored.run.logs {
        let page = call.app.doors.log.records(&call.caller.org, &stream, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.record.seq;
        let is_ours = |entry: &Entry| match kind(entry) {
            Some(Kind::RunLogged(line)) => line.run_id == stored.run.run_id,
            _ => false,
        };
        said.extend(page.into_iter().filter(is_ours));
    }
    let lines = said.iter().filter_map(|entry| match kind(entry) {
        Some(Kind::RunLogged(line)) => Some(LogEntry::of(line)),
        _ => None,
    });
    WorkflowRun::of(&stored.run, lines.collect()).map_err(|error| unreadable(&error))
}

fn kind(entry: &Entry) -> Option<&Kind> {
    entry.record.payload.as_ref()?.kind.as_ref()
}

//! Releases and their runs: creating one, telling what became of it, promoting its artifact on, and what they say.

use std::collections::BTreeMap;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use harmony_blueprints::{
    messages::{GoldenContext, ReleaseInput},
    starts::attested,
};
use harmony_catalog::{
    Command, NewRelease,
    entity::{AuditEvent, LogEntry, Release, WorkflowRun},
    judge::not_settled,
    views::{ReleaseView, active_before},
    words::{self, Source},
};
use harmony_eventlog::{
    Entry, OutboxItem,
    catalog::{ReleaseFilter, RunFilter, StoredRelease, StoredRun},
};
use harmony_incidents::{
    Answer, EnvironmentId, HasStatus, IncidentId, Refusal, ReleaseId, Right, RunId, RunStatus, ServiceId,
    StreamId, WorkflowId, WorkflowType,
    ids::NAMESPACE,
    log::{IncidentState, ReleaseStatus, RunKind, payload::Kind},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{append, append_as, audit_of, may_read, named, path_id, service_of, services_by_id};
use crate::{
    approvals::REASON_CHARS, call::Call, cursor, error::ApiError, leading::instant, members, starts, submit,
};

/// A release as whoever deploys it, or tells of it, writes it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReleaseBody {
    /// Its id; made of the request where it is left out.
    #[serde(default)]
    #[schema(value_type = Option<members::CatalogId>, inline)]
    pub(crate) id: Option<String>,
    /// Of which service.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    pub(crate) service_id: String,
    /// To which environment.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    pub(crate) env_id: String,
    /// Fingerprint of the artifact.
    #[schema(value_type = members::Word, inline)]
    pub(crate) sha: String,
    /// For people.
    #[serde(default)]
    #[schema(value_type = members::Name, inline)]
    pub(crate) version: String,
    /// `Draft` where it is left out; further on where whoever deploys tells of it afterwards.
    #[serde(default)]
    #[schema(value_type = Option<members::ReleaseStatus>, inline)]
    pub(crate) status: Option<String>,
    /// When it came to that status, where that is told later.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) at: Option<Timestamp>,
    /// Its page.
    #[serde(default)]
    #[schema(value_type = members::Address, inline)]
    pub(crate) url: String,
    /// The release of this environment that it takes the place of, because that one was bad.
    #[serde(default)]
    #[schema(value_type = Option<members::CatalogId>, inline)]
    pub(crate) rolls_back: Option<String>,
    /// The incident that it is meant to end.
    #[serde(default)]
    #[schema(value_type = Option<members::Incident>, inline)]
    pub(crate) incident: Option<String>,
    /// Nothing is changed but that the release is there as a draft: it is told what would be.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// Why, for those who approve it.
    #[serde(default)]
    #[schema(value_type = members::Reason, inline)]
    pub(crate) reason: String,
}

/// What became of a release.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReleaseStatusBody {
    /// `Promoting`, `Active` or `Failed`.
    #[schema(pattern = "^(Promoting|Active|Failed)$")]
    pub(crate) status: String,
    /// Why.
    #[serde(default)]
    #[schema(value_type = members::LongText, inline)]
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
    #[serde(alias = "toEnvId")]
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    pub(crate) env_id: String,
    /// Nothing is changed: it is told what would be.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// Why, for those who approve it.
    #[serde(default)]
    #[schema(value_type = members::Reason, inline)]
    pub(crate) reason: String,
}

/// A release that did not go out yet, once more.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReleaseStartBody {
    /// Nothing is changed: it is told what would be.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// Why, for those who approve it.
    #[serde(default)]
    #[schema(value_type = members::Reason, inline)]
    pub(crate) reason: String,
}

/// A release that is to be taken back.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RollbackBody {
    /// The incident that this is to end: its responders may ask for it, and its people are asked.
    #[serde(default)]
    #[schema(value_type = Option<members::Incident>, inline)]
    pub(crate) incident_id: Option<String>,
    /// Why, for those who approve it.
    #[serde(default)]
    #[schema(value_type = members::Reason, inline)]
    pub(crate) reason: String,
}

/// `GET …/releases`
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    call.query.only(&["serviceId", "envId", "since", "limit", "cursor"])?;
    may_read(&call)?;
    let limit = call.query.limit(50, 200)?;
    let filter = ReleaseFilter {
        services: call.query.words("serviceId").map(|id| named("serviceId", id)).collect::<Result<_, _>>()?,
        environment: call.query.given("envId").map(|id| named("envId", id)).transpose()?,
        since: call.query.given("since").map(|text| instant("since", text)).transpose()?,
        before: call.query.given("cursor").map(cursor::release).transpose()?,
        limit: limit + 1,
        ..ReleaseFilter::default()
    };
    let mut found = call.app.doors.log.releases(&call.caller.org, &filter).await?;
    let more = found.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = found
        .last()
        .filter(|_| more)
        .map(|last| cursor::of_time(last.release.created_at_us, &last.release.release_id));
    let mut body = json!({ "releases": views(&call, &found).await? });
    if let Some(next) = next {
        body["nextCursor"] = json!(next);
    }
    Ok(Json(body).into_response())
}

/// Releases with what became of them; their services are read at once.
pub(crate) async fn views(call: &Call, found: &[StoredRelease]) -> Result<Vec<ReleaseView>, ApiError> {
    let services = services_by_id(call, found.iter().map(|one| one.service.clone()).collect()).await?;
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

/// The error for a release whose ids cannot be read.
pub(crate) fn unreadable(error: &harmony_incidents::ids::IdError) -> ApiError {
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

/// `POST …/releases`: a release that is to be deployed, or one that was.
pub(crate) async fn create(call: Call) -> Result<Response, ApiError> {
    call.require_about(Right::DeployExecute, async || call.id_in_body::<ServiceId>("serviceId")).await?;
    let body: ReleaseBody = call.body()?;
    let (release, _) = deploy(&call, body).await?;
    Ok((StatusCode::CREATED, Json(release)).into_response())
}

/// Records a release, and what the audit says of that. A draft goes out by a run of its own; whoever tells of a release
/// that is further on deploys it themselves.
pub(crate) async fn deploy(
    call: &Call,
    body: ReleaseBody,
) -> Result<(Release, Option<AuditEvent>), ApiError> {
    let service: ServiceId = named("serviceId", &body.service_id)?;
    let status = body.status.as_deref().map_or(Ok(ReleaseStatus::Draft), status_of)?;
    if body.dry_run && status != ReleaseStatus::Draft {
        return Err(ApiError::Invalid("dryRun: only a draft has something to be planned".to_owned()));
    }
    let incident = body.incident.as_deref().map(|id| named::<IncidentId>("incident", id)).transpose()?;
    if let Some(incident) = &incident {
        meant_for(call, incident).await?;
    }
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
        incident,
        status,
        at: body.at,
    };
    let wish = Wish { dry_run: body.dry_run, reason: body.reason };
    record(call, service, release, wish).await
}

/// The incident that a release is meant to end. Everybody reads a service's records, so none of them names a private one.
async fn meant_for(call: &Call, incident: &IncidentId) -> Result<IncidentState, ApiError> {
    let state = call.named(incident, Right::Read).await?;
    if state.private {
        return Err(Refusal::Illegal {
            explanation: format!(
                "{incident} is private, and everybody reads what is deployed: deploy or roll back without naming it"
            ),
        }
        .into());
    }
    Ok(state)
}

/// Refuses who may not deploy; a refusal stands in the stream of the release's service.
pub(crate) async fn may_deploy(call: &Call, id: &ReleaseId) -> Result<(), ApiError> {
    let about = async || stored(call, id).await.ok().map(|known| known.service);
    call.require_about(Right::DeployExecute, about).await
}

/// How a run is to be.
struct Wish {
    dry_run: bool,
    reason: String,
}

/// Records a release; a draft is started in the same transaction.
async fn record(
    call: &Call,
    service: ServiceId,
    release: NewRelease,
    wish: Wish,
) -> Result<(Release, Option<AuditEvent>), ApiError> {
    let id = release.id.clone();
    let context = call.context(None);
    let follow = if release.status == ReleaseStatus::Draft {
        vec![start_item(call, kind_of(release.promoted_from.is_some()), &id, 1, &wish, context.occurred_at)?]
    } else {
        vec![]
    };
    let command = Command::CreateRelease { release: Box::new(release) };
    let appended = append_as(call, &service.into(), &call.key(), &command, &context, follow).await?;
    let audit = audit_of(&appended);
    Ok((view(&stored(call, &id).await?)?, audit))
}

/// Which workflow takes a release out.
pub(crate) fn kind_of(is_promotion: bool) -> WorkflowType {
    if is_promotion { WorkflowType::Promote } else { WorkflowType::Deploy }
}

/// What starts a release's workflow, attested over its whole input.
fn start_item(
    call: &Call,
    kind: WorkflowType,
    release: &ReleaseId,
    attempt: u32,
    wish: &Wish,
    at: Timestamp,
) -> Result<OutboxItem, ApiError> {
    if wish.reason.chars().count() > REASON_CHARS {
        return Err(ApiError::Invalid(format!("reason has more than {REASON_CHARS} characters")));
    }
    let workflow_id = WorkflowId::of_release(kind, &call.caller.org, release);
    let initiator_id = call.caller.principal.id.clone();
    let context = GoldenContext { initiator_id, ..GoldenContext::default() };
    let mut input = json!(ReleaseInput { dry_run: wish.dry_run, reason: wish.reason.clone() });
    input["context"] = json!(context);
    let doors = &call.app.doors;
    let input = attested(
        &doors.attestation,
        &call.caller.org,
        workflow_id.as_str(),
        &call.caller.principal.id,
        at,
        input,
    );
    Ok(starts::item(&workflow_id, kind, attempt, &call.request.id, input))
}

/// `POST …/releases/{id}/deploy`: a draft goes out once more, whose last run did not take it there.
pub(crate) async fn start(call: Call) -> Result<Response, ApiError> {
    let id: ReleaseId = path_id(&call, "release")?;
    may_deploy(&call, &id).await?;
    let ReleaseStartBody { dry_run, reason } = call.body()?;
    let wish = Wish { dry_run, reason };
    let known = stored(&call, &id).await?;
    let kind = kind_of(!known.release.promoted_from.is_empty());
    let workflow_id = WorkflowId::of_release(kind, &call.caller.org, &id);
    let stream = StreamId::from(known.service.clone());
    let context = call.context(None);
    // Before anything is judged: what is wrong with the request is told as that.
    start_item(&call, kind, &id, 1, &wish, context.occurred_at)?;
    let request = json!({ "release": id, "dryRun": wish.dry_run, "reason": wish.reason });
    let illegal = |explanation: String| Refusal::Illegal { explanation };
    submit::remember(&call, &stream, &request, &context, &|head| {
        not_settled(&known.release)?;
        let last = head.state.blueprints.iter().find(|one| one.workflow_id == workflow_id.as_str());
        if last.is_some_and(|one| one.is(RunStatus::Running)) {
            return Err(illegal(format!("{workflow_id} goes on: wait until it has ended, or stop it")));
        }
        let attempt = last.map_or(1, |one| one.attempt + 1);
        let item = start_item(&call, kind, &id, attempt, &wish, context.occurred_at)
            .map_err(|error| illegal(error.for_people()))?;
        let answer =
            Answer::Started { attempt, severity: head.state.severity(), authority: context.authority };
        Ok((answer, vec![item]))
    })
    .await?;
    let body = json!({ "release": view(&known)?, "workflowId": workflow_id });
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// `POST …/releases/{id}/rollback`: what was active before it is deployed again, as a release of its own, through its
/// gate. For an incident its responders may ask for it.
pub(crate) async fn rollback(call: Call) -> Result<Response, ApiError> {
    let id: ReleaseId = path_id(&call, "release")?;
    let RollbackBody { incident_id, reason } = call.body()?;
    let incident: Option<IncidentId> = incident_id.map(|text| named("incidentId", &text)).transpose()?;
    match &incident {
        Some(incident) => {
            let state = meant_for(&call, incident).await?;
            call.require_on(Right::OperationsExecute, &state).await?;
        }
        None => may_deploy(&call, &id).await?,
    }
    let bad = stored(&call, &id).await?;
    let service = super::service(&call, &bad.service).await?;
    let before = active_before(&service, &bad.release).ok_or_else(|| {
        ApiError::from(Refusal::Illegal {
            explanation: format!(
                "nothing else was active in {} before {id}: there is nothing to roll back to",
                bad.release.environment_id
            ),
        })
    })?;
    let release = NewRelease {
        id: made_id(&call)?,
        env: named("envId", &bad.release.environment_id)?,
        sha: before.sha.clone(),
        version: before.version.clone(),
        promoted_from: None,
        rolls_back: Some(id),
        source: Source::Api,
        url: String::new(),
        incident,
        status: ReleaseStatus::Draft,
        at: None,
    };
    let workflow_id = WorkflowId::of_release(WorkflowType::Deploy, &call.caller.org, &release.id);
    let (release, audit) = record(&call, bad.service, release, Wish { dry_run: false, reason }).await?;
    let mut body = json!({ "release": release, "audit": audit, "workflowId": workflow_id });
    if let Some(warning) = starts::away(&call.app, "the rollback") {
        body["warning"] = json!(warning);
    }
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
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
    let id: ReleaseId = path_id(&call, "release")?;
    may_deploy(&call, &id).await?;
    let ReleaseStatusBody { status, reason, at } = call.body()?;
    let to = status_of(&status)?;
    let (service, _) = service_of(&call, &id).await?;
    let command = Command::ChangeRelease { release: id.clone(), to, reason, at, run_id: None };
    append(&call, &service.into(), &command).await?;
    Ok(Json(view(&stored(&call, &id).await?)?).into_response())
}

/// `POST …/releases/{id}/promote`: its artifact goes on to another environment, as a release of its own.
pub(crate) async fn promote(call: Call) -> Result<Response, ApiError> {
    let id: ReleaseId = path_id(&call, "release")?;
    may_deploy(&call, &id).await?;
    let ReleasePromoteBody { env_id, dry_run, reason } = call.body()?;
    let wish = Wish { dry_run, reason };
    let (release, audit) = promote_as(&call, &id, &named("envId", &env_id)?, wish).await?;
    Ok((StatusCode::CREATED, Json(json!({ "release": release, "audit": audit }))).into_response())
}

/// Records the promotion of a release to an environment, and starts it.
pub(crate) async fn promote_to(
    call: &Call,
    id: &ReleaseId,
    environment: &EnvironmentId,
) -> Result<(Release, Option<AuditEvent>), ApiError> {
    promote_as(call, id, environment, Wish { dry_run: false, reason: String::new() }).await
}

async fn promote_as(
    call: &Call,
    id: &ReleaseId,
    environment: &EnvironmentId,
    wish: Wish,
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
    record(call, from.service, release, wish).await
}

/// The runs that deployed each of these releases and those that promoted it on to other environments, in time. What is
/// asked of the store does not grow with the number of releases.
pub(crate) async fn runs_by_release(
    call: &Call,
    releases: &[ReleaseId],
    limit: u32,
) -> Result<BTreeMap<ReleaseId, Vec<StoredRun>>, ApiError> {
    let log = &call.app.doors.log;
    let filter = ReleaseFilter {
        ids: releases.to_vec(),
        limit: u32::try_from(releases.len()).unwrap_or(u32::MAX),
        ..ReleaseFilter::default()
    };
    let known = log.releases(&call.caller.org, &filter).await?;
    let services = services_by_id(call, known.into_iter().map(|one| one.service).collect()).await?;
    let asked: BTreeMap<&str, &ReleaseId> = releases.iter().map(|id| (id.as_str(), id)).collect();
    // Releases that one of these was promoted as, and from which.
    let promoted: BTreeMap<ReleaseId, &ReleaseId> = services
        .values()
        .flat_map(|service| &service.releases)
        .filter_map(|one| Some((one.release_id.parse().ok()?, *asked.get(one.promoted_from.as_str())?)))
        .collect();
    let filter = RunFilter {
        releases: releases.iter().cloned().chain(promoted.keys().cloned()).collect(),
        limit,
        ..RunFilter::default()
    };
    let mut runs = log.runs(&call.caller.org, &filter).await?;
    runs.sort_by_key(|one| (one.run.started_at_us, one.run.started_seq));
    let mut found: BTreeMap<ReleaseId, Vec<StoredRun>> = BTreeMap::new();
    for one in runs {
        if let Some(id) = asked.get(one.run.release_id.as_str()) {
            found.entry((*id).clone()).or_default().push(one.clone());
        }
        if one.run.kind() == RunKind::Promote
            && let Ok(id) = one.run.release_id.parse::<ReleaseId>()
            && let Some(origin) = promoted.get(&id)
        {
            found.entry((*origin).clone()).or_default().push(one);
        }
    }
    Ok(found)
}

/// The runs of [`runs_by_release`], merged in time, each once.
pub(crate) async fn runs_of(
    call: &Call,
    releases: &[ReleaseId],
    limit: u32,
) -> Result<Vec<StoredRun>, ApiError> {
    let found = runs_by_release(call, releases, limit).await?;
    let mut runs: Vec<StoredRun> = found.into_values().flatten().collect();
    let place = |one: &StoredRun| (one.run.started_at_us, one.run.started_seq, one.run.run_id.clone());
    runs.sort_by_key(place);
    runs.dedup_by(|one, other| one.run.run_id == other.run.run_id);
    Ok(runs)
}

/// `GET …/runs?releaseId=…`: what deployed and promoted these releases, in time.
pub(crate) async fn runs(call: Call) -> Result<Response, ApiError> {
    call.query.only(&["releaseId", "limit"])?;
    may_read(&call)?;
    let releases = call.query.words("releaseId").map(|id| named("releaseId", id));
    let releases = releases.collect::<Result<Vec<ReleaseId>, _>>()?;
    if releases.is_empty() {
        return Err(ApiError::Malformed("releaseId: say whose runs, at least one".to_owned()));
    }
    let found = runs_of(&call, &releases, call.query.limit(50, 200)?).await?;
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

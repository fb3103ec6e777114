//! What a delivery tells, written into the catalog: each report under a key made of the delivery's id, so that the same
//! one again changes nothing.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use harmony_catalog::{
    Command, Facts,
    entity::{Environment, Service},
    inbound::{ChangeReport, KnownCatalog, Placed, Reading, place},
    judge_environment, judge_service,
    words::Source,
};
use harmony_eventlog::{
    CatalogAppend, LogError, StreamState,
    catalog::{self, CatalogFilter, CatalogKind},
};
use harmony_incidents::{
    Context, EnvironmentId, OrgId, Refusal, ReleaseId, StreamId,
    log::{Authority, Cause, ReleaseStatus, ServiceState},
};
use jiff::Timestamp;
use serde_json::json;

use crate::{App, callbacks::signed, error::ApiError};

/// How many services or environments are read at a time.
const PAGE: u32 = 1_000;

/// Records what a delivery tells. The answer counts what was recorded and says what was not, and why.
pub(super) async fn take(app: &App, source: Source, reading: Reading) -> Result<Response, ApiError> {
    let reports = match reading {
        Reading::Ignored { why } => return Ok(answer(0, &[why])),
        Reading::Reports(reports) => reports,
    };
    let org = &app.doors.webhooks.org;
    let services: Vec<Service> = known(app, org, CatalogKind::Service, |state| {
        state.service().and_then(|state| Service::try_from(&state).ok())
    })
    .await?;
    let environments: Vec<Environment> = known(app, org, CatalogKind::Environment, |state| {
        state.environment().and_then(|state| Environment::try_from(&state).ok())
    })
    .await?;
    let mut recorded = 0;
    let mut ignored = Vec::new();
    for report in &reports {
        let placed = place(report, KnownCatalog { services: &services, environments: &environments });
        match write(app, org, report, placed).await? {
            None => recorded += 1,
            Some(why) => ignored.push(why),
        }
    }
    for why in &ignored {
        tracing::info!(source = source.name(), why, "a delivery changes nothing in the catalog");
    }
    Ok(answer(recorded, &ignored))
}

fn answer(recorded: usize, ignored: &[String]) -> Response {
    Json(json!({ "recorded": recorded, "ignored": ignored })).into_response()
}

/// Everything of one kind that is not retired.
async fn known<T>(
    app: &App,
    org: &OrgId,
    kind: CatalogKind,
    read: fn(StreamState) -> Option<T>,
) -> Result<Vec<T>, ApiError> {
    let filter = CatalogFilter {
        kind,
        ids: vec![],
        search: None,
        retired: false,
        running: false,
        after: None,
        limit: PAGE,
    };
    let all = catalog::all(&*app.doors.log, org, filter).await?;
    Ok(all.into_iter().filter_map(read).collect())
}

/// Writes one report; `Some` where it changes nothing, and why.
async fn write(
    app: &App,
    org: &OrgId,
    report: &ChangeReport,
    placed: Placed,
) -> Result<Option<String>, ApiError> {
    let (stream, command): (StreamId, Command) = match placed {
        Placed::Nowhere { why } => return Ok(Some(why)),
        Placed::Removal { service, environment } => {
            return Ok(Some(format!(
                "{service} stays in {environment} until the catalog's own description says otherwise"
            )));
        }
        Placed::Release { service, mut release, is_rollback } => {
            let stream = StreamId::from(service);
            if is_rollback
                && let Some(StreamState::Service(state)) = app.doors.log.catalog_state(org, &stream).await?
            {
                release.rolls_back = active(&state, &release.env, &release.id);
            }
            (stream, Command::CreateRelease { release })
        }
        Placed::Environment(environment) => {
            let stream = StreamId::from(environment.id.clone());
            (stream, Command::WriteEnvironment { environment, adapter: None })
        }
        Placed::EnvironmentGone(id) => {
            let reason = format!("{} tells that it was deleted", report.source);
            (StreamId::from(id), Command::RetireEnvironment { reason })
        }
    };
    let context = Context {
        actor: report.source.name().to_owned(),
        authority: Authority::AutoEngine,
        cause: Cause { request_id: report.delivery_id.clone(), ..Cause::default() },
        // Their clock may be ahead of ours.
        occurred_at: report.at.min(Timestamp::now()),
    };
    let judge = |state: &StreamState, facts: &Facts| match state {
        StreamState::Service(state) => judge_service(state, &command, &context, facts),
        StreamState::Environment(state) => judge_environment(state, &command, &context),
        StreamState::Incident(_) => {
            Err(Refusal::Invalid { explanation: format!("{stream} is no stream of the catalog") })
        }
    };
    let appended = app
        .doors
        .log
        .append_catalog(CatalogAppend {
            org,
            stream: &stream,
            key: &signed::delivery_key(report.source.name(), &report.delivery_id),
            command: &command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &judge,
            follow: vec![],
        })
        .await;
    match appended {
        Ok(_) => Ok(None),
        Err(LogError::Refused(refusal)) => Ok(Some(refusal.to_string())),
        // The catalog has changed since the delivery came first, so it means something else now.
        Err(LogError::KeyConflict { .. }) => Ok(Some("this delivery was recorded before".to_owned())),
        Err(error) => Err(error.into()),
    }
}

/// The release that is active in an environment, but for this one.
fn active(state: &ServiceState, environment: &EnvironmentId, but: &ReleaseId) -> Option<ReleaseId> {
    let here = state.releases.iter().filter(|one| {
        one.environment_id == environment.as_str()
            && one.release_id != but.as_str()
            && one.status() == ReleaseStatus::Active
    });
    here.max_by_key(|one| one.settled_at_us).and_then(|one| one.release_id.parse().ok())
}

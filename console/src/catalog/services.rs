//! Services: the index, one of them, writing and retiring them.

use std::collections::BTreeMap;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use harmony_catalog::{
    Command,
    entity::Service,
    views::{ReleaseView, latest_by_environment},
};
use harmony_eventlog::{
    Filter, StreamState,
    catalog::{CatalogFilter, CatalogKind},
};
use harmony_incidents::{Right, ServiceId, log::ServiceState, words};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{append, may_read, path_id};
use crate::{call::Call, cursor, error::ApiError, members};

/// Open incidents that are counted beside a page of services.
const INCIDENTS: u32 = 10_000;

/// A service in the index.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceLine {
    /// As the contract has it.
    #[serde(flatten)]
    pub(crate) service: Service,
    /// By environment id, the release that tells most about it.
    pub(crate) latest_releases: BTreeMap<String, ReleaseView>,
    /// How many open incidents hit it, by `critical`, `high`, `medium` and `low`.
    pub(crate) open_incidents: BTreeMap<&'static str, u64>,
    /// When it was last written, or something happened to a release of it.
    pub(crate) updated_at: Timestamp,
    /// Where its audit ends: its stream and the last seq there.
    pub(crate) audit_tail: AuditTail,
}

/// Where the audit of a service ends.
#[derive(Serialize)]
pub(crate) struct AuditTail {
    /// `svc/<id>`.
    pub(crate) stream: String,
    /// Its last record.
    pub(crate) seq: u64,
}

/// `GET …/services`
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    call.query.only(&["searchQuery", "retired", "limit", "cursor"])?;
    may_read(&call)?;
    let limit = call.query.limit(50, 200)?;
    let after = call.query.given("cursor").map(cursor::id::<ServiceId>).transpose()?.map(String::from);
    let search = call.query.one("searchQuery").map(str::to_owned);
    let retired = call.query.flag("retired")? == Some(true);
    let (lines, more) = index(&call, search, retired, after, limit).await?;
    let mut body = json!({ "services": lines });
    if let Some(last) = lines.last().filter(|_| more) {
        body["nextCursor"] = json!(last.service.id);
    }
    Ok(Json(body).into_response())
}

/// A page of the index, and whether more follow. It asks the store twice, however many services there are.
pub(crate) async fn index(
    call: &Call,
    search: Option<String>,
    retired: bool,
    after: Option<String>,
    limit: u32,
) -> Result<(Vec<ServiceLine>, bool), ApiError> {
    let filter = CatalogFilter {
        kind: CatalogKind::Service,
        ids: Vec::new(),
        search,
        retired,
        running: false,
        after,
        limit: limit + 1,
    };
    let found = call.app.doors.log.catalog(&call.caller.org, &filter).await?;
    let mut states: Vec<ServiceState> = found.into_iter().filter_map(StreamState::service).collect();
    let more = states.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    states.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let lines = lines(call, &states).await?;
    Ok((lines, more))
}

/// These services as the index shows them.
pub(crate) async fn lines(call: &Call, states: &[ServiceState]) -> Result<Vec<ServiceLine>, ApiError> {
    let open = open_incidents(call, states).await?;
    states
        .iter()
        .map(|state| {
            let latest = latest_by_environment(state).into_iter();
            let latest =
                latest.filter_map(|(id, one)| Some((id.to_owned(), ReleaseView::of(state, one).ok()?)));
            Ok(ServiceLine {
                service: view(state)?,
                latest_releases: latest.collect(),
                open_incidents: open.get(&state.id).cloned().unwrap_or_default(),
                updated_at: Timestamp::from_microsecond(state.updated_at_us).unwrap_or(Timestamp::UNIX_EPOCH),
                audit_tail: AuditTail { stream: format!("svc/{}", state.id), seq: state.seq },
            })
        })
        .collect()
}

/// Open incidents of these services, by service and severity.
async fn open_incidents(
    call: &Call,
    states: &[ServiceState],
) -> Result<BTreeMap<String, BTreeMap<&'static str, u64>>, ApiError> {
    let names = states.iter().flat_map(|state| [state.id.clone(), state.name.clone()]);
    let filter = Filter {
        states: ["PENDING", "OPEN", "MITIGATING"].map(str::to_owned).to_vec(),
        services: names.collect(),
        visible_to: call.caller.sees_only(),
        // A drill is no incident of the service.
        drill: Some(false),
        limit: INCIDENTS,
        ..Filter::default()
    };
    let mut counted: BTreeMap<String, BTreeMap<&'static str, u64>> = BTreeMap::new();
    if states.is_empty() {
        return Ok(counted);
    }
    for incident in call.app.doors.log.list(&call.caller.org, &filter).await? {
        let hit = states.iter().filter(|one| [&one.id, &one.name].contains(&&incident.service_name));
        for state in hit {
            let by_severity = counted.entry(state.id.clone()).or_default();
            *by_severity.entry(words::severity_view(incident.severity())).or_default() += 1;
        }
    }
    Ok(counted)
}

/// A service as the contract has it.
pub(crate) fn view(state: &ServiceState) -> Result<Service, ApiError> {
    Service::try_from(state).map_err(|error| {
        tracing::error!(%error, service = %state.id, "a service cannot be read");
        ApiError::Internal
    })
}

/// `GET …/services/{id}`
pub(crate) async fn show(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    may_read(&call)?;
    let id: ServiceId = path_id(&call, "service")?;
    Ok(Json(view(&super::service(&call, &id).await?)?).into_response())
}

/// `POST …/services`: all of a service as it is from now on.
pub(crate) async fn write(call: Call) -> Result<Response, ApiError> {
    call.require_about(Right::CatalogWrite, async || call.id_in_body::<ServiceId>("id")).await?;
    let service: Service = call.body()?;
    let (status, state) = put(&call, service).await?;
    Ok((status, Json(view(&state)?)).into_response())
}

/// Writes a service; 201 where it is new.
pub(crate) async fn put(call: &Call, service: Service) -> Result<(StatusCode, ServiceState), ApiError> {
    let id = service.id.clone();
    let stream = id.clone().into();
    let command = Command::WriteService { service: Box::new(service) };
    let appended = append(call, &stream, &command).await?;
    let is_new = appended.records.first().is_some_and(|entry| entry.record.seq == 1);
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, super::service(call, &id).await?))
}

/// Why something is retired.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RetireBody {
    /// In words.
    #[serde(default)]
    #[schema(value_type = members::LongText, inline)]
    pub(crate) reason: String,
}

/// `POST …/services/{id}/retire`
pub(crate) async fn retire(call: Call) -> Result<Response, ApiError> {
    call.require_about(Right::CatalogWrite, async || call.path("id").parse::<ServiceId>().ok()).await?;
    let id: ServiceId = path_id(&call, "service")?;
    let RetireBody { reason } = call.body()?;
    append(&call, &id.clone().into(), &Command::RetireService { reason }).await?;
    Ok(Json(view(&super::service(&call, &id).await?)?).into_response())
}

//! Environments: the list, one of them, writing and retiring them.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use harmony_catalog::{Command, entity::Environment};
use harmony_eventlog::{
    StreamState,
    catalog::{CatalogFilter, CatalogKind},
};
use harmony_incidents::{EnvironmentId, Right, log::EnvironmentState};
use serde_json::json;

use super::{append, may_read, path_id, services::RetireBody};
use crate::{call::Call, cursor, error::ApiError};

/// `GET …/environments`
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    call.query.only(&["searchQuery", "retired", "limit", "cursor"])?;
    may_read(&call)?;
    let limit = call.query.limit(50, 200)?;
    let after = call.query.given("cursor").map(cursor::id::<EnvironmentId>).transpose()?.map(String::from);
    let filter = CatalogFilter {
        kind: CatalogKind::Environment,
        ids: Vec::new(),
        search: call.query.one("searchQuery").map(str::to_owned),
        retired: call.query.flag("retired")? == Some(true),
        running: false,
        after,
        limit: limit + 1,
    };
    let mut found = all(&call, &filter).await?;
    let more = found.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let mut body = json!({ "environments": found });
    if let Some(last) = found.last().filter(|_| more) {
        body["nextCursor"] = json!(last.id);
    }
    Ok(Json(body).into_response())
}

/// Environments as the contract has them.
pub(crate) async fn all(call: &Call, filter: &CatalogFilter) -> Result<Vec<Environment>, ApiError> {
    let found = call.app.doors.log.catalog(&call.caller.org, filter).await?;
    found.into_iter().filter_map(StreamState::environment).map(|state| view(&state)).collect()
}

/// An environment as the contract has it.
pub(crate) fn view(state: &EnvironmentState) -> Result<Environment, ApiError> {
    Environment::try_from(state).map_err(|error| {
        tracing::error!(%error, environment = %state.id, "an environment cannot be read");
        ApiError::Internal
    })
}

/// `GET …/environments/{id}`
pub(crate) async fn show(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    may_read(&call)?;
    let id: EnvironmentId = path_id(&call, "environment")?;
    Ok(Json(view(&super::environment(&call, &id).await?)?).into_response())
}

/// `POST …/environments`: all of an environment as it is from now on.
pub(crate) async fn write(call: Call) -> Result<Response, ApiError> {
    call.require_about(Right::CatalogWrite, async || call.id_in_body::<EnvironmentId>("id")).await?;
    let environment: Environment = call.body()?;
    let (status, state) = put(&call, environment).await?;
    Ok((status, Json(view(&state)?)).into_response())
}

/// Writes an environment; 201 where it is new.
pub(crate) async fn put(
    call: &Call,
    environment: Environment,
) -> Result<(StatusCode, EnvironmentState), ApiError> {
    let id = environment.id.clone();
    let command = Command::WriteEnvironment { environment: Box::new(environment), adapter: None };
    let appended = append(call, &id.clone().into(), &command).await?;
    let is_new = appended.records.first().is_some_and(|entry| entry.record.seq == 1);
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, super::environment(call, &id).await?))
}

/// `POST …/environments/{id}/retire`
pub(crate) async fn retire(call: Call) -> Result<Response, ApiError> {
    call.require_about(Right::CatalogWrite, async || call.path("id").parse::<EnvironmentId>().ok()).await?;
    let id: EnvironmentId = path_id(&call, "environment")?;
    let RetireBody { reason } = call.body()?;
    append(&call, &id.clone().into(), &Command::RetireEnvironment { reason }).await?;
    Ok(Json(view(&super::environment(&call, &id).await?)?).into_response())
}

//! The catalog over the API: services, environments, releases and runs, what changed before an incident, and the audit
//! over all streams.
//!
//! A write is a command of `harmony_catalog`, judged inside the store's transaction with the caller's rights; what is
//! answered is what is on record then. GraphQL asks here, too.

pub(crate) mod audit;
pub(crate) mod changes;
pub(crate) mod environments;
pub(crate) mod releases;
pub(crate) mod services;

use std::collections::{BTreeMap, BTreeSet};

use harmony_catalog::{Command, Facts, entity::AuditEvent, judge_environment, judge_service};
use harmony_eventlog::{
    CatalogAppend, CatalogAppended, OutboxItem, StreamState,
    catalog::{CatalogFilter, CatalogKind},
};
use harmony_incidents::{
    Context, EnvironmentId, Refusal, ReleaseId, Right, ServiceId, StreamId,
    log::{EnvironmentState, ServiceState},
};

use crate::{call::Call, error::ApiError};

/// Appends a command to a stream of the catalog under the request's key.
pub(crate) async fn append(
    call: &Call,
    stream: &StreamId,
    command: &Command,
) -> Result<CatalogAppended, ApiError> {
    append_as(call, stream, &call.key(), command, &call.context(None), vec![]).await
}

/// As [`append`], under a key of its own, as somebody else, or with what follows from the outbox.
pub(crate) async fn append_as(
    call: &Call,
    stream: &StreamId,
    key: &str,
    command: &Command,
    context: &Context,
    follow: Vec<OutboxItem>,
) -> Result<CatalogAppended, ApiError> {
    let judge = |state: &StreamState, facts: &Facts| match state {
        StreamState::Service(state) => judge_service(state, command, context, facts),
        StreamState::Environment(state) => judge_environment(state, command, context),
        StreamState::Incident(_) => {
            Err(Refusal::Invalid { explanation: format!("{stream} is no stream of the catalog") })
        }
    };
    let appended = call
        .app
        .doors
        .log
        .append_catalog(CatalogAppend {
            org: &call.caller.org,
            stream,
            key,
            command,
            context,
            expected_seq: None,
            run_id: None,
            judge: &judge,
            follow,
        })
        .await?;
    call.app.streams.look();
    Ok(appended)
}

/// What the audit says of an append; none where nothing was recorded.
pub(crate) fn audit_of(appended: &CatalogAppended) -> Option<AuditEvent> {
    appended.records.last().and_then(|entry| harmony_catalog::audit::event(&entry.record))
}

/// A service of the catalog, for who may read.
pub(crate) async fn service(call: &Call, id: &ServiceId) -> Result<ServiceState, ApiError> {
    let stream = id.clone().into();
    let found = call.app.doors.log.catalog_state(&call.caller.org, &stream).await?;
    found
        .and_then(StreamState::service)
        .ok_or_else(|| ApiError::NotFound(format!("there is no service {id}")))
}

/// Services of the catalog by their ids, retired ones too, in one read; what is not there is left out.
pub(crate) async fn services_by_id(
    call: &Call,
    ids: BTreeSet<ServiceId>,
) -> Result<BTreeMap<ServiceId, ServiceState>, ApiError> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let filter = CatalogFilter {
        kind: CatalogKind::Service,
        limit: u32::try_from(ids.len()).unwrap_or(u32::MAX),
        ids: ids.iter().map(ToString::to_string).collect(),
        search: None,
        retired: true,
        running: false,
        after: None,
    };
    let found = call.app.doors.log.catalog(&call.caller.org, &filter).await?;
    let services = found.into_iter().filter_map(StreamState::service);
    Ok(services.filter_map(|state| Some((state.id.parse().ok()?, state))).collect())
}

/// An environment of the catalog, for who may read.
pub(crate) async fn environment(call: &Call, id: &EnvironmentId) -> Result<EnvironmentState, ApiError> {
    let stream = id.clone().into();
    let found = call.app.doors.log.catalog_state(&call.caller.org, &stream).await?;
    found
        .and_then(StreamState::environment)
        .ok_or_else(|| ApiError::NotFound(format!("there is no environment {id}")))
}

/// The service in whose stream a release stands, with its state.
pub(crate) async fn service_of(
    call: &Call,
    release: &ReleaseId,
) -> Result<(ServiceId, ServiceState), ApiError> {
    let stored = releases::stored(call, release).await?;
    let state = service(call, &stored.service).await?;
    Ok((stored.service, state))
}

/// Refuses who may not read.
pub(crate) fn may_read(call: &Call) -> Result<(), ApiError> {
    call.caller.require(Right::Read, None)
}

/// An id of the path.
pub(crate) fn path_id<T: std::str::FromStr>(call: &Call, what: &str) -> Result<T, ApiError> {
    let text = call.path("id");
    text.parse().map_err(|_| ApiError::NotFound(format!("there is no {what} {text:?}")))
}

/// An id of a query or a body.
fn named<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, ApiError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| ApiError::Invalid(format!("{name}: {error}")))
}

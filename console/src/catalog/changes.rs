//! What changed before an incident: releases that are suspected, and those that people linked to it.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use harmony_catalog::{
    Command,
    suspects::{DEFAULT_WINDOW, Declared, suspects},
    views::{ReleaseView, active_before},
};
use harmony_eventlog::catalog::{Surroundings, surroundings};
use harmony_incidents::{
    self as incidents, IncidentId, ReleaseId, Right,
    judge::payload,
    log::{ChangeLinked, IncidentState, Relation, ServiceState, Text, payload::Kind},
    words,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use utoipa::ToSchema;

use super::{append_as, named, service_of};
use crate::{call::Call, error::ApiError, members, submit};

/// A release beside an incident.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    /// As it stands now.
    #[serde(flatten)]
    pub(crate) release: ReleaseView,
    /// The service's name.
    pub(crate) service_name: String,
    /// What the service calls the release's environment.
    pub(crate) environment_name: String,
    /// `suspected`, `caused`, `related` or `dismissed`.
    pub(crate) relation: &'static str,
    /// Why.
    pub(crate) reason: String,
    /// When it did what it is suspected for; of a linked one when it was settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) changed_at: Option<Timestamp>,
    /// The release that was active before it: what a rollback deploys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<String>,
}

/// What changed.
#[derive(Serialize)]
pub(crate) struct Changes {
    /// What people said of releases.
    pub(crate) linked: Vec<Change>,
    /// What the catalog suspects, the likeliest first; nobody said anything of these.
    pub(crate) suspected: Vec<Change>,
}

/// `GET …/incidents/{id}/changes`
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    let (_, state) = call.incident(Right::Read).await?;
    // Through a value: a release has a reason of its own, and no member may be there twice.
    Ok(Json(json!(of(&call, &state).await?)).into_response())
}

/// What changed before an incident.
pub(crate) async fn of(call: &Call, incident: &IncidentState) -> Result<Changes, ApiError> {
    let mut linked = Vec::new();
    for one in &incident.changes {
        let Ok(release) = one.release_id.parse::<ReleaseId>() else { continue };
        let (_, service) = service_of(call, &release).await?;
        let reason = one.reason.as_ref().map(|text| text.shown().to_owned()).unwrap_or_default();
        let found = service.releases.iter().find(|known| known.release_id == one.release_id);
        let state = match found {
            Some(found) => found.clone(),
            // Its service has forgotten it; the row of the store has not.
            None => super::releases::stored(call, &release).await?.release,
        };
        linked.extend(change(&service, &state, words::relation(one.relation()), reason, None));
    }
    let Surroundings { services, environments } =
        surroundings(&*call.app.doors.log, &call.caller.org, incident).await?;
    let known: BTreeSet<&str> = incident.changes.iter().map(|one| one.release_id.as_str()).collect();
    let suspected = suspects(&Declared::from(incident), &services, &environments, DEFAULT_WINDOW)
        .into_iter()
        .filter(|one| !known.contains(one.release.release_id.as_str()))
        .filter_map(|one| {
            change(one.service, one.release, words::relation(Relation::Suspected), one.reason, Some(one.at))
        })
        .collect();
    Ok(Changes { linked, suspected })
}

fn change(
    service: &ServiceState,
    release: &incidents::log::ReleaseState,
    relation: &'static str,
    reason: String,
    at: Option<Timestamp>,
) -> Option<Change> {
    let before = active_before(service, release).map(|one| one.release_id.clone());
    let environment = service.environments.iter().find(|one| one.id == release.environment_id);
    let environment_name = environment.map_or(&release.environment_id, |one| &one.name).clone();
    let release = ReleaseView::of(service, release).ok()?;
    let changed_at = at.or(release.settled_at);
    Some(Change {
        release,
        service_name: service.name.clone(),
        environment_name,
        relation,
        reason,
        changed_at,
        before,
    })
}

/// What somebody says of a release.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeBody {
    /// Of which release.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    pub(crate) release_id: String,
    /// `caused`, `related` or `dismissed`.
    #[schema(pattern = "^(caused|related|dismissed)$")]
    pub(crate) relation: String,
    /// Why.
    #[serde(default)]
    #[schema(value_type = members::LongText, inline)]
    pub(crate) reason: String,
}

/// `POST …/incidents/{id}/changes`: the same is put on record at the incident and at the service.
pub(crate) async fn link(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Respond).await?;
    let ChangeBody { release_id, relation, reason } = call.body()?;
    let release: ReleaseId = named("releaseId", &release_id)?;
    let relation =
        harmony_catalog::words::relation(&relation).map_err(|error| ApiError::Invalid(error.to_string()))?;
    record(&call, &incident, &state, &release, relation, &reason).await?;
    let state = call.app.doors.log.state(&call.caller.org, &incident).await?.unwrap_or(state);
    let answer = json!({
        "incidentId": incident,
        "changes": of(&call, &state).await?,
    });
    Ok(Json(answer).into_response())
}

/// Links a release to an incident on both streams, first on the incident's, whose state the caller may have named. Where
/// the second was not written, the request asked again under its key writes it.
async fn record(
    call: &Call,
    incident: &IncidentId,
    state: &IncidentState,
    release: &ReleaseId,
    relation: Relation,
    reason: &str,
) -> Result<(), ApiError> {
    let stored = super::releases::stored(call, release).await?;
    let linked = ChangeLinked {
        release_id: release.to_string(),
        service_id: stored.service.to_string(),
        incident: incident.to_string(),
        relation: relation.into(),
        reason: Text::optional(reason),
        sha: stored.release.sha.clone(),
        version: stored.release.version.clone(),
        environment_id: stored.release.environment_id.clone(),
        status: stored.release.status,
        active_at_us: stored.release.settled_at_us,
    };
    let command = incidents::Command::Record { payload: payload(Kind::ChangeLinked(linked)) };
    let key = format!("{}/incident", call.key());
    let context = call.context(Some(state));
    submit::append(call, incident, &key, &command, &context, &|_| None).await?;
    // Everybody reads the service's records.
    if state.private {
        return Ok(());
    }
    let command = Command::LinkChange {
        release: release.clone(),
        incident: incident.clone(),
        relation,
        reason: reason.to_owned(),
    };
    let key = format!("{}/service", call.key());
    append_as(call, &stored.service.into(), &key, &command, &call.context(None), vec![]).await.map(drop)
}

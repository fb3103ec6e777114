//! What a record tells about a release, as a CDEvent: for those who follow deployments, whoever makes them.
//!
//! It goes to every sink right after the record itself, and with it counts as taken or not. Only a record that brings a
//! release to its end makes one. What the record does not say (the artifact, the environment, where the source is) is
//! read from the catalog when it is sent.

use harmony_catalog::{
    fold::is_settled,
    outbound::{ReleaseEvent, ReleaseEventKind},
};
use harmony_incidents::{
    OrgId, StreamId, Subject,
    log::{ReleaseState, ReleaseStatus, ServiceState, Text, payload::Kind},
    record::{occurred_at, stream_of},
};
use jiff::Timestamp;

use super::CloudEvent;
use crate::{
    catalog::ReleaseFilter,
    store::{Entry, EventLog, LogError},
    stream::StreamState,
};

/// The end of a release, as a record tells of it.
struct End<'a> {
    release: &'a str,
    status: ReleaseStatus,
    run: &'a str,
    reason: &'a str,
    at: Timestamp,
}

/// The event that follows a record; none where it brings no release to its end.
pub(super) async fn of_record(
    log: &dyn EventLog,
    org: &OrgId,
    entry: &Entry,
) -> Result<Option<CloudEvent>, LogError> {
    let Some(end) = end(entry) else { return Ok(None) };
    let Ok(stream) = stream_of(&entry.record).parse::<StreamId>() else { return Ok(None) };
    let Subject::Service(service) = stream.subject() else { return Ok(None) };
    let Ok(id) = end.release.parse() else { return Ok(None) };
    let filter = ReleaseFilter { ids: vec![id], limit: 1, ..ReleaseFilter::default() };
    let Some(found) = log.releases(org, &filter).await?.pop() else { return Ok(None) };
    let state = log.catalog_state(org, &stream).await?.and_then(StreamState::service);
    let state = state.unwrap_or_default();
    let release = &found.release;
    let kind = match end.status {
        ReleaseStatus::Failed => ReleaseEventKind::Failed,
        _ if !release.rolls_back.is_empty() => ReleaseEventKind::RolledBack,
        _ if takes_the_place_of_another(&state, release) => ReleaseEventKind::Upgraded,
        _ => ReleaseEventKind::Deployed,
    };
    let id = CloudEvent::id_beside(entry, "cdevents");
    let event = ReleaseEvent {
        id: &id,
        source: &format!("/harmony/orgs/{org}/services/{service}"),
        at: end.at,
        kind,
        release: end.release,
        run: Some(end.run).filter(|run| !run.is_empty()),
        service: service.as_str(),
        repo: &state.repo,
        environment: &release.environment_id,
        sha: &release.sha,
        version: &release.version,
        reason: end.reason,
    };
    Ok(Some(CloudEvent::of_release(entry, &event)))
}

fn end(entry: &Entry) -> Option<End<'_>> {
    let at = |at_us: i64| match at_us {
        0 => occurred_at(&entry.record),
        _ => Timestamp::from_microsecond(at_us).unwrap_or_else(|_| occurred_at(&entry.record)),
    };
    match entry.record.payload.as_ref()?.kind.as_ref()? {
        Kind::ReleaseCreated(p) if is_settled(p.status()) => {
            Some(End { release: &p.release_id, status: p.status(), run: "", reason: "", at: at(p.at_us) })
        }
        Kind::ReleaseStatusChanged(p) if is_settled(p.to()) && p.from() != p.to() => Some(End {
            release: &p.release_id,
            status: p.to(),
            run: &p.run_id,
            reason: p.reason.as_ref().map(text).unwrap_or_default(),
            at: at(p.at_us),
        }),
        _ => None,
    }
}

/// A text that was taken out is not sent any more.
fn text(text: &Text) -> &str {
    if text.redacted { "" } else { &text.text }
}

/// Whether another release was active in that environment before.
fn takes_the_place_of_another(state: &ServiceState, release: &ReleaseState) -> bool {
    state.releases.iter().any(|one| {
        one.environment_id == release.environment_id
            && one.release_id != release.release_id
            && one.status() == ReleaseStatus::Active
            && one.settled_at_us <= release.settled_at_us
    })
}

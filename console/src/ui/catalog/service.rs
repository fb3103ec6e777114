//! One service: what each environment has, its releases, its incidents, what it depends on, and what was done.

use std::collections::BTreeMap;

use askama::Template;
use harmony_catalog::views::{self, ReleaseView};
use harmony_eventlog::{Filter, catalog::ReleaseFilter};
use harmony_incidents::{ReleaseId, Right, ServiceId, StreamId, log::ServiceState, visible};
use jiff::Timestamp;

use super::{AuditLine, ReleaseLine, SeverityCount, environment_name, severities};
use crate::{
    catalog::{
        audit::{Wanted, events},
        releases,
        services::lines,
        services_by_id,
    },
    error::ApiError,
    ui::{
        Page,
        form::encoded,
        html,
        incidents::Line as IncidentLine,
        visit::{Frame, Visit},
    },
};

/// Releases of one page.
const RELEASES: u32 = 20;
/// Incidents and events beside them.
const BESIDE: u32 = 10;

#[derive(Template)]
#[template(path = "catalog/service.html")]
struct ServicePage {
    frame: Frame,
    id: String,
    name: String,
    retired: bool,
    facts: Vec<(&'static str, String)>,
    /// The repository's page; empty where its name is no address.
    repository: String,
    open: Vec<SeverityCount>,
    matrix: Vec<Cell>,
    releases: Vec<ReleaseLine>,
    /// Address of the next page, empty on the last.
    older: String,
    incidents: Vec<IncidentLine>,
    dependencies: Vec<Dependency>,
    audit: Vec<AuditLine>,
    address: String,
    stream: String,
}

/// An environment of the service.
struct Cell {
    id: String,
    name: String,
    /// How it is deployed there.
    adapter: String,
    /// What it has.
    active: Option<ReleaseLine>,
    /// What is on its way, or was tried last, where that is another.
    latest: Option<ReleaseLine>,
}

struct Dependency {
    name: String,
    /// Empty where the catalog does not know it.
    address: String,
    releases: Vec<ReleaseLine>,
    open: Vec<SeverityCount>,
}

/// `GET …/services/{id}`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    visit.query.only(&["before", "id", "done"]).map_err(|error| visit.trouble(error))?;
    let call = visit.call();
    let unknown = || visit.trouble(ApiError::NotFound(format!("there is no service {:?}", visit.path("id"))));
    let id: ServiceId = visit.path("id").parse().map_err(|_| unknown())?;
    let state = crate::catalog::service(&call, &id).await.map_err(|error| visit.trouble(error))?;
    let org = &visit.caller.org;
    let address = format!("/orgs/{org}/services/{}", encoded(id.as_str()));
    let (releases, older) = releases_of(&visit, &id, &state).await?;
    let incidents = Filter {
        services: vec![state.id.clone(), state.name.clone()],
        visible_to: visit.caller.sees_only(),
        limit: BESIDE,
        ..Filter::default()
    };
    let incidents = visit.app.doors.log.list(org, &incidents).await?;
    let wanted = Wanted {
        streams: vec![StreamId::from(id.clone())],
        limit: usize::try_from(BESIDE).unwrap_or_default(),
        ..Wanted::default()
    };
    let (audit, _) = events(&call, wanted).await?;
    let line = lines(&call, std::slice::from_ref(&state)).await?;
    let open = line.first().map(|line| severities(&line.open_incidents)).unwrap_or_default();
    html(&ServicePage {
        frame: visit.frame("services"),
        name: state.name.clone(),
        retired: state.retired,
        facts: facts(&state),
        repository: repository(&state.repo),
        open,
        matrix: matrix(&visit, &state),
        releases,
        older,
        incidents: incidents.iter().map(|state| IncidentLine::of(&visit, state)).collect(),
        dependencies: dependencies(&visit, &state).await?,
        audit: audit.iter().map(|event| AuditLine::of(&visit, event)).collect(),
        address,
        stream: format!("/api/orgs/{org}/audit?subject=svc/{}", encoded(id.as_str())),
        id: state.id,
    })
}

fn facts(state: &ServiceState) -> Vec<(&'static str, String)> {
    let labels = state.labels.iter().map(|one| format!("{}={}", one.name, one.value));
    [
        ("Id", state.id.clone()),
        ("Owner", state.owner.clone()),
        ("Deployed by", state.deployments.join(", ")),
        ("Labels", labels.collect::<Vec<_>>().join(", ")),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (name, visible::line(&value)))
    .collect()
}

/// `github.com/acme/shop` is an address without its scheme.
fn repository(repo: &str) -> String {
    let repo = repo.trim_start_matches("https://");
    let is_address = repo.contains('.')
        && repo.contains('/')
        && repo.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./_-".contains(&byte));
    if is_address { format!("https://{repo}") } else { String::new() }
}

fn matrix(visit: &Visit, state: &ServiceState) -> Vec<Cell> {
    let latest = views::latest_by_environment(state);
    let mut ids: Vec<&str> = state.environments.iter().map(|one| one.id.as_str()).collect();
    ids.extend(latest.keys().filter(|id| !state.environments.iter().any(|one| one.id == **id)));
    let line = |release| {
        let view = ReleaseView::of(state, release).ok()?;
        Some(ReleaseLine::of(visit, &view, environment_name(state, &release.environment_id)))
    };
    ids.into_iter()
        .map(|id| {
            let active = views::active(state, id);
            let other = latest.get(id).filter(|one| active.is_none_or(|it| it.release_id != one.release_id));
            let target = state.targets.iter().find(|one| one.environment_id == id);
            Cell {
                id: id.to_owned(),
                name: visible::line(environment_name(state, id)),
                adapter: target.map(|one| one.adapter.clone()).unwrap_or_default(),
                active: active.and_then(line),
                latest: other.and_then(|one| line(one)),
            }
        })
        .collect()
}

async fn releases_of(
    visit: &Visit,
    id: &ServiceId,
    state: &ServiceState,
) -> Result<(Vec<ReleaseLine>, String), crate::ui::Trouble> {
    let bad = |_| visit.trouble(ApiError::Invalid("before: it is no page's".to_owned()));
    let before = match (visit.query.one("before"), visit.query.one("id")) {
        (Some(at), Some(release)) => {
            let at = at.parse::<Timestamp>().map_err(|_| bad(()))?;
            Some((at, release.parse::<ReleaseId>().map_err(|_| bad(()))?))
        }
        _ => None,
    };
    let filter =
        ReleaseFilter { services: vec![id.clone()], before, limit: RELEASES + 1, ..ReleaseFilter::default() };
    let mut found = visit.app.doors.log.releases(&visit.caller.org, &filter).await?;
    let shown = usize::try_from(RELEASES).unwrap_or(usize::MAX);
    let more = found.len() > shown;
    found.truncate(shown);
    let mut lines = Vec::with_capacity(found.len());
    for one in &found {
        let view = ReleaseView::of(state, &one.release).map_err(|error| releases::unreadable(&error))?;
        lines.push((
            ReleaseLine::of(visit, &view, environment_name(state, &one.release.environment_id)),
            view,
        ));
    }
    let older = lines.last().filter(|_| more).map(|(_, view)| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("before", &view.created_at.to_string());
        query.append_pair("id", view.release.id.as_str());
        format!("?{}#releases-title", query.finish())
    });
    Ok((lines.into_iter().map(|(line, _)| line).collect(), older.unwrap_or_default()))
}

/// What the service depends on, as it stands: two reads.
async fn dependencies(visit: &Visit, state: &ServiceState) -> Result<Vec<Dependency>, ApiError> {
    let call = visit.call();
    let ids = state.depends_on.iter().filter_map(|id| id.parse().ok()).collect();
    let states: Vec<ServiceState> = services_by_id(&call, ids).await?.into_values().collect();
    let lines = lines(&call, &states).await?;
    let mut known: BTreeMap<String, Dependency> = states
        .iter()
        .zip(lines)
        .map(|(state, line)| {
            let releases = line.latest_releases.iter();
            let dependency = Dependency {
                name: visible::line(&state.name),
                address: format!("/orgs/{}/services/{}", visit.caller.org, encoded(&state.id)),
                releases: releases
                    .map(|(id, view)| ReleaseLine::of(visit, view, environment_name(state, id)))
                    .collect(),
                open: severities(&line.open_incidents),
            };
            (state.id.clone(), dependency)
        })
        .collect();
    let unknown = |id: &String| Dependency {
        name: id.clone(),
        address: String::new(),
        releases: Vec::new(),
        open: Vec::new(),
    };
    Ok(state.depends_on.iter().map(|id| known.remove(id).unwrap_or_else(|| unknown(id))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_is_a_link_only_where_it_is_an_address() {
        assert_eq!(repository("github.com/acme/shop"), "https://github.com/acme/shop");
        assert_eq!(repository("https://gitlab.example/a/b"), "https://gitlab.example/a/b");
        for text in ["", "shop", "javascript:alert(1)//a.b", "git@github.com:acme/shop", "a.b/c d"] {
            assert_eq!(repository(text), "", "{text}");
        }
    }
}

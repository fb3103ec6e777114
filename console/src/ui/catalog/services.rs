//! The index of services: what each has where, what is wrong with it, and what was done last.

use std::collections::BTreeMap;

use askama::Template;
use harmony_eventlog::catalog::AuditFilter;
use harmony_incidents::{Right, ServiceId, StreamId, record::stream_of};

use super::{AuditLine, ReleaseLine, SeverityCount, severities};
use crate::{
    catalog::services::{ServiceLine, index},
    error::ApiError,
    ui::{
        Page,
        form::encoded,
        html,
        visit::{Frame, Visit},
    },
};

/// Services of one page.
const LINES: u32 = 50;
/// Records that are read for what was done last to the services of a page.
const AUDIT: u32 = 200;
/// Events of each service.
const LAST: usize = 2;

#[derive(Template)]
#[template(path = "catalog/services.html")]
struct ServicesPage {
    frame: Frame,
    lines: Vec<Line>,
    search: String,
    retired: bool,
    next: String,
}

struct Line {
    id: String,
    name: String,
    owner: String,
    retired: bool,
    address: String,
    /// The service as a query of the list of incidents has it.
    incidents_of: String,
    releases: Vec<ReleaseLine>,
    /// Environments that have no release.
    empty: Vec<String>,
    open: Vec<SeverityCount>,
    last: Vec<AuditLine>,
    updated_at: String,
    updated: String,
}

/// `GET …/services`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    let known = ["searchQuery", "retired", "after", "done"];
    visit.query.only(&known).map_err(|error| visit.trouble(error))?;
    let given = |name: &str| visit.query.one(name).map(str::to_owned);
    let retired = visit.query.one("retired") == Some("true");
    let call = visit.call();
    let (found, more) = index(&call, given("searchQuery"), retired, given("after"), LINES).await?;
    let mut last = last_events(&visit, &found).await?;
    let next = found.last().filter(|_| more).map(|one| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if let Some(search) = given("searchQuery") {
            query.append_pair("searchQuery", &search);
        }
        if retired {
            query.append_pair("retired", "true");
        }
        query.append_pair("after", one.service.id.as_str());
        format!("?{}", query.finish())
    });
    let lines = found.iter().map(|one| {
        let last = last.remove(one.service.id.as_str()).unwrap_or_default();
        line(&visit, one, last)
    });
    html(&ServicesPage {
        lines: lines.collect(),
        frame: visit.frame("services"),
        search: given("searchQuery").unwrap_or_default(),
        retired,
        next: next.unwrap_or_default(),
    })
}

fn line(visit: &Visit, one: &ServiceLine, last: Vec<AuditLine>) -> Line {
    let service = &one.service;
    let named = |id: &str| {
        let found = service.environments.iter().find(|env| env.id.as_str() == id);
        found.map_or(id, |env| env.name.as_str()).to_owned()
    };
    let releases = one.latest_releases.iter();
    let empty = service.environments.iter().filter(|env| !one.latest_releases.contains_key(env.id.as_str()));
    Line {
        id: service.id.to_string(),
        name: service.name.clone(),
        owner: service.owner.clone(),
        retired: service.retired,
        address: format!("/orgs/{}/services/{}", visit.caller.org, encoded(service.id.as_str())),
        incidents_of: encoded(service.id.as_str()),
        releases: releases.map(|(id, release)| ReleaseLine::of(visit, release, &named(id))).collect(),
        empty: empty.map(|env| env.name.clone()).collect(),
        open: severities(&one.open_incidents),
        last,
        updated_at: one.updated_at.to_string(),
        updated: super::words::age(one.updated_at.as_microsecond(), visit.now),
    }
}

/// What was done last to each of these services, by id: one read for all of them. What lies further back than it goes is
/// left out.
async fn last_events(
    visit: &Visit,
    found: &[ServiceLine],
) -> Result<BTreeMap<String, Vec<AuditLine>>, ApiError> {
    let mut last: BTreeMap<String, Vec<AuditLine>> = BTreeMap::new();
    if found.is_empty() {
        return Ok(last);
    }
    let filter = AuditFilter {
        streams: found.iter().map(|one| StreamId::from(one.service.id.clone())).collect(),
        visible_to: visit.caller.sees_only(),
        newest_first: true,
        limit: AUDIT,
        ..AuditFilter::default()
    };
    for record in visit.app.doors.log.audit(&visit.caller.org, &filter).await? {
        let Ok(stream) = stream_of(&record).parse::<StreamId>() else { continue };
        let harmony_incidents::Subject::Service(id) = stream.subject() else { continue };
        let id: ServiceId = id;
        let lines = last.entry(id.to_string()).or_default();
        // What a run says is on the release's page.
        let event = harmony_catalog::audit::event(&record).filter(|event| event.action != "run.log");
        if lines.len() < LAST {
            lines.extend(event.map(|event| AuditLine::of(visit, &event)));
        }
    }
    Ok(last)
}

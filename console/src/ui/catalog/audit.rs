//! The audit over all streams: who did what when, the latest first; it follows what happens.

use askama::Template;
use harmony_incidents::Right;
use url::form_urlencoded;

use super::AuditLine;
use crate::{
    catalog::audit::{FILTERS, events, wanted},
    cursor,
    ui::{
        Page, html,
        visit::{Frame, Visit},
    },
};

/// Events of one page.
const LINES: usize = 50;

#[derive(Template)]
#[template(path = "catalog/audit.html")]
struct AuditPage {
    frame: Frame,
    lines: Vec<AuditLine>,
    subject: String,
    actor: String,
    action: String,
    since: String,
    filtered: bool,
    next: String,
    /// Where events come from as they are made; empty on a later page.
    stream: String,
}

/// `GET …/audit`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    let known = ["subject", "actor", "action", "since", "cursor", "done"];
    visit.query.only(&known).map_err(|error| visit.trouble(error))?;
    let call = visit.call();
    let mut asked = wanted(&call, &visit.query).await.map_err(|error| visit.trouble(error))?;
    asked.limit = LINES;
    let (found, beyond) = events(&call, asked).await?;
    let given = |name: &str| visit.query.one(name).unwrap_or_default().to_owned();
    let mut query = form_urlencoded::Serializer::new(String::new());
    for name in FILTERS {
        let value = given(name);
        if !value.is_empty() {
            query.append_pair(name, &value);
        }
    }
    let filters = query.finish();
    let next = beyond.map(|place| {
        let mut query = form_urlencoded::Serializer::new(filters.clone());
        format!("?{}", query.append_pair("cursor", &cursor::of_audit(&place)).finish())
    });
    html(&AuditPage {
        frame: visit.frame("services"),
        lines: found.iter().map(|event| AuditLine::of(&visit, event)).collect(),
        subject: given("subject"),
        actor: given("actor"),
        action: given("action"),
        since: given("since"),
        filtered: !filters.is_empty(),
        next: next.unwrap_or_default(),
        stream: if given("cursor").is_empty() {
            format!("/api/orgs/{}/audit?{filters}", visit.caller.org)
        } else {
            String::new()
        },
    })
}

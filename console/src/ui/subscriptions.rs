//! What somebody follows, and the page behind the link in every message that takes one subscription back.
//!
//! The link needs no session: its MAC is over one subscription, made when it was, and lets whoever has it end that one and
//! nothing else. Asking for the page changes nothing, since mail scanners open links; the button on it, and a mail
//! program's own (RFC 8058), post to the same address.

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    response::{Html, IntoResponse},
};
use harmony_incidents::{
    OrgId, Right,
    attestation::UnsubscribeClaim,
    stakeholders::{SubscriptionId, Topic},
    visible,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::{
    Page, Pages, assets,
    form::{Submission, encoded, see},
    html, rendered,
    visit::{Frame, Visit},
};
use crate::{
    error::ApiError,
    subscriptions::{SubscriptionView, all},
};

#[derive(Template)]
#[template(path = "subscriptions.html")]
struct SubscriptionsPage {
    frame: Frame,
    lines: Vec<Line>,
    /// Whether others' are among them, and can be made.
    may_respond: bool,
    address: String,
}

struct Line {
    id: String,
    what: String,
    /// Where it leads; empty where it is no page.
    href: String,
    who: String,
    by: String,
    problem: String,
}

impl Line {
    fn of(visit: &Visit, one: SubscriptionView) -> Self {
        let topic: Option<Topic> = one.subject.parse().ok();
        let href = match &topic {
            Some(Topic::Incident(incident)) => format!("/orgs/{}/incidents/{incident}", visit.caller.org),
            _ => String::new(),
        };
        let who = match (&one.person, &one.email, &one.channel) {
            (Some(person), ..) => visit.name(person),
            (_, Some(email), _) => email.clone(),
            (.., channel) => format!("Slack channel {}", channel.as_deref().unwrap_or_default()),
        };
        let problem = one.problem.map(|problem| {
            format!(
                "{} {}: {}",
                problem.at.strftime("%Y-%m-%d %H:%M UTC"),
                problem.incident_id,
                problem.reason
            )
        });
        Self {
            id: one.id,
            what: topic.map(|topic| topic.words()).unwrap_or(one.subject),
            href,
            who: visible::line(&who),
            by: visit.name(&one.by),
            problem: visible::line(&problem.unwrap_or_default()),
        }
    }
}

/// `GET …/subscriptions`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    visit.query.only(&["done"]).map_err(|error| visit.trouble(error))?;
    let found = all(&visit.app, &visit.caller, false).await?;
    html(&SubscriptionsPage {
        lines: found.into_iter().map(|one| Line::of(&visit, one)).collect(),
        may_respond: visit.may(Right::Respond, None),
        address: format!("/orgs/{}/subscriptions", visit.caller.org),
        frame: visit.frame("subscriptions"),
    })
}

/// `POST …/subscriptions`
pub(crate) async fn add(form: Submission) -> Page {
    let back = format!("/orgs/{}/subscriptions", form.caller.org);
    let mut asked = form.json();
    // The page asks for a service by its name alone.
    if let Some(service) = asked.as_object_mut().and_then(|fields| fields.remove("service")) {
        asked["subject"] = json!(format!("service:{}", service.as_str().unwrap_or_default()));
    }
    form.send("subscriptions", &asked, &back).await?;
    Ok(see(&back, "recorded"))
}

/// `POST …/subscriptions/{id}/remove`
pub(crate) async fn remove(form: Submission) -> Page {
    let back = format!("/orgs/{}/subscriptions", form.caller.org);
    let id = encoded(form.path("id"));
    form.send(&format!("subscriptions/{id}/remove"), &form.json(), &back).await?;
    Ok(see(&back, "recorded"))
}

/// What a link to unsubscribe says.
#[derive(Deserialize)]
pub(crate) struct Link {
    #[serde(default)]
    at: String,
    #[serde(default)]
    mac: String,
}

#[derive(Template)]
#[template(path = "unsubscribe.html")]
struct UnsubscribePage {
    assets: &'static str,
    /// What is followed; empty where the subscription is not there any more.
    what: String,
    /// Whether it was taken back by this request.
    removed: bool,
}

impl UnsubscribePage {
    fn answer(what: String, removed: bool) -> Page {
        Ok(Html(rendered(&Self { assets: assets::version(), what, removed })?).into_response())
    }
}

/// `GET /unsubscribe/{org}/{id}`: asks, and changes nothing.
pub(crate) async fn ask(
    State(site): State<Pages>,
    Path((org, id)): Path<(String, String)>,
    Query(link): Query<Link>,
) -> Page {
    let (_, found) = linked(&site, &org, &id, &link).await?;
    UnsubscribePage::answer(found.map(|topic| topic.words()).unwrap_or_default(), false)
}

/// `POST /unsubscribe/{org}/{id}`: takes the subscription back. A second time changes nothing and is no error.
pub(crate) async fn end(
    State(site): State<Pages>,
    Path((org, id)): Path<(String, String)>,
    Query(link): Query<Link>,
) -> Page {
    let (org, found) = linked(&site, &org, &id, &link).await?;
    let Some(topic) = found else { return UnsubscribePage::answer(String::new(), false) };
    let id = SubscriptionId::named(&id);
    let removed = site.app.doors.log.unsubscribe(&org, &id).await?;
    tracing::info!(
        target: "harmony::audit",
        ts = %Timestamp::now(),
        actor = "link",
        action = "remove",
        "subjectType" = "subscription",
        "subjectId" = %id,
        metadata.org = %org,
        "write"
    );
    UnsubscribePage::answer(if removed { topic.words() } else { String::new() }, removed)
}

/// The organisation and the topic of the subscription that a link was made for; `None` where it is there no more. A link
/// that we did not make learns nothing.
async fn linked(site: &Pages, org: &str, id: &str, link: &Link) -> Result<(OrgId, Option<Topic>), ApiError> {
    let at_us: i64 = link.at.parse().unwrap_or_default();
    let claim = UnsubscribeClaim { org, subscription: id, at_us };
    if !site.app.doors.attestation.unsubscribe_holds(&claim, &link.mac) {
        return Err(ApiError::NotFound(
            "this link to unsubscribe is not whole, or not one of ours: open it from the message again"
                .to_owned(),
        ));
    }
    let org: OrgId = org.parse().map_err(|_| ApiError::Internal)?;
    let all = site.app.doors.log.subscriptions(&org).await?;
    let found = all.into_iter().find(|one| one.id.as_str() == id && one.at.as_microsecond() == at_us);
    Ok((org, found.map(|one| one.subject)))
}

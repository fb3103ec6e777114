//! Subscriptions: who is told of incidents without taking part. What is sent, and when, is decided elsewhere
//! (`harmony_incidents::stakeholders`); here people add, list and take back.
//!
//! Whoever may read subscribes themselves; others, addresses and channels are for responders. An incident that the caller
//! does not see cannot be told apart from one that is not there, and neither can subscriptions to it. A private one is
//! followed by the people it names alone.

use std::collections::HashMap;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use harmony_eventlog::Subscribed;
use harmony_incidents::{
    IncidentId, Right, leading,
    log::IncidentState,
    stakeholders::{
        DeliveryProblem, EmailAddress, MOST_SUBSCRIPTIONS, Recipient, Subscription, SubscriptionId, Topic,
    },
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    App,
    auth::Caller,
    call::{Call, required},
    error::ApiError,
    members,
    status::Nothing,
};

/// A subscription; one of `person`, `email` and `channel` says who is told.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubscriptionView {
    pub(crate) id: String,
    /// `incident:INC-2026-0042`, `service:NAME`, `severity:P1` or `all`.
    pub(crate) subject: String,
    /// A principal, told by e-mail at the directory's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) person: Option<String>,
    /// An address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) email: Option<String>,
    /// The id of a channel in Slack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<String>,
    /// Who subscribed them.
    pub(crate) by: String,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// The last message that was given up, until one arrives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<ProblemView>,
}

/// A message that was given up.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProblemView {
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    pub(crate) incident_id: String,
    /// In the words of the mail server or of Slack.
    pub(crate) reason: String,
}

impl SubscriptionView {
    fn of(subscription: Subscription) -> Self {
        let mut view = Self {
            id: subscription.id.to_string(),
            subject: subscription.subject.to_string(),
            person: None,
            email: None,
            channel: None,
            by: subscription.by,
            at: subscription.at,
            problem: subscription.problem.map(|problem| ProblemView {
                at: problem.at,
                incident_id: problem.incident.to_string(),
                reason: problem.reason,
            }),
        };
        match subscription.to {
            Recipient::Person(id) => view.person = Some(id),
            Recipient::Email(address) => view.email = Some(address.as_str().to_owned()),
            Recipient::Channel(channel) => view.channel = Some(channel.as_str().to_owned()),
        }
        view
    }
}

/// Whether the caller is who is told, or who asked for it.
fn is_own(caller: &Caller, subscription: &Subscription) -> bool {
    subscription.to == Recipient::Person(caller.principal.id.clone())
        || subscription.by == caller.principal.id
}

/// The subscriptions that the caller may see: their own, and those of others where they may respond.
pub(crate) async fn all(app: &App, caller: &Caller, mine: bool) -> Result<Vec<SubscriptionView>, ApiError> {
    let sees_others = !mine && caller.may(Right::Respond, None);
    let mut seen = Seen { app, caller, known: HashMap::new() };
    let mut found = Vec::new();
    for mut one in app.doors.log.subscriptions(&caller.org).await? {
        if !sees_others && !is_own(caller, &one) {
            continue;
        }
        if let Topic::Incident(incident) = &one.subject
            && !seen.is_visible(incident).await?
        {
            continue;
        }
        // What could not be sent names an incident, too.
        if let Some(DeliveryProblem { incident, .. }) = &one.problem
            && !seen.is_visible(incident).await?
        {
            one.problem = None;
        }
        found.push(one);
    }
    found.sort_by(|one, other| (&one.subject, &one.to).cmp(&(&other.subject, &other.to)));
    Ok(found.into_iter().map(SubscriptionView::of).collect())
}

/// Which incidents the caller sees, each asked once.
struct Seen<'a> {
    app: &'a App,
    caller: &'a Caller,
    known: HashMap<IncidentId, bool>,
}

impl Seen<'_> {
    async fn is_visible(&mut self, incident: &IncidentId) -> Result<bool, ApiError> {
        if let Some(known) = self.known.get(incident) {
            return Ok(*known);
        }
        let state = self.app.doors.log.state(&self.caller.org, incident).await?;
        let is_visible = state.is_some_and(|state| self.caller.sees(&state));
        self.known.insert(incident.clone(), is_visible);
        Ok(is_visible)
    }
}

/// `GET …/subscriptions`
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    call.caller.require(Right::Read, None)?;
    call.query.only(&["mine"])?;
    let mine = call.query.flag("mine")? == Some(true);
    let found = all(&call.app, &call.caller, mine).await?;
    Ok(Json(json!({ "subscriptions": found })).into_response())
}

/// A subscription to make. Without a recipient it is the caller.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubscribeBody {
    /// `incident:INC-2026-0042`, `service:NAME`, `severity:P1` or `all`.
    #[schema(value_type = members::Topic, inline)]
    subject: String,
    /// A principal, by e-mail at the directory's address.
    #[serde(default)]
    #[schema(value_type = Option<members::RequiredLine>, inline)]
    person: Option<String>,
    /// An address.
    #[serde(default)]
    email: Option<String>,
    /// The id of a channel in Slack, such as `C0123ABCD`.
    #[serde(default)]
    #[schema(value_type = Option<members::Channel>, inline)]
    channel: Option<String>,
}

/// `POST …/subscriptions`
pub(crate) async fn add(call: Call) -> Result<Response, ApiError> {
    call.caller.require(Right::Read, None)?;
    let body: SubscribeBody = call.body()?;
    let invalid = |error: &dyn std::fmt::Display| ApiError::Invalid(error.to_string());
    let subject = body.subject.parse::<Topic>().map_err(|error| invalid(&error))?;
    let me = Recipient::Person(call.caller.principal.id.clone());
    let to = match (&body.person, &body.email, &body.channel) {
        (None, None, None) => me.clone(),
        (Some(person), None, None) => Recipient::Person(required("person", person)?),
        (None, Some(email), None) => {
            email.trim().parse().map(Recipient::Email).map_err(|error| invalid(&error))?
        }
        (None, None, Some(channel)) => {
            channel.trim().parse().map(Recipient::Channel).map_err(|error| invalid(&error))?
        }
        _ => {
            return Err(ApiError::Invalid(
                "a subscription tells one of person, email and channel".to_owned(),
            ));
        }
    };
    let incident = match &subject {
        Topic::Incident(incident) => Some(call.named(incident, Right::Read).await?),
        Topic::Service(_) | Topic::Severity(_) | Topic::All => None,
    };
    if to != me {
        match &incident {
            Some(state) => call.require_on(Right::Respond, state).await?,
            None => call.caller.require(Right::Respond, None)?,
        }
    }
    check_private(incident.as_ref(), &to)?;
    check_reachable(&call, &to)?;
    let subscription = Subscription::new(subject, to, &call.caller.principal.id, Timestamp::now());
    match call.app.doors.log.subscribe(&call.caller.org, &subscription).await? {
        Subscribed::Stored(stored) => {
            Ok((StatusCode::CREATED, Json(SubscriptionView::of(stored))).into_response())
        }
        Subscribed::Known(known) => Ok(Json(SubscriptionView::of(known)).into_response()),
        Subscribed::Full => Err(ApiError::Conflict(format!(
            "the organisation has {MOST_SUBSCRIPTIONS} subscriptions, which is the most it can have: remove some first"
        ))),
    }
}

/// A private incident is told to those it names, and to nobody else.
fn check_private(incident: Option<&IncidentState>, to: &Recipient) -> Result<(), ApiError> {
    let Some(state) = incident.filter(|state| state.private) else { return Ok(()) };
    let is_named = match to {
        Recipient::Person(id) => leading::is_visible(state, id, false),
        Recipient::Email(_) | Recipient::Channel(_) => false,
    };
    if is_named {
        return Ok(());
    }
    Err(ApiError::Conflict(format!(
        "{} is private: only the people it names can follow it, each by their own e-mail",
        state.incident
    )))
}

/// Refuses what nothing could be sent to, and says what to set.
fn check_reachable(call: &Call, to: &Recipient) -> Result<(), ApiError> {
    let id = match to {
        Recipient::Channel(_) if call.app.doors.slack_replies.is_none() => {
            return Err(ApiError::NotConfigured {
                detail: "Slack is not configured, so no channel can be told".to_owned(),
                hint: "Set SLACK_BOT_TOKEN for the worker and the console.",
            });
        }
        Recipient::Channel(_) => return Ok(()),
        Recipient::Email(_) | Recipient::Person(_) if !call.app.doors.site.sends_mail => {
            return Err(ApiError::NotConfigured {
                detail: "e-mail is not configured, so nobody can be told by it".to_owned(),
                hint: "Set HARMONY_SMTP_URL and HARMONY_MAIL_FROM for the worker and the console.",
            });
        }
        Recipient::Email(_) => return Ok(()),
        Recipient::Person(id) => id,
    };
    let unknown = || ApiError::Invalid(format!("person: nobody in the directory is called {id:?}"));
    let person = call.caller.rules().directory.get(id).ok_or_else(unknown)?;
    if person.roles(&call.caller.org, None).is_empty() {
        return Err(unknown());
    }
    match person.email.as_deref().map(str::parse::<EmailAddress>) {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(ApiError::Invalid(format!("the directory's address of {id}: {error}"))),
        None => Err(ApiError::Invalid(format!(
            "the directory has no e-mail address of {id}: add `email` to their entry in directory.toml"
        ))),
    }
}

/// `POST …/subscriptions/{id}/remove`
pub(crate) async fn remove(call: Call) -> Result<Response, ApiError> {
    call.caller.require(Right::Read, None)?;
    let Nothing {} = call.body()?;
    let id = SubscriptionId::named(call.path("id"));
    let unknown = || ApiError::NotFound(format!("there is no subscription {id} that you may see"));
    let all = call.app.doors.log.subscriptions(&call.caller.org).await?;
    let found = all.into_iter().find(|one| one.id == id).ok_or_else(unknown)?;
    let may_change = is_own(&call.caller, &found) || call.caller.may(Right::Respond, None);
    let mut seen = Seen { app: &call.app, caller: &call.caller, known: HashMap::new() };
    let is_seen = match &found.subject {
        // Whoever lost sight of an incident may still stop hearing of it.
        Topic::Incident(incident) => is_own(&call.caller, &found) || seen.is_visible(incident).await?,
        Topic::Service(_) | Topic::Severity(_) | Topic::All => true,
    };
    if !may_change || !is_seen {
        return Err(unknown());
    }
    if !call.app.doors.log.unsubscribe(&call.caller.org, &id).await? {
        return Err(unknown());
    }
    Ok(Json(json!({ "id": id, "answer": "removed" })).into_response())
}

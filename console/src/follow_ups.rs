//! Follow-ups across incidents: the action items of reviews, with state, owner, due date, priority and comments. A
//! follow-up is named after its incident and the record that added it, such as `INC-2026-0001-12`.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use harmony_blueprints::{
    contracts::{Tracker, UnknownTracker},
    messages::Act,
};
use harmony_eventlog::Filter;
use harmony_incidents::{
    Command, IncidentId, Policy, Right, WorkflowId,
    ids::IdError,
    judge::payload,
    leading::{self, FollowUpState, TicketWord, overdue_week},
    log::{ActionItem, ActionItemAdded, FollowUpChanged, IncidentState, Text, payload::Kind},
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    App,
    auth::Caller,
    call::{Call, line, required},
    error::ApiError,
    incidents::every,
    members,
    starts::away,
    submit::{append, append_told},
    views::text,
};

/// A follow-up.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FollowUp {
    pub(crate) id: String,
    pub(crate) incident_id: String,
    pub(crate) action: String,
    /// `open`, `done` or `dropped`.
    pub(crate) state: &'static str,
    pub(crate) owner: String,
    /// Until which day, such as `2026-01-31`; empty where nobody said.
    pub(crate) due: String,
    /// `high`, `medium`, `low`, or empty.
    pub(crate) priority: String,
    /// Whether it is open and its day is over.
    pub(crate) overdue: bool,
    /// How many comments it has, and the last one.
    pub(crate) comments: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) last_comment: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) settled_at: Option<Timestamp>,
    /// Where it is tracked outside, such as `jira`, and its name there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) system: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) ticket: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) url: String,
    /// Where it was exported to, until its ticket is there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) exporting_to: String,
    /// What that tracker said of a ticket that Harmony made there: `open`, `done`, `dropped` or `deleted`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) ticket_state: String,
    /// Whether it may become a ticket outside: what a page offers.
    #[serde(skip)]
    pub(crate) may_leave: bool,
}

impl FollowUp {
    fn of(incident: &IncidentState, item: &ActionItem, zone: &TimeZone, now: Timestamp) -> Self {
        let state = FollowUpState::of(item);
        Self {
            id: format!("{}-{}", incident.incident, item.seq),
            incident_id: incident.incident.clone(),
            may_leave: leading::kept_from_trackers(incident).is_none(),
            action: text(item.action.as_ref()),
            state: state.name(),
            owner: item.owner.clone(),
            due: item.due.clone(),
            priority: item.priority.clone(),
            overdue: overdue_week(item, zone, now).is_some(),
            comments: item.comments,
            last_comment: text(item.comment.as_ref()),
            settled_at: (item.settled_at_us > 0)
                .then(|| Timestamp::from_microsecond(item.settled_at_us).ok())
                .flatten(),
            exporting_to: if item.ticket.is_empty() { item.export_to.clone() } else { String::new() },
            ticket_state: if item.ticket_deleted {
                TicketWord::Deleted.name().to_owned()
            } else {
                item.ticket_state.clone()
            },
            system: item.system.clone(),
            ticket: item.ticket.clone(),
            url: item.url.clone(),
        }
    }

    /// The follow-ups of an incident, in the order in which they were added.
    pub(crate) fn of_incident(state: &IncidentState, policy: &Policy) -> Vec<Self> {
        let (zone, now) = (policy.time_zone(), Timestamp::now());
        state.action_items.iter().map(|item| Self::of(state, item, &zone, now)).collect()
    }
}

/// Follow-ups that somebody wants to see.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) states: Vec<String>,
    pub(crate) owners: Vec<String>,
    pub(crate) overdue: bool,
}

impl Wanted {
    /// Of these states, which are words, and owners; all where there is none.
    pub(crate) fn of<'a>(
        states: impl Iterator<Item = &'a str>,
        owners: Vec<String>,
        overdue: bool,
    ) -> Result<Self, ApiError> {
        let states = states
            .map(|word| match word.parse::<FollowUpState>() {
                Ok(state) => Ok(state.name().to_owned()),
                Err(error) => Err(ApiError::Invalid(format!("state: {error}"))),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { states, owners, overdue })
    }

    fn takes(&self, one: &FollowUp) -> bool {
        let named = |list: &[String], value: &str| list.is_empty() || list.iter().any(|one| one == value);
        named(&self.states, one.state) && named(&self.owners, &one.owner) && (!self.overdue || one.overdue)
    }
}

/// Every follow-up that the caller may see: what is overdue first, then by due date, those without one last.
pub(crate) async fn all(app: &App, caller: &Caller, wanted: &Wanted) -> Result<Vec<FollowUp>, ApiError> {
    let filter = Filter { visible_to: caller.sees_only(), ..Filter::default() };
    let incidents = every(app, &caller.org, filter).await?;
    let policy = caller.rules().policy;
    let of_incident = |state| FollowUp::of_incident(state, policy);
    let mut found: Vec<FollowUp> =
        incidents.iter().flat_map(of_incident).filter(|one| wanted.takes(one)).collect();
    let place = |one: &FollowUp| (one.due.is_empty(), one.due.clone(), one.id.clone());
    found.sort_by_key(place);
    Ok(found)
}

/// `GET …/follow-ups`
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    call.caller.require(Right::Read, None)?;
    call.query.only(&["state", "owner", "overdue", "incidentId", "limit"])?;
    let overdue = call.query.flag("overdue")? == Some(true);
    let owners = call.query.all("owner").map(str::to_owned).collect();
    let wanted = Wanted::of(call.query.words("state"), owners, overdue)?;
    let limit = usize::try_from(call.query.limit(200, 1_000)?).unwrap_or(usize::MAX);
    let mut found = match call.query.given("incidentId") {
        Some(id) => {
            let id: IncidentId =
                id.parse().map_err(|error: IdError| ApiError::Invalid(format!("incidentId: {error}")))?;
            let state = call.named(&id, Right::Read).await?;
            let found = FollowUp::of_incident(&state, call.caller.rules().policy);
            found.into_iter().filter(|one| wanted.takes(one)).collect()
        }
        None => all(&call.app, &call.caller, &wanted).await?,
    };
    let total = found.len();
    found.truncate(limit);
    Ok(Json(json!({ "followUps": found, "total": total })).into_response())
}

/// A follow-up of an incident.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FollowUpBody {
    /// Of which incident.
    #[schema(value_type = members::Incident, inline)]
    incident_id: String,
    /// What has to be done.
    #[schema(value_type = members::RequiredText, inline)]
    action: String,
    /// Who does it: a person or a team.
    #[schema(value_type = members::RequiredLine, inline)]
    owner: String,
    /// Until which day, such as `2026-01-31`.
    #[serde(default)]
    #[schema(value_type = members::Day, inline)]
    due: String,
    /// `high`, `medium` or `low`.
    #[serde(default)]
    #[schema(value_type = members::Priority, inline)]
    priority: String,
}

/// `POST …/follow-ups`
pub(crate) async fn add(call: Call) -> Result<Response, ApiError> {
    call.caller.require(Right::Read, None)?;
    let body: FollowUpBody = call.body()?;
    let incident: IncidentId = body
        .incident_id
        .parse()
        .map_err(|error: IdError| ApiError::Invalid(format!("incidentId: {error}")))?;
    let state = call.named(&incident, Right::Respond).await?;
    let kind = Kind::ActionItemAdded(ActionItemAdded {
        action: Some(Text::plain(body.action.trim())),
        owner: required("owner", &body.owner)?,
        due: day(&body.due)?,
        priority: line("priority", &body.priority)?,
    });
    let command = Command::Record { payload: payload(kind) };
    let context = call.context(Some(&state));
    let appended = append(&call, &incident, &call.key(), &command, &context, &|_| None).await?;
    let seq = appended.records.first().map(|entry| entry.record.seq).unwrap_or_default();
    let shown = shown(&call, &incident, seq).await?;
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// `GET …/follow-ups/{id}`
pub(crate) async fn show(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    let (incident, seq) = named(&call)?;
    call.named(&incident, Right::Read).await?;
    Ok(Json(shown(&call, &incident, seq).await?).into_response())
}

/// What becomes of a follow-up. What is left out stays as it is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FollowUpChangeBody {
    /// `done`, `dropped`, or `open` again.
    #[serde(default)]
    #[schema(value_type = members::FollowUpState, inline)]
    state: String,
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    owner: String,
    /// A day, such as `2026-01-31`.
    #[serde(default)]
    #[schema(value_type = members::Day, inline)]
    due: String,
    /// `high`, `medium` or `low`.
    #[serde(default)]
    #[schema(value_type = members::Priority, inline)]
    priority: String,
    /// Why, or what there is to say.
    #[serde(default, alias = "reason")]
    #[schema(value_type = members::LongText, inline)]
    comment: String,
    /// Where it is tracked outside, such as `jira`.
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    system: String,
    /// Its name there.
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    ticket: String,
    /// Where people open it.
    #[serde(default)]
    #[schema(value_type = members::ShortAddress, inline)]
    url: String,
    /// `jira` or `github`: makes a ticket there. Nothing else goes with it.
    #[serde(default)]
    #[schema(value_type = members::Tracker, inline)]
    to: String,
}

/// A follow-up whose ticket is being made.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Exporting {
    #[serde(flatten)]
    follow_up: FollowUp,
    /// The workflow that makes it.
    workflow_id: String,
    /// Where that starts later: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

/// `POST …/follow-ups/{id}`
pub(crate) async fn change(call: Call) -> Result<Response, ApiError> {
    let (incident, seq) = named(&call)?;
    let state = call.named(&incident, Right::Read).await?;
    // Whoever owns it says what became of it; all else is for those who respond.
    let owns =
        state.action_items.iter().any(|item| item.seq == seq && item.owner == call.caller.principal.id);
    if !owns {
        call.require_on(Right::Respond, &state).await?;
    }
    let body: FollowUpChangeBody = call.body()?;
    if !body.to.is_empty() {
        return export(&call, &incident, seq, &state, &body).await;
    }
    if body.system.is_empty() != body.ticket.is_empty() {
        return Err(ApiError::Invalid("system and ticket come together".to_owned()));
    }
    let kind = Kind::FollowUpChanged(FollowUpChanged {
        follow_up: seq,
        state: line("state", &body.state)?,
        owner: line("owner", &body.owner)?,
        due: day(&body.due)?,
        priority: line("priority", &body.priority)?,
        comment: leading::reason(&body.comment),
        system: line("system", &body.system)?,
        ticket: line("ticket", &body.ticket)?,
        url: link(&body.url)?,
        ..FollowUpChanged::default()
    });
    let command = Command::Record { payload: payload(kind) };
    let context = call.context(Some(&state));
    append(&call, &incident, &call.key(), &command, &context, &|_| None).await?;
    Ok(Json(shown(&call, &incident, seq).await?).into_response())
}

/// Asks for a ticket. Answers 202 while it is made, and with the follow-up as it is where there is one.
async fn export(
    call: &Call,
    incident: &IncidentId,
    seq: u64,
    state: &IncidentState,
    body: &FollowUpChangeBody,
) -> Result<Response, ApiError> {
    call.require_on(Right::Respond, state).await?;
    let FollowUpChangeBody { state: to_state, owner, due, priority, comment, system, ticket, url, to } = body;
    if [to_state, owner, due, priority, comment, system, ticket, url].iter().any(|given| !given.is_empty()) {
        return Err(ApiError::Invalid("to: nothing else goes with it".to_owned()));
    }
    let tracker: Tracker =
        to.parse().map_err(|error: UnknownTracker| ApiError::Invalid(format!("to: {error}")))?;
    if !call.app.doors.trackers.contains(&tracker) {
        return Err(not_configured(tracker));
    }
    let kind = Kind::FollowUpChanged(FollowUpChanged {
        follow_up: seq,
        export_to: tracker.name().to_owned(),
        ..FollowUpChanged::default()
    });
    let command = Command::Record { payload: payload(kind) };
    let context = call.context(Some(state));
    let told = |_: &IncidentState| Some(Act::Export { follow_up: seq, tracker });
    let appended = append_told(call, incident, state, &command, &context, (&|_| None, &told)).await?;
    let follow_up = shown(call, incident, seq).await?;
    let Some(entry) = appended.records.first() else { return Ok(Json(follow_up).into_response()) };
    let exporting = Exporting {
        follow_up,
        workflow_id: WorkflowId::act(&call.caller.org, incident, entry.record.seq).to_string(),
        warning: away(&call.app, "making its ticket"),
    };
    Ok((StatusCode::ACCEPTED, Json(exporting)).into_response())
}

fn not_configured(tracker: Tracker) -> ApiError {
    let (detail, hint) = match tracker {
        Tracker::Jira => (
            "Jira is not configured here",
            "set JIRA_PROJECT_KEY where `harmony serve` runs, and with it JIRA_BASE_URL, JIRA_EMAIL and JIRA_API_TOKEN where `harmony worker` runs",
        ),
        Tracker::Github => (
            "GitHub is not configured here",
            "set GITHUB_REPOSITORY where `harmony serve` runs, and with it GITHUB_TOKEN where `harmony worker` runs",
        ),
    };
    ApiError::NotConfigured { detail: detail.to_owned(), hint }
}

async fn shown(call: &Call, incident: &IncidentId, seq: u64) -> Result<FollowUp, ApiError> {
    let state = call.app.doors.log.state(&call.caller.org, incident).await?.unwrap_or_default();
    let item = state.action_items.iter().find(|item| item.seq == seq);
    let item = item.ok_or_else(|| unknown(incident, seq))?;
    Ok(FollowUp::of(&state, item, &call.caller.rules().policy.time_zone(), Timestamp::now()))
}

fn unknown(incident: &IncidentId, seq: u64) -> ApiError {
    ApiError::NotFound(format!("there is no follow-up {incident}-{seq}"))
}

/// The incident and the record that a follow-up's id names.
fn named(call: &Call) -> Result<(IncidentId, u64), ApiError> {
    let id = call.path("id");
    let parts = id.rsplit_once('-').and_then(|(incident, seq)| {
        let number: u64 = seq.parse().ok().filter(|number: &u64| *number > 0 && number.to_string() == seq)?;
        Some((incident.parse().ok()?, number))
    });
    parts.ok_or_else(|| {
        let shown: String = id.chars().take(60).collect();
        ApiError::Malformed(format!("{shown:?} is no follow-up: expected its id, such as INC-2026-0001-12"))
    })
}

/// The day until which something is to be done, or none.
pub(crate) fn day(text: &str) -> Result<String, ApiError> {
    let text = text.trim();
    // Kept as it is written, and sorted by that: no other spelling of the day will do.
    if text.is_empty() || text.parse::<Date>().is_ok_and(|day| day.to_string() == text) {
        return Ok(text.to_owned());
    }
    Err(ApiError::Invalid(format!("due {text:?}: a day such as 2026-01-31")))
}

fn link(text: &str) -> Result<String, ApiError> {
    let text = line("url", text)?;
    if text.is_empty() || text.starts_with("https://") || text.starts_with("http://") {
        return Ok(text);
    }
    Err(ApiError::Invalid("url: an address that begins with https://".to_owned()))
}

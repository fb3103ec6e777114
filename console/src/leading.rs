//! What people record while they lead an incident: when its moments were, other incidents that it has to do with, who may
//! see it, the call for help, and the duties of their roles.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use harmony_blueprints::messages::Act;
use harmony_eventlog::Filter;
use harmony_incidents::{
    Command, Context, GateStatus, HasStatus, IncidentId, Refusal, Right,
    ids::IdError,
    judge::payload,
    leading::{self, Relation, UnknownRelation},
    log::{
        DutyTicked, IncidentEscalated, IncidentPrivacyChanged, IncidentRelated, IncidentState,
        IncidentTimeSet, Text, payload::Kind,
    },
    policy::GateKind,
    similar,
    times::{Moment, UnknownMoment},
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    App,
    auth::Caller,
    call::{Call, line},
    error::ApiError,
    members,
    submit::{self, answer, submit, submit_told},
    views::text,
};

/// When a moment of the incident was.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimeBody {
    /// `impactStarted`, `detected`, `acknowledged`, `mitigated` or `resolved`.
    #[schema(value_type = members::MomentName, inline)]
    moment: String,
    /// When it was.
    #[schema(format = DateTime)]
    at: String,
    /// Why it is corrected.
    #[serde(default)]
    #[schema(value_type = members::LongText, inline)]
    reason: String,
}

/// `POST …/times`
pub(crate) async fn time(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Respond).await?;
    let body: TimeBody = call.body()?;
    let moment: Moment =
        body.moment.parse().map_err(|error: UnknownMoment| ApiError::Invalid(format!("moment: {error}")))?;
    let kind = Kind::IncidentTimeSet(IncidentTimeSet {
        moment: moment.name().to_owned(),
        at_us: instant("at", &body.at)?.as_microsecond(),
        reason: leading::reason(&body.reason),
        before_us: 0,
    });
    let command = Command::Record { payload: payload(kind) };
    submit(&call, &incident, &command, &call.context(Some(&state))).await
}

/// A time that somebody gives.
pub(crate) fn instant(name: &str, text: &str) -> Result<Timestamp, ApiError> {
    text.trim().parse().map_err(|_| {
        ApiError::Invalid(format!("{name} {text:?}: a time with its zone, such as 2026-01-31T10:42:00Z"))
    })
}

/// A time that somebody gives, or a day in UTC, which stands for where it begins or ends.
pub(crate) fn day_or_time(name: &str, text: &str, is_end: bool) -> Result<Timestamp, ApiError> {
    let Ok(day) = text.trim().parse::<Date>() else { return instant(name, text) };
    let day = if is_end { day.tomorrow().unwrap_or(day) } else { day };
    day.to_zoned(TimeZone::UTC)
        .map(|midnight| midnight.timestamp())
        .map_err(|_| ApiError::Invalid(format!("{name} {text:?}: no such day")))
}

/// What the incident has to do with another one.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RelationBody {
    /// `duplicate-of`, `caused-by`, `recurrence-of` or `related`, or the reverse of these.
    #[schema(value_type = members::Relation, inline)]
    relation: String,
    /// The other one.
    #[schema(value_type = members::Incident, inline)]
    incident_id: String,
    /// Why.
    #[serde(default)]
    #[schema(value_type = members::LongText, inline)]
    reason: String,
    /// Whether it is so no longer.
    #[serde(default)]
    remove: bool,
}

/// `POST …/relations`: put on record at both incidents.
pub(crate) async fn relate(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Respond).await?;
    let body: RelationBody = call.body()?;
    let relation: Relation = body
        .relation
        .parse()
        .map_err(|error: UnknownRelation| ApiError::Invalid(format!("relation: {error}")))?;
    let other: IncidentId = body
        .incident_id
        .parse()
        .map_err(|error: IdError| ApiError::Invalid(format!("incidentId: {error}")))?;
    if other == incident {
        return Err(ApiError::Invalid("incidentId: an incident is not related to itself".to_owned()));
    }
    let other_state = call.named(&other, Right::Respond).await?;
    if other_state.private && !state.private {
        return Err(Refusal::Illegal {
            explanation: format!("{other} is private, and {incident} is not: say it at {other} instead"),
        }
        .into());
    }
    let relations = Related { relation, reason: &body.reason, removed: body.remove };
    let appended = relations.record(&call, (&incident, &state), (&other, &other_state)).await?;
    answer(&call, &appended).await
}

/// A relation between two incidents, to be recorded or taken back.
pub(crate) struct Related<'a> {
    pub(crate) relation: Relation,
    pub(crate) reason: &'a str,
    pub(crate) removed: bool,
}

impl Related<'_> {
    /// Records it at both. Where the second was not written, the request asked again under its key writes it.
    pub(crate) async fn record(
        &self,
        call: &Call,
        this: (&IncidentId, &IncidentState),
        other: (&IncidentId, &IncidentState),
    ) -> Result<harmony_eventlog::Appended, ApiError> {
        let command = |relation: Relation, incident: &IncidentId| Command::Record {
            payload: payload(Kind::IncidentRelated(IncidentRelated {
                relation: relation.name().to_owned(),
                incident: incident.to_string(),
                reason: leading::reason(self.reason),
                removed: self.removed,
            })),
        };
        let key = format!("{}/relation", call.key());
        let here = command(self.relation, other.0);
        let context = call.context(Some(this.1));
        let appended = submit::append(call, this.0, &key, &here, &context, &|_| None).await?;
        // What everybody sees does not name what only some may know of.
        if this.1.private && !other.1.private {
            return Ok(appended);
        }
        let key = format!("{}/relation/reverse", call.key());
        let there = command(self.relation.reverse(), this.0);
        submit::append_elsewhere(call, other.0, &key, &there, &call.context(Some(other.1))).await?;
        Ok(appended)
    }
}

/// Who may see the incident.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PrivateBody {
    /// Whether it is private; without it, it becomes so.
    #[serde(default = "yes")]
    private: bool,
    /// Ids of who may see it beside organisation admins and whoever makes it private.
    #[serde(default)]
    principals: Vec<String>,
    /// Why.
    #[serde(default)]
    #[schema(value_type = members::LongText, inline)]
    reason: String,
}

fn yes() -> bool {
    true
}

/// `POST …/private`
pub(crate) async fn private(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Resolve).await?;
    let body: PrivateBody = call.body()?;
    if !body.private && !body.principals.is_empty() {
        return Err(ApiError::Invalid("principals: an incident that everybody sees names nobody".to_owned()));
    }
    let kind = Kind::IncidentPrivacyChanged(IncidentPrivacyChanged {
        private: body.private,
        principals: body.principals,
        reason: leading::reason(&body.reason),
    });
    let command = Command::Record { payload: payload(kind) };
    submit(&call, &incident, &command, &call.context(Some(&state))).await
}

/// A call for help with the incident itself.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EscalateBody {
    /// Why, for whoever is called.
    #[serde(default)]
    #[schema(value_type = members::LongText, inline)]
    reason: String,
    /// Whether help is needed no longer.
    #[serde(default)]
    clear: bool,
}

/// `POST …/escalate`: pages the next level.
pub(crate) async fn escalate(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Respond).await?;
    let EscalateBody { reason, clear } = call.body()?;
    if !clear && reason.trim().is_empty() {
        return Err(ApiError::Invalid("reason: say what help is needed".to_owned()));
    }
    let kind = Kind::IncidentEscalated(IncidentEscalated {
        escalated: !clear,
        reason: leading::reason(&reason),
        ..IncidentEscalated::default()
    });
    let command = Command::Record { payload: payload(kind) };
    let told = |head: &IncidentState| {
        let next = leading::next_level(head, call.caller.rules().policy);
        let (level, roles) = if clear { (0, Vec::new()) } else { next? };
        Some(Act::Escalation { level, roles, reason: reason.trim().to_owned() })
    };
    let context: Context = call.context(Some(&state));
    submit_told(&call, &incident, &state, &command, &context, (&|_| None, &told)).await
}

/// A duty of a role that was done.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DutyBody {
    /// Such as `commander`.
    #[schema(value_type = members::Line, inline)]
    role: String,
    /// As the policy words it.
    #[schema(value_type = members::Line, inline)]
    duty: String,
    /// Whether it is done; without it, it is.
    #[serde(default = "yes")]
    done: bool,
}

/// `POST …/duties`
pub(crate) async fn duty(call: Call) -> Result<Response, ApiError> {
    let (incident, state) = call.incident(Right::Respond).await?;
    let DutyBody { role, duty, done } = call.body()?;
    let ticked = DutyTicked { role: line("role", &role)?, duty: line("duty", &duty)?, done };
    let command = Command::Record { payload: payload(Kind::DutyTicked(ticked)) };
    submit(&call, &incident, &command, &call.context(Some(&state))).await
}

/// What a declaration says about other incidents: the reverse stands at the other one.
pub(crate) async fn recurrence(
    call: &Call,
    incident: &IncidentId,
    of: &IncidentId,
    before: &IncidentState,
) -> Result<(), ApiError> {
    let state = call.app.doors.log.state(&call.caller.org, incident).await?.unwrap_or_default();
    let related = Related { relation: Relation::RecurrenceOf, reason: "", removed: false };
    related.record(call, (incident, &state), (of, before)).await.map(drop)
}

/// A text of another incident, where the declaration of a recurrence gives none of its own.
pub(crate) fn carried(given: Option<Text>, before: Option<&Text>) -> Option<Text> {
    given.or_else(|| before.filter(|text| !text.redacted).map(|text| Text::plain(&text.text)))
}

/// How many incidents one is compared with: the latest.
const COMPARED: u32 = 500;
/// How many of them on a page, which is made again with each record.
pub(crate) const LATEST: u32 = 100;
/// How many like it are shown.
const LIKE_IT: usize = 5;

/// An incident that is like another, and what helped then.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SimilarIncident {
    pub(crate) incident_id: String,
    pub(crate) title: String,
    pub(crate) severity: &'static str,
    pub(crate) state: &'static str,
    /// How much they are alike.
    pub(crate) score: f64,
    /// What they have in common, the heaviest first.
    pub(crate) shared: Vec<Shared>,
    /// How it was resolved; empty where it was not.
    pub(crate) resolution: String,
    /// The remediations that were approved then.
    pub(crate) remediations: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seconds_to_mitigate: Option<i64>,
}

/// Something that two incidents have in common.
#[derive(Serialize, ToSchema)]
pub(crate) struct Shared {
    pub(crate) what: String,
    pub(crate) weight: f64,
}

impl SimilarIncident {
    fn of(one: &similar::Similar<'_>) -> Self {
        let state = one.state;
        let rounded = |weight: f64| (weight * 100.0).round() / 100.0;
        let resolution = state.resolution.as_ref();
        let mitigated = Moment::Mitigated.at_us(state);
        Self {
            incident_id: state.incident.clone(),
            title: text(state.title.as_ref()),
            severity: state.severity().as_str_name(),
            state: state.state().as_str_name(),
            score: rounded(one.score),
            shared: one
                .shared
                .iter()
                .map(|(what, weight)| Shared { what: what.clone(), weight: rounded(*weight) })
                .collect(),
            resolution: text(resolution.and_then(|one| one.summary.as_ref())),
            remediations: state
                .gates
                .iter()
                .filter(|gate| gate.kind == GateKind::Remediate.name() && gate.is(GateStatus::Approved))
                .map(|gate| gate.action.clone())
                .collect(),
            seconds_to_mitigate: (mitigated > 0).then(|| (mitigated - state.created_at_us) / 1_000_000),
        }
    }
}

/// The incidents that are like this one, among the latest that the reader sees.
pub(crate) async fn like(
    app: &App,
    caller: &Caller,
    state: &IncidentState,
    limit: u32,
) -> Result<Vec<SimilarIncident>, ApiError> {
    let filter =
        Filter { visible_to: caller.sees_only(), drill: Some(state.drill), limit, ..Filter::default() };
    let others = app.doors.log.list(&caller.org, &filter).await?;
    Ok(similar::similar(state, &others, LIKE_IT).iter().map(SimilarIncident::of).collect())
}

/// `GET …/similar`
pub(crate) async fn similar_to(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    let (incident, state) = call.incident(Right::Read).await?;
    let found = like(&call.app, &call.caller, &state, COMPARED).await?;
    Ok(Json(json!({ "incidentId": incident, "similar": found })).into_response())
}

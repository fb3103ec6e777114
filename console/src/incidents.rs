//! Incidents: declare, list, show.
//!
//! A declaration is taken even while Temporal is away: the start of initiate lies in the outbox of the same
//! transaction. What a declaration answers depends on nothing that happens later, so a repeated one reads the same.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use harmony_blueprints::starts;
use harmony_eventlog::{Append, EventLog, Filter, Place, Sort, Target, history::known_at};
use harmony_incidents::{
    Command, IncidentId, OrgId, Right, WorkflowId, WorkflowType,
    ids::{IdError, NAMESPACE},
    judge,
    judge::TEXT_LIMIT_BYTES,
    log::{IncidentCreated, IncidentState, Severity, State, Text},
    words,
};
use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    App,
    call::{Call, line, required, tag_of_seq},
    cursor,
    error::ApiError,
    leading, members,
    query::Query,
    starts::{away, clock_item, initiate_item},
    views,
};

/// Incidents read from the store at a time, where all of them are wanted.
const PAGE: u32 = 200;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DeclareBody {
    /// Needed where it is no recurrence.
    #[serde(default)]
    #[schema(value_type = Option<members::Line>, inline)]
    title: Option<String>,
    /// Needed where it is no recurrence.
    #[serde(default)]
    #[schema(value_type = Option<members::Severity>, inline)]
    severity: Option<String>,
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    service_name: String,
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    environment: String,
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    project_id: String,
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    detected_by: String,
    #[serde(default)]
    #[schema(value_type = members::LongText, inline)]
    summary: String,
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    initial_correlation_key: String,
    /// The signal that it was declared for.
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    primary_signal_id: String,
    /// Of the runbook to look into first.
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    runbook_path: String,
    /// In all at most 8 KiB.
    #[serde(default)]
    #[schema(value_type = Vec<members::Line>, inline, max_items = 100)]
    impacted_services: Vec<String>,
    #[serde(default)]
    #[schema(value_type = members::Line, inline)]
    public_title: String,
    #[serde(default)]
    #[schema(value_type = members::LongText, inline)]
    public_message: String,
    /// Ids of components of the status page, in all at most 8 KiB.
    #[serde(default)]
    #[schema(value_type = Vec<members::RequiredLine>, inline, max_items = 100)]
    public_components: Vec<String>,
    /// Who pays for it; without it the caller's default.
    #[serde(default)]
    #[schema(value_type = Option<members::Line>, inline)]
    cost_center: Option<String>,
    /// When people began to be harmed, where that is known.
    #[serde(default)]
    #[schema(format = DateTime)]
    impact_started_at: Option<String>,
    /// When somebody or something noticed, where that is known.
    #[serde(default)]
    #[schema(format = DateTime)]
    detected_at: Option<String>,
    /// Whether it is practice.
    #[serde(default)]
    drill: bool,
    /// Ids of the only people, beside organisation admins and the caller, who see that it exists.
    #[serde(default)]
    private_to: Option<Vec<String>>,
    /// The incident that is back: what is not given here is taken from it.
    #[serde(default)]
    #[schema(value_type = Option<members::Incident>, inline)]
    recurrence_of: Option<String>,
}

/// `POST …/incidents`
pub(crate) async fn declare(call: Call) -> Result<Response, ApiError> {
    call.caller.require(Right::Respond, None)?;
    call.caller.require_listed()?;
    let mut body: DeclareBody = call.body()?;
    let before = match body.recurrence_of.take() {
        None => None,
        Some(id) => {
            let id: IncidentId =
                id.parse().map_err(|error: IdError| ApiError::Invalid(format!("recurrenceOf: {error}")))?;
            let state = call.named(&id, Right::Respond).await?;
            Some((id, state))
        }
    };
    for (name, given) in [("title", body.title.is_some()), ("severity", body.severity.is_some())] {
        if !given && before.is_none() {
            return Err(ApiError::Invalid(format!("missing field `{name}`")));
        }
    }
    let context = call.context(None);
    let mut created = created(&call, body, context.occurred_at)?;
    if let Some((_, before)) = &before {
        carry_over(&mut created, before);
    }

    let command = Command::Declare { incident: created.clone() };
    let appended = call
        .app
        .doors
        .log
        .append(Append {
            org: &call.caller.org,
            target: Target::New { year: context.occurred_at.to_zoned(TimeZone::UTC).year() },
            key: &call.key(),
            command: &command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &|head| judge(head, &command, &context, call.caller.rules()),
            follow: &|stream| {
                let Some(incident) = &stream.incident() else { return vec![] };
                let golden = starts::golden_context(incident, &created, &context.actor);
                let input = starts::initiate(&created, &golden);
                vec![
                    initiate_item(&call, incident, input, context.occurred_at),
                    clock_item(&call, incident, &created, context.occurred_at),
                ]
            },
        })
        .await?;
    let incident = appended.incident().ok_or(ApiError::Internal)?;
    if let Some((of, before)) = &before {
        leading::recurrence(&call, &incident, of, before).await?;
    }
    let mut body = json!({
        "incidentId": incident,
        "state": State::Pending.as_str_name(),
        "workflowId": WorkflowId::new(WorkflowType::Initiate, &call.caller.org, &incident),
    });
    if let Some(warning) = away(&call.app, "initiation") {
        body["warning"] = json!(warning);
    }
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// What was known of the incident that is back, where its declaration says nothing else.
fn carry_over(created: &mut IncidentCreated, before: &IncidentState) {
    let fill = |field: &mut String, known: &String| {
        if field.is_empty() {
            field.clone_from(known);
        }
    };
    if created.severity() == Severity::Unspecified {
        created.severity = before.severity;
    }
    let titled = created.title.as_ref().is_some_and(|title| !title.text.is_empty());
    created.title = leading::carried(created.title.take().filter(|_| titled), before.title.as_ref());
    created.public_title = leading::carried(created.public_title.take(), before.public_title.as_ref());
    fill(&mut created.service_name, &before.service_name);
    fill(&mut created.environment, &before.environment);
    fill(&mut created.project_id, &before.project_id);
    fill(&mut created.runbook_path, &before.runbook_path);
    if created.impacted_services.is_empty() {
        created.impacted_services.clone_from(&before.impacted_services);
    }
    if created.public_components.is_empty() {
        created.public_components.clone_from(&before.public_components);
    }
    // What few may know of stays so.
    if before.private && !created.private {
        created.private = true;
        created.private_to.clone_from(&before.private_to);
    }
}

fn created(call: &Call, body: DeclareBody, now: Timestamp) -> Result<IncidentCreated, ApiError> {
    let severity = match body.severity.as_deref() {
        None => Severity::Unspecified,
        Some(word) => words::severity(word).map_err(|error| ApiError::Invalid(error.to_string()))?,
    };
    let past = |name: &str, text: &Option<String>| match text.as_deref().map(str::trim) {
        None | Some("") => Ok(0),
        Some(text) => {
            let at = leading::instant(name, text)?;
            let is_past = at <= now && at > Timestamp::UNIX_EPOCH;
            is_past.then_some(at.as_microsecond()).ok_or_else(|| {
                ApiError::Invalid(format!("{name} {text:?} is in the future: it was before now"))
            })
        }
    };
    let private_to = match &body.private_to {
        None => Vec::new(),
        Some(named) => {
            let directory = call.caller.rules().directory;
            if let Some(nobody) = named.iter().find(|id| directory.get(id).is_none()) {
                return Err(ApiError::Invalid(format!("privateTo {nobody:?}: nobody of this id is there")));
            }
            let mut named = named.clone();
            named.push(call.caller.principal.id.clone());
            named.sort();
            named.dedup();
            named
        }
    };
    let impacted_services = body
        .impacted_services
        .iter()
        .map(|service| line("impactedServices", service))
        .collect::<Result<Vec<_>, _>>()?;
    for (name, text) in [("summary", &body.summary), ("publicMessage", &body.public_message)] {
        if text.len() > TEXT_LIMIT_BYTES {
            return Err(ApiError::Invalid(format!("{name} has more than 64 KiB")));
        }
    }
    let title = body.title.as_deref().unwrap_or_default().trim();
    // The caller's trace, or the one that this request began; else derived from the request.
    let trace_id = harmony_telemetry::current().map_or_else(
        || {
            let name = format!("trace/{}/{}", call.caller.org, call.key());
            Uuid::new_v5(&NAMESPACE, name.as_bytes()).simple().to_string()
        },
        |request| request.trace.to_string(),
    );
    Ok(IncidentCreated {
        title: Some(Text::plain(title)),
        severity: severity.into(),
        service_name: line("serviceName", &body.service_name)?,
        environment: line("environment", &body.environment)?,
        project_id: line("projectId", &body.project_id)?,
        detected_by: line("detectedBy", &body.detected_by)?,
        summary: Text::optional(body.summary),
        initial_correlation_key: line("initialCorrelationKey", &body.initial_correlation_key)?,
        impacted_services,
        public_title: Text::optional(line("publicTitle", &body.public_title)?),
        public_message: Text::optional(body.public_message),
        trace_id,
        public_components: body
            .public_components
            .iter()
            .map(|id| required("publicComponents", id))
            .collect::<Result<_, _>>()?,
        cost_center: match &body.cost_center {
            Some(given) => line("costCenter", given)?,
            None => {
                let rules = call.caller.rules();
                rules.policy.cost_center(&body.service_name, &call.caller.principal).to_owned()
            }
        },
        primary_signal_id: line("primarySignalId", &body.primary_signal_id)?,
        runbook_path: line("runbookPath", &body.runbook_path)?,
        impact_started_us: past("impactStartedAt", &body.impact_started_at)?,
        detected_us: past("detectedAt", &body.detected_at)?,
        drill: body.drill,
        private: body.private_to.is_some(),
        private_to,
        ..IncidentCreated::default()
    })
}

/// `GET …/incidents/{id}`
pub(crate) async fn show(call: Call) -> Result<Response, ApiError> {
    call.query.only(&["asOf"])?;
    let (incident, state) = call.incident(Right::Read).await?;
    if let Some(text) = call.query.given("asOf") {
        let at = leading::instant("asOf", text)?;
        let then = known_at(call.app.doors.log.as_ref(), &call.caller.org, &incident, at).await?;
        let then =
            then.ok_or_else(|| ApiError::NotFound(format!("{incident} was not declared by {text}")))?;
        return Ok(Json(views::incident(&then, &call.caller)).into_response());
    }
    let tag = tag_of_seq(state.seq);
    let tagged = [(header::ETAG, tag.as_str())];
    if call.knows(&tag) {
        return Ok((StatusCode::NOT_MODIFIED, tagged).into_response());
    }
    Ok((tagged, Json(views::incident(&state, &call.caller))).into_response())
}

/// `GET …/incidents`
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    call.caller.require(Right::Read, None)?;
    let mut filter = wanted(&call.query, &["traceId"])?;
    filter.visible_to = call.caller.sees_only();
    let trace = call.query.one("traceId").map(str::to_ascii_lowercase);
    let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    // One more than asked for tells whether there is a next page.
    filter.limit += 1;
    let log = &call.app.doors.log;
    let mut found = match &trace {
        None => log.list(&call.caller.org, &filter).await?,
        Some(trace) => traced(log.as_ref(), &call.caller.org, filter, trace).await?,
    };
    let more = found.len() > limit;
    found.truncate(limit);
    let incidents: Vec<_> = found.iter().map(views::summary).collect();
    let mut body = json!({ "incidents": incidents });
    if let Some(last) = found.last().and_then(Place::of).filter(|_| more) {
        body["nextCursor"] = json!(cursor::of_incident(&last));
    }
    Ok(Json(body).into_response())
}

/// As many as the filter wants of those that a trace led to: the one that declared it, or that one of its signals is of.
/// No index has them, so all that the filter lets through are read.
async fn traced(
    log: &dyn EventLog,
    org: &OrgId,
    filter: Filter,
    trace: &str,
) -> Result<Vec<IncidentState>, ApiError> {
    let wanted = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let mut filter = Filter { limit: PAGE, ..filter };
    let mut found = Vec::new();
    loop {
        let page = log.list(org, &filter).await?;
        let Some(last) = page.last().and_then(Place::of) else { return Ok(found) };
        filter.after = Some(last);
        let is_of = |state: &IncidentState| {
            state.trace_id == trace || state.signals.iter().any(|one| one.trace_id == trace)
        };
        found.extend(page.into_iter().filter(is_of));
        if found.len() >= wanted {
            found.truncate(wanted);
            return Ok(found);
        }
    }
}

/// Which incidents a list shall hold; `beside` are names that somebody else reads.
pub(crate) fn wanted(query: &Query, beside: &[&str]) -> Result<Filter, ApiError> {
    let known = [
        "status",
        "state",
        "severity",
        "serviceName",
        "environment",
        "projectId",
        "correlationKey",
        "searchQuery",
        "drill",
        "sort",
        "limit",
        "cursor",
    ];
    query.only(&[&known, beside].concat())?;
    let invalid = |error: words::UnknownWord| ApiError::Invalid(error.to_string());
    let mut filter = Filter { limit: query.limit(50, 200)?, ..Filter::default() };
    for word in query.words("state") {
        filter.states.push(words::state(word).map_err(invalid)?.as_str_name().to_owned());
    }
    for word in query.words("status") {
        filter.statuses.push(words::status_word(word).map_err(invalid)?.to_owned());
    }
    for word in query.words("severity") {
        filter.severities.push(words::severity(word).map_err(invalid)?.as_str_name().to_owned());
    }
    for (list, name) in [
        (&mut filter.services, "serviceName"),
        (&mut filter.environments, "environment"),
        (&mut filter.projects, "projectId"),
    ] {
        list.extend(query.all(name).map(str::to_owned));
    }
    // A key and a part of a title may hold a comma.
    for (list, name) in
        [(&mut filter.correlation_keys, "correlationKey"), (&mut filter.search, "searchQuery")]
    {
        list.extend(query.each(name).map(str::to_owned));
    }
    filter.drill = query.flag("drill")?;
    filter.sort = match query.given("sort") {
        None | Some("-createdAt" | "newest") => Sort::NewestFirst,
        Some("createdAt" | "oldest") => Sort::OldestFirst,
        Some("severity") => Sort::MostSevereFirst,
        Some(other) => {
            return Err(ApiError::Invalid(format!(
                "sort {other:?} is not known; use one of -createdAt (newest first), createdAt, severity"
            )));
        }
    };
    filter.after = query.given("cursor").map(cursor::incident).transpose()?;
    Ok(filter)
}

/// Every incident that a filter lets through, newest first.
pub(crate) async fn every(app: &App, org: &OrgId, filter: Filter) -> Result<Vec<IncidentState>, ApiError> {
    let mut filter = Filter { limit: PAGE, ..filter };
    let mut all = Vec::new();
    loop {
        let page = app.doors.log.list(org, &filter).await?;
        let Some(last) = page.last().and_then(Place::of) else { return Ok(all) };
        filter.after = Some(last);
        all.extend(page);
    }
}

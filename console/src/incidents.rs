//! Incidents: declare, list, show.
//!
//! A declaration is taken even while Temporal is away: the start of initiate lies in the outbox of the same
//! transaction. What a declaration answers depends on nothing that happens later, so a repeated one reads the same.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use harmony_blueprints::messages::{GoldenContext, InitiateInput};
use harmony_eventlog::{Append, Filter, Target};
use harmony_incidents::{
    Command, IncidentId, OrgId, Right, WorkflowId, WorkflowType,
    ids::NAMESPACE,
    judge,
    judge::TEXT_LIMIT_BYTES,
    log::{IncidentCreated, IncidentState, State, Text},
    words,
};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::{
    App,
    call::{Call, line},
    error::ApiError,
    starts::{away, initiate_item},
    views::{self, text},
};

/// Incidents read from the store at a time, where filters that the store does not know leave some out.
const PAGE: u32 = 200;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeclareBody {
    title: String,
    severity: String,
    #[serde(default)]
    service_name: String,
    #[serde(default)]
    environment: String,
    #[serde(default)]
    project_id: String,
    #[serde(default)]
    detected_by: String,
    #[serde(default)]
    summary: String,
    #[serde(default)]
    initial_correlation_key: String,
    #[serde(default)]
    impacted_services: Vec<String>,
    #[serde(default)]
    public_title: String,
    #[serde(default)]
    public_message: String,
}

/// `POST …/incidents`
pub(crate) async fn declare(call: Call) -> Result<Response, ApiError> {
    call.caller.require(Right::Respond, None)?;
    let created = created(&call, call.body()?)?;
    let context = call.context(None);
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
            follow: &|incident| {
                let golden = golden_context(incident, &created, &context.actor);
                vec![initiate_item(&call, incident, &golden, initiate_input(&created), context.occurred_at)]
            },
        })
        .await?;
    let incident = appended.incident;
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

fn created(call: &Call, body: DeclareBody) -> Result<IncidentCreated, ApiError> {
    let severity = words::severity(&body.severity).map_err(|error| ApiError::Invalid(error.to_string()))?;
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
    let title = body.title.trim();
    // Derived from the request, so that a repetition declares the same.
    let trace = Uuid::new_v5(&NAMESPACE, format!("trace/{}/{}", call.caller.org, call.key()).as_bytes());
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
        trace_id: trace.simple().to_string(),
        cost_center: String::new(),
        decision_id: String::new(),
    })
}

fn golden_context(incident: &IncidentId, created: &IncidentCreated, initiator: &str) -> GoldenContext {
    GoldenContext {
        trace_id: created.trace_id.clone(),
        initiator_id: initiator.to_owned(),
        cost_center: created.cost_center.clone(),
        incident_id: incident.to_string(),
        incident_severity: created.severity().as_str_name().to_owned(),
        incident_title: text(created.title.as_ref()),
        impacted_services: created.impacted_services.clone(),
        ..GoldenContext::default()
    }
}

fn initiate_input(created: &IncidentCreated) -> serde_json::Value {
    json!(InitiateInput {
        title: text(created.title.as_ref()),
        severity: created.severity().as_str_name().to_owned(),
        public_title: created.public_title.as_ref().map(|text| text.text.clone()),
        public_message: created.public_message.as_ref().map(|text| text.text.clone()),
        public_components: Vec::new(),
        impacted_services: created.impacted_services.clone(),
    })
}

/// `GET …/incidents/{id}`
pub(crate) async fn show(call: Call) -> Result<Response, ApiError> {
    call.query.only(&[])?;
    let (_, state) = call.incident(Right::Read).await?;
    Ok(Json(views::incident(&state)).into_response())
}

/// `GET …/incidents`
pub(crate) async fn list(call: Call) -> Result<Response, ApiError> {
    call.caller.require(Right::Read, None)?;
    let wanted = Wanted::read(&call)?;
    let limit = usize::try_from(call.query.limit(50, 200)?).unwrap_or(usize::MAX);
    // One more than asked for tells whether there is a next page.
    let mut found = search(&call.app, &call.caller.org, &wanted, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let incidents: Vec<_> = found.iter().map(views::summary).collect();
    let mut body = json!({ "incidents": incidents });
    if let Some(last) = found.last().filter(|_| more) {
        body["nextCursor"] = json!(last.incident);
    }
    Ok(Json(body).into_response())
}

/// Which incidents a list shall hold.
struct Wanted {
    filter: Filter,
    /// Words of the status view; empty for all.
    statuses: Vec<String>,
    environments: Vec<String>,
    projects: Vec<String>,
}

impl Wanted {
    fn read(call: &Call) -> Result<Self, ApiError> {
        let query = &call.query;
        query.only(&[
            "status",
            "state",
            "severity",
            "environment",
            "projectId",
            "searchQuery",
            "sort",
            "limit",
            "cursor",
        ])?;
        let invalid = |error: words::UnknownWord| ApiError::Invalid(error.to_string());
        if let Some(sort) = query.one("sort")
            && !matches!(sort, "-createdAt" | "newest")
        {
            return Err(ApiError::Invalid(format!("sort {sort:?}: incidents come newest first, -createdAt")));
        }
        let mut states = Vec::new();
        for word in query.all("state") {
            states.push(words::state(word).map_err(invalid)?);
        }
        let mut statuses = Vec::new();
        let mut by_status = Vec::new();
        for word in query.all("status") {
            let status = word.to_ascii_uppercase();
            by_status.extend(states_of(&status)?);
            statuses.push(status);
        }
        if states.is_empty() {
            states = by_status;
        }
        states.sort_unstable();
        states.dedup();
        let mut severities = Vec::new();
        for word in query.all("severity") {
            severities.push(words::severity(word).map_err(invalid)?.as_str_name().to_owned());
        }
        let before = query
            .one("cursor")
            .map(str::parse::<IncidentId>)
            .transpose()
            .map_err(|_| ApiError::Invalid("cursor: the nextCursor of an earlier answer".to_owned()))?;
        Ok(Self {
            filter: Filter {
                states: states.into_iter().map(|state| state.as_str_name().to_owned()).collect(),
                severities,
                search: query.one("searchQuery").map(str::to_owned),
                limit: PAGE,
                before,
            },
            statuses,
            environments: query.all("environment").map(str::to_owned).collect(),
            projects: query.all("projectId").map(str::to_owned).collect(),
        })
    }

    /// What the store does not filter by.
    fn fits(&self, state: &IncidentState) -> bool {
        let one_of = |words: &[String], word: &str| words.is_empty() || words.iter().any(|one| one == word);
        one_of(&self.statuses, words::status(state.state(), state.phase()))
            && one_of(&self.environments, &state.environment)
            && one_of(&self.projects, &state.project_id)
    }

    /// Whether the store's own filter says it all.
    fn store_knows(&self) -> bool {
        self.statuses.is_empty() && self.environments.is_empty() && self.projects.is_empty()
    }
}

/// The states that a word of the status view covers.
fn states_of(status: &str) -> Result<Vec<State>, ApiError> {
    Ok(match status {
        "OPEN" => vec![State::Pending],
        "INVESTIGATING" | "MITIGATED" => vec![State::Open, State::Mitigating],
        "RESOLVED" => vec![State::Resolved, State::Closed, State::Archived],
        "CANCELLED" => vec![State::Cancelled],
        _ => {
            return Err(ApiError::Invalid(format!(
                "status {status:?} is not known; use one of OPEN, INVESTIGATING, MITIGATED, RESOLVED, CANCELLED, or `state` for the machine's words"
            )));
        }
    })
}

async fn search(
    app: &App,
    org: &OrgId,
    wanted: &Wanted,
    most: usize,
) -> Result<Vec<IncidentState>, ApiError> {
    let mut filter = wanted.filter.clone();
    if wanted.store_knows() {
        filter.limit = u32::try_from(most).unwrap_or(PAGE);
        return Ok(app.doors.log.list(org, &filter).await?);
    }
    let mut found = Vec::new();
    while found.len() < most {
        let page = app.doors.log.list(org, &filter).await?;
        let Some(last) = page.last() else { break };
        filter.before = last.incident.parse().ok();
        let is_last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        found.extend(page.into_iter().filter(|state| wanted.fits(state)));
        if is_last || filter.before.is_none() {
            break;
        }
    }
    found.truncate(most);
    Ok(found)
}

/// Every incident in one of these states (all for none), newest first.
pub(crate) async fn every(
    app: &App,
    org: &OrgId,
    states: Vec<String>,
) -> Result<Vec<IncidentState>, ApiError> {
    let mut filter = Filter { states, limit: PAGE, ..Filter::default() };
    let mut all = Vec::new();
    loop {
        let page = app.doors.log.list(org, &filter).await?;
        let Some(before) = page.last().and_then(|last| last.incident.parse().ok()) else { return Ok(all) };
        filter.before = Some(before);
        all.extend(page);
    }
}

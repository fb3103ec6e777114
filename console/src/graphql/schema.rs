//! The types of the schema, its queries and its mutations.

use async_graphql::{
    ComplexObject, Context, ID, Json, Object, Result, SimpleObject,
    connection::{Connection, Edge, EmptyFields},
};
use harmony_catalog::{
    entity::{self, AuditEvent as EntityAudit},
    views::ReleaseView,
};
use harmony_eventlog::{
    Filter,
    catalog::{CatalogFilter, CatalogKind, ReleaseFilter, StoredRun},
};
use harmony_incidents::{IncidentId, OrgId, Right, ServiceId, log::IncidentState, words};
use serde_json::{Map, Value};

use super::{Asker, problem};
use crate::{
    approvals,
    call::Call,
    catalog::{self, audit, changes::Change as ApiChange, releases::ReleaseBody, services::ServiceLine},
    error::ApiError,
    follow_ups::{self, FollowUp as ApiFollowUp, Wanted},
    views::Gate as ApiGate,
};

/// Longest list that one field gives.
const LIMIT: i32 = 200;

/// A service: what is deployed, how, and where to.
#[derive(SimpleObject)]
pub(super) struct Service {
    id: ID,
    name: String,
    repo: String,
    adapters: Adapters,
    environments: Vec<EnvironmentRef>,
    depends_on: Vec<ID>,
    owner: String,
    retired: bool,
    /// The release that tells most about each environment.
    latest_releases: Vec<Release>,
    /// How many open incidents hit it.
    open_incidents: IncidentCount,
}

/// How a service can be deployed.
#[derive(SimpleObject)]
struct Adapters {
    deployments: Vec<String>,
}

/// An environment by id and name.
#[derive(SimpleObject)]
struct EnvironmentRef {
    id: ID,
    name: String,
}

/// Open incidents by severity.
#[derive(SimpleObject, Default)]
struct IncidentCount {
    critical: u64,
    high: u64,
    medium: u64,
    low: u64,
}

impl From<ServiceLine> for Service {
    fn from(line: ServiceLine) -> Self {
        let count = |word: &str| line.open_incidents.get(word).copied().unwrap_or_default();
        let open_incidents = IncidentCount {
            critical: count("critical"),
            high: count("high"),
            medium: count("medium"),
            low: count("low"),
        };
        let service = line.service;
        Self {
            id: ID(service.id.to_string()),
            name: service.name,
            repo: service.repo,
            adapters: Adapters { deployments: service.adapters.deployments },
            environments: service
                .environments
                .into_iter()
                .map(|one| EnvironmentRef { id: ID(one.id.to_string()), name: one.name })
                .collect(),
            depends_on: service.depends_on.iter().map(|id| ID(id.to_string())).collect(),
            owner: service.owner,
            retired: service.retired,
            latest_releases: line.latest_releases.into_values().map(Release::from).collect(),
            open_incidents,
        }
    }
}

/// A place to which services are deployed.
#[derive(SimpleObject)]
struct Environment {
    id: ID,
    name: String,
    region: String,
    cluster: String,
    policy_refs: Vec<String>,
    production: bool,
    retired: bool,
}

impl From<entity::Environment> for Environment {
    fn from(one: entity::Environment) -> Self {
        Self {
            production: one.is_production(),
            id: ID(one.id.to_string()),
            name: one.name,
            region: one.region,
            cluster: one.cluster,
            policy_refs: one.policy_refs,
            retired: one.retired,
        }
    }
}

/// One artifact of a service in one environment.
#[derive(SimpleObject)]
#[graphql(complex)]
struct Release {
    id: ID,
    service_id: ID,
    sha: String,
    version: String,
    env_id: ID,
    /// `Draft`, `Promoting`, `Active` or `Failed`.
    status: String,
    promoted_from: Option<ID>,
    rolls_back: Option<ID>,
    url: String,
    /// When it was created, where that is known here.
    created_at: Option<String>,
    created_by: Option<String>,
    /// When it became Active or Failed.
    settled_at: Option<String>,
    /// `current`, `superseded` or `rolledBack`.
    standing: Option<String>,
}

#[ComplexObject]
impl Release {
    /// The deploy and promote runs of it, merged in time.
    #[graphql(complexity = "20 + 20 * child_complexity")]
    async fn runs(&self, context: &Context<'_>) -> Result<Vec<WorkflowRun>> {
        runs_of(context, &self.id).await
    }
}

impl From<entity::Release> for Release {
    fn from(one: entity::Release) -> Self {
        Self {
            id: ID(one.id.to_string()),
            service_id: ID(one.service_id.to_string()),
            sha: one.sha,
            version: one.version,
            env_id: ID(one.env_id.to_string()),
            status: words::release_status(one.status).to_owned(),
            promoted_from: one.promoted_from.map(|id| ID(id.to_string())),
            rolls_back: one.rolls_back.map(|id| ID(id.to_string())),
            url: one.url,
            created_at: None,
            created_by: None,
            settled_at: None,
            standing: None,
        }
    }
}

impl From<ReleaseView> for Release {
    fn from(view: ReleaseView) -> Self {
        Self {
            created_at: Some(view.created_at.to_string()),
            created_by: Some(view.created_by),
            settled_at: view.settled_at.map(|at| at.to_string()),
            standing: view.standing.map(str::to_owned),
            ..Self::from(view.release)
        }
    }
}

/// A run that deploys or promotes a release.
struct WorkflowRun(StoredRun);

/// A run that deploys or promotes a release.
#[Object]
impl WorkflowRun {
    async fn id(&self) -> ID {
        ID(self.0.run.run_id.clone())
    }

    /// `Deploy` or `Promote`.
    async fn kind(&self) -> &'static str {
        words::run_kind(self.0.run.kind())
    }

    async fn actor(&self) -> &str {
        &self.0.run.actor
    }

    async fn started_at(&self) -> Result<String> {
        Ok(self.view(Vec::new())?.started_at.to_string())
    }

    async fn finished_at(&self) -> Result<Option<String>> {
        Ok(self.view(Vec::new())?.finished_at.map(|at| at.to_string()))
    }

    async fn outcome(&self) -> Result<Option<&'static str>> {
        Ok(self.view(Vec::new())?.outcome.map(|outcome| outcome.name()))
    }

    /// What it said. Read from the records for each run, so it counts for more than the rest of it.
    #[graphql(complexity = "2 + 2 * child_complexity")]
    async fn logs(&self, context: &Context<'_>) -> Result<Vec<LogEntry>> {
        let call = reading(context)?;
        let run = told(catalog::releases::run_view(&call, &self.0).await)?;
        Ok(run.logs.into_iter().map(LogEntry::from).collect())
    }
}

impl WorkflowRun {
    fn view(&self, logs: Vec<entity::LogEntry>) -> Result<entity::WorkflowRun> {
        told(
            entity::WorkflowRun::of(&self.0.run, logs).map_err(|error| catalog::releases::unreadable(&error)),
        )
    }
}

/// One line of a run's log.
#[derive(SimpleObject)]
struct LogEntry {
    ts: String,
    level: String,
    message: String,
    meta: Json<Map<String, Value>>,
}

impl From<entity::LogEntry> for LogEntry {
    fn from(line: entity::LogEntry) -> Self {
        Self {
            ts: line.ts.to_string(),
            level: words::log_level(line.level).to_owned(),
            message: line.message,
            meta: Json(line.meta),
        }
    }
}

/// An incident beside a service.
#[derive(SimpleObject)]
struct Incident {
    id: ID,
    service_id: ID,
    /// `low`, `medium`, `high` or `critical`.
    severity: String,
    started_at: String,
    status: String,
    /// At PagerDuty; else where its first signal was seen; else its page here, from `/` on.
    link: String,
    title: String,
}

/// One thing that somebody did.
#[derive(SimpleObject)]
pub(super) struct AuditEvent {
    ts: String,
    actor: String,
    /// Dotted: `release.promote`.
    action: String,
    subject_type: String,
    subject_id: String,
    metadata: Json<Map<String, Value>>,
    /// The chain that its record stands in.
    stream: Option<String>,
    /// Its place there.
    seq: Option<u64>,
}

impl From<EntityAudit> for AuditEvent {
    fn from(event: EntityAudit) -> Self {
        Self {
            ts: event.ts.to_string(),
            actor: event.actor,
            action: event.action,
            subject_type: event.subject_type,
            subject_id: event.subject_id,
            metadata: Json(event.metadata),
            stream: event.stream.map(|stream| stream.to_string()),
            seq: event.seq,
        }
    }
}

/// A release beside an incident.
#[derive(SimpleObject)]
struct Change {
    release: Release,
    service_name: String,
    /// `suspected`, `caused`, `related` or `dismissed`.
    relation: String,
    reason: String,
    /// When it did what it is suspected for.
    changed_at: Option<String>,
    /// The release that was active before it.
    before: Option<ID>,
}

impl From<ApiChange> for Change {
    fn from(change: ApiChange) -> Self {
        Self {
            release: change.release.into(),
            service_name: change.service_name,
            relation: change.relation.to_owned(),
            reason: change.reason,
            changed_at: change.changed_at.map(|at| at.to_string()),
            before: change.before.map(ID),
        }
    }
}

/// What changed before an incident.
#[derive(SimpleObject)]
struct Changes {
    linked: Vec<Change>,
    suspected: Vec<Change>,
}

/// What a deployment or a promotion gave.
#[derive(SimpleObject)]
struct DeployMutationResult {
    release: Release,
    /// What the audit says of it; none where it was on record already.
    audit: Option<AuditEvent>,
}

/// Something to do after an incident.
#[derive(SimpleObject)]
struct FollowUp {
    /// Its incident and the record that added it: `INC-2026-0001-12`.
    id: ID,
    incident_id: ID,
    action: String,
    /// `open`, `done` or `dropped`.
    state: &'static str,
    owner: String,
    /// Until which day; none where nobody said.
    due: Option<String>,
    /// `high`, `medium` or `low`.
    priority: Option<String>,
    overdue: bool,
    comments: u32,
    last_comment: Option<String>,
    settled_at: Option<String>,
    /// Where it is tracked outside.
    ticket: Option<String>,
    url: Option<String>,
}

impl From<ApiFollowUp> for FollowUp {
    fn from(one: ApiFollowUp) -> Self {
        let given = |text: String| (!text.is_empty()).then_some(text);
        Self {
            id: ID(one.id),
            incident_id: ID(one.incident_id),
            action: one.action,
            state: one.state,
            owner: one.owner,
            due: given(one.due),
            priority: given(one.priority),
            overdue: one.overdue,
            comments: one.comments,
            last_comment: given(one.last_comment),
            settled_at: one.settled_at.map(|at| at.to_string()),
            ticket: given(one.ticket),
            url: given(one.url),
        }
    }
}

/// Something that waits for a decision by people.
#[derive(SimpleObject)]
struct Gate {
    /// What `…/approvals/{gateId}` takes, percent-encoded.
    id: ID,
    /// Of a gate of an incident.
    incident_id: Option<ID>,
    /// Of a gate of a release: its service.
    service_id: Option<ID>,
    /// Of a gate of a release.
    release_id: Option<ID>,
    /// Whose run waits: `remediate`, `close-out`, ….
    blueprint: String,
    /// What happens when it is approved.
    action: String,
    request_reason: String,
    requester: String,
    required_roles: Vec<String>,
    /// From 1; each escalation takes it to the next.
    level: u32,
    requested_at: String,
    /// When it escalates or is rejected.
    deadline: String,
    /// Of all that it covers; a decision names it.
    digest: String,
    /// How many must approve.
    quorum: u32,
    /// Who has approved so far, where several must.
    approvals: Vec<String>,
}

impl From<ApiGate> for Gate {
    fn from(gate: ApiGate) -> Self {
        Self {
            id: ID(gate.gate_id),
            incident_id: gate.incident_id.map(ID),
            service_id: gate.service_id.map(ID),
            release_id: gate.release_id.map(ID),
            blueprint: gate.blueprint,
            action: gate.action,
            request_reason: gate.request_reason,
            requester: gate.requester,
            required_roles: gate.required_roles,
            level: gate.level,
            requested_at: gate.requested_at.to_string(),
            deadline: gate.deadline.to_string(),
            digest: gate.digest,
            quorum: gate.quorum,
            approvals: gate.approvals,
        }
    }
}

/// What can be asked.
pub(super) struct Query;

#[Object]
impl Query {
    /// One service.
    async fn service(&self, context: &Context<'_>, id: ID) -> Result<Option<Service>> {
        let call = reading(context)?;
        let ids = id.parse().into_iter().collect();
        let found = told(catalog::services_by_id(&call, ids).await)?;
        let states: Vec<_> = found.into_values().collect();
        let line = told(catalog::services::lines(&call, &states).await)?.pop();
        lists(context, line.iter().flat_map(|line| line.latest_releases.values()))?;
        Ok(line.map(Service::from))
    }

    /// Services, by id.
    #[graphql(
        complexity = "10 + usize::try_from(first.unwrap_or(50)).unwrap_or_default() * child_complexity / 10"
    )]
    async fn services(
        &self,
        context: &Context<'_>,
        after: Option<String>,
        first: Option<i32>,
        search_query: Option<String>,
    ) -> Result<Connection<String, Service, EmptyFields, EmptyFields>> {
        let call = reading(context)?;
        let limit = limit("first", first, 50)?;
        let after_is_there = after.is_some();
        let (lines, more) = told(catalog::services::index(&call, search_query, false, after, limit).await)?;
        lists(context, lines.iter().flat_map(|line| line.latest_releases.values()))?;
        let mut connection = Connection::new(after_is_there, more);
        connection
            .edges
            .extend(lines.into_iter().map(|line| Edge::new(line.service.id.to_string(), line.into())));
        Ok(connection)
    }

    /// Environments, by id.
    #[graphql(
        complexity = "10 + usize::try_from(first.unwrap_or(50)).unwrap_or_default() * child_complexity / 10"
    )]
    async fn environments(
        &self,
        context: &Context<'_>,
        after: Option<String>,
        first: Option<i32>,
    ) -> Result<Connection<String, Environment, EmptyFields, EmptyFields>> {
        let call = reading(context)?;
        let limit = limit("first", first, 50)?;
        let after_is_there = after.is_some();
        let filter = CatalogFilter {
            kind: CatalogKind::Environment,
            ids: Vec::new(),
            search: None,
            retired: false,
            running: false,
            after,
            limit: limit + 1,
        };
        let mut found = told(catalog::environments::all(&call, &filter).await)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = found.len() > limit;
        found.truncate(limit);
        let mut connection = Connection::new(after_is_there, more);
        connection.edges.extend(found.into_iter().map(|one| Edge::new(one.id.to_string(), one.into())));
        Ok(connection)
    }

    /// Releases of a service, the last created first.
    #[graphql(complexity = "10 + usize::try_from(limit).unwrap_or_default() * child_complexity / 10")]
    async fn releases(
        &self,
        context: &Context<'_>,
        service_id: ID,
        env_id: Option<ID>,
        #[graphql(default = 50)] limit: i32,
    ) -> Result<Vec<Release>> {
        let call = reading(context)?;
        let filter = ReleaseFilter {
            services: vec![id("serviceId", &service_id)?],
            environment: env_id.as_ref().map(|env| id("envId", env)).transpose()?,
            limit: self::limit("limit", Some(limit), 50)?,
            ..ReleaseFilter::default()
        };
        let found =
            told(call.app.doors.log.releases(&call.caller.org, &filter).await.map_err(ApiError::from))?;
        let views = told(catalog::releases::views(&call, &found).await)?;
        lists(context, &views)?;
        Ok(views.into_iter().map(Release::from).collect())
    }

    /// One release.
    async fn release(&self, context: &Context<'_>, id: ID) -> Result<Option<Release>> {
        let call = reading(context)?;
        let filter = ReleaseFilter { ids: vec![self::id("id", &id)?], limit: 1, ..ReleaseFilter::default() };
        let found =
            told(call.app.doors.log.releases(&call.caller.org, &filter).await.map_err(ApiError::from))?;
        Ok(told(catalog::releases::views(&call, &found).await)?.pop().map(Release::from))
    }

    /// The deploy and promote runs of a release, merged in time.
    #[graphql(complexity = "20 + 20 * child_complexity")]
    async fn workflow_runs(&self, context: &Context<'_>, release_id: ID) -> Result<Vec<WorkflowRun>> {
        runs_of(context, &release_id).await
    }

    /// Incidents of a service, newest first.
    #[graphql(complexity = "10 + usize::try_from(limit).unwrap_or_default() * child_complexity / 10")]
    async fn incidents(
        &self,
        context: &Context<'_>,
        service_id: ID,
        #[graphql(default = 20)] limit: i32,
    ) -> Result<Vec<Incident>> {
        let call = reading(context)?;
        let service = told(catalog::service(&call, &id("serviceId", &service_id)?).await)?;
        let filter = Filter {
            services: vec![service.id.clone(), service.name.clone()],
            visible_to: call.caller.sees_only(),
            limit: self::limit("limit", Some(limit), 20)?,
            ..Filter::default()
        };
        let found = told(call.app.doors.log.list(&call.caller.org, &filter).await.map_err(ApiError::from))?;
        Ok(found.iter().map(|state| incident_of(&call.caller.org, state, &service.id)).collect())
    }

    /// One incident.
    async fn incident(&self, context: &Context<'_>, id: ID) -> Result<Option<Incident>> {
        let call = reading(context)?;
        let incident: IncidentId = self::id("id", &id)?;
        let found =
            told(call.app.doors.log.state(&call.caller.org, &incident).await.map_err(ApiError::from))?;
        let found = found.filter(|state| call.caller.sees(state));
        Ok(found.map(|state| incident_of(&call.caller.org, &state, &state.service_name)))
    }

    /// What changed before an incident.
    #[graphql(complexity = "50 + 10 * child_complexity")]
    async fn changes(&self, context: &Context<'_>, incident_id: ID) -> Result<Changes> {
        let call = reading(context)?;
        let incident: IncidentId = id("incidentId", &incident_id)?;
        let found =
            told(call.app.doors.log.state(&call.caller.org, &incident).await.map_err(ApiError::from))?;
        let state = found
            .filter(|state| call.caller.sees(state))
            .ok_or_else(|| problem(&ApiError::NotFound(format!("incident {incident} does not exist"))))?;
        let changes = told(catalog::changes::of(&call, &state).await)?;
        lists(context, changes.linked.iter().chain(&changes.suspected).map(|one| &one.release))?;
        Ok(Changes {
            linked: changes.linked.into_iter().map(Change::from).collect(),
            suspected: changes.suspected.into_iter().map(Change::from).collect(),
        })
    }

    /// Follow-ups of all incidents by due date, those without one last.
    #[graphql(complexity = "10 + usize::try_from(limit).unwrap_or_default() * child_complexity / 10")]
    async fn follow_ups(
        &self,
        context: &Context<'_>,
        state: Option<String>,
        owner: Option<String>,
        #[graphql(default = false)] overdue: bool,
        #[graphql(default = 50)] limit: i32,
    ) -> Result<Vec<FollowUp>> {
        let call = reading(context)?;
        let limit = self::limit("limit", Some(limit), 50)?;
        let wanted = told(Wanted::of(state.as_deref().into_iter(), owner.into_iter().collect(), overdue))?;
        let found = told(follow_ups::all(&call.app, &call.caller, &wanted).await)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(found.into_iter().take(limit).map(FollowUp::from).collect())
    }

    /// Gates that wait for a decision, newest first.
    #[graphql(complexity = "10 + usize::try_from(limit).unwrap_or_default() * child_complexity / 10")]
    async fn approvals(
        &self,
        context: &Context<'_>,
        #[graphql(default = 50)] limit: i32,
    ) -> Result<Vec<Gate>> {
        let call = reading(context)?;
        let limit = self::limit("limit", Some(limit), 50)?;
        let found = told(approvals::pending(&call.app, &call.caller).await)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(found.into_iter().take(limit).map(Gate::from).collect())
    }

    /// What was done to a service and its releases, the latest first.
    #[graphql(complexity = "10 + usize::try_from(limit).unwrap_or_default() * child_complexity / 10")]
    async fn audit_tail(
        &self,
        context: &Context<'_>,
        service_id: Option<ID>,
        #[graphql(default = 20)] limit: i32,
    ) -> Result<Vec<AuditEvent>> {
        let call = reading(context)?;
        let mut wanted = audit::Wanted {
            limit: usize::try_from(self::limit("limit", Some(limit), 20)?).unwrap_or_default(),
            ..audit::Wanted::default()
        };
        if let Some(service) = &service_id {
            let service: ServiceId = id("serviceId", service)?;
            wanted.streams.push(service.into());
        }
        let (events, _) = told(audit::events(&call, wanted).await)?;
        Ok(events.into_iter().map(AuditEvent::from).collect())
    }
}

/// What can be done.
pub(super) struct Mutation;

#[Object]
impl Mutation {
    /// Records a release of a service to an environment.
    async fn deploy_create(
        &self,
        context: &Context<'_>,
        service_id: ID,
        env_id: ID,
        sha: String,
        version: String,
    ) -> Result<DeployMutationResult> {
        let call = asked(context)?;
        let about = async || service_id.parse::<ServiceId>().ok();
        told(call.require_about(Right::DeployExecute, about).await)?;
        let body = ReleaseBody {
            id: None,
            service_id: service_id.to_string(),
            env_id: env_id.to_string(),
            sha,
            version,
            status: None,
            at: None,
            url: String::new(),
            rolls_back: None,
            incident: None,
            dry_run: false,
            reason: String::new(),
        };
        let (release, audit) = told(catalog::releases::deploy(&call, body).await)?;
        Ok(DeployMutationResult { release: release.into(), audit: audit.map(AuditEvent::from) })
    }

    /// Records that a release goes on to another environment.
    async fn deploy_promote(
        &self,
        context: &Context<'_>,
        release_id: ID,
        to_env_id: ID,
    ) -> Result<DeployMutationResult> {
        let call = asked(context)?;
        let (release, to) = (id("releaseId", &release_id)?, id("toEnvId", &to_env_id)?);
        told(catalog::releases::may_deploy(&call, &release).await)?;
        let (release, audit) = told(catalog::releases::promote_to(&call, &release, &to).await)?;
        Ok(DeployMutationResult { release: release.into(), audit: audit.map(AuditEvent::from) })
    }
}

async fn runs_of(context: &Context<'_>, release: &ID) -> Result<Vec<WorkflowRun>> {
    let call = reading(context)?;
    let found = context.data::<Asker>()?.runs.of(&call, &id("releaseId", release)?).await;
    Ok(told(found)?.into_iter().map(WorkflowRun).collect())
}

/// Says that these releases are about to be shown, so that their runs are read together.
fn lists<'a>(context: &Context<'_>, releases: impl IntoIterator<Item = &'a ReleaseView>) -> Result<()> {
    let ids = releases.into_iter().map(|view| view.release.id.clone());
    context.data::<Asker>()?.runs.lists(ids);
    Ok(())
}

fn incident_of(org: &OrgId, state: &IncidentState, service: &str) -> Incident {
    let page = state.links.iter().find(|link| !link.url.is_empty() && link.name.contains("pagerduty"));
    let title = state.title.as_ref().map(|text| text.shown().to_owned()).unwrap_or_default();
    Incident {
        id: ID(state.incident.clone()),
        service_id: ID(service.to_owned()),
        severity: words::severity_view(state.severity()).to_owned(),
        started_at: jiff::Timestamp::from_microsecond(state.created_at_us).unwrap_or_default().to_string(),
        status: words::status(state.state(), state.phase()).to_owned(),
        link: page
            .map(|link| link.url.clone())
            .or_else(|| Some(crate::views::source_of(state)?.1))
            .unwrap_or_else(|| format!("/orgs/{org}/incidents/{}", state.incident)),
        title,
    }
}

/// A call of whoever asks, if they may read.
fn reading(context: &Context<'_>) -> Result<Call> {
    let call = asked(context)?;
    told(call.caller.require(Right::Read, None))?;
    Ok(call)
}

/// A call of whoever asks.
fn asked(context: &Context<'_>) -> Result<Call> {
    let asker = context.data::<Asker>()?;
    // The place in the operation tells two mutations of one request from each other.
    let place = context.path_node.as_ref().map(ToString::to_string).unwrap_or_default();
    Ok(asker.call(&place, &Value::Null))
}

fn told<T>(outcome: std::result::Result<T, ApiError>) -> Result<T> {
    outcome.map_err(|error| problem(&error))
}

fn id<T: std::str::FromStr>(name: &str, id: &ID) -> Result<T>
where
    T::Err: std::fmt::Display,
{
    id.parse().map_err(|error| problem(&ApiError::Invalid(format!("{name}: {error}"))))
}

fn limit(name: &str, asked: Option<i32>, default: u32) -> Result<u32> {
    let Some(asked) = asked else { return Ok(default) };
    let fits = (1..=LIMIT).contains(&asked);
    fits.then(|| u32::try_from(asked).unwrap_or(default))
        .ok_or_else(|| problem(&ApiError::Invalid(format!("{name}: a number from 1 to {LIMIT}"))))
}

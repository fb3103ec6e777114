//! The catalog as the log keeps it: what is appended to its streams, and what is asked of its projections.

use std::collections::{BTreeMap, BTreeSet};

use harmony_catalog::{EnvironmentFact, command::Command, fold, suspects::Declared};
use harmony_incidents::{
    Answer, Context, EnvironmentId, HasStatus, OrgId, Refusal, ReleaseId, RunId, RunStatus, ServiceId,
    StreamId, Subject,
    log::{BlueprintState, IncidentState, Record, ReleaseState, RunState, ServiceState, Text},
    record::{self, Folded as _},
};
use jiff::Timestamp;
use prost::Message as _;

use crate::{
    append::{Job, JobJudge, Request, StreamTarget},
    entry::Described,
    store::{Entry, EventLog, Log, LogError, OutboxItem},
    stream::{ChainHead, StreamState},
};

/// One command of the catalog to append.
pub struct CatalogAppend<'a> {
    /// Organisation.
    pub org: &'a OrgId,
    /// A service's or an environment's.
    pub stream: &'a StreamId,
    /// Idempotency key; never expires.
    pub key: &'a str,
    /// The command, for telling a repetition from another request under the same key.
    pub command: &'a Command,
    /// Who, why, when.
    pub context: &'a Context,
    /// The last seq the caller saw, where the caller acted on what they saw.
    pub expected_seq: Option<u64>,
    /// Workflow run that asks; kept beside the records, never hashed.
    pub run_id: Option<&'a str>,
    /// Rules.
    pub judge: JobJudge<'a>,
    /// Outbox.
    pub follow: Vec<OutboxItem>,
}

/// What an append to the catalog gave.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogAppended {
    /// The answer; the first one where the command was repeated.
    pub answer: Answer,
    /// The records that the command gave, as stored.
    pub records: Vec<Entry>,
    /// Whether the key was known.
    pub repeated: bool,
    /// Whether the run that asked first is the run that asks now.
    pub same_run: bool,
    /// Where the stream stands after this; `None` where the key was known.
    pub state: Option<StreamState>,
    /// What was put into the outbox with it.
    pub follow_ups: Vec<OutboxItem>,
}

impl Request for Command {
    fn fingerprint(&self) -> BTreeMap<String, String> {
        self.fingerprint()
    }

    fn differing(&self, known: &BTreeMap<String, String>) -> Vec<String> {
        self.differing(known)
    }

    fn begins(&self) -> bool {
        matches!(self, Self::WriteService { .. } | Self::WriteEnvironment { .. })
    }

    fn redaction(&self) -> Option<(u64, Option<&str>, &str)> {
        match self {
            Self::Redact { seq, field, reason } => Some((*seq, field.as_deref(), reason)),
            _ => None,
        }
    }

    fn release(&self) -> Option<&ReleaseId> {
        self.release()
    }

    fn environments(&self) -> BTreeSet<EnvironmentId> {
        match self {
            Self::WriteService { service } => {
                let listed = service.environments.iter().map(|one| one.id.clone());
                listed.chain(service.targets.iter().map(|one| one.env_id.clone())).collect()
            }
            Self::CreateRelease { release } => BTreeSet::from([release.env.clone()]),
            Self::StartRun { env, .. } => BTreeSet::from([env.clone()]),
            _ => BTreeSet::new(),
        }
    }
}

/// Carries an append to the catalog out by way of a job.
pub(crate) async fn append<L: Log + ?Sized>(
    log: &L,
    append: &CatalogAppend<'_>,
) -> Result<CatalogAppended, LogError> {
    let follow = |_: &StreamId| append.follow.clone();
    let done = log
        .carry_out(Job {
            org: append.org,
            target: StreamTarget::Named(append.stream.clone()),
            key: append.key,
            request: append.command,
            context: append.context,
            expected_seq: append.expected_seq,
            run_id: append.run_id,
            judge: append.judge,
            follow: &follow,
            effect: None,
        })
        .await?;
    Ok(CatalogAppended {
        answer: done.answer,
        records: done.records,
        repeated: done.repeated,
        same_run: done.same_run,
        state: done.state,
        follow_ups: done.follow_ups,
    })
}

/// Which kind of entry of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatalogKind {
    /// Services.
    Service,
    /// Environments.
    Environment,
}

impl CatalogKind {
    /// The word in the store.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Environment => "environment",
        }
    }
}

/// Which entries of the catalog to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogFilter {
    /// Of this kind.
    pub kind: CatalogKind,
    /// Only these; all where there is none.
    pub ids: Vec<String>,
    /// A part of the id or the name, upper or lower case.
    pub search: Option<String>,
    /// Those that are retired, too.
    pub retired: bool,
    /// Only services with a run of a release that goes on; a gate that waits is one's.
    pub running: bool,
    /// Only those after this id.
    pub after: Option<String>,
    /// At most this many.
    pub limit: u32,
}

/// Everything that a filter asks for, however much it is, page by page.
pub async fn all(
    log: &dyn EventLog,
    org: &OrgId,
    filter: CatalogFilter,
) -> Result<Vec<StreamState>, LogError> {
    let page = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let mut filter = filter;
    let mut found = Vec::new();
    loop {
        let read = log.catalog(org, &filter).await?;
        let is_last = read.len() < page;
        filter.after = read.last().map(|state| state.subject_id().to_owned());
        found.extend(read);
        if is_last || filter.after.is_none() {
            return Ok(found);
        }
    }
}

/// The services with a run of a release that goes on, retired ones too: a gate that waits is one's.
pub async fn running_services(log: &dyn EventLog, org: &OrgId) -> Result<Vec<ServiceState>, LogError> {
    /// Services of one read.
    const PAGE: u32 = 200;
    let filter = CatalogFilter {
        kind: CatalogKind::Service,
        ids: vec![],
        search: None,
        retired: true,
        running: true,
        after: None,
        limit: PAGE,
    };
    Ok(all(log, org, filter).await?.into_iter().filter_map(StreamState::service).collect())
}

/// Which releases to list. Empty lists ask nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReleaseFilter {
    /// Only these.
    pub ids: Vec<ReleaseId>,
    /// Of these services.
    pub services: Vec<ServiceId>,
    /// To this environment.
    pub environment: Option<EnvironmentId>,
    /// That were created or settled at this time or later.
    pub since: Option<Timestamp>,
    /// Only those that were created before this one: when, and its id.
    pub before: Option<(Timestamp, ReleaseId)>,
    /// At most this many.
    pub limit: u32,
}

/// A release, and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRelease {
    /// Service.
    pub service: ServiceId,
    /// As it stands, its texts filled in.
    pub release: ReleaseState,
}

/// Which runs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of these releases.
    pub releases: Vec<ReleaseId>,
    /// Only these.
    pub ids: Vec<RunId>,
    /// At most this many.
    pub limit: u32,
}

/// A run, and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRun {
    /// Service.
    pub service: ServiceId,
    /// As it stands, its texts filled in.
    pub run: RunState,
}

/// What the catalog has around an incident.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Surroundings {
    /// Its services, and those that they depend on.
    pub services: Vec<ServiceState>,
    /// The environments that these have releases in.
    pub environments: BTreeMap<EnvironmentId, EnvironmentFact>,
}

/// Services that are looked at for one incident: its own and what they depend on.
const SERVICES_AROUND: u32 = 200;

/// What the catalog has around an incident, in a bounded number of reads.
pub async fn surroundings(
    log: &dyn EventLog,
    org: &OrgId,
    incident: &IncidentState,
) -> Result<Surroundings, LogError> {
    let page = |kind, ids: Vec<String>, search, limit| CatalogFilter {
        kind,
        ids,
        search,
        retired: true,
        running: false,
        after: None,
        limit,
    };
    let services = |ids, search| page(CatalogKind::Service, ids, search, SERVICES_AROUND);
    let declared = Declared::from(incident);
    if declared.services.is_empty() {
        return Ok(Surroundings::default());
    }
    let mut found: BTreeMap<String, ServiceState> = BTreeMap::new();
    for state in log.catalog(org, &services(declared.services.clone(), None)).await? {
        found.extend(state.service().map(|one| (one.id.clone(), one)));
    }
    // A service may be called by its name; only then is it searched for.
    let by_name: Vec<String> =
        declared.services.iter().filter(|name| !found.contains_key(*name)).cloned().collect();
    for name in by_name {
        for state in log.catalog(org, &services(Vec::new(), Some(name))).await? {
            let named = state.service().filter(|one| declared.names(one));
            found.extend(named.map(|one| (one.id.clone(), one)));
        }
    }
    let wanted: BTreeSet<String> = found.values().flat_map(|one| one.depends_on.clone()).collect();
    let wanted: Vec<String> = wanted.into_iter().filter(|id| !found.contains_key(id)).collect();
    if !wanted.is_empty() {
        for state in log.catalog(org, &services(wanted, None)).await? {
            found.extend(state.service().map(|one| (one.id.clone(), one)));
        }
    }
    let services: Vec<ServiceState> = found.into_values().collect();
    let ids: BTreeSet<String> =
        services.iter().flat_map(|one| one.releases.iter().map(|one| one.environment_id.clone())).collect();
    let mut environments = BTreeMap::new();
    if !ids.is_empty() {
        let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let filter = page(CatalogKind::Environment, ids.into_iter().collect(), None, limit);
        let fact = |state: StreamState| {
            let state = state.environment()?;
            Some((state.id.parse().ok()?, EnvironmentFact::from(&state)))
        };
        environments.extend(log.catalog(org, &filter).await?.into_iter().filter_map(fact));
    }
    Ok(Surroundings { services, environments })
}

/// Where a record stands among those of all streams.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditPlace {
    /// When it occurred, in microseconds since 1970.
    pub ts_us: i64,
    /// Its stream, as it is written.
    pub stream: String,
    /// Its seq.
    pub seq: u64,
}

/// Which records of all streams to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only of these streams.
    pub streams: Vec<StreamId>,
    /// Only by this actor.
    pub actor: Option<String>,
    /// Only of these kinds, by their names on the wire.
    pub kinds: Vec<&'static str>,
    /// Only those that occurred at this time or later.
    pub since: Option<Timestamp>,
    /// Only those of incidents that this principal may see. `None` sees private ones, too.
    pub visible_to: Option<String>,
    /// Only those beyond this place, in the order that is asked for.
    pub beyond: Option<AuditPlace>,
    /// The latest first.
    pub newest_first: bool,
    /// At most this many.
    pub limit: u32,
}

/// What lists and readers are told of a service or an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CatalogProjection {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) retired: bool,
    /// Whether a blueprint of one of its releases has no end on record.
    pub(crate) running: bool,
    pub(crate) seq: u64,
    pub(crate) head_hash: Vec<u8>,
    /// Encoded state without texts.
    pub(crate) state: Vec<u8>,
    /// Those that are to be written; all there are where it is read to be verified.
    pub(crate) rows: CatalogRows,
}

/// What is kept of a release beyond its service's state, which forgets old ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReleaseRow {
    pub(crate) environment: String,
    pub(crate) created_at_us: i64,
    /// When it last changed its status.
    pub(crate) changed_at_us: i64,
    /// Encoded [`ReleaseState`] without texts.
    pub(crate) document: Vec<u8>,
}

/// What is kept of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunRow {
    pub(crate) release: String,
    pub(crate) started_at_us: i64,
    /// Encoded [`RunState`] without texts.
    pub(crate) document: Vec<u8>,
}

/// Releases and runs as records left them, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CatalogRows {
    pub(crate) releases: BTreeMap<String, ReleaseRow>,
    pub(crate) runs: BTreeMap<String, RunRow>,
}

impl CatalogRows {
    /// Those that these records change, which follow a head.
    pub(crate) fn between<'r>(head: &ChainHead, records: impl Iterator<Item = &'r Record>) -> Self {
        let mut rows = Self::default();
        if matches!(head.state, StreamState::Service(_)) {
            let mut state = head.state.clone();
            for record in records {
                state = state.fold(record);
                rows.touch(record, &state);
            }
        }
        rows
    }

    /// What a record changes, as it stands in the state after it.
    pub(crate) fn touch(&mut self, record: &Record, state: &StreamState) {
        let StreamState::Service(state) = state else { return };
        let touched = fold::touched(record);
        for release in state.releases.iter().filter(|one| touched.releases.contains(&one.release_id)) {
            self.releases.insert(release.release_id.clone(), ReleaseRow::of(release));
        }
        for run in state.runs.iter().filter(|one| touched.runs.contains(&one.run_id)) {
            self.runs.insert(run.run_id.clone(), RunRow::of(run));
        }
    }
}

impl CatalogProjection {
    /// Of the state at a head.
    pub(crate) fn of(stream: &StreamId, head: &ChainHead, rows: CatalogRows) -> Self {
        let mut bare = head.state.clone();
        record::strip(&mut bare);
        let (kind, id) = kind_and_id(stream);
        let (name, retired, running) = match &bare {
            StreamState::Service(state) => (state.name.clone(), state.retired, is_running(state)),
            StreamState::Environment(state) => (state.name.clone(), state.retired, false),
            StreamState::Incident(_) => (String::new(), false, false),
        };
        Self {
            kind,
            id,
            name,
            retired,
            running,
            seq: bare.seq(),
            head_hash: head.hash.to_vec(),
            state: bare.encoded(),
            rows,
        }
    }
}

/// What whoever gives a new release or run this id is told, where another service has it.
pub(crate) fn taken(what: &str, id: &str) -> LogError {
    let explanation = format!("{what} {id} is another service's: give this one another id");
    LogError::Refused(Refusal::Illegal { explanation })
}

/// The word of its kind, and the id within that.
pub(crate) fn kind_and_id(stream: &StreamId) -> (&'static str, String) {
    match stream.subject() {
        Subject::Service(id) => (CatalogKind::Service.name(), id.to_string()),
        Subject::Environment(id) => (CatalogKind::Environment.name(), id.to_string()),
        Subject::Incident(id) => ("", id.to_string()),
    }
}

fn is_running(state: &ServiceState) -> bool {
    let open = |one: &BlueprintState| one.status().is_some_and(RunStatus::is_open);
    state.flow.as_ref().is_some_and(|flow| flow.blueprints.iter().any(open))
}

impl ReleaseRow {
    fn of(release: &ReleaseState) -> Self {
        let mut release = release.clone();
        bare(release.reason.as_mut());
        Self {
            environment: release.environment_id.clone(),
            created_at_us: release.created_at_us,
            changed_at_us: release.settled_at_us.max(release.created_at_us),
            document: release.encode_to_vec(),
        }
    }
}

impl RunRow {
    fn of(run: &RunState) -> Self {
        let mut run = run.clone();
        bare(run.reason.as_mut());
        Self {
            release: run.release_id.clone(),
            started_at_us: run.started_at_us,
            document: run.encode_to_vec(),
        }
    }
}

/// Leaves the commitment of a text alone.
fn bare(text: Option<&mut Text>) {
    if let Some(text) = text {
        text.text.clear();
        text.redacted = false;
    }
}

impl Described for StoredRelease {
    fn stream(&self) -> String {
        StreamId::from(self.service.clone()).to_string()
    }

    fn texts(&mut self) -> Vec<&mut Text> {
        self.release.reason.as_mut().into_iter().collect()
    }
}

impl Described for StoredRun {
    fn stream(&self) -> String {
        StreamId::from(self.service.clone()).to_string()
    }

    fn texts(&mut self) -> Vec<&mut Text> {
        self.run.reason.as_mut().into_iter().collect()
    }
}

//! The six shapes of the catalog as JSON writes them, and how they are made from the log's states and payloads.
//!
//! The fields of the contract come first and are always written; what stands below them is an extension and is left
//! out where it is empty, so that a document without extensions comes back as it was sent. A field that no shape has is
//! refused with its name: a misspelled one would otherwise be lost without a word.

use std::collections::BTreeMap;

use harmony_incidents::{
    EnvironmentId, IncidentId, ReleaseId, RunId, ServiceId, StreamId,
    ids::IdError,
    log::{
        self, EnvironmentState, EnvironmentWritten, IncidentState, LogLevel, Pair, ReleaseState,
        ReleaseStatus, RunKind, RunLogged, RunState, ServiceState, ServiceWritten, Severity,
    },
    words as machine_words,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::words::{self, PolicyOutcome, RunOutcome, Source};

/// A service: what is deployed, how, and where to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// Unique and stable for ever.
    pub id: ServiceId,
    /// For people.
    pub name: String,
    /// Where its source is: `github.com/blackroad/demo`.
    #[serde(default)]
    pub repo: String,
    /// How it can be deployed.
    #[serde(default)]
    pub adapters: Adapters,
    /// Where it runs.
    #[serde(default)]
    pub environments: Vec<EnvironmentRef>,
    /// The services that it does not work without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<ServiceId>,
    /// The team or person who answers for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// How it is deployed to each environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// Whatever else its owners want to find it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Nothing new happens to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retired: bool,
}

/// The adapters of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Adapters {
    /// Names of the registry ([`crate::adapters`]).
    #[serde(default)]
    pub deployments: Vec<String>,
}

/// An environment that a service runs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvironmentRef {
    /// Which.
    pub id: EnvironmentId,
    /// The environment's own name; filled in where it is left out.
    #[serde(default)]
    pub name: String,
}

/// How a service is deployed to one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// Where.
    pub env_id: EnvironmentId,
    /// By which adapter.
    pub adapter: String,
    /// What the adapter needs to know: `namespace`, `deployment`, `container`, `runbook`, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

/// A place to which services are deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Environment {
    /// Unique and stable for ever.
    pub id: EnvironmentId,
    /// For people.
    pub name: String,
    /// Where it is. Production says so; elsewhere the adapter's own default fills in.
    #[serde(default)]
    pub region: String,
    /// Which cluster it is. As `region`.
    #[serde(default)]
    pub cluster: String,
    /// `policy:<kind>:<name>`, each a versioned file.
    #[serde(default)]
    pub policy_refs: Vec<String>,
    /// Whether it serves customers. Left out where it is what the name says: `prod` and `production` do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub production: Option<bool>,
    /// The region was not given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub region_defaulted: bool,
    /// The cluster was not given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cluster_defaulted: bool,
    /// Whatever else it is to be found by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Nothing new happens in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retired: bool,
}

/// One artifact of a service in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// Unique and stable for ever.
    pub id: ReleaseId,
    /// Of which service.
    pub service_id: ServiceId,
    /// Fingerprint of the artifact. It never changes.
    pub sha: String,
    /// For people: a tag, a date.
    #[serde(default)]
    pub version: String,
    /// In which environment.
    pub env_id: EnvironmentId,
    /// `Draft` → `Promoting` → `Active` or `Failed`.
    #[serde(with = "words::release_status")]
    pub status: ReleaseStatus,
    /// The release of another environment whose artifact this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_from: Option<ReleaseId>,
    /// The release of this environment that it takes the place of, because that one was bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolls_back: Option<ReleaseId>,
    /// Which door told of it, where that was none of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Its page at that source.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// The incident that it is meant to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
}

/// A run that deploys or promotes a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkflowRun {
    /// Unique and stable for ever.
    pub id: RunId,
    /// `Deploy` or `Promote`.
    #[serde(with = "words::run_kind")]
    pub kind: RunKind,
    /// Principal's id.
    pub actor: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; left out while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// What it said, in time.
    #[serde(default)]
    pub logs: Vec<LogEntry>,
    /// Of which release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_id: Option<ReleaseId>,
    /// To which environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_id: Option<EnvironmentId>,
    /// By which adapter.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub adapter: String,
    /// It ends after plan and policies and changes nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RunOutcome>,
    /// Why it ended so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the environment's policies said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<PolicyOutcome>,
    /// Its workflow.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub workflow_id: String,
}

/// One line of a run's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogEntry {
    /// When it was said.
    pub ts: Timestamp,
    /// `debug`, `info`, `warn` or `error`.
    #[serde(with = "words::log_level")]
    pub level: LogLevel,
    /// For people. Masked and bounded before it gets here.
    pub message: String,
    /// For programs.
    #[serde(default)]
    pub meta: Map<String, Value>,
}

/// An incident as the catalog shows it beside a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Incident {
    /// The source system's id: `INC-2026-0001` for one of ours.
    pub id: String,
    /// Which service.
    pub service_id: ServiceId,
    /// `low`, `medium`, `high` or `critical`.
    #[serde(with = "words::severity")]
    pub severity: Severity,
    /// When it was declared.
    pub started_at: Timestamp,
    /// The source system's word; for one of ours that of the `status` view.
    pub status: String,
    /// Its page at the source.
    pub link: String,
}

/// One thing that somebody did, from a record of any stream ([`crate::audit`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditEvent {
    /// When.
    pub ts: Timestamp,
    /// Principal's id.
    pub actor: String,
    /// What, dotted: `release.promote`.
    pub action: String,
    /// To what kind of thing: `Release`.
    pub subject_type: String,
    /// To which.
    pub subject_id: String,
    /// Typed fields only: nothing that a person or a vendor wrote freely, so nothing secret.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// The chain that the record stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamId>,
    /// Its place there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

impl Service {
    /// The payload that writes it.
    pub fn written(&self) -> ServiceWritten {
        let mut targets: Vec<log::DeploymentTarget> = self
            .targets
            .iter()
            .map(|target| log::DeploymentTarget {
                environment_id: target.env_id.to_string(),
                adapter: target.adapter.clone(),
                settings: pairs(&target.settings),
            })
            .collect();
        targets.sort_by(|a, b| (&a.environment_id, &a.adapter).cmp(&(&b.environment_id, &b.adapter)));
        ServiceWritten {
            name: self.name.clone(),
            repo: self.repo.clone(),
            deployments: self.adapters.deployments.clone(),
            environments: self
                .environments
                .iter()
                .map(|one| log::EnvironmentRef { id: one.id.to_string(), name: one.name.clone() })
                .collect(),
            depends_on: self.depends_on.iter().map(ToString::to_string).collect(),
            owner: self.owner.clone(),
            targets,
            labels: pairs(&self.labels),
        }
    }
}

impl TryFrom<&ServiceState> for Service {
    type Error = IdError;
    fn try_from(state: &ServiceState) -> Result<Self, IdError> {
        let environment =
            |one: &log::EnvironmentRef| Ok(EnvironmentRef { id: one.id.parse()?, name: one.name.clone() });
        let target = |one: &log::DeploymentTarget| {
            Ok(Target {
                env_id: one.environment_id.parse()?,
                adapter: one.adapter.clone(),
                settings: map(&one.settings),
            })
        };
        Ok(Self {
            id: state.id.parse()?,
            name: state.name.clone(),
            repo: state.repo.clone(),
            adapters: Adapters { deployments: state.deployments.clone() },
            environments: state.environments.iter().map(environment).collect::<Result<_, IdError>>()?,
            depends_on: state.depends_on.iter().map(|id| id.parse()).collect::<Result<_, _>>()?,
            owner: state.owner.clone(),
            targets: state.targets.iter().map(target).collect::<Result<_, IdError>>()?,
            labels: map(&state.labels),
            retired: state.retired,
        })
    }
}

/// Whether an environment of this name serves customers where nobody says otherwise.
pub fn is_production_by_name(name: &str) -> bool {
    ["prod", "production"].iter().any(|one| name.trim().eq_ignore_ascii_case(one))
}

impl Environment {
    /// Whether it serves customers: as it says, or as its name does.
    pub fn is_production(&self) -> bool {
        self.production.unwrap_or_else(|| is_production_by_name(&self.name))
    }

    /// The payload that writes it, defaults filled in.
    pub fn written(&self) -> EnvironmentWritten {
        EnvironmentWritten {
            name: self.name.clone(),
            region: self.region.clone(),
            cluster: self.cluster.clone(),
            policy_refs: self.policy_refs.clone(),
            production: self.is_production(),
            region_defaulted: self.region_defaulted,
            cluster_defaulted: self.cluster_defaulted,
            labels: pairs(&self.labels),
        }
    }
}

impl TryFrom<&EnvironmentState> for Environment {
    type Error = IdError;
    fn try_from(state: &EnvironmentState) -> Result<Self, IdError> {
        let by_name = is_production_by_name(&state.name);
        Ok(Self {
            id: state.id.parse()?,
            name: state.name.clone(),
            region: state.region.clone(),
            cluster: state.cluster.clone(),
            policy_refs: state.policy_refs.clone(),
            production: (state.production != by_name).then_some(state.production),
            region_defaulted: state.region_defaulted,
            cluster_defaulted: state.cluster_defaulted,
            labels: map(&state.labels),
            retired: state.retired,
        })
    }
}

impl Release {
    /// A release of the folded state of its service.
    pub fn of(service: &ServiceId, state: &ReleaseState) -> Result<Self, IdError> {
        Ok(Self {
            id: state.release_id.parse()?,
            service_id: service.clone(),
            sha: state.sha.clone(),
            version: state.version.clone(),
            env_id: state.environment_id.parse()?,
            status: state.status(),
            promoted_from: optional(&state.promoted_from)?,
            rolls_back: optional(&state.rolls_back)?,
            source: state.source.parse().ok().filter(|source| *source != Source::Api),
            url: state.url.clone(),
            incident: optional(&state.incident)?,
        })
    }
}

impl WorkflowRun {
    /// A run of the folded state of its service, with what it said.
    pub fn of(state: &RunState, logs: Vec<LogEntry>) -> Result<Self, IdError> {
        Ok(Self {
            id: state.run_id.parse()?,
            kind: state.kind(),
            actor: state.actor.clone(),
            started_at: time(state.started_at_us),
            finished_at: (state.finished_at_us != 0).then(|| time(state.finished_at_us)),
            logs,
            release_id: optional(&state.release_id)?,
            env_id: optional(&state.environment_id)?,
            adapter: state.adapter.clone(),
            dry_run: state.dry_run,
            outcome: state.outcome.parse().ok(),
            reason: state.reason.as_ref().map(|text| text.shown().to_owned()).unwrap_or_default(),
            policies: state.policies.parse().ok(),
            workflow_id: state.workflow_id.clone(),
        })
    }
}

impl LogEntry {
    /// The line that a record holds.
    pub fn of(line: &RunLogged) -> Self {
        Self {
            ts: time(line.ts_us),
            level: line.level(),
            message: line.message.as_ref().map(|text| text.shown().to_owned()).unwrap_or_default(),
            meta: line.meta.iter().map(|pair| (pair.name.clone(), meta_value(&pair.value))).collect(),
        }
    }

    /// The payload that records it.
    pub fn logged(&self, run: &RunId) -> RunLogged {
        let mut meta: Vec<Pair> = self
            .meta
            .iter()
            .map(|(name, value)| Pair { name: name.clone(), value: meta_text(value) })
            .collect();
        meta.sort_by(|a, b| a.name.cmp(&b.name));
        RunLogged {
            run_id: run.to_string(),
            level: self.level.into(),
            message: log::Text::optional(&self.message),
            meta,
            ts_us: self.ts.as_microsecond(),
        }
    }
}

impl Incident {
    /// An incident of ours beside one of its services; `link` is its page in the console or at the vendor.
    pub fn of(state: &IncidentState, service: &ServiceId, link: String) -> Self {
        Self {
            id: state.incident.clone(),
            service_id: service.clone(),
            severity: state.severity(),
            started_at: time(state.created_at_us),
            status: machine_words::status(state.state(), state.phase()).to_owned(),
            link,
        }
    }
}

/// A value as the log keeps it: JSON, or a string as it is where nothing else reads like it.
fn meta_text(value: &Value) -> String {
    match value {
        Value::String(text) if serde_json::from_str::<Value>(text).is_err() => text.clone(),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => value.to_string(),
    }
}

fn meta_value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<Pair> {
    map.iter().map(|(name, value)| Pair { name: name.clone(), value: value.clone() }).collect()
}

fn map(pairs: &[Pair]) -> BTreeMap<String, String> {
    pairs.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect()
}

/// An id that may be absent, which the log writes as the empty string.
fn optional<Id: std::str::FromStr<Err = IdError>>(text: &str) -> Result<Option<Id>, IdError> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

pub(crate) fn time(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::*;

    fn service() -> Value {
        json!({
            "id": "svc-demo",
            "name": "Demo Service",
            "repo": "github.com/blackroad/demo",
            "adapters": { "deployments": ["aws", "fly"] },
            "environments": [{ "id": "env-staging", "name": "staging" }, { "id": "env-prod", "name": "prod" }]
        })
    }

    fn environment() -> Value {
        json!({
            "id": "env-prod",
            "name": "prod",
            "region": "us-east-1",
            "cluster": "prod-cluster",
            "policyRefs": ["policy:change-window:weekday"]
        })
    }

    fn release() -> Value {
        json!({
            "id": "rel-123",
            "serviceId": "svc-demo",
            "sha": "9f3b7de",
            "version": "2024.10.01",
            "envId": "env-staging",
            "status": "Active"
        })
    }

    fn run() -> Value {
        json!({
            "id": "run-456",
            "kind": "Deploy",
            "actor": "alice@blackroad.io",
            "startedAt": "2024-10-01T18:32:00Z",
            "finishedAt": "2024-10-01T18:36:12Z",
            "logs": [
                { "ts": "2024-10-01T18:32:05Z", "level": "info", "message": "Plan generated", "meta": { "steps": 4 } }
            ]
        })
    }

    fn incident() -> Value {
        json!({
            "id": "inc-789",
            "serviceId": "svc-demo",
            "severity": "high",
            "startedAt": "2024-10-02T03:20:00Z",
            "status": "acknowledged",
            "link": "https://incidents.example.com/inc-789"
        })
    }

    fn audit_event() -> Value {
        json!({
            "ts": "2024-10-02T03:21:30Z",
            "actor": "alice@blackroad.io",
            "action": "deploy.create",
            "subjectType": "Release",
            "subjectId": "rel-123",
            "metadata": { "serviceId": "svc-demo", "envId": "env-prod" }
        })
    }

    fn compare<T: Serialize + DeserializeOwned>(document: &Value) -> T {
        let read: T = serde_json::from_value(document.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), *document);
        read
    }

    #[test]
    fn the_six_examples_of_the_contract_come_back_as_they_were_sent() {
        compare::<Service>(&service());
        compare::<Environment>(&environment());
        compare::<Release>(&release());
        compare::<WorkflowRun>(&run());
        compare::<Incident>(&incident());
        compare::<AuditEvent>(&audit_event());
    }

    #[test]
    fn they_come_back_the_same_from_the_state_that_their_payloads_fold_to() {
        let read: Service = compare(&service());
        let written = read.written();
        let state = ServiceState {
            id: "svc-demo".to_owned(),
            name: written.name,
            repo: written.repo,
            deployments: written.deployments,
            environments: written.environments,
            ..ServiceState::default()
        };
        assert_eq!(serde_json::to_value(Service::try_from(&state).unwrap()).unwrap(), service());

        let read: Environment = compare(&environment());
        let written = read.written();
        assert!(written.production);
        let state = EnvironmentState {
            id: "env-prod".to_owned(),
            name: written.name,
            region: written.region,
            cluster: written.cluster,
            policy_refs: written.policy_refs,
            production: written.production,
            ..EnvironmentState::default()
        };
        assert_eq!(serde_json::to_value(Environment::try_from(&state).unwrap()).unwrap(), environment());

        let state = ReleaseState {
            release_id: "rel-123".to_owned(),
            environment_id: "env-staging".to_owned(),
            sha: "9f3b7de".to_owned(),
            version: "2024.10.01".to_owned(),
            status: ReleaseStatus::Active.into(),
            source: Source::Api.into(),
            ..ReleaseState::default()
        };
        let service: ServiceId = "svc-demo".parse().unwrap();
        assert_eq!(serde_json::to_value(Release::of(&service, &state).unwrap()).unwrap(), release());
    }

    #[test]
    fn what_stands_beside_a_log_line_keeps_its_types() {
        let meta = json!({
            "steps": 4, "ratio": 0.5, "dry": true, "none": null, "name": "web", "digits": "4", "quoted": "\"a\"",
            "list": [1, "two"], "truth": "true", "empty": ""
        });
        let line = LogEntry {
            ts: "2024-10-01T18:32:05Z".parse().unwrap(),
            level: LogLevel::Warn,
            message: "Plan generated".to_owned(),
            meta: meta.as_object().cloned().unwrap(),
        };
        let logged = line.logged(&"run-456".parse().unwrap());
        assert!(logged.meta.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(logged.meta.iter().find(|pair| pair.name == "name").unwrap().value, "web");
        assert_eq!(LogEntry::of(&logged), line);
    }

    #[test]
    fn a_field_that_no_shape_has_is_refused_by_its_name() {
        let with = |mut document: Value, name: &str| {
            document[name] = json!("x");
            document
        };
        let refused = |error: serde_json::Error| {
            let error = error.to_string();
            assert!(error.contains("unknown field `colour`"), "{error}");
        };
        refused(serde_json::from_value::<Service>(with(service(), "colour")).unwrap_err());
        refused(serde_json::from_value::<Environment>(with(environment(), "colour")).unwrap_err());
        refused(serde_json::from_value::<Release>(with(release(), "colour")).unwrap_err());
        refused(serde_json::from_value::<WorkflowRun>(with(run(), "colour")).unwrap_err());
        refused(serde_json::from_value::<Incident>(with(incident(), "colour")).unwrap_err());
        refused(serde_json::from_value::<AuditEvent>(with(audit_event(), "colour")).unwrap_err());
        let error = serde_json::from_value::<Release>(with(release(), "status")).unwrap_err().to_string();
        assert!(error.contains("Draft, Promoting, Active, Failed"), "{error}");
    }

    #[test]
    fn an_unfinished_run_has_no_end() {
        let state = RunState {
            run_id: "run-456".to_owned(),
            kind: RunKind::Deploy.into(),
            actor: "alice@blackroad.io".to_owned(),
            started_at_us: 1_727_807_520_000_000,
            ..RunState::default()
        };
        let shown = serde_json::to_value(WorkflowRun::of(&state, Vec::new()).unwrap()).unwrap();
        assert_eq!(
            shown,
            json!({
                "id": "run-456", "kind": "Deploy", "actor": "alice@blackroad.io", "startedAt": "2024-10-01T18:32:00Z",
                "logs": []
            })
        );
    }
}

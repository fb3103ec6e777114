//! A catalog in memory: commands are judged against folded states, and what they record is folded, as a store does it.

use std::collections::BTreeMap;

use harmony_catalog::{
    Command, EnvironmentFact, Facts, NewRelease, fold, judge::flow_of, judge_environment, judge_service,
};
use harmony_incidents::{
    self as incidents, Answer, Context, EnvironmentId, Head, Judged, OrgId, Refusal, ReleaseId, RuleSet,
    ServiceId, StreamId,
    log::{Authority, Cause, EnvironmentState, Record, ReleaseStatus, ServiceState, Text, payload::Kind},
    record::{ChainHead, Folded, SaltKey, append},
};
use jiff::{SignedDuration, Timestamp};
use prost::Message;
use serde_json::{Value, json};

/// A service in the chain of its records.
#[derive(Clone, Default)]
struct Chained(ServiceState);

impl Folded for Chained {
    fn seq(&self) -> u64 {
        self.0.seq
    }
    fn fold(self, record: &Record) -> Self {
        Self(fold::service(self.0, record))
    }
    fn texts(&mut self) -> Vec<&mut Text> {
        harmony_protos::service_texts(&mut self.0)
    }
    fn encoded(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }
}

pub(crate) struct World {
    pub(crate) services: BTreeMap<ServiceId, ServiceState>,
    pub(crate) environments: BTreeMap<EnvironmentId, EnvironmentState>,
    /// Whose each release that was ever created is.
    pub(crate) owners: BTreeMap<ReleaseId, ServiceId>,
    /// Every record, by stream.
    pub(crate) records: BTreeMap<String, Vec<Record>>,
    pub(crate) context: Context,
    pub(crate) rules: RuleSet,
}

pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

pub(crate) fn command(document: Value) -> Command {
    serde_json::from_value(document).unwrap()
}

/// A release that `source` tells of.
pub(crate) fn told(source: &str, id: &str, env: &str, sha: &str, status: &str) -> Command {
    let release: NewRelease = serde_json::from_value(
        json!({ "id": id, "env": env, "sha": sha, "version": "1.0", "source": source, "status": status }),
    )
    .unwrap();
    Command::CreateRelease { release: Box::new(release) }
}

impl World {
    /// Nothing yet, at noon.
    pub(crate) fn empty() -> Self {
        Self {
            services: BTreeMap::new(),
            environments: BTreeMap::new(),
            owners: BTreeMap::new(),
            records: BTreeMap::new(),
            context: Context {
                actor: "alice@blackroad.io".to_owned(),
                authority: Authority::HumanOperator,
                cause: Cause::default(),
                occurred_at: parsed("2026-01-01T12:00:00Z"),
            },
            rules: RuleSet::default(),
        }
    }

    /// With the service and the environments of the contract's examples.
    pub(crate) fn demo() -> Self {
        let mut world = Self::empty();
        world.write_environment(json!({ "id": "env-staging", "name": "staging" })).unwrap();
        world
            .write_environment(
                json!({ "id": "env-prod", "name": "prod", "region": "us-east-1", "cluster": "prod-cluster" }),
            )
            .unwrap();
        world.write_service(demo_service()).unwrap();
        world
    }

    pub(crate) fn pass(&mut self, time: SignedDuration) {
        self.context.occurred_at += time;
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.context.occurred_at
    }

    pub(crate) fn write_service(&mut self, service: Value) -> Result<Answer, Refusal> {
        let id = service["id"].as_str().unwrap().to_owned();
        self.ask(&id, &command(json!({ "type": "writeService", "service": service })))
    }

    pub(crate) fn write_environment(&mut self, environment: Value) -> Result<Answer, Refusal> {
        let id = environment["id"].as_str().unwrap().to_owned();
        self.ask_environment(&id, &command(json!({ "type": "writeEnvironment", "environment": environment })))
    }

    pub(crate) fn facts(&self, command: &Command) -> Facts {
        Facts {
            environments: self
                .environments
                .iter()
                .map(|(id, state)| (id.clone(), EnvironmentFact::from(state)))
                .collect(),
            taken: command.release().and_then(|release| self.owners.get(release)).cloned(),
        }
    }

    /// Asks the stream of a service.
    pub(crate) fn ask(&mut self, service: &str, command: &Command) -> Result<Answer, Refusal> {
        let id: ServiceId = parsed(service);
        let state = self.services.get(&id).cloned().unwrap_or_default();
        let facts = self.facts(command);
        let judged = judge_service(&state, command, &self.context, &facts)?;
        for payload in &judged.payloads {
            if let Some(Kind::ReleaseCreated(created)) = &payload.kind {
                self.owners.insert(parsed(&created.release_id), id.clone());
            }
        }
        let (answer, state) = self.record(id.clone().into(), Chained(state), judged);
        if state.0.seq > 0 {
            self.services.insert(id, state.0);
        }
        Ok(answer)
    }

    /// Asks the demo service's stream what a run's blueprint asks, or somebody at its gate.
    pub(crate) fn demo_flow_asks(&mut self, command: &incidents::Command) -> Result<Answer, Refusal> {
        let id: ServiceId = parsed("svc-demo");
        let state = self.services[&id].clone();
        let flow = flow_of(&state);
        let judged = incidents::judge(Head { state: &flow }, command, &self.context, self.rules.rules())?;
        let (answer, state) = self.record(id.clone().into(), Chained(state), judged);
        self.services.insert(id, state.0);
        Ok(answer)
    }

    /// Asks the stream of an environment.
    pub(crate) fn ask_environment(&mut self, id: &str, command: &Command) -> Result<Answer, Refusal> {
        let id: EnvironmentId = parsed(id);
        let mut state = self.environments.get(&id).cloned().unwrap_or_default();
        let judged = judge_environment(&state, command, &self.context)?;
        let stream: StreamId = id.clone().into();
        for payload in judged.payloads {
            let record = Record {
                org: "default".to_owned(),
                subject: stream.to_string(),
                seq: state.seq + 1,
                occurred_at_us: self.context.occurred_at.as_microsecond(),
                actor: self.context.actor.clone(),
                payload: Some(payload),
                ..Record::default()
            };
            state = fold::environment(state, &record);
            self.records.entry(stream.to_string()).or_default().push(record);
        }
        if state.seq > 0 {
            self.environments.insert(id, state);
        }
        Ok(judged.answer)
    }

    fn record(&mut self, stream: StreamId, state: Chained, judged: Judged) -> (Answer, Chained) {
        let context = judged.context(&self.context);
        let head = ChainHead::before(state);
        let salt = SaltKey::parse(&"07".repeat(32)).unwrap();
        let org = OrgId::default();
        let (sealed, head) = append(&org, &stream, &head, "key", &context, judged.payloads, &salt);
        self.records
            .entry(stream.to_string())
            .or_default()
            .extend(sealed.into_iter().map(|sealed| sealed.record));
        (judged.answer, head.state)
    }

    /// Asks the stream of the demo service.
    pub(crate) fn demo_asks(&mut self, command: &Command) -> Result<Answer, Refusal> {
        self.ask("svc-demo", command)
    }

    /// As [`Self::demo_asks`], from JSON.
    pub(crate) fn demo_asks_for(&mut self, document: Value) -> Result<Answer, Refusal> {
        self.demo_asks(&command(document))
    }

    pub(crate) fn demo_state(&self) -> &ServiceState {
        &self.services[&parsed::<ServiceId>("svc-demo")]
    }

    /// The status of a release of the demo service.
    pub(crate) fn status(&self, release: &str) -> ReleaseStatus {
        self.demo_state().releases.iter().find(|one| one.release_id == release).unwrap().status()
    }

    /// A release that is active, a minute later.
    pub(crate) fn activate(&mut self, id: &str, env: &str, sha: &str) {
        self.pass(SignedDuration::from_mins(1));
        self.demo_asks(&told("github", id, env, sha, "Active")).unwrap();
    }
}

pub(crate) fn demo_service() -> Value {
    json!({
        "id": "svc-demo",
        "name": "Demo Service",
        "repo": "github.com/blackroad/demo",
        "adapters": { "deployments": ["aws", "k8s"] },
        "environments": [{ "id": "env-staging", "name": "staging" }, { "id": "env-prod", "name": "prod" }]
    })
}

//! Identities: organisations, incidents, workflows, gates and the keys of effects.
//!
//! Each is its own type and is checked when it is made, so that what is inside can be put into paths, queries and
//! hashes as it is.

use std::{fmt, ops::Deref, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::promotion::CandidateId;

/// Namespace of every `UUIDv5` that Harmony derives. A fixed random value; it never changes.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_9c62_52d5_4c0e_9a53_7d1b_3a8e_4f10);

/// What is wrong with an identity that somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {expected}")]
pub struct IdError {
    what: &'static str,
    value: String,
    expected: &'static str,
}

macro_rules! text_id {
    ($name:ident) => {
        impl $name {
            /// The id as it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

/// An organisation: every row and every query carries one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OrgId(String);
text_id!(OrgId);

impl Default for OrgId {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl FromStr for OrgId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let fits = (1..=63).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !text.starts_with('-');
        fits.then(|| Self(text.to_owned())).ok_or_else(|| IdError {
            what: "organisation",
            value: text.chars().take(80).collect(),
            expected: "1 to 63 of a-z, 0-9 and -, not starting with -",
        })
    }
}

/// `INC-<year>-<number, at least 4 digits>`, gap-free per organisation and year. It names the incident's stream, too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IncidentId(StreamId);

impl Deref for IncidentId {
    type Target = StreamId;
    fn deref(&self) -> &StreamId {
        &self.0
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl TryFrom<String> for IncidentId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<IncidentId> for String {
    fn from(id: IncidentId) -> Self {
        id.0.into()
    }
}

impl IncidentId {
    /// The id of the `number`th incident of a year.
    pub fn new(year: i16, number: u64) -> Self {
        Self(StreamId(format!("INC-{year:04}-{number:04}")))
    }

    /// The id as it is written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Year and number.
    pub fn parts(&self) -> (i16, u64) {
        let mut parts = self.as_str().splitn(3, '-').skip(1);
        let year = parts.next().and_then(|text| text.parse().ok()).unwrap_or_default();
        let number = parts.next().and_then(|text| text.parse().ok()).unwrap_or_default();
        (year, number)
    }
}

impl FromStr for IncidentId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError {
            what: "incident",
            value: text.chars().take(80).collect(),
            expected: "INC-<year>-<number>, such as INC-2026-0001",
        };
        let (year, number) =
            text.strip_prefix("INC-").and_then(|rest| rest.split_once('-')).ok_or_else(error)?;
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if year.len() != 4 || !digits(year) || !digits(number) || !(4..=18).contains(&number.len()) {
            return Err(error());
        }
        let id = Self(StreamId(text.to_owned()));
        let (year, number) = id.parts();
        // One spelling per incident: no leading zeros beyond four digits, no number 0.
        (number > 0 && Self::new(year, number) == id).then_some(id).ok_or_else(error)
    }
}

/// An id of the catalog: a service, an environment, a release or a run. Unique in its organisation, stable for ever.
fn catalog_id(what: &'static str, text: &str) -> Result<String, IdError> {
    let fits = (1..=100).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && text.as_bytes()[0].is_ascii_alphanumeric();
    fits.then(|| text.to_owned()).ok_or_else(|| IdError {
        what,
        value: text.chars().take(120).collect(),
        expected: "1 to 100 of a-z, A-Z, 0-9, -, _ and ., starting with a letter or a digit",
    })
}

macro_rules! catalog_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);
        text_id!($name);

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                catalog_id($what, text).map(Self)
            }
        }
    };
}

catalog_id! {
    /// A service of the catalog, such as `svc-demo`.
    ServiceId, "service"
}
catalog_id! {
    /// An environment of the catalog, such as `env-prod`.
    EnvironmentId, "environment"
}
catalog_id! {
    /// A release of a service to an environment, such as `rel-123`.
    ReleaseId, "release"
}
catalog_id! {
    /// A run that deploys or promotes a release, such as `run-456`.
    RunId, "run"
}

/// A chain of records: an incident's, written as its id alone, a service's (`svc/<id>`) or an environment's
/// (`env/<id>`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamId(String);
text_id!(StreamId);

/// Whose chain it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An incident.
    Incident(IncidentId),
    /// A service: its releases and runs stand in its stream, too.
    Service(ServiceId),
    /// An environment, without the releases in it.
    Environment(EnvironmentId),
}

impl Subject {
    /// Incidents by year and number, then environments, then services, by id.
    fn place(&self) -> (u8, i16, u64, &str) {
        match self {
            Self::Incident(incident) => {
                let (year, number) = incident.parts();
                (0, year, number, "")
            }
            Self::Environment(id) => (1, 0, 0, id.as_str()),
            Self::Service(id) => (2, 0, 0, id.as_str()),
        }
    }
}

impl StreamId {
    /// How a service's begins.
    const SERVICE: &str = "svc/";
    /// How an environment's begins.
    const ENVIRONMENT: &str = "env/";

    /// Whose it is.
    pub fn subject(&self) -> Subject {
        if let Some(id) = self.0.strip_prefix(Self::SERVICE) {
            Subject::Service(ServiceId(id.to_owned()))
        } else if let Some(id) = self.0.strip_prefix(Self::ENVIRONMENT) {
            Subject::Environment(EnvironmentId(id.to_owned()))
        } else {
            Subject::Incident(IncidentId(self.clone()))
        }
    }

    /// What whose chain it is is called: `incident`, `service` or `environment`.
    pub fn kind(&self) -> &'static str {
        match self.subject() {
            Subject::Incident(_) => "incident",
            Subject::Service(_) => "service",
            Subject::Environment(_) => "environment",
        }
    }

    /// The incident, where it is one's.
    pub fn incident(&self) -> Option<IncidentId> {
        match self.subject() {
            Subject::Incident(incident) => Some(incident),
            Subject::Service(_) | Subject::Environment(_) => None,
        }
    }
}

/// In the order of exports and checkpoints: incidents by year and number, then environments, then services, by id.
impl Ord for StreamId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.subject().place().cmp(&other.subject().place())
    }
}

impl PartialOrd for StreamId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for StreamId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if let Some(id) = text.strip_prefix(Self::SERVICE) {
            id.parse::<ServiceId>().map(Self::from)
        } else if let Some(id) = text.strip_prefix(Self::ENVIRONMENT) {
            id.parse::<EnvironmentId>().map(Self::from)
        } else {
            text.parse::<IncidentId>().map(Self::from)
        }
    }
}

impl From<IncidentId> for StreamId {
    fn from(id: IncidentId) -> Self {
        id.0
    }
}

impl From<ServiceId> for StreamId {
    fn from(id: ServiceId) -> Self {
        Self(format!("{}{id}", Self::SERVICE))
    }
}

impl From<EnvironmentId> for StreamId {
    fn from(id: EnvironmentId) -> Self {
        Self(format!("{}{id}", Self::ENVIRONMENT))
    }
}

/// A workflow type of section 3 of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WorkflowType {
    /// `incident.initiate`
    Initiate,
    /// `incident.remediate`
    Remediate,
    /// `incident.close-out`
    CloseOut,
    /// `incident.post-mortem`
    PostMortem,
    /// `incident.updates`: the update clock.
    Updates,
    /// `incident.act`: small outward acts that follow a command, one workflow a command.
    Act,
    /// `release.deploy`
    Deploy,
    /// `release.promote`
    Promote,
}

impl WorkflowType {
    /// Those that run one at a time per incident.
    pub const BLUEPRINTS: [Self; 5] =
        [Self::Initiate, Self::Remediate, Self::CloseOut, Self::PostMortem, Self::Updates];

    /// Those that run one at a time per release.
    pub const OF_RELEASES: [Self; 2] = [Self::Deploy, Self::Promote];

    /// The type's name at Temporal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Initiate => "incident.initiate",
            Self::Remediate => "incident.remediate",
            Self::CloseOut => "incident.close-out",
            Self::PostMortem => "incident.post-mortem",
            Self::Updates => "incident.updates",
            Self::Act => "incident.act",
            Self::Deploy => "release.deploy",
            Self::Promote => "release.promote",
        }
    }

    /// The blueprint's own name: `initiate`, `close-out`.
    pub fn blueprint(self) -> &'static str {
        self.name().split_once('.').map_or("", |(_, own)| own)
    }
}

/// `<type>-<incident>`; for an organisation other than `default` `<type>-<org>:<incident>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkflowId(String);
text_id!(WorkflowId);

impl WorkflowId {
    /// The id under which this blueprint runs for this incident.
    pub fn new(kind: WorkflowType, org: &OrgId, incident: &IncidentId) -> Self {
        if *org == OrgId::default() {
            Self(format!("{}-{incident}", kind.name()))
        } else {
            Self(format!("{}-{org}:{incident}", kind.name()))
        }
    }

    /// The id of the act that follows the record `seq`.
    pub fn act(org: &OrgId, incident: &IncidentId, seq: u64) -> Self {
        let base = Self::new(WorkflowType::Act, org, incident);
        Self(format!("{base}-{seq}"))
    }

    /// The record that an act follows.
    pub fn act_seq(&self) -> Option<u64> {
        let (base, seq) = self.0.rsplit_once('-')?;
        let id = base.strip_prefix(WorkflowType::Act.name())?.strip_prefix('-')?;
        let incident = id.split_once(':').map_or(id, |(_, incident)| incident);
        let parsed: u64 = seq.parse().ok()?;
        // One spelling each.
        (incident.parse::<IncidentId>().is_ok() && parsed > 0 && parsed.to_string() == seq).then_some(parsed)
    }

    /// The id under which this workflow runs for this release.
    pub fn of_release(kind: WorkflowType, org: &OrgId, release: &ReleaseId) -> Self {
        if *org == OrgId::default() {
            Self(format!("{}-{release}", kind.name()))
        } else {
            Self(format!("{}-{org}:{release}", kind.name()))
        }
    }

    /// Which workflow of which release of which organisation this is, where it is one of a release.
    pub fn release(&self) -> Option<(WorkflowType, OrgId, ReleaseId)> {
        WorkflowType::OF_RELEASES.into_iter().find_map(|kind| {
            let rest = self.0.strip_prefix(kind.name())?.strip_prefix('-')?;
            let (org, release) = match rest.split_once(':') {
                Some((org, release)) => (org.parse().ok()?, release),
                None => (OrgId::default(), rest),
            };
            let release = release.parse().ok()?;
            (Self::of_release(kind, &org, &release).0 == self.0).then_some((kind, org, release))
        })
    }

    /// The type and the organisation, whatever it is a workflow of.
    pub fn kind_and_org(&self) -> Option<(WorkflowType, OrgId)> {
        self.parts()
            .map(|(kind, org, _)| (kind, org))
            .or_else(|| self.release().map(|(kind, org, _)| (kind, org)))
    }

    /// The blueprint's name in records: `remediate`; each act has one of its own, `act-12`, and so has each release,
    /// `deploy-rel-123`.
    pub fn blueprint(&self) -> String {
        match (self.parts(), self.act_seq()) {
            (Some((WorkflowType::Act, ..)), Some(seq)) => format!("{}-{seq}", WorkflowType::Act.blueprint()),
            (Some((kind, ..)), _) => kind.blueprint().to_owned(),
            (None, _) => self
                .release()
                .map(|(kind, _, release)| format!("{}-{release}", kind.blueprint()))
                .unwrap_or_default(),
        }
    }

    /// Which blueprint of which incident of which organisation this is; none where it is one of a release.
    pub fn parts(&self) -> Option<(WorkflowType, OrgId, IncidentId)> {
        if let Some(seq) = self.act_seq() {
            let base = self.0.strip_suffix(&format!("-{seq}"))?;
            let id = base.strip_prefix(WorkflowType::Act.name())?.strip_prefix('-')?;
            let (org, incident) = match id.split_once(':') {
                Some((org, incident)) => (org.parse().ok()?, incident.parse().ok()?),
                None => (OrgId::default(), id.parse().ok()?),
            };
            let is_spelled_so = Self::act(&org, &incident, seq).0 == self.0;
            return is_spelled_so.then_some((WorkflowType::Act, org, incident));
        }
        WorkflowType::BLUEPRINTS.into_iter().find_map(|kind| {
            let rest = self.0.strip_prefix(kind.name())?.strip_prefix('-')?;
            let (org, incident) = match rest.split_once(':') {
                Some((org, incident)) => (org.parse().ok()?, incident),
                None => (OrgId::default(), rest),
            };
            let incident = incident.parse().ok()?;
            (Self::new(kind, &org, &incident).0 == self.0).then_some((kind, org, incident))
        })
    }
}

impl FromStr for WorkflowId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let id = Self(text.to_owned());
        id.kind_and_org().is_some().then_some(id).ok_or_else(|| IdError {
            what: "workflow id",
            value: text.chars().take(120).collect(),
            expected: "<type>-<incident>, such as incident.remediate-INC-2026-0001",
        })
    }
}

/// One approval gate of one attempt: `<workflow id>#<attempt>/<step>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GateId(String);
text_id!(GateId);

impl GateId {
    /// The step at which a blueprint waits for the approval of its whole.
    pub const APPROVE: &'static str = "approve";

    /// The gate that `step` of this attempt waits at.
    pub fn new(workflow: &WorkflowId, attempt: u32, step: &str) -> Self {
        Self(format!("{workflow}#{attempt}/{step}"))
    }

    /// The workflow that waits at the gate of this id; `None` where it is none.
    pub fn workflow_of(id: &str) -> Option<WorkflowId> {
        Some(id.parse::<Self>().ok()?.parts()?.0)
    }

    /// The workflow that waits at it, its attempt and its step.
    pub fn parts(&self) -> Option<(WorkflowId, u32, &str)> {
        let (workflow, rest) = self.0.split_once('#')?;
        let (number, step) = rest.split_once('/')?;
        let attempt: u32 = number.parse().ok()?;
        // One spelling each.
        let is_spelled_so = attempt > 0 && attempt.to_string() == number && !step.is_empty();
        Some((workflow.parse().ok()?, attempt, step)).filter(|_| is_spelled_so)
    }
}

impl FromStr for GateId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let id = Self(text.to_owned());
        id.parts().is_some().then_some(id).ok_or_else(|| IdError {
            what: "gate id",
            value: text.chars().take(160).collect(),
            expected: "<workflow id>#<attempt>/<step>, such as incident.remediate-INC-2026-0001#1/approval",
        })
    }
}

/// How often an effect may rightly happen: once per incident, or once per step of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EffectScope<'a> {
    /// Channel, PagerDuty incident, Statuspage incident, review page.
    Incident {
        /// `channel`, `pagerduty-incident`, …
        resource: &'a str,
    },
    /// Message, page, resolve, cell.
    Step {
        /// Blueprint's own name.
        blueprint: &'a str,
        /// Attempt, from 1.
        attempt: u32,
        /// Step, with whatever tells two of them apart.
        step: &'a str,
    },
}

/// The key of an outward effect (`UUIDv5`).
pub fn effect_key(org: &OrgId, stream: &StreamId, scope: &EffectScope<'_>) -> Uuid {
    let name = match scope {
        EffectScope::Incident { resource } => format!("{org}/{stream}/{resource}"),
        EffectScope::Step { blueprint, attempt, step } => {
            format!("{org}/{stream}/{blueprint}#{attempt}/{step}")
        }
    };
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// The key of the page about a candidate that waits for a person (`UUIDv5`).
pub fn candidate_page_key(org: &OrgId, candidate: &CandidateId) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{org}/candidate/{candidate}/page").as_bytes())
}

/// The key of the page about every candidate of a correlation key and severity that waits (`UUIDv5`). `after` is the
/// last of them that was paged about or promoted before: what comes after it is another page.
pub fn group_page_key(
    org: &OrgId,
    correlation_key: &str,
    severity: &str,
    after: Option<&CandidateId>,
) -> Uuid {
    let after = after.map(CandidateId::as_str).unwrap_or_default();
    Uuid::new_v5(&NAMESPACE, format!("{org}/candidates/{severity}/{after}/page/{correlation_key}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incident_ids_have_one_spelling() {
        for good in ["INC-2026-0001", "INC-2026-9999", "INC-2026-10000"] {
            assert_eq!(good.parse::<IncidentId>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "INC-2026-1",
            "INC-26-0001",
            "INC-2026-00001",
            "INC-2026-0000",
            "inc-2026-0001",
            "INC-2026-0001 ",
        ] {
            assert!(bad.parse::<IncidentId>().is_err(), "{bad}");
        }
        assert_eq!(IncidentId::new(2026, 12).parts(), (2026, 12));
    }

    #[test]
    fn streams_are_spelled_in_one_way_and_stand_in_one_order() {
        let in_order =
            ["INC-2025-0002", "INC-2026-0001", "INC-2026-10000", "env/env-prod", "svc/a", "svc/svc-demo"];
        let mut streams: Vec<StreamId> = in_order.iter().rev().map(|id| id.parse().unwrap()).collect();
        streams.sort();
        assert_eq!(streams.iter().map(ToString::to_string).collect::<Vec<_>>(), in_order);
        for bad in ["svc/", "svc/a/b", "svc/-a", "env/a b", "rel/a", "", "svc/ä"] {
            assert!(bad.parse::<StreamId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn gate_ids_know_their_workflow_attempt_and_step() {
        let workflow: WorkflowId = "incident.remediate-acme:INC-2026-0001".parse().unwrap();
        let gate = GateId::new(&workflow, 2, "cell-1/unknown");
        assert_eq!(gate.as_str().parse::<GateId>(), Ok(gate.clone()));
        assert_eq!(gate.parts(), Some((workflow, 2, "cell-1/unknown")));
        for bad in ["", "#1/a", "incident.remediate-INC-2026-0001", "incident.remediate-INC-2026-0001#1"] {
            assert!(bad.parse::<GateId>().is_err(), "{bad}");
        }
        for bad in ["0/a", "01/a", "1/", "x/a"] {
            assert!(format!("incident.remediate-INC-2026-0001#{bad}").parse::<GateId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn workflow_ids_name_their_organisation_unless_it_is_the_default() {
        let incident = IncidentId::new(2026, 1);
        let default = WorkflowId::new(WorkflowType::CloseOut, &OrgId::default(), &incident);
        assert_eq!(default.as_str(), "incident.close-out-INC-2026-0001");
        let acme = WorkflowId::new(WorkflowType::Initiate, &"acme".parse().unwrap(), &incident);
        assert_eq!(acme.as_str(), "incident.initiate-acme:INC-2026-0001");
        assert_eq!(acme.parts().unwrap().1.as_str(), "acme");
        assert!("incident.initiate-default:INC-2026-0001".parse::<WorkflowId>().is_err());
        let act = WorkflowId::act(&"acme".parse().unwrap(), &incident, 12);
        assert_eq!(act.as_str(), "incident.act-acme:INC-2026-0001-12");
        assert_eq!((act.blueprint().as_str(), act.act_seq()), ("act-12", Some(12)));
        assert_eq!(act.parts().unwrap().0, WorkflowType::Act);
        for bad in
            ["incident.act-INC-2026-0001", "incident.act-INC-2026-0001-0", "incident.act-INC-2026-0001-012"]
        {
            assert!(bad.parse::<WorkflowId>().is_err(), "{bad}");
        }
        assert!("incident.nothing-INC-2026-0001".parse::<WorkflowId>().is_err());
    }
}

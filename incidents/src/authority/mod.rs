//! Who may do what: the one place that decides.
//!
//! The console, the API, Slack and the judge of decisions ask here, as does the beginning of every run. What is
//! answered is written in Cedar: `policies.cedar` beside this file, which a file of the installation may replace. A
//! policy file is checked against `schema.cedarschema` when it is read, so that a word that does not exist is an
//! error and not a right that silently never applies. Nothing is permitted that no policy permits, a `forbid` beats
//! every `permit`, and a policy that cannot be evaluated permits nothing.
//!
//! Roles come from the directory, assignments and gates from the folded incident; both are handed in as attributes.
//! Four eyes, the level of a gate and the organisation are rules of the policies, not of this code.

mod entities;
mod parse;

use std::sync::{Arc, LazyLock};

use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request, Response};
use harmony_protos::log::{self, GateState, IncidentState};
use serde::Serialize;

use crate::{
    directory::{Principal, Role},
    ids::OrgId,
};
use entities::{Subject, action};
pub use parse::AccessError;

/// Something that a caller wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// See incidents, logs and gates.
    Read,
    /// See gates.
    ReadGates,
    /// Add a note or an action.
    Note,
    /// Declare, update, assign; start initiate and remediate; write review sections; stop.
    Respond,
    /// Change status, verify, close out, cancel.
    Resolve,
    /// Sign a review off.
    SignOff,
    /// Change the severity.
    ChangeSeverity,
    /// Redact and administer.
    Administer,
    /// Claim `EMERGENCY_OVERRIDE` on a command.
    Override,
    /// Be shown the public incident.
    #[serde(rename = "statuspage:read")]
    StatuspageRead,
    /// Send an update to the public.
    #[serde(rename = "statuspage:write")]
    StatuspageWrite,
    /// Be shown the channel.
    #[serde(rename = "slack:read")]
    SlackRead,
    /// Send an update to the channel.
    #[serde(rename = "slack:write")]
    SlackWrite,
    /// Propose a runbook.
    #[serde(rename = "operations:execute")]
    OperationsExecute,
    /// Propose the review for publishing.
    #[serde(rename = "confluence:write")]
    ConfluenceWrite,
    /// Decide gates at all; which of them, the gate's level says.
    #[serde(rename = "workflow:approve")]
    WorkflowApprove,
    /// Change the catalog.
    #[serde(rename = "catalog:write")]
    CatalogWrite,
    /// Deploy and promote releases.
    #[serde(rename = "deploy:execute")]
    DeployExecute,
}

impl Right {
    /// Every right on incidents, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Read,
        Self::ReadGates,
        Self::Note,
        Self::Respond,
        Self::Resolve,
        Self::SignOff,
        Self::ChangeSeverity,
        Self::Administer,
        Self::Override,
    ];

    /// The scopes of the capabilities, in the order of the table.
    pub const SCOPES: [Self; 9] = [
        Self::StatuspageRead,
        Self::StatuspageWrite,
        Self::SlackRead,
        Self::SlackWrite,
        Self::OperationsExecute,
        Self::ConfluenceWrite,
        Self::WorkflowApprove,
        Self::CatalogWrite,
        Self::DeployExecute,
    ];

    /// Whether it gives nothing but a look.
    pub fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadGates | Self::StatuspageRead | Self::SlackRead)
    }

    /// The action's name in policies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ReadGates => "read-gates",
            Self::Note => "note",
            Self::Respond => "respond",
            Self::Resolve => "resolve",
            Self::SignOff => "sign-off",
            Self::ChangeSeverity => "change-severity",
            Self::Administer => "administer",
            Self::Override => "override",
            Self::StatuspageRead => "statuspage:read",
            Self::StatuspageWrite => "statuspage:write",
            Self::SlackRead => "slack:read",
            Self::SlackWrite => "slack:write",
            Self::OperationsExecute => "operations:execute",
            Self::ConfluenceWrite => "confluence:write",
            Self::WorkflowApprove => "workflow:approve",
            Self::CatalogWrite => "catalog:write",
            Self::DeployExecute => "deploy:execute",
        }
    }
}

/// A decision that somebody wants to make on a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateRight {
    /// Approve it.
    Approve,
    /// Reject it.
    Reject,
    /// Approve it under `EMERGENCY_OVERRIDE`.
    BreakGlass,
}

impl GateRight {
    /// Every decision.
    pub const ALL: [Self; 3] = [Self::Approve, Self::Reject, Self::BreakGlass];

    /// The action's name in policies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::BreakGlass => "break-glass",
        }
    }
}

/// What is asked about a gate: as it stands, or as it would stand at another level.
#[derive(Debug, Clone, Copy)]
pub struct GateAsk<'a> {
    /// Which kind of gate, as in the policy file.
    pub kind: &'a str,
    /// Who asked for it.
    pub requester: &'a str,
    /// Whether the requester may not approve it.
    pub four_eyes: bool,
    /// Roles that the level names.
    pub roles: &'a [String],
}

impl<'a> GateAsk<'a> {
    /// The gate as it stands, at its present level.
    pub fn of(gate: &'a GateState) -> Self {
        let level = usize::try_from(gate.level).unwrap_or(usize::MAX).saturating_sub(1);
        Self {
            kind: &gate.kind,
            requester: &gate.requester,
            four_eyes: gate.four_eyes,
            roles: gate.levels.get(level).map_or(&[], |level| level.roles.as_slice()),
        }
    }
}

/// What somebody wants to do to an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseRight {
    /// Deploy a release.
    Deploy,
    /// Promote a release from another environment.
    Promote,
}

impl ReleaseRight {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Deploy, Self::Promote];

    /// The action's name in policies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Promote => "promote",
        }
    }
}

/// What is asked about an environment, with what its change windows and freezes say at that instant.
#[derive(Debug, Clone, Copy)]
pub struct EnvironmentAsk<'a> {
    /// Its id.
    pub environment: &'a str,
    /// What somebody wants to do.
    pub right: ReleaseRight,
    /// Whether it is a production environment.
    pub production: bool,
    /// Whether nothing closes it.
    pub open: bool,
    /// What follows from its being closed: `refuse`, `wait` or `gate`; `none` where it is open.
    pub mode: &'a str,
    /// Whether a rollback for an open P1 or P2 gets a gate although it is closed.
    pub excepted: bool,
    /// Whether a release is rolled back for an incident, through that incident's gate.
    pub rollback: bool,
}

/// Why a decision on a gate, or a release, is not permitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// A policy forbids it: what its `@because` says, a stable word and a sentence.
    Forbidden {
        /// Such as `four-eyes`; `policy` where the policy says none.
        because: String,
        /// In words.
        explanation: String,
    },
    /// No policy permits it.
    NotPermitted,
}

/// The policies in force.
#[derive(Debug, Clone)]
pub struct Access {
    /// Invariant: valid for our schema.
    policies: PolicySet,
    authorizer: Authorizer,
}

static BUILT_IN: LazyLock<Arc<Access>> = LazyLock::new(|| {
    // They are part of the program and a test reads them; if they were broken, nobody might do anything.
    Arc::new(Access::parse(include_str!("policies.cedar")).unwrap_or_else(|_| Access::nothing()))
});

impl Default for Access {
    fn default() -> Self {
        (**BUILT_IN).clone()
    }
}

impl Access {
    /// The policies that come with the program.
    pub fn built_in() -> Arc<Self> {
        BUILT_IN.clone()
    }

    /// Reads a policy file and checks it against the schema.
    pub fn parse(text: &str) -> Result<Self, AccessError> {
        Ok(Self { policies: parse::policies(text)?, authorizer: Authorizer::new() })
    }

    fn nothing() -> Self {
        Self { policies: PolicySet::new(), authorizer: Authorizer::new() }
    }

    /// How many policies there are.
    pub fn count(&self) -> usize {
        self.policies.policies().count()
    }

    /// Whether this principal has a right in an organisation, on an incident where there is one.
    pub fn may(
        &self,
        principal: &Principal,
        right: Right,
        org: &OrgId,
        incident: Option<&IncidentState>,
    ) -> bool {
        self.permits(&Subject::of(principal, org), right.name(), org, incident)
    }

    /// Whether this principal may make this decision on a gate of an incident.
    pub fn may_decide(
        &self,
        principal: &Principal,
        decision: GateRight,
        org: &OrgId,
        incident: &IncidentState,
        gate: GateAsk<'_>,
    ) -> Result<(), Denied> {
        self.decides(&Subject::of(principal, org), decision, org, incident, gate)
    }

    /// The most of their roles that this decision could be made with; none where it needs more than a role.
    pub fn acts_as(
        &self,
        principal: &Principal,
        decision: GateRight,
        org: &OrgId,
        incident: &IncidentState,
        gate: GateAsk<'_>,
    ) -> Option<Role> {
        let gate = GateAsk { four_eyes: false, ..gate };
        let mut roles = principal.roles(org, Some(incident));
        roles
            .retain(|role| self.decides(&Subject::holder(*role, org), decision, org, incident, gate).is_ok());
        Role::highest(&roles)
    }

    /// The authority that this principal's commands and runs carry.
    pub fn authority(
        &self,
        principal: &Principal,
        org: &OrgId,
        incident: Option<&IncidentState>,
    ) -> log::Authority {
        let subject = Subject::of(principal, org);
        let may_act_as = |action: &str| self.permits(&subject, action, org, incident);
        if may_act_as("act-as-on-call-sre") {
            log::Authority::OnCallSre
        } else if may_act_as("act-as-human-operator") {
            log::Authority::HumanOperator
        } else {
            log::Authority::None
        }
    }

    /// The least role whose holders have a right everywhere in an organisation; none where a role is not enough.
    pub fn least_role(&self, right: Right) -> Option<Role> {
        let org = OrgId::default();
        Role::ALL
            .into_iter()
            .find(|role| self.permits(&Subject::holder(*role, &org), right.name(), &org, None))
    }

    /// What somebody is told who lacks a right.
    pub fn needs(&self, right: Right) -> String {
        match self.least_role(right) {
            Some(role) if role.is_on_ladder() => format!("this needs the role {} at least", role.name()),
            Some(role) => format!("this needs the role {}", role.name()),
            None => format!("no role gives the right {:?} here", right.name()),
        }
    }

    /// Whether this principal may do this to an environment, as things stand there.
    pub fn may_release(
        &self,
        principal: &Principal,
        org: &OrgId,
        ask: EnvironmentAsk<'_>,
    ) -> Result<(), Denied> {
        let subject = Subject::of(principal, org);
        let mut known = subject.entities();
        known.extend(entities::action_in(ask.right.name(), Right::DeployExecute.name()));
        let response = entities::environment(ask.environment, org, &mut known)
            .zip(entities::release_context(&ask))
            .and_then(|(resource, context)| {
                self.ask_in(&subject, ask.right.name(), resource, known, context)
            });
        self.answer(response)
    }

    fn permits(
        &self,
        subject: &Subject,
        action: &str,
        org: &OrgId,
        incident: Option<&IncidentState>,
    ) -> bool {
        let mut known = subject.entities();
        let resource = match incident {
            Some(state) => entities::incident(state, org, &mut known),
            None => Some(entities::organisation(org)),
        };
        resource
            .and_then(|resource| self.ask(subject, action, resource, known))
            .is_some_and(|response| response.decision() == Decision::Allow)
    }

    fn decides(
        &self,
        subject: &Subject,
        decision: GateRight,
        org: &OrgId,
        incident: &IncidentState,
        gate: GateAsk<'_>,
    ) -> Result<(), Denied> {
        let mut known = subject.entities();
        known.extend(entities::action_in(decision.name(), Right::WorkflowApprove.name()));
        let response = entities::gate(incident, org, gate, &mut known)
            .and_then(|resource| self.ask(subject, decision.name(), resource, known));
        self.answer(response)
    }

    /// Why it is denied, where it is.
    fn answer(&self, response: Option<Response>) -> Result<(), Denied> {
        let response = response.ok_or(Denied::NotPermitted)?;
        if response.decision() == Decision::Allow {
            return Ok(());
        }
        // Without a forbid there is no policy that determined the answer.
        let mut reasons: Vec<&str> = response
            .diagnostics()
            .reason()
            .map(|id| self.policies.annotation(id, "because").unwrap_or_default())
            .collect();
        reasons.sort_unstable();
        let Some(reason) = reasons.pop() else { return Err(Denied::NotPermitted) };
        let (because, explanation) = reason
            .split_once(": ")
            .unwrap_or(("policy", if reason.is_empty() { "a policy forbids it" } else { reason }));
        Err(Denied::Forbidden { because: because.to_owned(), explanation: explanation.to_owned() })
    }

    /// `None` where the question cannot even be put, which permits nothing.
    fn ask(
        &self,
        subject: &Subject,
        name: &str,
        resource: EntityUid,
        known: Vec<cedar_policy::Entity>,
    ) -> Option<Response> {
        self.ask_in(subject, name, resource, known, Context::empty())
    }

    fn ask_in(
        &self,
        subject: &Subject,
        name: &str,
        resource: EntityUid,
        known: Vec<cedar_policy::Entity>,
        context: Context,
    ) -> Option<Response> {
        // Roles and most actions have neither attributes nor parents, so they need not be there.
        let known = Entities::from_entities(known, None).ok()?;
        let request = Request::new(subject.uid.clone(), action(name), resource, context, None).ok()?;
        Some(self.authorizer.is_authorized(&request, &self.policies, &known))
    }
}

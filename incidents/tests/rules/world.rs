//! A log without a store: judges a command against the head, seals what follows and keeps it.

use std::sync::{Arc, LazyLock};

use harmony_incidents::promotion::Policies;
use harmony_incidents::{
    Access, Answer, Command, Context, Directory, Head, IncidentId, Judged, OrgId, Policy, Refusal, Rules,
    WorkflowId, WorkflowType,
    command::{Attested, Decision, DecisionInput, DecisionPayload, GateRequest, ResolutionInput},
    judge,
    log::{Authority, Cause, GateState, IncidentCreated, Payload, ResolutionType, Severity, State, Text},
    policy::GateKind,
    record::{self, ChainHead, SaltKey, SealedRecord},
};
use jiff::{SignedDuration, Timestamp};

const DIRECTORY: &str = r#"
    [[principal]]
    id = "operator"
    [principal.roles]
    default = ["incident-manager"]

    [[principal]]
    id = "commander"
    [principal.roles]
    default = ["incident-commander"]

    [[principal]]
    id = "oncall"
    [principal.roles]
    default = ["sre-oncall"]

    [[principal]]
    id = "manager"
    [principal.roles]
    default = ["incident-manager"]

    [[principal]]
    id = "admin"
    [principal.roles]
    default = ["org-admin"]

    [[principal]]
    id = "viewer"
    [principal.roles]
    default = ["incident-viewer"]

    [[principal]]
    id = "responder"
    [principal.roles]
    default = ["incident-responder"]

    [[principal]]
    id = "approver"
    [principal.roles]
    default = ["incident-approver"]

    [[principal]]
    id = "stranger"
    [principal.roles]
    acme = ["org-admin"]
"#;

static NO_POLICIES: LazyLock<Policies> = LazyLock::new(Policies::default);

pub(crate) const DIGEST: [u8; 32] = [7; 32];
/// When every story begins.
pub(crate) const BEGIN: &str = "2026-03-01T02:00:00Z";

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) directory: Directory,
    pub(crate) access: Arc<Access>,
    pub(crate) policy: Policy,
    pub(crate) auto_escalate_p1: bool,
    pub(crate) head: ChainHead,
    pub(crate) sealed: Vec<SealedRecord>,
    pub(crate) now: Timestamp,
    pub(crate) wake: Vec<WorkflowId>,
    commands: u32,
}

pub(crate) fn salt() -> SaltKey {
    SaltKey::parse(&"5a".repeat(32)).unwrap()
}

pub(crate) fn incident() -> IncidentId {
    IncidentId::new(2026, 1)
}

pub(crate) fn workflow(kind: WorkflowType) -> WorkflowId {
    WorkflowId::new(kind, &OrgId::default(), &incident())
}

pub(crate) fn declaration(title: &str, severity: Severity) -> Command {
    let incident = IncidentCreated {
        title: Some(Text::plain(title)),
        severity: severity.into(),
        service_name: "checkout".to_owned(),
        ..IncidentCreated::default()
    };
    Command::Declare { incident }
}

pub(crate) fn status(to: State) -> Command {
    Command::ChangeStatus {
        to,
        reason: "because".to_owned(),
        justification: String::new(),
        resolution: (to == State::Resolved).then(|| ResolutionInput {
            summary: "rolled back".to_owned(),
            kind: ResolutionType::Fixed,
            resolved_by: "oncall".to_owned(),
        }),
    }
}

pub(crate) fn gate_request(kind: WorkflowType, gate: GateKind, step: &str) -> GateRequest {
    GateRequest {
        workflow_id: workflow(kind),
        attempt: 1,
        step: step.to_owned(),
        kind: gate,
        action: "Run rollback".to_owned(),
        reason: "error rate".to_owned(),
        digest: hex::encode(DIGEST),
        covers: "{}".to_owned(),
        requester: "operator".to_owned(),
        levels: vec![],
        severity: None,
    }
}

/// A decision as a door would send it: on this gate and its digest, attested, made now.
pub(crate) fn decision(gate: &GateState, approver: &str, decision: Decision, at: Timestamp) -> DecisionInput {
    DecisionInput {
        workflow_id: gate.workflow_id.parse().unwrap(),
        attempt: gate.attempt,
        payload: Ok(DecisionPayload {
            decision,
            approver_id: approver.to_owned(),
            approver_name: None,
            approver_roles: Some(vec!["org-admin".to_owned()]),
            gate_id: Some(gate.gate_id.clone()),
            digest: Some(hex::encode(&gate.digest)),
            reason: None,
            timestamp: Some(at.to_string()),
            source: Some("slack".to_owned()),
            decision_id: Some("d-1".to_owned()),
            attestation: None,
            break_glass: false,
            justification: None,
        }),
        attested: Attested::Yes,
        decided_at: at,
        counted: false,
    }
}

impl World {
    pub(crate) fn empty() -> Self {
        Self {
            directory: Directory::parse(DIRECTORY).unwrap(),
            access: Access::built_in(),
            policy: Policy::default(),
            auto_escalate_p1: true,
            head: ChainHead::default(),
            sealed: Vec::new(),
            now: BEGIN.parse().unwrap(),
            wake: Vec::new(),
            commands: 0,
        }
    }

    /// An incident of this severity that is OPEN.
    pub(crate) fn open(severity: Severity) -> Self {
        let mut world = Self::empty();
        world.say("operator", &declaration("Checkout is down", severity)).unwrap();
        world.say("operator", &status(State::Open)).unwrap();
        world
    }

    /// The same, with a remediation waiting at its gate.
    pub(crate) fn waiting(severity: Severity) -> Self {
        let mut world = Self::open(severity);
        world.ask(WorkflowType::Remediate, GateKind::Remediate, "approval");
        world
    }

    pub(crate) fn ask(&mut self, kind: WorkflowType, gate: GateKind, step: &str) -> Answer {
        let request = Box::new(gate_request(kind, gate, step));
        let context = self.workflow_context(kind, "operator");
        self.say_as(&context, &Command::OpenGate { request }).unwrap()
    }

    pub(crate) fn rules(&self) -> Rules<'_> {
        Rules {
            directory: &self.directory,
            access: &self.access,
            policy: &self.policy,
            auto_escalate_p1: self.auto_escalate_p1,
            promotion: &NO_POLICIES,
        }
    }

    /// By hand, with what the directory gives.
    pub(crate) fn context(&self, actor: &str) -> Context {
        let principal = self.directory.get(actor);
        Context {
            actor: actor.to_owned(),
            authority: principal
                .map_or(Authority::None, |one| self.access.authority(one, &OrgId::default(), None)),
            cause: Cause::default(),
            occurred_at: self.now,
        }
    }

    /// By a workflow that this principal started.
    pub(crate) fn workflow_context(&self, kind: WorkflowType, actor: &str) -> Context {
        let cause = Cause {
            workflow_id: workflow(kind).to_string(),
            blueprint: kind.blueprint().to_owned(),
            attempt: 1,
            ..Cause::default()
        };
        Context { cause, ..self.context(actor) }
    }

    pub(crate) fn judge(&self, context: &Context, command: &Command) -> Result<Judged, Refusal> {
        let head = Head { state: &self.head.state };
        judge(head, command, context, self.rules())
    }

    pub(crate) fn say(&mut self, actor: &str, command: &Command) -> Result<Answer, Refusal> {
        let context = self.context(actor);
        self.say_as(&context, command)
    }

    pub(crate) fn say_as(&mut self, context: &Context, command: &Command) -> Result<Answer, Refusal> {
        let judged = self.judge(context, command)?;
        self.commands += 1;
        let context = judged.context(context);
        let key = judged.identity.unwrap_or_else(|| format!("command-{}", self.commands));
        self.append(&context, &key, judged.payloads);
        self.wake = judged.wake;
        Ok(judged.answer)
    }

    /// Past the judge: what no command can ask for.
    pub(crate) fn append(&mut self, context: &Context, key: &str, payloads: Vec<Payload>) {
        let (sealed, head) =
            record::append(&OrgId::default(), &incident(), &self.head, key, context, payloads, &salt());
        self.sealed.extend(sealed);
        self.head = head;
    }

    pub(crate) fn gate(&self) -> &GateState {
        self.head.state.gates.first().unwrap()
    }

    pub(crate) fn pass(&mut self, time: SignedDuration) {
        self.now = self.now.checked_add(time).unwrap();
    }

    /// Moves to the pending gate's deadline.
    pub(crate) fn reach_deadline(&mut self) {
        self.now = Timestamp::from_microsecond(self.gate().due_us).unwrap();
    }

    pub(crate) fn expire(&mut self) -> Answer {
        let (gate_id, level) = (self.gate().gate_id.clone(), self.gate().level);
        let context = self.workflow_context(WorkflowType::Remediate, "operator");
        self.say_as(&context, &Command::ExpireLevel { gate_id, level }).unwrap()
    }

    pub(crate) fn decide(&mut self, input: DecisionInput) -> Answer {
        let context = self.workflow_context(WorkflowType::Remediate, "operator");
        self.say_as(&context, &Command::Decide { input: Box::new(input) }).unwrap()
    }
}

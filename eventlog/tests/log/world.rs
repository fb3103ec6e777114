//! A log in a store of its own, and the shortest way to ask it something.

use harmony_eventlog::{Append, Appended, CheckpointKey, Export, LogError, OutboxItem, SharedLog, Target};
use harmony_incidents::{
    Command, Context, Directory, IncidentId, OrgId, RuleSet, WorkflowId, WorkflowType,
    command::{Attested, Decision, DecisionInput, DecisionPayload, GateRequest, ResolutionInput},
    judge,
    judge::payload,
    log::{
        Authority, Cause, GateState, IncidentCreated, IncidentNoteAdded, ResolutionType, Severity, State,
        Text, payload::Kind,
    },
    policy::GateKind,
    record::SaltKey,
};
use jiff::Timestamp;

use crate::stores::{Backend, Damage, Rows, Store};

pub(crate) const YEAR: i16 = 2026;

pub(crate) struct World {
    pub(crate) log: SharedLog,
    pub(crate) store: Box<dyn Store>,
}

/// One append, spelled out; [`ask`] fills in what most do not care about.
pub(crate) struct Ask {
    pub(crate) org: OrgId,
    pub(crate) target: Target,
    pub(crate) key: String,
    pub(crate) command: Command,
    pub(crate) at: Timestamp,
    pub(crate) expected_seq: Option<u64>,
    pub(crate) run_id: Option<&'static str>,
    /// Workflow that asks; empty for a door.
    pub(crate) by: &'static str,
    pub(crate) follow: Vec<OutboxItem>,
}

pub(crate) fn begin() -> Timestamp {
    "2026-03-01T02:00:00.000001Z".parse().unwrap()
}

pub(crate) fn salt() -> SaltKey {
    SaltKey::parse(&"5a".repeat(32)).unwrap()
}

pub(crate) fn id(number: u64) -> IncidentId {
    IncidentId::new(YEAR, number)
}

pub(crate) fn ask(target: Target, key: &str, command: Command) -> Ask {
    Ask {
        org: OrgId::default(),
        target,
        key: key.to_owned(),
        command,
        at: begin(),
        expected_seq: None,
        run_id: None,
        by: "",
        follow: Vec::new(),
    }
}

pub(crate) fn new() -> Target {
    Target::New { year: YEAR }
}

pub(crate) fn named(number: u64) -> Target {
    Target::Named(id(number).into())
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

pub(crate) fn note(text: &str) -> Command {
    let note = IncidentNoteAdded { note: Some(Text::plain(text)) };
    Command::Record { payload: payload(Kind::IncidentNoteAdded(note)) }
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

pub(crate) fn gate_request(number: u64) -> Command {
    let request = GateRequest {
        workflow_id: WorkflowId::new(WorkflowType::Remediate, &OrgId::default(), &id(number)),
        attempt: 1,
        step: "approval".to_owned(),
        kind: GateKind::Remediate,
        action: "Run rollback".to_owned(),
        reason: "error rate".to_owned(),
        digest: "07".repeat(32),
        covers: "{}".to_owned(),
        requester: "operator".to_owned(),
        levels: vec![],
        severity: None,
    };
    Command::OpenGate { request: Box::new(request) }
}

pub(crate) fn decision(
    gate: &GateState,
    decision_id: &str,
    attested: Attested,
    at: Timestamp,
) -> DecisionInput {
    DecisionInput {
        workflow_id: gate.workflow_id.parse().unwrap(),
        attempt: gate.attempt,
        payload: Ok(DecisionPayload {
            decision: Decision::Approved,
            approver_id: "commander".to_owned(),
            approver_name: None,
            approver_roles: None,
            gate_id: Some(gate.gate_id.clone()),
            digest: Some("07".repeat(32)),
            reason: None,
            timestamp: Some(at.to_string()),
            source: Some("slack".to_owned()),
            decision_id: Some(decision_id.to_owned()),
            attestation: None,
            break_glass: false,
            justification: None,
        }),
        attested,
        decided_at: at,
        counted: false,
    }
}

pub(crate) fn rules() -> RuleSet {
    let directory = Directory::parse(
        "[[principal]]\nid = \"commander\"\n[principal.roles]\ndefault = [\"incident-commander\"]\n",
    )
    .unwrap();
    RuleSet { directory, auto_escalate_p1: true, ..RuleSet::default() }
}

pub(crate) fn context(at: Timestamp) -> Context {
    Context {
        actor: "oncall".to_owned(),
        authority: Authority::OnCallSre,
        cause: Cause { blueprint: "remediate".to_owned(), ..Cause::default() },
        occurred_at: at,
    }
}

pub(crate) async fn say(log: &SharedLog, ask: Ask) -> Result<Appended, LogError> {
    let (rules, mut context) = (rules(), context(ask.at));
    context.cause.workflow_id = ask.by.to_owned();
    log.append(Append {
        org: &ask.org,
        target: ask.target,
        key: &ask.key,
        command: &ask.command,
        context: &context,
        expected_seq: ask.expected_seq,
        run_id: ask.run_id,
        judge: &|head| judge(head, &ask.command, &context, rules.rules()),
        follow: &|_| ask.follow.clone(),
    })
    .await
}

impl World {
    /// With nothing in it.
    pub(crate) async fn new(on: Backend) -> Self {
        let store = on.fresh().await;
        Self { log: store.open().await, store }
    }

    /// With INC-2026-0001 (P1, open, two notes) and INC-2026-0002 (P3, pending, a note): 4 and 2 records.
    pub(crate) async fn told(on: Backend) -> Self {
        let world = Self::new(on).await;
        tell(&world.log).await;
        world
    }

    /// The same store, opened again as another process would.
    pub(crate) async fn other(&self) -> SharedLog {
        self.store.open().await
    }

    pub(crate) async fn say(
        &self,
        target: Target,
        key: &str,
        command: Command,
    ) -> Result<Appended, LogError> {
        say(&self.log, ask(target, key, command)).await
    }

    /// Past the log, as somebody with the database would.
    pub(crate) async fn damage(&self, damage: Damage<'_>) {
        self.store.damage(&OrgId::default(), damage).await;
    }

    /// Everything, as it is exported.
    pub(crate) async fn exported(&self, key: Option<CheckpointKey>) -> String {
        exported(self.other().await, key).await
    }

    pub(crate) async fn count(&self, rows: Rows) -> u64 {
        self.store.count(rows).await
    }

    pub(crate) async fn gate(&self, number: u64) -> GateState {
        let state = self.log.state(&OrgId::default(), &id(number)).await.unwrap().unwrap();
        state.gates.first().unwrap().clone()
    }

    pub(crate) async fn verified(&self) {
        let report = self.log.verify(&OrgId::default()).await.unwrap();
        assert!(report.verified, "{:?}", report.findings);
    }
}

/// The story that [`World::told`] begins with.
pub(crate) async fn tell(log: &SharedLog) {
    for (target, key, command) in [
        (new(), "d1", declaration("Checkout is down", Severity::P1)),
        (named(1), "s1", status(State::Open)),
        (named(1), "n1", note("disk full")),
        (named(1), "n2", note("disk still full")),
        (new(), "d2", declaration("Search is slow", Severity::P3)),
        (named(2), "n3", note("only mornings")),
    ] {
        say(log, ask(target, key, command)).await.unwrap();
    }
}

/// Everything of this log, as it is exported.
pub(crate) async fn exported(log: SharedLog, key: Option<CheckpointKey>) -> String {
    let mut export = Export::begin(log, OrgId::default(), key).await.unwrap();
    let mut file = String::new();
    while let Some(lines) = export.next().await.unwrap() {
        file.push_str(&lines);
    }
    file
}

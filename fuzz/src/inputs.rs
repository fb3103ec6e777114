//! The inputs. No target does I/O: a store or a server would hide the reader behind it.

use std::str;

use harmony_catalog::{
    descriptions::Description,
    inbound::{self, ChangeReport, DeliveryError, Reading, cdevents::Envelope, github},
    windows::{EnvironmentPolicies, EnvironmentPolicy, ReleaseAction, ReleaseQuestion},
};
use harmony_eventlog::{
    VerifierKey,
    export::{self, Expected},
};
use harmony_incidents::{
    Access, Command, Context, Directory, Head, IncidentId, OrgId, Policy, Rules, WorkflowId, WorkflowType,
    approvals,
    command::{Answer, Attested, DecisionInput, DecisionPayload, GateRequest},
    fold, judge,
    log::{Authority, Cause, IncidentCreated, IncidentState, Record, Severity, State, Text},
    policy::GateKind,
    promotion,
    record::{self, ChainHead, SaltKey},
};
use jiff::Timestamp;
use prost::Message;

/// A reader under test.
pub type Input = fn(&[u8]);

/// Every reader by its name, which is also the name of its corpus. Alphabetical; those of the console are in
/// [`crate::posted`].
pub const INPUTS: [(&str, Input); 17] = [
    ("access", access),
    ("argocd_notification", argocd_notification),
    ("candidate", candidate),
    ("cdevent", cdevent),
    ("change_event", change_event),
    ("checkpoint", checkpoint),
    ("decision", decision),
    ("description", description),
    ("directory", directory),
    ("environment_policy", environment_policy),
    ("export", export),
    ("github_webhook", github_webhook),
    ("gitlab_webhook", gitlab_webhook),
    ("policy", policy),
    ("promotion_policy", promotion_policy),
    ("record", record),
    ("runbook", runbook),
];

fn text(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes).ok()
}

/// Cedar policies of who may what.
fn access(bytes: &[u8]) {
    let Some(file) = text(bytes) else { return };
    let _ = Access::parse(file);
}

/// What a delivery tells about deployments is short, on one line and safe to follow, whoever wrote it.
fn is_plain(reading: Result<Reading, DeliveryError>) {
    let Ok(Reading::Reports(reports)) = reading else { return };
    assert!(!reports.is_empty(), "a delivery that tells nothing is ignored");
    for report in &reports {
        let ChangeReport { subject, delivery_id, service, environment, sha, version, url, summary, .. } =
            report;
        assert!(!subject.is_empty() && !delivery_id.is_empty());
        for line in [&service.name, environment, version, summary] {
            assert!(line.chars().count() <= 255 && !line.contains('\n'), "{line:?}");
        }
        assert!(sha.is_empty() || (sha.len() >= 7 && sha.bytes().all(|byte| byte.is_ascii_hexdigit())));
        assert!(url.is_empty() || url.starts_with("http"), "{url}");
        assert!(!report.is_newer_than(report));
    }
}

/// A notification of Argo CD.
fn argocd_notification(bytes: &[u8]) {
    is_plain(inbound::argocd::read(bytes));
}

/// A CDEvent, structured and binary.
fn cdevent(bytes: &[u8]) {
    is_plain(inbound::cdevents::read(Envelope::Structured, bytes));
    for event_type in ["dev.cdevents.service.deployed.0.3.0", "dev.cdevents.environment.created.0.3.0"] {
        let envelope = Envelope::Binary { id: "1", source: "/fuzz", event_type, specversion: "1.0" };
        is_plain(inbound::cdevents::read(envelope, bytes));
    }
}

/// A change event of PagerDuty.
fn change_event(bytes: &[u8]) {
    is_plain(inbound::pagerduty::read(bytes, Timestamp::UNIX_EPOCH).map(|enqueued| enqueued.reading));
}

/// A webhook of GitHub, as each of its events.
fn github_webhook(bytes: &[u8]) {
    let workflows = github::DeployWorkflows([("test.yml".to_owned(), "production".to_owned())].into());
    for event in ["deployment", "deployment_status", "release", "workflow_run"] {
        let headers = github::GitHubHeaders { event, delivery: "1" };
        is_plain(github::read(headers, &workflows, bytes));
    }
}

/// A webhook of GitLab.
fn gitlab_webhook(bytes: &[u8]) {
    is_plain(inbound::gitlab::read("1", bytes));
}

/// Services and environments in a file, in both of its forms.
fn description(bytes: &[u8]) {
    let Some(file) = text(bytes) else { return };
    for name in ["catalog.toml", "catalog-info.yaml"] {
        let Ok(described) = Description::parse(name, file) else { continue };
        assert_eq!(Description::merged([(name.to_owned(), described.clone())]), Ok(described));
    }
}

/// A change window, a freeze or an approval: what it answers is open when it says that it is.
fn environment_policy(bytes: &[u8]) {
    let Some(file) = text(bytes) else { return };
    let Ok(policy) = EnvironmentPolicy::parse("policy.toml", file) else { return };
    let refs = [policy.reference.to_string()];
    let all = EnvironmentPolicies::new([policy]).expect("one policy");
    let at = "2026-03-29T00:30:00Z".parse().expect("a time");
    let question = |at| ReleaseQuestion { refs: &refs, action: ReleaseAction::Deploy, at, rollback: None };
    let verdict = all.judge(question(at));
    if let Some(next) = verdict.next_open {
        assert!(next > at && all.judge(question(next)).open, "{verdict:?}");
    }
}

/// What a webhook brings is a candidate like any other: it goes through the same door again.
pub(crate) fn is_taken(candidate: &promotion::Candidate) {
    let again = promotion::Candidate::parse(serde_json::to_value(candidate).expect("it is JSON"));
    assert_eq!(again.as_ref().ok(), Some(candidate));
}

/// A candidate: what is accepted reads the same again.
fn candidate(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice(bytes) else { return };
    if let Ok(candidate) = promotion::Candidate::parse(value) {
        is_taken(&candidate);
    }
}

/// A checkpoint: nobody forges one, nor a key's name.
fn checkpoint(bytes: &[u8]) {
    let Some(note) = text(bytes) else { return };
    assert!(verifier().open(note).is_err(), "a checkpoint that nobody signed was believed");
    if let Ok(key) = VerifierKey::parse(note) {
        assert_eq!(VerifierKey::parse(&key.to_string()).as_ref(), Ok(&key));
    }
}

fn verifier() -> VerifierKey {
    // The public half of a key whose secret half is nowhere.
    let seed = record::hash(b"harmony-fuzz");
    harmony_eventlog::CheckpointKey::parse(&hex::encode(seed))
        .expect("64 hex digits")
        .verifier(&OrgId::default())
}

/// A decision signal, straight to Temporal: whatever it says, without an attestation the gate stays closed where the
/// policy refuses manual signals (the default).
fn decision(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    let payload = serde_json::from_value::<DecisionPayload>(value).map_err(|error| error.to_string());
    let world = Waiting::new();
    let input = DecisionInput {
        workflow_id: world.workflow.clone(),
        attempt: 1,
        payload,
        attested: Attested::No,
        decided_at: world.now,
        counted: false,
    };
    let judged =
        world.judge(&Command::Decide { input: Box::new(input) }).expect("a decision is always answered");
    let Answer::Judged { verdict } = &judged.answer else { panic!("a decision gets a verdict: {judged:?}") };
    assert!(!verdict.accepted, "nobody signed this: {judged:?}");
}

/// An incident with a remediation at its gate.
struct Waiting {
    head: ChainHead,
    directory: Directory,
    policy: Policy,
    workflow: WorkflowId,
    now: Timestamp,
}

impl Waiting {
    fn new() -> Self {
        let incident = IncidentId::new(2026, 1);
        let workflow = WorkflowId::new(WorkflowType::Remediate, &OrgId::default(), &incident);
        let roles = "roles = { default = [\"incident-commander\"] }";
        let people = format!(
            "[[principal]]\nid = \"commander\"\n{roles}\n\n[[principal]]\nid = \"operator\"\n{roles}\n"
        );
        let mut waiting = Self {
            head: ChainHead::default(),
            directory: Directory::parse(&people).expect("a directory"),
            policy: Policy::default(),
            workflow: workflow.clone(),
            now: "2026-03-01T02:00:00Z".parse().expect("a time"),
        };
        let created = IncidentCreated {
            title: Some(Text::plain("Checkout is down")),
            severity: Severity::P1.into(),
            ..IncidentCreated::default()
        };
        waiting.append("declare", &Command::Declare { incident: created });
        let open = Command::ChangeStatus {
            to: State::Open,
            reason: String::new(),
            justification: String::new(),
            resolution: None,
        };
        waiting.append("open", &open);
        let request = GateRequest {
            workflow_id: workflow,
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
        waiting.append("gate", &Command::OpenGate { request: Box::new(request) });
        waiting
    }

    fn context(&self) -> Context {
        Context {
            actor: "operator".to_owned(),
            authority: Authority::OnCallSre,
            cause: Cause {
                workflow_id: self.workflow.to_string(),
                blueprint: WorkflowType::Remediate.blueprint().to_owned(),
                attempt: 1,
                ..Cause::default()
            },
            occurred_at: self.now,
        }
    }

    fn judge(&self, command: &Command) -> Result<harmony_incidents::Judged, harmony_incidents::Refusal> {
        let access = Access::built_in();
        let promotion = promotion::Policies::default();
        let rules = Rules {
            directory: &self.directory,
            access: &access,
            policy: &self.policy,
            auto_escalate_p1: true,
            promotion: &promotion,
        };
        judge(Head { state: &self.head.state }, command, &self.context(), rules)
    }

    fn append(&mut self, key: &str, command: &Command) {
        let payloads = self.judge(command).expect("a legal command").payloads;
        let salt = SaltKey::parse(&"5a".repeat(32)).expect("a salt key");
        let incident = IncidentId::new(2026, 1);
        let (_, head) =
            record::append(&OrgId::default(), &incident, &self.head, key, &self.context(), payloads, &salt);
        self.head = head;
    }
}

/// The directory file.
fn directory(bytes: &[u8]) {
    let Some(file) = text(bytes) else { return };
    if let Ok(directory) = Directory::parse(file) {
        assert!(directory.get("").is_none(), "nobody has no name");
    }
}

/// An export that somebody hands to an auditor.
fn export(bytes: &[u8]) {
    if let Ok(verified) = export::verify(bytes, Expected::default()) {
        // What it found must be printable: line, incident and problem come from the file.
        let _ = format!("{:?}", verified.report);
    }
}

/// The policy file.
fn policy(bytes: &[u8]) {
    let Some(file) = text(bytes) else { return };
    let _ = Policy::parse(file);
}

/// A promotion policy, in both of its forms.
fn promotion_policy(bytes: &[u8]) {
    let Some(file) = text(bytes) else { return };
    let _ = promotion::PromotionPolicy::from_toml(file);
    let _ = promotion::PromotionPolicy::from_json(file);
}

/// Stored records: as one with its right hash in place, and as a run of records folded whatever they say.
fn record(bytes: &[u8]) {
    let org = OrgId::default();
    let incident = IncidentId::new(2026, 1);
    let found = record::check(&org, &incident, <ChainHead>::default(), bytes, &record::hash(bytes));
    if let Ok((record, head)) = found {
        assert_eq!((record.seq, head.state.seq), (1, 1));
    }
    let mut state = IncidentState::default();
    let mut rest = bytes;
    while let Ok(record) = Record::decode_length_delimited(&mut rest) {
        state = fold::fold(state, &record);
        for gate in &state.gates {
            let _ = approvals::view(gate);
        }
        let _ = record::state_hash(&state);
        let _ = record::redactable(&record, &Default::default(), None);
        if rest.is_empty() {
            break;
        }
    }
}

/// A runbook: every cell that may be run has a name, and each can be found by it.
fn runbook(bytes: &[u8]) {
    let Some(markdown) = text(bytes) else { return };
    let Ok(runbook) = harmony_runner::parse(markdown) else { return };
    for cell in &runbook.cells {
        assert!(!cell.name.is_empty());
        assert_eq!(runbook.cell(&cell.name), Some(cell), "two cells have one name");
    }
    let all = runbook.select(&[], &[]).expect("every cell is there");
    assert!(all.len() <= runbook.cells.len());
}

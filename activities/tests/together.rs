//! What is appended with what comes next: in order, each under its own key, once; and what is needed and refused ends it.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

use std::{path::Path, sync::Arc, time::Duration};

use harmony_activities::{DefaultFlags, EffectTiming, LogActivities, ReviewTemplate, Services};
use harmony_blueprints::contracts::{AppendReply, AppendRequest, Earlier, Scope};
use harmony_capabilities::deployments::Adapters;
use harmony_catalog::windows::EnvironmentPolicies;
use harmony_eventlog::{Append, SharedLog, SqliteLog, Target};
use harmony_incidents::{
    Command, IncidentId, OrgId, RuleSet, RulesSource, WorkflowId, WorkflowType,
    attestation::AttestationKeys,
    judge,
    judge::payload,
    log::{Authority, IncidentCreated, IncidentNoteAdded, Phase, Severity, State, Text, payload::Kind},
    record::SaltKey,
    ticket::TicketKey,
};
use harmony_runner::RunbookRoot;
use tempfile::TempDir;
use temporalio_sdk::testing::ActivityEnvironment;

struct Fixed(Arc<RuleSet>);

impl RulesSource for Fixed {
    fn current(&self) -> Arc<RuleSet> {
        self.0.clone()
    }
}

fn incident() -> IncidentId {
    IncidentId::new(2026, 1)
}

fn scope(step: &str) -> Scope {
    Scope {
        org: OrgId::default(),
        stream: incident().into(),
        workflow_id: WorkflowId::new(WorkflowType::Remediate, &OrgId::default(), &incident()),
        run_id: "run".to_owned(),
        blueprint: "remediate".to_owned(),
        attempt: 1,
        step: step.to_owned(),
        actor: "operator".to_owned(),
        authority: Authority::OnCallSre,
        occurred_at: "2026-03-01T02:00:00Z".parse().unwrap(),
    }
}

fn note(text: &str) -> Command {
    let note = IncidentNoteAdded { note: Some(Text::plain(text)) };
    Command::Record { payload: payload(Kind::IncidentNoteAdded(note)) }
}

fn status(to: State) -> Command {
    Command::ChangeStatus { to, reason: String::new(), justification: String::new(), resolution: None }
}

async fn services(home: &Path) -> Arc<Services> {
    let salt = SaltKey::parse(&"22".repeat(32)).unwrap();
    let log: SharedLog = Arc::new(SqliteLog::open(&home.join("harmony.db"), salt).await.unwrap());
    let rules = Arc::new(RuleSet::default());
    let created = IncidentCreated {
        title: Some(Text::plain("Logins fail")),
        severity: Severity::P2.into(),
        ..IncidentCreated::default()
    };
    let (command, context) = (Command::Declare { incident: created }, scope("declare").context());
    log.append(Append {
        org: &OrgId::default(),
        target: Target::New { year: 2026 },
        key: "declare",
        command: &command,
        context: &context,
        expected_seq: None,
        run_id: None,
        judge: &|head| judge(head, &command, &context, rules.rules()),
        follow: &|_| vec![],
    })
    .await
    .unwrap();
    Arc::new(Services {
        log,
        rules: Arc::new(Fixed(rules)),
        flags: Arc::new(DefaultFlags),
        attestation: AttestationKeys::parse(&"5a".repeat(32)).unwrap(),
        tickets: TicketKey::parse(&"5a".repeat(32)).unwrap(),
        slack: None,
        paging: None,
        statuspage: None,
        confluence: None,
        jira: None,
        github: None,
        console: None,
        timing: EffectTiming::for_requests_of(Duration::from_secs(20)),
        runbooks: RunbookRoot::new(home).unwrap(),
        adapters: Adapters::default(),
        environment_policies: Arc::new(EnvironmentPolicies::default()),
        review_template: ReviewTemplate::default(),
    })
}

async fn append(services: &Arc<Services>, earlier: Vec<(&str, Command, bool)>) -> AppendReply {
    let environment = ActivityEnvironment::builder_with_default()
        .register_activities(LogActivities(Arc::clone(services)))
        .build();
    let earlier =
        earlier.into_iter().map(|(step, command, needed)| Earlier { scope: scope(step), command, needed });
    let request = AppendRequest {
        scope: scope("last"),
        command: note("last"),
        order: None,
        alone: false,
        earlier: earlier.collect(),
    };
    environment.run(LogActivities::append, request).await.unwrap()
}

/// Kinds of the incident's records, after its declaration.
async fn recorded(services: &Services) -> Vec<String> {
    // The first one is its declaration.
    let entries = services.log.records(&OrgId::default(), &incident().into(), 1, 100).await.unwrap();
    let kinds = entries.iter().map(|entry| match &entry.record.payload.as_ref().unwrap().kind {
        Some(Kind::IncidentNoteAdded(note)) => note.note.as_ref().unwrap().shown().to_owned(),
        Some(Kind::IncidentStatusChanged(_)) => "status".to_owned(),
        other => format!("{other:?}"),
    });
    kinds.collect()
}

#[tokio::test]
async fn everything_is_on_record_in_order_and_once_however_often_it_is_tried() {
    let home = TempDir::new().unwrap();
    let services = services(home.path()).await;
    for is_repeated in [false, true] {
        let earlier = vec![("open", status(State::Open), true), ("first", note("first"), true)];
        let reply = append(&services, earlier).await;
        assert!(reply.answer.is_ok() && reply.stopped.is_none(), "{reply:?}");
        assert_eq!((reply.repeated, reply.state), (is_repeated, State::Open));
        assert_eq!(recorded(&services).await, ["status", "first", "last"]);
    }
}

#[tokio::test]
async fn what_is_needed_and_refused_keeps_what_comes_after_it_from_the_record() {
    let home = TempDir::new().unwrap();
    let services = services(home.path()).await;
    let earlier = vec![("first", note("first"), true), ("closed", status(State::Closed), true)];
    let reply = append(&services, earlier).await;
    assert!(reply.stopped.as_ref().is_some_and(|stopped| stopped.starts_with("closed: ")), "{reply:?}");
    assert!(reply.answer.is_err(), "{reply:?}");
    assert_eq!(recorded(&services).await, ["first"]);
}

#[tokio::test]
async fn phase_that_the_state_outranks_holds_nothing_up() {
    let home = TempDir::new().unwrap();
    let services = services(home.path()).await;
    let verified = Command::EnterPhase { phase: Phase::Verified };
    let reply = append(&services, vec![("verified", verified, false)]).await;
    assert!(reply.answer.is_ok() && reply.stopped.is_none(), "{reply:?}");
    assert_eq!(recorded(&services).await, ["last"]);
}

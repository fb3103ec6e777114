//! The sides, each with a worker in a process of its own and a namespace of its own on one Temporal server, and with the
//! same stand-ins of the vendors. How each is asked for the same thing.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    ops::Range,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use harmony_eventlog::{Append, Log as _, SqliteLog, Target};
use harmony_incidents::{
    Command as Ask, Context, Directory, IncidentId, LinkName, OrgId, Policy, RuleSet,
    judge::{judge, payload},
    log::{
        Authority, Cause, IncidentCreated, Link, Severity, State, StepSucceeded, Text, payload::Kind as Fact,
    },
    record::SaltKey,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use temporalio_client::{Client, UntypedSignal, UntypedWorkflow, WorkflowSignalOptions, tonic::IntoRequest};
use temporalio_common::protos::temporal::api::{
    common::v1::WorkflowExecution,
    history::v1::{HistoryEvent, history_event::Attributes},
    workflowservice::v1::GetWorkflowExecutionHistoryRequest,
};

use crate::{
    process::{Cpu, Process},
    server::{self, QUEUE, Server, raw},
};

/// Year of Harmony's incidents.
const YEAR: i16 = 2026;
/// Who asks, who decides, and who is invited with them.
const DIRECTORY: &str = r#"[[principal]]
id = "operator"
slack_user_id = "U00OPERATOR"
roles = { default = ["org-admin", "sre-oncall"] }
[[principal]]
id = "commander"
slack_user_id = "U0COMMANDER"
roles = { default = ["incident-commander"] }
[[principal]]
id = "oncall"
slack_user_id = "U0000ONCALL"
roles = { default = ["sre-oncall"] }
"#;
/// Everything is driven past Harmony's doors, as the peers are; nothing but a remediation and a review has a gate.
const POLICY: &str = r#"manual_signals = "accept"
manual_starts = "accept"
close_out_gate = []
review_required = []
"#;
/// 32 bytes in hex.
const KEY: [&str; 32] = ["5a"; 32];
const RUNBOOK: &str = "runbooks/bench.md";
/// The most cells that a runbook here has.
pub(crate) const CELLS: usize = 60;

/// Whose worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Harmony,
    Go,
    TypeScript,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Harmony => "Harmony",
            Self::Go => "Go",
            Self::TypeScript => "TypeScript",
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Harmony => "harmony",
            Self::Go => "go",
            Self::TypeScript => "typescript",
        }
    }
}

/// How a side's worker is started.
pub(crate) struct Program {
    pub(crate) kind: Kind,
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<PathBuf>,
}

/// One step of an incident's life, a workflow on every side.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Initiate,
    /// With so many cells.
    Remediate(usize),
    CloseOut,
    PostMortem,
}

/// A Temporal server, stand-ins, and a worker of each side. Ends when it is dropped.
pub(crate) struct Arena {
    pub(crate) sides: Vec<Side>,
    pub(crate) server: Server,
    _sandbox: Process,
}

impl Arena {
    pub(crate) async fn start(programs: &[Program], settings: &[&str]) -> Self {
        let namespaces: Vec<&str> = programs.iter().map(|program| program.kind.namespace()).collect();
        let server = Server::start_with(&namespaces, settings).await;
        let mut sandbox = Process::start(
            Command::new(&programs[0].path)
                .args(["sandbox", "--port", "0", "--json"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        );
        let mut line = String::new();
        BufReader::new(sandbox.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
        let vendors: Value = serde_json::from_str(&line).unwrap();
        let mut sides = Vec::new();
        for program in programs {
            sides.push(Side::start(program, &server, &vendors).await);
        }
        Self { sides, server, _sandbox: sandbox }
    }
}

/// See the module.
pub(crate) struct Side {
    pub(crate) kind: Kind,
    pub(crate) client: Client,
    worker: Process,
    command: Command,
    home: TempDir,
    /// Harmony's, in which incidents are declared.
    log: Option<(SqliteLog, RuleSet)>,
    next: usize,
}

impl Side {
    async fn start(program: &Program, server: &Server, vendors: &Value) -> Self {
        let kind = program.kind;
        let home = TempDir::new().unwrap();
        write_files(home.path());
        let client = server.client(kind.namespace()).await;
        let log = if kind == Kind::Harmony {
            let salt = SaltKey::parse(&KEY.concat()).unwrap();
            let log = SqliteLog::open(&home.path().join("harmony.db"), salt).await.unwrap();
            Some((log, rules()))
        } else {
            None
        };
        let mut command = Command::new(&program.path);
        command.args(&program.arguments).env_clear().envs(environment(vendors));
        for name in ["HOME", "PATH"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command
            .env("HARMONY_DATA_DIR", home.path())
            .env("HARMONY_RUNBOOKS", home.path().join("runbooks"))
            .env("TASK_QUEUE", QUEUE)
            .env("TEMPORAL_ADDRESS", &server.address)
            .env("TEMPORAL_NAMESPACE", kind.namespace())
            .env("TMPDIR", home.path())
            .stdout(Stdio::null());
        let worker = started(&mut command, home.path());
        let mut side = Self { kind, client, worker, command, home, log, next: 1 };
        while !server::is_polled(&side.client, kind.namespace()).await {
            side.worker.must_run(kind.name());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        side
    }

    /// Stops the worker and starts another, which knows none of the workflows.
    pub(crate) async fn restart(&mut self) {
        self.worker.stop().await;
        self.worker = started(&mut self.command, self.home.path());
    }

    pub(crate) fn cpu(&self) -> Cpu {
        self.worker.cpu()
    }

    pub(crate) fn memory_kib(&self) -> f64 {
        self.worker.memory_kib()
    }

    pub(crate) fn namespace(&self) -> String {
        self.kind.namespace().to_owned()
    }

    /// Numbers of so many new incidents. At Harmony they are on record, PENDING.
    pub(crate) async fn declared(&mut self, count: usize) -> Range<usize> {
        let numbers = self.next..self.next + count;
        self.next += count;
        if let Some((log, rules)) = &self.log {
            for number in numbers.clone() {
                let incident = IncidentCreated {
                    title: Some(Text::plain(self.title())),
                    severity: Severity::P2.into(),
                    ..IncidentCreated::default()
                };
                append(log, rules, None, number, "declare", Ask::Declare { incident }).await;
            }
        }
        numbers
    }

    /// The same of incidents that are open and have this channel.
    pub(crate) async fn opened(&mut self, count: usize, channel: &str) -> Range<usize> {
        let numbers = self.declared(count).await;
        if let Some((log, rules)) = &self.log {
            for number in numbers.clone() {
                let id = Some(IncidentId::new(YEAR, number as u64));
                let open = Ask::ChangeStatus {
                    to: State::Open,
                    reason: String::new(),
                    justification: String::new(),
                    resolution: None,
                };
                append(log, rules, id.clone(), number, "open", open).await;
                let name = LinkName::SlackChannel.name().to_owned();
                let step = StepSucceeded {
                    blueprint: "initiate".to_owned(),
                    step: "channel".to_owned(),
                    attempt: 1,
                    links: vec![Link { name, value: channel.to_owned(), url: String::new() }],
                    ..StepSucceeded::default()
                };
                let made = Ask::Record { payload: payload(Fact::StepSucceeded(step)) };
                append(log, rules, id, number, "channel", made).await;
            }
        }
        numbers
    }

    /// From declared to resolved; gives the ids of its workflows.
    pub(crate) async fn lifecycle(&self, number: usize) -> (Vec<String>, Value) {
        let initiate = self.start_phase(Phase::Initiate, number, &json!({})).await;
        let made = self.result(&initiate).await;
        let remediate = self.start_phase(Phase::Remediate(3), number, &made).await;
        self.asked(&remediate).await;
        self.approve(&remediate).await;
        self.result(&remediate).await;
        let close_out = self.start_phase(Phase::CloseOut, number, &made).await;
        self.result(&close_out).await;
        (vec![initiate, remediate, close_out], made)
    }

    /// Starts a phase of an incident; gives the workflow's id. `made` is what initiating it gave.
    pub(crate) async fn start_phase(&self, phase: Phase, number: usize, made: &Value) -> String {
        let (kind, id, input) = match self.kind {
            Kind::Harmony => harmony_input(phase, number),
            Kind::Go | Kind::TypeScript => self.peer_input(phase, number, made),
        };
        server::start(&self.client, kind, &id, &input).await;
        id
    }

    fn title(&self) -> String {
        format!("measured-{}", self.kind.namespace())
    }

    fn peer_input(&self, phase: Phase, number: usize, made: &Value) -> (&'static str, String, Value) {
        let incident = format!("{}-{number:04}", self.kind.namespace());
        let reference = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
        let mut input = json!({
            "id": incident, "title": self.title(), "severity": "P2", "by": "operator",
            "invite": ["U00OPERATOR", "U0COMMANDER", "U0000ONCALL"], "channel": reference("channel"),
            "pagerDutyId": reference("pagerDutyId"), "statuspageId": reference("statuspageId"),
        });
        let approvers = ["commander", "oncall", "manager"];
        let levels: Vec<Value> = [900, 1_800, 2_700]
            .map(|seconds| json!({ "approvers": approvers, "withinSeconds": seconds }))
            .into();
        let (kind, own) = match phase {
            Phase::Initiate => ("Initiate", json!({})),
            Phase::Remediate(count) => {
                let (cells, verification) = cells(count);
                let own = json!({
                    "runbook": RUNBOOK, "cells": cells, "verification": verification, "levels": levels,
                });
                ("Remediate", own)
            }
            Phase::CloseOut => ("CloseOut", json!({ "summary": "Measured" })),
            Phase::PostMortem => ("PostMortem", json!({ "review": "<p>Measured</p>", "levels": levels })),
        };
        input.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        (kind, format!("{kind}-{incident}"), input)
    }

    /// Waits until somebody may decide: until the level's timer runs.
    pub(crate) async fn asked(&self, workflow: &str) {
        let mut token = Vec::new();
        loop {
            let request = GetWorkflowExecutionHistoryRequest {
                namespace: self.namespace(),
                execution: Some(WorkflowExecution {
                    workflow_id: workflow.to_owned(),
                    run_id: String::new(),
                }),
                next_page_token: token,
                wait_new_event: true,
                ..Default::default()
            };
            let mut service = self.client.connection().workflow_service();
            let answer = service.get_workflow_execution_history(request.into_request()).await;
            let answer = answer.unwrap_or_else(|error| panic!("{workflow}: {error}")).into_inner();
            let events = answer.history.unwrap_or_default().events;
            let is_waiting = |event: &HistoryEvent| {
                matches!(event.attributes, Some(Attributes::TimerStartedEventAttributes(_)))
            };
            if events.iter().any(is_waiting) {
                return;
            }
            token = answer.next_page_token;
            assert!(!token.is_empty(), "{workflow} ended before it asked");
        }
    }

    pub(crate) async fn approve(&self, workflow: &str) {
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(workflow);
        let decision = raw(&json!({ "decision": "approved", "approverId": "commander" }));
        handle
            .signal(UntypedSignal::new("approval"), decision, WorkflowSignalOptions::default())
            .await
            .unwrap();
    }

    /// Waits for the end, which must be a good one.
    pub(crate) async fn result(&self, workflow: &str) -> Value {
        let result = server::result(&self.client, workflow).await;
        let is_good = result["status"].as_str().is_none_or(|status| status == "COMPLETED");
        let warned = result["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty());
        assert!(is_good && !warned, "{workflow}: {result}");
        result
    }
}

fn harmony_input(phase: Phase, number: usize) -> (&'static str, String, Value) {
    let incident = IncidentId::new(YEAR, number as u64).to_string();
    let (kind, own) = match phase {
        Phase::Initiate => ("incident.initiate", json!({ "title": "Measured", "severity": "P2" })),
        Phase::Remediate(count) => {
            let (cells, verification) = cells(count);
            let own = json!({
                "remediation": { "kind": "runbook", "path": RUNBOOK, "cells": cells },
                "verification": { "cells": verification },
            });
            ("incident.remediate", own)
        }
        Phase::CloseOut => {
            ("incident.close-out", json!({ "resolutionSummary": "Measured", "resolutionType": "FIXED" }))
        }
        Phase::PostMortem => ("incident.post-mortem", json!({})),
    };
    (kind, format!("{kind}-{incident}"), server::input(&incident, own))
}

/// Names of so many cells, the last of which verifies.
fn cells(count: usize) -> (Vec<String>, Vec<String>) {
    let named = |numbers: Range<usize>| numbers.map(|number| format!("cell-{number}")).collect();
    (named(0..count - 1), named(count - 1..count))
}

fn write_files(home: &Path) {
    std::fs::create_dir(home.join("runbooks")).unwrap();
    std::fs::write(home.join("directory.toml"), DIRECTORY).unwrap();
    std::fs::write(home.join("policy.toml"), POLICY).unwrap();
    let cell = |number| {
        format!("```sh {{ name=cell-{number} idempotent=true timeout=30s }}\necho \"cell {number}\"\n```\n")
    };
    let cells: Vec<String> = (0..CELLS).map(cell).collect();
    std::fs::write(home.join(RUNBOOK), format!("# Measured\n\n{}", cells.join("\n"))).unwrap();
}

fn rules() -> RuleSet {
    RuleSet {
        directory: Directory::parse(DIRECTORY).unwrap(),
        policy: Policy::default(),
        ..RuleSet::default()
    }
}

async fn append(
    log: &SqliteLog,
    rules: &RuleSet,
    id: Option<IncidentId>,
    number: usize,
    key: &str,
    command: Ask,
) {
    let context = Context {
        actor: "operator".to_owned(),
        authority: Authority::OnCallSre,
        cause: Cause::default(),
        occurred_at: jiff::Timestamp::now(),
    };
    let appended = log
        .append(Append {
            org: &OrgId::default(),
            target: id.map_or(Target::New { year: YEAR }, |id| Target::Named(id.into())),
            key: &format!("{key}/{number}"),
            command: &command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &|head| judge(head, &command, &context, rules.rules()),
            follow: &|_| vec![],
        })
        .await
        .unwrap();
    assert_eq!(appended.incident(), Some(IncidentId::new(YEAR, number as u64)), "{:?}", appended.answer);
}

/// The settings of every side.
fn environment(vendors: &Value) -> Vec<(&'static str, String)> {
    let url = |vendor: &str, path: &str| format!("{}{path}", vendors[vendor].as_str().unwrap());
    let mut settings: Vec<(&str, String)> = [
        ("SLACK_BOT_TOKEN", "xoxb-sandbox"),
        ("PAGERDUTY_API_KEY", "sandbox"),
        ("PAGERDUTY_FROM", "operator@example.com"),
        ("PAGERDUTY_SERVICE_ID", "PSANDBOX"),
        ("STATUSPAGE_API_KEY", "sandbox"),
        ("STATUSPAGE_PAGE_ID", "sandboxpage1"),
        ("CONFLUENCE_EMAIL", "operator@example.com"),
        ("CONFLUENCE_API_TOKEN", "sandbox"),
        ("CONFLUENCE_SPACE_KEY", "OPS"),
        ("NODE_ENV", "production"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into();
    settings.extend([
        ("SLACK_BASE_URL", url("slack", "/api")),
        ("PAGERDUTY_BASE_URL", url("pagerduty", "")),
        ("STATUSPAGE_BASE_URL", url("statuspage", "/v1")),
        ("CONFLUENCE_BASE_URL", url("confluence", "/wiki/api/v2")),
        ("HARMONY_SALT_KEY", KEY.concat()),
    ]);
    settings
}

fn started(command: &mut Command, home: &Path) -> Process {
    let errors = File::options().create(true).append(true).open(home.join("worker.log")).unwrap();
    Process::start(command.stderr(errors))
}

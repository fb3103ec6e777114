//! A worker in a process of its own: the blueprints with a log of the job's choice and no vendors, or a workflow that
//! does next to nothing.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use harmony_activities::{
    ConnectorActivities, DefaultFlags, EffectTiming, LogActivities, ReviewTemplate, Services,
};
use harmony_blueprints::{CloseOut, Initiate, Remediate};
use harmony_capabilities::deployments::Adapters;
use harmony_eventlog::{Append, SharedLog, SqliteLog, Target};
use harmony_incidents::ticket::TicketKey;
use harmony_incidents::{
    Command as Ask, Context, Directory, IncidentId, OrgId, Policy, RuleSet, RulesSource,
    attestation::AttestationKeys,
    judge,
    log::{Authority, Cause, IncidentCreated, Severity, Text},
    policy::Manual,
    record::SaltKey,
};
use harmony_runner::RunbookRoot;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use temporalio_sdk::{Runtime, Worker, WorkerOptions, runtime::RuntimeOptions};

use crate::{
    bare::{Bare, BareActivities},
    null_log::NullLog,
    server::{self, QUEUE, Server},
};

/// Names the job in the child's environment.
pub(crate) const JOB: &str = "HARMONY_MEASURES_JOB";
/// Year of the incidents that a child declares.
pub(crate) const YEAR: i16 = 2026;
/// As the worker has it.
const STICKY_TIMEOUT: Duration = Duration::from_secs(2);
const DIRECTORY: &str = "[[principal]]\nid = \"operator\"\nroles = { default = [\"org-admin\", \"sre-oncall\"] }\n\
                         [[principal]]\nid = \"viewer\"\nroles = { default = [\"incident-viewer\"] }\n";

/// Which log.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Log {
    /// SQLite in this file.
    Sqlite(PathBuf),
    /// Nothing is written.
    Null,
    /// No blueprints at all, but a workflow that does next to nothing.
    Bare,
}

/// What a child is to do.
#[derive(Serialize, Deserialize)]
pub(crate) struct Job {
    address: String,
    namespace: String,
    log: Log,
    /// Incidents to declare first.
    incidents: u64,
    severity: String,
    cache: usize,
}

/// A child that polls.
pub(crate) struct Polling {
    child: Child,
    /// It ends when this is closed.
    stdin: Option<ChildStdin>,
    /// From its start to its first poll.
    pub(crate) took: Duration,
}

impl Polling {
    /// Starts a worker and waits until it polls.
    pub(crate) async fn start(
        server: &Server,
        namespace: &str,
        log: Log,
        incidents: (u64, &str),
        cache: usize,
    ) -> Self {
        let job = Job {
            address: server.address.clone(),
            namespace: namespace.to_owned(),
            log,
            incidents: incidents.0,
            severity: incidents.1.to_owned(),
            cache,
        };
        let client = server.client(namespace).await;
        let began = Instant::now();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(JOB, serde_json::to_string(&job).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let said = BufReader::new(child.stdout.take().unwrap());
        assert_eq!(said.lines().next().unwrap().unwrap(), "ready");
        while !server::is_polled(&client, namespace).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { child, stdin, took: began.elapsed() }
    }

    /// How long it has been on a CPU.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_of(self.child.id().try_into().unwrap())
    }

    /// Its memory, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    }
}

/// How long a process has been on a CPU.
pub(crate) fn cpu_of(pid: i32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Behind the name, which is in brackets: state is the third field, user and system time the 14th and 15th.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // Linux counts them a hundred a second.
    Duration::from_millis(ticks * 10)
}

impl Drop for Polling {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

struct Rules(Arc<RuleSet>);

impl RulesSource for Rules {
    fn current(&self) -> Arc<RuleSet> {
        self.0.clone()
    }
}

/// A child's `main`.
pub(crate) async fn run(job: &Job) {
    let client = server::connect(&job.address, &job.namespace).await;
    let runtime = Runtime::from_current_tokio(RuntimeOptions::builder().build().unwrap()).unwrap();
    let options = WorkerOptions::new(QUEUE)
        .max_cached_workflows(job.cache)
        .sticky_queue_schedule_to_start_timeout(STICKY_TIMEOUT);
    let options = if let Log::Bare = job.log {
        options.register_workflow::<Bare>().unwrap().register_activities(BareActivities).build()
    } else {
        let services = Arc::new(services(job).await);
        options
            .register_workflow::<CloseOut>()
            .unwrap()
            .register_workflow::<Initiate>()
            .unwrap()
            .register_workflow::<Remediate>()
            .unwrap()
            .register_activities(ConnectorActivities(services.clone()))
            .register_activities(LogActivities(services))
            .build()
    };
    let mut worker = Worker::new(&runtime, client, options).unwrap();
    println!("ready");
    // Its parent kills it; should the parent be gone first, its stdin is closed.
    std::thread::spawn(|| {
        drop(std::io::stdin().lock().lines().next());
        std::process::exit(0);
    });
    worker.run().await.unwrap();
}

async fn services(job: &Job) -> Services {
    let log: SharedLog = match &job.log {
        Log::Sqlite(path) => {
            let salt = SaltKey::parse(&"5a".repeat(32)).unwrap();
            Arc::new(SqliteLog::open(path, salt).await.unwrap())
        }
        Log::Null | Log::Bare => Arc::new(NullLog::default()),
    };
    let policy = Policy {
        manual_starts: Manual::Accept,
        manual_signals: Manual::Accept,
        close_out_gate: vec![],
        ..Policy::default()
    };
    let directory = Directory::parse(DIRECTORY).unwrap();
    let rules = Arc::new(RuleSet { directory, policy, ..RuleSet::default() });
    declare(&log, &rules, job).await;
    Services {
        log,
        rules: Arc::new(Rules(rules)),
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
        runbooks: RunbookRoot::new(std::env::temp_dir()).unwrap(),
        adapters: Adapters::default(),
        environment_policies: Arc::new(harmony_catalog::windows::EnvironmentPolicies::default()),
        review_template: ReviewTemplate::default(),
    }
}

async fn declare(log: &SharedLog, rules: &RuleSet, job: &Job) {
    let org = OrgId::default();
    let severity = Severity::from_str_name(&job.severity).unwrap();
    let created = IncidentCreated {
        title: Some(Text::plain("Measured")),
        severity: severity.into(),
        ..IncidentCreated::default()
    };
    let command = Ask::Declare { incident: created };
    let context = Context {
        actor: "operator".to_owned(),
        authority: Authority::OnCallSre,
        cause: Cause::default(),
        occurred_at: "2026-03-01T02:00:00Z".parse::<Timestamp>().unwrap(),
    };
    for number in 1..=job.incidents {
        let appended = log
            .append(Append {
                org: &org,
                target: Target::New { year: YEAR },
                key: &format!("declare/{number}"),
                command: &command,
                context: &context,
                expected_seq: None,
                run_id: None,
                judge: &|head| judge(head, &command, &context, rules.rules()),
                follow: &|_| vec![],
            })
            .await
            .unwrap();
        assert_eq!(appended.incident(), Some(IncidentId::new(YEAR, number)));
    }
}

//! One worker that carries one step out, and is killed where it is told to be.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use harmony_activities::{
    ConnectorActivities, EffectTiming, FlagSource, FlagValue, Flags, PagingService, ReviewSpace,
    ReviewTemplate, Services,
};
use harmony_blueprints::contracts::StepReply;
use harmony_capabilities::{
    confluence::Confluence, deployments::Adapters, github::GitHub, jira::Jira, pagerduty::PagerDuty,
    slack::Slack, statuspage::Statuspage,
};
use harmony_incidents::ticket::TicketKey;
use harmony_incidents::{RuleSet, RulesSource, attestation::AttestationKeys};
use harmony_runner::RunbookRoot;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use temporalio_sdk::testing::{ActivityEnvironment, TestActivityInfoOptions};

use crate::operations::{self, BaseUrls};

/// Names the job in a child's environment.
pub(crate) const JOB: &str = "HARMONY_MATRIX_JOB";
/// Between two tries; what the vendor or the ledger asks for is waited out by asking again.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);
const TRIES: u32 = 300;

/// What a child is to do.
#[derive(Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) dir: PathBuf,
    pub(crate) base_urls: BaseUrls,
    pub(crate) activity: String,
    pub(crate) effect: Value,
    pub(crate) die: Option<Die>,
    pub(crate) first_try: u32,
    pub(crate) limit_ms: u64,
    pub(crate) before_sweep_ms: u64,
}

/// Where it kills itself.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Die {
    /// The intent is written: the flag of the capability is asked for after it.
    BeforeCall,
    /// The result is written: the rules are asked for to judge the record, after having been asked this often.
    BeforeRecord { rules_asked: u32 },
}

fn die() {
    let _ = kill(Pid::this(), Signal::SIGKILL);
    loop {
        std::thread::park();
    }
}

struct DeadlyFlags(Option<Die>);

#[async_trait]
impl Flags for DeadlyFlags {
    async fn value(&self, _name: &str, default: bool) -> FlagValue {
        if self.0 == Some(Die::BeforeCall) {
            die();
        }
        FlagValue { on: default, from: FlagSource::Default }
    }
}

struct DeadlyRules {
    rules: Arc<RuleSet>,
    asked: AtomicU32,
    die: Option<Die>,
}

impl RulesSource for DeadlyRules {
    fn current(&self) -> Arc<RuleSet> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(Die::BeforeRecord { rules_asked }) = self.die
            && asked >= rules_asked
        {
            die();
        }
        Arc::clone(&self.rules)
    }
}

async fn services(job: &Job) -> Services {
    let limit = Duration::from_millis(job.limit_ms);
    let BaseUrls { slack, pagerduty, statuspage, confluence, jira, github } = &job.base_urls;
    let from = "operator@example.com".to_owned();
    let pagerduty = PagerDuty::new(pagerduty, "sandbox".into(), from).unwrap().with_limit(limit).unwrap();
    let confluence = Confluence::new(confluence, "operator@example.com", "sandbox".into()).unwrap();
    let jira = Jira::new(jira, "operator@example.com", "sandbox".into(), "OPS", "Task").unwrap();
    let github = GitHub::new(github, "sandbox".into(), "acme/shop".parse().unwrap()).unwrap();
    Services {
        log: operations::open_log(&job.dir).await,
        rules: Arc::new(DeadlyRules {
            rules: Arc::new(operations::rules()),
            asked: AtomicU32::new(0),
            die: job.die,
        }),
        flags: Arc::new(DeadlyFlags(job.die)),
        attestation: AttestationKeys::parse(&"5a".repeat(32)).unwrap(),
        tickets: TicketKey::parse(&"5a".repeat(32)).unwrap(),
        slack: Some(Slack::new(slack, "xoxb-sandbox".into()).unwrap().with_limit(limit).unwrap()),
        paging: Some(PagingService { pagerduty, service_id: "PSANDBOX".to_owned() }),
        statuspage: Some(
            Statuspage::new(statuspage, "sandbox".into(), "sandboxpage1").unwrap().with_limit(limit).unwrap(),
        ),
        confluence: Some(ReviewSpace {
            confluence: confluence.with_limit(limit).unwrap(),
            space_key: "OPS".to_owned(),
        }),
        jira: Some(jira.with_limit(limit).unwrap()),
        github: Some(github.with_limit(limit).unwrap()),
        console: None,
        timing: EffectTiming {
            under_way: limit + Duration::from_secs(1),
            between_looks: Duration::from_millis(200),
            before_sweep: Duration::from_millis(job.before_sweep_ms),
            // The stand-in's search is 300 ms behind.
            search_lag: Duration::from_millis(500),
        },
        runbooks: RunbookRoot::new(&job.dir).unwrap(),
        adapters: Adapters::default(),
        environment_policies: Arc::new(harmony_catalog::windows::EnvironmentPolicies::default()),
        review_template: ReviewTemplate::default(),
    }
}

/// Tries until the step is through; says its reply on stdout.
pub(crate) async fn run(job: &Job) -> ExitCode {
    let services = Arc::new(services(job).await);
    let mut last = String::new();
    for number in job.first_try..job.first_try + TRIES {
        match carry_out(&services, job, number).await {
            Ok(reply) => {
                println!("{}", serde_json::to_string(&reply).unwrap());
                return ExitCode::SUCCESS;
            }
            Err(error) => last = error,
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    println!("{last}");
    ExitCode::FAILURE
}

async fn carry_out(services: &Arc<Services>, job: &Job, number: u32) -> Result<StepReply, String> {
    let info = TestActivityInfoOptions::builder().attempt(number).activity_type(job.activity.clone()).build();
    let environment = ActivityEnvironment::builder_with_default()
        .register_activities(ConnectorActivities(Arc::clone(services)))
        .info(info)
        .build();
    macro_rules! run {
        ($activity:ident) => {{
            let effect = serde_json::from_value(job.effect.clone()).map_err(|error| error.to_string())?;
            environment.run(ConnectorActivities::$activity, effect).await.map_err(|error| error.to_string())
        }};
    }
    match job.activity.as_str() {
        "channel.archive" => run!(channel_archive),
        "channel.invite" => run!(channel_invite),
        "channel.open" => run!(channel_open),
        "channel.post" => run!(channel_post),
        "channel.settle" => run!(channel_settle),
        "channel.topic" => run!(channel_topic),
        "issue.open" => run!(issue_open),
        "paging.note" => run!(paging_note),
        "paging.open" => run!(paging_open),
        "paging.resolve" => run!(paging_resolve),
        "paging.urgency" => run!(paging_urgency),
        "public.impact" => run!(public_impact),
        "public.open" => run!(public_open),
        "public.resolve" => run!(public_resolve),
        "public.update" => run!(public_update),
        "review.publish" => run!(review_publish),
        other => Err(format!("no activity {other}")),
    }
}

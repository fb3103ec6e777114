//! `harmony worker`: polls one or both task queues, and carries the outbox out where it polls the incidents queue.
//!
//! Waits for Temporal as long as it takes: what was recorded meanwhile is carried out once it is there. On SIGTERM it
//! takes no new work, gives what runs a moment, and leaves the rest to the next worker.

use std::{fs, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;
use harmony_activities::{
    Admission, CandidateEvents, Checkpoints, ConnectorActivities, Dispatcher, EffectTiming, LogActivities,
    Notices, PagingService, Reconciler, ReleaseActivities, Reminders, ReviewSpace, RunbookActivities,
    RunbookServices, Services, Traced,
};
use harmony_blueprints::{
    CloseOut, Deploy, INCIDENTS_QUEUE, IncidentAct, IncidentUpdates, Initiate, PostMortem, Promote,
    PromoteRelease, RUNBOOKS_QUEUE, Remediate,
};
use harmony_capabilities::{
    confluence::Confluence,
    github::GitHub,
    jira::Jira,
    mail::{Mail, MailError},
    pagerduty::PagerDuty,
    slack::Slack,
    statuspage::Statuspage,
};
use harmony_eventlog::{
    SharedLog,
    fanout::{FanOut, Sink},
};
use temporalio_client::Client;
use temporalio_common::worker::{VersioningBehavior, WorkerDeploymentOptions, WorkerDeploymentVersion};
use temporalio_sdk::{Runtime, Worker, WorkerOptions, runtime::RuntimeOptions};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    checks::{self, Process},
    commands::temporal_setup::missing_search_attributes,
    config::{Build, Config, Queues},
    confinement,
    console_outputs::ConsoleOutputs,
    deployments, environment_policies,
    failure::Failure,
    flags::FlagService,
    health::{self, Parts},
    jobs,
    temporal::Probe,
    vendor_settings::JiraSettings,
};

/// One that waits at a gate takes some 244 KiB of the cache (`docs/performance.md`).
const CACHED_WORKFLOWS: usize = 1_000;
/// A worker that was killed holds its workflows back no longer than this.
const STICKY_TIMEOUT: Duration = Duration::from_secs(2);
/// What a running activity may still take when the worker stops; killing a cell takes 5 s.
const GRACE: Duration = Duration::from_secs(6);
/// The longest that a worker takes to stop: what runs, and then the outbox, which is given 2 s.
#[cfg(test)]
pub(crate) const STOPPING: Duration = Duration::from_secs(6 + 2);
/// A cell hears of a stop with the answer to a heartbeat. The SDK would hold heartbeats back for 80 % of their time-out.
const STOP_HEARD_WITHIN: Duration = Duration::from_millis(500);
/// How often to look for a Temporal that is away.
const RECONNECT: Duration = Duration::from_secs(1);

/// Runs until told to stop.
pub(crate) async fn run(config: &Config, queues: Queues) -> anyhow::Result<()> {
    let served = [(queues.incidents, Process::Worker), (queues.runbooks, Process::Runbooks)];
    let served: Vec<Process> =
        served.into_iter().filter(|(is_served, _)| *is_served).map(|(_, one)| one).collect();
    checks::before_start(config, &served)?;
    let stop = stop_signal()?;
    let (parts, known) = watch::channel(Parts::default());
    let telemetry = match config.metrics_addr {
        Some(address) => {
            let temporal = Probe::start(config).await;
            health::serve(address, temporal, known, queues.incidents, stop.clone()).await?
        }
        None => Default::default(),
    };
    let keeping = if queues.incidents { Some(Keeping::begin(config, &stop).await?) } else { None };
    let Some(client) = connect(config, &stop).await else { return Ok(()) };
    let options = RuntimeOptions::builder()
        .telemetry_options(telemetry)
        .build()
        .map_err(|error| anyhow::anyhow!("the Temporal runtime cannot be set up: {error}"))?;
    let runtime = Runtime::from_current_tokio(options)
        .map_err(|error| anyhow::anyhow!("the Temporal runtime does not start: {error}"))?;
    let mut running: Vec<LocalBoxFuture<'_, anyhow::Result<()>>> = Vec::new();
    let mut dispatching = None;
    if let Some(Keeping { log, sinks, checkpoints, .. }) = &keeping {
        config.publish_ticket_key()?;
        let services = Arc::new(services(config, log.clone()).await?);
        parts.send_modify(|parts| {
            parts.governed = Some((services.log.clone(), services.rules.clone()));
        });
        let traced = Traced::new(Some(services.log.clone()));
        if let Some(checkpoints) = checkpoints {
            tokio::spawn(checkpoints.clone().hourly(services.rules.clone(), stop.clone()));
        }
        let dispatcher = Dispatcher::new(
            services.log.clone(),
            client.clone(),
            services.rules.clone(),
            checkpoints.clone(),
            CandidateEvents::new(services.log.clone(), sinks.clone()),
            Notices {
                log: services.log.clone(),
                rules: services.rules.clone(),
                flags: services.flags.clone(),
                keys: services.attestation.clone(),
                mail: mail(config)?,
                slack: services.slack.clone(),
                console: services.console.clone(),
            },
            services.clone(),
        );
        let reconciler = Reconciler::new(services.log.clone(), client.clone(), services.rules.clone());
        let reminders =
            Reminders::new(services.log.clone(), services.rules.clone(), services.attestation.clone());
        tokio::spawn(reminders.run(stop.clone()));
        dispatching =
            Some((tokio::spawn(dispatcher.run(stop.clone())), tokio::spawn(reconciler.run(stop.clone()))));
        let options = WorkerOptions::new(INCIDENTS_QUEUE)
            .register_workflow::<CloseOut>()?
            .register_workflow::<Deploy>()?
            .register_workflow::<IncidentAct>()?
            .register_workflow::<IncidentUpdates>()?
            .register_workflow::<Initiate>()?
            .register_workflow::<PostMortem>()?
            .register_workflow::<Promote>()?
            .register_workflow::<PromoteRelease>()?
            .register_workflow::<Remediate>()?
            .register_activities(ConnectorActivities(services.clone()))
            .register_activities(ReleaseActivities(services.clone()))
            .register_activities(LogActivities(services))
            .activity_inbound_interceptor(Admission::new(log.clone(), client.clone()))
            .activity_inbound_interceptor(traced)
            .max_cached_workflows(CACHED_WORKFLOWS)
            .sticky_queue_schedule_to_start_timeout(STICKY_TIMEOUT)
            .graceful_shutdown_period(GRACE)
            .maybe_deployment_options(config.build.as_ref().map(versioned))
            .build();
        running.push(poll(&runtime, &client, options, stop.clone()));
    }
    if queues.runbooks {
        let services = RunbookServices {
            runbooks: config.runbook_root()?,
            tickets: config.ticket_verifier()?,
            secrets: config.settings.get("HARMONY_RUNBOOK_SECRETS").map(PathBuf::from),
            // Where `kubectl` finds its cluster; no secret is among them.
            confinement: confinement::of(config, !queues.incidents)?,
            allow_env: ["KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"]
                .map(str::to_owned)
                .to_vec(),
            outputs: Some(Arc::new(ConsoleOutputs::new(config)?)),
            executors: jobs::executors(config)?,
            stopping: stop.clone(),
        };
        let options = WorkerOptions::new(RUNBOOKS_QUEUE)
            .register_activities(RunbookActivities::new(services))
            .activity_inbound_interceptor(Admission::of_cells())
            .activity_inbound_interceptor(Traced::new(None))
            .max_heartbeat_throttle_interval(STOP_HEARD_WITHIN)
            .default_heartbeat_throttle_interval(STOP_HEARD_WITHIN)
            .graceful_shutdown_period(GRACE)
            .build();
        running.push(poll(&runtime, &client, options, stop.clone()));
    }
    parts.send_modify(|parts| parts.polling = true);
    let ended = futures_util::future::try_join_all(running).await;
    stop.cancel();
    if let Some((dispatching, reconciling)) = dispatching {
        drop(tokio::join!(dispatching, reconciling));
    }
    if let Some(keeping) = keeping {
        drop(keeping.carrying.await);
    }
    ended.map(drop)
}

/// A run goes on with the build that it began on; the deployment's current build takes the new ones.
fn versioned(build: &Build) -> WorkerDeploymentOptions {
    let version = WorkerDeploymentVersion::builder()
        .deployment_name(build.deployment.clone())
        .build_id(build.id.clone())
        .build();
    WorkerDeploymentOptions::new(version)
        .use_worker_versioning(true)
        .default_versioning_behavior(VersioningBehavior::Pinned)
        .build()
}

/// The log, and what goes on with it while Temporal is away.
struct Keeping {
    log: SharedLog,
    sinks: Vec<Arc<dyn Sink>>,
    checkpoints: Option<Arc<Checkpoints>>,
    carrying: tokio::task::JoinHandle<()>,
}

impl Keeping {
    /// Opens the log and begins to carry it to its sinks.
    async fn begin(config: &Config, stop: &CancellationToken) -> anyhow::Result<Self> {
        let log = config.open_log().await?;
        let sinks = config.fan_out.sinks().await?;
        let directory = config.fan_out.checkpoints.clone();
        let checkpoints = if directory.is_some() || !sinks.is_empty() {
            let key = config.checkpoint_key()?;
            Checkpoints::new(log.clone(), key, directory, sinks.clone()).map(Arc::new)
        } else {
            None
        };
        let carrying = tokio::spawn(FanOut::new(log.clone(), sinks.clone()).run(stop.clone()));
        Ok(Self { log, sinks, checkpoints, carrying })
    }
}

fn poll<'a>(
    runtime: &'a Runtime,
    client: &'a Client,
    options: WorkerOptions,
    stop: CancellationToken,
) -> LocalBoxFuture<'a, anyhow::Result<()>> {
    Box::pin(async move {
        let queue = options.task_queue.clone();
        let mut worker = Worker::new(runtime, client.clone(), options)
            .map_err(|error| anyhow::anyhow!("the worker of {queue} does not start: {error}"))?;
        let shutdown = worker.shutdown_handle();
        tracing::info!(queue, "polling");
        let mut polling = pin!(worker.run());
        let ended = tokio::select! {
            ended = &mut polling => ended,
            () = stop.cancelled() => {
                shutdown();
                polling.await
            }
        };
        // One worker that ends takes the other with it: half a worker is none.
        stop.cancel();
        ended.map_err(|error| anyhow::anyhow!("the worker of {queue} ended: {error}"))
    })
}

/// A client, once Temporal is there and set up.
async fn connect(config: &Config, stop: &CancellationToken) -> Option<Client> {
    let mut said = String::new();
    loop {
        match ready_client(config).await {
            Ok(client) => return Some(client),
            Err(error) => {
                let problem = format!("{error:#}");
                if problem != said {
                    tracing::warn!(error = %problem, "waiting for Temporal");
                    said = problem;
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(RECONNECT) => {}
        }
    }
}

async fn ready_client(config: &Config) -> anyhow::Result<Client> {
    let client = config.temporal_client().await?;
    let namespace = &config.temporal_namespace;
    let missing = missing_search_attributes(&client, namespace).await?;
    anyhow::ensure!(
        missing.is_empty(),
        "namespace {namespace} lacks the search attributes {}: run `harmony temporal setup`",
        missing.join(", ")
    );
    Ok(client)
}

async fn services(config: &Config, log: SharedLog) -> anyhow::Result<Services> {
    let vendors = &config.vendors;
    let limit = config.request_timeout;
    let slack = match &vendors.slack {
        Some(one) => Some(Slack::new(&one.base_url, one.bot_token.clone())?.with_limit(limit)?),
        None => None,
    };
    let paging = match &vendors.pagerduty {
        Some(one) => Some(PagingService {
            pagerduty: PagerDuty::new(&one.base_url, one.api_key.clone(), one.from.clone())?
                .with_limit(limit)?,
            service_id: one.service_id.clone(),
        }),
        None => None,
    };
    let statuspage = match &vendors.statuspage {
        Some(one) => Some(
            Statuspage::new(&one.base_url, one.api_key.clone(), one.page_id.clone())?.with_limit(limit)?,
        ),
        None => None,
    };
    let confluence = match &vendors.confluence {
        Some(one) => Some(ReviewSpace {
            confluence: Confluence::new(&one.base_url, one.email.clone(), one.api_token.clone())?
                .with_limit(limit)?,
            space_key: one.space_key.clone(),
        }),
        None => None,
    };
    let jira = match &vendors.jira {
        Some(JiraSettings { base_url, email, api_token, project_key, issue_type }) => {
            Some(Jira::new(base_url, email, api_token.clone(), project_key, issue_type)?.with_limit(limit)?)
        }
        None => None,
    };
    let github = match &vendors.github {
        Some(one) => {
            Some(GitHub::new(&one.base_url, one.token.clone(), one.repository.clone())?.with_limit(limit)?)
        }
        None => None,
    };
    let flags = FlagService::start(config.flags.clone()).await?;
    Ok(Services {
        log,
        rules: config.governance(Arc::clone(&flags))?,
        flags,
        attestation: config.attestation_keys()?,
        tickets: config.ticket_key()?,
        slack,
        paging,
        statuspage,
        confluence,
        jira,
        github,
        console: config.console_url()?,
        timing: EffectTiming::for_requests_of(limit),
        runbooks: config.runbook_root()?,
        adapters: deployments::adapters(config)?,
        environment_policies: Arc::new(environment_policies::watch(config.environment_policies_path())),
        review_template: config.review_template()?,
    })
}

/// The relay that mail is handed to, where one is configured.
fn mail(config: &Config) -> anyhow::Result<Option<Mail>> {
    let Some(settings) = &config.vendors.mail else { return Ok(None) };
    let authority = match config.settings.get("HARMONY_SMTP_CA_PATH") {
        Some(path) => Some(fs::read(path).map_err(|error| {
            Failure::usage(
                format!("HARMONY_SMTP_CA_PATH: {path}: {error}"),
                "name a PEM file that can be read",
            )
        })?),
        None => None,
    };
    let mail = Mail::new(settings, authority.as_deref()).map_err(|error| {
        let key = match error {
            MailError::Authority => "HARMONY_SMTP_CA_PATH",
            MailError::Credentials => "HARMONY_SMTP_PASSWORD",
            _ => "HARMONY_SMTP_URL",
        };
        Failure::usage(format!("{key}: {error}"), format!("correct {key}"))
    })?;
    Ok(Some(mail))
}

fn stop_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    Ok(stop)
}

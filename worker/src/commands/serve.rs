//! `harmony serve`: the API and the console.
//!
//! Writes its origin into `<data-dir>/api`, where the client commands find it. On SIGTERM it takes no new connection,
//! finishes what it has begun, and leaves open streams after a few seconds.

use std::{fs, sync::Arc, time::Duration};

use anyhow::Context;
use harmony_blueprints::contracts::Tracker;
use harmony_capabilities::slack::{SlackReplies, SlackSockets};
use harmony_console::{Capacity, Doors, OutputDoors, Routers, Site, TicketKeys, Timeouts, oidc::Oidc};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    checks::{self, Process},
    commands::stopped,
    config::Config,
    environment_policies,
    failure::Failure,
    flags::FlagService,
    health, keys, output,
    runbook_catalog::RunbookCatalog,
    temporal::Probe,
    update_templates,
};

/// Space of the reviews where none is configured; only the sandbox takes it.
const DEFAULT_SPACE: &str = "OPS";
/// How long what has begun may take once we are told to stop.
pub(crate) const DRAIN: Duration = Duration::from_secs(4);

/// More files than the server ever opens.
const OPEN_FILES: usize = 16_384;

/// Serves until it is stopped.
pub(crate) async fn run(config: &Config, json: bool) -> anyhow::Result<()> {
    checks::before_start(config, &[Process::Console])?;
    keys::close_data_dir(&config.data_dir)?;
    let doors = doors(config).await?;
    let listener = TcpListener::bind(config.http_addr).await.map_err(|error| {
        Failure::failed(
            format!("cannot listen on {}: {error}", config.http_addr),
            "stop what listens there, or take another address with --http (port 0 takes a free one)",
        )
    })?;
    let origin = format!("http://{}", listener.local_addr().context("the listener has no address")?);
    let Routers { public, health } = harmony_console::routers(doors);
    let health = match config.metrics_addr {
        Some(address) => Some(format!("http://{}", health::listen(address, health).await?)),
        None => None,
    };
    let known_as = config.in_data_dir("api");
    keys::write_private(&known_as, &origin)?;
    announce(&origin, health.as_deref(), json);

    let (stop, stopping) = tokio::sync::watch::channel(false);
    let capacity = Capacity::for_open_files(open_files());
    let mut server =
        tokio::spawn(harmony_console::serve(listener, public, capacity, Timeouts::default(), stopping));
    let ended = tokio::select! {
        ended = &mut server => ended.context("the server broke off"),
        () = stopped() => {
            stop.send_replace(true);
            tracing::info!("stopping");
            match tokio::time::timeout(DRAIN, &mut server).await {
                Ok(ended) => ended.context("the server broke off"),
                Err(_) => Ok(()),
            }
        }
    };
    forget(&known_as, &origin);
    ended
}

/// How many files this process may open. A connection is one, and what a shell gives by default is few of them.
fn open_files() -> usize {
    let Ok((given, most)) = getrlimit(Resource::RLIMIT_NOFILE) else { return OPEN_FILES };
    let wanted = most.min(OPEN_FILES as u64).max(given);
    let files = if setrlimit(Resource::RLIMIT_NOFILE, wanted, most).is_ok() { wanted } else { given };
    usize::try_from(files).unwrap_or(OPEN_FILES)
}

async fn doors(config: &Config) -> anyhow::Result<Doors> {
    let slack = config.vendors.slack.as_ref();
    let bad_address = |error| Failure::usage(format!("SLACK_BASE_URL: {error}"), "correct SLACK_BASE_URL");
    let slack_replies = slack
        .map(|slack| SlackReplies::new(&slack.base_url, slack.bot_token.clone()))
        .transpose()
        .map_err(bad_address)?;
    let slack_sockets = slack
        .and_then(|slack| Some(SlackSockets::new(&slack.base_url, slack.app_token.clone()?)))
        .transpose()
        .map_err(bad_address)?;
    // The console needs no credentials of Confluence to know where reviews go.
    let space = config.settings.get("CONFLUENCE_SPACE_KEY").map(str::to_owned);
    Ok(Doors {
        log: config.open_log().await?,
        rules: config.governance(FlagService::start(config.flags.clone()).await?)?,
        attestation: config.attestation_keys()?,
        checkpoint_key: Some(config.checkpoint_key()?),
        slack_signing_secret: config.slack_signing_secret.clone(),
        slack_replies,
        slack_sockets,
        webhooks: config.webhooks()?,
        oidc: oidc(config)?,
        outputs: OutputDoors { folder: config.outputs_path(), tickets: ticket_keys(config) },
        runbooks: Arc::new(RunbookCatalog(config.runbook_root()?)),
        environment_policies: Arc::new(environment_policies::watch(config.environment_policies_path())),
        update_templates: Arc::new(update_templates::watch(config.update_templates_path())),
        temporal: Probe::start(config).await,
        capabilities: harmony_capabilities::descriptor::all()
            .into_iter()
            .map(|one| harmony_console::Capability {
                id: one.metadata.id,
                name: one.metadata.name,
                description: one.metadata.description,
            })
            .collect(),
        default_space: space.unwrap_or_else(|| DEFAULT_SPACE.to_owned()),
        trackers: trackers(config),
        site: Site {
            session_key: config.session_key()?,
            console: config.console_url()?,
            slack_channels: slack_channels(config),
            temporal_ui: config.temporal_ui()?,
            temporal_namespace: config.temporal_namespace.clone(),
            hosts: hosts(config)?,
            sends_mail: config.vendors.mail.is_some(),
            requests_per_second: config.requests_per_second()?,
        },
    })
}

/// Where follow-ups go. As with the space of reviews, the console needs no credentials to know that.
fn trackers(config: &Config) -> Vec<Tracker> {
    let named = [(Tracker::Github, "GITHUB_REPOSITORY"), (Tracker::Jira, "JIRA_PROJECT_KEY")];
    named.into_iter().filter(|(_, key)| config.settings.get(key).is_some()).map(|(one, _)| one).collect()
}

/// What verifies tickets, looked up when it is needed: a worker may make the key after the console has started.
fn ticket_keys(config: &Config) -> TicketKeys {
    let config = config.clone();
    Arc::new(move || config.ticket_verifier().ok())
}

/// The issuer whose tokens are taken, where one is configured.
fn oidc(config: &Config) -> anyhow::Result<Option<Oidc>> {
    let Some(settings) = config.oidc()? else { return Ok(None) };
    let oidc = Oidc::new(settings).map_err(|error| {
        Failure::usage(
            format!("HARMONY_OIDC_ISSUER: {error}"),
            "set it to the issuer's address, exactly as its tokens name it",
        )
    })?;
    Ok(Some(oidc))
}

/// Names of a server that listens on loopback alone: its own, and what a proxy on this machine calls it.
fn hosts(config: &Config) -> anyhow::Result<Vec<String>> {
    if !config.http_addr.ip().is_loopback() {
        return Ok(Vec::new());
    }
    let outside = config.console_url()?.and_then(|url| url.host_str().map(str::to_owned));
    let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    Ok(own.into_iter().chain(outside).collect())
}

/// What a channel's id is put behind: Slack's own address for it, or the sandbox's page.
fn slack_channels(config: &Config) -> String {
    let base = config.vendors.slack.as_ref().and_then(|slack| url::Url::parse(&slack.base_url).ok());
    match base.filter(|base| base.scheme() == "http") {
        Some(stand_in) => format!("{}/?channel=", stand_in.origin().ascii_serialization()),
        None => "https://slack.com/app_redirect?channel=".to_owned(),
    }
}

fn announce(origin: &str, health: Option<&str>, json: bool) {
    if json {
        output::json(&json!({ "api": origin, "console": origin, "health": health }));
    } else {
        output::data(&format!("listening on {origin}"));
    }
}

/// Takes the address away again, unless somebody else serves there by now.
fn forget(path: &std::path::Path, origin: &str) {
    if fs::read_to_string(path).is_ok_and(|known| known.trim() == origin) {
        drop(fs::remove_file(path));
    }
}

//! `harmony serve`: the API and the console.
//!
//! Writes its origin into `<data-dir>/api`, where the client commands find it. On SIGTERM it takes no new connection,
//! finishes what it has begun, and leaves open streams after a few seconds.

use std::{fs, sync::Arc, time::Duration};

use anyhow::Context;
use harmony_capabilities::{
    runbook::{self, RunbookRoot},
    slack::{SlackReplies, SlackSockets},
};
use harmony_console::{Doors, Runbooks, oidc::Oidc};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    commands::{log, stopped},
    config::Config,
    failure::Failure,
    flags::FlagService,
    keys, output,
    temporal::Probe,
};

/// Space of the reviews where none is configured; only the sandbox takes it.
const DEFAULT_SPACE: &str = "OPS";
/// How long what has begun may take once we are told to stop.
pub(crate) const DRAIN: Duration = Duration::from_secs(4);

/// Serves until it is stopped.
pub(crate) async fn run(config: &Config, json: bool) -> anyhow::Result<()> {
    keys::private_dir(&config.data_dir)?;
    let doors = doors(config).await?;
    let listener = TcpListener::bind(config.http_addr).await.map_err(|error| {
        Failure::failed(
            format!("cannot listen on {}: {error}", config.http_addr),
            "stop what listens there, or take another address with --http (port 0 takes a free one)",
        )
    })?;
    let origin = format!("http://{}", listener.local_addr().context("the listener has no address")?);
    let known_as = config.in_data_dir("api");
    keys::write_private(&known_as, &origin)?;
    announce(&origin, json);

    let router = harmony_console::router(doors);
    let (stop, told) = tokio::sync::watch::channel(false);
    let mut draining = told.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        // An error means that the sender is gone, and with it everybody who could want more.
        drop(draining.wait_for(|stop| *stop).await);
    });
    let mut server = tokio::spawn(server.into_future());
    let ended = tokio::select! {
        ended = &mut server => ended.context("the server broke off")?.context("the server does not go on"),
        () = stopped() => {
            stop.send_replace(true);
            tracing::info!("stopping");
            match tokio::time::timeout(DRAIN, &mut server).await {
                Ok(ended) => ended.context("the server broke off")?.context("the server did not stop cleanly"),
                Err(_) => Ok(()),
            }
        }
    };
    forget(&known_as, &origin);
    ended
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
        checkpoint_key: Some(log::checkpoint_key(config, None)?),
        slack_signing_secret: config.slack_signing_secret.clone(),
        slack_replies,
        slack_sockets,
        webhooks: config.webhooks()?,
        oidc: oidc(config)?,
        runbooks: Arc::new(Shelf(config.runbook_root()?)),
        temporal: Probe::start(config).await,
        default_space: space.unwrap_or_else(|| DEFAULT_SPACE.to_owned()),
    })
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

/// The runbooks, as the console asks about them.
struct Shelf(RunbookRoot);

impl Runbooks for Shelf {
    fn check(&self, path: &str, cells: &[String], verify: &[String]) -> Result<(), String> {
        let snapshot = self.0.load(path).map_err(|error| error.to_string())?;
        let parsed = runbook::parse(&snapshot.text).map_err(|error| format!("{path}: {error}"))?;
        let selected = parsed.select(cells, verify).map_err(|error| format!("{path}: {error}"))?;
        if selected.is_empty() { Err(format!("{path}: there is no cell to run")) } else { Ok(()) }
    }
}

fn announce(origin: &str, json: bool) {
    if json {
        output::json(&json!({ "api": origin, "console": origin }));
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

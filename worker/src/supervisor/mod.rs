//! `harmony dev`: everything that Harmony needs, on this machine, for as long as this process lives.
//!
//! ```text
//! supervisor ─┬─ temporal server start-dev     <data-dir>/temporal.db
//!             ├─ harmony worker                both queues
//!             ├─ harmony serve                 API and console
//!             ├─ harmony reaper                ends Temporal should the supervisor be killed
//!             └─ the sandbox, in this process, for every vendor without credentials
//! ```
//!
//! A child that ends is started again within two seconds, with the same ports. Worker and server watch their stdin and
//! end when the supervisor is gone, however it went; Temporal knows no such thing, so a reaper watches for it, and the
//! next start looks for what was left over. One supervisor a data directory.

mod audit_file;
mod children;
pub(crate) mod ports;
mod ready;
pub(crate) mod reaper;
mod vendors;
mod webhooks;
mod welcome;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use harmony_sandbox::{Origins, Sandbox, SandboxOptions};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::Url;

use crate::{
    api::Api,
    checks,
    commands::{catalog, stopped, temporal_setup::SEARCH_ATTRIBUTES},
    config::{self, Config},
    failure::Failure,
    flags::FlagService,
    keys, output, sample, temporal_cli,
};
use children::{Child, Plan};
use reaper::Reaper;

/// How long worker and server may take to stop; Temporal comes after them.
const CHILD_PATIENCE: Duration = Duration::from_secs(5);
const TEMPORAL_PATIENCE: Duration = Duration::from_secs(3);
/// How old `dev.json` may be.
const REMEMBER_INTERVAL: Duration = Duration::from_millis(500);

/// Which vendors the sandbox stands in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StandIns {
    /// Those without credentials.
    WhereNeeded,
    /// All of them: nothing leaves this machine.
    Everywhere,
}

/// A whole installation that runs.
pub(crate) struct Installation {
    config: Config,
    sandbox: Sandbox,
    temporal: Child,
    worker: Child,
    serve: Child,
    /// Where `serve` says whether it is ready.
    serve_health: String,
    reaper: Reaper,
    /// Held for as long as this process runs on the data directory.
    _lock: File,
}

/// `harmony dev`.
pub(crate) async fn dev(config: &Config, json: bool) -> anyhow::Result<()> {
    let say = |line: &str| output::say(line);
    let starting = Installation::start(config, StandIns::WhereNeeded, &say);
    let installation = tokio::select! {
        started = Box::pin(starting) => started?,
        // What was started until now ends with its handles.
        () = stopped() => return Ok(()),
    };
    if json {
        output::json(&installation.describe());
    } else {
        welcome::print(&installation).await;
    }
    tokio::select! {
        () = stopped() => {}
        // These never end.
        () = installation.keep_remembering() => {}
        () = audit_file::follow(installation.config()) => {}
    }
    output::say("stopping");
    installation.stop().await;
    Ok(())
}

impl Installation {
    /// Starts everything and returns once it is ready. What was started is ended again when this fails or is dropped.
    pub(crate) async fn start(
        given: &Config,
        stand_ins: StandIns,
        say: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<Self> {
        keys::close_data_dir(&given.data_dir)?;
        let lock = lock(given)?;
        let mut config = given.clone();
        config.data_dir = config::absolute(&given.data_dir)?;
        config.database()?;
        reaper::end_left_over(&config.in_data_dir("temporal.pid"), &config.in_data_dir("temporal.db")).await;
        prepare(&config, say)?;
        checks::before_start(&config, &checks::EVERYTHING)?;
        let cli = temporal_cli::find_or_install(&config, say).await?;
        let mut tries = PORT_TRIES;
        loop {
            match Self::start_on_free_ports(config.clone(), &lock, &cli, stand_ins, say).await {
                Err(error) if tries > 1 && error.is::<ports::Taken>() => {
                    tries -= 1;
                    say("somebody took a port meanwhile; starting again on others");
                    ports::forget_all(&config)?;
                    let (pid, database) = ("temporal.pid", "temporal.db");
                    reaper::end_left_over(&config.in_data_dir(pid), &config.in_data_dir(database)).await;
                }
                started => return started,
            }
        }
    }

    /// Once, on the ports of the last time where they are still free.
    async fn start_on_free_ports(
        mut config: Config,
        lock: &File,
        cli: &Path,
        stand_ins: StandIns,
        say: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<Self> {
        let http = ports::http(&config, say)?;
        config.http_addr = http;
        let secret = signing_secret(&config)?;
        let sandbox = start_sandbox(&config, &secret, &format!("http://{http}"), stand_ins).await?;
        let temporal_port = ports::remembered(&config.in_data_dir("temporal.port"))?;
        let ui_port = ports::remembered(&config.in_data_dir("temporal-ui.port"))?;
        config.temporal_address = format!("127.0.0.1:{temporal_port}");

        say("starting Temporal");
        let reaper = Reaper::start()?;
        let temporal = Child::start(temporal_plan(&config, cli.to_owned(), temporal_port, ui_port), &reaper)?;
        let client = ready::temporal(&config, &temporal).await?;
        // Temporal's own database is made open to others.
        keys::close_data_dir(&config.data_dir)?;
        let environment =
            child_environment(&config, &format!("http://127.0.0.1:{ui_port}"), stand_ins, &sandbox, &secret)?;
        say("starting worker and server");
        let own = std::env::current_exe().context("this program cannot find itself")?;
        let health = format!("127.0.0.1:{}", ports::remembered(&config.in_data_dir("serve-health.port"))?);
        let plan = |name: &'static str, flags: &[&str]| Plan {
            name,
            program: own.clone(),
            arguments: [name, "--exit-with-stdin"].iter().chain(flags).map(|&one| one.to_owned()).collect(),
            environment: environment.clone(),
            inherit_environment: true,
            log: config.in_data_dir(&format!("logs/{name}.log")),
            pid_file: None,
        };
        let worker = Child::start(plan("worker", &[]), &reaper)?;
        let serve = Child::start(plan("serve", &["--metrics", &health]), &reaper)?;
        let installation = Self {
            config,
            sandbox,
            temporal,
            worker,
            serve,
            serve_health: format!("http://{health}"),
            reaper,
            _lock: lock.try_clone().context("the lock of the data directory cannot be held")?,
        };
        ready::everything(&installation, &client).await?;
        installation.describe_services(say).await;
        Ok(installation)
    }

    /// Writes the sample services where there are none yet, so that there is something to deploy. That somebody's own
    /// directory does not let `operator` do so is no reason to end.
    async fn describe_services(&self, say: &(dyn Fn(&str) + Sync)) {
        let written = async {
            let api = self.api()?;
            let any = [("retired", "true".to_owned()), ("limit", "1".to_owned())];
            let services = api.get(&["services"], &any).await?;
            if services["services"].as_array().is_some_and(|known| !known.is_empty()) {
                return Ok(0);
            }
            catalog::apply_file(&api, &self.config.in_data_dir(sample::CATALOG)).await
        };
        match written.await {
            Ok(0) => {}
            Ok(count) => say(&format!("described {count} sample services and environments")),
            Err(error) => say(&format!("warning: the sample services were not described: {error:#}")),
        }
    }

    /// The line of `dev --json`.
    pub(crate) fn describe(&self) -> Value {
        let origin = self.origin();
        let token = self.config.token().ok().flatten();
        let known = sample::known_tokens(&self.config).unwrap_or_default();
        let tokens: BTreeMap<_, _> = known.iter().map(|(id, token)| (id, token.expose_secret())).collect();
        json!({
            "console": origin,
            "api": origin,
            "health": { "serve": self.serve_health },
            "temporal": self.config.temporal_address,
            "namespace": self.config.temporal_namespace,
            "token": token.as_ref().map(ExposeSecret::expose_secret),
            "tokens": tokens,
            "dataDir": self.config.data_dir,
            "pids": { "temporal": self.temporal.pid(), "worker": self.worker.pid(), "serve": self.serve.pid() },
            "sandbox": self.sandbox.origins(),
        })
    }

    /// The API's origin.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.config.http_addr)
    }

    /// Where the server is asked whether it is ready.
    fn serve_health(&self) -> &str {
        &self.serve_health
    }

    /// As the children have it.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The stand-ins' addresses.
    pub(crate) fn sandbox_origins(&self) -> Origins {
        self.sandbox.origins()
    }

    /// The API as `operator`.
    pub(crate) fn api(&self) -> anyhow::Result<Api> {
        let origin = Url::parse(&self.origin()).context("the server's address is none")?;
        Api::at(origin, self.config.token()?, self.config.org.to_string(), None)
    }

    /// The two that run Harmony itself.
    fn own_children(&self) -> [&Child; 2] {
        [&self.worker, &self.serve]
    }

    /// Stops everything, politely first.
    pub(crate) async fn stop(self) {
        tokio::join!(self.worker.stop(CHILD_PATIENCE), self.serve.stop(CHILD_PATIENCE));
        self.temporal.stop(TEMPORAL_PATIENCE).await;
        self.reaper.stop().await;
        drop(fs::remove_file(self.config.in_data_dir("dev.json")));
        drop(fs::remove_file(self.config.in_data_dir("api")));
    }

    /// Keeps `<data-dir>/dev.json` what `describe` says, for scripts that come after a child was started again; without
    /// the tokens.
    async fn keep_remembering(&self) {
        let mut written = Value::Null;
        loop {
            let mut line = self.describe();
            if let Some(fields) = line.as_object_mut() {
                fields.remove("token");
                fields.remove("tokens");
            }
            if line != written {
                let path = self.config.in_data_dir("dev.json");
                if let Err(error) = keys::write_private(&path, &line.to_string()) {
                    tracing::warn!(error = format!("{error:#}"), "dev.json cannot be written");
                }
                written = line;
            }
            tokio::time::sleep(REMEMBER_INTERVAL).await;
        }
    }
}

fn lock(config: &Config) -> anyhow::Result<File> {
    let path = config.in_data_dir("dev.lock");
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(Failure::failed(
            format!("`harmony dev` or `harmony demo` runs on {} already", config.data_dir.display()),
            "use that one, stop it, or take another --data-dir",
        )
        .into()),
    }
}

fn prepare(config: &Config, say: &(dyn Fn(&str) + Sync)) -> anyhow::Result<()> {
    keys::private_dir(&config.in_data_dir("logs"))?;
    keys::private_dir(&config.in_data_dir("tmp"))?;
    let written = sample::write_missing(config)?;
    for file in &written.files {
        say(&format!("wrote {file}"));
    }
    config.governance(FlagService::defaults()).map(drop)
}

fn signing_secret(config: &Config) -> anyhow::Result<SecretString> {
    match &config.slack_signing_secret {
        Some(secret) => Ok(secret.clone()),
        None => keys::read_or_make(&config.in_data_dir("slack-signing-secret"), keys::random_hex),
    }
}

/// The stand-ins, each with a file of the data directory that names its port.
const STAND_INS: [&str; 8] =
    ["slack", "pagerduty", "statuspage", "confluence", "jira", "github", "mail", "smtp"];
/// How often ports that were taken between their choice and their use are chosen anew.
const PORT_TRIES: u32 = 3;

/// On the ports of the last time and, but for the demo, with what they remember of it, so that links of old incidents lead
/// somewhere and their channels can be written to. As with the vendors, what is redacted in the log stays with them.
async fn start_sandbox(
    config: &Config,
    secret: &SecretString,
    harmony: &str,
    stand_ins: StandIns,
) -> anyhow::Result<Sandbox> {
    let memory = match stand_ins {
        // It counts its own effects.
        StandIns::Everywhere => None,
        StandIns::WhereNeeded => {
            let folder = config.in_data_dir("sandbox");
            keys::private_dir(&folder)?;
            Some(folder)
        }
    };
    let file = |vendor: &str| config.in_data_dir(&format!("{vendor}.port"));
    let mut chosen = [0; STAND_INS.len()];
    for (port, vendor) in chosen.iter_mut().zip(STAND_INS) {
        *port = ports::remembered(&file(vendor))?;
    }
    let [
        slack_port,
        pagerduty_port,
        statuspage_port,
        confluence_port,
        jira_port,
        github_port,
        mail_port,
        smtp_port,
    ] = chosen;
    let options = SandboxOptions {
        slack_port,
        pagerduty_port,
        statuspage_port,
        confluence_port,
        jira_port,
        github_port,
        mail_port,
        smtp_port,
        harmony_url: Some(harmony.to_owned()),
        signing_secret: secret.clone(),
        jira_webhook_secret: webhooks::secret(config, webhooks::JIRA)?,
        github_webhook_secret: webhooks::secret(config, webhooks::GITHUB)?,
        memory: memory.clone(),
    };
    let started = Sandbox::start(options).await;
    let taken = matches!(&started, Err(error) if error.kind() == std::io::ErrorKind::AddrInUse);
    let started = started.context("the sandbox does not start");
    if taken { started.context(ports::Taken) } else { started }
}

fn child_environment(
    config: &Config,
    temporal_ui: &str,
    stand_ins: StandIns,
    sandbox: &Sandbox,
    secret: &SecretString,
) -> anyhow::Result<Arc<Vec<(String, String)>>> {
    let console = format!("http://{}", config.http_addr);
    let mut pairs = vec![
        ("HARMONY_CONSOLE_URL".to_owned(), console),
        ("HARMONY_DATA_DIR".to_owned(), config.data_dir.display().to_string()),
        ("HARMONY_HTTP_ADDR".to_owned(), config.http_addr.to_string()),
        ("HARMONY_RUNBOOKS".to_owned(), config.runbooks_path().display().to_string()),
        // The sample runbooks keep their pretend deployment there: two installations must not share it.
        ("TMPDIR".to_owned(), config.in_data_dir("tmp").display().to_string()),
        ("TEMPORAL_ADDRESS".to_owned(), config.temporal_address.clone()),
        ("TEMPORAL_NAMESPACE".to_owned(), config.temporal_namespace.clone()),
        ("HARMONY_TEMPORAL_UI".to_owned(), temporal_ui.to_owned()),
        ("SLACK_SIGNING_SECRET".to_owned(), secret.expose_secret().to_owned()),
    ];
    let all = stand_ins == StandIns::Everywhere;
    pairs.extend(vendors::environment(&config.vendors, all, &sandbox.base_urls()));
    pairs.extend(webhooks::environment(config)?);
    Ok(Arc::new(pairs))
}

/// Has the dev server read its tasks at once. As it comes it looks 20 times a second, so that every step waits for up to
/// 50 ms, and spreads a queue over four partitions.
const AT_ONCE: [&str; 3] = [
    "history.transferProcessorMaxPollRPS=1000",
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
];

fn temporal_plan(config: &Config, program: PathBuf, port: u16, ui_port: u16) -> Plan {
    let mut arguments: Vec<String> = ["server", "start-dev", "--ip", "127.0.0.1"].map(str::to_owned).into();
    let database = config.in_data_dir("temporal.db").display().to_string();
    for (flag, value) in [
        ("--port", port.to_string()),
        ("--ui-ip", "127.0.0.1".to_owned()),
        ("--ui-port", ui_port.to_string()),
        ("--namespace", config.temporal_namespace.clone()),
        ("--db-filename", database),
        ("--log-level", "error".to_owned()),
    ] {
        arguments.extend([flag.to_owned(), value]);
    }
    for name in SEARCH_ATTRIBUTES {
        arguments.extend(["--search-attribute".to_owned(), format!("{name}=Keyword")]);
    }
    for setting in AT_ONCE {
        arguments.extend(["--dynamic-config-value".to_owned(), setting.to_owned()]);
    }
    let kept = ["PATH", "HOME", "TMPDIR", "USER"];
    let environment = kept.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
    Plan {
        name: "temporal",
        program,
        arguments,
        environment: Arc::new(environment.collect()),
        inherit_environment: false,
        log: config.in_data_dir("logs/temporal.log"),
        pid_file: Some(config.in_data_dir("temporal.pid")),
    }
}

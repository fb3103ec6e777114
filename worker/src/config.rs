//! The configuration of one process, checked before anything connects.
//!
//! Built once from [`Settings`]; what a command does not use is not opened. A setting that cannot be meant names its
//! key. Secrets are [`SecretString`]s and are shown by nobody.

use std::{
    env, fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use harmony_activities::ReviewTemplate;
use harmony_capabilities::address::REQUEST_TIMEOUT;
use harmony_console::{
    DeployWebhooks, Webhooks,
    oidc::{BrowserSettings, OidcSettings},
};
use harmony_eventlog::{
    Access, Address, CheckpointKey, LogError, Onward, SharedLog, postgres::DEFAULT_POOL_SIZE,
};
use harmony_incidents::{
    OrgId,
    attestation::AttestationKeys,
    record::SaltKey,
    ticket::{TicketKey, TicketVerifier},
};
use harmony_runner::RunbookRoot;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::{
    failure::{Failure, Failures},
    fanout::FanOutSettings,
    flags::{FlagService, FlagSettings},
    governance::{Governance, RuleFiles},
    keys,
    settings::{self, Settings, Source},
    telemetry::{self, TraceSettings},
    temporal,
    vendor_settings::Vendors,
};

/// Where `serve` and `dev` listen unless told otherwise.
const HTTP_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8088);
/// The setting, and the file in the data directory.
const CHECKPOINT_KEY: (&str, &str) = ("HARMONY_CHECKPOINT_KEY", "checkpoint.key");
/// As [`CHECKPOINT_KEY`].
const TICKET_KEY: (&str, &str) = ("HARMONY_TICKET_KEY", "ticket.key");
/// As [`CHECKPOINT_KEY`].
const TICKET_PUBLIC_KEY: (&str, &str) = ("HARMONY_TICKET_PUBLIC_KEY", "ticket.pub");
const TEMPORAL_ADDRESS: &str = "127.0.0.1:7233";
/// A session key of fewer characters could be guessed.
const SESSION_KEY_CHARS: usize = 32;
/// Far above what people and their scripts need, far below what a loop makes.
const REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(499);
const TEMPORAL_NAMESPACE: &str = "harmony";

/// Shortest secret of a webhook; PagerDuty's own have 64.
const WEBHOOK_SECRET_BYTES: usize = 16;

/// Flags that are settings, too.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    /// `--data-dir`.
    pub(crate) data_dir: Option<PathBuf>,
    /// `--org`.
    pub(crate) org: Option<String>,
    /// `--http`.
    pub(crate) http: Option<String>,
    /// `--metrics`.
    pub(crate) metrics: Option<String>,
}

/// Which task queues a worker serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queues {
    /// `harmony-incidents`: workflows and connector activities.
    pub(crate) incidents: bool,
    /// `harmony-runbooks`: runbook cells alone.
    pub(crate) runbooks: bool,
}

/// A worker's place in Temporal's worker versioning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Build {
    /// Deployment that builds belong to.
    pub(crate) deployment: String,
    /// This build.
    pub(crate) id: String,
}

impl Build {
    fn new(settings: &Settings) -> Result<Option<Self>, Failure> {
        match (settings.get("HARMONY_DEPLOYMENT"), settings.get("HARMONY_BUILD_ID")) {
            (None, None) => Ok(None),
            (Some(deployment), Some(id)) if !deployment.contains('.') => {
                Ok(Some(Self { deployment: deployment.to_owned(), id: id.to_owned() }))
            }
            (Some(_), Some(_)) => {
                Err(bad("HARMONY_DEPLOYMENT", "Temporal takes no dot in a deployment's name"))
            }
            (Some(_), None) => Err(bad("HARMONY_BUILD_ID", "HARMONY_DEPLOYMENT is set, this must be, too")),
            (None, Some(_)) => Err(bad("HARMONY_DEPLOYMENT", "HARMONY_BUILD_ID is set, this must be, too")),
        }
    }
}

/// Everything a process needs to know.
#[derive(Clone)]
pub(crate) struct Config {
    /// As collected.
    pub(crate) settings: Settings,
    /// Keys, the token, the samples and, by default, the database.
    pub(crate) data_dir: PathBuf,
    /// Organisation of the client commands.
    pub(crate) org: OrgId,
    /// Where `serve` listens; port 0 takes a free one.
    pub(crate) http_addr: SocketAddr,
    /// `host:port`, or an address with a scheme.
    pub(crate) temporal_address: String,
    /// Namespace.
    pub(crate) temporal_namespace: String,
    /// How long one request to a vendor may take.
    pub(crate) request_timeout: Duration,
    /// What the connectors need.
    pub(crate) vendors: Vendors,
    /// Where the flags are.
    pub(crate) flags: FlagSettings,
    /// Where the log goes besides the store.
    pub(crate) fan_out: FanOutSettings,
    /// Where a worker or the console serves health and metrics, if anywhere.
    pub(crate) metrics_addr: Option<SocketAddr>,
    /// Where spans go, if anywhere.
    pub(crate) traces: Option<TraceSettings>,
    /// Which build this worker is of, where Temporal is to know.
    pub(crate) build: Option<Build>,
    /// Checks what claims to come from Slack.
    pub(crate) slack_signing_secret: Option<SecretString>,
}

impl Config {
    /// From flags, the environment and `harmony.toml`, with everything that is wrong in them. What is wrong has its
    /// default in the configuration, so that the rest can be looked at; only `config check` goes on with it.
    pub(crate) fn load(flags: &Flags) -> (Self, Vec<Failure>) {
        let environment = |key: &str| env::var(key).ok();
        let (file, unreadable) = match config_file() {
            Ok(file) => (file, None),
            Err(failure) => (None, Some(failure)),
        };
        let (config, wrong) = Self::examine(Settings::collect(&|key| flags.get(key), &environment, file));
        (config, unreadable.into_iter().chain(wrong).collect())
    }

    /// Only what has nothing wrong in it.
    pub(crate) fn new(settings: Settings) -> Result<Self, Failures> {
        let (config, wrong) = Self::examine(settings);
        Failures::none(wrong).map(|()| config)
    }

    /// Checks what was collected; nothing is made or connected to.
    fn examine(settings: Settings) -> (Self, Vec<Failure>) {
        let text = |key: &str| settings.get(key).map(str::to_owned);
        let (vendors, mut wrong) = Vendors::new(&settings);
        let mut collect = Wrong(&mut wrong);
        let address = |key: &str, like: &str| match settings.get(key) {
            None => Ok(None),
            Some(given) => match given.parse::<SocketAddr>() {
                Ok(address) => Ok(Some(address)),
                Err(_) => Err(bad(key, &format!("{given:?} is no address such as {like}"))),
            },
        };
        let org = settings.get("HARMONY_ORG").map_or(Ok(OrgId::default()), str::parse);
        let config = Self {
            org: collect.or_default(org.map_err(|error| bad("HARMONY_ORG", &error.to_string()))),
            http_addr: collect
                .or_default(address("HARMONY_HTTP_ADDR", &HTTP_ADDR.to_string()))
                .unwrap_or(HTTP_ADDR),
            temporal_address: text("TEMPORAL_ADDRESS").unwrap_or_else(|| TEMPORAL_ADDRESS.to_owned()),
            temporal_namespace: text("TEMPORAL_NAMESPACE").unwrap_or_else(|| TEMPORAL_NAMESPACE.to_owned()),
            request_timeout: collect
                .or_default(request_timeout(settings.get("HARMONY_REQUEST_TIMEOUT")))
                .unwrap_or(REQUEST_TIMEOUT),
            vendors,
            flags: collect.or_default(FlagSettings::new(&settings)),
            fan_out: collect.or_default(FanOutSettings::new(&settings)),
            metrics_addr: collect.or_default(address("HARMONY_METRICS_ADDR", "0.0.0.0:9464")),
            traces: collect.or_default(TraceSettings::new(&settings)),
            build: collect.or_default(Build::new(&settings)),
            slack_signing_secret: text("SLACK_SIGNING_SECRET").map(SecretString::from),
            data_dir: PathBuf::from(text("HARMONY_DATA_DIR").unwrap_or_else(|| ".harmony".to_owned())),
            settings,
        };
        config.examine_the_rest(&mut wrong);
        let wrong = wrong.into_iter().map(|failure| config.settings.placed(failure));
        let mut all = config.settings.problems.clone();
        for failure in wrong {
            // What several settings need is told once.
            if !all.contains(&failure) {
                all.push(failure);
            }
        }
        (config, all)
    }

    /// What is read where it is used, looked at here so that nothing is found wrong later. Files are read, where a
    /// setting names one; nothing is made or connected to.
    fn examine_the_rest(&self, wrong: &mut Vec<Failure>) {
        let given = |key: &str| self.settings.get(key).is_some();
        let mut keep = Wrong(wrong);
        keep.of(self.database());
        keep.of(self.database_pool());
        keep.of(self.console_url());
        keep.of(self.webhooks());
        keep.of(self.oidc());
        keep.of(self.temporal_ui());
        keep.of(self.requests_per_second());
        keep.of(telemetry::log_filter(&self.settings, ""));
        keep.of(telemetry::log_is_json(&self.settings));
        keep.of(self.flags.check());
        keep.0.extend(temporal::wrong_settings(self));
        // Without its setting a key is a file, which is made where it is needed.
        if given("HARMONY_ATTESTATION_KEY") {
            keep.of(self.attestation_keys());
        }
        if given("HARMONY_SALT_KEY") {
            keep.of(self.salt_key());
        }
        if given("HARMONY_SESSION_KEY") {
            keep.of(self.session_key());
        }
        if given("HARMONY_CHECKPOINT_KEY") {
            keep.of(self.checkpoint_key());
        }
        if given(TICKET_KEY.0) {
            keep.of(self.ticket_key());
        }
        if given(TICKET_PUBLIC_KEY.0) {
            keep.of(self.ticket_verifier());
        }
        if given("HARMONY_API") {
            keep.of(self.api_origin());
        }
    }

    /// A file of the data directory.
    pub(crate) fn in_data_dir(&self, name: &str) -> PathBuf {
        self.data_dir.join(name)
    }

    /// Where the log is: `DATABASE_URL`, or the file in the data directory.
    pub(crate) fn database(&self) -> Result<Address, Failure> {
        match self.settings.get("DATABASE_URL") {
            Some(url) => Address::parse(url).map_err(|error| bad("DATABASE_URL", &error.to_string())),
            None => Ok(Address::Sqlite(self.in_data_dir("harmony.db"))),
        }
    }

    /// How many connections this process takes at most from a store that is a server.
    pub(crate) fn database_pool(&self) -> Result<u32, Failure> {
        let Some(given) = self.settings.get("HARMONY_DATABASE_POOL") else { return Ok(DEFAULT_POOL_SIZE) };
        given
            .parse()
            .ok()
            .filter(|size| (1..=500).contains(size))
            .ok_or_else(|| bad("HARMONY_DATABASE_POOL", "it is a number of connections, 1 to 500"))
    }

    /// Whether the database was named, not left to the default.
    pub(crate) fn names_database(&self) -> bool {
        self.settings.source("DATABASE_URL").is_some()
    }

    /// Opens the log, and makes it where it is a file and there is none.
    pub(crate) async fn open_log(&self) -> anyhow::Result<SharedLog> {
        let address = self.database()?;
        if !self.names_database() {
            keys::close_data_dir(&self.data_dir)?;
        }
        if let Some(parent) =
            address.path().and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty())
        {
            keys::private_dir(parent)?;
        }
        let access = Access::Create(self.salt_key()?);
        let onward = Onward { sinks: self.fan_out.names(), notices: true };
        let log = harmony_eventlog::open::open_for(&address, access, self.database_pool()?, onward).await;
        Ok(log.map_err(|error| unreadable(&error))?)
    }

    /// Opens a log that must be there, for reading it without anything else running and without changing anything.
    pub(crate) async fn open_existing_log(&self) -> anyhow::Result<SharedLog> {
        let address = self.database()?;
        if let Some(path) = address.path().filter(|path| !path.is_file()) {
            return Err(Failure::failed(
                format!("there is no log at {}", path.display()),
                "set DATABASE_URL to where it is, or --data-dir to where Harmony runs",
            )
            .into());
        }
        let log = harmony_eventlog::open::open(
            &address,
            Access::Audit(self.known_salt_key()?),
            self.database_pool()?,
        )
        .await;
        Ok(log.map_err(|error| unreadable(&error))?)
    }

    /// What tells our own doors' decisions from others: `HARMONY_ATTESTATION_KEY` or the data directory's.
    pub(crate) fn attestation_keys(&self) -> anyhow::Result<AttestationKeys> {
        let key = self.key("HARMONY_ATTESTATION_KEY", "attestation.key")?;
        AttestationKeys::parse(key.expose_secret())
            .map_err(|error| bad("HARMONY_ATTESTATION_KEY", &error.to_string()).into())
    }

    /// What the salts of texts are derived from: `HARMONY_SALT_KEY` or the data directory's.
    pub(crate) fn salt_key(&self) -> anyhow::Result<SaltKey> {
        let key = self.key("HARMONY_SALT_KEY", "salt.key")?;
        SaltKey::parse(key.expose_secret())
            .map_err(|error| bad("HARMONY_SALT_KEY", &error.to_string()).into())
    }

    /// The same, for an audit: none where neither is there. The data directory's is not that of a database which was
    /// named and may belong to another installation.
    fn known_salt_key(&self) -> anyhow::Result<Option<SaltKey>> {
        let key = match self.settings.get("HARMONY_SALT_KEY") {
            Some(key) => Some(SecretString::from(key)),
            None if self.names_database() => None,
            None => keys::read(&self.in_data_dir("salt.key"))?,
        };
        let parsed = key.map(|key| SaltKey::parse(key.expose_secret())).transpose();
        parsed.map_err(|error| bad("HARMONY_SALT_KEY", &error.to_string()).into())
    }

    /// What signs checkpoints: `HARMONY_CHECKPOINT_KEY` or the data directory's, made where there is none.
    pub(crate) fn checkpoint_key(&self) -> anyhow::Result<CheckpointKey> {
        let key = self.key(CHECKPOINT_KEY.0, CHECKPOINT_KEY.1)?;
        parse_checkpoint_key(&key)
    }

    /// The same; none where neither is there.
    pub(crate) fn known_checkpoint_key(&self) -> anyhow::Result<Option<CheckpointKey>> {
        let key = match self.settings.get(CHECKPOINT_KEY.0) {
            Some(key) => Some(SecretString::from(key)),
            None => keys::read(&self.in_data_dir(CHECKPOINT_KEY.1))?,
        };
        key.map(|key| parse_checkpoint_key(&key)).transpose()
    }

    /// What signs the tickets of cells: `HARMONY_TICKET_KEY` or the data directory's, made where there is none.
    pub(crate) fn ticket_key(&self) -> anyhow::Result<TicketKey> {
        let key = self.key(TICKET_KEY.0, TICKET_KEY.1)?;
        TicketKey::parse(key.expose_secret()).map_err(|error| bad(TICKET_KEY.0, &error.to_string()).into())
    }

    /// The same; none where neither is there.
    pub(crate) fn known_ticket_key(&self) -> anyhow::Result<Option<TicketKey>> {
        let key = match self.settings.get(TICKET_KEY.0) {
            Some(key) => Some(SecretString::from(key)),
            None => keys::read(&self.in_data_dir(TICKET_KEY.1))?,
        };
        let parse = |key: SecretString| TicketKey::parse(key.expose_secret());
        key.map(parse).transpose().map_err(|error| bad(TICKET_KEY.0, &error.to_string()).into())
    }

    /// What verifies them: `HARMONY_TICKET_PUBLIC_KEY`, or what a worker of the incidents queue left in the data directory.
    pub(crate) fn ticket_verifier(&self) -> Result<TicketVerifier, Failure> {
        let (setting, file) = TICKET_PUBLIC_KEY;
        let path = self.in_data_dir(file);
        let known = match self.settings.get(setting) {
            Some(keys) => Some(keys.to_owned()),
            None => keys::read(&path)?.map(|keys| keys.expose_secret().to_owned()),
        };
        let Some(keys) = known else {
            return Err(Failure::usage(
                format!(
                    "{setting}: nothing verifies the tickets of cells, and {} is not there",
                    path.display()
                ),
                format!(
                    "set {setting} to the public key that `harmony config check` shows for {}",
                    TICKET_KEY.0
                ),
            ));
        };
        TicketVerifier::parse(&keys).map_err(|error| bad(setting, &error.to_string()))
    }

    /// Where the output of cells is kept: `HARMONY_OUTPUTS`, or a folder of the data directory.
    pub(crate) fn outputs_path(&self) -> PathBuf {
        self.settings.get("HARMONY_OUTPUTS").map_or_else(|| self.in_data_dir("outputs"), PathBuf::from)
    }

    /// Leaves what verifies tickets for workers of the runbook queue that share the data directory.
    pub(crate) fn publish_ticket_key(&self) -> anyhow::Result<()> {
        let (public, path) = (self.ticket_key()?.public(), self.in_data_dir(TICKET_PUBLIC_KEY.1));
        let known = keys::read(&path)?.is_some_and(|known| known.expose_secret() == public);
        if known { Ok(()) } else { keys::write_private(&path, &public) }
    }

    /// What signs the console's sessions: `HARMONY_SESSION_KEY` or the data directory's. Every replica needs the same.
    pub(crate) fn session_key(&self) -> anyhow::Result<SecretString> {
        let key = self.key("HARMONY_SESSION_KEY", "session.key")?;
        if key.expose_secret().trim().len() < SESSION_KEY_CHARS {
            return Err(bad("HARMONY_SESSION_KEY", "it has fewer than 32 characters").into());
        }
        Ok(key)
    }

    /// Where the Temporal UI is, for links to workflows.
    pub(crate) fn temporal_ui(&self) -> anyhow::Result<Option<String>> {
        let Some(text) = self.settings.get("HARMONY_TEMPORAL_UI") else { return Ok(None) };
        match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                Ok(Some(text.to_owned()))
            }
            _ => Err(bad(
                "HARMONY_TEMPORAL_UI",
                &format!("{text:?} is no address such as http://127.0.0.1:8233"),
            )
            .into()),
        }
    }

    /// How many requests a second one principal may make in the long run.
    pub(crate) fn requests_per_second(&self) -> anyhow::Result<NonZeroU32> {
        let Some(text) = self.settings.get("HARMONY_REQUESTS_PER_SECOND") else {
            return Ok(REQUESTS_PER_SECOND);
        };
        text.parse()
            .map_err(|_| bad("HARMONY_REQUESTS_PER_SECOND", &format!("{text:?} is no number above 0")).into())
    }

    /// A key from its setting, or from the data directory, where it is made once.
    pub(crate) fn key(&self, setting: &str, file: &str) -> anyhow::Result<SecretString> {
        match self.settings.get(setting) {
            Some(key) => Ok(SecretString::from(key)),
            None => keys::read_or_make(&self.in_data_dir(file), keys::random_hex),
        }
    }

    /// Who there is.
    pub(crate) fn directory_path(&self) -> PathBuf {
        self.settings
            .get("HARMONY_DIRECTORY")
            .map_or_else(|| self.in_data_dir("directory.toml"), PathBuf::from)
    }

    /// What has a gate, and whose.
    pub(crate) fn policy_path(&self) -> PathBuf {
        self.settings.get("HARMONY_POLICY").map_or_else(|| self.in_data_dir("policy.toml"), PathBuf::from)
    }

    /// What each may do.
    pub(crate) fn access_path(&self) -> PathBuf {
        self.settings
            .get("HARMONY_ACCESS_POLICIES")
            .map_or_else(|| self.in_data_dir("policies.cedar"), PathBuf::from)
    }

    /// Where people reach the console; links in messages begin with it.
    pub(crate) fn console_url(&self) -> Result<Option<Url>, Failure> {
        let Some(text) = self.settings.get("HARMONY_CONSOLE_URL") else { return Ok(None) };
        match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.query().is_none() => Ok(Some(url)),
            _ => Err(bad(
                "HARMONY_CONSOLE_URL",
                &format!("{text:?} is no address such as https://harmony.example.com"),
            )),
        }
    }

    /// Whose webhooks are taken.
    pub(crate) fn webhooks(&self) -> Result<Webhooks, Failures> {
        let mut wrong = Vec::new();
        let mut secrets = |key: &str| -> Vec<SecretString> {
            let given = self.settings.get(key).unwrap_or_default();
            let secrets: Vec<&str> =
                given.split(',').map(str::trim).filter(|secret| !secret.is_empty()).collect();
            if secrets.iter().any(|secret| secret.len() < WEBHOOK_SECRET_BYTES) {
                let problem =
                    format!("a secret of less than {WEBHOOK_SECRET_BYTES} characters can be guessed");
                wrong.push(bad(key, &problem));
            }
            secrets.into_iter().map(SecretString::from).collect()
        };
        let mut webhooks = Webhooks {
            org: self.org.clone(),
            pagerduty: secrets("PAGERDUTY_WEBHOOK_SECRET"),
            alertmanager: secrets("HARMONY_ALERTMANAGER_SECRET"),
            grafana: secrets("HARMONY_GRAFANA_SECRET"),
            jira: secrets("JIRA_WEBHOOK_SECRET"),
            deploys: DeployWebhooks {
                github: secrets("HARMONY_GITHUB_SECRET"),
                gitlab: secrets("HARMONY_GITLAB_SECRET"),
                argocd: secrets("HARMONY_ARGOCD_SECRET"),
                cdevents: secrets("HARMONY_EVENTS_SECRET"),
                changes: secrets("HARMONY_CHANGES_KEY"),
                ..DeployWebhooks::default()
            },
        };
        match self.settings.get("HARMONY_DEPLOY_WORKFLOWS").unwrap_or_default().parse() {
            Ok(workflows) => webhooks.deploys.workflows = workflows,
            Err(error) => wrong.push(bad("HARMONY_DEPLOY_WORKFLOWS", &error.to_string())),
        }
        Failures::none(wrong).map(|()| webhooks)
    }

    /// Whose tokens the API takes beside the directory's, and who signs people in by browser; none where no issuer is
    /// named.
    pub(crate) fn oidc(&self) -> Result<Option<OidcSettings>, Failure> {
        let get = |key: &str| self.settings.get(key).map(str::to_owned);
        let Some(issuer) = get("HARMONY_OIDC_ISSUER") else { return Ok(None) };
        let audiences = get("HARMONY_OIDC_AUDIENCE").unwrap_or_default();
        let audiences: Vec<String> =
            audiences.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect();
        let browser = self.oidc_browser()?;
        if audiences.is_empty() && browser.is_none() {
            // Without one, a token that was made for another service would do here.
            let problem = "HARMONY_OIDC_ISSUER is set, so this must be, or HARMONY_OIDC_CLIENT_ID, or both";
            return Err(bad("HARMONY_OIDC_AUDIENCE", problem));
        }
        Ok(Some(OidcSettings {
            issuer,
            audiences,
            principal_claim: get("HARMONY_OIDC_PRINCIPAL_CLAIM").unwrap_or_else(|| "sub".to_owned()),
            roles_claim: get("HARMONY_OIDC_ROLES_CLAIM").unwrap_or_else(|| "roles".to_owned()),
            org: self.org.clone(),
            browser,
        }))
    }

    /// How people sign in at the issuer by browser.
    fn oidc_browser(&self) -> Result<Option<BrowserSettings>, Failure> {
        let get = |key: &str| self.settings.get(key).map(str::to_owned);
        let Some(client_id) = get("HARMONY_OIDC_CLIENT_ID") else { return Ok(None) };
        let Some(mut redirect_uri) = self.console_url()? else {
            let problem =
                "HARMONY_OIDC_CLIENT_ID is set, so this must be: the issuer sends browsers back to it";
            return Err(bad("HARMONY_CONSOLE_URL", problem));
        };
        let path = format!("{}/sign-in/oidc/callback", redirect_uri.path().trim_end_matches('/'));
        redirect_uri.set_path(&path);
        Ok(Some(BrowserSettings {
            client_id,
            client_secret: get("HARMONY_OIDC_CLIENT_SECRET").map(SecretString::from),
            redirect_uri,
            scopes: get("HARMONY_OIDC_SCOPES").unwrap_or_else(|| "openid profile email".to_owned()),
        }))
    }

    /// Which candidates become incidents.
    pub(crate) fn promotion_policies_path(&self) -> PathBuf {
        self.settings
            .get("HARMONY_PROMOTION_POLICIES")
            .map_or_else(|| self.in_data_dir("policies"), PathBuf::from)
    }

    /// When releases may go out.
    pub(crate) fn environment_policies_path(&self) -> PathBuf {
        self.settings
            .get("HARMONY_ENVIRONMENT_POLICIES")
            .map_or_else(|| self.in_data_dir("policies").join("environments"), PathBuf::from)
    }

    /// The texts that updates begin as.
    pub(crate) fn update_templates_path(&self) -> PathBuf {
        self.settings
            .get("HARMONY_UPDATE_TEMPLATES")
            .map_or_else(|| self.in_data_dir("templates").join("updates"), PathBuf::from)
    }

    /// What reviews look like: the organisation's own template where there is one.
    pub(crate) fn review_template(&self) -> Result<ReviewTemplate, Failure> {
        let given = self.settings.get("HARMONY_REVIEW_TEMPLATE").map(PathBuf::from);
        let path = given.clone().unwrap_or_else(|| self.in_data_dir("templates").join("review.md"));
        let hint = "correct the file, or remove it for the built-in template; docs/templates.md names what it may use";
        match fs::read_to_string(&path) {
            Ok(source) => ReviewTemplate::parse(source)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display()), hint)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && given.is_none() => {
                Ok(ReviewTemplate::default())
            }
            Err(error) => Err(Failure::usage(format!("{} cannot be read: {error}", path.display()), hint)),
        }
    }

    /// The rules in force, read again whenever their files change.
    pub(crate) fn governance(&self, flags: Arc<FlagService>) -> anyhow::Result<Arc<Governance>> {
        let files = RuleFiles {
            directory: self.directory_path(),
            policy: self.policy_path(),
            access: self.access_path(),
            promotion: self.promotion_policies_path(),
        };
        Ok(Arc::new(Governance::open(files, flags)?))
    }

    /// Where the runbooks are.
    pub(crate) fn runbooks_path(&self) -> PathBuf {
        if let Some(path) = self.settings.get("HARMONY_RUNBOOKS") {
            return PathBuf::from(path);
        }
        let own = self.in_data_dir("runbooks");
        if own.is_dir() { own } else { PathBuf::from("runbooks") }
    }

    /// The directory of runbooks, which must be there.
    pub(crate) fn runbook_root(&self) -> anyhow::Result<RunbookRoot> {
        RunbookRoot::new(self.runbooks_path()).map_err(|error| {
            Failure::usage(
                format!("HARMONY_RUNBOOKS: there are no runbooks: {:#}", anyhow::Error::from(error)),
                "set HARMONY_RUNBOOKS to the directory that holds them",
            )
            .into()
        })
    }

    /// The Temporal CLI that was named.
    pub(crate) fn temporal_cli(&self) -> Option<PathBuf> {
        self.settings.get("HARMONY_TEMPORAL_CLI").map(PathBuf::from)
    }

    /// Where the API is: `HARMONY_API`, else what `serve` or `dev` wrote into the data directory.
    pub(crate) fn api_origin(&self) -> anyhow::Result<Option<Url>> {
        let (text, from) = match self.settings.get("HARMONY_API") {
            Some(given) => (given.to_owned(), "HARMONY_API".to_owned()),
            None => {
                let path = self.in_data_dir("api");
                let Some(known) = keys::read(&path)? else { return Ok(None) };
                (known.expose_secret().to_owned(), path.display().to_string())
            }
        };
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Some(url)),
            _ => Err(bad(&from, &format!("{text:?} is no address such as http://{HTTP_ADDR}")).into()),
        }
    }

    /// The bearer token of the client commands.
    pub(crate) fn token(&self) -> anyhow::Result<Option<SecretString>> {
        match self.settings.get("HARMONY_TOKEN") {
            Some(token) => Ok(Some(SecretString::from(token))),
            None => keys::read(&self.in_data_dir("token")),
        }
    }

    /// Whether the address to listen on was named, not left to the default.
    pub(crate) fn names_http_addr(&self) -> bool {
        self.settings.source("HARMONY_HTTP_ADDR").is_some()
    }

    /// Where a setting came from, for `config check`.
    pub(crate) fn source(&self, key: &str) -> Option<Source> {
        self.settings.source(key)
    }
}

/// A lost request is waited for this long before anybody looks, so it is bounded on both sides: a try has 75 s.
fn request_timeout(given: Option<&str>) -> Result<Option<Duration>, Failure> {
    let Some(text) = given else { return Ok(None) };
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|time| Duration::try_from(time).ok())
        .filter(|time| (Duration::from_millis(500)..=Duration::from_secs(30)).contains(time))
        .map(Some)
        .ok_or_else(|| {
            bad("HARMONY_REQUEST_TIMEOUT", &format!("{text:?} is no time from 500ms to 30s, such as 20s"))
        })
}

impl Flags {
    fn get(&self, key: &str) -> Option<String> {
        match key {
            "HARMONY_DATA_DIR" => self.data_dir.as_ref().map(|path| path.display().to_string()),
            "HARMONY_HTTP_ADDR" => self.http.clone(),
            "HARMONY_METRICS_ADDR" => self.metrics.clone(),
            "HARMONY_ORG" => self.org.clone(),
            _ => None,
        }
    }
}

/// Failures on their way to one list.
struct Wrong<'a>(&'a mut Vec<Failure>);

impl Wrong<'_> {
    fn of<T>(&mut self, found: Result<T, impl Into<Failures>>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(error) => {
                self.0.extend(Vec::from(error.into()));
                None
            }
        }
    }

    fn or_default<T: Default>(&mut self, found: Result<T, impl Into<Failures>>) -> T {
        self.of(found).unwrap_or_default()
    }
}

fn config_file() -> Result<Option<(PathBuf, String)>, Failure> {
    let named = env::var_os("HARMONY_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = named.clone().unwrap_or_else(|| PathBuf::from(settings::FILE));
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => Ok(None),
        Err(error) => Err(Failure::usage(
            format!("{} cannot be read: {error}", path.display()),
            "set HARMONY_CONFIG to a file that can, or unset it",
        )),
    }
}

fn parse_checkpoint_key(key: &SecretString) -> anyhow::Result<CheckpointKey> {
    CheckpointKey::parse(key.expose_secret())
        .map_err(|error| bad(CHECKPOINT_KEY.0, &format!("{error}; it is 64 hex digits")).into())
}

pub(crate) fn bad(key: &str, problem: &str) -> Failure {
    Failure::usage(
        format!("{key}: {problem}"),
        format!("correct {key}; `harmony config check` shows all settings"),
    )
}

/// A store that cannot be opened, with what to do about it.
pub(crate) fn unreadable(error: &LogError) -> Failure {
    let hint = match error {
        LogError::OlderSchema { .. } => "run `harmony db migrate` with the same DATABASE_URL",
        LogError::Corrupt { .. } => "keep it as it is, and compare it with a backup",
        LogError::NewerSchema { .. } => "run the newer version, or restore a backup from before it",
        _ => "check DATABASE_URL and the rights it comes with; `harmony config check` shows where it points",
    };
    Failure::failed(error.to_string(), hint)
}

/// An absolute path, for children that start elsewhere. The directory must exist.
pub(crate) fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize().with_context(|| format!("cannot find {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<Config, Failures> {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let environment =
            move |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        Config::new(Settings::collect(&|_| None, &environment, None))
    }

    #[test]
    fn defaults_need_nothing_set() {
        let config = config(&[]).unwrap();
        assert_eq!(config.http_addr.to_string(), "127.0.0.1:8088");
        assert_eq!(config.database().unwrap().to_string(), ".harmony/harmony.db");
        assert_eq!(
            (config.temporal_address.as_str(), config.temporal_namespace.as_str()),
            (TEMPORAL_ADDRESS, "harmony")
        );
        assert!(config.vendors.slack.is_none() && config.vendors.confluence.is_none());
    }

    #[test]
    fn database_urls_are_taken_or_explained() {
        for (url, expected) in [
            ("sqlite:///var/lib/h.db", Ok("/var/lib/h.db")),
            ("sqlite://data/h.db", Ok("data/h.db")),
            ("sqlite:h.db", Ok("h.db")),
            ("postgres://u:p@h/d", Ok("postgres://h:5432/d")),
            ("postgres://u:p@h:port/d", Err("it is no address of a PostgreSQL database")),
            ("dynamodb://prefix", Ok("dynamodb://prefix")),
            ("sqlite://:memory:", Err("a log is a file")),
            ("mysql://x", Err("it starts with none of")),
        ] {
            let found = config(&[("DATABASE_URL", url)]);
            match expected {
                Ok(shown) => assert_eq!(found.unwrap().database().unwrap().to_string(), shown, "{url}"),
                Err(part) => {
                    let said = found.err().unwrap().to_string();
                    assert!(said.contains(part), "{said}");
                    assert!(!said.contains("u:p"), "no credentials in errors");
                }
            }
        }
    }

    #[test]
    fn everything_that_is_wrong_is_named_with_where_it_stands() {
        let wrong = [
            ("HARMONY_HTTP_ADDR", "8088"),
            ("HARMONY_ORG", "A b!"),
            ("HARMONY_METRICS_ADDR", "nowhere"),
            ("HARMONY_REQUEST_TIMEOUT", "1h"),
            ("HARMONY_DATABASE_POOL", "0"),
            ("HARMONY_REQUESTS_PER_SECOND", "many"),
            ("HARMONY_CONSOLE_URL", "console"),
            ("HARMONY_TEMPORAL_COMPRESSION", "zstd"),
            ("HARMONY_TEMPORAL_UI", "ui"),
            ("HARMONY_API", "api"),
            ("HARMONY_LOG", "a=b=c"),
            ("HARMONY_LOG_FORMAT", "xml"),
            ("HARMONY_ATTESTATION_KEY", "short"),
            ("HARMONY_SALT_KEY", "short"),
            ("HARMONY_SESSION_KEY", "short"),
            ("HARMONY_CHECKPOINT_KEY", "short"),
            ("HARMONY_TICKET_KEY", "short"),
            ("HARMONY_TICKET_PUBLIC_KEY", "short"),
            ("HARMONY_GRAFANA_SECRET", "short"),
            ("HARMONY_GITHUB_SECRET", "short"),
            ("HARMONY_CHANGES_KEY", "short"),
            ("HARMONY_DEPLOY_WORKFLOWS", "deploy.yml"),
            ("HARMONY_DEPLOYMENT", "a.b"),
            ("DATABASE_URL", "mysql://x"),
            ("FLAGD_TLS", "perhaps"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"),
            ("TEMPORAL_ADDRESS", "a b"),
            ("TEMPORAL_TLS", "perhaps"),
            ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", "/nowhere/ca.pem"),
            ("HARMONY_WEBHOOKS", "nowhere"),
        ];
        let build = ("HARMONY_BUILD_ID", "1");
        let said = config(&[&wrong[..], &[build]].concat()).err().unwrap().to_string();
        for (key, value) in wrong {
            let about: Vec<&str> =
                said.split("; ").filter(|one| one.starts_with(&format!("{key}: "))).collect();
            assert_eq!(about.len(), 1, "{key} in {said}");
            assert!(config(&[(key, value)]).is_err() || key == "HARMONY_DEPLOYMENT", "{key} alone");
        }
        assert_eq!(said.matches("(set in the environment)").count(), wrong.len(), "{said}");
        for absent in ["TEMPORAL_TLS_CLIENT_KEY_PATH", "PAGERDUTY_FROM"] {
            let half = match absent {
                "TEMPORAL_TLS_CLIENT_KEY_PATH" => ("TEMPORAL_TLS_CLIENT_CERT_PATH", "/dev/null"),
                _ => ("PAGERDUTY_API_KEY", "x"),
            };
            let said = config(&[half]).err().unwrap().to_string();
            assert!(
                said.contains(&format!("{absent}: {} is set, this must be, too (looked for", half.0)),
                "{said}"
            );
        }
    }

    #[test]
    fn secrets_that_are_wrong_are_not_repeated() {
        for key in
            ["HARMONY_ATTESTATION_KEY", "HARMONY_SALT_KEY", "HARMONY_SESSION_KEY", "HARMONY_CHECKPOINT_KEY"]
        {
            let said = config(&[(key, "hunter2")]).err().unwrap().to_string();
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}

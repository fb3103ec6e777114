//! Talking to Temporal: connecting with the SDK's own TEMPORAL_* set, and whether it answers.

use std::{
    fs,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use harmony_activities::send_ahead;
use harmony_console::Temporal;
use harmony_eventlog::OutboxItem;
use temporalio_client::{
    Client, ClientOptions, ConnectionOptions, GrpcCompression,
    envconfig::{DataSource, LoadClientConfigProfileOptions},
    tonic::IntoRequest,
};
use temporalio_common::protos::temporal::api::workflowservice::v1::GetSystemInfoRequest;
use url::Url;

use crate::{
    config::{Config, bad},
    failure::{Failure, innermost},
    settings::Settings,
};

/// A server that has not taken the connection by then is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often somebody asks whether Temporal is there.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// A server that takes longer to say who it is does not answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether calls to Temporal are compressed.
const COMPRESSION: &str = "HARMONY_TEMPORAL_COMPRESSION";

/// The SDK's settings that are ours too, by the names that its files have for them.
const TLS: [(&str, &str); 4] = [
    ("TEMPORAL_TLS_CLIENT_CERT_PATH", "client_cert_path"),
    ("TEMPORAL_TLS_CLIENT_KEY_PATH", "client_key_path"),
    ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", "server_ca_cert_path"),
    ("TEMPORAL_TLS_SERVER_NAME", "server_name"),
];

impl Config {
    /// Where and how to connect. The SDK reads its own TEMPORAL_* set; what stands in our file goes to it as a file.
    fn temporal_connection(&self) -> Result<ConnectionOptions, Failure> {
        let options = LoadClientConfigProfileOptions::builder()
            .config_source(DataSource::Data(profile(&self.settings).into_bytes()))
            .config_file_profile("default".to_owned())
            .build();
        let (mut connection, _) = ClientOptions::load_from_config(options).map_err(|error| {
            Failure::usage(
                format!("the TEMPORAL_* settings cannot be used: {error}"),
                "correct them; `harmony config check` shows all settings",
            )
        })?;
        connection.target = address(&self.temporal_address, connection.tls_options.is_some())?;
        connection.connect_timeout = Some(CONNECT_TIMEOUT);
        connection.identity = format!("harmony-{}", std::process::id());
        connection.grpc_compression = compression(&self.settings).unwrap_or(GrpcCompression::None);
        Ok(connection)
    }

    /// A client of the configured namespace.
    pub(crate) async fn temporal_client(&self) -> anyhow::Result<Client> {
        let connection = self.temporal_connection()?;
        let client = ClientOptions::new(self.temporal_namespace.clone()).build();
        Client::connect(connection, client).await.map_err(|error| {
            Failure::failed(
                format!("Temporal does not answer at {}: {}", self.temporal_address, innermost(&error)),
                "start Temporal (`harmony dev` brings one), or set TEMPORAL_ADDRESS to where it is",
            )
            .into()
        })
    }
}

/// What is wrong with the settings of the connection. Certificates are read, nothing is connected to.
pub(crate) fn wrong_settings(config: &Config) -> Vec<Failure> {
    let get = |key: &str| config.settings.get(key);
    let mut wrong: Vec<Failure> = Vec::new();
    let [(certificate, _), (key, _), (authority, _), _] = TLS;
    for (one, other) in [(certificate, key), (key, certificate)] {
        if get(one).is_some() && get(other).is_none() {
            wrong.push(bad(other, &format!("{one} is set, this must be, too")));
        }
    }
    for setting in [certificate, key, authority] {
        if let Some(path) = get(setting)
            && let Err(error) = fs::read(path)
        {
            wrong.push(bad(setting, &format!("{path} cannot be read: {error}")));
        }
    }
    if let Some(text) = get("TEMPORAL_TLS").filter(|text| truth(text).is_none()) {
        wrong.push(bad("TEMPORAL_TLS", &format!("{text:?} is neither true nor false")));
    }
    if compression(&config.settings).is_none() {
        wrong.push(bad(COMPRESSION, "it is none or gzip"));
    }
    wrong.extend(address(&config.temporal_address, false).err());
    if wrong.is_empty() {
        wrong.extend(config.temporal_connection().err());
    }
    wrong
}

/// How calls are compressed: not at all, unless it is asked for. `None` where it is neither. To a server nearby, gzip
/// costs more than it saves: some 5 % of a worker's CPU.
fn compression(settings: &Settings) -> Option<GrpcCompression> {
    match settings.get(COMPRESSION) {
        None | Some("none") => Some(GrpcCompression::None),
        Some("gzip") => Some(GrpcCompression::Gzip),
        Some(_) => None,
    }
}

/// The settings as a file of the SDK.
fn profile(settings: &Settings) -> String {
    let text = |key: &str| settings.get(key).map(|text| toml::Value::String(text.to_owned()));
    let mut tls = toml::Table::new();
    tls.extend(TLS.iter().filter_map(|(key, name)| Some(((*name).to_owned(), text(key)?))));
    if let Some(on) = settings.get("TEMPORAL_TLS").and_then(truth) {
        tls.insert("disabled".to_owned(), toml::Value::Boolean(!on));
    }
    let mut profile = toml::Table::new();
    profile.extend(text("TEMPORAL_API_KEY").map(|key| ("api_key".to_owned(), key)));
    if !tls.is_empty() {
        profile.insert("tls".to_owned(), toml::Value::Table(tls));
    }
    let default = toml::Table::from_iter([("default".to_owned(), toml::Value::Table(profile))]);
    toml::Table::from_iter([("profile".to_owned(), toml::Value::Table(default))]).to_string()
}

/// As the SDK reads one.
fn truth(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn address(text: &str, has_tls: bool) -> Result<Url, Failure> {
    let whole = if text.contains("://") {
        text.to_owned()
    } else {
        format!("{}://{text}", if has_tls { "https" } else { "http" })
    };
    Url::parse(&whole).ok().filter(Url::has_host).ok_or_else(|| {
        Failure::usage(format!("TEMPORAL_ADDRESS: {text:?} is no address"), "set it to host:port")
    })
}

/// The console's way to Temporal: whether it answers is asked once a second in the background.
pub(crate) struct Probe {
    address: String,
    last: Mutex<Last>,
}

/// What the last question brought.
#[derive(Default)]
struct Last {
    answers: bool,
    client: Option<Client>,
}

impl Probe {
    /// Asks once, then goes on asking for as long as somebody holds the probe.
    pub(crate) async fn start(config: &Config) -> Arc<Self> {
        let probe = Arc::new(Self { address: config.temporal_address.clone(), last: Mutex::default() });
        probe.ask(config).await;
        let (weak, config) = (Arc::downgrade(&probe), config.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PROBE_INTERVAL).await;
                let Some(probe) = weak.upgrade() else { return };
                probe.ask(&config).await;
            }
        });
        probe
    }

    async fn ask(&self, config: &Config) {
        let mut client = self.last().client.clone();
        let asked = tokio::time::timeout(PROBE_TIMEOUT, async {
            if client.is_none() {
                client = Some(config.temporal_client().await?);
            }
            if let Some(client) = client.as_ref() {
                let mut service = client.connection().workflow_service();
                service.get_system_info(GetSystemInfoRequest::default().into_request()).await?;
            }
            anyhow::Ok(())
        });
        let answers = matches!(asked.await, Ok(Ok(())));
        let mut last = self.last();
        if last.answers != answers {
            tracing::info!(address = %self.address, answers, "Temporal");
        }
        *last = Last { answers, client };
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Temporal for Probe {
    fn reachable(&self) -> Result<(), String> {
        if self.last().answers { Ok(()) } else { Err(self.address.clone()) }
    }

    fn send_ahead(&self, wake: &OutboxItem) {
        let Some(client) = self.last().client.clone() else { return };
        let wake = wake.clone();
        tokio::spawn(async move { send_ahead(&client, &wake).await });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_a_scheme_where_they_have_none() {
        for (text, tls, expected) in [
            ("127.0.0.1:7233", false, "http://127.0.0.1:7233/"),
            ("temporal.example:7233", true, "https://temporal.example:7233/"),
            ("http://temporal:7233", true, "http://temporal:7233/"),
        ] {
            assert_eq!(address(text, tls).unwrap().as_str(), expected);
        }
        assert!(address("", false).is_err());
    }

    fn config(file: &str) -> Config {
        let file = Some((std::path::PathBuf::from("harmony.toml"), file.to_owned()));
        Config::new(Settings::collect(&|_| None, &|_| None, file)).unwrap()
    }

    #[test]
    fn what_stands_in_the_file_counts_as_if_it_stood_in_the_environment() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ca.pem");
        fs::write(&path, "a certificate").unwrap();
        let plain = config("").temporal_connection().unwrap();
        assert!(plain.api_key.is_none() && plain.tls_options.is_none());
        let file = format!(
            "TEMPORAL_ADDRESS = \"t:7233\"\nTEMPORAL_API_KEY = \"k\\\"1\"\nTEMPORAL_TLS_SERVER_NAME = \"n\"\n\
             TEMPORAL_TLS_SERVER_CA_CERT_PATH = {path:?}"
        );
        let secured = config(&file).temporal_connection().unwrap();
        assert_eq!((secured.target.as_str(), secured.api_key.as_deref()), ("https://t:7233/", Some("k\"1")));
        let tls = secured.tls_options.unwrap();
        assert_eq!(tls.domain.as_deref(), Some("n"));
        assert_eq!(tls.server_root_ca_cert.as_deref(), Some(&b"a certificate"[..]));
        let off = config("TEMPORAL_API_KEY = \"k\"\nTEMPORAL_TLS = false").temporal_connection().unwrap();
        assert!(off.tls_options.is_none() && off.target.scheme() == "http");
    }
}

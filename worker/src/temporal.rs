//! Talking to Temporal: connecting with the SDK's own TEMPORAL_* set, and whether it answers.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::anyhow;
use harmony_console::TemporalHealth;
use temporalio_client::{
    Client, ClientOptions, envconfig::LoadClientConfigProfileOptions, tonic::IntoRequest,
};
use temporalio_common::protos::temporal::api::workflowservice::v1::GetSystemInfoRequest;
use url::Url;

use crate::{
    config::Config,
    failure::{Failure, innermost},
};

/// A server that has not taken the connection by then is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often somebody asks whether Temporal is there.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// A server that takes longer to say who it is does not answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

impl Config {
    /// A client of the configured namespace. TLS and API keys come from the SDK's own TEMPORAL_* settings.
    pub(crate) async fn temporal_client(&self) -> anyhow::Result<Client> {
        let options = LoadClientConfigProfileOptions::builder().disable_file(true).build();
        // The error is not Send + Sync.
        let (mut connection, _) = ClientOptions::load_from_config(options)
            .map_err(|error| anyhow!("the TEMPORAL_* settings cannot be used: {error}"))?;
        let has_tls = connection.tls_options.is_some() || connection.api_key.is_some();
        connection.target = address(&self.temporal_address, has_tls)?;
        connection.connect_timeout = Some(CONNECT_TIMEOUT);
        connection.identity = format!("harmony-{}", std::process::id());
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

/// Whether Temporal answers, asked once a second in the background.
pub(crate) struct Probe {
    address: String,
    last: Mutex<bool>,
}

impl Probe {
    /// Asks once, then goes on asking for as long as somebody holds the probe.
    pub(crate) async fn start(config: &Config) -> Arc<Self> {
        let probe = Arc::new(Self { address: config.temporal_address.clone(), last: Mutex::new(false) });
        let mut client = None;
        probe.ask(config, &mut client).await;
        let (weak, config) = (Arc::downgrade(&probe), config.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PROBE_INTERVAL).await;
                let Some(probe) = weak.upgrade() else { return };
                probe.ask(&config, &mut client).await;
            }
        });
        probe
    }

    async fn ask(&self, config: &Config, client: &mut Option<Client>) {
        let asked = tokio::time::timeout(PROBE_TIMEOUT, async {
            if client.is_none() {
                *client = Some(config.temporal_client().await?);
            }
            if let Some(client) = client.as_ref() {
                let mut service = client.connection().workflow_service();
                service.get_system_info(GetSystemInfoRequest::default().into_request()).await?;
            }
            anyhow::Ok(())
        });
        let answers = matches!(asked.await, Ok(Ok(())));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != answers {
            tracing::info!(address = %self.address, answers, "Temporal");
        }
        *last = answers;
    }
}

impl TemporalHealth for Probe {
    fn reachable(&self) -> Result<(), String> {
        let answers = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if answers { Ok(()) } else { Err(self.address.clone()) }
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
}

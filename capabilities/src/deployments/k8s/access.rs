//! How clusters are reached: each by the name that the catalog has for it.
//!
//! The cluster that this process runs in goes by the name of a setting, with the service account's token, which is
//! read again as it is renewed. Others are the contexts of a kubeconfig. A name that is neither is refused: there is
//! no default cluster that a release could end up in by mistake.
//!
//! Credentials are sent over verified TLS alone, or to this machine. What kube-rs says about a kubeconfig or a
//! credential plugin can quote their contents, so it is not passed on.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::client::AuthError;
use kube::config::{ExecInteractiveMode, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::NAME;
use crate::address;
use crate::deployments::DeploymentError;

/// As for every vendor.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a kubeconfig is of no use.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It cannot be read.
    #[error("the kubeconfig {path} cannot be read: {kind}")]
    Unreadable {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        kind: std::io::ErrorKind,
    },
    /// It is no kubeconfig. What is wrong with it is not quoted: it may be a credential.
    #[error("{0} is no kubeconfig")]
    Malformed(PathBuf),
    /// Two ways to one name.
    #[error("the cluster {0:?} is both the one this process runs in and a context of the kubeconfig")]
    Twice(String),
}

/// See the module.
pub struct Access {
    in_cluster: Option<String>,
    kubeconfig: Option<PathBuf>,
    contexts: Vec<String>,
    connections: Mutex<BTreeMap<String, Arc<Connection>>>,
}

/// A cluster and who we are there.
pub struct Connection {
    /// Asks it with our credentials.
    pub client: Client,
    /// The API server's host; empty where its address has none.
    pub host: String,
    /// Its port, where the address names one.
    pub port: Option<u16>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("clusters", &self.clusters()).finish_non_exhaustive()
    }
}

impl Access {
    /// The cluster that this process runs in, by this name, and every context of the kubeconfig.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the kubeconfig, or which name means two clusters.
    pub fn new(in_cluster: Option<String>, kubeconfig: Option<PathBuf>) -> Result<Self, AccessError> {
        let contexts = match &kubeconfig {
            Some(path) => read(path)?.contexts.into_iter().map(|one| one.name).collect(),
            None => Vec::new(),
        };
        if let Some(twice) = in_cluster.as_ref().filter(|name| contexts.contains(name)) {
            return Err(AccessError::Twice(twice.clone()));
        }
        Ok(Self { in_cluster, kubeconfig, contexts, connections: Mutex::default() })
    }

    /// The names that can be asked for.
    pub fn clusters(&self) -> Vec<&str> {
        self.in_cluster.iter().chain(&self.contexts).map(String::as_str).collect()
    }

    /// A connection to the cluster of this name, made when it is asked for first.
    ///
    /// # Errors
    ///
    /// Says why there is none: nothing was asked of the cluster.
    pub async fn connection(&self, cluster: &str) -> Result<Arc<Connection>, DeploymentError> {
        if let Some(known) = self.connections().get(cluster) {
            return Ok(Arc::clone(known));
        }
        let config = self.config(cluster).await?;
        let (host, port) =
            (config.cluster_url.host().unwrap_or_default().to_owned(), config.cluster_url.port_u16());
        // A credential plugin is a program, and it is waited for.
        let client = tokio::task::spawn_blocking(move || Client::try_from(config)).await;
        let client = client
            .map_err(|_| "its client cannot be made".to_owned())
            .and_then(|made| made.map_err(|error| useless(&error)))
            .map_err(|why| not_configured(format!("cluster {cluster:?}: {why}")))?;
        let connection = Arc::new(Connection { client, host, port });
        self.connections().insert(cluster.to_owned(), Arc::clone(&connection));
        Ok(connection)
    }

    /// Who was refused asks with fresh credentials the next time.
    pub fn forget(&self, cluster: &str) {
        self.connections().remove(cluster);
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn config(&self, cluster: &str) -> Result<Config, DeploymentError> {
        let mut config = if self.in_cluster.as_deref() == Some(cluster) {
            Config::incluster().map_err(|_| {
                not_configured(
                    "HARMONY_KUBERNETES_CLUSTER is set, and this process is in no pod with a service account's token"
                        .to_owned(),
                )
            })?
        } else {
            self.context(cluster).await?
        };
        check(cluster, &config)?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.write_timeout = Some(address::REQUEST_TIMEOUT);
        // Temporal owns the retries.
        config.default_retry = false;
        Ok(config)
    }

    async fn context(&self, cluster: &str) -> Result<Config, DeploymentError> {
        let known = self.contexts.iter().any(|one| one == cluster);
        let Some(path) = self.kubeconfig.as_ref().filter(|_| known) else {
            let clusters = self.clusters().join(", ");
            let reason =
                format!("the cluster {cluster:?} is not one of those that this process knows ({clusters})");
            return Err(DeploymentError::target(NAME, reason));
        };
        let kubeconfig = read(path).map_err(|error| not_configured(error.to_string()))?;
        let has_proxy = proxied(&kubeconfig, cluster);
        let options = KubeConfigOptions { context: Some(cluster.to_owned()), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config =
            config.map_err(|error| not_configured(format!("context {cluster:?}: {}", tell(&error))))?;
        if has_proxy {
            return Err(not_configured(format!("context {cluster:?}: proxy-url is not supported")));
        }
        if let Some(program) = &mut config.auth_info.exec {
            // It asks nobody, and what it prints is not our output.
            program.interactive_mode = Some(ExecInteractiveMode::Never);
        }
        // Of the environment: it is meant for the vendors, and nothing says whether it leads to this cluster.
        config.proxy_url = None;
        Ok(config)
    }
}

fn read(path: &std::path::Path) -> Result<Kubeconfig, AccessError> {
    Kubeconfig::read_from(path).map_err(|error| match error {
        KubeconfigError::ReadConfig(source, _) => {
            AccessError::Unreadable { path: path.to_owned(), kind: source.kind() }
        }
        _ => AccessError::Malformed(path.to_owned()),
    })
}

/// Whether the context's cluster is behind a proxy of its own.
fn proxied(kubeconfig: &Kubeconfig, context: &str) -> bool {
    let context = kubeconfig.contexts.iter().find(|one| one.name == context);
    let cluster = context.and_then(|one| one.context.as_ref()).map(|one| &one.cluster);
    let cluster = cluster.and_then(|name| kubeconfig.clusters.iter().find(|one| one.name == *name));
    cluster.and_then(|one| one.cluster.as_ref()).is_some_and(|one| one.proxy_url.is_some())
}

/// The part of the kubeconfig that is of no use, without what stands in it.
fn tell(error: &KubeconfigError) -> &'static str {
    match error {
        KubeconfigError::LoadContext(_) | KubeconfigError::CurrentContextNotSet => "it is not there",
        KubeconfigError::LoadClusterOfContext(_) => "its cluster is not there",
        KubeconfigError::MissingClusterUrl | KubeconfigError::ParseClusterUrl(_) => {
            "its cluster has no address"
        }
        KubeconfigError::LoadCertificateAuthority(_) | KubeconfigError::ParseCertificates(_) => {
            "the certificate authority cannot be read"
        }
        KubeconfigError::LoadClientCertificate(_) | KubeconfigError::LoadClientKey(_) => {
            "the client's certificate or key cannot be read"
        }
        _ => "it cannot be read",
    }
}

/// Why no client can be made, without what stands in the kubeconfig or a credential program printed.
fn useless(error: &kube::Error) -> String {
    match error {
        kube::Error::Auth(AuthError::AuthExecStart(source)) => {
            format!("its credential program does not start: {}", source.kind())
        }
        kube::Error::Auth(AuthError::AuthExecRun { out, .. }) => {
            format!("its credential program ended with {}", out.status)
        }
        kube::Error::Auth(_) => "its credentials are of no use".to_owned(),
        _ => "its certificates are of no use".to_owned(),
    }
}

/// Whether credentials may be sent there.
fn check(cluster: &str, config: &Config) -> Result<(), DeploymentError> {
    let wrong = |what: &str| not_configured(format!("cluster {cluster:?}: {what}"));
    let url = address::check(&config.cluster_url.to_string()).map_err(|error| wrong(&error.to_string()))?;
    let is_here = address::Address::parse(url.as_str()).is_ok_and(|address| address.is_loopback());
    if config.accept_invalid_certs && !is_here {
        return Err(wrong(
            "insecure-skip-tls-verify is for this machine alone; name a certificate authority",
        ));
    }
    Ok(())
}

fn not_configured(hint: String) -> DeploymentError {
    DeploymentError::NotConfigured { adapter: NAME, hint }
}

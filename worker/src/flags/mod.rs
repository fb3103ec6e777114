//! Flags over `OpenFeature`: flagd at `FLAGD_HOST:FLAGD_PORT`, or flagd's file format from a file.
//!
//! A service that is away, or a value that cannot be read, leaves the last known value in force, then the default; the
//! log says so once, and once more when it is back. The last known value is this process's own: after a restart with
//! the service away the defaults are in force. No step waits for the service longer than [`ANSWER`].

mod providers;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use harmony_activities::{FlagSource, FlagValue, Flags};
use open_feature::{EvaluationContext, EvaluationErrorCode, provider::FeatureProvider};

use crate::{
    failure::{Failure, Failures},
    settings::Settings,
};
use providers::{FlagFile, Flagd};

/// Whether the gates of a P1 escalate.
pub(crate) const AUTO_ESCALATE_P1: &str = "incident.auto-escalate-p1";
/// flagd's own port for evaluation.
const PORT: u16 = 8013;
/// A service that has not answered by then is away.
const ANSWER: Duration = Duration::from_millis(500);
/// How often the flag that rules need at once is read.
const LOOK: Duration = Duration::from_secs(1);

/// The flag service itself, among names of flags.
const SERVICE: &str = "";

/// Where the flags are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum FlagSettings {
    /// Nowhere: every flag has its default.
    #[default]
    Defaults,
    /// A file in flagd's format, read again when it changes.
    File(PathBuf),
    /// A flagd.
    Service {
        /// With its scheme.
        address: String,
        /// A certificate authority other than the system's.
        authority: Option<String>,
    },
}

impl FlagSettings {
    /// From `FLAGD_OFFLINE_FLAG_SOURCE_PATH`, else `FLAGD_HOST`, `FLAGD_PORT`, `FLAGD_TLS` and `FLAGD_SERVER_CERT_PATH`.
    pub(crate) fn new(settings: &Settings) -> Result<Self, Failures> {
        if let Some(path) = settings.get("FLAGD_OFFLINE_FLAG_SOURCE_PATH") {
            return Ok(Self::File(PathBuf::from(path)));
        }
        let mut wrong = Vec::new();
        let mut bad = |what: String, hint: &str| wrong.push(Failure::usage(what, hint));
        let port = settings.get("FLAGD_PORT").map_or(Ok(PORT), str::parse::<u16>).unwrap_or_default();
        if port == 0 {
            bad("FLAGD_PORT: it is no port".to_owned(), "set it to 1..65535");
        }
        let tls = match settings.get("FLAGD_TLS") {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                bad(format!("FLAGD_TLS: {other:?} is neither true nor false"), "set it to one of them");
                false
            }
        };
        let host = settings.get("FLAGD_HOST");
        if host.is_none() && (settings.get("FLAGD_PORT").is_some() || tls) {
            bad(
                "FLAGD_HOST: FLAGD_PORT or FLAGD_TLS is set, this must be, too".to_owned(),
                "set FLAGD_HOST to where flagd is",
            );
        }
        if let Some(other) = host.filter(|host| host.contains('/') || host.contains(char::is_whitespace)) {
            bad(format!("FLAGD_HOST: {other:?} is no host"), "set it to a name or an address");
        }
        Failures::none(wrong)?;
        let Some(host) = host else { return Ok(Self::Defaults) };
        let host =
            if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
        let scheme = if tls { "https" } else { "http" };
        let authority = settings.get("FLAGD_SERVER_CERT_PATH").map(str::to_owned);
        Ok(Self::Service { address: format!("{scheme}://{host}:{port}"), authority })
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Defaults => {
                "the defaults: neither FLAGD_HOST nor FLAGD_OFFLINE_FLAG_SOURCE_PATH is set".to_owned()
            }
            Self::File(path) => path.display().to_string(),
            Self::Service { address, .. } => address.clone(),
        }
    }

    /// Whether what they name can be used; nobody is asked.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.provider().map(drop)
    }

    /// What answers; the error says what is wrong with the settings.
    fn provider(&self) -> Result<Option<Box<dyn FeatureProvider>>, Failure> {
        let unusable = |what: String| {
            Failure::usage(
                what,
                "set FLAGD_SERVER_CERT_PATH to a certificate authority in PEM, or leave it out",
            )
        };
        Ok(match self {
            Self::Defaults => None,
            Self::File(path) => Some(Box::new(FlagFile::new(path.clone()))),
            Self::Service { address, authority } => {
                let pem = match authority {
                    None => None,
                    Some(path) => Some(fs::read(path).map_err(|error| {
                        unusable(format!("FLAGD_SERVER_CERT_PATH: {path} cannot be read: {error}"))
                    })?),
                };
                let flagd = Flagd::new(address, pem.as_deref(), ANSWER)
                    .map_err(|error| unusable(format!("FLAGD_SERVER_CERT_PATH: {error}")))?;
                Some(Box::new(flagd))
            }
        })
    }
}

/// See the module.
pub(crate) struct FlagService {
    settings: FlagSettings,
    provider: Option<Box<dyn FeatureProvider>>,
    known: Mutex<BTreeMap<String, bool>>,
    /// What was said to be unreadable: flags by name, the service itself as [`SERVICE`].
    said: Mutex<BTreeSet<String>>,
    auto_escalate_p1: AtomicBool,
}

impl FlagService {
    /// Reads what rules need at once, and goes on reading it for as long as somebody holds this.
    pub(crate) async fn start(settings: FlagSettings) -> Result<Arc<Self>, Failure> {
        let provider = settings.provider()?;
        let service = Arc::new(Self { provider, settings, ..Self::none() });
        if service.provider.is_some() {
            service.look().await;
            let weak = Arc::downgrade(&service);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(LOOK).await;
                    let Some(service) = weak.upgrade() else { return };
                    service.look().await;
                }
            });
        }
        Ok(service)
    }

    /// Every flag has its default: for commands that only look.
    pub(crate) fn defaults() -> Arc<Self> {
        Arc::new(Self::none())
    }

    fn none() -> Self {
        Self {
            settings: FlagSettings::Defaults,
            provider: None,
            known: Mutex::default(),
            said: Mutex::default(),
            auto_escalate_p1: AtomicBool::new(true),
        }
    }

    /// [`AUTO_ESCALATE_P1`], at most [`LOOK`] old.
    pub(crate) fn auto_escalate_p1(&self) -> bool {
        self.auto_escalate_p1.load(Ordering::Relaxed)
    }

    async fn look(&self) {
        let value = self.value(AUTO_ESCALATE_P1, true).await;
        self.auto_escalate_p1.store(value.on, Ordering::Relaxed);
    }

    fn is_away(&self, what: &str, problem: &str) {
        if lock(&self.said).insert(what.to_owned()) {
            tracing::warn!(
                flags = %self.settings.describe(),
                error = problem,
                "a flag cannot be read: its last known value, then its default, is in force"
            );
        }
    }

    fn is_back(&self, name: &str) {
        let (service, flag) = {
            let mut said = lock(&self.said);
            (said.remove(SERVICE), said.remove(name))
        };
        if service || flag {
            tracing::info!(flags = %self.settings.describe(), "flags can be read again");
        }
    }

    fn last_known(&self, name: &str, default: bool) -> FlagValue {
        match lock(&self.known).get(name) {
            Some(on) => FlagValue { on: *on, from: FlagSource::LastKnown },
            None => FlagValue { on: default, from: FlagSource::Default },
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Flags for FlagService {
    async fn value(&self, name: &str, default: bool) -> FlagValue {
        let Some(provider) = &self.provider else {
            return FlagValue { on: default, from: FlagSource::Default };
        };
        match provider.resolve_bool_value(name, &EvaluationContext::default()).await {
            Ok(found) => {
                self.is_back(name);
                lock(&self.known).insert(name.to_owned(), found.value);
                FlagValue { on: found.value, from: FlagSource::Service }
            }
            // The service answers, and nobody defined this flag.
            Err(error) if error.code == EvaluationErrorCode::FlagNotFound => {
                self.is_back(name);
                lock(&self.known).remove(name);
                FlagValue { on: default, from: FlagSource::Default }
            }
            Err(error) => {
                // One flag that is no truth says nothing about the others.
                let what = match error.code {
                    EvaluationErrorCode::TypeMismatch | EvaluationErrorCode::ParseError => name,
                    _ => SERVICE,
                };
                self.is_away(what, &format!("{name}: {}", error.message.unwrap_or_default()));
                self.last_known(name, default)
            }
        }
    }
}

#[cfg(test)]
mod tests;

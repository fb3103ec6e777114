//! Requests to the API server: one after another at a steady pace, whoever asks, and what comes back.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use kube::client::{AuthError, Body};
use kube::core::Status;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use harmony_capabilities::address::REQUEST_TIMEOUT;
use harmony_capabilities::deployments::k8s::access::Access;
use harmony_capabilities::transport::{ANSWER_BYTES, chain};

/// Where cells run, and how it is reached.
pub(super) struct Api {
    pub(super) access: Access,
    pub(super) cluster: String,
    pub(super) namespace: String,
    pace: Pace,
}

/// Why a request had no good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// There is no such object.
    NotFound,
    /// An object of that name is there already.
    Exists,
    /// Refused for good, in the API server's words: it did not happen.
    Final(String),
    /// It may have happened, or may happen when it is asked again.
    Lost(String),
}

impl Api {
    pub(super) fn new(access: Access, cluster: String, namespace: String, gap: Duration) -> Self {
        Self { access, cluster, namespace, pace: Pace { gap, next: Mutex::new(Instant::now()) } }
    }

    pub(super) fn jobs(&self) -> String {
        format!("/apis/batch/v1/namespaces/{}/jobs", self.namespace)
    }

    pub(super) fn pods(&self) -> String {
        format!("/api/v1/namespaces/{}/pods", self.namespace)
    }

    /// A request whose answer is read whole.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, Refused> {
        let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let answered = async {
            let answer = self.open(method, path, body).await?;
            let body = Limited::new(answer, ANSWER_BYTES).collect().await;
            body.map_err(|error| Refused::Lost(chain(error.as_ref())))
        };
        self.pace.wait().await;
        let body = within(REQUEST_TIMEOUT, answered).await?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| {
            Refused::Lost(format!("the answer is not what was agreed (line {})", error.line()))
        })
    }

    /// A request whose answer is read as it comes.
    pub(super) async fn stream(&self, path: &str) -> Result<Body, Refused> {
        self.pace.wait().await;
        self.watch(path).await
    }

    /// The same, past all that wait for their turn: there are two watches, and everything else follows from what they tell.
    pub(super) async fn watch(&self, path: &str) -> Result<Body, Refused> {
        within(REQUEST_TIMEOUT, self.open(Method::GET, path, Vec::new())).await
    }

    async fn open(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Body, Refused> {
        let connection = self.access.connection(&self.cluster).await;
        let connection = connection.map_err(|error| Refused::Lost(error.to_string()))?;
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(|error| Refused::Final(error.to_string()))?;
        let answer = connection.client.send(request).await.map_err(|error| unsent(&error))?;
        let (parts, body) = answer.into_parts();
        if parts.status.is_success() {
            return Ok(body);
        }
        if parts.status == StatusCode::UNAUTHORIZED {
            self.access.forget(&self.cluster);
        }
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let said: Status =
            body.ok().and_then(|body| serde_json::from_slice(&body.to_bytes()).ok()).unwrap_or_default();
        Err(refusal(parts.status, &said))
    }
}

async fn within<T>(limit: Duration, request: impl Future<Output = Result<T, Refused>>) -> Result<T, Refused> {
    let answer = tokio::time::timeout(limit, request).await;
    answer.unwrap_or_else(|_| Err(Refused::Lost(format!("no answer within {} s", limit.as_secs()))))
}

/// What a credential program printed may be a credential, so its error is not passed on.
fn unsent(error: &kube::Error) -> Refused {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(link) = next {
        if link.is::<AuthError>() {
            return Refused::Lost("the credentials for the cluster are of no use".to_owned());
        }
        next = link.source();
    }
    Refused::Lost(chain(error))
}

fn refusal(status: StatusCode, said: &Status) -> Refused {
    let words = match said.message.as_str() {
        "" => status.canonical_reason().unwrap_or("no reason given"),
        words => words,
    };
    let words: String = words.chars().filter(|one| !one.is_control()).take(500).collect();
    match status.as_u16() {
        404 => Refused::NotFound,
        409 if said.reason == "AlreadyExists" => Refused::Exists,
        // Credentials are renewed, and conflicts and crowds pass.
        401 | 408 | 409 | 429 | 500.. => Refused::Lost(format!("{} {words}", status.as_u16())),
        _ => Refused::Final(words),
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound => f.write_str("it is not there"),
            Self::Exists => f.write_str("it is there already"),
            Self::Final(words) | Self::Lost(words) => f.write_str(words),
        }
    }
}

/// Lets one request go at a time, in the order in which they came, and each some time after the one before has gone.
struct Pace {
    gap: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    async fn wait(&self) {
        let mut next = self.next.lock().await;
        sleep_until(*next).await;
        // From now, not from when it should have gone: a machine that was busy does not catch up in a burst.
        *next = Instant::now() + self.gap;
    }
}

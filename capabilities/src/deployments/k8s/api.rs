//! One call to an API server, and what its answer means.

use std::error::Error;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use kube::client::{AuthError, Body};
use kube::core::Status;
use kube::core::response::StatusCause;
use serde::de::DeserializeOwned;

use super::access::Access;
use crate::address;
use crate::deployments::{DeploymentError, FieldConflict};
use crate::error::{CallError, Fate};
use crate::transport::{self, ANSWER_BYTES, Answer, Endpoint, Operation};

pub(super) const VENDOR: &str = "Kubernetes";
/// How the API server begins every refusal of its authorizer: `… is forbidden: User "x" cannot patch …`.
const NOT_ALLOWED: &str = "is forbidden: User ";

type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

impl Access {
    /// Sends a request to a cluster and reads what comes back.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        cluster: &str,
        operation: Operation,
        request: Built,
    ) -> Result<T, DeploymentError> {
        let request = request.map_err(|error| {
            CallError::new(VENDOR, operation.name, Fate::Rejected, None, error.to_string())
        })?;
        let connection = self.connection(cluster).await?;
        let (method, host) = (request.method().to_string(), connection.host.clone());
        let endpoint = || Some(Endpoint { method, host, port: connection.port });
        let exchange = exchange(&connection.client, operation, request);
        let answer = transport::traced(VENDOR, operation, endpoint, exchange).await?;
        if answer.status.is_success() {
            return Ok(json(operation, &answer)?);
        }
        let refusal = refusal(operation, &answer);
        if answer.status.as_u16() == 401 {
            self.forget(cluster);
        }
        Err(refusal)
    }
}

async fn exchange(
    client: &kube::Client,
    operation: Operation,
    request: http::Request<Vec<u8>>,
) -> Result<Answer, CallError> {
    let lost = |status: Option<http::StatusCode>, message: &str| {
        let status = status.map(|status| status.as_u16());
        CallError::new(VENDOR, operation.name, operation.effect.when_lost(), status, message)
    };
    let exchange = async {
        let response =
            client.send(request.map(Body::from)).await.map_err(|error| unsent(operation, &error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| lost(Some(parts.status), &transport::chain(error.as_ref())))?;
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes().to_vec() })
    };
    let answer = tokio::time::timeout(address::REQUEST_TIMEOUT, exchange).await;
    answer.unwrap_or_else(|_| {
        let limit = address::REQUEST_TIMEOUT.as_secs();
        Err(lost(None, &format!("no answer within {limit} s")))
    })
}

/// A request without an answer. What a credential plugin printed may be a credential, so its error is not passed on.
fn unsent(operation: Operation, error: &kube::Error) -> CallError {
    let failed = |fate, message: &str| CallError::new(VENDOR, operation.name, fate, None, message);
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(link) = next {
        next = link.source();
        if link.is::<AuthError>() {
            return failed(
                Fate::Unauthorized,
                "the kubeconfig's or the service account's credentials are of no use",
            );
        }
        if link.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(|error| error.is_connect()) {
            return failed(Fate::Unavailable, &transport::chain(link));
        }
    }
    failed(operation.effect.when_lost(), &transport::chain(error))
}

fn json<T: DeserializeOwned>(operation: Operation, answer: &Answer) -> Result<T, CallError> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        let place = (error.line(), error.column());
        let message = format!("the answer is not what was agreed (line {}, column {})", place.0, place.1);
        let status = Some(answer.status.as_u16());
        CallError::new(VENDOR, operation.name, operation.effect.when_lost(), status, message)
    })
}

/// The API server's own words for a refusal, and what they mean for us.
fn refusal(operation: Operation, answer: &Answer) -> DeploymentError {
    let status: Status = serde_json::from_slice(&answer.body).unwrap_or_default();
    let details = status.details.as_ref();
    let conflicts: Vec<FieldConflict> =
        details.into_iter().flat_map(|details| &details.causes).filter_map(conflict).collect();
    if !conflicts.is_empty() {
        return DeploymentError::Conflict(conflicts);
    }
    let fate = match answer.status.as_u16() {
        401 => Fate::Unauthorized,
        403 if status.message.contains(NOT_ALLOWED) => Fate::Unauthorized,
        // Somebody changed the object between our two requests.
        408 | 409 => Fate::Unavailable,
        429 => {
            let seconds = details.map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0);
            let asked = seconds.map(|seconds| Duration::from_secs(seconds.into()));
            Fate::Limited { retry_after: transport::retry_after(&answer.headers).or(asked) }
        }
        300..=499 => Fate::Rejected,
        _ => operation.effect.when_lost(),
    };
    let message = match status.message.as_str() {
        "" => answer.status.canonical_reason().unwrap_or("no reason given"),
        words => words,
    };
    CallError::new(VENDOR, operation.name, fate, Some(answer.status.as_u16()), message).into()
}

/// `conflict with "kubectl" using apps/v1`, at a field.
fn conflict(cause: &StatusCause) -> Option<FieldConflict> {
    let owner = cause.message.split('"').nth(1).filter(|_| cause.reason == "FieldManagerConflict")?;
    Some(FieldConflict { owner: owner.to_owned(), field: cause.field.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const APPLY: Operation = Operation::acts("deployments.apply");

    fn check(code: u16, body: Value, expected: &str) {
        let answer = Answer {
            status: http::StatusCode::from_u16(code).unwrap(),
            headers: http::HeaderMap::new(),
            body: body.to_string().into_bytes(),
        };
        assert_eq!(refusal(APPLY, &answer).to_string(), expected);
    }

    #[test]
    fn refusals_are_in_the_api_servers_own_words() {
        let status = |message: &str| json!({ "kind": "Status", "message": message, "details": { "retryAfterSeconds": 3 } });
        let rights =
            r#"deployments.apps "shop" is forbidden: User "dev" cannot patch resource "deployments""#;
        let admission =
            r#"deployments.apps "shop" is forbidden: ValidatingAdmissionPolicy 'x' denied request"#;
        let credentials = "Kubernetes does not accept our credentials for deployments.apply:";
        let unknown = "Kubernetes may or may not have carried out deployments.apply:";
        check(401, status("Unauthorized"), &format!("{credentials} 401 Unauthorized"));
        check(403, status(rights), &format!("{credentials} 403 {rights}"));
        check(403, status(admission), &format!("Kubernetes refused deployments.apply: 403 {admission}"));
        check(404, json!("no status"), "Kubernetes refused deployments.apply: 404 Not Found");
        check(
            409,
            status("the object has been modified"),
            "Kubernetes did not carry out deployments.apply: 409 the object has been modified",
        );
        check(429, status("slower"), "Kubernetes asks to wait 3 s before deployments.apply: 429 slower");
        check(500, status("boom"), &format!("{unknown} 500 boom"));
        check(504, Value::Null, &format!("{unknown} 504 Gateway Timeout"));
    }
}

//! A webhook that is signed by the [Standard Webhooks] scheme.
//!
//! Each event is one POST of the structured CloudEvent. `webhook-id` is the event's id, the same in every repetition;
//! `webhook-timestamp` the second of this try; `webhook-signature` holds, for each secret, `v1,` and the base64 of
//! HMAC-SHA-256 over `id.timestamp.body`. While a secret is replaced both sign, so that the receiver can change over in
//! its own time. Any 2xx takes the event; everything else, also a redirect, does not, and `Retry-After` is kept to.
//!
//! [Standard Webhooks]: https://www.standardwebhooks.com

use std::{fmt, time::Duration};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;
use url::Url;

use super::{CloudEvent, NotTaken, Sink, SinkName};

/// What a secret begins with.
const SECRET_PREFIX: &str = "whsec_";
/// The scheme asks for 24 to 64 bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// A receiver that has not answered by then has not taken it; it had better take first and work later.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nobody is left alone for longer, whatever they ask.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A signing secret.
#[derive(Clone)]
pub struct WebhookSecret(SecretSlice<u8>);

/// What is no signing secret. Does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret is whsec_ and the base64 of 24 to 64 bytes")]
pub struct WebhookSecretError;

impl WebhookSecret {
    /// Reads `whsec_…`.
    pub fn parse(text: &SecretString) -> Result<Self, WebhookSecretError> {
        let text = text.expose_secret().trim();
        let encoded = text.strip_prefix(SECRET_PREFIX).ok_or(WebhookSecretError)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| WebhookSecretError)?;
        if SECRET_BYTES.contains(&bytes.len()) { Ok(Self(bytes.into())) } else { Err(WebhookSecretError) }
    }

    /// `v1,…` over this id, second and body.
    pub fn sign(&self, id: &str, second: i64, body: &str) -> String {
        // Every length is a key for HMAC.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()) else {
            return String::new();
        };
        mac.update(format!("{id}.{second}.").as_bytes());
        mac.update(body.as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WebhookSecret(…)")
    }
}

/// See the module.
#[derive(Debug)]
pub struct Webhook {
    name: SinkName,
    client: reqwest::Client,
    url: Url,
    /// Invariant: not empty.
    secrets: Vec<WebhookSecret>,
}

impl Webhook {
    /// A webhook at an address that the caller has checked, over a client that follows no redirects. `None` without a
    /// secret: nothing is sent unsigned.
    pub fn new(
        name: SinkName,
        client: reqwest::Client,
        url: Url,
        secrets: Vec<WebhookSecret>,
    ) -> Option<Self> {
        (!secrets.is_empty()).then_some(Self { name, client, url, secrets })
    }

    async fn post(&self, event: &CloudEvent) -> Result<(), NotTaken> {
        let body = event.to_json();
        let second = Timestamp::now().as_second();
        let signatures: Vec<String> =
            self.secrets.iter().map(|secret| secret.sign(&event.id, second, &body)).collect();
        let answer = self
            .client
            .post(self.url.clone())
            .timeout(PATIENCE)
            .header("content-type", "application/cloudevents+json; charset=utf-8")
            .header("webhook-id", &event.id)
            .header("webhook-timestamp", second)
            .header("webhook-signature", signatures.join(" "))
            .body(body)
            .send()
            .await
            .map_err(|error| NotTaken::because(chain(&error.without_url())))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        Err(NotTaken {
            why: format!("the receiver answered {status}"),
            retry_after: retry_after.map(|wait| wait.min(LONGEST_RETRY_AFTER)),
        })
    }
}

#[async_trait]
impl Sink for Webhook {
    fn name(&self) -> &SinkName {
        &self.name
    }

    async fn send(&self, events: &[CloudEvent]) -> Vec<Result<(), NotTaken>> {
        let mut outcomes = Vec::with_capacity(events.len());
        for event in events {
            outcomes.push(self.post(event).await);
            if outcomes.last().is_some_and(Result::is_err) {
                break;
            }
        }
        outcomes
    }
}

/// An error with its causes; an address may hold a token, so it was taken out before.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(one) = cause {
        text.push_str(&format!(": {one}"));
        cause = one.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Result<WebhookSecret, WebhookSecretError> {
        WebhookSecret::parse(&SecretString::from(text))
    }

    /// Computed with Python's `hmac` and `base64`.
    #[test]
    fn signature_is_over_id_second_and_body() {
        let secret = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_ne!(
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_331, r#"{"test": 2432232314}"#),
            signature
        );
    }

    #[test]
    fn secrets_that_are_none_are_refused_and_never_shown() {
        for bad in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_not base64!",
            "whsec_c2hvcnQ=",
            &format!("whsec_{}", STANDARD.encode([7; 65])),
        ] {
            let error = secret(bad).err().unwrap_or_else(|| panic!("{bad} was taken"));
            assert!(bad.len() < 10 || !error.to_string().contains(bad));
        }
        let good = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(format!("{good:?}"), "WebhookSecret(…)");
    }
}

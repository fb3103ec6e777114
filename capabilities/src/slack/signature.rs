//! Slack's request signature, scheme `v0`.
//!
//! Slack signs `v0:<timestamp>:<raw body>` with the app's signing secret (HMAC-SHA256) and sends
//! the result in `X-Slack-Signature`, the timestamp in `X-Slack-Request-Timestamp`. slack-morphism
//! verifies, in the same time wherever the difference is, and refuses what is older or newer than
//! five minutes. Inside that window the same request verifies again: whoever receives it remembers
//! the signature for as long and refuses the second one.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use slack_morphism::prelude::SlackSigningSecret;
use slack_morphism::signature_verifier::{SlackEventSignatureVerifier, SlackEventSignatureVerifierError};

const SCHEME: &str = "v0=";

/// Why a request is not Slack's, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The timestamp, the signature or our own secret is missing.
    #[error("signature or timestamp is missing")]
    Missing,
    /// The timestamp is no number, the signature not `v0=` and 64 lower-case hexadecimal digits, or the body no text.
    #[error("signature, timestamp or body is malformed")]
    Malformed,
    /// Signed rightly, but the timestamp is more than five minutes away.
    #[error("timestamp is more than 5 min away")]
    Expired,
    /// Signed with another secret, or not what was signed.
    #[error("signature does not match")]
    Mismatch,
}

/// Verifies that Slack signed exactly these bytes within the last five minutes. `timestamp` and
/// `signature` are the header values, empty where a header is missing.
pub fn verify(
    secret: &SecretString,
    timestamp: &str,
    signature: &str,
    raw_body: &[u8],
) -> Result<(), SignatureError> {
    if timestamp.is_empty() || signature.is_empty() || secret.expose_secret().is_empty() {
        return Err(SignatureError::Missing);
    }
    // A sign, which a number may have and Slack's never has, would take the verifier's sum out of its bounds.
    let is_time = timestamp.bytes().all(|byte| byte.is_ascii_digit()) && timestamp.parse::<i64>().is_ok();
    let is_digest = signature.strip_prefix(SCHEME).is_some_and(|digits| {
        digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    let (true, true, Ok(body)) = (is_time, is_digest, std::str::from_utf8(raw_body)) else {
        return Err(SignatureError::Malformed);
    };
    let verifier = SlackEventSignatureVerifier::new(&SlackSigningSecret(secret.expose_secret().to_owned()));
    verifier.verify(signature, body, timestamp).map_err(|error| match error {
        SlackEventSignatureVerifierError::IncorrectOrExpiredTimestampError(_) => SignatureError::Expired,
        _ => SignatureError::Mismatch,
    })
}

/// Signs as Slack does: for tests, and for a sandbox that plays Slack.
#[must_use]
pub fn sign(secret: &SecretString, timestamp: &str, raw_body: &[u8]) -> String {
    let digest = mac(secret, timestamp, raw_body).map(|mac| mac.finalize().into_bytes());
    format!("{SCHEME}{}", hex::encode(digest.unwrap_or_default()))
}

/// HMAC takes a key of any length, so there is always one.
fn mac(secret: &SecretString, timestamp: &str, raw_body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok()?;
    mac.update(b"v0:");
    mac.update(timestamp.as_bytes());
    mac.update(b":");
    mac.update(raw_body);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const BODY: &[u8] = b"token=xyzz&team_id=T1DC2JH3J&payload=%7B%7D";

    fn now() -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        i64::try_from(since.as_secs()).unwrap()
    }

    fn check(timestamp: &str, signature: &str, body: &[u8], expected: Result<(), SignatureError>) {
        let verdict = verify(&SECRET.into(), timestamp, signature, body);
        assert_eq!(verdict, expected, "{timestamp} {signature}");
    }

    fn signed(timestamp: &str) -> String {
        sign(&SECRET.into(), timestamp, BODY)
    }

    #[test]
    fn what_slack_signs_is_accepted_within_the_window() {
        // The clock goes on beside the test.
        for offset in [-280, -1, 0, 1, 290] {
            let timestamp = (now() + offset).to_string();
            check(&timestamp, &signed(&timestamp), BODY, Ok(()));
        }
    }

    #[test]
    fn timestamp_outside_the_window_is_expired() {
        for timestamp in [now() - 301, now() + 320, 0, i64::MAX] {
            let timestamp = timestamp.to_string();
            let expected = Err(SignatureError::Expired);
            check(&timestamp, &signed(&timestamp), BODY, expected);
        }
    }

    #[test]
    fn every_changed_part_is_a_mismatch() {
        let timestamp = now().to_string();
        let mismatch = Err(SignatureError::Mismatch);
        check(&timestamp, &signed(&timestamp), b"other", mismatch);
        check(&(now() + 2).to_string(), &signed(&timestamp), BODY, mismatch);
        let foreign = sign(&"other".into(), &timestamp, BODY);
        check(&timestamp, &foreign, BODY, mismatch);
        check(&timestamp, &format!("v0={}", "0".repeat(64)), BODY, mismatch);
    }

    #[test]
    fn missing_and_malformed_are_told_apart() {
        let timestamp = now().to_string();
        let good = signed(&timestamp);
        check("", &good, BODY, Err(SignatureError::Missing));
        check(&timestamp, "", BODY, Err(SignatureError::Missing));
        let capitals = format!("v0={}", good[3..].to_uppercase());
        for bad in ["v0=", "v0=abc", "v1=00", &good[3..], &format!("{good}00"), &capitals] {
            check(&timestamp, bad, BODY, Err(SignatureError::Malformed));
        }
        for bad in ["now", "+1531420618", "-5", "1531420618.0", "99999999999999999999", &i64::MIN.to_string()]
        {
            check(bad, &signed(bad), BODY, Err(SignatureError::Malformed));
        }
        let no_text = b"payload=\xff";
        check(
            &timestamp,
            &sign(&SECRET.into(), &timestamp, no_text),
            no_text,
            Err(SignatureError::Malformed),
        );
        let unconfigured = verify(&"".into(), &timestamp, &good, BODY);
        assert_eq!(unconfigured, Err(SignatureError::Missing));
    }
}

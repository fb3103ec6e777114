//! Slack's request signature, scheme `v0`.
//!
//! Slack signs `v0:<timestamp>:<raw body>` with the app's signing secret (HMAC-SHA256) and sends
//! the result in `X-Slack-Signature`, the timestamp in `X-Slack-Request-Timestamp`. A request
//! older or newer than five minutes is refused. Inside that window the same request verifies
//! again: whoever receives it remembers the signature for as long and refuses the second one.
//!
//! The comparison takes the same time wherever the difference is. The time comes from the caller.
//! (`slack-morphism` has a verifier too; it reads the clock itself and takes only UTF-8 bodies.)

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// Slack's own recommendation.
const WINDOW_S: u64 = 300;
const SCHEME: &str = "v0=";

/// Why a request is not Slack's, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The timestamp, the signature or our own secret is missing.
    #[error("signature or timestamp is missing")]
    Missing,
    /// The timestamp is no number, or the signature not `v0=` and 64 hexadecimal digits.
    #[error("signature or timestamp is malformed")]
    Malformed,
    /// The timestamp is more than five minutes away.
    #[error("timestamp is more than {WINDOW_S} s away")]
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
    now_unix: i64,
) -> Result<(), SignatureError> {
    if timestamp.is_empty() || signature.is_empty() || secret.expose_secret().is_empty() {
        return Err(SignatureError::Missing);
    }
    let is_number = timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let sent_unix: i64 = match timestamp.parse() {
        Ok(seconds) if is_number => seconds,
        _ => return Err(SignatureError::Malformed),
    };
    let digest = signature
        .strip_prefix(SCHEME)
        .and_then(|digits| hex::decode(digits).ok())
        .filter(|digest| digest.len() == 32)
        .ok_or(SignatureError::Malformed)?;
    if now_unix.abs_diff(sent_unix) > WINDOW_S {
        return Err(SignatureError::Expired);
    }
    mac(secret, timestamp, raw_body)
        .ok_or(SignatureError::Missing)?
        .verify_slice(&digest)
        .map_err(|_| SignatureError::Mismatch)
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
    use slack_morphism::prelude::SlackSigningSecret;
    use slack_morphism::signature_verifier::SlackEventSignatureVerifier;

    use super::*;

    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const NOW: i64 = 1_531_420_618;
    const BODY: &[u8] = b"token=xyzz&team_id=T1DC2JH3J&payload=%7B%7D";

    fn check(timestamp: &str, signature: &str, body: &[u8], expected: Result<(), SignatureError>) {
        let verdict = verify(&SECRET.into(), timestamp, signature, body, NOW);
        assert_eq!(verdict, expected, "{timestamp} {signature}");
    }

    fn signed(timestamp: &str) -> String {
        sign(&SECRET.into(), timestamp, BODY)
    }

    #[test]
    fn own_signature_is_accepted_within_the_window() {
        for offset in [-300, -1, 0, 1, 300] {
            let timestamp = (NOW + offset).to_string();
            check(&timestamp, &signed(&timestamp), BODY, Ok(()));
        }
    }

    #[test]
    fn timestamp_outside_the_window_is_expired() {
        for timestamp in [NOW - 301, NOW + 301, 0, i64::MAX] {
            let timestamp = timestamp.to_string();
            let expected = Err(SignatureError::Expired);
            check(&timestamp, &signed(&timestamp), BODY, expected);
        }
    }

    #[test]
    fn every_changed_part_is_a_mismatch() {
        let timestamp = NOW.to_string();
        let mismatch = Err(SignatureError::Mismatch);
        check(&timestamp, &signed(&timestamp), b"other", mismatch);
        check(&(NOW + 1).to_string(), &signed(&timestamp), BODY, mismatch);
        let foreign = sign(&"other".into(), &timestamp, BODY);
        check(&timestamp, &foreign, BODY, mismatch);
        check(&timestamp, &format!("v0={}", "0".repeat(64)), BODY, mismatch);
    }

    #[test]
    fn missing_and_malformed_are_told_apart() {
        let timestamp = NOW.to_string();
        let good = signed(&timestamp);
        check("", &good, BODY, Err(SignatureError::Missing));
        check(&timestamp, "", BODY, Err(SignatureError::Missing));
        for bad in ["v0=", "v0=abc", "v1=00", &good[3..], &format!("{good}00")] {
            check(&timestamp, bad, BODY, Err(SignatureError::Malformed));
        }
        for bad in ["now", "+1531420618", "-5", "1531420618.0", "99999999999999999999"] {
            check(bad, &good, BODY, Err(SignatureError::Malformed));
        }
        let unconfigured = verify(&"".into(), &timestamp, &good, BODY, NOW);
        assert_eq!(unconfigured, Err(SignatureError::Missing));
    }

    #[test]
    fn slack_morphism_accepts_what_we_sign() {
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().to_string();
        let verifier = SlackEventSignatureVerifier::new(&SlackSigningSecret(SECRET.to_owned()));
        let body = std::str::from_utf8(BODY).unwrap();
        verifier.verify(&signed(&now), body, &now).unwrap();
    }
}

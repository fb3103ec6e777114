//! Attestation: how a decision or a start that came through our own doors is told from one that did not.
//!
//! A MAC over everything that matters about it, each field with its length before it, so that no two different
//! decisions have the same bytes. The key never reaches a runbook pod. Two keys may be valid while one replaces the
//! other: the first signs, both verify.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::command::{Attested, DecisionPayload};

type HmacSha256 = Hmac<Sha256>;

/// Signs with the first key, verifies with any.
#[derive(Clone)]
pub struct AttestationKeys {
    /// Invariant: not empty, and no key shorter than 32 bytes.
    keys: Vec<Vec<u8>>,
}

impl std::fmt::Debug for AttestationKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "AttestationKeys({} keys)", self.keys.len())
    }
}

/// A key that is too short to be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an attestation key has 32 bytes at least, written as 64 or more hex digits")]
pub struct KeyError;

/// What keys for links to unsubscribe are derived by, and what their MACs begin with.
const UNSUBSCRIBE: &[u8] = b"harmony-unsubscribe/1\0";

/// What a MAC is made for: a decision is never valid as a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A decision on a gate.
    Decision,
    /// A start of a workflow.
    Start,
}

/// Everything about a decision that its MAC covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionClaim<'a> {
    /// Organisation.
    pub org: &'a str,
    /// Workflow whose gate it is.
    pub workflow_id: &'a str,
    /// Gate.
    pub gate_id: &'a str,
    /// Digest of what was shown, in hex.
    pub digest: &'a str,
    /// `approved` or `rejected`.
    pub decision: &'a str,
    /// Principal's id.
    pub approver_id: &'a str,
    /// The decision's own id.
    pub decision_id: &'a str,
    /// When it was decided, as written in the payload.
    pub timestamp: &'a str,
    /// Reason, or empty.
    pub reason: &'a str,
    /// `console`, `slack`, `api` or `cli`.
    pub source: &'a str,
    /// Whether it claims `EMERGENCY_OVERRIDE`.
    pub break_glass: bool,
    /// Justification of that, or empty.
    pub justification: &'a str,
}

/// Everything about a start that its MAC covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartClaim<'a> {
    /// Organisation.
    pub org: &'a str,
    /// Workflow that is started.
    pub workflow_id: &'a str,
    /// Principal's id.
    pub principal_id: &'a str,
    /// When it was asked for, as written in the input.
    pub requested_at: &'a str,
    /// SHA-256 of the input without its `start`, in hex.
    pub input_digest: &'a str,
}

/// Which subscription a link to unsubscribe ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubscribeClaim<'a> {
    /// Organisation.
    pub org: &'a str,
    /// The subscription's id.
    pub subscription: &'a str,
    /// When it was made, in microseconds since 1970: a link of an earlier one does not end a later one.
    pub at_us: i64,
}

/// `start` of a workflow input: who asked for it through one of our doors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartAttestation {
    /// Principal's id.
    pub principal_id: String,
    /// RFC 3339.
    pub requested_at: String,
    /// The MAC, in hex.
    pub attestation: String,
}

impl AttestationKeys {
    /// Keys from hex, the signing key first, separated by commas.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let keys: Result<Vec<Vec<u8>>, _> =
            text.trim().split(',').map(|one| hex::decode(one.trim())).collect();
        let keys = keys.map_err(|_| KeyError)?;
        if keys.is_empty() || keys.iter().any(|key| key.len() < 32) {
            return Err(KeyError);
        }
        Ok(Self { keys })
    }

    /// The MAC over a decision, in hex.
    pub fn attest_decision(&self, claim: &DecisionClaim<'_>) -> String {
        self.sign(&decision_bytes(claim))
    }

    /// Whether this MAC was made over this decision by one of the keys.
    pub fn decision_holds(&self, claim: &DecisionClaim<'_>, attestation: &str) -> bool {
        self.holds(&decision_bytes(claim), attestation)
    }

    /// What the attestation of a decision that reached this workflow is: it must be made over exactly what arrived, by
    /// one of our doors, for this workflow of this organisation.
    pub fn judge(&self, org: &str, workflow_id: &str, payload: &DecisionPayload) -> Attested {
        let Some(attestation) = &payload.attestation else { return Attested::No };
        let claim = DecisionClaim {
            org,
            workflow_id,
            gate_id: payload.gate_id.as_deref().unwrap_or_default(),
            digest: payload.digest.as_deref().unwrap_or_default(),
            decision: payload.decision.name(),
            approver_id: &payload.approver_id,
            decision_id: payload.decision_id.as_deref().unwrap_or_default(),
            timestamp: payload.timestamp.as_deref().unwrap_or_default(),
            reason: payload.reason.as_deref().unwrap_or_default(),
            source: payload.source.as_deref().unwrap_or_default(),
            break_glass: payload.break_glass,
            justification: payload.justification.as_deref().unwrap_or_default(),
        };
        if self.decision_holds(&claim, attestation) { Attested::Yes } else { Attested::Forged }
    }

    /// The MAC over a start, in hex.
    pub fn attest_start(&self, claim: &StartClaim<'_>) -> String {
        self.sign(&start_bytes(claim))
    }

    /// Whether this MAC was made over this start by one of the keys.
    pub fn start_holds(&self, claim: &StartClaim<'_>, attestation: &str) -> bool {
        self.holds(&start_bytes(claim), attestation)
    }

    /// The MAC in a link that unsubscribes without signing in, in hex.
    pub fn attest_unsubscribe(&self, claim: &UnsubscribeClaim<'_>) -> String {
        self.unsubscribing().sign(&unsubscribe_bytes(claim))
    }

    /// Whether this MAC was made for this subscription by one of the keys.
    pub fn unsubscribe_holds(&self, claim: &UnsubscribeClaim<'_>, attestation: &str) -> bool {
        self.unsubscribing().holds(&unsubscribe_bytes(claim), attestation)
    }

    /// Keys for links alone, derived from these: links leave the house in every message, decisions and starts never do.
    fn unsubscribing(&self) -> Self {
        let derived = |key: &Vec<u8>| {
            let mut mac = keyed(key);
            mac.update(UNSUBSCRIBE);
            mac.finalize().into_bytes().to_vec()
        };
        Self { keys: self.keys.iter().map(derived).collect() }
    }

    fn sign(&self, message: &[u8]) -> String {
        let mut mac = keyed(&self.keys[0]);
        mac.update(message);
        hex::encode(mac.finalize().into_bytes())
    }

    fn holds(&self, message: &[u8], attestation: &str) -> bool {
        // One MAC has one spelling, so that one decision is not two.
        if attestation.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return false;
        }
        let Ok(claimed) = hex::decode(attestation) else { return false };
        self.keys.iter().any(|key| {
            let mut mac = keyed(key);
            mac.update(message);
            mac.verify_slice(&claimed).is_ok()
        })
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
pub(crate) fn keyed(key: &[u8]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn decision_bytes(claim: &DecisionClaim<'_>) -> Vec<u8> {
    let mut fields = vec![
        claim.org,
        claim.workflow_id,
        claim.gate_id,
        claim.digest,
        claim.decision,
        claim.approver_id,
        claim.decision_id,
        claim.timestamp,
        claim.reason,
        claim.source,
    ];
    // Two fields more are never the bytes of a decision without them: those on their way keep their attestation.
    if claim.break_glass || !claim.justification.is_empty() {
        fields.push(if claim.break_glass { "break-glass" } else { "" });
        fields.push(claim.justification);
    }
    framed(Purpose::Decision, &fields)
}

fn start_bytes(claim: &StartClaim<'_>) -> Vec<u8> {
    framed(
        Purpose::Start,
        &[claim.org, claim.workflow_id, claim.principal_id, claim.requested_at, claim.input_digest],
    )
}

fn unsubscribe_bytes(claim: &UnsubscribeClaim<'_>) -> Vec<u8> {
    frame(UNSUBSCRIBE, &[claim.org, claim.subscription, &claim.at_us.to_string()])
}

fn framed(purpose: Purpose, fields: &[&str]) -> Vec<u8> {
    let purpose: &[u8] = match purpose {
        Purpose::Decision => b"harmony-decision/1\0",
        Purpose::Start => b"harmony-start/1\0",
    };
    frame(purpose, fields)
}

/// Purpose, then every field behind its length: no two lists of fields give the same bytes.
pub(crate) fn frame(purpose: &[u8], fields: &[&str]) -> Vec<u8> {
    let mut bytes = purpose.to_vec();
    for field in fields {
        bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Decision;

    fn claim() -> DecisionClaim<'static> {
        DecisionClaim {
            org: "default",
            workflow_id: "incident.remediate-INC-2026-0001",
            gate_id: "g",
            digest: "d",
            decision: Decision::Approved.name(),
            approver_id: "commander",
            decision_id: "1",
            timestamp: "2026-01-01T00:00:00Z",
            reason: "",
            source: "slack",
            break_glass: false,
            justification: "",
        }
    }

    #[test]
    fn any_changed_field_breaks_the_attestation() {
        let keys = AttestationKeys::parse(&"11".repeat(32)).unwrap();
        let mac = keys.attest_decision(&claim());
        assert!(keys.decision_holds(&claim(), &mac));
        let changes: [fn(&mut DecisionClaim<'_>); 12] = [
            |claim| claim.org = "acme",
            |claim| claim.workflow_id = "incident.remediate-INC-2026-0002",
            |claim| claim.gate_id = "h",
            |claim| claim.digest = "e",
            |claim| claim.decision = Decision::Rejected.name(),
            |claim| claim.approver_id = "viewer",
            |claim| claim.decision_id = "2",
            |claim| claim.timestamp = "2026-01-01T00:00:01Z",
            |claim| claim.reason = "x",
            |claim| claim.source = "api",
            |claim| claim.break_glass = true,
            |claim| claim.justification = "x",
        ];
        for change in changes {
            let mut changed = claim();
            change(&mut changed);
            assert!(!keys.decision_holds(&changed, &mac), "{changed:?}");
        }
        // Moving a character over a field's edge is another decision.
        let moved = DecisionClaim { gate_id: "gd", digest: "", ..claim() };
        assert!(!keys.decision_holds(&moved, &mac));
        assert!(!keys.decision_holds(&claim(), "not hex"));
        assert!(!keys.decision_holds(&claim(), &mac.to_uppercase()), "one spelling");
    }

    #[test]
    fn a_link_unsubscribes_from_one_subscription_alone() {
        let keys = AttestationKeys::parse(&"11".repeat(32)).unwrap();
        let claim = UnsubscribeClaim { org: "default", subscription: "sub-1", at_us: 7 };
        let mac = keys.attest_unsubscribe(&claim);
        assert!(keys.unsubscribe_holds(&claim, &mac));
        for other in [
            UnsubscribeClaim { org: "acme", ..claim.clone() },
            UnsubscribeClaim { subscription: "sub-2", ..claim.clone() },
            UnsubscribeClaim { at_us: 8, ..claim.clone() },
        ] {
            assert!(!keys.unsubscribe_holds(&other, &mac), "{other:?}");
        }
        assert!(!keys.unsubscribe_holds(&claim, "") && !keys.unsubscribe_holds(&claim, "not hex"));
        // The key itself signs no links: whoever could have a link made cannot forge a start.
        assert_ne!(mac, keys.sign(&unsubscribe_bytes(&claim)));
        let both = AttestationKeys::parse(&format!("{},{}", "22".repeat(32), "11".repeat(32))).unwrap();
        assert!(both.unsubscribe_holds(&claim, &mac), "links outlive a change of keys");
    }

    #[test]
    fn two_keys_verify_while_one_replaces_the_other() {
        let old = AttestationKeys::parse(&"11".repeat(32)).unwrap();
        let both = AttestationKeys::parse(&format!("{},{}", "22".repeat(32), "11".repeat(32))).unwrap();
        let new = AttestationKeys::parse(&"22".repeat(32)).unwrap();
        assert!(both.decision_holds(&claim(), &old.attest_decision(&claim())));
        assert!(new.decision_holds(&claim(), &both.attest_decision(&claim())));
        assert!(!new.decision_holds(&claim(), &old.attest_decision(&claim())));
        assert_eq!(AttestationKeys::parse("1122").unwrap_err(), KeyError);
    }
}

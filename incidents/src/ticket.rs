//! Tickets: a runbook cell runs only with one. The transaction that records the start of a cell checks that its gate was
//! approved, and what the cell may run with, which the gate covers, is signed. Whoever runs cells holds the public key
//! alone: they can check a ticket and never make one.
//!
//! A ticket names the run of the workflow that asked for it, whose id only Temporal gives: it is of no use to another
//! workflow. Two public keys may be known while one signing key replaces the other.

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{attestation::frame, job_policy::CellJob};

const PURPOSE: &[u8] = b"harmony-ticket/1\0";
const OUTPUT_PURPOSE: &[u8] = b"harmony-output-ticket/1\0";

/// Everything that a ticket covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketClaim<'a> {
    /// Organisation.
    pub org: &'a str,
    /// Incident.
    pub incident: &'a str,
    /// Gate that was approved; empty where the policy asks for none.
    pub gate_id: &'a str,
    /// Workflow that runs the cell.
    pub workflow_id: &'a str,
    /// Its run.
    pub run_id: &'a str,
    /// Step of that run, which names the cell's purpose and which time it runs.
    pub step: &'a str,
    /// SHA-256 of the runbook, in hex.
    pub snapshot_sha256: &'a str,
    /// Cell.
    pub cell: &'a str,
    /// What runs it, with its version.
    pub executor: &'a str,
    /// Relative to the runbook root.
    pub workdir: &'a str,
    /// Names and values that were approved.
    pub env: &'a BTreeMap<String, String>,
    /// Names and values that earlier cells exported.
    pub carried: &'a BTreeMap<String, String>,
    /// Names of secrets.
    pub secret_env: &'a [String],
    /// Its time, in milliseconds.
    pub timeout_ms: u64,
    /// It does not start after this.
    pub not_after: Timestamp,
    /// The Job that it runs as, and the attempt that is part of the Job's name.
    pub job: Option<(u32, &'a CellJob)>,
}

/// What comes with a cell, beside what it runs with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// Organisation.
    pub org: String,
    /// Incident.
    pub incident: String,
    /// Gate that was approved; empty where the policy asks for none.
    pub gate_id: String,
    /// Workflow that runs the cell.
    pub workflow_id: String,
    /// Its run.
    pub run_id: String,
    /// Step of that run.
    pub step: String,
    /// The cell does not start after this.
    pub not_after: Timestamp,
    /// Over all of it and everything that the cell runs with, in hex.
    pub signature: String,
    /// Lets whoever runs the cell hand in what it prints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputPass>,
    /// Attempt of the blueprint that runs the cell, where it runs as a Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
}

/// The part of a ticket that lets a pool hand in what the cell prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputPass {
    /// Attempt of the blueprint that runs the cell.
    pub attempt: u32,
    /// Nothing is taken after this.
    pub until: Timestamp,
    /// Over [`OutputTicket`], in hex.
    pub signature: String,
}

/// Lets a pool hand in what one cell prints. It is good for nothing else: no cell runs with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputTicket {
    /// Organisation.
    pub org: String,
    /// Incident.
    pub incident: String,
    /// Workflow that runs the cell.
    pub workflow_id: String,
    /// Its run.
    pub run_id: String,
    /// Attempt of the blueprint that runs the cell.
    pub attempt: u32,
    /// Step of that run.
    pub step: String,
    /// Cell.
    pub cell: String,
    /// Nothing is taken after this.
    pub until: Timestamp,
    /// Over all of it, in hex.
    pub signature: String,
}

impl OutputTicket {
    /// What a cell's ticket lets its pool hand in; `None` where an older worker made it.
    pub fn of(ticket: &Ticket, cell: &str) -> Option<Self> {
        let pass = ticket.output.clone()?;
        Some(Self { signature: pass.signature, ..Self::unsigned(ticket, cell, pass.attempt, pass.until) })
    }

    fn unsigned(ticket: &Ticket, cell: &str, attempt: u32, until: Timestamp) -> Self {
        Self {
            org: ticket.org.clone(),
            incident: ticket.incident.clone(),
            workflow_id: ticket.workflow_id.clone(),
            run_id: ticket.run_id.clone(),
            attempt,
            step: ticket.step.clone(),
            cell: cell.to_owned(),
            until,
            signature: String::new(),
        }
    }

    /// Names this run of the cell among all of its incident; see [`cell_run`].
    pub fn cell_run(&self) -> String {
        cell_run(self.attempt, &self.step)
    }

    fn bytes(&self) -> Vec<u8> {
        let until = self.until.as_microsecond().to_string();
        let attempt = self.attempt.to_string();
        let fields = [
            self.org.as_str(),
            &self.incident,
            &self.workflow_id,
            &self.run_id,
            &attempt,
            &self.step,
            &self.cell,
            &until,
        ];
        frame(OUTPUT_PURPOSE, &fields)
    }
}

/// Names one run of a cell among all of its incident, such as `2/remediation/rollback/1`: the attempt of its blueprint,
/// and its step without what the step records.
pub fn cell_run(attempt: u32, step: &str) -> String {
    let step = step.strip_suffix("/started").or_else(|| step.strip_suffix("/finished")).unwrap_or(step);
    format!("{attempt}/{step}")
}

/// A text that is not a ticket key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketKeyError {
    /// Of those that sign.
    #[error("a ticket key is 64 hex digits")]
    Signing,
    /// Of those that verify.
    #[error(
        "a ticket's public key is 64 hex digits, as `harmony config check` shows them; several are separated by commas"
    )]
    Verifying,
}

/// Signs tickets.
#[derive(Clone)]
pub struct TicketKey(SigningKey);

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "TicketKey({})", self.public())
    }
}

impl TicketKey {
    /// A key from its 32 secret bytes in hex.
    pub fn parse(text: &str) -> Result<Self, TicketKeyError> {
        let seed = hex::decode(text.trim()).ok().and_then(|seed| <[u8; 32]>::try_from(seed).ok());
        Ok(Self(SigningKey::from_bytes(&seed.ok_or(TicketKeyError::Signing)?)))
    }

    /// What verifies its tickets, in hex.
    pub fn public(&self) -> String {
        hex::encode(self.0.verifying_key().as_bytes())
    }

    /// The signature over a claim, in hex.
    pub fn sign(&self, claim: &TicketClaim<'_>) -> String {
        hex::encode(self.0.sign(&bytes(claim)).to_bytes())
    }

    /// Lets the pool that runs the cell of this ticket hand in what it prints.
    pub fn pass(&self, ticket: &Ticket, cell: &str, attempt: u32, until: Timestamp) -> OutputPass {
        let bytes = OutputTicket::unsigned(ticket, cell, attempt, until).bytes();
        OutputPass { attempt, until, signature: hex::encode(self.0.sign(&bytes).to_bytes()) }
    }
}

/// Verifies tickets.
#[derive(Debug, Clone)]
pub struct TicketVerifier {
    /// Invariant: not empty.
    keys: Vec<VerifyingKey>,
}

impl TicketVerifier {
    /// Public keys in hex, separated by commas.
    pub fn parse(text: &str) -> Result<Self, TicketKeyError> {
        let key = |text: &str| {
            let bytes = hex::decode(text.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())?;
            VerifyingKey::from_bytes(&bytes).ok()
        };
        let keys: Option<Vec<VerifyingKey>> = text.split(',').map(key).collect();
        Ok(Self { keys: keys.ok_or(TicketKeyError::Verifying)? })
    }

    /// Whether one of the keys signed this claim.
    pub fn holds(&self, claim: &TicketClaim<'_>, signature: &str) -> bool {
        self.signed(&bytes(claim), signature)
    }

    /// Whether one of the keys lets this output in, now.
    pub fn takes(&self, ticket: &OutputTicket, now: Timestamp) -> bool {
        now <= ticket.until && self.signed(&ticket.bytes(), &ticket.signature)
    }

    fn signed(&self, bytes: &[u8], signature: &str) -> bool {
        let Some(signature) =
            hex::decode(signature).ok().and_then(|bytes| Signature::from_slice(&bytes).ok())
        else {
            return false;
        };
        self.keys.iter().any(|key| key.verify_strict(bytes, &signature).is_ok())
    }
}

fn bytes(claim: &TicketClaim<'_>) -> Vec<u8> {
    let (timeout, not_after) = (claim.timeout_ms.to_string(), claim.not_after.as_microsecond().to_string());
    let lengths =
        [claim.env.len(), claim.carried.len(), claim.secret_env.len()].map(|length| length.to_string());
    let mut fields = vec![
        claim.org,
        claim.incident,
        claim.gate_id,
        claim.workflow_id,
        claim.run_id,
        claim.step,
        claim.snapshot_sha256,
        claim.cell,
        claim.executor,
        claim.workdir,
        &timeout,
        &not_after,
    ];
    // How many there are stands before them: no value is taken for a name of the next list.
    for (length, pairs) in lengths.iter().zip([claim.env, claim.carried]) {
        fields.push(length);
        fields.extend(pairs.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
    }
    fields.push(&lengths[2]);
    fields.extend(claim.secret_env.iter().map(String::as_str));
    // Behind all that every cell has: a ticket of a cell that is no Job is as it ever was.
    let job = claim.job.map(|(attempt, job)| {
        let sizes = [u64::from(attempt), job.cpu_millis, job.memory_mib, job.deadline_ms.unwrap_or_default()];
        (sizes.map(|size| size.to_string()), job)
    });
    if let Some((sizes, job)) = &job {
        fields.extend(["job", &job.image, job.service_account.as_deref().unwrap_or_default()]);
        fields.extend(sizes.iter().map(String::as_str));
    }
    frame(PURPOSE, &fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn any_changed_field_breaks_a_ticket() {
        let key = TicketKey::parse(&"11".repeat(32)).unwrap();
        let verifier = TicketVerifier::parse(&key.public()).unwrap();
        let (staging, production) = (pairs("TARGET", "staging"), pairs("TARGET", "production"));
        let (nothing, secrets) = (BTreeMap::new(), ["TOKEN".to_owned()]);
        let claim = TicketClaim {
            org: "default",
            incident: "INC-2026-0001",
            gate_id: "g",
            workflow_id: "incident.remediate-INC-2026-0001",
            run_id: "r",
            step: "remediation/rollback/1/started",
            snapshot_sha256: "aa",
            cell: "rollback",
            executor: "bash/1",
            workdir: "",
            env: &staging,
            carried: &nothing,
            secret_env: &[],
            timeout_ms: 1_000,
            not_after: Timestamp::UNIX_EPOCH,
            job: None,
        };
        let signature = key.sign(&claim);
        assert!(verifier.holds(&claim, &signature));
        let later = Timestamp::from_second(1).unwrap();
        let changed = [
            TicketClaim { org: "acme", ..claim.clone() },
            TicketClaim { incident: "INC-2026-0002", ..claim.clone() },
            TicketClaim { gate_id: "h", ..claim.clone() },
            TicketClaim { workflow_id: "incident.remediate-INC-2026-0002", ..claim.clone() },
            TicketClaim { run_id: "s", ..claim.clone() },
            TicketClaim { step: "remediation/rollback/2/started", ..claim.clone() },
            TicketClaim { snapshot_sha256: "bb", ..claim.clone() },
            TicketClaim { cell: "drop", ..claim.clone() },
            TicketClaim { executor: "bash/2", ..claim.clone() },
            TicketClaim { workdir: "up", ..claim.clone() },
            TicketClaim { env: &production, ..claim.clone() },
            TicketClaim { env: &nothing, ..claim.clone() },
            TicketClaim { env: &nothing, carried: &staging, ..claim.clone() },
            TicketClaim { carried: &production, ..claim.clone() },
            TicketClaim { secret_env: &secrets, ..claim.clone() },
            TicketClaim { timeout_ms: 2_000, ..claim.clone() },
            TicketClaim { not_after: later, ..claim.clone() },
        ];
        for changed in &changed {
            assert!(!verifier.holds(changed, &signature), "{changed:?}");
        }
        // A cell that runs as a Job.
        let job = CellJob {
            image: "tools@sha256:00".to_owned(),
            cpu_millis: 500,
            memory_mib: 256,
            ..CellJob::default()
        };
        let as_job = TicketClaim { job: Some((2, &job)), ..claim.clone() };
        let signature_of_job = key.sign(&as_job);
        assert!(verifier.holds(&as_job, &signature_of_job) && !verifier.holds(&claim, &signature_of_job));
        for changed in [
            (3, job.clone()),
            (2, CellJob { image: "tools@sha256:01".to_owned(), ..job.clone() }),
            (2, CellJob { service_account: Some("admin".to_owned()), ..job.clone() }),
            (2, CellJob { cpu_millis: 2_000, ..job.clone() }),
            (2, CellJob { memory_mib: 512, ..job.clone() }),
            (2, CellJob { deadline_ms: Some(1), ..job.clone() }),
        ] {
            let claim = TicketClaim { job: Some((changed.0, &changed.1)), ..claim.clone() };
            assert!(!verifier.holds(&claim, &signature_of_job), "{changed:?}");
        }
        assert!(!verifier.holds(&claim, "not hex") && !verifier.holds(&claim, ""));
        let other = TicketKey::parse(&"22".repeat(32)).unwrap();
        assert!(!verifier.holds(&claim, &other.sign(&claim)), "somebody else's");
        let both = TicketVerifier::parse(&format!("{},{}", key.public(), other.public())).unwrap();
        assert!(both.holds(&claim, &signature) && both.holds(&claim, &other.sign(&claim)));
    }

    #[test]
    fn output_is_taken_of_exactly_the_cell_that_was_started_and_in_time() {
        let key = TicketKey::parse(&"11".repeat(32)).unwrap();
        let verifier = TicketVerifier::parse(&key.public()).unwrap();
        let mut ticket = Ticket {
            org: "default".to_owned(),
            incident: "INC-2026-0001".to_owned(),
            gate_id: "g".to_owned(),
            workflow_id: "incident.remediate-INC-2026-0001".to_owned(),
            run_id: "r".to_owned(),
            step: "remediation/rollback/1/started".to_owned(),
            not_after: Timestamp::UNIX_EPOCH,
            signature: String::new(),
            output: None,
            attempt: None,
        };
        assert_eq!(OutputTicket::of(&ticket, "rollback"), None, "of an older worker");
        let until = Timestamp::from_second(10).unwrap();
        ticket.output = Some(key.pass(&ticket, "rollback", 2, until));
        let output = OutputTicket::of(&ticket, "rollback").unwrap();
        assert_eq!(output.cell_run(), "2/remediation/rollback/1");
        assert_eq!(output.cell_run(), cell_run(2, "remediation/rollback/1/finished"));
        assert!(verifier.takes(&output, until));
        assert!(!verifier.takes(&output, Timestamp::from_second(11).unwrap()), "too late");
        let changed = |change: fn(&mut OutputTicket)| {
            let mut changed = output.clone();
            change(&mut changed);
            changed
        };
        for changed in [
            changed(|one| one.org = "acme".to_owned()),
            changed(|one| one.incident = "INC-2026-0002".to_owned()),
            changed(|one| one.workflow_id.push('2')),
            changed(|one| one.run_id = "s".to_owned()),
            changed(|one| one.attempt = 1),
            changed(|one| one.step = "remediation/rollback/2/started".to_owned()),
            changed(|one| one.cell = "drop".to_owned()),
            changed(|one| one.until = Timestamp::from_second(11).unwrap()),
            changed(|one| one.signature.clear()),
        ] {
            assert!(!verifier.takes(&changed, Timestamp::UNIX_EPOCH), "{changed:?}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(TicketKey::parse("11").unwrap_err(), TicketKeyError::Signing);
        for text in ["", "11", "not hex", &format!("{},", "11".repeat(32))] {
            assert_eq!(TicketVerifier::parse(text).unwrap_err(), TicketKeyError::Verifying, "{text}");
        }
    }
}

//! Candidates as a store keeps them: the document as it came, how it stands, and what was decided about it.
//!
//! A candidate is no incident yet, so it is a row and not a record; what was decided goes on record with the incident
//! that it concerns. A row changes only by compare-and-set on its version, so that of two deciders one is told that it
//! came second.

use std::collections::BTreeMap;

use harmony_incidents::{
    IncidentId,
    command::{self, fingerprint},
    promotion::{Candidate, CandidateId, Decision},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::store::LogError;

/// How long the attempts log keeps a line, in days.
pub const ATTEMPTS_KEPT_DAYS: i64 = 90;

/// How a candidate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CandidateStatus {
    /// Taken, not yet decided about.
    Received,
    /// It became an incident, or is about to.
    Promoted,
    /// Waits for a person.
    Deferred,
    /// Nothing becomes of it.
    Suppressed,
    /// No policy could decide about it.
    Refused,
}

impl CandidateStatus {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Received, Self::Promoted, Self::Deferred, Self::Suppressed, Self::Refused];

    /// The word in stores and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Received => "RECEIVED",
            Self::Promoted => "PROMOTED",
            Self::Deferred => "DEFERRED",
            Self::Suppressed => "SUPPRESSED",
            Self::Refused => "REFUSED",
        }
    }

    /// The status of this word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// A candidate as it is kept. A store keeps it as this JSON, and the members it looks for beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredCandidate {
    /// As it came.
    pub candidate: Candidate,
    /// How it stands.
    pub status: CandidateStatus,
    /// When it came: microseconds, like all times of the log.
    pub received_at: Timestamp,
    /// Who handed it in.
    pub submitted_by: String,
    /// Grows with every change, from 1. A change is taken only if it is the next.
    pub version: u64,
    /// What was decided last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
    /// Who asked for the decision.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub decided_by: String,
    /// Of an emergency override.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub justification: String,
    /// The incident that it became, or that is about the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub refused_because: String,
    /// The page that asks somebody to promote it, in the words of the paging vendor.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub page_id: String,
}

impl StoredCandidate {
    /// A candidate that was just received.
    pub fn new(candidate: Candidate, submitted_by: &str, received_at: Timestamp) -> Self {
        Self {
            candidate,
            status: CandidateStatus::Received,
            received_at: Timestamp::from_microsecond(received_at.as_microsecond()).unwrap_or(received_at),
            submitted_by: submitted_by.to_owned(),
            version: 1,
            decision: None,
            decided_at: None,
            decided_by: String::new(),
            justification: String::new(),
            incident: None,
            refused_because: String::new(),
            page_id: String::new(),
        }
    }

    /// Its own name.
    pub fn id(&self) -> &CandidateId {
        &self.candidate.candidate_id
    }

    /// The incident at PagerDuty that pages about it: the one that it came from, or the page that asked for somebody.
    pub fn pagerduty_incident_id(&self) -> &str {
        self.candidate.pagerduty_incident_id.as_deref().unwrap_or(&self.page_id)
    }

    /// A hash per member of the document: the same id with another document is another candidate.
    pub fn fingerprint(&self) -> BTreeMap<String, String> {
        fingerprint(&json!(self.candidate))
    }
}

/// Which candidates to list, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CandidateFilter {
    /// How they stand; empty for all.
    pub statuses: Vec<CandidateStatus>,
    /// What makes two candidates the same one.
    pub dedup_key: Option<String>,
    /// At most this many.
    pub limit: u32,
    /// Only candidates behind this one in the listing: when it was received, and its id.
    pub after: Option<(Timestamp, CandidateId)>,
}

/// A change of a candidate.
#[derive(Debug, Clone)]
pub struct CandidateChange<'a> {
    /// As it shall be. Its version is one more than the version that was read.
    pub candidate: &'a StoredCandidate,
    /// The change is a promotion, and no other candidate of the same key was promoted at this moment or later.
    pub alone_since: Option<Timestamp>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Changed {
    /// It is kept.
    Stored,
    /// Somebody else changed it first: this is how it stands.
    Stale(Box<StoredCandidate>),
    /// Another candidate of the same key was promoted.
    Duplicate(CandidateId),
}

/// One line of the attempts log: written for people who ask later how the engine behaved, read by nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromotionAttempt {
    /// Candidate.
    pub candidate: CandidateId,
    /// Who asked.
    pub actor: String,
    /// With what authority.
    pub authority: &'static str,
    /// `PROMOTE`, `DEFER`, `SUPPRESS` or `REFUSE`.
    pub outcome: &'static str,
    /// Decision; empty where it was refused.
    pub decision_id: String,
    /// When. Lines older than [`ATTEMPTS_KEPT_DAYS`] before it are dropped.
    pub at: Timestamp,
}

/// Names of the members in which a candidate differs from the one that was kept under its id.
pub(crate) fn differing(candidate: &StoredCandidate, known: &str) -> Result<Vec<String>, LogError> {
    let corrupt = |_| LogError::Corrupt { place: format!("candidate {}", candidate.id()) };
    let known: BTreeMap<String, String> = serde_json::from_str(known).map_err(corrupt)?;
    Ok(command::differing(&known, &candidate.fingerprint()))
}

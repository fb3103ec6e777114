//! Candidates as a store keeps them: the document as it came, how it stands, and what was decided about it.
//!
//! A candidate is no incident yet, so it is a row and not a record; what was decided goes on record with the incident
//! that it concerns. A row changes only by compare-and-set on its version, so that of two deciders one is told that it
//! came second.

use std::collections::BTreeMap;

use harmony_incidents::{
    IncidentId,
    command::{self, fingerprint},
    promotion::{Candidate, CandidateId, Decision, Outcome},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::store::{LogError, OutboxItem};

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
    /// A person said that nothing becomes of it.
    Dismissed,
}

impl CandidateStatus {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Received, Self::Promoted, Self::Deferred, Self::Suppressed, Self::Refused, Self::Dismissed];

    /// The word in stores and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Received => "RECEIVED",
            Self::Promoted => "PROMOTED",
            Self::Deferred => "DEFERRED",
            Self::Suppressed => "SUPPRESSED",
            Self::Refused => "REFUSED",
            Self::Dismissed => "DISMISSED",
        }
    }

    /// The status of this word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// Why nothing becomes of a candidate that waited for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dismissal {
    /// Who said so.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
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
    /// Of one that was dismissed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dismissed: Option<Dismissal>,
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
            dismissed: None,
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
    /// What a candidate has in common with others of the same trouble.
    pub correlation_key: Option<String>,
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
    /// What must follow, into the outbox in the same transaction.
    pub follow: &'a [OutboxItem],
}

impl<'a> CandidateChange<'a> {
    /// A change that nothing follows, whatever other candidates there are.
    pub fn to(candidate: &'a StoredCandidate) -> Self {
        Self { candidate, alone_since: None, follow: &[] }
    }
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

/// How an attempt ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttemptStatus {
    /// The engine decided.
    #[default]
    Success,
    /// It was not asked, or could not say.
    Error,
}

/// One question to the promotion engine, for people who ask later how it behaved. Nothing is decided by it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromotionAttempt {
    /// Candidate.
    pub candidate_id: CandidateId,
    /// Its own name.
    pub attempt_id: String,
    /// With what authority it was asked.
    pub authority_type: String,
    /// Who asked.
    pub authority_id: String,
    /// The policy that decided; what the candidate names where none did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub policy_id: String,
    /// Its version; 0 where none decided.
    #[serde(default)]
    pub policy_version: u32,
    /// What was decided; none where it ended in an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Outcome>,
    /// The decision's id; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub decision_id: String,
    /// The incident that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<IncidentId>,
    /// Why, in words.
    pub reason: String,
    /// When it began. Lines older than [`ATTEMPTS_KEPT_DAYS`] before the newest are dropped.
    pub started_at: Timestamp,
    /// When it ended.
    pub completed_at: Timestamp,
    /// How long it took.
    pub duration_ms: u64,
    /// How it ended.
    #[serde(default)]
    pub status: AttemptStatus,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl PromotionAttempt {
    /// The oldest line that is kept beside this one.
    pub(crate) fn oldest_kept(&self) -> Timestamp {
        self.started_at - SignedDuration::from_hours(24 * ATTEMPTS_KEPT_DAYS)
    }

    /// The word of its outcome in stores.
    pub(crate) fn outcome(&self) -> &'static str {
        self.decision.map_or("REFUSE", Outcome::name)
    }
}

/// An attempt from the columns of a store. Lines of earlier versions have no document.
pub(crate) struct AttemptRow<'a> {
    pub(crate) document: Option<&'a str>,
    pub(crate) actor: &'a str,
    pub(crate) authority: &'a str,
    pub(crate) outcome: &'a str,
    pub(crate) decision_id: &'a str,
    pub(crate) at_us: i64,
}

impl AttemptRow<'_> {
    pub(crate) fn read(&self, candidate: &CandidateId) -> Result<PromotionAttempt, LogError> {
        let corrupt = || LogError::Corrupt { place: format!("an attempt of candidate {candidate}") };
        if let Some(document) = self.document {
            return serde_json::from_str(document).map_err(|_| corrupt());
        }
        let at = Timestamp::from_microsecond(self.at_us).map_err(|_| corrupt())?;
        let decision = serde_json::from_value(json!(self.outcome)).ok();
        Ok(PromotionAttempt {
            candidate_id: candidate.clone(),
            attempt_id: format!("{candidate}-{}", self.at_us),
            authority_type: self.authority.to_owned(),
            authority_id: self.actor.to_owned(),
            policy_id: String::new(),
            policy_version: 0,
            decision,
            decision_id: self.decision_id.to_owned(),
            incident_id: None,
            reason: String::new(),
            started_at: at,
            completed_at: at,
            duration_ms: 0,
            status: if decision.is_some() { AttemptStatus::Success } else { AttemptStatus::Error },
            error: None,
        })
    }
}

/// Names of the members in which a candidate differs from the one that was kept under its id.
pub(crate) fn differing(candidate: &StoredCandidate, known: &str) -> Result<Vec<String>, LogError> {
    let corrupt = |_| LogError::Corrupt { place: format!("candidate {}", candidate.id()) };
    let known: BTreeMap<String, String> = serde_json::from_str(known).map_err(corrupt)?;
    Ok(command::differing(&known, &candidate.fingerprint()))
}

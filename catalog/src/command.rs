//! What can be asked of the catalog's streams. A command is judged against the folded state of its stream inside the
//! transaction that records it ([`crate::judge`]); the answer is stored with its key, as an incident's is.

use std::collections::BTreeMap;

use harmony_incidents::{
    EnvironmentId, IncidentId, ReleaseId, RunId, StreamId,
    command::{differing, fingerprint},
    log::{PolicyVerdict, Relation, ReleaseStatus, RunKind},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use harmony_incidents::{Answer, Context, Refusal};

use crate::{
    entity::{Environment, LogEntry, Service},
    windows::ReleaseVerdict,
    words::{self, PolicyOutcome, RunOutcome, Source},
};

/// A release as whoever creates it, or tells of it, describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewRelease {
    /// Its id, unique in the organisation.
    pub id: ReleaseId,
    /// In which environment.
    pub env: EnvironmentId,
    /// Fingerprint of the artifact.
    pub sha: String,
    /// For people.
    #[serde(default)]
    pub version: String,
    /// The release of another environment whose artifact this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted_from: Option<ReleaseId>,
    /// The release of this environment that it takes the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolls_back: Option<ReleaseId>,
    /// Which door tells of it.
    pub source: Source,
    /// Its page at the source.
    #[serde(default)]
    pub url: String,
    /// The incident that it is meant to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    /// `Draft`; further on where a door tells of what has happened already.
    #[serde(with = "words::release_status")]
    pub status: ReleaseStatus,
    /// When it came to that status, where a door tells of it later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// Everything that can be asked of a service's stream or an environment's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Command {
    /// All of a service as it is from now on; its first makes it.
    WriteService {
        /// As it is from now on.
        service: Box<Service>,
    },
    /// Nothing new happens to it.
    RetireService {
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// All of an environment as it is from now on; its first makes it.
    WriteEnvironment {
        /// As it is from now on.
        environment: Box<Environment>,
        /// Whose defaults fill in a region and a cluster that are left out; `external`'s where none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adapter: Option<String>,
    },
    /// Nothing new happens in it.
    RetireEnvironment {
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// A new release; told of again by an outside door, the news about a known one.
    CreateRelease {
        /// As it is told of.
        release: Box<NewRelease>,
    },
    /// A release has come to another status.
    ChangeRelease {
        /// Which.
        release: ReleaseId,
        /// To what.
        #[serde(with = "words::release_status")]
        to: ReleaseStatus,
        /// Why: the adapter's own words.
        #[serde(default)]
        reason: String,
        /// When it happened, where a door tells of it later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Timestamp>,
        /// Which of our runs says so. Without one it comes from outside, where deliveries may be late or repeated: a
        /// status that lies behind changes nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run_id: Option<RunId>,
    },
    /// A run of a release has begun.
    StartRun {
        /// Its id.
        run_id: RunId,
        /// `Deploy` or `Promote`.
        #[serde(with = "words::run_kind")]
        kind: RunKind,
        /// Of which release.
        release: ReleaseId,
        /// To which environment: the release's.
        env: EnvironmentId,
        /// Its workflow.
        workflow_id: String,
        /// By which adapter.
        adapter: String,
        /// It changes nothing.
        #[serde(default)]
        dry_run: bool,
        /// Which attempt of its workflow this is, from 1.
        attempt: u32,
    },
    /// A run says something.
    LogRun {
        /// Which.
        run_id: RunId,
        /// What.
        entry: LogEntry,
    },
    /// The environment's policies were asked.
    JudgePolicies {
        /// By which run.
        run_id: RunId,
        /// What they said together.
        outcome: PolicyOutcome,
        /// What each said, in the order in which the environment names them.
        verdicts: Vec<PolicyVerdict>,
        /// Whether a rollback that ends an open incident turned a refusal into a gate.
        #[serde(default)]
        excepted: bool,
    },
    /// A run has ended.
    FinishRun {
        /// Which.
        run_id: RunId,
        /// How.
        outcome: RunOutcome,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// How a release stands to an incident.
    LinkChange {
        /// Which release.
        release: ReleaseId,
        /// Which incident.
        incident: IncidentId,
        /// `suspected`, `caused`, `related` or `dismissed`.
        #[serde(with = "words::relation")]
        relation: Relation,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// Take a record's text out of the log: all of it, or one field's.
    Redact {
        /// The record.
        seq: u64,
        /// Field's name within its payload; none means all of them.
        #[serde(default)]
        field: Option<String>,
        /// Why. It stays on record, so it repeats nothing of the text.
        reason: String,
    },
    /// Put on record that a door refused the actor a change here.
    RefuseWrite {
        /// The right that the change needs, such as `catalog:write`.
        right: String,
    },
}

impl Command {
    /// What an environment's policies answered to a run, for the record.
    pub fn policies_judged(run_id: RunId, verdict: &ReleaseVerdict) -> Self {
        Self::JudgePolicies {
            run_id,
            outcome: verdict.outcome,
            verdicts: verdict.recorded(),
            excepted: verdict.excepted.is_some(),
        }
    }

    /// A hash per field, of everything but what derives from time. Two commands with one key must agree in all.
    pub fn fingerprint(&self) -> BTreeMap<String, String> {
        // Serialising our own types to JSON cannot fail: keys are strings and no map has others.
        fingerprint(&serde_json::to_value(self).unwrap_or_default())
    }

    /// Names of the fields in which this differs from the request that its key was used for. When a line was logged is
    /// left out, and what the policies said: a task that is run again says it, and asks them, later.
    pub fn differing(&self, known: &BTreeMap<String, String>) -> Vec<String> {
        let mut fields = differing(known, &self.fingerprint());
        if matches!(self, Self::LogRun { .. } | Self::JudgePolicies { .. }) {
            fields.retain(|name| !["entry.ts", "excepted", "outcome", "verdicts"].contains(&name.as_str()));
        }
        fields
    }

    /// The stream that it is meant for, where it says so itself.
    pub fn stream(&self) -> Option<StreamId> {
        match self {
            Self::WriteService { service } => Some(service.id.clone().into()),
            Self::WriteEnvironment { environment, .. } => Some(environment.id.clone().into()),
            Self::RetireService { .. }
            | Self::RetireEnvironment { .. }
            | Self::CreateRelease { .. }
            | Self::ChangeRelease { .. }
            | Self::StartRun { .. }
            | Self::LogRun { .. }
            | Self::JudgePolicies { .. }
            | Self::FinishRun { .. }
            | Self::LinkChange { .. }
            | Self::Redact { .. }
            | Self::RefuseWrite { .. } => None,
        }
    }

    /// The release whose id must belong to no other service ([`crate::judge::Facts::taken`]).
    pub fn release(&self) -> Option<&ReleaseId> {
        match self {
            Self::CreateRelease { release } => Some(&release.id),
            Self::ChangeRelease { release, .. } => Some(release),
            Self::WriteService { .. }
            | Self::RetireService { .. }
            | Self::WriteEnvironment { .. }
            | Self::RetireEnvironment { .. }
            | Self::StartRun { .. }
            | Self::LogRun { .. }
            | Self::JudgePolicies { .. }
            | Self::FinishRun { .. }
            | Self::LinkChange { .. }
            | Self::Redact { .. }
            | Self::RefuseWrite { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn command(document: serde_json::Value) -> Command {
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn commands_read_and_write_as_json() {
        let documents = [
            json!({ "type": "retireService", "reason": "replaced" }),
            json!({
                "type": "createRelease",
                "release": {
                    "id": "rel-1", "env": "env-prod", "sha": "9f3b7de", "version": "", "source": "github", "url": "",
                    "status": "Active", "at": "2026-01-01T00:00:00Z"
                }
            }),
            json!({ "type": "changeRelease", "release": "rel-1", "to": "Failed", "reason": "", "runId": "run-1" }),
            json!({ "type": "linkChange", "release": "rel-1", "incident": "INC-2026-0001", "relation": "caused", "reason": "" }),
        ];
        for document in documents {
            assert_eq!(serde_json::to_value(command(document.clone())).unwrap(), document);
        }
    }

    #[test]
    fn a_key_tells_another_request_from_the_same_one_offered_later() {
        let line = |ts: &str, message: &str| {
            command(json!({
                "type": "logRun", "runId": "run-1",
                "entry": { "ts": ts, "level": "info", "message": message, "meta": { "steps": 4 } }
            }))
        };
        let first = line("2026-01-01T00:00:00Z", "Plan generated").fingerprint();
        assert!(line("2026-01-01T00:00:09Z", "Plan generated").differing(&first).is_empty());
        assert_eq!(line("2026-01-01T00:00:00Z", "Applied").differing(&first), ["entry.message"]);

        let verdict = |outcome: &str, run: &str| {
            command(json!({ "type": "judgePolicies", "runId": run, "outcome": outcome, "verdicts": [] }))
        };
        let first = verdict("proceed", "run-1").fingerprint();
        assert!(verdict("wait", "run-1").differing(&first).is_empty());
        assert_eq!(verdict("proceed", "run-2").differing(&first), ["runId"]);
    }
}

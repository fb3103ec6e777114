//! What the workflows of a release call.

use std::collections::BTreeMap;

use harmony_catalog::{self as catalog, windows::PolicyGate, words::PolicyOutcome};
use harmony_incidents::{
    Answer, Refusal, ReleaseId, RunId,
    log::{ReleaseStatus, Severity},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use temporalio_workflow::common::ActivityDefinition;

use super::{Effect, Scope};

activity!(
    /// Puts the run on record, and reads what it is about.
    ReleaseStart = "release.start": StartRequest => StartReply);
activity!(
    /// Asks the environment's policies, and puts on record what they say.
    ReleaseJudge = "release.judge": JudgeRelease => PolicyReply);
activity!(
    /// Appends a command of the catalog to the service's stream.
    ReleaseAppend = "release.append": ReleaseRequest => Result<Answer, Refusal>);
activity!(
    /// Reads how a release stands that somebody outside deploys.
    ReleaseLook = "release.look": ReleaseRef => ReleaseStanding);
activity!(
    /// Says what would be done. Changes nothing.
    ReleasePlan = "release.plan": Effect<ReleaseOrder> => DeploymentPlan);
activity!(
    /// Does what was planned; what is there already is adopted.
    ReleaseApply = "release.apply": Effect<ApplyOrder> => Applied);
activity!(
    /// Follows an applied release until it is settled, or for a while.
    ReleaseFollow = "release.follow": Effect<ReleaseOrder> => Standing);

/// `release.start`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartRequest {
    /// Where it stands; the workflow's id names the release.
    pub scope: Scope,
    /// Nothing is to be changed.
    pub dry_run: bool,
}

/// Answer to `release.start`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StartReply {
    /// The run is on record.
    Started(Box<ReleaseBrief>),
    /// It may not go on, and why.
    Refused(String),
}

/// What a run needs to know of its release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseBrief {
    /// The run's id in the catalog.
    pub run_id: RunId,
    /// What is deployed, where, and by what.
    pub order: ReleaseOrder,
    /// For people: `checkout 2.4.0`.
    pub title: String,
    /// For people: the environment's name.
    pub environment: String,
    /// The release that it takes the place of, because that one was bad; empty where it rolls nothing back.
    #[serde(default)]
    pub rolls_back: String,
    /// The incident that it is meant to end, with its severity and its channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentBrief>,
    /// What an earlier run of this attempt asked to have approved: it stays what was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
}

/// The incident that a release is meant to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentBrief {
    /// Its id.
    pub id: String,
    /// Its severity; the gate has its clock.
    pub severity: Severity,
    /// Its named references, such as `slackChannel`.
    pub links: BTreeMap<String, String>,
}

/// What a gate of this attempt covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// JSON text.
    pub covers: String,
    /// Its SHA-256, in hex.
    pub digest: String,
}

/// What is deployed, where, and by what: all that an adapter is asked with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseOrder {
    /// The run's id in the catalog.
    pub run_id: RunId,
    /// Release.
    pub release_id: ReleaseId,
    /// Fingerprint of the artifact.
    pub sha: String,
    /// As people call it; may be empty.
    pub version: String,
    /// The service's id.
    pub service: String,
    /// The environment's id.
    pub environment: String,
    /// Of the environment.
    pub region: String,
    /// Of the environment.
    pub cluster: String,
    /// The adapter's name.
    pub adapter: String,
    /// Who carries its plans out.
    pub carried_out_by: CarriedOutBy,
    /// What the catalog says of the target, by the adapter's own names.
    pub settings: BTreeMap<String, String>,
}

/// Who carries a plan out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CarriedOutBy {
    /// The adapter.
    Adapter,
    /// Somebody outside, who tells how it went.
    Outside,
    /// The cells of a runbook.
    Runbook,
}

/// `release.judge`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JudgeRelease {
    /// Where it stands; its time is the one that is asked about.
    pub scope: Scope,
    /// The run.
    pub run_id: RunId,
}

/// Answer to `release.judge`: what the environment's policies say together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReply {
    /// What follows.
    pub outcome: PolicyOutcome,
    /// Why, in a sentence.
    pub reason: String,
    /// The reference that decided.
    pub by: Option<String>,
    /// When every policy lets releases through.
    pub next_open: Option<Timestamp>,
    /// Whether a rollback for an open incident turned a refusal or a wait into a gate.
    pub excepted: bool,
    /// Who is asked, where the outcome is a gate: all of them have to approve.
    pub gates: Vec<PolicyGate>,
}

/// `release.append`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRequest {
    /// Where it stands; its step names the key.
    pub scope: Scope,
    /// What to append.
    pub command: catalog::Command,
}

/// `release.look`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRef {
    /// For which organisation, stream and run, and for whom.
    pub scope: Scope,
    /// Release.
    pub release_id: ReleaseId,
}

/// Answer to `release.look`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStanding {
    /// As the log has it.
    pub status: ReleaseStatus,
    /// Why, where it failed.
    pub reason: String,
}

/// What an adapter would do, and shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentPlan {
    /// One line a step, for people.
    pub steps: Vec<String>,
    /// What the adapter will hold itself to. Holds no secret.
    pub document: Value,
}

/// `release.apply`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplyOrder {
    /// What is deployed.
    pub order: ReleaseOrder,
    /// What was planned, and approved where it had to be.
    pub plan: DeploymentPlan,
}

/// Answer to `release.apply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// It was there already.
    pub adopted: bool,
    /// For people.
    pub detail: String,
}

/// Answer to `release.follow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum Standing {
    /// On its way.
    Running,
    /// It runs.
    Active {
        /// What runs.
        detail: String,
    },
    /// It will not run without somebody's help.
    Failed {
        /// Why, in the platform's words.
        reason: String,
    },
}

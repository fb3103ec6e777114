//! What goes into the blueprints and what comes out: the contract with everybody who starts one.
//!
//! JSON is camelCase, but for [`GoldenContext`], which is `snake_case`. Input is taken raw and read here, so that what
//! does not parse ends the run with the name of the field instead of wedging it.

use std::collections::BTreeMap;

use harmony_incidents::{
    GateStatus, RunStatus, StepStatus,
    attestation::StartAttestation,
    command::{GateView, Settled},
    log::Severity,
    promotion::{Decision, Outcome},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::contracts::{CandidateRef, Tracker};

/// What every workflow of an incident carries, also as memo `golden.context`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GoldenContext {
    /// W3C trace id.
    pub trace_id: String,
    /// Principal who asked.
    pub initiator_id: String,
    /// Who pays.
    pub cost_center: String,
    /// Incident.
    pub incident_id: String,
    /// `P1`..`P4`.
    pub incident_severity: String,
    /// Internal title.
    pub incident_title: String,
    /// Slack channel id.
    pub incident_channel: String,
    /// PagerDuty incident.
    pub pagerduty_incident_id: String,
    /// Statuspage incident.
    pub statuspage_incident_id: String,
    /// Names.
    pub impacted_services: Vec<String>,
}

/// Fields that every input has; read apart from the blueprint's own, so that each error can name its field.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Common {
    /// Incident and initiator.
    pub context: GoldenContext,
    /// Who asked through one of our doors; absent where started by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartAttestation>,
}

/// Input of `incident.initiate`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitiateInput {
    /// Internal title.
    pub title: String,
    /// `P1`..`P4`, or a view of it.
    pub severity: String,
    /// Title of the public incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_title: Option<String>,
    /// First public message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_message: Option<String>,
    /// Component ids on the status page.
    #[serde(default)]
    pub public_components: Vec<String>,
    /// Public names of what is affected.
    #[serde(default)]
    pub impacted_services: Vec<String>,
}

/// Input of `incident.remediate`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemediateInput {
    /// What to do.
    pub remediation: RunbookInput,
    /// How to tell that it worked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<VerificationInput>,
    /// Why, for those who decide on it; empty where nobody said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Only what changes nothing, to see what would be done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// A runbook to run.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunbookInput {
    /// Always `runbook`.
    pub kind: RemediationKind,
    /// Relative to the runbook root.
    pub path: String,
    /// In order; empty for every named cell but those of the verification.
    #[serde(default)]
    pub cells: Vec<String>,
    /// Values of the inputs that the runbook declares; never secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// Never secret.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Names of secrets that the runbook pool resolves from its own mount.
    #[serde(default)]
    pub secret_env: Vec<String>,
    /// Time for one cell, such as `10m` or a number of seconds.
    #[serde(default = "default_timeout", deserialize_with = "duration", serialize_with = "friendly")]
    pub timeout: SignedDuration,
    /// Relative to the runbook root.
    #[serde(default)]
    pub workdir: String,
    /// SHA-256 that the file must have, in hex; empty where any will do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
}

/// The kinds of remediation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RemediationKind {
    /// Cells of a Markdown file.
    Runbook,
}

/// Cells that check.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationInput {
    /// In order.
    pub cells: Vec<String>,
}

/// Input of `incident.close-out`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CloseOutInput {
    /// What was done; for a cancellation, why.
    pub resolution_summary: String,
    /// FIXED, `FALSE_POSITIVE`, DUPLICATE or `WONT_FIX`.
    #[serde(default = "fixed")]
    pub resolution_type: String,
    /// Whether to archive the channel, behind a gate of its own.
    #[serde(default)]
    pub archive_channel: bool,
    /// Cancel instead of resolve.
    #[serde(default)]
    pub cancelled: bool,
    /// Why, for those who decide on it; empty where nobody said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Input of `incident.post-mortem`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PostMortemInput {
    /// Title of the page; the incident id is put before it.
    #[serde(default)]
    pub title: String,
    /// Where the page goes.
    #[serde(default)]
    pub confluence: PageTarget,
    /// Why, for those who decide on it; empty where nobody said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Input of `incident.act`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActInput {
    /// What is to be told, or tried again.
    pub act: Act,
}

/// What an act tells, or tries again. Each follows a command that is on record.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Act {
    /// Somebody wrote an update.
    Update {
        /// What it says.
        message: String,
        /// Whether the public hears it too.
        #[serde(default)]
        public: bool,
    },
    /// The severity was changed.
    Severity {
        /// `P1`..`P4`, as it was.
        from: String,
        /// As it is now.
        to: String,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// Somebody was given a part, or it was taken from them.
    Assignment {
        /// Part.
        role: String,
        /// Who.
        principal: String,
        /// Whether it was taken from them.
        #[serde(default)]
        released: bool,
        /// The situation, for whoever takes command of an incident that goes on; a line each.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        situation: Vec<String>,
        /// What the role is there for and nobody has ticked yet, as the policy words it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        duties: Vec<String>,
    },
    /// Somebody called the next level for help, or said that it is no longer needed.
    Escalation {
        /// The level that is called; 0 where help is no longer needed.
        level: u32,
        /// Roles of the directory that this level calls.
        roles: Vec<String>,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// The incident was resolved or cancelled by hand.
    Ended {
        /// Whether it was cancelled.
        #[serde(default)]
        cancelled: bool,
        /// What was done, or why.
        summary: String,
    },
    /// A follow-up's day is over, and its owner is reminded.
    FollowUpReminder {
        /// Such as `INC-2026-0001-12`.
        follow_up: String,
        /// What is to be done.
        action: String,
        /// Whose it is; empty where nobody has it.
        owner: String,
        /// The day that is over.
        due: String,
        /// The channel, where it is not the incident's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<String>,
    },
    /// Somebody asked for the issue of a follow-up.
    Export {
        /// The record that added it.
        follow_up: u64,
        /// Where.
        tracker: Tracker,
    },
    /// Failed steps are tried again, each under its own key.
    Retry {
        /// Which.
        steps: Vec<StepRef>,
    },
}

impl Act {
    /// The word in inputs and results.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Update { .. } => "update",
            Self::Severity { .. } => "severity",
            Self::Assignment { .. } => "assignment",
            Self::Ended { .. } => "ended",
            Self::Escalation { .. } => "escalation",
            Self::FollowUpReminder { .. } => "follow-up-reminder",
            Self::Export { .. } => "export",
            Self::Retry { .. } => "retry",
        }
    }
}

/// A step of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepRef {
    /// Blueprint as it stands in records: `initiate`, `act-12`.
    pub blueprint: String,
    /// Attempt.
    pub attempt: u32,
    /// Step.
    pub step: String,
}

/// Where a page goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PageTarget {
    /// Key of the space; empty for the configured one.
    pub space_key: String,
    /// Page above it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// Labels.
    pub labels: Vec<String>,
}

pub(crate) fn default_timeout() -> SignedDuration {
    SignedDuration::from_mins(10)
}

fn fixed() -> String {
    "FIXED".to_owned()
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SignedDuration, D::Error> {
    let given = match Value::deserialize(deserializer)? {
        Value::Number(number) => number.as_i64().map(SignedDuration::from_secs),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    given
        .filter(|given| *given > SignedDuration::ZERO && *given <= SignedDuration::from_hours(24))
        .ok_or_else(|| {
            serde::de::Error::custom("a time such as \"10m\", or seconds, above 0 and at most a day")
        })
}

fn friendly<S: serde::Serializer>(given: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{given:#}"))
}

/// Reads an input; the error names the field.
pub fn read<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    if !value.is_object() {
        return Err("input: expected one JSON object".to_owned());
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { "input".to_owned() } else { format!("input.{path}") };
        format!("{place}: {}", error.inner())
    })
}

/// SHA-256 over the input without its `start`: what a start's attestation covers.
pub fn input_digest(mut input: Value) -> String {
    if let Some(object) = input.as_object_mut() {
        object.remove("start");
    }
    hex::encode(Sha256::digest(input.to_string().as_bytes()))
}

/// How a blueprint ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// As asked.
    Completed,
    /// Somebody said no, or nobody said yes.
    Rejected,
    /// Stopped.
    Cancelled,
    /// Not legal from here, or not for this starter.
    Refused,
    /// Tried and did not work.
    Failed,
}

impl Status {
    /// The word in results and records.
    pub fn name(self) -> &'static str {
        RunStatus::from(self).name()
    }
}

impl From<Status> for RunStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Completed => Self::Completed,
            Status::Rejected => Self::Rejected,
            Status::Cancelled => Self::Cancelled,
            Status::Refused => Self::Refused,
            Status::Failed => Self::Failed,
        }
    }
}

/// Result of `incident.initiate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitiateResult {
    /// How it ended.
    pub status: Status,
    /// Why, where it did not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Incident.
    pub incident_id: String,
    /// What was told to whom.
    pub notifications: InitiateNotifications,
    /// Where to find it.
    pub correlation: Correlation,
    /// What did not work and was not needed.
    pub warnings: Vec<String>,
}

/// What initiate told to whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitiateNotifications {
    /// First update in the channel.
    pub slack_announcement_posted: bool,
    /// PagerDuty incident created or linked.
    pub pager_duty_incident_created: bool,
    /// Public incident.
    pub statuspage_incident_created: bool,
}

/// Where an incident is found elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Correlation {
    /// Channel id.
    pub slack_channel: Option<String>,
    /// First update's ts.
    pub slack_message_ts: Option<String>,
    /// Incident there.
    pub pagerduty_incident_id: Option<String>,
    /// Incident there.
    pub statuspage_incident_id: Option<String>,
}

/// What came of a gate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalResult {
    /// Whether the policy asked for one.
    pub was_required: bool,
    /// Whether somebody approved.
    pub was_approved: bool,
    /// Why not: the rejection's reason, or `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Input of `release.deploy` and `release.promote`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseInput {
    /// Nothing is changed: the run ends once it is known what would be.
    #[serde(default)]
    pub dry_run: bool,
    /// Why, for those who approve.
    #[serde(default)]
    pub reason: String,
}

/// Result of `release.deploy` and `release.promote`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseResult {
    /// How it ended.
    pub status: Status,
    /// Why, where it is not as asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The release; empty where the workflow's id names none that is known.
    pub release_id: String,
    /// The run in the catalog; absent where none began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// What was planned, a line a step.
    #[serde(default)]
    pub plan: Vec<String>,
    /// The gate.
    pub approval: ApprovalResult,
    /// What did not work and was not needed.
    pub warnings: Vec<String>,
}

/// Result of `incident.remediate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemediateResult {
    /// How it ended.
    pub status: Status,
    /// Why, where it did not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The gate.
    pub approval: ApprovalResult,
    /// What was run.
    pub remediation: RemediationReport,
    /// What did not work and was not needed.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Whether it only showed what would be done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// What remediate ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemediationReport {
    /// Whether any cell ran.
    pub executed: bool,
    /// Whether each stands in the log.
    pub recorded_in_timeline: bool,
    /// The cells.
    pub runbook: RunbookReport,
}

/// The cells that ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunbookReport {
    /// Whether all succeeded, verification included.
    pub success: bool,
    /// In order.
    pub cells: Vec<CellReport>,
    /// In words.
    pub message: String,
}

/// One cell that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellReport {
    /// Its name.
    pub name: String,
    /// `remediation` or `verification`.
    pub purpose: String,
    /// Whether it exited with 0.
    pub success: bool,
    /// `exited`, `signalled`, `timed-out`, `cancelled`, `could-not-start` or `unknown`.
    pub ended: String,
    /// Where it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// Result of `incident.close-out`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloseOutResult {
    /// How it ended.
    pub status: Status,
    /// Why, where it did not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The gate.
    pub approval: ApprovalResult,
    /// What was told to whom.
    pub notifications: CloseOutNotifications,
    /// What did not work and was not needed.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// What close-out told to whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloseOutNotifications {
    /// Public incident.
    pub statuspage_incident_resolved: bool,
    /// PagerDuty incident.
    pub pager_duty_incident_resolved: bool,
    /// Message in the channel.
    pub slack_closeout_posted: bool,
    /// The channel.
    pub channel_archived: bool,
}

/// Result of `incident.post-mortem`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostMortemResult {
    /// How it ended.
    pub status: Status,
    /// Why, where it did not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The gate.
    pub approval: ApprovalResult,
    /// The page.
    pub postmortem: PostMortemReport,
    /// What did not work and was not needed.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Input of `incident.updates`, which has no fields of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatesInput {}

/// Result of `incident.updates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdatesResult {
    /// How it ended.
    pub status: Status,
    /// Why, where it did not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How much became due while it ran.
    pub told: u32,
    /// What did not work and was not needed.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// Result of `incident.act`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActResult {
    /// How it ended.
    pub status: Status,
    /// Why, where it did not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it was: update, severity, assignment, ended or retry.
    pub kind: String,
    /// What became of each of its steps.
    pub steps: Vec<StepView>,
    /// What did not work and was not needed.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The page of a review.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostMortemReport {
    /// Whether it exists.
    pub confluence_page_created: bool,
    /// Where.
    pub page_url: Option<String>,
}

/// Input of `candidate.promote`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PromoteInput {
    /// Candidate; must agree with the workflow id.
    pub candidate_id: String,
    /// Who asks; without an initiator nobody does in person.
    #[serde(default)]
    pub context: GoldenContext,
    /// Who asked through one of our doors; absent where started by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartAttestation>,
}

/// Result of `candidate.promote`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromoteResult {
    /// How it ended: a decision not to promote completes, too.
    pub status: Status,
    /// Why, where there is no incident of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Candidate.
    pub candidate_id: String,
    /// The decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The incident that it became, or that it is a duplicate of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<String>,
    /// What did not work and was not needed.
    pub warnings: Vec<String>,
}

impl PromoteResult {
    /// Nothing was decided.
    pub(crate) fn refused(candidate: &CandidateRef, reason: String) -> Self {
        Self {
            status: Status::Refused,
            reason: Some(reason),
            candidate_id: candidate.candidate_id.to_string(),
            decision: None,
            incident_id: None,
            warnings: Vec::new(),
        }
    }

    /// This was decided.
    pub(crate) fn decided(candidate: &CandidateRef, decision: Decision, incident_id: Option<String>) -> Self {
        Self {
            status: Status::Completed,
            reason: (decision.outcome != Outcome::Promote).then(|| decision.because.clone()),
            candidate_id: candidate.candidate_id.to_string(),
            decision: Some(decision),
            incident_id,
            warnings: Vec::new(),
        }
    }
}

/// Answer to the query `approvalState`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalState {
    /// How it stands.
    pub status: GateStatus,
    /// Workflow that waits.
    pub workflow_id: String,
    /// The gate, where there is or was one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub gate: Option<AskedGate>,
    /// This level's time, such as `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack_channel: Option<String>,
    /// Message that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack_message_ts: Option<String>,
    /// How it was settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Settled>,
    /// What happened at it, oldest first.
    pub history: Vec<String>,
}

/// A gate, as whoever asks a workflow for it is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AskedGate {
    /// `<workflow id>#<attempt>/<step>`: what a decision names.
    pub gate_id: String,
    /// SHA-256 over all that it covers, in hex.
    pub digest: String,
    /// What will be done.
    pub action: String,
    /// What its approvers are told of the reason.
    pub request_reason: String,
    /// Whose proposal it is, by id.
    pub requester: String,
    /// Who may decide at this level.
    pub required_roles: Vec<String>,
    /// Level, from 1.
    pub level: u32,
    /// How many must approve.
    pub quorum: u32,
    /// Who approved so far, where more than one must.
    pub approvals: Vec<String>,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// When this level's time is over.
    pub deadline: Timestamp,
}

impl From<&GateView> for AskedGate {
    fn from(view: &GateView) -> Self {
        Self {
            gate_id: view.gate_id.clone(),
            digest: view.digest.clone(),
            action: view.action.clone(),
            request_reason: view.request_reason.clone(),
            requester: view.requester.clone(),
            required_roles: view.required_roles.clone(),
            level: view.level,
            quorum: view.quorum.max(1),
            approvals: view.approvals.clone(),
            requested_at: view.requested_at,
            deadline: view.deadline,
        }
    }
}

/// Answer to the query `lifecycle`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    /// Incident.
    pub incident_id: String,
    /// `P1`..`P4`.
    pub severity: String,
    /// Phase in the log.
    pub phase: String,
    /// State in the log.
    pub state: String,
    /// Steps of this run.
    pub steps: Vec<StepView>,
    /// The gate.
    pub approval: ApprovalState,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// What carried it out.
    pub capability: String,
    /// How it stands.
    pub status: StepStatus,
    /// What the vendor calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_ref: Option<String>,
    /// What went wrong, or why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The severity's word.
pub(crate) fn severity_word(severity: Severity) -> &'static str {
    severity.as_str_name()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_parse_names_the_field() {
        for (input, expected) in [
            (json!("oops"), "input: expected one JSON object"),
            (json!({"context": {}}), "input: missing field `remediation`"),
            (
                json!({"context": {}, "remediation": {"kind": "runbook", "path": "a.md", "timeout": "soon"}}),
                "input.remediation.timeout: a time such as \"10m\", or seconds, above 0 and at most a day",
            ),
        ] {
            assert_eq!(read::<RemediateInput>(input).unwrap_err(), expected);
        }
        let good = json!({"context": {"incident_id": "INC-2026-0001"}, "remediation": {"kind": "runbook", "path": "a.md", "timeout": 90}});
        assert_eq!(read::<RemediateInput>(good).unwrap().remediation.timeout, SignedDuration::from_secs(90));
    }
}

//! What can be asked of the log, by whoever asks, and what it answers.
//!
//! A command is judged against the incident's state inside the transaction that records it ([`crate::judge`]). An
//! [`Answer`] is stored with the command's key: the same key with the same command gets the first answer again. A
//! [`Refusal`] leaves nothing behind; refusals that belong on record (of decisions, of blueprints) are answers.

use std::collections::BTreeMap;

use harmony_protos::log::{
    Authority, CandidateDecided, Cause, IncidentCreated, Payload, Phase, ResolutionType, Severity, State,
    payload::Kind,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    clock::Due,
    ids::{WorkflowId, WorkflowType},
    policy::{GateKind, LevelRule},
    status::GateStatus,
};

/// Who asks, with what authority, why, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Context {
    /// Principal's id, or `AUTO_ENGINE`'s processor.
    pub actor: String,
    /// What the directory gives the actor; never what an input says.
    pub authority: Authority,
    /// Workflow and step, or the request.
    pub cause: Cause,
    /// Workflow time, or the command's time. Goes into the record.
    pub occurred_at: Timestamp,
}

/// How an incident was resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolutionInput {
    /// What was done, for people.
    pub summary: String,
    /// `FIXED`, `FALSE_POSITIVE`, `DUPLICATE` or `WONT_FIX`.
    #[serde(rename = "type")]
    pub kind: ResolutionType,
    /// Principal's id.
    pub resolved_by: String,
}

/// A gate that a blueprint wants to wait at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateRequest {
    /// Workflow that waits.
    pub workflow_id: WorkflowId,
    /// Its attempt.
    pub attempt: u32,
    /// Step, unique within the attempt.
    pub step: String,
    /// Which rules apply.
    pub kind: GateKind,
    /// One line: what will be done.
    pub action: String,
    /// Why.
    pub reason: String,
    /// SHA-256 over what will be done and shown, in hex.
    pub digest: String,
    /// JSON text of what the digest covers.
    pub covers: String,
    /// Who asked for it.
    pub requester: String,
    /// Who may decide, level by level, where something else than the policy says so; it has a gate then whatever the
    /// policy asks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<LevelRule>,
    /// Whose clock it has, where that is not its stream's: the incident's that a release is to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
}

/// A decision as somebody sent it. Nothing in it is believed but what the judge can check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionPayload {
    /// `approved` or `rejected`.
    pub decision: Decision,
    /// Claimed principal.
    pub approver_id: String,
    /// Shown only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver_name: Option<String>,
    /// Never believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver_roles: Option<Vec<String>>,
    /// Gate meant; without it the one that is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_id: Option<String>,
    /// Digest seen, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// RFC 3339; when it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// `console`, `slack`, `api` or `cli`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The decision's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<String>,
    /// MAC by one of our doors, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<String>,
    /// Whether this approval claims `EMERGENCY_OVERRIDE`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// Why the glass had to be broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
}

/// Yes, no, or on without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Do it.
    Approved,
    /// Do not.
    Rejected,
    /// Leave out what is asked about and go on: a cell of which nobody knows whether it ran.
    Skipped,
}

impl Decision {
    /// The word in payloads.
    pub fn name(self) -> &'static str {
        GateStatus::from(self).name()
    }
}

impl From<Decision> for GateStatus {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::Approved => Self::Approved,
            Decision::Rejected => Self::Rejected,
            Decision::Skipped => Self::Skipped,
        }
    }
}

/// What the attestation of a decision was found to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attested {
    /// Made by one of our doors over exactly this decision.
    Yes,
    /// There is none: sent by hand.
    #[default]
    No,
    /// There is one, and it does not hold.
    Forged,
}

/// A decision that reached a workflow, ready to be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionInput {
    /// Workflow that got it.
    pub workflow_id: WorkflowId,
    /// Its attempt.
    pub attempt: u32,
    /// The decision, or why the payload is none.
    pub payload: Result<DecisionPayload, String>,
    /// What its attestation was found to be. Never read from a document: only the code that verified it says so.
    #[serde(skip_deserializing)]
    pub attested: Attested,
    /// When it was decided: the attested timestamp, else when it arrived at Temporal.
    pub decided_at: Timestamp,
    /// Whether whoever hands it in counts the refusals that are too many to record one by one
    /// ([`Command::CountRefusals`]).
    #[serde(default)]
    pub counted: bool,
}

/// Everything that can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Command {
    /// A new incident, PENDING.
    Declare {
        /// What is known of it.
        incident: IncidentCreated,
    },
    /// A promoted candidate becomes an incident, OPEN at once.
    Promote {
        /// What is known of it; names the decision.
        incident: IncidentCreated,
        /// The decision, for the record.
        decided: CandidateDecided,
        /// Why nobody, or an `EMERGENCY_OVERRIDE`, opens it.
        #[serde(default)]
        justification: String,
    },
    /// Move along the state machine.
    ChangeStatus {
        /// The state asked for.
        to: State,
        /// Why; CANCELLED needs one.
        #[serde(default)]
        reason: String,
        /// Of an `EMERGENCY_OVERRIDE`.
        #[serde(default)]
        justification: String,
        /// RESOLVED needs one.
        #[serde(default)]
        resolution: Option<ResolutionInput>,
    },
    /// Refine the state.
    EnterPhase {
        /// The phase asked for.
        phase: Phase,
    },
    /// Change the severity.
    ChangeSeverity {
        /// The severity asked for.
        to: Severity,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// A blueprint's first step: is it legal, and which attempt is this.
    StartBlueprint {
        /// Its workflow.
        workflow_id: WorkflowId,
        /// Who started it.
        starter: String,
        /// Whether the start came through one of our doors. Never read from a document, as a decision's.
        #[serde(skip_deserializing)]
        attested: bool,
        /// Where it wants to take the incident, if the table must allow it from here.
        #[serde(default)]
        target: Option<State>,
        /// Why it must not go on whatever the table says (a start past our doors that the policy refuses).
        #[serde(default)]
        refuse: Option<String>,
        /// JSON of what it was started with, without its attestation: for starting a lost run again.
        #[serde(default)]
        input_text: String,
    },
    /// The run of an attempt is not there any more, and nobody has ended it.
    MarkOrphaned {
        /// Its workflow.
        workflow_id: WorkflowId,
        /// Its attempt.
        attempt: u32,
        /// What was found instead.
        reason: String,
    },
    /// Start the lost run of an attempt again: every step finds its record.
    ResumeBlueprint {
        /// Its workflow.
        workflow_id: WorkflowId,
        /// Its attempt.
        attempt: u32,
    },
    /// A fact: a step's outcome, a cell's, a note, a signal, a section. Judged only for being allowed at all.
    Record {
        /// What happened.
        payload: Payload,
    },
    /// Wait for a decision.
    OpenGate {
        /// For what.
        request: Box<GateRequest>,
    },
    /// A decision on the gate that is pending.
    Decide {
        /// As it came.
        input: Box<DecisionInput>,
    },
    /// Decisions were refused that were too many to record one by one.
    CountRefusals {
        /// Gate; empty for decisions on no gate that is known.
        gate_id: String,
        /// Where their minute began.
        minute: Timestamp,
        /// How many.
        not_recorded: u32,
    },
    /// The level's time is over.
    ExpireLevel {
        /// Gate.
        gate_id: String,
        /// Level that the timer was for.
        level: u32,
    },
    /// Pass a pending gate on to its next level now.
    Escalate {
        /// Gate.
        gate_id: String,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// Nobody needs to decide any more.
    CancelGate {
        /// Gate.
        gate_id: String,
        /// Why.
        reason: String,
    },
    /// What the update clock waited for has come.
    Alarm {
        /// What, and when it was due.
        due: Due,
    },
    /// Accept the published review: RESOLVED becomes CLOSED.
    SignOff {
        /// Digest of the page that was read, in hex.
        digest: String,
    },
    /// RESOLVED becomes CLOSED where no review is required.
    Close,
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
}

/// Names of fields that are derived from when and under which policy and keys a step is offered: offered again, later,
/// it is the same request. So is a decision whose copy carries another name or other roles, which nobody believes and no
/// attestation covers.
const DERIVED_FIELDS: [&str; 11] = [
    "approverName",
    "approverRoles",
    "attestation",
    "attested",
    "counted",
    "decidedAt",
    "durationMs",
    "inputText",
    "notRecorded",
    "refuse",
    "traceId",
];

impl Command {
    /// A hash per field, of everything but what derives from time. Two commands with one key must agree in all.
    pub fn fingerprint(&self) -> BTreeMap<String, String> {
        // Serialising our own types to JSON cannot fail: keys are strings and no map has others.
        fingerprint(&serde_json::to_value(self).unwrap_or_default())
    }

    /// Whether a blueprint appends it as a step of its own (`log.append`). Everything else is asked by a person at a
    /// door, or made by the activity that verified it.
    pub fn is_a_step(&self) -> bool {
        match self {
            Self::Record { .. }
            | Self::ChangeStatus { .. }
            | Self::EnterPhase { .. }
            | Self::OpenGate { .. }
            | Self::CountRefusals { .. }
            | Self::ExpireLevel { .. }
            | Self::Alarm { .. }
            | Self::CancelGate { .. } => true,
            Self::Declare { .. }
            | Self::Promote { .. }
            | Self::ChangeSeverity { .. }
            | Self::StartBlueprint { .. }
            | Self::MarkOrphaned { .. }
            | Self::ResumeBlueprint { .. }
            | Self::Decide { .. }
            | Self::Escalate { .. }
            | Self::SignOff { .. }
            | Self::Close
            | Self::Redact { .. } => false,
        }
    }

    /// Whether a run of a release asks it, too, or somebody at its gate: beside an incident there are services, whose
    /// streams hold the blueprints and gates of their releases.
    pub fn is_of_a_run(&self) -> bool {
        match self {
            Self::StartBlueprint { .. }
            | Self::MarkOrphaned { .. }
            | Self::ResumeBlueprint { .. }
            | Self::OpenGate { .. }
            | Self::Decide { .. }
            | Self::CountRefusals { .. }
            | Self::ExpireLevel { .. }
            | Self::Escalate { .. }
            | Self::CancelGate { .. } => true,
            Self::Record { payload } => matches!(
                payload.kind,
                Some(
                    Kind::BlueprintCompleted(_)
                        | Kind::StepSucceeded(_)
                        | Kind::StepFailed(_)
                        | Kind::StepSkipped(_)
                        | Kind::RunbookCellStarted(_)
                        | Kind::RunbookCellFinished(_)
                        | Kind::RunbookCellUnknown(_)
                        | Kind::RunbookDryRunPlanned(_)
                )
            ),
            Self::Declare { .. }
            | Self::Promote { .. }
            | Self::ChangeStatus { .. }
            | Self::EnterPhase { .. }
            | Self::ChangeSeverity { .. }
            | Self::Alarm { .. }
            | Self::SignOff { .. }
            | Self::Close
            | Self::Redact { .. } => false,
        }
    }

    /// Names of the fields in which this differs from the request that its key was used for. When a decision was sent is
    /// left out: what was judged is the same decision. So are levels and severity of a gate: it keeps its first.
    pub fn differing(&self, known: &BTreeMap<String, String>) -> Vec<String> {
        let mut fields = differing(known, &self.fingerprint());
        if matches!(self, Self::Decide { .. }) {
            fields.retain(|name| name != "input.payload.Ok.timestamp");
        }
        if matches!(self, Self::OpenGate { .. }) {
            fields.retain(|name| name != "request.levels" && name != "request.severity");
        }
        fields
    }

    /// Whether it makes an incident instead of needing one.
    pub fn declares(&self) -> bool {
        matches!(self, Self::Declare { .. } | Self::Promote { .. })
    }
}

/// A hash per field of a document, of everything but what derives from time.
pub fn fingerprint(document: &Value) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    flatten(&mut fields, String::new(), document, 0);
    fields
}

/// Names of the fields in which two documents differ, by their fingerprints. What is known may come from a release that
/// left fewer fields out.
pub fn differing(known: &BTreeMap<String, String>, asked: &BTreeMap<String, String>) -> Vec<String> {
    known
        .iter()
        .filter(|(name, hash)| asked.get(*name) != Some(hash) && !is_derived(name))
        .map(|(name, _)| name.clone())
        .chain(asked.keys().filter(|name| !known.contains_key(*name)).cloned())
        .collect()
}

fn is_derived(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|field| DERIVED_FIELDS.contains(&field))
}

fn flatten(fields: &mut BTreeMap<String, String>, name: String, value: &Value, depth: u8) {
    match value {
        Value::Object(object) if depth < 4 => {
            for (key, inner) in object {
                if !DERIVED_FIELDS.contains(&key.as_str()) {
                    let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                    flatten(fields, name, inner, depth + 1);
                }
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => {
            fields.insert(name, hex::encode(Sha256::digest(value.to_string().as_bytes())));
        }
    }
}

/// A gate as the log holds it; the workflow goes on with this, never with what it proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateView {
    /// Gate.
    pub gate_id: String,
    /// Digest in hex.
    pub digest: String,
    /// What will be done.
    pub action: String,
    /// Why.
    pub request_reason: String,
    /// Who may decide at this level.
    pub required_roles: Vec<String>,
    /// Level, from 1.
    pub level: u32,
    /// Whether this level is paged.
    pub page: bool,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// When this level's time is over.
    pub deadline: Timestamp,
    /// This level's time in milliseconds.
    pub timeout_ms: i64,
    /// Who asked.
    pub requester: String,
    /// Whether another level follows.
    pub escalates: bool,
    /// Who may decide at the level that follows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_roles: Vec<String>,
    /// How often a change of severity gave it other levels.
    #[serde(default)]
    pub plan: u32,
    /// The severity that its levels are for, once one was changed.
    #[serde(default)]
    pub severity: Severity,
    /// Who passed it on to this level; empty where time did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub escalated_by: String,
    /// How many must approve; 0 and 1 are one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub quorum: u32,
    /// Who approved so far, where a quorum is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<String>,
    /// Whether each level is reminded at half its time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remind: bool,
    /// Whether `skipped` is an answer to it, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skippable: bool,
    /// Whether an approval says what was done: a manual step is confirmed, not allowed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_note: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What the log answers. Stored with the key, given again to whoever repeats the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Answer {
    /// It is on record.
    Recorded,
    /// Refusals were counted. Of a count that is offered again, this is what the first offer put on record.
    Counted {
        /// How many.
        not_recorded: u32,
    },
    /// It was so already; nothing was recorded.
    Unchanged,
    /// The blueprint may go on.
    Started {
        /// Which attempt this is.
        attempt: u32,
        /// Severity at this moment.
        severity: Severity,
        /// What the starter may do, from the directory.
        authority: Authority,
    },
    /// The blueprint may not; that is on record.
    Refused {
        /// Which attempt this would have been.
        attempt: u32,
        /// Why.
        reason: String,
    },
    /// A gate is pending.
    GateOpened {
        /// As it stands in the log.
        gate: GateView,
    },
    /// Policy asks for no gate here.
    NoGate,
    /// A decision was judged.
    Judged {
        /// The verdict.
        verdict: Verdict,
    },
    /// The level's time was over and the next one has it.
    Escalated {
        /// With its new level and deadline.
        gate: GateView,
    },
    /// The last level's time was over.
    TimedOut {
        /// Level that ended it.
        level: u32,
    },
    /// The deadline is later. Older releases answered so; it stands in their logs and histories.
    NotYet,
    /// The gate was settled before this.
    Settled {
        /// How.
        settled: Settled,
    },
}

/// How a gate ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    /// Approved, rejected, timed out or cancelled.
    pub status: GateStatus,
    /// Who decided; empty for the others.
    pub by: String,
    /// Their reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it was approved under `EMERGENCY_OVERRIDE`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
}

/// What a decider is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Whether this decision counts: settles the gate, or is one of the approvals that it needs.
    pub accepted: bool,
    /// The gate's status after it.
    pub status: GateStatus,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_because: Option<String>,
    /// Gate it was about, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_id: Option<String>,
    /// How the gate is settled by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
    /// Who has approved so far, where it was taken and others must approve, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<String>,
    /// Where it was refused and is on record only in the count of a minute: where that minute began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_from: Option<Timestamp>,
}

/// Why a command was not taken. Nothing was recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "refusal", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Refusal {
    /// The state machine does not allow it.
    #[error("{explanation}")]
    Illegal {
        /// From where to where, and what would be legal.
        explanation: String,
    },
    /// The actor's authority is too low.
    #[error("{explanation}")]
    Authority {
        /// What it needs and what was held.
        explanation: String,
    },
    /// Something is missing or malformed.
    #[error("{explanation}")]
    Invalid {
        /// What, and what would do.
        explanation: String,
    },
}

/// What a [`WorkflowId`] says that it is about; checked when it was made.
pub(crate) fn workflow_type(id: &WorkflowId) -> Option<WorkflowType> {
    id.kind_and_org().map(|(kind, _)| kind)
}

//! The activities that blueprints call: names, inputs, outputs, and the times and attempts they get. What they do is
//! bound in the crate `activities`; no vendor's word stands in here but in the capability ids, which are a contract.

use std::{collections::BTreeMap, time::Duration};

use harmony_incidents::{
    Answer, Command, Context, OrgId, Refusal,
    attestation::StartAttestation,
    command::{GateRequest, GateView, Settled, Verdict},
    ids::{IncidentId, StreamId, WorkflowId},
    job_policy::CellJob,
    log::{Authority, IncidentCreated, Phase, Severity, State},
    promotion::{CandidateId, Decision},
    ticket::{Ticket, TicketClaim},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use temporalio_workflow::common::ActivityDefinition;

use crate::messages::{PageTarget, RunbookInput};

/// Capability ids of section 3 of the contract.
pub mod capability {
    /// Public status page.
    pub const STATUSPAGE: &str = "golden.connectors.statuspage";
    /// Review pages.
    pub const CONFLUENCE: &str = "golden.connectors.confluence";
    /// Issues of follow-ups.
    pub const GITHUB: &str = "golden.connectors.github";
    /// Issues of follow-ups.
    pub const JIRA: &str = "golden.connectors.jira";
    /// Paging.
    pub const PAGERDUTY: &str = "golden.connectors.pagerduty";
    /// Channel and buttons.
    pub const SLACK: &str = "golden.integrations.slack-interactive";
    /// Runbook cells.
    pub const RUNBOOK: &str = "golden.operations.runme-runner";
    /// Timeline.
    pub const TIMELINE: &str = "golden.transformers.incident-timeline";
    /// Every one.
    pub const ALL: [&str; 8] = [STATUSPAGE, CONFLUENCE, GITHUB, JIRA, PAGERDUTY, SLACK, RUNBOOK, TIMELINE];
}

/// Where a follow-up can become an issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tracker {
    /// GitHub Issues.
    Github,
    /// Jira.
    Jira,
}

/// No tracker of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no tracker; use jira or github")]
pub struct UnknownTracker(String);

impl Tracker {
    /// The word in records, inputs and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Jira => "jira",
        }
    }

    /// As people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Github => "GitHub",
            Self::Jira => "Jira",
        }
    }

    /// The capability that makes its issues.
    pub fn capability(self) -> &'static str {
        match self {
            Self::Github => capability::GITHUB,
            Self::Jira => capability::JIRA,
        }
    }
}

impl std::str::FromStr for Tracker {
    type Err = UnknownTracker;
    fn from_str(text: &str) -> Result<Self, UnknownTracker> {
        let found = [Self::Github, Self::Jira].into_iter().find(|one| one.name() == text);
        found.ok_or_else(|| UnknownTracker(text.chars().take(40).collect()))
    }
}

/// The step that makes the issue of a follow-up. Its name says of which: a tracker may tell of the issue before whoever made
/// it has put it on record.
pub fn issue_step(follow_up: u64) -> String {
    format!("issue-{follow_up}")
}

/// Under which the ledger holds whose an issue is, by the tracker's own id of it.
pub fn ticket_key(tracker: Tracker, id: &str) -> String {
    format!("ticket/{}/{id}", tracker.name())
}

/// The follow-up whose issue a step makes.
pub fn issue_of_step(step: &str) -> Option<u64> {
    step.strip_prefix("issue-")?.parse().ok()
}

macro_rules! activity {
    ($(#[$doc:meta])* $name:ident = $wire:literal: $input:ty => $output:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;
        impl ActivityDefinition for $name {
            type Input = $input;
            type Output = $output;
            fn name(&self) -> &str {
                $wire
            }
        }
    };
}

mod clock;
mod release;

pub use clock::{ClockLook, ClockReply, ClockRequest};
pub use release::{
    Applied, ApplyOrder, Asked, CarriedOutBy, DeploymentPlan, IncidentBrief, JudgeRelease, PolicyReply,
    ReleaseAppend, ReleaseApply, ReleaseBrief, ReleaseFollow, ReleaseJudge, ReleaseLook, ReleaseOrder,
    ReleasePlan, ReleaseRef, ReleaseRequest, ReleaseStanding, ReleaseStart, Standing, StartReply,
    StartRequest,
};

activity!(
    /// First step of every run: who started it, may they, which attempt is it.
    BlueprintBegin = "blueprint.begin": BeginRequest => BeginReply);
activity!(
    /// Appends one command to the log.
    LogAppend = "log.append": AppendRequest => AppendReply);
activity!(
    /// Judges a decision and records the verdict.
    ApprovalJudge = "approval.judge": JudgeRequest => Verdict);
activity!(
    /// Reads a gate that may have been settled from outside.
    ApprovalLook = "approval.look": LookRequest => LookReply);
activity!(
    /// Takes the snapshot of a runbook and makes the digest of what would be run.
    RunbookPropose = "runbook.propose": ProposeRequest => ProposeReply);
activity!(
    /// Decides about a candidate, and keeps what was decided.
    CandidateEvaluate = "candidate.evaluate": EvaluateRequest => EvaluateReply);
activity!(
    /// Makes the incident of a promoted candidate; initiate follows from the outbox.
    CandidateOpen = "candidate.open": CandidateRef => IncidentId);
activity!(
    /// Pages who is on call about a candidate that lacks nothing but authority.
    CandidatePage = "candidate.page": CandidateRef => StepReply);
activity!(
    /// Runs one cell. The only activity of the runbook queue.
    RunbookCell = "runbook.cell": CellRequest => CellReply);
activity!(
    /// Makes sure that the incident's channel exists, with its topic.
    ChannelOpen = "channel.open": Effect<ChannelDraft> => StepReply);
activity!(
    /// Posts a notice.
    ChannelPost = "channel.post": Effect<Notice> => StepReply);
activity!(
    /// Replaces a notice that asked for something by what came of it.
    ChannelSettle = "channel.settle": Effect<Settle> => StepReply);
activity!(
    /// Archives the channel.
    ChannelArchive = "channel.archive": Effect<ChannelRef> => StepReply);
activity!(
    /// Sets the channel's topic.
    ChannelTopic = "channel.topic": Effect<TopicDraft> => StepReply);
activity!(
    /// Invites people to the channel.
    ChannelInvite = "channel.invite": Effect<Invitation> => StepReply);
activity!(
    /// Makes sure that the paging incident exists.
    PagingOpen = "paging.open": Effect<PagingDraft> => StepReply);
activity!(
    /// Resolves a paging incident.
    PagingResolve = "paging.resolve": Effect<PagingRef> => StepReply);
activity!(
    /// Changes the urgency of a paging incident.
    PagingUrgency = "paging.urgency": Effect<SeverityOf> => StepReply);
activity!(
    /// Adds a note to a paging incident.
    PagingNote = "paging.note": Effect<PagingRemark> => StepReply);
activity!(
    /// Opens the public incident.
    PublicOpen = "public.open": Effect<PublicDraft> => StepReply);
activity!(
    /// Adds an update to the public incident.
    PublicUpdate = "public.update": Effect<PublicRemark> => StepReply);
activity!(
    /// Says how bad the public incident is.
    PublicImpact = "public.impact": Effect<SeverityOf> => StepReply);
activity!(
    /// Resolves the public incident.
    PublicResolve = "public.resolve": Effect<PublicResolution> => StepReply);
activity!(
    /// Makes the issue of a follow-up, and puts it on record as its ticket.
    IssueOpen = "issue.open": Effect<IssueDraft> => StepReply);
activity!(
    /// Renders the review from the log.
    ReviewRender = "review.render": RenderRequest => RenderReply);
activity!(
    /// Publishes the rendered review.
    ReviewPublish = "review.publish": Effect<PublishDraft> => StepReply);

activity!(
    /// Reads what a failed step was called with, so that it is called so again.
    StepRecall = "step.recall": RecallRequest => RecallReply);

/// How long the log may be away before a local activity gives up and the workflow waits on a timer.
pub const LOG_PATIENCE: Duration = Duration::from_secs(10);
/// First and last wait between two tries of the log.
pub const LOG_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// One try of an effect. The connectors' own time-out is 20 s; a try that may be a repetition looks twice before it
/// acts, and for a twin after it.
pub const EFFECT_TIMEOUT: Duration = Duration::from_secs(75);
/// First and longest wait between two tries of an effect, unless the vendor asks for another.
pub const EFFECT_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// An effect whose worker is not heard of for this long is given to the next.
pub const EFFECT_HEARTBEAT: Duration = Duration::from_secs(10);
/// A cell whose worker is not heard of for this long is lost.
pub const CELL_HEARTBEAT: Duration = Duration::from_secs(10);
/// What a cell's activity may take beyond the cell itself: killing it takes 5 s.
const CELL_GRACE: Duration = Duration::from_secs(20);
/// The same of a cell that runs as a Job: until the API server takes it among many others, its controllers have heard of it,
/// and it is told how the Job ended.
const JOB_GRACE: Duration = Duration::from_secs(120);
/// How long a cell may wait for a worker of its pool once its start is on record.
const TICKET_TIME: Duration = Duration::from_mins(10);
/// How much longer a Job is kept than it may be started: clocks differ.
const JOB_KEPT: Duration = Duration::from_hours(1);

/// How often, and for how long, the activity of a cell is tried.
#[derive(Debug, Clone, Copy)]
pub struct CellTries {
    /// The most tries.
    pub attempts: u32,
    /// The longest that one takes.
    pub time: Duration,
}

impl CellTries {
    /// Only what says of itself that it may run again does so on its own. A Job is one however often it is asked for, so
    /// the next worker goes on with it.
    pub fn of(timeout_ms: u64, idempotent: bool, is_job: bool) -> Self {
        let timeout = Duration::from_millis(timeout_ms);
        match (is_job, idempotent) {
            (true, _) => Self { attempts: 10, time: timeout + JOB_GRACE },
            (false, true) => Self { attempts: 3, time: timeout + CELL_GRACE },
            (false, false) => Self { attempts: 1, time: timeout + CELL_GRACE },
        }
    }

    /// How long a ticket holds: the last try may begin when all before it took their time.
    pub fn ticket_time(&self) -> Duration {
        TICKET_TIME + self.time * self.attempts.saturating_sub(1)
    }

    /// How long Kubernetes keeps a Job that has ended: while it is there it is not made again, and when it is gone no
    /// ticket for it holds any more.
    pub fn job_kept(&self) -> Duration {
        self.ticket_time() + JOB_KEPT
    }
}

/// Where in which run a step stands, and with what authority it acts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// Organisation.
    pub org: OrgId,
    /// Whose records it writes: an incident's, or those of a release's service.
    #[serde(rename = "incident")]
    pub stream: StreamId,
    /// Workflow.
    pub workflow_id: WorkflowId,
    /// The run that asks; another one after a reset.
    pub run_id: String,
    /// Blueprint's own name.
    pub blueprint: String,
    /// Attempt, from 1.
    pub attempt: u32,
    /// Step.
    pub step: String,
    /// Starter.
    pub actor: String,
    /// From the directory.
    pub authority: Authority,
    /// Workflow time.
    pub occurred_at: Timestamp,
}

impl Scope {
    /// The key of this step's record.
    pub fn key(&self) -> String {
        format!("{}#{}/{}", self.workflow_id, self.attempt, self.step)
    }

    /// The run's span in the incident's trace, as W3C `traceparent`: its id is derived from workflow id and attempt.
    pub fn traceparent(&self, trace_id: &str) -> String {
        let span = Sha256::digest(format!("{}#{}", self.workflow_id, self.attempt).as_bytes());
        format!("00-{trace_id}-{}-01", hex::encode(&span[..8]))
    }

    /// Who, why and when of this step's record.
    pub fn context(&self) -> Context {
        Context {
            actor: self.actor.clone(),
            authority: self.authority,
            cause: harmony_incidents::log::Cause {
                workflow_id: self.workflow_id.to_string(),
                blueprint: self.blueprint.clone(),
                attempt: self.attempt,
                step: self.step.clone(),
                request_id: String::new(),
            },
            occurred_at: self.occurred_at,
        }
    }
}

/// A step with an outward effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect<A> {
    /// For which organisation, stream and run, and for whom.
    pub scope: Scope,
    /// What it does.
    pub args: A,
}

/// What came of a step with an outward effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StepReply {
    /// Whether it was left out, and why: switched off, or not configured.
    pub skipped: Option<String>,
    /// What the vendor calls it.
    pub external_ref: String,
    /// Named references: `slackChannel`, `slackMessageTs`, …
    pub links: BTreeMap<String, String>,
    /// For people to open.
    pub url: String,
    /// What did not work and was not needed.
    pub warnings: Vec<String>,
    /// What people call the issue that was made.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ticket: String,
}

/// `blueprint.begin`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BeginRequest {
    /// Workflow.
    pub workflow_id: String,
    /// Type as started.
    pub workflow_type: String,
    /// First execution's run.
    pub run_id: String,
    /// `context.initiator_id`.
    pub initiator_id: String,
    /// `context.incident_id`; must agree with the workflow id.
    pub incident_id: String,
    /// Attestation, where there is one.
    pub start: Option<StartAttestation>,
    /// SHA-256 of the input without its `start`, in hex.
    pub input_digest: String,
    /// That input, as JSON text.
    #[serde(default)]
    pub input_text: String,
    /// Where the blueprint wants to take the incident.
    pub target: Option<State>,
    /// What to declare where the incident does not exist (initiate only).
    pub declare: Option<IncidentCreated>,
    /// Workflow time.
    pub occurred_at: Timestamp,
}

/// Answer to `blueprint.begin`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BeginReply {
    /// Where every step of this run stands.
    pub scope: Scope,
    /// Why it may not go on; on record.
    pub refused: Option<String>,
    /// The incident at this moment.
    pub incident: Brief,
    /// How long a step with an outward effect is tried, in milliseconds.
    pub patience_ms: u64,
    /// What is missing before a review may be proposed.
    pub missing_for_review: Vec<String>,
    /// Which sequence of commands the run follows; 0 in histories from before there was one.
    #[serde(default)]
    pub revision: u32,
}

/// What a blueprint needs to know of its incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Brief {
    /// The incident's trace, 32 hex digits.
    #[serde(default)]
    pub trace_id: String,
    /// Internal title.
    pub title: String,
    /// Severity.
    pub severity: Severity,
    /// State.
    pub state: State,
    /// Phase.
    pub phase: Phase,
    /// Public title, or empty.
    pub public_title: String,
    /// Public message, or empty.
    pub public_message: String,
    /// Public names.
    pub impacted_services: Vec<String>,
    /// Ids of components of the status page.
    #[serde(default)]
    pub public_components: Vec<String>,
    /// Named references of earlier steps.
    pub links: BTreeMap<String, String>,
}

/// `log.append`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppendRequest {
    /// Where it stands; `scope.step` names the key unless `key` does.
    pub scope: Scope,
    /// What to append.
    pub command: Command,
    /// Where it is the start of a cell: what the cell is to run with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Box<CellOrder>>,
    /// Whether the cell is to run from its own source, which the answer then holds.
    #[serde(default)]
    pub alone: bool,
    /// What is appended before it, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
}

/// A command whose answer nobody waits for, appended with the one after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Earlier {
    /// Where it stands; `scope.step` names its own key.
    pub scope: Scope,
    /// What to append.
    pub command: Command,
    /// Whether nothing after it is appended where the log refuses it.
    pub needed: bool,
}

/// Answer to `log.append`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppendReply {
    /// What the log answered, or refused.
    pub answer: Result<Answer, Refusal>,
    /// Whether another run had put this on record before.
    pub known_to_other_run: bool,
    /// Whether it was on record already, be it from a task of this run that was lost.
    #[serde(default)]
    pub repeated: bool,
    /// Where an earlier run had started this cell: how it ended, if that is on record.
    #[serde(default)]
    pub cell: Option<CellReply>,
    /// Where it is the start of a cell that may run: its ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Ticket>,
    /// Where it was asked for: the Markdown that holds the cell alone. The ticket is for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Where the cell may not start because running cells is switched off: why, on record.
    #[serde(default)]
    pub switched_off: Option<String>,
    /// Which command before it was needed and refused, and why: it was not appended itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// State after it.
    pub state: State,
    /// Phase after it.
    pub phase: Phase,
    /// Severity after it.
    pub severity: Severity,
}

/// `approval.judge`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JudgeRequest {
    /// For which organisation, stream and run, and for whom.
    pub scope: Scope,
    /// The JSON that came, or why it is none.
    pub payload: Result<serde_json::Value, String>,
    /// SHA-256 of the payload's bytes, in hex.
    pub payload_sha256: String,
    /// Which occurrence of these bytes, from 1.
    pub occurrence: u32,
    /// Whether it came as a signal, which the history dates.
    pub signal: bool,
    /// How often the run was continued as a new one: occurrences are counted from there.
    #[serde(default)]
    pub continued: u32,
}

/// `approval.look`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LookRequest {
    /// For which organisation, stream and run, and for whom.
    pub scope: Scope,
    /// Gate.
    pub gate_id: String,
}

/// Answer to `approval.look`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LookReply {
    /// Still waiting, at this level.
    Pending(Box<PendingGate>),
    /// Settled.
    Settled(Box<SettledGate>),
}

/// A gate that is settled, and what was done for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettledGate {
    /// How.
    #[serde(flatten)]
    pub settled: Settled,
    /// As [`PendingGate::steps`].
    #[serde(default)]
    pub steps: BTreeMap<String, String>,
}

/// A gate that waits, and what was done for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingGate {
    /// As it stands in the log.
    #[serde(flatten)]
    pub gate: GateView,
    /// The steps that asked, reminded and paged, and what the vendor calls what they made.
    #[serde(default)]
    pub steps: BTreeMap<String, String>,
}

/// `runbook.propose`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProposeRequest {
    /// For which organisation, stream and run, and for whom.
    pub scope: Scope,
    /// What is asked for.
    pub runbook: RunbookInput,
    /// Verification cells.
    pub verification: Vec<String>,
    /// The gate to open for what is proposed, without its digest and what that covers. `None` from runs that began before
    /// revision 2: they are answered with the whole proposal.
    #[serde(default)]
    pub gate: Option<Box<GateRequest>>,
    /// Of a dry run, which takes inputs alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// Answer to `runbook.propose`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProposeReply {
    /// What would be run.
    Proposal(Proposal),
    /// What would be run, and the gate that asks for it.
    Asked(Box<AskedProposal>),
    /// There is no such runbook, or it cannot be run.
    Invalid(String),
    /// Running cells is switched off: why, on record.
    SwitchedOff(String),
}

/// What would be run, and the digest over it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// The runbook's bytes.
    pub snapshot: String,
    /// Their SHA-256, in hex.
    pub snapshot_sha256: String,
    /// Cells of the remediation, in order.
    pub cells: Vec<CellPlan>,
    /// Cells of the verification, in order.
    pub verification: Vec<CellPlan>,
    /// JSON of everything that the digest covers.
    pub covers: String,
    /// SHA-256 of `covers`, in hex.
    pub digest: String,
}

/// What would be run once its gate is approved. The runbook and what the digest covers stand in the gate's record alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AskedProposal {
    /// What the digest covers, without the runbook's bytes.
    pub covered: Covered,
    /// SHA-256 of what it covers, in hex.
    pub digest: String,
    /// How the gate was opened.
    pub opened: AppendReply,
    /// What the cells' outputs, and what they hand on, may take of the run's history, in bytes.
    pub room_bytes: u64,
}

impl Proposal {
    /// What is done once it is approved, read from what the digest covers.
    pub fn covered(&self) -> Result<Covered, String> {
        serde_json::from_str(&self.covers).map_err(|error| format!("what the digest covers: {error}"))
    }
}

impl Covered {
    /// What a cell runs with, besides what the cells before it exported.
    pub fn order(&self, cell: &CellPlan, carried: BTreeMap<String, String>) -> CellOrder {
        CellOrder {
            snapshot_sha256: self.runbook.sha256.clone(),
            cell: cell.name.clone(),
            env: self.env.clone(),
            carried,
            secret_env: self.secret_env.clone(),
            workdir: self.workdir.clone(),
            timeout_ms: cell.timeout_ms,
            executor: self.executor.clone(),
            job: self.job.clone(),
        }
    }
}

/// What a run may take of its history, in bytes. Temporal ends a run at 50 MB and warns at 10 MB; what is replayed by
/// another worker is fetched whole.
const HISTORY_BYTES: u64 = 1_900_000;
/// What a cell takes of it beside what it is given and answers: its events and records, measured at 3.0 KB.
const CELL_EVENTS_BYTES: u64 = 3_600;
/// What a gate before a cell takes: its events and messages, and the output so far that it shows.
const GATE_EVENTS_BYTES: u64 = 24_000;
/// What a cell may at least print.
const CELL_TAIL_BYTES: u64 = 1_024;

impl Covered {
    /// What the cells' outputs, and what they hand on, may take of the run's history, in bytes. An error where even the
    /// least that each may print does not fit.
    pub fn room_bytes(&self) -> Result<u64, String> {
        let encoded = |value: Result<String, serde_json::Error>| value.map_or(0, |text| text.len() as u64);
        let cells = (self.cells.len() + self.verification.len()) as u64;
        let given = encoded(serde_json::to_string(&(&self.env, &self.secret_env, &self.workdir)));
        // A cell's source is in the answer that its start gets, and in what its worker is given.
        let sources = 2 * encoded(serde_json::to_string(&self.runbook.text));
        // A gate of its own shows a cell's text: in what asks, in what it covers, and in messages.
        let gated = self.cells.iter().chain(&self.verification).filter(|cell| cell.has_gate());
        let gates: u64 = gated.map(|cell| GATE_EVENTS_BYTES + 6 * cell.text.len() as u64).sum();
        let fixed = sources + gates + cells * (CELL_EVENTS_BYTES + given);
        match HISTORY_BYTES.checked_sub(fixed) {
            Some(room) if room >= cells * CELL_TAIL_BYTES => Ok(room),
            Some(_) | None => Err(format!(
                "it is too much for one run: {cells} cells with {given} bytes of environment each, and a runbook that \
                 takes {} bytes twice; run fewer cells at once, or put large values into a file",
                sources / 2
            )),
        }
    }
}

/// Everything that the digest of a remediation covers. Cells take what they run with from here, never from the input of
/// the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Covered {
    /// Cells of the remediation, in order.
    pub cells: Vec<CellPlan>,
    /// Names and values that every cell gets, inputs among them.
    pub env: BTreeMap<String, String>,
    /// What runs the cells, with its version.
    pub executor: String,
    /// The inputs of the runbook, as they are shown; cells get them from `env`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<CoveredInput>,
    /// How the cells run as Jobs, where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<CellJob>,
    /// The runbook.
    pub runbook: CoveredRunbook,
    /// Names of secrets.
    pub secret_env: Vec<String>,
    /// Cells of the verification, in order.
    pub verification: Vec<CellPlan>,
    /// Relative to the runbook root.
    pub workdir: String,
}

/// An input that a digest covers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoveredInput {
    /// The variable that cells find it in.
    pub name: String,
    /// `string`, `number`, `enum`, `service` or `release`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What was given for it, or its default.
    pub value: String,
}

/// The runbook that a digest covers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CoveredRunbook {
    /// Where it is, below the runbook root.
    pub path: String,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// Its bytes; empty where only the record has them.
    pub text: String,
}

/// One cell that would be run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellPlan {
    /// Its name.
    pub name: String,
    /// Whether it may run again when nobody knows whether it ran.
    pub idempotent: bool,
    /// Its time, in milliseconds.
    pub timeout_ms: u64,
    /// A person does it and confirms; nothing of it is run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub manual: bool,
    /// Needs an approval of its own before it runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approve: bool,
    /// Whether a dry run runs it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// What it says, where a gate of its own shows it; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

impl CellPlan {
    /// Whether a gate of its own is opened for it.
    pub fn has_gate(&self) -> bool {
        self.manual || self.approve
    }
}

/// `runbook.cell`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellRequest {
    /// Markdown that holds the cell: the cell alone, or the runbook's bytes as digested.
    pub snapshot: String,
    /// What is run.
    #[serde(flatten)]
    pub order: CellOrder,
    /// The run's span, as W3C `traceparent`; empty where there is none.
    #[serde(default)]
    pub traceparent: String,
    /// Nothing runs without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Ticket>,
    /// The most that the answer may hold; 16 KiB of each where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<CellLimits>,
    /// An earlier run of the workflow started it: it is looked for, and not started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub started_before: bool,
}

/// The most that a cell's answer may hold, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellLimits {
    /// Of both streams together.
    pub tail_bytes: usize,
    /// Of what it exports, names and values together.
    pub exports_bytes: usize,
}

impl CellLimits {
    /// What a cell may use of the room that is left: its share, and never more than 16 KiB of each. What it exports is
    /// given to every cell after it, besides what was carried before.
    pub fn within(room_bytes: u64, cells_left: usize, carried: &BTreeMap<String, String>) -> Self {
        const MOST: u64 = 16 * 1024;
        let share = room_bytes / (cells_left.max(1) as u64);
        let carried: usize = carried.iter().map(|(name, value)| name.len() + value.len()).sum();
        let tail = (share / 2).clamp(CELL_TAIL_BYTES / 4, MOST);
        let exports = (share / 2).saturating_sub(carried as u64).min(MOST);
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self { tail_bytes: size(tail), exports_bytes: size(exports) }
    }
}

/// Which cell is run, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellOrder {
    /// SHA-256 of the Markdown that it runs from, in hex; checked before anything runs. At its start, of the runbook.
    pub snapshot_sha256: String,
    /// Cell.
    pub cell: String,
    /// As digested.
    pub env: BTreeMap<String, String>,
    /// Exported by earlier cells.
    pub carried: BTreeMap<String, String>,
    /// Names of secrets.
    pub secret_env: Vec<String>,
    /// Relative to the runbook root.
    pub workdir: String,
    /// Its time, in milliseconds.
    pub timeout_ms: u64,
    /// What runs it, with its version.
    #[serde(default)]
    pub executor: String,
    /// The Job that it runs as, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<CellJob>,
}

impl CellOrder {
    /// What the signature of its ticket covers.
    pub fn claim<'a>(&'a self, ticket: &'a Ticket) -> TicketClaim<'a> {
        TicketClaim {
            org: &ticket.org,
            incident: &ticket.incident,
            gate_id: &ticket.gate_id,
            workflow_id: &ticket.workflow_id,
            run_id: &ticket.run_id,
            step: &ticket.step,
            snapshot_sha256: &self.snapshot_sha256,
            cell: &self.cell,
            executor: &self.executor,
            workdir: &self.workdir,
            env: &self.env,
            carried: &self.carried,
            secret_env: &self.secret_env,
            timeout_ms: self.timeout_ms,
            not_after: ticket.not_after,
            job: self.job.as_ref().map(|job| (ticket.attempt.unwrap_or_default(), job)),
        }
    }
}

/// Answer to `runbook.cell`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CellReply {
    /// `exited`, `signalled`, `timed-out`, `cancelled` or `could-not-start`.
    pub ended: String,
    /// Where it exited.
    pub exit_code: Option<i32>,
    /// Why it could not start.
    pub problem: Option<String>,
    /// Masked, at most 16 KiB.
    pub stdout: String,
    /// Masked, at most 16 KiB.
    pub stderr: String,
    /// All it wrote.
    pub output_bytes: u64,
    /// How long it took.
    pub duration_ms: i64,
    /// What it exported.
    pub exported: BTreeMap<String, String>,
    /// Of the file that has all of its output, in hex, where it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_sha256: Option<String>,
}

impl CellReply {
    /// A cell that has no output, and why.
    pub fn silent(ended: &str, problem: impl Into<String>) -> Self {
        Self {
            ended: ended.to_owned(),
            exit_code: None,
            problem: Some(problem.into()),
            stdout: String::new(),
            stderr: String::new(),
            output_bytes: 0,
            duration_ms: 0,
            exported: BTreeMap::new(),
            output_sha256: None,
        }
    }
}

/// `channel.open`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelDraft {
    /// Incident's title.
    pub title: String,
    /// Severity's word.
    pub severity: String,
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelRef {
    /// Slack's id of it.
    pub channel: String,
}

/// How a text for people names a principal. Whoever shows the text looks the name up then ([`with_names`]), so that a
/// workflow says the same however often it runs, and no history holds a name.
pub fn person(id: &str) -> String {
    format!("<@{id}>")
}

/// The same of several, whose ids stand behind each other with commas: of everybody who approved a gate, say.
pub fn people(ids: &str) -> String {
    ids.split(", ").map(person).collect::<Vec<_>>().join(", ")
}

/// A text with names in the place of what [`person`] left. What somebody typed in that form becomes a name, too, or
/// stays the id that it is.
pub fn with_names(text: &str, name: impl Fn(&str) -> String) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("<@") {
        shown.push_str(before);
        match after.split_once('>') {
            Some((id, behind)) => {
                shown.push_str(&name(id));
                rest = behind;
            }
            None => {
                shown.push_str("<@");
                rest = after;
            }
        }
    }
    shown + rest
}

/// `channel.post`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Where; nothing is posted where there is no channel.
    pub channel: Option<String>,
    /// One line.
    pub headline: String,
    /// More lines, plain text.
    pub lines: Vec<String>,
    /// Output to show as it is.
    pub output: Option<String>,
    /// Whether to pin it.
    pub pin: bool,
    /// Buttons.
    pub ask: Option<Ask>,
}

impl Notice {
    /// A notice without buttons, for the incident's own channel.
    pub fn plain(headline: impl Into<String>, lines: Vec<String>) -> Self {
        Self { channel: None, headline: headline.into(), lines, output: None, pin: false, ask: None }
    }
}

/// What the buttons of a notice ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ask {
    /// Approve or reject a gate.
    Decide(Box<GateView>),
    /// Half of the level's time is over: names who may decide, without buttons of its own.
    Remind(Box<GateView>),
    /// Names people, and whoever has one of these roles, so that they hear of it.
    Call {
        /// Ids of principals.
        principals: Vec<String>,
        /// Roles of the directory.
        roles: Vec<String>,
        /// What they are reminded of, with a button for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offer: Option<Offer>,
    },
    /// Sign off the published review of this digest.
    SignOff {
        /// In hex.
        digest: String,
    },
    /// Tick what a role is there for, a button each.
    Duties {
        /// The role.
        role: String,
        /// What is left of it, as the policy words it.
        duties: Vec<String>,
    },
}

/// What stands above the duties of a role.
pub fn duties_headline(role: &str) -> String {
    format!("What the {role} is there for")
}

/// What a reminder has a button for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Offer {
    /// To post an update.
    Update,
    /// To take command.
    Command,
}

/// `channel.settle`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settle {
    /// Channel.
    pub channel: String,
    /// Message.
    pub ts: String,
    /// One line.
    pub headline: String,
    /// More lines.
    pub lines: Vec<String>,
    /// Buttons that stay, where it is not settled yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Ask>,
}

/// `channel.topic`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicDraft {
    /// Channel.
    pub channel: String,
    /// Incident's title.
    pub title: String,
    /// Severity's word.
    pub severity: String,
}

/// `channel.invite`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invitation {
    /// Channel.
    pub channel: String,
    /// Ids of the directory.
    pub principals: Vec<String>,
}

/// `paging.open`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PagingDraft {
    /// One line.
    pub title: String,
    /// In words.
    pub details: String,
    /// Severity's word.
    pub severity: String,
    /// `None` for the incident itself; else the gate's level that is paged.
    pub page: Option<String>,
    /// The incident there that this one came from: it is linked, and no other is opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Whom a page is for; the policy says where each is paged. Nobody in particular where it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
}

/// Which paging incident is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PagingRef {
    /// The one with this id.
    Incident {
        /// The vendor's own id.
        id: String,
    },
    /// The page of a gate's level, if there is one: nobody may have heard how paging ended.
    Page {
        /// As it was paged.
        level: String,
    },
}

/// `paging.urgency` and `public.impact`: what the severity means there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeverityOf {
    /// The vendor's own id.
    pub id: String,
    /// Severity's word.
    pub severity: String,
    /// Ids of the public components that it touches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
}

/// `paging.note`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PagingRemark {
    /// The vendor's own id.
    pub id: String,
    /// The note.
    pub text: String,
}

/// `public.open`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicDraft {
    /// Public title; never the internal one.
    pub title: String,
    /// First message.
    pub message: String,
    /// Component ids.
    pub components: Vec<String>,
    /// Severity's word: how bad it is, and how the components are.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub severity: String,
}

/// `public.update`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicRemark {
    /// Incident there.
    pub id: String,
    /// How far the work on it is.
    pub status: PublicStatus,
    /// What is said.
    pub message: String,
}

/// How far the work on a public incident is, in the public's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PublicStatus {
    /// Nobody knows yet what it is.
    Investigating,
    /// The cause is known.
    Identified,
    /// A remedy is in place.
    Monitoring,
}

/// `public.resolve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicResolution {
    /// Incident there.
    pub id: String,
    /// Last message.
    pub message: String,
    /// Ids of components that work again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
}

/// `step.recall`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecallRequest {
    /// Where the retry stands.
    pub scope: Scope,
    /// The blueprint whose step failed, as it stands in records.
    pub blueprint: String,
    /// Its attempt.
    pub attempt: u32,
    /// The step.
    pub step: String,
}

/// Answer to `step.recall`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RecallReply {
    /// It failed, and this is what it was called with.
    Failed(Box<FailedStep>),
    /// There is nothing to try again, and why.
    Nothing(String),
}

/// A failed step, ready to be tried again under its own key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedStep {
    /// Where it stood: the same scope gives the same key and the same record.
    pub workflow_id: WorkflowId,
    /// Activity.
    pub activity: String,
    /// Capability.
    pub capability: String,
    /// What it was called with.
    pub args: serde_json::Value,
}

/// `review.render`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenderRequest {
    /// For which organisation, stream and run, and for whom.
    pub scope: Scope,
    /// As asked for.
    pub title: String,
    /// Where it goes.
    pub target: PageTarget,
}

/// Answer to `review.render`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenderReply {
    /// SHA-256 of the page with its space and parent, in hex.
    pub digest: String,
    /// Title with the incident id.
    pub title: String,
    /// Where it goes, filled in.
    pub target: PageTarget,
    /// Last record that it tells of.
    pub upto_seq: u64,
    /// JSON of what the digest covers.
    pub covers: String,
}

/// `review.publish`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishDraft {
    /// What was approved, in hex; the stored page is checked against it.
    pub digest: String,
    /// Title.
    pub title: String,
    /// Where.
    pub target: PageTarget,
}

/// `issue.open`. What the issue says is read from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssueDraft {
    /// Where.
    pub tracker: Tracker,
    /// The record that added the follow-up.
    pub follow_up: u64,
}

/// `candidate.evaluate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EvaluateRequest {
    /// Workflow; names organisation and candidate.
    pub workflow_id: String,
    /// Must agree with the workflow id.
    pub candidate_id: String,
    /// `context.initiator_id`; empty where nobody asks in person.
    pub initiator_id: String,
    /// Attestation, where there is one.
    pub start: Option<StartAttestation>,
    /// SHA-256 of the input without its `start`, in hex.
    pub input_digest: String,
    /// Workflow time.
    pub occurred_at: Timestamp,
}

/// Answer to `candidate.evaluate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EvaluateReply {
    /// Which candidate.
    pub candidate: CandidateRef,
    /// What was decided, as it is kept.
    pub evaluated: Evaluated,
    /// How long a step with an outward effect is tried, in milliseconds.
    pub patience_ms: u64,
}

/// A candidate of an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CandidateRef {
    /// Organisation.
    pub org: OrgId,
    /// Candidate.
    pub candidate_id: CandidateId,
}

/// What became of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Evaluated {
    /// An incident is to be made.
    Promoted(Box<Decision>),
    /// A person has to promote it.
    Deferred {
        /// Why.
        decided: Box<Decision>,
        /// Whether somebody is paged to do so.
        page: bool,
    },
    /// Nothing becomes of it.
    Suppressed {
        /// Why.
        decided: Box<Decision>,
        /// The incident that it is a duplicate of.
        incident: Option<IncidentId>,
    },
    /// Nothing was decided.
    Refused {
        /// Why.
        reason: String,
        /// Whether somebody is paged about it.
        #[serde(default)]
        page: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(cells: usize, text_bytes: usize, env_bytes: usize) -> Covered {
        let plan = |number| CellPlan { name: format!("c{number}"), timeout_ms: 1_000, ..CellPlan::default() };
        Covered {
            cells: (0..cells).map(plan).collect(),
            env: BTreeMap::from([("A".to_owned(), "x".repeat(env_bytes))]),
            runbook: CoveredRunbook { text: "x".repeat(text_bytes), ..CoveredRunbook::default() },
            ..Covered::default()
        }
    }

    #[test]
    fn run_that_fits_its_history_leaves_room_for_what_cells_print() {
        let room = covered(210, 244 * 1024, 100).room_bytes().unwrap();
        assert!(room / 210 > 2_000, "{room}");
        for (cells, text, env) in [(500, 100, 100), (210, 244 * 1024, 10_000), (8_000, 100, 0)] {
            let problem = covered(cells, text, env).room_bytes().unwrap_err();
            assert!(problem.contains(&format!("{cells} cells")), "{problem}");
        }
    }

    #[test]
    fn cells_share_the_room_that_is_left_and_what_is_carried_counts_for_each() {
        let nothing = BTreeMap::new();
        let first = CellLimits::within(1_000_000, 3, &nothing);
        assert_eq!((first.tail_bytes, first.exports_bytes), (16 * 1024, 16 * 1024));
        let many = CellLimits::within(800_000, 200, &nothing);
        assert_eq!((many.tail_bytes, many.exports_bytes), (2_000, 2_000));
        let carried = BTreeMap::from([("A".to_owned(), "x".repeat(1_499))]);
        assert_eq!(CellLimits::within(800_000, 200, &carried).exports_bytes, 500);
        // The end of a run may say little, and never nothing.
        assert_eq!(CellLimits::within(0, 5, &carried), CellLimits { tail_bytes: 256, exports_bytes: 0 });
    }
}

//! The local activities of the log: beginning a run, appending, judging decisions, proposing and rendering. They are
//! short, and repeated safely: whatever was answered first is answered again.

use std::sync::Arc;

use harmony_blueprints::contracts::{
    self as contracts, AppendReply, AppendRequest, BeginReply, BeginRequest, CandidateRef, ClockReply,
    ClockRequest, Earlier, EvaluateReply, EvaluateRequest, JudgeRequest, LookReply, LookRequest,
    ProposeReply, ProposeRequest, RecallReply, RecallRequest, RenderReply, RenderRequest, Scope,
};
use harmony_eventlog::LogError;
use harmony_incidents::{
    Answer, Command, GateStatus, IncidentId, Refusal,
    command::Verdict,
    ids::GateId,
    log::{Payload, payload::Kind},
    ticket::cell_run,
};
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError, ActivityInfo};

use crate::{failure, services::Services};

/// See the module.
pub struct LogActivities(pub Arc<Services>);

#[activities]
impl LogActivities {
    /// First step of every run.
    #[activity(definition = contracts::BlueprintBegin)]
    pub async fn begin(
        self: Arc<Self>,
        _ctx: ActivityContext,
        request: BeginRequest,
    ) -> Result<BeginReply, ActivityError> {
        self.0.begin(request).await
    }

    /// Appends one command.
    #[activity(definition = contracts::LogAppend)]
    pub async fn append(
        self: Arc<Self>,
        ctx: ActivityContext,
        request: AppendRequest,
    ) -> Result<AppendReply, ActivityError> {
        if !request.earlier.iter().map(|one| &one.command).chain([&request.command]).all(Command::is_a_step) {
            return Err(failure::last("NotAStep", "a workflow does not append this kind of command"));
        }
        self.0.append_step(ctx.info(), request).await
    }

    /// Judges a decision and records the verdict.
    #[activity(definition = contracts::ApprovalJudge)]
    pub async fn judge(
        self: Arc<Self>,
        ctx: ActivityContext,
        request: JudgeRequest,
    ) -> Result<Verdict, ActivityError> {
        self.0.judge_decision(&ctx, request).await
    }

    /// Reads a gate that may have been settled from outside.
    #[activity(definition = contracts::ApprovalLook)]
    pub async fn look(
        self: Arc<Self>,
        _ctx: ActivityContext,
        request: LookRequest,
    ) -> Result<LookReply, ActivityError> {
        self.0.look(&request).await
    }

    /// Reads what is due next of an incident.
    #[activity(definition = contracts::ClockLook)]
    pub async fn clock(
        self: Arc<Self>,
        _ctx: ActivityContext,
        request: ClockRequest,
    ) -> Result<ClockReply, ActivityError> {
        self.0.clock(&request).await
    }

    /// Reads what a failed step was called with.
    #[activity(definition = contracts::StepRecall)]
    pub async fn recall(
        self: Arc<Self>,
        _ctx: ActivityContext,
        request: RecallRequest,
    ) -> Result<RecallReply, ActivityError> {
        self.0.recall(&request).await
    }

    /// Takes the snapshot of a runbook and makes its digest.
    #[activity(definition = contracts::RunbookPropose)]
    pub async fn propose(
        self: Arc<Self>,
        ctx: ActivityContext,
        request: ProposeRequest,
    ) -> Result<ProposeReply, ActivityError> {
        self.0.propose(ctx.info(), request).await
    }

    /// Decides about a candidate.
    #[activity(definition = contracts::CandidateEvaluate)]
    pub async fn evaluate(
        self: Arc<Self>,
        _ctx: ActivityContext,
        request: EvaluateRequest,
    ) -> Result<EvaluateReply, ActivityError> {
        self.0.evaluate(request).await
    }

    /// Makes the incident of a promoted candidate.
    #[activity(definition = contracts::CandidateOpen)]
    pub async fn open_candidate(
        self: Arc<Self>,
        _ctx: ActivityContext,
        candidate: CandidateRef,
    ) -> Result<IncidentId, ActivityError> {
        self.0.open_candidate(candidate).await
    }

    /// Renders the review from the log.
    #[activity(definition = contracts::ReviewRender)]
    pub async fn render(
        self: Arc<Self>,
        _ctx: ActivityContext,
        request: RenderRequest,
    ) -> Result<RenderReply, ActivityError> {
        self.0.render(request).await
    }
}

impl Services {
    /// Appends one command of a run after those before it, and answers with what the run needs to go on.
    pub(crate) async fn append_step(
        &self,
        info: &ActivityInfo,
        request: AppendRequest,
    ) -> Result<AppendReply, ActivityError> {
        let AppendRequest { scope, mut command, order, alone, earlier } = request;
        if let Some((refusal, stopped)) = self.append_earlier(earlier).await? {
            let state = self.state(&scope).await?;
            return Ok(AppendReply {
                answer: Err(refusal),
                known_to_other_run: false,
                repeated: false,
                cell: None,
                ticket: None,
                source: None,
                switched_off: None,
                stopped: Some(stopped),
                state: state.state(),
                phase: state.phase(),
                severity: state.severity(),
            });
        }
        self.fill_in_covers(&scope, &mut command).await?;
        let switched_off = self.cell_switched_off(&scope, &command).await?;
        let warrant = self.warrant(&scope, &command, order, alone).await?;
        let (answer, repeated, same_run, after) = if switched_off.is_some() {
            (Ok(Answer::Unchanged), false, true, None)
        } else if let Err(refusal) = &warrant {
            (Err(refusal.clone()), false, true, None)
        } else {
            match self.append(&scope, &scope.key(), &command, Some(&scope.run_id)).await {
                Ok(appended) => (Ok(appended.answer), appended.repeated, appended.same_run, appended.state),
                Err(LogError::Refused(refusal)) => (Err(refusal), false, true, None),
                Err(error) => return Err(failure::log(&error)),
            }
        };
        if answer.is_ok() {
            self.end_live_output(&scope, &command).await;
        }
        let (ticket, source) = match warrant {
            Ok(Some(warrant)) if answer.is_ok() && switched_off.is_none() => {
                (Some(self.ticket(&scope, info, &warrant)?), warrant.source)
            }
            Ok(_) | Err(_) => (None, None),
        };
        let answer = match (answer, gate_of(&command)) {
            (Ok(Answer::Settled { settled }), Some(gate_id)) => {
                Ok(Answer::Settled { settled: self.with_reason(&scope, &gate_id, settled).await? })
            }
            (answer, _) => answer,
        };
        let known_to_other_run = repeated && !same_run;
        let cell = match &command {
            Command::Record { payload } if known_to_other_run => self.finished_cell(&scope, payload).await?,
            _ => None,
        };
        let state = match after {
            Some(state) => state,
            None => self.state(&scope).await?,
        };
        Ok(AppendReply {
            answer,
            known_to_other_run,
            repeated,
            cell,
            ticket,
            source,
            switched_off,
            stopped: None,
            state: state.state(),
            phase: state.phase(),
            severity: state.severity(),
        })
    }
}

impl Services {
    /// Appends what comes before, each under its own key; what is needed and refused ends it.
    async fn append_earlier(
        &self,
        earlier: Vec<Earlier>,
    ) -> Result<Option<(Refusal, String)>, ActivityError> {
        for Earlier { scope, command, needed } in earlier {
            match self.append(&scope, &scope.key(), &command, Some(&scope.run_id)).await {
                Ok(_) => self.end_live_output(&scope, &command).await,
                Err(LogError::Refused(refusal)) if needed => {
                    let stopped = format!("{}: {refusal}", scope.step);
                    return Ok(Some((refusal, stopped)));
                }
                // As that of a phase which the incident's state outranks meanwhile.
                Err(LogError::Refused(_)) => {}
                Err(error) => return Err(failure::log(&error)),
            }
        }
        Ok(None)
    }

    /// Tells whoever follows a cell that it has ended, once that is on record. What is lost here is lost to people who
    /// look on alone: the record says it, too.
    async fn end_live_output(&self, scope: &Scope, command: &Command) {
        let Command::Record { payload: Payload { kind: Some(kind) } } = command else { return };
        let how = match kind {
            Kind::RunbookCellFinished(cell) if cell.ended == "exited" => {
                format!("exited with {}", cell.exit_code)
            }
            Kind::RunbookCellFinished(cell) => cell.ended.replace('-', " "),
            Kind::RunbookCellUnknown(cell) => {
                cell.reason.as_ref().map_or_else(String::new, |reason| reason.shown().to_owned())
            }
            _ => return,
        };
        let run = cell_run(scope.attempt, &scope.step);
        if let Err(error) = self.log.end_output(&scope.org, &scope.stream, &run, &how).await {
            tracing::debug!(%error, step = scope.step, "the end of a cell's live output was not told");
        }
    }
}

/// The gate that a command of a run is about.
fn gate_of(command: &Command) -> Option<String> {
    match command {
        Command::OpenGate { request } => {
            Some(GateId::new(&request.workflow_id, request.attempt, &request.step).to_string())
        }
        Command::ExpireLevel { gate_id, .. } | Command::CancelGate { gate_id, .. } => Some(gate_id.clone()),
        _ => None,
    }
}

/// What a gate's answer says to somebody who decided.
pub(crate) fn verdict_of(answer: Answer, gate_id: Option<String>) -> Verdict {
    match answer {
        Answer::Judged { verdict } => verdict,
        Answer::Settled { settled } => Verdict {
            accepted: false,
            status: settled.status,
            refused_because: settled
                .reason
                .clone()
                .or_else(|| Some("nobody needs to decide this any more".to_owned())),
            gate_id,
            settled: Some(settled),
            approvals: Vec::new(),
            counted_from: None,
        },
        other => Verdict {
            accepted: false,
            status: GateStatus::None,
            refused_because: Some(format!("the log answered {other:?}")),
            gate_id,
            settled: None,
            approvals: Vec::new(),
            counted_from: None,
        },
    }
}

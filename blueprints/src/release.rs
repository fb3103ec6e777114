//! `release.deploy` and `release.promote`: a release goes out where its environment's policies let it, as planned, and
//! once those whom they name have approved exactly that plan.
//!
//! The records stand in the service's stream: the run and what it said, what the policies said, the gate, and the
//! release's own status. Nothing is changed before the release is Promoting, and from there it ends Active or Failed.
//! Who carries a plan out differs: the adapter itself, the cells of a runbook behind their gate, or somebody outside who
//! tells how it went.

use std::{pin::pin, time::Duration};

use harmony_catalog::{
    self as catalog,
    entity::LogEntry,
    words::{PolicyOutcome, RunOutcome},
};
use harmony_incidents::{
    Answer, Command, GateId, LinkName, Refusal,
    judge::payload,
    log::{ActionKind, IncidentPlaybookActionExecuted, LogLevel, ReleaseStatus, Text, payload::Kind},
    policy::GateKind,
    visible,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use temporalio_workflow::{
    ActivityCloseTimeouts, ActivityOptions, CancellableFuture, RetryPolicy, TimerOptions,
    WorkflowCancellationToken, WorkflowContext, common::data_converters::RawValue, workflows::select,
};

use crate::{
    contracts::{
        AppendRequest, Applied, ApplyOrder, Asked, CarriedOutBy, Covered, DeploymentPlan, EFFECT_BACKOFF,
        EFFECT_HEARTBEAT, Effect, JudgeRelease, LogAppend, Notice, PolicyReply, Proposal, ProposeReply,
        ProposeRequest, ReleaseAppend, ReleaseApply, ReleaseBrief, ReleaseFollow, ReleaseJudge, ReleaseLook,
        ReleasePlan, ReleaseRef, ReleaseRequest, ReleaseStanding, ReleaseStart, RunbookPropose, Scope,
        Standing, StartReply, StartRequest,
    },
    gate::{Outcome, Plan, await_decision, why},
    messages::{ApprovalResult, ReleaseInput, ReleaseResult, RemediationKind, RunbookInput, Status},
    remediate::{Remedy, all_passed, first_failure, run_cells, shown},
    run::{Begun, Flow, Run, begin, explain, fail, input, now, patiently},
    workflow_state::{Blueprint, blueprint},
};

blueprint!(
    /// The workflow `release.deploy`.
    Deploy, "release.deploy", flow
);
blueprint!(
    /// The workflow `release.promote`.
    PromoteRelease, "release.promote", flow
);

/// How long planning is tried while the platform does not answer.
const PLANNING: Duration = Duration::from_mins(2);
/// How long applying is tried while the platform does not answer.
const APPLYING: Duration = Duration::from_mins(10);
/// How long an applied release may take to settle where the platform sets no deadline of its own. A rollout of hundreds
/// of pods takes less; Kubernetes' own deadline is 10 minutes by default.
const SETTLING: Duration = Duration::from_hours(1);
/// One look at an applied release goes on for at most so long; longer than the activity's own.
const FOLLOWING: Duration = Duration::from_mins(6);
/// How long somebody outside has to tell how a deployment went.
const TELLING: Duration = Duration::from_hours(24);
/// How often it is looked at, should nobody wake the run: first and last.
const LOOKING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(15));
/// A wait for an opening is at most so long before the policies are asked again: files change meanwhile.
const ASKING_AGAIN: Duration = Duration::from_hours(6);

async fn flow<W: Blueprint>(ctx: &WorkflowContext<W>, raw: RawValue) -> Flow {
    let (common, input, given) = input::<W, ReleaseInput>(ctx, &raw)?;
    let mut run = match begin(ctx, common, given, None, None).await? {
        Begun::Started(run) => run,
        Begun::Refused(run, reason) => return refused_start(&run, &input, reason).await,
    };
    let request = StartRequest { scope: run.at("run"), dry_run: input.dry_run };
    let brief = match patiently(ctx, ReleaseStart, &request).await? {
        StartReply::Started(brief) => brief,
        StartReply::Refused(reason) => return refused_start(&run, &input, reason).await,
    };
    if let Some(incident) = &brief.incident {
        run.incident.links.extend(incident.links.clone());
        run.incident.severity = incident.severity;
    }
    let release = Release { run: &run, input: &input, brief: &brief };
    let end = Box::pin(release.goes_out()).await?;
    release.finish(end).await
}

/// A run of a release that began.
struct Release<'a, 'c, W> {
    run: &'a Run<'c, W>,
    input: &'a ReleaseInput,
    brief: &'a ReleaseBrief,
}

/// How it ends.
struct End {
    outcome: RunOutcome,
    status: Status,
    reason: Option<String>,
    approval: ApprovalResult,
    plan: Vec<String>,
}

impl End {
    fn new(outcome: RunOutcome, reason: impl Into<Option<String>>) -> Self {
        let status = match outcome {
            RunOutcome::Succeeded | RunOutcome::Planned => Status::Completed,
            RunOutcome::Failed => Status::Failed,
            RunOutcome::Refused => Status::Refused,
            RunOutcome::Cancelled => Status::Cancelled,
        };
        let (approval, plan) = (ApprovalResult::default(), vec![]);
        Self { outcome, status, reason: reason.into(), approval, plan }
    }
}

/// What would be done, and what is approved of it.
struct Proposed {
    plan: DeploymentPlan,
    asked: Asked,
    /// Where cells carry it out.
    cells: Option<(Proposal, Covered)>,
}

impl<W: Blueprint> Release<'_, '_, W> {
    /// The whole of it, one line a step.
    async fn goes_out(&self) -> Flow<End> {
        let verdict = match self.policies().await? {
            Ok(verdict) => verdict,
            Err(end) => return Ok(end),
        };
        let proposed = match self.propose(&verdict).await? {
            Ok(proposed) => proposed,
            Err(end) => return Ok(end),
        };
        let plan = proposed.plan.steps.clone();
        if self.input.dry_run {
            return Ok(End { plan, ..End::new(RunOutcome::Planned, None) });
        }
        let outcome = self.ask(&verdict, &proposed).await?;
        let approval = outcome.result();
        let end = if outcome.may_go_on() {
            self.carry_out(&verdict, &outcome, &proposed).await?
        } else {
            let (status, reason) = outcome.not_done();
            let how = if status == Status::Cancelled { RunOutcome::Cancelled } else { RunOutcome::Refused };
            End { status, ..End::new(how, reason) }
        };
        Ok(End { approval, plan, ..end })
    }

    /// Asks the environment's policies, as often as they say to wait.
    async fn policies(&self) -> Flow<Result<PolicyReply, End>> {
        let mut times = 1_u32;
        loop {
            let scope = self.run.at(&format!("policies/{times}"));
            let request = JudgeRelease { scope, run_id: self.brief.run_id.clone() };
            let verdict = patiently(self.run.ctx, ReleaseJudge, &request).await?;
            let line = format!("Policies: {}: {}", verdict.outcome.name(), verdict.reason);
            self.say(&format!("say/policies/{times}"), LogLevel::Info, &line, json!({})).await?;
            match verdict.outcome {
                PolicyOutcome::Proceed | PolicyOutcome::Gate => return Ok(Ok(verdict)),
                PolicyOutcome::Refuse => {
                    return Ok(Err(End::new(RunOutcome::Refused, verdict.reason)));
                }
                // What would happen is known without waiting for it.
                PolicyOutcome::Wait if self.input.dry_run => return Ok(Ok(verdict)),
                PolicyOutcome::Wait => {
                    let left = verdict.next_open.map_or(ASKING_AGAIN, |at| until(self.run, at));
                    self.pause(left.min(ASKING_AGAIN), &verdict.reason).await;
                    if self.run.is_stopped() {
                        return Ok(Err(End::new(RunOutcome::Cancelled, self.stop_reason())));
                    }
                }
            }
            times += 1;
        }
    }

    /// What would be done. Where an earlier run of this attempt asked already, it stays what was shown then.
    async fn propose(&self, verdict: &PolicyReply) -> Flow<Result<Proposed, End>> {
        if let Some(asked) = &self.brief.asked {
            return Ok(Ok(known(asked, self.brief.order.carried_out_by)?));
        }
        let order = self.brief.order.clone();
        let options = scheduled(PLANNING, Duration::from_secs(30), self.run.ctx.cancellation_token(), "plan");
        let effect = Effect { scope: self.run.at("plan"), args: order };
        let plan = match self.run.ctx.execute_activity(ReleasePlan, effect, options).await {
            Ok(plan) => plan,
            Err(error) if error.as_cancelled().is_some() => {
                return Ok(Err(End::new(RunOutcome::Cancelled, self.stop_reason())));
            }
            Err(error) => {
                return Ok(Err(End::new(
                    RunOutcome::Failed,
                    format!("it cannot be planned: {}", explain(&error)),
                )));
            }
        };
        for (number, step) in (1_u32..).zip(&plan.steps) {
            self.say(&format!("say/plan/{number}"), LogLevel::Info, &format!("Plan: {step}"), json!({}))
                .await?;
        }
        let mut covers = self.covers(verdict, &plan);
        let mut cells = None;
        if self.brief.order.carried_out_by == CarriedOutBy::Runbook {
            let proposal = match self.runbook(&plan).await? {
                Ok(proposal) => proposal,
                Err(end) => return Ok(Err(end)),
            };
            let mut whole: Value =
                serde_json::from_str(&proposal.covers).map_err(|error| fail(error.to_string()))?;
            whole["deployment"] = covers;
            covers = whole;
            cells = Some(proposal);
        }
        let covers = covers.to_string();
        let digest = hex::encode(Sha256::digest(covers.as_bytes()));
        let asked = Asked { covers, digest };
        let cells = match cells {
            None => None,
            Some(proposal) => {
                let covered = proposal.covered().map_err(fail)?;
                let bound =
                    Proposal { covers: asked.covers.clone(), digest: asked.digest.clone(), ..proposal };
                Some((bound, covered))
            }
        };
        Ok(Ok(Proposed { plan, asked, cells }))
    }

    /// What the digest covers: the plan, the release, the environment and what its policies said.
    fn covers(&self, verdict: &PolicyReply, plan: &DeploymentPlan) -> Value {
        let order = &self.brief.order;
        json!({
            "adapter": order.adapter,
            "environment": {
                "id": order.environment, "name": self.brief.environment,
                "region": order.region, "cluster": order.cluster,
            },
            "incidentId": self.brief.incident.as_ref().map(|incident| incident.id.clone()),
            "plan": plan,
            "policies": {
                "outcome": verdict.outcome, "reason": verdict.reason, "by": verdict.by,
                "excepted": verdict.excepted,
            },
            "release": {
                "id": order.release_id, "sha": order.sha, "version": order.version,
                "rollsBack": self.brief.rolls_back,
            },
            "serviceId": order.service,
        })
    }

    /// The cells that carry the plan out.
    async fn runbook(&self, plan: &DeploymentPlan) -> Flow<Result<Proposal, End>> {
        let wrong = |problem: String| Ok(Err(End::new(RunOutcome::Failed, problem)));
        let Some(path) = plan.document["runbook"].as_str() else {
            return wrong("the plan names no runbook".to_owned());
        };
        let env = plan.document["env"].as_object().into_iter().flatten();
        let text =
            |(name, value): (&String, &Value)| (name.clone(), value.as_str().unwrap_or_default().to_owned());
        let runbook = RunbookInput {
            inputs: Default::default(),
            kind: RemediationKind::Runbook,
            path: path.to_owned(),
            cells: vec![],
            env: env.map(text).collect(),
            secret_env: vec![],
            timeout: crate::messages::default_timeout(),
            workdir: String::new(),
            sha256: String::new(),
        };
        let request = ProposeRequest {
            scope: self.run.at("propose"),
            runbook,
            verification: vec![],
            gate: None,
            dry_run: false,
        };
        match patiently(self.run.ctx, RunbookPropose, &request).await? {
            ProposeReply::Proposal(proposal) => Ok(Ok(proposal)),
            ProposeReply::Asked(_) => wrong("its gate was opened before its plan".to_owned()),
            ProposeReply::Invalid(problem) => wrong(problem),
            ProposeReply::SwitchedOff(reason) => Ok(Err(End::new(RunOutcome::Cancelled, reason))),
        }
    }

    /// Waits for everybody whom the policies name. Cells are shown and approved whatever the policies say, and so is a
    /// rollback for an incident, as every remediation is.
    async fn ask(&self, verdict: &PolicyReply, proposed: &Proposed) -> Flow<Outcome> {
        let mut gates: Vec<(Vec<_>, String)> =
            verdict.gates.iter().map(|gate| (gate.levels.clone(), gate.by.join(", "))).collect();
        let for_an_incident = self.brief.incident.is_some() && !self.brief.rolls_back.is_empty();
        if gates.is_empty()
            && (verdict.outcome == PolicyOutcome::Gate || proposed.cells.is_some() || for_an_incident)
        {
            gates.push((vec![], String::new()));
        }
        let mut last = Outcome::NotNeeded;
        for (number, (levels, by)) in (1_u32..).zip(gates) {
            let step = if number == 1 {
                GateId::APPROVE.to_owned()
            } else {
                format!("{}-{number}", GateId::APPROVE)
            };
            let plan = Plan {
                step,
                kind: GateKind::Remediate,
                levels,
                severity: self.brief.incident.as_ref().map(|incident| incident.severity),
                action: self.action(),
                reason: why(&self.input.reason, || {
                    format!("{} asked for it; {}", self.run.scope.actor, verdict.reason)
                }),
                digest: proposed.asked.digest.clone(),
                covers: proposed.asked.covers.clone(),
                lines: self.lines(verdict, &by, proposed),
            };
            last = await_decision(self.run, plan).await?;
            if !last.may_go_on() {
                return Ok(last);
            }
        }
        Ok(last)
    }

    /// One line: what will be done.
    fn action(&self) -> String {
        let verb = if self.brief.rolls_back.is_empty() { "Deploy" } else { "Roll back to" };
        format!("{verb} {} in {}", self.brief.title, self.brief.environment)
    }

    /// What the digest covers, for people.
    fn lines(&self, verdict: &PolicyReply, by: &str, proposed: &Proposed) -> Vec<String> {
        let order = &self.brief.order;
        let mut lines = vec![
            format!("Release: {} of {} ({})", order.release_id, order.service, visible::line(&order.sha)),
            format!("Policies: {}", visible::line(&verdict.reason)),
        ];
        if !by.is_empty() {
            lines.push(format!("Asked for by: {}", visible::line(by)));
        }
        if !self.brief.rolls_back.is_empty() {
            lines.push(format!("In the place of: {}", self.brief.rolls_back));
        }
        lines.extend(proposed.plan.steps.iter().map(|step| format!("Plan: {}", visible::line(step))));
        if let Some((_, covered)) = &proposed.cells {
            lines.extend(shown(covered));
        }
        lines
    }

    /// From Promoting to its end.
    async fn carry_out(&self, verdict: &PolicyReply, outcome: &Outcome, proposed: &Proposed) -> Flow<End> {
        // A gate may have taken hours; windows and freezes may have closed meanwhile.
        if verdict.outcome == PolicyOutcome::Proceed && *outcome != Outcome::NotNeeded {
            match self.policies_again().await? {
                Ok(()) => {}
                Err(end) => return Ok(end),
            }
        }
        let outside = self.brief.order.carried_out_by == CarriedOutBy::Outside;
        if let Err(refusal) = self.change("promoting", ReleaseStatus::Promoting, "").await?
            // Whoever deploys it elsewhere may have told of its end already.
            && !(outside && self.is_settled().await?)
        {
            return Ok(End::new(RunOutcome::Refused, refusal.to_string()));
        }
        let done = match (self.brief.order.carried_out_by, &proposed.cells) {
            (CarriedOutBy::Runbook, Some((proposal, covered))) => self.cells(proposal, covered).await?,
            (CarriedOutBy::Outside, _) => self.told().await?,
            (CarriedOutBy::Adapter | CarriedOutBy::Runbook, _) => self.applied(&proposed.plan).await?,
        };
        let (to, step, reason) = match &done {
            Ok(_) => (ReleaseStatus::Active, "active", String::new()),
            Err(reason) => (ReleaseStatus::Failed, "failed", reason.clone()),
        };
        // What somebody outside told is on record.
        if !outside && let Err(refusal) = self.change(step, to, &reason).await? {
            self.run.warn(refusal.to_string());
        }
        Ok(match done {
            Ok(detail) => {
                self.say("say/done", LogLevel::Info, &detail, json!({})).await?;
                End::new(RunOutcome::Succeeded, None)
            }
            Err(reason) => {
                self.say("say/failed", LogLevel::Error, &reason, json!({})).await?;
                End::new(RunOutcome::Failed, reason)
            }
        })
    }

    async fn is_settled(&self) -> Flow<bool> {
        let status = self.standing().await?.status;
        Ok(matches!(status, ReleaseStatus::Active | ReleaseStatus::Failed))
    }

    async fn standing(&self) -> Flow<ReleaseStanding> {
        let release_id = self.brief.order.release_id.clone();
        patiently(self.run.ctx, ReleaseLook, &ReleaseRef { scope: self.run.at("look"), release_id }).await
    }

    async fn policies_again(&self) -> Flow<Result<(), End>> {
        let request =
            JudgeRelease { scope: self.run.at("policies/after"), run_id: self.brief.run_id.clone() };
        let verdict = patiently(self.run.ctx, ReleaseJudge, &request).await?;
        Ok(match verdict.outcome {
            PolicyOutcome::Proceed => Ok(()),
            PolicyOutcome::Gate | PolicyOutcome::Wait | PolicyOutcome::Refuse => Err(End::new(
                RunOutcome::Refused,
                format!("while it waited for its approval: {}", verdict.reason),
            )),
        })
    }

    /// The adapter does it, and the platform says how it goes.
    async fn applied(&self, plan: &DeploymentPlan) -> Flow<Result<String, String>> {
        let token = WorkflowCancellationToken::new();
        let args = ApplyOrder { order: self.brief.order.clone(), plan: plan.clone() };
        let effect = Effect { scope: self.run.at("apply"), args };
        // What has begun is not given up half way: a stop is heard before and after it.
        let options = scheduled(APPLYING, Duration::from_mins(1), token, "apply");
        match self.run.ctx.execute_activity(ReleaseApply, effect, options).await {
            Ok(Applied { adopted, detail }) => {
                let line = if adopted { format!("It is there already: {detail}") } else { detail };
                self.say("say/applied", LogLevel::Info, &line, json!({ "adopted": adopted })).await?;
            }
            Err(error) => return Ok(Err(explain(&error))),
        }
        let deadline = now(self.run.ctx) + jiff::SignedDuration::try_from(SETTLING).unwrap_or_default();
        let mut times = 1_u32;
        loop {
            if self.run.is_stopped() {
                let reason = self.stop_reason();
                return Ok(Err(format!("{reason}; what was applied stays: roll it back")));
            }
            let scope = self.run.at(&format!("follow/{times}"));
            let effect = Effect { scope, args: self.brief.order.clone() };
            let token = self.run.ctx.cancellation_token();
            let options = scheduled(FOLLOWING * 2, FOLLOWING, token, "follow");
            match self.run.ctx.execute_activity(ReleaseFollow, effect, options).await {
                Ok(Standing::Active { detail }) => return Ok(Ok(detail)),
                Ok(Standing::Failed { reason }) => return Ok(Err(reason)),
                Ok(Standing::Running) => {}
                Err(error) if error.as_cancelled().is_some() => {}
                Err(error) => self.run.warn(format!("the platform was not asked: {}", explain(&error))),
            }
            if now(self.run.ctx) >= deadline {
                return Ok(Err("it did not settle within an hour".to_owned()));
            }
            times += 1;
        }
    }

    /// The cells of its runbook do it.
    async fn cells(&self, proposal: &Proposal, covered: &Covered) -> Flow<Result<String, String>> {
        let path = covered.runbook.path.clone();
        let remedy = Remedy::of(&path, &self.input.reason, proposal, covered.clone());
        let done = run_cells(self.run, &remedy).await?;
        self.run.append_pending().await?;
        Ok(if all_passed(&done, covered) {
            Ok(format!("{} cells of {path} succeeded", done.len()))
        } else {
            Err(first_failure(&done).unwrap_or_else(|| "its runbook was not run to its end".to_owned()))
        })
    }

    /// Somebody outside does it, and tells.
    async fn told(&self) -> Flow<Result<String, String>> {
        let what = format!("waits to be told how {} went", self.brief.title);
        self.say("say/told", LogLevel::Info, &what, json!({})).await?;
        let deadline = now(self.run.ctx) + jiff::SignedDuration::try_from(TELLING).unwrap_or_default();
        let mut wait = LOOKING.0;
        loop {
            let seen = self.run.ctx.state(|workflow| workflow.own().wakes);
            let ReleaseStanding { status, reason } = self.standing().await?;
            match status {
                ReleaseStatus::Active => return Ok(Ok("told that it is Active".to_owned())),
                ReleaseStatus::Failed => return Ok(Err(or(reason, "told that it failed"))),
                ReleaseStatus::Draft | ReleaseStatus::Promoting | ReleaseStatus::Unspecified => {}
            }
            if self.run.is_stopped() {
                let reason = self.stop_reason();
                drop(self.change("failed", ReleaseStatus::Failed, &reason).await?);
                return Ok(Err(reason));
            }
            if now(self.run.ctx) >= deadline {
                let reason = "nobody told within a day how it went".to_owned();
                drop(self.change("failed", ReleaseStatus::Failed, &reason).await?);
                return Ok(Err(reason));
            }
            self.pause_unless_woken(wait, &what, seen).await;
            wait = (wait * 2).min(LOOKING.1);
        }
    }

    async fn pause(&self, time: Duration, what: &str) {
        let seen = self.run.ctx.state(|workflow| workflow.own().wakes);
        self.pause_unless_woken(time, what, seen).await;
    }

    /// Waits, unless somebody wakes the run or stops it.
    async fn pause_unless_woken(&self, time: Duration, what: &str, seen: u32) {
        let ctx = self.run.ctx;
        let mut timer = pin!(
            ctx.timer(
                TimerOptions::builder(time.max(Duration::from_millis(1)))
                    .summary(what.chars().take(200).collect::<String>())
                    .cancellation_token(WorkflowCancellationToken::new())
                    .build(),
            )
        );
        let mut woken = pin!(ctx.wait_condition(move |workflow: &W| workflow.own().wakes != seen));
        let over = select! {
            _ = woken => false,
            _ = timer => true,
        };
        if !over {
            timer.cancel();
        }
    }

    fn stop_reason(&self) -> String {
        let reason = self.run.ctx.cancellation_token().reason().filter(|reason| !reason.is_empty());
        or(reason.unwrap_or_default(), "stopped")
    }

    /// The release has come to another status, by this run.
    async fn change(&self, step: &str, to: ReleaseStatus, reason: &str) -> Flow<Result<Answer, Refusal>> {
        let command = catalog::Command::ChangeRelease {
            release: self.brief.order.release_id.clone(),
            to,
            reason: reason.to_owned(),
            at: None,
            run_id: Some(self.brief.run_id.clone()),
        };
        self.append(step, command).await
    }

    /// A line of the run's log.
    async fn say(&self, step: &str, level: LogLevel, message: &str, meta: Value) -> Flow<()> {
        let meta = if let Value::Object(meta) = meta { meta } else { serde_json::Map::new() };
        let entry = LogEntry { ts: now(self.run.ctx), level, message: message.to_owned(), meta };
        let command = catalog::Command::LogRun { run_id: self.brief.run_id.clone(), entry };
        // A line that is too long, or one too many, is no reason to stop.
        if let Err(refusal) = self.append(step, command).await? {
            self.run.warn(refusal.to_string());
        }
        Ok(())
    }

    async fn append(&self, step: &str, command: catalog::Command) -> Flow<Result<Answer, Refusal>> {
        let request = ReleaseRequest { scope: self.run.at(step), command };
        patiently(self.run.ctx, ReleaseAppend, &request).await
    }

    /// The last steps: the run's end, those who are to know, and the result.
    async fn finish(&self, end: End) -> Flow {
        let command = catalog::Command::FinishRun {
            run_id: self.brief.run_id.clone(),
            outcome: end.outcome,
            reason: end.reason.clone().unwrap_or_default(),
        };
        self.append("finish", command).await?.map_err(|refusal| fail(refusal.to_string()))?;
        self.tell_incident(&end).await?;
        if !self.input.dry_run && self.run.link(LinkName::SlackChannel).is_some() {
            self.run.notice("outcome", self.notice(&end)).await?;
        }
        self.run.all_told().await?;
        let result = ReleaseResult {
            status: end.status,
            reason: end.reason.clone(),
            release_id: self.brief.order.release_id.to_string(),
            run_id: Some(self.brief.run_id.to_string()),
            dry_run: self.input.dry_run,
            plan: end.plan,
            approval: end.approval,
            warnings: self.run.warnings(),
        };
        self.run.complete(end.status, end.reason.as_deref(), &result).await
    }

    /// What was done for an incident stands on its record, too.
    async fn tell_incident(&self, end: &End) -> Flow<()> {
        let status = match end.outcome {
            RunOutcome::Succeeded => "EXECUTED",
            RunOutcome::Failed => "FAILED",
            RunOutcome::Refused | RunOutcome::Cancelled | RunOutcome::Planned => return Ok(()),
        };
        let Some(incident) = self.brief.incident.as_ref().and_then(|one| one.id.parse().ok()) else {
            return Ok(());
        };
        let kind =
            if self.brief.rolls_back.is_empty() { ActionKind::Mitigation } else { ActionKind::Rollback };
        let done = Kind::IncidentPlaybookActionExecuted(IncidentPlaybookActionExecuted {
            action_id: self.brief.run_id.to_string(),
            action: kind.as_str_name().to_owned(),
            status: status.to_owned(),
            detail: end.reason.as_deref().and_then(Text::optional),
            action_kind: kind.into(),
            label: Text::optional(self.action()),
        });
        let scope = Scope { stream: incident, ..self.run.at("incident") };
        let command = Command::Record { payload: payload(done) };
        let request = AppendRequest { scope, command, order: None, alone: false, earlier: vec![] };
        if let Err(refusal) = patiently(self.run.ctx, LogAppend, &request).await?.answer {
            self.run.warn(refusal.to_string());
        }
        Ok(())
    }

    fn notice(&self, end: &End) -> Notice {
        let (title, environment) = (&self.brief.title, &self.brief.environment);
        let back = !self.brief.rolls_back.is_empty();
        let headline = match end.outcome {
            RunOutcome::Succeeded if back => format!("Rolled back: {title} runs in {environment}"),
            RunOutcome::Succeeded => format!("Deployed: {title} runs in {environment}"),
            RunOutcome::Failed => format!("{title} failed in {environment}"),
            RunOutcome::Refused | RunOutcome::Cancelled | RunOutcome::Planned => {
                format!("{title} was not deployed to {environment}")
            }
        };
        let by = match &end.approval {
            ApprovalResult { was_approved: true, .. } => Some("It was approved.".to_owned()),
            _ => None,
        };
        Notice::plain(headline, end.reason.iter().cloned().chain(by).collect())
    }
}

/// What was asked before, read from what its gate covers.
fn known(asked: &Asked, by: CarriedOutBy) -> Flow<Proposed> {
    let unreadable = |error: serde_json::Error| fail(format!("what the gate covers: {error}"));
    let covers: Value = serde_json::from_str(&asked.covers).map_err(unreadable)?;
    if by != CarriedOutBy::Runbook {
        let plan = serde_json::from_value(covers["plan"].clone()).map_err(unreadable)?;
        return Ok(Proposed { plan, asked: asked.clone(), cells: None });
    }
    let plan = serde_json::from_value(covers["deployment"]["plan"].clone()).map_err(unreadable)?;
    let covered: Covered = serde_json::from_value(covers).map_err(unreadable)?;
    let proposal = Proposal {
        snapshot: covered.runbook.text.clone(),
        snapshot_sha256: covered.runbook.sha256.clone(),
        cells: covered.cells.clone(),
        verification: covered.verification.clone(),
        covers: asked.covers.clone(),
        digest: asked.digest.clone(),
    };
    Ok(Proposed { plan, asked: asked.clone(), cells: Some((proposal, covered)) })
}

/// A run that may not begin.
async fn refused_start<W: Blueprint>(run: &Run<'_, W>, input: &ReleaseInput, reason: String) -> Flow {
    let release = run.workflow_id().release().map(|(_, _, release)| release.to_string());
    let result = ReleaseResult {
        status: Status::Refused,
        reason: Some(reason.clone()),
        release_id: release.unwrap_or_default(),
        run_id: None,
        dry_run: input.dry_run,
        plan: vec![],
        approval: ApprovalResult::default(),
        warnings: run.warnings(),
    };
    run.complete(Status::Refused, Some(&reason), &result).await
}

/// How an activity that talks to a platform is scheduled.
fn scheduled(
    in_all: Duration,
    one: Duration,
    until: WorkflowCancellationToken,
    summary: &str,
) -> ActivityOptions {
    let timeouts =
        ActivityCloseTimeouts::ScheduleAndStartToClose { schedule_to_close: in_all, start_to_close: one };
    ActivityOptions::with_close_timeouts(timeouts)
        .heartbeat_timeout(EFFECT_HEARTBEAT)
        .retry_policy(
            RetryPolicy::builder()
                .initial_interval(EFFECT_BACKOFF.0)
                .maximum_interval(EFFECT_BACKOFF.1)
                .build(),
        )
        .summary(summary.to_owned())
        .cancellation_token(until)
        .build()
}

fn until<W: Blueprint>(run: &Run<'_, W>, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now(run.ctx))).unwrap_or_default()
}

fn or(text: String, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text }
}

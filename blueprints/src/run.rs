//! One run of a blueprint: its beginning, its records, its steps and its end.
//!
//! Steps are not interrupted when the run is stopped: they are short, and what they did must be on record. Only a gate
//! and a running cell are.

use std::{cell::RefCell, error::Error, rc::Rc, time::Duration};

use harmony_incidents::{
    Answer, Command, LinkName, Refusal,
    ids::WorkflowId,
    judge::payload,
    log::{
        BlueprintCompleted, IncidentCreated, Payload, State, StepFailed, StepSkipped, Text, payload::Kind,
    },
};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use temporalio_workflow::{
    ActivityCloseTimeouts, ActivityExecutionError, ActivityOptions, LocalActivityOptions, RetryPolicy,
    TimerOptions, WorkflowCancellationToken, WorkflowContext, WorkflowTermination,
    common::{
        ActivityDefinition,
        data_converters::{RawValue, TemporalDeserializable, TemporalSerializable},
        error::ApplicationFailure,
        search_attributes::SearchAttributeKey,
    },
};

use crate::{
    background,
    contracts::{
        AppendReply, AppendRequest, BeginReply, BeginRequest, BlueprintBegin, Brief, CellOrder,
        EFFECT_BACKOFF, EFFECT_HEARTBEAT, EFFECT_TIMEOUT, Earlier, Effect, LOG_BACKOFF, LOG_PATIENCE,
        LogAppend, Notice, Scope, StepReply,
    },
    messages::{Common, Status, input_digest, read},
    revision,
    workflow_state::{Blueprint, continued, decode},
};

/// What a flow returns: a result as JSON, or a final failure.
pub(crate) type Flow<T = serde_json::Value> = Result<T, WorkflowTermination>;

/// A run that may go on.
pub(crate) struct Run<'a, W> {
    pub(crate) ctx: &'a WorkflowContext<W>,
    pub(crate) scope: Scope,
    pub(crate) incident: Brief,
    pub(crate) missing_for_review: Vec<String>,
    patience: Duration,
    /// The log refused the start, and has put the end on record with it.
    end_on_record: bool,
    /// Which sequence of commands it follows.
    revision: u32,
    /// Shared with the tasks beside the flow.
    warnings: Rc<RefCell<Vec<String>>>,
    /// Not appended yet: goes with what is appended next, and before any effect.
    pending: RefCell<Vec<Earlier>>,
}

/// How a run began.
pub(crate) enum Begun<'a, W> {
    /// It may go on.
    Started(Box<Run<'a, W>>),
    /// It may not, and that is on record.
    Refused(Box<Run<'a, W>>, String),
}

/// What a run was started with, without its attestation.
pub(crate) struct Given {
    /// SHA-256 in hex, which the attestation covers.
    digest: String,
    /// JSON text.
    text: String,
}

/// Reads the input: what every blueprint has, and its own.
pub(crate) fn input<W: Blueprint, T: DeserializeOwned>(
    ctx: &WorkflowContext<W>,
    raw: &RawValue,
) -> Flow<(Common, T, Given)> {
    let value = decode(ctx.payload_converter(), raw).map_err(|problem| fail(format!("input: {problem}")))?;
    let common: Common = read(value.clone()).map_err(fail)?;
    let own: T = read(value.clone()).map_err(fail)?;
    let mut bare = value.clone();
    if let Some(fields) = bare.as_object_mut() {
        fields.remove("start");
    }
    Ok((common, own, Given { digest: input_digest(value), text: bare.to_string() }))
}

/// The first step of every run.
pub(crate) async fn begin<'a, W: Blueprint>(
    ctx: &'a WorkflowContext<W>,
    common: Common,
    given: Given,
    target: Option<State>,
    declare: Option<IncidentCreated>,
) -> Flow<Begun<'a, W>> {
    let request = BeginRequest {
        workflow_id: ctx.workflow_id().to_owned(),
        workflow_type: ctx.info().workflow_type().to_owned(),
        run_id: ctx.info().first_execution_run_id().to_owned(),
        initiator_id: common.context.initiator_id,
        incident_id: common.context.incident_id,
        start: common.start,
        input_digest: given.digest,
        input_text: given.text,
        target,
        declare,
        occurred_at: now(ctx),
    };
    let reply: BeginReply = patiently(ctx, BlueprintBegin, &request).await?;
    if ctx.search_attributes().get(&attribute("HarmonyOrg")).is_none() {
        // Started by hand: whoever lists workflows finds it all the same.
        ctx.upsert_search_attributes([
            attribute("HarmonyOrg").value_set(reply.scope.org.to_string()),
            attribute("HarmonyIncidentId").value_set(reply.scope.stream.to_string()),
            attribute("HarmonySeverity").value_set(reply.incident.severity.as_str_name().to_owned()),
            attribute("HarmonyBlueprint").value_set(reply.scope.blueprint.clone()),
        ]);
    }
    let continued = continued(ctx);
    ctx.state_mut(|workflow| {
        let own = workflow.own_mut();
        own.scope = Some(reply.scope.clone());
        own.continued = continued;
        own.see(reply.incident.state, reply.incident.phase, reply.incident.severity);
    });
    let run = Box::new(Run {
        ctx,
        scope: reply.scope,
        incident: reply.incident,
        missing_for_review: reply.missing_for_review,
        patience: Duration::from_millis(reply.patience_ms),
        end_on_record: reply.refused.is_some(),
        revision: reply.revision,
        warnings: Rc::default(),
        pending: RefCell::default(),
    });
    Ok(match reply.refused {
        None => Begun::Started(run),
        Some(reason) => Begun::Refused(run, reason),
    })
}

impl<W: Blueprint> Run<'_, W> {
    /// Which blueprint of which incident this is.
    pub(crate) fn workflow_id(&self) -> &WorkflowId {
        &self.scope.workflow_id
    }

    /// The scope of a step, at this moment.
    pub(crate) fn at(&self, step: &str) -> Scope {
        Scope {
            step: step.to_owned(),
            occurred_at: now(self.ctx),
            run_id: self.ctx.run_id().to_owned(),
            ..self.scope.clone()
        }
    }

    /// Whether somebody asked this run to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.ctx.cancellation_token().is_cancelled()
    }

    /// A named reference: from an earlier step of this run, or from before.
    pub(crate) fn link(&self, name: LinkName) -> Option<String> {
        self.incident.links.get(name.name()).cloned()
    }

    /// Remembers what a step made.
    pub(crate) fn keep_links(&mut self, reply: &StepReply) {
        self.incident.links.extend(reply.links.clone());
    }

    /// Something did not work that was not needed.
    pub(crate) fn warn(&self, warning: impl Into<String>) {
        self.warnings.borrow_mut().push(warning.into());
    }

    /// What did not work and was not needed.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.borrow().clone()
    }

    /// Whether it follows this revision, or a later one.
    pub(crate) fn follows(&self, revision: u32) -> bool {
        self.revision >= revision
    }

    /// Starts a task beside the flow, with a copy of this run that shares its warnings. The token is cancelled, with a
    /// reason, when the end of the run waits no longer.
    pub(crate) fn beside(
        &self,
        task: impl AsyncFnOnce(&Run<'_, W>, WorkflowCancellationToken) -> Flow<()> + 'static,
    ) {
        let ctx = self.ctx.clone();
        let (scope, incident) = (self.scope.clone(), self.incident.clone());
        let (patience, revision, warnings) = (self.patience, self.revision, Rc::clone(&self.warnings));
        self.ctx.state_mut(|workflow| {
            let background = &mut workflow.own_mut().background;
            let over = background.over();
            background.start(Box::pin(async move {
                let run = Run {
                    ctx: &ctx,
                    scope,
                    incident,
                    missing_for_review: Vec::new(),
                    patience,
                    end_on_record: false,
                    revision,
                    warnings,
                    pending: RefCell::default(),
                };
                task(&run, over).await
            }));
        });
    }

    /// Waits until what was started beside the flow has ended; what takes more than 10 s is given up, on record. Before
    /// the result of a run is made, so that the warnings are in it.
    pub(crate) async fn all_told(&self) -> Flow<()> {
        background::finished(self.ctx).await
    }

    /// Appends a command; what the log refuses is a value.
    pub(crate) async fn append(&self, step: &str, command: Command) -> Flow<Result<Answer, Refusal>> {
        Ok(self.append_full(step, command).await?.answer)
    }

    /// Appends a command and tells whether an earlier run had done so.
    pub(crate) async fn append_full(&self, step: &str, command: Command) -> Flow<AppendReply> {
        self.append_with(step, command, None).await
    }

    /// As [`Self::append_full`], of the start of a cell where there is an order.
    pub(crate) async fn append_with(
        &self,
        step: &str,
        command: Command,
        order: Option<Box<CellOrder>>,
    ) -> Flow<AppendReply> {
        let alone = order.is_some() && self.follows(revision::REFERENCES);
        let earlier = self.pending.take();
        self.append_request(AppendRequest { scope: self.at(step), command, order, alone, earlier }).await
    }

    async fn append_request(&self, request: AppendRequest) -> Flow<AppendReply> {
        let reply = patiently(self.ctx, LogAppend, &request).await?;
        self.ctx.state_mut(|workflow| workflow.own_mut().see(reply.state, reply.phase, reply.severity));
        match reply.stopped {
            Some(problem) => Err(fail(problem)),
            None => Ok(reply),
        }
    }

    /// Appends a command of which nothing is to be known but that it is on record before what comes next: with the next
    /// append, or before the next effect. Where it is `needed`, the run fails if the log refuses it.
    pub(crate) async fn append_later(&self, step: &str, command: Command, needed: bool) -> Flow<()> {
        if self.follows(revision::TOGETHER) {
            self.pending.borrow_mut().push(Earlier { scope: self.at(step), command, needed });
            return Ok(());
        }
        match self.append(step, command).await? {
            Err(refusal) if needed => Err(fail(format!("{step}: {refusal}"))),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Appends what was to be appended later. Whatever goes on without appending or an effect of this run asks for it.
    pub(crate) async fn append_pending(&self) -> Flow<()> {
        let mut earlier = self.pending.take();
        let Some(Earlier { scope, command, needed }) = earlier.pop() else { return Ok(()) };
        let step = scope.step.clone();
        let request = AppendRequest { scope, command, order: None, alone: false, earlier };
        match self.append_request(request).await?.answer {
            Err(refusal) if needed => Err(fail(format!("{step}: {refusal}"))),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Appends a fact. The log refuses facts only when this code is wrong.
    pub(crate) async fn record(&self, step: &str, kind: Kind) -> Flow<()> {
        self.append(step, Command::Record { payload: payload(kind) })
            .await?
            .map(drop)
            .map_err(|refusal| fail(format!("{step}: {refusal}")))
    }

    /// A step with an outward effect, tried for the policy's patience; `Err` tells why it failed, on record.
    pub(crate) async fn effect<A, D>(
        &self,
        activity: D,
        step: &str,
        capability: &'static str,
        args: A,
    ) -> Flow<Result<StepReply, String>>
    where
        A: Serialize + DeserializeOwned + Send + Sync + 'static,
        D: ActivityDefinition<Input = Effect<A>, Output = StepReply>,
    {
        self.effect_until(activity, step, capability, args, WorkflowCancellationToken::new()).await
    }

    /// As [`Self::effect`], given up when the token is cancelled; on record where it is cancelled with a reason.
    pub(crate) async fn effect_until<A, D>(
        &self,
        activity: D,
        step: &str,
        capability: &'static str,
        args: A,
        until: WorkflowCancellationToken,
    ) -> Flow<Result<StepReply, String>>
    where
        A: Serialize + DeserializeOwned + Send + Sync + 'static,
        D: ActivityDefinition<Input = Effect<A>, Output = StepReply>,
    {
        let failed_key = format!("{step}/failed");
        self.effect_as(activity, self.at(step), (step, &failed_key), capability, args, until).await
    }

    /// An effect in the name of a step, which may be another run's. `names` are what this run calls it, and the key of
    /// its failure's record.
    pub(crate) async fn effect_as<A, D>(
        &self,
        activity: D,
        scope: Scope,
        names: (&str, &str),
        capability: &str,
        args: A,
        until: WorkflowCancellationToken,
    ) -> Flow<Result<StepReply, String>>
    where
        A: Serialize + DeserializeOwned + Send + Sync + 'static,
        D: ActivityDefinition<Input = Effect<A>, Output = StepReply>,
    {
        let (name, failed_key) = names;
        self.append_pending().await?;
        self.ctx.state_mut(|workflow| workflow.own_mut().step_began(name, capability));
        let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose {
            schedule_to_close: self.patience,
            start_to_close: EFFECT_TIMEOUT.min(self.patience),
        };
        let options = ActivityOptions::with_close_timeouts(timeouts)
            .heartbeat_timeout(EFFECT_HEARTBEAT)
            .retry_policy(
                RetryPolicy::builder()
                    .initial_interval(EFFECT_BACKOFF.0)
                    .maximum_interval(EFFECT_BACKOFF.1)
                    .build(),
            )
            .summary(name.to_owned())
            .cancellation_token(until.clone())
            .build();
        let request = serde_json::json!({ "activity": activity.name(), "args": args }).to_string();
        let StepIn { blueprint, attempt, step } = StepIn::of(&scope);
        let effect = Effect { scope, args };
        let outcome = match self.ctx.execute_activity(activity, effect, options).await {
            Ok(reply) => Ok(reply),
            // What is under way records itself.
            Err(error) if error.as_cancelled().is_some() => match until.reason() {
                Some(reason) => Err(reason),
                // Not needed any more.
                None => {
                    self.ctx.state_mut(|workflow| workflow.own_mut().step_given_up(name));
                    return Ok(Err("given up".to_owned()));
                }
            },
            Err(error) => Err(explain(&error)),
        };
        match &outcome {
            Ok(reply) => {
                for warning in &reply.warnings {
                    self.warn(warning.clone());
                }
            }
            Err(error) => {
                let failed = Kind::StepFailed(StepFailed {
                    blueprint,
                    attempt,
                    step,
                    capability: capability.to_owned(),
                    error: Some(Text::plain(error)),
                    optional: true,
                    request: Some(Text::plain(request)),
                });
                self.record(failed_key, failed).await?;
                self.warn(format!("{name}: {error}"));
            }
        }
        self.ctx.state_mut(|workflow| {
            workflow.own_mut().step_ended(name, capability, outcome.as_ref().map_err(String::as_str));
        });
        Ok(outcome)
    }

    /// Posts a notice; its absence is a warning.
    pub(crate) async fn notice(&self, step: &str, notice: Notice) -> Flow<Option<StepReply>> {
        self.notice_until(step, notice, WorkflowCancellationToken::new()).await
    }

    /// As [`Self::notice`], given up when the token is cancelled.
    pub(crate) async fn notice_until(
        &self,
        step: &str,
        notice: Notice,
        until: WorkflowCancellationToken,
    ) -> Flow<Option<StepReply>> {
        let channel =
            Notice { channel: notice.channel.or_else(|| self.link(LinkName::SlackChannel)), ..notice };
        let posted = self
            .effect_until(
                crate::contracts::ChannelPost,
                step,
                crate::contracts::capability::SLACK,
                channel,
                until,
            )
            .await?;
        Ok(posted.ok().filter(|reply| reply.skipped.is_none()))
    }

    /// A step that there is nothing to do for.
    pub(crate) async fn skip(&self, step: &str, capability: &'static str, reason: &str) -> Flow<()> {
        let skipped = Kind::StepSkipped(StepSkipped {
            blueprint: self.scope.blueprint.clone(),
            attempt: self.scope.attempt,
            step: step.to_owned(),
            capability: capability.to_owned(),
            reason: Some(Text::plain(reason)),
            flag: None,
        });
        let reply = StepReply { skipped: Some(reason.to_owned()), ..StepReply::default() };
        self.ctx.state_mut(|workflow| workflow.own_mut().step_ended(step, capability, Ok(&reply)));
        self.record(step, skipped).await
    }

    /// The last step of every run that began: its result is on record before it is returned.
    pub(crate) async fn complete<R: Serialize>(
        &self,
        status: Status,
        reason: Option<&str>,
        result: &R,
    ) -> Flow {
        self.all_told().await?;
        let result = serde_json::to_value(result).map_err(|error| fail(error.to_string()))?;
        let completed: Payload = payload(Kind::BlueprintCompleted(BlueprintCompleted {
            blueprint: self.scope.blueprint.clone(),
            attempt: self.scope.attempt,
            status: status.name().to_owned(),
            reason: reason.and_then(Text::optional),
            result: Some(Text::plain(result.to_string())),
        }));
        if !self.end_on_record {
            let command = Command::Record { payload: completed };
            self.append("complete", command).await?.map_err(|refusal| fail(refusal.to_string()))?;
        }
        Ok(result)
    }
}

/// Which step of which attempt a scope stands for.
struct StepIn {
    blueprint: String,
    attempt: u32,
    step: String,
}

impl StepIn {
    fn of(scope: &Scope) -> Self {
        Self { blueprint: scope.blueprint.clone(), attempt: scope.attempt, step: scope.step.clone() }
    }
}

/// Calls a local activity of the log until the log answers.
pub(crate) async fn patiently<W, D>(
    ctx: &WorkflowContext<W>,
    activity: D,
    request: &D::Input,
) -> Flow<D::Output>
where
    D: ActivityDefinition + Copy,
    D::Input: Clone + TemporalSerializable,
    D::Output: TemporalDeserializable,
{
    let (mut wait, longest) = LOG_BACKOFF;
    loop {
        let options = LocalActivityOptions::builder()
            .schedule_to_close_timeout(LOG_PATIENCE)
            .start_to_close_timeout(LOG_PATIENCE)
            .retry_policy(
                RetryPolicy::builder()
                    .initial_interval(Duration::from_millis(100))
                    .maximum_interval(Duration::from_secs(1))
                    .build(),
            )
            .cancellation_token(WorkflowCancellationToken::new())
            .build();
        match ctx.execute_local_activity(activity, request.clone(), options).await {
            Ok(reply) => return Ok(reply),
            Err(error) if is_final(&error) => return Err(fail(explain(&error))),
            Err(_) => {
                let timer = TimerOptions::builder(wait)
                    .summary("waiting for the log".to_owned())
                    .cancellation_token(WorkflowCancellationToken::new())
                    .build();
                ctx.timer(timer).await;
                wait = (wait * 2).min(longest);
            }
        }
    }
}

/// One of the keyword attributes of section 3 of the contract.
pub(crate) fn attribute(name: &'static str) -> SearchAttributeKey<String> {
    SearchAttributeKey::keyword(name)
}

/// Workflow time: the same in every replay.
pub(crate) fn now<W>(ctx: &WorkflowContext<W>) -> Timestamp {
    ctx.workflow_time().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A final failure of the run.
pub(crate) fn fail(problem: impl Into<Box<dyn Error + Send + Sync>>) -> WorkflowTermination {
    WorkflowTermination::failed_application(ApplicationFailure::non_retryable(problem))
}

/// The innermost message of a failed activity: the vendor's own words where there are any.
pub(crate) fn explain(error: &ActivityExecutionError) -> String {
    let Some(mut failure) = error.failure() else { return error.to_string() };
    while let Some(cause) = failure.cause.as_deref() {
        failure = cause;
    }
    if error.as_timeout().is_some() && failure.message.is_empty() {
        return "it did not answer in time".to_owned();
    }
    failure.message.clone()
}

fn is_final(error: &ActivityExecutionError) -> bool {
    use temporalio_workflow::common::protos::temporal::api::failure::v1::failure::FailureInfo;
    let mut failure = error.failure();
    while let Some(one) = failure {
        if let Some(FailureInfo::ApplicationFailureInfo(info)) = &one.failure_info {
            return info.non_retryable;
        }
        failure = one.cause.as_deref();
    }
    matches!(error, ActivityExecutionError::Serialization(_))
}

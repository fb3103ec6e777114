//! Effects happen once: the ledger before, the record after, and one way through for all of them.
//!
//! | killed | what the retry finds |
//! |---|---|
//! | before the intent | nothing: it acts |
//! | after the intent, or after the call | an intent: it looks for the effect with this key, adopts it or acts |
//! | after a repetition's result | the result: it records |
//! | after the record, which the result is written with | the record: it answers |

use std::{collections::BTreeMap, pin::pin, time::Duration};

use harmony_blueprints::contracts::{Scope, StepReply};
use harmony_capabilities::error::{CallError, Fate};
use harmony_catalog::{self as catalog, judge::Facts, judge_service};
use harmony_eventlog::{
    Append, Appended, Begin, CatalogAppend, CatalogAppended, EffectResult, LogError, StreamState, Target,
    outcome,
};
use harmony_incidents::{
    Command, LinkName, Refusal, StreamId,
    judge::{Head, judge, payload},
    log::{FlagUsed, Link, Payload, StepSkipped, StepSucceeded, Text, payload::Kind},
};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use uuid::Uuid;

use crate::{dispatcher::checkpoint, failure, services::Services};

/// How often a running effect is heard of: one that takes less sends nothing.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Times of effects whose vendor has no key of its own: nobody outside can close the window in which a lost request is
/// still under way, so it is waited out, looked into twice, and looked at again afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EffectTiming {
    /// How long a request that nobody heard the end of may still be under way.
    pub under_way: Duration,
    /// Between the two looks before a repetition.
    pub between_looks: Duration,
    /// Before the look for a twin, after a repetition.
    pub before_sweep: Duration,
    /// How far a vendor's search may run behind what was written there.
    pub search_lag: Duration,
}

impl EffectTiming {
    /// For connectors whose requests take at most this long. 5 s are for what comes after the time-out: the connection
    /// is cut, but the vendor may have read the request already. A search is behind by a second or two at most times.
    #[must_use]
    pub fn for_requests_of(limit: Duration) -> Self {
        Self {
            under_way: limit + Duration::from_secs(5),
            between_looks: Duration::from_secs(1),
            before_sweep: Duration::from_secs(5),
            search_lag: Duration::from_secs(15),
        }
    }
}

/// An effect that only our own looking keeps from happening twice.
pub(crate) trait Unkeyed: Sync {
    /// What the vendor shows of it, if it is there.
    fn find(&self) -> impl Future<Output = Result<Option<StepReply>, CallError>> + Send;
    /// Makes it.
    fn send(&self) -> impl Future<Output = Result<StepReply, CallError>> + Send;
    /// How often the vendor shows it.
    fn count(&self) -> impl Future<Output = Result<usize, CallError>> + Send;
    /// Whether the vendor shows it only once its search knows it.
    fn is_found_late(&self) -> bool {
        false
    }
}

/// One try at an effect's entry in the ledger.
pub(crate) struct Hold {
    pub(crate) key: String,
    /// One a try: the next must not take this one's request for ended.
    pub(crate) owner: String,
    /// How long the entry is this try's alone.
    lease: Duration,
}

/// What the ledger said.
enum Opened {
    /// It is over: this came of it.
    Over(StepReply),
    /// It is this try's, and maybe it was another's before.
    Ours { again: bool },
}

/// What came of a try.
struct Made {
    reply: StepReply,
    /// Made although somebody may have made it before: a twin may come to light.
    repeated: bool,
}

impl Services {
    /// Carries an effect out once and records it, unless its capability is switched off. The vendor itself refuses or
    /// finds a second one, even while the first is under way. A reply of `act` that is skipped had nothing to do.
    pub(crate) async fn perform(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        capability: &str,
        key: Uuid,
        act: impl AsyncFnOnce() -> Result<StepReply, CallError>,
    ) -> Result<StepReply, ActivityError> {
        let hold = Hold::new(ctx, key, Duration::ZERO);
        match self.open(scope, capability, &hold).await? {
            Opened::Over(reply) => Ok(reply),
            Opened::Ours { again } => {
                let outcome = with_heartbeat(ctx, act()).await;
                let made = self.close(scope, capability, &hold, again, outcome).await?;
                self.settled(scope, capability, &made, Some(&hold)).await?;
                Ok(made)
            }
        }
    }

    /// As [`Self::perform`], where the vendor has no key of its own.
    pub(crate) async fn perform_unkeyed(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        capability: &str,
        key: Uuid,
        effect: &impl Unkeyed,
    ) -> Result<StepReply, ActivityError> {
        let lag = if effect.is_found_late() { self.timing.search_lag } else { Duration::ZERO };
        let hold = Hold::new(ctx, key, self.timing.under_way + lag);
        let (reply, open) = match self.open(scope, capability, &hold).await? {
            Opened::Over(reply) => return Ok(reply),
            Opened::Ours { again: false } => {
                let outcome = with_heartbeat(ctx, effect.send()).await;
                (self.close(scope, capability, &hold, false, outcome).await?, Some(&hold))
            }
            Opened::Ours { again: true } => {
                let outcome = with_heartbeat(ctx, self.again(scope, &hold, effect)).await?;
                let repeated = outcome.as_ref().is_ok_and(|made| made.repeated);
                let outcome = outcome.map(|made| made.reply);
                let reply = self.close(scope, capability, &hold, true, outcome).await?;
                if repeated {
                    // Looking for a twin takes a while: the result is not lost with it.
                    self.complete(scope, &hold, &reply).await?;
                    (with_heartbeat(ctx, self.swept(effect, lag, reply)).await, None)
                } else {
                    (reply, Some(&hold))
                }
            }
        };
        self.settled(scope, capability, &reply, open).await?;
        Ok(reply)
    }

    /// Asks the ledger; what is over is on record when this returns.
    async fn open(&self, scope: &Scope, capability: &str, hold: &Hold) -> Result<Opened, ActivityError> {
        let again = match self.begin_effect(scope, hold).await? {
            Begin::Done(result) => {
                let reply: StepReply = serde_json::from_value(result).map_err(|error| {
                    failure::last("Ledger", format!("effect {} is unreadable: {error}", hold.key))
                })?;
                self.settled(scope, capability, &reply, None).await?;
                return Ok(Opened::Over(reply));
            }
            Begin::Busy(left) => return Err(busy(left)),
            Begin::Fresh => false,
            Begin::Again => true,
        };
        // What may have begun is brought to its end; only what surely did not can be left out.
        if !again && let Some(skipped) = self.switched_off(scope, capability).await? {
            self.log
                .forget_effect(&scope.org, &hold.key, &hold.owner)
                .await
                .map_err(|error| failure::log(&error))?;
            return Ok(Opened::Over(skipped));
        }
        Ok(Opened::Ours { again })
    }

    async fn begin_effect(&self, scope: &Scope, hold: &Hold) -> Result<Begin, ActivityError> {
        self.log
            .begin_effect(
                &scope.org,
                &(&scope.stream).into(),
                &hold.key,
                &scope.step,
                &hold.owner,
                hold.lease,
            )
            .await
            .map_err(|error| failure::log(&error))
    }

    /// Looks twice, and acts only where nothing was found and the entry is still this try's.
    async fn again(
        &self,
        scope: &Scope,
        hold: &Hold,
        effect: &impl Unkeyed,
    ) -> Result<Result<Made, CallError>, ActivityError> {
        for wait in [Duration::ZERO, self.timing.between_looks] {
            tokio::time::sleep(wait).await;
            match effect.find().await {
                Ok(Some(reply)) => return Ok(Ok(Made { reply, repeated: false })),
                Ok(None) => {}
                Err(error) => return Ok(Err(error)),
            }
        }
        // A process that was stopped for long while it looked may have been taken for dead.
        match self.begin_effect(scope, hold).await? {
            Begin::Fresh | Begin::Again => {}
            Begin::Busy(left) => return Err(busy(left)),
            Begin::Done(_) => return Err(busy(Duration::ZERO)),
        }
        Ok(effect.send().await.map(|reply| Made { reply, repeated: true }))
    }

    /// Looks for a twin of what was made by a repetition.
    async fn swept(&self, effect: &impl Unkeyed, lag: Duration, mut reply: StepReply) -> StepReply {
        tokio::time::sleep(self.timing.before_sweep + lag).await;
        match effect.count().await {
            Ok(0 | 1) => {}
            Ok(times) => reply
                .warnings
                .push(format!("effect duplicated: it stands {times} times, since a lost request came late")),
            Err(error) => reply.warnings.push(format!("nobody could look for a twin of it: {error}")),
        }
        reply
    }

    /// Writes down that a try failed; what it made is written down with its record.
    async fn close(
        &self,
        scope: &Scope,
        capability: &str,
        hold: &Hold,
        again: bool,
        outcome: Result<StepReply, CallError>,
    ) -> Result<StepReply, ActivityError> {
        let Hold { key, owner, .. } = hold;
        match outcome {
            Ok(reply) => Ok(reply),
            Err(error) => {
                // What surely did not happen needs no looking for; what may have, not before its request has ended.
                let ended = match (again, error.fate()) {
                    (_, Fate::Unknown) => Ok(()),
                    (false, _) => self.log.forget_effect(&scope.org, key, owner).await,
                    (true, _) => self.log.release_effect(&scope.org, key, owner).await,
                };
                ended.map_err(|error| failure::log(&error))?;
                tracing::warn!(
                    incident.id = %scope.stream,
                    step = %scope.step,
                    capability,
                    error = %error,
                    "an effect did not succeed"
                );
                Err(failure::call(&error))
            }
        }
    }

    /// Writes down what was made, ahead of its record.
    async fn complete(&self, scope: &Scope, hold: &Hold, reply: &StepReply) -> Result<(), ActivityError> {
        let result = serde_json::to_value(reply).unwrap_or_default();
        self.log.complete_effect(&scope.org, &hold.key, &result).await.map_err(|error| failure::log(&error))
    }

    /// A step that has nothing to do here, on record.
    pub(crate) async fn skipped(
        &self,
        scope: &Scope,
        capability: &str,
        reason: &str,
    ) -> Result<StepReply, ActivityError> {
        self.skipped_by(scope, capability, reason, None).await
    }

    /// Why a step that people outside would notice is left out: of a drill, or of an incident that few may know of.
    pub(crate) async fn kept_inside(
        &self,
        scope: &Scope,
        public: bool,
    ) -> Result<Option<&'static str>, ActivityError> {
        let state = self.state(scope).await?;
        Ok(match (state.drill, state.private && public) {
            (true, _) if public => Some("a drill never touches the public page"),
            (true, _) => Some("a drill pages nobody"),
            (false, true) => Some("a private incident is never on the public page"),
            (false, false) => None,
        })
    }

    fn skipped_payload(scope: &Scope, capability: &str, reason: &str, flag: Option<FlagUsed>) -> Payload {
        payload(Kind::StepSkipped(StepSkipped {
            blueprint: scope.blueprint.clone(),
            attempt: scope.attempt,
            step: scope.step.clone(),
            capability: capability.to_owned(),
            reason: Some(Text::plain(reason)),
            flag,
        }))
    }

    /// As [`Self::skipped`], with the flag that decided it.
    pub(crate) async fn skipped_by(
        &self,
        scope: &Scope,
        capability: &str,
        reason: &str,
        flag: Option<FlagUsed>,
    ) -> Result<StepReply, ActivityError> {
        let skipped = Self::skipped_payload(scope, capability, reason, flag);
        self.record(scope, &scope.key(), skipped).await?;
        Ok(nothing_to_do(reason))
    }

    /// Puts what came of a step on record; in the same transaction into the ledger, where its entry is open.
    async fn settled(
        &self,
        scope: &Scope,
        capability: &str,
        reply: &StepReply,
        open: Option<&Hold>,
    ) -> Result<(), ActivityError> {
        let payload = match &reply.skipped {
            Some(reason) => Self::skipped_payload(scope, capability, reason, None),
            None => Self::succeeded_payload(scope, capability, reply),
        };
        let Some(hold) = open else { return self.record(scope, &scope.key(), payload).await.map(drop) };
        let result = serde_json::to_value(reply).unwrap_or_default();
        let effect = EffectResult { key: &hold.key, result: &result };
        let command = Command::Record { payload };
        match self.append_with(scope, &scope.key(), &command, None, Some(effect)).await {
            Ok(appended) if !appended.repeated => Ok(()),
            // The ledger was left as it is.
            Ok(_) => self.complete(scope, hold, reply).await,
            Err(error) => {
                // What was made is not forgotten because its record cannot be written.
                if let Err(error) = self.complete(scope, hold, reply).await {
                    tracing::debug!(
                        ?error,
                        effect.key = hold.key,
                        "what came of an effect was not written down"
                    );
                }
                Err(failure::log(&error))
            }
        }
    }

    fn succeeded_payload(scope: &Scope, capability: &str, reply: &StepReply) -> Payload {
        let links = links(&reply.links, &reply.url);
        payload(Kind::StepSucceeded(StepSucceeded {
            blueprint: scope.blueprint.clone(),
            attempt: scope.attempt,
            step: scope.step.clone(),
            capability: capability.to_owned(),
            external_ref: reply.external_ref.clone(),
            links,
            detail: None,
            warnings: reply.warnings.iter().map(Text::plain).collect(),
        }))
    }

    /// Appends a fact under a key.
    pub(crate) async fn record(
        &self,
        scope: &Scope,
        key: &str,
        payload: Payload,
    ) -> Result<Appended, ActivityError> {
        self.append(scope, key, &Command::Record { payload }, None)
            .await
            .map_err(|error| failure::log(&error))
    }

    /// Appends a command as a workflow's step.
    pub(crate) async fn append(
        &self,
        scope: &Scope,
        key: &str,
        command: &Command,
        run_id: Option<&str>,
    ) -> Result<Appended, LogError> {
        self.append_with(scope, key, command, run_id, None).await
    }

    async fn append_with(
        &self,
        scope: &Scope,
        key: &str,
        command: &Command,
        run_id: Option<&str>,
        effect: Option<EffectResult<'_>>,
    ) -> Result<Appended, LogError> {
        let context = scope.context();
        let rules = self.rules.current();
        let judged = |head: Head<'_>| judge(head, command, &context, rules.rules());
        let follow = |_: &StreamId| {
            let mut items = checkpoint::following(scope, command);
            items.extend(self.clock_of(scope, command));
            items
        };
        let append = Append {
            org: &scope.org,
            target: Target::Named(scope.stream.clone()),
            key,
            command,
            context: &context,
            expected_seq: None,
            run_id,
            judge: &judged,
            follow: &follow,
        };
        let appended = match effect {
            Some(effect) => self.log.append_result(append, effect).await,
            None => self.log.append(append).await,
        };
        harmony_telemetry::metrics::appended(outcome(&appended));
        let appended = appended?;
        if !appended.repeated {
            self.tell(scope, command, &appended).await;
        }
        Ok(appended)
    }

    /// Appends a command of the catalog as a step of a release's run.
    pub(crate) async fn append_to_catalog(
        &self,
        scope: &Scope,
        key: &str,
        command: &catalog::Command,
        run_id: Option<&str>,
    ) -> Result<CatalogAppended, LogError> {
        let context = scope.context();
        let judge = |state: &StreamState, facts: &Facts| match state {
            StreamState::Service(state) => judge_service(state, command, &context, facts),
            StreamState::Environment(_) | StreamState::Incident(_) => {
                Err(Refusal::Invalid { explanation: format!("{} is no service's stream", scope.stream) })
            }
        };
        self.log
            .append_catalog(CatalogAppend {
                org: &scope.org,
                stream: &scope.stream,
                key,
                command,
                context: &context,
                expected_seq: None,
                run_id,
                judge: &judge,
                follow: Vec::new(),
            })
            .await
    }
}

impl Hold {
    pub(crate) fn new(ctx: &ActivityContext, key: Uuid, lease: Duration) -> Self {
        let info = ctx.info();
        let run = info.workflow_run_id.as_deref().unwrap_or_default();
        let owner = format!("{run}/{}/{}", info.activity_id, info.attempt);
        Self { key: key.to_string(), owner, lease }
    }
}

pub(crate) fn busy(left: Duration) -> ActivityError {
    failure::again("EffectBusy", "another worker is at this effect", Some(left))
}

/// Heartbeats while it runs, so that a killed worker is noticed soon.
pub(crate) async fn with_heartbeat<T>(ctx: &ActivityContext, effect: impl Future<Output = T>) -> T {
    let mut effect = pin!(effect);
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    loop {
        tokio::select! {
            outcome = &mut effect => return outcome,
            _ = tick.tick() => {
                if let Err(error) = ctx.record_heartbeat(()).await {
                    tracing::debug!(error = %error, "a heartbeat was not sent");
                }
            }
        }
    }
}

fn links(named: &BTreeMap<String, String>, url: &str) -> Vec<Link> {
    named
        .iter()
        .map(|(name, value)| Link { name: name.clone(), value: value.clone(), url: url.to_owned() })
        .collect()
}

/// A reply of a step that found nothing to do.
pub(crate) fn nothing_to_do(reason: &str) -> StepReply {
    StepReply { skipped: Some(reason.to_owned()), ..StepReply::default() }
}

/// A reply with one id.
pub(crate) fn made(id: &str, links: &[(LinkName, &str)], url: &str) -> StepReply {
    StepReply {
        external_ref: id.to_owned(),
        links: links.iter().map(|(name, value)| (String::from(*name), (*value).to_owned())).collect(),
        url: url.to_owned(),
        ..StepReply::default()
    }
}

//! Effects happen once: the ledger before, the record after, and one way through for all of them.
//!
//! | killed | what the retry finds |
//! |---|---|
//! | before the intent | nothing: it acts |
//! | after the intent, or after the call | an intent: it looks for the effect with this key, adopts it or acts |
//! | after the result | the result: it records |
//! | after the record | the record: it answers |

use std::{collections::BTreeMap, pin::pin, time::Duration};

use harmony_blueprints::contracts::{Scope, StepReply};
use harmony_capabilities::error::{Attempt, CallError, Fate};
use harmony_eventlog::{Append, Appended, Begin, LogError, Target};
use harmony_incidents::{
    Command,
    judge::{judge, payload},
    log::{FlagUsed, Link, Payload, StepSkipped, StepSucceeded, Text, payload::Kind},
};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use uuid::Uuid;

use crate::{failure, services::Services};

/// How long a request that nobody heard the end of may still be under way: the connectors' own time-out (20 s) and 5 s.
const UNDER_WAY: Duration = Duration::from_secs(25);
/// How often a running effect is heard of.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// What keeps a repetition from being a second effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyedBy {
    /// The vendor itself: it refuses or finds a second one, even while the first is under way.
    Vendor,
    /// Only our looking first: not before the lost request must have ended.
    Us,
}

impl Services {
    /// Carries an effect out once and records it, unless its capability is switched off. `act` is told whether it may
    /// be a repetition; a reply of its that is skipped had nothing to do.
    pub(crate) async fn perform(
        &self,
        ctx: &ActivityContext,
        scope: &Scope,
        capability: &str,
        key: Uuid,
        keyed_by: KeyedBy,
        act: impl AsyncFnOnce(Attempt) -> Result<StepReply, CallError>,
    ) -> Result<StepReply, ActivityError> {
        let key = key.to_string();
        let info = ctx.info();
        // One owner an attempt: the next must not take this one's request for ended.
        let owner = format!(
            "{}/{}/{}",
            info.workflow_run_id.as_deref().unwrap_or_default(),
            info.activity_id,
            info.attempt
        );
        let lease = match keyed_by {
            KeyedBy::Vendor => Duration::ZERO,
            KeyedBy::Us => UNDER_WAY,
        };
        let begun = self
            .log
            .begin_effect(&scope.org, &scope.incident, &key, &scope.step, &owner, lease)
            .await
            .map_err(|error| failure::log(&error))?;
        let attempt = match begun {
            Begin::Done(result) => {
                let reply: StepReply = serde_json::from_value(result).map_err(|error| {
                    failure::last("Ledger", format!("effect {key} is unreadable: {error}"))
                })?;
                self.settled(scope, capability, &reply).await?;
                return Ok(reply);
            }
            Begin::Busy(left) => {
                return Err(failure::again("EffectBusy", "another worker is at this effect", Some(left)));
            }
            Begin::Fresh => Attempt::First,
            Begin::Again => Attempt::Again,
        };
        // What may have begun is brought to its end; only what surely did not can be left out.
        if matches!(attempt, Attempt::First)
            && let Some(skipped) = self.switched_off(scope, capability).await?
        {
            self.log.forget_effect(&scope.org, &key, &owner).await.map_err(|error| failure::log(&error))?;
            return Ok(skipped);
        }
        let fresh = matches!(attempt, Attempt::First);
        match heard_of(ctx, act(attempt)).await {
            Ok(reply) => {
                let result = serde_json::to_value(&reply).unwrap_or_default();
                self.log
                    .complete_effect(&scope.org, &key, &result)
                    .await
                    .map_err(|error| failure::log(&error))?;
                self.settled(scope, capability, &reply).await?;
                Ok(reply)
            }
            Err(error) => {
                // What surely did not happen needs no looking for; what may have, not before its request has ended.
                let ended = match (fresh, error.fate()) {
                    (_, Fate::Unknown) => Ok(()),
                    (true, _) => self.log.forget_effect(&scope.org, &key, &owner).await,
                    (false, _) => self.log.release_effect(&scope.org, &key, &owner).await,
                };
                ended.map_err(|error| failure::log(&error))?;
                tracing::warn!(
                    incident.id = %scope.incident,
                    step = %scope.step,
                    attempt = ctx.info().attempt,
                    error = %error,
                    "an effect did not succeed"
                );
                Err(failure::call(&error))
            }
        }
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

    /// As [`Self::skipped`], with the flag that decided it.
    pub(crate) async fn skipped_by(
        &self,
        scope: &Scope,
        capability: &str,
        reason: &str,
        flag: Option<FlagUsed>,
    ) -> Result<StepReply, ActivityError> {
        let skipped = Kind::StepSkipped(StepSkipped {
            blueprint: scope.blueprint.clone(),
            attempt: scope.attempt,
            step: scope.step.clone(),
            capability: capability.to_owned(),
            reason: Some(Text::plain(reason)),
            flag,
        });
        self.record(scope, &scope.key(), payload(skipped)).await?;
        Ok(nothing_to_do(reason))
    }

    /// Puts what came of a step on record.
    async fn settled(&self, scope: &Scope, capability: &str, reply: &StepReply) -> Result<(), ActivityError> {
        if let Some(reason) = &reply.skipped {
            return self.skipped(scope, capability, reason).await.map(drop);
        }
        let links = links(&reply.links, &reply.url);
        let succeeded = Kind::StepSucceeded(StepSucceeded {
            blueprint: scope.blueprint.clone(),
            attempt: scope.attempt,
            step: scope.step.clone(),
            capability: capability.to_owned(),
            external_ref: reply.external_ref.clone(),
            links,
            detail: None,
            warnings: reply.warnings.iter().map(Text::plain).collect(),
        });
        self.record(scope, &scope.key(), payload(succeeded)).await.map(drop)
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
        let context = scope.context();
        let rules = self.rules.current();
        self.log
            .append(Append {
                org: &scope.org,
                target: Target::Named(scope.incident.clone()),
                key,
                command,
                context: &context,
                expected_seq: None,
                run_id,
                judge: &|head| judge(head, command, &context, rules.rules()),
                follow: &|_| Vec::new(),
            })
            .await
    }
}

/// Heartbeats while it runs, so that a killed worker is noticed soon.
async fn heard_of<T>(ctx: &ActivityContext, effect: impl Future<Output = T>) -> T {
    let mut effect = pin!(effect);
    let mut tick = tokio::time::interval(HEARTBEAT);
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
pub(crate) fn made(id: &str, links: &[(&str, &str)], url: &str) -> StepReply {
    StepReply {
        external_ref: id.to_owned(),
        links: links.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        url: url.to_owned(),
        ..StepReply::default()
    }
}

//! Flags: whether a capability is switched on, asked before each of its steps.
//!
//! Which service holds the flags is whoever wires the worker's business; here it is a name, a default and a value. A
//! step that is left out is SKIPPED on record, with the value and where it came from, and stays left out when it is
//! tried again: the first try's value is the step's. A step whose effect may have begun goes on whatever the flag says
//! by then.

use async_trait::async_trait;
use harmony_blueprints::contracts::{Scope, StepReply};
use harmony_incidents::log::{FlagUsed, Text, payload::Kind};
use temporalio_sdk::activities::ActivityError;

use crate::{effects::nothing_to_do, failure, services::Services};

/// A flag's value, and where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagValue {
    /// On or off.
    pub on: bool,
    /// Where it came from.
    pub from: FlagSource,
}

/// Where a flag's value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagSource {
    /// The flag service, now.
    Service,
    /// The flag service, before it went away.
    LastKnown,
    /// Nobody said otherwise.
    Default,
}

impl FlagSource {
    /// The words on record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "flag service",
            Self::LastKnown => "last known",
            Self::Default => "default",
        }
    }
}

/// Knows the flags. Never fails: a service that is away leaves the last known value, then the default, in force.
#[async_trait]
pub trait Flags: Send + Sync {
    /// The value of a flag at this moment. Answers within a second.
    async fn value(&self, name: &str, default: bool) -> FlagValue;
}

/// Every flag has its default.
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultFlags;

#[async_trait]
impl Flags for DefaultFlags {
    async fn value(&self, _name: &str, default: bool) -> FlagValue {
        FlagValue { on: default, from: FlagSource::Default }
    }
}

/// The flag that switches a capability on and off.
pub fn capability_flag(capability: &str) -> String {
    format!("cap-{capability}-enabled")
}

impl Services {
    /// Whether the step is left out because its capability is switched off; on record where it is.
    pub(crate) async fn switched_off(
        &self,
        scope: &Scope,
        capability: &str,
    ) -> Result<Option<StepReply>, ActivityError> {
        if let Some(answer) = self.left_out_before(scope).await? {
            return Ok(answer);
        }
        let name = capability_flag(capability);
        let value = self.flags.value(&name, true).await;
        if value.on {
            return Ok(None);
        }
        let reason = format!("{capability} is switched off: flag {name} is false ({})", value.from.name());
        let flag = FlagUsed { name, value: false, source: value.from.name().to_owned() };
        self.skipped_by(scope, capability, &reason, Some(flag)).await.map(Some)
    }

    /// What is on record of this step: `Some(None)` where it was carried out, `None` where nothing is.
    async fn left_out_before(&self, scope: &Scope) -> Result<Option<Option<StepReply>>, ActivityError> {
        let known = self.log.answer(&scope.org, &scope.key()).await.map_err(|error| failure::log(&error))?;
        if known.is_none() {
            return Ok(None);
        }
        let entries = self.all_records(scope).await?;
        let reason = entries.iter().find_map(|entry| match entry.record.payload.as_ref()?.kind.as_ref()? {
            Kind::StepSkipped(p)
                if (p.attempt, &p.blueprint, &p.step) == (scope.attempt, &scope.blueprint, &scope.step) =>
            {
                Some(p.reason.as_ref().map(Text::shown).unwrap_or_default().to_owned())
            }
            _ => None,
        });
        Ok(Some(reason.as_deref().map(nothing_to_do)))
    }
}

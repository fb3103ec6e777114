//! The judge of the catalog: what a command makes of a service or an environment, or why not. The one place where the
//! invariants of the catalog hold, whoever asks. Pure; called inside the store's transaction.
//!
//! Two kinds of callers tell of a release's status. Our own runs are judged strictly: Draft → Promoting → Active or
//! Failed, one at a time for a service and an environment. An outside door tells of what has happened already, late,
//! twice or in any order: what lies behind changes nothing, what is ahead passes through the stages between, and a
//! release that is told to be promoting while another one is waits as a draft until that one is settled.
//!
//! What other streams say comes in with the command ([`Facts`]).

mod release;
mod run;
mod written;

use std::collections::{BTreeMap, BTreeSet};

use harmony_incidents::{
    EnvironmentId, Judged, ServiceId,
    judge::{bounded, invalid, redaction},
    log::{
        Authority, ChangeLinked, EnvironmentState, Pair, RunStarted, ServiceState, Text, WriteRefused,
        payload::Kind,
    },
    words::authority_name,
};

pub use release::not_settled;
pub use run::flow_of;

use release::{Change, change_release, create, link_change, not_after};
use run::{finish_run, judge_policies, log_run, start_run};
use written::{retire_environment, retire_service, write_environment, write_service};

use crate::{
    adapters::{Adapter, UnknownAdapter},
    command::{Answer, Command, Context, Refusal},
};

/// Longest name of a service, an environment, an owner, a version, a label or a policy.
pub const NAME_LIMIT_CHARS: usize = 200;
/// Longest address, and longest value of a setting.
pub const ADDRESS_LIMIT_CHARS: usize = 2_000;
/// Most environments, dependencies or targets of a service, and most policies of an environment.
pub const LIST_LIMIT: usize = 100;
/// Most labels, settings of a target, and values beside a log line.
pub const PAIR_LIMIT: usize = 50;
/// Longest line of a run's log, as long as the tail that the runner keeps of a cell's output.
pub const LINE_LIMIT_BYTES: usize = 16 * 1024;
/// Most lines of a run's log; what comes after is not recorded.
pub const LINES_LIMIT: u32 = 1_000;

/// What a command needs to know of other streams, read in the transaction that records it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Every environment of the organisation, or at least those that the command names.
    pub environments: BTreeMap<EnvironmentId, EnvironmentFact>,
    /// The service in whose stream the command's release ([`Command::release`]) stands already.
    pub taken: Option<ServiceId>,
}

/// An environment, as far as services need to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvironmentFact {
    /// Its name now.
    pub name: String,
    /// Whether it serves customers.
    pub production: bool,
    /// Whether nothing new happens in it.
    pub retired: bool,
    /// Where it is.
    pub region: String,
    /// Which cluster it is.
    pub cluster: String,
}

impl From<&EnvironmentState> for EnvironmentFact {
    fn from(state: &EnvironmentState) -> Self {
        Self {
            name: state.name.clone(),
            production: state.production,
            retired: state.retired,
            region: state.region.clone(),
            cluster: state.cluster.clone(),
        }
    }
}

/// Judges a command on a service's stream.
pub fn judge_service(
    state: &ServiceState,
    command: &Command,
    context: &Context,
    facts: &Facts,
) -> Result<Judged, Refusal> {
    let makes = matches!(command, Command::WriteService { .. });
    if state.seq == 0 && !makes {
        return Err(invalid("this service does not exist; write it first"));
    }
    may_write(command, context)?;
    let judged = match command {
        Command::WriteService { service } => write_service(state, service, facts)?,
        Command::RetireService { reason } => retire_service(state, reason)?,
        Command::CreateRelease { release } => create(state, release, context, facts)?,
        Command::ChangeRelease { release, to, reason, at, run_id } => {
            let at = not_after(*at, context);
            let change = Change { to: *to, reason, at, run: run_id.as_ref(), url: None };
            change_release(state, release, &change, facts)?
        }
        Command::StartRun { run_id, kind, release, env, workflow_id, adapter, dry_run, attempt } => {
            let started = RunStarted {
                run_id: run_id.to_string(),
                kind: (*kind).into(),
                release_id: release.to_string(),
                environment_id: env.to_string(),
                workflow_id: workflow_id.clone(),
                adapter: adapter.clone(),
                dry_run: *dry_run,
                attempt: *attempt,
            };
            start_run(state, started, env, facts)?
        }
        Command::LogRun { run_id, entry } => log_run(state, run_id, entry)?,
        Command::JudgePolicies { run_id, outcome, verdicts, excepted } => {
            judge_policies(state, run_id, *outcome, verdicts, *excepted)?
        }
        Command::FinishRun { run_id, outcome, reason } => finish_run(state, run_id, *outcome, reason)?,
        Command::LinkChange { release, incident, relation, reason } => {
            let linked = ChangeLinked {
                release_id: release.to_string(),
                incident: incident.to_string(),
                relation: (*relation).into(),
                reason: Text::optional(reason),
                ..ChangeLinked::default()
            };
            link_change(state, linked, context)?
        }
        Command::Redact { seq, field, reason } => {
            redaction("service", state.seq, *seq, field.as_deref(), reason)?
        }
        Command::RefuseWrite { right } => write_refused(right),
        Command::WriteEnvironment { .. } | Command::RetireEnvironment { .. } => {
            return Err(invalid("this is a command for an environment, and this is a service"));
        }
    };
    bounded(judged)
}

/// Judges a command on an environment's stream.
pub fn judge_environment(
    state: &EnvironmentState,
    command: &Command,
    context: &Context,
) -> Result<Judged, Refusal> {
    if state.seq == 0 && !matches!(command, Command::WriteEnvironment { .. }) {
        return Err(invalid("this environment does not exist; write it first"));
    }
    may_write(command, context)?;
    let judged = match command {
        Command::WriteEnvironment { environment, adapter } => {
            write_environment(state, environment, adapter.as_deref())?
        }
        Command::RetireEnvironment { reason } => retire_environment(state, reason),
        Command::RefuseWrite { right } => write_refused(right),
        Command::Redact { seq, field, reason } => {
            redaction("environment", state.seq, *seq, field.as_deref(), reason)?
        }
        Command::WriteService { .. }
        | Command::RetireService { .. }
        | Command::CreateRelease { .. }
        | Command::ChangeRelease { .. }
        | Command::StartRun { .. }
        | Command::LogRun { .. }
        | Command::JudgePolicies { .. }
        | Command::FinishRun { .. }
        | Command::LinkChange { .. } => {
            return Err(invalid("this is a command for a service, and this is an environment"));
        }
    };
    bounded(judged)
}

/// Whoever was refused has no authority; that it happened is on record all the same.
fn may_write(command: &Command, context: &Context) -> Result<(), Refusal> {
    if matches!(command, Command::RefuseWrite { .. }) {
        return Ok(());
    }
    least(context, Authority::AutoEngine, "writing to the catalog")
}

fn write_refused(right: &str) -> Judged {
    recorded(Kind::WriteRefused(WriteRefused { right: right.to_owned() }))
}

fn recorded(kind: Kind) -> Judged {
    Judged::new(Answer::Recorded, vec![kind])
}

fn illegal(explanation: impl Into<String>) -> Refusal {
    Refusal::Illegal { explanation: explanation.into() }
}

fn least(context: &Context, least: Authority, doing: &str) -> Result<(), Refusal> {
    if context.authority >= least {
        return Ok(());
    }
    let (needs, held) = (authority_name(least), authority_name(context.authority));
    Err(Refusal::Authority {
        explanation: format!("{doing} needs at least {needs}; {} has {held}", context.actor),
    })
}

/// One line, with an end.
fn line(what: &str, text: &str, limit: usize) -> Result<(), Refusal> {
    if text.chars().count() > limit {
        return Err(invalid(&format!("{what} has at most {limit} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid(&format!("{what} is one line without control characters")));
    }
    Ok(())
}

fn required(what: &str, text: &str, limit: usize) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        return Err(invalid(&format!("{what} is missing")));
    }
    line(what, text, limit)
}

fn few<T>(what: &str, list: &[T], limit: usize) -> Result<(), Refusal> {
    if list.len() > limit {
        return Err(invalid(&format!("at most {limit} {what}")));
    }
    Ok(())
}

fn once<'a>(what: &str, names: impl IntoIterator<Item = &'a str>) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    match names.into_iter().find(|name| !seen.insert(*name)) {
        Some(twice) => Err(invalid(&format!("{what} {twice} is named twice"))),
        None => Ok(()),
    }
}

fn pairs(what: &str, pairs: &[Pair]) -> Result<(), Refusal> {
    few(what, pairs, PAIR_LIMIT)?;
    pairs.iter().try_for_each(|pair| {
        required("a name", &pair.name, NAME_LIMIT_CHARS)?;
        line(&pair.name, &pair.value, ADDRESS_LIMIT_CHARS)
    })
}

fn adapter(name: &str) -> Result<Adapter, Refusal> {
    name.parse().map_err(|error: UnknownAdapter| invalid(&error.to_string()))
}

/// The environment, which must exist.
fn known<'a>(facts: &'a Facts, id: &EnvironmentId) -> Result<&'a EnvironmentFact, Refusal> {
    facts.environments.get(id).ok_or_else(|| {
        let names: Vec<&str> = facts.environments.keys().take(10).map(EnvironmentId::as_str).collect();
        let there_are = if names.is_empty() {
            "there are none".to_owned()
        } else {
            format!("there are {}", names.join(", "))
        };
        invalid(&format!("environment {id} does not exist ({there_are}); write it first"))
    })
}

/// The environment, which must exist and take something new.
fn open_environment<'a>(facts: &'a Facts, id: &EnvironmentId) -> Result<&'a EnvironmentFact, Refusal> {
    let environment = known(facts, id)?;
    if environment.retired {
        return Err(illegal(format!("environment {id} is retired: nothing new happens in it")));
    }
    Ok(environment)
}

fn not_retired(state: &ServiceState) -> Result<(), Refusal> {
    if state.retired {
        return Err(illegal(format!("service {} is retired: nothing new happens to it", state.id)));
    }
    Ok(())
}

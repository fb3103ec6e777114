//! The judge of the catalog: what a command makes of a service or an environment, or why not. The one place where the
//! invariants of the catalog hold, whoever asks. Pure; called inside the store's transaction.
//!
//! Two kinds of callers tell of a release's status. Our own runs are judged strictly: Draft → Promoting → Active or
//! Failed, one at a time for a service and an environment. An outside door tells of what has happened already, late,
//! twice or in any order: what lies behind changes nothing, what is ahead passes through the stages between, and a
//! release that is told to be promoting while another one is waits as a draft until that one is settled.
//!
//! What other streams say comes in with the command ([`Facts`]).

use std::collections::{BTreeMap, BTreeSet};

use harmony_incidents::{
    self as incidents, EnvironmentId, Head, Judged, ReleaseId, Rules, RunId, ServiceId,
    judge::{bounded, invalid, redaction},
    log::{
        Authority, ChangeLinked, EnvironmentRetired, EnvironmentState, EnvironmentWritten, IncidentState,
        Pair, PolicyVerdict, Relation, ReleaseCreated, ReleaseState, ReleaseStatus, ReleaseStatusChanged,
        RunFinished, RunPoliciesJudged, RunStarted, RunState, ServiceRetired, ServiceState, ServiceWritten,
        Text, payload::Kind,
    },
    words::{authority_name, release_status},
};
use jiff::Timestamp;

use crate::{
    adapters::Adapter,
    command::{Answer, Command, Context, NewRelease, Refusal},
    entity::{Environment, LogEntry, Service},
    fold::{flow_before, is_settled},
    words::{PolicyOutcome, RunOutcome, Source},
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
    rules: Rules<'_>,
    facts: &Facts,
) -> Result<Judged, Refusal> {
    let makes = matches!(command, Command::WriteService { .. });
    if state.seq == 0 && !makes {
        return Err(invalid("this service does not exist; write it first"));
    }
    // Who may decide at a gate, its own rules say.
    if !matches!(command, Command::Flow { .. }) {
        least(context, Authority::AutoEngine, "writing to the catalog")?;
    }
    let judged = match command {
        Command::WriteService { service } => write_service(state, service, facts)?,
        Command::RetireService { reason } => retire_service(state, reason)?,
        Command::CreateRelease { release } => create(state, release, facts)?,
        Command::ChangeRelease { release, to, reason, at, run_id } => {
            let change = Change { to: *to, reason, at: *at, run: run_id.as_ref() };
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
        Command::Flow { command } => flow(state, command, context, rules)?,
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
    least(context, Authority::AutoEngine, "writing to the catalog")?;
    let judged = match command {
        Command::WriteEnvironment { environment, adapter } => {
            write_environment(state, environment, adapter.as_deref())?
        }
        Command::RetireEnvironment { reason } => {
            if state.retired {
                return Ok(Judged::unchanged());
            }
            recorded(Kind::EnvironmentRetired(EnvironmentRetired { reason: Text::optional(reason) }))
        }
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
        | Command::LinkChange { .. }
        | Command::Flow { .. } => {
            return Err(invalid("this is a command for a service, and this is an environment"));
        }
    };
    bounded(judged)
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
    name.parse().map_err(|error: crate::adapters::UnknownAdapter| invalid(&error.to_string()))
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

fn write_service(state: &ServiceState, service: &Service, facts: &Facts) -> Result<Judged, Refusal> {
    if !state.id.is_empty() && state.id != service.id.as_str() {
        return Err(invalid(&format!("this is service {}, and its id never changes", state.id)));
    }
    not_retired(state)?;
    if service.retired {
        return Err(invalid("a service is retired by its own command, not by writing it"));
    }
    required("the service's name", &service.name, NAME_LIMIT_CHARS)?;
    line("the repository", &service.repo, ADDRESS_LIMIT_CHARS)?;
    line("the owner", &service.owner, NAME_LIMIT_CHARS)?;
    for name in &service.adapters.deployments {
        adapter(name)?;
    }
    once("adapter", service.adapters.deployments.iter().map(String::as_str))?;
    few("environments", &service.environments, LIST_LIMIT)?;
    once("environment", service.environments.iter().map(|one| one.id.as_str()))?;
    few("dependencies", &service.depends_on, LIST_LIMIT)?;
    once("dependency", service.depends_on.iter().map(ServiceId::as_str))?;
    if service.depends_on.contains(&service.id) {
        return Err(invalid(&format!("{} cannot depend on itself", service.id)));
    }
    few("targets", &service.targets, LIST_LIMIT)?;
    once("the target for", service.targets.iter().map(|one| one.env_id.as_str()))?;
    for target in &service.targets {
        adapter(&target.adapter)?;
        if !service.adapters.deployments.contains(&target.adapter) {
            return Err(invalid(&format!(
                "the target for {} uses {}, which adapters.deployments does not name",
                target.env_id, target.adapter
            )));
        }
        if !service.environments.iter().any(|one| one.id == target.env_id) {
            return Err(invalid(&format!(
                "there is a target for {}, which environments does not name",
                target.env_id
            )));
        }
    }
    let mut written = service.written();
    for target in &written.targets {
        pairs("settings of a target", &target.settings)?;
    }
    pairs("labels", &written.labels)?;
    // The name beside the id is the environment's own.
    for (one, reference) in written.environments.iter_mut().zip(&service.environments) {
        let held = state.environments.iter().any(|held| held.id == one.id);
        let environment =
            if held { known(facts, &reference.id)? } else { open_environment(facts, &reference.id)? };
        one.name.clone_from(&environment.name);
    }
    if state.seq > 0 && written == as_written(state) {
        return Ok(Judged::unchanged());
    }
    Ok(recorded(Kind::ServiceWritten(written)))
}

fn as_written(state: &ServiceState) -> ServiceWritten {
    ServiceWritten {
        name: state.name.clone(),
        repo: state.repo.clone(),
        deployments: state.deployments.clone(),
        environments: state.environments.clone(),
        depends_on: state.depends_on.clone(),
        owner: state.owner.clone(),
        targets: state.targets.clone(),
        labels: state.labels.clone(),
    }
}

fn retire_service(state: &ServiceState, reason: &str) -> Result<Judged, Refusal> {
    if state.retired {
        return Ok(Judged::unchanged());
    }
    if let Some(run) = state.runs.iter().find(|run| run.finished_at_us == 0) {
        return Err(illegal(format!("run {} of {} goes on: stop it first", run.run_id, run.release_id)));
    }
    Ok(recorded(Kind::ServiceRetired(ServiceRetired { reason: Text::optional(reason) })))
}

fn write_environment(
    state: &EnvironmentState,
    environment: &Environment,
    defaults: Option<&str>,
) -> Result<Judged, Refusal> {
    if !state.id.is_empty() && state.id != environment.id.as_str() {
        return Err(invalid(&format!("this is environment {}, and its id never changes", state.id)));
    }
    if state.retired {
        return Err(illegal(format!("environment {} is retired: nothing new happens in it", state.id)));
    }
    if environment.retired {
        return Err(invalid("an environment is retired by its own command, not by writing it"));
    }
    required("the environment's name", &environment.name, NAME_LIMIT_CHARS)?;
    few("policies", &environment.policy_refs, LIST_LIMIT)?;
    once("policy", environment.policy_refs.iter().map(String::as_str))?;
    for reference in &environment.policy_refs {
        required("a policy's name", reference, NAME_LIMIT_CHARS)?;
    }
    let mut written = environment.written();
    pairs("labels", &written.labels)?;
    let adapter = adapter(defaults.unwrap_or(Adapter::External.name()))?;
    // A default that stands already stays, unless somebody names an adapter.
    let standing = |defaulted: bool, held: &str, native: &str| {
        if defaulted && defaults.is_none() { held.to_owned() } else { native.to_owned() }
    };
    let native = adapter.default_region();
    (written.region, written.region_defaulted) = given(&environment.region, environment.region_defaulted)
        .unwrap_or_else(|| (standing(state.region_defaulted, &state.region, native), true));
    let native = adapter.default_cluster();
    (written.cluster, written.cluster_defaulted) = given(&environment.cluster, environment.cluster_defaulted)
        .unwrap_or_else(|| (standing(state.cluster_defaulted, &state.cluster, native), true));
    let missing: Vec<&str> = [("region", written.region_defaulted), ("cluster", written.cluster_defaulted)]
        .into_iter()
        .filter_map(|(field, defaulted)| defaulted.then_some(field))
        .collect();
    if written.production && !missing.is_empty() {
        return Err(invalid(&format!(
            "environment {} is production: say its {} (or production = false)",
            environment.id,
            missing.join(" and ")
        )));
    }
    line("the region", &written.region, NAME_LIMIT_CHARS)?;
    line("the cluster", &written.cluster, NAME_LIMIT_CHARS)?;
    let as_written = EnvironmentWritten {
        name: state.name.clone(),
        region: state.region.clone(),
        cluster: state.cluster.clone(),
        policy_refs: state.policy_refs.clone(),
        production: state.production,
        region_defaulted: state.region_defaulted,
        cluster_defaulted: state.cluster_defaulted,
        labels: state.labels.clone(),
    };
    if state.seq > 0 && written == as_written {
        return Ok(Judged::unchanged());
    }
    Ok(recorded(Kind::EnvironmentWritten(written)))
}

/// What somebody gave: a document that was read and is sent again repeats a default, marked as one.
fn given(text: &str, defaulted: bool) -> Option<(String, bool)> {
    (!defaulted && !text.trim().is_empty()).then(|| (text.to_owned(), false))
}

/// The release, of those in the state.
fn find<'a>(state: &'a ServiceState, id: &str) -> Option<&'a ReleaseState> {
    state.releases.iter().find(|one| one.release_id == id)
}

/// The release that is being promoted in an environment.
fn promoting<'a>(state: &'a ServiceState, environment: &str) -> Option<&'a ReleaseState> {
    let here = |one: &&ReleaseState| one.environment_id == environment;
    state.releases.iter().filter(here).find(|one| one.status() == ReleaseStatus::Promoting)
}

/// A fingerprint is one word.
fn check_sha(sha: &str) -> Result<(), Refusal> {
    required("the sha", sha, NAME_LIMIT_CHARS)?;
    if sha.chars().any(char::is_whitespace) {
        return Err(invalid("the sha is one word: a commit, or an image's digest"));
    }
    Ok(())
}

fn check_url(url: &str) -> Result<(), Refusal> {
    line("the url", url, ADDRESS_LIMIT_CHARS)?;
    if !url.is_empty() && !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(invalid("the url begins with https:// or http://"));
    }
    Ok(())
}

fn create(state: &ServiceState, release: &NewRelease, facts: &Facts) -> Result<Judged, Refusal> {
    if release.status == ReleaseStatus::Unspecified {
        return Err(invalid("a release is Draft, Promoting, Active or Failed"));
    }
    check_sha(&release.sha)?;
    line("the version", &release.version, NAME_LIMIT_CHARS)?;
    check_url(&release.url)?;
    if let Some(known) = find(state, release.id.as_str()) {
        return told_again(state, known, release, facts);
    }
    match &facts.taken {
        Some(owner) if owner.as_str() != state.id => {
            return Err(illegal(format!("release {} is one of service {owner}", release.id)));
        }
        // So long ago that the state does not hold it any more.
        Some(_) if release.source != Source::Api => return Ok(Judged::unchanged()),
        Some(_) => return Err(illegal(format!("release {} exists and was settled long ago", release.id))),
        None => {}
    }
    not_retired(state)?;
    open_environment(facts, &release.env)?;
    check_origin(state, release)?;
    let mut status = release.status;
    let mut kinds = Vec::new();
    if status == ReleaseStatus::Promoting
        && let Some(other) = promoting(state, release.env.as_str())
    {
        if release.source == Source::Api {
            return Err(one_at_a_time(other));
        }
        status = ReleaseStatus::Draft;
        kinds.push(waits(release.id.as_str(), other, release.at));
    }
    let created = ReleaseCreated {
        release_id: release.id.to_string(),
        environment_id: release.env.to_string(),
        sha: release.sha.clone(),
        version: release.version.clone(),
        status: status.into(),
        promoted_from: release.promoted_from.as_ref().map(ToString::to_string).unwrap_or_default(),
        rolls_back: release.rolls_back.as_ref().map(ToString::to_string).unwrap_or_default(),
        source: release.source.into(),
        url: release.url.clone(),
        incident: release.incident.as_ref().map(ToString::to_string).unwrap_or_default(),
        at_us: microseconds(release.at),
    };
    kinds.insert(0, Kind::ReleaseCreated(created));
    Ok(Judged::new(Answer::Recorded, kinds))
}

/// Where its artifact comes from, and what it takes the place of.
fn check_origin(state: &ServiceState, release: &NewRelease) -> Result<(), Refusal> {
    let of_ours = |id: &ReleaseId| {
        find(state, id.as_str()).ok_or_else(|| {
            invalid(&format!("release {id} is not one of {}'s, or none of its last", state.id))
        })
    };
    if let Some(id) = &release.promoted_from {
        let origin = of_ours(id)?;
        if origin.sha != release.sha {
            return Err(invalid(&format!("{id} is {}, and what is promoted keeps its sha", origin.sha)));
        }
        if origin.environment_id == release.env.as_str() {
            return Err(invalid(&format!("{id} is in {} already", release.env)));
        }
        if origin.status() != ReleaseStatus::Active {
            let is = release_status(origin.status());
            return Err(illegal(format!("{id} is {is}; only what is Active in one environment is promoted")));
        }
    }
    if let Some(id) = &release.rolls_back {
        let bad = of_ours(id)?;
        if bad.environment_id != release.env.as_str() {
            return Err(invalid(&format!("{id} is in {}, not in {}", bad.environment_id, release.env)));
        }
    }
    Ok(())
}

/// A release that is known is told of again.
fn told_again(
    state: &ServiceState,
    known: &ReleaseState,
    release: &NewRelease,
    facts: &Facts,
) -> Result<Judged, Refusal> {
    if known.sha != release.sha {
        return Err(illegal(format!(
            "release {} is {}, and its sha never changes; another artifact is another release",
            known.release_id, known.sha
        )));
    }
    if known.environment_id != release.env.as_str() {
        return Err(illegal(format!(
            "release {} is in {}; in another environment it is another release",
            known.release_id, known.environment_id
        )));
    }
    if release.source != Source::Api {
        let change = Change { to: release.status, reason: "", at: release.at, run: None };
        return change_from_outside(state, known, &change, facts);
    }
    if rank(release.status) <= rank(known.status()) {
        return Ok(Judged::unchanged());
    }
    Err(illegal(format!(
        "release {} exists and is {}; its status is changed by its runs",
        known.release_id,
        release_status(known.status())
    )))
}

/// A status that is asked for or told of.
struct Change<'a> {
    to: ReleaseStatus,
    reason: &'a str,
    at: Option<Timestamp>,
    run: Option<&'a RunId>,
}

fn change_release(
    state: &ServiceState,
    release: &ReleaseId,
    change: &Change<'_>,
    facts: &Facts,
) -> Result<Judged, Refusal> {
    if change.to == ReleaseStatus::Unspecified {
        return Err(invalid("a release is Draft, Promoting, Active or Failed"));
    }
    let Some(known) = find(state, release.as_str()) else {
        let is_ours = facts.taken.as_ref().is_some_and(|owner| owner.as_str() == state.id);
        if is_ours && change.run.is_none() {
            return Ok(Judged::unchanged());
        }
        return Err(invalid(&format!("release {release} is not one of {}'s, or none of its last", state.id)));
    };
    match change.run {
        Some(run) => change_by_run(state, known, change, run, facts),
        None => change_from_outside(state, known, change, facts),
    }
}

/// How far a status is on its way.
fn rank(status: ReleaseStatus) -> u8 {
    match status {
        ReleaseStatus::Unspecified => 0,
        ReleaseStatus::Draft => 1,
        ReleaseStatus::Promoting => 2,
        ReleaseStatus::Active | ReleaseStatus::Failed => 3,
    }
}

/// Strictly: one stage after the other, by a run of this release that goes on.
fn change_by_run(
    state: &ServiceState,
    known: &ReleaseState,
    change: &Change<'_>,
    run: &RunId,
    facts: &Facts,
) -> Result<Judged, Refusal> {
    let run = going_on(state, run)?;
    if run.release_id != known.release_id {
        return Err(invalid(&format!("run {} is one of {}", run.run_id, run.release_id)));
    }
    if run.dry_run {
        return Err(illegal(format!("run {} is a dry run: it changes nothing", run.run_id)));
    }
    let from = known.status();
    if from == change.to {
        return Ok(Judged::unchanged());
    }
    let next = match from {
        ReleaseStatus::Draft => "Promoting",
        ReleaseStatus::Promoting => "Active or Failed",
        ReleaseStatus::Active | ReleaseStatus::Failed | ReleaseStatus::Unspecified => {
            return Err(settled(known));
        }
    };
    if rank(change.to) != rank(from) + 1 {
        return Err(illegal(format!(
            "release {} is {} and cannot become {}; next is {next}",
            known.release_id,
            release_status(from),
            release_status(change.to)
        )));
    }
    if change.to == ReleaseStatus::Promoting {
        may_begin(state, known, facts)?;
        if let Some(other) = promoting(state, &known.environment_id) {
            return Err(one_at_a_time(other));
        }
    }
    let mut kinds = vec![changed(known, from, change)];
    kinds.extend(next_in_line(state, known, change.to));
    Ok(Judged::new(Answer::Recorded, kinds))
}

/// What an outside door tells of has happened. What lies behind changes nothing.
fn change_from_outside(
    state: &ServiceState,
    known: &ReleaseState,
    change: &Change<'_>,
    facts: &Facts,
) -> Result<Judged, Refusal> {
    let from = known.status();
    if rank(change.to) <= rank(from) {
        return Ok(Judged::unchanged());
    }
    if from != ReleaseStatus::Draft {
        let mut kinds = vec![changed(known, from, change)];
        kinds.extend(next_in_line(state, known, change.to));
        return Ok(Judged::new(Answer::Recorded, kinds));
    }
    may_begin(state, known, facts)?;
    if change.to == ReleaseStatus::Promoting {
        let kind = match promoting(state, &known.environment_id) {
            Some(_) if known.waiting => return Ok(Judged::unchanged()),
            Some(other) => waits(&known.release_id, other, change.at),
            None => changed(known, from, change),
        };
        return Ok(recorded(kind));
    }
    // It was promoting in between, whether or not somebody told of it.
    let begun = Change { to: ReleaseStatus::Promoting, reason: "", ..*change };
    let kinds = vec![changed(known, from, &begun), changed(known, ReleaseStatus::Promoting, change)];
    Ok(Judged::new(Answer::Recorded, kinds))
}

/// Whether a draft may be on its way: neither its service nor its environment is retired.
fn may_begin(state: &ServiceState, known: &ReleaseState, facts: &Facts) -> Result<(), Refusal> {
    not_retired(state)?;
    if let Ok(id) = known.environment_id.parse()
        && facts.environments.contains_key(&id)
    {
        open_environment(facts, &id)?;
    }
    Ok(())
}

/// A release that waited for this one is promoting once this one is settled.
fn next_in_line(state: &ServiceState, known: &ReleaseState, to: ReleaseStatus) -> Option<Kind> {
    if !is_settled(to) || known.status() != ReleaseStatus::Promoting || state.retired {
        return None;
    }
    let next = state
        .releases
        .iter()
        .filter(|one| one.environment_id == known.environment_id && one.waiting)
        .min_by_key(|one| one.created_seq)?;
    let change = Change { to: ReleaseStatus::Promoting, reason: "", at: None, run: None };
    Some(changed(next, ReleaseStatus::Draft, &change))
}

fn changed(known: &ReleaseState, from: ReleaseStatus, change: &Change<'_>) -> Kind {
    Kind::ReleaseStatusChanged(ReleaseStatusChanged {
        release_id: known.release_id.clone(),
        from: from.into(),
        to: change.to.into(),
        reason: Text::optional(change.reason),
        run_id: change.run.map(ToString::to_string).unwrap_or_default(),
        at_us: microseconds(change.at),
    })
}

/// It was told to be promoting while another one is.
fn waits(release: &str, other: &ReleaseState, at: Option<Timestamp>) -> Kind {
    Kind::ReleaseStatusChanged(ReleaseStatusChanged {
        release_id: release.to_owned(),
        from: ReleaseStatus::Draft.into(),
        to: ReleaseStatus::Draft.into(),
        reason: Text::optional(format!("waits until {} is settled", other.release_id)),
        run_id: String::new(),
        at_us: microseconds(at),
    })
}

fn one_at_a_time(other: &ReleaseState) -> Refusal {
    illegal(format!(
        "release {} is being promoted in {}; wait until it is Active or Failed",
        other.release_id, other.environment_id
    ))
}

fn settled(known: &ReleaseState) -> Refusal {
    illegal(format!(
        "release {} is {}: that is its end. To deploy the artifact again, create a new release",
        known.release_id,
        release_status(known.status())
    ))
}

fn microseconds(at: Option<Timestamp>) -> i64 {
    at.map_or(0, Timestamp::as_microsecond)
}

fn find_run<'a>(state: &'a ServiceState, id: &RunId) -> Result<&'a RunState, Refusal> {
    state
        .runs
        .iter()
        .find(|run| run.run_id == id.as_str())
        .ok_or_else(|| invalid(&format!("run {id} is not one of {}'s, or none of its last", state.id)))
}

fn going_on<'a>(state: &'a ServiceState, id: &RunId) -> Result<&'a RunState, Refusal> {
    let run = find_run(state, id)?;
    if run.finished_at_us != 0 {
        return Err(illegal(format!("run {id} has ended ({})", run.outcome)));
    }
    Ok(run)
}

fn start_run(
    state: &ServiceState,
    started: RunStarted,
    environment: &EnvironmentId,
    facts: &Facts,
) -> Result<Judged, Refusal> {
    if let Some(known) = state.runs.iter().find(|run| run.run_id == started.run_id) {
        let same = known.release_id == started.release_id
            && (known.kind, known.dry_run, known.attempt) == (started.kind, started.dry_run, started.attempt)
            && known.workflow_id == started.workflow_id;
        return if same {
            Ok(Judged::unchanged())
        } else {
            Err(illegal(format!("run {} exists, and is one of {}", known.run_id, known.release_id)))
        };
    }
    not_retired(state)?;
    open_environment(facts, environment)?;
    required("the workflow", &started.workflow_id, ADDRESS_LIMIT_CHARS)?;
    if started.attempt == 0 || started.kind() == harmony_incidents::log::RunKind::Unspecified {
        return Err(invalid("a run deploys or promotes, and its attempts count from 1"));
    }
    let adapter = adapter(&started.adapter)?;
    // Whoever deploys a service elsewhere and tells of it needs no entry.
    if adapter != Adapter::External && !state.deployments.contains(&started.adapter) {
        let named =
            if state.deployments.is_empty() { "none".to_owned() } else { state.deployments.join(", ") };
        return Err(invalid(&format!(
            "{} is not deployed by {adapter}; its adapters.deployments are {named}",
            state.id
        )));
    }
    let release = find(state, &started.release_id).ok_or_else(|| {
        invalid(&format!("release {} is not one of {}'s, or none of its last", started.release_id, state.id))
    })?;
    if release.environment_id != started.environment_id {
        return Err(invalid(&format!(
            "release {} is in {}; to deploy it to {} create a release there",
            release.release_id, release.environment_id, started.environment_id
        )));
    }
    if !started.dry_run {
        if is_settled(release.status()) {
            return Err(settled(release));
        }
        let busy =
            |run: &&RunState| run.release_id == release.release_id && run.finished_at_us == 0 && !run.dry_run;
        if let Some(other) = state.runs.iter().find(busy) {
            return Err(illegal(format!("run {} of {} goes on", other.run_id, other.release_id)));
        }
        if let Some(other) = promoting(state, &release.environment_id)
            && other.release_id != release.release_id
        {
            return Err(one_at_a_time(other));
        }
    }
    Ok(recorded(Kind::RunStarted(started)))
}

fn log_run(state: &ServiceState, id: &RunId, entry: &LogEntry) -> Result<Judged, Refusal> {
    let run = going_on(state, id)?;
    if entry.message.len() > LINE_LIMIT_BYTES {
        return Err(invalid("a line of a run's log has at most 16 KiB"));
    }
    let logged = entry.logged(id);
    pairs("values beside a line", &logged.meta)?;
    if run.logs >= LINES_LIMIT {
        return Ok(Judged::unchanged());
    }
    Ok(recorded(Kind::RunLogged(logged)))
}

fn judge_policies(
    state: &ServiceState,
    id: &RunId,
    outcome: PolicyOutcome,
    verdicts: &[PolicyVerdict],
    excepted: bool,
) -> Result<Judged, Refusal> {
    going_on(state, id)?;
    few("policies", verdicts, LIST_LIMIT)?;
    for verdict in verdicts {
        required("a policy's name", &verdict.r#ref, NAME_LIMIT_CHARS)?;
        line("a policy's rule", &verdict.by, ADDRESS_LIMIT_CHARS)?;
    }
    Ok(recorded(Kind::RunPoliciesJudged(RunPoliciesJudged {
        run_id: id.to_string(),
        outcome: outcome.into(),
        verdicts: verdicts.to_vec(),
        excepted,
    })))
}

fn finish_run(
    state: &ServiceState,
    id: &RunId,
    outcome: RunOutcome,
    reason: &str,
) -> Result<Judged, Refusal> {
    let run = find_run(state, id)?;
    if run.finished_at_us != 0 {
        return if run.outcome == outcome.name() {
            Ok(Judged::unchanged())
        } else {
            Err(illegal(format!("run {id} has ended ({})", run.outcome)))
        };
    }
    if run.dry_run && outcome == RunOutcome::Succeeded {
        return Err(invalid("a dry run ends as planned: it changes nothing"));
    }
    if !run.dry_run && outcome == RunOutcome::Planned {
        return Err(invalid("only a dry run ends as planned"));
    }
    Ok(recorded(Kind::RunFinished(RunFinished {
        run_id: id.to_string(),
        outcome: outcome.into(),
        reason: Text::optional(reason),
    })))
}

/// A suspicion is the machine's; everything else is a person's word, which a suspicion never takes back.
fn link_change(state: &ServiceState, linked: ChangeLinked, context: &Context) -> Result<Judged, Refusal> {
    let relation = linked.relation();
    match relation {
        Relation::Unspecified => {
            return Err(invalid("a change is suspected, caused, related or dismissed"));
        }
        Relation::Suspected => {}
        Relation::Caused | Relation::Related | Relation::Dismissed => {
            least(context, Authority::HumanOperator, "linking a change to an incident")?;
        }
    }
    let release = find(state, &linked.release_id).ok_or_else(|| {
        invalid(&format!("release {} is not one of {}'s, or none of its last", linked.release_id, state.id))
    })?;
    let known = state
        .changes
        .iter()
        .find(|one| one.release_id == linked.release_id && one.incident == linked.incident);
    if known.is_some_and(|one| one.relation() == relation || relation == Relation::Suspected) {
        return Ok(Judged::unchanged());
    }
    let active = release.status() == ReleaseStatus::Active;
    Ok(recorded(Kind::ChangeLinked(ChangeLinked {
        service_id: state.id.clone(),
        sha: release.sha.clone(),
        version: release.version.clone(),
        environment_id: release.environment_id.clone(),
        status: release.status,
        active_at_us: if active { release.settled_at_us } else { 0 },
        ..linked
    })))
}

/// The blueprints and gates of a service's runs, as the incident's judge is to see them.
pub fn flow_of(state: &ServiceState) -> IncidentState {
    let mut flow = state.flow.clone().unwrap_or_else(|| flow_before(&state.org, format!("svc/{}", state.id)));
    flow.seq = state.seq;
    flow
}

fn flow(
    state: &ServiceState,
    command: &incidents::Command,
    context: &Context,
    rules: Rules<'_>,
) -> Result<Judged, Refusal> {
    use incidents::Command as Asked;
    let of_a_run = match command {
        Asked::StartBlueprint { .. } if state.retired => {
            return not_retired(state).map(|()| Judged::unchanged());
        }
        Asked::StartBlueprint { .. }
        | Asked::MarkOrphaned { .. }
        | Asked::ResumeBlueprint { .. }
        | Asked::OpenGate { .. }
        | Asked::Decide { .. }
        | Asked::CountRefusals { .. }
        | Asked::ExpireLevel { .. }
        | Asked::Escalate { .. }
        | Asked::CancelGate { .. } => true,
        Asked::Record { payload } => matches!(
            payload.kind,
            Some(
                Kind::BlueprintCompleted(_)
                    | Kind::StepSucceeded(_)
                    | Kind::StepFailed(_)
                    | Kind::StepSkipped(_)
                    | Kind::RunbookCellStarted(_)
                    | Kind::RunbookCellFinished(_)
                    | Kind::RunbookCellUnknown(_)
            )
        ),
        Asked::Declare { .. }
        | Asked::Promote { .. }
        | Asked::ChangeStatus { .. }
        | Asked::EnterPhase { .. }
        | Asked::ChangeSeverity { .. }
        | Asked::SignOff { .. }
        | Asked::Close
        | Asked::Redact { .. } => false,
    };
    if !of_a_run {
        return Err(invalid("this is a command for an incident, and this is a service"));
    }
    let flow = flow_of(state);
    incidents::judge(Head { state: &flow }, command, context, rules)
}

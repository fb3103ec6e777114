//! Releases: what one may be made of, how its status moves, and how it stands to an incident.

use harmony_incidents::{
    Judged, ReleaseId, RunId, WorkflowId,
    judge::invalid,
    log::{
        Authority, ChangeLinked, Relation, ReleaseCreated, ReleaseState, ReleaseStatus, ReleaseStatusChanged,
        RunState, ServiceState, Text, payload::Kind,
    },
    status::{GateStatus, HasStatus},
    words::release_status,
};
use jiff::Timestamp;

use super::{
    ADDRESS_LIMIT_CHARS, Facts, NAME_LIMIT_CHARS, illegal, least, line, not_retired, open_environment,
    recorded, required, run::going_on,
};
use crate::{
    command::{Answer, Context, NewRelease, Refusal},
    fold::is_settled,
    words::{PolicyOutcome, Source},
};

/// The release, of those in the state.
pub(super) fn find<'a>(state: &'a ServiceState, id: &str) -> Option<&'a ReleaseState> {
    state.releases.iter().find(|one| one.release_id == id)
}

/// The release that is being promoted in an environment.
pub(super) fn promoting<'a>(state: &'a ServiceState, environment: &str) -> Option<&'a ReleaseState> {
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

pub(super) fn create(
    state: &ServiceState,
    release: &NewRelease,
    context: &Context,
    facts: &Facts,
) -> Result<Judged, Refusal> {
    let at = not_after(release.at, context);
    if release.status == ReleaseStatus::Unspecified {
        return Err(invalid("a release is Draft, Promoting, Active or Failed"));
    }
    check_sha(&release.sha)?;
    line("the version", &release.version, NAME_LIMIT_CHARS)?;
    check_url(&release.url)?;
    if let Some(known) = find(state, release.id.as_str()) {
        return told_again(state, known, release, at, facts);
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
        kinds.push(waits(release.id.as_str(), other, at, None));
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
        at_us: microseconds(at),
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
        if let Some(other) = rolling_back(state, release) {
            return Err(illegal(format!(
                "release {} rolls {id} back already: decide its gate, or stop its run",
                other.release_id
            )));
        }
        if bad.environment_id != release.env.as_str() {
            return Err(invalid(&format!("{id} is in {}, not in {}", bad.environment_id, release.env)));
        }
    }
    Ok(())
}

/// The release that is to take the place of the same one already and has not come to an end, where this one is our own.
fn rolling_back<'a>(state: &'a ServiceState, release: &NewRelease) -> Option<&'a ReleaseState> {
    let bad = release.rolls_back.as_ref().filter(|_| release.source == Source::Api)?;
    state.releases.iter().filter(|one| one.rolls_back == bad.as_str()).find(|one| {
        let mut runs = state.runs.iter().filter(|run| run.release_id == one.release_id && !run.dry_run);
        match one.status() {
            ReleaseStatus::Promoting => true,
            // A draft whose run ended without it may be followed by another.
            ReleaseStatus::Draft => runs.all(|run| run.finished_at_us == 0),
            ReleaseStatus::Active | ReleaseStatus::Failed | ReleaseStatus::Unspecified => false,
        }
    })
}

/// A release that is known is told of again.
fn told_again(
    state: &ServiceState,
    known: &ReleaseState,
    release: &NewRelease,
    at: Option<Timestamp>,
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
        let url = Some(release.url.as_str());
        let change = Change { to: release.status, reason: "", at, run: None, url };
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
pub(super) struct Change<'a> {
    pub(super) to: ReleaseStatus,
    pub(super) reason: &'a str,
    pub(super) at: Option<Timestamp>,
    pub(super) run: Option<&'a RunId>,
    /// The release's page at that status, empty where it has none; `None` leaves it as it is.
    pub(super) url: Option<&'a str>,
}

pub(super) fn change_release(
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
    // Also where the run before this one was lost after it: a change by this run needs its own yes.
    if change.to == ReleaseStatus::Promoting {
        may_go_out(state, run)?;
    }
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
    let wake = runs_of(state, known);
    if from != ReleaseStatus::Draft {
        let mut kinds = vec![changed(known, from, change)];
        kinds.extend(next_in_line(state, known, change.to));
        return Ok(Judged { wake, ..Judged::new(Answer::Recorded, kinds) });
    }
    may_begin(state, known, facts)?;
    if change.to == ReleaseStatus::Promoting {
        let kind = match promoting(state, &known.environment_id) {
            Some(_) if known.waiting => return Ok(Judged::unchanged()),
            Some(other) => waits(&known.release_id, other, change.at, change.url.map(str::to_owned)),
            None => changed(known, from, change),
        };
        return Ok(recorded(kind));
    }
    // It was promoting in between, whether or not somebody told of it.
    let begun = Change { to: ReleaseStatus::Promoting, reason: "", ..*change };
    let kinds = vec![changed(known, from, &begun), changed(known, ReleaseStatus::Promoting, change)];
    Ok(Judged { wake, ..Judged::new(Answer::Recorded, kinds) })
}

/// The workflows that wait to be told how this release went.
fn runs_of(state: &ServiceState, known: &ReleaseState) -> Vec<WorkflowId> {
    let goes_on = |run: &&RunState| run.release_id == known.release_id && run.finished_at_us == 0;
    state.runs.iter().filter(goes_on).flat_map(|run| run.workflow_id.parse()).collect()
}

/// Whether the environment's policies let the run's release out: they were asked, and whoever they name has approved.
/// A gate that the run asked for on its own has to be approved, too.
fn may_go_out(state: &ServiceState, run: &RunState) -> Result<(), Refusal> {
    let release = &run.release_id;
    let asked = run.policies.as_str();
    if asked != PolicyOutcome::Proceed.name() && asked != PolicyOutcome::Gate.name() {
        let said = if asked.is_empty() { "were not asked" } else { asked };
        return Err(illegal(format!("the environment's policies do not let {release} out ({said})")));
    }
    let gates = state.flow.iter().flat_map(|flow| &flow.gates);
    let mut gates =
        gates.filter(|gate| gate.workflow_id == run.workflow_id && gate.attempt == run.attempt).peekable();
    if gates.peek().is_none() && asked == PolicyOutcome::Gate.name() {
        return Err(illegal(format!("nobody was asked to approve that {release} goes out")));
    }
    match gates.find(|gate| !gate.is(GateStatus::Approved)) {
        Some(gate) => {
            Err(illegal(format!("gate {} is {}: {release} does not go out", gate.gate_id, gate.status)))
        }
        None => Ok(()),
    }
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
    let change = Change { to: ReleaseStatus::Promoting, reason: "", at: None, run: None, url: None };
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
        url: change.url.map(str::to_owned),
    })
}

/// It was told to be promoting while another one is.
fn waits(release: &str, other: &ReleaseState, at: Option<Timestamp>, url: Option<String>) -> Kind {
    Kind::ReleaseStatusChanged(ReleaseStatusChanged {
        release_id: release.to_owned(),
        from: ReleaseStatus::Draft.into(),
        to: ReleaseStatus::Draft.into(),
        reason: Text::optional(format!("waits until {} is settled", other.release_id)),
        run_id: String::new(),
        at_us: microseconds(at),
        url,
    })
}

pub(super) fn one_at_a_time(other: &ReleaseState) -> Refusal {
    illegal(format!(
        "release {} is being promoted in {}; wait until it is Active or Failed",
        other.release_id, other.environment_id
    ))
}

/// Whether a release may still go out: one that is Active or Failed has come to its end.
pub fn not_settled(known: &ReleaseState) -> Result<(), Refusal> {
    if is_settled(known.status()) { Err(settled(known)) } else { Ok(()) }
}

pub(super) fn settled(known: &ReleaseState) -> Refusal {
    illegal(format!(
        "release {} is {}: that is its end. To deploy the artifact again, create a new release",
        known.release_id,
        release_status(known.status())
    ))
}

/// A door's clock may be ahead of ours; what it tells of has happened all the same.
pub(super) fn not_after(at: Option<Timestamp>, context: &Context) -> Option<Timestamp> {
    at.map(|at| at.min(context.occurred_at))
}

fn microseconds(at: Option<Timestamp>) -> i64 {
    at.map_or(0, Timestamp::as_microsecond)
}

/// A suspicion is the machine's; everything else is a person's word, which a suspicion never takes back.
pub(super) fn link_change(
    state: &ServiceState,
    linked: ChangeLinked,
    context: &Context,
) -> Result<Judged, Refusal> {
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

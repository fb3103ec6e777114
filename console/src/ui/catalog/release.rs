//! One release: what became of it, its runs merged in time with what they said, what policies and gates decided, and what
//! may be done with it.

use std::collections::BTreeSet;

use askama::Template;
use harmony_catalog::views::{ReleaseView, active_before};
use harmony_eventlog::{
    Entry, StreamState,
    catalog::{CatalogFilter, CatalogKind, StoredRun},
};
use harmony_incidents::{
    GateStatus, HasStatus, ReleaseId, Right, StreamId,
    log::{GateState, LogLevel, ReleaseStatus, RunPoliciesJudged, ServiceState, payload::Kind},
    record,
    story::{self, Known},
    visible, words as vocabulary,
};
use jiff::Timestamp;
use uuid::Uuid;

use super::{ReleaseLine, environment_name, label};
use crate::{
    catalog::releases,
    error::ApiError,
    ui::{
        Page, form,
        form::{Submission, encoded, see},
        html,
        markdown::is_web,
        visit::{Frame, Visit},
        words,
    },
};

/// Records of one read.
const READ: u32 = 500;
/// Records of the service that one page looks through.
const LOOKED_THROUGH: usize = 5_000;
/// Runs of one release.
const RUNS: u32 = 50;
/// Environments that it could go on to.
const ENVIRONMENTS: u32 = 200;

#[derive(Template)]
#[template(path = "catalog/release.html")]
struct ReleasePage {
    frame: Frame,
    line: ReleaseLine,
    service: String,
    service_address: String,
    facts: Vec<(&'static str, Fact)>,
    reason: String,
    runs: Vec<RunLine>,
    rows: Vec<Row>,
    /// Where the service's records go on that were not looked through.
    cut: bool,
    gates: Vec<GateLine>,
    /// The incidents that people linked it to.
    changes: Vec<ChangeLine>,
    offers: Offers,
    address: String,
    stream: String,
}

/// A value, and where it leads to.
#[derive(Default)]
struct Fact {
    text: String,
    href: String,
}

/// A run, in one line.
struct RunLine {
    id: String,
    kind: &'static str,
    environment: String,
    adapter: String,
    dry_run: bool,
    outcome: String,
    class: &'static str,
    started: String,
    took: String,
    by: String,
}

/// One thing that happened, or that a run said.
struct Row {
    at: String,
    clock: String,
    moment: String,
    /// `debug`, `info`, `warn`, `error`, or empty where it is no line of a log.
    level: &'static str,
    class: &'static str,
    /// The run that said it, where there are several.
    run: String,
    who: String,
    text: String,
    /// What else a line carries: name and value.
    meta: Vec<(String, String)>,
    verdicts: Vec<VerdictLine>,
}

/// What one policy said.
struct VerdictLine {
    policy: String,
    open: bool,
    mode: String,
    reason: String,
    next_open: String,
}

/// A gate of its runs.
struct GateLine {
    action: String,
    status: String,
    class: &'static str,
    /// Where it is decided; empty where it is.
    address: String,
    roles: String,
    deadline: String,
    left: String,
    decided_by: String,
}

struct ChangeLine {
    incident: String,
    address: String,
    relation: &'static str,
    reason: String,
    by: String,
}

/// What its reader may do with it.
struct Offers {
    address: String,
    key: Uuid,
    /// Environments that it may be promoted to: id and name.
    promote: Vec<(String, String)>,
    /// What was active before it: its id and what it is called.
    before: Option<(String, String)>,
    /// Whether that may be deployed again.
    rollback: bool,
}

/// `GET …/releases/{id}`
pub(crate) async fn page(visit: Visit) -> Page {
    visit.require(Right::Read, None)?;
    visit.query.only(&["done"]).map_err(|error| visit.trouble(error))?;
    let call = visit.call();
    let unknown = || visit.trouble(ApiError::NotFound(format!("there is no release {:?}", visit.path("id"))));
    let id: ReleaseId = visit.path("id").parse().map_err(|_| unknown())?;
    let stored = releases::stored(&call, &id).await.map_err(|error| visit.trouble(error))?;
    let service = crate::catalog::service(&call, &stored.service).await?;
    let view = ReleaseView::of(&service, &stored.release).map_err(|error| releases::unreadable(&error))?;
    let runs = releases::runs_of(&call, std::slice::from_ref(&id), RUNS).await?;
    let flow = service.flow.clone().unwrap_or_default();
    let workflows: BTreeSet<&str> = runs.iter().map(|one| one.run.workflow_id.as_str()).collect();
    let gates: Vec<GateState> =
        flow.gates.into_iter().filter(|gate| workflows.contains(gate.workflow_id.as_str())).collect();
    let (rows, cut) =
        rows(&visit, &stored.service.clone().into(), &view, stored.release.created_seq, &runs, &gates)
            .await?;
    let org = &visit.caller.org;
    let service_address = format!("/orgs/{org}/services/{}", encoded(&service.id));
    let environment = environment_name(&service, &stored.release.environment_id);
    let line = ReleaseLine::of(&visit, &view, environment);
    html(&ReleasePage {
        frame: visit.frame("services"),
        address: line.address.clone(),
        facts: facts(&visit, &view, environment),
        reason: visible::visible(&view.reason),
        runs: runs.iter().map(|one| run_line(&visit, &service, one)).collect(),
        rows,
        cut,
        gates: gates.iter().map(|gate| gate_line(&visit, gate)).collect(),
        changes: changes(&visit, &service, &id),
        offers: offers(&visit, &service, &view).await?,
        stream: format!("/api/orgs/{org}/audit?subject=svc/{}", encoded(&service.id)),
        service: visible::line(&service.name),
        service_address,
        line,
    })
}

fn facts(visit: &Visit, view: &ReleaseView, environment: &str) -> Vec<(&'static str, Fact)> {
    let org = &visit.caller.org;
    let release = &view.release;
    let plain = |text: &str| Fact { text: visible::line(text), href: String::new() };
    let linked = |kind: &str, id: Option<String>| match id {
        Some(id) => Fact { href: format!("/orgs/{org}/{kind}/{}", encoded(&id)), text: visible::line(&id) },
        None => Fact::default(),
    };
    let moment = |at: Timestamp| format!("{} UTC", words::moment(at));
    vec![
        ("Id", plain(release.id.as_str())),
        ("Artifact", plain(&release.sha)),
        (
            "Environment",
            Fact {
                text: visible::line(environment),
                href: format!("/orgs/{org}/environments#{}", encoded(release.env_id.as_str())),
            },
        ),
        ("Created", plain(&format!("{} by {}", moment(view.created_at), visit.name(&view.created_by)))),
        ("Settled", plain(&view.settled_at.map(moment).unwrap_or_default())),
        ("Replaced by", linked("releases", view.replaced_by.clone())),
        ("Promoted from", linked("releases", release.promoted_from.as_ref().map(ToString::to_string))),
        ("Rolls back", linked("releases", release.rolls_back.as_ref().map(ToString::to_string))),
        ("For incident", linked("incidents", release.incident.as_ref().map(ToString::to_string))),
        ("Reported by", plain(release.source.map(|source| source.name()).unwrap_or_default())),
        (
            "Page",
            Fact {
                text: visible::line(&release.url),
                href: if is_web(&release.url) { release.url.clone() } else { String::new() },
            },
        ),
    ]
    .into_iter()
    .filter(|(_, fact)| !fact.text.is_empty())
    .collect()
}

fn run_line(visit: &Visit, service: &ServiceState, stored: &StoredRun) -> RunLine {
    let run = &stored.run;
    let started = words::recorded(run.started_at_us).unwrap_or_default();
    RunLine {
        id: run.run_id.clone(),
        kind: vocabulary::run_kind(run.kind()),
        environment: visible::line(environment_name(service, &run.environment_id)),
        adapter: run.adapter.clone(),
        dry_run: run.dry_run,
        outcome: if run.outcome.is_empty() { "running".to_owned() } else { run.outcome.clone() },
        class: match run.outcome.as_str() {
            "succeeded" | "planned" => "good",
            "failed" | "refused" => "hot",
            "" => "new",
            _ => "calm",
        },
        started: started.to_string(),
        took: match run.finished_at_us {
            0 => String::new(),
            at => words::span((at - run.started_at_us) / 1_000_000),
        },
        by: visit.name(&run.actor),
    }
}

/// What happened to the release and what its runs said, oldest first, and whether there is more than was looked through.
async fn rows(
    visit: &Visit,
    stream: &StreamId,
    view: &ReleaseView,
    created_seq: u64,
    runs: &[StoredRun],
    gates: &[GateState],
) -> Result<(Vec<Row>, bool), ApiError> {
    let id = view.release.id.as_str();
    let several = runs.len() > 1;
    let is_over = view.settled_at.is_some() && runs.iter().all(|one| one.run.finished_at_us != 0);
    let started = runs.iter().map(|one| one.run.started_seq).min().unwrap_or(u64::MAX);
    let mut after = created_seq.min(started).saturating_sub(1);
    // Nothing of it comes after it was settled and its last run ended.
    let (mut is_settled, mut running) = (false, runs.len());
    let known = Known { directory: visit.caller.rules().directory, gates };
    let mut rows = Vec::new();
    let mut looked_through = 0;
    loop {
        let page = visit.app.doors.log.records(&visit.caller.org, stream, after, READ).await?;
        for entry in &page {
            after = entry.record.seq;
            rows.extend(row(entry, id, runs, gates, several, &known));
            match entry.record.payload.as_ref().and_then(|payload| payload.kind.as_ref()) {
                Some(Kind::ReleaseCreated(p)) if p.release_id == id => is_settled |= settles(p.status()),
                Some(Kind::ReleaseStatusChanged(p)) if p.release_id == id => is_settled |= settles(p.to()),
                Some(Kind::RunFinished(p)) if runs.iter().any(|one| one.run.run_id == p.run_id) => {
                    running = running.saturating_sub(1);
                }
                _ => {}
            }
            if is_over && is_settled && running == 0 {
                return Ok((rows, false));
            }
        }
        looked_through += page.len();
        if page.len() < usize::try_from(READ).unwrap_or_default() {
            return Ok((rows, false));
        }
        if looked_through >= LOOKED_THROUGH {
            return Ok((rows, true));
        }
    }
}

fn settles(status: ReleaseStatus) -> bool {
    matches!(status, ReleaseStatus::Active | ReleaseStatus::Failed)
}

fn row(
    entry: &Entry,
    release: &str,
    runs: &[StoredRun],
    gates: &[GateState],
    several: bool,
    known: &Known<'_>,
) -> Option<Row> {
    let kind = entry.record.payload.as_ref()?.kind.as_ref()?;
    let is_run = |id: &str| runs.iter().any(|one| one.run.run_id == id);
    let is_gate = |id: &str| gates.iter().any(|gate| gate.gate_id == id);
    let run = match kind {
        Kind::ReleaseCreated(p) if p.release_id == release => "",
        Kind::ReleaseStatusChanged(p) if p.release_id == release => "",
        Kind::ChangeLinked(p) if p.release_id == release => "",
        Kind::RunStarted(p) if is_run(&p.run_id) => &p.run_id,
        Kind::RunLogged(p) if is_run(&p.run_id) => &p.run_id,
        Kind::RunPoliciesJudged(p) if is_run(&p.run_id) => &p.run_id,
        Kind::RunFinished(p) if is_run(&p.run_id) => &p.run_id,
        Kind::ApprovalRequested(p) if is_gate(&p.gate_id) => "",
        Kind::ApprovalDecided(p) if is_gate(&p.gate_id) => "",
        Kind::ApprovalTimedOut(p) if is_gate(&p.gate_id) => "",
        Kind::ApprovalEscalated(p) if is_gate(&p.gate_id) => "",
        Kind::ApprovalCancelled(p) if is_gate(&p.gate_id) => "",
        _ => return None,
    };
    let mut at = record::occurred_at(&entry.record);
    let told = story::tell(kind, &entry.record.actor, known);
    let mut row = Row {
        at: String::new(),
        clock: String::new(),
        moment: String::new(),
        level: "",
        class: "",
        run: if several { run.to_owned() } else { String::new() },
        who: told.who,
        text: visible::visible(&told.did),
        meta: Vec::new(),
        verdicts: Vec::new(),
    };
    match kind {
        Kind::RunLogged(line) => {
            at = words::recorded(line.ts_us).unwrap_or(at);
            row.level = vocabulary::log_level(line.level());
            row.class = match line.level() {
                LogLevel::Error => "hot",
                LogLevel::Warn => "warm",
                LogLevel::Debug | LogLevel::Info | LogLevel::Unspecified => "calm",
            };
            row.who = String::new();
            row.text = visible::visible(line.message.as_ref().map(|text| text.shown()).unwrap_or_default());
            let pairs = line.meta.iter();
            row.meta = pairs.map(|one| (visible::line(&one.name), visible::line(&one.value))).collect();
        }
        Kind::RunPoliciesJudged(judged) => {
            row.who = String::new();
            row.text = policies_text(judged);
            row.class = match judged.outcome.as_str() {
                "refuse" => "hot",
                "gate" | "wait" => "warm",
                _ => "good",
            };
            row.verdicts = judged.verdicts.iter().map(verdict_line).collect();
        }
        Kind::ReleaseStatusChanged(changed) if changed.to() == ReleaseStatus::Failed => row.class = "hot",
        Kind::ReleaseStatusChanged(changed) if changed.to() == ReleaseStatus::Active => row.class = "good",
        Kind::ApprovalRequested(_) => row.class = "warm",
        _ => {}
    }
    row.at = at.to_string();
    row.clock = words::clock(at);
    row.moment = words::moment(at);
    Some(row)
}

fn policies_text(judged: &RunPoliciesJudged) -> String {
    let outcome = match judged.outcome.as_str() {
        "proceed" => "The environment's policies let it through",
        "gate" => "The environment's policies ask for an approval",
        "wait" => "The environment is closed: it waits until it opens",
        "refuse" => "The environment's policies refuse it",
        other => return format!("The environment's policies say {other:?}"),
    };
    let excepted = if judged.excepted { ", as the exception for a rollback" } else { "" };
    format!("{outcome}{excepted}")
}

fn verdict_line(verdict: &harmony_incidents::log::PolicyVerdict) -> VerdictLine {
    VerdictLine {
        policy: visible::line(&verdict.r#ref),
        open: verdict.open,
        mode: verdict.mode.clone(),
        reason: visible::line(verdict.reason.as_ref().map(|text| text.shown()).unwrap_or_default()),
        next_open: words::recorded(verdict.next_open_us).map(words::moment).unwrap_or_default(),
    }
}

fn gate_line(visit: &Visit, gate: &GateState) -> GateLine {
    let is_pending = gate.is(GateStatus::Pending);
    let (roles, deadline, left) = crate::ui::gate_card::waits_for(gate, visit.now);
    GateLine {
        action: visible::line(&gate.action),
        status: gate.status.clone(),
        class: match gate.status() {
            Some(GateStatus::Pending) => "warm",
            Some(GateStatus::Approved) => "good",
            _ => "hot",
        },
        address: if is_pending {
            format!("/orgs/{}/approvals/{}", visit.caller.org, encoded(&gate.gate_id))
        } else {
            String::new()
        },
        roles,
        deadline,
        left,
        decided_by: if gate.decided_by.is_empty() { String::new() } else { visit.name(&gate.decided_by) },
    }
}

fn changes(visit: &Visit, service: &ServiceState, id: &ReleaseId) -> Vec<ChangeLine> {
    let linked = service.changes.iter().filter(|one| one.release_id == id.as_str());
    linked
        .map(|one| ChangeLine {
            incident: one.incident.clone(),
            address: format!("/orgs/{}/incidents/{}", visit.caller.org, encoded(&one.incident)),
            relation: vocabulary::relation(one.relation()),
            reason: visible::line(one.reason.as_ref().map(|text| text.shown()).unwrap_or_default()),
            by: visit.name(&one.by),
        })
        .collect()
}

async fn offers(visit: &Visit, service: &ServiceState, view: &ReleaseView) -> Result<Offers, ApiError> {
    let id = view.release.id.as_str();
    let mut offers = Offers {
        address: format!("/orgs/{}/releases/{}/do/", visit.caller.org, encoded(id)),
        key: Uuid::now_v7(),
        promote: Vec::new(),
        before: None,
        rollback: false,
    };
    let known = service.releases.iter().find(|one| one.release_id == id);
    if let Some(before) = known.and_then(|known| active_before(service, known)) {
        offers.before = Some((before.release_id.clone(), label(&before.version, &before.sha)));
    }
    let may = visit.may(Right::DeployExecute, None) && !service.retired;
    let is_good = view.release.status == ReleaseStatus::Active && view.standing != Some("rolledBack");
    offers.rollback = may && offers.before.is_some() && view.standing == Some("current");
    if may && is_good {
        let filter = CatalogFilter {
            kind: CatalogKind::Environment,
            ids: service.environments.iter().map(|one| one.id.clone()).collect(),
            search: None,
            running: false,
            retired: false,
            after: None,
            limit: ENVIRONMENTS,
        };
        if !filter.ids.is_empty() {
            let found = visit.app.doors.log.catalog(&visit.caller.org, &filter).await?;
            let environments = found.into_iter().filter_map(StreamState::environment);
            let others = environments.filter(|one| one.id != view.release.env_id.as_str());
            offers.promote = others.map(|one| (one.id, visible::line(&one.name))).collect();
        }
    }
    Ok(offers)
}

/// `POST …/releases/{id}/do/{action}`: the API's command of this name.
pub(crate) async fn act(form: Submission) -> Page {
    let release = encoded(form.path("id"));
    let action = form.path("action");
    if !["promote", "rollback"].contains(&action) {
        return Err(ApiError::NotFound("there is no such command".to_owned()).into());
    }
    let back = format!("/orgs/{}/releases/{release}", form.caller.org);
    let (_, body) = form.send(&format!("releases/{release}/{action}"), &form.json(), &back).await?;
    let made = body["release"]["id"].as_str().map(form::encoded);
    let next = made.map_or(back, |made| format!("/orgs/{}/releases/{made}", form.caller.org));
    Ok(see(&next, "recorded"))
}

//! The catalog's streams, on every store: the same promises as an incident's.

use harmony_catalog::{
    Command, Facts, NewRelease,
    entity::{Environment, Service},
    judge_environment, judge_service,
    words::{RunOutcome, Source},
};
use harmony_eventlog::{
    Append, CatalogAppend, CatalogAppended, Checkpoint, CheckpointKey, Export, LogError, Report, SharedLog,
    StreamState, Target,
    catalog::{self, AuditFilter, AuditPlace, CatalogFilter, CatalogKind, ReleaseFilter, RunFilter},
    export::{self, Expected},
    replay::replay,
};
use harmony_incidents::{
    self as incidents, Answer, Judged, OrgId, Refusal, ReleaseId, StreamId, WorkflowId, WorkflowType,
    judge::payload,
    log::{IncidentPrivacyChanged, Record, ReleaseStatus, RunKind, Severity, payload::Kind},
    record::stream_of,
};
use jiff::Timestamp;

use crate::{
    stores::{Backend, CatalogPart, Damage},
    world::{World, begin, context, declaration, id, named, new},
};

pub(crate) fn service(name: &str, environments: &[&str]) -> Command {
    let environments: Vec<_> =
        environments.iter().map(|id| serde_json::json!({ "id": id, "name": id })).collect();
    let service: Service = serde_json::from_value(serde_json::json!({
        "id": format!("svc-{name}"), "name": name, "repo": "github.com/acme/shop",
        "adapters": { "deployments": ["external"] }, "environments": environments,
    }))
    .unwrap();
    Command::WriteService { service: Box::new(service) }
}

pub(crate) fn environment(id: &str) -> Command {
    let environment: Environment = serde_json::from_value(serde_json::json!({
        "id": id, "name": id, "region": "eu-1", "cluster": "one", "policyRefs": [],
    }))
    .unwrap();
    Command::WriteEnvironment { environment: Box::new(environment), adapter: None }
}

pub(crate) fn release(id: &str, env: &str) -> Command {
    Command::CreateRelease {
        release: Box::new(NewRelease {
            id: id.parse().unwrap(),
            env: env.parse().unwrap(),
            sha: "9f3b7de".to_owned(),
            version: "1".to_owned(),
            promoted_from: None,
            rolls_back: None,
            source: Source::Api,
            url: String::new(),
            incident: None,
            status: ReleaseStatus::Draft,
            at: None,
        }),
    }
}

fn becomes(id: &str, to: ReleaseStatus, reason: &str) -> Command {
    Command::ChangeRelease {
        release: id.parse().unwrap(),
        to,
        reason: reason.to_owned(),
        at: None,
        run_id: None,
    }
}

pub(crate) async fn ask(
    log: &SharedLog,
    stream: &str,
    key: &str,
    command: &Command,
) -> Result<CatalogAppended, LogError> {
    ask_at(log, stream, key, command, begin()).await
}

async fn ask_at(
    log: &SharedLog,
    stream: &str,
    key: &str,
    command: &Command,
    at: Timestamp,
) -> Result<CatalogAppended, LogError> {
    let context = context(at);
    let judge = |state: &StreamState, facts: &Facts| match state {
        StreamState::Service(state) => judge_service(state, command, &context, facts),
        StreamState::Environment(state) => judge_environment(state, command, &context),
        StreamState::Incident(_) => {
            Err(Refusal::Invalid { explanation: "no stream of the catalog".to_owned() })
        }
    };
    let stream: StreamId = stream.parse().unwrap();
    let key = format!("catalog/{key}");
    log.append_catalog(CatalogAppend {
        org: &OrgId::default(),
        stream: &stream,
        key: &key,
        command,
        context: &context,
        expected_seq: None,
        run_id: None,
        judge: &judge,
        follow: Vec::new(),
    })
    .await
}

/// An environment, two services, and a release of the first that became active.
pub(crate) async fn told(on: Backend) -> World {
    let world = World::told(on).await;
    let log = &world.log;
    ask(log, "env/env-prod", "e", &environment("env-prod")).await.unwrap();
    ask(log, "svc/svc-shop", "s1", &service("shop", &["env-prod"])).await.unwrap();
    ask(log, "svc/svc-search", "s2", &service("search", &["env-prod"])).await.unwrap();
    ask(log, "svc/svc-shop", "r1", &release("rel-1", "env-prod")).await.unwrap();
    ask(log, "svc/svc-shop", "p1", &becomes("rel-1", ReleaseStatus::Promoting, "")).await.unwrap();
    ask(log, "svc/svc-shop", "a1", &becomes("rel-1", ReleaseStatus::Active, "all pods are ready"))
        .await
        .unwrap();
    world
}

async fn streams_stand_beside_incidents_and_verify(on: Backend) {
    let world = told(on).await;
    let org = OrgId::default();
    let streams: Vec<String> =
        world.log.streams(&org).await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(streams[streams.len() - 3..], ["env/env-prod", "svc/svc-search", "svc/svc-shop"]);
    assert_eq!(streams[0], id(1).to_string());
    let report = world.log.verify(&org).await.unwrap();
    assert!(report.verified, "{report:?}");
    assert_eq!(report.catalog, 3);
    assert!(replay(world.log.as_ref(), &org).await.unwrap().verified);

    let state = world.log.catalog_state(&org, &"svc/svc-shop".parse().unwrap()).await.unwrap().unwrap();
    let state = state.service().unwrap();
    assert_eq!((state.seq, state.releases.len()), (4, 1));
    assert_eq!(state.releases[0].status(), ReleaseStatus::Active);
    assert_eq!(state.releases[0].reason.as_ref().unwrap().shown(), "all pods are ready");
    let record = &world.log.records(&org, &"svc/svc-shop".parse().unwrap(), 0, 1).await.unwrap()[0].record;
    assert_eq!((record.incident.as_str(), record.subject.as_str()), ("", "svc/svc-shop"));
}

async fn an_export_holds_all_streams_and_verifies_offline(on: Backend) {
    let world = told(on).await;
    let mut export = Export::begin(world.log.clone(), OrgId::default(), None).await.unwrap();
    let mut lines = String::new();
    while let Some(some) = export.next().await.unwrap() {
        lines.push_str(&some);
    }
    let verified = export::verify(lines.as_bytes(), Expected::default()).unwrap();
    assert!(verified.report.findings.is_empty(), "{:?}", verified.report);
    assert_eq!(verified.report.catalog, 3);
    // One byte of a service's record, and it is found by its stream.
    let line = lines.lines().find(|line| line.contains("svc/svc-shop")).unwrap();
    let forged = line.replacen("\"seq\":1", "\"seq\":2", 1);
    let verified = export::verify(lines.replace(line, &forged).as_bytes(), Expected::default()).unwrap();
    assert!(
        verified.report.findings.iter().any(|one| one.incident == "svc/svc-shop"),
        "{:?}",
        verified.report
    );
}

async fn keys_and_refusals_are_kept_as_an_incidents_are(on: Backend) {
    let world = told(on).await;
    let log = &world.log;
    // Again: the first answer, and no second record.
    let again = ask(log, "svc/svc-shop", "r1", &release("rel-1", "env-prod")).await.unwrap();
    assert!(again.repeated && again.answer == Answer::Recorded);
    // Another request under the same key.
    let other = ask(log, "svc/svc-shop", "r1", &release("rel-2", "env-prod")).await.unwrap_err();
    assert!(matches!(other, LogError::KeyConflict { .. }), "{other}");
    // The id of another service's release.
    let taken = ask(log, "svc/svc-search", "r2", &release("rel-1", "env-prod")).await.unwrap_err();
    assert!(matches!(taken, LogError::Refused(_)), "{taken}");
    // What is not there.
    let dangling = ask(log, "svc/svc-pay", "s3", &service("pay", &["env-moon"])).await.unwrap_err();
    assert!(matches!(dangling, LogError::Refused(_)), "{dangling}");
    let unknown = ask(log, "svc/svc-moon", "r3", &release("rel-3", "env-prod")).await.unwrap_err();
    assert!(matches!(unknown, LogError::UnknownStream(_)), "{unknown}");
    assert!(log.verify(&OrgId::default()).await.unwrap().verified);
}

async fn lists_find_services_releases_and_who_did_what(on: Backend) {
    let world = told(on).await;
    let (log, org) = (&world.log, OrgId::default());
    ask(log, "svc/svc-shop", "r2", &release("rel-2", "env-prod")).await.unwrap();
    let filter = CatalogFilter {
        kind: CatalogKind::Service,
        ids: Vec::new(),
        search: Some("SEA".to_owned()),
        retired: false,
        running: false,
        after: None,
        limit: 10,
    };
    let found = log.catalog(&org, &filter).await.unwrap();
    assert_eq!(found.len(), 1);
    let after = CatalogFilter { search: None, after: Some("svc-search".to_owned()), ..filter };
    assert_eq!(log.catalog(&org, &after).await.unwrap().len(), 1);

    let all =
        ReleaseFilter { services: vec!["svc-shop".parse().unwrap()], limit: 10, ..ReleaseFilter::default() };
    let ids = |found: Vec<harmony_eventlog::catalog::StoredRelease>| {
        found.into_iter().map(|one| one.release.release_id).collect::<Vec<_>>()
    };
    assert_eq!(ids(log.releases(&org, &all).await.unwrap()), ["rel-2", "rel-1"]);

    // Every record of every stream, page by page, each once and in order.
    let mut filter = AuditFilter { newest_first: true, limit: 3, ..AuditFilter::default() };
    let mut places = Vec::new();
    loop {
        let page = log.audit(&org, &filter).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.beyond = Some(place(last));
        places.extend(page.iter().map(place));
    }
    let mut sorted = places.clone();
    sorted.sort();
    sorted.reverse();
    assert_eq!(places, sorted);
    let records: usize = {
        let mut count = 0;
        for stream in log.streams(&org).await.unwrap() {
            count += log.records(&org, &stream, 0, 1_000).await.unwrap().len();
        }
        count
    };
    assert_eq!(places.len(), records);
}

/// So many seconds after everything began.
fn later(seconds: i64) -> Timestamp {
    begin() + jiff::SignedDuration::from_secs(seconds)
}

/// Two services in two environments: three releases of the one, one of the other, each a minute after the one before.
pub(crate) async fn released(on: Backend) -> World {
    let world = World::new(on).await;
    release_into(&world.log).await;
    world
}

/// The story that [`released`] tells.
pub(crate) async fn release_into(log: &SharedLog) {
    for id in ["env-prod", "env-stage"] {
        ask(log, &format!("env/{id}"), id, &environment(id)).await.unwrap();
    }
    for name in ["shop", "search"] {
        let stream = format!("svc/svc-{name}");
        ask(log, &stream, name, &service(name, &["env-prod", "env-stage"])).await.unwrap();
    }
    for (id, service, env, seconds) in [
        ("rel-1", "shop", "env-prod", 60),
        ("rel-2", "shop", "env-stage", 120),
        ("rel-3", "search", "env-prod", 180),
        // Two of one time stand by their ids.
        ("rel-4", "shop", "env-prod", 240),
        ("rel-5", "search", "env-prod", 240),
    ] {
        ask_at(log, &format!("svc/svc-{service}"), id, &release(id, env), later(seconds)).await.unwrap();
    }
    for (to, seconds) in [(ReleaseStatus::Promoting, 300), (ReleaseStatus::Active, 360)] {
        let changed = becomes("rel-1", to, "all pods are ready");
        ask_at(log, "svc/svc-shop", &format!("{to:?}"), &changed, later(seconds)).await.unwrap();
    }
}

async fn listed(log: &SharedLog, filter: &ReleaseFilter) -> Vec<String> {
    let found = log.releases(&OrgId::default(), filter).await.unwrap();
    found.into_iter().map(|one| one.release.release_id).collect()
}

async fn releases_are_listed_by_service_environment_and_time(on: Backend) {
    let world = released(on).await;
    let log = &world.log;
    let any = || ReleaseFilter { limit: 10, ..ReleaseFilter::default() };
    let services = |ids: &[&str]| ids.iter().map(|id| id.parse().unwrap()).collect::<Vec<_>>();
    let (shop, prod) = (services(&["svc-shop"]), Some("env-prod".parse().unwrap()));
    let before = |seconds, id: &str| Some((later(seconds), id.parse().unwrap()));
    for (filter, expected) in [
        (any(), &["rel-5", "rel-4", "rel-3", "rel-2", "rel-1"][..]),
        (ReleaseFilter { limit: 2, ..any() }, &["rel-5", "rel-4"]),
        (ReleaseFilter { before: before(240, "rel-5"), ..any() }, &["rel-4", "rel-3", "rel-2", "rel-1"]),
        (ReleaseFilter { before: before(240, "rel-4"), limit: 2, ..any() }, &["rel-3", "rel-2"]),
        (ReleaseFilter { before: before(60, "rel-1"), ..any() }, &[]),
        (ReleaseFilter { services: shop.clone(), ..any() }, &["rel-4", "rel-2", "rel-1"]),
        (ReleaseFilter { services: services(&["svc-moon"]), ..any() }, &[]),
        (
            ReleaseFilter { services: services(&["svc-shop", "svc-search", "svc-shop"]), limit: 3, ..any() },
            &["rel-5", "rel-4", "rel-3"],
        ),
        (ReleaseFilter { environment: prod.clone(), ..any() }, &["rel-5", "rel-4", "rel-3", "rel-1"]),
        (
            ReleaseFilter { environment: prod.clone(), before: before(240, "rel-4"), ..any() },
            &["rel-3", "rel-1"],
        ),
        (ReleaseFilter { services: shop.clone(), environment: prod.clone(), ..any() }, &["rel-4", "rel-1"]),
        (
            ReleaseFilter {
                services: shop.clone(),
                environment: prod.clone(),
                before: before(240, "rel-4"),
                limit: 1,
                ..any()
            },
            &["rel-1"],
        ),
        // The oldest settled last.
        (ReleaseFilter { since: Some(later(200)), ..any() }, &["rel-5", "rel-4", "rel-1"]),
        (ReleaseFilter { since: Some(later(360)), ..any() }, &["rel-1"]),
        (ReleaseFilter { since: Some(later(361)), ..any() }, &[]),
        (ReleaseFilter { since: Some(later(200)), services: shop, limit: 1, ..any() }, &["rel-4"]),
        (ReleaseFilter { since: Some(later(0)), before: before(180, "rel-3"), ..any() }, &["rel-2", "rel-1"]),
        (
            ReleaseFilter {
                ids: ["rel-2", "rel-5", "rel-9", "rel-2"].map(|id| id.parse().unwrap()).to_vec(),
                ..any()
            },
            &["rel-5", "rel-2"],
        ),
        (ReleaseFilter { ids: vec!["rel-2".parse().unwrap()], environment: prod, ..any() }, &[]),
    ] {
        assert_eq!(listed(log, &filter).await, expected, "{filter:?}");
    }
    let one = ReleaseFilter { ids: vec!["rel-1".parse().unwrap()], ..any() };
    let one = log.releases(&OrgId::default(), &one).await.unwrap().remove(0);
    assert_eq!((one.service.as_str(), one.release.status()), ("svc-shop", ReleaseStatus::Active));
    assert_eq!(one.release.reason.unwrap().shown(), "all pods are ready");
    world.verified().await;
}

fn run(id: &str, of: &str, workflow: WorkflowType) -> Command {
    let release: ReleaseId = of.parse().unwrap();
    Command::StartRun {
        run_id: id.parse().unwrap(),
        kind: if workflow == WorkflowType::Deploy { RunKind::Deploy } else { RunKind::Promote },
        env: "env-prod".parse().unwrap(),
        workflow_id: WorkflowId::of_release(workflow, &OrgId::default(), &release).to_string(),
        release,
        adapter: "external".to_owned(),
        dry_run: false,
        attempt: 1,
    }
}

fn ended(id: &str) -> Command {
    Command::FinishRun {
        run_id: id.parse().unwrap(),
        outcome: RunOutcome::Succeeded,
        reason: "it settled".to_owned(),
    }
}

async fn runs_are_listed_by_release_and_by_id(on: Backend) {
    let world = released(on).await;
    let log = &world.log;
    for (stream, key, command, seconds) in [
        ("svc/svc-shop", "1", run("run-b", "rel-4", WorkflowType::Deploy), 400),
        ("svc/svc-shop", "2", ended("run-b"), 401),
        ("svc/svc-shop", "3", run("run-a", "rel-4", WorkflowType::Promote), 402),
        ("svc/svc-search", "4", run("run-c", "rel-3", WorkflowType::Deploy), 403),
    ] {
        ask_at(log, stream, key, &command, later(seconds)).await.unwrap();
    }
    let any = || RunFilter { limit: 10, ..RunFilter::default() };
    let releases = |ids: &[&str]| ids.iter().map(|id| id.parse().unwrap()).collect::<Vec<_>>();
    let ids = |ids: &[&str]| ids.iter().map(|id| id.parse().unwrap()).collect::<Vec<_>>();
    for (filter, expected) in [
        (any(), &["run-c", "run-b", "run-a"][..]),
        (RunFilter { releases: releases(&["rel-4"]), ..any() }, &["run-b", "run-a"]),
        (RunFilter { releases: releases(&["rel-4"]), limit: 1, ..any() }, &["run-b"]),
        (
            RunFilter { releases: releases(&["rel-4", "rel-3", "rel-9", "rel-4"]), ..any() },
            &["run-c", "run-b", "run-a"],
        ),
        (RunFilter { ids: ids(&["run-a", "run-c", "run-x", "run-a"]), ..any() }, &["run-c", "run-a"]),
        (RunFilter { ids: ids(&["run-a", "run-c"]), releases: releases(&["rel-4"]), ..any() }, &["run-a"]),
        (RunFilter { releases: releases(&["rel-9"]), ..any() }, &[]),
    ] {
        let found = log.runs(&OrgId::default(), &filter).await.unwrap();
        let found: Vec<_> = found.iter().map(|one| one.run.run_id.as_str()).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    // The id of another service's run.
    let other = run("run-b", "rel-5", WorkflowType::Deploy);
    let taken = ask(log, "svc/svc-search", "5", &other).await.unwrap_err();
    assert!(matches!(taken, LogError::Refused(_)), "{taken}");
    let one =
        log.runs(&OrgId::default(), &RunFilter { ids: ids(&["run-b"]), ..any() }).await.unwrap().remove(0);
    assert_eq!((one.service.as_str(), one.run.reason.unwrap().shown()), ("svc-shop", "it settled"));
    world.verified().await;
}

async fn services_with_a_run_that_goes_on_are_listed(on: Backend) {
    let world = released(on).await;
    let (log, org) = (&world.log, OrgId::default());
    let running = || async {
        let found = catalog::running_services(log.as_ref(), &org).await.unwrap();
        found.into_iter().map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!(running().await, [""; 0]);
    let started = incidents::Command::StartBlueprint {
        workflow_id: WorkflowId::of_release(WorkflowType::Deploy, &org, &"rel-3".parse().unwrap()),
        starter: "oncall".to_owned(),
        attested: true,
        target: None,
        refuse: None,
        input_text: "{}".to_owned(),
    };
    world.say(Target::Named("svc/svc-search".parse().unwrap()), "b1", started).await.unwrap();
    assert_eq!(running().await, ["svc-search"]);
    // Retired or not: a gate that waits is one's.
    let retire = Command::RetireService { reason: "replaced".to_owned() };
    ask(log, "svc/svc-search", "x1", &retire).await.unwrap();
    assert_eq!(running().await, ["svc-search"]);
    let shown = CatalogFilter {
        kind: CatalogKind::Service,
        ids: vec!["svc-shop".to_owned(), "svc-search".to_owned(), "svc-moon".to_owned()],
        search: None,
        retired: false,
        running: false,
        after: None,
        limit: 10,
    };
    let ids =
        |found: Vec<StreamState>| found.iter().map(|one| one.subject_id().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(log.catalog(&org, &shown).await.unwrap()), ["svc-shop"]);
    let environments = CatalogFilter { kind: CatalogKind::Environment, ids: Vec::new(), limit: 1, ..shown };
    assert_eq!(ids(catalog::all(log.as_ref(), &org, environments).await.unwrap()), ["env-prod", "env-stage"]);
    world.verified().await;
}

async fn a_release_id_belongs_to_the_first_service_that_takes_it(on: Backend) {
    const IDS: usize = 12;
    let world = told(on).await;
    let logs = [world.log.clone(), world.other().await];
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..IDS {
        for (log, service) in logs.clone().into_iter().zip(["shop", "search"]) {
            asked.spawn(async move {
                let (stream, key) = (format!("svc/svc-{service}"), format!("{service}/{number}"));
                ask(&log, &stream, &key, &release(&format!("new-{number}"), "env-prod")).await
            });
        }
    }
    let (mut taken, mut refused) = (0, 0);
    while let Some(answer) = asked.join_next().await {
        match answer.unwrap() {
            Ok(_) => taken += 1,
            Err(LogError::Refused(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((taken, refused), (IDS, IDS));
    let all = ReleaseFilter { limit: 100, ..ReleaseFilter::default() };
    assert_eq!(listed(&world.log, &all).await.len(), IDS + 1);
    world.verified().await;
}

/// An incident that the commander alone may see.
async fn hide(log: &SharedLog, number: u64) {
    let hidden = IncidentPrivacyChanged {
        private: true,
        principals: vec!["commander".to_owned()],
        ..IncidentPrivacyChanged::default()
    };
    let judged = || Judged::new(Answer::Recorded, vec![Kind::IncidentPrivacyChanged(hidden.clone())]);
    let record = Kind::IncidentPrivacyChanged(hidden.clone());
    log.append(Append {
        org: &OrgId::default(),
        target: named(number),
        key: "hide",
        command: &incidents::Command::Record { payload: payload(record) },
        context: &context(begin()),
        expected_seq: None,
        run_id: None,
        judge: &|_| Ok(judged()),
        follow: &|_| Vec::new(),
    })
    .await
    .unwrap();
}

async fn audit_is_read_from_both_ends_and_by_every_filter(on: Backend) {
    let world = released(on).await;
    let (log, org) = (&world.log, OrgId::default());
    world.say(new(), "d1", declaration("Checkout is down", Severity::P1)).await.unwrap();
    hide(log, 1).await;
    let any = || AuditFilter { limit: 100, ..AuditFilter::default() };
    let read = |filter: AuditFilter| async move {
        let found = log.audit(&OrgId::default(), &filter).await.unwrap();
        found.iter().map(place).collect::<Vec<_>>()
    };
    // All of them, once, from both ends, whatever the size of a page.
    let all = read(any()).await;
    let mut sorted = all.clone();
    sorted.sort();
    assert_eq!(all, sorted);
    let mut count = 0;
    for stream in log.streams(&org).await.unwrap() {
        count += log.records(&org, &stream, 0, 1_000).await.unwrap().len();
    }
    assert_eq!(all.len(), count);
    for newest_first in [false, true] {
        for limit in [1, 2, 3, 5, 100] {
            let mut filter = AuditFilter { newest_first, limit, ..any() };
            let mut paged = Vec::new();
            loop {
                let page = read(filter.clone()).await;
                filter.beyond = page.last().cloned();
                if page.is_empty() {
                    break;
                }
                paged.extend(page);
            }
            if newest_first {
                paged.reverse();
            }
            assert_eq!(paged, all, "{limit} at a time, newest first: {newest_first}");
        }
    }
    let only =
        |fits: &dyn Fn(&AuditPlace) -> bool| all.iter().filter(|one| fits(one)).cloned().collect::<Vec<_>>();
    let us = |at: Timestamp| at.as_microsecond();
    let shop: StreamId = "svc/svc-shop".parse().unwrap();
    for (filter, expected) in [
        (AuditFilter { streams: vec![shop.clone()], ..any() }, only(&|one| one.stream == "svc/svc-shop")),
        (
            AuditFilter { streams: vec![shop.clone(), "env/env-prod".parse().unwrap()], limit: 3, ..any() },
            only(&|one| ["svc/svc-shop", "env/env-prod"].contains(&one.stream.as_str()))[..3].to_vec(),
        ),
        (AuditFilter { since: Some(later(240)), ..any() }, only(&|one| one.ts_us >= us(later(240)))),
        (
            AuditFilter { since: Some(later(200)), streams: vec![shop], ..any() },
            only(&|one| one.ts_us >= us(later(200)) && one.stream == "svc/svc-shop"),
        ),
        (AuditFilter { actor: Some("oncall".to_owned()), ..any() }, all.clone()),
        (AuditFilter { actor: Some("nobody".to_owned()), ..any() }, Vec::new()),
        (
            AuditFilter { kinds: vec!["ENVIRONMENT_WRITTEN"], ..any() },
            only(&|one| one.stream.starts_with("env/")),
        ),
        (
            AuditFilter {
                kinds: vec!["ENVIRONMENT_WRITTEN", "SERVICE_WRITTEN", "INCIDENT_CREATED"],
                actor: Some("oncall".to_owned()),
                limit: 2,
                ..any()
            },
            only(&|one| one.seq == 1)[..2].to_vec(),
        ),
        (AuditFilter { visible_to: Some("commander".to_owned()), ..any() }, all.clone()),
        (
            AuditFilter { visible_to: Some("somebody".to_owned()), ..any() },
            only(&|one| !one.stream.starts_with("INC-")),
        ),
    ] {
        assert_eq!(read(filter.clone()).await, expected, "{filter:?}");
        let mut backwards = read(AuditFilter { newest_first: true, limit: 100, ..filter.clone() }).await;
        backwards.reverse();
        assert_eq!(backwards[..expected.len()], expected, "{filter:?}");
    }
}

async fn a_text_that_is_taken_out_is_in_no_list_any_more(on: Backend) {
    const SECRET: &str = "because Erika Mustermann said so";
    let world = told(on).await;
    let (log, org) = (&world.log, OrgId::default());
    ask(log, "svc/svc-shop", "r2", &release("rel-2", "env-prod")).await.unwrap();
    ask(log, "svc/svc-shop", "p2", &becomes("rel-2", ReleaseStatus::Promoting, "")).await.unwrap();
    let failed =
        ask(log, "svc/svc-shop", "f2", &becomes("rel-2", ReleaseStatus::Failed, SECRET)).await.unwrap();
    assert!(!world.store.holding("Mustermann").await.is_empty());
    let seq = failed.records[0].record.seq;
    let redact = Command::Redact { seq, field: None, reason: "a name".to_owned() };
    ask(log, "svc/svc-shop", "x2", &redact).await.unwrap();
    let filter = ReleaseFilter { ids: vec!["rel-2".parse().unwrap()], limit: 1, ..ReleaseFilter::default() };
    let reason = log.releases(&org, &filter).await.unwrap().remove(0).release.reason.unwrap();
    assert!(reason.redacted && reason.text.is_empty());
    let state = log.catalog_state(&org, &"svc/svc-shop".parse().unwrap()).await.unwrap().unwrap();
    let state = state.service().unwrap();
    let release = state.releases.iter().find(|one| one.release_id == "rel-2").unwrap();
    assert!(release.reason.as_ref().unwrap().redacted);
    drop(world.other().await);
    assert_eq!(world.store.holding("Mustermann").await, [""; 0]);
    world.verified().await;
}

async fn another_organisation_sees_none_of_it(on: Backend) {
    let world = released(on).await;
    ask(&world.log, "svc/svc-shop", "run", &run("run-1", "rel-4", WorkflowType::Deploy)).await.unwrap();
    let (log, acme): (_, OrgId) = (&world.log, "acme".parse().unwrap());
    let filter = |kind| CatalogFilter {
        kind,
        ids: Vec::new(),
        search: None,
        retired: true,
        running: false,
        after: None,
        limit: 10,
    };
    for kind in [CatalogKind::Service, CatalogKind::Environment] {
        assert!(log.catalog(&acme, &filter(kind)).await.unwrap().is_empty());
    }
    assert!(log.catalog_state(&acme, &"svc/svc-shop".parse().unwrap()).await.unwrap().is_none());
    let any = ReleaseFilter { limit: 10, ..ReleaseFilter::default() };
    for filter in [
        ReleaseFilter { ids: vec!["rel-1".parse().unwrap()], ..any.clone() },
        ReleaseFilter { services: vec!["svc-shop".parse().unwrap()], ..any.clone() },
        ReleaseFilter { environment: Some("env-prod".parse().unwrap()), ..any.clone() },
        ReleaseFilter { since: Some(begin()), ..any.clone() },
        any,
    ] {
        assert!(log.releases(&acme, &filter).await.unwrap().is_empty(), "{filter:?}");
    }
    let any = RunFilter { limit: 10, ..RunFilter::default() };
    for filter in [
        RunFilter { ids: vec!["run-1".parse().unwrap()], ..any.clone() },
        RunFilter { releases: vec!["rel-4".parse().unwrap()], ..any.clone() },
        any,
    ] {
        assert!(log.runs(&acme, &filter).await.unwrap().is_empty(), "{filter:?}");
    }
    let audit = AuditFilter { limit: 10, ..AuditFilter::default() };
    assert!(log.audit(&acme, &audit).await.unwrap().is_empty());
    let audit = AuditFilter { streams: vec!["svc/svc-shop".parse().unwrap()], ..audit };
    assert!(log.audit(&acme, &audit).await.unwrap().is_empty());
}

async fn projections_of_the_catalog_are_made_again(on: Backend) {
    let world = released(on).await;
    ask(&world.log, "svc/svc-shop", "run", &run("run-1", "rel-4", WorkflowType::Deploy)).await.unwrap();
    let (log, org) = (&world.log, OrgId::default());
    let all = ReleaseFilter { limit: 10, ..ReleaseFilter::default() };
    let kept = log.releases(&org, &all).await.unwrap();
    for part in [CatalogPart::Head, CatalogPart::Release, CatalogPart::Run] {
        world.damage(Damage::NoCatalog { service: "svc-shop", part }).await;
        let report = log.verify(&org).await.unwrap();
        let found: Vec<_> = report.findings.iter().map(|one| one.incident.as_str()).collect();
        assert_eq!(found, ["svc/svc-shop"], "{part:?}: {report:?}");
        let rebuilt = world.store.rebuild(&org).await.unwrap();
        assert_eq!((rebuilt.streams, rebuilt.mended), (4, 1), "{part:?}");
        world.verified().await;
        assert_eq!(log.releases(&org, &all).await.unwrap(), kept, "{part:?}");
    }
    assert_eq!(world.store.rebuild(&org).await.unwrap().mended, 0);
    // It goes on where it was.
    ask(log, "svc/svc-shop", "r9", &release("rel-9", "env-prod")).await.unwrap();
    ask(log, "svc/svc-shop", "end", &ended("run-1")).await.unwrap();
    world.verified().await;
}

async fn a_checkpoint_names_the_heads_of_the_catalog(on: Backend) {
    let world = told(on).await;
    let org = OrgId::default();
    let checkpoint = Checkpoint::of(world.log.as_ref(), &org).await.unwrap();
    let head = world.log.chain_head(&org, &"svc/svc-shop".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(head.seq, 4);
    let key = CheckpointKey::parse(&"9d".repeat(32)).unwrap();
    let note = key.sign(&checkpoint);
    assert!(note.lines().any(|line| line == format!("svc/svc-shop 4 {}", hex::encode(head.hash))), "{note}");
    ask(&world.log, "svc/svc-shop", "r2", &release("rel-2", "env-prod")).await.unwrap();
    let mut report = Report::default();
    checkpoint.check(world.log.as_ref(), &mut report).await.unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

fn place(record: &Record) -> AuditPlace {
    AuditPlace { ts_us: record.occurred_at_us, stream: stream_of(record).to_owned(), seq: record.seq }
}

crate::stores::stories! {
    streams_stand_beside_incidents_and_verify,
    an_export_holds_all_streams_and_verifies_offline,
    keys_and_refusals_are_kept_as_an_incidents_are,
    lists_find_services_releases_and_who_did_what,
    releases_are_listed_by_service_environment_and_time,
    runs_are_listed_by_release_and_by_id,
    services_with_a_run_that_goes_on_are_listed,
    a_release_id_belongs_to_the_first_service_that_takes_it,
    audit_is_read_from_both_ends_and_by_every_filter,
    a_text_that_is_taken_out_is_in_no_list_any_more,
    another_organisation_sees_none_of_it,
    projections_of_the_catalog_are_made_again,
    a_checkpoint_names_the_heads_of_the_catalog,
}

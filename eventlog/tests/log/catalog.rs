//! The catalog's streams, on every store: the same promises as an incident's.

use harmony_catalog::{
    Command, Facts, NewRelease,
    entity::{Environment, Service},
    judge_environment, judge_service,
    words::Source,
};
use harmony_eventlog::{
    CatalogAppend, CatalogAppended, Export, LogError, SharedLog, StreamState,
    catalog::{AuditFilter, AuditPlace, CatalogFilter, CatalogKind, ReleaseFilter},
    export::{self, Expected},
    replay::replay,
};
use harmony_incidents::{Answer, OrgId, Refusal, StreamId, log::ReleaseStatus};

use crate::{
    stores::Backend,
    world::{World, begin, context, id},
};

fn service(name: &str, environments: &[&str]) -> Command {
    let environments: Vec<_> =
        environments.iter().map(|id| serde_json::json!({ "id": id, "name": id })).collect();
    let service: Service = serde_json::from_value(serde_json::json!({
        "id": format!("svc-{name}"), "name": name, "repo": "github.com/acme/shop",
        "adapters": { "deployments": ["external"] }, "environments": environments,
    }))
    .unwrap();
    Command::WriteService { service: Box::new(service) }
}

fn environment(id: &str) -> Command {
    let environment: Environment = serde_json::from_value(serde_json::json!({
        "id": id, "name": id, "region": "eu-1", "cluster": "one", "policyRefs": [],
    }))
    .unwrap();
    Command::WriteEnvironment { environment: Box::new(environment), adapter: None }
}

fn release(id: &str, env: &str) -> Command {
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

async fn ask(
    log: &SharedLog,
    stream: &str,
    key: &str,
    command: &Command,
) -> Result<CatalogAppended, LogError> {
    let context = context(begin());
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
async fn told(on: Backend) -> World {
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
        let place = |entry: &harmony_eventlog::Entry| AuditPlace {
            ts_us: entry.record.occurred_at_us,
            stream: harmony_incidents::record::stream_of(&entry.record).to_owned(),
            seq: entry.record.seq,
        };
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

crate::stores::sql_stories! {
    streams_stand_beside_incidents_and_verify,
    an_export_holds_all_streams_and_verifies_offline,
    keys_and_refusals_are_kept_as_an_incidents_are,
    lists_find_services_releases_and_who_did_what,
}

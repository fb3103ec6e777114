//! DynamoDB alone: its tables, its limits, and a writer that is killed.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use harmony_catalog::{Facts, judge_service};
use harmony_eventlog::{
    Access, Address, CatalogAppend, DynamoLog, Log as _, LogError, OutboxItem, OutboxKind, SharedLog,
    StreamState, catalog::AuditFilter, open,
};
use harmony_incidents::{OrgId, log::Severity};
use serde_json::json;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::{
    catalog,
    stores::{
        Backend, Rows, Store as _,
        dynamo::{Dynamo, PREFIX, environment},
    },
    world::{Ask, World, ask, begin, context, declaration, id, named, new, note, salt, say, tell},
};

/// Set in the process that writes until it is killed.
const WRITER: &str = "HARMONY_TEST_DYNAMO_WRITER";
const WRITERS: usize = 8;

async fn opened(tables: &Dynamo) -> Result<DynamoLog, LogError> {
    DynamoLog::open(tables.client().clone(), PREFIX, salt()).await
}

#[tokio::test]
async fn tables_are_made_once_and_say_their_layout() {
    let tables = Dynamo::without_tables().await;
    let error = opened(&tables).await.err().unwrap().to_string();
    assert_eq!(error, "the database has schema 0, this version needs 2: run `harmony db migrate`");
    for found in [0, 2] {
        assert_eq!(DynamoLog::schema(tables.client(), PREFIX).await.unwrap(), (found, 2));
        assert_eq!(DynamoLog::migrate(tables.client(), PREFIX).await.unwrap(), (found, 2));
    }
    opened(&tables).await.unwrap().ping().await.unwrap();
    let error = DynamoLog::migrate(tables.client(), "no/name").await.unwrap_err().to_string();
    assert!(error.contains("a table prefix is"), "{error}");
}

#[tokio::test]
async fn tables_of_a_newer_layout_are_refused() {
    let tables = Dynamo::new().await;
    tables.declare_layout(9).await;
    for error in
        [opened(&tables).await.err().unwrap(), DynamoLog::migrate(tables.client(), PREFIX).await.unwrap_err()]
    {
        assert!(matches!(error, LogError::NewerSchema { found: 9, known: 2 }), "{error}");
    }
}

#[tokio::test]
async fn auditor_reads_and_changes_nothing() {
    let tables = Dynamo::new().await;
    tell(&tables.open().await).await;
    let log: SharedLog = Arc::new(DynamoLog::audit(tables.client().clone(), PREFIX, None).await.unwrap());
    assert!(log.verify(&OrgId::default()).await.unwrap().verified);
    let refused = say(&log, ask(named(1), "n9", note("x"))).await.unwrap_err();
    assert!(matches!(refused, LogError::ReadOnly), "{refused}");
    let item = OutboxItem { kind: OutboxKind::Wake, name: "w".to_owned(), payload: json!({}) };
    let refused = log.enqueue(&OrgId::default(), Some(&id(1)), &item).await.unwrap_err();
    assert!(matches!(refused, LogError::ReadOnly), "{refused}");
}

#[tokio::test]
async fn command_that_is_too_large_is_refused_in_words_and_leaves_nothing() {
    let world = World::new(Backend::Dynamo).await;
    let follow =
        |number: u32| OutboxItem { kind: OutboxKind::Wake, name: number.to_string(), payload: json!({}) };
    let many = Ask {
        follow: (0..120).map(follow).collect(),
        ..ask(new(), "d1", declaration("Storm", Severity::P1))
    };
    let error = say(&world.log, many).await.unwrap_err().to_string();
    assert!(error.contains("DynamoDB takes 100 at once"), "{error}");
    for rows in [Rows::Records, Rows::Texts, Rows::Incidents, Rows::Keys] {
        assert_eq!(world.count(rows).await, 0, "{rows:?}");
    }
    assert_eq!(world.log.backlog().await.unwrap().0, 0);
    // The numbers begin where nothing was taken.
    let declared = world.say(new(), "d3", declaration("Storm", Severity::P1)).await.unwrap();
    assert_eq!(declared.incident(), Some(id(1)));
}

#[tokio::test]
async fn export_is_byte_for_byte_that_of_sqlite() {
    let (here, there) = (World::told(Backend::Dynamo).await, World::told(Backend::Sqlite).await);
    assert_eq!(here.exported(None).await, there.exported(None).await);
    let (here, there) = (catalog::released(Backend::Dynamo).await, catalog::released(Backend::Sqlite).await);
    assert_eq!(here.exported(None).await, there.exported(None).await);
}

/// Layout 1 knew no audit; whoever brings it up to date finds what was recorded before, as it would be found now.
#[tokio::test]
async fn tables_of_layout_1_are_brought_up_to_date() {
    let tables = Dynamo::new().await;
    let log = tables.open().await;
    tell(&log).await;
    let all = AuditFilter { limit: 100, ..AuditFilter::default() };
    let of_one = AuditFilter { streams: vec![id(1).into()], newest_first: true, ..all.clone() };
    let read = async |log: &SharedLog| {
        let org = OrgId::default();
        (log.audit(&org, &all).await.unwrap(), log.audit(&org, &of_one).await.unwrap())
    };
    let kept = read(&log).await;
    assert_eq!((kept.0.len(), kept.1.len()), (6, 4));
    tables.forget_audit().await;
    assert_eq!(read(&log).await, (vec![], vec![]));
    tables.declare_layout(1).await;
    let error = opened(&tables).await.err().unwrap().to_string();
    assert_eq!(error, "the database has schema 1, this version needs 2: run `harmony db migrate`");
    assert_eq!(DynamoLog::migrate(tables.client(), PREFIX).await.unwrap(), (1, 2));
    assert_eq!(read(&tables.open().await).await, kept);
}

/// A release is judged by where its environment stands: one that is retired meanwhile takes none.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn environment_that_changes_while_a_release_is_judged_is_looked_at_again() {
    let world = catalog::told(Backend::Dynamo).await;
    let other = world.other().await;
    let command = catalog::release("rel-9", "env-prod");
    let context = context(begin());
    let judged = AtomicU32::new(0);
    let judge = |state: &StreamState, facts: &Facts| {
        if judged.fetch_add(1, Ordering::SeqCst) == 0 {
            let retire = harmony_catalog::Command::RetireEnvironment { reason: "moved".to_owned() };
            tokio::task::block_in_place(|| {
                Handle::current().block_on(catalog::ask(&other, "env/env-prod", "x", &retire)).unwrap();
            });
        }
        match state {
            StreamState::Service(state) => judge_service(state, &command, &context, facts),
            other => panic!("{other:?}"),
        }
    };
    let error = world
        .log
        .append_catalog(CatalogAppend {
            org: &OrgId::default(),
            stream: &"svc/svc-shop".parse().unwrap(),
            key: "late",
            command: &command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &judge,
            follow: Vec::new(),
        })
        .await
        .unwrap_err();
    assert!(matches!(error, LogError::Refused(_)), "{error}");
    assert_eq!(judged.load(Ordering::SeqCst), 2);
    world.verified().await;
}

/// Each environment that a service lists is one item of the transaction.
#[tokio::test]
async fn service_with_more_environments_than_a_transaction_checks_is_refused_in_words() {
    let world = World::new(Backend::Dynamo).await;
    let ids: Vec<String> = (0..99).map(|number| format!("env-{number}")).collect();
    for id in &ids {
        catalog::ask(&world.log, &format!("env/{id}"), id, &catalog::environment(id)).await.unwrap();
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let asked = catalog::service("shop", &ids);
    let error = catalog::ask(&world.log, "svc/svc-shop", "s", &asked).await.unwrap_err().to_string();
    assert!(error.contains("DynamoDB takes 100 at once"), "{error}");
    let fewer = catalog::service("shop", &ids[..90]);
    catalog::ask(&world.log, "svc/svc-shop", "s", &fewer).await.unwrap();
    world.verified().await;
}

/// A list that lacks something says so when it is verified, and is made again.
#[tokio::test]
async fn entries_that_lists_lack_are_found_and_made_again() {
    let tables = Dynamo::new().await;
    let log = tables.open().await;
    catalog::release_into(&log).await;
    let org = OrgId::default();
    for (pk, sk) in [
        ("default|services", "svc-shop"),
        ("default|release|rel-1", "place"),
        ("default|releases", "created|"),
        ("default|releases", "changed|"),
        ("default|env/env-prod", "release|"),
    ] {
        tables.lose(pk, sk).await;
        let report = log.verify(&org).await.unwrap();
        let problems: Vec<_> = report.findings.iter().map(|one| one.problem.as_str()).collect();
        assert!(
            !problems.is_empty() && problems.iter().all(|one| *one == "the projection is unreadable"),
            "{pk} {sk}: {problems:?}"
        );
        DynamoLog::rebuild(tables.client().clone(), PREFIX, &org).await.unwrap();
        let report = log.verify(&org).await.unwrap();
        assert!(report.verified, "{pk} {sk}: {:?}", report.findings);
    }
    let audit = AuditFilter { limit: 100, ..AuditFilter::default() };
    let kept = log.audit(&org, &audit).await.unwrap();
    tables.forget_audit().await;
    DynamoLog::rebuild(tables.client().clone(), PREFIX, &org).await.unwrap();
    assert_eq!(log.audit(&org, &audit).await.unwrap(), kept);
    // A release that no record knows goes.
    tables.copy("default|svc/svc-shop", "release|", "release|00000000000000000001|rel-x").await;
    assert!(!log.verify(&org).await.unwrap().verified);
    DynamoLog::rebuild(tables.client().clone(), PREFIX, &org).await.unwrap();
    assert!(log.verify(&org).await.unwrap().verified);
}

#[tokio::test]
async fn tables_that_are_away_are_a_transient_error() {
    let tables = Dynamo::new().await;
    let log = tables.open().await;
    tell(&log).await;
    drop(tables);
    let error = say(&log, ask(named(1), "n9", note("x"))).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

fn kills() -> u32 {
    if std::env::var("HARMONY_TEST_SCALE").is_ok_and(|scale| scale == "full") { 50 } else { 5 }
}

/// The double keeps running: what is tried is that a writer's death leaves nothing half written, and that what it was
/// told was there. That Amazon keeps what it acknowledged is Amazon's promise.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_a_kill() {
    if std::env::var_os(WRITER).is_some() {
        return write().await;
    }
    let tables = Dynamo::new().await;
    let log = tables.open().await;
    let mut acknowledged = Vec::new();
    for kill in 1..=kills() {
        let endpoint = tables.endpoint.clone();
        let said = tokio::task::spawn_blocking(move || live_and_die(&endpoint)).await.unwrap();
        assert!(!said.is_empty());
        acknowledged.extend(said);
        for (incident, seq, hash) in &acknowledged {
            let row = log.rows(&OrgId::default(), &incident.parse().unwrap(), seq - 1, 1).await.unwrap();
            let stored = row.first().map(|row| (row.seq, hex::encode(&row.hash)));
            assert_eq!(stored, Some((*seq, hash.clone())), "after kill {kill}: {incident}");
        }
        let report = log.verify(&OrgId::default()).await.unwrap();
        assert!(report.verified, "after kill {kill}: {:?}", report.findings);
    }
}

fn live_and_die(endpoint: &str) -> Vec<(String, u64, String)> {
    let life = usize::try_from(Uuid::new_v4().as_u128() % 40).unwrap() + 1;
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "dynamo::what_was_acknowledged_survives_a_kill", "--nocapture"])
        .env(WRITER, "1")
        .envs(environment(endpoint))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(writer.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((_, words)) = line.split_once("ack ") else { continue };
        let [incident, seq, hash] = words.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        said.push((incident.to_owned(), seq.parse().unwrap(), hash.to_owned()));
        if said.len() == life {
            writer.kill().unwrap();
        }
    }
    assert!(!writer.wait().unwrap().success(), "it was killed");
    said
}

/// As a process of Harmony would: by `DATABASE_URL` and Amazon's own variables.
async fn write() {
    let address = Address::parse(&format!("dynamodb://{PREFIX}")).unwrap();
    let log = open::open(&address, Access::Existing(salt()), 1).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let log = log.clone();
        tasks.spawn(async move {
            loop {
                let key = || Uuid::new_v4().to_string();
                let declared = ask(new(), &key(), declaration("Disk full", Severity::P2));
                let declared = say(&log, declared).await.unwrap();
                acknowledge(&declared);
                let (_, number) = declared.incident().unwrap().parts();
                for _ in 0..4 {
                    acknowledge(&say(&log, ask(named(number), &key(), note("full"))).await.unwrap());
                }
            }
        });
    }
    // Each goes on until it is killed, or fails.
    if let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

fn acknowledge(appended: &harmony_eventlog::Appended) {
    for entry in &appended.records {
        let hash = hex::encode(&entry.hash);
        writeln!(std::io::stdout().lock(), "ack {} {} {hash}", appended.stream, entry.record.seq).unwrap();
    }
}

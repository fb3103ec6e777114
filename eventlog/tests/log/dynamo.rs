//! DynamoDB alone: its tables, its limits, and a writer that is killed.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::Arc,
};

use harmony_eventlog::{
    Access, Address, DynamoLog, EventLog as _, LogError, OutboxItem, OutboxKind, SharedLog, open,
};
use harmony_incidents::{OrgId, log::Severity};
use serde_json::json;
use uuid::Uuid;

use crate::{
    stores::{
        Backend, Rows, Store as _,
        dynamo::{Dynamo, PREFIX, environment},
    },
    world::{Ask, World, ask, declaration, id, named, new, note, salt, say, tell},
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
    assert_eq!(error, "the database has schema 0, this version needs 1: run `harmony db migrate`");
    for found in [0, 1] {
        assert_eq!(DynamoLog::schema(tables.client(), PREFIX).await.unwrap(), (found, 1));
        assert_eq!(DynamoLog::migrate(tables.client(), PREFIX).await.unwrap(), (found, 1));
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
        assert!(matches!(error, LogError::NewerSchema { found: 9, known: 1 }), "{error}");
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
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

fn acknowledge(appended: &harmony_eventlog::Appended) {
    for entry in &appended.records {
        let hash = hex::encode(&entry.hash);
        writeln!(std::io::stdout().lock(), "ack {} {} {hash}", appended.stream, entry.record.seq).unwrap();
    }
}

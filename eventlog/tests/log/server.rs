//! What is of PostgreSQL alone: its schema, its settings, and connections that are lost.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use harmony_eventlog::{Access, Address, Append, Filter, LogError, SharedLog, catalog::AuditFilter, open};
use harmony_incidents::{OrgId, judge, log::Severity};
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};

use crate::{
    stores::{
        Backend, Rows, Store as _,
        postgres::{Postgres, is_here},
    },
    world::{
        World, ask, begin, context, declaration, gate_request, id, named, new, note, rules, salt, say, tell,
    },
};

async fn opened(address: &Address) -> Result<SharedLog, LogError> {
    open::open(address, Access::Create(salt()), 2).await
}

#[tokio::test]
async fn database_that_was_not_migrated_is_refused_with_what_to_run() {
    if !is_here() {
        return;
    }
    let database = Postgres::empty().await;
    let address = database.address();
    let error = opened(&address).await.err().expect("refused").to_string();
    assert_eq!(error, "the database has schema 0, this version needs 9: run `harmony db migrate`");
    assert_eq!(open::schema(&address).await.unwrap(), open::Schema { found: 0, known: 9 });
    assert_eq!(open::migrate(&address).await.unwrap(), open::Schema { found: 0, known: 9 });
    let log = opened(&address).await.unwrap();
    tell(&log).await;
    // Again it changes nothing.
    assert_eq!(open::migrate(&address).await.unwrap(), open::Schema { found: 9, known: 9 });
    assert_eq!(database.count(Rows::Records).await, 6);
}

#[tokio::test]
async fn database_of_an_older_schema_is_brought_up_to_date_with_what_waits() {
    if !is_here() {
        return;
    }
    let database = Postgres::new().await;
    let log = opened(&database.address()).await.unwrap();
    tell(&log).await;
    say(&log, ask(named(1), "gate", gate_request(1))).await.unwrap();
    drop(log);
    for statement in [
        "DROP INDEX events_by_time",
        "DROP INDEX events_by_kind",
        "DROP INDEX events_by_actor",
        "ALTER TABLE events DROP COLUMN occurred_at_us, DROP COLUMN actor",
        "DROP TABLE catalog, releases, runs, live_output, subscriptions",
        "DROP INDEX candidates_by_correlation",
        "ALTER TABLE promotion_attempts DROP COLUMN document",
        "DROP INDEX promotion_attempts_by_candidate",
        "ALTER TABLE incidents DROP COLUMN waiting, DROP COLUMN visible_to, DROP COLUMN drill",
        "DELETE FROM harmony_schema WHERE version >= 3",
    ] {
        database.sql(statement).await;
    }
    assert_eq!(open::migrate(&database.address()).await.unwrap().found, 2);
    let log = opened(&database.address()).await.unwrap();
    let waiting = Filter { waiting: true, limit: 10, ..Filter::default() };
    let filter = AuditFilter {
        streams: vec!["INC-2026-0001".parse().unwrap()],
        actor: Some("oncall".to_owned()),
        newest_first: true,
        limit: 1,
        ..AuditFilter::default()
    };
    let last = log.audit(&OrgId::default(), &filter).await.unwrap().remove(0);
    assert_eq!((last.incident.as_str(), last.actor.as_str()), ("INC-2026-0001", "oncall"));
    let found = log.list(&OrgId::default(), &waiting).await.unwrap();
    assert_eq!(found.iter().map(|state| state.incident.as_str()).collect::<Vec<_>>(), ["INC-2026-0001"]);
    assert!(log.verify(&OrgId::default()).await.unwrap().verified);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn those_who_migrate_at_once_migrate_once() {
    if !is_here() {
        return;
    }
    let database = Postgres::empty().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let address = database.address();
        tasks.spawn(async move { open::migrate(&address).await.unwrap().found });
    }
    let mut found = tasks.join_all().await;
    found.sort_unstable();
    assert_eq!(found, [0, 9, 9, 9, 9, 9]);
}

#[tokio::test]
async fn database_of_a_newer_schema_is_refused_and_left_alone() {
    if !is_here() {
        return;
    }
    let database = Postgres::new().await;
    database.sql("INSERT INTO harmony_schema (version) VALUES (99)").await;
    let expected = "the database has schema 99, this version knows 9: use a newer Harmony";
    assert_eq!(opened(&database.address()).await.err().expect("refused").to_string(), expected);
    let error = open::migrate(&database.address()).await.unwrap_err();
    assert_eq!(error.to_string(), expected);
}

/// Between a migration and the end of a rolling upgrade, and after going back by one release.
#[tokio::test]
async fn newer_schema_that_only_adds_is_worked_on_and_left_as_it_is() {
    if !is_here() {
        return;
    }
    let database = Postgres::new().await;
    let next =
        "ALTER TABLE incidents ADD COLUMN of_the_next_release TEXT; CREATE TABLE of_the_next (id BIGINT);";
    database.sql(&format!("{next} INSERT INTO harmony_schema (version, oldest) VALUES (10, 9)")).await;
    let log = opened(&database.address()).await.unwrap();
    log.ping().await.unwrap();
    tell(&log).await;
    let report = log.verify(&OrgId::default()).await.unwrap();
    assert!(report.findings.is_empty() && report.records == 6, "{report:?}");
    assert_eq!(open::migrate(&database.address()).await.unwrap().found, 10);
    // What makes the projections again has to know all of them.
    let error = open::rebuild(&database.address(), &OrgId::default()).await.unwrap_err();
    assert!(matches!(error, LogError::NewerSchema { found: 10, known: 9 }), "{error}");
    database.sql("INSERT INTO harmony_schema (version, oldest) VALUES (11, 10)").await;
    let error = opened(&database.address()).await.err().expect("refused");
    assert!(matches!(error, LogError::NewerSchema { found: 11, known: 9 }), "{error}");
}

#[tokio::test]
async fn server_that_is_not_there_is_told_in_one_line_without_the_password() {
    let address = Address::parse("postgres://me:hunter2@127.0.0.1:1/log").unwrap();
    let error = opened(&address).await.err().expect("refused").to_string();
    assert!(error.starts_with("cannot open the database postgres://127.0.0.1:1/log: "), "{error}");
    assert!(!error.contains('\n') && !error.contains("hunter2"), "{error}");
}

/// A server that has no certificate is refused where the URL asks for one.
#[tokio::test]
async fn tls_is_what_the_address_says() {
    if !is_here() {
        return;
    }
    let database = Postgres::new().await;
    let without = PgConnectOptions::clone(match &database.address() {
        Address::Postgres(options) => options,
        other => panic!("{other}"),
    });
    assert!(without.clone().connect().await.is_ok());
    let address = Address::Postgres(Box::new(without.ssl_mode(sqlx::postgres::PgSslMode::Require)));
    let error = opened(&address).await.err().expect("refused");
    assert!(matches!(error, LogError::Open { .. }), "{error}");
}

/// While the command is judged its transaction is open: what the server says of it then is what it is committed with.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn appends_are_durable_whatever_the_server_was_told() {
    if !is_here() {
        return;
    }
    let database = Postgres::new().await;
    database.sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$").await;
    // Every commit looks at its own setting.
    database
        .sql(
            "CREATE TABLE seen (setting TEXT);
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER look AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look()",
        )
        .await;
    tell(&database.open().await).await;
    let seen = database.values("SELECT setting FROM seen").await;
    assert_eq!(seen, ["on"; 6]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connection_lost_in_mid_append_leaves_nothing_and_may_be_tried_again() {
    if !is_here() {
        return;
    }
    let database = Arc::new(Postgres::new().await);
    let log = database.open().await;
    tell(&log).await;
    let (command, context, rules) = (note("lost"), context(begin()), rules());
    let judged = AtomicU32::new(0);
    let cut = |head: harmony_incidents::Head<'_>| {
        judged.fetch_add(1, Ordering::Relaxed);
        // Somebody ends every other connection to this database.
        let database = database.clone();
        let ended = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| ended.block_on(database.end_connections()));
        judge(head, &command, &context, rules.rules())
    };
    let error = log
        .append(Append {
            org: &OrgId::default(),
            target: named(1),
            key: "lost",
            command: &command,
            context: &context,
            expected_seq: None,
            run_id: None,
            judge: &cut,
            follow: &|_| Vec::new(),
        })
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert_eq!(judged.load(Ordering::Relaxed), 1, "it is up to the caller to try again");
    assert_eq!((database.count(Rows::Records).await, database.count(Rows::Keys).await), (6, 6));
    // The same log goes on with new connections.
    let again = loop {
        match say(&log, ask(named(1), "lost", note("lost"))).await {
            Err(error) if error.is_transient() => {}
            other => break other.unwrap(),
        }
    };
    assert!(!again.repeated);
    assert_eq!(again.records[0].record.seq, 5);
}

#[tokio::test]
async fn what_postgresql_cannot_hold_is_refused_and_a_note_may_hold_anything() {
    if !is_here() {
        return;
    }
    let world = World::told(Backend::Postgres).await;
    let refused = world.say(named(1), "a\0b", note("x")).await.unwrap_err();
    assert!(matches!(refused, LogError::Refused(_)) && !refused.is_transient(), "{refused:?}");
    world.say(named(1), "n9", note("a\0b")).await.unwrap();
    world.verified().await;
    let text = world.log.rows(&OrgId::default(), &id(1), 4, 1).await.unwrap()[0].texts["note"].2.clone();
    assert_eq!(text, "a\0b");
}

#[tokio::test]
async fn audited_log_takes_nothing() {
    if !is_here() {
        return;
    }
    let database = Postgres::new().await;
    tell(&database.open().await).await;
    let log = open::open(&database.address(), Access::Audit(None), 2).await.unwrap();
    assert!(log.verify(&OrgId::default()).await.unwrap().verified);
    let error = say(&log, ask(new(), "d9", declaration("Disk full", Severity::P1))).await.unwrap_err();
    assert!(matches!(error, LogError::ReadOnly), "{error:?}");
    let item = harmony_eventlog::OutboxItem {
        kind: harmony_eventlog::OutboxKind::Wake,
        name: "w".to_owned(),
        payload: serde_json::Value::Null,
    };
    assert!(log.enqueue(&OrgId::default(), Some(&id(1)), &item).await.is_err());
    assert_eq!(database.count(Rows::Records).await, 6);
}

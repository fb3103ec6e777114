//! SQLite files that cannot be a log: one clear line each, and no panic.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use harmony_eventlog::{Filter, Log as _, LogError, SharedLog, SqliteLog, catalog::AuditFilter};
use harmony_incidents::OrgId;
use tempfile::TempDir;

use crate::{
    stores::{
        Rows, Store as _,
        sqlite::{Sqlite, sql},
    },
    world::{ask, declaration, gate_request, id, named, new, note, salt, say, tell},
};

/// Set in the process that opens a file as somebody who may only read it.
const READER: &str = "HARMONY_TEST_READ_ONLY";
/// `nobody` on Linux.
const NOBODY: u32 = 65_534;

/// A file with a story in it.
async fn told() -> Sqlite {
    let file = Sqlite::new().await;
    tell(&file.open().await).await;
    file
}

async fn refused(path: &Path) -> String {
    let error = SqliteLog::open(path, salt()).await.err().expect("refused");
    let text = error.to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

#[tokio::test]
async fn log_that_was_closed_opens_again_as_it_was() {
    let file = told().await;
    let again = SqliteLog::open_existing(&file.path(), salt()).await.unwrap();
    again.ping().await.unwrap();
    assert_eq!(again.verify(&OrgId::default()).await.unwrap().records, 6);
}

#[tokio::test]
async fn database_of_a_newer_schema_is_refused() {
    let file = told().await;
    sql(&file.path(), "PRAGMA user_version = 99").await;
    assert_eq!(
        refused(&file.path()).await,
        "the database has schema 99, this version knows 10: use a newer Harmony"
    );
    sql(&file.path(), "PRAGMA user_version = 10").await;
    assert_eq!(file.count(Rows::Records).await, 6, "it was not touched");
}

#[tokio::test]
async fn file_of_an_older_schema_is_brought_up_to_date_with_what_waits() {
    let file = told().await;
    say(&file.open().await, ask(named(1), "gate", gate_request(1))).await.unwrap();
    for statement in [
        "DROP INDEX events_by_time",
        "DROP INDEX events_by_kind",
        "DROP INDEX events_by_actor",
        "ALTER TABLE events DROP COLUMN occurred_at_us",
        "ALTER TABLE events DROP COLUMN actor",
        "DROP TABLE catalog",
        "DROP TABLE releases",
        "DROP TABLE runs",
        "DROP TABLE live_output",
        "DROP TABLE subscriptions",
        "DROP INDEX candidates_by_correlation",
        "DROP INDEX promotion_attempts_by_candidate",
        "ALTER TABLE promotion_attempts DROP COLUMN document",
        "DROP INDEX incidents_waiting",
        "ALTER TABLE incidents DROP COLUMN waiting",
        "ALTER TABLE incidents DROP COLUMN visible_to",
        "ALTER TABLE incidents DROP COLUMN drill",
        "PRAGMA user_version = 3",
    ] {
        sql(&file.path(), statement).await;
    }
    let log = file.open().await;
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

#[tokio::test]
async fn database_of_no_known_schema_is_refused() {
    let file = told().await;
    sql(&file.path(), "PRAGMA user_version = -3").await;
    assert!(refused(&file.path()).await.starts_with("cannot open the database"));
}

#[tokio::test]
async fn what_is_no_database_is_refused_by_name() {
    let directory = TempDir::new().unwrap();
    let garbage = directory.path().join("garbage.db");
    fs::write(&garbage, "this is no database\n".repeat(400)).unwrap();
    let empty_parent = directory.path().join("missing").join("harmony.db");
    for (path, reason) in [
        (directory.path(), "unable to open database file"),
        (garbage.as_path(), "file is not a database"),
        (empty_parent.as_path(), "unable to open database file"),
    ] {
        let expected = format!("cannot open the database {}: {reason}", path.display());
        assert_eq!(refused(path).await, expected);
    }
    let missing = directory.path().join("missing.db");
    let error = SqliteLog::open_existing(&missing, salt()).await.err().expect("refused");
    assert!(matches!(error, LogError::Open { .. }), "{error}");
    assert!(!missing.exists(), "asking for a log makes none");
    assert!(fs::read(&garbage).unwrap().starts_with(b"this is no database"), "it was not touched");
}

#[tokio::test]
async fn somebody_elses_database_is_refused() {
    let other = TempDir::new().unwrap();
    let path = other.path().join("other.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql("CREATE TABLE events (id INTEGER)").execute(&mut connection).await.unwrap();
    let text = refused(&path).await;
    assert!(text.ends_with("table events already exists"), "{text}");
}

#[tokio::test]
async fn database_cut_in_half_gives_errors_and_no_panic() {
    let file = told().await;
    let log = file.open().await;
    for number in 0..40 {
        let asked = ask(named(1), &format!("fill-{number}"), note(&"x".repeat(1_000)));
        say(&log, asked).await.unwrap();
    }
    sql(&file.path(), "PRAGMA wal_checkpoint(TRUNCATE)").await;
    let whole = fs::read(file.path()).unwrap();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("half.db");
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = match SqliteLog::open(&path, salt()).await {
        Err(error) => error,
        Ok(log) => {
            let verified = log.verify(&OrgId::default()).await;
            drop(log.records(&OrgId::default(), &id(1), 0, 100).await);
            verified.expect_err("half a database is no log")
        }
    };
    assert!(!error.to_string().contains('\n'), "{error}");
}

/// Opens the file as a user who may read it and no more. Root may write anything, so it becomes somebody else first.
#[test]
fn read_only_file_is_refused_in_one_line() {
    if let Ok(path) = std::env::var(READER) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let text = runtime.block_on(refused(Path::new(&path)));
        assert!(text.starts_with("cannot open the database"), "{text}");
        assert!(text.contains("readonly") || text.contains("unable to open"), "{text}");
        // Whoever only reads needs no more than that.
        runtime.block_on(async {
            let log = SqliteLog::audit(Path::new(&path), None).await.unwrap();
            let report = log.verify(&OrgId::default()).await.unwrap();
            assert!(report.verified && report.records == 1, "{report:?}");
        });
        return;
    }
    for held_open in [false, true] {
        refuse_a_reader(held_open);
    }
}

fn refuse_a_reader(held_open: bool) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("harmony.db");
    let log = runtime.block_on(async {
        let log: SharedLog = Arc::new(SqliteLog::open(&path, salt()).await.unwrap());
        let declared = ask(new(), "d1", declaration("Disk full", harmony_incidents::log::Severity::P1));
        say(&log, declared).await.unwrap();
        log
    });
    // Still open elsewhere, the files beside it lie there; closed, they do not. Neither may be written.
    if held_open {
        reader_is_refused_and_auditor_is_not(&directory, &path);
        drop((log, runtime));
    } else {
        drop((log, runtime));
        reader_is_refused_and_auditor_is_not(&directory, &path);
    }
}

fn reader_is_refused_and_auditor_is_not(directory: &TempDir, path: &Path) {
    let program = directory.path().join("reader");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let beside = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
    let files = ["", "-wal", "-shm"].map(|suffix| (beside(suffix), 0o444));
    let shown = [(program.clone(), 0o555), (directory.path().to_owned(), 0o555)];
    for (path, mode) in files.into_iter().filter(|(path, _)| path.exists()).chain(shown) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut reader = process::Command::new(&program);
    reader.args(["--exact", "opening::read_only_file_is_refused_in_one_line", "--nocapture"]);
    reader.env(READER, path);
    if fs::OpenOptions::new().write(true).open(path).is_ok() {
        reader.uid(NOBODY).gid(NOBODY);
    }
    let output = reader.output().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn auditor_changes_nothing_of_a_file_that_is_in_use() {
    let file = told().await;
    let log = file.open().await;
    let audited: SharedLog = Arc::new(SqliteLog::audit(&file.path(), None).await.unwrap());
    say(&log, ask(named(1), "later", note("later"))).await.unwrap();
    assert_eq!(audited.verify(&OrgId::default()).await.unwrap().records, 7, "what is appended is seen");
    let refused = say(&audited, ask(named(1), "n9", note("x"))).await.unwrap_err();
    assert!(matches!(refused, LogError::ReadOnly), "{refused:?}");
    let refused = audited.complete_effect(&OrgId::default(), "e", &serde_json::json!(1)).await.unwrap_err();
    assert!(matches!(refused, LogError::ReadOnly), "{refused:?}");
    assert_eq!(file.count(Rows::Records).await, 7);
}

#[tokio::test]
async fn auditor_does_not_bring_a_file_up_to_date() {
    let file = told().await;
    sql(&file.path(), "PRAGMA user_version = 1").await;
    let error = SqliteLog::audit(&file.path(), None).await.err().expect("refused").to_string();
    assert_eq!(error, "the database has schema 1, this version needs 10: run `harmony db migrate`");
    let missing = file.path().with_file_name("missing.db");
    assert!(matches!(SqliteLog::audit(&missing, None).await, Err(LogError::Open { .. })));
    assert!(!missing.exists());
}

#[tokio::test]
async fn the_file_and_what_lies_beside_it_are_their_owners_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("harmony.db");
    let modes = || {
        let files = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path());
        let mut modes: Vec<_> = files
            .map(|file| {
                let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
                (file.file_name().unwrap().to_str().unwrap().to_owned(), mode)
            })
            .collect();
        modes.sort();
        modes
    };
    let closed = ["harmony.db", "harmony.db-shm", "harmony.db-wal"].map(|name| (name.to_owned(), 0o600));
    let log: SharedLog = Arc::new(SqliteLog::open(&path, salt()).await.unwrap());
    say(&log, ask(new(), "d1", declaration("Disk full", harmony_incidents::log::Severity::P1)))
        .await
        .unwrap();
    assert_eq!(modes(), closed);
    for (name, _) in &closed {
        fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let other = SqliteLog::open(&path, salt()).await.unwrap();
    assert_eq!(modes(), closed);
    assert!(other.verify(&OrgId::default()).await.unwrap().verified);
}

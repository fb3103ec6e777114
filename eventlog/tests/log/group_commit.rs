//! Writers of one process share commits on SQLite; who is cancelled, refused or out of disk takes nobody along.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use harmony_eventlog::{LogError, SharedLog, SqliteLog};
use harmony_incidents::{OrgId, log::Severity};
use tokio::{sync::Barrier, task::JoinSet};

use crate::{
    stores::{
        Rows, Store as _,
        sqlite::{Sqlite, sql},
    },
    world::{ask, declaration, exported, named, new, note, salt, say, tell},
};

const WRITERS: usize = 64;
/// Set in the process whose files have an end: the file to write to.
const SMALL_DISK: &str = "HARMONY_TEST_SMALL_DISK";

/// How many commits the write-ahead log holds: frames that say how large the file is afterwards.
fn commits(path: &Path) -> usize {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let wal = fs::read(wal).unwrap();
    let page = u32::from_be_bytes(wal[8..12].try_into().unwrap()) as usize;
    // A header of 32 bytes; before each page a header of 24, the second word of which is that size.
    wal[32..].chunks_exact(24 + page).filter(|frame| frame[4..8] != [0; 4]).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_that_come_together_share_commits() {
    let file = Sqlite::new().await;
    let log = file.open().await;
    for number in 0..WRITERS {
        let key = format!("d{number}");
        say(&log, ask(new(), &key, declaration("Disk full", Severity::P2))).await.unwrap();
    }
    // What is counted begins anew: the write-ahead log would do so by itself somewhere on the way.
    sql(&file.path(), "PRAGMA wal_checkpoint(TRUNCATE)").await;
    let together = Arc::new(Barrier::new(WRITERS));
    let mut tasks = JoinSet::new();
    for number in 1..=WRITERS as u64 {
        let (log, together) = (log.clone(), together.clone());
        tasks.spawn(async move {
            together.wait().await;
            say(&log, ask(named(number), &format!("n{number}"), note("at once"))).await.unwrap();
        });
    }
    tasks.join_all().await;
    let made = commits(&file.path());
    assert!(made <= WRITERS / 4, "{made} commits for {WRITERS} appends");
    assert_eq!(file.count(Rows::Records).await, 2 * WRITERS as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn refused_and_cancelled_writers_leave_the_others_alone() {
    let file = Sqlite::new().await;
    let log = file.open().await;
    tell(&log).await;
    let mut tasks = JoinSet::new();
    for number in 0..150_u64 {
        let log = log.clone();
        tasks.spawn(async move {
            let key = format!("w{number}");
            match number % 3 {
                0 => {
                    let refused = say(&log, ask(new(), &key, declaration("", Severity::P1))).await;
                    assert!(matches!(refused, Err(LogError::Refused(_))), "{refused:?}");
                    None
                }
                1 => {
                    // Given up somewhere on the way, each at another place.
                    let asked = say(&log, ask(named(1), &key, note("given up")));
                    drop(tokio::time::timeout(Duration::from_micros(number * 20), asked).await);
                    None
                }
                _ => Some(say(&log, ask(named(1), &key, note("stays"))).await.unwrap().records[0].record.seq),
            }
        });
    }
    let kept: Vec<u64> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!((kept.len(), kept.iter().collect::<BTreeSet<_>>().len()), (50, 50));
    // Whatever was given up is there whole or not at all, and the log goes on.
    say(&log, ask(named(1), "after", note("after"))).await.unwrap();
    let report = log.verify(&OrgId::default()).await.unwrap();
    assert!(report.verified, "{:?}", report.findings);
    assert!(report.records > 6 + 50);
    assert_eq!(file.count(Rows::Records).await, file.count(Rows::Keys).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_given_up_right_after_it_was_written_holds_nobody_up() {
    let file = Sqlite::new().await;
    let (log, other) = (file.open().await, file.open().await);
    tell(&log).await;
    for round in 0..40_u64 {
        let key = format!("given-up-{round}");
        let given_up = say(&log, ask(named(1), &key, note("given up")));
        drop(tokio::time::timeout(Duration::from_micros(round * 50), given_up).await);
        // Another process gets at the file: no transaction was left open.
        say(&other, ask(named(2), &format!("other-{round}"), note("other"))).await.unwrap();
    }
    assert!(log.verify(&OrgId::default()).await.unwrap().verified);
}

/// Writes until the disk is full, saying what was acknowledged.
async fn fill(path: &Path) {
    let log: SharedLog = Arc::new(SqliteLog::open(path, salt()).await.unwrap());
    let mut out = std::io::stdout();
    for number in 0.. {
        match say(&log, ask(named(1), &format!("fill-{number}"), note(&"x".repeat(3_000)))).await {
            Ok(appended) => writeln!(out, "ack {}", appended.records[0].record.seq).unwrap(),
            Err(error) => {
                writeln!(out, "error {} {error}", error.is_transient()).unwrap();
                // It is the same the second time, and reading goes on.
                let again = say(&log, ask(named(1), "again", note(&"x".repeat(30_000)))).await.unwrap_err();
                writeln!(out, "error {} {again}", again.is_transient()).unwrap();
                assert!(log.verify(&OrgId::default()).await.unwrap().verified);
                return;
            }
        }
    }
}

#[test]
fn full_disk_is_told_and_nothing_is_half_written() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Ok(path) = std::env::var(SMALL_DISK) {
        return runtime.block_on(fill(Path::new(&path)));
    }
    let file = runtime.block_on(Sqlite::new());
    runtime.block_on(async { tell(&file.open().await).await });
    // No file of this process may grow beyond 1 MiB; the signal that says so is ignored, and writing fails.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .arg("group_commit::full_disk_is_told_and_nothing_is_half_written")
        .env(SMALL_DISK, file.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let last = said.lines().filter_map(|line| line.split_once("ack ")).next_back().expect("some fitted").1;
    let errors: Vec<&str> = said.lines().filter_map(|line| Some(line.split_once("error ")?.1)).collect();
    assert_eq!(errors.len(), 2);
    for error in errors {
        assert!(error.starts_with("true the store cannot be written ("), "{error}");
    }
    runtime.block_on(async {
        let log = file.open().await;
        let report = log.verify(&OrgId::default()).await.unwrap();
        assert!(report.verified, "{:?}", report.findings);
        assert_eq!(report.records, last.parse::<u64>().unwrap() + 2, "what was acknowledged, and no more");
        assert_eq!(file.count(Rows::Keys).await, report.records);
        say(&log, ask(named(1), "again", note(&"x".repeat(30_000)))).await.unwrap();
        assert!(exported(log, None).await.ends_with('\n'));
    });
}

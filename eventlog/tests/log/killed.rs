//! Durable before acknowledged: a writer is killed at a random moment, and everything it was told is in the log.
//!
//! The test runs this binary again as the writer, which says on stdout what it was acknowledged, and kills it with
//! SIGKILL. What was said before is then looked for in the log, by hash.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use harmony_eventlog::{SharedLog, SqliteLog};
use harmony_incidents::{IncidentId, OrgId, log::Severity};
use uuid::Uuid;

use crate::stores::{Store as _, sqlite::Sqlite};
use crate::world::{ask, declaration, named, new, note, salt, say};

const NAME: &str = "killed::what_was_acknowledged_survives_a_kill";
/// Set in the writer: the file to write to.
const WRITER: &str = "HARMONY_TEST_WRITER";
const WRITERS: u64 = 16;
/// The kill comes after 1 to this many acknowledgements.
const LONGEST_LIFE: u128 = 200;

struct Acknowledged {
    incident: IncidentId,
    seq: u64,
    hash: String,
}

fn kills() -> u32 {
    if std::env::var("HARMONY_TEST_SCALE").is_ok_and(|scale| scale == "full") { 50 } else { 10 }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Ok(path) = std::env::var(WRITER) {
        return runtime.block_on(write(Path::new(&path)));
    }
    let file = runtime.block_on(Sqlite::new());
    let mut acknowledged = Vec::new();
    for kill in 1..=kills() {
        let said = live_and_die(&file.path());
        assert!(!said.is_empty());
        acknowledged.extend(said);
        runtime.block_on(async {
            let log = file.open().await;
            all_there(&log, &acknowledged, kill).await;
            let report = log.verify(&OrgId::default()).await.unwrap();
            assert!(report.verified, "after kill {kill}: {:?}", report.findings);
            assert!(report.records >= u64::try_from(acknowledged.len()).unwrap());
        });
    }
}

/// Starts a writer, kills it after some acknowledgements, and tells everything it had said by then.
fn live_and_die(path: &Path) -> Vec<Acknowledged> {
    let life = Uuid::new_v4().as_u128() % LONGEST_LIFE + 1;
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(WRITER, path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(writer.stdout.take().unwrap()).lines() {
        // The harness may write its own words before the first.
        let line = line.unwrap();
        let Some((_, words)) = line.split_once("ack ") else { continue };
        let [incident, seq, hash] = words.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        said.push(Acknowledged {
            incident: incident.parse().unwrap(),
            seq: seq.parse().unwrap(),
            hash: hash.to_owned(),
        });
        if said.len() as u128 == life {
            writer.kill().unwrap();
        }
    }
    assert!(!writer.wait().unwrap().success(), "it was killed");
    said
}

async fn all_there(log: &SharedLog, acknowledged: &[Acknowledged], kill: u32) {
    let mut by_incident = std::collections::BTreeMap::<&IncidentId, Vec<&Acknowledged>>::new();
    for one in acknowledged {
        by_incident.entry(&one.incident).or_default().push(one);
    }
    for (incident, said) in by_incident {
        let records = log.records(&OrgId::default(), incident, 0, u32::MAX).await.unwrap();
        for one in said {
            let place = usize::try_from(one.seq).unwrap() - 1;
            let stored = records.get(place).map(|entry| hex::encode(&entry.hash));
            assert_eq!(stored.as_ref(), Some(&one.hash), "after kill {kill}: {incident} seq {}", one.seq);
        }
    }
}

/// Appends from many tasks until killed: each declares an incident and writes notes to it.
async fn write(path: &Path) {
    let log: SharedLog = Arc::new(SqliteLog::open(path, salt()).await.unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let log = log.clone();
        tasks.spawn(async move {
            loop {
                let key = Uuid::new_v4().to_string();
                let declared =
                    say(&log, ask(new(), &key, declaration("Disk full", Severity::P2))).await.unwrap();
                acknowledge(&declared);
                let (_, number) = declared.incident.parts();
                for _ in 0..9 {
                    let key = Uuid::new_v4().to_string();
                    acknowledge(&say(&log, ask(named(number), &key, note(&key))).await.unwrap());
                }
            }
        });
    }
    tasks.join_all().await;
}

fn acknowledge(appended: &harmony_eventlog::Appended) {
    for entry in &appended.records {
        let hash = hex::encode(&entry.hash);
        writeln!(std::io::stdout().lock(), "ack {} {} {hash}", appended.incident, entry.record.seq).unwrap();
    }
}

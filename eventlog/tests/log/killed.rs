//! Durable before acknowledged: writers are killed at a random moment, and everything they were told is in the log.
//!
//! The story runs this binary again as the writers, which say on stdout what they were acknowledged, and kills it with
//! SIGKILL. What was said before is then looked for in the log, by hash.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    time::Duration,
};

use harmony_eventlog::{Access, Address, SharedLog, open};
use harmony_incidents::{IncidentId, OrgId, log::Severity};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use uuid::Uuid;

use crate::{
    stores::{Backend, sql_stories},
    world::{World, ask, declaration, named, new, note, salt, say},
};

sql_stories! {
    what_was_acknowledged_survives_a_kill,
}

/// The test that is the writer when [`WRITER`] is set, whichever store that names.
const NAME: &str = "killed::sqlite::what_was_acknowledged_survives_a_kill";
/// Set in the writer: where the log is.
const WRITER: &str = "HARMONY_TEST_WRITER";
const WRITERS: u64 = 64;
/// The kill comes after 1 to this many acknowledgements.
const LONGEST_LIFE: u128 = 300;

/// A process that hangs is cut off after 3 s; a loaded machine is slow.
const GIVES_WAY: Duration = Duration::from_secs(60);

struct Acknowledged {
    incident: IncidentId,
    seq: u64,
    hash: String,
}

/// A killed client is all the same to a server, which the kill does not reach; it gets fewer.
fn kills(on: Backend) -> u32 {
    let is_full = std::env::var("HARMONY_TEST_SCALE").is_ok_and(|scale| scale == "full");
    match (on, is_full) {
        (Backend::Sqlite, false) => 50,
        (Backend::Sqlite, true) => 200,
        (_, false) => 10,
        (_, true) => 50,
    }
}

async fn what_was_acknowledged_survives_a_kill(on: Backend) {
    if let Ok(url) = std::env::var(WRITER) {
        return write(&url).await;
    }
    let world = World::new(on).await;
    let mut acknowledged = Vec::new();
    for kill in 1..=kills(on) {
        let url = world.store.url();
        let said = tokio::task::spawn_blocking(move || live_and_die(&url)).await.unwrap();
        assert!(!said.is_empty());
        // Opened anew, as the next process would.
        all_there(&world.other().await, &said, kill).await;
        acknowledged.extend(said);
    }
    all_there(&world.log, &acknowledged, 0).await;
    let report = world.log.verify(&OrgId::default()).await.unwrap();
    assert!(report.verified, "{:?}", report.findings);
    assert!(report.records >= u64::try_from(acknowledged.len()).unwrap());
}

/// Starts the writers, kills them after some acknowledgements, and tells everything they had said by then.
fn live_and_die(url: &str) -> Vec<Acknowledged> {
    let life = Uuid::new_v4().as_u128() % LONGEST_LIFE + 1;
    let (mut writer, acknowledged) = start(url);
    let mut said = Vec::new();
    for one in acknowledged {
        said.push(one);
        if said.len() as u128 == life {
            writer.kill().unwrap();
        }
    }
    assert!(!writer.wait().unwrap().success(), "it was killed");
    said
}

/// Starts the writers; gives what they say.
fn start(url: &str) -> (Child, impl Iterator<Item = Acknowledged> + use<>) {
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(WRITER, url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    let acknowledged = lines.filter_map(|line| {
        // The harness may write its own words before the first.
        let line = line.unwrap();
        let (_, words) = line.split_once("ack ")?;
        let [incident, seq, hash] = words.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        Some(Acknowledged {
            incident: incident.parse().unwrap(),
            seq: seq.parse().unwrap(),
            hash: hash.to_owned(),
        })
    });
    (writer, acknowledged)
}

/// Its connections stand, so the server has no reason to take its locks from it but time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn process_that_hangs_in_the_midst_of_appends_holds_nobody_up_for_long() {
    if !Backend::Postgres.is_here() {
        return;
    }
    let world = World::new(Backend::Postgres).await;
    let (mut writer, acknowledged) = start(&world.store.url());
    let said: Vec<Acknowledged> = acknowledged.take(200).collect();
    kill(Pid::from_raw(writer.id().try_into().unwrap()), Signal::SIGSTOP).unwrap();
    let mut appends = tokio::task::JoinSet::new();
    for number in said.iter().map(|one| one.incident.parts().1).collect::<BTreeSet<_>>() {
        let log = world.log.clone();
        appends.spawn(
            async move { say(&log, ask(named(number), &format!("after/{number}"), note("on"))).await },
        );
    }
    let log = world.log.clone();
    appends.spawn(async move { say(&log, ask(new(), "after", declaration("On", Severity::P2))).await });
    let appended = tokio::time::timeout(GIVES_WAY, appends.join_all()).await;
    writer.kill().unwrap();
    writer.wait().unwrap();
    for one in appended.expect("somebody still waits for the process that hangs") {
        one.unwrap();
    }
}

async fn all_there(log: &SharedLog, acknowledged: &[Acknowledged], kill: u32) {
    let mut by_incident = BTreeMap::<&IncidentId, Vec<&Acknowledged>>::new();
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
async fn write(url: &str) {
    let address = Address::parse(url).unwrap();
    let log = open::open(&address, Access::Existing(salt()), 16).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let log = log.clone();
        tasks.spawn(async move {
            loop {
                let key = Uuid::new_v4().to_string();
                let declared =
                    say(&log, ask(new(), &key, declaration("Disk full", Severity::P2))).await.unwrap();
                acknowledge(&declared);
                let (_, number) = declared.incident().unwrap().parts();
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
        writeln!(std::io::stdout().lock(), "ack {} {} {hash}", appended.stream, entry.record.seq).unwrap();
    }
}

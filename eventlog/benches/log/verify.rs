//! Verifying a log against reading and hashing the same bytes.

use std::{sync::Arc, time::Instant};

use harmony_eventlog::{SharedLog, SqliteLog};
use harmony_incidents::OrgId;
use sha2::{Digest as _, Sha256};
use sqlx::{ConnectOptions as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{story, tell};

const INCIDENTS: usize = 1_000;
/// Of each incident, the declaration among them.
const RECORDS: usize = 100;
const TURNS: usize = 5;

pub(crate) async fn against_reading_and_hashing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log.db");
    let log: SharedLog = Arc::new(SqliteLog::open(&path, story::salt()).await.unwrap());
    fill(&log).await;
    let mut connection = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    let (mut ours, mut raws) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let began = Instant::now();
        let report = log.verify(&OrgId::default()).await.unwrap();
        ours.push(began.elapsed());
        assert!(report.verified && report.records == (INCIDENTS * RECORDS) as u64);
        let began = Instant::now();
        read_and_hash(&mut connection).await;
        raws.push(began.elapsed());
    }
    tell("verify of 100,000 records", (INCIDENTS * RECORDS) as u64, &mut ours, &mut raws, 0.7);
}

async fn fill(log: &SharedLog) {
    let mut writers = JoinSet::new();
    for writer in 0..64 {
        let log = log.clone();
        writers.spawn(async move {
            for number in (writer..INCIDENTS).step_by(64) {
                let incident = story::declare(&log, &format!("d-{number}")).await;
                for note in 1..RECORDS {
                    story::note(&log, &incident, &format!("n-{number}-{note}")).await;
                }
            }
        });
    }
    writers.join_all().await;
}

/// Every record and text in the order of the log, each hashed as it was when it was written.
async fn read_and_hash(connection: &mut SqliteConnection) {
    let incidents: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT incident FROM events").fetch_all(&mut *connection).await.unwrap();
    for incident in incidents {
        let records = sqlx::query(
            "SELECT seq, canonical, hash FROM events WHERE org = ? AND incident = ? ORDER BY seq",
        )
        .bind("default")
        .bind(&incident)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
        for record in &records {
            let mut hasher = Sha256::new();
            hasher.update([0]);
            hasher.update(record.get::<&[u8], _>("canonical"));
            assert_eq!(hasher.finalize().as_slice(), record.get::<&[u8], _>("hash"));
        }
        let texts = sqlx::query(
            "SELECT seq, field, commitment, salt, text FROM texts WHERE org = ? AND incident = ?",
        )
        .bind("default")
        .bind(&incident)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
        for text in &texts {
            let mut hasher = Sha256::new();
            hasher.update(text.get::<&[u8], _>("salt"));
            hasher.update(text.get::<&str, _>("text"));
            assert_eq!(hasher.finalize().as_slice(), text.get::<&[u8], _>("commitment"));
        }
    }
}

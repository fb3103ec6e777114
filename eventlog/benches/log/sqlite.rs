//! SQLite: one record per commit, and many writers who share commits.

use std::{path::Path, sync::Arc, time::Instant};

use harmony_eventlog::{SharedLog, SqliteLog};
use sqlx::{
    ConnectOptions as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tempfile::TempDir;

use crate::{story, tell};

/// Turns of each side; the median of them counts.
const TURNS: usize = 9;
/// Appends of one side's turn.
const APPENDS: usize = 200;
const WRITERS: usize = 64;
/// Appends of each writer in a turn.
const EACH: usize = 10;

/// The rows of one append, as the log wrote them.
struct Rows {
    event: (Vec<u8>, Vec<u8>),
    text: (Vec<u8>, Vec<u8>, String),
    projection: (Vec<u8>, Vec<u8>),
    key: (String, String),
    payload: String,
}

struct Raw {
    connection: SqliteConnection,
    /// Counts what was written: the place of the next rows.
    written: i64,
}

async fn open(directory: &Path, name: &str) -> (SharedLog, SqliteConnection) {
    let path = directory.join(name);
    let log = Arc::new(SqliteLog::open(&path, story::salt()).await.unwrap());
    let connection = SqliteConnectOptions::new()
        .filename(&path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("secure_delete", "ON")
        .connect()
        .await
        .unwrap();
    (log, connection)
}

impl Rows {
    async fn of(connection: &mut SqliteConnection) -> Self {
        let event = sqlx::query("SELECT canonical, hash FROM events ORDER BY rowid DESC LIMIT 1")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        let text = sqlx::query("SELECT commitment, salt, text FROM texts ORDER BY rowid DESC LIMIT 1")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        let projection = sqlx::query("SELECT head_hash, state FROM incidents ORDER BY seq DESC LIMIT 1")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        let key = sqlx::query("SELECT fingerprint, answer FROM idempotency WHERE last_seq > 1 LIMIT 1")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        let payload = sqlx::query_scalar("SELECT payload FROM outbox ORDER BY id DESC LIMIT 1")
            .fetch_one(connection)
            .await
            .unwrap();
        Self {
            event: (event.get(0), event.get(1)),
            text: (text.get(0), text.get(1), text.get(2)),
            projection: (projection.get(0), projection.get(1)),
            key: (key.get(0), key.get(1)),
            payload,
        }
    }
}

impl Raw {
    async fn statement(&mut self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut self.connection).await.unwrap();
    }

    /// The rows of one append, at a place of their own.
    async fn write(&mut self, rows: &Rows) {
        self.written += 1;
        let (seq, incident) = (self.written, format!("INC-2026-{:04}", self.written % 64 + 1));
        let key = format!("raw-{seq}");
        sqlx::query("INSERT INTO events (org, incident, seq, event_id, kind, canonical, hash, stored_at_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
            .bind("default")
            .bind(&incident)
            .bind(seq)
            .bind(uuid::Uuid::new_v4().as_bytes().as_slice())
            .bind("INCIDENT_NOTE_ADDED")
            .bind(&rows.event.0)
            .bind(&rows.event.1)
            .bind(seq)
            .execute(&mut self.connection)
            .await
            .unwrap();
        sqlx::query("INSERT INTO texts (org, incident, seq, field, commitment, salt, text) VALUES (?, ?, ?, ?, ?, ?, ?)")
            .bind("default")
            .bind(&incident)
            .bind(seq)
            .bind("note")
            // Commitments differ, as they do in a log.
            .bind([uuid::Uuid::new_v4().as_bytes().as_slice(), &rows.text.0[16..]].concat())
            .bind(&rows.text.1)
            .bind(&rows.text.2)
            .execute(&mut self.connection)
            .await
            .unwrap();
        sqlx::query("UPDATE incidents SET seq = ?, head_hash = ?, state = ?, state_word = ?, phase_word = ?, severity = ?, updated_at_us = ? WHERE org = ? AND incident = ?")
            .bind(seq)
            .bind(&rows.projection.0)
            .bind(&rows.projection.1)
            .bind("PENDING")
            .bind("created")
            .bind("P2")
            .bind(seq)
            .bind("default")
            .bind(&incident)
            .execute(&mut self.connection)
            .await
            .unwrap();
        sqlx::query("INSERT INTO outbox (org, incident, kind, name, payload, created_at_us, due_at_us) VALUES (?, ?, ?, ?, ?, ?, ?)")
            .bind("default")
            .bind(&incident)
            .bind("wake")
            .bind(&key)
            .bind(&rows.payload)
            .bind(seq)
            .bind(seq)
            .execute(&mut self.connection)
            .await
            .unwrap();
        sqlx::query("INSERT INTO idempotency (org, key, incident, fingerprint, answer, first_seq, last_seq) VALUES (?, ?, ?, ?, ?, ?, ?)")
            .bind("default")
            .bind(&key)
            .bind(&incident)
            .bind(&rows.key.0)
            .bind(&rows.key.1)
            .bind(seq)
            .bind(seq)
            .execute(&mut self.connection)
            .await
            .unwrap();
    }
}

/// A log, and a raw connection to another file with the same incidents.
async fn both(directory: &Path) -> (SharedLog, Vec<harmony_incidents::IncidentId>, SqliteConnection, Raw) {
    let (log, looking) = open(directory, "log.db").await;
    let (other, connection) = open(directory, "raw.db").await;
    let incidents = story::declared(&log, WRITERS).await;
    story::declared(&other, WRITERS).await;
    for (number, incident) in incidents.iter().enumerate() {
        story::note(&log, incident, &format!("first-{number}")).await;
    }
    (log, incidents, looking, Raw { connection, written: 1_000 })
}

pub(crate) async fn one_record_per_commit() {
    let directory = TempDir::new().unwrap();
    let (log, incidents, mut looking, mut raw) = both(directory.path()).await;
    let (mut ours, mut raws) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let began = Instant::now();
        for number in 0..APPENDS {
            story::note(&log, &incidents[number % WRITERS], &format!("{turn}-{number}")).await;
        }
        ours.push(began.elapsed());
        let rows = Rows::of(&mut looking).await;
        let began = Instant::now();
        for _ in 0..APPENDS {
            raw.statement("BEGIN IMMEDIATE").await;
            raw.write(&rows).await;
            raw.statement("COMMIT").await;
        }
        raws.push(began.elapsed());
    }
    tell("sqlite, one record per commit", APPENDS as u64, &mut ours, &mut raws, 0.9);
}

pub(crate) async fn writers_in_parallel() {
    let directory = TempDir::new().unwrap();
    let (log, incidents, mut looking, mut raw) = both(directory.path()).await;
    let (mut ours, mut raws) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let began = Instant::now();
        story::notes_in_parallel(&log, &incidents, turn, EACH).await;
        ours.push(began.elapsed());
        let rows = Rows::of(&mut looking).await;
        let began = Instant::now();
        for _ in 0..EACH {
            raw.statement("BEGIN IMMEDIATE").await;
            for _ in 0..WRITERS {
                raw.write(&rows).await;
            }
            raw.statement("COMMIT").await;
        }
        raws.push(began.elapsed());
    }
    tell("sqlite, 64 writers against batches of 64", (WRITERS * EACH) as u64, &mut ours, &mut raws, 0.8);
}

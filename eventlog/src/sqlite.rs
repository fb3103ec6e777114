//! The log on SQLite: the default store, for one machine.
//!
//! WAL with `synchronous=FULL`, so that what was acknowledged survives a power cut. Several processes may share the
//! file: writers queue by `BEGIN IMMEDIATE` and the busy time-out. Within one process writers share one connection;
//! readers have their own.

use std::{collections::BTreeMap, path::Path, str::FromStr, time::Duration};

use async_trait::async_trait;
use harmony_incidents::{
    Answer, Command, Context, IncidentId, Judged, OrgId, Refusal,
    command::Attested,
    judge::Head,
    log::{IncidentState, Record},
    record::{self, ChainHead, SaltKey, SealedRecord},
    words,
};
use harmony_protos::{kind_name, state_texts, texts};
use jiff::Timestamp;
use prost::Message;
use serde_json::Value;
use sqlx::{
    QueryBuilder, Row as _, Sqlite, SqlitePool, SqliteTransaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};

use crate::{
    checkpoint::IncidentHead,
    store::{
        Append, Appended, Begin, Entry, EventLog, Filter, LogError, OutboxItem, OutboxKind, Pending, Target,
    },
    verify::{self, Finding, Report, Row},
};

mod redaction;

/// Schema of this build; older ones are brought up to it, newer ones are refused.
const SCHEMA: i64 = 1;
const MIGRATIONS: [&str; 1] = [include_str!("../migrations/sqlite/0001_log.sql")];
/// How long a writer waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Texts asked for in one query: SQLite takes 32 766 variables, and a storm of signals may leave more texts.
const VARIABLES: usize = 1_000;

/// The log in one SQLite file.
pub struct SqliteLog {
    /// Invariant: one connection, so that writers of this process queue here and not in SQLite's busy loop.
    writer: SqlitePool,
    readers: SqlitePool,
    salt: SaltKey,
}

impl SqliteLog {
    /// Opens the file and brings its schema up to date. Creates it where it does not exist.
    pub async fn open(path: &Path, salt: SaltKey) -> Result<Self, LogError> {
        Self::connect(path, salt, true).await
    }

    /// Opens a file that must exist.
    pub async fn open_existing(path: &Path, salt: SaltKey) -> Result<Self, LogError> {
        Self::connect(path, salt, false).await
    }

    async fn connect(path: &Path, salt: SaltKey, create: bool) -> Result<Self, LogError> {
        let failed = |reason: String| LogError::Open { path: path.display().to_string(), reason };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // What is deleted is overwritten: a redacted text does not stay in a free page.
            .pragma("secure_delete", "ON")
            .busy_timeout(BUSY_TIMEOUT);
        let pool = |size| {
            SqlitePoolOptions::new()
                .max_connections(size)
                .acquire_timeout(BUSY_TIMEOUT * 2)
                .idle_timeout(None)
        };
        let writer = pool(1).connect_with(options.clone()).await.map_err(|error| failed(reason(&error)))?;
        migrate(&writer).await.map_err(|error| match error {
            LogError::Unavailable(error) => failed(reason(&error)),
            other => other,
        })?;
        let readers = pool(4).connect_with(options).await.map_err(|error| failed(reason(&error)))?;
        Ok(Self { writer, readers, salt })
    }

    async fn repeated(
        &self,
        tx: &mut SqliteTransaction<'_>,
        append: &Append<'_>,
    ) -> Result<Option<Appended>, LogError> {
        let Some(row) = sqlx::query(
            "SELECT incident, fingerprint, answer, first_seq, last_seq, run_id FROM idempotency WHERE org = ? AND key = ?",
        )
        .bind(append.org.as_str())
        .bind(append.key)
        .fetch_optional(&mut **tx)
        .await
        .map_err(LogError::Unavailable)?
        else {
            return Ok(None);
        };
        let place = || format!("key {}", append.key);
        let corrupt = || LogError::Corrupt { place: place() };
        let incident = incident_id(column(&row, "incident", place)?)?;
        let known: BTreeMap<String, String> =
            serde_json::from_str(column(&row, "fingerprint", place)?).map_err(|_| corrupt())?;
        let asked = append.command.fingerprint();
        let mut fields: Vec<String> = known
            .iter()
            .filter(|(name, hash)| asked.get(*name) != Some(hash))
            .map(|(name, _)| name.clone())
            .chain(asked.keys().filter(|name| !known.contains_key(*name)).cloned())
            .collect();
        if let Target::Named(named) = &append.target
            && *named != incident
        {
            fields.push("incident".to_owned());
        }
        if !fields.is_empty() {
            return Err(LogError::KeyConflict { fields });
        }
        let answer: Answer = serde_json::from_str(column(&row, "answer", place)?).map_err(|_| corrupt())?;
        let first: i64 = column(&row, "first_seq", place)?;
        let last: i64 = column(&row, "last_seq", place)?;
        let run_id: Option<String> = column(&row, "run_id", place)?;
        let records = if last >= first && first > 0 {
            entries(
                tx,
                append.org,
                &incident,
                unsigned(first) - 1,
                u32::try_from(last - first + 1).unwrap_or(u32::MAX),
            )
            .await?
        } else {
            Vec::new()
        };
        Ok(Some(Appended {
            incident,
            answer,
            records,
            repeated: true,
            same_run: run_id.as_deref() == append.run_id,
        }))
    }

    async fn allocate(tx: &mut SqliteTransaction<'_>, append: &Append<'_>) -> Result<IncidentId, LogError> {
        let year = match &append.target {
            Target::New { year } => *year,
            Target::Named(id) => id.parts().0,
        };
        let next: i64 = sqlx::query_scalar(
            "SELECT COALESCE(MAX(number), 0) + 1 FROM incidents WHERE org = ? AND year = ?",
        )
        .bind(append.org.as_str())
        .bind(year)
        .fetch_one(&mut **tx)
        .await
        .map_err(LogError::Unavailable)?;
        let id = IncidentId::new(year, unsigned(next));
        match &append.target {
            Target::Named(named) if *named != id => Err(LogError::Refused(Refusal::Invalid {
                explanation: format!("{named} does not exist, and the next number of its year is {id}"),
            })),
            Target::Named(_) | Target::New { .. } => Ok(id),
        }
    }
}

#[async_trait]
impl EventLog for SqliteLog {
    async fn append(&self, append: Append<'_>) -> Result<Appended, LogError> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(LogError::Unavailable)?;
        if let Some(repeated) = self.repeated(&mut tx, &append).await? {
            drop(tx);
            if matches!(append.command, Command::Redact { .. }) {
                redaction::purge(&self.writer).await?;
            }
            return Ok(repeated);
        }
        let declaring = matches!(append.command, Command::Declare { .. });
        let (incident, head) = match &append.target {
            Target::Named(id) => match head(&mut tx, append.org, id).await? {
                Some(head) => (id.clone(), head),
                None if declaring => (Self::allocate(&mut tx, &append).await?, ChainHead::default()),
                None => return Err(LogError::UnknownIncident(id.clone())),
            },
            Target::New { .. } => (Self::allocate(&mut tx, &append).await?, ChainHead::default()),
        };
        if let Some(expected) = append.expected_seq
            && expected != head.state.seq
        {
            return Err(LogError::Stale { expected, actual: head.state.seq });
        }
        let under_way = decisions_under_way(&mut tx, append.org, &incident).await?;
        let mut judged = (append.judge)(Head { state: &head.state, under_way: &under_way })?;
        let redacting = matches!(append.command, Command::Redact { .. });
        if let Command::Redact { seq, field, .. } = append.command
            && !redaction::take_out(&mut tx, append.org, &incident, *seq, field.as_deref()).await?
        {
            judged = Judged::unchanged();
        }
        let identity = judged.identity.as_deref().unwrap_or(append.key);
        let context = Context {
            actor: judged.actor.clone().unwrap_or_else(|| append.context.actor.clone()),
            ..append.context.clone()
        };
        let (sealed, next) =
            record::append(append.org, &incident, &head, identity, &context, judged.payloads, &self.salt);
        let stored_at = now();
        for one in &sealed {
            insert_record(&mut tx, append.org, &incident, one, stored_at).await?;
        }
        if !sealed.is_empty() {
            project(&mut tx, append.org, &incident, &next, stored_at).await?;
        }
        for item in (append.follow)(&incident) {
            insert_outbox(&mut tx, append.org, &incident, &item, stored_at).await?;
        }
        for workflow in &judged.wake {
            let item = OutboxItem {
                kind: OutboxKind::Wake,
                name: format!("{workflow}/{}", next.state.seq),
                payload: serde_json::json!({ "workflowId": workflow }),
            };
            insert_outbox(&mut tx, append.org, &incident, &item, stored_at).await?;
        }
        // Only what a door wrote settles its row: a decision sent by hand may claim any id.
        if let Command::Decide { input } = append.command
            && input.attested == Attested::Yes
            && let Ok(payload) = &input.payload
            && let Some(decision_id) = &payload.decision_id
        {
            sqlx::query("UPDATE outbox SET done_at_us = ? WHERE org = ? AND incident = ? AND kind = 'decision' AND name = ? AND done_at_us IS NULL")
                .bind(stored_at.as_microsecond())
                .bind(append.org.as_str())
                .bind(incident.as_str())
                .bind(decision_id)
                .execute(&mut *tx)
                .await
                .map_err(LogError::Unavailable)?;
        }
        let first = if sealed.is_empty() { 0 } else { signed(head.state.seq + 1) };
        sqlx::query(
            "INSERT INTO idempotency (org, key, incident, fingerprint, answer, first_seq, last_seq, run_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(append.org.as_str())
        .bind(append.key)
        .bind(incident.as_str())
        .bind(json(&append.command.fingerprint()))
        .bind(json(&judged.answer))
        .bind(first)
        .bind(if sealed.is_empty() { -1 } else { signed(next.state.seq) })
        .bind(append.run_id)
        .execute(&mut *tx)
        .await
        .map_err(LogError::Unavailable)?;
        tx.commit().await.map_err(LogError::Unavailable)?;
        if redacting {
            redaction::purge(&self.writer).await?;
        }
        let records = sealed.into_iter().map(|one| unsealed(one, stored_at)).collect();
        Ok(Appended { incident, answer: judged.answer, records, repeated: false, same_run: true })
    }

    async fn state(&self, org: &OrgId, incident: &IncidentId) -> Result<Option<IncidentState>, LogError> {
        let mut tx = self.readers.begin().await.map_err(LogError::Unavailable)?;
        let Some(ChainHead { mut state, .. }) = head(&mut tx, org, incident).await? else { return Ok(None) };
        fill_state(&mut tx, org, incident, &mut state).await?;
        Ok(Some(state))
    }

    async fn records(
        &self,
        org: &OrgId,
        incident: &IncidentId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, LogError> {
        let mut connection = self.readers.acquire().await.map_err(LogError::Unavailable)?;
        entries(&mut connection, org, incident, after, limit).await
    }

    async fn incidents(&self, org: &OrgId) -> Result<Vec<IncidentId>, LogError> {
        let mut tx = self.readers.begin().await.map_err(LogError::Unavailable)?;
        let ids = traces(&mut tx, org).await?;
        let mut incidents = ids.iter().map(|id| incident_id(id)).collect::<Result<Vec<_>, _>>()?;
        incidents.sort_by_key(IncidentId::parts);
        Ok(incidents)
    }

    async fn rows(
        &self,
        org: &OrgId,
        incident: &IncidentId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Row>, LogError> {
        let mut tx = self.readers.begin().await.map_err(LogError::Unavailable)?;
        let last: Option<i64> = sqlx::query_scalar(
            "SELECT MAX(seq) FROM (SELECT CAST(seq AS INTEGER) AS seq FROM events WHERE org = ? AND incident = ? AND events.seq > ? ORDER BY events.seq LIMIT ?)",
        )
        .bind(org.as_str())
        .bind(incident.as_str())
        .bind(signed(after))
        .bind(limit)
        .fetch_one(&mut *tx)
        .await
        .map_err(LogError::Unavailable)?;
        let Some(last) = last else { return Ok(Vec::new()) };
        Ok(rows(&mut tx, org, incident, Some((signed(after).saturating_add(1), last))).await?.0)
    }

    async fn chain_head(&self, org: &OrgId, incident: &IncidentId) -> Result<Option<IncidentHead>, LogError> {
        let row = sqlx::query(
            "SELECT seq, hash FROM events WHERE org = ? AND incident = ? ORDER BY seq DESC LIMIT 1",
        )
        .bind(org.as_str())
        .bind(incident.as_str())
        .fetch_optional(&self.readers)
        .await
        .map_err(LogError::Unavailable)?;
        row.map(|row| {
            let place = || incident.to_string();
            let hash: &[u8] = column(&row, "hash", place)?;
            Ok(IncidentHead {
                incident: incident.clone(),
                seq: unsigned(column(&row, "seq", place)?),
                hash: hash.try_into().map_err(|_| LogError::Corrupt { place: place() })?,
            })
        })
        .transpose()
    }

    async fn list(&self, org: &OrgId, filter: &Filter) -> Result<Vec<IncidentState>, LogError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT incident FROM incidents WHERE org = ");
        query.push_bind(org.as_str());
        for (column, words) in
            [(" AND state_word IN (", &filter.states), (" AND severity IN (", &filter.severities)]
        {
            if !words.is_empty() {
                query.push(column);
                let mut list = query.separated(", ");
                for word in words {
                    list.push_bind(word.as_str());
                }
                query.push(")");
            }
        }
        if let Some(search) = &filter.search {
            query.push(" AND EXISTS (SELECT 1 FROM texts t WHERE t.org = incidents.org AND t.incident = incidents.incident AND t.field = 'title' AND instr(lower(t.text), lower(");
            query.push_bind(search);
            query.push(")) > 0)");
        }
        if let Some((year, number)) = filter.before.as_ref().map(IncidentId::parts) {
            query.push(" AND (year, number) < (");
            query.push_bind(year).push(", ").push_bind(signed(number)).push(")");
        }
        query.push(" ORDER BY year DESC, number DESC LIMIT ").push_bind(filter.limit);
        let mut tx = self.readers.begin().await.map_err(LogError::Unavailable)?;
        let ids: Vec<String> =
            query.build_query_scalar().fetch_all(&mut *tx).await.map_err(LogError::Unavailable)?;
        let mut states = Vec::with_capacity(ids.len());
        for id in ids {
            let incident = incident_id(&id)?;
            if let Some(ChainHead { mut state, .. }) = head(&mut tx, org, &incident).await? {
                fill_state(&mut tx, org, &incident, &mut state).await?;
                states.push(state);
            }
        }
        Ok(states)
    }

    async fn verify(&self, org: &OrgId) -> Result<Report, LogError> {
        let mut tx = self.readers.begin().await.map_err(LogError::Unavailable)?;
        let ids = traces(&mut tx, org).await?;
        let mut report = Report::default();
        let mut incidents = Vec::with_capacity(ids.len());
        for id in ids {
            match id.parse::<IncidentId>() {
                Ok(incident) => incidents.push(incident),
                Err(error) => {
                    report.findings.push(Finding { incident: id, seq: 1, problem: error.to_string() });
                }
            }
        }
        incidents.sort_by_key(IncidentId::parts);
        verify::check_numbers(&mut report, &incidents);
        for incident in incidents {
            let (rows, strays) = rows(&mut tx, org, &incident, None).await?;
            for seq in strays {
                report.find(&incident, seq, "a text stands where there is no record");
            }
            if let Some(found) = verify::check_incident(&mut report, org, &incident, &rows) {
                check_projection(&mut tx, &mut report, org, &incident, &found).await?;
            }
        }
        report.verified = report.findings.is_empty();
        Ok(report)
    }

    async fn enqueue(&self, org: &OrgId, incident: &IncidentId, item: &OutboxItem) -> Result<(), LogError> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(LogError::Unavailable)?;
        insert_outbox(&mut tx, org, incident, item, Timestamp::now()).await?;
        tx.commit().await.map_err(LogError::Unavailable)
    }

    async fn claim(&self, limit: u32, lease: Duration) -> Result<Vec<Pending>, LogError> {
        let now = Timestamp::now().as_microsecond();
        // A look first: an idle dispatcher takes no write lock.
        let waiting: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM outbox WHERE done_at_us IS NULL AND due_at_us <= ?")
                .bind(now)
                .fetch_one(&self.readers)
                .await
                .map_err(LogError::Unavailable)?;
        if waiting == 0 {
            return Ok(Vec::new());
        }
        let rows = sqlx::query(
            "UPDATE outbox SET due_at_us = ?1 + ?2, attempts = attempts + 1 WHERE id IN (SELECT id FROM outbox WHERE done_at_us IS NULL AND due_at_us <= ?1 ORDER BY id LIMIT ?3) RETURNING id, org, incident, kind, name, payload, attempts, created_at_us",
        )
        .bind(now)
        .bind(micros(lease))
        .bind(limit)
        .fetch_all(&self.writer)
        .await
        .map_err(LogError::Unavailable)?;
        // An item that cannot be read waits for its next turn and holds nobody up.
        let readable =
            |row| pending(row).inspect_err(|error| tracing::error!(%error, "an outbox item is skipped"));
        let mut claimed: Vec<Pending> = rows.iter().filter_map(|row| readable(row).ok()).collect();
        claimed.sort_by_key(|one| one.id);
        Ok(claimed)
    }

    async fn done(&self, id: i64) -> Result<(), LogError> {
        sqlx::query("UPDATE outbox SET done_at_us = ? WHERE id = ? AND done_at_us IS NULL")
            .bind(Timestamp::now().as_microsecond())
            .bind(id)
            .execute(&self.writer)
            .await
            .map(drop)
            .map_err(LogError::Unavailable)
    }

    async fn later(&self, id: i64, delay: Duration, error: &str) -> Result<(), LogError> {
        sqlx::query("UPDATE outbox SET due_at_us = ?, last_error = ? WHERE id = ?")
            .bind(Timestamp::now().as_microsecond() + micros(delay))
            .bind(error)
            .bind(id)
            .execute(&self.writer)
            .await
            .map(drop)
            .map_err(LogError::Unavailable)
    }

    async fn backlog(&self) -> Result<(u64, Duration), LogError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS n, MIN(created_at_us) AS oldest FROM outbox WHERE done_at_us IS NULL",
        )
        .fetch_one(&self.readers)
        .await
        .map_err(LogError::Unavailable)?;
        let oldest: Option<i64> = row.get("oldest");
        let age = oldest.map_or(0, |oldest| Timestamp::now().as_microsecond() - oldest);
        Ok((unsigned(row.get("n")), Duration::from_micros(unsigned(age))))
    }

    async fn answer(&self, org: &OrgId, key: &str) -> Result<Option<Answer>, LogError> {
        let answer: Option<String> =
            sqlx::query_scalar("SELECT answer FROM idempotency WHERE org = ? AND key = ?")
                .bind(org.as_str())
                .bind(key)
                .fetch_optional(&self.readers)
                .await
                .map_err(LogError::Unavailable)?;
        answer
            .map(|text| {
                serde_json::from_str(&text).map_err(|_| LogError::Corrupt { place: format!("key {key}") })
            })
            .transpose()
    }

    async fn begin_effect(
        &self,
        org: &OrgId,
        incident: &IncidentId,
        key: &str,
        operation: &str,
        owner: &str,
        lease: Duration,
    ) -> Result<Begin, LogError> {
        let now = Timestamp::now().as_microsecond();
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(LogError::Unavailable)?;
        let known =
            sqlx::query("SELECT result, owner, lease_until_us FROM effects WHERE org = ? AND key = ?")
                .bind(org.as_str())
                .bind(key)
                .fetch_optional(&mut *tx)
                .await
                .map_err(LogError::Unavailable)?;
        let begin = match known {
            None => Begin::Fresh,
            Some(row) => {
                let place = || format!("effect {key}");
                let result: Option<String> = column(&row, "result", place)?;
                if let Some(result) = result {
                    let result =
                        serde_json::from_str(&result).map_err(|_| LogError::Corrupt { place: place() })?;
                    return Ok(Begin::Done(result));
                }
                let until: i64 = column(&row, "lease_until_us", place)?;
                let holder: String = column(&row, "owner", place)?;
                if until > now && holder != owner {
                    return Ok(Begin::Busy(Duration::from_micros(unsigned(until - now))));
                }
                Begin::Again
            }
        };
        sqlx::query(
            "INSERT INTO effects (org, key, incident, operation, owner, lease_until_us) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (org, key) DO UPDATE SET owner = excluded.owner, lease_until_us = excluded.lease_until_us",
        )
        .bind(org.as_str())
        .bind(key)
        .bind(incident.as_str())
        .bind(operation)
        .bind(owner)
        .bind(now + micros(lease))
        .execute(&mut *tx)
        .await
        .map_err(LogError::Unavailable)?;
        tx.commit().await.map_err(LogError::Unavailable)?;
        Ok(begin)
    }

    async fn complete_effect(&self, org: &OrgId, key: &str, result: &Value) -> Result<(), LogError> {
        sqlx::query("UPDATE effects SET result = ? WHERE org = ? AND key = ?")
            .bind(result.to_string())
            .bind(org.as_str())
            .bind(key)
            .execute(&self.writer)
            .await
            .map(drop)
            .map_err(LogError::Unavailable)
    }

    async fn forget_effect(&self, org: &OrgId, key: &str, owner: &str) -> Result<(), LogError> {
        sqlx::query("DELETE FROM effects WHERE org = ? AND key = ? AND owner = ? AND result IS NULL")
            .bind(org.as_str())
            .bind(key)
            .bind(owner)
            .execute(&self.writer)
            .await
            .map(drop)
            .map_err(LogError::Unavailable)
    }

    async fn release_effect(&self, org: &OrgId, key: &str, owner: &str) -> Result<(), LogError> {
        sqlx::query("UPDATE effects SET lease_until_us = 0 WHERE org = ? AND key = ? AND owner = ? AND result IS NULL")
            .bind(org.as_str())
            .bind(key)
            .bind(owner)
            .execute(&self.writer)
            .await
            .map(drop)
            .map_err(LogError::Unavailable)
    }

    async fn ping(&self) -> Result<(), LogError> {
        sqlx::query("SELECT 1").execute(&self.readers).await.map(drop).map_err(LogError::Unavailable)
    }
}

/// To the microsecond, as it is stored: what is answered now and what is read later are the same.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// A column of a row. SQLite holds whatever was put there: a value of another type is damage, not a reason to panic.
fn column<'r, T>(row: &'r SqliteRow, name: &str, place: impl FnOnce() -> String) -> Result<T, LogError>
where
    T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
{
    row.try_get(name).map_err(|_| LogError::Corrupt { place: place() })
}

async fn migrate(pool: &SqlitePool) -> Result<(), LogError> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.map_err(LogError::Unavailable)?;
    let found: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *tx).await.map_err(LogError::Unavailable)?;
    if found > SCHEMA {
        return Err(LogError::NewerSchema { found, known: SCHEMA });
    }
    let done = usize::try_from(found).unwrap_or_default();
    for migration in &MIGRATIONS[done..] {
        sqlx::raw_sql(*migration).execute(&mut *tx).await.map_err(LogError::Unavailable)?;
    }
    // On a file that may only be read, SQLite makes BEGIN IMMEDIATE a read transaction and says nothing: only a
    // statement that writes is refused, and it must be refused here and not in the first append.
    sqlx::query("DELETE FROM events WHERE FALSE").execute(&mut *tx).await.map_err(LogError::Unavailable)?;
    tx.commit().await.map_err(LogError::Unavailable)
}

fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        other => other.to_string(),
    }
}

async fn head(
    tx: &mut SqliteTransaction<'_>,
    org: &OrgId,
    incident: &IncidentId,
) -> Result<Option<ChainHead>, LogError> {
    let row = sqlx::query("SELECT head_hash, state FROM incidents WHERE org = ? AND incident = ?")
        .bind(org.as_str())
        .bind(incident.as_str())
        .fetch_optional(&mut **tx)
        .await
        .map_err(LogError::Unavailable)?;
    row.map(|row| {
        let place = || incident.to_string();
        let corrupt = || LogError::Corrupt { place: place() };
        let state: &[u8] = column(&row, "state", place)?;
        let hash: &[u8] = column(&row, "head_hash", place)?;
        Ok(ChainHead {
            state: IncidentState::decode(state).map_err(|_| corrupt())?,
            hash: hash.try_into().map_err(|_| corrupt())?,
        })
    })
    .transpose()
}

/// Holds what lists and readers are told against what the log folds to.
async fn check_projection(
    tx: &mut SqliteTransaction<'_>,
    report: &mut Report,
    org: &OrgId,
    incident: &IncidentId,
    found: &ChainHead,
) -> Result<(), LogError> {
    let seq = found.state.seq;
    match head(tx, org, incident).await {
        Ok(Some(kept)) if kept.hash != found.hash => {
            let problem = format!("the log ends at {seq}, the projection was made from {}", kept.state.seq);
            report.find(incident, seq + 1, problem);
        }
        Ok(Some(kept)) => {
            if kept.state != found.state || !columns_hold(tx, org, incident, &found.state).await? {
                report.find(incident, seq, "the projection is not what the log folds to");
            }
        }
        Ok(None) => report.find(incident, seq, "the incident has no projection"),
        Err(LogError::Corrupt { .. }) => report.find(incident, seq, "the projection is unreadable"),
        Err(other) => return Err(other),
    }
    Ok(())
}

/// Whether the columns that lists filter and sort by say what the state says.
async fn columns_hold(
    tx: &mut SqliteTransaction<'_>,
    org: &OrgId,
    incident: &IncidentId,
    state: &IncidentState,
) -> Result<bool, LogError> {
    let (year, number) = incident.parts();
    sqlx::query_scalar(
        "SELECT COUNT(*) > 0 FROM incidents WHERE org = ? AND incident = ? AND year = ? AND number = ? AND seq = ? AND state_word = ? AND phase_word = ? AND severity = ?",
    )
    .bind(org.as_str())
    .bind(incident.as_str())
    .bind(year)
    .bind(signed(number))
    .bind(signed(state.seq))
    .bind(state.state().as_str_name())
    .bind(words::phase_name(state.phase()))
    .bind(state.severity().as_str_name())
    .fetch_one(&mut **tx)
    .await
    .map_err(LogError::Unavailable)
}

async fn decisions_under_way(
    tx: &mut SqliteTransaction<'_>,
    org: &OrgId,
    incident: &IncidentId,
) -> Result<Vec<(String, i64)>, LogError> {
    let payloads: Vec<String> = sqlx::query_scalar(
        "SELECT payload FROM outbox WHERE org = ? AND incident = ? AND kind = 'decision' AND done_at_us IS NULL",
    )
    .bind(org.as_str())
    .bind(incident.as_str())
    .fetch_all(&mut **tx)
    .await
    .map_err(LogError::Unavailable)?;
    Ok(payloads
        .iter()
        .filter_map(|text| {
            let payload: Value = serde_json::from_str(text).ok()?;
            let decided: Timestamp = payload["decision"]["timestamp"].as_str()?.parse().ok()?;
            Some((payload["decision"]["gateId"].as_str()?.to_owned(), decided.as_microsecond()))
        })
        .collect())
}

async fn insert_record(
    tx: &mut SqliteTransaction<'_>,
    org: &OrgId,
    incident: &IncidentId,
    one: &SealedRecord,
    stored_at: Timestamp,
) -> Result<(), LogError> {
    let kind = one.record.payload.as_ref().and_then(|payload| payload.kind.as_ref()).map_or("", kind_name);
    sqlx::query(
        "INSERT INTO events (org, incident, seq, event_id, kind, canonical, hash, stored_at_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(org.as_str())
    .bind(incident.as_str())
    .bind(signed(one.record.seq))
    .bind(one.record.event_id.as_slice())
    .bind(kind)
    .bind(one.canonical.as_slice())
    .bind(one.hash.as_slice())
    .bind(stored_at.as_microsecond())
    .execute(&mut **tx)
    .await
    .map_err(LogError::Unavailable)?;
    for text in &one.texts {
        sqlx::query(
            "INSERT INTO texts (org, incident, seq, field, commitment, salt, text) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(org.as_str())
        .bind(incident.as_str())
        .bind(signed(one.record.seq))
        .bind(&text.field)
        .bind(text.commitment.as_slice())
        .bind(text.salt.as_slice())
        .bind(&text.text)
        .execute(&mut **tx)
        .await
        .map_err(LogError::Unavailable)?;
    }
    Ok(())
}

async fn project(
    tx: &mut SqliteTransaction<'_>,
    org: &OrgId,
    incident: &IncidentId,
    head: &ChainHead,
    stored_at: Timestamp,
) -> Result<(), LogError> {
    let (year, number) = incident.parts();
    let mut bare = head.state.clone();
    record::strip(&mut bare);
    sqlx::query(
        "INSERT INTO incidents (org, incident, year, number, seq, head_hash, state, state_word, phase_word, severity, updated_at_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (org, incident) DO UPDATE SET seq = excluded.seq, head_hash = excluded.head_hash, state = excluded.state, state_word = excluded.state_word, phase_word = excluded.phase_word, severity = excluded.severity, updated_at_us = excluded.updated_at_us",
    )
    .bind(org.as_str())
    .bind(incident.as_str())
    .bind(year)
    .bind(signed(number))
    .bind(signed(bare.seq))
    .bind(head.hash.as_slice())
    .bind(bare.encode_to_vec())
    .bind(bare.state().as_str_name())
    .bind(words::phase_name(bare.phase()))
    .bind(bare.severity().as_str_name())
    .bind(stored_at.as_microsecond())
    .execute(&mut **tx)
    .await
    .map(drop)
    .map_err(LogError::Unavailable)
}

async fn insert_outbox(
    tx: &mut SqliteTransaction<'_>,
    org: &OrgId,
    incident: &IncidentId,
    item: &OutboxItem,
    now: Timestamp,
) -> Result<(), LogError> {
    sqlx::query(
        "INSERT INTO outbox (org, incident, kind, name, payload, created_at_us, due_at_us) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (org, kind, name) DO NOTHING",
    )
    .bind(org.as_str())
    .bind(incident.as_str())
    .bind(item.kind.name())
    .bind(&item.name)
    .bind(item.payload.to_string())
    .bind(now.as_microsecond())
    .bind(now.as_microsecond())
    .execute(&mut **tx)
    .await
    .map(drop)
    .map_err(LogError::Unavailable)
}

fn pending(row: &SqliteRow) -> Result<Pending, LogError> {
    let id: i64 = column(row, "id", || "the outbox".to_owned())?;
    let place = || format!("outbox {id}");
    let corrupt = || LogError::Corrupt { place: place() };
    let kind = match column(row, "kind", place)? {
        "start" => OutboxKind::Start,
        "decision" => OutboxKind::Decision,
        "cancel" => OutboxKind::Cancel,
        "wake" => OutboxKind::Wake,
        _ => return Err(corrupt()),
    };
    Ok(Pending {
        id,
        org: OrgId::from_str(column(row, "org", place)?).map_err(|_| corrupt())?,
        incident: incident_id(column(row, "incident", place)?)?,
        item: OutboxItem {
            kind,
            name: column(row, "name", place)?,
            payload: serde_json::from_str(column(row, "payload", place)?).map_err(|_| corrupt())?,
        },
        attempts: column(row, "attempts", place)?,
        created_at: Timestamp::from_microsecond(column(row, "created_at_us", place)?)
            .map_err(|_| corrupt())?,
    })
}

async fn entries(
    connection: &mut sqlx::SqliteConnection,
    org: &OrgId,
    incident: &IncidentId,
    after: u64,
    limit: u32,
) -> Result<Vec<Entry>, LogError> {
    let found = sqlx::query(
        "SELECT seq, canonical, hash, stored_at_us FROM events WHERE org = ? AND incident = ? AND seq > ? ORDER BY seq LIMIT ?",
    )
    .bind(org.as_str())
    .bind(incident.as_str())
    .bind(signed(after))
    .bind(limit)
    .fetch_all(&mut *connection)
    .await
    .map_err(LogError::Unavailable)?;
    let (Some(first), Some(last)) = (found.first(), found.last()) else { return Ok(Vec::new()) };
    let place = || incident.to_string();
    let (first, last): (i64, i64) = (column(first, "seq", place)?, column(last, "seq", place)?);
    let beside = sqlx::query(
        "SELECT seq, field, text FROM texts WHERE org = ? AND incident = ? AND seq BETWEEN ? AND ?",
    )
    .bind(org.as_str())
    .bind(incident.as_str())
    .bind(first)
    .bind(last)
    .fetch_all(connection)
    .await
    .map_err(LogError::Unavailable)?;
    let mut filled = BTreeMap::<(i64, String), String>::new();
    for row in &beside {
        filled
            .insert((column(row, "seq", place)?, column(row, "field", place)?), column(row, "text", place)?);
    }
    found
        .iter()
        .map(|row| {
            let seq: i64 = column(row, "seq", place)?;
            let place = || format!("{incident} seq {seq}");
            let corrupt = || LogError::Corrupt { place: place() };
            let canonical: Vec<u8> = column(row, "canonical", place)?;
            let mut record = Record::decode(canonical.as_slice()).map_err(|_| corrupt())?;
            if let Some(payload) = record.payload.as_mut() {
                for field in texts(payload) {
                    match filled.remove(&(seq, field.name)) {
                        Some(text) => field.text.text = text,
                        None => field.text.redacted = true,
                    }
                }
            }
            Ok(Entry {
                record,
                canonical,
                hash: column(row, "hash", place)?,
                stored_at: Timestamp::from_microsecond(column(row, "stored_at_us", place)?)
                    .map_err(|_| corrupt())?,
            })
        })
        .collect()
}

/// Every id that a row of this organisation names, as it is written there.
async fn traces(tx: &mut SqliteTransaction<'_>, org: &OrgId) -> Result<Vec<String>, LogError> {
    let ids: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT CAST(incident AS BLOB) FROM incidents WHERE org = ?1 UNION SELECT CAST(incident AS BLOB) FROM events WHERE org = ?1 UNION SELECT CAST(incident AS BLOB) FROM texts WHERE org = ?1",
    )
    .bind(org.as_str())
    .fetch_all(&mut **tx)
    .await
    .map_err(LogError::Unavailable)?;
    Ok(ids.into_iter().map(utf8).collect())
}

/// The rows of an incident in order of seq, all or from first to last, for verifying, and where texts lie that belong to no record. Whatever
/// was put into a column is read as bytes: damage is to be found, not to stop the search for it.
async fn rows(
    tx: &mut SqliteTransaction<'_>,
    org: &OrgId,
    incident: &IncidentId,
    span: Option<(i64, i64)>,
) -> Result<(Vec<Row>, Vec<u64>), LogError> {
    let place = || incident.to_string();
    let beside = sqlx::query(
        "SELECT CAST(seq AS INTEGER) AS seq, CAST(field AS BLOB) AS field, CAST(commitment AS BLOB) AS commitment, CAST(salt AS BLOB) AS salt, CAST(text AS BLOB) AS text FROM texts WHERE org = ?1 AND incident = ?2 AND (?3 IS NULL OR texts.seq BETWEEN ?3 AND ?4)",
    )
    .bind(org.as_str())
    .bind(incident.as_str())
    .bind(span.map(|(first, _)| first))
    .bind(span.map(|(_, last)| last))
    .fetch_all(&mut **tx)
    .await
    .map_err(LogError::Unavailable)?;
    let mut texts = BTreeMap::<i64, BTreeMap<_, _>>::new();
    for row in &beside {
        let fields = texts.entry(column(row, "seq", place)?).or_default();
        fields.insert(
            utf8(column(row, "field", place)?),
            (
                column(row, "commitment", place)?,
                column(row, "salt", place)?,
                utf8(column(row, "text", place)?),
            ),
        );
    }
    let found = sqlx::query(
        "SELECT CAST(seq AS INTEGER) AS seq, CAST(canonical AS BLOB) AS canonical, CAST(hash AS BLOB) AS hash FROM events WHERE org = ?1 AND incident = ?2 AND (?3 IS NULL OR events.seq BETWEEN ?3 AND ?4) ORDER BY events.seq",
    )
    .bind(org.as_str())
    .bind(incident.as_str())
    .bind(span.map(|(first, _)| first))
    .bind(span.map(|(_, last)| last))
    .fetch_all(&mut **tx)
    .await
    .map_err(LogError::Unavailable)?;
    let mut rows = Vec::with_capacity(found.len());
    for row in &found {
        let seq: i64 = column(row, "seq", place)?;
        rows.push(Row {
            seq: unsigned(seq),
            canonical: column(row, "canonical", place)?,
            hash: column(row, "hash", place)?,
            texts: texts.remove(&seq).unwrap_or_default(),
        });
    }
    Ok((rows, texts.into_keys().map(unsigned).collect()))
}

/// Bytes that are no text match no commitment.
fn utf8(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| format!("{error}: {:?}", error.as_bytes()))
}

async fn fill_state(
    tx: &mut SqliteTransaction<'_>,
    org: &OrgId,
    incident: &IncidentId,
    state: &mut IncidentState,
) -> Result<(), LogError> {
    let mut wanted = state_texts(state);
    if wanted.is_empty() {
        return Ok(());
    }
    let mut known = BTreeMap::<Vec<u8>, String>::new();
    for some in wanted.chunks(VARIABLES) {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT commitment, text FROM texts WHERE org = ");
        query.push_bind(org.as_str()).push(" AND incident = ").push_bind(incident.as_str());
        query.push(" AND commitment IN (");
        let mut list = query.separated(", ");
        for text in some {
            list.push_bind(text.commitment.clone());
        }
        query.push(")");
        for row in query.build().fetch_all(&mut **tx).await.map_err(LogError::Unavailable)? {
            let place = || incident.to_string();
            known.insert(column(&row, "commitment", place)?, column(&row, "text", place)?);
        }
    }
    for text in &mut wanted {
        match known.get(&text.commitment) {
            Some(found) => text.text.clone_from(found),
            None => text.redacted = true,
        }
    }
    Ok(())
}

fn unsealed(one: SealedRecord, stored_at: Timestamp) -> Entry {
    let SealedRecord { mut record, canonical, hash, texts: beside } = one;
    if let Some(payload) = record.payload.as_mut() {
        for (field, sealed) in texts(payload).into_iter().zip(beside) {
            field.text.text = sealed.text;
        }
    }
    Entry { record, canonical, hash: hash.to_vec(), stored_at }
}

fn incident_id(text: &str) -> Result<IncidentId, LogError> {
    text.parse().map_err(|_| LogError::Corrupt { place: format!("incident id {text:?}") })
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

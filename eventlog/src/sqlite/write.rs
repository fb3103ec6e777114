//! Appending: what is read and written inside the transaction, and emptying the file of what was redacted.

use async_trait::async_trait;
use harmony_incidents::{EnvironmentId, OrgId, ReleaseId, ServiceId, StreamId, log::EnvironmentState};
use harmony_protos::kind_name;
use jiff::Timestamp;
use sqlx::{
    AssertSqlSafe, Row as _, Sqlite, SqliteConnection,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{catalog, column, lanes, read, unavailable, writer::Writer};
use crate::{
    append::{Found, IncidentProjection, Job, KeyRow, Plan, Projection, StreamTarget, Transaction},
    rebuild::Projections,
    redaction::{Copies, Erasure, Standing},
    sql::{signed, unsigned},
    store::{Entry, LogError},
    stream::StreamState,
};

#[async_trait]
impl Transaction for SqliteConnection {
    async fn find(&mut self, job: &Job<'_>) -> Result<Found, LogError> {
        let stream = match &job.target {
            StreamTarget::Named(stream) => Some(stream),
            StreamTarget::New { .. } => None,
        };
        let is_catalog = stream.is_some_and(|stream| stream.incident().is_none());
        let row = sqlx::query(if is_catalog { FIND_CATALOG } else { FIND })
            .bind(job.org.as_str())
            .bind(job.key)
            .bind(stream.map(StreamId::as_str))
            .fetch_one(&mut *self)
            .await
            .map_err(unavailable)?;
        let mut found = Found { key: key(&row, job.key)?, ..Found::default() };
        if found.key.is_none()
            && let Some(stream) = stream
        {
            found.head = read::head_of(&row, stream)?;
        }
        Ok(found)
    }

    async fn release_owner(
        &mut self,
        org: &OrgId,
        release: &ReleaseId,
    ) -> Result<Option<ServiceId>, LogError> {
        catalog::owner(self, org, release).await
    }

    async fn environment(
        &mut self,
        org: &OrgId,
        environment: &EnvironmentId,
    ) -> Result<Option<EnvironmentState>, LogError> {
        let head = catalog::head(self, org, &environment.clone().into()).await?;
        Ok(head.map(|head| head.state).and_then(StreamState::environment))
    }

    async fn last_number(&mut self, org: &OrgId, year: i16) -> Result<u64, LogError> {
        let last: i64 =
            sqlx::query_scalar("SELECT COALESCE(MAX(number), 0) FROM incidents WHERE org = ? AND year = ?")
                .bind(org.as_str())
                .bind(year)
                .fetch_one(self)
                .await
                .map_err(unavailable)?;
        Ok(unsigned(last))
    }

    async fn entries(
        &mut self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, LogError> {
        read::entries(self, org, stream, after, limit).await
    }

    async fn copies(&mut self, org: &OrgId, stream: &StreamId, seq: u64) -> Result<Copies, LogError> {
        let place = || format!("{stream} seq {seq}");
        let canonical =
            sqlx::query_scalar("SELECT canonical FROM events WHERE org = ? AND incident = ? AND seq = ?")
                .bind(org.as_str())
                .bind(stream.as_str())
                .bind(signed(seq))
                .fetch_optional(&mut *self)
                .await
                .map_err(unavailable)?;
        let rows = sqlx::query("SELECT seq, field, text FROM texts WHERE org = ? AND incident = ?")
            .bind(org.as_str())
            .bind(stream.as_str())
            .fetch_all(&mut *self)
            .await
            .map_err(unavailable)?;
        let mut texts = Vec::with_capacity(rows.len());
        for row in &rows {
            texts.push(Standing {
                seq: unsigned(column(row, "seq", place)?),
                field: column(row, "field", place)?,
                text: column(row, "text", place)?,
            });
        }
        let waiting = sqlx::query_scalar(
            "SELECT payload FROM outbox WHERE org = ? AND incident = ? AND done_at_us IS NULL",
        )
        .bind(org.as_str())
        .bind(stream.as_str())
        .fetch_all(&mut *self)
        .await
        .map_err(unavailable)?;
        let answers = "SELECT key, answer AS kept FROM idempotency WHERE org = ? AND incident = ?";
        let answers = documents(self, answers, org, stream).await?;
        let results =
            "SELECT key, result AS kept FROM effects WHERE org = ? AND incident = ? AND result IS NOT NULL";
        let results = documents(self, results, org, stream).await?;
        let candidates =
            "SELECT candidate AS key, document AS kept FROM candidates WHERE org = ? AND incident = ?";
        let candidates = documents(self, candidates, org, stream).await?;
        Ok(Copies { canonical, texts, waiting, answers, results, candidates })
    }

    async fn write(&mut self, job: &Job<'_>, plan: &Plan) -> Result<(), LogError> {
        if let Some(erasure) = &plan.erasure {
            erase(self, job.org, &plan.stream, erasure).await?;
        }
        insert(self, job, plan).await?;
        if let Some(Projection::Catalog(projection)) = &plan.projection {
            catalog::write(self, job.org, &plan.stream, projection, plan.stored_at.as_microsecond()).await?;
        }
        lanes::extend(self, job.org, plan).await
    }
}

#[async_trait]
impl Projections for SqliteConnection {
    async fn unproject(&mut self, org: &OrgId, stream: &str) -> Result<(), LogError> {
        catalog::erase(self, org, stream).await?;
        sqlx::query("DELETE FROM incidents WHERE org = ? AND CAST(incident AS BLOB) = CAST(? AS BLOB)")
            .bind(org.as_str())
            .bind(stream)
            .execute(self)
            .await
            .map(drop)
            .map_err(unavailable)
    }

    async fn project(
        &mut self,
        org: &OrgId,
        stream: &StreamId,
        projection: &Projection,
    ) -> Result<(), LogError> {
        let now = Timestamp::now().as_microsecond();
        match projection {
            Projection::Incident(projection) => {
                let query = bound(sqlx::query(PROJECT), org.as_str(), stream.as_str(), projection, now);
                query.execute(self).await.map(drop).map_err(unavailable)
            }
            Projection::Catalog(projection) => catalog::write(self, org, stream, projection, now).await,
        }
    }
}

/// The key and the head at once. Where the incident has no row, both of its columns are null.
const FIND: &str = "SELECT k.incident, k.fingerprint, k.answer, k.first_seq, k.last_seq, k.run_id, i.head_hash, i.state FROM (SELECT 1) LEFT JOIN idempotency k ON k.org = ?1 AND k.key = ?2 LEFT JOIN incidents i ON i.org = ?1 AND i.incident = ?3";

/// The same of a stream of the catalog.
const FIND_CATALOG: &str = "SELECT k.incident, k.fingerprint, k.answer, k.first_seq, k.last_seq, k.run_id, c.head_hash, c.state FROM (SELECT 1) LEFT JOIN idempotency k ON k.org = ?1 AND k.key = ?2 LEFT JOIN catalog c ON c.org = ?1 AND c.stream = ?3";

fn key(row: &SqliteRow, key: &str) -> Result<Option<KeyRow>, LogError> {
    let place = || format!("key {key}");
    let Some(stream) = column(row, "incident", place)? else { return Ok(None) };
    Ok(Some(KeyRow {
        stream,
        fingerprint: column(row, "fingerprint", place)?,
        answer: column(row, "answer", place)?,
        first_seq: unsigned(column(row, "first_seq", place)?),
        last_seq: unsigned(column(row, "last_seq", place)?),
        run_id: column(row, "run_id", place)?,
    }))
}

async fn documents(
    connection: &mut SqliteConnection,
    query: &'static str,
    org: &OrgId,
    stream: &StreamId,
) -> Result<Vec<(String, String)>, LogError> {
    let rows = sqlx::query(query)
        .bind(org.as_str())
        .bind(stream.as_str())
        .fetch_all(connection)
        .await
        .map_err(unavailable)?;
    let place = || stream.to_string();
    rows.iter().map(|row| Ok((column(row, "key", place)?, column(row, "kept", place)?))).collect()
}

async fn erase(
    connection: &mut SqliteConnection,
    org: &OrgId,
    stream: &StreamId,
    erasure: &Erasure,
) -> Result<(), LogError> {
    for (seq, field) in &erasure.texts {
        sqlx::query("DELETE FROM texts WHERE org = ? AND incident = ? AND seq = ? AND field = ?")
            .bind(org.as_str())
            .bind(stream.as_str())
            .bind(signed(*seq))
            .bind(field)
            .execute(&mut *connection)
            .await
            .map_err(unavailable)?;
    }
    sqlx::query(
        "UPDATE outbox SET payload = 'null', last_error = NULL WHERE org = ? AND incident = ? AND done_at_us IS NOT NULL",
    )
    .bind(org.as_str())
    .bind(stream.as_str())
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?;
    for (update, changed) in [
        ("UPDATE idempotency SET answer = ? WHERE org = ? AND key = ?", &erasure.answers),
        ("UPDATE effects SET result = ? WHERE org = ? AND key = ?", &erasure.results),
        ("UPDATE candidates SET document = ? WHERE org = ? AND candidate = ?", &erasure.candidates),
    ] {
        for (key, new) in changed {
            sqlx::query(update)
                .bind(new)
                .bind(org.as_str())
                .bind(key)
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
        }
    }
    Ok(())
}

const INSERT_RECORD: &str = "INSERT INTO events (org, incident, seq, event_id, kind, canonical, hash, stored_at_us, occurred_at_us, actor) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);";
const INSERT_TEXT: &str =
    "INSERT INTO texts (org, incident, seq, field, commitment, salt, text) VALUES (?, ?, ?, ?, ?, ?, ?);";
const PROJECT: &str = "INSERT INTO incidents (org, incident, year, number, seq, head_hash, state, state_word, phase_word, severity, status_word, service, environment, project, correlation_keys, waiting, visible_to, drill, updated_at_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (org, incident) DO UPDATE SET seq = excluded.seq, head_hash = excluded.head_hash, state = excluded.state, state_word = excluded.state_word, phase_word = excluded.phase_word, severity = excluded.severity, status_word = excluded.status_word, service = excluded.service, environment = excluded.environment, project = excluded.project, correlation_keys = excluded.correlation_keys, waiting = excluded.waiting, visible_to = excluded.visible_to, drill = excluded.drill, updated_at_us = excluded.updated_at_us;";
const INSERT_ITEM: &str = "INSERT INTO outbox (org, incident, kind, name, payload, created_at_us, due_at_us) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (org, kind, name) DO NOTHING;";
const COMPLETE: &str = "UPDATE effects SET result = ? WHERE org = ? AND key = ?;";
const INSERT_KEY: &str = "INSERT INTO idempotency (org, key, incident, fingerprint, answer, first_seq, last_seq, run_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?);";

/// Records, texts, projection, outbox, an effect's result and key, handed to the connection's thread at once: each time it is asked costs
/// two changes of thread, which is more than a row does.
async fn insert(connection: &mut SqliteConnection, job: &Job<'_>, plan: &Plan) -> Result<(), LogError> {
    let mut statements = String::new();
    for one in &plan.sealed {
        statements.push_str(INSERT_RECORD);
        statements.push_str(&INSERT_TEXT.repeat(one.texts.len()));
    }
    let projection = match &plan.projection {
        Some(Projection::Incident(projection)) => Some(projection),
        Some(Projection::Catalog(_)) | None => None,
    };
    if projection.is_some() {
        statements.push_str(PROJECT);
    }
    statements.push_str(&INSERT_ITEM.repeat(plan.outbox.len()));
    if job.effect.is_some() {
        statements.push_str(COMPLETE);
    }
    statements.push_str(INSERT_KEY);

    let (org, stream) = (job.org.as_str(), plan.stream.as_str());
    let stored_at = plan.stored_at.as_microsecond();
    let mut query = sqlx::query(AssertSqlSafe(statements));
    for one in &plan.sealed {
        let kind = one.record.payload.as_ref().and_then(|payload| payload.kind.as_ref());
        let seq = signed(one.record.seq);
        query = query.bind(org).bind(stream).bind(seq).bind(one.record.event_id.as_slice());
        query = query.bind(kind.map_or("", kind_name)).bind(one.canonical.as_slice());
        query = query.bind(one.hash.as_slice()).bind(stored_at);
        query = query.bind(one.record.occurred_at_us).bind(&one.record.actor);
        for text in &one.texts {
            query = query.bind(org).bind(stream).bind(seq).bind(&text.field);
            query = query.bind(text.commitment.as_slice()).bind(text.salt.as_slice()).bind(&text.text);
        }
    }
    if let Some(projection) = projection {
        query = bound(query, org, stream, projection, stored_at);
    }
    for item in &plan.outbox {
        query = query.bind(org).bind(stream).bind(item.kind.name()).bind(&item.name);
        query = query.bind(item.payload.to_string()).bind(stored_at).bind(stored_at);
    }
    if let Some(effect) = &job.effect {
        query = query.bind(effect.result.to_string()).bind(org).bind(effect.key);
    }
    let key = &plan.key;
    query = query.bind(org).bind(job.key).bind(&key.stream).bind(&key.fingerprint).bind(&key.answer);
    query = query.bind(signed(key.first_seq)).bind(signed(key.last_seq)).bind(&key.run_id);
    query.execute(connection).await.map(drop).map_err(unavailable)
}

/// What [`PROJECT`] takes.
fn bound<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    org: &'q str,
    stream: &'q str,
    projection: &'q IncidentProjection,
    stored_at: i64,
) -> Query<'q, Sqlite, SqliteArguments> {
    query
        .bind(org)
        .bind(stream)
        .bind(projection.year)
        .bind(signed(projection.number))
        .bind(signed(projection.seq))
        .bind(projection.head_hash.as_slice())
        .bind(projection.state.as_slice())
        .bind(&projection.state_word)
        .bind(&projection.phase_word)
        .bind(&projection.severity)
        .bind(&projection.status_word)
        .bind(&projection.service)
        .bind(&projection.environment)
        .bind(&projection.project)
        .bind(&projection.correlation_keys)
        .bind(projection.waiting)
        .bind(&projection.visible_to)
        .bind(projection.drill)
        .bind(stored_at)
}

/// Rebuilds the file without what was deleted, and empties the write-ahead log, because both hold older pages. Writers
/// wait for that as long as it takes: a redaction is rare, and a large file is slow. Where a reader holds on to older
/// pages for too long, the redaction stands and this fails: asked again under the same key, it is tried again.
pub(super) async fn purge(writer: &Writer) -> Result<(), LogError> {
    let mut alone = writer.alone().await;
    let connection = alone.connection();
    // The copy of the whole log that is made on the way does not fit into every memory.
    sqlx::raw_sql("PRAGMA temp_store = FILE").execute(&mut *connection).await.map_err(unavailable)?;
    let rebuilt = sqlx::query("VACUUM").execute(&mut *connection).await.map_err(unavailable);
    sqlx::raw_sql("PRAGMA temp_store = MEMORY").execute(&mut *connection).await.map_err(unavailable)?;
    rebuilt?;
    let row =
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(connection).await.map_err(unavailable)?;
    let busy: i64 = row.try_get(0).map_err(unavailable)?;
    if busy == 0 {
        return Ok(());
    }
    let held = "a reader still holds older pages, which have the text that was redacted";
    tracing::warn!("{held}");
    Err(LogError::Unavailable(held.into()))
}

//! Appending: what is read and written inside the transaction, and emptying the file of what was redacted.

use async_trait::async_trait;
use harmony_incidents::{IncidentId, OrgId, record::SealedRecord};
use harmony_protos::kind_name;
use jiff::Timestamp;
use sqlx::{Row as _, SqliteConnection};

use super::{column, lanes, outbox, read, unavailable, writer::Writer};
use crate::{
    append::{Found, KeyRow, Plan, Projection, Transaction},
    rebuild::Projections,
    redaction::{Copies, Erasure},
    sql::{signed, unsigned},
    store::{Append, Entry, LogError, Target},
};

#[async_trait]
impl Transaction for SqliteConnection {
    async fn find(&mut self, append: &Append<'_>) -> Result<Found, LogError> {
        let key = key(self, append.org, append.key).await?;
        let mut found = Found { key, ..Found::default() };
        if found.key.is_none()
            && let Target::Named(incident) = &append.target
        {
            found.head = read::head(self, append.org, incident).await?;
            if !append.command.weighs_decisions() {
                return Ok(found);
            }
            found.decisions = sqlx::query_scalar(
                "SELECT payload FROM outbox WHERE org = ? AND incident = ? AND kind = 'decision' AND done_at_us IS NULL",
            )
            .bind(append.org.as_str())
            .bind(incident.as_str())
            .fetch_all(self)
            .await
            .map_err(unavailable)?;
        }
        Ok(found)
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
        incident: &IncidentId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, LogError> {
        read::entries(self, org, incident, after, limit).await
    }

    async fn copies(&mut self, org: &OrgId, incident: &IncidentId, seq: u64) -> Result<Copies, LogError> {
        let place = || format!("{incident} seq {seq}");
        let canonical =
            sqlx::query_scalar("SELECT canonical FROM events WHERE org = ? AND incident = ? AND seq = ?")
                .bind(org.as_str())
                .bind(incident.as_str())
                .bind(signed(seq))
                .fetch_optional(&mut *self)
                .await
                .map_err(unavailable)?;
        let rows = sqlx::query("SELECT field, text FROM texts WHERE org = ? AND incident = ? AND seq = ?")
            .bind(org.as_str())
            .bind(incident.as_str())
            .bind(signed(seq))
            .fetch_all(&mut *self)
            .await
            .map_err(unavailable)?;
        let mut texts = Vec::with_capacity(rows.len());
        for row in &rows {
            texts.push((column(row, "field", place)?, column(row, "text", place)?));
        }
        let waiting = sqlx::query_scalar(
            "SELECT payload FROM outbox WHERE org = ? AND incident = ? AND done_at_us IS NULL",
        )
        .bind(org.as_str())
        .bind(incident.as_str())
        .fetch_all(&mut *self)
        .await
        .map_err(unavailable)?;
        let answers = "SELECT key, answer AS kept FROM idempotency WHERE org = ? AND incident = ?";
        let answers = documents(self, answers, org, incident).await?;
        let results =
            "SELECT key, result AS kept FROM effects WHERE org = ? AND incident = ? AND result IS NOT NULL";
        let results = documents(self, results, org, incident).await?;
        let candidates =
            "SELECT candidate AS key, document AS kept FROM candidates WHERE org = ? AND incident = ?";
        let candidates = documents(self, candidates, org, incident).await?;
        Ok(Copies { canonical, texts, waiting, answers, results, candidates })
    }

    async fn write(&mut self, append: &Append<'_>, plan: &Plan) -> Result<(), LogError> {
        if let Some(erasure) = &plan.erasure {
            erase(self, append.org, &plan.incident, erasure).await?;
        }
        for one in &plan.sealed {
            insert_record(self, append.org, &plan.incident, one, plan.stored_at).await?;
        }
        if let Some(projection) = &plan.projection {
            project(self, append.org, &plan.incident, projection, plan.stored_at).await?;
        }
        for item in &plan.outbox {
            outbox::insert(self, append.org, Some(&plan.incident), item, plan.stored_at).await?;
        }
        lanes::extend(self, append.org, plan).await?;
        if let Some(decision) = &plan.settled {
            outbox::settle(self, append.org, &plan.incident, decision, plan.stored_at).await?;
        }
        insert_key(self, append.org, append.key, &plan.key).await
    }
}

#[async_trait]
impl Projections for SqliteConnection {
    async fn unproject(&mut self, org: &OrgId, incident: &str) -> Result<(), LogError> {
        sqlx::query("DELETE FROM incidents WHERE org = ? AND CAST(incident AS BLOB) = CAST(? AS BLOB)")
            .bind(org.as_str())
            .bind(incident)
            .execute(self)
            .await
            .map(drop)
            .map_err(unavailable)
    }

    async fn project(
        &mut self,
        org: &OrgId,
        incident: &IncidentId,
        projection: &Projection,
    ) -> Result<(), LogError> {
        project(self, org, incident, projection, Timestamp::now()).await
    }
}

async fn key(connection: &mut SqliteConnection, org: &OrgId, key: &str) -> Result<Option<KeyRow>, LogError> {
    let row = sqlx::query(
        "SELECT incident, fingerprint, answer, first_seq, last_seq, run_id FROM idempotency WHERE org = ? AND key = ?",
    )
    .bind(org.as_str())
    .bind(key)
    .fetch_optional(connection)
    .await
    .map_err(unavailable)?;
    row.map(|row| {
        let place = || format!("key {key}");
        Ok(KeyRow {
            incident: column(&row, "incident", place)?,
            fingerprint: column(&row, "fingerprint", place)?,
            answer: column(&row, "answer", place)?,
            first_seq: unsigned(column(&row, "first_seq", place)?),
            last_seq: unsigned(column(&row, "last_seq", place)?),
            run_id: column(&row, "run_id", place)?,
        })
    })
    .transpose()
}

async fn documents(
    connection: &mut SqliteConnection,
    query: &'static str,
    org: &OrgId,
    incident: &IncidentId,
) -> Result<Vec<(String, String)>, LogError> {
    let rows = sqlx::query(query)
        .bind(org.as_str())
        .bind(incident.as_str())
        .fetch_all(connection)
        .await
        .map_err(unavailable)?;
    let place = || incident.to_string();
    rows.iter().map(|row| Ok((column(row, "key", place)?, column(row, "kept", place)?))).collect()
}

async fn erase(
    connection: &mut SqliteConnection,
    org: &OrgId,
    incident: &IncidentId,
    erasure: &Erasure,
) -> Result<(), LogError> {
    for field in &erasure.fields {
        sqlx::query("DELETE FROM texts WHERE org = ? AND incident = ? AND seq = ? AND field = ?")
            .bind(org.as_str())
            .bind(incident.as_str())
            .bind(signed(erasure.seq))
            .bind(field)
            .execute(&mut *connection)
            .await
            .map_err(unavailable)?;
    }
    sqlx::query(
        "UPDATE outbox SET payload = 'null', last_error = NULL WHERE org = ? AND incident = ? AND done_at_us IS NOT NULL",
    )
    .bind(org.as_str())
    .bind(incident.as_str())
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

async fn insert_record(
    connection: &mut SqliteConnection,
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
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?;
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
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    }
    Ok(())
}

async fn project(
    connection: &mut SqliteConnection,
    org: &OrgId,
    incident: &IncidentId,
    projection: &Projection,
    stored_at: Timestamp,
) -> Result<(), LogError> {
    sqlx::query(
        "INSERT INTO incidents (org, incident, year, number, seq, head_hash, state, state_word, phase_word, severity, status_word, service, environment, project, correlation_keys, updated_at_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (org, incident) DO UPDATE SET seq = excluded.seq, head_hash = excluded.head_hash, state = excluded.state, state_word = excluded.state_word, phase_word = excluded.phase_word, severity = excluded.severity, status_word = excluded.status_word, service = excluded.service, environment = excluded.environment, project = excluded.project, correlation_keys = excluded.correlation_keys, updated_at_us = excluded.updated_at_us",
    )
    .bind(org.as_str())
    .bind(incident.as_str())
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
    .bind(stored_at.as_microsecond())
    .execute(connection)
    .await
    .map(drop)
    .map_err(unavailable)
}

async fn insert_key(
    connection: &mut SqliteConnection,
    org: &OrgId,
    key: &str,
    row: &KeyRow,
) -> Result<(), LogError> {
    sqlx::query(
        "INSERT INTO idempotency (org, key, incident, fingerprint, answer, first_seq, last_seq, run_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(org.as_str())
    .bind(key)
    .bind(&row.incident)
    .bind(&row.fingerprint)
    .bind(&row.answer)
    .bind(signed(row.first_seq))
    .bind(signed(row.last_seq))
    .bind(&row.run_id)
    .execute(connection)
    .await
    .map(drop)
    .map_err(unavailable)
}

/// Rebuilds the file without what was deleted, and empties the write-ahead log, because both hold older pages. Writers
/// wait for that as long as it takes: a redaction is rare, and a large file is slow. Where a reader holds on to older
/// pages for too long, the redaction stands and this fails: asked again under the same key, it is tried again.
pub(super) async fn purge(writer: &Writer) -> Result<(), LogError> {
    let mut alone = writer.alone().await;
    let connection = alone.connection();
    sqlx::query("VACUUM").execute(&mut *connection).await.map_err(unavailable)?;
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

//! Appending: one statement reads and locks, one writes everything, so that an append costs four round trips.

use async_trait::async_trait;
use harmony_incidents::{EnvironmentId, OrgId, ReleaseId, ServiceId, StreamId, log::EnvironmentState};
use harmony_protos::kind_name;
use sqlx::PgConnection;

use super::{catalog, column, effects, lanes, read, unavailable};
use crate::{
    append::{self, Found, Job, KeyRow, Plan, Projection, StreamTarget, Transaction},
    rebuild::Projections,
    redaction::{Copies, Erasure, Standing},
    sql::{signed, unsigned},
    store::{Entry, LogError},
    stream::StreamState,
};

/// The key, and the head with its row locked until the end.
const FIND: &str = "WITH head AS MATERIALIZED (SELECT head_hash, state FROM incidents WHERE org = $1 AND incident = $3 FOR UPDATE), key AS (SELECT incident, fingerprint, answer, first_seq, last_seq, run_id FROM idempotency WHERE org = $1 AND key = $2) SELECT head.head_hash, head.state, key.incident, key.fingerprint, key.answer, key.first_seq, key.last_seq, key.run_id FROM (SELECT 1) AS one LEFT JOIN head ON TRUE LEFT JOIN key ON TRUE";

/// The same of a stream of the catalog.
const FIND_CATALOG: &str = "WITH head AS MATERIALIZED (SELECT head_hash, state FROM catalog WHERE org = $1 AND stream = $3 FOR UPDATE), key AS (SELECT incident, fingerprint, answer, first_seq, last_seq, run_id FROM idempotency WHERE org = $1 AND key = $2) SELECT head.head_hash, head.state, key.incident, key.fingerprint, key.answer, key.first_seq, key.last_seq, key.run_id FROM (SELECT 1) AS one LEFT JOIN head ON TRUE LEFT JOIN key ON TRUE";

/// Records, texts, projection, outbox and key: whatever of it there is.
const WRITE: &str = "WITH
records AS (
    INSERT INTO events (org, incident, seq, event_id, kind, canonical, hash, stored_at_us, occurred_at_us, actor)
    SELECT $1, $2, seq, event_id, kind, canonical, hash, $3, occurred_at_us, actor
    FROM UNNEST($4::bigint[], $5::bytea[], $6::text[], $7::bytea[], $8::bytea[], $37::bigint[], $38::text[]) AS r (seq, event_id, kind, canonical, hash, occurred_at_us, actor)
),
beside AS (
    INSERT INTO texts (org, incident, seq, field, commitment, salt, text)
    SELECT $1, $2, seq, field, commitment, salt, text
    FROM UNNEST($9::bigint[], $10::text[], $11::bytea[], $12::bytea[], $13::bytea[]) AS t (seq, field, commitment, salt, text)
),
projection AS (
    INSERT INTO incidents (org, incident, year, number, seq, head_hash, state, state_word, phase_word, severity, status_word, service, environment, project, correlation_keys, waiting, visible_to, drill, updated_at_us)
    SELECT $1, $2, $14, $15, $16, $17, $18, $19, $20, $21, $31, $32, $33, $34, $35, $36, $39, $40, $3 WHERE $17::bytea IS NOT NULL
    ON CONFLICT (org, incident) DO UPDATE SET seq = excluded.seq, head_hash = excluded.head_hash, state = excluded.state, state_word = excluded.state_word, phase_word = excluded.phase_word, severity = excluded.severity, status_word = excluded.status_word, service = excluded.service, environment = excluded.environment, project = excluded.project, correlation_keys = excluded.correlation_keys, waiting = excluded.waiting, visible_to = excluded.visible_to, drill = excluded.drill, updated_at_us = excluded.updated_at_us
),
following AS (
    INSERT INTO outbox (org, incident, kind, name, payload, created_at_us, due_at_us)
    SELECT $1, $2, kind, name, payload, $3, $3
    FROM UNNEST($22::text[], $23::text[], $24::text[]) AS o (kind, name, payload)
    ON CONFLICT (org, kind, name) DO NOTHING
)
INSERT INTO idempotency (org, key, incident, fingerprint, answer, first_seq, last_seq, run_id)
VALUES ($1, $25, $2, $26, $27, $28, $29, $30)";

/// A projection that is not there.
const PROJECT: &str = "INSERT INTO incidents (org, incident, year, number, seq, head_hash, state, state_word, phase_word, severity, status_word, service, environment, project, correlation_keys, waiting, visible_to, drill, updated_at_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)";

#[async_trait]
impl Transaction for PgConnection {
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
        let place = || format!("key {}", job.key);
        let known: Option<String> = column(&row, "incident", place)?;
        let key = match known {
            Some(stream) => Some(KeyRow {
                stream,
                fingerprint: column(&row, "fingerprint", place)?,
                answer: column(&row, "answer", place)?,
                first_seq: unsigned(column(&row, "first_seq", place)?),
                last_seq: unsigned(column(&row, "last_seq", place)?),
                run_id: column(&row, "run_id", place)?,
            }),
            None => None,
        };
        let mut found = Found { key, ..Found::default() };
        let Some(stream) = stream.filter(|_| found.key.is_none()) else { return Ok(found) };
        let place = || stream.to_string();
        let head: Option<(&[u8], &[u8])> =
            match (column(&row, "head_hash", place)?, column(&row, "state", place)?) {
                (Some(hash), Some(state)) => Some((hash, state)),
                _ => None,
            };
        if let Some((hash, state)) = head {
            let corrupt = || LogError::Corrupt { place: place() };
            found.head = Some(append::head(stream, hash, state).ok_or_else(corrupt)?);
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
        let stream = StreamId::from(environment.clone());
        // What a command of a service is judged by stays as it is until that is committed: an environment that is retired
        // at the same moment waits, or is seen as retired.
        sqlx::query("SELECT 1 FROM catalog WHERE org = $1 AND stream = $2 FOR SHARE")
            .bind(org.as_str())
            .bind(stream.as_str())
            .execute(&mut *self)
            .await
            .map_err(unavailable)?;
        let head = catalog::head(self, org, &stream).await?;
        Ok(head.map(|head| head.state).and_then(StreamState::environment))
    }

    async fn last_number(&mut self, org: &OrgId, year: i16) -> Result<u64, LogError> {
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, $2))")
            .bind(format!("harmony {org}"))
            .bind(i64::from(year))
            .execute(&mut *self)
            .await
            .map_err(unavailable)?;
        let last: i64 =
            sqlx::query_scalar("SELECT COALESCE(MAX(number), 0) FROM incidents WHERE org = $1 AND year = $2")
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
            sqlx::query_scalar("SELECT canonical FROM events WHERE org = $1 AND incident = $2 AND seq = $3")
                .bind(org.as_str())
                .bind(stream.as_str())
                .bind(signed(seq))
                .fetch_optional(&mut *self)
                .await
                .map_err(unavailable)?;
        let rows = sqlx::query("SELECT seq, field, text FROM texts WHERE org = $1 AND incident = $2")
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
                text: read::text(column(row, "text", place)?, place)?,
            });
        }
        let waiting = sqlx::query_scalar(
            "SELECT payload FROM outbox WHERE org = $1 AND incident = $2 AND done_at_us IS NULL",
        )
        .bind(org.as_str())
        .bind(stream.as_str())
        .fetch_all(&mut *self)
        .await
        .map_err(unavailable)?;
        let answers = "SELECT key, answer AS kept FROM idempotency WHERE org = $1 AND incident = $2";
        let answers = documents(self, answers, org, stream).await?;
        let results =
            "SELECT key, result AS kept FROM effects WHERE org = $1 AND incident = $2 AND result IS NOT NULL";
        let results = documents(self, results, org, stream).await?;
        let candidates =
            "SELECT candidate AS key, document AS kept FROM candidates WHERE org = $1 AND incident = $2";
        let candidates = documents(self, candidates, org, stream).await?;
        Ok(Copies { canonical, texts, waiting, answers, results, candidates })
    }

    async fn write(&mut self, job: &Job<'_>, plan: &Plan) -> Result<(), LogError> {
        if let Some(erasure) = &plan.erasure {
            erase(self, job.org, &plan.stream, erasure).await?;
        }
        lanes::extend(self, job.org, plan).await?;
        if let Some(effect) = &job.effect {
            effects::complete(self, job.org, effect.key, effect.result).await?;
        }
        if let Some(Projection::Catalog(projection)) = &plan.projection {
            catalog::write(self, job.org, &plan.stream, projection, plan.stored_at.as_microsecond()).await?;
        }
        insert(self, job, plan).await
    }
}

#[async_trait]
impl Projections for PgConnection {
    async fn unproject(&mut self, org: &OrgId, stream: &str) -> Result<(), LogError> {
        catalog::erase(self, org, stream).await?;
        sqlx::query("DELETE FROM incidents WHERE org = $1 AND incident = $2")
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
        let now = jiff::Timestamp::now().as_microsecond();
        let projection = match projection {
            Projection::Incident(projection) => projection,
            Projection::Catalog(projection) => {
                return catalog::write(self, org, stream, projection, now).await;
            }
        };
        sqlx::query(PROJECT)
            .bind(org.as_str())
            .bind(stream.as_str())
            .bind(projection.year)
            .bind(signed(projection.number))
            .bind(signed(projection.seq))
            .bind(&projection.head_hash)
            .bind(&projection.state)
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
            .bind(now)
            .execute(self)
            .await
            .map(drop)
            .map_err(unavailable)
    }
}

async fn insert(connection: &mut PgConnection, job: &Job<'_>, plan: &Plan) -> Result<(), LogError> {
    let sealed = &plan.sealed;
    let kind = |one: &harmony_incidents::record::SealedRecord| {
        one.record.payload.as_ref().and_then(|payload| payload.kind.as_ref()).map_or("", kind_name)
    };
    let texts: Vec<_> =
        sealed.iter().flat_map(|one| one.texts.iter().map(|text| (signed(one.record.seq), text))).collect();
    let projection = match &plan.projection {
        Some(Projection::Incident(projection)) => Some(projection),
        Some(Projection::Catalog(_)) | None => None,
    };
    sqlx::query(WRITE)
        .bind(job.org.as_str())
        .bind(plan.stream.as_str())
        .bind(plan.stored_at.as_microsecond())
        .bind(sealed.iter().map(|one| signed(one.record.seq)).collect::<Vec<_>>())
        .bind(sealed.iter().map(|one| one.record.event_id.as_slice()).collect::<Vec<_>>())
        .bind(sealed.iter().map(kind).collect::<Vec<_>>())
        .bind(sealed.iter().map(|one| one.canonical.as_slice()).collect::<Vec<_>>())
        .bind(sealed.iter().map(|one| one.hash.as_slice()).collect::<Vec<_>>())
        .bind(texts.iter().map(|(seq, _)| *seq).collect::<Vec<_>>())
        .bind(texts.iter().map(|(_, text)| text.field.as_str()).collect::<Vec<_>>())
        .bind(texts.iter().map(|(_, text)| text.commitment.as_slice()).collect::<Vec<_>>())
        .bind(texts.iter().map(|(_, text)| text.salt.as_slice()).collect::<Vec<_>>())
        .bind(texts.iter().map(|(_, text)| text.text.as_bytes()).collect::<Vec<_>>())
        .bind(projection.map(|one| one.year))
        .bind(projection.map(|one| signed(one.number)))
        .bind(projection.map(|one| signed(one.seq)))
        .bind(projection.map(|one| one.head_hash.as_slice()))
        .bind(projection.map(|one| one.state.as_slice()))
        .bind(projection.map(|one| one.state_word.as_str()))
        .bind(projection.map(|one| one.phase_word.as_str()))
        .bind(projection.map(|one| one.severity.as_str()))
        .bind(plan.outbox.iter().map(|item| item.kind.name()).collect::<Vec<_>>())
        .bind(plan.outbox.iter().map(|item| item.name.as_str()).collect::<Vec<_>>())
        .bind(plan.outbox.iter().map(|item| item.payload.to_string()).collect::<Vec<_>>())
        .bind(job.key)
        .bind(&plan.key.fingerprint)
        .bind(&plan.key.answer)
        .bind(signed(plan.key.first_seq))
        .bind(signed(plan.key.last_seq))
        .bind(&plan.key.run_id)
        .bind(projection.map(|one| one.status_word.as_str()))
        .bind(projection.map(|one| one.service.as_str()))
        .bind(projection.map(|one| one.environment.as_str()))
        .bind(projection.map(|one| one.project.as_str()))
        .bind(projection.map(|one| one.correlation_keys.as_str()))
        .bind(projection.map(|one| one.waiting))
        .bind(sealed.iter().map(|one| one.record.occurred_at_us).collect::<Vec<_>>())
        .bind(sealed.iter().map(|one| one.record.actor.as_str()).collect::<Vec<_>>())
        .bind(projection.map(|one| one.visible_to.as_str()))
        .bind(projection.map(|one| one.drill))
        .execute(connection)
        .await
        .map(drop)
        .map_err(unavailable)
}

async fn documents(
    connection: &mut PgConnection,
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
    connection: &mut PgConnection,
    org: &OrgId,
    stream: &StreamId,
    erasure: &Erasure,
) -> Result<(), LogError> {
    let (seqs, fields): (Vec<i64>, Vec<&str>) =
        erasure.texts.iter().map(|(seq, field)| (signed(*seq), field.as_str())).unzip();
    sqlx::query("DELETE FROM texts WHERE org = $1 AND incident = $2 AND (seq, field) IN (SELECT * FROM UNNEST($3::bigint[], $4::text[]))")
        .bind(org.as_str())
        .bind(stream.as_str())
        .bind(seqs)
        .bind(fields)
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    sqlx::query(
        "UPDATE outbox SET payload = 'null', last_error = NULL WHERE org = $1 AND incident = $2 AND done_at_us IS NOT NULL",
    )
    .bind(org.as_str())
    .bind(stream.as_str())
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?;
    for (update, changed) in [
        ("UPDATE idempotency SET answer = $3 WHERE org = $1 AND key = $2", &erasure.answers),
        ("UPDATE effects SET result = $3 WHERE org = $1 AND key = $2", &erasure.results),
        ("UPDATE candidates SET document = $3 WHERE org = $1 AND candidate = $2", &erasure.candidates),
    ] {
        for (key, new) in changed {
            sqlx::query(update)
                .bind(org.as_str())
                .bind(key)
                .bind(new)
                .execute(&mut *connection)
                .await
                .map_err(unavailable)?;
        }
    }
    Ok(())
}

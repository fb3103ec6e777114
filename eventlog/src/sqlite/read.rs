//! Reading: states, records, lists, and rows as they are for whoever verifies.

use std::collections::BTreeMap;

use async_trait::async_trait;
use harmony_incidents::{Answer, IncidentId, OrgId, StreamId, log::IncidentState};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, sqlite::SqliteRow};

use super::{catalog, column, unavailable};
use crate::{
    append::{self, IncidentProjection, Projection, key_line, stream_id},
    checkpoint::StreamHead,
    entry::{self, Described, Filling, Salted},
    sql::{self, signed, unsigned},
    store::{Entry, Filter, LogError, Sort},
    stream::ChainHead,
    verify::{Audit, Page},
};

/// Texts asked for in one query: SQLite takes 32 766 variables, and a storm of signals may leave more texts.
const VARIABLES: usize = 1_000;

async fn head(
    connection: &mut SqliteConnection,
    org: &OrgId,
    stream: &StreamId,
) -> Result<Option<ChainHead>, LogError> {
    let row = sqlx::query("SELECT head_hash, state FROM incidents WHERE org = ? AND incident = ?")
        .bind(org.as_str())
        .bind(stream.as_str())
        .fetch_optional(connection)
        .await
        .map_err(unavailable)?;
    Ok(row.map(|row| head_of(&row, stream)).transpose()?.flatten())
}

/// The head in a row that has its columns; `None` where they are null.
pub(super) fn head_of(row: &SqliteRow, stream: &StreamId) -> Result<Option<ChainHead>, LogError> {
    let place = || stream.to_string();
    let hash: Option<&[u8]> = column(row, "head_hash", place)?;
    let state: Option<&[u8]> = column(row, "state", place)?;
    let (Some(hash), Some(state)) = (hash, state) else { return Ok(None) };
    append::head(stream, hash, state).map(Some).ok_or_else(|| LogError::Corrupt { place: place() })
}

pub(super) async fn state(
    connection: &mut SqliteConnection,
    org: &OrgId,
    incident: &IncidentId,
) -> Result<Option<IncidentState>, LogError> {
    let Some(head) = head(connection, org, incident).await? else { return Ok(None) };
    let states = head.state.incident().into_iter().collect();
    Ok(filled(connection, org, states).await?.pop())
}

/// These states with their texts, all of which are asked for together.
pub(super) async fn filled<D: Described>(
    connection: &mut SqliteConnection,
    org: &OrgId,
    states: Vec<D>,
) -> Result<Vec<D>, LogError> {
    let mut filling = Filling::of(states);
    for some in filling.wanted().chunks(VARIABLES / 2) {
        let mut query = QueryBuilder::<Sqlite>::new("WITH wanted(incident, commitment) AS (");
        query.push_values(some, |mut row, (stream, commitment)| {
            row.push_bind(stream).push_bind(commitment);
        });
        // SQLite keeps the order of a cross join: what is wanted leads, and each is looked up in the index.
        query.push(
            ") SELECT texts.incident, texts.commitment, salt, text FROM wanted CROSS JOIN texts WHERE org = ",
        );
        query.push_bind(org.as_str());
        query.push(" AND texts.incident = wanted.incident AND texts.commitment = wanted.commitment");
        for row in query.build().persistent(false).fetch_all(&mut *connection).await.map_err(unavailable)? {
            let stream: String = column(&row, "incident", String::new)?;
            let place = || stream.clone();
            let commitment = column(&row, "commitment", place)?;
            let salted = (column(&row, "salt", place)?, column(&row, "text", place)?);
            filling.know(stream, commitment, salted)?;
        }
    }
    Ok(filling.filled())
}

pub(super) async fn entries(
    connection: &mut SqliteConnection,
    org: &OrgId,
    stream: &StreamId,
    after: u64,
    limit: u32,
) -> Result<Vec<Entry>, LogError> {
    let found = sqlx::query(
        "SELECT seq, canonical, hash, stored_at_us FROM events WHERE org = ? AND incident = ? AND seq > ? ORDER BY seq LIMIT ?",
    )
    .bind(org.as_str())
    .bind(stream.as_str())
    .bind(signed(after))
    .bind(limit)
    .fetch_all(&mut *connection)
    .await
    .map_err(unavailable)?;
    let (Some(first), Some(last)) = (found.first(), found.last()) else { return Ok(Vec::new()) };
    let place = || stream.to_string();
    let (first, last): (i64, i64) = (column(first, "seq", place)?, column(last, "seq", place)?);
    let beside = sqlx::query(
        "SELECT seq, field, salt, text FROM texts WHERE org = ? AND incident = ? AND seq BETWEEN ? AND ?",
    )
    .bind(org.as_str())
    .bind(stream.as_str())
    .bind(first)
    .bind(last)
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    let mut texts = BTreeMap::<i64, BTreeMap<String, Salted>>::new();
    for row in &beside {
        let fields = texts.entry(column(row, "seq", place)?).or_default();
        let salted = (column(row, "salt", place)?, column(row, "text", place)?);
        fields.insert(column(row, "field", place)?, salted);
    }
    found
        .iter()
        .map(|row| {
            let seq: i64 = column(row, "seq", place)?;
            let place = || format!("{stream} seq {seq}");
            entry::stored(
                place,
                column(row, "canonical", place)?,
                column(row, "hash", place)?,
                column(row, "stored_at_us", place)?,
                texts.remove(&seq).unwrap_or_default(),
            )
        })
        .collect()
}

pub(super) async fn chain_head(
    connection: &mut SqliteConnection,
    org: &OrgId,
    stream: &StreamId,
) -> Result<Option<StreamHead>, LogError> {
    let row =
        sqlx::query("SELECT seq, hash FROM events WHERE org = ? AND incident = ? ORDER BY seq DESC LIMIT 1")
            .bind(org.as_str())
            .bind(stream.as_str())
            .fetch_optional(connection)
            .await
            .map_err(unavailable)?;
    row.map(|row| {
        let place = || stream.to_string();
        let hash: &[u8] = column(&row, "hash", place)?;
        Ok(StreamHead {
            stream: stream.clone(),
            seq: unsigned(column(&row, "seq", place)?),
            hash: hash.try_into().map_err(|_| LogError::Corrupt { place: place() })?,
        })
    })
    .transpose()
}

pub(super) async fn list(
    connection: &mut SqliteConnection,
    org: &OrgId,
    filter: &Filter,
) -> Result<Vec<IncidentState>, LogError> {
    let mut query =
        QueryBuilder::<Sqlite>::new("SELECT incident, head_hash, state FROM incidents WHERE org = ");
    query.push_bind(org.as_str());
    for (column, words) in [
        (" AND state_word IN (", &filter.states),
        (" AND status_word IN (", &filter.statuses),
        (" AND severity IN (", &filter.severities),
        (" AND service IN (", &filter.services),
        (" AND environment IN (", &filter.environments),
        (" AND project IN (", &filter.projects),
    ] {
        if !words.is_empty() {
            query.push(column);
            let mut list = query.separated(", ");
            for word in words {
                list.push_bind(word.as_str());
            }
            query.push(")");
        }
    }
    if !filter.correlation_keys.is_empty() {
        query.push(" AND (");
        let mut list = query.separated(" OR ");
        for key in &filter.correlation_keys {
            list.push("instr(correlation_keys, ").push_bind_unseparated(key_line(&[key]));
            list.push_unseparated(") > 0");
        }
        query.push(")");
    }
    if filter.waiting {
        query.push(" AND waiting");
    }
    if let Some(principal) = &filter.visible_to {
        query
            .push(" AND (visible_to = '' OR instr(visible_to, ")
            .push_bind(key_line(&[principal]))
            .push(") > 0)");
    }
    if let Some(principal) = &filter.hidden_from {
        query
            .push(" AND visible_to <> '' AND instr(visible_to, ")
            .push_bind(key_line(&[principal]))
            .push(") = 0");
    }
    if let Some(drill) = filter.drill {
        query.push(" AND drill = ").push_bind(drill);
    }
    for search in &filter.search {
        query.push(" AND EXISTS (SELECT 1 FROM texts t WHERE t.org = incidents.org AND t.incident = incidents.incident AND t.field = 'title' AND instr(lower(t.text), lower(");
        query.push_bind(search);
        query.push(")) > 0)");
    }
    let (behind, order) = match filter.sort {
        Sort::NewestFirst => (" AND (year, number) < (", " ORDER BY year DESC, number DESC LIMIT "),
        Sort::OldestFirst => (" AND (year, number) > (", " ORDER BY year, number LIMIT "),
        Sort::MostSevereFirst => {
            (" AND (year, number) < (", " ORDER BY severity, year DESC, number DESC LIMIT ")
        }
    };
    if let Some(place) = &filter.after {
        let (year, number) = place.incident.parts();
        if filter.sort == Sort::MostSevereFirst {
            query.push(" AND (severity > ").push_bind(&place.severity);
            query.push(" OR (severity = ").push_bind(&place.severity);
        }
        query.push(behind).push_bind(year).push(", ").push_bind(signed(number)).push(")");
        if filter.sort == Sort::MostSevereFirst {
            query.push("))");
        }
    }
    query.push(order).push_bind(filter.limit);
    let mut states = Vec::new();
    for row in query.build().fetch_all(&mut *connection).await.map_err(unavailable)? {
        let stream = stream_id(column(&row, "incident", String::new)?)?;
        states.extend(head_of(&row, &stream)?.and_then(|head| head.state.incident()));
    }
    filled(connection, org, states).await
}

pub(super) async fn answer(
    connection: &mut SqliteConnection,
    org: &OrgId,
    key: &str,
) -> Result<Option<Answer>, LogError> {
    let answer: Option<String> =
        sqlx::query_scalar("SELECT answer FROM idempotency WHERE org = ? AND key = ?")
            .bind(org.as_str())
            .bind(key)
            .fetch_optional(connection)
            .await
            .map_err(unavailable)?;
    let corrupt = |_| LogError::Corrupt { place: format!("key {key}") };
    answer.map(|text| serde_json::from_str(&text).map_err(corrupt)).transpose()
}

/// Every stream that a row names. From one to the next through the index, since each has many rows.
const TRACES: &str = "WITH RECURSIVE
    recorded(incident) AS (SELECT MIN(incident) FROM events WHERE org = ?1 UNION ALL SELECT (SELECT MIN(incident) FROM events WHERE org = ?1 AND incident > recorded.incident) FROM recorded WHERE recorded.incident IS NOT NULL),
    described(incident) AS (SELECT MIN(incident) FROM texts WHERE org = ?1 UNION ALL SELECT (SELECT MIN(incident) FROM texts WHERE org = ?1 AND incident > described.incident) FROM described WHERE described.incident IS NOT NULL)
    SELECT CAST(incident AS BLOB) FROM (SELECT incident FROM incidents WHERE org = ?1 UNION SELECT stream FROM catalog WHERE org = ?1 UNION SELECT stream FROM releases WHERE org = ?1 UNION SELECT stream FROM runs WHERE org = ?1 UNION SELECT incident FROM recorded UNION SELECT incident FROM described) WHERE incident IS NOT NULL";

/// Texts after a seq. One that is no number sorts after all that are, and belongs to no record.
const TEXTS_ON: &str = "SELECT IIF(typeof(seq) = 'integer', seq, 0) AS seq, CAST(field AS BLOB) AS field, CAST(commitment AS BLOB) AS commitment, CAST(salt AS BLOB) AS salt, CAST(text AS BLOB) AS text FROM texts WHERE org = ?1 AND incident = ?2 AND seq > ?3";
/// Texts after a seq and up to another.
const TEXTS_TO: &str = "SELECT seq, CAST(field AS BLOB) AS field, CAST(commitment AS BLOB) AS commitment, CAST(salt AS BLOB) AS salt, CAST(text AS BLOB) AS text FROM texts WHERE org = ?1 AND incident = ?2 AND seq > ?3 AND seq <= ?4";

#[async_trait]
impl Audit for SqliteConnection {
    async fn traces(&mut self, org: &OrgId) -> Result<Vec<String>, LogError> {
        let ids: Vec<Vec<u8>> =
            sqlx::query_scalar(TRACES).bind(org.as_str()).fetch_all(self).await.map_err(unavailable)?;
        Ok(ids.into_iter().map(entry::utf8).collect())
    }

    async fn page(
        &mut self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Page, LogError> {
        let place = || stream.to_string();
        // A seq that is no number sorts after all that are: it stands nowhere, and is missing where it stood.
        let found = sqlx::query(
            "SELECT seq, CAST(canonical AS BLOB) AS canonical, CAST(hash AS BLOB) AS hash FROM events WHERE org = ? AND incident = ? AND seq BETWEEN ? AND 9223372036854775807 ORDER BY seq LIMIT ?",
        )
        .bind(org.as_str())
        .bind(stream.as_str())
        .bind(signed(after).saturating_add(1))
        .bind(limit)
        .fetch_all(&mut *self)
        .await
        .map_err(unavailable)?;
        let last: Option<i64> = found.last().map(|row| column(row, "seq", place)).transpose()?;
        let last = last.filter(|_| found.len() == limit as usize);
        let beside = sqlx::query(if last.is_some() { TEXTS_TO } else { TEXTS_ON })
            .bind(org.as_str())
            .bind(stream.as_str())
            .bind(if after == 0 { i64::MIN } else { signed(after) })
            .bind(last)
            .fetch_all(self)
            .await
            .map_err(unavailable)?;
        Ok(sql::page(last, stream, found, beside))
    }

    async fn projection(&mut self, org: &OrgId, stream: &StreamId) -> Result<Option<Projection>, LogError> {
        if stream.incident().is_none() {
            let found = catalog::projection(self, org, stream).await?;
            return Ok(found.map(|found| Projection::Catalog(Box::new(found))));
        }
        let row = sqlx::query(
            "SELECT year, number, seq, head_hash, state, state_word, phase_word, severity, status_word, service, environment, project, correlation_keys, waiting, visible_to, drill FROM incidents WHERE org = ? AND incident = ?",
        )
        .bind(org.as_str())
        .bind(stream.as_str())
        .fetch_optional(self)
        .await
        .map_err(unavailable)?;
        row.map(|row| {
            let place = || stream.to_string();
            Ok(Projection::Incident(Box::new(IncidentProjection {
                year: column(&row, "year", place)?,
                number: unsigned(column(&row, "number", place)?),
                seq: unsigned(column(&row, "seq", place)?),
                head_hash: column(&row, "head_hash", place)?,
                state: column(&row, "state", place)?,
                state_word: column(&row, "state_word", place)?,
                phase_word: column(&row, "phase_word", place)?,
                severity: column(&row, "severity", place)?,
                status_word: column(&row, "status_word", place)?,
                service: column(&row, "service", place)?,
                environment: column(&row, "environment", place)?,
                project: column(&row, "project", place)?,
                correlation_keys: column(&row, "correlation_keys", place)?,
                waiting: column(&row, "waiting", place)?,
                visible_to: column(&row, "visible_to", place)?,
                drill: column(&row, "drill", place)?,
            })))
        })
        .transpose()
    }
}

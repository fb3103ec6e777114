//! Reading: states, records, lists, and rows as they are for whoever verifies.

use std::collections::BTreeMap;

use async_trait::async_trait;
use harmony_incidents::{Answer, IncidentId, OrgId, StreamId, log::IncidentState};
use prost::Message as _;
use sqlx::{PgConnection, PgPool, Postgres, QueryBuilder, postgres::PgRow};

use super::{catalog, column, unavailable};
use crate::{
    append::{IncidentProjection, Projection, key_line},
    checkpoint::StreamHead,
    entry::{self, Described, Filling, Salted},
    sql::{self, signed, unsigned},
    store::{Entry, Filter, LogError, Sort},
    verify::{Audit, Page},
};

pub(super) async fn state(
    connection: &mut PgConnection,
    org: &OrgId,
    incident: &IncidentId,
) -> Result<Option<IncidentState>, LogError> {
    let place = || incident.to_string();
    let row = sqlx::query("SELECT head_hash, state FROM incidents WHERE org = $1 AND incident = $2")
        .bind(org.as_str())
        .bind(incident.as_str())
        .fetch_optional(&mut *connection)
        .await
        .map_err(unavailable)?;
    let Some(row) = row else { return Ok(None) };
    Ok(filled(connection, org, vec![state_of(&row, place)?]).await?.pop())
}

/// The state in a row that has its columns, without its texts.
fn state_of(row: &PgRow, place: impl Fn() -> String + Copy) -> Result<IncidentState, LogError> {
    let state: &[u8] = column(row, "state", place)?;
    IncidentState::decode(state).map_err(|_| LogError::Corrupt { place: place() })
}

/// These states with their texts, all of which are asked for together.
pub(super) async fn filled<D: Described>(
    connection: &mut PgConnection,
    org: &OrgId,
    states: Vec<D>,
) -> Result<Vec<D>, LogError> {
    let mut filling = Filling::of(states);
    let (incidents, commitments): (Vec<String>, Vec<Vec<u8>>) = filling.wanted().into_iter().unzip();
    let beside = sqlx::query(
        "SELECT incident, commitment, salt, text FROM texts JOIN UNNEST($2::text[], $3::bytea[]) AS wanted(incident, commitment) USING (incident, commitment) WHERE org = $1",
    )
    .bind(org.as_str())
    .bind(incidents)
    .bind(commitments)
    .fetch_all(connection)
    .await
    .map_err(unavailable)?;
    for row in &beside {
        let stream: String = column(row, "incident", String::new)?;
        let place = || stream.clone();
        let commitment = column(row, "commitment", place)?;
        let salted = (column(row, "salt", place)?, text(column(row, "text", place)?, place)?);
        filling.know(stream, commitment, salted)?;
    }
    Ok(filling.filled())
}

pub(super) async fn entries(
    connection: &mut PgConnection,
    org: &OrgId,
    stream: &StreamId,
    after: u64,
    limit: u32,
) -> Result<Vec<Entry>, LogError> {
    let found = sqlx::query(
        "SELECT seq, canonical, hash, stored_at_us FROM events WHERE org = $1 AND incident = $2 AND seq > $3 ORDER BY seq LIMIT $4",
    )
    .bind(org.as_str())
    .bind(stream.as_str())
    .bind(signed(after))
    .bind(i64::from(limit))
    .fetch_all(&mut *connection)
    .await
    .map_err(unavailable)?;
    let (Some(first), Some(last)) = (found.first(), found.last()) else { return Ok(Vec::new()) };
    let place = || stream.to_string();
    let (first, last): (i64, i64) = (column(first, "seq", place)?, column(last, "seq", place)?);
    let beside = sqlx::query(
        "SELECT seq, field, salt, text FROM texts WHERE org = $1 AND incident = $2 AND seq BETWEEN $3 AND $4",
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
        let salted = (column(row, "salt", place)?, text(column(row, "text", place)?, place)?);
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
    pool: &PgPool,
    org: &OrgId,
    stream: &StreamId,
) -> Result<Option<StreamHead>, LogError> {
    let row = sqlx::query(
        "SELECT seq, hash FROM events WHERE org = $1 AND incident = $2 ORDER BY seq DESC LIMIT 1",
    )
    .bind(org.as_str())
    .bind(stream.as_str())
    .fetch_optional(pool)
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
    connection: &mut PgConnection,
    org: &OrgId,
    filter: &Filter,
) -> Result<Vec<IncidentState>, LogError> {
    let mut query =
        QueryBuilder::<Postgres>::new("SELECT incident, head_hash, state FROM incidents WHERE org = ");
    query.push_bind(org.as_str());
    for (column, words) in [
        ("state_word", &filter.states),
        ("status_word", &filter.statuses),
        ("severity", &filter.severities),
        ("service", &filter.services),
        ("environment", &filter.environments),
        ("project", &filter.projects),
    ] {
        if !words.is_empty() {
            query.push(" AND ").push(column).push(" = ANY(").push_bind(words).push(")");
        }
    }
    if !filter.correlation_keys.is_empty() {
        query.push(" AND (");
        let mut list = query.separated(" OR ");
        for key in &filter.correlation_keys {
            list.push("strpos(correlation_keys, ").push_bind_unseparated(key_line(&[key]));
            list.push_unseparated(") > 0");
        }
        query.push(")");
    }
    if filter.waiting {
        query.push(" AND waiting");
    }
    if let Some(principal) = &filter.visible_to {
        query
            .push(" AND (visible_to = '' OR strpos(visible_to, ")
            .push_bind(key_line(&[principal]))
            .push(") > 0)");
    }
    if let Some(principal) = &filter.hidden_from {
        query
            .push(" AND visible_to <> '' AND strpos(visible_to, ")
            .push_bind(key_line(&[principal]))
            .push(") = 0");
    }
    if let Some(drill) = filter.drill {
        query.push(" AND drill = ").push_bind(drill);
    }
    for search in &filter.search {
        // "C" lowers ASCII alone, as SQLite does: a search finds the same in every store. Only titles are decoded.
        query.push(" AND EXISTS (SELECT 1 FROM texts t WHERE t.org = incidents.org AND t.incident = incidents.incident AND t.field = 'title' AND strpos(lower(CASE WHEN t.field = 'title' THEN convert_from(t.text, 'UTF8') END COLLATE \"C\"), lower(");
        query.push_bind(search).push("::text COLLATE \"C\")) > 0)");
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
    query.push(order).push_bind(i64::from(filter.limit));
    let mut states = Vec::new();
    for row in &query.build().fetch_all(&mut *connection).await.map_err(unavailable)? {
        let stream: String = column(row, "incident", String::new)?;
        states.push(state_of(row, || stream.clone())?);
    }
    filled(connection, org, states).await
}

pub(super) async fn answer(pool: &PgPool, org: &OrgId, key: &str) -> Result<Option<Answer>, LogError> {
    let answer: Option<String> =
        sqlx::query_scalar("SELECT answer FROM idempotency WHERE org = $1 AND key = $2")
            .bind(org.as_str())
            .bind(key)
            .fetch_optional(pool)
            .await
            .map_err(unavailable)?;
    let corrupt = |_| LogError::Corrupt { place: format!("key {key}") };
    answer.map(|text| serde_json::from_str(&text).map_err(corrupt)).transpose()
}

#[async_trait]
impl Audit for PgConnection {
    async fn traces(&mut self, org: &OrgId) -> Result<Vec<String>, LogError> {
        sqlx::query_scalar(
            "SELECT incident FROM incidents WHERE org = $1 UNION SELECT stream FROM catalog WHERE org = $1 UNION SELECT stream FROM releases WHERE org = $1 UNION SELECT stream FROM runs WHERE org = $1 UNION SELECT incident FROM events WHERE org = $1 UNION SELECT incident FROM texts WHERE org = $1",
        )
        .bind(org.as_str())
        .fetch_all(self)
        .await
        .map_err(unavailable)
    }

    async fn page(
        &mut self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Page, LogError> {
        let place = || stream.to_string();
        let found = sqlx::query(
            "SELECT seq, canonical, hash FROM events WHERE org = $1 AND incident = $2 AND seq > $3 ORDER BY seq LIMIT $4",
        )
        .bind(org.as_str())
        .bind(stream.as_str())
        .bind(signed(after))
        .bind(i64::from(limit))
        .fetch_all(&mut *self)
        .await
        .map_err(unavailable)?;
        let last: Option<i64> = found.last().map(|row| column(row, "seq", place)).transpose()?;
        let last = last.filter(|_| found.len() == limit as usize);
        let beside = sqlx::query(
            "SELECT seq, convert_to(field, 'UTF8') AS field, commitment, salt, text FROM texts WHERE org = $1 AND incident = $2 AND seq > $3 AND seq <= $4",
        )
        .bind(org.as_str())
        .bind(stream.as_str())
        .bind(if after == 0 { i64::MIN } else { signed(after) })
        .bind(last.unwrap_or(i64::MAX))
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
            "SELECT year, number, seq, head_hash, state, state_word, phase_word, severity, status_word, service, environment, project, correlation_keys, waiting, visible_to, drill FROM incidents WHERE org = $1 AND incident = $2",
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

/// What was written as text; anything else is damage.
pub(super) fn text(bytes: Vec<u8>, place: impl Fn() -> String) -> Result<String, LogError> {
    String::from_utf8(bytes).map_err(|_| LogError::Corrupt { place: place() })
}

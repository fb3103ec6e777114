//! The schema of the database, and bringing it up to date.

use harmony_incidents::log::{IncidentState, Record};
use prost::Message as _;
use sqlx::{Connection as _, PgConnection, Row as _, postgres::PgConnectOptions};

use super::place;
use crate::{append, sql::reason, store::LogError};

/// In order; a database's version is how many of them it has seen. Beside each stands the oldest version whose programs
/// can work on what it leaves: the one before where it only adds what they need not know, so that they run on while the
/// new ones come, or come back; its own where it takes something away.
const MIGRATIONS: [(&str, i64); 9] = [
    (include_str!("../../migrations/postgres/0001_log.sql"), 1),
    (include_str!("../../migrations/postgres/0002_lanes.sql"), 2),
    (include_str!("../../migrations/postgres/0003_waiting.sql"), 3),
    (include_str!("../../migrations/postgres/0004_attempts.sql"), 3),
    (include_str!("../../migrations/postgres/0005_streams.sql"), 5),
    (include_str!("../../migrations/postgres/0006_private.sql"), 5),
    (include_str!("../../migrations/postgres/0007_live_output.sql"), 5),
    (include_str!("../../migrations/postgres/0008_subscriptions.sql"), 5),
    (include_str!("../../migrations/postgres/0009_audit.sql"), 5),
];
/// Held while migrating, so that two who start at once do not both migrate. "harmony" in ASCII.
const LOCK: i64 = 0x68_61_72_6d_6f_6e_79;

/// Schema of this build.
pub(crate) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// What a database says about itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Version {
    /// 0 where it was never migrated.
    number: i64,
    /// The oldest whose programs can work on it.
    oldest: i64,
}

/// The version of a database.
pub(crate) async fn version(connection: &mut PgConnection) -> Result<Version, sqlx::Error> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('harmony_schema') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(Version::default());
    }
    // By way of JSON, since a table that an early build made has no such column.
    let last: Option<(i64, Option<i64>)> = sqlx::query_as(
        "SELECT version, (to_jsonb(s) ->> 'oldest')::BIGINT FROM harmony_schema s ORDER BY version DESC LIMIT 1",
    )
    .fetch_optional(connection)
    .await?;
    let version = |(number, oldest): (i64, Option<i64>)| Version { number, oldest: oldest.unwrap_or(number) };
    Ok(last.map(version).unwrap_or_default())
}

/// Whether this build can work on a database of that version.
pub(crate) fn check(found: Version) -> Result<(), LogError> {
    let known = known();
    match found.number.cmp(&known) {
        std::cmp::Ordering::Less => Err(LogError::OlderSchema { found: found.number, known }),
        std::cmp::Ordering::Greater if found.oldest > known => {
            Err(LogError::NewerSchema { found: found.number, known })
        }
        std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => Ok(()),
    }
}

/// Whether it is this build's own version: what makes everything again must know everything.
pub(crate) fn check_own(found: Version) -> Result<(), LogError> {
    check(Version { oldest: found.number, ..found })
}

/// The version that a database has.
pub(crate) async fn found(options: &PgConnectOptions) -> Result<i64, LogError> {
    let failed = |error: sqlx::Error| LogError::Open { path: place(options), reason: reason(&error) };
    let mut connection = PgConnection::connect_with(options).await.map_err(failed)?;
    Ok(version(&mut connection).await.map_err(failed)?.number)
}

/// Brings a database up to date, in one transaction; gives the version it had.
pub(crate) async fn migrate(options: &PgConnectOptions) -> Result<i64, LogError> {
    let failed = |error: sqlx::Error| LogError::Open { path: place(options), reason: reason(&error) };
    let mut connection = PgConnection::connect_with(options).await.map_err(failed)?;
    let mut tx = connection.begin().await.map_err(failed)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *tx).await.map_err(failed)?;
    let found = version(&mut tx).await.map_err(failed)?;
    if found.number >= known() {
        return check(found).map(|()| found.number);
    }
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS harmony_schema (version BIGINT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now());
        ALTER TABLE harmony_schema ADD COLUMN IF NOT EXISTS oldest BIGINT",
    )
    .execute(&mut *tx)
    .await
    .map_err(failed)?;
    let done = usize::try_from(found.number).unwrap_or_default();
    for (version, (migration, oldest)) in (1_i64..).zip(MIGRATIONS).skip(done) {
        sqlx::raw_sql(migration).execute(&mut *tx).await.map_err(failed)?;
        sqlx::query("INSERT INTO harmony_schema (version, oldest) VALUES ($1, $2)")
            .bind(version)
            .bind(oldest)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
    }
    if (1..3).contains(&found.number) {
        project_again(&mut tx).await.map_err(failed)?;
    }
    if (1..5).contains(&found.number) {
        date_again(&mut tx).await.map_err(failed)?;
    }
    tx.commit().await.map_err(failed)?;
    Ok(found.number)
}

/// Fills the column that schema 3 brought. A state that cannot be read is left for `verify` to name.
async fn project_again(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let rows = sqlx::query("SELECT org, incident, head_hash, state FROM incidents")
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        let state = IncidentState::decode(row.try_get::<&[u8], _>("state")?);
        if state.is_ok_and(|state| append::is_waiting(&state)) {
            sqlx::query("UPDATE incidents SET waiting = TRUE WHERE org = $1 AND incident = $2")
                .bind(row.try_get::<&str, _>("org")?)
                .bind(row.try_get::<&str, _>("incident")?)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

/// Fills the columns that schema 5 brought. A record that cannot be read is left for `verify` to name.
async fn date_again(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut last = (String::new(), String::new(), 0);
    loop {
        let rows = sqlx::query(
            "SELECT org, incident, seq, canonical FROM events WHERE (org, incident, seq) > ($1, $2, $3) ORDER BY org, incident, seq LIMIT 1000",
        )
        .bind(&last.0)
        .bind(&last.1)
        .bind(last.2)
        .fetch_all(&mut *connection)
        .await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in &rows {
            last = (row.try_get("org")?, row.try_get("incident")?, row.try_get::<i64, _>("seq")?);
            let Ok(record) = Record::decode(row.try_get::<&[u8], _>("canonical")?) else { continue };
            sqlx::query(
                "UPDATE events SET occurred_at_us = $1, actor = $2 WHERE org = $3 AND incident = $4 AND seq = $5",
            )
            .bind(record.occurred_at_us)
            .bind(&record.actor)
            .bind(&last.0)
            .bind(&last.1)
            .bind(last.2)
            .execute(&mut *connection)
            .await?;
        }
    }
}

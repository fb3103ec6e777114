//! The schema of the database, and bringing it up to date.

use sqlx::{Connection as _, PgConnection, Row as _, postgres::PgConnectOptions};

use super::place;
use crate::{append, sql::reason, store::LogError};

/// In order; a database's version is how many of them it has seen.
const MIGRATIONS: [&str; 3] = [
    include_str!("../../migrations/postgres/0001_log.sql"),
    include_str!("../../migrations/postgres/0002_lanes.sql"),
    include_str!("../../migrations/postgres/0003_waiting.sql"),
];
/// Held while migrating, so that two who start at once do not both migrate. "harmony" in ASCII.
const LOCK: i64 = 0x68_61_72_6d_6f_6e_79;

/// Schema of this build.
pub(crate) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The version of a database; 0 where it was never migrated.
pub(crate) async fn version(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('harmony_schema') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM harmony_schema").fetch_one(connection).await
}

/// Whether this build can work on a database of that version.
pub(crate) fn check(found: i64) -> Result<(), LogError> {
    let known = known();
    match found.cmp(&known) {
        std::cmp::Ordering::Less => Err(LogError::OlderSchema { found, known }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(LogError::NewerSchema { found, known }),
    }
}

/// The version that a database has.
pub(crate) async fn found(options: &PgConnectOptions) -> Result<i64, LogError> {
    let failed = |error: sqlx::Error| LogError::Open { path: place(options), reason: reason(&error) };
    let mut connection = PgConnection::connect_with(options).await.map_err(failed)?;
    version(&mut connection).await.map_err(failed)
}

/// Brings a database up to date, in one transaction; gives the version it had.
pub(crate) async fn migrate(options: &PgConnectOptions) -> Result<i64, LogError> {
    let failed = |error: sqlx::Error| LogError::Open { path: place(options), reason: reason(&error) };
    let mut connection = PgConnection::connect_with(options).await.map_err(failed)?;
    let mut tx = connection.begin().await.map_err(failed)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *tx).await.map_err(failed)?;
    let found = version(&mut tx).await.map_err(failed)?;
    if found > known() {
        return Err(LogError::NewerSchema { found, known: known() });
    }
    if found == 0 {
        sqlx::raw_sql(
            "CREATE TABLE IF NOT EXISTS harmony_schema (version BIGINT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now())",
        )
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    }
    let done = usize::try_from(found).unwrap_or_default();
    for (version, migration) in (1_i64..).zip(MIGRATIONS).skip(done) {
        sqlx::raw_sql(migration).execute(&mut *tx).await.map_err(failed)?;
        sqlx::query("INSERT INTO harmony_schema (version) VALUES ($1)")
            .bind(version)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
    }
    if (1..3).contains(&found) {
        project_again(&mut tx).await.map_err(failed)?;
    }
    tx.commit().await.map_err(failed)?;
    Ok(found)
}

/// Fills the column that schema 3 brought. A state that cannot be read is left for `verify` to name.
async fn project_again(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let rows = sqlx::query("SELECT org, incident, head_hash, state FROM incidents")
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        let head = append::head(row.try_get("head_hash")?, row.try_get("state")?);
        if head.is_some_and(|head| append::is_waiting(&head.state)) {
            sqlx::query("UPDATE incidents SET waiting = TRUE WHERE org = $1 AND incident = $2")
                .bind(row.try_get::<&str, _>("org")?)
                .bind(row.try_get::<&str, _>("incident")?)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

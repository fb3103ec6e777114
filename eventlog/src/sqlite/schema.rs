//! The schema of the file, and bringing an older one up to it.

use std::path::Path;

use harmony_incidents::{
    IncidentId,
    log::{IncidentState, Record},
};
use prost::Message as _;
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::BUSY_TIMEOUT;
use crate::{append::IncidentProjection, sql::reason, store::LogError};

/// In order; a file's version (`user_version`) is how many of them it has seen.
const MIGRATIONS: [&str; 10] = [
    include_str!("../../migrations/sqlite/0001_log.sql"),
    include_str!("../../migrations/sqlite/0002_candidates.sql"),
    include_str!("../../migrations/sqlite/0003_lanes.sql"),
    include_str!("../../migrations/sqlite/0004_waiting.sql"),
    include_str!("../../migrations/sqlite/0005_attempts.sql"),
    include_str!("../../migrations/sqlite/0006_streams.sql"),
    include_str!("../../migrations/sqlite/0007_private.sql"),
    include_str!("../../migrations/sqlite/0008_live_output.sql"),
    include_str!("../../migrations/sqlite/0009_subscriptions.sql"),
    include_str!("../../migrations/sqlite/0010_audit.sql"),
];

/// Schema of this build; older ones are brought up to it, newer ones are refused.
pub(crate) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The version of a file; 0 where there is none.
pub(crate) async fn found(path: &Path) -> Result<i64, LogError> {
    if !path.exists() {
        return Ok(0);
    }
    let failed = |error: sqlx::Error| failed(path, &error);
    let mut connection =
        SqliteConnectOptions::new().filename(path).read_only(true).connect().await.map_err(failed)?;
    let found = version(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    Ok(found)
}

/// Makes a file or brings it up to date; gives the version it had.
pub(crate) async fn migrate_file(path: &Path) -> Result<i64, LogError> {
    super::close_to_others(path, true);
    let options = super::options(path).create_if_missing(true).busy_timeout(BUSY_TIMEOUT);
    let mut connection = options.connect().await.map_err(|error| failed(path, &error))?;
    let found = migrate(&mut connection, path).await?;
    connection.close().await.map_err(|error| failed(path, &error))?;
    Ok(found)
}

/// Brings the file up to date, in one transaction; gives the version it had.
pub(super) async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<i64, LogError> {
    let failed = |error: sqlx::Error| failed(path, &error);
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let found = version(&mut tx).await.map_err(failed)?;
    if found > known() {
        return Err(LogError::NewerSchema { found, known: known() });
    }
    let done = usize::try_from(found).unwrap_or_default();
    for migration in &MIGRATIONS[done..] {
        sqlx::raw_sql(*migration).execute(&mut *tx).await.map_err(failed)?;
    }
    if (1..4).contains(&found) {
        project_again(&mut tx).await.map_err(failed)?;
    }
    if (1..6).contains(&found) {
        date_again(&mut tx).await.map_err(failed)?;
    }
    // On a file that may only be read, SQLite makes BEGIN IMMEDIATE a read transaction and says nothing: only a
    // statement that writes is refused, and it must be refused here and not in the first append.
    sqlx::query("DELETE FROM events WHERE FALSE").execute(&mut *tx).await.map_err(failed)?;
    tx.commit().await.map_err(failed)?;
    Ok(found)
}

pub(super) async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA user_version").fetch_one(connection).await
}

pub(super) fn failed(path: &Path, error: &sqlx::Error) -> LogError {
    LogError::Open { path: path.display().to_string(), reason: reason(error) }
}

/// Fills the columns that schemas 2 and 4 brought. A state that cannot be read is left for `verify` to name.
async fn project_again(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let rows = sqlx::query("SELECT org, incident, head_hash, state FROM incidents")
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        let (org, incident): (String, String) = (row.try_get("org")?, row.try_get("incident")?);
        let (Ok(id), Ok(hash)) =
            (incident.parse::<IncidentId>(), row.try_get::<&[u8], _>("head_hash")?.try_into())
        else {
            continue;
        };
        let Ok(state) = IncidentState::decode(row.try_get::<&[u8], _>("state")?) else { continue };
        let projection = IncidentProjection::of(&id, &state, &hash);
        sqlx::query(
            "UPDATE incidents SET status_word = ?, service = ?, environment = ?, project = ?, correlation_keys = ?, waiting = ? WHERE org = ? AND incident = ?",
        )
        .bind(&projection.status_word)
        .bind(&projection.service)
        .bind(&projection.environment)
        .bind(&projection.project)
        .bind(&projection.correlation_keys)
        .bind(projection.waiting)
        .bind(org)
        .bind(incident)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Fills the columns that schema 6 brought. A record that cannot be read is left for `verify` to name.
async fn date_again(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut last = 0;
    loop {
        let rows =
            sqlx::query("SELECT rowid, canonical FROM events WHERE rowid > ? ORDER BY rowid LIMIT 1000")
                .bind(last)
                .fetch_all(&mut *connection)
                .await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in &rows {
            last = row.try_get::<i64, _>("rowid")?;
            let canonical = row.try_get::<&[u8], _>("canonical").unwrap_or_default();
            let Ok(record) = Record::decode(canonical) else { continue };
            sqlx::query("UPDATE events SET occurred_at_us = ?, actor = ? WHERE rowid = ?")
                .bind(record.occurred_at_us)
                .bind(&record.actor)
                .bind(last)
                .execute(&mut *connection)
                .await?;
        }
    }
}

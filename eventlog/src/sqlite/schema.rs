//! The schema of the file, and bringing an older one up to it.

use harmony_incidents::IncidentId;
use sqlx::{Row as _, SqliteConnection, SqlitePool};

use crate::append::{self, Projection};

/// Schema of this build; older ones are brought up to it, newer ones are refused.
const SCHEMA: i64 = 2;
const MIGRATIONS: [&str; 2] = [
    include_str!("../../migrations/sqlite/0001_log.sql"),
    include_str!("../../migrations/sqlite/0002_candidates.sql"),
];

/// Why a file was not brought up to date.
pub(super) enum MigrateError {
    /// A newer Harmony wrote it.
    Newer { found: i64, known: i64 },
    /// As SQLite says.
    Sql(sqlx::Error),
}

impl From<sqlx::Error> for MigrateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

pub(super) async fn migrate(pool: &SqlitePool) -> Result<(), MigrateError> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *tx).await?;
    if found > SCHEMA {
        return Err(MigrateError::Newer { found, known: SCHEMA });
    }
    let done = usize::try_from(found).unwrap_or_default();
    for migration in &MIGRATIONS[done..] {
        sqlx::raw_sql(*migration).execute(&mut *tx).await?;
    }
    if found == 1 {
        project_again(&mut tx).await?;
    }
    // On a file that may only be read, SQLite makes BEGIN IMMEDIATE a read transaction and says nothing: only a
    // statement that writes is refused, and it must be refused here and not in the first append.
    sqlx::query("DELETE FROM events WHERE FALSE").execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// Fills the columns that schema 2 brought. A state that cannot be read is left for `verify` to name.
async fn project_again(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let rows = sqlx::query("SELECT org, incident, head_hash, state FROM incidents")
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        let (org, incident): (String, String) = (row.try_get("org")?, row.try_get("incident")?);
        let head = append::head(row.try_get("head_hash")?, row.try_get("state")?);
        let (Ok(id), Some(head)) = (incident.parse::<IncidentId>(), head) else { continue };
        let projection = Projection::of(&id, &head);
        sqlx::query(
            "UPDATE incidents SET status_word = ?, service = ?, environment = ?, project = ?, correlation_keys = ? WHERE org = ? AND incident = ?",
        )
        .bind(&projection.status_word)
        .bind(&projection.service)
        .bind(&projection.environment)
        .bind(&projection.project)
        .bind(&projection.correlation_keys)
        .bind(org)
        .bind(incident)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

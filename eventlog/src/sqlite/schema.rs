//! The schema of the file, and bringing an older one up to it.

use sqlx::SqlitePool;

/// Schema of this build; older ones are brought up to it, newer ones are refused.
const SCHEMA: i64 = 1;
const MIGRATIONS: [&str; 1] = [include_str!("../../migrations/sqlite/0001_log.sql")];

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
    // On a file that may only be read, SQLite makes BEGIN IMMEDIATE a read transaction and says nothing: only a
    // statement that writes is refused, and it must be refused here and not in the first append.
    sqlx::query("DELETE FROM events WHERE FALSE").execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

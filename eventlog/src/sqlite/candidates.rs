//! Candidates and the attempts at them in SQLite.

crate::sql::candidates::candidate_queries!(
    sqlx::SqliteConnection,
    sqlx::Sqlite,
    "json_extract(document, '$.candidate.correlationKey')"
);

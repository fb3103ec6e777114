//! What cells print while they run.

crate::sql::live_output::live_output_queries!(sqlx::SqliteConnection, sqlx::sqlite::SqliteRow);

//! The outbox in SQLite.

// One connection writes.
crate::sql::outbox::outbox_queries!(sqlx::SqliteConnection, sqlx::sqlite::SqliteRow, "");

/// Whether anything is due.
pub(super) async fn is_waiting(readers: &sqlx::SqlitePool) -> Result<bool, LogError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM outbox WHERE done_at_us IS NULL AND due_at_us <= $1)")
        .bind(Timestamp::now().as_microsecond())
        .fetch_one(readers)
        .await
        .map_err(unavailable)
}

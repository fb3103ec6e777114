//! The lanes of the sinks in SQLite.

// One connection writes.
crate::sql::lanes::lane_queries!(sqlx::SqliteConnection, sqlx::sqlite::SqliteRow, "");

/// Whether anything of a sink is due.
pub(super) async fn is_waiting(readers: &sqlx::SqlitePool, sink: &SinkName) -> Result<bool, LogError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM lanes WHERE sink = $1 AND next_seq <= last_seq AND due_at_us <= $2)",
    )
    .bind(sink.as_str())
    .bind(Timestamp::now().as_microsecond())
    .fetch_one(readers)
    .await
    .map_err(unavailable)
}

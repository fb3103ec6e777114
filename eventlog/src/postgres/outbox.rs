//! The outbox in PostgreSQL.

crate::sql::outbox::outbox_queries!(sqlx::PgConnection, sqlx::postgres::PgRow, " FOR UPDATE SKIP LOCKED");

/// Writes an item. It waits for whoever is judging the incident, so that a decision is either seen by them or written
/// after them.
pub(super) async fn enqueue(
    connection: &mut sqlx::PgConnection,
    org: &OrgId,
    stream: Option<&StreamId>,
    item: &OutboxItem,
) -> Result<(), LogError> {
    sqlx::query("SELECT 1 FROM incidents WHERE org = $1 AND incident = $2 FOR SHARE")
        .bind(org.as_str())
        .bind(stream.map_or("", StreamId::as_str))
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    insert(connection, org, stream, item, Timestamp::now()).await
}

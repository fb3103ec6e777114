//! What cells print while they run.

crate::sql::live_output::live_output_queries!(sqlx::PgConnection, sqlx::postgres::PgRow);

/// Lets nobody else write to this stream until the transaction ends: numbers are seen in the order in which they grow.
pub(super) async fn lock(
    connection: &mut sqlx::PgConnection,
    org: &OrgId,
    stream: &StreamId,
) -> Result<(), LogError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("live_output/{org}/{stream}"))
        .execute(connection)
        .await
        .map(drop)
        .map_err(unavailable)
}

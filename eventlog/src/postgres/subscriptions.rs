//! Who follows what.

crate::sql::subscriptions::subscription_queries!(sqlx::PgConnection);

/// Lets nobody else write to the organisation's subscriptions until the transaction ends, so that they are counted.
pub(super) async fn lock(connection: &mut sqlx::PgConnection, org: &OrgId) -> Result<(), LogError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("subscriptions/{org}"))
        .execute(connection)
        .await
        .map(drop)
        .map_err(unavailable)
}

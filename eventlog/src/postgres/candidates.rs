//! Candidates and the attempts at them in PostgreSQL.

crate::sql::candidates::candidate_queries!(
    sqlx::PgConnection,
    sqlx::Postgres,
    "(document::jsonb) #>> '{candidate,correlationKey}'"
);

/// Has whoever promotes another candidate of this key wait until the transaction ends.
pub(super) async fn lock(
    connection: &mut sqlx::PgConnection,
    org: &OrgId,
    candidate: &StoredCandidate,
) -> Result<(), LogError> {
    let Some(key) = candidate.candidate.dedup_key() else { return Ok(()) };
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("harmony {org} {key}"))
        .execute(connection)
        .await
        .map(drop)
        .map_err(unavailable)
}

//! The ledger of outward effects, asked in the same words of SQLite and PostgreSQL, but for how one begins.

/// Makes the functions of one store.
macro_rules! effect_queries {
    ($connection:ty) => {
        pub(super) async fn known(
            connection: &mut $connection,
            org: &OrgId,
            key: &str,
        ) -> Result<Option<KnownEffect>, LogError> {
            let row = sqlx::query("SELECT incident, operation FROM effects WHERE org = $1 AND key = $2")
                .bind(org.as_str())
                .bind(key)
                .fetch_optional(connection)
                .await
                .map_err(unavailable)?;
            let place = || format!("effect {key}");
            row.map(|row| {
                KnownEffect::stored(key, column(&row, "incident", place)?, column(&row, "operation", place)?)
            })
            .transpose()
        }

        pub(super) async fn complete(
            connection: &mut $connection,
            org: &OrgId,
            key: &str,
            result: &Value,
        ) -> Result<(), LogError> {
            sqlx::query("UPDATE effects SET result = $1 WHERE org = $2 AND key = $3")
                .bind(result.to_string())
                .bind(org.as_str())
                .bind(key)
                .execute(connection)
                .await
                .map(drop)
                .map_err(unavailable)
        }

        pub(super) async fn forget(
            connection: &mut $connection,
            org: &OrgId,
            key: &str,
            owner: &str,
        ) -> Result<(), LogError> {
            sqlx::query("DELETE FROM effects WHERE org = $1 AND key = $2 AND owner = $3 AND result IS NULL")
                .bind(org.as_str())
                .bind(key)
                .bind(owner)
                .execute(connection)
                .await
                .map(drop)
                .map_err(unavailable)
        }

        pub(super) async fn release(
            connection: &mut $connection,
            org: &OrgId,
            key: &str,
            owner: &str,
        ) -> Result<(), LogError> {
            sqlx::query(
                "UPDATE effects SET lease_until_us = 0 WHERE org = $1 AND key = $2 AND owner = $3 AND result IS NULL",
            )
            .bind(org.as_str())
            .bind(key)
            .bind(owner)
            .execute(connection)
            .await
            .map(drop)
            .map_err(unavailable)
        }
    };
}
pub(crate) use effect_queries;

//! The table of subscriptions, asked in the same words of SQLite and PostgreSQL.

/// Makes the module of one store.
macro_rules! subscription_queries {
    ($connection:ty) => {
        use harmony_incidents::{
            OrgId,
            stakeholders::{DeliveryProblem, MOST_SUBSCRIPTIONS, Subscription, SubscriptionId},
        };

        use super::{column, unavailable};
        use crate::{
            store::LogError,
            subscriptions::{Subscribed, json, marked, read},
        };

        /// Keeps it unless its pair is there or there are too many. Nobody else writes to the table meanwhile.
        pub(super) async fn add(
            connection: &mut $connection,
            org: &OrgId,
            subscription: &Subscription,
        ) -> Result<Subscribed, LogError> {
            if let Some(known) = get(connection, org, &subscription.id).await? {
                return Ok(Subscribed::Known(known));
            }
            let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM subscriptions WHERE org = $1")
                .bind(org.as_str())
                .fetch_one(&mut *connection)
                .await
                .map_err(unavailable)?;
            if usize::try_from(count).unwrap_or(usize::MAX) >= MOST_SUBSCRIPTIONS {
                return Ok(Subscribed::Full);
            }
            sqlx::query("INSERT INTO subscriptions (org, subscription, document) VALUES ($1, $2, $3)")
                .bind(org.as_str())
                .bind(subscription.id.as_str())
                .bind(json(subscription))
                .execute(connection)
                .await
                .map_err(unavailable)?;
            Ok(Subscribed::Stored(subscription.clone()))
        }

        async fn get(
            connection: &mut $connection,
            org: &OrgId,
            id: &SubscriptionId,
        ) -> Result<Option<Subscription>, LogError> {
            let document: Option<String> =
                sqlx::query_scalar("SELECT document FROM subscriptions WHERE org = $1 AND subscription = $2")
                    .bind(org.as_str())
                    .bind(id.as_str())
                    .fetch_optional(connection)
                    .await
                    .map_err(unavailable)?;
            document.as_deref().map(|document| read(document, id.as_str())).transpose()
        }

        pub(super) async fn all(
            connection: &mut $connection,
            org: &OrgId,
        ) -> Result<Vec<Subscription>, LogError> {
            let rows = sqlx::query(
                "SELECT subscription, document FROM subscriptions WHERE org = $1 ORDER BY subscription",
            )
            .bind(org.as_str())
            .fetch_all(connection)
            .await
            .map_err(unavailable)?;
            rows.iter()
                .map(|row| {
                    let id: &str = column(row, "subscription", || "the subscriptions".to_owned())?;
                    read(column(row, "document", || format!("subscription {id}"))?, id)
                })
                .collect()
        }

        pub(super) async fn remove(
            connection: &mut $connection,
            org: &OrgId,
            id: &SubscriptionId,
        ) -> Result<bool, LogError> {
            let removed = sqlx::query("DELETE FROM subscriptions WHERE org = $1 AND subscription = $2")
                .bind(org.as_str())
                .bind(id.as_str())
                .execute(connection)
                .await
                .map_err(unavailable)?;
            Ok(removed.rows_affected() > 0)
        }

        /// Notes how the last delivery ended. Nobody else writes to the table meanwhile.
        pub(super) async fn mark(
            connection: &mut $connection,
            org: &OrgId,
            delivered: &Subscription,
            problem: Option<&DeliveryProblem>,
        ) -> Result<(), LogError> {
            let Some(stored) = get(connection, org, &delivered.id).await? else { return Ok(()) };
            let Some(marked) = marked(stored, delivered, problem) else { return Ok(()) };
            sqlx::query("UPDATE subscriptions SET document = $1 WHERE org = $2 AND subscription = $3")
                .bind(json(&marked))
                .bind(org.as_str())
                .bind(marked.id.as_str())
                .execute(connection)
                .await
                .map(drop)
                .map_err(unavailable)
        }
    };
}
pub(crate) use subscription_queries;

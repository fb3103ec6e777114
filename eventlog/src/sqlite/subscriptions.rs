//! Who follows what.

crate::sql::subscriptions::subscription_queries!(sqlx::SqliteConnection);

//! The lanes of the sinks.

crate::sql::lanes::lane_queries!(sqlx::PgConnection, sqlx::postgres::PgRow, " FOR UPDATE SKIP LOCKED");

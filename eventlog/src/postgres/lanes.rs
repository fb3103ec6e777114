//! The lanes of the sinks in PostgreSQL.

crate::sql::lanes::lane_queries!(sqlx::PgConnection, sqlx::postgres::PgRow, " FOR UPDATE SKIP LOCKED");

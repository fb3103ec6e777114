//! The catalog: what readers are told of services, environments, releases and runs, and records of all streams.

crate::sql::catalog::catalog_queries!(sqlx::PgConnection, sqlx::Postgres);

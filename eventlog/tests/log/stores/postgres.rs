//! A database of its own in a PostgreSQL that serves all tests of this binary.

use std::{
    str::FromStr as _,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use harmony_eventlog::{Access, Address, Onward, SharedLog, open};
use harmony_incidents::OrgId;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, Row as _, postgres::PgConnectOptions};

use super::{Damage, Rows, Store};
use crate::{
    server_process::{Cluster, left_out},
    world::salt,
};

/// Few: a story has its own pool, or several, and the cluster is shared.
const POOL: u32 = 6;

static CLUSTER: LazyLock<Result<Cluster, String>> = LazyLock::new(|| {
    // The tests kill clients, never the server.
    Cluster::start(false).inspect_err(|why| left_out("the stories on PostgreSQL", why))
});
static DATABASES: AtomicU32 = AtomicU32::new(1);

pub(crate) fn is_here() -> bool {
    CLUSTER.is_ok()
}

pub(crate) struct Postgres {
    url: String,
}

impl Postgres {
    /// A database that was migrated.
    pub(crate) async fn new() -> Self {
        let empty = Self::empty().await;
        open::migrate(&empty.address()).await.unwrap();
        empty
    }

    /// A database with nothing in it.
    pub(crate) async fn empty() -> Self {
        let cluster = CLUSTER.as_ref().unwrap();
        let name = format!("log{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let mut server = connect(&cluster.url("postgres")).await;
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&mut server).await.unwrap();
        Self { url: cluster.url(&name) }
    }

    pub(crate) fn address(&self) -> Address {
        Address::parse(&self.url).unwrap()
    }

    /// The first column of what this gives.
    pub(crate) async fn values(&self, query: &str) -> Vec<String> {
        let query = AssertSqlSafe(query.to_owned());
        sqlx::query_scalar(query).fetch_all(&mut connect(&self.url).await).await.unwrap()
    }

    /// Ends every connection to it but the one that says so.
    pub(crate) async fn end_connections(&self) {
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").await;
    }

    /// Past the log, as somebody with the database would.
    pub(crate) async fn sql(&self, statement: &str) {
        let statement = AssertSqlSafe(statement.to_owned());
        sqlx::raw_sql(statement).execute(&mut connect(&self.url).await).await.unwrap();
    }
}

async fn connect(url: &str) -> PgConnection {
    PgConnectOptions::from_str(url).unwrap().connect().await.unwrap()
}

#[async_trait]
impl Store for Postgres {
    async fn open_for(&self, onward: Onward) -> SharedLog {
        open::open_for(&self.address(), Access::Existing(salt()), POOL, onward).await.unwrap()
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    async fn count(&self, rows: Rows) -> u64 {
        let query = AssertSqlSafe(format!("SELECT COUNT(*) FROM {}", super::table(rows)));
        let count: i64 = sqlx::query_scalar(query).fetch_one(&mut connect(&self.url).await).await.unwrap();
        count.unsigned_abs()
    }

    async fn damage(&self, org: &OrgId, damage: Damage<'_>) {
        let blob = |bytes: &[u8]| format!("'\\x{}'::bytea", hex::encode(bytes));
        self.sql(&super::statement(org, damage, &blob)).await;
    }

    async fn holding(&self, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut connection = connect(&self.url).await;
        for table in ["events", "texts", "incidents", "idempotency", "outbox", "effects", "candidates"] {
            let rows = AssertSqlSafe(format!("SELECT t::text AS all_of_it FROM {table} t"));
            for row in sqlx::query(rows).fetch_all(&mut connection).await.unwrap() {
                let row: String = row.get("all_of_it");
                if row.contains(text) || row.contains(&hex::encode(text)) {
                    found.push(format!("{table}: {row}"));
                }
            }
        }
        found
    }
}

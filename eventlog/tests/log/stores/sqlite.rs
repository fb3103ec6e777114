//! A SQLite file in a directory of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use harmony_eventlog::{Onward, SharedLog, SqliteLog};
use harmony_incidents::OrgId;
use sqlx::{AssertSqlSafe, ConnectOptions as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use super::{Beside, Damage, Rows, Store};
use crate::world::{id, salt};

pub(crate) struct Sqlite {
    /// Removed when the test ends.
    directory: TempDir,
}

impl Sqlite {
    pub(crate) async fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("harmony.db")
    }
}

/// Past the log, as somebody with the file would.
pub(crate) async fn sql(path: &Path, statement: &str) {
    let statement = AssertSqlSafe(statement.to_owned());
    sqlx::raw_sql(statement).execute(&mut connection(path).await).await.unwrap();
}

async fn connection(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

#[async_trait]
impl Store for Sqlite {
    async fn open_for(&self, onward: Onward) -> SharedLog {
        Arc::new(SqliteLog::open(&self.path(), salt()).await.unwrap().fanning_out(onward))
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.path().display())
    }

    async fn count(&self, rows: Rows) -> u64 {
        let table = super::table(rows);
        let query = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
        let count: i64 =
            sqlx::query_scalar(query).fetch_one(&mut connection(&self.path()).await).await.unwrap();
        count.unsigned_abs()
    }

    async fn damage(&self, org: &OrgId, damage: Damage<'_>) {
        let blob = |bytes: &[u8]| format!("x'{}'", hex::encode(bytes));
        let statement = match damage {
            // A text is text as long as it is UTF-8.
            Damage::Beside { number, seq, field, what: Beside::Text, bytes } => format!(
                "UPDATE texts SET text = CAST({} AS TEXT) WHERE org = '{org}' AND incident = '{}' AND seq = {seq} AND field = '{field}'",
                blob(bytes),
                id(number),
            ),
            other => super::statement(org, other, &blob),
        };
        sql(&self.path(), &statement).await;
    }

    async fn holding(&self, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for file in fs::read_dir(self.directory.path()).unwrap() {
            let path = file.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
        found
    }
}

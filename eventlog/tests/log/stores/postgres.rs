//! A database of its own in a PostgreSQL that this binary starts from the machine's programs.
//!
//! One cluster serves all tests of the binary. It listens on a socket in its own directory alone, and ends with the
//! binary, however that ends: a shell holds the other end of a pipe, and takes cluster and directory away when it
//! closes. PostgreSQL does not run as root, so root runs it as the user `postgres`.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr as _,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use harmony_eventlog::{Access, Address, SharedLog, SinkName, open};
use harmony_incidents::OrgId;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, Row as _, postgres::PgConnectOptions};

use super::{Damage, Rows, Store};
use crate::world::salt;

/// Few: a story has its own pool, or several, and the cluster is shared.
const POOL: u32 = 6;

static CLUSTER: LazyLock<Result<Cluster, String>> = LazyLock::new(|| {
    Cluster::start().inspect_err(|why| eprintln!("skipped: the stories on PostgreSQL: {why}"))
});
static DATABASES: AtomicU32 = AtomicU32::new(1);

pub(crate) fn is_here() -> bool {
    CLUSTER.is_ok()
}

struct Cluster {
    /// Of the socket.
    directory: PathBuf,
    /// Holds the pipe.
    _keeper: Child,
}

impl Cluster {
    fn start() -> Result<Self, String> {
        let binaries =
            binaries().ok_or("initdb and postgres are neither in PATH nor in /usr/lib/postgresql")?;
        let is_root =
            fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        let directory = tempfile::Builder::new()
            .prefix("harmony-pg-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()
            .map_err(|error| error.to_string())?
            .keep();
        // The tests kill clients, never the server: what it would lose in a power cut does not matter here.
        let script = r#"
            "$BIN/initdb" -D "$DIR/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$DIR/initdb.log" 2>&1 || { echo "failed: initdb"; cat "$DIR/initdb.log"; rm -rf "$DIR"; exit 1; }
            "$BIN/postgres" -D "$DIR/data" -k "$DIR" -c listen_addresses= -c fsync=off -c max_connections=400 >"$DIR/server.log" 2>&1 </dev/null &
            SERVER=$!
            until "$BIN/pg_isready" -q -h "$DIR" -U postgres; do kill -0 $SERVER 2>/dev/null || { echo "failed: postgres"; cat "$DIR/server.log"; rm -rf "$DIR"; exit 1; }; done
            echo ready
            cat >/dev/null
            kill -QUIT $SERVER
            wait $SERVER
            rm -rf "$DIR"
        "#;
        let mut command = if is_root {
            let owned = Command::new("chown").arg("postgres").arg(&directory).status();
            if !owned.is_ok_and(|status| status.success()) {
                return Err("there is no user postgres, and root may not run it".to_owned());
            }
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh", "-c", script]);
            command
        } else {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let mut keeper = command
            .env("BIN", &binaries)
            .env("DIR", &directory)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut said = BufReader::new(keeper.stdout.take().unwrap()).lines();
        match said.next() {
            Some(Ok(line)) if line == "ready" => Ok(Self { directory, _keeper: keeper }),
            first => Err(first.into_iter().chain(said).map_while(Result::ok).collect::<Vec<_>>().join(" ")),
        }
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.directory.display())
    }
}

fn binaries() -> Option<PathBuf> {
    let has_all =
        |folder: &Path| ["initdb", "postgres", "pg_isready"].iter().all(|name| folder.join(name).is_file());
    let path = env::var_os("PATH").unwrap_or_default();
    // A link in PATH may stand for a folder that holds the server's libraries beside it.
    let mut folders: Vec<PathBuf> = env::split_paths(&path)
        .filter_map(|folder| fs::canonicalize(folder.join("postgres")).ok())
        .filter_map(|file| file.parent().map(Path::to_path_buf))
        .collect();
    for version in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        folders.push(version.path().join("bin"));
    }
    folders.into_iter().find(|folder| has_all(folder))
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
    async fn open_for(&self, sinks: Vec<SinkName>) -> SharedLog {
        open::open_for(&self.address(), Access::Existing(salt()), POOL, sinks).await.unwrap()
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

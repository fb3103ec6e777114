//! PostgreSQL: appends of several writers against `pgbench` with the same statements in each transaction.

use std::{
    fmt::Write as _,
    process::Command,
    str::FromStr as _,
    time::{Duration, Instant},
};

use harmony_eventlog::{Access, Address, SharedLog, open};
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, Row as _, postgres::PgConnectOptions};

use crate::{
    server_process::{Cluster, left_out},
    story, tell,
};

/// What the log sends, taken from where it is written.
const SOURCE: &str = include_str!("../../src/postgres/write.rs");
/// Turns of each side; the median of them counts.
const TURNS: usize = 7;
/// Writers, and connections of each side.
const WRITERS: usize = 8;
/// Appends of each writer in a turn.
const EACH: usize = 150;

pub(crate) async fn against_pgbench() {
    let cluster = match Cluster::start(true) {
        Ok(cluster) => cluster,
        Err(why) => return left_out("the comparison with pgbench", &why),
    };
    let (log, mut ours) = database(&cluster, "ours").await;
    let (other, mut raw) = database(&cluster, "raw").await;
    let incidents = story::declared(&log, WRITERS).await;
    story::declared(&other, WRITERS).await;
    let directory = tempfile::TempDir::new().unwrap();
    let script = directory.path().join("append.sql");
    let (mut our_times, mut raw_times) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let began = Instant::now();
        story::notes_in_parallel(&log, &incidents, turn, EACH).await;
        our_times.push(began.elapsed());
        // Statements are compared, not how either side has been vacuumed.
        for database in [&mut ours, &mut raw] {
            sqlx::raw_sql("VACUUM ANALYZE").execute(database).await.unwrap();
        }
        std::fs::write(&script, transaction(&mut ours, turn).await).unwrap();
        raw_times.push(pgbench(&cluster, &script));
    }
    tell("postgres, 8 writers against pgbench", (WRITERS * EACH) as u64, &mut our_times, &mut raw_times, 0.8);
}

async fn database(cluster: &Cluster, name: &str) -> (SharedLog, PgConnection) {
    let connect =
        async |name: &str| PgConnectOptions::from_str(&cluster.url(name)).unwrap().connect().await.unwrap();
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(create).execute(&mut connect("postgres").await).await.unwrap();
    let address = Address::parse(&cluster.url(name)).unwrap();
    open::migrate(&address).await.unwrap();
    let log = open::open(&address, Access::Existing(story::salt()), WRITERS as u32).await.unwrap();
    (log, connect(name).await)
}

/// How long the transactions of a turn take without connecting.
fn pgbench(cluster: &Cluster, script: &std::path::Path) -> Duration {
    let output = Command::new(cluster.program("pgbench"))
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--define=n=0"])
        .args([format!("--client={WRITERS}"), format!("--transactions={EACH}")])
        .arg(format!("--file={}", script.display()))
        .arg(cluster.url("raw"))
        .env("PGOPTIONS", "-c synchronous_commit=on")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()).unwrap();
    Duration::from_secs_f64((WRITERS * EACH) as f64 / rate.parse::<f64>().unwrap())
}

/// One statement of the log's.
fn statement(name: &str) -> String {
    let (_, rest) = SOURCE.split_once(&format!("const {name}: &str = \"")).unwrap();
    rest.split_once("\";").unwrap().0.replace('\n', " ")
}

/// What an append sends, with the values of the last one and a place of its own.
async fn transaction(ours: &mut PgConnection, turn: usize) -> String {
    let query = "SELECT e.canonical, e.hash, t.commitment, t.salt, t.text, i.head_hash, i.state, i.state_word, i.phase_word, i.severity, i.status_word, i.service, i.environment, i.project, i.correlation_keys, i.waiting, o.payload, k.fingerprint, k.answer FROM events e JOIN texts t USING (org, incident, seq) JOIN incidents i USING (org, incident, seq) JOIN idempotency k ON k.org = e.org AND k.incident = e.incident AND k.last_seq = e.seq JOIN outbox o ON o.org = e.org AND o.name = k.key LIMIT 1";
    let row = sqlx::query(query).fetch_one(ours).await.unwrap();
    let bytes = |name: &str| format!("'\\x{}'::bytea", hex::encode(row.get::<&[u8], _>(name)));
    let text = |name: &str| match row.get::<Option<&str>, _>(name) {
        Some(text) => format!("'{}'", text.replace('\'', "''")),
        None => "NULL".to_owned(),
    };
    // A number of its own for every transaction, above all that were.
    let place = format!("({} + :n)", 10_000 + turn * EACH);
    let incident = "'INC-2026-' || lpad((:client_id + 1)::text, 4, '0')";
    let key = format!("'raw-' || :client_id::text || '-' || {place}::text");
    let values = [
        "'default'".to_owned(),
        incident.to_owned(),
        place.clone(),
        format!("ARRAY[{place}]"),
        format!("ARRAY[decode(md5({key}), 'hex')]"),
        "ARRAY['INCIDENT_NOTE_ADDED']".to_owned(),
        format!("ARRAY[{}]", bytes("canonical")),
        format!("ARRAY[{}]", bytes("hash")),
        format!("ARRAY[{place}]"),
        "ARRAY['note']".to_owned(),
        format!("ARRAY[{}]", bytes("commitment")),
        format!("ARRAY[{}]", bytes("salt")),
        format!("ARRAY[{}]", bytes("text")),
        "2026".to_owned(),
        "(:client_id + 1)".to_owned(),
        place.clone(),
        bytes("head_hash"),
        bytes("state"),
        text("state_word"),
        text("phase_word"),
        text("severity"),
        "ARRAY['wake']".to_owned(),
        format!("ARRAY[{key}]"),
        format!("ARRAY[{}]", text("payload")),
        key.clone(),
        text("fingerprint"),
        text("answer"),
        place.clone(),
        place.clone(),
        "NULL".to_owned(),
        text("status_word"),
        text("service"),
        text("environment"),
        text("project"),
        text("correlation_keys"),
        row.get::<bool, _>("waiting").to_string(),
    ];
    let mut script = "\\set n :n + 1\nBEGIN ISOLATION LEVEL READ COMMITTED;\n".to_owned();
    let find = filled(statement("FIND"), &["'default'".to_owned(), key, incident.to_owned()]);
    writeln!(script, "{find};\n{};\nCOMMIT;", filled(statement("WRITE"), &values)).unwrap();
    script
}

/// The statement with values in place of `$1`, `$2`, ….
fn filled(mut statement: String, values: &[String]) -> String {
    let asked = (1..).take_while(|number| statement.contains(&format!("${number}"))).count();
    assert_eq!(asked, values.len(), "the statement has other parameters: {statement}");
    for (index, value) in values.iter().enumerate().rev() {
        statement = statement.replace(&format!("${}", index + 1), value);
    }
    statement
}

//! Three tables on a local double of DynamoDB, a process of its own for each story, over HTTP.
//!
//! The double is `dynoxide`, built once into the cache with the Cargo that runs the tests. It keeps DynamoDB's rules
//! for transactions, conditions and tokens. It does not split partitions, throttle, or let an index lag behind.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region},
    primitives::Blob,
    types::AttributeValue,
};
use harmony_eventlog::{DynamoLog, LogError, Onward, SharedLog, rebuild::Rebuilt};
use harmony_incidents::OrgId;
use sha2::{Digest as _, Sha256};

use super::{Beside, CatalogPart, Damage, Rows, Store};
use crate::world::{id, salt};

/// Of the double; its behaviour is what the tests rely on.
const VERSION: &str = "3.2.0";
/// One story, one double, one set of tables.
pub(crate) const PREFIX: &str = "harmony-test";
const REGION: &str = "eu-central-1";

type Item = HashMap<String, AttributeValue>;

pub(crate) struct Dynamo {
    client: Client,
    pub(crate) endpoint: String,
    /// Killed when the test ends.
    double: Child,
}

impl Drop for Dynamo {
    fn drop(&mut self) {
        drop(self.double.kill());
        drop(self.double.wait());
    }
}

impl Dynamo {
    pub(crate) async fn new() -> Self {
        let fresh = Self::without_tables().await;
        DynamoLog::migrate(&fresh.client, PREFIX).await.unwrap();
        fresh
    }

    pub(crate) async fn without_tables() -> Self {
        let program = tokio::task::spawn_blocking(program).await.unwrap();
        // A port that was free may be taken before the double is there: then it ends, and another is tried.
        for _ in 0..5 {
            let port = free_port();
            let mut double = Command::new(&program)
                .args(["serve", "--port", &port.to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            if listens(&mut double, port).await {
                let endpoint = format!("http://127.0.0.1:{port}");
                return Self { client: client(&endpoint), endpoint, double };
            }
        }
        panic!("the double of DynamoDB does not start: {}", program.display());
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// As a newer Harmony would have left them.
    pub(crate) async fn declare_layout(&self, version: u64) {
        let is_layout = |item: &Item| is(item, "sk", &s("schema"));
        self.change("incidents", is_layout, |item| set(item, "version", n(version))).await;
    }

    /// Takes away what the audit is read by.
    pub(crate) async fn forget_audit(&self) {
        let is_of_audit = |item: &&Item| {
            below(item, "audit|")
                || matches!(item.get("pk"), Some(AttributeValue::S(pk)) if pk.ends_with("|audit"))
        };
        for item in self.scan("incidents").await.iter().filter(is_of_audit) {
            self.delete("incidents", item).await;
        }
    }

    /// Takes away what lies in a partition under a prefix.
    pub(crate) async fn lose(&self, pk: &str, prefix: &str) {
        let items = self.scan("incidents").await;
        let lost: Vec<&Item> =
            items.iter().filter(|item| is(item, "pk", &s(pk)) && below(item, prefix)).collect();
        assert!(!lost.is_empty());
        for item in lost {
            self.delete("incidents", item).await;
        }
    }

    /// What lies in a partition under a prefix, once more under this key.
    pub(crate) async fn copy(&self, pk: &str, prefix: &str, sk: &str) {
        let items = self.scan("incidents").await;
        let mut item = items.into_iter().find(|item| is(item, "pk", &s(pk)) && below(item, prefix)).unwrap();
        set(&mut item, "sk", s(sk));
        set(&mut item, "release_id", s("rel-x"));
        self.put("incidents", item).await;
    }

    async fn scan(&self, table: &str) -> Vec<Item> {
        let table = format!("{PREFIX}-{table}");
        let mut found = Vec::new();
        let mut start = None;
        loop {
            let scan = self.client.scan().table_name(&table).set_exclusive_start_key(start);
            let page = scan.send().await.unwrap();
            found.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                return found;
            }
        }
    }

    async fn put(&self, table: &str, item: Item) {
        let table = format!("{PREFIX}-{table}");
        self.client.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
    }

    async fn delete(&self, table: &str, item: &Item) {
        let names = if table == "incident-events" { ["pk", "seq"] } else { ["pk", "sk"] };
        let key = names.iter().map(|name| ((*name).to_owned(), item[*name].clone())).collect();
        let table = format!("{PREFIX}-{table}");
        self.client.delete_item().table_name(table).set_key(Some(key)).send().await.unwrap();
    }

    /// The single item that fits, changed.
    async fn change(&self, table: &str, fits: impl Fn(&Item) -> bool, change: impl FnOnce(&mut Item)) {
        let mut found: Vec<Item> = self.scan(table).await.into_iter().filter(fits).collect();
        assert_eq!(found.len(), 1);
        let mut item = found.remove(0);
        change(&mut item);
        self.put(table, item).await;
    }

    async fn texts(&self, org: &OrgId, number: u64, seq: u64) -> Vec<Item> {
        let all = self.scan("incidents").await.into_iter();
        all.filter(|item| is_text(item) && of(item, org, number) && is(item, "at_seq", &n(seq))).collect()
    }
}

fn client(endpoint: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

/// What a child process needs to reach the double as it would reach Amazon.
pub(crate) fn environment(endpoint: &str) -> [(&'static str, String); 4] {
    [
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
    ]
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn listens(double: &mut Child, port: u16) -> bool {
    for _ in 0..600 {
        if double.try_wait().unwrap().is_some() {
            return false;
        }
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    false
}

/// The double, built where it is not in the cache yet.
fn program() -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING.lock().unwrap();
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").expect("HOME says where the cache is")).join(".cache")
    });
    let root = cache.join("harmony").join(format!("dynoxide-{VERSION}"));
    let program = root.join("bin").join("dynoxide");
    if program.is_file() {
        return program;
    }
    let mut install = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    install.args(["install", "dynoxide-rs", "--version", VERSION, "--locked", "--debug"]);
    install.args(["--no-default-features", "--features", "cli,http-server,native-sqlite"]);
    install.arg("--root").arg(&root).env("CARGO_TARGET_DIR", root.join("target"));
    install.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut building = install.spawn().unwrap();
    // Shown as it goes: it takes a minute or two, once.
    for line in BufReader::new(building.stderr.take().unwrap()).lines() {
        eprintln!("building the double of DynamoDB: {}", line.unwrap());
    }
    assert!(building.wait().unwrap().success(), "the double of DynamoDB cannot be built: see above");
    drop(std::fs::remove_dir_all(root.join("target")));
    program
}

fn n(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn b(bytes: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn is(item: &Item, name: &str, value: &AttributeValue) -> bool {
    item.get(name) == Some(value)
}

fn below(item: &Item, prefix: &str) -> bool {
    matches!(item.get("sk"), Some(AttributeValue::S(sk)) if sk.starts_with(prefix))
}

fn is_text(item: &Item) -> bool {
    below(item, "text|")
}

fn is_head(item: &Item) -> bool {
    is(item, "sk", &s("head"))
}

fn of(item: &Item, org: &OrgId, number: u64) -> bool {
    is(item, "pk", &s(format!("{org}|{}", id(number))))
}

fn set(item: &mut Item, name: &str, value: AttributeValue) {
    item.insert(name.to_owned(), value);
}

#[async_trait]
impl Store for Dynamo {
    async fn open_for(&self, onward: Onward) -> SharedLog {
        let log = DynamoLog::open(client(&self.endpoint), PREFIX, salt()).await.unwrap();
        Arc::new(log.fanning_out(onward))
    }

    fn url(&self) -> String {
        format!("dynamodb://{PREFIX}")
    }

    async fn rebuild(&self, org: &OrgId) -> Result<Rebuilt, LogError> {
        DynamoLog::rebuild(self.client.clone(), PREFIX, org).await
    }

    async fn count(&self, rows: Rows) -> u64 {
        let found = match rows {
            Rows::Records => self.scan("incident-events").await.len(),
            Rows::Keys => self.scan("idempotency").await.len(),
            Rows::Texts => self.scan("incidents").await.iter().filter(|item| is_text(item)).count(),
            Rows::Attempts => {
                let all = self.scan("incidents").await;
                let is_attempt = |item: &&Item| matches!(item.get("pk"), Some(AttributeValue::S(pk)) if pk.contains("|attempts|"));
                let ttl = |item: &Item| match item.get("ttl") {
                    Some(AttributeValue::N(ttl)) => ttl.parse::<i64>().unwrap(),
                    other => panic!("an attempt expires at {other:?}"),
                };
                let attempts: Vec<&Item> = all.iter().filter(is_attempt).collect();
                // DynamoDB itself deletes what has expired, which the double does not: what is left when the newest
                // is written, of each organisation.
                let org = |item: &Item| match item.get("pk") {
                    Some(AttributeValue::S(pk)) => pk.split('|').next().unwrap().to_owned(),
                    other => panic!("a key {other:?}"),
                };
                let kept = 90 * 24 * 3600;
                let newest =
                    |of: &str| attempts.iter().filter(|one| org(one) == of).map(|one| ttl(one)).max();
                attempts
                    .iter()
                    .filter(|one| newest(&org(one)).is_some_and(|at| ttl(one) >= at - kept))
                    .count()
            }
            Rows::Incidents => self.scan("incidents").await.iter().filter(|item| is_head(item)).count(),
        };
        found as u64
    }

    async fn damage(&self, org: &OrgId, damage: Damage<'_>) {
        let record =
            |number: u64, seq: u64| move |item: &Item| of(item, org, number) && is(item, "seq", &n(seq));
        let head = |number: u64| move |item: &Item| is_head(item) && of(item, org, number);
        match damage {
            Damage::Canonical { number, seq, bytes } => {
                self.change("incident-events", record(number, seq), |item| set(item, "canonical", b(bytes)))
                    .await;
            }
            Damage::Hash { number, seq, bytes } => {
                self.change("incident-events", record(number, seq), |item| {
                    set(item, "record_hash", b(bytes))
                })
                .await;
            }
            Damage::Beside { number, seq, field, what, bytes } => {
                let text = |item: &Item| {
                    is_text(item)
                        && of(item, org, number)
                        && is(item, "at_seq", &n(seq))
                        && is(item, "field_name", &s(field))
                };
                let (name, value) = match what {
                    Beside::Commitment => ("commitment", b(bytes)),
                    Beside::Salt => ("salt", b(bytes)),
                    Beside::Text => ("words", std::str::from_utf8(bytes).map_or_else(|_| b(bytes), s)),
                };
                self.change("incidents", text, |item| set(item, name, value)).await;
            }
            Damage::NoRecord { number, seq } => {
                for item in self.scan("incident-events").await.iter().filter(|item| record(number, seq)(item))
                {
                    self.delete("incident-events", item).await;
                }
                for item in self.texts(org, number, seq).await {
                    self.delete("incidents", &item).await;
                }
            }
            Damage::NoText { number, seq, field } => {
                for item in self.texts(org, number, seq).await {
                    if is(&item, "field_name", &s(field)) {
                        self.delete("incidents", &item).await;
                    }
                }
            }
            Damage::Swapped { number, from, to } => {
                let records = self.scan("incident-events").await;
                let (mut texts, mut moved) = (Vec::new(), Vec::new());
                for (seq, other) in [(from, to), (to, from)] {
                    for mut item in records.iter().filter(|item| record(number, seq)(item)).cloned() {
                        set(&mut item, "seq", n(other));
                        moved.push(item);
                    }
                    for mut item in self.texts(org, number, seq).await {
                        set(&mut item, "at_seq", n(other));
                        texts.push(item);
                    }
                }
                for item in moved {
                    self.put("incident-events", item).await;
                }
                for item in texts {
                    self.put("incidents", item).await;
                }
            }
            Damage::NoProjection { number } => {
                for item in self.scan("incidents").await.iter().filter(|item| head(number)(item)) {
                    self.delete("incidents", item).await;
                }
            }
            Damage::State { number, bytes } => {
                // An item holds 400 KB; what is more lies beside it.
                let parts: Vec<&[u8]> = bytes.chunks(300 * 1024).collect();
                for (place, part) in parts.iter().enumerate().skip(1) {
                    let mut rest = Item::new();
                    set(&mut rest, "pk", s(format!("{org}|{}", id(number))));
                    set(&mut rest, "sk", s(format!("folded|{place:04}")));
                    set(&mut rest, "folded", b(part));
                    set(&mut rest, "version", n(1));
                    self.put("incidents", rest).await;
                }
                let head_item = |item: &mut Item| {
                    set(item, "folded", b(parts.first().copied().unwrap_or_default()));
                    set(item, "parts", n(parts.len() as u64));
                };
                self.change("incidents", head(number), head_item).await;
            }
            Damage::Renumbered { from, to } => {
                let items = self.scan("incidents").await;
                let mut item = items.into_iter().find(|item| head(from)(item)).unwrap();
                self.delete("incidents", &item).await;
                set(&mut item, "pk", s(format!("{org}|{}", id(to))));
                set(&mut item, "incident_number", n(to));
                self.put("incidents", item).await;
                let numbers = |item: &Item| is(item, "pk", &s(format!("{org}|numbers")));
                self.change("incidents", numbers, |item| set(item, "last_number", n(to))).await;
            }
            Damage::NoCatalog { service, part } => {
                let pk = s(format!("{org}|svc/{service}"));
                let prefix = match part {
                    CatalogPart::Head => "head",
                    CatalogPart::Release => "release|",
                    CatalogPart::Run => "run|",
                };
                let gone = |item: &&Item| is(item, "pk", &pk) && below(item, prefix);
                for item in self.scan("incidents").await.iter().filter(gone) {
                    self.delete("incidents", item).await;
                }
            }
            Damage::Answer { key, answer } => {
                let pk = format!("{org}|{}", hex::encode(Sha256::digest(key)));
                let answered = |item: &Item| is(item, "pk", &s(&pk));
                self.change("idempotency", answered, |item| set(item, "answer", s(answer))).await;
            }
            Damage::Kind { name, kind } => {
                let waiting = |item: &Item| below(item, "outbox|") && is(item, "item_name", &s(name));
                self.change("incidents", waiting, |item| set(item, "item_kind", s(kind))).await;
            }
        }
    }

    async fn holding(&self, text: &str) -> Vec<String> {
        let holds = |value: &AttributeValue| match value {
            AttributeValue::S(held) => held.contains(text),
            AttributeValue::B(held) => held.as_ref().windows(text.len()).any(|part| part == text.as_bytes()),
            _ => false,
        };
        let mut found = Vec::new();
        for table in ["incidents", "incident-events", "idempotency"] {
            for item in self.scan(table).await {
                if item.values().any(holds) {
                    found.push(format!("{table}: {:?}", item.get("sk").or(item.get("pk"))));
                }
            }
        }
        found
    }
}

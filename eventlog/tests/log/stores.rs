//! The stores that the suite runs against, unchanged: each story becomes one test a store.
//!
//! A new store is a [`Backend`], a file under `stores/` that keeps the [`Store`] trait, and a module in [`stories`].

#[cfg(feature = "dynamodb")]
pub(crate) mod dynamo;
pub(crate) mod postgres;
pub(crate) mod sqlite;

use async_trait::async_trait;
use harmony_eventlog::{Address, LogError, Onward, SharedLog, open, rebuild::Rebuilt};
use harmony_incidents::OrgId;

use crate::world::id;

/// Which store a story is told on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    #[cfg(feature = "dynamodb")]
    Dynamo,
    Sqlite,
    Postgres,
}

impl Backend {
    /// Whether this machine has it. Where it has not, stderr says what was not tested, and why.
    pub(crate) fn is_here(self) -> bool {
        match self {
            #[cfg(feature = "dynamodb")]
            Self::Dynamo => true,
            Self::Sqlite => true,
            Self::Postgres => postgres::is_here(),
        }
    }

    /// A store of its own, empty, for one story.
    pub(crate) async fn fresh(self) -> Box<dyn Store> {
        match self {
            #[cfg(feature = "dynamodb")]
            Self::Dynamo => Box::new(dynamo::Dynamo::new().await),
            Self::Sqlite => Box::new(sqlite::Sqlite::new().await),
            Self::Postgres => Box::new(postgres::Postgres::new().await),
        }
    }
}

/// One store, as its log's users do not see it.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// Its log, opened as another process would. The salt key is always [`salt`](crate::world::salt).
    async fn open(&self) -> SharedLog {
        self.open_for(Onward::default()).await
    }

    /// The same for a process whose records go on.
    async fn open_for(&self, onward: Onward) -> SharedLog;

    /// Where it is, as `DATABASE_URL` says it.
    fn url(&self) -> String;

    /// Makes its projections again, as an operator would.
    async fn rebuild(&self, org: &OrgId) -> Result<Rebuilt, LogError> {
        open::rebuild(&Address::parse(&self.url()).unwrap(), org).await
    }

    /// How many rows it holds, of all organisations.
    async fn count(&self, rows: Rows) -> u64;

    /// Changes it past its log, as somebody with the database would.
    async fn damage(&self, org: &OrgId, damage: Damage<'_>);

    /// Where these bytes lie, in whatever part of the store an operator could read.
    async fn holding(&self, text: &str) -> Vec<String>;
}

/// What can be counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows {
    Records,
    Texts,
    Incidents,
    Keys,
    Attempts,
}

/// What somebody with the database may do. Incidents are given by their number of 2026.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage<'a> {
    /// Other canonical bytes.
    Canonical { number: u64, seq: u64, bytes: &'a [u8] },
    /// Another hash.
    Hash { number: u64, seq: u64, bytes: &'a [u8] },
    /// Another commitment, salt or text beside a record.
    Beside { number: u64, seq: u64, field: &'a str, what: Beside, bytes: &'a [u8] },
    /// No record any more, and no texts beside it.
    NoRecord { number: u64, seq: u64 },
    /// No text any more.
    NoText { number: u64, seq: u64, field: &'a str },
    /// The record of `from` at `to`, that of `to` at `from`, with their texts.
    Swapped { number: u64, from: u64, to: u64 },
    /// No projection any more.
    NoProjection { number: u64 },
    /// Another folded state.
    State { number: u64, bytes: &'a [u8] },
    /// The projection of `from` stands for `to`.
    Renumbered { from: u64, to: u64 },
    /// A service's projection, or what lists are told of its releases or runs, not any more.
    NoCatalog { service: &'a str, part: CatalogPart },
    /// Another answer for a key.
    Answer { key: &'a str, answer: &'a str },
    /// Another kind of the outbox item of this name.
    Kind { name: &'a str, kind: &'a str },
}

/// A part of what is kept of a service beside its records.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CatalogPart {
    Head,
    Release,
    Run,
}

/// A part of a text that stands beside its record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Beside {
    Commitment,
    Salt,
    Text,
}

/// Turns stories (`async fn story(on: Backend)`) into tests, one a store.
macro_rules! stories {
    ($($story:ident,)+) => {
        #[cfg(feature = "dynamodb")]
        mod dynamo {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $story() {
                    super::$story(crate::stores::Backend::Dynamo).await;
                }
            )+
        }
        crate::stores::sql_stories! { $($story,)+ }
    };
}

/// The same for what SQL stores alone do.
macro_rules! sql_stories {
    ($($story:ident,)+) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $story() {
                    super::$story(crate::stores::Backend::Sqlite).await;
                }
            )+
        }

        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $story() {
                    let store = crate::stores::Backend::Postgres;
                    if store.is_here() {
                        super::$story(store).await;
                    }
                }
            )+
        }
    };
}

pub(crate) use sql_stories;
pub(crate) use stories;

/// The table of these rows, in both SQL stores.
fn table(rows: Rows) -> &'static str {
    match rows {
        Rows::Records => "events",
        Rows::Texts => "texts",
        Rows::Incidents => "incidents",
        Rows::Keys => "idempotency",
        Rows::Attempts => "promotion_attempts",
    }
}

/// The damage in SQL, as both SQL stores read it but for how they write bytes.
fn statement(org: &OrgId, damage: Damage<'_>, blob: &dyn Fn(&[u8]) -> String) -> String {
    let incident = |number: u64| format!("org = '{org}' AND incident = '{}'", id(number));
    let record = |number: u64, seq: u64| format!("{} AND seq = {seq}", incident(number));
    match damage {
        Damage::Canonical { number, seq, bytes } => {
            format!("UPDATE events SET canonical = {} WHERE {}", blob(bytes), record(number, seq))
        }
        Damage::Hash { number, seq, bytes } => {
            format!("UPDATE events SET hash = {} WHERE {}", blob(bytes), record(number, seq))
        }
        Damage::Beside { number, seq, field, what, bytes } => {
            let column = match what {
                Beside::Commitment => "commitment",
                Beside::Salt => "salt",
                Beside::Text => "text",
            };
            let place = record(number, seq);
            format!("UPDATE texts SET {column} = {} WHERE {place} AND field = '{field}'", blob(bytes))
        }
        Damage::NoRecord { number, seq } => {
            let place = record(number, seq);
            format!("DELETE FROM events WHERE {place}; DELETE FROM texts WHERE {place}")
        }
        Damage::NoText { number, seq, field } => {
            format!("DELETE FROM texts WHERE {} AND field = '{field}'", record(number, seq))
        }
        Damage::Swapped { number, from, to } => {
            let moved = |from: u64, to: u64| {
                let place = record(number, from);
                format!(
                    "UPDATE events SET seq = {to} WHERE {place}; UPDATE texts SET seq = {to} WHERE {place};"
                )
            };
            format!("{}{}{}", moved(from, 9_999), moved(to, from), moved(9_999, to))
        }
        Damage::NoProjection { number } => format!("DELETE FROM incidents WHERE {}", incident(number)),
        Damage::State { number, bytes } => {
            format!("UPDATE incidents SET state = {} WHERE {}", blob(bytes), incident(number))
        }
        Damage::Renumbered { from, to } => {
            format!("UPDATE incidents SET number = {to}, incident = '{}' WHERE {}", id(to), incident(from))
        }
        Damage::NoCatalog { service, part } => {
            let table = match part {
                CatalogPart::Head => "catalog",
                CatalogPart::Release => "releases",
                CatalogPart::Run => "runs",
            };
            format!("DELETE FROM {table} WHERE org = '{org}' AND stream = 'svc/{service}'")
        }
        Damage::Answer { key, answer } => {
            format!("UPDATE idempotency SET answer = '{answer}' WHERE org = '{org}' AND key = '{key}'")
        }
        Damage::Kind { name, kind } => {
            format!("UPDATE outbox SET kind = '{kind}' WHERE org = '{org}' AND name = '{name}'")
        }
    }
}

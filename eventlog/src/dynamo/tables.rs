//! The three tables, and what their keys look like.
//!
//! | table | key | holds |
//! |---|---|---|
//! | `<prefix>-incidents` | `pk`, `sk` | heads with their projection, numbers, texts, outbox, lanes, effects |
//! | `<prefix>-incident-events` | `pk`, `seq` | records, as first encoded |
//! | `<prefix>-idempotency` | `pk` | answers; they never expire |
//!
//! Every key begins with the organisation. What belongs to an incident shares one `pk`, `<org>|<incident>`, and so it is
//! with a service (`<org>|svc/<id>`) and an environment (`<org>|env/<id>`):
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | head and projection | `<org>\|<incident>` | `head`; the rest of a large state in `folded\|<n>` |
//! | text | `<org>\|<incident>` | `text\|<commitment>` |
//! | outbox item | `<org>\|<incident>` | `outbox\|<kind>\|<name>` |
//! | lane of a sink | `<org>\|<incident>` | `lane\|<sink>` |
//! | pointer to an answer, an effect, a candidate | `<org>\|<incident>` | `key\|<hash>`, `effect\|<key>`, `candidate\|<id>` |
//! | effect | `<org>\|effect\|<key>` | `effect` |
//! | candidates, attempts | `<org>\|candidates`, `<org>\|attempts\|<candidate>` | see `candidates.rs` |
//! | subscriptions | `<org>\|subscriptions` | see `subscriptions.rs` |
//! | last number of a year | `<org>\|numbers` | `<year>` |
//! | lists of the catalog | `<org>\|services`, `<org>\|environments`, `<org>\|releases` and others | see `catalog.rs` |
//! | audit | `<org>\|audit` | see `trail.rs` |
//!
//! What waits for a dispatcher also carries `work_queue` and `due_at`, the key of the index `by-due`; who reads there
//! acts on the item itself, conditionally, since an index lags behind. Tables are billed on demand.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    error::ProvideErrorMetadata,
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
        ProjectionType, ScalarAttributeType, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
    },
};
use harmony_incidents::{OrgId, StreamId};
use sha2::{Digest, Sha256};

use super::{
    item::{Key, broken, item, n, number, s, unavailable},
    trail,
};
use crate::store::LogError;

/// Layout of this build; newer ones are refused.
pub(super) const SCHEMA: i64 = 2;
/// The index of what is due.
pub(super) const BY_DUE: &str = "by-due";
/// How much of a folded state one item holds: an item has 400 KB at most, and the head holds more than the state.
pub(super) const PART_BYTES: usize = 300 * 1024;
/// How long a table may take to come into being.
const PATIENCE: Duration = Duration::from_secs(120);

/// The names of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tables {
    pub(super) incidents: String,
    pub(super) events: String,
    pub(super) idempotency: String,
}

impl Tables {
    /// Of this prefix, which Amazon's rule for names allows.
    pub(super) fn new(prefix: &str) -> Result<Self, LogError> {
        // A name has 3 to 255 characters; the longest suffix takes 16.
        let fits = (1..=239).contains(&prefix.len())
            && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !fits {
            return Err(LogError::Open {
                path: format!("dynamodb://{prefix}"),
                reason: "a table prefix is 1 to 239 of a-z, A-Z, 0-9, dot, dash and underscore".to_owned(),
            });
        }
        Ok(Self {
            incidents: format!("{prefix}-incidents"),
            events: format!("{prefix}-incident-events"),
            idempotency: format!("{prefix}-idempotency"),
        })
    }

    /// Makes what is missing, and writes down which layout it is. Gives the layout that was there, 0 for none. Layout 2
    /// lists records by time, for the audit; what layout 1 holds is listed now.
    pub(super) async fn migrate(&self, client: &Client) -> Result<i64, LogError> {
        let found = self.schema(client).await?.unwrap_or_default();
        if found > SCHEMA {
            return Err(LogError::NewerSchema { found, known: SCHEMA });
        }
        let text = ScalarAttributeType::S;
        let due = [("work_queue", text.clone()), ("due_at", text.clone())];
        let own = [("pk", text.clone()), ("sk", text.clone())];
        create(client, &self.incidents, &own, Some((BY_DUE, &due))).await?;
        create(client, &self.events, &[("pk", text.clone()), ("seq", ScalarAttributeType::N)], None).await?;
        create(client, &self.idempotency, &[("pk", text)], None).await?;
        for table in [&self.incidents, &self.events, &self.idempotency] {
            wait(client, table).await?;
        }
        expire(client, &self.incidents).await;
        if found == 1 {
            trail::audit_again(client, self, None).await?;
        }
        client
            .put_item()
            .table_name(&self.incidents)
            .set_item(Some(item(schema_key().pairs().into_iter().chain([("version", n(SCHEMA))]))))
            .send()
            .await
            .map_err(broken)?;
        Ok(found)
    }

    /// Which layout there is; `None` where there is no table.
    pub(super) async fn schema(&self, client: &Client) -> Result<Option<i64>, LogError> {
        let found = client
            .get_item()
            .table_name(&self.incidents)
            .set_key(Some(schema_key().item()))
            .consistent_read(true)
            .send()
            .await;
        match found {
            Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(None),
            Err(error) => Err(broken(error)),
            Ok(found) => {
                found.item().map(|item| number(item, "version", || "the schema".to_owned())).transpose()
            }
        }
    }
}

/// Lets DynamoDB delete what has a `ttl` once that has passed: the attempts log. Without the right to say so it grows.
async fn expire(client: &Client, table: &str) {
    let described = client.describe_time_to_live().table_name(table).send().await;
    let status = described.ok().and_then(|found| found.time_to_live_description?.time_to_live_status);
    if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
        return;
    }
    let Ok(ttl) = TimeToLiveSpecification::builder().enabled(true).attribute_name("ttl").build() else {
        return;
    };
    let enabled = client.update_time_to_live().table_name(table).time_to_live_specification(ttl).send().await;
    if let Err(error) = enabled {
        tracing::warn!(
            table,
            error = %broken(error),
            "time to live is not enabled: promotion attempts are kept for longer than 90 days; enable it for `ttl`"
        );
    }
}

async fn create(
    client: &Client,
    name: &str,
    key: &[(&str, ScalarAttributeType)],
    index: Option<(&str, &[(&str, ScalarAttributeType)])>,
) -> Result<(), LogError> {
    let mut request = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    request = request.set_key_schema(Some(key_schema(key)?));
    let attributes = key.iter().chain(index.iter().flat_map(|(_, key)| key.iter()));
    for (attribute, kind) in attributes {
        let definition =
            AttributeDefinition::builder().attribute_name(*attribute).attribute_type(kind.clone()).build();
        request = request.attribute_definitions(definition.map_err(unavailable)?);
    }
    if let Some((index, key)) = index {
        let everything = Projection::builder().projection_type(ProjectionType::All).build();
        let index = GlobalSecondaryIndex::builder()
            .index_name(index)
            .set_key_schema(Some(key_schema(key)?))
            .projection(everything)
            .build();
        request = request.global_secondary_indexes(index.map_err(unavailable)?);
    }
    match request.send().await {
        Ok(_) => Ok(()),
        // It is there already, or another process is making it.
        Err(error) if error.code() == Some("ResourceInUseException") => Ok(()),
        Err(error) => Err(broken(error)),
    }
}

fn key_schema(key: &[(&str, ScalarAttributeType)]) -> Result<Vec<KeySchemaElement>, LogError> {
    let kinds = [KeyType::Hash, KeyType::Range];
    key.iter()
        .zip(kinds)
        .map(|((name, _), kind)| {
            KeySchemaElement::builder().attribute_name(*name).key_type(kind).build().map_err(unavailable)
        })
        .collect()
}

async fn wait(client: &Client, name: &str) -> Result<(), LogError> {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = client.describe_table().table_name(name).send().await.map_err(broken)?;
        if found.table().and_then(|table| table.table_status()) == Some(&TableStatus::Active) {
            return Ok(());
        }
        if tokio::time::Instant::now() > until {
            return Err(LogError::Open {
                path: name.to_owned(),
                reason: "the table does not become active: look at it in the console, and migrate again"
                    .to_owned(),
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn schema_key() -> Key {
    Key { pk: "|schema".to_owned(), sk: "schema".to_owned() }
}

/// Where everything of an incident lies.
pub(super) fn partition(org: &OrgId, stream: &StreamId) -> String {
    format!("{org}|{stream}")
}

/// An item of an incident.
pub(super) fn of_incident(org: &OrgId, stream: &StreamId, sk: impl Into<String>) -> Key {
    Key { pk: partition(org, stream), sk: sk.into() }
}

/// The head of an incident's chain, with its projection.
pub(super) fn head_key(org: &OrgId, stream: &StreamId) -> Key {
    of_incident(org, stream, "head")
}

/// A further part of a state that is too large for the head's item.
pub(super) fn part_key(org: &OrgId, stream: &StreamId, place: usize) -> Key {
    of_incident(org, stream, format!("folded|{place:04}"))
}

/// The last number of a year.
pub(super) fn number_key(org: &OrgId, year: i16) -> Key {
    Key { pk: format!("{org}|numbers"), sk: format!("{year:04}") }
}

/// An effect.
pub(super) fn effect_key(org: &OrgId, key: &str) -> Key {
    Key { pk: format!("{org}|effect|{key}"), sk: "effect".to_owned() }
}

/// Keys of callers are of any length; those of tables are not.
pub(super) fn key_hash(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}

/// An answer, in the table of its own.
pub(super) fn answer_pk(org: &OrgId, key_hash: &str) -> String {
    format!("{org}|{key_hash}")
}

/// The key of an answer as its table wants it.
pub(super) fn answer_key(org: &OrgId, key_hash: &str) -> super::item::Item {
    item([("pk", s(answer_pk(org, key_hash)))])
}

//! Items of a table: building them, reading them, writing several at once, and what Amazon's errors mean to us.

use std::{collections::HashMap, fmt::Display, str::FromStr, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    primitives::Blob,
    types::{AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem, Update},
};
use harmony_incidents::Refusal;
use uuid::Uuid;

use crate::store::LogError;

/// A transaction takes no more.
pub(super) const TRANSACTION_ITEMS: usize = 100;
/// How long collisions are tried again before the caller is told that the store is busy.
const PATIENCE: Duration = Duration::from_secs(8);
/// The longest pause between two tries.
const LONGEST_PAUSE_MS: u64 = 100;

/// One item.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Where an item lies in `<prefix>-incidents`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) pk: String,
    pub(super) sk: String,
}

impl Key {
    pub(super) fn pairs(&self) -> [(&'static str, AttributeValue); 2] {
        [("pk", s(&self.pk)), ("sk", s(&self.sk))]
    }

    pub(super) fn item(&self) -> Item {
        item(self.pairs())
    }
}

pub(super) fn item(pairs: impl IntoIterator<Item = (&'static str, AttributeValue)>) -> Item {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn n(number: impl Display) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(super) fn b(bytes: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes.into()))
}

/// A text that must be there.
pub(super) fn text<'a>(
    item: &'a Item,
    name: &str,
    place: impl FnOnce() -> String,
) -> Result<&'a str, LogError> {
    match item.get(name) {
        Some(AttributeValue::S(text)) => Ok(text),
        _ => Err(LogError::Corrupt { place: place() }),
    }
}

/// A text that may be there.
pub(super) fn text_if<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str)
}

/// A number that must be there.
pub(super) fn number<T: FromStr>(
    item: &Item,
    name: &str,
    place: impl FnOnce() -> String,
) -> Result<T, LogError> {
    let found = item.get(name).and_then(|value| value.as_n().ok());
    found.and_then(|text| text.parse().ok()).ok_or_else(|| LogError::Corrupt { place: place() })
}

/// Bytes that must be there.
pub(super) fn bytes<'a>(
    item: &'a Item,
    name: &str,
    place: impl FnOnce() -> String,
) -> Result<&'a [u8], LogError> {
    match item.get(name) {
        Some(AttributeValue::B(bytes)) => Ok(bytes.as_ref()),
        _ => Err(LogError::Corrupt { place: place() }),
    }
}

/// What an error means: a table that is missing or closed to us is for the operator, everything else passes.
pub(super) fn broken<E>(error: SdkError<E>) -> LogError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let reason = match error.code() {
        Some("ResourceNotFoundException") => {
            "a table is missing: run `harmony db migrate`, and look at AWS_REGION and the prefix".to_owned()
        }
        Some(
            code @ ("AccessDeniedException"
            | "IncompleteSignature"
            | "InvalidSignatureException"
            | "MissingAuthenticationTokenException"
            | "UnrecognizedClientException"),
        ) => format!("{code}: {}", error.message().unwrap_or("Amazon refuses these credentials")),
        _ => return unavailable(error),
    };
    LogError::Open { path: "on DynamoDB".to_owned(), reason }
}

/// The store cannot do it now; nothing was written, or the key of the command will tell.
pub(super) fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> LogError {
    LogError::Unavailable(Box::new(error))
}

/// Whether a condition of ours did not hold.
pub(super) fn is_unmet<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    error.code() == Some("ConditionalCheckFailedException")
}

/// `Some` of whether it was written: `false` where the condition did not hold.
pub(super) fn met<T, E>(outcome: Result<T, SdkError<E>>) -> Result<bool, LogError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match outcome {
        Ok(_) => Ok(true),
        Err(error) if is_unmet(&error) => Ok(false),
        Err(error) => Err(broken(error)),
    }
}

/// A condition or a change, with its values.
#[derive(Debug, Clone, Default)]
pub(super) struct Expression {
    pub(super) text: String,
    pub(super) values: Vec<(&'static str, AttributeValue)>,
}

impl Expression {
    pub(super) fn new(text: impl Into<String>, values: Vec<(&'static str, AttributeValue)>) -> Self {
        Self { text: text.into(), values }
    }

    pub(super) fn values(self) -> Option<Item> {
        (!self.values.is_empty()).then(|| item(self.values))
    }
}

/// Several writes, all of them or none.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    writes: Vec<TransactWriteItem>,
}

impl Transaction {
    /// Writes an item where there is none of its key.
    pub(super) fn insert(&mut self, table: &str, item: Item) -> Result<(), LogError> {
        let put = Put::builder()
            .table_name(table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(unavailable)?;
        self.writes.push(TransactWriteItem::builder().put(put).build());
        Ok(())
    }

    /// Writes an item, whatever is there.
    pub(super) fn put(&mut self, table: &str, item: Item) -> Result<(), LogError> {
        let put = Put::builder().table_name(table).set_item(Some(item)).build().map_err(unavailable)?;
        self.writes.push(TransactWriteItem::builder().put(put).build());
        Ok(())
    }

    /// Writes an item over one that is as expected.
    pub(super) fn replace(&mut self, table: &str, item: Item, expected: Expression) -> Result<(), LogError> {
        let put = Put::builder()
            .table_name(table)
            .set_item(Some(item))
            .condition_expression(&expected.text)
            .set_expression_attribute_values(expected.values())
            .build()
            .map_err(unavailable)?;
        self.writes.push(TransactWriteItem::builder().put(put).build());
        Ok(())
    }

    /// Changes an item; the values are those of the change and of its condition.
    pub(super) fn update(
        &mut self,
        table: &str,
        key: Item,
        change: Expression,
        condition: Option<&str>,
    ) -> Result<(), LogError> {
        let update = Update::builder()
            .table_name(table)
            .set_key(Some(key))
            .update_expression(&change.text)
            .set_condition_expression(condition.map(str::to_owned))
            .set_expression_attribute_values(change.values())
            .build()
            .map_err(unavailable)?;
        self.writes.push(TransactWriteItem::builder().update(update).build());
        Ok(())
    }

    /// Writes nothing: all the rest is conditional on this.
    pub(super) fn expect(&mut self, table: &str, key: Item, expected: Expression) -> Result<(), LogError> {
        let check = ConditionCheck::builder()
            .table_name(table)
            .set_key(Some(key))
            .condition_expression(&expected.text)
            .set_expression_attribute_values(expected.values())
            .build()
            .map_err(unavailable)?;
        self.writes.push(TransactWriteItem::builder().condition_check(check).build());
        Ok(())
    }

    /// Takes an item away.
    pub(super) fn delete(&mut self, table: &str, key: Item) -> Result<(), LogError> {
        let delete = Delete::builder().table_name(table).set_key(Some(key)).build().map_err(unavailable)?;
        self.writes.push(TransactWriteItem::builder().delete(delete).build());
        Ok(())
    }

    /// Whether it was written; `false` where a condition did not hold or another transaction was at it.
    pub(super) async fn commit(self, client: &Client) -> Result<bool, LogError> {
        if self.writes.len() > TRANSACTION_ITEMS {
            return Err(LogError::Refused(Refusal::Invalid {
                explanation: format!(
                    "this command writes or checks {} items (each record, text, environment, outbox item and sink is one), and DynamoDB takes {TRANSACTION_ITEMS} at once: split it",
                    self.writes.len()
                ),
            }));
        }
        let outcome = client
            .transact_write_items()
            // A request whose answer was lost is sent again under the same token, and is one write.
            .client_request_token(Uuid::new_v4().to_string())
            .set_transact_items(Some(self.writes))
            .send()
            .await;
        let error = match outcome {
            Ok(_) => return Ok(true),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                let codes = || cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code());
                let known = ["ConditionalCheckFailed", "TransactionConflict", "None"];
                if let Some(too_large) = cancelled.cancellation_reasons().iter().find(|reason| {
                    reason.code() == Some("ValidationError")
                        || reason.code() == Some("ItemCollectionSizeLimitExceeded")
                }) {
                    return Err(too_large_for_dynamo(too_large.message()));
                }
                if codes().all(|code| known.contains(&code)) { Ok(false) } else { Err(unavailable(error)) }
            }
            Some(TransactWriteItemsError::TransactionInProgressException(_)) => Ok(false),
            Some(service) if service.code() == Some("ValidationException") => {
                Err(too_large_for_dynamo(service.message()))
            }
            _ => Err(broken(error)),
        }
    }
}

fn too_large_for_dynamo(message: Option<&str>) -> LogError {
    LogError::Refused(Refusal::Invalid {
        explanation: format!(
            "DynamoDB does not take what this command writes ({}): an item has at most 400 KB, a command 4 MB",
            message.unwrap_or("no reason given")
        ),
    })
}

/// Collisions with others: each try looks again, after a pause.
pub(super) struct Collisions {
    until: tokio::time::Instant,
    longest_ms: u64,
}

impl Collisions {
    pub(super) fn none() -> Self {
        Self { until: tokio::time::Instant::now() + PATIENCE, longest_ms: 4 }
    }

    /// Waits for a while, or gives up.
    pub(super) async fn pause(&mut self) -> Result<(), LogError> {
        if tokio::time::Instant::now() > self.until {
            return Err(unavailable(Contended));
        }
        // Not in step with the others that collided.
        let pause = u64::try_from(Uuid::new_v4().as_u128() % u128::from(self.longest_ms)).unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        self.longest_ms = (self.longest_ms * 2).min(LONGEST_PAUSE_MS);
        Ok(())
    }
}

/// Others were at the same items all the time.
#[derive(Debug, thiserror::Error)]
#[error("too many write to the same stream, or change what it rests on, at once")]
struct Contended;

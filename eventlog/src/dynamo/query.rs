//! How the tables are asked: single items, many by their keys, and parts of a partition in order.
//!
//! Every read is a consistent one; what the index `by-due` gives is looked at again before it is acted on.

use aws_sdk_dynamodb::types::KeysAndAttributes;

use super::{
    DynamoLog,
    item::{Item, broken, s, unavailable},
};
use crate::store::LogError;

/// Items that one `BatchGetItem` gives.
pub(super) const BATCH: usize = 100;
/// Items that one page of a [`Span`] has, where more than a few are wanted.
const PAGE: usize = 1_000;
/// Behind everything that a sort key begins with: no id, number or separator has it.
pub(super) const LAST: char = '~';

/// A part of a partition, in one order.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) pk: String,
    /// The lowest sort key.
    pub(super) first: String,
    /// The highest.
    pub(super) last: String,
    /// From the highest to the lowest.
    pub(super) newest_first: bool,
}

impl DynamoLog {
    /// What fits in a span, in its order, at most so much.
    pub(super) async fn in_span(
        &self,
        span: &Span,
        wanted: usize,
        fits: &(dyn Fn(&Item) -> bool + Send + Sync),
    ) -> Result<Vec<Item>, LogError> {
        let mut found = Vec::new();
        let mut start = None;
        while found.len() < wanted {
            let (rows, next) = self.page(span, start, wanted).await?;
            found.extend(rows.into_iter().filter(fits));
            start = next;
            if start.is_none() {
                break;
            }
        }
        found.truncate(wanted);
        Ok(found)
    }

    /// The next items of a span, and where the page after them begins.
    pub(super) async fn page(
        &self,
        span: &Span,
        start: Option<Item>,
        wanted: usize,
    ) -> Result<(Vec<Item>, Option<Item>), LogError> {
        if span.first > span.last {
            return Ok((Vec::new(), None));
        }
        let page = self
            .client
            .query()
            .table_name(&self.tables.incidents)
            .consistent_read(true)
            .key_condition_expression("pk = :pk AND sk BETWEEN :first AND :last")
            .expression_attribute_values(":pk", s(&span.pk))
            .expression_attribute_values(":first", s(&span.first))
            .expression_attribute_values(":last", s(&span.last))
            .scan_index_forward(!span.newest_first)
            .limit(i32::try_from(wanted.clamp(BATCH, PAGE)).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(broken)?;
        Ok((page.items.unwrap_or_default(), page.last_evaluated_key))
    }

    /// What lies in a partition under a prefix, all of it.
    pub(super) async fn below(&self, pk: &str, prefix: &str) -> Result<Vec<Item>, LogError> {
        let mut rows = Vec::new();
        let mut start = None;
        loop {
            let mut query = self
                .client
                .query()
                .table_name(&self.tables.incidents)
                .consistent_read(true)
                .expression_attribute_values(":pk", s(pk));
            query = if prefix.is_empty() {
                query.key_condition_expression("pk = :pk")
            } else {
                query
                    .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                    .expression_attribute_values(":prefix", s(prefix))
            };
            let page = query.set_exclusive_start_key(start).send().await.map_err(broken)?;
            rows.extend(page.items.unwrap_or_default());
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(rows);
            }
        }
    }

    /// The items of these keys that there are, in any order.
    pub(super) async fn get_many(&self, table: &str, keys: Vec<Item>) -> Result<Vec<Item>, LogError> {
        let mut found = Vec::new();
        let mut wanted = keys;
        while !wanted.is_empty() {
            let rest = wanted.split_off(wanted.len().min(BATCH));
            let asked = KeysAndAttributes::builder().set_keys(Some(wanted)).consistent_read(true).build();
            let page = self
                .client
                .batch_get_item()
                .request_items(table, asked.map_err(unavailable)?)
                .send()
                .await
                .map_err(broken)?;
            found.extend(page.responses.unwrap_or_default().remove(table).unwrap_or_default());
            // What did not fit, or was throttled, is asked for again.
            wanted = page
                .unprocessed_keys
                .unwrap_or_default()
                .remove(table)
                .map(|left| left.keys)
                .unwrap_or_default();
            wanted.extend(rest);
        }
        Ok(found)
    }
}

//! Projections made again, one stream at a time.
//!
//! No transaction of DynamoDB spans a log. A projection is written on condition that its head still is what the records
//! were read with, so others may go on: where one of them appended to a stream meanwhile, rebuilding says so and is run
//! again. What stands for records is written over, not taken away first, so that nobody is told that it is not there. Nobody
//! compares the audit's items: they are written again, all of them.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use harmony_incidents::{IncidentId, OrgId, StreamId};
use jiff::Timestamp;

use super::{
    DynamoLog,
    audit::Snapshots,
    catalog::{key_of, made_of, place_of},
    item::{Expression, Item, TRANSACTION_ITEMS, Transaction, n, number, text, unavailable},
    tables::{head_key, number_key},
    trail,
    write::Tx,
};
use crate::{
    append::Projection,
    rebuild::{self, Projections, Rebuilt},
    store::LogError,
    verify::{Audit, Page},
};

/// What one transaction leaves to the head: itself, and the parts of a large state.
const HEAD_ITEMS: usize = 20;

/// The log, and with which versions of the heads its records were read.
struct Rebuilding<'a> {
    log: &'a DynamoLog,
    snapshots: Snapshots<'a>,
    versions: BTreeMap<StreamId, Option<u64>>,
}

impl DynamoLog {
    /// Makes an organisation's projections in the tables of this prefix again, from its records.
    pub async fn rebuild(client: Client, prefix: &str, org: &OrgId) -> Result<Rebuilt, LogError> {
        let log = Self::connect(client, prefix, true, None).await?;
        let mut store = Rebuilding { log: &log, snapshots: Snapshots::of(&log), versions: BTreeMap::new() };
        let rebuilt = rebuild::rebuild(&mut store, org).await?;
        log.count_again(org).await?;
        trail::audit_again(&log.client, &log.tables, Some(org)).await?;
        Ok(rebuilt)
    }

    /// Corrects the last number of each year: the next declaration takes the one after it. The numbers are read first, so
    /// that one which a declaration takes meanwhile is left alone.
    async fn count_again(&self, org: &OrgId) -> Result<(), LogError> {
        let place = || format!("{org}|numbers");
        let mut known = BTreeMap::new();
        for row in self.below(&place(), "").await? {
            known.insert(text(&row, "sk", place)?.to_owned(), number::<u64>(&row, "last_number", place)?);
        }
        let mut last = BTreeMap::<i16, u64>::new();
        for incident in self.traced(org).await?.iter().filter_map(|id| id.parse::<IncidentId>().ok()) {
            let (year, number) = incident.parts();
            if self.read_chain_head(org, &incident.into()).await?.is_some() {
                let last = last.entry(year).or_default();
                *last = number.max(*last);
            }
        }
        for (year, last) in last {
            let key = number_key(org, year);
            let known = known.get(&key.sk).copied();
            if known != Some(last) {
                let values = vec![(":last", n(last)), (":known", n(known.unwrap_or_default()))];
                let change = Expression::new("SET last_number = :last", values);
                let as_read = "attribute_not_exists(pk) OR last_number = :known";
                self.change(key.item(), change, as_read).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Audit for Rebuilding<'_> {
    async fn traces(&mut self, org: &OrgId) -> Result<Vec<String>, LogError> {
        self.snapshots.traces(org).await
    }

    async fn page(
        &mut self,
        org: &OrgId,
        stream: &StreamId,
        after: u64,
        limit: u32,
    ) -> Result<Page, LogError> {
        let page = self.snapshots.page(org, stream, after, limit).await?;
        self.versions.insert(stream.clone(), self.snapshots.version());
        Ok(page)
    }

    async fn projection(&mut self, org: &OrgId, stream: &StreamId) -> Result<Option<Projection>, LogError> {
        self.snapshots.projection(org, stream).await
    }
}

#[async_trait]
impl Projections for Rebuilding<'_> {
    /// What the records of a stream fold to is written over what is there: only what stands for no record goes.
    async fn unproject(&mut self, org: &OrgId, stream: &str) -> Result<(), LogError> {
        if let Ok(stream) = stream.parse::<StreamId>()
            && self.log.read_chain_head(org, &stream).await?.is_some()
        {
            return Ok(());
        }
        let mut rows = self.log.below(&format!("{org}|{stream}"), "head").await?;
        rows.extend(self.log.below(&format!("{org}|{stream}"), "folded|").await?);
        if let Ok(stream) = stream.parse::<StreamId>() {
            rows.extend(self.log.listings(org, &stream).await?);
        }
        for some in rows.chunks(TRANSACTION_ITEMS) {
            let mut writing = Transaction::default();
            for row in some {
                writing.delete(&self.log.tables.incidents, key_of(row))?;
            }
            written(writing.commit(&self.log.client).await?, stream)?;
        }
        Ok(())
    }

    async fn project(
        &mut self,
        org: &OrgId,
        stream: &StreamId,
        projection: &Projection,
    ) -> Result<(), LogError> {
        let table = &self.log.tables.incidents;
        let version = self.versions.get(stream).copied().flatten();
        let (mut made, mut stale) = (Vec::new(), Vec::new());
        if let Projection::Catalog(projection) = projection {
            made = made_of(org, stream, projection);
            stale = self.log.listings(org, stream).await?;
            let places: BTreeSet<_> = made.iter().map(place_of).collect();
            stale.retain(|row| !places.contains(&place_of(row)));
        }
        let mut changes = Vec::new();
        changes.extend(made.into_iter().map(Change::Put));
        changes.extend(stale.iter().map(key_of).map(Change::Delete));
        let at_head = changes.split_off(changes.len() - changes.len().min(TRANSACTION_ITEMS - HEAD_ITEMS));
        for some in changes.chunks(TRANSACTION_ITEMS - 1) {
            let mut writing = Transaction::default();
            let expected = match version {
                Some(version) => Expression::new("version = :read", vec![(":read", n(version))]),
                None => Expression::new("attribute_not_exists(pk)", Vec::new()),
            };
            writing.expect(table, head_key(org, stream).item(), expected)?;
            for change in some {
                change.clone().write(&mut writing, table)?;
            }
            written(writing.commit(&self.log.client).await?, stream.as_str())?;
        }
        let mut tx = Tx::over(self.log, version);
        for change in at_head {
            change.write(&mut tx.writing, table)?;
        }
        tx.head(org, stream, Some(projection), Timestamp::now().as_microsecond())?;
        written(tx.commit().await?, stream.as_str())
    }
}

/// What is written of a list.
#[derive(Debug, Clone)]
enum Change {
    Put(Item),
    /// The item of this key.
    Delete(Item),
}

impl Change {
    fn write(self, writing: &mut Transaction, table: &str) -> Result<(), LogError> {
        match self {
            Self::Put(row) => writing.put(table, row),
            Self::Delete(key) => writing.delete(table, key),
        }
    }
}

fn written(is_written: bool, stream: &str) -> Result<(), LogError> {
    if is_written { Ok(()) } else { Err(unavailable(Moved(stream.to_owned()))) }
}

/// The records that were read are not all there are.
#[derive(Debug, thiserror::Error)]
#[error("somebody appended to {0} while its projection was made again: run it again")]
struct Moved(String);

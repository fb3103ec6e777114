//! The audit: which records there are, by when they occurred.
//!
//! Records are stored by stream. So that all of them can be read in the order of time, an append also writes two small
//! items, however many records it gives: one among those of the organisation, one among those of the stream. All
//! records of an append have one time and one actor.
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | records of an append | `<org>\|audit` | `<microseconds> <stream> <first seq>` |
//! | the same | `<org>\|<stream>` | `audit\|<microseconds> <stream> <first seq>` |
//!
//! A space stands between the parts because it sorts before everything that an id may hold.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::{
    Client,
    types::{PutRequest, WriteRequest},
};
use harmony_incidents::{OrgId, StreamId, record::stream_of};
use harmony_protos::{kind_name, log::Record};
use prost::Message as _;

use super::{
    DynamoLog,
    item::{Item, Key, Transaction, broken, bytes, item, n, number, s, text, text_if, unavailable},
    outbox::moment,
    query::{LAST, Span},
    read::sees,
    tables::{Tables, of_incident},
};
use crate::{
    append::{self, Plan},
    catalog::{AuditFilter, AuditPlace},
    store::LogError,
};

/// Items that one `BatchWriteItem` takes.
const WRITTEN_AT_ONCE: usize = 25;

/// What an append put on record, as the audit looks for it.
struct AuditItem {
    ts_us: i64,
    stream: StreamId,
    first_seq: u64,
    actor: String,
    /// One a record, in order.
    kinds: Vec<String>,
}

impl AuditItem {
    /// Of records that follow each other and were appended together; `None` where there is none.
    fn of<'r>(stream: &StreamId, records: impl IntoIterator<Item = &'r Record>) -> Option<Self> {
        let mut records = records.into_iter().peekable();
        let first = *records.peek()?;
        let (ts_us, first_seq, actor) = (first.occurred_at_us, first.seq, first.actor.clone());
        let kind = |record: &Record| {
            let kind = record.payload.as_ref().and_then(|payload| payload.kind.as_ref());
            kind.map_or("", kind_name).to_owned()
        };
        let kinds = records.map(kind).collect();
        Some(Self { ts_us, stream: stream.clone(), first_seq, actor, kinds })
    }

    fn stored(row: &Item) -> Result<Self, LogError> {
        let place = || "the audit".to_owned();
        Ok(Self {
            ts_us: number(row, "occurred_at_us", place)?,
            stream: append::stream_id(text(row, "incident", place)?)?,
            first_seq: number(row, "first_seq", place)?,
            actor: text(row, "actor", place)?.to_owned(),
            kinds: text(row, "record_kinds", place)?.split(' ').map(str::to_owned).collect(),
        })
    }

    /// The items under which it is found.
    fn rows(&self, org: &OrgId) -> [Item; 2] {
        let place = format!("{} {} {:020}", moment(self.ts_us), self.stream, self.first_seq);
        let keys = [Key { pk: trail(org), sk: place.clone() }, of_incident(org, &self.stream, below(&place))];
        keys.map(|key| {
            let mut row = key.item();
            row.extend(item([
                ("occurred_at_us", n(self.ts_us)),
                ("incident", s(self.stream.as_str())),
                ("first_seq", n(self.first_seq)),
                ("actor", s(&self.actor)),
                ("record_kinds", s(self.kinds.join(" "))),
            ]));
            row
        })
    }

    /// Those of its records that are asked for, in the order that is.
    fn places(&self, filter: &AuditFilter) -> Vec<AuditPlace> {
        let ts_us = self.ts_us;
        let is_before = filter.since.is_some_and(|since| ts_us < since.as_microsecond());
        if is_before || filter.actor.as_ref().is_some_and(|actor| *actor != self.actor) {
            return Vec::new();
        }
        let places = (self.first_seq..).zip(&self.kinds).filter_map(|(seq, kind)| {
            let fits = filter.kinds.is_empty() || filter.kinds.contains(&kind.as_str());
            fits.then(|| AuditPlace { ts_us, stream: self.stream.to_string(), seq })
        });
        let mut places: Vec<AuditPlace> = places.filter(|place| is_beyond(place, filter)).collect();
        if filter.newest_first {
            places.reverse();
        }
        places
    }
}

impl DynamoLog {
    /// Writes into a transaction where the audit finds its records.
    pub(super) fn extend_audit(
        &self,
        writing: &mut Transaction,
        org: &OrgId,
        plan: &Plan,
    ) -> Result<(), LogError> {
        if let Some(item) = AuditItem::of(&plan.stream, plan.sealed.iter().map(|one| &one.record)) {
            for row in item.rows(org) {
                writing.put(&self.tables.incidents, row)?;
            }
        }
        Ok(())
    }

    pub(super) async fn read_audit(
        &self,
        org: &OrgId,
        filter: &AuditFilter,
    ) -> Result<Vec<Record>, LogError> {
        let mut hidden = BTreeMap::new();
        let mut places = Vec::new();
        for span in spans(org, filter) {
            places.extend(self.places(org, filter, &span, &mut hidden).await?);
        }
        places.sort_unstable();
        if filter.newest_first {
            places.reverse();
        }
        places.truncate(filter.limit as usize);
        let places = places.into_iter().map(|place| Ok((append::stream_id(&place.stream)?, place.seq)));
        let places: Vec<(StreamId, u64)> = places.collect::<Result<_, LogError>>()?;
        let mut records = Vec::with_capacity(places.len());
        for (stream, first, count) in neighbours(&places, filter.newest_first) {
            let mut rows = self.event_rows(org, &stream, first - 1, count).await?;
            if filter.newest_first {
                rows.reverse();
            }
            for row in &rows {
                let place = || stream.to_string();
                let record = Record::decode(bytes(row, "canonical", place)?);
                records.push(record.map_err(|_| LogError::Corrupt { place: place() })?);
            }
        }
        Ok(records)
    }

    /// The first records of a span that are asked for, as many as are.
    async fn places(
        &self,
        org: &OrgId,
        filter: &AuditFilter,
        span: &Span,
        hidden: &mut BTreeMap<StreamId, bool>,
    ) -> Result<Vec<AuditPlace>, LogError> {
        let wanted = filter.limit as usize;
        let mut places = Vec::new();
        let mut start = None;
        while places.len() < wanted {
            let (rows, next) = self.page(span, start, wanted).await?;
            let found = rows.iter().map(AuditItem::stored).collect::<Result<Vec<_>, _>>()?;
            if let Some(principal) = &filter.visible_to {
                self.look_for_hidden(org, principal, &found, hidden).await?;
            }
            for item in found {
                if !hidden.get(&item.stream).copied().unwrap_or_default() {
                    places.extend(item.places(filter));
                }
            }
            start = next;
            if start.is_none() {
                break;
            }
        }
        Ok(places)
    }

    /// Which of the incidents that these are about this principal may not see.
    async fn look_for_hidden(
        &self,
        org: &OrgId,
        principal: &str,
        found: &[AuditItem],
        hidden: &mut BTreeMap<StreamId, bool>,
    ) -> Result<(), LogError> {
        let unknown: BTreeSet<&StreamId> = found
            .iter()
            .map(|item| &item.stream)
            .filter(|stream| stream.incident().is_some() && !hidden.contains_key(*stream))
            .collect();
        let unknown: Vec<StreamId> = unknown.into_iter().cloned().collect();
        let heads = self.heads(org, &unknown).await?;
        hidden.extend(unknown.into_iter().map(|stream| (stream, false)));
        hidden.extend(heads.into_iter().map(|(stream, row)| (stream, !sees(&row, principal))));
        Ok(())
    }
}

/// Writes down again where the audit finds records, one by one: those of an organisation, or all there are. A record
/// that cannot be read is left for `verify` to name.
pub(super) async fn audit_again(
    client: &Client,
    tables: &Tables,
    org: Option<&OrgId>,
) -> Result<(), LogError> {
    let own = org.map_or_else(String::new, |org| format!("{org}|"));
    let mut start = None;
    loop {
        let page = client
            .scan()
            .table_name(&tables.events)
            .consistent_read(true)
            .projection_expression("pk, canonical")
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(broken)?;
        let mut items = Vec::new();
        for row in page.items() {
            if !text_if(row, "pk").is_some_and(|pk| pk.starts_with(&own)) {
                continue;
            }
            let canonical = bytes(row, "canonical", String::new).unwrap_or_default();
            let Ok(record) = Record::decode(canonical) else { continue };
            let (Ok(org), Ok(stream)) = (record.org.parse(), append::stream_id(stream_of(&record))) else {
                continue;
            };
            items.extend(AuditItem::of(&stream, [&record]).iter().flat_map(|item| item.rows(&org)));
        }
        put_all(client, &tables.incidents, items).await?;
        start = page.last_evaluated_key;
        if start.is_none() {
            return Ok(());
        }
    }
}

async fn put_all(client: &Client, table: &str, items: Vec<Item>) -> Result<(), LogError> {
    let put = |row: Item| {
        let put = PutRequest::builder().set_item(Some(row)).build().map_err(unavailable)?;
        Ok(WriteRequest::builder().put_request(put).build())
    };
    let mut waiting = items.into_iter().map(put).collect::<Result<Vec<_>, LogError>>()?;
    while !waiting.is_empty() {
        let rest = waiting.split_off(waiting.len().min(WRITTEN_AT_ONCE));
        let written = client.batch_write_item().request_items(table, waiting).send().await.map_err(broken)?;
        // What was throttled is sent again.
        waiting = written.unprocessed_items.unwrap_or_default().remove(table).unwrap_or_default();
        waiting.extend(rest);
    }
    Ok(())
}

/// Where to look, each from the first to the last that may be asked for.
fn spans(org: &OrgId, filter: &AuditFilter) -> Vec<Span> {
    let least = filter.since.map_or(0, |since| since.as_microsecond());
    let beyond = filter.beyond.as_ref().map(|place| place.ts_us);
    let (first, last) = match beyond {
        Some(ts_us) if filter.newest_first => (moment(least), format!("{}{LAST}", moment(ts_us))),
        Some(ts_us) => (moment(least.max(ts_us)), LAST.to_string()),
        None => (moment(least), LAST.to_string()),
    };
    let span =
        |pk: String, first: String, last: String| Span { pk, first, last, newest_first: filter.newest_first };
    if filter.streams.is_empty() {
        return vec![span(trail(org), first, last)];
    }
    let streams: BTreeSet<&StreamId> = filter.streams.iter().collect();
    let of_stream = |stream: &&StreamId| {
        let key = of_incident(org, stream, below(&first));
        span(key.pk, key.sk, below(&last))
    };
    streams.iter().map(of_stream).collect()
}

fn is_beyond(place: &AuditPlace, filter: &AuditFilter) -> bool {
    filter
        .beyond
        .as_ref()
        .is_none_or(|beyond| if filter.newest_first { place < beyond } else { place > beyond })
}

/// Where all records of an organisation are, in the order of time.
fn trail(org: &OrgId) -> String {
    format!("{org}|audit")
}

fn below(place: &str) -> String {
    format!("audit|{place}")
}

/// Records that stand side by side in their stream, to be read at once: stream, first seq, how many.
fn neighbours(places: &[(StreamId, u64)], backwards: bool) -> Vec<(StreamId, u64, u32)> {
    let mut found: Vec<(StreamId, u64, u32)> = Vec::new();
    for (stream, seq) in places {
        match found.last_mut() {
            Some((last, first, count)) if last == stream && backwards && seq + 1 == *first => {
                (*first, *count) = (*seq, *count + 1);
            }
            Some((last, first, count))
                if last == stream && !backwards && *first + u64::from(*count) == *seq =>
            {
                *count += 1;
            }
            _ => found.push((stream.clone(), *seq, 1)),
        }
    }
    found
}
